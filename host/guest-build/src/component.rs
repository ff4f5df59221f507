//! Core modules into components, and what a component imports.

use wasmparser::{Parser, Payload};
use wit_component::ComponentEncoder;

use crate::Error;
use crate::adapt::preview1;

/// Turns a core module that carries its WIT world into a component.
///
/// Imports of `wasi_snapshot_preview1`, which C libraries bring along, are answered inside the component, as
/// [`adapt`](crate::adapt()) answers those of its successor.
pub fn componentize(core_wasm: &[u8]) -> Result<Vec<u8>, Error> {
    let failed = |why: &dyn std::fmt::Display| Error::Componentize(format!("{why:#}"));
    let answers = preview1::answers(core_wasm).map_err(|why| failed(&why))?;
    let mut encoder = ComponentEncoder::default();
    encoder.validate(true).module(core_wasm).map_err(|why| failed(&why))?;
    if let Some(answers) = answers {
        encoder.adapter(preview1::MODULE, &answers).map_err(|why| failed(&why))?;
    }
    encoder.encode().map_err(|why| failed(&why))
}

/// The names of what a component imports, in order.
#[expect(clippy::wildcard_enum_match_arm, reason = "the format's sections, of which few matter")]
pub fn imports(component: &[u8]) -> Result<Vec<String>, Error> {
    if !Parser::is_component(component) {
        return Err(unreadable(&"these bytes are no component"));
    }
    let mut names = Vec::new();
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(component) {
        match payload.map_err(|why| unreadable(&why))? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    names.push(import.map_err(|why| unreadable(&why))?.name.name.to_owned());
                }
            }
            // Everything else in a component says nothing about its imports.
            _ => {}
        }
    }
    Ok(names)
}

/// The component directly inside `component` that imports `wanted`.
#[expect(clippy::wildcard_enum_match_arm, reason = "the format's sections, of which few matter")]
pub(crate) fn nested<'a>(component: &'a [u8], wanted: &str) -> Result<Option<&'a [u8]>, Error> {
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(component) {
        match payload.map_err(|why| unreadable(&why))? {
            Payload::ComponentSection { unchecked_range, .. } => {
                let range = unchecked_range.start..unchecked_range.end;
                if depth == 0 {
                    let inside = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
                    let inside = inside.and_then(|(start, end)| component.get(start..end));
                    let inside = inside.ok_or_else(|| unreadable(&"it ends too soon"))?;
                    if imports(inside)?.iter().any(|import| import == wanted) {
                        return Ok(Some(inside));
                    }
                }
                depth += 1;
            }
            Payload::ModuleSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            // Nothing else contains components.
            _ => {}
        }
    }
    Ok(None)
}

fn unreadable(why: &dyn std::fmt::Display) -> Error {
    Error::Componentize(format!("read the component: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_module_is_refused() {
        let empty_module = b"\0asm\x01\0\0\0";
        // An empty module is a valid component of the empty world; its beginning and garbage are not.
        assert!(componentize(empty_module).is_ok());
        assert!(componentize(&empty_module[..4]).is_err());
        assert!(componentize(b"not wasm at all").is_err());
        assert!(imports(empty_module).is_err());
    }
}
