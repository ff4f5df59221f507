//! One module per minor version of the contract; each converts between its generated types and core types.

pub(crate) mod v0_1;
