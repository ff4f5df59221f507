//! Durations of one thing done many times.

use std::time::Duration;

/// Durations, in ascending order; never empty.
#[derive(Clone, Debug)]
pub(super) struct Samples(Vec<Duration>);

impl Samples {
    /// Durations in any order; none when there are none.
    pub(super) fn of(mut durations: Vec<Duration>) -> Option<Self> {
        durations.sort_unstable();
        (!durations.is_empty()).then_some(Self(durations))
    }

    /// These and those.
    pub(super) fn with(mut self, other: Samples) -> Self {
        self.0.extend(other.0);
        self.0.sort_unstable();
        self
    }

    /// How many.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// The nearest-rank percentile.
    pub(super) fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0[rank.min(self.0.len()) - 1]
    }

    /// The middle one.
    pub(super) fn p50(&self) -> Duration {
        self.percentile(50)
    }

    /// The longest.
    pub(super) fn worst(&self) -> Duration {
        self.percentile(100)
    }

    /// What one in a hundred exceeds.
    pub(super) fn p99(&self) -> Duration {
        self.percentile(99)
    }
}

/// Milliseconds with their fractions.
pub(super) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let samples = Samples::of((1..=100).rev().map(Duration::from_millis).collect()).unwrap();
        assert_eq!(samples.p50(), Duration::from_millis(50));
        assert_eq!(samples.p99(), Duration::from_millis(99));
        let one = Samples::of(vec![Duration::from_millis(7)]).unwrap();
        assert_eq!((one.p50(), one.p99()), (Duration::from_millis(7), Duration::from_millis(7)));
        assert!(Samples::of(Vec::new()).is_none());
    }
}
