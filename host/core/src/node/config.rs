//! What the operator decides about a node.

use std::collections::BTreeMap;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};

use crate::budget::BudgetConfig;
use crate::cloud::NodeIdentity;
use crate::ids::{EniId, SecurityGroupId, SubnetId, VpcId};
use crate::limits::{InstanceType, Mode};
use crate::wiring::{Families, LEAST_IPV6_MTU, MARK, SnatPorts, VethPrefix};

/// The settings that decisions depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How IPv4 addresses are supplied.
    pub mode: Mode,
    /// Which families of addresses pods have.
    pub families: Families,
    /// Whether pods of one family get a node-local address of the other, translated on its way out.
    pub egress: bool,
    /// How long a released address is not reused.
    pub cooldown: Duration,
    /// How young a pod is that a GC may not know yet.
    pub gc_grace: Duration,
    /// The longest that an ADD waits for supply.
    pub wait: Duration,
    /// The operator's limit on ENIs.
    pub max_enis: Option<u32>,
    /// Kubelet's `--max-pods`, when the operator states it; otherwise the max-pods strategy answers.
    pub max_pods: Option<u32>,
    /// MTU of ENIs.
    pub eni_mtu: u32,
    /// MTU of pod interfaces.
    pub pod_mtu: u32,
    /// Start of host veth names.
    pub veth_prefix: VethPrefix,
    /// The cluster's name, for tags.
    pub cluster: Option<String>,
    /// Further tags on ENIs that we create.
    pub tags: BTreeMap<String, String>,
    /// Whether pods' ENIs are in other subnets than the primary's.
    pub custom_networking: CustomNetworking,
    /// Whether new ENIs may be in any subnet of the zone that its tags offer; otherwise only in the primary's.
    pub subnet_discovery: bool,
    /// Security groups of our ENIs; empty: those of the primary ENI. An [`EniConfig`]'s come first.
    pub security_groups: Vec<SecurityGroupId>,
    /// What EC2 may be asked for.
    pub provisioning: Provisioning,
    /// Which network cards carry pods.
    pub cards: Cards,
    /// Whether ENIs that neither we nor the incumbent created for this instance may carry pods.
    pub manage_foreign: bool,
    /// Whether the node takes no new pods: no ENI is added or removed meanwhile.
    pub cordoned: bool,
    /// What the kernel is told beyond pods and ENIs.
    pub kernel: KernelConfig,
    /// How much EC2 may be asked for.
    pub budget: BudgetConfig,
    /// Whether somebody is about to count the cluster's nodes: until then no burst is spent, because it may be larger
    /// than a node's part.
    pub expects_count: bool,
    /// Whether ENIs that nobody owns any more are deleted.
    pub sweep: bool,
}

/// Whether pods' ENIs are in other subnets than the primary's (the incumbent's custom networking): then the
/// primary ENI carries no pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CustomNetworking {
    /// No.
    #[default]
    Off,
    /// There.
    Use(EniConfig),
    /// Somewhere that nobody has described: no ENI is created until somebody does.
    Missing {
        /// The name that was looked for.
        name: String,
    },
}

/// Where pods' ENIs are, and behind which security groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EniConfig {
    /// Its name.
    pub name: String,
    /// In order of preference unless the subnet-selection strategy has another; at least one.
    pub subnets: Vec<SubnetId>,
    /// Empty: as without an ENIConfig.
    pub security_groups: Vec<SecurityGroupId>,
}

/// Why a node cannot be what its settings ask for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsupported {
    /// Prefixes on an instance type that has none.
    #[error(
        "pool.mode = \"prefix\" on {instance_type}: EC2 delegates prefixes to Nitro and bare-metal types only; \
         set pool.mode = \"secondary-ip\" here"
    )]
    Prefixes {
        /// The type.
        instance_type: String,
    },
    /// IPv6 for pods on such a type.
    #[error(
        "network.ip_family with IPv6 on {instance_type}: pods' IPv6 addresses come out of a delegated prefix, and \
         EC2 delegates those to Nitro and bare-metal types only; set network.ip_family = \"ipv4\" here"
    )]
    Ipv6Prefixes {
        /// The type.
        instance_type: String,
    },
    /// IPv6 for pods in a VPC without.
    #[error(
        "network.ip_family with IPv6: {vpc} has no IPv6 range; give it and {subnet} one, or set \"ipv4\""
    )]
    NoIpv6Range {
        /// The VPC.
        vpc: VpcId,
        /// The primary ENI's subnet.
        subnet: SubnetId,
    },
    /// IPv6 over links that are too narrow for it.
    #[error("network.pod_mtu = {pod_mtu} and network.mtu = {eni_mtu}: IPv6 needs at least {LEAST_IPV6_MTU}")]
    NarrowForIpv6 {
        /// MTU of pods' interfaces.
        pod_mtu: u32,
        /// MTU of ENIs.
        eni_mtu: u32,
    },
    /// Custom networking for IPv6 pods.
    #[error(
        "custom_networking.enabled with IPv6 pods: their addresses are the primary ENI's; set it to false"
    )]
    Ipv6Elsewhere,
    /// IPv6 egress without an address to translate to.
    #[error(
        "network.egress with IPv4 pods: {eni} has no IPv6 address to translate to; give it one, or set false"
    )]
    NoIpv6Address {
        /// The primary ENI.
        eni: EniId,
    },
}

impl Config {
    /// Whether a node can be so.
    pub fn check(&self, identity: &NodeIdentity, kind: &InstanceType) -> Result<(), Unsupported> {
        let instance_type = || kind.name.clone();
        if self.mode == Mode::Prefix && self.families.ipv4() && !kind.supports_prefixes() {
            return Err(Unsupported::Prefixes { instance_type: instance_type() });
        }
        if self.families.ipv6() {
            if !kind.supports_prefixes() {
                return Err(Unsupported::Ipv6Prefixes { instance_type: instance_type() });
            }
            if identity.vpc_ipv6_cidrs.is_empty() {
                let (vpc, subnet) = (identity.vpc.clone(), identity.subnet.clone());
                return Err(Unsupported::NoIpv6Range { vpc, subnet });
            }
        }
        let any_ipv6 = self.families.ipv6() || self.egress;
        if any_ipv6 && self.pod_mtu.min(self.eni_mtu) < LEAST_IPV6_MTU {
            return Err(Unsupported::NarrowForIpv6 { pod_mtu: self.pod_mtu, eni_mtu: self.eni_mtu });
        }
        if self.families == Families::Ipv6 && self.custom_networking != CustomNetworking::Off {
            return Err(Unsupported::Ipv6Elsewhere);
        }
        if self.families == Families::Ipv4 && self.egress && identity.primary_ipv6.is_none() {
            return Err(Unsupported::NoIpv6Address { eni: identity.primary_eni.clone() });
        }
        Ok(())
    }
}

/// What EC2 may be asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Provisioning {
    /// Whatever the pool needs.
    #[default]
    Full,
    /// To look, not to change: somebody else provides ENIs and addresses.
    LookOnly,
    /// Nothing: metadata alone says what there is, and somebody else provides it.
    MetadataOnly,
}

/// Which network cards carry pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cards {
    /// The default one.
    #[default]
    Default,
    /// All of the instance type's.
    Every,
}

/// What the kernel is told beyond pods and ENIs; see [`NodeWiring`](crate::wiring::NodeWiring).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelConfig {
    /// Ranges besides the VPC's that pods' traffic is not translated to.
    pub snat_exclude: Vec<Ipv4Net>,
    /// Whether and how this node translates pods' traffic to outside the VPC.
    pub snat: Option<SnatPorts>,
    /// How source ports are chosen for node-local addresses.
    pub egress_ports: SnatPorts,
    /// Whether NodePort replies leave by the primary ENI.
    pub node_port: bool,
    /// The bit that marks what leaves by the primary ENI.
    pub mark: u32,
    /// Ranges that pods reach through the primary ENI.
    pub external_services: Vec<Ipv4Net>,
    /// `Some`: only the cluster may open connections to pods, and these ranges.
    pub ingress: Option<Vec<IpNet>>,
}

impl Default for KernelConfig {
    fn default() -> Self {
        Self {
            snat_exclude: Vec::new(),
            snat: Some(SnatPorts::default()),
            egress_ports: SnatPorts::default(),
            node_port: true,
            mark: MARK,
            external_services: Vec::new(),
            ingress: None,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mode: Mode::SecondaryIp,
            families: Families::Ipv4,
            egress: false,
            cooldown: Duration::from_secs(30),
            gc_grace: Duration::from_secs(60),
            wait: Duration::from_secs(60),
            max_enis: None,
            max_pods: None,
            eni_mtu: 9001,
            pod_mtu: 9001,
            veth_prefix: VethPrefix::default(),
            cluster: None,
            tags: BTreeMap::new(),
            custom_networking: CustomNetworking::Off,
            subnet_discovery: true,
            security_groups: Vec::new(),
            provisioning: Provisioning::Full,
            cards: Cards::Default,
            manage_foreign: true,
            cordoned: false,
            kernel: KernelConfig::default(),
            budget: BudgetConfig::default(),
            expects_count: false,
            sweep: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance_types::lookup;

    fn identity() -> NodeIdentity {
        NodeIdentity {
            instance: "i-1".parse().unwrap(),
            instance_type: "m5.large".to_owned(),
            region: "r".to_owned(),
            zone: "r-a".to_owned(),
            vpc: "vpc-1".parse().unwrap(),
            primary_eni: "eni-1".parse().unwrap(),
            primary_mac: "02:00:00:00:00:01".parse().unwrap(),
            primary_address: "10.0.0.4".parse().unwrap(),
            subnet: "subnet-1".parse().unwrap(),
            security_groups: Vec::new(),
            vpc_cidrs: vec!["10.0.0.0/16".parse().unwrap()],
            primary_ipv6: Some("2001:db8::4".parse().unwrap()),
            vpc_ipv6_cidrs: vec!["2001:db8::/56".parse().unwrap()],
            pod_ranges: Vec::new(),
        }
    }

    /// What is wrong with a configuration on an instance type, by name.
    fn wrong(config: &Config, identity: &NodeIdentity, instance_type: &str) -> &'static str {
        match config.check(identity, &lookup(instance_type).unwrap()) {
            Ok(()) => "nothing",
            Err(Unsupported::Prefixes { .. }) => "prefixes",
            Err(Unsupported::Ipv6Prefixes { .. }) => "IPv6 prefixes",
            Err(Unsupported::NoIpv6Range { .. }) => "range",
            Err(Unsupported::NarrowForIpv6 { .. }) => "MTU",
            Err(Unsupported::Ipv6Elsewhere) => "custom networking",
            Err(Unsupported::NoIpv6Address { .. }) => "address",
        }
    }

    #[test]
    fn a_node_is_refused_what_its_type_and_its_vpc_do_not_have() {
        let prefix = Config { mode: Mode::Prefix, ..Config::default() };
        let family = |families| Config { families, ..Config::default() };
        let (ipv6, dual) = (family(Families::Ipv6), family(Families::DualStack));
        let egress = Config { egress: true, ..Config::default() };
        let narrow = |config: &Config| Config { pod_mtu: 1279, ..config.clone() };
        let missing = CustomNetworking::Missing { name: "a".to_owned() };
        let elsewhere = |config: &Config| Config { custom_networking: missing.clone(), ..config.clone() };
        let with = identity();
        let without = NodeIdentity { primary_ipv6: None, vpc_ipv6_cidrs: Vec::new(), ..identity() };
        for (config, identity, instance_type, expected) in [
            (&Config::default(), &without, "t2.micro", "nothing"),
            (&prefix, &without, "t2.micro", "prefixes"),
            (&prefix, &without, "m5.metal", "nothing"),
            (&Config { mode: Mode::Prefix, ..ipv6.clone() }, &with, "t3.small", "nothing"),
            (&ipv6, &with, "t2.micro", "IPv6 prefixes"),
            (&dual, &with, "t2.micro", "IPv6 prefixes"),
            (&dual, &without, "t3.small", "range"),
            (&ipv6, &with, "t3.small", "nothing"),
            (&egress, &with, "t2.micro", "nothing"),
            (&egress, &without, "t3.small", "address"),
            (&narrow(&ipv6), &with, "t3.small", "MTU"),
            (&narrow(&egress), &with, "t3.small", "MTU"),
            (&narrow(&prefix), &with, "t3.small", "nothing"),
            (&elsewhere(&ipv6), &with, "t3.small", "custom networking"),
            (&elsewhere(&dual), &with, "t3.small", "nothing"),
        ] {
            assert_eq!(wrong(config, identity, instance_type), expected, "{config:?} on {instance_type}");
        }
    }
}
