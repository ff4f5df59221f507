//! The ladder: who answers when, what is remembered, and replacing strategies while the node runs.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use enid_core::limits::Mode;
use enid_core::proposal::Grain;
use enid_core::report::Rung;
use enid_core::snapshot::{MaxPodsSnapshot, Setting, SubnetSnapshot, SubnetUse, Value, WarmPoolSnapshot};
use enid_policy_wasm::{Inadmissible, Kind, LoadError, Policy, PolicyConfig, StrategyConfig};
use guests::{guest, shipped, snapshot};

/// Answers twice, counting in its state, then traps for ever.
///
/// In the question, `context.state` has its pointer at 40 and its length at 44.
const ANSWERS_TWICE: &str = r#"
    (func (export "decide") (param $question i32) (result i32)
      (local $count i32)
      (if (i32.load (i32.add (local.get $question) (i32.const 44)))
        (then (local.set $count (i32.load8_u (i32.load (i32.add (local.get $question) (i32.const 40)))))))
      (if (i32.ge_u (local.get $count) (i32.const 2)) (then (unreachable)))
      (i32.store8 (i32.const 3000) (i32.add (local.get $count) (i32.const 1)))
      (i32.store (i32.const 1096) (i32.const 3000))
      (i32.store (i32.const 1100) (i32.const 1))
      ;; ready-low: what it counts.
      (i32.store (i32.const 1032) (i32.add (local.get $count) (i32.const 1)))
      (i32.store8 (i32.const 1036) (i32.const 1))
      (i32.store (i32.const 1040) (i32.const 9))
      (i32.const 1024))
"#;

fn int(key: &str, value: i64) -> Setting {
    Setting { key: key.into(), value: Value::Int(value) }
}

fn warm_targets(settings: Vec<Setting>) -> Result<StrategyConfig> {
    let path = shipped()?.join("warm-targets.wasm");
    Ok(StrategyConfig { settings, ..StrategyConfig::component("warm-targets", path) })
}

fn warm_pool(config: StrategyConfig) -> Result<Policy, LoadError> {
    Policy::new(PolicyConfig { warm_pool: config, ..PolicyConfig::default() })
}

fn written(dir: &Path, name: &str, fields: &str) -> Result<PathBuf> {
    let path = dir.join(name);
    std::fs::write(&path, guest(fields)?)?;
    Ok(path)
}

fn at(now_ms: u64) -> WarmPoolSnapshot {
    let mut snapshot = snapshot();
    snapshot.context.now_ms = now_ms;
    snapshot
}

fn why(error: LoadError) -> Inadmissible {
    match error {
        LoadError::Strategy { why, .. } => why,
        LoadError::Engine(error) => panic!("the engine does not work here: {error}"),
    }
}

#[test]
fn the_shipped_strategies_answer_live() -> Result<()> {
    let dir = shipped()?;
    let policy = Policy::new(PolicyConfig {
        warm_pool: warm_targets(vec![int("warm_ip_target", 2), int("minimum_ip_target", 5)])?,
        max_pods: StrategyConfig::component("eks-max-pods", dir.join("eks-max-pods.wasm")),
        subnet_selection: StrategyConfig::component("most-free", dir.join("most-free.wasm")),
    })?;
    let band = policy.decide_warm_pool(&snapshot());
    ensure!(band.rung == Rung::Live && band.fuel.is_some() && band.faults.is_empty(), "{band:?}");
    ensure!(
        (band.target.ready_low, band.target.total_floor, band.target.grain) == (2, 5, Grain::Address),
        "{band:?}"
    );
    let pods = policy.decide_max_pods(&MaxPodsSnapshot {
        context: snapshot().context,
        mode: Mode::SecondaryIp,
        instance_type: "m5.large".into(),
        max_enis: 3,
        ipv4_per_eni: 10,
        prefixes: true,
        vcpus: 2,
        memory_mib: 8192,
        custom_networking: false,
        reserved_enis: 0,
        uncapped: false,
    });
    ensure!((pods.rung, pods.target) == (Rung::Live, 29), "{pods:?}");
    let primary = SubnetUse { primary: true, free: 7, ..SubnetUse::default() };
    let order = policy.decide_subnets(&SubnetSnapshot {
        candidates: vec![SubnetUse { primary: false, ..primary.clone() }, primary],
        ..SubnetSnapshot::default()
    });
    ensure!((order.rung, order.target.as_slice()) == (Rung::Live, [1].as_slice()), "{order:?}");
    Ok(())
}

#[test]
fn state_comes_back_and_the_last_good_answer_holds_for_a_minute() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let policy =
        warm_pool(StrategyConfig::component("twice", written(dir.path(), "twice.wasm", ANSWERS_TWICE)?))?;
    for expected in [1, 2] {
        let live = policy.decide_warm_pool(&at(1_000_000));
        ensure!((live.rung, live.target.ready_low) == (Rung::Live, expected), "{live:?}");
    }
    let held = policy.decide_warm_pool(&at(1_060_000));
    ensure!((held.rung, held.target.ready_low, held.faults.len()) == (Rung::LastGood, 2, 1), "{held:?}");
    let stale = policy.decide_warm_pool(&at(1_060_001));
    ensure!(stale.rung == Rung::Builtin, "{stale:?}");
    Ok(())
}

#[test]
fn the_last_good_answer_is_bent_to_the_node_as_it_is_now() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let policy =
        warm_pool(StrategyConfig::component("twice", written(dir.path(), "twice.wasm", ANSWERS_TWICE)?))?;
    policy.decide_warm_pool(&at(1));
    policy.decide_warm_pool(&at(2));
    let mut smaller = at(3);
    smaller.limits.max_enis = 1;
    smaller.limits.slots_per_eni = 1;
    let held = policy.decide_warm_pool(&smaller);
    ensure!((held.rung, held.target.ready_low) == (Rung::LastGood, 1), "{held:?}");
    Ok(())
}

#[test]
fn the_same_component_keeps_its_state_over_a_replacement() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = written(dir.path(), "twice.wasm", ANSWERS_TWICE)?;
    let policy = warm_pool(StrategyConfig::component("twice", &path))?;
    policy.decide_warm_pool(&at(1));
    let report = policy.replace(Kind::WarmPool, StrategyConfig::component("again", &path))?;
    ensure!(report.label.starts_with("again@") && report.replaced.is_some(), "{report:?}");
    ensure!(policy.decide_warm_pool(&at(2)).target.ready_low == 2);
    policy.replace(Kind::WarmPool, StrategyConfig::builtin())?;
    policy.replace(Kind::WarmPool, StrategyConfig::component("anew", &path))?;
    ensure!(policy.decide_warm_pool(&at(3)).target.ready_low == 1, "state survived a stranger in between");
    Ok(())
}

#[test]
fn settings_are_swapped_while_running_and_a_refused_swap_changes_nothing() -> Result<()> {
    let policy = warm_pool(warm_targets(vec![int("warm_ip_target", 3)])?)?;
    ensure!(policy.decide_warm_pool(&snapshot()).target.ready_low == 3);
    policy.replace(Kind::WarmPool, warm_targets(vec![int("warm_ip_target", 7)])?)?;
    ensure!(policy.decide_warm_pool(&snapshot()).target.ready_low == 7);
    let refused = policy
        .replace(Kind::WarmPool, warm_targets(vec![int("warm_ip_targt", 1), int("warm_ip_target", -1)])?);
    let refused = why(refused.expect_err("settings are wrong"));
    ensure!(matches!(&refused, Inadmissible::Settings { issues } if issues.len() == 2), "{refused}");
    let after = policy.decide_warm_pool(&snapshot());
    ensure!((after.rung, after.target.ready_low) == (Rung::Live, 7), "{after:?}");
    Ok(())
}

#[test]
fn a_component_of_the_wrong_kind_or_digest_is_not_let_in() -> Result<()> {
    let other = StrategyConfig::component("eks-max-pods", shipped()?.join("eks-max-pods.wasm"));
    let refused = why(warm_pool(other).expect_err("another kind"));
    ensure!(
        matches!(refused, Inadmissible::WrongKind { found: Kind::MaxPods, wanted: Kind::WarmPool }),
        "{refused}"
    );
    let pinned =
        StrategyConfig { digest: Some(format!("sha256:{}", "0".repeat(64))), ..warm_targets(vec![])? };
    let refused = why(warm_pool(pinned).expect_err("another digest"));
    ensure!(matches!(refused, Inadmissible::Digest { .. }), "{refused}");
    let missing = why(warm_pool(StrategyConfig::component("x", "/nonexistent/x.wasm")).expect_err("no file"));
    ensure!(matches!(missing, Inadmissible::Unreadable(_)), "{missing}");
    Ok(())
}

#[test]
fn a_fallback_is_loaded_and_checked_with_its_strategy() -> Result<()> {
    let bad = Some(Box::new(StrategyConfig::component("behind", "/nonexistent/behind.wasm")));
    let refused = warm_pool(StrategyConfig { fallback: bad, ..warm_targets(vec![])? }).expect_err("no file");
    ensure!(refused.to_string().contains("`behind`"), "{refused}");
    let mut chain = StrategyConfig::builtin();
    for _ in 0..6 {
        chain = StrategyConfig { fallback: Some(Box::new(chain)), ..StrategyConfig::builtin() };
    }
    let refused = why(warm_pool(chain).expect_err("too many"));
    ensure!(matches!(refused, Inadmissible::TooManyFallbacks), "{refused}");
    Ok(())
}

#[test]
fn the_same_question_gets_the_same_answer_and_fuel() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = written(dir.path(), "good.wasm", "")?;
    let first = warm_pool(StrategyConfig::component("good", &path))?.decide_warm_pool(&snapshot());
    let second = warm_pool(StrategyConfig::component("good", &path))?.decide_warm_pool(&snapshot());
    ensure!((first.target, first.fuel, first.reason) == (second.target, second.fuel, second.reason));
    Ok(())
}

#[test]
fn a_thousand_swaps_leave_nothing_behind() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = written(dir.path(), "good.wasm", "")?;
    let policy = warm_pool(StrategyConfig::component("good", &path))?;
    let swap = |times: usize| -> Result<usize> {
        for _ in 0..times {
            policy.replace(Kind::WarmPool, StrategyConfig::component("good", &path))?;
            ensure!(policy.decide_warm_pool(&snapshot()).rung == Rung::Live);
        }
        let maps = std::fs::read_to_string("/proc/self/maps")?;
        Ok(maps.lines().count())
    };
    let before = swap(100)?;
    let after = swap(900)?;
    ensure!(after < before + 100, "mappings grew from {before} to {after}");
    Ok(())
}
