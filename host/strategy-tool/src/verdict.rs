//! What the host makes of an answer: the same admission as on a node.

use enid_core::admission::{Admitted, Clamp};
use enid_core::document::{Answer, Snapshot};
use enid_core::proposal::{Outcome, Proposal, Ranked};
use enid_policy_wasm::Failing;
use enid_policy_wasm::question::{self, Judged};
use serde::Serialize;
use serde_json::{Value, json};

/// An answer that the host would act on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Accepted {
    /// The target, within bounds; fields by name, for max-pods a number, for subnets a list of candidates.
    pub(crate) target: Value,
    /// What came with it, cut to size.
    #[serde(skip)]
    pub(crate) outcome: Outcome,
    /// What had to be bent.
    pub(crate) bent: Vec<Clamp>,
}

/// Bends and checks an answer as a node would.
pub(crate) fn judge(question: &Snapshot, answer: &Answer) -> Result<Accepted, Failing> {
    question::judge(question, answer.clone()).map(Accepted::from)
}

impl From<Judged> for Accepted {
    fn from(judged: Judged) -> Self {
        match judged {
            Judged::WarmPool(admitted) => accepted(admitted, |band| json!(band)),
            Judged::MaxPods(admitted) => accepted(admitted, |pods| json!(pods)),
            Judged::SubnetSelection(admitted) => accepted(admitted, |order| json!(order)),
        }
    }
}

fn accepted<T>(admitted: Admitted<T>, shown: impl FnOnce(T) -> Value) -> Accepted {
    Accepted { target: shown(admitted.target), outcome: admitted.outcome, bent: admitted.clamped }
}

/// The target as the component said it, in the form of [`Accepted::target`].
pub(crate) fn proposed(answer: &Answer) -> Value {
    match answer {
        Answer::WarmPool(Proposal { target, .. }) => json!(target),
        Answer::MaxPods(Proposal { target, .. }) => json!(target),
        Answer::SubnetSelection(Proposal { target, .. }) => {
            target.iter().map(|Ranked { candidate, .. }| json!(candidate)).collect()
        }
    }
}

/// What came with the target.
pub(crate) fn outcome(answer: &Answer) -> &Outcome {
    match answer {
        Answer::WarmPool(proposal) => &proposal.outcome,
        Answer::MaxPods(proposal) => &proposal.outcome,
        Answer::SubnetSelection(proposal) => &proposal.outcome,
    }
}

#[cfg(test)]
mod tests {
    use enid_core::admission::Violation;
    use enid_core::kind::Kind;

    use enid_core::proposal::Band;

    use super::*;

    fn plain(kind: Kind) -> Snapshot {
        Snapshot::deserialize_body(kind, Value::Object(serde_json::Map::new())).unwrap()
    }

    fn says<T>(target: T) -> Proposal<T> {
        Proposal { target, outcome: Outcome::default() }
    }

    #[test]
    fn a_target_beyond_the_node_is_shown_as_it_was_said_and_as_it_is_bent() {
        let answer = Answer::WarmPool(says(Band { ready_low: 40, ..Band::default() }));
        let accepted = judge(&plain(Kind::WarmPool), &answer).unwrap();
        assert_eq!(
            (&proposed(&answer)["ready_low"], &accepted.target["ready_low"]),
            (&json!(40), &json!(27))
        );
        assert_eq!(accepted.bent.len(), 1);
    }

    #[test]
    fn nonsense_of_every_kind_is_refused() {
        let none = Answer::MaxPods(says(0));
        assert_eq!(judge(&plain(Kind::MaxPods), &none), Err(Failing::Refused(Violation::NoPods)));
        let invented = Answer::SubnetSelection(says(vec![Ranked { candidate: 7, weight: 0 }]));
        assert!(judge(&plain(Kind::SubnetSelection), &invented).is_err());
        assert_eq!(proposed(&invented), json!([7]));
    }
}
