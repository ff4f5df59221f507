//! What is wrong with a settings file: every problem, each with its place and its remedy.

use std::fmt;
use std::path::PathBuf;

/// All problems of one settings file, in the order of its lines; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub(super) Vec<Problem>);

impl Problems {
    /// The problems, in the order of the file's lines.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// One thing that is wrong with a settings file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The file cannot be read at all.
    #[error("{}: {why}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system says, and what would help.
        why: String,
    },
    /// The file is not TOML. Nothing else is looked at until it is.
    #[error("{}:{line}: not valid TOML: {why}", file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// Its line, counted from 1.
        line: usize,
        /// What the parser says.
        why: String,
    },
    /// A key that means nothing here.
    #[error("{}:{line}: {key}: there is no such setting; {advice}", file.display())]
    Unknown {
        /// The file.
        file: PathBuf,
        /// Its line, counted from 1.
        line: usize,
        /// The dotted key.
        key: String,
        /// The setting that was probably meant, or those that exist.
        advice: String,
    },
    /// A value that its setting does not allow.
    #[error("{}:{line}: {key} = {value}: must be {allowed}", file.display())]
    NotAllowed {
        /// The file.
        file: PathBuf,
        /// Its line, counted from 1.
        line: usize,
        /// The dotted key.
        key: String,
        /// The value as written, cut to 60 characters.
        value: String,
        /// What would be right.
        allowed: String,
    },
}

impl Problem {
    /// The line it is on, where it has one.
    pub fn line(&self) -> Option<usize> {
        match self {
            Problem::Unreadable { .. } => None,
            Problem::Syntax { line, .. }
            | Problem::Unknown { line, .. }
            | Problem::NotAllowed { line, .. } => Some(*line),
        }
    }
}
