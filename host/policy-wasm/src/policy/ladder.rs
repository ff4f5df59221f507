//! The rungs below one another: live, last good, fallbacks, built-in, hold.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use enid_core::admission::Admitted;
use enid_core::document::{Answer, Snapshot};
use enid_core::ids::DecisionId;
use enid_core::proposal::Proposal;
use enid_core::report::{Decision, Rung};
use enid_core::snapshot::Context;

use super::house::{House, Seen, Suspect};
use super::shadow::Shadow;
use super::strategy::{Asked, Strategy};
use crate::fault::{Failing, Fault};
use crate::quarantine::{Standing, Weight};
use crate::question::{Question, another_kind};
use crate::record::{Record, Verdict};
use crate::runtime::Cost;

/// How long the last good answer of a failing strategy still counts.
const LAST_GOOD_MS: u64 = 60_000;
/// How the strategy compiled into the host is called when nobody configured it.
const BUILTIN: &str = "builtin";

/// The strategies of one kind, in the order in which they are asked, and what they left behind.
#[derive(Debug)]
pub(super) struct Ladder<Q: Question> {
    /// Never empty: the first is the configured one.
    strategies: Vec<Strategy<Q>>,
    pub(super) shadow: Option<Arc<Shadow<Q>>>,
    memory: Mutex<Memory<Q>>,
}

#[derive(Debug)]
struct Memory<Q: Question> {
    /// State per strategy, by position.
    states: Vec<Vec<u8>>,
    /// The primary's last admitted answer, and when on the question's clock.
    last_good: Option<(u64, Proposal<Q::Proposed>)>,
    /// What the node aims for.
    last_target: Option<Q::Target>,
    /// Who answered last, so that only changes are logged.
    last_rung: Option<Rung>,
}

/// What the ladder came to.
pub(super) struct Climbed<Q: Question> {
    pub(super) decision: Decision<Q::Target>,
    pub(super) record: Record,
    /// How the configured strategy failed, when it did and is to blame.
    pub(super) failed: Option<Failing>,
}

/// One question on its way down the ladder.
struct Asking<'a, Q: Question> {
    house: &'a Arc<House>,
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

/// What became of asking the configured strategy, for the record.
struct Attempt {
    snapshot: Snapshot,
    answer: Option<Answer>,
    verdict: Verdict,
    cost: Cost,
    failed: Option<Failing>,
}

impl<Q: Question> Ladder<Q> {
    /// A ladder over `strategies`; what `old` remembers is carried over where it still means something.
    pub(super) fn new(
        strategies: Vec<Strategy<Q>>,
        shadow: Option<Arc<Shadow<Q>>>,
        old: Option<&Self>,
    ) -> Self {
        assert!(!strategies.is_empty(), "a ladder has at least the configured strategy");
        let mut states = vec![Vec::new(); strategies.len()];
        let (mut last_target, mut last_rung) = (None, None);
        if let Some(old) = old {
            let memory = old.lock();
            (last_target, last_rung) = (memory.last_target.clone(), memory.last_rung);
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
        let memory = Memory { states, last_good: None, last_target, last_rung };
        Self { strategies, shadow, memory: Mutex::new(memory) }
    }

    /// The configured strategy.
    pub(super) fn primary(&self) -> &Strategy<Q> {
        &self.strategies[0]
    }

    /// Those behind it, in the order in which they are asked.
    pub(super) fn fallbacks(&self) -> &[Strategy<Q>] {
        &self.strategies[1..]
    }

    /// The rung that answered last.
    pub(super) fn last_rung(&self) -> Option<Rung> {
        self.lock().last_rung
    }

    /// Answers; the first rung that has an admissible answer gives it.
    pub(super) fn decide(&self, house: &Arc<House>, number: u64, question: &Q) -> Climbed<Q> {
        let started = Instant::now();
        let mut memory = self.lock();
        let context = Context { sequence: number, seed: seed(number), ..given(question.context()) };
        let mut asking = Asking { house, question, context, memory: &mut memory, faults: Vec::new() };
        let (attempt, live) = self.ask_primary(&mut asking);
        let found = live
            .or_else(|| self.last_good(&mut asking))
            .or_else(|| {
                (1..self.strategies.len()).find_map(|position| self.ask_fallback(position, &mut asking))
            })
            .or_else(|| builtin(&mut asking));
        let Asking { faults, .. } = asking;
        let mut decision = match found {
            Some(Found { admitted, rung, strategy, fuel }) => {
                for clamp in &admitted.clamped {
                    tracing::debug!(kind = %Q::KIND, strategy, %clamp, "proposal bent into range");
                }
                memory.last_target = Some(admitted.target.clone());
                Decision {
                    record: Some(DecisionId(number)),
                    target: admitted.target,
                    rung,
                    strategy,
                    reason: admitted.outcome.reason,
                    next_check: admitted.outcome.next_check_ms.map(Duration::from_millis),
                    faults,
                    fuel,
                    took: Duration::ZERO,
                }
            }
            None => Decision {
                record: Some(DecisionId(number)),
                target: memory.last_target.clone().unwrap_or_else(Q::still),
                rung: Rung::Hold,
                strategy: "none".into(),
                reason: "no strategy has an admissible answer, so nothing changes".into(),
                next_check: None,
                faults,
                fuel: None,
                took: Duration::ZERO,
            },
        };
        note_rung(&mut memory, &decision);
        decision.took = started.elapsed();
        let Attempt { snapshot, answer, verdict, cost, failed } = attempt;
        let record = Record {
            decision: number,
            wall_secs: snapshot.context().wall_secs,
            strategy: self.primary().label().to_owned(),
            component: self.primary().digest().map(str::to_owned),
            snapshot,
            answer,
            verdict,
            fuel: cost.fuel,
            memory: cost.memory,
            micros: u64::try_from(decision.took.as_micros()).unwrap_or(u64::MAX),
            rung: decision.rung,
            decided_by: decision.strategy.clone(),
            target: Q::shown(&decision.target),
            faults: decision.faults.clone(),
        };
        Climbed { decision, record, failed }
    }

    /// Asks the configured strategy unless it is in quarantine.
    fn ask_primary(&self, asking: &mut Asking<'_, Q>) -> (Attempt, Option<Found<Q::Target>>) {
        let strategy = self.primary();
        let snapshot = asking.snapshot_for(strategy, 0);
        if !asking.may_ask(strategy, &snapshot) {
            let attempt = Attempt {
                snapshot,
                answer: None,
                verdict: Verdict::Quarantined,
                cost: Cost::default(),
                failed: None,
            };
            return (attempt, None);
        }
        let Asked { result, cost } = strategy.ask(asking.question, &snapshot);
        let answer = result.as_ref().ok().cloned();
        match admitted(asking.question, result) {
            Ok((proposal, admitted)) => {
                asking.memory.states[0].clone_from(&admitted.outcome.state);
                asking.memory.last_good = Some((asking.context.now_ms, proposal));
                if let Some(digest) = strategy.digest() {
                    asking.house.answered(digest);
                }
                let bent: Vec<String> = admitted.clamped.iter().map(ToString::to_string).collect();
                let verdict = if bent.is_empty() { Verdict::Admitted } else { Verdict::Bent(bent) };
                let fuel = strategy.component().map(|_| cost.fuel);
                let found = Found { admitted, rung: Rung::Live, strategy: strategy.label().to_owned(), fuel };
                (Attempt { snapshot, answer, verdict, cost, failed: None }, Some(found))
            }
            Err(failing) => {
                asking.note(strategy, &failing, &snapshot);
                let verdict = Verdict::Failed(failing.label().to_owned());
                let failed = failing.is_its_own().then_some(failing);
                (Attempt { snapshot, answer, verdict, cost, failed }, None)
            }
        }
    }

    /// Asks one fallback; on success its new state is kept, otherwise the fault is noted.
    fn ask_fallback(&self, position: usize, asking: &mut Asking<'_, Q>) -> Option<Found<Q::Target>> {
        let strategy = &self.strategies[position];
        let snapshot = asking.snapshot_for(strategy, position);
        if !asking.may_ask(strategy, &snapshot) {
            return None;
        }
        let Asked { result, cost } = strategy.ask(asking.question, &snapshot);
        match admitted(asking.question, result) {
            Ok((_, admitted)) => {
                asking.memory.states[position].clone_from(&admitted.outcome.state);
                if let Some(digest) = strategy.digest() {
                    asking.house.answered(digest);
                }
                let fuel = strategy.component().map(|_| cost.fuel);
                Some(Found { admitted, rung: Rung::Fallback, strategy: strategy.label().to_owned(), fuel })
            }
            Err(failing) => {
                asking.note(strategy, &failing, &snapshot);
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
                asking.faults.push(format!("{label}, its last good answer: {}", Failing::Refused(violation)));
                None
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Memory<Q>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<Q: Question> Asking<'_, Q> {
    /// The question as this strategy is asked it.
    fn snapshot_for(&self, strategy: &Strategy<Q>, position: usize) -> Snapshot {
        let context = Context {
            settings: strategy.settings().to_vec(),
            state: self.memory.states[position].clone(),
            ..self.context.clone()
        };
        self.question.asked(context)
    }

    /// Whether the strategy is asked. One in quarantine is not, but may be probed with this question.
    fn may_ask(&mut self, strategy: &Strategy<Q>, snapshot: &Snapshot) -> bool {
        let standing = self.house.standing(strategy.digest(), self.context.now_ms);
        if standing == Standing::Good {
            return true;
        }
        self.faults.push(format!("{}: it is in quarantine", strategy.label()));
        if let Some(loaded) = strategy.component().filter(|_| standing == Standing::Probe) {
            let (suspect, house, question) = (Suspect::of(loaded), Arc::clone(self.house), snapshot.clone());
            // When there is too much to do aside, the next question probes.
            let _later = self.house.run_aside(move || suspect.probe(&house, &question));
        }
        false
    }

    /// Notes a failure, and holds it against the component when it is to blame.
    fn note(&mut self, strategy: &Strategy<Q>, failing: &Failing, snapshot: &Snapshot) {
        let why = failing.to_string();
        self.faults.push(format!("{}: {why}", strategy.label()));
        let Some(loaded) = strategy.component().filter(|_| failing.is_its_own()) else { return };
        let label = failing.label();
        let seen = Seen { label, why: &why, question: snapshot };
        self.house.failed(loaded.artifact.digest(), &seen, Weight::Counts);
        let again = match failing {
            // What a busy machine brings about says nothing when it comes or stays away again.
            Failing::Fault(Fault::Deadline | Fault::Crashed { .. } | Fault::Unasked { .. }) => false,
            Failing::Fault(_) | Failing::Refused(_) => true,
        };
        if again {
            let (suspect, house, question) = (Suspect::of(loaded), Arc::clone(self.house), snapshot.clone());
            // Not confirmed when there is too much to do aside; the fault itself has been counted.
            let _later = self.house.run_aside(move || suspect.confirm(&house, label, &question));
        }
    }
}

/// A proposal, and what the host's rules made of it.
pub(super) type Judged<Q> = (Proposal<<Q as Question>::Proposed>, Admitted<<Q as Question>::Target>);

/// What the host's rules make of an answer.
pub(super) fn admitted<Q: Question>(
    question: &Q,
    result: Result<Answer, Fault>,
) -> Result<Judged<Q>, Failing> {
    let proposal = Q::proposed(result?).ok_or_else(another_kind)?;
    let admitted = question.admit(proposal.clone())?;
    Ok((proposal, admitted))
}

/// The strategy compiled into the host.
fn builtin<Q: Question>(asking: &mut Asking<'_, Q>) -> Option<Found<Q::Target>> {
    match asking.question.admit(asking.question.builtin()) {
        Ok(admitted) => Some(Found { admitted, rung: Rung::Builtin, strategy: BUILTIN.into(), fuel: None }),
        Err(violation) => {
            asking.faults.push(format!("{BUILTIN}: {}", Failing::Refused(violation)));
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
