//! A daemon that is away, hangs, breaks off or talks nonsense; and the spool.

mod stage;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use enid_protocol::frame::MAX_BODY;
use enid_protocol::message::{AddedIpv4, MessageError, Reply};
use enid_protocol::spool::{MAX_ENTRIES, Spool};
use serde_json::{Value, json};
use stage::{Act, Outcome, Runtime, Stage, added, annotated};

const PATIENCE: Duration = Duration::from_secs(10);

fn previous() -> Value {
    json!({ "prevResult": {
        "interfaces": [{ "name": "eth0", "sandbox": "/n" }],
        "ips": [{ "interface": 0, "address": "10.0.1.7/32" }],
    } })
}

fn with_timeout(mut extra: Value, secs: u64) -> Value {
    extra["timeout_secs"] = secs.into();
    extra
}

/// The containers whose DELs wait.
#[expect(clippy::unwrap_used, reason = "this is test code outside of test functions")]
fn spooled(stage: &Stage) -> BTreeSet<String> {
    let locked = Spool::new(stage.spool()).lock(PATIENCE).unwrap();
    let waiting = locked.waiting().unwrap();
    assert!(waiting.unreadable.is_empty(), "{waiting:?}");
    waiting.dels.into_iter().map(|spooled| spooled.del.container).collect()
}

fn is_code(outcome: &Outcome, code: u64, part: &str) {
    let (seen, message) = outcome.failed();
    assert_eq!(seen, code, "{message}");
    assert!(message.contains(part), "{part} in {message}");
}

#[test]
fn add_and_check_ask_to_try_again_while_the_daemon_is_away() {
    let stage = Stage::new();
    is_code(&stage.run("ADD", json!({})), 11, "the daemon is not running");
    is_code(&stage.run("CHECK", previous()), 11, "the daemon is not running");
    drop(UnixListener::bind(stage.socket()).unwrap());
    is_code(&stage.run("ADD", json!({})), 11, "the daemon is not running");
    assert!(!stage.spool().exists());
}

#[test]
fn a_hanging_daemon_costs_no_more_than_the_deadline() {
    let stage = Stage::new();
    let _daemon = stage.daemon(|_| Act::Hang);
    for (verb, extra) in [("ADD", json!({})), ("CHECK", previous())] {
        let outcome = stage.run(verb, with_timeout(extra, 1));
        is_code(&outcome, 11, "did not answer in time");
        assert!((Duration::from_millis(900)..Duration::from_secs(5)).contains(&outcome.took), "{outcome:?}");
    }
}

#[test]
fn a_daemon_that_accepts_nobody_costs_no_more_than_the_deadline() {
    let stage = Stage::new();
    let listener = UnixListener::bind(stage.socket()).unwrap();
    let outcome = stage.run("ADD", json!({ "timeout_secs": 1 }));
    is_code(&outcome, 11, "did not answer in time");
    drop(listener);
}

#[test]
fn broken_replies_are_told_apart() {
    let whole = Reply::Added(added()).to_frame().unwrap();
    let cut = whole[..whole.len() / 2].to_vec();
    let mut oversized = (MAX_BODY as u32 + 1).to_le_bytes().to_vec();
    oversized.resize(MAX_BODY, b' ');
    let mut newer = whole.clone();
    let at = newer.windows(5).position(|w| w == b"\"v\":1").unwrap();
    newer[at + 4] = b'2';
    let misplaced = Reply::Done.to_frame().unwrap();
    for (bytes, code, part) in [
        (Vec::new(), 11, "closed the connection"),
        (vec![9], 11, "closed the connection"),
        (cut, 11, "closed the connection"),
        (oversized, 103, "exceeds the limit"),
        (b"\x02\0\0\0{]".to_vec(), 103, "cannot be read"),
        (newer, 103, "protocol 2"),
        (misplaced, 103, "`done` does not answer ADD"),
    ] {
        let stage = Stage::new();
        let _daemon = stage.daemon(move |_| Act::Raw(bytes.clone()));
        is_code(&stage.run("ADD", json!({})), code, part);
    }
}

#[test]
fn a_daemon_that_knows_no_further_cards_serves_no_pod_that_asks_for_them() {
    let stage = Stage::new();
    let _daemon = stage.daemon(|h| {
        let verb = h.request.verb();
        if verb == "add" {
            return Act::Reply(Reply::Added(added()));
        }
        Act::Reply(MessageError::Unknown { what: "request", name: verb.to_owned() }.to_reply())
    });
    is_code(&stage.run("ADD", annotated("multi-nic-attachment")), 102, "`add_every_card`");
    assert!(!stage.run("ADD", json!({})).succeeded().is_empty());
}

#[test]
fn a_reply_of_any_allowed_size_is_read() {
    let stage = Stage::new();
    let host_veth = "v".repeat(MAX_BODY - 400);
    let _daemon = stage
        .daemon(move |_| Act::Reply(Reply::Added(AddedIpv4 { host_veth: host_veth.clone(), ..added() })));
    assert!(stage.run("ADD", json!({})).succeeded().len() > MAX_BODY - 400);
}

#[test]
fn del_waits_in_the_spool_while_the_daemon_is_away() {
    let stage = Stage::new();
    for _ in 0..3 {
        assert_eq!(stage.run("DEL", json!({})).succeeded(), "");
    }
    let mode = fs::metadata(stage.spool()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
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
fn del_is_spooled_when_the_daemon_hangs_or_breaks_off() {
    for bytes in [None, Some(vec![1, 0])] {
        let stage = Stage::new();
        let _daemon = stage.daemon(move |_| bytes.clone().map_or(Act::Hang, Act::Raw));
        let outcome = stage.run("DEL", json!({ "timeout_secs": 1 }));
        assert_eq!(outcome.succeeded(), "");
        assert!(outcome.took < Duration::from_secs(5), "{outcome:?}");
        assert_eq!(spooled(&stage).len(), 1);
    }
}

#[test]
fn del_reaches_a_daemon_that_starts_meanwhile_and_leaves_no_entry() {
    let stage = Stage::new();
    // The daemon that is starting holds the lock and is heard of once it listens.
    let starting = Spool::new(stage.spool()).lock(PATIENCE).unwrap();
    let (first_try, seen) = mpsc::channel();
    let calls = AtomicUsize::new(0);
    let _daemon = stage.daemon(move |_| {
        if calls.fetch_add(1, Ordering::SeqCst) == 0 {
            first_try.send(()).unwrap();
            return Act::Raw(Vec::new());
        }
        Act::Reply(Reply::Done)
    });
    thread::scope(|scope| {
        let plugin = scope.spawn(|| stage.run("DEL", json!({})));
        seen.recv_timeout(PATIENCE).unwrap();
        drop(starting);
        assert_eq!(plugin.join().unwrap().succeeded(), "");
    });
    assert!(spooled(&stage).is_empty());
}

#[test]
fn parallel_dels_are_all_kept() {
    let stage = Stage::new();
    let config = stage.config("1.0.0", json!({}));
    let containers: Vec<String> = (0..24).map(|n| format!("c{}", n % 16)).collect();
    let faults = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for container in &containers {
            let (config, faults) = (&config, &faults);
            scope.spawn(move || {
                let outcome = Runtime::new("DEL").set("CNI_CONTAINERID", container).config(config).run();
                if outcome.code != Some(0) {
                    faults.lock().unwrap().push(outcome);
                }
            });
        }
    });
    assert!(faults.lock().unwrap().is_empty(), "{faults:?}");
    assert_eq!(spooled(&stage), containers.into_iter().collect());
}

#[test]
fn a_full_spool_fails_the_del_and_says_so() {
    let stage = Stage::new();
    assert_eq!(stage.run("DEL", json!({})).succeeded(), "");
    for n in 1..MAX_ENTRIES {
        fs::write(stage.spool().join(format!("{n:032x}.del.json")), "").unwrap();
    }
    let config = stage.config("1.0.0", json!({}));
    let late = Runtime::new("DEL").set("CNI_CONTAINERID", "late").config(&config).run();
    is_code(&late, 110, "wait already");
    assert_eq!(stage.run("DEL", json!({})).succeeded(), "", "the same DEL again needs no room");
}

#[test]
fn a_spool_that_cannot_be_used_is_an_error_and_not_a_loss() {
    let stage = Stage::new();
    fs::write(stage.spool(), "a file").unwrap();
    is_code(&stage.run("DEL", json!({})), 5, "spool");
    let held = Spool::new(stage.spool().with_file_name("other")).lock(PATIENCE).unwrap();
    let extra = json!({ "spool": stage.spool().with_file_name("other"), "timeout_secs": 1 });
    is_code(&stage.run("DEL", extra), 11, "locked");
    drop(held);
}
