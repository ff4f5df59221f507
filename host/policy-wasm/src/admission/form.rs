//! What can be told about a component from its bytes: size, digest, form.

use enid_component_store::Digest;

use super::Inadmissible;
use crate::limits::Limits;

/// `\0asm`, then the version and layer of a component.
const COMPONENT: [u8; 8] = [0, b'a', b's', b'm', 0x0d, 0, 1, 0];
/// `\0asm`, then the version and layer of a core module.
const MODULE: [u8; 8] = [0, b'a', b's', b'm', 1, 0, 0, 0];

/// Checks size and digest; returns the digest.
pub(super) fn size_and_digest(
    bytes: &[u8],
    limits: &Limits,
    pinned: Option<Digest>,
) -> Result<Digest, Inadmissible> {
    if bytes.is_empty() {
        return Err(Inadmissible::Empty);
    }
    if bytes.len() > limits.component_bytes {
        return Err(Inadmissible::TooLarge { most: limits.component_bytes });
    }
    let found = Digest::of(bytes);
    match pinned.filter(|pinned| *pinned != found) {
        Some(pinned) => Err(Inadmissible::Digest { found, pinned }),
        None => Ok(found),
    }
}

/// Checks that it is a component, as far as its first bytes tell.
pub(super) fn check(bytes: &[u8]) -> Result<(), Inadmissible> {
    if wasmtime::Engine::detect_precompiled(bytes).is_some() {
        return Err(Inadmissible::Precompiled);
    }
    if bytes.starts_with(&MODULE) {
        return Err(Inadmissible::CoreModule);
    }
    if !bytes.starts_with(&COMPONENT) {
        return Err(Inadmissible::NotWasm);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_told_apart_by_their_first_bytes() {
        assert!(matches!(check(&MODULE), Err(Inadmissible::CoreModule)));
        assert!(matches!(check(b"#!/bin/sh"), Err(Inadmissible::NotWasm)));
        assert!(check(&COMPONENT).is_ok());
    }

    #[test]
    fn size_is_bounded_on_both_sides() {
        let small = Limits { component_bytes: 4, ..Limits::default() };
        assert!(matches!(size_and_digest(b"", &small, None), Err(Inadmissible::Empty)));
        let large = size_and_digest(&COMPONENT, &small, None);
        assert!(matches!(large, Err(Inadmissible::TooLarge { most: 4 })));
    }

    #[test]
    fn a_pinned_digest_must_match() {
        let pinned = |digest| size_and_digest(&COMPONENT, &Limits::default(), Some(digest));
        assert!(pinned(Digest::of(&COMPONENT)).is_ok());
        assert!(matches!(pinned(Digest::of(&MODULE)), Err(Inadmissible::Digest { .. })));
    }
}
