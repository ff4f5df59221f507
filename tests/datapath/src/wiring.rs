//! The wirings that tests use: one VPC, `10.7.0.0/16`.

use std::net::Ipv4Addr;

use enid_core::ids::Mac;
use enid_core::wiring::{EniWiring, MAIN_TABLE, NodeWiring, PodWiring, Seat, SnatPorts, VethPrefix};

/// The primary ENI's address.
pub const PRIMARY: &str = "10.7.0.10";
/// The primary ENI's MAC.
pub const PRIMARY_MAC: &str = "02:07:00:00:00:0a";
/// The secondary ENI's address.
pub const SECONDARY: &str = "10.7.0.20";
/// The secondary ENI's MAC.
pub const SECONDARY_MAC: &str = "02:07:00:00:00:14";
/// The secondary ENI's route table.
pub const SECONDARY_TABLE: u32 = 2;
/// The MTU of everything.
pub const MTU: u32 = 9001;

/// A pod `eth0` with this address, behind the ENI of this table.
pub fn pod(veth: &str, address: &str, table: u32) -> PodWiring {
    PodWiring {
        host_veth: veth.parse().expect("a link name"),
        ifname: "eth0".parse().expect("a link name"),
        address: ipv4(address),
        table,
        mtu: MTU,
    }
}

/// A pod `eth0` with an address of the primary ENI.
pub fn primary_pod(veth: &str, address: &str) -> PodWiring {
    pod(veth, address, MAIN_TABLE)
}

/// The secondary ENI on the second seat.
pub fn secondary_eni() -> EniWiring {
    EniWiring {
        eni: "eni-secondary".parse().expect("an ENI id"),
        mac: mac(SECONDARY_MAC),
        seat: Seat { card: 0, device: 1 },
        address: ipv4(SECONDARY),
        subnet: "10.7.0.0/20".parse().expect("a subnet"),
        mtu: MTU,
    }
}

/// SNAT and NodePort support on, one range excluded from SNAT.
pub fn node() -> NodeWiring {
    NodeWiring {
        primary_mac: mac(PRIMARY_MAC),
        primary_address: ipv4(PRIMARY),
        veth_prefix: VethPrefix::default(),
        vpc_cidrs: vec!["10.7.0.0/16".parse().expect("a range")],
        snat_exclude: vec!["203.0.113.0/24".parse().expect("a range")],
        snat: Some(SnatPorts::Prng),
        node_port: true,
    }
}

/// An address.
pub fn ipv4(text: &str) -> Ipv4Addr {
    text.parse().expect("an IPv4 address")
}

/// A MAC.
pub fn mac(text: &str) -> Mac {
    text.parse().expect("a MAC")
}
