//! What is, out of the node's status.

use std::collections::BTreeMap;
use std::fmt::Error;
use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use enid_core::degraded::Degraded;
use enid_core::node::{BudgetStatus, Readiness, Status};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use serde::Serialize;

use super::Site;
use super::catalogue::{self, Kind, Row};

/// A value with its labels.
type Sample = (Vec<(&'static str, String)>, f64);

/// Written down for one reader.
#[derive(Debug)]
pub(super) struct State {
    /// Of the node.
    pub(super) samples: Vec<(&'static Row, Vec<Sample>)>,
    /// When the daemon started.
    pub(super) begun_at: SystemTime,
    /// How long it took until it served.
    pub(super) serving_after: Option<Duration>,
}

impl Collector for State {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let began = self.begun_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let version = env!("CARGO_PKG_VERSION");
        let daemon = [
            (&catalogue::BUILD_INFO, Some((vec![("version", version.to_owned())], 1.0))),
            (&catalogue::START_TIME, Some((Vec::new(), began.as_secs_f64()))),
            (&catalogue::STARTUP_DURATION, self.serving_after.map(|after| (Vec::new(), after.as_secs_f64()))),
        ];
        for (row, sample) in &daemon {
            encode(&mut encoder, row, sample.as_slice())?;
        }
        self.samples.iter().try_for_each(|(row, samples)| encode(&mut encoder, row, samples))
    }
}

fn encode(encoder: &mut DescriptorEncoder<'_>, row: &Row, samples: &[Sample]) -> Result<(), Error> {
    if samples.is_empty() {
        return Ok(());
    }
    let kind = match row.kind {
        Kind::Counter => MetricType::Counter,
        Kind::Gauge => MetricType::Gauge,
        Kind::Histogram => MetricType::Histogram,
    };
    let help = format!("{}.", row.help);
    let unit = row.unit();
    let mut family = encoder.encode_descriptor(row.stem, &help, unit.as_ref(), kind)?;
    if let [(labels, value)] = samples
        && labels.is_empty()
    {
        return encode_value(family, row.kind, *value);
    }
    for (labels, value) in samples {
        encode_value(family.encode_family(labels)?, row.kind, *value)?;
    }
    Ok(())
}

fn encode_value(encoder: MetricEncoder<'_>, kind: Kind, value: f64) -> Result<(), Error> {
    match kind {
        Kind::Counter => ConstCounter::new(value).encode(encoder),
        Kind::Gauge => ConstGauge::new(value).encode(encoder),
        // What is, is one number: what is many is counted when it happens.
        Kind::Histogram => Ok(()),
    }
}

/// What a status and its surroundings say, by metric, of a daemon that has been running for so long.
pub(super) fn samples(status: &Status, site: &Site, running: Duration) -> Vec<(&'static Row, Vec<Sample>)> {
    let mut samples = pods_and_addresses(status, site);
    samples.extend(enis_and_subnets(status));
    samples.extend(calls(status));
    samples.extend(whole(status, running));
    let journal = fs::metadata(&site.journal).map(|found| found.len());
    samples.push((&catalogue::JOURNAL_SIZE, journal.iter().map(|size| plain(*size as f64)).collect()));
    samples
}

fn plain(value: impl Into<f64>) -> Sample {
    (Vec::new(), value.into())
}

fn labelled(name: &'static str, label: impl Into<String>, value: impl Into<f64>) -> Sample {
    (vec![(name, label.into())], value.into())
}

fn pods_and_addresses(status: &Status, site: &Site) -> Vec<(&'static Row, Vec<Sample>)> {
    let pool = &status.pool;
    let in_use = pool.total.saturating_sub(pool.free + pool.cooling + pool.quarantined);
    let states = [
        ("free", pool.free),
        ("in-use", in_use),
        ("cooling", pool.cooling),
        ("quarantined", pool.quarantined),
    ];
    let reasons = tally(status.waiters.iter().map(|waiter| tag(&waiter.reason, "reason")), pool.waiting);
    let whys = tally(status.quarantined.iter().map(|address| tag(&address.why, "reason")), pool.quarantined);
    let most = pool.max_enis.saturating_mul(site.instance_type.addresses_per_eni(status.mode));
    vec![
        (&catalogue::ADDS_WAITING, by("reason", reasons)),
        (&catalogue::PODS, vec![plain(pool.bound)]),
        (&catalogue::PODS_MAX, pool.max_pods.into_iter().map(plain).collect()),
        (&catalogue::ADDRESSES, states.map(|(state, count)| labelled("state", state, count)).into()),
        (&catalogue::ADDRESSES_IPV6, vec![plain(pool.ipv6)]),
        (&catalogue::ADDRESSES_MAX, vec![plain(most)]),
        (&catalogue::ADDRESSES_COMING, vec![plain(pool.coming)]),
        (&catalogue::ADDRESSES_MISSING, vec![plain(pool.gap)]),
        (&catalogue::ADDRESSES_QUARANTINED, by("why", whys)),
    ]
}

fn enis_and_subnets(status: &Status) -> Vec<(&'static Row, Vec<Sample>)> {
    let on_enis = status.enis.iter().flat_map(|eni| {
        let resting = eni.addresses.saturating_sub(eni.free + eni.bound);
        [("free", eni.free), ("in-use", eni.bound), ("resting", resting)].map(|(state, count)| {
            (vec![("eni", eni.id.to_string()), ("state", state.to_owned())], count.into())
        })
    });
    let in_prefixes = status.blocks.iter().flat_map(|block| {
        [("in-use", block.bound), ("cooling", block.cooling)].map(|(state, count)| {
            (vec![("cidr", block.range.to_string()), ("state", state.to_owned())], count.into())
        })
    });
    let in_subnets = status.subnets.iter().map(|subnet| labelled("subnet", subnet.id.as_str(), subnet.free));
    vec![
        (&catalogue::PREFIXES, vec![plain(status.pool.prefixes)]),
        (&catalogue::PREFIX_ADDRESSES, in_prefixes.collect()),
        (&catalogue::ENIS, vec![plain(u32::try_from(status.enis.len()).unwrap_or(u32::MAX))]),
        (&catalogue::ENIS_MAX, vec![plain(status.pool.max_enis)]),
        (&catalogue::ENIS_SWEPT, vec![plain(status.swept as f64)]),
        (&catalogue::ENI_ADDRESSES, on_enis.collect()),
        (&catalogue::SUBNET_ADDRESSES_FREE, in_subnets.collect()),
    ]
}

fn calls(status: &Status) -> Vec<(&'static Row, Vec<Sample>)> {
    let classes = |value: fn(&BudgetStatus) -> u32| -> Vec<Sample> {
        let sample = |class: &BudgetStatus| labelled("class", class.class, f64::from(value(class)) / 1000.0);
        status.budget.iter().map(sample).collect()
    };
    let (source, nodes) = match status.cluster.nodes {
        Some(nodes) => ("kubernetes", nodes),
        None => ("configured", status.cluster.parts),
    };
    vec![
        (&catalogue::FAILING, vec![plain(f64::from(status.withheld.failing_milli) / 1000.0)]),
        (&catalogue::BUDGET_LEFT, classes(|class| class.left_milli)),
        (&catalogue::BUDGET_BURST, classes(|class| class.burst_milli)),
        (&catalogue::BUDGET_RATE, classes(|class| class.per_second_milli)),
        (&catalogue::BUDGET_SLOWED, classes(|class| class.factor_milli)),
        (&catalogue::CLUSTER_NODES, vec![labelled("source", source, nodes)]),
    ]
}

fn whole(status: &Status, running: Duration) -> Vec<(&'static Row, Vec<Sample>)> {
    let state = match status.readiness {
        Readiness::Ready => "ready",
        Readiness::Full { .. } => "full",
        Readiness::NotReady { .. } => "not-ready",
        Readiness::Impaired { .. } => "impaired",
    };
    let states = ["ready", "full", "not-ready", "impaired"];
    let modes = [Degraded::No, Degraded::NoRelease, Degraded::NoCalls];
    let kernel = &status.kernel;
    let faults = status.strategies.iter().map(|strategy| {
        labelled("kind", strategy.kind, u32::try_from(strategy.faults.len()).unwrap_or(u32::MAX))
    });
    let is = |holds: bool| f64::from(u8::from(holds));
    vec![
        (&catalogue::READY, states.map(|one| labelled("state", one, is(one == state))).into()),
        (
            &catalogue::DEGRADED,
            modes.map(|mode| labelled("mode", mode.to_string(), is(mode == status.withheld.mode))).into(),
        ),
        (&catalogue::STRATEGY_FAULTS, faults.collect()),
        (
            &catalogue::KERNEL_LOOK_AGE,
            // A kernel that was never seen is not watched either.
            vec![plain(kernel.looked_secs_ago.unwrap_or(running.as_secs()) as f64)],
        ),
        (&catalogue::KERNEL_DRIFTS, vec![plain(u32::try_from(kernel.drifts.len()).unwrap_or(u32::MAX))]),
        (&catalogue::KERNEL_DRIFTS_FOUND, vec![plain(kernel.found as f64)]),
        (&catalogue::KERNEL_DRIFTS_MENDED, vec![plain(kernel.repaired as f64)]),
    ]
}

/// The name under which a reason is known to programs.
fn tag(reason: &impl Serialize, key: &str) -> String {
    let document = serde_json::to_value(reason).unwrap_or_default();
    document[key].as_str().unwrap_or("other").to_owned()
}

/// How many of each; those beyond what is listed count as `other`, and nothing at all is one `none`, so that the
/// metric is always there.
fn tally(listed: impl Iterator<Item = String>, all: u32) -> BTreeMap<String, u32> {
    let mut tally = BTreeMap::new();
    let mut left = all;
    for name in listed {
        *tally.entry(name).or_insert(0) += 1;
        left = left.saturating_sub(1);
    }
    if left > 0 {
        *tally.entry("other".to_owned()).or_insert(0) += left;
    }
    if tally.is_empty() {
        tally.insert("none".to_owned(), 0);
    }
    tally
}

fn by(label: &'static str, tally: BTreeMap<String, u32>) -> Vec<Sample> {
    tally.into_iter().map(|(name, count)| labelled(label, name, count)).collect()
}
