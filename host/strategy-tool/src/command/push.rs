//! `push`: a component, with its signature, to an OCI registry.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use enid_component_registry::{Access, Artifact, Login, Reference, RegistryError, Transport, push_blocking};
use serde::Serialize;

use crate::command::inspect::signature_path;
use crate::failure::Failure;
use crate::output::{Output, Sheet, print_json};
use crate::subject::{ComponentFile, read_text};

/// `enid strategy push`.
#[derive(Debug, Args)]
pub struct Push {
    /// The component file; the signature beside it, under its name and `.minisig`, goes along
    component: PathBuf,
    /// Where to, for example oci://registry.example/strategies/batched:1.2
    #[arg(value_name = "oci://HOST/REPOSITORY:TAG")]
    to: Reference,
    /// Speak HTTP also with a registry that is not on this machine
    #[arg(long)]
    plain_http: bool,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl Push {
    pub(crate) fn run(&self) -> Result<ExitCode, Failure> {
        let file = ComponentFile::read(&self.component)?;
        let beside = signature_path(&self.component);
        let signature = if beside.exists() { Some(read_text(&beside)?) } else { None };
        let artifact =
            Artifact { component: &file.bytes, signature: signature.as_deref(), created_at_secs: now_secs() };
        let access = access(&self.to, self.plain_http)?;
        let pushed = push_blocking(&self.to, &artifact, &access).map_err(blamed)?;
        let told = Told {
            reference: pushed.reference.to_string(),
            component_digest: pushed.component_digest.to_string(),
            signed: signature.is_some(),
        };
        match self.output {
            Output::Json => print_json(&told)?,
            Output::Text => {
                let mut sheet = Sheet::default();
                sheet.row("pushed", told.reference);
                sheet.row("component", told.component_digest);
                sheet.row("signature", if told.signed { "went along" } else { "none" });
                sheet.print();
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What `--output json` prints. A contract: the names do not change.
#[derive(Debug, Serialize)]
struct Told {
    /// What `pull` takes.
    reference: String,
    component_digest: String,
    signed: bool,
}

/// Now, for dates in manifests and stores.
pub(crate) fn now_secs() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// How to get at a registry; its login is where other tools put it.
pub(crate) fn access(reference: &Reference, plain_http: bool) -> Result<Access, Failure> {
    let login = Login::from_environment(reference.registry()).map_err(Failure::input)?;
    let transport = if plain_http { Transport::PlainHttp } else { Transport::default() };
    Ok(Access { transport, login })
}

/// A registry that does not answer is something else than one that refuses.
pub(crate) fn blamed(error: RegistryError) -> Failure {
    match &error {
        RegistryError::BadReference { .. }
        | RegistryError::Login { .. }
        | RegistryError::LoginFile { .. }
        | RegistryError::NotAComponent { .. }
        | RegistryError::Unpinned { .. }
        | RegistryError::WrongManifest { .. } => Failure::input(error),
        RegistryError::Broken { .. }
        | RegistryError::Runtime { .. }
        | RegistryError::TimedOut { .. }
        | RegistryError::Unreachable { .. } => Failure::unavailable(error),
        RegistryError::Denied { .. }
        | RegistryError::Digest(_)
        | RegistryError::Layers { .. }
        | RegistryError::Manifest { .. }
        | RegistryError::NotFound { .. }
        | RegistryError::Refused { .. }
        | RegistryError::Signature(_)
        | RegistryError::Store(_)
        | RegistryError::TooLarge { .. }
        | RegistryError::WrongDigest { .. }
        | RegistryError::WrongSize { .. }
        | RegistryError::WrongType { .. } => Failure::failed(error),
    }
}
