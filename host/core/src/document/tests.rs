//! What is written is read again, by people's formats and by machines'.

mod anything;
mod schema;

use proptest::prelude::*;

use super::*;
use crate::limits::Mode;
use crate::proposal::{Grain, Outcome, Placement};
use crate::snapshot::{EniPhase, EniUse, Limits, Pods, Pressure, Setting, SubnetUse, Value};
use crate::specimen;

fn snapshot(kind: &str, body: &str) -> Result<Snapshot, String> {
    Snapshot::from_json(&format!(r#"{{"format":"enid.snapshot/1","kind":"{kind}","snapshot":{body}}}"#))
        .map_err(in_full)
}

fn warm_pool(body: &str) -> Result<WarmPoolSnapshot, String> {
    match snapshot("warm-pool", body)? {
        Snapshot::WarmPool(snapshot) => Ok(snapshot),
        Snapshot::MaxPods(_) | Snapshot::SubnetSelection(_) => panic!("another kind"),
    }
}

/// The error and its causes.
fn in_full(error: DocumentError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn setting(key: &str, value: Value) -> Setting {
    Setting { key: key.to_owned(), value }
}

proptest! {
    #[test]
    fn any_snapshot_is_read_as_it_was_written(snapshot in anything::snapshot()) {
        let json = snapshot.to_json();
        prop_assert_eq!(&Snapshot::from_json(&json).map_err(in_full), &Ok(snapshot.clone()), "{}", json);
        let binary = postcard::to_stdvec(&snapshot).unwrap();
        prop_assert_eq!(postcard::from_bytes::<Snapshot>(&binary).unwrap(), snapshot);
    }

    #[test]
    fn any_answer_is_read_as_it_was_written(answer in anything::answer()) {
        let json = answer.to_json();
        prop_assert_eq!(&Answer::from_json(&json).map_err(in_full), &Ok(answer.clone()), "{}", json);
        let binary = postcard::to_stdvec(&answer).unwrap();
        prop_assert_eq!(postcard::from_bytes::<Answer>(&binary).unwrap(), answer);
    }

    #[test]
    fn bytes_of_any_kind_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _read = postcard::from_bytes::<Snapshot>(&bytes);
        let _read = postcard::from_bytes::<Answer>(&bytes);
        let _read = Snapshot::from_json(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn every_random_specimen_is_read_as_it_was_written(seed in any::<u64>()) {
        for kind in Kind::ALL {
            let snapshot = specimen::random(kind, seed);
            prop_assert_eq!(Snapshot::from_json(&snapshot.to_json()).unwrap(), snapshot);
        }
    }
}

#[test]
fn every_corner_is_read_as_it_was_written_and_far_from_the_largest_document() {
    for kind in Kind::ALL {
        for (name, snapshot) in specimen::corners(kind) {
            let json = snapshot.to_json();
            assert!(json.len() < MAX_DOCUMENT / 10, "{name}: {} bytes", json.len());
            assert_eq!(Snapshot::from_json(&json).unwrap(), snapshot, "{name}");
            let binary = postcard::to_stdvec(&snapshot).unwrap();
            assert_eq!(postcard::from_bytes::<Snapshot>(&binary).unwrap(), snapshot, "{name}");
        }
    }
}

#[test]
fn an_empty_snapshot_is_the_node_that_guest_tests_start_from() {
    let expected = WarmPoolSnapshot {
        context: Context {
            sequence: 0,
            now_ms: 1_000_000,
            wall_secs: 1_800_000_000,
            seed: (1, 2),
            settings: Vec::new(),
            state: Vec::new(),
            hints: Vec::new(),
        },
        mode: Mode::SecondaryIp,
        limits: Limits {
            max_enis: 3,
            slots_per_eni: 9,
            addresses_per_slot: 1,
            prefixes: true,
            trunk_reserve: 0,
        },
        enis: vec![EniUse {
            slot: 0,
            card: 0,
            subnet: 0,
            phase: EniPhase::Ready,
            primary: true,
            age_ms: 600_000,
            capacity: 9,
            assigned: 0,
            free: 0,
            bound: 0,
            cooling: 0,
            prefixes: 0,
            idle_ms: 600_000,
        }],
        blocks: Vec::new(),
        bucket_ms: 10_000,
        history: Vec::new(),
        subnets: vec![SubnetUse { free: 100, total: 251, free_blocks: 6, ..SubnetUse::default() }],
        pressure: Pressure { budget_milli: 10_000, ..Pressure::default() },
        pods: Pods { bound: 0, waiting: 0, expected: 0, max: 29 },
    };
    assert_eq!(warm_pool("{}"), Ok(expected));
    let large = crate::instance_types::lookup("m5.large").unwrap();
    let about = MaxPodsSnapshot::of(&large, Mode::SecondaryIp, 3);
    let context = warm_pool("{}").unwrap().context;
    assert_eq!(snapshot("max-pods", "{}"), Ok(Snapshot::MaxPods(MaxPodsSnapshot { context, ..about })));
}

#[test]
fn what_is_left_out_follows_from_what_is_there() {
    let node = warm_pool(
        r#"{"mode": "prefix", "enis": [{"free": 12, "bound": 20}, {"subnet": 1, "age_ms": 5}],
            "subnets": [{"free": 300}, {"total": 4091}]}"#,
    )
    .unwrap();
    assert_eq!(node.limits.addresses_per_slot, 16);
    let first = node.enis[0];
    assert_eq!(
        (first.slot, first.primary, first.capacity, first.assigned, first.prefixes),
        (0, true, 144, 32, 2)
    );
    let second = node.enis[1];
    assert_eq!((second.slot, second.primary, second.subnet, second.idle_ms), (1, false, 1, 5));
    assert_eq!(node.pods.bound, 20);
    let subnets: Vec<_> = node.subnets.iter().map(|s| (s.free, s.total, s.free_blocks)).collect();
    assert_eq!(subnets, [(300, 300, 18), (100, 4091, 6)]);
    assert_eq!(warm_pool(r#"{"subnets": [], "enis": [{}]}"#).unwrap().enis[0].subnet, u16::MAX);
}

#[test]
fn the_built_in_rules_answer_an_empty_snapshot_of_every_kind() {
    for kind in Kind::ALL {
        let useful = match snapshot(kind.as_str(), "{}").unwrap() {
            Snapshot::WarmPool(s) => crate::builtin::warm_pool(&s).target.ready_low == 9,
            Snapshot::MaxPods(s) => crate::builtin::max_pods(&s).target == 29,
            Snapshot::SubnetSelection(s) => crate::builtin::subnets(&s).target.len() == 1,
        };
        assert!(useful, "{kind}");
    }
}

#[test]
fn settings_are_an_object_in_order_and_state_is_hexadecimal() {
    let body = r#"{"context": {"settings": {"z": 1, "a": true, "m": "text"}, "state": "00fF10"}}"#;
    let context = warm_pool(body).unwrap().context;
    let settings = vec![
        setting("z", Value::Int(1)),
        setting("a", Value::Flag(true)),
        setting("m", Value::Text("text".to_owned())),
    ];
    assert_eq!((context.settings.clone(), context.state.clone()), (settings, vec![0, 255, 16]));
    let json = serde_json::to_string(&context).unwrap();
    assert!(json.contains(r#""settings":{"z":1,"a":true,"m":"text"},"state":"00ff10""#), "{json}");
}

#[test]
fn of_annotations_with_one_key_the_first_is_kept_in_json_and_all_in_binary() {
    let annotations =
        vec![setting("a", Value::Int(1)), setting("b", Value::Int(2)), setting("a", Value::Int(3))];
    let outcome = Outcome { annotations: annotations.clone(), ..Outcome::default() };
    let answer = Answer::MaxPods(Proposal { target: 3, outcome });
    let Ok(Answer::MaxPods(read)) = Answer::from_json(&answer.to_json()) else { panic!("not read") };
    assert_eq!(read.outcome.annotations, annotations[..2]);
    let binary = postcard::to_stdvec(&answer).unwrap();
    assert_eq!(postcard::from_bytes::<Answer>(&binary).unwrap(), answer);
}

#[test]
fn fields_may_stand_in_any_order_and_an_answer_may_leave_out_what_is_zero() {
    let text = r#"{"$schema": "answer.schema.json", "answer": {"target": {"ready_low": 5, "grain": "eni", "placement": "spread"}},
                   "kind": "warm-pool", "format": "enid.answer/1"}"#;
    let target = Band { ready_low: 5, grain: Grain::Eni, placement: Placement::Spread, ..Band::default() };
    let expected = Answer::WarmPool(Proposal { target, outcome: Outcome::default() });
    assert_eq!(Answer::from_json(text).map_err(in_full), Ok(expected));
}

#[test]
fn a_document_of_something_else_is_told_what_is_right() {
    let refusal = |text: &str| in_full(Snapshot::from_json(text).unwrap_err());
    assert_eq!(
        refusal(r#"{"format":"enid.answer/1","kind":"max-pods","answer":{"target":1}}"#),
        "the document's format is `enid.answer/1`; it must be `enid.snapshot/1`"
    );
    assert_eq!(
        refusal(r#"{"kind":"max-pods","snapshot":{}}"#),
        "the document has no `format`; it must begin {\"format\":\"enid.snapshot/1\",\"kind\":…"
    );
    assert_eq!(
        refusal(r#"{"format":"enid.snapshot/1","kind":"warmpool","snapshot":{}}"#),
        "kind `warmpool` is unknown: it is `warm-pool`, `max-pods` or `subnet-selection`"
    );
    assert!(refusal(r#"{"format":"enid.snapshot/1","snapshot":{}}"#).contains("has no `kind`"));
    assert!(
        refusal(r#"{"format":"enid.snapshot/1","kind":"max-pods"}"#).contains("missing field `snapshot`")
    );
    assert!(refusal(&" ".repeat(MAX_DOCUMENT + 1)).contains("at most 4194304 are read"));
    assert!(refusal("{").contains("EOF"));
}

#[test]
fn wrong_contents_are_refused_with_their_name() {
    let cases = [
        (r#"{"eni": []}"#, "unknown field `eni`, expected one of `context`, `mode`"),
        (r#"{"enis": [{"fre": 1}]}"#, "unknown field `fre`"),
        (r#"{"subnets": [{"zone": 1}]}"#, "unknown field `zone`"),
        (r#"{"mode": "prefixes"}"#, "unknown variant `prefixes`, expected `secondary-ip` or `prefix`"),
        (r#"{"context": {"settings": {"a": 1, "a": 2}}}"#, "`a` is given twice; give it once"),
        (r#"{"context": {"settings": {"a": 1.5}}}"#, "expected true, false, an integer"),
        (r#"{"context": {"settings": {"a": 9223372036854775808}}}"#, "expected true, false, an integer"),
        (r#"{"context": {"settings": {"a": null}}}"#, "expected true, false, an integer"),
        (r#"{"context": {"settings": ["a"]}}"#, "expected an object of settings"),
        (r#"{"context": {"state": "abc"}}"#, "a byte has two"),
        (r#"{"context": {"state": "zz"}}"#, "no hexadecimal digit"),
        (r#"{"pods": {"max": -1}}"#, "invalid value: integer `-1`"),
    ];
    for (body, expected) in cases {
        let refused = warm_pool(body).unwrap_err();
        assert!(refused.contains(expected), "{body}: {refused}");
    }
}

#[test]
fn lists_beyond_the_contract_are_refused_by_name() {
    let many = |element: &str, times: usize| vec![element; times].join(",");
    for (field, most) in
        [("enis", MAX_ENIS), ("blocks", MAX_BLOCKS), ("history", MAX_HISTORY), ("subnets", MAX_SUBNETS)]
    {
        assert!(warm_pool(&format!(r#"{{"{field}": [{}]}}"#, many("{}", most))).is_ok());
        assert_eq!(
            warm_pool(&format!(r#"{{"{field}": [{}]}}"#, many("{}", most + 1))).unwrap_err(),
            format!("`{field}` has {} elements; there may be at most {most}", most + 1)
        );
    }
    let candidates = format!(r#"{{"candidates": [{}]}}"#, many("{}", MAX_SUBNETS + 1));
    assert!(snapshot("subnet-selection", &candidates).unwrap_err().contains("`candidates` has 65"));
    let state = format!(r#"{{"context": {{"state": "{}"}}}}"#, "00".repeat(MAX_STATE + 1));
    assert_eq!(
        snapshot("max-pods", &state).unwrap_err(),
        "`context.state` has 16385 bytes; there may be at most 16384"
    );
}

#[test]
fn the_documented_examples_are_read() {
    let text = include_str!("../../../../wit/README.md");
    let section = text.split_once("## JSON\n").map(|(_, rest)| rest).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let examples: Vec<&str> =
        section.split("```json\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let [question, answer] = examples[..] else { panic!("{examples:?}") };
    let Snapshot::WarmPool(question) = Snapshot::from_json(question).unwrap() else { panic!("another kind") };
    assert_eq!((question.enis.len(), question.pods.bound), (2, 16));
    let Answer::WarmPool(answer) = Answer::from_json(answer).unwrap() else { panic!("another kind") };
    assert!(crate::admission::admit_warm_pool(&question, answer).is_ok());
}
