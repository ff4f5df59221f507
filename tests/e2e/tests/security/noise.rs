//! Whatever bytes and descriptors come over the socket: the daemon answers or hangs up, and goes on.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use e2e::patience::wait_for;
use guests::chance::{Chance, seeds};

use crate::wire::{MAX_BODY, answers, body_of, frame, requests, send};
use crate::{OWN_AFFAIRS, PATIENCE, descriptors, ready};

/// Connections between two questions that must be answered well.
const BATCH: usize = 24;
/// Seeds in an ordinary run.
const RUNS: u64 = 24;
/// Silence that ends a connection: an ADD may wait for an address as long as it says.
const SILENCE: Duration = Duration::from_millis(300);

/// Bytes that may be a frame, or several.
fn noise(chance: &mut Chance) -> Vec<u8> {
    let requests = requests();
    let mut bytes = Vec::new();
    for _ in 0..=chance.below(3) {
        let mut body = body_of(chance.pick(&requests));
        match chance.below(8) {
            0 => {}
            1 => body = chance.bytes(64),
            2 => body.truncate(chance.below(body.len())),
            3 => {
                let at = chance.below(body.len());
                body.splice(at..at, vec![b'['; 5_000]);
            }
            4 => body = [&b"{\"v\":1,\"request\":"[..], &vec![b'7'; chance.below(MAX_BODY)], b"}"].concat(),
            _ => {
                for _ in 0..=chance.below(8) {
                    let at = chance.below(body.len());
                    body[at] = *chance.pick(b"\"{}[]:,0-9\\x\0\xff e");
                }
            }
        }
        body.truncate(MAX_BODY);
        let mut whole = frame(&body);
        match chance.below(6) {
            0 => whole[..4].copy_from_slice(&chance.bytes(4)),
            1 => whole.truncate(chance.below(whole.len())),
            _ => {}
        }
        bytes.extend(whole);
    }
    bytes
}

/// Descriptors of every kind that a process can have.
fn kinds(pod: &File) -> Vec<OwnedFd> {
    let (reader, writer) = std::io::pipe().unwrap();
    let (one, other) = UnixStream::pair().unwrap();
    let open = |path: &str| OwnedFd::from(File::open(path).unwrap());
    vec![
        open("/dev/null"),
        open("/proc/self/ns/mnt"),
        open("/proc/self/ns/net"),
        open("/proc/self/ns/user"),
        open("/proc/self/mem"),
        open("/"),
        pod.try_clone().unwrap().into(),
        reader.into(),
        writer.into(),
        one.into(),
        other.into(),
    ]
}

#[test]
fn noise_of_any_kind_is_answered_or_cut_off_and_leaves_nothing() {
    let (lab, node, mut daemon) = ready("noise");
    let pod = lab.pod();
    let kinds = kinds(&File::open(pod.namespace.path()).unwrap());
    let before = descriptors(&daemon);
    for seed in seeds("socket", RUNS).unwrap() {
        let chance = &mut Chance::new(seed);
        for _ in 0..BATCH {
            let stream = node.connect().unwrap();
            stream.set_read_timeout(Some(SILENCE)).unwrap();
            stream.set_write_timeout(Some(SILENCE)).unwrap();
            let attached: Vec<BorrowedFd<'_>> =
                (0..chance.below(8)).map(|_| chance.pick(&kinds).as_fd()).collect();
            let bytes = noise(chance);
            // The daemon may hang up before it has read everything.
            let sent = send(&stream, &bytes, &attached).unwrap_or(bytes.len());
            let _rest = send(&stream, &bytes[sent.min(bytes.len())..], &attached);
            if chance.below(2) == 0 {
                answers(&stream);
            }
        }
        assert!(daemon.is_alive(), "seed {seed}: {}", node.log());
        assert!(node.status()["pool"]["total"].is_u64(), "seed {seed}");
    }
    assert!(!node.log().contains("panicked"), "{}", node.log());
    wait_for("what was sent along is closed", PATIENCE, || {
        let now = descriptors(&daemon);
        if now <= before + OWN_AFFAIRS { Ok(()) } else { Err(format!("{before} descriptors became {now}")) }
    });
    node.place(lab.pod());
}
