//! A lab's files: its lock, its landscape, its footprint, its control socket, its log.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::landscape::Landscape;
use crate::fabric::Footprint;

/// Bytes of the log that an error quotes at most.
const LOG_TAIL: u64 = 2048;

/// The directory of one lab.
#[derive(Clone, Debug)]
pub(super) struct Directory(PathBuf);

/// Held by the lab's process for as long as it lives; the kernel lets go when the process ends, however.
#[derive(Debug)]
pub(super) struct Held {
    _lock: File,
}

impl Directory {
    pub(super) fn at(path: PathBuf) -> Self {
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Where the lab's process answers.
    pub(super) fn control(&self) -> PathBuf {
        self.0.join("control.sock")
    }

    /// Where the lab's process logs.
    pub(super) fn log(&self) -> PathBuf {
        self.0.join("lab.log")
    }

    /// Makes the directory. One that is there must be empty, or a lab's: what is in it goes with the lab.
    pub(super) fn create(&self) -> io::Result<()> {
        self.expect_ours()?;
        DirBuilder::new().recursive(true).mode(0o755).create(&self.0)?;
        self.open_lock().map(drop)
    }

    /// An empty log for a new process.
    pub(super) fn fresh_log(&self) -> io::Result<File> {
        OpenOptions::new().create(true).write(true).truncate(true).mode(0o644).open(self.log())
    }

    /// The end of the log, for an error message.
    pub(super) fn log_tail(&self) -> String {
        let read = || -> io::Result<String> {
            let mut file = File::open(self.log())?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL)))?;
            let mut tail = Vec::new();
            file.take(LOG_TAIL).read_to_end(&mut tail)?;
            Ok(String::from_utf8_lossy(&tail).trim().to_owned())
        };
        read().unwrap_or_default()
    }

    /// Takes the lock and writes our process id into it; `None` when another process has it.
    pub(super) fn hold(&self) -> io::Result<Option<Held>> {
        let mut lock = self.open_lock()?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        lock.set_len(0)?;
        write!(lock, "{}", std::process::id())?;
        Ok(Some(Held { _lock: lock }))
    }

    /// The process that holds the lock, if one does. The id is trustworthy: it was written by the holder.
    pub(super) fn holder(&self) -> io::Result<Option<i32>> {
        let mut lock = match File::open(self.lock()) {
            Ok(lock) => lock,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        match flock(&lock, FlockOperation::NonBlockingLockShared) {
            Ok(()) => return Ok(None),
            Err(rustix::io::Errno::WOULDBLOCK) => {}
            Err(error) => return Err(error.into()),
        }
        let mut pid = String::new();
        lock.read_to_string(&mut pid)?;
        // Locked and still empty: it is about to write its id.
        Ok(Some(pid.trim().parse().unwrap_or(0)))
    }

    pub(super) fn write_footprint(&self, footprint: &Footprint) -> io::Result<()> {
        self.write("footprint", footprint)
    }

    /// What an earlier run noted before it made namespaces; `None` when there was none.
    pub(super) fn read_footprint(&self) -> io::Result<Option<Footprint>> {
        self.read("footprint")
    }

    pub(super) fn write_landscape(&self, landscape: &Landscape) -> io::Result<()> {
        self.write("landscape", landscape)
    }

    /// The world that whoever starts the lab's process wants in it; `None` when nobody said.
    pub(super) fn read_landscape(&self) -> io::Result<Option<Landscape>> {
        self.read("landscape")
    }

    fn write(&self, note: &str, value: &impl Serialize) -> io::Result<()> {
        let half = self.0.join(format!("{note}.new"));
        fs::write(&half, serde_json::to_vec_pretty(value)?)?;
        fs::rename(half, self.note(note))
    }

    fn read<T: DeserializeOwned>(&self, note: &str) -> io::Result<Option<T>> {
        match fs::read(self.note(note)) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes the directory and everything in it.
    pub(super) fn remove(&self) -> io::Result<()> {
        self.expect_ours()?;
        match fs::remove_dir_all(&self.0) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Only a lab's process makes a lock; without one this is somebody else's directory.
    fn expect_ours(&self) -> io::Result<()> {
        let holds_something = match fs::read_dir(&self.0) {
            Ok(mut entries) => entries.next().is_some(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        if holds_something && !self.lock().is_file() {
            let what = format!("{} has other files in it and is not a lab's", self.0.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
        }
        Ok(())
    }

    fn open_lock(&self) -> io::Result<File> {
        OpenOptions::new().create(true).truncate(false).read(true).write(true).open(self.lock())
    }

    fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    fn note(&self, note: &str) -> PathBuf {
        self.0.join(format!("{note}.json"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_landscape_comes_back_as_it_was_noted() {
        let directory = Directory::at(std::env::temp_dir().join(format!("lab-{}-noted", std::process::id())));
        directory.create().unwrap();
        assert_eq!(directory.read_landscape().unwrap(), None);
        let landscape = Landscape::standard().with_ipv6().with_neighbour();
        directory.write_landscape(&landscape).unwrap();
        assert_eq!(directory.read_landscape().unwrap(), Some(landscape));
        fs::write(directory.note("landscape"), "{}").unwrap();
        directory.read_landscape().unwrap_err();
        directory.remove().unwrap();
    }
}
