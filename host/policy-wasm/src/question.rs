//! What the three kinds of question have in common, so that the ladder is written once.

use std::fmt;

use enid_core::admission::{Admitted, Violation, admit_max_pods, admit_subnets, admit_warm_pool};
use enid_core::builtin;
use enid_core::document::{Answer, Snapshot};
use enid_core::kind::Kind;
use enid_core::proposal::{Band, Proposal, Ranked};
use enid_core::snapshot::{Context, MaxPodsSnapshot, SubnetSnapshot, WarmPoolSnapshot};

use crate::fault::{Failing, Fault};

/// One kind of question.
pub(crate) trait Question: Clone + fmt::Debug + Send + Sync + 'static {
    /// What a strategy proposes.
    type Proposed: Clone + fmt::Debug + Send;
    /// What the host aims for.
    type Target: Clone + fmt::Debug + PartialEq + Send + Sync + 'static;
    /// Which kind it is.
    const KIND: Kind;

    /// The context as the node filled it in: time and hints.
    fn context(&self) -> &Context;
    /// The question as a strategy is asked it.
    fn asked(&self, context: Context) -> Snapshot;
    /// The question behind a snapshot; `None` when it is of another kind.
    fn of(snapshot: &Snapshot) -> Option<&Self>;
    /// The proposal in an answer; `None` when it is of another kind.
    fn proposed(answer: Answer) -> Option<Proposal<Self::Proposed>>;
    /// The answer with a proposal.
    fn answer(proposal: Proposal<Self::Proposed>) -> Answer;
    /// Asks the strategy compiled into the host.
    fn builtin(&self) -> Proposal<Self::Proposed>;
    /// Bends or refuses a proposal.
    fn admit(&self, proposal: Proposal<Self::Proposed>) -> Result<Admitted<Self::Target>, Violation>;
    /// The target that changes nothing, when there is no earlier one to keep.
    fn still() -> Self::Target;
    /// How much more the `other` target wants than the `live` one, in addresses, pods or ranks; zero only for
    /// targets that are equal.
    fn difference(&self, live: &Self::Target, other: &Self::Target) -> i64;
    /// A target in few words.
    fn shown(target: &Self::Target) -> String;
}

impl Question for WarmPoolSnapshot {
    type Proposed = Band;
    type Target = Band;
    const KIND: Kind = Kind::WarmPool;

    fn context(&self) -> &Context {
        &self.context
    }

    fn asked(&self, context: Context) -> Snapshot {
        Snapshot::WarmPool(Self { context, ..self.clone() })
    }

    fn of(snapshot: &Snapshot) -> Option<&Self> {
        match snapshot {
            Snapshot::WarmPool(snapshot) => Some(snapshot),
            Snapshot::MaxPods(_) | Snapshot::SubnetSelection(_) => None,
        }
    }

    fn proposed(answer: Answer) -> Option<Proposal<Band>> {
        match answer {
            Answer::WarmPool(proposal) => Some(proposal),
            Answer::MaxPods(_) | Answer::SubnetSelection(_) => None,
        }
    }

    fn answer(proposal: Proposal<Band>) -> Answer {
        Answer::WarmPool(proposal)
    }

    fn builtin(&self) -> Proposal<Band> {
        builtin::warm_pool(self)
    }

    fn admit(&self, proposal: Proposal<Band>) -> Result<Admitted<Band>, Violation> {
        admit_warm_pool(self, proposal)
    }

    /// Never grow, never give back.
    fn still() -> Band {
        Band::default()
    }

    /// In addresses that the node would hold at least; bands that differ in nothing but when and how they
    /// give back count as one address apart.
    fn difference(&self, live: &Band, other: &Band) -> i64 {
        let bound = self.pods.bound;
        let least = |band: &Band| i64::from(band.total_floor.max(bound.saturating_add(band.ready_low)));
        let kept = |band: &Band| band.ready_high.map_or(i64::MAX, i64::from);
        match least(other) - least(live) {
            0 if live == other => 0,
            0 if kept(other) < kept(live) => -1,
            0 => 1,
            difference => difference,
        }
    }

    fn shown(band: &Band) -> String {
        let high = band.ready_high.map_or_else(|| "∞".to_owned(), |high| high.to_string());
        format!("{}–{high} ready, {} held", band.ready_low, band.total_floor)
    }
}

impl Question for MaxPodsSnapshot {
    type Proposed = u32;
    type Target = u32;
    const KIND: Kind = Kind::MaxPods;

    fn context(&self) -> &Context {
        &self.context
    }

    fn asked(&self, context: Context) -> Snapshot {
        Snapshot::MaxPods(Self { context, ..self.clone() })
    }

    fn of(snapshot: &Snapshot) -> Option<&Self> {
        match snapshot {
            Snapshot::MaxPods(snapshot) => Some(snapshot),
            Snapshot::WarmPool(_) | Snapshot::SubnetSelection(_) => None,
        }
    }

    fn proposed(answer: Answer) -> Option<Proposal<u32>> {
        match answer {
            Answer::MaxPods(proposal) => Some(proposal),
            Answer::WarmPool(_) | Answer::SubnetSelection(_) => None,
        }
    }

    fn answer(proposal: Proposal<u32>) -> Answer {
        Answer::MaxPods(proposal)
    }

    fn builtin(&self) -> Proposal<u32> {
        builtin::max_pods(self)
    }

    fn admit(&self, proposal: Proposal<u32>) -> Result<Admitted<u32>, Violation> {
        admit_max_pods(self, proposal)
    }

    /// No pod beyond those that are there.
    fn still() -> u32 {
        0
    }

    fn difference(&self, live: &u32, other: &u32) -> i64 {
        i64::from(*other) - i64::from(*live)
    }

    fn shown(pods: &u32) -> String {
        format!("{pods} pods")
    }
}

impl Question for SubnetSnapshot {
    type Proposed = Vec<Ranked>;
    type Target = Vec<u16>;
    const KIND: Kind = Kind::SubnetSelection;

    fn context(&self) -> &Context {
        &self.context
    }

    fn asked(&self, context: Context) -> Snapshot {
        Snapshot::SubnetSelection(Self { context, ..self.clone() })
    }

    fn of(snapshot: &Snapshot) -> Option<&Self> {
        match snapshot {
            Snapshot::SubnetSelection(snapshot) => Some(snapshot),
            Snapshot::WarmPool(_) | Snapshot::MaxPods(_) => None,
        }
    }

    fn proposed(answer: Answer) -> Option<Proposal<Vec<Ranked>>> {
        match answer {
            Answer::SubnetSelection(proposal) => Some(proposal),
            Answer::WarmPool(_) | Answer::MaxPods(_) => None,
        }
    }

    fn answer(proposal: Proposal<Vec<Ranked>>) -> Answer {
        Answer::SubnetSelection(proposal)
    }

    fn builtin(&self) -> Proposal<Vec<Ranked>> {
        builtin::subnets(self)
    }

    fn admit(&self, proposal: Proposal<Vec<Ranked>>) -> Result<Admitted<Vec<u16>>, Violation> {
        admit_subnets(self, proposal)
    }

    /// No new ENI anywhere.
    fn still() -> Vec<u16> {
        Vec::new()
    }

    /// In ranks: positions that hold another subnet.
    fn difference(&self, live: &Vec<u16>, other: &Vec<u16>) -> i64 {
        let moved = (0..live.len().max(other.len())).filter(|rank| live.get(*rank) != other.get(*rank));
        i64::try_from(moved.count()).unwrap_or(i64::MAX)
    }

    fn shown(order: &Vec<u16>) -> String {
        let order: Vec<String> = order.iter().map(u16::to_string).collect();
        format!("subnets {}", order.join(", "))
    }
}

/// An answer of any kind that the host's rules let through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judged {
    /// Of a warm-pool strategy.
    WarmPool(Admitted<Band>),
    /// Of a max-pods strategy.
    MaxPods(Admitted<u32>),
    /// Of a subnet-selection strategy.
    SubnetSelection(Admitted<Vec<u16>>),
}

impl Judged {
    /// What the strategy wants to remember.
    pub fn state(&self) -> &[u8] {
        match self {
            Judged::WarmPool(admitted) => &admitted.outcome.state,
            Judged::MaxPods(admitted) => &admitted.outcome.state,
            Judged::SubnetSelection(admitted) => &admitted.outcome.state,
        }
    }

    /// Whether something of it was out of range.
    pub fn is_bent(&self) -> bool {
        match self {
            Judged::WarmPool(admitted) => !admitted.clamped.is_empty(),
            Judged::MaxPods(admitted) => !admitted.clamped.is_empty(),
            Judged::SubnetSelection(admitted) => !admitted.clamped.is_empty(),
        }
    }
}

/// Judges an answer to `question` as the host does before it acts on one.
pub fn judge(question: &Snapshot, answer: Answer) -> Result<Judged, Failing> {
    fn one<Q: Question>(question: &Q, answer: Answer) -> Result<Admitted<Q::Target>, Failing> {
        let proposal = Q::proposed(answer).ok_or_else(another_kind)?;
        Ok(question.admit(proposal)?)
    }
    match question {
        Snapshot::WarmPool(question) => one(question, answer).map(Judged::WarmPool),
        Snapshot::MaxPods(question) => one(question, answer).map(Judged::MaxPods),
        Snapshot::SubnetSelection(question) => one(question, answer).map(Judged::SubnetSelection),
    }
}

/// How much more the `other` answer to `question` wants than the `live` one: in addresses, pods or ranks; zero only
/// for targets that are equal. Answers of different kinds are as far apart as can be.
pub fn difference(question: &Snapshot, live: &Judged, other: &Judged) -> i64 {
    match (question, live, other) {
        (Snapshot::WarmPool(question), Judged::WarmPool(live), Judged::WarmPool(other)) => {
            question.difference(&live.target, &other.target)
        }
        (Snapshot::MaxPods(question), Judged::MaxPods(live), Judged::MaxPods(other)) => {
            question.difference(&live.target, &other.target)
        }
        (
            Snapshot::SubnetSelection(question),
            Judged::SubnetSelection(live),
            Judged::SubnetSelection(other),
        ) => question.difference(&live.target, &other.target),
        (_, _, _) => i64::MAX,
    }
}

/// Only a process that has been taken over says so.
pub(crate) fn another_kind() -> Failing {
    Failing::Fault(Fault::Crashed { why: "it answered a question of another kind".into() })
}

#[cfg(test)]
mod tests {
    use enid_core::proposal::Outcome;

    use super::*;

    #[test]
    fn differences_are_signed_and_zero_only_for_equal_targets() {
        let question = enid_core::specimen::random(Kind::WarmPool, 1);
        let judged = |ready_low, ready_high| {
            let target = Band { ready_low, ready_high: Some(ready_high), ..Band::default() };
            judge(&question, Answer::WarmPool(Proposal { target, outcome: Outcome::default() })).unwrap()
        };
        let (low, high, sooner) = (judged(1, 9), judged(2, 9), judged(1, 5));
        assert_eq!(difference(&question, &low, &high), 1);
        assert_eq!(difference(&question, &high, &low), -1);
        assert_eq!(difference(&question, &low, &sooner), -1);
        assert_eq!(difference(&question, &sooner, &low), 1);
        assert_eq!(difference(&question, &low, &low), 0);
    }
}
