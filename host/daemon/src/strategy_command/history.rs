//! `enid strategy history`: decisions as they were written down.

use std::path::PathBuf;

use anyhow::{Context, anyhow};
use clap::Args;
use enid_core::ids::DecisionId;
use enid_core::kind::Kind;
use enid_core::time::Timestamp;
use enid_policy_wasm::record::{self, Record, Verdict};

use crate::ask::Output;
use crate::failure::Failure;

/// Which decisions.
#[derive(Debug, Args)]
pub(crate) struct History {
    /// What was decided about: warm-pool, max-pods or subnet-selection; all of them unless said
    #[arg(long)]
    kind: Option<Kind>,
    /// How many of the latest, for each kind
    #[arg(long, value_name = "N", default_value_t = 20, conflicts_with = "decision")]
    last: usize,
    /// One decision, in full: the number that `enid explain` and `enid status` show
    #[arg(long, value_name = "NUMBER")]
    decision: Option<DecisionId>,
    /// The daemon's runtime directory, which has the records
    #[arg(long, value_name = "DIRECTORY", default_value = "/run/enid")]
    runtime_dir: PathBuf,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl History {
    /// Prints what is asked for; an error when it is one decision and there is no record of it.
    pub(super) fn run(&self) -> Result<(), Failure> {
        let directory = self.runtime_dir.join("decisions");
        let kinds = self.kind.map_or_else(|| Kind::ALL.to_vec(), |kind| vec![kind]);
        let (mut records, mut unreadable) = (Vec::new(), 0);
        for kind in kinds {
            let history = record::History::read(&directory, kind).context("read the records")?;
            unreadable += history.unreadable;
            records.extend(self.chosen(history.records));
        }
        if let Some(decision) = self.decision.filter(|_| records.is_empty()) {
            let about = self.kind.map_or_else(String::new, |kind| format!("{kind} "));
            return Err(anyhow!(
                "there is no record of {about}decision {decision} in {}: the oldest are dropped, and a reboot \
                 drops all",
                directory.display()
            )
            .into());
        }
        records.sort_by_key(|record| record.wall_secs);
        match self.output {
            Output::Json => {
                let text = serde_json::to_string_pretty(&records).context("print the records")?;
                println!("{text}");
            }
            Output::Text => records.iter().for_each(|record| self.print(record)),
        }
        if unreadable > 0 {
            eprintln!("enid: {unreadable} records are unreadable and left out");
        }
        Ok(())
    }

    fn chosen(&self, mut records: Vec<Record>) -> Vec<Record> {
        match self.decision {
            Some(DecisionId(number)) => records.retain(|record| record.decision == number),
            None => drop(records.drain(..records.len().saturating_sub(self.last))),
        }
        records
    }

    fn print(&self, record: &Record) {
        let Record { decision, decided_by, rung, target, .. } = record;
        let (at, kind) = (Timestamp(record.wall_secs.saturating_mul(1000)).rfc3339(), record.snapshot.kind());
        println!("{at} {kind} decision {decision}: {target}, by {decided_by} ({rung})");
        if record.verdict != Verdict::Admitted {
            println!("  {} {}", record.strategy, in_words(&record.verdict));
        }
        for fault in &record.faults {
            println!("  fault: {fault}");
        }
        if self.decision.is_none() {
            return;
        }
        let component =
            record.component.as_ref().map_or_else(|| "none".to_owned(), |it| format!("sha256:{it}"));
        println!("  configured: {}, component {component}", record.strategy);
        println!("  cost: {} fuel, {} KiB, {} µs in all", record.fuel, record.memory / 1024, record.micros);
        println!("asked: {}", record.snapshot.to_json().trim_end());
        match &record.answer {
            Some(answer) => println!("answered: {}", answer.to_json().trim_end()),
            None => println!("it gave no answer"),
        }
    }
}

fn in_words(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Admitted => "was admitted".to_owned(),
        Verdict::Bent(how) => format!("was bent into range: {}", how.join("; ")),
        Verdict::Failed(how) => format!("failed: {how}"),
        Verdict::Quarantined => "is in quarantine and was not asked".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;
    use enid_core::report::Rung;
    use enid_core::specimen;

    use super::*;

    #[derive(Parser)]
    struct Words {
        #[command(flatten)]
        history: History,
    }

    fn history(words: &[&str]) -> History {
        let all = [&["history"], words].concat();
        Words::try_parse_from(all).unwrap_or_else(|why| panic!("{why}")).history
    }

    fn record(decision: u64) -> Record {
        Record {
            decision,
            wall_secs: 1_700_000_000 + decision,
            strategy: "pool@0123".into(),
            component: None,
            snapshot: specimen::random(Kind::WarmPool, decision),
            answer: None,
            verdict: Verdict::Failed("trap".into()),
            fuel: 0,
            memory: 0,
            micros: 9,
            rung: Rung::Builtin,
            decided_by: "builtin".into(),
            target: "3 ready".into(),
            faults: Vec::new(),
        }
    }

    fn numbers(records: &[Record]) -> Vec<u64> {
        records.iter().map(|record| record.decision).collect()
    }

    #[test]
    fn the_latest_or_exactly_one_are_chosen() {
        let all = || (0..30).map(record).collect::<Vec<_>>();
        assert_eq!(numbers(&history(&["--last", "2"]).chosen(all())), [28, 29]);
        assert_eq!(history(&[]).chosen(all()).len(), 20);
        assert_eq!(numbers(&history(&["--decision", "7"]).chosen(all())), [7]);
        assert_eq!(numbers(&history(&["--decision", "77"]).chosen(all())), [0u64; 0]);
        assert!(Words::try_parse_from(["history", "--decision", "7", "--last", "2"]).is_err());
        assert!(Words::try_parse_from(["history", "--kind", "pool"]).is_err());
    }

    #[test]
    fn a_decision_without_a_record_is_an_error_and_no_records_are_none() {
        let dir = tempfile::tempdir().unwrap();
        let at = |words: &[&str], dir: &Path| {
            let all = [words, &["--runtime-dir", dir.to_str().unwrap()]].concat();
            history(&all).run()
        };
        assert!(at(&[], dir.path()).is_ok());
        let missing = at(&["--kind", "max-pods", "--decision", "7"], dir.path()).unwrap_err();
        assert!(missing.to_string().contains("no record of max-pods decision 7"), "{missing}");
    }
}
