//! A strategy that is shown every snapshot and never heeded.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use enid_core::document::Snapshot;
use enid_core::snapshot::Context;

use super::ladder::admitted;
use super::strategy::{Asked, Strategy};
use crate::comparison::Comparison;
use crate::question::Question;

/// The strategy in shadow, and how it compares so far.
#[derive(Debug)]
pub(super) struct Shadow<Q: Question> {
    strategy: Strategy<Q>,
    /// Held for moments only, never while the strategy is asked: decisions come here too.
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
        self.seen().comparison.clone()
    }

    /// Shows it the question that was answered with `live`.
    pub(super) fn watch(&self, snapshot: &Snapshot, live: &Q::Target) {
        let Some(question) = Q::of(snapshot) else { return };
        // One question at a time gets here, on the errands' thread.
        let mut state = self.seen().state.clone();
        let mut one = Comparison::default();
        compare(&self.strategy, question, &mut state, live, &mut one);
        let mut seen = self.seen();
        seen.state = state;
        seen.comparison.add(one);
    }

    /// There was no time to show it a question.
    pub(super) fn skip(&self) {
        self.seen().comparison.skipped += 1;
    }

    fn seen(&self) -> MutexGuard<'_, Watched> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks `strategy`, hands on its state, and notes how far it is from `live`; says what fuel that took.
pub(super) fn compare<Q: Question>(
    strategy: &Strategy<Q>,
    question: &Q,
    state: &mut Vec<u8>,
    live: &Q::Target,
    comparison: &mut Comparison,
) -> u64 {
    let context = Context {
        settings: strategy.settings().to_vec(),
        state: state.clone(),
        ..question.context().clone()
    };
    let number = context.sequence;
    let Asked { result, cost } = strategy.ask(question, &question.asked(context));
    match admitted(question, result) {
        Ok((_, admitted)) => {
            let difference = question.difference(live, &admitted.target);
            comparison.both(number, difference, &Q::shown(live), &Q::shown(&admitted.target));
            *state = admitted.outcome.state;
        }
        Err(failing) => comparison.failed(&failing.to_string()),
    }
    cost.fuel
}
