//! Prefixes come whole, fill up one after the other, and go whole.

use std::collections::BTreeMap;

use enid_core::event::Record;
use enid_core::node::NodeState;
use enid_sim::ec2::assignment::{AssignPrivateIpAddresses, UnassignPrivateIpAddresses};
use enid_sim::ec2::fault::{Fault, FaultKind};
use enid_sim::ec2::interface::Secondary;
use ipnet::Ipv4Net;
use simulation::dice::Dice;
use simulation::{check, expect_converged};

use super::*;

/// The prefixes of the node with the number of their addresses in each state.
fn blocks(node: &Node) -> BTreeMap<Ipv4Net, BTreeMap<&'static str, u32>> {
    let mut blocks: BTreeMap<Ipv4Net, BTreeMap<&'static str, u32>> = BTreeMap::new();
    for lease in node.state().addresses(node.now()) {
        if let Some(block) = lease.block {
            *blocks.entry(block).or_default().entry(lease.state).or_default() += 1;
        }
    }
    blocks
}

fn block_of(node: &Node, address: IpAddr) -> Ipv4Net {
    let lease = node.state().addresses(node.now()).into_iter().find(|lease| lease.address == address);
    lease.and_then(|lease| lease.block).expect("an address out of a prefix")
}

#[test]
fn every_address_of_a_prefix_serves_a_pod_before_the_next_prefix_does() {
    let mut node = Region::of("m5.large").settled(in_prefixes(), ready(1));
    assert_eq!(held(&node), (0, 1));
    let pods = fill(&mut node, "pod", 16);
    let block = block_of(&node, pods[0]);
    assert!(pods.iter().all(|pod| block_of(&node, *pod) == block));
    assert!(pods.contains(&block.network().into()) && pods.contains(&block.broadcast().into()));
    assert_eq!(held(&node), (0, 2), "one stays ready");
    let next = fill(&mut node, "next", 1);
    assert_ne!(block_of(&node, next[0]), block);
    expect_converged(&mut node);
}

#[test]
fn a_full_eni_is_followed_by_one_that_is_born_with_prefixes() {
    let mut node = Region::of("t3.small").settled(in_prefixes(), ready(1));
    fill(&mut node, "pod", 48);
    assert_eq!(held(&node), (0, 4));
    assert_eq!(enis(&node).iter().map(|eni| eni.prefixes.len()).collect::<Vec<_>>(), [3, 1]);
    expect_converged(&mut node);
}

#[test]
fn a_new_pod_goes_where_the_most_addresses_are_used() {
    let mut dice = Dice::seeded(3);
    let mut node = Region::of("m5.large").settled(in_prefixes(), warm_prefixes(1));
    fill(&mut node, "pod", 70);
    let mut gone: Vec<usize> = (0..70).filter(|_| dice.one_in(2)).collect();
    gone.push(70);
    delete(&mut node, "pod", gone);
    node.pass(secs(31));
    for pod in 0..25 {
        let before = blocks(&node);
        let used = |counts: &BTreeMap<&str, u32>| 16 - counts.get("free").copied().unwrap_or(0);
        let open = before.values().filter(|counts| counts.contains_key("free"));
        let fullest = open.map(used).max().expect("a free address");
        let address = fill(&mut node, &format!("late{pod}x"), 1)[0];
        assert_eq!(used(&before[&block_of(&node, address)]), fullest, "{before:?}");
    }
    node.pass(secs(300));
    settle(&mut node);
    expect_converged(&mut node);
}

#[test]
fn only_prefixes_that_nobody_uses_or_used_lately_are_given_back_and_those_whole() {
    let mut dice = Dice::seeded(9);
    let config = Config { cooldown: secs(300), ..in_prefixes() };
    let mut node = Region::of("m5.large").settled(config, ready(1));
    fill(&mut node, "pod", 90);
    let mut watch = Watch::default();
    live(&mut node, &mut watch, secs(1));
    for round in 0..6 {
        let gone: Vec<_> = (0..90).filter(|_| dice.one_in(2)).collect();
        delete(&mut node, "pod", gone);
        live(&mut node, &mut watch, secs(120));
        for pod in 0..dice.roll(20) {
            node.add(&format!("round{round}x{pod}"));
        }
        live(&mut node, &mut watch, secs(120));
    }
    live(&mut node, &mut watch, secs(900));
    settle(&mut node);
    let pool = node.state().pool_status(node.now());
    assert_eq!(held(&node), (0, usize::try_from(pool.prefixes).expect("few")));
    // One that nobody uses may stay when the others are full to the last address.
    let idle = blocks(&node).values().filter(|counts| counts.get("free") == Some(&16)).count();
    assert!(idle <= 1 && (idle == 0 || pool.free == 16), "{pool:?}");
    expect_converged(&mut node);
}

#[test]
fn a_prefix_stays_as_long_as_one_of_its_addresses_cools() {
    let config = Config { cooldown: secs(300), ..in_prefixes() };
    let mut node = Region::of("m5.large").settled(config, ready(1));
    fill(&mut node, "pod", 20);
    delete(&mut node, "pod", [0, 1, 16, 17, 18, 19]);
    node.pass(secs(299));
    assert_eq!(held(&node), (0, 2));
    node.pass(secs(60));
    settle(&mut node);
    assert_eq!(held(&node), (0, 1));
    expect_converged(&mut node);
}

#[test]
fn a_restart_keeps_every_lease() {
    let mut node = Region::of("m5.large").settled(in_prefixes(), ready(3));
    fill(&mut node, "pod", 30);
    delete(&mut node, "pod", [3, 20]);
    node.pass(secs(1));
    let before = states(&node);
    assert!(before.values().any(|state| *state == "cooling"));
    for compacted in [false, true] {
        if compacted {
            node.compact();
        }
        node.crash_and_restart();
        assert_eq!(states(&node), before, "compacted: {compacted}");
    }
    node.pass(secs(120));
    settle(&mut node);
    check(&node);
    expect_converged(&mut node);
}

#[test]
fn the_journal_written_and_read_is_the_same_state() {
    let mut node = Region::of("m5.large").settled(in_prefixes(), ready(3));
    fill(&mut node, "pod", 20);
    delete(&mut node, "pod", [2]);
    node.pass(secs(2));
    let written = serde_json::to_string(&node.state().records()).expect("records are JSON");
    let read: Vec<Record> = serde_json::from_str(&written).expect("what was written can be read");
    let state = node.state();
    let kind = enid_core::instance_types::lookup("m5.large").expect("a known type");
    let (again, _) =
        NodeState::restore(state.config().clone(), state.identity().clone(), kind, &read, node.now());
    assert_eq!(again.records(), state.records());
    // A daemon that knows no prefixes refuses what it would otherwise lose.
    assert!(written.contains(r#""kind":"delegated""#));
    let enis: Vec<_> = read.iter().filter(|record| matches!(record, Record::Eni { .. })).collect();
    let enis = serde_json::to_string(&enis).expect("records are JSON");
    assert!(!enis.contains("/28"), "no prefix hides in a kind that it knows: {enis}");
}

#[test]
fn a_give_back_whose_reply_is_lost_is_settled_by_asking_again() {
    for restart in [false, true] {
        let mut node = Region::of("m5.large").settled(in_prefixes(), ready(1));
        fill(&mut node, "pod", 33);
        delete(&mut node, "pod", 0..33);
        let call = Some(Call::UnassignPrivateIpAddresses);
        node.ec2.inject(Fault { call, times: 1, kind: FaultKind::LostReply }).expect("one fault");
        node.pass(secs(65));
        if restart {
            node.crash_and_restart();
        }
        node.pass(secs(300));
        settle(&mut node);
        assert_eq!(held(&node), (0, 1));
        expect_converged(&mut node);
    }
}

#[test]
fn prefixes_count_with_all_their_addresses_against_the_pod_maximum() {
    for (max_pods, prefixes) in [(None, 3), (Some(20), 2), (Some(33), 3), (Some(16), 1)] {
        let config = Config { max_pods, ..in_prefixes() };
        let mut node = Region::of("m5.large").settled(config, warm_prefixes(1));
        fill(&mut node, "pod", max_pods.map_or(17, |max| max.min(17)) as usize - 1);
        let last = node.add("last");
        node.pass(secs(1));
        added(&node, last);
        node.pass(secs(10));
        assert_eq!(held(&node), (0, prefixes), "{max_pods:?}");
        expect_converged(&mut node);
    }
}

#[test]
fn a_pod_beyond_the_maximum_is_told_so_when_no_address_is_left() {
    let config = Config { max_pods: Some(16), ..in_prefixes() };
    let mut node = Region::of("m5.large").settled(config, ready(1));
    fill(&mut node, "pod", 16);
    assert_eq!(reason_to_wait(&mut node, "late"), WaitReason::MaxPods { max_pods: 16 });
    expect_converged(&mut node);
}

#[test]
fn a_prefix_that_somebody_takes_away_keeps_its_pods_and_serves_no_other() {
    let mut node = Region::of("m5.large").settled(in_prefixes(), ready(1));
    let pods = fill(&mut node, "pod", 20);
    let taken = block_of(&node, pods[0]);
    let (eni, now) = (owner(&node, pods[0]), node.now());
    let request = UnassignPrivateIpAddresses { eni, addresses: Vec::new(), prefixes: vec![taken] };
    node.ec2.unassign_private_ip_addresses(now, &request).expect("it has it");
    node.pass(secs(300));
    for pod in &pods[..16] {
        assert_eq!(state_of(&node, *pod), "quarantined");
        assert!(node.kernel.pods.contains_key(pod));
    }
    for round in 0..10 {
        delete(&mut node, "pod", [round]);
        node.pass(secs(17));
        fill(&mut node, &format!("late{round}x"), 3);
    }
    assert_eq!(node.kernel.outrages, Vec::<String>::new());
    delete(&mut node, "pod", 0..20);
    node.pass(secs(300));
    settle(&mut node);
    assert!(states(&node).keys().all(|address| match address {
        IpAddr::V4(address) => !taken.contains(address),
        IpAddr::V6(_) => true,
    }));
    expect_converged(&mut node);
}

#[test]
fn prefixes_that_somebody_else_provided_are_used() {
    let mut node = Region::of("m5.large").settled(Config::default(), ready(1));
    let (eni, now) = (primary(&node), node.now());
    let secondary = Secondary::Prefixes(1);
    let request = AssignPrivateIpAddresses { eni, secondary, allow_reassignment: false };
    node.ec2.assign_private_ip_addresses(now, &request).expect("room");
    node.reconfigure(in_prefixes());
    node.pass(secs(70));
    settle(&mut node);
    assert_eq!(held(&node).1, 1);
    fill(&mut node, "pod", 15);
    assert_eq!(held(&node), (0, 1));
    expect_converged(&mut node);
}
