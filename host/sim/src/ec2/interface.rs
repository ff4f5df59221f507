//! Elastic network interfaces: creating, changing and deleting them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use enid_core::ids::{EniAttachmentId, EniId, InstanceId, Mac, SecurityGroupId, SubnetId, VpcId};
use enid_core::limits::InstanceType;
use enid_core::time::Timestamp;
use enid_core::wiring::Seat;
use ipnet::{Ipv4Net, Ipv6Net};

use super::assignment::{DETACHED_SLOTS, Given, check_address, check_prefix_support, check_slots};
use super::call::Call;
use super::ipv6::{Ipv6Given, Ipv6Supply, check_ipv6_fits};
use super::refusal::{CallError, Code};
use super::tagging::check_tags;
use super::vpc::{Holder, no_such_subnet};
use super::{Ec2, Tags};

/// `SecurityGroupIds` of one ENI: the default quota.
const MAX_GROUPS: usize = 5;
/// `Description`: the documented length.
const MAX_DESCRIPTION: usize = 255;

/// An elastic network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkInterface {
    /// Its id.
    pub id: EniId,
    /// Its MAC address.
    pub mac: Mac,
    /// Its subnet.
    pub subnet: SubnetId,
    /// Its VPC.
    pub vpc: VpcId,
    /// Its zone.
    pub zone: String,
    /// `Description`.
    pub description: String,
    /// What it carries.
    pub interface_type: InterfaceType,
    /// Its primary address; an EFA-only ENI has none.
    pub primary: Option<Ipv4Addr>,
    /// Its secondary addresses, in the order they came.
    pub secondary: Vec<Ipv4Addr>,
    /// Its delegated /28 prefixes, in the order they came.
    pub prefixes: Vec<Ipv4Net>,
    /// Its IPv6 addresses, in the order they came.
    pub ipv6_addresses: Vec<Ipv6Addr>,
    /// Its delegated /80 prefixes, in the order they came.
    pub ipv6_prefixes: Vec<Ipv6Net>,
    /// Its security groups.
    pub groups: Vec<SecurityGroupId>,
    /// Whether the VPC drops what is not from or to it.
    pub source_dest_check: bool,
    /// Its tags.
    pub tags: Tags,
    /// Where it is attached, if it is.
    pub attachment: Option<InterfaceAttachment>,
}

impl NetworkInterface {
    /// Slots in use of those that the instance type allows: each secondary address or prefix takes one.
    pub fn slots_used(&self) -> u32 {
        u32::try_from(self.secondary.len() + self.prefixes.len()).unwrap_or(u32::MAX)
    }

    /// The same for IPv6, where every address counts.
    pub fn ipv6_slots_used(&self) -> u32 {
        u32::try_from(self.ipv6_addresses.len() + self.ipv6_prefixes.len()).unwrap_or(u32::MAX)
    }

    /// Primary, then secondary addresses.
    pub fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> + '_ {
        self.primary.into_iter().chain(self.secondary.iter().copied())
    }

    /// Whether traffic from `address` may leave through this ENI: its own, secondary or delegated.
    pub fn owns(&self, address: impl Into<IpAddr>) -> bool {
        match address.into() {
            IpAddr::V4(address) => {
                self.addresses().any(|own| own == address)
                    || self.prefixes.iter().any(|net| net.contains(&address))
            }
            IpAddr::V6(address) => {
                self.ipv6_addresses.contains(&address)
                    || self.ipv6_prefixes.iter().any(|net| net.contains(&address))
            }
        }
    }

    /// Refuses to give addresses to an ENI that takes none.
    pub(crate) fn check_addressable(&self) -> Result<(), CallError> {
        match self.interface_type {
            InterfaceType::Interface | InterfaceType::Efa => Ok(()),
            InterfaceType::EfaOnly => Err(CallError::refuse(
                Code::UnsupportedOperation,
                format!("Interface {} is of type 'efa-only' and takes no IP addresses.", self.id),
            )),
        }
    }

    /// Whether the instance has the link: attached, or not yet fully detached.
    pub fn is_plugged(&self) -> bool {
        self.attachment.as_ref().is_some_and(|at| match at.state {
            AttachmentState::Attaching => false,
            AttachmentState::Attached | AttachmentState::Detaching => true,
        })
    }
}

/// What an ENI carries (`InterfaceType`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InterfaceType {
    /// IP.
    #[default]
    Interface,
    /// IP, and the Elastic Fabric Adapter's own traffic.
    Efa,
    /// The Elastic Fabric Adapter's traffic alone: no link and no addresses.
    EfaOnly,
}

impl InterfaceType {
    /// EC2's word.
    pub fn as_str(self) -> &'static str {
        match self {
            InterfaceType::Interface => "interface",
            InterfaceType::Efa => "efa",
            InterfaceType::EfaOnly => "efa-only",
        }
    }
}

/// An ENI's attachment to an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceAttachment {
    /// Its id.
    pub id: EniAttachmentId,
    /// The instance.
    pub instance: InstanceId,
    /// Network card and device index.
    pub seat: Seat,
    /// How far it is.
    pub state: AttachmentState,
    /// Whether the ENI is deleted with the instance.
    pub delete_on_termination: bool,
    /// When it was asked for.
    pub since: Timestamp,
}

/// How far an attachment is (`AttachmentStatus`; after `Detaching` there is no attachment).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachmentState {
    /// Accepted, the link is not there yet.
    Attaching,
    /// The instance has it.
    Attached,
    /// Accepted, the link is still there.
    Detaching,
}

impl AttachmentState {
    /// EC2's word.
    pub fn as_str(self) -> &'static str {
        match self {
            AttachmentState::Attaching => "attaching",
            AttachmentState::Attached => "attached",
            AttachmentState::Detaching => "detaching",
        }
    }
}

/// Secondary supply asked for; EC2 takes exactly one kind per call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Secondary {
    /// None.
    #[default]
    None,
    /// Any so many addresses.
    Addresses(u32),
    /// These addresses.
    ExactAddresses(Vec<Ipv4Addr>),
    /// Any so many /28 prefixes.
    Prefixes(u32),
    /// These /28 prefixes.
    ExactPrefixes(Vec<Ipv4Net>),
}

impl Secondary {
    /// Slots that it needs on an ENI.
    pub fn slots(&self) -> u32 {
        let listed = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        match self {
            Secondary::None => 0,
            Secondary::Addresses(count) | Secondary::Prefixes(count) => *count,
            Secondary::ExactAddresses(list) => listed(list.len()),
            Secondary::ExactPrefixes(list) => listed(list.len()),
        }
    }

    /// Whether it asks for prefixes, which only Nitro and bare metal take.
    pub fn wants_prefixes(&self) -> bool {
        match self {
            Secondary::None | Secondary::Addresses(_) | Secondary::ExactAddresses(_) => false,
            Secondary::Prefixes(_) | Secondary::ExactPrefixes(_) => true,
        }
    }
}

/// `CreateNetworkInterface`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateNetworkInterface {
    /// `SubnetId`.
    pub subnet: SubnetId,
    /// `PrivateIpAddress`: the primary one; any when absent.
    pub primary: Option<Ipv4Addr>,
    /// What else it is born with.
    pub secondary: Secondary,
    /// And of IPv6.
    pub ipv6: Ipv6Supply,
    /// `InterfaceType`.
    pub interface_type: InterfaceType,
    /// `SecurityGroupId.N`; the VPC's default group when empty.
    pub groups: Vec<SecurityGroupId>,
    /// `Description`.
    pub description: String,
    /// `TagSpecification.N`.
    pub tags: Tags,
    /// `ClientToken`.
    pub client_token: Option<String>,
}

impl CreateNetworkInterface {
    /// The plainest interface in `subnet`.
    pub fn within(subnet: SubnetId) -> CreateNetworkInterface {
        CreateNetworkInterface {
            subnet,
            primary: None,
            secondary: Secondary::None,
            ipv6: Ipv6Supply::Usual,
            interface_type: InterfaceType::Interface,
            groups: Vec::new(),
            description: String::new(),
            tags: Tags::new(),
            client_token: None,
        }
    }

    /// An EFA-only ENI cannot be given what it does not carry.
    fn check_asks_no_addresses(&self) -> Result<(), CallError> {
        let plain = self.primary.is_none() && self.secondary.slots() == 0;
        match &self.ipv6 {
            Ipv6Supply::Usual | Ipv6Supply::Addresses(0) | Ipv6Supply::Prefixes(0) if plain => Ok(()),
            Ipv6Supply::Usual
            | Ipv6Supply::Addresses(_)
            | Ipv6Supply::ExactAddresses(_)
            | Ipv6Supply::Prefixes(_)
            | Ipv6Supply::ExactPrefixes(_) => Err(CallError::refuse(
                Code::InvalidParameterCombination,
                "IP addresses may not be specified for a network interface of type 'efa-only'.",
            )),
        }
    }
}

/// `ModifyNetworkInterfaceAttribute`: one attribute per call, as EC2 demands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InterfaceChange {
    /// `Attachment.AttachmentId` and `Attachment.DeleteOnTermination`.
    DeleteOnTermination {
        /// The attachment, which must be the ENI's current one.
        attachment: EniAttachmentId,
        /// The new value.
        delete: bool,
    },
    /// `Description`.
    Description(String),
    /// `SecurityGroupId.N`.
    Groups(Vec<SecurityGroupId>),
    /// `SourceDestCheck`.
    SourceDestCheck(bool),
}

impl Ec2 {
    /// `CreateNetworkInterface`.
    pub fn create_network_interface(
        &mut self,
        now: Timestamp,
        request: &CreateNetworkInterface,
    ) -> Result<NetworkInterface, CallError> {
        self.perform(now, Call::CreateNetworkInterface, |ec2| ec2.create_once(request))
    }

    /// `DeleteNetworkInterface`.
    pub fn delete_network_interface(&mut self, now: Timestamp, eni: &EniId) -> Result<(), CallError> {
        self.perform(now, Call::DeleteNetworkInterface, |ec2| {
            if ec2.interface(eni)?.attachment.is_some() {
                return Err(CallError::refuse(
                    Code::InvalidParameterValue,
                    format!("Network interface '{eni}' is currently in use."),
                ));
            }
            ec2.remove_interface(eni);
            Ok(())
        })
    }

    /// `ModifyNetworkInterfaceAttribute`.
    pub fn modify_network_interface_attribute(
        &mut self,
        now: Timestamp,
        eni: &EniId,
        change: &InterfaceChange,
    ) -> Result<(), CallError> {
        self.perform(now, Call::ModifyNetworkInterfaceAttribute, |ec2| ec2.apply_change(eni, change))
    }

    fn create_once(&mut self, request: &CreateNetworkInterface) -> Result<NetworkInterface, CallError> {
        if let Some(token) = &request.client_token
            && let Some(earlier) = self.tokens.interface(token, request)?
        {
            // The ENI may be gone by now; EC2 then reports it as not found.
            return self.interface(&earlier).cloned();
        }
        let eni = self.make_interface(request, None)?;
        if let Some(token) = &request.client_token {
            self.tokens.remember_interface(token, request, &eni.id, self.now);
        }
        Ok(eni)
    }

    /// Makes an ENI; `on` is the type of the instance that it is born attached to.
    pub(crate) fn make_interface(
        &mut self,
        request: &CreateNetworkInterface,
        on: Option<&InstanceType>,
    ) -> Result<NetworkInterface, CallError> {
        let subnet = self.subnets.get(&request.subnet).ok_or_else(|| no_such_subnet(&request.subnet))?;
        let (vpc, zone) = (subnet.vpc.clone(), subnet.zone.clone());
        let ipv6 = request.ipv6.at_birth_in(subnet);
        check_description(&request.description)?;
        check_tags(&request.tags)?;
        let groups = self.groups_for(&vpc, &request.groups)?;
        if self.interfaces.len() >= self.config.max_network_interfaces {
            return Err(CallError::refuse(
                Code::NetworkInterfaceLimitExceeded,
                "You have reached the maximum number of network interfaces for this account.",
            ));
        }
        let id: EniId = self.fresh_id("eni-");
        let (primary, given, ipv6) = match request.interface_type {
            InterfaceType::Interface | InterfaceType::Efa => {
                if let Some(on) = on.filter(|_| request.secondary.wants_prefixes()) {
                    check_prefix_support(on)?;
                }
                check_slots(
                    request.secondary.slots(),
                    on.map_or(DETACHED_SLOTS, InstanceType::slots_per_eni),
                )?;
                check_ipv6_fits(0, &ipv6, on)?;
                let ipv6 = self.allot_ipv6(&request.subnet, &id, &ipv6)?;
                match self.hold_at_birth(request, &id) {
                    Ok((primary, given)) => (Some(primary), given, ipv6),
                    Err(error) => {
                        self.release_ipv6(&request.subnet, &ipv6);
                        return Err(error);
                    }
                }
            }
            InterfaceType::EfaOnly => {
                request.check_asks_no_addresses()?;
                (None, Given::default(), Ipv6Given::default())
            }
        };
        let eni = NetworkInterface {
            id: id.clone(),
            mac: self.fresh_mac(),
            subnet: request.subnet.clone(),
            vpc,
            zone,
            description: request.description.clone(),
            interface_type: request.interface_type,
            primary,
            secondary: given.addresses,
            prefixes: given.prefixes,
            ipv6_addresses: ipv6.addresses,
            ipv6_prefixes: ipv6.prefixes,
            groups,
            source_dest_check: true,
            tags: request.tags.clone(),
            attachment: None,
        };
        self.interfaces.insert(id, eni.clone());
        self.changed();
        Ok(eni)
    }

    /// Takes all addresses that an ENI is born with, or none.
    fn hold_at_birth(
        &mut self,
        request: &CreateNetworkInterface,
        eni: &EniId,
    ) -> Result<(Ipv4Addr, Given), CallError> {
        match request.primary {
            Some(primary) => {
                let subnet = self.subnet_mut(&request.subnet);
                check_address(subnet, primary)?;
                if !subnet.is_free(primary) {
                    return Err(CallError::refuse(
                        Code::InvalidIpAddressInUse,
                        format!("Address {primary} is in use."),
                    ));
                }
                subnet.hold(primary, Holder::Interface(eni.clone()));
                match self.allot(&request.subnet, eni, &request.secondary) {
                    Ok(given) => Ok((primary, given)),
                    Err(error) => {
                        self.subnet_mut(&request.subnet).release(primary);
                        Err(error)
                    }
                }
            }
            None => {
                // Named secondary addresses first, so that the choice of a primary cannot take one of them.
                let given = self.allot(&request.subnet, eni, &request.secondary)?;
                let any = Secondary::Addresses(1);
                match self.allot(&request.subnet, eni, &any).map(|one| one.addresses.first().copied()) {
                    Ok(Some(primary)) => Ok((primary, given)),
                    Ok(None) => unreachable!("invariant: one address asked, one given"),
                    Err(error) => {
                        let subnet = self.subnet_mut(&request.subnet);
                        given.addresses.iter().for_each(|address| subnet.release(*address));
                        given.prefixes.iter().for_each(|block| subnet.release_block(*block));
                        Err(error)
                    }
                }
            }
        }
    }

    fn apply_change(&mut self, eni: &EniId, change: &InterfaceChange) -> Result<(), CallError> {
        let vpc = self.interface(eni)?.vpc.clone();
        match change {
            InterfaceChange::DeleteOnTermination { attachment, delete } => {
                let found = self.interface_mut(eni)?;
                let Some(at) = found.attachment.as_mut().filter(|at| at.id == *attachment) else {
                    return Err(super::attachment::no_such_attachment(attachment));
                };
                at.delete_on_termination = *delete;
            }
            InterfaceChange::Description(text) => {
                check_description(text)?;
                self.interface_mut(eni)?.description = text.clone();
            }
            InterfaceChange::Groups(groups) => {
                if groups.is_empty() {
                    return Err(CallError::refuse(
                        Code::MissingParameter,
                        "A network interface has at least one security group: the request must contain the parameter SecurityGroupId",
                    ));
                }
                let groups = self.groups_for(&vpc, groups)?;
                self.interface_mut(eni)?.groups = groups;
            }
            InterfaceChange::SourceDestCheck(check) => self.interface_mut(eni)?.source_dest_check = *check,
        }
        self.touch(eni);
        Ok(())
    }

    fn groups_for(&self, vpc: &VpcId, wanted: &[SecurityGroupId]) -> Result<Vec<SecurityGroupId>, CallError> {
        if wanted.len() > MAX_GROUPS {
            return Err(CallError::refuse(
                Code::SecurityGroupsPerInterfaceLimitExceeded,
                format!("The maximum number of security groups per interface is {MAX_GROUPS}."),
            ));
        }
        if wanted.is_empty() {
            let default = self.vpcs.get(vpc).map(|vpc| vpc.default_group.clone());
            return Ok(default.into_iter().collect());
        }
        for group in wanted {
            if self.groups.get(group).is_none_or(|found| found.vpc != *vpc) {
                return Err(CallError::refuse(
                    Code::InvalidGroupNotFound,
                    format!("The security group '{group}' does not exist in VPC '{vpc}'"),
                ));
            }
        }
        Ok(wanted.to_vec())
    }

    /// Takes the ENI out of the world and gives its addresses back.
    pub(crate) fn remove_interface(&mut self, eni: &EniId) {
        let Some(gone) = self.interfaces.remove(eni) else { return };
        let subnet = self.subnet_mut(&gone.subnet);
        gone.addresses().for_each(|address| subnet.release(address));
        gone.prefixes.iter().for_each(|block| subnet.release_block(*block));
        let ipv6 = Ipv6Given { addresses: gone.ipv6_addresses, prefixes: gone.ipv6_prefixes };
        self.release_ipv6(&gone.subnet, &ipv6);
        self.changed();
    }

    /// An ENI by id, as the call `Describe…` would refuse it.
    pub(crate) fn interface(&self, eni: &EniId) -> Result<&NetworkInterface, CallError> {
        self.interfaces.get(eni).ok_or_else(|| no_such_interface(eni))
    }

    pub(crate) fn interface_mut(&mut self, eni: &EniId) -> Result<&mut NetworkInterface, CallError> {
        self.interfaces.get_mut(eni).ok_or_else(|| no_such_interface(eni))
    }
}

fn check_description(text: &str) -> Result<(), CallError> {
    if text.chars().count() <= MAX_DESCRIPTION {
        return Ok(());
    }
    Err(CallError::refuse(
        Code::InvalidParameterValue,
        format!("Value for parameter description is longer than {MAX_DESCRIPTION} characters."),
    ))
}

pub(crate) fn no_such_interface(eni: &EniId) -> CallError {
    CallError::refuse(
        Code::InvalidNetworkInterfaceIdNotFound,
        format!("The networkInterface ID '{eni}' does not exist"),
    )
}
