//! The commands as an author types them, against the shipped components.
#![expect(clippy::unwrap_used, reason = "a test that cannot arrange its world fails")]

mod beginning;
mod cases;
mod deciding;
mod files;
mod fuzzing;
mod inspecting;
mod replaying;
mod signing;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

/// A shipped component, in the directory that `ENID_STRATEGIES` names.
fn shipped(name: &str) -> PathBuf {
    let dir = std::env::var_os("ENID_STRATEGIES").expect(
        "ENID_STRATEGIES is not set: run `cargo xtask strategies` and set it to the directory it prints, or use \
         `cargo xtask test`",
    );
    let path = Path::new(&dir).join(format!("{name}.wasm"));
    assert!(path.is_file(), "{} is missing: run `cargo xtask strategies`", path.display());
    path
}

/// Fuel with which a component starts and says who it is, and little more: not enough for large questions.
fn scarce_fuel(desk: &Desk, component: &Path) -> u64 {
    let enough =
        |fuel: &u64| !desk.enid(&format!("decide {{}} --fuel {fuel}"), &[component]).err.contains("describe");
    let tried = (0..20).map(|step| 10_000 + step * 4_000);
    tried.into_iter().find(enough).expect("fuel with which it starts")
}

/// What a command did.
#[derive(Debug)]
struct Done {
    code: i32,
    out: String,
    err: String,
}

impl Done {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Asserts the exit code, and that a failure ends with its message.
    #[track_caller]
    fn ended(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        if code != 0 {
            assert!(self.err.lines().last().is_some_and(|line| line.starts_with("enid: ")), "{self:?}");
        }
        self
    }
}

/// An author's desk: a directory of its own in which commands run.
struct Desk {
    dir: TempDir,
}

impl Desk {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Runs `enid strategy` with the words of `line`, among which `{}` stands for the next of `paths`.
    fn enid(&self, line: &str, paths: &[&Path]) -> Done {
        let mut paths = paths.iter();
        let mut command = Command::new(env!("CARGO_BIN_EXE_enid-strategy"));
        for word in line.split(' ') {
            match word {
                "{}" => command.arg(paths.next().expect("a path for every {}")),
                word => command.arg(word),
            };
        }
        let done = command.current_dir(self.dir.path()).output().unwrap();
        Done {
            code: done.status.code().unwrap_or(-1),
            out: String::from_utf8(done.stdout).unwrap(),
            err: String::from_utf8(done.stderr).unwrap(),
        }
    }

    /// Names of the files on the desk.
    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}
