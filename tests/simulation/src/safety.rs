//! What must hold after every single event, whatever goes wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use enid_core::event::CloudCall;
use enid_core::ids::EniId;
use enid_core::time::Timestamp;
use enid_engine::ports::Strategist;
use enid_sim::node::SimNode;

use crate::runtime::Runtime;

/// How much later than the journal a watch may see a release when the daemon dies right after it.
const UNSEEN: Duration = Duration::from_millis(10);

/// Watches one node.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    held: BTreeSet<Ipv4Addr>,
    /// Held addresses that the kernel had at any moment: only they can have packets under way.
    wired: BTreeSet<Ipv4Addr>,
    cold_until: BTreeMap<Ipv4Addr, Timestamp>,
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
            if let Some(attachment) = lease.attachment
                && !attachments.insert(attachment.clone())
            {
                wrongs.push(format!("{attachment} holds two addresses"));
            }
            states.insert(lease.address, lease.state);
        }
        for address in node.kernel.pods.keys() {
            match states.get(address) {
                Some(&("reserved" | "bound" | "unbinding" | "quarantined")) => {}
                other => wrongs.push(format!("the kernel has {address}, which is {other:?}")),
            }
        }
        for (name, address) in runtime.running() {
            if !node.kernel.pods.contains_key(&address) {
                wrongs.push(format!("{name} runs with {address}, which the kernel does not have"));
            }
            if !node.ec2.interfaces_of(node.instance()).any(|eni| eni.secondary.contains(&address)) {
                wrongs.push(format!("{name} runs with {address}, which EC2 does not have here"));
            }
        }
        self.wired.extend(node.kernel.pods.keys());
        self.watch_cooling(&held, node, &mut wrongs);
        wrongs.extend(two_calls(node));
        wrongs
    }

    fn watch_cooling<S: Strategist>(
        &mut self,
        held: &BTreeSet<Ipv4Addr>,
        node: &SimNode<S>,
        wrongs: &mut Vec<String>,
    ) {
        let now = node.now();
        for address in held.difference(&self.held) {
            if self.cold_until.get(address).is_some_and(|until| *until > now + UNSEEN) {
                wrongs.push(format!("{address} is held again before it cooled down"));
            }
        }
        for address in self.held.difference(held) {
            if self.wired.remove(address) {
                self.cold_until.insert(*address, now + node.state().config().cooldown);
            }
        }
        self.held.clone_from(held);
    }
}

/// ENIs with more than one call under way.
fn two_calls<S: Strategist>(node: &SimNode<S>) -> Vec<String> {
    let mut busy: BTreeSet<&EniId> = BTreeSet::new();
    let mut wrongs = Vec::new();
    for call in node.calls_under_way() {
        let eni = match call {
            CloudCall::Attach { eni, .. }
            | CloudCall::DeleteWithInstance { eni, .. }
            | CloudCall::Delete { eni }
            | CloudCall::Assign { eni, .. }
            | CloudCall::Unassign { eni, .. } => eni,
            CloudCall::Enis | CloudCall::Subnets | CloudCall::Create(_) | CloudCall::Detach { .. } => {
                continue;
            }
        };
        if !busy.insert(eni) {
            wrongs.push(format!("two calls under way on {eni}"));
        }
    }
    wrongs
}
