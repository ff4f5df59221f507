//! ENIs that somebody else attached to the instance.

use enid_core::ids::EniId;
use enid_core::wiring::Seat;
use enid_sim::ec2::Delays;
use enid_sim::ec2::call::Call;
use enid_sim::ec2::interface::{CreateNetworkInterface, Secondary};

use super::*;

/// Somebody creates an ENI with three addresses and attaches it in `seat`; some tags may keep us off it.
fn attach_foreign(node: &mut Node, seat: Seat, no_manage: bool) -> EniId {
    let (now, instance) = (node.now(), node.instance().clone());
    let subnet = node.ec2.subnets().next().map(|subnet| subnet.id.clone()).expect("a subnet");
    let tag = ("node.k8s.amazonaws.com/no_manage".to_owned(), "true".to_owned());
    let request = CreateNetworkInterface {
        secondary: Secondary::Addresses(3),
        description: "the database's".to_owned(),
        tags: no_manage.then_some(tag).into_iter().collect(),
        ..CreateNetworkInterface::within(subnet)
    };
    let eni = node.ec2.create_network_interface(now, &request).expect("a new ENI").id;
    node.ec2.attach_network_interface(now, &eni, &instance, seat).expect("a free seat");
    eni
}

fn calls(node: &Node, call: Call) -> u64 {
    node.ec2.calls().get(call.name()).copied().unwrap_or(0)
}

const SECOND: Seat = Seat { card: 0, device: 1 };

#[test]
fn a_foreign_eni_serves_pods_and_is_never_given_back() {
    let mut node = a_small_node(ready(1));
    let eni = attach_foreign(&mut node, SECOND, false);
    node.pass(secs(120));
    settle(&mut node);
    assert_eq!(node.state().eni(&eni).map(|eni| eni.phase.name()), Some("ready"));
    let pods = fill(&mut node, 5);
    let here = node.ec2.interfaces_of(node.instance()).find(|here| here.id == eni).expect("it is attached");
    assert!(pods.iter().any(|pod| simulation::safety::has(here, *pod)));
    for pod in 0..5 {
        node.del(&format!("pod{pod}"));
    }
    node.reconfigure(Config { max_enis: Some(1), ..Config::default() });
    node.pass(secs(600));
    settle(&mut node);
    assert_eq!(node.state().eni(&eni).map(|eni| eni.phase.name()), Some("ready"));
    for call in [Call::DetachNetworkInterface, Call::DeleteNetworkInterface] {
        assert_eq!(calls(&node, call), 0, "{call}");
    }
    assert_eq!(
        calls(&node, Call::ModifyNetworkInterfaceAttribute),
        0,
        "its owner decides when it is deleted"
    );
    expect_converged(&mut node);
}

#[test]
fn a_foreign_eni_whose_link_does_not_appear_is_left_and_not_waited_for() {
    let mut node = a_small_node(ready(1));
    node.ec2.set_delays(Delays { attach: secs(1200), ..Delays::default() });
    let eni = attach_foreign(&mut node, SECOND, false);
    node.ec2.set_delays(Delays::default());
    node.pass(secs(300));
    assert_eq!(node.state().eni(&eni).map(|eni| eni.phase.name()), Some("attaching"));
    // Pods get addresses from an ENI of our own meanwhile, in the one seat that is left.
    let tickets: Vec<_> = (0..6).map(|pod| node.add(&format!("pod{pod}"))).collect();
    node.pass(secs(60));
    for ticket in tickets {
        added(&node, ticket);
    }
    let before = node.now();
    let mut steps = 0;
    while node.step(before + secs(300)) {
        steps += 1;
    }
    assert!(steps < 150, "{steps} wakes in five minutes");
    assert_eq!(calls(&node, Call::DetachNetworkInterface), 0);
    node.pass(secs(900));
    settle(&mut node);
    assert_eq!(node.state().eni(&eni).map(|eni| eni.phase.name()), Some("ready"));
    expect_converged(&mut node);
}

#[test]
fn an_eni_whose_every_seat_was_taken_meanwhile_is_deleted() {
    let mut node = a_small_node(ready(1));
    node.replace_strategist(Knobs { minimum_ip: 6, ..Knobs::default() });
    let deadline = node.now() + secs(60);
    while calls(&node, Call::CreateNetworkInterface) == 0 {
        assert!(node.step(deadline), "the node grows");
    }
    for device in [1, 2] {
        attach_foreign(&mut node, Seat { card: 0, device }, true);
    }
    node.pass(secs(300));
    settle(&mut node);
    assert_eq!(calls(&node, Call::DeleteNetworkInterface), 1, "the one that found no seat");
    assert_eq!(node.ec2.interfaces().count(), 3, "the primary, and the two that are not ours");
    expect_converged(&mut node);
}

#[test]
fn an_eni_of_ours_is_known_again_without_a_journal_and_given_back() {
    let mut node = a_small_node(Knobs { minimum_ip: 6, ..Knobs::default() });
    assert_eq!(node.ec2.interfaces().count(), 2);
    node.journal.clear();
    node.crash_and_restart();
    settle(&mut node);
    node.replace_strategist(ready(1));
    node.pass(secs(600));
    settle(&mut node);
    assert_eq!(node.ec2.interfaces().count(), 1);
    expect_converged(&mut node);
}

#[test]
fn only_unmanaged_enis_on_the_default_card_count_against_the_limit() {
    for (card, counted) in [(0, 1), (1, 0)] {
        let mut node = a_node("p4d.24xlarge", ready(1), Config::default());
        let limit = node.state().pool_status(node.now()).max_enis;
        attach_foreign(&mut node, Seat { card, device: 1 }, true);
        node.pass(secs(120));
        assert_eq!(node.state().pool_status(node.now()).max_enis, limit - counted, "on card {card}");
        settle(&mut node);
        expect_converged(&mut node);
    }
}

#[test]
fn an_address_that_stays_missing_is_not_looked_for_all_the_time() {
    let mut node = a_small_node(Knobs { minimum_ip: 3, ..Knobs::default() });
    let address = add_settled(&mut node, "a").expect("an address");
    let (now, instance) = (node.now(), node.instance().clone());
    let eni = node.state().identity().primary_eni.clone();
    let taken = simulation::safety::singly(address);
    node.ec2.node_view(&instance, now).unassign(&eni, &taken).expect("EC2 takes it");
    node.pass(secs(120));
    assert_eq!(state_of(&node, address), "quarantined");
    let before = calls(&node, Call::DescribeNetworkInterfaces);
    node.pass(secs(600));
    let looks = calls(&node, Call::DescribeNetworkInterfaces) - before;
    assert!(looks <= 11, "{looks} looks in ten minutes");
    node.del("a");
    node.pass(secs(300));
    settle(&mut node);
    expect_converged(&mut node);
}

#[test]
fn a_detached_eni_with_a_pod_is_not_looked_for_all_the_time() {
    let mut node = a_small_node(Knobs { minimum_ip: 6, ..Knobs::default() });
    let pods = fill(&mut node, 4);
    let victim = node.ec2.interfaces_of(node.instance()).nth(1).cloned().expect("a second ENI");
    let attachment = victim.attachment.as_ref().expect("it is attached").id.clone();
    let now = node.now();
    node.ec2.detach_network_interface(now, &attachment).expect("EC2 detaches it");
    node.pass(secs(180));
    assert_eq!(state_of(&node, pods[3]), "quarantined");
    let before = calls(&node, Call::DescribeNetworkInterfaces);
    node.pass(secs(600));
    let looks = calls(&node, Call::DescribeNetworkInterfaces) - before;
    assert!(looks <= 11, "{looks} looks in ten minutes");
    node.del("pod3");
    node.pass(secs(300));
    settle(&mut node);
    expect_converged(&mut node);
}

#[test]
fn addresses_that_left_with_their_eni_are_not_free_in_the_next_life() {
    let mut node = a_small_node(Knobs { minimum_ip: 6, ..Knobs::default() });
    fill(&mut node, 4);
    let victim = node.ec2.interfaces_of(node.instance()).nth(1).cloned().expect("a second ENI");
    let attachment = victim.attachment.as_ref().expect("it is attached").id.clone();
    let leases = node.state().addresses(node.now()).into_iter();
    let left: Vec<IpAddr> = leases
        .filter(|lease| lease.eni == victim.id && lease.state == "free")
        .map(|lease| lease.address)
        .collect();
    assert!(!left.is_empty(), "one pod, and more addresses");
    let now = node.now();
    node.ec2.detach_network_interface(now, &attachment).expect("EC2 detaches it");
    let deadline = node.now() + secs(600);
    while left.iter().any(|address| state_of(&node, *address) != "unknown") {
        assert!(node.step(deadline), "it is missed");
    }
    node.crash_and_restart();
    for address in left {
        assert_eq!(state_of(&node, address), "unknown");
    }
}
