//! Questions for native tests: start from a plain node and change what the test is about.

use crate::settings::Settings;
use crate::warm_pool::{EniPhase, EniUse, Limits, PodCounts, Pressure};
use crate::{
    ClusterTag, Context, Mode, RoleTag, Setting, SubnetUse, Value, max_pods, subnet_selection, warm_pool,
};

/// An integer setting.
pub fn int(key: &str, value: i64) -> Setting {
    Setting { key: key.to_owned(), value: Value::Int(value) }
}

/// A boolean setting.
pub fn flag(key: &str, value: bool) -> Setting {
    Setting { key: key.to_owned(), value: Value::Flag(value) }
}

/// A text setting.
pub fn text(key: &str, value: &str) -> Setting {
    Setting { key: key.to_owned(), value: Value::Text(value.to_owned()) }
}

/// Settings that must be right.
///
/// # Panics
/// With the issues when they are not.
pub fn settings<S: Settings>(given: &[Setting]) -> S {
    S::parse(given).unwrap_or_else(|issues| panic!("settings are refused: {issues:?}"))
}

/// The first question ever, without settings.
pub fn context(settings: Vec<Setting>) -> Context {
    Context {
        sequence: 0,
        now_ms: 1_000_000,
        wall_secs: 1_800_000_000,
        seed: (1, 2),
        settings,
        state: Vec::new(),
        hints: Vec::new(),
    }
}

/// A node with one empty ENI: 3 ENIs of 9 slots, as an m5.large has.
pub fn node(mode: Mode) -> warm_pool::Snapshot {
    let limits = Limits {
        max_enis: 3,
        slots_per_eni: 9,
        addresses_per_slot: match mode {
            Mode::SecondaryIp => 1,
            Mode::Prefix => 16,
        },
        prefixes: true,
        trunk_reserve: 0,
    };
    warm_pool::Snapshot {
        context: context(Vec::new()),
        mode,
        limits,
        enis: vec![eni(0, limits)],
        blocks: Vec::new(),
        bucket_ms: 10_000,
        history: Vec::new(),
        subnets: vec![subnet(100)],
        pressure: Pressure {
            throttled: false,
            budget_milli: 10_000,
            in_flight_enis: 0,
            in_flight_addresses: 0,
        },
        pods: PodCounts { bound: 0, waiting: 0, expected: 0, max: 29 },
    }
}

/// An ENI in service that holds nothing yet; the one in slot 0 is the primary.
pub fn eni(slot: u16, limits: Limits) -> EniUse {
    EniUse {
        slot,
        card: 0,
        subnet: 0,
        phase: EniPhase::Ready,
        primary: slot == 0,
        age_ms: 600_000,
        capacity: limits.slots_per_eni * limits.addresses_per_slot,
        assigned: 0,
        free: 0,
        bound: 0,
        cooling: 0,
        prefixes: 0,
        idle_ms: 600_000,
    }
}

/// An untagged subnet of 251 addresses with so many free.
pub fn subnet(free: u32) -> SubnetUse {
    SubnetUse {
        free,
        total: 251,
        free_blocks: free / 16,
        primary: false,
        role: RoleTag::Absent,
        cluster: ClusterTag::Any,
        recent_failures: 0,
        in_flight: 0,
        enis: 0,
        hints: Vec::new(),
    }
}

/// An m5.large that asks how many pods it can run.
pub fn instance(mode: Mode) -> max_pods::Snapshot {
    max_pods::Snapshot {
        context: context(Vec::new()),
        mode,
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

/// A choice between subnets.
pub fn choice(candidates: Vec<SubnetUse>) -> subnet_selection::Snapshot {
    subnet_selection::Snapshot {
        context: context(Vec::new()),
        mode: Mode::SecondaryIp,
        wanted: 10,
        candidates,
    }
}
