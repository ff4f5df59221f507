//! The other implementation of the format: Debian's `minisign`, in both directions.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use enid_component_store::{KeyPair, PublicKey, SecretKey, SignatureError, TrustedKeys};

const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// Runs `minisign` in `dir`; nothing if it is not installed and need not be.
fn minisign(dir: &Path, args: &[&str]) -> Result<Option<Output>> {
    match Command::new("minisign").args(args).current_dir(dir).stdin(Stdio::null()).output() {
        Ok(output) => Ok(Some(output)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let required = std::env::var_os("ENID_REQUIRE_TOOLS").is_some_and(|value| value == "1");
            ensure!(!required, "minisign is missing: apt-get install minisign");
            eprintln!("not run, for want of the Debian package minisign");
            Ok(None)
        }
        Err(e) => Err(e).context("run minisign"),
    }
}

fn succeeded(output: &Output) -> Result<()> {
    ensure!(output.status.success(), "minisign: {output:?}");
    Ok(())
}

#[test]
fn minisign_verifies_what_we_sign() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let pair = KeyPair::generate()?;
    fs::write(dir.path().join("c.wasm"), COMPONENT)?;
    fs::write(dir.path().join("c.wasm.minisig"), pair.secret.sign(COMPONENT, "batched 1.2")?)?;
    let key = pair.public.to_string();
    let Some(output) = minisign(dir.path(), &["-V", "-P", &key, "-m", "c.wasm"])? else { return Ok(()) };
    succeeded(&output)?;
    assert!(String::from_utf8_lossy(&output.stdout).contains("Trusted comment: batched 1.2"), "{output:?}");

    fs::write(dir.path().join("c.wasm"), b"something else")?;
    let output = minisign(dir.path(), &["-V", "-P", &key, "-m", "c.wasm"])?.context("minisign vanished")?;
    assert!(!output.status.success());
    Ok(())
}

#[test]
fn we_verify_what_minisign_signs() -> Result<()> {
    let dir = tempfile::tempdir()?;
    fs::write(dir.path().join("c.wasm"), COMPONENT)?;
    let generate = ["-G", "-W", "-p", "key.pub", "-s", "key"];
    let Some(output) = minisign(dir.path(), &generate)? else { return Ok(()) };
    succeeded(&output)?;
    let sign = ["-S", "-s", "key", "-m", "c.wasm", "-t", "from the other side"];
    succeeded(&minisign(dir.path(), &sign)?.context("minisign vanished")?)?;

    let keys = TrustedKeys::parse(&[format!("them={}", fs::read_to_string(dir.path().join("key.pub"))?)])?;
    let signature = fs::read_to_string(dir.path().join("c.wasm.minisig"))?;
    let verified = keys.verify(COMPONENT, Some(&signature))?;
    assert_eq!(
        (verified.key.to_string().as_str(), verified.trusted_comment.as_str()),
        ("them", "from the other side")
    );

    // The older kind is one that minisign still makes.
    let sign = ["-S", "-l", "-s", "key", "-m", "c.wasm", "-x", "old.minisig"];
    succeeded(&minisign(dir.path(), &sign)?.context("minisign vanished")?)?;
    let old = fs::read_to_string(dir.path().join("old.minisig"))?;
    assert!(matches!(keys.verify(COMPONENT, Some(&old)), Err(SignatureError::NotPrehashed)));
    Ok(())
}

#[test]
fn each_signs_with_the_others_key() -> Result<()> {
    let dir = tempfile::tempdir()?;
    fs::write(dir.path().join("c.wasm"), COMPONENT)?;
    let pair = KeyPair::generate()?;
    pair.write(&dir.path().join("ours"), &dir.path().join("ours.pub"))?;
    let Some(output) = minisign(dir.path(), &["-S", "-s", "ours", "-m", "c.wasm"])? else { return Ok(()) };
    succeeded(&output)?;
    let signature = fs::read_to_string(dir.path().join("c.wasm.minisig"))?;
    let trusted = TrustedKeys::parse(&[pair.public.to_string()])?;
    assert_eq!(trusted.verify(COMPONENT, Some(&signature))?.key.to_string(), pair.public.id());

    succeeded(
        &minisign(dir.path(), &["-G", "-W", "-p", "theirs.pub", "-s", "theirs"])?.context("vanished")?,
    )?;
    let theirs = SecretKey::read(&dir.path().join("theirs"))?;
    assert_eq!(theirs.public()?, PublicKey::parse(&fs::read_to_string(dir.path().join("theirs.pub"))?)?);
    fs::write(dir.path().join("c.wasm.minisig"), theirs.sign(COMPONENT, "x")?)?;
    succeeded(&minisign(dir.path(), &["-V", "-p", "theirs.pub", "-m", "c.wasm"])?.context("vanished")?)?;
    Ok(())
}
