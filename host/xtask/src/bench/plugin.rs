//! Calling CNI plugins as a container runtime does, timed from exec to exit.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::pods::Sandbox;

/// A plugin and the network configuration it gets on stdin.
#[derive(Clone, Debug)]
pub(super) struct Plugin<'a> {
    pub(super) program: &'a Path,
    pub(super) configuration: &'a str,
}

impl Plugin<'_> {
    /// CNI ADD.
    pub(super) fn add(&self, sandbox: &Sandbox) -> Result<Duration> {
        self.call("ADD", sandbox)
    }

    /// CNI DEL.
    pub(super) fn del(&self, sandbox: &Sandbox) -> Result<Duration> {
        self.call("DEL", sandbox)
    }

    fn call(&self, verb: &str, sandbox: &Sandbox) -> Result<Duration> {
        let args = format!(
            "IgnoreUnknown=1;K8S_POD_NAMESPACE=bench;K8S_POD_NAME={};K8S_POD_INFRA_CONTAINER_ID={}",
            sandbox.pod, sandbox.container
        );
        let mut command = Command::new(self.program);
        command
            .env_clear()
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", &sandbox.container)
            .env("CNI_NETNS", &sandbox.netns)
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", self.program.parent().unwrap_or(Path::new("/")))
            .env("CNI_ARGS", args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let begun = Instant::now();
        let mut child = command.spawn().with_context(|| format!("start {}", self.program.display()))?;
        if let Some(mut stdin) = child.stdin.take() {
            // A plugin that ends before it has read everything says why on stdout.
            let _ = stdin.write_all(self.configuration.as_bytes());
        }
        let out = child.wait_with_output()?;
        let took = begun.elapsed();
        if !out.status.success() {
            bail!("{verb} of {}: {}", sandbox.pod, String::from_utf8_lossy(&out.stdout).trim());
        }
        Ok(took)
    }
}
