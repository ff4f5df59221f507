//! What nothing can beat on this machine today: an empty program, and raw netlink for one pod's wiring.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::samples::Samples;
use crate::workspace::{Workspace, run, static_target};

/// Times that the empty program is started.
const SPAWNS: usize = 200;
/// Pods that are wired: as many as a full node has.
const PODS: usize = super::FULL;
/// The first of them are the floor of one pod: with many, the kernel takes longer for each.
const FEW: usize = 200;

/// The programs that are the floor.
pub(super) struct Floor {
    empty: PathBuf,
    netlink: PathBuf,
}

/// What they took.
pub(super) struct Measured {
    pub(super) spawn: Samples,
    pub(super) netlink: Samples,
    /// Wiring a full node, one pod after the other.
    all_netlink: Duration,
}

impl Floor {
    /// Compiles them, as static programs like the plugin.
    pub(super) fn build(workspace: &Workspace) -> Result<Self> {
        let out = workspace.target.join("bench");
        std::fs::create_dir_all(&out).with_context(|| format!("create {}", out.display()))?;
        let compile = |name: &str| -> Result<PathBuf> {
            let program = out.join(name);
            let source = workspace.root.join("host/xtask/src/bench/floor").join(format!("{name}.rs"));
            let mut rustc = Command::new("rustc");
            rustc
                .args([
                    "--edition",
                    "2024",
                    "-O",
                    "-Cpanic=abort",
                    "-Cstrip=symbols",
                    "-Crelocation-model=static",
                    "--target",
                    &static_target(),
                ])
                .arg("-o")
                .args([&program, &source]);
            run(&mut rustc)?;
            Ok(program)
        };
        Ok(Self { empty: compile("empty")?, netlink: compile("netlink")? })
    }

    /// Runs them.
    pub(super) fn measure(&self) -> Result<Measured> {
        let spawn = (0..SPAWNS).map(|_| started(&self.empty)).collect::<Result<Vec<_>>>()?;
        let out = Command::new(&self.netlink).arg(PODS.to_string()).stderr(Stdio::inherit()).output()?;
        ensure!(out.status.success(), "the netlink floor ended with {}", out.status);
        let text = String::from_utf8_lossy(&out.stdout);
        let wired: Vec<Duration> =
            text.lines().filter_map(|line| line.parse().ok()).map(Duration::from_nanos).collect();
        ensure!(wired.len() == PODS, "the netlink floor wired {} pods of {PODS}", wired.len());
        Ok(Measured {
            spawn: Samples::of(spawn).context("nothing was started")?,
            all_netlink: wired.iter().sum(),
            netlink: Samples::of(wired[..FEW].to_vec()).context("no pod was wired")?,
        })
    }
}

impl Measured {
    /// These and those.
    pub(super) fn with(self, other: Measured) -> Self {
        Self {
            spawn: self.spawn.with(other.spawn),
            netlink: self.netlink.with(other.netlink),
            all_netlink: self.all_netlink.min(other.all_netlink),
        }
    }

    /// One pod: start a program, wire.
    pub(super) fn per_pod(&self) -> Duration {
        self.spawn.p50() + self.netlink.p50()
    }

    /// A full node: start as many programs, wire as many pods, one after the other.
    pub(super) fn in_all(&self) -> Duration {
        self.spawn.p50() * PODS as u32 + self.all_netlink
    }
}

/// Starts a program as a plugin is started, with pipes, and waits for its end.
fn started(program: &Path) -> Result<Duration> {
    let mut command = Command::new(program);
    command.env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let begun = Instant::now();
    let child = command.spawn().with_context(|| format!("start {}", program.display()))?;
    child.wait_with_output()?;
    Ok(begun.elapsed())
}
