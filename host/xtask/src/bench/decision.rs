//! One decision of a strategy: measured by a program that is the policy host and nothing else.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::workspace::{Workspace, run};

/// What it took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decision {
    pub(super) p50_micros: f64,
}

/// Builds the program, from the same selection as the daemon and the tests.
pub(super) fn build(workspace: &Workspace) -> Result<()> {
    run(workspace.cargo().args(["build", "--release", "--workspace", "--example", "decision"]))
}

/// A fresh instance of `warm-targets` per decision, on a node of 15 ENIs with 64 buckets of history.
pub(super) fn measure(workspace: &Workspace) -> Result<Decision> {
    let program = workspace.release().join("examples/decision");
    let strategies = workspace.release().join("strategies");
    let out = Command::new(&program)
        .arg(strategies)
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("start {}", program.display()))?;
    ensure!(out.status.success(), "{} ended with {}", program.display(), out.status);
    let report: Value = serde_json::from_slice(&out.stdout).context("read what the program reports")?;
    let p50_micros =
        report["decision_p50_us"].as_f64().context("the program reports no `decision_p50_us`")?;
    Ok(Decision { p50_micros })
}
