//! IPv4 routes: a pod's `/32` on the host, the default route inside a pod, an ENI's own table.

use std::net::Ipv4Addr;

use enid_core::wiring::{MAIN_TABLE, POD_GATEWAY};
use enid_engine::ports::DatapathError;
use ipnet::Ipv4Net;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, Parseable};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rustix::io::Errno;

use crate::netlink::{Netlink, Request};

/// A unicast route as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) to: Ipv4Net,
    pub(crate) via: Option<Ipv4Addr>,
    pub(crate) link: Option<u32>,
    pub(crate) table: u32,
}

impl Route {
    /// The default route through `via`.
    pub(crate) fn default_via(via: Ipv4Addr, link: u32, table: u32) -> Self {
        Self { to: Ipv4Net::default(), via: Some(via), link: Some(link), table }
    }

    /// A single address directly behind `link`.
    pub(crate) fn to_neighbour(to: Ipv4Addr, link: u32, table: u32) -> Self {
        Self { to: to.into(), via: None, link: Some(link), table }
    }

    /// The two routes by which a pod reaches everything: its gateway, and the rest through it.
    pub(crate) fn of_pod(link: u32) -> [Self; 2] {
        [Self::to_neighbour(POD_GATEWAY, link, MAIN_TABLE), Self::default_via(POD_GATEWAY, link, MAIN_TABLE)]
    }

    fn parse(payload: &[u8]) -> Result<Option<Self>, String> {
        let message = RouteMessage::parse(payload).map_err(|error| error.to_string())?;
        if message.header.address_family != AddressFamily::Inet || message.header.kind != RouteType::Unicast {
            return Ok(None);
        }
        let mut to = Ipv4Addr::UNSPECIFIED;
        let mut route =
            Self { to: Ipv4Net::default(), via: None, link: None, table: message.header.table.into() };
        for attribute in message.attributes {
            if let RouteAttribute::Destination(RouteAddress::Inet(address)) = attribute {
                to = address;
            } else if let RouteAttribute::Gateway(RouteAddress::Inet(address)) = attribute {
                route.via = Some(address);
            } else if let RouteAttribute::Oif(index) = attribute {
                route.link = Some(index);
            } else if let RouteAttribute::Table(table) = attribute {
                route.table = table;
            }
        }
        route.to =
            Ipv4Net::new(to, message.header.destination_prefix_length).map_err(|error| error.to_string())?;
        Ok(Some(route))
    }

    fn message(&self) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header = header(self.to.prefix_len(), self.table);
        message.header.protocol = RouteProtocol::Boot;
        message.header.scope = if self.via.is_some() { RouteScope::Universe } else { RouteScope::Link };
        message.header.kind = RouteType::Unicast;
        if self.to.prefix_len() > 0 {
            message.attributes.push(RouteAttribute::Destination(RouteAddress::Inet(self.to.network())));
        }
        message.attributes.extend(self.via.map(|via| RouteAttribute::Gateway(RouteAddress::Inet(via))));
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

/// All unicast routes of a table. Never on a pod's path.
pub(crate) fn in_table(netlink: &mut Netlink, table: u32) -> Result<Vec<Route>, DatapathError> {
    let mut message = RouteMessage::default();
    message.header = header(0, table);
    message.attributes = vec![RouteAttribute::Table(table)];
    // A table that was never used does not exist for a strictly checked dump.
    let request =
        Request::new(format!("list the routes of table {table}"), RouteNetlinkMessage::GetRoute(message), 0)
            .tolerating(&[Errno::NOENT]);
    netlink.dump(&request, |payload| Ok(Route::parse(payload)?.filter(|route| route.table == table)))
}

fn header(prefix_length: u8, table: u32) -> RouteHeader {
    RouteHeader {
        address_family: AddressFamily::Inet,
        destination_prefix_length: prefix_length,
        // Tables beyond one byte are named by the attribute alone.
        table: u8::try_from(table).unwrap_or(RouteHeader::RT_TABLE_UNSPEC),
        ..RouteHeader::default()
    }
}
