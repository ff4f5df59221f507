//! One strategy, loaded: a component or the built-in.

use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use enid_core::document::{Answer, Snapshot};
use enid_core::snapshot::Setting;

use super::LoadError;
use super::house::House;
use crate::admission::{self, Inadmissible, Offer, Terms};
use crate::artifact::Artifact;
use crate::config::{Source, StrategyConfig, Trust};
use crate::fault::Fault;
use crate::limits::Limits;
use crate::question::Question;
use crate::runtime::{Called, Cost, Descriptor, Guest};
use crate::schema::Schema;

/// Digits of a digest in labels: enough to tell builds apart.
const LABEL_DIGITS: usize = 12;
/// Log lines of one strategy that are passed on per second; a strategy is asked more often than people read.
const LINES_PER_SECOND: usize = 10;

/// A strategy that may be asked questions of kind `Q`.
#[derive(Debug)]
pub(super) struct Strategy<Q> {
    label: String,
    settings: Vec<Setting>,
    body: Body,
    question: PhantomData<fn(Q)>,
}

#[derive(Debug)]
enum Body {
    Component(Box<Loaded>),
    Builtin,
}

/// A component that may be asked.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) guest: Arc<dyn Guest>,
    pub(super) artifact: Artifact,
    pub(super) limits: Limits,
    chatter: Mutex<Chatter>,
}

/// How much a strategy has logged lately.
#[derive(Debug, Default)]
struct Chatter {
    since: Option<Instant>,
    lines: usize,
}

/// What a strategy said when it was asked in earnest.
pub(super) struct Asked {
    pub(super) result: Result<Answer, Fault>,
    pub(super) cost: Cost,
}

impl<Q: Question> Strategy<Q> {
    /// Examines the configured strategy and lets it in, or says why not; it runs aside until it
    /// [goes live](Self::go_live).
    pub(super) fn examine(
        house: &House,
        trust: &Trust,
        config: &StrategyConfig,
        recorded: &[Arc<Snapshot>],
    ) -> Result<Self, LoadError> {
        let refused = |why: Inadmissible| LoadError::Strategy {
            kind: Q::KIND,
            strategy: config.name.clone(),
            source_name: config.source.to_string(),
            why: Box::new(why),
        };
        let (path, digest, trust) = match &config.source {
            Source::Builtin => {
                let issues = Schema::empty().check(&config.settings);
                if !issues.is_empty() {
                    return Err(refused(Inadmissible::Schema { issues }));
                }
                return Ok(Self {
                    label: config.name.clone(),
                    settings: config.settings.clone(),
                    body: Body::Builtin,
                    question: PhantomData,
                });
            }
            Source::Shipped { path, digest } => (path, digest, &Trust::default()),
            Source::Component { path, digest } => (path, digest, trust),
        };
        let offer = Offer::read(path, &config.limits).map_err(refused)?;
        let terms = Terms {
            wanted: Some(Q::KIND),
            pinned: Some(*digest),
            trust,
            settings: &config.settings,
            limits: &config.limits,
            recorded,
        };
        let examined = admission::examine(&offer, &terms, &house.compiler, &*house.aside).map_err(refused)?;
        let hex = digest.hex();
        let label = format!("{}@{}", config.name, hex.get(..LABEL_DIGITS).unwrap_or_default());
        tracing::debug!(kind = %Q::KIND, strategy = label, trial = ?examined.trial, signed_by = ?examined.signed_by, "strategy let in");
        let loaded = Loaded {
            guest: examined.guest,
            artifact: examined.artifact,
            limits: config.limits.clone(),
            chatter: Mutex::default(),
        };
        Ok(Self {
            label,
            settings: config.settings.clone(),
            body: Body::Component(Box::new(loaded)),
            question: PhantomData,
        })
    }

    /// Moves it to where components answer in earnest.
    pub(super) fn go_live(mut self, house: &House) -> Result<Self, LoadError> {
        if let Body::Component(loaded) = &mut self.body
            && !Arc::ptr_eq(&house.aside, &house.live)
        {
            let moved = house.live.load(&loaded.artifact, &loaded.limits);
            loaded.guest = moved.map_err(|why| LoadError::Strategy {
                kind: Q::KIND,
                strategy: self.label.clone(),
                source_name: "its compiled form".into(),
                why: Box::new(why.into()),
            })?;
        }
        Ok(self)
    }

    /// The operator's name for it and, for components, the first digits of its digest.
    pub(super) fn label(&self) -> &str {
        &self.label
    }

    /// What is handed to it with every question.
    pub(super) fn settings(&self) -> &[Setting] {
        &self.settings
    }

    /// Its component, unless it is the built-in.
    pub(super) fn component(&self) -> Option<&Loaded> {
        match &self.body {
            Body::Component(loaded) => Some(loaded),
            Body::Builtin => None,
        }
    }

    /// SHA-256 of its component, unless it is the built-in.
    pub(super) fn digest(&self) -> Option<&str> {
        self.component().map(|loaded| loaded.artifact.digest())
    }

    /// Who its component says it is, unless it is the built-in.
    pub(super) fn descriptor(&self) -> Option<&Descriptor> {
        self.component().map(|loaded| loaded.guest.descriptor())
    }

    /// Whether state that `other` left can be read by this one.
    pub(super) fn understands(&self, other: &Self) -> bool {
        match (self.component(), other.component()) {
            (Some(mine), Some(theirs)) => {
                let (me, they) = (mine.guest.descriptor(), theirs.guest.descriptor());
                mine.artifact.digest() == theirs.artifact.digest()
                    || (me.name == they.name && me.state_format == they.state_format)
            }
            (None, _) | (_, None) => false,
        }
    }

    /// Asks it; `snapshot` is `question` with this strategy's settings and state filled in.
    pub(super) fn ask(&self, question: &Q, snapshot: &Snapshot) -> Asked {
        match &self.body {
            Body::Component(loaded) => {
                let Called { result, cost } = loaded.guest.ask(snapshot);
                loaded.pass_on(&self.label, &cost);
                Asked { result, cost }
            }
            Body::Builtin => Asked { result: Ok(Q::answer(question.builtin())), cost: Cost::default() },
        }
    }
}

impl Loaded {
    /// Passes on what a call logged, while it is not too much.
    ///
    /// All levels become DEBUG: what an operator must see comes as a fault or a reason, not as chatter.
    fn pass_on(&self, strategy: &str, cost: &Cost) {
        if cost.lines.is_empty() && cost.dropped == 0 {
            return;
        }
        let mut chatter = self.chatter.lock().unwrap_or_else(PoisonError::into_inner);
        if chatter.since.is_none_or(|since| since.elapsed() >= Duration::from_secs(1)) {
            *chatter = Chatter { since: Some(Instant::now()), lines: 0 };
        }
        let room = LINES_PER_SECOND.saturating_sub(chatter.lines);
        for line in cost.lines.iter().take(room) {
            tracing::debug!(strategy, level = ?line.level, line = line.text, "strategy says");
        }
        chatter.lines += cost.lines.len();
        let lost = cost.lines.len().saturating_sub(room) + usize::try_from(cost.dropped).unwrap_or_default();
        if lost > 0 {
            tracing::debug!(strategy, lost, "strategy logs too much");
        }
    }
}
