//! Questions made up to try strategies on: corners by name, and chance from a seed.
//!
//! Every one is a question that the host could ask: what it counts adds up, its lists are within their
//! bounds, its times are below 2^53. Their settings and state are empty, because those belong to a strategy;
//! some carry hints that no strategy knows. The same arguments give the same question on every machine.

mod dice;
mod max_pods;
mod subnets;
mod warm_pool;

use crate::document::Snapshot;
use crate::kind::Kind;
use crate::snapshot::{Context, Setting, Value};

/// Times are below this, so that every guest language holds them exactly.
const END_OF_TIME_MS: u64 = 1 << 53;

/// The corners of one kind of question, by unique names in kebab case.
pub fn corners(kind: Kind) -> Vec<(&'static str, Snapshot)> {
    fn all<T>(corners: Vec<(&'static str, T)>, wrap: fn(T) -> Snapshot) -> Vec<(&'static str, Snapshot)> {
        corners.into_iter().map(|(name, snapshot)| (name, wrap(snapshot))).collect()
    }
    match kind {
        Kind::WarmPool => all(warm_pool::corners(), Snapshot::WarmPool),
        Kind::MaxPods => all(max_pods::corners(), Snapshot::MaxPods),
        Kind::SubnetSelection => all(subnets::corners(), Snapshot::SubnetSelection),
    }
}

/// A plausible question, another for every seed: mostly ordinary, now and then extreme.
pub fn random(kind: Kind, seed: u64) -> Snapshot {
    let mut dice = dice::Dice::new(seed);
    match kind {
        Kind::WarmPool => Snapshot::WarmPool(warm_pool::random(&mut dice)),
        Kind::MaxPods => Snapshot::MaxPods(max_pods::random(&mut dice)),
        Kind::SubnetSelection => Snapshot::SubnetSelection(subnets::random(&mut dice)),
    }
}

/// The first question ever, some time into this century.
fn context() -> Context {
    Context { now_ms: 1_800_000_000_000, wall_secs: 1_800_000_000, seed: (1, 2), ..Context::default() }
}

/// The last question that could ever be asked.
fn last_context() -> Context {
    Context {
        sequence: END_OF_TIME_MS - 1,
        now_ms: END_OF_TIME_MS - 1,
        wall_secs: (END_OF_TIME_MS - 1) / 1000,
        seed: (u32::MAX, u32::MAX),
        ..Context::default()
    }
}

/// Hints of every type that no strategy knows, with the keys and values that quoting gets wrong.
fn strange_hints() -> Vec<Setting> {
    let hint = |key: &str, value| Setting { key: key.to_owned(), value };
    vec![
        hint("x.flag", Value::Flag(true)),
        hint("x.least", Value::Int(i64::MIN)),
        hint("x.most", Value::Int(i64::MAX)),
        hint("x.empty", Value::Text(String::new())),
        hint("label.example.com/größe", Value::Text("\"quoted\\\" \u{1f980}\n{}[]".to_owned())),
        hint("", Value::Text("x".repeat(1024))),
    ]
}

fn random_context(dice: &mut dice::Dice) -> Context {
    if dice.one_in(50) {
        return last_context();
    }
    let wall_secs = u64::from(dice.between(1_600_000_000, u32::MAX));
    Context {
        sequence: u64::from(dice.skewed(u32::MAX)),
        now_ms: wall_secs * 1000 + u64::from(dice.below(1000)),
        wall_secs,
        seed: (dice.between(0, u32::MAX), dice.between(0, u32::MAX)),
        settings: Vec::new(),
        state: Vec::new(),
        hints: if dice.one_in(8) { strange_hints() } else { Vec::new() },
    }
}

#[cfg(test)]
mod tests;
