//! A secondary ENI's link, address, route table and rule. What is right already is left alone, so that a
//! restart opens no gap for the pods behind the ENI.

use enid_core::ids::Mac;
use enid_core::wiring::{EniWiring, MAIN_TABLE, RULE_FROM_ENI};
use enid_engine::ports::DatapathError;
use ipnet::{IpNet, Ipv4Net};

use crate::address;
use crate::family::Family;
use crate::fault::{self, Fault, Faults, Mend};
use crate::link::{self, Link};
use crate::netlink::{Netlink, Request, failed};
use crate::route::{self, Route};
use crate::rule::{self, Rule};
use crate::tables::Tables;

/// The link of an ENI. Links stacked on it share its MAC and come later, so the oldest one is the ENI's.
pub(crate) fn link_of(netlink: &mut Netlink, mac: Mac) -> Result<Link, DatapathError> {
    let oldest = link::by_mac(netlink, mac)?.into_iter().min_by_key(|link| link.index);
    oldest.ok_or(DatapathError::NoSuchLink { mac })
}

/// The same among links that have been read.
pub(crate) fn link_among(tables: &Tables, mac: Mac) -> Result<&Link, DatapathError> {
    let oldest = tables.links().filter(|link| link.mac == Some(mac)).min_by_key(|link| link.index);
    oldest.ok_or(DatapathError::NoSuchLink { mac })
}

/// Sets up a secondary ENI, making before breaking.
pub(crate) fn set_up(netlink: &mut Netlink, eni: &EniWiring) -> Result<(), DatapathError> {
    let table = secondary_table(eni)?;
    fault::mend_all(netlink, |netlink| {
        let mut tables = Tables::default();
        tables.put_link(link_of(netlink, eni.mac)?);
        for table in [table, MAIN_TABLE] {
            tables.read_routes(netlink, Family::Ipv4, table)?;
        }
        tables.read_rules(netlink, Family::Ipv4)?;
        tables.read_addresses(netlink, Family::Ipv4)?;
        faults(&tables, eni)
    })
}

/// What an ENI lacks, in the order in which it has to come.
pub(crate) fn faults(tables: &Tables, eni: &EniWiring) -> Result<Vec<Fault>, DatapathError> {
    let table = secondary_table(eni)?;
    let link = link_among(tables, eni.mac)?;
    let dev = link.name.as_str();
    let own = Ipv4Net::new(eni.address, eni.subnet.prefix_len())
        .map_err(|error| failed(format!("add the address of {}", eni.eni), error))?;
    let add_own = || address::add_to_eni(own, link.index, dev);
    let mut faults = Faults::default();
    faults.link(link, eni.mtu);
    // Images that configure every address of an ENI would make the node answer for its pods. They go first:
    // while they are there ours may be their secondary, and leave with them.
    for foreign in tables.held(link.index).filter(|held| held.net != IpNet::V4(own)) {
        let requests = vec![address::delete(foreign.net, link.index, dev), add_own()];
        faults
            .add(format!("address {} on {dev} is not the ENI's own", foreign.net), Mend::Requests(requests));
    }
    faults.unless(tables.has_address(link.index, own.into()), || {
        (format!("address {own} dev {dev} is missing"), Mend::request(add_own()))
    });
    let gateway = eni.gateway().into();
    for route in
        [Route::to_neighbour(gateway, link.index, table), Route::default_via(gateway, link.index, table)]
    {
        let right = tables.routes(table, route.to).first() == Some(&route);
        faults.unless(right, || {
            (format!("route {route} dev {dev} is missing"), Mend::request(route::replace(&route, dev)))
        });
    }
    let wanted = Rule::from_eni(eni);
    faults.unless(tables.has_rule(&wanted), || {
        (format!("rule {wanted} is missing"), Mend::request(rule::add(&wanted)))
    });
    // It was on another seat before.
    for stale in tables.rules(RULE_FROM_ENI, wanted.selector).iter().filter(|rule| **rule != wanted) {
        let what = format!("rule {stale} leads to another table than {table}");
        faults.add(what, Mend::request(rule::delete(stale)));
    }
    // An address that somebody else configured brought it; through it, the node's own traffic to the subnet
    // would leave by the wrong ENI.
    let subnet =
        Route { to: eni.subnet.trunc().into(), via: None, link: Some(link.index), table: MAIN_TABLE };
    let has_subnet_route = tables.routes(MAIN_TABLE, subnet.to).contains(&subnet);
    faults.unless(!has_subnet_route, || {
        let what = format!("route {subnet} dev {dev} leads the node's own traffic to the wrong ENI");
        (what, Mend::request(route::delete(&subnet, dev)))
    });
    Ok(faults.0)
}

/// Removes the ENI's rule and its routes. Those of an ENI that has taken its seat since are not touched.
pub(crate) fn tear_down(netlink: &mut Netlink, eni: &EniWiring) -> Result<(), DatapathError> {
    let table = secondary_table(eni)?;
    netlink.apply(vec![rule::delete(&Rule::from_eni(eni))])?;
    let link = match link_of(netlink, eni.mac) {
        Ok(link) => link,
        // The routes left with the link.
        Err(DatapathError::NoSuchLink { .. }) => return Ok(()),
        Err(
            other @ (DatapathError::IfNameTaken { .. }
            | DatapathError::BadNamespace { .. }
            | DatapathError::Kernel { .. }),
        ) => return Err(other),
    };
    let routes = route::in_table(netlink, Family::Ipv4, table)?;
    let mut requests: Vec<Request> = routes
        .iter()
        .filter(|route| route.link == Some(link.index))
        .map(|route| route::delete(route, &link.name))
        .collect();
    // Routes through the gateway before the route to the gateway.
    requests.reverse();
    netlink.apply_in_batches(requests)
}

fn secondary_table(eni: &EniWiring) -> Result<u32, DatapathError> {
    match eni.seat.table() {
        MAIN_TABLE => {
            Err(failed(format!("wire {}", eni.eni), "it is the primary ENI, which the image configures"))
        }
        table => Ok(table),
    }
}
