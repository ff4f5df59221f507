//! Many connections that say little or too much cost the daemon little, and its pods nothing.

use std::io::Write;
use std::os::unix::net::UnixStream;

use e2e::patience::wait_for;
use e2e::plugin::Call;
use e2e::pod::addresses_of;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::wire::{MAX_BODY, answers, frame};
use crate::{OWN_AFFAIRS, PATIENCE, descriptors, ready};

/// Nearly three times as many as are served at once.
const CROWD: usize = 3_000;
/// How long an ADD may take: half of what the daemon waits for the rest of a frame, so that it must not wait for that.
const ADD_WITHIN_SECS: u32 = 5;
/// What they may cost in memory, KiB.
const COST: u64 = 32 * 1024;

fn allow_many_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
}

#[test]
fn thousands_who_say_nothing_or_half_a_word_keep_no_pod_waiting() {
    let (lab, node, mut daemon) = ready("crowd");
    // Afterwards, so that the daemon has the usual limit.
    allow_many_descriptors();
    let before = (daemon.resident_kib(), descriptors(&daemon));
    let whole = frame(br#"{"v":1,"request":"status"}"#);
    let mut crowd: Vec<UnixStream> = Vec::new();
    for number in 0..CROWD {
        let mut stream = node.connect().unwrap();
        // One in three is cut off before it says anything, when others need its place.
        let _cut_off = stream.write_all(&whole[..(number % 3) * 5]);
        crowd.push(stream);
        if number % 1_000 == 999 {
            let add = Call::new("ADD", &node, &lab.pod()).with("timeout_secs", ADD_WITHIN_SECS);
            addresses_of(&add.ok(&node));
        }
    }
    assert_eq!(node.pool("bound"), 3);
    let cost = daemon.resident_kib().saturating_sub(before.0);
    assert!(cost < COST, "{cost} KiB");
    drop(crowd);
    wait_for("the daemon notices that they went", PATIENCE, || {
        let now = descriptors(&daemon);
        if now <= before.1 + OWN_AFFAIRS {
            Ok(())
        } else {
            Err(format!("{} descriptors became {now}", before.1))
        }
    });
    assert!(daemon.is_alive());
    assert!(!node.log().contains("accept failed"), "{}", node.log());
}

#[test]
fn whoever_sends_too_much_is_cut_off_and_whoever_stops_halfway_costs_a_frame_at_most() {
    let (lab, node, daemon) = ready("floods");
    let before = daemon.resident_kib();
    let too_long = u32::try_from(MAX_BODY + 1).unwrap().to_le_bytes();
    for length in [too_long, u32::MAX.to_le_bytes()] {
        let mut stream = node.connect().unwrap();
        stream.write_all(&length).unwrap();
        let answer = String::from_utf8_lossy(&answers(&stream)).into_owned();
        assert!(answer.contains("\"code\":103"), "{answer}");
    }
    const HALVES: u64 = 40;
    let body = frame(&vec![b' '; MAX_BODY]);
    let halves: Vec<UnixStream> = (0..HALVES)
        .map(|_| {
            let mut stream = node.connect().unwrap();
            stream.write_all(&body[..body.len() - 1]).unwrap();
            stream
        })
        .collect();
    node.add(&lab.pod());
    let cost = daemon.resident_kib().saturating_sub(before);
    assert!(cost < HALVES * 2 * MAX_BODY as u64 / 1024 + COST, "{cost} KiB");
    drop(halves);
}
