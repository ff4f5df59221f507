//! A daemon that is away, breaks off or talks nonsense; and the spool at its limits.

mod stage;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use enid_protocol::frame::MAX_BODY;
use enid_protocol::message::{AddedIpv4, Reply};
use enid_protocol::spool::{MAX_ENTRIES, Spool};
use serde_json::{Value, json};
use stage::{Act, Outcome, Stage, added};

const PATIENCE: Duration = Duration::from_secs(10);

fn previous() -> Value {
    json!({ "prevResult": {
        "interfaces": [{ "name": "eth0", "sandbox": "/n" }],
        "ips": [{ "interface": 0, "address": "10.0.1.7/32" }],
    } })
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
    let outcome = stage.run("ADD", json!({}));
    is_code(&outcome, 11, "the daemon is not running");
    assert_eq!(outcome.reason(), "daemon-away");
    assert!(!stage.spool().exists());
}

#[test]
fn a_daemon_that_accepts_nobody_costs_no_more_than_the_deadline() {
    let stage = Stage::new();
    let listener = UnixListener::bind(stage.socket()).unwrap();
    let outcome = stage.run("ADD", json!({ "timeout_secs": 1 }));
    is_code(&outcome, 11, "did not answer in time");
    assert!((Duration::from_millis(900)..Duration::from_secs(5)).contains(&outcome.took), "{outcome:?}");
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
fn a_reply_of_any_allowed_size_is_read() {
    let stage = Stage::new();
    let host_veth = "v".repeat(MAX_BODY - 400);
    let _daemon = stage
        .daemon(move |_| Act::Reply(Reply::Added(AddedIpv4 { host_veth: host_veth.clone(), ..added() })));
    assert!(stage.run("ADD", json!({})).succeeded().len() > MAX_BODY - 400);
}

#[test]
fn the_spool_is_its_owner_s_alone() {
    let stage = Stage::new();
    assert_eq!(stage.run("DEL", json!({})).succeeded(), "");
    let mode = fs::metadata(stage.spool()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn a_full_spool_fails_the_del_and_says_so() {
    let stage = Stage::new();
    assert_eq!(stage.run("DEL", json!({})).succeeded(), "");
    for n in 1..MAX_ENTRIES {
        fs::write(stage.spool().join(format!("{n:032x}.del.json")), "").unwrap();
    }
    let late = stage.runtime("DEL", json!({})).set("CNI_CONTAINERID", "late").run();
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
