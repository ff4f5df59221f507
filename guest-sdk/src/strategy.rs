//! The traits that a strategy implements, one per kind, and the answer it gives.

use crate::subnet_selection::Ranked;
use crate::warm_pool::Band;
use crate::{Failure, Mode, Setting, Settings, State, Value};

/// Decides how many addresses the node holds ready.
pub trait WarmPool {
    /// What the operator can set.
    type Settings: Settings;
    /// What it remembers.
    type State: State;
    /// Answer one question; pure.
    fn decide(
        settings: &Self::Settings,
        state: &mut Self::State,
        snapshot: &crate::warm_pool::Snapshot,
    ) -> Result<Answer<Band>, Failure>;
}

/// Decides how many pods kubelet should be told the node can run.
pub trait MaxPods {
    /// What the operator can set.
    type Settings: Settings;
    /// What it remembers.
    type State: State;
    /// Answer one question; pure.
    fn decide(
        settings: &Self::Settings,
        state: &mut Self::State,
        snapshot: &crate::max_pods::Snapshot,
    ) -> Result<Answer<u32>, Failure>;
}

/// Decides in which subnet the next ENI is created.
pub trait SubnetSelection {
    /// What the operator can set.
    type Settings: Settings;
    /// What it remembers.
    type State: State;
    /// Answer one question; pure. The order of the list is the preference; what is left out is not tried.
    fn decide(
        settings: &Self::Settings,
        state: &mut Self::State,
        snapshot: &crate::subnet_selection::Snapshot,
    ) -> Result<Answer<Vec<Ranked>>, Failure>;
}

/// A target with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<T> {
    /// The target.
    pub target: T,
    /// Why, in one sentence, for people; the host cuts it to 256 bytes.
    pub reason: String,
    /// Ask again after this many milliseconds, even if nothing changes.
    pub next_check_ms: Option<u64>,
    /// Facts for people and metrics; the host keeps 32.
    pub annotations: Vec<Setting>,
}

impl<T> Answer<T> {
    /// An answer that only has a reason.
    pub fn new(target: T, reason: impl Into<String>) -> Self {
        Self { target, reason: reason.into(), next_check_ms: None, annotations: Vec::new() }
    }

    /// Asks to be asked again after so many milliseconds.
    #[must_use]
    pub fn next_check(mut self, millis: u64) -> Self {
        self.next_check_ms = Some(millis);
        self
    }

    /// Adds a fact for people and metrics.
    #[must_use]
    pub fn annotate(mut self, key: impl Into<String>, value: Value) -> Self {
        self.annotations.push(Setting { key: key.into(), value });
        self
    }
}

impl Mode {
    /// The mode as people write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::SecondaryIp => "secondary-ip",
            Mode::Prefix => "prefix",
        }
    }
}
