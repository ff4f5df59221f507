//! Every hostile guest ends in its named failure, in this process and in a child, and harms nobody else.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, bail, ensure};
use enid_core::document::{Answer, Snapshot};
use enid_core::report::Rung;
use enid_core::snapshot::{Setting, Value};
use enid_policy_wasm::admission::{Offer, Terms, examine};
use enid_policy_wasm::artifact::Artifact;
use enid_policy_wasm::fault::Unloadable;
use enid_policy_wasm::runtime::{Called, Guest, Issue, Runtime};
use enid_policy_wasm::{
    Descriptor, Inadmissible, Kind, Limits, Lineup, Place, Policy, Step, StrategyConfig, Trust, question,
};
use guests::{Hostile, Site, guest, policy, question as ask, snapshot};

/// What a person may be shown of a stranger's words.
const MAX_SHOWN: usize = 8 << 10;

/// How its admission ends.
fn ends_in(site: &Site, hostile: &Hostile) -> String {
    match site.examine(hostile.kind, &hostile.bytes, &hostile.limits) {
        Ok(_) => "an answer".to_owned(),
        Err(refused) => {
            let shown = refused.to_string();
            assert!(!shown.contains(char::is_control), "{}: {shown:?} would reach a terminal", hostile.name);
            assert!(
                shown.len() <= MAX_SHOWN,
                "{}: {} bytes would reach a terminal",
                hostile.name,
                shown.len()
            );
            format!("{}: {}", refused.step(), refused.label())
        }
    }
}

/// How it ends when nobody examines it and it is asked; `None` when it cannot even be loaded.
fn asked(site: &Site, hostile: &Hostile) -> Option<String> {
    let guest = site.load(&hostile.bytes, &hostile.limits).ok()?;
    let question = ask::ordinary(hostile.kind);
    let called = guest.ask(&question);
    Some(match called.result {
        Err(fault) => fault.label().to_owned(),
        Ok(answer) => match question::judge(&question, answer) {
            Ok(_) => "an answer".to_owned(),
            Err(failing) => failing.label().to_owned(),
        },
    })
}

fn each_ends_as_it_says(site: &Site) -> Result<()> {
    let good = site.examine(Kind::WarmPool, &guest("")?, &Limits::default())?.guest;
    let question = ask::ordinary(Kind::WarmPool);
    let answer = good.ask(&question).result?;
    let mut wrong = Vec::new();
    for hostile in Hostile::all_for(site.place)? {
        let ended = ends_in(site, &hostile);
        let asked = asked(site, &hostile);
        if ended != hostile.ends_in || asked != hostile.asked {
            wrong.push(format!(
                "{} ({}): expected `{}` and {:?}, got `{ended}` and {asked:?}",
                hostile.name, hostile.attacks, hostile.ends_in, hostile.asked
            ));
        }
        ensure!(good.ask(&question).result.as_ref() == Ok(&answer), "{} harmed another", hostile.name);
    }
    ensure!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn each_hostile_guest_ends_in_its_named_failure_in_this_process() -> Result<()> {
    each_ends_as_it_says(&Site::in_process()?)
}

#[test]
fn each_hostile_guest_ends_in_its_named_failure_in_a_child_which_survives_all() -> Result<()> {
    let site = Site::process()?;
    let child = site.child.clone().expect("this place has a child");
    site.examine(Kind::WarmPool, &guest("")?, &Limits::default())?;
    let before = child.process();
    ensure!(before.is_some(), "there is no child");
    each_ends_as_it_says(&site)?;
    ensure!(child.process() == before, "a guest ended the child");
    Ok(())
}

#[test]
fn the_corpus_covers_every_fault_and_every_step_that_a_guest_can_fail() -> Result<()> {
    let corpus = Hostile::all()?;
    let ends: BTreeSet<&str> = corpus.iter().map(|hostile| hostile.ends_in.as_str()).collect();
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
        ensure!(ends.iter().any(|end| end.ends_with(&format!(": {fault}"))), "no guest ends in {fault}");
    }
    for step in Step::ALL {
        let reached = ends.iter().any(|end| end.starts_with(&format!("{step}: ")));
        let of_a_guest = match step {
            Step::Size
            | Step::Form
            | Step::Compile
            | Step::Imports
            | Step::Kind
            | Step::Start
            | Step::Describe
            | Step::Schema
            | Step::Settings
            | Step::Corners => true,
            // About the operator's file and settings, or about this node's past.
            Step::Limits | Step::Read | Step::Digest | Step::Signature | Step::Replay => false,
        };
        ensure!(reached == of_a_guest, "step {step}");
    }
    ensure!(corpus.len() >= 25, "only {} guests", corpus.len());
    Ok(())
}

/// Offers every guest for every kind's ladder, and asks in between.
fn a_ladder_goes_on(place: Place) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let good = policy::component(dir.path(), "good", &guest("")?)?;
    let config = |active| -> Result<_> {
        Ok(policy::config(Kind::WarmPool, Lineup::only(active), policy::house(place, None)?))
    };
    let policy = Policy::new(&config(good.clone())?)?;
    let before = policy.decide_warm_pool(&snapshot());
    ensure!(before.rung == Rung::Live, "{before:?}");
    for hostile in Hostile::all_for(place)?.into_iter().filter(|hostile| hostile.kind == Kind::WarmPool) {
        let offered = policy::component(dir.path(), &hostile.name, &hostile.bytes)?;
        let offered = StrategyConfig { limits: hostile.limits.clone(), ..offered };
        let replaced = policy.replace(Kind::WarmPool, &config(offered)?);
        ensure!(replaced.is_ok() == hostile.is_let_in(), "{}: {replaced:?}", hostile.name);
        let meanwhile = policy.decide_warm_pool(&snapshot());
        ensure!(
            meanwhile.rung == Rung::Live && meanwhile.faults.is_empty(),
            "{}: {meanwhile:?}",
            hostile.name
        );
        if hostile.is_let_in() {
            policy.replace(Kind::WarmPool, &config(good.clone())?)?;
        }
        let after = policy.decide_warm_pool(&snapshot());
        ensure!(
            after.rung == Rung::Live && after.target == before.target && after.strategy == before.strategy,
            "after {}: {after:?}",
            hostile.name
        );
    }
    Ok(())
}

#[test]
fn the_strategy_in_force_stays_whoever_else_is_offered_in_this_process() -> Result<()> {
    a_ladder_goes_on(Place::InProcess)
}

#[test]
fn the_strategy_in_force_stays_whoever_else_is_offered_in_children() -> Result<()> {
    a_ladder_goes_on(Place::Process)
}

#[test]
fn whoever_is_let_in_answers_the_same_whenever_and_wherever_it_is_asked() -> Result<()> {
    let [here, there] = Site::both()?;
    for hostile in Hostile::all()?.into_iter().filter(Hostile::is_let_in) {
        let question = ask::ordinary(hostile.kind);
        let load = |site: &Site| site.load(&hostile.bytes, &hostile.limits);
        let first = load(&here)?.ask(&question);
        ensure!(first.result.is_ok(), "{}: {first:?}", hostile.name);
        for site in [&here, &there] {
            let guest = load(site)?;
            for _ in 0..10 {
                let called = guest.ask(&question);
                ensure!(called == first, "{} in {}: {called:?}, {first:?}", hostile.name, site.place);
            }
        }
    }
    Ok(())
}

#[test]
fn what_strangers_say_is_cut_to_size_and_cannot_steer_a_terminal() -> Result<()> {
    for site in Site::both()? {
        let examined = |name: &str| -> Result<Arc<dyn Guest>> {
            let hostile = Hostile::named(name)?;
            Ok(site.examine(hostile.kind, &hostile.bytes, &hostile.limits)?.guest)
        };
        let name = examined("long-name")?.descriptor().name.clone();
        ensure!(!name.is_empty() && name.len() <= 64 && !name.contains(char::is_control), "{name:?}");

        let called = examined("log-escapes")?.ask(&ask::ordinary(Kind::WarmPool));
        let Limits { log_lines, .. } = Limits::default();
        ensure!(called.cost.lines.len() == usize::try_from(log_lines)?, "{} lines", called.cost.lines.len());
        ensure!(called.cost.dropped == 1000 - log_lines, "{} dropped", called.cost.dropped);
        for line in &called.cost.lines {
            ensure!(line.text.starts_with("fine\\n") && !line.text.contains(char::is_control), "{line:?}");
        }

        let question = ask::ordinary(Kind::WarmPool);
        for name in ["reason-escapes", "annotation-flood"] {
            let answer = examined(name)?.ask(&question).result?;
            let question::Judged::WarmPool(judged) = question::judge(&question, answer)? else {
                bail!("{name} is of another kind")
            };
            let outcome = judged.outcome;
            ensure!(outcome.reason.len() <= 256 && !outcome.reason.contains(char::is_control), "{outcome:?}");
            ensure!(outcome.annotations.len() <= 32, "{} annotations", outcome.annotations.len());
        }

        let setting = Setting { key: "a".into(), value: Value::Int(1) };
        for (name, given) in [
            ("settings-long-message", &[][..]),
            ("settings-refused", &[]),
            ("schema-choices", std::slice::from_ref(&setting)),
        ] {
            let hostile = Hostile::named(name)?;
            let examined = site.examine_with(hostile.kind, &hostile.bytes, &hostile.limits, given);
            let Err(refused) = examined else { bail!("{name} was let in") };
            ensure!(!refused.issues().is_empty(), "{name}: {refused}");
            for Issue { key, message } in refused.issues() {
                ensure!(key.len() <= 64 && message.len() <= 256, "{key}: {message}");
                ensure!(
                    !key.contains(char::is_control) && !message.contains(char::is_control),
                    "{message:?}"
                );
            }
        }
    }
    Ok(())
}

#[test]
fn limits_beyond_what_the_host_survives_are_refused() -> Result<()> {
    let limits = Limits { memory: 1 << 40, ..Limits::default() };
    let refused = Site::in_process()?.examine(Kind::WarmPool, &guest("")?, &limits);
    ensure!(matches!(refused, Err(Inadmissible::Limits(_))), "{refused:?}");
    Ok(())
}

/// A place whose components are not what they seem: every other answer differs.
#[derive(Debug)]
struct Fickle {
    honest: Arc<dyn Runtime>,
    what: Whim,
}

#[derive(Clone, Copy, Debug)]
enum Whim {
    Target,
    Fuel,
}

#[derive(Debug)]
struct FickleGuest {
    honest: Arc<dyn Guest>,
    what: Whim,
    asked: AtomicU64,
}

impl Runtime for Fickle {
    fn load(&self, artifact: &Artifact, limits: &Limits) -> Result<Arc<dyn Guest>, Unloadable> {
        let honest = self.honest.load(artifact, limits)?;
        Ok(Arc::new(FickleGuest { honest, what: self.what, asked: AtomicU64::new(0) }))
    }

    fn place(&self) -> Place {
        self.honest.place()
    }
}

impl Guest for FickleGuest {
    fn kind(&self) -> Kind {
        self.honest.kind()
    }

    fn descriptor(&self) -> &Descriptor {
        self.honest.descriptor()
    }

    fn check_settings(&self, settings: &[Setting]) -> Called<Vec<Issue>> {
        self.honest.check_settings(settings)
    }

    fn ask(&self, question: &Snapshot) -> Called<Answer> {
        let mut called = self.honest.ask(question);
        let odd = self.asked.fetch_add(1, Ordering::Relaxed) % 2;
        match (self.what, &mut called.result) {
            (Whim::Fuel, _) => called.cost.fuel += odd,
            (Whim::Target, Ok(Answer::WarmPool(proposal))) => proposal.target.keep_free = u32::from(odd == 1),
            (Whim::Target, _) => {}
        }
        called
    }
}

#[test]
fn whoever_answers_the_same_question_differently_is_not_let_in() -> Result<()> {
    let site = Site::in_process()?;
    for (what, told) in [(Whim::Target, "target or reason"), (Whim::Fuel, "use of fuel")] {
        let runtime = Fickle { honest: Arc::clone(&site.runtime), what };
        let trust = Trust::default();
        let terms = Terms {
            wanted: Some(Kind::WarmPool),
            pinned: None,
            trust: &trust,
            settings: &[],
            limits: &Limits::default(),
            recorded: &[],
        };
        let refused = examine(&Offer::unsigned(guest("")?), &terms, &site.compiler, &runtime);
        let Err(Inadmissible::NotDeterministic { what, .. }) = refused else { bail!("{refused:?}") };
        ensure!(what == told, "{what}");
    }
    Ok(())
}
