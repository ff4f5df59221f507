//! The operator changes the kind of supply while pods run and come.

use simulation::expect_converged;

use super::*;

/// Pods come and go for a while; each that comes is served at once.
fn come_and_go(node: &mut Node, watch: &mut Watch, name: &str, pods: usize) -> Vec<String> {
    let mut running = Vec::new();
    for pod in 0..pods {
        let pod = format!("{name}{pod}");
        let ticket = node.add(&pod);
        live(node, watch, secs(1));
        added(node, ticket);
        running.push(pod);
        live(node, watch, secs(4));
        if running.len() > 6 {
            node.del(&running.remove(0));
        }
    }
    live(node, watch, secs(1));
    running
}

#[test]
fn there_and_back_no_pod_loses_its_address_and_every_pod_is_served() {
    for restart in [false, true] {
        let mut node = Region::of("m5.large").settled(Config::default(), ready(4));
        let mut watch = Watch::default();
        let old = fill(&mut node, "old", 5);
        node.reconfigure(in_prefixes());
        let singles = come_and_go(&mut node, &mut watch, "a", 8);
        if restart {
            node.crash_and_restart();
        }
        live(&mut node, &mut watch, secs(300));
        settle(&mut node);
        assert!(old.iter().all(|pod| state_of(&node, *pod) == "bound" && node.kernel.pods.contains_key(pod)));
        let free_singles = |node: &Node| {
            let leases = node.state().addresses(node.now());
            leases.iter().filter(|lease| lease.block.is_none() && lease.state == "free").count()
        };
        assert_eq!(free_singles(&node), 0, "what is odd and free goes back");
        assert!(held(&node).0 >= 5 && held(&node).1 >= 1, "{:?}", held(&node));
        expect_converged(&mut node);

        let in_blocks = fill(&mut node, "b", 3);
        node.reconfigure(Config::default());
        let later = come_and_go(&mut node, &mut watch, "c", 8);
        if restart {
            node.crash_and_restart();
        }
        live(&mut node, &mut watch, secs(300));
        settle(&mut node);
        let everyone = old.iter().chain(&in_blocks);
        assert!(everyone.clone().all(|pod| node.kernel.pods.contains_key(pod)));
        assert_eq!(held(&node).1, 1, "the prefix with pods stays");
        for pod in singles.iter().chain(&later) {
            node.del(pod);
        }
        delete(&mut node, "old", 0..5);
        delete(&mut node, "b", 0..3);
        live(&mut node, &mut watch, secs(300));
        settle(&mut node);
        assert_eq!(held(&node), (4, 0));
        expect_converged(&mut node);
    }
}

#[test]
fn an_odd_address_that_is_used_drains_and_serves_no_pod_again() {
    let mut node = Region::of("m5.large").settled(Config::default(), ready(2));
    let old = fill(&mut node, "old", 3);
    node.reconfigure(in_prefixes());
    node.pass(secs(30));
    settle(&mut node);
    delete(&mut node, "old", [1]);
    node.pass(secs(150));
    settle(&mut node);
    assert_eq!(state_of(&node, old[1]), "unknown");
    assert_eq!(held(&node), (2, 1));
    let new = fill(&mut node, "new", 5);
    assert!(new.iter().all(|pod| !old.contains(pod)));
    expect_converged(&mut node);
}

#[test]
fn a_node_without_an_empty_slot_changes_as_its_pods_go() {
    let mut node = Region::of("t3.small").settled(Config::default(), ready(1));
    fill(&mut node, "old", 9);
    node.reconfigure(in_prefixes());
    node.pass(secs(120));
    settle(&mut node);
    assert_eq!(held(&node), (9, 0), "nothing is free to go");
    delete(&mut node, "old", [4]);
    node.pass(secs(150));
    settle(&mut node);
    assert_eq!(held(&node), (8, 1));
    fill(&mut node, "new", 15);
    expect_converged(&mut node);
}

#[test]
fn a_restart_under_the_other_mode_serves_at_once_from_what_is_there() {
    let mut node = Region::of("m5.large").settled(Config::default(), ready(4));
    fill(&mut node, "old", 2);
    node.reconfigure(in_prefixes());
    node.crash_and_restart();
    let ticket = node.add("new");
    node.pass(secs(1));
    added(&node, ticket);
    node.pass(secs(120));
    settle(&mut node);
    expect_converged(&mut node);
}

#[test]
fn a_death_at_any_effect_of_the_change_loses_no_pod_and_leaks_nothing() {
    for effects in 0..24 {
        let mut node = Region::of("t3.small").settled(Config::default(), ready(2));
        let mut watch = Watch::default();
        let old = fill(&mut node, "old", 2);
        live(&mut node, &mut watch, secs(1));
        node.crash_after(effects);
        node.reconfigure(in_prefixes());
        live(&mut node, &mut watch, secs(30));
        node.reconfigure(in_prefixes());
        live(&mut node, &mut watch, secs(120));
        settle(&mut node);
        assert_eq!(held(&node), (2, 1), "after {effects} effects");
        assert!(old.iter().all(|pod| node.kernel.pods.contains_key(pod)));
        expect_converged(&mut node);
    }
}

#[test]
fn a_change_grows_by_the_new_modes_target_alone() {
    let mut node = Region::of("m5.4xlarge").settled(Config::default(), Knobs { warm_eni: 1, ..ready(0) });
    fill(&mut node, "pod", 3);
    let full = enis(&node).len();
    node.reconfigure(in_prefixes());
    let deadline = node.now() + secs(600);
    while node.step(deadline) {
        let now = (enis(&node).len(), held(&node).1);
        assert!(now.0 <= full + 1 && now.1 <= 1, "one prefix is enough, and not {now:?}");
    }
    assert_eq!(held(&node).1, 1);
    expect_converged(&mut node);
}
