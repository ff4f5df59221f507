//! A sandbox's life: its network comes with it, serves it, and goes with it.

use std::net::SocketAddr;

use e2e::containerd::Release;
use e2e::traffic::{PORT, all_reach_each_other, listen, reaches};
use enid_vpc_lab::probe;
use serde_json::json;

use crate::kubelet::Wanted;
use crate::{PATIENCE, Running};

/// A port of the node that leads to a pod.
const HOST_PORT: u16 = 8088;

with_either_containerd!(
    pods_get_addresses_of_the_vpc_and_reach_whoever_they_should,
    del_comes_three_times_and_succeeds_each_time,
    a_port_of_the_node_reaches_the_pod,
);

fn pods_get_addresses_of_the_vpc_and_reach_whoever_they_should(release: &Release) {
    let running = Running::up(release, "reach");
    let node = &running.node;
    let ids: Vec<String> = Wanted::pods("web", 3).iter().map(|pod| running.kubelet.start(pod)).collect();
    let pods = running.is_consistent();
    assert_eq!(pods.len(), 3);
    let subnet = running.lab.subnet("pods-1a").cidr;
    assert!(pods.iter().all(|placed| subnet.contains(&placed.ipv4())), "{pods:?}");
    all_reach_each_other(&pods.iter().collect::<Vec<_>>());
    for placed in &pods {
        let _on_the_node = listen(node.namespace(), node.place.address);
        reaches(&placed.pod.namespace, node.place.address, placed.ipv4());
        let _on_the_pod = listen(&placed.pod.namespace, placed.ipv4());
        reaches(node.namespace(), placed.ipv4(), node.place.address);
    }
    // And a pod of another node's runtime, in another zone.
    let other = running.lab.t3();
    let other_daemon = other.start();
    other_daemon.wait_until_ready();
    let far = other.place(running.lab.pod());
    for placed in &pods {
        all_reach_each_other(&[placed, &far]);
    }

    let gone = pods.iter().find(|placed| placed.pod.container == ids[0]).unwrap();
    running.kubelet.end(&ids[0]).unwrap();
    assert_eq!(running.is_consistent().len(), 2);
    assert_eq!(node.kernel().mentions(gone.ipv4()), Vec::<String>::new());
    assert!(!gone.pod.namespace.exists());
    other.del(&far.pod);
    assert!(other_daemon.terminate().success());
    running.ends();
}

fn del_comes_three_times_and_succeeds_each_time(release: &Release) {
    let running = Running::up(release, "dels");
    let [stays, goes] = ["stays", "goes"].map(|name| running.kubelet.start(&Wanted::pod(name)));
    let gone = running.placed(&goes);
    // The first with the namespace, the others with the id alone.
    running.kubelet.stop(&goes).unwrap();
    assert!(!running.kubelet.status(&goes).unwrap().is_ready);
    running.kubelet.stop(&goes).unwrap();
    running.kubelet.remove(&goes).unwrap();
    // And once more, by a runtime that forgot that it had removed it.
    running.node.del(&gone.pod);
    running.kubelet.remove(&goes).unwrap();

    let left = running.is_consistent();
    assert_eq!(left.iter().map(|placed| placed.pod.container.as_str()).collect::<Vec<_>>(), [stays]);
    running.daemon.wait_for_pool(&[("bound", 1), ("cooling", 1)]);
    running.ends();
}

fn a_port_of_the_node_reaches_the_pod(release: &Release) {
    let portmap = json!({ "type": "portmap", "capabilities": { "portMappings": true } });
    let running = Running::with(release, "ports", Clone::clone, &[portmap]);
    let node = &running.node;
    let sandbox = running.kubelet.start(&Wanted::pod("server").reached_at(HOST_PORT, PORT));
    let server = running.placed(&sandbox);
    let at_the_node = SocketAddr::from((node.place.address, HOST_PORT));
    let (near, far) = (running.kubelet.start(&Wanted::pod("client")), running.lab.t3());
    let near = running.placed(&near);
    let mirror = listen(&server.pod.namespace, server.ipv4());
    let seen = |from, what| {
        let seen = probe::connect(from, at_the_node, PATIENCE);
        seen.unwrap_or_else(|error| panic!("{what} → {at_the_node}: {error}")).ip()
    };
    assert_eq!(seen(far.namespace(), "another node"), far.place.address);
    assert_eq!(seen(&near.pod.namespace, "a pod of the node"), near.ipv4());
    seen(node.namespace(), "the node itself");
    drop(mirror);

    running.kubelet.end(&sandbox).unwrap();
    assert!(probe::connect(far.namespace(), at_the_node, PATIENCE).is_err());
    let left = node.kernel().ruleset();
    assert!(!left.contains(&server.ipv4().to_string()), "{left}");
    running.ends();
}
