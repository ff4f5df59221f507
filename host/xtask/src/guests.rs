//! The strategy `batched` in other languages, built from `tests/guests/languages` where their toolchains are.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use enid_guest_build::project::{Project, Workshop};
use enid_guest_build::{Language, toolchain};

use crate::setup;
use crate::tiers::Required;
use crate::workspace::Workspace;

/// A twin: its folder and language, and its strategy's name.
const TWINS: [(Language, &str); 3] =
    [(Language::C, "batched-c"), (Language::JavaScript, "batched-js"), (Language::Python, "batched-python")];

/// Where the twins are: `<name>.wasm` of each that could be built.
pub(crate) fn directory(workspace: &Workspace) -> PathBuf {
    workspace.release().join("guests")
}

/// Installs what the languages need and the machine lacks; returns what to type where it may not.
pub(crate) fn install_toolchains() -> Result<Option<String>> {
    let mut packages = Vec::new();
    for missing in TWINS.iter().flat_map(|(language, _)| toolchain::missing(*language)) {
        packages.extend_from_slice(missing.packages);
    }
    setup::install(&packages)
}

/// Builds the twins; one that cannot be built is named and left out, or a failure where all are required.
pub(crate) fn build(workspace: &Workspace, required: Required) -> Result<()> {
    println!("==> strategies in other languages");
    let out = directory(workspace);
    let work = workspace.target.join("guests");
    for (language, name) in TWINS {
        let source = workspace.root.join("tests/guests/languages").join(language.as_str());
        let workshop = Workshop { scratch: work.join(language.as_str()), tools: work.join("tools") };
        match Project::open(&source).and_then(|project| project.build(&workshop, &out)) {
            Ok(built) => println!("{}", built.component.display()),
            Err(why) if required == Required::All => {
                return Err(why).with_context(|| format!("build {name}"));
            }
            Err(why) => {
                println!("{name}: left out: {why}");
                remove(&out.join(format!("{name}.wasm")))?;
            }
        }
    }
    Ok(())
}

/// What cannot be built must not be tested as it once was.
fn remove(stale: &PathBuf) -> Result<()> {
    match fs::remove_file(stale) {
        Err(why) if why.kind() != ErrorKind::NotFound => {
            bail!("remove {}, which is not built any more: {why}", stale.display())
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
