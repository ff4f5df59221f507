//! How a call into a component went wrong.

use enid_core::admission::{Violation, printable};
use enid_core::kind::Kind;
use serde::{Deserialize, Serialize};
use wasmtime::{Store, Trap};

use crate::sandbox::Sandbox;

/// Bytes of a component's own words that are kept in a fault.
const MAX_WORDS: usize = 256;

/// How a call into a component went wrong. A fault ends the call, never the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Fault {
    /// It ran longer than its fuel lasts.
    #[error("it used up its fuel")]
    Fuel,
    /// It ran past its deadline.
    #[error("it ran past its deadline")]
    Deadline,
    /// It asked for more memory than it may have.
    #[error("it asked for more than {limit} bytes of memory")]
    Memory {
        /// The limit.
        limit: usize,
    },
    /// It asked for larger tables than it may have.
    #[error("it asked for more than {limit} table elements")]
    Tables {
        /// The limit.
        limit: usize,
    },
    /// It consists of more instances, memories or tables than it may have.
    #[error("it has too many parts: {why}")]
    Instances {
        /// Which.
        why: String,
    },
    /// It recursed too deeply.
    #[error("it exhausted its stack")]
    Stack,
    /// It trapped: a panic, a division by zero, an access out of bounds.
    #[error("it trapped: {why}")]
    Trap {
        /// The trap.
        why: String,
    },
    /// It returned more bytes than the host copies.
    #[error("it returned more than {limit} bytes")]
    HostcallBytes {
        /// The limit.
        limit: usize,
    },
    /// What it returned is no value of the contract: invalid text, a bad pointer, an unknown case.
    #[error("its answer is malformed: {why}")]
    Lift {
        /// What is wrong with it.
        why: String,
    },
    /// It said itself that it has no answer.
    #[error("it declined: {why}")]
    Failure {
        /// Its words.
        why: String,
    },
    /// It said itself that it cannot use its settings.
    #[error("it cannot use its settings: {why}")]
    Settings {
        /// Its words.
        why: String,
    },
    /// It does not handle this node or mode, and says so.
    #[error("it does not handle this: {why}")]
    Unsupported {
        /// Its words.
        why: String,
    },
    /// The process that it ran in ended.
    #[error("the process it ran in ended: {why}")]
    Crashed {
        /// How.
        why: String,
    },
    /// It was never asked: no process could be started for it.
    #[error("it could not be asked: {why}")]
    Unasked {
        /// What failed.
        why: String,
    },
}

impl Fault {
    /// One word for it, for metrics and tests.
    pub fn label(&self) -> &'static str {
        match self {
            Fault::Fuel => "fuel",
            Fault::Deadline => "deadline",
            Fault::Memory { .. } => "memory",
            Fault::Tables { .. } => "tables",
            Fault::Instances { .. } => "instances",
            Fault::Stack => "stack",
            Fault::Trap { .. } => "trap",
            Fault::HostcallBytes { .. } => "hostcall-bytes",
            Fault::Lift { .. } => "lift",
            Fault::Failure { .. } => "failure",
            Fault::Settings { .. } => "settings",
            Fault::Unsupported { .. } => "unsupported",
            Fault::Crashed { .. } => "crashed",
            Fault::Unasked { .. } => "unasked",
        }
    }

    /// Whether the component is to blame, so that it counts against it.
    pub fn is_its_own(&self) -> bool {
        match self {
            Fault::Fuel
            | Fault::Deadline
            | Fault::Memory { .. }
            | Fault::Tables { .. }
            | Fault::Instances { .. }
            | Fault::Stack
            | Fault::Trap { .. }
            | Fault::HostcallBytes { .. }
            | Fault::Lift { .. }
            | Fault::Failure { .. }
            | Fault::Settings { .. }
            | Fault::Crashed { .. } => true,
            Fault::Unsupported { .. } | Fault::Unasked { .. } => false,
        }
    }

    /// Finds out what went wrong in `store`.
    ///
    /// What the sandbox recorded comes first: a refused growth of memory surfaces as a plain trap in most
    /// guests, because their allocator aborts.
    pub(crate) fn classify(store: &Store<Sandbox>, error: &wasmtime::Error) -> Self {
        let sandbox = store.data();
        let limits = sandbox.limits();
        if sandbox.memory_refused() {
            return Fault::Memory { limit: limits.memory };
        }
        if sandbox.table_refused() {
            return Fault::Tables { limit: limits.table_elements };
        }
        match error.downcast_ref::<Trap>() {
            Some(Trap::OutOfFuel) => Fault::Fuel,
            Some(Trap::Interrupt) => Fault::Deadline,
            Some(Trap::StackOverflow) => Fault::Stack,
            Some(trap) => Fault::Trap { why: trap.to_string() },
            None => Self::without_trap(store, error),
        }
    }

    /// Errors without a trap code come from reading the answer.
    fn without_trap(store: &Store<Sandbox>, error: &wasmtime::Error) -> Self {
        let why = words(&format!("{error:#}"));
        // The engine's errors for these have no public type, so their text decides; the hostile-guest tests
        // fail when an upgrade changes it.
        if why.contains("resource limit exceeded") {
            return Fault::Instances { why };
        }
        if why.contains("fuel allocated for hostcalls") {
            return Fault::HostcallBytes { limit: store.data().limits().hostcall_bytes };
        }
        Fault::Lift { why }
    }
}

/// Why a strategy that was asked gives no target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failing {
    /// The call went wrong.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// It answered something inadmissible.
    #[error("its answer is refused: {0}")]
    Refused(#[from] Violation),
}

impl Failing {
    /// One word for it, for metrics and tests.
    pub fn label(&self) -> &'static str {
        match self {
            Failing::Fault(fault) => fault.label(),
            Failing::Refused(_) => "refused",
        }
    }

    /// Whether the component is to blame, so that it counts against it.
    pub fn is_its_own(&self) -> bool {
        match self {
            Failing::Fault(fault) => fault.is_its_own(),
            Failing::Refused(_) => true,
        }
    }
}

/// Why a compiled component cannot be used: found when it is linked, started or asked who it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Unloadable {
    /// The compiled form is not usable; it must be made anew.
    #[error("its compiled form cannot be loaded: {why}")]
    Artifact {
        /// The engine's reason.
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
    /// Its exports do not have the contract's types.
    #[error("its exports do not match the contract: {why}")]
    Mismatch {
        /// What differs.
        why: String,
    },
    /// It cannot be started.
    #[error("starting it failed: {0}")]
    Start(Fault),
    /// It cannot say who it is.
    #[error("its `describe` failed: {0}")]
    Describe(Fault),
    /// Its description is unusable.
    #[error("it describes itself badly: {why}")]
    BadDescription {
        /// What is wrong.
        why: String,
    },
    /// The place where components run is not available.
    #[error("there is no process to run it in: {why}")]
    NoPlace {
        /// What failed.
        why: String,
    },
}

impl Unloadable {
    /// One word for it, for metrics and tests.
    pub fn label(&self) -> &'static str {
        match self {
            Unloadable::Artifact { .. } => "artifact",
            Unloadable::ForeignImport { .. } => "foreign-import",
            Unloadable::ForeignVersion { .. } => "foreign-version",
            Unloadable::NoKind => "no-kind",
            Unloadable::TwoKinds(_, _) => "two-kinds",
            Unloadable::Mismatch { .. } => "mismatch",
            Unloadable::Start(_) => "start",
            Unloadable::Describe(_) => "describe",
            Unloadable::BadDescription { .. } => "bad-description",
            Unloadable::NoPlace { .. } => "no-place",
        }
    }
}

/// Text of a component or of the engine, on one line and bounded.
pub(crate) fn words(text: &str) -> String {
    printable(&text.replace('\n', " "), MAX_WORDS)
}
