//! `enid:strategy@0.1`.

use enid_core::admission::printable;
use enid_core::limits::Mode;
use enid_core::proposal::{Band, Grain, Outcome, Placement, Proposal, Ranked};
use enid_core::snapshot::{
    BlockUse, ClusterTag, Context, Demand, EniPhase, EniUse, MaxPodsSnapshot, RoleTag, Setting,
    SubnetSnapshot, SubnetUse, Value, WarmPoolSnapshot,
};

use crate::fault::{Fault, words};
use crate::runtime::Level;
use crate::sandbox::Sandbox;

/// The WIT package and minor version, as it stands in import and export names.
pub(crate) const PACKAGE: &str = "enid:strategy";
/// Every patch version of it is the same contract.
pub(crate) const MINOR: (u64, u64) = (0, 1);

/// Generated for the warm-pool world; the other worlds share its types.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::wildcard_enum_match_arm, reason = "generated")]
pub(crate) mod warm_pool {
    wasmtime::component::bindgen!({ path: "../../wit", world: "warm-pool-strategy" });
}

/// Generated for the max-pods world.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::wildcard_enum_match_arm, reason = "generated")]
pub(crate) mod max_pods {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "max-pods-strategy",
        with: {
            "enid:strategy/types": crate::abi::v0_1::warm_pool::enid::strategy::types,
            "enid:strategy/log": crate::abi::v0_1::warm_pool::enid::strategy::log,
        },
    });
}

/// Generated for the subnet-selection world.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::wildcard_enum_match_arm, reason = "generated")]
pub(crate) mod subnet_selection {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "subnet-selection-strategy",
        with: {
            "enid:strategy/types": crate::abi::v0_1::warm_pool::enid::strategy::types,
            "enid:strategy/log": crate::abi::v0_1::warm_pool::enid::strategy::log,
        },
    });
}

use max_pods::exports::enid::strategy::max_pods as mp;
use subnet_selection::exports::enid::strategy::subnet_selection as ss;
use warm_pool::enid::strategy::{log, types};
use warm_pool::exports::enid::strategy::warm_pool as wp;

/// Bytes of a key or text that a component returns; the whole answer is bounded before.
const MAX_TEXT: usize = 256;

impl types::Host for Sandbox {}

impl log::Host for Sandbox {
    fn emit(&mut self, level: log::Level, message: String) {
        let level = match level {
            log::Level::Debug => Level::Debug,
            log::Level::Info => Level::Info,
            log::Level::Warn => Level::Warn,
        };
        self.log(level, &message);
    }
}

/// Settings as the contract has them.
pub(crate) fn settings(settings: &[Setting]) -> Vec<types::Setting> {
    settings
        .iter()
        .map(|setting| types::Setting { key: setting.key.clone(), value: value(&setting.value) })
        .collect()
}

fn value(value: &Value) -> types::Value {
    match value {
        Value::Flag(flag) => types::Value::Flag(*flag),
        Value::Int(number) => types::Value::Int(*number),
        Value::Text(text) => types::Value::Text(text.clone()),
    }
}

/// A warm-pool question.
pub(crate) fn warm_pool_question(snapshot: &WarmPoolSnapshot) -> wp::Snapshot {
    let WarmPoolSnapshot {
        context,
        mode: how,
        limits,
        enis,
        blocks,
        bucket_ms,
        history,
        subnets,
        pressure,
        pods,
    } = snapshot;
    wp::Snapshot {
        context: in_context(context),
        mode: mode(*how),
        limits: wp::Limits {
            max_enis: limits.max_enis,
            slots_per_eni: limits.slots_per_eni,
            addresses_per_slot: limits.addresses_per_slot,
            prefixes: limits.prefixes,
            trunk_reserve: limits.trunk_reserve,
        },
        enis: enis.iter().map(eni).collect(),
        blocks: blocks.iter().map(block).collect(),
        bucket_ms: *bucket_ms,
        history: history.iter().map(demand).collect(),
        subnets: subnets.iter().map(subnet).collect(),
        pressure: wp::Pressure {
            throttled: pressure.throttled,
            budget_milli: pressure.budget_milli,
            in_flight_enis: pressure.in_flight_enis,
            in_flight_addresses: pressure.in_flight_addresses,
        },
        pods: wp::PodCounts {
            bound: pods.bound,
            waiting: pods.waiting,
            expected: pods.expected,
            max: pods.max,
        },
    }
}

/// A max-pods question.
pub(crate) fn max_pods_question(snapshot: &MaxPodsSnapshot) -> mp::Snapshot {
    mp::Snapshot {
        context: in_context(&snapshot.context),
        mode: mode(snapshot.mode),
        instance_type: snapshot.instance_type.clone(),
        max_enis: snapshot.max_enis,
        ipv4_per_eni: snapshot.ipv4_per_eni,
        prefixes: snapshot.prefixes,
        vcpus: snapshot.vcpus,
        memory_mib: snapshot.memory_mib,
        custom_networking: snapshot.custom_networking,
        reserved_enis: snapshot.reserved_enis,
        uncapped: snapshot.uncapped,
    }
}

/// A subnet question.
pub(crate) fn subnet_question(snapshot: &SubnetSnapshot) -> ss::Snapshot {
    ss::Snapshot {
        context: in_context(&snapshot.context),
        mode: mode(snapshot.mode),
        wanted: snapshot.wanted,
        candidates: snapshot.candidates.iter().map(subnet).collect(),
    }
}

/// A warm-pool answer, untrusted.
pub(crate) fn warm_pool_answer(proposal: wp::Proposal) -> Proposal<Band> {
    let target = Band {
        ready_low: proposal.target.ready_low,
        ready_high: proposal.target.ready_high,
        total_floor: proposal.target.total_floor,
        grain: match proposal.target.grain {
            wp::Grain::Address => Grain::Address,
            wp::Grain::Prefix => Grain::Prefix,
            wp::Grain::Eni => Grain::Eni,
        },
        keep_free: proposal.target.keep_free,
        release_after_ms: proposal.target.release_after_ms,
        placement: match proposal.target.placement {
            wp::Placement::Pack => Placement::Pack,
            wp::Placement::Spread => Placement::Spread,
        },
    };
    Proposal { target, outcome: outcome(proposal.outcome) }
}

/// A max-pods answer, untrusted.
pub(crate) fn max_pods_answer(proposal: mp::Proposal) -> Proposal<u32> {
    Proposal { target: proposal.target, outcome: outcome(proposal.outcome) }
}

/// A subnet answer, untrusted.
pub(crate) fn subnet_answer(proposal: ss::Proposal) -> Proposal<Vec<Ranked>> {
    let rank = |ranked: &ss::Ranked| Ranked { candidate: ranked.candidate, weight: ranked.weight };
    Proposal { target: proposal.target.iter().map(rank).collect(), outcome: outcome(proposal.outcome) }
}

/// What a component said when it has no answer.
pub(crate) fn failure(failure: &types::Failure) -> Fault {
    match failure {
        types::Failure::Settings(why) => Fault::Settings { why: words(why) },
        types::Failure::Unsupported(why) => Fault::Unsupported { why: words(why) },
        types::Failure::Internal(why) => Fault::Failure { why: words(why) },
    }
}

fn outcome(outcome: types::Outcome) -> Outcome {
    let annotation = |setting: types::Setting| Setting {
        key: printable(&setting.key, MAX_TEXT),
        value: match setting.value {
            types::Value::Flag(flag) => Value::Flag(flag),
            types::Value::Int(number) => Value::Int(number),
            types::Value::Text(text) => Value::Text(printable(&text, MAX_TEXT)),
        },
    };
    Outcome {
        reason: outcome.reason,
        next_check_ms: outcome.next_check_ms,
        state: outcome.state,
        annotations: outcome.annotations.into_iter().map(annotation).collect(),
    }
}

fn in_context(context: &Context) -> types::Context {
    types::Context {
        sequence: context.sequence,
        now_ms: context.now_ms,
        wall_secs: context.wall_secs,
        seed: context.seed,
        settings: settings(&context.settings),
        state: context.state.clone(),
        hints: settings(&context.hints),
    }
}

fn mode(mode: Mode) -> types::Mode {
    match mode {
        Mode::SecondaryIp => types::Mode::SecondaryIp,
        Mode::Prefix => types::Mode::Prefix,
    }
}

fn eni(eni: &EniUse) -> wp::EniUse {
    wp::EniUse {
        slot: eni.slot,
        card: eni.card,
        subnet: eni.subnet,
        phase: match eni.phase {
            EniPhase::Coming => wp::EniPhase::Coming,
            EniPhase::Ready => wp::EniPhase::Ready,
            EniPhase::Leaving => wp::EniPhase::Leaving,
        },
        primary: eni.primary,
        age_ms: eni.age_ms,
        capacity: eni.capacity,
        assigned: eni.assigned,
        free: eni.free,
        bound: eni.bound,
        cooling: eni.cooling,
        prefixes: eni.prefixes,
        idle_ms: eni.idle_ms,
    }
}

fn block(block: &BlockUse) -> wp::BlockUse {
    wp::BlockUse { slot: block.slot, bound: block.bound, cooling: block.cooling }
}

fn demand(demand: &Demand) -> wp::Demand {
    wp::Demand {
        added: demand.added,
        removed: demand.removed,
        waited: demand.waited,
        failed: demand.failed,
        peak: demand.peak,
    }
}

fn subnet(subnet: &SubnetUse) -> types::SubnetUse {
    types::SubnetUse {
        free: subnet.free,
        total: subnet.total,
        free_blocks: subnet.free_blocks,
        primary: subnet.primary,
        role: match subnet.role {
            RoleTag::Absent => types::RoleTag::Absent,
            RoleTag::Excluded => types::RoleTag::Excluded,
            RoleTag::Included => types::RoleTag::Included,
        },
        cluster: match subnet.cluster {
            ClusterTag::Any => types::ClusterTag::Any,
            ClusterTag::Ours => types::ClusterTag::Ours,
            ClusterTag::Foreign => types::ClusterTag::Foreign,
        },
        recent_failures: subnet.recent_failures,
        in_flight: subnet.in_flight,
        enis: subnet.enis,
        hints: settings(&subnet.hints),
    }
}
