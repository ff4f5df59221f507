//! `[strategy.…]`: which component decides what, with which settings, within which limits.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use enid_component_store::Digest;
use enid_core::kind::Kind;
use enid_core::snapshot::{Setting, Value};
use enid_policy_wasm::config::MAX_FALLBACKS;
use toml::de::DeValue;

use super::document::{Entry, Section, inside, integer_of};
use super::{is_name, is_path, narrow};

/// Settings that one strategy may have, after flattening.
const MAX_SETTINGS: usize = 128;
/// Tables within tables in a strategy's settings.
const MAX_DEPTH: usize = 8;
/// Bytes of a flattened key, and of a text value.
const MAX_TEXT: usize = 1024;
/// Why a component file needs a digest.
const UNPINNED: &str = "a component that is not shipped with enid is pinned by its digest, so that no other is ever \
    run in its place; `enid strategy digest FILE` prints that of a file you trust";

/// What stands in `[strategy.…]` for the three kinds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strategies {
    /// `[strategy.warm-pool]`: how much supply to hold ready.
    pub warm_pool: Lineup,
    /// `[strategy.max-pods]`: how many pods the node may carry.
    pub max_pods: Lineup,
    /// `[strategy.subnet-selection]`: where new ENIs go.
    pub subnet_selection: Lineup,
}

/// One `[strategy.…]` table: the strategies of one kind in their roles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lineup {
    /// Who decides.
    pub active: Strategy,
    /// `[[strategy.….fallback]]`: asked in this order when it fails, before the built-in rule. Default: none.
    pub fallbacks: Vec<Strategy>,
    /// `[strategy.….shadow]`: asked the same questions and compared, never heeded. Default: none.
    pub shadow: Option<Strategy>,
}

/// What a strategy is in its lineup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It decides.
    Active,
    /// It stands in, at this place in the order.
    Fallback(usize),
    /// It is compared.
    Shadow,
}

impl Role {
    /// Where the settings of a strategy of `kind` in this role stand.
    pub fn path(self, kind: Kind) -> String {
        match self {
            Role::Active => format!("strategy.{kind}"),
            Role::Fallback(index) => format!("strategy.{kind}.fallback.{index}"),
            Role::Shadow => format!("strategy.{kind}.shadow"),
        }
    }
}

/// One strategy as the operator chose it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strategy {
    /// `use`: the component. Default: the shipped one that behaves like the incumbent (`warm-targets`,
    /// `eks-max-pods`, `most-free`); a fallback or shadow has none.
    pub source: Source,
    /// `digest`: what the component's bytes must hash to. A shipped component needs none, because its digest is
    /// shipped with it; everything else is refused without one.
    pub digest: Option<Digest>,
    /// `settings`: handed to the component with every question, nested tables flattened to dotted keys.
    /// Default: none, and the component's own defaults hold.
    pub settings: Vec<Setting>,
    /// `limits`: what one decision may cost.
    pub limits: StrategyLimits,
}

/// Where a component comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// By name: `builtin`, one in the strategy directory, or with a digest one in the component store.
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
    /// The strategy compiled into the host.
    pub fn builtin() -> Self {
        Source::Named("builtin".to_owned())
    }

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

/// What one decision of a component may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StrategyLimits {
    /// `fuel`: instructions, roughly. Default 15 million: at most some 8 ms, a thousand times what shipped ones use.
    pub fuel: u64,
    /// `deadline_ms`: wall time. Default 50 ms: the backstop when the machine is busy.
    pub deadline: Duration,
    /// `memory_mib`: linear memory in MiB. Default 16: enough for an embedded script engine.
    pub memory_mib: u32,
    /// `component_mib`: the component's file in MiB. Default 4: shipped ones have some 30 KiB.
    pub component_mib: u32,
}

impl Default for StrategyLimits {
    fn default() -> Self {
        Self { fuel: 15_000_000, deadline: Duration::from_millis(50), memory_mib: 16, component_mib: 4 }
    }
}

impl Default for Strategies {
    fn default() -> Self {
        Self {
            warm_pool: Lineup::only(Strategy::shipped("warm-targets")),
            max_pods: Lineup::only(Strategy::shipped("eks-max-pods")),
            subnet_selection: Lineup::only(Strategy::shipped("most-free")),
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

    /// The strategies of one kind.
    pub fn of(&self, kind: Kind) -> &Lineup {
        match kind {
            Kind::WarmPool => &self.warm_pool,
            Kind::MaxPods => &self.max_pods,
            Kind::SubnetSelection => &self.subnet_selection,
        }
    }
}

impl Lineup {
    /// One strategy without fallbacks and shadow.
    pub fn only(active: Strategy) -> Self {
        Self { active, fallbacks: Vec::new(), shadow: None }
    }

    /// All strategies in it, in the order in which they are asked.
    pub fn roles(&self) -> impl Iterator<Item = (Role, &Strategy)> {
        let fallbacks = self.fallbacks.iter().enumerate();
        std::iter::once((Role::Active, &self.active))
            .chain(fallbacks.map(|(index, strategy)| (Role::Fallback(index), strategy)))
            .chain(self.shadow.iter().map(|strategy| (Role::Shadow, strategy)))
    }

    /// This lineup with what `section` sets.
    fn read(self, section: &mut Section<'_, '_>, directory: &Path) -> Self {
        let active = Strategy::read(section, directory, Some(self.active.source));
        let path = section.path().to_owned();
        let allowed = format!(
            "tables, at most {MAX_FALLBACKS}, each under [[{path}.fallback]] and with its own use = \"NAME\""
        );
        let other = |section: &mut Section<'_, '_>| Strategy::read(section, directory, None);
        Self {
            active,
            fallbacks: section.sections("fallback", MAX_FALLBACKS, &allowed, other),
            shadow: section.section_if_present("shadow", other),
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
        }
    }

    /// What `section` sets; without `default` it must say which component.
    fn read(section: &mut Section<'_, '_>, directory: &Path, default: Option<Source>) -> Self {
        if default.is_none() && !section.sets("use") {
            section.missing("use", "", &format!("name the component: {}", Source::ALLOWED));
        }
        let source = section.text("use", Source::ALLOWED, |text| Source::parse(text, directory));
        let source = source.or(default).unwrap_or_else(Source::builtin);
        let pinned = section.sets("digest");
        let digest = match &source {
            builtin if *builtin == Source::builtin() => {
                section.text("digest", "left out: the built-in strategy is part of enid", |_| None)
            }
            Source::Named(_) | Source::File(_) => {
                let allowed = "\"sha256:\" and 64 lower-case hexadecimal digits";
                section.text("digest", allowed, |text| text.parse().ok())
            }
        };
        if let Source::File(_) = &source
            && !pinned
        {
            section.missing("digest", "use", UNPINNED);
        }
        Self {
            source,
            digest,
            settings: flatten(section),
            limits: section.section("limits", StrategyLimits::read),
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
            component_mib: section
                .integer("component_mib", 1..=32, "MiB")
                .map_or(default.component_mib, narrow),
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
        section.remember(&format!("settings.{key}"), entry);
        for (name, value) in inner {
            flatten_entry(section, format!("{key}.{name}"), &value, depth - 1, flat);
        }
        return;
    }
    let dotted = format!("settings.{key}");
    section.remember(&dotted, entry);
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
