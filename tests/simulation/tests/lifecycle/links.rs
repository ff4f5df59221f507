//! What pods' links are called.

use enid_core::node::NodeState;
use enid_core::wiring::VethPrefix;

use super::*;

#[test]
fn a_changed_prefix_waits_until_no_pod_has_the_old_one() {
    let mut node = a_small_node(ready(2));
    let veth_prefix: VethPrefix = "pod".to_owned().try_into().expect("a prefix");
    let configured = Config { veth_prefix, ..Config::default() };
    let after_restart = |node: &Node| {
        let (identity, instance_type) = (node.state().identity().clone(), node.instance_type().clone());
        let restored =
            NodeState::restore(configured.clone(), identity, instance_type, &node.journal, node.now());
        restored.0.config().veth_prefix.as_str().to_owned()
    };
    assert_eq!(after_restart(&node), "pod");

    add_settled(&mut node, "a").expect("an address");
    assert_eq!(after_restart(&node), "eni");
    node.reconfigure(configured.clone());
    let second = add_settled(&mut node, "b").expect("an address");
    assert!(node.kernel.pods[&second].wiring.first.host_veth.as_str().starts_with("eni"));

    for pod in ["a", "b"] {
        assert_eq!(after_restart(&node), "eni");
        node.del(pod);
        settle(&mut node);
    }
    assert_eq!(after_restart(&node), "pod");
    node.pass(secs(120));
    settle(&mut node);
    expect_converged(&mut node);
}
