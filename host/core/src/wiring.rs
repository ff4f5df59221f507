//! Pod and node networking as data: names, tables, rules and routes. The datapath makes it so.
//!
//! Numbers and names are those of the Amazon VPC CNI, so that tools, runbooks and in-place migration work.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};

use crate::ids::{Attachment, EniId, IfName, Mac, PodName};

/// The pod's default gateway: link-local, answered by a permanent neighbour entry and never by ARP.
pub const POD_GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// The kernel's main route table; the primary ENI uses it.
pub const MAIN_TABLE: u32 = 254;
/// `to <pod> lookup main`.
pub const RULE_TO_POD: u32 = 512;
/// `fwmark 0x80/0x80 lookup main`: replies of NodePort and SNATed flows leave by the primary ENI.
pub const RULE_MARK: u32 = 1024;
/// `from <pod> lookup <ENI table>`.
pub const RULE_FROM_POD: u32 = 1536;
/// `from <ENI primary address> lookup <ENI table>`.
pub const RULE_FROM_ENI: u32 = 32765;
/// The mark that sends a packet through the main table.
pub const MARK: u32 = 0x80;
/// The smallest and largest MTU that EC2 and IPv4 allow.
pub const MTU_RANGE: std::ops::RangeInclusive<u32> = 576..=9001;

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

/// The host veth's name: `prefix` and 11 hexadecimal digits of SHA-1 over `namespace.pod`.
///
/// Without a pod name (a runtime other than Kubernetes') the attachment takes its place.
pub fn host_veth(prefix: &VethPrefix, pod: Option<&PodName>, attachment: &Attachment) -> IfName {
    let seed = match pod {
        Some(pod) => format!("{}.{}", pod.namespace, pod.name),
        None => attachment.to_string(),
    };
    let digest = Sha1::digest(seed.as_bytes());
    let hex: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    let name = format!("{}{}", prefix.0, &hex[..11]);
    name.parse().expect("invariant: at most 4 + 11 bytes of letters and digits")
}

/// The start of every host veth's name: 1 to 4 letters or digits, and none of `eth`, `lo`, `vlan`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VethPrefix(String);

impl VethPrefix {
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

/// Everything the kernel needs to know about one pod interface.
///
/// In the pod: `ifname` up with `address/32` and `mtu`, `169.254.1.1 scope link`, `default via
/// 169.254.1.1`, a permanent neighbour 169.254.1.1 → host veth's MAC, `lo` up. On the host: `address/32
/// dev host_veth scope link` in main, rule [`RULE_TO_POD`], and rule [`RULE_FROM_POD`] unless `table` is main.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodWiring {
    /// Name of the host end.
    pub host_veth: IfName,
    /// Name of the pod end (`CNI_IFNAME`).
    pub ifname: IfName,
    /// The pod's address.
    pub address: Ipv4Addr,
    /// The route table of the ENI that owns the address.
    pub table: u32,
    /// MTU of both ends.
    pub mtu: u32,
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

/// What holds for the whole node: SNAT, marks, sysctls, the mark rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeWiring {
    /// How the primary ENI's link is found.
    pub primary_mac: Mac,
    /// The address that off-VPC traffic is translated to.
    pub primary_address: Ipv4Addr,
    /// Start of host veth names, for the rules that match on them.
    pub veth_prefix: VethPrefix,
    /// The VPC's address ranges: traffic to them is never translated.
    pub vpc_cidrs: Vec<Ipv4Net>,
    /// Further ranges never translated.
    pub snat_exclude: Vec<Ipv4Net>,
    /// Whether the node translates pods' off-VPC traffic; `None` leaves that to a NAT gateway.
    pub snat: Option<SnatPorts>,
    /// Whether NodePort replies are sent back through the primary ENI.
    pub node_port: bool,
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
            let veth = host_veth(&VethPrefix::default(), Some(&pod(namespace, name)), &attachment);
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
