//! Builds strategy crates into components: compiled for `wasm32-unknown-unknown`, then componentised.
//!
//! The result needs no tool beyond rustup's target: WASI never enters, so a component has no import but the
//! contract's own `log`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};

/// The only target that strategies are built for: no operating system, no imports.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// Linker arguments of every guest.
///
/// A decision needs a few KiB of stack; the default shadow stack of 1 MiB would be most of a guest's memory
/// and is touched anew for every fresh instance.
const GUEST_RUSTFLAGS: &str = "-Clink-arg=-zstack-size=65536";

/// Builds every crate under `strategies/` into `out_dir/<name>.wasm`, and returns those paths in name order.
///
/// A file whose content would not change is left alone, so that a daemon watching it sees no change either.
pub fn build(root: &Path, out_dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    build_crates(root, &shipped(root)?, out_dir)
}

/// Builds the named crates of the workspace into components, as [`build`] does.
pub fn build_crates(root: &Path, crates: &[String], out_dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    ensure_target(root)?;
    let modules = compile(root, crates)?;
    std::fs::create_dir_all(out_dir).with_context(|| format!("create {}", out_dir.display()))?;
    let mut written = Vec::new();
    for (name, module) in modules {
        let core_wasm = std::fs::read(&module).with_context(|| format!("read {}", module.display()))?;
        let component = componentize(&core_wasm).with_context(|| format!("componentise {name}"))?;
        let path = out_dir.join(format!("{name}.wasm"));
        replace_if_changed(&path, &component)?;
        written.push(path);
    }
    Ok(written)
}

/// Turns a core module that carries its WIT world into a component.
pub fn componentize(core_wasm: &[u8]) -> anyhow::Result<Vec<u8>> {
    wit_component::ComponentEncoder::default()
        .validate(true)
        .module(core_wasm)
        .context("the module does not carry a usable WIT world")?
        .encode()
        .context("encode the component")
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

/// Installs the guest target when it is missing.
///
/// `rust-toolchain.toml` names it too, but environments may switch automatic installation off.
fn ensure_target(root: &Path) -> anyhow::Result<()> {
    if target_installed(root)? {
        return Ok(());
    }
    let added = Command::new("rustup").args(["target", "add", TARGET]).current_dir(root).status();
    match added {
        Ok(status) if status.success() && target_installed(root)? => Ok(()),
        Ok(status) => bail!("`rustup target add {TARGET}` ended with {status}; run it by hand to see why"),
        Err(error) => bail!(
            "the Rust target {TARGET} is not installed and rustup could not be run ({error}); install rustup and \
             run `rustup target add {TARGET}`"
        ),
    }
}

/// Whether the toolchain that cargo would use has the standard library of the guest target.
fn target_installed(root: &Path) -> anyhow::Result<bool> {
    let output = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", TARGET])
        .current_dir(root)
        .output()
        .context("run rustc")?;
    ensure!(output.status.success(), "rustc failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    let dir = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    Ok(dir.is_dir())
}

/// Compiles the crates and returns their core modules by crate name, as cargo reports them.
fn compile(root: &Path, crates: &[String]) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["build", "--lib", "--profile", "guest", "--target", TARGET])
        .args(["--message-format", "json-render-diagnostics"])
        .current_dir(root)
        // Flags for the host, from a developer's environment, mean nothing to a guest.
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env("RUSTFLAGS", GUEST_RUSTFLAGS)
        .stderr(std::process::Stdio::inherit());
    for name in crates {
        command.args(["-p", name]);
    }
    let output = command.output().context("run cargo build for the guests")?;
    ensure!(output.status.success(), "building the guests failed ({})", output.status);
    let mut modules = BTreeMap::new();
    for line in output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let message: serde_json::Value = serde_json::from_slice(line).context("read cargo's messages")?;
        if message["reason"] != "compiler-artifact" {
            continue;
        }
        let files = message["filenames"].as_array().into_iter().flatten().filter_map(|file| file.as_str());
        for file in files.filter(|file| file.ends_with(".wasm")) {
            let target = message["target"]["name"].as_str().unwrap_or_default().replace('_', "-");
            if let Some(name) = crates.iter().find(|name| name.replace('_', "-") == target) {
                modules.insert(name.clone(), PathBuf::from(file));
            }
        }
    }
    for name in crates {
        ensure!(modules.contains_key(name), "{name} built no .wasm: its crate-type must contain \"cdylib\"");
    }
    Ok(modules)
}

/// Writes `bytes` beside `path` and renames, unless `path` holds them already.
fn replace_if_changed(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    if std::fs::read(path).is_ok_and(|existing| existing == bytes) {
        return Ok(());
    }
    let fresh = path.with_extension("wasm.new");
    std::fs::write(&fresh, bytes).with_context(|| format!("write {}", fresh.display()))?;
    std::fs::rename(&fresh, path).with_context(|| format!("rename to {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_without_a_world_is_refused() {
        let empty_module = b"\0asm\x01\0\0\0";
        // An empty module is a valid component of the empty world; garbage is not.
        assert!(componentize(&empty_module[..4]).is_err());
        assert!(componentize(b"not wasm at all").is_err());
    }
}
