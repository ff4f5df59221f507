//! The lab's world as it is now, for people and for checks.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use enid_core::ids::{EniId, InstanceId, Mac, SubnetId, VpcId};
use ipnet::Ipv4Net;
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
    /// The router's namespace.
    pub vpc_namespace: NetNs,
    /// The outside world's namespace.
    pub inet_namespace: NetNs,
    /// The outside world's address.
    pub outside: Ipv4Addr,
    /// Subnets in order of their ranges.
    pub subnets: Vec<SubnetStatus>,
    /// Nodes in order of their names.
    pub nodes: Vec<NodeStatus>,
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
    /// Its range.
    pub cidr: Ipv4Net,
    /// Addresses nobody has.
    pub free_addresses: u32,
    /// Whole free /28 blocks.
    pub free_blocks: u32,
}

/// One node.
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
    /// Its own address.
    pub primary_address: Ipv4Addr,
    /// Secondary addresses.
    pub addresses: Vec<Ipv4Addr>,
    /// Delegated prefixes.
    pub prefixes: Vec<Ipv4Net>,
}
