//! `decide`: one decision, with everything that came with it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::anyhow;
use clap::Args;
use enid_core::admission::Clamp;
use enid_core::document::Snapshot;
use enid_core::kind::Kind;
use enid_core::proposal::Outcome;
use enid_core::snapshot::{MAX_STATE, Setting};
use enid_policy_wasm::Fault;
use enid_policy_wasm::runtime::LogLine;
use serde::Serialize;
use serde_json::Value;

use crate::allowance::Allowance;
use crate::assignment;
use crate::failure::Failure;
use crate::output::{Output, Sheet, bytes, grouped, micros, print_json, wide};
use crate::subject::{Asked, Subject, Workshop, read_snapshot};
use crate::verdict::{Accepted, judge, outcome, proposed};

/// `enid strategy decide`.
#[derive(Debug, Args)]
pub struct Decide {
    /// The component file
    component: PathBuf,
    /// The question, a JSON document, or `-` for standard input [default: the first question of an m5.large]
    #[arg(long, value_name = "FILE|-")]
    snapshot: Option<PathBuf>,
    /// A setting, over those in the snapshot; for example headroom=3; repeatable
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = assignment::parse)]
    settings: Vec<Setting>,
    /// What the last answer asked to remember, over that in the snapshot
    #[arg(long, value_name = "HEX", value_parser = parse_state)]
    state: Option<State>,
    #[command(flatten)]
    allowance: Allowance,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// State from the command line; clap takes a bare `Vec` for a repeated option.
#[derive(Clone, Debug, PartialEq, Eq)]
struct State(Vec<u8>);

impl Decide {
    pub(crate) fn run(&self) -> Result<ExitCode, Failure> {
        let subject = Workshop::open()?.open_component(&self.component, &self.allowance.limits()?)?;
        let mut question = match &self.snapshot {
            Some(path) => read_snapshot(path)?,
            None => plain(subject.kind())?,
        };
        subject.fits(&question)?;
        let context = question.context_mut();
        assignment::apply(&self.settings, &mut context.settings);
        if let Some(State(state)) = &self.state {
            context.state.clone_from(state);
        }
        for issue in subject.issues_with(&question.context().settings) {
            eprintln!("enid: {issue}; a node would refuse these settings");
        }
        let asked = subject.ask(&question);
        let decision = Decision::of(&subject, &question, &asked);
        match self.output {
            Output::Json => print_json(&decision)?,
            Output::Text => decision.print(&subject),
        }
        match decision.complaint() {
            Some(why) => Err(Failure::failed(anyhow!("{}: {why}", self.component.display()))),
            None => Ok(ExitCode::SUCCESS),
        }
    }
}

/// The question that an empty object stands for.
pub(crate) fn plain(kind: Kind) -> Result<Snapshot, Failure> {
    Snapshot::deserialize_body(kind, Value::Object(serde_json::Map::new())).map_err(Failure::failed)
}

fn parse_state(text: &str) -> Result<State, String> {
    let wrong = |what: &str| format!("state `{text}` {what}; write two hexadecimal digits for each byte");
    if !text.len().is_multiple_of(2) {
        return Err(wrong("has half a byte too many"));
    }
    if text.len() / 2 > MAX_STATE {
        return Err(format!("state has {} bytes; a strategy may keep {MAX_STATE}", text.len() / 2));
    }
    let digits: Option<Vec<u8>> =
        text.chars().map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let digits = digits.ok_or_else(|| wrong("is not hexadecimal"))?;
    Ok(State(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()))
}

/// What `--output json` prints. A contract: the names do not change.
#[derive(Debug, Serialize)]
struct Decision<'a> {
    component: Who<'a>,
    /// The component's own words; `None` when there are none.
    proposed: Option<Proposed<'a>>,
    /// What a node would act on.
    admitted: Option<Accepted>,
    refused: Option<String>,
    fault: Option<Faulted<'a>>,
    fuel: u64,
    memory_bytes: u64,
    micros: u64,
    log: &'a [LogLine],
    log_dropped: u32,
}

/// Which component.
#[derive(Debug, Serialize)]
struct Who<'a> {
    name: &'a str,
    version: &'a str,
    kind: Kind,
    digest: String,
}

/// What a component said.
#[derive(Debug, Serialize)]
struct Proposed<'a> {
    target: Value,
    #[serde(flatten)]
    outcome: &'a Outcome,
}

/// How a call failed.
#[derive(Debug, Serialize)]
struct Faulted<'a> {
    label: &'static str,
    why: String,
    #[serde(skip)]
    fault: &'a Fault,
}

impl<'a> Decision<'a> {
    fn of(subject: &'a Subject, question: &Snapshot, asked: &'a Asked) -> Self {
        let descriptor = subject.guest.descriptor();
        let cost = &asked.called.cost;
        let mut decision = Self {
            component: Who {
                name: &descriptor.name,
                version: &descriptor.version,
                kind: subject.kind(),
                digest: subject.file.digest.to_string(),
            },
            proposed: None,
            admitted: None,
            refused: None,
            fault: None,
            fuel: cost.fuel,
            memory_bytes: cost.memory,
            micros: micros(asked.took),
            log: &cost.lines,
            log_dropped: cost.dropped,
        };
        match &asked.called.result {
            Err(fault) => {
                decision.fault = Some(Faulted { label: fault.label(), why: fault.to_string(), fault });
            }
            Ok(answer) => {
                decision.proposed = Some(Proposed { target: proposed(answer), outcome: outcome(answer) });
                match judge(question, answer) {
                    Ok(accepted) => decision.admitted = Some(accepted),
                    Err(failing) => decision.refused = Some(failing.to_string()),
                }
            }
        }
        decision
    }

    /// Why the exit code is not 0.
    fn complaint(&self) -> Option<String> {
        self.refused.clone().or_else(|| self.fault.as_ref().map(|fault| fault.fault.to_string()))
    }

    fn print(&self, subject: &Subject) {
        let mut sheet = Sheet::default();
        sheet.row("component", subject.title());
        if let Some(said) = &self.proposed {
            let target = self.admitted.as_ref().map_or(&said.target, |accepted| &accepted.target);
            target_rows(target, &mut sheet);
            outcome_rows(
                self.admitted.as_ref().map_or(said.outcome, |accepted| &accepted.outcome),
                &mut sheet,
            );
        }
        match (&self.admitted, &self.refused) {
            (Some(accepted), _) => sheet.row("admitted", bent(&accepted.bent)),
            (None, Some(why)) => sheet.row("admitted", format!("no: {why}")),
            (None, None) => {}
        }
        if let Some(fault) = &self.fault {
            sheet.row("no answer", format!("{} ({})", fault.why, fault.label));
        }
        sheet.row("fuel", format!("{} of {}", grouped(self.fuel), grouped(subject.limits.fuel)));
        let most = bytes(wide(subject.limits.memory));
        sheet.row("memory", format!("{} of {most}", bytes(self.memory_bytes)));
        sheet.row("time", format!("{} µs, one fresh instance", self.micros));
        for line in self.log {
            let level = format!("{:?}", line.level).to_lowercase();
            sheet.row(format!("log {level}"), line.text.clone());
        }
        if self.log_dropped > 0 {
            sheet.row("log", format!("{} more lines, beyond the limit", self.log_dropped));
        }
        sheet.print();
    }
}

fn target_rows(target: &Value, sheet: &mut Sheet) {
    let Value::Object(fields) = target else { return sheet.row("target", target.to_string()) };
    for (name, value) in fields {
        let shown = if value.is_null() { "never".to_owned() } else { value.to_string() };
        sheet.row(name, value.as_str().map_or(shown, str::to_owned));
    }
}

fn outcome_rows(outcome: &Outcome, sheet: &mut Sheet) {
    sheet.row("reason", outcome.reason.clone());
    let next = outcome.next_check_ms.map_or("when something changes".to_owned(), |at| format!("in {at} ms"));
    sheet.row("next check", next);
    let state = &outcome.state;
    let shown = if state.is_empty() { "nothing".to_owned() } else { bytes(wide(state.len())) };
    sheet.row("remembers", shown);
    for annotation in &outcome.annotations {
        sheet.row("annotation", assignment::shown(annotation));
    }
}

fn bent(clamps: &[Clamp]) -> String {
    if clamps.is_empty() {
        return "as it is".to_owned();
    }
    clamps.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_is_read_as_it_is_printed_in_documents() {
        assert_eq!(parse_state("00fF"), Ok(State(vec![0, 255])));
        assert_eq!(parse_state(""), Ok(State(Vec::new())));
        for wrong in ["0", "0g", "é"] {
            assert!(parse_state(wrong).unwrap_err().contains(&format!("`{wrong}`")));
        }
        assert!(parse_state(&"00".repeat(MAX_STATE + 1)).is_err());
    }

    #[test]
    fn the_plain_question_exists_for_every_kind() {
        for kind in Kind::ALL {
            assert_eq!(plain(kind).unwrap().kind(), kind);
        }
    }
}
