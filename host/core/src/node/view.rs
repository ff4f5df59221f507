//! What strategies and people are shown of the state.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipnet::Ipv4Net;
use serde::Serialize;

use super::{ClusterStatus, CustomNetworking, NodeState, Provisioning, Purpose, Readiness};
use crate::cloud::CloudError;
use crate::degraded::Degraded;
use crate::demand::BUCKET;
use crate::eni::{Eni, Phase};
use crate::event::Drift;
use crate::ids::{DecisionId, EniId, SubnetId};
use crate::lease::{Lease, LeaseState};
use crate::limits::{Mode, PREFIX_ADDRESSES};
use crate::plan::{self, Supply};
use crate::report::{Decision, Quarantine, WaitReason};
use crate::snapshot::{
    BlockUse, ClusterTag, Context, EniPhase, EniUse, Limits, MAX_BLOCKS, MAX_ENIS, MAX_SUBNETS,
    MaxPodsSnapshot, Pods, Pressure, RoleTag, SubnetSnapshot, SubnetUse, WarmPoolSnapshot,
};
use crate::time::Timestamp;
use crate::wiring::Families;

/// One screen about the node.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// `i-…`.
    pub instance: String,
    /// For example `m5.large`.
    pub instance_type: String,
    /// The zone.
    pub zone: String,
    /// How addresses are supplied.
    pub mode: Mode,
    /// Which families of addresses pods have.
    pub families: Families,
    /// Whether an ADD could be served at once.
    pub ready: bool,
    /// What CNI STATUS and `/readyz` say.
    pub readiness: Readiness,
    /// What is not done while EC2 does not answer as it should.
    pub withheld: WithheldStatus,
    /// Why EC2 cannot be reached or refuses, when it does: growth and giving back wait, ADDs are served
    /// from what is there.
    pub degraded: Option<String>,
    /// Why an ADD would wait now, when it would.
    pub waiting_for: Option<String>,
    /// The pool in numbers.
    pub pool: PoolStatus,
    /// ENIs in seat order.
    pub enis: Vec<EniStatus>,
    /// Subnets that may take new ENIs.
    pub subnets: Vec<SubnetStatus>,
    /// The strategies' last decisions.
    pub strategies: Vec<StrategyStatus>,
    /// EC2 calls made since the daemon started, by API name.
    pub calls: BTreeMap<&'static str, u64>,
    /// The node's share of the account's calls, by class.
    pub budget: Vec<BudgetStatus>,
    /// Among how many the cluster's share is divided.
    pub cluster: ClusterStatus,
    /// ADDs that wait, the longest first; at most [`MAX_LISTED`].
    pub waiters: Vec<WaiterStatus>,
    /// Addresses out of service; at most [`MAX_LISTED`].
    pub quarantined: Vec<QuarantineStatus>,
    /// Delegated IPv4 prefixes and how they are used.
    pub blocks: Vec<BlockStatus>,
    /// The last look at the kernel.
    pub kernel: KernelStatus,
    /// ENIs that this node's sweeps deleted because nobody owned them any more.
    pub swept: u64,
}

/// Most of a kind that a status lists one by one; the pool's numbers count all.
pub const MAX_LISTED: usize = 32;

/// What is not done while EC2 does not answer as it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct WithheldStatus {
    /// Which calls are not made.
    pub mode: Degraded,
    /// For how long, seconds.
    pub for_secs: u64,
    /// Calls of the last two minutes that got no answer or were throttled, in thousandths.
    pub failing_milli: u32,
}

/// A class of EC2 calls and what this node may still make of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct BudgetStatus {
    /// The class.
    pub class: &'static str,
    /// Calls that may be made now, in thousandths.
    pub left_milli: u32,
    /// The most that can be saved up, in thousandths.
    pub burst_milli: u32,
    /// Calls per second that come in, in thousandths.
    pub per_second_milli: u32,
    /// What throttling has left of the share, in thousandths.
    pub factor_milli: u32,
}

/// An ADD that waits.
#[derive(Clone, Debug, Serialize)]
pub struct WaiterStatus {
    /// The pod, when the runtime named it.
    pub pod: Option<String>,
    /// The attachment.
    pub attachment: String,
    /// For how long, seconds.
    pub for_secs: u64,
    /// For what.
    pub reason: WaitReason,
}

/// An address out of service.
#[derive(Clone, Debug, Serialize)]
pub struct QuarantineStatus {
    /// The address.
    pub address: IpAddr,
    /// The pod that has it, as far as the journal knows.
    pub pod: Option<String>,
    /// Which views disagree.
    pub why: Quarantine,
    /// For how long, seconds.
    pub for_secs: u64,
}

/// A delegated IPv4 prefix.
#[derive(Clone, Debug, Serialize)]
pub struct BlockStatus {
    /// Its range.
    pub range: Ipv4Net,
    /// The ENI it is on.
    pub eni: EniId,
    /// Of its addresses, with pods.
    pub bound: u32,
    /// Of its addresses, cooling.
    pub cooling: u32,
}

/// The last look at the kernel.
#[derive(Clone, Debug, Default, Serialize)]
pub struct KernelStatus {
    /// How long ago it was asked for, seconds; `None` before the first.
    pub looked_secs_ago: Option<u64>,
    /// What differed then and is not mended yet; at most [`MAX_LISTED`].
    pub drifts: Vec<Drift>,
    /// Differences found since the daemon started.
    pub found: u64,
    /// Repairs that went well since the daemon started.
    pub repaired: u64,
}

/// The pool in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PoolStatus {
    /// Addresses held in any state.
    pub total: u32,
    /// Ready to be bound.
    pub free: u32,
    /// Pods that have their addresses, get them or give them up.
    pub bound: u32,
    /// Delegated /28 prefixes.
    pub prefixes: u32,
    /// IPv6 addresses reserved, bound or being unbound.
    pub ipv6: u32,
    /// Released and not yet reusable.
    pub cooling: u32,
    /// Out of service because two views disagree.
    pub quarantined: u32,
    /// ADDs that wait.
    pub waiting: u32,
    /// Addresses on their way.
    pub coming: u32,
    /// Ready addresses that the target asks for and the node does not have, nor has coming.
    pub gap: u32,
    /// ENIs that may carry pods.
    pub max_enis: u32,
    /// The node's pod ceiling, where one is known.
    pub max_pods: Option<u32>,
}

/// One ENI.
#[derive(Clone, Debug, Serialize)]
pub struct EniStatus {
    /// Its id.
    pub id: EniId,
    /// Network card.
    pub card: u32,
    /// Device index.
    pub device: u32,
    /// Its subnet.
    pub subnet: SubnetId,
    /// Its own address.
    pub primary_address: Ipv4Addr,
    /// Where it is in its life.
    pub phase: &'static str,
    /// Whether new pods may go there.
    pub takes_pods: bool,
    /// Pod addresses on it.
    pub addresses: u32,
    /// Delegated prefixes, of either family.
    pub prefixes: Vec<String>,
    /// Of its addresses, free.
    pub free: u32,
    /// Of its addresses, bound.
    pub bound: u32,
    /// Why the node has it.
    pub why: String,
}

/// One subnet.
#[derive(Clone, Debug, Serialize)]
pub struct SubnetStatus {
    /// Its id.
    pub id: SubnetId,
    /// Addresses EC2 reports as free.
    pub free: u32,
    /// Its place in the strategy's order, if it may be used.
    pub rank: Option<usize>,
}

/// A strategy's last decision.
#[derive(Clone, Debug, Serialize)]
pub struct StrategyStatus {
    /// `warm-pool`, `max-pods` or `subnet-selection`.
    pub kind: &'static str,
    /// Who answered.
    pub strategy: String,
    /// Which step of the ladder answered.
    pub rung: String,
    /// The target, in words.
    pub target: String,
    /// Its reason.
    pub reason: String,
    /// What went wrong above.
    pub faults: Vec<String>,
    /// Its record, if it has one.
    pub record: Option<DecisionId>,
}

/// One address.
#[derive(Clone, Debug, Serialize)]
pub struct AddressStatus {
    /// The address.
    pub address: IpAddr,
    /// The delegated prefix that it is out of, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block: Option<Ipv4Net>,
    /// The ENI it is on.
    pub eni: EniId,
    /// Where it is in its life.
    pub state: &'static str,
    /// For how long, seconds.
    pub for_secs: u64,
    /// The pod, if one holds it.
    pub pod: Option<String>,
    /// The attachment, if one holds it.
    pub attachment: Option<String>,
    /// Why the node holds it.
    pub why: String,
    /// What happens to it next.
    pub next: String,
}

fn count<T>(items: impl Iterator<Item = T>) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}

fn small(n: u32) -> u16 {
    u16::try_from(n).unwrap_or(u16::MAX)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl NodeState {
    fn context(&self, now: Timestamp) -> Context {
        // Sequence, seed, settings and state are the policy host's to fill in.
        Context { now_ms: now.0, wall_secs: now.0 / 1000, ..Context::default() }
    }

    pub(super) fn warm_pool_snapshot(&mut self, now: Timestamp) -> WarmPoolSnapshot {
        let history = self.demand.buckets(now);
        // A further card's pool is not the strategy's business.
        let card = self.instance_type.default_card;
        let mut enis: Vec<_> = self.enis.values().filter(|eni| self.is_on(eni.seat, card)).collect();
        enis.sort_by_key(|eni| eni.seat);
        let blocks = self.block_uses(&enis);
        let candidates = self.candidates(now);
        let index_of = |id: &SubnetId| candidates.iter().position(|(other, _)| other == id);
        let uses = enis
            .into_iter()
            .take(MAX_ENIS)
            .map(|eni| {
                let counts = self.pool.counts_on(&eni.id);
                EniUse {
                    slot: small(eni.seat.device),
                    card: small(eni.seat.card),
                    subnet: index_of(&eni.subnet)
                        .map_or(u16::MAX, |index| u16::try_from(index).unwrap_or(u16::MAX)),
                    phase: match eni.phase {
                        Phase::Ready if !self.takes_pods(eni) => EniPhase::Leaving,
                        Phase::Created | Phase::Attaching { .. } => EniPhase::Coming,
                        Phase::Ready => EniPhase::Ready,
                        Phase::Leaving(_) => EniPhase::Leaving,
                    },
                    primary: eni.is_primary(),
                    age_ms: millis(now.since(eni.known_since)),
                    capacity: if self.takes_pods(eni) {
                        self.instance_type.addresses_per_eni(self.config.mode)
                    } else {
                        counts.used()
                    },
                    assigned: counts.total() - counts.returning,
                    free: counts.free,
                    bound: counts.held,
                    cooling: counts.cooling,
                    prefixes: count(self.pool.blocks_on(&eni.id)),
                    idle_ms: millis(now.since(eni.last_use)),
                }
            })
            .collect();
        let supply = self.supply(card, now);
        WarmPoolSnapshot {
            context: self.context(now),
            mode: self.config.mode,
            limits: Limits {
                max_enis: self.enis_for_pods(card),
                slots_per_eni: self.instance_type.slots_per_eni(),
                addresses_per_slot: match self.config.mode {
                    Mode::SecondaryIp => 1,
                    Mode::Prefix => PREFIX_ADDRESSES,
                },
                prefixes: self.instance_type.supports_prefixes(),
                trunk_reserve: 0,
            },
            enis: uses,
            blocks,
            bucket_ms: millis(BUCKET),
            history,
            subnets: candidates.into_iter().map(|(_, subnet)| subnet).collect(),
            pressure: Pressure {
                throttled: self
                    .restraint
                    .pushback
                    .throttled_at()
                    .is_some_and(|at| now.since(at) < Duration::from_secs(60)),
                budget_milli: match self.restraint.pushback.next(now) {
                    Some(_) => 0,
                    None => self.restraint.budget().left_milli(now).min(1000),
                },
                in_flight_enis: count(self.enis.values().filter(|eni| eni.is_coming(now)))
                    + count(self.creations()),
                in_flight_addresses: supply.coming,
            },
            pods: Pods {
                bound: self.pool.counts().held,
                waiting: supply.waiting,
                expected: 0,
                max: self.max_pods_in_force(),
            },
        }
    }

    /// The prefixes of `enis`, in order.
    fn block_uses(&self, enis: &[&Eni]) -> Vec<BlockUse> {
        let on = enis.iter().flat_map(|eni| {
            let slot = small(eni.seat.device);
            self.pool.blocks_on(&eni.id).map(move |block| (slot, block.counts))
        });
        let uses = on.map(|(slot, counts)| BlockUse {
            slot,
            bound: small(counts.held),
            cooling: small(counts.cooling),
        });
        uses.take(MAX_BLOCKS).collect()
    }

    pub(super) fn subnet_snapshot(&self, now: Timestamp) -> (SubnetSnapshot, Vec<SubnetId>) {
        let (ids, candidates) = self.candidates(now).into_iter().unzip();
        let wanted = self.instance_type.ipv4_per_eni;
        (SubnetSnapshot { context: self.context(now), mode: self.config.mode, wanted, candidates }, ids)
    }

    /// The question to the max-pods strategy about this node.
    pub fn max_pods_snapshot(&self, now: Timestamp) -> MaxPodsSnapshot {
        let max_enis = self.usable_enis(self.instance_type.default_card);
        let about = MaxPodsSnapshot::of(&self.instance_type, self.config.mode, max_enis);
        let custom_networking = self.config.custom_networking != CustomNetworking::Off;
        MaxPodsSnapshot { context: self.context(now), custom_networking, ..about }
    }

    fn candidates(&self, now: Timestamp) -> Vec<(SubnetId, SubnetUse)> {
        let named = matches!(self.config.custom_networking, CustomNetworking::Use(_));
        let mut subnets: Vec<_> = self.offered().collect();
        subnets.sort_by_key(|subnet| (std::cmp::Reverse(subnet.free), &subnet.id));
        subnets
            .into_iter()
            .take(MAX_SUBNETS)
            .map(|subnet| {
                let in_flight = self.in_flight_in(&subnet.id);
                let exhausted = self.exhausted.get(&subnet.id).filter(|exhausted| exhausted.until > now);
                let size = 1u32.checked_shl(32 - u32::from(subnet.cidr.prefix_len())).unwrap_or(u32::MAX);
                let free = subnet.free.saturating_sub(in_flight);
                let subnet_use = SubnetUse {
                    free,
                    // EC2 keeps the first four addresses and the last.
                    total: size.saturating_sub(5),
                    free_blocks: if self.is_fragmented(&subnet.id) { 0 } else { free / PREFIX_ADDRESSES },
                    primary: subnet.id == self.identity.subnet,
                    // What the operator names is meant, whatever its tags say.
                    role: if named { RoleTag::Included } else { subnet.role },
                    cluster: if named { ClusterTag::Any } else { subnet.cluster },
                    recent_failures: exhausted.map_or(0, |exhausted| exhausted.failures),
                    in_flight,
                    enis: count(self.enis.values().filter(|eni| eni.subnet == subnet.id)),
                    hints: Vec::new(),
                };
                (subnet.id.clone(), subnet_use)
            })
            .collect()
    }

    /// Why an ADD would wait, or waits, now.
    pub fn wait_reason(&self, now: Timestamp) -> WaitReason {
        let failing = self.restraint.pushback.against_growth();
        if !self.reconcile.has_begun() {
            let why = self.reconcile.refusal().map(str::to_owned);
            return why.map_or(WaitReason::Starting, |why| WaitReason::Kernel { why });
        }
        if !self.seen {
            return failing.map_or(WaitReason::Starting, |(error, until)| cloud_reason(error, until, now));
        }
        if let Some(reason) = self.reason_without_ipv6() {
            return match (reason, failing) {
                (WaitReason::Ipv6Coming { .. }, Some((error, until))) => cloud_reason(error, until, now),
                (reason, _) => reason,
            };
        }
        let dual = self.config.families == Families::DualStack;
        if self.config.egress && !dual && self.pick_node_local().is_none() {
            return WaitReason::NoNodeLocal;
        }
        let card = self.instance_type.default_card;
        let supply = self.supply(card, now);
        if let Some(reason) = self.reason_on_its_way(&supply, now) {
            return reason;
        }
        if supply.held.saturating_sub(supply.unusable) >= supply.max_pods {
            return WaitReason::MaxPods { max_pods: supply.max_pods };
        }
        match self.config.provisioning {
            Provisioning::Full if self.config.cordoned => return WaitReason::Cordoned,
            Provisioning::Full => {}
            Provisioning::LookOnly | Provisioning::MetadataOnly => {
                return match failing {
                    Some((error, until)) => cloud_reason(error, until, now),
                    None => WaitReason::NotProvisioned,
                };
            }
        }
        let on_enis = supply.enis.iter().any(|eni| eni.ready && eni.room > 0);
        if let Some(reason) = self.misplaced().filter(|_| !on_enis) {
            return reason;
        }
        let room = on_enis || supply.enis_counted < supply.max_enis;
        if room {
            if let Some(reason) = self.reason_withheld(now) {
                return reason;
            }
            return match failing {
                Some((error, until)) => cloud_reason(error, until, now),
                None => self.reason_without_growth(&supply),
            };
        }
        let counts = self.pool.counts();
        match self.pool.next_thaw() {
            Some(first) => WaitReason::Cooling { cooling: counts.cooling, secs: first.since(now).as_secs() },
            None => WaitReason::NodeFull {
                bound: self.pool.pods(),
                total: supply.held,
                max_enis: self.enis_for_pods(card),
            },
        }
    }

    /// What is under way and will end the wait.
    fn reason_on_its_way(&self, supply: &Supply, now: Timestamp) -> Option<WaitReason> {
        let coming = |doing: &str| Some(WaitReason::EniComing { doing: doing.to_owned() });
        let attaching = |eni: &Eni| matches!(eni.phase, Phase::Attaching { .. }) && eni.is_coming(now);
        if self.enis.values().any(attaching) {
            return coming("set up");
        }
        for call in self.calls.values() {
            match call.purpose {
                Purpose::Attach { .. } => return coming("attached"),
                Purpose::Create(_) => return coming("created"),
                Purpose::Assign { .. } => return Some(WaitReason::Growing { in_flight: supply.coming }),
                Purpose::Enis { .. }
                | Purpose::Subnets
                | Purpose::VpcRanges
                | Purpose::Orphans
                | Purpose::Sweep { .. }
                | Purpose::AssignIpv6 { .. }
                | Purpose::Groups { .. }
                | Purpose::Mark { .. }
                | Purpose::Detach { .. }
                | Purpose::Delete { .. }
                | Purpose::Unassign { .. } => {}
            }
        }
        let created = self.enis.values().any(|eni| eni.phase == Phase::Created);
        if created && self.restraint.pushback.against_growth().is_none() { coming("attached") } else { None }
    }

    /// Why there is room and nothing happens although EC2 does not fail.
    fn reason_without_growth(&self, supply: &Supply) -> WaitReason {
        if let Some(subnet) = self.exhausted.keys().next() {
            return WaitReason::SubnetsExhausted { subnet: subnet.clone() };
        }
        if supply.may_create || self.subnets.is_empty() {
            return WaitReason::Scheduled;
        }
        match self.subnets.iter().max_by_key(|subnet| subnet.free) {
            Some(subnet) if subnet.free < 2 => WaitReason::SubnetsExhausted { subnet: subnet.id.clone() },
            Some(_) | None => WaitReason::NoSubnet,
        }
    }

    /// One screen about the node.
    pub fn status(&self, now: Timestamp) -> Status {
        let pool = self.pool_status(now);
        let mut enis: Vec<_> = self.enis.values().collect();
        enis.sort_by_key(|eni| eni.seat);
        let order = self.subnet_order.as_ref().map_or(&[][..], |decision| decision.target.as_slice());
        let ready = !self.stopping && self.has_addresses();
        Status {
            instance: self.identity.instance.to_string(),
            instance_type: self.identity.instance_type.clone(),
            zone: self.identity.zone.clone(),
            mode: self.config.mode,
            families: self.config.families,
            ready,
            readiness: self.readiness(now),
            withheld: self.withheld_status(now),
            degraded: self.restraint.pushback.any().map(ToString::to_string),
            waiting_for: (!ready).then(|| self.wait_reason(now).to_string()),
            pool,
            enis: enis.into_iter().map(|eni| self.eni_status(eni)).collect(),
            subnets: self
                .subnets
                .iter()
                .map(|subnet| SubnetStatus {
                    id: subnet.id.clone(),
                    free: subnet.free,
                    rank: order.iter().position(|id| *id == subnet.id),
                })
                .collect(),
            strategies: self.strategies(),
            calls: self.call_counts.iter().map(|(api, count)| (api.name(), *count)).collect(),
            budget: self.budget_status(now),
            cluster: self.cluster_status(now),
            waiters: self.waiters(now),
            quarantined: self.quarantined(now),
            blocks: self.block_status(),
            kernel: self.kernel_status(now),
            swept: self.sweep.swept(),
        }
    }

    /// The pool in numbers.
    pub fn pool_status(&self, now: Timestamp) -> PoolStatus {
        let counts = self.pool.counts();
        let card = self.instance_type.default_card;
        let supply = self.supply(card, now);
        PoolStatus {
            total: counts.total(),
            free: counts.free,
            bound: self.pool.pods(),
            prefixes: count(self.enis.keys().flat_map(|eni| self.pool.blocks_on(eni))),
            ipv6: self.pool.ipv6_counts().held,
            cooling: counts.cooling,
            quarantined: counts.quarantined,
            waiting: u32::try_from(self.queue.len()).unwrap_or(u32::MAX),
            coming: supply.coming,
            gap: plan::shortage(&supply, &self.band_of(card)).saturating_sub(supply.coming),
            max_enis: self.enis_for_pods(card),
            max_pods: Some(self.max_pods_in_force()).filter(|max| *max != u32::MAX),
        }
    }

    pub(super) fn eni_status(&self, eni: &Eni) -> EniStatus {
        let counts = self.pool.counts_on(&eni.id);
        EniStatus {
            id: eni.id.clone(),
            card: eni.seat.card,
            device: eni.seat.device,
            subnet: eni.subnet.clone(),
            primary_address: eni.primary_address,
            phase: eni.phase.name(),
            takes_pods: self.takes_pods(eni),
            prefixes: self
                .pool
                .blocks_on(&eni.id)
                .map(|block| block.range.to_string())
                .chain(eni.ipv6_prefixes.iter().map(ToString::to_string))
                .collect(),
            addresses: counts.total(),
            free: counts.free,
            bound: counts.held,
            why: eni.why.to_string(),
        }
    }

    fn strategies(&self) -> Vec<StrategyStatus> {
        fn row<T>(kind: &'static str, decision: &Decision<T>, target: String) -> StrategyStatus {
            StrategyStatus {
                kind,
                strategy: decision.strategy.clone(),
                rung: decision.rung.to_string(),
                target,
                reason: decision.reason.clone(),
                faults: decision.faults.clone(),
                record: decision.record,
            }
        }
        let mut rows = Vec::new();
        if let Some(band) = &self.band {
            rows.push(row("warm-pool", band, band.target.to_string()));
        }
        if let Some(max_pods) = &self.max_pods {
            rows.push(row("max-pods", max_pods, format!("{} pods", max_pods.target)));
        }
        if let Some(order) = &self.subnet_order {
            let ids: Vec<&str> = order.target.iter().map(SubnetId::as_str).collect();
            rows.push(row("subnet-selection", order, ids.join(" > ")));
        }
        rows
    }

    /// All addresses, in order.
    pub fn addresses(&self, now: Timestamp) -> Vec<AddressStatus> {
        self.pool.iter().map(|lease| address_status(lease, now)).collect()
    }

    /// The pod addresses per ENI in seat order: what `enid plan` prints.
    pub fn addresses_per_eni(&self) -> Vec<u32> {
        let mut enis: Vec<_> = self.enis.values().collect();
        enis.sort_by_key(|eni| eni.seat);
        enis.into_iter().map(|eni| self.eni_status(eni).addresses).collect()
    }
}

fn cloud_reason(error: &CloudError, until: Timestamp, now: Timestamp) -> WaitReason {
    WaitReason::Cloud { call: error.call.clone(), kind: error.kind, retry_secs: until.since(now).as_secs() }
}

pub(super) fn address_status(lease: &Lease, now: Timestamp) -> AddressStatus {
    let next = match &lease.state {
        LeaseState::Free => "the next pod may get it".to_owned(),
        LeaseState::Reserved(_) => "bound when the kernel has wired the pod".to_owned(),
        LeaseState::Bound(_) => "cooling when the pod is deleted".to_owned(),
        LeaseState::Unbinding(_) => "cooling when the kernel has unwired the pod".to_owned(),
        LeaseState::Cooling { until } => format!("free in {} s", until.since(now).as_secs_f64().ceil()),
        LeaseState::Returning => "leaves when EC2 confirms".to_owned(),
        LeaseState::Quarantined { why, .. } => format!("stays out of service while {why}; {}", why.way_out()),
    };
    let holder = lease.state.holder();
    AddressStatus {
        address: lease.address,
        block: lease.block,
        eni: lease.eni.clone(),
        state: lease.state.name(),
        for_secs: now.since(lease.since).as_secs(),
        pod: holder.and_then(|holder| holder.pod.as_ref()).map(ToString::to_string),
        attachment: holder.map(|holder| holder.attachment.to_string()),
        why: lease.why.to_string(),
        next,
    }
}
