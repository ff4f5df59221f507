//! Push and pull against a registry that is not ours, as Debian packages it.

mod server;

use std::fs;
use std::net::TcpListener;

use anyhow::{Context, Result};
use enid_component_registry::layout::{MANIFEST_TYPE, SIGNATURE_ANNOTATION};
use enid_component_registry::{
    Access, Artifact, Intake, Login, Pulled, Pushed, Reference, RegistryError, Signatures, Transport,
    pull_blocking, push_blocking,
};
use enid_component_store::{Digest, KeyPair, SignatureError, Store, StoreError, TrustedKeys};
use serde_json::{Value, json};
use server::{Open, PASSWORD, Server, USER, descriptor};
use tempfile::TempDir;

const NOW: u64 = 1_700_000_000;

/// A registry, and a store to pull into.
struct Bench {
    server: Server,
    directory: TempDir,
    store: Store,
    access: Access,
}

impl Bench {
    fn new() -> Result<Self> {
        Self::with(Open::ToAll)
    }

    fn with(open: Open) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let store = Store::open(directory.path().join("components"))?;
        Ok(Self { server: Server::start(open)?, directory, store, access: Access::default() })
    }

    fn reference(&self, rest: &str) -> Result<Reference> {
        Ok(Reference::parse(&format!("oci://{}/{rest}", self.server.address))?)
    }

    fn push(&self, rest: &str, component: &[u8], signature: Option<&str>) -> Result<Pushed> {
        let artifact = Artifact { component, signature, created_at_secs: NOW };
        Ok(push_blocking(&self.reference(rest)?, &artifact, &self.access)?)
    }

    fn pull(&self, reference: &Reference) -> Result<Pulled, RegistryError> {
        self.pull_signed(reference, Signatures::NotAsked)
    }

    fn pull_signed(
        &self,
        reference: &Reference,
        signatures: Signatures<'_>,
    ) -> Result<Pulled, RegistryError> {
        pull_blocking(reference, &Intake { store: &self.store, signatures, now_secs: NOW }, &self.access)
    }

    /// Pulls an artifact that was changed while it was laid out.
    fn pull_changed(&self, change: impl Fn(&mut Value)) -> Result<Result<Pulled, RegistryError>> {
        let manifest = self.server.put_artifact("changed", &component("x")?, change)?;
        Ok(self.pull(&self.reference(&format!("changed@{manifest}"))?))
    }

    fn assert_nothing_stored(&self) -> Result<()> {
        assert_eq!(self.store.list()?, []);
        assert_eq!(fs::read_dir(self.directory.path())?.count(), 0);
        Ok(())
    }
}

/// A component that differs by `name`.
fn component(name: &str) -> Result<Vec<u8>> {
    let text =
        format!(r#"(component (import "enid:strategy/log@0.1.0" (instance)) (import "{name}" (func)))"#);
    Ok(wat::parse_str(text)?)
}

#[test]
fn what_is_pushed_is_pulled() -> Result<()> {
    let bench = Bench::new()?;
    let component = component("x")?;
    let pushed = bench.push("team/batched:1.2", &component, None)?;
    assert_eq!(pushed.component_digest, Digest::of(&component));
    assert_eq!(pushed.reference.digest(), Some(pushed.manifest_digest));
    let pulled = bench.pull(&pushed.reference)?;
    let expected = Pulled {
        manifest_digest: pushed.manifest_digest,
        component_digest: pushed.component_digest,
        size: component.len(),
        signed: false,
        verified: None,
    };
    assert_eq!(pulled, expected);
    assert_eq!(bench.store.get(&pulled.component_digest)?.bytes, component);
    let origin = bench.store.list()?.remove(0).origin.context("no origin")?;
    assert_eq!((origin.name.as_str(), origin.source), ("batched:1.2", pushed.reference.to_string()));
    assert_eq!(origin.stored_at_secs, NOW);
    Ok(())
}

#[test]
fn a_large_component_goes_in_pieces_and_comes_whole() -> Result<()> {
    let bench = Bench::new()?;
    // A custom section of 20 MB: id 0, its length in LEB128, a name of one byte, and zeros.
    let payload = 20 << 20;
    let mut component = component("x")?;
    let length = payload + 2;
    component.push(0);
    component.extend((0..4).map(|at| (length >> (7 * at)) as u8 & 0x7f | if at < 3 { 0x80 } else { 0 }));
    component.extend([1, b'z']);
    component.resize(component.len() + payload, 0);
    let pushed = bench.push("large:1", &component, None)?;
    bench.pull(&pushed.reference)?;
    assert!(bench.store.get(&pushed.component_digest)?.bytes == component);
    Ok(())
}

/// What another tool sees, field by field.
#[test]
fn the_layout_is_that_of_wasm_artifacts() -> Result<()> {
    let bench = Bench::new()?;
    let component = component("x")?;
    let signature = KeyPair::generate()?.secret.sign(&component, "batched 1.2")?;
    let pushed = bench.push("team/batched:1.2", &component, Some(&signature))?;

    let answer = bench.server.request("GET", "/v2/team/batched/manifests/1.2", "", b"")?;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some(MANIFEST_TYPE));
    assert_eq!(Digest::of(&answer.body), pushed.manifest_digest);
    let manifest: Value = serde_json::from_slice(&answer.body)?;
    let config_digest = manifest["config"]["digest"].as_str().context("no configuration")?.to_owned();
    let answer = bench.server.request("GET", &format!("/v2/team/batched/blobs/{config_digest}"), "", b"")?;
    assert_eq!(Digest::of(&answer.body).to_string(), config_digest);
    let expected = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.wasm.config.v0+json",
        "config": {
            "mediaType": "application/vnd.wasm.config.v0+json",
            "digest": config_digest,
            "size": answer.body.len(),
        },
        "layers": [{
            "mediaType": "application/wasm",
            "digest": Digest::of(&component).to_string(),
            "size": component.len(),
            "annotations": { "org.opencontainers.image.title": "batched.wasm" },
        }],
        "annotations": { "io.enid.minisig": signature },
    });
    assert_eq!(manifest, expected);
    let config: Value = serde_json::from_slice(&answer.body)?;
    let expected = json!({
        "created": "2023-11-14T22:13:20Z",
        "architecture": "wasm",
        "os": "wasip2",
        "layerDigests": [Digest::of(&component).to_string()],
        "component": { "exports": [], "imports": ["enid:strategy/log@0.1.0", "x"] },
    });
    assert_eq!(config, expected);
    let path = format!("/v2/team/batched/blobs/{}", Digest::of(&component));
    assert_eq!(bench.server.request("GET", &path, "", b"")?.body, component);
    Ok(())
}

#[test]
fn a_push_without_a_tag_leaves_none() -> Result<()> {
    let bench = Bench::new()?;
    let component = component("x")?;
    let tagged = bench.push("a:1", &component, None)?;
    // The same component at the same time is the same manifest, so its digest can be said beforehand.
    let pinned = format!("b@{}", tagged.manifest_digest);
    // The layer's title is the repository's name.
    let refused = bench.push(&pinned, &component, None);
    let refused = refused.err().and_then(|e| e.downcast::<RegistryError>().ok());
    let Some(RegistryError::WrongManifest { expected, made }) = refused else { panic!("{refused:?}") };
    assert_eq!(expected, tagged.manifest_digest);
    assert_eq!(bench.server.request("GET", "/v2/b/tags/list", "", b"")?.status, 404);

    let pushed = bench.push(&format!("b@{made}"), &component, None)?;
    assert_eq!(pushed.manifest_digest, made);
    let tags = bench.server.request("GET", "/v2/b/tags/list", "", b"")?;
    assert!(!String::from_utf8_lossy(&tags.body).contains("latest"), "{}", tags.head);
    bench.pull(&pushed.reference)?;
    Ok(())
}

#[test]
fn signatures_travel_along_and_are_asked_for() -> Result<()> {
    let bench = Bench::new()?;
    let component = component("x")?;
    let (ours, theirs) = (KeyPair::generate()?, KeyPair::generate()?);
    let keys = TrustedKeys::parse(&[format!("platform={}", ours.public)])?;
    let required = Signatures::RequiredFrom(&keys);

    let unsigned = bench.push("batched:1", &component, None)?;
    let refused = bench.pull_signed(&unsigned.reference, required);
    assert!(matches!(refused, Err(RegistryError::Signature(SignatureError::Unsigned))), "{refused:?}");
    let by_them = theirs.secret.sign(&component, "x")?;
    let foreign = bench.push("batched:2", &component, Some(&by_them))?;
    let refused = bench.pull_signed(&foreign.reference, required);
    assert!(
        matches!(refused, Err(RegistryError::Signature(SignatureError::UnknownKey { .. }))),
        "{refused:?}"
    );
    // One of our signatures, of something else.
    let of_other = ours.secret.sign(b"something else", "x")?;
    let mismatched = bench.push("batched:3", &component, Some(&of_other))?;
    let refused = bench.pull_signed(&mismatched.reference, required);
    assert!(
        matches!(refused, Err(RegistryError::Signature(SignatureError::BadSignature { .. }))),
        "{refused:?}"
    );
    bench.assert_nothing_stored()?;

    let signature = ours.secret.sign(&component, "batched 4")?;
    let signed = bench.push("batched:4", &component, Some(&signature))?;
    let pulled = bench.pull_signed(&signed.reference, required)?;
    let verified = pulled.verified.context("not verified")?;
    assert_eq!(
        (verified.key.to_string().as_str(), verified.trusted_comment.as_str()),
        ("platform", "batched 4")
    );
    let stored = bench.store.get(&pulled.component_digest)?;
    assert_eq!(stored.signature, Some(signature));
    keys.verify(&stored.bytes, stored.signature.as_deref())?;
    Ok(())
}

#[test]
fn tampered_components_are_refused() -> Result<()> {
    let bench = Bench::new()?;
    let component = component("x")?;
    let pushed = bench.push("batched:1", &component, None)?;
    let path = bench.server.blob_path(pushed.component_digest);
    let mut changed = component.clone();
    *changed.last_mut().context("empty")? ^= 1;
    fs::write(&path, &changed)?;
    match bench.pull(&pushed.reference) {
        Err(RegistryError::WrongDigest { what: "component", expected, found, .. }) => {
            assert_eq!((expected, found), (pushed.component_digest, Digest::of(&changed).to_string()));
        }
        other => panic!("{other:?}"),
    }
    for changed in [&component[..component.len() - 1], &[&component[..], b"more"].concat()] {
        fs::write(&path, changed)?;
        let refused = bench.pull(&pushed.reference);
        assert!(matches!(refused, Err(RegistryError::WrongSize { .. })), "{refused:?}");
    }
    bench.assert_nothing_stored()
}

#[test]
fn tampered_manifests_are_refused() -> Result<()> {
    let bench = Bench::new()?;
    let pushed = bench.push("batched:1", &component("x")?, None)?;
    let other = bench.push("batched:2", &component("y")?, None)?;
    let path = bench.server.blob_path(pushed.manifest_digest);
    fs::copy(bench.server.blob_path(other.manifest_digest), &path)?;
    match bench.pull(&pushed.reference) {
        Err(RegistryError::WrongDigest { what: "manifest", expected, found, .. }) => {
            assert_eq!((expected, found), (pushed.manifest_digest, other.manifest_digest.to_string()));
        }
        other => panic!("{other:?}"),
    }
    bench.assert_nothing_stored()
}

#[test]
fn a_moved_tag_changes_nothing_for_who_pinned() -> Result<()> {
    let bench = Bench::new()?;
    let (old, new) = (component("old")?, component("new")?);
    let first = bench.push("batched:1", &old, None)?;
    let second = bench.push("batched:1", &new, None)?;
    assert_ne!(first.manifest_digest, second.manifest_digest);
    let pulled = bench.pull(&first.reference)?;
    assert_eq!(bench.store.get(&pulled.component_digest)?.bytes, old);
    Ok(())
}

#[test]
fn a_tag_alone_is_not_pulled() -> Result<()> {
    let bench = Bench::new()?;
    bench.push("batched:1", &component("x")?, None)?;
    let refused = bench.pull(&bench.reference("batched:1")?);
    assert!(matches!(refused, Err(RegistryError::Unpinned { .. })), "{refused:?}");
    Ok(())
}

#[test]
fn other_layouts_are_refused() -> Result<()> {
    let bench = Bench::new()?;
    // Unchanged it is one that we accept, though another tool wrote it.
    bench.pull_changed(|_| {})??;
    let held = bench.store.list()?;

    let two = bench.pull_changed(|manifest| {
        let layer = manifest["layers"][0].clone();
        manifest["layers"] = json!([layer, layer]);
    })?;
    assert!(matches!(two, Err(RegistryError::Layers { found: 2 })), "{two:?}");
    let config = bench.pull_changed(|manifest| {
        manifest["config"]["mediaType"] = json!("application/vnd.oci.image.config.v1+json");
    })?;
    assert!(matches!(config, Err(RegistryError::WrongType { what: "configuration", .. })), "{config:?}");
    let layer = bench.pull_changed(|manifest| {
        manifest["layers"][0]["mediaType"] = json!("application/vnd.oci.image.layer.v1.tar");
    })?;
    assert!(matches!(layer, Err(RegistryError::WrongType { what: "layer", .. })), "{layer:?}");
    let size = bench.pull_changed(|manifest| manifest["layers"][0]["size"] = json!(8))?;
    assert!(matches!(size, Err(RegistryError::WrongSize { .. })), "{size:?}");
    let long = bench.pull_changed(|manifest| {
        manifest["annotations"] = json!({ "filler": "x".repeat(1 << 20) });
    })?;
    assert!(matches!(long, Err(RegistryError::TooLarge { what: "manifest", .. })), "{long:?}");
    let signature = bench.pull_changed(|manifest| {
        manifest["annotations"] = json!({ SIGNATURE_ANNOTATION: "x".repeat(5000) });
    })?;
    assert!(matches!(signature, Err(RegistryError::TooLarge { what: "signature", .. })), "{signature:?}");
    assert_eq!(bench.store.list()?, held);
    Ok(())
}

#[test]
fn an_index_of_platforms_is_not_searched() -> Result<()> {
    let bench = Bench::new()?;
    let component = component("x")?;
    let manifest = bench.server.put_artifact("batched", &component, |_| {})?;
    let size = fs::metadata(bench.server.blob_path(manifest))?.len();
    let index_type = "application/vnd.oci.image.index.v1+json";
    let mut entry = descriptor(MANIFEST_TYPE, manifest, usize::try_from(size)?);
    entry["platform"] = json!({ "architecture": "amd64", "os": "linux" });
    let index = json!({ "schemaVersion": 2, "mediaType": index_type, "manifests": [entry] }).to_string();
    let index = bench.server.put_manifest("batched", "index", index_type, index.as_bytes())?;
    let refused = bench.pull(&bench.reference(&format!("batched@{index}"))?);
    assert!(refused.is_err(), "{refused:?}");
    bench.assert_nothing_stored()
}

#[test]
fn what_is_not_there_is_not_found() -> Result<()> {
    let bench = Bench::new()?;
    let pushed = bench.push("batched:1", &component("x")?, None)?;
    let nothing = Digest::of(b"nothing");
    for place in [format!("batched@{nothing}"), format!("unknown@{nothing}")] {
        let refused = bench.pull(&bench.reference(&place)?);
        assert!(matches!(refused, Err(RegistryError::NotFound { .. })), "{refused:?}");
    }
    fs::remove_file(bench.server.blob_path(pushed.component_digest))?;
    let refused = bench.pull(&pushed.reference);
    assert!(matches!(refused, Err(RegistryError::NotFound { .. })), "{refused:?}");
    bench.assert_nothing_stored()
}

#[test]
fn a_registry_that_is_not_there_is_unreachable() -> Result<()> {
    let mut bench = Bench::new()?;
    // A port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let text = format!("oci://127.0.0.1:{port}/batched@{}", Digest::of(b"x"));
    let refused = bench.pull(&Reference::parse(&text)?);
    assert!(matches!(refused, Err(RegistryError::Unreachable { .. })), "{refused:?}");

    // One that speaks only HTTP, to somebody who insists on HTTPS.
    let pushed = bench.push("batched:1", &component("x")?, None)?;
    bench.access.transport = Transport::Https;
    let refused = bench.pull(&pushed.reference);
    assert!(matches!(refused, Err(RegistryError::Unreachable { .. })), "{refused:?}");
    bench.assert_nothing_stored()
}

#[test]
fn registries_with_passwords_want_the_right_one() -> Result<()> {
    let mut bench = Bench::with(Open::ToAnn)?;
    let component = component("x")?;
    let artifact = Artifact { component: &component, signature: None, created_at_secs: NOW };
    let reference = bench.reference("batched:1")?;
    let wrong = Login::Password { user: USER.to_owned(), password: "guess".to_owned() };
    for login in [Login::Anonymous, wrong.clone()] {
        bench.access.login = login;
        let refused = push_blocking(&reference, &artifact, &bench.access);
        assert!(matches!(refused, Err(RegistryError::Denied { .. })), "{refused:?}");
    }
    bench.access.login = Login::Password { user: USER.to_owned(), password: PASSWORD.to_owned() };
    let pushed = bench.push("batched:1", &component, None)?;
    bench.access.login = wrong;
    let refused = bench.pull(&pushed.reference);
    assert!(matches!(refused, Err(RegistryError::Denied { .. })), "{refused:?}");
    bench.assert_nothing_stored()?;

    // As `docker login` leaves it.
    let file = tempfile::NamedTempFile::new()?;
    let logins = json!({ "auths": { &bench.server.address: { "auth": "YW5uOmxldCBtZSBpbg==" } } });
    fs::write(file.path(), logins.to_string())?;
    bench.access.login = Login::from_file(file.path(), pushed.reference.registry())?;
    bench.pull(&pushed.reference)?;
    Ok(())
}

#[test]
fn a_store_that_refuses_fails_the_pull() -> Result<()> {
    let bench = Bench::new()?;
    let pushed = bench.push("batched:1", &component("x")?, None)?;
    let root = bench.directory.path().join("components");
    fs::create_dir(&root)?;
    fs::write(root.join("index.json"), "{")?;
    let refused = bench.pull(&pushed.reference);
    assert!(matches!(refused, Err(RegistryError::Store(StoreError::Index { .. }))), "{refused:?}");
    assert!(!bench.store.path_of(&pushed.component_digest).exists());
    Ok(())
}
