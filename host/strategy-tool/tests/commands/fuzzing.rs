//! `fuzz`.

use serde_json::json;

use crate::{Desk, scarce_fuel, shipped};

#[test]
fn a_sound_strategy_survives_and_leaves_nothing_behind() {
    let desk = Desk::new();
    let seen =
        desk.enid("fuzz {} --seed 5 --runs 60 --output json", &[&shipped("most-free")]).ended(0).json();
    assert_eq!((&seen["seed"], &seen["runs"], &seen["findings"]), (&json!(5), &json!(60), &json!({})));
    assert!(seen["answered"].as_u64().unwrap() > 0 && seen["worst_fuel"].as_u64().unwrap() > 0, "{seen}");
    assert_eq!(desk.files(), Vec::<String>::new());
}

#[test]
fn one_seed_asks_the_same_questions() {
    let desk = Desk::new();
    let seen = |seed: u32| {
        let line = format!("fuzz {{}} --seed {seed} --runs 40 --output json");
        desk.enid(&line, &[&shipped("warm-targets")]).ended(0).json()
    };
    assert_eq!(seen(3), seen(3));
    assert_ne!(seen(3)["worst_fuel"], seen(4)["worst_fuel"]);
}

#[test]
fn a_fault_is_found_and_its_question_kept() {
    let desk = Desk::new();
    let component = shipped("most-free");
    let fuel = scarce_fuel(&desk, &component);
    let line = format!("fuzz {{}} --seed 1 --runs 200 --fuel {fuel} --findings found --output json");
    let failed = desk.enid(&line, &[&component]).ended(1);
    let finding = &failed.json()["findings"]["fuel"];
    assert!(finding["count"].as_u64().unwrap() > 0, "{failed:?}");
    let kept = desk.path(finding["file"].as_str().unwrap());
    let again =
        desk.enid(&format!("decide {{}} --snapshot {{}} --fuel {fuel}"), &[&component, &kept]).ended(1);
    assert!(again.err.contains("fuel"), "{}", again.err);
    let replayed = desk.enid(&format!("replay {{}} {{}} --fuel {fuel}"), &[&component, &kept]).ended(1);
    assert!(replayed.out.contains("(fuel)"), "{}", replayed.out);
    desk.enid("replay {} {}", &[&component, &kept]).ended(0);
}

#[test]
fn settings_that_its_schema_refuses_are_wrong_input() {
    let desk = Desk::new();
    let refused = desk.enid("fuzz {} --runs 1 --set placement=tetris", &[&shipped("warm-targets")]).ended(2);
    assert!(refused.err.contains("placement"), "{}", refused.err);
}
