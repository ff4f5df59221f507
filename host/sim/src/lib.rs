//! The world that enid lives in, as deterministic models: the same seed gives the same run.
//!
//! Decides what EC2 and a node would answer. Never does IO, reads a clock, or draws chance that does not
//! come from a seed.
//!
//! * [`ec2`]: EC2 as a CNI sees it.
//! * [`kernel`]: a node's kernel; [`node`]: one node in virtual time; [`fleet`]: many, in one region.
//! * [`witness`]: what a node's daemon did, and bugs put into it.
#![forbid(unsafe_code)]

pub mod ec2;
pub mod fleet;
pub mod kernel;
pub mod node;
pub mod witness;
