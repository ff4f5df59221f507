//! Assigning and unassigning secondary addresses and prefixes.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use enid_core::ids::{EniId, SubnetId};
use enid_core::limits::InstanceType;
use enid_core::time::Timestamp;
use ipnet::Ipv4Net;

use super::Ec2;
use super::call::Call;
use super::interface::{NetworkInterface, Secondary};
use super::refusal::{CallError, Code};
use super::vpc::{Holder, Subnet, no_such_subnet};

/// Slots on an ENI that no instance type limits yet: those of the largest type.
pub(crate) const DETACHED_SLOTS: u32 = 63;

/// `AssignPrivateIpAddresses`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssignPrivateIpAddresses {
    /// The ENI.
    pub eni: EniId,
    /// What to add.
    pub secondary: Secondary,
    /// `AllowReassignment`: named addresses may be taken from another ENI of the subnet.
    pub allow_reassignment: bool,
}

/// `UnassignPrivateIpAddresses`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnassignPrivateIpAddresses {
    /// The ENI.
    pub eni: EniId,
    /// Secondary addresses to give back.
    pub addresses: Vec<Ipv4Addr>,
    /// Prefixes to give back.
    pub prefixes: Vec<Ipv4Net>,
}

/// What an ENI was given by one call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// New secondary addresses.
    pub addresses: Vec<Ipv4Addr>,
    /// New prefixes.
    pub prefixes: Vec<Ipv4Net>,
}

impl Ec2 {
    /// `AssignPrivateIpAddresses`: answers only what is new, all or nothing.
    pub fn assign_private_ip_addresses(
        &mut self,
        now: Timestamp,
        request: &AssignPrivateIpAddresses,
    ) -> Result<Given, CallError> {
        self.perform(now, Call::AssignPrivateIpAddresses, |ec2| ec2.assign(request))
    }

    /// `UnassignPrivateIpAddresses`: all or nothing.
    pub fn unassign_private_ip_addresses(
        &mut self,
        now: Timestamp,
        request: &UnassignPrivateIpAddresses,
    ) -> Result<(), CallError> {
        self.perform(now, Call::UnassignPrivateIpAddresses, |ec2| ec2.unassign(request))
    }

    fn assign(&mut self, request: &AssignPrivateIpAddresses) -> Result<Given, CallError> {
        let eni = self.interface(&request.eni)?.clone();
        eni.check_addressable()?;
        let secondary = match &request.secondary {
            Secondary::ExactAddresses(wanted) => {
                let (fresh, moving) = self.sort_named(&eni, wanted)?;
                if !moving.is_empty() && !request.allow_reassignment {
                    return Err(CallError::refuse(
                        Code::InvalidParameterValue,
                        format!("{moving:?} assigned to another interface, and reassignment is not allowed."),
                    ));
                }
                let count = u32::try_from(fresh.len() + moving.len()).unwrap_or(u32::MAX);
                check_slots(eni.slots_used().saturating_add(count), self.slot_limit(&eni)?)?;
                for address in &moving {
                    self.take_from_owner(&eni.subnet, *address);
                }
                Secondary::ExactAddresses(fresh.into_iter().chain(moving).collect())
            }
            Secondary::None => {
                return Err(CallError::refuse(
                    Code::MissingParameter,
                    "Either secondary private IP addresses, a count of them, prefixes or a count of prefixes is required.",
                ));
            }
            other @ (Secondary::Addresses(_) | Secondary::Prefixes(_) | Secondary::ExactPrefixes(_)) => {
                check_slots(eni.slots_used().saturating_add(other.slots()), self.slot_limit(&eni)?)?;
                other.clone()
            }
        };
        if let Some(at) = eni.attachment.as_ref().filter(|_| secondary.wants_prefixes()) {
            check_prefix_support(&self.instance(&at.instance)?.instance_type)?;
        }
        let given = self.allot(&eni.subnet, &eni.id, &secondary)?;
        let found = self.interface_mut(&eni.id)?;
        found.secondary.extend(&given.addresses);
        found.prefixes.extend(&given.prefixes);
        self.touch(&eni.id);
        Ok(given)
    }

    /// Splits named addresses into free ones and those held by other ENIs; those it has already drop out.
    fn sort_named(
        &self,
        eni: &NetworkInterface,
        wanted: &[Ipv4Addr],
    ) -> Result<(Vec<Ipv4Addr>, Vec<Ipv4Addr>), CallError> {
        let subnet = self.subnets.get(&eni.subnet).ok_or_else(|| no_such_subnet(&eni.subnet))?;
        let (mut fresh, mut moving) = (Vec::new(), Vec::new());
        for address in distinct(wanted)? {
            check_address(subnet, address)?;
            match subnet.holders.get(&address) {
                None if subnet.is_free(address) => fresh.push(address),
                Some(Holder::Interface(owner)) if *owner == eni.id && eni.primary != Some(address) => {}
                Some(Holder::Interface(owner))
                    if *owner != eni.id
                        && self.interfaces.get(owner).is_some_and(|other| other.primary != Some(address)) =>
                {
                    moving.push(address);
                }
                // A primary address, a stranger's, or one inside a delegated prefix.
                Some(Holder::Interface(_) | Holder::Stranger) | None => {
                    return Err(CallError::refuse(
                        Code::InvalidParameterValue,
                        format!("Address {address} is in use and cannot be reassigned."),
                    ));
                }
            }
        }
        Ok((fresh, moving))
    }

    fn take_from_owner(&mut self, subnet: &SubnetId, address: Ipv4Addr) {
        let owner = self.subnet_mut(subnet).owner(address).cloned();
        self.subnet_mut(subnet).release(address);
        if let Some(eni) = owner
            && let Some(loser) = self.interfaces.get_mut(&eni)
        {
            loser.secondary.retain(|held| *held != address);
            self.touch(&eni);
        }
    }

    fn unassign(&mut self, request: &UnassignPrivateIpAddresses) -> Result<(), CallError> {
        let eni = self.interface(&request.eni)?.clone();
        if request.addresses.is_empty() && request.prefixes.is_empty() {
            return Err(CallError::refuse(
                Code::MissingParameter,
                "The request must contain the parameter privateIpAddresses or ipv4Prefixes",
            ));
        }
        let (addresses, prefixes) = (distinct(&request.addresses)?, distinct(&request.prefixes)?);
        if let Some(primary) = eni.primary.filter(|primary| addresses.contains(primary)) {
            return Err(CallError::refuse(
                Code::InvalidParameterValue,
                format!("{primary} is the primary address of {} and cannot be unassigned.", eni.id),
            ));
        }
        let foreign: Vec<String> = addresses
            .iter()
            .filter(|address| !eni.secondary.contains(address))
            .map(ToString::to_string)
            .chain(prefixes.iter().filter(|block| !eni.prefixes.contains(block)).map(ToString::to_string))
            .collect();
        if !foreign.is_empty() {
            return Err(CallError::refuse(
                Code::InvalidParameterValue,
                format!(
                    "Some of the specified addresses are not assigned to interface {}: {foreign:?}",
                    eni.id
                ),
            ));
        }
        let subnet = self.subnet_mut(&eni.subnet);
        addresses.iter().for_each(|address| subnet.release(*address));
        prefixes.iter().for_each(|block| subnet.release_block(*block));
        let found = self.interface_mut(&eni.id)?;
        found.secondary.retain(|held| !addresses.contains(held));
        found.prefixes.retain(|held| !prefixes.contains(held));
        self.touch(&eni.id);
        Ok(())
    }

    /// Takes supply out of a subnet for an ENI, all or nothing. The caller has checked the slots.
    pub(crate) fn allot(
        &mut self,
        subnet: &SubnetId,
        eni: &EniId,
        wanted: &Secondary,
    ) -> Result<Given, CallError> {
        let placement = self.config.placement;
        let found = self.subnets.get_mut(subnet).ok_or_else(|| no_such_subnet(subnet))?;
        let mut given = Given::default();
        match wanted {
            Secondary::None => {}
            Secondary::Addresses(count) => {
                if *count > found.free() {
                    return Err(no_free_addresses(subnet));
                }
                for _ in 0..*count {
                    let address = found.space.take_any(placement, &mut self.chance);
                    let address = address.expect("invariant: as many are free as were counted");
                    found.holders.insert(address, Holder::Interface(eni.clone()));
                    given.addresses.push(address);
                }
            }
            Secondary::ExactAddresses(list) => {
                given.addresses = distinct(list)?;
                for address in &given.addresses {
                    check_address(found, *address)?;
                    if !found.is_free(*address) {
                        return Err(CallError::refuse(
                            Code::InvalidIpAddressInUse,
                            format!("Address {address} is in use."),
                        ));
                    }
                }
                for address in &given.addresses {
                    found.hold(*address, Holder::Interface(eni.clone()));
                }
            }
            Secondary::Prefixes(count) => {
                if *count > found.free_blocks() {
                    return Err(no_free_blocks());
                }
                for _ in 0..*count {
                    let block = found.space.take_any_block(placement, &mut self.chance);
                    let block = block.expect("invariant: as many are whole as were counted");
                    found.blocks.insert(block.network(), eni.clone());
                    given.prefixes.push(block);
                }
            }
            Secondary::ExactPrefixes(list) => {
                given.prefixes = distinct(list)?;
                for block in &given.prefixes {
                    if block.prefix_len() != 28 || block.trunc() != *block || !found.cidr.contains(block) {
                        return Err(CallError::refuse(
                            Code::InvalidParameterValue,
                            format!("{block} is not an aligned /28 within the subnet's range."),
                        ));
                    }
                    if !found.space.block_is_whole(*block) {
                        return Err(no_free_blocks());
                    }
                }
                for block in &given.prefixes {
                    found.hold_block(*block, eni.clone());
                }
            }
        }
        Ok(given)
    }

    /// How many slots the ENI has where it is.
    pub(crate) fn slot_limit(&self, eni: &NetworkInterface) -> Result<u32, CallError> {
        match &eni.attachment {
            None => Ok(DETACHED_SLOTS),
            Some(at) => Ok(self.instance(&at.instance)?.instance_type.slots_per_eni()),
        }
    }
}

/// Refuses prefixes on what is neither Nitro nor bare metal.
pub(crate) fn check_prefix_support(on: &InstanceType) -> Result<(), CallError> {
    if on.supports_prefixes() {
        return Ok(());
    }
    Err(CallError::refuse(
        Code::UnsupportedOperation,
        format!("Prefix delegation is not supported on instance type '{}'.", on.name),
    ))
}

/// Refuses more slots than there are.
pub(crate) fn check_slots(needed: u32, limit: u32) -> Result<(), CallError> {
    if needed <= limit {
        return Ok(());
    }
    Err(CallError::refuse(
        Code::PrivateIpAddressLimitExceeded,
        "Number of private addresses will exceed limit.",
    ))
}

/// Refuses addresses outside the subnet and EC2's own.
pub(crate) fn check_address(subnet: &Subnet, address: Ipv4Addr) -> Result<(), CallError> {
    let message = if !subnet.space.contains(address) {
        "Address does not fall within the subnet's address range"
    } else if subnet.space.is_reserved(address) {
        "Address is in subnet's reserved address range"
    } else {
        return Ok(());
    };
    Err(CallError::refuse(Code::InvalidParameterValue, format!("{message}: {address}")))
}

/// Refuses lists that name something twice.
pub(crate) fn distinct<T: Ord + Copy + std::fmt::Display>(list: &[T]) -> Result<Vec<T>, CallError> {
    let mut seen = BTreeSet::new();
    match list.iter().find(|item| !seen.insert(**item)) {
        None => Ok(list.to_vec()),
        Some(twice) => {
            Err(CallError::refuse(Code::InvalidParameterValue, format!("{twice} is given more than once.")))
        }
    }
}

pub(crate) fn no_free_addresses(subnet: &SubnetId) -> CallError {
    CallError::refuse(
        Code::InsufficientFreeAddressesInSubnet,
        format!(
            "The specified subnet '{subnet}' does not have enough free addresses to satisfy the request."
        ),
    )
}

pub(crate) fn no_free_blocks() -> CallError {
    CallError::refuse(
        Code::InsufficientCidrBlocks,
        "The specified subnet does not have enough free cidr blocks to satisfy the request.",
    )
}
