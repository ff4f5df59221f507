//! Opening, appending and compacting.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::marker::PhantomData;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::JournalError;
use crate::line::{self, FORMAT, HEADER, MAX_JSON, Next, Opening};
use crate::lock::DirectoryLock;

const NAME: &str = "journal";
const INCOMING: &str = "journal.new";
/// The largest file: far above what any node writes between two compactions, far below what hurts a tmpfs.
const MAX_FILE: u64 = 64 * 1024 * 1024;

/// Which crash an append survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The daemon's own. Enough for `/run`: the kernel keeps what was written, and after a reboot the pods are
    /// gone as well.
    #[default]
    Process,
    /// The machine's too: every append is synced, for a journal on a disk.
    Machine,
}

/// An unfinished append that was cut off at start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// Where it began.
    pub offset: u64,
    /// How long it was.
    pub bytes: u64,
}

/// What a journal held when it was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay<R> {
    /// In the order in which they were appended.
    pub records: Vec<R>,
    /// For the log: the daemon crashed while it wrote.
    pub torn: Option<TornTail>,
}

/// An open journal. No other process can open it until it is dropped.
#[derive(Debug)]
pub struct Journal<R> {
    dir: PathBuf,
    file: File,
    /// Where the next line goes: the end of the last good one.
    end: u64,
    /// Records appended since the file was last written as a whole.
    appended: usize,
    durability: Durability,
    poisoned: bool,
    _lock: DirectoryLock,
    _records: PhantomData<fn(R) -> R>,
}

impl<R: Serialize + DeserializeOwned> Journal<R> {
    /// Opens the journal in `dir` with [`Durability::Process`], creating both for their owner alone.
    pub fn open(dir: impl AsRef<Path>) -> Result<(Journal<R>, Replay<R>), JournalError> {
        Self::open_with(dir, Durability::Process)
    }

    /// Opens the journal in `dir`. An unfinished append is cut off; any other fault leaves the file as it is.
    pub fn open_with(
        dir: impl AsRef<Path>,
        durability: Durability,
    ) -> Result<(Journal<R>, Replay<R>), JournalError> {
        let dir = dir.as_ref();
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io_at("create", dir))?;
        let lock = DirectoryLock::take(dir)?;
        // Half of a compaction that a crash ended. It would be overwritten, but its space is needed before.
        let _not_there = fs::remove_file(dir.join(INCOMING));
        let path = dir.join(NAME);
        let bytes = match read(&path)? {
            Some(bytes) => bytes,
            None => {
                install(dir, HEADER)?;
                HEADER.to_vec()
            }
        };
        let (replay, end) = replay(&path, &bytes)?;
        let file = OpenOptions::new().write(true).open(&path).map_err(io_at("open", &path))?;
        let appended = replay.records.len();
        let mut journal = Journal {
            dir: dir.to_owned(),
            file,
            end,
            appended,
            durability,
            poisoned: false,
            _lock: lock,
            _records: PhantomData,
        };
        if end == 0 {
            journal.write_at_end(HEADER)?;
        } else if replay.torn.is_some() {
            journal.file.set_len(end).map_err(io_at("cut the unfinished end of", &path))?;
        }
        journal.file.seek(SeekFrom::Start(journal.end)).map_err(io_at("seek in", &path))?;
        Ok((journal, replay))
    }

    /// Appends all of `records` or, when it fails, none: what was written of them is cut off again.
    pub fn append(&mut self, records: &[R]) -> Result<(), JournalError> {
        if self.poisoned {
            return Err(JournalError::Poisoned { path: self.path() });
        }
        if records.is_empty() {
            return Ok(());
        }
        let line = line::encode(&json(records)?);
        if self.end + line.len() as u64 > MAX_FILE {
            return Err(JournalError::Full { path: self.path(), limit: MAX_FILE });
        }
        self.write_at_end(&line)?;
        self.appended += records.len();
        Ok(())
    }

    /// Replaces all records by `snapshot`, which says the same in fewer. On failure the old file stays.
    pub fn compact(&mut self, snapshot: &[R]) -> Result<(), JournalError> {
        let mut bytes = HEADER.to_vec();
        for record in snapshot {
            bytes.extend_from_slice(&line::encode(&json(std::slice::from_ref(record))?));
        }
        if bytes.len() as u64 > MAX_FILE {
            return Err(JournalError::Full { path: self.path(), limit: MAX_FILE });
        }
        // From the rename on, the old descriptor points to a file without a name: whatever fails between there
        // and the end must not let an append go to it.
        let file = install(&self.dir, &bytes).inspect_err(|_| self.poisoned |= !self.is_current())?;
        self.file = file;
        self.end = bytes.len() as u64;
        self.appended = 0;
        self.poisoned = false;
        Ok(())
    }

    /// Records appended since the last compaction; after opening, all that were there.
    pub fn appended(&self) -> usize {
        self.appended
    }

    /// The file's size.
    pub fn bytes(&self) -> u64 {
        self.end
    }

    fn path(&self) -> PathBuf {
        self.dir.join(NAME)
    }

    /// Whether the open file is still the one with the journal's name.
    fn is_current(&self) -> bool {
        let ours = rustix::fs::fstat(&self.file);
        let named = rustix::fs::stat(self.path());
        matches!((ours, named), (Ok(a), Ok(b)) if (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino))
    }

    fn write_at_end(&mut self, bytes: &[u8]) -> Result<(), JournalError> {
        let written = self.file.write_all(bytes).and_then(|()| match self.durability {
            Durability::Process => Ok(()),
            Durability::Machine => self.file.sync_data(),
        });
        if let Err(source) = written {
            // The caller was promised all or none. If even that fails, the next start decides.
            let end = self.end;
            let undone = self.file.set_len(end).and_then(|()| self.file.seek(SeekFrom::Start(end)));
            self.poisoned = undone.is_err();
            return Err(io_at("append to", &self.path())(source));
        }
        self.end += bytes.len() as u64;
        Ok(())
    }
}

fn json<R: Serialize>(records: &[R]) -> Result<Vec<u8>, JournalError> {
    let json = serde_json::to_vec(records).map_err(|source| JournalError::Unencodable { source })?;
    if json.len() > MAX_JSON {
        return Err(JournalError::TooLarge { length: json.len(), limit: MAX_JSON });
    }
    Ok(json)
}

/// The file's bytes, or `None` when there is none.
fn read(path: &Path) -> Result<Option<Vec<u8>>, JournalError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_at("open", path)(error)),
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(io_at("read", path))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(JournalError::Full { path: path.to_owned(), limit: MAX_FILE });
    }
    Ok(Some(bytes))
}

/// The records, and where the good lines end.
fn replay<R: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<(Replay<R>, u64), JournalError> {
    let mut replay = Replay { records: Vec::new(), torn: None };
    match line::opening(bytes) {
        Opening::Known => {}
        Opening::Unfinished => {
            replay.torn = Some(TornTail { offset: 0, bytes: bytes.len() as u64 });
            return Ok((replay, 0));
        }
        Opening::Newer(found) => {
            return Err(JournalError::Newer { path: path.to_owned(), found, known: FORMAT });
        }
        Opening::Foreign => return Err(JournalError::NotAJournal { path: path.to_owned() }),
    }
    let mut rest = bytes.get(HEADER.len()..).unwrap_or_default();
    loop {
        let offset = (bytes.len() - rest.len()) as u64;
        match line::next(rest) {
            Next::End => return Ok((replay, offset)),
            Next::Torn => {
                replay.torn = Some(TornTail { offset, bytes: rest.len() as u64 });
                return Ok((replay, offset));
            }
            Next::Damaged(why) => {
                return Err(JournalError::Corrupt { path: path.to_owned(), offset, why: why.to_owned() });
            }
            Next::Line { json, length } => {
                let records: Vec<R> = serde_json::from_slice(json).map_err(|error| {
                    JournalError::UnknownRecord { path: path.to_owned(), offset, why: error.to_string() }
                })?;
                replay.records.extend(records);
                rest = rest.get(length..).unwrap_or_default();
            }
        }
    }
}

/// Puts a whole file in the journal's place, so that a crash leaves the old or the new; ready to append.
fn install(dir: &Path, bytes: &[u8]) -> Result<File, JournalError> {
    let (incoming, path) = (dir.join(INCOMING), dir.join(NAME));
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&incoming)
        .map_err(io_at("create", &incoming))?;
    // Synced whatever the durability: a rename must not overtake the bytes it names.
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    let installed = written
        .map_err(io_at("write", &incoming))
        .and_then(|()| fs::rename(&incoming, &path).map_err(io_at("rename to", &path)));
    if installed.is_err() {
        // Only to give the space back; the next one overwrites it anyway.
        let _ = fs::remove_file(&incoming);
    }
    installed?;
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io_at("sync", dir))?;
    Ok(file)
}

pub(crate) fn io_at(attempt: &'static str, path: &Path) -> impl FnOnce(io::Error) -> JournalError {
    move |source| JournalError::Io { attempt: format!("{attempt} {}", path.display()), source }
}
