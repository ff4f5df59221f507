//! `test`: a strategy against its cases, natively and as a component.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::anyhow;
use clap::Args;
use enid_core::document::Snapshot;
use enid_core::specimen;
use serde::Serialize;

use crate::allowance::Allowance;
use crate::assignment;
use crate::case_file::{Case, Questions, read};
use crate::chance::fresh_seed;
use crate::command::build::build;
use crate::expectation::Declining;
use crate::failure::Failure;
use crate::output::{Output, counted, grouped, print_json};
use crate::subject::{Steadiness, Subject, Workshop};

/// The file of cases in a strategy's folder.
const CASES: &str = "tests.toml";

/// `enid strategy test`.
#[derive(Debug, Args)]
pub struct Test {
    /// The strategy's folder, or a file of cases
    #[arg(default_value = ".", value_name = "DIR|TOML")]
    at: PathBuf,
    /// Test this component instead of building the folder
    #[arg(long, value_name = "FILE")]
    component: Option<PathBuf>,
    /// Leave out the native tests of a strategy in Rust
    #[arg(long)]
    component_only: bool,
    /// Where the snapshots of failed cases are written
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    #[command(flatten)]
    allowance: Allowance,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl Test {
    pub(crate) fn run(&self) -> Result<ExitCode, Failure> {
        let (dir, cases) = self.places();
        let cases = read(&cases)?;
        if !self.component_only && dir.join("Cargo.toml").is_file() {
            native(&dir)?;
        }
        let component = match &self.component {
            Some(component) => component.clone(),
            None => build(&dir, &dir)?,
        };
        let subject = Workshop::open()?.open_component(&component, &self.allowance.limits()?)?;
        check_all(&subject, &cases)?;
        let mut told = Told { component: subject.title(), passed: 0, failed: 0, cases: Vec::new() };
        for case in &cases {
            let outcome = run(&subject, case)?;
            if self.output == Output::Text {
                println!("{}", outcome.line(&case.name));
            }
            if let (Some(keep), Some(snapshot)) = (&self.keep, &outcome.failed_on) {
                self.keep(keep, told.cases.len(), snapshot)?;
            }
            told.add(case, outcome);
        }
        match self.output {
            Output::Json => print_json(&told)?,
            Output::Text => {
                let all = counted(cases.len(), "case");
                println!("{all}, {} failed: {}", told.failed, told.component);
            }
        }
        if told.failed == 0 {
            return Ok(ExitCode::SUCCESS);
        }
        let all = counted(cases.len(), "case");
        Err(Failure::failed(anyhow!("{} of {all} failed", told.failed)).of(&component))
    }

    /// The folder, and the file of cases in it.
    fn places(&self) -> (PathBuf, PathBuf) {
        if self.at.is_dir() {
            return (self.at.clone(), self.at.join(CASES));
        }
        let parent = self.at.parent().filter(|parent| !parent.as_os_str().is_empty());
        (parent.unwrap_or(Path::new(".")).to_owned(), self.at.clone())
    }

    fn keep(&self, dir: &Path, position: usize, snapshot: &Snapshot) -> Result<(), Failure> {
        let path = dir.join(format!("failed-case-{}.json", position + 1));
        std::fs::create_dir_all(dir).map_err(Failure::writing(dir))?;
        std::fs::write(&path, snapshot.to_json()).map_err(Failure::writing(&path))?;
        eprintln!("enid: wrote {}", path.display());
        Ok(())
    }
}

/// Runs the strategy's own tests; what they print is no result of ours.
fn native(dir: &Path) -> Result<(), Failure> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["test", "--quiet"])
        .current_dir(dir)
        .stdout(Stdio::from(std::io::stderr()))
        .status()
        .map_err(|error| {
            Failure::unavailable(anyhow::Error::from(error).context(
                "run cargo for the native tests; install it from https://rustup.rs, or give --component-only",
            ))
        })?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::failed(anyhow!(
        "the native tests in {} failed: cargo test ended with {status}",
        dir.display()
    )))
}

/// Everything that is wrong with the cases themselves, before the first runs.
fn check_all(subject: &Subject, cases: &[Case]) -> Result<(), Failure> {
    let mut problems = Vec::new();
    for case in cases {
        let fields = case.expect.check_fields(subject.kind()).err().unwrap_or_default();
        let question = case.questions.written(subject.kind()).err().map(|failure| failure.to_string());
        let found = fields.into_iter().chain(question);
        problems.extend(found.map(|problem| format!("case {:?}: {problem}", case.name)));
    }
    if problems.is_empty() { Ok(()) } else { Err(Failure::input(anyhow!("{}", problems.join("\nenid: ")))) }
}

fn run(subject: &Subject, case: &Case) -> Result<Outcome, Failure> {
    let with_settings = |mut question: Snapshot| {
        assignment::apply(&case.settings, &mut question.context_mut().settings);
        question
    };
    if let Questions::Random { count, seed } = case.questions {
        let seed = seed.unwrap_or_else(fresh_seed);
        let made_up = |at| with_settings(specimen::random(subject.kind(), seed.wrapping_add(u64::from(at))));
        return Ok(run_random(subject, case, seed, (0..count).map(made_up)));
    }
    let question = case.questions.written(subject.kind())?;
    let question =
        question.ok_or_else(|| Failure::failed(anyhow!("case {:?} has no question", case.name)))?;
    let question = with_settings(question);
    let mut outcome = Outcome::default();
    outcome.ask(subject, case, &question);
    Ok(outcome)
}

/// Asks until one fails. Strategies may decline what they do not handle, but not all of it.
fn run_random(
    subject: &Subject,
    case: &Case,
    seed: u64,
    questions: impl Iterator<Item = Snapshot>,
) -> Outcome {
    let mut outcome = Outcome { seed: Some(seed), ..Outcome::default() };
    for question in questions {
        if outcome.ask(subject, case, &question) == Answering::Wrong {
            return outcome;
        }
    }
    if outcome.asked == outcome.declined && outcome.asked > 0 {
        outcome.complaints.push("it declined every question as unsupported".into());
    }
    outcome
}

/// What came of a case.
#[derive(Debug, Default)]
struct Outcome {
    complaints: Vec<String>,
    seed: Option<u64>,
    asked: u64,
    /// Made-up questions that it declared unsupported.
    declined: u64,
    most_fuel: u64,
    failed_on: Option<Snapshot>,
}

/// What came of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answering {
    Right,
    Wrong,
}

impl Outcome {
    fn ask(&mut self, subject: &Subject, case: &Case, question: &Snapshot) -> Answering {
        let (asked, steadiness) = subject.ask_twice(question);
        self.asked += 1;
        self.most_fuel = self.most_fuel.max(asked.called.cost.fuel);
        let mut complaints = case.expect.complaints(question, &asked.called);
        let declined = asked.called.result.as_ref().err().and_then(Declining::of);
        let made_up = self.seed.is_some();
        if made_up && declined == Some(Declining::Unsupported) && !case.expect.wants_failure() {
            self.declined += 1;
            complaints.clear();
        }
        if let Steadiness::Differs(why) = steadiness {
            complaints.push(why);
        }
        if complaints.is_empty() {
            return Answering::Right;
        }
        self.complaints = complaints;
        self.failed_on = Some(question.clone());
        Answering::Wrong
    }

    /// The seed of the question that failed; the same seed with `random = 1` asks it again.
    fn failing_seed(&self) -> Option<u64> {
        let seed = self.seed.filter(|_| self.failed_on.is_some())?;
        Some(seed.wrapping_add(self.asked.saturating_sub(1)))
    }

    fn line(&self, name: &str) -> String {
        if let [first, ..] = self.complaints.as_slice() {
            let told = self.complaints[1..].iter().fold(first.clone(), |told, next| told + "; " + next);
            let seed = match (self.failing_seed(), self.seed) {
                (Some(seed), _) => format!(" (again with seed = {seed}, random = 1)"),
                (None, Some(seed)) => format!(" (seed {seed})"),
                (None, None) => String::new(),
            };
            return format!("FAIL  {name}: {told}{seed}");
        }
        let random = self.seed.map_or_else(String::new, |seed| {
            let declined =
                if self.declined > 0 { format!(", {} declined", self.declined) } else { String::new() };
            format!(", {} snapshots{declined}, seed {seed}", self.asked)
        });
        format!("ok    {name} ({} fuel{random})", grouped(self.most_fuel))
    }
}

/// What `--output json` prints. A contract: the names do not change.
#[derive(Debug, Serialize)]
struct Told {
    component: String,
    passed: usize,
    failed: usize,
    cases: Vec<ToldCase>,
}

#[derive(Debug, Serialize)]
struct ToldCase {
    name: String,
    passed: bool,
    complaints: Vec<String>,
    asked: u64,
    declined: u64,
    most_fuel: u64,
    seed: Option<u64>,
    failing_seed: Option<u64>,
}

impl Told {
    fn add(&mut self, case: &Case, outcome: Outcome) {
        let passed = outcome.complaints.is_empty();
        *(if passed { &mut self.passed } else { &mut self.failed }) += 1;
        self.cases.push(ToldCase {
            name: case.name.clone(),
            passed,
            failing_seed: outcome.failing_seed(),
            complaints: outcome.complaints,
            asked: outcome.asked,
            declined: outcome.declined,
            most_fuel: outcome.most_fuel,
            seed: outcome.seed,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(seed: Option<u64>, asked: u64) -> Outcome {
        let question = crate::command::decide::plain(enid_core::kind::Kind::MaxPods).unwrap();
        let complaints = vec!["fuel is 9, expected at most 8".to_owned()];
        Outcome { complaints, seed, asked, failed_on: Some(question), ..Outcome::default() }
    }

    #[test]
    fn a_failed_case_is_one_line_that_says_how_to_see_it_again() {
        assert_eq!(failed(None, 1).line("busy"), "FAIL  busy: fuel is 9, expected at most 8");
        assert_eq!(
            failed(Some(40), 3).line("any"),
            "FAIL  any: fuel is 9, expected at most 8 (again with seed = 42, random = 1)"
        );
    }

    #[test]
    fn cases_are_found_by_folder_and_by_file() {
        let test = |at: &Path| Test {
            at: at.to_owned(),
            component: None,
            component_only: false,
            keep: None,
            allowance: Allowance::default(),
            output: Output::Text,
        };
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(test(dir.path()).places(), (dir.path().to_owned(), dir.path().join("tests.toml")));
        let file = dir.path().join("more.toml");
        assert_eq!(test(&file).places(), (dir.path().to_owned(), file.clone()));
        assert_eq!(test(Path::new("x.toml")).places(), (".".into(), "x.toml".into()));
    }
}
