//! Ladders for a test: components written to a directory of its own, in either place.

use std::path::Path;

use anyhow::Context as _;
use enid_component_store::Digest;
use enid_policy_wasm::{House, Kind, Limits, Lineup, Place, PolicyConfig, StrategyConfig};

use crate::build::enid;

/// A house in this place, which writes down into `records`, when there are any.
pub fn house(place: Place, records: Option<&Path>) -> anyhow::Result<House> {
    let program = match place {
        Place::InProcess => None,
        Place::Process => Some(enid()?),
    };
    Ok(House { place, program, cache: None, records: records.map(Path::to_owned) })
}

/// Writes a component into `directory`, and names it.
pub fn component(directory: &Path, name: &str, bytes: &[u8]) -> anyhow::Result<StrategyConfig> {
    let path = directory.join(format!("{name}.wasm"));
    std::fs::write(&path, bytes).with_context(|| format!("write {}", path.display()))?;
    Ok(patient(StrategyConfig::component(name, path, Digest::of(bytes))))
}

/// The shipped component of this name, without settings.
pub fn shipped(name: &str) -> anyhow::Result<StrategyConfig> {
    let path = crate::build::shipped()?.join(format!("{name}.wasm"));
    let bytes = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    Ok(patient(StrategyConfig::component(name, path, Digest::of(&bytes))))
}

/// With the longest deadline that there is: a busy machine is no fault of a strategy.
fn patient(config: StrategyConfig) -> StrategyConfig {
    let limits = Limits { deadline: Limits::most().deadline, ..config.limits };
    StrategyConfig { limits, ..config }
}

/// The built-in strategies, with this lineup for one kind, in this house.
pub fn config(kind: Kind, lineup: Lineup, house: House) -> PolicyConfig {
    let mut config = PolicyConfig { house, ..PolicyConfig::default() };
    match kind {
        Kind::WarmPool => config.warm_pool = lineup,
        Kind::MaxPods => config.max_pods = lineup,
        Kind::SubnetSelection => config.subnet_selection = lineup,
    }
    config
}
