//! DELs that found no daemon: a directory of small files, written by the plugin, emptied by the daemon.
//!
//! One file per attachment, named by a digest of it, so a repeated DEL replaces the first. Everything
//! happens under one lock file, which closes the gap with a daemon that is just starting:
//!
//! * The plugin takes the lock, tries the socket once more, and only then writes.
//! * The daemon takes the lock, applies and [forgets](LockedSpool::forget) what [waits](LockedSpool::waiting),
//!   *starts to listen*, and only then lets go. It looks again with every reconcile, because a plugin also
//!   writes when the daemon hangs.
//!
//! A spooled DEL is older than the daemon that reads it: it must not release a lease that was bound after
//! [`SpooledDel::at_ms`].
//!
//! An entry is there whole or not at all, wherever its writer dies: it is written beside, synced, renamed into place, and
//! the directory is synced before the plugin answers. An entry is forgotten after it was applied, and the directory is
//! synced again, so a crash between the two applies it twice and never zero times. On a tmpfs, where the spool
//! belongs, syncing costs nothing; on a disk entries outlive a loss of power.
//!
//! Old with new: a file is `{"v":1,"at_ms":…,"del":{…}}` under the rules of [`crate::message`]; a file that
//! cannot be read is reported and removed, since nothing could ever act on it.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fmt, thread};

use serde::{Deserialize, Serialize};

use crate::message::Del;

/// How many DELs may wait: every pod that a node can have, and then as many again.
pub const MAX_ENTRIES: usize = 2048;
/// The largest entry. A DEL is a tenth of it unless a runtime passes a very long path, which is then left out.
const MAX_ENTRY: usize = 16 * 1024;
/// The version of an entry.
const FORMAT: u32 = 1;
const SUFFIX: &str = ".del.json";
const LOCK: &str = "lock";
const INCOMING: &str = "incoming";
/// Locks are held for the time of a few small writes.
const LOCK_POLL: Duration = Duration::from_millis(2);

/// Why the spool could not be used.
#[derive(Debug)]
pub enum SpoolError {
    /// As many DELs wait as may.
    Full {
        /// The directory.
        dir: PathBuf,
    },
    /// Somebody held the lock for too long.
    Locked {
        /// The directory.
        dir: PathBuf,
    },
    /// The DEL is too large to be spooled, even without what is only for logs.
    TooLarge {
        /// Its size as an entry.
        length: usize,
    },
    /// The file system refused.
    Io {
        /// What was attempted, on what.
        attempt: String,
        /// Its answer.
        source: io::Error,
    },
}

impl fmt::Display for SpoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SpoolError::Full { dir } => write!(f, "{MAX_ENTRIES} DELs wait already in {}", dir.display()),
            SpoolError::Locked { dir } => {
                write!(f, "the spool {} is locked by another process", dir.display())
            }
            SpoolError::TooLarge { length } => {
                write!(f, "a DEL of {length} bytes exceeds the limit of {MAX_ENTRY}")
            }
            SpoolError::Io { attempt, source } => write!(f, "{attempt}: {source}"),
        }
    }
}

impl std::error::Error for SpoolError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            SpoolError::Io { source, .. } => Some(source),
            SpoolError::Full { .. } | SpoolError::Locked { .. } | SpoolError::TooLarge { .. } => None,
        }
    }
}

/// Where DELs wait.
#[derive(Clone, Debug)]
pub struct Spool {
    dir: PathBuf,
}

impl Spool {
    /// The spool in `dir`, which need not exist.
    pub fn new(dir: impl Into<PathBuf>) -> Spool {
        Spool { dir: dir.into() }
    }

    /// Takes the lock, waiting for at most `within`; creates the directory for its owner alone. Blocks.
    pub fn lock(&self, within: Duration) -> Result<LockedSpool, SpoolError> {
        let dir = &self.dir;
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io_at("create", dir))?;
        let path = dir.join(LOCK);
        let file = private_file().create(true).truncate(false).write(true).open(&path);
        let lock = file.map_err(io_at("open", &path))?;
        let deadline = Instant::now() + within;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(LockedSpool { dir: dir.clone(), _lock: lock }),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::park_timeout(LOCK_POLL),
                Err(TryLockError::WouldBlock) => return Err(SpoolError::Locked { dir: dir.clone() }),
                Err(TryLockError::Error(source)) => return Err(io_at("lock", &path)(source)),
            }
        }
    }
}

/// The spool, and the right to change it until this is dropped.
#[derive(Debug)]
pub struct LockedSpool {
    dir: PathBuf,
    _lock: File,
}

/// A DEL that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpooledDel {
    /// What the runtime asked for.
    pub del: Del,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    file: String,
}

/// An entry that said nothing usable, and was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Its file's name.
    pub file: String,
    /// What is wrong with it.
    pub why: String,
}

/// What waits in the spool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Oldest first.
    pub dels: Vec<SpooledDel>,
    /// For the log.
    pub unreadable: Vec<Unreadable>,
}

#[derive(Serialize, Deserialize)]
struct Entry<D> {
    v: u32,
    at_ms: u64,
    del: D,
}

impl LockedSpool {
    /// Makes `del` durable. An earlier DEL of the same attachment is replaced, even when the spool is full.
    pub fn put(&self, del: &Del, at_ms: u64) -> Result<(), SpoolError> {
        let mut bytes = self.encode(del, at_ms)?;
        if bytes.len() > MAX_ENTRY {
            bytes = self.encode(&del.bare(), at_ms)?;
        }
        if bytes.len() > MAX_ENTRY {
            return Err(SpoolError::TooLarge { length: bytes.len() });
        }
        let path = self.dir.join(file_name(del));
        if !path.exists() && self.files()?.len() >= MAX_ENTRIES {
            return Err(SpoolError::Full { dir: self.dir.clone() });
        }
        // The lock makes one fixed name enough, and a leftover of a crash is simply overwritten.
        let incoming = self.dir.join(INCOMING);
        let mut file = private_file()
            .create(true)
            .truncate(true)
            .write(true)
            .open(&incoming)
            .map_err(io_at("open", &incoming))?;
        file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(io_at("write", &incoming))?;
        fs::rename(&incoming, &path).map_err(io_at("rename to", &path))?;
        self.sync()
    }

    fn encode(&self, del: &Del, at_ms: u64) -> Result<Vec<u8>, SpoolError> {
        let bytes = serde_json::to_vec(&Entry { v: FORMAT, at_ms, del });
        bytes.map_err(|error| io_at("encode", &self.dir)(error.into()))
    }

    /// Reads every entry, oldest first; removes those that cannot be read.
    pub fn waiting(&self) -> Result<Waiting, SpoolError> {
        let mut waiting = Waiting::default();
        for file in self.files()? {
            match self.read(&file) {
                Ok(Entry { v: FORMAT, at_ms, del }) => waiting.dels.push(SpooledDel { del, at_ms, file }),
                Ok(Entry { v, .. }) => {
                    waiting
                        .unreadable
                        .push(Unreadable { file, why: format!("format {v}, this is {FORMAT}") });
                }
                // What serde_json says about an entry's bytes; anything else is the file system's fault and may pass.
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
                {
                    waiting.unreadable.push(Unreadable { file, why: error.to_string() });
                }
                Err(error) => return Err(io_at("read", &self.dir.join(&file))(error)),
            }
        }
        for entry in &waiting.unreadable {
            self.remove(&entry.file)?;
        }
        waiting.dels.sort_by(|a, b| (a.at_ms, &a.file).cmp(&(b.at_ms, &b.file)));
        Ok(waiting)
    }

    /// Removes an entry that has been applied, durably.
    pub fn forget(&self, spooled: &SpooledDel) -> Result<(), SpoolError> {
        self.remove(&spooled.file)?;
        self.sync()
    }

    /// The names of entries, at most twice as many as there may be.
    fn files(&self) -> Result<Vec<String>, SpoolError> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(io_at("list", &self.dir))?.take(2 * MAX_ENTRIES) {
            let entry = entry.map_err(io_at("list", &self.dir))?;
            let name = entry.file_name().into_string().ok().filter(|name| name.ends_with(SUFFIX));
            // Whatever else has such a name is nobody's DEL, and a FIFO would be waited for without end.
            files.extend(name.filter(|_| entry.file_type().is_ok_and(|kind| kind.is_file())));
        }
        Ok(files)
    }

    fn read(&self, file: &str) -> Result<Entry<Del>, io::Error> {
        let mut bytes = Vec::new();
        let file = private_file().read(true).open(self.dir.join(file))?;
        file.take(MAX_ENTRY as u64).read_to_end(&mut bytes)?;
        Ok(serde_json::from_slice(&bytes)?)
    }

    fn remove(&self, file: &str) -> Result<(), SpoolError> {
        let path = self.dir.join(file);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_at("remove", &path)(error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Makes renames and removals durable; costs nothing on a tmpfs.
    fn sync(&self) -> Result<(), SpoolError> {
        File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(io_at("sync", &self.dir))
    }
}

fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

fn io_at(attempt: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SpoolError {
    move |source| SpoolError::Io { attempt: format!("{attempt} {}", path.display()), source }
}

/// The attachment's file: FNV-1a of 128 bits, because ids may be longer than file names.
fn file_name(del: &Del) -> String {
    const BASIS: u128 = 0x6c62272e07bb014262b821756295c58d;
    const PRIME: u128 = 0x0000000001000000000000000000013b;
    let mut digest = BASIS;
    for part in [&del.container, &del.network, &del.ifname] {
        // A zero ends each part: none of them contains one.
        for byte in part.bytes().chain([0]) {
            digest = (digest ^ u128::from(byte)).wrapping_mul(PRIME);
        }
    }
    format!("{digest:032x}{SUFFIX}")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::message::Pod;

    const PATIENCE: Duration = Duration::from_secs(5);

    fn del(container: &str) -> Del {
        Del {
            container: container.to_owned(),
            network: "enid".to_owned(),
            ifname: "eth0".to_owned(),
            netns: String::new(),
            pod: None,
            timeout_ms: 10_000,
            trace: None,
        }
    }

    fn spool() -> (tempfile::TempDir, Spool) {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::new(dir.path().join("run/spool"));
        (dir, spool)
    }

    #[test]
    fn dels_wait_oldest_first_and_once_per_attachment() {
        let (_dir, spool) = spool();
        let locked = spool.lock(PATIENCE).unwrap();
        for (container, at) in [("b", 20), ("a", 10), ("c", 15), ("b", 30)] {
            locked.put(&del(container), at).unwrap();
        }
        let waiting = locked.waiting().unwrap();
        let order: Vec<_> = waiting.dels.iter().map(|d| (d.del.container.as_str(), d.at_ms)).collect();
        assert_eq!(order, [("a", 10), ("c", 15), ("b", 30)]);
        for spooled in &waiting.dels {
            locked.forget(spooled).unwrap();
            locked.forget(spooled).unwrap();
        }
        assert_eq!(locked.waiting().unwrap(), Waiting::default());
    }

    #[test]
    fn the_directory_is_its_owners_alone() {
        let (_dir, spool) = spool();
        drop(spool.lock(PATIENCE).unwrap());
        let mode = fs::metadata(&spool.dir).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn a_full_spool_refuses_new_attachments_only() {
        let (_dir, spool) = spool();
        let locked = spool.lock(PATIENCE).unwrap();
        locked.put(&del("first"), 1).unwrap();
        for n in 1..MAX_ENTRIES {
            fs::write(spool.dir.join(format!("{n:032x}{SUFFIX}")), "").unwrap();
        }
        assert!(matches!(locked.put(&del("late"), 2), Err(SpoolError::Full { .. })));
        locked.put(&del("first"), 3).unwrap();
        let waiting = locked.waiting().unwrap();
        assert_eq!((waiting.dels.len(), waiting.unreadable.len()), (1, MAX_ENTRIES - 1));
        locked.put(&del("late"), 2).unwrap();
    }

    #[test]
    fn unreadable_entries_are_reported_once_and_leave() {
        let (_dir, spool) = spool();
        let locked = spool.lock(PATIENCE).unwrap();
        let newer = r#"{"v":2,"at_ms":1,"del":{"container":"c","network":"n","ifname":"i","timeout_ms":1}}"#;
        let huge = format!("{{\"v\":1,{}", " ".repeat(MAX_ENTRY));
        for (name, text) in [("a", "{"), ("b", newer), ("c", huge.as_str())] {
            fs::write(spool.dir.join(format!("{name}{SUFFIX}")), text).unwrap();
        }
        fs::write(spool.dir.join(INCOMING), "half").unwrap();
        assert_eq!(locked.waiting().unwrap().unreadable.len(), 3);
        assert_eq!(locked.waiting().unwrap(), Waiting::default());
    }

    /// Every state of the file system in which a writer may have died, with an earlier entry and without.
    #[test]
    fn a_writer_that_dies_leaves_nothing_or_a_whole_entry() {
        let (_dir, spool) = spool();
        let locked = spool.lock(PATIENCE).unwrap();
        let (incoming, path) = (spool.dir.join(INCOMING), spool.dir.join(file_name(&del("c1"))));
        let waits = || {
            let waiting = locked.waiting().unwrap();
            assert_eq!(waiting.unreadable, []);
            waiting.dels.iter().map(|spooled| spooled.at_ms).collect::<Vec<_>>()
        };
        let whole = locked.encode(&del("c1"), 20).unwrap();
        for earlier in [None, Some(10)] {
            let before: Vec<u64> = earlier.into_iter().collect();
            for written in 0..=whole.len() {
                if let Some(at_ms) = earlier {
                    locked.put(&del("c1"), at_ms).unwrap();
                }
                fs::write(&incoming, &whole[..written]).unwrap();
                assert_eq!(waits(), before, "{written} bytes written");
                // The runtime repeats its DEL, which a longer leftover must not shine through.
                fs::write(&incoming, [&whole[..written], &[b'}'; 500]].concat()).unwrap();
                locked.put(&del("c1"), 30).unwrap();
                assert_eq!(waits(), [30], "{written} bytes were there");
                fs::remove_file(&path).unwrap();
            }
            fs::write(&incoming, &whole).unwrap();
            fs::rename(&incoming, &path).unwrap();
            assert_eq!(waits(), [20], "renamed");
            fs::remove_file(&path).unwrap();
        }
        // The directory was made, and nothing else; the lock as well.
        fs::remove_dir_all(&spool.dir).unwrap();
        fs::create_dir(&spool.dir).unwrap();
        assert_eq!(spool.lock(PATIENCE).unwrap().waiting().unwrap(), Waiting::default());
    }

    #[test]
    fn what_is_only_for_logs_is_left_out_rather_than_the_del_lost() {
        let (_dir, spool) = spool();
        let locked = spool.lock(PATIENCE).unwrap();
        let mut long = del("c1");
        long.netns = "/n".repeat(MAX_ENTRY);
        let pod = |name: String| Some(Pod { namespace: "default".to_owned(), name, uid: None });
        long.pod = pod("web".to_owned());
        locked.put(&long, 1).unwrap();
        long.pod = pod("w".repeat(MAX_ENTRY));
        locked.put(&long, 2).unwrap();
        assert_eq!(locked.waiting().unwrap().dels[0].del, del("c1"));
        long.container = "c".repeat(MAX_ENTRY);
        assert!(matches!(locked.put(&long, 3), Err(SpoolError::TooLarge { .. })));
    }

    #[test]
    fn what_is_no_file_is_no_entry() {
        let (_dir, spool) = spool();
        let locked = spool.lock(PATIENCE).unwrap();
        locked.put(&del("c1"), 1).unwrap();
        fs::create_dir(spool.dir.join(format!("a{SUFFIX}"))).unwrap();
        std::os::unix::fs::symlink("/dev/zero", spool.dir.join(format!("b{SUFFIX}"))).unwrap();
        let waiting = locked.waiting().unwrap();
        assert_eq!((waiting.dels.len(), waiting.unreadable.len()), (1, 0));
    }

    #[test]
    fn one_holds_the_lock_at_a_time() {
        let (_dir, spool) = spool();
        let held = spool.lock(PATIENCE).unwrap();
        assert!(matches!(spool.lock(Duration::from_millis(1)), Err(SpoolError::Locked { .. })));
        let waiter = thread::spawn({
            let spool = spool.clone();
            move || spool.lock(PATIENCE).map(|_| ())
        });
        drop(held);
        waiter.join().unwrap().unwrap();
    }

    #[test]
    fn parts_of_an_attachment_do_not_run_together() {
        let (mut a, mut b) = (del("ab"), del("a"));
        a.network = "c".to_owned();
        b.network = "bc".to_owned();
        assert_ne!(file_name(&a), file_name(&b));
        assert_eq!(file_name(&a), file_name(&a));
    }

    #[test]
    fn a_spool_that_cannot_be_made_says_where() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        let error = Spool::new(dir.path().join("file/spool")).lock(PATIENCE).unwrap_err();
        assert!(error.to_string().contains("file/spool"), "{error}");
    }
}
