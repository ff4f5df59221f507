//! The pure heart of enid: what the node knows and what it decides.
//!
//! Decides which address a pod gets, when supply grows and shrinks, and whether a strategy's answer is
//! admissible. Never does IO, reads a clock, an environment or chance of its own, and never awaits.
//!
//! * [`ids`], [`time`], [`limits`], [`instance_types`], [`cloud`], [`wiring`]: the words.
//! * [`event`], [`report`]: what comes in, what goes out, and why.
//! * [`node`]: the state that turns one into the other; [`lease`], [`eni`]: its state machines; `pool`: its
//!   addresses, counted; [`plan`]: what supply should do next; [`demand`]: what pods asked for lately.
//! * [`snapshot`], [`proposal`]: what a strategy is shown and may answer; [`admission`]: what is made of the
//!   answer; [`builtin`]: who answers when no component can.
//! * [`budget`], [`degraded`]: how much EC2 may be asked.
//! * [`kind`]: what there is to decide; [`document`]: a question or an answer of any kind, and its JSON;
//!   [`specimen`]: questions made up to try strategies on.
#![forbid(unsafe_code)]

pub mod admission;
pub mod budget;
pub mod builtin;
pub mod cloud;
pub mod degraded;
pub mod demand;
pub mod document;
pub mod eni;
pub mod event;
pub mod ids;
pub mod instance_types;
pub mod kind;
pub mod lease;
pub mod limits;
pub mod node;
pub mod plan;
mod pool;
pub mod proposal;
pub mod report;
pub mod snapshot;
pub mod specimen;
pub mod time;
pub mod wiring;
