//! What must hold after any sequence of calls.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::Ec2;
use super::instance::InstanceState;
use super::vpc::Holder;
use enid_core::limits::PREFIX_ADDRESSES;

impl Ec2 {
    /// Lists every broken invariant, for people; empty when the world is sound.
    ///
    /// No address belongs to two owners, counts add up, limits hold, ENIs and instances agree about who
    /// sits where.
    pub fn check(&self) -> Vec<String> {
        let mut broken = Vec::new();
        self.check_addresses(&mut broken);
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

    fn check_seats(&self, broken: &mut Vec<String>) {
        let mut macs = BTreeSet::new();
        for eni in self.interfaces.values() {
            if !macs.insert(eni.mac) {
                broken.push(format!("{} shares its MAC", eni.id));
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
