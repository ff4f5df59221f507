//! `pull`: a component from an OCI registry into a store.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use enid_component_registry::{Intake, Reference, Signatures, pull_blocking};
use enid_component_store::Store;
use serde::Serialize;

use crate::command::inspect::trusted;
use crate::command::push::{access, blamed, now_secs};
use crate::failure::Failure;
use crate::interface::Interface;
use crate::output::{Sheet, bytes, print_json, wide};
use crate::snippet::{self, Output};

/// `enid strategy pull`.
#[derive(Debug, Args)]
pub struct Pull {
    /// Where from, pinned to a manifest, as `push` prints it
    #[arg(value_name = "oci://HOST/REPOSITORY@sha256:…")]
    from: Reference,
    /// The directory that keeps components by their digest
    #[arg(long, value_name = "DIR", default_value = "/var/lib/enid/components")]
    store: PathBuf,
    /// A public key file: without a signature of one of these nothing is kept; repeatable
    #[arg(long = "key", value_name = "FILE")]
    keys: Vec<PathBuf>,
    /// Speak HTTP also with a registry that is not on this machine
    #[arg(long)]
    plain_http: bool,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl Pull {
    pub(crate) fn run(&self) -> Result<ExitCode, Failure> {
        let keys = trusted(&self.keys)?;
        let signatures =
            if self.keys.is_empty() { Signatures::NotAsked } else { Signatures::RequiredFrom(&keys) };
        let store = Store::open(&self.store).map_err(Failure::failed)?;
        let intake = Intake { store: &store, signatures, now_secs: now_secs() };
        let access = access(&self.from, self.plain_http)?;
        let pulled = pull_blocking(&self.from, &intake, &access).map_err(blamed)?;
        let digest = pulled.component_digest;
        let kept = store.get(&digest).map_err(Failure::failed)?;
        let path = store.path_of(&digest);
        let kind = Interface::of(&kept.bytes).and_then(|interface| interface.kind().map(|(kind, _)| kind));
        let told = Told {
            component: path.display().to_string(),
            component_digest: digest.to_string(),
            manifest_digest: pulled.manifest_digest.to_string(),
            bytes: wide(pulled.size),
            signed: pulled.signed,
            verified_by: pulled.verified.map(|verified| verified.key.to_string()),
            settings: kind.map(|kind| snippet::toml(kind, &path, &digest)),
        };
        if told.settings.is_none() {
            eprintln!("enid: {} is no strategy; see `enid strategy inspect`", told.component);
        }
        match self.output {
            Output::Json => print_json(&told)?,
            Output::Text => told.print(),
            Output::Toml => print!("{}", told.settings.unwrap_or_default()),
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What `--output json` prints. A contract: the names do not change.
#[derive(Debug, Serialize)]
struct Told {
    component: String,
    component_digest: String,
    manifest_digest: String,
    bytes: u64,
    signed: bool,
    verified_by: Option<String>,
    /// What to put into enid.toml; none for a component that is no strategy of this contract.
    settings: Option<String>,
}

impl Told {
    fn print(&self) {
        let mut sheet = Sheet::default();
        sheet.row("component", self.component.clone());
        sheet.row("digest", self.component_digest.clone());
        sheet.row("manifest", self.manifest_digest.clone());
        sheet.row("size", bytes(self.bytes));
        let signature = match (&self.verified_by, self.signed) {
            (Some(key), _) => format!("by {key}"),
            (None, true) => "came along, not verified; name a --key".to_owned(),
            (None, false) => "none".to_owned(),
        };
        sheet.row("signature", signature);
        sheet.print();
        if let Some(settings) = &self.settings {
            print!("\n# for enid.toml\n{settings}");
        }
    }
}
