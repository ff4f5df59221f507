//! `test`.

use serde_json::json;

use crate::{Desk, shipped};

const PASSING: &str = r#"
[[case]]
name = "holds what is asked for"
settings = { warm_ip_target = 3 }
snapshot = { enis = [{ bound = 4, free = 1 }] }
[case.expect]
target = { ready_low = 3, ready_high = 3 }
"target.total_floor" = { max = 20 }
reason_contains = "warm_ip_target 3"
bent = false

[[case]]
name = "the same from a file"
settings = { warm_ip_target = 3 }
snapshot = "busy.json"
[case.expect]
target = { ready_low = 3 }

[[case]]
name = "whatever the node"
random = 30
seed = 9
[case.expect]
admitted = true
deterministic = true

[[case]]
name = "declines what it does not know"
settings = { warm_ip_targte = 3 }
[case.expect]
failure = "settings"
"#;
const BUSY: &str = r#"{"format":"enid.snapshot/1","kind":"warm-pool","snapshot":{}}"#;

#[test]
fn cases_that_hold_pass_one_line_each() {
    let desk = Desk::new();
    let cases = desk.write("tests.toml", PASSING);
    desk.write("busy.json", BUSY);
    let done = desk.enid("test {} --component {}", &[&cases, &shipped("warm-targets")]).ended(0);
    let lines: Vec<&str> = done.out.lines().collect();
    assert_eq!(lines.len(), 5, "{}", done.out);
    assert!(lines[..4].iter().all(|line| line.starts_with("ok ")), "{}", done.out);
    assert!(lines[2].contains("30 snapshots") && lines[2].contains("seed 9"), "{}", lines[2]);
    assert!(lines[4].starts_with("4 cases, 0 failed: warm-targets "), "{}", lines[4]);
}

#[test]
fn a_case_that_does_not_hold_fails_and_can_be_seen_again() {
    let desk = Desk::new();
    let wrong = PASSING.replace("admitted = true", "target.ready_low = { min = 1000 }");
    desk.write("busy.json", BUSY);
    let cases = desk.write("tests.toml", &wrong);
    let component = shipped("warm-targets");
    let failed =
        desk.enid("test {} --component {} --keep kept --output json", &[&cases, &component]).ended(1);
    let told = failed.json();
    assert_eq!((&told["passed"], &told["failed"]), (&json!(3), &json!(1)));
    assert_eq!(told["cases"][2]["failing_seed"], 9);
    // What was kept is the question of the failed case.
    let kept = desk.path("kept/failed-case-3.json");
    desk.enid("decide {} --snapshot {}", &[&component, &kept]).ended(0);
    let again =
        "[[case]]\nname = \"again\"\nrandom = 1\nseed = 9\nexpect.target.ready_low = { min = 1000 }\n";
    let again = desk.write("again.toml", again);
    let again = desk.enid("test {} --component {}", &[&again, &component]).ended(1).out;
    assert!(again.starts_with("FAIL  again: target.ready_low is "), "{again}");
}

#[test]
fn mistakes_in_cases_are_told_together_before_anything_runs() {
    let desk = Desk::new();
    let cases = PASSING.replace("target = { ready_low = 3 }", "target = { redy_low = 3 }");
    let cases = desk.write("tests.toml", &cases);
    let refused = desk.enid("test {} --component {}", &[&cases, &shipped("warm-targets")]).ended(2);
    assert!(refused.err.contains("`redy_low`") && refused.err.contains("busy.json"), "{}", refused.err);
    assert_eq!((refused.out.as_str(), refused.err.lines().count()), ("", 2));
    let other_kind = desk.write("other.toml", "[[case]]\nname = \"x\"\nexpect.target.ready_low = 1\n");
    desk.enid("test {} --component {}", &[&other_kind, &shipped("eks-max-pods")]).ended(2);
    assert!(desk.enid("test absent", &[]).ended(2).err.contains("absent"));
}

#[test]
fn subnets_and_pods_are_compared_as_a_whole() {
    let desk = Desk::new();
    let pods = desk
        .write("pods.toml", "[[case]]\nname = \"m5.large\"\nexpect = { target = 29, fuel.max = 50000 }\n");
    desk.enid("test {} --component {}", &[&pods, &shipped("eks-max-pods")]).ended(0);
    let subnets = "[[case]]\nname = \"free first\"\nexpect.target = [1, 0]\n\
                   snapshot = { candidates = [{ free = 5, primary = true }, { free = 90, role = \"included\" }] }\n";
    let subnets = desk.write("subnets.toml", subnets);
    desk.enid("test {} --component {}", &[&subnets, &shipped("most-free")]).ended(0);
}

#[test]
fn native_tests_run_first_and_their_failure_is_ours() {
    let desk = Desk::new();
    desk.write("tests.toml", "[[case]]\nname = \"plain\"\n");
    // No package at all: cargo refuses it.
    desk.write("Cargo.toml", "[package]\n");
    let component = shipped("eks-max-pods");
    let failed = desk.enid("test . --component {}", &[&component]).ended(1);
    assert!(failed.err.contains("native tests"), "{}", failed.err);
    assert_eq!(failed.out, "");
    desk.enid("test . --component {} --component-only", &[&component]).ended(0);
}
