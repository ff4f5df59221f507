//! A new strategy is taken back when it fails on its first decisions.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use enid_core::report::Rung;
use enid_policy_wasm::{Kind, Limits, Policy, StrategyConfig};

use crate::script::{Misdeed, PLACES, Script, at, cue, here, house, only, steady};

const CUE: u32 = 7001;

#[test]
fn whoever_faults_on_probation_is_taken_back_and_the_question_is_answered_live() -> Result<()> {
    for place in PLACES {
        let dir = tempfile::tempdir()?;
        let policy = Policy::new(&only(steady(3).written(dir.path(), "old")?, house(place)?))?;
        ensure!(
            policy.report(Kind::WarmPool).probation_left.is_none(),
            "who replaced nobody is on probation"
        );
        policy.decide_warm_pool(&at(1));
        let new = Script { ready: 5, misdeeds: &[(CUE, Misdeed::Trap)] }.written(dir.path(), "new")?;
        let report = policy.replace(Kind::WarmPool, &only(new, house(place)?))?;
        ensure!(report.probation_left == Some(50), "{report:?}");
        ensure!(policy.decide_warm_pool(&at(2)).target.ready_low == 5);
        ensure!(policy.report(Kind::WarmPool).probation_left == Some(49));
        let decision = policy.decide_warm_pool(&cue(3, CUE));
        ensure!((decision.rung, decision.target.ready_low) == (Rung::Live, 3), "{decision:?}");
        ensure!(decision.strategy.starts_with("old@"), "{decision:?}");
        ensure!(decision.faults.len() == 1 && decision.faults[0].starts_with("new@"), "{decision:?}");
        let report = policy.report(Kind::WarmPool);
        ensure!(report.label.starts_with("old@") && report.probation_left.is_none(), "{report:?}");
        let told = report.rolled_back.context("it says who was taken back")?;
        ensure!(told.starts_with("new@") && told.contains("trapped"), "{told}");
        let after = policy.decide_warm_pool(&at(4));
        ensure!((after.rung, after.target.ready_low) == (Rung::Live, 3), "{after:?}");
    }
    Ok(())
}

#[test]
fn after_fifty_decisions_a_fault_is_the_ladders_affair() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let policy = Policy::new(&only(steady(3).written(dir.path(), "old")?, here()))?;
    let new = Script { ready: 5, misdeeds: &[(CUE, Misdeed::Trap)] }.written(dir.path(), "new")?;
    policy.replace(Kind::WarmPool, &only(new, here()))?;
    for left in (0..50).rev() {
        policy.decide_warm_pool(&at(50 - left));
        let report = policy.report(Kind::WarmPool);
        ensure!(report.probation_left.unwrap_or(0) == u32::try_from(left)?, "{report:?}");
    }
    let decision = policy.decide_warm_pool(&cue(100, CUE));
    ensure!((decision.rung, decision.target.ready_low) == (Rung::LastGood, 5), "{decision:?}");
    let report = policy.report(Kind::WarmPool);
    ensure!(report.label.starts_with("new@") && report.rolled_back.is_none(), "{report:?}");
    Ok(())
}

#[test]
fn two_deadlines_are_put_down_to_the_machine_and_the_third_is_not() -> Result<()> {
    for place in PLACES {
        let dir = tempfile::tempdir()?;
        let policy = Policy::new(&only(steady(3).written(dir.path(), "old")?, house(place)?))?;
        policy.decide_warm_pool(&at(1));
        let slow = Script { ready: 5, misdeeds: &[(CUE, Misdeed::Loop)] }.written(dir.path(), "slow")?;
        let limits =
            Limits { fuel: Limits::most().fuel, deadline: Duration::from_millis(20), ..Limits::default() };
        policy.replace(Kind::WarmPool, &only(StrategyConfig { limits, ..slow }, house(place)?))?;
        ensure!(policy.decide_warm_pool(&at(2)).target.ready_low == 5);
        for now in [3, 4] {
            let forgiven = policy.decide_warm_pool(&cue(now, CUE));
            ensure!(
                (forgiven.rung, forgiven.target.ready_low) == (Rung::LastGood, 5),
                "{place}: {forgiven:?}"
            );
        }
        let third = policy.decide_warm_pool(&cue(5, CUE));
        ensure!((third.rung, third.target.ready_low) == (Rung::Live, 3), "{place}: {third:?}");
        let report = policy.report(Kind::WarmPool);
        ensure!(report.label.starts_with("old@") && report.rolled_back.is_some(), "{report:?}");
    }
    Ok(())
}

#[test]
fn who_is_on_probation_is_no_refuge_for_the_next() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let script = |ready| Script { ready, misdeeds: &[(CUE, Misdeed::Trap)] };
    let policy = Policy::new(&only(steady(3).written(dir.path(), "old")?, here()))?;
    policy.replace(Kind::WarmPool, &only(script(5).written(dir.path(), "second")?, here()))?;
    policy.decide_warm_pool(&at(1));
    policy.replace(Kind::WarmPool, &only(script(7).written(dir.path(), "third")?, here()))?;
    policy.decide_warm_pool(&at(2));
    let decision = policy.decide_warm_pool(&cue(3, CUE));
    ensure!((decision.rung, decision.target.ready_low) == (Rung::Live, 3), "{decision:?}");
    ensure!(policy.report(Kind::WarmPool).label.starts_with("old@"));
    Ok(())
}
