//! Where components run: in this process, or in a child that has nothing to lose.

mod child;
mod in_process;

use std::fmt;
use std::sync::Arc;

use enid_core::document::{Answer, Snapshot};
use enid_core::kind::Kind;
use enid_core::snapshot::Setting;
use serde::{Deserialize, Serialize};

use crate::artifact::Artifact;
use crate::fault::{Fault, Unloadable};
use crate::limits::Limits;

pub use crate::confine::{Gap, Layer};
pub use child::{Isolated, host_strategies};
pub use in_process::InProcess;

/// Who a component says it is; bounded, but its own words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    /// For example `warm-targets`.
    pub name: String,
    /// For example `1.4.0`.
    pub version: String,
    /// What it does, in one sentence.
    pub summary: String,
    /// JSON Schema of its settings.
    pub settings_schema: String,
    /// The format of its state.
    pub state_format: u32,
}

/// One thing that a component finds wrong with its settings; bounded, but its own words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issue {
    /// The key it is about.
    pub key: String,
    /// What is wrong and what would be right.
    pub message: String,
}

/// How much a log line matters to its author.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// For the author.
    Debug,
    /// For the curious operator.
    Info,
    /// Something is off.
    Warn,
}

/// A line that a component logged: control characters escaped, cut to size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// How much it matters.
    pub level: Level,
    /// What it says.
    pub text: String,
}

/// What a call came to and what it cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Called<T> {
    /// Its result.
    pub result: Result<T, Fault>,
    /// What it cost.
    pub cost: Cost,
}

/// What a call cost, failed or not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Fuel used.
    pub fuel: u64,
    /// Linear memory at the end, bytes, summed over all memories.
    pub memory: u64,
    /// What it logged.
    pub lines: Vec<LogLine>,
    /// Lines beyond the limit, which are lost.
    pub dropped: u32,
}

/// Where components run.
///
/// Loading and asking block the calling thread; neither ever takes longer than the limits allow.
pub trait Runtime: fmt::Debug + Send + Sync {
    /// Loads a compiled component: links, starts and describes it once.
    fn load(&self, artifact: &Artifact, limits: &Limits) -> Result<Arc<dyn Guest>, Unloadable>;
    /// What to call the place.
    fn place(&self) -> Place;
}

/// What an operator may choose between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// A child process without rights.
    #[default]
    Process,
    /// The host's own process.
    InProcess,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Place::Process => "process",
            Place::InProcess => "in-process",
        })
    }
}

/// A loaded component. Every call runs in a fresh instance.
pub trait Guest: fmt::Debug + Send + Sync {
    /// What it decides about.
    fn kind(&self) -> Kind;
    /// Who it says it is.
    fn descriptor(&self) -> &Descriptor;
    /// What is wrong with these settings in its eyes; empty when they are fine.
    fn check_settings(&self, settings: &[Setting]) -> Called<Vec<Issue>>;
    /// Asks it a question; the answer is of the question's kind, and untrusted.
    ///
    /// A question of another kind than [`Guest::kind`] is our own bug and panics.
    fn ask(&self, question: &Snapshot) -> Called<Answer>;
}
