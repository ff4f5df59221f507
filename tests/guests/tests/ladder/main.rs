//! The ladder: who answers when, what is remembered, and replacing strategies while the node runs.
//!
//! * `script`: strategies that misbehave when a question tells them to. `rungs`: each rung, broken in turn.
//! * `loading`: what is let in, and what is remembered. `replacement`: swapping, divergence, replay.
//! * `probation`, `quarantine`, `shadow`, `records`: each by its name.

mod loading;
mod probation;
mod quarantine;
mod records;
mod replacement;
mod rungs;
mod script;
mod shadow;
