//! The tutorial for authors works, command by command, as a stranger would paste it.

use std::process::{Command, Stdio};

use e2e::program;

const TUTORIAL: &str = include_str!("../../../guest-sdk/TUTORIAL.md");

/// Ends the tutorial's lab, also when a command before its own last one failed.
struct LabDown;

impl Drop for LabDown {
    fn drop(&mut self) {
        // There is none unless the tutorial got that far.
        let _nothing_there = Command::new(program::enid())
            .args(["lab", "down"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

/// Everything in its `sh` blocks, in order.
fn commands() -> String {
    let mut commands = String::new();
    let mut inside = false;
    for line in TUTORIAL.lines() {
        match line {
            "```sh" => inside = true,
            "```" => inside = false,
            _ if inside => {
                commands.push_str(line);
                commands.push('\n');
            }
            _ => {}
        }
    }
    commands
}

#[test]
fn every_command_of_the_tutorial_does_what_it_says() {
    let directory = tempfile::tempdir().unwrap();
    let beside_enid = program::enid().parent().unwrap().to_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path =
        std::env::join_paths(std::iter::once(beside_enid).chain(std::env::split_paths(&path))).unwrap();
    let script = commands();
    assert!(script.contains("enid strategy new") && script.contains("enid lab up"), "{script}");
    let _lab = LabDown;
    let out = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &script])
        .current_dir(directory.path())
        .env("PATH", path)
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("CARGO_MANIFEST_DIR")
        .env_remove("ENID_LOG")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = format!("{}\n{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{}: {said}", out.status);
    for promised in ["would be admitted", "served at once", "want 6 spare"] {
        assert!(said.contains(promised), "no `{promised}` in {said}");
    }
}
