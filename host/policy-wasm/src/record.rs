//! What was decided, written down: one JSON document per line, bounded, for people, replay and admission.
//!
//! `wit/README.md` describes the format. A record holds the question exactly as the strategy was asked it, so
//! asking the same component again gives the same answer and uses the same fuel. Nothing in it needs to be
//! hidden: snapshots carry no addresses and no names of pods.

mod recorder;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use enid_component_store::Digest;
use enid_core::document::{Answer, Body, Snapshot};
use enid_core::kind::Kind;
use enid_core::report::Rung;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize, Serializer};

pub(crate) use recorder::Recorder;

/// The format of a record; another number is another format.
pub const RECORD_FORMAT: &str = "enid.record/1";
/// Records that one file holds; there are two per kind, the older of which is dropped whole.
pub const RECORDS_PER_FILE: usize = 256;
/// Bytes that one file holds: the files are on a memory file system.
const MAX_FILE: u64 = 4 << 20;
/// Bytes that one record may have; a longer one is not written.
const MAX_RECORD: usize = 1 << 20;

/// One decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its number, rising per kind, over restarts of the daemon within one boot.
    pub decision: u64,
    /// When, in seconds since the Unix epoch.
    pub wall_secs: u64,
    /// The configured strategy: the operator's name and the first digits of its digest.
    pub strategy: String,
    /// SHA-256 of its component, 64 hexadecimal digits; `None` for the strategy compiled into the host.
    pub component: Option<String>,
    /// The question as the configured strategy was, or would have been, asked it.
    pub snapshot: Snapshot,
    /// What it answered, before admission; `None` when it was not asked or had no answer.
    pub answer: Option<Answer>,
    /// What became of it.
    pub verdict: Verdict,
    /// What the call cost; zero when it was not asked.
    pub fuel: u64,
    /// Linear memory at the end of the call, bytes.
    pub memory: u64,
    /// How long the whole decision took, microseconds.
    pub micros: u64,
    /// The rung that answered.
    pub rung: Rung,
    /// Who stood on it.
    pub decided_by: String,
    /// What the host aims for since, in words.
    pub target: String,
    /// What went wrong on the way down, in words.
    pub faults: Vec<String>,
}

/// What became of the configured strategy's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It was let through as it was.
    Admitted,
    /// It was let through after these were bent into range.
    Bent(Vec<String>),
    /// It failed or was refused: one word for how.
    Failed(String),
    /// It was not asked: it is in quarantine.
    Quarantined,
}

/// Why records cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// A file cannot be read.
    #[error("read {}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        why: std::io::Error,
    },
}

/// The records of one kind, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The records.
    pub records: Vec<Record>,
    /// Lines that are no records: torn by a crash, or of another version.
    pub unreadable: usize,
}

impl History {
    /// The records in `directory`, as a daemon left them or is writing them; empty when there are none.
    pub fn read(directory: &Path, kind: Kind) -> Result<Self, RecordError> {
        let mut history = Self::default();
        for path in [older(directory, kind), newer(directory, kind)] {
            history.add_file(&path)?;
        }
        Ok(history)
    }

    /// The records in one file.
    pub fn read_file(path: &Path) -> Result<Self, RecordError> {
        let mut history = Self::default();
        history.add_file(path)?;
        Ok(history)
    }

    fn add_file(&mut self, path: &Path) -> Result<(), RecordError> {
        let failed = |why| RecordError::Io { path: path.to_owned(), why };
        let file = match std::fs::File::open(path) {
            Ok(file) => file,
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(why) => return Err(failed(why)),
        };
        let mut lines = BufReader::new(std::io::Read::take(file, 2 * MAX_FILE));
        let mut line = Vec::new();
        loop {
            line.clear();
            if lines.read_until(b'\n', &mut line).map_err(failed)? == 0 {
                return Ok(());
            }
            match Record::from_json(&line) {
                Ok(record) => self.records.push(record),
                Err(_) => self.unreadable += 1,
            }
        }
    }
}

/// The file that is being written.
fn newer(directory: &Path, kind: Kind) -> PathBuf {
    directory.join(format!("{kind}.jsonl"))
}

/// The file before it.
fn older(directory: &Path, kind: Kind) -> PathBuf {
    directory.join(format!("{kind}.1.jsonl"))
}

/// What a line says about itself.
#[derive(Deserialize)]
struct Mark {
    format: String,
    kind: Kind,
}

/// A record as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<F, S, A> {
    format: F,
    decision: u64,
    kind: Kind,
    wall_secs: u64,
    strategy: String,
    component: Option<String>,
    snapshot_digest: Digest,
    snapshot: S,
    answer: Option<A>,
    verdict: Verdict,
    fuel: u64,
    memory: u64,
    micros: u64,
    rung: Rung,
    decided_by: String,
    target: String,
    faults: Vec<String>,
}

/// The digest of a question, over its compact JSON.
pub fn snapshot_digest(snapshot: &Snapshot) -> Digest {
    let text = serde_json::to_vec(&Body(snapshot));
    Digest::of(&text.expect("invariant: a snapshot has no maps with keys that are not text"))
}

impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let line = Line {
            format: RECORD_FORMAT,
            decision: self.decision,
            kind: self.snapshot.kind(),
            wall_secs: self.wall_secs,
            strategy: self.strategy.clone(),
            component: self.component.clone(),
            snapshot_digest: snapshot_digest(&self.snapshot),
            snapshot: Body(&self.snapshot),
            answer: self.answer.as_ref().map(Body),
            verdict: self.verdict.clone(),
            fuel: self.fuel,
            memory: self.memory,
            micros: self.micros,
            rung: self.rung,
            decided_by: self.decided_by.clone(),
            target: self.target.clone(),
            faults: self.faults.clone(),
        };
        line.serialize(serializer)
    }
}

impl Record {
    /// Reads a line.
    ///
    /// In two goes, because the kind says of what types the rest is: by way of an untyped document the settings
    /// would lose their order, and a component that is asked again would use another amount of fuel.
    pub fn from_json(line: &[u8]) -> serde_json::Result<Self> {
        let Mark { format, kind } = serde_json::from_slice(line)?;
        if format != RECORD_FORMAT {
            let why = format_args!("the record's format is not {RECORD_FORMAT}");
            return Err(serde::de::Error::custom(why));
        }
        match kind {
            Kind::WarmPool => Self::of(line, Snapshot::WarmPool, Answer::WarmPool),
            Kind::MaxPods => Self::of(line, Snapshot::MaxPods, Answer::MaxPods),
            Kind::SubnetSelection => Self::of(line, Snapshot::SubnetSelection, Answer::SubnetSelection),
        }
    }

    fn of<S: DeserializeOwned, A: DeserializeOwned>(
        line: &[u8],
        question: fn(S) -> Snapshot,
        answer: fn(A) -> Answer,
    ) -> serde_json::Result<Self> {
        let line: Line<String, S, A> = serde_json::from_slice(line)?;
        let snapshot = question(line.snapshot);
        snapshot.check_lengths().map_err(serde::de::Error::custom)?;
        Ok(Self {
            decision: line.decision,
            wall_secs: line.wall_secs,
            strategy: line.strategy,
            component: line.component,
            snapshot,
            answer: line.answer.map(answer),
            verdict: line.verdict,
            fuel: line.fuel,
            memory: line.memory,
            micros: line.micros,
            rung: line.rung,
            decided_by: line.decided_by,
            target: line.target,
            faults: line.faults,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use enid_core::specimen;

    pub(super) fn record(decision: u64, kind: Kind) -> Record {
        Record {
            decision,
            wall_secs: 1_700_000_000,
            strategy: "x@0123".into(),
            component: Some("01".repeat(32)),
            snapshot: specimen::random(kind, decision),
            answer: None,
            verdict: Verdict::Bent(vec!["ready_low 5 bent to 3".into()]),
            fuel: 12,
            memory: 65536,
            micros: 30,
            rung: Rung::Live,
            decided_by: "x@0123".into(),
            target: "3–∞ ready, 0 held".into(),
            faults: vec!["x@0123: it trapped".into()],
        }
    }

    #[test]
    fn a_record_comes_back_as_it_was() {
        for kind in Kind::ALL {
            let record = record(7, kind);
            let text = serde_json::to_string(&record).unwrap();
            assert!(!text.contains('\n'));
            assert_eq!(Record::from_json(text.as_bytes()).unwrap(), record);
        }
    }

    #[test]
    fn lines_that_are_no_records_are_counted_and_skipped() {
        let dir = tempfile::tempdir().unwrap();
        let good = serde_json::to_string(&record(1, Kind::MaxPods)).unwrap();
        let torn = &good[..good.len() / 2];
        let newer_format = good.replace("enid.record/1", "enid.record/9");
        std::fs::write(newer(dir.path(), Kind::MaxPods), format!("{good}\n{newer_format}\n{torn}")).unwrap();
        let history = History::read(dir.path(), Kind::MaxPods).unwrap();
        assert_eq!((history.records.len(), history.unreadable), (1, 2));
    }

    #[test]
    fn no_records_are_an_empty_history() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(History::read(dir.path(), Kind::WarmPool).unwrap(), History::default());
    }
}
