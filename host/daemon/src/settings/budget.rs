//! `[budget]`: how much of the account's EC2 call limits this node takes for itself.

use std::collections::BTreeMap;

use enid_core::budget::{BudgetConfig, Class, Limit};

use super::document::Section;
use super::narrow;

/// A limit that no account has; what is larger is a slip.
const LARGEST_LIMIT: u64 = 1_000_000;
/// Nodes of one cluster: ten times what Kubernetes is made for.
const MOST_NODES: u64 = 50_000;

/// `[budget]`: how much of the account's EC2 call limits this node takes for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// The cluster's share of every limit, in thousandths. Default 500, a half: others in the account call EC2, too.
    pub share_milli: u32,
    /// How many nodes share it at least: the cluster's size, rounded up. Default 10. Where the Kubernetes API can be asked,
    /// its count holds when it is larger.
    pub nodes: u32,
    /// The account's limits where they are not the documented ones. Default: none, they are.
    pub limits: BTreeMap<Class, Limit>,
}

impl Default for Budget {
    fn default() -> Self {
        Self { share_milli: 500, nodes: 10, limits: BTreeMap::new() }
    }
}

impl Budget {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Self {
        let default = Self::default();
        Self {
            share_milli: section
                .fraction("share", "a number above 0 and at most 1, like 0.5", share)
                .unwrap_or(default.share_milli),
            nodes: section.integer("nodes", 1..=MOST_NODES, "nodes").map_or(default.nodes, narrow),
            limits: section.section("limits", limits),
        }
    }

    /// What decisions depend on.
    pub(super) fn config(&self) -> BudgetConfig {
        BudgetConfig { share_milli: self.share_milli, nodes: self.nodes, limits: self.limits.clone() }
    }
}

/// A share in thousandths; one that is smaller than that is none.
fn share(share: f64) -> Option<u32> {
    let milli = (share * 1000.0).round();
    // What is not a number is in no range; within this one nothing is cut off.
    (milli >= 1.0 && share <= 1.0).then_some(milli as u32)
}

fn limits(section: &mut Section<'_, '_>) -> BTreeMap<Class, Limit> {
    let read = |class: Class| {
        let documented = class.documented();
        let limit = section.section(class.name(), |section| Limit {
            burst: section.integer("burst", 1..=LARGEST_LIMIT, "calls").map_or(documented.burst, narrow),
            per_second: section
                .integer("per_second", 1..=LARGEST_LIMIT, "calls per second")
                .map_or(documented.per_second, narrow),
        });
        (limit != documented).then_some((class, limit))
    };
    Class::ALL.into_iter().filter_map(read).collect()
}
