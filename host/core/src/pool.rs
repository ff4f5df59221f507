//! The node's pod addresses: every lease, and what decisions ask about them, counted as they change.
//!
//! A lease changes only through [`Pool::change`], so that the counts are right by construction; debug
//! builds recount. An ENI's counts are about IPv4: its IPv6 prefix yields more addresses than a node ever asks
//! for, so that an IPv6 lease begins with its pod, ends with its cooling, and is never free.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;

use crate::ids::{Attachment, EniId, IfName};
use crate::lease::{Lease, LeaseState};
use crate::limits::PREFIX_ADDRESSES;
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

    /// Those that are neither free nor on their way back.
    pub(crate) fn used(self) -> u32 {
        self.held + self.cooling + self.quarantined
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
    leases: BTreeMap<IpAddr, Lease>,
    index: Index,
}

/// What is known about the leases without looking at each.
#[derive(Debug, Default, PartialEq, Eq)]
struct Index {
    ipv4: Counts,
    ipv6: Counts,
    enis: BTreeMap<EniId, OnEni>,
    /// The address that stands for the pod of each attachment.
    holders: BTreeMap<Attachment, IpAddr>,
    /// Host links in use. Two addresses share one only while a pod's old sandbox goes.
    links: BTreeMap<IfName, u32>,
    /// Node-local addresses in use, likewise.
    node_local: BTreeMap<IpAddr, u32>,
    cooling: BTreeSet<(Timestamp, IpAddr)>,
}

/// The addresses of one ENI.
#[derive(Debug, Default, PartialEq, Eq)]
struct OnEni {
    all: BTreeSet<IpAddr>,
    counts: Counts,
    /// The secondary addresses among them.
    singles: Lot,
    /// The delegated prefixes.
    blocks: BTreeMap<Ipv4Net, Lot>,
    /// Blocks with a free address, by how many of theirs are used.
    open: BTreeSet<(u32, Ipv4Net)>,
}

/// Addresses that EC2 gives and takes back in the same way.
#[derive(Debug, Default, PartialEq, Eq)]
struct Lot {
    counts: Counts,
    /// By the time since which they have been free.
    free: BTreeSet<(Timestamp, IpAddr)>,
}

/// One delegated prefix, counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// Its range.
    pub(crate) range: Ipv4Net,
    /// Its addresses.
    pub(crate) counts: Counts,
    /// Since when all of it has been free, if all of it is.
    pub(crate) idle_since: Option<Timestamp>,
}

impl Pool {
    /// One address.
    pub(crate) fn get(&self, address: IpAddr) -> Option<&Lease> {
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

    /// How many IPv4 addresses are in which state.
    pub(crate) fn counts(&self) -> Counts {
        self.index.ipv4
    }

    /// How many IPv6 addresses are in which state; none is ever free.
    pub(crate) fn ipv6_counts(&self) -> Counts {
        self.index.ipv6
    }

    /// IPv4 addresses on one ENI.
    pub(crate) fn counts_on(&self, eni: &EniId) -> Counts {
        self.index.enis.get(eni).map(|on| on.counts).unwrap_or_default()
    }

    /// The secondary addresses among them.
    pub(crate) fn singles_on(&self, eni: &EniId) -> Counts {
        self.index.enis.get(eni).map(|on| on.singles.counts).unwrap_or_default()
    }

    /// The prefixes on one ENI, in order.
    pub(crate) fn blocks_on(&self, eni: &EniId) -> impl Iterator<Item = Block> {
        let blocks = self.index.enis.get(eni).map(|on| &on.blocks);
        blocks.into_iter().flatten().map(|(range, lot)| Block {
            range: *range,
            counts: lot.counts,
            idle_since: (lot.counts.free == PREFIX_ADDRESSES)
                .then(|| lot.free.last().map(|(since, _)| *since))
                .flatten(),
        })
    }

    /// The slots that one ENI's addresses and prefixes take.
    pub(crate) fn slots_on(&self, eni: &EniId) -> u32 {
        let taken = self.index.enis.get(eni).map(|on| (on.singles.counts.total(), on.blocks.len()));
        taken.map_or(0, |(singles, blocks)| singles + u32::try_from(blocks).unwrap_or(u32::MAX))
    }

    /// Pods that have addresses, get them or give them up.
    pub(crate) fn pods(&self) -> u32 {
        u32::try_from(self.index.holders.len()).unwrap_or(u32::MAX)
    }

    /// The address that stands for an attachment's pod.
    pub(crate) fn of(&self, attachment: &Attachment) -> Option<IpAddr> {
        self.index.holders.get(attachment).copied()
    }

    /// Whether a pod's host link has this name.
    pub(crate) fn uses_link(&self, name: &IfName) -> bool {
        self.index.links.contains_key(name)
    }

    /// Whether a pod has this node-local address.
    pub(crate) fn uses_node_local(&self, address: IpAddr) -> bool {
        self.index.node_local.contains_key(&address)
    }

    /// The secondary address on `eni` that has been free the longest.
    pub(crate) fn oldest_free_single(&self, eni: &EniId) -> Option<IpAddr> {
        self.index.enis.get(eni)?.singles.free.first().map(|(_, address)| *address)
    }

    /// The fullest prefix on `eni` that has a free address: how many of its addresses are used, and the one that
    /// has been free the longest.
    pub(crate) fn fullest_open_block(&self, eni: &EniId) -> Option<(u32, IpAddr)> {
        let on = self.index.enis.get(eni)?;
        let (used, range) = on.open.last()?;
        on.blocks.get(range)?.free.first().map(|(_, address)| (*used, *address))
    }

    /// The secondary addresses on `eni` that have been free since `by` or longer, the longest first.
    pub(crate) fn singles_free_since(&self, eni: &EniId, by: Timestamp) -> impl Iterator<Item = IpAddr> {
        let free = self.index.enis.get(eni).map(|on| &on.singles.free);
        free.into_iter().flatten().take_while(move |(since, _)| *since <= by).map(|(_, address)| *address)
    }

    /// The addresses of one prefix on `eni`.
    pub(crate) fn in_block(&self, range: Ipv4Net) -> Vec<IpAddr> {
        let (first, last) = (IpAddr::V4(range.network()), IpAddr::V4(range.broadcast()));
        let within = self.leases.range(first..=last);
        within.filter(|(_, lease)| lease.block == Some(range)).map(|(address, _)| *address).collect()
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
    pub(crate) fn change<R>(&mut self, address: IpAddr, step: impl FnOnce(&mut Lease) -> R) -> Option<R> {
        let lease = self.leases.get_mut(&address)?;
        self.index.remove(lease);
        let done = step(lease);
        self.index.add(lease);
        Some(done)
    }

    /// Drops one address.
    pub(crate) fn forget(&mut self, address: IpAddr) {
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
    pub(crate) fn addresses_on(&self, eni: &EniId) -> Vec<IpAddr> {
        self.on(eni).map(|lease| lease.address).collect()
    }

    /// The secondary addresses on one ENI.
    pub(crate) fn single_addresses_on(&self, eni: &EniId) -> Vec<Ipv4Addr> {
        let singles = self.on(eni).filter(|lease| lease.block.is_none());
        singles.filter_map(|lease| lease.ipv4()).collect()
    }

    /// Frees what has cooled down, or drops it where nobody may have it again; gives the ENIs that have fewer IPv4
    /// addresses now.
    pub(crate) fn thaw(&mut self, now: Timestamp) -> BTreeSet<EniId> {
        let mut without = BTreeSet::new();
        while let Some((_, address)) = self.index.cooling.first().filter(|(until, _)| *until <= now).copied()
        {
            match self.get(address).filter(|lease| lease.ends_with_pod()) {
                Some(lease) => {
                    if address.is_ipv4() {
                        without.insert(lease.eni.clone());
                    }
                    self.forget(address);
                }
                None => {
                    self.change(address, |lease| lease.thaw(now));
                }
            }
        }
        without
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
        if !self.enis.contains_key(&lease.eni) {
            self.enis.insert(lease.eni.clone(), OnEni::default());
        }
        if let Some(on) = self.enis.get_mut(&lease.eni) {
            on.all.insert(lease.address);
            if lease.ipv4().is_some() {
                on.add(lease);
            }
        }
        *self.counts(lease).of(&lease.state) += 1;
        if let LeaseState::Cooling { until } = lease.state {
            self.cooling.insert((until, lease.address));
        }
        if let Some(holder) = lease.state.holder().filter(|holder| holder.wiring.key() == lease.address) {
            self.holders.insert(holder.attachment.clone(), lease.address);
            for link in holder.wiring.links() {
                *self.links.entry(link.host_veth.clone()).or_default() += 1;
                if let Some(second) = link.second.filter(|second| second.node_local) {
                    *self.node_local.entry(second.address).or_default() += 1;
                }
            }
        }
    }

    fn remove(&mut self, lease: &Lease) {
        if let Some(on) = self.enis.get_mut(&lease.eni) {
            on.all.remove(&lease.address);
            if lease.ipv4().is_some() {
                on.remove(lease);
            }
            if on.all.is_empty() {
                self.enis.remove(&lease.eni);
            }
        }
        *self.counts(lease).of(&lease.state) -= 1;
        if let LeaseState::Cooling { until } = lease.state {
            self.cooling.remove(&(until, lease.address));
        }
        if let Some(holder) = lease.state.holder().filter(|holder| holder.wiring.key() == lease.address) {
            if self.holders.get(&holder.attachment) == Some(&lease.address) {
                self.holders.remove(&holder.attachment);
            }
            for link in holder.wiring.links() {
                one_less(&mut self.links, &link.host_veth);
                if let Some(second) = link.second.filter(|second| second.node_local) {
                    one_less(&mut self.node_local, &second.address);
                }
            }
        }
    }

    fn counts(&mut self, lease: &Lease) -> &mut Counts {
        match lease.address {
            IpAddr::V4(_) => &mut self.ipv4,
            IpAddr::V6(_) => &mut self.ipv6,
        }
    }
}

fn one_less<K: Ord>(users: &mut BTreeMap<K, u32>, of: &K) {
    if let Some(count) = users.get_mut(of) {
        *count -= 1;
        if *count == 0 {
            users.remove(of);
        }
    }
}

impl OnEni {
    fn add(&mut self, lease: &Lease) {
        *self.counts.of(&lease.state) += 1;
        match lease.block {
            None => self.singles.add(lease),
            Some(range) => self.in_block(range, |lot| lot.add(lease)),
        }
    }

    fn remove(&mut self, lease: &Lease) {
        *self.counts.of(&lease.state) -= 1;
        match lease.block {
            None => self.singles.remove(lease),
            Some(range) => self.in_block(range, |lot| lot.remove(lease)),
        }
    }

    fn in_block(&mut self, range: Ipv4Net, step: impl FnOnce(&mut Lot)) {
        let lot = self.blocks.entry(range).or_default();
        self.open.remove(&(lot.counts.used(), range));
        step(lot);
        if lot.counts.free > 0 {
            self.open.insert((lot.counts.used(), range));
        }
        if lot.counts.total() == 0 {
            self.blocks.remove(&range);
        }
    }
}

impl Lot {
    fn add(&mut self, lease: &Lease) {
        *self.counts.of(&lease.state) += 1;
        if lease.is_free() {
            self.free.insert((lease.since, lease.address));
        }
    }

    fn remove(&mut self, lease: &Lease) {
        *self.counts.of(&lease.state) -= 1;
        self.free.remove(&(lease.since, lease.address));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::lease::Holder;
    use crate::report::{Quarantine, Why};
    use crate::wiring::{MAIN_TABLE, PodLink, PodWiring, SecondAddress};

    const NOW: Timestamp = Timestamp(1_000_000);

    fn eni() -> EniId {
        "eni-1".parse().unwrap()
    }

    fn block(third: u8) -> Ipv4Net {
        Ipv4Net::new(Ipv4Addr::new(10, 0, third, 16), 28).unwrap()
    }

    fn at(block: Ipv4Net, place: u32) -> IpAddr {
        Ipv4Addr::from(u32::from(block.network()) + place).into()
    }

    /// Prefixes, all free, and three single addresses.
    fn pool(blocks: &[Ipv4Net]) -> Pool {
        let mut pool = Pool::default();
        for block in blocks {
            Lease::free_block(*block, &eni(), &Why::Journal, NOW).for_each(|lease| pool.learn(lease));
        }
        for last in 1..=3 {
            pool.learn(Lease::free(Ipv4Addr::new(10, 0, 200, last).into(), eni(), Why::Journal, NOW));
        }
        pool
    }

    fn link(address: IpAddr, veth: &str, second: Option<SecondAddress>) -> PodLink {
        PodLink {
            host_veth: veth.parse().unwrap(),
            ifname: "eth0".parse().unwrap(),
            address,
            table: MAIN_TABLE,
            mtu: 9001,
            second,
        }
    }

    fn pod(name: &str, first: PodLink, further: Vec<PodLink>) -> Holder {
        let attachment = Attachment {
            container: name.parse().unwrap(),
            network: "enid".parse().unwrap(),
            ifname: "eth0".parse().unwrap(),
        };
        Holder { attachment, pod: None, wiring: PodWiring { first, further }, asked: NOW, netns: None }
    }

    fn take(pool: &mut Pool, address: IpAddr) {
        let IpAddr::V4(number) = address else { panic!("{address} is not out of a /28") };
        let number = u32::from(number);
        let (name, veth) = (format!("c{number}"), format!("eni{number}"));
        let holder = pod(&name, link(address, &veth, None), Vec::new());
        pool.change(address, |lease| lease.reserve(holder, NOW)).unwrap().unwrap();
    }

    #[test]
    fn the_fullest_prefix_with_a_free_address_comes_first() {
        let (a, b, c) = (block(1), block(2), block(3));
        let mut pool = pool(&[a, b, c]);
        take(&mut pool, at(b, 0));
        assert_eq!(pool.fullest_open_block(&eni()), Some((1, at(b, 1))));
        (0..2).for_each(|place| take(&mut pool, at(a, place)));
        assert_eq!(pool.fullest_open_block(&eni()), Some((2, at(a, 2))));
        // One that is full has nothing to offer.
        (2..16).for_each(|place| take(&mut pool, at(a, place)));
        assert_eq!(pool.fullest_open_block(&eni()), Some((1, at(b, 1))));
        // What cools counts as used: its prefix cannot go yet.
        for place in 1..4 {
            take(&mut pool, at(c, place));
            pool.change(at(c, place), |lease| lease.cool(NOW + Duration::from_secs(30), NOW))
                .unwrap()
                .unwrap();
        }
        assert_eq!(pool.fullest_open_block(&eni()), Some((3, at(c, 0))));
        assert!(pool.adds_up());
    }

    #[test]
    fn a_prefix_is_idle_since_the_last_of_its_addresses_was_used_and_only_while_all_are_free() {
        let mut pool = pool(&[block(1)]);
        let idle = |pool: &Pool| pool.blocks_on(&eni()).next().unwrap().idle_since;
        assert_eq!(idle(&pool), Some(NOW));
        take(&mut pool, at(block(1), 5));
        assert_eq!(idle(&pool), None);
        let thawed = NOW + Duration::from_secs(30);
        pool.change(at(block(1), 5), |lease| lease.cool(thawed, NOW)).unwrap().unwrap();
        assert_eq!(idle(&pool), None, "it cools");
        assert!(pool.thaw(thawed).is_empty());
        assert_eq!(idle(&pool), Some(thawed));
        let why = Quarantine::UnknownPod { host_veth: "eni9".to_owned() };
        pool.change(at(block(1), 9), |lease| lease.quarantine(why, thawed)).unwrap().unwrap();
        assert_eq!(idle(&pool), None, "one is out of service");
    }

    #[test]
    fn what_ec2_does_not_list_ends_when_it_has_cooled() {
        let (mut pool, until) = (pool(&[block(1)]), NOW + Duration::from_secs(30));
        for place in [0, 1] {
            take(&mut pool, at(block(1), place));
            pool.change(at(block(1), place), |lease| lease.cool(until, NOW)).unwrap().unwrap();
        }
        pool.change(at(block(1), 1), |lease| lease.missed = crate::eni::MISSES);
        assert_eq!(pool.thaw(until), BTreeSet::from([eni()]));
        assert!(pool.get(at(block(1), 0)).is_some_and(Lease::is_free) && pool.get(at(block(1), 1)).is_none());
        assert!(pool.adds_up());
    }

    #[test]
    fn slots_are_counted_by_prefix_and_by_single_address() {
        let mut pool = pool(&[block(1), block(2)]);
        assert_eq!((pool.slots_on(&eni()), pool.counts().free), (5, 35));
        assert_eq!((pool.singles_on(&eni()).free, pool.single_addresses_on(&eni()).len()), (3, 3));
        assert_eq!(pool.in_block(block(1)).len(), 16);
        for address in pool.in_block(block(1)) {
            pool.change(address, |lease| lease.give_back(NOW)).unwrap().unwrap();
        }
        assert_eq!(pool.slots_on(&eni()), 5, "until EC2 confirms");
        pool.in_block(block(1)).into_iter().for_each(|address| pool.forget(address));
        assert_eq!((pool.slots_on(&eni()), pool.counts().free), (4, 19));
        assert_eq!(pool.fullest_open_block(&eni()), Some((0, at(block(2), 0))));
        assert!(pool.adds_up());
    }

    #[test]
    fn a_pod_with_several_addresses_is_found_by_the_one_that_stands_for_it() {
        let mut pool = pool(&[block(1)]);
        let ipv6: IpAddr = "2a05:d014:9:aa00::7".parse().unwrap();
        let second = Some(SecondAddress { address: ipv6, table: MAIN_TABLE, node_local: false });
        let (first, further) = (at(block(1), 0), at(block(1), 1));
        let holder = pod("c1", link(first, "eni1", second), vec![link(further, "eni2", None)]);
        pool.learn(Lease::free(ipv6, eni(), Why::Drawn, NOW));
        let leased: Vec<IpAddr> = holder.wiring.leased().collect();
        for address in &leased {
            pool.change(*address, |lease| lease.reserve(holder.clone(), NOW)).unwrap().unwrap();
        }
        assert_eq!(pool.of(&holder.attachment), Some(first));
        let link = |name: &str| pool.uses_link(&name.parse().unwrap());
        assert!(link("eni1") && link("eni2") && !link("eni3"));
        assert_eq!((pool.counts().held, pool.ipv6_counts().held), (2, 1));
        for address in &leased {
            pool.change(*address, |lease| lease.cool(NOW + Duration::from_secs(30), NOW)).unwrap().unwrap();
        }
        assert_eq!(pool.of(&holder.attachment), None);
        assert!(!pool.uses_link(&"eni2".parse().unwrap()));
        pool.thaw(NOW + Duration::from_secs(30));
        assert_eq!(pool.get(ipv6).map(|lease| &lease.state), None, "an IPv6 lease ends with its cooling");
        assert_eq!(pool.get(first).map(|lease| &lease.state), Some(&LeaseState::Free));
        assert!(pool.adds_up());
    }

    #[test]
    fn a_node_local_address_is_in_use_as_long_as_its_pod_has_it() {
        let mut pool = pool(&[block(1)]);
        let address = crate::wiring::EGRESS_V6.network().into();
        let second = Some(SecondAddress { address, table: MAIN_TABLE, node_local: true });
        let holder = pod("c1", link(at(block(1), 0), "eni1", second), Vec::new());
        assert!(!pool.uses_node_local(address));
        pool.change(at(block(1), 0), |lease| lease.reserve(holder, NOW)).unwrap().unwrap();
        assert!(pool.uses_node_local(address) && pool.get(address).is_none());
        pool.change(at(block(1), 0), |lease| lease.cool(NOW, NOW)).unwrap().unwrap();
        assert!(!pool.uses_node_local(address));
        assert!(pool.adds_up());
    }
}
