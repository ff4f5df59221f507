//! Programs of others, built from source with Go, where there is Go.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::program;

/// One build at a time: tests of one program run side by side.
static BUILDING: Mutex<()> = Mutex::new(());

/// The program that `arrange` builds into a directory called `name`, if it is there or can be made now. `None`, and why on
/// standard error, where it cannot be built; where there is Go, that is a failure in CI.
pub(crate) fn built(
    name: &str,
    arrange: impl FnOnce(&mut Command, &Path) -> &'static str,
) -> Option<PathBuf> {
    let _alone = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    let tools = program::tools();
    // Under another name until it is whole.
    let (place, half) = (tools.join(name), tools.join(format!("{name}.new")));
    let Some(go) = go() else {
        skipped(&format!("there is no Go on this machine to build {name} with"));
        return None;
    };
    let mut command = Command::new(go);
    let file = arrange(&mut command, &half);
    if !place.join(file).exists() {
        fs::create_dir_all(&half).unwrap();
        command.env("CGO_ENABLED", "0").stdin(Stdio::null());
        let output = command.output().unwrap();
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr);
            assert!(std::env::var_os("CI").is_none(), "there is Go, and {name} cannot be built:\n{why}");
            skipped(&format!("{name} cannot be built (in CI this is a failure):\n{why}"));
            return None;
        }
        fs::rename(&half, &place).unwrap();
    }
    Some(place.join(file))
}

/// Says so where it is seen: what a test that passes prints is not.
fn skipped(why: &str) {
    let mut shown = std::io::stderr();
    // Without anybody to read it there is nobody to tell.
    let _ = writeln!(shown, "SKIPPED, nothing that needs it is tested: {why}");
}

/// Where Go is, by `PATH` and where its own archive is unpacked.
fn go() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let beside = PathBuf::from("/usr/local/go/bin");
    std::env::split_paths(&path).chain([beside]).map(|directory| directory.join("go")).find(|go| go.is_file())
}
