//! Who answers a question, and replacing strategies while the node runs.
//!
//! * `ladder`: the rungs below one another. `strategy`: one strategy, loaded. `shadow`: one that is only watched.
//! * `house`: what the ladders of all kinds share. `slot`: the ladder in force, its probation and its past.

mod house;
mod ladder;
mod shadow;
mod slot;
mod strategy;

use std::sync::Arc;
use std::time::Duration;

use enid_core::kind::Kind;
use enid_core::proposal::Band;
use enid_core::report::{Decision, Rung};
use enid_core::snapshot::{MaxPodsSnapshot, SubnetSnapshot, WarmPoolSnapshot};
use serde::{Deserialize, Serialize};

use crate::admission::Inadmissible;
use crate::cache::CacheError;
use crate::comparison::Comparison;
use crate::config::{MAX_FALLBACKS, PolicyConfig};
use crate::engine::EngineError;
use crate::quarantine::Quarantined;
use crate::record::Recorder;
use crate::runtime::{Descriptor, Place};
use house::House;
use slot::Slot;

/// Why a strategy is not in force.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The sandbox itself does not work here.
    #[error("set up the sandbox for strategies")]
    Engine(#[from] EngineError),
    /// Compiled components cannot be kept.
    #[error("set up the cache of compiled components")]
    Cache(#[from] CacheError),
    /// Decisions cannot be written down.
    #[error("keep records of decisions in {directory}")]
    Records {
        /// Where.
        directory: String,
        /// The reason.
        #[source]
        why: std::io::Error,
    },
    /// A thread is missing.
    #[error("start a thread for errands")]
    NoThread(#[source] std::io::Error),
    /// Components are to run in a child, and nobody said which program that is.
    #[error("components are to run in a process of their own, but no program for it is known")]
    NoProgram,
    /// More fallbacks than make sense.
    #[error("{kind} has {given} fallbacks; at most {MAX_FALLBACKS} are asked")]
    TooManyFallbacks {
        /// What they are for.
        kind: Kind,
        /// How many.
        given: usize,
    },
    /// A strategy is not let in.
    #[error("load {kind} strategy `{strategy}` from {source_name}: step `{}`", .why.step())]
    Strategy {
        /// What it was wanted for.
        kind: Kind,
        /// The operator's name for it.
        strategy: String,
        /// The file.
        source_name: String,
        /// The reason.
        #[source]
        why: Box<Inadmissible>,
    },
}

/// The strategies of one kind, as they stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// What they decide about.
    pub kind: Kind,
    /// The configured one: the operator's name and the first digits of its digest.
    pub label: String,
    /// Who it says it is; `None` for the strategy compiled into the host.
    pub descriptor: Option<Descriptor>,
    /// SHA-256 of its file; `None` for the strategy compiled into the host.
    pub digest: Option<String>,
    /// The strategies behind it, in the order in which they are asked.
    pub fallbacks: Vec<String>,
    /// The one that is only watched.
    pub shadow: Option<String>,
    /// Where components run.
    pub place: Place,
    /// The rung that answered last; `None` before the first question.
    pub rung: Option<Rung>,
    /// The one before it, when it replaced another.
    pub replaced: Option<String>,
    /// How it differed from that one on the snapshots recorded until then.
    pub divergence: Option<Comparison>,
    /// Decisions until it need not fear being taken back any more; `None` when that is over.
    pub probation_left: Option<u32>,
    /// The one that was taken back, and why.
    pub rolled_back: Option<String>,
    /// What loading took.
    pub took: Duration,
}

/// Strategies of one kind, loaded by a policy and ready to be switched to by the same one.
#[derive(Debug)]
pub struct Prepared(Lineups);

#[derive(Debug)]
enum Lineups {
    WarmPool(slot::Prepared<WarmPoolSnapshot>),
    MaxPods(slot::Prepared<MaxPodsSnapshot>),
    SubnetSelection(slot::Prepared<SubnetSnapshot>),
}

/// Answers every question of the node about allocation.
///
/// Questions of one kind are answered one after the other. Safe to share; never blocks longer than the
/// deadlines of the strategies on the ladder.
#[derive(Debug)]
pub struct Policy {
    house: Arc<House>,
    warm_pool: Slot<WarmPoolSnapshot>,
    max_pods: Slot<MaxPodsSnapshot>,
    subnet_selection: Slot<SubnetSnapshot>,
}

impl Policy {
    /// Loads all strategies; the first that is not let in ends the attempt.
    ///
    /// Here they are not asked about recorded snapshots: a node that restarts must not be kept from starting by
    /// a snapshot on which its strategy failed, which is what quarantine and ladder are for.
    pub fn new(config: &PolicyConfig) -> Result<Self, LoadError> {
        let house = House::open(&config.house)?;
        // Compiling is what a restarting node waits for, so the kinds are loaded side by side.
        let (warm_pool, max_pods, subnet_selection) = std::thread::scope(|scope| {
            let max_pods = scope.spawn(|| Slot::load(&house, config));
            let subnet_selection = scope.spawn(|| Slot::load(&house, config));
            let warm_pool = Slot::load(&house, config);
            (warm_pool, joined(max_pods), joined(subnet_selection))
        });
        Ok(Self { warm_pool: warm_pool?, max_pods: max_pods?, subnet_selection: subnet_selection?, house })
    }

    /// How many addresses to hold ready.
    pub fn decide_warm_pool(&self, snapshot: &WarmPoolSnapshot) -> Decision<Band> {
        self.warm_pool.decide(&self.house, snapshot)
    }

    /// How many pods the node can run.
    pub fn decide_max_pods(&self, snapshot: &MaxPodsSnapshot) -> Decision<u32> {
        self.max_pods.decide(&self.house, snapshot)
    }

    /// In which subnet the next ENI is created: indices of candidates, best first.
    pub fn decide_subnets(&self, snapshot: &SubnetSnapshot) -> Decision<Vec<u16>> {
        self.subnet_selection.decide(&self.house, snapshot)
    }

    /// Builds the strategies of one kind beside those in force and switches to them; on failure the old ones stay.
    ///
    /// The new one is asked about this node's recorded snapshots first, and is on probation afterwards. State is
    /// handed on when the component is the same, or one of the same name and state format. Of `config` only
    /// the lineup of `kind` and the trust count; the house stays as it is.
    pub fn replace(&self, kind: Kind, config: &PolicyConfig) -> Result<Report, LoadError> {
        Ok(self.switch(self.prepare(kind, config)?))
    }

    /// The first half of [`replace`](Self::replace), which takes long and may fail; nothing changes by it.
    pub fn prepare(&self, kind: Kind, config: &PolicyConfig) -> Result<Prepared, LoadError> {
        Ok(Prepared(match kind {
            Kind::WarmPool => Lineups::WarmPool(self.warm_pool.prepare(&self.house, config)?),
            Kind::MaxPods => Lineups::MaxPods(self.max_pods.prepare(&self.house, config)?),
            Kind::SubnetSelection => {
                Lineups::SubnetSelection(self.subnet_selection.prepare(&self.house, config)?)
            }
        }))
    }

    /// The second half, which takes no time and cannot fail.
    pub fn switch(&self, prepared: Prepared) -> Report {
        match prepared.0 {
            Lineups::WarmPool(prepared) => self.warm_pool.switch(&self.house, prepared),
            Lineups::MaxPods(prepared) => self.max_pods.switch(&self.house, prepared),
            Lineups::SubnetSelection(prepared) => self.subnet_selection.switch(&self.house, prepared),
        }
    }

    /// Whether all strategies of one kind would be let in now; loads none of them to stay.
    pub fn try_out(&self, kind: Kind, config: &PolicyConfig) -> Result<(), LoadError> {
        match kind {
            Kind::WarmPool => self.warm_pool.try_out(&self.house, config),
            Kind::MaxPods => self.max_pods.try_out(&self.house, config),
            Kind::SubnetSelection => self.subnet_selection.try_out(&self.house, config),
        }
    }

    /// What is in force.
    pub fn report(&self, kind: Kind) -> Report {
        match kind {
            Kind::WarmPool => self.warm_pool.report(&self.house),
            Kind::MaxPods => self.max_pods.report(&self.house),
            Kind::SubnetSelection => self.subnet_selection.report(&self.house),
        }
    }

    /// How the strategy in shadow compares; `None` when there is none.
    pub fn shadow(&self, kind: Kind) -> Option<Comparison> {
        match kind {
            Kind::WarmPool => self.warm_pool.shadow(),
            Kind::MaxPods => self.max_pods.shadow(),
            Kind::SubnetSelection => self.subnet_selection.shadow(),
        }
    }

    /// The components that are not asked because they failed.
    pub fn quarantined(&self) -> Vec<Quarantined> {
        self.house.quarantined()
    }

    /// Lets the components whose digests start with `prefix` out of quarantine; says how many were in it.
    pub fn clear_quarantine(&self, prefix: &str) -> usize {
        self.house.clear_quarantine(prefix)
    }

    /// Waits until shadows, probes and records have caught up with the decisions so far.
    pub fn settle(&self) {
        self.house.finish_errands();
        if let Some(recorder) = &self.house.recorder {
            Recorder::flush(recorder);
        }
    }
}

/// What a loading thread found; its panic is ours.
fn joined<T>(thread: std::thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
