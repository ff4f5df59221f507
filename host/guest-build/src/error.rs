//! Why a project or a component cannot be made: one enum for the crate; the words are for the author of the project.

use std::path::{Path, PathBuf};

use crate::toolchain::Missing;

/// Why there is no component, or no project.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A component cannot be freed of its WASI imports.
    #[error("adapt: {0}")]
    Adapt(String),
    /// A core module or its interfaces cannot be made into a component.
    #[error("make a component of the core module: {0}")]
    Componentize(String),
    /// A file operation.
    #[error("{action} {}", path.display())]
    File {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// A compiler or package manager ended with an error.
    #[error("`{command}` ended with {status}{}{}", if output.is_empty() { "" } else { ":\n" }, output)]
    Failed {
        /// The command as one would type it.
        command: String,
        /// How it ended.
        status: std::process::ExitStatus,
        /// The end of what it printed; empty when it printed to our own terminal.
        output: String,
    },
    /// Programs or libraries of a toolchain are not there.
    #[error("{}", crate::toolchain::list(.0))]
    Missing(Vec<Missing>),
    /// A folder does not hold what a project needs.
    #[error("{}: {what}", dir.display())]
    NotAProject {
        /// The folder.
        dir: PathBuf,
        /// What is wrong and what would be right.
        what: String,
    },
    /// Nothing is overwritten to start a project.
    #[error("{} is there already and not empty: a new project needs a folder of its own", .0.display())]
    Occupied(PathBuf),
    /// A name that no strategy can have.
    #[error(
        "`{0}` cannot be a strategy's name: expected lower-case letters, digits and single dashes, starting with a letter, at most 64"
    )]
    Name(String),
    /// A program could not be started.
    #[error("run {program}")]
    Start {
        /// The program.
        program: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// A tool said something that it never says.
    #[error("{tool} answered with something unexpected: {what}")]
    Unexpected {
        /// The tool.
        tool: &'static str,
        /// What it said, or what was missing in it.
        what: String,
    },
    /// What a toolchain built imports more than the contract.
    #[error("{}: imports {}, which no host satisfies: `enid strategy adapt` can answer wasi:*@0.2", component.display(), imports.join(", "))]
    WouldNotLoad {
        /// The component.
        component: PathBuf,
        /// Its imports beyond the contract.
        imports: Vec<String>,
    },
}

impl Error {
    /// For `map_err` on file operations.
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }
}
