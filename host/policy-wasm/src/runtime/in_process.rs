//! Components in this process: linked once, a fresh instance for every call.

use std::fmt;
use std::sync::Arc;

use enid_core::admission::printable;
use enid_core::document::{Answer, Snapshot};
use enid_core::kind::Kind;
use enid_core::snapshot::Setting;
use wasmtime::Store;
use wasmtime::component::{self, HasSelf, Linker};

use super::{Called, Descriptor, Guest, Issue, Place, Runtime};
use crate::abi::v0_1;
use crate::artifact::Artifact;
use crate::engine::{Engine, EngineError};
use crate::fault::{Fault, Unloadable, words};
use crate::limits::Limits;
use crate::sandbox::Sandbox;

/// Bytes of a settings schema.
const MAX_SCHEMA: usize = 64 << 10;
/// Bytes of a name or version that are kept.
const MAX_NAME: usize = 64;
/// Bytes of a summary that are kept.
const MAX_SUMMARY: usize = 256;
/// Problems with the settings that are reported; a hostile component could invent any number.
const MAX_ISSUES: usize = 32;

/// Runs components on the calling thread.
#[derive(Clone, Debug)]
pub struct InProcess {
    engine: Engine,
}

impl InProcess {
    /// Sets up the sandbox.
    pub fn start() -> Result<Self, EngineError> {
        Ok(Self::with(Engine::new()?))
    }

    /// Runs components on an engine that is already set up.
    pub(crate) fn with(engine: Engine) -> Self {
        Self { engine }
    }
}

impl Runtime for InProcess {
    fn load(&self, artifact: &Artifact, limits: &Limits) -> Result<Arc<dyn Guest>, Unloadable> {
        Ok(Arc::new(Component::load(&self.engine, artifact, limits)?))
    }

    fn place(&self) -> Place {
        Place::InProcess
    }
}

/// A component, linked and described.
struct Component {
    engine: Engine,
    pre: Pre,
    descriptor: Descriptor,
    limits: Limits,
}

/// Everything that can be prepared before a call, per kind.
enum Pre {
    WarmPool(v0_1::warm_pool::WarmPoolStrategyPre<Sandbox>),
    MaxPods(v0_1::max_pods::MaxPodsStrategyPre<Sandbox>),
    SubnetSelection(v0_1::subnet_selection::SubnetSelectionStrategyPre<Sandbox>),
}

impl Component {
    fn load(engine: &Engine, artifact: &Artifact, limits: &Limits) -> Result<Self, Unloadable> {
        let unusable = |why: String| Unloadable::Artifact { why: words(&why) };
        let code = artifact.code().map_err(|error| unusable(error.to_string()))?;
        // SAFETY: an `Artifact` comes from this program's own compiler, directly or through the authenticated
        // cache; the engine checks besides that its version and settings are the ones it was made with.
        #[expect(unsafe_code, reason = "machine code is run: this is the one place where it is loaded")]
        let compiled = unsafe { component::Component::deserialize(engine.wasm(), code) };
        let compiled = compiled.map_err(|error| unusable(format!("{error:#}")))?;
        let pre = Pre::prepare(engine, &compiled, kind_of(engine, &compiled)?)?;
        let descriptor = Descriptor {
            name: String::new(),
            version: String::new(),
            summary: String::new(),
            settings_schema: String::new(),
            state_format: 0,
        };
        let mut component = Self { engine: engine.clone(), pre, descriptor, limits: limits.clone() };
        component.start()?;
        component.descriptor = component.describe()?;
        Ok(component)
    }

    /// Starts it once: the types of exports are only compared then.
    fn start(&self) -> Result<(), Unloadable> {
        let started = match &self.pre {
            Pre::WarmPool(pre) => self.call(|store| pre.instantiate(store).map(drop)),
            Pre::MaxPods(pre) => self.call(|store| pre.instantiate(store).map(drop)),
            Pre::SubnetSelection(pre) => self.call(|store| pre.instantiate(store).map(drop)),
        };
        match started.result {
            Ok(()) => Ok(()),
            Err(Fault::Lift { why }) => Err(Unloadable::Mismatch { why }),
            Err(fault) => Err(Unloadable::Start(fault)),
        }
    }

    fn describe(&self) -> Result<Descriptor, Unloadable> {
        macro_rules! describe {
            ($pre:expr) => {
                self.call(|store| {
                    let it = $pre.instantiate(&mut *store)?.enid_strategy_plugin().call_describe(store)?;
                    Ok((it.name, it.version, it.summary, it.settings_schema, it.state_format))
                })
            };
        }
        let described = match &self.pre {
            Pre::WarmPool(pre) => describe!(pre),
            Pre::MaxPods(pre) => describe!(pre),
            Pre::SubnetSelection(pre) => describe!(pre),
        };
        let (name, version, summary, settings_schema, state_format) =
            described.result.map_err(Unloadable::Describe)?;
        if name.is_empty() {
            return Err(Unloadable::BadDescription { why: "it has no name".into() });
        }
        if settings_schema.len() > MAX_SCHEMA {
            let why = format!("its settings schema has more than {MAX_SCHEMA} bytes");
            return Err(Unloadable::BadDescription { why });
        }
        Ok(Descriptor {
            name: printable(&name, MAX_NAME),
            version: printable(&version, MAX_NAME),
            summary: printable(&summary, MAX_SUMMARY),
            settings_schema,
            state_format,
        })
    }

    /// Runs one call in a fresh store, bounded by the limits; the store is gone afterwards.
    fn call<R>(&self, run: impl FnOnce(&mut Store<Sandbox>) -> wasmtime::Result<R>) -> Called<R> {
        let limits = &self.limits;
        let mut store = Store::new(self.engine.wasm(), Sandbox::new(limits));
        store.limiter(|sandbox| sandbox);
        store.set_hostcall_fuel(limits.hostcall_bytes);
        store.set_epoch_deadline(Engine::ticks(limits.deadline));
        store.set_fuel(limits.fuel).expect("invariant: the engine is configured to count fuel");
        let running = self.engine.running();
        let result = run(&mut store);
        drop(running);
        let result = result.map_err(|error| Fault::classify(&store, &error));
        let left = store.get_fuel().expect("invariant: the engine is configured to count fuel");
        Called { result, cost: store.into_data().cost(limits.fuel.saturating_sub(left)) }
    }
}

impl Guest for Component {
    fn kind(&self) -> Kind {
        match self.pre {
            Pre::WarmPool(_) => Kind::WarmPool,
            Pre::MaxPods(_) => Kind::MaxPods,
            Pre::SubnetSelection(_) => Kind::SubnetSelection,
        }
    }

    fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    fn check_settings(&self, settings: &[Setting]) -> Called<Vec<Issue>> {
        let settings = v0_1::settings(settings);
        macro_rules! check {
            ($pre:expr) => {
                self.call(|store| {
                    let issues = $pre
                        .instantiate(&mut *store)?
                        .enid_strategy_plugin()
                        .call_check_settings(store, &settings)?;
                    Ok(issues
                        .into_iter()
                        .take(MAX_ISSUES)
                        .map(|issue| Issue {
                            key: printable(&issue.key, MAX_NAME),
                            message: words(&issue.message),
                        })
                        .collect())
                })
            };
        }
        match &self.pre {
            Pre::WarmPool(pre) => check!(pre),
            Pre::MaxPods(pre) => check!(pre),
            Pre::SubnetSelection(pre) => check!(pre),
        }
    }

    fn ask(&self, question: &Snapshot) -> Called<Answer> {
        match (&self.pre, question) {
            (Pre::WarmPool(pre), Snapshot::WarmPool(snapshot)) => {
                let question = v0_1::warm_pool_question(snapshot);
                let answer = self.call(|store| {
                    pre.instantiate(&mut *store)?.enid_strategy_warm_pool().call_decide(store, &question)
                });
                answered(answer, |proposal| Answer::WarmPool(v0_1::warm_pool_answer(proposal)))
            }
            (Pre::MaxPods(pre), Snapshot::MaxPods(snapshot)) => {
                let question = v0_1::max_pods_question(snapshot);
                let answer = self.call(|store| {
                    pre.instantiate(&mut *store)?.enid_strategy_max_pods().call_decide(store, &question)
                });
                answered(answer, |proposal| Answer::MaxPods(v0_1::max_pods_answer(proposal)))
            }
            (Pre::SubnetSelection(pre), Snapshot::SubnetSelection(snapshot)) => {
                let question = v0_1::subnet_question(snapshot);
                let answer = self.call(|store| {
                    pre.instantiate(&mut *store)?
                        .enid_strategy_subnet_selection()
                        .call_decide(store, &question)
                });
                answered(answer, |proposal| Answer::SubnetSelection(v0_1::subnet_answer(proposal)))
            }
            (_, question) => panic!("a {} question for a {} strategy", question.kind(), self.kind()),
        }
    }
}

impl fmt::Debug for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Component")
            .field("kind", &self.kind())
            .field("descriptor", &self.descriptor)
            .finish_non_exhaustive()
    }
}

impl Pre {
    fn prepare(engine: &Engine, compiled: &component::Component, kind: Kind) -> Result<Self, Unloadable> {
        let mismatch = |error: wasmtime::Error| Unloadable::Mismatch { why: words(&format!("{error:#}")) };
        let mut linker: Linker<Sandbox> = Linker::new(engine.wasm());
        v0_1::warm_pool::WarmPoolStrategy::add_to_linker::<_, HasSelf<Sandbox>>(&mut linker, |sandbox| {
            sandbox
        })
        .map_err(mismatch)?;
        let instance = linker.instantiate_pre(compiled).map_err(mismatch)?;
        match kind {
            Kind::WarmPool => v0_1::warm_pool::WarmPoolStrategyPre::new(instance).map(Pre::WarmPool),
            Kind::MaxPods => v0_1::max_pods::MaxPodsStrategyPre::new(instance).map(Pre::MaxPods),
            Kind::SubnetSelection => {
                v0_1::subnet_selection::SubnetSelectionStrategyPre::new(instance).map(Pre::SubnetSelection)
            }
        }
        .map_err(mismatch)
    }
}

/// Unwraps the component's own `result`.
fn answered<W>(
    called: Called<Result<W, v0_1::warm_pool::enid::strategy::types::Failure>>,
    convert: impl FnOnce(W) -> Answer,
) -> Called<Answer> {
    let result = match called.result {
        Ok(Ok(proposal)) => Ok(convert(proposal)),
        Ok(Err(failure)) => Err(v0_1::failure(&failure)),
        Err(fault) => Err(fault),
    };
    Called { result, cost: called.cost }
}

/// The one kind that the component exports, once its imports are found harmless.
fn kind_of(engine: &Engine, compiled: &component::Component) -> Result<Kind, Unloadable> {
    let shape = compiled.component_type();
    for (import, _) in shape.imports(engine.wasm()) {
        match Name::parse(import) {
            Some(name) if name.spoken() && matches!(name.interface, "types" | "log") => {}
            Some(_) | None => return Err(Unloadable::ForeignImport { import: words(import) }),
        }
    }
    let mut found = None;
    for (export, _) in shape.exports(engine.wasm()) {
        // Exports beyond the contract are unreachable for us, so they do no harm.
        let Some(name) = Name::parse(export) else { continue };
        let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.as_str() == name.interface) else { continue };
        if !name.spoken() {
            return Err(Unloadable::ForeignVersion { export: words(export) });
        }
        if let Some(first) = found.replace(kind) {
            return Err(Unloadable::TwoKinds(first, kind));
        }
    }
    found.ok_or(Unloadable::NoKind)
}

/// An interface of our package: `enid:strategy/<interface>@<major>.<minor>.<patch>`.
struct Name<'a> {
    interface: &'a str,
    minor: Option<(u64, u64)>,
}

impl<'a> Name<'a> {
    /// `None` for interfaces of other packages and for plain names.
    fn parse(name: &'a str) -> Option<Self> {
        let (package, rest) = name.split_once('/')?;
        if package != v0_1::PACKAGE {
            return None;
        }
        let (interface, version) = rest.split_once('@').unwrap_or((rest, ""));
        let mut numbers = version.split('.').map(|number| number.parse::<u64>().ok());
        let minor = numbers.next().flatten().zip(numbers.next().flatten());
        // A pre-release matches nothing: its name is only equal to itself.
        let plain = numbers.next().flatten().is_some() && numbers.next().is_none();
        Some(Self { interface, minor: minor.filter(|_| plain) })
    }

    /// Whether this host speaks its version.
    fn spoken(&self) -> bool {
        self.minor == Some(v0_1::MINOR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_package_and_minor_version_is_spoken() {
        for (name, spoken) in [
            ("enid:strategy/log@0.1.0", true),
            ("enid:strategy/log@0.1.17", true),
            ("enid:strategy/log@0.2.0", false),
            ("enid:strategy/log@0.1.0-rc1", false),
            ("enid:strategy/log@0.1", false),
            ("enid:strategy/log", false),
        ] {
            assert_eq!(Name::parse(name).map(|name| name.spoken()), Some(spoken), "{name}");
        }
        assert!(Name::parse("wasi:cli/environment@0.1.0").is_none());
        assert!(Name::parse("run").is_none());
    }
}
