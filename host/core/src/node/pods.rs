//! ADD, DEL and CHECK.

use std::net::Ipv4Addr;

use super::queue::Waiter;
use super::{CLOCK_SKEW, MAX_WAITERS, NodeState, PodWork};
use crate::event::{Answer, Effect, OpId, Record, Refusal, Ticket};
use crate::ids::{Attachment, EniId, IfName};
use crate::lease::{Holder, LeaseState};
use crate::proposal::Placement;
use crate::report::WaitReason;
use crate::time::Timestamp;
use crate::wiring::{PodWiring, host_veth};

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
        self.demand.pod_added(now);
        self.asking.stale = true;
        if !self.queue.is_empty() || self.pick().is_none() {
            self.demand.pod_waited(now);
        }
        self.queue.push(waiter);
        // Served by `settle` at once when an address is free.
    }

    /// The runtime repeats an ADD: the same address, wired again if need be.
    fn add_again(&mut self, address: Ipv4Addr, waiter: &Waiter, effects: &mut Vec<Effect>) {
        let idle = !self.working.contains(&address);
        match self.pool.get(address).map(|lease| &lease.state) {
            Some(LeaseState::Bound(holder)) if idle => {
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

    /// Gives free addresses to those that wait, first come first served.
    pub(super) fn serve_waiters(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        while !self.queue.is_empty() {
            let Some(address) = self.pick() else { return };
            let Some(waiter) = self.queue.pop() else { return };
            self.reserve(waiter, address, now, effects);
        }
    }

    fn reserve(&mut self, waiter: Waiter, address: Ipv4Addr, now: Timestamp, effects: &mut Vec<Effect>) {
        let lease = self.pool.get(address).expect("invariant: only addresses of the pool are picked");
        let eni = self.enis.get_mut(&lease.eni).expect("invariant: every lease is on an ENI of the node");
        eni.last_use = now;
        let table = eni.seat.table();
        let wiring = PodWiring {
            host_veth: self.link_for(&waiter),
            ifname: waiter.attachment.ifname.clone(),
            address,
            table,
            mtu: self.config.pod_mtu,
        };
        let holder = Holder {
            attachment: waiter.attachment,
            pod: waiter.pod,
            wiring: wiring.clone(),
            asked: waiter.asked,
        };
        let reserved = self.pool.change(address, |lease| lease.reserve(holder.clone(), now));
        assert!(matches!(reserved, Some(Ok(()))), "only free addresses are picked");
        effects.push(Effect::Journal(vec![Record::Reserved { address, holder }]));
        self.wire(address, waiter.ticket, wiring, effects);
    }

    fn wire(&mut self, address: Ipv4Addr, ticket: Ticket, wiring: PodWiring, effects: &mut Vec<Effect>) {
        let op = self.op();
        self.working.insert(address);
        self.pod_work.insert(op, PodWork::Wire { address, ticket });
        effects.push(Effect::Wire { op, ticket, wiring });
    }

    /// The incumbent's name for the pod's veth, or, when an older sandbox of the same pod still has that
    /// one, a name of the attachment's own: a late DEL of the old must not find the new.
    fn link_for(&self, waiter: &Waiter) -> IfName {
        let name = host_veth(&self.config.veth_prefix, waiter.pod.as_ref(), &waiter.attachment);
        let strange = || self.strangers.values().any(|link| link == name.as_str());
        if self.pool.uses_link(&name) || strange() {
            host_veth(&self.config.veth_prefix, None, &waiter.attachment)
        } else {
            name
        }
    }

    /// The next pod's address: from the fullest ENI or the emptiest, as the band says; on it, the one that
    /// has been free the longest.
    pub(super) fn pick(&self) -> Option<Ipv4Addr> {
        if self.pool.counts().free == 0 {
            return None;
        }
        let placement = self.target().placement;
        let serving = self.enis.values().filter(|eni| eni.serves());
        let (eni, _) = serving
            .map(|eni| (eni, self.pool.counts_on(&eni.id)))
            .filter(|(_, counts)| counts.free > 0)
            .min_by_key(|(eni, counts)| match placement {
                Placement::Pack => (u32::MAX - counts.held, eni.seat),
                Placement::Spread => (counts.held, eni.seat),
            })?;
        self.pool.oldest_free(&eni.id)
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
                    let bound = self.pool.change(address, |lease| lease.bind(now));
                    assert!(matches!(bound, Some(Ok(()))), "a reserved address can be bound");
                    effects.push(Effect::Journal(vec![Record::Bound { address, at: now }]));
                }
                effects.push(Effect::Answer { ticket, answer: Answer::Added(Box::new(holder)) });
                self.demand.pods_bound(now, self.pool.counts().held);
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
    fn take_pod_work(&mut self, op: OpId, expected: impl Fn(&PodWork) -> bool) -> Option<PodWork> {
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

    pub(super) fn unwire(&mut self, address: Ipv4Addr, now: Timestamp, effects: &mut Vec<Effect>) {
        match self.pool.change(address, |lease| lease.unbind(now)) {
            Some(Ok(wiring)) => {
                let op = self.op();
                self.working.insert(address);
                self.pod_work.insert(op, PodWork::Unwire { address });
                effects.push(Effect::Unwire { op, wiring });
            }
            Some(Err(_)) | None => self.deleted(address, &Answer::Deleted, effects),
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
        let answer = match result {
            Ok(()) => {
                self.demand.pod_removed(now);
                self.free_up(address, now + self.config.cooldown, now, effects);
                Answer::Deleted
            }
            Err(why) => {
                // Still the pod's: the runtime repeats its DEL.
                self.pool.change(address, |lease| lease.keep(now));
                Answer::Refused(Refusal::Kernel { address, why })
            }
        };
        self.deleted(address, &answer, effects);
    }

    fn deleted(&mut self, address: Ipv4Addr, answer: &Answer, effects: &mut Vec<Effect>) {
        for ticket in self.deleting.remove(&address).unwrap_or_default() {
            effects.push(Effect::Answer { ticket, answer: answer.clone() });
        }
    }

    /// The address leaves its pod and cools down until `cool_until`.
    fn free_up(
        &mut self,
        address: Ipv4Addr,
        cool_until: Timestamp,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        if !matches!(self.pool.change(address, |lease| lease.cool(cool_until, now)), Some(Ok(()))) {
            return;
        }
        effects.push(Effect::Journal(vec![Record::Released { address, cool_until }]));
        if let Some(eni) = self.pool.get(address).map(|lease| lease.eni.clone()) {
            self.touch(&eni, now);
        }
        self.asking.stale = true;
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

    fn touch(&mut self, eni: &EniId, now: Timestamp) {
        if let Some(eni) = self.enis.get_mut(eni) {
            eni.last_use = now;
        }
    }
}

impl PodWork {
    fn address(&self) -> Ipv4Addr {
        match self {
            PodWork::Wire { address, .. } | PodWork::Unwire { address } => *address,
        }
    }

    fn is_wire(&self) -> bool {
        matches!(self, PodWork::Wire { .. })
    }

    fn is_unwire(&self) -> bool {
        matches!(self, PodWork::Unwire { .. })
    }
}
