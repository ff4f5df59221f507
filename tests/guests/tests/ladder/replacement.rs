//! Replacing strategies while the node runs.

use anyhow::{Context as _, Result, bail, ensure};
use enid_core::report::Rung;
use enid_policy_wasm::comparison::Worst;
use enid_policy_wasm::{Comparison, Inadmissible, Kind, Policy, Step, StrategyConfig};
use guests::{guest, policy, snapshot};

use crate::loading::{ANSWERS_TWICE, int, warm_targets, why};
use crate::script::{Misdeed, PLACES, Script, at, cue, here, house, only, steady};

const CUE: u32 = 7001;

#[test]
fn a_replacement_says_how_it_differs_on_the_snapshots_so_far() -> Result<()> {
    for place in PLACES {
        let dir = tempfile::tempdir()?;
        let (three, five) = (steady(3).written(dir.path(), "three")?, steady(5).written(dir.path(), "five")?);
        let policy = Policy::new(&only(three.clone(), house(place)?))?;
        for now in 1..=10 {
            policy.decide_warm_pool(&at(now));
        }
        let report = policy.replace(Kind::WarmPool, &only(five, house(place)?))?;
        ensure!(report.replaced.as_deref().is_some_and(|label| label.starts_with("three@")), "{report:?}");
        let divergence = report.divergence.context("there was something to compare")?;
        let Comparison { compared, agreed, difference, failed, skipped, ref worst, .. } = divergence;
        ensure!((compared, agreed, difference, failed, skipped) == (10, 0, 20, 0, 0), "{divergence:?}");
        let Some(Worst { decision, difference, live, other }) = worst else { bail!("{divergence:?}") };
        ensure!((*decision, *difference) == (0, 2), "{divergence:?}");
        ensure!(live.starts_with("3–") && other.starts_with("5–"), "{divergence:?}");
        ensure!(policy.decide_warm_pool(&at(11)).target.ready_low == 5);
        // Back: of eleven, only the last was decided by the one that wants two more.
        let report = policy.replace(Kind::WarmPool, &only(three, house(place)?))?;
        let divergence = report.divergence.context("there was something to compare")?;
        ensure!(
            (divergence.compared, divergence.agreed, divergence.difference) == (11, 10, -2),
            "{divergence:?}"
        );
    }
    Ok(())
}

#[test]
fn settings_are_swapped_while_running_and_a_refused_swap_changes_nothing() -> Result<()> {
    for place in PLACES {
        let config = |settings| -> Result<_> { Ok(only(warm_targets(settings)?, house(place)?)) };
        let policy = Policy::new(&config(vec![int("warm_ip_target", 3)])?)?;
        ensure!(policy.decide_warm_pool(&snapshot()).target.ready_low == 3);
        policy.replace(Kind::WarmPool, &config(vec![int("warm_ip_target", 7)])?)?;
        ensure!(policy.decide_warm_pool(&snapshot()).target.ready_low == 7);
        let wrong = config(vec![int("warm_ip_targt", 1), int("warm_ip_target", -1)])?;
        for refused in
            [policy.try_out(Kind::WarmPool, &wrong).err(), policy.replace(Kind::WarmPool, &wrong).err()]
        {
            let refused = why(refused.context("settings are wrong")?);
            ensure!(refused.issues().len() == 2 && refused.step() == Step::Schema, "{refused}");
        }
        let after = policy.decide_warm_pool(&snapshot());
        ensure!((after.rung, after.target.ready_low) == (Rung::Live, 7), "{after:?}");
    }
    Ok(())
}

#[test]
fn trying_out_changes_nothing() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let policy = Policy::new(&only(steady(3).written(dir.path(), "three")?, here()))?;
    policy.decide_warm_pool(&at(1));
    let before = policy.report(Kind::WarmPool);
    policy.try_out(Kind::WarmPool, &only(steady(5).written(dir.path(), "five")?, here()))?;
    ensure!(policy.report(Kind::WarmPool) == before);
    ensure!(policy.decide_warm_pool(&at(2)).target.ready_low == 3);
    Ok(())
}

#[test]
fn whoever_fails_on_a_recorded_snapshot_does_not_replace_anybody() -> Result<()> {
    for place in PLACES {
        let dir = tempfile::tempdir()?;
        let policy = Policy::new(&only(steady(3).written(dir.path(), "three")?, house(place)?))?;
        policy.decide_warm_pool(&at(1));
        policy.decide_warm_pool(&cue(2, CUE));
        policy.decide_warm_pool(&at(3));
        let fails = Script { ready: 5, misdeeds: &[(CUE, Misdeed::Trap)] }.written(dir.path(), "fails")?;
        let refused = policy.replace(Kind::WarmPool, &only(fails, house(place)?)).err();
        let refused = why(refused.context("it fails on the second snapshot")?);
        let Inadmissible::Failing { step, snapshot, failing, question } = refused else { bail!("{refused}") };
        ensure!(step == Step::Replay && snapshot == "recorded snapshot 1", "{step} {snapshot}");
        ensure!(failing.label() == "trap", "{failing}");
        ensure!(question.context().now_ms == 2, "{question:?}");
        let after = policy.decide_warm_pool(&at(4));
        ensure!((after.rung, after.target.ready_low) == (Rung::Live, 3), "{after:?}");
    }
    Ok(())
}

#[test]
fn the_same_component_keeps_its_state_over_a_replacement() -> Result<()> {
    for place in PLACES {
        let dir = tempfile::tempdir()?;
        let twice = policy::component(dir.path(), "twice", &guest(ANSWERS_TWICE)?)?;
        let named = |name: &str| -> Result<_> {
            Ok(only(StrategyConfig { name: name.into(), ..twice.clone() }, house(place)?))
        };
        let policy = Policy::new(&named("twice")?)?;
        policy.decide_warm_pool(&at(1));
        let report = policy.replace(Kind::WarmPool, &named("again")?)?;
        ensure!(report.label.starts_with("again@") && report.replaced.is_some(), "{report:?}");
        ensure!(policy.decide_warm_pool(&at(2)).target.ready_low == 2);
        policy.replace(Kind::WarmPool, &only(StrategyConfig::builtin(), house(place)?))?;
        policy.replace(Kind::WarmPool, &named("anew")?)?;
        let after = policy.decide_warm_pool(&at(3));
        ensure!(after.target.ready_low == 1, "state survived a stranger in between: {after:?}");
    }
    Ok(())
}
