//! Sandboxes to wire: network namespaces with names of our own, taken away by exactly those names.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// A pod before it has a network.
#[derive(Clone, Debug)]
pub(super) struct Sandbox {
    pub(super) pod: String,
    pub(super) container: String,
    pub(super) netns: PathBuf,
}

/// Network namespaces that end with this value.
#[derive(Debug)]
pub(super) struct Sandboxes {
    names: Vec<String>,
}

impl Sandboxes {
    /// Makes `count` of them; `label` keeps those of one run apart.
    pub(super) fn make(label: &str, count: usize) -> Result<Self> {
        let own = std::process::id();
        let names = (0..count).map(|number| format!("enidb{own}-{label}{number}")).collect();
        let made = Self { names };
        made.batch("add").context("make network namespaces")?;
        Ok(made)
    }

    /// They, in order.
    pub(super) fn list(&self) -> Vec<Sandbox> {
        let sandbox = |(number, name): (usize, &String)| Sandbox {
            pod: name.clone(),
            container: format!("{:08x}{number:024x}", std::process::id()),
            netns: PathBuf::from("/run/netns").join(name),
        };
        self.names.iter().enumerate().map(sandbox).collect()
    }

    fn batch(&self, verb: &str) -> Result<()> {
        let mut lines = String::new();
        for name in &self.names {
            writeln!(lines, "netns {verb} {name}")?;
        }
        let mut ip = Command::new("ip").args(["-force", "-batch", "-"]).stdin(Stdio::piped()).spawn()?;
        ip.stdin.take().context("ip has no stdin")?.write_all(lines.as_bytes())?;
        ensure!(ip.wait()?.success(), "ip -batch failed");
        Ok(())
    }
}

impl Drop for Sandboxes {
    fn drop(&mut self) {
        if let Err(why) = self.batch("del") {
            eprintln!("error: remove network namespaces: {why:#}");
        }
    }
}
