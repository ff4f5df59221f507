//! `digest`: what files are called in settings.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::failure::Failure;
use crate::subject::ComponentFile;

/// `enid strategy digest`.
#[derive(Debug, Args)]
pub struct Digest {
    /// The files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

impl Digest {
    pub(crate) fn run(&self) -> Result<ExitCode, Failure> {
        for path in &self.files {
            println!("{}  {}", ComponentFile::read(path)?.digest, path.display());
        }
        Ok(ExitCode::SUCCESS)
    }
}
