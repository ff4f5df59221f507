//! An ENI's way in and out. Level-triggered: every step follows from the state, so that a retry, a restart
//! and the first try are the same code.

use std::net::Ipv4Addr;

use super::{
    CustomNetworking, EniWork, LINK_POLL, NodeState, OVERDUE_POLL, Provisioning, Purpose, RETURNED_MEMORY,
    delay,
};
use crate::budget::Priority;
use crate::cloud::{Assigned, CloudEni, CloudError, CloudErrorKind};
use crate::eni::{Eni, Leaving, Phase};
use crate::event::{Api, CloudCall, CloudReply, Effect, OpId, Part, Record};
use crate::ids::{EniId, SecurityGroupId};
use crate::lease::{Lease, LeaseState};
use crate::report::Why;
use crate::time::Timestamp;
use crate::wiring::Seat;

/// Attachments in a row that may fail for what can pass by itself before the ENI is given up: right after a
/// creation EC2 may not know it yet, and one that is being detached still has its seat.
const MAX_ATTACH_TRIES: u32 = 6;

/// What an ENI needs next.
enum Next {
    Call(Box<(Purpose, CloudCall)>),
    SetUp,
    TearDown,
    /// It enters another phase without anybody's help.
    Enter(Phase),
    Nothing,
}

fn call(purpose: Purpose, call: CloudCall) -> Next {
    Next::Call(Box::new((purpose, call)))
}

impl NodeState {
    /// Moves every ENI one step further on its way in or out, where nothing is under way for it.
    pub(super) fn advance_enis(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let restless = |eni: &&Eni| {
            let at_rest = eni.phase == Phase::Ready
                && (eni.is_primary() || eni.set_up && (eni.marked || !eni.is_ours()))
                && self.pool.counts_on(&eni.id).returning == 0
                && !self.has_other_groups(eni);
            !eni.busy && eni.blocked_until <= now && !at_rest
        };
        // Those on their way in first: they may have to share one call with those on their way out.
        let (coming, others): (Vec<&Eni>, Vec<&Eni>) =
            self.enis.values().filter(restless).partition(|eni| eni.phase.is_coming());
        let due: Vec<EniId> = coming.into_iter().chain(others).map(|eni| eni.id.clone()).collect();
        for id in due {
            self.advance_eni(&id, now, effects);
        }
    }

    /// Moves one ENI as far as it goes without waiting.
    pub(super) fn advance_eni(&mut self, id: &EniId, now: Timestamp, effects: &mut Vec<Effect>) {
        while let Some(eni) = self.enis.get(id).filter(|eni| !eni.busy && eni.blocked_until <= now) {
            let wiring = eni.wiring(self.config.eni_mtu);
            match self.next_for(eni, now) {
                Next::Nothing => return,
                Next::Enter(phase) => {
                    if let Some(eni) = self.enis.get_mut(id) {
                        eni.phase = phase;
                    }
                    self.journal_eni(id, effects);
                    continue;
                }
                Next::Call(call) if !self.may_call(call.1.api(), now) => return,
                Next::Call(call) => self.call(call.0, call.1, now, effects),
                Next::SetUp => {
                    let op = self.op();
                    self.eni_work.insert(op, EniWork::SetUp { eni: id.clone() });
                    effects.push(Effect::SetUpEni { op, wiring });
                }
                Next::TearDown => {
                    let op = self.op();
                    self.eni_work.insert(op, EniWork::TearDown { eni: id.clone() });
                    effects.push(Effect::TearDownEni { op, wiring });
                }
            }
            if let Some(eni) = self.enis.get_mut(id) {
                eni.busy = true;
            }
        }
    }

    /// Whether EC2 may be asked to change something.
    fn may_call(&self, api: Api, now: Timestamp) -> bool {
        self.config.provisioning == Provisioning::Full && self.may_ask(api, self.urgency_of(api), now)
    }

    /// What brings addresses is as urgent as these are; what gives back waits for everything else.
    fn urgency_of(&self, api: Api) -> Priority {
        match api {
            Api::AssignIpv6Addresses
            | Api::AssignPrivateIpAddresses
            | Api::AttachNetworkInterface
            | Api::CreateNetworkInterface
            | Api::DescribeNetworkInterfaces
            | Api::DescribeSubnets
            | Api::Metadata => self.urgency(),
            Api::ModifyNetworkInterfaceAttribute => Priority::Stock,
            Api::DeleteNetworkInterface | Api::DetachNetworkInterface | Api::UnassignPrivateIpAddresses => {
                Priority::Spare
            }
        }
    }

    /// Whether an ENI that we created is behind other security groups than it should be.
    fn has_other_groups(&self, eni: &Eni) -> bool {
        // Metadata's word on the primary's own lags; EC2's is waited for.
        let settled = !matches!(self.config.custom_networking, CustomNetworking::Missing { .. });
        let known = settled
            && self.takes_pods(eni)
            && self.groups_seen
            && !eni.security_groups.is_empty()
            && eni.is_ours()
            && !eni.is_primary()
            && !eni.hands_off;
        let differ = |a: &[SecurityGroupId], b: &[SecurityGroupId]| {
            a.len() != b.len() || a.iter().any(|group| !b.contains(group))
        };
        known && differ(&eni.security_groups, self.security_groups())
    }

    fn next_for(&self, eni: &Eni, now: Timestamp) -> Next {
        let id = eni.id.clone();
        let may_go = self.config.provisioning == Provisioning::Full;
        match (&eni.phase, &eni.attachment) {
            // Whoever wants it left alone wants its pods served all the same.
            (Phase::Attaching { .. }, _) if eni.hands_off => Next::SetUp,
            (Phase::Ready, _) if eni.hands_off && !eni.set_up && !eni.is_primary() => Next::SetUp,
            (Phase::Created | Phase::Ready | Phase::Leaving(_), _) if eni.hands_off => Next::Nothing,
            (Phase::Created, _) => {
                call(Purpose::Attach { eni: id.clone() }, CloudCall::Attach { eni: id, seat: eni.seat })
            }
            (Phase::Attaching { .. }, Some(_)) if may_go && eni.is_ours() && eni.is_overdue(now) => {
                Next::Enter(Phase::Leaving(Leaving::TearingDown))
            }
            (Phase::Attaching { .. }, _) => Next::SetUp,
            (Phase::Ready, _) if !eni.set_up && !eni.is_primary() => Next::SetUp,
            (Phase::Ready, Some(attachment)) if !eni.marked && eni.is_ours() && !eni.is_primary() => {
                let mark = CloudCall::DeleteWithInstance { eni: id.clone(), attachment: attachment.clone() };
                if self.may_call(mark.api(), now) {
                    call(Purpose::Mark { eni: id }, mark)
                } else {
                    self.give_back_now(eni)
                }
            }
            (Phase::Ready, _)
                if self.has_other_groups(eni) && self.may_call(Api::ModifyNetworkInterfaceAttribute, now) =>
            {
                let groups = self.security_groups().to_vec();
                let set = CloudCall::SetSecurityGroups { eni: id.clone(), groups: groups.clone() };
                call(Purpose::Groups { eni: id, groups }, set)
            }
            (Phase::Ready, _) => self.give_back_now(eni),
            // On the journal's word alone nothing goes: the kernel must have been seen, and show nobody there.
            (Phase::Leaving(_), _) if self.reconcile.seen().is_none() => Next::Nothing,
            (Phase::Leaving(Leaving::TearingDown | Leaving::Detaching), _)
                if self.may_have_strangers(eni) =>
            {
                Next::Nothing
            }
            // Attached to nothing, it stays for those only whom it is known to have carried.
            (Phase::Leaving(Leaving::Deleting), _) if self.has_strangers(&eni.id) => Next::Nothing,
            (Phase::Leaving(Leaving::TearingDown), _) => Next::TearDown,
            (Phase::Leaving(Leaving::Detaching), Some(attachment)) => {
                call(Purpose::Detach { eni: id }, CloudCall::Detach { attachment: attachment.clone() })
            }
            (Phase::Leaving(Leaving::Detaching), None) => Next::Enter(Phase::Leaving(Leaving::Deleting)),
            (Phase::Leaving(Leaving::Deleting), _) => {
                call(Purpose::Delete { eni: id.clone() }, CloudCall::Delete { eni: id })
            }
        }
    }

    /// What was on its way back to EC2 stays after all, where EC2 has not been asked.
    pub(super) fn keep(&mut self, id: &EniId, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(eni) = self.enis.get_mut(id).filter(|eni| !eni.busy) else { return };
        if eni.recallable {
            eni.recallable = false;
            eni.phase = Phase::Ready;
            eni.set_up = false;
        }
        if !eni.in_doubt {
            for address in self.pool.addresses_on(id) {
                self.pool.change(address, |lease| lease.stay(now));
            }
        }
        self.journal_eni(id, effects);
    }

    /// Asks EC2 to take back what is returning: for the first time, or again because the outcome is unknown.
    fn give_back_now(&self, eni: &Eni) -> Next {
        let returning = self.pool.on(&eni.id).filter(|lease| lease.state == LeaseState::Returning);
        let mut give_back = Assigned::default();
        let mut addresses = Vec::new();
        for lease in returning {
            addresses.push(lease.address);
            match (lease.block, lease.ipv4()) {
                (Some(block), _) if give_back.prefixes.last() != Some(&block) => {
                    give_back.prefixes.push(block)
                }
                (None, Some(address)) => give_back.addresses.push(address),
                (Some(_), _) | (None, None) => {}
            }
        }
        let unseen = self.reconcile.seen().is_none() || self.has_strangers(&eni.id);
        if addresses.is_empty() || !eni.is_listed() || unseen {
            return Next::Nothing;
        }
        let id = eni.id.clone();
        call(Purpose::Unassign { eni: id.clone(), addresses }, CloudCall::Unassign { eni: id, give_back })
    }

    pub(super) fn cloud_answered(
        &mut self,
        op: OpId,
        result: Result<CloudReply, CloudError>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let Some(call) = self.calls.remove(&op) else { return };
        self.restraint.answered(call.api, &result, now);
        // The VPC's ranges say nothing about supply, and are looked at often.
        self.asking.stale |=
            !matches!(call.purpose, Purpose::VpcRanges | Purpose::Orphans | Purpose::Sweep { .. });
        match call.purpose {
            Purpose::Enis { asked } => self.enis_answered(asked, result, now, effects),
            Purpose::Subnets => self.subnets_answered(result, now, effects),
            Purpose::Create(creation) => self.created(creation, result, now, effects),
            Purpose::VpcRanges => self.ranges_answered(result, now, effects),
            Purpose::Orphans => self.orphans_answered(result, now),
            Purpose::Sweep { eni } => self.swept(eni, result, now),
            Purpose::Assign { eni, amount, cause } => {
                self.assigned(&eni, (amount, cause), result, now, effects);
            }
            Purpose::AssignIpv6 { eni } => self.ipv6_assigned(&eni, result, now, effects),
            Purpose::Unassign { eni, addresses } => self.unassigned(&eni, addresses, result, now, effects),
            Purpose::Attach { eni } => self.attached(&eni, result, now, effects),
            Purpose::Mark { eni } => {
                let outcome = result.map(drop);
                if let (Ok(()), Some(eni)) = (&outcome, self.enis.get_mut(&eni)) {
                    eni.marked = true;
                }
                self.eni_call_done(&eni, call.api, outcome, now);
                self.journal_eni(&eni, effects);
            }
            Purpose::Groups { eni, groups } => {
                if let Err(error) = &result {
                    // A group that EC2 does not take must not keep the ENI from anything else.
                    self.restraint.pushback.failed(call.api, error.clone(), now, self.next_op);
                }
                if let (Ok(_), Some(eni)) = (&result, self.enis.get_mut(&eni)) {
                    eni.security_groups = groups;
                }
                self.eni_call_done(&eni, call.api, Ok(()), now);
                self.journal_eni(&eni, effects);
            }
            Purpose::Detach { eni } => match unless_gone(result) {
                Err(error) => {
                    if let Some(eni) = self.enis.get_mut(&eni) {
                        eni.recallable &= error.kind != CloudErrorKind::Unavailable;
                    }
                    self.eni_call_done(&eni, call.api, Err(error), now);
                }
                Ok(()) => {
                    if let Some(eni) = self.enis.get_mut(&eni) {
                        eni.recallable = false;
                        eni.phase = Phase::Leaving(Leaving::Deleting);
                    }
                    self.eni_call_done(&eni, call.api, Ok(()), now);
                    self.journal_eni(&eni, effects);
                }
            },
            Purpose::Delete { eni } => match unless_gone(result) {
                Err(error) => self.eni_call_done(&eni, call.api, Err(error), now),
                Ok(()) => self.forget_eni(&eni, now, effects),
            },
        }
    }

    /// A call on an ENI that only its own retry depends on.
    fn eni_call_done(&mut self, id: &EniId, api: Api, result: Result<(), CloudError>, now: Timestamp) {
        let chance = self.next_op;
        let Some(eni) = self.enis.get_mut(id) else { return };
        eni.busy = false;
        eni.changed_at = now;
        match result {
            Ok(()) => {
                eni.failures = 0;
                eni.blocked_until = Timestamp(0);
            }
            Err(error) => {
                eni.failures = eni.failures.saturating_add(1);
                eni.blocked_until = now + delay(eni.failures, chance);
                match error.kind {
                    CloudErrorKind::Throttled
                    | CloudErrorKind::Unavailable
                    | CloudErrorKind::NotAsked
                    | CloudErrorKind::Denied => {
                        self.restraint.pushback.failed(api, error, now, chance);
                    }
                    CloudErrorKind::NoFreeAddresses
                    | CloudErrorKind::NoFreeBlocks
                    | CloudErrorKind::LimitExceeded
                    | CloudErrorKind::Conflict
                    | CloudErrorKind::Gone
                    | CloudErrorKind::Rejected => self.look_again(now),
                }
            }
        }
    }

    /// Takes an ENI that EC2 described into the state, with its addresses.
    pub(super) fn learn_eni(
        &mut self,
        cloud: &CloudEni,
        seat: Seat,
        phase: Phase,
        why: &Why,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let eni = Eni {
            excluded: (!self.subnets.is_empty()).then(|| self.is_excluded(&cloud.subnet)),
            ..Eni::from_cloud(cloud, seat, phase, why.clone(), now)
        };
        self.enis.insert(cloud.id.clone(), eni);
        for lease in leases_of(cloud, why, now) {
            self.learn_address(lease, now);
        }
        self.kernel.changed();
        self.journal_eni(&cloud.id, effects);
    }

    /// The ENI is no longer the node's.
    pub(super) fn forget_eni(&mut self, id: &EniId, now: Timestamp, effects: &mut Vec<Effect>) {
        self.enis.remove(id);
        self.pool.forget_all_on(id);
        self.kernel.changed();
        self.departed.insert(id.clone(), now + RETURNED_MEMORY);
        effects.push(Effect::Journal(vec![Record::EniGone { eni: id.clone() }]));
    }

    /// Whether a lagging view may still list an ENI that is no longer the node's.
    pub(super) fn has_left(&self, id: &EniId) -> bool {
        self.departed.contains_key(id)
    }

    fn attached(
        &mut self,
        id: &EniId,
        result: Result<CloudReply, CloudError>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        const API: Api = Api::AttachNetworkInterface;
        let card = self.enis.get(id).map_or(self.instance_type.default_card, |eni| eni.seat.card);
        let seat = self.free_seat(card);
        let Some(eni) = self.enis.get_mut(id) else { return };
        match result {
            Ok(CloudReply::Attached(attachment)) => {
                eni.attachment = Some(attachment);
                if eni.phase == Phase::Created {
                    eni.phase = Phase::Attaching { since: now };
                }
                self.eni_call_done(id, API, Ok(()), now);
                self.journal_eni(id, effects);
                self.advance_eni(id, now, effects);
            }
            Ok(
                CloudReply::Enis(_)
                | CloudReply::VpcRanges(_)
                | CloudReply::Subnets(_)
                | CloudReply::Orphans(_)
                | CloudReply::Created(_)
                | CloudReply::Assigned(_)
                | CloudReply::Done,
            ) => self.eni_call_done(id, API, Ok(()), now),
            // A look has found it attached meanwhile.
            Err(_) if eni.phase != Phase::Created => self.eni_call_done(id, API, Ok(()), now),
            Err(error) => {
                let last = eni.failures.saturating_add(1) >= MAX_ATTACH_TRIES;
                let given_up = match error.kind {
                    CloudErrorKind::LimitExceeded | CloudErrorKind::Rejected => true,
                    // Deleting what is gone costs one call, and leaks nothing when it is not.
                    CloudErrorKind::Gone => last,
                    // The index is taken, by something that we do not see yet: another one next time.
                    CloudErrorKind::Conflict => {
                        eni.seat = seat.unwrap_or(eni.seat);
                        last && seat.is_none()
                    }
                    CloudErrorKind::Throttled
                    | CloudErrorKind::NoFreeAddresses
                    | CloudErrorKind::NoFreeBlocks
                    | CloudErrorKind::Denied
                    | CloudErrorKind::NotAsked
                    | CloudErrorKind::Unavailable => false,
                };
                if given_up {
                    // The next one is not created at once, to meet the same.
                    eni.phase = Phase::Leaving(Leaving::Deleting);
                    self.restraint.pushback.failed(API, error.clone(), now, self.next_op);
                }
                self.eni_call_done(id, API, Err(error), now);
                self.journal_eni(id, effects);
            }
        }
    }

    pub(super) fn eni_set_up(
        &mut self,
        op: OpId,
        result: Result<(), Option<String>>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let Some(EniWork::SetUp { eni: id }) = self.take_eni_work(op, EniWork::is_set_up) else { return };
        let chance = self.next_op;
        let Some(eni) = self.enis.get_mut(&id) else { return };
        eni.busy = false;
        match result {
            Ok(()) => {
                eni.failures = 0;
                eni.blocked_until = Timestamp(0);
                eni.set_up = true;
                eni.set_up_at = now;
                if eni.phase.is_coming() {
                    eni.phase = Phase::Ready;
                    eni.last_use = now;
                    for address in self.pool.addresses_on(&id) {
                        self.pool.change(address, |lease| {
                            if lease.is_free() {
                                lease.since = now
                            }
                        });
                    }
                    self.asking.stale = true;
                    self.journal_eni(&id, effects);
                }
                self.mended(&Part::Eni(id.clone()));
                self.advance_eni(&id, now, effects);
                self.serve_waiters(now, effects);
            }
            Err(None) if eni.is_coming(now) => eni.blocked_until = now + LINK_POLL,
            Err(None) if eni.phase.is_coming() => eni.blocked_until = now + OVERDUE_POLL,
            Err(None | Some(_)) => {
                eni.failures = eni.failures.saturating_add(1);
                eni.blocked_until = now + delay(eni.failures, chance);
            }
        }
    }

    pub(super) fn eni_torn_down(&mut self, op: OpId, result: Result<(), String>, now: Timestamp) {
        let Some(EniWork::TearDown { eni: id }) = self.take_eni_work(op, EniWork::is_tear_down) else {
            return;
        };
        let chance = self.next_op;
        let Some(eni) = self.enis.get_mut(&id) else { return };
        eni.busy = false;
        match result {
            Ok(()) => eni.phase = Phase::Leaving(Leaving::Detaching),
            Err(_) => {
                eni.failures = eni.failures.saturating_add(1);
                eni.blocked_until = now + delay(eni.failures, chance);
            }
        }
    }

    /// Kernel work that is done, unless it is not under way or of another kind.
    fn take_eni_work(&mut self, op: OpId, expected: impl Fn(&EniWork) -> bool) -> Option<EniWork> {
        self.eni_work.get(&op).is_some_and(expected).then(|| self.eni_work.remove(&op)).flatten()
    }
}

/// What EC2 says is on an ENI, as free leases.
pub(super) fn leases_of(cloud: &CloudEni, why: &Why, now: Timestamp) -> impl Iterator<Item = Lease> {
    let lease = move |address: &Ipv4Addr| Lease::free((*address).into(), cloud.id.clone(), why.clone(), now);
    let blocks = cloud.prefixes.iter().flat_map(move |block| Lease::free_block(*block, &cloud.id, why, now));
    cloud.addresses.iter().map(lease).chain(blocks)
}

/// How asking for an end went: what is gone already has ended.
fn unless_gone(result: Result<CloudReply, CloudError>) -> Result<(), CloudError> {
    result.map(drop).or_else(|error| if error.kind == CloudErrorKind::Gone { Ok(()) } else { Err(error) })
}

impl EniWork {
    fn is_set_up(&self) -> bool {
        matches!(self, EniWork::SetUp { .. })
    }

    fn is_tear_down(&self) -> bool {
        matches!(self, EniWork::TearDown { .. })
    }
}
