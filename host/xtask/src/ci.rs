//! `cargo xtask ci`: formatting, lints, licences, and every tier of tests, none left out.

use std::process::{ExitCode, Stdio};

use anyhow::{Result, bail};

use crate::setup::{self, Scope, find};
use crate::tiers::{self, Required};
use crate::workspace::{Workspace, run};

/// Runs every check; stops at the first of the quick ones that fails, since the rest costs minutes.
pub(crate) fn check(workspace: &Workspace) -> Result<ExitCode> {
    setup::run_setup(workspace, Scope::of_tests())?;
    println!("==> formatting");
    run(workspace.cargo().args(["fmt", "--all", "--check"]))?;
    check_dependencies(workspace)?;
    println!("==> lints");
    // In release, because then build scripts and procedural macros are the ones that the tests use too.
    run(workspace.cargo().args([
        "clippy",
        "--release",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))?;
    tiers::test(workspace, &[], Required::All)
}

/// Licences, sources and duplicates by `cargo deny`, where it is installed; what it needs is in `Cargo.lock`
/// and cargo's cache. Advisories need a database from the network and are not for this run.
fn check_dependencies(workspace: &Workspace) -> Result<()> {
    if find("cargo-deny").is_none() {
        println!(
            "==> dependencies: skipped, `cargo deny` is not installed (cargo install --locked cargo-deny)"
        );
        return Ok(());
    }
    println!("==> dependencies");
    // Also those of systems that we do not build for: it reads all of them.
    run(workspace.cargo().args(["fetch", "--locked"]))?;
    let mut deny = workspace.cargo();
    deny.args(["deny", "--offline", "--workspace", "check", "bans", "licenses", "sources"])
        .stdin(Stdio::null());
    if run(&mut deny).is_err() {
        bail!("dependencies break a rule of .deny.toml");
    }
    Ok(())
}
