//! The least that a plugin can be: a static program that does nothing.

fn main() {}
