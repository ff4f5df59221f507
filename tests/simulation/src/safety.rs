//! What must hold after every single event, whatever goes wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use enid_core::cloud::{Assigned, Supply};
use enid_core::event::CloudCall;
use enid_core::ids::EniId;
use enid_core::time::Timestamp;
use enid_core::wiring::PodWiring;
use enid_engine::ports::Strategist;
use enid_sim::ec2::interface::NetworkInterface;
use enid_sim::node::SimNode;

use crate::runtime::Runtime;

/// How much later than the journal a watch may see a release when the daemon dies right after it.
const UNSEEN: Duration = Duration::from_millis(10);

/// Watches one node.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    held: BTreeSet<IpAddr>,
    /// Held addresses that the kernel had at any moment: only they can have packets under way.
    wired: BTreeSet<IpAddr>,
    cold_until: BTreeMap<IpAddr, Timestamp>,
}

impl Watch {
    /// The operator shortened or lengthened cooling: what cools already may be free sooner, never later.
    pub fn cooldown_changed(&mut self, now: Timestamp, cooldown: Duration) {
        for until in self.cold_until.values_mut() {
            *until = (*until).min(now + cooldown);
        }
    }

    /// What is wrong, for people; empty when all is well.
    pub fn wrongs<S: Strategist>(&mut self, node: &SimNode<S>, runtime: &Runtime) -> Vec<String> {
        let mut wrongs = node.kernel.outrages.clone();
        let now = node.now();
        let mut states = BTreeMap::new();
        let mut held = BTreeSet::new();
        let mut attachments = BTreeSet::new();
        for lease in node.state().addresses(now) {
            if matches!(lease.state, "reserved" | "bound" | "unbinding") {
                held.insert(lease.address);
            }
            let card = node.state().eni(&lease.eni).map(|eni| eni.seat.card);
            if let Some(attachment) = lease.attachment
                && !attachments.insert((attachment.clone(), lease.address.is_ipv4(), card))
            {
                wrongs.push(format!("{attachment} holds two addresses of one family on card {card:?}"));
            }
            states.insert(lease.address, lease.state);
        }
        for address in node.kernel.pods.values().flat_map(PodWiring::leased) {
            match states.get(&address) {
                Some(&("reserved" | "bound" | "unbinding" | "quarantined")) => {}
                other => wrongs.push(format!("the kernel has {address}, which is {other:?}")),
            }
        }
        for (name, address) in runtime.running() {
            let Some(pod) = node.kernel.pods.get(&address) else {
                wrongs.push(format!("{name} runs with {address}, which the kernel does not have"));
                continue;
            };
            for address in pod.leased() {
                if !is_here(node, address) {
                    wrongs.push(format!("{name} runs with {address}, which EC2 does not have here"));
                }
            }
        }
        self.wired.extend(node.kernel.pods.values().flat_map(PodWiring::leased));
        self.watch_cooling(&held, node, &mut wrongs);
        wrongs.extend(two_calls(node));
        wrongs
    }

    fn watch_cooling<S: Strategist>(
        &mut self,
        held: &BTreeSet<IpAddr>,
        node: &SimNode<S>,
        wrongs: &mut Vec<String>,
    ) {
        let now = node.now();
        for address in held.difference(&self.held) {
            if !takes_pods(node, *address) {
                wrongs.push(format!("{address} is on an ENI that takes no new pods"));
            }
            if self.cold_until.get(address).is_some_and(|until| *until > now + UNSEEN) {
                wrongs.push(format!("{address} is held again before it cooled down"));
            }
        }
        for address in self.held.difference(held) {
            if self.wired.remove(address) {
                self.cold_until.insert(*address, now + node.state().config().cooldown);
            }
        }
        self.cold_until.retain(|_, until| *until > now);
        for (address, until) in &self.cold_until {
            if *until > now + UNSEEN && !is_here(node, *address) {
                wrongs.push(format!("{address} is given back before it cooled down"));
            }
        }
        self.held.clone_from(held);
    }
}

/// Whether a new pod may get an address: one of IPv6 is out of a prefix that stays whatever becomes of its ENI.
fn takes_pods<S: Strategist>(node: &SimNode<S>, address: IpAddr) -> bool {
    let lease = node.state().addresses(node.now()).into_iter().find(|lease| lease.address == address);
    let status = node.state().status(node.now());
    let eni = status.enis.iter().find(|eni| lease.as_ref().is_some_and(|lease| lease.eni == eni.id));
    address.is_ipv6() || eni.is_some_and(|eni| eni.takes_pods)
}

/// Whether EC2 has an address on one of the node's ENIs.
fn is_here<S: Strategist>(node: &SimNode<S>, address: IpAddr) -> bool {
    node.ec2.interfaces_of(node.instance()).any(|eni| has(eni, address))
}

/// Whether EC2 has a pod's address on an ENI.
pub fn has(eni: &NetworkInterface, address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            eni.secondary.contains(&address) || eni.prefixes.iter().any(|block| block.contains(&address))
        }
        IpAddr::V6(address) => eni.ipv6_prefixes.iter().any(|block| block.contains(&address)),
    }
}

/// A secondary address by itself, for somebody else's hand to take.
pub fn singly(address: IpAddr) -> Assigned {
    let IpAddr::V4(address) = address else { panic!("{address} is not a secondary address") };
    Assigned { addresses: vec![address], ..Assigned::default() }
}

/// ENIs with more than one call under way.
fn two_calls<S: Strategist>(node: &SimNode<S>) -> Vec<String> {
    let mut busy: BTreeSet<&EniId> = BTreeSet::new();
    let mut wrongs = Vec::new();
    for call in node.calls_under_way() {
        let eni = match call {
            CloudCall::Attach { eni, .. }
            | CloudCall::DeleteWithInstance { eni, .. }
            | CloudCall::SetSecurityGroups { eni, .. }
            | CloudCall::Delete { eni }
            | CloudCall::Assign { eni, supply: Supply::Addresses(_) | Supply::Prefixes(_) }
            | CloudCall::Unassign { eni, .. } => eni,
            // Of the other family, and never taken back.
            CloudCall::Assign { supply: Supply::Ipv6Prefixes(_), .. } => continue,
            CloudCall::Enis
            | CloudCall::MetadataEnis
            | CloudCall::VpcRanges
            | CloudCall::Subnets
            | CloudCall::Create(_)
            | CloudCall::Detach { .. } => continue,
        };
        if !busy.insert(eni) {
            wrongs.push(format!("two calls under way on {eni}"));
        }
    }
    wrongs
}
