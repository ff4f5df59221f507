//! Builds the shipped strategies: the crates under `strategies/`, and the list of their digests.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use enid_guest_build::{output, rust};

/// Builds every crate under `strategies/` into `out_dir/<name>.wasm`, and returns those paths in name order.
///
/// A file whose content would not change is left alone, so that a daemon watching it sees no change either.
/// What [`output::CHECKSUMS`] beside them lists is what a daemon takes for shipped.
pub fn build(root: &Path, out_dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let names = shipped(root)?;
    let written = rust::build_crates(root, &names, out_dir)?;
    let files: Vec<String> = names.iter().map(|name| format!("{name}.wasm")).collect();
    output::write_checksums(out_dir, &files)?;
    Ok(written)
}

/// The crates under `strategies/`, by name.
fn shipped(root: &Path) -> anyhow::Result<Vec<String>> {
    let dir = root.join("strategies");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&dir).with_context(|| format!("read {}", dir.display()))? {
        let entry = entry?;
        if entry.path().join("Cargo.toml").is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    ensure!(!names.is_empty(), "no strategy crates under {}", dir.display());
    Ok(names)
}
