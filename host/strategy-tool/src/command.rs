//! One module for each command.

pub(crate) mod adapt;
pub(crate) mod bench;
pub(crate) mod build;
pub(crate) mod decide;
pub(crate) mod digest;
pub(crate) mod fuzz;
pub(crate) mod inspect;
pub(crate) mod new;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod replay;
pub(crate) mod signing;
pub(crate) mod test;
