//! How two strategies differ on the same snapshots: for a shadow, and before a replacement.

use serde::{Deserialize, Serialize};

/// What was seen so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    /// The strategy that is compared with the one in force.
    pub strategy: String,
    /// Snapshots on which both answered.
    pub compared: u64,
    /// Those on which the targets were the same.
    pub agreed: u64,
    /// The sum of all differences, signed: positive when the compared strategy wants more.
    pub difference: i64,
    /// The largest difference either way.
    pub worst: Option<Worst>,
    /// Snapshots on which the compared strategy had no admissible answer.
    pub failed: u64,
    /// What it did last when it had none.
    pub last_failure: Option<String>,
    /// Snapshots that were skipped because the host was busy.
    pub skipped: u64,
}

/// Where two strategies were furthest apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worst {
    /// The decision's number.
    pub decision: u64,
    /// The difference, signed.
    pub difference: i64,
    /// What was aimed for.
    pub live: String,
    /// What the compared strategy would have aimed for.
    pub other: String,
}

impl Comparison {
    /// Nothing seen yet.
    pub fn with(strategy: &str) -> Self {
        Self { strategy: strategy.to_owned(), ..Self::default() }
    }

    /// Both answered; `difference` is zero only where the targets mean the same.
    pub fn both(&mut self, decision: u64, difference: i64, live: &impl ToString, other: &impl ToString) {
        self.compared += 1;
        if difference == 0 {
            self.agreed += 1;
            return;
        }
        self.difference = self.difference.saturating_add(difference);
        let worse = self
            .worst
            .as_ref()
            .is_none_or(|worst| difference.unsigned_abs() > worst.difference.unsigned_abs());
        if worse {
            self.worst =
                Some(Worst { decision, difference, live: live.to_string(), other: other.to_string() });
        }
    }

    /// The compared strategy had no admissible answer.
    pub fn failed(&mut self, why: &str) {
        self.failed += 1;
        self.last_failure = Some(why.to_owned());
    }

    /// Adds what was seen since.
    pub fn add(&mut self, since: Self) {
        let Self { strategy: _, compared, agreed, difference, worst, failed, last_failure, skipped } = since;
        self.compared += compared;
        self.agreed += agreed;
        self.difference = self.difference.saturating_add(difference);
        self.failed += failed;
        self.skipped += skipped;
        self.last_failure = last_failure.or(self.last_failure.take());
        let apart = |worst: &Worst| worst.difference.unsigned_abs();
        if worst.as_ref().map(apart) > self.worst.as_ref().map(apart) {
            self.worst = worst;
        }
    }

    /// Thousandths of the snapshots on which the targets were the same; `None` before the first.
    pub fn agreement_milli(&self) -> Option<u64> {
        let all = self.compared + self.failed;
        (all > 0).then(|| self.agreed * 1000 / all)
    }

    /// Mean signed difference in thousandths; `None` before the first.
    pub fn mean_difference_milli(&self) -> Option<i64> {
        let compared = i64::try_from(self.compared).ok().filter(|compared| *compared > 0)?;
        Some(self.difference.saturating_mul(1000) / compared)
    }
}

impl std::fmt::Display for Comparison {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Some(agreement), asked) = (self.agreement_milli(), self.compared + self.failed) else {
            return f.write_str("nothing to compare yet");
        };
        write!(f, "same target on {}.{} % of {asked} snapshots", agreement / 10, agreement % 10)?;
        if let Some(mean) = self.mean_difference_milli().filter(|_| self.agreed < self.compared) {
            let sign = if mean < 0 { "-" } else { "+" };
            let mean = mean.unsigned_abs();
            write!(f, ", mean difference {sign}{}.{:03}", mean / 1000, mean % 1000)?;
        }
        if let Some(Worst { decision, difference, live, other }) = &self.worst {
            write!(f, ", worst {difference:+} at decision {decision} ({live} against {other})")?;
        }
        if let Some(why) = &self.last_failure {
            write!(f, ", {} without an answer, the last because {why}", self.failed)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_in_pieces_adds_up() {
        let (mut whole, mut sum) = (Comparison::with("next"), Comparison::with("next"));
        for (decision, difference) in [(1, 0), (2, 3), (3, -4), (4, 4)] {
            let mut piece = Comparison::default();
            for seen in [&mut whole, &mut piece] {
                seen.both(decision, difference, &5, &(5 + difference));
                seen.failed("it trapped");
            }
            sum.add(piece);
        }
        assert_eq!(sum, whole);
    }

    #[test]
    fn agreement_mean_and_worst_are_told() {
        let mut seen = Comparison::with("next");
        assert_eq!(seen.to_string(), "nothing to compare yet");
        seen.both(1, 0, &5, &5);
        seen.both(2, 3, &5, &8);
        seen.both(3, -4, &5, &1);
        seen.failed("it trapped");
        assert_eq!((seen.agreement_milli(), seen.mean_difference_milli()), (Some(250), Some(-333)));
        assert_eq!(
            seen.to_string(),
            "same target on 25.0 % of 4 snapshots, mean difference -0.333, worst -4 at decision 3 (5 against 1), \
             1 without an answer, the last because it trapped"
        );
    }
}
