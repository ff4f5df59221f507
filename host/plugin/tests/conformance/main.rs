//! What CNI obliges a plugin to, as far as the plugin and the protocol decide it: the real program between a runtime and a
//! daemon that are both played here.
//!
//! A test's name begins with the number of its obligation; `tests/tidy/tests/obligations.rs` has them all. Those that
//! take a real daemon and a kernel are in `tests/e2e/tests/conformance`.
#![allow(clippy::unwrap_used, reason = "a test that cannot arrange its world fails")]

#[path = "../stage/mod.rs"]
mod stage;

mod add;
mod check;
mod configuration;
mod del;
mod delegation;
mod environment;
mod errors;
mod gc;
mod golden;
mod status;
mod versions;

use serde_json::{Value, json};

/// A previous result with one address on eth0.
fn previous() -> Value {
    json!({
        "cniVersion": "1.0.0",
        "interfaces": [{ "name": "eth0", "sandbox": "/n" }],
        "ips": [{ "interface": 0, "address": "10.0.1.7/32" }],
    })
}

/// What a verb needs in its configuration besides the usual.
fn wanted_by(verb: &str) -> Value {
    match verb {
        "CHECK" => json!({ "prevResult": previous() }),
        "GC" => json!({ "cni.dev/valid-attachments": [] }),
        _ => json!({}),
    }
}

/// The reply of a daemon for which all is well.
fn well(verb: &str) -> enid_protocol::message::Reply {
    use enid_protocol::message::Reply;
    match verb {
        "add" | "add_every_card" => Reply::Added(stage::added()),
        "check" => Reply::Checked,
        _ => Reply::Done,
    }
}

/// A daemon for which all is well.
fn serving(stage: &stage::Stage) -> stage::Daemon {
    stage.daemon(|heard| stage::Act::Reply(well(heard.request.verb())))
}
