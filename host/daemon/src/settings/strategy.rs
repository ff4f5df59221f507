//! `[strategy.…]`: which component decides what, with which settings, within which limits.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use enid_core::snapshot::{Setting, Value};
use toml::de::DeValue;

use super::document::{Entry, Section, inside, integer_of};
use super::{is_name, is_path, narrow};

/// Settings that one strategy may have, after flattening.
const MAX_SETTINGS: usize = 128;
/// Tables within tables in a strategy's settings.
const MAX_DEPTH: usize = 8;
/// Bytes of a flattened key, and of a text value.
const MAX_TEXT: usize = 1024;

/// The three deciders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strategies {
    /// `[strategy.warm-pool]`: how much supply to hold ready.
    pub warm_pool: Strategy,
    /// `[strategy.max-pods]`: how many pods the node may carry.
    pub max_pods: Strategy,
    /// `[strategy.subnet-selection]`: where new ENIs go.
    pub subnet_selection: Strategy,
}

/// One `[strategy.…]` table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strategy {
    /// `use`: the component. Default: the shipped one that behaves like the incumbent (`warm-targets`,
    /// `eks-max-pods`, `most-free`).
    pub source: Source,
    /// `digest`: what the component's bytes must hash to. Default: none, and any bytes are taken.
    pub digest: Option<Digest>,
    /// `settings`: handed to the component with every question, nested tables flattened to dotted keys.
    /// Default: none, and the component's own defaults hold.
    pub settings: Vec<Setting>,
    /// `limits`: what one decision may cost.
    pub limits: StrategyLimits,
    /// `fallback`: asked when the component fails. Default: none, and the built-in rule answers.
    pub fallback: Option<Source>,
}

/// Where a component comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// By name, in the strategy directory.
    Named(String),
    /// A file.
    File(PathBuf),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Named(name) => f.write_str(name),
            Source::File(path) => path.display().fmt(f),
        }
    }
}

impl Source {
    /// What [`Source::parse`] accepts, to complete "must be …".
    pub const ALLOWED: &'static str =
        "the name of a strategy (letters, digits, `-`), or a file: a path with `/` or ending in `.wasm`";

    /// A name, or a path that is relative to `directory`.
    pub fn parse(text: &str, directory: &Path) -> Option<Self> {
        if text.contains('/') || text.ends_with(".wasm") {
            return is_path(text).then(|| Source::File(directory.join(text)));
        }
        let lower = !text.contains(|c: char| c.is_ascii_uppercase());
        (lower && is_name(text, 64, b"-")).then(|| Source::Named(text.to_owned()))
    }
}

/// A SHA-256 of a component's bytes, written `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("sha256:")?;
        if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What one decision of a component may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StrategyLimits {
    /// `fuel`: instructions, roughly. Default 50 million: some 3 ms, a thousand times what shipped ones use.
    pub fuel: u64,
    /// `deadline_ms`: wall time. Default 50 ms: the backstop when the machine is busy.
    pub deadline: Duration,
    /// `memory_mib`: linear memory in MiB. Default 16: enough for an embedded script engine.
    pub memory_mib: u32,
}

impl Default for StrategyLimits {
    fn default() -> Self {
        Self { fuel: 50_000_000, deadline: Duration::from_millis(50), memory_mib: 16 }
    }
}

impl Default for Strategies {
    fn default() -> Self {
        Self {
            warm_pool: Strategy::shipped("warm-targets"),
            max_pods: Strategy::shipped("eks-max-pods"),
            subnet_selection: Strategy::shipped("most-free"),
        }
    }
}

impl Strategies {
    pub(super) fn read(section: &mut Section<'_, '_>, directory: &Path) -> Self {
        let default = Self::default();
        Self {
            warm_pool: section.section("warm-pool", |table| default.warm_pool.read(table, directory)),
            max_pods: section.section("max-pods", |table| default.max_pods.read(table, directory)),
            subnet_selection: section
                .section("subnet-selection", |table| default.subnet_selection.read(table, directory)),
        }
    }
}

impl Strategy {
    /// A shipped strategy with nothing set.
    pub fn shipped(name: &str) -> Self {
        Self {
            source: Source::Named(name.to_owned()),
            digest: None,
            settings: Vec::new(),
            limits: StrategyLimits::default(),
            fallback: None,
        }
    }

    /// This strategy with what `section` sets.
    fn read(self, section: &mut Section<'_, '_>, directory: &Path) -> Self {
        let source = section
            .text("use", Source::ALLOWED, |text| Source::parse(text, directory))
            .unwrap_or(self.source);
        let fallback =
            section.text("fallback", &format!("{}; and not the one in `use`", Source::ALLOWED), |text| {
                Source::parse(text, directory).filter(|fallback| *fallback != source)
            });
        Self {
            digest: section.text("digest", "\"sha256:\" and 64 hexadecimal digits", Digest::parse),
            settings: flatten(section),
            limits: section.section("limits", StrategyLimits::read),
            source,
            fallback,
        }
    }
}

impl StrategyLimits {
    fn read(section: &mut Section<'_, '_>) -> Self {
        let default = Self::default();
        Self {
            fuel: section.integer("fuel", 100_000..=2_000_000_000, "units of fuel").unwrap_or(default.fuel),
            deadline: section
                .integer("deadline_ms", 1..=2000, "milliseconds")
                .map_or(default.deadline, Duration::from_millis),
            memory_mib: section.integer("memory_mib", 1..=128, "MiB").map_or(default.memory_mib, narrow),
        }
    }
}

/// The table `settings`, flattened: `az.use1-az1.weight = 2`, `list.0 = "a"`.
fn flatten(section: &mut Section<'_, '_>) -> Vec<Setting> {
    let mut flat = Vec::new();
    for entry in section.table("settings").unwrap_or_default() {
        flatten_entry(section, entry.key.to_owned(), &entry, MAX_DEPTH, &mut flat);
    }
    flat
}

fn flatten_entry(
    section: &mut Section<'_, '_>,
    key: String,
    entry: &Entry<'_>,
    depth: usize,
    flat: &mut Vec<Setting>,
) {
    if let Some(inner) = inside(entry).filter(|_| depth > 0) {
        for (name, value) in inner {
            flatten_entry(section, format!("{key}.{name}"), &value, depth - 1, flat);
        }
        return;
    }
    let dotted = format!("settings.{key}");
    match value_of(entry.value) {
        Err(allowed) => section.refuse(&dotted, entry, allowed),
        Ok(_) if key.len() > MAX_TEXT => section.refuse(&dotted, entry, "called by a shorter name"),
        Ok(_) if flat.len() == MAX_SETTINGS => {
            section.refuse(
                &dotted,
                entry,
                &format!("left out: a strategy has at most {MAX_SETTINGS} settings"),
            );
        }
        Ok(value) => flat.push(Setting { key, value }),
    }
}

/// The value a component gets, or what would be right instead.
fn value_of(value: &DeValue<'_>) -> Result<Value, &'static str> {
    match value {
        DeValue::String(text) if text.len() <= MAX_TEXT => Ok(Value::Text(text.to_string())),
        DeValue::String(_) => Err("text of at most 1024 bytes"),
        DeValue::Integer(_) => integer_of(value).map(Value::Int).ok_or("a whole number of 64 bits"),
        DeValue::Boolean(flag) => Ok(Value::Flag(*flag)),
        DeValue::Float(_) => Err(
            "a whole number, in a smaller unit if need be (250 thousandths, not 0.25): every host must compute the same",
        ),
        DeValue::Datetime(_) => Err("text in quotes, or a number of seconds: components know no dates"),
        DeValue::Array(_) | DeValue::Table(_) => Err("at most 8 levels deep"),
    }
}
