//! [`NodeState`]: the only mutable truth about a node. Events go in, effects come out; it never awaits.
//!
//! * `config`: what the operator decides.
//! * `pods`: ADD, DEL, CHECK; `queue`: those that wait.
//! * `supply`: growth and giving back; `restraint`: what EC2 may be asked now; `pushback`: what waits because it
//!   said no; `sweep`: ENIs that nobody owns any more.
//! * `cards`, `places`: where ENIs may be; `enis`: an ENI's way in and out; `ipv6`: what never runs short.
//! * `kernel`: what the kernel is told about the node as a whole; `reconcile`: looks at it, and what they lead to.
//! * `observe`: what EC2 and the kernel report, reconciled with what the node believes.
//! * `restore`: the journal's records become the state again.
//! * `view`, `screen`, `readiness`, `explain`, `diff`: what strategies and people are shown.

mod cards;
mod config;
mod creation;
mod diff;
mod enis;
mod explain;
mod ipv6;
mod kernel;
mod membership;
mod observe;
mod places;
mod pods;
mod pushback;
mod queue;
mod readiness;
mod reconcile;
mod restore;
mod restraint;
mod screen;
mod supply;
mod sweep;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::cloud::{CloudSubnet, NodeIdentity, Supply};
use crate::demand::History;
use crate::eni::{Eni, Phase};
use crate::event::{Api, BlockOrigin, CloudCall, Effect, Event, OpId, Origin, Record, Ticket};
use crate::ids::{EniId, SecurityGroupId, SubnetId};
use crate::lease::{Lease, LeaseState};
use crate::limits::InstanceType;
use crate::pool::Pool;
use crate::proposal::Band;
use crate::report::{Cause, Decision, Why};
use crate::snapshot::{Context, MaxPodsSnapshot};
use crate::time::Timestamp;
use crate::wiring::Seat;

use creation::Creation;
use kernel::Kernel;
use places::Fragmented;
use queue::{Queue, Waiter};
use reconcile::Reconcile;
use restraint::Restraint;
use sweep::Sweep;

pub use config::{Cards, Config, CustomNetworking, EniConfig, KernelConfig, Provisioning, Unsupported};
pub use diff::Difference;
pub use explain::Explanation;
pub use membership::ClusterStatus;
pub use readiness::Readiness;
pub use restore::Remembered;
pub use view::{
    AddressStatus, BlockStatus, BudgetStatus, EniStatus, KernelStatus, MAX_LISTED, PoolStatus,
    QuarantineStatus, Status, StrategyStatus, SubnetStatus, WaiterStatus, WithheldStatus,
};

/// ADDs that may wait at once: as many as any node runs pods, and fewer than the daemon takes connections, so
/// that a DEL, which may be what they wait for, always finds one.
pub const MAX_WAITERS: usize = 768;
/// How far the clock of the plugin, which dates spooled DELs, may lag behind ours, which never steps back
/// while we run. Containers' ids are not used twice, so that erring this far never meets a younger pod.
const CLOCK_SKEW: Duration = Duration::from_secs(5);
/// The least time between two looks at the kernel that both say that a pod is gone: the second must have
/// begun after the first came in.
const LOOKS_APART: Duration = Duration::from_secs(30);
/// How often EC2 is looked at when nothing asks for it sooner.
const OBSERVE_EVERY: Duration = Duration::from_secs(60);
/// The least time between two questions to the warm-pool strategy: bursts share one answer.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// How often surplus is looked at.
const RELEASE_EVERY: Duration = Duration::from_secs(5);
/// How long an exhausted subnet is left alone.
const SUBNET_BLOCK: Duration = Duration::from_secs(120);
/// The first and the longest wait before EC2 is tried again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));
/// How often the link of an attached ENI is looked for.
const LINK_POLL: Duration = Duration::from_millis(200);
/// The same once it is overdue, on an ENI that is not ours to give up.
const OVERDUE_POLL: Duration = Duration::from_secs(60);
/// How long a request whose reply is lost may still be on its way to EC2.
const LINGER: Duration = Duration::from_secs(30);
/// How long a just-returned address or ENI is not believed when a lagging view still lists it.
const RETURNED_MEMORY: Duration = Duration::from_secs(60);

/// Kernel work under way for a pod.
#[derive(Clone, Copy, Debug)]
enum PodWork {
    Wire { address: IpAddr, ticket: Ticket },
    Unwire { address: IpAddr },
    Repair { address: IpAddr },
}

/// Kernel work under way for an ENI.
#[derive(Clone, Debug)]
enum EniWork {
    SetUp { eni: EniId },
    TearDown { eni: EniId },
}

/// What a call to EC2 under way is for.
#[derive(Clone, Debug)]
enum Purpose {
    Enis { asked: Timestamp },
    Subnets,
    VpcRanges,
    Orphans,
    Sweep { eni: EniId },
    Create(Creation),
    Attach { eni: EniId },
    Mark { eni: EniId },
    Groups { eni: EniId, groups: Vec<SecurityGroupId> },
    Detach { eni: EniId },
    Delete { eni: EniId },
    Assign { eni: EniId, amount: Supply, cause: Cause },
    AssignIpv6 { eni: EniId },
    Unassign { eni: EniId, addresses: Vec<IpAddr> },
}

/// A call to EC2 under way.
#[derive(Clone, Debug)]
struct CallUnderWay {
    api: Api,
    purpose: Purpose,
}

/// A subnet that ran out.
#[derive(Clone, Copy, Debug)]
struct Exhausted {
    until: Timestamp,
    asked: u32,
    failures: u32,
    /// What EC2 reported as free since then.
    reported: Option<u32>,
}

/// Asking the warm-pool strategy: one question at a time, bursts coalesced.
#[derive(Clone, Debug, Default)]
struct Asking {
    in_flight: bool,
    stale: bool,
    last: Timestamp,
    next_check: Option<Timestamp>,
}

/// The node's state: see the module's documentation.
#[derive(Debug)]
pub struct NodeState {
    config: Config,
    identity: NodeIdentity,
    instance_type: InstanceType,
    enis: BTreeMap<EniId, Eni>,
    unmanaged: BTreeSet<Seat>,
    pool: Pool,
    /// DELs that wait for kernel work on their address.
    deleting: BTreeMap<IpAddr, Vec<Ticket>>,
    queue: Queue,
    pod_work: BTreeMap<OpId, PodWork>,
    /// Addresses with kernel work under way: one piece of it at a time.
    working: BTreeSet<IpAddr>,
    eni_work: BTreeMap<OpId, EniWork>,
    calls: BTreeMap<OpId, CallUnderWay>,
    next_op: u64,
    /// Creations whose outcome is unknown, to be asked again with the same token.
    unresolved: Vec<Creation>,
    band: Option<Decision<Band>>,
    /// Answers of the warm-pool strategy that were asked for in another mode, or should have been by now.
    outdated_answers: u32,
    max_pods: Option<Decision<u32>>,
    subnets: Vec<CloudSubnet>,
    subnet_order: Option<Decision<Vec<SubnetId>>>,
    asking: Asking,
    asking_subnets: bool,
    exhausted: BTreeMap<SubnetId, Exhausted>,
    fragmented: BTreeMap<SubnetId, Fragmented>,
    restraint: Restraint,
    demand: History,
    returned: BTreeMap<IpAddr, Timestamp>,
    departed: BTreeMap<EniId, Timestamp>,
    /// Pods that the kernel routes to and no lease accounts for.
    strangers: BTreeMap<IpAddr, String>,
    /// Pods that the last look at the kernel did not find, and since which look.
    unseen: BTreeMap<IpAddr, Timestamp>,
    /// Whether the ENIs are known: from EC2, or from the journal.
    seen: bool,
    observe_at: Timestamp,
    subnets_at: Timestamp,
    subnets_seen: Timestamp,
    release_at: Timestamp,
    call_counts: BTreeMap<Api, u64>,
    stopping: bool,
    tokens: u64,
    started: Timestamp,
    /// Whether EC2 has told the primary ENI's security groups since the daemon started.
    groups_seen: bool,
    /// Where the next IPv6 address is looked for.
    ipv6_cursor: u64,
    /// Since when a prefix may have been delegated without our hearing of it.
    ipv6_unsure: Option<Timestamp>,
    /// The last node-local address that was given out.
    node_local_cursor: u32,
    kernel: Kernel,
    ranges_at: Timestamp,
    reconcile: Reconcile,
    sweep: Sweep,
    /// What the Kubernetes API said of the cluster's size, once it did.
    counted: Option<membership::Count>,
    /// Since when no pod could be given an address, while that is so.
    empty_since: Option<Timestamp>,
    /// Whether a pod could be given an address at any time since the daemon started.
    has_served: bool,
    /// Whether another daemon ran before, whose last deeds a lagging view may not show yet.
    resumed: bool,
    /// The last question to the max-pods strategy; asked again when it would differ.
    max_pods_asked: Option<MaxPodsSnapshot>,
}

impl NodeState {
    /// A node that knows who it is and nothing else.
    pub fn new(config: Config, identity: NodeIdentity, instance_type: InstanceType, now: Timestamp) -> Self {
        let mut restraint = Restraint::new(&config.budget, &identity.instance, now);
        if config.expects_count {
            restraint.resume(&config.budget, &identity.instance, now);
        }
        let sweep = Sweep::new(&identity.instance, &config, now);
        Self {
            config,
            identity,
            instance_type,
            enis: BTreeMap::new(),
            unmanaged: BTreeSet::new(),
            pool: Pool::default(),
            deleting: BTreeMap::new(),
            queue: Queue::default(),
            pod_work: BTreeMap::new(),
            working: BTreeSet::new(),
            eni_work: BTreeMap::new(),
            calls: BTreeMap::new(),
            next_op: 0,
            unresolved: Vec::new(),
            band: None,
            outdated_answers: 0,
            max_pods: None,
            subnets: Vec::new(),
            subnet_order: None,
            asking: Asking { stale: true, ..Asking::default() },
            asking_subnets: false,
            exhausted: BTreeMap::new(),
            fragmented: BTreeMap::new(),
            restraint,
            demand: History::starting(now),
            returned: BTreeMap::new(),
            departed: BTreeMap::new(),
            strangers: BTreeMap::new(),
            unseen: BTreeMap::new(),
            seen: false,
            observe_at: now,
            subnets_at: now,
            subnets_seen: Timestamp(0),
            release_at: now,
            call_counts: BTreeMap::new(),
            stopping: false,
            tokens: 0,
            started: now,
            groups_seen: false,
            ipv6_cursor: now.0,
            ipv6_unsure: None,
            node_local_cursor: 0,
            kernel: Kernel::default(),
            ranges_at: now,
            reconcile: Reconcile::starting(now),
            sweep,
            counted: None,
            empty_since: Some(now),
            has_served: false,
            resumed: false,
            max_pods_asked: None,
        }
    }

    /// Takes one event in and says what is to be done, in order.
    ///
    /// An outcome of an effect that is not under way (a reply that came twice) changes nothing.
    pub fn handle(&mut self, now: Timestamp, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Add { ticket, attachment, pod, nics, netns, deadline } => {
                let waiter = Waiter { ticket, attachment, pod, nics, netns, asked: now, deadline };
                self.add(waiter, now, &mut effects);
            }
            Event::Del { ticket, attachment, issued } => {
                self.del(ticket, &attachment, issued, now, &mut effects)
            }
            Event::Check { ticket, attachment } => self.check(ticket, &attachment, &mut effects),
            Event::Gc { ticket, network, valid } => {
                self.collect(ticket, network, valid, now, &mut effects);
            }
            Event::Wired { op, result } => self.wired(op, result, now, &mut effects),
            Event::Unwired { op, result } => self.unwired(op, result, now, &mut effects),
            Event::Cloud { op, result } => self.cloud_answered(op, result, now, &mut effects),
            Event::EniSetUp { op, result } => self.eni_set_up(op, result, now, &mut effects),
            Event::EniTornDown { op, result } => self.eni_torn_down(op, result, now),
            Event::NodeSetUp { op, result } => self.node_set_up(op, result, now),
            Event::WarmPoolDecided(decision) => self.warm_pool_decided(decision, now),
            Event::SubnetsDecided(decision) => {
                self.asking_subnets = false;
                self.subnet_order = Some(decision);
            }
            Event::MaxPodsDecided(decision) => self.max_pods = Some(decision),
            Event::Reconfigured(config) => self.reconfigure(*config, now, &mut effects),
            Event::NodesCounted { nodes } => self.nodes_counted(nodes, now),
            Event::StrategyReplaced => {
                self.asking.stale = true;
                self.asking.last = Timestamp(0);
                self.subnets_at = now;
                self.max_pods_asked = None;
            }
            Event::KernelSeen { op, result } => self.kernel_seen(op, result, now, &mut effects),
            Event::Repaired { op, result } => self.repaired(op, result, now, &mut effects),
            Event::Tick => {}
            Event::Stop => self.stop(&mut effects),
        }
        self.settle(now, &mut effects);
        debug_assert!(self.pool.adds_up(), "the pool's counts are those of its leases");
        debug_assert!(self.next_wake(now) > now, "whatever is due has been done");
        effects
    }

    /// When [`Event::Tick`] is due, if nothing happens before.
    ///
    /// Later than the last event: what is due then has been done, so that nobody spins.
    pub fn next_wake(&self, now: Timestamp) -> Timestamp {
        let mut wake = now + OBSERVE_EVERY;
        let mut at = |time: Timestamp| wake = wake.min(time);
        self.queue.first_deadline().into_iter().for_each(&mut at);
        if self.stopping {
            return wake;
        }
        self.pool.next_thaw().into_iter().for_each(&mut at);
        self.looks_due(now).for_each(&mut at);
        self.restraint.next(now).into_iter().for_each(&mut at);
        self.reconcile.next().into_iter().for_each(&mut at);
        self.next_sweep(now).into_iter().for_each(&mut at);
        for eni in self.enis.values().filter(|eni| !eni.busy && eni.blocked_until > now) {
            at(eni.blocked_until);
        }
        self.subnets_reopen().for_each(&mut at);
        self.kernel.next_try().filter(|next| *next > now).into_iter().for_each(&mut at);
        if self.seen && !self.asking.in_flight {
            if self.asking.stale && self.config.families.ipv4() {
                at(self.asking.last + ASK_EVERY);
            }
            self.asking.next_check.into_iter().for_each(&mut at);
        }
        if self.seen && self.has_surplus() {
            at(self.release_at);
        }
        wake
    }

    /// Whether nothing is under way and nothing is left to do until something happens.
    pub fn is_settled(&self) -> bool {
        self.pod_work.is_empty()
            && self.eni_work.is_empty()
            && self.calls.is_empty()
            && !self.asking.in_flight
            && !(self.asking.stale && self.config.families.ipv4())
            && !self.kernel.is_busy()
            && self.reconcile.is_settled()
            && !self.asking_subnets
            && self.queue.is_empty()
            && self.unresolved.is_empty()
            && self.seen
            && self.pool.counts().returning == 0
            && self.enis.values().all(|eni| eni.phase == Phase::Ready)
    }

    /// Who the node is.
    pub fn identity(&self) -> &NodeIdentity {
        &self.identity
    }

    /// The settings in force.
    pub fn config(&self) -> &Config {
        &self.config
    }

    fn reconfigure(&mut self, config: Config, now: Timestamp, effects: &mut Vec<Effect>) {
        if config.eni_mtu != self.config.eni_mtu {
            for eni in self.enis.values_mut() {
                eni.set_up = false;
            }
        }
        let elsewhere = config.custom_networking != self.config.custom_networking
            || config.subnet_discovery != self.config.subnet_discovery;
        if elsewhere {
            self.subnets_at = Timestamp(0);
        }
        if config.mode != self.config.mode && config.families.ipv4() {
            // Answers to questions about the old mode do not count, one that is under way included.
            self.outdated_answers = 1 + u32::from(self.asking.in_flight);
        }
        self.max_pods_asked = None;
        if config.provisioning != self.config.provisioning {
            self.restraint.forget_failures();
        }
        let nodes = self.nodes();
        let renamed = config.cluster != self.config.cluster;
        let veth_prefix = self.config.veth_prefix.clone();
        self.config = Config { veth_prefix, ..config };
        self.share_anew(nodes, now);
        if renamed {
            self.sweep.rename(self.config.cluster.is_some(), self.nodes(), now);
        }
        self.kernel.changed();
        self.asking.stale = true;
        self.release_at = Timestamp(0);
        if self.config.provisioning != Provisioning::Full {
            for eni in self.enis.keys().cloned().collect::<Vec<_>>() {
                self.keep(&eni, now, effects);
            }
        }
    }

    /// Everything that follows from the state alone, whatever the event was.
    fn settle(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        for eni in self.pool.thaw(now) {
            self.journal_eni(&eni, effects);
        }
        self.reopen_subnets(now);
        if !self.returned.is_empty() || !self.departed.is_empty() {
            self.returned.retain(|_, until| *until > now);
            self.departed.retain(|_, until| *until > now);
        }
        self.restraint.age(now);
        self.serve_waiters(now, effects);
        if self.stopping {
            self.expire_waiters(now, effects);
            return;
        }
        self.look(now, effects);
        // What grows comes before what goes: in a large cluster they may have to share one call.
        self.adjust_supply(now, effects);
        // After that: who may not wait at all is short of an address, too.
        self.expire_waiters(now, effects);
        self.advance_enis(now, effects);
        self.look_at_kernel(now, effects);
        self.sweep(now, effects);
        self.tell_kernel(now, effects);
        self.ask_max_pods(now, effects);
        self.ask(now, effects);
        self.empty_since = (!self.has_addresses()).then(|| self.empty_since.unwrap_or(now));
        self.has_served |= self.empty_since.is_none();
    }

    /// Asks the max-pods strategy when the question to it has changed.
    fn ask_max_pods(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.max_pods_asked.is_some() {
            return;
        }
        self.max_pods_asked = Some(self.max_pods_question(now));
        effects.push(Effect::AskMaxPods(Box::new(self.max_pods_snapshot(now))));
    }

    /// The question to the max-pods strategy, whenever it is asked.
    fn max_pods_question(&self, now: Timestamp) -> MaxPodsSnapshot {
        MaxPodsSnapshot { context: Context::default(), ..self.max_pods_snapshot(now) }
    }

    fn ask(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let due = self.asking.stale && self.asking.last + ASK_EVERY <= now
            || self.asking.next_check.is_some_and(|check| check <= now);
        if !self.seen || self.asking.in_flight || !due || !self.config.families.ipv4() {
            return;
        }
        self.asking = Asking { in_flight: true, stale: false, last: now, next_check: None };
        effects.push(Effect::AskWarmPool(Box::new(self.warm_pool_snapshot(now))));
    }

    fn warm_pool_decided(&mut self, decision: Decision<Band>, now: Timestamp) {
        self.asking.in_flight = false;
        self.asking.next_check = decision.next_check.map(|after| now + after);
        self.outdated_answers = self.outdated_answers.saturating_sub(1);
        if self.outdated_answers > 0 {
            return;
        }
        self.band = Some(decision);
    }

    /// The band in force; before the first decision, only what ADDs ask for is grown. After a change of mode, one address
    /// of the new kind is, until the strategy has been asked about it.
    fn target(&self) -> Band {
        if self.outdated_answers > 0 {
            return Band { ready_low: 1, ..Band::default() };
        }
        self.band.as_ref().map_or_else(Band::default, |decision| decision.target)
    }

    fn op(&mut self) -> OpId {
        self.next_op += 1;
        OpId(self.next_op)
    }

    fn call(&mut self, purpose: Purpose, call: CloudCall, now: Timestamp, effects: &mut Vec<Effect>) {
        let op = self.op();
        let api = call.api();
        *self.call_counts.entry(api).or_default() += 1;
        self.restraint.asked(api, now);
        self.calls.insert(op, CallUnderWay { api, purpose });
        effects.push(Effect::Cloud { op, call });
    }

    fn journal_eni(&self, id: &EniId, effects: &mut Vec<Effect>) {
        if let Some(eni) = self.enis.get(id) {
            effects.push(Effect::Journal(self.eni_records(eni)));
        }
    }

    /// An ENI with its addresses, and which of them EC2 has been asked to take back.
    fn eni_records(&self, eni: &Eni) -> Vec<Record> {
        let mut records = vec![Record::Eni {
            eni: eni.as_journaled(),
            addresses: self.pool.single_addresses_on(&eni.id),
            origins: self.origins_on(&eni.id),
        }];
        if eni.delegates {
            records.push(Record::Delegated {
                eni: eni.id.clone(),
                prefixes: self.pool.blocks_on(&eni.id).map(|block| block.range).collect(),
                ipv6_prefixes: eni.ipv6_prefixes.clone(),
                origins: self.block_origins_on(&eni.id),
            });
        }
        let returning = self.pool.on(&eni.id).filter(|lease| lease.state == LeaseState::Returning);
        let addresses: Vec<_> = returning.filter_map(Lease::ipv4).collect();
        if !addresses.is_empty() {
            records.push(Record::Returning { addresses });
        }
        records
    }

    /// Why the ENI has the addresses that were asked for: one entry for each call that brought some.
    fn origins_on(&self, eni: &EniId) -> Vec<Origin> {
        let mut origins: Vec<Origin> = Vec::new();
        for (lease, address) in self.grown_on(eni).filter(|(lease, _)| lease.block.is_none()) {
            match origins.iter_mut().find(|origin| origin.why == lease.why) {
                Some(origin) => origin.addresses.push(address),
                None => origins.push(Origin { why: lease.why.clone(), addresses: vec![address] }),
            }
        }
        origins
    }

    /// The same for its prefixes.
    fn block_origins_on(&self, eni: &EniId) -> Vec<BlockOrigin> {
        let mut origins: Vec<BlockOrigin> = Vec::new();
        for (lease, address) in self.grown_on(eni) {
            let Some(block) = lease.block.filter(|block| block.network() == address) else { continue };
            match origins.iter_mut().find(|origin| origin.why == lease.why) {
                Some(origin) => origin.prefixes.push(block),
                None => origins.push(BlockOrigin { why: lease.why.clone(), prefixes: vec![block] }),
            }
        }
        origins
    }

    fn grown_on(&self, eni: &EniId) -> impl Iterator<Item = (&Lease, Ipv4Addr)> {
        let grown = self.pool.on(eni).filter(|lease| matches!(lease.why, Why::Grown { .. }));
        grown.filter_map(|lease| Some((lease, lease.ipv4()?)))
    }
}

/// Exponential with jitter: between half and all of `BACKOFF.0 · 2^failures`, at most `BACKOFF.1`.
fn delay(failures: u32, chance: u64) -> Duration {
    let full = BACKOFF.0.saturating_mul(1 << failures.min(10)).min(BACKOFF.1);
    let mut mixed = chance.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^= mixed >> 29;
    full / 2 + full.mul_f64(0.5 * (mixed % 1024) as f64 / 1024.0)
}
