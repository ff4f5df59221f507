//! Running `ip` and `nft` in batches: one process for many changes, and errors that name the line.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::namespace::NetNs;

/// Where these tools live when the caller's `PATH` does not say so.
const FALLBACK: [&str; 2] = ["/usr/sbin", "/sbin"];

/// Why a tool did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// The tool is not installed.
    #[error("`{tool}` is not installed: apt-get install {package}")]
    Missing {
        /// The command.
        tool: &'static str,
        /// The Debian and Ubuntu package that has it.
        package: &'static str,
    },
    /// It could not be run.
    #[error("run `{command}`")]
    Spawn {
        /// The command line.
        command: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It ran and refused.
    #[error("`{command}`: {stderr}")]
    Refused {
        /// The command line, or the line of the batch that failed.
        command: String,
        /// What it said.
        stderr: String,
    },
}

/// A command of the kernel's network tool boxes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// `ip` of iproute2.
    Ip,
    /// `nft` of nftables.
    Nft,
}

impl Tool {
    /// Every tool that the fabric needs.
    pub const ALL: [Tool; 2] = [Tool::Ip, Tool::Nft];

    fn command(self) -> &'static str {
        match self {
            Tool::Ip => "ip",
            Tool::Nft => "nft",
        }
    }

    fn package(self) -> &'static str {
        match self {
            Tool::Ip => "iproute2",
            Tool::Nft => "nftables",
        }
    }

    /// Where it is installed.
    pub fn locate(self) -> Result<PathBuf, ToolError> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .chain(FALLBACK.iter().map(PathBuf::from))
            .map(|directory| directory.join(self.command()))
            .find(|candidate| candidate.is_file())
            .ok_or(ToolError::Missing { tool: self.command(), package: self.package() })
    }
}

/// Runs `lines` through one `ip -batch` inside `namespace`; stops at the first that fails.
pub fn ip_batch(namespace: Option<&NetNs>, lines: &[String]) -> Result<(), ToolError> {
    if lines.is_empty() {
        return Ok(());
    }
    let mut arguments = Vec::new();
    if let Some(namespace) = namespace {
        arguments.extend(["-n", namespace.name()]);
    }
    arguments.extend(["-batch", "-"]);
    match run(Tool::Ip, None, &arguments, &(lines.join("\n") + "\n")) {
        Err(ToolError::Refused { command, stderr }) => Err(blame(&command, &stderr, lines)),
        Err(other) => Err(other),
        Ok(_) => Ok(()),
    }
}

/// Applies a script with `nft -f -` inside `namespace`: all of it or nothing.
pub fn nft(namespace: &NetNs, script: &str) -> Result<(), ToolError> {
    run(Tool::Nft, Some(namespace), &["-f", "-"], script).map(drop)
}

/// What `nft` prints, inside `namespace` if one is given.
pub fn nft_query(namespace: Option<&NetNs>, arguments: &[&str]) -> Result<String, ToolError> {
    run(Tool::Nft, namespace, arguments, "")
}

/// What `ip` prints, inside `namespace` if one is given.
pub fn ip_query(namespace: Option<&NetNs>, arguments: &[&str]) -> Result<String, ToolError> {
    let mut all = Vec::new();
    if let Some(namespace) = namespace {
        all.extend(["-n", namespace.name()]);
    }
    all.extend(arguments);
    run(Tool::Ip, None, &all, "")
}

fn run(tool: Tool, namespace: Option<&NetNs>, arguments: &[&str], stdin: &str) -> Result<String, ToolError> {
    let program = tool.locate()?;
    let shown = format!("{} {}", tool.command(), arguments.join(" "));
    let failed = |source| ToolError::Spawn { command: shown.clone(), source };
    let work = || -> io::Result<std::process::Output> {
        let mut child = Command::new(&program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut pipe = child.stdin.take().expect("invariant: stdin is piped");
        // A tool that refuses early closes its end; what it printed says why.
        let written = pipe.write_all(stdin.as_bytes());
        drop(pipe);
        let output = child.wait_with_output()?;
        if output.status.success() {
            written?;
        }
        Ok(output)
    };
    // A child is born in its parent thread's namespace.
    let output = match namespace {
        Some(namespace) => namespace.inside(work).map_err(failed)?,
        None => work(),
    }
    .map_err(failed)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
    Err(ToolError::Refused { command: shown, stderr })
}

/// Finds the line that `ip -batch` stopped at (`Command failed -:7`).
fn blame(command: &str, stderr: &str, lines: &[String]) -> ToolError {
    let line = stderr
        .rsplit_once("Command failed -:")
        .and_then(|(_, number)| number.trim().parse::<usize>().ok())
        .and_then(|number| lines.get(number.checked_sub(1)?));
    let (said, _) = stderr.rsplit_once("; Command failed").unwrap_or((stderr, ""));
    match line {
        Some(line) => ToolError::Refused { command: format!("ip {line}"), stderr: said.to_owned() },
        None => ToolError::Refused { command: command.to_owned(), stderr: stderr.to_owned() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_batch_names_its_line() {
        let lines = ["link set a up".to_owned(), "route add 10.0.0.0/8 dev b".to_owned()];
        let stderr = "Cannot find device \"b\"; Command failed -:2";
        let ToolError::Refused { command, stderr } = blame("ip -batch -", stderr, &lines) else {
            panic!("another kind of error");
        };
        assert_eq!(command, "ip route add 10.0.0.0/8 dev b");
        assert_eq!(stderr, "Cannot find device \"b\"");
    }
}
