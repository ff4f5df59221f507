//! What a user installs: strategy components, the plugin, the daemon; each built once, in release.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::strategies;
use crate::workspace::{Workspace, run, static_target};

/// Builds everything that `enid demo`, the tests and an operator need, into `target/release`.
pub(crate) fn build(workspace: &Workspace) -> Result<()> {
    build_strategies(workspace)?;
    build_plugin(workspace)?;
    build_daemon(workspace)
}

/// Builds the shipped strategies into `target/release/strategies`, where the daemon next to it looks.
pub(crate) fn build_strategies(workspace: &Workspace) -> Result<()> {
    println!("==> strategies");
    let out = workspace.release().join("strategies");
    fs::create_dir_all(&out).with_context(|| format!("create {}", out.display()))?;
    for component in strategies::build(&workspace.root, &out)? {
        println!("{}", component.display());
    }
    Ok(())
}

fn build_plugin(workspace: &Workspace) -> Result<()> {
    println!("==> enid-cni");
    let target = static_target();
    run(workspace.cargo().args(["build", "--profile", "plugin", "--target", &target, "-p", "enid-cni"]))?;
    place_plugin(workspace)
}

/// Puts the plugin that was built in its place, where cargo puts another build of it whenever it compiles the plugin's own
/// tests.
pub(crate) fn place_plugin(workspace: &Workspace) -> Result<()> {
    let built = workspace.target.join(static_target()).join("plugin/enid-cni");
    place(&built, &workspace.plugin())
}

/// The whole workspace is selected, and one binary of it: the selection decides which features small shared
/// dependencies get, and with another selection than the tests' the AWS SDK and wasmtime are compiled twice.
fn build_daemon(workspace: &Workspace) -> Result<()> {
    println!("==> enid (the first build compiles the AWS SDK and wasmtime: minutes)");
    run(workspace.cargo().args(["build", "--release", "--workspace", "--bin", "enid"]))
}

/// Puts a file in its place whole or not at all, also while the old one is running.
fn place(from: &Path, to: &Path) -> Result<()> {
    let half = to.with_extension("new");
    fs::copy(from, &half).with_context(|| format!("copy {} to {}", from.display(), half.display()))?;
    fs::rename(&half, to).with_context(|| format!("put {} in place", to.display()))
}
