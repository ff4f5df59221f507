//! What a strategy author writes against: one trait and one export macro per kind.
//!
//! A strategy is a type that implements [`WarmPool`], [`MaxPods`] or [`SubnetSelection`]; its settings derive
//! [`Settings`] and its memory derives [`State`]; [`export_warm_pool!`] and its siblings turn it into a
//! component. The same code runs natively, so `cargo test`, a debugger and the host's simulator need no
//! WebAssembly.
//!
//! It never lets a strategy see a clock, chance, files or the network: what a decision may depend on is in
//! its question. A panic is written to the host's log and then traps; the host answers from its ladder.
//!
//! * [`strategy`]: the traits and the answer they give.
//! * [`settings`]: typed settings with defaults, ranges and errors for unknown keys.
//! * [`state`]: what a strategy remembers from one decision to the next.
//! * [`log`]: lines for the author and the operator.
//! * [`warm_pool`], [`max_pods`], [`subnet_selection`]: the words of the contract, generated from `wit/`.
//! * [`testing`]: questions for native tests, and a host to ask them.
//!
//! The derives name this crate as `enid_guest`, so a strategy depends on it by that name. What they write is
//! in [`settings`] and [`state`].

// For what the derives write in this crate's own tests.
#[cfg(test)]
extern crate self as enid_guest;

#[allow(
    missing_docs,
    unreachable_pub,
    clippy::undocumented_unsafe_blocks,
    clippy::wildcard_enum_match_arm,
    reason = "generated from the WIT package"
)]
#[doc(hidden)]
pub mod bindings;
#[doc(hidden)]
pub mod export;
pub mod log;
pub mod settings;
pub mod state;
pub mod strategy;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

pub use bindings::shared::enid::strategy::types::{
    ClusterTag, Context, Failure, Mode, Outcome, RoleTag, Setting, SubnetUse, Value,
};
pub use settings::{Choice, NoSettings, Settings};
pub use state::State;
pub use strategy::{Answer, MaxPods, SubnetSelection, WarmPool};

/// The words of the warm-pool kind.
pub mod warm_pool {
    pub use crate::bindings::warm_pool::exports::enid::strategy::warm_pool::{
        Band, BlockUse, Demand, EniPhase, EniUse, Grain, Limits, Placement, PodCounts, Pressure, Proposal,
        Snapshot,
    };
}

/// The words of the max-pods kind.
pub mod max_pods {
    pub use crate::bindings::max_pods::exports::enid::strategy::max_pods::{Proposal, Snapshot};
}

/// The words of the subnet-selection kind.
pub mod subnet_selection {
    pub use crate::bindings::subnet_selection::exports::enid::strategy::subnet_selection::{
        Proposal, Ranked, Snapshot,
    };
}
