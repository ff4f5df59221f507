//! The loop: requests and outcomes become events, effects are performed, outcomes come back.
//!
//! One task owns [`NodeState`]. Kernel work is polled here because its threads do the waiting; EC2 calls
//! and strategies run as tasks of a runtime of their own, so that parsing a long reply or a slow component
//! never delays an ADD.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use enid_core::builtin;
use enid_core::cloud::{CloudEni, CloudError, CloudErrorKind, NodeIdentity};
use enid_core::event::{
    Answer, CloudCall, Drift, Effect, Event, KernelView, Nics, OpId, Record, Refusal, Ticket, WantedPod,
};
use enid_core::ids::{Attachment, ContainerId, EniId, IfName, NetworkName, PodName};
use enid_core::node::{
    AddressStatus, Config, Difference, Explanation, NodeState, Provisioning, Readiness, Status,
};
use enid_core::report::WaitReason;
use enid_core::time::Timestamp;
use enid_core::wiring::PodWiring;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use crate::clock::Clock;
use crate::log::{log_event, log_record};
use crate::ports::{Cloud, Datapath, DatapathError, Measurement, Meter, Store, Strategist, Wired};

mod call;
mod decision;
mod measure;

pub use call::perform_call;
pub use decision::in_order;
use decision::stand_in;

/// Requests that may queue for the loop; a runtime that sends more waits on its socket.
pub const QUEUE: usize = 1024;
/// How long effects under way may take to finish at shutdown.
const DRAIN: Duration = Duration::from_secs(5);
/// Journal records after which it is compacted.
const COMPACT_AFTER: usize = 8_192;

/// A request of the container runtime, with whom to answer.
#[derive(Debug)]
pub enum Request {
    /// CNI ADD.
    Add {
        /// Which attachment.
        attachment: Attachment,
        /// Whose.
        pod: Option<PodName>,
        /// How many interfaces it wants.
        nics: Nics,
        /// When the runtime gives up.
        deadline: Timestamp,
        /// The pod's network namespace.
        netns: OwnedFd,
        /// Where it is found again (`CNI_NETNS`).
        netns_path: Option<String>,
        /// Whom to answer.
        reply: oneshot::Sender<Reply>,
    },
    /// CNI DEL.
    Del {
        /// Which attachment.
        attachment: Attachment,
        /// When it was asked for, when that is not now.
        issued: Option<Timestamp>,
        /// Whom to answer.
        reply: oneshot::Sender<Reply>,
    },
    /// CNI CHECK.
    Check {
        /// Which attachment.
        attachment: Attachment,
        /// The pod's network namespace, when the runtime still has one.
        netns: Option<OwnedFd>,
        /// Whom to answer.
        reply: oneshot::Sender<Reply>,
    },
    /// CNI GC: the runtime knows these attachments of the network and no others.
    Gc {
        /// The network.
        network: NetworkName,
        /// What is kept.
        valid: BTreeSet<(ContainerId, IfName)>,
        /// Whom to answer.
        reply: oneshot::Sender<Reply>,
    },
    /// What differs between the journal, the kernel and EC2, all looked at now.
    Diff {
        /// Whom to answer; an error says which of them could not be looked at.
        reply: oneshot::Sender<Compared>,
    },
    /// A question about the state.
    Query {
        /// What is asked.
        query: Query,
        /// Whom to answer.
        reply: oneshot::Sender<View>,
    },
    /// The operator changed the settings.
    Reconfigure {
        /// The new ones.
        config: Box<Config>,
    },
    /// The cluster's nodes were counted.
    NodesCounted {
        /// How many there are, this one included.
        nodes: NonZeroU32,
    },
    /// A strategy was replaced.
    StrategyReplaced,
}

/// A question about the state.
#[derive(Clone, Debug)]
pub enum Query {
    /// One screen.
    Status,
    /// Whether an ADD could be served; answered from memory.
    Readiness,
    /// All addresses.
    Addresses,
    /// The address of one attachment.
    Attachment(Attachment),
    /// Why is this address here?
    Address(std::net::IpAddr),
    /// Why is this ENI here?
    Eni(EniId),
    /// What about this pod?
    Pod(PodName),
}

/// The answer to a [`Query`].
#[derive(Clone, Debug)]
pub enum View {
    /// To [`Query::Status`].
    Status(Box<Status>),
    /// To [`Query::Readiness`].
    Readiness(Readiness),
    /// To [`Query::Addresses`] and [`Query::Attachment`].
    Addresses(Vec<AddressStatus>),
    /// To all others.
    Explanation(Explanation),
}

/// The answer to ADD, DEL, CHECK or GC.
#[derive(Clone, Debug)]
pub enum Reply {
    /// ADD, DEL and GC, and CHECK of what is not there.
    Answer {
        /// What the node says.
        answer: Answer,
        /// What the kernel said, after an ADD that came so far.
        wired: Option<Result<Wired, DatapathError>>,
    },
    /// CHECK: the differences found; none is well.
    Checked(Vec<Drift>),
    /// CHECK: the kernel could not be read.
    Unreadable(DatapathError),
}

/// The adapters.
#[derive(Debug)]
pub struct Ports<C, D, S, P, K> {
    /// EC2 and instance metadata.
    pub cloud: Arc<C>,
    /// The kernel.
    pub datapath: Arc<D>,
    /// The journal.
    pub store: S,
    /// The strategies.
    pub strategist: Arc<P>,
    /// The clock.
    pub clock: Arc<K>,
    /// Whoever counts what happens.
    pub meter: Arc<dyn Meter>,
}

struct Pending {
    reply: oneshot::Sender<Reply>,
    netns: Option<OwnedFd>,
    wired: Option<Result<Wired, DatapathError>>,
    verb: Verb,
    since: Instant,
    /// When the kernel was asked to wire the pod.
    wiring: Option<Instant>,
}

/// What is pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Add,
    Del,
    /// CHECK, GC.
    Other,
}

/// What came back from an effect.
enum Outcome {
    Event(Event),
    Wired {
        op: OpId,
        ticket: Ticket,
        result: Result<Wired, DatapathError>,
    },
    Checked {
        ticket: Ticket,
        result: Result<Vec<Drift>, DatapathError>,
    },
    /// The kernel and EC2, looked at for whoever asked for the differences.
    Compared {
        asked: Timestamp,
        seen: Result<Views, String>,
        reply: oneshot::Sender<Compared>,
    },
}

/// What EC2 and the kernel show at one time.
type Views = (Vec<CloudEni>, KernelView);
/// What differs, or what could not be looked at.
type Compared = Result<Vec<Difference>, String>;

/// The shell around one node.
pub struct Engine<C, D, S, P, K> {
    ports: Ports<C, D, S, P, K>,
    node: NodeState,
    identity: Arc<NodeIdentity>,
    pending: BTreeMap<Ticket, Pending>,
    next_ticket: u64,
    kernel: FuturesUnordered<BoxFuture<'static, Outcome>>,
    tasks: JoinSet<Event>,
    /// What happens when a task ends without an outcome: its owner must not wait for ever.
    otherwise: HashMap<tokio::task::Id, Event>,
    errands: Handle,
    /// Why the journal cannot be written, while it cannot.
    journal_broken: Option<String>,
}

impl<C: Cloud, D: Datapath, S: Store, P: Strategist, K: Clock> Engine<C, D, S, P, K> {
    /// An engine for `node`; `effects` are what its restoration asked for. What takes long runs on `errands`.
    pub fn new(ports: Ports<C, D, S, P, K>, node: NodeState, effects: Vec<Effect>, errands: Handle) -> Self {
        let identity = Arc::new(node.identity().clone());
        let mut engine = Self {
            ports,
            node,
            identity,
            pending: BTreeMap::new(),
            next_ticket: 0,
            kernel: FuturesUnordered::new(),
            tasks: JoinSet::new(),
            otherwise: HashMap::new(),
            errands,
            journal_broken: None,
        };
        engine.perform(effects);
        engine
    }

    /// Runs until `shutdown` becomes true: then waiters are told, work under way is finished within
    /// seconds, and nothing of the pods' wiring is touched.
    pub async fn run(mut self, mut requests: mpsc::Receiver<Request>, mut shutdown: watch::Receiver<bool>) {
        self.compact();
        self.happen(Event::Tick);
        loop {
            let now = self.ports.clock.now();
            let wake = tokio::time::Instant::now()
                + self.node.next_wake(now).since(now).max(Duration::from_millis(1));
            tokio::select! {
                biased;
                changed = shutdown.changed() => {
                    if changed.is_err() || *shutdown.borrow() {
                        break;
                    }
                }
                Some(outcome) = self.kernel.next(), if !self.kernel.is_empty() => self.came_back(outcome),
                Some(done) = self.tasks.join_next_with_id(), if !self.tasks.is_empty() => self.task_done(done),
                request = requests.recv() => match request {
                    Some(request) => self.requested(request),
                    None => break,
                },
                () = tokio::time::sleep_until(wake) => {
                    self.mend_journal();
                    self.happen(Event::Tick);
                }
            }
        }
        requests.close();
        self.drain().await;
    }

    async fn drain(mut self) {
        self.happen(Event::Stop);
        let deadline = tokio::time::Instant::now() + DRAIN;
        while !(self.kernel.is_empty() && self.tasks.is_empty()) {
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(deadline) => {
                    warn!(kernel = self.kernel.len(), cloud = self.tasks.len(), "effects still under way at shutdown");
                    break;
                }
                Some(outcome) = self.kernel.next(), if !self.kernel.is_empty() => self.came_back(outcome),
                Some(done) = self.tasks.join_next_with_id(), if !self.tasks.is_empty() => self.task_done(done),
            }
        }
        self.compact();
    }

    fn requested(&mut self, request: Request) {
        self.mend_journal();
        match request {
            Request::Add { attachment, pod, nics, deadline, netns, netns_path, reply } => {
                if let Some(why) = self.journal_broken.clone() {
                    let answer = Answer::Refused(Refusal::Journal { why });
                    // Who asked may have gone: then nobody minds.
                    let _gone = reply.send(Reply::Answer { answer, wired: None });
                    return;
                }
                let ticket = self.pend(Verb::Add, reply, Some(netns));
                let netns = netns_path;
                self.happen(Event::Add { ticket, attachment, pod, nics, netns, deadline });
            }
            Request::Del { attachment, issued, reply } => {
                let ticket = self.pend(Verb::Del, reply, None);
                self.happen(Event::Del { ticket, attachment, issued });
            }
            Request::Check { attachment, netns, reply } => {
                let ticket = self.pend(Verb::Other, reply, netns);
                self.happen(Event::Check { ticket, attachment });
            }
            Request::Gc { network, valid, reply } => {
                let ticket = self.pend(Verb::Other, reply, None);
                self.happen(Event::Gc { ticket, network, valid });
            }
            Request::Diff { reply } => self.compare(reply),
            Request::Query { query, reply } => {
                let now = self.ports.clock.now();
                let view = match query {
                    Query::Status => {
                        let readiness = self.readiness(now);
                        View::Status(Box::new(Status { readiness, ..self.node.status(now) }))
                    }
                    Query::Readiness => View::Readiness(self.readiness(now)),
                    Query::Addresses => View::Addresses(self.node.addresses(now)),
                    Query::Attachment(attachment) => {
                        let name = attachment.to_string();
                        let mut addresses = self.node.addresses(now);
                        addresses.retain(|address| address.attachment.as_deref() == Some(&name));
                        View::Addresses(addresses)
                    }
                    Query::Address(address) => View::Explanation(self.node.explain_address(address, now)),
                    Query::Eni(eni) => View::Explanation(self.node.explain_eni(&eni)),
                    Query::Pod(pod) => {
                        View::Explanation(self.node.explain_pod(&pod.namespace, &pod.name, now))
                    }
                };
                // Who asked may have gone: then nobody minds.
                let _gone = reply.send(view);
            }
            Request::Reconfigure { config } => self.happen(Event::Reconfigured(config)),
            Request::NodesCounted { nodes } => self.happen(Event::NodesCounted { nodes }),
            Request::StrategyReplaced => self.happen(Event::StrategyReplaced),
        }
    }

    fn pend(&mut self, verb: Verb, reply: oneshot::Sender<Reply>, netns: Option<OwnedFd>) -> Ticket {
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        let since = Instant::now();
        self.pending.insert(ticket, Pending { reply, netns, wired: None, verb, since, wiring: None });
        ticket
    }

    /// Whether an ADD could be served: the node's word, while the journal can be written.
    fn readiness(&self, now: Timestamp) -> Readiness {
        match &self.journal_broken {
            Some(why) => Readiness::NotReady { reason: WaitReason::Journal { why: why.clone() } },
            None => self.node.readiness(now),
        }
    }

    /// Looks at EC2 and the kernel, and has the answer compared when both have come in.
    fn compare(&mut self, reply: oneshot::Sender<Compared>) {
        let (cloud, datapath) = (Arc::clone(&self.ports.cloud), Arc::clone(&self.ports.datapath));
        let (identity, asked) = (Arc::clone(&self.identity), self.ports.clock.now());
        let wanted = self.node.wanted();
        let metadata = self.node.config().provisioning == Provisioning::MetadataOnly;
        if !metadata {
            self.node.asked_by_hand(asked);
        }
        let listed = self.errands.spawn(async move {
            if metadata { cloud.metadata_enis(&identity).await } else { cloud.enis(&identity).await }
        });
        self.kernel.push(Box::pin(async move {
            let seen = async {
                let kernel = datapath.look(&wanted).await.map_err(|why| format!("the kernel: {why}"))?;
                let cloud = listed.await.map_err(|why| format!("EC2: {why}"))?;
                Ok((cloud.map_err(|why| format!("EC2: {why}"))?, kernel))
            };
            Outcome::Compared { asked, seen: seen.await, reply }
        }));
    }

    fn happen(&mut self, event: Event) {
        let now = self.ports.clock.now();
        log_event(&event);
        self.measure_decision(&event);
        let effects = self.node.handle(now, event);
        self.perform(effects);
    }

    fn came_back(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Event(event) => self.happen(event),
            Outcome::Wired { op, ticket, result } => {
                let said = result.as_ref().map(|_| ()).map_err(ToString::to_string);
                if let Some(pending) = self.pending.get_mut(&ticket) {
                    pending.wired = Some(result);
                }
                self.happen(Event::Wired { op, result: said });
            }
            Outcome::Compared { asked, seen, reply } => {
                let compared = seen.map(|(cloud, kernel)| self.node.diff(&cloud, &kernel, asked));
                // Who asked may have gone: then nobody minds.
                let _gone = reply.send(compared);
            }
            Outcome::Checked { ticket, result } => {
                let reply = match result {
                    Ok(drifts) => Reply::Checked(drifts),
                    Err(why) => Reply::Unreadable(why),
                };
                self.answer(ticket, reply);
            }
        }
    }

    fn task_done(&mut self, done: Result<(tokio::task::Id, Event), tokio::task::JoinError>) {
        match done {
            Ok((id, event)) => {
                self.otherwise.remove(&id);
                self.happen(event);
            }
            Err(why) => {
                error!(%why, "a task of the engine ended without an outcome; this is a bug of enid");
                if let Some(event) = self.otherwise.remove(&why.id()) {
                    self.happen(event);
                }
            }
        }
    }

    fn answer(&mut self, ticket: Ticket, reply: Reply) {
        if let Some(pending) = self.pending.remove(&ticket) {
            self.measure_answer(&pending, &reply);
            // The runtime may have hung up: the lease stays until its DEL.
            let _gone = pending.reply.send(reply);
        }
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        let mut failed = Vec::new();
        for effect in effects {
            match (effect, &self.journal_broken) {
                (Effect::Journal(records), _) => {
                    records.iter().for_each(log_record);
                    self.journal(&records);
                }
                (Effect::Wire { op, .. }, Some(why)) => {
                    failed.push(Event::Wired {
                        op,
                        result: Err(format!("the journal cannot be written: {why}")),
                    });
                }
                // Looking needs no record.
                (Effect::Cloud { op, call }, Some(why)) if call.api().changes() => {
                    let message = format!("the journal cannot be written: {why}");
                    let error =
                        CloudError { call: call.name().to_owned(), kind: CloudErrorKind::NotAsked, message };
                    failed.push(Event::Cloud { op, result: Err(error) });
                }
                (Effect::Answer { ticket, answer: Answer::Added(_) | Answer::Deleted }, Some(why)) => {
                    // Done, but it would be forgotten: the runtime's next call finds it done.
                    let answer = Answer::Refused(Refusal::Journal { why: why.clone() });
                    self.answer(ticket, Reply::Answer { answer, wired: None });
                }
                (effect, _) => self.perform_one(effect),
            }
        }
        for event in failed {
            self.happen(event);
        }
        if self.ports.store.len() > COMPACT_AFTER {
            self.compact();
        }
    }

    /// Appends, or writes the whole state anew: memory knows these records already. When neither works
    /// nothing new is begun until the journal takes the state again.
    fn journal(&mut self, records: &[Record]) {
        if self.journal_broken.is_none() && self.ports.store.append(records).is_ok() {
            return;
        }
        match self.ports.store.compact(&self.node.records()) {
            Ok(()) => {
                if self.journal_broken.take().is_some() {
                    info!("the journal can be written again");
                }
            }
            Err(why) => {
                if self.journal_broken.is_none() {
                    error!(%why, "the journal cannot be written: no pod is added and EC2 is left alone until it can");
                }
                self.journal_broken = Some(why.to_string());
            }
        }
    }

    /// Tries again what broke, before anything else is done; cheap when nothing did.
    fn mend_journal(&mut self) {
        if self.journal_broken.is_some() {
            self.journal(&[]);
        }
    }

    fn perform_one(&mut self, effect: Effect) {
        let datapath = Arc::clone(&self.ports.datapath);
        match effect {
            Effect::Journal(_) => {}
            Effect::Wire { op, ticket, wiring } => self.wire(op, ticket, wiring),
            Effect::Unwire { op, wiring } => self.kernel.push(Box::pin(async move {
                let result = datapath.unwire_pod(&wiring).await.map_err(|why| why.to_string());
                Outcome::Event(Event::Unwired { op, result })
            })),
            Effect::Check { ticket, wiring } => {
                let netns = self.pending.get_mut(&ticket).and_then(|pending| pending.netns.take());
                self.kernel.push(Box::pin(async move {
                    Outcome::Checked { ticket, result: datapath.check_pod(&wiring, netns).await }
                }));
            }
            Effect::Answer { ticket, answer } => {
                let wired = self.pending.get_mut(&ticket).and_then(|pending| pending.wired.take());
                self.answer(ticket, Reply::Answer { answer, wired });
            }
            Effect::Cloud { op, call } => self.call(op, call),
            Effect::SetUpEni { op, wiring } => self.kernel.push(Box::pin(async move {
                let result = match datapath.set_up_eni(&wiring).await {
                    Ok(()) => Ok(()),
                    Err(DatapathError::NoSuchLink { .. }) => Err(None),
                    Err(
                        why @ (DatapathError::IfNameTaken { .. }
                        | DatapathError::BadNamespace { .. }
                        | DatapathError::Kernel { .. }),
                    ) => Err(Some(why.to_string())),
                };
                Outcome::Event(Event::EniSetUp { op, result })
            })),
            Effect::TearDownEni { op, wiring } => self.kernel.push(Box::pin(async move {
                let result = datapath.tear_down_eni(&wiring).await.map_err(|why| why.to_string());
                Outcome::Event(Event::EniTornDown { op, result })
            })),
            Effect::SetUpNode { op, wiring } => self.kernel.push(Box::pin(async move {
                let result = datapath.set_up_node(&wiring).await.map_err(|why| why.to_string());
                Outcome::Event(Event::NodeSetUp { op, result })
            })),
            Effect::LookAtKernel { op, wanted } => {
                let meter = Arc::clone(&self.ports.meter);
                self.kernel.push(Box::pin(async move {
                    let since = Instant::now();
                    let result = datapath.look(&wanted).await;
                    let drifts = result.as_ref().map_or(0, |view| view.drifts.len());
                    meter.measure(Measurement::Looked { drifts, took: since.elapsed() });
                    let result = result.map_err(|why| why.to_string());
                    Outcome::Event(Event::KernelSeen { op, result })
                }));
            }
            Effect::RepairPod { op, pod } => self.repair(op, pod),
            Effect::RemoveStray { address } => self.kernel.push(Box::pin(async move {
                match datapath.remove_stray(address).await {
                    Ok(()) => info!(%address, "rules that nobody used were removed"),
                    Err(why) => warn!(%address, reason = %why, "rules that nobody uses stay"),
                }
                Outcome::Event(Event::Tick)
            })),
            Effect::AskWarmPool(snapshot) => {
                let strategist = Arc::clone(&self.ports.strategist);
                let target = builtin::warm_pool(&snapshot).target;
                let decide = move || Event::WarmPoolDecided(strategist.warm_pool(&snapshot));
                self.ask(decide, Event::WarmPoolDecided(stand_in(target)));
            }
            Effect::AskMaxPods(snapshot) => {
                let strategist = Arc::clone(&self.ports.strategist);
                let target = builtin::max_pods(&snapshot).target;
                let decide = move || Event::MaxPodsDecided(strategist.max_pods(&snapshot));
                self.ask(decide, Event::MaxPodsDecided(stand_in(target)));
            }
            Effect::AskSubnets { snapshot, subnets } => {
                let strategist = Arc::clone(&self.ports.strategist);
                let target =
                    builtin::subnets(&snapshot).target.iter().map(|ranked| ranked.candidate).collect();
                let otherwise = Event::SubnetsDecided(in_order(stand_in(target), &subnets));
                let decide = move || Event::SubnetsDecided(in_order(strategist.subnets(&snapshot), &subnets));
                self.ask(decide, otherwise);
            }
        }
    }

    fn wire(&mut self, op: OpId, ticket: Ticket, wiring: PodWiring) {
        let datapath = Arc::clone(&self.ports.datapath);
        if let Some(pending) = self.pending.get_mut(&ticket) {
            pending.wiring = Some(Instant::now());
        }
        match self.pending.get_mut(&ticket).and_then(|pending| pending.netns.take()) {
            Some(netns) => self.kernel.push(Box::pin(async move {
                Outcome::Wired { op, ticket, result: datapath.wire_pod(&wiring, netns).await }
            })),
            None => self.kernel.push(Box::pin(async move {
                let why = "the request came without a network namespace".to_owned();
                Outcome::Wired { op, ticket, result: Err(DatapathError::BadNamespace { why }) }
            })),
        }
    }

    fn repair(&mut self, op: OpId, pod: WantedPod) {
        let datapath = Arc::clone(&self.ports.datapath);
        self.kernel.push(Box::pin(async move {
            let result = datapath.repair_pod(&pod).await.map_err(|why| why.to_string());
            match &result {
                Ok(()) => info!(address = %pod.wiring.key(), "the pod's wiring was mended"),
                Err(why) => {
                    warn!(address = %pod.wiring.key(), reason = %why, "the pod's wiring could not be mended")
                }
            }
            Outcome::Event(Event::Repaired { op, result })
        }));
    }

    fn call(&mut self, op: OpId, call: CloudCall) {
        let cloud = Arc::clone(&self.ports.cloud);
        let identity = Arc::clone(&self.identity);
        let cluster = self.node.config().cluster.clone();
        let lost = CloudError {
            call: call.name().to_owned(),
            kind: CloudErrorKind::Unavailable,
            message: "the call ended without an outcome".to_owned(),
        };
        let meter = Arc::clone(&self.ports.meter);
        let call = async move {
            let since = Instant::now();
            let result = perform_call(&*cloud, &identity, cluster.as_deref(), &call).await;
            let failed = result.as_ref().err().map(|error| error.kind);
            meter.measure(Measurement::Call { api: call.api(), failed, took: since.elapsed() });
            Event::Cloud { op, result }
        };
        let task = self.tasks.spawn_on(call, &self.errands);
        self.otherwise.insert(task.id(), Event::Cloud { op, result: Err(lost) });
    }

    fn ask(&mut self, decide: impl FnOnce() -> Event + Send + 'static, otherwise: Event) {
        let task = self.tasks.spawn_blocking_on(decide, &self.errands);
        self.otherwise.insert(task.id(), otherwise);
    }

    fn compact(&mut self) {
        if let Err(why) = self.ports.store.compact(&self.node.records()) {
            warn!(%why, "the journal stays as long as it is");
        }
    }
}
