//! Random questions: any node that could be, and some that could not.

use enid_core::limits::Mode;
use enid_core::snapshot::{
    BlockUse, ClusterTag, Context, Demand, EniPhase, EniUse, Limits, MaxPodsSnapshot, Pods, Pressure,
    RoleTag, Setting, SubnetSnapshot, SubnetUse, Value, WarmPoolSnapshot,
};
use proptest::collection::vec;
use proptest::prelude::*;

pub(crate) fn warm_pool() -> impl Strategy<Value = WarmPoolSnapshot> {
    (
        context(),
        mode(),
        limits(),
        vec(eni(), 0..16),
        vec(block(), 0..20),
        vec(demand(), 0..64),
        vec(subnet(), 0..6),
        pods(),
    )
        .prop_map(|(context, mode, limits, enis, blocks, history, subnets, pods)| WarmPoolSnapshot {
            context,
            mode,
            limits,
            enis,
            blocks,
            bucket_ms: 10_000,
            history,
            subnets,
            pressure: Pressure {
                throttled: pods.waiting > 3,
                budget_milli: 5_000,
                in_flight_enis: 1,
                in_flight_addresses: 2,
            },
            pods,
        })
}

pub(crate) fn max_pods() -> impl Strategy<Value = MaxPodsSnapshot> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (context(), mode(), "[a-z0-9.-]{0,20}", 0..64u32, 0..64u32, 0..200u32, 0..4u32, flags).prop_map(
        |(
            context,
            mode,
            instance_type,
            max_enis,
            ipv4_per_eni,
            vcpus,
            reserved_enis,
            (prefixes, custom_networking, uncapped),
        )| {
            MaxPodsSnapshot {
                context,
                mode,
                instance_type,
                max_enis,
                ipv4_per_eni,
                prefixes,
                vcpus,
                memory_mib: u64::from(vcpus) * 4096,
                custom_networking,
                reserved_enis,
                uncapped,
            }
        },
    )
}

pub(crate) fn subnets() -> impl Strategy<Value = SubnetSnapshot> {
    (context(), mode(), 0..64u32, vec(subnet(), 0..64))
        .prop_map(|(context, mode, wanted, candidates)| SubnetSnapshot { context, mode, wanted, candidates })
}

/// Settings of warm-targets, mostly right: wrong ones must be refused in the same words on both sides.
pub(crate) fn warm_settings() -> impl Strategy<Value = Vec<Setting>> {
    vec(
        prop_oneof![
            int("warm_eni_target", 130),
            int("warm_ip_target", 40),
            int("minimum_ip_target", 40),
            int("warm_prefix_target", 5),
            int("release_after_secs", 600),
            text("placement", "pack"),
            text("placement", "spread"),
            text("placement", "tetris"),
            text("colour", "blue"),
        ],
        0..4,
    )
}

pub(crate) fn max_pods_settings() -> impl Strategy<Value = Vec<Setting>> {
    vec(prop_oneof![int("host_network_pods", 9), int("cap", 300)], 0..2)
}

pub(crate) fn subnet_settings() -> impl Strategy<Value = Vec<Setting>> {
    vec(any::<bool>().prop_map(|on| Setting { key: "discovery".into(), value: Value::Flag(on) }), 0..2)
}

fn int(key: &'static str, most: i64) -> BoxedStrategy<Setting> {
    (-1..=most).prop_map(move |value| Setting { key: key.into(), value: Value::Int(value) }).boxed()
}

fn text(key: &'static str, value: &'static str) -> BoxedStrategy<Setting> {
    Just(Setting { key: key.into(), value: Value::Text(value.into()) }).boxed()
}

fn context() -> impl Strategy<Value = Context> {
    (0..1u64 << 53, 0..1u64 << 40, any::<(u32, u32)>(), vec(any::<u8>(), 0..100)).prop_map(
        |(now_ms, wall_secs, seed, state)| Context {
            sequence: now_ms / 7,
            now_ms,
            wall_secs,
            seed,
            state,
            ..Context::default()
        },
    )
}

fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![Just(Mode::SecondaryIp), Just(Mode::Prefix)]
}

fn limits() -> impl Strategy<Value = Limits> {
    (0..64u32, 0..64u32, prop_oneof![Just(1u32), Just(16)], any::<bool>()).prop_map(
        |(max_enis, slots_per_eni, addresses_per_slot, prefixes)| Limits {
            max_enis,
            slots_per_eni,
            addresses_per_slot,
            prefixes,
            trunk_reserve: 0,
        },
    )
}

fn eni() -> impl Strategy<Value = EniUse> {
    let phase = prop_oneof![Just(EniPhase::Coming), Just(EniPhase::Ready), Just(EniPhase::Leaving)];
    (0..32u16, phase, any::<u32>(), any::<u32>(), 0..50u32, 0..1u64 << 53).prop_map(
        |(slot, phase, assigned, free, bound, age_ms)| EniUse {
            slot,
            card: 0,
            subnet: slot % 5,
            phase,
            primary: slot == 0,
            age_ms,
            capacity: 49,
            assigned,
            free,
            bound,
            cooling: bound % 3,
            prefixes: bound % 5,
            idle_ms: age_ms / 2,
        },
    )
}

fn block() -> impl Strategy<Value = BlockUse> {
    (0..15u16, 0..16u16, 0..16u16).prop_map(|(slot, bound, cooling)| BlockUse { slot, bound, cooling })
}

fn demand() -> impl Strategy<Value = Demand> {
    (any::<u32>(), 0..50u32, 0..5u32).prop_map(|(added, removed, waited)| Demand {
        added,
        removed,
        waited,
        failed: waited / 2,
        peak: removed,
    })
}

fn subnet() -> impl Strategy<Value = SubnetUse> {
    let role = prop_oneof![Just(RoleTag::Absent), Just(RoleTag::Excluded), Just(RoleTag::Included)];
    let cluster = prop_oneof![Just(ClusterTag::Any), Just(ClusterTag::Ours), Just(ClusterTag::Foreign)];
    (prop_oneof![0..20u32, any::<u32>()], any::<bool>(), role, cluster, 0..5u32).prop_map(
        |(free, primary, role, cluster, enis)| SubnetUse {
            free,
            total: free,
            free_blocks: free / 16,
            primary,
            role,
            cluster,
            recent_failures: enis,
            in_flight: 0,
            enis,
            hints: Vec::new(),
        },
    )
}

fn pods() -> impl Strategy<Value = Pods> {
    (any::<u32>(), 0..9u32, 0..9u32).prop_map(|(bound, waiting, expected)| Pods {
        bound,
        waiting,
        expected,
        max: 250,
    })
}
