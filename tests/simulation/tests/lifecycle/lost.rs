//! Sandboxes that go without a DEL: the node lost power over them, or somebody deleted their namespace.

use enid_core::event::KernelView;

use super::*;

/// The kernel loses the pod at `address`, as it does with its namespace.
fn lose(node: &mut Node, address: IpAddr) {
    node.kernel.kill(address).expect("it is wired");
}

fn a_node_with_a_pod() -> (Node, IpAddr) {
    let mut node = a_small_node(Knobs { minimum_ip: 3, ..Knobs::default() });
    let address = add_settled(&mut node, "a").expect("an address");
    (node, address)
}

/// Lets time pass until a look has shown what is in the kernel now.
fn until_seen(node: &mut Node) {
    let (now, deadline) = (node.now(), node.now() + secs(120));
    while node.kernel_known() <= now {
        assert!(node.step(deadline), "the kernel is looked at in time");
    }
}

#[test]
fn a_pod_that_two_looks_do_not_find_is_let_go_and_its_address_cools() {
    let (mut node, address) = a_node_with_a_pod();
    lose(&mut node, address);
    until_seen(&mut node);
    let seen = node.now();
    assert_eq!(state_of(&node, address), "bound");
    while state_of(&node, address) == "bound" {
        assert!(node.step(seen + secs(120)), "it is let go in time");
    }
    assert!(node.now().since(seen) >= secs(30), "two looks at nearly the same time are one");
    settle(&mut node);
    assert_eq!(state_of(&node, address), "cooling");
    let late = node.del("a");
    assert_eq!(node.answer(late), Some(&Answer::Deleted));
    node.pass(secs(31));
    assert_eq!(state_of(&node, address), "free");
    expect_converged(&mut node);
    assert!(node.kernel.rules.is_empty(), "its rules went with it");
}

#[test]
fn two_looks_at_the_same_moment_are_one() {
    let (mut node, address) = a_node_with_a_pod();
    let known = attachment("a");
    node.kernel.views.extend([KernelView::default(), KernelView::default()]);
    for _ in 0..2 {
        let valid = [(known.container.clone(), known.ifname.clone())].into();
        node.gc(known.network.clone(), valid);
        node.pass(secs(1));
    }
    assert!(node.kernel.views.is_empty(), "both were looked at");
    settle(&mut node);
    assert_eq!(state_of(&node, address), "bound");
    expect_converged(&mut node);
}

#[test]
fn looks_that_miss_a_pod_must_be_in_a_row() {
    let (mut node, address) = a_node_with_a_pod();
    let (found, missing) = (node.kernel.seen(), KernelView::default());
    let views = [&missing, &found, &missing, &found, &missing];
    node.kernel.views.extend(views.into_iter().cloned());
    node.pass(secs(400));
    assert!(node.kernel.views.is_empty(), "all of them were looked at");
    assert_eq!(state_of(&node, address), "bound");
    expect_converged(&mut node);
}

#[test]
fn looks_that_began_before_the_pod_was_wired_do_not_count() {
    let mut node = a_small_node(Knobs { minimum_ip: 3, ..Knobs::default() });
    node.kernel.looks_are_stale = true;
    node.kernel.look_takes = secs(59);
    node.pass(secs(70));
    let address = add_settled(&mut node, "a").expect("an address");
    for _ in 0..30 {
        node.pass(secs(10));
        assert_eq!(state_of(&node, address), "bound");
    }
    node.kernel.look_takes = Duration::ZERO;
    settle(&mut node);
    expect_converged(&mut node);
}

#[test]
fn a_pod_that_is_wired_again_between_two_looks_stays() {
    let (mut node, address) = a_node_with_a_pod();
    lose(&mut node, address);
    until_seen(&mut node);
    assert_eq!(add_settled(&mut node, "a"), Some(address));
    node.pass(secs(120));
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
    node.pass(secs(80));
    assert_eq!((state_of(&node, address), node.answer(again)), ("bound", None));
    node.pass(secs(40));
    assert_eq!(added(&node, again), address);
    settle(&mut node);
    expect_converged(&mut node);
}

#[test]
fn what_somebody_took_from_a_pod_is_put_back_and_nothing_else_is_touched() {
    let (mut node, address) = a_node_with_a_pod();
    settle(&mut node);
    let breaks: [fn(&mut enid_sim::kernel::Kernel, IpAddr); 3] = [
        |kernel, address| kernel.lose_route(address),
        |kernel, address| kernel.lose_rule(address),
        |kernel, address| kernel.lose_link(address),
    ];
    for broken in breaks {
        broken(&mut node.kernel, address);
        let writes = node.kernel.writes;
        node.pass(secs(90));
        assert_eq!(state_of(&node, address), "bound");
        assert!(node.kernel.pods[&address].lacks.is_empty(), "it is whole again");
        assert_eq!((node.kernel.writes, node.kernel.unwired), (writes + 1, 0));
    }
    expect_converged(&mut node);
}
