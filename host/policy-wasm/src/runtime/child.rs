//! Components in a child process that has no rights, which the daemon ends and replaces when it must.
//!
//! One child runs all components, one call at a time. It keeps nothing that matters: a new one is given the
//! same artifacts again, each when it is next asked.

mod keeper;
mod message;
mod serve;
mod wire;

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use enid_core::document::Snapshot;
use enid_core::kind::Kind;
use enid_core::snapshot::Setting;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use serde::de::DeserializeOwned;

use super::{Called, Cost, Descriptor, Guest, Place, Runtime};
use crate::artifact::Artifact;
use crate::confine::Gap;
use crate::fault::{Fault, Unloadable, words};
use crate::limits::Limits;
use keeper::{Keeper, Kept};
use message::{
    AskReply, Borrowed, CheckReply, GuestId, LoadReply, Loaded, MAX_LOADED, MAX_READY, MAX_REQUEST, Ready,
    Request, Tame, max_answer, tamed,
};
use wire::{Patience, Wire, WireError};

pub use serve::host_strategies;

/// The program's argument that makes it a child in which strategies run.
const ROLE: &str = "strategy-host";

/// How long a new child may take to give up its rights; it takes a few milliseconds.
const START: Duration = Duration::from_secs(5);
/// What a child may take beyond what its component may: reading the question, writing the answer, and
/// waiting for a processor on a busy node.
const GRACE: Duration = Duration::from_millis(100);
/// How long loading may take besides the calls that it makes: copying and mapping code.
const LOAD: Duration = Duration::from_secs(5);
/// Deadlines that a call may take before its child is taken for stuck; the child's own comes first.
const DEADLINES: u32 = 4;
/// Children that may end within [`CRASH_WINDOW`] before no more are started for a while.
const MAX_CRASHES: usize = 3;
/// See [`MAX_CRASHES`].
const CRASH_WINDOW: Duration = Duration::from_secs(10);

/// Runs components in a child process.
///
/// The child is started when it is first needed, and ended with the last of this and the components that it
/// loaded.
#[derive(Clone)]
pub struct Isolated {
    shared: Arc<Shared>,
}

impl Isolated {
    /// Runs components in children that are started as `program strategy-host`, which must call
    /// [`host_strategies`] first thing.
    pub fn new(program: PathBuf) -> Self {
        let line = Line { program, keeper: None, child: None, crashes: VecDeque::new(), gaps: Vec::new() };
        Self {
            shared: Arc::new(Shared {
                line: Mutex::new(line),
                retired: Mutex::new(Vec::new()),
                names: AtomicU64::new(0),
            }),
        }
    }

    /// The layers of confinement that this machine did not grant to the child; empty before there is one.
    pub fn gaps(&self) -> Vec<Gap> {
        self.shared.line().gaps.clone()
    }

    /// The process id of the child, if there is one.
    pub fn process(&self) -> Option<u32> {
        self.shared.line().child.as_ref().map(|child| child.kept.id)
    }
}

impl fmt::Debug for Isolated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Isolated").finish_non_exhaustive()
    }
}

impl Runtime for Isolated {
    fn load(&self, artifact: &Artifact, limits: &Limits) -> Result<Arc<dyn Guest>, Unloadable> {
        let id = self.shared.names.fetch_add(1, Ordering::Relaxed);
        let Loaded { kind, descriptor } =
            self.shared.with_line(|line| line.load(id, artifact, limits)).map_err(|broken| match broken {
                Broken::Unloadable(why) => why,
                Broken::Fault(fault) => Unloadable::NoPlace { why: words(&fault.to_string()) },
            })?;
        Ok(Arc::new(Remote {
            shared: Arc::clone(&self.shared),
            id,
            artifact: artifact.clone(),
            limits: limits.clone(),
            kind,
            descriptor,
        }))
    }

    fn place(&self) -> Place {
        Place::Process
    }
}

/// A component in the child, whichever child that is at the moment.
struct Remote {
    shared: Arc<Shared>,
    id: GuestId,
    artifact: Artifact,
    limits: Limits,
    kind: Kind,
    descriptor: Descriptor,
}

impl Remote {
    fn call<T>(&self, request: &Request<'_>) -> Called<T>
    where
        T: Tame,
        Called<T>: DeserializeOwned,
    {
        let called = self.shared.with_line(|line| {
            line.ensure_loaded(self)?;
            let patience = patience(self.limits.deadline * DEADLINES + GRACE);
            line.exchange(request, None, max_answer(&self.limits), patience)
        });
        match called {
            Ok(called) => tamed(called, &self.limits),
            Err(Broken::Fault(fault)) => Called { result: Err(fault), cost: Cost::default() },
            Err(Broken::Unloadable(why)) => {
                // It was loadable once, so this is the new child's doing or the machine's.
                let fault = Fault::Unasked { why: words(&why.to_string()) };
                Called { result: Err(fault), cost: Cost::default() }
            }
        }
    }
}

impl Guest for Remote {
    fn kind(&self) -> Kind {
        self.kind
    }

    fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    fn check_settings(&self, settings: &[Setting]) -> CheckReply {
        self.call(&Request::CheckSettings(self.id, Borrowed::Borrowed(settings)))
    }

    fn ask(&self, question: &Snapshot) -> AskReply {
        assert!(question.kind() == self.kind, "a {} question for a {} strategy", question.kind(), self.kind);
        let called: AskReply = self.call(&Request::Ask(self.id, Borrowed::Borrowed(question)));
        match &called.result {
            Ok(answer) if answer.kind() != self.kind => {
                let why = format!("it answered a {} question like {}", self.kind, answer.kind());
                self.shared.with_line(|line| line.end(&why));
                Called { result: Err(Fault::Crashed { why }), cost: called.cost }
            }
            Ok(_) | Err(_) => called,
        }
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .field("descriptor", &self.descriptor)
            .finish_non_exhaustive()
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.shared.retired.lock().unwrap_or_else(PoisonError::into_inner).push(self.id);
        self.shared.settle();
    }
}

/// What all handles have in common.
struct Shared {
    line: Mutex<Line>,
    /// Components that nobody holds any more; short, because whoever holds the line empties it.
    retired: Mutex<Vec<GuestId>>,
    names: AtomicU64,
}

impl Shared {
    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with_line<R>(&self, run: impl FnOnce(&mut Line) -> R) -> R {
        let result = run(&mut self.line());
        self.settle();
        result
    }

    /// Has the child forget the components that nobody holds, without waiting: who holds the line comes
    /// here after letting go of it.
    fn settle(&self) {
        loop {
            if self.retired.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
                return;
            }
            let mut line = match self.line.try_lock() {
                Ok(line) => line,
                Err(TryLockError::Poisoned(line)) => line.into_inner(),
                Err(TryLockError::WouldBlock) => return,
            };
            let retired = std::mem::take(&mut *self.retired.lock().unwrap_or_else(PoisonError::into_inner));
            for id in retired {
                line.unload(id);
            }
        }
    }
}

/// Why a request has no reply.
enum Broken {
    Fault(Fault),
    Unloadable(Unloadable),
}

impl From<Fault> for Broken {
    fn from(fault: Fault) -> Self {
        Broken::Fault(fault)
    }
}

/// The way to the child: one at a time walks it.
struct Line {
    program: PathBuf,
    // Ended before the keeper, which waits for it.
    child: Option<Connected>,
    keeper: Option<Keeper>,
    crashes: VecDeque<Instant>,
    gaps: Vec<Gap>,
}

/// A child that runs.
struct Connected {
    wire: Wire,
    kept: Kept,
    loaded: HashSet<GuestId>,
}

impl Line {
    fn load(&mut self, id: GuestId, artifact: &Artifact, limits: &Limits) -> Result<Loaded, Broken> {
        self.ensure_child()?;
        let patience = patience(LOAD + limits.deadline * 3 * DEADLINES);
        let request = Request::Load(id, limits.clone());
        let reply: LoadReply = self.exchange(&request, Some(artifact), MAX_LOADED, patience)?;
        let loaded = reply.map_err(|why| Broken::Unloadable(why.tame()))?;
        if let Some(child) = &mut self.child {
            child.loaded.insert(id);
        }
        Ok(loaded.tame())
    }

    /// Gives a new child what an earlier one had.
    fn ensure_loaded(&mut self, guest: &Remote) -> Result<(), Broken> {
        self.ensure_child()?;
        if self.child.as_ref().is_some_and(|child| child.loaded.contains(&guest.id)) {
            return Ok(());
        }
        let loaded = self.load(guest.id, &guest.artifact, &guest.limits)?;
        if loaded.kind != guest.kind || loaded.descriptor != guest.descriptor {
            let why = "it describes the same component in another way than the child before it".to_owned();
            self.end(&why);
            return Err(Fault::Crashed { why }.into());
        }
        Ok(())
    }

    fn unload(&mut self, id: GuestId) {
        let Some(child) = &mut self.child else { return };
        if child.loaded.remove(&id) {
            let sent = child.wire.send(&Request::Unload(id), None, MAX_REQUEST, patience(GRACE));
            if let Err(error) = sent {
                self.end(&error.to_string());
            }
        }
    }

    /// Sends a request and waits for the reply; whatever goes wrong on the way ends the child.
    fn exchange<T: DeserializeOwned>(
        &mut self,
        request: &Request<'_>,
        artifact: Option<&Artifact>,
        most: usize,
        patience: Patience,
    ) -> Result<T, Broken> {
        let Some(child) = &mut self.child else {
            return Err(Fault::Unasked { why: "there is no process to run it in".into() }.into());
        };
        let file = artifact.map(Artifact::file);
        let reply = child
            .wire
            .send(request, file, MAX_REQUEST, patience)
            .and_then(|()| child.wire.receive(most, patience));
        match reply {
            Ok(reply) => Ok(reply),
            Err(error @ WireError::TooLarge { .. }) => Err(Fault::Unasked { why: error.to_string() }.into()),
            Err(WireError::Late) => {
                self.end("it did not answer in time");
                Err(Fault::Deadline.into())
            }
            Err(WireError::Gone) => {
                let why = self.ended();
                Err(Fault::Crashed { why }.into())
            }
            Err(error @ (WireError::Garbage(_) | WireError::Socket(_))) => {
                let why = words(&error.to_string());
                self.end(&why);
                Err(Fault::Crashed { why }.into())
            }
        }
    }

    /// Ends the child because of something that it did.
    fn end(&mut self, why: &str) {
        if let Some(child) = self.child.take() {
            tracing::warn!(process = child.kept.id, reason = why, "ended the process that runs strategies");
            self.crashed();
        }
    }

    /// Learns how the child ended by itself.
    fn ended(&mut self) -> String {
        let Some(child) = self.child.take() else { return "it is gone".into() };
        let why = child.kept.ending().map_or_else(|| "it closed its socket".into(), told);
        tracing::warn!(process = child.kept.id, reason = why, "the process that runs strategies has ended");
        self.crashed();
        why
    }

    fn crashed(&mut self) {
        if self.crashes.len() == MAX_CRASHES {
            self.crashes.pop_front();
        }
        self.crashes.push_back(Instant::now());
    }

    fn ensure_child(&mut self) -> Result<(), Broken> {
        // One that ended while nobody asked it anything, mostly because the machine had no memory left, is
        // replaced without blaming the component that is asked next.
        if self.child.as_ref().is_some_and(|child| child.kept.has_ended()) {
            self.ended();
        }
        if self.child.is_some() {
            return Ok(());
        }
        if let Some(left) = self.pause() {
            let secs = left.as_secs() + 1;
            let why = format!("its process ended {MAX_CRASHES} times in a row; the next starts in {secs} s");
            return Err(Fault::Unasked { why }.into());
        }
        match self.start() {
            Ok(child) => {
                self.child = Some(child);
                Ok(())
            }
            Err(error) => {
                self.crashed();
                let why = words(&error.to_string());
                tracing::warn!(reason = why, "no process to run strategies in");
                Err(Fault::Unasked { why }.into())
            }
        }
    }

    /// How long no child is started, because the last ones ended so quickly.
    fn pause(&self) -> Option<Duration> {
        let oldest = self.crashes.front().filter(|_| self.crashes.len() == MAX_CRASHES)?;
        CRASH_WINDOW.checked_sub(oldest.elapsed())
    }

    fn start(&mut self) -> io::Result<Connected> {
        let (ours, theirs) = pair()?;
        let kept = self.keeper()?.child(theirs)?;
        let mut wire = Wire::new(ours);
        let ready: Ready = wire.receive(MAX_READY, patience(START)).map_err(|error| match error {
            WireError::Gone => {
                io::Error::other(kept.ending().map_or_else(|| "it closed its socket".into(), told))
            }
            error @ (WireError::Garbage(_)
            | WireError::Late
            | WireError::Socket(_)
            | WireError::TooLarge { .. }) => io::Error::other(error),
        })?;
        let gaps: Vec<Gap> = ready.result.map_err(io::Error::other)?.into_iter().map(Tame::tame).collect();
        if gaps != self.gaps {
            for gap in &gaps {
                tracing::warn!(layer = %gap.layer, reason = gap.why, "strategies are confined less than they could be");
            }
            self.gaps = gaps;
        }
        tracing::debug!(process = kept.id, "started a process to run strategies in");
        Ok(Connected { wire, kept, loaded: HashSet::new() })
    }

    fn keeper(&mut self) -> io::Result<&Keeper> {
        match &mut self.keeper {
            Some(keeper) => Ok(keeper),
            none => Ok(none.insert(Keeper::start(self.program.clone(), ROLE)?)),
        }
    }
}

fn patience(time: Duration) -> Patience {
    Patience::Until(Instant::now() + time)
}

fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?)
}

/// How a child ended, in a few words.
fn told(status: ExitStatus) -> String {
    status.to_string()
}
