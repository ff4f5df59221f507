//! Admission of a component: everything that is checked before it may decide anything.
//!
//! The steps are in [`Step`], in the order in which they are taken; the first that fails refuses the component
//! and names itself. What the component answers later is judged by [`enid_core::admission`], every time.

mod form;
mod trial;

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use enid_component_store::{Digest, SignatureError};
use enid_core::document::Snapshot;
use enid_core::kind::Kind;
use enid_core::snapshot::Setting;

use crate::artifact::Artifact;
use crate::compile::{CompileError, Compiler};
use crate::config::Trust;
use crate::fault::{Failing, Fault, Unloadable};
use crate::limits::{LimitOutOfRange, Limits};
use crate::runtime::{Guest, Issue, Runtime};
use crate::schema::Schema;
pub(crate) use trial::REPLAY_FUEL;
pub use trial::Trial;

/// Bytes of a signature file: minisign's has some 300.
const MAX_SIGNATURE: u64 = 4096;

/// What is checked, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The limits under which it is to run.
    Limits,
    /// Whether its file can be read.
    Read,
    /// Its size.
    Size,
    /// Its digest.
    Digest,
    /// Who signed it.
    Signature,
    /// That it is a component and not something else.
    Form,
    /// Validation and compilation.
    Compile,
    /// What it wants from the host.
    Imports,
    /// That it is exactly one kind of strategy, and the right one.
    Kind,
    /// That it starts, and its exports have the contract's types.
    Start,
    /// Who it says it is.
    Describe,
    /// Its settings against its published schema.
    Schema,
    /// Its settings in its own eyes.
    Settings,
    /// Its answers to synthetic corner snapshots, twice.
    Corners,
    /// Its answers to this node's recorded snapshots.
    Replay,
}

impl Step {
    /// All steps.
    pub const ALL: [Step; 15] = [
        Step::Limits,
        Step::Read,
        Step::Size,
        Step::Digest,
        Step::Signature,
        Step::Form,
        Step::Compile,
        Step::Imports,
        Step::Kind,
        Step::Start,
        Step::Describe,
        Step::Schema,
        Step::Settings,
        Step::Corners,
        Step::Replay,
    ];

    /// One word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Step::Limits => "limits",
            Step::Read => "read",
            Step::Size => "size",
            Step::Digest => "digest",
            Step::Signature => "signature",
            Step::Form => "form",
            Step::Compile => "compile",
            Step::Imports => "imports",
            Step::Kind => "kind",
            Step::Start => "start",
            Step::Describe => "describe",
            Step::Schema => "schema",
            Step::Settings => "settings",
            Step::Corners => "corners",
            Step::Replay => "replay",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a component is not let in.
#[derive(Debug, thiserror::Error)]
pub enum Inadmissible {
    /// The operator's limits are out of range.
    #[error(transparent)]
    Limits(#[from] LimitOutOfRange),
    /// A file cannot be read.
    #[error("{} cannot be read", .path.display())]
    Unreadable {
        /// The component, or its signature.
        path: PathBuf,
        /// The reason.
        #[source]
        why: std::io::Error,
    },
    /// The file is empty.
    #[error("the file is empty")]
    Empty,
    /// The file is too large.
    #[error("the file has more than {most} bytes; raise limits.component_mib if that is meant")]
    TooLarge {
        /// The limit.
        most: usize,
    },
    /// Another file than the operator pinned.
    #[error("the file's digest is {found}, but {pinned} is configured")]
    Digest {
        /// What the file has.
        found: Digest,
        /// What was configured.
        pinned: Digest,
    },
    /// Nobody signed it.
    #[error("it is not signed, and engine.require_signatures wants {} beside it", .expected.display())]
    Unsigned {
        /// Where the signature was looked for.
        expected: PathBuf,
    },
    /// Its signature does not count.
    #[error("its signature does not count")]
    BadSignature(#[source] SignatureError),
    /// Machine code for some engine: running a stranger's machine code would defeat the sandbox.
    #[error("it is precompiled machine code; give the component it was compiled from")]
    Precompiled,
    /// A core module without the component around it.
    #[error("it is a core WebAssembly module; make it a component first (`enid strategy build`)")]
    CoreModule,
    /// Not WebAssembly at all.
    #[error("it is no WebAssembly component")]
    NotWasm,
    /// It cannot be compiled.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// It cannot be linked, started, or say who it is.
    #[error(transparent)]
    Unloadable(#[from] Unloadable),
    /// A strategy of another kind than the one configured here.
    #[error("it is a {found} strategy, but a {wanted} strategy is configured here")]
    WrongKind {
        /// What it is.
        found: Kind,
        /// What is needed.
        wanted: Kind,
    },
    /// Its published schema is outside the subset that hosts read.
    #[error("its settings schema is not usable: {why}")]
    BadSchema {
        /// What is wrong.
        why: String,
    },
    /// The settings break its schema.
    #[error("settings refused by its schema: {}", told(.issues))]
    Schema {
        /// What is wrong.
        issues: Vec<Issue>,
    },
    /// It refuses its settings.
    #[error("settings refused by the component: {}", told(.issues))]
    Settings {
        /// What is wrong.
        issues: Vec<Issue>,
    },
    /// It failed while it checked its settings.
    #[error("its `check-settings` failed: {0}")]
    Check(Fault),
    /// It has no admissible answer to a snapshot of the trial.
    #[error("asked about {snapshot}: {failing}")]
    Failing {
        /// The step it failed in.
        step: Step,
        /// Which snapshot.
        snapshot: String,
        /// How.
        failing: Failing,
        /// The question, for the author.
        question: Box<Snapshot>,
    },
    /// It answers the same question differently.
    #[error("asked twice about {snapshot}, it answered with another {what}")]
    NotDeterministic {
        /// Which snapshot.
        snapshot: String,
        /// `target or reason`, or `use of fuel`.
        what: &'static str,
    },
}

fn told(issues: &[Issue]) -> String {
    let told: Vec<String> = issues.iter().map(|issue| format!("{}: {}", issue.key, issue.message)).collect();
    told.join("; ")
}

impl Inadmissible {
    /// The step that refused it.
    pub fn step(&self) -> Step {
        match self {
            Inadmissible::Limits(_) => Step::Limits,
            Inadmissible::Unreadable { .. } => Step::Read,
            Inadmissible::Empty | Inadmissible::TooLarge { .. } => Step::Size,
            Inadmissible::Digest { .. } => Step::Digest,
            Inadmissible::Unsigned { .. } | Inadmissible::BadSignature(_) => Step::Signature,
            Inadmissible::Precompiled | Inadmissible::CoreModule | Inadmissible::NotWasm => Step::Form,
            Inadmissible::Compile(_) => Step::Compile,
            Inadmissible::Unloadable(unloadable) => match unloadable {
                Unloadable::Artifact { .. } => Step::Compile,
                Unloadable::ForeignImport { .. } => Step::Imports,
                Unloadable::ForeignVersion { .. } | Unloadable::NoKind | Unloadable::TwoKinds(_, _) => {
                    Step::Kind
                }
                Unloadable::Mismatch { .. } | Unloadable::Start(_) | Unloadable::NoPlace { .. } => {
                    Step::Start
                }
                Unloadable::Describe(_) | Unloadable::BadDescription { .. } => Step::Describe,
            },
            Inadmissible::WrongKind { .. } => Step::Kind,
            Inadmissible::BadSchema { .. } | Inadmissible::Schema { .. } => Step::Schema,
            Inadmissible::Settings { .. } | Inadmissible::Check(_) => Step::Settings,
            Inadmissible::Failing { step, .. } => *step,
            Inadmissible::NotDeterministic { .. } => Step::Corners,
        }
    }

    /// One word for it, for metrics and tests.
    pub fn label(&self) -> &'static str {
        match self {
            Inadmissible::Limits(_) => "limits",
            Inadmissible::Unreadable { .. } => "unreadable",
            Inadmissible::Empty => "empty",
            Inadmissible::TooLarge { .. } => "too-large",
            Inadmissible::Digest { .. } => "digest",
            Inadmissible::Unsigned { .. } => "unsigned",
            Inadmissible::BadSignature(_) => "bad-signature",
            Inadmissible::Precompiled => "precompiled",
            Inadmissible::CoreModule => "core-module",
            Inadmissible::NotWasm => "not-wasm",
            Inadmissible::Compile(CompileError::Invalid { .. }) => "invalid",
            Inadmissible::Compile(CompileError::TooCostly { .. }) => "too-costly",
            Inadmissible::Compile(CompileError::NoCompiler { .. }) => "no-compiler",
            Inadmissible::Unloadable(unloadable) => match unloadable {
                Unloadable::Start(fault) | Unloadable::Describe(fault) => fault.label(),
                Unloadable::Artifact { .. }
                | Unloadable::ForeignImport { .. }
                | Unloadable::ForeignVersion { .. }
                | Unloadable::NoKind
                | Unloadable::TwoKinds(_, _)
                | Unloadable::Mismatch { .. }
                | Unloadable::BadDescription { .. }
                | Unloadable::NoPlace { .. } => unloadable.label(),
            },
            Inadmissible::WrongKind { .. } => "wrong-kind",
            Inadmissible::BadSchema { .. } => "bad-schema",
            Inadmissible::Schema { .. } => "schema",
            Inadmissible::Settings { .. } => "settings",
            Inadmissible::Check(fault) => fault.label(),
            Inadmissible::Failing { failing, .. } => failing.label(),
            Inadmissible::NotDeterministic { .. } => "not-deterministic",
        }
    }

    /// What is wrong with the settings, when it is the settings.
    pub fn issues(&self) -> &[Issue] {
        match self {
            Inadmissible::Schema { issues } | Inadmissible::Settings { issues } => issues,
            Inadmissible::Limits(_)
            | Inadmissible::Unreadable { .. }
            | Inadmissible::Empty
            | Inadmissible::TooLarge { .. }
            | Inadmissible::Digest { .. }
            | Inadmissible::Unsigned { .. }
            | Inadmissible::BadSignature(_)
            | Inadmissible::Precompiled
            | Inadmissible::CoreModule
            | Inadmissible::NotWasm
            | Inadmissible::Compile(_)
            | Inadmissible::Unloadable(_)
            | Inadmissible::WrongKind { .. }
            | Inadmissible::BadSchema { .. }
            | Inadmissible::Check(_)
            | Inadmissible::Failing { .. }
            | Inadmissible::NotDeterministic { .. } => &[],
        }
    }
}

/// A component as it was read from its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The component's bytes.
    pub bytes: Vec<u8>,
    /// The text of its detached signature, when there is one.
    pub signature: Option<String>,
    /// Where the signature was looked for.
    pub signature_path: PathBuf,
}

impl Offer {
    /// Reads a component, bounded by `limits`, and the signature beside it.
    pub fn read(path: &Path, limits: &Limits) -> Result<Self, Inadmissible> {
        let most = u64::try_from(limits.component_bytes).unwrap_or(u64::MAX);
        let unreadable = |path: &Path| {
            let path = path.to_owned();
            move |why| Inadmissible::Unreadable { path, why }
        };
        let bytes = read_file(path, most.saturating_add(1)).map_err(unreadable(path))?;
        let mut name = path.as_os_str().to_owned();
        name.push(".minisig");
        let signature_path = PathBuf::from(name);
        let signature = match read_file(&signature_path, MAX_SIGNATURE) {
            Ok(text) => Some(String::from_utf8_lossy(&text).into_owned()),
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => None,
            Err(why) => return Err(unreadable(&signature_path)(why)),
        };
        Ok(Self { bytes, signature, signature_path })
    }

    /// Bytes that come from nowhere and nobody signed.
    pub fn unsigned(bytes: Vec<u8>) -> Self {
        Self { bytes, signature: None, signature_path: PathBuf::new() }
    }
}

/// A regular file, up to `most` bytes of it: a FIFO or device would block or never end.
fn read_file(path: &Path, most: u64) -> std::io::Result<Vec<u8>> {
    // Without this, opening a FIFO would wait for somebody who writes to it.
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(nonblocking).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What is asked of a component besides that it be harmless.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// The kind that is needed; `None`: any.
    pub wanted: Option<Kind>,
    /// The digest that its bytes must have; `None`: any.
    pub pinned: Option<Digest>,
    /// Whose signature counts.
    pub trust: &'a Trust,
    /// The settings that it will be given.
    pub settings: &'a [Setting],
    /// What a call may cost.
    pub limits: &'a Limits,
    /// Snapshots of this node that it must have an answer to, oldest first.
    pub recorded: &'a [Arc<Snapshot>],
}

/// A component that passed every step.
#[derive(Debug)]
pub struct Examined {
    /// Its machine code.
    pub artifact: Artifact,
    /// It, loaded where it was examined.
    pub guest: Arc<dyn Guest>,
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// Whose signature counts, by the name of the key.
    pub signed_by: Option<String>,
    /// What its trial came to.
    pub trial: Trial,
}

/// Takes a component through every step, on `runtime`.
pub fn examine(
    offer: &Offer,
    terms: &Terms<'_>,
    compiler: &Compiler,
    runtime: &dyn Runtime,
) -> Result<Examined, Inadmissible> {
    let Terms { wanted, pinned, trust, settings, limits, recorded } = *terms;
    limits.check()?;
    let digest = form::size_and_digest(&offer.bytes, limits, pinned)?;
    let signed_by = signature(offer, trust)?;
    form::check(&offer.bytes)?;
    let artifact = compiler.compile(&digest.hex(), &offer.bytes)?;
    let guest = runtime.load(&artifact, limits)?;
    let found = guest.kind();
    if let Some(wanted) = wanted.filter(|wanted| *wanted != found) {
        return Err(Inadmissible::WrongKind { found, wanted });
    }
    check_settings(&*guest, settings)?;
    let trial = Trial::run(&*guest, settings, recorded)?;
    Ok(Examined { artifact, guest, digest, signed_by, trial })
}

/// Whose signature counts. Where keys are trusted, a signature that is there must be good even if none is required.
fn signature(offer: &Offer, trust: &Trust) -> Result<Option<String>, Inadmissible> {
    match &offer.signature {
        Some(text) if !trust.keys.is_empty() => {
            let verified = trust.keys.verify(&offer.bytes, Some(text)).map_err(Inadmissible::BadSignature)?;
            Ok(Some(verified.key.to_string()))
        }
        _ if trust.required => Err(Inadmissible::Unsigned { expected: offer.signature_path.clone() }),
        Some(_) | None => Ok(None),
    }
}

/// Checks settings against the published schema, and then lets the component look at them.
fn check_settings(guest: &dyn Guest, settings: &[Setting]) -> Result<(), Inadmissible> {
    let schema =
        Schema::parse(&guest.descriptor().settings_schema).map_err(|why| Inadmissible::BadSchema { why })?;
    let issues = schema.check(settings);
    if !issues.is_empty() {
        return Err(Inadmissible::Schema { issues });
    }
    let issues = guest.check_settings(settings).result.map_err(Inadmissible::Check)?;
    if !issues.is_empty() {
        return Err(Inadmissible::Settings { issues });
    }
    Ok(())
}
