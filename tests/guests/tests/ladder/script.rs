//! Strategies that misbehave when a question tells them to, which no synthetic corner does.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;
use enid_core::snapshot::WarmPoolSnapshot;
use enid_policy_wasm::{House, Kind, Lineup, Place, PolicyConfig, StrategyConfig};
use guests::{guest, policy, snapshot};

/// Both places, for what must be the same in each.
pub(crate) const PLACES: [Place; 2] = [Place::InProcess, Place::Process];

/// What a strategy does when it finds its cue in a question.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Misdeed {
    /// It traps.
    Trap,
    /// It never answers.
    Loop,
}

/// A strategy that wants so many addresses ready, and misbehaves on these cues.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Script<'a> {
    pub(crate) ready: u32,
    pub(crate) misdeeds: &'a [(u32, Misdeed)],
}

impl Script<'_> {
    pub(crate) fn bytes(&self) -> Result<Vec<u8>> {
        // In the question, `pods.expected` is at 144; in the answer, `ready-low` is at 1032.
        let mut decide = String::from("(func (export \"decide\") (param $question i32) (result i32)\n");
        for (cue, misdeed) in self.misdeeds {
            let does = match misdeed {
                Misdeed::Trap => "(unreachable)",
                Misdeed::Loop => "(loop $again (br $again))",
            };
            writeln!(
                decide,
                "(if (i32.eq (i32.load offset=144 (local.get $question)) (i32.const {cue})) (then {does}))"
            )?;
        }
        writeln!(decide, "(i32.store (i32.const 1032) (i32.const {})) (i32.const 1024))", self.ready)?;
        guest(&decide)
    }

    /// Written down under a name.
    pub(crate) fn written(&self, directory: &Path, name: &str) -> Result<StrategyConfig> {
        policy::component(directory, name, &self.bytes()?)
    }
}

/// A strategy that wants so many addresses ready and never misbehaves.
pub(crate) fn steady(ready: u32) -> Script<'static> {
    Script { ready, misdeeds: &[] }
}

/// Asked at this time, with a cue.
pub(crate) fn cue(now_ms: u64, cue: u32) -> WarmPoolSnapshot {
    let mut question = snapshot();
    question.context.now_ms = now_ms;
    question.pods.expected = cue;
    question
}

/// Asked at this time, without one.
pub(crate) fn at(now_ms: u64) -> WarmPoolSnapshot {
    cue(now_ms, 0)
}

/// One warm-pool strategy in this house.
pub(crate) fn only(active: StrategyConfig, house: House) -> PolicyConfig {
    policy::config(Kind::WarmPool, Lineup::only(active), house)
}

/// In this place, with nothing written down.
pub(crate) fn house(place: Place) -> Result<House> {
    policy::house(place, None)
}

/// In this process, with nothing written down.
pub(crate) fn here() -> House {
    House::default()
}
