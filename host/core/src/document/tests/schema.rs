//! The published schemas say what is written and what is left out, no less and no more.

use std::collections::BTreeSet;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use serde_json::{Map, Value, json};

use super::anything;
use crate::document::{ANSWER_FORMAT, Answer, SNAPSHOT_FORMAT, Snapshot};
use crate::kind::Kind;
use crate::snapshot::{MAX_BLOCKS, MAX_ENIS, MAX_HISTORY, MAX_STATE, MAX_SUBNETS};
use crate::specimen;

const SNAPSHOT: &str = include_str!("../../../../../wit/snapshot.schema.json");
const ANSWER: &str = include_str!("../../../../../wit/answer.schema.json");
const SEEDS: u64 = 300;

/// One of the two schemas, and what of it has been met in documents.
struct Schema {
    root: Value,
    met: BTreeSet<String>,
}

impl Schema {
    fn new(text: &str) -> Self {
        Self { root: serde_json::from_str(text).unwrap(), met: BTreeSet::new() }
    }

    fn of(&self, definition: &str) -> &Value {
        let found = &self.root["$defs"][definition];
        assert!(found.is_object(), "no definition `{definition}`");
        found
    }

    /// The branch for documents of `kind`.
    fn branch(&self, kind: Kind) -> Value {
        let branches = self.root["oneOf"].as_array().unwrap();
        let named: Vec<_> =
            branches.iter().filter(|branch| branch["properties"]["kind"]["const"] == kind.as_str()).collect();
        assert_eq!((branches.len(), named.len()), (Kind::ALL.len(), 1), "{kind}");
        named[0].clone()
    }

    /// Asserts that `document` is what the schema describes, every field of it.
    fn check(&mut self, document: &str, kind: Kind) {
        let mut document: Value = serde_json::from_str(document).unwrap();
        document["$schema"] = json!("x.schema.json");
        self.check_part(&document, &self.branch(kind), kind.as_str());
    }

    fn check_part(&mut self, value: &Value, schema: &Value, at: &str) {
        if let Some(name) = schema["$ref"].as_str() {
            let name = name.strip_prefix("#/$defs/").unwrap();
            self.check_part(value, &self.of(name).clone(), &format!("{at}:{name}"));
        }
        for (keyword, rule) in schema.as_object().unwrap() {
            let holds = match keyword.as_str() {
                // Read above, or for people.
                "$ref" | "title" | "description" | "default" | "required" => true,
                "type" => match rule.as_str().unwrap() {
                    "array" => value.is_array(),
                    "boolean" => value.is_boolean(),
                    "integer" => value.is_i64() || value.is_u64(),
                    "null" => value.is_null(),
                    "object" => value.is_object(),
                    "string" => value.is_string(),
                    other => panic!("{at}: type {other}"),
                },
                "const" => value == rule,
                "enum" => {
                    self.met.insert(format!("{rule} {value}"));
                    rule.as_array().unwrap().contains(value)
                }
                "minimum" => integer(value) >= integer(rule),
                "maximum" => integer(value) <= integer(rule),
                "maxLength" => value.as_str().unwrap().len() <= length(rule),
                "minItems" => value.as_array().unwrap().len() >= length(rule),
                "maxItems" => value.as_array().unwrap().len() <= length(rule),
                "pattern" => {
                    assert_eq!(rule, "^([0-9a-fA-F]{2})*$");
                    let text = value.as_str().unwrap();
                    text.len().is_multiple_of(2) && text.bytes().all(|digit| digit.is_ascii_hexdigit())
                }
                "items" if rule == false => true,
                "items" => {
                    let items = value.as_array().unwrap();
                    items.iter().for_each(|item| self.check_part(item, rule, &format!("{at}[]")));
                    true
                }
                "prefixItems" => {
                    let (items, rules) = (value.as_array().unwrap(), rule.as_array().unwrap());
                    items.iter().zip(rules).for_each(|(item, rule)| self.check_part(item, rule, at));
                    items.len() == rules.len()
                }
                "properties" => self.check_properties(value, rule, at),
                "additionalProperties" if rule == false => schema["properties"].is_object(),
                "additionalProperties" => {
                    let values = value.as_object().unwrap().values();
                    values.for_each(|value| self.check_part(value, rule, &format!("{at}{{}}")));
                    true
                }
                "oneOf" => {
                    let fits = |branch: &&Value| {
                        let of = |schema: &Value| {
                            let name = schema["$ref"].as_str().and_then(|name| name.strip_prefix("#/$defs/"));
                            name.map_or(schema["type"].clone(), |name| self.of(name)["type"].clone())
                        };
                        match of(branch).as_str().unwrap() {
                            "null" => value.is_null(),
                            "boolean" => value.is_boolean(),
                            "integer" => value.is_i64() || value.is_u64(),
                            "string" => value.is_string(),
                            other => panic!("{at}: one of them is a {other}"),
                        }
                    };
                    let branch = rule.as_array().unwrap().iter().find(fits).cloned();
                    let branch = branch.unwrap_or_else(|| panic!("{at}: {value} is none of {rule}"));
                    self.check_part(value, &branch, at);
                    true
                }
                other => panic!("{at}: the test does not know the keyword {other}"),
            };
            assert!(holds, "{at}: {value} breaks {keyword}: {rule}");
        }
    }

    /// An object has exactly the fields that are described, and each is described in words or by reference.
    fn check_properties(&mut self, value: &Value, rule: &Value, at: &str) -> bool {
        let (fields, described) = (value.as_object().unwrap(), rule.as_object().unwrap());
        let names = |map: &Map<String, Value>| map.keys().cloned().collect::<BTreeSet<String>>();
        assert_eq!(names(fields), names(described), "{at}: what is written, and what is described");
        for (name, field) in fields {
            let schema = &described[name];
            let explained = ["description", "const", "$ref"].iter().any(|key| schema[key].is_string());
            assert!(explained, "{at}.{name} is not explained");
            self.check_part(field, schema, &format!("{at}.{name}"));
        }
        true
    }

    /// Asserts that what an author gets for nothing, `written`, is what the schema calls the defaults.
    fn check_defaults(&self, written: &Value, schema: &Value, at: &str) {
        let schema = match schema["$ref"].as_str().and_then(|name| name.strip_prefix("#/$defs/")) {
            Some(name) => self.of(name),
            None => schema,
        };
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let (value, at) = (&written[name], format!("{at}.{name}"));
            let required = schema["required"].as_array().is_some_and(|list| list.contains(&json!(name)));
            let in_words = property["description"].as_str().is_some_and(|text| text.contains("Default: "));
            match property.get("default") {
                Some(default) => assert_eq!(value, default, "{at}"),
                None => assert!(in_words || required || value.is_object(), "{at} has no documented default"),
            }
            self.check_defaults(value, property, &at);
            if let Some(first) = value.get(0).filter(|first| first.is_object()) {
                self.check_defaults(first, &property["items"], &format!("{at}[]"));
            }
        }
    }

    /// Asserts that no enum lists a word that no document had.
    fn check_all_words_were_met(&self) {
        fn visit(schema: &Value, met: &BTreeSet<String>) {
            for word in schema["enum"].as_array().into_iter().flatten() {
                let words = &schema["enum"];
                assert!(met.contains(&format!("{words} {word}")), "{word} of {words} was never written");
            }
            match schema {
                Value::Object(map) => map.values().for_each(|part| visit(part, met)),
                Value::Array(list) => list.iter().for_each(|part| visit(part, met)),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            }
        }
        visit(&self.root, &self.met);
    }
}

fn integer(value: &Value) -> i128 {
    let unsigned = value.as_u64().map(i128::from);
    unsigned.or(value.as_i64().map(i128::from)).unwrap_or_else(|| panic!("{value} is no integer"))
}

fn length(rule: &Value) -> usize {
    usize::try_from(rule.as_u64().unwrap()).unwrap()
}

#[test]
fn every_snapshot_that_is_written_is_what_the_schema_describes() {
    let mut schema = Schema::new(SNAPSHOT);
    for kind in Kind::ALL {
        let random = (0..SEEDS).map(|seed| specimen::random(kind, seed));
        for mut snapshot in specimen::corners(kind).into_iter().map(|(_, corner)| corner).chain(random) {
            snapshot.context_mut().settings = specimen_settings();
            snapshot.context_mut().state = vec![0xab; 3];
            schema.check(&snapshot.to_json(), kind);
        }
    }
    schema.check_all_words_were_met();
}

#[test]
fn every_answer_that_is_written_is_what_the_schema_describes() {
    let mut schema = Schema::new(ANSWER);
    let mut runner = TestRunner::deterministic();
    for _ in 0..SEEDS {
        let answer = anything::answer().new_tree(&mut runner).unwrap().current();
        schema.check(&answer.to_json(), answer.kind());
    }
    schema.check_all_words_were_met();
}

#[test]
fn defaults_are_those_that_the_schemas_document() {
    let snapshots = Schema::new(SNAPSHOT);
    for kind in Kind::ALL {
        // The lists that are empty by default get an element, for its own defaults.
        let body = match kind {
            Kind::WarmPool => json!({"blocks": [{}], "history": [{}]}),
            Kind::MaxPods | Kind::SubnetSelection => json!({}),
        };
        let document = json!({"format": SNAPSHOT_FORMAT, "kind": kind, "snapshot": body});
        let written = Snapshot::from_json(&document.to_string()).unwrap().to_json();
        let mut written: Value = serde_json::from_str(&written).unwrap();
        let branch = snapshots.branch(kind);
        if kind == Kind::WarmPool {
            snapshots.check_defaults(&written["snapshot"]["blocks"][0], snapshots.of("block"), "block");
            snapshots.check_defaults(&written["snapshot"]["history"][0], snapshots.of("demand"), "demand");
            written["snapshot"]["blocks"] = json!([]);
            written["snapshot"]["history"] = json!([]);
        }
        if kind == Kind::SubnetSelection {
            assert_eq!(written["snapshot"]["candidates"][0]["primary"], true);
            written["snapshot"]["candidates"][0]["primary"] = json!(false);
        }
        snapshots.check_defaults(&written["snapshot"], &branch["properties"]["snapshot"], kind.as_str());
    }
    let answers = Schema::new(ANSWER);
    for (kind, target) in [
        (Kind::WarmPool, json!({})),
        (Kind::MaxPods, json!(1)),
        (Kind::SubnetSelection, json!([{"candidate": 1}])),
    ] {
        let document = json!({"format": ANSWER_FORMAT, "kind": kind, "answer": {"target": target}});
        let written = Answer::from_json(&document.to_string()).unwrap().to_json();
        let written: Value = serde_json::from_str(&written).unwrap();
        let branch = answers.branch(kind);
        answers.check_defaults(&written["answer"], &branch["properties"]["answer"], kind.as_str());
    }
}

#[test]
fn bounds_are_those_of_the_contract() {
    let schema = Schema::new(SNAPSHOT);
    let most = |definition: &str, list: &str| length(&schema.of(definition)["properties"][list]["maxItems"]);
    assert_eq!(most("warm-pool", "enis"), MAX_ENIS);
    assert_eq!(most("warm-pool", "blocks"), MAX_BLOCKS);
    assert_eq!(most("warm-pool", "history"), MAX_HISTORY);
    assert_eq!(most("warm-pool", "subnets"), MAX_SUBNETS);
    assert_eq!(most("subnet-selection", "candidates"), MAX_SUBNETS);
    assert_eq!(length(&schema.of("context")["properties"]["state"]["maxLength"]), 2 * MAX_STATE);
}

/// Settings of every type.
fn specimen_settings() -> Vec<crate::snapshot::Setting> {
    serde_json::from_value::<crate::snapshot::Context>(
        json!({"settings": {"flag": true, "int": -5, "text": "x"}}),
    )
    .unwrap()
    .settings
}
