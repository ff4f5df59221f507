//! What EC2 and the kernel report, reconciled with what the node believes.
//!
//! A view may lag or be partial, so nothing that a pod uses is given up because of one look: what is
//! missing twice and unused is dropped, what is missing twice and used is quarantined.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use super::{MISSES, NodeState, OBSERVE_EVERY, Op};
use crate::cloud::{CloudEni, CloudError, EniAttachment};
use crate::eni::{Eni, Leaving, Phase};
use crate::event::{CloudCall, CloudReply, Effect};
use crate::ids::EniId;
use crate::lease::{Lease, LeaseState};
use crate::report::{Quarantine, Why};
use crate::time::Timestamp;
use crate::wiring::Seat;

/// How often subnets are looked at: their free counts only order choices.
const SUBNETS_EVERY: Duration = Duration::from_secs(300);
/// The least time between two looks, whatever asks for them.
const LOOK_EVERY: Duration = Duration::from_secs(2);

impl NodeState {
    /// Looks at EC2 where a look is due.
    pub(super) fn look(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.backoff.until > now {
            return;
        }
        if self.observe_at <= now && !self.ops.values().any(|op| matches!(op, Op::Enis)) {
            self.observe_at = now + OBSERVE_EVERY;
            self.call(Op::Enis, CloudCall::Enis, effects);
        }
        if self.subnets_at <= now && !self.ops.values().any(|op| matches!(op, Op::Subnets)) {
            self.subnets_at = now + SUBNETS_EVERY;
            self.call(Op::Subnets, CloudCall::Subnets, effects);
        }
    }

    pub(super) fn enis_answered(
        &mut self,
        result: Result<CloudReply, CloudError>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let enis = match result {
            Ok(CloudReply::Enis(enis)) => enis,
            Ok(_) => return,
            Err(error) => {
                self.observe_at = now + LOOK_EVERY;
                return self.back_off(error, now);
            }
        };
        self.unmanaged.clear();
        for cloud in &enis {
            let Some(attachment) = &cloud.attachment else { continue };
            if !cloud.managed {
                self.unmanaged.insert(attachment.seat);
            } else if self.enis.contains_key(&cloud.id) {
                self.compare(cloud, attachment, now, effects);
            } else if !self.is_being_created(cloud) {
                let phase = if attachment.seat == Seat::PRIMARY {
                    Phase::Ready
                } else {
                    Phase::Attaching { since: now }
                };
                let why = if attachment.seat == Seat::PRIMARY {
                    Why::Primary
                } else {
                    Why::Found { eni: cloud.id.clone() }
                };
                self.learn_eni(cloud, attachment.seat, phase, &why, now, effects);
            }
        }
        self.miss_absent(&enis, now, effects);
        self.seen = true;
        self.asking.stale = true;
        self.serve_waiters(now, effects);
    }

    /// An ENI that our own creation made may be listed before its reply arrives: the reply will tell.
    fn is_being_created(&self, cloud: &CloudEni) -> bool {
        let Some(attachment) = &cloud.attachment else { return false };
        self.ops.values().any(|op| matches!(op, Op::Create(creation) if creation.seat == attachment.seat))
    }

    fn compare(&mut self, cloud: &CloudEni, attachment: &EniAttachment, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(eni) = self.enis.get_mut(&cloud.id) else { return };
        eni.missed = 0;
        eni.marked |= attachment.delete_on_termination;
        if eni.phase == Phase::Created {
            // The reply to our attach was lost.
            eni.attachment = Some(attachment.id.clone());
            eni.seat = attachment.seat;
            eni.phase = Phase::Attaching { since: now };
        }
        if eni.busy || eni.phase != Phase::Ready {
            return;
        }
        let mut changed = false;
        for address in &cloud.addresses {
            if self.returned.contains_key(address) {
                continue;
            }
            match self.leases.get_mut(address) {
                None => {
                    let why = Why::Found { eni: cloud.id.clone() };
                    self.leases.insert(*address, Lease::free(*address, cloud.id.clone(), why, now));
                    changed = true;
                }
                Some(lease) => {
                    lease.missed = 0;
                    if let LeaseState::Quarantined { holder, why: Quarantine::NotInCloud { .. } } = &lease.state {
                        lease.state = match holder.clone() {
                            Some(holder) => LeaseState::Bound(holder),
                            None => LeaseState::Free,
                        };
                    }
                }
            }
        }
        let mut gone = Vec::new();
        for lease in self.leases.values_mut().filter(|lease| lease.eni == cloud.id) {
            if cloud.addresses.contains(&lease.address) {
                continue;
            }
            lease.missed = lease.missed.saturating_add(1);
            if lease.missed >= MISSES {
                if missing_for_good(lease) {
                    gone.push(lease.address);
                }
            } else {
                self.observe_at = self.observe_at.min(now + LOOK_EVERY);
            }
        }
        for address in &gone {
            self.leases.remove(address);
        }
        if changed || !gone.is_empty() {
            self.journal_eni(&cloud.id, effects);
        }
    }

    /// ENIs that EC2 does not list (any more) on this instance.
    fn miss_absent(&mut self, enis: &[CloudEni], now: Timestamp, effects: &mut Vec<Effect>) {
        let absent: Vec<EniId> = self
            .enis
            .values_mut()
            .filter(|eni| {
                let settled = !eni.busy
                    && matches!(eni.phase, Phase::Ready | Phase::Attaching { .. } | Phase::Leaving(Leaving::TearingDown));
                settled && !enis.iter().any(|cloud| cloud.id == eni.id)
            })
            .map(|eni| {
                eni.missed = eni.missed.saturating_add(1);
                eni.id.clone()
            })
            .collect();
        for id in absent {
            if self.enis.get(&id).is_some_and(|eni| eni.missed < MISSES) {
                self.observe_at = self.observe_at.min(now + LOOK_EVERY);
                continue;
            }
            let mut in_use = false;
            for lease in self.leases.values_mut().filter(|lease| lease.eni == id) {
                in_use |= !missing_for_good(lease);
            }
            if !in_use {
                self.forget_eni(&id, effects);
            }
        }
    }

    pub(super) fn subnets_answered(
        &mut self,
        result: Result<CloudReply, CloudError>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        match result {
            Ok(CloudReply::Subnets(subnets)) => {
                self.subnets = subnets;
                // What asked for too much may ask for less now; what failed although EC2 reported enough
                // stays blocked for its time.
                self.exhausted.retain(|id, exhausted| {
                    let free = self.subnets.iter().find(|subnet| subnet.id == *id).map_or(0, |subnet| subnet.free);
                    free == 0 || free >= exhausted.asked
                });
                self.asking_subnets = true;
                let (snapshot, subnets) = self.subnet_snapshot(now);
                effects.push(Effect::AskSubnets { snapshot: Box::new(snapshot), subnets });
            }
            Ok(_) => {}
            Err(error) => {
                self.subnets_at = now + LOOK_EVERY;
                self.back_off(error, now);
            }
        }
    }

    /// Pods that the kernel routes to but the journal does not know keep their address out of service.
    pub(super) fn pods_observed(&mut self, pods: &BTreeMap<Ipv4Addr, String>, now: Timestamp) {
        for lease in self.leases.values_mut() {
            let host_veth = pods.get(&lease.address);
            match (&lease.state, host_veth) {
                (LeaseState::Free, Some(host_veth)) => {
                    let why = Quarantine::UnknownPod { host_veth: host_veth.clone() };
                    lease.state = LeaseState::Quarantined { holder: None, why };
                    lease.since = now;
                }
                (LeaseState::Quarantined { holder: None, why: Quarantine::UnknownPod { .. } }, None) => {
                    lease.state = LeaseState::Cooling { until: now + self.config.cooldown };
                    lease.since = now;
                }
                (
                    LeaseState::Free
                    | LeaseState::Reserved(_)
                    | LeaseState::Bound(_)
                    | LeaseState::Unbinding(_)
                    | LeaseState::Cooling { .. }
                    | LeaseState::Returning
                    | LeaseState::Quarantined { .. },
                    _,
                ) => {}
            }
        }
    }

    /// Whether `id` is known and serves pods.
    pub fn eni(&self, id: &EniId) -> Option<&Eni> {
        self.enis.get(id)
    }
}

/// EC2 has not listed the address for long enough. Unused, it can go; used, it is quarantined.
fn missing_for_good(lease: &mut Lease) -> bool {
    match &lease.state {
        LeaseState::Free | LeaseState::Cooling { .. } | LeaseState::Returning => true,
        LeaseState::Quarantined { holder: None, .. } => true,
        LeaseState::Bound(holder) => {
            let why = Quarantine::NotInCloud { eni: lease.eni.clone() };
            lease.state = LeaseState::Quarantined { holder: Some(holder.clone()), why };
            false
        }
        LeaseState::Reserved(_) | LeaseState::Unbinding(_) | LeaseState::Quarantined { holder: Some(_), .. } => false,
    }
}
