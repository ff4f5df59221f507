//! moto, an EC2 that we did not write: pinned, from PyPI, in an environment of its own.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

const MOTO: &str = "5.2.5";

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

/// Installs moto if this target directory has none yet. Fails where Python or PyPI cannot be had.
pub(crate) fn installed() -> Result<PathBuf> {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("moto-{MOTO}"));
    let python = home.join("bin/python");
    let complete = home.join("complete");
    if !complete.exists() {
        call(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&home))?;
        let package = format!("moto[server,ec2]=={MOTO}");
        call(Command::new(&python).args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            &package,
        ]))?;
        std::fs::write(&complete, "")?;
    }
    Ok(python)
}

impl MotoNode {
    pub(crate) fn start(python: &Path) -> Result<Self> {
        let script = Path::new(&std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo and xtask tell it"))
            .join("tests/cloud_aws/moto_node.py");
        let mut child = Command::new(python)
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

fn call(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("start {command:?}"))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{command:?}: {}",
        complaint.lines().last().unwrap_or("no reason given")
    );
    Ok(())
}
