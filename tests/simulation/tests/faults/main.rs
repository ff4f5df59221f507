//! Random work under random faults: nothing unsafe happens at any moment, and once the world heals
//! everything that fits is served and nothing leaks.
//!
//! `ENID_SEED=<n>` replays one seed, `ENID_SEEDS=<n>` sets how many are run.

mod world;

use std::time::Duration;

use enid_core::eni::Phase;
use enid_core::event::{Nics, Record};
use enid_core::ids::SubnetId;
use enid_core::limits::{InstanceType, Mode};
use enid_core::node::{Cards, Config, CustomNetworking, NodeState};
use enid_core::wiring::Families;
use enid_sim::ec2::Delays;
use enid_sim::ec2::call::Call;
use enid_sim::ec2::fault::{Fault, FaultKind};
use enid_sim::ec2::interface::InterfaceChange;
use enid_sim::ec2::refusal::Code;
use enid_sim::node::SimNode;
use simulation::dice::Dice;
use simulation::runtime::Runtime;
use simulation::safety::Watch;
use simulation::{Knobs, START, check, expect_converged};
use world::{World, knobs};

const SEEDS: u64 = 300;
const ACTIONS: u64 = 80;
/// Kubelet would not run more pods than this on the nodes used here.
const MOST_PODS: usize = 24;

const ROLE: &str = "kubernetes.io/role/cni";

const CALLS: [Call; 10] = [
    Call::AssignIpv6Addresses,
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
    known: InstanceType,
    /// Pods that fit whatever happens.
    capacity: usize,
    custom_networking: CustomNetworking,
    life: u64,
    said: Vec<String>,
}

impl Ordeal {
    fn begin(seed: u64) -> Self {
        let mut dice = Dice::seeded(seed);
        let world = World::drawn(seed, &mut dice);
        let capacity = world.capacity();
        let World { ec2, instance, known, config } = world;
        let knobs = knobs(&mut dice);
        let custom_networking = config.custom_networking.clone();
        let said = vec![format!("{} {knobs:?} {config:?}", known.name)];
        let node =
            SimNode::start(ec2, instance, config, knobs, START + Duration::from_secs(60)).expect("metadata");
        let (runtime, watch) = (Runtime::default(), Watch::default());
        Self { seed, dice, node, runtime, watch, known, capacity, custom_networking, life: 0, said }
    }

    /// One thing goes on, or wrong.
    fn act(&mut self) {
        let now = self.node.now();
        let roll = self.dice.roll(32);
        self.said.push(format!("{now}: {roll}"));
        match roll {
            0..=6 => {
                if self.runtime.count() < MOST_PODS {
                    let pod = self.dice.roll(12);
                    let nics = if self.dice.one_in(4) { Nics::EveryCard } else { Nics::One };
                    self.runtime.start_with(&mut self.node, pod, nics);
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
            23 => self.switch_mode(),
            24 => {
                let subnet = self.any_subnet();
                self.said.push(format!("{now}: {subnet} broken up"));
                self.node.ec2.fragment(&subnet).expect("a known subnet");
            }
            25 => {
                let subnet = self.any_subnet();
                self.said.push(format!("{now}: {subnet} mended"));
                self.node.ec2.vacate(&subnet).expect("a known subnet");
            }
            26 => self.change_groups(),
            27 => self.widen_vpc(),
            28 => {
                let subnet = self.any_subnet();
                let role = *self.dice.pick(&["0", "1"]);
                self.said.push(format!("{now}: {subnet} has role {role}"));
                self.node.ec2.set_tag(subnet.as_str(), ROLE, role).expect("a known subnet");
            }
            29 => self.move_elsewhere(),
            30 => {
                let mut config = self.node.state().config().clone();
                config.cordoned = self.dice.one_in(3);
                self.said.push(format!("{now}: cordoned: {}", config.cordoned));
                self.node.reconfigure(config);
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
                Code::InsufficientCidrBlocks,
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
            | Call::AssignIpv6Addresses
            | Call::AssociateVpcCidrBlock
            | Call::CreateTags
            | Call::DeleteTags
            | Call::DescribeAvailabilityZones
            | Call::DescribeInstanceTypes
            | Call::DescribeInstances
            | Call::DescribeSecurityGroups
            | Call::DescribeTags
            | Call::DescribeVpcs
            | Call::RunInstances
            | Call::TerminateInstances
            | Call::UnassignIpv6Addresses => Code::InternalError,
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

    fn any_subnet(&mut self) -> SubnetId {
        let subnets: Vec<_> = self.node.ec2.subnets().map(|subnet| subnet.id.clone()).collect();
        self.dice.pick(&subnets).clone()
    }

    /// The operator changes to the other kind of supply.
    fn switch_mode(&mut self) {
        let mut config = self.node.state().config().clone();
        config.mode = match config.mode {
            Mode::SecondaryIp => Mode::Prefix,
            Mode::Prefix => Mode::SecondaryIp,
        };
        self.said.push(format!("{}: {:?}", self.node.now(), config.mode));
        self.node.reconfigure(config);
    }

    /// The operator wants pods' ENIs elsewhere, or where they were at first.
    fn move_elsewhere(&mut self) {
        let mut config = self.node.state().config().clone();
        if config.families != Families::Ipv4 {
            return;
        }
        config.custom_networking = match self.dice.roll(3) {
            0 => CustomNetworking::Missing { name: "nobody".to_owned() },
            1 => CustomNetworking::Off,
            _ => self.custom_networking.clone(),
        };
        self.said.push(format!("{}: {:?}", self.node.now(), config.custom_networking));
        self.node.reconfigure(config);
    }

    /// Somebody puts the primary ENI behind other security groups.
    fn change_groups(&mut self) {
        let (vpc, now) = (self.node.state().identity().vpc.clone(), self.node.now());
        let primary = self.node.state().identity().primary_eni.clone();
        let group = self.node.ec2.add_security_group(&vpc, &format!("group {now}")).expect("a group");
        self.said.push(format!("{now}: primary behind {group}"));
        // May meet a fault that was meant for the node, which is as good.
        let change = InterfaceChange::Groups(vec![group]);
        let _ = self.node.ec2.modify_network_interface_attribute(now, &primary, &change);
    }

    /// The VPC gets a further range, while it may have one.
    fn widen_vpc(&mut self) {
        let vpc = self.node.state().identity().vpc.clone();
        let range = format!("100.{}.0.0/16", 64 + self.dice.roll(8)).parse().expect("a range");
        self.said.push(format!("{}: the VPC has {range}", self.node.now()));
        let _ = self.node.ec2.add_vpc_cidr(&vpc, range);
    }

    /// Others take, or give back, addresses of our subnets.
    fn crowd(&mut self) {
        let subnet = self.any_subnet();
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
        let (again, _) = NodeState::restore(config, identity, self.known.clone(), &read, self.node.now());
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
        for subnet in &subnets {
            self.node.ec2.vacate(subnet).expect("a known subnet");
            self.node.ec2.set_tag(subnet.as_str(), ROLE, "1").expect("a known subnet");
        }
        let config = self.node.state().config().clone();
        let custom_networking = self.custom_networking.clone();
        self.node.reconfigure(Config { cordoned: false, custom_networking, ..config });
        self.node.ec2.set_delays(Delays::default());
        self.node.kernel.refuse_wirings = 0;
        self.node.kernel.refuse_unwirings = 0;
        self.node.kernel.takes = Duration::ZERO;
        // A subnet of a handful of blocks is soon broken up by the node's own pods, and never mended.
        let small = self.node.ec2.subnets().any(|subnet| subnet.total() < 100);
        if small && self.node.state().config().mode == Mode::Prefix {
            self.switch_mode();
        }
        // Pods on ENIs that are not where the operator wants them now keep others from being there.
        if self.custom_networking != CustomNetworking::Off {
            for which in 0..u64::try_from(self.runtime.count()).expect("few") {
                self.runtime.end(&mut self.node, which);
            }
        }
        self.live(Duration::from_secs(600));
        self.node.look_at_kernel();
        self.live(Duration::from_secs(120));
    }

    /// Everything that fits is served, and nothing is left over.
    fn expect_recovered(&mut self) {
        let wanted = self.capacity.min(MOST_PODS);
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
        // Until no subnet is thought to be broken up any more, and what made do meanwhile has gone back.
        self.live(Duration::from_secs(3600));
        let ours = format!("aws-K8S-{}", self.node.instance());
        for eni in self.node.ec2.interfaces().filter(|eni| eni.description == ours) {
            if self.node.state().eni(&eni.id).is_none() {
                self.fail(&format!("{} leaked", eni.id));
            }
        }
        self.expect_followed();
        check(&self.node);
        expect_converged(&mut self.node);
    }

    /// What changed around the node has reached its ENIs and its kernel.
    fn expect_followed(&self) {
        let state = self.node.state();
        let primary = self.node.ec2.interfaces().find(|eni| eni.id == state.identity().primary_eni);
        let groups = &primary.expect("an instance has one").groups;
        for eni in self.node.ec2.interfaces_of(self.node.instance()) {
            if eni.groups != *groups {
                self.fail(&format!("{} is behind {:?}, the primary behind {groups:?}", eni.id, eni.groups));
            }
        }
        let told = self.node.kernel.node.as_ref().map(|node| &node.vpc_cidrs);
        let vpc = self.node.ec2.vpcs().next().map(|vpc| &vpc.cidrs);
        if told != vpc {
            self.fail(&format!("the kernel knows {told:?}, the VPC has {vpc:?}"));
        }
        let config = state.config();
        let families = config.families;
        for pod in self.node.kernel.pods.values() {
            let second = pod.first.second.map(|second| second.node_local);
            let expected = match families {
                Families::DualStack => Some(false),
                Families::Ipv4 | Families::Ipv6 => config.egress.then_some(true),
            };
            if second != expected {
                self.fail(&format!("{:?} in a node of {families:?}", pod.first));
            }
            if pod.key().is_ipv4() == (families == Families::Ipv6) {
                self.fail(&format!("{} in a node of {families:?}", pod.key()));
            }
            let further = pod.further.len();
            if further > 0 && (config.cards == Cards::Default || further != 2) {
                self.fail(&format!("{further} further interfaces"));
            }
        }
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
