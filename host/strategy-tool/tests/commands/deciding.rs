//! `decide` and `bench`.

use serde_json::json;

use crate::{Desk, scarce_fuel, shipped};

const BUSY: &str = r#"{"format":"enid.snapshot/1","kind":"warm-pool","snapshot":{
    "context":{"settings":{"warm_ip_target":3}},
    "enis":[{"bound":7,"free":2}]}}"#;

#[test]
fn a_decision_from_a_snapshot_and_settings_says_what_it_cost() {
    let desk = Desk::new();
    let snapshot = desk.write("busy.json", BUSY);
    let line = "decide {} --snapshot {} --set warm_ip_target=4 --set minimum_ip_target=70 --output json";
    let decision = desk.enid(line, &[&shipped("warm-targets"), &snapshot]).ended(0).json();
    // The command line wins over the snapshot; the host bends what the node cannot hold.
    assert_eq!(decision["proposed"]["target"]["ready_low"], 4);
    assert_eq!(decision["proposed"]["target"]["total_floor"], 70);
    assert_eq!(decision["admitted"]["target"]["total_floor"], 27);
    assert_eq!(decision["admitted"]["bent"], json!([{"field": "total_floor", "asked": 70, "given": 27}]));
    assert!(decision["proposed"]["reason"].as_str().unwrap().contains("warm_ip_target 4"), "{decision}");
    assert!(decision["fuel"].as_u64().unwrap() > 0 && decision["memory_bytes"].as_u64().unwrap() > 0);
    assert_eq!((&decision["component"]["kind"], &decision["fault"]), (&json!("warm-pool"), &json!(null)));
}

#[test]
fn the_same_question_uses_the_same_fuel() {
    let desk = Desk::new();
    let fuel =
        || desk.enid("decide {} --output json", &[&shipped("eks-max-pods")]).ended(0).json()["fuel"].clone();
    assert_eq!(fuel(), fuel());
}

#[test]
fn without_a_snapshot_an_m5_large_asks_for_the_first_time() {
    let desk = Desk::new();
    let said = desk.enid("decide {}", &[&shipped("eks-max-pods")]).ended(0).out;
    assert!(said.lines().any(|line| line.starts_with("target") && line.ends_with(" 29")), "{said}");
}

#[test]
fn a_component_that_declines_fails_the_command_and_says_why() {
    let desk = Desk::new();
    let done =
        desk.enid("decide {} --set placement=tetris --output json", &[&shipped("warm-targets")]).ended(1);
    assert_eq!(done.json()["fault"]["label"], "settings");
    assert!(done.err.contains("placement"), "{}", done.err);
}

#[test]
fn a_component_that_uses_up_its_fuel_fails_the_command() {
    let desk = Desk::new();
    let component = shipped("most-free");
    let fuel = scarce_fuel(&desk, &component);
    let many = r#"{"format":"enid.snapshot/1","kind":"subnet-selection","snapshot":{"candidates":["#
        .to_owned()
        + &[r#"{"role":"included"}"#; 64].join(",")
        + "]}}";
    let many = desk.write("many.json", &many);
    let line = format!("decide {{}} --snapshot {{}} --fuel {fuel} --output json");
    let done = desk.enid(&line, &[&component, &many]).ended(1);
    assert_eq!(done.json()["fault"]["label"], "fuel", "{done:?}");
}

#[test]
fn wrong_input_is_told_apart_from_a_failing_component() {
    let desk = Desk::new();
    let component = shipped("most-free");
    let busy = desk.write("busy.json", BUSY);
    let wrong_kind = desk.enid("decide {} --snapshot {}", &[&component, &busy]).ended(2);
    assert!(wrong_kind.err.contains("warm-pool") && wrong_kind.err.contains("subnet-selection"));
    let typo = desk.write("typo.json", &BUSY.replace("enis", "enies"));
    let typo = desk.enid("decide {} --snapshot {}", &[&shipped("warm-targets"), &typo]).ended(2);
    assert!(typo.err.contains("enies") && typo.err.contains("typo.json"), "{}", typo.err);
    assert!(
        desk.enid("decide {} --snapshot absent.json", &[&component]).ended(2).err.contains("absent.json")
    );
    assert!(desk.enid("decide absent.wasm", &[]).ended(2).err.contains("absent.wasm"));
    assert!(desk.enid("decide {} --fuel 0", &[&component]).ended(2).err.contains("fuel = 0"));
    assert!(desk.enid("decide {} --memory-mib 1000", &[&component]).ended(2).err.contains("memory"));
    assert_eq!(desk.enid("decide {} --set headroom", &[&component]).code, 2);
    assert_eq!(desk.enid("decide {} --state 0", &[&component]).code, 2);
    let text = desk.write("text.wasm", "(component)");
    assert!(desk.enid("decide {}", &[&text]).ended(1).err.contains("text.wasm"));
}

#[test]
fn a_bench_sets_every_figure_against_the_baseline() {
    let desk = Desk::new();
    let component = shipped("eks-max-pods");
    let line = "bench {} --baseline {} --decisions 50 --output json";
    let measured = desk.enid(line, &[&component, &component]).ended(0).json();
    // What does not depend on the clock is the same for the same component.
    for name in ["fuel p50", "fuel most", "memory most", "component", "machine code"] {
        assert_eq!(measured["ratio_milli"][name], 1000, "{name}");
    }
    assert_eq!((&measured["timed"], &measured["baseline"]["timed"]), (&json!(50), &json!(50)));
    assert!(measured["fuel_most"].as_u64() >= measured["fuel_p50"].as_u64());
    let other_kind = desk.enid("bench {} --baseline {}", &[&component, &shipped("most-free")]).ended(2);
    assert!(other_kind.err.contains("max-pods"), "{}", other_kind.err);
}

#[test]
fn a_bench_for_people_shows_limits() {
    let desk = Desk::new();
    let said = desk.enid("bench {} --decisions 10", &[&shipped("eks-max-pods")]).ended(0).out;
    assert!(said.contains("of 15_000_000)") && said.contains("decision p99"), "{said}");
}
