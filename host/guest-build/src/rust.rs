//! Rust strategies: compiled for `wasm32-unknown-unknown`, then componentised.
//!
//! The result needs no tool beyond rustup's target: WASI never enters, so a component has no import but the
//! contract's own `log`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::toolchain::{cargo, run, shown, started};
use crate::{Error, componentize, output};

/// The only target that Rust strategies are built for: no operating system, no imports.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// Linker arguments of every guest.
///
/// A decision needs a few KiB of stack; the default shadow stack of 1 MiB would be most of a guest's memory
/// and is touched anew for every fresh instance.
const GUEST_RUSTFLAGS: &str = "-Clink-arg=-zstack-size=65536";

/// Builds the named crates of the workspace at `root`, in its profile `guest`, into `out/<name>.wasm`; returns
/// those paths in the order of the names.
///
/// A file whose content would not change is left alone, so that a daemon watching it sees no change either.
pub fn build_crates(root: &Path, crates: &[String], out: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut selection: Vec<&str> = vec!["--profile", "guest"];
    for name in crates {
        selection.extend(["-p", name]);
    }
    let modules = compile(root, &selection)?;
    let mut written = Vec::new();
    for name in crates {
        let module = modules.get(&name.replace('_', "-")).ok_or_else(|| no_module(root, name))?;
        let path = out.join(format!("{name}.wasm"));
        output::write_if_changed(&path, &component(module)?)?;
        written.push(path);
    }
    Ok(written)
}

/// Builds the package in `dir` and returns its name and its component.
pub(crate) fn build_package(dir: &Path) -> Result<(String, Vec<u8>), Error> {
    let modules = compile(dir, &["--release"])?;
    let mut modules = modules.into_iter();
    match (modules.next(), modules.next()) {
        (Some((name, module)), None) => Ok((name, component(&module)?)),
        (None, _) => Err(no_module(dir, "the package")),
        (Some((one, _)), Some((other, _))) => Err(Error::NotAProject {
            dir: dir.to_owned(),
            what: format!("builds {one} and {other}: expected the folder of one package"),
        }),
    }
}

fn no_module(dir: &Path, name: &str) -> Error {
    let what = format!("{name} built no .wasm: its crate-type must contain \"cdylib\"");
    Error::NotAProject { dir: dir.to_owned(), what }
}

fn component(module: &Path) -> Result<Vec<u8>, Error> {
    componentize(&fs::read(module).map_err(Error::file("read", module))?)
}

/// Compiles what `selection` selects and returns its core modules by crate name, as cargo reports them.
fn compile(dir: &Path, selection: &[&str]) -> Result<BTreeMap<String, PathBuf>, Error> {
    ensure_target(dir)?;
    let mut command = cargo();
    command
        .args(["build", "--lib", "--target", TARGET, "--message-format", "json-render-diagnostics"])
        .args(selection)
        .current_dir(dir)
        // Flags for the host, from a developer's environment, mean nothing to a guest.
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env("RUSTFLAGS", GUEST_RUSTFLAGS)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    let output = command.output().map_err(|source| started(&command, source))?;
    if !output.status.success() {
        let command = shown(&command);
        return Err(Error::Failed { command, status: output.status, output: String::new() });
    }
    modules(&output.stdout)
}

/// Reads cargo's messages.
fn modules(messages: &[u8]) -> Result<BTreeMap<String, PathBuf>, Error> {
    let mut modules = BTreeMap::new();
    for line in messages.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let message: serde_json::Value = serde_json::from_slice(line)
            .map_err(|why| Error::Unexpected { tool: "cargo", what: why.to_string() })?;
        if message["reason"] != "compiler-artifact" {
            continue;
        }
        let files = message["filenames"].as_array().into_iter().flatten().filter_map(|file| file.as_str());
        for file in files.filter(|file| file.ends_with(".wasm")) {
            let name = message["target"]["name"].as_str().unwrap_or_default().replace('_', "-");
            modules.insert(name, PathBuf::from(file));
        }
    }
    Ok(modules)
}

/// Installs the guest target when it is missing.
///
/// `rust-toolchain.toml` may name it too, but environments may switch automatic installation off.
fn ensure_target(dir: &Path) -> Result<(), Error> {
    if target_installed(dir)? {
        return Ok(());
    }
    run(Command::new("rustup").args(["target", "add", TARGET]).current_dir(dir))?;
    Ok(())
}

/// Whether the toolchain that cargo would use has the standard library of the guest target.
fn target_installed(dir: &Path) -> Result<bool, Error> {
    let asked = ["--print", "target-libdir", "--target", TARGET];
    let output = run(Command::new("rustc").args(asked).current_dir(dir))?;
    Ok(Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_found_among_cargos_messages() {
        let messages = concat!(
            r#"{"reason":"build-script-executed"}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"a_b"},"filenames":["/t/a_b.wasm","/t/liba.rlib"]}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"c"},"filenames":["/t/libc.rlib"]}"#,
            "\n",
        );
        let found = modules(messages.as_bytes()).unwrap();
        assert_eq!(found, BTreeMap::from([("a-b".to_owned(), PathBuf::from("/t/a_b.wasm"))]));
        assert!(modules(b"Compiling a v0.1.0\n").is_err());
    }
}
