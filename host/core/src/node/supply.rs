//! Growth, giving back, and an ENI's way in and out. Level-triggered: every step follows from the state, so
//! that a retry, a restart and the first try are the same code.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::{
    Creation, Exhausted, LINK_DEADLINE, LINK_POLL, NodeState, Op, RELEASE_EVERY, RETURNED_MEMORY, SUBNET_BLOCK, delay,
};
use crate::cloud::{Assigned, CloudEni, CloudError, CloudErrorKind, CloudSubnet, NewEni, Supply as Amount};
use crate::eni::{Eni, Leaving, Phase};
use crate::event::{CloudCall, CloudReply, Effect, OpId, Record};
use crate::ids::{EniId, SubnetId};
use crate::lease::{Lease, LeaseState};
use crate::limits::Mode;
use crate::plan::{self, EniSupply, Step, Supply};
use crate::report::Why;
use crate::time::Timestamp;
use crate::wiring::Seat;

impl NodeState {
    /// Moves every ENI one step further on its way in or out, where nothing is under way for it.
    pub(super) fn advance_enis(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let due: Vec<EniId> =
            self.enis.values().filter(|eni| !eni.busy && eni.blocked_until <= now).map(|eni| eni.id.clone()).collect();
        for id in due {
            self.advance_eni(&id, now, effects);
        }
    }

    fn advance_eni(&mut self, id: &EniId, now: Timestamp, effects: &mut Vec<Effect>) {
        let backed_off = self.backoff.until > now;
        let mtu = self.config.eni_mtu;
        let Some(eni) = self.enis.get_mut(id) else { return };
        let call = match (&eni.phase, &eni.attachment) {
            (Phase::Created, _) if !backed_off => {
                (Op::Attach { eni: id.clone() }, CloudCall::Attach { eni: id.clone(), seat: eni.seat })
            }
            (Phase::Attaching { since }, Some(_)) if now.since(*since) > LINK_DEADLINE => {
                eni.phase = Phase::Leaving(Leaving::Detaching);
                return;
            }
            (Phase::Attaching { .. }, _) => {
                eni.busy = true;
                let wiring = eni.wiring(mtu);
                let op = self.op(Op::SetUp { eni: id.clone() });
                effects.push(Effect::SetUpEni { op, wiring });
                return;
            }
            (Phase::Ready, Some(attachment)) if !eni.marked && !eni.is_primary() && !backed_off => (
                Op::Mark { eni: id.clone() },
                CloudCall::DeleteWithInstance { eni: id.clone(), attachment: attachment.clone() },
            ),
            (Phase::Leaving(Leaving::TearingDown), _) => {
                eni.busy = true;
                let wiring = eni.wiring(mtu);
                let op = self.op(Op::TearDown { eni: id.clone() });
                effects.push(Effect::TearDownEni { op, wiring });
                return;
            }
            (Phase::Leaving(Leaving::Detaching), Some(attachment)) if !backed_off => {
                (Op::Detach { eni: id.clone() }, CloudCall::Detach { attachment: attachment.clone() })
            }
            (Phase::Leaving(Leaving::Detaching), None) => {
                eni.phase = Phase::Leaving(Leaving::Deleting);
                return;
            }
            (Phase::Leaving(Leaving::Deleting), _) if !backed_off => {
                (Op::Delete { eni: id.clone() }, CloudCall::Delete { eni: id.clone() })
            }
            (Phase::Created | Phase::Ready | Phase::Leaving(Leaving::Detaching | Leaving::Deleting), _) => return,
        };
        eni.busy = true;
        self.call(call.0, call.1, effects);
    }

    /// Grows when short, gives back when there is too much, and leaves well alone otherwise.
    pub(super) fn adjust_supply(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if !self.seen || self.backoff.until > now {
            return;
        }
        while let Some(creation) = self.unresolved.pop() {
            self.ask_for_eni(creation, effects);
        }
        let supply = self.supply(now);
        let band = self.target();
        for step in plan::growth(&supply, &band) {
            self.take(step, self.shortage_in_words(&supply), now, effects);
        }
        if self.release_at <= now {
            self.release_at = now + RELEASE_EVERY;
            let supply = self.supply(now);
            if plan::shortage(&supply, &band) == 0 {
                if let Some(step) = plan::release(&supply, &band, now) {
                    self.take(step, String::new(), now, effects);
                }
            }
        }
    }

    pub(super) fn has_surplus(&self) -> bool {
        let Some(high) = self.target().ready_high else { return false };
        let ready = self.leases.values().filter(|lease| lease.is_free()).count();
        ready > usize::try_from(high).unwrap_or(usize::MAX) || self.enis.len() > 1
    }

    fn shortage_in_words(&self, supply: &Supply) -> String {
        let band = self.target();
        let strategy = self.band.as_ref().map_or("no strategy yet", |decision| decision.strategy.as_str());
        format!(
            "{} ready and {} coming, {} pods waiting; target of {strategy}: {band}",
            supply.ready, supply.coming, supply.waiting
        )
    }

    fn take(&mut self, step: Step, because: String, now: Timestamp, effects: &mut Vec<Effect>) {
        match step {
            Step::Assign { eni, count } => self.assign(eni, count, because, effects),
            Step::Create { count } => self.create(count, because, now, effects),
            Step::Unassign { eni, count } => self.unassign(eni, count, now, effects),
            Step::Remove { eni } => self.remove(&eni, now, effects),
        }
    }

    fn assign(&mut self, id: EniId, count: u32, because: String, effects: &mut Vec<Effect>) {
        let Some(eni) = self.enis.get_mut(&id) else { return };
        let free = self.subnets.iter().find(|subnet| subnet.id == eni.subnet).map_or(count, |subnet| subnet.free);
        let count = count.min(free.max(1));
        eni.busy = true;
        eni.in_flight = count;
        let call = CloudCall::Assign { eni: id.clone(), supply: self.amount(count) };
        self.call(Op::Assign { eni: id, count, because }, call, effects);
    }

    fn amount(&self, addresses: u32) -> Amount {
        match self.config.mode {
            Mode::SecondaryIp => Amount::Addresses(addresses),
            Mode::Prefix => Amount::Prefixes(addresses.div_ceil(crate::limits::PREFIX_ADDRESSES)),
        }
    }

    fn create(&mut self, count: u32, because: String, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(subnet) = self.subnet_for_new_eni() else { return };
        let (subnet, free) = (subnet.id.clone(), subnet.free);
        let Some(seat) = self.free_seat() else { return };
        let count = count.min(free.saturating_sub(1).max(1));
        self.tokens += 1;
        let instance = &self.identity.instance;
        let mut tags = vec![
            ("node.k8s.amazonaws.com/instance_id".to_owned(), instance.to_string()),
            ("node.k8s.amazonaws.com/createdAt".to_owned(), rfc3339(now)),
        ];
        if let Some(cluster) = &self.config.cluster {
            tags.push(("cluster.k8s.amazonaws.com/name".to_owned(), cluster.clone()));
            tags.push(("eks:eni:owner".to_owned(), "amazon-vpc-cni".to_owned()));
        }
        tags.extend(self.config.tags.iter().map(|(key, value)| (key.clone(), value.clone())));
        let new = NewEni {
            subnet,
            security_groups: self.identity.security_groups.clone(),
            supply: self.amount(count),
            description: format!("aws-K8S-{instance}"),
            tags,
            client_token: format!("enid-{instance}-{}-{}", self.started.0, self.tokens),
        };
        self.ask_for_eni(Creation { new, seat, count, because }, effects);
    }

    pub(super) fn ask_for_eni(&mut self, creation: Creation, effects: &mut Vec<Effect>) {
        let Creation { new, seat, .. } = &creation;
        effects.push(Effect::Journal(vec![Record::Creating { new: new.clone(), seat: *seat }]));
        let call = CloudCall::Create(new.clone());
        self.call(Op::Create(creation), call, effects);
    }

    /// The first subnet in the strategy's order (before its first answer: the primary's) with room for an
    /// ENI and a pod.
    fn subnet_for_new_eni(&self) -> Option<&CloudSubnet> {
        let primary = std::slice::from_ref(&self.identity.subnet);
        let order = self.subnet_order.as_ref().map_or(primary, |decision| decision.target.as_slice());
        order
            .iter()
            .filter(|id| !self.exhausted.contains_key(id))
            .filter_map(|id| self.subnets.iter().find(|subnet| subnet.id == *id))
            .find(|subnet| subnet.free >= 2)
    }

    /// The lowest device index on the default card that nothing occupies or is about to.
    fn free_seat(&self) -> Option<Seat> {
        let card = self.instance_type.default_card;
        let taken = |seat: Seat| {
            self.enis.values().any(|eni| eni.seat == seat)
                || self.unmanaged.contains(&seat)
                || self.creations().any(|creation| creation.seat == seat)
        };
        (1..self.instance_type.max_enis()).map(|device| Seat { card, device }).find(|seat| !taken(*seat))
    }

    pub(super) fn creations(&self) -> impl Iterator<Item = &Creation> {
        let under_way = self.ops.values().filter_map(|op| match op {
            Op::Create(creation) => Some(creation),
            Op::Wire { .. }
            | Op::Unwire { .. }
            | Op::Enis
            | Op::Subnets
            | Op::Attach { .. }
            | Op::Mark { .. }
            | Op::SetUp { .. }
            | Op::TearDown { .. }
            | Op::Detach { .. }
            | Op::Delete { .. }
            | Op::Assign { .. }
            | Op::Unassign { .. } => None,
        });
        under_way.chain(&self.unresolved)
    }

    fn unassign(&mut self, id: EniId, count: u32, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(eni) = self.enis.get_mut(&id) else { return };
        eni.busy = true;
        let idle = Duration::from_millis(self.target().release_after_ms);
        let mut stale: Vec<&mut Lease> = self
            .leases
            .values_mut()
            .filter(|lease| lease.eni == id && lease.is_free() && now.since(lease.since) >= idle)
            .collect();
        stale.sort_by_key(|lease| (lease.since, lease.address));
        let mut addresses = Vec::new();
        for lease in stale.into_iter().take(usize::try_from(count).unwrap_or(usize::MAX)) {
            lease.state = LeaseState::Returning;
            addresses.push(lease.address);
        }
        let give_back = Assigned { addresses: addresses.clone(), prefixes: Vec::new() };
        self.call(Op::Unassign { eni: id.clone(), addresses }, CloudCall::Unassign { eni: id, give_back }, effects);
    }

    fn remove(&mut self, id: &EniId, now: Timestamp, effects: &mut Vec<Effect>) {
        for lease in self.leases.values_mut().filter(|lease| lease.eni == *id) {
            lease.state = LeaseState::Returning;
            lease.since = now;
        }
        if let Some(eni) = self.enis.get_mut(id) {
            eni.phase = Phase::Leaving(Leaving::TearingDown);
            eni.failures = 0;
        }
        self.journal_eni(id, effects);
        self.advance_eni(id, now, effects);
    }

    /// The pool as planning sees it.
    pub(super) fn supply(&self, now: Timestamp) -> Supply {
        let per_eni = self.instance_type.addresses_per_eni(self.config.mode);
        let idle = Duration::from_millis(self.target().release_after_ms);
        let mut enis: Vec<&Eni> = self.enis.values().collect();
        enis.sort_by_key(|eni| eni.seat);
        let mut supply = Supply {
            enis: Vec::with_capacity(enis.len()),
            ready: 0,
            coming: self.creations().map(|creation| creation.count).sum(),
            held: 0,
            unusable: 0,
            waiting: u32::try_from(self.waiters.len()).unwrap_or(u32::MAX),
            max_enis: self.usable_enis(),
            enis_counted: u32::try_from(self.creations().count() + enis.len()).unwrap_or(u32::MAX),
            addresses_per_eni: per_eni,
            max_pods: self.max_pods_in_force(),
            may_create: self.subnet_for_new_eni().is_some() && self.free_seat().is_some(),
        };
        for eni in enis {
            let ready = eni.phase == Phase::Ready;
            let (mut free, mut used, mut stale, mut unusable) = (0, 0, 0, 0);
            for lease in self.leases.values().filter(|lease| lease.eni == eni.id) {
                match lease.state {
                    LeaseState::Free => {
                        free += 1;
                        stale += u32::from(now.since(lease.since) >= idle);
                    }
                    LeaseState::Reserved(_) | LeaseState::Bound(_) | LeaseState::Unbinding(_) => used += 1,
                    LeaseState::Cooling { .. } | LeaseState::Quarantined { .. } => {
                        used += 1;
                        unusable += 1;
                    }
                    LeaseState::Returning => {}
                }
            }
            if ready {
                supply.ready += free;
            } else if eni.phase.is_coming() {
                supply.coming += free;
            }
            if ready || used > 0 {
                supply.held += free + used;
            }
            supply.unusable += unusable;
            supply.coming += eni.in_flight;
            supply.enis.push(EniSupply {
                id: eni.id.clone(),
                ready,
                removable: !eni.is_primary() && !eni.busy,
                open: ready
                    && !eni.busy
                    && eni.blocked_until <= now
                    && !self.exhausted.contains_key(&eni.subnet),
                busy: ready && eni.busy && !self.exhausted.contains_key(&eni.subnet),
                room: per_eni.saturating_sub(free + used + eni.in_flight),
                free,
                used,
                last_use: eni.last_use,
                known_since: eni.known_since,
                stale,
            });
        }
        supply
    }

    /// ENIs that may carry pods: the instance's limit, the operator's, less those that are not ours.
    pub(super) fn usable_enis(&self) -> u32 {
        let limit = self.instance_type.max_enis();
        let limit = self.config.max_enis.map_or(limit, |max| max.min(limit));
        limit.saturating_sub(u32::try_from(self.unmanaged.len()).unwrap_or(u32::MAX))
    }

    /// The node's pod ceiling: what the operator states, what the strategy answered, or none.
    pub(super) fn max_pods_in_force(&self) -> u32 {
        self.config.max_pods.or(self.max_pods.as_ref().map(|decision| decision.target)).unwrap_or(u32::MAX)
    }

    pub(super) fn cloud_answered(
        &mut self,
        op: OpId,
        result: Result<CloudReply, CloudError>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let Some(op) = self.ops.remove(&op) else { return };
        if result.is_ok() {
            self.cloud_well();
        }
        match op {
            Op::Enis => self.enis_answered(result, now, effects),
            Op::Subnets => self.subnets_answered(result, now, effects),
            Op::Create(creation) => self.created(creation, result, now, effects),
            Op::Assign { eni, count, because } => self.assigned(&eni, count, because, result, now, effects),
            Op::Unassign { eni, addresses } => self.unassigned(&eni, addresses, result, now, effects),
            Op::Attach { eni } => self.attached(&eni, result, now, effects),
            Op::Mark { eni } => {
                let outcome = result.map(|_| ());
                if outcome.is_ok() {
                    if let Some(eni) = self.enis.get_mut(&eni) {
                        eni.marked = true;
                    }
                    self.journal_eni(&eni, effects);
                }
                self.eni_call_done(&eni, outcome, now);
            }
            Op::Detach { eni } => match result {
                Err(error) if !matches!(error.kind, CloudErrorKind::Gone) => self.eni_call_done(&eni, Err(error), now),
                Ok(_) | Err(_) => {
                    if let Some(eni) = self.enis.get_mut(&eni) {
                        eni.phase = Phase::Leaving(Leaving::Deleting);
                    }
                    self.eni_call_done(&eni, Ok(()), now);
                    self.journal_eni(&eni, effects);
                }
            },
            Op::Delete { eni } => match result {
                Err(error) if !matches!(error.kind, CloudErrorKind::Gone) => self.eni_call_done(&eni, Err(error), now),
                Ok(_) | Err(_) => self.forget_eni(&eni, effects),
            },
            Op::Wire { .. } | Op::Unwire { .. } | Op::SetUp { .. } | Op::TearDown { .. } => {}
        }
        self.asking.stale = true;
    }

    pub(super) fn forget_eni(&mut self, id: &EniId, effects: &mut Vec<Effect>) {
        self.enis.remove(id);
        self.leases.retain(|_, lease| lease.eni != *id);
        effects.push(Effect::Journal(vec![Record::EniGone { eni: id.clone() }]));
    }

    /// A call on an ENI that only its own retry depends on.
    fn eni_call_done(&mut self, id: &EniId, result: Result<(), CloudError>, now: Timestamp) {
        let chance = self.next_op;
        let Some(eni) = self.enis.get_mut(id) else { return };
        eni.busy = false;
        match result {
            Ok(()) => {
                eni.failures = 0;
                eni.blocked_until = Timestamp(0);
            }
            Err(error) => {
                eni.failures += 1;
                eni.blocked_until = now + delay(eni.failures, chance);
                if matches!(error.kind, CloudErrorKind::Throttled | CloudErrorKind::Unavailable | CloudErrorKind::Denied)
                {
                    self.back_off(error, now);
                } else {
                    self.observe_at = now;
                }
            }
        }
    }

    fn created(
        &mut self,
        creation: Creation,
        result: Result<CloudReply, CloudError>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        match result {
            Ok(CloudReply::Created(cloud)) => {
                let why = Why::Grown { call: "CreateNetworkInterface".to_owned(), because: creation.because };
                self.learn_eni(&cloud, creation.seat, Phase::Created, &why, now, effects);
                self.advance_eni(&cloud.id, now, effects);
            }
            Ok(_) => self.unresolved.push(creation),
            Err(error) if error.kind == CloudErrorKind::Unavailable => {
                // It may exist: asked again with the same token, EC2 answers with the same ENI.
                self.unresolved.push(creation);
                self.back_off(error, now);
            }
            Err(error) => {
                effects.push(Effect::Journal(vec![Record::NotCreated { token: creation.new.client_token }]));
                match error.kind {
                    CloudErrorKind::NoFreeAddresses | CloudErrorKind::NoFreeBlocks => {
                        self.subnet_exhausted(&creation.new.subnet, creation.count + 1, now);
                    }
                    CloudErrorKind::Throttled
                    | CloudErrorKind::LimitExceeded
                    | CloudErrorKind::Conflict
                    | CloudErrorKind::Gone
                    | CloudErrorKind::Denied
                    | CloudErrorKind::Rejected
                    | CloudErrorKind::Unavailable => self.back_off(error, now),
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
        self.enis.insert(cloud.id.clone(), Eni::from_cloud(cloud, seat, phase, why.clone(), now));
        for address in &cloud.addresses {
            let lease = || Lease::free(*address, cloud.id.clone(), why.clone(), now);
            self.leases.entry(*address).or_insert_with(lease);
        }
        self.journal_eni(&cloud.id, effects);
    }

    fn attached(
        &mut self,
        id: &EniId,
        result: Result<CloudReply, CloudError>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let seat = self.free_seat();
        let Some(eni) = self.enis.get_mut(id) else { return };
        match result {
            Ok(CloudReply::Attached(attachment)) => {
                eni.attachment = Some(attachment);
                eni.phase = Phase::Attaching { since: now };
                eni.blocked_until = Timestamp(0);
                self.eni_call_done(id, Ok(()), now);
                self.journal_eni(id, effects);
                self.advance_eni(id, now, effects);
            }
            Ok(_) => self.eni_call_done(id, Ok(()), now),
            Err(error) => {
                match error.kind {
                    // The index is taken, by something that we do not see yet: another one next time.
                    CloudErrorKind::Conflict => eni.seat = seat.unwrap_or(eni.seat),
                    CloudErrorKind::LimitExceeded | CloudErrorKind::Rejected => {
                        eni.phase = Phase::Leaving(Leaving::Deleting);
                    }
                    CloudErrorKind::Throttled
                    | CloudErrorKind::NoFreeAddresses
                    | CloudErrorKind::NoFreeBlocks
                    | CloudErrorKind::Gone
                    | CloudErrorKind::Denied
                    | CloudErrorKind::Unavailable => {}
                }
                if matches!(error.kind, CloudErrorKind::LimitExceeded | CloudErrorKind::Rejected) {
                    self.back_off(error.clone(), now);
                }
                self.eni_call_done(id, Err(error), now);
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
        let Some(Op::SetUp { eni: id }) = self.ops.remove(&op) else { return };
        let chance = self.next_op;
        let Some(eni) = self.enis.get_mut(&id) else { return };
        eni.busy = false;
        match result {
            Ok(()) => {
                eni.failures = 0;
                eni.blocked_until = Timestamp(0);
                if eni.phase.is_coming() {
                    eni.phase = Phase::Ready;
                    eni.last_use = now;
                    for lease in self.leases.values_mut().filter(|lease| lease.eni == id && lease.is_free()) {
                        lease.since = now;
                    }
                    self.asking.stale = true;
                }
                self.journal_eni(&id, effects);
                self.advance_eni(&id, now, effects);
                self.serve_waiters(now, effects);
            }
            Err(None) => eni.blocked_until = now + LINK_POLL,
            Err(Some(_)) => {
                eni.failures += 1;
                eni.blocked_until = now + delay(eni.failures, chance);
            }
        }
    }

    pub(super) fn eni_torn_down(&mut self, op: OpId, result: Result<(), String>, now: Timestamp) {
        let Some(Op::TearDown { eni: id }) = self.ops.remove(&op) else { return };
        let chance = self.next_op;
        let Some(eni) = self.enis.get_mut(&id) else { return };
        eni.busy = false;
        match result {
            Ok(()) => eni.phase = Phase::Leaving(Leaving::Detaching),
            Err(_) => {
                eni.failures += 1;
                eni.blocked_until = now + delay(eni.failures, chance);
            }
        }
    }

    fn assigned(
        &mut self,
        id: &EniId,
        count: u32,
        because: String,
        result: Result<CloudReply, CloudError>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let Some(eni) = self.enis.get_mut(id) else { return };
        eni.busy = false;
        eni.in_flight = 0;
        match result {
            Ok(CloudReply::Assigned(assigned)) => {
                let why = Why::Grown { call: "AssignPrivateIpAddresses".to_owned(), because };
                for address in assigned.addresses {
                    self.returned.remove(&address);
                    let lease = Lease::free(address, id.clone(), why.clone(), now);
                    self.leases.entry(address).or_insert(lease);
                }
                self.journal_eni(id, effects);
                self.serve_waiters(now, effects);
            }
            Ok(_) => self.observe_at = now,
            Err(error) => match error.kind {
                CloudErrorKind::NoFreeAddresses | CloudErrorKind::NoFreeBlocks => {
                    let subnet = eni.subnet.clone();
                    self.subnet_exhausted(&subnet, count, now);
                }
                CloudErrorKind::LimitExceeded | CloudErrorKind::Conflict | CloudErrorKind::Gone => {
                    eni.failures += 1;
                    eni.blocked_until = now + delay(eni.failures, self.next_op);
                    self.observe_at = now;
                }
                CloudErrorKind::Unavailable => {
                    // They may have been assigned: look before asking again.
                    self.observe_at = now;
                    self.back_off(error, now);
                }
                CloudErrorKind::Throttled | CloudErrorKind::Denied | CloudErrorKind::Rejected => {
                    self.back_off(error, now);
                }
            },
        }
    }

    fn unassigned(
        &mut self,
        id: &EniId,
        addresses: Vec<Ipv4Addr>,
        result: Result<CloudReply, CloudError>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(eni) = self.enis.get_mut(id) {
            eni.busy = false;
        }
        match result {
            Ok(_) => {
                for address in addresses {
                    self.leases.remove(&address);
                    self.returned.insert(address, now + RETURNED_MEMORY);
                }
                self.journal_eni(id, effects);
            }
            Err(error) => {
                // EC2 still has them here, as far as we know; looking settles it.
                for address in addresses {
                    if let Some(lease) = self.leases.get_mut(&address) {
                        lease.state = LeaseState::Free;
                        lease.since = now;
                    }
                }
                self.observe_at = now;
                self.back_off(error, now);
            }
        }
    }

    /// A subnet had less than we asked for: others are tried, and this one again when EC2 reports room.
    fn subnet_exhausted(&mut self, subnet: &SubnetId, asked: u32, now: Timestamp) {
        let failures = self.exhausted.get(subnet).map_or(0, |exhausted| exhausted.failures) + 1;
        self.exhausted.insert(subnet.clone(), Exhausted { until: now + SUBNET_BLOCK, asked, failures });
        self.subnets_at = now;
    }
}

/// `now` in RFC 3339, UTC, for the `createdAt` tag.
fn rfc3339(now: Timestamp) -> String {
    let secs = now.0 / 1000;
    let (days, rest) = (secs / 86_400, secs % 86_400);
    // Civil date from days since the epoch: the era-based algorithm for the proleptic Gregorian calendar.
    let z = days + 719_468;
    let era = z / 146_097;
    let doe = z % 146_097;
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest % 3600 / 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_become_rfc_3339() {
        for (secs, text) in
            [(0, "1970-01-01T00:00:00Z"), (951_827_696, "2000-02-29T12:34:56Z"), (1_795_219_199, "2026-11-20T23:59:59Z")]
        {
            assert_eq!(rfc3339(Timestamp(secs * 1000)), text);
        }
    }
}
