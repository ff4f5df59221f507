//! What the operator chose for each kind.

use std::fmt;
use std::path::PathBuf;

use enid_core::snapshot::Setting;

use crate::component::Kind;
use crate::limits::Limits;

/// Fallbacks behind one strategy at most: each costs memory and a deadline before the built-in answers.
pub const MAX_FALLBACKS: usize = 4;

/// Where a strategy comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A component file.
    Path(PathBuf),
    /// The strategy compiled into the host.
    Builtin,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Path(path) => write!(f, "{}", path.display()),
            Source::Builtin => f.write_str("the host itself"),
        }
    }
}

/// One strategy as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StrategyConfig {
    /// The operator's name for it; it stands in decisions, logs and metrics.
    pub name: String,
    /// Where it comes from.
    pub source: Source,
    /// Its settings.
    pub settings: Vec<Setting>,
    /// What a call may cost.
    pub limits: Limits,
    /// Who answers when it cannot, before the built-in does.
    pub fallback: Option<Box<StrategyConfig>>,
    /// `sha256:…` or the bare hexadecimal digits; the file must match.
    pub digest: Option<String>,
}

impl StrategyConfig {
    /// The strategy compiled into the host.
    pub fn builtin() -> Self {
        Self {
            name: "builtin".into(),
            source: Source::Builtin,
            settings: Vec::new(),
            limits: Limits::default(),
            fallback: None,
            digest: None,
        }
    }

    /// A component file without settings, under default limits.
    pub fn component(name: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self { name: name.into(), source: Source::Path(path.into()), ..Self::builtin() }
    }
}

/// The strategies of all three kinds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyConfig {
    /// How many addresses to hold ready.
    pub warm_pool: StrategyConfig,
    /// How many pods the node can run.
    pub max_pods: StrategyConfig,
    /// Where the next ENI is created.
    pub subnet_selection: StrategyConfig,
}

impl PolicyConfig {
    /// The strategy of one kind.
    pub fn of(&self, kind: Kind) -> &StrategyConfig {
        match kind {
            Kind::WarmPool => &self.warm_pool,
            Kind::MaxPods => &self.max_pods,
            Kind::SubnetSelection => &self.subnet_selection,
        }
    }
}

impl Default for PolicyConfig {
    /// The built-in strategies only.
    fn default() -> Self {
        Self {
            warm_pool: StrategyConfig::builtin(),
            max_pods: StrategyConfig::builtin(),
            subnet_selection: StrategyConfig::builtin(),
        }
    }
}
