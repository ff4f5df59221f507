//! One daemon per directory: an advisory lock on a file of its own, which outlives renames of the journal.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::error::JournalError;
use crate::journal::io_at;

const NAME: &str = "lock";

/// The right to write in a directory. The kernel takes it back when the process ends, however it ends.
#[derive(Debug)]
pub struct DirectoryLock {
    _file: File,
}

impl DirectoryLock {
    /// Takes the lock at once or says who has it.
    pub fn take(dir: &Path) -> Result<DirectoryLock, JournalError> {
        let path = dir.join(NAME);
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let mut file = file.map_err(io_at("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // The pid is a courtesy: without it the message only says less.
                let _ = Read::by_ref(&mut file).take(20).read_to_string(&mut text);
                return Err(JournalError::InUse { dir: dir.to_owned(), pid: text.trim().parse().ok() });
            }
            Err(TryLockError::Error(source)) => return Err(io_at("lock", &path)(source)),
        }
        let pid = format!("{}\n", std::process::id());
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(pid.as_bytes()))
            .map_err(io_at("write", &path))?;
        Ok(DirectoryLock { _file: file })
    }
}
