//! A lab, and the daemon on one of its nodes, brought up as a user would.

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;

use crate::workspace::Workspace;

/// The lab's name: not the one a user gets by default, so that both can be up.
const LAB: &str = "enid-bench";
/// Filling a large node attaches a dozen ENIs, seconds each.
const FILL: Duration = Duration::from_secs(180);
/// A pool that has not changed for so long is at rest.
const STEADY: Duration = Duration::from_secs(2);
/// Starting or stopping a daemon.
const TURN: Duration = Duration::from_secs(20);
/// Between two looks at something that changes by itself.
const LOOK: Duration = Duration::from_millis(20);

/// Where addresses come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Secondary addresses of the largest type.
    SecondaryIp,
    /// Prefixes, on a type that has enough of them.
    Prefix,
}

impl Mode {
    fn instance_type(self) -> &'static str {
        match self {
            Mode::SecondaryIp => "m5.24xlarge",
            Mode::Prefix => "m5.16xlarge",
        }
    }

    /// As `pool.mode` has it.
    fn as_str(self) -> &'static str {
        match self {
            Mode::SecondaryIp => "secondary-ip",
            Mode::Prefix => "prefix",
        }
    }
}

/// A lab with a daemon.
pub(super) struct Site {
    program: PathBuf,
    directory: PathBuf,
    node: String,
    /// The node's network namespace.
    pub(super) namespace: String,
    daemon: Child,
}

/// The daemon's own words about its pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pool {
    pub(super) ready: bool,
    pub(super) total: u64,
    pub(super) free: u64,
}

impl Site {
    /// Brings both up and waits until `pods` addresses are free.
    pub(super) fn build(workspace: &Workspace, mode: Mode, pods: usize) -> Result<Self> {
        let program = workspace.daemon();
        // What a run that was killed left under this name.
        lab(&program, &["down"])?;
        lab(&program, &["up", "--size", "large", "--instance-type", mode.instance_type()])?;
        let built = Self::in_lab(workspace, &program, mode, pods);
        if built.is_err() {
            lab(&program, &["down"])?;
        }
        built
    }

    fn in_lab(workspace: &Workspace, program: &Path, mode: Mode, pods: usize) -> Result<Self> {
        let status: Value = serde_json::from_str(&lab(program, &["status", "--output", "json"])?)?;
        let node = &status["nodes"][0];
        let text = |value: &Value| value.as_str().map(str::to_owned).context("the lab's status lacks a text");
        let directory = workspace.target.join("bench/site");
        fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
        // The runtime directory holds a socket, whose path must be short.
        let runtime = PathBuf::from(format!("/run/{LAB}"));
        // More than kubelet would run there by default: the pool is not to end with its limit.
        let most = pods + 30;
        let settings = format!(
            "[node]\nruntime_dir = {runtime:?}\nmax_pods = {most}\n[cloud]\nregion = {}\nec2_endpoint = {}\nimds_endpoint = {}\n\
             [pool]\nmode = {:?}\ncooldown_secs = 0\n[budget]\nshare = 1.0\nnodes = 1\n[strategy.warm-pool]\nsettings = {{ minimum_ip_target = {pods}, warm_ip_target = 5 }}\n",
            status["region"],
            status["ec2_endpoint"],
            status["imds_endpoint"],
            mode.as_str()
        );
        fs::write(directory.join("enid.toml"), settings)?;
        let name = text(&node["name"])?;
        let mut site = Self {
            program: program.to_owned(),
            node: name.clone(),
            namespace: text(&node["namespace"])?,
            daemon: start(program, &directory, &name)?,
            directory,
        };
        site.fill(pods as u64).inspect_err(|_| {
            let _already_failing = site.stop();
        })?;
        Ok(site)
    }

    /// The network namespace of the node, where the container runtime would be.
    pub(super) fn home(&self) -> Home {
        Home(format!("/run/netns/{}", self.namespace).into())
    }

    /// The plugin, configured for this daemon.
    pub(super) fn configuration(&self) -> String {
        format!(
            r#"{{"cniVersion":"1.0.0","name":"bench","type":"enid-cni","socket":"/run/{LAB}/enid.sock"}}"#
        )
    }

    /// What the daemon says about its pool.
    pub(super) fn pool(&self) -> Result<Pool> {
        let socket = format!("/run/{LAB}/enid.sock");
        let program = self.program.to_str().context("the program's path is not text")?;
        let asking = ["status", "--output", "json", "--socket", &socket];
        // From the node itself: the daemon answers nobody else.
        let mut words = vec!["lab", "enter", &self.namespace, "--", program];
        words.extend(asking);
        let status: Value = serde_json::from_str(&said(&self.program, &words)?)?;
        let number = |what: &str| {
            status["pool"][what].as_u64().with_context(|| format!("no pool.{what} in the status"))
        };
        Ok(Pool { ready: status["ready"] == true, total: number("total")?, free: number("free")? })
    }

    /// Waits until `count` addresses are free and the pool has come to rest.
    fn fill(&mut self, count: u64) -> Result<()> {
        let mut last = (Instant::now(), 0);
        let begun = Instant::now();
        while begun.elapsed() < FILL {
            if let Some(status) = self.daemon.try_wait()? {
                bail!("enid run ended with {status}: see {}", self.log().display());
            }
            if let Ok(pool) = self.pool() {
                if pool.total != last.1 {
                    last = (Instant::now(), pool.total);
                }
                if pool.ready && pool.free >= count && last.0.elapsed() > STEADY {
                    return Ok(());
                }
            }
            thread::park_timeout(LOOK);
        }
        bail!("the pool did not fill within {} s: see {}", FILL.as_secs(), self.log().display());
    }

    /// Waits until `count` addresses are free.
    pub(super) fn wait_for_free(&self, count: u64) -> Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < TURN {
            if self.pool().is_ok_and(|pool| pool.free >= count) {
                return Ok(());
            }
            thread::park_timeout(LOOK);
        }
        bail!("fewer than {count} free addresses after {} s", TURN.as_secs());
    }

    /// Stops the daemon and starts it again: the moment of the start. The new one may not serve yet.
    pub(super) fn restart(&mut self) -> Result<Instant> {
        self.stop()?;
        let begun = Instant::now();
        self.daemon = start(&self.program, &self.directory, &self.node)?;
        Ok(begun)
    }

    /// The daemon's resident memory in MiB.
    pub(super) fn resident_mib(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.daemon.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kib: f64 = line.trim().trim_end_matches(" kB").trim().parse()?;
        Ok(kib / 1024.0)
    }

    /// How long until the node has the links of `pods` pods and no more.
    pub(super) fn time_until_links_are_gone(&self, pods: usize, deadline: Duration) -> Result<Duration> {
        let begun = Instant::now();
        while begun.elapsed() < deadline {
            let links =
                said(Path::new("ip"), &["-n", &self.namespace, "-br", "link", "show", "type", "veth"])?;
            if links.lines().filter(|line| is_pod_link(line)).count() <= pods {
                return Ok(begun.elapsed());
            }
            thread::park_timeout(LOOK);
        }
        bail!("links of deleted pods are still there after {} s", deadline.as_secs());
    }

    fn stop(&mut self) -> Result<()> {
        let pid = self.daemon.id().to_string();
        said(Path::new("kill"), &["-TERM", &pid])?;
        let begun = Instant::now();
        while begun.elapsed() < TURN {
            if self.daemon.try_wait()?.is_some() {
                return Ok(());
            }
            thread::park_timeout(Duration::from_millis(1));
        }
        self.daemon.kill()?;
        self.daemon.wait()?;
        bail!("enid run did not end within {} s of SIGTERM", TURN.as_secs());
    }

    fn log(&self) -> PathBuf {
        self.directory.join("enid.log")
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if matches!(self.daemon.try_wait(), Ok(None)) {
            report(self.stop());
        }
        report(lab(&self.program, &["down"]).map(drop));
        report(fs::remove_dir_all(format!("/run/{LAB}")).context("remove the runtime directory"));
    }
}

/// A node's network namespace. The daemon serves nobody from another.
pub(super) struct Home(PathBuf);

impl Home {
    /// Does something there, and what it starts is there, too.
    pub(super) fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let enter = || {
            let namespace = fs::File::open(&self.0)?;
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                .with_context(|| format!("enter {}", self.0.display()))
        };
        // A thread of its own: this one stays where it is.
        let done = thread::scope(|scope| scope.spawn(|| enter().and_then(|()| work())).join());
        done.map_err(|_| anyhow!("the measuring thread panicked"))?
    }
}

fn report(outcome: Result<()>) {
    if let Err(why) = outcome {
        eprintln!("error: take the lab away: {why:#}");
    }
}

fn start(program: &Path, directory: &Path, node: &str) -> Result<Child> {
    let log = fs::File::create(directory.join("enid.log"))?;
    Command::new(program)
        .args(["lab", "exec", "--name", LAB, node, "--"])
        .arg(program)
        .arg("run")
        .arg("--config")
        .arg(directory.join("enid.toml"))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("start enid run")
}

fn lab(program: &Path, arguments: &[&str]) -> Result<String> {
    let [verb, rest @ ..] = arguments else { bail!("no lab command") };
    let mut words = vec!["lab", *verb, "--name", LAB];
    words.extend(rest);
    said(program, &words)
}

/// What a program prints; an error with its last words when it fails.
fn said(program: &Path, arguments: &[&str]) -> Result<String> {
    let out = Command::new(program).args(arguments).stdin(Stdio::null()).output()?;
    let shown = format!("{} {}", program.file_name().unwrap_or_default().display(), arguments.join(" "));
    ensure!(out.status.success(), "{shown}: {}", String::from_utf8_lossy(&out.stderr).trim());
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Whether a line of `ip -br link` is a pod's host veth: `eni` and 11 hexadecimal digits.
fn is_pod_link(line: &str) -> bool {
    let name = line.split(['@', ' ']).next().unwrap_or_default();
    name.strip_prefix("eni")
        .is_some_and(|rest| rest.len() == 11 && rest.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_links_are_told_from_others() {
        assert!(is_pod_link("enib5faff8a083@if2 UP 02:00:00:00:00:01"));
        assert!(!is_pod_link("eni1@if7 UP"));
        assert!(!is_pod_link("lo UNKNOWN"));
    }
}
