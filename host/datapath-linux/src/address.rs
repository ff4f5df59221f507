//! IPv4 addresses on links, and the neighbour entry that answers for a pod's gateway.

use std::net::{IpAddr, Ipv4Addr};

use enid_core::ids::Mac;
use enid_core::wiring::POD_GATEWAY;
use enid_engine::ports::DatapathError;
use ipnet::Ipv4Net;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, Parseable};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rustix::io::Errno;

use crate::netlink::{Netlink, Request};

/// Gives a pod's link its address, alone in its subnet.
pub(crate) fn add_to_pod(address: Ipv4Addr, link: u32, dev: &str) -> Request {
    let message = message(address.into(), link);
    let attempt = format!("add address {address}/32 to {dev}");
    Request::new(attempt, RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL)
}

/// Gives an ENI's link its address with the subnet's length, and keeps the kernel from routing the subnet
/// through it in the main table.
pub(crate) fn add_to_eni(address: Ipv4Net, link: u32, dev: &str) -> Request {
    let mut message = message(address, link);
    message.attributes.push(AddressAttribute::Broadcast(address.broadcast()));
    message.attributes.push(AddressAttribute::Flags(AddressFlags::Noprefixroute));
    let attempt = format!("add address {address} to {dev}");
    Request::new(attempt, RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL)
        .tolerating(&[Errno::EXIST])
}

/// Takes an address from a link; absence is tolerated.
pub(crate) fn delete(address: Ipv4Net, link: u32, dev: &str) -> Request {
    let attempt = format!("delete address {address} from {dev}");
    Request::new(attempt, RouteNetlinkMessage::DelAddress(message(address, link)), 0)
        .tolerating(&[Errno::ADDRNOTAVAIL, Errno::NODEV])
}

/// The IPv4 addresses of a link that others can reach it by. Never on a pod's path.
pub(crate) fn on_link(netlink: &mut Netlink, link: u32, dev: &str) -> Result<Vec<Ipv4Net>, DatapathError> {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.index = link;
    let request =
        Request::new(format!("list the addresses of {dev}"), RouteNetlinkMessage::GetAddress(message), 0);
    netlink.dump(&request, |payload| {
        let message = AddressMessage::parse(payload).map_err(|error| error.to_string())?;
        if message.header.index != link || message.header.scope != AddressScope::Universe {
            return Ok(None);
        }
        let local = message.attributes.iter().find_map(|attribute| {
            if let AddressAttribute::Local(IpAddr::V4(address)) = attribute { Some(*address) } else { None }
        });
        Ok(local.and_then(|address| Ipv4Net::new(address, message.header.prefix_len).ok()))
    })
}

/// Makes a pod's gateway the host end of its pair for good, so that no ARP request ever leaves the pod.
pub(crate) fn gateway_is(host_mac: Mac, link: u32, dev: &str) -> Request {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.ifindex = link;
    message.header.state = NeighbourState::Permanent;
    message.attributes = vec![
        NeighbourAttribute::Destination(NeighbourAddress::Inet(POD_GATEWAY)),
        NeighbourAttribute::LinkLayerAddress(host_mac.0.to_vec()),
    ];
    let attempt = format!("add neighbour {POD_GATEWAY} lladdr {host_mac} dev {dev}");
    Request::new(attempt, RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE | NLM_F_REPLACE)
}

/// The MAC that a permanent neighbour entry gives the pod's gateway. Never on a pod's path.
pub(crate) fn permanent_gateway(netlink: &mut Netlink, link: u32) -> Result<Option<Mac>, DatapathError> {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Inet;
    message.attributes = vec![NeighbourAttribute::IfIndex(link)];
    let request = Request::new("list the pod's neighbours", RouteNetlinkMessage::GetNeighbour(message), 0);
    let entries = netlink.dump(&request, |payload| {
        let message = NeighbourMessage::parse(payload).map_err(|error| error.to_string())?;
        if message.header.ifindex != link || message.header.state != NeighbourState::Permanent {
            return Ok(None);
        }
        let gateway = NeighbourAttribute::Destination(NeighbourAddress::Inet(POD_GATEWAY));
        if !message.attributes.contains(&gateway) {
            return Ok(None);
        }
        Ok(message.attributes.iter().find_map(|attribute| {
            let NeighbourAttribute::LinkLayerAddress(mac) = attribute else { return None };
            <[u8; 6]>::try_from(mac.as_slice()).ok().map(Mac)
        }))
    })?;
    Ok(entries.into_iter().next())
}

fn message(address: Ipv4Net, link: u32) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.prefix_len = address.prefix_len();
    message.header.scope = AddressScope::Universe;
    message.header.index = link;
    message.attributes = vec![
        AddressAttribute::Local(address.addr().into()),
        AddressAttribute::Address(address.addr().into()),
    ];
    message
}
