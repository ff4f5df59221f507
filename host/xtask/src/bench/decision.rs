//! Decisions of strategies: measured by a program that is the policy host and nothing else.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::workspace::{Workspace, run};

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decision {
    /// In the host's own process, in a child, and by the same code compiled for this machine.
    pub(super) p50_micros: f64,
    pub(super) child_p50_micros: f64,
    pub(super) native_p50_micros: f64,
    /// All of admission with nothing remembered; loading what the cache remembers.
    pub(super) admission_cold_ms: f64,
    pub(super) load_cached_ms: f64,
    /// Until a strategy that never answers is stopped.
    pub(super) kill_ms: f64,
    pub(super) kill_child_ms: f64,
    /// What engine and strategies add to the host, and what a child has.
    pub(super) memory_mib: f64,
    pub(super) memory_child_mib: f64,
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
        .arg(workspace.daemon())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("start {}", program.display()))?;
    ensure!(out.status.success(), "{} ended with {}", program.display(), out.status);
    let report: Value = serde_json::from_slice(&out.stdout).context("read what the program reports")?;
    let number = |key: &str| report[key].as_f64().with_context(|| format!("the program reports no `{key}`"));
    Ok(Decision {
        p50_micros: number("decision_p50_us")?,
        child_p50_micros: number("decision_child_p50_us")?,
        native_p50_micros: number("decision_native_p50_us")?,
        admission_cold_ms: number("admission_cold_ms")?,
        load_cached_ms: number("load_cached_ms")?,
        kill_ms: number("kill_ms")?,
        kill_child_ms: number("kill_child_ms")?,
        memory_mib: number("memory_mib")?,
        memory_child_mib: number("memory_child_mib")?,
    })
}
