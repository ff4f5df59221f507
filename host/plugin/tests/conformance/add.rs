//! ADD: C30, C32 to C34, C36, C37, C39, C40, C42.

use std::fs::File;
use std::io::Read;
use std::sync::mpsc;
use std::time::Duration;

use enid_protocol::message::{Failed, MessageError, Reply, Request};
use rustix::fs::fstat;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::serving;
use crate::stage::{Act, Runtime, Stage, added, added_two_cards, annotated, recorder};

const PATIENCE: Duration = Duration::from_secs(10);

fn result(stage: &Stage, version: &str, extra: Value) -> Value {
    let outcome = Runtime::new("ADD").config(&stage.config(version, extra)).run();
    serde_json::from_str(outcome.succeeded()).unwrap()
}

#[test]
fn c30_the_own_namespace_is_no_pod_s_and_the_daemon_is_not_even_asked() {
    let stage = Stage::new();
    let _daemon = stage.daemon(|h| panic!("asked for {:?}", h.request));
    for path in ["/proc/self/ns/net", "/proc/thread-self/ns/net"] {
        let call = stage.runtime("ADD", json!({})).set("CNI_NETNS", path).unset("CNI_NETNS_OVERRIDE");
        let (code, message) = call.run().failed();
        assert_eq!(code, 8, "{message}");
        assert!(message.contains("the host's own"), "{message}");
    }
}

#[test]
fn c30_what_is_no_namespace_is_refused_without_being_waited_for() {
    let stage = Stage::new();
    let _daemon = stage.daemon(|h| panic!("asked for {:?}", h.request));
    let fifo = stage.spool().with_extension("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).unwrap();
    for verb in ["ADD", "CHECK"] {
        for (path, part) in [
            ("/nonexistent", "No such file"),
            ("/proc/self/status", "is not a namespace"),
            (fifo.to_str().unwrap(), "is not a namespace"),
        ] {
            let call = stage.runtime(verb, crate::wanted_by(verb)).set("CNI_NETNS", path);
            let (code, message) = call.run().failed();
            assert_eq!(code, 8, "{message}");
            assert!(message.contains(part), "{message}");
        }
    }
}

#[test]
fn c32_success_is_exit_0_and_one_document_on_stdout() {
    let stage = Stage::new();
    let _daemon = serving(&stage);
    let outcome = stage.run("ADD", json!({}));
    // `succeeded` has seen that stderr is empty.
    assert_eq!(outcome.succeeded().lines().count(), 1);
    assert!(serde_json::from_str::<Value>(&outcome.stdout).unwrap().is_object());
}

#[test]
fn c32_the_daemon_gets_the_pod_and_the_namespace_itself() {
    let stage = Stage::new();
    let (heard, record) = recorder();
    let _daemon = stage.daemon(move |h| {
        record((h.request, h.netns.map(|fd| fstat(fd).unwrap().st_ino)));
        Act::Reply(Reply::Added(added()))
    });
    stage.run("ADD", json!({ "timeout_secs": 40 })).succeeded();
    let (request, inode) = heard.lock().unwrap().remove(0);
    assert_eq!(inode, Some(fstat(File::open("/proc/self/ns/net").unwrap()).unwrap().st_ino));
    let Request::Add(add) = request else { panic!("{request:?}") };
    assert_eq!((add.container.as_str(), add.network.as_str(), add.ifname.as_str()), ("c1", "enid", "eth0"));
    assert_eq!((add.netns.as_str(), add.timeout_ms), ("/proc/self/ns/net", 39_000));
    assert_eq!(add.reads, [Reply::ADDED_INTERFACES]);
}

#[test]
fn c33_both_ends_of_every_pair_are_reported_with_mac_and_mtu() {
    let stage = Stage::new();
    let _daemon = stage.daemon(|_| Act::Reply(added_two_cards().into_reply()));
    for version in ["0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        let result = result(&stage, version, annotated("multi-nic-attachment"));
        let interfaces = result["interfaces"].as_array().unwrap();
        let names: Vec<_> = interfaces.iter().map(|interface| interface["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["enicc21c2d7785", "eth0", "eni0123456789a", "mNicIf1"]);
        for (index, interface) in interfaces.iter().enumerate() {
            let in_pod = index % 2 == 1;
            assert_eq!(
                interface.get("sandbox"),
                in_pod.then_some(&json!("/proc/self/ns/net")),
                "{interface}"
            );
            assert_eq!(interface["mac"], format!("02:00:00:00:00:0{}", index + 1));
            assert_eq!(interface.get("mtu").is_some(), version == "1.1.0", "{interface}");
        }
    }
}

#[test]
fn c34_addresses_point_at_the_pod_s_interfaces_with_their_gateways() {
    let stage = Stage::new();
    let _daemon = stage.daemon(|_| Act::Reply(added_two_cards().into_reply()));
    for version in ["0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        let result = result(&stage, version, annotated("multi-nic-attachment"));
        let seen: Vec<_> = result["ips"]
            .as_array()
            .unwrap()
            .iter()
            .map(|ip| {
                let index = ip["interface"].as_u64().unwrap() as usize;
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                (text(&ip["address"]), text(&ip["gateway"]), text(&result["interfaces"][index]["name"]))
            })
            .collect();
        let wanted = [
            ("10.0.1.7/32", "169.254.1.1", "eth0"),
            ("2001:db8::7/128", "fe80::1", "eth0"),
            ("10.0.2.9/32", "169.254.1.2", "mNicIf1"),
        ];
        assert_eq!(
            seen,
            wanted.map(|(address, gateway, name)| (address.to_owned(), gateway.to_owned(), name.to_owned()))
        );
    }
}

#[test]
fn c36_nothing_that_an_earlier_plugin_said_is_dropped() {
    let stage = Stage::new();
    let _daemon = serving(&stage);
    let previous = json!({
        "cniVersion": "1.0.0",
        "interfaces": [{ "name": "br0", "mac": "02:00:00:00:00:09" }, { "name": "lo", "sandbox": "/n" }],
        "ips": [{ "address": "127.0.0.1/8", "interface": 1 }],
        "routes": [{ "dst": "10.9.0.0/16", "gw": "10.9.0.1" }],
        "dns": { "domain": "old" },
        "of-a-plugin": [1, null],
    });
    let with_ours = result(&stage, "1.0.0", json!({ "prevResult": previous }));
    for key in ["dns", "of-a-plugin"] {
        assert_eq!(with_ours[key], previous[key]);
    }
    for (key, ours) in [("interfaces", 2), ("ips", 1), ("routes", 2)] {
        let earlier = previous[key].as_array().unwrap();
        let now = with_ours[key].as_array().unwrap();
        assert_eq!((&now[..earlier.len()], now.len()), (&earlier[..], earlier.len() + ours), "{key}");
    }
    assert_eq!(with_ours["ips"][1]["interface"], 3);
    let dns = json!({ "nameservers": ["10.0.0.2"] });
    let own_dns = result(&stage, "1.0.0", json!({ "prevResult": previous, "dns": dns }));
    assert_eq!(own_dns["dns"], dns);
}

#[test]
fn c37_the_first_plugin_of_a_chain_gets_no_previous_result() {
    let stage = Stage::new();
    let _daemon = serving(&stage);
    let alone = result(&stage, "1.0.0", json!({}));
    assert_eq!(alone, result(&stage, "1.0.0", json!({ "prevResult": null })));
    assert_eq!(alone, result(&stage, "1.0.0", json!({ "prevResult": {} })));
}

#[test]
fn c39_what_may_pass_is_code_11_with_the_daemon_s_reason_untouched() {
    let stage = Stage::new();
    let reasons = [
        json!({ "reason": "subnets-exhausted", "subnet": "subnet-0a1b2c3d" }),
        json!({ "reason": "cloud", "call": "AssignPrivateIpAddresses", "kind": "throttled", "retry_secs": 7 }),
        // Whatever a reason quotes, and as long as it may be.
        json!({ "reason": "no-eni-config", "name": "a\"\\\n\u{1}ü".repeat(300) }),
    ];
    for reason in reasons {
        let details = reason.to_string();
        let reply = Reply::Failed(Failed {
            code: 11,
            message: "no address yet".to_owned(),
            details: details.clone(),
        });
        let _daemon = stage.daemon(move |_| Act::Reply(reply.clone()));
        let outcome = stage.run("ADD", json!({}));
        assert_eq!(outcome.failed(), (11, "no address yet".to_owned()));
        let document: Value = serde_json::from_str(&outcome.stdout).unwrap();
        assert_eq!(document["details"], details);
    }
}

#[test]
fn c40_a_call_that_is_ended_has_printed_nothing() {
    let stage = Stage::new();
    let (asked, hear) = mpsc::channel();
    let _daemon = stage.daemon(move |_| {
        asked.send(()).unwrap();
        Act::Hang
    });
    // Not those that a shell has its background jobs ignore.
    for signal in [Signal::TERM, Signal::USR1] {
        for verb in ["ADD", "CHECK", "GC"] {
            let (mut child, _) = stage.runtime(verb, crate::wanted_by(verb)).start();
            hear.recv_timeout(PATIENCE).unwrap();
            kill_process(Pid::from_child(&child), signal).unwrap();
            let ended = child.wait().unwrap();
            assert!(!ended.success());
            let mut said = Vec::new();
            child.stdout.take().unwrap().read_to_end(&mut said).unwrap();
            child.stderr.take().unwrap().read_to_end(&mut said).unwrap();
            assert_eq!(said, b"", "{verb} {signal:?}");
        }
    }
}

#[test]
fn c42_nothing_is_null_and_dns_is_there_only_when_it_says_something() {
    fn without_null(value: &Value) -> bool {
        match value {
            Value::Null => false,
            Value::Array(items) => items.iter().all(without_null),
            Value::Object(fields) => fields.values().all(without_null),
            Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
        }
    }
    let stage = Stage::new();
    let _daemon = serving(&stage);
    for version in ["0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        for extra in [
            json!({}),
            json!({ "dns": {} }),
            json!({ "dns": null }),
            json!({ "prevResult": { "interfaces": null, "ips": null, "routes": null } }),
        ] {
            let result = result(&stage, version, extra);
            assert!(without_null(&result) && result.get("dns").is_none(), "{result}");
        }
        let dns = json!({ "nameservers": ["10.0.0.2"], "search": ["svc"] });
        assert_eq!(result(&stage, version, json!({ "dns": dns }))["dns"], dns);
    }
}

#[test]
fn an_annotated_pod_asks_for_every_card_and_is_told_of_all_it_has() {
    let stage = Stage::new();
    let (heard, record) = recorder();
    let _daemon = stage.daemon(move |h| {
        record((h.request.verb(), h.netns.is_some()));
        Act::Reply(added_two_cards().into_reply())
    });
    assert_eq!(
        result(&stage, "1.1.0", annotated("multi-nic-attachment"))["ips"].as_array().map(Vec::len),
        Some(3)
    );
    assert_eq!(*heard.lock().unwrap(), [("add_every_card", true)]);
}

#[test]
fn a_daemon_that_knows_no_further_cards_serves_no_pod_that_asks_for_them() {
    let stage = Stage::new();
    let _daemon = stage.daemon(|h| {
        let verb = h.request.verb();
        if verb == "add" {
            return Act::Reply(Reply::Added(added()));
        }
        Act::Reply(MessageError::Unknown { what: "request", name: verb.to_owned() }.to_reply())
    });
    let (code, message) = stage.run("ADD", annotated("multi-nic-attachment")).failed();
    assert!(code == 102 && message.contains("`add_every_card`"), "{message}");
    assert!(!stage.run("ADD", json!({})).succeeded().is_empty());
}
