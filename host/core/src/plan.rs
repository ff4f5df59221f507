//! What supply should do next: pure arithmetic over the pool and the admitted band.
//!
//! Growth follows the incumbent's step rule (existing ENIs first, in seat order, then a new one), but plans
//! all steps at once instead of one per five-second pass. Giving back is one step at a time.

use std::time::Duration;

use crate::ids::EniId;
use crate::proposal::{Band, Grain};
use crate::time::Timestamp;

/// The youngest ENI that may be given back: EC2 bills and throttles churn.
pub const MIN_ENI_AGE: Duration = Duration::from_secs(60);

/// One ENI, as planning sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EniSupply {
    /// Its id.
    pub id: EniId,
    /// Whether its addresses serve pods now (as opposed to coming or leaving).
    pub ready: bool,
    /// Whether it is being given back already.
    pub leaving: bool,
    /// Whether it may be given back at all.
    pub removable: bool,
    /// Whether more addresses may be asked for: no call in flight, subnet not exhausted, not blocked.
    pub open: bool,
    /// Whether addresses may be given back now.
    pub gives: bool,
    /// Whether a call on it is in flight or will be made soon; planning waits for the outcome before it adds
    /// an ENI.
    pub busy: bool,
    /// Addresses it could still take.
    pub room: u32,
    /// Free addresses on it.
    pub free: u32,
    /// Reserved, bound, cooling or quarantined addresses on it.
    pub used: u32,
    /// When it was last used.
    pub last_use: Timestamp,
    /// When the node first knew it.
    pub known_since: Timestamp,
    /// Free addresses unused for long enough to be given back.
    pub stale: u32,
}

/// The pool, as planning sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Supply {
    /// ENIs in seat order.
    pub enis: Vec<EniSupply>,
    /// Free addresses on ready ENIs.
    pub ready: u32,
    /// Addresses on their way: asked for, or on ENIs that are coming.
    pub coming: u32,
    /// Addresses held in any state, on any ENI, without those on their way.
    pub held: u32,
    /// Of those, cooling or quarantined: held but of no use to a pod now.
    pub unusable: u32,
    /// ADDs that wait for an address.
    pub waiting: u32,
    /// ENIs that may carry pods.
    pub max_enis: u32,
    /// ENIs that exist or are being created and count against `max_enis`.
    pub enis_counted: u32,
    /// Addresses on a full ENI.
    pub addresses_per_eni: u32,
    /// Usable addresses beyond which the node never grows.
    pub max_pods: u32,
    /// Whether a new ENI may be asked for now: a subnet is known and EC2 is not backing us off.
    pub may_create: bool,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask EC2 for more addresses on an ENI.
    Assign {
        /// On which.
        eni: EniId,
        /// How many.
        count: u32,
    },
    /// Create and attach an ENI that is born with addresses.
    Create {
        /// How many besides its own.
        count: u32,
    },
    /// Give unused addresses back.
    Unassign {
        /// Of which.
        eni: EniId,
        /// How many.
        count: u32,
    },
    /// Give a whole ENI back.
    Remove {
        /// Which.
        eni: EniId,
    },
}

/// Addresses that are short now: below the band, its floor, or the ADDs that wait.
pub fn shortage(supply: &Supply, band: &Band) -> u32 {
    let supplied = supply.ready + supply.coming;
    let short_ready = (band.ready_low + supply.waiting).saturating_sub(supplied);
    let short_total = band.total_floor.saturating_sub(supply.held + supply.coming);
    short_ready.max(short_total)
}

/// The steps that bring supply up to the band, in order. Empty when nothing is short or nothing can be done.
pub fn growth(supply: &Supply, band: &Band) -> Vec<Step> {
    let mut supply = supply.clone();
    let mut steps = Vec::new();
    loop {
        let short = shortage(&supply, band);
        if short == 0 || (supply.held + supply.coming).saturating_sub(supply.unusable) >= supply.max_pods {
            return steps;
        }
        let wanted = match band.grain {
            Grain::Address | Grain::Prefix => short,
            Grain::Eni => supply.addresses_per_eni,
        };
        if let Some(eni) = supply.enis.iter_mut().find(|eni| eni.open && eni.room > 0) {
            let count = eni.room.min(wanted);
            eni.room -= count;
            supply.coming += count;
            steps.push(Step::Assign { eni: eni.id.clone(), count });
        } else if supply.enis.iter().any(|eni| eni.busy && eni.room > 0) {
            // Its outcome decides whether a further ENI is needed at all.
            return steps;
        } else if supply.may_create && supply.enis_counted < supply.max_enis && supply.addresses_per_eni > 0 {
            let count = wanted.min(supply.addresses_per_eni);
            supply.enis_counted += 1;
            supply.coming += count;
            steps.push(Step::Create { count });
        } else {
            return steps;
        }
    }
}

/// Whether ENIs must go because there are more than may carry pods; those that leave already do not count.
pub fn is_beyond_limit(supply: &Supply) -> bool {
    let leaving = supply.enis.iter().filter(|eni| eni.leaving).count();
    supply.enis_counted.saturating_sub(u32::try_from(leaving).unwrap_or(u32::MAX)) > supply.max_enis
}

/// The next step that gives surplus back, or `None`.
///
/// Only when nothing is short, waits or is on its way. An ENI beyond the operator's limit goes as soon as
/// no pod is on it, whatever the band says.
pub fn release(supply: &Supply, band: &Band, now: Timestamp) -> Option<Step> {
    let unused = |eni: &EniSupply| eni.ready && eni.removable && eni.used == 0;
    if is_beyond_limit(supply) {
        let beyond = supply.enis.iter().rev().find(|eni| unused(eni));
        return beyond.map(|eni| Step::Remove { eni: eni.id.clone() });
    }
    let high = band.ready_high?.max(band.ready_low);
    if supply.waiting > 0 || supply.coming > 0 || shortage(supply, band) > 0 {
        return None;
    }
    let idle = Duration::from_millis(band.release_after_ms);
    let free_enis = supply.enis.iter().filter(|eni| unused(eni)).count();
    let keep_enis = match band.grain {
        Grain::Eni => usize::try_from(band.keep_free).unwrap_or(usize::MAX),
        Grain::Address | Grain::Prefix => 0,
    };
    let whole = supply.enis.iter().rev().find(|eni| {
        unused(eni)
            && free_enis > keep_enis
            && now.since(eni.known_since) >= MIN_ENI_AGE
            && now.since(eni.last_use) >= idle
            && supply.ready.saturating_sub(eni.free) >= high
            && supply.held.saturating_sub(eni.free) >= band.total_floor
    });
    if let Some(eni) = whole {
        return Some(Step::Remove { eni: eni.id.clone() });
    }
    if band.grain == Grain::Eni {
        return None;
    }
    let surplus = supply.ready.saturating_sub(high).min(supply.held.saturating_sub(band.total_floor));
    // The emptiest ENI first, the last seat on a tie: so that whole ENIs come free.
    let from =
        supply.enis.iter().rev().filter(|eni| eni.gives && eni.stale > 0).min_by_key(|eni| eni.used)?;
    let count = surplus.min(from.stale);
    (count > 0).then(|| Step::Unassign { eni: from.id.clone(), count })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(10_000_000);

    /// A ready ENI of `size` addresses that has been there for long: `free` and `used` ones.
    fn eni(id: u32, size: u32, free: u32, used: u32) -> EniSupply {
        EniSupply {
            id: format!("eni-{id}").parse().unwrap(),
            ready: true,
            leaving: false,
            removable: id > 0,
            open: true,
            gives: true,
            busy: false,
            room: size - free - used,
            free,
            used,
            last_use: Timestamp(0),
            known_since: Timestamp(0),
            stale: free,
        }
    }

    /// A node of at most three ENIs of nine addresses.
    fn node(enis: Vec<EniSupply>) -> Supply {
        Supply {
            ready: enis.iter().map(|eni| eni.free).sum(),
            held: enis.iter().map(|eni| eni.free + eni.used).sum(),
            enis_counted: u32::try_from(enis.len()).unwrap(),
            enis,
            coming: 0,
            unusable: 0,
            waiting: 0,
            max_enis: 3,
            addresses_per_eni: 9,
            max_pods: 1000,
            may_create: true,
        }
    }

    fn low(ready_low: u32) -> Band {
        Band { ready_low, ..Band::default() }
    }

    fn high(ready: u32) -> Band {
        Band { ready_low: ready, ready_high: Some(ready), release_after_ms: 1_000, ..Band::default() }
    }

    fn by_eni(band: Band) -> Band {
        Band { grain: Grain::Eni, ..band }
    }

    /// Steps in short: `+0:3` assigns three to ENI 0, `+new:9` creates one with nine, `-1:2` gives two back,
    /// `-1` removes ENI 1.
    fn short(steps: impl IntoIterator<Item = Step>) -> String {
        let number = |id: &EniId| id.as_str().trim_start_matches("eni-").to_owned();
        let words: Vec<String> = steps
            .into_iter()
            .map(|step| match step {
                Step::Assign { eni, count } => format!("+{}:{count}", number(&eni)),
                Step::Create { count } => format!("+new:{count}"),
                Step::Unassign { eni, count } => format!("-{}:{count}", number(&eni)),
                Step::Remove { eni } => format!("-{}", number(&eni)),
            })
            .collect();
        words.join(" ")
    }

    #[test]
    fn growth_follows_the_table() {
        let blocked = |it: EniSupply| EniSupply { open: false, ..it };
        let busy = |it: EniSupply| EniSupply { open: false, busy: true, ..it };
        let rows: Vec<(&str, Supply, Band, &str)> = vec![
            ("enough", node(vec![eni(0, 9, 3, 0)]), low(3), ""),
            ("short on the first", node(vec![eni(0, 9, 1, 2)]), low(3), "+0:2"),
            ("short beyond the first", node(vec![eni(0, 9, 1, 7)]), low(4), "+0:1 +new:2"),
            ("short beyond two", node(vec![eni(0, 9, 0, 9)]), low(12), "+new:9 +new:3"),
            ("the second has room", node(vec![eni(0, 9, 0, 9), eni(1, 9, 0, 5)]), low(2), "+1:2"),
            ("whole ENIs fill up", node(vec![eni(0, 9, 0, 2)]), by_eni(low(1)), "+0:7"),
            ("whole ENIs are added", node(vec![eni(0, 9, 8, 1)]), by_eni(low(9)), "+new:9"),
            ("no slot left", node(vec![eni(0, 9, 0, 9), eni(1, 9, 0, 9), eni(2, 9, 0, 9)]), low(1), ""),
            ("no subnet", Supply { may_create: false, ..node(vec![eni(0, 9, 0, 9)]) }, low(1), ""),
            ("a blocked ENI is passed over", node(vec![blocked(eni(0, 9, 0, 3))]), low(2), "+new:2"),
            ("an outcome is awaited", node(vec![busy(eni(0, 9, 0, 3))]), low(2), ""),
            ("what is coming counts", Supply { coming: 3, ..node(vec![eni(0, 9, 0, 9)]) }, low(3), ""),
            ("a waiting pod counts", Supply { waiting: 2, ..node(vec![eni(0, 9, 0, 3)]) }, low(0), "+0:2"),
            ("the floor counts all", node(vec![eni(0, 9, 2, 3)]), Band { total_floor: 7, ..low(1) }, "+0:2"),
            ("the pod maximum holds", Supply { max_pods: 5, ..node(vec![eni(0, 9, 0, 5)]) }, low(3), ""),
            (
                "what cools is not held against the pod maximum",
                Supply { max_pods: 5, unusable: 2, waiting: 1, ..node(vec![eni(0, 9, 0, 5)]) },
                low(0),
                "+0:1",
            ),
        ];
        for (name, supply, band, expected) in rows {
            assert_eq!(short(growth(&supply, &band)), expected, "{name}");
        }
    }

    #[test]
    fn release_follows_the_table() {
        let young = |it: EniSupply| EniSupply { known_since: NOW, ..it };
        let fresh = |it: EniSupply| EniSupply { last_use: NOW, stale: 0, ..it };
        let held = |it: EniSupply| EniSupply { gives: false, removable: false, ..it };
        let two = || vec![eni(0, 9, 0, 9), eni(1, 9, 9, 0)];
        let rows: Vec<(&str, Supply, Band, &str)> = vec![
            ("never without an upper bound", node(two()), low(0), ""),
            ("nothing too much", node(vec![eni(0, 9, 3, 1)]), high(3), ""),
            ("a whole ENI", node(vec![eni(0, 9, 4, 5), eni(1, 9, 9, 0)]), high(4), "-1"),
            ("not the primary", node(vec![eni(0, 9, 9, 0)]), high(4), "-0:5"),
            (
                "the last of the unused",
                node(vec![eni(0, 9, 9, 0), eni(1, 9, 9, 0), eni(2, 9, 9, 0)]),
                high(2),
                "-2",
            ),
            ("not below what is to be ready", node(two()), high(4), "-1:5"),
            ("not below the floor", node(two()), Band { total_floor: 17, ..high(0) }, "-1:1"),
            ("not a young one", node(vec![eni(0, 9, 9, 0), young(eni(1, 9, 9, 0))]), high(9), "-1:9"),
            ("not one just used", node(vec![eni(0, 9, 9, 0), fresh(eni(1, 9, 9, 0))]), high(9), "-0:9"),
            (
                "not what a call is under way for",
                node(vec![eni(0, 9, 0, 9), held(eni(1, 9, 9, 0))]),
                high(1),
                "",
            ),
            (
                "from the emptiest",
                node(vec![eni(0, 9, 5, 2), eni(1, 9, 3, 1), eni(2, 9, 1, 3)]),
                high(8),
                "-1:1",
            ),
            ("whole ENIs only", node(vec![eni(0, 9, 9, 0), eni(1, 9, 8, 1)]), by_eni(high(9)), ""),
            (
                "as many free ones stay as are to be kept",
                node(vec![eni(0, 9, 9, 0), eni(1, 9, 9, 0)]),
                Band { keep_free: 1, ..by_eni(high(0)) },
                "",
            ),
            ("not while a pod waits", Supply { waiting: 1, ..node(two()) }, high(0), ""),
            ("not while something comes", Supply { coming: 1, ..node(two()) }, high(0), ""),
            ("beyond the limit whatever the band says", Supply { max_enis: 1, ..node(two()) }, low(0), "-1"),
            (
                "beyond the limit, but in use",
                Supply { max_enis: 1, ..node(vec![eni(0, 9, 0, 9), eni(1, 9, 8, 1)]) },
                low(0),
                "",
            ),
        ];
        for (name, supply, band, expected) in rows {
            assert_eq!(short(release(&supply, &band, NOW)), expected, "{name}");
        }
    }

    #[test]
    fn an_eni_that_leaves_already_is_enough_when_the_limit_is_exceeded_by_one() {
        let leaving = EniSupply { ready: false, leaving: true, ..eni(2, 9, 0, 0) };
        let supply = Supply { max_enis: 2, ..node(vec![eni(0, 9, 0, 9), eni(1, 9, 9, 0), leaving]) };
        assert_eq!(release(&supply, &low(0), NOW), None);
    }

    #[test]
    fn release_never_takes_so_much_that_growth_would_follow() {
        for ready in 0..12 {
            for floor in 0..20 {
                let band = Band { total_floor: floor, ..high(ready) };
                let before = node(vec![eni(0, 9, 4, 2), eni(1, 9, 6, 0), eni(2, 9, 1, 1)]);
                let after = match release(&before, &band, NOW) {
                    Some(Step::Remove { .. }) => node(vec![eni(0, 9, 4, 2), eni(2, 9, 1, 1)]),
                    Some(Step::Unassign { eni: id, count }) => {
                        let mut enis = before.enis.clone();
                        for eni in enis.iter_mut().filter(|eni| eni.id == id) {
                            eni.free -= count;
                        }
                        node(enis)
                    }
                    Some(Step::Assign { .. } | Step::Create { .. }) => panic!("release does not grow"),
                    None => continue,
                };
                assert_eq!(shortage(&after, &band), 0, "ready {ready}, floor {floor}");
            }
        }
    }
}
