//! Between the host's types and the SDK's, for strategies run natively.

use enid_core::limits::Mode;
use enid_core::proposal::{Band, Grain, Outcome, Placement, Proposal, Ranked};
use enid_core::snapshot::{
    ClusterTag, Context, EniPhase, EniUse, MaxPodsSnapshot, RoleTag, Setting, SubnetSnapshot, SubnetUse,
    Value, WarmPoolSnapshot,
};
use enid_guest::{max_pods as mp, subnet_selection as ss, warm_pool as wp};

pub(crate) fn warm_pool(context: &Context, snapshot: &WarmPoolSnapshot) -> wp::Snapshot {
    wp::Snapshot {
        context: in_context(context),
        mode: mode(snapshot.mode),
        limits: wp::Limits {
            max_enis: snapshot.limits.max_enis,
            slots_per_eni: snapshot.limits.slots_per_eni,
            addresses_per_slot: snapshot.limits.addresses_per_slot,
            prefixes: snapshot.limits.prefixes,
            trunk_reserve: snapshot.limits.trunk_reserve,
        },
        enis: snapshot.enis.iter().map(eni).collect(),
        blocks: snapshot
            .blocks
            .iter()
            .map(|block| wp::BlockUse { slot: block.slot, bound: block.bound, cooling: block.cooling })
            .collect(),
        bucket_ms: snapshot.bucket_ms,
        history: snapshot
            .history
            .iter()
            .map(|demand| wp::Demand {
                added: demand.added,
                removed: demand.removed,
                waited: demand.waited,
                failed: demand.failed,
                peak: demand.peak,
            })
            .collect(),
        subnets: snapshot.subnets.iter().map(subnet).collect(),
        pressure: wp::Pressure {
            throttled: snapshot.pressure.throttled,
            budget_milli: snapshot.pressure.budget_milli,
            in_flight_enis: snapshot.pressure.in_flight_enis,
            in_flight_addresses: snapshot.pressure.in_flight_addresses,
        },
        pods: wp::PodCounts {
            bound: snapshot.pods.bound,
            waiting: snapshot.pods.waiting,
            expected: snapshot.pods.expected,
            max: snapshot.pods.max,
        },
    }
}

pub(crate) fn max_pods(context: &Context, snapshot: &MaxPodsSnapshot) -> mp::Snapshot {
    mp::Snapshot {
        context: in_context(context),
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

pub(crate) fn subnets(context: &Context, snapshot: &SubnetSnapshot) -> ss::Snapshot {
    ss::Snapshot {
        context: in_context(context),
        mode: mode(snapshot.mode),
        wanted: snapshot.wanted,
        candidates: snapshot.candidates.iter().map(subnet).collect(),
    }
}

pub(crate) fn from_warm_pool(proposal: wp::Proposal) -> Proposal<Band> {
    let band = proposal.target;
    let target = Band {
        ready_low: band.ready_low,
        ready_high: band.ready_high,
        total_floor: band.total_floor,
        grain: match band.grain {
            wp::Grain::Address => Grain::Address,
            wp::Grain::Prefix => Grain::Prefix,
            wp::Grain::Eni => Grain::Eni,
        },
        keep_free: band.keep_free,
        release_after_ms: band.release_after_ms,
        placement: match band.placement {
            wp::Placement::Pack => Placement::Pack,
            wp::Placement::Spread => Placement::Spread,
        },
    };
    Proposal { target, outcome: outcome(proposal.outcome) }
}

pub(crate) fn from_max_pods(proposal: mp::Proposal) -> Proposal<u32> {
    Proposal { target: proposal.target, outcome: outcome(proposal.outcome) }
}

pub(crate) fn from_subnets(proposal: ss::Proposal) -> Proposal<Vec<Ranked>> {
    let rank = |ranked: &ss::Ranked| Ranked { candidate: ranked.candidate, weight: ranked.weight };
    Proposal { target: proposal.target.iter().map(rank).collect(), outcome: outcome(proposal.outcome) }
}

/// As the host words it: bounded to 256 bytes.
pub(crate) fn from_failure(failure: enid_guest::Failure) -> Declined {
    let bounded = |words: &str| enid_core::admission::printable(words, 256);
    match failure {
        enid_guest::Failure::Settings(why) => Declined::Settings(bounded(&why)),
        enid_guest::Failure::Unsupported(why) => Declined::Unsupported(bounded(&why)),
        enid_guest::Failure::Internal(why) => Declined::Failure(bounded(&why)),
    }
}

/// Why there is no answer, in the strategy's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Declined {
    Failure(String),
    Settings(String),
    Unsupported(String),
}

/// Settings as the host hands them over.
pub(crate) fn in_settings(of_host: &[Setting]) -> Vec<enid_guest::Setting> {
    settings(of_host)
}

fn outcome(outcome: enid_guest::Outcome) -> Outcome {
    Outcome {
        reason: outcome.reason,
        next_check_ms: outcome.next_check_ms,
        state: outcome.state,
        annotations: outcome.annotations.into_iter().map(from_setting).collect(),
    }
}

fn from_setting(setting: enid_guest::Setting) -> Setting {
    let value = match setting.value {
        enid_guest::Value::Flag(flag) => Value::Flag(flag),
        enid_guest::Value::Int(number) => Value::Int(number),
        enid_guest::Value::Text(text) => Value::Text(text),
    };
    Setting { key: setting.key, value }
}

fn settings(settings: &[Setting]) -> Vec<enid_guest::Setting> {
    let setting = |setting: &Setting| enid_guest::Setting {
        key: setting.key.clone(),
        value: match &setting.value {
            Value::Flag(flag) => enid_guest::Value::Flag(*flag),
            Value::Int(number) => enid_guest::Value::Int(*number),
            Value::Text(text) => enid_guest::Value::Text(text.clone()),
        },
    };
    settings.iter().map(setting).collect()
}

fn in_context(context: &Context) -> enid_guest::Context {
    enid_guest::Context {
        sequence: context.sequence,
        now_ms: context.now_ms,
        wall_secs: context.wall_secs,
        seed: context.seed,
        settings: settings(&context.settings),
        state: context.state.clone(),
        hints: settings(&context.hints),
    }
}

fn mode(mode: Mode) -> enid_guest::Mode {
    match mode {
        Mode::SecondaryIp => enid_guest::Mode::SecondaryIp,
        Mode::Prefix => enid_guest::Mode::Prefix,
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

fn subnet(subnet: &SubnetUse) -> enid_guest::SubnetUse {
    enid_guest::SubnetUse {
        free: subnet.free,
        total: subnet.total,
        free_blocks: subnet.free_blocks,
        primary: subnet.primary,
        role: match subnet.role {
            RoleTag::Absent => enid_guest::RoleTag::Absent,
            RoleTag::Excluded => enid_guest::RoleTag::Excluded,
            RoleTag::Included => enid_guest::RoleTag::Included,
        },
        cluster: match subnet.cluster {
            ClusterTag::Any => enid_guest::ClusterTag::Any,
            ClusterTag::Ours => enid_guest::ClusterTag::Ours,
            ClusterTag::Foreign => enid_guest::ClusterTag::Foreign,
        },
        recent_failures: subnet.recent_failures,
        in_flight: subnet.in_flight,
        enis: subnet.enis,
        hints: settings(&subnet.hints),
    }
}
