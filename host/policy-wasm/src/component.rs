//! Admission of a component's bytes, and one call into it.
//!
//! A component is admitted before it is ever asked: size, digest, form, imports, kind, compilation, one
//! start, its description, its view of the settings. Each refusal names the step and the reason.

mod form;

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use enid_core::admission::printable;
use enid_core::proposal::{Band, Proposal, Ranked};
use enid_core::snapshot::{Context, MaxPodsSnapshot, Setting, SubnetSnapshot, WarmPoolSnapshot};
use wasmtime::Store;
use wasmtime::component::{HasSelf, Linker};

use crate::abi::v0_1;
use crate::engine::Engine;
use crate::fault::{Fault, words};
use crate::limits::{LimitOutOfRange, Limits};
use crate::sandbox::Sandbox;

/// Bytes of a settings schema that are kept.
const MAX_SCHEMA: usize = 64 << 10;
/// Bytes of a name or version.
const MAX_NAME: usize = 64;
/// Bytes of a summary.
const MAX_SUMMARY: usize = 256;
/// Problems with the settings that are reported; a hostile component could invent any number.
const MAX_ISSUES: usize = 32;

/// What a strategy decides about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// How many addresses to hold ready.
    WarmPool,
    /// How many pods the node can run.
    MaxPods,
    /// Where the next ENI is created.
    SubnetSelection,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 3] = [Kind::WarmPool, Kind::MaxPods, Kind::SubnetSelection];

    /// The kind as it stands in settings and in export names.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::WarmPool => "warm-pool",
            Kind::MaxPods => "max-pods",
            Kind::SubnetSelection => "subnet-selection",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who a component says it is; bounded, but its own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// For example `warm-targets`.
    pub name: String,
    /// For example `1.4.0`.
    pub version: String,
    /// What it does, in one sentence.
    pub summary: String,
    /// JSON Schema of its settings.
    pub settings_schema: String,
    /// The format of its state.
    pub state_format: u32,
}

/// Why a component is not let in.
#[derive(Debug, thiserror::Error)]
pub enum Inadmissible {
    /// The file cannot be read.
    #[error("the file cannot be read")]
    Unreadable(#[source] std::io::Error),
    /// The file is empty.
    #[error("the file is empty")]
    Empty,
    /// The file is too large.
    #[error("the file has more than {most} bytes; raise its limit `component_bytes` if that is meant")]
    TooLarge {
        /// The limit.
        most: usize,
    },
    /// The configured digest is not one.
    #[error("the configured digest `{digest}` is not `sha256:` and 64 hexadecimal digits")]
    BadDigest {
        /// What was configured.
        digest: String,
    },
    /// Another file than the operator pinned.
    #[error("the digest is sha256:{found}, but sha256:{pinned} is configured")]
    Digest {
        /// What the file has.
        found: String,
        /// What was configured.
        pinned: String,
    },
    /// Machine code for some engine: running a stranger's machine code would defeat the sandbox.
    #[error("it is precompiled machine code; give the component it was compiled from")]
    Precompiled,
    /// A core module without the component around it.
    #[error("it is a core WebAssembly module; make it a component first (`wasm-tools component new`)")]
    CoreModule,
    /// Not WebAssembly at all.
    #[error("it is no WebAssembly component")]
    NotWasm,
    /// Damaged, or using features that are switched off.
    #[error("it is not valid: {why}")]
    Invalid {
        /// The validator's reason.
        why: String,
    },
    /// It wants something from the host that no strategy gets.
    #[error("it imports `{import}`; a strategy may import nothing but `enid:strategy/log@0.1`")]
    ForeignImport {
        /// The import.
        import: String,
    },
    /// Built for a contract that this host does not speak.
    #[error("it exports `{export}`, but this host speaks enid:strategy@0.1 only")]
    ForeignVersion {
        /// The export.
        export: String,
    },
    /// No strategy.
    #[error(
        "it exports no kind of strategy; one of `enid:strategy/{{warm-pool,max-pods,subnet-selection}}@0.1` is needed"
    )]
    NoKind,
    /// More than one strategy.
    #[error("it exports both {0} and {1}; a component is exactly one kind")]
    TwoKinds(Kind, Kind),
    /// A strategy of another kind than the one configured here.
    #[error("it is a {found} strategy, but a {wanted} strategy is configured here")]
    WrongKind {
        /// What it is.
        found: Kind,
        /// What is needed.
        wanted: Kind,
    },
    /// Its exports do not have the contract's types.
    #[error("its exports do not match the contract: {why}")]
    Mismatch {
        /// What differs.
        why: String,
    },
    /// A first call failed.
    #[error("its `{call}` failed: {fault}")]
    Call {
        /// `start`, `describe` or `check-settings`.
        call: &'static str,
        /// How.
        fault: Fault,
    },
    /// Its description is unusable.
    #[error("it describes itself badly: {why}")]
    BadDescription {
        /// What is wrong.
        why: String,
    },
    /// It refuses its settings.
    #[error("settings refused: {}", .issues.join("; "))]
    Settings {
        /// `key: what is wrong`.
        issues: Vec<String>,
    },
    /// The operator's limits are out of range.
    #[error(transparent)]
    Limits(#[from] LimitOutOfRange),
    /// More fallbacks than make sense.
    #[error("more than {} fallbacks in a row", crate::config::MAX_FALLBACKS)]
    TooManyFallbacks,
}

impl Inadmissible {
    /// One word for it, for metrics and tests.
    pub fn label(&self) -> &'static str {
        match self {
            Inadmissible::Unreadable(_) => "unreadable",
            Inadmissible::Empty => "empty",
            Inadmissible::TooLarge { .. } => "too-large",
            Inadmissible::BadDigest { .. } => "bad-digest",
            Inadmissible::Digest { .. } => "digest",
            Inadmissible::Precompiled => "precompiled",
            Inadmissible::CoreModule => "core-module",
            Inadmissible::NotWasm => "not-wasm",
            Inadmissible::Invalid { .. } => "invalid",
            Inadmissible::ForeignImport { .. } => "foreign-import",
            Inadmissible::ForeignVersion { .. } => "foreign-version",
            Inadmissible::NoKind => "no-kind",
            Inadmissible::TwoKinds(_, _) => "two-kinds",
            Inadmissible::WrongKind { .. } => "wrong-kind",
            Inadmissible::Mismatch { .. } => "mismatch",
            Inadmissible::Call { .. } => "call",
            Inadmissible::BadDescription { .. } => "bad-description",
            Inadmissible::Settings { .. } => "settings",
            Inadmissible::Limits(_) => "limits",
            Inadmissible::TooManyFallbacks => "too-many-fallbacks",
        }
    }
}

/// A component that has been let in: compiled, described, and its settings found good.
pub struct Component {
    engine: Engine,
    pre: Pre,
    descriptor: Descriptor,
    digest: String,
    limits: Limits,
}

/// Everything that can be prepared before a call, per kind.
enum Pre {
    WarmPool(v0_1::warm_pool::WarmPoolStrategyPre<Sandbox>),
    MaxPods(v0_1::max_pods::MaxPodsStrategyPre<Sandbox>),
    SubnetSelection(v0_1::subnet_selection::SubnetSelectionStrategyPre<Sandbox>),
}

/// An answer and the fuel it cost.
pub type Metered<T> = (T, u64);

impl Component {
    /// Reads a component file, bounded by `limits`.
    pub fn read(path: &Path, limits: &Limits) -> Result<Vec<u8>, Inadmissible> {
        let most = limits.component_bytes;
        let mut bytes = Vec::new();
        let bound = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
        let file = File::open(path).map_err(Inadmissible::Unreadable)?;
        // A FIFO or device would block or never end.
        if !file.metadata().map_err(Inadmissible::Unreadable)?.is_file() {
            return Err(Inadmissible::Unreadable(std::io::Error::other("not a regular file")));
        }
        file.take(bound).read_to_end(&mut bytes).map_err(Inadmissible::Unreadable)?;
        Ok(bytes)
    }

    /// Lets a component in, or says why not. Compiles, so it takes tens of milliseconds.
    ///
    /// `digest`, when given, must be that of `bytes`. `settings` are checked by the component itself.
    pub fn admit(
        engine: &Engine,
        bytes: &[u8],
        settings: &[Setting],
        limits: &Limits,
        digest: Option<&str>,
    ) -> Result<Self, Inadmissible> {
        limits.check()?;
        let found = form::check(bytes, limits, digest)?;
        let compiled = wasmtime::component::Component::from_binary(engine.wasm(), bytes)
            .map_err(|error| Inadmissible::Invalid { why: words(&format!("{error:#}")) })?;
        let kind = form::kind(engine, &compiled)?;
        let pre = Pre::prepare(engine, &compiled, kind)?;
        let mut component = Self {
            engine: engine.clone(),
            pre,
            descriptor: Descriptor {
                name: String::new(),
                version: String::new(),
                summary: String::new(),
                settings_schema: String::new(),
                state_format: 0,
            },
            digest: found,
            limits: limits.clone(),
        };
        component.start()?;
        component.descriptor = component.describe()?;
        component.check_settings(settings)?;
        Ok(component)
    }

    /// What it decides about.
    pub fn kind(&self) -> Kind {
        match self.pre {
            Pre::WarmPool(_) => Kind::WarmPool,
            Pre::MaxPods(_) => Kind::MaxPods,
            Pre::SubnetSelection(_) => Kind::SubnetSelection,
        }
    }

    /// Who it says it is.
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// SHA-256 of its file, 64 hexadecimal digits.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// What is wrong with these settings in the component's eyes.
    pub fn check_settings(&self, settings: &[Setting]) -> Result<(), Inadmissible> {
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
                        .map(|issue| (issue.key, issue.message))
                        .collect::<Vec<_>>())
                })
            };
        }
        let checked = match &self.pre {
            Pre::WarmPool(pre) => check!(pre),
            Pre::MaxPods(pre) => check!(pre),
            Pre::SubnetSelection(pre) => check!(pre),
        };
        let (issues, _) = checked.map_err(|fault| Inadmissible::Call { call: "check-settings", fault })?;
        if issues.is_empty() {
            return Ok(());
        }
        let issues =
            issues.iter().map(|(key, message)| format!("{}: {}", printable(key, MAX_NAME), words(message)));
        Err(Inadmissible::Settings { issues: issues.collect() })
    }

    /// Starts it once: the types of exports are only compared then.
    fn start(&self) -> Result<(), Inadmissible> {
        let started = match &self.pre {
            Pre::WarmPool(pre) => self.call(|store| pre.instantiate(store).map(drop)),
            Pre::MaxPods(pre) => self.call(|store| pre.instantiate(store).map(drop)),
            Pre::SubnetSelection(pre) => self.call(|store| pre.instantiate(store).map(drop)),
        };
        match started {
            Ok(((), _)) => Ok(()),
            Err(Fault::Lift { why }) => Err(Inadmissible::Mismatch { why }),
            Err(fault) => Err(Inadmissible::Call { call: "start", fault }),
        }
    }

    fn describe(&self) -> Result<Descriptor, Inadmissible> {
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
        let ((name, version, summary, settings_schema, state_format), _) =
            described.map_err(|fault| Inadmissible::Call { call: "describe", fault })?;
        if name.is_empty() {
            return Err(Inadmissible::BadDescription { why: "it has no name".into() });
        }
        if settings_schema.len() > MAX_SCHEMA {
            let why = format!("its settings schema has more than {MAX_SCHEMA} bytes");
            return Err(Inadmissible::BadDescription { why });
        }
        Ok(Descriptor {
            name: printable(&name, MAX_NAME),
            version: printable(&version, MAX_NAME),
            summary: printable(&summary, MAX_SUMMARY),
            settings_schema,
            state_format,
        })
    }

    /// Asks a warm-pool question; `None` when it is of another kind.
    pub fn warm_pool(
        &self,
        context: &Context,
        snapshot: &WarmPoolSnapshot,
    ) -> Option<Result<Metered<Proposal<Band>>, Fault>> {
        let Pre::WarmPool(pre) = &self.pre else { return None };
        let question = v0_1::warm_pool_question(context, snapshot);
        let answer = self.call(|store| {
            pre.instantiate(&mut *store)?.enid_strategy_warm_pool().call_decide(store, &question)
        });
        Some(answered(answer, v0_1::warm_pool_answer))
    }

    /// Asks a max-pods question; `None` when it is of another kind.
    pub fn max_pods(
        &self,
        context: &Context,
        snapshot: &MaxPodsSnapshot,
    ) -> Option<Result<Metered<Proposal<u32>>, Fault>> {
        let Pre::MaxPods(pre) = &self.pre else { return None };
        let question = v0_1::max_pods_question(context, snapshot);
        let answer = self.call(|store| {
            pre.instantiate(&mut *store)?.enid_strategy_max_pods().call_decide(store, &question)
        });
        Some(answered(answer, v0_1::max_pods_answer))
    }

    /// Asks a subnet question; `None` when it is of another kind.
    pub fn subnets(
        &self,
        context: &Context,
        snapshot: &SubnetSnapshot,
    ) -> Option<Result<Metered<Proposal<Vec<Ranked>>>, Fault>> {
        let Pre::SubnetSelection(pre) = &self.pre else { return None };
        let question = v0_1::subnet_question(context, snapshot);
        let answer = self.call(|store| {
            pre.instantiate(&mut *store)?.enid_strategy_subnet_selection().call_decide(store, &question)
        });
        Some(answered(answer, v0_1::subnet_answer))
    }

    /// Runs one call in a fresh store, bounded by the limits; the store is gone afterwards.
    fn call<R>(
        &self,
        run: impl FnOnce(&mut Store<Sandbox>) -> wasmtime::Result<R>,
    ) -> Result<Metered<R>, Fault> {
        let limits = &self.limits;
        let mut store = Store::new(self.engine.wasm(), Sandbox::new(&self.descriptor.name, limits));
        store.limiter(|sandbox| sandbox);
        store.set_hostcall_fuel(limits.hostcall_bytes);
        store.set_epoch_deadline(Engine::ticks(limits.deadline));
        store.set_fuel(limits.fuel).expect("invariant: the engine is configured to count fuel");
        let running = self.engine.running();
        let result = run(&mut store);
        drop(running);
        match result {
            Ok(value) => {
                let left = store.get_fuel().expect("invariant: the engine is configured to count fuel");
                Ok((value, limits.fuel.saturating_sub(left)))
            }
            Err(error) => Err(Fault::classify(&store, &error)),
        }
    }
}

impl fmt::Debug for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Component")
            .field("kind", &self.kind())
            .field("descriptor", &self.descriptor)
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

impl Pre {
    fn prepare(
        engine: &Engine,
        compiled: &wasmtime::component::Component,
        kind: Kind,
    ) -> Result<Self, Inadmissible> {
        let mismatch = |error: wasmtime::Error| Inadmissible::Mismatch { why: words(&format!("{error:#}")) };
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
fn answered<W, T>(
    answer: Result<Metered<Result<W, v0_1::warm_pool::enid::strategy::types::Failure>>, Fault>,
    convert: impl FnOnce(W) -> T,
) -> Result<Metered<T>, Fault> {
    match answer? {
        (Ok(proposal), fuel) => Ok((convert(proposal), fuel)),
        (Err(failure), _) => Err(Fault::Failure { why: words(&v0_1::failure(&failure)) }),
    }
}
