//! What is left after a crash, a full disk and a flipped bit.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use enid_store_file::{Journal, JournalError, Replay};
use proptest::prelude::*;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The appends of a journal, and its file.
fn written(dir: &Path, appends: &[Vec<u32>]) -> Vec<u8> {
    let (mut journal, _) = opened(dir).expect("a fresh journal");
    for records in appends {
        journal.append(records).expect("room");
    }
    fs::read(dir.join("journal")).expect("a file")
}

fn reopened(dir: &Path, bytes: &[u8]) -> Result<Replay<u32>, JournalError> {
    fs::write(dir.join("journal"), bytes).expect("room");
    opened(dir).map(|(_, replay)| replay)
}

/// Opens it. A child that another test is starting has a copy of the lock until it executes its program: then again.
fn opened(dir: &Path) -> Result<(Journal<u32>, Replay<u32>), JournalError> {
    loop {
        match Journal::open(dir) {
            Err(JournalError::InUse { .. }) => std::thread::yield_now(),
            other => return other,
        }
    }
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
    for length in 0..=bytes.len() {
        let replay = reopened(dir.path(), &bytes[..length]).unwrap();
        // After the header's, every line end is that of one append.
        let whole = bytes[..length].iter().filter(|byte| **byte == b'\n').count().saturating_sub(1);
        assert_eq!(replay.records, appends[..whole].concat(), "{length}");
        let at_a_line_end = bytes[..length].ends_with(b"\n");
        assert_eq!(replay.torn.is_none(), at_a_line_end, "{length}: {replay:?}");
        if let Some(torn) = replay.torn {
            assert_eq!(torn.offset + torn.bytes, length as u64);
        }
        // The cut is durable, and the journal goes on behind it.
        let (mut journal, again) = opened(dir.path()).unwrap();
        assert_eq!((again.records, again.torn), (replay.records.clone(), None));
        journal.append(&[99]).unwrap();
        drop(journal);
        let (_, last) = opened(dir.path()).unwrap();
        assert_eq!(last.records, [replay.records, vec![99]].concat());
    }
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
            Ok(replay) => panic!("bit {bit}: {replay:?}"),
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

    #[test]
    fn whatever_a_file_holds_is_refused_or_read_as_far_as_it_was_written(
        beginning in prop::sample::select(vec!["", "enid-journal 1\n", "enid-journal 1\n5b2f9c01 0000001f [", "enid-journal "]),
        rest in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(b"0123456789abcdef \n[]\0".to_vec())], 0..200),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let bytes = [beginning.as_bytes(), &rest].concat();
        if let Ok(replay) = reopened(dir.path(), &bytes) {
            prop_assert_eq!(replay.records, Vec::<u32>::new());
        } else {
            prop_assert_eq!(fs::read(dir.path().join("journal")).unwrap(), bytes, "refused and kept");
        }
    }

    #[test]
    fn bytes_that_come_or_go_in_the_middle_never_pass(
        appends in prop::collection::vec(prop::collection::vec(any::<u32>(), 1..5), 1..6),
        added in prop::collection::vec(any::<u8>(), 0..8),
        removed in 0usize..8,
        at in any::<prop::sample::Index>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = written(dir.path(), &appends);
        let at = at.index(bytes.len());
        let end = bytes.len().min(at + removed);
        bytes.splice(at..end, added);
        if let Ok(replay) = reopened(dir.path(), &bytes) {
            prop_assert!(is_whole_prefix(&replay.records, &appends), "{:?}", replay);
        }
    }
}

/// What the journal's directory holds after each step of a compaction, the crash being there.
#[test]
fn a_crash_between_any_two_steps_of_a_compaction_leaves_the_old_records_or_the_new() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (vec![vec![1], vec![2, 3], vec![4]], vec![vec![2], vec![4]]);
    let aside = tempfile::tempdir().unwrap();
    let (before, after) = (written(dir.path(), &old), written(aside.path(), &new));
    let (place, incoming) = (dir.path().join("journal"), dir.path().join("journal.new"));
    let holds = |expected: &[Vec<u32>], step: &str| {
        let (mut journal, replay) = opened(dir.path()).unwrap();
        assert_eq!((replay.records, replay.torn), (expected.concat(), None), "{step}");
        assert!(!incoming.exists(), "{step}: half a file is left");
        journal.append(&[9]).unwrap();
        journal.compact(&[8]).unwrap();
        drop(journal);
        assert_eq!(opened(dir.path()).unwrap().1.records, [8], "{step}: and goes on");
    };
    for length in 0..=after.len() {
        fs::write(&place, &before).unwrap();
        fs::write(&incoming, &after[..length]).unwrap();
        holds(&old, &format!("{length} bytes are written"));
    }
    fs::write(&place, &before).unwrap();
    fs::write(&incoming, &after).unwrap();
    fs::rename(&incoming, &place).unwrap();
    holds(&new, "renamed");
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
fn a_compaction_that_fails_after_its_rename_lets_nothing_be_written_to_the_old_file() {
    let name = "a_compaction_that_fails_after_its_rename_lets_nothing_be_written_to_the_old_file";
    let Some(dir) = dir_of_the_child() else {
        let dir = tempfile::tempdir().unwrap();
        let output = same_test_in_a_child(name, dir.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(Journal::<u32>::open(dir.path()).unwrap().1.records, [7, 8, 9]);
        return;
    };
    let (mut journal, _) = Journal::<u32>::open(&dir).unwrap();
    journal.append(&[1, 2]).unwrap();
    let limit = getrlimit(Resource::Nofile);
    // One more descriptor, for the new file; none for the directory, which is synced last.
    let next = fs::File::open("/dev/null").unwrap().as_raw_fd();
    setrlimit(Resource::Nofile, Rlimit { current: Some(next as u64 + 1), ..limit }).unwrap();
    let error = journal.compact(&[7]).unwrap_err();
    assert!(matches!(&error, JournalError::Io { attempt, .. } if attempt.starts_with("sync")), "{error}");
    assert!(matches!(journal.append(&[3]), Err(JournalError::Poisoned { .. })));
    setrlimit(Resource::Nofile, limit).unwrap();
    journal.compact(&[7]).unwrap();
    journal.append(&[8, 9]).unwrap();
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
