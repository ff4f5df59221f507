//! A warm-pool strategy that the incumbent's four targets cannot express: the total moves in batches with
//! demand, so that few calls follow many pods and the pool comes to rest instead of swinging.
//!
//! The total is `batch × ⌈least free fraction + demand ÷ batch⌉`, where demand counts pods that have an address,
//! wait for one, or are on their way. It is a function of demand alone: asked twice it answers the same.

use enid_guest::warm_pool::{Band, Grain, Placement, Snapshot};
use enid_guest::{Answer, Failure, Settings, WarmPool};

/// More addresses than any ENI has.
const LARGEST_BATCH: u32 = 256;
/// A day: who wants to keep unused addresses longer sets a larger batch.
const LONGEST_RELEASE_SECS: u64 = 86_400;

/// What the operator can set.
#[derive(Clone, Debug, PartialEq, Eq, Settings)]
pub struct Batches {
    /// Addresses in a batch.
    #[setting(default = 16, range = 1..=LARGEST_BATCH)]
    pub batch: u32,
    /// Part of a batch that is always ready, in percent.
    #[setting(default = 50, range = 0..=400)]
    pub least_free_percent: u32,
    /// Seconds that an address must have been unused before it is given back.
    #[setting(default = 60, range = 0..=LONGEST_RELEASE_SECS)]
    pub release_after_secs: u64,
}

/// The strategy.
#[derive(Clone, Copy, Debug)]
pub struct Batched;

impl WarmPool for Batched {
    type Settings = Batches;
    type State = ();

    fn decide(batches: &Batches, (): &mut (), snapshot: &Snapshot) -> Result<Answer<Band>, Failure> {
        let pods = &snapshot.pods;
        let demand = pods.bound.saturating_add(pods.waiting).saturating_add(pods.expected);
        let total = total(batches, demand);
        let band = Band {
            ready_low: 0,
            ready_high: Some(0),
            total_floor: total,
            grain: Grain::Address,
            keep_free: 0,
            release_after_ms: batches.release_after_secs * 1000,
            placement: Placement::Pack,
        };
        let batch = batches.batch;
        Ok(Answer::new(
            band,
            format!("{demand} pods ask for {} batches of {batch}: {total} addresses", total / batch),
        ))
    }
}

/// `batch × ⌈percent ÷ 100 + demand ÷ batch⌉`, in integers.
fn total(batches: &Batches, demand: u32) -> u32 {
    let batch = u64::from(batches.batch);
    let hundredths = u64::from(batches.least_free_percent) * batch + u64::from(demand) * 100;
    let whole = hundredths.div_ceil(100 * batch);
    u32::try_from(batch * whole).unwrap_or(u32::MAX)
}

enid_guest::export_warm_pool!(Batched);

#[cfg(test)]
mod tests {
    use super::*;
    use enid_guest::Mode;
    use enid_guest::testing::{int, node, settings};
    use proptest::prelude::*;

    #[test]
    fn totals_move_in_batches() {
        // batch, percent, demand, total
        for (batch, percent, demand, expected) in [
            (16, 50, 0, 16),
            (16, 50, 8, 16),
            (16, 50, 9, 32),
            (16, 50, 24, 32),
            (16, 0, 0, 0),
            (16, 0, 1, 16),
            (4, 100, 5, 12),
            (1, 0, 7, 7),
        ] {
            let batches: Batches = settings(&[int("batch", batch), int("least_free_percent", percent)]);
            assert_eq!(total(&batches, demand), expected, "{batch} {percent} {demand}");
        }
    }

    #[test]
    fn pods_that_wait_or_come_count_as_demand() {
        let mut snapshot = node(Mode::SecondaryIp);
        snapshot.pods.bound = 5;
        snapshot.pods.waiting = 4;
        snapshot.pods.expected = 10;
        let answer = Batched::decide(&settings(&[]), &mut (), &snapshot).unwrap();
        assert_eq!(answer.target.total_floor, 32);
        assert_eq!(answer.reason, "19 pods ask for 2 batches of 16: 32 addresses");
    }

    proptest! {
        #[test]
        fn the_least_free_part_is_always_there_and_never_more_than_a_batch_beyond(
            batch in 1..=LARGEST_BATCH, percent in 0..=400u32, demand in 0..10_000u32,
        ) {
            let batches: Batches = settings(&[int("batch", batch.into()), int("least_free_percent", percent.into())]);
            let total = total(&batches, demand);
            let least = u64::from(demand) * 100 + u64::from(batch) * u64::from(percent);
            prop_assert!(u64::from(total) * 100 >= least);
            prop_assert!(u64::from(total) * 100 < least + u64::from(batch) * 100);
            prop_assert_eq!(total % batch, 0);
        }
    }
}

/// The README's example compiles. Here, because the SDK is also built where there is no README.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
