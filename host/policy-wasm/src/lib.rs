//! Runs strategies: lets components in, asks them questions in fresh instances, and always has an answer.
//!
//! Decides which rung of the ladder answers: the configured component, its last good answer, a fallback
//! component, the strategy compiled into the host, or holding still; and which components are asked at all.
//! Whether an answer is admissible is decided in [`enid_core::admission`]. It never gives a component a clock,
//! chance, files or the network, never keeps an instance between decisions, and never performs what a
//! component proposes.
//!
//! Everything here is synchronous. A decision takes microseconds; letting a component in takes tens of
//! milliseconds and belongs off the path of pods.
//!
//! * [`policy`]: the ladder, replacement, probation, shadow. [`config`]: what the operator chose for each kind.
//! * [`port`]: the engine's view of it. [`question`]: what the three kinds have in common.
//! * [`admission`]: what is checked before a component may decide. [`schema`]: settings against what it publishes.
//! * [`runtime`]: where components run: in this process, or in a confined child. [`confine`]: how it is confined.
//! * [`compile`], [`cache`], [`artifact`]: machine code, made in another child and kept.
//! * [`record`]: every decision, written down. [`quarantine`]: who is not asked any more. [`comparison`]: how two differ.
//! * [`engine`]: the compiler's and sandbox's settings, and the ticker behind deadlines. [`limits`]: what a call may
//!   cost. [`fault`]: how a call went wrong. [`sandbox`]: what a call may touch.
//! * [`abi`]: one module per minor version of the contract, converting to core types.
#![deny(unsafe_code)]

mod abi;
pub mod admission;
pub mod artifact;
pub mod cache;
pub mod comparison;
pub mod compile;
pub mod config;
mod confine;
pub mod engine;
pub mod fault;
pub mod limits;
pub mod policy;
mod port;
pub mod quarantine;
pub mod question;
pub mod record;
pub mod runtime;
mod sandbox;
pub mod schema;

pub use admission::{Inadmissible, Step};
pub use comparison::Comparison;
pub use config::{House, Lineup, PolicyConfig, Source, StrategyConfig, Trust};
pub use engine::Engine;
pub use enid_core::kind::Kind;
pub use fault::{Failing, Fault};
pub use limits::Limits;
pub use policy::{LoadError, Policy, Report};
pub use quarantine::Quarantined;
pub use runtime::{Descriptor, Issue, Place};
