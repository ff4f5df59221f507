//! The operator's `[strategy.…]` tables as the policy host wants them: names become files.

use std::path::{Path, PathBuf};

use anyhow::{Error, anyhow};
use enid_policy_wasm::policy::LoadError;
use enid_policy_wasm::{Limits, PolicyConfig, Source as Component, StrategyConfig};

use crate::failure::Failure;
use crate::settings::{Settings, Source, Strategy};

/// Where shipped strategies are: what the settings say, `strategies` next to the program, or where a
/// package puts them.
pub(crate) fn directory(settings: &Settings) -> PathBuf {
    if let Some(directory) = &settings.node.strategy_dir {
        return directory.clone();
    }
    let program = std::env::current_exe().unwrap_or_default();
    let beside = program.parent().unwrap_or(Path::new("/")).join("strategies");
    if beside.is_dir() { beside } else { PathBuf::from("/usr/share/enid/strategies") }
}

/// The strategies of all kinds.
pub(crate) fn policy(settings: &Settings) -> PolicyConfig {
    let directory = directory(settings);
    PolicyConfig {
        warm_pool: strategy(&settings.strategies.warm_pool, &directory),
        max_pods: strategy(&settings.strategies.max_pods, &directory),
        subnet_selection: strategy(&settings.strategies.subnet_selection, &directory),
    }
}

/// One strategy with its fallback.
pub(crate) fn strategy(strategy: &Strategy, directory: &Path) -> StrategyConfig {
    let limits = Limits {
        fuel: strategy.limits.fuel,
        deadline: strategy.limits.deadline,
        memory: usize::try_from(strategy.limits.memory_mib).unwrap_or(usize::MAX).saturating_mul(1 << 20),
        ..Limits::default()
    };
    let fallback = strategy
        .fallback
        .as_ref()
        .map(|source| Box::new(StrategyConfig { limits: limits.clone(), ..component(source, directory) }));
    StrategyConfig {
        settings: strategy.settings.clone(),
        limits,
        fallback,
        digest: strategy.digest.map(|digest| digest.to_string()),
        ..component(&strategy.source, directory)
    }
}

/// The file behind a name or path; `builtin` is the strategy compiled into the host.
fn component(source: &Source, directory: &Path) -> StrategyConfig {
    match source {
        Source::Named(name) if name == "builtin" => StrategyConfig::builtin(),
        Source::Named(name) => StrategyConfig::component(name, directory.join(format!("{name}.wasm"))),
        Source::File(path) => {
            let name = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
            StrategyConfig::component(name, path)
        }
    }
}

/// A strategy that the settings name is not let in: why, and where to change it.
pub(crate) fn refused(error: LoadError) -> Failure {
    let place = match &error {
        LoadError::Engine(_) => return Failure::from(Error::from(error)),
        LoadError::Strategy { kind, .. } => format!("[strategy.{kind}]"),
    };
    Failure::settings(anyhow!("{:#}; change {place} in the settings file", Error::from(error)))
}

/// The component files of all strategies, to be watched.
pub(crate) fn files(config: &PolicyConfig) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for first in [&config.warm_pool, &config.max_pods, &config.subnet_selection] {
        let mut next = Some(first);
        while let Some(strategy) = next {
            match &strategy.source {
                Component::Path(path) => files.push(path.clone()),
                Component::Builtin => {}
            }
            next = strategy.fallback.as_deref();
        }
    }
    files
}
