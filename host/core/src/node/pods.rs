//! ADD, DEL and CHECK.

use std::net::IpAddr;

use super::queue::Waiter;
use super::{CLOCK_SKEW, Cards, MAX_WAITERS, NodeState, PodWork};
use crate::event::{Answer, Effect, Nics, OpId, Record, Refusal, Ticket};
use crate::ids::{Attachment, IfName};
use crate::lease::{Holder, LeaseState};
use crate::plan::Unit;
use crate::proposal::Placement;
use crate::report::WaitReason;
use crate::time::Timestamp;
use crate::wiring::{Families, MAIN_TABLE, PodLink, PodWiring, SecondAddress, host_veth};

impl NodeState {
    pub(super) fn add(&mut self, mut waiter: Waiter, now: Timestamp, effects: &mut Vec<Effect>) {
        let answer = |answer| Effect::Answer { ticket: waiter.ticket, answer };
        if self.stopping {
            effects.push(answer(Answer::TryLater(WaitReason::Stopping)));
            return;
        }
        if self.queue.contains(&waiter.attachment) {
            effects.push(answer(Answer::Refused(Refusal::AlreadyUnderWay(waiter.attachment.clone()))));
            return;
        }
        if let Some(address) = self.pool.of(&waiter.attachment) {
            self.add_again(address, &waiter, effects);
            return;
        }
        if self.queue.len() >= MAX_WAITERS {
            self.demand.pod_failed(now);
            effects.push(answer(Answer::Refused(Refusal::QueueFull { waiting: self.queue.len() })));
            return;
        }
        waiter.deadline = waiter.deadline.min(now + self.config.wait);
        if self.config.cards == Cards::Default {
            waiter.nics = Nics::One;
        }
        self.demand.pod_added(now);
        self.asking.stale = true;
        if !self.queue.is_empty() || !self.has_addresses() {
            self.demand.pod_waited(now);
        }
        self.queue.push(waiter);
        // Served by `settle` at once when an address is free.
    }

    /// The runtime repeats an ADD: the same address, wired again if need be.
    fn add_again(&mut self, address: IpAddr, waiter: &Waiter, effects: &mut Vec<Effect>) {
        let idle = !self.working.contains(&address);
        match self.pool.get(address).map(|lease| &lease.state) {
            Some(LeaseState::Bound(holder) | LeaseState::Quarantined { holder: Some(holder), .. })
                if idle =>
            {
                let wiring = holder.wiring.clone();
                self.wire(address, waiter.ticket, wiring, effects);
            }
            Some(
                LeaseState::Free
                | LeaseState::Reserved(_)
                | LeaseState::Bound(_)
                | LeaseState::Unbinding(_)
                | LeaseState::Cooling { .. }
                | LeaseState::Returning
                | LeaseState::Quarantined { .. },
            )
            | None => effects.push(Effect::Answer {
                ticket: waiter.ticket,
                answer: Answer::Refused(Refusal::AlreadyUnderWay(waiter.attachment.clone())),
            }),
        }
    }

    /// Gives free addresses to those that wait, first come first served. Who wants an interface on every card does not
    /// hold up those that want one while a card has nothing for it.
    pub(super) fn serve_waiters(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        while let Some((attachment, wiring)) = self.next_served() {
            let Some(waiter) = self.queue.remove(&attachment) else { return };
            self.reserve(waiter, wiring, now, effects);
        }
    }

    fn next_served(&self) -> Option<(Attachment, PodWiring)> {
        let mut none_for: Vec<Nics> = Vec::new();
        for waiter in self.queue.iter() {
            if none_for.contains(&waiter.nics) {
                continue;
            }
            if let Some(wiring) = self.wiring_for(waiter) {
                return Some((waiter.attachment.clone(), wiring));
            }
            none_for.push(waiter.nics);
            // What one interface lacks, several lack too.
            if waiter.nics == Nics::One || self.config.cards == Cards::Default {
                break;
            }
        }
        None
    }

    /// Whether a pod that wants one interface would be served now.
    pub(super) fn has_addresses(&self) -> bool {
        self.pick_all(Nics::One).is_some()
    }

    /// The addresses of a pod's first interface; `None` while it has to wait for one of them.
    fn pick_all(&self, nics: Nics) -> Option<Picked> {
        // Until the kernel has been seen, an address that looks free may be that of a pod nobody remembers.
        if !self.reconcile.has_begun() {
            return None;
        }
        let families = self.config.families;
        let default = self.instance_type.default_card;
        let elsewhere = || self.overflow().filter(|_| nics == Nics::One);
        let ipv4 = if families.ipv4() { Some(self.pick(default).or_else(elsewhere)?) } else { None };
        let ipv6 = if families.ipv6() { Some(IpAddr::V6(self.pick_ipv6()?)) } else { None };
        let translated = self.config.egress && families != Families::DualStack;
        let node_local = if translated { Some(self.pick_node_local()?) } else { None };
        Some(Picked { ipv4, ipv6, node_local })
    }

    /// How a pod would be wired now; `None` while it has to wait for an address.
    fn wiring_for(&self, waiter: &Waiter) -> Option<PodWiring> {
        let default = self.instance_type.default_card;
        let Picked { ipv4, ipv6, node_local } = self.pick_all(waiter.nics)?;
        let link = |index: usize, ifname: IfName, address: IpAddr, second| PodLink {
            host_veth: self.link_for(waiter, index),
            ifname,
            address,
            table: self.table_of(address),
            mtu: self.config.pod_mtu,
            second,
        };
        let second = ipv6.filter(|_| ipv4.is_some()).or(node_local).map(|address| SecondAddress {
            address,
            table: MAIN_TABLE,
            node_local: node_local.is_some(),
        });
        let first = link(0, waiter.attachment.ifname.clone(), ipv4.or(ipv6)?, second);
        let mut further = Vec::new();
        if waiter.nics == Nics::EveryCard && self.config.cards == Cards::Every && ipv4.is_some() {
            for (index, card) in self.cards_in_use().into_iter().filter(|card| *card != default).enumerate() {
                let ifname = format!("mNicIf{}", index + 1);
                let ifname = ifname.parse().expect("invariant: a card's number has few digits");
                further.push(link(index + 1, ifname, self.pick(card)?, None));
            }
        }
        Some(PodWiring { first, further })
    }

    /// The route table of the ENI that owns an address.
    fn table_of(&self, address: IpAddr) -> u32 {
        let lease = self.pool.get(address);
        let eni = lease.and_then(|lease| self.enis.get(&lease.eni));
        eni.map_or(MAIN_TABLE, |eni| eni.seat.table())
    }

    fn reserve(&mut self, waiter: Waiter, wiring: PodWiring, now: Timestamp, effects: &mut Vec<Effect>) {
        let key = wiring.key();
        let holder = Holder {
            attachment: waiter.attachment,
            pod: waiter.pod,
            wiring: wiring.clone(),
            asked: waiter.asked,
            netns: waiter.netns,
        };
        for address in wiring.leased() {
            if let IpAddr::V6(address) = address {
                self.draw_ipv6(address, now);
            }
            let reserved = self.pool.change(address, |lease| lease.reserve(holder.clone(), now));
            assert!(matches!(reserved, Some(Ok(()))), "only free addresses are picked");
            self.touch(address, now);
        }
        if let Some(second) = wiring.first.second.filter(|second| second.node_local) {
            self.drew_node_local(second.address);
        }
        effects.push(Effect::Journal(vec![holder.reservation()]));
        self.wire(key, waiter.ticket, wiring, effects);
    }

    fn wire(&mut self, key: IpAddr, ticket: Ticket, wiring: PodWiring, effects: &mut Vec<Effect>) {
        let op = self.op();
        self.working.insert(key);
        self.pod_work.insert(op, PodWork::Wire { address: key, ticket });
        effects.push(Effect::Wire { op, ticket, wiring });
    }

    /// The incumbent's name for the pod's veth, or, when an older sandbox of the same pod still has that
    /// one, a name of the attachment's own: a late DEL of the old must not find the new.
    fn link_for(&self, waiter: &Waiter, index: usize) -> IfName {
        let name = host_veth(&self.config.veth_prefix, waiter.pod.as_ref(), &waiter.attachment, index);
        let strange = || self.strangers.values().any(|link| link == name.as_str());
        if self.pool.uses_link(&name) || strange() {
            host_veth(&self.config.veth_prefix, None, &waiter.attachment, index)
        } else {
            name
        }
    }

    /// The next pod's IPv4 address on a card. First of the kind that the node's mode asks for; then, packing, from the
    /// fullest prefix and the fullest ENI, or, spreading, from the emptiest ENI; there, the one that has been
    /// free the longest.
    pub(super) fn pick(&self, card: u32) -> Option<IpAddr> {
        if self.pool.counts().free == 0 {
            return None;
        }
        let placement = self.target().placement;
        let wanted = self.unit_of(card);
        let serving = self.enis.values().filter(|eni| eni.serves() && self.is_on(eni.seat, card));
        let offers = serving.filter(|eni| self.takes_pods(eni)).flat_map(|eni| {
            let held = self.pool.counts_on(&eni.id).held;
            let single = self.pool.oldest_free_single(&eni.id).map(|address| (Unit::Single, 0, address));
            let block = self.pool.fullest_open_block(&eni.id);
            let block = block.map(|(used, address)| (Unit::Block, used, address));
            [single, block].into_iter().flatten().map(move |(unit, used, address)| {
                let fullness = match placement {
                    Placement::Pack => (u32::MAX - used, u32::MAX - held),
                    Placement::Spread => (held, u32::MAX - used),
                };
                ((unit != wanted, fullness, eni.seat), address)
            })
        });
        offers.min().map(|(_, address)| address)
    }

    /// An address on a further card, for a pod that the default card has nothing for and can have nothing for.
    fn overflow(&self) -> Option<IpAddr> {
        let default = self.instance_type.default_card;
        let mut cards = self.cards_in_use().into_iter().filter(|card| *card != default).peekable();
        cards.peek()?;
        let crammed = self.enis_counted(default) >= self.usable_enis(default) && !self.has_room(default);
        if crammed { cards.find_map(|card| self.pick(card)) } else { None }
    }

    /// Tells those whose time is up why they got nothing.
    pub(super) fn expire_waiters(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.queue.first_deadline().is_none_or(|deadline| deadline > now) {
            return;
        }
        let reason = self.wait_reason(now);
        for waiter in self.queue.expire(now) {
            self.demand.pod_failed(now);
            effects.push(Effect::Answer { ticket: waiter.ticket, answer: Answer::TryLater(reason.clone()) });
        }
    }

    pub(super) fn wired(
        &mut self,
        op: OpId,
        result: Result<(), String>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let Some(PodWork::Wire { address, ticket }) = self.take_pod_work(op, PodWork::is_wire) else {
            return;
        };
        let Some(lease) = self.pool.get(address) else { return };
        let Some(holder) = lease.state.holder().cloned() else { return };
        let first_time = matches!(lease.state, LeaseState::Reserved(_));
        if self.deleting.contains_key(&address) {
            let refusal = Refusal::DeletedMeanwhile(holder.attachment);
            effects.push(Effect::Answer { ticket, answer: Answer::Refused(refusal) });
            self.unwire(address, now, effects);
            return;
        }
        match result {
            Ok(()) => {
                if first_time {
                    for leased in holder.wiring.leased() {
                        let bound = self.pool.change(leased, |lease| lease.bind(now));
                        assert!(matches!(bound, Some(Ok(()))), "a reserved address can be bound");
                    }
                    effects.push(Effect::Journal(vec![Record::Bound { address, at: now }]));
                }
                effects.push(Effect::Answer { ticket, answer: Answer::Added(Box::new(holder)) });
                self.demand.pods_bound(now, self.pool.pods());
            }
            Err(why) => {
                // Nothing of it was left in the kernel, so no packet of it is under way: nothing has to
                // cool. The next pod gets the address that has been free the longest, so not this one
                // while there is another.
                if first_time {
                    self.free_up(address, now, now, effects);
                    self.demand.pod_failed(now);
                }
                effects.push(Effect::Answer {
                    ticket,
                    answer: Answer::Refused(Refusal::Kernel { address, why }),
                });
            }
        }
    }

    /// Kernel work that is done, unless it is not under way or of another kind.
    pub(super) fn take_pod_work(&mut self, op: OpId, expected: impl Fn(&PodWork) -> bool) -> Option<PodWork> {
        if !self.pod_work.get(&op).is_some_and(expected) {
            return None;
        }
        let work = self.pod_work.remove(&op)?;
        self.working.remove(&work.address());
        // What a look missed before says nothing about what was just wired.
        self.unseen.remove(&work.address());
        Some(work)
    }

    pub(super) fn del(
        &mut self,
        ticket: Ticket,
        attachment: &Attachment,
        issued: Option<Timestamp>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let meant = |asked: Timestamp| issued.is_none_or(|issued| asked <= issued + CLOCK_SKEW);
        let waiting = self.queue.get(attachment).is_some_and(|waiter| meant(waiter.asked));
        if waiting && let Some(waiter) = self.queue.remove(attachment) {
            let refusal = Refusal::DeletedMeanwhile(attachment.clone());
            effects.push(Effect::Answer { ticket: waiter.ticket, answer: Answer::Refused(refusal) });
        }
        let held = self.pool.of(attachment).filter(|address| {
            let holder = self.pool.get(*address).and_then(|lease| lease.state.holder());
            holder.is_some_and(|holder| meant(holder.asked))
        });
        let Some(address) = held else {
            effects.push(Effect::Answer { ticket, answer: Answer::Deleted });
            return;
        };
        self.deleting.entry(address).or_default().push(ticket);
        if !self.working.contains(&address) {
            self.unwire(address, now, effects);
        }
    }

    pub(super) fn unwire(&mut self, address: IpAddr, now: Timestamp, effects: &mut Vec<Effect>) {
        let unbound = self.leased_with(address).into_iter().rev().map(|leased| {
            // The address that stands for the pod comes last.
            self.pool.change(leased, |lease| lease.unbind(now))
        });
        match unbound.last().flatten() {
            Some(Ok(wiring)) => {
                let op = self.op();
                self.working.insert(address);
                self.pod_work.insert(op, PodWork::Unwire { address });
                effects.push(Effect::Unwire { op, wiring });
            }
            Some(Err(_)) | None => self.deleted(address, Ok(()), effects),
        }
    }

    pub(super) fn unwired(
        &mut self,
        op: OpId,
        result: Result<(), String>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let Some(PodWork::Unwire { address }) = self.take_pod_work(op, PodWork::is_unwire) else { return };
        if result.is_ok() {
            self.demand.pod_removed(now);
            self.free_up(address, now + self.config.cooldown, now, effects);
        } else {
            // Still the pod's: the runtime repeats its DEL.
            for leased in self.leased_with(address) {
                self.pool.change(leased, |lease| lease.keep(now));
            }
        }
        self.deleted(address, result, effects);
    }

    fn deleted(&mut self, address: IpAddr, result: Result<(), String>, effects: &mut Vec<Effect>) {
        self.collected(address, result.as_ref().copied().map_err(String::as_str), effects);
        let answer = match result {
            Ok(()) => Answer::Deleted,
            Err(why) => Answer::Refused(Refusal::Kernel { address, why }),
        };
        for ticket in self.deleting.remove(&address).unwrap_or_default() {
            effects.push(Effect::Answer { ticket, answer: answer.clone() });
        }
    }

    /// The address leaves its pod and cools down until `cool_until`.
    fn free_up(&mut self, address: IpAddr, cool_until: Timestamp, now: Timestamp, effects: &mut Vec<Effect>) {
        for leased in self.leased_with(address) {
            if !matches!(self.pool.change(leased, |lease| lease.cool(cool_until, now)), Some(Ok(()))) {
                continue;
            }
            effects.push(Effect::Journal(vec![Record::Released { address: leased, cool_until }]));
            self.touch(leased, now);
            if cool_until > now {
                continue;
            }
            let ended =
                self.pool.get(leased).filter(|lease| lease.ends_with_pod()).map(|lease| lease.eni.clone());
            if let Some(eni) = ended {
                self.pool.forget(leased);
                if leased.is_ipv4() {
                    // The next life must not take it for a free one.
                    self.journal_eni(&eni, effects);
                }
            }
        }
        self.asking.stale = true;
    }

    /// All addresses of the VPC that the pod has for which `key` stands, that one first.
    pub(super) fn leased_with(&self, key: IpAddr) -> Vec<IpAddr> {
        let holder = self.pool.get(key).and_then(|lease| lease.state.holder());
        holder.map_or_else(|| vec![key], |holder| holder.wiring.leased().collect())
    }

    pub(super) fn check(&mut self, ticket: Ticket, attachment: &Attachment, effects: &mut Vec<Effect>) {
        let lease = self.pool.of(attachment).and_then(|address| self.pool.get(address));
        match lease.map(|lease| &lease.state) {
            Some(LeaseState::Bound(holder) | LeaseState::Quarantined { holder: Some(holder), .. }) => {
                effects.push(Effect::Check { ticket, wiring: holder.wiring.clone() });
            }
            Some(
                LeaseState::Free
                | LeaseState::Reserved(_)
                | LeaseState::Unbinding(_)
                | LeaseState::Cooling { .. }
                | LeaseState::Returning
                | LeaseState::Quarantined { holder: None, .. },
            )
            | None => {
                let refusal = Refusal::UnknownAttachment(attachment.clone());
                effects.push(Effect::Answer { ticket, answer: Answer::Refused(refusal) });
            }
        }
    }

    pub(super) fn stop(&mut self, effects: &mut Vec<Effect>) {
        self.stopping = true;
        while let Some(waiter) = self.queue.pop() {
            let answer = Answer::TryLater(WaitReason::Stopping);
            effects.push(Effect::Answer { ticket: waiter.ticket, answer });
        }
    }

    /// The ENI of an address was used.
    fn touch(&mut self, address: IpAddr, now: Timestamp) {
        let eni = self.pool.get(address).map(|lease| &lease.eni);
        if let Some(eni) = eni.and_then(|eni| self.enis.get_mut(eni)) {
            eni.last_use = now;
        }
    }
}

/// The addresses that a pod's first interface would get.
struct Picked {
    ipv4: Option<IpAddr>,
    ipv6: Option<IpAddr>,
    node_local: Option<IpAddr>,
}

impl PodWork {
    fn address(&self) -> IpAddr {
        match self {
            PodWork::Wire { address, .. } | PodWork::Unwire { address } | PodWork::Repair { address } => {
                *address
            }
        }
    }

    fn is_wire(&self) -> bool {
        matches!(self, PodWork::Wire { .. })
    }

    pub(super) fn is_repair(&self) -> bool {
        matches!(self, PodWork::Repair { .. })
    }

    fn is_unwire(&self) -> bool {
        matches!(self, PodWork::Unwire { .. })
    }
}
