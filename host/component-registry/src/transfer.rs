//! Pushing components to a registry, and pulling them from one into a store.
//!
//! Everything that a registry says is checked before anything is kept: the manifest against the digest that the
//! caller pinned, the component against the manifest, the signature against the caller's keys.

use std::future::Future;
use std::time::Duration;

use enid_component_store::store::MAX_COMPONENT;
use enid_component_store::{Deposit, Digest, Store, TrustedKeys, Verified};
use futures::StreamExt;
use oci_client::RegistryOperation;
use oci_client::client::{Client, ClientConfig, ClientProtocol};
use oci_client::errors::{DigestError, OciDistributionError, OciErrorCode};
use oci_client::secrets::RegistryAuth;

use crate::error::RegistryError;
use crate::layout::{self, MANIFEST_TYPE, MAX_MANIFEST};
use crate::login::Login;
use crate::reference::Reference;

/// How long a connection may take to come about: a registry that is there answers within one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a registry may be silent in the middle of an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a small request may take as a whole, whatever a registry does to prolong it.
const REQUEST_DEADLINE: Duration = Duration::from_secs(60);

/// How long a component may take as a whole: 32 MiB at 60 kB/s.
const COMPONENT_DEADLINE: Duration = Duration::from_secs(600);

/// How a registry is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Transport {
    /// By HTTPS; on this machine itself by HTTP.
    #[default]
    HttpsExceptLoopback,
    /// By HTTPS, on this machine too.
    Https,
    /// By HTTP, wherever it is. What is pulled is pinned by digest all the same; a password is not protected.
    PlainHttp,
}

/// How to get at a registry.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// How it is spoken to.
    pub transport: Transport,
    /// Who we are.
    pub login: Login,
}

/// What is pushed.
#[derive(Clone, Copy, Debug)]
pub struct Artifact<'a> {
    /// The component.
    pub component: &'a [u8],
    /// The text of its `.minisig` file. Not verified here: whoever pushes a signature need not have its key.
    pub signature: Option<&'a str>,
    /// What the artifact's date of creation says, in seconds since 1970. The same date gives the same digests.
    pub created_at_secs: u64,
}

/// What a push did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// What a pull of it asks for: the place, pinned to the manifest.
    pub reference: Reference,
    /// What the manifest is.
    pub manifest_digest: Digest,
    /// What the component is.
    pub component_digest: Digest,
}

/// Whose signature a pull wants to see.
#[derive(Clone, Copy, Debug)]
pub enum Signatures<'a> {
    /// Nobody's. One that is there is kept for whoever asks later.
    NotAsked,
    /// One by any of these keys, or nothing is stored.
    RequiredFrom(&'a TrustedKeys),
}

/// Where a pulled component goes, and on which condition.
#[derive(Clone, Copy, Debug)]
pub struct Intake<'a> {
    /// What keeps it.
    pub store: &'a Store,
    /// Who has to vouch for it.
    pub signatures: Signatures<'a>,
    /// Now, in seconds since 1970.
    pub now_secs: u64,
}

/// What a pull did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// What the manifest is: the digest in the reference.
    pub manifest_digest: Digest,
    /// What the component is: its name in the store, and in settings.
    pub component_digest: Digest,
    /// The component's bytes, counted.
    pub size: usize,
    /// Whether a signature came along, verified or not.
    pub signed: bool,
    /// Who vouches for it, if that was asked.
    pub verified: Option<Verified>,
}

/// Pushes a component, under the reference's tag if it has one. If the reference has a digest, what is made must
/// have it, or nothing is pushed.
///
/// A push that fails leaves at most blobs that nothing refers to: the manifest comes last.
pub async fn push(
    reference: &Reference,
    artifact: &Artifact<'_>,
    access: &Access,
) -> Result<Pushed, RegistryError> {
    let title = format!("{}.wasm", reference.last_part());
    let packed = layout::pack(artifact.component, &title, artifact.signature, artifact.created_at_secs)?;
    if let Some(expected) = reference.digest().filter(|expected| *expected != packed.manifest_digest) {
        return Err(RegistryError::WrongManifest { expected, made: packed.manifest_digest });
    }
    let session = Session::begin(reference, access, RegistryOperation::Push).await?;
    let blobs =
        [(artifact.component.to_vec(), packed.component_digest), (packed.config, packed.config_digest)];
    for (bytes, digest) in blobs {
        let digest = digest.to_string();
        let push = session.client.push_blob(&session.image, bytes, &digest);
        session.within("push to", COMPONENT_DEADLINE, push).await?;
    }
    let image = match reference.tag() {
        Some(tag) => session.image_by_tag(tag),
        None => session.image_by_digest(packed.manifest_digest),
    };
    // Building the value from a constant cannot fail, but its type is not ours to name.
    let media_type = MANIFEST_TYPE.parse().map_err(|_| RegistryError::WrongType {
        what: "manifest",
        found: MANIFEST_TYPE.to_owned(),
        expected: MANIFEST_TYPE,
    })?;
    let push = session.client.push_manifest_raw(&image, packed.manifest, media_type);
    session.within("push to", REQUEST_DEADLINE, push).await?;
    Ok(Pushed {
        reference: reference.pinned_to(packed.manifest_digest),
        manifest_digest: packed.manifest_digest,
        component_digest: packed.component_digest,
    })
}

/// Pulls the component whose manifest the reference pins, and puts it into a store once everything is checked.
///
/// The store is written to on the calling thread.
pub async fn pull(
    reference: &Reference,
    intake: &Intake<'_>,
    access: &Access,
) -> Result<Pulled, RegistryError> {
    let manifest_digest =
        reference.digest().ok_or_else(|| RegistryError::Unpinned { reference: reference.to_string() })?;
    let session = Session::begin(reference, access, RegistryOperation::Pull).await?;
    let announced = layout::read(&session.manifest(manifest_digest).await?)?;
    let bytes = session.component(announced.component_digest, announced.size).await?;
    let verified = match intake.signatures {
        Signatures::NotAsked => None,
        Signatures::RequiredFrom(keys) => Some(keys.verify(&bytes, announced.signature.as_deref())?),
    };
    intake.store.put(&Deposit {
        digest: announced.component_digest,
        bytes: &bytes,
        signature: announced.signature.as_deref(),
        name: &reference.name(),
        source: &reference.to_string(),
        stored_at_secs: intake.now_secs,
    })?;
    Ok(Pulled {
        manifest_digest,
        component_digest: announced.component_digest,
        size: bytes.len(),
        signed: announced.signature.is_some(),
        verified,
    })
}

/// [`push`] for callers without a runtime; must not be called on one's thread.
pub fn push_blocking(
    reference: &Reference,
    artifact: &Artifact<'_>,
    access: &Access,
) -> Result<Pushed, RegistryError> {
    block_on(push(reference, artifact, access))
}

/// [`pull`] for callers without a runtime; must not be called on one's thread.
pub fn pull_blocking(
    reference: &Reference,
    intake: &Intake<'_>,
    access: &Access,
) -> Result<Pulled, RegistryError> {
    block_on(pull(reference, intake, access))
}

fn block_on<T>(transfer: impl Future<Output = Result<T, RegistryError>>) -> Result<T, RegistryError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| RegistryError::Runtime { source })?;
    let outcome = runtime.block_on(transfer);
    // A name that is still being resolved after we gave up need not be waited for.
    runtime.shutdown_background();
    outcome
}

/// A registry that knows who we are.
struct Session<'a> {
    reference: &'a Reference,
    client: Client,
    image: oci_client::Reference,
    auth: RegistryAuth,
}

impl<'a> Session<'a> {
    async fn begin(
        reference: &'a Reference,
        access: &Access,
        operation: RegistryOperation,
    ) -> Result<Self, RegistryError> {
        let protocol = match access.transport {
            Transport::HttpsExceptLoopback if reference.is_loopback() => ClientProtocol::Http,
            Transport::HttpsExceptLoopback | Transport::Https => ClientProtocol::Https,
            Transport::PlainHttp => ClientProtocol::Http,
        };
        let config = ClientConfig {
            protocol,
            // A component is not made for one platform: an index of several is refused, not searched.
            platform_resolver: None,
            connect_timeout: Some(CONNECT_TIMEOUT),
            read_timeout: Some(READ_TIMEOUT),
            user_agent: concat!("enid/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        let failed = |source| RegistryError::Refused {
            attempt: "prepare to talk to",
            reference: reference.to_string(),
            source: Box::new(source),
        };
        let client = Client::try_from(config).map_err(failed)?;
        let auth = match &access.login {
            Login::Anonymous => RegistryAuth::Anonymous,
            Login::Password { user, password } => RegistryAuth::Basic(user.clone(), password.clone()),
        };
        // The tag is not used: requests that need one make their own.
        let image = oci_client::Reference::with_tag(
            reference.registry().to_owned(),
            reference.repository().to_owned(),
            reference.tag().unwrap_or("latest").to_owned(),
        );
        let session = Self { reference, client, image, auth };
        let introduce = session.client.auth(&session.image, &session.auth, operation);
        session.within("log in to", REQUEST_DEADLINE, introduce).await?;
        Ok(session)
    }

    fn image_by_tag(&self, tag: &str) -> oci_client::Reference {
        let (registry, repository) = (self.reference.registry(), self.reference.repository());
        oci_client::Reference::with_tag(registry.to_owned(), repository.to_owned(), tag.to_owned())
    }

    fn image_by_digest(&self, digest: Digest) -> oci_client::Reference {
        let (registry, repository) = (self.reference.registry(), self.reference.repository());
        oci_client::Reference::with_digest(registry.to_owned(), repository.to_owned(), digest.to_string())
    }

    /// The manifest with this digest.
    async fn manifest(&self, digest: Digest) -> Result<Vec<u8>, RegistryError> {
        let image = self.image_by_digest(digest);
        let pull = self.client.pull_manifest_raw(&image, &self.auth, &[MANIFEST_TYPE]);
        let (manifest, _) = self.within("pull the manifest of", REQUEST_DEADLINE, pull).await?;
        if manifest.len() > MAX_MANIFEST {
            let size = manifest.len() as u64;
            return Err(RegistryError::TooLarge { what: "manifest", size, limit: MAX_MANIFEST });
        }
        let found = Digest::of(&manifest);
        if found != digest {
            return Err(self.wrong_digest("manifest", digest, found.to_string()));
        }
        Ok(manifest.to_vec())
    }

    /// The component with this digest and size; no more bytes are taken than announced.
    async fn component(&self, digest: Digest, size: usize) -> Result<Vec<u8>, RegistryError> {
        let fetch = async {
            let name = digest.to_string();
            let mut stream = self
                .client
                .pull_blob_stream(&self.image, name.as_str())
                .await
                .map_err(|e| self.refused("pull the component of", e))?;
            let mut bytes = Vec::with_capacity(size.min(MAX_COMPONENT));
            while let Some(chunk) = stream.next().await {
                match chunk {
                    Ok(chunk) if chunk.len() > size - bytes.len() => return Err(self.wrong_size(size)),
                    Ok(chunk) => bytes.extend_from_slice(&chunk),
                    // A stream of wrong bytes ends in an error of the library's, which says less than ours.
                    Err(e) if e.get_ref().is_some_and(|e| e.is::<DigestError>()) => break,
                    Err(source) => {
                        let from = self.reference.to_string();
                        return Err(RegistryError::Broken { attempt: "pull the component of", from, source });
                    }
                }
            }
            if bytes.len() != size {
                return Err(self.wrong_size(size));
            }
            let found = Digest::of(&bytes);
            if found != digest {
                return Err(self.wrong_digest("component", digest, found.to_string()));
            }
            Ok(bytes)
        };
        match tokio::time::timeout(COMPONENT_DEADLINE, fetch).await {
            Ok(outcome) => outcome,
            Err(_) => Err(self.timed_out("pull the component of", COMPONENT_DEADLINE)),
        }
    }

    /// Waits for an answer, but not for ever.
    async fn within<T>(
        &self,
        attempt: &'static str,
        limit: Duration,
        request: impl Future<Output = Result<T, OciDistributionError>>,
    ) -> Result<T, RegistryError> {
        match tokio::time::timeout(limit, request).await {
            Ok(outcome) => outcome.map_err(|e| self.refused(attempt, e)),
            Err(_) => Err(self.timed_out(attempt, limit)),
        }
    }

    fn timed_out(&self, attempt: &'static str, limit: Duration) -> RegistryError {
        RegistryError::TimedOut { attempt, reference: self.reference.to_string(), limit }
    }

    fn wrong_size(&self, announced: usize) -> RegistryError {
        RegistryError::WrongSize { registry: self.reference.registry().to_owned(), announced }
    }

    fn wrong_digest(&self, what: &'static str, expected: Digest, found: String) -> RegistryError {
        RegistryError::WrongDigest { what, registry: self.reference.registry().to_owned(), expected, found }
    }

    /// What a registry's refusal means.
    fn refused(&self, attempt: &'static str, error: OciDistributionError) -> RegistryError {
        let registry = self.reference.registry().to_owned();
        let repository = self.reference.repository().to_owned();
        if let OciDistributionError::DigestError(DigestError::VerificationError { actual, .. }) = &error
            && let Some(expected) = self.reference.digest()
        {
            return self.wrong_digest("manifest", expected, actual.clone());
        }
        if is_unreachable(&error) {
            return RegistryError::Unreachable { registry, source: Box::new(error) };
        }
        if is_denied(&error) {
            return RegistryError::Denied { registry, repository, attempt, source: Box::new(error) };
        }
        if is_not_found(&error) {
            return RegistryError::NotFound { attempt, reference: self.reference.to_string() };
        }
        RegistryError::Refused { attempt, reference: self.reference.to_string(), source: Box::new(error) }
    }
}

fn is_unreachable(error: &OciDistributionError) -> bool {
    matches!(error, OciDistributionError::RequestError(e) if e.is_connect() || e.is_timeout())
}

fn is_denied(error: &OciDistributionError) -> bool {
    matches!(
        error,
        OciDistributionError::UnauthorizedError { .. }
            | OciDistributionError::AuthenticationFailure(_)
            | OciDistributionError::ServerError { code: 401 | 403, .. }
    ) || has_code(error, &[OciErrorCode::Unauthorized, OciErrorCode::Denied])
}

fn is_not_found(error: &OciDistributionError) -> bool {
    let codes = [
        OciErrorCode::BlobUnknown,
        OciErrorCode::ManifestUnknown,
        OciErrorCode::NameUnknown,
        OciErrorCode::NotFound,
    ];
    matches!(
        error,
        OciDistributionError::ImageManifestNotFoundError(_)
            | OciDistributionError::ServerError { code: 404, .. }
    ) || has_code(error, &codes)
}

fn has_code(error: &OciDistributionError, codes: &[OciErrorCode]) -> bool {
    matches!(error, OciDistributionError::RegistryError { envelope, .. }
        if envelope.errors.iter().any(|error| codes.contains(&error.code)))
}
