//! Why the journal cannot be used.

use std::io;
use std::path::PathBuf;

/// The journal could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Bytes that were written whole have changed since.
    #[error(
        "the journal {} is damaged at byte {offset}: {why}. Keep a copy; moving it away lets enid start with \
         what EC2 and the kernel say, without cooling periods",
        .path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where the damaged line begins.
        offset: u64,
        /// What is wrong with it.
        why: String,
    },
    /// The file grew to its bound; compaction makes room.
    #[error("the journal {} would exceed {limit} bytes", .path.display())]
    Full {
        /// The file.
        path: PathBuf,
        /// The bound.
        limit: u64,
    },
    /// Another process has the directory open.
    #[error("{} is in use by another enid ({})", .dir.display(), holder(.pid))]
    InUse {
        /// The directory.
        dir: PathBuf,
        /// The other process, if it said.
        pid: Option<u32>,
    },
    /// The file system refused.
    #[error("{attempt}")]
    Io {
        /// What was attempted, on what.
        attempt: String,
        /// Its answer.
        source: io::Error,
    },
    /// The file was written by a later version.
    #[error(
        "the journal {} has format {found}, and this enid reads up to {known}: start the later version again",
        .path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest that is known here.
        known: u32,
    },
    /// The file is something else.
    #[error("{} is not a journal of enid: is the directory right?", .path.display())]
    NotAJournal {
        /// The file.
        path: PathBuf,
    },
    /// An earlier failed append could not be undone; nothing more is written until the next start.
    #[error("the journal {} is closed after a failed write", .path.display())]
    Poisoned {
        /// The file.
        path: PathBuf,
    },
    /// More was given to one append than a line may hold.
    #[error("{length} bytes of records exceed the limit of {limit} for one append")]
    TooLarge {
        /// Their size.
        length: usize,
        /// The bound.
        limit: usize,
    },
    /// An intact line holds a record that this version does not know.
    #[error(
        "the journal {} holds a record at byte {offset} that this enid does not know: {why}. Start the version \
         that wrote it",
        .path.display()
    )]
    UnknownRecord {
        /// The file.
        path: PathBuf,
        /// Where its line begins.
        offset: u64,
        /// What is unknown.
        why: String,
    },
    /// A record cannot be written as JSON: our own mistake.
    #[error("encode records")]
    Unencodable {
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

fn holder(pid: &Option<u32>) -> String {
    pid.map_or_else(|| "it did not say its pid".to_owned(), |pid| format!("pid {pid}"))
}
