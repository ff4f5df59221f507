//! Python with packages that we did not write, at pinned versions, from PyPI.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::program;

/// The Python of a virtual environment called `name` with the packages of `requirements`, in pip's format. Made once, whoever
/// comes first, also of several processes.
#[track_caller]
pub fn environment(name: &str, requirements: &str) -> PathBuf {
    let home = program::tools().join(name);
    fs::create_dir_all(&home).unwrap();
    let guard = File::create(home.join("lock")).unwrap();
    guard.lock().unwrap();
    let (venv, made, wanted) = (home.join("venv"), home.join("made"), home.join("requirements.txt"));
    let python = venv.join("bin/python");
    if fs::read_to_string(&made).is_ok_and(|made| made == requirements) && python.exists() {
        return python;
    }
    done(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv));
    fs::write(&wanted, requirements).unwrap();
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
    done(Command::new(&python).args(install).arg(&wanted));
    fs::rename(wanted, made).unwrap();
    python
}

#[track_caller]
fn done(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let why = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {why}\nit needs python3-venv, and PyPI");
}
