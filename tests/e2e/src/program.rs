//! The programs under test, as built for the profile of the test.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

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

/// Where programs of others are kept that tests have built.
pub(crate) fn tools() -> PathBuf {
    directory().join("tools")
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

/// A copy of a program that any user may run: the original may be in a directory of root's.
#[derive(Debug)]
pub struct OpenCopy {
    /// The program.
    pub program: PathBuf,
    /// The directory around it, which any user may enter.
    pub directory: PathBuf,
}

impl OpenCopy {
    /// Copies `program` to a directory of its own, which goes when the copy is dropped.
    pub fn of(program: &Path) -> Self {
        static COPIES: AtomicU32 = AtomicU32::new(0);
        let number = COPIES.fetch_add(1, Ordering::Relaxed);
        let name = format!("e2e-open-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir(&directory).unwrap();
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
        let copy = directory.join(program.file_name().unwrap());
        fs::copy(program, &copy).unwrap();
        Self { program: copy, directory }
    }
}

impl Drop for OpenCopy {
    fn drop(&mut self) {
        let _not_there = fs::remove_dir_all(&self.directory);
    }
}

/// Starts a program. Another test's fork may hold a copy's file open for writing for a moment: then again.
pub fn spawned(command: &mut Command) -> Child {
    loop {
        match command.spawn() {
            Err(why) if why.kind() == io::ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
            other => return other.unwrap(),
        }
    }
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
