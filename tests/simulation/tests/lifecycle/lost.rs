//! Sandboxes that go without a DEL: the node lost power over them, or somebody deleted their namespace.

use super::*;

/// The kernel loses the pod at `address`, as it does with its namespace.
fn lose(node: &mut Node, address: IpAddr) {
    node.kernel.pods.remove(&address).expect("it is wired");
}

fn a_node_with_a_pod() -> (Node, IpAddr) {
    let mut node = a_small_node(Knobs { minimum_ip: 3, ..Knobs::default() });
    let address = add_settled(&mut node, "a").expect("an address");
    (node, address)
}

#[test]
fn a_pod_that_two_looks_do_not_find_is_let_go_and_its_address_cools() {
    let (mut node, address) = a_node_with_a_pod();
    lose(&mut node, address);
    node.look_at_kernel();
    settle(&mut node);
    assert_eq!(state_of(&node, address), "bound");
    node.pass(secs(60));
    node.look_at_kernel();
    settle(&mut node);
    assert_eq!(state_of(&node, address), "cooling");
    let late = node.del("a");
    assert_eq!(node.answer(late), Some(&Answer::Deleted));
    node.pass(secs(31));
    assert_eq!(state_of(&node, address), "free");
    expect_converged(&mut node);
}

#[test]
fn two_looks_at_the_same_moment_are_one() {
    let (mut node, address) = a_node_with_a_pod();
    let missing = enid_core::event::KernelView::default();
    node.see_pods(missing.clone());
    node.pass(secs(1));
    node.see_pods(missing);
    settle(&mut node);
    assert_eq!(state_of(&node, address), "bound");
    expect_converged(&mut node);
}

#[test]
fn looks_that_miss_a_pod_must_be_in_a_row() {
    let (mut node, address) = a_node_with_a_pod();
    let (found, missing) = (node.kernel.seen(), enid_core::event::KernelView::default());
    for look in [&missing, &found, &missing, &found, &missing] {
        node.see_pods(look.clone());
        node.pass(secs(60));
    }
    assert_eq!(state_of(&node, address), "bound");
    expect_converged(&mut node);
}

#[test]
fn a_look_that_began_before_the_pod_was_wired_does_not_count() {
    let mut node = a_small_node(Knobs { minimum_ip: 3, ..Knobs::default() });
    node.kernel.takes = secs(40);
    let before = node.kernel.seen();
    let ticket = node.add("a");
    node.see_pods(before.clone());
    node.pass(secs(41));
    let address = added(&node, ticket);
    // The pod is bound and this look, the second that misses it, is the first that counts.
    node.see_pods(before);
    settle(&mut node);
    assert_eq!(state_of(&node, address), "bound");
    node.pass(secs(60));
    node.look_at_kernel();
    settle(&mut node);
    assert_eq!(state_of(&node, address), "bound");
    expect_converged(&mut node);
}

#[test]
fn a_pod_that_is_wired_again_between_two_looks_stays() {
    let (mut node, address) = a_node_with_a_pod();
    lose(&mut node, address);
    let lost = node.kernel.seen();
    node.look_at_kernel();
    node.pass(secs(60));
    assert_eq!(add_settled(&mut node, "a"), Some(address));
    node.see_pods(lost);
    settle(&mut node);
    assert_eq!(state_of(&node, address), "bound");
    expect_converged(&mut node);
}

#[test]
fn a_pod_with_kernel_work_under_way_is_left_to_it() {
    let (mut node, address) = a_node_with_a_pod();
    lose(&mut node, address);
    node.kernel.takes = secs(100);
    let again = node.add("a");
    for _ in 0..2 {
        node.look_at_kernel();
        node.pass(secs(40));
    }
    assert_eq!((state_of(&node, address), node.answer(again)), ("bound", None));
    node.pass(secs(40));
    assert_eq!(added(&node, again), address);
    settle(&mut node);
    expect_converged(&mut node);
}

#[test]
fn pods_with_links_of_an_earlier_prefix_are_not_looked_for() {
    let (mut node, address) = a_node_with_a_pod();
    let veth_prefix = "pod".to_owned().try_into().expect("a prefix");
    node.reconfigure(Config { veth_prefix, ..Config::default() });
    for _ in 0..3 {
        node.see_pods(enid_core::event::KernelView::default());
        node.pass(secs(60));
    }
    assert_eq!(state_of(&node, address), "bound");
    expect_converged(&mut node);
}

#[test]
fn a_pod_whose_route_alone_is_gone_is_not_let_go() {
    let (mut node, address) = a_node_with_a_pod();
    let mut view = node.kernel.seen();
    view.routed.clear();
    for _ in 0..3 {
        node.see_pods(view.clone());
        node.pass(secs(60));
    }
    assert_eq!(state_of(&node, address), "bound");
}
