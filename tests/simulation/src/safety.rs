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
use enid_sim::kernel::Pod;
use enid_sim::node::SimNode;

use crate::deeds::Judge;
use crate::runtime::Runtime;

/// How much later than the journal a watch may see a release when the daemon dies right after it.
const UNSEEN: Duration = Duration::from_millis(10);

/// A rule that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// No address is two pods', and none is a pod's that is not the node's.
    OnePodPerAddress,
    /// What is done was written down before.
    JournalFirst,
    /// What is said to be done was written down before.
    AnswerLast,
    /// Every pod in the kernel is in the journal.
    KernelInJournal,
    /// Every ENI made for this node's pods is in the journal.
    EniInJournal,
    /// An address that a pod had is not used again before it cooled down.
    Cooling,
    /// Nothing that a pod uses goes back to EC2.
    NothingInUseGoes,
    /// Nothing that is somebody else's is touched.
    HandsOff,
    /// A pod that the runtime runs stays as it is.
    PodsStay,
    /// No more ENIs than there may be.
    Limits,
    /// A cordoned node does not grow.
    Cordon,
    /// No more calls than the node's share.
    Budget,
    /// One call at a time changes an ENI.
    OneCallPerEni,
    /// Once the world is well, everything comes to rest as it should be.
    Recovery,
    /// The daemon's own assertions hold.
    Assertion,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Which rule was broken.
    pub rule: Rule,
    /// How, for people.
    pub what: String,
}

impl Wrong {
    pub(crate) fn new(rule: Rule, what: impl Into<String>) -> Self {
        Self { rule, what: what.into() }
    }
}

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}: {}", self.rule, self.what)
    }
}

/// Watches one node.
#[derive(Debug, Default)]
pub struct Watch {
    judge: Judge,
    held: BTreeSet<IpAddr>,
    /// Held addresses that the kernel had at any moment: only they can have packets under way.
    wired: BTreeSet<IpAddr>,
    cold_until: BTreeMap<IpAddr, Timestamp>,
    /// How far the daemon's clock was ahead of the world's, in milliseconds; less than nothing when it was behind.
    ahead: i64,
    lives: u64,
}

impl Watch {
    /// The operator shortened or lengthened cooling: what cools already may be free sooner, never later.
    pub fn cooldown_changed(&mut self, now: Timestamp, cooldown: Duration) {
        for until in self.cold_until.values_mut() {
            *until = (*until).min(now + cooldown);
        }
    }

    /// What the daemon heard and did, counted by kind.
    pub fn counts(&self) -> &BTreeMap<&'static str, u64> {
        self.judge.counts()
    }

    /// What is wrong; empty when all is well.
    pub fn wrongs<S: Strategist>(&mut self, node: &mut SimNode<S>, runtime: &Runtime) -> Vec<Wrong> {
        let mut wrongs: Vec<Wrong> = Vec::new();
        let outrages = std::mem::take(&mut node.kernel.outrages);
        wrongs.extend(outrages.into_iter().map(|what| Wrong::new(Rule::OnePodPerAddress, what)));
        self.judge.judge(node, runtime, &mut wrongs);
        let died = self.lives != node.lives();
        if died {
            self.lives = node.lives();
            // A clock that stepped back does not freeze an address for longer than it cools.
            self.cooldown_changed(node.now(), node.state().config().cooldown);
        }
        let now = node.now();
        let mut states = BTreeMap::new();
        let mut held = BTreeSet::new();
        let mut attachments = BTreeSet::new();
        for lease in node.state().addresses(now) {
            if lease.attachment.is_some() {
                held.insert(lease.address);
            }
            let card = node.state().eni(&lease.eni).map(|eni| eni.seat.card);
            if let Some(attachment) = lease.attachment
                && !attachments.insert((attachment.clone(), lease.address.is_ipv4(), card))
            {
                let what = format!("{attachment} holds two addresses of one family on card {card:?}");
                wrongs.push(Wrong::new(Rule::OnePodPerAddress, what));
            }
            states.insert(lease.address, lease.state);
        }
        for pod in ours(node) {
            for address in pod.leased() {
                match states.get(&address) {
                    Some(&("reserved" | "bound" | "unbinding" | "quarantined")) => {}
                    other => {
                        let what = format!("the kernel has {address}, which is {other:?}");
                        wrongs.push(Wrong::new(Rule::OnePodPerAddress, what));
                    }
                }
            }
        }
        for (name, address) in runtime.running() {
            let Some(pod) = node.kernel.pods.get(&address) else {
                let what = format!("{name} runs with {address}, which the kernel does not have");
                wrongs.push(Wrong::new(Rule::PodsStay, what));
                continue;
            };
            for address in pod.leased() {
                if !is_here(node, address) {
                    let what = format!("{name} runs with {address}, which EC2 does not have here");
                    wrongs.push(Wrong::new(Rule::NothingInUseGoes, what));
                }
            }
        }
        self.wired.extend(ours(node).flat_map(|pod| pod.leased().collect::<Vec<_>>()));
        if self.judge.take_forgot() {
            // Releases that could not be written down, and were not said to be done, are undone.
            self.cold_until.retain(|address, _| !held.contains(address));
            self.held.extend(&held);
        }
        // A daemon that has just started does not know yet where pods may be.
        let newly = held.difference(&self.held).filter(|_| !died);
        for address in newly.filter(|address| !takes_pods(node, **address)) {
            let what = format!("{address} is on an ENI that takes no new pods");
            wrongs.push(Wrong::new(Rule::HandsOff, what));
        }
        self.watch_cooling(&held, node, &mut wrongs);
        wrongs.extend(two_calls(node));
        wrongs
    }

    fn watch_cooling<S: Strategist>(
        &mut self,
        held: &BTreeSet<IpAddr>,
        node: &SimNode<S>,
        wrongs: &mut Vec<Wrong>,
    ) {
        let now = node.now();
        let ahead = now.0.cast_signed().saturating_sub(node.world_time().0.cast_signed());
        let stepped = ahead.saturating_sub(std::mem::replace(&mut self.ahead, ahead)).max(0).cast_unsigned();
        for address in held.difference(&self.held) {
            if self.cold_until.get(address).is_some_and(|until| *until > now + UNSEEN) {
                let what = format!("{address} is held again before it cooled down");
                wrongs.push(Wrong::new(Rule::Cooling, what));
            }
        }
        for address in self.held.difference(held) {
            if self.wired.remove(address) {
                // What a daemon wrote down before its clock stepped forward cools by so much less.
                let until = (now + node.state().config().cooldown).0.saturating_sub(stepped);
                self.cold_until.insert(*address, Timestamp(until));
            }
        }
        self.cold_until.retain(|_, until| *until > now);
        for (address, until) in &self.cold_until {
            if *until > now + UNSEEN && !is_here(node, *address) {
                let what = format!("{address} is given back before it cooled down");
                wrongs.push(Wrong::new(Rule::Cooling, what));
            }
        }
        self.held.clone_from(held);
    }
}

/// The pods in the kernel that this daemon, or one before it, wired.
pub(crate) fn ours<S: Strategist>(node: &SimNode<S>) -> impl Iterator<Item = &Pod> {
    node.kernel.pods.values().filter(|pod| !pod.foreign)
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

/// Addresses of a pod that are somebody's in the VPC.
pub(crate) fn uses(pod: &PodWiring, taken: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
    pod.leased().find(|address| taken(*address))
}

/// ENIs with more than one call under way.
fn two_calls<S: Strategist>(node: &SimNode<S>) -> Vec<Wrong> {
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
            | CloudCall::Orphans
            | CloudCall::Create(_)
            | CloudCall::Detach { .. } => continue,
        };
        if !busy.insert(eni) {
            wrongs.push(Wrong::new(Rule::OneCallPerEni, format!("two calls under way on {eni}")));
        }
    }
    wrongs
}
