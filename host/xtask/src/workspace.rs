//! Where the workspace and its artifacts are, and how its cargo is called.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The workspace that xtask was called in.
pub(crate) struct Workspace {
    /// Directory of the root `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// Cargo's target directory; `CARGO_TARGET_DIR` is respected.
    pub(crate) target: PathBuf,
}

impl Workspace {
    /// Asks cargo.
    pub(crate) fn find() -> Result<Self> {
        let out = cargo()
            .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
            .output()
            .context("run cargo metadata")?;
        if !out.status.success() {
            bail!("cargo metadata: {}", String::from_utf8_lossy(&out.stderr).trim());
        }
        let metadata: Value = serde_json::from_slice(&out.stdout).context("read cargo metadata")?;
        let path = |key: &str| -> Result<PathBuf> {
            Ok(metadata[key].as_str().with_context(|| format!("cargo metadata has no `{key}`"))?.into())
        };
        Ok(Self { root: path("workspace_root")?, target: path("target_directory")? })
    }

    /// Where release binaries land.
    pub(crate) fn release(&self) -> PathBuf {
        self.target.join("release")
    }

    /// The daemon, after [`crate::artifacts::build`].
    pub(crate) fn daemon(&self) -> PathBuf {
        self.release().join("enid")
    }

    /// The CNI plugin, after [`crate::artifacts::build`].
    pub(crate) fn plugin(&self) -> PathBuf {
        self.release().join("enid-cni")
    }

    /// A cargo command in the workspace root that puts its artifacts where this workspace's are.
    pub(crate) fn cargo(&self) -> Command {
        let mut cargo = cargo();
        cargo.current_dir(&self.root).env("CARGO_TARGET_DIR", &self.target);
        cargo
    }
}

/// The target triple of static binaries on this machine.
pub(crate) fn static_target() -> String {
    format!("{}-unknown-linux-musl", env::consts::ARCH)
}

/// A cargo command without what `cargo run` told xtask about itself.
///
/// Build scripts watch variables like `CARGO_PKG_NAME`: inherited, they would make a build from here differ
/// from the same build typed by hand, and dependencies would be compiled again and again.
fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in env::vars_os() {
        if is_about_xtask(&name) {
            cargo.env_remove(name);
        }
    }
    cargo
}

fn is_about_xtask(name: &OsStr) -> bool {
    let own = ["CARGO_BIN_", "CARGO_CRATE_", "CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_PRIMARY_"];
    name.to_str().is_some_and(|name| own.iter().any(|prefix| name.starts_with(prefix)))
}

/// Runs `command` with the terminal as its own; an unsuccessful end is an error that shows the command.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("run {}", shown(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", shown(command));
    }
    Ok(())
}

/// The command as one would type it.
pub(crate) fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cargo_run_says_about_xtask_is_not_passed_on() {
        assert!(is_about_xtask(OsStr::new("CARGO_PKG_NAME")));
        assert!(is_about_xtask(OsStr::new("CARGO_MANIFEST_DIR")));
        assert!(!is_about_xtask(OsStr::new("CARGO_TARGET_DIR")));
        assert!(!is_about_xtask(OsStr::new("CARGO_HOME")));
    }

    #[test]
    fn commands_are_shown_without_the_directory_of_the_program() {
        let mut command = Command::new("/somewhere/bin/cargo");
        command.args(["build", "--release"]);
        assert_eq!(shown(&command), "cargo build --release");
    }
}
