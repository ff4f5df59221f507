//! Components without their WASI imports.
//!
//! Language runtimes ask WASI for an environment, standard streams, clocks and chance, whether or not the
//! strategy does. The host has none of them, so that a decision can depend on nothing but its question. So
//! answers are built into the component, here and once:
//!
//! - environment, arguments and open folders: none; standard input: at its end
//! - what is written to standard output and error: swallowed
//! - clocks: always zero; waiting: over at once
//! - chance: the same numbers in every instance
//! - exit, and everything that would need a real system, such as files and sockets: a trap
//!
//! The result depends on nothing but the component given.

mod answers;
mod entropy;
pub(crate) mod preview1;
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the format's sections and instructions, of which few matter"
)]
mod rewrite;

use wasm_encoder::{MemArg, MemArgTarget};
use wasmparser::Parser;

use crate::{Error, componentize, imports};

/// Frees a component of its WASI imports; one that has none is returned as it is.
///
/// A core module is made into a component first. The result imports no more than the contract, or this is
/// an error that names what else it would import.
pub fn adapt(wasm: &[u8]) -> Result<Vec<u8>, Error> {
    if Parser::is_core_wasm(wasm) {
        return adapt(&componentize(wasm)?);
    }
    without(wasm, is_wasi)
}

/// Answers the imports for which `answered` says so; the rest must be the contract's.
pub(crate) fn without(component: &[u8], answered: fn(&str) -> bool) -> Result<Vec<u8>, Error> {
    let asked = imports(component)?;
    let unknown: Vec<&str> =
        asked.iter().map(String::as_str).filter(|name| !answered(name) && !is_contract(name)).collect();
    if !unknown.is_empty() {
        return Err(Error::Adapt(format!(
            "the component imports {}: neither the contract nor wasi:*@0.2",
            unknown.join(", ")
        )));
    }
    if asked.iter().all(|name| is_contract(name)) {
        return Ok(component.to_vec());
    }
    rewrite::without(component, answered).map_err(Error::Adapt)
}

/// Whether an import is of the WASI generation that can be answered.
pub fn is_wasi(import: &str) -> bool {
    let version = import.strip_prefix("wasi:").and_then(|rest| rest.split_once('@'));
    version.is_some_and(|(_, version)| version.starts_with("0.2."))
}

/// Whether the host satisfies an import.
pub fn is_contract(import: &str) -> bool {
    crate::contract::HOST_IMPORTS.contains(&import)
}

/// The operand of loads and stores in generated code; `align` is the exponent of a power of two.
fn operand(offset: u32, align: u32) -> MemArg {
    MemArg { offset: offset.into(), align, target: MemArgTarget::Memory(0), ordering: None }
}

#[cfg(test)]
mod tests;
