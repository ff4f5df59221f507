//! A cluster in a region of its own: nodes that come and go, pods that are scheduled onto them, and a runtime on each
//! node that tries again when it is told to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use enid_core::budget::BudgetConfig;
use enid_core::event::{Answer, CloudCall, Effect, Ticket};
use enid_core::ids::{EniId, InstanceId};
use enid_core::node::Config;
use enid_core::time::Timestamp;
use enid_sim::ec2::call::{Call, Made};
use enid_sim::ec2::instance::RunInstances;
use enid_sim::ec2::throttle::Throttling;
use enid_sim::ec2::{Delays, Ec2, Tags};
use enid_sim::fleet::Fleet;
use enid_sim::witness::What;
use simulation::dice::Dice;
use simulation::{Knobs, START};

/// How long the runtime waits before it tries an ADD again.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// What somebody outside the daemons does.
#[derive(Clone, Debug)]
enum Deed {
    /// A daemon starts.
    Start(InstanceId),
    /// It hears how many nodes there are.
    Count(InstanceId),
    /// A pod's sandbox is to be connected.
    Add { instance: InstanceId, pod: String },
    /// The machine stops running.
    Lose(InstanceId),
}

/// Such a cluster.
pub(crate) struct Town {
    pub(crate) fleet: Fleet<Knobs>,
    pub(crate) instances: Vec<InstanceId>,
    pub(crate) config: Config,
    /// Who has each pod address.
    pub(crate) taken: BTreeMap<IpAddr, String>,
    /// When the last pod got its address.
    pub(crate) last_bound: Timestamp,
    /// ADDs that were answered with "try again".
    pub(crate) put_off: u64,
    /// Looks for ENIs without an owner.
    pub(crate) sweeps: u64,
    knobs: Knobs,
    dice: Dice,
    coming: BTreeMap<(Timestamp, u64), Deed>,
    waiting: BTreeMap<InstanceId, Vec<(Ticket, String)>>,
    leaving: BTreeSet<InstanceId>,
    /// How long after its start a daemon is told how many nodes there are.
    pub(crate) counted_after: Option<Duration>,
    /// Whether those that did not start yet do not count.
    pub(crate) count_those_that_run: bool,
}

impl Town {
    /// So many instances, on which no daemon runs yet.
    pub(crate) fn new(seed: u64, nodes: u32, share_milli: u32, knobs: Knobs) -> Town {
        let takes = |call, millis| (call, Duration::from_millis(millis));
        let latencies = [
            takes(Call::AttachNetworkInterface, 700),
            takes(Call::CreateNetworkInterface, 400),
            takes(Call::AssignPrivateIpAddresses, 300),
            takes(Call::ModifyNetworkInterfaceAttribute, 200),
        ];
        let delays = Delays { latencies: latencies.into(), ..Delays::default() };
        let mut ec2 = Ec2::new(seed, enid_sim::ec2::Config { delays, ..enid_sim::ec2::Config::default() });
        let zone = ec2.config().zones[0].clone();
        let vpc = ec2.add_vpc("10.0.0.0/16".parse().unwrap()).unwrap();
        let subnet = ec2.add_subnet(&vpc, &zone, "10.0.0.0/17".parse().unwrap(), Tags::new()).unwrap();
        let instances = (0..nodes)
            .map(|_| ec2.launch(START, &RunInstances::one("m5.xlarge", subnet.clone())).unwrap())
            .collect();
        let now = START + Duration::from_secs(60);
        ec2.advance(now);
        ec2.set_throttling(Throttling::Documented);
        ec2.keep_log();
        Town {
            fleet: Fleet::new(ec2, now),
            instances,
            config: Config {
                cluster: Some("town".to_owned()),
                budget: BudgetConfig { share_milli, nodes, ..BudgetConfig::default() },
                ..Config::default()
            },
            taken: BTreeMap::new(),
            last_bound: now,
            put_off: 0,
            sweeps: 0,
            knobs,
            dice: Dice::seeded(seed),
            coming: BTreeMap::new(),
            waiting: BTreeMap::new(),
            leaving: BTreeSet::new(),
            counted_after: None,
            count_those_that_run: false,
        }
    }

    /// All daemons start within five seconds, and each node is sent so many pods within five seconds of that.
    pub(crate) fn scale_out(&mut self, pods: u32) {
        for (node, instance) in self.instances.clone().into_iter().enumerate() {
            let start = self.soon(5_000);
            self.expect(start, Deed::Start(instance.clone()));
            if let Some(after) = self.counted_after {
                self.expect(start + after, Deed::Count(instance.clone()));
            }
            for pod in 0..pods {
                let after = start + Duration::from_millis(1 + self.dice.roll(5_000));
                self.expect(after, Deed::Add { instance: instance.clone(), pod: format!("n{node}p{pod}") });
            }
        }
    }

    /// These instances are terminated; their daemons run on until the machines stop, within five seconds.
    pub(crate) fn terminate(&mut self, instances: &[InstanceId]) {
        let now = self.fleet.now();
        self.fleet.ec2.terminate_instances(now, instances).unwrap();
        for instance in instances {
            let at = self.soon(5_000);
            self.expect(at, Deed::Lose(instance.clone()));
            self.leaving.insert(instance.clone());
        }
    }

    /// A daemon dies and starts again; the runtime gives up the sandboxes that it was waiting for, and makes others.
    pub(crate) fn crash(&mut self, instance: &InstanceId) {
        let waiting = self.waiting.remove(instance).unwrap_or_default();
        self.fleet.ask(instance, |node| {
            node.crash_and_restart();
            for (_, pod) in &waiting {
                node.del(pod);
            }
        });
        for (_, pod) in waiting {
            let at = self.fleet.now() + TRY_AGAIN;
            self.expect(at, Deed::Add { instance: instance.clone(), pod: pod + "r" });
        }
    }

    fn soon(&mut self, millis: u64) -> Timestamp {
        self.fleet.now() + Duration::from_millis(self.dice.roll(millis))
    }

    fn expect(&mut self, at: Timestamp, deed: Deed) {
        let place = self.dice.roll(u64::MAX);
        self.coming.insert((at, place), deed);
    }

    /// Lets time pass.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.fleet.now() + time;
        self.pass_until(end, |_| false);
    }

    /// Lets time pass until `done`, at most until `end`; says whether it came to that.
    pub(crate) fn pass_until(&mut self, end: Timestamp, done: impl Fn(&Town) -> bool) -> bool {
        while !done(self) {
            let next = self.coming.first_key_value().map_or(end, |((at, _), _)| (*at).min(end));
            match self.fleet.step(next) {
                Some(instance) => self.heed(&instance),
                None => match self.coming.first_entry().filter(|deed| deed.key().0 <= self.fleet.now()) {
                    Some(deed) => {
                        let deed = deed.remove();
                        self.act(deed);
                    }
                    None => return false,
                },
            }
        }
        true
    }

    fn act(&mut self, deed: Deed) {
        match deed {
            Deed::Start(instance) => {
                self.fleet.start(&instance, self.config.clone(), self.knobs).unwrap();
                self.fleet.node_mut(&instance).unwrap().watch();
            }
            Deed::Count(instance) => {
                let running = self.fleet.nodes().count();
                let nodes = if self.count_those_that_run { running } else { self.instances.len() };
                let nodes = u32::try_from(nodes).ok().and_then(NonZeroU32::new);
                self.fleet.ask(&instance, |node| node.count_nodes(nodes.expect("a few nodes")));
            }
            Deed::Add { instance, pod } => {
                if let Some(ticket) = self.fleet.ask(&instance, |node| node.add(&pod)) {
                    self.waiting.entry(instance.clone()).or_default().push((ticket, pod));
                    self.heed(&instance);
                }
            }
            Deed::Lose(instance) => {
                self.fleet.lose(&instance).unwrap();
                self.waiting.remove(&instance);
                let mark = format!("{instance}/");
                self.taken.retain(|_, pod| !pod.starts_with(&mark));
            }
        }
    }

    /// Looks at what a node did.
    fn heed(&mut self, instance: &InstanceId) {
        let now = self.fleet.now();
        let node = self.fleet.node_mut(instance).unwrap();
        for deed in node.deeds() {
            if let What::Effect(effect) = deed.what
                && let Effect::Cloud { call: CloudCall::Orphans, .. } = *effect
            {
                self.sweeps += 1;
            }
        }
        let Some(waiting) = self.waiting.get_mut(instance) else { return };
        let mut again = Vec::new();
        waiting.retain(|(ticket, pod)| match node.answer(*ticket) {
            None => true,
            Some(Answer::Added(holder)) => {
                for address in holder.wiring.leased() {
                    let other = self.taken.insert(address, format!("{instance}/{pod}"));
                    assert_eq!(other, None, "{address} is given to {pod} of {instance} too");
                }
                self.last_bound = now;
                false
            }
            Some(Answer::TryLater(_)) => {
                again.push(pod.clone());
                false
            }
            Some(answer @ (Answer::Deleted | Answer::Refused(_) | Answer::Collected { .. })) => {
                panic!("{pod} of {instance}: {answer:?}")
            }
        });
        self.put_off += u64::try_from(again.len()).unwrap();
        for pod in again {
            self.expect(now + TRY_AGAIN, Deed::Add { instance: instance.clone(), pod });
        }
    }

    /// The calls that reached EC2 since this was last asked.
    pub(crate) fn calls(&mut self) -> Vec<Made> {
        self.fleet.ec2.log()
    }

    /// What all daemons may use together, whatever each of them believes.
    pub(crate) fn shared(&self) -> BudgetConfig {
        let nodes = u32::try_from(self.instances.len()).unwrap();
        BudgetConfig { nodes, ..self.config.budget.clone() }
    }

    /// Instances that are not being terminated.
    pub(crate) fn staying(&self) -> impl Iterator<Item = &InstanceId> {
        self.instances.iter().filter(|instance| !self.leaving.contains(instance))
    }

    /// ENIs that are attached to nothing.
    pub(crate) fn unattached(&self) -> Vec<EniId> {
        let unattached = |eni: &&enid_sim::ec2::interface::NetworkInterface| eni.attachment.is_none();
        self.fleet.ec2.interfaces().filter(unattached).map(|eni| eni.id.clone()).collect()
    }

    /// What must hold at any time: EC2's own rules, and no pod that was wired against them.
    pub(crate) fn check(&self) {
        assert_eq!(self.fleet.ec2.check(), Vec::<String>::new());
        let mut wired = BTreeMap::new();
        for node in self.fleet.nodes() {
            assert_eq!(node.kernel.outrages, Vec::<String>::new(), "{}", node.instance());
            for pod in node.kernel.pods.values() {
                for address in pod.leased() {
                    let other = wired.insert(address, node.instance());
                    assert_eq!(other, None, "{address} is on {} too", node.instance());
                }
            }
        }
        assert!(self.taken.keys().all(|address| wired.contains_key(address)), "every answered ADD is wired");
    }
}
