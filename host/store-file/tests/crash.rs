//! What is left after a crash, a full disk and a flipped bit.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use enid_store_file::{Journal, JournalError, Replay};
use proptest::prelude::*;
use rustix::process::{Resource, Rlimit, setrlimit};

/// The appends of a journal, and its file.
fn written(dir: &Path, appends: &[Vec<u32>]) -> Vec<u8> {
    let (mut journal, _) = Journal::open(dir).expect("a fresh journal");
    for records in appends {
        journal.append(records).expect("room");
    }
    fs::read(dir.join("journal")).expect("a file")
}

fn reopened(dir: &Path, bytes: &[u8]) -> Result<Replay<u32>, JournalError> {
    fs::write(dir.join("journal"), bytes).expect("room");
    Journal::open(dir).map(|(_, replay)| replay)
}

/// How many records whole appends amount to when only `length` records' worth of them is there.
fn is_whole_prefix(records: &[u32], appends: &[Vec<u32>]) -> bool {
    (0..=appends.len()).any(|count| appends[..count].concat() == records)
}

#[test]
fn truncation_at_any_byte_leaves_whole_appends_and_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let appends = vec![vec![1], vec![2, 3, 4], vec![5], vec![66_666, 7]];
    let bytes = written(dir.path(), &appends);
    let mut most = 0;
    for length in 0..=bytes.len() {
        let replay = reopened(dir.path(), &bytes[..length]).unwrap();
        assert!(is_whole_prefix(&replay.records, &appends), "{length}: {replay:?}");
        assert!(replay.records.len() >= most, "{length}: a longer file gives no fewer records");
        most = replay.records.len();
        let at_a_line_end = bytes[..length].ends_with(b"\n");
        assert_eq!(replay.torn.is_none(), at_a_line_end, "{length}: {replay:?}");
        if let Some(torn) = replay.torn {
            assert_eq!(torn.offset + torn.bytes, length as u64);
        }
        // The cut is durable, and the journal goes on behind it.
        let (mut journal, again) = Journal::open(dir.path()).unwrap();
        assert_eq!((again.records, again.torn), (replay.records.clone(), None));
        journal.append(&[99]).unwrap();
        drop(journal);
        let (_, last) = Journal::<u32>::open(dir.path()).unwrap();
        assert_eq!(last.records, [replay.records, vec![99]].concat());
    }
    assert_eq!(most, 7);
}

#[test]
fn no_flipped_bit_is_accepted_silently() {
    let dir = tempfile::tempdir().unwrap();
    let appends = vec![vec![1], vec![2, 3], vec![4], vec![0]];
    let bytes = written(dir.path(), &appends);
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        match reopened(dir.path(), &damaged) {
            Ok(replay) => {
                // Only the very last line's end can look like an append that was not finished.
                assert!(replay.torn.is_some(), "bit {bit}: {replay:?}");
                assert_eq!(replay.records, [1, 2, 3, 4], "bit {bit}");
            }
            Err(JournalError::Corrupt { offset, .. }) => {
                assert!(offset <= bit as u64 / 8, "bit {bit}");
                assert_eq!(
                    fs::read(dir.path().join("journal")).unwrap(),
                    damaged,
                    "bit {bit}: kept as it was"
                );
            }
            Err(JournalError::Newer { .. } | JournalError::NotAJournal { .. }) => {
                assert!(bit / 8 < 15, "bit {bit}")
            }
            Err(other) => panic!("bit {bit}: {other}"),
        }
    }
}

#[test]
fn damage_is_told_with_its_place_and_a_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let mut bytes = written(dir.path(), &[vec![1], vec![2], vec![3]]);
    let second = 15 + 22;
    bytes[second + 19] = b'7';
    let error = reopened(dir.path(), &bytes).unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&format!("byte {second}")) && text.contains("moving it away"), "{text}");
}

#[test]
fn zeros_after_a_power_failure_are_a_torn_tail() {
    let dir = tempfile::tempdir().unwrap();
    let mut bytes = written(dir.path(), &[vec![1], vec![2]]);
    bytes.extend_from_slice(&[0; 4096]);
    let replay = reopened(dir.path(), &bytes).unwrap();
    assert_eq!((replay.records, replay.torn.map(|torn| torn.bytes)), (vec![1, 2], Some(4096)));
}

proptest! {
    #[test]
    fn any_appends_survive_any_truncation(
        appends in prop::collection::vec(prop::collection::vec(any::<u32>(), 1..5), 0..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let bytes = written(dir.path(), &appends);
        let replay = reopened(dir.path(), &bytes[..cut.index(bytes.len() + 1)]).unwrap();
        prop_assert!(is_whole_prefix(&replay.records, &appends));
    }

    #[test]
    fn garbage_in_the_middle_never_panics_and_never_passes(
        appends in prop::collection::vec(prop::collection::vec(any::<u32>(), 1..5), 1..6),
        garbage in prop::collection::vec(any::<u8>(), 1..64),
        at in any::<prop::sample::Index>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = written(dir.path(), &appends);
        let at = at.index(bytes.len());
        let end = bytes.len().min(at + garbage.len());
        bytes[at..end].copy_from_slice(&garbage[..end - at]);
        if let Ok(replay) = reopened(dir.path(), &bytes) {
            prop_assert!(is_whole_prefix(&replay.records, &appends));
        }
    }
}

const DIR: &str = "ENID_JOURNAL_TEST_DIR";

/// This test again, in a process of its own that dies of nothing but a kill.
fn same_test_in_a_child(name: &str, dir: &Path) -> Command {
    let mut child = Command::new("sh");
    // A write beyond the limit on file sizes shall be an error and not a signal.
    child
        .args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"])
        .arg(std::env::current_exe().expect("a test binary"));
    child.args(["--exact", name, "--nocapture"]).env(DIR, dir);
    child
}

fn dir_of_the_child() -> Option<PathBuf> {
    std::env::var_os(DIR).map(PathBuf::from)
}

#[test]
fn a_full_disk_refuses_the_append_and_keeps_what_was_there() {
    let Some(dir) = dir_of_the_child() else {
        let dir = tempfile::tempdir().unwrap();
        let name = "a_full_disk_refuses_the_append_and_keeps_what_was_there";
        let output = same_test_in_a_child(name, dir.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let (_, replay) = Journal::<String>::open(dir.path()).unwrap();
        assert_eq!((replay.records.len(), replay.torn), (3, None));
        return;
    };
    let (mut journal, _) = Journal::open(&dir).unwrap();
    let record = "x".repeat(400);
    journal.append(std::slice::from_ref(&record)).unwrap();
    journal.append(std::slice::from_ref(&record)).unwrap();
    let before = fs::read(dir.join("journal")).unwrap();
    // Room for a part of the next line only.
    setrlimit(Resource::Fsize, Rlimit { current: Some(before.len() as u64 + 100), maximum: None }).unwrap();
    assert!(matches!(journal.append(std::slice::from_ref(&record)), Err(JournalError::Io { .. })));
    assert_eq!(fs::read(dir.join("journal")).unwrap(), before, "nothing of it is left");
    let snapshot = vec![record.clone(); 3];
    assert!(matches!(journal.compact(&snapshot), Err(JournalError::Io { .. })));
    assert_eq!(fs::read(dir.join("journal")).unwrap(), before, "nor of a compaction");
    assert!(!dir.join("journal.new").exists(), "whose space is given back");
    journal.append(&["fits".to_owned()]).unwrap();
}

#[test]
fn a_killed_daemon_loses_nothing_it_was_told_is_written() {
    if let Some(dir) = dir_of_the_child() {
        let (mut journal, replay) = Journal::<u32>::open(&dir).unwrap();
        let mut next = replay.records.last().map_or(0, |last| last + 1);
        loop {
            journal.append(&[next, next + 1]).unwrap();
            println!("written {}", next + 1);
            next += 2;
            if journal.appended() > 200 {
                let all: Vec<u32> = (0..next).collect();
                journal.compact(&all).unwrap();
            }
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let name = "a_killed_daemon_loses_nothing_it_was_told_is_written";
    for round in 1..=5 {
        let mut child = same_test_in_a_child(name, dir.path()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut written =
            || lines.by_ref().find_map(|line| line.ok()?.split("written ").nth(1)?.parse::<u32>().ok());
        for _ in 0..round * 61 {
            written().unwrap();
        }
        let error = Journal::<u32>::open(dir.path()).unwrap_err();
        assert!(matches!(error, JournalError::InUse { pid: Some(pid), .. } if pid == child.id()), "{error}");
        child.kill().unwrap();
        child.wait().unwrap();
        let last = std::iter::from_fn(written).last();
        let (_, replay) = Journal::<u32>::open(dir.path()).unwrap();
        let count = replay.records.len() as u32;
        assert_eq!(replay.records, (0..count).collect::<Vec<_>>());
        assert_eq!(count % 2, 0, "appends are whole");
        assert!(last.is_none_or(|last| count > last), "{last:?} of {count}");
    }
}
