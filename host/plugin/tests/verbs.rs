//! What each verb does when all is well.

mod stage;

use std::fs::File;

use enid_protocol::message::{Failed, Reply, Request};
use rustix::fs::fstat;
use serde_json::{Value, json};
use stage::{Act, Runtime, Stage, added, added_two_cards, annotated, recorder};

#[test]
fn add_prints_the_result_in_the_version_that_was_asked_for() {
    let stage = Stage::new();
    let _daemon = stage.daemon(|_| Act::Reply(Reply::Added(added())));
    for (version, golden) in [
        (
            "0.3.1",
            r#"{"cniVersion":"0.3.1","interfaces":[{"mac":"02:00:00:00:00:01","name":"enicc21c2d7785"},{"mac":"02:00:00:00:00:02","name":"eth0","sandbox":"/proc/self/ns/net"}],"ips":[{"address":"10.0.1.7/32","gateway":"169.254.1.1","interface":1,"version":"4"}],"routes":[{"dst":"169.254.1.1/32"},{"dst":"0.0.0.0/0","gw":"169.254.1.1"}]}"#,
        ),
        (
            "0.4.0",
            r#"{"cniVersion":"0.4.0","interfaces":[{"mac":"02:00:00:00:00:01","name":"enicc21c2d7785"},{"mac":"02:00:00:00:00:02","name":"eth0","sandbox":"/proc/self/ns/net"}],"ips":[{"address":"10.0.1.7/32","gateway":"169.254.1.1","interface":1,"version":"4"}],"routes":[{"dst":"169.254.1.1/32"},{"dst":"0.0.0.0/0","gw":"169.254.1.1"}]}"#,
        ),
        (
            "1.0.0",
            r#"{"cniVersion":"1.0.0","interfaces":[{"mac":"02:00:00:00:00:01","name":"enicc21c2d7785"},{"mac":"02:00:00:00:00:02","name":"eth0","sandbox":"/proc/self/ns/net"}],"ips":[{"address":"10.0.1.7/32","gateway":"169.254.1.1","interface":1}],"routes":[{"dst":"169.254.1.1/32"},{"dst":"0.0.0.0/0","gw":"169.254.1.1"}]}"#,
        ),
        (
            "1.1.0",
            r#"{"cniVersion":"1.1.0","interfaces":[{"mac":"02:00:00:00:00:01","mtu":9001,"name":"enicc21c2d7785"},{"mac":"02:00:00:00:00:02","mtu":9001,"name":"eth0","sandbox":"/proc/self/ns/net"}],"ips":[{"address":"10.0.1.7/32","gateway":"169.254.1.1","interface":1}],"routes":[{"dst":"169.254.1.1/32","scope":253},{"dst":"0.0.0.0/0","gw":"169.254.1.1"}]}"#,
        ),
    ] {
        let outcome = Runtime::new("ADD").config(&stage.config(version, json!({}))).run();
        assert_eq!(outcome.succeeded(), golden);
    }
}

#[test]
fn add_hands_over_the_pod_and_the_namespace_itself() {
    let stage = Stage::new();
    let (heard, record) = recorder();
    let _daemon = stage.daemon(move |h| {
        record((h.request, h.netns.map(|fd| fstat(fd).unwrap().st_ino)));
        Act::Reply(Reply::Added(added()))
    });
    let config =
        stage.config("1.0.0", json!({ "timeout_secs": 40, "args": { "cni": { "K8S_POD_NAME": "named" } } }));
    Runtime::new("ADD").set("TRACEPARENT", "00-a-b-01").config(&config).run().succeeded();
    let (request, inode) = heard.lock().unwrap().remove(0);
    assert_eq!(inode, Some(fstat(File::open("/proc/self/ns/net").unwrap()).unwrap().st_ino));
    let Request::Add(add) = request else { panic!("{request:?}") };
    assert_eq!((add.container.as_str(), add.network.as_str(), add.ifname.as_str()), ("c1", "enid", "eth0"));
    assert_eq!((add.netns.as_str(), add.timeout_ms), ("/proc/self/ns/net", 39_000));
    assert_eq!(
        (add.trace.as_deref(), &add.reads[..]),
        (Some("00-a-b-01"), &["added_interfaces".to_owned()][..])
    );
    let pod = add.pod.unwrap();
    assert_eq!(
        (pod.namespace.as_str(), pod.name.as_str(), pod.uid.as_deref()),
        ("default", "named", Some("u-1"))
    );
}

#[test]
fn an_annotated_pod_asks_for_every_card_and_is_told_of_all_it_has() {
    let stage = Stage::new();
    let (heard, record) = recorder();
    let _daemon = stage.daemon(move |h| {
        record((h.request.verb(), h.netns.is_some()));
        Act::Reply(added_two_cards().into_reply())
    });
    let config = stage.config("1.1.0", annotated("multi-nic-attachment"));
    let outcome = Runtime::new("ADD").config(&config).run();
    assert_eq!(
        outcome.succeeded(),
        r#"{"cniVersion":"1.1.0","interfaces":[{"mac":"02:00:00:00:00:01","mtu":9001,"name":"enicc21c2d7785"},{"mac":"02:00:00:00:00:02","mtu":9001,"name":"eth0","sandbox":"/proc/self/ns/net"},{"mac":"02:00:00:00:00:03","mtu":1500,"name":"eni0123456789a"},{"mac":"02:00:00:00:00:04","mtu":1500,"name":"mNicIf1","sandbox":"/proc/self/ns/net"}],"ips":[{"address":"10.0.1.7/32","gateway":"169.254.1.1","interface":1},{"address":"2001:db8::7/128","gateway":"fe80::1","interface":1},{"address":"10.0.2.9/32","gateway":"169.254.1.2","interface":3}],"routes":[{"dst":"169.254.1.1/32","scope":253},{"dst":"0.0.0.0/0","gw":"169.254.1.1"},{"dst":"fe80::1/128"},{"dst":"::/0","gw":"fe80::1"},{"dst":"169.254.1.2/32","scope":253,"table":1},{"dst":"0.0.0.0/0","gw":"169.254.1.2","table":1}]}"#
    );
    assert_eq!(*heard.lock().unwrap(), [("add_every_card", true)]);
}

#[test]
fn add_keeps_what_earlier_plugins_said() {
    let stage = Stage::new();
    let _daemon = stage.daemon(|_| Act::Reply(Reply::Added(added())));
    let previous = json!({ "cniVersion": "1.0.0", "interfaces": [{ "name": "dummy0" }], "extra": true });
    let dns = json!({ "nameservers": ["10.0.0.2"] });
    let outcome = stage.run("ADD", json!({ "prevResult": previous, "dns": dns }));
    let result: Value = serde_json::from_str(outcome.succeeded()).unwrap();
    assert_eq!(
        (&result["extra"], &result["dns"], &result["ips"][0]["interface"]),
        (&json!(true), &dns, &json!(2))
    );
}

#[test]
fn a_failed_reply_becomes_the_error_even_with_a_code_newer_than_the_plugin() {
    let stage = Stage::new();
    let _daemon = stage.daemon(|h| {
        let code = if matches!(h.request, Request::Add(_)) { 11 } else { 4711 };
        let message = "no free address\non any ENI".to_owned();
        Act::Reply(Reply::Failed(Failed { code, message, details: "subnet_exhausted".to_owned() }))
    });
    let outcome = stage.run("ADD", json!({}));
    assert_eq!(outcome.failed(), (11, "no free address on any ENI".to_owned()));
    assert!(outcome.stdout.contains(r#""details":"subnet_exhausted""#));
    assert_eq!(stage.run("DEL", json!({})).failed().0, 4711);
}

#[test]
fn del_needs_neither_namespace_nor_a_clean_configuration_and_is_silent() {
    let stage = Stage::new();
    let (heard, record) = recorder();
    let _daemon = stage.daemon(move |h| {
        record((h.request, h.netns.is_some()));
        Act::Reply(Reply::Done)
    });
    let config = stage.config("0.4.0", json!({ "prevResult": "garbage", "mtu": "9001" }));
    for runtime in [
        Runtime::new("DEL"),
        Runtime::new("DEL").unset("CNI_NETNS"),
        Runtime::new("DEL").set("CNI_NETNS", "/gone"),
        Runtime::new("DEL").unset("CNI_ARGS"),
    ] {
        assert_eq!(runtime.config(&config).run().succeeded(), "");
    }
    for (request, with_descriptor) in heard.lock().unwrap().iter() {
        let Request::Del(del) = request else { panic!("{request:?}") };
        assert_eq!((del.container.as_str(), *with_descriptor), ("c1", false));
    }
}

#[test]
fn check_hands_over_the_expected_addresses_and_is_silent() {
    for (reply, addresses) in [
        (Reply::Added(added()), vec!["10.0.1.7"]),
        (added_two_cards().into_reply(), vec!["10.0.1.7", "2001:db8::7", "10.0.2.9"]),
    ] {
        let stage = Stage::new();
        let (heard, record) = recorder();
        let _daemon = stage.daemon(move |h| {
            let Request::Check(check) = h.request else { return Act::Reply(reply.clone()) };
            let addresses: Vec<String> = check.addresses.iter().map(ToString::to_string).collect();
            record((addresses, h.netns.is_some()));
            Act::Reply(Reply::Checked)
        });
        for version in ["0.4.0", "1.0.0", "1.1.0"] {
            let outcome = Runtime::new("ADD").config(&stage.config(version, json!({}))).run();
            let result: Value = serde_json::from_str(outcome.succeeded()).unwrap();
            let config = stage.config(version, json!({ "prevResult": result }));
            assert_eq!(Runtime::new("CHECK").config(&config).run().succeeded(), "");
        }
        let expected = (addresses.into_iter().map(str::to_owned).collect(), true);
        assert_eq!(*heard.lock().unwrap(), [expected.clone(), expected.clone(), expected]);
    }
}

#[test]
fn version_answers_whatever_stdin_does() {
    let supported = r#""supportedVersions":["0.3.1","0.4.0","1.0.0","1.1.0"]"#;
    for (runtime, echoed) in [
        (Runtime::new("VERSION"), "1.1.0"),
        (Runtime::new("VERSION").stdin(&b"\xff\x00garbage"[..]), "1.1.0"),
        (Runtime::new("VERSION").stdin(r#"{"cniVersion":"0.4.0"}"#), "0.4.0"),
        (
            Runtime::new("VERSION")
                .set("CNI_NETNS", "dummy")
                .set("CNI_IFNAME", "dummy")
                .set("CNI_PATH", "dummy"),
            "1.1.0",
        ),
        (Runtime::new("VERSION").unset("CNI_CONTAINERID").unset("CNI_NETNS").unset("CNI_IFNAME"), "1.1.0"),
        (Runtime::new("VERSION").keep_stdin_open(), "1.1.0"),
    ] {
        assert_eq!(runtime.run().succeeded(), format!("{{\"cniVersion\":\"{echoed}\",{supported}}}"));
    }
}

#[test]
fn without_a_verb_it_introduces_itself_on_stderr() {
    for runtime in [Runtime::new(""), Runtime::new("").unset("CNI_COMMAND")] {
        let outcome = runtime.run();
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(0), ""));
        assert!(outcome.stderr.contains("enid-cni") && outcome.stderr.contains("1.1.0"), "{outcome:?}");
    }
}

#[test]
fn status_and_gc_say_that_they_are_not_served_yet() {
    let stage = Stage::new();
    for verb in ["STATUS", "GC"] {
        let newest =
            Runtime::new(verb).config(&stage.config("1.1.0", json!({ "cni.dev/valid-attachments": [] })));
        let (code, message) = newest.run().failed();
        assert_eq!(code, 100);
        assert!(message.starts_with(verb), "{message}");
        assert_eq!(stage.run(verb, json!({})).failed().0, 1, "1.0.0 has no {verb}");
    }
}
