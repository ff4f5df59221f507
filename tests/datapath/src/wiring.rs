//! The wirings that tests use: one VPC, `10.7.0.0/16` and `2001:db8:7::/56`.

use std::net::{IpAddr, Ipv4Addr};

use enid_core::ids::Mac;
use enid_core::wiring::{
    EniWiring, Families, Ingress, MAIN_TABLE, MARK, NodeWiring, PodLink, PodWiring, Seat, SecondAddress,
    SnatPorts, VethPrefix,
};

/// The primary ENI's address.
pub const PRIMARY: &str = "10.7.0.10";
/// The primary ENI's IPv6 address.
pub const PRIMARY_V6: &str = "2001:db8:7::a";
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
    let first = link(veth, "eth0", address, table);
    PodWiring { first, further: Vec::new() }
}

/// A pod `eth0` with an address of the primary ENI.
pub fn primary_pod(veth: &str, address: &str) -> PodWiring {
    pod(veth, address, MAIN_TABLE)
}

/// A pod `eth0` with an address of each family, both of the primary ENI.
pub fn dual_pod(veth: &str, address: &str, second: &str) -> PodWiring {
    with_second(primary_pod(veth, address), second, false)
}

/// A pod `eth0` with an address of the primary ENI, and one of the other family that only the node knows.
pub fn egress_pod(veth: &str, address: &str, second: &str) -> PodWiring {
    with_second(primary_pod(veth, address), second, true)
}

/// A pod's interface with this address, behind the ENI of this table.
pub fn link(veth: &str, ifname: &str, address: &str, table: u32) -> PodLink {
    PodLink {
        host_veth: veth.parse().expect("a link name"),
        ifname: ifname.parse().expect("a link name"),
        address: ip(address),
        table,
        mtu: MTU,
        second: None,
    }
}

fn with_second(mut pod: PodWiring, address: &str, node_local: bool) -> PodWiring {
    pod.first.second = Some(SecondAddress { address: ip(address), table: MAIN_TABLE, node_local });
    pod
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
        primary_ipv6: Some(PRIMARY_V6.parse().expect("an IPv6 address")),
        families: Families::Ipv4,
        veth_prefix: VethPrefix::default(),
        vpc_cidrs: vec!["10.7.0.0/16".parse().expect("a range")],
        vpc_ipv6_cidrs: vec!["2001:db8:7::/56".parse().expect("a range")],
        snat_exclude: vec!["203.0.113.0/24".parse().expect("a range")],
        snat: Some(SnatPorts::Prng),
        node_port: true,
        mark: MARK,
        external_services: Vec::new(),
        egress: None,
        ingress: Ingress::Open,
    }
}

/// An address of either family.
pub fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// An IPv4 address.
pub fn ipv4(text: &str) -> Ipv4Addr {
    text.parse().expect("an IPv4 address")
}

/// A MAC.
pub fn mac(text: &str) -> Mac {
    text.parse().expect("a MAC")
}
