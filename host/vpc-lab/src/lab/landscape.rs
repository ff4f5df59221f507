//! The world a lab starts with: one VPC, two zones, three subnets, two nodes.

use std::net::Ipv4Addr;

use enid_core::wiring::gateway_of;
use ipnet::Ipv4Net;

use crate::fabric::Layout;

/// The region that the lab plays.
pub const REGION: &str = "eu-lab-1";
/// Where the EC2 Query API answers: the VPC's base address + 2, where AWS has its resolver.
pub const EC2_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
/// Where instance metadata answers.
pub const IMDS_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// A subnet to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plot {
    /// `Name` tag.
    pub name: &'static str,
    /// Zone.
    pub zone: &'static str,
    /// Range.
    pub cidr: Ipv4Net,
    /// Addresses that somebody else in the VPC has already.
    pub taken: Vec<Ipv4Addr>,
}

/// A node to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dwelling {
    /// Its name in the lab.
    pub name: String,
    /// Its instance type.
    pub instance_type: &'static str,
    /// Index into [`Landscape::subnets`] of its primary ENI's subnet.
    pub subnet: usize,
}

/// The world to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Landscape {
    /// The VPC's range.
    pub vpc: Ipv4Net,
    /// Its subnets.
    pub subnets: Vec<Plot>,
    /// Its nodes.
    pub nodes: Vec<Dwelling>,
    /// Names reserved for pod namespaces.
    pub pods: u32,
}

impl Landscape {
    /// Two zones; in the first a roomy subnet and a small one in which every /28 block is broken; an
    /// m5.large in the first zone and a t3.small in the second.
    pub fn standard() -> Self {
        let net = |a: u8, length: u8| Ipv4Net::new_assert(Ipv4Addr::new(10, 0, a, 0), length);
        let small = net(3, 26);
        Self {
            vpc: net(0, 16),
            subnets: vec![
                Plot { name: "pods-1a", zone: "eu-lab-1a", cidr: net(1, 24), taken: Vec::new() },
                Plot { name: "pods-1b", zone: "eu-lab-1b", cidr: net(2, 24), taken: Vec::new() },
                Plot { name: "small-1a", zone: "eu-lab-1a", cidr: small, taken: broken_up(small) },
            ],
            nodes: vec![
                Dwelling { name: "node-m5".to_owned(), instance_type: "m5.large", subnet: 0 },
                Dwelling { name: "node-t3".to_owned(), instance_type: "t3.small", subnet: 1 },
            ],
            pods: 64,
        }
    }

    /// One node of 15 ENIs with 50 addresses each, in a subnet that has them all: as many pods as a node gets
    /// without prefixes.
    pub fn large() -> Self {
        let net = |length: u8| Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 8, 0), length);
        Self {
            vpc: Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 16),
            subnets: vec![Plot { name: "pods-1a", zone: "eu-lab-1a", cidr: net(21), taken: Vec::new() }],
            nodes: vec![Dwelling { name: "node-m5".to_owned(), instance_type: "m5.24xlarge", subnet: 0 }],
            pods: 750,
        }
    }

    /// The network under it.
    pub fn layout(&self) -> Layout {
        let gateways = self.subnets.iter().map(|plot| gateway_of(plot.cidr));
        Layout {
            vpc: self.vpc,
            router_addresses: gateways.chain([EC2_ADDRESS, IMDS_ADDRESS]).collect(),
            nodes: self.nodes.iter().map(|node| node.name.clone()).collect(),
        }
    }
}

/// One address in the middle of every /28 of `subnet`: plenty is free, and no block is whole.
fn broken_up(subnet: Ipv4Net) -> Vec<Ipv4Addr> {
    let blocks = subnet.subnets(28).into_iter().flatten();
    blocks.map(|block| Ipv4Addr::from(u32::from(block.network()) + 9)).collect()
}

#[cfg(test)]
mod tests {
    use enid_core::instance_types::lookup;

    use super::*;

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
        let limits = lookup(land.nodes[0].instance_type).unwrap();
        assert_eq!((limits.max_enis(), limits.ipv4_per_eni), (15, 50));
        assert!(land.subnets[0].cidr.hosts().count() > 15 * 50);
    }

    #[test]
    fn subnets_lie_apart_within_the_vpc() {
        for land in [Landscape::standard(), Landscape::large()] {
            apart_within_the_vpc(&land);
        }
    }

    fn apart_within_the_vpc(land: &Landscape) {
        for (index, plot) in land.subnets.iter().enumerate() {
            assert!(land.vpc.contains(&plot.cidr));
            assert!(land.subnets[index + 1..].iter().all(|other| !other.cidr.contains(&plot.cidr.network())));
        }
    }
}
