//! `cargo xtask gen-instance-types`: renews the table of instance limits that `enid-core` carries.
//!
//! EC2's own `DescribeInstanceTypes` answers ship in the moto package on PyPI, so the table needs no
//! AWS account. The package is pinned by version and hash: a renewal is a change to the two constants
//! below and a table whose differences can be read in review.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// The moto release whose data the table holds.
const MOTO: &str = "5.2.5";
/// The wheel's SHA-256, as PyPI publishes it.
const MOTO_SHA256: &str = "eef62cdcf3bfe73e0863743511ba042dfaba04ba3d5ecdcb896a196c693ad528";
/// Where the table lives.
const TABLE: &str = "host/core/src/instance_types.tsv";
/// Prints the one file we want out of the wheel; nothing of moto is installed or run.
const EXTRACT: &str = "import gzip, sys, zipfile
data = zipfile.ZipFile(sys.argv[1]).read('moto/ec2/resources/instance_types.json.gz')
sys.stdout.buffer.write(gzip.decompress(data))";

/// Downloads the pinned package, renders the table and writes it.
pub fn run(root: &Path) -> Result<()> {
    let work = root.join("target/instance-types");
    fs::create_dir_all(&work).with_context(|| format!("create {}", work.display()))?;
    let types = extract(&download(&work)?)?;
    let table = render(&types)?;
    let path = root.join(TABLE);
    let renewed = fs::read_to_string(&path).map_or(true, |old| old != table);
    fs::write(&path, &table).with_context(|| format!("write {}", path.display()))?;
    let verdict = if renewed { "renewed" } else { "unchanged" };
    println!("{TABLE}: {verdict}, {} types, {} KiB", types.len(), table.len() / 1024);
    Ok(())
}

fn download(work: &Path) -> Result<std::path::PathBuf> {
    let wheel = work.join(format!("moto-{MOTO}-py3-none-any.whl"));
    let venv = work.join("venv");
    let pip = venv.join("bin/pip");
    if !pip.exists() {
        call(Command::new("python3").args(["-m", "venv"]).arg(&venv))
            .context("make a Python environment; on Debian and Ubuntu: apt-get install python3-venv")?;
    }
    let wanted = work.join("requirements.txt");
    fs::write(&wanted, format!("moto=={MOTO} --hash=sha256:{MOTO_SHA256}\n"))
        .with_context(|| format!("write {}", wanted.display()))?;
    call(
        Command::new(&pip)
            .args(["download", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"])
            .arg("--dest")
            .arg(work)
            .arg("--requirement")
            .arg(&wanted),
    )
    .with_context(|| format!("download moto {MOTO} from PyPI"))?;
    ensure!(wheel.exists(), "pip left no {}", wheel.display());
    Ok(wheel)
}

fn extract(wheel: &Path) -> Result<serde_json::Map<String, Value>> {
    let output = call(Command::new("python3").args(["-c", EXTRACT]).arg(wheel))
        .with_context(|| format!("read instance types out of {}", wheel.display()))?;
    serde_json::from_slice(&output).context("parse moto's instance types")
}

fn call(command: &mut Command) -> Result<Vec<u8>> {
    let output = command.output().with_context(|| format!("start {:?}", command.get_program()))?;
    if !output.status.success() {
        bail!("{:?}: {}: {}", command, output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output.stdout)
}

/// The whole file: a header for people, then one line per type in byte order of the names.
fn render(types: &serde_json::Map<String, Value>) -> Result<String> {
    let mut lines: Vec<String> = types
        .iter()
        .map(|(name, facts)| line(name, facts).with_context(|| format!("instance type {name}")))
        .collect::<Result<_>>()?;
    lines.sort_by(|a, b| a.split('\t').next().cmp(&b.split('\t').next()));
    let mut table = format!(
        "# Networking limits of EC2 instance types. Generated: change it with `cargo xtask gen-instance-types`.\n\
         # Source: DescribeInstanceTypes as shipped in moto {MOTO} (PyPI, Apache-2.0). One type a line, sorted by name:\n\
         # name, vCPUs, MiB, hypervisor, metal or virtual, default card, cards as index:ENIs, IPv4 per ENI, \
         IPv6 per ENI, trunking (- unknown).\n"
    );
    for line in lines {
        writeln!(table, "{line}").expect("invariant: writing to a string succeeds");
    }
    Ok(table)
}

fn line(name: &str, facts: &Value) -> Result<String> {
    let number = |pointer: &str| {
        facts
            .pointer(pointer)
            .and_then(Value::as_u64)
            .with_context(|| format!("no whole number at {pointer}"))
    };
    let hypervisor = facts.get("Hypervisor").map_or(Some("none"), Value::as_str);
    let hypervisor =
        hypervisor.filter(|name| ["nitro", "xen", "none"].contains(name)).context("hypervisor")?;
    let metal = facts.get("BareMetal").and_then(Value::as_bool).context("no BareMetal")?;
    let cards = facts.pointer("/NetworkInfo/NetworkCards").and_then(Value::as_array).context("no cards")?;
    let mut cards: Vec<(u64, u64)> = cards
        .iter()
        .map(|card| {
            let field =
                |key| card.get(key).and_then(Value::as_u64).with_context(|| format!("card without {key}"));
            Ok((field("NetworkCardIndex")?, field("MaximumNetworkInterfaces")?))
        })
        .collect::<Result<_>>()?;
    cards.sort_unstable();
    let default_card = number("/NetworkInfo/DefaultNetworkCardIndex")?;
    ensure!(cards.iter().any(|(index, _)| *index == default_card), "the default card is not listed");
    let cards: Vec<String> = cards.into_iter().map(|(index, enis)| format!("{index}:{enis}")).collect();
    Ok(format!(
        "{name}\t{}\t{}\t{hypervisor}\t{}\t{default_card}\t{}\t{}\t{}\t-",
        number("/VCpuInfo/DefaultVCpus")?,
        number("/MemoryInfo/SizeInMiB")?,
        if metal { "metal" } else { "virtual" },
        cards.join(","),
        number("/NetworkInfo/Ipv4AddressesPerInterface")?,
        number("/NetworkInfo/Ipv6AddressesPerInterface")?,
    ))
}
