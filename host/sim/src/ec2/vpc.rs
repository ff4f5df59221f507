//! VPCs, subnets and security groups: the ground that everything else stands on.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use enid_core::ids::{EniId, SecurityGroupId, SubnetId, VpcId};
use ipnet::Ipv4Net;

use super::addresses::AddressSpace;
use super::refusal::{CallError, Code};
use super::{Ec2, Tags};

/// A VPC.
#[derive(Clone, Debug)]
pub struct Vpc {
    /// Its id.
    pub id: VpcId,
    /// Its ranges, the primary one first.
    pub cidrs: Vec<Ipv4Net>,
    /// The group that interfaces get when they name none.
    pub default_group: SecurityGroupId,
    /// Its tags.
    pub tags: Tags,
}

/// A security group. Rules are not modelled: this model routes nothing.
#[derive(Clone, Debug)]
pub struct SecurityGroup {
    /// Its id.
    pub id: SecurityGroupId,
    /// Its VPC.
    pub vpc: VpcId,
    /// `GroupName`.
    pub name: String,
    /// `GroupDescription`.
    pub description: String,
    /// Its tags.
    pub tags: Tags,
}

/// A subnet and who holds its addresses.
#[derive(Clone, Debug)]
pub struct Subnet {
    /// Its id.
    pub id: SubnetId,
    /// Its VPC.
    pub vpc: VpcId,
    /// Its zone.
    pub zone: String,
    /// Its range.
    pub cidr: Ipv4Net,
    /// Its tags.
    pub tags: Tags,
    pub(crate) space: AddressSpace,
    pub(crate) holders: BTreeMap<Ipv4Addr, Holder>,
    /// Delegated /28 blocks by base address.
    pub(crate) blocks: BTreeMap<Ipv4Addr, EniId>,
}

/// Who holds a single address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// An ENI, as primary or secondary address.
    Interface(EniId),
    /// Something outside this model: a load balancer, a database, another team.
    Stranger,
}

impl Subnet {
    /// `AvailableIpAddressCount`; a delegated prefix counts sixteen.
    pub fn free(&self) -> u32 {
        self.space.free()
    }

    /// Addresses that could ever be free: all but EC2's five.
    pub fn total(&self) -> u32 {
        self.space.total()
    }

    /// Whole free /28 blocks.
    pub fn free_blocks(&self) -> u32 {
        self.space.free_blocks()
    }

    /// Whether nobody holds `address`, alone or inside a prefix.
    pub fn is_free(&self, address: Ipv4Addr) -> bool {
        self.space.contains(address) && self.space.is_free(address)
    }

    /// The ENI that `address` is delegated or assigned to.
    pub fn owner(&self, address: Ipv4Addr) -> Option<&EniId> {
        match self.holders.get(&address) {
            Some(Holder::Interface(eni)) => Some(eni),
            Some(Holder::Stranger) => None,
            None => self.blocks.get(&Ipv4Addr::from(u32::from(address) & !0xf)),
        }
    }

    pub(crate) fn hold(&mut self, address: Ipv4Addr, holder: Holder) {
        self.space.take(address);
        self.holders.insert(address, holder);
    }

    pub(crate) fn hold_block(&mut self, block: Ipv4Net, eni: EniId) {
        self.space.take_block(block);
        self.blocks.insert(block.network(), eni);
    }

    pub(crate) fn release(&mut self, address: Ipv4Addr) {
        if self.holders.remove(&address).is_some() {
            self.space.give_back(address);
        }
    }

    pub(crate) fn release_block(&mut self, block: Ipv4Net) {
        if self.blocks.remove(&block.network()).is_some() {
            self.space.give_back_block(block);
        }
    }
}

/// Setting up the world: none of this counts as a call, is throttled or meets a fault.
impl Ec2 {
    /// Makes a VPC with its default security group; /16 to /28 as EC2 demands.
    pub fn add_vpc(&mut self, cidr: Ipv4Net) -> Result<VpcId, CallError> {
        check_size(cidr, Code::InvalidVpcRange)?;
        let id: VpcId = self.fresh_id("vpc-");
        let default_group: SecurityGroupId = self.fresh_id("sg-");
        let vpc = Vpc {
            id: id.clone(),
            cidrs: vec![cidr],
            default_group: default_group.clone(),
            tags: Tags::new(),
        };
        self.vpcs.insert(id.clone(), vpc);
        let group = SecurityGroup {
            id: default_group.clone(),
            vpc: id.clone(),
            name: "default".to_owned(),
            description: "default VPC security group".to_owned(),
            tags: Tags::new(),
        };
        self.groups.insert(default_group, group);
        self.changed();
        Ok(id)
    }

    /// Adds a further range to a VPC, such as 100.64.0.0/16.
    pub fn add_vpc_cidr(&mut self, vpc: &VpcId, cidr: Ipv4Net) -> Result<(), CallError> {
        check_size(cidr, Code::InvalidVpcRange)?;
        let found = self.vpcs.get_mut(vpc).ok_or_else(|| no_such_vpc(vpc))?;
        if found.cidrs.iter().any(|other| overlap(*other, cidr)) {
            return Err(CallError::refuse(
                Code::InvalidVpcRange,
                format!("The CIDR '{cidr}' overlaps another of {vpc}"),
            ));
        }
        found.cidrs.push(cidr);
        self.changed();
        Ok(())
    }

    /// Makes a subnet in one zone.
    pub fn add_subnet(
        &mut self,
        vpc: &VpcId,
        zone: &str,
        cidr: Ipv4Net,
        tags: Tags,
    ) -> Result<SubnetId, CallError> {
        check_size(cidr, Code::InvalidSubnetRange)?;
        let found = self.vpcs.get(vpc).ok_or_else(|| no_such_vpc(vpc))?;
        if !found.cidrs.iter().any(|range| range.contains(&cidr)) {
            return Err(CallError::refuse(
                Code::InvalidSubnetRange,
                format!("The CIDR '{cidr}' is invalid."),
            ));
        }
        if !self.config.zones.iter().any(|known| known == zone) {
            return Err(CallError::refuse(
                Code::InvalidParameterValue,
                format!("Value ({zone}) for parameter availabilityZone is invalid."),
            ));
        }
        if self.subnets.values().any(|other| other.vpc == *vpc && overlap(other.cidr, cidr)) {
            return Err(CallError::refuse(
                Code::InvalidSubnetConflict,
                format!("The CIDR '{cidr}' conflicts with another subnet"),
            ));
        }
        let id: SubnetId = self.fresh_id("subnet-");
        let subnet = Subnet {
            id: id.clone(),
            vpc: vpc.clone(),
            zone: zone.to_owned(),
            cidr,
            tags,
            space: AddressSpace::new(cidr),
            holders: BTreeMap::new(),
            blocks: BTreeMap::new(),
        };
        self.subnets.insert(id.clone(), subnet);
        self.changed();
        Ok(id)
    }

    /// Makes a security group.
    pub fn add_security_group(&mut self, vpc: &VpcId, name: &str) -> Result<SecurityGroupId, CallError> {
        self.vpcs.get(vpc).ok_or_else(|| no_such_vpc(vpc))?;
        let id: SecurityGroupId = self.fresh_id("sg-");
        let group = SecurityGroup {
            id: id.clone(),
            vpc: vpc.clone(),
            name: name.to_owned(),
            description: name.to_owned(),
            tags: Tags::new(),
        };
        self.groups.insert(id.clone(), group);
        self.changed();
        Ok(id)
    }

    /// Lets a stranger hold `addresses`; all must be free.
    pub fn occupy(&mut self, subnet: &SubnetId, addresses: &[Ipv4Addr]) -> Result<(), CallError> {
        let found = self.subnets.get_mut(subnet).ok_or_else(|| no_such_subnet(subnet))?;
        let addresses: BTreeSet<Ipv4Addr> = addresses.iter().copied().collect();
        if let Some(taken) = addresses.iter().find(|address| !found.is_free(**address)) {
            return Err(CallError::refuse(
                Code::InvalidIpAddressInUse,
                format!("Address {taken} is in use."),
            ));
        }
        addresses.into_iter().for_each(|address| found.hold(address, Holder::Stranger));
        self.changed();
        Ok(())
    }

    /// Breaks every whole /28 block of `subnet`: a stranger takes one address in each. Answers how many.
    pub fn fragment(&mut self, subnet: &SubnetId) -> Result<usize, CallError> {
        let found = self.subnets.get_mut(subnet).ok_or_else(|| no_such_subnet(subnet))?;
        let whole: Vec<Ipv4Net> =
            found.space.all_blocks().filter(|block| found.space.block_is_whole(*block)).collect();
        for block in &whole {
            let within = self.chance.below(enid_core::limits::PREFIX_ADDRESSES);
            found.hold(Ipv4Addr::from(u32::from(block.network()) + within), Holder::Stranger);
        }
        self.changed();
        Ok(whole.len())
    }

    /// The strangers leave: their addresses are free again.
    pub fn vacate(&mut self, subnet: &SubnetId) -> Result<(), CallError> {
        let found = self.subnets.get_mut(subnet).ok_or_else(|| no_such_subnet(subnet))?;
        let strangers: Vec<Ipv4Addr> = found
            .holders
            .iter()
            .filter(|(_, holder)| **holder == Holder::Stranger)
            .map(|(address, _)| *address)
            .collect();
        strangers.into_iter().for_each(|address| found.release(address));
        self.changed();
        Ok(())
    }
}

fn overlap(a: Ipv4Net, b: Ipv4Net) -> bool {
    a.contains(&b) || b.contains(&a)
}

fn check_size(cidr: Ipv4Net, code: Code) -> Result<(), CallError> {
    if cidr.trunc() == cidr && (16..=28).contains(&cidr.prefix_len()) {
        return Ok(());
    }
    Err(CallError::refuse(code, format!("The CIDR '{cidr}' is invalid.")))
}

pub(crate) fn no_such_vpc(vpc: &VpcId) -> CallError {
    CallError::refuse(Code::InvalidVpcIdNotFound, format!("The vpc ID '{vpc}' does not exist"))
}

pub(crate) fn no_such_subnet(subnet: &SubnetId) -> CallError {
    CallError::refuse(Code::InvalidSubnetIdNotFound, format!("The subnet ID '{subnet}' does not exist"))
}
