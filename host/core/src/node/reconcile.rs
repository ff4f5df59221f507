//! Looks at the kernel and what they lead to: drift is mended, addresses that two views disagree about leave service,
//! pods without a sandbox are let go, and GC releases what the runtime does not know.
//!
//! A look takes time, and work on pods and ENIs goes on meanwhile. What changed after the look was asked for is
//! judged by the next one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use super::{LOOKS_APART, NodeState, PodWork, delay};
use crate::budget::Class;
use crate::eni::{Eni, Phase};
use crate::event::{
    Answer, Drift, Effect, KernelView, KernelWanted, OpId, Part, Record, Refusal, Ticket, WantedPod,
};
use crate::ids::{Attachment, ContainerId, EniId, IfName, NetworkName};
use crate::lease::{Lease, LeaseState};
use crate::report::Quarantine;
use crate::time::Timestamp;

/// How often the kernel is looked at when nothing asks for it sooner.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// How soon it is looked at again after something was mended, to see that it was.
const SEE_AGAIN: Duration = Duration::from_secs(5);
/// GCs that may be under way at once; a runtime sends one at a time.
const MAX_COLLECTIONS: usize = 8;
/// How soon looks are asked for again that something waits for to be given back; twice as late each time in vain.
const SEEK_AGAIN: Duration = Duration::from_secs(4);
/// How old a view may be on whose word something is given back, where EC2 may be looked at as often.
const FRESH: Duration = Duration::from_secs(120);

/// The looks at the kernel, and what waits for one.
#[derive(Debug)]
pub(super) struct Reconcile {
    due: Timestamp,
    looking: Option<Look>,
    /// When the last look that came in was asked for; until there is one no address is given out.
    seen: Option<Timestamp>,
    failures: u32,
    /// Why the last look could not be had.
    refusal: String,
    /// What the last look found.
    last_found: Vec<Drift>,
    /// What the last look found and nobody has mended since.
    drifts: Vec<Drift>,
    found: u64,
    repaired: u64,
    /// Addresses with rules that nobody uses, as the last look found.
    strays: BTreeSet<IpAddr>,
    collections: Vec<Collection>,
    /// When looks were last asked for that something waits for to be given back.
    sought: Timestamp,
    /// How long they are not asked for again.
    seek_after: Duration,
}

/// A look under way.
#[derive(Clone, Debug)]
struct Look {
    op: OpId,
    asked: Timestamp,
    /// The pods that it looks at, by the address that stands for each.
    pods: BTreeSet<IpAddr>,
}

/// A GC under way.
#[derive(Debug)]
struct Collection {
    ticket: Ticket,
    network: NetworkName,
    valid: BTreeSet<(ContainerId, IfName)>,
    asked: Timestamp,
    progress: Progress,
}

/// How far a GC has come.
#[derive(Debug)]
enum Progress {
    /// The kernel has yet to be seen.
    Waiting,
    /// Pods are being unwired.
    Releasing {
        pending: BTreeSet<IpAddr>,
        released: u32,
        failed: Vec<String>,
        kept: Vec<(Attachment, Quarantine)>,
    },
}

impl Reconcile {
    pub(super) fn starting(now: Timestamp) -> Self {
        Self {
            due: now,
            looking: None,
            seen: None,
            failures: 0,
            refusal: String::new(),
            last_found: Vec::new(),
            drifts: Vec::new(),
            found: 0,
            repaired: 0,
            strays: BTreeSet::new(),
            collections: Vec::new(),
            sought: Timestamp(0),
            seek_after: SEEK_AGAIN,
        }
    }

    /// When the kernel is looked at next; nothing while it is being looked at.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.looking.is_none().then_some(self.due)
    }

    pub(super) fn is_settled(&self) -> bool {
        self.has_begun() && self.looking.is_none() && self.collections.is_empty()
    }

    /// Whether a look came in since the daemon started.
    pub(super) fn has_begun(&self) -> bool {
        self.seen.is_some()
    }

    /// Why the kernel could not be looked at, when the last attempt failed.
    pub(super) fn refusal(&self) -> Option<&str> {
        (self.failures > 0).then_some(self.refusal.as_str())
    }

    /// When the last look that came in was asked for.
    pub(super) fn seen(&self) -> Option<Timestamp> {
        self.seen
    }

    pub(super) fn drifts(&self) -> &[Drift] {
        &self.drifts
    }

    pub(super) fn found(&self) -> u64 {
        self.found
    }

    pub(super) fn repaired(&self) -> u64 {
        self.repaired
    }

    /// Somebody needs to know what the kernel has.
    pub(super) fn look_soon(&mut self, at: Timestamp) {
        self.due = self.due.min(at);
    }
}

impl NodeState {
    /// Looks at the kernel where a look is due.
    pub(super) fn look_at_kernel(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.reconcile.next().is_none_or(|due| due > now) {
            return;
        }
        let op = self.op();
        let wanted = self.wanted();
        let pods = wanted.pods.iter().map(|pod| pod.wiring.key()).collect();
        self.reconcile.looking = Some(Look { op, asked: now, pods });
        self.reconcile.due = now + LOOK_EVERY;
        effects.push(Effect::LookAtKernel { op, wanted: Box::new(wanted) });
    }

    /// What the kernel should have. The first look is compared with nothing, so that ADDs wait for it no longer than
    /// they must.
    pub fn wanted(&self) -> KernelWanted {
        if !self.reconcile.has_begun() {
            return KernelWanted::default();
        }
        let set_up = self.enis.values().filter(|eni| {
            eni.phase == Phase::Ready && eni.set_up && !eni.busy && !eni.is_primary() && eni.is_listed()
        });
        let pods = self.pool.iter().filter_map(|lease| self.wanted_pod(lease));
        KernelWanted {
            node: self.kernel.told().map(Box::new),
            enis: set_up.map(|eni| eni.wiring(self.config.eni_mtu)).collect(),
            pods: pods.collect(),
        }
    }

    /// A pod as the kernel should have it, if the lease stands for one that nobody works on.
    fn wanted_pod(&self, lease: &Lease) -> Option<WantedPod> {
        let holder = match &lease.state {
            LeaseState::Bound(holder) | LeaseState::Quarantined { holder: Some(holder), .. } => holder,
            LeaseState::Free
            | LeaseState::Reserved(_)
            | LeaseState::Unbinding(_)
            | LeaseState::Cooling { .. }
            | LeaseState::Returning
            | LeaseState::Quarantined { holder: None, .. } => return None,
        };
        let stands = holder.wiring.key() == lease.address && !self.working.contains(&lease.address);
        stands.then(|| WantedPod { wiring: holder.wiring.clone(), netns: holder.netns.clone() })
    }

    pub(super) fn kernel_seen(
        &mut self,
        op: OpId,
        result: Result<KernelView, String>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let Some(look) = self.reconcile.looking.take_if(|look| look.op == op) else { return };
        let Look { asked, pods, .. } = look;
        let view = match result {
            Ok(view) => view,
            Err(why) => {
                self.reconcile.refusal = why;
                self.reconcile.failures = self.reconcile.failures.saturating_add(1);
                let wait = delay(self.reconcile.failures, op.0);
                // Pods wait for the first.
                let wait = if self.reconcile.has_begun() { wait } else { wait.min(SEE_AGAIN) };
                self.reconcile.look_soon(now + wait);
                self.refuse_collections(effects);
                return;
            }
        };
        self.reconcile.failures = 0;
        let before = self.reconcile.seen.replace(asked);
        self.let_go_of_lost_pods(&view, now, effects);
        self.doubt_what_is_routed(&view, asked, now, effects);
        self.mend(&view, asked, now, effects);
        self.remove_strays(&view, asked, effects);
        match before {
            // It was compared with nothing.
            None => self.reconcile.look_soon(now),
            Some(_) => self.collect_unknown((&view, asked, &pods), now, effects),
        }
    }

    /// Unwires pods whose sandbox went without a DEL: the kernel takes a veth along with its namespace, and
    /// nobody else will say so.
    ///
    /// Both the routes and the links must be missing, and the namespace too where it is known, in two looks in a
    /// row, without kernel work on the pod in between: a route or a link that somebody deleted is drift, not the
    /// end of a pod.
    fn let_go_of_lost_pods(&mut self, view: &KernelView, now: Timestamp, effects: &mut Vec<Effect>) {
        let unseen = self.pool.iter().filter_map(|lease| self.wanted_pod(lease)).filter(|pod| {
            let (key, host_veth) = (pod.wiring.key(), pod.wiring.first.host_veth.as_str());
            let there = view.routed.contains_key(&key) || view.veths.contains(host_veth);
            !there && !view.alive.contains(&key)
        });
        let first_unseen = |address| self.unseen.get(&address).copied().unwrap_or(now);
        self.unseen = unseen.map(|pod| (pod.wiring.key(), first_unseen(pod.wiring.key()))).collect();
        let lost: Vec<IpAddr> = self
            .unseen
            .iter()
            .filter(|(_, since)| now.since(**since) >= LOOKS_APART)
            .map(|(address, _)| *address)
            .collect();
        for address in lost {
            self.unwire(address, now, effects);
        }
        if let Some(first) = self.unseen.values().min() {
            self.reconcile.look_soon(*first + LOOKS_APART);
        }
    }

    /// Addresses that the kernel routes to pods that the journal does not know leave service, and do not leave the
    /// node; what the kernel alone used cools down once it is not routed any more.
    fn doubt_what_is_routed(
        &mut self,
        view: &KernelView,
        asked: Timestamp,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let routed = |address: &IpAddr| view.routed.get(address);
        let mut stay: BTreeSet<EniId> = BTreeSet::new();
        let mut doubted = Vec::new();
        let mut trusted = Vec::new();
        for lease in self.pool.iter().filter(|lease| lease.since < asked) {
            match (&lease.state, routed(&lease.address)) {
                (LeaseState::Free | LeaseState::Cooling { .. }, Some(host_veth)) => {
                    doubted.push((lease.address, host_veth.clone()));
                }
                (LeaseState::Returning, Some(_)) => {
                    stay.insert(lease.eni.clone());
                }
                (LeaseState::Quarantined { holder: None, .. }, None) => trusted.push(lease.address),
                (LeaseState::Quarantined { holder: None, .. }, Some(_))
                | (LeaseState::Free | LeaseState::Cooling { .. } | LeaseState::Returning, None)
                | (
                    LeaseState::Reserved(_)
                    | LeaseState::Bound(_)
                    | LeaseState::Unbinding(_)
                    | LeaseState::Quarantined { holder: Some(_), .. },
                    _,
                ) => {}
            }
        }
        for eni in stay {
            self.keep(&eni, now, effects);
            let used = self.pool.on(&eni).filter(|lease| lease.is_free());
            doubted.extend(used.filter_map(|lease| Some((lease.address, routed(&lease.address)?.clone()))));
        }
        for (address, host_veth) in doubted {
            let why = Quarantine::UnknownPod { host_veth };
            self.pool.change(address, |lease| lease.quarantine(why, now));
        }
        let cool_until = now + self.config.cooldown;
        for address in trusted {
            self.pool.change(address, |lease| lease.trust(cool_until, now));
            effects.push(Effect::Journal(vec![Record::Released { address, cool_until }]));
        }
        let strangers = view.routed.iter().filter(|(address, _)| {
            let known = self.pool.get(**address).is_some_and(|lease| lease.state.holder().is_some());
            !known && !self.pool.uses_node_local(**address)
        });
        self.strangers = strangers.map(|(address, link)| (*address, link.clone())).collect();
    }

    /// Has mended what differs from what it should be.
    fn mend(&mut self, view: &KernelView, asked: Timestamp, now: Timestamp, effects: &mut Vec<Effect>) {
        let mut parts: BTreeMap<Part, Vec<Drift>> = BTreeMap::new();
        for drift in &view.drifts {
            parts.entry(drift.of.clone()).or_default().push(drift.clone());
        }
        let mut drifts = Vec::new();
        for (part, differences) in parts {
            let mended = match &part {
                Part::Node => self.kernel.drifted(asked),
                Part::Eni(id) => self.eni_drifted(id, asked),
                Part::Pod(key) => self.pod_drifted(*key, view, asked, effects),
            };
            if mended {
                drifts.extend(differences);
            }
        }
        self.reconcile.found += u64::try_from(drifts.len()).unwrap_or(u64::MAX);
        // What comes back again and again is somebody else's doing, and is mended once a minute.
        if !drifts.is_empty() && self.reconcile.last_found != drifts {
            self.reconcile.look_soon(now + SEE_AGAIN);
        }
        self.reconcile.last_found.clone_from(&drifts);
        self.reconcile.drifts = drifts;
    }

    /// An ENI's wiring is set up again, unless it changed after the look was asked for.
    fn eni_drifted(&mut self, id: &EniId, asked: Timestamp) -> bool {
        let Some(eni) = self.enis.get_mut(id) else { return false };
        let meant = eni.phase == Phase::Ready && !eni.busy && eni.set_up && eni.set_up_at < asked;
        if meant {
            eni.set_up = false;
        }
        meant
    }

    fn pod_drifted(
        &mut self,
        key: IpAddr,
        view: &KernelView,
        asked: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let Some(lease) = self.pool.get(key).filter(|lease| lease.since < asked) else { return false };
        let Some(pod) = self.wanted_pod(lease) else { return false };
        // A pod whose sandbox has gone is not made anew; it is let go when the next look says the same.
        let there = view.alive.contains(&key) || view.veths.contains(pod.wiring.first.host_veth.as_str());
        if !there || self.deleting.contains_key(&key) {
            return false;
        }
        let op = self.op();
        self.working.insert(key);
        self.pod_work.insert(op, PodWork::Repair { address: key });
        effects.push(Effect::RepairPod { op, pod });
        true
    }

    pub(super) fn repaired(
        &mut self,
        op: OpId,
        result: Result<(), String>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let Some(PodWork::Repair { address }) = self.take_pod_work(op, PodWork::is_repair) else { return };
        if result.is_ok() {
            self.mended(&Part::Pod(address));
        }
        if self.deleting.contains_key(&address) {
            self.unwire(address, now, effects);
        }
    }

    /// A part of the kernel's wiring is as it should be.
    pub(super) fn mended(&mut self, part: &Part) {
        let before = self.reconcile.drifts.len();
        self.reconcile.drifts.retain(|drift| drift.of != *part);
        self.reconcile.repaired += u64::from(self.reconcile.drifts.len() < before);
    }

    /// Has rules removed that two looks in a row found without anybody who uses them, where the address is the VPC's.
    fn remove_strays(&mut self, view: &KernelView, asked: Timestamp, effects: &mut Vec<Effect>) {
        let in_vpc = |address: &IpAddr| match address {
            IpAddr::V4(address) => self.identity.vpc_cidrs.iter().any(|range| range.contains(address)),
            IpAddr::V6(address) => self.identity.vpc_ipv6_cidrs.iter().any(|range| range.contains(address)),
        };
        let unused = |address: &&IpAddr| {
            let free = match self.pool.get(**address) {
                Some(lease) => lease.since < asked && lease.state.holder().is_none(),
                // One that has left the node: on another, it may be a pod's by now.
                None => in_vpc(address),
            };
            free && !self.working.contains(*address)
        };
        let strays: BTreeSet<IpAddr> = view.strays.iter().filter(unused).copied().collect();
        let again = strays.intersection(&self.reconcile.strays);
        effects.extend(again.map(|address| Effect::RemoveStray { address: *address }));
        self.reconcile.strays = strays;
    }

    /// CNI GC: decided when the kernel has been seen.
    pub(super) fn collect(
        &mut self,
        ticket: Ticket,
        network: NetworkName,
        valid: BTreeSet<(ContainerId, IfName)>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let waiting = self.reconcile.collections.len();
        if waiting >= MAX_COLLECTIONS {
            let answer = Answer::Refused(Refusal::QueueFull { waiting });
            effects.push(Effect::Answer { ticket, answer });
            return;
        }
        self.reconcile.look_soon(now);
        let collection = Collection { ticket, network, valid, asked: now, progress: Progress::Waiting };
        self.reconcile.collections.push(collection);
    }

    /// Releases what the runtime does not know of, except pods that are younger than its list may be, and pods whose
    /// namespace somebody lives in: those are out of service with their addresses.
    fn collect_unknown(
        &mut self,
        (view, seen, looked_at): (&KernelView, Timestamp, &BTreeSet<IpAddr>),
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        for mut collection in std::mem::take(&mut self.reconcile.collections) {
            match collection.progress {
                Progress::Waiting if seen < collection.asked => self.reconcile.look_soon(now),
                Progress::Waiting => {
                    collection.progress = self.release(&collection, (view, seen, looked_at), now, effects);
                }
                Progress::Releasing { .. } => {}
            }
            self.reconcile.collections.push(collection);
        }
        self.answer_collections(effects);
    }

    fn release(
        &mut self,
        collection: &Collection,
        (view, seen, looked_at): (&KernelView, Timestamp, &BTreeSet<IpAddr>),
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> Progress {
        let listed = |attachment: &Attachment| {
            let Collection { network, valid, .. } = collection;
            attachment.network != *network
                || valid.contains(&(attachment.container.clone(), attachment.ifname.clone()))
        };
        let pods: Vec<_> = self
            .pool
            .iter()
            .filter_map(|lease| {
                let holder = lease.state.holder()?;
                // What the look did not look at (it was being worked on) is left to the next GC, and so is what was
                // wired since: it is younger than the list.
                let judged = looked_at.contains(&lease.address)
                    && !self.working.contains(&lease.address)
                    && lease.since < seen;
                // An ADD may have waited for long before its pod was wired.
                let begun = match lease.state {
                    LeaseState::Bound(_) => holder.asked.max(lease.since),
                    LeaseState::Free
                    | LeaseState::Reserved(_)
                    | LeaseState::Unbinding(_)
                    | LeaseState::Cooling { .. }
                    | LeaseState::Returning
                    | LeaseState::Quarantined { .. } => holder.asked,
                };
                judged.then(|| (lease.address, holder.attachment.clone(), begun))
            })
            .collect();
        let (mut pending, mut kept) = (BTreeSet::new(), Vec::new());
        for (key, attachment, asked) in pods {
            if listed(&attachment) {
                self.trust_again(key, now);
                continue;
            }
            let why = if asked + self.config.gc_grace > collection.asked {
                Some(Quarantine::Young)
            } else {
                view.inhabited.contains(&key).then_some(Quarantine::Inhabited)
            };
            match why {
                // The next list will have it, or it is old enough by then.
                Some(why @ Quarantine::Young) => kept.push((attachment, why)),
                Some(why) => {
                    for leased in self.leased_with(key) {
                        self.pool.change(leased, |lease| lease.quarantine(why.clone(), now));
                    }
                    kept.push((attachment, why));
                }
                None => {
                    self.unwire(key, now, effects);
                    if self.working.contains(&key) {
                        pending.insert(key);
                    }
                }
            }
        }
        Progress::Releasing { pending, released: 0, failed: Vec::new(), kept }
    }

    /// The runtime knows a pod that it did not know before.
    fn trust_again(&mut self, key: IpAddr, now: Timestamp) {
        for leased in self.leased_with(key) {
            self.pool.change(leased, |lease| match &lease.state {
                LeaseState::Quarantined { why: Quarantine::Inhabited, .. } => lease.trust(now, now),
                LeaseState::Quarantined {
                    why: Quarantine::NotInCloud { .. } | Quarantine::UnknownPod { .. } | Quarantine::Young,
                    ..
                }
                | LeaseState::Free
                | LeaseState::Reserved(_)
                | LeaseState::Bound(_)
                | LeaseState::Unbinding(_)
                | LeaseState::Cooling { .. }
                | LeaseState::Returning => Ok(()),
            });
        }
    }

    /// A pod was unwired, or could not be: GCs may have waited for that.
    pub(super) fn collected(&mut self, key: IpAddr, result: Result<(), &str>, effects: &mut Vec<Effect>) {
        for collection in &mut self.reconcile.collections {
            let Progress::Releasing { pending, released, failed, .. } = &mut collection.progress else {
                continue;
            };
            if pending.remove(&key) {
                match result {
                    Ok(()) => *released += 1,
                    Err(why) => failed.push(why.to_owned()),
                }
            }
        }
        self.answer_collections(effects);
    }

    /// Nothing is released on the runtime's word alone; it asks again.
    fn refuse_collections(&mut self, effects: &mut Vec<Effect>) {
        let why = self.reconcile.refusal.clone();
        self.reconcile.collections.retain(|collection| {
            let waits = matches!(collection.progress, Progress::Waiting);
            if waits {
                let answer = Answer::Refused(Refusal::Unseen { why: why.clone() });
                effects.push(Effect::Answer { ticket: collection.ticket, answer });
            }
            !waits
        });
    }

    fn answer_collections(&mut self, effects: &mut Vec<Effect>) {
        self.reconcile.collections.retain_mut(|collection| {
            let Progress::Releasing { pending, released, failed, kept } = &mut collection.progress else {
                return true;
            };
            if !pending.is_empty() {
                return true;
            }
            let answer = match failed.pop() {
                None => Answer::Collected { released: *released, kept: std::mem::take(kept) },
                Some(why) => {
                    let failed = u32::try_from(failed.len() + 1).unwrap_or(u32::MAX);
                    Answer::Refused(Refusal::NotCollected { failed, why })
                }
            };
            effects.push(Effect::Answer { ticket: collection.ticket, answer });
            false
        });
    }

    /// Whether kernel and EC2 have lately been asked about an ENI, and EC2 lists what the journal says.
    pub(super) fn is_confirmed(&self, id: &EniId, now: Timestamp) -> bool {
        let Some(eni) = self.enis.get(id) else { return false };
        let fresh = FRESH.max(self.restraint.period(Class::Describe, now) * 2);
        let by_kernel = self.reconcile.seen.is_some_and(|seen| now.since(seen) < fresh);
        let by_cloud = now.since(eni.confirmed_at) < fresh && eni.confirmed_at >= eni.changed_at;
        by_kernel && by_cloud
    }

    /// Whether the kernel routes an address of the ENI to a pod that the journal does not know.
    pub(super) fn has_strangers(&self, id: &EniId) -> bool {
        self.strangers.keys().any(|address| self.pool.get(*address).is_some_and(|lease| lease.eni == *id))
    }

    /// The same for an ENI that would go as a whole: an address that EC2 did not list anywhere may be of any ENI in its
    /// subnet. Those of IPv6 are out of prefixes, which are known with their ENI.
    pub(super) fn may_have_strangers(&self, eni: &Eni) -> bool {
        let may_be_here = |address: &IpAddr| match address {
            IpAddr::V4(address) => eni.subnet_cidr.contains(address),
            IpAddr::V6(address) => eni.ipv6_prefixes.iter().any(|prefix| prefix.contains(address)),
        };
        let unplaced = |address: &IpAddr| self.pool.get(*address).is_none() && may_be_here(address);
        self.has_strangers(&eni.id) || self.strangers.keys().any(unplaced)
    }

    /// Something could be given back: the next may be as well.
    pub(super) fn confirmed(&mut self) {
        self.reconcile.seek_after = SEEK_AGAIN;
    }

    /// Has everybody looked at what would have to agree before something goes.
    pub(super) fn seek_confirmation(&mut self, now: Timestamp) {
        if now.since(self.reconcile.sought) < self.reconcile.seek_after {
            return;
        }
        self.reconcile.sought = now;
        self.reconcile.seek_after = (self.reconcile.seek_after * 2).min(LOOK_EVERY);
        self.look_again(now);
        if self.reconcile.seen.is_none_or(|seen| now.since(seen) >= SEE_AGAIN) {
            self.reconcile.look_soon(now);
        }
    }
}
