//! The compiler's and sandbox's settings, and the ticker behind deadlines.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use wasmtime::{Config, EngineWeak, OptLevel, WasmFeatures};

use crate::fault::words;

/// How often running calls are checked against their deadline.
const TICK: Duration = Duration::from_millis(5);
/// Stack of compiled code; the thread that calls must have well more, as every Rust thread does by default.
const MAX_WASM_STACK: usize = 256 << 10;

/// The sandbox could not be set up at all: not the fault of any component.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The machine or its policy does not allow running compiled code.
    #[error("set up the WebAssembly engine: {why}")]
    Unusable {
        /// The engine's reason.
        why: String,
    },
    /// No thread for deadlines.
    #[error("start the thread behind deadlines")]
    NoTicker(#[source] std::io::Error),
}

/// Compiles components and runs them; cheap to clone, one per process is enough.
#[derive(Clone)]
pub struct Engine {
    wasm: wasmtime::Engine,
    ticker: Arc<Ticker>,
}

impl Engine {
    /// Sets up the sandbox and starts the ticker, which sleeps while no component runs.
    pub fn new() -> Result<Self, EngineError> {
        let unusable = |error: wasmtime::Error| EngineError::Unusable { why: format!("{error:#}") };
        let wasm = wasmtime::Engine::new(&config()).map_err(unusable)?;
        let ticker = Ticker::start(wasm.weak()).map_err(EngineError::NoTicker)?;
        Ok(Self { wasm, ticker: Arc::new(ticker) })
    }

    /// Compiles a component: milliseconds to seconds of one core, and the most intricate code there is. The
    /// daemon has it done in a child.
    pub(crate) fn compile(&self, component: &[u8]) -> Result<Vec<u8>, String> {
        compile_on(&self.wasm, component)
    }

    pub(crate) fn wasm(&self) -> &wasmtime::Engine {
        &self.wasm
    }

    /// Keeps the ticker awake while a call runs.
    pub(crate) fn running(&self) -> Running<'_> {
        self.ticker.gate.enter();
        Running(&self.ticker.gate)
    }

    /// Waits until the ticker sleeps, past everything that a thread does when it starts.
    pub(crate) fn settle(&self) {
        self.ticker.gate.wait_until_asleep();
    }

    /// The deadline in ticks: rounded up, plus the tick that may already be under way.
    pub(crate) fn ticks(deadline: Duration) -> u64 {
        u64::try_from(deadline.as_nanos().div_ceil(TICK.as_nanos())).unwrap_or(u64::MAX).saturating_add(1)
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

/// Compiles a component where nothing is run, so that no thread is needed.
pub(crate) fn precompile(component: &[u8]) -> Result<Vec<u8>, String> {
    let engine = wasmtime::Engine::new(&config()).map_err(|error| words(&format!("{error:#}")))?;
    compile_on(&engine, component)
}

/// Compiles; where the compiler gives up in a panic, the component is what it gave up on.
///
/// Some components that pass validation make it do so: it builds code of its own between nested components
/// that exchange text, and that code needs features that are switched off here.
fn compile_on(engine: &wasmtime::Engine, component: &[u8]) -> Result<Vec<u8>, String> {
    // The compiler's state is not looked at again: what it was making is lost with the panic.
    let compiled =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| engine.precompile_component(component)));
    match compiled {
        Ok(compiled) => compiled.map_err(|error| words(&format!("{error:#}"))),
        Err(_) => {
            Err("the compiler gives up on it; nested components that exchange text are not supported".into())
        }
    }
}

/// What compiled code depends on besides the component: the engine's exact version and settings, and the
/// machine with what its processor can do. 64 hexadecimal digits.
pub(crate) fn fingerprint() -> Result<String, EngineError> {
    let engine = wasmtime::Engine::new(&config())
        .map_err(|error| EngineError::Unusable { why: format!("{error:#}") })?;
    let mut digest = Digesting(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut digest);
    Ok(digest.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Takes a value's hashed parts into a digest without collisions.
struct Digesting(Sha256);

impl Hasher for Digesting {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        unreachable!("only the digest is asked for")
    }
}

/// The one place where the sandbox is configured: what compiled code may contain and how it is bounded.
///
/// Everything that no toolchain of ours needs is off, because each feature is compiler code that a hostile
/// component would otherwise reach. Memory is allocated on demand with copy-on-write images: measured
/// faster than pooling for one decision at a time.
fn config() -> Config {
    let mut config = Config::new();
    config.wasm_component_model(true);
    config.concurrency_support(false);
    for feature in [
        WasmFeatures::EXCEPTIONS,
        WasmFeatures::FUNCTION_REFERENCES,
        WasmFeatures::GC,
        WasmFeatures::GC_TYPES,
        WasmFeatures::MEMORY64,
        WasmFeatures::MULTI_MEMORY,
        WasmFeatures::RELAXED_SIMD,
        WasmFeatures::SIMD,
        WasmFeatures::STACK_SWITCHING,
        WasmFeatures::THREADS,
    ] {
        config.wasm_features(feature, false);
    }
    config.consume_fuel(true);
    config.epoch_interruption(true);
    config.max_wasm_stack(MAX_WASM_STACK);
    config.cranelift_nan_canonicalization(true);
    // Backtraces would name functions of strangers in our logs, and keeping the maps costs memory.
    config.wasm_backtrace_max_frames(None);
    config.generate_address_map(false);
    // A decision is mostly starting an instance and copying the question: optimising its code gains nothing
    // measurable, takes half as long again to compile, and runs the most intricate part of the compiler.
    config.cranelift_opt_level(OptLevel::None);
    config
}

/// Advances the engine's epoch every [`TICK`] while at least one call runs.
struct Ticker {
    gate: Arc<Gate>,
}

impl Ticker {
    fn start(engine: EngineWeak) -> std::io::Result<Self> {
        let gate = Arc::new(Gate::default());
        let theirs = Arc::clone(&gate);
        std::thread::Builder::new().name("strategy-ticker".into()).spawn(move || {
            while theirs.wait_for_tick() {
                match engine.upgrade() {
                    Some(engine) => engine.increment_epoch(),
                    None => return,
                }
            }
        })?;
        Ok(Self { gate })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.gate.close();
    }
}

/// Tells the ticker when to sleep: an idle daemon must not wake 200 times a second.
#[derive(Default)]
struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
    fell_asleep: Condvar,
}

#[derive(Default)]
struct GateState {
    running: usize,
    asleep: bool,
    closed: bool,
}

impl Gate {
    fn enter(&self) {
        let mut state = self.lock();
        state.running += 1;
        if state.asleep {
            state.asleep = false;
            self.changed.notify_one();
        }
    }

    fn leave(&self) {
        self.lock().running -= 1;
    }

    fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    fn wait_until_asleep(&self) {
        let mut state = self.lock();
        while !state.asleep {
            state = self.fell_asleep.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits for one tick while a call runs, or for the next call; false when the engine is gone.
    ///
    /// Between two decisions in a row the ticker stays awake, so that only the first pays for waking it.
    fn wait_for_tick(&self) -> bool {
        let mut state = self.lock();
        while state.running == 0 && !state.closed {
            state.asleep = true;
            self.fell_asleep.notify_all();
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.closed {
            return false;
        }
        let (state, _) = self.changed.wait_timeout(state, TICK).unwrap_or_else(PoisonError::into_inner);
        !state.closed
    }

    fn lock(&self) -> MutexGuard<'_, GateState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call is running; dropped when it has ended.
pub(crate) struct Running<'a>(&'a Gate);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}
