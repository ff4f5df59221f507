//! Runs strategies: loads components, asks them questions in fresh instances, and always has an answer.
//!
//! Decides which rung of the ladder answers: the configured component, its last good answer, a fallback
//! component, the strategy compiled into the host, or holding still. Whether an answer is admissible is
//! decided in [`enid_core::admission`]. It never gives a component a clock, chance, files or the network,
//! never keeps an instance between decisions, and never performs what a component proposes.
//!
//! Everything here is synchronous and takes microseconds; loading compiles, which takes tens of milliseconds
//! and belongs off the path of pods.
//!
//! * [`policy`]: the ladder and hot replacement. [`question`]: what the three kinds have in common.
//! * [`port`]: the engine's view of it. [`config`]: what the operator chose for each kind.
//! * [`component`]: admission of a component's bytes, and one call into it.
//! * [`engine`]: the compiler's and sandbox's settings, and the ticker behind deadlines.
//! * [`limits`]: what a call may cost. [`fault`]: how a call went wrong. [`sandbox`]: what a call may touch.
//! * [`abi`]: one module per minor version of the contract, converting to core types.
#![forbid(unsafe_code)]

mod abi;
pub mod component;
pub mod config;
pub mod engine;
pub mod fault;
pub mod limits;
pub mod policy;
mod port;
mod question;
mod sandbox;

pub use component::{Component, Descriptor, Inadmissible, Kind};
pub use config::{PolicyConfig, Source, StrategyConfig};
pub use engine::Engine;
pub use fault::Fault;
pub use limits::Limits;
pub use policy::{LoadError, Policy, Report};
