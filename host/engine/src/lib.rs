//! The shell around [`enid_core`]: performs effects through narrow ports and feeds results back.
//!
//! Decides nothing: every choice is [`enid_core::node::NodeState`]'s. Knows no adapter.
//!
//! * [`ports`]: what is needed from the world.
//! * [`clock`]: time that never runs backwards.
//! * [`run`]: the loop.
#![forbid(unsafe_code)]

pub mod clock;
mod log;
pub mod ports;
pub mod run;
