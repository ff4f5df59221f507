//! Strategies that do what components may do: answer sensibly, or anything at all.

use std::sync::atomic::{AtomicU64, Ordering};

use enid_core::proposal::{Band, Grain, Outcome, Placement, Proposal, Ranked};
use enid_core::report::Decision;
use enid_core::snapshot::{MaxPodsSnapshot, SubnetSnapshot, WarmPoolSnapshot};
use enid_core::{admission, builtin};
use enid_engine::ports::Strategist;

use crate::dice::Dice;
use crate::{Knobs, decided};

/// A strategist that can be exchanged for one of another kind.
#[derive(Debug)]
pub enum Mind {
    /// The incumbent's knobs.
    Knobs(Knobs),
    /// Chance.
    Hostile(Hostile),
}

/// Answers that are never twice the same, refused as often as not: what admission lets through is followed.
#[derive(Debug)]
pub struct Hostile {
    seed: u64,
    asked: AtomicU64,
}

impl Hostile {
    /// One that `seed` determines.
    pub fn seeded(seed: u64) -> Self {
        Self { seed, asked: AtomicU64::new(0) }
    }

    fn dice(&self) -> Dice {
        Dice::seeded(
            self.seed ^ self.asked.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x2545_f491_4f6c_dd1d),
        )
    }

    fn band(&self, snapshot: &WarmPoolSnapshot) -> Proposal<Band> {
        let mut dice = self.dice();
        let limits = &snapshot.limits;
        let ceiling = limits.slots_per_eni * limits.max_enis * limits.addresses_per_slot;
        let mut amount = || match dice.roll(6) {
            0 => 0,
            1 => dice.roll_u32(ceiling.saturating_mul(3).max(1)),
            2 => u32::MAX,
            _ => dice.roll_u32(ceiling.max(1)),
        };
        let (ready_low, high, total_floor, keep_free) = (amount(), amount(), amount(), amount());
        let target = Band {
            ready_low,
            ready_high: (!dice.one_in(4)).then_some(high),
            total_floor,
            grain: *dice.pick(&[Grain::Address, Grain::Prefix, Grain::Eni]),
            keep_free,
            release_after_ms: *dice.pick(&[0, 1, 1000, 60_000, u64::MAX]),
            placement: *dice.pick(&[Placement::Pack, Placement::Spread]),
        };
        let next_check_ms = *dice.pick(&[None, Some(0), Some(1000), Some(7000), Some(u64::MAX)]);
        Proposal { target, outcome: Outcome { next_check_ms, ..Outcome::default() } }
    }
}

impl Strategist for Hostile {
    fn warm_pool(&self, snapshot: &WarmPoolSnapshot) -> Decision<Band> {
        match admission::admit_warm_pool(snapshot, self.band(snapshot)) {
            Ok(admitted) => Decision {
                next_check: admitted.outcome.next_check_ms.map(std::time::Duration::from_millis),
                ..decided(admitted.target)
            },
            Err(_) => decided(builtin::warm_pool(snapshot).target),
        }
    }

    fn max_pods(&self, snapshot: &MaxPodsSnapshot) -> Decision<u32> {
        let target = *self.dice().pick(&[0, 1, 3, 110, u32::MAX]);
        match admission::admit_max_pods(snapshot, Proposal { target, outcome: Outcome::default() }) {
            Ok(admitted) => decided(admitted.target),
            Err(_) => decided(builtin::max_pods(snapshot).target),
        }
    }

    fn subnets(&self, snapshot: &SubnetSnapshot) -> Decision<Vec<u16>> {
        let mut dice = self.dice();
        let count = u64::try_from(snapshot.candidates.len()).unwrap_or(u64::MAX);
        let mut candidate = || u16::try_from(dice.roll(count + 1)).unwrap_or(u16::MAX);
        let target = (0..3).map(|_| Ranked { candidate: candidate(), weight: 0 }).collect();
        let proposal = Proposal { target, outcome: Outcome::default() };
        let in_order = || builtin::subnets(snapshot).target.iter().map(|ranked| ranked.candidate).collect();
        match admission::admit_subnets(snapshot, proposal) {
            Ok(admitted) => decided(admitted.target),
            Err(_) => decided(in_order()),
        }
    }
}

impl Strategist for Mind {
    fn warm_pool(&self, snapshot: &WarmPoolSnapshot) -> Decision<Band> {
        match self {
            Mind::Knobs(knobs) => knobs.warm_pool(snapshot),
            Mind::Hostile(hostile) => hostile.warm_pool(snapshot),
        }
    }

    fn max_pods(&self, snapshot: &MaxPodsSnapshot) -> Decision<u32> {
        match self {
            Mind::Knobs(knobs) => knobs.max_pods(snapshot),
            Mind::Hostile(hostile) => hostile.max_pods(snapshot),
        }
    }

    fn subnets(&self, snapshot: &SubnetSnapshot) -> Decision<Vec<u16>> {
        match self {
            Mind::Knobs(knobs) => knobs.subnets(snapshot),
            Mind::Hostile(hostile) => hostile.subnets(snapshot),
        }
    }
}
