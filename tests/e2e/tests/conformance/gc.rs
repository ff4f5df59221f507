//! GC: C70, C71, C73 to C76.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use e2e::patience::wait_for;
use e2e::plugin::Call;
use e2e::pod::Pod;
use rustix::process::Signal;
use serde_json::Value;

use crate::{gc, nothing_is_left_of, ready, reason};

/// A minute after its ADD an attachment may go; then some more for the machine to be busy.
const GRACE: Duration = Duration::from_secs(90);

#[test]
fn c70_c75_what_is_not_listed_goes_unless_it_is_young_or_somebody_lives_in_it() {
    let (lab, node, _daemon) = ready("c70");
    let [gone, deserted, listed, lives]: [_; 4] = node.place_all(lab.pods(4)).try_into().unwrap();
    // A runtime that lost its state knows one of its pods. The namespace of another went, a third one has nobody in it.
    gone.pod.remove_namespace();
    let _inhabitant = Inhabitant::of(&lives.pod);
    assert_eq!(gc(&node, &gone.pod, &[&listed.pod]).ok(&node), Value::Null);
    assert_eq!(node.pool("bound"), 4, "none of them is a minute old");
    for placed in [&deserted, &listed, &lives] {
        node.is_intact(placed);
    }
    wait_for("GC releases what is older than its grace", GRACE, || {
        assert_eq!(gc(&node, &gone.pod, &[&listed.pod]).ok(&node), Value::Null);
        let pool = &node.status()["pool"];
        if pool["bound"] == 2 { Ok(()) } else { Err(pool.to_string()) }
    });
    for placed in [&gone, &deserted] {
        nothing_is_left_of(&node, &placed.pod, placed.ipv4());
    }
    // However often GC comes.
    for _ in 0..3 {
        assert_eq!(gc(&node, &gone.pod, &[&listed.pod]).ok(&node), Value::Null);
    }
    node.is_intact(&listed);
    node.is_intact(&lives);
    // Its way out.
    node.del(&lives.pod);
    nothing_is_left_of(&node, &lives.pod, lives.ipv4());
}

/// A process in a pod's namespace, as the pause container's.
struct Inhabitant(Child);

impl Inhabitant {
    fn of(pod: &Pod) -> Self {
        let sleep = || Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap();
        Self(pod.namespace.inside(sleep).unwrap())
    }
}

impl Drop for Inhabitant {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn c71_gc_reports_that_it_did_not_happen() {
    let (lab, node, daemon) = ready("c71");
    let placed = node.place(lab.pod());
    daemon.signal(Signal::STOP);
    let failure = gc(&node, &placed.pod, &[]).with("timeout_secs", 1).failure(&node);
    assert_eq!((failure.code, reason(&failure).as_str()), (11, "daemon-late"));
    daemon.signal(Signal::CONT);
    drop(daemon);
    let failure = gc(&node, &placed.pod, &[]).failure(&node);
    assert_eq!((failure.code, reason(&failure).as_str()), (11, "daemon-away"));
    let daemon = node.start();
    daemon.wait_for_pool(&[("bound", 1)]);
    node.is_intact(&placed);
}

#[test]
fn c73_gc_is_safe_beside_adds_and_dels() {
    let (lab, node, _daemon) = ready("c73");
    let pods = lab.pods(14);
    let (stay, go) = pods.split_at(7);
    let leaving = node.place_all(go.to_vec());
    let staying = std::thread::scope(|scope| {
        let adds = scope.spawn(|| node.place_all(stay.to_vec()));
        let dels = scope.spawn(|| leaving.iter().for_each(|placed| node.del(&placed.pod)));
        while !(adds.is_finished() && dels.is_finished()) {
            // A second runtime, which knows of none of them.
            assert_eq!(gc(&node, &stay[0], &[]).ok(&node), Value::Null);
        }
        dels.join().unwrap();
        adds.join().unwrap()
    });
    staying.iter().for_each(|placed| node.is_intact(placed));
    assert_eq!(node.pool("bound"), 7);
}

#[test]
fn c74_without_a_list_nothing_goes() {
    let (lab, node, _daemon) = ready("c74");
    let placed = node.place(lab.pod());
    let failure = gc(&node, &placed.pod, &[]).without("cni.dev/valid-attachments").failure(&node);
    assert_eq!(failure.code, 7, "{failure:?}");
    node.is_intact(&placed);
}

#[test]
fn c76_gc_accepts_what_was_released_before_and_knows_its_own_network_only() {
    let (lab, node, _daemon) = ready("c76");
    let placed = node.place_all(lab.pods(2));
    node.del(&placed[0].pod);
    for _ in 0..2 {
        assert_eq!(gc(&node, &placed[0].pod, &[&placed[1].pod]).ok(&node), Value::Null);
        // Also when it lists what is not there any more, or never was.
        let all = [&placed[0].pod, &placed[1].pod, &lab.pod()];
        assert_eq!(gc(&node, &placed[0].pod, &all).ok(&node), Value::Null);
    }
    // Another network's GC is none of this one's business.
    let other: Call = gc(&node, &placed[0].pod, &[]).with("name", "another");
    assert_eq!(other.ok(&node), Value::Null);
    node.is_intact(&placed[1]);
}
