//! What the kernel has in one network namespace: each table read once, then looked up without the kernel.

use std::collections::BTreeMap;
use std::net::IpAddr;

use enid_core::ids::Mac;
use enid_engine::ports::DatapathError;
use ipnet::IpNet;

use crate::address::{self, Held};
use crate::family::Family;
use crate::link::{self, Link};
use crate::netlink::Netlink;
use crate::route::{self, Route};
use crate::rule::{self, Rule, Selector};

/// The tables that have been read; what was not read is empty.
#[derive(Default)]
pub(crate) struct Tables {
    links: BTreeMap<u32, Link>,
    routes: BTreeMap<(u32, IpNet), Vec<Route>>,
    rules: BTreeMap<(u32, Selector), Vec<Rule>>,
    /// Permanent entries only.
    neighbours: BTreeMap<(u32, IpAddr), Mac>,
    addresses: BTreeMap<u32, BTreeMap<IpNet, Held>>,
    names: BTreeMap<String, u32>,
}

impl Tables {
    /// Reads all links.
    pub(crate) fn read_links(&mut self, netlink: &mut Netlink) -> Result<(), DatapathError> {
        link::all(netlink)?.into_iter().for_each(|link| self.put_link(link));
        Ok(())
    }

    /// Takes in a link that was asked for alone.
    pub(crate) fn put_link(&mut self, link: Link) {
        self.names.insert(link.name.clone(), link.index);
        self.links.insert(link.index, link);
    }

    /// Reads one family's routes in one table.
    pub(crate) fn read_routes(
        &mut self,
        netlink: &mut Netlink,
        family: Family,
        table: u32,
    ) -> Result<(), DatapathError> {
        for route in route::survey(netlink, family, table)? {
            let same_way = self.routes.entry((route.table, route.to)).or_default();
            if !same_way.contains(&route) {
                same_way.push(route);
            }
        }
        Ok(())
    }

    /// Reads one family's rules.
    pub(crate) fn read_rules(&mut self, netlink: &mut Netlink, family: Family) -> Result<(), DatapathError> {
        for rule in rule::survey(netlink, family)? {
            let alike = self.rules.entry((rule.priority, rule.selector)).or_default();
            if !alike.contains(&rule) {
                alike.push(rule);
            }
        }
        Ok(())
    }

    /// Reads the addresses of one family by which others can reach the links.
    pub(crate) fn read_addresses(
        &mut self,
        netlink: &mut Netlink,
        family: Family,
    ) -> Result<(), DatapathError> {
        for (link, held) in address::survey(netlink, family)? {
            self.addresses.entry(link).or_default().insert(held.net, held);
        }
        Ok(())
    }

    /// Reads one family's permanent neighbours.
    pub(crate) fn read_neighbours(
        &mut self,
        netlink: &mut Netlink,
        family: Family,
    ) -> Result<(), DatapathError> {
        let permanent = address::permanent_neighbours(netlink, family)?;
        self.neighbours.extend(permanent.into_iter().map(|(link, address, mac)| ((link, address), mac)));
        Ok(())
    }

    pub(crate) fn links(&self) -> impl Iterator<Item = &Link> {
        self.links.values()
    }

    pub(crate) fn link(&self, index: u32) -> Option<&Link> {
        self.links.get(&index)
    }

    pub(crate) fn link_named(&self, name: &str) -> Option<&Link> {
        self.link(*self.names.get(name)?)
    }

    /// The routes to exactly this range in a table, the one that is used first.
    pub(crate) fn routes(&self, table: u32, to: IpNet) -> &[Route] {
        self.routes.get(&(table, to)).map_or(&[], Vec::as_slice)
    }

    /// The routes that have been read, of several to the same range the one that is used.
    pub(crate) fn used_routes(&self) -> impl Iterator<Item = &Route> {
        self.routes.values().filter_map(|routes| routes.first())
    }

    /// The rules with this priority that look at this, the one that is used first.
    pub(crate) fn rules(&self, priority: u32, selector: Selector) -> &[Rule] {
        self.rules.get(&(priority, selector)).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn has_rule(&self, rule: &Rule) -> bool {
        self.rules(rule.priority, rule.selector).contains(rule)
    }

    /// All rules that could be ours.
    pub(crate) fn all_rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules.values().flatten()
    }

    /// The addresses of a link.
    pub(crate) fn held(&self, link: u32) -> impl Iterator<Item = &Held> {
        self.addresses.get(&link).into_iter().flat_map(BTreeMap::values)
    }

    pub(crate) fn has_address(&self, link: u32, net: IpNet) -> bool {
        self.addresses.get(&link).is_some_and(|held| held.contains_key(&net))
    }

    /// The MAC that a permanent entry gives an address on a link.
    pub(crate) fn permanent(&self, link: u32, address: IpAddr) -> Option<Mac> {
        self.neighbours.get(&(link, address)).copied()
    }

    /// Whether a permanent entry of any link has this address.
    pub(crate) fn is_neighbour(&self, address: IpAddr) -> bool {
        self.neighbours.keys().any(|(_, neighbour)| *neighbour == address)
    }
}
