//! The programs under test, as built for the profile of the test.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// The directory that holds them: the one above the test programs'.
fn directory() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().and_then(|deps| deps.parent()).unwrap().to_owned()
}

fn built(name: &str) -> PathBuf {
    let path = directory().join(name);
    assert!(path.exists(), "{} is missing: build it with `cargo xtask demo`", path.display());
    path
}

/// `enid`.
pub fn enid() -> PathBuf {
    built("enid")
}

/// `enid-cni`.
pub fn plugin() -> PathBuf {
    built("enid-cni")
}

/// The component of a shipped strategy.
pub fn strategy(name: &str) -> PathBuf {
    built("strategies").join(format!("{name}.wasm"))
}

/// How a program ended and what it said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ended {
    /// Standard output of a success.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }

    /// The one line on standard error of a failure with `code`, which printed nothing else.
    #[track_caller]
    pub fn complaint(self, code: i32) -> String {
        let lines = self.complaints(code);
        assert_eq!(lines.len(), 1, "one line was expected: {lines:?}");
        lines.into_iter().next().unwrap()
    }

    /// The lines on standard error of a failure with `code`, which printed nothing on standard output.
    #[track_caller]
    pub fn complaints(self, code: i32) -> Vec<String> {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
        assert!(self.stderr.starts_with("enid: "), "{self:?}");
        assert!(!self.stderr.contains("panicked"), "{self:?}");
        self.stderr.lines().map(str::to_owned).collect()
    }
}

/// Runs `enid` to its end.
pub fn run_enid(words: &[&str]) -> Ended {
    let mut command = Command::new(enid());
    command.args(words).env_remove("ENID_LOG").stdin(Stdio::null());
    command.output().unwrap().into()
}
