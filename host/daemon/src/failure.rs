//! Why a command ended, as an exit code and one line.
//!
//! Codes follow `sysexits.h`, so that service managers and scripts can tell them apart; `--help` lists them.

use std::fmt;
use std::io;

use enid_vpc_lab::fabric::FabricError;
use enid_vpc_lab::lab::LabError;
use enid_vpc_lab::requirements::Unmet;

use crate::settings::Problems;

/// Listed under `enid --help`.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
   0  done
   1  failed; of `enid diff`: something differs
   2  wrong arguments; of `enid diff`: something could not be looked at
  69  something needed does not answer or is missing: metadata, EC2, the daemon, the lab, a tool
  73  the runtime directory, the socket or the lab's name is in use or cannot be made
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
    /// The exit code of wrong arguments.
    pub(crate) const ARGUMENTS: u8 = 2;

    pub(crate) fn arguments(why: impl Into<anyhow::Error>) -> Self {
        Self { code: Self::ARGUMENTS, why: why.into() }
    }

    /// With a code of the command's own.
    pub(crate) fn coded(code: u8, why: impl Into<anyhow::Error>) -> Self {
        Self { code, why: why.into() }
    }

    pub(crate) fn unavailable(why: impl Into<anyhow::Error>) -> Self {
        Self { code: 69, why: why.into() }
    }

    pub(crate) fn in_use(why: impl Into<anyhow::Error>) -> Self {
        Self { code: 73, why: why.into() }
    }

    pub(crate) fn not_permitted(why: impl Into<anyhow::Error>) -> Self {
        Self { code: 77, why: why.into() }
    }

    /// A lab command's end.
    pub(crate) fn lab(why: anyhow::Error) -> Self {
        let Some(error) = why.downcast_ref::<LabError>() else { return Self::from(why) };
        match error {
            LabError::Unmet(unmet) if unmet.iter().all(|missing| matches!(missing, Unmet::Tool(_))) => {
                Self::unavailable(why)
            }
            LabError::Unmet(_) => Self::not_permitted(why),
            LabError::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Self::not_permitted(anyhow::anyhow!("{why:#}; run it as root"))
            }
            LabError::AlreadyUp { .. } | LabError::Leftovers { .. } => Self::in_use(why),
            LabError::NotUp { .. } => Self::unavailable(why),
            LabError::NoSuchNode { .. } | LabError::Fabric(FabricError::BadPrefix { .. }) => {
                Self::arguments(why)
            }
            LabError::DiedStarting { .. }
            | LabError::WillNotEnd { .. }
            | LabError::Silent { .. }
            | LabError::Refused { .. }
            | LabError::Io { .. }
            | LabError::Fabric(_)
            | LabError::Serve(_) => Self::from(why),
        }
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
