//! One strategy on the ladder: a component or the built-in, with its settings and its memory.

use std::marker::PhantomData;

use enid_core::proposal::Proposal;
use enid_core::snapshot::{Context, Setting};

use crate::component::{Component, Inadmissible};
use crate::config::{Source, StrategyConfig};
use crate::engine::Engine;
use crate::fault::Fault;
use crate::question::Question;

/// Digits of the digest that stand in labels: enough to tell builds apart.
const LABEL_DIGITS: usize = 12;

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
    Component(Box<Component>),
    Builtin,
}

impl<Q: Question> Strategy<Q> {
    /// Lets the configured strategy in, or says why not.
    pub(super) fn load(engine: &Engine, config: &StrategyConfig) -> Result<Self, Inadmissible> {
        let body = match &config.source {
            Source::Path(path) => {
                config.limits.check()?;
                let bytes = Component::read(path, &config.limits)?;
                let component = Component::admit(
                    engine,
                    &bytes,
                    &config.settings,
                    &config.limits,
                    config.digest.as_deref(),
                )?;
                if component.kind() != Q::KIND {
                    return Err(Inadmissible::WrongKind { found: component.kind(), wanted: Q::KIND });
                }
                Body::Component(Box::new(component))
            }
            Source::Builtin => {
                let issues: Vec<String> = config
                    .settings
                    .iter()
                    .map(|setting| format!("{}: the built-in has no settings", setting.key))
                    .collect();
                if !issues.is_empty() {
                    return Err(Inadmissible::Settings { issues });
                }
                Body::Builtin
            }
        };
        let label = match &body {
            Body::Component(component) => {
                format!("{}@{}", config.name, component.digest().get(..LABEL_DIGITS).unwrap_or_default())
            }
            Body::Builtin => config.name.clone(),
        };
        Ok(Self { label, settings: config.settings.clone(), body, question: PhantomData })
    }

    /// The operator's name for it and, for components, the first digits of its digest.
    pub(super) fn label(&self) -> &str {
        &self.label
    }

    /// Its component, unless it is the built-in.
    pub(super) fn component(&self) -> Option<&Component> {
        match &self.body {
            Body::Component(component) => Some(component),
            Body::Builtin => None,
        }
    }

    /// Whether state that `other` left can be read by this one.
    pub(super) fn understands(&self, other: &Self) -> bool {
        match (&self.body, &other.body) {
            (Body::Component(mine), Body::Component(theirs)) => {
                mine.digest() == theirs.digest()
                    || (mine.descriptor().name == theirs.descriptor().name
                        && mine.descriptor().state_format == theirs.descriptor().state_format)
            }
            (Body::Builtin, _) | (_, Body::Builtin) => false,
        }
    }

    /// Asks it; the fuel is `None` for the built-in. Settings and state are filled into `context`.
    pub(super) fn ask(
        &self,
        question: &Q,
        mut context: Context,
        state: &[u8],
    ) -> Result<(Proposal<Q::Proposed>, Option<u64>), Fault> {
        match &self.body {
            Body::Component(component) => {
                context.settings = self.settings.clone();
                context.state = state.to_vec();
                let (proposal, fuel) = question
                    .ask(component, &context)
                    .expect("invariant: a component of another kind is not let in")?;
                Ok((proposal, Some(fuel)))
            }
            Body::Builtin => Ok((question.builtin(), None)),
        }
    }
}
