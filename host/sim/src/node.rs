//! One node without a machine: the real [`NodeState`] and real strategies over the models of EC2 and the
//! kernel, in virtual time.
//!
//! Replaces the engine's loop, never its decisions: the same effects are performed, on models, in an order
//! that depends on nothing but the seed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use enid_core::cloud::{CloudEni, CloudError, NodeIdentity};
use enid_core::event::{
    Answer, CloudCall, Effect, Event, KernelView, KernelWanted, Nics, OpId, Record, Ticket, WantedPod,
};
use enid_core::ids::{Attachment, ContainerId, EniId, IfName, InstanceId, NetworkName, PodName, SubnetId};
use enid_core::limits::InstanceType;
use enid_core::node::{Config, NodeState};
use enid_core::time::Timestamp;
use enid_core::wiring::{EniWiring, NodeWiring, PodWiring};
use enid_engine::ports::Strategist;

use crate::ec2::Ec2;
use crate::ec2::refusal::CallError;
use crate::kernel::{Kernel, take_one};
use crate::witness::{Deed, Moment, Saboteur, What};

mod calls;
mod work;

pub use calls::Lie;

/// Events that one settling may take; a node that needs more goes in circles.
const MAX_STEPS: u32 = 200_000;

/// How much later an outcome that comes twice comes for the second time.
const ECHO: Duration = Duration::from_millis(30);

/// Kernel work under way.
#[derive(Clone, Debug)]
enum KernelWork {
    Wire { op: OpId, wiring: PodWiring, netns: Option<String> },
    Unwire { op: OpId, wiring: PodWiring },
    Repair { op: OpId, pod: WantedPod },
    RemoveStray { address: IpAddr },
    SetUp { op: OpId, wiring: EniWiring },
    TearDown { op: OpId, eni: EniId },
    Node { op: OpId, wiring: Box<NodeWiring> },
    Look { op: OpId, wanted: Box<KernelWanted>, found: Option<(Timestamp, KernelView)> },
}

/// What is to happen.
#[derive(Clone, Debug)]
enum Coming {
    /// The daemon learns something.
    Event(Event),
    /// A request reaches EC2; `life` says which daemon sent it. Its answer takes `back` to return.
    Request { op: OpId, call: Box<CloudCall>, life: u64, back: Duration },
    /// The kernel finishes work.
    Kernel(KernelWork),
}

/// What goes wrong around a daemon, besides EC2 and the kernel.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// What the coming looks at the ENIs say instead of the truth.
    pub lies: VecDeque<Lie>,
    /// How many of the coming outcomes are heard twice.
    pub echoes: u32,
    /// How far the daemon's clock is ahead of the world's, in milliseconds, from its next start on.
    pub clock_ahead: Option<i64>,
    /// Whether the journal takes nothing more.
    pub journal_full: bool,
}

/// A node in virtual time.
pub struct SimNode<S> {
    /// The region that the node lives in.
    pub ec2: Ec2,
    /// Its kernel.
    pub kernel: Kernel,
    /// Everything journaled so far.
    pub journal: Vec<Record>,
    /// What else goes wrong.
    pub faults: Faults,
    identity: NodeIdentity,
    instance_type: InstanceType,
    instance: InstanceId,
    state: NodeState,
    strategist: S,
    /// The world's time.
    now: Timestamp,
    /// How far the daemon's clock is ahead of it, in milliseconds.
    ahead: i64,
    queue: BTreeMap<(Timestamp, u64), Coming>,
    queued: u64,
    tickets: u64,
    namespaces: BTreeMap<Ticket, String>,
    answers: BTreeMap<Ticket, Answer>,
    life: u64,
    death: Option<(Moment, u64)>,
    torn: u64,
    effects: u64,
    outcomes: u64,
    under_way: BTreeMap<OpId, CloudCall>,
    last_told: Option<(Timestamp, Vec<CloudEni>)>,
    lied_to: bool,
    kernel_known: Timestamp,
    journal_behind: bool,
    saboteur: Option<Box<dyn Saboteur<S>>>,
    deeds: Option<Vec<Deed>>,
}

impl<S: Strategist> SimNode<S> {
    /// A daemon that starts on `instance` at `now`, with an empty journal.
    pub fn start(
        mut ec2: Ec2,
        instance: InstanceId,
        config: Config,
        strategist: S,
        now: Timestamp,
    ) -> Result<Self, CloudError> {
        let mut view = ec2.node_view(&instance, now);
        let identity = view.identity()?;
        let instance_type = match enid_core::instance_types::lookup(&identity.instance_type) {
            Some(known) => known,
            None => view.instance_type(&identity.instance_type)?,
        };
        let state = NodeState::new(config, identity.clone(), instance_type.clone(), now);
        let mut node = Self {
            ec2,
            kernel: Kernel::default(),
            journal: Vec::new(),
            faults: Faults::default(),
            identity,
            instance_type,
            instance,
            state,
            strategist,
            now,
            ahead: 0,
            queue: BTreeMap::new(),
            queued: 0,
            tickets: 0,
            namespaces: BTreeMap::new(),
            answers: BTreeMap::new(),
            life: 0,
            death: None,
            torn: 0,
            effects: 0,
            outcomes: 0,
            under_way: BTreeMap::new(),
            last_told: None,
            lied_to: false,
            kernel_known: Timestamp(0),
            journal_behind: false,
            saboteur: None,
            deeds: None,
        };
        node.set_up_node();
        node.happen(Event::Tick);
        Ok(node)
    }

    /// From now on whatever the daemon does and hears is kept, until [`SimNode::deeds`] takes it.
    pub fn watch(&mut self) {
        self.deeds = Some(Vec::new());
    }

    /// Whether what the daemon does and hears is kept.
    pub fn is_watched(&self) -> bool {
        self.deeds.is_some()
    }

    /// What the daemon did and heard since it was last asked.
    pub fn deeds(&mut self) -> Vec<Deed> {
        self.deeds.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Somebody stands between the daemon and its world from now on.
    pub fn sabotage(&mut self, saboteur: Box<dyn Saboteur<S>>) {
        self.saboteur = Some(saboteur);
    }

    /// The daemon dies and starts again: the journal, EC2 and the kernel stay, outcomes are lost. Requests on
    /// their way to EC2 arrive all the same; kernel work under way is done, or not, or in part.
    pub fn crash_and_restart(&mut self) {
        self.life += 1;
        self.death = None;
        self.under_way.clear();
        self.note(|| What::Died);
        self.journal_behind = false;
        // A process takes a moment to start.
        self.now = self.now + Duration::from_millis(1);
        let queue = std::mem::take(&mut self.queue);
        for ((at, place), coming) in queue {
            match coming {
                Coming::Event(_) => {}
                Coming::Request { .. } => {
                    self.queue.insert((at, place), coming);
                }
                Coming::Kernel(KernelWork::Wire { wiring, netns, .. }) if place % 3 == 1 => {
                    self.kernel.wire_in_part(wiring, netns);
                }
                Coming::Kernel(work) => {
                    if place % 3 == 0 {
                        self.work(work);
                    }
                }
            }
        }
        self.kernel_known = Timestamp(0);
        if let Some(ahead) = self.faults.clock_ahead.take() {
            self.ahead = ahead;
        }
        let config = self.state.config().clone();
        let (state, effects) = NodeState::restore(
            config,
            self.identity.clone(),
            self.instance_type.clone(),
            &self.journal,
            self.now(),
        );
        self.state = state;
        self.set_up_node();
        self.perform(effects);
        self.happen(Event::Tick);
    }

    /// A daemon tells the kernel what holds for the whole node before it does anything else, and does not start when it
    /// cannot.
    fn set_up_node(&mut self) {
        let wiring = self.state.node_wiring();
        self.kernel.take_over(wiring.clone());
        self.state.kernel_knows(wiring);
    }

    /// The daemon dies after performing `effects` more effects, whatever else was to follow, and starts again.
    pub fn crash_after(&mut self, effects: u64) {
        self.crash_at(Moment::BeforeEffect, effects);
    }

    /// The daemon dies when the moment has come for the time after `times` times, and starts again.
    pub fn crash_at(&mut self, moment: Moment, times: u64) {
        self.death = Some((moment, times));
    }

    /// The journal is replaced by the records that say the same.
    pub fn compact(&mut self) {
        if !self.faults.journal_full {
            self.journal = self.state.records();
            self.journal_behind = false;
            self.note(|| What::Compacted);
        }
    }

    /// Now, by the daemon's clock.
    pub fn now(&self) -> Timestamp {
        self.told(self.now)
    }

    /// Now, by everybody else's.
    pub fn world_time(&self) -> Timestamp {
        self.now
    }

    /// What the daemon's clock says at a time of the world.
    fn told(&self, at: Timestamp) -> Timestamp {
        Timestamp(at.0.saturating_add_signed(self.ahead))
    }

    /// The time of the world at which the daemon's clock says so.
    fn untold(&self, at: Timestamp) -> Timestamp {
        Timestamp(at.0.saturating_add_signed(self.ahead.saturating_neg()))
    }

    /// What the daemon believes.
    pub fn state(&self) -> &NodeState {
        &self.state
    }

    /// The instance it runs on.
    pub fn instance(&self) -> &InstanceId {
        &self.instance
    }

    /// Its type.
    pub fn instance_type(&self) -> &InstanceType {
        &self.instance_type
    }

    /// Whether the journal lacks what the daemon wanted to write: nothing new is begun meanwhile.
    pub fn journal_is_behind(&self) -> bool {
        self.journal_behind
    }

    /// Whether a look at the ENIs ever told anything but the truth.
    pub fn was_lied_to(&self) -> bool {
        self.lied_to
    }

    /// How often the daemon has died.
    pub fn lives(&self) -> u64 {
        self.life
    }

    /// How often it died in the middle of writing its journal: what it was writing is lost as a whole.
    pub fn torn_writes(&self) -> u64 {
        self.torn
    }

    /// How many effects were performed so far.
    pub fn effects_performed(&self) -> u64 {
        self.effects
    }

    /// How many outcomes were heard so far.
    pub fn outcomes_heard(&self) -> u64 {
        self.outcomes
    }

    /// Up to when the daemon has heard what is in the kernel, by the world's clock.
    pub fn kernel_known(&self) -> Timestamp {
        self.kernel_known
    }

    /// The calls that this daemon has made and not had answered.
    pub fn calls_under_way(&self) -> impl Iterator<Item = &CloudCall> {
        self.under_way.values()
    }

    /// CNI ADD of pod `default/<name>`; its answer may come later.
    pub fn add(&mut self, name: &str) -> Ticket {
        let pod = PodName { namespace: "default".to_owned(), name: name.to_owned() };
        self.add_sandbox(attachment(name), Some(pod))
    }

    /// CNI ADD of any attachment.
    pub fn add_sandbox(&mut self, attachment: Attachment, pod: Option<PodName>) -> Ticket {
        self.add_with(attachment, pod, Nics::One)
    }

    /// CNI ADD of any attachment that wants so many interfaces, in a network namespace of its own.
    pub fn add_with(&mut self, attachment: Attachment, pod: Option<PodName>, nics: Nics) -> Ticket {
        let ticket = self.ticket();
        let deadline = self.now() + Duration::from_secs(110);
        let path = netns_of(&attachment);
        self.kernel.namespaces.insert(path.clone());
        self.namespaces.insert(ticket, path.clone());
        self.happen(Event::Add { ticket, attachment, pod, nics, netns: Some(path), deadline });
        ticket
    }

    /// CNI DEL of pod `default/<name>`.
    pub fn del(&mut self, name: &str) -> Ticket {
        self.del_issued(attachment(name), None)
    }

    /// CNI DEL of any attachment, perhaps asked for earlier while the daemon was away.
    pub fn del_issued(&mut self, attachment: Attachment, issued: Option<Timestamp>) -> Ticket {
        let ticket = self.ticket();
        self.happen(Event::Del { ticket, attachment, issued });
        ticket
    }

    /// CNI CHECK of pod `default/<name>`: [`Answer::Deleted`] stands for "nothing differs".
    pub fn check(&mut self, name: &str) -> Ticket {
        let ticket = self.ticket();
        self.happen(Event::Check { ticket, attachment: attachment(name) });
        ticket
    }

    /// CNI GC: of `network`, the runtime knows these attachments and no others.
    pub fn gc(&mut self, network: NetworkName, valid: BTreeSet<(ContainerId, IfName)>) -> Ticket {
        let ticket = self.ticket();
        self.happen(Event::Gc { ticket, network, valid });
        ticket
    }

    /// The answer to a request, if it has come.
    pub fn answer(&self, ticket: Ticket) -> Option<&Answer> {
        self.answers.get(&ticket)
    }

    /// The operator changes the settings.
    pub fn reconfigure(&mut self, config: Config) {
        self.happen(Event::Reconfigured(Box::new(config)));
    }

    /// Somebody counts the cluster's nodes.
    pub fn count_nodes(&mut self, nodes: NonZeroU32) {
        self.happen(Event::NodesCounted { nodes });
    }

    /// The operator replaces the strategies.
    pub fn replace_strategist(&mut self, strategist: S) {
        self.strategist = strategist;
        self.happen(Event::StrategyReplaced);
    }

    /// The daemon is asked to stop.
    pub fn stop(&mut self) {
        self.happen(Event::Stop);
    }

    /// Lets time pass until nothing is under way and nothing is left to do, at most `within`; says whether
    /// it came to that.
    pub fn settle(&mut self, within: Duration) -> bool {
        let deadline = self.now + within;
        for _ in 0..MAX_STEPS {
            if self.queue.is_empty() && self.state.is_settled() {
                return true;
            }
            if !self.step_until(deadline) {
                return false;
            }
        }
        false
    }

    /// Lets exactly `time` pass.
    pub fn pass(&mut self, time: Duration) {
        let deadline = self.now + time;
        let mut steps = 0;
        while self.step_until(deadline) {
            steps += 1;
            assert!(steps < MAX_STEPS, "the node goes in circles at {}", self.now);
        }
        self.now = deadline;
        self.happen(Event::Tick);
    }

    /// The next thing happens, unless that is later than `deadline` by the daemon's clock; says whether something
    /// did.
    pub fn step(&mut self, deadline: Timestamp) -> bool {
        self.step_until(self.untold(deadline))
    }

    /// The same by the world's clock.
    pub fn step_until(&mut self, deadline: Timestamp) -> bool {
        let next = self.next_at();
        if next > deadline {
            self.now = self.now.max(deadline);
            self.ec2.advance(self.now);
            return false;
        }
        self.now = self.now.max(next);
        self.ec2.advance(self.now);
        match self.queue.first_entry().filter(|entry| entry.key().0 <= self.now) {
            Some(entry) => match entry.remove() {
                Coming::Event(event) => self.hear(event),
                Coming::Request { op, call, life, back } => {
                    let result = self.call(&call);
                    if life == self.life {
                        self.later(back, Coming::Event(Event::Cloud { op, result }));
                    }
                }
                Coming::Kernel(work) => {
                    if let Some(outcome) = self.work(work) {
                        self.hear(outcome);
                    }
                }
            },
            None => self.happen(Event::Tick),
        }
        true
    }

    /// When the next thing happens, by the world's clock, unless somebody asks for something before.
    pub fn next_at(&self) -> Timestamp {
        let queued = self.queue.first_key_value().map(|((at, _), _)| *at);
        let wake = self.untold(self.state.next_wake(self.now()));
        queued.map_or(wake, |at| at.min(wake))
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    /// An outcome comes in, unless the daemon dies before, and perhaps once more.
    fn hear(&mut self, outcome: Event) {
        if self.dies(Moment::BeforeOutcome) {
            return self.crash_and_restart();
        }
        self.outcomes += 1;
        if take_one(&mut self.faults.echoes) {
            self.later(ECHO, Coming::Event(outcome.clone()));
        }
        self.happen(outcome);
    }

    fn happen(&mut self, event: Event) {
        if let Event::Cloud { op, .. } = &event {
            self.under_way.remove(op);
        }
        self.note(|| What::Event(Box::new(event.clone())));
        let Some(event) = self.tampered(event) else { return };
        if self.journal_behind {
            self.compact();
        }
        let effects = self.state.handle(self.now(), event);
        self.perform(effects);
    }

    fn tampered(&mut self, event: Event) -> Option<Event> {
        let Some(mut saboteur) = self.saboteur.take() else { return Some(event) };
        let event = saboteur.event(self, event);
        self.saboteur = Some(saboteur);
        event
    }

    fn note(&mut self, what: impl FnOnce() -> What) {
        let (at, journal_behind) = (self.now(), self.journal_behind);
        if let Some(deeds) = &mut self.deeds {
            deeds.push(Deed { at, journal_behind, what: what() });
        }
    }

    fn later(&mut self, after: Duration, coming: Coming) {
        self.queued += 1;
        self.queue.insert((self.now + after, self.queued), coming);
    }

    /// Whether the daemon dies now.
    fn dies(&mut self, now: Moment) -> bool {
        match &mut self.death {
            Some((moment, left)) if *moment == now => {
                let dies = *left == 0;
                *left = left.saturating_sub(1);
                dies
            }
            Some(_) | None => false,
        }
    }

    fn perform(&mut self, mut effects: Vec<Effect>) {
        if let Some(mut saboteur) = self.saboteur.take() {
            let mut outcomes = Vec::new();
            effects = saboteur.effects(self, effects, &mut outcomes);
            self.saboteur = Some(saboteur);
            for outcome in outcomes {
                self.later(Duration::ZERO, Coming::Event(outcome));
            }
        }
        for effect in effects {
            if self.dies(Moment::BeforeEffect) {
                self.torn += u64::from(matches!(effect, Effect::Journal(_)));
                return self.crash_and_restart();
            }
            self.effects += 1;
            if !(matches!(effect, Effect::Journal(_)) && (self.faults.journal_full || self.journal_behind)) {
                self.note(|| What::Effect(Box::new(effect.clone())));
            }
            self.perform_one(effect);
            if self.dies(Moment::AfterEffect) {
                return self.crash_and_restart();
            }
        }
    }
}

/// The attachment of pod `default/<name>`.
///
/// # Panics
///
/// When `name` cannot be a container id.
pub fn attachment(name: &str) -> Attachment {
    let id = |text: &str| text.parse().expect("invariant: callers name pods with letters and digits");
    Attachment {
        container: id(name),
        network: "enid".parse().expect("invariant: a valid name"),
        ifname: "eth0".parse().expect("invariant: a valid name"),
    }
}

/// Where the network namespace of an attachment's sandbox is.
pub fn netns_of(attachment: &Attachment) -> String {
    format!("/var/run/netns/{}", attachment.container)
}

/// A region with one VPC of `10.0.0.0/8`-sized room, one zone and one subnet, and an instance of
/// `instance_type` in it: the world of `enid plan`.
pub fn lone_instance(
    seed: u64,
    instance_type: &InstanceType,
    now: Timestamp,
) -> Result<(Ec2, InstanceId, SubnetId), CallError> {
    use crate::ec2::instance::RunInstances;
    let mut config = crate::ec2::Config::default();
    config.instance_types.insert(instance_type.name.clone(), instance_type.clone());
    let zone = config.zones.first().cloned().unwrap_or_default();
    let mut ec2 = Ec2::new(seed, config);
    let net = |text: &str| text.parse().expect("invariant: a literal range");
    let vpc = ec2.add_vpc(net("10.0.0.0/16"))?;
    let subnet = ec2.add_subnet(&vpc, &zone, net("10.0.0.0/17"), crate::ec2::Tags::new())?;
    let instance = ec2.launch(now, &RunInstances::one(&instance_type.name, subnet.clone()))?;
    ec2.advance(now + Duration::from_secs(60));
    Ok((ec2, instance, subnet))
}
