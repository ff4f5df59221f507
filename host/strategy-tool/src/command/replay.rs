//! `replay`: recorded questions, asked again.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::anyhow;
use clap::Args;
use enid_core::document::{Answer, Snapshot};
use enid_core::snapshot::Setting;
use enid_policy_wasm::comparison::Comparison;
use enid_policy_wasm::record::{History, Record, Verdict};
use enid_policy_wasm::runtime::Called;
use enid_policy_wasm::{Fault, question};
use serde::Serialize;

use crate::allowance::Allowance;
use crate::assignment;
use crate::failure::Failure;
use crate::output::{Output, Sheet, counted, grouped, print_json};
use crate::subject::{Steadiness, Subject, Workshop, read_snapshot};
use crate::verdict::Accepted;

/// Differences that are printed one by one; the rest is counted.
const SHOWN: usize = 10;

/// `enid strategy replay`.
#[derive(Debug, Args)]
pub struct Replay {
    /// The component file
    component: PathBuf,
    /// Records of a daemon (JSON Lines), or one snapshot that a component failed on
    #[arg(value_name = "RECORDS.jsonl|SNAPSHOT.json")]
    recorded: PathBuf,
    /// A setting, over the recorded ones; repeatable
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = assignment::parse)]
    settings: Vec<Setting>,
    /// Ask without the recorded settings: they may be another strategy's
    #[arg(long)]
    drop_settings: bool,
    #[command(flatten)]
    allowance: Allowance,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl Replay {
    pub(crate) fn run(&self) -> Result<ExitCode, Failure> {
        let subject = Workshop::open()?.open_component(&self.component, &self.allowance.limits()?)?;
        std::fs::metadata(&self.recorded).map_err(Failure::reading(&self.recorded))?;
        let history = History::read_file(&self.recorded).map_err(Failure::input)?;
        let mut replayed = Replayed::new(&subject, history.unreadable);
        if history.records.is_empty() {
            let question = read_snapshot(&self.recorded).map_err(|snapshot| {
                Failure::input(anyhow!(
                    "{} holds no records and no snapshot: {snapshot}",
                    self.recorded.display()
                ))
            })?;
            subject.fits(&question)?;
            replayed.alone(&subject, &self.asked(&question));
        } else {
            self.replay(&subject, history, &mut replayed)?;
        }
        match self.output {
            Output::Json => print_json(&replayed)?,
            Output::Text => replayed.print(&subject),
        }
        match replayed.complaint() {
            None => Ok(ExitCode::SUCCESS),
            Some(why) => Err(Failure::failed(anyhow!(why)).of(&self.component)),
        }
    }

    fn replay(&self, subject: &Subject, history: History, replayed: &mut Replayed) -> Result<(), Failure> {
        let all = history.records.len();
        let of_kind = history.records.into_iter().filter(|record| record.snapshot.kind() == subject.kind());
        let records: Vec<Record> = of_kind.collect();
        if records.is_empty() {
            return Err(Failure::input(anyhow!(
                "{} holds {}, none of them for a {} strategy",
                self.recorded.display(),
                counted(all, "record"),
                subject.kind()
            )));
        }
        let digest = subject.file.digest.hex();
        let unchanged = self.settings.is_empty() && !self.drop_settings;
        for record in &records {
            if unchanged && record.component.as_deref() == Some(digest.as_str()) {
                replayed.again(subject, record);
            } else {
                replayed.compare(subject, record, self.asked(&record.snapshot));
            }
        }
        Ok(())
    }

    /// A recorded question with the settings of this command line.
    fn asked(&self, recorded: &Snapshot) -> Snapshot {
        let mut question = recorded.clone();
        let settings = &mut question.context_mut().settings;
        if self.drop_settings {
            settings.clear();
        }
        assignment::apply(&self.settings, settings);
        question
    }
}

/// What came of it. Printed as JSON: a contract, the names do not change.
#[derive(Debug, Serialize)]
struct Replayed {
    /// Records of this very component that gave the same answer at the same cost.
    reproduced: u64,
    /// Records of this very component that did not.
    diverged: u64,
    /// The first of them, in words.
    divergences: Vec<String>,
    /// Records that cannot be reproduced: not asked at the time, or stopped by the clock.
    skipped: u64,
    /// Lines that are no records.
    unreadable: usize,
    /// Against what another component answered.
    comparison: Option<Comparison>,
    /// What it makes of a single snapshot.
    single: Option<Single>,
    /// What the component remembers, while it is compared.
    #[serde(skip)]
    state: Vec<u8>,
    #[serde(skip)]
    name: String,
}

/// A single snapshot, asked twice.
#[derive(Debug, Serialize)]
struct Single {
    answered: bool,
    steady: bool,
    told: String,
}

impl Replayed {
    fn new(subject: &Subject, unreadable: usize) -> Self {
        Self {
            reproduced: 0,
            diverged: 0,
            divergences: Vec::new(),
            skipped: 0,
            unreadable,
            comparison: None,
            single: None,
            state: Vec::new(),
            name: subject.guest.descriptor().name.clone(),
        }
    }

    /// Asks what this component was asked, which must give the same.
    fn again(&mut self, subject: &Subject, record: &Record) {
        let was_late = record.verdict == Verdict::Failed(Fault::Deadline.label().to_owned());
        if record.verdict == Verdict::Quarantined || was_late {
            self.skipped += 1;
            return;
        }
        match divergence(record, &subject.ask(&record.snapshot).called) {
            None => self.reproduced += 1,
            Some(why) => {
                self.diverged += 1;
                if self.divergences.len() < SHOWN {
                    self.divergences.push(format!("decision {}: {why}", record.decision));
                }
            }
        }
    }

    /// Asks what another component was asked, with this one's own memory.
    fn compare(&mut self, subject: &Subject, record: &Record, mut question: Snapshot) {
        question.context_mut().state = std::mem::take(&mut self.state);
        let comparison = self.comparison.get_or_insert_with(|| Comparison::with(&self.name));
        let judged = match subject.ask(&question).called.result {
            Ok(answer) => question::judge(&question, answer),
            Err(fault) => Err(fault.into()),
        };
        let judged = match judged {
            Ok(judged) => judged,
            Err(failing) => return comparison.failed(&failing.to_string()),
        };
        self.state = judged.state().to_vec();
        let Some(live) = &record.answer else {
            self.skipped += 1;
            return;
        };
        match question::judge(&record.snapshot, live.clone()) {
            Ok(live) => {
                let apart = question::difference(&record.snapshot, &live, &judged);
                let (live, judged) = (Accepted::from(live), Accepted::from(judged));
                comparison.both(record.decision, apart, &live.target, &judged.target);
            }
            Err(_) => self.skipped += 1,
        }
    }

    /// Asks a single question.
    fn alone(&mut self, subject: &Subject, question: &Snapshot) {
        let (asked, steadiness) = subject.ask_twice(question);
        let fuel = grouped(asked.called.cost.fuel);
        let judged = asked.called.result.map_err(enid_policy_wasm::fault::Failing::from);
        let (answered, mut told) = match judged.and_then(|answer| question::judge(question, answer)) {
            Ok(_) => (true, format!("it has an admissible answer, with {fuel} fuel")),
            Err(failing) => (false, format!("{failing} ({})", failing.label())),
        };
        if let Steadiness::Differs(why) = &steadiness {
            told = format!("{told}; {why}");
        }
        self.single = Some(Single { answered, steady: steadiness == Steadiness::Same, told });
    }

    /// Why the exit code is not 0. That another component answers differently is no failure.
    fn complaint(&self) -> Option<String> {
        if self.diverged > 0 {
            let all = counted(count(self.diverged + self.reproduced), "record");
            return Some(format!("{} of its own {all} did not come out as recorded", self.diverged));
        }
        let single = self.single.as_ref().filter(|single| !single.answered || !single.steady)?;
        Some(single.told.clone())
    }

    fn print(&self, subject: &Subject) {
        let mut sheet = Sheet::default();
        sheet.row("component", subject.title());
        if self.reproduced + self.diverged > 0 {
            let told =
                format!("{} with the same answer and fuel, {} otherwise", self.reproduced, self.diverged);
            sheet.row("its own records", told);
        }
        for divergence in &self.divergences {
            sheet.row("diverges", divergence.clone());
        }
        if let Some(comparison) = &self.comparison {
            sheet.row("against others'", comparison.to_string());
        }
        if let Some(single) = &self.single {
            sheet.row("snapshot", single.told.clone());
        }
        if self.skipped > 0 {
            sheet.row("skipped", counted(count(self.skipped), "record"));
        }
        if self.unreadable > 0 {
            sheet.row("unreadable", counted(self.unreadable, "line"));
        }
        sheet.print();
    }
}

fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// How a call differs from its record; `None` when it does not.
fn divergence(record: &Record, called: &Called<Answer>) -> Option<String> {
    match (&record.answer, &called.result) {
        (Some(then), Ok(now)) if !same(then, now) => {
            Some(format!("it answered {}, now {}", then.to_json().trim_end(), now.to_json().trim_end()))
        }
        (Some(_), Err(fault)) => Some(format!("it answered, now {fault}")),
        (None, Ok(_)) => Some(format!("it had no answer ({:?}), now it has one", record.verdict)),
        (None, Err(fault)) if record.verdict != Verdict::Failed(fault.label().to_owned()) => {
            Some(format!("it was {:?}, now {fault}", record.verdict))
        }
        (Some(_), Ok(_)) | (None, Err(_)) if record.fuel != called.cost.fuel => {
            let (then, now) = (grouped(record.fuel), grouped(called.cost.fuel));
            Some(format!("it used {then} fuel, now {now}"))
        }
        (Some(_), Ok(_)) | (None, Err(_)) => None,
    }
}

/// Whether two answers read the same: a record keeps the first annotation of each key only.
fn same(then: &Answer, now: &Answer) -> bool {
    then == now || then.to_json() == now.to_json()
}
