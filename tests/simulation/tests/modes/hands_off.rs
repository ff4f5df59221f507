//! What is not ours to change: ENIs that somebody tagged away, cordoned nodes, nodes that somebody else provides for.

use enid_core::eni::{Leaving, Phase};
use enid_core::node::Provisioning;
use enid_core::wiring::{Families, Seat};
use enid_sim::ec2::Delays;
use enid_sim::ec2::assignment::AssignPrivateIpAddresses;
use enid_sim::ec2::fault::{Fault, FaultKind};
use enid_sim::ec2::interface::{CreateNetworkInterface, Secondary};
use enid_sim::ec2::refusal::Code;
use simulation::{expect_converged, mutations};

use super::*;

const NO_MANAGE: &str = "node.k8s.amazonaws.com/no_manage";

/// Somebody else gives the primary ENI this.
fn provide(node: &mut Node, secondary: Secondary) {
    let (eni, now) = (primary(node), node.now());
    let request = AssignPrivateIpAddresses { eni, secondary, allow_reassignment: false };
    node.ec2.assign_private_ip_addresses(now, &request).expect("room");
}

/// A t3.small of three full ENIs whose second one is tagged away, with the pods on it.
fn with_one_tagged_away() -> (Node, EniId, Vec<IpAddr>) {
    let mut node = Region::of("t3.small").settled(Config::default(), Knobs { minimum_ip: 9, ..ready(1) });
    let pods = fill(&mut node, "pod", 4);
    let away = owner(&node, pods[3]);
    assert_ne!(away, primary(&node));
    tag(&mut node, away.as_str(), NO_MANAGE, "true");
    (node, away, pods)
}

#[test]
fn an_eni_that_is_tagged_away_while_running_keeps_its_pod_and_is_not_touched() {
    let (mut node, away, pods) = with_one_tagged_away();
    node.pass(secs(65));
    let before = eni(&node, &away);
    let others = enis(&node).len();
    node.pass(secs(600));
    assert_eq!(enis(&node).len(), others, "no other ENI goes in its place");
    assert!(node.kernel.pods.contains_key(&pods[3]));
    // The rest of the node is used up, and this one is not.
    let mut late = Vec::new();
    for pod in 0..3 {
        let ticket = node.add(&format!("late{pod}"));
        node.pass(secs(15));
        late.push(added(&node, ticket));
    }
    assert!(late.iter().all(|pod| owner(&node, *pod) != away));
    delete(&mut node, "late", 0..3);
    delete(&mut node, "pod", 0..4);
    node.pass(secs(600));
    assert_eq!(eni(&node, &away), before);
    expect_converged(&mut node);
    // The tag goes: it is ours again.
    node.ec2.set_tag(away.as_str(), NO_MANAGE, "false").expect("an ENI");
    node.pass(secs(65));
    let again: Vec<_> = (0..9).map(|pod| add_settled(&mut node, &format!("again{pod}"))).collect();
    assert!(again.iter().flatten().any(|pod| owner(&node, *pod) == away));
}

#[test]
fn a_restart_does_not_touch_an_eni_that_is_tagged_away() {
    let (mut node, away, _) = with_one_tagged_away();
    node.pass(secs(65));
    let before = eni(&node, &away);
    // More is wanted, and a pod comes before the first look at EC2.
    fill(&mut node, "late", 2);
    node.crash_and_restart();
    let tickets: Vec<_> = (0..4).map(|pod| node.add(&format!("rush{pod}"))).collect();
    node.pass(secs(50));
    assert_eq!(eni(&node, &away), before);
    for ticket in tickets {
        if let Some(Answer::Added(holder)) = node.answer(ticket) {
            assert_ne!(owner(&node, holder.wiring.key()), away);
        }
    }
}

#[test]
fn a_cordoned_node_changes_nothing_serves_what_it_has_and_says_why_not_more() {
    for mode in [Mode::SecondaryIp, Mode::Prefix] {
        let mut node = Region::of("t3.small").settled(Config { mode, ..Config::default() }, ready(2));
        let free = usize::try_from(node.state().pool_status(node.now()).free).expect("few");
        fill(&mut node, "old", 1);
        let free_now = usize::try_from(node.state().pool_status(node.now()).free).expect("few");
        node.reconfigure(Config { mode, cordoned: true, ..Config::default() });
        let before = mutations(&node);
        let pods: Vec<_> = (0..free_now).map(|pod| node.add(&format!("pod{pod}"))).collect();
        node.pass(secs(1));
        pods.iter().for_each(|ticket| {
            added(&node, *ticket);
        });
        assert_eq!(reason_to_wait(&mut node, "late"), WaitReason::Cordoned);
        delete(&mut node, "pod", 0..free_now);
        node.pass(secs(600));
        assert_eq!(mutations(&node), before, "{mode:?}");
        node.reconfigure(Config { mode, ..Config::default() });
        node.pass(secs(120));
        settle(&mut node);
        assert!(free > 0 && node.state().pool_status(node.now()).free >= 2);
        expect_converged(&mut node);
    }
}

#[test]
fn a_cordoned_node_that_restarts_changes_nothing() {
    let mut node = Region::of("t3.small").settled(Config::default(), ready(2));
    fill(&mut node, "pod", 4);
    node.reconfigure(Config { cordoned: true, ..Config::default() });
    node.replace_strategist(ready(1));
    let before = mutations(&node);
    node.crash_and_restart();
    node.pass(secs(600));
    assert_eq!(mutations(&node), before);
}

#[test]
fn a_node_that_only_looks_serves_what_others_provide() {
    for mode in [Mode::SecondaryIp, Mode::Prefix] {
        let config = Config { provisioning: Provisioning::LookOnly, mode, ..Config::default() };
        let mut node = Region::of("t3.small").settled(config, ready(3));
        assert_eq!(reason_to_wait(&mut node, "early"), WaitReason::NotProvisioned);
        assert_eq!(mutations(&node), BTreeMap::new());
        let waiting = node.add("waiting");
        provide(
            &mut node,
            match mode {
                Mode::SecondaryIp => Secondary::Addresses(2),
                Mode::Prefix => Secondary::Prefixes(1),
            },
        );
        let theirs = mutations(&node);
        node.pass(secs(61));
        // Within the minute in which it looks, or for the next try of its runtime.
        let _ = node.answer(waiting);
        fill(&mut node, "pod", 1);
        node.del("pod0");
        node.pass(secs(600));
        assert_eq!(mutations(&node), theirs, "{mode:?}");
    }
}

#[test]
fn a_node_that_reads_metadata_alone_calls_ec2_for_nothing() {
    for mode in [Mode::SecondaryIp, Mode::Prefix] {
        let config = Config { provisioning: Provisioning::MetadataOnly, mode, ..Config::default() };
        let mut node = Region::of("t3.small").settled(config, ready(3));
        assert_eq!(reason_to_wait(&mut node, "early"), WaitReason::NotProvisioned);
        provide(
            &mut node,
            match mode {
                Mode::SecondaryIp => Secondary::Addresses(2),
                Mode::Prefix => Secondary::Prefixes(1),
            },
        );
        node.pass(secs(65));
        fill(&mut node, "pod", 2);
        node.crash_and_restart();
        node.pass(secs(600));
        delete(&mut node, "pod", 0..2);
        node.pass(secs(60));
        assert_eq!(node.ec2.calls(), [("AssignPrivateIpAddresses", 1)].into(), "theirs alone, {mode:?}");
    }
}

#[test]
fn a_node_that_only_looks_says_so_when_ipv6_is_missing_too() {
    let config = Config {
        provisioning: Provisioning::LookOnly,
        families: Families::Ipv6,
        mode: Mode::Prefix,
        ..Config::default()
    };
    let mut node = Region::of("t3.small").with_ipv6().settled(config, ready(1));
    assert_eq!(reason_to_wait(&mut node, "early"), WaitReason::NotProvisioned);
    assert_eq!(mutations(&node), BTreeMap::new());
}

#[test]
fn an_eni_that_is_tagged_away_on_its_way_out_stays() {
    let mut node = Region::of("t3.small").settled(Config::default(), Knobs { minimum_ip: 9, ..ready(1) });
    node.ec2.deny(Call::DetachNetworkInterface);
    node.replace_strategist(ready(1));
    node.pass(secs(200));
    let leaving = |node: &Node, eni: &EniId| {
        node.state().eni(eni).is_some_and(|eni| matches!(eni.phase, Phase::Leaving(_)))
    };
    let own = enis(&node).into_iter().map(|eni| eni.id).filter(|eni| leaving(&node, eni));
    let away: Vec<EniId> = own.collect();
    assert!(!away.is_empty(), "there is an ENI too many");
    for eni in &away {
        tag(&mut node, eni.as_str(), NO_MANAGE, "true");
    }
    node.pass(secs(65));
    let before: Vec<_> = away.iter().map(|id| eni(&node, id)).collect();
    node.ec2.permit(Call::DetachNetworkInterface);
    node.pass(secs(600));
    assert!(away.iter().all(|eni| !leaving(&node, eni)));
    assert_eq!(away.iter().map(|id| eni(&node, id)).collect::<Vec<_>>(), before);
    expect_converged(&mut node);
}

#[test]
fn addresses_on_their_way_back_stay_on_an_eni_that_is_tagged_away() {
    let mut node = Region::of("t3.small").settled(Config::default(), Knobs { minimum_ip: 9, ..ready(1) });
    let pods = fill(&mut node, "pod", 7);
    let away = owner(&node, pods[6]);
    let call = Some(Call::UnassignPrivateIpAddresses);
    let kind = FaultKind::Error(Code::InternalError);
    node.ec2.inject(Fault { call, times: 12, kind }).expect("few faults");
    node.replace_strategist(ready(1));
    node.pass(secs(50));
    assert!(states(&node).values().any(|state| *state == "returning"), "{:?}", states(&node));
    tag(&mut node, away.as_str(), NO_MANAGE, "true");
    node.pass(secs(65));
    let before = eni(&node, &away);
    assert_eq!(before.secondary.len(), 3, "nothing went before the tag was seen");
    node.pass(secs(900));
    assert_eq!(eni(&node, &away), before);
    assert!(states(&node).values().all(|state| *state != "returning"), "{:?}", states(&node));
}

#[test]
fn a_node_that_turns_to_metadata_remembers_what_is_tagged_away() {
    let (mut node, away, _) = with_one_tagged_away();
    node.pass(secs(65));
    node.reconfigure(Config { provisioning: Provisioning::MetadataOnly, ..Config::default() });
    node.pass(secs(65));
    let tickets: Vec<_> = (0..4).map(|pod| node.add(&format!("late{pod}"))).collect();
    node.pass(secs(59));
    let late = tickets.iter().filter_map(|ticket| match node.answer(*ticket) {
        Some(Answer::Added(holder)) => Some(holder.wiring.key()),
        Some(Answer::Deleted | Answer::TryLater(_) | Answer::Refused(_) | Answer::Collected { .. })
        | None => None,
    });
    let late: Vec<_> = late.collect();
    assert_eq!(late.len(), 2, "what the other ENIs have");
    assert!(late.iter().all(|pod| owner(&node, *pod) != away));
}

/// Somebody else creates an ENI with three addresses and attaches it in the second seat.
fn attach(node: &mut Node, description: String) -> EniId {
    let (now, instance) = (node.now(), node.instance().clone());
    let subnet = node.state().identity().subnet.clone();
    let request = CreateNetworkInterface {
        secondary: Secondary::Addresses(3),
        description,
        ..CreateNetworkInterface::within(subnet)
    };
    let eni = node.ec2.create_network_interface(now, &request).expect("an ENI").id;
    let seat = Seat { card: 0, device: 1 };
    node.ec2.attach_network_interface(now, &eni, &instance, seat).expect("a free seat");
    eni
}

#[test]
fn a_creation_that_was_never_settled_does_not_hide_what_others_attach() {
    for provisioning in [Provisioning::LookOnly, Provisioning::MetadataOnly] {
        let mut node = Region::of("t3.small").settled(Config::default(), ready(1));
        fill(&mut node, "pod", 2);
        let kind = FaultKind::Error(Code::Unavailable);
        let call = Some(Call::CreateNetworkInterface);
        node.ec2.inject(Fault { call, times: 1, kind }).expect("few faults");
        node.add("a");
        node.add("b");
        let deadline = node.now() + secs(30);
        while calls(&node, Call::CreateNetworkInterface) == 0 {
            assert!(node.step(deadline), "an ENI is asked for");
        }
        node.reconfigure(Config { provisioning, ..Config::default() });
        node.crash_and_restart();
        node.pass(secs(5));
        let theirs = attach(&mut node, "the provider's".to_owned());
        node.pass(secs(200));
        let tickets = [node.add("c"), node.add("d")];
        node.pass(secs(1));
        let late = tickets.map(|ticket| added(&node, ticket));
        assert!(late.iter().any(|pod| owner(&node, *pod) == theirs), "{provisioning:?}");
    }
}

#[test]
fn a_node_that_only_looks_waits_for_a_late_link_and_serves_from_it() {
    let config = Config { provisioning: Provisioning::LookOnly, ..Config::default() };
    let mut node = Region::of("t3.small").settled(config, ready(1));
    node.ec2.set_delays(Delays { attach: secs(260), ..Delays::default() });
    // Described as the incumbent describes its own, and so do those that provide in its stead.
    let description = format!("aws-K8S-{}", node.instance());
    let theirs = attach(&mut node, description);
    node.pass(secs(600));
    let pods = fill(&mut node, "pod", 3);
    assert!(pods.iter().all(|pod| owner(&node, *pod) == theirs));
}

#[test]
fn an_eni_on_its_way_out_serves_again_when_nobody_takes_it_out_any_more() {
    for by_restart in [true, false] {
        let mut node = Region::of("t3.small").settled(Config::default(), Knobs { minimum_ip: 9, ..ready(1) });
        let all = enis(&node).len();
        node.ec2.deny(Call::DetachNetworkInterface);
        node.ec2.deny(Call::UnassignPrivateIpAddresses);
        node.replace_strategist(ready(1));
        let phases = |node: &Node| -> Vec<Phase> {
            let known = enis(node).into_iter().filter_map(|eni| node.state().eni(&eni.id).cloned());
            known.map(|eni| eni.phase).collect()
        };
        let deadline = node.now() + secs(300);
        while !phases(&node).contains(&Phase::Leaving(Leaving::Detaching)) {
            assert!(node.step(deadline), "one leaves");
        }
        node.reconfigure(Config { provisioning: Provisioning::LookOnly, ..Config::default() });
        if by_restart {
            node.crash_and_restart();
        }
        node.pass(secs(300));
        assert_eq!(phases(&node), vec![Phase::Ready; all]);
        fill(&mut node, "pod", 9);
    }
}
