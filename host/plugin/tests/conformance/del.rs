//! DEL: C44 to C48, C52.

use std::fs;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use enid_protocol::message::{Reply, Request};
use enid_protocol::spool::{Spool, Waiting};
use serde_json::{Value, json};

use crate::stage::{Act, Runtime, Stage, recorder};

const PATIENCE: Duration = Duration::from_secs(10);

fn waiting(stage: &Stage) -> Waiting {
    Spool::new(stage.spool()).lock(PATIENCE).unwrap().waiting().unwrap()
}

#[test]
fn c44_repeating_a_del_succeeds_with_the_daemon_and_without() {
    let stage = Stage::new();
    for _ in 0..3 {
        assert_eq!(stage.run("DEL", json!({})).succeeded(), "");
    }
    assert_eq!(waiting(&stage).dels.len(), 1, "a repeated DEL replaces the first");
    let _daemon = crate::serving(&stage);
    for _ in 0..3 {
        assert_eq!(stage.run("DEL", json!({})).succeeded(), "");
    }
}

#[test]
fn c45_the_plugin_knows_no_containers_and_passes_on_every_del() {
    let stage = Stage::new();
    let (heard, record) = recorder();
    let _daemon = stage.daemon(move |h| {
        let Request::Del(del) = h.request else { panic!("{:?}", h.request) };
        record(del.container);
        Act::Reply(Reply::Done)
    });
    stage.runtime("DEL", json!({})).set("CNI_CONTAINERID", "never-added").run().succeeded();
    assert_eq!(*heard.lock().unwrap(), ["never-added"]);
}

#[test]
fn c46_a_del_needs_no_namespace_and_sends_none() {
    let stage = Stage::new();
    let (heard, record) = recorder();
    let _daemon = stage.daemon(move |h| {
        record((h.request, h.netns.is_some()));
        Act::Reply(Reply::Done)
    });
    let del = || stage.runtime("DEL", json!({}));
    let nowhere = "/n".repeat(40_000);
    for runtime in [
        del(),
        del().unset("CNI_NETNS"),
        del().set("CNI_NETNS", ""),
        del().set("CNI_NETNS", "/gone"),
        del().set("CNI_NETNS", "/proc/self/status"),
        del().set("CNI_NETNS", "not even absolute"),
        del().set("CNI_NETNS", &nowhere),
        del().unset("CNI_ARGS"),
    ] {
        assert_eq!(runtime.run().succeeded(), "");
    }
    for (request, with_descriptor) in heard.lock().unwrap().iter() {
        let Request::Del(del) = request else { panic!("{request:?}") };
        assert_eq!((del.container.as_str(), *with_descriptor), ("c1", false));
    }
}

#[test]
fn c47_no_previous_result_keeps_a_del_from_succeeding() {
    let stage = Stage::new();
    let _daemon = crate::serving(&stage);
    let extras = [json!(null), json!("garbage"), json!([]), json!({}), json!({ "ips": 3, "interfaces": {} })];
    for version in ["0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        for previous in &extras {
            let config = stage.config(version, json!({ "prevResult": previous }));
            assert_eq!(Runtime::new("DEL").config(&config).run().succeeded(), "");
        }
    }
}

#[test]
fn c48_a_del_fails_only_where_asking_again_can_help() {
    let stage = Stage::new();
    // Nothing of this keeps a DEL from being meant, nor from being kept.
    let long = "w".repeat(100_000);
    let odd = json!({
        "ipam": 3, "dns": [], "mtu": "9001", "ipMasq": "maybe",
        "runtimeConfig": { "io.kubernetes.cri.pod-annotations": { "k8s.amazonaws.com/nicConfig": "two" } },
        "args": { "cni": { "K8S_POD_NAME": long.repeat(4), "K8S_POD_NAMESPACE": "default" } },
    });
    for daemon in [false, true] {
        let _daemon = daemon.then(|| crate::serving(&stage));
        for args in ["nonsense".to_owned(), format!("K8S_POD_NAME={long};K8S_POD_NAMESPACE=default")] {
            stage.runtime("DEL", odd.clone()).set("CNI_ARGS", args).run().succeeded();
        }
    }
    // A spool that cannot take it is a reason to ask again.
    fs::remove_dir_all(stage.spool()).unwrap();
    fs::write(stage.spool(), "a file").unwrap();
    let outcome = stage.run("DEL", json!({}));
    assert_eq!((outcome.failed().0, outcome.reason().as_str()), (5, "spool-unusable"));
    fs::remove_file(stage.spool()).unwrap();
    assert_eq!(stage.run("DEL", json!({})).succeeded(), "");
}

#[test]
fn c52_a_del_without_a_daemon_is_kept_until_one_has_applied_it() {
    let stage = Stage::new();
    assert_eq!(stage.run("DEL", json!({})).succeeded(), "");
    let locked = Spool::new(stage.spool()).lock(PATIENCE).unwrap();
    let waiting = locked.waiting().unwrap();
    let [entry] = &waiting.dels[..] else { panic!("{waiting:?}") };
    assert_eq!((entry.del.network.as_str(), entry.del.ifname.as_str()), ("enid", "eth0"));
    assert_eq!(entry.del.pod.as_ref().map(|pod| pod.name.as_str()), Some("web"));
    assert!(entry.at_ms > 1_600_000_000_000);
    locked.forget(entry).unwrap();
    assert!(locked.waiting().unwrap().dels.is_empty());
}

#[test]
fn c52_a_plugin_that_is_killed_at_any_moment_leaves_nothing_or_a_whole_entry() {
    let stage = Stage::new();
    // How long a whole call takes here and now: the moments are spread over it and a little beyond.
    let begun = Instant::now();
    stage.run("DEL", json!({})).succeeded();
    let whole = begun.elapsed();
    let (mut kept, moments) = (0, 60);
    for moment in 0..moments {
        let container = format!("killed-{moment}");
        let (mut child, _) = stage.runtime("DEL", json!({})).set("CNI_CONTAINERID", &container).start();
        let until = Instant::now() + whole * moment / moments;
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        let _ended_meanwhile = child.kill();
        let answered = child.wait().unwrap().success();
        let waiting = waiting(&stage);
        assert_eq!(waiting.unreadable, [], "killed at {moment} of {moments}");
        let there = waiting.dels.iter().any(|spooled| spooled.del.container == container);
        assert!(there || !answered, "success was said and nothing kept, at {moment} of {moments}");
        kept += usize::from(there);
        // The runtime asks again.
        stage.runtime("DEL", json!({})).set("CNI_CONTAINERID", &container).run().succeeded();
    }
    assert_eq!(self::waiting(&stage).dels.len(), moments as usize + 1, "{kept} were kept the first time");
}

#[test]
fn c52_a_daemon_that_starts_meanwhile_is_reached_and_no_entry_left() {
    let stage = Stage::new();
    // The daemon that is starting holds the lock and is heard of once it listens.
    let starting = Spool::new(stage.spool()).lock(PATIENCE).unwrap();
    let (first_try, seen) = mpsc::channel();
    let mut calls = 0;
    let calls = std::sync::Mutex::new(move || {
        calls += 1;
        calls
    });
    let _daemon = stage.daemon(move |_| {
        if calls.lock().unwrap()() == 1 {
            first_try.send(()).unwrap();
            return Act::Raw(Vec::new());
        }
        Act::Reply(Reply::Done)
    });
    std::thread::scope(|scope| {
        let plugin = scope.spawn(|| stage.run("DEL", json!({})));
        seen.recv_timeout(PATIENCE).unwrap();
        drop(starting);
        assert_eq!(plugin.join().unwrap().succeeded(), "");
    });
    assert_eq!(waiting(&stage), Waiting::default());
}

#[test]
fn c52_a_del_to_a_daemon_that_hangs_or_breaks_off_is_kept() {
    for bytes in [None, Some(vec![1, 0])] {
        let stage = Stage::new();
        let _daemon = stage.daemon(move |_| bytes.clone().map_or(Act::Hang, Act::Raw));
        let previous: Value = crate::previous();
        assert_eq!(stage.run("DEL", json!({ "timeout_secs": 1, "prevResult": previous })).succeeded(), "");
        assert_eq!(waiting(&stage).dels.len(), 1);
    }
}
