//! A component under examination: read, compiled, loaded, asked.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use enid_component_store::Digest;
use enid_core::document::{Answer, MAX_DOCUMENT, Snapshot};
use enid_core::kind::Kind;
use enid_core::snapshot::Setting;
use enid_policy_wasm::artifact::Artifact;
use enid_policy_wasm::compile::Compiler;
use enid_policy_wasm::runtime::{Called, Guest, InProcess, Runtime as _};
use enid_policy_wasm::{Engine, Fault, Limits};

use crate::failure::Failure;

/// The file of a component, as it is.
#[derive(Clone, Debug)]
pub(crate) struct ComponentFile {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
    pub(crate) digest: Digest,
}

impl ComponentFile {
    /// Reads a file that no host could want to be larger.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let bytes = read_at_most(path, Limits::most().component_bytes)?;
        Ok(Self { path: path.to_owned(), digest: Digest::of(&bytes), bytes })
    }
}

/// Compiles and loads components in this process: they are the author's own.
#[derive(Debug)]
pub(crate) struct Workshop {
    compiler: Compiler,
    runtime: InProcess,
}

impl Workshop {
    pub(crate) fn open() -> Result<Self, Failure> {
        let engine = Engine::new().map_err(Failure::unavailable)?;
        let runtime = InProcess::start().map_err(Failure::unavailable)?;
        Ok(Self { compiler: Compiler::here(engine), runtime })
    }

    /// Compiles and loads a component; that it can be loaded does not mean that it would be admitted.
    pub(crate) fn load(&self, file: ComponentFile, limits: &Limits) -> Result<Subject, Failure> {
        let named = |why: &dyn std::fmt::Display| {
            Failure::failed(anyhow!("{}: {why}; see `enid strategy inspect`", file.path.display()))
        };
        let started = Instant::now();
        let artifact =
            self.compiler.compile(&file.digest.hex(), &file.bytes).map_err(|error| named(&error))?;
        let compiling = started.elapsed();
        let started = Instant::now();
        let guest = self.runtime.load(&artifact, limits).map_err(|error| named(&error))?;
        let loading = started.elapsed();
        Ok(Subject { file, artifact, guest, limits: limits.clone(), compiling, loading })
    }

    pub(crate) fn compiler(&self) -> &Compiler {
        &self.compiler
    }

    pub(crate) fn runtime(&self) -> &InProcess {
        &self.runtime
    }

    /// Reads, compiles and loads.
    pub(crate) fn open_component(&self, path: &Path, limits: &Limits) -> Result<Subject, Failure> {
        self.load(ComponentFile::read(path)?, limits)
    }
}

/// A component that runs.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) file: ComponentFile,
    pub(crate) artifact: Artifact,
    pub(crate) guest: Arc<dyn Guest>,
    pub(crate) limits: Limits,
    /// How long compiling took.
    pub(crate) compiling: Duration,
    /// How long linking, starting and `describe` took.
    pub(crate) loading: Duration,
}

/// One answer, and how long it took by this machine's clock.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) called: Called<Answer>,
    pub(crate) took: Duration,
}

/// Whether a question asked twice got the same answer at the same cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Steadiness {
    Same,
    /// What differs.
    Differs(String),
}

impl Subject {
    pub(crate) fn kind(&self) -> Kind {
        self.guest.kind()
    }

    /// `name version (kind), digest`.
    pub(crate) fn title(&self) -> String {
        let who = self.guest.descriptor();
        format!("{} {} ({}), {}", who.name, who.version, self.kind(), self.file.digest)
    }

    /// Asks in a fresh instance.
    pub(crate) fn ask(&self, question: &Snapshot) -> Asked {
        let started = Instant::now();
        let called = self.guest.ask(question);
        Asked { called, took: started.elapsed() }
    }

    /// Asks twice, each time in a fresh instance; the first answer counts.
    pub(crate) fn ask_twice(&self, question: &Snapshot) -> (Asked, Steadiness) {
        let first = self.ask(question);
        let again = self.ask(question);
        let steadiness = compare(&first.called, &again.called);
        (first, steadiness)
    }

    /// What is wrong with settings by its schema or in its own eyes: with any of these, a host refuses them.
    pub(crate) fn issues_with(&self, settings: &[Setting]) -> Vec<String> {
        match self.guest.check_settings(settings).result {
            Ok(issues) => issues
                .into_iter()
                .map(|issue| format!("setting `{}`: {}", issue.key, issue.message))
                .collect(),
            Err(fault) => vec![format!("its `check-settings` failed: {fault}")],
        }
    }

    /// Refuses a question that this component is not for.
    pub(crate) fn fits(&self, question: &Snapshot) -> Result<(), Failure> {
        if question.kind() == self.kind() {
            return Ok(());
        }
        Err(Failure::input(anyhow!(
            "the snapshot is for a {} strategy, but {} is a {} strategy",
            question.kind(),
            self.file.path.display(),
            self.kind()
        )))
    }
}

/// Compares results and costs. A deadline depends on the machine's load, so it is no sign of anything.
pub(crate) fn compare(first: &Called<Answer>, again: &Called<Answer>) -> Steadiness {
    let late = |called: &Called<Answer>| matches!(called.result, Err(Fault::Deadline));
    if late(first) || late(again) {
        return Steadiness::Same;
    }
    let differs = if first.result != again.result {
        "the answer"
    } else if first.cost.fuel != again.cost.fuel {
        "the fuel"
    } else if first.cost != again.cost {
        "memory or log"
    } else {
        return Steadiness::Same;
    };
    Steadiness::Differs(format!("{differs} differs between two calls with one question"))
}

/// The settings of a question, or those of another host's document, read from a file or `-`.
pub(crate) fn read_snapshot(path: &Path) -> Result<Snapshot, Failure> {
    let text = read_text(path)?;
    Snapshot::from_json(&text).map_err(|error| Failure::input(error).of(path))
}

/// A text file of at most a document's size; `-` is standard input.
pub(crate) fn read_text(path: &Path) -> Result<String, Failure> {
    let bytes = if path == Path::new("-") {
        bounded(std::io::stdin().lock(), MAX_DOCUMENT).map_err(Failure::reading(path))?
    } else {
        read_at_most(path, MAX_DOCUMENT)?
    };
    String::from_utf8(bytes).map_err(|_| Failure::input(anyhow!("{} is not UTF-8 text", path.display())))
}

fn read_at_most(path: &Path, most: usize) -> Result<Vec<u8>, Failure> {
    let file = File::open(path).map_err(Failure::reading(path))?;
    let bytes = bounded(file, most).map_err(Failure::reading(path))?;
    if bytes.len() > most {
        return Err(Failure::input(anyhow!("{} has more than {most} bytes", path.display())));
    }
    Ok(bytes)
}

/// One byte more than the most, so that a larger source is noticed.
fn bounded(source: impl std::io::Read, most: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use enid_core::proposal::{Outcome, Proposal};
    use enid_policy_wasm::runtime::Cost;

    use super::*;

    fn called(pods: u32, fuel: u64) -> Called<Answer> {
        let answer = Answer::MaxPods(Proposal { target: pods, outcome: Outcome::default() });
        Called { result: Ok(answer), cost: Cost { fuel, ..Cost::default() } }
    }

    #[test]
    fn answers_and_fuel_must_be_the_same_twice() {
        assert_eq!(compare(&called(1, 5), &called(1, 5)), Steadiness::Same);
        let differs = |other| matches!(compare(&called(1, 5), &other), Steadiness::Differs(_));
        assert!(differs(called(2, 5)) && differs(called(1, 6)));
        assert!(differs(Called { result: Err(Fault::Fuel), cost: Cost::default() }));
    }

    #[test]
    fn a_missed_deadline_tells_nothing_about_determinism() {
        let late = Called { result: Err(Fault::Deadline), cost: Cost::default() };
        assert_eq!(compare(&called(1, 5), &late), Steadiness::Same);
    }
}
