//! How a call into a component went wrong.

use enid_core::admission::{Violation, printable};
use wasmtime::{Store, Trap};

use crate::sandbox::Sandbox;

/// Bytes of a component's own words that are kept in a fault.
const MAX_WORDS: usize = 256;

/// Why a component has no admissible answer. A fault ends the call, never the daemon.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
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
    /// It answered something inadmissible.
    #[error("its answer is refused: {0}")]
    Refused(Violation),
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
            Fault::Refused(_) => "refused",
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

/// Text of a component or of the engine, on one line and bounded.
pub(crate) fn words(text: &str) -> String {
    printable(&text.replace('\n', " "), MAX_WORDS)
}
