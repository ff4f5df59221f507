//! A container runtime as the CNI specification allows it to be: it repeats, gives up, loses replies when the
//! daemon dies, forgets sandboxes, and deletes what it is not sure of.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

use enid_core::event::{Answer, Nics, Ticket};
use enid_core::ids::{Attachment, PodName};
use enid_core::time::Timestamp;
use enid_engine::ports::Strategist;
use enid_sim::node::{SimNode, attachment, netns_of};

/// Sandboxes that are gone and whose DEL may come once more.
const REMEMBERED: usize = 16;

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

/// What becomes of a sandbox that nobody deletes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Its namespace goes, and nobody asks for anything.
    Killed,
    /// Its processes go; the runtime has forgotten it, and its namespace stays.
    Forgotten,
}

/// The runtime of one node.
#[derive(Clone, Debug, Default)]
pub struct Runtime {
    sandboxes: BTreeMap<String, Sandbox>,
    gone: VecDeque<String>,
    spool: Vec<(String, Timestamp)>,
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
        let Some(name) = nth(self.sandboxes.keys(), which).cloned() else { return false };
        self.delete(node, &name);
        true
    }

    fn delete<S: Strategist>(&mut self, node: &mut SimNode<S>, name: &str) {
        let ticket = node.del_issued(attachment(name), None);
        self.sandboxes.insert(name.to_owned(), Sandbox::Deleting(ticket));
    }

    /// Repeats the ADD of one running sandbox, as a runtime may that lost its notes.
    pub fn add_again<S: Strategist>(&mut self, node: &mut SimNode<S>, which: u64) {
        if let Some(name) = self.running_name(which) {
            let ticket = node.add_sandbox(attachment(&name), None);
            self.sandboxes.insert(name, Sandbox::Adding(ticket));
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

    /// DELs come once more, of sandboxes that are being deleted and of some that went long ago.
    pub fn repeat_dels<S: Strategist>(&mut self, node: &mut SimNode<S>) {
        let deleting = self.sandboxes.iter().filter(|(_, sandbox)| matches!(sandbox, Sandbox::Deleting(_)));
        for name in deleting.map(|(name, _)| name).chain(self.gone.iter().rev()) {
            node.del_issued(attachment(name), None);
        }
    }

    /// One running sandbox is lost; says whether there was one.
    pub fn lose<S: Strategist>(&mut self, node: &mut SimNode<S>, which: u64, loss: Loss) -> bool {
        let Some(name) = self.running_name(which) else { return false };
        self.sandboxes.remove(&name);
        let path = netns_of(&attachment(&name));
        match loss {
            Loss::Killed => node.kernel.end_namespace(&path),
            Loss::Forgotten => {
                node.kernel.deserted.insert(path);
            }
        }
        true
    }

    /// One running sandbox is deleted while the daemon is away: it is told at its next start.
    pub fn spool_del<S: Strategist>(&mut self, node: &mut SimNode<S>, which: u64) {
        if let Some(name) = self.running_name(which) {
            self.sandboxes.remove(&name);
            node.kernel.end_namespace(&netns_of(&attachment(&name)));
            self.spool.push((name, node.now()));
        }
    }

    /// CNI GC with what the runtime knows, less `forgotten` of it, and with some that it does not have any more.
    pub fn collect<S: Strategist>(&mut self, node: &mut SimNode<S>, forgotten: u64) {
        let known = self.sandboxes.keys().skip(usize::try_from(forgotten).unwrap_or(usize::MAX));
        let valid: BTreeSet<_> = known
            .chain(&self.gone)
            .map(|name| attachment(name))
            .map(|attachment| (attachment.container, attachment.ifname))
            .collect();
        node.gc(attachment("any").network, valid);
    }

    /// CNI GC with what the runtime knows and nothing else.
    pub fn collect_exactly<S: Strategist>(&mut self, node: &mut SimNode<S>) {
        self.gone.clear();
        self.collect(node, 0);
    }

    /// Takes answers in, and asks again where the runtime would.
    pub fn listen<S: Strategist>(&mut self, node: &mut SimNode<S>) {
        let mut unsure = Vec::new();
        for (name, sandbox) in &mut self.sandboxes {
            let answered = match sandbox {
                Sandbox::Adding(ticket) => match node.answer(*ticket) {
                    Some(Answer::Added(holder)) => Sandbox::Running(holder.wiring.key()),
                    Some(
                        Answer::TryLater(_) | Answer::Refused(_) | Answer::Deleted | Answer::Collected { .. },
                    ) => Sandbox::Unsure,
                    None => continue,
                },
                Sandbox::Deleting(ticket) => match node.answer(*ticket) {
                    Some(
                        Answer::Added(_)
                        | Answer::TryLater(_)
                        | Answer::Refused(_)
                        | Answer::Collected { .. },
                    ) => Sandbox::Unsure,
                    Some(Answer::Deleted) | None => continue,
                },
                Sandbox::Running(_) | Sandbox::Unsure => continue,
            };
            if answered == Sandbox::Unsure {
                unsure.push(name.clone());
            }
            *sandbox = answered;
        }
        let mut ended = Vec::new();
        self.sandboxes.retain(|name, sandbox| match sandbox {
            Sandbox::Deleting(ticket) if node.answer(*ticket) == Some(&Answer::Deleted) => {
                ended.push(name.clone());
                false
            }
            Sandbox::Adding(_) | Sandbox::Running(_) | Sandbox::Deleting(_) | Sandbox::Unsure => true,
        });
        for name in ended {
            node.kernel.end_namespace(&netns_of(&attachment(&name)));
            self.gone.push_back(name);
            if self.gone.len() > REMEMBERED {
                self.gone.pop_front();
            }
        }
        for name in unsure {
            self.delete(node, &name);
        }
    }

    /// The daemon died: replies are lost, what was spooled is told, and what was asked is deleted or asked again.
    pub fn disconnect<S: Strategist>(&mut self, node: &mut SimNode<S>) {
        for (name, issued) in std::mem::take(&mut self.spool) {
            node.del_issued(attachment(&name), Some(issued));
        }
        let lost = |sandbox: &Sandbox| match sandbox {
            Sandbox::Adding(ticket) | Sandbox::Deleting(ticket) => node.answer(*ticket).is_none(),
            Sandbox::Running(_) | Sandbox::Unsure => false,
        };
        let lost = self.sandboxes.iter().filter(|(_, sandbox)| lost(sandbox));
        let lost: Vec<String> = lost.map(|(name, _)| name.clone()).collect();
        for name in lost {
            self.delete(node, &name);
        }
    }

    fn running_name(&self, which: u64) -> Option<String> {
        let running: Vec<&str> = self.running().map(|(name, _)| name).collect();
        nth(running.into_iter(), which).map(str::to_owned)
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

/// One of many, counted around.
fn nth<T>(all: impl ExactSizeIterator<Item = T>, which: u64) -> Option<T> {
    let mut all = all;
    let count = u64::try_from(all.len()).unwrap_or(u64::MAX);
    all.nth(usize::try_from(which.checked_rem(count)?).unwrap_or(usize::MAX))
}
