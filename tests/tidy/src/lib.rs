//! Tells whether the tree keeps its own rules: who may depend on whom, what may lie where, what things may be
//! called.
//!
//! It reads manifests, `Cargo.lock` and sources, and answers with every violation. It compiles nothing, asks
//! no network, and mends nothing.
//!
//! - [`contract`]: what was released of the contract with strategies still holds
//! - [`edges`]: dependencies point inward
//! - [`manifests`]: shared dependencies are declared once
//! - [`tree`]: names, places, sizes and openings of files

pub mod contract;
pub mod edges;
pub mod manifests;
pub mod tree;

use std::path::{Path, PathBuf};

/// The workspace that this crate belongs to. Asked when it runs: with a target directory that outlives checkouts, the
/// program may have been compiled in another one.
///
/// # Panics
///
/// When neither cargo nor xtask runs it.
pub fn root() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo and xtask say where the crate is");
    Path::new(&here).join("../..").components().fold(PathBuf::new(), |mut path, part| {
        if part == std::path::Component::ParentDir {
            path.pop();
        } else {
            path.push(part);
        }
        path
    })
}
