//! What went wrong once, by name: lost replies, deaths at the wrong moment, views that disagree.

use std::net::IpAddr;
use std::time::Duration;

use enid_core::event::{Answer, CloudCall, Ticket};
use enid_core::node::Config;
use enid_sim::ec2::call::Call;
use enid_sim::ec2::fault::{Fault, FaultKind};
use enid_sim::ec2::refusal::Code;
use enid_sim::node::{SimNode, attachment, lone_instance};
use simulation::{Knobs, START, a_node, add_settled, expect_converged};

type Node = SimNode<Knobs>;

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn ready(ready: u32) -> Knobs {
    Knobs { warm_ip: ready, ..Knobs::default() }
}

fn floor(minimum_ip: u32) -> Knobs {
    Knobs { minimum_ip, ..Knobs::default() }
}

/// The next `times` answers to `call` go wrong like this.
fn break_call(node: &mut Node, call: Call, times: u32, kind: FaultKind) {
    node.ec2.inject(Fault { call: Some(call), times, kind }).expect("few faults");
}

fn settle(node: &mut Node) {
    assert!(node.settle(secs(1200)), "the node settles: {:?}", node.state().status(node.now()));
    assert_eq!(node.kernel.outrages, Vec::<String>::new());
}

fn address_of(node: &Node, ticket: Ticket) -> Option<IpAddr> {
    match node.answer(ticket)? {
        Answer::Added(holder) => Some(holder.wiring.key()),
        Answer::Deleted | Answer::TryLater(_) | Answer::Refused(_) | Answer::Collected { .. } => None,
    }
}

fn state_of(node: &Node, address: IpAddr) -> &'static str {
    let lease = node.state().addresses(node.now()).into_iter().find(|lease| lease.address == address);
    lease.map_or("unknown", |lease| lease.state)
}

/// Lets time pass until `call` is under way.
fn until_under_way(node: &mut Node, call: impl Fn(&CloudCall) -> bool) {
    let deadline = node.now() + secs(600);
    while !node.calls_under_way().any(&call) {
        assert!(node.step(deadline), "the call is made in time");
    }
}

fn gives_back(call: &CloudCall) -> bool {
    matches!(call, CloudCall::Unassign { .. })
}

/// A node whose surplus addresses are about to be given back.
fn a_node_with_surplus() -> Node {
    let mut node = a_node("m5.large", ready(1), Config::default());
    for pod in 0..6 {
        add_settled(&mut node, &format!("pod{pod}")).expect("an address");
    }
    for pod in 0..6 {
        node.del(&format!("pod{pod}"));
    }
    node.pass(secs(31));
    node
}

/// More pods than the node has free addresses.
fn rush(node: &mut Node) -> Vec<Ticket> {
    (0..8).map(|pod| node.add(&format!("rush{pod}"))).collect()
}

fn expect_all_served(node: &mut Node, tickets: &[Ticket]) {
    settle(node);
    assert!(tickets.iter().all(|ticket| address_of(node, *ticket).is_some()));
    node.pass(secs(300));
    settle(node);
    expect_converged(node);
}

#[test]
fn an_address_on_its_way_back_serves_nobody_after_a_death() {
    let mut node = a_node_with_surplus();
    break_call(&mut node, Call::UnassignPrivateIpAddresses, 1, FaultKind::Delay(secs(20)));
    until_under_way(&mut node, gives_back);
    node.crash_and_restart();
    let tickets = rush(&mut node);
    expect_all_served(&mut node, &tickets);
}

#[test]
fn an_address_whose_give_back_was_not_answered_serves_nobody() {
    let mut node = a_node_with_surplus();
    break_call(&mut node, Call::UnassignPrivateIpAddresses, 1, FaultKind::LostReply);
    until_under_way(&mut node, gives_back);
    node.pass(Duration::from_millis(200));
    let tickets = rush(&mut node);
    expect_all_served(&mut node, &tickets);
}

#[test]
fn throttling_after_a_lost_reply_does_not_make_the_give_back_undone() {
    let mut node = a_node_with_surplus();
    break_call(&mut node, Call::UnassignPrivateIpAddresses, 1, FaultKind::LostReply);
    break_call(&mut node, Call::UnassignPrivateIpAddresses, 1, FaultKind::Throttle);
    until_under_way(&mut node, gives_back);
    node.pass(secs(2));
    let tickets = rush(&mut node);
    expect_all_served(&mut node, &tickets);
}

#[test]
fn a_denied_give_back_leaves_the_addresses_in_service_and_does_not_stop_growth() {
    let mut node = a_node_with_surplus();
    node.ec2.deny(Call::UnassignPrivateIpAddresses);
    let total = node.state().pool_status(node.now()).total;
    node.pass(secs(200));
    let pool = node.state().pool_status(node.now());
    assert_eq!((pool.total, pool.free), (total, total));
    let tickets: Vec<_> = (0..12).map(|pod| node.add(&format!("rush{pod}"))).collect();
    node.pass(secs(5));
    assert!(tickets.iter().all(|ticket| address_of(&node, *ticket).is_some()), "growth waits for nothing");
    node.ec2.permit(Call::UnassignPrivateIpAddresses);
    expect_all_served(&mut node, &tickets);
}

#[test]
fn an_eni_whose_creation_was_not_answered_is_created_once() {
    let mut node = a_node("t3.small", floor(3), Config::default());
    break_call(&mut node, Call::CreateNetworkInterface, 2, FaultKind::LostReply);
    node.replace_strategist(floor(6));
    settle(&mut node);
    assert_eq!(node.ec2.interfaces().count(), 2);
    expect_converged(&mut node);
}

#[test]
fn an_eni_whose_creation_was_not_answered_and_then_denied_is_not_lost() {
    let mut node = a_node("t3.small", floor(3), Config::default());
    break_call(&mut node, Call::CreateNetworkInterface, 1, FaultKind::LostReply);
    break_call(&mut node, Call::CreateNetworkInterface, 1, FaultKind::Error(Code::UnauthorizedOperation));
    node.replace_strategist(floor(6));
    settle(&mut node);
    assert_eq!(node.ec2.interfaces().count(), 2);
    expect_converged(&mut node);
}

#[test]
fn a_death_at_any_moment_of_growth_creates_no_second_eni() {
    for effects in 0..25 {
        let mut node = a_node("t3.small", floor(3), Config::default());
        node.crash_after(effects);
        node.replace_strategist(floor(6));
        // A daemon that comes back has saved up no calls, and leaves some of what it saves to pods.
        node.pass(secs(30));
        settle(&mut node);
        assert_eq!(node.ec2.interfaces().count(), 2, "died after {effects} effects");
        expect_converged(&mut node);
    }
}

#[test]
fn an_eni_whose_attaching_was_not_answered_is_adopted() {
    let mut node = a_node("t3.small", floor(3), Config::default());
    break_call(&mut node, Call::AttachNetworkInterface, 1, FaultKind::LostReply);
    node.replace_strategist(floor(6));
    settle(&mut node);
    assert_eq!(node.state().addresses_per_eni(), [3, 3]);
    expect_converged(&mut node);
}

#[test]
fn an_eni_that_cannot_be_attached_is_deleted() {
    let mut node = a_node("t3.small", floor(3), Config::default());
    break_call(&mut node, Call::AttachNetworkInterface, 1, FaultKind::Error(Code::AttachmentLimitExceeded));
    node.replace_strategist(floor(6));
    settle(&mut node);
    node.pass(secs(60));
    settle(&mut node);
    assert_eq!(node.ec2.interfaces().count(), 2);
    assert_eq!(node.state().addresses_per_eni(), [3, 3]);
    expect_converged(&mut node);
}

#[test]
fn an_eni_that_leaves_finds_its_way_out_through_lost_replies_and_deaths() {
    for lost in [Call::DetachNetworkInterface, Call::DeleteNetworkInterface] {
        let mut node = a_node("t3.small", floor(6), Config::default());
        node.pass(secs(60));
        break_call(&mut node, lost, 2, FaultKind::LostReply);
        node.replace_strategist(floor(3));
        until_under_way(&mut node, |call| matches!(call, CloudCall::Detach { .. }));
        node.crash_and_restart();
        settle(&mut node);
        assert_eq!(node.ec2.interfaces().count(), 1, "{lost}");
        expect_converged(&mut node);
    }
}

#[test]
fn an_eni_that_was_detached_unheard_is_still_deleted_by_the_next_life() {
    let mut node = a_node("t3.small", floor(6), Config::default());
    node.pass(secs(60));
    break_call(&mut node, Call::DetachNetworkInterface, 1, FaultKind::LostReply);
    node.replace_strategist(floor(3));
    until_under_way(&mut node, |call| matches!(call, CloudCall::Detach { .. }));
    node.pass(secs(1));
    // The next life sees for long that EC2 does not list the ENI, before it sees the kernel.
    node.kernel.look_takes = secs(200);
    node.crash_and_restart();
    node.pass(secs(400));
    node.kernel.look_takes = Duration::ZERO;
    settle(&mut node);
    assert_eq!(node.ec2.interfaces().count(), 1);
    expect_converged(&mut node);
}

#[test]
fn an_eni_that_was_not_asked_for_is_not_asked_for_by_a_cordoned_node() {
    let mut node = a_node("t3.small", floor(3), Config::default());
    node.faults.journal_full = true;
    node.replace_strategist(floor(6));
    node.pass(secs(30));
    assert_eq!(node.ec2.interfaces().count(), 1, "nothing is begun that would be forgotten");
    let cordoned = Config { cordoned: true, ..Config::default() };
    node.reconfigure(cordoned);
    node.faults.journal_full = false;
    node.pass(secs(300));
    assert_eq!(node.ec2.interfaces().count(), 1);
    node.reconfigure(Config::default());
    settle(&mut node);
    assert_eq!(node.ec2.interfaces().count(), 2);
    expect_converged(&mut node);
}

#[test]
fn a_pod_survives_a_death_and_its_late_delete_is_honoured() {
    let mut node = a_node("t3.small", ready(1), Config::default());
    let address = add_settled(&mut node, "a").expect("an address");
    node.pass(secs(5));
    let issued = node.now();
    node.pass(secs(5));
    node.crash_and_restart();
    settle(&mut node);
    assert_eq!(state_of(&node, address), "bound");
    node.del_issued(attachment("a"), Some(issued));
    settle(&mut node);
    assert_eq!(state_of(&node, address), "cooling");
    node.pass(secs(120));
    settle(&mut node);
    expect_converged(&mut node);
}

#[test]
fn cooling_goes_on_after_a_death_and_never_for_longer_than_configured() {
    let mut node = a_node("t3.small", floor(3), Config::default());
    let address = add_settled(&mut node, "a").expect("an address");
    node.del("a");
    node.pass(secs(10));
    node.crash_and_restart();
    assert_eq!(state_of(&node, address), "cooling");
    node.pass(secs(19));
    assert_eq!(state_of(&node, address), "cooling");
    node.pass(secs(2));
    assert_eq!(state_of(&node, address), "free");
    settle(&mut node);
    expect_converged(&mut node);
}

#[test]
fn a_pod_that_was_being_wired_when_the_daemon_died_is_unwired() {
    for effects in 0..4 {
        let mut node = a_node("t3.small", ready(1), Config::default());
        node.kernel.takes = Duration::from_millis(5);
        node.crash_after(effects);
        let ticket = node.add("a");
        settle(&mut node);
        if address_of(&node, ticket).is_none() {
            assert!(node.kernel.pods.is_empty(), "died after {effects} effects");
        }
        node.del("a");
        node.pass(secs(120));
        settle(&mut node);
        assert!(node.kernel.pods.is_empty());
        expect_converged(&mut node);
    }
}

#[test]
fn an_address_that_the_kernel_gives_to_an_unknown_pod_is_not_handed_out() {
    let mut node = a_node("t3.small", floor(3), Config::default());
    let address = add_settled(&mut node, "a").expect("an address");
    // The journal is lost: the daemon knows neither its ENIs nor its pods.
    node.journal.clear();
    node.crash_and_restart();
    settle(&mut node);
    assert_eq!(state_of(&node, address), "quarantined");
    for pod in ["b", "c"] {
        assert_ne!(add_settled(&mut node, pod), Some(address));
    }
    node.kernel.kill(address);
    let deadline = node.now() + secs(120);
    while state_of(&node, address) == "quarantined" {
        assert!(node.step(deadline), "the kernel is looked at in time");
    }
    assert_eq!(state_of(&node, address), "cooling");
    node.pass(secs(120));
    settle(&mut node);
    expect_converged(&mut node);
}

#[test]
fn two_deletes_and_a_repeated_add_free_an_address_once() {
    let config = Config { cooldown: Duration::ZERO, ..Config::default() };
    let mut node = a_node("t3.small", floor(1), config);
    let address = add_settled(&mut node, "a").expect("an address");
    node.kernel.takes = secs(1);
    node.add("a");
    node.del("a");
    node.del("a");
    let next = node.add("b");
    settle(&mut node);
    let second = address_of(&node, next).expect("an address");
    assert_eq!((state_of(&node, second), state_of(&node, address)), ("bound", state_of(&node, address)));
    node.kernel.takes = Duration::ZERO;
    node.pass(secs(300));
    settle(&mut node);
    assert_eq!(state_of(&node, second), "bound");
    expect_converged(&mut node);
}

#[test]
fn an_eni_that_somebody_detaches_serves_no_new_pods_and_its_pods_are_set_apart() {
    let mut node = a_node("t3.small", floor(6), Config::default());
    let pods: Vec<_> =
        (0..4).map(|pod| add_settled(&mut node, &format!("pod{pod}")).expect("an address")).collect();
    let victim = node.ec2.interfaces_of(node.instance()).nth(1).cloned().expect("a second ENI");
    let attachment = victim.attachment.as_ref().expect("it is attached").id.clone();
    let now = node.now();
    node.ec2.detach_network_interface(now, &attachment).expect("EC2 detaches it");
    node.pass(secs(120));
    assert_eq!(state_of(&node, pods[3]), "quarantined");
    for pod in ["x", "y"] {
        let address = add_settled(&mut node, pod).expect("an address");
        assert!(!simulation::safety::has(&victim, address));
    }
    node.del("pod3");
    node.pass(secs(300));
    settle(&mut node);
    assert!(node.state().eni(&victim.id).is_none());
    expect_converged(&mut node);
}

#[test]
fn an_address_that_somebody_takes_from_under_a_pod_is_set_apart_until_it_is_back() {
    let mut node = a_node("t3.small", floor(3), Config::default());
    let address = add_settled(&mut node, "a").expect("an address");
    let eni = node.state().identity().primary_eni.clone();
    let request = |now, node: &mut Node| {
        let taken = simulation::safety::singly(address);
        let instance = node.instance().clone();
        node.ec2.node_view(&instance, now).unassign(&eni, &taken)
    };
    let now = node.now();
    request(now, &mut node).expect("EC2 takes it");
    node.pass(secs(120));
    assert_eq!(state_of(&node, address), "quarantined");
    let del = node.del("a");
    node.pass(secs(300));
    settle(&mut node);
    assert_eq!(node.answer(del), Some(&Answer::Deleted));
    assert_eq!(state_of(&node, address), "unknown");
    expect_converged(&mut node);
}

#[test]
fn a_node_that_starts_while_ec2_is_down_wakes_seldom_and_recovers() {
    let known = enid_core::instance_types::lookup("t3.small").expect("a known type");
    let (mut ec2, instance, _) = lone_instance(7, &known, START).expect("a world");
    for call in [Call::DescribeNetworkInterfaces, Call::DescribeSubnets] {
        let kind = FaultKind::Error(Code::Unavailable);
        ec2.inject(Fault { call: Some(call), times: 12, kind }).expect("few faults");
    }
    let mut node =
        SimNode::start(ec2, instance, Config::default(), ready(2), START + secs(60)).expect("metadata");
    let deadline = node.now() + secs(60);
    let mut steps = 0;
    while node.step(deadline) {
        steps += 1;
    }
    assert!(steps < 100, "{steps} wakes in a minute");
    node.pass(secs(600));
    settle(&mut node);
    assert_eq!(node.state().pool_status(node.now()).free, 2);
    expect_converged(&mut node);
}

#[test]
fn an_idle_node_wakes_seldom() {
    let mut node = a_node("m5.large", Knobs { warm_eni: 1, ..Knobs::default() }, Config::default());
    node.pass(secs(300));
    let deadline = node.now() + secs(600);
    let mut steps = 0;
    while node.step(deadline) {
        steps += 1;
    }
    assert!(steps < 300, "{steps} wakes in ten minutes");
    expect_converged(&mut node);
}
