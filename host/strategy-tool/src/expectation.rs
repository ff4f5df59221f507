//! What a test case wants of an answer.

use std::fmt;

use enid_core::document::{Answer, Snapshot};
use enid_core::kind::Kind;
use enid_core::proposal::{Band, Outcome};
use enid_policy_wasm::Fault;
use enid_policy_wasm::runtime::Called;
use serde_json::{Value, json};

use crate::assignment::shown_value;
use crate::verdict::{judge, outcome, proposed};

/// What `[case.expect]` may say, for whoever mistypes it.
const KEYS: &str =
    "target, reason_contains, next_check_ms, annotations, fuel, failure, bent, admitted, deterministic";

/// What a case wants. Left out: an answer that is admitted, and the same one when asked again.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Expectation {
    /// Fields of the component's own target; an empty path is the whole target.
    target: Vec<(Vec<String>, Wanted)>,
    reason_contains: Option<String>,
    next_check_ms: Option<Wanted>,
    annotations: Vec<(String, Wanted)>,
    fuel: Option<Wanted>,
    failure: Option<Declining>,
    bent: Option<bool>,
    admitted: Option<bool>,
}

/// What one value must be.
#[derive(Clone, Debug, PartialEq)]
enum Wanted {
    Exactly(Value),
    Between { least: i64, most: i64 },
}

/// How a strategy says that it has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Declining {
    Unsupported,
    Settings,
    Internal,
}

impl Declining {
    const ALL: [Self; 3] = [Self::Unsupported, Self::Settings, Self::Internal];

    fn as_str(self) -> &'static str {
        match self {
            Self::Unsupported => "unsupported",
            Self::Settings => "settings",
            Self::Internal => "internal",
        }
    }

    /// Whether `fault` is the component's own word that it has no answer, and which.
    pub(crate) fn of(fault: &Fault) -> Option<Self> {
        match fault {
            Fault::Unsupported { .. } => Some(Self::Unsupported),
            Fault::Settings { .. } => Some(Self::Settings),
            Fault::Failure { .. } => Some(Self::Internal),
            Fault::Fuel
            | Fault::Deadline
            | Fault::Memory { .. }
            | Fault::Tables { .. }
            | Fault::Instances { .. }
            | Fault::Stack
            | Fault::Trap { .. }
            | Fault::HostcallBytes { .. }
            | Fault::Lift { .. }
            | Fault::Crashed { .. }
            | Fault::Unasked { .. } => None,
        }
    }
}

impl Expectation {
    /// Reads `[case.expect]`; all that is wrong with it at once.
    pub(crate) fn parse(table: &toml::Table) -> Result<Self, Vec<String>> {
        let mut expectation = Self::default();
        let mut problems = Vec::new();
        for (key, value) in table {
            if let Err(problem) = expectation.take(key, value) {
                problems.push(problem);
            }
        }
        let of_answers = !expectation.target.is_empty()
            || expectation.reason_contains.is_some()
            || expectation.next_check_ms.is_some()
            || !expectation.annotations.is_empty()
            || expectation.bent.is_some()
            || expectation.admitted.is_some();
        if expectation.failure.is_some() && of_answers {
            problems
                .push("`failure` means no answer, so nothing else about an answer can be expected".into());
        }
        if expectation.admitted == Some(false) && expectation.bent.is_some() {
            problems.push("`bent` is about admitted answers, so `admitted = false` excludes it".into());
        }
        if problems.is_empty() { Ok(expectation) } else { Err(problems) }
    }

    fn take(&mut self, key: &str, value: &toml::Value) -> Result<(), String> {
        match (key, value) {
            ("target", value) => collect(&mut Vec::new(), value, &mut self.target),
            ("reason_contains", toml::Value::String(text)) => {
                self.reason_contains = Some(text.clone());
                Ok(())
            }
            ("next_check_ms", value) => {
                self.next_check_ms = Some(numeric(key, value)?);
                Ok(())
            }
            ("fuel", value) => {
                self.fuel = Some(numeric(key, value)?);
                Ok(())
            }
            ("annotations", toml::Value::Table(table)) => {
                for (name, value) in table {
                    self.annotations.push((name.clone(), Wanted::parse(name, value)?));
                }
                Ok(())
            }
            ("failure", toml::Value::String(text)) => {
                let declining = Declining::ALL.into_iter().find(|declining| declining.as_str() == text);
                self.failure = Some(declining.ok_or_else(|| {
                    format!("failure = {value} is unknown: it is unsupported, settings or internal")
                })?);
                Ok(())
            }
            ("bent", toml::Value::Boolean(bent)) => {
                self.bent = Some(*bent);
                Ok(())
            }
            ("admitted", toml::Value::Boolean(admitted)) => {
                self.admitted = Some(*admitted);
                Ok(())
            }
            ("deterministic", toml::Value::Boolean(true)) => Ok(()),
            ("deterministic", value) => Err(format!(
                "deterministic = {value} cannot be: every answer must be; leave it out or say true"
            )),
            ("reason_contains" | "failure", value) => Err(format!("{key} = {value} must be text")),
            ("annotations", value) => Err(format!("annotations = {value} must be a table")),
            ("bent" | "admitted", value) => Err(format!("{key} = {value} must be true or false")),
            (key, value) => match key.strip_prefix("target.") {
                Some(path) => {
                    let mut path = path.split('.').map(str::to_owned).collect();
                    collect(&mut path, value, &mut self.target)
                }
                None => Err(format!("`{key}` is unknown: a case may expect {KEYS}")),
            },
        }
    }

    /// Whether the case is about having no answer.
    pub(crate) fn wants_failure(&self) -> bool {
        self.failure.is_some()
    }

    /// Fields that no target of this kind has: a mistyped name must not pass for a failed test.
    pub(crate) fn check_fields(&self, kind: Kind) -> Result<(), Vec<String>> {
        let known: Vec<String> = match kind {
            Kind::WarmPool => json!(Band::default())
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, _)| name.clone())
                .collect(),
            Kind::MaxPods | Kind::SubnetSelection => Vec::new(),
        };
        let mut problems = Vec::new();
        for (path, _) in &self.target {
            let fits = match path.as_slice() {
                [] => known.is_empty(),
                [field] => known.contains(field),
                [_, _, ..] => false,
            };
            if !fits {
                let shape = match kind {
                    Kind::WarmPool => format!("it has {}", known.join(", ")),
                    Kind::MaxPods => "it is a number, for example `target = 29`".to_owned(),
                    Kind::SubnetSelection => {
                        "it is a list of candidates, for example `target = [1, 0]`".to_owned()
                    }
                };
                problems.push(format!("a {kind} target has no `{}`: {shape}", dotted(path)));
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// All in which a call differs from what is wanted; empty when it is right.
    pub(crate) fn complaints(&self, question: &Snapshot, called: &Called<Answer>) -> Vec<String> {
        let mut complaints = Vec::new();
        match &called.result {
            Err(fault) => match self.failure {
                Some(wanted) if Declining::of(fault) == Some(wanted) => {}
                Some(wanted) => {
                    complaints.push(format!("{fault}, but failure = \"{}\" is expected", wanted.as_str()));
                }
                None => complaints.push(format!("there is no answer: {fault}")),
            },
            Ok(answer) => match self.failure {
                Some(wanted) => {
                    let target = proposed(answer);
                    let wanted = wanted.as_str();
                    complaints.push(format!("it answers {target}, but failure = \"{wanted}\" is expected"));
                }
                None => self.complain_of_answer(question, answer, &mut complaints),
            },
        }
        if let Some(wanted) = &self.fuel {
            wanted.check("fuel", &json!(called.cost.fuel), &mut complaints);
        }
        complaints
    }

    fn complain_of_answer(&self, question: &Snapshot, answer: &Answer, complaints: &mut Vec<String>) {
        match (judge(question, answer), self.admitted) {
            (Err(_), Some(false)) => {}
            (Err(failing), Some(true) | None) => complaints.push(failing.to_string()),
            (Ok(_), Some(false)) => complaints.push("its answer is admitted, but must not be".into()),
            (Ok(accepted), Some(true) | None) => match self.bent {
                Some(false) => complaints.extend(accepted.bent.iter().map(ToString::to_string)),
                Some(true) if accepted.bent.is_empty() => complaints.push("nothing of it is bent".into()),
                Some(true) | None => {}
            },
        }
        let target = proposed(answer);
        for (path, wanted) in &self.target {
            let name = if path.is_empty() { "target".to_owned() } else { format!("target.{}", dotted(path)) };
            let found = path.iter().fold(&target, |value, field| &value[field.as_str()]);
            wanted.check(&name, found, complaints);
        }
        self.complain_of_outcome(outcome(answer), complaints);
    }

    fn complain_of_outcome(&self, outcome: &Outcome, complaints: &mut Vec<String>) {
        if let Some(part) = &self.reason_contains
            && !outcome.reason.contains(part.as_str())
        {
            complaints.push(format!("its reason is {:?}, expected {part:?} in it", outcome.reason));
        }
        if let Some(wanted) = &self.next_check_ms {
            wanted.check("next_check_ms", &json!(outcome.next_check_ms), complaints);
        }
        for (key, wanted) in &self.annotations {
            match outcome.annotations.iter().find(|annotation| annotation.key == *key) {
                Some(found) => wanted.check(&format!("annotation {key}"), &json!(found.value), complaints),
                None => {
                    let there = outcome.annotations.iter();
                    let there: Vec<String> =
                        there.map(|found| format!("{} = {}", found.key, shown_value(&found.value))).collect();
                    complaints.push(format!("annotation {key} is missing; there is [{}]", there.join(", ")));
                }
            }
        }
    }
}

/// Collects the leaves of an expected target.
fn collect(
    path: &mut Vec<String>,
    value: &toml::Value,
    into: &mut Vec<(Vec<String>, Wanted)>,
) -> Result<(), String> {
    if let Some(table) = value.as_table().filter(|table| !is_range(table)) {
        for (key, value) in table {
            path.push(key.clone());
            collect(path, value, into)?;
            path.pop();
        }
        return Ok(());
    }
    into.push((path.clone(), Wanted::parse(&format!("target.{}", dotted(path)), value)?));
    Ok(())
}

fn is_range(table: &toml::Table) -> bool {
    !table.is_empty() && table.keys().all(|key| key == "min" || key == "max")
}

fn dotted(path: &[String]) -> String {
    path.join(".")
}

/// A number or a range.
fn numeric(key: &str, value: &toml::Value) -> Result<Wanted, String> {
    if value.is_integer() || value.is_table() {
        return Wanted::parse(key, value);
    }
    Err(format!("{key} = {value} must be a number, or {{ min = …, max = … }}"))
}

impl Wanted {
    fn parse(name: &str, value: &toml::Value) -> Result<Self, String> {
        if let toml::Value::Table(table) = value {
            if !is_range(table) {
                return Err(format!("{name} = {value} is no range: write {{ min = …, max = … }}"));
            }
            let bound = |key: &str, default| match table.get(key) {
                None => Ok(default),
                Some(toml::Value::Integer(bound)) => Ok(*bound),
                Some(other) => Err(format!("{name}.{key} = {other} must be a whole number")),
            };
            let (least, most) = (bound("min", i64::MIN)?, bound("max", i64::MAX)?);
            if least > most {
                return Err(format!("{name}: min = {least} is more than max = {most}"));
            }
            return Ok(Self::Between { least, most });
        }
        serde_json::to_value(value)
            .map(Self::Exactly)
            .map_err(|_| format!("{name} = {value} cannot be compared with"))
    }

    fn check(&self, name: &str, found: &Value, complaints: &mut Vec<String>) {
        let fits = match self {
            Self::Exactly(wanted) => found == wanted || (found.is_null() && wanted == "never"),
            Self::Between { least, most } => {
                // Beyond i64 is beyond every bound that can be written.
                let above = found.as_u64().is_some_and(|number| i64::try_from(number).is_err());
                let within = found.as_i64().is_some_and(|number| (*least..=*most).contains(&number));
                within || (above && *most == i64::MAX)
            }
        };
        if !fits {
            let shown = if found.is_null() { "never".to_owned() } else { found.to_string() };
            complaints.push(format!("{name} is {shown}, expected {self}"));
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(value) => value.fmt(f),
            Self::Between { least: i64::MIN, most } => write!(f, "at most {most}"),
            Self::Between { least, most: i64::MAX } => write!(f, "at least {least}"),
            Self::Between { least, most } => write!(f, "{least} to {most}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use enid_core::proposal::Proposal;
    use enid_core::snapshot::Setting;
    use enid_policy_wasm::runtime::Cost;

    use super::*;
    use crate::command::decide::plain;

    fn expect(text: &str) -> Expectation {
        Expectation::parse(&toml::from_str(text).unwrap()).unwrap()
    }

    fn refused(text: &str) -> Vec<String> {
        Expectation::parse(&toml::from_str(text).unwrap()).unwrap_err()
    }

    fn complaints(expected: &str, result: Result<Answer, Fault>) -> Vec<String> {
        let called = Called { result, cost: Cost { fuel: 1000, ..Cost::default() } };
        expect(expected).complaints(&plain(Kind::WarmPool).unwrap(), &called)
    }

    fn band(ready_low: u32) -> Result<Answer, Fault> {
        let annotations = vec![Setting { key: "trend".into(), value: enid_core::snapshot::Value::Int(-2) }];
        let outcome = Outcome { reason: "3 pods".into(), annotations, ..Outcome::default() };
        let target = Band { ready_low, ready_high: Some(ready_low), ..Band::default() };
        Ok(Answer::WarmPool(Proposal { target, outcome }))
    }

    #[test]
    fn exact_fields_ranges_and_words_are_compared() {
        let right = r#"
            target = { ready_low = 3, grain = "address" }
            "target.total_floor" = { max = 20 }
            "target.ready_high" = { min = 3, max = 3 }
            reason_contains = "pods"
            annotations = { trend = { max = -1 } }
            fuel = { max = 1000 }
            bent = false
            deterministic = true
        "#;
        assert_eq!(complaints(right, band(3)), Vec::<String>::new());
        let wrong = complaints(right, band(4));
        assert!(wrong.contains(&"target.ready_low is 4, expected 3".to_owned()), "{wrong:?}");
        assert!(wrong.contains(&"target.ready_high is 4, expected 3 to 3".to_owned()), "{wrong:?}");
        assert_eq!(wrong.len(), 2);
        let others = "reason_contains = \"ENI\"\nannotations.trend = 2\nfuel.max = 999\nannotations.x = 1";
        assert_eq!(complaints(others, band(3)).len(), 4);
    }

    #[test]
    fn an_answer_must_be_admitted_unless_the_case_says_otherwise() {
        assert_eq!(complaints("", band(u32::MAX)).len(), 1);
        assert_eq!(complaints("admitted = false", band(u32::MAX)), Vec::<String>::new());
        assert_eq!(complaints("admitted = false", band(1)).len(), 1);
        assert_eq!(complaints("", band(40)), Vec::<String>::new());
        assert_eq!(complaints("bent = false", band(40)), ["ready_low 40 bent to 27"]);
        assert_eq!(complaints("bent = true", band(1)).len(), 1);
    }

    #[test]
    fn declining_is_told_apart_from_failing_and_by_its_kind() {
        let unsupported = || Err(Fault::Unsupported { why: "prefixes".into() });
        let settings = || Err(Fault::Settings { why: "headroom".into() });
        assert_eq!(complaints("failure = \"unsupported\"", unsupported()), Vec::<String>::new());
        assert_eq!(complaints("failure = \"settings\"", settings()), Vec::<String>::new());
        assert_eq!(complaints("failure = \"internal\"", settings()).len(), 1);
        assert_eq!(complaints("failure = \"internal\"", Err(Fault::Fuel)).len(), 1);
        assert_eq!(complaints("failure = \"unsupported\"", band(1)).len(), 1);
        assert_eq!(complaints("", unsupported()).len(), 1);
    }

    #[test]
    fn never_giving_back_can_be_expected() {
        let never = Ok(Answer::WarmPool(Proposal { target: Band::default(), outcome: Outcome::default() }));
        assert_eq!(complaints("target.ready_high = \"never\"", never), Vec::<String>::new());
        assert_eq!(complaints("target.ready_high = \"never\"", band(1)).len(), 1);
    }

    #[test]
    fn everything_wrong_with_an_expectation_is_told_at_once() {
        let problems = refused("redy = 1\nbent = 3\nfuel = \"much\"\ndeterministic = false");
        assert_eq!(problems.len(), 4, "{problems:?}");
        assert_eq!(refused("failure = \"broken\"").len(), 1);
        assert_eq!(refused("failure = \"internal\"\ntarget.ready_low = 1").len(), 1);
        assert_eq!(refused("fuel = { min = 3, max = 2 }").len(), 1);
        assert_eq!(refused("fuel = { minimum = 3 }").len(), 1);
    }

    #[test]
    fn targets_are_checked_against_what_a_kind_answers() {
        assert_eq!(expect("target.ready_low = 1").check_fields(Kind::WarmPool), Ok(()));
        assert_eq!(expect("target = 29").check_fields(Kind::MaxPods), Ok(()));
        assert_eq!(expect("target = { max = 110 }").check_fields(Kind::MaxPods), Ok(()));
        assert_eq!(expect("target = [1, 0]").check_fields(Kind::SubnetSelection), Ok(()));
        let mistyped = expect("target.redy_low = 1").check_fields(Kind::WarmPool).unwrap_err();
        assert!(mistyped[0].contains("`redy_low`") && mistyped[0].contains("ready_low,"), "{mistyped:?}");
        assert!(expect("target.ready_low = 1").check_fields(Kind::MaxPods).is_err());
        assert!(expect("target = 29").check_fields(Kind::WarmPool).is_err());
    }
}
