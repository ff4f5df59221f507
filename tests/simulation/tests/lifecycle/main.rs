//! What a pod, and an operator, lives to see: one scenario each, and every one ends with a node that has
//! nothing left to do.

mod clocks;
mod foreign;
mod links;
mod lost;
mod supply;
mod waiting;

use std::net::IpAddr;
use std::time::Duration;

use enid_core::event::{Answer, Refusal, Ticket};
use enid_core::node::Config;
use enid_core::report::WaitReason;
use enid_sim::node::{SimNode, attachment};
use simulation::{Knobs, START, a_node, add_settled, expect_converged};

type Node = SimNode<Knobs>;

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// A t3.small (three ENIs of three pod addresses) that holds exactly what `knobs` ask for.
fn a_small_node(knobs: Knobs) -> Node {
    a_node("t3.small", knobs, Config::default())
}

/// Knobs for `ready` ready addresses and nothing else.
fn ready(ready: u32) -> Knobs {
    Knobs { warm_ip: ready, ..Knobs::default() }
}

fn added(node: &Node, ticket: Ticket) -> IpAddr {
    match node.answer(ticket) {
        Some(Answer::Added(holder)) => holder.wiring.key(),
        other => panic!("not added: {other:?}"),
    }
}

fn told_to_wait(node: &Node, ticket: Ticket) -> WaitReason {
    match node.answer(ticket) {
        Some(Answer::TryLater(reason)) => reason.clone(),
        other => panic!("not told to wait: {other:?}"),
    }
}

fn refused(node: &Node, ticket: Ticket) -> Refusal {
    match node.answer(ticket) {
        Some(Answer::Refused(refusal)) => refusal.clone(),
        other => panic!("not refused: {other:?}"),
    }
}

fn settle(node: &mut Node) {
    assert!(node.settle(secs(900)), "the node settles: {:?}", node.state().status(node.now()));
}

fn state_of(node: &Node, address: IpAddr) -> &'static str {
    let lease = node.state().addresses(node.now()).into_iter().find(|lease| lease.address == address);
    lease.map_or("unknown", |lease| lease.state)
}

/// Adds `count` pods `pod0`, `pod1`, … one after the other.
fn fill(node: &mut Node, count: u32) -> Vec<IpAddr> {
    (0..count).map(|pod| add_settled(node, &format!("pod{pod}")).expect("an address for each")).collect()
}

/// Others hold every address of the node's subnets but `left`.
fn crowd(node: &mut Node, left: usize) {
    let subnets: Vec<_> = node.ec2.subnets().cloned().collect();
    for subnet in subnets {
        let free: Vec<_> = subnet.cidr.hosts().filter(|address| subnet.is_free(*address)).collect();
        node.ec2.occupy(&subnet.id, &free[..free.len() - left]).expect("they are free");
    }
}

#[test]
fn an_address_is_bound_cools_and_is_free_again() {
    let mut node = a_small_node(ready(1));
    let address = add_settled(&mut node, "a").expect("an address");
    assert_eq!(state_of(&node, address), "bound");
    let del = node.del("a");
    settle(&mut node);
    assert_eq!(node.answer(del), Some(&Answer::Deleted));
    assert_eq!(state_of(&node, address), "cooling");
    node.pass(secs(31));
    assert_eq!(state_of(&node, address), "free");
    node.pass(secs(120));
    settle(&mut node);
    expect_converged(&mut node);
}

#[test]
fn the_address_that_has_been_free_the_longest_is_next() {
    let mut node = a_small_node(Knobs { minimum_ip: 3, ..Knobs::default() });
    let order = fill(&mut node, 3);
    for pod in [1, 2, 0] {
        node.del(&format!("pod{pod}"));
        node.pass(secs(1));
    }
    node.pass(secs(60));
    let again: Vec<_> = ["x", "y", "z"].map(|pod| add_settled(&mut node, pod).expect("an address")).to_vec();
    assert_eq!(again, [order[1], order[2], order[0]]);
    expect_converged(&mut node);
}

#[test]
fn a_cooling_address_is_not_bound_while_it_cools() {
    let mut node = a_node("t3.small", Knobs { minimum_ip: 9, ..Knobs::default() }, Config::default());
    fill(&mut node, 9);
    node.del("pod4");
    node.pass(secs(1));
    let ticket = node.add("late");
    node.pass(secs(28));
    assert_eq!(node.answer(ticket), None);
    node.pass(secs(2));
    added(&node, ticket);
    settle(&mut node);
    expect_converged(&mut node);
}

#[test]
fn a_repeated_add_gives_the_same_address_and_takes_no_other() {
    let mut node = a_small_node(ready(1));
    let first = add_settled(&mut node, "a");
    let bound = node.state().pool_status(node.now()).bound;
    assert_eq!(add_settled(&mut node, "a"), first);
    assert_eq!(node.state().pool_status(node.now()).bound, bound);
    expect_converged(&mut node);
}

#[test]
fn an_add_that_is_under_way_is_not_begun_twice() {
    let mut node = a_small_node(ready(1));
    node.kernel.takes = secs(1);
    let first = node.add("a");
    let second = node.add("a");
    settle(&mut node);
    added(&node, first);
    assert_eq!(refused(&node, second), Refusal::AlreadyUnderWay(attachment("a")));
    expect_converged(&mut node);
}

#[test]
fn deleting_what_is_not_there_succeeds() {
    let mut node = a_small_node(ready(1));
    let ticket = node.del("nobody");
    assert_eq!(node.answer(ticket), Some(&Answer::Deleted));
    let address = add_settled(&mut node, "a").expect("an address");
    node.del("a");
    settle(&mut node);
    let again = node.del("a");
    assert_eq!(node.answer(again), Some(&Answer::Deleted));
    assert_eq!(state_of(&node, address), "cooling");
    node.pass(secs(200));
    settle(&mut node);
    expect_converged(&mut node);
}

#[test]
fn a_delete_ends_the_wait() {
    let mut node = a_small_node(Knobs { minimum_ip: 9, ..Knobs::default() });
    fill(&mut node, 9);
    let add = node.add("late");
    let del = node.del("late");
    assert_eq!(refused(&node, add), Refusal::DeletedMeanwhile(attachment("late")));
    assert_eq!(node.answer(del), Some(&Answer::Deleted));
    settle(&mut node);
    expect_converged(&mut node);
}

#[test]
fn a_delete_during_wiring_waits_for_it_and_undoes_it() {
    let mut node = a_small_node(ready(1));
    node.kernel.takes = secs(1);
    let add = node.add("a");
    let del = node.del("a");
    assert_eq!((node.answer(add), node.answer(del)), (None, None));
    settle(&mut node);
    assert_eq!(refused(&node, add), Refusal::DeletedMeanwhile(attachment("a")));
    assert_eq!(node.answer(del), Some(&Answer::Deleted));
    assert!(node.kernel.pods.is_empty());
    node.pass(secs(120));
    settle(&mut node);
    expect_converged(&mut node);
}

#[test]
fn a_failed_wiring_leaves_nothing_and_the_address_is_free_at_once() {
    let mut node = a_small_node(Knobs { minimum_ip: 3, ..Knobs::default() });
    node.pass(secs(1));
    node.kernel.refuse_wirings = 1;
    let ticket = node.add("a");
    node.pass(secs(1));
    let Refusal::Kernel { address, .. } = refused(&node, ticket) else { panic!("the kernel refused") };
    assert_eq!(state_of(&node, address), "free");
    let next = fill(&mut node, 3);
    assert_eq!(next.iter().position(|next| *next == address), Some(2), "the others come first");
    expect_converged(&mut node);
}

#[test]
fn an_address_whose_wiring_failed_is_free_after_a_death_too() {
    let mut node = a_small_node(Knobs { minimum_ip: 3, ..Knobs::default() });
    node.kernel.refuse_wirings = 1;
    let ticket = node.add("a");
    node.pass(secs(1));
    let Refusal::Kernel { address, .. } = refused(&node, ticket) else { panic!("the kernel refused") };
    node.crash_and_restart();
    assert_eq!(state_of(&node, address), "free");
    settle(&mut node);
    expect_converged(&mut node);
}

#[test]
fn a_failed_unwiring_keeps_the_address_until_the_delete_is_repeated() {
    let mut node = a_small_node(ready(1));
    let address = add_settled(&mut node, "a").expect("an address");
    node.kernel.refuse_unwirings = 1;
    let first = node.del("a");
    settle(&mut node);
    assert!(matches!(refused(&node, first), Refusal::Kernel { .. }));
    assert_eq!(state_of(&node, address), "bound");
    let second = node.del("a");
    settle(&mut node);
    assert_eq!(node.answer(second), Some(&Answer::Deleted));
    node.pass(secs(120));
    settle(&mut node);
    expect_converged(&mut node);
}

#[test]
fn a_spooled_delete_that_is_older_than_the_add_is_not_about_it() {
    let mut node = a_small_node(ready(1));
    let address = add_settled(&mut node, "a").expect("an address");
    let late = node.del_issued(attachment("a"), Some(START));
    settle(&mut node);
    assert_eq!(node.answer(late), Some(&Answer::Deleted));
    assert_eq!(state_of(&node, address), "bound");
    expect_converged(&mut node);
}

#[test]
fn a_spooled_delete_that_is_older_than_a_waiting_add_leaves_it_waiting() {
    let mut node = a_small_node(Knobs { minimum_ip: 9, ..Knobs::default() });
    fill(&mut node, 9);
    let add = node.add("late");
    node.del_issued(attachment("late"), Some(START));
    node.del("pod0");
    node.pass(secs(40));
    added(&node, add);
    settle(&mut node);
    expect_converged(&mut node);
}

#[test]
fn a_delete_issued_while_the_add_was_being_wired_is_about_it_even_when_it_arrives_late() {
    let mut node = a_small_node(ready(1));
    node.kernel.takes = secs(2);
    node.add("a");
    node.pass(secs(1));
    let issued = node.now();
    node.pass(secs(5));
    let late = node.del_issued(attachment("a"), Some(issued));
    settle(&mut node);
    assert_eq!(node.answer(late), Some(&Answer::Deleted));
    assert!(node.kernel.pods.is_empty());
    node.pass(secs(120));
    settle(&mut node);
    expect_converged(&mut node);
}

#[test]
fn a_pod_whose_old_sandbox_is_still_there_gets_a_link_of_its_own() {
    let mut node = a_small_node(ready(2));
    let pod = || Some(enid_core::ids::PodName { namespace: "default".to_owned(), name: "web".to_owned() });
    let old = node.add_sandbox(attachment("old"), pod());
    let new = node.add_sandbox(attachment("new"), pod());
    settle(&mut node);
    let (old, new) = (added(&node, old), added(&node, new));
    assert_ne!(node.kernel.pods[&old].first.host_veth, node.kernel.pods[&new].first.host_veth);
    node.del("old");
    settle(&mut node);
    assert!(node.kernel.pods.contains_key(&new) && !node.kernel.pods.contains_key(&old));
    node.pass(secs(120));
    settle(&mut node);
    expect_converged(&mut node);
}

#[test]
fn a_check_compares_what_is_bound_and_refuses_what_is_not() {
    let mut node = a_small_node(ready(1));
    add_settled(&mut node, "a");
    let (bound, unknown) = (node.check("a"), node.check("b"));
    assert_eq!(node.answer(bound), Some(&Answer::Deleted));
    assert_eq!(refused(&node, unknown), Refusal::UnknownAttachment(attachment("b")));
    expect_converged(&mut node);
}

#[test]
fn those_that_wait_are_served_in_the_order_they_came() {
    let mut node = a_small_node(Knobs { minimum_ip: 9, ..Knobs::default() });
    let first = fill(&mut node, 9);
    let waiting: Vec<_> = ["x", "y", "z"].map(|pod| node.add(pod)).to_vec();
    for pod in [5, 2, 7] {
        node.del(&format!("pod{pod}"));
        node.pass(secs(1));
    }
    node.pass(secs(50));
    let got: Vec<_> = waiting.iter().map(|ticket| added(&node, *ticket)).collect();
    assert_eq!(got, [first[5], first[2], first[7]]);
    settle(&mut node);
    expect_converged(&mut node);
}

#[test]
fn the_queue_is_bounded() {
    let mut node = a_small_node(Knobs { minimum_ip: 9, ..Knobs::default() });
    fill(&mut node, 9);
    for pod in 0..enid_core::node::MAX_WAITERS {
        node.add(&format!("waiting{pod}"));
    }
    let one_too_many = node.add("late");
    let waiting = enid_core::node::MAX_WAITERS;
    assert_eq!(refused(&node, one_too_many), Refusal::QueueFull { waiting });
    settle(&mut node);
    expect_converged(&mut node);
}
