//! CHECK: C54, C59, C85.

use enid_protocol::message::{Failed, Reply, Request};
use serde_json::{Value, json};

use crate::stage::{Act, Runtime, Stage, added, added_two_cards, recorder};

#[test]
fn c54_check_without_a_previous_result_is_code_7() {
    let stage = Stage::new();
    let _daemon = stage.daemon(|h| panic!("asked for {:?}", h.request));
    for (extra, part) in [
        (json!({}), "`prevResult` is missing"),
        (json!({ "prevResult": null }), "`prevResult` is missing"),
        (json!({ "prevResult": "x" }), "not an object"),
        (json!({ "prevResult": { "ips": 3 } }), "is not a list"),
        (json!({ "prevResult": {} }), "no address on eth0"),
    ] {
        let (code, message) = stage.run("CHECK", extra).failed();
        assert!(code == 7 && message.contains(part), "{part} in {message}");
    }
}

#[test]
fn c59_check_prints_nothing_when_all_is_well_and_says_what_is_not() {
    let stage = Stage::new();
    let daemon = crate::serving(&stage);
    assert_eq!(stage.run("CHECK", json!({ "prevResult": crate::previous() })).succeeded(), "");
    drop(daemon);
    let _daemon = stage.daemon(|_| {
        Act::Reply(Reply::Failed(Failed {
            code: 101,
            message: "a rule is missing".to_owned(),
            details: "x".to_owned(),
        }))
    });
    let outcome = stage.run("CHECK", json!({ "prevResult": crate::previous() }));
    assert_eq!(outcome.failed(), (101, "a rule is missing".to_owned()));
}

#[test]
fn c85_every_result_that_enid_ever_printed_serves_check_and_del() {
    for (reply, addresses) in [
        (Reply::Added(added()), vec!["10.0.1.7"]),
        (added_two_cards().into_reply(), vec!["10.0.1.7", "2001:db8::7", "10.0.2.9"]),
    ] {
        let stage = Stage::new();
        let (heard, record) = recorder();
        let _daemon = stage.daemon(move |h| {
            if let Request::Check(check) = &h.request {
                let addresses: Vec<String> = check.addresses.iter().map(ToString::to_string).collect();
                record((addresses, h.netns.is_some()));
            }
            let verb = h.request.verb();
            Act::Reply(if verb == "add" { reply.clone() } else { crate::well(verb) })
        });
        // The runtime's cache has what was printed in `then`; the conflist says `now`.
        let versions = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"];
        for then in versions {
            let outcome = Runtime::new("ADD").config(&stage.config(then, json!({}))).run();
            let result: Value = serde_json::from_str(outcome.succeeded()).unwrap();
            for now in versions {
                let config = stage.config(now, json!({ "prevResult": result }));
                if now != "0.3.1" {
                    assert_eq!(Runtime::new("CHECK").config(&config).run().succeeded(), "");
                    let expected = addresses.iter().map(|address| (*address).to_owned()).collect();
                    assert_eq!(heard.lock().unwrap().pop(), Some((expected, true)), "{then} {now}");
                }
                assert_eq!(Runtime::new("DEL").config(&config).run().succeeded(), "");
            }
        }
    }
}
