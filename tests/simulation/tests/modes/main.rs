//! Every way of addressing pods, lived through on one node each: prefixes and what becomes of them in a subnet that
//! is broken up, live changes, custom networking, subnets that are kept out, security groups, IPv6, network cards, and
//! the modes in which somebody else provides.

mod cards;
mod custom_networking;
mod discovery;
mod fragmentation;
mod hands_off;
mod incumbent;
mod ipv6;
mod prefixes;
mod ranges;
mod security_groups;
mod switching;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use enid_core::event::{Answer, Ticket};
use enid_core::ids::{EniId, SecurityGroupId, SubnetId, VpcId};
use enid_core::limits::{InstanceType, Mode};
use enid_core::node::Config;
use enid_core::report::WaitReason;
use enid_sim::ec2::call::Call;
use enid_sim::ec2::instance::RunInstances;
use enid_sim::ec2::interface::{InterfaceChange, NetworkInterface};
use enid_sim::ec2::{self, Ec2, Tags};
use enid_sim::node::SimNode;
use simulation::runtime::Runtime;
use simulation::safety::{Watch, has};
use simulation::{Knobs, START, add_settled};

type Node = SimNode<Knobs>;

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn ready(ready: u32) -> Knobs {
    Knobs { warm_ip: ready, ..Knobs::default() }
}

fn warm_prefixes(warm_prefix: u32) -> Knobs {
    Knobs { warm_prefix, ..Knobs::default() }
}

fn in_prefixes() -> Config {
    Config { mode: Mode::Prefix, ..Config::default() }
}

/// A VPC of 10.0.0.0/16 with a subnet of 10.0.0.0/20 for the primary ENI of one instance.
struct Region {
    ec2: Ec2,
    vpc: VpcId,
    zone: String,
    primary: SubnetId,
    kind: InstanceType,
}

impl Region {
    fn of(kind: &str) -> Self {
        Self::of_type(enid_core::instance_types::lookup(kind).expect("a known instance type"), "10.0.0.0/20")
    }

    fn of_type(kind: InstanceType, primary: &str) -> Self {
        let mut region = ec2::Config::default();
        region.instance_types.insert(kind.name.clone(), kind.clone());
        let mut ec2 = Ec2::new(11, region);
        let zone = ec2.config().zones[0].clone();
        let vpc = ec2.add_vpc("10.0.0.0/16".parse().expect("a range")).expect("a VPC");
        let primary =
            ec2.add_subnet(&vpc, &zone, primary.parse().expect("a range"), Tags::new()).expect("a subnet");
        Self { ec2, vpc, zone, primary, kind }
    }

    fn subnet(&mut self, range: &str, tags: &[(&str, &str)]) -> SubnetId {
        let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let range = range.parse().expect("a range");
        self.ec2.add_subnet(&self.vpc, &self.zone, range, tags).expect("a subnet")
    }

    fn group(&mut self, name: &str) -> SecurityGroupId {
        self.ec2.add_security_group(&self.vpc, name).expect("a group")
    }

    fn with_ipv6(mut self) -> Self {
        self.ec2.add_ipv6_range(&self.vpc, "2a05:d014:9:aa00::/56".parse().expect("a range")).expect("room");
        self.ec2.give_ipv6(&self.primary, "2a05:d014:9:aa00::/64".parse().expect("a range")).expect("room");
        self
    }

    /// A daemon that has just started.
    fn starting(mut self, config: Config, knobs: Knobs) -> Node {
        let request = RunInstances::one(&self.kind.name, self.primary);
        let instance = self.ec2.launch(START, &request).expect("an instance");
        self.ec2.advance(START + secs(60));
        SimNode::start(self.ec2, instance, config, knobs, START + secs(60)).expect("metadata answers")
    }

    /// A daemon that has nothing left to do.
    fn settled(self, config: Config, knobs: Knobs) -> Node {
        let mut node = self.starting(config, knobs);
        settle(&mut node);
        node
    }
}

fn settle(node: &mut Node) {
    assert!(node.settle(secs(900)), "the node settles: {:?}", node.state().status(node.now()));
    assert_eq!(node.kernel.outrages, Vec::<String>::new());
}

/// Adds pods `<name>0`, `<name>1`, … one after the other.
fn fill(node: &mut Node, name: &str, count: usize) -> Vec<IpAddr> {
    (0..count)
        .map(|pod| {
            let why = |node: &Node| node.state().wait_reason(node.now()).to_string();
            add_settled(node, &format!("{name}{pod}"))
                .unwrap_or_else(|| panic!("{name}{pod} waits: {}", why(node)))
        })
        .collect()
}

fn delete(node: &mut Node, name: &str, pods: impl IntoIterator<Item = usize>) {
    for pod in pods {
        node.del(&format!("{name}{pod}"));
    }
}

fn added(node: &Node, ticket: Ticket) -> IpAddr {
    match node.answer(ticket) {
        Some(Answer::Added(holder)) => holder.wiring.key(),
        other => panic!("not added: {other:?}; {}", node.state().wait_reason(node.now())),
    }
}

fn told_to_wait(node: &Node, ticket: Ticket) -> WaitReason {
    match node.answer(ticket) {
        Some(Answer::TryLater(reason)) => reason.clone(),
        other => panic!("not told to wait: {other:?}"),
    }
}

/// Asks for an address that does not come, and gives the reason.
fn reason_to_wait(node: &mut Node, name: &str) -> WaitReason {
    let ticket = node.add(name);
    node.pass(secs(61));
    told_to_wait(node, ticket)
}

/// Every address with its state.
fn states(node: &Node) -> BTreeMap<IpAddr, &'static str> {
    node.state().addresses(node.now()).into_iter().map(|lease| (lease.address, lease.state)).collect()
}

fn state_of(node: &Node, address: IpAddr) -> &'static str {
    states(node).get(&address).copied().unwrap_or("unknown")
}

/// The ENIs of the instance, as EC2 has them.
fn enis(node: &Node) -> Vec<NetworkInterface> {
    node.ec2.interfaces_of(node.instance()).cloned().collect()
}

fn eni(node: &Node, id: &EniId) -> NetworkInterface {
    node.ec2.interfaces().find(|eni| eni.id == *id).cloned().expect("an ENI that is there")
}

/// The ENI that EC2 has an address on.
fn owner(node: &Node, address: IpAddr) -> EniId {
    let owner = enis(node).into_iter().find(|eni| has(eni, address));
    owner.unwrap_or_else(|| panic!("{address} is not here")).id
}

fn primary(node: &Node) -> EniId {
    node.state().identity().primary_eni.clone()
}

/// Single secondary addresses and prefixes that EC2 has on the node's ENIs.
fn held(node: &Node) -> (usize, usize) {
    enis(node).iter().fold((0, 0), |(singles, prefixes), eni| {
        (singles + eni.secondary.len(), prefixes + eni.prefixes.len())
    })
}

fn calls(node: &Node, call: Call) -> u64 {
    node.ec2.calls().get(call.name()).copied().unwrap_or(0)
}

fn set_primary_groups(node: &mut Node, groups: &[SecurityGroupId]) {
    let (primary, now) = (primary(node), node.now());
    let change = InterfaceChange::Groups(groups.to_vec());
    node.ec2.modify_network_interface_attribute(now, &primary, &change).expect("an ENI and groups");
}

fn tag(node: &mut Node, resource: &str, key: &str, value: &str) {
    node.ec2.set_tag(resource, key, value).expect("a resource");
}

/// Time passes, and nothing unsafe happens at any moment.
fn live(node: &mut Node, watch: &mut Watch, time: Duration) {
    let deadline = node.now() + time;
    let runtime = Runtime::default();
    while node.step(deadline) {
        assert_eq!(watch.wrongs(node, &runtime), Vec::new());
    }
    node.pass(deadline.since(node.now()));
}
