//! Growth and giving back: what planning is shown, and its steps carried out.

use std::time::Duration;

use super::{
    Creation, Exhausted, LINGER, NodeState, Purpose, RELEASE_EVERY, RETURNED_MEMORY, SUBNET_BLOCK, delay,
};
use crate::cloud::{CloudError, CloudErrorKind, CloudSubnet, NewEni, Supply as Amount};
use crate::eni::{Eni, Leaving, Phase};
use crate::event::{Api, CloudCall, CloudReply, Effect, Record};
use crate::ids::{EniId, SubnetId};
use crate::kind::Kind;
use crate::lease::Lease;
use crate::limits::Mode;
use crate::plan::{self, EniSupply, Step, Supply};
use crate::report::{Cause, Decided, Why};
use crate::time::Timestamp;
use crate::wiring::Seat;

const ASSIGN: Api = Api::AssignPrivateIpAddresses;
const ATTACH: Api = Api::AttachNetworkInterface;
const CREATE: Api = Api::CreateNetworkInterface;
const DELETE: Api = Api::DeleteNetworkInterface;
const UNASSIGN: Api = Api::UnassignPrivateIpAddresses;
/// How often subnets are looked at while a pod is short of an address that none of them had.
const STARVED_LOOK_EVERY: Duration = Duration::from_secs(30);

impl NodeState {
    /// Grows when short, gives back when there is too much, and leaves well alone otherwise.
    pub(super) fn adjust_supply(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if !self.seen {
            return;
        }
        if self.pushback.permits(CREATE, now) {
            while let Some(creation) = self.unresolved.pop() {
                self.ask_for_eni(creation, effects);
            }
        }
        let supply = self.supply(now);
        let band = self.target();
        if plan::shortage(&supply, &band) > 0 {
            for step in plan::growth(&supply, &band) {
                self.take(step, self.shortage(&supply), now, effects);
            }
            if self.subnet_for_new_eni().is_none() {
                self.subnets_at =
                    self.subnets_at.min(self.subnets_seen + STARVED_LOOK_EVERY).max(now + RELEASE_EVERY);
            }
        }
        if self.release_at <= now {
            self.release_at = now + RELEASE_EVERY;
            let supply = self.supply(now);
            if let Some(step) = plan::release(&supply, &band, now) {
                self.take(step, self.surplus(&supply), now, effects);
            }
        }
    }

    /// Whether giving back is worth looking at.
    pub(super) fn has_surplus(&self) -> bool {
        let ready = self.pool.counts().free;
        let too_many = self.target().ready_high.is_some_and(|high| ready > high || self.enis.len() > 1);
        too_many || self.enis_counted() > self.usable_enis()
    }

    /// ENIs that count against the limit: those on the default card, which the limit is about.
    fn enis_counted(&self) -> u32 {
        let here = self.enis.values().filter(|eni| self.counts_against_limit(eni.seat)).count();
        u32::try_from(self.creations().count() + here).unwrap_or(u32::MAX)
    }

    /// Whether what sits there counts against [`InstanceType::max_enis`](crate::limits::InstanceType::max_enis),
    /// which knows the default card only. The primary always does.
    fn counts_against_limit(&self, seat: Seat) -> bool {
        seat.card == self.instance_type.default_card || seat == Seat::PRIMARY
    }

    /// Why something is asked for.
    fn shortage(&self, supply: &Supply) -> Cause {
        let Supply { ready, coming, waiting, .. } = supply;
        let stock = format!("{ready} ready and {coming} coming, {waiting} pods waiting");
        self.against_target(stock)
    }

    /// Why something is given back.
    fn surplus(&self, supply: &Supply) -> Cause {
        let Supply { ready, held, max_enis, .. } = supply;
        if plan::is_beyond_limit(supply) {
            let because = format!("the node has more ENIs than the {max_enis} that may carry pods");
            return Cause { because, decisions: Vec::new() };
        }
        self.against_target(format!("{ready} ready of {held} held, none coming and no pod waiting"))
    }

    fn against_target(&self, stock: String) -> Cause {
        let because = match &self.band {
            Some(decision) => format!("{stock}; the target: {}", decision.target),
            None => format!("{stock}; no target yet"),
        };
        Cause { because, decisions: self.band_decided().into_iter().collect() }
    }

    fn band_decided(&self) -> Option<Decided> {
        self.band.as_ref().map(|decision| decision.reference(Kind::WarmPool))
    }

    fn take(&mut self, step: Step, cause: Cause, now: Timestamp, effects: &mut Vec<Effect>) {
        match step {
            Step::Assign { eni, count } => self.assign(eni, count, cause, effects),
            Step::Create { count } => self.create(count, cause, now, effects),
            Step::Unassign { eni, count } => self.give_back(&eni, count, cause, now, effects),
            Step::Remove { eni } => self.remove(&eni, cause, now, effects),
        }
    }

    fn assign(&mut self, id: EniId, count: u32, cause: Cause, effects: &mut Vec<Effect>) {
        let Some(eni) = self.enis.get_mut(&id) else { return };
        let free =
            self.subnets.iter().find(|subnet| subnet.id == eni.subnet).map_or(count, |subnet| subnet.free);
        let count = count.min(free.max(1));
        eni.busy = true;
        eni.in_flight = count;
        let call = CloudCall::Assign { eni: id.clone(), supply: self.amount(count) };
        self.call(Purpose::Assign { eni: id, count, cause }, call, effects);
    }

    fn amount(&self, addresses: u32) -> Amount {
        match self.config.mode {
            Mode::SecondaryIp => Amount::Addresses(addresses),
            Mode::Prefix => Amount::Prefixes(addresses.div_ceil(crate::limits::PREFIX_ADDRESSES)),
        }
    }

    fn create(&mut self, count: u32, mut cause: Cause, now: Timestamp, effects: &mut Vec<Effect>) {
        cause
            .decisions
            .extend(self.subnet_order.as_ref().map(|order| order.reference(Kind::SubnetSelection)));
        let Some(subnet) = self.subnet_for_new_eni() else { return };
        let (subnet, free) = (subnet.id.clone(), subnet.free);
        let Some(seat) = self.free_seat() else { return };
        let count = count.min(free.saturating_sub(1).max(1));
        self.tokens += 1;
        let instance = &self.identity.instance;
        let mut tags = vec![
            ("node.k8s.amazonaws.com/instance_id".to_owned(), instance.to_string()),
            ("node.k8s.amazonaws.com/createdAt".to_owned(), now.rfc3339()),
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
        self.ask_for_eni(Creation { new, seat, count, cause, doubt: None }, effects);
    }

    pub(super) fn ask_for_eni(&mut self, creation: Creation, effects: &mut Vec<Effect>) {
        effects.push(Effect::Journal(vec![creation.record()]));
        let call = CloudCall::Create(creation.new.clone());
        self.call(Purpose::Create(creation), call, effects);
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
    pub(super) fn free_seat(&self) -> Option<Seat> {
        let card = self.instance_type.default_card;
        let taken = |seat: Seat| {
            self.enis.values().any(|eni| eni.seat == seat)
                || self.unmanaged.contains(&seat)
                || self.creations().any(|creation| creation.seat == seat)
        };
        (1..self.instance_type.max_enis()).map(|device| Seat { card, device }).find(|seat| !taken(*seat))
    }

    /// ENIs that have been asked for and whose fate is not known.
    pub(super) fn creations(&self) -> impl Iterator<Item = &Creation> {
        let under_way = self.calls.values().filter_map(|call| match &call.purpose {
            Purpose::Create(creation) => Some(creation),
            Purpose::Enis { .. }
            | Purpose::Subnets
            | Purpose::Attach { .. }
            | Purpose::Mark { .. }
            | Purpose::Detach { .. }
            | Purpose::Delete { .. }
            | Purpose::Assign { .. }
            | Purpose::Unassign { .. } => None,
        });
        under_way.chain(&self.unresolved)
    }

    /// Marks the addresses that have been free the longest as returning; EC2 is asked as the ENI's next step.
    fn give_back(&mut self, id: &EniId, count: u32, cause: Cause, now: Timestamp, effects: &mut Vec<Effect>) {
        let idle = Duration::from_millis(self.target().release_after_ms);
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let stale: Vec<_> = self.pool.free_since(id, now - idle).take(count).collect();
        for address in stale {
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
            eni.failures = 0;
            eni.going = Some(Why::GivenBack { call: DELETE.name().to_owned(), cause });
        }
        self.journal_eni(id, effects);
        self.advance_eni(id, now, effects);
    }

    /// The pool as planning sees it.
    pub(super) fn supply(&self, now: Timestamp) -> Supply {
        let mut enis: Vec<&Eni> = self.enis.values().collect();
        enis.sort_by_key(|eni| eni.seat);
        let calls = CallsPermitted {
            assign: self.pushback.permits(ASSIGN, now),
            assign_later: !self.pushback.denied(ASSIGN),
            unassign: self.pushback.permits(UNASSIGN, now),
        };
        let mut supply = Supply {
            enis: Vec::with_capacity(enis.len()),
            ready: 0,
            coming: self.creations().map(|creation| creation.count).sum(),
            held: 0,
            unusable: 0,
            waiting: u32::try_from(self.queue.len()).unwrap_or(u32::MAX),
            max_enis: self.usable_enis(),
            enis_counted: self.enis_counted(),
            addresses_per_eni: self.instance_type.addresses_per_eni(self.config.mode),
            max_pods: self.max_pods_in_force(),
            may_create: self.may_create(now),
        };
        for eni in enis {
            let counts = self.pool.counts_on(&eni.id);
            let unusable = counts.cooling + counts.quarantined;
            let used = counts.held + unusable;
            if eni.serves() {
                supply.ready += counts.free;
            } else if eni.is_coming(now) {
                supply.coming += counts.free;
            }
            if eni.serves() || used > 0 {
                supply.held += counts.free + used;
            }
            supply.unusable += unusable;
            supply.coming += eni.in_flight;
            supply.enis.push(self.eni_supply(eni, calls, now));
        }
        supply
    }

    fn eni_supply(&self, eni: &Eni, calls: CallsPermitted, now: Timestamp) -> EniSupply {
        let counts = self.pool.counts_on(&eni.id);
        let per_eni = self.instance_type.addresses_per_eni(self.config.mode);
        let idle = Duration::from_millis(self.target().release_after_ms);
        let calm = eni.serves() && !eni.busy && eni.blocked_until <= now && counts.returning == 0;
        let subnet_has_room = !self.exhausted.contains_key(&eni.subnet);
        EniSupply {
            id: eni.id.clone(),
            ready: eni.serves(),
            leaving: matches!(eni.phase, Phase::Leaving(_)),
            removable: eni.is_ours() && !eni.is_primary() && !eni.busy && counts.returning == 0,
            open: calm && calls.assign && subnet_has_room,
            gives: calm && calls.unassign,
            busy: eni.serves()
                && subnet_has_room
                && (eni.busy || counts.returning > 0 || !calls.assign && calls.assign_later),
            room: per_eni.saturating_sub(counts.total() + eni.in_flight),
            free: counts.free,
            used: counts.held + counts.cooling + counts.quarantined,
            last_use: eni.last_use,
            known_since: eni.known_since,
            stale: u32::try_from(self.pool.free_since(&eni.id, now - idle).count()).unwrap_or(u32::MAX),
        }
    }

    fn may_create(&self, now: Timestamp) -> bool {
        self.pushback.permits(CREATE, now)
            && self.pushback.permits(ATTACH, now)
            && self.subnet_for_new_eni().is_some()
            && self.free_seat().is_some()
    }

    /// ENIs that may carry pods: the instance's limit, the operator's, less those that are not ours.
    pub(super) fn usable_enis(&self) -> u32 {
        let limit = self.instance_type.max_enis();
        let limit = self.config.max_enis.map_or(limit, |max| max.min(limit));
        let foreign = self.unmanaged.iter().filter(|seat| self.counts_against_limit(**seat)).count();
        limit.saturating_sub(u32::try_from(foreign).unwrap_or(u32::MAX))
    }

    /// The node's pod ceiling: what the operator states, what the strategy answered, or none.
    pub(super) fn max_pods_in_force(&self) -> u32 {
        self.config.max_pods.or(self.max_pods.as_ref().map(|decision| decision.target)).unwrap_or(u32::MAX)
    }

    pub(super) fn created(
        &mut self,
        creation: Creation,
        result: Result<CloudReply, CloudError>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        match result {
            Ok(CloudReply::Created(cloud)) if self.enis.contains_key(&cloud.id) => {
                // A token of an earlier life: the ENI is known, and further along than this reply says.
                effects.push(Effect::Journal(vec![Record::NotCreated { token: creation.new.client_token }]));
            }
            Ok(CloudReply::Created(cloud)) => {
                let why = Why::Grown { call: CREATE.name().to_owned(), cause: creation.cause };
                self.learn_eni(&cloud, creation.seat, Phase::Created, &why, now, effects);
                self.advance_eni(&cloud.id, now, effects);
            }
            Ok(
                CloudReply::Enis(_)
                | CloudReply::Subnets(_)
                | CloudReply::Attached(_)
                | CloudReply::Assigned(_)
                | CloudReply::Done,
            ) => self.unresolved.push(creation),
            Err(error) if leaves_open(error.kind, creation.doubt, now) => {
                // It may exist: asked again with the same token, EC2 answers with the same ENI.
                let lost = error.kind == CloudErrorKind::Unavailable;
                let doubt = if lost { Some(now + LINGER) } else { creation.doubt };
                self.unresolved.push(Creation { doubt, ..creation });
                self.pushback.failed(CREATE, error, now, self.next_op);
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
                    | CloudErrorKind::Unavailable => self.pushback.failed(CREATE, error, now, self.next_op),
                }
            }
        }
    }

    pub(super) fn assigned(
        &mut self,
        id: &EniId,
        count: u32,
        cause: Cause,
        result: Result<CloudReply, CloudError>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let Some(eni) = self.enis.get_mut(id) else { return };
        eni.busy = false;
        eni.in_flight = 0;
        eni.changed_at = now;
        match result {
            Ok(CloudReply::Assigned(assigned)) => {
                let why = Why::Grown { call: ASSIGN.name().to_owned(), cause };
                for address in assigned.addresses {
                    self.returned.remove(&address);
                    let lease = Lease::free(address, id.clone(), why.clone(), now);
                    self.learn_address(lease, now);
                }
                self.journal_eni(id, effects);
                self.serve_waiters(now, effects);
            }
            Ok(
                CloudReply::Enis(_)
                | CloudReply::Subnets(_)
                | CloudReply::Created(_)
                | CloudReply::Attached(_)
                | CloudReply::Done,
            ) => self.observe_at = now,
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
                    self.pushback.failed(ASSIGN, error, now, self.next_op);
                }
                CloudErrorKind::Throttled | CloudErrorKind::Denied | CloudErrorKind::Rejected => {
                    self.pushback.failed(ASSIGN, error, now, self.next_op);
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
        addresses: Vec<std::net::Ipv4Addr>,
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
                CloudErrorKind::Throttled | CloudErrorKind::Denied if !eni.in_doubt => {
                    for address in addresses {
                        self.pool.change(address, |lease| lease.stay(now));
                    }
                    self.pushback.failed(UNASSIGN, error, now, chance);
                    self.journal_eni(id, effects);
                }
                CloudErrorKind::Unavailable | CloudErrorKind::Throttled | CloudErrorKind::Denied => {
                    eni.in_doubt = true;
                    self.pushback.failed(UNASSIGN, error, now, chance);
                }
                CloudErrorKind::NoFreeAddresses
                | CloudErrorKind::NoFreeBlocks
                | CloudErrorKind::LimitExceeded
                | CloudErrorKind::Conflict
                | CloudErrorKind::Gone
                | CloudErrorKind::Rejected => {
                    eni.failures = eni.failures.saturating_add(1);
                    eni.blocked_until = now + delay(eni.failures, chance);
                    self.look_again(now);
                }
            },
        }
    }

    /// A subnet had less than we asked for: others are tried, and this one again when EC2 reports room.
    fn subnet_exhausted(&mut self, subnet: &SubnetId, asked: u32, now: Timestamp) {
        let failures = self.exhausted.get(subnet).map_or(0, |exhausted| exhausted.failures) + 1;
        self.exhausted
            .insert(subnet.clone(), Exhausted { until: now + SUBNET_BLOCK, asked, failures, reported: None });
        self.subnets_at = now;
    }
}

/// Whether a creation may have succeeded, or may yet succeed, although a call for it failed so.
///
/// Once a reply was lost, only an answer to the request itself settles it: throttling and missing permission
/// are told before it is looked at. While the lost try may still be on its way, nothing settles it.
fn leaves_open(kind: CloudErrorKind, doubt: Option<Timestamp>, now: Timestamp) -> bool {
    match kind {
        CloudErrorKind::Unavailable => true,
        CloudErrorKind::Throttled | CloudErrorKind::Denied => doubt.is_some(),
        CloudErrorKind::NoFreeAddresses
        | CloudErrorKind::NoFreeBlocks
        | CloudErrorKind::LimitExceeded
        | CloudErrorKind::Conflict
        | CloudErrorKind::Gone
        | CloudErrorKind::Rejected => doubt.is_some_and(|until| until > now),
    }
}

/// Which calls may be made now.
#[derive(Clone, Copy)]
struct CallsPermitted {
    assign: bool,
    /// Whether waiting helps when assigning is not permitted.
    assign_later: bool,
    unassign: bool,
}
