//! The rungs below one another: live, last good, fallbacks, built-in, hold.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use enid_core::admission::Admitted;
use enid_core::proposal::Proposal;
use enid_core::report::{Decision, Rung};
use enid_core::snapshot::Context;

use super::Report;
use super::strategy::Strategy;
use crate::fault::Fault;
use crate::question::Question;

/// How long the last good answer of a failing strategy still counts.
const LAST_GOOD_MS: u64 = 60_000;
/// How the strategy compiled into the host is called when nobody configured it.
const BUILTIN: &str = "builtin";

/// The strategies of one kind, in the order in which they are asked, and what they left behind.
#[derive(Debug)]
pub(super) struct Ladder<Q: Question> {
    /// Never empty: the first is the configured one.
    strategies: Vec<Strategy<Q>>,
    memory: Mutex<Memory<Q>>,
}

#[derive(Debug)]
struct Memory<Q: Question> {
    /// Questions asked so far, over replacements.
    sequence: u64,
    /// State per strategy, by position.
    states: Vec<Vec<u8>>,
    /// The primary's last admitted answer, and when on the question's clock.
    last_good: Option<(u64, Proposal<Q::Proposed>)>,
    /// What the node aims for.
    last_target: Option<Q::Target>,
    /// Who answered last, so that only changes are logged.
    last_rung: Option<Rung>,
}

/// One question on its way down the ladder.
struct Asking<'a, Q: Question> {
    question: &'a Q,
    context: Context,
    memory: &'a mut Memory<Q>,
    /// What went wrong on the rungs so far.
    faults: Vec<String>,
}

/// An answer that was let through, before it is dressed as a decision.
struct Found<T> {
    admitted: Admitted<T>,
    rung: Rung,
    strategy: String,
    fuel: Option<u64>,
}

impl<Q: Question> Ladder<Q> {
    /// A ladder over `strategies`; what `old` remembers is carried over where it still means something.
    pub(super) fn new(strategies: Vec<Strategy<Q>>, old: Option<&Self>) -> Self {
        assert!(!strategies.is_empty(), "a ladder has at least the configured strategy");
        let mut states = vec![Vec::new(); strategies.len()];
        let (mut sequence, mut last_target, mut last_rung) = (0, None, None);
        if let Some(old) = old {
            let memory = old.lock();
            (sequence, last_target, last_rung) =
                (memory.sequence, memory.last_target.clone(), memory.last_rung);
            for (state, strategy) in states.iter_mut().zip(&strategies) {
                let kin = old
                    .strategies
                    .iter()
                    .zip(&memory.states)
                    .find(|(before, _)| strategy.understands(before));
                if let Some((_, before)) = kin {
                    state.clone_from(before);
                }
            }
        }
        let memory = Memory { sequence, states, last_good: None, last_target, last_rung };
        Self { strategies, memory: Mutex::new(memory) }
    }

    /// The configured strategy.
    pub(super) fn primary(&self) -> &Strategy<Q> {
        &self.strategies[0]
    }

    /// Who is on it.
    pub(super) fn report(&self, replaced: Option<String>, took: Duration) -> Report {
        let primary = self.primary();
        Report {
            kind: Q::KIND,
            label: primary.label().to_owned(),
            descriptor: primary.component().map(|component| component.descriptor().clone()),
            digest: primary.component().map(|component| component.digest().to_owned()),
            fallbacks: self.strategies.iter().skip(1).map(|strategy| strategy.label().to_owned()).collect(),
            replaced,
            took,
        }
    }

    /// Answers; the first rung that has an admissible answer gives it.
    pub(super) fn decide(&self, question: &Q) -> Decision<Q::Target> {
        let started = Instant::now();
        let mut memory = self.lock();
        let sequence = memory.sequence;
        memory.sequence += 1;
        let context = Context { sequence, seed: seed(sequence), ..given(question.context()) };
        let mut asking = Asking { question, context, memory: &mut memory, faults: Vec::new() };
        let found = self
            .ask(0, Rung::Live, &mut asking)
            .or_else(|| self.last_good(&mut asking))
            .or_else(|| {
                (1..self.strategies.len())
                    .find_map(|position| self.ask(position, Rung::Fallback, &mut asking))
            })
            .or_else(|| builtin(&mut asking));
        let Asking { faults, .. } = asking;
        let decision = match found {
            Some(Found { admitted, rung, strategy, fuel }) => {
                for clamp in &admitted.clamped {
                    tracing::debug!(kind = %Q::KIND, strategy, %clamp, "proposal bent into range");
                }
                memory.last_target = Some(admitted.target.clone());
                Decision {
                    target: admitted.target,
                    rung,
                    strategy,
                    reason: admitted.outcome.reason,
                    next_check: admitted.outcome.next_check_ms.map(Duration::from_millis),
                    faults,
                    fuel,
                    took: started.elapsed(),
                }
            }
            None => Decision {
                target: memory.last_target.clone().unwrap_or_else(Q::still),
                rung: Rung::Hold,
                strategy: "none".into(),
                reason: "no strategy has an admissible answer, so nothing changes".into(),
                next_check: None,
                faults,
                fuel: None,
                took: started.elapsed(),
            },
        };
        note_rung(&mut memory, &decision);
        decision
    }

    /// Asks one strategy; on success its new state is kept, otherwise the fault is noted.
    fn ask(&self, position: usize, rung: Rung, asking: &mut Asking<'_, Q>) -> Option<Found<Q::Target>> {
        let strategy = &self.strategies[position];
        let state = &mut asking.memory.states[position];
        let asked =
            strategy.ask(asking.question, asking.context.clone(), state).and_then(|(proposal, fuel)| {
                let admitted = asking.question.admit(proposal.clone()).map_err(Fault::Refused)?;
                Ok((proposal, fuel, admitted))
            });
        match asked {
            Ok((proposal, fuel, admitted)) => {
                state.clone_from(&admitted.outcome.state);
                if rung == Rung::Live {
                    asking.memory.last_good = Some((asking.context.now_ms, proposal));
                }
                Some(Found { admitted, rung, strategy: strategy.label().to_owned(), fuel })
            }
            Err(fault) => {
                asking.faults.push(format!("{}: {fault}", strategy.label()));
                None
            }
        }
    }

    /// What the configured strategy said within the last minute, bent to the node as it is now.
    fn last_good(&self, asking: &mut Asking<'_, Q>) -> Option<Found<Q::Target>> {
        let (at, proposal) = asking.memory.last_good.clone()?;
        if asking.context.now_ms.saturating_sub(at) > LAST_GOOD_MS {
            asking.memory.last_good = None;
            return None;
        }
        let label = self.primary().label();
        match asking.question.admit(proposal) {
            Ok(admitted) => {
                Some(Found { admitted, rung: Rung::LastGood, strategy: label.to_owned(), fuel: None })
            }
            Err(violation) => {
                asking.faults.push(format!("{label}, its last good answer: {}", Fault::Refused(violation)));
                None
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Memory<Q>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The strategy compiled into the host.
fn builtin<Q: Question>(asking: &mut Asking<'_, Q>) -> Option<Found<Q::Target>> {
    match asking.question.admit(asking.question.builtin()) {
        Ok(admitted) => Some(Found { admitted, rung: Rung::Builtin, strategy: BUILTIN.into(), fuel: None }),
        Err(violation) => {
            asking.faults.push(format!("{BUILTIN}: {}", Fault::Refused(violation)));
            None
        }
    }
}

/// What the node filled in; the rest is the ladder's.
fn given(context: &Context) -> Context {
    Context {
        sequence: 0,
        now_ms: context.now_ms,
        wall_secs: context.wall_secs,
        seed: (0, 0),
        settings: Vec::new(),
        state: Vec::new(),
        hints: context.hints.clone(),
    }
}

/// Chance that is the same whenever the same question is asked again (SplitMix64 over the sequence).
fn seed(sequence: u64) -> (u32, u32) {
    let mut z = sequence.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    let [high, low] = [z >> 32, z & u64::from(u32::MAX)].map(|half| u32::try_from(half).unwrap_or(u32::MAX));
    (high, low)
}

/// Logs when another rung answers than last time; a strategy that stays broken is one line, not thousands.
fn note_rung<Q: Question>(memory: &mut Memory<Q>, decision: &Decision<Q::Target>) {
    let before = memory.last_rung.replace(decision.rung);
    let Decision { rung, strategy, faults, .. } = decision;
    let why = faults.join("; ");
    match (before, *rung) {
        (before, rung) if before == Some(rung) => {
            if !faults.is_empty() {
                tracing::debug!(kind = %Q::KIND, %rung, strategy, reason = why, "strategy still fails");
            }
        }
        (None, Rung::Live) => {}
        (_, Rung::Live) => tracing::info!(kind = %Q::KIND, strategy, "the configured strategy answers again"),
        (_, rung) => {
            tracing::warn!(kind = %Q::KIND, %rung, strategy, reason = why, "the configured strategy fails")
        }
    }
}
