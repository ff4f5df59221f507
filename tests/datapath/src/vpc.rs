//! A small VPC: one node with two ENIs, a router that knows which ENI owns which address and drops what
//! leaves by another (the source/destination check), and a host outside.

use std::net::SocketAddrV6;

use anyhow::{Context, Result};
use rustix::net::sockopt::set_ipv6_multicast_hops;
use rustix::net::{AddressFamily, SendFlags, SocketType, ipproto, sendto, socket};
use serde_json::Value;

use crate::namespace::Namespace;
use crate::wiring::{PRIMARY, PRIMARY_MAC, PRIMARY_V6, SECONDARY, SECONDARY_MAC};

/// A host outside the VPC.
pub const OUTSIDE: &str = "198.51.100.7";
/// The same host by an address that the node's wiring excludes from SNAT.
pub const EXCLUDED: &str = "203.0.113.7";
/// A host inside the VPC, on no ENI of the node.
pub const NEIGHBOUR: &str = "10.7.9.9";

/// [`OUTSIDE`], in IPv6.
pub const OUTSIDE_V6: &str = "2001:db8:f::7";
/// [`NEIGHBOUR`], in IPv6.
pub const NEIGHBOUR_V6: &str = "2001:db8:7::99";
/// What the outside's own link has.
pub const CALLER: &str = "192.0.2.2";
/// The same in IPv6.
pub const CALLER_V6: &str = "2001:db8:e::2";

/// The next hop by which the router reaches an ENI; it stands for the ENI's MAC.
const NEXT_HOP: &str = "169.254.7.1";
/// The same for IPv6, which the ENI's link has.
const NEXT_HOP_V6: &str = "fe80::a";
/// The router on every ENI's link.
const GATEWAY_V6: &str = "fe80:ec2::1";

/// Node, router and outside.
#[derive(Debug)]
pub struct Vpc {
    /// The node: `eth0` with its address and default route as DHCP leaves them, `eth1` down.
    pub node: Namespace,
    /// The VPC's router; [`NEIGHBOUR`] is one of its own addresses.
    pub router: Namespace,
    /// Has [`OUTSIDE`] and [`EXCLUDED`], and routes back for the VPC's addresses.
    pub outside: Namespace,
}

impl Vpc {
    /// Builds it.
    pub fn new() -> Result<Self> {
        let vpc =
            Self { node: Namespace::new("n")?, router: Namespace::new("r")?, outside: Namespace::new("o")? };
        for namespace in [&vpc.node, &vpc.router, &vpc.outside] {
            namespace.ip("link set lo up")?;
        }
        // The world around the node is there already; the node's own links are as the kernel makes them.
        for namespace in [&vpc.router, &vpc.outside] {
            namespace.set_sysctl("ipv6/conf/default/accept_dad", "0")?;
        }
        vpc.build_router()?;
        vpc.attach("eni-p", "eth0", PRIMARY_MAC, PRIMARY)?;
        vpc.attach("eni-s", "eth1", SECONDARY_MAC, SECONDARY)?;
        vpc.assign("eni-p", PRIMARY_V6)?;
        vpc.node.ip(&format!("addr add {PRIMARY}/20 dev eth0"))?;
        vpc.node.ip("link set eth0 up")?;
        vpc.node.ip("route add default via 10.7.0.1 dev eth0")?;
        vpc.node.ip(&format!("addr add {NEXT_HOP_V6}/64 dev eth0 nodad"))?;
        vpc.node.ip(&format!("addr add {PRIMARY_V6}/128 dev eth0 nodad"))?;
        vpc.node.ip(&format!("route add {GATEWAY_V6} dev eth0"))?;
        vpc.node.ip(&format!("route add default via {GATEWAY_V6} dev eth0"))?;
        Ok(vpc)
    }

    /// Detaches the secondary ENI and attaches it again: the same MAC on another link, called `link`.
    pub fn attach_secondary_again(&self, link: &str) -> Result<()> {
        self.router.ip("link del eni-s")?;
        self.attach("eni-s", link, SECONDARY_MAC, SECONDARY)
    }

    /// `AssignPrivateIpAddresses`: the router delivers the address to the ENI, and takes it from there only.
    pub fn assign(&self, eni: &str, address: &str) -> Result<()> {
        let next_hop = if address.contains(':') { NEXT_HOP_V6 } else { NEXT_HOP };
        self.router.ip(&format!("route add {address} via {next_hop} dev {eni} onlink")).map(drop)
    }

    /// A router advertisement on the primary ENI's link (RFC 4861, section 4.2): a default route for half an
    /// hour.
    pub fn announce_router(&self) -> Result<()> {
        const ADVERTISEMENT: [u8; 16] = [134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0];
        let link = self.router.only("link show dev eni-p")?["ifindex"].as_u64().context("an index")?;
        let nodes = SocketAddrV6::new("ff02::1".parse()?, 0, 0, u32::try_from(link)?);
        self.router.inside(move || -> Result<()> {
            let socket = socket(AddressFamily::INET6, SocketType::RAW, Some(ipproto::ICMPV6))?;
            set_ipv6_multicast_hops(&socket, 255)?;
            sendto(&socket, &ADVERTISEMENT, SendFlags::empty(), &nodes)?;
            Ok(())
        })?
    }

    /// Lets ENIs send from addresses that are not theirs (`SourceDestCheck`), and counts what this one sends
    /// from this address: see [`Vpc::watched`].
    pub fn watch_source(&self, eni: &str, address: &str) -> Result<()> {
        self.router.nft(&format!(
            "flush chain ip vpc check
             table ip watch {{ counter seen {{ }}
             chain c {{ type filter hook prerouting priority raw; policy accept;
               iifname {eni} ip saddr {address} counter name seen
             }}
             }}"
        ))
    }

    /// How many packets an ENI has sent from the address that is watched.
    pub fn watched(&self) -> Result<u64> {
        self.router.counted("ip watch", "seen")
    }

    /// How many packets left by an ENI that does not own their source address.
    pub fn dropped(&self) -> Result<u64> {
        Ok(self.router.counted("ip vpc", "dropped")? + self.router.counted("ip6 vpc", "dropped")?)
    }

    fn build_router(&self) -> Result<()> {
        let Self { router, outside, .. } = self;
        router.set_sysctl("ipv4/ip_forward", "1")?;
        router.set_sysctl("ipv4/conf/all/rp_filter", "0")?;
        router.set_sysctl("ipv4/conf/default/rp_filter", "0")?;
        router.set_sysctl("ipv4/conf/all/send_redirects", "0")?;
        router.set_sysctl("ipv4/conf/default/send_redirects", "0")?;
        router.ip("route add unreachable 10.7.0.0/16 metric 4096")?;
        router.ip("addr add 10.7.0.1/32 dev lo")?;
        router.ip(&format!("addr add {NEIGHBOUR}/32 dev lo"))?;
        router.nft(
            "table ip vpc { counter dropped { }
             chain check { type filter hook prerouting priority raw; policy accept;
               iifname \"eni-*\" fib saddr . iif oif missing counter name dropped drop
             }
             }
             table ip6 vpc { counter dropped { }
             chain check { type filter hook prerouting priority raw; policy accept;
               ip6 saddr { ::, fe80::/10 } accept
               iifname \"eni-*\" fib saddr . iif oif missing counter name dropped drop
             }
             }",
        )?;
        router.ip(&format!("link add up0 type veth peer name eth0 netns {}", outside.name()))?;
        router.ip("addr add 192.0.2.1/24 dev up0")?;
        router.ip("link set up0 up")?;
        router.ip("route add default via 192.0.2.2")?;
        router.set_sysctl("ipv6/conf/all/forwarding", "1")?;
        router.ip("route add unreachable 2001:db8:7::/56 metric 4096")?;
        router.ip(&format!("addr add {NEIGHBOUR_V6}/128 dev lo"))?;
        router.ip("addr add 2001:db8:e::1/64 dev up0 nodad")?;
        router.ip(&format!("route add default via {CALLER_V6}"))?;
        outside.ip(&format!("addr add {CALLER_V6}/64 dev eth0 nodad"))?;
        outside.ip(&format!("addr add {OUTSIDE_V6}/128 dev lo"))?;
        outside.ip(&format!("addr add {CALLER}/24 dev eth0"))?;
        outside.ip("link set eth0 up")?;
        outside.ip("route add 2001:db8:7::/56 via 2001:db8:e::1")?;
        outside.ip(&format!("addr add {OUTSIDE}/32 dev lo"))?;
        outside.ip(&format!("addr add {EXCLUDED}/32 dev lo"))?;
        outside.ip("route add 10.7.0.0/16 via 192.0.2.1")?;
        // The kernel looks for carriers when it has time, or when a link is looked at.
        router.ip("link show dev up0")?;
        outside.ip("link show dev eth0").map(drop)
    }

    fn attach(&self, eni: &str, link: &str, mac: &str, address: &str) -> Result<()> {
        let Self { router, node, .. } = self;
        router.ip(&format!(
            "link add {eni} mtu 9001 type veth peer name {link} mtu 9001 address {mac} netns {}",
            node.name()
        ))?;
        router.set_sysctl(&format!("ipv4/conf/{eni}/proxy_arp"), "1")?;
        router.set_sysctl(&format!("ipv4/neigh/{eni}/proxy_delay"), "0")?;
        router.ip(&format!("link set {eni} up"))?;
        router.ip(&format!("neigh add {NEXT_HOP} lladdr {mac} dev {eni} nud permanent"))?;
        router.ip(&format!("neigh add {NEXT_HOP_V6} lladdr {mac} dev {eni} nud permanent"))?;
        router.ip(&format!("addr add {GATEWAY_V6}/64 dev {eni} nodad"))?;
        self.assign(eni, address)
    }
}

/// Whether a rule listed by `ip -j rule` has this priority.
pub fn has_priority(rule: &Value, priority: u64) -> bool {
    rule["priority"].as_u64() == Some(priority)
}
