//! Why a component could not be pushed or pulled.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use enid_component_store::{Digest, NotADigest, SignatureError, StoreError};
use oci_client::errors::OciDistributionError;

/// A push or pull that did not happen. Nothing was stored.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// A text that was to be a reference is none.
    #[error("{given:?} is not a reference: {why}")]
    BadReference {
        /// The text, cut when it is long.
        given: String,
        /// What is wrong, and what would be right.
        why: String,
    },
    /// The connection broke in the middle.
    #[error("{attempt} {from}")]
    Broken {
        /// What was attempted.
        attempt: &'static str,
        /// With which registry.
        from: String,
        /// How it broke.
        source: io::Error,
    },
    /// The registry wants to know who we are, or does not let us.
    #[error("{registry} does not allow to {attempt} {repository}: log in, or ask for the right to")]
    Denied {
        /// The registry.
        registry: String,
        /// The repository in it.
        repository: String,
        /// What was attempted.
        attempt: &'static str,
        /// The registry's answer.
        source: Box<OciDistributionError>,
    },
    /// A manifest names its layer by something else than SHA-256.
    #[error("the manifest's layer")]
    Digest(#[from] NotADigest),
    /// A manifest has not exactly one layer.
    #[error("the manifest has {found} layers, and a component is exactly one")]
    Layers {
        /// How many it has.
        found: usize,
    },
    /// A file of logins holds none that can be used.
    #[error("{}: {why}", .path.display())]
    Login {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A file of logins cannot be read.
    #[error("read logins from {}", .path.display())]
    LoginFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A manifest is not what one looks like.
    #[error("read the manifest")]
    Manifest {
        /// Why.
        source: serde_json::Error,
    },
    /// Bytes that were to be pushed are no component.
    #[error("only components are pushed: {why}")]
    NotAComponent {
        /// What they are instead.
        why: String,
    },
    /// The registry has no such repository, or not this in it.
    #[error("{attempt} {reference}: the registry has no such thing")]
    NotFound {
        /// What was attempted.
        attempt: &'static str,
        /// Where.
        reference: String,
    },
    /// The registry gave another answer.
    #[error("{attempt} {reference}")]
    Refused {
        /// What was attempted.
        attempt: &'static str,
        /// Where.
        reference: String,
        /// Its answer.
        source: Box<OciDistributionError>,
    },
    /// Threads or descriptors ran out.
    #[error("start to talk to a registry")]
    Runtime {
        /// Why.
        source: io::Error,
    },
    /// The component's signature does not count.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The registry took too long.
    #[error("{attempt} {reference} within {} s", .limit.as_secs())]
    TimedOut {
        /// What was attempted.
        attempt: &'static str,
        /// Where.
        reference: String,
        /// How long it may take.
        limit: Duration,
    },
    /// Something exceeds its bound.
    #[error("the {what} has {size} bytes, and at most {limit} are allowed")]
    TooLarge {
        /// What it is.
        what: &'static str,
        /// Its size, or what it is said to be.
        size: u64,
        /// The bound.
        limit: usize,
    },
    /// A pull that does not say which manifest is meant.
    #[error(
        "{reference} does not say which manifest is meant: add its @sha256:… digest, which a push prints"
    )]
    Unpinned {
        /// The reference.
        reference: String,
    },
    /// No connection came about.
    #[error("reach the registry {registry}")]
    Unreachable {
        /// Which.
        registry: String,
        /// Why.
        source: Box<OciDistributionError>,
    },
    /// The registry gave other bytes than were asked for.
    #[error("the {what} from {registry} is {found} and not {expected}: it was tampered with or damaged")]
    WrongDigest {
        /// Manifest or component.
        what: &'static str,
        /// Whose bytes they are.
        registry: String,
        /// What was asked for.
        expected: Digest,
        /// What came.
        found: String,
    },
    /// A push with a digest makes another manifest.
    #[error("what would be pushed is {made} and not {expected}, as the reference says")]
    WrongManifest {
        /// The digest in the reference.
        expected: Digest,
        /// That of the manifest.
        made: Digest,
    },
    /// The registry gave more or fewer bytes than the manifest announces.
    #[error("the component from {registry} has not {announced} bytes, as the manifest says")]
    WrongSize {
        /// Whose bytes they are.
        registry: String,
        /// The size by the manifest.
        announced: usize,
    },
    /// Something is not of the type that it has in this layout.
    #[error("the {what} has type {found:?}, and a component's has {expected}")]
    WrongType {
        /// Manifest, configuration or layer.
        what: &'static str,
        /// Its type, cut when it is long.
        found: String,
        /// The right one.
        expected: &'static str,
    },
}
