//! How many pods came and went, in buckets of time: what a strategy may learn from.

use std::collections::VecDeque;
use std::time::Duration;

use crate::snapshot::{Demand, MAX_HISTORY};
use crate::time::Timestamp;

/// The length of one bucket. Sixty-four of them look back a little over half an hour.
pub const BUCKET: Duration = Duration::from_secs(30);

/// Demand in buckets, the last one still filling. Bounded to [`MAX_HISTORY`] buckets.
#[derive(Clone, Debug)]
pub struct History {
    buckets: VecDeque<Demand>,
    current_start: Timestamp,
}

impl History {
    /// No demand before `now`.
    pub fn starting(now: Timestamp) -> Self {
        Self { buckets: VecDeque::from([Demand::default()]), current_start: now }
    }

    /// A pod asked for an address while `bound` were bound.
    pub fn pod_added(&mut self, now: Timestamp) {
        self.current(now).added += 1;
    }

    /// A pod had to wait.
    pub fn pod_waited(&mut self, now: Timestamp) {
        self.current(now).waited += 1;
    }

    /// A pod was refused.
    pub fn pod_failed(&mut self, now: Timestamp) {
        self.current(now).failed += 1;
    }

    /// A pod gave its address up.
    pub fn pod_removed(&mut self, now: Timestamp) {
        self.current(now).removed += 1;
    }

    /// `bound` addresses are in use now.
    pub fn pods_bound(&mut self, now: Timestamp, bound: u32) {
        let current = self.current(now);
        current.peak = current.peak.max(bound);
    }

    /// The buckets up to `now`, oldest first.
    pub fn buckets(&mut self, now: Timestamp) -> Vec<Demand> {
        self.current(now);
        self.buckets.iter().copied().collect()
    }

    fn current(&mut self, now: Timestamp) -> &mut Demand {
        let behind = now.since(self.current_start).as_millis() / BUCKET.as_millis();
        let missing = usize::try_from(behind).unwrap_or(usize::MAX).min(MAX_HISTORY);
        for _ in 0..missing {
            if self.buckets.len() == MAX_HISTORY {
                self.buckets.pop_front();
            }
            self.buckets.push_back(Demand::default());
        }
        if behind > 0 {
            let millis = u64::try_from(behind * BUCKET.as_millis()).unwrap_or(u64::MAX);
            self.current_start = self.current_start + Duration::from_millis(millis);
        }
        let last = self.buckets.len() - 1;
        &mut self.buckets[last]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_time_leaves_empty_buckets_and_old_ones_fall_out() {
        let mut history = History::starting(Timestamp(1_000));
        history.pod_added(Timestamp(2_000));
        history.pod_added(Timestamp(1_000) + BUCKET * 2);
        let added: Vec<u32> =
            history.buckets(Timestamp(1_000) + BUCKET * 2).iter().map(|b| b.added).collect();
        assert_eq!(added, [1, 0, 1]);
        let later = history.buckets(Timestamp(1_000) + BUCKET * 10_000);
        assert_eq!(later.len(), MAX_HISTORY);
        assert!(later.iter().all(|bucket| bucket.added == 0));
    }

    #[test]
    fn a_clock_that_steps_back_counts_into_the_current_bucket() {
        let mut history = History::starting(Timestamp(1_000_000));
        history.pod_added(Timestamp(10));
        assert_eq!(history.buckets(Timestamp(1_000_000))[0].added, 1);
    }
}
