//! Every metric: its name, what it counts in, its labels and its help; and what the incumbent's correspond to.
//!
//! Metrics are registered, explained (`deploy/METRICS.md`) and tested from here, and nowhere else.

use prometheus_client::registry::Unit;

/// What all names begin with.
pub(super) const PREFIX: &str = "enid";

/// One metric.
#[derive(Debug)]
pub(super) struct Row {
    /// Its name without [`PREFIX`], and without what its kind and unit add.
    pub(super) stem: &'static str,
    /// What it is.
    pub(super) kind: Kind,
    /// What it counts in.
    pub(super) counts: Counts,
    /// Its labels.
    pub(super) labels: &'static [&'static str],
    /// One sentence without its stop.
    pub(super) help: &'static str,
}

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// What a metric counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counts {
    /// Bytes, by its name.
    Bytes,
    /// Parts of 1, by its name.
    Ratio,
    /// Seconds, by its name.
    Seconds,
    /// These things.
    Things(&'static str),
    /// 1 for yes, 0 for no.
    Truth,
}

impl Row {
    /// The unit that is part of its name.
    pub(super) fn unit(&self) -> Option<Unit> {
        match self.counts {
            Counts::Bytes => Some(Unit::Bytes),
            Counts::Ratio => Some(Unit::Other("ratio".to_owned())),
            Counts::Seconds => Some(Unit::Seconds),
            Counts::Things(_) | Counts::Truth => None,
        }
    }

    /// Its whole name, as queries have it.
    pub(super) fn name(&self) -> String {
        let unit = self.unit().map(|unit| format!("_{}", unit.as_str())).unwrap_or_default();
        let total = match self.kind {
            Kind::Counter => "_total",
            Kind::Gauge | Kind::Histogram => "",
        };
        format!("{PREFIX}_{}{unit}{total}", self.stem)
    }
}

const fn counter(
    stem: &'static str,
    things: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Row {
    Row { stem, kind: Kind::Counter, counts: Counts::Things(things), labels, help }
}

const fn gauge(
    stem: &'static str,
    counts: Counts,
    labels: &'static [&'static str],
    help: &'static str,
) -> Row {
    Row { stem, kind: Kind::Gauge, counts, labels, help }
}

const fn durations(stem: &'static str, labels: &'static [&'static str], help: &'static str) -> Row {
    Row { stem, kind: Kind::Histogram, counts: Counts::Seconds, labels, help }
}

const ADDRESSES_UNIT: Counts = Counts::Things("addresses");

// Pods.
pub(super) const ADD_DURATION: Row = durations(
    "add_duration",
    &["phase", "end"],
    "Time that CNI ADDs took: to wait for an address, to wire the pod, in total; end is served, try-later or refused",
);
pub(super) const DEL_DURATION: Row =
    durations("del_duration", &["end"], "Time that CNI DELs took; end is served, try-later or refused");
pub(super) const ADDS_WAITING: Row = gauge(
    "adds_waiting",
    Counts::Things("ADDs"),
    &["reason"],
    "CNI ADDs that wait for an address, by what they wait for",
);
pub(super) const PODS: Row = gauge("pods", Counts::Things("pods"), &[], "Pods that have their addresses");
pub(super) const PODS_MAX: Row =
    gauge("pods_max", Counts::Things("pods"), &[], "Pods that the node may carry, where that is limited");
pub(super) const POD_REPAIRS: Row = counter(
    "pod_repairs",
    "pods",
    &["end"],
    "Pods whose wiring in the kernel was mended; end is served or refused",
);

// The pool.
pub(super) const ADDRESSES: Row = gauge(
    "addresses",
    ADDRESSES_UNIT,
    &["state"],
    "IPv4 addresses that the node holds for pods; state is free, in-use, cooling or quarantined",
);
pub(super) const ADDRESSES_IPV6: Row =
    gauge("addresses_ipv6", ADDRESSES_UNIT, &[], "IPv6 addresses that pods have, get or give up");
pub(super) const ADDRESSES_MAX: Row = gauge(
    "addresses_max",
    ADDRESSES_UNIT,
    &[],
    "IPv4 addresses that the instance type lets the node hold for pods",
);
pub(super) const ADDRESSES_COMING: Row = gauge(
    "addresses_coming",
    ADDRESSES_UNIT,
    &[],
    "Addresses that EC2 was asked for and that are on their way",
);
pub(super) const ADDRESSES_MISSING: Row = gauge(
    "addresses_missing",
    ADDRESSES_UNIT,
    &[],
    "Free addresses that the strategy's target asks for and that are neither there nor on their way",
);
pub(super) const ADDRESSES_QUARANTINED: Row = gauge(
    "addresses_quarantined",
    ADDRESSES_UNIT,
    &["why"],
    "Addresses out of service because two sources disagree about them, by how",
);
pub(super) const PREFIXES: Row =
    gauge("prefixes", Counts::Things("prefixes"), &[], "Delegated IPv4 prefixes, a /28 each");
pub(super) const PREFIX_ADDRESSES: Row = gauge(
    "prefix_addresses",
    ADDRESSES_UNIT,
    &["cidr", "state"],
    "Addresses of a delegated IPv4 prefix; state is in-use or cooling",
);
pub(super) const ENIS: Row =
    gauge("enis", Counts::Things("ENIs"), &[], "ENIs that the node has, in any phase");
pub(super) const ENIS_MAX: Row = gauge("enis_max", Counts::Things("ENIs"), &[], "ENIs that may carry pods");
pub(super) const ENIS_SWEPT: Row = counter(
    "enis_swept",
    "ENIs",
    &[],
    "ENIs that this node deleted because nobody owned them any more, its own or another node's",
);
pub(super) const ENI_ADDRESSES: Row = gauge(
    "eni_addresses",
    ADDRESSES_UNIT,
    &["eni", "state"],
    "Pod addresses on an ENI; state is free, in-use, or resting for all others",
);
pub(super) const SUBNET_ADDRESSES_FREE: Row = gauge(
    "subnet_addresses_free",
    ADDRESSES_UNIT,
    &["subnet"],
    "Addresses that EC2 reported as free in a subnet that pods' ENIs may be in",
);

// EC2.
pub(super) const CALL_DURATION: Row = durations(
    "ec2_call_duration",
    &["api"],
    "Time that calls to EC2 took until their answer or its absence; IMDS is instance metadata",
);
pub(super) const CALL_FAILURES: Row = counter(
    "ec2_call_failures",
    "calls",
    &["api", "kind"],
    "Calls to EC2 that failed, by what can be done about it",
);
pub(super) const FAILING: Row = gauge(
    "ec2_failing",
    Counts::Ratio,
    &[],
    "Part of the last two minutes' calls to EC2 that were throttled or had no answer",
);
pub(super) const BUDGET_LEFT: Row = gauge(
    "ec2_budget_left",
    Counts::Things("calls"),
    &["class"],
    "Calls to EC2 that the node may make at once, out of its part of the account's limits",
);
pub(super) const BUDGET_BURST: Row =
    gauge("ec2_budget_burst", Counts::Things("calls"), &["class"], "Calls to EC2 that the node can save up");
pub(super) const BUDGET_RATE: Row = gauge(
    "ec2_budget_rate",
    Counts::Things("calls per second"),
    &["class"],
    "Calls to EC2 per second that the node may make in the long run",
);
pub(super) const BUDGET_SLOWED: Row = gauge(
    "ec2_budget_slowed",
    Counts::Ratio,
    &["class"],
    "What EC2's throttling has left of the rate: 1 when it does not throttle",
);
pub(super) const CLUSTER_NODES: Row = gauge(
    "cluster_nodes",
    Counts::Things("nodes"),
    &["source"],
    "Nodes that share the cluster's part of the account's limits: as the Kubernetes API counted them, or as configured",
);

// The node as a whole.
pub(super) const READY: Row = gauge(
    "readiness",
    Counts::Truth,
    &["state"],
    "Whether a pod could be added: 1 for the one state that holds, which is ready, full, not-ready or impaired",
);
pub(super) const DEGRADED: Row = gauge(
    "degraded",
    Counts::Truth,
    &["mode"],
    "What is not done while EC2 fails: 1 for the one mode that holds, which is none, no-release or no-calls",
);
pub(super) const DECISIONS: Row = counter(
    "decisions",
    "decisions",
    &["kind", "rung"],
    "Decisions by what they are about and by who answered: live is the configured strategy",
);
pub(super) const DECISION_DURATION: Row =
    durations("decision_duration", &["kind"], "Time that decisions took, whoever answered");
pub(super) const STRATEGY_FAULTS: Row = gauge(
    "strategy_faults",
    Counts::Things("faults"),
    &["kind"],
    "What went wrong with strategies in the last decision before somebody answered",
);
pub(super) const KERNEL_LOOK_DURATION: Row =
    durations("kernel_look_duration", &[], "Time that comparing the kernel with the journal took");
pub(super) const KERNEL_LOOK_AGE: Row = gauge(
    "kernel_look_age",
    Counts::Seconds,
    &[],
    "Time since the kernel was last compared with the journal, or since the start when it never was",
);
pub(super) const KERNEL_DRIFTS: Row = gauge(
    "kernel_drifts",
    Counts::Things("differences"),
    &[],
    "Differences between the kernel and the journal that are not mended yet, at most 32",
);
pub(super) const KERNEL_DRIFTS_FOUND: Row = counter(
    "kernel_drifts_found",
    "differences",
    &[],
    "Differences between the kernel and the journal so far",
);
pub(super) const KERNEL_DRIFTS_MENDED: Row =
    counter("kernel_drifts_mended", "repairs", &[], "Repairs of the kernel that went well so far");

// The daemon.
pub(super) const BUILD_INFO: Row =
    gauge("build_info", Counts::Truth, &["version"], "The daemon's version: always 1");
pub(super) const START_TIME: Row =
    gauge("start_time", Counts::Seconds, &[], "When the daemon started, after 1970 began");
pub(super) const STARTUP_DURATION: Row = gauge(
    "startup_duration",
    Counts::Seconds,
    &[],
    "Time from the daemon's start until it served its socket, spooled DELs applied",
);
pub(super) const JOURNAL_SIZE: Row = gauge("journal_size", Counts::Bytes, &[], "Size of the journal's file");

/// All of them, in the order of the page.
pub(super) const ALL: &[&Row] = &[
    &ADD_DURATION,
    &DEL_DURATION,
    &ADDS_WAITING,
    &PODS,
    &PODS_MAX,
    &POD_REPAIRS,
    &ADDRESSES,
    &ADDRESSES_IPV6,
    &ADDRESSES_MAX,
    &ADDRESSES_COMING,
    &ADDRESSES_MISSING,
    &ADDRESSES_QUARANTINED,
    &PREFIXES,
    &PREFIX_ADDRESSES,
    &ENIS,
    &ENIS_MAX,
    &ENIS_SWEPT,
    &ENI_ADDRESSES,
    &SUBNET_ADDRESSES_FREE,
    &CALL_DURATION,
    &CALL_FAILURES,
    &FAILING,
    &BUDGET_LEFT,
    &BUDGET_BURST,
    &BUDGET_RATE,
    &BUDGET_SLOWED,
    &CLUSTER_NODES,
    &READY,
    &DEGRADED,
    &DECISIONS,
    &DECISION_DURATION,
    &STRATEGY_FAULTS,
    &KERNEL_LOOK_DURATION,
    &KERNEL_LOOK_AGE,
    &KERNEL_DRIFTS,
    &KERNEL_DRIFTS_FOUND,
    &KERNEL_DRIFTS_MENDED,
    &BUILD_INFO,
    &START_TIME,
    &STARTUP_DURATION,
    &JOURNAL_SIZE,
];

/// The incumbent's metrics: each with queries that say the same here, and what is particular about them; without any,
/// why there are none.
pub(super) const INCUMBENT: &[(&str, &[&str], &str)] = &[
    (
        "awscni_ipamd_error_count",
        &["enid_ec2_call_failures_total", "enid_pod_repairs_total{end=\"refused\"}"],
        "by what failed, not by function",
    ),
    (
        "awscni_ipamd_action_inprogress",
        &["enid_addresses_coming"],
        "what is on its way, not how many functions run",
    ),
    ("awscni_eni_max", &["enid_enis_max"], ""),
    ("awscni_ip_max", &["enid_addresses_max"], ""),
    (
        "awscni_reconcile_count",
        &[
            "enid_kernel_look_duration_seconds_count",
            "enid_ec2_call_duration_seconds_count{api=\"DescribeNetworkInterfaces\"}",
        ],
        "looks at the kernel, looks at EC2",
    ),
    ("awscni_add_ip_req_count", &["enid_add_duration_seconds_count{phase=\"total\"}"], "by how they ended"),
    ("awscni_del_ip_req_count", &["enid_del_duration_seconds_count"], "by how they ended"),
    ("awscni_pod_eni_error_count", &[], "security groups for pods are not supported yet"),
    (
        "awscni_aws_api_latency_ms",
        &["enid_ec2_call_duration_seconds"],
        "in seconds, and a histogram: nodes can be added up",
    ),
    ("awscni_aws_api_error_count", &["enid_ec2_call_failures_total"], "`kind` instead of every error code"),
    (
        "awscni_aws_utils_error_count",
        &["enid_ec2_call_failures_total"],
        "nothing fails without a call that failed",
    ),
    ("awscni_ec2api_req_count", &["enid_ec2_call_duration_seconds_count"], "with IMDS under `api`, too"),
    ("awscni_ec2api_error_count", &["enid_ec2_call_failures_total"], ""),
    ("awscni_eni_allocated", &["enid_enis"], ""),
    ("awscni_total_ip_addresses", &["sum(enid_addresses)"], "cooling and quarantined ones included"),
    ("awscni_assigned_ip_addresses", &["enid_addresses{state=\"in-use\"}"], ""),
    (
        "awscni_force_removed_enis",
        &["enid_enis_swept_total"],
        "nothing is removed by force: those that are swept had no owner",
    ),
    (
        "awscni_force_removed_ips",
        &["enid_addresses{state=\"quarantined\"}"],
        "nothing is removed by force: an address that EC2 took from a pod goes into quarantine",
    ),
    ("awscni_total_ipv4_prefixes", &["enid_prefixes"], ""),
    (
        "awscni_assigned_ip_per_cidr",
        &["enid_prefix_addresses{state=\"in-use\"}"],
        "prefixes only: single addresses are no ranges",
    ),
    ("awscni_assigned_ip_per_eni", &["enid_eni_addresses{state=\"in-use\"}"], ""),
    (
        "awscni_no_available_ip_addresses",
        &[
            "enid_add_duration_seconds_count{phase=\"wait\"} - ignoring(le) enid_add_duration_seconds_bucket{phase=\"wait\",le=\"0.005\"}",
        ],
        "ADDs that had to wait for an address: here they do not fail at once",
    ),
    (
        "awscni_ipamd_startup_duration_seconds",
        &["enid_startup_duration_seconds"],
        "the last start; one that fails ends the process",
    ),
    (
        "awscni_ipamd_node_initialization_duration_seconds",
        &["enid_startup_duration_seconds"],
        "there is one start, not two halves",
    ),
    ("awscni_connmark_backend", &[], "it is always nftables"),
    (
        "awscni_connmark_reconcile_total",
        &["enid_kernel_drifts_found_total", "enid_kernel_drifts_mended_total"],
        "marks are compared and mended with the rest of the kernel",
    ),
];
