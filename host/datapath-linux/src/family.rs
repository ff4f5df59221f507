//! The two families of addresses, and what differs between them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use enid_core::wiring::{POD_GATEWAY_V6, pod_gateway};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use netlink_packet_route::AddressFamily;

use crate::sysctl;

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    Ipv4,
    Ipv6,
}

impl Family {
    /// The family of an address.
    pub(crate) fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Family::Ipv4,
            IpAddr::V6(_) => Family::Ipv6,
        }
    }

    /// The families that this kernel speaks: asked about the other one it answers with something else.
    pub(crate) fn spoken() -> &'static [Self] {
        if sysctl::has_ipv6() { &[Family::Ipv4, Family::Ipv6] } else { &[Family::Ipv4] }
    }

    /// Its number in netlink messages.
    pub(crate) fn in_messages(self) -> AddressFamily {
        match self {
            Family::Ipv4 => AddressFamily::Inet,
            Family::Ipv6 => AddressFamily::Inet6,
        }
    }

    /// The family that a netlink message is about, if it is one of ours.
    pub(crate) fn in_message(number: AddressFamily) -> Option<Self> {
        [Family::Ipv4, Family::Ipv6].into_iter().find(|family| family.in_messages() == number)
    }

    /// The gateway of a pod's interface `index`, counted from 0.
    pub(crate) fn gateway(self, index: usize) -> IpAddr {
        match self {
            Family::Ipv4 => pod_gateway(index).into(),
            Family::Ipv6 => POD_GATEWAY_V6.into(),
        }
    }

    /// The range of all its addresses.
    pub(crate) fn everything(self) -> IpNet {
        match self {
            Family::Ipv4 => Ipv4Net::default().into(),
            Family::Ipv6 => Ipv6Net::default().into(),
        }
    }

    /// The address that a message leaves out.
    pub(crate) fn unspecified(self) -> IpAddr {
        match self {
            Family::Ipv4 => Ipv4Addr::UNSPECIFIED.into(),
            Family::Ipv6 => Ipv6Addr::UNSPECIFIED.into(),
        }
    }
}
