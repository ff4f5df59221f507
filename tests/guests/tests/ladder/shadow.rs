//! A strategy in shadow is shown every snapshot, compared, and never heeded.

use anyhow::{Context as _, Result, ensure};
use enid_core::report::Rung;
use enid_policy_wasm::{Kind, Lineup, Place, Policy, PolicyConfig, StrategyConfig};
use guests::policy;

use crate::script::{Misdeed, PLACES, Script, at, cue, house, steady};

const CUE: u32 = 7001;

fn config(active: StrategyConfig, shadow: StrategyConfig, place: Place) -> Result<PolicyConfig> {
    let lineup = Lineup { shadow: Some(shadow), ..Lineup::only(active) };
    Ok(policy::config(Kind::WarmPool, lineup, house(place)?))
}

#[test]
fn a_shadow_is_compared_and_never_applied() -> Result<()> {
    for place in PLACES {
        let dir = tempfile::tempdir()?;
        let active = steady(5).written(dir.path(), "active")?;
        let shadow = Script { ready: 2, misdeeds: &[(CUE, Misdeed::Trap)] }.written(dir.path(), "shadow")?;
        let policy = Policy::new(&config(active, shadow, place)?)?;
        for now in 1..=10 {
            let decision = policy.decide_warm_pool(&at(now));
            ensure!((decision.rung, decision.target.ready_low) == (Rung::Live, 5), "{decision:?}");
            ensure!(decision.faults.is_empty(), "{decision:?}");
            policy.settle();
        }
        let seen = policy.shadow(Kind::WarmPool).context("there is a shadow")?;
        ensure!(seen.strategy.starts_with("shadow@"), "{seen:?}");
        ensure!((seen.compared, seen.agreed, seen.difference, seen.failed) == (10, 0, -30, 0), "{seen:?}");
        let worst = seen.worst.clone().context("they differ")?;
        ensure!((worst.decision, worst.difference) == (0, -3), "{worst:?}");
        ensure!(worst.live.starts_with("5–") && worst.other.starts_with("2–"), "{worst:?}");

        // What it fails on is counted, but not held against it, and touches no decision.
        for now in 11..=20 {
            let decision = policy.decide_warm_pool(&cue(now, CUE));
            ensure!(decision.rung == Rung::Live && decision.faults.is_empty(), "{decision:?}");
            policy.settle();
        }
        let seen = policy.shadow(Kind::WarmPool).context("there is a shadow")?;
        ensure!((seen.compared, seen.failed) == (10, 10), "{seen:?}");
        ensure!(seen.last_failure.is_some_and(|why| why.contains("trapped")));
        ensure!(policy.quarantined().is_empty());
    }
    Ok(())
}

#[test]
fn a_shadow_that_wants_the_same_agrees() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let active = steady(5).written(dir.path(), "active")?;
    let policy = Policy::new(&config(active.clone(), active, Place::InProcess)?)?;
    for now in 1..=10 {
        policy.decide_warm_pool(&at(now));
        policy.settle();
    }
    let seen = policy.shadow(Kind::WarmPool).context("there is a shadow")?;
    ensure!((seen.compared, seen.agreed, seen.agreement_milli()) == (10, 10, Some(1000)), "{seen:?}");
    ensure!(seen.worst.is_none(), "{seen:?}");
    Ok(())
}

#[test]
fn a_shadow_of_the_built_in_is_possible_and_without_one_there_is_nothing_to_tell() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let active = steady(9).written(dir.path(), "active")?;
    let policy = Policy::new(&config(active, StrategyConfig::builtin(), Place::InProcess)?)?;
    policy.decide_warm_pool(&at(1));
    policy.settle();
    let seen = policy.shadow(Kind::WarmPool).context("there is a shadow")?;
    // Both want nine ready; only the built-in ever gives back.
    ensure!((seen.compared, seen.agreed, seen.difference) == (1, 0, -1), "{seen:?}");
    ensure!(policy.shadow(Kind::MaxPods).is_none());
    Ok(())
}
