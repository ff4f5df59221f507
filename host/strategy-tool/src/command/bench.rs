//! `bench`: what decisions cost, against the limits and against another component.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use enid_core::document::Snapshot;
use enid_core::snapshot::Setting;
use enid_core::specimen;
use enid_policy_wasm::Limits;
use serde::Serialize;

use crate::allowance::Allowance;
use crate::assignment;
use crate::failure::Failure;
use crate::output::{Output, Sheet, bytes, grouped, millis, print_json, wide};
use crate::subject::{Subject, Workshop};

/// Made-up questions besides the corners.
const RANDOM: u64 = 200;
/// The seed of the made-up questions: every run measures the same work.
const SEED: u64 = 1;

/// `enid strategy bench`.
#[derive(Debug, Args)]
pub struct Bench {
    /// The component file
    component: PathBuf,
    /// Another component, measured in turn with the first; ratios are printed
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Decisions to time, for each component
    #[arg(long, value_name = "N", default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    decisions: u32,
    /// A setting; repeatable
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = assignment::parse)]
    settings: Vec<Setting>,
    #[command(flatten)]
    allowance: Allowance,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl Bench {
    pub(crate) fn run(&self) -> Result<ExitCode, Failure> {
        let limits = self.allowance.limits()?;
        let workshop = Workshop::open()?;
        let mut subjects = vec![workshop.open_component(&self.component, &limits)?];
        if let Some(baseline) = &self.baseline {
            let baseline = workshop.open_component(baseline, &limits)?;
            if baseline.kind() != subjects[0].kind() {
                return Err(Failure::input(anyhow!(
                    "the baseline {} is a {} strategy; it must be a {} strategy as {} is",
                    baseline.file.path.display(),
                    baseline.kind(),
                    subjects[0].kind(),
                    self.component.display()
                )));
            }
            subjects.push(baseline);
        }
        let questions = questions(&subjects[0], &self.settings);
        let mut runs: Vec<Run> = subjects.iter().map(|subject| Run::warm(subject, &questions)).collect();
        for at in 0..self.decisions {
            let question = &questions[usize::try_from(at).unwrap_or(0) % questions.len()];
            for run in &mut runs {
                run.time(question);
            }
        }
        let measured = runs.into_iter().map(Run::sum).collect::<Result<Vec<Measured>, Failure>>()?;
        match self.output {
            Output::Json => print_json(&Printed::of(&measured))?,
            Output::Text => print(&measured, &self.allowance.limits_on_a_node()?),
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Corners and chance, with these settings.
fn questions(subject: &Subject, settings: &[Setting]) -> Vec<Snapshot> {
    let corners = specimen::corners(subject.kind()).into_iter().map(|(_, corner)| corner);
    let random = (0..RANDOM).map(|at| specimen::random(subject.kind(), SEED.wrapping_add(at)));
    let mut questions: Vec<Snapshot> = corners.chain(random).collect();
    for question in &mut questions {
        question.context_mut().settings = settings.to_vec();
    }
    questions
}

/// A component being measured.
struct Run<'a> {
    subject: &'a Subject,
    fuel: Vec<u64>,
    memory: u64,
    times: Vec<Duration>,
    without_answer: BTreeMap<&'static str, u32>,
    questions: usize,
}

impl<'a> Run<'a> {
    /// Asks every question once: what does not depend on the clock is known then, and caches are warm.
    fn warm(subject: &'a Subject, questions: &[Snapshot]) -> Self {
        let mut run = Self {
            subject,
            fuel: Vec::new(),
            memory: 0,
            times: Vec::new(),
            without_answer: BTreeMap::new(),
            questions: questions.len(),
        };
        for question in questions {
            let called = subject.ask(question).called;
            run.memory = run.memory.max(called.cost.memory);
            match called.result {
                Ok(_) => run.fuel.push(called.cost.fuel),
                Err(fault) => *run.without_answer.entry(fault.label()).or_default() += 1,
            }
        }
        run
    }

    fn time(&mut self, question: &Snapshot) {
        let asked = self.subject.ask(question);
        if asked.called.result.is_ok() {
            self.times.push(asked.took);
        }
    }

    fn sum(mut self) -> Result<Measured, Failure> {
        self.fuel.sort_unstable();
        self.times.sort_unstable();
        let (Some(fuel_p50), Some(fuel_most)) = (percentile(&self.fuel, 50), self.fuel.last()) else {
            let labels: Vec<&str> = self.without_answer.keys().copied().collect();
            return Err(Failure::failed(anyhow!(
                "{} answered none of {} questions ({}); see `enid strategy decide`",
                self.subject.file.path.display(),
                self.questions,
                labels.join(", ")
            )));
        };
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let timed = |percent| percentile(&self.times, percent).map_or(0, nanos);
        Ok(Measured {
            component: self.subject.title(),
            questions: self.questions,
            without_answer: self.without_answer,
            timed: self.times.len(),
            p50_nanos: timed(50),
            p99_nanos: timed(99),
            fuel_p50,
            fuel_most: *fuel_most,
            memory_bytes: self.memory,
            compile_nanos: nanos(self.subject.compiling),
            load_nanos: nanos(self.subject.loading),
            component_bytes: wide(self.subject.file.bytes.len()),
            code_bytes: wide(self.subject.artifact.bytes()),
        })
    }
}

/// The smallest value that is not below `percent` of the sorted ones.
fn percentile<T: Copy>(sorted: &[T], percent: usize) -> Option<T> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

/// What one component costs.
#[derive(Clone, Debug, Serialize)]
struct Measured {
    component: String,
    questions: usize,
    /// Questions that it had no answer to, by what went wrong.
    without_answer: BTreeMap<&'static str, u32>,
    timed: usize,
    p50_nanos: u64,
    p99_nanos: u64,
    fuel_p50: u64,
    fuel_most: u64,
    memory_bytes: u64,
    compile_nanos: u64,
    load_nanos: u64,
    component_bytes: u64,
    code_bytes: u64,
}

/// One line of the result.
struct Line {
    name: &'static str,
    of: fn(&Measured) -> u64,
    shown: fn(u64) -> String,
    limit: fn(&Limits) -> Option<u64>,
}

/// Everything that is compared.
const LINES: [Line; 9] = [
    Line { name: "decision p50", of: |m| m.p50_nanos, shown: in_micros, limit: |_| None },
    Line { name: "decision p99", of: |m| m.p99_nanos, shown: in_micros, limit: deadline },
    Line { name: "fuel p50", of: |m| m.fuel_p50, shown: grouped, limit: |_| None },
    Line { name: "fuel most", of: |m| m.fuel_most, shown: grouped, limit: |l| Some(l.fuel) },
    Line { name: "memory most", of: |m| m.memory_bytes, shown: bytes, limit: |l| Some(wide(l.memory)) },
    Line {
        name: "component",
        of: |m| m.component_bytes,
        shown: bytes,
        limit: |l| Some(wide(l.component_bytes)),
    },
    Line { name: "machine code", of: |m| m.code_bytes, shown: bytes, limit: |_| None },
    Line { name: "compile", of: |m| m.compile_nanos, shown: in_millis, limit: |_| None },
    Line { name: "load", of: |m| m.load_nanos, shown: in_millis, limit: |_| None },
];

fn deadline(limits: &Limits) -> Option<u64> {
    u64::try_from(limits.deadline.as_nanos()).ok()
}

fn in_micros(nanos: u64) -> String {
    format!("{}.{} µs", nanos / 1000, nanos / 100 % 10)
}

fn in_millis(nanos: u64) -> String {
    millis(Duration::from_nanos(nanos))
}

fn print(measured: &[Measured], limits: &Limits) {
    let Some(first) = measured.first() else { return };
    let baseline = measured.get(1);
    let mut sheet = Sheet::default();
    sheet.row("component", first.component.clone());
    if let Some(baseline) = baseline {
        sheet.row("baseline", baseline.component.clone());
    }
    sheet.row("questions", format!("{}, {} decisions timed", first.questions, first.timed));
    for (label, count) in &first.without_answer {
        sheet.row("no answer", format!("{count} × {label}"));
    }
    for Line { name, of, shown, limit } in LINES {
        let mut text = shown(of(first));
        if let Some(limit) = limit(limits) {
            let hundredth = of(first) > limit / 100;
            let share =
                if hundredth { format!("{} %", percent(of(first), limit)) } else { "under 1 %".into() };
            text.push_str(&format!(" ({share} of {})", shown(limit)));
        }
        if let Some(baseline) = baseline {
            text.push_str(&format!(", {} × {}", ratio(of(first), of(baseline)), shown(of(baseline))));
        }
        sheet.row(name, text);
    }
    sheet.print();
}

fn percent(part: u64, whole: u64) -> u128 {
    (u128::from(part) * 100).div_ceil(u128::from(whole.max(1)))
}

/// With two decimals.
fn ratio(part: u64, whole: u64) -> String {
    let hundredths = u128::from(part) * 100 / u128::from(whole.max(1));
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

/// What `--output json` prints. A contract: the names do not change.
#[derive(Debug, Serialize)]
struct Printed<'a> {
    #[serde(flatten)]
    component: Option<&'a Measured>,
    baseline: Option<&'a Measured>,
    /// The component's figures over the baseline's, in thousandths.
    ratio_milli: Option<BTreeMap<&'static str, u64>>,
}

impl<'a> Printed<'a> {
    fn of(measured: &'a [Measured]) -> Self {
        let (component, baseline) = (measured.first(), measured.get(1));
        let ratio_milli = component.zip(baseline).map(|(component, baseline)| {
            let milli = |line: &Line| {
                let whole = u128::from((line.of)(baseline).max(1));
                u64::try_from(u128::from((line.of)(component)) * 1000 / whole).unwrap_or(u64::MAX)
            };
            LINES.iter().map(|line| (line.name, milli(line))).collect()
        });
        Self { component, baseline, ratio_milli }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let sorted: Vec<u32> = (1..=200).collect();
        assert_eq!([percentile(&sorted, 50), percentile(&sorted, 99)], [Some(100), Some(198)]);
        assert_eq!(percentile(&[7], 50), Some(7));
        assert_eq!(percentile::<u32>(&[], 50), None);
    }

    #[test]
    fn ratios_have_two_decimals_and_survive_zero() {
        assert_eq!([ratio(3, 2), ratio(1, 1), ratio(1, 0)], ["1.50", "1.00", "1.00"]);
    }
}
