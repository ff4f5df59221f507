//! Why a command ended, as an exit code and one line; the codes are those of `enid --help`.

use std::fmt;
use std::path::Path;

use anyhow::{Error, anyhow};

/// A command's end other than success.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The process's exit code.
    pub(crate) code: u8,
    why: Error,
}

impl Failure {
    /// The component failed, a test failed, something was refused.
    pub(crate) const FAILED: u8 = 1;
    /// Wrong arguments, or a file that is not what it should be.
    pub(crate) const INPUT: u8 = 2;
    /// Something that is needed does not answer or is missing.
    pub(crate) const UNAVAILABLE: u8 = 69;

    pub(crate) fn input(why: impl Into<Error>) -> Self {
        Self { code: Self::INPUT, why: why.into() }
    }

    pub(crate) fn failed(why: impl Into<Error>) -> Self {
        Self { code: Self::FAILED, why: why.into() }
    }

    pub(crate) fn unavailable(why: impl Into<Error>) -> Self {
        Self { code: Self::UNAVAILABLE, why: why.into() }
    }

    /// For `map_err` where a file is read: the author named the wrong one.
    pub(crate) fn reading(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.display().to_string();
        move |error| Self::input(Error::from(error).context(format!("read {path}")))
    }

    /// For `map_err` where a file is written.
    pub(crate) fn writing(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.display().to_string();
        move |error| Self::failed(Error::from(error).context(format!("write {path}")))
    }

    /// Says in which file it was, keeping the code.
    pub(crate) fn of(self, path: &Path) -> Self {
        Self { code: self.code, why: anyhow!("{}: {:#}", path.display(), self.why) }
    }

    /// The error alone, for whoever prints it.
    pub(crate) fn into_error(self) -> Error {
        self.why
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.why)
    }
}
