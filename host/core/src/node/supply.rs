//! Growth and giving back: what planning is shown, and its steps carried out.

use std::net::IpAddr;
use std::time::Duration;

use super::{CustomNetworking, NodeState, Provisioning, Purpose, RELEASE_EVERY, RETURNED_MEMORY, delay};
use crate::budget::Priority;
use crate::cloud::{Assigned, CloudError, CloudErrorKind, CloudSubnet, Supply as Amount};
use crate::degraded::Degraded;
use crate::eni::{Eni, Leaving, Phase};
use crate::event::{Api, CloudCall, CloudReply, Effect, Nics};
use crate::ids::{EniId, SubnetId};
use crate::kind::Kind;
use crate::lease::Lease;
use crate::limits::{Mode, PREFIX_ADDRESSES};
use crate::plan::{self, EniSupply, Idle, Step, Supply, Unit, Which};
use crate::proposal::Band;
use crate::report::{Cause, Decided, Why};
use crate::time::Timestamp;

const ASSIGN: Api = Api::AssignPrivateIpAddresses;
const CREATE: Api = Api::CreateNetworkInterface;
const DELETE: Api = Api::DeleteNetworkInterface;
const DETACH: Api = Api::DetachNetworkInterface;
const UNASSIGN: Api = Api::UnassignPrivateIpAddresses;
/// How often subnets are looked at while a pod is short of an address that none of them had.
const STARVED_LOOK_EVERY: Duration = Duration::from_secs(30);

impl NodeState {
    /// Grows when short, gives back when there is too much, and leaves well alone otherwise.
    pub(super) fn adjust_supply(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if !self.seen || self.config.provisioning != Provisioning::Full {
            return;
        }
        // What may exist already is asked about first.
        while self.may_ask(CREATE, Priority::Pod, now) {
            let Some(creation) = self.unresolved.pop() else { break };
            self.ask_for_eni(creation, now, effects);
        }
        self.supply_ipv6(now, effects);
        if !self.queue.is_empty() {
            self.call_back_enis(now, effects);
        }
        if self.config.cordoned {
            return;
        }
        let may_release = self.release_at <= now;
        if may_release {
            self.release_at = now + RELEASE_EVERY;
        }
        for card in self.cards_in_use() {
            self.adjust_card(card, may_release, now, effects);
        }
    }

    fn adjust_card(&mut self, card: u32, may_release: bool, now: Timestamp, effects: &mut Vec<Effect>) {
        let supply = self.supply(card, now);
        let band = self.band_of(card);
        if plan::shortage(&supply, &band) > 0 {
            for step in plan::growth(&supply, &band) {
                self.take(card, step, self.shortage(card, &supply, &band), now, effects);
            }
            let nowhere = matches!(self.config.custom_networking, CustomNetworking::Missing { .. });
            if !nowhere && self.place_for_new_eni(card).is_none() {
                let soon = (self.subnets_seen + STARVED_LOOK_EVERY).max(now + RELEASE_EVERY);
                self.subnets_at = self.subnets_at.min(soon);
            }
        }
        if may_release {
            let supply = self.supply(card, now);
            if let Some(step) = plan::release(&supply, &band, now) {
                if self.may_take(&step, now) {
                    self.confirmed();
                    let cause = self.surplus(card, &step, &supply, &band);
                    self.take(card, step, cause, now, effects);
                } else {
                    self.seek_confirmation(now);
                }
            }
        }
    }

    /// Whether giving back is worth looking at.
    pub(super) fn has_surplus(&self) -> bool {
        if self.config.provisioning != Provisioning::Full || self.config.cordoned {
            return false;
        }
        let ready = self.pool.counts().free;
        let too_many = self.target().ready_high.is_some_and(|high| ready > high || self.enis.len() > 1);
        let card = self.instance_type.default_card;
        let out_of_place = |eni: &Eni| {
            let singles = self.pool.singles_on(&eni.id).total();
            let mixed = match self.config.mode {
                Mode::SecondaryIp => self.pool.slots_on(&eni.id) > singles,
                Mode::Prefix => singles > 0,
            };
            mixed || self.drains(eni)
        };
        too_many
            || self.enis.values().any(|eni| !self.is_on(eni.seat, card))
            || self.enis_counted(card) > self.usable_enis(card)
            || self.enis.values().any(out_of_place)
    }

    /// Why something is asked for.
    fn shortage(&self, card: u32, supply: &Supply, band: &Band) -> Cause {
        let Supply { ready, coming, waiting, .. } = supply;
        self.against_target(card, format!("{ready} ready and {coming} coming, {waiting} pods waiting"), band)
    }

    /// Why something is given back.
    fn surplus(&self, card: u32, step: &Step, supply: &Supply, band: &Band) -> Cause {
        let Supply { ready, held, max_enis, .. } = supply;
        if matches!(step, Step::Remove { .. }) && plan::is_beyond_limit(supply) {
            let because = format!("the node has more ENIs than the {max_enis} that may carry pods");
            return Cause { because, decisions: Vec::new() };
        }
        let out_of_place = match step {
            Step::Unassign { which, .. } => *which == Which::Unused,
            Step::Remove { eni } => supply.enis.iter().any(|planned| planned.id == *eni && planned.drains),
            Step::Assign { .. } | Step::Create { .. } => false,
        };
        if out_of_place {
            let because = "it is on an ENI that takes no new pods, or of the kind that the node changes from"
                .to_owned();
            return Cause { because, decisions: Vec::new() };
        }
        self.against_target(
            card,
            format!("{ready} ready of {held} held, none coming and no pod waiting"),
            band,
        )
    }

    fn against_target(&self, card: u32, stock: String, band: &Band) -> Cause {
        if !self.is_default(card) {
            // The strategy has no say there.
            let because = format!("{stock} on card {card}; the target: {band}");
            return Cause { because, decisions: Vec::new() };
        }
        let because = match &self.band {
            Some(_) => format!("{stock}; the target: {band}"),
            None => format!("{stock}; no target yet"),
        };
        Cause { because, decisions: self.band_decided().into_iter().collect() }
    }

    fn band_decided(&self) -> Option<Decided> {
        self.band.as_ref().map(|decision| decision.reference(Kind::WarmPool))
    }

    /// ENIs that have not been detached yet serve the pods that wait, if they may.
    fn call_back_enis(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let called = |eni: &&Eni| eni.recallable && !eni.busy && self.takes_pods(eni) && !eni.hands_off;
        let called: Vec<EniId> = self.enis.values().filter(called).map(|eni| eni.id.clone()).collect();
        for eni in called {
            self.keep(&eni, now, effects);
        }
    }

    /// Whether detaching is not withheld; its turn in the budget may come later.
    fn may_detach(&self, now: Timestamp) -> bool {
        self.restraint.mode(now) == Degraded::No && self.restraint.pushback.until(DETACH) <= now
    }

    /// Whether journal, kernel and EC2 agree that nobody uses what would go. An address that the kernel shows in use has
    /// left service when that was seen, and is not among those that go.
    fn may_take(&self, step: &Step, now: Timestamp) -> bool {
        match step {
            Step::Assign { .. } | Step::Create { .. } => true,
            Step::Unassign { eni, .. } => self.is_confirmed(eni, now),
            // A look from before the last pod left says nothing about it.
            Step::Remove { eni: id } => self.enis.get(id).is_some_and(|eni| {
                let after = self.reconcile.seen().is_some_and(|seen| seen > eni.last_use);
                after && self.is_confirmed(id, now) && !self.may_have_strangers(eni)
            }),
        }
    }

    fn take(&mut self, card: u32, step: Step, cause: Cause, now: Timestamp, effects: &mut Vec<Effect>) {
        let urgency = self.urgency();
        match step {
            // An earlier step may have been the last that the budget allows.
            Step::Assign { .. } if !self.may_ask(ASSIGN, urgency, now) => {}
            Step::Create { .. } if !self.may_ask(CREATE, urgency, now) => {}
            Step::Assign { eni, amount } => self.assign(eni, amount, cause, now, effects),
            Step::Create { amount } => self.create(card, amount, cause, now, effects),
            Step::Unassign { eni, amount, which } => {
                let by = match which {
                    Which::Stale => now - Duration::from_millis(self.band_of(card).release_after_ms),
                    Which::Unused => now,
                };
                // What became free after the kernel was looked at is not known to be unused.
                let by = by.min(self.reconcile.seen().unwrap_or_default() - Duration::from_millis(1));
                self.give_back(&eni, (amount, by), cause, now, effects);
            }
            Step::Remove { eni } => self.remove(&eni, cause, now, effects),
        }
    }

    fn assign(&mut self, id: EniId, amount: Amount, cause: Cause, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(eni) = self.enis.get(&id) else { return };
        let free =
            self.subnets.iter().find(|subnet| subnet.id == eni.subnet).map(|subnet| self.room_in(subnet));
        let amount = within(amount, free.unwrap_or(u32::MAX), self.most_blocks(&eni.subnet));
        let Some(eni) = self.enis.get_mut(&id) else { return };
        eni.busy = true;
        eni.in_flight = Some(amount);
        let call = CloudCall::Assign { eni: id.clone(), supply: amount };
        self.call(Purpose::Assign { eni: id, amount, cause }, call, now, effects);
    }

    /// Addresses that a subnet still has, as far as we know: what EC2 reported, less what we asked for since.
    pub(super) fn room_in(&self, subnet: &CloudSubnet) -> u32 {
        subnet.free.saturating_sub(self.in_flight_in(&subnet.id))
    }

    /// Addresses of a subnet that we have asked for and not been given.
    pub(super) fn in_flight_in(&self, subnet: &SubnetId) -> u32 {
        let born = self.creations().filter(|creation| creation.new.subnet == *subnet);
        let added = self.enis.values().filter(|eni| eni.subnet == *subnet).filter_map(|eni| eni.in_flight);
        let born: u32 = born.map(|creation| creation.new.supply.addresses() + 1).sum();
        born + added.map(Amount::addresses).sum::<u32>()
    }

    /// Marks what has been free the longest, and since `by` at least, as returning; EC2 is asked as the ENI's next step.
    fn give_back(
        &mut self,
        id: &EniId,
        (amount, by): (Amount, Timestamp),
        cause: Cause,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let slots = usize::try_from(amount.slots()).unwrap_or(usize::MAX);
        let going: Vec<IpAddr> = match amount {
            Amount::Addresses(_) => self.pool.singles_free_since(id, by).take(slots).collect(),
            Amount::Prefixes(_) => {
                let stale =
                    self.pool.blocks_on(id).filter(|block| block.idle_since.is_some_and(|at| at <= by));
                let mut stale: Vec<_> = stale.map(|block| (block.idle_since, block.range)).collect();
                stale.sort();
                stale.into_iter().take(slots).flat_map(|(_, range)| self.pool.in_block(range)).collect()
            }
            Amount::Ipv6Prefixes(_) => Vec::new(),
        };
        if going.is_empty() {
            self.seek_confirmation(now);
            return;
        }
        for address in going {
            self.pool.change(address, |lease| lease.give_back(now));
        }
        if let Some(eni) = self.enis.get_mut(id) {
            eni.going = Some(Why::GivenBack { call: UNASSIGN.name().to_owned(), cause });
        }
        self.journal_eni(id, effects);
        self.advance_eni(id, now, effects);
    }

    fn remove(&mut self, id: &EniId, cause: Cause, now: Timestamp, effects: &mut Vec<Effect>) {
        for address in self.pool.addresses_on(id) {
            self.pool.change(address, |lease| lease.give_back(now));
        }
        if let Some(eni) = self.enis.get_mut(id) {
            eni.phase = Phase::Leaving(Leaving::TearingDown);
            eni.recallable = true;
            eni.failures = 0;
            eni.going = Some(Why::GivenBack { call: DELETE.name().to_owned(), cause });
        }
        self.journal_eni(id, effects);
        self.advance_eni(id, now, effects);
    }

    /// A card's pool as planning sees it.
    pub(super) fn supply(&self, card: u32, now: Timestamp) -> Supply {
        let mut enis: Vec<&Eni> = self.enis.values().filter(|eni| self.is_on(eni.seat, card)).collect();
        enis.sort_by_key(|eni| eni.seat);
        let calls = CallsPermitted {
            assign: self.may_ask(ASSIGN, self.urgency(), now),
            assign_later: !self.restraint.pushback.denied(ASSIGN),
            unassign: self.may_ask(UNASSIGN, Priority::Spare, now),
            detach: self.may_detach(now),
        };
        let place = self.place_for_new_eni(card);
        let coming = self.creations().filter(|creation| self.is_on(creation.seat, card));
        let mut supply = Supply {
            enis: Vec::with_capacity(enis.len()),
            ready: 0,
            coming: coming.map(|creation| creation.new.supply.addresses()).sum(),
            held: 0,
            unusable: 0,
            waiting: self.waiting_for(card),
            max_enis: self.usable_enis(card),
            enis_counted: self.enis_counted(card),
            slots_per_eni: self.instance_type.slots_per_eni(),
            new_unit: place.map_or(self.unit_of(card), |(_, unit)| unit),
            max_pods: self.max_pods_in_force(),
            may_create: place.is_some() && self.may_create(card, now),
        };
        for eni in enis {
            let counts = self.pool.counts_on(&eni.id);
            let planned = self.eni_supply(eni, card, calls, now);
            let free = if self.takes_pods(eni) { counts.free - planned.odd } else { 0 };
            if planned.ready {
                supply.ready += free;
            } else if eni.is_coming(now) && self.takes_pods(eni) {
                supply.coming += counts.free;
            }
            if eni.serves() || counts.used() > 0 {
                supply.held += free + counts.used();
            }
            supply.unusable += counts.cooling + counts.quarantined;
            supply.coming += eni.in_flight.map_or(0, Amount::addresses);
            supply.enis.push(planned);
        }
        supply
    }

    /// ADDs that wait for an address on a card.
    fn waiting_for(&self, card: u32) -> u32 {
        if !self.config.families.ipv4() {
            return 0;
        }
        let waiting = if self.is_default(card) {
            self.queue.len()
        } else {
            self.queue.iter().filter(|waiter| waiter.nics == Nics::EveryCard).count()
        };
        u32::try_from(waiting).unwrap_or(u32::MAX)
    }

    fn eni_supply(&self, eni: &Eni, card: u32, calls: CallsPermitted, now: Timestamp) -> EniSupply {
        let counts = self.pool.counts_on(&eni.id);
        let by = now - Duration::from_millis(self.band_of(card).release_after_ms);
        let calm =
            eni.serves() && !eni.busy && !eni.hands_off && eni.blocked_until <= now && counts.returning == 0;
        let subnet_has_room = !self.exhausted.contains_key(&eni.subnet);
        let (closed, drains) = (!self.takes_pods(eni), self.drains(eni));
        let unit = self.unit_in(&eni.subnet, card);
        let singles = self.pool.singles_on(&eni.id);
        let stale_singles = self.pool.singles_free_since(&eni.id, by).count();
        let mut blocks = Idle::default();
        for block in self.pool.blocks_on(&eni.id) {
            if let Some(since) = block.idle_since {
                blocks.all += 1;
                blocks.stale += u32::from(since <= by);
            }
        }
        let odd = match (unit, self.unit_of(card)) {
            (Unit::Block, _) => singles.free,
            // A makeshift: prefixes are what is wanted, and cannot be had.
            (Unit::Single, Unit::Block) => 0,
            (Unit::Single, Unit::Single) => counts.free - singles.free,
        };
        let taken = self.pool.slots_on(&eni.id) + eni.in_flight.map_or(0, Amount::slots);
        let slots = if closed { 0 } else { self.instance_type.slots_per_eni() };
        EniSupply {
            id: eni.id.clone(),
            ready: eni.serves() && !closed,
            leaving: matches!(eni.phase, Phase::Leaving(_)),
            drains: drains && eni.serves(),
            removable: eni.serves()
                && eni.is_ours()
                && !eni.is_primary()
                && !eni.busy
                && !eni.hands_off
                && counts.returning == 0
                && calls.detach,
            open: calm && calls.assign && subnet_has_room,
            gives: calm && calls.unassign,
            busy: eni.serves()
                && subnet_has_room
                && (eni.busy || counts.returning > 0 || !calls.assign && calls.assign_later),
            unit,
            room: slots.saturating_sub(taken),
            failures: eni.failures,
            free: counts.free,
            odd,
            used: counts.used(),
            last_use: eni.last_use,
            known_since: eni.known_since,
            singles: Idle { all: singles.free, stale: u32::try_from(stale_singles).unwrap_or(u32::MAX) },
            blocks,
        }
    }

    /// The node's pod ceiling: what the operator states, what the strategy answered, or none.
    pub(super) fn max_pods_in_force(&self) -> u32 {
        self.config.max_pods.or(self.max_pods.as_ref().map(|decision| decision.target)).unwrap_or(u32::MAX)
    }

    pub(super) fn assigned(
        &mut self,
        id: &EniId,
        (amount, cause): (Amount, Cause),
        result: Result<CloudReply, CloudError>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let Some(eni) = self.enis.get_mut(id) else { return };
        eni.busy = false;
        eni.in_flight = None;
        eni.changed_at = now;
        let subnet = eni.subnet.clone();
        match result {
            Ok(CloudReply::Assigned(Assigned { addresses, prefixes, ipv6_prefixes: _ })) => {
                eni.failures = 0;
                let why = Why::Grown { call: ASSIGN.name().to_owned(), cause };
                if !prefixes.is_empty() {
                    eni.delegates = true;
                    self.blocks_found(&subnet);
                }
                let singles = addresses
                    .into_iter()
                    .map(|address| Lease::free(address.into(), id.clone(), why.clone(), now));
                let blocks = prefixes.into_iter().flat_map(|block| Lease::free_block(block, id, &why, now));
                for lease in singles.chain(blocks).collect::<Vec<_>>() {
                    self.returned.remove(&lease.address);
                    self.learn_address(lease, now);
                }
                self.journal_eni(id, effects);
                self.serve_waiters(now, effects);
            }
            Ok(
                CloudReply::Enis(_)
                | CloudReply::VpcRanges(_)
                | CloudReply::Subnets(_)
                | CloudReply::Orphans(_)
                | CloudReply::Created(_)
                | CloudReply::Attached(_)
                | CloudReply::Done,
            ) => self.observe_at = now,
            Err(error) => match error.kind {
                CloudErrorKind::NoFreeBlocks | CloudErrorKind::NoFreeAddresses => {
                    self.subnet_short(&subnet, amount, 0, now);
                }
                CloudErrorKind::LimitExceeded | CloudErrorKind::Conflict | CloudErrorKind::Gone => {
                    eni.failures += 1;
                    eni.blocked_until = now + delay(eni.failures, self.next_op);
                    self.observe_at = now;
                }
                CloudErrorKind::Unavailable => {
                    // They may have been assigned: look before asking again.
                    self.observe_at = now;
                    self.restraint.pushback.failed(ASSIGN, error, now, self.next_op);
                }
                CloudErrorKind::Denied | CloudErrorKind::Rejected => {
                    // It may be this ENI alone: the others are tried before it.
                    eni.failures = eni.failures.saturating_add(1);
                    self.restraint.pushback.failed(ASSIGN, error, now, self.next_op);
                }
                CloudErrorKind::Throttled | CloudErrorKind::NotAsked => {
                    self.restraint.pushback.failed(ASSIGN, error, now, self.next_op);
                }
            },
        }
    }

    /// EC2 answered a give-back. Granted, the addresses are gone. Refused before the request
    /// was looked at, they stay, unless an earlier reply was lost. Anything else
    /// leaves them out of service: they are asked for again, or found missing by the next look.
    pub(super) fn unassigned(
        &mut self,
        id: &EniId,
        addresses: Vec<IpAddr>,
        result: Result<CloudReply, CloudError>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let chance = self.next_op;
        let Some(eni) = self.enis.get_mut(id) else { return };
        eni.busy = false;
        eni.changed_at = now;
        match result.map(drop) {
            Ok(()) => {
                eni.in_doubt = false;
                eni.failures = 0;
                for address in addresses {
                    self.pool.forget(address);
                    self.returned.insert(address, now + RETURNED_MEMORY);
                }
                self.journal_eni(id, effects);
            }
            Err(error) => match error.kind {
                CloudErrorKind::Throttled | CloudErrorKind::Denied | CloudErrorKind::NotAsked
                    if !eni.in_doubt =>
                {
                    for address in addresses {
                        self.pool.change(address, |lease| lease.stay(now));
                    }
                    self.restraint.pushback.failed(UNASSIGN, error, now, chance);
                    self.journal_eni(id, effects);
                }
                CloudErrorKind::Unavailable
                | CloudErrorKind::Throttled
                | CloudErrorKind::NotAsked
                | CloudErrorKind::Denied => {
                    eni.in_doubt = true;
                    self.restraint.pushback.failed(UNASSIGN, error, now, chance);
                }
                CloudErrorKind::NoFreeAddresses
                | CloudErrorKind::NoFreeBlocks
                | CloudErrorKind::LimitExceeded
                | CloudErrorKind::Conflict
                | CloudErrorKind::Gone
                | CloudErrorKind::Rejected => {
                    eni.failures = eni.failures.saturating_add(1);
                    eni.blocked_until = now + delay(eni.failures, chance);
                    // What EC2 still lists then, stays.
                    eni.in_doubt = true;
                    self.look_again(now);
                }
            },
        }
    }
}

/// As much of `amount` as a subnet with `free` addresses and so many `blocks` can give, and never nothing: EC2 has the
/// last word.
pub(super) fn within(amount: Amount, free: u32, blocks: u32) -> Amount {
    match amount {
        Amount::Addresses(count) => Amount::Addresses(count.min(free.max(1))),
        Amount::Prefixes(count) => Amount::Prefixes(count.min((free / PREFIX_ADDRESSES).max(1)).min(blocks)),
        Amount::Ipv6Prefixes(count) => Amount::Ipv6Prefixes(count),
    }
}

/// Which calls may be made now.
#[derive(Clone, Copy)]
struct CallsPermitted {
    assign: bool,
    /// Whether waiting helps when assigning is not permitted.
    assign_later: bool,
    unassign: bool,
    /// Whether an ENI that is taken out of service now will leave soon.
    detach: bool,
}
