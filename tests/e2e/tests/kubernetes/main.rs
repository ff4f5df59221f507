//! A node beside a real Kubernetes API: how large the cluster is, and what becomes of a node that cannot ask.
#![expect(clippy::unwrap_used, reason = "a test that cannot arrange its world fails")]

use std::time::Duration;

use e2e::kubernetes::{Kubernetes, program};
use e2e::lab::Lab;
use e2e::node::Node;
use e2e::patience::wait_for;

const RIGHTS: &str = include_str!("../../../../deploy/rbac.yaml");
/// A small cluster is counted about every half minute.
const NEXT_COUNT: Duration = Duration::from_secs(90);

/// Waits until the node was told of so many; `None`: of none.
#[track_caller]
fn wait_for_nodes(node: &Node, nodes: Option<u64>) {
    wait_for(&format!("{nodes:?} nodes"), NEXT_COUNT, || {
        let cluster = node.status()["cluster"].clone();
        let right = cluster["nodes"].as_u64() == nodes && cluster["parts"].as_u64() == nodes.or(Some(1));
        if right { Ok(()) } else { Err(cluster.to_string()) }
    });
}

fn describe_rate(node: &Node) -> u64 {
    let status = node.status();
    let classes = status["budget"].as_array().unwrap().clone();
    let describe = classes.iter().find(|class| class["class"] == "describe").unwrap();
    describe["per_second_milli"].as_u64().unwrap()
}

#[test]
fn a_nodes_share_follows_the_clusters_size() {
    let Some(program) = program() else { return };
    let lab = Lab::up("cluster-size");
    let node = lab.m5();
    let mut api = Kubernetes::on(&node, lab.directory(), program);
    api.create_all(RIGHTS);
    api.wait_until_it_may_list_nodes(true);
    api.register_nodes(&["one", "two", "three", "four"]);
    let kubeconfig = api.kubeconfig();
    node.configure(&node.settings().and(&format!("[kubernetes]\nkubeconfig = {kubeconfig:?}")));
    let daemon = node.start();
    daemon.wait_until_ready();
    wait_for_nodes(&node, Some(4));
    // 20 a second, of which the cluster takes a half, and each node a quarter of that.
    assert_eq!(describe_rate(&node), 2_500);
    assert_eq!(node.metrics().value("enid_cluster_nodes{source=\"kubernetes\"}"), 4.0);
    let shown = node.ask(&["status"]).stdout;
    assert!(shown.contains("one of 4 parts of the cluster's share; 4 nodes were counted"), "{shown}");

    api.register_nodes(&["five"]);
    wait_for_nodes(&node, Some(5));
    assert_eq!(describe_rate(&node), 2_000);

    // Without the right, and without anybody to ask, the last count holds and pods are served.
    api.request("DELETE", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/enid", "").unwrap();
    api.wait_until_it_may_list_nodes(false);
    api.register_nodes(&["six"]);
    wait_for("the log says so", NEXT_COUNT, || {
        let log = node.log();
        if log.contains("cannot list resource") { Ok(()) } else { Err(log) }
    });
    wait_for_nodes(&node, Some(5));
    api.stop_serving();
    let pods = lab.pods(2);
    node.add(&pods[0]);
    assert!(daemon.terminate().success());

    // A daemon that starts while nobody can be asked goes by its settings.
    let daemon = node.start();
    node.add(&pods[1]);
    wait_for_nodes(&node, None);
    assert_eq!(node.metrics().value("enid_cluster_nodes{source=\"configured\"}"), 1.0);
    api.serve_again();
    let binding = RIGHTS.split("\n---\n").find(|part| part.contains("kind: ClusterRoleBinding")).unwrap();
    api.create_all(binding);
    wait_for_nodes(&node, Some(6));
    assert!(daemon.terminate().success());
}

#[test]
fn a_kubeconfig_that_cannot_be_used_is_named_and_keeps_no_pod_from_its_network() {
    let lab = Lab::up("no-kubeconfig");
    let node = lab.m5();
    let missing = lab.directory().join("nowhere.conf").display().to_string();
    node.configure(&node.settings().and(&format!("[kubernetes]\nkubeconfig = {missing:?}")));
    let checked = node.enid(&["check-settings", node.settings_file().to_str().unwrap()]);
    assert_eq!(checked.code, Some(78), "{checked:?}");
    let words = &checked.stderr;
    assert!(words.contains("kubernetes.kubeconfig") && words.contains(&missing), "{checked:?}");
    let daemon = node.start();
    daemon.wait_until_ready();
    wait_for_nodes(&node, None);
    assert!(node.log().contains(&missing), "{}", node.log());
    assert!(daemon.terminate().success());
}

#[test]
fn a_pod_without_a_service_account_leaves_the_api_alone_and_serves() {
    let lab = Lab::up("no-account");
    let node = lab.m5();
    node.configure(&node.settings());
    // Whatever is mounted where this runs: such a port makes it useless.
    let daemon =
        node.start_with(&[("KUBERNETES_SERVICE_HOST", "127.0.0.1"), ("KUBERNETES_SERVICE_PORT", "none")]);
    daemon.wait_until_ready();
    wait_for_nodes(&node, None);
    assert!(node.log().contains("no service account to ask the Kubernetes API with"), "{}", node.log());
    assert!(daemon.terminate().success());
}
