//! The catalogue, what is served, and the pages for people say the same.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use enid_core::cloud::{CloudErrorKind, NodeIdentity};
use enid_core::event::Api;
use enid_core::kind::Kind as Question;
use enid_core::node::{BlockStatus, Config, NodeState, QuarantineStatus, SubnetStatus, WaiterStatus};
use enid_core::report::{Quarantine, Rung, WaitReason};
use enid_core::time::Timestamp;
use enid_engine::ports::End;

use super::catalogue::{ALL, INCUMBENT, Kind, Row};
use super::*;

pub(crate) fn site() -> Site {
    let file = std::env::current_exe().unwrap();
    Site { instance_type: enid_core::instance_types::lookup("m5.large").unwrap(), journal: file }
}

/// A node that has one of everything.
pub(crate) fn status() -> Status {
    let identity = NodeIdentity {
        instance: "i-0123456789abcdef0".parse().unwrap(),
        instance_type: "m5.large".to_owned(),
        region: "eu-1".to_owned(),
        zone: "eu-1a".to_owned(),
        vpc: "vpc-1".parse().unwrap(),
        primary_eni: "eni-1".parse().unwrap(),
        primary_mac: "02:00:00:00:00:01".parse().unwrap(),
        primary_address: [10, 0, 1, 4].into(),
        subnet: "subnet-1".parse().unwrap(),
        security_groups: Vec::new(),
        vpc_cidrs: vec!["10.0.0.0/16".parse().unwrap()],
        primary_ipv6: None,
        vpc_ipv6_cidrs: Vec::new(),
        pod_ranges: Vec::new(),
    };
    let config = Config { max_pods: Some(29), ..Config::default() };
    let (node, _) = NodeState::restore(config, identity, site().instance_type, &[], Timestamp(1_000_000));
    let mut status = node.status(Timestamp(1_000_000));
    status.enis.push(enid_core::node::EniStatus {
        id: "eni-1".parse().unwrap(),
        card: 0,
        device: 0,
        subnet: "subnet-1".parse().unwrap(),
        primary_address: [10, 0, 1, 4].into(),
        phase: "ready",
        takes_pods: true,
        addresses: 9,
        prefixes: Vec::new(),
        free: 2,
        bound: 4,
        why: String::new(),
    });
    status.subnets.push(SubnetStatus { id: "subnet-1".parse().unwrap(), free: 7, rank: Some(0) });
    status.blocks.push(BlockStatus {
        range: "10.0.1.16/28".parse().unwrap(),
        eni: "eni-1".parse().unwrap(),
        bound: 3,
        cooling: 1,
    });
    status.strategies.push(enid_core::node::StrategyStatus {
        kind: "warm-pool",
        strategy: "ewma".to_owned(),
        rung: "fallback".to_owned(),
        target: String::new(),
        reason: String::new(),
        faults: vec!["out of fuel".to_owned()],
        record: None,
    });
    let waiter = WaiterStatus {
        pod: Some("payments/ledger-7".to_owned()),
        attachment: "enid/c0ffee/eth0".to_owned(),
        for_secs: 3,
        reason: WaitReason::Cooling { cooling: 2, secs: 9 },
    };
    status.waiters = vec![waiter; 2];
    status.quarantined.push(QuarantineStatus {
        address: "10.0.1.7".parse().unwrap(),
        pod: Some("payments/ledger-8".to_owned()),
        why: Quarantine::NotInCloud { eni: "eni-1".parse().unwrap() },
        for_secs: 3,
    });
    (status.pool.total, status.pool.free, status.pool.cooling, status.pool.quarantined) = (9, 2, 2, 1);
    status.pool.waiting = 3;
    status.kernel.looked_secs_ago = Some(12);
    status
}

/// Metrics after one of everything.
fn metrics() -> Metrics {
    let metrics = Metrics::begin();
    metrics.serving();
    let took = Duration::from_millis(3);
    for measurement in [
        Measurement::Added { end: End::Served, waited: Duration::ZERO, wired: took, took },
        Measurement::Added { end: End::TryLater, waited: took, wired: Duration::ZERO, took },
        Measurement::Deleted { end: End::Served, took },
        Measurement::Call { api: Api::AssignPrivateIpAddresses, failed: None, took },
        Measurement::Call { api: Api::DescribeSubnets, failed: Some(CloudErrorKind::Denied), took },
        Measurement::Decided { kind: Question::WarmPool, rung: Rung::Live, took },
        Measurement::Looked { drifts: 1, took },
        Measurement::Repaired(End::Served),
    ] {
        metrics.measure(measurement);
    }
    metrics
}

fn exposed(format: Format) -> String {
    metrics().expose(&status(), &site(), format)
}

/// The value of a sample, by its name and labels as they are written.
fn value(text: &str, sample: &str) -> f64 {
    let found = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("no {sample} in\n{text}")).parse().unwrap()
}

#[test]
fn what_is_served_is_what_the_catalogue_has_with_its_kind_and_help() {
    let text = exposed(Format::Classic);
    let about = |mark: &str| -> BTreeMap<String, String> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(mark)?.split_once(' '));
        lines.map(|(name, rest)| (name.to_owned(), rest.to_owned())).collect()
    };
    let (helps, kinds) = (about("# HELP "), about("# TYPE "));
    let names: BTreeSet<String> = ALL.iter().map(|row| row.name()).collect();
    assert_eq!(names.len(), ALL.len(), "no row twice");
    assert_eq!(kinds.keys().cloned().collect::<BTreeSet<_>>(), names);
    for row in ALL {
        let kind = match row.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        assert_eq!((kinds[&row.name()].as_str(), &helps[&row.name()]), (kind, &format!("{}.", row.help)));
    }
}

#[test]
fn every_sample_has_the_labels_of_its_row_and_no_others() {
    let text = exposed(Format::Classic);
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (sample, _) = line.rsplit_once(' ').unwrap();
        let (name, labels) = sample.split_once('{').unwrap_or((sample, ""));
        let is_of = |row: &&&Row| {
            let rest = name.strip_prefix(&row.name());
            rest.is_some_and(|rest| ["", "_bucket", "_count", "_sum"].contains(&rest))
        };
        let row = ALL.iter().find(is_of).unwrap_or_else(|| panic!("{line}"));
        let labels = labels.trim_end_matches('}').split("\",").filter(|label| !label.is_empty());
        let found: Vec<&str> = labels.map(|label| label.split_once('=').unwrap().0).collect();
        let expected: Vec<&str> =
            row.labels.iter().copied().chain(name.ends_with("_bucket").then_some("le")).collect();
        let sorted = |mut labels: Vec<&str>| {
            labels.sort_unstable();
            labels.join(" ")
        };
        assert_eq!(sorted(found), sorted(expected), "{line}");
    }
}

#[test]
fn what_happens_and_what_is_comes_out() {
    let text = exposed(Format::Classic);
    for (sample, expected) in [
        ("enid_add_duration_seconds_count{phase=\"total\",end=\"served\"}", 1.0),
        ("enid_add_duration_seconds_count{phase=\"wire\",end=\"try-later\"}", 0.0),
        ("enid_add_duration_seconds_bucket{le=\"0.0025\",phase=\"total\",end=\"served\"}", 0.0),
        ("enid_add_duration_seconds_bucket{le=\"0.005\",phase=\"total\",end=\"served\"}", 1.0),
        ("enid_add_duration_seconds_bucket{le=\"+Inf\",phase=\"wait\",end=\"try-later\"}", 1.0),
        ("enid_add_duration_seconds_sum{phase=\"total\",end=\"served\"}", 0.003),
        ("enid_ec2_call_failures_total{api=\"DescribeSubnets\",kind=\"denied\"}", 1.0),
        ("enid_ec2_call_failures_total{api=\"CreateNetworkInterface\",kind=\"throttled\"}", 0.0),
        ("enid_ec2_call_failures_total{api=\"CreateNetworkInterface\",kind=\"denied\"}", 0.0),
        ("enid_decisions_total{kind=\"warm-pool\",rung=\"live\"}", 1.0),
        ("enid_adds_waiting{reason=\"cooling\"}", 2.0),
        ("enid_adds_waiting{reason=\"other\"}", 1.0),
        ("enid_addresses{state=\"in-use\"}", 4.0),
        ("enid_addresses_quarantined{why=\"not-in-cloud\"}", 1.0),
        ("enid_addresses_max", 27.0),
        ("enid_eni_addresses{eni=\"eni-1\",state=\"resting\"}", 3.0),
        ("enid_prefix_addresses{cidr=\"10.0.1.16/28\",state=\"in-use\"}", 3.0),
        ("enid_readiness{state=\"not-ready\"}", 1.0),
        ("enid_readiness{state=\"ready\"}", 0.0),
        ("enid_degraded{mode=\"none\"}", 1.0),
        ("enid_strategy_faults{kind=\"warm-pool\"}", 1.0),
        ("enid_ec2_budget_slowed_ratio{class=\"describe\"}", 1.0),
        ("enid_cluster_nodes{source=\"configured\"}", 1.0),
        ("enid_kernel_look_age_seconds", 12.0),
    ] {
        assert_eq!(value(&text, sample), expected, "{sample}");
    }
}

#[test]
fn nobody_learns_of_pods() {
    for format in [Format::Classic, Format::OpenMetrics] {
        let text = exposed(format);
        assert!(
            !["payments", "ledger", "c0ffee", "10.0.1.7"].iter().any(|secret| text.contains(secret)),
            "{text}"
        );
    }
}

#[test]
fn readers_get_the_format_that_they_ask_for() {
    assert_eq!(Format::accepted(""), Format::Classic);
    assert_eq!(Format::accepted("text/html,*/*;q=0.8"), Format::Classic);
    let prometheus = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
    assert_eq!(Format::accepted(prometheus), Format::OpenMetrics);
    let open = exposed(Format::OpenMetrics);
    assert!(open.ends_with("\n# EOF\n"), "{open}");
    assert!(
        open.contains("# TYPE enid_decisions counter\n")
            && open.contains("# UNIT enid_add_duration_seconds seconds\n")
    );
    let classic = exposed(Format::Classic);
    assert!(classic.contains("# TYPE enid_decisions_total counter\n"), "{classic}");
    assert!(!classic.contains("# EOF") && !classic.contains("# UNIT"));
    let samples = |text: &str| text.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(samples(&classic), samples(&open));
}

/// Names of ours in a query.
fn names_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("enid_")).map(str::to_owned).collect()
}

fn is_served(name: &str) -> bool {
    let parts = ["", "_bucket", "_count", "_sum"];
    let histogram = |row: &Row| row.kind == Kind::Histogram;
    ALL.iter()
        .any(|row| parts.iter().any(|part| (part.is_empty() != histogram(row)) && row.name() + part == name))
}

#[test]
fn every_metric_of_the_incumbent_has_its_counterpart_or_the_reason_why_not() {
    let there = "
        ipamd_error_count ipamd_action_inprogress eni_max ip_max reconcile_count add_ip_req_count del_ip_req_count
        pod_eni_error_count aws_api_latency_ms aws_api_error_count aws_utils_error_count ec2api_req_count
        ec2api_error_count eni_allocated total_ip_addresses assigned_ip_addresses force_removed_enis force_removed_ips
        total_ipv4_prefixes assigned_ip_per_cidr assigned_ip_per_eni no_available_ip_addresses
        ipamd_startup_duration_seconds ipamd_node_initialization_duration_seconds connmark_backend
        connmark_reconcile_total";
    let there: BTreeSet<String> = there.split_whitespace().map(|name| format!("awscni_{name}")).collect();
    let mapped: BTreeSet<String> = INCUMBENT.iter().map(|(name, ..)| (*name).to_owned()).collect();
    assert_eq!(mapped, there);
    for (name, counterparts, how) in INCUMBENT {
        assert!(!counterparts.is_empty() || !how.is_empty(), "{name}");
        for served in counterparts.iter().flat_map(|query| names_in(query)) {
            let whole = ALL.iter().any(|row| row.name() == served);
            assert!(whole || is_served(&served), "{name}: {served}");
        }
    }
}

#[test]
fn the_page_about_metrics_is_the_catalogue() {
    let page = include_str!("../../../../deploy/METRICS.md");
    assert_eq!(page, sheet(), "write what `enid config metrics` prints to deploy/METRICS.md");
}

#[test]
fn dashboard_and_alerts_ask_for_what_is_served_and_leave_nothing_out() {
    let dashboard = include_str!("../../../../deploy/dashboards/enid.json");
    let alerts = include_str!("../../../../deploy/alerts/enid.rules.yml");
    let asked: BTreeSet<String> = names_in(dashboard).into_iter().chain(names_in(alerts)).collect();
    let unknown: Vec<&String> = asked.iter().filter(|name| !is_served(name)).collect();
    assert_eq!(unknown, [] as [&String; 0]);
    // What nobody looks at need not be measured.
    let unseen: Vec<String> = ALL
        .iter()
        .map(|row| row.name())
        .filter(|name| !asked.iter().any(|asked| asked.starts_with(name)))
        .collect();
    assert_eq!(unseen, [] as [String; 0]);
}
