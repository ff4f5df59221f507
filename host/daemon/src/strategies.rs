//! The operator's strategies as the policy host wants them: names become files, every file is pinned by its
//! digest, and whatever is wrong with one is told with its place in the settings.
//!
//! * `shelf`: where components come from. `complaints`: what is wrong with them.

mod complaints;
mod shelf;

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Error;
use enid_component_store::Digest;
use enid_policy_wasm::cache::Cache;
use enid_policy_wasm::policy::LoadError;
use enid_policy_wasm::{House, Kind, Limits, Lineup, Policy, PolicyConfig, Source, StrategyConfig, Trust};
use tracing::warn;

use crate::failure::Failure;
use crate::settings::{self, Document, Problems, Settings};

pub(crate) use shelf::{Shelf, Unresolved, directory};

/// The program that is started as the children that compile and run components: this one, also after its file
/// was replaced.
const OURSELVES: &str = "/proc/self/exe";

/// What the document chooses, if nothing is wrong with it as far as can be told without running components.
///
/// Otherwise everything that is wrong with it: then the components that it names all the same are asked, too.
/// How components are run is for the caller to say.
pub(crate) fn choose(document: &Document) -> Result<PolicyConfig, Problems> {
    let shelf = Shelf::of(&document.settings);
    let (config, mut problems) = complaints::resolve(document, &shelf);
    if problems.is_empty() {
        return Ok(config);
    }
    if let Ok(checker) = checker(&document.settings) {
        problems.extend(complaints::of_components(document, &shelf, &checker, &problems));
    }
    Err(Problems::in_order(problems))
}

/// Loads what was chosen: the same checks at the start of the daemon and by `enid check-settings`.
pub(crate) fn load(document: &Document, config: &PolicyConfig) -> Result<Policy, Failure> {
    let why = match Policy::new(config) {
        Ok(policy) => return Ok(policy),
        Err(why) => why,
    };
    match checker(&document.settings) {
        Ok(checker) => Err(refused(document, &checker, why)),
        Err(_) => Err(failure(why)),
    }
}

/// Everything that is wrong with the components that the document names, one of which was refused with `why`.
pub(crate) fn refused(document: &Document, checker: &Policy, why: LoadError) -> Failure {
    let shelf = Shelf::of(&document.settings);
    let problems = match &why {
        LoadError::Strategy { .. } | LoadError::TooManyFallbacks { .. } => {
            complaints::of_components(document, &shelf, checker, &[])
        }
        LoadError::Engine(_)
        | LoadError::Cache(_)
        | LoadError::Records { .. }
        | LoadError::NoThread(_)
        | LoadError::NoProgram => Vec::new(),
    };
    // Asked once more, it may have been let in: a file that changed meanwhile, a machine that was short.
    if problems.is_empty() { failure(why) } else { Failure::settings(Problems::in_order(problems)) }
}

fn failure(why: LoadError) -> Failure {
    match why {
        LoadError::Strategy { .. } | LoadError::TooManyFallbacks { .. } => Failure::settings(why),
        LoadError::Engine(_)
        | LoadError::Cache(_)
        | LoadError::Records { .. }
        | LoadError::NoThread(_)
        | LoadError::NoProgram => Failure::from(Error::from(why)),
    }
}

/// A policy whose only use is to try components out where those of `settings` would run.
fn checker(settings: &Settings) -> Result<Policy, LoadError> {
    Policy::new(&PolicyConfig {
        trust: trust(settings),
        house: house_aside(settings),
        ..PolicyConfig::default()
    })
}

/// How the daemon runs components and what it writes down.
pub(crate) fn house(settings: &Settings) -> House {
    let cache_dir = &settings.engine.cache_dir;
    let cache = match Cache::open(cache_dir) {
        Ok(_) => Some(cache_dir.clone()),
        Err(why) => {
            let reason = format!("{:#}", Error::from(why));
            warn!(%reason, "compiled components are not kept, so every start compiles; see engine.cache_dir");
            None
        }
    };
    House { cache, records: Some(records(settings)), ..house_aside(settings) }
}

/// How components run that are only tried out: nothing is written down, and nothing new is kept on disk unless a
/// daemon has made room for it.
pub(crate) fn house_aside(settings: &Settings) -> House {
    let cache_dir = &settings.engine.cache_dir;
    let cache = (cache_dir.is_dir() && Cache::open(cache_dir).is_ok()).then(|| cache_dir.clone());
    House { place: settings.engine.isolation, program: Some(OURSELVES.into()), cache, records: None }
}

/// Where decisions are written down.
pub(crate) fn records(settings: &Settings) -> PathBuf {
    settings.node.runtime_dir.join("decisions")
}

fn trust(settings: &Settings) -> Trust {
    Trust { keys: settings.engine.trusted_keys.clone(), required: settings.engine.require_signatures }
}

/// One strategy; its place in the line-up does not matter here.
pub(crate) fn strategy(strategy: &settings::Strategy, shelf: &Shelf) -> Result<StrategyConfig, Unresolved> {
    let mib = |mib: u32| usize::try_from(mib).unwrap_or(usize::MAX).saturating_mul(1 << 20);
    let limits = Limits {
        fuel: strategy.limits.fuel,
        deadline: strategy.limits.deadline,
        memory: mib(strategy.limits.memory_mib),
        component_bytes: mib(strategy.limits.component_mib),
        ..Limits::default()
    };
    let (name, source) = shelf.find(&strategy.source, strategy.digest)?;
    Ok(StrategyConfig { name, source, settings: strategy.settings.clone(), limits })
}

/// The line-ups of all kinds, one of which is replaced by `lineup`.
pub(crate) fn with_lineup(config: PolicyConfig, kind: Kind, lineup: Lineup) -> PolicyConfig {
    match kind {
        Kind::WarmPool => PolicyConfig { warm_pool: lineup, ..config },
        Kind::MaxPods => PolicyConfig { max_pods: lineup, ..config },
        Kind::SubnetSelection => PolicyConfig { subnet_selection: lineup, ..config },
    }
}

/// The component files of one kind and what they are pinned to.
pub(crate) fn components(lineup: &Lineup) -> impl Iterator<Item = (&PathBuf, &Digest)> {
    lineup.strategies().filter_map(|strategy| match &strategy.source {
        Source::Shipped { path, digest } | Source::Component { path, digest } => Some((path, digest)),
        Source::Builtin => None,
    })
}

/// The digest of a component file as it is now. What is larger than any component may be gets the digest of its
/// beginning, which fits no pin either.
pub(crate) fn digest_of(file: &Path) -> std::io::Result<Digest> {
    let most = u64::try_from(Limits::most().component_bytes).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    // Without this, opening a FIFO would wait for somebody who writes to it.
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    File::options().read(true).custom_flags(nonblocking).open(file)?.take(most).read_to_end(&mut bytes)?;
    Ok(Digest::of(&bytes))
}
