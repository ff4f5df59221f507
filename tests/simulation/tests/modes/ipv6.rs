//! Pods with IPv6 addresses: alone, beside IPv4 ones, or node-local for what is translated.

use std::collections::BTreeSet;

use enid_core::event::Record;
use enid_core::wiring::{EGRESS_V4, EGRESS_V6, Families, MAIN_TABLE};
use enid_sim::ec2::fault::{Fault, FaultKind};
use enid_sim::ec2::refusal::Code;
use ipnet::Ipv6Net;
use simulation::{check, expect_converged};

use super::*;

fn in_ipv6() -> Config {
    Config { families: Families::Ipv6, mode: Mode::Prefix, ..Config::default() }
}

fn in_both() -> Config {
    Config { families: Families::DualStack, ..Config::default() }
}

fn ipv6_prefixes(node: &Node) -> Vec<Ipv6Net> {
    eni(node, &primary(node)).ipv6_prefixes
}

fn seconds(node: &Node) -> Vec<IpAddr> {
    let second = node.kernel.pods.values().filter_map(|pod| pod.first.second);
    second.map(|second| second.address).collect()
}

#[test]
fn pods_have_addresses_of_the_one_prefix_and_no_ipv4_is_asked_for() {
    let mut node = Region::of("m5.large").with_ipv6().settled(in_ipv6(), ready(5));
    let pods = fill(&mut node, "pod", 40);
    let [prefix] = ipv6_prefixes(&node)[..] else { panic!("one prefix") };
    assert_eq!(prefix.prefix_len(), 80);
    for pod in &pods {
        let IpAddr::V6(address) = pod else { panic!("{pod} is not an IPv6 address") };
        assert!(prefix.contains(address));
        assert_eq!(node.kernel.pods[pod].first.table, MAIN_TABLE);
    }
    assert_eq!(
        (calls(&node, Call::AssignIpv6Addresses), calls(&node, Call::AssignPrivateIpAddresses)),
        (1, 0)
    );
    assert_eq!(node.state().pool_status(node.now()).bound, 40);
    expect_converged(&mut node);
}

#[test]
fn no_address_is_used_twice_even_after_a_restart() {
    for cooldown in [0, 30] {
        let config = Config { cooldown: secs(cooldown), ..in_ipv6() };
        let mut node = Region::of("m5.large").with_ipv6().settled(config, ready(1));
        let mut seen: BTreeSet<IpAddr> = BTreeSet::new();
        for round in 0..4 {
            for pod in fill(&mut node, &format!("round{round}x"), 10) {
                assert!(seen.insert(pod), "{pod} was used before");
            }
            delete(&mut node, &format!("round{round}x"), 0..10);
            node.pass(secs(5));
            if round == 1 {
                node.crash_and_restart();
            }
        }
        node.pass(secs(60));
        settle(&mut node);
        assert_eq!(states(&node), BTreeMap::new(), "a lease ends when it has cooled");
        assert_eq!(ipv6_prefixes(&node).len(), 1);
        expect_converged(&mut node);
    }
}

#[test]
fn a_wiring_that_failed_leaves_no_lease_behind() {
    let mut node = Region::of("m5.large").with_ipv6().settled(in_ipv6(), ready(1));
    node.kernel.refuse_wirings = 2;
    for pod in ["a", "b"] {
        node.add(pod);
        node.pass(secs(1));
    }
    assert_eq!(states(&node), BTreeMap::new());
    fill(&mut node, "pod", 1);
    expect_converged(&mut node);
}

#[test]
fn a_released_address_cools_and_a_restart_knows() {
    let mut node = Region::of("m5.large").with_ipv6().settled(in_ipv6(), ready(1));
    let pods = fill(&mut node, "pod", 2);
    delete(&mut node, "pod", [0]);
    node.pass(secs(5));
    for _ in 0..2 {
        assert_eq!((state_of(&node, pods[0]), state_of(&node, pods[1])), ("cooling", "bound"));
        node.compact();
        node.crash_and_restart();
    }
    node.pass(secs(31));
    assert_eq!((state_of(&node, pods[0]), state_of(&node, pods[1])), ("unknown", "bound"));
    settle(&mut node);
    check(&node);
    expect_converged(&mut node);
}

#[test]
fn an_older_daemon_refuses_a_journal_with_such_pods() {
    for config in [in_ipv6(), in_both(), Config { egress: true, ..Config::default() }] {
        let mut node = Region::of("m5.large").with_ipv6().settled(config, ready(1));
        fill(&mut node, "pod", 1);
        let together = |record: &&Record| matches!(record, Record::ReservedTogether { .. });
        assert_eq!(node.journal.iter().filter(together).count(), 1);
        assert!(!node.journal.iter().any(|record| matches!(record, Record::Reserved { .. })));
    }
}

#[test]
fn a_subnet_without_ipv6_is_named_and_waited_for() {
    let mut node = Region::of("m5.large").starting(in_ipv6(), ready(1));
    node.pass(secs(30));
    let subnet = node.state().identity().subnet.clone();
    assert_eq!(reason_to_wait(&mut node, "early"), WaitReason::NoIpv6 { subnet: subnet.clone() });
    let asked = calls(&node, Call::AssignIpv6Addresses);
    assert!(asked <= 1, "{asked} calls, at most one before the subnet is known");
    let vpc = node.state().identity().vpc.clone();
    node.ec2.add_ipv6_range(&vpc, "2a05:d014:9:aa00::/56".parse().expect("a range")).expect("room");
    node.ec2.give_ipv6(&subnet, "2a05:d014:9:aa00::/64".parse().expect("a range")).expect("room");
    node.pass(secs(310));
    fill(&mut node, "pod", 1);
    expect_converged(&mut node);
}

#[test]
fn an_error_of_ec2_is_named_and_tried_again() {
    let mut region = Region::of("m5.large").with_ipv6();
    region.ec2.deny(Call::AssignIpv6Addresses);
    let mut node = region.starting(in_ipv6(), ready(1));
    node.pass(secs(30));
    let reason = reason_to_wait(&mut node, "early");
    assert!(matches!(&reason, WaitReason::Cloud { call, .. } if call == "AssignIpv6Addresses"), "{reason:?}");
    let waiting = node.add("waiting");
    node.ec2.permit(Call::AssignIpv6Addresses);
    node.pass(secs(61));
    assert!(node.state().pool_status(node.now()).ipv6 <= 1);
    fill(&mut node, "pod", 1);
    let _ = waiting;
    settle(&mut node);
    expect_converged(&mut node);
}

#[test]
fn a_lost_reply_does_not_bring_a_second_prefix() {
    for kind in [FaultKind::LostReply, FaultKind::Error(Code::InternalError)] {
        let mut region = Region::of("m5.large").with_ipv6();
        let call = Some(Call::AssignIpv6Addresses);
        region.ec2.inject(Fault { call, times: 1, kind }).expect("one fault");
        let mut node = region.starting(in_ipv6(), ready(1));
        // A request whose reply was lost may be under way for half a minute; then a look tells.
        node.pass(secs(100));
        assert_eq!(ipv6_prefixes(&node).len(), 1, "{kind:?}");
        fill(&mut node, "pod", 1);
        expect_converged(&mut node);
    }
}

#[test]
fn dual_stack_pods_get_both_or_wait() {
    let mut region = Region::of("t3.small").with_ipv6();
    region.ec2.deny(Call::AssignIpv6Addresses);
    let mut node = region.starting(in_both(), ready(1));
    let waiting = node.add("waiting");
    node.pass(secs(30));
    assert_eq!(node.answer(waiting), None, "an IPv4 address is there, and is not enough");
    assert!(node.kernel.pods.is_empty() && node.state().pool_status(node.now()).free > 0);
    node.ec2.permit(Call::AssignIpv6Addresses);
    node.pass(secs(29));
    let ipv4 = added(&node, waiting);
    let second = node.kernel.pods[&ipv4].first.second.expect("two addresses");
    assert!(ipv4.is_ipv4() && second.address.is_ipv6() && !second.node_local);
    // The other way round: IPv6 never runs short, IPv4 does.
    fill(&mut node, "pod", 8);
    let full = reason_to_wait(&mut node, "late");
    assert!(matches!(full, WaitReason::NodeFull { .. }), "{full:?}");
    assert_eq!(node.state().pool_status(node.now()).ipv6, 9, "no IPv6 address is held by one that waits");
    delete(&mut node, "pod", 0..8);
    node.pass(secs(31));
    assert_eq!(node.state().pool_status(node.now()).ipv6, 1);
    node.pass(secs(300));
    settle(&mut node);
    expect_converged(&mut node);
}

#[test]
fn dual_stack_pods_survive_a_restart_at_any_effect() {
    for effects in 0..12 {
        let mut node = Region::of("t3.small").with_ipv6().settled(in_both(), ready(2));
        let mut watch = Watch::default();
        fill(&mut node, "old", 2);
        node.crash_after(effects);
        node.del("old0");
        node.add("new");
        live(&mut node, &mut watch, secs(5));
        node.del("old0");
        node.del("new");
        live(&mut node, &mut watch, secs(120));
        settle(&mut node);
        let pool = node.state().pool_status(node.now());
        assert_eq!((pool.bound, pool.ipv6, node.kernel.pods.len()), (1, 1, 1), "after {effects} effects");
        check(&node);
        expect_converged(&mut node);
    }
}

#[test]
fn node_local_addresses_are_a_pods_own_and_are_no_addresses_of_the_vpc() {
    let rows = [
        (Config { egress: true, ..in_ipv6() }, IpAddr::V4(EGRESS_V4.network())),
        (Config { egress: true, ..Config::default() }, IpAddr::V6(EGRESS_V6.network())),
    ];
    for (config, range) in rows {
        let mut node = Region::of("m5.large").with_ipv6().settled(config, ready(2));
        let mut seen = BTreeSet::new();
        fill(&mut node, "pod", 12);
        for second in seconds(&node) {
            assert_eq!(second.is_ipv4(), range.is_ipv4());
            let inside = match second {
                IpAddr::V4(address) => EGRESS_V4.contains(&address),
                IpAddr::V6(address) => EGRESS_V6.contains(&address),
            };
            assert!(inside && second != range && seen.insert(second), "{second}");
            assert!(!states(&node).contains_key(&second));
        }
        assert_eq!(seen.len(), 12);
        assert_eq!(node.state().pool_status(node.now()).bound, 12);
        node.crash_and_restart();
        settle(&mut node);
        // A released one rests while the others take their turn.
        delete(&mut node, "pod", 0..6);
        node.pass(secs(60));
        fill(&mut node, "late", 6);
        let now = seconds(&node);
        assert_eq!(now.iter().collect::<BTreeSet<_>>().len(), 12);
        settle(&mut node);
        node.pass(secs(60));
        expect_converged(&mut node);
    }
}

#[test]
fn node_local_addresses_come_back() {
    let mut node = Region::of("m5.large").with_ipv6().settled(Config { egress: true, ..in_ipv6() }, ready(1));
    // More pods, one after the other, than there are node-local addresses.
    for pod in 0..1100 {
        let ticket = node.add(&format!("pod{pod}"));
        node.pass(secs(1));
        added(&node, ticket);
        node.del(&format!("pod{pod}"));
    }
    node.pass(secs(60));
    settle(&mut node);
    assert_eq!(states(&node), BTreeMap::new());
    expect_converged(&mut node);
}
