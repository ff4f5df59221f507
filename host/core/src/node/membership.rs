//! How many nodes share the cluster's part of the account's calls. Nobody allots the parts: each node takes one of as many
//! as there are nodes.

use std::num::NonZeroU32;

use serde::Serialize;

use super::NodeState;
use crate::budget::BudgetConfig;
use crate::time::Timestamp;

/// The size of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ClusterStatus {
    /// Nodes, this one included.
    pub nodes: u32,
    /// How long ago they were counted, seconds; `None` when the operator states how many there are.
    pub counted_secs_ago: Option<u64>,
}

/// The nodes of the cluster, counted by somebody who sees them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count {
    nodes: NonZeroU32,
    at: Timestamp,
}

impl NodeState {
    /// How many nodes share the cluster's part: counted if they ever were, else as many as the operator states.
    pub fn nodes(&self) -> u32 {
        self.counted.map_or(self.config.budget.nodes, |count| count.nodes.get())
    }

    /// What the node's share follows from.
    pub fn budget_config(&self) -> BudgetConfig {
        BudgetConfig { nodes: self.nodes(), ..self.config.budget.clone() }
    }

    pub(super) fn nodes_counted(&mut self, nodes: NonZeroU32, now: Timestamp) {
        let before = self.nodes();
        let first = self.counted.replace(Count { nodes, at: now }).is_none();
        if self.nodes() != before {
            self.share_anew(before, now);
        }
        if first && self.config.expects_count && !self.resumed {
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
        let counted_secs_ago = self.counted.map(|count| now.since(count.at).as_secs());
        ClusterStatus { nodes: self.nodes(), counted_secs_ago }
    }
}
