//! A component that keeps failing is not asked any more, until it has proved itself or the operator says so.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use enid_core::document::Snapshot;
use enid_core::report::Rung;
use enid_policy_wasm::record::{History, Verdict};
use enid_policy_wasm::{Kind, Limits, Place, Policy, PolicyConfig};
use guests::{Site, policy};

use crate::script::{Misdeed, PLACES, Script, at, cue, only};

const CUE: u32 = 7001;
/// The first time out.
const TIME_OUT_MS: u64 = 30_000;
/// Later than a last good answer counts.
const LATER: u64 = 1_000_000;

const SCRIPT: Script<'static> = Script { ready: 3, misdeeds: &[(CUE, Misdeed::Trap)] };

fn config(dir: &Path, place: Place) -> Result<PolicyConfig> {
    let records = dir.join("records");
    Ok(only(SCRIPT.written(dir, "fails")?, policy::house(place, Some(&records))?))
}

/// Asks with the cue until the component is out; at most five decisions.
fn provoke(policy: &Policy, now: u64) -> Result<()> {
    for asked in 1..=5 {
        let decision = policy.decide_warm_pool(&cue(now, CUE));
        ensure!(decision.rung == Rung::Builtin && decision.faults.len() == 1, "{decision:?}");
        policy.settle();
        if !policy.quarantined().is_empty() {
            ensure!(asked > 1, "one question put it in quarantine");
            return Ok(());
        }
    }
    anyhow::bail!("after five faults it is still asked")
}

#[test]
fn whoever_keeps_failing_is_not_asked_and_comes_back_after_three_clean_probes() -> Result<()> {
    for place in PLACES {
        let dir = tempfile::tempdir()?;
        let policy = Policy::new(&config(dir.path(), place)?)?;
        provoke(&policy, LATER)?;
        let quarantined = policy.quarantined();
        ensure!(quarantined.len() == 1 && quarantined[0].why.contains("trapped"), "{quarantined:?}");
        ensure!(Some(&quarantined[0].digest) == policy.report(Kind::WarmPool).digest.as_ref());

        let not_asked = policy.decide_warm_pool(&at(LATER + TIME_OUT_MS - 1));
        ensure!(not_asked.rung == Rung::Builtin, "{not_asked:?}");
        ensure!(
            not_asked.faults.len() == 1 && not_asked.faults[0].ends_with("it is in quarantine"),
            "{not_asked:?}"
        );
        policy.settle();
        let record = History::read(&dir.path().join("records"), Kind::WarmPool)?.records.pop();
        let record = record.context("it is written down")?;
        ensure!(record.verdict == Verdict::Quarantined && record.answer.is_none(), "{record:?}");
        ensure!(policy.quarantined()[0].clean_probes == 0, "it was probed too early");

        for probes in 1..=3 {
            let probed = policy.decide_warm_pool(&at(LATER + TIME_OUT_MS));
            ensure!(probed.rung == Rung::Builtin, "probe {probes}: {probed:?}");
            policy.settle();
            let left = policy.quarantined().first().map(|quarantined| quarantined.clean_probes);
            ensure!(left == (probes < 3).then_some(probes), "probe {probes}: {left:?}");
        }
        let back = policy.decide_warm_pool(&at(LATER + TIME_OUT_MS));
        ensure!((back.rung, back.target.ready_low) == (Rung::Live, 3), "{back:?}");
    }
    Ok(())
}

#[test]
fn a_probe_that_fails_doubles_the_time_out() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let policy = Policy::new(&config(dir.path(), Place::InProcess)?)?;
    provoke(&policy, LATER)?;
    policy.decide_warm_pool(&at(LATER + TIME_OUT_MS));
    policy.settle();
    policy.decide_warm_pool(&cue(LATER + TIME_OUT_MS, CUE));
    policy.settle();
    let quarantined = policy.quarantined();
    ensure!(
        (quarantined[0].time_out_ms, quarantined[0].clean_probes) == (2 * TIME_OUT_MS, 0),
        "{quarantined:?}"
    );
    Ok(())
}

#[test]
fn quarantine_survives_a_restart_and_ends_when_the_operator_says_so() -> Result<()> {
    for place in PLACES {
        let dir = tempfile::tempdir()?;
        let config = config(dir.path(), place)?;
        let policy = Policy::new(&config)?;
        provoke(&policy, 10)?;
        let digest = policy.quarantined()[0].digest.clone();
        drop(policy);

        let policy = Policy::new(&config)?;
        let restored = policy.quarantined();
        ensure!(restored.len() == 1 && restored[0].digest == digest, "{restored:?}");
        let decision = policy.decide_warm_pool(&at(20));
        ensure!(decision.rung == Rung::Builtin && decision.faults[0].ends_with("quarantine"), "{decision:?}");
        ensure!(policy.clear_quarantine("0000000000") == 0, "another's quarantine was cleared");
        ensure!(policy.clear_quarantine(&digest[..12]) == 1);
        ensure!(policy.decide_warm_pool(&at(30)).rung == Rung::Live);
        drop(policy);

        let policy = Policy::new(&config)?;
        ensure!(policy.quarantined().is_empty(), "what was cleared is back");
        ensure!(policy.decide_warm_pool(&at(40)).rung == Rung::Live);
    }
    Ok(())
}

#[test]
fn a_replacement_with_the_same_bytes_stays_out_and_another_build_starts_clean() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let policy = Policy::new(&config(dir.path(), Place::InProcess)?)?;
    provoke(&policy, LATER)?;
    let renamed = SCRIPT.written(dir.path(), "renamed")?;
    policy.replace(Kind::WarmPool, &only(renamed, Default::default()))?;
    let decision = policy.decide_warm_pool(&at(LATER + 1));
    ensure!(decision.rung == Rung::Builtin && decision.faults[0].starts_with("renamed@"), "{decision:?}");
    let rebuilt = Script { ready: 4, ..SCRIPT }.written(dir.path(), "rebuilt")?;
    policy.replace(Kind::WarmPool, &only(rebuilt, Default::default()))?;
    ensure!(policy.decide_warm_pool(&at(LATER + 2)).rung == Rung::Live);
    Ok(())
}

#[test]
fn the_snapshot_that_a_component_failed_on_is_kept_and_brings_the_same_fault_again() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let policy = Policy::new(&config(dir.path(), Place::InProcess)?)?;
    policy.decide_warm_pool(&at(1));
    policy.decide_warm_pool(&cue(2, CUE));
    let digest = policy.report(Kind::WarmPool).digest.context("a component has a digest")?;
    policy.settle();
    drop(policy);
    let kept = dir.path().join(format!("records/faults/{}-trap.json", &digest[..12]));
    let question = Snapshot::from_json(&std::fs::read_to_string(&kept)?)?;
    ensure!(question.context().now_ms == 2, "{question:?}");
    let called = Site::in_process()?.load(&SCRIPT.bytes()?, &Limits::default())?.ask(&question);
    ensure!(called.result.as_ref().is_err_and(|fault| fault.label() == "trap"), "{called:?}");
    Ok(())
}
