//! Why a component could not be kept or given.

use std::io;
use std::path::PathBuf;

use crate::digest::Digest;

/// The store refused, or could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A component has changed since it was stored.
    #[error(
        "{} holds {found} and not what its name says: it is damaged. Remove it and pull or add it again",
        .path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What its bytes are now.
        found: Digest,
    },
    /// A file is larger than what we ever write.
    #[error("{} has more than {limit} bytes: enid did not write it", .path.display())]
    FileTooLarge {
        /// The file.
        path: PathBuf,
        /// The bound.
        limit: usize,
    },
    /// The bound on components is reached.
    #[error("{} holds {limit} components, which is as many as it may: remove some", .dir.display())]
    Full {
        /// The store.
        dir: PathBuf,
        /// The bound.
        limit: usize,
    },
    /// The index cannot be understood.
    #[error(
        "{} is not an index of components: {why}. Move it away: only names and dates are in it",
        .path.display()
    )]
    Index {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The file system refused.
    #[error("{attempt}")]
    Io {
        /// What was attempted, on what.
        attempt: String,
        /// Its answer.
        source: io::Error,
    },
    /// A name or source that people could not read.
    #[error("{given:?} cannot be the {what} of a component: expected printable text")]
    Label {
        /// Which of both.
        what: &'static str,
        /// The text.
        given: String,
    },
    /// Something that is no directory is where one belongs.
    #[error("{} is not a directory", .path.display())]
    NotADirectory {
        /// What is there.
        path: PathBuf,
    },
    /// A link, a pipe or the like is where a file belongs.
    #[error("{} is not a regular file", .path.display())]
    NotAFile {
        /// What is there.
        path: PathBuf,
    },
    /// The store has no such component.
    #[error("{} holds no component {digest}: pull or add it", .dir.display())]
    NotFound {
        /// What was asked for.
        digest: Digest,
        /// The store.
        dir: PathBuf,
    },
    /// A signature's file is not text.
    #[error("{} is not text: remove the component and pull or add it again", .path.display())]
    NotText {
        /// The file.
        path: PathBuf,
    },
    /// Something exceeds its bound.
    #[error("the {what} has {size} bytes, and at most {limit} are allowed")]
    TooLarge {
        /// What it is.
        what: &'static str,
        /// Its size.
        size: usize,
        /// The bound.
        limit: usize,
    },
    /// The bytes are not those that were announced.
    #[error("the component is {found} and not {expected}, as was said")]
    WrongDigest {
        /// What was said.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
}
