//! Components and programs that others built, and where tests find them.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};

/// The directory with the shipped components, from `ENID_STRATEGIES`.
pub fn shipped() -> anyhow::Result<PathBuf> {
    directory("ENID_STRATEGIES", "cargo xtask strategies", "warm-targets.wasm")
}

/// The directory with the same strategies in other languages, from `ENID_GUESTS`.
pub fn in_other_languages() -> anyhow::Result<PathBuf> {
    directory("ENID_GUESTS", "cargo xtask guests", "batched-c.wasm")
}

/// `enid`, in whose children guests run: from `ENID_BIN`, or beside the directory of the test program.
pub fn enid() -> anyhow::Result<PathBuf> {
    let program = match std::env::var_os("ENID_BIN") {
        Some(named) => PathBuf::from(named),
        None => {
            let test = std::env::current_exe().context("find this test's own program")?;
            let directory = test.parent().and_then(|deps| deps.parent()).context("this test lies nowhere")?;
            directory.join("enid")
        }
    };
    ensure!(
        program.is_file(),
        "{} is missing: build it with `cargo build --release --workspace --bin enid`, set ENID_BIN to it, or use \
         `cargo xtask test`",
        program.display()
    );
    Ok(program)
}

fn directory(variable: &str, command: &str, expected: &str) -> anyhow::Result<PathBuf> {
    let directory = std::env::var_os(variable).map(PathBuf::from).with_context(|| {
        format!("{variable} is not set: run `{command}` and set it to the directory that it prints, or use `cargo xtask test`")
    })?;
    ensure!(directory.join(expected).is_file(), "{} has no {expected}: run `{command}`", directory.display());
    Ok(directory)
}
