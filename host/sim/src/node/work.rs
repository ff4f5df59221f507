//! Effects performed on the models, and the kernel's work.

use std::net::IpAddr;
use std::time::Duration;

use enid_core::cloud::{CloudError, CloudErrorKind};
use enid_core::event::{Answer, Effect, Event, KernelView, KernelWanted, Refusal};
use enid_core::wiring::{PodLink, PodWiring};
use enid_engine::ports::Strategist;
use enid_engine::run::in_order;

use super::{Coming, KernelWork, SimNode};
use crate::ec2::interface::{AttachmentState, NetworkInterface};
use crate::kernel::{Pod, take_one};
use crate::witness::What;

/// What is said while the journal takes nothing more.
const FULL: &str = "the journal cannot be written: no space left";

impl<S: Strategist> SimNode<S> {
    pub(super) fn perform_one(&mut self, effect: Effect) {
        match effect {
            Effect::Journal(records) => {
                if self.faults.journal_full {
                    self.journal_behind = true;
                } else if self.journal_behind {
                    // Memory knows these records already.
                    self.journal = self.state.records();
                    self.journal_behind = false;
                    self.note(|| What::Compacted);
                } else {
                    self.journal.extend(records);
                }
            }
            Effect::Wire { op, .. } if self.journal_behind => {
                let result = Err(FULL.to_owned());
                self.later(Duration::ZERO, Coming::Event(Event::Wired { op, result }));
            }
            Effect::Wire { op, ticket, wiring } => {
                let netns = self.namespaces.get(&ticket).cloned();
                self.kernel_work(KernelWork::Wire { op, wiring, netns });
            }
            Effect::Unwire { op, wiring } => self.kernel_work(KernelWork::Unwire { op, wiring }),
            Effect::RepairPod { op, pod } => self.kernel_work(KernelWork::Repair { op, pod }),
            Effect::RemoveStray { address } => self.kernel_work(KernelWork::RemoveStray { address }),
            Effect::SetUpEni { op, wiring } => self.kernel_work(KernelWork::SetUp { op, wiring }),
            Effect::TearDownEni { op, wiring } => {
                self.kernel_work(KernelWork::TearDown { op, eni: wiring.eni });
            }
            Effect::SetUpNode { op, wiring } => self.kernel_work(KernelWork::Node { op, wiring }),
            Effect::LookAtKernel { op, wanted } => {
                let found = self.kernel.looks_are_stale.then(|| (self.world_time(), self.look(&wanted)));
                let work = KernelWork::Look { op, wanted, found };
                self.later(self.kernel.look_takes, Coming::Kernel(work));
            }
            Effect::Check { ticket, wiring } => {
                let address = wiring.key();
                let whole = |pod: &Pod| pod.wiring == wiring && pod.lacks.is_empty();
                let right = self.kernel.pods.get(&address).is_some_and(whole);
                let why = "the kernel differs".to_owned();
                let drift = Answer::Refused(Refusal::Kernel { address, why });
                self.answers.insert(ticket, if right { Answer::Deleted } else { drift });
            }
            Effect::Answer { ticket, answer: Answer::Added(_) | Answer::Deleted } if self.journal_behind => {
                let why = FULL.to_owned();
                self.answers.insert(ticket, Answer::Refused(Refusal::Journal { why }));
            }
            Effect::Answer { ticket, answer } => {
                self.namespaces.remove(&ticket);
                self.answers.insert(ticket, answer);
            }
            Effect::Cloud { op, call } if self.journal_behind && call.api().changes() => {
                let (call, kind) = (call.name().to_owned(), CloudErrorKind::NotAsked);
                let result = Err(CloudError { call, kind, message: FULL.to_owned() });
                self.later(Duration::ZERO, Coming::Event(Event::Cloud { op, result }));
            }
            Effect::Cloud { op, call } => {
                let latency = self.call_takes(&call);
                self.under_way.insert(op, call.clone());
                let there = latency / 2;
                let request =
                    Coming::Request { op, call: Box::new(call), life: self.life, back: latency - there };
                self.later(there, request);
            }
            Effect::AskWarmPool(snapshot) => {
                let decision = self.strategist.warm_pool(&snapshot);
                self.later(Duration::ZERO, Coming::Event(Event::WarmPoolDecided(decision)));
            }
            Effect::AskMaxPods(snapshot) => {
                let decision = self.strategist.max_pods(&snapshot);
                self.later(Duration::ZERO, Coming::Event(Event::MaxPodsDecided(decision)));
            }
            Effect::AskSubnets { snapshot, subnets } => {
                let decision = in_order(self.strategist.subnets(&snapshot), &subnets);
                self.later(Duration::ZERO, Coming::Event(Event::SubnetsDecided(decision)));
            }
        }
    }

    fn kernel_work(&mut self, work: KernelWork) {
        self.later(self.kernel.takes, Coming::Kernel(work));
    }

    /// What a look at the kernel finds now.
    pub fn look(&self, wanted: &KernelWanted) -> KernelView {
        let enis = || self.ec2.interfaces_of(&self.instance).filter(|eni| eni.is_plugged());
        self.kernel
            .look(wanted, |id| !self.kernel.without_link.contains(id) && enis().any(|eni| eni.id == *id))
    }

    /// Does work in the kernel and says what comes of it.
    pub(super) fn work(&mut self, work: KernelWork) -> Option<Event> {
        Some(match work {
            KernelWork::Wire { op, wiring, netns } => {
                let outrages = self.judge(&wiring);
                let result = self.kernel.wire(wiring, netns);
                if result.is_ok() {
                    self.kernel.outrages.extend(outrages);
                }
                Event::Wired { op, result }
            }
            KernelWork::Unwire { op, wiring } => Event::Unwired { op, result: self.kernel.unwire(&wiring) },
            KernelWork::Repair { op, pod } => {
                let outrages = self.judge(&pod.wiring);
                let result = self.kernel.repair(&pod);
                if result.is_ok() {
                    self.kernel.outrages.extend(outrages);
                }
                Event::Repaired { op, result }
            }
            KernelWork::RemoveStray { address } => {
                self.kernel.remove_stray(address);
                return None;
            }
            KernelWork::SetUp { op, wiring } => {
                let attached = self.ec2.interfaces_of(&self.instance).any(|known| {
                    let here = known.attachment.as_ref();
                    known.id == wiring.eni && here.is_some_and(|at| at.state == AttachmentState::Attached)
                });
                let there = attached && self.kernel.link_appears(&wiring.eni);
                if there {
                    self.kernel.set_up(wiring);
                }
                Event::EniSetUp { op, result: there.then_some(()).ok_or(None) }
            }
            KernelWork::TearDown { op, eni } => {
                self.kernel.tear_down(&eni);
                Event::EniTornDown { op, result: Ok(()) }
            }
            KernelWork::Node { op, wiring } => {
                Event::NodeSetUp { op, result: self.kernel.set_up_node(*wiring) }
            }
            KernelWork::Look { op, wanted, found } => {
                if take_one(&mut self.kernel.refuse_looks) {
                    return Some(Event::KernelSeen { op, result: Err("netlink says no".to_owned()) });
                }
                let (at, view) = found.unwrap_or_else(|| (self.world_time(), self.look(&wanted)));
                self.kernel_known = at;
                let view = self.kernel.views.pop_front().unwrap_or(view);
                Event::KernelSeen { op, result: Ok(view) }
            }
        })
    }

    /// What must never be asked for about a wiring. The kernel itself keeps others' pods from harm.
    fn judge(&self, wiring: &PodWiring) -> Vec<String> {
        let key = wiring.key();
        let ours = || self.kernel.pods.iter().filter(|(_, pod)| !pod.foreign);
        let others = || ours().filter(|(at, _)| **at != key).map(|(_, pod)| pod);
        let mut outrages = Vec::new();
        if let Some((_, other)) = ours().find(|(at, _)| **at == key)
            && other.first.host_veth != wiring.first.host_veth
        {
            let (new, old) = (&wiring.first.host_veth, &other.first.host_veth);
            outrages.push(format!("{key} wired to {new} while {old} has it"));
        }
        for link in wiring.links() {
            let shared = |other: &PodLink| other.host_veth == link.host_veth;
            if others().flat_map(|pod| pod.links()).any(shared) {
                outrages.push(format!("{} is the link of two pods", link.host_veth));
            }
            for (address, _) in link.addresses() {
                let has = |other: &PodLink| other.addresses().any(|(taken, _)| taken == address);
                if others().flat_map(|pod| pod.links()).any(has) {
                    outrages.push(format!("{address} wired to two pods"));
                }
            }
        }
        for address in wiring.leased() {
            let here = |eni: &NetworkInterface| match address {
                IpAddr::V4(address) => {
                    eni.secondary.contains(&address) || eni.prefixes.iter().any(|net| net.contains(&address))
                }
                IpAddr::V6(address) => eni.ipv6_prefixes.iter().any(|net| net.contains(&address)),
            };
            if !self.ec2.interfaces_of(&self.instance).any(here) {
                outrages.push(format!("{address} wired although EC2 does not have it here"));
            }
        }
        outrages
    }
}
