//! The daemon ends, in order or not, and comes back: no pod notices, nothing is forgotten.

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use e2e::heartbeat::Heartbeat;
use e2e::lab::Lab;
use e2e::node::Node;
use e2e::patience::{wait_for, wait_until_true};
use e2e::plugin::{Call, failure_of};
use e2e::pod::address_of;
use enid_vpc_lab::lab::status::EniStatus;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{GROWTH, PATIENCE, distinct, listen, nothing_is_left_of, reaches, ready};

#[test]
fn a_del_without_a_daemon_is_applied_at_the_next_start() {
    let (lab, node, daemon) = ready("spool");
    let (gone, stays) = (lab.pod(), lab.pod());
    let address = address_of(&node.add(&gone));
    let kept = node.add(&stays);
    daemon.kill();
    for _ in 0..2 {
        node.del(&gone);
    }
    assert_eq!(spooled(&node).len(), 1, "a repeated DEL replaces the first");
    assert_eq!(node.kernel().mentions(address).len(), 2, "nobody has touched the kernel yet");

    let daemon = node.start();
    daemon.wait_for_log(&["spooled DEL applied", &gone.container]);
    assert_eq!(spooled(&node), Vec::<PathBuf>::new());
    nothing_is_left_of(&node, &gone, address);
    daemon.wait_for_pool(&[("bound", 1), ("cooling", 1)]);
    assert_eq!(node.check(&stays, &kept).ok(&node), Value::Null);
    assert_eq!(node.check(&gone, &kept).failure(&node).code, 108);
}

/// The DELs in a node's spool.
fn spooled(node: &Node) -> Vec<PathBuf> {
    let files = fs::read_dir(node.runtime_dir().join("spool")).unwrap();
    files
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "json"))
        .collect()
}

#[test]
fn a_spooled_del_does_not_hurt_a_later_add() {
    let (lab, node, daemon) = ready("late-del");
    let pod = lab.pod();
    node.add(&pod);
    // The daemon hangs: the DEL ends in the spool, and, once it runs again, at the daemon as well.
    daemon.signal(Signal::STOP);
    assert_eq!(Call::new("DEL", &node, &pod).with("timeout_secs", 1).ok(&node), Value::Null);
    // As if a minute had passed since: clocks are not compared to the second.
    let [entry] = spooled(&node).try_into().unwrap();
    let mut document: Value = serde_json::from_slice(&fs::read(&entry).unwrap()).unwrap();
    document["at_ms"] = json!(document["at_ms"].as_u64().unwrap() - 60_000);
    fs::write(&entry, document.to_string()).unwrap();
    daemon.signal(Signal::CONT);
    daemon.wait_for_pool(&[("bound", 0)]);
    let result = node.add(&pod);

    // The spool is emptied before the daemon serves.
    assert!(daemon.terminate().success());
    let daemon = node.start();
    assert_eq!(spooled(&node), Vec::<PathBuf>::new());
    daemon.wait_for_pool(&[("bound", 1)]);
    assert_eq!(node.check(&pod, &result).ok(&node), Value::Null);
}

#[test]
fn pods_keep_their_network_when_the_daemon_crashes() {
    let (lab, node, daemon) = ready("crash");
    let pods = lab.pods(12);
    let results: Vec<Value> = pods.iter().map(|pod| node.add(pod)).collect();
    let held = distinct(&results);
    let cooling = lab.pod();
    let cooling_address = address_of(&node.add(&cooling));
    node.del(&cooling);
    // On the primary ENI, on a further one.
    let (near, far) = (&pods[0], &pods[11]);
    let far_address = address_of(&results[11]);
    let heartbeat = Heartbeat::begin(near, far, far_address);

    daemon.kill();
    let daemon = node.start();
    daemon.wait_until_ready();
    daemon.wait_for_pool(&[("bound", 12), ("cooling", 1), ("quarantined", 0)]);
    for (pod, result) in pods.iter().zip(&results) {
        assert_eq!(node.check(pod, result).ok(&node), Value::Null);
        let explained = node.ask(&["explain", "pod", &pod.shown()]).ok();
        assert!(explained.contains(&format!("{} is bound", address_of(result))), "{explained}");
    }
    let explained = node.ask(&["explain", "address", &cooling_address.to_string()]).ok();
    assert!(explained.contains("is cooling"), "{explained}");
    // A pod that comes now gets none of theirs.
    let next = address_of(&node.add(&lab.pod()));
    assert!(!held.contains(&next) && next != cooling_address, "{next}");

    // And once more in order.
    assert!(daemon.terminate().success());
    let daemon = node.start();
    daemon.wait_for_pool(&[("bound", 13), ("quarantined", 0)]);
    let beats = heartbeat.end();
    assert_eq!(beats.lost, 0, "{beats:?}");
    assert!(beats.answered > 50 && beats.over_tcp > 50, "{beats:?}");
}

#[test]
fn a_crash_in_the_middle_of_a_burst_leaves_no_half_pod() {
    let (lab, node, daemon) = ready("half");
    let pods = lab.pods(20);
    let ended = std::thread::scope(|scope| {
        let adds = scope.spawn(|| node.add_all(&pods));
        wait_until_true("some pods are bound", GROWTH, || node.pool("bound") >= 3);
        daemon.kill();
        adds.join().unwrap()
    });
    let daemon = node.start();
    daemon.wait_until_ready();
    // The runtime deletes what failed, and repeats it.
    for (pod, ended) in pods.iter().zip(&ended) {
        match ended.code {
            Some(0) => {
                let result: Value = serde_json::from_str(&ended.stdout).unwrap();
                assert_eq!(node.check(pod, &result).ok(&node), Value::Null);
            }
            _ => {
                assert_eq!(failure_of(ended).code, 11, "{ended:?}");
                node.del(pod);
            }
        }
    }
    let again: Vec<Value> = pods.iter().map(|pod| node.add(pod)).collect();
    let addresses = distinct(&again);
    let wired = node.kernel().ip(&["-4", "route"]).into_iter();
    let wired = wired.filter(|route| route["dev"].as_str().is_some_and(|dev| dev.starts_with("eni")));
    let wired: BTreeSet<Ipv4Addr> =
        wired.map(|route| route["dst"].as_str().unwrap().parse().unwrap()).collect();
    assert_eq!(wired, addresses);
}

#[test]
fn sigterm_tells_those_that_wait_and_keeps_the_rest() {
    let lab = Lab::up("sigterm");
    let node = lab.m5();
    node.kernel().cut_off(&["10.0.0.2"]);
    let daemon = node.start();
    let pod = lab.pod();
    let (ended, took) = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| Call::new("ADD", &node, &pod).run(&node));
        wait_until_true("the ADD waits", PATIENCE, || node.pool("waiting") == 1);
        let begun = Instant::now();
        assert!(daemon.terminate().success());
        (waiting.join().unwrap(), begun.elapsed())
    });
    let failure = failure_of(&ended);
    assert_eq!(failure.code, 11, "{failure:?}");
    assert_eq!(serde_json::from_str::<Value>(&failure.details).unwrap(), json!({ "reason": "stopping" }));
    assert!(took < Duration::from_secs(8), "{took:?}");
    assert!(!node.socket().exists());
    assert!(node.log().contains("stopped; pods keep their network"));

    node.kernel().restore();
    let daemon = node.start();
    daemon.wait_until_ready();
    node.add(&pod);
}

#[test]
fn a_node_that_lost_its_journal_hurts_no_pod() {
    let (lab, node, daemon) = ready("no-journal");
    let pods = lab.pods(3);
    let results: Vec<Value> = pods.iter().map(|pod| node.add(pod)).collect();
    let held = distinct(&results);
    let heartbeat = Heartbeat::begin(&pods[0], &pods[2], address_of(&results[2]));
    daemon.kill();
    fs::remove_dir_all(node.runtime_dir()).unwrap();

    // Nobody knows whose they are; that the kernel routes to them is enough to leave them alone.
    let daemon = node.start();
    daemon.wait_for_pool(&[("quarantined", 3), ("bound", 0)]);
    let next: Vec<Value> = lab.pods(8).iter().map(|pod| node.add(pod)).collect();
    assert!(distinct(&next).is_disjoint(&held), "{next:?}");
    let explained = node.ask(&["explain", "address", &address_of(&results[0]).to_string()]).ok();
    assert!(explained.contains("quarantined") && explained.contains(&pods[0].host_veth()), "{explained}");
    let beats = heartbeat.end();
    assert_eq!(beats.lost, 0, "{beats:?}");
    assert!(daemon.terminate().success());
}

#[test]
fn a_crash_while_an_eni_comes_leaves_none_behind() {
    // As soon as the daemon means to create one; as soon as EC2 has it; as soon as it is being attached.
    for (test, moment) in [
        ("orphan-1", "creating an ENI"),
        ("orphan-2", "phase=\"created\""),
        ("orphan-3", "phase=\"attaching\""),
    ] {
        let lab = Lab::up(test);
        let node = lab.m5();
        let pods = lab.pods(10);
        let daemon = node.start();
        let ended = std::thread::scope(|scope| {
            let adds = scope.spawn(|| node.add_all(&pods));
            wait_until_true(moment, GROWTH, || node.log().contains(moment));
            daemon.kill();
            adds.join().unwrap()
        });
        let daemon = node.start();
        for (pod, ended) in pods.iter().zip(&ended) {
            if ended.code != Some(0) {
                node.add(pod);
            }
        }
        wait_for("EC2 has for this node what the node knows", GROWTH, || {
            let others = |eni: &EniStatus| eni.attached.as_ref().is_some_and(|(name, _)| name != node.name());
            let there = lab.status().enis.into_iter().filter(|eni| !others(eni));
            let there: BTreeSet<String> =
                there.map(|eni| format!("{} {}", eni.id, eni.addresses.len())).collect();
            let status = node.status();
            let known = status["enis"].as_array().unwrap().iter();
            let known: BTreeSet<String> =
                known.map(|eni| format!("{} {}", eni["id"].as_str().unwrap(), eni["addresses"])).collect();
            if there == known { Ok(()) } else { Err(format!("EC2 has {there:?}, the node knows {known:?}")) }
        });
        assert!(daemon.terminate().success());
    }
}

#[test]
fn ctrl_c_ends_the_daemon_as_sigterm_does() {
    let (lab, node, mut daemon) = ready("ctrl-c");
    let pod = lab.pod();
    let result = node.add(&pod);
    daemon.signal(Signal::INT);
    assert!(daemon.wait().success());
    assert!(!node.socket().exists());
    let daemon = node.start();
    daemon.wait_for_pool(&[("bound", 1)]);
    assert_eq!(node.check(&pod, &result).ok(&node), Value::Null);
}

#[test]
fn a_changed_veth_prefix_waits_for_the_pods_that_are_there() {
    let (lab, node, daemon) = ready("prefix");
    let (before, after) = (lab.pod(), lab.pod());
    let kept = node.add(&before);
    let address = address_of(&kept);
    assert!(daemon.terminate().success());
    node.configure(&node.settings().network("veth_prefix = \"pod\""));
    let daemon = node.start();
    daemon.wait_for_log(&["WARN", "veth_prefix", "configured=\"pod\" in_force=\"eni\""]);
    daemon.wait_until_ready();
    let second = address_of(&node.add(&after));
    assert!(node.kernel().link(&after.host_veth()).is_some(), "all links are called alike");
    assert_eq!(node.check(&before, &kept).ok(&node), Value::Null);
    let _mirror = listen(&before, address);
    reaches(&after, address, second);

    node.del(&before);
    node.del(&after);
    assert!(daemon.terminate().success());
    let _daemon = node.start();
    let last = lab.pod();
    node.add(&last);
    let called = last.host_veth().replacen("eni", "pod", 1);
    assert!(node.kernel().link(&called).is_some(), "{called}");
}
