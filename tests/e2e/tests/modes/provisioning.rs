//! Nodes that ask EC2 for less: somebody else provides what pods use.

use std::collections::BTreeMap;

use e2e::lab::Lab;
use e2e::node::Node;
use e2e::traffic::all_reach_each_other;

use crate::{NEXT_LOOK, Running, distinct, is_seen_outside, place_patiently, refused};

/// Gives the node's primary ENI addresses, as another controller would.
fn provide(lab: &Lab, node: &Node, addresses: u32) {
    let primary = &lab.enis_of(node)[0].id;
    lab.call(&format!(
        "Action=AssignPrivateIpAddresses&NetworkInterfaceId={primary}&SecondaryPrivateIpAddressCount={addresses}"
    ));
}

/// Serves what there is, refuses more with its reason, and finds what is provided later; the calls that EC2 got
/// from the daemon.
fn serves_what_is_provided(test: &str, provisioning: &str) -> BTreeMap<String, u64> {
    let lab = Lab::up(test);
    let node = lab.m5();
    provide(&lab, &node, 3);
    let before = lab.status().calls;
    let settings = node.settings().pool(&format!("provisioning = \"{provisioning}\"")).wait_secs(1);
    node.configure(&settings);
    let daemon = node.start();
    let m5 = Running { node, daemon };
    // Metadata lags behind what was provided: it may take another look.
    let mut pods = vec![place_patiently(&m5.node, lab.pod(), NEXT_LOOK)];
    pods.extend(m5.pods(&lab, 2));
    let last = lab.pod();
    let (failure, reason) = refused(&m5.node, &last);
    assert_eq!(failure.code, 11, "{failure:?}");
    assert_eq!(reason["reason"], "not-provisioned", "{failure:?}");
    provide(&lab, &m5.node, 1);
    pods.push(place_patiently(&m5.node, last, NEXT_LOOK));
    distinct(&pods);
    all_reach_each_other(&[&pods[0], &pods[3]]);
    is_seen_outside(&lab, &pods[3], m5.node.place.address);
    // The one that was provided meanwhile is not the daemon's.
    let mut calls = lab.status().calls;
    *calls.get_mut("AssignPrivateIpAddresses").unwrap() -= 1;
    for (call, count) in before {
        *calls.get_mut(&call).unwrap() -= count;
    }
    m5.ends(&lab, &pods);
    calls.retain(|_, count| *count > 0);
    calls
}

#[test]
fn a_node_that_only_looks_changes_nothing_in_ec2() {
    let calls = serves_what_is_provided("look-only", "look-only");
    assert!(calls.keys().all(|call| call.starts_with("Describe")), "{calls:?}");
    assert!(calls.contains_key("DescribeNetworkInterfaces"), "{calls:?}");
}

#[test]
fn a_node_that_believes_metadata_never_calls_ec2() {
    assert_eq!(serves_what_is_provided("metadata-only", "metadata-only"), BTreeMap::new());
}
