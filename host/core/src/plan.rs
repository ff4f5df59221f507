//! What supply should do next: pure arithmetic over the pool and the admitted band.
//!
//! Growth follows the incumbent's step rule (existing ENIs first, in seat order, then a new one), but plans
//! all steps at once instead of one per five-second pass. Giving back is one step at a time.

use std::time::Duration;

use crate::cloud::Supply as Amount;
use crate::ids::EniId;
use crate::limits::PREFIX_ADDRESSES;
use crate::proposal::{Band, Grain};
use crate::time::Timestamp;

/// The youngest ENI that may be given back: EC2 bills and throttles churn.
pub const MIN_ENI_AGE: Duration = Duration::from_secs(60);

/// One ENI, as planning sees it.
///
/// Its addresses come singly or out of prefixes; some may be *odd*: of the kind that the node's mode does not ask
/// for, while what it asks for can be had. Odd ones serve pods, but do not count as ready, and go when they are free.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EniSupply {
    /// Its id.
    pub id: EniId,
    /// Whether its addresses serve new pods now (as opposed to coming, leaving or draining).
    pub ready: bool,
    /// Whether it is being given back already.
    pub leaving: bool,
    /// Whether no new pod may go there: everything free on it goes back, and it with its last pod.
    pub drains: bool,
    /// Whether it may be given back at all.
    pub removable: bool,
    /// Whether more may be asked for: no call in flight, subnet not exhausted, not blocked.
    pub open: bool,
    /// Whether addresses may be given back now.
    pub gives: bool,
    /// Whether a call on it is in flight or will be made soon; planning waits for the outcome before it adds
    /// an ENI.
    pub busy: bool,
    /// What a slot is filled with.
    pub unit: Unit,
    /// Slots that are empty.
    pub room: u32,
    /// How often in a row EC2 refused it something: those it refuses less are asked for first.
    pub failures: u32,
    /// Free addresses on it.
    pub free: u32,
    /// Of those, odd ones.
    pub odd: u32,
    /// Reserved, bound, cooling or quarantined addresses on it.
    pub used: u32,
    /// When it was last used.
    pub last_use: Timestamp,
    /// When the node first knew it.
    pub known_since: Timestamp,
    /// Single addresses that are free.
    pub singles: Idle,
    /// Prefixes that are wholly free.
    pub blocks: Idle,
}

/// Units of one kind that nobody uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Idle {
    /// How many.
    pub all: u32,
    /// Of those, unused for long enough to be given back.
    pub stale: u32,
}

/// What a slot of an ENI is filled with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unit {
    /// A secondary address.
    #[default]
    Single,
    /// A /28.
    Block,
}

impl Unit {
    /// Pod addresses that one slot yields.
    pub fn addresses(self) -> u32 {
        match self {
            Unit::Single => 1,
            Unit::Block => PREFIX_ADDRESSES,
        }
    }

    /// The amount that fills `slots`.
    pub fn amount(self, slots: u32) -> Amount {
        match self {
            Unit::Single => Amount::Addresses(slots),
            Unit::Block => Amount::Prefixes(slots),
        }
    }
}

/// The pool of one network card, as planning sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Supply {
    /// ENIs in seat order.
    pub enis: Vec<EniSupply>,
    /// Free addresses on ready ENIs, without the odd ones.
    pub ready: u32,
    /// Addresses on their way: asked for, or on ENIs that are coming.
    pub coming: u32,
    /// Addresses held in any state, on any ENI, without those on their way, the odd and the draining free ones.
    pub held: u32,
    /// Of those, cooling or quarantined: held but of no use to a pod now.
    pub unusable: u32,
    /// ADDs that wait for an address.
    pub waiting: u32,
    /// ENIs that may carry pods.
    pub max_enis: u32,
    /// ENIs that exist or are being created and count against `max_enis`.
    pub enis_counted: u32,
    /// Slots of an ENI.
    pub slots_per_eni: u32,
    /// What the slots of a new ENI are filled with.
    pub new_unit: Unit,
    /// Usable addresses beyond which the node never grows.
    pub max_pods: u32,
    /// Whether a new ENI may be asked for now: a subnet is known and EC2 is not backing us off.
    pub may_create: bool,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask EC2 for more on an ENI.
    Assign {
        /// On which.
        eni: EniId,
        /// How much.
        amount: Amount,
    },
    /// Create and attach an ENI that is born with addresses.
    Create {
        /// How much besides its own address.
        amount: Amount,
    },
    /// Give unused addresses back.
    Unassign {
        /// Of which.
        eni: EniId,
        /// How much.
        amount: Amount,
        /// Which.
        which: Which,
    },
    /// Give a whole ENI back.
    Remove {
        /// Which.
        eni: EniId,
    },
}

/// What may be given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// What has been unused for as long as the band asks.
    Stale,
    /// Whatever is unused.
    Unused,
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
        let slots_per_eni = supply.slots_per_eni;
        let slots = |unit: Unit| match band.grain {
            Grain::Address | Grain::Prefix => short.div_ceil(unit.addresses()),
            Grain::Eni => slots_per_eni,
        };
        let open = supply.enis.iter_mut().filter(|eni| eni.open && eni.room > 0);
        if let Some(eni) = open.min_by_key(|eni| eni.failures) {
            let filled = eni.room.min(slots(eni.unit));
            eni.room -= filled;
            supply.coming += filled * eni.unit.addresses();
            steps.push(Step::Assign { eni: eni.id.clone(), amount: eni.unit.amount(filled) });
        } else if supply.enis.iter().any(|eni| eni.busy && eni.room > 0) {
            // Its outcome decides whether a further ENI is needed at all.
            return steps;
        } else if may_add_eni(&supply) {
            let filled = slots(supply.new_unit).min(supply.slots_per_eni);
            supply.enis_counted += 1;
            supply.coming += filled * supply.new_unit.addresses();
            steps.push(Step::Create { amount: supply.new_unit.amount(filled) });
        } else {
            return steps;
        }
    }
}

fn may_add_eni(supply: &Supply) -> bool {
    supply.may_create && supply.enis_counted < supply.max_enis && supply.slots_per_eni > 0
}

/// Whether ENIs must go because there are more than may carry pods; those that leave already do not count.
pub fn is_beyond_limit(supply: &Supply) -> bool {
    let leaving = supply.enis.iter().filter(|eni| eni.leaving).count();
    supply.enis_counted.saturating_sub(u32::try_from(leaving).unwrap_or(u32::MAX)) > supply.max_enis
}

/// The next step that gives something back, or `None`.
///
/// What is out of place goes whatever the band says: an ENI beyond the operator's limit and one that drains as soon as
/// no pod is on it, what is free on one that drains, and odd addresses once the pool has what it wants or no room for
/// it. Surplus goes only when nothing is short, waits or is on its way.
pub fn release(supply: &Supply, band: &Band, now: Timestamp) -> Option<Step> {
    let unused = |eni: &EniSupply| eni.removable && eni.used == 0;
    if is_beyond_limit(supply) {
        let beyond = supply.enis.iter().rev().find(|eni| unused(eni));
        if let Some(eni) = beyond {
            return Some(Step::Remove { eni: eni.id.clone() });
        }
    }
    if let Some(eni) = supply.enis.iter().rev().find(|eni| eni.drains && unused(eni)) {
        return Some(Step::Remove { eni: eni.id.clone() });
    }
    let draining = supply.enis.iter().filter(|eni| eni.drains && eni.gives).find_map(unused_units);
    if draining.is_some() || supply.waiting > 0 {
        return draining;
    }
    let short = shortage(supply, band) > 0;
    // What is only on its way serves nobody yet: until it does, the odd ones do.
    if !short && supply.coming == 0 || is_crammed(supply) {
        // Where there is room for nothing else, one slot is enough to try.
        let most = if short { 1 } else { u32::MAX };
        let odd = |eni: &EniSupply| odd_units(eni, most);
        let odd = supply.enis.iter().filter(|eni| eni.odd > 0 && eni.gives).find_map(odd);
        if odd.is_some() {
            return odd;
        }
    }
    if short || supply.coming > 0 { None } else { surplus(supply, band, now) }
}

/// Whether nothing can be added where it is wanted.
fn is_crammed(supply: &Supply) -> bool {
    let room = |eni: &EniSupply| eni.room > 0 && (eni.open || eni.busy);
    supply.coming == 0 && !supply.enis.iter().any(room) && supply.enis_counted >= supply.max_enis
}

/// Everything on a draining ENI that is free as a whole.
fn unused_units(eni: &EniSupply) -> Option<Step> {
    let amount = match (eni.singles.all, eni.blocks.all) {
        (0, 0) => return None,
        (0, blocks) => Amount::Prefixes(blocks),
        (singles, _) => Amount::Addresses(singles),
    };
    Some(Step::Unassign { eni: eni.id.clone(), amount, which: Which::Unused })
}

/// At most `most` units of the other kind than the ENI's slots are filled with.
fn odd_units(eni: &EniSupply, most: u32) -> Option<Step> {
    let amount = match eni.unit {
        Unit::Single => Amount::Prefixes(eni.blocks.all.min(most)),
        Unit::Block => Amount::Addresses(eni.singles.all.min(most)),
    };
    (amount.slots() > 0).then(|| Step::Unassign { eni: eni.id.clone(), amount, which: Which::Unused })
}

fn surplus(supply: &Supply, band: &Band, now: Timestamp) -> Option<Step> {
    let high = band.ready_high?.max(band.ready_low);
    let idle = Duration::from_millis(band.release_after_ms);
    let unused = |eni: &EniSupply| eni.ready && eni.removable && eni.used == 0;
    let free_enis = supply.enis.iter().filter(|eni| unused(eni)).count();
    let free_blocks: u32 = supply.enis.iter().filter(|eni| eni.ready).map(|eni| eni.blocks.all).sum();
    let (keep_enis, keep_blocks) = match band.grain {
        Grain::Eni => (usize::try_from(band.keep_free).unwrap_or(usize::MAX), 0),
        Grain::Prefix => (0, band.keep_free),
        Grain::Address => (0, 0),
    };
    let whole = supply.enis.iter().rev().find(|eni| {
        let kept = eni.unit == Unit::Single || free_blocks.saturating_sub(eni.blocks.all) >= keep_blocks;
        unused(eni)
            && free_enis > keep_enis
            && kept
            && now.since(eni.known_since) >= MIN_ENI_AGE
            && now.since(eni.last_use) >= idle
            && supply.ready.saturating_sub(eni.free - eni.odd) >= high
            && supply.held.saturating_sub(eni.free - eni.odd) >= band.total_floor
    });
    if let Some(eni) = whole {
        return Some(Step::Remove { eni: eni.id.clone() });
    }
    if band.grain == Grain::Eni {
        return None;
    }
    let spare = supply.ready.saturating_sub(high).min(supply.held.saturating_sub(band.total_floor));
    // Single addresses first: on a node that fills slots with prefixes, they are the makeshift. From the emptiest
    // ENI first, the last seat on a tie: so that whole ENIs come free.
    let emptiest = |idle: fn(&EniSupply) -> u32| {
        supply
            .enis
            .iter()
            .rev()
            .filter(|eni| eni.ready && eni.gives && idle(eni) > 0)
            .min_by_key(|eni| eni.used)
    };
    let step = |eni: &EniSupply, amount: Amount| {
        (amount.slots() > 0).then(|| Step::Unassign { eni: eni.id.clone(), amount, which: Which::Stale })
    };
    let singles = emptiest(|eni| eni.singles.stale)
        .and_then(|eni| step(eni, Amount::Addresses(spare.min(eni.singles.stale))));
    singles.or_else(|| {
        let eni = emptiest(|eni| eni.blocks.stale)?;
        let blocks = spare / PREFIX_ADDRESSES;
        step(eni, Amount::Prefixes(blocks.min(eni.blocks.stale).min(free_blocks.saturating_sub(keep_blocks))))
    })
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
            drains: false,
            open: true,
            gives: true,
            busy: false,
            unit: Unit::Single,
            room: size - free - used,
            failures: 0,
            free,
            odd: 0,
            used,
            last_use: Timestamp(0),
            known_since: Timestamp(0),
            singles: Idle { all: free, stale: free },
            blocks: Idle::default(),
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
            slots_per_eni: 9,
            new_unit: Unit::Single,
            max_pods: 1000,
            may_create: true,
        }
    }

    /// A ready ENI of `slots` slots for prefixes: `whole` of them nobody uses, and `used` addresses, packed, are.
    fn in_blocks(id: u32, slots: u32, whole: u32, used: u32) -> EniSupply {
        let filled = whole + used.div_ceil(PREFIX_ADDRESSES);
        EniSupply {
            unit: Unit::Block,
            room: slots - filled,
            free: filled * PREFIX_ADDRESSES - used,
            singles: Idle::default(),
            blocks: Idle { all: whole, stale: whole },
            ..eni(id, slots, 0, used.min(slots))
        }
        .using(used)
    }

    /// The same on a node that fills slots with prefixes.
    fn prefix_node(enis: Vec<EniSupply>) -> Supply {
        Supply { new_unit: Unit::Block, ..node(enis) }
    }

    #[test]
    fn an_eni_that_ec2_refuses_to_fill_does_not_starve_the_others() {
        let refused = EniSupply { failures: 1, ..eni(0, 9, 0, 3) };
        let supply = Supply { waiting: 2, ..node(vec![refused, eni(1, 9, 0, 3)]) };
        let steps = growth(&supply, &Band::default());
        assert!(matches!(&steps[..], [Step::Assign { eni, .. }] if eni.as_str() == "eni-1"), "{steps:?}");
        // It is asked for when nothing else is left.
        let alone = Supply { max_enis: 1, ..supply };
        let alone = Supply { enis: alone.enis[..1].to_vec(), enis_counted: 1, ..alone };
        let steps = growth(&alone, &Band::default());
        assert!(matches!(&steps[..], [Step::Assign { eni, .. }] if eni.as_str() == "eni-0"), "{steps:?}");
    }

    impl EniSupply {
        fn using(self, used: u32) -> Self {
            Self { used, ..self }
        }

        /// With `free` single addresses among the prefixes, or the other way round, that nobody should ask for.
        fn with_odd(self, free: u32) -> Self {
            let odd = Idle { all: free, stale: free };
            Self { free: self.free + free, odd: free, room: self.room - free, singles: odd, ..self }
        }

        fn draining(self) -> Self {
            Self { ready: false, drains: true, room: 0, ..self }
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
    /// `-1` removes ENI 1; `2p` are two prefixes.
    fn short(steps: impl IntoIterator<Item = Step>) -> String {
        let written = |amount: Amount| match amount {
            Amount::Addresses(count) => count.to_string(),
            Amount::Prefixes(count) => format!("{count}p"),
            Amount::Ipv6Prefixes(count) => format!("{count}v6"),
        };
        let number = |id: &EniId| id.as_str().trim_start_matches("eni-").to_owned();
        let words: Vec<String> = steps
            .into_iter()
            .map(|step| match step {
                Step::Assign { eni, amount } => format!("+{}:{}", number(&eni), written(amount)),
                Step::Create { amount } => format!("+new:{}", written(amount)),
                Step::Unassign { eni, amount, .. } => format!("-{}:{}", number(&eni), written(amount)),
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
        let fresh =
            |it: EniSupply| EniSupply { last_use: NOW, singles: Idle { stale: 0, ..it.singles }, ..it };
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
    fn growth_in_prefixes_follows_the_table() {
        let broken_up = |it: EniSupply| EniSupply { unit: Unit::Single, ..it };
        let rows: Vec<(&str, Supply, Band, &str)> = vec![
            ("one for the first address", prefix_node(vec![in_blocks(0, 9, 0, 0)]), low(1), "+0:1p"),
            ("one for sixteen", prefix_node(vec![in_blocks(0, 9, 0, 0)]), low(16), "+0:1p"),
            ("two for seventeen", prefix_node(vec![in_blocks(0, 9, 0, 0)]), low(17), "+0:2p"),
            ("none while one is open", prefix_node(vec![in_blocks(0, 9, 0, 3)]), low(13), ""),
            ("for what is short alone", prefix_node(vec![in_blocks(0, 9, 0, 3)]), low(14), "+0:1p"),
            ("over to a new ENI", prefix_node(vec![in_blocks(0, 9, 0, 128)]), low(40), "+0:1p +new:2p"),
            ("whole ENIs", prefix_node(vec![in_blocks(0, 9, 0, 128)]), by_eni(low(17)), "+0:1p +new:9p"),
            ("no block left", prefix_node(vec![broken_up(in_blocks(0, 9, 0, 16))]), low(3), "+0:3"),
            (
                "no block left anywhere",
                Supply { new_unit: Unit::Single, ..prefix_node(vec![broken_up(in_blocks(0, 9, 0, 144))]) },
                low(3),
                "+new:3",
            ),
            ("a draining ENI is not filled", node(vec![eni(0, 9, 0, 3).draining()]), low(2), "+new:2"),
            (
                "the pod maximum holds for whole prefixes",
                Supply { max_pods: 20, ..prefix_node(vec![in_blocks(0, 9, 0, 17)]) },
                low(16),
                "",
            ),
        ];
        for (name, supply, band, expected) in rows {
            assert_eq!(short(growth(&supply, &band)), expected, "{name}");
        }
    }

    #[test]
    fn release_of_prefixes_and_of_what_is_out_of_place_follows_the_table() {
        let kept = |keep_free: u32| Band { grain: Grain::Prefix, keep_free, ..high(0) };
        let changing =
            |free: u32| Supply { ready: 16, ..prefix_node(vec![in_blocks(0, 9, 1, 0).with_odd(free)]) };
        let drained = || eni(1, 9, 3, 2).draining();
        let rows: Vec<(&str, Supply, Band, &str)> = vec![
            ("prefixes go whole", prefix_node(vec![in_blocks(0, 9, 2, 3)]), high(1), "-0:2p"),
            ("and only so many", prefix_node(vec![in_blocks(0, 9, 3, 3)]), high(30), "-0:1p"),
            (
                "not below the floor",
                prefix_node(vec![in_blocks(0, 9, 2, 3)]),
                Band { total_floor: 33, ..high(1) },
                "",
            ),
            ("not those to be kept", prefix_node(vec![in_blocks(0, 9, 3, 3)]), kept(2), "-0:1p"),
            ("not one too few", prefix_node(vec![in_blocks(0, 9, 2, 3)]), kept(2), ""),
            ("odd ones when nothing is short", changing(4), high(16), "-0:4"),
            ("odd ones although less is ready than may be", changing(4), low(16), "-0:4"),
            ("not odd ones that may be needed yet", Supply { ready: 0, ..changing(4) }, high(16), ""),
            (
                "not odd ones for what is only coming",
                Supply { ready: 0, coming: 16, ..changing(4) },
                high(16),
                "",
            ),
            ("not odd ones while a pod waits", Supply { waiting: 1, ..changing(4) }, high(0), ""),
            (
                "one odd one where there is room for nothing else",
                Supply { max_enis: 1, ready: 0, ..prefix_node(vec![in_blocks(0, 9, 0, 5 * 16).with_odd(4)]) },
                high(16),
                "-0:1",
            ),
            ("what is free on one that drains", node(vec![eni(0, 9, 3, 1), drained()]), low(3), "-1:3"),
            (
                "even while a pod waits",
                Supply { waiting: 1, ..node(vec![eni(0, 9, 0, 1), drained()]) },
                low(3),
                "-1:3",
            ),
            (
                "one that drains without pods",
                node(vec![eni(0, 9, 3, 1), eni(1, 9, 3, 0).draining()]),
                low(3),
                "-1",
            ),
            ("never the primary", node(vec![eni(0, 9, 3, 0).draining()]), low(0), "-0:3"),
            (
                "one that drains when there are too many",
                Supply { max_enis: 1, ..node(vec![eni(0, 9, 3, 1), eni(1, 9, 3, 0).draining()]) },
                low(0),
                "-1",
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
                    Some(Step::Unassign { eni: id, amount, .. }) => {
                        let mut enis = before.enis.clone();
                        for eni in enis.iter_mut().filter(|eni| eni.id == id) {
                            eni.free -= amount.addresses();
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
