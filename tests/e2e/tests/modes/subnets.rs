//! Subnet discovery: the next subnet when one is used up, and subnets that are taken from pods while they run.

use std::net::Ipv4Addr;

use e2e::heartbeat::Heartbeat;
use e2e::lab::Lab;
use e2e::node::Node;
use e2e::patience::wait_for;
use e2e::pod::Placed;
use e2e::traffic::all_reach_each_other;
use enid_core::ids::SubnetId;

use crate::{GROWTH, Running, is_seen_outside, owner, place_patiently, refused};

/// What strangers hold in the small subnet: the tenth address of each of its blocks.
fn small_taken() -> Vec<Ipv4Addr> {
    [9, 25, 41, 57].map(|last| Ipv4Addr::new(10, 0, 3, last)).into()
}

fn tag(lab: &Lab, subnet: &SubnetId, role: &str) {
    lab.call(&format!(
        "Action=CreateTags&ResourceId.1={subnet}&Tag.1.Key=kubernetes.io%2Frole%2Fcni&Tag.1.Value={role}"
    ));
}

fn subnet_of(lab: &Lab, node: &Node, placed: &Placed) -> SubnetId {
    owner(lab, node, placed.ipv4()).subnet
}

#[test]
fn a_tagged_subnet_takes_over_when_the_first_is_used_up_and_drains_when_pods_are_kept_out() {
    let lab = Lab::up("subnets");
    let (roomy, small) = (lab.subnet("pods-1a").id, lab.subnet("small-1a").id);
    let node = lab.m5();
    let settings = node.settings().cooldown_secs(1);
    // Address by address, so that what is asked for is what is missing.
    let settings = settings.warm_pool("warm-targets", "warm_ip_target = 1, release_after_secs = 0");
    let m5 = Running::start(node, &settings.wait_secs(20));
    let first = m5.pods(&lab, 3);
    assert!(first.iter().all(|placed| subnet_of(&lab, &m5.node, placed) == roomy));
    lab.exhaust("pods-1a", &[]);
    assert_eq!(lab.subnet("pods-1a").free_addresses, 0);
    // The next is ready; those after it come from the other subnet, within the same ADD.
    let second = m5.pods(&lab, 4);
    let moved: Vec<&Placed> =
        second.iter().filter(|placed| subnet_of(&lab, &m5.node, placed) == small).collect();
    assert!(moved.len() >= 3, "{second:?}");
    all_reach_each_other(&[&first[0], moved[0], moved[1]]);
    is_seen_outside(&lab, moved[0], m5.node.place.address);

    // Nobody may use it any more; the next look at subnets tells, and running out of it is a reason to look.
    let heartbeat = Heartbeat::begin(&first[0].pod, &moved[0].pod, moved[0].ipv4());
    tag(&lab, &small, "0");
    lab.exhaust("small-1a", &small_taken());
    let last = place_patiently(&m5.node, lab.pod(), GROWTH);
    let pod = lab.pod();
    let (failure, reason) = refused(&m5.node, &pod);
    assert_eq!(failure.code, 11, "{failure:?}");
    assert_eq!(reason["reason"], "subnets-exhausted", "{failure:?}");
    // One pod less there: its address goes back instead of to the pod that waits.
    m5.node.del(&moved[2].pod);
    wait_for("its address goes back", GROWTH, || {
        let enis = lab.enis_of(&m5.node);
        let held = enis.iter().any(|eni| eni.addresses.contains(&moved[2].ipv4()));
        if held { Err(format!("{enis:?}")) } else { Ok(()) }
    });
    let stay: Vec<Placed> =
        second.iter().filter(|placed| placed.pod.name != moved[2].pod.name).cloned().chain([last]).collect();
    stay.iter().chain(&first).for_each(|placed| m5.node.is_intact(placed));
    let beats = heartbeat.end();
    assert_eq!(beats.lost, 0, "{beats:?}");
    // With its last pod the ENI goes.
    for placed in &stay {
        m5.node.del(&placed.pod);
    }
    wait_for("the drained ENI goes", GROWTH, || {
        let enis = lab.enis_of(&m5.node);
        if enis.iter().any(|eni| eni.subnet == small) { Err(format!("{enis:?}")) } else { Ok(()) }
    });
    m5.ends(&lab, &first);
}

#[test]
fn without_discovery_only_the_nodes_own_subnet_is_used() {
    let lab = Lab::up("no-discovery");
    let node = lab.m5();
    let settings = node.settings().pool("subnet_discovery = false").wait_secs(2);
    let m5 = Running::start(node, &settings.warm_pool("warm-targets", "warm_ip_target = 1"));
    let pods = m5.pods(&lab, 2);
    m5.daemon.wait_for_pool(&[("free", 1), ("bound", 2)]);
    lab.exhaust("pods-1a", &[]);
    let last = m5.pods(&lab, 1);
    let (failure, reason) = refused(&m5.node, &lab.pod());
    assert_eq!(reason["reason"], "subnets-exhausted", "{failure:?}");
    assert_eq!(lab.enis_of(&m5.node).len(), 1);
    m5.ends(&lab, &[pods, last].concat());
}

#[test]
fn a_primary_subnet_that_is_kept_from_pods_leaves_the_primary_eni_without_any() {
    let lab = Lab::up("primary-out");
    let (roomy, small) = (lab.subnet("pods-1a").id, lab.subnet("small-1a").id);
    tag(&lab, &roomy, "0");
    let node = lab.m5();
    let settings = node.settings().wait_secs(40);
    let m5 = Running::start(node, &settings);
    let pods = m5.pods(&lab, 3);
    assert!(pods.iter().all(|placed| subnet_of(&lab, &m5.node, placed) == small));
    assert_eq!(lab.enis_of(&m5.node)[0].addresses, Vec::<Ipv4Addr>::new());
    all_reach_each_other(&[&pods[0], &pods[2]]);
    is_seen_outside(&lab, &pods[0], m5.node.place.address);
    m5.ends(&lab, &pods);
}
