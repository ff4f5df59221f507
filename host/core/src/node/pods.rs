//! ADD, DEL and CHECK, and the queue of ADDs that wait for an address.

use std::collections::VecDeque;
use std::net::Ipv4Addr;

use super::{MAX_WAITERS, NodeState, Op, Waiter};
use crate::eni::Phase;
use crate::event::{Answer, Effect, OpId, Record, Refusal, Ticket};
use crate::ids::{Attachment, EniId};
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
        if self.waiters.iter().any(|other| other.attachment == waiter.attachment) {
            effects.push(answer(Answer::Refused(Refusal::AlreadyUnderWay(waiter.attachment.clone()))));
            return;
        }
        if let Some(address) = self.attachments.get(&waiter.attachment).copied() {
            self.add_again(address, &waiter, effects);
            return;
        }
        if self.waiters.len() >= MAX_WAITERS {
            self.demand.pod_failed(now);
            effects.push(answer(Answer::Refused(Refusal::QueueFull { waiting: self.waiters.len() })));
            return;
        }
        waiter.deadline = waiter.deadline.min(now + self.config.wait);
        self.demand.pod_added(now);
        self.asking.stale = true;
        if !self.waiters.is_empty() || self.pick().is_none() {
            self.demand.pod_waited(now);
        }
        self.waiters.push_back(waiter);
        // Served by `settle` at once when an address is free.
    }

    /// The runtime repeats an ADD: the same address, wired again if need be.
    fn add_again(&mut self, address: Ipv4Addr, waiter: &Waiter, effects: &mut Vec<Effect>) {
        match self.leases.get(&address).map(|lease| &lease.state) {
            Some(LeaseState::Bound(holder)) => {
                let wiring = holder.wiring.clone();
                let op = self.op(Op::Wire { address, ticket: waiter.ticket });
                effects.push(Effect::Wire { op, ticket: waiter.ticket, wiring });
            }
            Some(
                LeaseState::Free
                | LeaseState::Reserved(_)
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
        while !self.waiters.is_empty() {
            let Some(address) = self.pick() else { return };
            if let Some(waiter) = self.waiters.pop_front() {
                self.reserve(waiter, address, now, effects);
            }
        }
    }

    fn reserve(&mut self, waiter: Waiter, address: Ipv4Addr, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(eni) = self.leases.get(&address).and_then(|lease| self.enis.get(&lease.eni)) else { return };
        let wiring = PodWiring {
            host_veth: self.veth_for(&waiter),
            ifname: waiter.attachment.ifname.clone(),
            address,
            table: eni.seat.table(),
            mtu: self.config.pod_mtu,
        };
        let holder = Holder { attachment: waiter.attachment, pod: waiter.pod, wiring: wiring.clone() };
        let Some(lease) = self.leases.get_mut(&address) else { return };
        if lease.reserve(holder.clone(), now).is_err() {
            return;
        }
        let eni = lease.eni.clone();
        self.touch(&eni, now);
        self.attachments.insert(holder.attachment.clone(), address);
        effects.push(Effect::Journal(vec![Record::Reserved { address, holder }]));
        let op = self.op(Op::Wire { address, ticket: waiter.ticket });
        effects.push(Effect::Wire { op, ticket: waiter.ticket, wiring });
    }

    /// The incumbent's name for the pod's veth, or, when an older sandbox of the same pod still has that
    /// one, a name of the attachment's own: a late DEL of the old must not find the new.
    fn veth_for(&self, waiter: &Waiter) -> crate::ids::IfName {
        let name = host_veth(&self.config.veth_prefix, waiter.pod.as_ref(), &waiter.attachment);
        let taken = self.leases.values().filter_map(|lease| lease.state.holder()).any(|h| h.wiring.host_veth == name);
        if taken { host_veth(&self.config.veth_prefix, None, &waiter.attachment) } else { name }
    }

    /// The next pod's address: from the fullest ENI or the emptiest, as the band says; on it, the one that
    /// has been free the longest.
    fn pick(&self) -> Option<Ipv4Addr> {
        let placement = self.target().placement;
        let serving = self.enis.values().filter(|eni| eni.phase == Phase::Ready);
        let eni = serving
            .filter_map(|eni| {
                let (mut free, mut held) = (0u32, 0u32);
                for lease in self.leases.values().filter(|lease| lease.eni == eni.id) {
                    free += u32::from(lease.is_free());
                    held += u32::from(lease.is_held());
                }
                (free > 0).then_some((eni, held))
            })
            .min_by_key(|(eni, held)| match placement {
                Placement::Pack => (u32::MAX - held, eni.seat),
                Placement::Spread => (*held, eni.seat),
            })?
            .0;
        let free = self.leases.values().filter(|lease| lease.eni == eni.id && lease.is_free());
        free.min_by_key(|lease| (lease.since, lease.address)).map(|lease| lease.address)
    }

    /// Tells those whose time is up why they got nothing.
    pub(super) fn expire_waiters(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if !self.waiters.iter().any(|waiter| waiter.deadline <= now) {
            return;
        }
        let reason = self.wait_reason(now);
        let (expired, waiting): (VecDeque<_>, VecDeque<_>) =
            self.waiters.drain(..).partition(|waiter| waiter.deadline <= now);
        self.waiters = waiting;
        for waiter in expired {
            self.demand.pod_failed(now);
            effects.push(Effect::Answer { ticket: waiter.ticket, answer: Answer::TryLater(reason.clone()) });
        }
    }

    pub(super) fn wired(&mut self, op: OpId, result: Result<(), String>, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(Op::Wire { address, ticket }) = self.ops.remove(&op) else { return };
        let Some(lease) = self.leases.get_mut(&address) else { return };
        let Some(holder) = lease.state.holder().cloned() else { return };
        let was_bound = matches!(lease.state, LeaseState::Bound(_));
        if self.deleting.contains_key(&address) {
            let refusal = Refusal::DeletedMeanwhile(holder.attachment.clone());
            effects.push(Effect::Answer { ticket, answer: Answer::Refused(refusal) });
            self.unwire(address, now, effects);
            return;
        }
        match result {
            Ok(()) => {
                if !was_bound {
                    if lease.bind(now).is_err() {
                        return;
                    }
                    effects.push(Effect::Journal(vec![Record::Bound { address, at: now }]));
                }
                effects.push(Effect::Answer { ticket, answer: Answer::Added(Box::new(holder)) });
                let bound = self.held_addresses();
                self.demand.pods_bound(now, bound);
            }
            Err(why) => {
                // Nothing of it is in the kernel, so no packet of it is under way: but the peer may have
                // been told, and cooling costs nothing.
                if !was_bound {
                    self.free_up(address, now, effects);
                    self.demand.pod_failed(now);
                }
                effects.push(Effect::Answer { ticket, answer: Answer::Refused(Refusal::Kernel { address, why }) });
            }
        }
    }

    pub(super) fn del(
        &mut self,
        ticket: Ticket,
        attachment: &Attachment,
        issued: Option<Timestamp>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(at) = self.waiters.iter().position(|waiter| waiter.attachment == *attachment) {
            if let Some(waiter) = self.waiters.remove(at) {
                let refusal = Refusal::DeletedMeanwhile(attachment.clone());
                effects.push(Effect::Answer { ticket: waiter.ticket, answer: Answer::Refused(refusal) });
            }
        }
        let Some(address) = self.attachments.get(attachment).copied() else {
            effects.push(Effect::Answer { ticket, answer: Answer::Deleted });
            return;
        };
        let bound_since = self.leases.get(&address).map_or(now, |lease| lease.since);
        if issued.is_some_and(|issued| issued < bound_since) {
            effects.push(Effect::Answer { ticket, answer: Answer::Deleted });
            return;
        }
        self.deleting.entry(address).or_default().push(ticket);
        let under_way = self.ops.values().any(|op| match op {
            Op::Wire { address: other, .. } | Op::Unwire { address: other } => *other == address,
            Op::Enis
            | Op::Subnets
            | Op::Create(_)
            | Op::Attach { .. }
            | Op::Mark { .. }
            | Op::SetUp { .. }
            | Op::TearDown { .. }
            | Op::Detach { .. }
            | Op::Delete { .. }
            | Op::Assign { .. }
            | Op::Unassign { .. } => false,
        });
        if !under_way {
            self.unwire(address, now, effects);
        }
    }

    fn unwire(&mut self, address: Ipv4Addr, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(lease) = self.leases.get_mut(&address) else { return };
        let Ok(holder) = lease.unbind(now) else { return };
        let wiring = holder.wiring.clone();
        let op = self.op(Op::Unwire { address });
        effects.push(Effect::Unwire { op, wiring });
    }

    pub(super) fn unwired(&mut self, op: OpId, result: Result<(), String>, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(Op::Unwire { address }) = self.ops.remove(&op) else { return };
        let tickets = self.deleting.remove(&address).unwrap_or_default();
        let answer = match result {
            Ok(()) => {
                self.demand.pod_removed(now);
                self.free_up(address, now, effects);
                Answer::Deleted
            }
            Err(why) => {
                if let Some(lease) = self.leases.get_mut(&address) {
                    // Still the pod's: the runtime repeats its DEL.
                    let _impossible = lease.keep(now);
                }
                Answer::Refused(Refusal::Kernel { address, why })
            }
        };
        for ticket in tickets {
            effects.push(Effect::Answer { ticket, answer: answer.clone() });
        }
    }

    /// The address leaves its pod and cools down.
    fn free_up(&mut self, address: Ipv4Addr, now: Timestamp, effects: &mut Vec<Effect>) {
        let cool_until = now + self.config.cooldown;
        let Some(lease) = self.leases.get_mut(&address) else { return };
        let holder = lease.state.holder().cloned();
        if lease.cool(cool_until, now).is_err() {
            return;
        }
        let eni = lease.eni.clone();
        if let Some(holder) = holder {
            self.attachments.remove(&holder.attachment);
        }
        effects.push(Effect::Journal(vec![Record::Released { address, cool_until }]));
        self.touch(&eni, now);
        self.asking.stale = true;
    }

    pub(super) fn check(&mut self, ticket: Ticket, attachment: &Attachment, effects: &mut Vec<Effect>) {
        let bound = self.attachments.get(attachment).and_then(|address| self.leases.get(address));
        match bound.map(|lease| &lease.state) {
            Some(LeaseState::Bound(holder)) => {
                effects.push(Effect::Check { ticket, wiring: holder.wiring.clone() });
            }
            Some(
                LeaseState::Free
                | LeaseState::Reserved(_)
                | LeaseState::Unbinding(_)
                | LeaseState::Cooling { .. }
                | LeaseState::Returning
                | LeaseState::Quarantined { .. },
            )
            | None => {
                let refusal = Refusal::UnknownAttachment(attachment.clone());
                effects.push(Effect::Answer { ticket, answer: Answer::Refused(refusal) });
            }
        }
    }

    pub(super) fn stop(&mut self, effects: &mut Vec<Effect>) {
        self.stopping = true;
        for waiter in self.waiters.drain(..) {
            effects.push(Effect::Answer { ticket: waiter.ticket, answer: Answer::TryLater(WaitReason::Stopping) });
        }
    }

    pub(super) fn touch(&mut self, eni: &EniId, now: Timestamp) {
        if let Some(eni) = self.enis.get_mut(eni) {
            eni.last_use = now;
        }
    }

    pub(super) fn held_addresses(&self) -> u32 {
        u32::try_from(self.leases.values().filter(|lease| lease.is_held()).count()).unwrap_or(u32::MAX)
    }
}
