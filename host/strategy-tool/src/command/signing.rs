//! `keygen` and `sign`: who vouches for a component.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use enid_component_store::{KeyPair, SecretKey, SignatureError};

use crate::command::inspect::signature_path;
use crate::failure::Failure;
use crate::subject::ComponentFile;

/// `enid strategy keygen`.
#[derive(Debug, Args)]
pub struct Keygen {
    /// Where the secret key goes, readable for its owner only; must not exist
    #[arg(long, value_name = "FILE")]
    secret: PathBuf,
    /// Where the public key goes; must not exist
    #[arg(long, value_name = "FILE")]
    public: PathBuf,
}

impl Keygen {
    pub(crate) fn run(&self) -> Result<ExitCode, Failure> {
        let pair = KeyPair::generate().map_err(Failure::failed)?;
        pair.write(&self.secret, &self.public).map_err(blamed)?;
        println!("{}", pair.public);
        eprintln!(
            "enid: this line belongs into engine.trusted_keys of enid.toml; keep the secret key secret"
        );
        Ok(ExitCode::SUCCESS)
    }
}

/// `enid strategy sign`.
#[derive(Debug, Args)]
pub struct Sign {
    /// The component file; the signature is written beside it, under its name and `.minisig`
    component: PathBuf,
    /// The secret key, without a password
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// A line that is signed along [default: the component's digest]
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
}

impl Sign {
    pub(crate) fn run(&self) -> Result<ExitCode, Failure> {
        let file = ComponentFile::read(&self.component)?;
        let key = SecretKey::read(&self.key).map_err(|error| Failure::input(error).of(&self.key))?;
        let comment = self.comment.clone().unwrap_or_else(|| file.digest.to_string());
        let signature = key.sign(&file.bytes, &comment).map_err(blamed)?;
        let path = signature_path(&self.component);
        std::fs::write(&path, signature).map_err(Failure::writing(&path))?;
        println!("{}", path.display());
        Ok(ExitCode::SUCCESS)
    }
}

/// What the author can change is the author's.
fn blamed(error: SignatureError) -> Failure {
    match error {
        SignatureError::Comment { .. } | SignatureError::Io { .. } => Failure::input(error),
        SignatureError::BadSignature { .. }
        | SignatureError::CannotSign { .. }
        | SignatureError::EncryptedKey
        | SignatureError::Keys { .. }
        | SignatureError::Malformed { .. }
        | SignatureError::MalformedKey { .. }
        | SignatureError::NotPrehashed
        | SignatureError::UnknownKey { .. }
        | SignatureError::Unsigned => Failure::failed(error),
    }
}
