//! STATUS: C61 to C63, C65, C66, C68.

use std::os::unix::net::UnixListener;

use enid_protocol::message::{Failed, MessageError, Reply, Request};
use serde_json::{Value, json};

use crate::stage::{Act, Outcome, Stage, added, recorder};

fn failed(code: u32, details: &str) -> Reply {
    let message = "no address is ready: the node is full of faults".to_owned();
    Reply::Failed(Failed { code, message, details: details.to_owned() })
}

fn status(stage: &Stage) -> Outcome {
    stage.run("STATUS", json!({}))
}

#[test]
fn c61_status_is_exit_0_when_the_daemon_says_so_and_only_then() {
    let stage = Stage::new();
    assert_eq!(status(&stage).failed().0, 50);
    let daemon = crate::serving(&stage);
    assert_eq!(status(&stage).succeeded(), "");
    // A configuration with which every ADD fails.
    for extra in
        [json!({ "ipam": { "type": "host-local" } }), json!({ "vethPrefix": "eni" }), json!({ "name": "" })]
    {
        let (code, message) = stage.run("STATUS", extra.clone()).failed();
        assert_eq!((code, message), stage.run("ADD", extra).failed());
    }
    drop(daemon);
    assert_eq!(status(&stage).failed().0, 50);
}

#[test]
fn c62_the_daemon_tells_50_from_51_and_its_reason_arrives_untouched() {
    for code in [50, 51] {
        let details = r#"{"reason":"subnets-exhausted","subnet":"subnet-0a1b2c3d"}"#;
        let stage = Stage::new();
        let _daemon = stage.daemon(move |_| Act::Reply(failed(code, details)));
        let outcome = status(&stage);
        assert_eq!(
            outcome.failed(),
            (code.into(), "no address is ready: the node is full of faults".to_owned())
        );
        let document: Value = serde_json::from_str(&outcome.stdout).unwrap();
        assert_eq!(document["details"], details);
    }
}

#[test]
fn c63_a_daemon_that_is_away_late_or_garbled_is_code_50_with_the_reason() {
    let away = Stage::new();
    let unbound = Stage::new();
    drop(UnixListener::bind(unbound.socket()).unwrap());
    let elsewhere = Stage::new();
    let _nobody_accepts = UnixListener::bind(elsewhere.socket()).unwrap();
    for (stage, reason) in [(away, "daemon-away"), (unbound, "daemon-away"), (elsewhere, "daemon-late")] {
        let outcome = status(&stage);
        assert_eq!((outcome.failed().0, outcome.reason().as_str()), (50, reason));
    }
    let misplaced = Reply::Added(added()).to_frame().unwrap();
    for (act, reason) in [
        (None, "daemon-late"),
        (Some(Vec::new()), "daemon-broke-off"),
        (Some(b"\x02\0\0\0{]".to_vec()), "daemon-garbled"),
        (Some(misplaced), "daemon-garbled"),
    ] {
        let stage = Stage::new();
        let _daemon = stage.daemon(move |_| act.clone().map_or(Act::Hang, Act::Raw));
        let outcome = status(&stage);
        assert_eq!((outcome.failed().0, outcome.reason().as_str()), (50, reason));
    }
}

#[test]
fn c63_a_daemon_of_before_says_that_it_is_too_old() {
    let stage = Stage::new();
    let _daemon = stage.daemon(|h| {
        Act::Reply(MessageError::Unknown { what: "request", name: h.request.verb().to_owned() }.to_reply())
    });
    let (code, message) = status(&stage).failed();
    assert!(code == 102 && message.contains("`ready`"), "{message}");
}

#[test]
fn c65_add_is_served_whatever_status_said() {
    let stage = Stage::new();
    let _daemon = stage.daemon(|h| {
        let verb = h.request.verb();
        Act::Reply(if verb == "ready" { failed(51, "{}") } else { crate::well(verb) })
    });
    for _ in 0..2 {
        stage.run("ADD", json!({})).succeeded();
        assert_eq!(status(&stage).failed().0, 51);
    }
}

#[test]
fn c66_status_asks_one_thing_and_touches_nothing() {
    let stage = Stage::new();
    let (heard, record) = recorder();
    let _daemon = stage.daemon(move |h| {
        record((h.request, h.netns.is_some()));
        Act::Reply(Reply::Done)
    });
    for _ in 0..20 {
        assert_eq!(status(&stage).succeeded(), "");
    }
    assert_eq!(*heard.lock().unwrap(), vec![(Request::Ready, false); 20]);
    assert!(!stage.spool().exists());
}

#[test]
fn c68_the_error_is_on_stdout() {
    let stage = Stage::new();
    let outcome = status(&stage);
    // `failed` has seen that stderr is empty and stdout one document.
    outcome.failed();
    let document: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!((&document["cniVersion"], &document["code"]), (&json!("1.1.0"), &json!(50)));
}
