//! What a component imports and exports, read from its bytes without running it.

use enid_core::kind::Kind;
use wasmparser::{Parser, Payload};

/// Where our kinds are exported, before the version.
const PACKAGE: &str = "enid:strategy/";
/// Names of one list that are kept; a component that has more is no strategy.
const MAX_NAMES: usize = 256;

/// The outside of a component.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) imports: Vec<String>,
    pub(crate) exports: Vec<String>,
}

impl Interface {
    /// `None` when these bytes are no valid component.
    pub(crate) fn of(component: &[u8]) -> Option<Self> {
        if !Parser::is_component(component) {
            return None;
        }
        let mut interface = Self::default();
        let mut depth = 0_u32;
        for payload in Parser::new(0).parse_all(component) {
            let payload = payload.ok()?;
            if matches!(payload, Payload::ModuleSection { .. } | Payload::ComponentSection { .. }) {
                depth += 1;
            } else if matches!(payload, Payload::End(_)) {
                depth = depth.saturating_sub(1);
            } else if depth > 0 {
                continue;
            } else if let Payload::ComponentImportSection(section) = payload {
                for import in section {
                    keep(&mut interface.imports, import.ok()?.name.name);
                }
            } else if let Payload::ComponentExportSection(section) = payload {
                for export in section {
                    keep(&mut interface.exports, export.ok()?.name.name);
                }
            }
        }
        Some(interface)
    }

    /// The kind of strategy that its exports promise, and the version of the contract.
    pub(crate) fn kind(&self) -> Option<(Kind, &str)> {
        self.exports.iter().find_map(|export| {
            let (name, version) = export.strip_prefix(PACKAGE)?.split_once('@')?;
            Some((name.parse().ok()?, version))
        })
    }
}

fn keep(names: &mut Vec<String>, name: &str) {
    if names.len() < MAX_NAMES {
        names.push(enid_core::admission::printable(name, 256));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_and_exports_of_the_outermost_component_are_listed() {
        let text = r#"(component
            (import "enid:strategy/log@0.1.0" (instance $log))
            (component $inner (import "wasi:cli/exit@0.2.0" (instance)))
            (export "enid:strategy/max-pods@0.1.7" (instance $log)))"#;
        let interface = Interface::of(&wat::parse_str(text).unwrap()).unwrap();
        assert_eq!(interface.imports, ["enid:strategy/log@0.1.0"]);
        assert_eq!(interface.kind(), Some((Kind::MaxPods, "0.1.7")));
    }

    #[test]
    fn what_is_no_component_has_no_interface() {
        for bytes in [&b""[..], b"(component)", b"\0asm\x01\0\0\0"] {
            assert_eq!(Interface::of(bytes), None);
        }
        let mut broken = wat::parse_str("(component (core module))").unwrap();
        broken.truncate(broken.len() - 1);
        assert_eq!(Interface::of(&broken), None);
    }
}
