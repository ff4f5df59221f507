//! `replay`.

use enid_core::document::{Answer, Snapshot};
use enid_core::kind::Kind;
use enid_core::report::Rung;
use enid_core::specimen;
use enid_policy_wasm::record::{Record, Verdict};
use serde_json::{Value, json};

use crate::{Desk, shipped};

/// What a daemon would have recorded when it asked `component` about made-up nodes.
fn recorded(desk: &Desk, component: &str) -> Vec<Record> {
    (0..4).map(|seed| record(desk, component, seed, specimen::random(Kind::WarmPool, seed))).collect()
}

fn record(desk: &Desk, component: &str, decision: u64, snapshot: Snapshot) -> Record {
    let path = shipped(component);
    let question = desk.write("question.json", &snapshot.to_json());
    let said = desk.enid("decide {} --snapshot {} --output json", &[&path, &question]).ended(0).json();
    let mut outcome = said["proposed"].clone();
    let target = outcome.as_object_mut().unwrap().remove("target").unwrap();
    let answer = json!({"format": "enid.answer/1", "kind": "warm-pool", "answer": {"target": target, "outcome": outcome}});
    let digest = said["component"]["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap().to_owned();
    Record {
        decision,
        wall_secs: 1_800_000_000,
        strategy: format!("{component}@{}", &digest[..8]),
        component: Some(digest),
        snapshot,
        answer: Some(Answer::from_json(&answer.to_string()).unwrap()),
        verdict: Verdict::Admitted,
        fuel: said["fuel"].as_u64().unwrap(),
        memory: said["memory_bytes"].as_u64().unwrap(),
        micros: 30,
        rung: Rung::Live,
        decided_by: component.to_owned(),
        target: String::new(),
        faults: Vec::new(),
    }
}

fn lines(records: &[Record]) -> String {
    records.iter().map(|record| serde_json::to_string(record).unwrap() + "\n").collect()
}

fn replay(desk: &Desk, component: &str, records: &[Record], code: i32) -> Value {
    let file = desk.write("records.jsonl", &lines(records));
    desk.enid("replay {} {} --output json", &[&shipped(component), &file]).ended(code).json()
}

#[test]
fn the_same_component_reproduces_answers_and_fuel() {
    let desk = Desk::new();
    let mut records = recorded(&desk, "warm-targets");
    let told = replay(&desk, "warm-targets", &records, 0);
    assert_eq!((&told["reproduced"], &told["diverged"]), (&json!(4), &json!(0)));
    assert_eq!(told["comparison"], Value::Null);

    records[1].fuel += 1;
    if let Some(Answer::WarmPool(proposal)) = &mut records[2].answer {
        proposal.target.ready_low += 1;
    }
    records[3].verdict = Verdict::Quarantined;
    let told = replay(&desk, "warm-targets", &records, 1);
    assert_eq!((&told["reproduced"], &told["diverged"], &told["skipped"]), (&json!(1), &json!(2), &json!(1)));
    assert_eq!(told["divergences"].as_array().unwrap().len(), 2);
}

#[test]
fn another_component_is_compared_and_may_differ() {
    let desk = Desk::new();
    let told = replay(&desk, "batched", &recorded(&desk, "warm-targets"), 0);
    assert_eq!((&told["reproduced"], &told["diverged"]), (&json!(0), &json!(0)));
    assert_eq!(told["comparison"]["compared"], 4);
    assert!(told["comparison"]["worst"].is_object(), "{told}");
    let file = desk.path("records.jsonl");
    let said = desk.enid("replay {} {}", &[&shipped("batched"), &file]).ended(0).out;
    assert!(said.contains("same target on 0.0 % of 4 snapshots"), "{said}");
}

#[test]
fn the_same_component_with_other_settings_is_compared() {
    let desk = Desk::new();
    let file = desk.write("records.jsonl", &lines(&recorded(&desk, "warm-targets")));
    let line = "replay {} {} --set warm_ip_target=1 --output json";
    let told = desk.enid(line, &[&shipped("warm-targets"), &file]).ended(0).json();
    assert_eq!((&told["reproduced"], &told["comparison"]["compared"]), (&json!(0), &json!(4)));
}

#[test]
fn torn_lines_are_counted_and_files_without_records_refused() {
    let desk = Desk::new();
    let component = shipped("warm-targets");
    let records = recorded(&desk, "warm-targets");
    let file = desk.write("records.jsonl", &(lines(&records) + "{\"format\":\"enid.rec"));
    let told = desk.enid("replay {} {} --output json", &[&component, &file]).ended(0).json();
    assert_eq!((&told["reproduced"], &told["unreadable"]), (&json!(4), &json!(1)));
    let nothing = desk.write("nothing.jsonl", "none\n");
    assert!(desk.enid("replay {} {}", &[&component, &nothing]).ended(2).err.contains("nothing.jsonl"));
    let pods = desk.enid("replay {} {}", &[&shipped("eks-max-pods"), &file]).ended(2);
    assert!(pods.err.contains("max-pods"), "{}", pods.err);
    assert!(desk.enid("replay {} absent.jsonl", &[&component]).ended(2).err.contains("absent.jsonl"));
}
