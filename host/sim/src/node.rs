//! One node without a machine: the real [`NodeState`] and real strategies over the models of EC2 and the
//! kernel, in virtual time.
//!
//! Replaces the engine's loop, never its decisions: the same effects are performed, on models, in an order
//! that depends on nothing but the seed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use enid_core::cloud::{CloudError, NodeIdentity, Supply};
use enid_core::event::{
    Answer, CloudCall, CloudReply, Effect, Event, KernelView, Nics, OpId, Record, Refusal, Ticket,
};
use enid_core::ids::{Attachment, EniId, InstanceId, PodName, SubnetId};
use enid_core::limits::InstanceType;
use enid_core::node::{Config, NodeState};
use enid_core::time::Timestamp;
use enid_core::wiring::{NodeWiring, PodLink, PodWiring};
use enid_engine::ports::Strategist;
use enid_engine::run::in_order;

use crate::ec2::Ec2;
use crate::ec2::call::Call;
use crate::ec2::interface::{AttachmentState, NetworkInterface};
use crate::ec2::refusal::CallError;

/// Events that one settling may take; a node that needs more goes in circles.
const MAX_STEPS: u32 = 200_000;

/// How long metadata takes to answer.
const METADATA_LATENCY: Duration = Duration::from_millis(1);

/// The kernel, as far as decisions depend on it, and what goes wrong in it.
#[derive(Clone, Debug, Default)]
pub struct Kernel {
    /// Wired pods, each by the address that stands for it.
    pub pods: BTreeMap<IpAddr, PodWiring>,
    /// ENIs that are set up.
    pub enis: BTreeSet<EniId>,
    /// How long each piece of work takes.
    pub takes: Duration,
    /// How many of the coming wirings fail and leave nothing behind.
    pub refuse_wirings: u32,
    /// How many of the coming unwirings fail and leave everything as it was.
    pub refuse_unwirings: u32,
    /// What holds for the whole node.
    pub node: Option<NodeWiring>,
    /// How many of the coming changes of that fail.
    pub refuse_node: u32,
    /// Wirings that no daemon may ask for: an address that another pod still has, or that is not the
    /// node's in EC2.
    pub outrages: Vec<String>,
}

impl Kernel {
    /// What a look at its pods would find now.
    pub fn seen(&self) -> KernelView {
        let links = || self.pods.values().flat_map(PodWiring::links);
        let routes = links()
            .flat_map(|link| link.addresses().map(|(address, _)| (address, link.host_veth.to_string())));
        KernelView {
            routed: routes.collect(),
            veths: links().map(|link| link.host_veth.to_string()).collect(),
        }
    }
}

/// Kernel work under way.
#[derive(Clone, Debug)]
enum KernelWork {
    Wire { op: OpId, wiring: PodWiring },
    Unwire { op: OpId, wiring: PodWiring },
    SetUp { op: OpId, eni: EniId },
    TearDown { op: OpId, eni: EniId },
    Node { op: OpId, wiring: Box<NodeWiring> },
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

/// A node in virtual time.
pub struct SimNode<S> {
    /// The region that the node lives in.
    pub ec2: Ec2,
    /// Its kernel.
    pub kernel: Kernel,
    /// Everything journaled so far.
    pub journal: Vec<Record>,
    identity: NodeIdentity,
    instance_type: InstanceType,
    instance: InstanceId,
    state: NodeState,
    strategist: S,
    now: Timestamp,
    queue: BTreeMap<(Timestamp, u64), Coming>,
    queued: u64,
    tickets: u64,
    answers: BTreeMap<Ticket, Answer>,
    life: u64,
    effects_to_live: Option<u64>,
    under_way: BTreeMap<OpId, CloudCall>,
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
            identity,
            instance_type,
            instance,
            state,
            strategist,
            now,
            queue: BTreeMap::new(),
            queued: 0,
            tickets: 0,
            answers: BTreeMap::new(),
            life: 0,
            effects_to_live: None,
            under_way: BTreeMap::new(),
        };
        node.boot();
        Ok(node)
    }

    /// The daemon dies and starts again: the journal, EC2 and the kernel stay, outcomes are lost. Requests on
    /// their way to EC2 arrive all the same; of kernel work under way, every other piece is still done.
    pub fn crash_and_restart(&mut self) {
        self.life += 1;
        self.effects_to_live = None;
        self.under_way.clear();
        // A process takes a moment to start.
        self.now = self.now + Duration::from_millis(1);
        let queue = std::mem::take(&mut self.queue);
        for ((at, place), coming) in queue {
            match coming {
                Coming::Event(_) => {}
                Coming::Request { .. } => {
                    self.queue.insert((at, place), coming);
                }
                Coming::Kernel(work) => {
                    if place % 2 == 0 {
                        self.work(work);
                    }
                }
            }
        }
        let config = self.state.config().clone();
        let (state, effects) = NodeState::restore(
            config,
            self.identity.clone(),
            self.instance_type.clone(),
            &self.journal,
            self.now,
        );
        self.state = state;
        self.perform(effects);
        self.boot();
    }

    /// The daemon dies after performing `effects` more effects, whatever else was to follow, and starts again.
    pub fn crash_after(&mut self, effects: u64) {
        self.effects_to_live = Some(effects);
    }

    /// The journal is replaced by the records that say the same.
    pub fn compact(&mut self) {
        self.journal = self.state.records();
    }

    fn boot(&mut self) {
        self.ask_max_pods();
        self.look_at_kernel();
    }

    fn ask_max_pods(&mut self) {
        let max_pods = self.strategist.max_pods(&self.state.max_pods_snapshot(self.now));
        self.happen(Event::MaxPodsDecided(max_pods));
    }

    /// The daemon looks at the kernel's pods.
    pub fn look_at_kernel(&mut self) {
        self.see_pods(self.kernel.seen());
    }

    /// A look at the kernel comes in, which may have begun a while ago.
    pub fn see_pods(&mut self, pods: KernelView) {
        self.happen(Event::PodsObserved(pods));
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// What the daemon believes.
    pub fn state(&self) -> &NodeState {
        &self.state
    }

    /// The instance it runs on.
    pub fn instance(&self) -> &InstanceId {
        &self.instance
    }

    /// How often the daemon has died.
    pub fn lives(&self) -> u64 {
        self.life
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

    /// CNI ADD of any attachment that wants so many interfaces.
    pub fn add_with(&mut self, attachment: Attachment, pod: Option<PodName>, nics: Nics) -> Ticket {
        let ticket = self.ticket();
        let deadline = self.now + Duration::from_secs(110);
        self.happen(Event::Add { ticket, attachment, pod, nics, deadline });
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

    /// The answer to a request, if it has come.
    pub fn answer(&self, ticket: Ticket) -> Option<&Answer> {
        self.answers.get(&ticket)
    }

    /// The operator changes the settings.
    pub fn reconfigure(&mut self, config: Config) {
        self.happen(Event::Reconfigured(Box::new(config)));
        self.ask_max_pods();
    }

    /// The operator replaces the strategies.
    pub fn replace_strategist(&mut self, strategist: S) {
        self.strategist = strategist;
        self.happen(Event::StrategyReplaced);
        self.ask_max_pods();
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
            if !self.step(deadline) {
                return false;
            }
        }
        false
    }

    /// Lets exactly `time` pass.
    pub fn pass(&mut self, time: Duration) {
        let deadline = self.now + time;
        for _ in 0..MAX_STEPS {
            if !self.step(deadline) {
                break;
            }
        }
        self.now = deadline;
        self.happen(Event::Tick);
    }

    /// The next thing happens, unless that is later than `deadline`; says whether something did.
    pub fn step(&mut self, deadline: Timestamp) -> bool {
        let queued = self.queue.first_key_value().map(|((at, _), _)| *at);
        let wake = self.state.next_wake(self.now);
        let next = queued.map_or(wake, |at| at.min(wake));
        if next > deadline {
            return false;
        }
        self.now = self.now.max(next);
        self.ec2.advance(self.now);
        match self.queue.first_entry().filter(|entry| entry.key().0 <= self.now) {
            Some(entry) => match entry.remove() {
                Coming::Event(event) => self.happen(event),
                Coming::Request { op, call, life, back } => {
                    let result = self.call(&call);
                    if life == self.life {
                        self.later(back, Coming::Event(Event::Cloud { op, result }));
                    }
                }
                Coming::Kernel(work) => {
                    let outcome = self.work(work);
                    self.happen(outcome);
                }
            },
            None => self.happen(Event::Tick),
        }
        true
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    fn happen(&mut self, event: Event) {
        if let Event::Cloud { op, .. } = &event {
            self.under_way.remove(op);
        }
        let effects = self.state.handle(self.now, event);
        self.perform(effects);
    }

    fn later(&mut self, after: Duration, coming: Coming) {
        self.queued += 1;
        self.queue.insert((self.now + after, self.queued), coming);
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            if let Some(left) = &mut self.effects_to_live {
                if *left == 0 {
                    return self.crash_and_restart();
                }
                *left -= 1;
            }
            self.perform_one(effect);
        }
    }

    fn perform_one(&mut self, effect: Effect) {
        match effect {
            Effect::Journal(records) => self.journal.extend(records),
            Effect::Wire { op, wiring, .. } => {
                self.later(self.kernel.takes, Coming::Kernel(KernelWork::Wire { op, wiring }));
            }
            Effect::Unwire { op, wiring } => {
                self.later(self.kernel.takes, Coming::Kernel(KernelWork::Unwire { op, wiring }));
            }
            Effect::Check { ticket, wiring } => {
                let address = wiring.key();
                let right = self.kernel.pods.get(&address) == Some(&wiring);
                let why = "the kernel differs".to_owned();
                let drift = Answer::Refused(Refusal::Kernel { address, why });
                self.answers.insert(ticket, if right { Answer::Deleted } else { drift });
            }
            Effect::Answer { ticket, answer } => {
                self.answers.insert(ticket, answer);
            }
            Effect::Cloud { op, call } => {
                let latency = modelled(&call).map_or(METADATA_LATENCY, |call| self.ec2.latency(call));
                self.under_way.insert(op, call.clone());
                let there = latency / 2;
                let request =
                    Coming::Request { op, call: Box::new(call), life: self.life, back: latency - there };
                self.later(there, request);
            }
            Effect::SetUpEni { op, wiring } => {
                self.later(self.kernel.takes, Coming::Kernel(KernelWork::SetUp { op, eni: wiring.eni }));
            }
            Effect::TearDownEni { op, wiring } => {
                self.later(self.kernel.takes, Coming::Kernel(KernelWork::TearDown { op, eni: wiring.eni }));
            }
            Effect::SetUpNode { op, wiring } => {
                self.later(self.kernel.takes, Coming::Kernel(KernelWork::Node { op, wiring }));
            }
            Effect::AskWarmPool(snapshot) => {
                let decision = self.strategist.warm_pool(&snapshot);
                self.later(Duration::ZERO, Coming::Event(Event::WarmPoolDecided(decision)));
            }
            Effect::AskSubnets { snapshot, subnets } => {
                let decision = in_order(self.strategist.subnets(&snapshot), &subnets);
                self.later(Duration::ZERO, Coming::Event(Event::SubnetsDecided(decision)));
            }
        }
    }

    fn work(&mut self, work: KernelWork) -> Event {
        match work {
            KernelWork::Wire { op, wiring } => {
                if self.kernel.refuse_wirings > 0 {
                    self.kernel.refuse_wirings -= 1;
                    return Event::Wired { op, result: Err("netlink says no".to_owned()) };
                }
                self.judge(&wiring);
                self.kernel.pods.insert(wiring.key(), wiring);
                Event::Wired { op, result: Ok(()) }
            }
            KernelWork::Unwire { op, wiring } => {
                if self.kernel.refuse_unwirings > 0 {
                    self.kernel.refuse_unwirings -= 1;
                    return Event::Unwired { op, result: Err("netlink says no".to_owned()) };
                }
                let owned = |pod: &PodWiring| pod.first.host_veth == wiring.first.host_veth;
                if self.kernel.pods.get(&wiring.key()).is_some_and(owned) {
                    self.kernel.pods.remove(&wiring.key());
                }
                Event::Unwired { op, result: Ok(()) }
            }
            KernelWork::SetUp { op, eni } => {
                let attached = self.ec2.interfaces_of(&self.instance).any(|known| {
                    let here = known.attachment.as_ref();
                    known.id == eni && here.is_some_and(|at| at.state == AttachmentState::Attached)
                });
                if attached {
                    self.kernel.enis.insert(eni);
                }
                Event::EniSetUp { op, result: attached.then_some(()).ok_or(None) }
            }
            KernelWork::TearDown { op, eni } => {
                self.kernel.enis.remove(&eni);
                Event::EniTornDown { op, result: Ok(()) }
            }
            KernelWork::Node { op, wiring } => {
                if self.kernel.refuse_node > 0 {
                    self.kernel.refuse_node -= 1;
                    return Event::NodeSetUp { op, result: Err("nft says no".to_owned()) };
                }
                self.kernel.node = Some(*wiring);
                Event::NodeSetUp { op, result: Ok(()) }
            }
        }
    }

    /// Notes a wiring that must never be asked for.
    fn judge(&mut self, wiring: &PodWiring) {
        let key = wiring.key();
        let others = || self.kernel.pods.iter().filter(|(at, _)| **at != key).map(|(_, pod)| pod);
        let mut outrages = Vec::new();
        if let Some(other) = self.kernel.pods.get(&key)
            && other.first.host_veth != wiring.first.host_veth
        {
            let (new, old) = (&wiring.first.host_veth, &other.first.host_veth);
            outrages.push(format!("{key} wired to {new} while {old} has it"));
        }
        for link in wiring.links() {
            let shared = |other: &PodLink| other.host_veth == link.host_veth;
            if others().flat_map(PodWiring::links).any(shared) {
                outrages.push(format!("{} is the link of two pods", link.host_veth));
            }
            for (address, _) in link.addresses() {
                let has = |other: &PodLink| other.addresses().any(|(taken, _)| taken == address);
                if others().flat_map(PodWiring::links).any(has) {
                    outrages.push(format!("{address} wired to two pods"));
                }
            }
        }
        for address in wiring.leased() {
            let here = |eni: &NetworkInterface| match address {
                IpAddr::V4(address) => {
                    eni.secondary.contains(&address) || eni.prefixes.iter().any(|net| net.contains(&address))
                }
                IpAddr::V6(address) => eni.ipv6_prefixes.iter().any(|net| net.contains(&address)),
            };
            if !self.ec2.interfaces_of(&self.instance).any(here) {
                outrages.push(format!("{address} wired although EC2 does not have it here"));
            }
        }
        self.kernel.outrages.extend(outrages);
    }

    fn call(&mut self, call: &CloudCall) -> Result<CloudReply, CloudError> {
        let cluster = self.state.config().cluster.clone();
        let mut view = self.ec2.node_view(&self.instance, self.now);
        let identity = &self.identity;
        match call {
            CloudCall::Enis => view.enis(identity).map(CloudReply::Enis),
            CloudCall::MetadataEnis => view.metadata_enis(identity).map(CloudReply::Enis),
            CloudCall::VpcRanges => view.vpc_ranges(identity).map(CloudReply::VpcRanges),
            CloudCall::Subnets => {
                view.subnets(&identity.vpc, &identity.zone, cluster.as_deref()).map(CloudReply::Subnets)
            }
            CloudCall::Create(new) => view.create_eni(new).map(|eni| CloudReply::Created(Box::new(eni))),
            CloudCall::Attach { eni, seat } => {
                view.attach_eni(identity, eni, *seat).map(CloudReply::Attached)
            }
            CloudCall::DeleteWithInstance { eni, attachment } => {
                view.delete_with_instance(eni, attachment).map(|()| CloudReply::Done)
            }
            CloudCall::SetSecurityGroups { eni, groups } => {
                view.set_security_groups(eni, groups).map(|()| CloudReply::Done)
            }
            CloudCall::Detach { attachment } => view.detach_eni(attachment).map(|()| CloudReply::Done),
            CloudCall::Delete { eni } => view.delete_eni(eni).map(|()| CloudReply::Done),
            CloudCall::Assign { eni, supply } => view.assign(eni, *supply).map(CloudReply::Assigned),
            CloudCall::Unassign { eni, give_back } => {
                view.unassign(eni, give_back).map(|()| CloudReply::Done)
            }
        }
    }
}

/// The API of a call to EC2; metadata has none.
fn modelled(call: &CloudCall) -> Option<Call> {
    Some(match call {
        CloudCall::MetadataEnis | CloudCall::VpcRanges => return None,
        CloudCall::Enis => Call::DescribeNetworkInterfaces,
        CloudCall::Subnets => Call::DescribeSubnets,
        CloudCall::Create(_) => Call::CreateNetworkInterface,
        CloudCall::Attach { .. } => Call::AttachNetworkInterface,
        CloudCall::DeleteWithInstance { .. } | CloudCall::SetSecurityGroups { .. } => {
            Call::ModifyNetworkInterfaceAttribute
        }
        CloudCall::Detach { .. } => Call::DetachNetworkInterface,
        CloudCall::Delete { .. } => Call::DeleteNetworkInterface,
        CloudCall::Assign { supply: Supply::Ipv6Prefixes(_), .. } => Call::AssignIpv6Addresses,
        CloudCall::Assign { supply: Supply::Addresses(_) | Supply::Prefixes(_), .. } => {
            Call::AssignPrivateIpAddresses
        }
        CloudCall::Unassign { .. } => Call::UnassignPrivateIpAddresses,
    })
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
