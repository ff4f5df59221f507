//! What is wrong with a settings file: every problem, each with its place and its remedy.

use std::fmt;
use std::path::{Path, PathBuf};

/// All problems of one settings file and of the variables beside it, in the order of lines; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub(super) Vec<Problem>);

impl Problems {
    /// `problems` in the order of lines; there is at least one.
    pub(crate) fn in_order(mut problems: Vec<Problem>) -> Self {
        assert!(!problems.is_empty(), "a file without problems is not refused");
        problems.sort_by_key(Problem::line);
        Self(problems)
    }

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
    /// An environment variable whose value does not fit.
    #[error("environment: {name} = {value}: must be {allowed}; it stands for {key}")]
    Variable {
        /// The variable.
        name: &'static str,
        /// Its value, or the part of it that does not fit, cut to 60 characters.
        value: String,
        /// The dotted key that it stands for.
        key: String,
        /// What would be right.
        allowed: String,
    },
    /// A setting that must be made and is not.
    #[error("{}:{line}: {key} is missing: {why}", file.display())]
    Missing {
        /// The file.
        file: PathBuf,
        /// The line next to which it belongs, counted from 1.
        line: usize,
        /// The dotted key.
        key: String,
        /// Why it is needed, and where to get it.
        why: String,
    },
    /// A strategy that is not let in, or one of its settings that it or its schema refuses.
    #[error("{}: {}: {why}", At(.file, *.line), Assigned(.key, .value))]
    Refused {
        /// The file.
        file: PathBuf,
        /// The line of the setting that would have to change, counted from 1; none when it is a default.
        line: Option<usize>,
        /// The dotted key of that setting.
        key: String,
        /// Its value as written, cut to 60 characters; none when it is not set.
        value: Option<String>,
        /// Why, and what would be right.
        why: String,
    },
}

/// Something that is allowed and probably not meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// The file.
    pub file: PathBuf,
    /// Its line, counted from 1; none when a variable set it.
    pub line: Option<usize>,
    /// The dotted key that it is about.
    pub key: String,
    /// What comes of it, and what may be meant.
    pub why: String,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", At(&self.file, self.line), self.key, self.why)
    }
}

/// `FILE:LINE`, or `FILE` for what is not written there.
struct At<'a>(&'a Path, Option<usize>);

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(file, line) = self;
        match line {
            Some(line) => write!(f, "{}:{line}", file.display()),
            None => file.display().fmt(f),
        }
    }
}

/// `KEY = VALUE`, or `KEY` for what has no value.
struct Assigned<'a>(&'a str, &'a Option<String>);

impl fmt::Display for Assigned<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(key, value) = self;
        match value {
            Some(value) => write!(f, "{key} = {value}"),
            None => f.write_str(key),
        }
    }
}

impl Problem {
    /// The dotted key it is about, where it has one.
    pub fn key(&self) -> Option<&str> {
        match self {
            Problem::Unreadable { .. } | Problem::Syntax { .. } => None,
            Problem::Unknown { key, .. }
            | Problem::NotAllowed { key, .. }
            | Problem::Variable { key, .. }
            | Problem::Missing { key, .. }
            | Problem::Refused { key, .. } => Some(key),
        }
    }

    /// The line it is on, where it has one.
    pub fn line(&self) -> Option<usize> {
        match self {
            Problem::Unreadable { .. } | Problem::Variable { .. } => None,
            Problem::Syntax { line, .. }
            | Problem::Unknown { line, .. }
            | Problem::NotAllowed { line, .. }
            | Problem::Missing { line, .. } => Some(*line),
            Problem::Refused { line, .. } => *line,
        }
    }
}
