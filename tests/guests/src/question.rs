//! Something to ask.

use enid_core::document::Snapshot;
use enid_core::kind::Kind;
use enid_core::limits::Mode;
use enid_core::snapshot::{
    Context, Demand, EniPhase, EniUse, Limits, MaxPodsSnapshot, Pods, SubnetSnapshot, SubnetUse,
    WarmPoolSnapshot,
};

/// A question about a node in use: three ENIs, four buckets, two subnets.
pub fn snapshot() -> WarmPoolSnapshot {
    let eni = |slot: u16| EniUse {
        slot,
        card: 0,
        subnet: 0,
        phase: EniPhase::Ready,
        primary: slot == 0,
        age_ms: 600_000,
        capacity: 9,
        assigned: 9,
        free: 3,
        bound: 6,
        cooling: 0,
        prefixes: 0,
        idle_ms: 1_000,
    };
    WarmPoolSnapshot {
        context: context(),
        mode: Mode::SecondaryIp,
        limits: Limits {
            max_enis: 3,
            slots_per_eni: 9,
            addresses_per_slot: 1,
            prefixes: true,
            trunk_reserve: 0,
        },
        enis: (0..3).map(eni).collect(),
        bucket_ms: 10_000,
        history: vec![Demand { added: 1, removed: 1, ..Demand::default() }; 4],
        subnets: vec![SubnetUse { free: 100, total: 251, primary: true, ..SubnetUse::default() }; 2],
        pods: Pods { bound: 18, waiting: 0, expected: 0, max: 29 },
        ..WarmPoolSnapshot::default()
    }
}

/// A question about an m5.large.
pub fn instance() -> MaxPodsSnapshot {
    MaxPodsSnapshot {
        context: context(),
        mode: Mode::SecondaryIp,
        instance_type: "m5.large".into(),
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

/// A question with two candidates, of which the second is the primary's.
pub fn choice() -> SubnetSnapshot {
    let primary = SubnetUse { primary: true, free: 7, total: 11, ..SubnetUse::default() };
    SubnetSnapshot {
        context: context(),
        mode: Mode::SecondaryIp,
        wanted: 4,
        candidates: vec![SubnetUse { primary: false, ..primary.clone() }, primary],
    }
}

/// An ordinary question of this kind.
pub fn ordinary(kind: Kind) -> Snapshot {
    match kind {
        Kind::WarmPool => Snapshot::WarmPool(snapshot()),
        Kind::MaxPods => Snapshot::MaxPods(instance()),
        Kind::SubnetSelection => Snapshot::SubnetSelection(choice()),
    }
}

fn context() -> Context {
    Context { now_ms: 1_000_000, wall_secs: 1_800_000_000, ..Context::default() }
}
