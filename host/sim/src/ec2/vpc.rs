//! VPCs, subnets and security groups: the ground that everything else stands on.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::net::{Ipv4Addr, Ipv6Addr};

use enid_core::ids::{EniId, InstanceId, SecurityGroupId, SubnetId, VpcId};
use enid_core::time::Timestamp;
use ipnet::{Ipv4Net, Ipv6Net};

use super::addresses::AddressSpace;
use super::call::Call;
use super::ipv6::space::Ipv6Space;
use super::refusal::{CallError, Code};
use super::{Ec2, Tags};

/// IPv4 ranges of one VPC, and IPv6 ranges: the default quotas.
const MAX_RANGES: usize = 5;
/// EC2 gives VPCs IPv6 ranges of this length, and subnets of the next one.
const VPC_IPV6_LENGTH: u8 = 56;
const SUBNET_IPV6_LENGTH: u8 = 64;

/// A VPC.
#[derive(Clone, Debug)]
pub struct Vpc {
    /// Its id.
    pub id: VpcId,
    /// Its ranges, the primary one first.
    pub cidrs: Vec<Ipv4Net>,
    /// Its IPv6 ranges, each a /56.
    pub ipv6_cidrs: Vec<Ipv6Net>,
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
    /// Its IPv6 range, a /64, if it has one; then every ENI is born with one address of it.
    pub ipv6_cidr: Option<Ipv6Net>,
    /// Its tags.
    pub tags: Tags,
    pub(crate) space: AddressSpace,
    /// There if `ipv6_cidr` is.
    pub(crate) ipv6: Option<Ipv6Space>,
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

    /// The same for IPv6.
    pub fn ipv6_owner(&self, address: Ipv6Addr) -> Option<&EniId> {
        self.ipv6.as_ref()?.owner(address)
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
            ipv6_cidrs: Vec::new(),
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
        check_room(vpc, found.cidrs.len())?;
        if found.cidrs.iter().any(|other| overlap(*other, cidr)) {
            return Err(overlapping(&cidr, vpc));
        }
        found.cidrs.push(cidr);
        self.touch_vpc(vpc);
        Ok(())
    }

    /// Adds an IPv6 range, a /56, to a VPC.
    pub fn add_ipv6_range(&mut self, vpc: &VpcId, cidr: Ipv6Net) -> Result<(), CallError> {
        check_ipv6_size(cidr, VPC_IPV6_LENGTH, Code::InvalidVpcRange)?;
        let found = self.vpcs.get_mut(vpc).ok_or_else(|| no_such_vpc(vpc))?;
        check_room(vpc, found.ipv6_cidrs.len())?;
        if found.ipv6_cidrs.contains(&cidr) {
            return Err(overlapping(&cidr, vpc));
        }
        found.ipv6_cidrs.push(cidr);
        self.touch_vpc(vpc);
        Ok(())
    }

    /// Gives a subnet an IPv6 range, a /64, out of its VPC's. ENIs that are there already keep to IPv4.
    pub fn give_ipv6(&mut self, subnet: &SubnetId, cidr: Ipv6Net) -> Result<(), CallError> {
        check_ipv6_size(cidr, SUBNET_IPV6_LENGTH, Code::InvalidSubnetRange)?;
        let found = self.subnets.get(subnet).ok_or_else(|| no_such_subnet(subnet))?;
        let vpc = found.vpc.clone();
        let ranges = self.vpcs.get(&vpc).map_or(&[][..], |vpc| &vpc.ipv6_cidrs);
        if !ranges.iter().any(|range| range.contains(&cidr)) {
            return Err(invalid_range(&cidr, Code::InvalidSubnetRange));
        }
        let mut others = self.subnets.values().filter(|other| other.vpc == vpc);
        if found.ipv6_cidr.is_some() || others.any(|other| other.ipv6_cidr == Some(cidr)) {
            return Err(conflicting(&cidr));
        }
        let found = self.subnet_mut(subnet);
        found.ipv6_cidr = Some(cidr);
        found.ipv6 = Some(Ipv6Space::new(cidr));
        self.touch_vpc(&vpc);
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
            return Err(invalid_range(&cidr, Code::InvalidSubnetRange));
        }
        if !self.config.zones.iter().any(|known| known == zone) {
            return Err(CallError::refuse(
                Code::InvalidParameterValue,
                format!("Value ({zone}) for parameter availabilityZone is invalid."),
            ));
        }
        if self.subnets.values().any(|other| other.vpc == *vpc && overlap(other.cidr, cidr)) {
            return Err(conflicting(&cidr));
        }
        let id: SubnetId = self.fresh_id("subnet-");
        let subnet = Subnet {
            id: id.clone(),
            vpc: vpc.clone(),
            zone: zone.to_owned(),
            cidr,
            ipv6_cidr: None,
            tags,
            space: AddressSpace::new(cidr),
            ipv6: None,
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

    /// Breaks every whole /28 block of `subnet`: a stranger takes one address in each. Answers which.
    pub fn fragment(&mut self, subnet: &SubnetId) -> Result<Vec<Ipv4Addr>, CallError> {
        let found = self.subnets.get_mut(subnet).ok_or_else(|| no_such_subnet(subnet))?;
        let whole: Vec<Ipv4Net> =
            found.space.all_blocks().filter(|block| found.space.block_is_whole(*block)).collect();
        let mut taken = Vec::with_capacity(whole.len());
        for block in whole {
            let within = self.chance.below(enid_core::limits::PREFIX_ADDRESSES);
            let address = Ipv4Addr::from(u32::from(block.network()) + within);
            found.hold(address, Holder::Stranger);
            taken.push(address);
        }
        self.changed();
        Ok(taken)
    }

    /// The strangers at `addresses` leave, all or none: what is fragmented may become whole again, block by block.
    pub fn leave(&mut self, subnet: &SubnetId, addresses: &[Ipv4Addr]) -> Result<(), CallError> {
        let found = self.subnets.get_mut(subnet).ok_or_else(|| no_such_subnet(subnet))?;
        let is_strangers = |address: &Ipv4Addr| found.holders.get(address) == Some(&Holder::Stranger);
        if let Some(other) = addresses.iter().find(|address| !is_strangers(address)) {
            return Err(CallError::refuse(
                Code::InvalidParameterValue,
                format!("Address {other} is not a stranger's."),
            ));
        }
        addresses.iter().for_each(|address| found.release(*address));
        self.changed();
        Ok(())
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

impl Ec2 {
    /// `AssociateVpcCidrBlock` with an IPv4 range: answers the VPC as it is then.
    pub fn associate_vpc_cidr_block(
        &mut self,
        now: Timestamp,
        vpc: &VpcId,
        cidr: Ipv4Net,
    ) -> Result<Vpc, CallError> {
        self.perform(now, Call::AssociateVpcCidrBlock, |ec2| {
            ec2.add_vpc_cidr(vpc, cidr)?;
            ec2.vpcs.get(vpc).cloned().ok_or_else(|| no_such_vpc(vpc))
        })
    }

    /// A VPC's ranges or those of a subnet in it changed: metadata will show it.
    fn touch_vpc(&mut self, vpc: &VpcId) {
        self.changed();
        let residents = self.instances.values().filter(|instance| instance.vpc == *vpc);
        let residents: Vec<InstanceId> = residents.map(|instance| instance.id.clone()).collect();
        residents.iter().for_each(|instance| self.record(instance));
    }
}

fn overlap(a: Ipv4Net, b: Ipv4Net) -> bool {
    a.contains(&b) || b.contains(&a)
}

fn check_size(cidr: Ipv4Net, code: Code) -> Result<(), CallError> {
    if cidr.trunc() == cidr && (16..=28).contains(&cidr.prefix_len()) {
        return Ok(());
    }
    Err(invalid_range(&cidr, code))
}

fn check_ipv6_size(cidr: Ipv6Net, length: u8, code: Code) -> Result<(), CallError> {
    if cidr.trunc() == cidr && cidr.prefix_len() == length { Ok(()) } else { Err(invalid_range(&cidr, code)) }
}

fn check_room(vpc: &VpcId, ranges: usize) -> Result<(), CallError> {
    if ranges < MAX_RANGES {
        return Ok(());
    }
    Err(CallError::refuse(
        Code::CidrLimitExceeded,
        format!("This network '{vpc}' has met its maximum number of allowed CIDRs: {MAX_RANGES}"),
    ))
}

fn invalid_range(cidr: &dyn Display, code: Code) -> CallError {
    CallError::refuse(code, format!("The CIDR '{cidr}' is invalid."))
}

fn overlapping(cidr: &dyn Display, vpc: &VpcId) -> CallError {
    CallError::refuse(Code::InvalidVpcRange, format!("The CIDR '{cidr}' overlaps another of {vpc}"))
}

fn conflicting(cidr: &dyn Display) -> CallError {
    CallError::refuse(Code::InvalidSubnetConflict, format!("The CIDR '{cidr}' conflicts with another subnet"))
}

pub(crate) fn no_such_vpc(vpc: &VpcId) -> CallError {
    CallError::refuse(Code::InvalidVpcIdNotFound, format!("The vpc ID '{vpc}' does not exist"))
}

pub(crate) fn no_such_subnet(subnet: &SubnetId) -> CallError {
    CallError::refuse(Code::InvalidSubnetIdNotFound, format!("The subnet ID '{subnet}' does not exist"))
}
