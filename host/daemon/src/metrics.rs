//! What is counted and measured about this node, as Prometheus reads it.
//!
//! What happens is counted when it happens ([`Metrics`] is the engine's [`Meter`]); what is, is asked of the engine when
//! somebody reads. No metric names a pod or a container. Map: `catalogue` every metric and what it means, `counted` and
//! `durations` what happens, `state` what is, `exposition` the formats, `sheet` the catalogue as a page for people.

mod catalogue;
mod counted;
mod durations;
mod exposition;
mod sheet;
mod state;

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use enid_core::limits::InstanceType;
use enid_core::node::Status;
use enid_engine::ports::{Measurement, Meter};
use prometheus_client::registry::Registry;

use counted::Counted;
pub(crate) use exposition::Format;
pub(crate) use sheet::sheet;
use state::State;

/// All metrics of this daemon.
#[derive(Debug)]
pub(crate) struct Metrics {
    counted: Counted,
    registry: Registry,
    begun: Instant,
    begun_at: SystemTime,
    serving_after: OnceLock<Duration>,
}

/// What is known of the node besides its status.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    /// What its type allows.
    pub(crate) instance_type: InstanceType,
    /// The file that its state is kept in.
    pub(crate) journal: PathBuf,
}

impl Metrics {
    /// Nothing was counted so far; the daemon starts now.
    pub(crate) fn begin() -> Self {
        let mut registry = Registry::with_prefix(catalogue::PREFIX);
        let counted = Counted::register(&mut registry);
        let (begun, begun_at) = (Instant::now(), SystemTime::now());
        Self { counted, registry, begun, begun_at, serving_after: OnceLock::new() }
    }

    /// The daemon serves its socket from now on.
    pub(crate) fn serving(&self) {
        // Only the first time is the start.
        let _already = self.serving_after.set(self.begun.elapsed());
    }

    /// Everything, as text.
    pub(crate) fn expose(&self, status: &Status, site: &Site, format: Format) -> String {
        let mut scrape = Registry::with_prefix(catalogue::PREFIX);
        scrape.register_collector(Box::new(State {
            samples: state::samples(status, site, self.begun.elapsed()),
            begun_at: self.begun_at,
            serving_after: self.serving_after.get().copied(),
        }));
        exposition::text(&[&self.registry, &scrape], format)
    }
}

impl Meter for Metrics {
    fn measure(&self, measurement: Measurement) {
        self.counted.measure(measurement);
    }
}

#[cfg(test)]
pub(crate) mod tests;
