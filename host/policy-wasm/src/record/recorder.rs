//! Writes records on a thread of its own: a decision never waits for a file.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use enid_core::document::Snapshot;
use enid_core::kind::Kind;

use super::{MAX_FILE, MAX_RECORD, RECORDS_PER_FILE, Record, newer, older};
use crate::quarantine::Quarantined;

/// What may wait to be written; more is dropped and counted.
const QUEUE: usize = 256;
/// Faulting snapshots that are kept; the first of each component and kind of fault is.
const MAX_FAULT_FILES: usize = 64;

/// Takes what is to be written down.
#[derive(Debug)]
pub(crate) struct Recorder {
    directory: PathBuf,
    queue: Option<SyncSender<Note>>,
    dropped: AtomicU64,
    /// Who is in quarantine by now, until that is on file: only the latest list matters.
    quarantine: Arc<Mutex<Option<Vec<Quarantined>>>>,
    writer: Option<JoinHandle<()>>,
}

enum Note {
    Decision(Box<Record>),
    Fault {
        name: String,
        snapshot: Box<Snapshot>,
    },
    /// The list has changed; what it is now is in [`Recorder::quarantine`].
    Quarantine,
    /// Answered when everything before it is on file.
    Flush(SyncSender<()>),
}

impl Recorder {
    /// Starts writing into `directory`, which is made when it is missing.
    pub(crate) fn start(directory: PathBuf) -> std::io::Result<Self> {
        std::fs::create_dir_all(directory.join("faults"))?;
        let (queue, notes) = sync_channel(QUEUE);
        let quarantine = Arc::new(Mutex::new(None));
        let (theirs, listed) = (directory.clone(), Arc::clone(&quarantine));
        let writer = std::thread::Builder::new()
            .name("decision-records".into())
            .spawn(move || write_all(&theirs, &notes, &listed))?;
        Ok(Self {
            directory,
            queue: Some(queue),
            dropped: AtomicU64::new(0),
            quarantine,
            writer: Some(writer),
        })
    }

    /// Writes down a decision.
    pub(crate) fn decision(&self, record: Record) {
        self.note(Note::Decision(Box::new(record)));
    }

    /// Keeps the question that a component failed on, for its author.
    pub(crate) fn fault(&self, digest: &str, label: &str, snapshot: &Snapshot) {
        let digits = digest.get(..12).unwrap_or(digest);
        let name = format!("{digits}-{label}.json");
        self.note(Note::Fault { name, snapshot: Box::new(snapshot.clone()) });
    }

    /// Writes down who is in quarantine.
    pub(crate) fn quarantine(&self, quarantined: Vec<Quarantined>) {
        *self.quarantine.lock().unwrap_or_else(PoisonError::into_inner) = Some(quarantined);
        // When there is no room for it, there are notes before it, and the list is looked at after each.
        if let Some(queue) = &self.queue {
            let _full = queue.try_send(Note::Quarantine);
        }
    }

    /// Who was in quarantine when the last daemon wrote it down.
    pub(crate) fn quarantined(&self) -> Vec<Quarantined> {
        let text = std::fs::read(quarantine_file(&self.directory)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Where the records are.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Waits until everything so far is on file.
    pub(crate) fn flush(&self) {
        let (done, written) = sync_channel(1);
        if let Some(queue) = &self.queue
            && queue.send(Note::Flush(done)).is_ok()
        {
            // An error means that the writer is gone; it says why itself.
            let _gone = written.recv();
        }
    }

    fn note(&self, note: Note) {
        let Some(queue) = &self.queue else { return };
        match queue.try_send(note) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                let dropped = self.dropped.fetch_add(1, Ordering::Relaxed) + 1;
                if dropped.is_power_of_two() {
                    tracing::warn!(dropped, "decisions come faster than they can be written down");
                }
            }
            Err(TrySendError::Disconnected(_)) => {}
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(writer) = self.writer.take() {
            // Its panic was reported when it happened.
            let _ended = writer.join();
        }
    }
}

fn quarantine_file(directory: &Path) -> PathBuf {
    directory.join("quarantine.json")
}

fn write_all(directory: &Path, notes: &Receiver<Note>, listed: &Mutex<Option<Vec<Quarantined>>>) {
    let mut files = Kind::ALL.map(|kind| Lines::open(directory, kind));
    let mut last_failure = None;
    for note in notes {
        let quarantined = listed.lock().unwrap_or_else(PoisonError::into_inner).take();
        let listed = quarantined.map_or(Ok(()), |quarantined| {
            let text = serde_json::to_vec_pretty(&quarantined).map_err(std::io::Error::other)?;
            replace(&quarantine_file(directory), &text)
        });
        let written = match note {
            Note::Decision(record) => {
                let kind = record.snapshot.kind();
                match files.iter_mut().find(|lines| lines.kind == kind) {
                    Some(lines) => lines.add(directory, &record),
                    None => Ok(()),
                }
            }
            Note::Fault { name, snapshot } => keep_fault(directory, &name, &snapshot),
            Note::Quarantine => Ok(()),
            Note::Flush(done) => {
                // Whoever waited may be gone.
                let _gone = done.send(());
                continue;
            }
        };
        // A full disk is said once, not with every decision.
        let failure = written.and(listed).err().map(|why| why.to_string());
        if let Some(why) = failure.as_ref().filter(|_| failure != last_failure) {
            tracing::warn!(directory = %directory.display(), reason = why, "decisions cannot be written down");
        }
        last_failure = failure;
    }
}

/// The file of one kind that is being written.
struct Lines {
    kind: Kind,
    file: Option<File>,
    lines: usize,
    bytes: u64,
}

impl Lines {
    /// Goes on with what an earlier daemon wrote.
    fn open(directory: &Path, kind: Kind) -> Self {
        let written = std::fs::read(newer(directory, kind)).unwrap_or_default();
        let lines = written.iter().filter(|byte| **byte == b'\n').count();
        let torn = written.last().is_some_and(|last| *last != b'\n');
        // After a torn line a new file begins, so that no record is glued to half of another.
        let lines = if torn { RECORDS_PER_FILE } else { lines };
        Self { kind, file: None, lines, bytes: u64::try_from(written.len()).unwrap_or(u64::MAX) }
    }

    fn add(&mut self, directory: &Path, record: &Record) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(record)?;
        if line.len() > MAX_RECORD {
            return Err(std::io::Error::other(format!("a record has more than {MAX_RECORD} bytes")));
        }
        line.push(b'\n');
        let path = newer(directory, self.kind);
        if self.lines >= RECORDS_PER_FILE || self.bytes >= MAX_FILE {
            self.file = None;
            match std::fs::rename(&path, older(directory, self.kind)) {
                // Somebody tidied up; there is nothing to keep.
                Err(why) if why.kind() == std::io::ErrorKind::NotFound => {}
                renamed => renamed?,
            }
            (self.lines, self.bytes) = (0, 0);
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(File::options().create(true).append(true).open(path)?),
        };
        if let Err(why) = file.write_all(&line) {
            // Half a line may be there, which no record must be glued to.
            self.lines = RECORDS_PER_FILE;
            return Err(why);
        }
        self.lines += 1;
        self.bytes += u64::try_from(line.len()).unwrap_or(u64::MAX);
        Ok(())
    }
}

fn keep_fault(directory: &Path, name: &str, snapshot: &Snapshot) -> std::io::Result<()> {
    let faults = directory.join("faults");
    let path = faults.join(name);
    if path.exists() || std::fs::read_dir(&faults)?.count() >= MAX_FAULT_FILES {
        return Ok(());
    }
    replace(&path, snapshot.to_json().as_bytes())
}

/// Writes beside and renames, so that nobody reads half a file.
fn replace(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let fresh = path.with_extension("new");
    std::fs::write(&fresh, text)?;
    std::fs::rename(fresh, path)
}

#[cfg(test)]
mod tests {
    use super::super::History;
    use super::super::tests::record;
    use super::*;

    #[test]
    fn the_last_records_are_kept_and_files_stay_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let recorder = Recorder::start(dir.path().to_owned()).unwrap();
        for decision in 0..600 {
            recorder.decision(record(decision, Kind::MaxPods));
            recorder.flush();
        }
        let history = History::read(dir.path(), Kind::MaxPods).unwrap();
        let numbers: Vec<u64> = history.records.iter().map(|record| record.decision).collect();
        assert_eq!(numbers, (256..600).collect::<Vec<u64>>());
        assert_eq!(history.unreadable, 0);
    }

    #[test]
    fn a_torn_last_line_costs_only_itself() {
        let dir = tempfile::tempdir().unwrap();
        let first = Recorder::start(dir.path().to_owned()).unwrap();
        first.decision(record(1, Kind::MaxPods));
        drop(first);
        let path = newer(dir.path(), Kind::MaxPods);
        let text = std::fs::read(&path).unwrap();
        std::fs::write(&path, [text.as_slice(), &text[..text.len() / 2]].concat()).unwrap();
        let second = Recorder::start(dir.path().to_owned()).unwrap();
        second.decision(record(2, Kind::MaxPods));
        drop(second);
        let history = History::read(dir.path(), Kind::MaxPods).unwrap();
        let numbers: Vec<u64> = history.records.iter().map(|record| record.decision).collect();
        assert_eq!((numbers, history.unreadable), (vec![1, 2], 1));
    }

    #[test]
    fn the_first_faulting_snapshot_of_a_kind_is_kept_as_a_document() {
        let dir = tempfile::tempdir().unwrap();
        let recorder = Recorder::start(dir.path().to_owned()).unwrap();
        let digest = "ab".repeat(32);
        let first = record(1, Kind::WarmPool).snapshot;
        recorder.fault(&digest, "trap", &first);
        recorder.fault(&digest, "trap", &record(2, Kind::WarmPool).snapshot);
        drop(recorder);
        let text = std::fs::read_to_string(dir.path().join("faults/abababababab-trap.json")).unwrap();
        assert_eq!(Snapshot::from_json(&text).unwrap(), first);
    }
}
