//! GC: C69, C71, C74.

use enid_protocol::message::{Failed, Gc, MessageError, Reply, Request, ValidAttachment};
use serde_json::{Value, json};

use crate::stage::{Act, Stage, recorder};

const KEY: &str = "cni.dev/valid-attachments";
const LEGACY: &str = "cni.dev/attachments";

fn listed(containers: &[&str]) -> Value {
    let entry = |container: &&str| json!({ "containerID": container, "ifname": "eth0" });
    Value::Array(containers.iter().map(entry).collect())
}

#[test]
fn c69_what_is_valid_is_read_from_either_key_and_the_spec_s_is_preferred() {
    let stage = Stage::new();
    let (heard, record) = recorder();
    let _daemon = stage.daemon(move |h| {
        let Request::Gc(gc) = h.request else { panic!("{:?}", h.request) };
        record((gc, h.netns.is_some()));
        Act::Reply(Reply::Done)
    });
    for (extra, containers) in [
        (json!({ KEY: listed(&["a", "b"]), LEGACY: listed(&["a", "b"]) }), vec!["a", "b"]),
        (json!({ KEY: listed(&["a"]), LEGACY: listed(&["b"]) }), vec!["a"]),
        (json!({ KEY: [], LEGACY: listed(&["b"]) }), vec![]),
        (json!({ KEY: null, LEGACY: listed(&["b"]) }), vec!["b"]),
        (json!({ KEY: listed(&["a", "a"]) }), vec!["a"]),
    ] {
        let config = stage.config("1.1.0", extra);
        assert_eq!(crate::stage::Runtime::new("GC").config(&config).run().succeeded(), "");
        let valid = containers
            .into_iter()
            .map(|container| ValidAttachment { container: container.to_owned(), ifname: "eth0".to_owned() });
        let gc = Gc { network: "enid".to_owned(), valid: valid.collect(), timeout_ms: 29_000, trace: None };
        assert_eq!(heard.lock().unwrap().pop(), Some((gc, false)));
    }
}

#[test]
fn c71_what_the_daemon_could_not_release_is_the_runtime_s_to_know() {
    for (reply, code) in [
        (
            Reply::Failed(Failed {
                code: 105,
                message: "2 of 3 are left".to_owned(),
                details: "x".to_owned(),
            }),
            105,
        ),
        (MessageError::Unknown { what: "request", name: "gc".to_owned() }.to_reply(), 102),
        (Reply::Checked, 103),
    ] {
        let stage = Stage::new();
        let _daemon = stage.daemon(move |_| Act::Reply(reply.clone()));
        assert_eq!(stage.run("GC", json!({})).failed().0, code);
    }
    let away = Stage::new().run("GC", json!({}));
    assert_eq!((away.failed().0, away.reason().as_str()), (11, "daemon-away"));
}

#[test]
fn c74_a_list_that_is_absent_or_unreadable_releases_nothing_and_an_empty_one_is_passed_on() {
    let stage = Stage::new();
    let (heard, record) = recorder();
    let _daemon = stage.daemon(move |h| {
        record(h.request.verb());
        Act::Reply(Reply::Done)
    });
    let gc = |extra: Value| crate::stage::Runtime::new("GC").config(&stage.config("1.1.0", extra)).run();
    for (extra, part) in [
        (json!({}), "`cni.dev/valid-attachments` is missing"),
        (json!({ KEY: null, LEGACY: null }), "is missing"),
        (json!({ KEY: "all" }), "not a list"),
        (json!({ KEY: {} }), "not a list"),
        (json!({ KEY: [1] }), "which is not"),
        (json!({ KEY: [{ "containerID": "a" }] }), "which is not"),
        (json!({ KEY: [{ "containerID": "../a", "ifname": "eth0" }] }), "which is not"),
        (json!({ KEY: [{ "containerID": "a", "ifname": "a/b" }] }), "which is not"),
        (json!({ KEY: listed(&vec!["a"; 5000]) }), "5000 attachments"),
    ] {
        let (code, message) = gc(extra).failed();
        assert!(code == 7 && message.contains(part), "{part} in {message}");
    }
    assert!(heard.lock().unwrap().is_empty());
    gc(json!({ KEY: [] })).succeeded();
    assert_eq!(*heard.lock().unwrap(), ["gc"]);
}

#[test]
fn c74_a_list_that_does_not_fit_is_an_error_and_is_not_cut_short() {
    let stage = Stage::new();
    let _daemon = stage.daemon(|h| panic!("asked for {:?}", h.request));
    let containers: Vec<String> = (0..4000).map(|n| format!("{n:064x}")).collect();
    let containers: Vec<&str> = containers.iter().map(String::as_str).collect();
    let outcome = stage.run("GC", json!({ KEY: listed(&containers) }));
    assert_eq!((outcome.failed().0, outcome.reason().as_str()), (7, "request-too-large"));
    assert!(outcome.failed().1.contains("exceeds the limit"), "{outcome:?}");
}
