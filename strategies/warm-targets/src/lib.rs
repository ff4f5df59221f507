//! The warm-pool strategy that ships as the default: the four targets that operators of the Amazon VPC CNI
//! know, with the same precedence and the same meaning.
//!
//! Decides the band from settings and node limits alone; never looks at history, so the same settings always
//! mean the same pool. It never applies the ceiling of max pods: the host does, for every strategy.
//!
//! `warm_ip_target` or `minimum_ip_target` above zero override the other two. `minimum_ip_target` alone means
//! a warm target of zero: the pool stays at that floor. Without them `warm_eni_target` counts in secondary-IP
//! mode, and whole ENIs are given back only; `warm_prefix_target` counts in prefix mode.

use enid_guest::warm_pool::{Band, Grain, Placement, Snapshot};
use enid_guest::{Answer, Failure, Mode, Settings, WarmPool};

/// More pods than any node runs, and the most that the host does not take for nonsense.
const MOST_ADDRESSES: u32 = 10_000;
/// More ENIs than any instance type has.
const MOST_ENIS: u32 = 128;
/// Prefixes of [`MOST_ADDRESSES`] addresses.
const MOST_PREFIXES: u32 = MOST_ADDRESSES / 16;
/// A day: who wants to keep unused addresses longer sets a higher target.
const LONGEST_RELEASE_SECS: u64 = 86_400;

/// What the operator can set.
#[derive(Clone, Debug, PartialEq, Eq, Settings)]
pub struct Targets {
    /// ENIs' worth of addresses to hold ready; counts in secondary-IP mode when neither address target is set.
    #[setting(default = 1, range = 0..=MOST_ENIS)]
    pub warm_eni_target: u32,
    /// Addresses to hold ready; 0 means not set.
    #[setting(default = 0, range = 0..=MOST_ADDRESSES)]
    pub warm_ip_target: u32,
    /// Addresses to hold in total; 0 means not set. Alone it means a warm_ip_target of zero.
    #[setting(default = 0, range = 0..=MOST_ADDRESSES)]
    pub minimum_ip_target: u32,
    /// Prefixes to hold wholly free; counts in prefix mode when neither address target is set, and is 1 when left out.
    #[setting(range = 0..=MOST_PREFIXES)]
    pub warm_prefix_target: Option<u32>,
    /// Seconds that an address, prefix or ENI must have been unused before it is given back.
    #[setting(default = 60, range = 0..=LONGEST_RELEASE_SECS)]
    pub release_after_secs: u64,
    /// Where the next pod's address comes from: the fullest ENI (pack) or the emptiest (spread).
    #[setting(default = Placement::Pack)]
    pub placement: Placement,
}

/// The strategy.
#[derive(Clone, Copy, Debug)]
pub struct WarmTargets;

impl WarmPool for WarmTargets {
    type Settings = Targets;
    type State = ();

    fn decide(targets: &Targets, (): &mut (), snapshot: &Snapshot) -> Result<Answer<Band>, Failure> {
        let defined = targets.warm_ip_target > 0 || targets.minimum_ip_target > 0;
        let (band, because) = match snapshot.mode {
            Mode::SecondaryIp if defined => by_address(targets, Grain::Address),
            Mode::Prefix if defined => by_address(targets, Grain::Prefix),
            Mode::SecondaryIp => by_eni(targets, snapshot),
            Mode::Prefix => by_prefix(targets, snapshot),
        };
        let ready: u32 = snapshot.enis.iter().fold(0, |sum, eni| sum.saturating_add(eni.free));
        let held: u32 = snapshot.enis.iter().fold(0, |sum, eni| sum.saturating_add(eni.assigned));
        Ok(Answer::new(band, format!("{because}; {ready} of {held} are ready")))
    }
}

/// `warm_ip_target` and `minimum_ip_target`: so many ready, so many in total, nothing beyond either.
fn by_address(targets: &Targets, grain: Grain) -> (Band, String) {
    let (warm, minimum) = (targets.warm_ip_target, targets.minimum_ip_target);
    let band = Band { ready_low: warm, ready_high: Some(warm), total_floor: minimum, grain, ..rest(targets) };
    let because = match (warm, minimum) {
        (warm, 0) => format!("warm_ip_target {warm} asks for {warm} ready addresses"),
        (0, minimum) => format!("minimum_ip_target {minimum} asks for {minimum} addresses and none beyond"),
        (warm, minimum) => format!(
            "warm_ip_target {warm} and minimum_ip_target {minimum} ask for {warm} ready addresses and {minimum} in all"
        ),
    };
    (band, because)
}

/// `warm_eni_target`: so many ENIs' worth ready; single addresses never go back, whole ENIs do.
fn by_eni(targets: &Targets, snapshot: &Snapshot) -> (Band, String) {
    let limits = snapshot.limits;
    let per_eni = limits.slots_per_eni.saturating_mul(limits.addresses_per_slot);
    let enis = targets.warm_eni_target;
    // With a target of zero the pool grows when nothing is left at all. Giving back down to zero then would
    // return the ENI that the next pass asks for again, so one address stays.
    let low = enis.saturating_mul(per_eni).max(1);
    let band = Band { ready_low: low, ready_high: Some(low), grain: Grain::Eni, ..rest(targets) };
    let because = match enis {
        0 => "warm_eni_target 0 asks for one ready address".to_owned(),
        enis => format!("warm_eni_target {enis} × {per_eni} per ENI asks for {low} ready addresses"),
    };
    (band, because)
}

/// `warm_prefix_target`: so many prefixes' worth ready, and wholly free prefixes beyond it go back.
///
/// Growth looks at free addresses and giving back at free prefixes, so a pod that pins each prefix costs
/// fewer prefixes than it would by counting whole ones.
fn by_prefix(targets: &Targets, snapshot: &Snapshot) -> (Band, String) {
    let prefixes = targets.warm_prefix_target.unwrap_or(1);
    let low = prefixes.saturating_mul(snapshot.limits.addresses_per_slot).max(1);
    // As with ENIs: a target of zero keeps one address, or the last prefix would come and go for ever.
    let high = if prefixes == 0 { 1 } else { 0 };
    let band = Band {
        ready_low: low,
        ready_high: Some(high),
        grain: Grain::Prefix,
        keep_free: prefixes,
        ..rest(targets)
    };
    let because = match prefixes {
        0 => "warm_prefix_target 0 asks for one ready address".to_owned(),
        prefixes => format!(
            "warm_prefix_target {prefixes} asks for {low} ready addresses and keeps {prefixes} wholly free prefixes"
        ),
    };
    (band, because)
}

/// What every band of this strategy has in common.
fn rest(targets: &Targets) -> Band {
    Band {
        ready_low: 0,
        ready_high: None,
        total_floor: 0,
        grain: Grain::Address,
        keep_free: 0,
        release_after_ms: targets.release_after_secs * 1000,
        placement: targets.placement,
    }
}

enid_guest::export_warm_pool!(WarmTargets);

#[cfg(test)]
mod tests {
    use super::*;
    use enid_guest::Setting;
    use enid_guest::testing::{int, node, settings, text};
    use proptest::prelude::*;

    fn decide(mode: Mode, given: &[Setting]) -> Answer<Band> {
        WarmTargets::decide(&settings(given), &mut (), &node(mode)).unwrap()
    }

    fn band(mode: Mode, given: &[Setting]) -> Band {
        decide(mode, given).target
    }

    #[test]
    fn without_settings_one_eni_is_kept_warm() {
        let expected = Band {
            ready_low: 9,
            ready_high: Some(9),
            total_floor: 0,
            grain: Grain::Eni,
            keep_free: 0,
            release_after_ms: 60_000,
            placement: Placement::Pack,
        };
        assert_eq!(band(Mode::SecondaryIp, &[]), expected);
    }

    #[test]
    fn targets_in_secondary_ip_mode() {
        // settings, low, high, floor, grain
        let table: &[(&[Setting], u32, u32, u32, Grain)] = &[
            (&[int("warm_eni_target", 2)], 18, 18, 0, Grain::Eni),
            (&[int("warm_eni_target", 0)], 1, 1, 0, Grain::Eni),
            (&[int("warm_ip_target", 2)], 2, 2, 0, Grain::Address),
            (&[int("warm_ip_target", 2), int("minimum_ip_target", 5)], 2, 2, 5, Grain::Address),
            (&[int("minimum_ip_target", 5)], 0, 0, 5, Grain::Address),
            (&[int("warm_ip_target", 2), int("warm_eni_target", 7)], 2, 2, 0, Grain::Address),
            (&[int("warm_prefix_target", 3)], 9, 9, 0, Grain::Eni),
            (&[int("warm_ip_target", 0), int("minimum_ip_target", 0)], 9, 9, 0, Grain::Eni),
        ];
        for (given, low, high, floor, grain) in table {
            let band = band(Mode::SecondaryIp, given);
            assert_eq!(
                (band.ready_low, band.ready_high, band.total_floor, band.grain, band.keep_free),
                (*low, Some(*high), *floor, *grain, 0),
                "{given:?}"
            );
        }
    }

    #[test]
    fn targets_in_prefix_mode() {
        // settings, low, high, floor, keep_free
        let table: &[(&[Setting], u32, u32, u32, u32)] = &[
            (&[], 16, 0, 0, 1),
            (&[int("warm_prefix_target", 3)], 48, 0, 0, 3),
            (&[int("warm_prefix_target", 0)], 1, 1, 0, 0),
            (&[int("warm_ip_target", 5), int("warm_prefix_target", 3)], 5, 5, 0, 0),
            (&[int("minimum_ip_target", 20)], 0, 0, 20, 0),
            (&[int("warm_eni_target", 4)], 16, 0, 0, 1),
        ];
        for (given, low, high, floor, keep_free) in table {
            let band = band(Mode::Prefix, given);
            assert_eq!(
                (band.ready_low, band.ready_high, band.total_floor, band.keep_free, band.grain),
                (*low, Some(*high), *floor, *keep_free, Grain::Prefix),
                "{given:?}"
            );
        }
    }

    #[test]
    fn placement_and_release_are_the_operators() {
        let band = band(Mode::SecondaryIp, &[text("placement", "spread"), int("release_after_secs", 5)]);
        assert_eq!((band.placement, band.release_after_ms), (Placement::Spread, 5000));
    }

    #[test]
    fn the_reason_names_the_target_and_the_numbers() {
        let reason =
            decide(Mode::SecondaryIp, &[int("warm_ip_target", 2), int("minimum_ip_target", 5)]).reason;
        assert_eq!(
            reason,
            "warm_ip_target 2 and minimum_ip_target 5 ask for 2 ready addresses and 5 in all; 0 of 0 are ready"
        );
    }

    /// The incumbent's arithmetic for secondary IPs, written down from its own variables.
    fn incumbent_short_and_over(warm: u32, minimum: u32, available: u32, total: u32) -> (u32, u32) {
        let short = warm.saturating_sub(available).max(minimum.saturating_sub(total));
        let over = available.saturating_sub(warm).min(total.saturating_sub(minimum));
        (short, over)
    }

    proptest! {
        #[test]
        fn the_band_is_short_and_over_exactly_when_the_incumbent_is(
            warm in 0..40u32, minimum in 0..60u32, bound in 0..60u32, available in 0..60u32,
        ) {
            prop_assume!(warm > 0 || minimum > 0);
            let band = band(Mode::SecondaryIp, &[int("warm_ip_target", warm.into()), int("minimum_ip_target", minimum.into())]);
            let total = bound + available;
            let (short, over) = incumbent_short_and_over(warm, minimum, available, total);
            let grows = available < band.ready_low || total < band.total_floor;
            let gives_back = available > band.ready_high.unwrap_or(u32::MAX) && total > band.total_floor && available > 0;
            prop_assert_eq!(grows, short > 0);
            prop_assert_eq!(gives_back && !grows, over > 0 && short == 0);
        }

        #[test]
        fn no_setting_makes_a_band_that_flaps(
            mode in prop_oneof![Just(Mode::SecondaryIp), Just(Mode::Prefix)],
            eni in 0..=MOST_ENIS, warm in 0..=MOST_ADDRESSES, minimum in 0..=MOST_ADDRESSES, prefix in 0..=MOST_PREFIXES,
        ) {
            let band = band(mode, &[
                int("warm_eni_target", eni.into()),
                int("warm_ip_target", warm.into()),
                int("minimum_ip_target", minimum.into()),
                int("warm_prefix_target", prefix.into()),
            ]);
            // What is left after giving back must not be short.
            let left = band.ready_high.unwrap_or(u32::MAX).max(band.keep_free * 16);
            prop_assert!(left >= band.ready_low, "{:?}", band);
        }
    }
}
