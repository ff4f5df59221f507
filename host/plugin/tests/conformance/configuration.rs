//! The network configuration: C10, C19, C20, C22, C28, C29, C84.

use std::fs;
use std::path::PathBuf;

use enid_protocol::cni::annotations;
use serde_json::{Value, json};

use crate::stage::{Runtime, Stage, annotated};
use crate::{serving, wanted_by};

/// The conflist that is installed with enid.
pub(crate) fn conflist() -> Value {
    // Asked when it runs: the program may outlive the checkout in which it was compiled.
    let here = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap());
    serde_json::from_slice(&fs::read(here.join("../../deploy/10-enid.conflist")).unwrap()).unwrap()
}

#[test]
fn c10_a_network_has_a_name_of_the_spec_s_form() {
    let stage = Stage::new();
    let _daemon = serving(&stage);
    for name in ["n", "enid", "0", "a_b.c-d", &"n".repeat(256)] {
        stage.run("ADD", json!({ "name": name })).succeeded();
    }
    for name in
        [json!(null), json!(""), json!("a b"), json!("../n"), json!("-n"), json!("n".repeat(257)), json!(7)]
    {
        for verb in ["ADD", "CHECK", "DEL", "GC", "STATUS"] {
            let mut extra = wanted_by(verb);
            extra["name"] = name.clone();
            let (code, message) = stage.run(verb, extra).failed();
            assert_eq!(code, 7, "{message}");
            assert!(message.contains("`name`"), "{message}");
        }
    }
}

#[test]
fn c19_what_cannot_be_read_is_code_6_and_what_cannot_be_meant_is_code_7() {
    let stage = Stage::new();
    let _daemon = stage.daemon(|h| panic!("asked for {:?}", h.request));
    let with = |extra: Value| stage.config("1.0.0", extra).to_string();
    for (verb, stdin, code, part) in [
        ("ADD", String::new(), 6, "stdin is empty"),
        ("ADD", " \n\t".to_owned(), 6, "stdin is empty"),
        ("ADD", "nonsense".to_owned(), 6, "not JSON"),
        ("ADD", "[1]".to_owned(), 6, "not a JSON object"),
        ("DEL", "{".to_owned(), 6, "not JSON"),
        ("DEL", "{} {}".to_owned(), 6, "not JSON"),
        ("GC", "[".repeat(100_000), 6, "not JSON"),
        ("STATUS", "\u{0}".to_owned(), 6, "not JSON"),
        ("ADD", " ".repeat(5 * 1024 * 1024), 7, "exceeds"),
        ("ADD", with(json!({ "cniVersion": 1 })), 7, "`cniVersion`"),
        ("ADD", with(json!({ "socket": "enid.sock" })), 7, "`socket`"),
        ("DEL", with(json!({ "socket": format!("/{}", "x".repeat(107)) })), 7, "`socket`"),
        ("ADD", with(json!({ "timeout_secs": "90" })), 7, "`timeout_secs`"),
        ("ADD", with(json!({ "timeout_secs": 0 })), 7, "`timeout_secs`"),
        ("ADD", with(json!({ "dns": [] })), 7, "`dns`"),
        ("ADD", with(json!({ "prevResult": [] })), 7, "`prevResult`"),
        ("ADD", with(json!({ "runtimeConfig": "x" })), 7, "`runtimeConfig` is \"x\""),
        ("ADD", with(annotated("all-of-them")), 7, "`k8s.amazonaws.com/nicConfig` is \"all-of-them\""),
        ("ADD", with(annotated(&"x".repeat(300_000))), 7, "`k8s.amazonaws.com/nicConfig`"),
    ] {
        let (seen, message) = Runtime::new(verb).stdin(stdin).run().failed();
        assert_eq!(seen, code, "{verb} {message}");
        assert!(message.contains(part), "{part} in {message}");
    }
}

#[test]
fn c20_an_unknown_key_is_refused_by_name_and_value_and_reserved_ones_are_not() {
    let stage = Stage::new();
    let _daemon = serving(&stage);
    for verb in ["ADD", "CHECK", "GC", "STATUS"] {
        let mut extra = wanted_by(verb);
        extra["vethPrefix"] = json!("eni");
        extra["mtu"] = json!({ "deep": ["9001"] });
        let (code, message) = stage.run(verb, extra).failed();
        assert_eq!(code, 2, "{verb} {message}");
        for part in ["`vethPrefix` with value \"eni\"", "`mtu` with value {\"deep\":[\"9001\"]}"] {
            assert!(message.contains(part), "{part} in {message}");
        }
        let mut reserved = wanted_by(verb);
        reserved["cni.dev/of-next-year"] = json!({ "a": 1 });
        reserved["runtimeConfig"] = json!({ "portMappings": [{ "hostPort": 80 }], "of-next-year": 1 });
        stage.run(verb, reserved).succeeded();
    }
    // What ADD never accepted, DEL has nothing to misunderstand in.
    stage.run("DEL", json!({ "mtu": "9001", "ipMasq": true })).succeeded();
}

#[test]
fn c22_newer_optional_fields_of_the_same_major_version_are_accepted() {
    let stage = Stage::new();
    let _daemon = serving(&stage);
    let previous = json!({
        "cniVersion": "1.1.0",
        "interfaces": [{ "name": "vm0", "mtu": 1500, "socketPath": "/s", "pciID": "p" }],
        "routes": [{ "dst": "10.9.0.0/16", "mtu": 1400, "advmss": 1300, "priority": 5, "table": 7, "scope": 253 }],
    });
    let newer = json!({
        "prevResult": previous,
        "cni.dev/valid-attachments": [],
        "cni.dev/attachments": [],
        "runtimeConfig": { "of-1.2": true },
        "args": { "of-1.2": true },
    });
    let outcome = Runtime::new("ADD").config(&stage.config("1.0.0", newer)).run();
    let result: Value = serde_json::from_str(outcome.succeeded()).unwrap();
    assert_eq!(
        (&result["interfaces"][0], &result["routes"][0]),
        (&previous["interfaces"][0], &previous["routes"][0])
    );
}

#[test]
fn c28_the_runtime_s_switches_change_nothing_here() {
    let stage = Stage::new();
    let _daemon = serving(&stage);
    for value in [json!(true), json!(false), json!("true"), json!("false")] {
        for verb in ["ADD", "CHECK", "DEL", "GC", "STATUS"] {
            let mut extra = wanted_by(verb);
            (extra["disableCheck"], extra["disableGC"]) = (value.clone(), value.clone());
            stage.run(verb, extra).succeeded();
        }
    }
    assert_eq!(stage.run("CHECK", json!({ "disableCheck": true })).failed().0, 7, "CHECK is still a CHECK");
}

#[test]
fn c29_every_capability_that_is_used_is_declared_and_none_is_needed() {
    let list = conflist();
    let plugins = list["plugins"].as_array().unwrap();
    let ours = plugins.iter().find(|plugin| plugin["type"] == "enid-cni").unwrap();
    let declared: Vec<&String> = ours["capabilities"].as_object().unwrap().keys().collect();
    assert_eq!(declared, [annotations::CAPABILITY]);

    let stage = Stage::new();
    let _daemon = serving(&stage);
    // Not provided; provided; and as runtimes derive the configuration for GC and STATUS, with the declaration in it.
    for extra in [json!({}), annotated(""), json!({ "capabilities": { annotations::CAPABILITY: true } })] {
        for verb in ["ADD", "DEL", "GC", "STATUS"] {
            stage.run(verb, extra.clone()).succeeded();
        }
    }
}

/// enid writes no conflist and takes none away: the operator's stays where it is, through every restart and upgrade. That it
/// says nothing about readiness is what STATUS is for.
#[test]
fn c84_the_installed_conflist_serves_before_during_and_after_a_daemon() {
    let stage = Stage::new();
    let list = conflist();
    let mut config = list["plugins"][0].clone();
    config.as_object_mut().unwrap().remove("capabilities");
    (config["cniVersion"], config["name"]) = (json!("1.1.0"), list["name"].clone());
    config["socket"] = json!(stage.socket());
    let call = |verb| Runtime::new(verb).config(&config).run();
    let without_daemon = || {
        // No other plugin gets the pod, and kubelet asks again; what goes is not kept waiting.
        assert_eq!((call("ADD").failed().0, call("STATUS").failed().0), (11, 50));
        assert_eq!(call("DEL").succeeded(), "");
    };
    without_daemon();
    let daemon = serving(&stage);
    for verb in ["STATUS", "ADD", "DEL"] {
        call(verb).succeeded();
    }
    drop(daemon);
    without_daemon();
}
