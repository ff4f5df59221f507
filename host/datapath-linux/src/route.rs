//! Routes: to a pod's address on the host, the default route inside a pod, an ENI's own table.

use std::net::{IpAddr, Ipv6Addr};

use enid_core::wiring::MAIN_TABLE;
use enid_engine::ports::DatapathError;
use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, Parseable};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use rustix::io::Errno;

use crate::family::Family;
use crate::netlink::{Netlink, Request, failed};

/// A unicast route as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) to: IpNet,
    pub(crate) via: Option<IpAddr>,
    pub(crate) link: Option<u32>,
    pub(crate) table: u32,
}

impl Route {
    /// The default route through `via`.
    pub(crate) fn default_via(via: IpAddr, link: u32, table: u32) -> Self {
        Self { to: Family::of(via).everything(), via: Some(via), link: Some(link), table }
    }

    /// A single address directly behind `link`.
    pub(crate) fn to_neighbour(to: IpAddr, link: u32, table: u32) -> Self {
        Self { to: to.into(), via: None, link: Some(link), table }
    }

    /// The two routes by which interface `index` of a pod reaches everything: its gateway, and the rest
    /// through it. Those of the first interface are in the main table.
    pub(crate) fn of_pod(family: Family, index: usize, link: u32) -> [Self; 2] {
        let table = Self::table_in_pod(index);
        let gateway = family.gateway(index);
        [Self::to_neighbour(gateway, link, table), Self::default_via(gateway, link, table)]
    }

    /// The pod's table that has the routes of its interface `index`.
    pub(crate) fn table_in_pod(index: usize) -> u32 {
        u32::try_from(index).ok().filter(|index| *index > 0).unwrap_or(MAIN_TABLE)
    }

    /// Whether it leads to a single address directly behind a link, as those to pods do; the kernel makes
    /// such routes for link-local addresses, too.
    pub(crate) fn is_to_a_pod(&self) -> bool {
        let link_local = match self.to.addr() {
            IpAddr::V4(_) => false,
            IpAddr::V6(address) => address.is_unicast_link_local(),
        };
        self.via.is_none() && self.to.prefix_len() == self.to.max_prefix_len() && !link_local
    }

    fn parse(payload: &[u8]) -> Result<Option<Self>, String> {
        let message = RouteMessage::parse(payload).map_err(|error| error.to_string())?;
        let Some(family) = Family::in_message(message.header.address_family) else { return Ok(None) };
        if message.header.kind != RouteType::Unicast {
            return Ok(None);
        }
        let address = |address: &RouteAddress| {
            if let RouteAddress::Inet(address) = address {
                return Some(IpAddr::V4(*address));
            }
            if let RouteAddress::Inet6(address) = address { Some(IpAddr::V6(*address)) } else { None }
        };
        let mut to = None;
        let mut route =
            Self { to: family.everything(), via: None, link: None, table: message.header.table.into() };
        for attribute in &message.attributes {
            if let RouteAttribute::Destination(destination) = attribute {
                to = address(destination);
            } else if let RouteAttribute::Gateway(gateway) = attribute {
                route.via = address(gateway);
            } else if let RouteAttribute::Oif(index) = attribute {
                route.link = Some(*index);
            } else if let RouteAttribute::Table(table) = attribute {
                route.table = *table;
            }
        }
        let length = message.header.destination_prefix_length;
        route.to =
            IpNet::new(to.unwrap_or(family.unspecified()), length).map_err(|error| error.to_string())?;
        Ok(Some(route))
    }

    fn message(&self) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header = header(Family::of(self.to.addr()), self.to.prefix_len(), self.table);
        message.header.protocol = RouteProtocol::Boot;
        message.header.scope = if self.via.is_some() { RouteScope::Universe } else { RouteScope::Link };
        message.header.kind = RouteType::Unicast;
        if self.to.prefix_len() > 0 {
            message.attributes.push(RouteAttribute::Destination(self.to.network().into()));
        }
        message.attributes.extend(self.via.map(|via| RouteAttribute::Gateway(via.into())));
        message.attributes.extend(self.link.map(RouteAttribute::Oif));
        message.attributes.push(RouteAttribute::Table(self.table));
        message
    }
}

impl std::fmt::Display for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.to.prefix_len() {
            0 => f.write_str("default")?,
            _ => write!(f, "{}", self.to)?,
        }
        if let Some(via) = self.via {
            write!(f, " via {via}")?;
        }
        if self.table != MAIN_TABLE {
            write!(f, " table {}", self.table)?;
        }
        Ok(())
    }
}

/// Adds a route where there must be none to the same destination.
pub(crate) fn add(route: &Route, dev: &str) -> Request {
    let flags = NLM_F_CREATE | NLM_F_EXCL;
    Request::new(
        format!("add route {route} dev {dev}"),
        RouteNetlinkMessage::NewRoute(route.message()),
        flags,
    )
}

/// Puts a route in the place of any other to the same destination, without a moment in between.
pub(crate) fn replace(route: &Route, dev: &str) -> Request {
    let flags = NLM_F_CREATE | NLM_F_REPLACE;
    Request::new(
        format!("replace route {route} dev {dev}"),
        RouteNetlinkMessage::NewRoute(route.message()),
        flags,
    )
}

/// Removes a route if it still leads through its link, whoever made it; absence is tolerated.
pub(crate) fn delete(route: &Route, dev: &str) -> Request {
    let mut message = route.message();
    message.header.protocol = RouteProtocol::Unspec;
    message.header.scope = RouteScope::NoWhere;
    Request::new(format!("delete route {route} dev {dev}"), RouteNetlinkMessage::DelRoute(message), 0)
        .tolerating(&[Errno::SRCH, Errno::NODEV])
}

/// All unicast routes of one family in a table. Never on a pod's path.
pub(crate) fn in_table(
    netlink: &mut Netlink,
    family: Family,
    table: u32,
) -> Result<Vec<Route>, DatapathError> {
    netlink.dump(&list(family, table), |payload| parse_in(table, payload))
}

/// The same while pods come and go.
pub(crate) fn survey(netlink: &mut Netlink, family: Family, table: u32) -> Result<Vec<Route>, DatapathError> {
    netlink.survey(&list(family, table), |payload| parse_in(table, payload))
}

fn list(family: Family, table: u32) -> Request {
    let mut message = RouteMessage::default();
    message.header = header(family, 0, table);
    message.attributes = vec![RouteAttribute::Table(table)];
    // A table that was never used does not exist for a strictly checked dump.
    Request::new(format!("list the routes of table {table}"), RouteNetlinkMessage::GetRoute(message), 0)
        .tolerating(&[Errno::NOENT])
}

fn parse_in(table: u32, payload: &[u8]) -> Result<Option<Route>, String> {
    Ok(Route::parse(payload)?.filter(|route| route.table == table))
}

/// Whether the namespace takes packets for an address as its own.
pub(crate) fn is_delivered(netlink: &mut Netlink, address: Ipv6Addr) -> Result<bool, DatapathError> {
    let mut message = RouteMessage::default();
    message.header = header(Family::Ipv6, 128, RouteHeader::RT_TABLE_UNSPEC.into());
    message.attributes = vec![RouteAttribute::Destination(address.into())];
    let attempt = format!("look for the route to {address}");
    let request = Request::new(attempt.as_str(), RouteNetlinkMessage::GetRoute(message), 0)
        .tolerating(&[Errno::NETUNREACH, Errno::HOSTUNREACH]);
    let Some(payload) = netlink.read(request)? else { return Ok(false) };
    let message = RouteMessage::parse(&payload).map_err(|error| failed(attempt, error))?;
    Ok(message.header.kind == RouteType::Local)
}

fn header(family: Family, prefix_length: u8, table: u32) -> RouteHeader {
    RouteHeader {
        address_family: family.in_messages(),
        destination_prefix_length: prefix_length,
        // Tables beyond one byte are named by the attribute alone.
        table: u8::try_from(table).unwrap_or(RouteHeader::RT_TABLE_UNSPEC),
        ..RouteHeader::default()
    }
}
