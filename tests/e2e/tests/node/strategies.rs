//! What operators learn about strategies: who decides, how a shadow compares, and why an address is there.

use e2e::lab::Lab;
use e2e::node::Node;
use e2e::patience::wait_for;
use e2e::pod::address_of;
use e2e::program::{Ended, run_enid};
use serde_json::{Value, json};

use crate::{GROWTH, ready};

/// Records of decisions: no daemon is asked.
fn history(node: &Node, words: &[&str]) -> Ended {
    let directory = node.runtime_dir().to_str().unwrap();
    run_enid(&[&["strategy", "history", "--runtime-dir", directory], words].concat())
}

#[track_caller]
fn asked(node: &Node, words: &[&str]) -> Value {
    let all = [words, &["--output", "json"]].concat();
    serde_json::from_str(&node.ask(&all).ok()).unwrap()
}

#[test]
fn an_address_leads_to_the_call_that_brought_it_and_to_the_record_of_the_decision() {
    let (lab, node, daemon) = ready("chain");
    let pod = lab.pod();
    let address = address_of(&node.add(&pod)).to_string();
    let told = node.ask(&["explain", "address", &address]).ok();
    assert!(told.contains("assigned by AssignPrivateIpAddresses because "), "{told}");
    let (_, rest) = told.split_once("; warm-pool decision ").unwrap_or_else(|| panic!("{told}"));
    let (number, by) = rest.split_once(" by ").unwrap();
    assert!(by.starts_with("warm-targets@"), "{told}");
    let one = ["--kind", "warm-pool", "--decision", number];

    let written = || {
        let ended = history(&node, &[&one[..], &["--output", "json"]].concat());
        if ended.code == Some(0) { Ok(ended.stdout) } else { Err(ended.stderr) }
    };
    let document: Value = serde_json::from_str(&wait_for("the record is written", GROWTH, written)).unwrap();
    let record = &document[0];
    assert_eq!((&document[1], &record["decision"].to_string()), (&json!(null), &number.to_owned()));
    assert_eq!((&record["kind"], &record["verdict"]), (&json!("warm-pool"), &json!("admitted")));
    assert!(record["fuel"].as_u64() > Some(0), "{record}");
    assert!(record["decided_by"].as_str().unwrap().starts_with("warm-targets@"), "{record}");

    // Records and reasons outlive the daemon.
    assert!(daemon.terminate().success());
    let text = history(&node, &one).ok();
    for part in [number, "by warm-targets@", "asked: {", "answered: {"] {
        assert!(text.contains(part), "`{part}` is not in\n{text}");
    }
    let latest = history(&node, &["--last", "1"]).ok();
    assert_eq!(latest.lines().filter(|line| line.contains(" decision ")).count(), 3, "{latest}");
    let complaint = history(&node, &["--decision", "4000000000"]).complaint(1);
    assert!(complaint.contains("no record of decision 4000000000"), "{complaint}");
    let daemon = node.start();
    daemon.wait_until_ready();
    let again = node.ask(&["explain", "address", &address]).ok();
    assert!(again.contains(&format!("; warm-pool decision {number} by ")), "{again}");
    let status = node.status();
    let rows = status["strategies"].as_array().unwrap();
    let latest = rows.iter().find(|row| row["kind"] == "warm-pool").unwrap()["record"].as_u64();
    assert!(latest > number.parse().ok(), "numbers go on after a restart: {latest:?} after {number}");
}

#[test]
fn strategies_in_force_are_listed_with_who_stands_behind_them() {
    let lab = Lab::up("list");
    let node = lab.m5();
    node.configure(&node.settings().and(
        "[[strategy.warm-pool.fallback]]\nuse = \"batched\"\n\
         [strategy.warm-pool.shadow]\nuse = \"batched\"\nsettings = { batch = 8 }\n\
         [strategy.max-pods]\nuse = \"builtin\"",
    ));
    let daemon = node.start();
    daemon.wait_until_ready();
    let listed = asked(&node, &["strategy", "list"]);
    let rows = listed["strategies"].as_array().unwrap();
    let kinds: Vec<&str> = rows.iter().map(|row| row["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["warm-pool", "max-pods", "subnet-selection"]);
    let (warm_pool, max_pods) = (&rows[0], &rows[1]);
    assert_eq!(warm_pool["active"]["place"], "process");
    assert_eq!(warm_pool["active"]["rung"], "live");
    assert_eq!(warm_pool["active"]["digest"].as_str().map(str::len), Some(64));
    assert!(warm_pool["active"]["fallbacks"][0].as_str().unwrap().starts_with("batched@"), "{listed}");
    assert_eq!(
        (&max_pods["active"]["label"], &max_pods["active"]["digest"]),
        (&json!("builtin"), &json!(null))
    );
    assert_eq!(listed["quarantined"], json!([]));
    let text = node.ask(&["strategy", "list"]).ok();
    for part in [
        "warm-pool\n",
        "in force   warm-targets@",
        "fallback   batched@",
        "shadow     batched@",
        "part of enid",
    ] {
        assert!(text.contains(part), "`{part}` is not in\n{text}");
    }

    let compared = wait_for("the shadow was shown a snapshot", GROWTH, || {
        let shadows = asked(&node, &["strategy", "shadow"]);
        if shadows["warm-pool"]["compared"].as_u64() > Some(0) {
            Ok(shadows)
        } else {
            Err(shadows.to_string())
        }
    });
    let shadow = &compared["warm-pool"];
    assert!(shadow["agreement_milli"].is_u64() && shadow["mean_difference_milli"].is_i64(), "{shadow}");
    let text = node.ask(&["strategy", "shadow"]).ok();
    assert!(text.starts_with("warm-pool: batched@") && text.contains("same target on "), "{text}");
    if let Some(worst) = shadow["worst"]["decision"].as_u64() {
        let record = history(&node, &["--kind", "warm-pool", "--decision", &worst.to_string()]).ok();
        assert!(record.contains(&format!("warm-pool decision {worst}: ")), "{record}");
    }
}

#[test]
fn clearing_a_quarantine_says_how_many_it_freed() {
    let (_lab, node, _daemon) = ready("clear");
    assert_eq!(node.ask(&["strategy", "clear-quarantine", "all"]).ok(), "0 components are asked again\n");
    let nobody = node.ask(&["strategy", "clear-quarantine", "0123456789ab"]);
    assert_eq!((nobody.code, nobody.stdout.as_str()), (Some(1), "0 components are asked again\n"));
    assert!(nobody.stderr.contains("0123456789ab"), "{nobody:?}");
    let text = node.ask(&["strategy", "shadow"]).ok();
    assert!(text.contains("no strategy is in shadow"), "{text}");
}
