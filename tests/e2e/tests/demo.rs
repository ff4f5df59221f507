//! `enid demo` from outside: it passes its own checks, and it cleans up when interrupted.
//!
//! Needs root, iproute2, nftables, and what `cargo xtask demo` builds: `enid`, `enid-cni` and the shipped
//! strategies, in the directory above the test program's.
#![expect(clippy::unwrap_used, reason = "a test that cannot arrange its world fails")]

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// A demo with names and files of its own, so that several can run at once.
struct Demo {
    name: String,
    directory: PathBuf,
}

impl Demo {
    fn new(test: &str) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "the demo makes network namespaces: run this tier as root"
        );
        let name = format!("e2e-{test}-{}", std::process::id());
        let directory = std::env::temp_dir().join(&name);
        Self { name, directory }
    }

    fn command(&self) -> Command {
        let mut demo = Command::new(program());
        demo.args(["demo", "--name", &self.name, "--directory"]).arg(&self.directory);
        demo.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        demo
    }

    /// Namespaces and processes that carry its name.
    fn remains(&self) -> Vec<String> {
        let mut remains = Vec::new();
        if let Ok(names) = std::fs::read_dir("/run/netns") {
            remains.extend(names.map(|entry| entry.unwrap().file_name().into_string().unwrap()));
        }
        for entry in std::fs::read_dir("/proc").unwrap() {
            let command = std::fs::read(entry.unwrap().path().join("cmdline")).unwrap_or_default();
            remains.push(String::from_utf8_lossy(&command).replace('\0', " "));
        }
        remains.retain(|found| found.contains(&self.name));
        remains
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _not_there = std::fs::remove_dir_all(&self.directory);
    }
}

/// `enid` as built for this profile.
fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test.parent().and_then(|deps| deps.parent()).unwrap().join("enid");
    assert!(program.is_file(), "{} is missing: build it with `cargo xtask demo`", program.display());
    program
}

fn told(output: &Output) -> String {
    format!(
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn the_demo_passes_its_own_checks_and_leaves_nothing() {
    let demo = Demo::new("demo");
    let output = demo.command().output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
    assert_eq!(demo.remains(), Vec::<String>::new());
    assert!(!demo.directory.join(&demo.name).exists());
}

#[test]
fn an_interrupted_demo_cleans_up() {
    let demo = Demo::new("ctrl-c");
    let mut child: Child = demo.command().spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let serving = lines.by_ref().map(Result::unwrap).find(|line| line.contains("is ready"));
    serving.expect("a daemon becomes ready");
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::INT).unwrap();
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(130), "{}\n{errors}", rest.join("\n"));
    assert_eq!(demo.remains(), Vec::<String>::new());
}
