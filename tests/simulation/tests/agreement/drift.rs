//! What somebody takes away in the kernel comes back.

use enid_core::node::Config;
use simulation::{Knobs, a_node, add_settled};

use super::*;

fn two_enis() -> SimNode<Knobs> {
    a_node("m5.large", Knobs { warm_eni: 1, ..Knobs::default() }, Config::default())
}

#[test]
fn a_deleted_route_rule_and_table_and_a_flushed_ruleset_come_back_with_the_next_look() {
    let mut node = two_enis();
    let (a, b) = (add_settled(&mut node, "a").unwrap(), add_settled(&mut node, "b").unwrap());
    node.pass(minutes(2));
    let before = node.state().status(node.now()).kernel;
    node.kernel.lose_route(a);
    node.kernel.lose_rule(b);
    node.kernel.lacks_nft = true;
    let eni = node.kernel.enis.keys().next().unwrap().clone();
    node.kernel.enis.get_mut(&eni).unwrap().lacks_rule = true;
    node.kernel.enis.get_mut(&eni).unwrap().lacks_table = true;
    node.pass(minutes(2));
    let after = node.state().status(node.now()).kernel;
    assert_eq!(node.kernel.look(&node.state().wanted(), |_| true).drifts, []);
    assert_eq!(after.drifts, []);
    assert_eq!((after.found - before.found, after.repaired - before.repaired), (5, 4), "by part");
}

#[test]
fn a_look_at_a_node_that_is_as_it_should_be_changes_nothing() {
    let mut node = two_enis();
    add_settled(&mut node, "a").unwrap();
    node.pass(minutes(5));
    let (writes, calls) = (node.kernel.writes, node.ec2.calls());
    node.pass(minutes(30));
    let changing = |calls: &std::collections::BTreeMap<&'static str, u64>| {
        calls.iter().filter(|(name, _)| !name.starts_with("Describe")).map(|(_, n)| n).sum::<u64>()
    };
    assert_eq!(node.kernel.writes, writes);
    assert_eq!(changing(&node.ec2.calls()), changing(&calls));
}

#[test]
fn a_pod_that_lost_its_link_gets_it_back_while_its_sandbox_lives() {
    let mut node = two_enis();
    let a = add_settled(&mut node, "a").unwrap();
    node.pass(minutes(2));
    node.kernel.lose_link(a);
    node.kernel.lose_route(a);
    node.pass(minutes(2));
    assert_eq!(node.kernel.look(&node.state().wanted(), |_| true).drifts, []);
    assert_eq!(state_of(&node, a), "bound");
}

#[test]
fn a_pod_whose_sandbox_ended_without_a_word_is_let_go_and_not_made_anew() {
    let mut node = two_enis();
    let a = add_settled(&mut node, "a").unwrap();
    node.pass(minutes(2));
    assert!(node.kernel.kill(a).is_some());
    node.pass(minutes(3));
    assert!(["free", "cooling", "gone"].contains(&state_of(&node, a)), "{}", state_of(&node, a));
    assert!(!node.kernel.pods.contains_key(&a));
}

#[test]
fn rules_that_nobody_uses_are_removed() {
    let mut node = two_enis();
    let free = node
        .state()
        .addresses(node.now())
        .into_iter()
        .find(|lease| lease.state == "free")
        .map(|lease| lease.address)
        .unwrap();
    node.kernel.rules.insert(free);
    node.pass(minutes(3));
    assert_eq!(node.kernel.rules, BTreeSet::new());
}

#[test]
fn what_cannot_be_mended_is_shown_and_tried_again() {
    let mut node = two_enis();
    let a = add_settled(&mut node, "a").unwrap();
    node.pass(minutes(2));
    node.kernel.refuse_repairs = 2;
    node.kernel.lose_rule(a);
    node.pass(Duration::from_secs(62));
    assert_eq!(node.state().status(node.now()).kernel.drifts.len(), 1);
    node.pass(minutes(5));
    assert_eq!(node.state().status(node.now()).kernel.drifts.len(), 0);
    assert_eq!(node.kernel.look(&node.state().wanted(), |_| true).drifts, []);
}
