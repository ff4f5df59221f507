//! Holds some addresses ready however few pods there are, and more of them the more pods there are.

use enid_guest::warm_pool::{Band, Grain, Placement, Snapshot};
use enid_guest::{Answer, Failure, Mode, Settings, WarmPool};

/// What the operator can set.
#[derive(Clone, Debug, PartialEq, Eq, Settings)]
pub struct Knobs {
    /// Addresses to hold ready however few pods there are.
    #[setting(default = 3, range = 0..=256)]
    pub headroom: u32,
    /// Addresses to hold ready besides, in percent of the pods that have one.
    #[setting(default = 10, range = 0..=100)]
    pub percent: u32,
}

/// The strategy.
#[derive(Clone, Copy, Debug)]
pub struct Strategy;

impl WarmPool for Strategy {
    type Settings = Knobs;
    type State = ();

    fn decide(knobs: &Knobs, (): &mut (), now: &Snapshot) -> Result<Answer<Band>, Failure> {
        let pods = now.pods.bound;
        let ready = ready(knobs, pods);
        let band = Band {
            ready_low: ready,
            // Half as many again may stay: a pod that goes and comes back costs no call.
            ready_high: Some(ready.saturating_add(ready / 2)),
            total_floor: 0,
            grain: match now.mode {
                Mode::SecondaryIp => Grain::Address,
                Mode::Prefix => Grain::Prefix,
            },
            keep_free: 0,
            release_after_ms: 60_000,
            placement: Placement::Pack,
        };
        Ok(Answer::new(
            band,
            format!("{pods} pods have an address: {ready} more are held ready"),
        ))
    }
}

fn ready(knobs: &Knobs, pods: u32) -> u32 {
    let share = (u64::from(pods) * u64::from(knobs.percent)).div_ceil(100);
    knobs
        .headroom
        .saturating_add(u32::try_from(share).unwrap_or(u32::MAX))
}

enid_guest::export_warm_pool!(Strategy);

#[cfg(test)]
mod tests {
    use super::*;
    use enid_guest::testing::{int, node, settings};

    #[test]
    fn a_share_of_the_pods_is_rounded_up() {
        let knobs: Knobs = settings(&[int("headroom", 1), int("percent", 10)]);
        for (pods, expected) in [(0, 1), (1, 2), (10, 2), (11, 3)] {
            assert_eq!(ready(&knobs, pods), expected, "{pods} pods");
        }
    }

    #[test]
    fn prefixes_move_as_a_whole() {
        let answer = Strategy::decide(&settings(&[]), &mut (), &node(Mode::Prefix)).unwrap();
        assert_eq!(answer.target.grain, Grain::Prefix);
    }
}
