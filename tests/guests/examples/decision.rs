//! Measures decisions and what is around them, for `cargo xtask bench`.
//!
//! Usage: `decision <strategies-dir> <enid>`; prints one JSON document. The question is that of a large node in
//! full swing: 15 ENIs, 64 history buckets; the strategy is `warm-targets`, in a fresh instance every time.

#[path = "../tests/agreement/native.rs"]
#[expect(dead_code, reason = "shared with the tests that compare all kinds")]
mod native;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use enid_component_store::Digest;
use enid_core::document::Snapshot;
use enid_core::limits::Mode;
use enid_core::report::Rung;
use enid_core::snapshot::{
    Context, Demand, EniPhase, EniUse, Limits as NodeLimits, MAX_HISTORY, Pods, Pressure, RoleTag, Setting,
    SubnetUse, Value, WarmPoolSnapshot,
};
use enid_policy_wasm::admission::{Offer, Terms, examine};
use enid_policy_wasm::cache::Cache;
use enid_policy_wasm::compile::Compiler;
use enid_policy_wasm::runtime::{InProcess, Isolated, Runtime};
use enid_policy_wasm::{House, Kind, Limits, Lineup, Place, Policy, PolicyConfig, StrategyConfig, Trust};
use guests::guest;
use guests::residue::{Residue, children};
use serde_json::json;
use warm_targets::WarmTargets;

const ENIS: u16 = 15;
const WARM_UP: usize = 2_000;
const ROUNDS: usize = 20_000;
/// Of what takes milliseconds.
const FEW: usize = 20;

/// Ends in its fuel, under limits that nobody changed.
const ENDLESS: &str =
    r#"(func (export "decide") (param i32) (result i32) (loop $again (br $again)) (unreachable))"#;

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(strategies), Some(program)) = (arguments.next(), arguments.next()) else {
        anyhow::bail!("usage: decision <strategies-dir> <enid>")
    };
    let scratch = tempfile::tempdir()?;
    let before = Residue::here()?.memory;
    let here = house(Place::InProcess, &program, scratch.path());
    let (in_process, fuel) = decisions(&strategies, here)?;
    let in_process_mib = mebibytes(Residue::here()?.memory.saturating_sub(before));
    let there = house(Place::Process, &program, scratch.path());
    let there = Policy::new(&config(&strategies, there)?)?;
    let (in_child, _) = asked(&there)?;
    let mut in_child_mib = 0.0;
    for child in children()? {
        in_child_mib += mebibytes(Residue::of(child)?.memory);
    }
    drop(there);
    let admission = Admission::measure(&strategies, &program, scratch.path())?;
    let document = json!({
        "decision_p50_us": micros(in_process.half),
        "decision_p99_us": micros(in_process.most),
        "decision_child_p50_us": micros(in_child.half),
        "decision_child_p99_us": micros(in_child.most),
        "decision_native_p50_us": micros(natively()?.half),
        "fuel": fuel,
        "admission_cold_ms": millis(admission.cold),
        "load_cached_ms": millis(admission.cached),
        "kill_ms": millis(kill(&InProcess::start()?, &program)?),
        "kill_child_ms": millis(kill(&Isolated::new(program.clone()), &program)?),
        "memory_mib": in_process_mib,
        "memory_child_mib": in_child_mib,
    });
    println!("{document}");
    Ok(())
}

/// Sorted durations, in short.
struct Taken {
    half: Duration,
    most: Duration,
}

impl Taken {
    fn of(mut taken: Vec<Duration>) -> Result<Self> {
        taken.sort();
        let at =
            |percent: usize| taken.get(taken.len() * percent / 100).copied().context("nothing was measured");
        Ok(Self { half: at(50)?, most: at(99)? })
    }
}

fn house(place: Place, program: &Path, scratch: &Path) -> House {
    House { place, program: Some(program.to_owned()), cache: Some(scratch.join("cache")), records: None }
}

fn settings() -> Vec<Setting> {
    let setting = |key: &str, value| Setting { key: key.to_owned(), value: Value::Int(value) };
    vec![setting("warm_ip_target", 8), setting("minimum_ip_target", 20)]
}

/// The strategies that a node runs by default.
fn config(strategies: &Path, house: House) -> Result<PolicyConfig> {
    let shipped = |name: &str, settings| -> Result<Lineup> {
        let path = strategies.join(format!("{name}.wasm"));
        let digest = Digest::of(&std::fs::read(&path).with_context(|| path.display().to_string())?);
        Ok(Lineup::only(StrategyConfig { settings, ..StrategyConfig::component(name, path, digest) }))
    };
    Ok(PolicyConfig {
        warm_pool: shipped("warm-targets", settings())?,
        max_pods: shipped("eks-max-pods", Vec::new())?,
        subnet_selection: shipped("most-free", Vec::new())?,
        house,
        ..PolicyConfig::default()
    })
}

fn decisions(strategies: &Path, house: House) -> Result<(Taken, u64)> {
    asked(&Policy::new(&config(strategies, house)?)?)
}

fn asked(policy: &Policy) -> Result<(Taken, u64)> {
    let question = snapshot();
    let mut fuel = None;
    let taken = timed(|| {
        let decision = policy.decide_warm_pool(&question);
        ensure!(decision.rung == Rung::Live, "{:?}", decision.faults);
        fuel = decision.fuel;
        Ok(())
    })?;
    Ok((taken, fuel.unwrap_or_default()))
}

/// The same decision by the same code, compiled for this machine.
fn natively() -> Result<Taken> {
    let mut question = snapshot();
    question.context.settings = settings();
    timed(|| {
        let question = native::warm_pool(&question.context, &question);
        let answer = enid_guest::export::warm_pool::<WarmTargets>(std::hint::black_box(&question));
        ensure!(std::hint::black_box(answer).is_ok(), "it has no answer");
        Ok(())
    })
}

fn timed(mut what: impl FnMut() -> Result<()>) -> Result<Taken> {
    let mut taken = Vec::with_capacity(ROUNDS);
    for round in 0..WARM_UP + ROUNDS {
        let started = Instant::now();
        what()?;
        let elapsed = started.elapsed();
        if round >= WARM_UP {
            taken.push(elapsed);
        }
    }
    Taken::of(taken)
}

/// Letting `warm-targets` in.
struct Admission {
    /// All steps, with nothing remembered: a child compiles it.
    cold: Duration,
    /// Its machine code taken from the cache, and loaded.
    cached: Duration,
}

impl Admission {
    fn measure(strategies: &Path, program: &Path, scratch: &Path) -> Result<Self> {
        let bytes = std::fs::read(strategies.join("warm-targets.wasm"))?;
        let digest = Digest::of(&bytes).hex();
        let runtime = InProcess::start()?;
        let limits = Limits::default();
        let (trust, settings) = (Trust::default(), settings());
        let terms = Terms {
            wanted: Some(Kind::WarmPool),
            pinned: None,
            trust: &trust,
            settings: &settings,
            limits: &limits,
            recorded: &[],
        };
        let compiler = Compiler::child(program.to_owned(), None)?;
        let offer = Offer::unsigned(bytes.clone());
        let cold = few(|| {
            examine(&offer, &terms, &compiler, &runtime)?;
            Ok(())
        })?;
        let compiler = Compiler::child(program.to_owned(), Some(Cache::open(scratch.join("cache"))?))?;
        let cached = few(|| {
            let artifact = compiler.compile(&digest, &bytes)?;
            runtime.load(&artifact, &limits)?;
            Ok(())
        })?;
        Ok(Self { cold, cached })
    }
}

/// How long a strategy that never answers keeps who asks it waiting.
fn kill(runtime: &dyn Runtime, program: &Path) -> Result<Duration> {
    let bytes = guest(ENDLESS)?;
    let artifact = Compiler::child(program.to_owned(), None)?.compile(&Digest::of(&bytes).hex(), &bytes)?;
    let endless = runtime.load(&artifact, &Limits::default())?;
    let question = Snapshot::WarmPool(snapshot());
    few(|| {
        let called = endless.ask(&question);
        ensure!(called.result.is_err(), "it answered");
        Ok(())
    })
}

/// The middle one of a few.
fn few(mut what: impl FnMut() -> Result<()>) -> Result<Duration> {
    let mut taken = Vec::new();
    for _ in 0..FEW {
        let started = Instant::now();
        what()?;
        taken.push(started.elapsed());
    }
    Ok(Taken::of(taken)?.half)
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// A large node in full swing.
fn snapshot() -> WarmPoolSnapshot {
    let eni = |slot: u16| EniUse {
        slot,
        card: 0,
        subnet: slot % 6,
        phase: EniPhase::Ready,
        primary: slot == 0,
        age_ms: 3_600_000,
        capacity: 49,
        assigned: 49,
        free: u32::from(slot),
        bound: 49 - u32::from(slot),
        cooling: 0,
        prefixes: 0,
        idle_ms: 1_000,
    };
    let subnet = SubnetUse {
        free: 4_000,
        total: 8_187,
        free_blocks: 200,
        role: RoleTag::Included,
        ..SubnetUse::default()
    };
    WarmPoolSnapshot {
        context: Context { now_ms: 1_000_000, wall_secs: 1_800_000_000, ..Context::default() },
        mode: Mode::SecondaryIp,
        limits: NodeLimits {
            max_enis: 15,
            slots_per_eni: 49,
            addresses_per_slot: 1,
            prefixes: true,
            trunk_reserve: 0,
        },
        enis: (0..ENIS).map(eni).collect(),
        blocks: Vec::new(),
        bucket_ms: 10_000,
        history: vec![Demand { added: 3, removed: 2, waited: 0, failed: 0, peak: 600 }; MAX_HISTORY],
        subnets: vec![subnet; 6],
        pressure: Pressure {
            throttled: false,
            budget_milli: 10_000,
            in_flight_enis: 0,
            in_flight_addresses: 0,
        },
        pods: Pods { bound: 600, waiting: 0, expected: 4, max: 737 },
    }
}
