//! Errors: C77 to C79.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use enid_protocol::cni::code::Code;
use enid_protocol::cni::reason::Reason;
use enid_protocol::message::{Failed, Reply};
use enid_protocol::spool::{MAX_ENTRIES, Spool};
use serde_json::{Value, json};

use crate::stage::{Act, Outcome, Stage};
use crate::wanted_by;

const VERBS: [&str; 5] = ["ADD", "CHECK", "DEL", "GC", "STATUS"];

#[test]
fn c77_an_error_is_one_object_on_stdout_with_its_four_fields() {
    let stage = Stage::new();
    for version in ["0.4.0", "1.0.0", "1.1.0"] {
        let outcome = stage.run("ADD", json!({ "cniVersion": version }));
        // `failed` has seen that the exit code is not 0, stderr empty and stdout one line.
        outcome.failed();
        let document: Value = serde_json::from_str(&outcome.stdout).unwrap();
        let keys: Vec<&String> = document.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["cniVersion", "code", "details", "msg"]);
        assert_eq!(document["cniVersion"], version);
        assert!(document["code"].is_u64() && document["msg"].is_string() && document["details"].is_string());
    }
}

#[test]
fn c78_codes_are_the_spec_s_or_enid_s_own_and_never_3() {
    let numbers: Vec<u32> = Code::ALL.iter().map(|code| code.number()).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    let specified = [1, 2, 4, 5, 6, 7, 8, 11, 50, 51];
    assert!(numbers.iter().all(|number| specified.contains(number) || (100..=999).contains(number)));
    assert!(!numbers.contains(&3) && !numbers.contains(&999));
}

#[test]
fn c78_a_code_that_is_newer_than_the_plugin_is_passed_on() {
    let stage = Stage::new();
    let _daemon = stage.daemon(|_| {
        Act::Reply(Reply::Failed(Failed {
            code: 4711,
            message: "two\nlines".to_owned(),
            details: "x".to_owned(),
        }))
    });
    for verb in VERBS {
        assert_eq!(stage.run(verb, wanted_by(verb)).failed(), (4711, "two lines".to_owned()));
    }
}

/// Every way to fail that the plugin decides about, under the name of its cause: what each verb says of it.
fn failures() -> BTreeMap<&'static str, Vec<(&'static str, Outcome)>> {
    let mut failures: BTreeMap<&str, Vec<(&str, Outcome)>> = BTreeMap::new();
    let with = |verb: &str, key: &str, value: Value| {
        let mut extra = wanted_by(verb);
        extra[key] = value;
        extra
    };
    for verb in VERBS {
        let stage = Stage::new();
        let mut failed = |cause, outcome: Outcome| failures.entry(cause).or_default().push((verb, outcome));
        failed("version", stage.run(verb, with(verb, "cniVersion", json!("9.0.0"))));
        failed("name", stage.run(verb, with(verb, "name", json!(""))));
        failed("type", stage.run(verb, with(verb, "type", json!("a/b"))));
        failed("socket", stage.run(verb, with(verb, "socket", json!("relative"))));
        failed("no-json", stage.runtime(verb, json!({})).stdin("{").run());
        failed("too-long", stage.runtime(verb, json!({})).stdin(" ".repeat(5 * 1024 * 1024)).run());
        if verb != "DEL" {
            failed("unknown-key", stage.run(verb, with(verb, "vethPrefix", json!("eni"))));
            failed("ipam", stage.run(verb, with(verb, "ipam", json!({ "type": "x" }))));
            failed("daemon-away", stage.run(verb, wanted_by(verb)));
            let mut hanging = wanted_by(verb);
            hanging["timeout_secs"] = json!(1);
            let daemon = stage.daemon(|_| Act::Hang);
            failed("daemon-late", stage.run(verb, hanging));
            drop(daemon);
            let daemon = stage.daemon(|_| Act::Raw(Vec::new()));
            failed("daemon-broke-off", stage.run(verb, wanted_by(verb)));
            drop(daemon);
        }
        let daemon = stage.daemon(|_| Act::Raw(b"\x02\0\0\0{]".to_vec()));
        failed("daemon-garbled", stage.run(verb, wanted_by(verb)));
        drop(daemon);
        if matches!(verb, "ADD" | "CHECK" | "DEL") {
            failed("environment", stage.runtime(verb, wanted_by(verb)).set("CNI_CONTAINERID", "../c").run());
            failed("environment", stage.runtime(verb, wanted_by(verb)).unset("CNI_IFNAME").run());
        }
        if matches!(verb, "ADD" | "CHECK") {
            failed("netns", stage.runtime(verb, wanted_by(verb)).set("CNI_NETNS", "/gone").run());
            failed("args", stage.runtime(verb, wanted_by(verb)).set("CNI_ARGS", "Odd=1").run());
        }
        if verb == "DEL" {
            fs::write(stage.spool(), "a file").unwrap();
            failed("spool-unusable", stage.run(verb, json!({})));
            fs::remove_file(stage.spool()).unwrap();
            let held = Spool::new(stage.spool()).lock(Duration::from_secs(10)).unwrap();
            failed("spool-locked", stage.run(verb, json!({ "timeout_secs": 1 })));
            drop(held);
            for n in 0..MAX_ENTRIES {
                fs::write(stage.spool().join(format!("{n:032x}.del.json")), "").unwrap();
            }
            failed("spool-full", stage.run(verb, json!({})));
        }
    }
    failures
}

#[test]
fn c79_one_cause_has_one_code_whichever_verb_meets_it() {
    let failures = failures();
    for (cause, outcomes) in &failures {
        let reason = Reason::ALL.into_iter().find(|reason| reason.as_str() == *cause);
        let codes: BTreeSet<u64> = outcomes
            .iter()
            .filter_map(|(verb, outcome)| {
                let code = outcome.failed().0;
                if let Some(reason) = reason {
                    assert_eq!(outcome.reason(), reason.as_str(), "{verb}");
                    // The question of STATUS is another one, and has its own answer.
                    assert!(*verb != "STATUS" || code == 50, "{verb} {cause} {code}");
                }
                (reason.is_none() || *verb != "STATUS").then_some(code)
            })
            .collect();
        assert_eq!(codes.len(), 1, "{cause} has {codes:?}");
        if let Some(reason) = reason {
            assert!(codes.contains(&u64::from(reason.code().number())), "{cause} {codes:?}");
        }
    }
    for reason in Reason::ALL {
        let elsewhere = matches!(reason, Reason::Forbidden | Reason::RequestTooLarge | Reason::SocketBroken);
        assert!(elsewhere || failures.contains_key(reason.as_str()), "{reason:?} is not among the failures");
    }
}
