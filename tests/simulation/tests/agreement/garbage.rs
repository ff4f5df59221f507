//! CNI GC.

use enid_core::node::Config;
use simulation::{Knobs, a_node, add_settled};

use super::*;

fn node_with(names: &[&str]) -> (SimNode<Knobs>, Vec<IpAddr>) {
    let mut node = a_node("m5.large", Knobs { warm_ip: 2, ..LEAN }, Config::default());
    let addresses = names.iter().map(|name| add_settled(&mut node, name).expect("an address")).collect();
    node.pass(minutes(2));
    (node, addresses)
}

/// The processes of a pod end; its namespace stays, as when a runtime forgets it.
fn desert(node: &mut SimNode<Knobs>, address: IpAddr) {
    let netns = node.kernel.pods[&address].netns.clone().expect("a namespace");
    node.kernel.deserted.insert(netns);
}

#[test]
fn what_the_runtime_does_not_list_is_released_and_what_it_lists_stays() {
    let (mut node, addresses) = node_with(&["a", "b", "c"]);
    desert(&mut node, addresses[0]);
    desert(&mut node, addresses[1]);
    assert_eq!(collect(&mut node, &["b"]).0, 1, "a is released");
    assert_eq!(state_of(&node, addresses[1]), "bound", "a listed one stays even where nobody lives");
    assert!(!node.kernel.pods.contains_key(&addresses[0]));
    assert_eq!(state_of(&node, addresses[0]), "cooling");
}

#[test]
fn a_pod_that_somebody_lives_in_is_quarantined_and_not_released() {
    let (mut node, addresses) = node_with(&["a"]);
    let (released, kept) = collect(&mut node, &[]);
    assert_eq!((released, kept.len()), (0, 1), "{kept:?}");
    assert!(kept[0].contains("lives in"), "{kept:?}");
    assert_eq!(state_of(&node, addresses[0]), "quarantined");
    assert!(node.kernel.pods.contains_key(&addresses[0]), "its traffic goes on");
    // A runtime that knows it again ends the doubt.
    assert_eq!(collect(&mut node, &["a"]), (0, Vec::new()));
    assert_eq!(state_of(&node, addresses[0]), "bound");
}

#[test]
fn a_quarantined_pod_goes_with_its_del_or_with_its_sandbox() {
    let (mut node, addresses) = node_with(&["a", "b"]);
    assert_eq!(collect(&mut node, &[]).1.len(), 2);
    node.del("a");
    node.kernel.kill(addresses[1]);
    node.pass(minutes(3));
    for address in addresses {
        assert!(
            !["quarantined", "bound"].contains(&state_of(&node, address)),
            "{}",
            state_of(&node, address)
        );
        assert!(!node.kernel.pods.contains_key(&address));
    }
}

#[test]
fn a_pod_that_is_younger_than_the_list_may_be_is_kept() {
    let (mut node, _) = node_with(&[]);
    let a = add_settled(&mut node, "a").unwrap();
    desert(&mut node, a);
    let (released, kept) = collect(&mut node, &[]);
    assert_eq!((released, kept.len()), (0, 1), "{kept:?}");
    assert!(kept[0].contains("only just"), "{kept:?}");
    assert_eq!(state_of(&node, a), "bound", "nothing is wrong with it");
    node.pass(minutes(2));
    assert_eq!(collect(&mut node, &[]).0, 1);
}

#[test]
fn a_pod_that_waited_for_its_address_is_as_young_as_its_wiring() {
    let (mut node, _) = node_with(&[]);
    node.ec2.deny(enid_sim::ec2::call::Call::AssignPrivateIpAddresses);
    node.ec2.deny(enid_sim::ec2::call::Call::CreateNetworkInterface);
    for pod in 0..9 {
        node.add(&format!("other{pod}"));
    }
    let ticket = node.add("late");
    node.pass(Duration::from_secs(10));
    assert_eq!(node.answer(ticket), None, "it waits");
    node.ec2.permit(enid_sim::ec2::call::Call::AssignPrivateIpAddresses);
    node.ec2.permit(enid_sim::ec2::call::Call::CreateNetworkInterface);
    while node.answer(ticket).is_none() {
        node.pass(Duration::from_millis(500));
    }
    let Some(Answer::Added(holder)) = node.answer(ticket) else { panic!("{:?}", node.answer(ticket)) };
    let address = holder.wiring.key();
    node.pass(Duration::from_secs(52));
    desert(&mut node, address);
    collect(&mut node, &[]);
    assert_eq!(state_of(&node, address), "bound", "asked for a minute ago, and wired since");
}

#[test]
fn a_gc_is_answered_when_the_kernel_cannot_be_looked_at() {
    let (mut node, addresses) = node_with(&["a"]);
    desert(&mut node, addresses[0]);
    node.kernel.refuse_looks = 1;
    let ticket = node.gc(network(), BTreeSet::new());
    node.pass(Duration::from_secs(2));
    let answer = format!("{:?}", node.answer(ticket));
    assert!(answer.contains("Unseen"), "{answer}");
    assert_eq!(state_of(&node, addresses[0]), "bound");
}

#[test]
fn other_networks_are_none_of_its_business() {
    let (mut node, addresses) = node_with(&["a"]);
    desert(&mut node, addresses[0]);
    let ticket = node.gc("another".parse().unwrap(), BTreeSet::new());
    node.pass(Duration::from_secs(20));
    let answer = node.answer(ticket);
    assert!(matches!(answer, Some(Answer::Collected { released: 0, .. })), "{answer:?}");
    assert_eq!(state_of(&node, addresses[0]), "bound");
}

#[test]
fn what_cannot_be_released_is_reported_and_the_rest_is() {
    let (mut node, addresses) = node_with(&["a", "b"]);
    addresses.iter().for_each(|address| desert(&mut node, *address));
    node.kernel.refuse_unwirings = 1;
    let ticket = node.gc(network(), BTreeSet::new());
    node.pass(Duration::from_secs(20));
    let answer = format!("{:?}", node.answer(ticket));
    assert!(answer.contains("NotCollected { failed: 1"), "{answer}");
    let bound = addresses.iter().filter(|address| state_of(&node, **address) == "bound").count();
    assert_eq!(bound, 1);
    node.pass(minutes(2));
    assert_eq!(collect(&mut node, &[]).0, 1, "the next time it goes");
}

#[test]
fn a_crash_in_the_middle_loses_nothing() {
    for effects in 0..12 {
        let (mut node, addresses) = node_with(&["a", "b"]);
        addresses.iter().for_each(|address| desert(&mut node, *address));
        node.crash_after(effects);
        node.gc(network(), listed(&["b"]));
        node.pass(minutes(2));
        collect(&mut node, &["b"]);
        assert_eq!(state_of(&node, addresses[1]), "bound", "after {effects} effects");
        assert!(node.kernel.pods.contains_key(&addresses[1]));
        assert!(!node.kernel.pods.contains_key(&addresses[0]), "after {effects} effects");
    }
}
