//! What is let in, and what is remembered from answer to answer.

use anyhow::{Result, ensure};
use enid_core::proposal::Grain;
use enid_core::report::Rung;
use enid_core::snapshot::{Setting, Value, WarmPoolSnapshot};
use enid_policy_wasm::{
    House, Inadmissible, Kind, Lineup, LoadError, Place, Policy, PolicyConfig, StrategyConfig,
};
use guests::question::{choice, instance};
use guests::{guest, policy, snapshot};

use crate::script::{PLACES, at, here, house, only, steady};

/// Answers twice, counting in its state, then traps for ever.
///
/// In the question, `context.state` has its pointer at 40 and its length at 44.
pub(crate) const ANSWERS_TWICE: &str = r#"
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

pub(crate) fn int(key: &str, value: i64) -> Setting {
    Setting { key: key.into(), value: Value::Int(value) }
}

pub(crate) fn warm_targets(settings: Vec<Setting>) -> Result<StrategyConfig> {
    Ok(StrategyConfig { settings, ..policy::shipped("warm-targets")? })
}

/// Why a strategy was not let in.
pub(crate) fn why(error: LoadError) -> Inadmissible {
    match error {
        LoadError::Strategy { why, .. } => *why,
        LoadError::Engine(_)
        | LoadError::Cache(_)
        | LoadError::Records { .. }
        | LoadError::NoThread(_)
        | LoadError::NoProgram
        | LoadError::TooManyFallbacks { .. } => panic!("no strategy is to blame: {error}"),
    }
}

#[test]
fn the_shipped_strategies_answer_live() -> Result<()> {
    for place in PLACES {
        let policy = Policy::new(&PolicyConfig {
            warm_pool: Lineup::only(warm_targets(vec![
                int("warm_ip_target", 2),
                int("minimum_ip_target", 5),
            ])?),
            max_pods: Lineup::only(policy::shipped("eks-max-pods")?),
            subnet_selection: Lineup::only(policy::shipped("most-free")?),
            house: house(place)?,
            ..PolicyConfig::default()
        })?;
        let band = policy.decide_warm_pool(&snapshot());
        ensure!(band.rung == Rung::Live && band.fuel.is_some() && band.faults.is_empty(), "{band:?}");
        ensure!(
            (band.target.ready_low, band.target.total_floor, band.target.grain) == (2, 5, Grain::Address),
            "{band:?}"
        );
        let pods = policy.decide_max_pods(&instance());
        ensure!((pods.rung, pods.target) == (Rung::Live, 29), "{pods:?}");
        let order = policy.decide_subnets(&choice());
        ensure!((order.rung, order.target.as_slice()) == (Rung::Live, [1].as_slice()), "{order:?}");
        let report = policy.report(Kind::MaxPods);
        ensure!(report.place == place && report.rung == Some(Rung::Live), "{report:?}");
        ensure!(report.descriptor.is_some_and(|it| it.name == "eks-max-pods"), "{:?}", report.digest);
    }
    Ok(())
}

#[test]
fn state_comes_back_and_the_last_good_answer_holds_for_a_minute() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let twice = policy::component(dir.path(), "twice", &guest(ANSWERS_TWICE)?)?;
    let policy = Policy::new(&only(twice, here()))?;
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
    let twice = policy::component(dir.path(), "twice", &guest(ANSWERS_TWICE)?)?;
    let policy = Policy::new(&only(twice, here()))?;
    policy.decide_warm_pool(&at(1));
    policy.decide_warm_pool(&at(2));
    let mut smaller: WarmPoolSnapshot = at(3);
    smaller.limits.max_enis = 1;
    smaller.limits.slots_per_eni = 1;
    let held = policy.decide_warm_pool(&smaller);
    ensure!((held.rung, held.target.ready_low) == (Rung::LastGood, 1), "{held:?}");
    Ok(())
}

#[test]
fn a_component_of_the_wrong_kind_or_digest_is_not_let_in() -> Result<()> {
    let other = policy::shipped("eks-max-pods")?;
    let refused = why(Policy::new(&only(other, here())).expect_err("another kind"));
    ensure!(
        matches!(refused, Inadmissible::WrongKind { found: Kind::MaxPods, wanted: Kind::WarmPool }),
        "{refused}"
    );
    let dir = tempfile::tempdir()?;
    let pinned = steady(1).written(dir.path(), "pinned")?;
    steady(2).written(dir.path(), "pinned")?;
    let refused = why(Policy::new(&only(pinned.clone(), here())).expect_err("another digest"));
    ensure!(matches!(refused, Inadmissible::Digest { .. }), "{refused}");
    std::fs::remove_file(dir.path().join("pinned.wasm"))?;
    let refused = why(Policy::new(&only(pinned, here())).expect_err("no file"));
    ensure!(matches!(refused, Inadmissible::Unreadable { .. }), "{refused}");
    Ok(())
}

#[test]
fn without_a_signature_nobody_is_let_in_where_one_is_required() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut config = only(steady(1).written(dir.path(), "unsigned")?, here());
    config.trust.required = true;
    let refused = why(Policy::new(&config).expect_err("nobody signed it"));
    ensure!(
        matches!(&refused, Inadmissible::Unsigned { expected } if expected.ends_with("unsigned.wasm.minisig")),
        "{refused}"
    );
    Ok(())
}

#[test]
fn a_fallback_and_a_shadow_are_examined_like_their_strategy() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let active = steady(1).written(dir.path(), "active")?;
    let behind = steady(2).written(dir.path(), "behind")?;
    std::fs::remove_file(dir.path().join("behind.wasm"))?;
    let lineup = |fallbacks, shadow| Lineup { active: active.clone(), fallbacks, shadow };
    for lineup in [lineup(vec![behind.clone()], None), lineup(vec![], Some(behind.clone()))] {
        let refused = Policy::new(&policy::config(Kind::WarmPool, lineup, here())).expect_err("no file");
        ensure!(refused.to_string().contains("`behind`"), "{refused}");
    }
    let five = lineup(vec![active.clone(); 5], None);
    let refused = Policy::new(&policy::config(Kind::WarmPool, five, here())).expect_err("too many");
    ensure!(matches!(refused, LoadError::TooManyFallbacks { given: 5, .. }), "{refused}");
    Ok(())
}

#[test]
fn a_house_with_children_needs_a_program() -> Result<()> {
    let homeless = House { place: Place::Process, ..House::default() };
    let refused = Policy::new(&PolicyConfig { house: homeless, ..PolicyConfig::default() });
    ensure!(matches!(refused, Err(LoadError::NoProgram)), "{refused:?}");
    Ok(())
}

#[test]
fn the_same_question_gets_the_same_answer_and_fuel_in_both_places() -> Result<()> {
    let settings = vec![int("warm_ip_target", 2), int("minimum_ip_target", 5)];
    let mut seen = None;
    for place in PLACES.into_iter().chain(PLACES) {
        let policy = Policy::new(&only(warm_targets(settings.clone())?, house(place)?))?;
        let decision = policy.decide_warm_pool(&snapshot());
        let now = (decision.target, decision.fuel, decision.reason, decision.next_check);
        ensure!(*seen.get_or_insert_with(|| now.clone()) == now, "{place}: {now:?}, {seen:?}");
    }
    Ok(())
}

#[test]
fn the_built_in_has_nothing_to_set() {
    let settings = vec![Setting { key: "headroom".into(), value: Value::Int(3) }];
    let config = StrategyConfig { settings, ..StrategyConfig::builtin() };
    let warm_pool = Lineup::only(config);
    let refused = why(Policy::new(&PolicyConfig { warm_pool, ..PolicyConfig::default() }).unwrap_err());
    assert_eq!(refused.issues().len(), 1, "{refused}");
    assert_eq!(refused.issues()[0].key, "headroom");
}
