//! How a component lies in a registry: the CNCF layout for Wasm artifacts, which `wkg` and `oras` read and write.
//!
//! An OCI image manifest with a configuration of type [`CONFIG_TYPE`] and exactly one layer of type
//! [`LAYER_TYPE`], the component as it is. The signature, when there is one, is the manifest's annotation
//! [`SIGNATURE_ANNOTATION`]: other tools carry it along without knowing it, and it cannot be taken from a manifest
//! whose digest is pinned.
//!
//! See <https://tag-runtime.cncf.io/wgs/wasm/deliverables/wasm-oci-artifact/>.

use std::collections::BTreeMap;

use enid_component_store::Digest;
use enid_component_store::signature::{MAX_SIGNATURE, check_form};
use enid_component_store::store::MAX_COMPONENT;
use serde::{Deserialize, Serialize};
use wasmparser::{Encoding, Parser, Payload};

use crate::error::RegistryError;

/// The media type of the manifest.
pub const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

/// The media type of the configuration, which says that the artifact is Wasm.
pub const CONFIG_TYPE: &str = "application/vnd.wasm.config.v0+json";

/// The media type of the component.
pub const LAYER_TYPE: &str = "application/wasm";

/// The annotation of the manifest that holds the text of the component's `.minisig` file.
pub const SIGNATURE_ANNOTATION: &str = "io.enid.minisig";

/// The annotation of the layer that tells `oras pull` which file to write.
const TITLE_ANNOTATION: &str = "org.opencontainers.image.title";

/// Bytes of a manifest, or of a configuration; ours have about a thousand.
pub const MAX_MANIFEST: usize = 1 << 20;

/// The last second of the year 9999, which is the last that RFC 3339 can write.
const LAST_SECOND: u64 = 253_402_300_799;

/// What is pushed besides the component itself.
#[derive(Clone, Debug)]
pub(crate) struct Packed {
    pub(crate) component_digest: Digest,
    pub(crate) config: Vec<u8>,
    pub(crate) config_digest: Digest,
    pub(crate) manifest: Vec<u8>,
    pub(crate) manifest_digest: Digest,
}

/// What a manifest says about its component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Announced {
    pub(crate) component_digest: Digest,
    pub(crate) size: usize,
    pub(crate) signature: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u32,
    media_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
    config: Descriptor,
    layers: Vec<Descriptor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<BTreeMap<String, String>>,
}

/// What is about a blob in a manifest. The specification lets a `urls` list stand here too: it is not ours to
/// follow.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    // Text, because what is refused for its type may well have another kind of digest.
    digest: String,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    created: String,
    architecture: &'static str,
    os: &'static str,
    layer_digests: [Digest; 1],
    component: Names,
}

/// What a component's outermost level imports and exports.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Names {
    exports: Vec<String>,
    imports: Vec<String>,
}

/// Lays a component out. The same arguments give the same digests.
pub(crate) fn pack(
    component: &[u8],
    title: &str,
    signature: Option<&str>,
    created_at_secs: u64,
) -> Result<Packed, RegistryError> {
    if component.len() > MAX_COMPONENT {
        let size = component.len() as u64;
        return Err(RegistryError::TooLarge { what: "component", size, limit: MAX_COMPONENT });
    }
    if let Some(signature) = signature {
        check_form(signature)?;
    }
    let component_digest = Digest::of(component);
    let config = Config {
        created: rfc3339(created_at_secs),
        architecture: "wasm",
        os: "wasip2",
        layer_digests: [component_digest],
        component: names(component)?,
    };
    let config = to_json("configuration", &config)?;
    let config_digest = Digest::of(&config);
    let one = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(MANIFEST_TYPE.to_owned()),
        artifact_type: Some(CONFIG_TYPE.to_owned()),
        config: Descriptor {
            media_type: CONFIG_TYPE.to_owned(),
            digest: config_digest.to_string(),
            size: config.len() as u64,
            annotations: None,
        },
        layers: vec![Descriptor {
            media_type: LAYER_TYPE.to_owned(),
            digest: component_digest.to_string(),
            size: component.len() as u64,
            annotations: Some(one(TITLE_ANNOTATION, title)),
        }],
        annotations: signature.map(|signature| one(SIGNATURE_ANNOTATION, signature)),
    };
    let manifest = to_json("manifest", &manifest)?;
    let manifest_digest = Digest::of(&manifest);
    Ok(Packed { component_digest, config, config_digest, manifest, manifest_digest })
}

/// Reads what a manifest announces, and refuses all but one component in this layout.
pub(crate) fn read(manifest: &[u8]) -> Result<Announced, RegistryError> {
    let manifest: Manifest =
        serde_json::from_slice(manifest).map_err(|source| RegistryError::Manifest { source })?;
    let expect = |what, found: &str, expected: &'static str| {
        if found == expected {
            return Ok(());
        }
        Err(RegistryError::WrongType { what, found: found.chars().take(200).collect(), expected })
    };
    expect("manifest", manifest.media_type.as_deref().unwrap_or(MANIFEST_TYPE), MANIFEST_TYPE)?;
    expect("configuration", &manifest.config.media_type, CONFIG_TYPE)?;
    let [layer] = &manifest.layers[..] else {
        return Err(RegistryError::Layers { found: manifest.layers.len() });
    };
    expect("layer", &layer.media_type, LAYER_TYPE)?;
    let component_digest = layer.digest.parse()?;
    let size = usize::try_from(layer.size).ok().filter(|&size| size <= MAX_COMPONENT);
    let size =
        size.ok_or(RegistryError::TooLarge { what: "component", size: layer.size, limit: MAX_COMPONENT })?;
    let signature = manifest.annotations.and_then(|mut all| all.remove(SIGNATURE_ANNOTATION));
    if let Some(signature) = signature.as_ref().filter(|signature| signature.len() > MAX_SIGNATURE) {
        let size = signature.len() as u64;
        return Err(RegistryError::TooLarge { what: "signature", size, limit: MAX_SIGNATURE });
    }
    Ok(Announced { component_digest, size, signature })
}

fn to_json<T: Serialize>(what: &'static str, value: &T) -> Result<Vec<u8>, RegistryError> {
    let json = serde_json::to_vec(value).map_err(|source| RegistryError::Manifest { source })?;
    if json.len() > MAX_MANIFEST {
        return Err(RegistryError::TooLarge { what, size: json.len() as u64, limit: MAX_MANIFEST });
    }
    Ok(json)
}

/// What a component's outermost level imports and exports; refuses what is not a component.
fn names(component: &[u8]) -> Result<Names, RegistryError> {
    let invalid = |e: wasmparser::BinaryReaderError| RegistryError::NotAComponent { why: e.to_string() };
    let mut names = Names::default();
    // How deep we are in components and modules within the component.
    let mut depth = 0u32;
    for payload in Parser::new(0).parse_all(component) {
        let payload = payload.map_err(invalid)?;
        if let Payload::Version { encoding: Encoding::Module, .. } = payload
            && depth == 0
        {
            let why = "it is a core module: `wasm-tools component new`, or `enid strategy build`, makes one"
                .to_owned();
            return Err(RegistryError::NotAComponent { why });
        }
        if matches!(payload, Payload::ModuleSection { .. } | Payload::ComponentSection { .. }) {
            depth += 1;
        } else if matches!(payload, Payload::End(_)) {
            depth = depth.saturating_sub(1);
        } else if depth == 0 {
            if let Payload::ComponentImportSection(section) = payload {
                for import in section {
                    names.imports.push(import.map_err(invalid)?.name.name.to_owned());
                }
            } else if let Payload::ComponentExportSection(section) = payload {
                for export in section {
                    names.exports.push(export.map_err(invalid)?.name.name.to_owned());
                }
            }
        }
    }
    Ok(names)
}

/// A time as RFC 3339 writes it, in UTC.
fn rfc3339(secs: u64) -> String {
    let secs = secs.min(LAST_SECOND);
    let (days, rest) = (secs / 86_400, secs % 86_400);
    // Days since 1 March of the year 0: leap days come last, and four centuries are always as long.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn component() -> Vec<u8> {
        wat::parse_str(
            r#"(component
                (import "enid:strategy/log@0.1.0" (instance))
                (component (import "inner:not/shown" (func)) (export "x" (func 0)))
                (core module (memory (export "hidden") 1))
                (import "plain" (func $f))
                (export "enid:strategy/warm-pool@0.1.0" (func $f)))"#,
        )
        .unwrap()
    }

    fn manifest() -> Value {
        serde_json::from_slice(&pack(&component(), "a.wasm", None, 0).unwrap().manifest).unwrap()
    }

    fn read_json(manifest: &Value) -> Result<Announced, RegistryError> {
        read(&serde_json::to_vec(manifest).unwrap())
    }

    #[test]
    fn what_is_packed_is_read() {
        let component = component();
        let pair = enid_component_store::KeyPair::generate().unwrap();
        let signature = pair.secret.sign(&component, "x").unwrap();
        let packed = pack(&component, "a.wasm", Some(&signature), 0).unwrap();
        assert_eq!(Digest::of(&packed.manifest), packed.manifest_digest);
        let announced = read(&packed.manifest).unwrap();
        let expected = Announced {
            component_digest: Digest::of(&component),
            size: component.len(),
            signature: Some(signature),
        };
        assert_eq!(announced, expected);
    }

    #[test]
    fn the_configuration_names_what_the_outermost_level_imports_and_exports() {
        let component = component();
        let packed = pack(&component, "a.wasm", None, 1_700_000_000).unwrap();
        let config: Value = serde_json::from_slice(&packed.config).unwrap();
        let expected = json!({
            "created": "2023-11-14T22:13:20Z",
            "architecture": "wasm",
            "os": "wasip2",
            "layerDigests": [Digest::of(&component).to_string()],
            "component": {
                "exports": ["enid:strategy/warm-pool@0.1.0"],
                "imports": ["enid:strategy/log@0.1.0", "plain"],
            },
        });
        assert_eq!(config, expected);
    }

    #[test]
    fn only_components_are_packed() {
        let module = wat::parse_str("(module)").unwrap();
        let truncated = &component()[..40];
        for bytes in [&b""[..], b"hello", b"\0asm", &module, truncated] {
            let refused = pack(bytes, "a.wasm", None, 0);
            assert!(matches!(refused, Err(RegistryError::NotAComponent { .. })), "{refused:?}");
        }
        let malformed = pack(&component(), "a.wasm", Some("no signature"), 0);
        assert!(matches!(malformed, Err(RegistryError::Signature(_))));
    }

    #[test]
    fn a_manifest_without_its_own_type_is_read() {
        let mut manifest = manifest();
        manifest.as_object_mut().unwrap().remove("mediaType");
        manifest["artifactType"] = json!("something/else");
        manifest["unknown"] = json!(1);
        assert!(read_json(&manifest).is_ok());
    }

    #[test]
    fn other_types_are_refused() {
        let set = |path: &str, value: Value| {
            let mut manifest = manifest();
            *manifest.pointer_mut(path).unwrap() = value;
            read_json(&manifest)
        };
        let index = json!("application/vnd.oci.image.index.v1+json");
        assert!(matches!(set("/mediaType", index), Err(RegistryError::WrongType { what: "manifest", .. })));
        let empty = json!("application/vnd.oci.empty.v1+json");
        assert!(matches!(
            set("/config/mediaType", empty),
            Err(RegistryError::WrongType { what: "configuration", .. })
        ));
        let tar = json!("application/vnd.oci.image.layer.v1.tar+gzip");
        assert!(matches!(
            set("/layers/0/mediaType", tar),
            Err(RegistryError::WrongType { what: "layer", .. })
        ));
        let layer = manifest()["layers"][0].clone();
        for layers in [json!([]), json!([layer, layer])] {
            assert!(matches!(set("/layers", layers), Err(RegistryError::Layers { .. })));
        }
        assert!(matches!(set("/layers/0/digest", json!("sha512:00")), Err(RegistryError::Digest(_))));
        for size in [json!(MAX_COMPONENT + 1), json!(u64::MAX)] {
            assert!(matches!(set("/layers/0/size", size), Err(RegistryError::TooLarge { .. })));
        }
        for size in [json!(-1), json!("1"), Value::Null] {
            assert!(matches!(set("/layers/0/size", size), Err(RegistryError::Manifest { .. })));
        }
        let mut long = manifest();
        long["annotations"] = json!({ SIGNATURE_ANNOTATION: "x".repeat(MAX_SIGNATURE + 1) });
        assert!(matches!(read_json(&long), Err(RegistryError::TooLarge { what: "signature", .. })));
    }

    #[test]
    fn times_are_written_in_utc() {
        for (secs, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (68_169_600, "1972-02-29T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (LAST_SECOND, "9999-12-31T23:59:59Z"),
            (u64::MAX, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(secs), text);
        }
    }
}
