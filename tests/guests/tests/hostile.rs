//! Every hostile guest ends in its named failure, and the ladder goes on answering.

use anyhow::{Context as _, ensure};
use enid_core::admission::admit_warm_pool;
use enid_core::report::Rung;
use enid_core::snapshot::Context;
use enid_policy_wasm::{
    Component, Engine, Fault, Inadmissible, Kind, Limits, Policy, PolicyConfig, StrategyConfig,
};
use guests::{Hostile, guest, snapshot};

/// How the guest ends when it is loaded and asked directly.
fn ends_in(engine: &Engine, hostile: &Hostile) -> String {
    let component = match Component::admit(engine, &hostile.bytes, &[], &hostile.limits, None) {
        Ok(component) => component,
        Err(Inadmissible::Call { call, fault }) => return format!("{call}: {}", fault.label()),
        Err(other) => return other.label().to_owned(),
    };
    let question = snapshot();
    let answer = component.warm_pool(&Context::default(), &question);
    let fault = match answer {
        None => return "another kind".into(),
        Some(Err(fault)) => fault,
        Some(Ok((proposal, _))) => match admit_warm_pool(&question, proposal) {
            Ok(_) => return "an answer".into(),
            Err(violation) => Fault::Refused(violation),
        },
    };
    assert!(!fault.to_string().contains(char::is_control), "{fault:?} would reach a terminal");
    format!("decide: {}", fault.label())
}

#[test]
fn each_hostile_guest_ends_in_its_named_failure() {
    let engine = Engine::new().unwrap();
    let mut wrong = Vec::new();
    for hostile in Hostile::all().unwrap() {
        let ended = ends_in(&engine, &hostile);
        if ended != hostile.ends_in {
            wrong.push(format!(
                "{} ({}): expected `{}`, got `{ended}`",
                hostile.name, hostile.attacks, hostile.ends_in
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_corpus_covers_every_fault() {
    let corpus = Hostile::all().unwrap();
    for fault in [
        "fuel",
        "deadline",
        "memory",
        "tables",
        "instances",
        "stack",
        "trap",
        "hostcall-bytes",
        "lift",
        "failure",
        "refused",
    ] {
        assert!(corpus.iter().any(|hostile| hostile.ends_in.ends_with(fault)), "no guest ends in {fault}");
    }
}

#[test]
fn the_ladder_answers_whatever_a_guest_does_and_the_next_guest_is_unharmed() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let good = dir.path().join("good.wasm");
    std::fs::write(&good, guest("")?)?;
    let policy = Policy::new(PolicyConfig {
        warm_pool: StrategyConfig::component("good", &good),
        ..PolicyConfig::default()
    })?;
    let question = snapshot();
    let before = policy.decide_warm_pool(&question);
    ensure!(before.rung == Rung::Live, "{before:?}");
    for hostile in Hostile::all()? {
        let path = dir.path().join(format!("{}.wasm", hostile.name));
        std::fs::write(&path, &hostile.bytes)?;
        let config = StrategyConfig {
            limits: hostile.limits.clone(),
            ..StrategyConfig::component(&hostile.name, &path)
        };
        let replaced = policy.replace(Kind::WarmPool, config);
        let let_in = hostile.ends_in.starts_with("decide");
        ensure!(replaced.is_ok() == let_in, "{}: {replaced:?}", hostile.name);
        let decision = policy.decide_warm_pool(&question);
        if let_in {
            ensure!(
                decision.rung == Rung::Builtin && decision.faults.len() == 1,
                "{}: {decision:?}",
                hostile.name
            );
            ensure!(decision.strategy == "builtin", "{}: {decision:?}", hostile.name);
        } else {
            ensure!(decision.rung == Rung::Live, "the refused {} took the live one's place", hostile.name);
        }
        policy
            .replace(Kind::WarmPool, StrategyConfig::component("good", &good))
            .context("put the good one back")?;
        let after = policy.decide_warm_pool(&question);
        ensure!(
            after.rung == Rung::Live && after.target == before.target,
            "after {}: {after:?}",
            hostile.name
        );
    }
    Ok(())
}

#[test]
fn a_guest_that_fails_is_answered_by_its_fallback() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (good, bad) = (dir.path().join("good.wasm"), dir.path().join("bad.wasm"));
    std::fs::write(&good, guest("")?)?;
    std::fs::write(&bad, guest(r#"(func (export "decide") (param i32) (result i32) (unreachable))"#)?)?;
    let fallback = Some(Box::new(StrategyConfig::component("good", &good)));
    let policy = Policy::new(PolicyConfig {
        warm_pool: StrategyConfig { fallback, ..StrategyConfig::component("bad", &bad) },
        ..PolicyConfig::default()
    })?;
    let decision = policy.decide_warm_pool(&snapshot());
    ensure!(decision.rung == Rung::Fallback && decision.strategy.starts_with("good@"), "{decision:?}");
    ensure!(decision.faults.len() == 1 && decision.faults[0].starts_with("bad@"), "{decision:?}");
    Ok(())
}

#[test]
fn limits_beyond_what_the_host_survives_are_refused() -> anyhow::Result<()> {
    let limits = Limits { memory: 1 << 40, ..Limits::default() };
    let refused = Component::admit(&Engine::new()?, &guest("")?, &[], &limits, None);
    assert!(matches!(refused, Err(Inadmissible::Limits(_))));
    Ok(())
}
