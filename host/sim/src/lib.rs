//! The world that enid lives in, as deterministic models: the same seed gives the same run.
//!
//! Decides what EC2 and a node would answer. Never does IO, reads a clock, or draws chance that does not
//! come from a seed.
//!
//! * [`ec2`]: EC2 as a CNI sees it.
//! * [`node`]: one node in virtual time.
#![forbid(unsafe_code)]

pub mod ec2;
pub mod node;
