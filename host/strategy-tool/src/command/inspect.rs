//! `inspect`: what a component is, and whether a node would let it in.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::anyhow;
use clap::Args;
use enid_component_store::{PublicKey, TrustedKeys};
use enid_core::kind::Kind;
use enid_core::snapshot::{Setting, Value};
use enid_policy_wasm::admission::{Examined, Inadmissible, Offer, Step, Terms, Trial, examine};
use enid_policy_wasm::config::Trust;
use enid_policy_wasm::runtime::{Descriptor, Guest};
use enid_policy_wasm::schema::{Schema, Shape};
use serde::Serialize;

use crate::allowance::Allowance;
use crate::assignment;
use crate::failure::Failure;
use crate::interface::Interface;
use crate::output::{Output, Sheet, bytes, counted, grouped, print_json, wide};
use crate::subject::{ComponentFile, Workshop, read_text};

/// `enid strategy inspect`.
#[derive(Debug, Args)]
pub struct Inspect {
    /// The component file
    component: PathBuf,
    /// A setting that a node would give it; repeatable
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = assignment::parse)]
    settings: Vec<Setting>,
    /// A public key file whose signature counts; with one, an unsigned component is refused; repeatable
    #[arg(long = "key", value_name = "FILE")]
    keys: Vec<PathBuf>,
    #[command(flatten)]
    allowance: Allowance,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl Inspect {
    pub(crate) fn run(&self) -> Result<ExitCode, Failure> {
        let limits = self.allowance.limits()?;
        let trust = Trust { keys: trusted(&self.keys)?, required: !self.keys.is_empty() };
        let file = ComponentFile::read(&self.component)?;
        let workshop = Workshop::open()?;
        let outcome = Offer::read(&self.component, &limits).and_then(|offer| {
            let terms = Terms {
                wanted: None,
                pinned: None,
                trust: &trust,
                settings: &self.settings,
                limits: &limits,
                recorded: &[],
            };
            examine(&offer, &terms, workshop.compiler(), workshop.runtime())
        });
        // What was refused late can still say who it is.
        let guest = match &outcome {
            Ok(examined) => Some(Arc::clone(&examined.guest)),
            Err(refused) if refused.step() > Step::Describe => {
                workshop.load(file.clone(), &limits).ok().map(|subject| subject.guest)
            }
            Err(_) => None,
        };
        let inspected = Inspected::of(&file, guest.as_deref(), &outcome);
        match self.output {
            Output::Json => print_json(&inspected)?,
            Output::Text => inspected.print(&file),
        }
        match outcome {
            Ok(_) => Ok(ExitCode::SUCCESS),
            Err(refused) => {
                let (step, why) = (refused.step(), described(&refused));
                Err(Failure::failed(anyhow!("a node would refuse it at {step}: {why}")).of(&self.component))
            }
        }
    }
}

/// The keys in these files.
pub(crate) fn trusted(files: &[PathBuf]) -> Result<TrustedKeys, Failure> {
    let key = |path: &PathBuf| {
        let key = PublicKey::parse(&read_text(path)?).map_err(|error| Failure::input(error).of(path))?;
        Ok(key.to_string())
    };
    let keys = files.iter().map(key).collect::<Result<Vec<String>, Failure>>()?;
    TrustedKeys::parse(&keys).map_err(Failure::input)
}

/// What `--output json` prints. A contract: the names do not change.
#[derive(Debug, Serialize)]
struct Inspected {
    digest: String,
    bytes: u64,
    kind: Option<Kind>,
    contract: Option<String>,
    imports: Vec<String>,
    exports: Vec<String>,
    description: Option<Description>,
    admission: Admission,
}

/// What it says about itself.
#[derive(Debug, Serialize)]
struct Description {
    name: String,
    version: String,
    summary: String,
    state_format: u32,
    settings: Vec<Knob>,
}

/// One setting.
#[derive(Debug, Serialize)]
struct Knob {
    key: String,
    #[serde(rename = "type")]
    of: &'static str,
    allowed: String,
    default: Option<Value>,
    description: String,
}

/// Whether a node would let it in.
#[derive(Debug, Default, Serialize)]
struct Admission {
    admitted: bool,
    /// The step that refuses it.
    step: Option<&'static str>,
    /// One word for why.
    label: Option<&'static str>,
    reason: Option<String>,
    signed_by: Option<String>,
    code_bytes: Option<u64>,
    corners: Option<u32>,
    unsupported: Option<u32>,
    bent: Option<u32>,
    most_fuel: Option<u64>,
    most_memory_bytes: Option<u64>,
}

impl Inspected {
    fn of(file: &ComponentFile, guest: Option<&dyn Guest>, outcome: &Result<Examined, Inadmissible>) -> Self {
        let interface = Interface::of(&file.bytes).unwrap_or_default();
        let contract = interface.kind().map(|(_, version)| format!("enid:strategy@{version}"));
        let kind = interface.kind().map(|(kind, _)| kind);
        let admission = match outcome {
            Ok(examined) => Admission::granted(examined),
            Err(refused) => Admission::refused(refused),
        };
        Self {
            digest: file.digest.to_string(),
            bytes: wide(file.bytes.len()),
            kind: guest.map(Guest::kind).or(kind),
            contract,
            imports: interface.imports,
            exports: interface.exports,
            description: guest.map(|guest| Description::of(guest.descriptor())),
            admission,
        }
    }

    fn print(&self, file: &ComponentFile) {
        let mut sheet = Sheet::default();
        sheet.row("file", file.path.display().to_string());
        sheet.row("digest", self.digest.clone());
        sheet.row("size", bytes(self.bytes));
        let kind = self.kind.map_or("no strategy".to_owned(), |kind| kind.to_string());
        let contract = self.contract.as_deref().unwrap_or("no contract of ours");
        sheet.row("kind", format!("{kind}, {contract}"));
        if let Some(said) = &self.description {
            sheet.row("name", format!("{} {}", said.name, said.version));
            sheet.row("summary", said.summary.clone());
            sheet.row("state", format!("format {}", said.state_format));
        }
        sheet.row("imports", listed(&self.imports));
        sheet.row("exports", listed(&self.exports));
        if let Some(said) = &self.description {
            if said.settings.is_empty() {
                sheet.row("settings", "none");
            }
            for knob in &said.settings {
                sheet.row("setting", knob.line());
            }
        }
        self.admission.rows(&mut sheet);
        sheet.print();
    }
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

impl Description {
    fn of(descriptor: &Descriptor) -> Self {
        let schema = Schema::parse(&descriptor.settings_schema).unwrap_or_default();
        let knob = |(key, property): (&str, &enid_policy_wasm::schema::Property)| Knob {
            key: key.to_owned(),
            of: match property.shape {
                Shape::Flag => "boolean",
                Shape::Int { .. } => "integer",
                Shape::Text { .. } => "string",
            },
            allowed: property.shape.to_string(),
            default: property.default.clone(),
            description: property.description.clone(),
        };
        Self {
            name: descriptor.name.clone(),
            version: descriptor.version.clone(),
            summary: descriptor.summary.clone(),
            state_format: descriptor.state_format,
            settings: schema.properties().map(knob).collect(),
        }
    }
}

impl Knob {
    fn line(&self) -> String {
        let default = self.default.as_ref().map_or("unset".to_owned(), assignment::shown_value);
        format!("{} = {default} ({}): {}", self.key, self.allowed, self.description)
    }
}

impl Admission {
    fn granted(examined: &Examined) -> Self {
        let Trial { corners, replayed: _, unsupported, bent, most_fuel, most_memory } = examined.trial;
        Self {
            admitted: true,
            signed_by: examined.signed_by.clone(),
            code_bytes: Some(wide(examined.artifact.bytes())),
            corners: Some(corners),
            unsupported: Some(unsupported),
            bent: Some(bent),
            most_fuel: Some(most_fuel),
            most_memory_bytes: Some(most_memory),
            ..Self::default()
        }
    }

    fn refused(refused: &Inadmissible) -> Self {
        Self {
            step: Some(refused.step().as_str()),
            label: Some(refused.label()),
            reason: Some(described(refused)),
            ..Self::default()
        }
    }

    fn rows(&self, sheet: &mut Sheet) {
        if let Some(key) = &self.signed_by {
            sheet.row("signed by", key.clone());
        }
        if let Some(code) = self.code_bytes {
            sheet.row("machine code", bytes(code));
        }
        if let (Some(corners), Some(fuel), Some(memory)) =
            (self.corners, self.most_fuel, self.most_memory_bytes)
        {
            let asked = counted(usize::try_from(corners).unwrap_or(usize::MAX), "corner snapshot");
            let (declined, bent) = (self.unsupported.unwrap_or(0), self.bent.unwrap_or(0));
            sheet.row("trial", format!("{asked} asked twice, {declined} declined, {bent} answers bent"));
            sheet.row("most fuel", grouped(fuel));
            sheet.row("most memory", bytes(memory));
        }
        match (&self.step, &self.reason) {
            (Some(step), Some(reason)) => sheet.row("admission", format!("refused at {step}: {reason}")),
            (_, _) => sheet.row("admission", "would be admitted"),
        }
    }
}

/// An error with its causes, on one line.
fn described(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |said, cause| format!("{said}: {cause}"))
}

/// Where a detached signature is looked for.
pub(crate) fn signature_path(component: &Path) -> PathBuf {
    let mut name = component.as_os_str().to_owned();
    name.push(".minisig");
    PathBuf::from(name)
}
