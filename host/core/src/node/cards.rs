//! Network cards, each with a pool of its own: the default card's follows the warm-pool strategy, a further card keeps
//! one address ready for the next pod that wants an interface there.

use super::{Cards, CustomNetworking, NodeState};
use crate::eni::Eni;
use crate::ids::SubnetId;
use crate::limits::Mode;
use crate::plan::Unit;
use crate::proposal::Band;
use crate::wiring::Seat;

/// How long a further card keeps what nobody uses.
const FURTHER_CARD_RELEASE_AFTER_MS: u64 = 60_000;

impl NodeState {
    /// The network cards that carry pods or have done, the default one first. An EFA-only ENI takes a further card for
    /// itself unless we share it already.
    pub(super) fn cards_in_use(&self) -> Vec<u32> {
        let default = self.instance_type.default_card;
        let vacant = |card: u32| {
            self.config.cards == Cards::Every && self.unmanaged.iter().all(|seat| seat.card != card)
        };
        let ours = |card: u32| self.enis.values().any(|eni| eni.seat.card == card && !eni.hands_off);
        let further =
            self.instance_type.cards.iter().map(|card| card.index).filter(|card| {
                *card != default && *card != Seat::PRIMARY.card && (vacant(*card) || ours(*card))
            });
        std::iter::once(default).chain(further).collect()
    }

    /// What a card's pool aims for.
    pub(super) fn band_of(&self, card: u32) -> Band {
        if self.is_default(card) {
            return self.target();
        }
        let ready = u32::from(self.config.cards == Cards::Every && self.config.families.ipv4());
        Band {
            ready_low: ready,
            ready_high: Some(ready),
            release_after_ms: FURTHER_CARD_RELEASE_AFTER_MS,
            ..Band::default()
        }
    }

    pub(super) fn is_default(&self, card: u32) -> bool {
        card == self.instance_type.default_card
    }

    /// Whether what sits there belongs to a card's pool. The primary ENI belongs to the default card's.
    pub(super) fn is_on(&self, seat: Seat, card: u32) -> bool {
        seat.card == card || seat == Seat::PRIMARY && self.is_default(card)
    }

    /// ENIs that count against a card's limit.
    pub(super) fn enis_counted(&self, card: u32) -> u32 {
        let here = self.enis.values().filter(|eni| self.is_on(eni.seat, card) && !eni.hands_off).count();
        let coming = self.creations().filter(|creation| self.is_on(creation.seat, card)).count();
        u32::try_from(coming + here).unwrap_or(u32::MAX)
    }

    /// What a card's slots are to be filled with.
    pub(super) fn unit_of(&self, card: u32) -> Unit {
        match self.config.mode {
            Mode::Prefix if self.is_default(card) => Unit::Block,
            Mode::Prefix | Mode::SecondaryIp => Unit::Single,
        }
    }

    /// The same in a subnet, which may have no whole block left.
    pub(super) fn unit_in(&self, subnet: &SubnetId, card: u32) -> Unit {
        match self.unit_of(card) {
            Unit::Block if self.is_fragmented(subnet) => Unit::Single,
            unit @ (Unit::Block | Unit::Single) => unit,
        }
    }

    /// The lowest device index on a card that nothing occupies or is about to. Index 0 is the primary's on its card,
    /// and EC2 launches with nothing there on the others.
    pub(super) fn free_seat(&self, card: u32) -> Option<Seat> {
        let taken = |seat: Seat| {
            self.enis.values().any(|eni| eni.seat == seat)
                || self.unmanaged.contains(&seat)
                || self.creations().any(|creation| creation.seat == seat)
        };
        let limit = self.instance_type.max_enis_on(card);
        let last = if card == Seat::PRIMARY.card { limit.saturating_sub(1) } else { limit };
        (1..=last).map(|device| Seat { card, device }).find(|seat| !taken(*seat))
    }

    /// Whether an ENI on a card has an empty slot for a pod.
    pub(super) fn has_room(&self, card: u32) -> bool {
        let slots = self.instance_type.slots_per_eni();
        let open = |eni: &Eni| eni.serves() && self.is_on(eni.seat, card) && self.takes_pods(eni);
        self.enis.values().any(|eni| open(eni) && self.pool.slots_on(&eni.id) < slots)
    }

    /// ENIs on a card that may carry pods or are the primary: the instance's limit, the operator's on the default
    /// card, less those that are not ours.
    pub(super) fn usable_enis(&self, card: u32) -> u32 {
        let limit = self.instance_type.max_enis_on(card);
        let operators = self.config.max_enis.filter(|_| self.is_default(card));
        let limit = operators.map_or(limit, |max| max.min(limit));
        let foreign = self.unmanaged.iter().filter(|seat| self.is_on(**seat, card)).count();
        limit.saturating_sub(u32::try_from(foreign).unwrap_or(u32::MAX))
    }

    /// The same without the primary where that carries none.
    pub(super) fn enis_for_pods(&self, card: u32) -> u32 {
        let without = self.is_default(card) && self.config.custom_networking != CustomNetworking::Off;
        self.usable_enis(card).saturating_sub(u32::from(without))
    }
}
