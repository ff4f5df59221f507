//! How many nodes share the cluster's part of the account's calls. Nobody allots the parts: each node takes one of as many
//! as there are nodes.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::Serialize;

use super::NodeState;
use crate::budget::BudgetConfig;
use crate::time::Timestamp;

/// How old a daemon may be that has spent nothing before its cluster is counted.
const AFRESH: Duration = Duration::from_secs(5);

/// The size of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ClusterStatus {
    /// Parts that the cluster's share is divided into: its nodes, rounded up, and as many as the operator states at least.
    pub parts: u32,
    /// Nodes as they were counted, this one included; `None` until they were.
    pub nodes: Option<u32>,
    /// How long ago that was, seconds.
    pub counted_secs_ago: Option<u64>,
}

/// The nodes of the cluster, counted by somebody who sees them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count {
    nodes: NonZeroU32,
    at: Timestamp,
    /// What follows from it: it changes when the number grows beyond it, or shrinks well below. Every change deals slots
    /// and sweeps anew, which must not happen with every node that comes and goes.
    parts: u32,
}

impl Count {
    fn new(nodes: NonZeroU32, at: Timestamp, before: Option<Count>) -> Self {
        let fits = |parts: &u32| nodes.get() <= *parts && nodes.get() > parts / 2;
        let parts = before.map(|before| before.parts).filter(fits).unwrap_or_else(|| rounded_up(nodes.get()));
        Self { nodes, at, parts }
    }
}

/// The next number of those with three significant binary digits.
fn rounded_up(nodes: u32) -> u32 {
    let step = 1 << nodes.checked_ilog2().unwrap_or(0).saturating_sub(2);
    nodes.div_ceil(step).saturating_mul(step)
}

impl NodeState {
    /// How many nodes share the cluster's part: as many as were counted, and as the operator states at least, who may know
    /// of more to come.
    pub fn nodes(&self) -> u32 {
        let stated = self.config.budget.nodes;
        self.counted.map_or(stated, |count| count.parts.max(stated))
    }

    /// What the node's share follows from.
    pub fn budget_config(&self) -> BudgetConfig {
        BudgetConfig { nodes: self.nodes(), ..self.config.budget.clone() }
    }

    pub(super) fn nodes_counted(&mut self, nodes: NonZeroU32, now: Timestamp) {
        let before = self.nodes();
        let first = self.counted.is_none();
        self.counted = Some(Count::new(nodes, now, self.counted));
        if self.nodes() != before {
            self.share_anew(before, now);
        }
        // Later, what came in since the start may have been spent, or EC2 may have throttled.
        let afresh = first && !self.resumed && now.since(self.started) < AFRESH;
        if afresh && self.config.expects_count {
            let instance = self.identity.instance.clone();
            self.restraint.begin(&self.budget_config(), &instance, now);
        }
    }

    /// The share may be another: there were `before` nodes.
    pub(super) fn share_anew(&mut self, before: u32, now: Timestamp) {
        self.restraint.reconfigure(&self.budget_config(), now);
        let nodes = self.nodes();
        if nodes != before && self.config.cluster.is_some() {
            self.sweep.resize(nodes, now);
        }
    }

    pub(super) fn cluster_status(&self, now: Timestamp) -> ClusterStatus {
        ClusterStatus {
            parts: self.nodes(),
            nodes: self.counted.map(|count| count.nodes.get()),
            counted_secs_ago: self.counted.map(|count| now.since(count.at).as_secs()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(numbers: &[u32]) -> u32 {
        let count = |before, nodes: &u32| {
            Some(Count::new(NonZeroU32::new(*nodes).expect("some"), Timestamp(0), before))
        };
        numbers.iter().fold(None, count).expect("a count").parts
    }

    #[test]
    fn parts_are_as_many_as_nodes_rounded_up_by_a_quarter_at_most() {
        for (nodes, parts) in [
            (1, 1),
            (2, 2),
            (5, 5),
            (7, 7),
            (8, 8),
            (9, 10),
            (37, 40),
            (100, 112),
            (1000, 1024),
            (5000, 5120),
            (u32::MAX, u32::MAX),
        ] {
            assert_eq!(counted(&[nodes]), parts, "{nodes}");
        }
        for nodes in 1..10_000 {
            let parts = counted(&[nodes]);
            assert!(nodes <= parts && parts <= nodes + nodes / 4, "{nodes} {parts}");
        }
    }

    #[test]
    fn nodes_that_come_and_go_change_nothing_while_there_are_parts_enough() {
        assert_eq!(counted(&[50, 49, 56, 30, 52]), 56);
        assert_eq!(counted(&[50, 57]), 64);
        assert_eq!(counted(&[50, 28]), 28);
    }
}
