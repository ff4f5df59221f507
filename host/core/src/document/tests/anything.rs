//! Questions and answers without any sense, within the types.

use proptest::prelude::*;
use proptest::{collection, option};

use crate::document::{Answer, Snapshot};
use crate::limits::Mode;
use crate::proposal::{Band, Grain, Outcome, Placement, Proposal, Ranked};
use crate::snapshot::{
    BlockUse, ClusterTag, Context, Demand, EniPhase, EniUse, Limits, MaxPodsSnapshot, Pods, Pressure,
    RoleTag, Setting, SubnetSnapshot, SubnetUse, Value, WarmPoolSnapshot,
};

pub(super) fn snapshot() -> impl Strategy<Value = Snapshot> {
    prop_oneof![
        warm_pool().prop_map(Snapshot::WarmPool),
        max_pods().prop_map(Snapshot::MaxPods),
        choice().prop_map(Snapshot::SubnetSelection),
    ]
}

pub(super) fn answer() -> impl Strategy<Value = Answer> {
    let ranked = (any::<u16>(), any::<u32>()).prop_map(|(candidate, weight)| Ranked { candidate, weight });
    prop_oneof![
        proposal(band()).prop_map(Answer::WarmPool),
        proposal(any::<u32>()).prop_map(Answer::MaxPods),
        proposal(collection::vec(ranked, 0..80)).prop_map(Answer::SubnetSelection),
    ]
}

fn proposal<T: std::fmt::Debug>(target: impl Strategy<Value = T>) -> impl Strategy<Value = Proposal<T>> {
    (target, outcome()).prop_map(|(target, outcome)| Proposal { target, outcome })
}

fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![Just(Mode::SecondaryIp), Just(Mode::Prefix)]
}

/// Settings of all types, no key twice, in an order that is not that of the keys.
fn settings() -> impl Strategy<Value = Vec<Setting>> {
    let value = prop_oneof![
        any::<bool>().prop_map(Value::Flag),
        any::<i64>().prop_map(Value::Int),
        any::<String>().prop_map(Value::Text),
    ];
    collection::btree_map(any::<String>(), value, 0..5).prop_map(|map| {
        let mut settings: Vec<Setting> = map.into_iter().map(|(key, value)| Setting { key, value }).collect();
        settings.sort_by_key(|setting| format!("{:?}", setting.value));
        settings
    })
}

prop_compose! {
    fn context()(
        sequence in any::<u64>(), now_ms in any::<u64>(), wall_secs in any::<u64>(),
        seed in any::<(u32, u32)>(), settings in settings(),
        state in collection::vec(any::<u8>(), 0..40), hints in settings(),
    ) -> Context {
        Context { sequence, now_ms, wall_secs, seed, settings, state, hints }
    }
}

prop_compose! {
    fn limits()(
        max_enis in any::<u32>(), slots_per_eni in any::<u32>(), addresses_per_slot in any::<u32>(),
        prefixes in any::<bool>(), trunk_reserve in any::<u32>(),
    ) -> Limits {
        Limits { max_enis, slots_per_eni, addresses_per_slot, prefixes, trunk_reserve }
    }
}

prop_compose! {
    fn eni()(
        (slot, card, subnet) in any::<(u16, u16, u16)>(),
        phase in prop_oneof![Just(EniPhase::Coming), Just(EniPhase::Ready), Just(EniPhase::Leaving)],
        primary in any::<bool>(), (age_ms, idle_ms) in any::<(u64, u64)>(),
        (capacity, assigned, free, bound, cooling, prefixes) in any::<(u32, u32, u32, u32, u32, u32)>(),
    ) -> EniUse {
        EniUse {
            slot, card, subnet, phase, primary, age_ms, capacity, assigned, free, bound, cooling, prefixes,
            idle_ms,
        }
    }
}

prop_compose! {
    fn subnet()(
        (free, total, free_blocks, recent_failures, in_flight, enis)
            in any::<(u32, u32, u32, u32, u32, u32)>(),
        primary in any::<bool>(),
        role in prop_oneof![Just(RoleTag::Absent), Just(RoleTag::Excluded), Just(RoleTag::Included)],
        cluster in prop_oneof![Just(ClusterTag::Any), Just(ClusterTag::Ours), Just(ClusterTag::Foreign)],
        hints in settings(),
    ) -> SubnetUse {
        SubnetUse {
            free, total, free_blocks, primary, role, cluster, recent_failures, in_flight, enis, hints,
        }
    }
}

prop_compose! {
    fn block()((slot, bound, cooling) in any::<(u16, u16, u16)>()) -> BlockUse {
        BlockUse { slot, bound, cooling }
    }
}

prop_compose! {
    fn demand()((added, removed, waited, failed, peak) in any::<(u32, u32, u32, u32, u32)>()) -> Demand {
        Demand { added, removed, waited, failed, peak }
    }
}

prop_compose! {
    fn warm_pool()(
        context in context(), mode in mode(), limits in limits(), enis in collection::vec(eni(), 0..4),
        blocks in collection::vec(block(), 0..4), bucket_ms in any::<u64>(),
        history in collection::vec(demand(), 0..4), subnets in collection::vec(subnet(), 0..4),
        (throttled, budget_milli, in_flight_enis, in_flight_addresses) in any::<(bool, u32, u32, u32)>(),
        (bound, waiting, expected, max) in any::<(u32, u32, u32, u32)>(),
    ) -> WarmPoolSnapshot {
        let pressure = Pressure { throttled, budget_milli, in_flight_enis, in_flight_addresses };
        let pods = Pods { bound, waiting, expected, max };
        WarmPoolSnapshot {
            context, mode, limits, enis, blocks, bucket_ms, history, subnets, pressure, pods,
        }
    }
}

prop_compose! {
    fn max_pods()(
        context in context(), mode in mode(), instance_type in any::<String>(),
        (max_enis, ipv4_per_eni, vcpus, reserved_enis) in any::<(u32, u32, u32, u32)>(),
        (prefixes, custom_networking, uncapped) in any::<(bool, bool, bool)>(), memory_mib in any::<u64>(),
    ) -> MaxPodsSnapshot {
        MaxPodsSnapshot {
            context, mode, instance_type, max_enis, ipv4_per_eni, prefixes, vcpus, memory_mib,
            custom_networking, reserved_enis, uncapped,
        }
    }
}

prop_compose! {
    fn choice()(
        context in context(), mode in mode(), wanted in any::<u32>(),
        candidates in collection::vec(subnet(), 0..4),
    ) -> SubnetSnapshot {
        SubnetSnapshot { context, mode, wanted, candidates }
    }
}

prop_compose! {
    fn band()(
        (ready_low, total_floor, keep_free) in any::<(u32, u32, u32)>(),
        ready_high in option::of(any::<u32>()),
        grain in prop_oneof![Just(Grain::Address), Just(Grain::Prefix), Just(Grain::Eni)],
        release_after_ms in any::<u64>(),
        placement in prop_oneof![Just(Placement::Pack), Just(Placement::Spread)],
    ) -> Band {
        Band { ready_low, ready_high, total_floor, grain, keep_free, release_after_ms, placement }
    }
}

prop_compose! {
    fn outcome()(
        reason in any::<String>(), next_check_ms in option::of(any::<u64>()),
        state in collection::vec(any::<u8>(), 0..40), annotations in settings(),
    ) -> Outcome {
        Outcome { reason, next_check_ms, state, annotations }
    }
}
