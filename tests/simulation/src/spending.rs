//! Whether a node keeps to its share of the account's calls: a bucket written down here a second time.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use enid_core::budget::{BudgetConfig, Class, SLOT_LENGTH};
use enid_core::time::Timestamp;

/// The calls of one daemon, by class.
#[derive(Clone, Debug, Default)]
pub struct Spending {
    budget: BudgetConfig,
    /// How many nodes this daemon was told of.
    counted: Option<NonZeroU32>,
    /// What is left, in tokens, and since when.
    left: BTreeMap<Class, (f64, Timestamp)>,
}

impl Spending {
    /// A call is made; says how far it is beyond what the node may spend, if it is.
    pub fn spend(&mut self, class: Class, now: Timestamp) -> Option<f64> {
        let left = self.left_of(class, now) - 1.0;
        self.left.insert(class, (left, now));
        // Sums of fractions are not exact.
        (left < -1e-6).then_some(-left)
    }

    /// A node that holds a whole token gets its part of the burst and of the rate; one whose part is less than a token
    /// waits for slots, which are open for a moment each.
    fn left_of(&self, class: Class, now: Timestamp) -> f64 {
        let budget = &self.budget;
        let nodes = budget.nodes.max(self.counted.map_or(1, NonZeroU32::get));
        let part = f64::from(budget.share_milli) / 1000.0 / f64::from(nodes);
        let limit = budget.limit(class);
        let rate = f64::from(limit.per_second) * part;
        let burst = f64::from(limit.burst) * part;
        let slack = if burst < 1.0 { SLOT_LENGTH as f64 / 1000.0 * rate } else { 0.0 };
        let full = burst.max(1.0) + slack;
        let (left, at) = self.left.get(&class).copied().unwrap_or((full, now));
        let since = now.0.saturating_sub(at.0) as f64 / 1000.0;
        (left + since * rate).min(full)
    }

    /// The share is another from now on.
    pub fn share(&mut self, budget: &BudgetConfig, now: Timestamp) {
        if self.budget != *budget {
            self.settle(now);
            self.budget = budget.clone();
        }
    }

    /// The daemon is told how many nodes there are.
    pub fn count(&mut self, nodes: NonZeroU32, now: Timestamp) {
        self.settle(now);
        self.counted = Some(nodes);
    }

    /// Reckons what is left under the share so far.
    fn settle(&mut self, now: Timestamp) {
        let left = Class::ALL.map(|class| (class, (self.left_of(class, now), now)));
        self.left = left.into_iter().filter(|(class, _)| self.left.contains_key(class)).collect();
    }

    /// The daemon died: the next begins anew.
    pub fn begin_anew(&mut self) {
        self.left.clear();
        self.counted = None;
    }
}
