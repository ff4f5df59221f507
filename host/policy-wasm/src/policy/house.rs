//! What all ladders share: the compiler, the places where components run, quarantine, and what is written down.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use enid_core::document::Snapshot;

use super::LoadError;
use super::strategy::Loaded;
use crate::artifact::Artifact;
use crate::cache::Cache;
use crate::compile::Compiler;
use crate::config;
use crate::engine::Engine;
use crate::limits::Limits;
use crate::quarantine::{Quarantine, Quarantined, Standing, Weight};
use crate::question;
use crate::record::Recorder;
use crate::runtime::{InProcess, Isolated, Place, Runtime};

/// Work off the path of decisions that may wait; more is skipped and counted.
const ERRANDS: usize = 64;
/// How far behind everything else that work stands.
const NICE: i32 = 10;

/// Shared by the ladders of all kinds.
#[derive(Debug)]
pub(super) struct House {
    pub(super) compiler: Compiler,
    /// Where components answer in earnest.
    pub(super) live: Arc<dyn Runtime>,
    /// Where components are tried, shadowed and probed: whatever they do there delays nobody.
    pub(super) aside: Arc<dyn Runtime>,
    pub(super) recorder: Option<Recorder>,
    quarantine: Mutex<Quarantine>,
    errands: Errands,
    /// The node's clock as of the last question, for reports that no question asks for.
    now_ms: AtomicU64,
}

impl House {
    pub(super) fn open(config: &config::House) -> Result<Arc<Self>, LoadError> {
        let cache = config.cache.clone().map(Cache::open).transpose()?;
        let (compiler, live, aside): (_, Arc<dyn Runtime>, Arc<dyn Runtime>) =
            match (config.place, &config.program) {
                (Place::InProcess, None) => {
                    let engine = Engine::new()?;
                    let here: Arc<dyn Runtime> = Arc::new(InProcess::with(engine.clone()));
                    (Compiler::here(engine), Arc::clone(&here), here)
                }
                (Place::InProcess, Some(program)) => {
                    let here: Arc<dyn Runtime> = Arc::new(InProcess::with(Engine::new()?));
                    (Compiler::child(program.clone(), cache)?, Arc::clone(&here), here)
                }
                (Place::Process, Some(program)) => (
                    Compiler::child(program.clone(), cache)?,
                    Arc::new(Isolated::new(program.clone())),
                    Arc::new(Isolated::new(program.clone())),
                ),
                (Place::Process, None) => return Err(LoadError::NoProgram),
            };
        let recorder = match config.records.clone() {
            Some(directory) => {
                let shown = directory.display().to_string();
                let started = Recorder::start(directory);
                Some(started.map_err(|why| LoadError::Records { directory: shown, why })?)
            }
            None => None,
        };
        let written = recorder.as_ref().map(Recorder::quarantined).unwrap_or_default();
        Ok(Arc::new(Self {
            compiler,
            live,
            aside,
            recorder,
            quarantine: Mutex::new(Quarantine::restore(written)),
            errands: Errands::start().map_err(LoadError::NoThread)?,
            now_ms: AtomicU64::new(0),
        }))
    }

    /// Whether to ask a component; the built-in always.
    pub(super) fn standing(&self, digest: Option<&str>, now_ms: u64) -> Standing {
        self.now_ms.store(now_ms, Ordering::Relaxed);
        digest.map_or(Standing::Good, |digest| self.lock().standing(digest, now_ms))
    }

    /// A component answered admissibly.
    pub(super) fn answered(&self, digest: &str) {
        if self.lock().answered(digest) {
            tracing::info!(component = digest, "the component is out of quarantine");
            self.write_down();
        }
    }

    /// A component failed; its question is kept, and it may have to leave.
    pub(super) fn failed(&self, digest: &str, fault: &Seen<'_>, weight: Weight) {
        let now_ms = self.now_ms.load(Ordering::Relaxed);
        if let Some(recorder) = &self.recorder {
            recorder.fault(digest, fault.label, fault.question);
        }
        let out = self.lock().failed(digest, fault.why, weight, now_ms);
        if out {
            tracing::warn!(component = digest, reason = fault.why, "the component is in quarantine");
        }
        if out || self.lock().standing(digest, now_ms) != Standing::Good {
            self.write_down();
        }
    }

    fn is_out(&self, digest: &str) -> bool {
        self.lock().standing(digest, self.now_ms.load(Ordering::Relaxed)) != Standing::Good
    }

    pub(super) fn quarantined(&self) -> Vec<Quarantined> {
        self.lock().list(self.now_ms.load(Ordering::Relaxed))
    }

    pub(super) fn clear_quarantine(&self, prefix: &str) -> usize {
        let cleared = self.lock().clear(prefix);
        self.write_down();
        cleared
    }

    /// Does `errand` when nothing else is to be done; false when there is too much of it already.
    pub(super) fn run_aside(&self, errand: impl FnOnce() + Send + 'static) -> bool {
        self.errands.queue.as_ref().is_some_and(|queue| queue.try_send(Box::new(errand)).is_ok())
    }

    /// Waits until all errands so far are done.
    pub(super) fn finish_errands(&self) {
        let (done, finished) = sync_channel(1);
        let errand = move || {
            // Whoever waited may be gone.
            let _gone = done.send(());
        };
        if let Some(queue) = &self.errands.queue
            && queue.send(Box::new(errand)).is_ok()
        {
            // An error means that the thread is gone, and its errands with it.
            let _gone = finished.recv();
        }
    }

    fn write_down(&self) {
        if let Some(recorder) = &self.recorder {
            recorder.quarantine(self.quarantined());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Quarantine> {
        self.quarantine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A failure as it is held against a component.
pub(super) struct Seen<'a> {
    pub(super) label: &'a str,
    pub(super) why: &'a str,
    pub(super) question: &'a Snapshot,
}

/// A component that can be asked again later, whatever becomes of the ladder it was on.
#[derive(Clone, Debug)]
pub(super) struct Suspect {
    artifact: Artifact,
    limits: Limits,
}

impl Suspect {
    pub(super) fn of(loaded: &Loaded) -> Self {
        Self { artifact: loaded.artifact.clone(), limits: loaded.limits.clone() }
    }

    /// Asks the same question again, aside: the same fault counts again, anything else counts as unpredictable.
    pub(super) fn confirm(&self, house: &House, label: &str, question: &Snapshot) {
        let digest = self.artifact.digest();
        // Who is out is probed when its time has come; a fault from before is no failed probe.
        if house.is_out(digest) {
            return;
        }
        let again = self.ask(house, question);
        match again {
            Err((again, why)) if again == label => {
                house.failed(digest, &Seen { label, why: &why, question }, Weight::Counts);
            }
            // Time and memory of a busy machine are not the component's doing.
            Err(("deadline" | "crashed" | "unasked", _)) => {}
            Err((again, why)) => {
                let why = format!("asked again, it failed otherwise ({again}): {why}");
                house.failed(digest, &Seen { label, why: &why, question }, Weight::Unpredictable);
            }
            Ok(()) => {
                let why = format!("it failed ({label}) and, asked again, it did not");
                house.failed(digest, &Seen { label, why: &why, question }, Weight::Unpredictable);
            }
        }
    }

    /// Sees whether it would answer by now, aside.
    pub(super) fn probe(&self, house: &House, question: &Snapshot) {
        match self.ask(house, question) {
            Ok(()) => house.answered(self.artifact.digest()),
            // It was not probed at all.
            Err(("unasked", _)) => {}
            Err((label, why)) => {
                house.failed(self.artifact.digest(), &Seen { label, why: &why, question }, Weight::Counts);
            }
        }
    }

    fn ask(&self, house: &House, question: &Snapshot) -> Result<(), (&'static str, String)> {
        let guest = house
            .aside
            .load(&self.artifact, &self.limits)
            .map_err(|unloadable| ("unasked", unloadable.to_string()))?;
        let answer = guest.ask(question).result.map_err(|fault| (fault.label(), fault.to_string()))?;
        match question::judge(question, answer) {
            Ok(_) => Ok(()),
            Err(failing) => Err((failing.label(), failing.to_string())),
        }
    }
}

/// A thread for what nobody waits for.
#[derive(Debug)]
struct Errands {
    queue: Option<SyncSender<Errand>>,
    /// Set when what is still queued is not worth waiting for.
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

type Errand = Box<dyn FnOnce() + Send>;

impl Errands {
    fn start() -> std::io::Result<Self> {
        let (queue, errands) = sync_channel::<Errand>(ERRANDS);
        let over = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&over);
        let thread = std::thread::Builder::new().name("strategy-errands".into()).spawn(move || {
            // Only a kindness: without it the errands run at the priority of the rest.
            let _refused = rustix::process::setpriority_process(None, NICE);
            for errand in errands {
                if theirs.load(Ordering::Relaxed) {
                    break;
                }
                // Its panic has been reported; the next errand is another matter.
                let _panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(errand));
            }
        })?;
        Ok(Self { queue: Some(queue), over, thread: Some(thread) })
    }
}

impl Drop for Errands {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        drop(self.queue.take());
        let Some(thread) = self.thread.take() else { return };
        // The last errand may hold the last handle on the house; a thread cannot wait for itself.
        if thread.thread().id() != std::thread::current().id() {
            // Its panic was reported when it happened.
            let _ended = thread.join();
        }
    }
}
