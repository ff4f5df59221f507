//! A strategy that is shown every snapshot and never heeded.

use std::sync::{Arc, Mutex, PoisonError};

use enid_core::document::Snapshot;
use enid_core::snapshot::Context;

use super::strategy::{Asked, Strategy};
use crate::comparison::Comparison;
use crate::question::Question;

/// The strategy in shadow, and how it compares so far.
#[derive(Debug)]
pub(super) struct Shadow<Q: Question> {
    strategy: Strategy<Q>,
    seen: Mutex<Watched>,
}

#[derive(Debug)]
struct Watched {
    state: Vec<u8>,
    comparison: Comparison,
}

impl<Q: Question> Shadow<Q> {
    pub(super) fn new(strategy: Strategy<Q>) -> Arc<Self> {
        let comparison = Comparison::with(strategy.label());
        Arc::new(Self { strategy, seen: Mutex::new(Watched { state: Vec::new(), comparison }) })
    }

    pub(super) fn label(&self) -> &str {
        self.strategy.label()
    }

    pub(super) fn comparison(&self) -> Comparison {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).comparison.clone()
    }

    /// Shows it the question that was answered with `live`.
    pub(super) fn watch(&self, snapshot: &Snapshot, live: &Q::Target) {
        let Some(question) = Q::of(snapshot) else { return };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Watched { state, comparison } = &mut *seen;
        compare(&self.strategy, question, state, live, comparison);
    }

    /// There was no time to show it a question.
    pub(super) fn skip(&self) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).comparison.skipped += 1;
    }
}

/// Asks `strategy`, hands on its state, and notes how far it is from `live`.
pub(super) fn compare<Q: Question>(
    strategy: &Strategy<Q>,
    question: &Q,
    state: &mut Vec<u8>,
    live: &Q::Target,
    comparison: &mut Comparison,
) {
    let context = Context {
        settings: strategy.settings().to_vec(),
        state: state.clone(),
        ..question.context().clone()
    };
    let number = context.sequence;
    let Asked { result, .. } = strategy.ask(question, &question.asked(context));
    let proposal = match result {
        Ok(answer) => Q::proposed(answer),
        Err(fault) => return comparison.failed(&fault.to_string()),
    };
    let Some(proposal) = proposal else { return comparison.failed("it answered another kind of question") };
    match question.admit(proposal) {
        Ok(admitted) => {
            let difference = question.difference(live, &admitted.target);
            comparison.both(number, difference, &Q::shown(live), &Q::shown(&admitted.target));
            *state = admitted.outcome.state;
        }
        Err(violation) => comparison.failed(&violation.to_string()),
    }
}
