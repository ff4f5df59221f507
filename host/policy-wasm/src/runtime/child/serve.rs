//! The child's side: gives up its rights, then answers until the daemon is gone.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::Arc;

use super::message::{GuestId, LoadReply, Loaded, MAX_REQUEST, Ready, Request};
use super::wire::{Patience, Wire, WireError};
use crate::artifact::{Artifact, MAX_CODE};
use crate::confine::{Bounds, Calls, Confined};
use crate::engine::Engine;
use crate::fault::{Fault, Unloadable, words};
use crate::limits::Limits;
use crate::runtime::{Called, Cost, Guest, InProcess, Runtime};

/// What the child may use. A call's own limits come first; these hold whatever the engine does.
const BOUNDS: Bounds = Bounds {
    // Every linear memory reserves 4 GiB and guards around it, so that compiled code need not check
    // addresses; the most that one instance may have is eight.
    address_space: 64 << 30,
    // The largest linear memory that may be configured, a few interpreters' code, and what is behind them.
    data: 768 << 20,
    // It lives as long as the daemon; what a call may take is the daemon's to watch.
    cpu_secs: None,
    // Only anonymous memory is ever written, an image for each linear memory.
    file_size: MAX_CODE as u64,
    files: 256,
    nice: 0,
};

/// Bytes of an answer: it is for the daemon, who reads it, to bound it.
const UNBOUNDED: usize = u32::MAX as usize;

/// The main function of the child in which strategies run; the daemon starts it and talks to it over
/// standard input.
///
/// To be called before anything else in the process, while it has one thread.
pub fn host_strategies() -> ExitCode {
    match serve() {
        Ok(()) | Err(WireError::Gone) => ExitCode::SUCCESS,
        // Nobody is there to be told.
        Err(_) => ExitCode::FAILURE,
    }
}

fn serve() -> Result<(), WireError> {
    let mut wire = Wire::new(standard_input());
    let engine = match confined_engine() {
        Ok((engine, ready)) => {
            wire.send(&ready, None, UNBOUNDED, Patience::Endless)?;
            engine
        }
        Err(why) => {
            let ready = Ready { result: Err(words(&why)) };
            return wire.send(&ready, None, UNBOUNDED, Patience::Endless);
        }
    };
    let mut host = Host { runtime: InProcess::with(engine), guests: HashMap::new() };
    loop {
        host.turn(&mut wire)?;
    }
}

/// Gives up all rights, with the threads that will be needed started in between.
fn confined_engine() -> Result<(Engine, Ready), String> {
    let confined = Confined::enter(c"enid-strategies", &BOUNDS).map_err(|error| chain(&error))?;
    let engine = Engine::new().map_err(|error| chain(&error))?;
    engine.settle();
    let gaps = confined.seal(Calls::Run).map_err(|error| chain(&error))?;
    Ok((engine, Ready { result: Ok(gaps) }))
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

fn standard_input() -> OwnedFd {
    use std::os::fd::FromRawFd;
    // SAFETY: the daemon starts this process with a socket as standard input, nothing else in it has been
    // run, and std's handle of it, which does not own it, is never used.
    #[expect(unsafe_code, reason = "std never gives standard input away")]
    unsafe {
        OwnedFd::from_raw_fd(0)
    }
}

struct Host {
    runtime: InProcess,
    guests: HashMap<GuestId, Arc<dyn Guest>>,
}

impl Host {
    /// Reads one request and answers it.
    fn turn(&mut self, wire: &mut Wire) -> Result<(), WireError> {
        let request: Request<'_> = wire.receive(MAX_REQUEST, Patience::Endless)?;
        match request {
            Request::Load(id, limits) => {
                // Only here: what was sent together may have been received together, code and all.
                let code = wire.take_descriptor();
                let reply = self.load(id, code, &limits);
                wire.send(&reply, None, UNBOUNDED, Patience::Endless)
            }
            Request::Unload(id) => {
                self.guests.remove(&id);
                Ok(())
            }
            Request::Ask(id, question) => {
                let reply = self.call(id, |guest| guest.ask(&question));
                wire.send(&reply, None, UNBOUNDED, Patience::Endless)
            }
            Request::CheckSettings(id, settings) => {
                let reply = self.call(id, |guest| guest.check_settings(&settings));
                wire.send(&reply, None, UNBOUNDED, Patience::Endless)
            }
        }
    }

    fn load(&mut self, id: GuestId, code: Option<OwnedFd>, limits: &Limits) -> LoadReply {
        let unusable = |why: String| Unloadable::Artifact { why: words(&why) };
        let code = code.ok_or_else(|| unusable("no code came along".into()))?;
        let artifact = Artifact::sealed("", code).map_err(|error| unusable(error.to_string()))?;
        let guest = self.runtime.load(&artifact, limits)?;
        let loaded = Loaded { kind: guest.kind(), descriptor: guest.descriptor().clone() };
        self.guests.insert(id, guest);
        Ok(loaded)
    }

    fn call<T>(&self, id: GuestId, call: impl FnOnce(&dyn Guest) -> Called<T>) -> Called<T> {
        match self.guests.get(&id) {
            Some(guest) => call(&**guest),
            None => {
                let why = format!("no component {id} is loaded");
                Called { result: Err(Fault::Crashed { why }), cost: Cost::default() }
            }
        }
    }
}
