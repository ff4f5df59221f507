//! IPv6, IPv4 and both: pods of each family everywhere, and the way out in the other one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use e2e::heartbeat::Heartbeat;
use e2e::lab::Lab;
use e2e::pod::Placed;
use e2e::settings::Settings;
use e2e::traffic::{all_reach_each_other, listen, reaches};
use enid_vpc_lab::fabric::{OUTSIDE, OUTSIDE_V6};
use enid_vpc_lab::lab::landscape::Landscape;

use crate::{Running, distinct};

/// Both nodes at work with `network` lines in a VPC with IPv6.
fn nodes(lab: &Lab, network: &str) -> [Running; 2] {
    [lab.m5(), lab.t3()].map(|node| {
        let settings: Settings = node.settings().network(network);
        Running::start(node, &settings)
    })
}

fn lab(test: &str) -> Lab {
    Lab::of(test, Landscape::standard().with_ipv6())
}

/// A pod reaches the outside in this family and is seen there so.
#[track_caller]
fn is_seen(lab: &Lab, placed: &Placed, outside: impl Into<IpAddr>, seen_as: impl Into<IpAddr>) {
    let outside = outside.into();
    let _mirror = listen(&lab.beginning().inet_namespace, outside);
    reaches(&placed.pod.namespace, outside, seen_as);
}

/// What a pod has besides what the runtime was told: addresses out of the node's own ranges.
fn node_local(placed: &Placed) -> Vec<IpAddr> {
    let known = placed.addresses();
    let addresses = placed.pod.kernel().ip(&["addr", "show", "dev", "eth0", "scope", "global"]);
    let infos = addresses[0]["addr_info"].as_array().unwrap().iter();
    let all = infos.filter_map(|info| info["local"].as_str()?.parse().ok());
    all.filter(|address| !known.contains(address)).collect()
}

#[test]
fn ipv6_pods_have_addresses_of_the_prefix_and_reach_ipv4_as_their_node() {
    let lab = lab("ipv6");
    let [m5, t3] = nodes(&lab, "ip_family = \"ipv6\"");
    let (near, far) = (m5.pods(&lab, 3), t3.pods(&lab, 2));
    let addresses = distinct(&[near.clone(), far.clone()].concat());
    assert_eq!(addresses.len(), 5, "one each: {addresses:?}");
    for (running, pods) in [(&m5, &near), (&t3, &far)] {
        let primary = &lab.enis_of(&running.node)[0];
        let [prefix] = primary.ipv6_prefixes[..] else { panic!("{primary:?}") };
        assert_eq!(prefix.prefix_len(), 80);
        assert!(pods.iter().all(|placed| prefix.contains(&placed.ipv6())), "{pods:?}");
        assert_eq!(lab.enis_of(&running.node).len(), 1, "the primary has room for all");
        pods.iter().for_each(|placed| running.node.is_intact(placed));
    }
    assert_eq!(near[0].result["ips"][0]["gateway"], "fe80::1");
    all_reach_each_other(&[&near[0], &near[2], &far[0], &far[1]]);
    for (running, placed) in [(&m5, &near[0]), (&m5, &near[2]), (&t3, &far[0])] {
        is_seen(&lab, placed, OUTSIDE_V6, placed.ipv6());
        is_seen(&lab, placed, OUTSIDE, running.node.place.address);
        let [IpAddr::V4(own)] = node_local(placed)[..] else { panic!("{:?}", node_local(placed)) };
        assert!(own.is_link_local(), "{own}");
    }
    // Nodes are reached as well, also the own one.
    let node = &t3.node.place;
    let _mirror = listen(&node.namespace, node.ipv6.unwrap());
    reaches(&near[0].pod.namespace, node.ipv6.unwrap(), near[0].ipv6());
    reaches(&far[0].pod.namespace, node.ipv6.unwrap(), far[0].ipv6());
    m5.ends(&lab, &near);
    t3.ends(&lab, &far);
}

#[test]
fn ipv6_pods_without_egress_have_no_ipv4() {
    let lab = lab("ipv6-only");
    let [m5, t3] = nodes(&lab, "ip_family = \"ipv6\"\negress = false");
    let (near, far) = (m5.pods(&lab, 1), t3.pods(&lab, 1));
    assert_eq!(node_local(&near[0]), Vec::<IpAddr>::new());
    all_reach_each_other(&[&near[0], &far[0]]);
    m5.ends(&lab, &near);
    t3.ends(&lab, &far);
}

#[test]
fn ipv4_pods_reach_ipv6_as_their_node_where_they_may() {
    let lab = lab("egress-v6");
    let [m5, t3] = nodes(&lab, "egress = true");
    // The last is on another ENI than the primary.
    let (near, far) = (m5.pods(&lab, 10), t3.pods(&lab, 1));
    assert!(near.iter().all(|placed| placed.addresses().len() == 1), "{near:?}");
    all_reach_each_other(&[&near[0], &near[9], &far[0]]);
    for (running, placed) in [(&m5, &near[0]), (&m5, &near[9]), (&t3, &far[0])] {
        let place = &running.node.place;
        is_seen(&lab, placed, OUTSIDE, place.address);
        is_seen(&lab, placed, OUTSIDE_V6, place.ipv6.unwrap());
        let [IpAddr::V6(own)] = node_local(placed)[..] else { panic!("{:?}", node_local(placed)) };
        assert!(own.is_unique_local(), "{own}");
        running.node.is_intact(placed);
    }
    m5.ends(&lab, &near);
    t3.ends(&lab, &far);
}

#[test]
fn dual_stack_pods_have_both_families_in_one_result() {
    let lab = lab("dual");
    let [m5, t3] = nodes(&lab, "ip_family = \"dual-stack\"");
    let (near, far) = (m5.pods(&lab, 10), t3.pods(&lab, 2));
    for placed in near.iter().chain(&far) {
        let _both: (Ipv4Addr, Ipv6Addr) = (placed.ipv4(), placed.ipv6());
    }
    distinct(&[near.clone(), far.clone()].concat());
    all_reach_each_other(&[&near[0], &near[9], &far[0], &far[1]]);
    for (running, placed) in [(&m5, &near[0]), (&m5, &near[9]), (&t3, &far[0])] {
        is_seen(&lab, placed, OUTSIDE, running.node.place.address);
        is_seen(&lab, placed, OUTSIDE_V6, placed.ipv6());
        assert_eq!(node_local(placed), Vec::<IpAddr>::new());
    }
    // A restart takes neither family away.
    let addresses: [IpAddr; 2] = [near[9].ipv4().into(), near[9].ipv6().into()];
    let heartbeats = addresses.map(|address| Heartbeat::begin(&near[0].pod, &near[9].pod, address));
    let Running { node, daemon } = m5;
    daemon.kill();
    let daemon = node.start();
    daemon.wait_for_pool(&[("bound", 10), ("quarantined", 0)]);
    let m5 = Running { node, daemon };
    let late = m5.pods(&lab, 1);
    distinct(&[near.clone(), late.clone()].concat());
    near.iter().for_each(|placed| m5.node.is_intact(placed));
    for beats in heartbeats.map(Heartbeat::end) {
        assert_eq!(beats.lost, 0, "{beats:?}");
    }
    m5.ends(&lab, &[near, late].concat());
    t3.ends(&lab, &far);
}

#[test]
fn dual_stack_pods_may_have_their_ipv4_out_of_prefixes() {
    let lab = lab("dual-prefix");
    let node = lab.m5();
    let settings = node.settings().pool("mode = \"prefix\"").network("ip_family = \"dual-stack\"");
    let m5 = Running::start(node, &settings);
    let pods = m5.pods(&lab, 3);
    assert!(pods.iter().all(|placed| crate::is_out_of_a_prefix(&lab, &m5.node, placed)));
    all_reach_each_other(&[&pods[0], &pods[2]]);
    m5.ends(&lab, &pods);
}
