//! A small VPC: one node with two ENIs, a router that knows which ENI owns which address and drops what leaves
//! by another (the source/destination check), and a host outside.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::namespace::Namespace;
use crate::wiring::{PRIMARY, PRIMARY_MAC, SECONDARY, SECONDARY_MAC};

/// A host outside the VPC.
pub const OUTSIDE: &str = "198.51.100.7";
/// The same host by an address that the node's wiring excludes from SNAT.
pub const EXCLUDED: &str = "203.0.113.7";
/// A host inside the VPC, on no ENI of the node.
pub const NEIGHBOUR: &str = "10.7.9.9";

/// The next hop by which the router reaches an ENI; it stands for the ENI's MAC.
const NEXT_HOP: &str = "169.254.7.1";

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
        vpc.build_router()?;
        vpc.attach("eni-p", "eth0", PRIMARY_MAC, PRIMARY)?;
        vpc.attach("eni-s", "eth1", SECONDARY_MAC, SECONDARY)?;
        vpc.node.ip(&format!("addr add {PRIMARY}/20 dev eth0"))?;
        vpc.node.ip("link set eth0 up")?;
        vpc.node.ip("route add default via 10.7.0.1 dev eth0")?;
        Ok(vpc)
    }

    /// `AssignPrivateIpAddresses`: the router delivers the address to the ENI, and takes it from there only.
    pub fn assign(&self, eni: &str, address: &str) -> Result<()> {
        self.router.ip(&format!("route add {address}/32 via {NEXT_HOP} dev {eni} onlink")).map(drop)
    }

    /// How many packets left by an ENI that does not own their source address.
    pub fn dropped(&self) -> Result<u64> {
        let table = self.router.nft_table("ip vpc")?;
        let counter = table.iter().find_map(|entry| {
            let expressions = entry["rule"]["expr"].as_array()?;
            expressions.iter().find_map(|expression| expression["counter"]["packets"].as_u64())
        });
        counter.context("the source check has no counter")
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
            "table ip vpc { chain check { type filter hook prerouting priority raw; policy accept;
               iifname \"eni-*\" fib saddr . iif oif missing counter drop
             }
             }",
        )?;
        router.ip(&format!("link add up0 type veth peer name eth0 netns {}", outside.name()))?;
        router.ip("addr add 192.0.2.1/24 dev up0")?;
        router.ip("link set up0 up")?;
        router.ip("route add default via 192.0.2.2")?;
        outside.ip("addr add 192.0.2.2/24 dev eth0")?;
        outside.ip("link set eth0 up")?;
        outside.ip(&format!("addr add {OUTSIDE}/32 dev lo"))?;
        outside.ip(&format!("addr add {EXCLUDED}/32 dev lo"))?;
        outside.ip("route add 10.7.0.0/16 via 192.0.2.1").map(drop)
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
        self.assign(eni, address)
    }
}

/// Whether a rule listed by `ip -j rule` has this priority.
pub fn has_priority(rule: &Value, priority: u64) -> bool {
    rule["priority"].as_u64() == Some(priority)
}
