//! STATUS: C61 to C63, C65 to C67.

use std::time::{Duration, Instant};

use e2e::lab::Lab;
use e2e::patience::{wait_for, wait_until_true};
use e2e::plugin::{Call, failure_of};
use rustix::process::Signal;
use serde_json::Value;

use crate::{EC2, GROWTH, ready, reason, status};

/// Longer than an empty pool may be empty before STATUS says so.
const BEYOND_DEBOUNCING: Duration = Duration::from_secs(13);

#[test]
fn c61_status_is_well_when_an_add_would_be_served() {
    let (lab, node, _daemon) = ready("c61");
    let pod = lab.pod();
    assert_eq!(status(&node, &pod).ok(&node), Value::Null);
    node.add(&pod);
    assert_eq!(status(&node, &pod).ok(&node), Value::Null);
}

#[test]
fn c61_a_node_that_carries_all_the_pods_it_may_is_well() {
    let lab = Lab::up("c61-full");
    // A t3.small has nine addresses for pods, whatever one does.
    let node = lab.t3();
    let daemon = node.start();
    daemon.wait_until_ready();
    let placed = node.place_all(lab.pods(9));
    let begun = Instant::now();
    wait_until_true("the pool was full for a while", GROWTH, || {
        // Anything else would make kubelet move the pods that run here.
        assert_eq!(status(&node, &placed[0].pod).ok(&node), Value::Null);
        begun.elapsed() > BEYOND_DEBOUNCING
    });
    let failure = Call::new("ADD", &node, &lab.pod()).with("timeout_secs", 1).failure(&node);
    assert_eq!((failure.code, reason(&failure).as_str()), (11, "node-full"));
}

#[test]
fn c62_c63_c65_a_node_without_an_address_says_why_until_it_has_one_and_an_add_is_served_all_the_same() {
    let lab = Lab::up("c63");
    let node = lab.m5();
    node.kernel().cut_off(&[EC2]);
    let daemon = node.start();
    let pod = lab.pod();
    let failure = wait_for("STATUS says that there is no address", GROWTH, || {
        let ended = status(&node, &pod).run(&node);
        if ended.code == Some(1) { Ok(failure_of(&ended)) } else { Err(format!("{ended:?}")) }
    });
    assert_eq!(failure.code, 50, "nobody runs here who could suffer: {failure:?}");
    assert!(!reason(&failure).is_empty());
    // The answer was no, and an ADD that waits long enough is served.
    let result = std::thread::scope(|scope| {
        let add = scope.spawn(|| Call::new("ADD", &node, &pod).ok(&node));
        wait_until_true("the ADD waits", GROWTH, || node.pool("waiting") == 1);
        node.kernel().restore();
        add.join().unwrap()
    });
    assert_eq!(node.check(&pod, &result).ok(&node), Value::Null);
    daemon.wait_until_ready();
    assert_eq!(status(&node, &pod).ok(&node), Value::Null, "recovery shows at once");
}

#[test]
fn c63_a_daemon_that_is_gone_or_hangs_cannot_serve() {
    let (lab, node, daemon) = ready("c63-away");
    let pod = lab.pod();
    daemon.signal(Signal::STOP);
    let failure = status(&node, &pod).failure(&node);
    assert_eq!((failure.code, reason(&failure).as_str()), (50, "daemon-late"));
    daemon.signal(Signal::CONT);
    assert_eq!(status(&node, &pod).ok(&node), Value::Null);
    drop(daemon);
    let failure = status(&node, &pod).failure(&node);
    assert_eq!((failure.code, reason(&failure).as_str()), (50, "daemon-away"));
}

#[test]
fn c66_status_costs_no_call_and_changes_nothing() {
    let (lab, node, _daemon) = ready("c66");
    let pod = lab.pod();
    let before = (lab.calls_at_rest(), node.kernel().picture());
    for _ in 0..50 {
        assert_eq!(status(&node, &pod).ok(&node), Value::Null);
    }
    assert_eq!((lab.calls_at_rest(), node.kernel().picture()), before);
}

#[test]
fn c67_a_pool_that_is_empty_for_a_moment_is_not_a_node_that_fails() {
    let (lab, node, _daemon) = ready("c67");
    let pods = lab.pods(20);
    let asking = lab.pod();
    // More pods than there are addresses: an ENI comes meanwhile, which takes some seconds.
    std::thread::scope(|scope| {
        let burst = scope.spawn(|| node.add_all(&pods));
        wait_until_true("all pods have an address", GROWTH, || {
            assert_eq!(status(&node, &asking).ok(&node), Value::Null);
            burst.is_finished()
        });
        burst.join().unwrap().into_iter().for_each(|ended| drop(ended.ok()));
    });
}
