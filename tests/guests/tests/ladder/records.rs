//! Every decision is written down, and can be had again.

use anyhow::{Context as _, Result, ensure};
use enid_core::document::Snapshot;
use enid_core::kind::Kind;
use enid_core::report::Rung;
use enid_core::specimen;
use enid_policy_wasm::record::{History, Verdict};
use enid_policy_wasm::{Limits, Lineup, Policy, PolicyConfig};
use guests::{Site, guest, policy};

use crate::loading::{ANSWERS_TWICE, int, warm_targets};
use crate::script::{PLACES, at, only};

#[test]
fn a_recorded_question_brings_the_same_answer_for_the_same_fuel() -> Result<()> {
    for place in PLACES {
        let dir = tempfile::tempdir()?;
        let settings = vec![int("warm_ip_target", 5), int("minimum_ip_target", 9)];
        let config = PolicyConfig {
            warm_pool: Lineup::only(warm_targets(settings)?),
            max_pods: Lineup::only(policy::shipped("eks-max-pods")?),
            subnet_selection: Lineup::only(policy::shipped("most-free")?),
            house: policy::house(place, Some(dir.path()))?,
            ..PolicyConfig::default()
        };
        let policy = Policy::new(&config)?;
        let mut decisions = Vec::new();
        for seed in 0..50 {
            for kind in Kind::ALL {
                decisions.push(match specimen::random(kind, seed) {
                    Snapshot::WarmPool(question) => policy.decide_warm_pool(&question).rung,
                    Snapshot::MaxPods(question) => policy.decide_max_pods(&question).rung,
                    Snapshot::SubnetSelection(question) => policy.decide_subnets(&question).rung,
                });
            }
        }
        policy.settle();
        drop(policy);
        let site = Site::in_process()?;
        for (index, kind) in Kind::ALL.into_iter().enumerate() {
            let history = History::read(dir.path(), kind)?;
            ensure!(
                (history.records.len(), history.unreadable) == (50, 0),
                "{kind}: {}",
                history.records.len()
            );
            let name = ["warm-targets", "eks-max-pods", "most-free"][index];
            let bytes = std::fs::read(guests::shipped()?.join(format!("{name}.wasm")))?;
            let guest = site.load(&bytes, &Limits::default())?;
            ensure!(guest.kind() == kind);
            for (number, record) in history.records.iter().enumerate() {
                ensure!(
                    record.decision == u64::try_from(number)? && record.rung == decisions[3 * number + index]
                );
                ensure!(record.snapshot.context().sequence == record.decision, "{record:?}");
                let called = guest.ask(&record.snapshot);
                ensure!(called.result.as_ref().ok() == record.answer.as_ref(), "{record:?}: {called:?}");
                ensure!((called.cost.fuel, called.cost.memory) == (record.fuel, record.memory), "{record:?}");
            }
        }
    }
    Ok(())
}

#[test]
fn a_record_says_what_failed_and_who_decided_instead() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let twice = policy::component(dir.path(), "twice", &guest(ANSWERS_TWICE)?)?;
    let records = dir.path().join("records");
    let policy =
        Policy::new(&only(twice, policy::house(enid_policy_wasm::Place::InProcess, Some(&records))?))?;
    for now in 1..=3 {
        policy.decide_warm_pool(&at(now));
    }
    policy.settle();
    let history = History::read(&records, Kind::WarmPool)?.records;
    let states: Vec<&[u8]> =
        history.iter().map(|record| record.snapshot.context().state.as_slice()).collect();
    ensure!(states == [&[][..], &[1], &[2]], "{states:?}");
    let third = history.last().context("three decisions")?;
    ensure!(third.verdict == Verdict::Failed("trap".into()) && third.answer.is_none(), "{third:?}");
    ensure!(third.rung == Rung::LastGood && third.faults.len() == 1 && third.fuel > 0, "{third:?}");
    ensure!(third.strategy == third.decided_by && third.target.starts_with("2–9 ready"), "{third:?}");
    Ok(())
}

#[test]
fn numbers_rise_over_a_restart_and_what_was_decided_before_is_compared_with_who_comes_next() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let records = dir.path().join("records");
    let house = || policy::house(enid_policy_wasm::Place::InProcess, Some(&records));
    let first = Policy::new(&only(crate::script::steady(3).written(dir.path(), "three")?, house()?))?;
    for now in 1..=5 {
        first.decide_warm_pool(&at(now));
    }
    first.settle();
    drop(first);
    let second = Policy::new(&only(crate::script::steady(3).written(dir.path(), "three")?, house()?))?;
    let decision = second.decide_warm_pool(&at(6));
    ensure!(decision.record.is_some_and(|number| number.0 == 5), "{decision:?}");
    let five = crate::script::steady(5).written(dir.path(), "five")?;
    let report = second.replace(Kind::WarmPool, &only(five, house()?))?;
    let divergence = report.divergence.context("there are six decisions to compare")?;
    ensure!((divergence.compared, divergence.difference) == (6, 12), "{divergence:?}");
    Ok(())
}
