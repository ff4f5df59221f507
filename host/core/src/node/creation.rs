//! New ENIs: asked for once, however often the question is repeated.

use super::supply::within;
use super::{LINGER, NodeState, Purpose};
use crate::cloud::{CloudError, CloudErrorKind, CloudSubnet, NewEni, Supply as Amount};
use crate::eni::Phase;
use crate::event::{Api, CloudCall, CloudReply, Effect, Record};
use crate::kind::Kind;
use crate::plan::Unit;
use crate::report::{Cause, Why};
use crate::time::Timestamp;
use crate::wiring::Seat;

const ATTACH: Api = Api::AttachNetworkInterface;
const CREATE: Api = Api::CreateNetworkInterface;

/// An ENI that is being asked for.
#[derive(Clone, Debug)]
pub(super) struct Creation {
    pub(super) new: NewEni,
    pub(super) seat: Seat,
    pub(super) cause: Cause,
    /// Set when an earlier try may have succeeded without our hearing of it: until then it may still be on
    /// its way to EC2.
    pub(super) doubt: Option<Timestamp>,
}

impl Creation {
    /// The intent, as it is journaled.
    pub(super) fn record(&self) -> Record {
        let decisions = self.cause.decisions.clone();
        Record::Creating { new: self.new.clone(), seat: self.seat, decisions }
    }
}

impl NodeState {
    pub(super) fn create(
        &mut self,
        card: u32,
        amount: Amount,
        mut cause: Cause,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let order = self.subnet_order.as_ref().filter(|_| self.follows_order());
        cause.decisions.extend(order.map(|order| order.reference(Kind::SubnetSelection)));
        let Some((subnet, unit)) = self.place_for_new_eni(card) else { return };
        // The plan may have filled the subnet that it had in mind.
        let slots = amount.addresses().div_ceil(unit.addresses()).min(self.instance_type.slots_per_eni());
        let amount = unit.amount(slots);
        let (subnet, free) = (subnet.id.clone(), self.room_in(subnet));
        let Some(seat) = self.free_seat(card) else { return };
        let amount = within(amount, free.saturating_sub(1), self.most_blocks(&subnet));
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
            security_groups: self.security_groups().to_vec(),
            supply: amount,
            description: format!("aws-K8S-{instance}"),
            tags,
            client_token: format!("enid-{instance}-{}-{}", self.started.0, self.tokens),
        };
        self.ask_for_eni(Creation { new, seat, cause, doubt: None }, now, effects);
    }

    pub(super) fn ask_for_eni(&mut self, creation: Creation, now: Timestamp, effects: &mut Vec<Effect>) {
        effects.push(Effect::Journal(vec![creation.record()]));
        let call = CloudCall::Create(creation.new.clone());
        self.call(Purpose::Create(creation), call, now, effects);
    }

    /// Where a new ENI of a card goes and what its slots are filled with: the first eligible subnet that has what the
    /// node's mode asks for, or else the first with room for an ENI and a pod.
    pub(super) fn place_for_new_eni(&self, card: u32) -> Option<(&CloudSubnet, Unit)> {
        let room = |subnet: &&CloudSubnet| self.room_in(subnet) >= 2;
        let mut places = self
            .subnets_in_order()
            .filter(|subnet| !self.exhausted.contains_key(&subnet.id))
            .filter(room)
            .map(|subnet| (subnet, self.unit_in(&subnet.id, card)));
        let first = places.next()?;
        let wanted = self.unit_of(card);
        let best = std::iter::once(first).chain(places).find(|(_, unit)| *unit == wanted);
        Some(best.unwrap_or(first))
    }

    /// ENIs that have been asked for and whose fate is not known.
    pub(super) fn creations(&self) -> impl Iterator<Item = &Creation> {
        let under_way = self.calls.values().filter_map(|call| match &call.purpose {
            Purpose::Create(creation) => Some(creation),
            Purpose::Enis { .. }
            | Purpose::Subnets
            | Purpose::VpcRanges
            | Purpose::Orphans
            | Purpose::Sweep { .. }
            | Purpose::Attach { .. }
            | Purpose::Mark { .. }
            | Purpose::Groups { .. }
            | Purpose::Detach { .. }
            | Purpose::Delete { .. }
            | Purpose::Assign { .. }
            | Purpose::AssignIpv6 { .. }
            | Purpose::Unassign { .. } => None,
        });
        under_way.chain(&self.unresolved)
    }

    pub(super) fn may_create(&self, card: u32, now: Timestamp) -> bool {
        let urgency = self.urgency();
        self.may_ask(CREATE, urgency, now)
            // Attaching comes later, and so does its turn in the budget.
            && self.restraint.pushback.until(ATTACH) <= now
            && self.free_seat(card).is_some()
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
                if !cloud.prefixes.is_empty() {
                    self.blocks_found(&cloud.subnet);
                }
                let why = Why::Grown { call: CREATE.name().to_owned(), cause: creation.cause };
                self.learn_eni(&cloud, creation.seat, Phase::Created, &why, now, effects);
                self.advance_eni(&cloud.id, now, effects);
            }
            Ok(
                CloudReply::Enis(_)
                | CloudReply::VpcRanges(_)
                | CloudReply::Subnets(_)
                | CloudReply::Orphans(_)
                | CloudReply::Attached(_)
                | CloudReply::Assigned(_)
                | CloudReply::Done,
            ) => self.unresolved.push(creation),
            Err(error) if leaves_open(error.kind, creation.doubt, now) => {
                // It may exist: asked again with the same token, EC2 answers with the same ENI.
                let lost = error.kind == CloudErrorKind::Unavailable;
                let doubt = if lost { Some(now + LINGER) } else { creation.doubt };
                self.unresolved.push(Creation { doubt, ..creation });
                self.restraint.pushback.failed(CREATE, error, now, self.next_op);
            }
            Err(error) => {
                let NewEni { subnet, supply, client_token, .. } = creation.new;
                effects.push(Effect::Journal(vec![Record::NotCreated { token: client_token }]));
                match error.kind {
                    CloudErrorKind::NoFreeBlocks | CloudErrorKind::NoFreeAddresses => {
                        self.subnet_short(&subnet, supply, 1, now);
                    }
                    CloudErrorKind::Throttled
                    | CloudErrorKind::LimitExceeded
                    | CloudErrorKind::Conflict
                    | CloudErrorKind::Gone
                    | CloudErrorKind::Denied
                    | CloudErrorKind::Rejected
                    | CloudErrorKind::NotAsked
                    | CloudErrorKind::Unavailable => {
                        self.restraint.pushback.failed(CREATE, error, now, self.next_op)
                    }
                }
            }
        }
    }
}

/// Whether a creation may have succeeded, or may yet succeed, although a call for it failed so.
///
/// Once a reply was lost, only an answer to the request itself settles it: throttling and missing permission
/// are told before it is looked at. While the lost try may still be on its way, nothing settles it.
fn leaves_open(kind: CloudErrorKind, doubt: Option<Timestamp>, now: Timestamp) -> bool {
    match kind {
        CloudErrorKind::Unavailable => true,
        CloudErrorKind::Throttled | CloudErrorKind::Denied | CloudErrorKind::NotAsked => doubt.is_some(),
        CloudErrorKind::NoFreeAddresses
        | CloudErrorKind::NoFreeBlocks
        | CloudErrorKind::LimitExceeded
        | CloudErrorKind::Conflict
        | CloudErrorKind::Gone
        | CloudErrorKind::Rejected => doubt.is_some_and(|until| until > now),
    }
}
