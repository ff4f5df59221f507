//! What EC2 and the kernel report, reconciled with what the node believes.
//!
//! A view may lag or be partial, so nothing that a pod uses is given up because of one look: what is
//! missing twice and unused is dropped, what is missing twice and used is quarantined. A view older than
//! the last change of an ENI says nothing about it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::enis::leases_of;
use super::{Cards, LINGER, NodeState, OBSERVE_EVERY, Provisioning, Purpose, RETURNED_MEMORY};
use crate::cloud::{CloudEni, CloudError, EniAttachment};
use crate::eni::{Eni, Leaving, MISSES, Phase};
use crate::event::{Api, CloudCall, CloudReply, Effect};
use crate::ids::{EniId, SecurityGroupId, SubnetId};
use crate::lease::{Lease, LeaseState};
use crate::report::{Quarantine, Why};
use crate::time::Timestamp;
use crate::wiring::Seat;

/// How often the VPC's ranges are looked at: in metadata, which costs nothing at EC2.
const RANGES_EVERY: Duration = Duration::from_secs(30);
/// How often ENIs are looked at where metadata alone tells of them.
const METADATA_EVERY: Duration = Duration::from_secs(10);
/// How often subnets are looked at: their free counts only order choices.
const SUBNETS_EVERY: Duration = Duration::from_secs(300);
/// The least time between two looks, whatever asks for them.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Failures in a row after which a subnet is left alone for its whole time, whatever EC2 reports.
const LAST_CHANCE: u32 = 3;

/// What is looked at in EC2, out of one budget; in the order of importance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Look {
    Enis,
    Subnets,
    Orphans,
}

impl NodeState {
    /// Looks at EC2 where a look is due.
    pub(super) fn look(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.next_ranges_look(now).is_some_and(|at| at <= now) {
            self.ranges_at = now + RANGES_EVERY;
            self.call(Purpose::VpcRanges, CloudCall::VpcRanges, now, effects);
        }
        // In a large cluster there is one call for all of these now and then: what has been due the longest has it.
        let mut looks = [
            (self.observe_at, Look::Enis),
            (self.subnets_at, Look::Subnets),
            (self.sweep_due(), Look::Orphans),
        ];
        looks.sort();
        for (_, look) in looks {
            if self.next_look(look, now).is_some_and(|at| at <= now) {
                self.begin_look(look, now, effects);
            }
        }
    }

    fn next_look(&self, look: Look, now: Timestamp) -> Option<Timestamp> {
        match look {
            Look::Enis => self.next_enis_look(now),
            Look::Subnets => self.next_subnets_look(now),
            Look::Orphans => self.next_sweep(now),
        }
    }

    fn begin_look(&mut self, look: Look, now: Timestamp, effects: &mut Vec<Effect>) {
        match look {
            Look::Enis => {
                self.observe_at = now + self.enis_look_every();
                self.call(Purpose::Enis { asked: now }, self.enis_look(), now, effects);
            }
            Look::Subnets => {
                self.subnets_at = now + SUBNETS_EVERY;
                self.subnets_seen = now;
                self.call(Purpose::Subnets, CloudCall::Subnets, now, effects);
            }
            Look::Orphans => self.look_for_orphans(now, effects),
        }
    }

    /// When EC2 is looked at next; nothing while it is being looked at.
    pub(super) fn looks_due(&self, now: Timestamp) -> impl Iterator<Item = Timestamp> {
        let looks = [self.next_enis_look(now), self.next_subnets_look(now), self.next_ranges_look(now)];
        looks.into_iter().flatten()
    }

    fn next_enis_look(&self, now: Timestamp) -> Option<Timestamp> {
        let under_way = self.calls.values().any(|call| matches!(call.purpose, Purpose::Enis { .. }));
        (!under_way).then(|| self.observe_at.max(self.looked_from(self.enis_look().api(), now)))
    }

    /// Who is asked about the node's ENIs.
    fn enis_look(&self) -> CloudCall {
        match self.config.provisioning {
            Provisioning::Full | Provisioning::LookOnly => CloudCall::Enis,
            Provisioning::MetadataOnly => CloudCall::MetadataEnis,
        }
    }

    /// Metadata costs nothing and nobody else says what was provided.
    fn enis_look_every(&self) -> Duration {
        match self.config.provisioning {
            Provisioning::Full | Provisioning::LookOnly => OBSERVE_EVERY,
            Provisioning::MetadataOnly => METADATA_EVERY,
        }
    }

    fn next_ranges_look(&self, now: Timestamp) -> Option<Timestamp> {
        let under_way = self.calls.values().any(|call| matches!(call.purpose, Purpose::VpcRanges));
        (!under_way).then(|| self.ranges_at.max(self.looked_from(Api::Metadata, now)))
    }

    fn next_subnets_look(&self, now: Timestamp) -> Option<Timestamp> {
        let under_way = self.calls.values().any(|call| matches!(call.purpose, Purpose::Subnets));
        let unasked = self.config.provisioning == Provisioning::MetadataOnly;
        (!under_way && !unasked).then(|| self.subnets_at.max(self.looked_from(Api::DescribeSubnets, now)))
    }

    /// When a look may be made.
    fn looked_from(&self, api: Api, now: Timestamp) -> Timestamp {
        self.restraint.until(api, self.urgency(), now)
    }

    pub(super) fn enis_answered(
        &mut self,
        asked: Timestamp,
        result: Result<CloudReply, CloudError>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let enis = match result {
            // An instance always has its primary ENI: a view without it is not a view of this node.
            Ok(CloudReply::Enis(enis)) if enis.iter().any(|eni| eni.id == self.identity.primary_eni) => enis,
            Ok(
                CloudReply::Enis(_)
                | CloudReply::VpcRanges(_)
                | CloudReply::Subnets(_)
                | CloudReply::Orphans(_)
                | CloudReply::Created(_)
                | CloudReply::Attached(_)
                | CloudReply::Assigned(_)
                | CloudReply::Done,
            ) => {
                self.look_again(now);
                return;
            }
            Err(error) => {
                self.look_again(now);
                self.restraint.pushback.failed(self.enis_look().api(), error, now, self.next_op);
                return;
            }
        };
        self.unmanaged.clear();
        for cloud in &enis {
            let Some(attachment) = &cloud.attachment else { continue };
            let managed = self.may_manage(cloud);
            if let Some(eni) = self.enis.get_mut(&cloud.id).filter(|eni| eni.hands_off == managed) {
                eni.hands_off = !managed;
                self.keep(&cloud.id, now, effects);
            }
            if !managed {
                self.unmanaged.insert(attachment.seat);
                self.settle_doubt(&cloud.id, asked, now, effects);
            } else if self.enis.contains_key(&cloud.id) {
                self.compare(cloud, attachment, asked, now, effects);
            } else if !self.has_left(&cloud.id) && !self.is_being_created(cloud) {
                let (phase, why) = if attachment.seat == Seat::PRIMARY {
                    (Phase::Ready, Why::Primary)
                } else {
                    (Phase::Attaching { since: now }, Why::Found { eni: cloud.id.clone() })
                };
                self.learn_eni(cloud, attachment.seat, phase, &why, now, effects);
            }
            if cloud.id == self.identity.primary_eni {
                self.see_primary_groups(&cloud.security_groups, effects);
            }
        }
        self.miss_absent(&enis, asked, now, effects);
        let question = self.max_pods_question(now);
        self.max_pods_asked.take_if(|asked| *asked != question);
        self.seen = true;
        self.asking.stale = true;
        self.serve_waiters(now, effects);
    }

    /// What EC2 was asked to take back from an ENI that is left alone now has not gone by the time of this look.
    fn settle_doubt(&mut self, id: &EniId, asked: Timestamp, now: Timestamp, effects: &mut Vec<Effect>) {
        let settled = |eni: &&mut Eni| eni.in_doubt && asked >= eni.changed_at + LINGER;
        if let Some(eni) = self.enis.get_mut(id).filter(settled) {
            eni.in_doubt = false;
            self.keep(id, now, effects);
        }
    }

    /// Whether an ENI may be used for pods. The primary always may; one that nobody created for them only on a card
    /// that is in use.
    pub(super) fn may_manage(&self, cloud: &CloudEni) -> bool {
        let ours = || cloud.created_for_pods || self.enis.get(&cloud.id).is_some_and(Eni::is_ours);
        let default = self.instance_type.default_card;
        let seat = cloud.attachment.as_ref().map(|attachment| attachment.seat);
        let in_use = self.config.cards == Cards::Every || seat.is_some_and(|seat| self.is_on(seat, default));
        // Metadata knows no tags: what EC2 said before stays.
        let warned = self.config.provisioning == Provisioning::MetadataOnly
            && self.enis.get(&cloud.id).is_some_and(|eni| eni.hands_off);
        if warned {
            return false;
        }
        cloud.id == self.identity.primary_eni
            || cloud.managed && (ours() || self.config.manage_foreign && in_use)
    }

    pub(super) fn look_again(&mut self, now: Timestamp) {
        self.observe_at = self.observe_at.min(now + LOOK_EVERY);
    }

    /// An ENI that our own creation made may be listed before its reply arrives: the reply will tell.
    fn is_being_created(&self, cloud: &CloudEni) -> bool {
        let Some(attachment) = &cloud.attachment else { return false };
        self.config.provisioning == Provisioning::Full
            && self.creations().any(|creation| creation.seat == attachment.seat)
    }

    fn compare(
        &mut self,
        cloud: &CloudEni,
        attachment: &EniAttachment,
        asked: Timestamp,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let changing = self.is_changing(&cloud.id);
        let Some(eni) = self.enis.get_mut(&cloud.id) else { return };
        eni.missed = 0;
        eni.marked |= attachment.delete_on_termination;
        eni.created_for_pods |= cloud.created_for_pods;
        if !cloud.security_groups.is_empty() && !eni.busy && asked >= eni.changed_at {
            eni.security_groups.clone_from(&cloud.security_groups);
        }
        match eni.phase {
            Phase::Created => {
                // The reply to our attach was lost, or is on its way.
                eni.attachment.clone_from(&attachment.id);
                eni.seat = attachment.seat;
                eni.phase = Phase::Attaching { since: now };
                self.journal_eni(&cloud.id, effects);
            }
            Phase::Leaving(Leaving::Deleting)
                if attachment.settled && !eni.busy && asked >= eni.changed_at =>
            {
                // It was attached although we were told that it was not.
                eni.attachment.clone_from(&attachment.id);
                eni.phase = Phase::Leaving(Leaving::TearingDown);
                eni.blocked_until = now;
                self.journal_eni(&cloud.id, effects);
            }
            // Nobody takes it out any more: it serves again.
            Phase::Leaving(Leaving::TearingDown | Leaving::Detaching)
                if self.config.provisioning != Provisioning::Full
                    && attachment.settled
                    && !eni.busy
                    && asked >= eni.changed_at + LINGER =>
            {
                eni.recallable = true;
                eni.in_doubt = false;
                self.keep(&cloud.id, now, effects);
            }
            Phase::Attaching { .. } if eni.attachment.is_none() => {
                eni.attachment.clone_from(&attachment.id);
            }
            Phase::Attaching { .. } | Phase::Leaving(_) => {}
            Phase::Ready if changing || asked < eni.changed_at => self.look_again(now),
            Phase::Ready => self.compare_addresses(cloud, asked, now, effects),
        }
    }

    /// EC2 says which security groups the primary ENI is behind: nobody but its owner changes them.
    fn see_primary_groups(&mut self, groups: &[SecurityGroupId], effects: &mut Vec<Effect>) {
        if groups.is_empty() {
            return;
        }
        self.groups_seen = true;
        if groups != self.identity.security_groups {
            self.identity.security_groups = groups.to_vec();
            self.identity_changed(effects);
        }
    }

    /// Whether a call that changes the ENI's addresses is under way.
    fn is_changing(&self, id: &EniId) -> bool {
        self.calls.values().any(|call| match &call.purpose {
            Purpose::Assign { eni, .. } | Purpose::AssignIpv6 { eni } | Purpose::Unassign { eni, .. } => {
                eni == id
            }
            Purpose::Enis { .. }
            | Purpose::Subnets
            | Purpose::VpcRanges
            | Purpose::Orphans
            | Purpose::Sweep { .. }
            | Purpose::Groups { .. }
            | Purpose::Create(_)
            | Purpose::Attach { .. }
            | Purpose::Mark { .. }
            | Purpose::Detach { .. }
            | Purpose::Delete { .. } => false,
        })
    }

    fn compare_addresses(
        &mut self,
        cloud: &CloudEni,
        asked: Timestamp,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let mut changed = false;
        let mut unlisted = false;
        let mut settled = false;
        if cloud.id == self.identity.primary_eni
            && self.ipv6_unsure.is_some_and(|since| asked >= since + LINGER)
        {
            self.ipv6_unsure = None;
        }
        if let Some(eni) = self.enis.get_mut(&cloud.id) {
            // A request to take something back whose reply was lost has not come through by now, and never will.
            settled = eni.in_doubt && asked >= eni.changed_at + LINGER;
            eni.in_doubt &= !settled;
            let delegates = eni.delegates || !cloud.prefixes.is_empty() || !cloud.ipv6_prefixes.is_empty();
            let gone = eni.ipv6_prefixes.iter().any(|prefix| !cloud.ipv6_prefixes.contains(prefix));
            eni.ipv6_missed = if gone { eni.ipv6_missed.saturating_add(1) } else { 0 };
            unlisted = gone && eni.ipv6_missed < MISSES;
            if !unlisted && eni.ipv6_prefixes != cloud.ipv6_prefixes {
                eni.ipv6_prefixes.clone_from(&cloud.ipv6_prefixes);
                changed = true;
            }
            changed |= delegates != eni.delegates;
            eni.delegates = delegates;
        }
        if unlisted {
            self.look_again(now);
        }
        let why = Why::Found { eni: cloud.id.clone() };
        let listed: BTreeMap<IpAddr, Lease> =
            leases_of(cloud, &why, now).map(|lease| (lease.address, lease)).collect();
        for (address, found) in &listed {
            if self.returned.contains_key(address) {
                continue;
            }
            match self.pool.get(*address) {
                // It may have been given back just before this daemon began, and the view may not know.
                None if self.resumed && asked < self.started + RETURNED_MEMORY => {
                    self.observe_at = self.observe_at.min(self.started + RETURNED_MEMORY);
                }
                None => {
                    self.learn_address(found.clone(), now);
                    changed = true;
                }
                Some(lease) if lease.eni == cloud.id => {
                    let lost = matches!(
                        lease.state,
                        LeaseState::Quarantined { why: Quarantine::NotInCloud { .. }, .. }
                    );
                    let stays = settled && lease.state == LeaseState::Returning;
                    if lease.missed > 0 || lost || stays || lease.block != found.block {
                        changed |= stays || lease.block != found.block;
                        self.pool.change(*address, |lease| {
                            lease.missed = 0;
                            lease.block = found.block;
                            if stays { lease.stay(now) } else { Ok(()) }
                                .and_then(|()| if lost { lease.trust(now, now) } else { Ok(()) })
                        });
                    }
                }
                // On another ENI of ours, as far as we know: its own comparison will tell.
                Some(lease) if lease.missed < MISSES => self.look_again(now),
                Some(_) => {}
            }
        }
        for address in self.pool.addresses_on(&cloud.id) {
            if address.is_ipv4() && !listed.contains_key(&address) {
                changed |= self.miss_address(address, now);
            }
        }
        // Of what a pod has on it EC2 may say what it wants: it does not go.
        let whole = self.pool.on(&cloud.id).all(|lease| lease.missed == 0 || lease.state.holder().is_some());
        if let Some(eni) = self.enis.get_mut(&cloud.id).filter(|_| whole && !unlisted) {
            eni.confirmed_at = asked;
        }
        if changed {
            self.journal_eni(&cloud.id, effects);
        }
    }

    /// EC2 does not list the address on its ENI; says whether that was the end of it.
    ///
    /// Once that is settled, an address that a pod still has is looked for as seldom as everything else.
    fn miss_address(&mut self, address: IpAddr, now: Timestamp) -> bool {
        let missed = self.pool.change(address, |lease| {
            lease.missed = lease.missed.saturating_add(1);
            let unlisted = lease.missed >= MISSES;
            let gone = lease.state == LeaseState::Returning || unlisted && missing_for_good(lease, now);
            (gone, unlisted)
        });
        let Some((gone, unlisted)) = missed else { return false };
        if gone {
            self.pool.forget(address);
        } else if !unlisted {
            self.look_again(now);
        }
        gone
    }

    /// ENIs that EC2 does not list (any more) on this instance.
    fn miss_absent(
        &mut self,
        enis: &[CloudEni],
        asked: Timestamp,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let believed = |eni: &&mut Eni| {
            let attached = match eni.phase {
                Phase::Ready | Phase::Attaching { .. } => true,
                // What is not here yet, or not any more, is still ours to delete, unless somebody else took it over. One
                // that is torn down may have been detached by a life that did not hear of it.
                Phase::Created | Phase::Leaving(_) => eni.hands_off,
            };
            attached && !eni.busy && asked >= eni.changed_at
        };
        let mut absent = Vec::new();
        for eni in self.enis.values_mut().filter(believed) {
            if !enis.iter().any(|cloud| cloud.id == eni.id) {
                eni.missed = eni.missed.saturating_add(1);
                absent.push((eni.id.clone(), eni.is_listed()));
            }
        }
        for (id, still_listed) in absent {
            if still_listed {
                self.look_again(now);
                continue;
            }
            let mut forgotten = false;
            for address in self.pool.addresses_on(&id) {
                if self.pool.change(address, |lease| missing_for_good(lease, now)) == Some(true) {
                    self.pool.forget(address);
                    forgotten = true;
                }
            }
            if self.pool.counts_on(&id).total() == 0 {
                self.forget_eni(&id, now, effects);
            } else if forgotten {
                // The next life must not take them for free ones.
                self.journal_eni(&id, effects);
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
                self.see_pod_ranges(effects);
                self.judge_enis(effects);
                let free = |id: &SubnetId| {
                    self.subnets.iter().find(|subnet| subnet.id == *id).map_or(0, |subnet| subnet.free)
                };
                self.release_at = self.release_at.min(now);
                self.exhausted.retain(|id, exhausted| {
                    let free = free(id);
                    let may_serve = match exhausted.reported {
                        // What asked for too much may ask for less. What failed although EC2 reports
                        // enough (others are quicker, the view lags) waits.
                        None => free > 0 && free < exhausted.asked,
                        Some(then) => free > then,
                    };
                    exhausted.reported.get_or_insert(free);
                    !may_serve || exhausted.failures > LAST_CHANCE
                });
                self.asking_subnets = true;
                let (snapshot, subnets) = self.subnet_snapshot(now);
                effects.push(Effect::AskSubnets { snapshot: Box::new(snapshot), subnets });
            }
            Ok(
                CloudReply::Enis(_)
                | CloudReply::VpcRanges(_)
                | CloudReply::Orphans(_)
                | CloudReply::Created(_)
                | CloudReply::Attached(_)
                | CloudReply::Assigned(_)
                | CloudReply::Done,
            ) => {}
            Err(error) => {
                self.subnets_at = now + LOOK_EVERY;
                self.restraint.pushback.failed(Api::DescribeSubnets, error, now, self.next_op);
            }
        }
    }

    /// Takes in an address of ours; one that the kernel routes to a pod we do not know stays out of service.
    pub(super) fn learn_address(&mut self, lease: Lease, now: Timestamp) {
        let address = lease.address;
        self.pool.learn(lease);
        if let Some(host_veth) = self.strangers.get(&address) {
            let why = Quarantine::UnknownPod { host_veth: host_veth.clone() };
            self.pool.change(address, |lease| lease.quarantine(why, now));
        }
    }

    /// One ENI of the node.
    pub fn eni(&self, id: &EniId) -> Option<&Eni> {
        self.enis.get(id)
    }
}

/// EC2 has not listed the address for long enough. Unused, it can go; used, it is quarantined.
fn missing_for_good(lease: &mut Lease, now: Timestamp) -> bool {
    match &lease.state {
        LeaseState::Free | LeaseState::Returning | LeaseState::Quarantined { holder: None, .. } => true,
        // It goes when it has cooled down: a view that lied would teach it again as free before.
        LeaseState::Cooling { .. } => false,
        LeaseState::Bound(_) => {
            let why = Quarantine::NotInCloud { eni: lease.eni.clone() };
            lease.quarantine(why, now).is_err()
        }
        LeaseState::Reserved(_)
        | LeaseState::Unbinding(_)
        | LeaseState::Quarantined { holder: Some(_), .. } => false,
    }
}
