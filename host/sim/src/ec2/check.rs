//! What must hold after any sequence of calls.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use enid_core::limits::PREFIX_ADDRESSES;
use ipnet::Ipv6Net;

use super::Ec2;
use super::instance::InstanceState;
use super::interface::InterfaceType;
use super::ipv6::PREFIX_LENGTH;
use super::ipv6::space::Ipv6Space;
use super::vpc::Holder;

impl Ec2 {
    /// Lists every broken invariant, for people; empty when the world is sound.
    ///
    /// No address belongs to two owners, counts add up, limits hold, ENIs and instances agree about who
    /// sits where.
    pub fn check(&self) -> Vec<String> {
        let mut broken = Vec::new();
        self.check_addresses(&mut broken);
        self.check_ipv6(&mut broken);
        self.check_seats(&mut broken);
        broken
    }

    fn check_addresses(&self, broken: &mut Vec<String>) {
        for subnet in self.subnets.values() {
            let mut owned: BTreeMap<Ipv4Addr, String> = BTreeMap::new();
            let mut own = |address: Ipv4Addr, owner: String| {
                if let Some(other) = owned.insert(address, owner.clone()) {
                    broken.push(format!("{address} belongs to {other} and to {owner}"));
                }
            };
            for eni in self.interfaces.values().filter(|eni| eni.subnet == subnet.id) {
                eni.addresses().for_each(|address| own(address, eni.id.to_string()));
                for block in &eni.prefixes {
                    let base = u32::from(block.network());
                    (base..base + PREFIX_ADDRESSES)
                        .for_each(|it| own(Ipv4Addr::from(it), eni.id.to_string()));
                }
            }
            for (address, holder) in &subnet.holders {
                if *holder == Holder::Stranger {
                    own(*address, "a stranger".to_owned());
                }
            }
            for (address, owner) in &owned {
                if !subnet.cidr.contains(address) || subnet.space.is_reserved(*address) {
                    broken.push(format!("{address} of {owner} is not {}'s to give", subnet.id));
                } else if subnet.space.is_free(*address) {
                    broken.push(format!("{address} of {owner} counts as free in {}", subnet.id));
                }
                let noted = subnet.owner(*address).map_or("a stranger".to_owned(), ToString::to_string);
                if noted != *owner {
                    broken.push(format!("{address} belongs to {owner}, but {} notes {noted}", subnet.id));
                }
            }
            let used = u32::try_from(owned.len()).unwrap_or(u32::MAX);
            if subnet.free() + used != subnet.total() {
                broken.push(format!(
                    "{}: {} free and {used} used of {}",
                    subnet.id,
                    subnet.free(),
                    subnet.total()
                ));
            }
        }
    }

    fn check_ipv6(&self, broken: &mut Vec<String>) {
        for subnet in self.subnets.values() {
            let enis = || self.interfaces.values().filter(|eni| eni.subnet == subnet.id);
            let (addresses, blocks) = subnet.ipv6.as_ref().map_or((0, 0), Ipv6Space::held);
            let owned = (
                enis().map(|eni| eni.ipv6_addresses.len()).sum::<usize>(),
                enis().map(|eni| eni.ipv6_prefixes.len()).sum::<usize>(),
            );
            // Together with each being noted for its ENI this says that none has two owners.
            if owned != (addresses, blocks) {
                broken.push(format!("{} notes {addresses} and {blocks} of IPv6, not {owned:?}", subnet.id));
            }
            for eni in enis() {
                let bases = eni.ipv6_prefixes.iter().map(Ipv6Net::network);
                for address in eni.ipv6_addresses.iter().copied().chain(bases) {
                    if subnet.ipv6_owner(address) != Some(&eni.id) {
                        broken.push(format!("{address} of {} is not noted in {}", eni.id, subnet.id));
                    }
                    if subnet.ipv6_cidr.is_none_or(|cidr| !cidr.contains(&address)) {
                        broken.push(format!("{address} of {} is not {}'s to give", eni.id, subnet.id));
                    }
                }
                for block in &eni.ipv6_prefixes {
                    if block.prefix_len() != PREFIX_LENGTH || block.trunc() != *block {
                        broken.push(format!("{block} of {} is not an aligned /{PREFIX_LENGTH}", eni.id));
                    }
                    if let Some(inside) =
                        enis().flat_map(|eni| &eni.ipv6_addresses).find(|address| block.contains(*address))
                    {
                        broken.push(format!("{inside} lies in {block} of {}", eni.id));
                    }
                }
            }
        }
    }

    fn check_seats(&self, broken: &mut Vec<String>) {
        let mut macs = BTreeSet::new();
        for eni in self.interfaces.values() {
            if !macs.insert(eni.mac) {
                broken.push(format!("{} shares its MAC", eni.id));
            }
            let addressless =
                eni.addresses().next().is_none() && eni.prefixes.is_empty() && eni.ipv6_slots_used() == 0;
            match (eni.interface_type, eni.primary) {
                (InterfaceType::Interface | InterfaceType::Efa, Some(_)) => {}
                (InterfaceType::EfaOnly, None) if addressless => {}
                (InterfaceType::Interface | InterfaceType::Efa | InterfaceType::EfaOnly, _) => {
                    broken.push(format!("{} has addresses that an {:?} has not", eni.id, eni.interface_type));
                }
            }
            if eni.groups.is_empty() {
                broken.push(format!("{} has no security group", eni.id));
            }
            let Some(at) = &eni.attachment else { continue };
            if self.attachments.get(&at.id) != Some(&eni.id) {
                broken.push(format!("{} of {} is not listed", at.id, eni.id));
            }
            let seated = self.instances.get(&at.instance).and_then(|instance| instance.seats.get(&at.seat));
            if seated != Some(&eni.id) {
                broken.push(format!("{} is not where it is attached", eni.id));
            }
        }
        for (attachment, eni) in &self.attachments {
            let at = self.interfaces.get(eni).and_then(|eni| eni.attachment.as_ref());
            if at.is_none_or(|at| at.id != *attachment) {
                broken.push(format!("{attachment} leads nowhere"));
            }
        }
        for instance in self.instances.values() {
            for card in &instance.instance_type.cards {
                let seated = instance.seats.keys().filter(|seat| seat.card == card.index).count();
                if u32::try_from(seated).is_ok_and(|seated| seated > card.max_enis) {
                    broken.push(format!("{} has {seated} ENIs on card {}", instance.id, card.index));
                }
            }
            for eni in self.interfaces_of(&instance.id) {
                if eni.ipv6_slots_used() > instance.instance_type.ipv6_per_eni {
                    broken.push(format!("{} has {} IPv6 slots in use", eni.id, eni.ipv6_slots_used()));
                }
                let delegated = !eni.prefixes.is_empty() || !eni.ipv6_prefixes.is_empty();
                if delegated && !instance.instance_type.supports_prefixes() {
                    broken.push(format!("{} has prefixes on a {}", eni.id, instance.instance_type.name));
                }
                if eni.slots_used() > instance.instance_type.slots_per_eni() {
                    broken.push(format!("{} has {} slots in use", eni.id, eni.slots_used()));
                }
            }
            if instance.state == InstanceState::Terminated && !instance.seats.is_empty() {
                broken.push(format!("{} is gone and still has ENIs", instance.id));
            }
        }
    }
}
