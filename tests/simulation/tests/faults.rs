//! Random work under random faults: nothing unsafe happens at any moment, and once the world heals
//! everything that fits is served and nothing leaks.
//!
//! `ENID_SEED=<n>` replays one seed, `ENID_SEEDS=<n>` sets how many are run.

use std::time::Duration;

use enid_core::eni::Phase;
use enid_core::event::Record;
use enid_core::node::{Config, NodeState};
use enid_sim::ec2::call::Call;
use enid_sim::ec2::fault::{Fault, FaultKind};
use enid_sim::ec2::instance::RunInstances;
use enid_sim::ec2::refusal::Code;
use enid_sim::ec2::{self, Delays, Ec2, Tags};
use enid_sim::node::SimNode;
use simulation::dice::Dice;
use simulation::runtime::Runtime;
use simulation::safety::Watch;
use simulation::{Knobs, START, check, expect_converged};

const SEEDS: u64 = 300;
const ACTIONS: u64 = 80;
/// Kubelet would not run more pods than this on the nodes used here.
const MOST_PODS: usize = 24;

const CALLS: [Call; 9] = [
    Call::AssignPrivateIpAddresses,
    Call::AttachNetworkInterface,
    Call::CreateNetworkInterface,
    Call::DeleteNetworkInterface,
    Call::DescribeNetworkInterfaces,
    Call::DescribeSubnets,
    Call::DetachNetworkInterface,
    Call::ModifyNetworkInterfaceAttribute,
    Call::UnassignPrivateIpAddresses,
];

/// One node, its runtime, its watch, and chance.
struct Ordeal {
    seed: u64,
    dice: Dice,
    node: SimNode<Knobs>,
    runtime: Runtime,
    watch: Watch,
    /// The slots of one ENI of this instance type.
    slots: usize,
    max_enis: usize,
    life: u64,
    said: Vec<String>,
}

impl Ordeal {
    fn begin(seed: u64) -> Self {
        let mut dice = Dice::seeded(seed);
        let kind = *dice.pick(&["t3.small", "m5.large", "t3.medium"]);
        let known = enid_core::instance_types::lookup(kind).expect("a known instance type");
        let mut ec2 = Ec2::new(seed, ec2::Config::default());
        let zone = ec2.config().zones[0].clone();
        let net = |text: &str| text.parse().expect("a range");
        let vpc = ec2.add_vpc(net("10.0.0.0/16")).expect("a VPC");
        let first = if dice.one_in(3) { "10.0.0.0/26" } else { "10.0.0.0/24" };
        let primary = ec2.add_subnet(&vpc, &zone, net(first), Tags::new()).expect("a subnet");
        if !dice.one_in(3) {
            let open = Tags::from([("kubernetes.io/role/cni".to_owned(), "1".to_owned())]);
            ec2.add_subnet(&vpc, &zone, net("10.0.4.0/24"), open).expect("a subnet");
        }
        let instance = ec2.launch(START, &RunInstances::one(kind, primary)).expect("an instance");
        ec2.advance(START + Duration::from_secs(60));
        let config = Config {
            cooldown: Duration::from_secs(*dice.pick(&[0, 5, 30])),
            max_enis: dice.one_in(4).then_some(2),
            ..Config::default()
        };
        let max_enis = config.max_enis.unwrap_or(known.max_enis());
        let knobs = knobs(&mut dice);
        let node =
            SimNode::start(ec2, instance, config, knobs, START + Duration::from_secs(60)).expect("metadata");
        Self {
            seed,
            dice,
            node,
            runtime: Runtime::default(),
            watch: Watch::default(),
            slots: usize::try_from(known.slots_per_eni()).expect("a small number"),
            max_enis: usize::try_from(max_enis).expect("a small number"),
            life: 0,
            said: vec![format!("{kind} {knobs:?}")],
        }
    }

    /// One thing goes on, or wrong.
    fn act(&mut self) {
        let now = self.node.now();
        let roll = self.dice.roll(24);
        self.said.push(format!("{now}: {roll}"));
        match roll {
            0..=6 => {
                if self.runtime.count() < MOST_PODS {
                    let pod = self.dice.roll(12);
                    self.runtime.start(&mut self.node, pod);
                }
            }
            7..=10 => {
                let which = self.dice.roll(1000);
                self.runtime.end(&mut self.node, which);
                if self.dice.one_in(3) {
                    self.runtime.end(&mut self.node, which);
                }
            }
            11 => {
                let which = self.dice.roll(1000);
                self.runtime.add_again(&mut self.node, which);
            }
            12 => self.runtime.late_del(&mut self.node, START),
            13..=15 => self.break_calls(),
            16 => {
                let call = *self.dice.pick(&CALLS);
                self.said.push(format!("{now}: deny {call}"));
                self.node.ec2.deny(call);
            }
            17 => CALLS.iter().for_each(|call| self.node.ec2.permit(*call)),
            18 => self.crowd(),
            19 => {
                if self.dice.one_in(2) {
                    self.said.push(format!("{now}: crash"));
                    self.node.crash_and_restart();
                } else {
                    let effects = self.dice.roll(6);
                    self.said.push(format!("{now}: crash after {effects}"));
                    self.node.crash_after(effects);
                }
            }
            20 => {
                self.node.compact();
                self.expect_faithful_records();
            }
            21 => {
                self.node.kernel.refuse_wirings = self.dice.roll_u32(3);
                self.node.kernel.refuse_unwirings = self.dice.roll_u32(3);
                self.node.kernel.takes = Duration::from_millis(*self.dice.pick(&[0, 1, 50, 3000]));
            }
            22 => {
                let knobs = knobs(&mut self.dice);
                self.said.push(format!("{now}: {knobs:?}"));
                self.node.replace_strategist(knobs);
            }
            _ => {
                let mut config = self.node.state().config().clone();
                config.cooldown = Duration::from_secs(*self.dice.pick(&[0, 5, 30]));
                self.watch.cooldown_changed(now, config.cooldown);
                self.node.reconfigure(config);
                self.node.look_at_kernel();
            }
        }
        self.examine();
        let pause = Duration::from_millis(*self.dice.pick(&[0, 1, 150, 2_000, 10_000, 45_000]));
        self.live(pause);
    }

    fn break_calls(&mut self) {
        let call = *self.dice.pick(&CALLS);
        let code = match call {
            Call::AssignPrivateIpAddresses => *self.dice.pick(&[
                Code::InsufficientFreeAddressesInSubnet,
                Code::PrivateIpAddressLimitExceeded,
                Code::InternalError,
            ]),
            // No made-up refusals: after a lost reply, EC2 answers the same token with the same ENI.
            Call::CreateNetworkInterface => Code::Unavailable,
            Call::AttachNetworkInterface => *self.dice.pick(&[
                Code::AttachmentLimitExceeded,
                Code::InvalidParameterValue,
                Code::InvalidNetworkInterfaceIdNotFound,
            ]),
            Call::DetachNetworkInterface | Call::ModifyNetworkInterfaceAttribute => Code::IncorrectState,
            Call::DeleteNetworkInterface | Call::UnassignPrivateIpAddresses => Code::InvalidParameterValue,
            Call::DescribeNetworkInterfaces
            | Call::DescribeSubnets
            | Call::CreateTags
            | Call::DeleteTags
            | Call::DescribeAvailabilityZones
            | Call::DescribeInstanceTypes
            | Call::DescribeInstances
            | Call::DescribeSecurityGroups
            | Call::DescribeTags
            | Call::DescribeVpcs
            | Call::RunInstances
            | Call::TerminateInstances => Code::InternalError,
        };
        let delay = Duration::from_millis(self.dice.roll(30_000));
        let kind = *self.dice.pick(&[
            FaultKind::Throttle,
            FaultKind::LostReply,
            FaultKind::Delay(delay),
            FaultKind::Error(code),
        ]);
        let times = 1 + self.dice.roll_u32(4);
        self.said.push(format!("{}: {call} {kind:?} × {times}", self.node.now()));
        self.node.ec2.inject(Fault { call: Some(call), times, kind }).expect("few faults");
        if self.dice.one_in(4) {
            let attach = Duration::from_secs(*self.dice.pick(&[0, 2, 40]));
            let metadata = Duration::from_secs(*self.dice.pick(&[0, 1, 20]));
            self.node.ec2.set_delays(Delays { attach, metadata, ..Delays::default() });
        }
    }

    /// Others take, or give back, addresses of our subnets.
    fn crowd(&mut self) {
        let subnets: Vec<_> = self.node.ec2.subnets().map(|subnet| subnet.id.clone()).collect();
        let subnet = self.dice.pick(&subnets).clone();
        if self.dice.one_in(2) {
            self.node.ec2.vacate(&subnet).expect("a known subnet");
            return;
        }
        let free: Vec<_> = {
            let found = self.node.ec2.subnet(&subnet).expect("a known subnet");
            found.cidr.hosts().filter(|address| found.is_free(*address)).collect()
        };
        let left = usize::try_from(self.dice.roll(4)).expect("small");
        let taken = &free[..free.len().saturating_sub(left)];
        self.said.push(format!("{}: {subnet} crowded, {left} left", self.node.now()));
        self.node.ec2.occupy(&subnet, taken).expect("free addresses");
    }

    /// Time passes, and after every event all is well.
    fn live(&mut self, time: Duration) {
        let deadline = self.node.now() + time;
        loop {
            // Asking again may be what the daemon dies of.
            while self.node.lives() != self.life {
                self.life = self.node.lives();
                self.runtime.disconnect(&mut self.node);
            }
            self.runtime.listen(&mut self.node);
            if !self.node.step(deadline) {
                return;
            }
            self.examine();
        }
    }

    fn examine(&mut self) {
        let wrongs = self.watch.wrongs(&self.node, &self.runtime);
        if !wrongs.is_empty() {
            self.fail(&wrongs.join("; "));
        }
    }

    fn fail(&self, what: &str) -> ! {
        let tail = self.said.iter().rev().take(40).rev().cloned().collect::<Vec<_>>().join("\n");
        let status = self.node.state().status(self.node.now());
        let enis: String = status
            .enis
            .iter()
            .map(|eni| format!("{} of {}: {:?}\n", eni.free, eni.addresses, self.node.state().eni(&eni.id)))
            .collect();
        let why = (status.degraded, status.waiting_for);
        let (seed, now, pool) = (self.seed, self.node.now(), status.pool);
        panic!("ENID_SEED={seed}: {what}\nat {now}\n{tail}\n{pool:?}\n{enis}{why:?}\n{:?}", status.subnets);
    }

    /// The compacted journal, written and read, gives back a node that would write the same.
    fn expect_faithful_records(&self) {
        let written = serde_json::to_string(&self.node.journal).expect("records are JSON");
        let read: Vec<Record> = serde_json::from_str(&written).expect("what was written can be read");
        assert_eq!(read, self.node.journal, "ENID_SEED={}", self.seed);
        let (config, identity) = (self.node.state().config().clone(), self.node.state().identity().clone());
        let kind = enid_core::instance_types::lookup(&identity.instance_type).expect("a known type");
        let (again, _) = NodeState::restore(config, identity, kind, &read, self.node.now());
        let mut again = again.records();
        let mut records = self.node.journal.clone();
        let longest = self.node.now() + self.node.state().config().cooldown;
        for record in again.iter_mut().chain(&mut records) {
            match record {
                // Whether an ENI whose link never came is given up is decided when it is looked at.
                Record::Eni { eni, .. } if eni.phase.is_coming() => eni.phase = Phase::Created,
                // A cooldown that was shortened since holds after a restart.
                Record::Released { cool_until, .. } => *cool_until = longest.min(*cool_until),
                Record::Identity { .. }
                | Record::Limits { .. }
                | Record::Creating { .. }
                | Record::NotCreated { .. }
                | Record::Eni { .. }
                | Record::Returning { .. }
                | Record::EniGone { .. }
                | Record::Reserved { .. }
                | Record::Bound { .. } => {}
            }
        }
        let lost: Vec<_> = records.iter().filter(|record| !again.contains(record)).collect();
        let made_up: Vec<_> = again.iter().filter(|record| !records.contains(record)).collect();
        assert!(
            lost.is_empty() && made_up.is_empty(),
            "ENID_SEED={}: {lost:#?} became {made_up:#?}",
            self.seed
        );
    }

    /// The world is well again.
    fn heal(&mut self) {
        self.said.push(format!("{}: healed", self.node.now()));
        self.node.ec2.clear_faults();
        CALLS.iter().for_each(|call| self.node.ec2.permit(*call));
        let subnets: Vec<_> = self.node.ec2.subnets().map(|subnet| subnet.id.clone()).collect();
        subnets.iter().for_each(|subnet| self.node.ec2.vacate(subnet).expect("a known subnet"));
        self.node.ec2.set_delays(Delays::default());
        self.node.kernel.refuse_wirings = 0;
        self.node.kernel.refuse_unwirings = 0;
        self.node.kernel.takes = Duration::ZERO;
        self.live(Duration::from_secs(600));
        self.node.look_at_kernel();
        self.live(Duration::from_secs(120));
    }

    /// Everything that fits is served, and nothing is left over.
    fn expect_recovered(&mut self) {
        let capacity = self.slots * self.max_enis;
        let wanted = capacity.min(MOST_PODS);
        // Kubelet tries again when a pod was told to wait longer than it does.
        for _ in 0..3 {
            for _ in self.runtime.count()..wanted {
                self.runtime.start(&mut self.node, 1000);
                self.live(Duration::from_secs(1));
            }
            self.live(Duration::from_secs(90));
        }
        let running = self.runtime.running().count();
        if running != self.runtime.count() || running < wanted {
            self.fail(&format!("{running} of {wanted} pods run"));
        }
        if !self.node.settle(Duration::from_secs(600)) {
            self.fail("the node does not settle");
        }
        self.live(Duration::from_secs(600));
        let ours = format!("aws-K8S-{}", self.node.instance());
        for eni in self.node.ec2.interfaces().filter(|eni| eni.description == ours) {
            if self.node.state().eni(&eni.id).is_none() {
                self.fail(&format!("{} leaked", eni.id));
            }
        }
        check(&self.node);
        expect_converged(&mut self.node);
    }
}

fn knobs(dice: &mut Dice) -> Knobs {
    if dice.one_in(2) {
        Knobs { warm_eni: dice.roll_u32(3), ..Knobs::default() }
    } else {
        Knobs { warm_eni: 0, warm_ip: dice.roll_u32(6), minimum_ip: dice.roll_u32(8), ..Knobs::default() }
    }
}

fn run(seed: u64) {
    let mut ordeal = Ordeal::begin(seed);
    ordeal.live(Duration::from_secs(5));
    for _ in 0..ACTIONS {
        ordeal.act();
    }
    ordeal.heal();
    ordeal.expect_recovered();
}

#[test]
fn nothing_unsafe_happens_and_the_node_recovers() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("ENID_SEED") {
        println!("seed {seed}");
        return run(seed);
    }
    for seed in 0..number("ENID_SEEDS").unwrap_or(SEEDS) {
        println!("seed {seed}");
        run(seed);
    }
}
