//! Spec versions: C21, C23, C25 to C27.

use serde_json::{Value, json};

use crate::configuration::conflist;
use crate::stage::{Act, Runtime, Stage, recorder};
use crate::{serving, wanted_by, well};

const SPOKEN: [&str; 4] = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"];

#[test]
fn c21_a_version_that_is_not_spoken_is_code_1_and_none_means_0_1_0() {
    let stage = Stage::new();
    let _daemon = stage.daemon(|h| panic!("asked for {:?}", h.request));
    for version in [json!("0.1.0"), json!("0.2.0"), json!("1.2.0"), json!("2.0.0"), json!("1.0"), json!("x")]
    {
        for verb in ["ADD", "CHECK", "DEL", "GC", "STATUS"] {
            let mut extra = wanted_by(verb);
            extra["cniVersion"] = version.clone();
            let (code, message) = stage.run(verb, extra).failed();
            assert_eq!(code, 1, "{verb} {message}");
            assert!(message.contains(version.as_str().unwrap()), "{message}");
        }
    }
    for absent in [json!(null), json!("")] {
        let (code, message) = stage.run("ADD", json!({ "cniVersion": absent })).failed();
        assert!(code == 1 && message.contains("`0.1.0`"), "{message}");
    }
}

#[test]
fn c23_version_lists_what_is_spoken() {
    let answer: Value = serde_json::from_str(Runtime::new("VERSION").run().succeeded()).unwrap();
    assert_eq!(answer["supportedVersions"], json!(SPOKEN));
    assert_eq!(answer.as_object().unwrap().keys().collect::<Vec<_>>(), ["cniVersion", "supportedVersions"]);
}

/// What each verb does in each version: `None` where it exists.
fn code_in(version: &str, verb: &str) -> Option<u64> {
    let since = match verb {
        "CHECK" => "0.4.0",
        "GC" | "STATUS" => "1.1.0",
        _ => "0.3.1",
    };
    (version < since).then_some(1)
}

#[test]
fn c25_a_verb_that_the_version_does_not_have_is_code_1() {
    let stage = Stage::new();
    let _daemon = serving(&stage);
    for version in SPOKEN {
        for verb in ["CHECK", "GC", "STATUS"] {
            let outcome = Runtime::new(verb).config(&stage.config(version, wanted_by(verb))).run();
            match code_in(version, verb) {
                None => assert_eq!(outcome.succeeded(), ""),
                Some(code) => {
                    let (seen, message) = outcome.failed();
                    assert!(seen == code && message.contains(verb), "{message}");
                    assert!(outcome.stdout.contains(&format!(r#""cniVersion":"{version}""#)), "{outcome:?}");
                }
            }
        }
    }
}

#[test]
fn c26_no_verb_succeeds_without_the_daemon_s_word() {
    let stage = Stage::new();
    for verb in ["ADD", "CHECK", "GC", "STATUS"] {
        stage.run(verb, wanted_by(verb)).failed();
    }
    let (heard, record) = recorder();
    let _daemon = stage.daemon(move |h| {
        record(h.request.verb());
        Act::Reply(well(h.request.verb()))
    });
    for verb in ["ADD", "CHECK", "DEL", "GC", "STATUS"] {
        stage.run(verb, wanted_by(verb)).succeeded();
    }
    assert_eq!(*heard.lock().unwrap(), ["add", "check", "del", "gc", "ready"]);
}

#[test]
fn c27_every_version_that_is_listed_works_with_every_verb_that_it_has() {
    let stage = Stage::new();
    let _daemon = serving(&stage);
    for version in SPOKEN {
        for verb in ["ADD", "CHECK", "DEL", "GC", "STATUS"] {
            let outcome = Runtime::new(verb).config(&stage.config(version, wanted_by(verb))).run();
            if code_in(version, verb).is_none() {
                outcome.succeeded();
            }
        }
    }
    // What is installed is a list by the spec's rules, of versions that are all spoken.
    let list = conflist();
    assert!(
        list["name"].is_string() && list["plugins"].as_array().is_some_and(|plugins| !plugins.is_empty())
    );
    let versions: Vec<&Value> =
        list["cniVersions"].as_array().into_iter().flatten().chain(list.get("cniVersion")).collect();
    assert!(!versions.is_empty(), "{list}");
    assert!(versions.iter().all(|version| SPOKEN.iter().any(|spoken| *version == spoken)), "{list}");
}
