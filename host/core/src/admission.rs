//! The only authority over strategies: a proposal becomes a target here, or a [`Violation`].
//!
//! Out of range is clamped and counted; nonsense is refused, and the next rung of the ladder answers.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::proposal::{Band, Outcome, Proposal, Ranked};
use crate::snapshot::{MAX_STATE, MaxPodsSnapshot, SubnetSnapshot, WarmPoolSnapshot};

/// Pods that Kubernetes nodes are ever configured for; more is nonsense, not ambition.
pub const MOST_PODS: u32 = 10_000;
/// Pods beyond the addresses of every instance type, all slots filled with prefixes (some 24,000).
pub const MOST_ADDRESSABLE_PODS: u32 = 65_536;
/// Bytes of a reason that are kept.
pub const MAX_REASON: usize = 256;
/// Annotations that are kept.
pub const MAX_ANNOTATIONS: usize = 32;
/// The soonest and the latest that a strategy may ask to be asked again.
pub const NEXT_CHECK: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(600));
/// The longest that a strategy may hold back what nobody uses.
pub const MAX_RELEASE_AFTER_MS: u64 = 24 * 3600 * 1000;

/// A target that the host will aim for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted<T> {
    /// The target, within bounds.
    pub target: T,
    /// What came with it, cut to size.
    pub outcome: Outcome,
    /// What had to be bent.
    pub clamped: Vec<Clamp>,
}

/// A value that was out of range and was bent to the nearest bound.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{field} {asked} bent to {given}")]
pub struct Clamp {
    /// The field of the proposal.
    pub field: &'static str,
    /// What was asked.
    pub asked: u64,
    /// What was given.
    pub given: u64,
}

/// Why a proposal was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Violation {
    /// A number far beyond what any node can do.
    #[error("{field} = {asked} is more than twice the node's ceiling of {ceiling}")]
    Absurd {
        /// The field of the proposal.
        field: &'static str,
        /// What was asked.
        asked: u64,
        /// The node's ceiling.
        ceiling: u64,
    },
    /// It would give back what it asks for in the same breath, for ever.
    #[error(
        "ready_high {high} is below ready_low {low} by more than one unit of the grain, so the pool would flap"
    )]
    Flapping {
        /// Grow below this.
        low: u32,
        /// Give back above this.
        high: u32,
    },
    /// A subnet that was not offered.
    #[error("candidate {candidate} does not exist, {offered} were offered")]
    UnknownCandidate {
        /// The invented index.
        candidate: u16,
        /// How many were offered.
        offered: usize,
    },
    /// A subnet named twice.
    #[error("candidate {candidate} is ranked twice")]
    RankedTwice {
        /// The index.
        candidate: u16,
    },
    /// More state than a strategy may keep.
    #[error("state of {bytes} bytes exceeds {MAX_STATE}")]
    StateTooLarge {
        /// Its size.
        bytes: usize,
    },
    /// No pods at all on a node that has addresses.
    #[error("max pods of 0 would make the node useless")]
    NoPods,
}

/// Bends and checks the target of a warm-pool strategy against the node it is for.
pub fn admit_warm_pool(
    snapshot: &WarmPoolSnapshot,
    proposal: Proposal<Band>,
) -> Result<Admitted<Band>, Violation> {
    let ceiling = node_ceiling(snapshot);
    let mut clamped = Vec::new();
    let mut band = proposal.target;
    band.ready_low = bend("ready_low", band.ready_low, ceiling, &mut clamped)?;
    band.total_floor = bend("total_floor", band.total_floor, ceiling, &mut clamped)?;
    band.keep_free = bend("keep_free", band.keep_free, ceiling, &mut clamped)?;
    if let Some(high) = band.ready_high {
        let unit = unit_addresses(snapshot, band);
        if high.saturating_add(unit) < band.ready_low && band.keep_free.saturating_mul(unit) < band.ready_low
        {
            return Err(Violation::Flapping { low: band.ready_low, high });
        }
    }
    if band.release_after_ms > MAX_RELEASE_AFTER_MS {
        clamped.push(Clamp {
            field: "release_after",
            asked: band.release_after_ms,
            given: MAX_RELEASE_AFTER_MS,
        });
        band.release_after_ms = MAX_RELEASE_AFTER_MS;
    }
    Ok(Admitted { target: band, outcome: admit_outcome(proposal.outcome)?, clamped })
}

/// Bends and checks the answer of a max-pods strategy.
///
/// Zero is an answer only when the node has no pod address at all.
pub fn admit_max_pods(
    snapshot: &MaxPodsSnapshot,
    proposal: Proposal<u32>,
) -> Result<Admitted<u32>, Violation> {
    let usable = snapshot
        .max_enis
        .saturating_sub(snapshot.reserved_enis)
        .saturating_sub(snapshot.custom_networking.into());
    if proposal.target == 0 && usable > 0 && snapshot.ipv4_per_eni > 1 {
        return Err(Violation::NoPods);
    }
    let mut clamped = Vec::new();
    let target = bend("max_pods", proposal.target, MOST_ADDRESSABLE_PODS, &mut clamped)?;
    Ok(Admitted { target, outcome: admit_outcome(proposal.outcome)?, clamped })
}

/// Checks the order of a subnet-selection strategy; the answer holds indices of candidates, best first.
pub fn admit_subnets(
    snapshot: &SubnetSnapshot,
    proposal: Proposal<Vec<Ranked>>,
) -> Result<Admitted<Vec<u16>>, Violation> {
    let mut seen = BTreeSet::new();
    for ranked in &proposal.target {
        if usize::from(ranked.candidate) >= snapshot.candidates.len() {
            return Err(Violation::UnknownCandidate {
                candidate: ranked.candidate,
                offered: snapshot.candidates.len(),
            });
        }
        if !seen.insert(ranked.candidate) {
            return Err(Violation::RankedTwice { candidate: ranked.candidate });
        }
    }
    let target = proposal.target.iter().map(|ranked| ranked.candidate).collect();
    Ok(Admitted { target, outcome: admit_outcome(proposal.outcome)?, clamped: Vec::new() })
}

/// All pod addresses that the node could ever hold.
fn node_ceiling(snapshot: &WarmPoolSnapshot) -> u32 {
    let limits = snapshot.limits;
    limits.max_enis.saturating_mul(limits.slots_per_eni).saturating_mul(limits.addresses_per_slot)
}

/// Addresses that one step of the band's grain moves.
fn unit_addresses(snapshot: &WarmPoolSnapshot, band: Band) -> u32 {
    let limits = snapshot.limits;
    match band.grain {
        crate::proposal::Grain::Address | crate::proposal::Grain::Prefix => limits.addresses_per_slot,
        crate::proposal::Grain::Eni => limits.slots_per_eni.saturating_mul(limits.addresses_per_slot),
    }
}

fn bend(field: &'static str, asked: u32, ceiling: u32, clamped: &mut Vec<Clamp>) -> Result<u32, Violation> {
    if asked <= ceiling {
        return Ok(asked);
    }
    // Operators write generous targets for whole fleets, so a small node sees numbers beyond its own
    // ceiling. Only what no node could mean is refused.
    if asked > MOST_PODS.max(ceiling.saturating_mul(2)) {
        return Err(Violation::Absurd { field, asked: asked.into(), ceiling: ceiling.into() });
    }
    clamped.push(Clamp { field, asked: asked.into(), given: ceiling.into() });
    Ok(ceiling)
}

fn admit_outcome(mut outcome: Outcome) -> Result<Outcome, Violation> {
    if outcome.state.len() > MAX_STATE {
        return Err(Violation::StateTooLarge { bytes: outcome.state.len() });
    }
    outcome.reason = printable(&outcome.reason, MAX_REASON);
    outcome.annotations.truncate(MAX_ANNOTATIONS);
    let millis = |bound: Duration| u64::try_from(bound.as_millis()).unwrap_or(u64::MAX);
    outcome.next_check_ms =
        outcome.next_check_ms.map(|asked| asked.clamp(millis(NEXT_CHECK.0), millis(NEXT_CHECK.1)));
    Ok(outcome)
}

/// `text` without control characters, cut to at most `bytes` bytes on a character boundary.
pub fn printable(text: &str, bytes: usize) -> String {
    let mut out = String::new();
    for c in text.chars() {
        let c = if c.is_control() { '\u{fffd}' } else { c };
        if out.len() + c.len_utf8() > bytes {
            break;
        }
        out.push(c);
    }
    out
}

impl fmt::Display for Band {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ready ≥ {}", self.ready_low)?;
        match self.ready_high {
            Some(high) => write!(f, ", give back down to {high}")?,
            None => write!(f, ", never give back")?,
        }
        write!(f, ", total ≥ {}, by {:?}", self.total_floor, self.grain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proposal::Grain;
    use crate::snapshot::{Limits, SubnetUse};

    fn node() -> WarmPoolSnapshot {
        WarmPoolSnapshot {
            limits: Limits {
                max_enis: 3,
                slots_per_eni: 9,
                addresses_per_slot: 1,
                prefixes: true,
                trunk_reserve: 0,
            },
            ..WarmPoolSnapshot::default()
        }
    }

    fn proposal<T>(target: T) -> Proposal<T> {
        Proposal { target, outcome: Outcome::default() }
    }

    #[test]
    fn targets_beyond_the_node_are_bent_to_its_ceiling() {
        let admitted = admit_warm_pool(
            &node(),
            proposal(Band { ready_low: 40, total_floor: 30, ready_high: Some(40), ..Band::default() }),
        )
        .unwrap();
        assert_eq!((admitted.target.ready_low, admitted.target.total_floor), (27, 27));
        assert_eq!(admitted.clamped.len(), 2);
    }

    #[test]
    fn absurd_targets_are_refused() {
        let refused = admit_warm_pool(&node(), proposal(Band { ready_low: u32::MAX, ..Band::default() }));
        assert!(matches!(refused, Err(Violation::Absurd { field: "ready_low", .. })), "{refused:?}");
    }

    #[test]
    fn a_band_that_would_flap_is_refused() {
        let flapping = Band { ready_low: 9, ready_high: Some(2), grain: Grain::Address, ..Band::default() };
        assert!(matches!(admit_warm_pool(&node(), proposal(flapping)), Err(Violation::Flapping { .. })));
        let by_eni = Band { ready_low: 9, ready_high: Some(9), grain: Grain::Eni, ..Band::default() };
        assert!(admit_warm_pool(&node(), proposal(by_eni)).is_ok());
    }

    #[test]
    fn outcomes_are_cut_to_size() {
        let outcome = Outcome {
            reason: format!("a\u{1b}[31m{}", "ü".repeat(400)),
            next_check_ms: Some(3),
            ..Outcome::default()
        };
        let admitted = admit_warm_pool(&node(), Proposal { target: Band::default(), outcome }).unwrap();
        assert!(admitted.outcome.reason.len() <= MAX_REASON && !admitted.outcome.reason.contains('\u{1b}'));
        assert_eq!(admitted.outcome.next_check_ms, Some(1000));
        let outcome = Outcome { state: vec![0; MAX_STATE + 1], ..Outcome::default() };
        assert!(matches!(
            admit_warm_pool(&node(), Proposal { target: Band::default(), outcome }),
            Err(Violation::StateTooLarge { .. })
        ));
    }

    #[test]
    fn subnet_orders_name_only_what_was_offered_and_once() {
        let snapshot =
            SubnetSnapshot { candidates: vec![SubnetUse::default(); 2], ..SubnetSnapshot::default() };
        let rank =
            |list: &[u16]| proposal(list.iter().map(|&candidate| Ranked { candidate, weight: 0 }).collect());
        assert_eq!(admit_subnets(&snapshot, rank(&[1, 0])).unwrap().target, vec![1, 0]);
        assert!(matches!(admit_subnets(&snapshot, rank(&[2])), Err(Violation::UnknownCandidate { .. })));
        assert!(matches!(admit_subnets(&snapshot, rank(&[1, 1])), Err(Violation::RankedTwice { .. })));
    }

    mod any_band {
        //! Whatever a strategy answers.

        use proptest::prelude::*;

        use super::*;
        use crate::proposal::Placement;

        fn grain() -> impl Strategy<Value = Grain> {
            prop_oneof![Just(Grain::Address), Just(Grain::Prefix), Just(Grain::Eni)]
        }

        /// Mostly near what a node can do, sometimes anything.
        fn number() -> impl Strategy<Value = u32> {
            prop_oneof![4 => 0u32..200, 1 => 0u32..20_000, 1 => any::<u32>()]
        }

        prop_compose! {
            fn band()(
                ready_low in number(), ready_high in prop::option::of(number()), total_floor in number(),
                keep_free in number(), release_after_ms in any::<u64>(), grain in grain(), spread in any::<bool>(),
            ) -> Band {
                let placement = if spread { Placement::Spread } else { Placement::Pack };
                Band { ready_low, ready_high, total_floor, grain, keep_free, release_after_ms, placement }
            }
        }

        prop_compose! {
            fn snapshot()(
                max_enis in 0u32..20, slots_per_eni in 0u32..60, prefix in any::<bool>(),
            ) -> WarmPoolSnapshot {
                let addresses_per_slot = if prefix { 16 } else { 1 };
                let limits = Limits { max_enis, slots_per_eni, addresses_per_slot, prefixes: prefix, trunk_reserve: 0 };
                WarmPoolSnapshot { limits, ..WarmPoolSnapshot::default() }
            }
        }

        proptest! {
            #[test]
            fn is_refused_or_within_the_nodes_ceilings(snapshot in snapshot(), band in band()) {
                let ceiling = node_ceiling(&snapshot);
                let Ok(admitted) = admit_warm_pool(&snapshot, proposal(band)) else { return Ok(()) };
                let target = admitted.target;
                prop_assert!(target.ready_low <= ceiling && target.total_floor <= ceiling);
                prop_assert!(target.keep_free <= ceiling);
                prop_assert!(target.release_after_ms <= MAX_RELEASE_AFTER_MS);
                prop_assert_eq!((target.grain, target.placement), (band.grain, band.placement));
                for clamp in &admitted.clamped {
                    prop_assert!(clamp.given < clamp.asked);
                }
                let unchanged = target == band;
                prop_assert_eq!(unchanged, admitted.clamped.is_empty());
            }

            #[test]
            fn admitted_once_is_admitted_again_unchanged(snapshot in snapshot(), band in band()) {
                let Ok(admitted) = admit_warm_pool(&snapshot, proposal(band)) else { return Ok(()) };
                let again = admit_warm_pool(&snapshot, proposal(admitted.target));
                prop_assert_eq!(again.map(|again| (again.target, again.clamped)), Ok((admitted.target, Vec::new())));
            }

            #[test]
            fn the_built_in_band_is_always_admitted(snapshot in snapshot()) {
                let built_in = crate::builtin::warm_pool(&snapshot);
                prop_assert!(admit_warm_pool(&snapshot, built_in).is_ok());
            }
        }
    }
}
