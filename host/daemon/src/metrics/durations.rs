//! How long something took, counted without a lock: an ADD never waits for who reads.

use std::fmt::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// A histogram of durations.
#[derive(Clone, Debug)]
pub(super) struct Durations(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    /// The upper end of each bucket but the last, in order.
    bounds: &'static [Duration],
    /// One more than bounds.
    buckets: Vec<AtomicU64>,
    nanos: AtomicU64,
}

impl Durations {
    /// Nothing so far.
    pub(super) fn within(bounds: &'static [Duration]) -> Self {
        let buckets = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self(Arc::new(Counts { bounds, buckets, nanos: AtomicU64::new(0) }))
    }

    /// Counts one.
    pub(super) fn observe(&self, took: Duration) {
        let Counts { bounds, buckets, nanos } = &*self.0;
        let bucket = bounds.partition_point(|bound| *bound < took);
        buckets[bucket].fetch_add(1, Ordering::Relaxed);
        // Wraps after 584 years of waiting.
        nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl EncodeMetric for Durations {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), Error> {
        let Counts { bounds, buckets, nanos } = &*self.0;
        let ends = bounds.iter().map(Duration::as_secs_f64).chain([f64::INFINITY]);
        let counted = buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = ends.zip(counted).collect();
        // Counted from the same numbers, so that the last bucket is the count whatever happens meanwhile.
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = Duration::from_nanos(nanos.load(Ordering::Relaxed)).as_secs_f64();
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl TypedMetric for Durations {
    const TYPE: MetricType = MetricType::Histogram;
}
