//! The journal's records become the state again. Restart has no other recovery path.

use std::collections::BTreeMap;

use super::{Config, Creation, LINGER, NodeState};
use crate::cloud::{NodeIdentity, Supply};
use crate::event::{Effect, Record};
use crate::lease::{Lease, LeaseState};
use crate::limits::InstanceType;
use crate::report::{Cause, Why};
use crate::time::Timestamp;

/// What the journal knows about the node itself, for a start at which nobody else answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remembered {
    /// Who it is.
    pub identity: Option<NodeIdentity>,
    /// What its instance type allows.
    pub instance_type: Option<InstanceType>,
}

impl Remembered {
    /// The last word of `records` on each.
    pub fn from_records(records: &[Record]) -> Self {
        let mut remembered = Self::default();
        for record in records {
            match record {
                Record::Identity { identity } => remembered.identity = Some(identity.clone()),
                Record::Limits { instance_type } => remembered.instance_type = Some(instance_type.clone()),
                Record::Creating { .. }
                | Record::NotCreated { .. }
                | Record::Eni { .. }
                | Record::Returning { .. }
                | Record::EniGone { .. }
                | Record::Reserved { .. }
                | Record::Bound { .. }
                | Record::Released { .. } => {}
            }
        }
        remembered
    }
}

impl NodeState {
    /// The state that `records` describe, and what is to be done at once: ENIs are set up again (which
    /// changes nothing where all is well) and pods whose wiring was interrupted are unwired.
    pub fn restore(
        config: Config,
        identity: NodeIdentity,
        instance_type: InstanceType,
        records: &[Record],
        now: Timestamp,
    ) -> (Self, Vec<Effect>) {
        let mut node = Self::new(config, identity, instance_type, now);
        let mut creating: BTreeMap<String, Creation> = BTreeMap::new();
        for record in records {
            node.apply(record, &mut creating, now);
        }
        node.unresolved = creating.into_values().collect();
        for eni in node.enis.values_mut() {
            eni.in_doubt = node.pool.counts_on(&eni.id).returning > 0;
        }
        let mut effects = Vec::new();
        node.advance_enis(now, &mut effects);
        let interrupted =
            |lease: &&Lease| matches!(lease.state, LeaseState::Reserved(_) | LeaseState::Unbinding(_));
        let interrupted: Vec<_> = node.pool.iter().filter(interrupted).map(|lease| lease.address).collect();
        for address in interrupted {
            node.unwire(address, now, &mut effects);
        }
        (node, effects)
    }

    fn apply(&mut self, record: &Record, creating: &mut BTreeMap<String, Creation>, now: Timestamp) {
        match record {
            Record::Identity { .. } | Record::Limits { .. } => {}
            Record::Creating { new, seat, decisions } => {
                let count = match new.supply {
                    Supply::Addresses(count) => count,
                    Supply::Prefixes(count) => count * crate::limits::PREFIX_ADDRESSES,
                };
                let because = "it was asked for before the daemon restarted".to_owned();
                let cause = Cause { because, decisions: decisions.clone() };
                let creation =
                    Creation { new: new.clone(), seat: *seat, count, cause, doubt: Some(now + LINGER) };
                creating.insert(new.client_token.clone(), creation);
            }
            Record::NotCreated { token } => {
                creating.remove(token);
            }
            Record::Eni { eni, addresses, origins } => {
                self.seen = true;
                creating.retain(|_, creation| creation.seat != eni.seat);
                for address in self.pool.addresses_on(&eni.id) {
                    if addresses.contains(&address) {
                        self.pool.change(address, |lease| lease.stay(now));
                    } else {
                        self.pool.forget(address);
                    }
                }
                for address in addresses {
                    let origin = origins.iter().find(|origin| origin.addresses.contains(address));
                    let why = origin.map_or(Why::Journal, |origin| origin.why.clone());
                    self.pool.learn(Lease::free(*address, eni.id.clone(), why, now));
                }
                self.enis.insert(eni.id.clone(), eni.clone());
            }
            Record::Returning { addresses } => {
                for address in addresses {
                    self.pool.change(*address, |lease| {
                        // It had cooled down by then, which is not journaled.
                        lease.thaw(Timestamp(u64::MAX));
                        lease.give_back(now)
                    });
                }
            }
            Record::EniGone { eni } => {
                self.enis.remove(eni);
                self.pool.forget_all_on(eni);
            }
            Record::Reserved { address, holder } => {
                let mut holder = holder.clone();
                if holder.asked > now {
                    // The wall clock stepped back since: how old the pod is compared with a spooled DEL is
                    // not known any more, so that every DEL of its attachment is about it.
                    holder.asked = Timestamp(0);
                }
                self.pool.change(*address, |lease| lease.state = LeaseState::Reserved(holder));
            }
            Record::Bound { address, at } => {
                // The reservation stands before it, or the record belongs to an ENI that is gone.
                self.pool.change(*address, |lease| lease.bind(*at));
            }
            Record::Released { address, cool_until } => {
                // A clock that stepped back must not keep an address cold for longer than it cools.
                let until = (*cool_until).min(now + self.config.cooldown);
                self.pool.change(*address, |lease| {
                    lease.state = LeaseState::Cooling { until };
                    lease.since = now;
                });
            }
        }
    }

    /// The fewest records that give this state back: what a compacted journal holds.
    pub fn records(&self) -> Vec<Record> {
        let mut records = vec![
            Record::Identity { identity: self.identity.clone() },
            Record::Limits { instance_type: self.instance_type.clone() },
        ];
        for eni in self.enis.values() {
            records.extend(self.eni_records(eni));
        }
        for creation in self.creations() {
            records.push(creation.record());
        }
        for lease in self.pool.iter() {
            let address = lease.address;
            if let Some(holder) = lease.state.holder() {
                records.push(Record::Reserved { address, holder: holder.clone() });
            }
            match &lease.state {
                LeaseState::Bound(_) | LeaseState::Quarantined { holder: Some(_), .. } => {
                    records.push(Record::Bound { address, at: lease.since });
                }
                LeaseState::Cooling { until } => {
                    records.push(Record::Released { address, cool_until: *until })
                }
                LeaseState::Free
                | LeaseState::Reserved(_)
                | LeaseState::Unbinding(_)
                | LeaseState::Returning
                | LeaseState::Quarantined { holder: None, .. } => {}
            }
        }
        records
    }
}
