//! `build`: a folder with a strategy into a component.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::anyhow;
use clap::Args;
use enid_core::kind::Kind;
use enid_guest_build::Error;
use serde::Serialize;

use crate::failure::Failure;
use crate::interface::Interface;
use crate::output::{Sheet, bytes, print_json, wide};
use crate::snippet::{self, Output};
use crate::subject::ComponentFile;

/// `enid strategy build`.
#[derive(Debug, Args)]
pub struct Build {
    /// The strategy's folder
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Where the component goes [default: its name and .wasm, in the folder]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl Build {
    pub(crate) fn run(&self) -> Result<ExitCode, Failure> {
        let component = match &self.out {
            None => build(&self.dir, &self.dir)?,
            Some(out) => {
                // The builder chooses names; the author's name is given by moving its file there.
                let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty());
                let scratch = self.dir.join("build").join("out");
                let built = build(&self.dir, &scratch)?;
                if let Some(parent) = parent {
                    std::fs::create_dir_all(parent).map_err(Failure::writing(parent))?;
                }
                std::fs::copy(&built, out).map_err(Failure::writing(out))?;
                out.clone()
            }
        };
        let file = ComponentFile::read(&component)?;
        let interface = Interface::of(&file.bytes);
        let Some(kind) = interface.as_ref().and_then(|interface| interface.kind().map(|(kind, _)| kind))
        else {
            let path = component.display();
            return Err(Failure::failed(anyhow!("{path} was built, but it exports no kind of strategy")));
        };
        let told = Told {
            component: component.display().to_string(),
            bytes: wide(file.bytes.len()),
            digest: file.digest.to_string(),
            kind,
            settings: snippet::toml(kind, &component, &file.digest),
        };
        match self.output {
            Output::Json => print_json(&told)?,
            Output::Text => told.print(),
            Output::Toml => print!("{}", told.settings),
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What `--output json` prints. A contract: the names do not change.
#[derive(Debug, Serialize)]
struct Told {
    component: String,
    bytes: u64,
    digest: String,
    kind: Kind,
    /// What to put into enid.toml.
    settings: String,
}

impl Told {
    fn print(&self) {
        let mut sheet = Sheet::default();
        sheet.row("component", self.component.clone());
        sheet.row("size", bytes(self.bytes));
        sheet.row("digest", self.digest.clone());
        sheet.row("kind", self.kind.to_string());
        sheet.print();
        print!("\n# for enid.toml\n{}", self.settings);
    }
}

/// Builds the strategy in `dir` and returns the component's file, which is in `out`.
pub(crate) fn build(dir: &Path, out: &Path) -> Result<PathBuf, Failure> {
    // Compilers and their tools run in folders of their own.
    let dir = std::path::absolute(dir).map_err(Failure::reading(dir))?;
    let built = enid_guest_build::build_project(&dir, out).map_err(blamed)?.component;
    Ok(built.strip_prefix(".").map(Path::to_owned).unwrap_or(built))
}

/// A missing toolchain is something else than a mistake.
pub(crate) fn blamed(error: Error) -> Failure {
    match &error {
        Error::Missing(_) | Error::Start { .. } => Failure::unavailable(error),
        Error::Name(_) | Error::NotAProject { .. } | Error::Occupied(_) => Failure::input(error),
        Error::Adapt(_)
        | Error::Componentize(_)
        | Error::Failed { .. }
        | Error::File { .. }
        | Error::Unexpected { .. }
        | Error::WouldNotLoad { .. } => Failure::failed(error),
    }
}
