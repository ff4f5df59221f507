//! What a strategy may answer: a target, never an action. Nothing here is trusted before
//! [`crate::admission`] has seen it.

use serde::{Deserialize, Serialize};

use crate::snapshot::Setting;

/// The unit in which supply moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Grain {
    /// As many addresses as are short (rounded up to whole prefixes in prefix mode).
    #[default]
    Address,
    /// Whole prefixes; in secondary-IP mode the same as [`Grain::Address`].
    Prefix,
    /// Whole ENIs: fill one up, or add a full one; give back whole ENIs only.
    Eni,
}

/// Where the next pod's address comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Placement {
    /// The fullest ENI (and prefix) first, so that others empty out and can be given back.
    #[default]
    Pack,
    /// The emptiest ENI first, so that traffic spreads.
    Spread,
}

/// The target of a warm-pool strategy.
///
/// *Ready* addresses are free ones: not bound, not cooling, not quarantined. Supply grows while
/// `ready < ready_low` or `total < total_floor`; one unit of `grain` at a time is given back while
/// afterwards at least `ready_high` would still be ready, `total_floor` would still be held, and more
/// than `keep_free` wholly free units were there before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Band {
    /// Grow when fewer addresses than this are ready.
    pub ready_low: u32,
    /// Give back only what leaves at least this many ready; `None`: never give back.
    pub ready_high: Option<u32>,
    /// Addresses to hold in total, whatever is ready.
    pub total_floor: u32,
    /// The unit to move in.
    pub grain: Grain,
    /// Wholly free units of `grain` never given back.
    pub keep_free: u32,
    /// How long a unit must have been unused before it is given back, milliseconds.
    pub release_after_ms: u64,
    /// Where the next pod's address comes from.
    pub placement: Placement,
}

/// What every answer carries besides its target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Outcome {
    /// Why, in one sentence, for people.
    pub reason: String,
    /// Ask again after this many milliseconds, even if nothing changes.
    pub next_check_ms: Option<u64>,
    /// Handed to the next question; at most [`crate::snapshot::MAX_STATE`] bytes.
    #[serde(with = "crate::snapshot::bytes")]
    pub state: Vec<u8>,
    /// Facts for people and metrics. Keys may repeat; in JSON, an object, the first of each is kept.
    #[serde(with = "crate::snapshot::setting_list")]
    pub annotations: Vec<Setting>,
}

/// One candidate in the order of a subnet-selection strategy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ranked {
    /// Index into [`crate::snapshot::SubnetSnapshot::candidates`].
    pub candidate: u16,
    /// Preference, for people; the order of the list decides.
    #[serde(default)]
    pub weight: u32,
}

/// An answer of any kind, with its outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proposal<T> {
    /// The target itself.
    pub target: T,
    /// What comes with it.
    #[serde(default)]
    pub outcome: Outcome,
}
