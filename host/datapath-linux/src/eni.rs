//! A secondary ENI's link, address, route table and rule. What is right already is left alone, so that a
//! restart opens no gap for the pods behind the ENI.

use enid_core::ids::Mac;
use enid_core::wiring::{EniWiring, MAIN_TABLE};
use enid_engine::ports::DatapathError;
use ipnet::{IpNet, Ipv4Net};

use crate::address;
use crate::family::Family;
use crate::link::{self, Link};
use crate::netlink::{Netlink, Request, failed};
use crate::route::{self, Route};
use crate::rule::{self, Rule};

/// The link of an ENI. Links stacked on it share its MAC and come later, so the oldest one is the ENI's.
pub(crate) fn link_of(netlink: &mut Netlink, mac: Mac) -> Result<Link, DatapathError> {
    let oldest = link::by_mac(netlink, mac)?.into_iter().min_by_key(|link| link.index);
    oldest.ok_or(DatapathError::NoSuchLink { mac })
}

/// Sets up a secondary ENI, making before breaking.
pub(crate) fn set_up(netlink: &mut Netlink, eni: &EniWiring) -> Result<(), DatapathError> {
    let table = secondary_table(eni)?;
    let link = link_of(netlink, eni.mac)?;
    if !link.up || link.mtu != eni.mtu {
        netlink.apply(vec![link::set_up_with_mtu(&link, eni.mtu)])?;
    }
    let dev = link.name.as_str();
    let own = Ipv4Net::new(eni.address, eni.subnet.prefix_len())
        .map_err(|error| failed(format!("add the address of {}", eni.eni), error))?;
    // Images that configure every address of an ENI would make the node answer for its pods. They go first:
    // while they are there ours may be their secondary, and leave with them.
    for held in address::on_link(netlink, Family::Ipv4, link.index, dev)? {
        if held.net != IpNet::V4(own) {
            netlink.apply(vec![address::delete(held.net, link.index, dev)])?;
        }
    }
    let gateway = eni.gateway().into();
    let subnet =
        Route { to: eni.subnet.trunc().into(), via: None, link: Some(link.index), table: MAIN_TABLE };
    netlink.apply(vec![
        address::add_to_eni(own, link.index, dev),
        route::replace(&Route::to_neighbour(gateway, link.index, table), dev),
        route::replace(&Route::default_via(gateway, link.index, table), dev),
        rule::add(&Rule::from_eni(eni)),
        // An address that somebody else configured brought it; through it, the node's own traffic to the
        // subnet would leave by the wrong ENI.
        route::delete(&subnet, dev),
    ])
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
