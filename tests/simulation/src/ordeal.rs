//! One node's life under a seed: random work under random faults, then a world that is well again.
//!
//! * `world`: where the node lives and how it is configured; `acts`: what goes on, and wrong; `recovery`: what must
//!   have come of it in the end.

mod acts;
mod recovery;
mod world;

use std::time::Duration;

use enid_core::eni::{Leaving, Phase};
use enid_core::event::Record;
use enid_core::limits::InstanceType;
use enid_core::node::{CustomNetworking, NodeState};
use enid_sim::node::SimNode;
use enid_sim::witness::Saboteur;

use crate::START;
use crate::dice::Dice;
use crate::runtime::Runtime;
use crate::safety::{Rule, Watch, Wrong};
use crate::seeds::{Tally, add};
use crate::strategies::Mind;
use world::{Others, World, knobs};

const ACTIONS: u64 = 80;
/// Kubelet would not run more pods than this on the nodes used here.
const MOST_PODS: usize = 24;

/// A seed that did not go well.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// What was wrong.
    pub wrong: Wrong,
    /// What led to it, for people.
    pub report: String,
}

/// One node, its runtime, its watch, and chance.
pub struct Ordeal {
    seed: u64,
    dice: Dice,
    node: SimNode<Mind>,
    runtime: Runtime,
    watch: Watch,
    known: InstanceType,
    /// Pods that fit whatever happens.
    capacity: usize,
    custom_networking: CustomNetworking,
    others: Others,
    life: u64,
    events: u64,
    acts: Tally,
    said: Vec<String>,
}

/// Lives the life of one seed and counts what happened.
pub fn live(seed: u64) -> Result<Tally, Failure> {
    Ordeal::begin(seed).run()
}

/// The same with somebody between the daemon and its world.
pub fn live_with(seed: u64, saboteur: Box<dyn Saboteur<Mind>>) -> Result<Tally, Failure> {
    let mut ordeal = Ordeal::begin(seed);
    ordeal.node.sabotage(saboteur);
    ordeal.run()
}

impl Ordeal {
    fn begin(seed: u64) -> Self {
        let mut dice = Dice::seeded(seed);
        let world = World::drawn(seed, &mut dice);
        let capacity = world.capacity();
        let World { ec2, instance, known, config, others } = world;
        let knobs = knobs(&mut dice);
        let custom_networking = config.custom_networking.clone();
        let said = vec![format!("{} {knobs:?} {config:?}", known.name)];
        let start = START + Duration::from_secs(60);
        let mut node = SimNode::start(ec2, instance, config, Mind::Knobs(knobs), start).expect("metadata");
        node.watch();
        let (runtime, watch) = (Runtime::default(), Watch::default());
        Self {
            seed,
            dice,
            node,
            runtime,
            watch,
            known,
            capacity,
            custom_networking,
            others,
            life: 0,
            events: 0,
            acts: Tally::new(),
            said,
        }
    }

    fn run(mut self) -> Result<Tally, Failure> {
        self.live(Duration::from_secs(5))?;
        for _ in 0..ACTIONS {
            self.act()?;
        }
        self.heal()?;
        self.expect_recovered()?;
        let mut tally = self.acts;
        add(&mut tally, self.watch.counts());
        tally.insert("seeds", 1);
        tally.insert("events", self.events);
        tally.insert("torn journal writes", self.node.torn_writes());
        Ok(tally)
    }

    fn say(&mut self, what: String) {
        self.said.push(format!("{}: {what}", self.node.world_time()));
    }

    fn count(&mut self, what: &'static str) {
        *self.acts.entry(what).or_default() += 1;
    }

    /// Time passes, and after every event all is well.
    fn live(&mut self, time: Duration) -> Result<(), Failure> {
        let deadline = self.node.world_time() + time;
        loop {
            // Asking again may be what the daemon dies of.
            while self.node.lives() != self.life {
                self.life = self.node.lives();
                self.say(format!("life {}", self.life));
                self.runtime.disconnect(&mut self.node);
            }
            self.runtime.listen(&mut self.node);
            if !self.node.step_until(deadline) {
                return Ok(());
            }
            self.events += 1;
            self.examine()?;
        }
    }

    fn examine(&mut self) -> Result<(), Failure> {
        let wrongs = self.watch.wrongs(&mut self.node, &self.runtime);
        wrongs.into_iter().next().map_or(Ok(()), |wrong| Err(self.failed(wrong)))
    }

    fn fail(&self, what: impl Into<String>) -> Result<(), Failure> {
        Err(self.failed(Wrong::new(Rule::Recovery, what)))
    }

    fn failed(&self, wrong: Wrong) -> Failure {
        let tail = self.said.iter().rev().take(40).rev().cloned().collect::<Vec<_>>().join("\n");
        let status = self.node.state().status(self.node.now());
        let enis: String = status
            .enis
            .iter()
            .map(|eni| format!("{} of {}: {:?}\n", eni.free, eni.addresses, self.node.state().eni(&eni.id)))
            .collect();
        let (seed, now, clock) = (self.seed, self.node.world_time(), self.node.now());
        let config = self.said.first().cloned().unwrap_or_default();
        let report = format!(
            "ENID_SEED={seed}: {wrong}\nat {now}, which the daemon takes for {clock}\n{config}\n…\n{tail}\n{:?}\n{enis}{:?}\n{:?}\n{:?}",
            status.pool,
            (&status.degraded, &status.waiting_for, &status.withheld, &status.readiness),
            status.subnets,
            (&status.quarantined, &status.kernel),
        );
        Failure { seed, wrong, report }
    }

    /// The compacted journal, read, gives back a node that would write the same.
    fn expect_faithful_records(&self) -> Result<(), Failure> {
        let (config, identity) = (self.node.state().config().clone(), self.node.state().identity().clone());
        let journal = &self.node.journal;
        let (again, _) = NodeState::restore(config, identity, self.known.clone(), journal, self.node.now());
        let mut again = again.records();
        let mut records = journal.clone();
        let longest = self.node.now() + self.node.state().config().cooldown;
        for record in again.iter_mut().chain(&mut records) {
            match record {
                // Whether an ENI whose link never came is given up is decided when it is looked at.
                Record::Eni { eni, .. }
                    if eni.phase.is_coming()
                        || eni.phase == Phase::Leaving(Leaving::TearingDown) && eni.going.is_none() =>
                {
                    eni.phase = Phase::Created;
                }
                // A cooldown that was shortened since holds after a restart.
                Record::Released { cool_until, .. } => *cool_until = longest.min(*cool_until),
                Record::Identity { .. }
                | Record::Limits { .. }
                | Record::Creating { .. }
                | Record::NotCreated { .. }
                | Record::Eni { .. }
                | Record::Delegated { .. }
                | Record::ReservedTogether { .. }
                | Record::Returning { .. }
                | Record::EniGone { .. }
                | Record::Reserved { .. }
                | Record::Bound { .. } => {}
            }
        }
        let lost: Vec<_> = records.iter().filter(|record| !again.contains(record)).collect();
        let made_up: Vec<_> = again.iter().filter(|record| !records.contains(record)).collect();
        if lost.is_empty() && made_up.is_empty() {
            return Ok(());
        }
        Err(self.failed(Wrong::new(Rule::KernelInJournal, format!("{lost:#?} became {made_up:#?}"))))
    }
}
