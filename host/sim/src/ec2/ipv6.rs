//! IPv6: assigning and unassigning addresses and /80 prefixes.

pub(crate) mod space;

use std::net::Ipv6Addr;

use enid_core::ids::{EniId, SubnetId};
use enid_core::limits::InstanceType;
use enid_core::time::Timestamp;
use ipnet::Ipv6Net;

use super::Ec2;
use super::assignment::{check_prefix_support, check_slots, distinct, no_free_blocks};
use super::call::Call;
use super::interface::NetworkInterface;
use super::refusal::{CallError, Code};
use super::vpc::{Subnet, no_such_subnet};

/// EC2 delegates IPv6 in /80 blocks.
pub(crate) const PREFIX_LENGTH: u8 = 80;
/// IPv6 slots on an ENI that no instance type limits yet: those of the largest type.
const DETACHED_SLOTS: u32 = 64;

/// IPv6 supply asked for; EC2 takes exactly one kind per call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Ipv6Supply {
    /// What the subnet gives every ENI at birth: one address, if it has IPv6 (`AssignIpv6AddressOnCreation`).
    #[default]
    Usual,
    /// Any so many addresses; none keeps the subnet from giving one.
    Addresses(u32),
    /// These addresses.
    ExactAddresses(Vec<Ipv6Addr>),
    /// Any so many /80 prefixes.
    Prefixes(u32),
    /// These /80 prefixes.
    ExactPrefixes(Vec<Ipv6Net>),
}

impl Ipv6Supply {
    /// Slots that it needs on an ENI, if the subnet's own gift is none.
    fn slots(&self) -> u32 {
        let listed = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        match self {
            Ipv6Supply::Usual => 0,
            Ipv6Supply::Addresses(count) | Ipv6Supply::Prefixes(count) => *count,
            Ipv6Supply::ExactAddresses(list) => listed(list.len()),
            Ipv6Supply::ExactPrefixes(list) => listed(list.len()),
        }
    }

    /// Whether it asks for prefixes, which only Nitro and bare metal take.
    pub fn wants_prefixes(&self) -> bool {
        match self {
            Ipv6Supply::Usual | Ipv6Supply::Addresses(_) | Ipv6Supply::ExactAddresses(_) => false,
            Ipv6Supply::Prefixes(_) | Ipv6Supply::ExactPrefixes(_) => true,
        }
    }

    /// The same for an ENI born in `subnet`.
    pub(crate) fn at_birth_in(&self, subnet: &Subnet) -> Ipv6Supply {
        match self {
            Ipv6Supply::Usual => Ipv6Supply::Addresses(u32::from(subnet.ipv6_cidr.is_some())),
            asked @ (Ipv6Supply::Addresses(_)
            | Ipv6Supply::ExactAddresses(_)
            | Ipv6Supply::Prefixes(_)
            | Ipv6Supply::ExactPrefixes(_)) => asked.clone(),
        }
    }
}

/// `AssignIpv6Addresses`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssignIpv6Addresses {
    /// The ENI.
    pub eni: EniId,
    /// What to add.
    pub supply: Ipv6Supply,
}

/// `UnassignIpv6Addresses`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnassignIpv6Addresses {
    /// The ENI.
    pub eni: EniId,
    /// Addresses to give back.
    pub addresses: Vec<Ipv6Addr>,
    /// Prefixes to give back.
    pub prefixes: Vec<Ipv6Net>,
}

/// What an ENI was given by one call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ipv6Given {
    /// New addresses.
    pub addresses: Vec<Ipv6Addr>,
    /// New prefixes.
    pub prefixes: Vec<Ipv6Net>,
}

impl Ec2 {
    /// `AssignIpv6Addresses`: answers only what is new, all or nothing.
    pub fn assign_ipv6_addresses(
        &mut self,
        now: Timestamp,
        request: &AssignIpv6Addresses,
    ) -> Result<Ipv6Given, CallError> {
        self.perform(now, Call::AssignIpv6Addresses, |ec2| ec2.assign_ipv6(request))
    }

    /// `UnassignIpv6Addresses`: all or nothing.
    pub fn unassign_ipv6_addresses(
        &mut self,
        now: Timestamp,
        request: &UnassignIpv6Addresses,
    ) -> Result<(), CallError> {
        self.perform(now, Call::UnassignIpv6Addresses, |ec2| ec2.unassign_ipv6(request))
    }

    fn assign_ipv6(&mut self, request: &AssignIpv6Addresses) -> Result<Ipv6Given, CallError> {
        let eni = self.interface(&request.eni)?.clone();
        if request.supply.slots() == 0 {
            return Err(CallError::refuse(
                Code::MissingParameter,
                "Either IPv6 addresses, a count of them, prefixes or a count of prefixes is required.",
            ));
        }
        eni.check_addressable()?;
        let host = eni.attachment.as_ref().map(|at| self.instance(&at.instance)).transpose()?;
        let on = host.map(|host| &host.instance_type);
        check_ipv6_fits(eni.ipv6_slots_used(), &request.supply, on)?;
        let given = self.allot_ipv6(&eni.subnet, &eni.id, &request.supply)?;
        let found = self.interface_mut(&eni.id)?;
        found.ipv6_addresses.extend(&given.addresses);
        found.ipv6_prefixes.extend(&given.prefixes);
        self.touch(&eni.id);
        Ok(given)
    }

    fn unassign_ipv6(&mut self, request: &UnassignIpv6Addresses) -> Result<(), CallError> {
        let eni = self.interface(&request.eni)?.clone();
        if request.addresses.is_empty() && request.prefixes.is_empty() {
            return Err(CallError::refuse(
                Code::MissingParameter,
                "The request must contain the parameter ipv6Addresses or ipv6Prefixes",
            ));
        }
        let (addresses, prefixes) = (distinct(&request.addresses)?, distinct(&request.prefixes)?);
        let foreign: Vec<String> = addresses
            .iter()
            .filter(|address| !eni.ipv6_addresses.contains(address))
            .map(ToString::to_string)
            .chain(
                prefixes.iter().filter(|block| !eni.ipv6_prefixes.contains(block)).map(ToString::to_string),
            )
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
        self.release_ipv6(
            &eni.subnet,
            &Ipv6Given { addresses: addresses.clone(), prefixes: prefixes.clone() },
        );
        let found = self.interface_mut(&eni.id)?;
        found.ipv6_addresses.retain(|held| !addresses.contains(held));
        found.ipv6_prefixes.retain(|held| !prefixes.contains(held));
        self.touch(&eni.id);
        Ok(())
    }

    /// Takes IPv6 supply out of a subnet for an ENI, all or nothing. The caller has checked the slots.
    pub(crate) fn allot_ipv6(
        &mut self,
        subnet: &SubnetId,
        eni: &EniId,
        wanted: &Ipv6Supply,
    ) -> Result<Ipv6Given, CallError> {
        let placement = self.config.placement;
        let mut given = Ipv6Given::default();
        if wanted.slots() == 0 {
            return Ok(given);
        }
        let found = self.subnets.get_mut(subnet).ok_or_else(|| no_such_subnet(subnet))?;
        let space = found.ipv6.as_mut().ok_or_else(|| no_ipv6(subnet))?;
        match wanted {
            Ipv6Supply::Usual => {}
            Ipv6Supply::Addresses(count) => {
                let one = |_| space.take_any(placement, &mut self.chance, eni.clone());
                given.addresses = (0..*count).map(one).collect();
            }
            Ipv6Supply::ExactAddresses(list) => {
                given.addresses = distinct(list)?;
                for address in &given.addresses {
                    let message = if !space.contains(*address) {
                        "Address does not fall within the subnet's address range"
                    } else if space.is_reserved(*address) {
                        "Address is in subnet's reserved address range"
                    } else if space.owner(*address).is_some() {
                        "Address is already assigned"
                    } else {
                        continue;
                    };
                    return Err(CallError::refuse(
                        Code::InvalidParameterValue,
                        format!("{message}: {address}"),
                    ));
                }
                given.addresses.iter().for_each(|address| space.take(*address, eni.clone()));
            }
            Ipv6Supply::Prefixes(count) => {
                for _ in 0..*count {
                    match space.take_any_block(placement, &mut self.chance, eni.clone()) {
                        Some(block) => given.prefixes.push(block),
                        None => {
                            given.prefixes.iter().for_each(|block| space.give_back_block(*block));
                            return Err(no_free_blocks());
                        }
                    }
                }
            }
            Ipv6Supply::ExactPrefixes(list) => {
                given.prefixes = distinct(list)?;
                for block in &given.prefixes {
                    let aligned = block.prefix_len() == PREFIX_LENGTH && block.trunc() == *block;
                    if !aligned || !space.contains(block.network()) {
                        return Err(CallError::refuse(
                            Code::InvalidParameterValue,
                            format!(
                                "{block} is not an aligned /{PREFIX_LENGTH} within the subnet's IPv6 range."
                            ),
                        ));
                    }
                    if !space.block_is_whole(*block) {
                        return Err(no_free_blocks());
                    }
                }
                given.prefixes.iter().for_each(|block| space.take_block(*block, eni.clone()));
            }
        }
        Ok(given)
    }

    /// Makes what an ENI of `subnet` had free again.
    pub(crate) fn release_ipv6(&mut self, subnet: &SubnetId, held: &Ipv6Given) {
        let Some(space) = self.subnet_mut(subnet).ipv6.as_mut() else { return };
        held.addresses.iter().for_each(|address| space.give_back(*address));
        held.prefixes.iter().for_each(|block| space.give_back_block(*block));
    }
}

/// Refuses what an ENI with `used` slots cannot take on an instance of type `on`, or detached.
pub(crate) fn check_ipv6_fits(
    used: u32,
    wanted: &Ipv6Supply,
    on: Option<&InstanceType>,
) -> Result<(), CallError> {
    let needed = wanted.slots();
    if needed == 0 {
        return Ok(());
    }
    let limit = on.map_or(DETACHED_SLOTS, |on| on.ipv6_per_eni);
    if let Some(on) = on {
        check_ipv6_support(on)?;
        if wanted.wants_prefixes() {
            check_prefix_support(on)?;
        }
    }
    check_slots(used.saturating_add(needed), limit)
}

/// Refuses to bring an ENI with IPv6 to an instance of type `on` that cannot have all of it.
pub(crate) fn check_ipv6_of(eni: &NetworkInterface, on: &InstanceType) -> Result<(), CallError> {
    if eni.ipv6_slots_used() == 0 {
        return Ok(());
    }
    check_ipv6_support(on)?;
    if !eni.ipv6_prefixes.is_empty() {
        check_prefix_support(on)?;
    }
    check_slots(eni.ipv6_slots_used(), on.ipv6_per_eni)
}

fn check_ipv6_support(on: &InstanceType) -> Result<(), CallError> {
    if on.ipv6_per_eni > 0 {
        return Ok(());
    }
    Err(CallError::refuse(
        Code::UnsupportedOperation,
        format!("IPv6 addresses are not supported on {}", on.name),
    ))
}

fn no_ipv6(subnet: &SubnetId) -> CallError {
    CallError::refuse(
        Code::InvalidParameterValue,
        format!("The subnet '{subnet}' does not have an IPv6 CIDR block associated with it."),
    )
}
