//! The world a lab starts with: one VPC with its subnets, nodes, and neighbours that are not of the cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

/// The region that the lab plays.
pub const REGION: &str = "eu-lab-1";
/// Where the EC2 Query API answers: the VPC's base address + 2, where AWS has its resolver.
pub const EC2_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
/// Where instance metadata answers.
pub const IMDS_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
/// The range that a VPC with IPv6 has: a /56, as EC2 gives them (RFC 3849, documentation).
pub const IPV6_RANGE: Ipv6Net =
    Ipv6Net::new_assert(Ipv6Addr::new(0x2001, 0xdb8, 0xec2, 0x100, 0, 0, 0, 0), 56);
/// The incumbent's tag: whether pods may use a subnet.
const ROLE: &str = "kubernetes.io/role/cni";

/// A subnet to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plot {
    /// Zone.
    pub zone: String,
    /// Range.
    pub cidr: Ipv4Net,
    /// IPv6 range, a /64 out of the VPC's.
    pub ipv6: Option<Ipv6Net>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Addresses that somebody else in the VPC has already.
    pub taken: Vec<Ipv4Addr>,
}

impl Plot {
    /// A subnet with all its addresses free, which says by the incumbent's tag that pods may use it.
    pub fn new(name: &str, zone: &str, cidr: Ipv4Net) -> Self {
        let plain =
            Self { zone: zone.to_owned(), cidr, ipv6: None, tags: BTreeMap::new(), taken: Vec::new() };
        plain.tagged("Name", name).tagged(ROLE, "1")
    }

    /// The same with a tag; one of that key is replaced.
    pub fn tagged(mut self, key: &str, value: &str) -> Self {
        self.tags.insert(key.to_owned(), value.to_owned());
        self
    }

    /// The same for everybody but pods.
    pub fn without_pods(self) -> Self {
        self.tagged(ROLE, "0")
    }

    /// The same with one address taken in the middle of every /28: plenty is free, and no block is whole.
    pub fn broken_up(mut self) -> Self {
        let blocks = self.cidr.subnets(28).into_iter().flatten();
        self.taken = blocks.map(|block| Ipv4Addr::from(u32::from(block.network()) + 9)).collect();
        self
    }

    /// Its `Name` tag, or nothing.
    pub fn name(&self) -> &str {
        self.tags.get("Name").map_or("", String::as_str)
    }
}

/// An instance to be made, with a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dwelling {
    /// Its name in the lab.
    pub name: String,
    /// Its instance type.
    pub instance_type: String,
    /// Index into [`Landscape::subnets`] of its primary ENI's subnet.
    pub subnet: usize,
}

impl Dwelling {
    /// An instance of a type in the subnet at this index.
    pub fn new(name: &str, instance_type: &str, subnet: usize) -> Self {
        Self { name: name.to_owned(), instance_type: instance_type.to_owned(), subnet }
    }
}

/// The world to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Landscape {
    /// The VPC's primary range, with [`EC2_ADDRESS`] in it.
    pub vpc: Ipv4Net,
    /// Its further ranges.
    pub ranges: Vec<Ipv4Net>,
    /// The VPC's IPv6 range, if it has one.
    pub ipv6: Option<Ipv6Net>,
    /// Its subnets.
    pub subnets: Vec<Plot>,
    /// Names of security groups besides the default one.
    pub security_groups: Vec<String>,
    /// The cluster's nodes.
    pub nodes: Vec<Dwelling>,
    /// Instances in the VPC that have nothing to do with the cluster.
    pub neighbours: Vec<Dwelling>,
    /// Names reserved for pod namespaces.
    pub pods: u32,
}

impl Landscape {
    /// Two zones; in the first a roomy subnet and a small one in which every /28 block is broken; an
    /// m5.large in the first zone and a t3.small in the second.
    pub fn standard() -> Self {
        Self {
            subnets: vec![
                Plot::new("pods-1a", "eu-lab-1a", lab_net(1, 24)),
                Plot::new("pods-1b", "eu-lab-1b", lab_net(2, 24)),
                Plot::new("small-1a", "eu-lab-1a", lab_net(3, 26)).broken_up(),
            ],
            nodes: vec![Dwelling::new("node-m5", "m5.large", 0), Dwelling::new("node-t3", "t3.small", 1)],
            ..Self::empty(64)
        }
    }

    /// One node of 15 ENIs with 50 addresses each, in a subnet that has them all: as many pods as a node gets
    /// without prefixes.
    pub fn large() -> Self {
        Self {
            subnets: vec![Plot::new("pods-1a", "eu-lab-1a", lab_net(8, 21))],
            nodes: vec![Dwelling::new("node-m5", "m5.24xlarge", 0)],
            ..Self::empty(750)
        }
    }

    fn empty(pods: u32) -> Self {
        Self {
            vpc: lab_net(0, 16),
            ranges: Vec::new(),
            ipv6: None,
            subnets: Vec::new(),
            security_groups: Vec::new(),
            nodes: Vec::new(),
            neighbours: Vec::new(),
            pods,
        }
    }

    /// The same with IPv6: [`IPV6_RANGE`], and a /64 of it for each subnet that has none.
    pub fn with_ipv6(mut self) -> Self {
        let range = *self.ipv6.get_or_insert(IPV6_RANGE);
        let given: Vec<Ipv6Net> = self.subnets.iter().filter_map(|plot| plot.ipv6).collect();
        let free = range.subnets(64).into_iter().flatten().skip(1).filter(|net| !given.contains(net));
        for (plot, net) in self.subnets.iter_mut().filter(|plot| plot.ipv6.is_none()).zip(free) {
            plot.ipv6 = Some(net);
        }
        self
    }

    /// The same with one more range of the VPC.
    pub fn with_range(mut self, range: Ipv4Net) -> Self {
        self.ranges.push(range);
        self
    }

    /// The same with one more range of the VPC, and a subnet of it for pods, a /24, in every zone.
    pub fn with_range_in_every_zone(mut self, range: Ipv4Net) -> Self {
        let zones: BTreeSet<String> = self.subnets.iter().map(|plot| plot.zone.clone()).collect();
        for (zone, net) in zones.iter().zip(range.subnets(24).into_iter().flatten()) {
            let end = zone.rsplit('-').next().unwrap_or(zone);
            self.subnets.push(Plot::new(&format!("further-{end}"), zone, net));
        }
        self.with_range(range)
    }

    /// The same with one more subnet, whose index is the number of those before.
    pub fn with_subnet(mut self, plot: Plot) -> Self {
        self.subnets.push(plot);
        self
    }

    /// The same with one more security group.
    pub fn with_security_group(mut self, name: &str) -> Self {
        self.security_groups.push(name.to_owned());
        self
    }

    /// The same with nodes of these types, in order; the last type holds for the nodes that are left.
    pub fn with_instance_types(mut self, types: &[String]) -> Self {
        for (index, node) in self.nodes.iter_mut().enumerate() {
            if let Some(chosen) = types.get(index).or(types.last()) {
                node.instance_type.clone_from(chosen);
            }
        }
        self
    }

    /// The same with an instance called `neighbour` that is not of the cluster, in a subnet of its own without pods.
    pub fn with_neighbour(mut self) -> Self {
        let subnet = self.subnets.len();
        self.subnets.push(Plot::new("others-1a", "eu-lab-1a", lab_net(4, 26)).without_pods());
        self.neighbours.push(Dwelling::new("neighbour", "t3.small", subnet));
        if self.ipv6.is_some() { self.with_ipv6() } else { self }
    }

    /// Nodes and neighbours.
    pub fn dwellings(&self) -> impl Iterator<Item = &Dwelling> {
        self.nodes.iter().chain(&self.neighbours)
    }
}

fn lab_net(third: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(10, 0, third, 0), length)
}

#[cfg(test)]
mod tests {
    use enid_core::instance_types::lookup;

    use super::*;

    fn all() -> [Landscape; 4] {
        let everything = Landscape::standard()
            .with_range("100.64.0.0/16".parse().unwrap())
            .with_subnet(Plot::new("far-1a", "eu-lab-1a", "100.64.1.0/24".parse().unwrap()))
            .with_ipv6()
            .with_neighbour();
        [
            Landscape::standard(),
            Landscape::large(),
            Landscape::large().with_neighbour().with_ipv6(),
            everything,
        ]
    }

    #[test]
    fn the_small_subnet_has_addresses_and_no_block() {
        let small = &Landscape::standard().subnets[2];
        let blocks: Vec<Ipv4Net> = small.cidr.subnets(28).unwrap().collect();
        assert_eq!(small.taken.len(), blocks.len());
        assert!(blocks.iter().all(|block| small.taken.iter().any(|taken| block.contains(taken))));
    }

    #[test]
    fn the_large_node_fits_its_subnet() {
        let land = Landscape::large();
        let limits = lookup(&land.nodes[0].instance_type).unwrap();
        assert_eq!((limits.max_enis(), limits.ipv4_per_eni), (15, 50));
        assert!(land.subnets[0].cidr.hosts().count() > 15 * 50);
    }

    #[test]
    fn subnets_lie_apart_within_the_vpc() {
        for land in all() {
            assert!(land.vpc.contains(&EC2_ADDRESS));
            for (index, plot) in land.subnets.iter().enumerate() {
                assert!(land.ranges.iter().chain([&land.vpc]).any(|range| range.contains(&plot.cidr)));
                let mut later = land.subnets[index + 1..].iter();
                assert!(
                    later.all(|other| !other.cidr.contains(&plot.cidr) && !plot.cidr.contains(&other.cidr))
                );
            }
            assert!(land.dwellings().all(|dwelling| land.subnets.len() > dwelling.subnet));
        }
    }

    #[test]
    fn each_subnet_of_a_vpc_with_ipv6_has_a_range_of_its_own() {
        for land in all() {
            let given: BTreeSet<Ipv6Net> = land.subnets.iter().filter_map(|plot| plot.ipv6).collect();
            let expected = if land.ipv6.is_some() { land.subnets.len() } else { 0 };
            assert_eq!(given.len(), expected);
            assert!(given.iter().all(|net| land.ipv6.is_some_and(|range| range.contains(net))));
        }
    }

    #[test]
    fn instance_types_are_given_in_order_and_the_last_one_holds() {
        let types = |types: &[&str]| {
            let types: Vec<String> = types.iter().map(|name| (*name).to_owned()).collect();
            let land = Landscape::standard().with_instance_types(&types);
            land.nodes.into_iter().map(|node| node.instance_type).collect::<Vec<_>>()
        };
        assert_eq!(types(&[]), ["m5.large", "t3.small"]);
        assert_eq!(types(&["c5.xlarge"]), ["c5.xlarge", "c5.xlarge"]);
        assert_eq!(types(&["p4d.24xlarge", "m4.large", "t3.nano"]), ["p4d.24xlarge", "m4.large"]);
    }
}
