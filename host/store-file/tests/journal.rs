//! What the journal promises while nothing goes wrong, and how it refuses what it must not touch.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use enid_store_file::{Durability, Journal, JournalError};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Note {
    Bound { address: String },
    Released,
}

fn bound(n: u32) -> Note {
    Note::Bound { address: format!("10.0.0.{n}") }
}

fn failure(dir: &tempfile::TempDir) -> JournalError {
    match Journal::<Note>::open(dir.path()) {
        Ok((journal, _)) => panic!("opened {journal:?}"),
        Err(error) => error,
    }
}

#[test]
fn records_come_back_in_order_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    for durability in [Durability::Process, Durability::Machine] {
        let (mut journal, _) = Journal::open_with(dir.path(), durability).unwrap();
        journal.append(&[bound(1), Note::Released]).unwrap();
        journal.append(&[]).unwrap();
        journal.append(&[bound(2)]).unwrap();
    }
    let (journal, replay) = Journal::<Note>::open(dir.path()).unwrap();
    let once = [bound(1), Note::Released, bound(2)];
    assert_eq!(replay.records, [once.clone(), once].concat());
    assert_eq!((replay.torn, journal.appended()), (None, 6));
}

#[test]
fn compaction_replaces_everything_and_appends_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(dir.path()).unwrap();
    for n in 0..100 {
        journal.append(&[bound(n)]).unwrap();
    }
    let before = journal.bytes();
    journal.compact(&[bound(7), bound(8)]).unwrap();
    assert_eq!(journal.appended(), 0);
    assert!(journal.bytes() < before / 10);
    journal.append(&[Note::Released]).unwrap();
    assert_eq!(journal.appended(), 1);
    assert_eq!(journal.bytes(), fs::metadata(dir.path().join("journal")).unwrap().len());
    drop(journal);
    let (_, replay) = Journal::<Note>::open(dir.path()).unwrap();
    assert_eq!(replay.records, [bound(7), bound(8), Note::Released]);
}

#[test]
fn a_failed_compaction_leaves_the_old_file_and_appends_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(dir.path()).unwrap();
    journal.append(&[bound(1)]).unwrap();
    // A directory in the place of the new file.
    fs::create_dir(dir.path().join("journal.new")).unwrap();
    assert!(matches!(journal.compact(&[]), Err(JournalError::Io { .. })));
    journal.append(&[bound(2)]).unwrap();
    drop(journal);
    let (_, replay) = Journal::<Note>::open(dir.path()).unwrap();
    assert_eq!(replay.records, [bound(1), bound(2)]);
}

#[test]
fn a_crash_during_compaction_leaves_the_old_records() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(dir.path()).unwrap();
    journal.append(&[bound(1)]).unwrap();
    drop(journal);
    fs::write(dir.path().join("journal.new"), "enid-journal 1\nhalf of a").unwrap();
    let (mut journal, replay) = Journal::<Note>::open(dir.path()).unwrap();
    assert_eq!(replay.records, [bound(1)]);
    journal.compact(&replay.records).unwrap();
}

#[test]
fn a_second_daemon_is_told_who_has_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let (first, _) = Journal::<Note>::open(dir.path()).unwrap();
    let error = failure(&dir);
    let JournalError::InUse { pid, .. } = &error else { panic!("{error}") };
    assert_eq!(*pid, Some(std::process::id()));
    assert!(error.to_string().contains("in use by another enid (pid "), "{error}");
    drop(first);
    Journal::<Note>::open(dir.path()).unwrap();
}

#[test]
fn directory_and_file_are_their_owners_alone() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("state");
    let (_journal, _) = Journal::<Note>::open(&dir).unwrap();
    for (path, mode) in [(dir.clone(), 0o700), (dir.join("journal"), 0o600), (dir.join("lock"), 0o600)] {
        let found = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(found, mode, "{}", path.display());
    }
}

#[test]
fn a_later_format_and_a_foreign_file_are_refused_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    for (text, newer) in
        [("enid-journal 2\n????", true), ("{\"not\":\"ours\"}\n", false), ("enid-journal 0\n", false)]
    {
        fs::write(&path, text).unwrap();
        let error = failure(&dir);
        let refused = if newer {
            matches!(error, JournalError::Newer { found: 2, known: 1, .. })
        } else {
            matches!(error, JournalError::NotAJournal { .. })
        };
        assert!(refused, "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
}

#[test]
fn an_old_reader_refuses_records_it_does_not_know_and_a_new_reader_takes_old_ones() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum LaterNote {
        Bound {
            address: String,
            #[serde(default)]
            prefix: Option<u8>,
        },
        Moved,
        Released,
    }
    let dir = tempfile::tempdir().unwrap();
    let (mut old, _) = Journal::open(dir.path()).unwrap();
    old.append(&[bound(1), Note::Released]).unwrap();
    drop(old);
    let (mut new, replay) = Journal::<LaterNote>::open(dir.path()).unwrap();
    let first = LaterNote::Bound { address: "10.0.0.1".to_owned(), prefix: None };
    assert_eq!(replay.records, [first, LaterNote::Released]);
    let offset = new.bytes();
    new.append(&[LaterNote::Moved]).unwrap();
    drop(new);
    let error = failure(&dir);
    assert!(matches!(&error, JournalError::UnknownRecord { offset: at, .. } if *at == offset), "{error}");
    assert!(error.to_string().contains("moved"), "{error}");
}

#[test]
fn an_append_beyond_the_bound_is_refused_and_harmless() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(dir.path()).unwrap();
    let huge = Note::Bound { address: "x".repeat(2 * 1024 * 1024) };
    assert!(matches!(journal.append(&[huge]), Err(JournalError::TooLarge { .. })));
    journal.append(&[bound(1)]).unwrap();
    drop(journal);
    assert_eq!(Journal::<Note>::open(dir.path()).unwrap().1.records, [bound(1)]);
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    let error = Journal::<Note>::open(dir.path().join("file/state")).unwrap_err();
    assert!(error.to_string().contains("file/state"), "{error}");
}
