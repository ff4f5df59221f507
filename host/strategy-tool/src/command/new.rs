//! `new`: a strategy to start from.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use enid_core::kind::Kind;
use enid_guest_build::Language;

use crate::command::build::blamed;
use crate::failure::Failure;

/// `enid strategy new`.
#[derive(Debug, Args)]
pub struct New {
    /// What to call it: lower-case letters, digits and dashes
    name: String,
    /// What it decides: warm-pool, max-pods or subnet-selection
    #[arg(long)]
    kind: Kind,
    /// What it is written in: rust, c, js or python
    #[arg(long)]
    lang: Language,
    /// Where its folder is made [default: here]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl New {
    pub(crate) fn run(&self) -> Result<ExitCode, Failure> {
        let dir = self.dir.as_ref().map_or_else(|| PathBuf::from(&self.name), |dir| dir.join(&self.name));
        enid_guest_build::new_project(&dir, &self.name, self.kind, self.lang).map_err(blamed)?;
        println!("{}", dir.display());
        eprintln!("enid: next: cd {} && enid strategy test", dir.display());
        Ok(ExitCode::SUCCESS)
    }
}
