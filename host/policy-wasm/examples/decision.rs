//! Measures one warm-pool decision: a fresh instance of `warm-targets`, 15 ENIs, 64 history buckets.
//!
//! Usage: `decision <strategies-dir>`; prints p50 and p99 in µs on one JSON line, for `cargo xtask bench`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use enid_core::limits::Mode;
use enid_core::report::Rung;
use enid_core::snapshot::{
    Context, Demand, EniPhase, EniUse, Limits, MAX_HISTORY, Pods, Pressure, RoleTag, Setting, SubnetUse,
    Value, WarmPoolSnapshot,
};
use enid_policy_wasm::{Policy, PolicyConfig, StrategyConfig};

const ENIS: u16 = 15;
const WARM_UP: usize = 2_000;
const ROUNDS: usize = 20_000;

fn main() -> anyhow::Result<()> {
    let dir = std::env::args_os().nth(1).map(PathBuf::from).context("usage: decision <strategies-dir>")?;
    let setting = |key: &str, value| Setting { key: key.to_owned(), value: Value::Int(value) };
    let warm_pool = StrategyConfig {
        settings: vec![setting("warm_ip_target", 8), setting("minimum_ip_target", 20)],
        ..StrategyConfig::component("warm-targets", dir.join("warm-targets.wasm"))
    };
    let policy = Policy::new(PolicyConfig { warm_pool, ..PolicyConfig::default() })?;
    let loaded = policy.report(enid_policy_wasm::Kind::WarmPool).took;
    let snapshot = snapshot();
    let mut took = Vec::with_capacity(ROUNDS);
    let mut fuel = None;
    for round in 0..WARM_UP + ROUNDS {
        let started = Instant::now();
        let decision = policy.decide_warm_pool(&snapshot);
        let elapsed = started.elapsed();
        ensure!(decision.rung == Rung::Live, "{:?}", decision.faults);
        fuel = decision.fuel;
        if round >= WARM_UP {
            took.push(elapsed);
        }
    }
    took.sort();
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    println!(
        "{{\"decision_p50_us\":{:.1},\"decision_p99_us\":{:.1},\"fuel\":{},\"load_ms\":{:.1}}}",
        micros(took[ROUNDS / 2]),
        micros(took[ROUNDS * 99 / 100]),
        fuel.unwrap_or_default(),
        loaded.as_secs_f64() * 1e3,
    );
    Ok(())
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
        limits: Limits {
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
