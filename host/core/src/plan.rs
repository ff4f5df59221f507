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

/// The next step that gives surplus back, or `None`.
///
/// Only when nothing is short, waits or is on its way. An ENI beyond the operator's limit goes as soon as
/// no pod is on it, whatever the band says.
pub fn release(supply: &Supply, band: &Band, now: Timestamp) -> Option<Step> {
    let unused = |eni: &EniSupply| eni.ready && eni.removable && eni.used == 0;
    let leaving = supply.enis.iter().filter(|eni| eni.leaving).count();
    if supply.enis_counted.saturating_sub(u32::try_from(leaving).unwrap_or(u32::MAX)) > supply.max_enis {
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
