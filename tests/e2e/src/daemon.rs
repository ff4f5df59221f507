//! The process of `enid run`, ended with its owner.

use std::fs::{self, OpenOptions};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use enid_vpc_lab::waiting::wait_until;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::node::Node;
use crate::patience::wait_for;

/// How long a daemon may take until it answers on its socket, with EC2 and metadata away.
const SERVING: Duration = Duration::from_secs(20);
/// How long it may take until it could serve an ADD at once.
const READY: Duration = Duration::from_secs(30);
/// How long a process may take to end.
const END: Duration = Duration::from_secs(30);
/// Lines of the log that a failing test shows.
const SHOWN: usize = 60;

/// A daemon that runs.
#[derive(Debug)]
pub struct Daemon {
    node: Node,
    child: Child,
}

impl Daemon {
    pub(crate) fn start(node: &Node, mut command: Command) -> Self {
        let log = OpenOptions::new().create(true).append(true).open(node.log_file()).unwrap();
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let mut daemon = Self { node: node.clone(), child: command.spawn().unwrap() };
        let outcome = wait_for("the daemon serves", SERVING, || match daemon.child.try_wait().unwrap() {
            Some(status) => Ok(Err(status)),
            None => node.try_status().map(|_| Ok(())),
        });
        outcome.unwrap_or_else(|status| panic!("the daemon ended with {status}:\n{}", node.log()));
        daemon
    }

    /// Waits until an ADD would be served at once; the status then.
    #[track_caller]
    pub fn wait_until_ready(&self) -> Value {
        wait_for("an ADD would be served at once", READY, || {
            let status = self.node.try_status()?;
            if status["ready"] == true { Ok(status) } else { Err(status.to_string()) }
        })
    }

    /// Waits until the status is as wanted; the status then.
    #[track_caller]
    pub fn wait_for_status(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        wait_for(what, READY, || {
            let status = self.node.try_status()?;
            if wanted(&status) { Ok(status) } else { Err(status.to_string()) }
        })
    }

    /// Waits until the pool has exactly these numbers.
    #[track_caller]
    pub fn wait_for_pool(&self, wanted: &[(&str, u64)]) -> Value {
        wait_for(&format!("a pool of {wanted:?}"), READY, || {
            let status = self.node.try_status()?;
            let fits = wanted.iter().all(|(what, number)| status["pool"][what] == *number);
            if fits { Ok(status) } else { Err(status["pool"].to_string()) }
        })
    }

    /// Waits until the log has a line with all of `parts`, and returns it.
    #[track_caller]
    pub fn wait_for_log(&self, parts: &[&str]) -> String {
        wait_for(&format!("a line of the log with {parts:?}"), READY, || {
            let log = self.node.log();
            let found = log.lines().find(|line| parts.iter().all(|part| line.contains(part)));
            found.map(str::to_owned).ok_or_else(|| log.lines().last().unwrap_or_default().to_owned())
        })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The memory that it has, in KiB; that of its child is not in it.
    pub fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").trim().parse().unwrap()
    }

    /// Whether it still runs.
    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// SIGTERM, and waits for its end.
    #[track_caller]
    pub fn terminate(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// SIGKILL, and waits for its end: a crash.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        ended(&mut self.child).expect("the daemon ends")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.is_alive() {
            // A daemon that a test stopped with SIGSTOP ends as well.
            let _ended_meanwhile = self.child.kill();
            let _ended_meanwhile = self.child.wait();
        }
        if std::thread::panicking() {
            let log = self.node.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(SHOWN)..].join("\n");
            eprintln!("the end of the log of {}:\n{tail}", self.node.name());
        }
    }
}

/// Waits for a process that is expected to end by itself; it is killed when it does not.
pub(crate) fn end_of(mut child: Child) -> ExitStatus {
    ended(&mut child).unwrap_or_else(|| {
        let _ended_meanwhile = child.kill();
        child.wait().unwrap()
    })
}

fn ended(child: &mut Child) -> Option<ExitStatus> {
    wait_until(Instant::now() + END, || child.try_wait().unwrap())
}
