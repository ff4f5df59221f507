//! The node's pod addresses: every lease, and what decisions ask about them, counted as they change.
//!
//! A lease changes only through [`Pool::change`], so that the counts are right by construction; debug
//! builds recount.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use crate::ids::{Attachment, EniId, IfName};
use crate::lease::{Lease, LeaseState};
use crate::time::Timestamp;

/// How many addresses are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Ready to be bound.
    pub(crate) free: u32,
    /// Reserved, bound or being unbound.
    pub(crate) held: u32,
    /// Cooling down.
    pub(crate) cooling: u32,
    /// On their way back to EC2.
    pub(crate) returning: u32,
    /// Out of service.
    pub(crate) quarantined: u32,
}

impl Counts {
    /// All of them.
    pub(crate) fn total(self) -> u32 {
        self.free + self.held + self.cooling + self.returning + self.quarantined
    }

    fn of(&mut self, state: &LeaseState) -> &mut u32 {
        match state {
            LeaseState::Free => &mut self.free,
            LeaseState::Reserved(_) | LeaseState::Bound(_) | LeaseState::Unbinding(_) => &mut self.held,
            LeaseState::Cooling { .. } => &mut self.cooling,
            LeaseState::Returning => &mut self.returning,
            LeaseState::Quarantined { .. } => &mut self.quarantined,
        }
    }
}

/// All leases, by address.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    leases: BTreeMap<Ipv4Addr, Lease>,
    index: Index,
}

/// What is known about the leases without looking at each.
#[derive(Debug, Default, PartialEq, Eq)]
struct Index {
    counts: Counts,
    enis: BTreeMap<EniId, OnEni>,
    holders: BTreeMap<Attachment, Ipv4Addr>,
    /// Host links in use. Two addresses share one only while a pod's old sandbox goes.
    links: BTreeMap<IfName, u32>,
    cooling: BTreeSet<(Timestamp, Ipv4Addr)>,
}

/// The addresses of one ENI.
#[derive(Debug, Default, PartialEq, Eq)]
struct OnEni {
    counts: Counts,
    all: BTreeSet<Ipv4Addr>,
    /// By the time since which they have been free.
    free: BTreeSet<(Timestamp, Ipv4Addr)>,
}

impl Pool {
    /// One address.
    pub(crate) fn get(&self, address: Ipv4Addr) -> Option<&Lease> {
        self.leases.get(&address)
    }

    /// All addresses, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Lease> {
        self.leases.values()
    }

    /// The addresses on one ENI, in order.
    pub(crate) fn on(&self, eni: &EniId) -> impl Iterator<Item = &Lease> {
        let all = self.index.enis.get(eni).map(|on| &on.all);
        all.into_iter().flatten().filter_map(|address| self.leases.get(address))
    }

    /// How many addresses are in which state.
    pub(crate) fn counts(&self) -> Counts {
        self.index.counts
    }

    /// The same for one ENI.
    pub(crate) fn counts_on(&self, eni: &EniId) -> Counts {
        self.index.enis.get(eni).map(|on| on.counts).unwrap_or_default()
    }

    /// The address of an attachment.
    pub(crate) fn of(&self, attachment: &Attachment) -> Option<Ipv4Addr> {
        self.index.holders.get(attachment).copied()
    }

    /// Whether a pod's host link has this name.
    pub(crate) fn uses_link(&self, name: &IfName) -> bool {
        self.index.links.contains_key(name)
    }

    /// The address on `eni` that has been free the longest.
    pub(crate) fn oldest_free(&self, eni: &EniId) -> Option<Ipv4Addr> {
        self.index.enis.get(eni)?.free.first().map(|(_, address)| *address)
    }

    /// The addresses on `eni` that have been free since `by` or longer, the longest first.
    pub(crate) fn free_since(&self, eni: &EniId, by: Timestamp) -> impl Iterator<Item = Ipv4Addr> {
        let free = self.index.enis.get(eni).map(|on| &on.free);
        free.into_iter().flatten().take_while(move |(since, _)| *since <= by).map(|(_, address)| *address)
    }

    /// When the first cooling address is free again.
    pub(crate) fn next_thaw(&self) -> Option<Timestamp> {
        self.index.cooling.first().map(|(until, _)| *until)
    }

    /// Takes in a new address; one that is known stays as it is.
    pub(crate) fn learn(&mut self, lease: Lease) {
        if let std::collections::btree_map::Entry::Vacant(slot) = self.leases.entry(lease.address) {
            self.index.add(&lease);
            slot.insert(lease);
        }
    }

    /// Lets one address take a step; `None` when it is not known.
    pub(crate) fn change<R>(&mut self, address: Ipv4Addr, step: impl FnOnce(&mut Lease) -> R) -> Option<R> {
        let lease = self.leases.get_mut(&address)?;
        self.index.remove(lease);
        let done = step(lease);
        self.index.add(lease);
        Some(done)
    }

    /// Drops one address.
    pub(crate) fn forget(&mut self, address: Ipv4Addr) {
        if let Some(lease) = self.leases.remove(&address) {
            self.index.remove(&lease);
        }
    }

    /// Drops all addresses of one ENI.
    pub(crate) fn forget_all_on(&mut self, eni: &EniId) {
        for address in self.addresses_on(eni) {
            self.forget(address);
        }
    }

    /// The addresses on one ENI, by value: for those who change what they walk over.
    pub(crate) fn addresses_on(&self, eni: &EniId) -> Vec<Ipv4Addr> {
        self.on(eni).map(|lease| lease.address).collect()
    }

    /// Frees what has cooled down.
    pub(crate) fn thaw(&mut self, now: Timestamp) {
        while let Some((_, address)) = self.index.cooling.first().filter(|(until, _)| *until <= now).copied()
        {
            self.change(address, |lease| lease.thaw(now));
        }
    }

    /// Whether the counts are those of the leases.
    pub(crate) fn adds_up(&self) -> bool {
        let mut index = Index::default();
        self.leases.values().for_each(|lease| index.add(lease));
        index == self.index
    }
}

impl Index {
    fn add(&mut self, lease: &Lease) {
        *self.counts.of(&lease.state) += 1;
        if !self.enis.contains_key(&lease.eni) {
            self.enis.insert(lease.eni.clone(), OnEni::default());
        }
        if let Some(on) = self.enis.get_mut(&lease.eni) {
            *on.counts.of(&lease.state) += 1;
            on.all.insert(lease.address);
            if lease.is_free() {
                on.free.insert((lease.since, lease.address));
            }
        }
        if let LeaseState::Cooling { until } = lease.state {
            self.cooling.insert((until, lease.address));
        }
        if let Some(holder) = lease.state.holder() {
            self.holders.insert(holder.attachment.clone(), lease.address);
            *self.links.entry(holder.wiring.host_veth.clone()).or_default() += 1;
        }
    }

    fn remove(&mut self, lease: &Lease) {
        *self.counts.of(&lease.state) -= 1;
        if let Some(on) = self.enis.get_mut(&lease.eni) {
            *on.counts.of(&lease.state) -= 1;
            on.all.remove(&lease.address);
            on.free.remove(&(lease.since, lease.address));
            if on.all.is_empty() {
                self.enis.remove(&lease.eni);
            }
        }
        if let LeaseState::Cooling { until } = lease.state {
            self.cooling.remove(&(until, lease.address));
        }
        if let Some(holder) = lease.state.holder() {
            if self.holders.get(&holder.attachment) == Some(&lease.address) {
                self.holders.remove(&holder.attachment);
            }
            if let Some(users) = self.links.get_mut(&holder.wiring.host_veth) {
                *users -= 1;
                if *users == 0 {
                    self.links.remove(&holder.wiring.host_veth);
                }
            }
        }
    }
}
