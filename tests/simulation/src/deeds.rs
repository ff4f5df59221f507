//! What must hold of everything that a daemon does, at the moment it does it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use enid_core::budget::Class;
use enid_core::cloud::{Assigned, CloudErrorKind, NewEni, Supply};
use enid_core::event::{Answer, CloudCall, CloudReply, Effect, Event, Ticket};
use enid_core::ids::{Attachment, EniId};
use enid_core::lease::addresses_of;
use enid_core::time::Timestamp;
use enid_engine::ports::Strategist;
use enid_sim::ec2::interface::NetworkInterface;
use enid_sim::node::SimNode;
use enid_sim::witness::{Deed, What};

use crate::ledger::Ledger;
use crate::runtime::Runtime;
use crate::safety::{Rule, Wrong, has, ours, uses};
use crate::spending::Spending;

const INSTANCE: &str = "node.k8s.amazonaws.com/instance_id";
const CREATED: &str = "node.k8s.amazonaws.com/createdAt";
/// An unattached ENI that another node may yet be about to attach.
const YOUNG: Duration = Duration::from_secs(600);

/// Judges a daemon's deeds, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    ledger: Ledger,
    spending: Spending,
    /// ENIs that the daemon has been told are not for pods.
    unmanaged: BTreeSet<EniId>,
    /// DELs that are meant whenever their pod was added.
    deleting: BTreeMap<Ticket, Attachment>,
    /// Since when somebody else's pods have been in the kernel, by the world's clock.
    strangers: BTreeMap<IpAddr, Timestamp>,
    tokens: BTreeSet<String>,
    counts: BTreeMap<&'static str, u64>,
    /// Whether a daemon died since the last look at this with more in its memory than in its journal.
    forgot: bool,
}

impl Judge {
    pub(crate) fn counts(&self) -> &BTreeMap<&'static str, u64> {
        &self.counts
    }

    /// Whether a daemon died that had not been able to write down what it did, and said so: asked once for each.
    pub(crate) fn take_forgot(&mut self) -> bool {
        std::mem::take(&mut self.forgot)
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    pub(crate) fn judge<S: Strategist>(
        &mut self,
        node: &mut SimNode<S>,
        runtime: &Runtime,
        wrongs: &mut Vec<Wrong>,
    ) {
        if !node.is_watched() {
            self.ledger = Ledger::of(&node.journal);
        }
        for deed in node.deeds() {
            match &deed.what {
                What::Effect(effect) => self.effect(effect, &deed, node, runtime, wrongs),
                What::Event(event) => {
                    if let Event::Reconfigured(config) = &**event {
                        self.spending.share(&config.budget, deed.at);
                    }
                    if let Event::NodesCounted { nodes } = &**event {
                        self.spending.count(*nodes, deed.at);
                    }
                    let primary = &node.state().identity().primary_eni;
                    self.event(event, primary);
                }
                What::Died => {
                    self.count("crashes");
                    if deed.journal_behind {
                        self.forgot = true;
                        self.unmanaged.clear();
                    }
                    self.spending.begin_anew();
                    self.deleting.clear();
                }
                What::Compacted => self.ledger = Ledger::of(&node.journal),
            }
        }
        let world = node.world_time();
        self.strangers.retain(|address, _| node.kernel.pods.get(address).is_some_and(|pod| pod.foreign));
        for address in node.kernel.pods.values().filter(|pod| pod.foreign).flat_map(|pod| pod.leased()) {
            self.strangers.entry(address).or_insert(world);
        }
        for pod in ours(node) {
            if !self.ledger.names(&pod.wiring) && !node.journal_is_behind() {
                let what = format!("the kernel has {}, which the journal does not name", pod.key());
                wrongs.push(Wrong::new(Rule::KernelInJournal, what));
            }
        }
        let unknown: Vec<&EniId> = node
            .ec2
            .interfaces()
            .filter(|eni| is_for(eni, node) && !self.ledger.has_eni(&eni.id))
            .map(|eni| &eni.id)
            .collect();
        if unknown.len() > self.ledger.creating() && !node.was_lied_to() {
            let what = format!("{unknown:?} were created and the journal names none of them");
            wrongs.push(Wrong::new(Rule::EniInJournal, what));
        }
    }

    fn event(&mut self, event: &Event, primary: &EniId) {
        match event {
            // A view without the primary ENI is not one of this node.
            Event::Cloud { result: Ok(CloudReply::Enis(enis)), .. }
                if enis.iter().any(|eni| eni.id == *primary) =>
            {
                for eni in enis {
                    if eni.managed {
                        self.unmanaged.remove(&eni.id);
                    } else {
                        self.unmanaged.insert(eni.id.clone());
                    }
                }
            }
            Event::Cloud { result: Err(error), .. } => match error.kind {
                CloudErrorKind::Throttled => self.count("throttled calls"),
                CloudErrorKind::Unavailable => self.count("lost replies"),
                CloudErrorKind::NoFreeAddresses
                | CloudErrorKind::NoFreeBlocks
                | CloudErrorKind::LimitExceeded
                | CloudErrorKind::Conflict
                | CloudErrorKind::Gone
                | CloudErrorKind::Denied
                | CloudErrorKind::Rejected => self.count("refused calls"),
                CloudErrorKind::NotAsked => {}
            },
            Event::Del { ticket, attachment, issued: None } => {
                self.deleting.insert(*ticket, attachment.clone());
            }
            Event::KernelSeen { result: Ok(view), .. } if !view.drifts.is_empty() => {
                self.count("looks that found drift");
            }
            Event::KernelSeen { result: Err(_), .. }
            | Event::Repaired { result: Err(_), .. }
            | Event::Wired { result: Err(_), .. }
            | Event::Unwired { result: Err(_), .. }
            | Event::NodeSetUp { result: Err(_), .. } => self.count("kernel errors"),
            Event::Cloud { .. }
            | Event::Del { .. }
            | Event::KernelSeen { .. }
            | Event::Repaired { .. }
            | Event::Wired { .. }
            | Event::Unwired { .. }
            | Event::NodeSetUp { .. }
            | Event::Add { .. }
            | Event::Check { .. }
            | Event::Gc { .. }
            | Event::EniSetUp { .. }
            | Event::EniTornDown { .. }
            | Event::WarmPoolDecided(_)
            | Event::SubnetsDecided(_)
            | Event::MaxPodsDecided(_)
            | Event::Reconfigured(_)
            | Event::NodesCounted { .. }
            | Event::StrategyReplaced
            | Event::Tick
            | Event::Stop => {}
        }
    }

    fn effect<S: Strategist>(
        &mut self,
        effect: &Effect,
        deed: &Deed,
        node: &SimNode<S>,
        runtime: &Runtime,
        wrongs: &mut Vec<Wrong>,
    ) {
        let mut wrong = |rule, what: String| wrongs.push(Wrong::new(rule, what));
        match effect {
            Effect::Journal(records) => self.ledger.read(records),
            Effect::Wire { wiring, .. } if !deed.journal_behind && !self.ledger.names(wiring) => {
                wrong(Rule::JournalFirst, format!("{} is wired and not reserved", wiring.key()));
            }
            Effect::RepairPod { pod, .. } => {
                self.count("repairs");
                if !self.ledger.names(&pod.wiring) && !deed.journal_behind {
                    let key = pod.wiring.key();
                    wrong(Rule::JournalFirst, format!("{key} is mended and not in the journal"));
                }
            }
            Effect::Unwire { wiring, .. } => {
                if let Some((name, _)) = runtime.running().find(|(_, address)| *address == wiring.key()) {
                    let whose = node.kernel.pods.get(&wiring.key());
                    if whose.is_some_and(|pod| pod.first.host_veth == wiring.first.host_veth) {
                        wrong(Rule::PodsStay, format!("{name} runs and is unwired"));
                    }
                }
            }
            Effect::TearDownEni { wiring, .. } => {
                self.nothing_in_use(node, &mut wrong, "torn down", |address| {
                    is_on(node, &wiring.eni, address)
                });
            }
            Effect::Answer { answer: Answer::Added(holder), .. } if !deed.journal_behind => {
                if !self.ledger.has_bound(holder) {
                    wrong(Rule::AnswerLast, format!("{} was told and not bound", holder.attachment));
                }
            }
            Effect::Answer { ticket, answer: Answer::Deleted } if !deed.journal_behind => {
                let meant = self.deleting.remove(ticket);
                if let Some(attachment) = meant.filter(|attachment| self.ledger.has_attachment(attachment)) {
                    wrong(Rule::AnswerLast, format!("{attachment} is said to be deleted and not released"));
                }
            }
            Effect::Cloud { call, .. } if !deed.journal_behind => {
                self.call(call, deed.at, node, &mut wrong);
                self.spend(call, deed.at, node, &mut wrong);
            }
            Effect::Wire { .. }
            | Effect::Cloud { .. }
            | Effect::Answer { .. }
            | Effect::Check { .. }
            | Effect::LookAtKernel { .. }
            | Effect::RemoveStray { .. }
            | Effect::SetUpEni { .. }
            | Effect::SetUpNode { .. }
            | Effect::AskMaxPods(_)
            | Effect::AskWarmPool(_)
            | Effect::AskSubnets { .. } => {}
        }
    }

    fn spend<S: Strategist>(
        &mut self,
        call: &CloudCall,
        at: Timestamp,
        node: &SimNode<S>,
        wrong: &mut impl FnMut(Rule, String),
    ) {
        let Some(class) = Class::of(call.api()) else { return };
        self.count("calls to EC2");
        if self.counts.get("calls to EC2") == Some(&1) {
            self.spending.share(&node.state().config().budget, at);
        }
        if let Some(beyond) = self.spending.spend(class, at) {
            wrong(Rule::Budget, format!("{} is {beyond:.2} calls beyond the share", call.name()));
        }
    }

    fn call<S: Strategist>(
        &mut self,
        call: &CloudCall,
        at: Timestamp,
        node: &SimNode<S>,
        wrong: &mut impl FnMut(Rule, String),
    ) {
        let config = node.state().config();
        let touched = match call {
            CloudCall::Attach { eni, .. }
            | CloudCall::DeleteWithInstance { eni, .. }
            | CloudCall::SetSecurityGroups { eni, .. }
            | CloudCall::Delete { eni }
            | CloudCall::Assign { eni, .. }
            | CloudCall::Unassign { eni, .. } => Some(eni.clone()),
            CloudCall::Detach { attachment } => {
                let there = |eni: &&NetworkInterface| {
                    eni.attachment.as_ref().is_some_and(|here| here.id == *attachment)
                };
                node.ec2.interfaces().find(there).map(|eni| eni.id.clone())
            }
            CloudCall::Enis
            | CloudCall::MetadataEnis
            | CloudCall::VpcRanges
            | CloudCall::Subnets
            | CloudCall::Orphans
            | CloudCall::Create(_) => None,
        };
        if let Some(eni) = touched.as_ref().filter(|eni| self.unmanaged.contains(eni)) {
            wrong(Rule::HandsOff, format!("{} touches {eni}, which is not for pods", call.name()));
        }
        match call {
            CloudCall::Create(new) => self.create(new, node, wrong),
            CloudCall::Assign { supply: Supply::Addresses(_) | Supply::Prefixes(_), eni }
                if config.cordoned =>
            {
                wrong(Rule::Cordon, format!("{eni} grows on a cordoned node"));
            }
            CloudCall::Unassign { eni, give_back } => {
                let unwritten = given(give_back).find(|address| match address {
                    IpAddr::V4(address) => !self.ledger.is_returning(*address),
                    IpAddr::V6(_) => true,
                });
                if let Some(address) = unwritten {
                    let what = format!("{address} goes back and the journal does not say so");
                    wrong(Rule::JournalFirst, what);
                }
                let going: BTreeSet<IpAddr> = given(give_back).collect();
                let on = format!("given back from {eni}");
                self.nothing_in_use(node, wrong, &on, |address| going.contains(&address));
            }
            CloudCall::Detach { .. } | CloudCall::Delete { .. } => {
                let Some(eni) = touched else { return };
                self.nothing_in_use(node, wrong, "gone with its ENI", |address| is_on(node, &eni, address));
                let known = node.ec2.interfaces().find(|known| known.id == eni);
                if let Some(known) = known.filter(|known| !may_go(known, node, at)) {
                    let what = format!("{} of {}, which is not this node's", call.name(), known.id);
                    wrong(Rule::HandsOff, what);
                }
            }
            CloudCall::Enis
            | CloudCall::MetadataEnis
            | CloudCall::VpcRanges
            | CloudCall::Subnets
            | CloudCall::Orphans
            | CloudCall::Attach { .. }
            | CloudCall::DeleteWithInstance { .. }
            | CloudCall::SetSecurityGroups { .. }
            | CloudCall::Assign { .. } => {}
        }
    }

    fn create<S: Strategist>(
        &mut self,
        new: &NewEni,
        node: &SimNode<S>,
        wrong: &mut impl FnMut(Rule, String),
    ) {
        if !self.ledger.intends(new) {
            wrong(Rule::JournalFirst, format!("{} is created and not written down", new.client_token));
        }
        let config = node.state().config();
        if !self.tokens.insert(new.client_token.clone()) {
            return;
        }
        if config.cordoned {
            wrong(Rule::Cordon, format!("{} is created on a cordoned node", new.client_token));
        }
        let coming = node.calls_under_way().filter(|call| matches!(call, CloudCall::Create(_))).count();
        let enis = node.state().status(node.now()).enis.len() + coming;
        let most: u32 = node.instance_type().cards.iter().map(|card| card.max_enis).sum();
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        // An ENI that EC2 denied to have and that comes back takes a place that was given away; EC2 attaches no more.
        if enis > most && !node.was_lied_to() {
            wrong(Rule::Limits, format!("{enis} ENIs where {most} fit"));
        }
    }

    /// Nobody's address goes. Somebody else's pod counts from the look on that showed it.
    fn nothing_in_use<S: Strategist>(
        &self,
        node: &SimNode<S>,
        wrong: &mut impl FnMut(Rule, String),
        what: &str,
        goes: impl Fn(IpAddr) -> bool,
    ) {
        for pod in node.kernel.pods.values() {
            let since = self.strangers.get(&pod.key());
            let known = !pod.foreign || since.is_some_and(|since| node.kernel_known() > *since);
            if let Some(address) = uses(&pod.wiring, &goes).filter(|_| known) {
                wrong(Rule::NothingInUseGoes, format!("{address} is a pod's and is {what}"));
            }
        }
    }
}

/// The addresses of what is given back.
fn given(give_back: &Assigned) -> impl Iterator<Item = IpAddr> {
    let blocks = give_back.prefixes.iter().flat_map(|block| addresses_of(*block));
    give_back.addresses.iter().copied().chain(blocks).map(IpAddr::V4)
}

fn is_on<S: Strategist>(node: &SimNode<S>, eni: &EniId, address: IpAddr) -> bool {
    node.ec2.interfaces().any(|known| known.id == *eni && has(known, address))
}

/// Whether an ENI was made for this node's pods.
fn is_for<S: Strategist>(eni: &NetworkInterface, node: &SimNode<S>) -> bool {
    let made_for = eni.tags.get(INSTANCE).is_some_and(|instance| instance == node.instance().as_str());
    made_for && !was_taken_over(eni)
}

/// Whether somebody tagged an ENI as theirs.
pub(crate) fn was_taken_over(eni: &NetworkInterface) -> bool {
    eni.tags.get("node.k8s.amazonaws.com/no_manage").is_some_and(|value| value == "true")
}

/// Whether an ENI may be taken away: this node's own, or one that was made for pods, is attached to nothing and old.
fn may_go<S: Strategist>(eni: &NetworkInterface, node: &SimNode<S>, now: Timestamp) -> bool {
    let created = eni.tags.get(CREATED).and_then(|text| Timestamp::from_rfc3339(text));
    let old = created.is_none_or(|created| now.since(created) >= YOUNG);
    let ownerless = eni.tags.contains_key(INSTANCE) && eni.attachment.is_none() && old;
    is_for(eni, node) || ownerless || eni.description == format!("aws-K8S-{}", node.instance())
}
