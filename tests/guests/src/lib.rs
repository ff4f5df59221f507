//! Hostile guests: components that attack the host, and what each must end in.
//!
//! Each lives in a folder under `hostile/`, with one line saying what it attacks and one saying how it must
//! end. They are WebAssembly text, so running them needs no toolchain. This crate only reads and assembles
//! them; the tests judge the host.
//!
//! * [`Hostile`]: one guest. [`guest`]: a component around a core module's text. [`snapshot`]: a question.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use enid_core::limits::Mode;
use enid_core::snapshot::{
    Context, Demand, EniPhase, EniUse, Limits as NodeLimits, Pods, SubnetUse, WarmPoolSnapshot,
};
use enid_policy_wasm::Limits;

/// The component that every core module is put into.
const SHELL: &str = include_str!("../shell.wat");

/// What a module exports unless it brings its own: a harmless strategy that wants nothing.
///
/// Memory: the name at 16, the descriptor at 32, an empty list at 80, the answer at 1024, the heap from 4096.
const HARMLESS: [(&str, &str); 5] = [
    (
        "realloc",
        r#"(global $heap (mut i32) (i32.const 4096))
           (func (export "realloc") (param i32 i32) (param $align i32) (param $size i32) (result i32)
             (local $at i32)
             (local.set $at (i32.and
               (i32.add (global.get $heap) (i32.sub (local.get $align) (i32.const 1)))
               (i32.sub (i32.const 0) (local.get $align))))
             (global.set $heap (i32.add (local.get $at) (local.get $size)))
             (local.get $at))"#,
    ),
    (
        "describe",
        r#"(data (i32.const 16) "hostile")
           (data (i32.const 32) "\10\00\00\00\07\00\00\00")
           (func (export "describe") (result i32) (i32.const 32))"#,
    ),
    ("check-settings", r#"(func (export "check-settings") (param i32 i32) (result i32) (i32.const 80))"#),
    ("decide", r#"(func (export "decide") (param i32) (result i32) (i32.const 1024))"#),
    ("post-decide", r#"(func (export "post-decide") (param i32))"#),
];

/// One hostile guest.
#[derive(Clone, Debug)]
pub struct Hostile {
    /// Its folder's name.
    pub name: String,
    /// What it attacks, in one line.
    pub attacks: String,
    /// How it must end: `<refusal>` or `<call>: <fault>` when it is not let in, `decide: <fault>` otherwise.
    pub ends_in: String,
    /// What is offered to the host.
    pub bytes: Vec<u8>,
    /// The limits under which it runs.
    pub limits: Limits,
}

impl Hostile {
    /// All of them, by name.
    pub fn all() -> anyhow::Result<Vec<Hostile>> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("hostile");
        let mut folders: Vec<PathBuf> = Vec::new();
        for entry in std::fs::read_dir(&dir).with_context(|| format!("read {}", dir.display()))? {
            folders.push(entry?.path());
        }
        folders.sort();
        folders.iter().map(|folder| Self::read(folder)).collect()
    }

    fn read(folder: &Path) -> anyhow::Result<Hostile> {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let path = folder.join("guest.wat");
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let line = |key: &str| text.lines().find_map(|line| line.strip_prefix(&format!(";; {key}: ")));
        // The longest deadline there is, unless the deadline is under attack: a busy machine must not turn
        // another fault into this one.
        let mut limits = Limits { deadline: Limits::most().deadline, ..Limits::default() };
        if let Some(fuel) = line("fuel") {
            limits.fuel = fuel.parse().with_context(|| format!("{name}: fuel"))?;
        }
        if let Some(millis) = line("deadline-ms") {
            limits.deadline =
                Duration::from_millis(millis.parse().with_context(|| format!("{name}: deadline"))?);
        }
        let bytes = if text.contains("(component") { wat::parse_str(&text)? } else { guest(&text)? };
        let bytes = altered(bytes, line("then")).with_context(|| name.clone())?;
        let required =
            |key: &str| line(key).map(str::to_owned).with_context(|| format!("{name} lacks `;; {key}:`"));
        Ok(Hostile { attacks: required("attacks")?, ends_in: required("ends in")?, name, bytes, limits })
    }
}

/// A component around a core module's fields; exports that the text does not have are harmless ones.
pub fn guest(fields: &str) -> anyhow::Result<Vec<u8>> {
    let mut module = fields.to_owned();
    for (export, harmless) in HARMLESS {
        if !fields.contains(&format!("(export \"{export}\")")) {
            module.push('\n');
            module.push_str(harmless);
        }
    }
    wat::parse_str(SHELL.replace("{{guest}}", &module)).context("assemble the guest")
}

/// Attacks that no text can express: what is done to the finished bytes.
fn altered(mut bytes: Vec<u8>, how: Option<&str>) -> anyhow::Result<Vec<u8>> {
    match how {
        None => Ok(bytes),
        Some("empty") => Ok(Vec::new()),
        Some("truncate") => {
            bytes.truncate(bytes.len() / 2);
            Ok(bytes)
        }
        Some("flip a bit in the middle") => {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x40;
            Ok(bytes)
        }
        Some("offer text") => Ok(b"(component)".to_vec()),
        Some("offer a core module") => Ok(wat::parse_str("(module)")?),
        Some("precompile") => {
            let engine = wasmtime::Engine::default();
            engine.precompile_component(&bytes).map_err(|error| anyhow::anyhow!("precompile: {error}"))
        }
        Some("pad beyond the limit") => {
            // A custom section of 5 MiB: valid, useless, large.
            let size = 5u32 << 20;
            bytes.push(0);
            leb(&mut bytes, size);
            bytes.extend([3, b'p', b'a', b'd']);
            bytes.resize(bytes.len() + usize::try_from(size)? - 4, 0);
            Ok(bytes)
        }
        Some(other) => bail!("unknown alteration `{other}`"),
    }
}

fn leb(bytes: &mut Vec<u8>, mut number: u32) {
    while number >= 0x80 {
        bytes.push(u8::try_from(number & 0x7f).unwrap_or_default() | 0x80);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).unwrap_or_default());
}

/// A question about a node in use: three ENIs, four buckets, two subnets.
pub fn snapshot() -> WarmPoolSnapshot {
    let eni = |slot: u16| EniUse {
        slot,
        card: 0,
        subnet: 0,
        phase: EniPhase::Ready,
        primary: slot == 0,
        age_ms: 600_000,
        capacity: 9,
        assigned: 9,
        free: 3,
        bound: 6,
        cooling: 0,
        prefixes: 0,
        idle_ms: 1_000,
    };
    WarmPoolSnapshot {
        context: Context { now_ms: 1_000_000, wall_secs: 1_800_000_000, ..Context::default() },
        mode: Mode::SecondaryIp,
        limits: NodeLimits {
            max_enis: 3,
            slots_per_eni: 9,
            addresses_per_slot: 1,
            prefixes: true,
            trunk_reserve: 0,
        },
        enis: (0..3).map(eni).collect(),
        bucket_ms: 10_000,
        history: vec![Demand { added: 1, removed: 1, ..Demand::default() }; 4],
        subnets: vec![SubnetUse { free: 100, total: 251, primary: true, ..SubnetUse::default() }; 2],
        pods: Pods { bound: 18, waiting: 0, expected: 0, max: 29 },
        ..WarmPoolSnapshot::default()
    }
}

/// The directory with the shipped components, from `ENID_STRATEGIES`.
pub fn shipped() -> anyhow::Result<PathBuf> {
    let dir = std::env::var_os("ENID_STRATEGIES")
        .map(PathBuf::from)
        .context("ENID_STRATEGIES is not set: run `cargo xtask strategies` and set it to the directory it prints, or use `cargo xtask test`")?;
    ensure!(
        dir.join("warm-targets.wasm").is_file(),
        "{} has no warm-targets.wasm: run `cargo xtask strategies`",
        dir.display()
    );
    Ok(dir)
}
