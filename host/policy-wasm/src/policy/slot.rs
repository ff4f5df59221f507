//! The strategies of one kind: the ladder in force, its probation, and what was decided lately.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use enid_core::document::Snapshot;
use enid_core::report::{Decision, Rung};

use super::house::House;
use super::ladder::{Climbed, Ladder};
use super::shadow::{Shadow, compare};
use super::strategy::Strategy;
use super::{LoadError, Report};
use crate::admission::REPLAY_FUEL;
use crate::comparison::Comparison;
use crate::config::{Lineup, MAX_FALLBACKS, PolicyConfig};
use crate::fault::{Failing, Fault};
use crate::question::Question;
use crate::record::{History, Record};

/// Snapshots that are kept to compare a new strategy with the one in force.
const RECENT: usize = 256;
/// Decisions during which a new strategy is taken back when it fails.
const PROBATION: u32 = 50;
/// Deadlines and crashes that are put down to the machine before the new strategy is taken back.
const FORGIVEN: u32 = 2;

/// The ladder of one kind, replaceable as a whole.
#[derive(Debug)]
pub(super) struct Slot<Q: Question> {
    force: RwLock<Arc<InForce<Q>>>,
    numbers: AtomicU64,
    recent: Mutex<VecDeque<Recent<Q>>>,
}

/// A question and what the host aimed for after it.
#[derive(Clone, Debug)]
struct Recent<Q: Question> {
    snapshot: Arc<Snapshot>,
    target: Q::Target,
}

/// A ladder and how it came to be in force.
#[derive(Debug)]
struct InForce<Q: Question> {
    ladder: Ladder<Q>,
    origin: Origin,
    probation: Mutex<Option<Probation<Q>>>,
    rolled_back: Mutex<Option<String>>,
}

#[derive(Clone, Debug, Default)]
struct Origin {
    replaced: Option<String>,
    divergence: Option<Comparison>,
    took: Duration,
}

/// What a new strategy must get through.
#[derive(Debug)]
struct Probation<Q: Question> {
    left: u32,
    forgiven: u32,
    previous: Arc<InForce<Q>>,
}

impl<Q: Question> Slot<Q> {
    pub(super) fn load(house: &Arc<House>, config: &PolicyConfig) -> Result<Self, LoadError> {
        let started = Instant::now();
        let candidates = Candidates::<Q>::examine(house, config, &[])?;
        let ladder = candidates.go_live(house)?.onto_ladder(None);
        let origin = Origin { took: started.elapsed(), ..Origin::default() };
        let past = house.recorder.as_ref().map(|recorder| History::read(recorder.directory(), Q::KIND));
        let past = past.transpose().unwrap_or_else(|why| {
            tracing::warn!(kind = %Q::KIND, reason = %why, "earlier decisions cannot be read");
            None
        });
        let past = past.unwrap_or_default().records;
        let first = past.last().map_or(0, |last| last.decision.saturating_add(1));
        let recent = past.iter().rev().take(RECENT).rev().filter_map(Recent::of).collect();
        Ok(Self {
            force: RwLock::new(Arc::new(InForce::new(ladder, origin, None))),
            numbers: AtomicU64::new(first),
            recent: Mutex::new(recent),
        })
    }

    /// Loads the strategies of `config` beside those in force, ready to be switched to.
    pub(super) fn prepare(
        &self,
        house: &Arc<House>,
        config: &PolicyConfig,
    ) -> Result<Prepared<Q>, LoadError> {
        let started = Instant::now();
        let recent: Vec<Recent<Q>> = self.recent().iter().cloned().collect();
        let snapshots: Vec<Arc<Snapshot>> = recent.iter().map(|one| Arc::clone(&one.snapshot)).collect();
        let candidates = Candidates::<Q>::examine(house, config, &snapshots)?;
        let divergence = candidates.divergence(&recent);
        tracing::info!(kind = %Q::KIND, strategy = candidates.active.label(), %divergence, "differs from the strategy in force");
        let live = candidates.go_live(house)?;
        Ok(Prepared { live, divergence, took: started.elapsed() })
    }

    /// Switches to what was prepared.
    pub(super) fn switch(&self, house: &House, prepared: Prepared<Q>) -> Report {
        let Prepared { live, divergence, took } = prepared;
        // From here to the switch nothing is decided: what the one in force remembers is handed on whole, and who it
        // would be taken back for cannot change.
        let mut force = self.force.write().unwrap_or_else(PoisonError::into_inner);
        let before = Arc::clone(&force);
        let ladder = live.onto_ladder(Some(&before.ladder));
        let origin = Origin {
            replaced: Some(before.ladder.primary().label().to_owned()),
            divergence: Some(divergence),
            took,
        };
        // The same component with other settings or limits may fail where it did not, too; only the built-in
        // cannot.
        let on_probation = ladder.primary().component().is_some();
        let probation = on_probation.then(|| {
            // Whoever is on probation itself is no refuge, not even for the same component with other settings:
            // else the settings of a day would stand behind one another.
            let refuge = before.refuge().unwrap_or(before);
            Probation { left: PROBATION, forgiven: 0, previous: refuge }
        });
        *force = Arc::new(InForce::new(ladder, origin, probation));
        drop(force);
        self.report(house)
    }

    pub(super) fn try_out(&self, house: &Arc<House>, config: &PolicyConfig) -> Result<(), LoadError> {
        let snapshots: Vec<Arc<Snapshot>> =
            self.recent().iter().map(|one| Arc::clone(&one.snapshot)).collect();
        Candidates::<Q>::examine(house, config, &snapshots).map(drop)
    }

    pub(super) fn report(&self, house: &House) -> Report {
        let force = self.force();
        let primary = force.ladder.primary();
        let Origin { replaced, divergence, took } = force.origin.clone();
        Report {
            kind: Q::KIND,
            label: primary.label().to_owned(),
            descriptor: primary.descriptor().cloned(),
            digest: primary.digest().map(str::to_owned),
            fallbacks: force.ladder.fallbacks().iter().map(|strategy| strategy.label().to_owned()).collect(),
            shadow: force.ladder.shadow.as_ref().map(|shadow| shadow.label().to_owned()),
            place: house.live.place(),
            rung: force.ladder.last_rung(),
            replaced,
            divergence,
            probation_left: force.probation().as_ref().map(|probation| probation.left),
            rolled_back: force.rolled_back.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            took,
        }
    }

    pub(super) fn shadow(&self) -> Option<Comparison> {
        self.force().ladder.shadow.as_ref().map(|shadow| shadow.comparison())
    }

    pub(super) fn decide(&self, house: &Arc<House>, question: &Q) -> Decision<Q::Target> {
        let force = self.force();
        let climbed = force.ladder.decide(house, self.number(), question);
        let (failed, rung) = (climbed.failed.clone(), climbed.decision.rung);
        let decision = self.keep(house, &force, climbed);
        let Some(previous) = force.step_on(failed.as_ref(), rung) else { return decision };
        self.roll_back(&force, previous, &decision.faults);
        let force = self.force();
        let mut again = self.keep(house, &force, force.ladder.decide(house, self.number(), question));
        again.faults.splice(0..0, decision.faults);
        again
    }

    /// Puts the previous strategy back, unless somebody else replaced this one meanwhile.
    fn roll_back(&self, failed: &Arc<InForce<Q>>, previous: Arc<InForce<Q>>, faults: &[String]) {
        let why = format!("{} was taken back: {}", failed.ladder.primary().label(), faults.join("; "));
        let mut force = self.force.write().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&force, failed) {
            return;
        }
        tracing::error!(kind = %Q::KIND, strategy = previous.ladder.primary().label(), reason = why, "the new strategy failed on probation; the previous one is back");
        *previous.rolled_back.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
        *force = previous;
    }

    /// Remembers a decision, writes it down, and shows it to the shadow.
    fn keep(&self, house: &Arc<House>, force: &InForce<Q>, climbed: Climbed<Q>) -> Decision<Q::Target> {
        let Climbed { decision, record, failed: _ } = climbed;
        let snapshot = Arc::new(record.snapshot.clone());
        if let Some(recorder) = &house.recorder {
            recorder.decision(record);
        }
        if decision.rung == Rung::Live {
            let mut recent = self.recent();
            if recent.len() == RECENT {
                recent.pop_front();
            }
            recent.push_back(Recent { snapshot: Arc::clone(&snapshot), target: decision.target.clone() });
        }
        if let Some(shadow) = &force.ladder.shadow {
            let (theirs, target) = (Arc::clone(shadow), decision.target.clone());
            if !house.run_aside(move || theirs.watch(&snapshot, &target)) {
                shadow.skip();
            }
        }
        decision
    }

    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    fn force(&self) -> Arc<InForce<Q>> {
        Arc::clone(&self.force.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn recent(&self) -> MutexGuard<'_, VecDeque<Recent<Q>>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<Q: Question> Recent<Q> {
    /// What a written decision says, when the configured strategy made it.
    fn of(record: &Record) -> Option<Self> {
        let question = Q::of(&record.snapshot)?;
        let proposal = Q::proposed(record.answer.clone()?)?;
        let target = question.admit(proposal).ok()?.target;
        Some(Self { snapshot: Arc::new(record.snapshot.clone()), target })
    }
}

impl<Q: Question> InForce<Q> {
    fn new(ladder: Ladder<Q>, origin: Origin, probation: Option<Probation<Q>>) -> Self {
        Self { ladder, origin, probation: Mutex::new(probation), rolled_back: Mutex::new(None) }
    }

    /// One more decision; the strategy to go back to when this one must be taken back.
    ///
    /// Only answers of its own count: one in quarantine, or one that could not be asked, has shown nothing.
    fn step_on(&self, failed: Option<&Failing>, rung: Rung) -> Option<Arc<Self>> {
        let mut probation = self.probation();
        let on = probation.as_mut()?;
        match failed {
            Some(Failing::Fault(Fault::Deadline | Fault::Crashed { .. })) if on.forgiven < FORGIVEN => {
                on.forgiven += 1;
            }
            Some(_) => return probation.take().map(|on| on.previous),
            None if rung == Rung::Live => on.left -= 1,
            None => {}
        }
        if on.left == 0 {
            // What it replaced is not needed any more.
            *probation = None;
        }
        None
    }

    /// Who this one would be taken back for.
    fn refuge(&self) -> Option<Arc<Self>> {
        self.probation().as_ref().map(|probation| Arc::clone(&probation.previous))
    }

    fn probation(&self) -> MutexGuard<'_, Option<Probation<Q>>> {
        self.probation.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Strategies that are loaded where they would answer in earnest, and how they differ from those that do.
#[derive(Debug)]
pub(super) struct Prepared<Q: Question> {
    live: Candidates<Q>,
    divergence: Comparison,
    took: Duration,
}

/// Strategies that have been let in and are not in force.
#[derive(Debug)]
struct Candidates<Q: Question> {
    active: Strategy<Q>,
    fallbacks: Vec<Strategy<Q>>,
    shadow: Option<Strategy<Q>>,
}

impl<Q: Question> Candidates<Q> {
    /// Examines all; only the active one must do with the recorded snapshots.
    fn examine(
        house: &Arc<House>,
        config: &PolicyConfig,
        recorded: &[Arc<Snapshot>],
    ) -> Result<Self, LoadError> {
        let Lineup { active, fallbacks, shadow } = config.of(Q::KIND);
        if fallbacks.len() > MAX_FALLBACKS {
            return Err(LoadError::TooManyFallbacks { kind: Q::KIND, given: fallbacks.len() });
        }
        let examine = |strategy, recorded| Strategy::examine(house, &config.trust, strategy, recorded);
        Ok(Self {
            active: examine(active, recorded)?,
            fallbacks: fallbacks.iter().map(|fallback| examine(fallback, &[])).collect::<Result<_, _>>()?,
            shadow: shadow.as_ref().map(|shadow| examine(shadow, &[])).transpose()?,
        })
    }

    /// How the active one differs from what was aimed for lately.
    fn divergence(&self, recent: &[Recent<Q>]) -> Comparison {
        let mut comparison = Comparison::with(self.active.label());
        let mut state = Vec::new();
        let mut fuel = 0_u64;
        for Recent { snapshot, target } in recent {
            if fuel > REPLAY_FUEL {
                comparison.skipped += 1;
            } else if let Some(question) = Q::of(snapshot) {
                fuel += compare(&self.active, question, &mut state, target, &mut comparison);
            }
        }
        comparison
    }

    /// Loads them where they answer in earnest; the shadow never does.
    fn go_live(self, house: &House) -> Result<Self, LoadError> {
        let fallbacks = self.fallbacks.into_iter().map(|fallback| fallback.go_live(house));
        Ok(Self {
            active: self.active.go_live(house)?,
            fallbacks: fallbacks.collect::<Result<_, _>>()?,
            ..self
        })
    }

    /// The ladder over them; what `old` remembers is carried over where it still means something.
    fn onto_ladder(self, old: Option<&Ladder<Q>>) -> Ladder<Q> {
        let strategies = std::iter::once(self.active).chain(self.fallbacks).collect();
        Ladder::new(strategies, self.shadow.map(Shadow::new), old)
    }
}
