//! `[network]`: links, routes and translation.

use enid_core::wiring::{Families, LEAST_IPV6_MTU, MARK, MTU_RANGE, SnatPorts, VethPrefix};
use ipnet::{IpNet, Ipv4Net};

use super::document::Section;
use super::narrow;

/// Ranges in one list; each costs an element of a set, and nobody has this many.
const MAX_RANGES: usize = 256;
/// Ranges of services outside the VPC: each costs a rule that every packet of a pod may be held against.
const MAX_SERVICES: usize = 64;
/// What an entry of such a list must be.
const RANGE: &str = "an IPv4 range like \"10.8.0.0/16\"";
/// It translates what carries the first, and takes it off then; it drops what carries the second.
const KUBE_PROXY_MARKS: [u32; 2] = [0x4000, 0x8000];

/// `[network]`: links, routes and translation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// `ip_family`: which families of addresses pods have. Default `ipv4`, as the incumbent.
    pub families: Families,
    /// Whether pods of one family reach the outside in the other, too, from a node-local address that is
    /// translated. Default true for IPv6 pods, because much of the world is IPv4 only, and false for IPv4 pods.
    pub egress: bool,
    /// MTU of ENIs, in bytes. Default 9001, the VPC's.
    pub mtu: u32,
    /// MTU of pods' interfaces, in bytes. Default: that of ENIs, and never above it. At least 1280 when pods have
    /// IPv6 in any form (RFC 8200, section 5).
    pub pod_mtu: u32,
    /// Start of host veth names. Default `eni`, which other agents' rules expect.
    pub veth_prefix: VethPrefix,
    /// Whether a NAT gateway translates pods' traffic to outside the VPC, instead of this node. Default false:
    /// works in public subnets.
    pub external_snat: bool,
    /// How source ports are chosen in translation. Default `prng`: random ports avoid collisions when many
    /// pods ask the same server.
    pub snat_ports: SnatPorts,
    /// Ranges outside the VPC that are not translated either. Default: none.
    pub exclude_snat_cidrs: Vec<Ipv4Net>,
    /// Ranges of services outside the VPC that pods reach through the primary ENI, whichever their own is. Default:
    /// none. Not 0.0.0.0/0: even what pods of other ENIs send inside the VPC would leave there, and be dropped, and the
    /// kernel keeps such a rule in a form by which it cannot be told from others of its priority.
    pub external_service_cidrs: Vec<Ipv4Net>,
    /// Whether replies of NodePort services leave through the primary ENI, where they came in. Default true.
    pub node_port: bool,
    /// The bit of packet marks that says so. Default 0x80, the incumbent's. Not 0x4000 and 0x8000, which are
    /// kube-proxy's: it translates what carries the one and drops what carries the other.
    pub connmark: u32,
    /// `ingress` and `cluster_cidrs`: with `cluster` only this node, the subnets that pods of its zone may be in, and these
    /// ranges may open connections to pods.
    /// Default `open`: whatever the security groups let in, as with the incumbent.
    pub ingress: Option<Vec<IpNet>>,
    /// Whether the kernel looks for a pod's IPv6 addresses on its link before it uses them (RFC 4862, section 5.4).
    /// Default false: that takes one to two seconds of every ADD, a pod's link has two ends and both are ours, and
    /// the VPC gives an address to one ENI only, so there is nobody to find.
    pub duplicate_address_detection: bool,
}

impl Network {
    /// How this node translates pods' traffic to outside the VPC; `None` when a gateway does.
    pub fn snat(&self) -> Option<SnatPorts> {
        (!self.external_snat).then_some(self.snat_ports)
    }
}

impl Default for Network {
    fn default() -> Self {
        Self {
            families: Families::Ipv4,
            egress: false,
            mtu: *MTU_RANGE.end(),
            pod_mtu: *MTU_RANGE.end(),
            veth_prefix: VethPrefix::default(),
            external_snat: false,
            snat_ports: SnatPorts::Prng,
            exclude_snat_cidrs: Vec::new(),
            external_service_cidrs: Vec::new(),
            node_port: true,
            connmark: MARK,
            ingress: None,
            duplicate_address_detection: false,
        }
    }
}

impl Network {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Self {
        let default = Self::default();
        let families = section
            .text("ip_family", "\"ipv4\", \"ipv6\" or \"dual-stack\"", families)
            .unwrap_or(default.families);
        let egress = read_egress(section, families);
        let (mtu, pod_mtu) = read_mtus(section, families.ipv6() || egress);
        let prefix = "1 to 4 letters or digits, and none of \"eth\", \"lo\", \"vlan\"";
        let mark = "one bit of 32, like 0x80, and neither 0x4000 nor 0x8000, which are kube-proxy's";
        Self {
            families,
            egress,
            mtu,
            pod_mtu,
            veth_prefix: section
                .text("veth_prefix", prefix, |text| VethPrefix::try_from(text.to_owned()).ok())
                .unwrap_or(default.veth_prefix),
            external_snat: section.flag("external_snat").unwrap_or(default.external_snat),
            snat_ports: section
                .text("snat_ports", "\"prng\", \"hashrandom\" or \"none\"", snat_ports)
                .unwrap_or(default.snat_ports),
            exclude_snat_cidrs: section
                .texts("exclude_snat_cidrs", 0..=MAX_RANGES, RANGE, ipv4_range)
                .unwrap_or(default.exclude_snat_cidrs),
            external_service_cidrs: section
                .texts(
                    "external_service_cidrs",
                    0..=MAX_SERVICES,
                    &format!("{RANGE} and not 0.0.0.0/0"),
                    service,
                )
                .unwrap_or(default.external_service_cidrs),
            node_port: section.flag("node_port").unwrap_or(default.node_port),
            connmark: section
                .number("connmark", mark, |number| {
                    let mark = u32::try_from(number).ok()?;
                    (mark.is_power_of_two() && !KUBE_PROXY_MARKS.contains(&mark)).then_some(mark)
                })
                .unwrap_or(default.connmark),
            ingress: read_ingress(section),
            duplicate_address_detection: section
                .flag("duplicate_address_detection")
                .unwrap_or(default.duplicate_address_detection),
        }
    }
}

fn read_egress(section: &mut Section<'_, '_>, families: Families) -> bool {
    match families {
        Families::Ipv4 | Families::Ipv6 => section.flag("egress").unwrap_or(families.ipv6()),
        Families::DualStack => {
            let allowed = "false or left out: with ip_family = \"dual-stack\" pods have both families";
            section.flag_if("egress", allowed, |egress| !egress).unwrap_or(false)
        }
    }
}

/// Those of ENIs and of pods.
fn read_mtus(section: &mut Section<'_, '_>, any_ipv6: bool) -> (u32, u32) {
    let (least, why) = match any_ipv6 {
        true => (LEAST_IPV6_MTU, ", since pods have IPv6"),
        false => (*MTU_RANGE.start(), ""),
    };
    let (least, most) = (u64::from(least), u64::from(*MTU_RANGE.end()));
    let mtu = section.integer("mtu", least..=most, &format!("bytes{why}"));
    let mtu = mtu.map_or(Network::default().mtu, narrow);
    let unit = format!("bytes{why} (never above `mtu`)");
    let pod_mtu = section.integer("pod_mtu", least..=u64::from(mtu), &unit).map_or(mtu, narrow);
    (mtu, pod_mtu)
}

fn ipv4_range(text: &str) -> Option<Ipv4Net> {
    text.parse::<Ipv4Net>().ok().map(|range| range.trunc())
}

fn service(text: &str) -> Option<Ipv4Net> {
    ipv4_range(text).filter(|range| range.prefix_len() > 0)
}

/// What may open connections to pods besides nodes and pods, when not everything may.
fn read_ingress(section: &mut Section<'_, '_>) -> Option<Vec<IpNet>> {
    let cluster = section.text("ingress", "\"open\" or \"cluster\"", |text| match text {
        "open" => Some(false),
        "cluster" => Some(true),
        _ => None,
    });
    let cluster = cluster.unwrap_or(false);
    let allowed = match cluster {
        true => "an IPv4 or IPv6 range like \"10.8.0.0/16\"",
        false => "left out: it counts with ingress = \"cluster\" only",
    };
    let ranges = section.texts("cluster_cidrs", 0..=MAX_RANGES, allowed, |range| {
        range.parse::<IpNet>().ok().filter(|_| cluster).map(|range| range.trunc())
    });
    cluster.then(|| ranges.unwrap_or_default())
}

fn families(text: &str) -> Option<Families> {
    match text {
        "ipv4" => Some(Families::Ipv4),
        "ipv6" => Some(Families::Ipv6),
        "dual-stack" => Some(Families::DualStack),
        _ => None,
    }
}

fn snat_ports(text: &str) -> Option<SnatPorts> {
    match text {
        "prng" => Some(SnatPorts::Prng),
        "hashrandom" => Some(SnatPorts::HashRandom),
        "none" => Some(SnatPorts::None),
        _ => None,
    }
}
