//! The lab's world as it is now, for people and for checks.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use enid_core::ids::{EniId, IfName, InstanceId, Mac, SecurityGroupId, SubnetId, VpcId};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::fabric::DropCounts;
use crate::namespace::NetNs;

/// Everything about a running lab.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Its name.
    pub name: String,
    /// The region it plays.
    pub region: String,
    /// Where EC2 answers, inside the VPC.
    pub ec2_endpoint: String,
    /// Where instance metadata answers, inside the VPC.
    pub imds_endpoint: String,
    /// The VPC.
    pub vpc: VpcId,
    /// Its ranges: the primary one, further ones, IPv6.
    pub ranges: Vec<IpNet>,
    /// Its security groups by name.
    pub security_groups: BTreeMap<String, SecurityGroupId>,
    /// The router's namespace.
    pub vpc_namespace: NetNs,
    /// The outside world's namespace.
    pub inet_namespace: NetNs,
    /// The outside world's address.
    pub outside: Ipv4Addr,
    /// The same of IPv6.
    pub outside_ipv6: Ipv6Addr,
    /// The outside world's address in a private range that is not the VPC's.
    pub corporate: Ipv4Addr,
    /// Subnets in order of their ranges.
    pub subnets: Vec<SubnetStatus>,
    /// Nodes in order of their names.
    pub nodes: Vec<NodeStatus>,
    /// Instances that are not of the cluster, in order of their names.
    pub neighbours: Vec<NodeStatus>,
    /// ENIs in order of their ids.
    pub enis: Vec<EniStatus>,
    /// Packets the router refused.
    pub drops: DropCounts,
    /// EC2 calls answered so far, by API.
    pub calls: BTreeMap<String, u64>,
    /// What keeps the network from being as EC2 says; empty when all is well.
    pub diverged: Vec<String>,
}

/// One subnet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetStatus {
    /// Its id.
    pub id: SubnetId,
    /// Its zone.
    pub zone: String,
    /// Its `Name` tag, or nothing.
    pub name: String,
    /// Its range.
    pub cidr: Ipv4Net,
    /// Its IPv6 range, if it has one.
    pub ipv6_cidr: Option<Ipv6Net>,
    /// Addresses nobody has.
    pub free_addresses: u32,
    /// Whole free /28 blocks.
    pub free_blocks: u32,
}

/// One node, or one neighbour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its name in the lab.
    pub name: String,
    /// Its instance.
    pub instance: InstanceId,
    /// Its instance type.
    pub instance_type: String,
    /// Its zone.
    pub zone: String,
    /// Its own address.
    pub address: Ipv4Addr,
    /// Its own IPv6 address, if it has one.
    pub ipv6: Option<Ipv6Addr>,
    /// Its namespace.
    pub namespace: NetNs,
}

/// One ENI.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EniStatus {
    /// Its id.
    pub id: EniId,
    /// Its MAC.
    pub mac: Mac,
    /// Its subnet.
    pub subnet: SubnetId,
    /// EC2's word for its state: `available`, `attaching`, `attached`, `detaching`.
    pub status: String,
    /// The node it is attached to, by name, and the device index.
    pub attached: Option<(String, u32)>,
    /// The network card it is attached to; 0 also while it is not attached.
    pub card: u32,
    /// EC2's word for what it carries: `interface`, `efa`, `efa-only`.
    pub interface_type: String,
    /// The link's name in the node, while it has one; what carries no IP never has.
    pub link: Option<IfName>,
    /// Its own address; an `efa-only` one has none.
    pub primary_address: Option<Ipv4Addr>,
    /// Secondary addresses.
    pub addresses: Vec<Ipv4Addr>,
    /// Delegated prefixes.
    pub prefixes: Vec<Ipv4Net>,
    /// IPv6 addresses, its own first.
    pub ipv6_addresses: Vec<Ipv6Addr>,
    /// Delegated IPv6 prefixes.
    pub ipv6_prefixes: Vec<Ipv6Net>,
}
