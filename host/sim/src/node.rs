//! One node without a machine: the real [`NodeState`] and real strategies over the models of EC2 and the
//! kernel, in virtual time.
//!
//! Replaces the engine's loop, never its decisions: the same effects are performed, on models, in an order
//! that depends on nothing but the seed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use enid_core::cloud::{CloudError, NodeIdentity};
use enid_core::event::{Answer, CloudCall, CloudReply, Effect, Event, Record, Ticket};
use enid_core::ids::{Attachment, EniId, InstanceId, PodName, SubnetId};
use enid_core::limits::InstanceType;
use enid_core::node::{Config, NodeState};
use enid_core::time::Timestamp;
use enid_core::wiring::PodWiring;
use enid_engine::ports::Strategist;
use enid_engine::run::in_order;

use crate::ec2::Ec2;
use crate::ec2::call::Call;
use crate::ec2::interface::AttachmentState;
use crate::ec2::refusal::CallError;

/// Events that one settling may take; a node that needs more goes in circles.
const MAX_STEPS: u32 = 200_000;

/// The kernel, as far as decisions depend on it.
#[derive(Clone, Debug, Default)]
pub struct Kernel {
    /// Wired pods.
    pub pods: BTreeMap<Ipv4Addr, PodWiring>,
    /// ENIs that are set up.
    pub enis: BTreeSet<EniId>,
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
    queue: BTreeMap<(Timestamp, u64), Event>,
    queued: u64,
    tickets: u64,
    answers: BTreeMap<Ticket, Answer>,
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
        };
        node.boot();
        Ok(node)
    }

    /// The daemon dies and starts again: what is in flight is lost, the journal, EC2 and the kernel stay.
    pub fn crash_and_restart(&mut self) {
        self.queue.clear();
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

    fn boot(&mut self) {
        let max_pods = self.strategist.max_pods(&self.state.max_pods_snapshot(self.now));
        self.happen(Event::MaxPodsDecided(max_pods));
        let pods = self.kernel.pods.iter().map(|(address, pod)| (*address, pod.host_veth.to_string())).collect();
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

    /// CNI ADD of pod `default/<name>`; its answer may come later.
    pub fn add(&mut self, name: &str) -> Ticket {
        let ticket = self.ticket();
        let pod = Some(PodName { namespace: "default".to_owned(), name: name.to_owned() });
        let deadline = self.now + Duration::from_secs(110);
        self.happen(Event::Add { ticket, attachment: attachment(name), pod, deadline });
        ticket
    }

    /// CNI DEL of pod `default/<name>`.
    pub fn del(&mut self, name: &str) -> Ticket {
        let ticket = self.ticket();
        self.happen(Event::Del { ticket, attachment: attachment(name), issued: None });
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

    /// The next thing happens, unless that is later than `deadline`.
    fn step(&mut self, deadline: Timestamp) -> bool {
        let queued = self.queue.first_key_value().map(|((at, _), _)| *at);
        let wake = self.state.next_wake(self.now).max(self.now + Duration::from_millis(1));
        let next = queued.map_or(wake, |at| at.min(wake));
        if next > deadline {
            return false;
        }
        self.now = self.now.max(next);
        self.ec2.advance(self.now);
        match self.queue.first_entry().filter(|entry| entry.key().0 <= self.now) {
            Some(entry) => {
                let event = entry.remove();
                self.happen(event);
            }
            None => self.happen(Event::Tick),
        }
        true
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    fn happen(&mut self, event: Event) {
        let effects = self.state.handle(self.now, event);
        self.perform(effects);
    }

    fn later(&mut self, after: Duration, event: Event) {
        self.queued += 1;
        self.queue.insert((self.now + after, self.queued), event);
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Journal(records) => self.journal.extend(records),
                Effect::Wire { op, wiring, .. } => {
                    self.kernel.pods.insert(wiring.address, wiring);
                    self.later(Duration::ZERO, Event::Wired { op, result: Ok(()) });
                }
                Effect::Unwire { op, wiring } => {
                    let owned = |pod: &PodWiring| pod.host_veth == wiring.host_veth;
                    if self.kernel.pods.get(&wiring.address).is_some_and(owned) {
                        self.kernel.pods.remove(&wiring.address);
                    }
                    self.later(Duration::ZERO, Event::Unwired { op, result: Ok(()) });
                }
                Effect::Check { ticket, .. } => {
                    self.answers.insert(ticket, Answer::Deleted);
                }
                Effect::Answer { ticket, answer } => {
                    self.answers.insert(ticket, answer);
                }
                Effect::Cloud { op, call } => {
                    let (latency, result) = self.call(&call);
                    self.later(latency, Event::Cloud { op, result });
                }
                Effect::SetUpEni { op, wiring } => {
                    let attached = self.ec2.interfaces_of(&self.instance).any(|eni| {
                        let here = eni.attachment.as_ref();
                        eni.id == wiring.eni && here.is_some_and(|at| at.state == AttachmentState::Attached)
                    });
                    if attached {
                        self.kernel.enis.insert(wiring.eni);
                    }
                    self.later(Duration::ZERO, Event::EniSetUp { op, result: attached.then_some(()).ok_or(None) });
                }
                Effect::TearDownEni { op, wiring } => {
                    self.kernel.enis.remove(&wiring.eni);
                    self.later(Duration::ZERO, Event::EniTornDown { op, result: Ok(()) });
                }
                Effect::AskWarmPool(snapshot) => {
                    let decision = self.strategist.warm_pool(&snapshot);
                    self.later(Duration::ZERO, Event::WarmPoolDecided(decision));
                }
                Effect::AskSubnets { snapshot, subnets } => {
                    let decision = in_order(self.strategist.subnets(&snapshot), &subnets);
                    self.later(Duration::ZERO, Event::SubnetsDecided(decision));
                }
            }
        }
    }

    fn call(&mut self, call: &CloudCall) -> (Duration, Result<CloudReply, CloudError>) {
        let cluster = self.state.config().cluster.clone();
        let mut view = self.ec2.node_view(&self.instance, self.now);
        let identity = &self.identity;
        let result = match call {
            CloudCall::Enis => view.enis(identity).map(CloudReply::Enis),
            CloudCall::Subnets => {
                view.subnets(&identity.vpc, &identity.zone, cluster.as_deref()).map(CloudReply::Subnets)
            }
            CloudCall::Create(new) => view.create_eni(new).map(|eni| CloudReply::Created(Box::new(eni))),
            CloudCall::Attach { eni, seat } => view.attach_eni(identity, eni, *seat).map(CloudReply::Attached),
            CloudCall::DeleteWithInstance { eni, attachment } => {
                view.delete_with_instance(eni, attachment).map(|()| CloudReply::Done)
            }
            CloudCall::Detach { attachment } => view.detach_eni(attachment).map(|()| CloudReply::Done),
            CloudCall::Delete { eni } => view.delete_eni(eni).map(|()| CloudReply::Done),
            CloudCall::Assign { eni, supply } => view.assign(eni, *supply).map(CloudReply::Assigned),
            CloudCall::Unassign { eni, give_back } => view.unassign(eni, give_back).map(|()| CloudReply::Done),
        };
        (view.latency(modelled(call)), result)
    }
}

fn modelled(call: &CloudCall) -> Call {
    match call {
        CloudCall::Enis => Call::DescribeNetworkInterfaces,
        CloudCall::Subnets => Call::DescribeSubnets,
        CloudCall::Create(_) => Call::CreateNetworkInterface,
        CloudCall::Attach { .. } => Call::AttachNetworkInterface,
        CloudCall::DeleteWithInstance { .. } => Call::ModifyNetworkInterfaceAttribute,
        CloudCall::Detach { .. } => Call::DetachNetworkInterface,
        CloudCall::Delete { .. } => Call::DeleteNetworkInterface,
        CloudCall::Assign { .. } => Call::AssignPrivateIpAddresses,
        CloudCall::Unassign { .. } => Call::UnassignPrivateIpAddresses,
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
