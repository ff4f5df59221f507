//! A container runtime as the CNI specification allows it to be: it repeats, gives up, loses replies when the
//! daemon dies, and always deletes what it is not sure of.

use std::collections::BTreeMap;
use std::net::IpAddr;

use enid_core::event::{Answer, Nics, Ticket};
use enid_core::ids::{Attachment, PodName};
use enid_core::time::Timestamp;
use enid_engine::ports::Strategist;
use enid_sim::node::{SimNode, attachment};

/// What the runtime knows of one sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Sandbox {
    /// ADD is out.
    Adding(Ticket),
    /// ADD succeeded.
    Running(IpAddr),
    /// DEL is out.
    Deleting(Ticket),
    /// DEL is due: the ADD failed, or nobody knows.
    Unsure,
}

/// The runtime of one node.
#[derive(Clone, Debug, Default)]
pub struct Runtime {
    sandboxes: BTreeMap<String, Sandbox>,
    started: u64,
}

impl Runtime {
    /// Starts a sandbox for one of `pods` pods. Its predecessor of the same pod may still be around.
    pub fn start<S: Strategist>(&mut self, node: &mut SimNode<S>, pod: u64) {
        self.start_with(node, pod, Nics::One);
    }

    /// The same for a pod that wants so many interfaces.
    pub fn start_with<S: Strategist>(&mut self, node: &mut SimNode<S>, pod: u64, nics: Nics) {
        self.started += 1;
        let name = format!("sandbox{}", self.started);
        let pod = PodName { namespace: "default".to_owned(), name: format!("pod{pod}") };
        let ticket = node.add_with(attachment(&name), Some(pod), nics);
        self.sandboxes.insert(name, Sandbox::Adding(ticket));
    }

    /// Ends one of the sandboxes, running or not; says whether there was one.
    pub fn end<S: Strategist>(&mut self, node: &mut SimNode<S>, which: u64) -> bool {
        let count = u64::try_from(self.sandboxes.len()).unwrap_or(u64::MAX);
        let at = usize::try_from(which.checked_rem(count).unwrap_or(0)).unwrap_or(0);
        let Some((name, sandbox)) = self.sandboxes.iter_mut().nth(at) else { return false };
        *sandbox = Sandbox::Deleting(node.del_issued(attachment(name), None));
        true
    }

    /// Repeats the ADD of one running sandbox, as a runtime may that lost its notes.
    pub fn add_again<S: Strategist>(&mut self, node: &mut SimNode<S>, which: u64) {
        let running: Vec<String> = self.running().map(|(name, _)| name.to_owned()).collect();
        let count = u64::try_from(running.len()).unwrap_or(u64::MAX);
        let at = usize::try_from(which.checked_rem(count).unwrap_or(0)).unwrap_or(0);
        if let Some(name) = running.get(at) {
            let ticket = node.add_sandbox(attachment(name), None);
            self.sandboxes.insert(name.clone(), Sandbox::Adding(ticket));
        }
    }

    /// A DEL that a daemon which was away should have had before any of these sandboxes began.
    pub fn late_del<S: Strategist>(&mut self, node: &mut SimNode<S>, issued: Timestamp) {
        for (name, sandbox) in &self.sandboxes {
            if matches!(sandbox, Sandbox::Running(_)) {
                node.del_issued(attachment(name), Some(issued));
            }
        }
    }

    /// Takes answers in, and asks again where the runtime would.
    pub fn listen<S: Strategist>(&mut self, node: &mut SimNode<S>) {
        for (name, sandbox) in &mut self.sandboxes {
            let answered = match sandbox {
                Sandbox::Adding(ticket) => match node.answer(*ticket) {
                    Some(Answer::Added(holder)) => Sandbox::Running(holder.wiring.key()),
                    Some(Answer::TryLater(_) | Answer::Refused(_) | Answer::Deleted) => Sandbox::Unsure,
                    None => continue,
                },
                Sandbox::Deleting(ticket) => match node.answer(*ticket) {
                    Some(Answer::Added(_) | Answer::TryLater(_) | Answer::Refused(_)) => Sandbox::Unsure,
                    Some(Answer::Deleted) | None => continue,
                },
                Sandbox::Running(_) | Sandbox::Unsure => continue,
            };
            *sandbox = match answered {
                Sandbox::Unsure => Sandbox::Deleting(node.del_issued(attachment(name), None)),
                Sandbox::Adding(_) | Sandbox::Running(_) | Sandbox::Deleting(_) => answered,
            };
        }
        self.sandboxes.retain(|_, sandbox| match sandbox {
            Sandbox::Deleting(ticket) => node.answer(*ticket) != Some(&Answer::Deleted),
            Sandbox::Adding(_) | Sandbox::Running(_) | Sandbox::Unsure => true,
        });
    }

    /// The daemon died: replies are lost, and what was asked is deleted or asked again.
    pub fn disconnect<S: Strategist>(&mut self, node: &mut SimNode<S>) {
        for (name, sandbox) in &mut self.sandboxes {
            let lost = match sandbox {
                Sandbox::Adding(ticket) | Sandbox::Deleting(ticket) => node.answer(*ticket).is_none(),
                Sandbox::Running(_) | Sandbox::Unsure => false,
            };
            if lost {
                *sandbox = Sandbox::Deleting(node.del_issued(attachment(name), None));
            }
        }
    }

    /// Sandboxes that run, with their addresses.
    pub fn running(&self) -> impl Iterator<Item = (&str, IpAddr)> {
        self.sandboxes.iter().filter_map(|(name, sandbox)| match sandbox {
            Sandbox::Running(address) => Some((name.as_str(), *address)),
            Sandbox::Adding(_) | Sandbox::Deleting(_) | Sandbox::Unsure => None,
        })
    }

    /// Sandboxes that are not deleted.
    pub fn count(&self) -> usize {
        self.sandboxes.len()
    }

    /// The attachment of a sandbox by name.
    pub fn attachment(name: &str) -> Attachment {
        attachment(name)
    }
}
