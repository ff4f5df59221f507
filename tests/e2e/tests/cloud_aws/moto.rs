//! moto, an EC2 that we did not write: pinned, from PyPI.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use e2e::python;
use serde_json::Value;

const REQUIREMENTS: &str = include_str!("../../ec2/requirements.txt");

/// A node on moto, until dropped.
pub(crate) struct MotoNode {
    child: Child,
    /// Where EC2 answers.
    pub(crate) ec2: String,
    /// Where metadata answers.
    pub(crate) imds: String,
    /// A tagged subnet besides the node's own.
    pub(crate) second_subnet: String,
}

impl MotoNode {
    pub(crate) fn start() -> Result<Self> {
        let script = Path::new(&std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo and xtask tell it"))
            .join("tests/cloud_aws/moto_node.py");
        let mut child = Command::new(python::environment("ec2-clients", REQUIREMENTS))
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("start moto")?;
        let mut line = String::new();
        let output = child.stdout.take().context("moto's output")?;
        BufReader::new(output).read_line(&mut line)?;
        if line.is_empty() {
            bail!("moto ended at once: {}", child.wait()?);
        }
        let told: Value = serde_json::from_str(&line)?;
        let text =
            |key: &str| told[key].as_str().map(str::to_owned).with_context(|| format!("no {key} in {line}"));
        Ok(Self { ec2: text("ec2")?, imds: text("imds")?, second_subnet: text("second_subnet")?, child })
    }
}

impl Drop for MotoNode {
    fn drop(&mut self) {
        // It ends with its standard input.
        drop(self.child.stdin.take());
        drop(self.child.wait());
    }
}
