//! The strategies of a running daemon, as `enid strategy list` and `enid strategy shadow` show them.

use enid_core::ids::DecisionId;
use enid_core::node::Status;
use enid_policy_wasm::{Comparison, Kind, Policy, Quarantined, Report};
use serde::Serialize;

/// Everything about the strategies in force. Programs read it: names do not change.
#[derive(Debug, Serialize)]
pub(crate) struct Overview {
    strategies: Vec<OfKind>,
    quarantined: Vec<Quarantined>,
}

#[derive(Debug, Serialize)]
struct OfKind {
    kind: Kind,
    /// Who is in force.
    active: Report,
    /// Its digest is in quarantine, so that it is not asked.
    in_quarantine: bool,
    /// What was decided last.
    last: Option<Last>,
    /// How the replacement differed from what it replaced, in words.
    divergence: Option<String>,
    /// How the strategy in shadow compares.
    shadow: Option<Shadow>,
}

#[derive(Debug, Serialize)]
struct Last {
    strategy: String,
    rung: String,
    decision: Option<DecisionId>,
    target: String,
    reason: String,
    faults: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Shadow {
    #[serde(flatten)]
    comparison: Comparison,
    /// Thousandths of the snapshots on which both aimed for the same.
    agreement_milli: Option<u64>,
    /// Positive when the shadow wants more, in thousandths.
    mean_difference_milli: Option<i64>,
    /// All of it in words.
    summary: String,
}

impl Overview {
    /// What `policy` and the node have to say. Waits for decisions under way.
    pub(crate) fn of(policy: &Policy, status: &Status) -> Self {
        let quarantined = policy.quarantined();
        let of_kind = |kind: Kind| {
            let active = policy.report(kind);
            let is_it = |quarantined: &Quarantined| active.digest.as_ref() == Some(&quarantined.digest);
            OfKind {
                kind,
                in_quarantine: quarantined.iter().any(is_it),
                last: last(kind, status),
                divergence: active.divergence.as_ref().map(ToString::to_string),
                shadow: policy.shadow(kind).map(Shadow::from),
                active,
            }
        };
        Self { strategies: Kind::ALL.map(of_kind).into(), quarantined }
    }
}

fn last(kind: Kind, status: &Status) -> Option<Last> {
    let row = status.strategies.iter().find(|row| row.kind == kind.as_str())?;
    Some(Last {
        strategy: row.strategy.clone(),
        rung: row.rung.clone(),
        decision: row.record,
        target: row.target.clone(),
        reason: row.reason.clone(),
        faults: row.faults.clone(),
    })
}

impl From<Comparison> for Shadow {
    fn from(comparison: Comparison) -> Self {
        Self {
            agreement_milli: comparison.agreement_milli(),
            mean_difference_milli: comparison.mean_difference_milli(),
            summary: comparison.to_string(),
            comparison,
        }
    }
}
