//! Pod and node networking as data: names, tables, rules and routes. The datapath makes it so.
//!
//! Numbers and names are those of the Amazon VPC CNI, so that tools, runbooks and in-place migration work.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};

use crate::ids::{Attachment, EniId, IfName, Mac, PodName};

/// The IPv4 default gateway of a pod's first interface: link-local, answered by a permanent neighbour entry and
/// never by ARP.
pub const POD_GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// The IPv6 default gateway of every pod: link-local, answered by a permanent neighbour entry.
pub const POD_GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
/// Addresses that pods of an IPv6 cluster get for IPv4 traffic that leaves the node, translated: known to the
/// node alone.
pub const EGRESS_V4: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 172, 0), 22);
/// The same for IPv6 traffic of an IPv4 cluster's pods.
pub const EGRESS_V6: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0xac, 0), 118);
/// The kernel's main route table; the primary ENI uses it.
pub const MAIN_TABLE: u32 = 254;
/// `to <pod> lookup main`.
pub const RULE_TO_POD: u32 = 512;
/// `fwmark 0x80/0x80 lookup main`: replies of NodePort and SNATed flows leave by the primary ENI.
pub const RULE_MARK: u32 = 1024;
/// `to <external service range> lookup main`: before [`RULE_FROM_POD`].
pub const RULE_TO_SERVICE: u32 = 1535;
/// `from <pod> lookup <ENI table>`.
pub const RULE_FROM_POD: u32 = 1536;
/// `from <ENI primary address> lookup <ENI table>`.
pub const RULE_FROM_ENI: u32 = 32765;
/// The mark that sends a packet through the main table, unless the operator chose another.
pub const MARK: u32 = 0x80;
/// The smallest and largest MTU that EC2 and IPv4 allow.
pub const MTU_RANGE: std::ops::RangeInclusive<u32> = 576..=9001;
/// The smallest MTU that IPv6 allows (RFC 8200, section 5).
pub const LEAST_IPV6_MTU: u32 = 1280;
/// Network cards that a pod's interfaces may be on: no instance type has more.
pub const MAX_CARDS: usize = 32;

/// Which families of addresses pods have from the VPC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Families {
    /// IPv4 only.
    #[default]
    Ipv4,
    /// IPv6 only, out of a /80 delegated to the primary ENI.
    Ipv6,
    /// Both, in one ADD.
    DualStack,
}

impl Families {
    /// Whether pods get IPv4 addresses of the VPC.
    pub fn ipv4(self) -> bool {
        match self {
            Families::Ipv4 | Families::DualStack => true,
            Families::Ipv6 => false,
        }
    }

    /// Whether pods get IPv6 addresses of the VPC.
    pub fn ipv6(self) -> bool {
        match self {
            Families::Ipv6 | Families::DualStack => true,
            Families::Ipv4 => false,
        }
    }
}

/// Where an ENI sits on the instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Seat {
    /// Network card index.
    pub card: u32,
    /// Device index on that card.
    pub device: u32,
}

impl Seat {
    /// The primary ENI's.
    pub const PRIMARY: Seat = Seat { card: 0, device: 0 };

    /// The route table of the ENI in this seat.
    pub fn table(self) -> u32 {
        match (self.card, self.device) {
            (0, 0) => MAIN_TABLE,
            (0, device) => device + 1,
            (card, device) => 10_000 + 100 * card + device,
        }
    }
}

/// Digits of a host veth's name.
const VETH_DIGITS: usize = 11;

/// The host veth's name: `prefix` and 11 hexadecimal digits of SHA-1 over `namespace.pod`.
///
/// Without a pod name (a runtime other than Kubernetes') the attachment takes its place.
///
/// Interface `index`, counted from 0: from the second on, `.index` is hashed with it.
pub fn host_veth(
    prefix: &VethPrefix,
    pod: Option<&PodName>,
    attachment: &Attachment,
    index: usize,
) -> IfName {
    let mut seed = match pod {
        Some(pod) => format!("{}.{}", pod.namespace, pod.name),
        None => attachment.to_string(),
    };
    if index > 0 {
        seed = format!("{seed}.{index}");
    }
    let digest = Sha1::digest(seed.as_bytes());
    let hex: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    let name = format!("{}{}", prefix.0, &hex[..VETH_DIGITS]);
    name.parse().expect("invariant: at most 4 + 11 bytes of letters and digits")
}

/// The start of every host veth's name: 1 to 4 letters or digits, and none of `eth`, `lo`, `vlan`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VethPrefix(String);

impl VethPrefix {
    /// That of a name that [`host_veth`] made.
    pub fn of(host_veth: &IfName) -> Option<Self> {
        let name = host_veth.as_str();
        let prefix = name.get(..name.len().checked_sub(VETH_DIGITS)?)?;
        Self::try_from(prefix.to_owned()).ok()
    }

    /// The prefix as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for VethPrefix {
    fn default() -> Self {
        Self("eni".to_owned())
    }
}

impl TryFrom<String> for VethPrefix {
    type Error = String;
    fn try_from(s: String) -> Result<Self, String> {
        let fits = (1..=4).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_alphanumeric());
        if !fits || ["eth", "lo", "vlan"].contains(&s.as_str()) {
            return Err(format!(
                "`{s}` is not a veth prefix: 1 to 4 letters or digits, and none of `eth`, `lo`, `vlan`"
            ));
        }
        Ok(Self(s))
    }
}

impl From<VethPrefix> for String {
    fn from(prefix: VethPrefix) -> String {
        prefix.0
    }
}

/// Everything the kernel needs to know about one pod.
///
/// Journaled with its pod. Old with new: what an older daemon would not understand (`second`, `further`) goes
/// into records that it refuses; see [`Record`](crate::event::Record).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodWiring {
    /// The interface that the runtime asked for.
    #[serde(flatten)]
    pub first: PodLink,
    /// One more interface for each further network card, when the pod asked for all; interface `i` (from 1)
    /// is `further[i - 1]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub further: Vec<PodLink>,
}

impl PodWiring {
    /// All interfaces, the runtime's first.
    pub fn links(&self) -> impl Iterator<Item = &PodLink> {
        std::iter::once(&self.first).chain(&self.further)
    }

    /// The address that stands for the pod: the first of its first interface.
    pub fn key(&self) -> IpAddr {
        self.first.address
    }

    /// The VPC's addresses that the pod has; node-local ones are nobody else's business.
    pub fn leased(&self) -> impl Iterator<Item = IpAddr> {
        self.links().flat_map(|link| {
            let second = link.second.filter(|second| !second.node_local).map(|second| second.address);
            std::iter::once(link.address).chain(second)
        })
    }
}

/// One interface of a pod.
///
/// In the pod: `ifname` up with `address` alone in its subnet (/32, /128) and `mtu`, its gateway `scope link`,
/// `default via` the gateway, a permanent neighbour gateway → host veth's MAC, `lo` up. Gateways: the first
/// interface's [`POD_GATEWAY`], interface `i`'s 169.254.1.(i+1), and [`POD_GATEWAY_V6`]. The routes of interface `i`
/// are in the pod's table `i`, with a rule `from address lookup i` of priority 1. On the host: `address dev
/// host_veth scope link` in main, rule [`RULE_TO_POD`], and rule [`RULE_FROM_POD`] unless `table` is main. The
/// same for `second`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodLink {
    /// Name of the host end.
    pub host_veth: IfName,
    /// Name of the pod end: `CNI_IFNAME`, or `mNicIf<i>`.
    pub ifname: IfName,
    /// Its address; of a dual-stack pod the IPv4 one.
    pub address: IpAddr,
    /// The route table of the ENI that owns the address.
    pub table: u32,
    /// MTU of both ends.
    pub mtu: u32,
    /// Its address of the other family, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second: Option<SecondAddress>,
}

impl PodLink {
    /// Its addresses with the tables of the ENIs that own them.
    pub fn addresses(&self) -> impl Iterator<Item = (IpAddr, u32)> {
        let second = self.second.map(|second| (second.address, second.table));
        std::iter::once((self.address, self.table)).chain(second)
    }
}

/// An interface's address of the other family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecondAddress {
    /// The address.
    pub address: IpAddr,
    /// The route table of the ENI that owns it; main for a node-local one.
    pub table: u32,
    /// Whether it is out of [`EGRESS_V4`] or [`EGRESS_V6`], good for translated connections to outside only, and not
    /// reported to the runtime.
    pub node_local: bool,
}

/// The IPv4 gateway of a pod's interface `index`, counted from 0.
pub fn pod_gateway(index: usize) -> Ipv4Addr {
    let [a, b, c, d] = POD_GATEWAY.octets();
    let steps = u8::try_from(index.min(MAX_CARDS)).expect("invariant: there are fewer than 256 cards");
    Ipv4Addr::new(a, b, c, d + steps)
}

/// One secondary ENI's wiring.
///
/// Link found by `mac`; up, with `mtu` and `address/subnet-length`, no subnet route in main; table
/// [`Seat::table`] with `gateway/32 scope link` and `default via gateway`; rule [`RULE_FROM_ENI`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EniWiring {
    /// Whose.
    pub eni: EniId,
    /// How its link is found.
    pub mac: Mac,
    /// Its place, which gives its table.
    pub seat: Seat,
    /// Its primary address.
    pub address: Ipv4Addr,
    /// Its subnet; the router is the first address in it.
    pub subnet: Ipv4Net,
    /// MTU.
    pub mtu: u32,
}

impl EniWiring {
    /// The VPC router of this ENI's subnet: base address + 1.
    pub fn gateway(&self) -> Ipv4Addr {
        gateway_of(self.subnet)
    }
}

/// The VPC router of `subnet`: base address + 1 (VPC user guide, "Subnet CIDR blocks").
pub fn gateway_of(subnet: Ipv4Net) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(subnet.network()).wrapping_add(1))
}

/// How source ports are chosen when pods' traffic is translated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SnatPorts {
    /// Fully random (`fully-random`).
    #[default]
    Prng,
    /// Hashed (`random`).
    HashRandom,
    /// The kernel's default.
    None,
}

/// Who may open connections to pods.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ingress {
    /// Whatever the ENIs' security groups let in.
    #[default]
    Open,
    /// This node, its pods, and these ranges; new connections from elsewhere are dropped and counted. Connections
    /// that the node itself translated to a pod (NodePort, load balancers that go through the node) are let in.
    Cluster {
        /// Of nodes and pods, and what the operator lists.
        sources: Vec<IpNet>,
    },
}

/// What holds for the whole node: SNAT, marks, sysctls, the mark rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeWiring {
    /// How the primary ENI's link is found.
    pub primary_mac: Mac,
    /// The address that off-VPC traffic is translated to.
    pub primary_address: Ipv4Addr,
    /// The same for IPv6; none on a node without IPv6.
    pub primary_ipv6: Option<Ipv6Addr>,
    /// Which families pods have.
    pub families: Families,
    /// Start of host veth names, for the rules that match on them.
    pub veth_prefix: VethPrefix,
    /// The VPC's address ranges: traffic to them is never translated.
    pub vpc_cidrs: Vec<Ipv4Net>,
    /// The same for IPv6.
    pub vpc_ipv6_cidrs: Vec<Ipv6Net>,
    /// Further ranges never translated.
    pub snat_exclude: Vec<Ipv4Net>,
    /// Whether the node translates pods' off-VPC traffic; `None` leaves that to a NAT gateway.
    pub snat: Option<SnatPorts>,
    /// Whether NodePort replies are sent back through the primary ENI.
    pub node_port: bool,
    /// The bit that marks packets that must leave by the primary ENI: [`MARK`] unless the operator chose another.
    pub mark: u32,
    /// Ranges outside the VPC that pods reach through the primary ENI ([`RULE_TO_SERVICE`]).
    pub external_services: Vec<Ipv4Net>,
    /// How source ports are chosen when node-local addresses ([`EGRESS_V4`], [`EGRESS_V6`]) are translated to the
    /// node's own; `None` when pods have no such addresses.
    pub egress: Option<SnatPorts>,
    /// Who may open connections to pods.
    pub ingress: Ingress,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(namespace: &str, name: &str) -> PodName {
        PodName { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    #[test]
    fn host_veth_names_match_the_incumbents() {
        let attachment = Attachment {
            container: "c1".parse().unwrap(),
            network: "n".parse().unwrap(),
            ifname: "eth0".parse().unwrap(),
        };
        for (namespace, name, hex) in [
            ("kube-system", "coredns-57ff979f67-qqbdh", "b5faff8a083"),
            ("kube-system", "coredns-57ff979f67-8ns9b", "9571956a6cc"),
            ("default", "sample-pod", "cc21c2d7785"),
        ] {
            let veth = host_veth(&VethPrefix::default(), Some(&pod(namespace, name)), &attachment, 0);
            assert_eq!(veth.as_str(), format!("eni{hex}"));
        }
    }

    #[test]
    fn route_tables_match_the_incumbents() {
        for (card, device, table) in
            [(0, 0, 254), (0, 1, 2), (0, 3, 4), (1, 1, 10101), (2, 3, 10203), (1, 0, 10100)]
        {
            assert_eq!(Seat { card, device }.table(), table);
        }
    }

    #[test]
    fn veth_prefixes_are_checked() {
        for (prefix, ok) in [
            ("eni", true),
            ("a", true),
            ("abcd", true),
            ("abcde", false),
            ("", false),
            ("eth", false),
            ("lo", false),
            ("vlan", false),
            ("a-b", false),
        ] {
            assert_eq!(VethPrefix::try_from(prefix.to_owned()).is_ok(), ok, "{prefix}");
        }
    }
}
