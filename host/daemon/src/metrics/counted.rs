//! What happens, counted when it happens.

use std::time::Duration;

use enid_core::cloud::CloudErrorKind;
use enid_core::event::Api;
use enid_core::report::Rung;
use enid_engine::ports::{End, Measurement};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::{Metric, Registry};

use super::catalogue::{self, Row};
use super::durations::Durations;

/// Of work on pods: a warm ADD takes less than a millisecond, one that waits for an ENI half a minute.
const OF_PODS: &[Duration] = &[
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2_500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_secs(1),
    Duration::from_millis(2_500),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_secs(60),
];
/// Of calls over a network.
const OF_CALLS: &[Duration] = &[
    Duration::from_millis(10),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2_500),
    Duration::from_secs(5),
    Duration::from_secs(10),
];
/// Of decisions, whose deadline is 50 ms unless the settings say otherwise, and of looks at the kernel.
const OF_LOOKS: &[Duration] = &[
    Duration::from_micros(100),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(2),
];

/// Label names and values.
pub(super) type Labels = Vec<(&'static str, &'static str)>;
type Histograms = Family<Labels, Durations, fn() -> Durations>;

/// One of something for each end.
#[derive(Debug)]
struct ByEnd<T> {
    served: T,
    try_later: T,
    refused: T,
}

impl<T> ByEnd<T> {
    fn each(mut make: impl FnMut(End) -> T) -> Self {
        Self { served: make(End::Served), try_later: make(End::TryLater), refused: make(End::Refused) }
    }

    fn of(&self, end: End) -> &T {
        match end {
            End::Served => &self.served,
            End::TryLater => &self.try_later,
            End::Refused => &self.refused,
        }
    }
}

/// The word for an end in the label `end`.
fn word(end: End) -> &'static str {
    match end {
        End::Served => "served",
        End::TryLater => "try-later",
        End::Refused => "refused",
    }
}

/// The word for a rung in the label `rung`.
fn step(rung: Rung) -> &'static str {
    match rung {
        Rung::Live => "live",
        Rung::LastGood => "last-good",
        Rung::Fallback => "fallback",
        Rung::Builtin => "builtin",
        Rung::Hold => "hold",
    }
}

/// How long the parts of an ADD took.
#[derive(Debug)]
struct Phases {
    wait: Durations,
    wire: Durations,
    total: Durations,
}

/// Everything that is counted. What an ADD passes is found without looking it up.
#[derive(Debug)]
pub(super) struct Counted {
    adds: ByEnd<Phases>,
    dels: ByEnd<Durations>,
    calls: Histograms,
    failures: Family<Labels, Counter>,
    decisions: Family<Labels, Counter>,
    deciding: Histograms,
    looks: Durations,
    repairs: ByEnd<Counter>,
}

impl Counted {
    /// Counters at zero, in `registry`.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let adds = Histograms::new_with_constructor(|| Durations::within(OF_PODS));
        let dels = Histograms::new_with_constructor(|| Durations::within(OF_PODS));
        let calls = Histograms::new_with_constructor(|| Durations::within(OF_CALLS));
        let failures = Family::<Labels, Counter>::default();
        let decisions = Family::<Labels, Counter>::default();
        let deciding = Histograms::new_with_constructor(|| Durations::within(OF_LOOKS));
        let looks = Durations::within(OF_LOOKS);
        let repairs = Family::<Labels, Counter>::default();
        enter(registry, &catalogue::ADD_DURATION, adds.clone());
        enter(registry, &catalogue::DEL_DURATION, dels.clone());
        enter(registry, &catalogue::CALL_DURATION, calls.clone());
        enter(registry, &catalogue::CALL_FAILURES, failures.clone());
        enter(registry, &catalogue::DECISIONS, decisions.clone());
        enter(registry, &catalogue::DECISION_DURATION, deciding.clone());
        enter(registry, &catalogue::KERNEL_LOOK_DURATION, looks.clone());
        enter(registry, &catalogue::POD_REPAIRS, repairs.clone());
        // There from the beginning: who is alerted by one of these wants to see the first time as a change.
        for api in APIS {
            for kind in [CloudErrorKind::Throttled, CloudErrorKind::Denied] {
                drop(failures.get_or_create(&failure(api, kind)));
            }
            drop(calls.get_or_create(&vec![("api", api.name())]));
        }
        let phases = |end| {
            let phase = |name| adds.get_or_create_owned(&vec![("phase", name), ("end", word(end))]);
            Phases { wait: phase("wait"), wire: phase("wire"), total: phase("total") }
        };
        Self {
            adds: ByEnd::each(phases),
            dels: ByEnd::each(|end| dels.get_or_create_owned(&vec![("end", word(end))])),
            repairs: ByEnd::each(|end| repairs.get_or_create_owned(&vec![("end", word(end))])),
            calls,
            failures,
            decisions,
            deciding,
            looks,
        }
    }

    /// Takes one measurement in.
    pub(super) fn measure(&self, measurement: Measurement) {
        match measurement {
            Measurement::Added { end, waited, wired, took } => {
                let Phases { wait, wire, total } = self.adds.of(end);
                wait.observe(waited);
                // An ADD that never came to the kernel says nothing about it.
                if !wired.is_zero() {
                    wire.observe(wired);
                }
                total.observe(took);
            }
            Measurement::Deleted { end, took } => self.dels.of(end).observe(took),
            Measurement::Call { api, failed, took } => {
                self.calls.get_or_create(&vec![("api", api.name())]).observe(took);
                if let Some(kind) = failed {
                    self.failures.get_or_create(&failure(api, kind)).inc();
                }
            }
            Measurement::Decided { kind, rung, took } => {
                let kind = ("kind", kind.as_str());
                self.decisions.get_or_create(&vec![kind, ("rung", step(rung))]).inc();
                self.deciding.get_or_create(&vec![kind]).observe(took);
            }
            Measurement::Looked { drifts: _, took } => self.looks.observe(took),
            Measurement::Repaired(end) => {
                self.repairs.of(end).inc();
            }
        }
    }
}

/// Puts a metric into `registry` under its name in the catalogue.
fn enter(registry: &mut Registry, row: &Row, metric: impl Metric) {
    match row.unit() {
        Some(unit) => registry.register_with_unit(row.stem, row.help, unit, metric),
        None => registry.register(row.stem, row.help, metric),
    }
}

const APIS: [Api; 11] = [
    Api::AssignIpv6Addresses,
    Api::AssignPrivateIpAddresses,
    Api::AttachNetworkInterface,
    Api::CreateNetworkInterface,
    Api::DeleteNetworkInterface,
    Api::DescribeNetworkInterfaces,
    Api::DescribeSubnets,
    Api::DetachNetworkInterface,
    Api::Metadata,
    Api::ModifyNetworkInterfaceAttribute,
    Api::UnassignPrivateIpAddresses,
];

fn failure(api: Api, kind: CloudErrorKind) -> Labels {
    let kind = match kind {
        CloudErrorKind::Throttled => "throttled",
        CloudErrorKind::NoFreeAddresses => "no-free-addresses",
        CloudErrorKind::NoFreeBlocks => "no-free-blocks",
        CloudErrorKind::LimitExceeded => "limit-exceeded",
        CloudErrorKind::Conflict => "conflict",
        CloudErrorKind::Gone => "gone",
        CloudErrorKind::Denied => "denied",
        CloudErrorKind::Rejected => "rejected",
        CloudErrorKind::Unavailable => "unavailable",
        CloudErrorKind::NotAsked => "not-asked",
    };
    vec![("api", api.name()), ("kind", kind)]
}
