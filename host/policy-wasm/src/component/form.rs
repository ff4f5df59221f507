//! What can be told about a component without running it: size, digest, form, imports, kind.

use sha2::{Digest as _, Sha256};

use super::{Inadmissible, Kind};
use crate::abi::v0_1;
use crate::engine::Engine;
use crate::fault::words;
use crate::limits::Limits;

/// `\0asm`, then the version and layer of a component.
const COMPONENT: [u8; 8] = [0, b'a', b's', b'm', 0x0d, 0, 1, 0];
/// `\0asm`, then the version and layer of a core module.
const MODULE: [u8; 8] = [0, b'a', b's', b'm', 1, 0, 0, 0];

/// Checks size, digest and form; returns the digest.
pub(super) fn check(bytes: &[u8], limits: &Limits, pinned: Option<&str>) -> Result<String, Inadmissible> {
    if bytes.is_empty() {
        return Err(Inadmissible::Empty);
    }
    if bytes.len() > limits.component_bytes {
        return Err(Inadmissible::TooLarge { most: limits.component_bytes });
    }
    let found = hex(&Sha256::digest(bytes));
    if let Some(pinned) = pinned {
        let pinned = parse_digest(pinned)?;
        if pinned != found {
            return Err(Inadmissible::Digest { found, pinned });
        }
    }
    if wasmtime::Engine::detect_precompiled(bytes).is_some() {
        return Err(Inadmissible::Precompiled);
    }
    if bytes.starts_with(&MODULE) {
        return Err(Inadmissible::CoreModule);
    }
    if !bytes.starts_with(&COMPONENT) {
        return Err(Inadmissible::NotWasm);
    }
    Ok(found)
}

/// The one kind that the component exports, once its imports are found harmless.
pub(super) fn kind(engine: &Engine, compiled: &wasmtime::component::Component) -> Result<Kind, Inadmissible> {
    let shape = compiled.component_type();
    for (import, _) in shape.imports(engine.wasm()) {
        match Name::parse(import) {
            Some(name) if name.spoken() && matches!(name.interface, "types" | "log") => {}
            Some(_) | None => return Err(Inadmissible::ForeignImport { import: words(import) }),
        }
    }
    let mut found = None;
    for (export, _) in shape.exports(engine.wasm()) {
        // Exports beyond the contract are unreachable for us, so they do no harm.
        let Some(name) = Name::parse(export) else { continue };
        let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.as_str() == name.interface) else { continue };
        if !name.spoken() {
            return Err(Inadmissible::ForeignVersion { export: words(export) });
        }
        if let Some(first) = found.replace(kind) {
            return Err(Inadmissible::TwoKinds(first, kind));
        }
    }
    found.ok_or(Inadmissible::NoKind)
}

/// An interface of our package: `enid:strategy/<interface>@<major>.<minor>.<patch>`.
struct Name<'a> {
    interface: &'a str,
    minor: Option<(u64, u64)>,
}

impl<'a> Name<'a> {
    /// `None` for interfaces of other packages and for plain names.
    fn parse(name: &'a str) -> Option<Self> {
        let (package, rest) = name.split_once('/')?;
        if package != v0_1::PACKAGE {
            return None;
        }
        let (interface, version) = rest.split_once('@').unwrap_or((rest, ""));
        let mut numbers = version.split('.').map(|number| number.parse::<u64>().ok());
        let minor = numbers.next().flatten().zip(numbers.next().flatten());
        // A pre-release matches nothing: its name is only equal to itself.
        let plain = numbers.next().flatten().is_some() && numbers.next().is_none();
        Some(Self { interface, minor: minor.filter(|_| plain) })
    }

    /// Whether this host speaks its version.
    fn spoken(&self) -> bool {
        self.minor == Some(v0_1::MINOR)
    }
}

fn parse_digest(digest: &str) -> Result<String, Inadmissible> {
    let digits = digest.strip_prefix("sha256:").unwrap_or(digest).to_ascii_lowercase();
    if digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(digits)
    } else {
        Err(Inadmissible::BadDigest { digest: words(digest) })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_package_and_minor_version_is_spoken() {
        for (name, spoken) in [
            ("enid:strategy/log@0.1.0", true),
            ("enid:strategy/log@0.1.17", true),
            ("enid:strategy/log@0.2.0", false),
            ("enid:strategy/log@0.1.0-rc1", false),
            ("enid:strategy/log@0.1", false),
            ("enid:strategy/log", false),
        ] {
            assert_eq!(Name::parse(name).map(|name| name.spoken()), Some(spoken), "{name}");
        }
        assert!(Name::parse("wasi:cli/environment@0.1.0").is_none());
        assert!(Name::parse("run").is_none());
    }

    #[test]
    fn forms_are_told_apart_by_their_first_bytes() {
        let form = |bytes: &[u8]| check(bytes, &Limits::default(), None);
        assert!(matches!(form(b""), Err(Inadmissible::Empty)));
        assert!(matches!(form(&MODULE), Err(Inadmissible::CoreModule)));
        assert!(matches!(form(b"#!/bin/sh"), Err(Inadmissible::NotWasm)));
        assert!(form(&COMPONENT).is_ok());
        let small = Limits { component_bytes: 4, ..Limits::default() };
        assert!(matches!(check(&COMPONENT, &small, None), Err(Inadmissible::TooLarge { most: 4 })));
    }

    #[test]
    fn a_pinned_digest_must_match() {
        let digest = check(&COMPONENT, &Limits::default(), None).unwrap();
        let pinned = |pin: &str| check(&COMPONENT, &Limits::default(), Some(pin));
        assert!(pinned(&digest).is_ok());
        assert!(pinned(&format!("sha256:{}", digest.to_uppercase())).is_ok());
        assert!(matches!(pinned(&"0".repeat(64)), Err(Inadmissible::Digest { .. })));
        assert!(matches!(pinned("md5:1"), Err(Inadmissible::BadDigest { .. })));
    }
}
