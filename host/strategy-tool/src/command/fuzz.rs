//! `fuzz`: made-up questions with made-up settings, and what breaks.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use clap::Args;
use enid_core::document::Snapshot;
use enid_core::snapshot::{MAX_STATE, Setting, Value};
use enid_core::specimen;
use enid_policy_wasm::schema::{Property, Schema, Shape};
use serde::Serialize;

use crate::allowance::Allowance;
use crate::assignment;
use crate::chance::{Chance, fresh_seed};
use crate::failure::Failure;
use crate::output::{Output, Sheet, grouped, print_json};
use crate::subject::{Steadiness, Subject, Workshop};
use crate::verdict::{judge, outcome};

/// Characters that text settings are made of: what quoting, splitting and counting get wrong.
const LETTERS: [char; 12] = ['a', 'Z', '0', '-', '.', ',', '=', '"', '\\', ' ', 'é', '🦀'];
/// Characters of a made-up text at most.
const LONGEST: u64 = 40;
/// The label of answers that differ between two calls.
const UNSTEADY: &str = "not-deterministic";
/// The label of answers that admission refuses.
const REFUSED: &str = "refused";

/// `enid strategy fuzz`.
#[derive(Debug, Args)]
pub struct Fuzz {
    /// The component file
    component: PathBuf,
    /// Where chance begins [default: a new one, printed]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Questions to ask
    #[arg(long, value_name = "N", default_value_t = 1000, conflicts_with = "seconds")]
    runs: u64,
    /// Ask for so long instead
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: Option<u64>,
    /// A setting that stays as it is; the others are made up; repeatable
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = assignment::parse)]
    settings: Vec<Setting>,
    /// Where the first failing snapshot of each kind is written
    #[arg(long, value_name = "DIR", default_value = ".")]
    findings: PathBuf,
    #[command(flatten)]
    allowance: Allowance,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl Fuzz {
    pub(crate) fn run(&self) -> Result<ExitCode, Failure> {
        let subject = Workshop::open()?.open_component(&self.component, &self.allowance.limits()?)?;
        let schema = Schema::parse(&subject.guest.descriptor().settings_schema).map_err(|why| {
            let path = self.component.display();
            Failure::failed(anyhow!("{path}: its settings schema is not usable: {why}"))
        })?;
        let issues = schema.check(&self.settings);
        if let Some(issue) = issues.first() {
            return Err(Failure::input(anyhow!("setting `{}`: {}", issue.key, issue.message)));
        }
        let seed = self.seed.unwrap_or_else(fresh_seed);
        let mut author =
            Author { chance: Chance::new(seed), schema, fixed: &self.settings, state: Vec::new() };
        let mut seen = Seen::new(seed);
        let until = self.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
        while until.map_or(seen.runs < self.runs, |until| Instant::now() < until) {
            let question = author.question(&subject);
            author.state = seen.ask(&subject, question);
        }
        for (label, finding) in &mut seen.findings {
            let path = self.findings.join(format!("fuzz-{label}-{seed}-{}.json", finding.run));
            std::fs::create_dir_all(&self.findings).map_err(Failure::writing(&self.findings))?;
            std::fs::write(&path, finding.question.to_json()).map_err(Failure::writing(&path))?;
            finding.file = Some(path.display().to_string());
        }
        match self.output {
            Output::Json => print_json(&seen)?,
            Output::Text => seen.print(&subject),
        }
        if seen.findings.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        let labels: Vec<&str> = seen.findings.keys().copied().collect();
        Err(Failure::failed(anyhow!("it breaks: {}; seed {seed}", labels.join(", "))).of(&self.component))
    }
}

/// Makes up questions, all from one stream of chance.
struct Author<'a> {
    chance: Chance,
    schema: Schema,
    fixed: &'a [Setting],
    /// What the last answer asked to remember.
    state: Vec<u8>,
}

impl Author<'_> {
    fn question(&mut self, subject: &Subject) -> Snapshot {
        let mut question = specimen::random(subject.kind(), self.chance.next());
        let mut settings = Vec::new();
        let properties: Vec<(String, Property)> =
            self.schema.properties().map(|(key, property)| (key.to_owned(), property.clone())).collect();
        // Operators leave most settings alone, so each is left out half the time.
        for (key, property) in properties {
            if self.chance.once_in(2) {
                let value = value(&mut self.chance, &property);
                settings.push(Setting { key, value });
            }
        }
        assignment::apply(self.fixed, &mut settings);
        let context = question.context_mut();
        context.settings = settings;
        context.state = self.memory();
        question
    }

    /// Its own memory mostly; sometimes none, sometimes garbage of the right format, as after a bug of its own.
    fn memory(&mut self) -> Vec<u8> {
        match self.chance.below(8) {
            0 => Vec::new(),
            1 => {
                let most = u64::try_from(MAX_STATE).unwrap_or(u64::MAX);
                let length = if self.chance.once_in(8) { most } else { self.chance.below(64) };
                (0..length).map(|_| self.chance.next().to_le_bytes()[0]).collect()
            }
            _ => std::mem::take(&mut self.state),
        }
    }
}

/// A value that the schema allows: often a bound, because that is where mistakes are.
fn value(chance: &mut Chance, property: &Property) -> Value {
    match &property.shape {
        Shape::Flag => Value::Flag(chance.once_in(2)),
        Shape::Int { least, most } => {
            let bound =
                |bound: i128| i64::try_from(bound).unwrap_or(if bound < 0 { i64::MIN } else { i64::MAX });
            let (least, most) = (bound(*least), bound(*most));
            Value::Int(match chance.below(4) {
                0 => least,
                1 => most,
                2 => chance.between(least, most.min(least.saturating_add(16))),
                _ => chance.between(least, most),
            })
        }
        Shape::Text { choices: Some(choices), .. } => {
            let count = u64::try_from(choices.len()).unwrap_or(1).max(1);
            let chosen = usize::try_from(chance.below(count)).unwrap_or(0);
            Value::Text(choices.get(chosen).cloned().unwrap_or_default())
        }
        Shape::Text { choices: None, longest } => {
            let mut text = String::new();
            for _ in 0..chance.below(LONGEST) {
                let letter = LETTERS[usize::try_from(chance.below(12)).unwrap_or(0)];
                if text.len() + letter.len_utf8() > *longest {
                    break;
                }
                text.push(letter);
            }
            Value::Text(text)
        }
    }
}

/// What was seen. Printed as JSON: a contract, the names do not change.
#[derive(Debug, Serialize)]
struct Seen {
    seed: u64,
    runs: u64,
    answered: u64,
    /// Questions that it declared unsupported.
    unsupported: u64,
    /// Settings that its schema allows and its `check-settings` refuses; it is not asked with them.
    settings_refused: u64,
    first_settings_refused: Option<String>,
    /// How often each field had to be bent into range.
    bent: BTreeMap<&'static str, u64>,
    worst_fuel: u64,
    worst_memory_bytes: u64,
    /// What broke, by label.
    findings: BTreeMap<&'static str, Finding>,
}

/// One way to break.
#[derive(Debug, Serialize)]
struct Finding {
    count: u64,
    /// The first run that showed it, from 1.
    run: u64,
    why: String,
    /// Its question, for `decide` and `replay`.
    file: Option<String>,
    #[serde(skip)]
    question: Snapshot,
}

impl Seen {
    fn new(seed: u64) -> Self {
        Self {
            seed,
            runs: 0,
            answered: 0,
            unsupported: 0,
            settings_refused: 0,
            first_settings_refused: None,
            bent: BTreeMap::new(),
            worst_fuel: 0,
            worst_memory_bytes: 0,
            findings: BTreeMap::new(),
        }
    }

    /// Asks twice and notes what came of it; returns what the component wants to remember.
    fn ask(&mut self, subject: &Subject, question: Snapshot) -> Vec<u8> {
        self.runs += 1;
        let settings = &question.context().settings;
        let checked = subject.guest.check_settings(settings);
        match checked.result {
            Ok(issues) => {
                if let Some(issue) = issues.first() {
                    self.settings_refused += 1;
                    let told = format!("{}: {}", issue.key, issue.message);
                    self.first_settings_refused.get_or_insert(told);
                    return Vec::new();
                }
            }
            Err(fault) => {
                self.note(fault.label(), format!("`check-settings`: {fault}"), question);
                return Vec::new();
            }
        }
        let (asked, steadiness) = subject.ask_twice(&question);
        self.worst_fuel = self.worst_fuel.max(asked.called.cost.fuel);
        self.worst_memory_bytes = self.worst_memory_bytes.max(asked.called.cost.memory);
        if let Steadiness::Differs(why) = steadiness {
            self.note(UNSTEADY, why, question);
            return Vec::new();
        }
        match asked.called.result {
            Err(fault) if !fault.is_its_own() => {
                self.unsupported += 1;
                Vec::new()
            }
            Err(fault) => {
                self.note(fault.label(), fault.to_string(), question);
                Vec::new()
            }
            Ok(answer) => match judge(&question, &answer) {
                Ok(accepted) => {
                    self.answered += 1;
                    for clamp in &accepted.bent {
                        *self.bent.entry(clamp.field).or_default() += 1;
                    }
                    outcome(&answer).state.clone()
                }
                Err(violation) => {
                    self.note(REFUSED, violation.to_string(), question);
                    Vec::new()
                }
            },
        }
    }

    fn note(&mut self, label: &'static str, why: String, question: Snapshot) {
        let run = self.runs;
        let finding = self.findings.entry(label).or_insert_with(|| Finding {
            count: 0,
            run,
            why,
            file: None,
            question,
        });
        finding.count += 1;
    }

    fn print(&self, subject: &Subject) {
        let mut sheet = Sheet::default();
        sheet.row("component", subject.title());
        sheet.row("seed", self.seed.to_string());
        sheet.row("runs", format!("{}, each asked twice", self.runs));
        sheet.row("answered", self.answered.to_string());
        if self.unsupported > 0 {
            sheet.row("unsupported", self.unsupported.to_string());
        }
        if let Some(first) = &self.first_settings_refused {
            let count = self.settings_refused;
            sheet.row("settings", format!("{count} that its schema allows it refuses, first {first}"));
        }
        for (field, count) in &self.bent {
            sheet.row("bent", format!("{field}, {count} ×"));
        }
        let (fuel, most) = (grouped(self.worst_fuel), grouped(subject.limits.fuel));
        sheet.row("worst fuel", format!("{fuel} of {most}"));
        if self.findings.is_empty() {
            sheet.row("findings", "none");
        }
        for (label, finding) in &self.findings {
            let (count, run, why) = (finding.count, finding.run, &finding.why);
            let file = finding.file.as_deref().unwrap_or_default();
            sheet.row("finding", format!("{label}, {count} ×, first in run {run}: {why}; see {file}"));
        }
        sheet.print();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOBS: &str = r#"{"type":"object","additionalProperties":false,"properties":{
        "count":{"type":"integer","minimum":1,"maximum":9},
        "any":{"type":"integer"},
        "large":{"type":"integer","minimum":0,"maximum":18446744073709551615},
        "learn":{"type":"boolean"},
        "placement":{"type":"string","enum":["pack","spread"]},
        "name":{"type":"string","maxLength":3}}}"#;

    #[test]
    fn made_up_settings_are_allowed_by_the_schema_and_reach_its_bounds() {
        let schema = Schema::parse(KNOBS).unwrap();
        let mut chance = Chance::new(7);
        let mut counts = Vec::new();
        for _ in 0..500 {
            for (key, property) in schema.properties() {
                let setting = Setting { key: key.to_owned(), value: value(&mut chance, property) };
                assert_eq!(schema.check(std::slice::from_ref(&setting)), []);
                if key == "count" {
                    counts.push(setting.value);
                }
            }
        }
        assert!(counts.contains(&Value::Int(1)) && counts.contains(&Value::Int(9)));
    }
}
