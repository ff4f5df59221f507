//! Why a command ended, as an exit code and one line.
//!
//! Codes follow `sysexits.h`, so that service managers and scripts can tell them apart; `--help` lists them.

use std::fmt;

use crate::settings::Problems;

/// Listed under `enid --help`.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
   0  done
   1  failed
   2  wrong arguments
  69  something needed does not answer: metadata, EC2, the daemon
  73  the runtime directory or the socket is in use or cannot be made
  77  not permitted: root is needed
  78  the settings, a strategy or the journal cannot be used";

/// A command's end other than success.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The process's exit code.
    pub(crate) code: u8,
    why: anyhow::Error,
}

impl Failure {
    pub(crate) fn unavailable(why: impl Into<anyhow::Error>) -> Self {
        Self { code: 69, why: why.into() }
    }

    pub(crate) fn in_use(why: impl Into<anyhow::Error>) -> Self {
        Self { code: 73, why: why.into() }
    }

    pub(crate) fn not_permitted(why: impl Into<anyhow::Error>) -> Self {
        Self { code: 77, why: why.into() }
    }

    pub(crate) fn settings(why: impl Into<anyhow::Error>) -> Self {
        Self { code: 78, why: why.into() }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(why: anyhow::Error) -> Self {
        Self { code: 1, why }
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::settings(problems)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.why)
    }
}
