//! Addresses on links, and the neighbour entries that spare them being asked for.

use std::net::{IpAddr, Ipv6Addr};

use enid_core::ids::Mac;
use enid_engine::ports::DatapathError;
use ipnet::{IpNet, Ipv4Net};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, Parseable};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use rustix::io::Errno;

use crate::Dad;
use crate::family::Family;
use crate::netlink::{Netlink, Request, failed};

/// Gives a pod's link an address, alone in its subnet.
pub(crate) fn add_to_pod(address: IpAddr, dad: Dad, link: u32, dev: &str) -> Request {
    let address = IpNet::from(address);
    let mut message = message(address, link);
    match (address, dad) {
        (IpNet::V6(_), Dad::Skip) => {
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        (IpNet::V6(_), Dad::Perform) | (IpNet::V4(_), Dad::Skip | Dad::Perform) => {}
    }
    let attempt = format!("add address {address} to {dev}");
    Request::new(attempt, RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL)
}

/// Gives an ENI's link its address with the subnet's length, and keeps the kernel from routing the subnet
/// through it in the main table.
pub(crate) fn add_to_eni(address: Ipv4Net, link: u32, dev: &str) -> Request {
    let mut message = message(address.into(), link);
    message.attributes.push(AddressAttribute::Broadcast(address.broadcast()));
    message.attributes.push(AddressAttribute::Flags(AddressFlags::Noprefixroute));
    let attempt = format!("add address {address} to {dev}");
    Request::new(attempt, RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL)
        .tolerating(&[Errno::EXIST])
}

/// Takes an address from a link; absence is tolerated.
pub(crate) fn delete(address: IpNet, link: u32, dev: &str) -> Request {
    let attempt = format!("delete address {address} from {dev}");
    Request::new(attempt, RouteNetlinkMessage::DelAddress(message(address, link)), 0)
        .tolerating(&[Errno::ADDRNOTAVAIL, Errno::NODEV])
}

/// An address that others can reach a link by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) net: IpNet,
    pub(crate) standing: Standing,
}

/// What duplicate address detection has to say about an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The kernel still asks whether somebody else has it, and does not use it.
    Tentative,
    /// It can be used.
    Settled,
    /// Somebody else has it.
    Duplicate,
}

impl Held {
    fn parse(message: &AddressMessage) -> Option<Self> {
        let mut flags = AddressFlags::from_bits_retain(message.header.flags.bits().into());
        let (mut local, mut address) = (None, None);
        for attribute in &message.attributes {
            if let AddressAttribute::Local(one) = attribute {
                local = Some(*one);
            } else if let AddressAttribute::Address(one) = attribute {
                address = Some(*one);
            } else if let AddressAttribute::Flags(all) = attribute {
                flags = *all;
            }
        }
        let standing = if flags.contains(AddressFlags::Dadfailed) {
            Standing::Duplicate
        } else if flags.contains(AddressFlags::Tentative) {
            Standing::Tentative
        } else {
            Standing::Settled
        };
        // IPv6 names an address without a peer by the second attribute only.
        let net = IpNet::new(local.or(address)?, message.header.prefix_len).ok()?;
        Some(Self { net, standing })
    }
}

/// The addresses of one family by which others can reach a link, with the links that have them. Never on a pod's
/// path.
pub(crate) fn survey(netlink: &mut Netlink, family: Family) -> Result<Vec<(u32, Held)>, DatapathError> {
    let mut message = AddressMessage::default();
    message.header.family = family.in_messages();
    let request = Request::new("list the addresses", RouteNetlinkMessage::GetAddress(message), 0);
    netlink.survey(&request, |payload| {
        let message = AddressMessage::parse(payload).map_err(|error| error.to_string())?;
        if message.header.scope != AddressScope::Universe {
            return Ok(None);
        }
        Ok(Held::parse(&message).map(|held| (message.header.index, held)))
    })
}

/// How an address of a link stands; `None` when the link does not have it.
pub(crate) fn standing(
    netlink: &mut Netlink,
    address: Ipv6Addr,
    link: u32,
    dev: &str,
) -> Result<Option<Standing>, DatapathError> {
    let mut message = AddressMessage::default();
    message.header.family = Family::Ipv6.in_messages();
    message.header.index = link;
    message.attributes = vec![AddressAttribute::Address(address.into())];
    let attempt = format!("look for address {address} on {dev}");
    let request = Request::new(attempt.as_str(), RouteNetlinkMessage::GetAddress(message), 0)
        .tolerating(&[Errno::ADDRNOTAVAIL, Errno::NODEV]);
    let Some(payload) = netlink.read(request)? else { return Ok(None) };
    let message = AddressMessage::parse(&payload).map_err(|error| failed(attempt, error))?;
    Ok(Held::parse(&message).map(|held| held.standing))
}

/// Says once and for all which MAC has an address, so that nobody ever asks the link for it.
pub(crate) fn answered_by(address: IpAddr, mac: Mac, link: u32, dev: &str) -> Request {
    let mut message = NeighbourMessage::default();
    message.header.family = Family::of(address).in_messages();
    message.header.ifindex = link;
    message.header.state = NeighbourState::Permanent;
    message.attributes = vec![
        NeighbourAttribute::Destination(destination(address)),
        NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()),
    ];
    let attempt = format!("add neighbour {address} lladdr {mac} dev {dev}");
    Request::new(attempt, RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE | NLM_F_REPLACE)
}

/// The permanent neighbour entries of one family, with their links. Never on a pod's path.
pub(crate) fn permanent_neighbours(
    netlink: &mut Netlink,
    family: Family,
) -> Result<Vec<(u32, IpAddr, Mac)>, DatapathError> {
    let mut message = NeighbourMessage::default();
    message.header.family = family.in_messages();
    let request = Request::new("list the neighbours", RouteNetlinkMessage::GetNeighbour(message), 0);
    netlink.survey(&request, |payload| {
        let message = NeighbourMessage::parse(payload).map_err(|error| error.to_string())?;
        if message.header.state != NeighbourState::Permanent {
            return Ok(None);
        }
        let (mut address, mut mac) = (None, None);
        for attribute in &message.attributes {
            if let NeighbourAttribute::Destination(NeighbourAddress::Inet(ipv4)) = attribute {
                address = Some(IpAddr::V4(*ipv4));
            } else if let NeighbourAttribute::Destination(NeighbourAddress::Inet6(ipv6)) = attribute {
                address = Some(IpAddr::V6(*ipv6));
            } else if let NeighbourAttribute::LinkLayerAddress(bytes) = attribute {
                mac = <[u8; 6]>::try_from(bytes.as_slice()).ok().map(Mac);
            }
        }
        Ok(address.zip(mac).map(|(address, mac)| (message.header.ifindex, address, mac)))
    })
}

fn destination(address: IpAddr) -> NeighbourAddress {
    match address {
        IpAddr::V4(address) => NeighbourAddress::Inet(address),
        IpAddr::V6(address) => NeighbourAddress::Inet6(address),
    }
}

fn message(address: IpNet, link: u32) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = Family::of(address.addr()).in_messages();
    message.header.prefix_len = address.prefix_len();
    message.header.scope = AddressScope::Universe;
    message.header.index = link;
    message.attributes =
        vec![AddressAttribute::Local(address.addr()), AddressAttribute::Address(address.addr())];
    message
}
