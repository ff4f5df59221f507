//! A node seen from outside: by probes, by Prometheus, and by people who ask what is wrong.
//!
//! Map: `readiness` could a pod be added? · `metrics` what is counted, and where it is served · `dashboard` Prometheus
//! reads it, and the dashboard and the alerts ask for what is there · `diff` journal, kernel and EC2 against each other ·
//! `bundle` everything in one file · `bad_input` what cannot be meant.
#![expect(clippy::unwrap_used, reason = "a test that cannot arrange its world fails")]

mod bad_input;
mod bundle;
mod dashboard;
mod diff;
mod metrics;
mod readiness;

use std::io::{Read, Write};
use std::time::Duration;

use e2e::daemon::Daemon;
use e2e::lab::Lab;
use e2e::node::Node;
use e2e::patience::wait_for;
use enid_protocol::frame::FrameDecoder;
use enid_protocol::message::{Failed, Reply, Request};
use serde_json::Value;

/// An ENI takes some seconds to come in the lab, and longer on a busy machine.
const GROWTH: Duration = Duration::from_secs(40);
/// The daemon looks at EC2 once a minute when nothing asks for it sooner, and at the kernel as often.
const NEXT_LOOK: Duration = Duration::from_secs(100);

/// A lab whose m5.large is ready to serve, with no more addresses than are asked for.
fn ready(test: &str) -> (Lab, Node, Daemon) {
    let lab = Lab::up(test);
    let node = lab.m5();
    node.configure(&node.settings().cooldown_secs(1).warm_pool("warm-targets", "warm_ip_target = 2"));
    let daemon = node.start();
    daemon.wait_until_ready();
    (lab, node, daemon)
}

/// The daemon's answer to one request over its socket.
fn reply(node: &Node, request: &Request) -> Reply {
    let mut stream = node.connect().unwrap();
    stream.set_read_timeout(Some(GROWTH)).unwrap();
    stream.write_all(&request.to_frame().unwrap()).unwrap();
    let mut decoder = FrameDecoder::default();
    let mut buffer = [0; 4096];
    loop {
        if let Some(body) = decoder.next_body().unwrap() {
            return Reply::from_body(&body).unwrap();
        }
        let read = stream.read(&mut buffer).unwrap();
        assert!(read > 0, "the daemon hung up");
        decoder.push(&buffer[..read]).unwrap();
    }
}

/// STATUS fails with `code`; the reason's name, and its words.
#[track_caller]
fn not_ready(node: &Node, code: u32) -> (String, String) {
    let Reply::Failed(Failed { code: found, message, details }) = reply(node, &Request::Ready) else {
        panic!("the node says that it is ready")
    };
    assert_eq!(found, code, "{message}");
    let details: Value = serde_json::from_str(&details).unwrap();
    (details["reason"].as_str().unwrap().to_owned(), message)
}

/// Waits until `/readyz` answers with `status`; its text.
#[track_caller]
fn wait_for_readyz(node: &Node, status: u16) -> String {
    wait_for(&format!("/readyz says {status}"), NEXT_LOOK, || {
        let page = node.try_page("/readyz")?;
        if page.status == status { Ok(page.body) } else { Err(format!("{page:?}")) }
    })
}
