//! Malformed environments and configurations: one code per cause, one line, nothing asked of the daemon.

mod stage;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use serde_json::{Value, json};
use stage::{Act, Runtime, Stage, annotated};

#[test]
fn a_malformed_environment_is_code_4() {
    let stage = Stage::new();
    let _daemon = stage.daemon(|h| panic!("asked for {:?}", h.request));
    let binary = || OsString::from_vec(vec![b'a', 0xff]);
    for (runtime, part) in [
        (Runtime::new("NOPE"), "`NOPE`"),
        (Runtime::new("add"), "`add`"),
        (Runtime::new("ADD").set("CNI_COMMAND", binary()), "unknown"),
        (
            Runtime::new("ADD").unset("CNI_CONTAINERID").unset("CNI_IFNAME").unset("CNI_NETNS"),
            "CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME missing",
        ),
        (Runtime::new("CHECK").set("CNI_NETNS", ""), "CNI_NETNS missing"),
        (
            Runtime::new("DEL").unset("CNI_CONTAINERID").unset("CNI_IFNAME"),
            "CNI_CONTAINERID, CNI_IFNAME missing",
        ),
        (Runtime::new("GC").unset("CNI_PATH"), "CNI_PATH missing"),
        (Runtime::new("ADD").set("CNI_CONTAINERID", "../c"), "CNI_CONTAINERID `../c`"),
        (Runtime::new("ADD").set("CNI_CONTAINERID", binary()), "CNI_CONTAINERID is not UTF-8"),
        (Runtime::new("ADD").set("CNI_IFNAME", "sixteen-bytes-xx"), "CNI_IFNAME `sixteen-bytes-xx`"),
        (Runtime::new("DEL").set("CNI_IFNAME", "a/b"), "CNI_IFNAME `a/b`"),
        (Runtime::new("ADD").set("CNI_ARGS", "K8S_POD_NAME"), "CNI_ARGS"),
        (Runtime::new("ADD").set("CNI_ARGS", "Odd=1"), "unknown key Odd"),
    ] {
        let (code, message) = runtime.config(&stage.config("1.0.0", json!({}))).run().failed();
        assert_eq!(code, 4, "{message}");
        assert!(message.contains(part), "{part} in {message}");
    }
}

#[test]
fn a_malformed_configuration_says_which_key_and_why() {
    let stage = Stage::new();
    let _daemon = stage.daemon(|h| panic!("asked for {:?}", h.request));
    let with = |extra: Value| stage.config("1.0.0", extra).to_string();
    for (verb, stdin, code, part) in [
        ("ADD", String::new(), 6, "stdin is empty"),
        ("ADD", "nonsense".to_owned(), 6, "not JSON"),
        ("ADD", "[1]".to_owned(), 6, "not a JSON object"),
        ("DEL", "{".to_owned(), 6, "not JSON"),
        ("ADD", "[".repeat(100_000), 6, "not JSON"),
        ("ADD", " ".repeat(5 * 1024 * 1024), 7, "exceeds"),
        ("ADD", json!({ "name": "enid" }).to_string(), 1, "`0.1.0`"),
        ("ADD", with(json!({ "cniVersion": "2.0.0" })), 1, "`2.0.0`"),
        ("ADD", with(json!({ "cniVersion": 1 })), 7, "`cniVersion`"),
        ("CHECK", with(json!({ "cniVersion": "0.3.1" })), 1, "CHECK"),
        ("CHECK", with(json!({})), 7, "`prevResult`"),
        ("CHECK", with(json!({ "prevResult": {} })), 7, "no address on eth0"),
        ("ADD", with(json!({ "name": null })), 7, "`name` is missing"),
        ("DEL", with(json!({ "name": "a b" })), 7, "`name`"),
        ("ADD", with(json!({ "type": "../../bin/sh" })), 7, "`type`"),
        ("ADD", with(json!({ "socket": "enid.sock" })), 7, "`socket`"),
        ("DEL", with(json!({ "socket": format!("/{}", "x".repeat(107)) })), 7, "`socket`"),
        ("ADD", with(json!({ "timeout_secs": "90" })), 7, "`timeout_secs`"),
        ("ADD", with(json!({ "prevResult": [] })), 7, "`prevResult`"),
        ("ADD", with(json!({ "runtimeConfig": "x" })), 7, "`runtimeConfig` is \"x\""),
        ("ADD", with(annotated("all-of-them")), 7, "`k8s.amazonaws.com/nicConfig` is \"all-of-them\""),
        ("ADD", with(annotated(&"x".repeat(300_000))), 7, "`k8s.amazonaws.com/nicConfig`"),
        ("ADD", with(json!({ "vethPrefix": "eni" })), 2, "`vethPrefix` with value \"eni\""),
        ("ADD", with(json!({ "ipam": { "type": "host-local" } })), 2, "`ipam`"),
    ] {
        let (seen, message) = Runtime::new(verb).stdin(stdin).run().failed();
        assert_eq!(seen, code, "{verb} {message}");
        assert!(message.contains(part), "{part} in {message}");
    }
}

#[test]
fn errors_carry_the_version_of_the_configuration() {
    let stage = Stage::new();
    let outcome = Runtime::new("ADD").config(&stage.config("0.4.0", json!({ "odd": 1 }))).run();
    outcome.failed();
    assert!(outcome.stdout.contains(r#""cniVersion":"0.4.0""#), "{outcome:?}");
}

#[test]
fn only_a_pod_namespace_is_passed_on() {
    let stage = Stage::new();
    let _daemon = stage.daemon(|h| {
        drop(h);
        Act::Hang
    });
    let fifo = stage.spool().with_extension("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).unwrap();
    for (runtime, part) in [
        (Runtime::new("ADD").set("CNI_NETNS", "/nonexistent"), "No such file"),
        (Runtime::new("ADD").set("CNI_NETNS", "/proc/self/status"), "is not a namespace"),
        (Runtime::new("ADD").set("CNI_NETNS", fifo), "is not a namespace"),
        (Runtime::new("ADD").unset("CNI_NETNS_OVERRIDE"), "the host's own"),
    ] {
        let (code, message) = runtime.config(&stage.config("1.0.0", json!({}))).run().failed();
        assert_eq!(code, 8, "{message}");
        assert!(message.contains(part), "{part} in {message}");
    }
}
