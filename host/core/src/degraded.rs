//! Whether EC2 is well enough to be asked: degraded modes, entered on error rate and left by themselves.
//!
//! When calls fail often, nothing is given back that might not be had again (`no-release`); when hardly any gets
//! an answer, none are made but a probe now and then (`no-calls`). Pods are served from what is there in any
//! mode. The mode follows from the outcomes told and the time alone: how often anybody asks in between changes
//! nothing.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cloud::CloudErrorKind;
use crate::time::Timestamp;

/// How long an outcome counts.
const WINDOW: u64 = 120_000;
/// Outcomes of so many milliseconds are counted together, and stop counting together with the oldest.
const GRAIN: u64 = 5_000;
/// How many failures it takes to give nothing back, and at what rate (per mille).
const NO_RELEASE: (u32, u32) = (4, 250);
/// How many failures it takes to stop calling, and at what rate (per mille).
const NO_CALLS: (u32, u32) = (8, 800);
/// And for how long nothing at all must have been served: one API that fails while others answer stops no calls.
const SILENCE: Duration = Duration::from_secs(90);
/// Giving back begins again below this rate (per mille), well below the one at which it stopped.
const RELEASE_AGAIN: u32 = 100;
/// And no sooner than this: after a long silence the window is empty, and one answer is no proof.
const CAUTIOUS_FOR: Duration = Duration::from_secs(30);
/// The first probe goes this long after the last outcome.
const FIRST_PROBE: Duration = Duration::from_secs(30);
/// Each later one twice as long, up to this.
const LAST_PROBE: Duration = Duration::from_secs(120);

/// What is not done because EC2 fails too often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Degraded {
    /// Everything is done.
    #[default]
    #[serde(rename = "none")]
    No,
    /// Nothing is given back.
    NoRelease,
    /// EC2 is not called, save for probes.
    NoCalls,
}

impl fmt::Display for Degraded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Degraded::No => "none",
            Degraded::NoRelease => "no-release",
            Degraded::NoCalls => "no-calls",
        })
    }
}

/// What a call to EC2 says about EC2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It answered; a refusal for any reason of ours is an answer.
    Served,
    /// It did not answer, or throttled.
    Failed,
}

impl Outcome {
    /// What a failed call says; `None` where EC2 was not asked.
    #[must_use]
    pub fn of(kind: CloudErrorKind) -> Option<Outcome> {
        match kind {
            CloudErrorKind::NotAsked => None,
            CloudErrorKind::Throttled | CloudErrorKind::Unavailable => Some(Outcome::Failed),
            CloudErrorKind::NoFreeAddresses
            | CloudErrorKind::NoFreeBlocks
            | CloudErrorKind::LimitExceeded
            | CloudErrorKind::Conflict
            | CloudErrorKind::Gone
            | CloudErrorKind::Denied
            | CloudErrorKind::Rejected => Some(Outcome::Served),
        }
    }
}

/// The outcomes of the last two minutes and what follows from them. At most 25 counts, whatever happens.
#[derive(Clone, Debug, Default)]
pub struct Health {
    counts: VecDeque<Count>,
    mode: Degraded,
    since: Timestamp,
    last_outcome: Timestamp,
    last_served: Option<Timestamp>,
    probes_failed: u32,
}

/// Outcomes of five seconds.
#[derive(Clone, Copy, Debug)]
struct Count {
    from: Timestamp,
    served: u32,
    failed: u32,
}

impl Count {
    /// When it stops counting.
    fn expires(self) -> Timestamp {
        Timestamp(self.from.0.saturating_add(WINDOW))
    }
}

/// Counts summed up.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    served: u32,
    failed: u32,
}

impl Sum {
    fn of<'a>(counts: impl IntoIterator<Item = &'a Count>) -> Sum {
        counts.into_iter().fold(Sum::default(), |sum, count| Sum {
            served: sum.served.saturating_add(count.served),
            failed: sum.failed.saturating_add(count.failed),
        })
    }

    /// Failures among all outcomes, per mille; none among none.
    fn rate_milli(self) -> u32 {
        let (failed, all) = (u64::from(self.failed), u64::from(self.served) + u64::from(self.failed));
        (failed * 1000).checked_div(all).map_or(0, |rate| u32::try_from(rate).unwrap_or(u32::MAX))
    }

    fn reaches(self, (failures, rate_milli): (u32, u32)) -> bool {
        self.failed >= failures && self.rate_milli() >= rate_milli
    }
}

impl Health {
    /// Nothing is known against EC2.
    pub fn new() -> Health {
        Health::default()
    }

    /// A call to EC2 (not to metadata) had this outcome.
    pub fn record(&mut self, outcome: Outcome, now: Timestamp) {
        self.age(now);
        let probing = now >= self.probe_at(now);
        let from = Timestamp(now.0 - now.0 % GRAIN);
        // Of a clock that stepped back, outcomes count with the latest.
        if self.counts.back().is_none_or(|count| count.from < from) {
            self.counts.push_back(Count { from, served: 0, failed: 0 });
        }
        if let Some(count) = self.counts.back_mut() {
            match outcome {
                Outcome::Served => {
                    count.served = count.served.saturating_add(1);
                    self.last_served = self.last_served.max(Some(now));
                }
                Outcome::Failed => count.failed = count.failed.saturating_add(1),
            }
        }
        self.last_outcome = self.last_outcome.max(now);
        let sum = Sum::of(&self.counts);
        match (self.mode, outcome) {
            (Degraded::NoCalls, Outcome::Served) => self.enter(Degraded::NoRelease, now),
            // Calls that were under way when calling stopped are no probes.
            (Degraded::NoCalls, Outcome::Failed) if probing => {
                self.probes_failed = self.probes_failed.saturating_add(1);
            }
            (Degraded::NoCalls, Outcome::Failed) => {}
            (Degraded::No | Degraded::NoRelease, Outcome::Failed)
                if sum.reaches(NO_CALLS)
                    && self.last_served.is_none_or(|served| now.since(served) >= SILENCE) =>
            {
                self.enter(Degraded::NoCalls, now);
            }
            (Degraded::No, Outcome::Failed) if sum.reaches(NO_RELEASE) => {
                self.enter(Degraded::NoRelease, now);
            }
            (Degraded::No | Degraded::NoRelease, Outcome::Served | Outcome::Failed) => self.age(now),
        }
    }

    /// Time passed: forgets what does not count any more, and leaves `no-release` if that is due.
    pub fn age(&mut self, now: Timestamp) {
        if let Some(release) = self.releases_at().filter(|at| *at <= now) {
            self.enter(Degraded::No, release);
        }
        while self.counts.front().is_some_and(|count| count.expires() <= now) {
            self.counts.pop_front();
        }
    }

    /// What is not done now.
    pub fn mode(&self, now: Timestamp) -> Degraded {
        match self.releases_at() {
            Some(at) if at <= now => Degraded::No,
            Some(_) | None => self.mode,
        }
    }

    /// When the next probe may go in `no-calls`: 30 seconds after the last outcome, twice as long after each
    /// probe that failed, two minutes at most. In other modes, now.
    pub fn probe_at(&self, now: Timestamp) -> Timestamp {
        match self.mode {
            Degraded::No | Degraded::NoRelease => now,
            Degraded::NoCalls => {
                let wait = FIRST_PROBE.saturating_mul(1 << self.probes_failed.min(8));
                self.last_outcome + wait.min(LAST_PROBE)
            }
        }
    }

    /// When the mode changes if nothing more is heard. Only a probe ends `no-calls`.
    pub fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        self.releases_at().filter(|at| *at > now)
    }

    /// Since when the mode holds that [`Health::record`] or [`Health::age`] came to last.
    pub fn since(&self) -> Timestamp {
        self.since
    }

    /// Failures among the outcomes that count now, per mille; 0 when there are none.
    pub fn error_rate_milli(&self, now: Timestamp) -> u32 {
        Sum::of(self.counts.iter().filter(|count| count.expires() > now)).rate_milli()
    }

    fn enter(&mut self, mode: Degraded, now: Timestamp) {
        self.mode = mode;
        self.since = now;
        self.probes_failed = 0;
    }

    /// When `no-release` ends if nothing more is heard: the first time since the last outcome, no sooner than
    /// caution allows, at which those that still count have a low enough rate.
    fn releases_at(&self) -> Option<Timestamp> {
        match self.mode {
            Degraded::No | Degraded::NoCalls => None,
            Degraded::NoRelease => {
                let earliest = self.last_outcome.max(self.since + CAUTIOUS_FOR);
                let moments = self.counts.iter().map(|count| count.expires()).chain([earliest]);
                moments.filter(|at| *at >= earliest && self.error_rate_milli(*at) < RELEASE_AGAIN).min()
            }
        }
    }
}

#[cfg(test)]
mod tests;
