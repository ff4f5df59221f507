//! Each rung answers when those above it are broken, and pods get addresses on every one of them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use enid_core::event::Answer;
use enid_core::node::Config;
use enid_core::proposal::Band;
use enid_core::report::{Decision, Rung};
use enid_core::snapshot::{MaxPodsSnapshot, SubnetSnapshot, WarmPoolSnapshot};
use enid_core::time::Timestamp;
use enid_engine::ports::Strategist;
use enid_policy_wasm::{Kind, Lineup, Place, Policy};
use enid_sim::node::{SimNode, lone_instance};
use guests::policy;

use crate::script::{Misdeed, PLACES, Script, at, cue, house};

/// The cue on which the configured strategy fails.
const LIVE: u32 = 7001;
/// On which the first fallback fails, too.
const FIRST: u32 = 7002;
/// On which all components fail.
const ALL: u32 = 7003;
/// A minute and a little: as long as a last good answer counts.
const STALE_MS: u64 = 61_000;

/// Three strategies below one another that want 3, 5 and 7 addresses ready.
fn ladder(place: Place) -> Result<Policy> {
    let dir = tempfile::tempdir()?;
    let trap = |cue| (cue, Misdeed::Trap);
    let active = Script { ready: 3, misdeeds: &[trap(LIVE), trap(FIRST), trap(ALL)] };
    let first = Script { ready: 5, misdeeds: &[trap(FIRST), trap(ALL)] };
    let second = Script { ready: 7, misdeeds: &[trap(ALL)] };
    let lineup = Lineup {
        active: active.written(dir.path(), "active")?,
        fallbacks: vec![first.written(dir.path(), "first")?, second.written(dir.path(), "second")?],
        shadow: None,
    };
    Ok(Policy::new(&policy::config(Kind::WarmPool, lineup, house(place)?))?)
}

/// Makes nonsense of the node's limits, so that even the built-in rule has no admissible answer.
fn impossible(mut question: WarmPoolSnapshot) -> WarmPoolSnapshot {
    question.limits.max_enis = 0;
    question.limits.slots_per_eni = 20_001;
    question
}

#[test]
fn each_rung_answers_when_those_above_it_are_broken() -> Result<()> {
    for place in PLACES {
        let policy = ladder(place)?;
        let mut now = 1_000_000;
        let live = policy.decide_warm_pool(&at(now));
        ensure!((live.rung, live.target.ready_low) == (Rung::Live, 3), "{live:?}");
        ensure!(live.strategy.starts_with("active@") && live.faults.is_empty(), "{live:?}");
        let held = policy.decide_warm_pool(&cue(now + 1_000, LIVE));
        ensure!((held.rung, held.target.ready_low, held.faults.len()) == (Rung::LastGood, 3, 1), "{held:?}");
        let below = [
            (cue(0, LIVE), Rung::Fallback, "first@", 5, 1),
            (cue(0, FIRST), Rung::Fallback, "second@", 7, 2),
            (cue(0, ALL), Rung::Builtin, "builtin", 9, 3),
            (impossible(cue(0, ALL)), Rung::Hold, "none", 3, 4),
        ];
        for (mut question, rung, strategy, ready, faults) in below {
            // So that what failed before does not count any more, and last good answers are stale.
            policy.settle();
            policy.clear_quarantine("");
            let well = policy.decide_warm_pool(&at(now));
            ensure!(well.rung == Rung::Live, "{well:?}");
            now += STALE_MS;
            question.context.now_ms = now;
            let decision = policy.decide_warm_pool(&question);
            ensure!((decision.rung, decision.target.ready_low) == (rung, ready), "{place}: {decision:?}");
            ensure!(decision.strategy.starts_with(strategy), "{place}: {decision:?}");
            ensure!(decision.faults.len() == faults, "{place}: {decision:?}");
        }
        policy.settle();
        policy.clear_quarantine("");
        let again = policy.decide_warm_pool(&at(now));
        ensure!((again.rung, again.target.ready_low) == (Rung::Live, 3), "{again:?}");
    }
    Ok(())
}

/// What goes wrong on the node at the moment.
#[derive(Clone, Copy, Debug)]
enum Scene {
    Well,
    Cue(u32),
    Impossible,
}

/// Shows the ladder the node as it is, with the scene's cue.
#[derive(Clone, Debug)]
struct Prompter {
    policy: Arc<Policy>,
    scene: Arc<Mutex<Scene>>,
}

impl Prompter {
    fn play(&self, scene: Scene) {
        *self.scene.lock().unwrap_or_else(PoisonError::into_inner) = scene;
    }

    fn rung(&self) -> Option<Rung> {
        self.policy.report(Kind::WarmPool).rung
    }
}

impl Strategist for Prompter {
    fn warm_pool(&self, snapshot: &WarmPoolSnapshot) -> Decision<Band> {
        let mut question = snapshot.clone();
        match *self.scene.lock().unwrap_or_else(PoisonError::into_inner) {
            Scene::Well => {}
            Scene::Cue(cue) => question.pods.expected = cue,
            Scene::Impossible => {
                question.pods.expected = ALL;
                question = impossible(question);
            }
        }
        self.policy.decide_warm_pool(&question)
    }

    fn max_pods(&self, snapshot: &MaxPodsSnapshot) -> Decision<u32> {
        self.policy.decide_max_pods(snapshot)
    }

    fn subnets(&self, snapshot: &SubnetSnapshot) -> Decision<Vec<u16>> {
        self.policy.decide_subnets(snapshot)
    }
}

/// Adds a pod to a modelled node, and lets what follows from it happen.
fn add(node: &mut SimNode<Prompter>, name: &str) -> Result<()> {
    let ticket = node.add(name);
    ensure!(node.settle(Duration::from_secs(600)), "the node does not settle");
    let answer = node.answer(ticket);
    ensure!(matches!(answer, Some(Answer::Added(_))), "{name}: {answer:?}");
    Ok(())
}

#[test]
fn pods_get_addresses_on_every_rung() -> Result<()> {
    for place in PLACES {
        let prompter =
            Prompter { policy: Arc::new(ladder(place)?), scene: Arc::new(Mutex::new(Scene::Well)) };
        let start = Timestamp(1_800_000_000_000);
        let m5_large = enid_core::instance_types::lookup("m5.large").context("a known type")?;
        let (ec2, instance, _) = lone_instance(7, &m5_large, start)?;
        let after_boot = start + Duration::from_secs(60);
        let mut node = SimNode::start(ec2, instance, Config::default(), prompter.clone(), after_boot)?;
        ensure!(node.settle(Duration::from_secs(600)), "the node does not settle");
        let stale = Duration::from_millis(STALE_MS);
        let scenes = [
            (Scene::Well, Duration::ZERO, Rung::Live),
            (Scene::Cue(LIVE), Duration::ZERO, Rung::LastGood),
            (Scene::Cue(LIVE), stale, Rung::Fallback),
            (Scene::Cue(FIRST), stale, Rung::Fallback),
            (Scene::Cue(ALL), stale, Rung::Builtin),
            (Scene::Impossible, stale, Rung::Hold),
        ];
        for (number, (scene, wait, rung)) in scenes.into_iter().enumerate() {
            prompter.play(scene);
            node.pass(wait);
            // More than the strategies above keep ready: supply must grow on this rung.
            for pod in 0..4 {
                add(&mut node, &format!("pod-{number}-{pod}"))?;
                ensure!(prompter.rung() == Some(rung), "{place}, {scene:?}: {:?}", prompter.rung());
            }
        }
        // Longer than the longest time out: the strategy is probed, proves itself, and answers again. A probe of a scene before
        // would fail once more, and begin another.
        prompter.policy.settle();
        prompter.play(Scene::Well);
        node.pass(Duration::from_secs(2 * 3600));
        for probe in 0..5 {
            prompter.policy.settle();
            let pod = format!("pod-after-{probe}");
            add(&mut node, &pod)?;
            node.del(&pod);
        }
        ensure!(prompter.rung() == Some(Rung::Live), "{place}: {:?}", prompter.policy.quarantined());
        ensure!(node.ec2.check().is_empty(), "{:?}", node.ec2.check());
    }
    Ok(())
}
