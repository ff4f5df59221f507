//! Frames by hand: a length, a body, and whatever descriptors.

use std::io::{self, IoSlice, Read};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::{Value, json};

/// The largest body that is read.
pub(crate) const MAX_BODY: usize = 256 * 1024;

/// The verbs, each as a request that could be meant.
pub(crate) fn requests() -> Vec<Value> {
    let attachment =
        json!({ "container": "c0ffee", "network": "enid", "ifname": "eth0", "timeout_ms": 1000 });
    let with = |key: &str, value: Value| {
        let mut body = attachment.clone();
        body[key] = value;
        body
    };
    vec![
        json!({ "add": attachment }),
        json!({ "add_every_card": attachment }),
        json!({ "check": with("addresses", json!(["10.0.1.7"])) }),
        json!({ "clear_quarantine": { "which": "all" } }),
        json!({ "del": attachment }),
        json!({ "explain": { "subject": { "address": "10.0.1.7" } } }),
        json!({ "explain": { "subject": { "eni": "eni-0123456789abcdef0" } } }),
        json!({ "explain": { "subject": { "pod": { "namespace": "a", "name": "b" } } } }),
        json!({ "gc": { "network": "enid", "valid": [] } }),
        json!({ "hello": { "program": "a test" } }),
        json!("diff"),
        json!("ready"),
        json!("status"),
        json!("strategies"),
    ]
}

/// A request's body.
pub(crate) fn body_of(request: &Value) -> Vec<u8> {
    json!({ "v": 1, "request": request }).to_string().into_bytes()
}

/// A body with its length.
pub(crate) fn frame(body: &[u8]) -> Vec<u8> {
    [&u32::try_from(body.len()).unwrap().to_le_bytes(), body].concat()
}

/// Sends bytes and descriptors in one message; how much of it went.
pub(crate) fn send(stream: &UnixStream, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)));
    }
    Ok(sendmsg(stream.as_fd(), &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?)
}

/// Everything that comes back until the daemon hangs up or falls silent.
pub(crate) fn answers(mut stream: &UnixStream) -> Vec<u8> {
    let _refused = stream.shutdown(Shutdown::Write);
    let mut all = Vec::new();
    // What came before a reset or a silence counts.
    let _ended = stream.read_to_end(&mut all);
    all
}

/// What a request is answered with on a connection of its own.
pub(crate) fn asked(stream: &UnixStream, request: &Value) -> Value {
    let _refused_early = send(stream, &frame(&body_of(request)), &[]);
    let bytes = answers(stream);
    let text = bytes.get(4..).unwrap_or_else(|| panic!("{request} is not answered: {bytes:?}"));
    serde_json::from_slice::<Value>(text).unwrap()["reply"].take()
}
