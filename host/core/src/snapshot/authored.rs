//! Snapshots as people write them: what is left out has a default, which often follows from what is there.
//!
//! An empty object is the first question about an m5.large, the node that the guest SDK's tests start from.

use serde::Deserialize;

use super::{
    BlockUse, ClusterTag, Context, Demand, EniPhase, EniUse, Limits, MaxPodsSnapshot, Pods, Pressure,
    RoleTag, Setting, SubnetSnapshot, SubnetUse, WarmPoolSnapshot, setting_list,
};
use crate::limits::{Mode, PREFIX_ADDRESSES};

/// Ten minutes: what an author writes about has been so for a while.
const SETTLED_MS: u64 = 600_000;
/// Addresses that a /24 can ever have free.
const SUBNET_TOTAL: u32 = 251;

pub(super) fn context() -> Context {
    Context { now_ms: 1_000_000, wall_secs: 1_800_000_000, seed: (1, 2), ..Context::default() }
}

pub(super) fn pressure() -> Pressure {
    Pressure { budget_milli: 10_000, ..Pressure::default() }
}

pub(super) fn instance() -> MaxPodsSnapshot {
    MaxPodsSnapshot {
        context: context(),
        mode: Mode::SecondaryIp,
        instance_type: "m5.large".to_owned(),
        max_enis: 3,
        ipv4_per_eni: 10,
        prefixes: true,
        vcpus: 2,
        memory_mib: 8192,
        custom_networking: false,
        reserved_enis: 0,
        uncapped: false,
    }
}

pub(super) fn choice() -> SubnetSnapshot {
    let only = SubnetUse { primary: true, ..Subnet::default().completed() };
    SubnetSnapshot { context: context(), mode: Mode::SecondaryIp, wanted: 10, candidates: vec![only] }
}

/// A [`SubnetUse`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Subnet {
    free: u32,
    total: Option<u32>,
    free_blocks: Option<u32>,
    primary: bool,
    role: RoleTag,
    cluster: ClusterTag,
    recent_failures: u32,
    in_flight: u32,
    enis: u32,
    #[serde(with = "setting_list")]
    hints: Vec<Setting>,
}

impl Default for Subnet {
    fn default() -> Self {
        Self {
            free: 100,
            total: None,
            free_blocks: None,
            primary: false,
            role: RoleTag::Absent,
            cluster: ClusterTag::Any,
            recent_failures: 0,
            in_flight: 0,
            enis: 0,
            hints: Vec::new(),
        }
    }
}

impl Subnet {
    pub(super) fn completed(self) -> SubnetUse {
        SubnetUse {
            free: self.free,
            total: self.total.unwrap_or(SUBNET_TOTAL.max(self.free)),
            free_blocks: self.free_blocks.unwrap_or(self.free / PREFIX_ADDRESSES),
            primary: self.primary,
            role: self.role,
            cluster: self.cluster,
            recent_failures: self.recent_failures,
            in_flight: self.in_flight,
            enis: self.enis,
            hints: self.hints,
        }
    }
}

/// [`Limits`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Bounds {
    max_enis: u32,
    slots_per_eni: u32,
    addresses_per_slot: Option<u32>,
    prefixes: bool,
    trunk_reserve: u32,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { max_enis: 3, slots_per_eni: 9, addresses_per_slot: None, prefixes: true, trunk_reserve: 0 }
    }
}

impl Bounds {
    fn completed(self, mode: Mode) -> Limits {
        let by_mode = match mode {
            Mode::SecondaryIp => 1,
            Mode::Prefix => PREFIX_ADDRESSES,
        };
        Limits {
            max_enis: self.max_enis,
            slots_per_eni: self.slots_per_eni,
            addresses_per_slot: self.addresses_per_slot.unwrap_or(by_mode),
            prefixes: self.prefixes,
            trunk_reserve: self.trunk_reserve,
        }
    }
}

/// An [`EniUse`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Eni {
    slot: Option<u16>,
    card: u16,
    subnet: Option<u16>,
    phase: EniPhase,
    primary: Option<bool>,
    age_ms: u64,
    capacity: Option<u32>,
    assigned: Option<u32>,
    free: u32,
    bound: u32,
    cooling: u32,
    prefixes: Option<u32>,
    idle_ms: Option<u64>,
}

impl Default for Eni {
    fn default() -> Self {
        Self {
            slot: None,
            card: 0,
            subnet: None,
            phase: EniPhase::Ready,
            primary: None,
            age_ms: SETTLED_MS,
            capacity: None,
            assigned: None,
            free: 0,
            bound: 0,
            cooling: 0,
            prefixes: None,
            idle_ms: None,
        }
    }
}

impl Eni {
    fn completed(self, position: usize, mode: Mode, limits: Limits, first_subnet: u16) -> EniUse {
        let slot = self.slot.unwrap_or(u16::try_from(position).unwrap_or(u16::MAX));
        let in_use = self.free.saturating_add(self.bound).saturating_add(self.cooling);
        let assigned = self.assigned.unwrap_or(in_use);
        let prefixes = match mode {
            Mode::SecondaryIp => 0,
            Mode::Prefix => assigned.div_ceil(PREFIX_ADDRESSES),
        };
        EniUse {
            slot,
            card: self.card,
            subnet: self.subnet.unwrap_or(first_subnet),
            phase: self.phase,
            primary: self.primary.unwrap_or(slot == 0 && self.card == 0),
            age_ms: self.age_ms,
            capacity: self.capacity.unwrap_or(limits.slots_per_eni.saturating_mul(limits.addresses_per_slot)),
            assigned,
            free: self.free,
            bound: self.bound,
            cooling: self.cooling,
            prefixes: self.prefixes.unwrap_or(prefixes),
            idle_ms: self.idle_ms.unwrap_or(self.age_ms),
        }
    }
}

/// [`Pods`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PodCounts {
    bound: Option<u32>,
    waiting: u32,
    expected: u32,
    max: u32,
}

impl Default for PodCounts {
    fn default() -> Self {
        Self { bound: None, waiting: 0, expected: 0, max: 29 }
    }
}

/// A [`WarmPoolSnapshot`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WarmPool {
    context: Context,
    mode: Mode,
    limits: Bounds,
    enis: Vec<Eni>,
    blocks: Vec<BlockUse>,
    bucket_ms: u64,
    history: Vec<Demand>,
    subnets: Vec<SubnetUse>,
    pressure: Pressure,
    pods: PodCounts,
}

impl Default for WarmPool {
    fn default() -> Self {
        Self {
            context: context(),
            mode: Mode::SecondaryIp,
            limits: Bounds::default(),
            enis: vec![Eni::default()],
            blocks: Vec::new(),
            bucket_ms: 10_000,
            history: Vec::new(),
            subnets: vec![Subnet::default().completed()],
            pressure: pressure(),
            pods: PodCounts::default(),
        }
    }
}

impl WarmPool {
    pub(super) fn completed(self) -> WarmPoolSnapshot {
        let limits = self.limits.completed(self.mode);
        let first_subnet = if self.subnets.is_empty() { u16::MAX } else { 0 };
        let completed =
            |(position, eni): (usize, Eni)| eni.completed(position, self.mode, limits, first_subnet);
        let enis: Vec<EniUse> = self.enis.into_iter().enumerate().map(completed).collect();
        let bound = enis.iter().fold(0u32, |sum, eni| sum.saturating_add(eni.bound));
        WarmPoolSnapshot {
            context: self.context,
            mode: self.mode,
            limits,
            enis,
            blocks: self.blocks,
            bucket_ms: self.bucket_ms,
            history: self.history,
            subnets: self.subnets,
            pressure: self.pressure,
            pods: Pods {
                bound: self.pods.bound.unwrap_or(bound),
                waiting: self.pods.waiting,
                expected: self.pods.expected,
                max: self.pods.max,
            },
        }
    }
}
