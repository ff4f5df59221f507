//! What becomes of a component that is compiled in a child.

use anyhow::{Result, ensure};
use enid_policy_wasm::cache::Cache;
use enid_policy_wasm::compile::{CompileError, Compiler};
use enid_policy_wasm::fault::Unloadable;
use enid_policy_wasm::runtime::{InProcess, Runtime};

use crate::Test;
use crate::rogue::named;
use crate::subject::{component, limits, pods, program, question};

pub(crate) const TESTS: &[Test] = &[
    ("what_a_child_compiles_runs", runs),
    ("a_component_that_is_invalid_is_refused_with_the_reason", invalid),
    ("what_was_compiled_once_needs_no_child", remembered),
    ("a_damaged_entry_is_compiled_anew", damaged),
    ("a_child_that_writes_no_code_is_found_out", bad_code),
    ("a_compiler_that_fails_is_told", no_compiler),
];

fn digest(number: u8) -> String {
    format!("{number:02x}").repeat(32)
}

fn runs() -> Result<()> {
    let artifact = Compiler::child(program()?, None)?.compile(&digest(1), &component("")?)?;
    let guest = InProcess::start()?.load(&artifact, &limits())?;
    ensure!(pods(&guest.ask(&question()))? == 7, "it answers something else");
    Ok(())
}

fn invalid() -> Result<()> {
    let compiler = Compiler::child(program()?, None)?;
    for bytes in [&b""[..], b"no component", &component("")?[..200]] {
        let refused = compiler.compile(&digest(2), bytes);
        let Err(CompileError::Invalid { why }) = refused else { anyhow::bail!("{refused:?}") };
        ensure!(!why.is_empty() && !why.contains(char::is_control), "{why:?}");
    }
    Ok(())
}

fn remembered() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let cache = || Cache::open(dir.path().join("cache"));
    let component = component("")?;
    Compiler::child(program()?, Some(cache()?))?.compile(&digest(3), &component)?;
    let without = Compiler::child("/nonexistent/program".into(), Some(cache()?))?;
    without.compile(&digest(3), &component)?;
    let other = without.compile(&digest(4), &component);
    ensure!(matches!(other, Err(CompileError::NoCompiler { .. })), "{other:?}");
    Ok(())
}

fn damaged() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let cache = Cache::open(dir.path().join("cache"))?;
    let compiler = Compiler::child(program()?, Some(cache.clone()))?;
    let component = component("")?;
    compiler.compile(&digest(5), &component)?;
    for entry in std::fs::read_dir(cache.path())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "cwasm") {
            let mut bytes = std::fs::read(&path)?;
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(&path, bytes)?;
        }
    }
    let artifact = compiler.compile(&digest(5), &component)?;
    let guest = InProcess::start()?.load(&artifact, &limits())?;
    ensure!(pods(&guest.ask(&question()))? == 7, "it answers something else");
    Ok(())
}

fn bad_code() -> Result<()> {
    let (_dir, program) = named("bad-code")?;
    let artifact = Compiler::child(program, None)?.compile(&digest(6), &component("")?)?;
    let loaded = InProcess::start()?.load(&artifact, &limits());
    ensure!(matches!(loaded, Err(Unloadable::Artifact { .. })), "{loaded:?}");
    Ok(())
}

fn no_compiler() -> Result<()> {
    let (_dir, program) = named("exits")?;
    let failed = Compiler::child(program, None)?.compile(&digest(7), &component("")?);
    let Err(CompileError::NoCompiler { why }) = failed else { anyhow::bail!("{failed:?}") };
    ensure!(why.contains("exit status: 7"), "{why}");
    Ok(())
}
