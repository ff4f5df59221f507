//! The verb and the environment: C1 to C9, C12 to C18.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use enid_protocol::frame::HEADER;
use enid_protocol::message::{Pod, Request};
use enid_protocol::spool::Spool;
use serde_json::{Value, json};

use crate::stage::{Act, Runtime, Stage, recorder};
use crate::{serving, wanted_by, well};

const NEEDED: [&str; 3] = ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"];

fn binary() -> OsString {
    OsString::from_vec(vec![b'a', 0xff])
}

#[test]
fn c01_unknown_verbs_are_code_4_and_name_the_value() {
    let stage = Stage::new();
    let _daemon = stage.daemon(|heard| panic!("asked for {:?}", heard.request));
    for verb in ["NOPE", "add", "ADD ", "ADDITION", "🦀"] {
        let (code, message) = stage.run(verb, json!({})).failed();
        assert_eq!(code, 4, "{message}");
        assert!(message.contains(&format!("`{verb}`")), "{message}");
    }
    let (code, message) = stage.runtime("ADD", json!({})).set("CNI_COMMAND", binary()).run().failed();
    assert!(code == 4 && message.contains("unknown"), "{message}");
}

#[test]
fn c01_all_six_verbs_are_served() {
    let stage = Stage::new();
    let _daemon = serving(&stage);
    for verb in ["ADD", "CHECK", "DEL", "GC", "STATUS", "VERSION"] {
        stage.run(verb, wanted_by(verb)).succeeded();
    }
}

/// Runs `verb` without each subset of the variables that it needs, unset or empty, and reads what is said of it.
fn without_each_subset(verb: &str, needed: &[&str]) -> Vec<String> {
    let stage = Stage::new();
    let _daemon = stage.daemon(|heard| panic!("asked for {:?}", heard.request));
    let mut messages = Vec::new();
    for subset in 1_u32..1 << needed.len() {
        let gone: Vec<&str> = needed
            .iter()
            .enumerate()
            .filter(|(bit, _)| subset & (1 << bit) != 0)
            .map(|(_, name)| *name)
            .collect();
        for unset in [true, false] {
            let runtime = gone.iter().fold(stage.runtime(verb, wanted_by(verb)), |runtime, name| {
                let variable = NEEDED.into_iter().find(|needed| needed == name).unwrap();
                if unset { runtime.unset(variable) } else { runtime.set(variable, "") }
            });
            let (code, message) = runtime.run().failed();
            assert_eq!((code, message.as_str()), (4, &*format!("environment: {} missing", gone.join(", "))));
            messages.push(message);
        }
    }
    messages
}

#[test]
fn c02_add_names_every_missing_variable() {
    assert_eq!(without_each_subset("ADD", &NEEDED).len(), 14);
}

#[test]
fn c03_check_needs_what_add_needs() {
    assert_eq!(without_each_subset("CHECK", &NEEDED), without_each_subset("ADD", &NEEDED));
}

#[test]
fn c04_del_needs_a_container_and_an_interface_and_no_namespace() {
    without_each_subset("DEL", &["CNI_CONTAINERID", "CNI_IFNAME"]);
    let stage = Stage::new();
    let _daemon = serving(&stage);
    let del = || stage.runtime("DEL", json!({}));
    for runtime in
        [del().unset("CNI_NETNS"), del().set("CNI_NETNS", ""), del().unset("CNI_NETNS").unset("CNI_ARGS")]
    {
        assert_eq!(runtime.run().succeeded(), "");
    }
}

#[test]
fn c05_gc_needs_the_plugin_path_and_status_does_not() {
    let stage = Stage::new();
    let _daemon = serving(&stage);
    for (verb, needs) in [("GC", true), ("STATUS", false), ("ADD", false), ("CHECK", false), ("DEL", false)] {
        let call = || stage.runtime(verb, wanted_by(verb));
        call().run().succeeded();
        for runtime in [call().unset("CNI_PATH"), call().set("CNI_PATH", "")] {
            let outcome = runtime.run();
            if needs {
                assert_eq!(outcome.failed(), (4, "environment: CNI_PATH missing".to_owned()));
            } else {
                outcome.succeeded();
            }
        }
    }
    // Neither is about one container.
    for verb in ["GC", "STATUS"] {
        let call = NEEDED.into_iter().fold(stage.runtime(verb, wanted_by(verb)), Runtime::unset);
        assert_eq!(call.unset("CNI_ARGS").run().succeeded(), "");
    }
}

#[test]
fn c06_version_needs_nothing_but_the_verb() {
    let supported = r#""supportedVersions":["0.3.1","0.4.0","1.0.0","1.1.0"]"#;
    let version = || Runtime::new("VERSION");
    for (runtime, echoed) in [
        (version(), "1.1.0"),
        (version().stdin(&b"\xff\x00garbage"[..]), "1.1.0"),
        (version().stdin(" ".repeat(5 * 1024 * 1024)), "1.1.0"),
        (version().stdin(r#"{"cniVersion":"0.4.0"}"#), "0.4.0"),
        (version().set("CNI_NETNS", "dummy").set("CNI_IFNAME", "dummy").set("CNI_PATH", "dummy"), "1.1.0"),
        (version().set("CNI_CONTAINERID", "///").set("CNI_IFNAME", binary()), "1.1.0"),
        (NEEDED.into_iter().fold(version(), Runtime::unset).unset("CNI_PATH").unset("CNI_ARGS"), "1.1.0"),
        (version().keep_stdin_open(), "1.1.0"),
    ] {
        assert_eq!(runtime.run().succeeded(), format!("{{\"cniVersion\":\"{echoed}\",{supported}}}"));
    }
}

#[test]
fn c07_without_a_verb_it_introduces_itself_on_stderr() {
    for runtime in [Runtime::new(""), Runtime::new("").unset("CNI_COMMAND")] {
        let outcome = runtime.run();
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(0), ""));
        for part in ["enid-cni", "0.3.1, 0.4.0, 1.0.0, 1.1.0"] {
            assert!(outcome.stderr.contains(part), "{outcome:?}");
        }
    }
}

/// Which values of a variable ADD accepts, and that it names the others.
fn admits(variable: &'static str, good: &[&str], bad: &[OsString]) {
    let stage = Stage::new();
    let _daemon = serving(&stage);
    for value in good {
        stage.runtime("ADD", json!({})).set(variable, value).run().succeeded();
    }
    for value in bad {
        for verb in ["ADD", "CHECK", "DEL"] {
            let (code, message) = stage.runtime(verb, wanted_by(verb)).set(variable, value).run().failed();
            assert_eq!(code, 4, "{value:?} {message}");
            assert!(message.contains(variable), "{message}");
        }
    }
}

#[test]
fn c08_container_ids_have_the_form_of_the_spec() {
    let long = "c".repeat(256);
    let bad = ["../c", "-c", "_c", ".c", "c/1", "c\\1", "c 1", "c\n", "ç", &"c".repeat(257)];
    let bad: Vec<OsString> = bad.into_iter().map(OsString::from).chain([binary()]).collect();
    admits("CNI_CONTAINERID", &["c", "0", "c_1", "c.1", "c-1", "C..--__1", &long], &bad);
}

#[test]
fn c09_interface_names_are_those_that_a_link_may_have() {
    let bad = ["sixteen-bytes-xx", ".", "..", "a/b", "a:b", "a b", "a\tb", "eth0\n"];
    let bad: Vec<OsString> = bad.into_iter().map(OsString::from).chain([binary()]).collect();
    admits("CNI_IFNAME", &["e", "eth0", "fifteen-bytes-x", "a.b", "...", "a@b"], &bad);
}

/// The pod that ADD names when it is told of one as given.
fn named(cni_args: &str, extra: Value) -> Option<Pod> {
    let stage = Stage::new();
    let (heard, record) = recorder();
    let _daemon = stage.daemon(move |h| {
        let Request::Add(add) = h.request else { panic!("not an ADD") };
        record(add.pod);
        Act::Reply(well("add"))
    });
    stage.runtime("ADD", extra).set("CNI_ARGS", cni_args).run().succeeded();
    heard.lock().unwrap().remove(0)
}

fn pod(namespace: &str, name: &str, uid: Option<&str>) -> Option<Pod> {
    Some(Pod { namespace: namespace.to_owned(), name: name.to_owned(), uid: uid.map(str::to_owned) })
}

#[test]
fn c12_unknown_cni_args_fail_unless_they_may_be_ignored() {
    let kubelet = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID=c1;K8S_POD_UID=u-1";
    assert_eq!(named(kubelet, json!({})), pod("default", "web", Some("u-1")));
    // Runtimes send them in any order.
    let shuffled = "K8S_POD_UID=u-1;Other=2;K8S_POD_NAME=web;IgnoreUnknown=true;K8S_POD_NAMESPACE=default";
    assert_eq!(named(shuffled, json!({})), pod("default", "web", Some("u-1")));
    assert_eq!(named("", json!({})), None);

    let stage = Stage::new();
    let _daemon = serving(&stage);
    let call = |verb: &str, args: &str| stage.runtime(verb, wanted_by(verb)).set("CNI_ARGS", args).run();
    for (args, part) in [
        ("Odd=1", "unknown key Odd"),
        ("Odd=1;IgnoreUnknown=0", "unknown key Odd"),
        ("K8S_POD_NAME", "`K8S_POD_NAME` is not KEY=VALUE"),
    ] {
        for verb in ["ADD", "CHECK"] {
            let (code, message) = call(verb, args).failed();
            assert!(code == 4 && message.contains(part), "{message}");
        }
        // What cannot be understood must not keep what is there.
        call("DEL", args).succeeded();
    }
}

#[test]
fn c13_args_of_the_configuration_win_over_cni_args() {
    let args = |cni: Value| json!({ "args": { "cni": cni, "labels": [{ "key": "a", "value": "b" }] } });
    let cni_args = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_UID=u-1";
    let name = args(json!({ "K8S_POD_NAME": "named" }));
    assert_eq!(named(cni_args, name), pod("default", "named", Some("u-1")));
    let all = json!({ "K8S_POD_NAME": "n", "K8S_POD_NAMESPACE": "ns", "K8S_POD_UID": "u-2" });
    assert_eq!(named("", args(all.clone())), pod("ns", "n", Some("u-2")));
    assert_eq!(named(cni_args, args(all)), pod("ns", "n", Some("u-2")));
}

#[test]
fn c14_only_the_override_lets_the_own_namespace_be_a_pod_s() {
    let stage = Stage::new();
    let _daemon = serving(&stage);
    for (value, allowed) in
        [("1", true), ("TRUE", true), ("true", true), ("0", false), ("", false), ("yes", false)]
    {
        let outcome = stage.runtime("ADD", json!({})).set("CNI_NETNS_OVERRIDE", value).run();
        if allowed {
            outcome.succeeded();
        } else {
            assert_eq!(outcome.failed().0, 8, "{value}");
        }
    }
}

#[test]
fn c15_parallel_calls_for_different_containers_lose_nothing() {
    let stage = Stage::new();
    let config = stage.config("1.0.0", json!({}));
    let containers: Vec<String> = (0..24).map(|n| format!("c{}", n % 16)).collect();
    let faults = Mutex::new(Vec::new());
    // Without a daemon all of them meet at the spool.
    thread::scope(|scope| {
        for container in &containers {
            let (config, faults) = (&config, &faults);
            scope.spawn(move || {
                let outcome = Runtime::new("DEL").set("CNI_CONTAINERID", container).config(config).run();
                if outcome.code != Some(0) {
                    faults.lock().unwrap().push(outcome);
                }
            });
        }
    });
    assert!(faults.lock().unwrap().is_empty(), "{faults:?}");
    let waiting = Spool::new(stage.spool()).lock(Duration::from_secs(10)).unwrap().waiting().unwrap();
    let mut kept: Vec<String> = waiting.dels.into_iter().map(|spooled| spooled.del.container).collect();
    let mut wanted = containers;
    for list in [&mut kept, &mut wanted] {
        list.sort();
        list.dedup();
    }
    assert_eq!((kept, waiting.unreadable), (wanted, Vec::new()));
}

#[test]
fn c16_the_program_is_replaced_by_a_rename_while_it_runs() {
    let stage = Stage::new();
    let _daemon = serving(&stage);
    let installed = stage.spool().with_file_name("enid-cni");
    upgrade(&installed);
    thread::scope(|scope| {
        let upgrades = scope.spawn(|| (0..30).for_each(|_| upgrade(&installed)));
        let mut calls = 0;
        while calls < 10 || !upgrades.is_finished() {
            stage.runtime("ADD", json!({})).program(&installed).run().succeeded();
            calls += 1;
        }
    });
}

/// As one installs a program: written beside, and renamed. By processes of its own, because this one forks for other calls,
/// and a fork holds for a moment what is being written.
fn upgrade(installed: &Path) {
    let half = installed.with_extension("new");
    let run = |program: &str, from: &Path, to: &Path| {
        let ended = Command::new(program).arg(from).arg(to).status().unwrap();
        assert!(ended.success());
    };
    run("cp", Path::new(env!("CARGO_BIN_EXE_enid-cni")), &half);
    run("mv", &half, installed);
}

#[test]
fn c17_no_verb_waits_longer_than_its_deadline_and_each_says_why() {
    let stage = Stage::new();
    let _daemon = stage.daemon(|_| Act::Hang);
    for (verb, code) in [("ADD", 11), ("CHECK", 11), ("GC", 11), ("STATUS", 50)] {
        let mut extra = wanted_by(verb);
        extra["timeout_secs"] = json!(1);
        let outcome = stage.run(verb, extra);
        let (seen, message) = outcome.failed();
        assert!(seen == code && message.contains("did not answer in time"), "{verb} {seen} {message}");
        assert_eq!(outcome.reason(), "daemon-late");
    }
    assert_eq!(stage.run("DEL", json!({ "timeout_secs": 1 })).succeeded(), "");
}

#[test]
fn c18_the_trace_reaches_the_daemon_and_nothing_about_it_breaks_a_call() {
    let stage = Stage::new();
    let (heard, record) = recorder();
    let _daemon = stage.daemon(move |h| {
        let verb = h.request.verb();
        let parts: Value = serde_json::from_slice(&h.request.to_frame().unwrap()[HEADER..]).unwrap();
        let trace = parts["request"][verb]["trace"].as_str().map(str::to_owned);
        record((verb, trace));
        Act::Reply(well(verb))
    });
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for (value, passed_on) in [
        (parent.into(), Some(parent.to_owned())),
        ("0".repeat(4096).into(), None),
        (binary(), None),
        (OsString::new(), None),
    ] {
        for verb in ["ADD", "CHECK", "DEL", "GC", "STATUS"] {
            let call = stage.runtime(verb, wanted_by(verb)).set("TRACEPARENT", &value);
            call.set("TRACESTATE", binary()).set("BAGGAGE", "k=v,".repeat(2000)).run().succeeded();
            let (asked, trace) = heard.lock().unwrap().remove(0);
            let expected = if verb == "STATUS" { None } else { passed_on.clone() };
            assert_eq!(trace, expected, "{asked}");
        }
    }
}
