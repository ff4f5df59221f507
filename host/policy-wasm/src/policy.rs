//! The ladder: who answers a question, and replacing strategies while the node runs.

mod ladder;
mod strategy;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use enid_core::proposal::Band;
use enid_core::report::Decision;
use enid_core::snapshot::{MaxPodsSnapshot, SubnetSnapshot, WarmPoolSnapshot};

use crate::component::{Descriptor, Inadmissible, Kind};
use crate::config::{MAX_FALLBACKS, PolicyConfig, StrategyConfig};
use crate::engine::{Engine, EngineError};
use crate::question::Question;
use ladder::Ladder;
use strategy::Strategy;

/// Why a strategy is not in force.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The sandbox itself does not work here.
    #[error("set up the sandbox for strategies")]
    Engine(#[from] EngineError),
    /// A strategy is not let in.
    #[error("load {kind} strategy `{strategy}` from {source_name}")]
    Strategy {
        /// What it was wanted for.
        kind: Kind,
        /// The operator's name for it.
        strategy: String,
        /// The file.
        source_name: String,
        /// The reason.
        #[source]
        why: Inadmissible,
    },
}

/// A strategy in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What it decides about.
    pub kind: Kind,
    /// The operator's name for it, and the first digits of its digest.
    pub label: String,
    /// Who it says it is; `None` for the strategy compiled into the host.
    pub descriptor: Option<Descriptor>,
    /// SHA-256 of its file; `None` for the strategy compiled into the host.
    pub digest: Option<String>,
    /// The strategies behind it, in the order in which they are asked.
    pub fallbacks: Vec<String>,
    /// The one before it, when it replaced another.
    pub replaced: Option<String>,
    /// What loading took.
    pub took: Duration,
}

/// Answers every question of the node about allocation.
///
/// Questions of one kind are answered one after the other. Safe to share; never blocks longer than the
/// deadlines of the strategies on the ladder.
#[derive(Debug)]
pub struct Policy {
    engine: Engine,
    warm_pool: Slot<WarmPoolSnapshot>,
    max_pods: Slot<MaxPodsSnapshot>,
    subnet_selection: Slot<SubnetSnapshot>,
}

impl Policy {
    /// Loads all strategies; the first that is not let in ends the attempt.
    pub fn new(config: PolicyConfig) -> Result<Self, LoadError> {
        let engine = Engine::new()?;
        // Compiling is what a restarting node waits for, so the kinds are loaded side by side.
        let (warm_pool, max_pods, subnet_selection) = std::thread::scope(|scope| {
            let max_pods = scope.spawn(|| Slot::load(&engine, &config.max_pods));
            let subnet_selection = scope.spawn(|| Slot::load(&engine, &config.subnet_selection));
            let warm_pool = Slot::load(&engine, &config.warm_pool);
            (warm_pool, joined(max_pods), joined(subnet_selection))
        });
        Ok(Self { warm_pool: warm_pool?, max_pods: max_pods?, subnet_selection: subnet_selection?, engine })
    }

    /// How many addresses to hold ready.
    pub fn decide_warm_pool(&self, snapshot: &WarmPoolSnapshot) -> Decision<Band> {
        self.warm_pool.decide(snapshot)
    }

    /// How many pods the node can run.
    pub fn decide_max_pods(&self, snapshot: &MaxPodsSnapshot) -> Decision<u32> {
        self.max_pods.decide(snapshot)
    }

    /// In which subnet the next ENI is created: indices of candidates, best first.
    pub fn decide_subnets(&self, snapshot: &SubnetSnapshot) -> Decision<Vec<u16>> {
        self.subnet_selection.decide(snapshot)
    }

    /// Builds a strategy beside the one in force and switches to it; on failure the old one stays.
    ///
    /// Its last state is handed on when the component is the same, or one of the same name and state format.
    pub fn replace(&self, kind: Kind, config: StrategyConfig) -> Result<Report, LoadError> {
        match kind {
            Kind::WarmPool => self.warm_pool.replace(&self.engine, &config),
            Kind::MaxPods => self.max_pods.replace(&self.engine, &config),
            Kind::SubnetSelection => self.subnet_selection.replace(&self.engine, &config),
        }
    }

    /// What is in force.
    pub fn report(&self, kind: Kind) -> Report {
        match kind {
            Kind::WarmPool => self.warm_pool.report(),
            Kind::MaxPods => self.max_pods.report(),
            Kind::SubnetSelection => self.subnet_selection.report(),
        }
    }
}

/// What a loading thread found; its panic is ours.
fn joined<T>(thread: std::thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The ladder of one kind, replaceable as a whole.
#[derive(Debug)]
struct Slot<Q: Question> {
    ladder: RwLock<Arc<Ladder<Q>>>,
    report: RwLock<Report>,
}

impl<Q: Question> Slot<Q> {
    fn load(engine: &Engine, config: &StrategyConfig) -> Result<Self, LoadError> {
        let started = Instant::now();
        let ladder = Ladder::new(chain::<Q>(engine, config)?, None);
        let report = ladder.report(None, started.elapsed());
        Ok(Self { ladder: RwLock::new(Arc::new(ladder)), report: RwLock::new(report) })
    }

    fn replace(&self, engine: &Engine, config: &StrategyConfig) -> Result<Report, LoadError> {
        let started = Instant::now();
        let strategies = chain::<Q>(engine, config)?;
        let mut live = self.ladder.write().unwrap_or_else(PoisonError::into_inner);
        let previous = live.primary().label().to_owned();
        let ladder = Ladder::new(strategies, Some(&live));
        let report = ladder.report(Some(previous), started.elapsed());
        *live = Arc::new(ladder);
        *self.report.write().unwrap_or_else(PoisonError::into_inner) = report.clone();
        Ok(report)
    }

    fn report(&self) -> Report {
        self.report.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn decide(&self, question: &Q) -> Decision<Q::Target> {
        let ladder = Arc::clone(&self.ladder.read().unwrap_or_else(PoisonError::into_inner));
        ladder.decide(question)
    }
}

/// Loads a strategy and its fallbacks, in the order in which they are asked.
fn chain<Q: Question>(engine: &Engine, config: &StrategyConfig) -> Result<Vec<Strategy<Q>>, LoadError> {
    let mut strategies = Vec::new();
    let mut next = Some(config);
    while let Some(config) = next {
        let refuse = |why| LoadError::Strategy {
            kind: Q::KIND,
            strategy: config.name.clone(),
            source_name: config.source.to_string(),
            why,
        };
        if strategies.len() > MAX_FALLBACKS {
            return Err(refuse(Inadmissible::TooManyFallbacks));
        }
        strategies.push(Strategy::load(engine, config).map_err(refuse)?);
        next = config.fallback.as_deref();
    }
    Ok(strategies)
}
