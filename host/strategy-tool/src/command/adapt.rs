//! `adapt`: a component without the WASI imports that no host satisfies.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use enid_component_store::Digest;

use crate::failure::Failure;
use crate::subject::ComponentFile;

/// `enid strategy adapt`.
#[derive(Debug, Args)]
pub struct Adapt {
    /// The component, or a core module that carries its WIT world
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// Where the adapted component goes
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl Adapt {
    pub(crate) fn run(&self) -> Result<ExitCode, Failure> {
        let file = ComponentFile::read(&self.input)?;
        let adapted =
            enid_guest_build::adapt(&file.bytes).map_err(|error| Failure::failed(error).of(&self.input))?;
        enid_guest_build::output::write_if_changed(&self.out, &adapted).map_err(Failure::failed)?;
        println!("{}  {}", Digest::of(&adapted), self.out.display());
        Ok(ExitCode::SUCCESS)
    }
}
