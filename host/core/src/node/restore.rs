//! The journal's records become the state again. Restart has no other recovery path.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::{Config, Creation, LINGER, NodeState};
use crate::cloud::NodeIdentity;
use crate::eni::Eni;
use crate::event::{Effect, Record};
use crate::lease::{Holder, Lease, LeaseState};
use crate::limits::InstanceType;
use crate::report::{Cause, Why};
use crate::time::Timestamp;
use crate::wiring::VethPrefix;

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
                | Record::Delegated { .. }
                | Record::Returning { .. }
                | Record::EniGone { .. }
                | Record::Reserved { .. }
                | Record::ReservedTogether { .. }
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
    ///
    /// While there are pods, `veth_prefix` is what their links' names begin with, whatever `config` says: nobody renames a
    /// link under its pod, and the kernel's rules and looks know all pods' links by one prefix.
    pub fn restore(
        config: Config,
        identity: NodeIdentity,
        instance_type: InstanceType,
        records: &[Record],
        now: Timestamp,
    ) -> (Self, Vec<Effect>) {
        let mut node = Self::new(config, identity, instance_type, now);
        node.resumed = !records.is_empty();
        if node.resumed {
            let (budget, instance) = (node.config.budget.clone(), node.identity.instance.clone());
            node.restraint.resume(&budget, &instance, now);
        }
        let mut creating: BTreeMap<String, Creation> = BTreeMap::new();
        // What is restored was so before anybody looks.
        let before = now - Duration::from_millis(1);
        for record in records {
            node.apply(record, &mut creating, (before, now));
        }
        if let Some(prefix) = node.veth_prefix_of_pods() {
            node.config.veth_prefix = prefix;
        }
        // What served pods a moment ago is given the time to grow.
        node.has_served = node.pool.pods() > 0;
        node.unresolved = creating.into_values().collect();
        for eni in node.enis.values_mut() {
            eni.in_doubt = node.pool.counts_on(&eni.id).returning > 0;
            // The daemon before this one may have asked until just now.
            eni.changed_at = now;
        }
        let mut effects = Vec::new();
        node.advance_enis(now, &mut effects);
        let interrupted = |lease: &&Lease| match &lease.state {
            LeaseState::Reserved(holder) | LeaseState::Unbinding(holder) => {
                holder.wiring.key() == lease.address
            }
            LeaseState::Free
            | LeaseState::Bound(_)
            | LeaseState::Cooling { .. }
            | LeaseState::Returning
            | LeaseState::Quarantined { .. } => false,
        };
        let interrupted: Vec<_> = node.pool.iter().filter(interrupted).map(|lease| lease.address).collect();
        for address in interrupted {
            node.unwire(address, now, &mut effects);
        }
        (node, effects)
    }

    /// What the names of pods' links begin with, where there are any.
    fn veth_prefix_of_pods(&self) -> Option<VethPrefix> {
        let mut holders = self.pool.iter().filter_map(|lease| lease.state.holder());
        holders.find_map(|holder| VethPrefix::of(&holder.wiring.first.host_veth))
    }

    /// Applies a record: what it tells of was so `before` now.
    fn apply(
        &mut self,
        record: &Record,
        creating: &mut BTreeMap<String, Creation>,
        (before, now): (Timestamp, Timestamp),
    ) {
        match record {
            Record::Identity { identity } => self.identity.pod_ranges.clone_from(&identity.pod_ranges),
            Record::Limits { .. } => {}
            Record::Creating { new, seat, decisions } => {
                let because = "it was asked for before the daemon restarted".to_owned();
                let cause = Cause { because, decisions: decisions.clone() };
                let creation = Creation { new: new.clone(), seat: *seat, cause, doubt: Some(now + LINGER) };
                creating.insert(new.client_token.clone(), creation);
            }
            Record::NotCreated { token } => {
                creating.remove(token);
            }
            Record::Eni { eni, addresses, origins } => {
                self.seen = true;
                creating.retain(|_, creation| creation.seat != eni.seat);
                for address in self.pool.single_addresses_on(&eni.id) {
                    self.keep_or_forget(address.into(), addresses.contains(&address), before);
                }
                for address in addresses {
                    let origin = origins.iter().find(|origin| origin.addresses.contains(address));
                    let why = origin.map_or(Why::Journal, |origin| origin.why.clone());
                    self.pool.learn(Lease::free((*address).into(), eni.id.clone(), why, before));
                }
                let ipv6_prefixes = self.enis.get(&eni.id).map(|known| known.ipv6_prefixes.clone());
                let eni = Eni { ipv6_prefixes: ipv6_prefixes.unwrap_or_default(), ..eni.clone() }
                    .no_later_than(now);
                self.enis.insert(eni.id.clone(), eni);
            }
            Record::Delegated { eni, prefixes, ipv6_prefixes, origins } => {
                let out_of_blocks: Vec<_> = self
                    .pool
                    .on(eni)
                    .filter_map(|lease| Some((lease.address, prefixes.contains(&lease.block?))))
                    .collect();
                for (address, kept) in out_of_blocks {
                    self.keep_or_forget(address, kept, before);
                }
                for block in prefixes {
                    let origin = origins.iter().find(|origin| origin.prefixes.contains(block));
                    let why = origin.map_or(Why::Journal, |origin| origin.why.clone());
                    for lease in Lease::free_block(*block, eni, &why, before) {
                        self.pool.learn(lease);
                    }
                }
                if let Some(eni) = self.enis.get_mut(eni) {
                    eni.ipv6_prefixes.clone_from(ipv6_prefixes);
                }
            }
            Record::Returning { addresses } => {
                for address in addresses {
                    self.pool.change((*address).into(), |lease| {
                        // It had cooled down by then, which is not journaled.
                        lease.thaw(Timestamp(u64::MAX));
                        lease.give_back(before)
                    });
                }
            }
            Record::EniGone { eni } => {
                self.enis.remove(eni);
                self.pool.forget_all_on(eni);
            }
            Record::Reserved { holder, .. } | Record::ReservedTogether { holder } => {
                let mut holder = holder.clone();
                if holder.asked > now {
                    // The wall clock stepped back since: how old the pod is compared with a spooled DEL is
                    // not known any more, so that every DEL of its attachment is about it.
                    holder.asked = Timestamp(0);
                }
                for address in holder.wiring.leased() {
                    self.recall_ipv6(address, before);
                    self.pool.change(address, |lease| lease.state = LeaseState::Reserved(holder.clone()));
                }
            }
            Record::Bound { address, at } => {
                // The reservation stands before it, or the record belongs to an ENI that is gone. A wall clock that
                // stepped back since must not make the pod younger than any look at it.
                let at = (*at).min(now);
                for leased in self.leased_with(*address) {
                    self.pool.change(leased, |lease| lease.bind(at));
                }
            }
            Record::Released { address, cool_until } => {
                // A clock that stepped back must not keep an address cold for longer than it cools.
                let until = (*cool_until).min(now + self.config.cooldown);
                for leased in self.leased_with(*address) {
                    self.recall_ipv6(leased, before);
                    self.pool.change(leased, |lease| {
                        lease.state = LeaseState::Cooling { until };
                        lease.since = before;
                    });
                }
            }
        }
    }

    fn keep_or_forget(&mut self, address: IpAddr, keep: bool, now: Timestamp) {
        if keep {
            self.pool.change(address, |lease| lease.stay(now));
        } else {
            self.pool.forget(address);
        }
    }

    /// An IPv6 lease begins with its pod, so that no ENI's record brings it.
    fn recall_ipv6(&mut self, address: IpAddr, now: Timestamp) {
        if address.is_ipv6() {
            let eni = self.identity.primary_eni.clone();
            self.pool.learn(Lease::free(address, eni, Why::Drawn, now));
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
            let holder = lease.state.holder().filter(|holder| holder.wiring.key() == address);
            records.extend(holder.map(Holder::reservation));
            match &lease.state {
                LeaseState::Bound(_) | LeaseState::Quarantined { holder: Some(_), .. }
                    if holder.is_some() =>
                {
                    records.push(Record::Bound { address, at: lease.since });
                }
                LeaseState::Cooling { until } => {
                    records.push(Record::Released { address, cool_until: *until })
                }
                LeaseState::Free
                | LeaseState::Reserved(_)
                | LeaseState::Bound(_)
                | LeaseState::Unbinding(_)
                | LeaseState::Returning
                | LeaseState::Quarantined { .. } => {}
            }
        }
        records
    }
}
