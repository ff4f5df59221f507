//! What the operator chose for each kind.

use std::fmt;
use std::path::PathBuf;

use enid_component_store::{Digest, TrustedKeys};
use enid_core::kind::Kind;
use enid_core::snapshot::Setting;

use crate::limits::Limits;
use crate::runtime::Place;

/// Fallbacks behind one strategy at most: each costs memory and a deadline before the built-in answers.
pub const MAX_FALLBACKS: usize = 4;

/// Where a strategy comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The strategy compiled into the host.
    Builtin,
    /// A component that came with the host, and that whoever trusts the host trusts: no signature is asked for.
    Shipped {
        /// The file.
        path: PathBuf,
        /// SHA-256 of its bytes, as it was shipped.
        digest: Digest,
    },
    /// A component file that must have this digest.
    Component {
        /// The file; a detached signature is looked for beside it, under its name and `.minisig`.
        path: PathBuf,
        /// SHA-256 of its bytes.
        digest: Digest,
    },
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Builtin => f.write_str("the host itself"),
            Source::Shipped { path, .. } | Source::Component { path, .. } => path.display().fmt(f),
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
}

impl StrategyConfig {
    /// The strategy compiled into the host.
    pub fn builtin() -> Self {
        Self {
            name: "builtin".into(),
            source: Source::Builtin,
            settings: Vec::new(),
            limits: Limits::default(),
        }
    }

    /// A component file without settings, under default limits.
    pub fn component(name: impl Into<String>, path: impl Into<PathBuf>, digest: Digest) -> Self {
        let source = Source::Component { path: path.into(), digest };
        Self { name: name.into(), source, ..Self::builtin() }
    }
}

/// The strategies of one kind, in their roles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lineup {
    /// Who decides.
    pub active: StrategyConfig,
    /// Who is asked when it cannot, in this order, before the built-in; at most [`MAX_FALLBACKS`].
    pub fallbacks: Vec<StrategyConfig>,
    /// Who is shown the same snapshots and compared, and never heeded.
    pub shadow: Option<StrategyConfig>,
}

impl Lineup {
    /// One strategy without fallbacks and shadow.
    pub fn only(active: StrategyConfig) -> Self {
        Self { active, fallbacks: Vec::new(), shadow: None }
    }

    /// All strategies in it.
    pub fn strategies(&self) -> impl Iterator<Item = &StrategyConfig> {
        std::iter::once(&self.active).chain(&self.fallbacks).chain(&self.shadow)
    }
}

/// The strategies of all three kinds, and how they are run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyConfig {
    /// How many addresses to hold ready.
    pub warm_pool: Lineup,
    /// How many pods the node can run.
    pub max_pods: Lineup,
    /// Where the next ENI is created.
    pub subnet_selection: Lineup,
    /// Who vouches for components.
    pub trust: Trust,
    /// How components are compiled and run, and where it is written down.
    pub house: House,
}

impl PolicyConfig {
    /// The strategies of one kind.
    pub fn of(&self, kind: Kind) -> &Lineup {
        match kind {
            Kind::WarmPool => &self.warm_pool,
            Kind::MaxPods => &self.max_pods,
            Kind::SubnetSelection => &self.subnet_selection,
        }
    }
}

impl Default for PolicyConfig {
    /// The built-in strategies only, in process, with nothing written down.
    fn default() -> Self {
        let builtin = Lineup::only(StrategyConfig::builtin());
        Self {
            warm_pool: builtin.clone(),
            max_pods: builtin.clone(),
            subnet_selection: builtin,
            trust: Trust::default(),
            house: House::default(),
        }
    }
}

/// Who vouches for components.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// Keys whose signatures count.
    pub keys: TrustedKeys,
    /// Whether a component without a signature of one of them is refused; where there are keys, a bad one always is.
    pub required: bool,
}

/// How components are compiled and run, and where it is written down. Fixed for the life of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct House {
    /// Where components run.
    pub place: Place,
    /// The program that is started as the children that compile and run components. `None`: both happen in
    /// this process, and [`Place::Process`] is refused.
    pub program: Option<PathBuf>,
    /// Where compiled components are kept. `None`: they are compiled at every load.
    pub cache: Option<PathBuf>,
    /// Where decisions, faulting snapshots and quarantines are written down. `None`: nowhere.
    pub records: Option<PathBuf>,
}

impl Default for House {
    /// All in this process, with nothing written down: for tools and tests.
    fn default() -> Self {
        Self { place: Place::InProcess, program: None, cache: None, records: None }
    }
}
