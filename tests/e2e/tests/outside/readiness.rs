//! Could a pod be added? The probe and CNI's STATUS say the same, and why not.

use std::net::Ipv4Addr;

use e2e::lab::Lab;
use e2e::patience::wait_for;
use e2e::plugin::Call;
use enid_protocol::message::{Reply, Request};
use enid_vpc_lab::lab::deed::Deed;

use crate::{GROWTH, NEXT_LOOK, not_ready, ready, reply, wait_for_readyz};

/// What strangers hold in the small subnet from the beginning: the tenth address of each of its blocks.
fn small_taken() -> Vec<Ipv4Addr> {
    [9, 25, 41, 57].map(|last| Ipv4Addr::new(10, 0, 3, last)).into()
}

#[test]
fn a_node_that_starts_is_not_ready_and_alive() {
    let lab = Lab::up("ready-start");
    let node = lab.m5();
    node.kernel().cut_off(&["10.0.0.2"]);
    let daemon = node.start();
    wait_for("it answers over HTTP", GROWTH, || node.try_page("/healthz").map(drop));
    let healthz = node.page("/healthz");
    assert_eq!((healthz.status, healthz.body.as_str()), (200, "ok\n"));
    let (reason, message) = not_ready(&node, 50);
    assert!(["starting", "cloud"].contains(&reason.as_str()), "{reason}: {message}");
    assert_eq!(node.page("/readyz").status, 503);
    node.kernel().restore();
    assert_eq!(wait_for_readyz(&node, 200), "ready\n");
    assert_eq!(reply(&node, &Request::Ready), Reply::Done);
    assert!(daemon.terminate().success());
}

#[test]
fn an_empty_pool_that_cannot_grow_is_not_ready_until_there_is_room_again() {
    let (lab, node, daemon) = ready("ready-empty");
    let subnets = ["pods-1a", "small-1a"];
    let pod = lab.pod();
    node.add(&pod);
    for subnet in subnets {
        lab.exhaust(subnet, &small_taken());
    }
    // Whatever is there is used up.
    let mut refused = wait_for("the pool is empty", NEXT_LOOK, || {
        let pod = lab.pod();
        let ended = Call::new("ADD", &node, &pod).with("timeout_secs", 2).run(&node);
        if ended.code == Some(0) { Err("it has addresses".to_owned()) } else { Ok(pod) }
    });
    let said = wait_for_readyz(&node, 503);
    assert!(said.contains("no eligible subnet has free addresses"), "{said}");
    let (reason, message) = not_ready(&node, 50);
    assert_eq!(reason, "subnets-exhausted", "{message}");
    assert!(message.contains(said.trim_end()), "{message} / {said}");
    let metrics = node.metrics();
    assert_eq!(metrics.value("enid_readiness{state=\"not-ready\"}"), 1.0);
    assert_eq!(metrics.value("enid_addresses{state=\"free\"}"), 0.0);
    // Nothing is wrong with the daemon.
    assert_eq!(node.page("/healthz").status, 200);
    let screen = node.ask(&["status"]).ok();
    assert!(
        screen.contains("ready      an ADD would wait: no eligible subnet has free addresses"),
        "{screen}"
    );

    for subnet in subnets {
        lab.perform(Deed::Vacate(lab.subnet(subnet).id));
    }
    wait_for("the pod gets its address", NEXT_LOOK, || {
        let ended = Call::new("ADD", &node, &refused).run(&node);
        if ended.code == Some(0) {
            return Ok(());
        }
        refused = lab.pod();
        Err(ended.stdout)
    });
    wait_for_readyz(&node, 200);
    assert_eq!(reply(&node, &Request::Ready), Reply::Done);
    assert!(daemon.terminate().success());
}

#[test]
fn a_full_node_takes_no_pod_and_is_in_order() {
    let lab = Lab::up("ready-full");
    let node = lab.t3();
    let daemon = node.start();
    daemon.wait_until_ready();
    // Three ENIs with three addresses each.
    for pod in lab.pods(9) {
        node.add(&pod);
    }
    let said = wait_for_readyz(&node, 503);
    assert!(said.contains("the node is full: 9 pods"), "{said}");
    assert_eq!(reply(&node, &Request::Ready), Reply::Done);
    assert_eq!(node.metrics().value("enid_readiness{state=\"full\"}"), 1.0);
    let screen = node.ask(&["status"]).ok();
    assert!(screen.contains("nothing is wrong"), "{screen}");
    assert!(daemon.terminate().success());
}
