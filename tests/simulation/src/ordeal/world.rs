//! The node of one seed: its instance type, its subnets, and which of the modes it is in.

use std::time::Duration;

use crate::dice::Dice;
use crate::{Knobs, START};
use enid_core::budget::BudgetConfig;
use enid_core::ids::{EniId, InstanceId, SubnetId};
use enid_core::limits::{InstanceType, Mode, NetworkCard};
use enid_core::node::{Cards, Config, CustomNetworking, EniConfig, KernelConfig};
use enid_core::wiring::Families;
use enid_sim::ec2::instance::RunInstances;
use enid_sim::ec2::interface::CreateNetworkInterface;
use enid_sim::ec2::{self, Ec2, Tags};

/// A region with a node that is about to start.
pub(super) struct World {
    pub(super) ec2: Ec2,
    pub(super) instance: InstanceId,
    pub(super) known: InstanceType,
    pub(super) config: Config,
    /// What is somebody else's.
    pub(super) others: Others,
}

/// ENIs that are attached to nothing and are not this node's.
pub(super) struct Others {
    /// Another node.
    pub(super) neighbour: InstanceId,
    /// What it is about to attach.
    pub(super) theirs: EniId,
    /// Whose it is nothing says.
    pub(super) nobodys: EniId,
}

impl World {
    /// The world of a seed.
    pub(super) fn drawn(seed: u64, dice: &mut Dice) -> Self {
        let cards = if dice.one_in(4) { Cards::Every } else { Cards::Default };
        let known = match cards {
            Cards::Every => a_type_of_three_cards(),
            Cards::Default => {
                let kind = *dice.pick(&["t3.small", "m5.large", "t3.medium"]);
                enid_core::instance_types::lookup(kind).expect("a known instance type")
            }
        };
        let mode = if dice.one_in(2) { Mode::Prefix } else { Mode::SecondaryIp };
        let families = *dice.pick(&[
            Families::Ipv4,
            Families::Ipv4,
            Families::Ipv4,
            Families::Ipv4,
            Families::Ipv6,
            Families::DualStack,
        ]);
        let mut region = ec2::Config::default();
        region.instance_types.insert(known.name.clone(), known.clone());
        let mut ec2 = Ec2::new(seed, region);
        let subnets = add_subnets(&mut ec2, dice, mode, families);
        let primary = subnets.first().expect("at least one").clone();
        let instance = ec2.launch(START, &RunInstances::one(&known.name, primary)).expect("an instance");
        ec2.advance(START + Duration::from_secs(60));
        let custom_networking = match subnets.get(1) {
            Some(second) if families == Families::Ipv4 && dice.one_in(3) => {
                CustomNetworking::Use(EniConfig {
                    name: "drawn".to_owned(),
                    subnets: if dice.one_in(2) { subnets.clone() } else { vec![second.clone()] },
                    security_groups: Vec::new(),
                })
            }
            Some(_) | None => CustomNetworking::Off,
        };
        let cluster = dice.one_in(2).then(|| "one".to_owned());
        let others = add_others(&mut ec2, &subnets, &known, cluster.as_deref());
        let nodes = *dice.pick(&[1, 1, 1, 1, 1, 20, 20, 60]);
        let config = Config {
            mode,
            families,
            egress: dice.one_in(3),
            cards,
            custom_networking,
            cooldown: Duration::from_secs(*dice.pick(&[0, 5, 30])),
            max_enis: dice.one_in(4).then_some(2),
            kernel: KernelConfig { ingress: dice.one_in(3).then(Vec::new), ..KernelConfig::default() },
            cluster,
            budget: BudgetConfig { nodes, ..BudgetConfig::default() },
            ..Config::default()
        };
        Self { ec2, instance, known, config, others }
    }

    /// Pods that fit whatever happens: a slot each.
    pub(super) fn capacity(&self) -> usize {
        if self.config.families == Families::Ipv6 {
            return usize::MAX;
        }
        let most = self.config.max_enis.unwrap_or(u32::MAX).min(self.known.max_enis());
        let primary = u32::from(self.config.custom_networking != CustomNetworking::Off);
        usize::try_from((most - primary) * self.known.slots_per_eni()).expect("a small number")
    }
}

/// Subnets with room to spare for prefixes, or, where single addresses are asked for, perhaps hardly enough for those.
fn add_subnets(ec2: &mut Ec2, dice: &mut Dice, mode: Mode, families: Families) -> Vec<SubnetId> {
    let zone = ec2.config().zones[0].clone();
    let vpc = ec2.add_vpc("10.0.0.0/16".parse().expect("a range")).expect("a VPC");
    let first = match mode {
        Mode::Prefix => "10.0.0.0/22",
        Mode::SecondaryIp if dice.one_in(3) => "10.0.0.0/26",
        Mode::SecondaryIp => "10.0.0.0/24",
    };
    let primary =
        ec2.add_subnet(&vpc, &zone, first.parse().expect("a range"), Tags::new()).expect("a subnet");
    if families.ipv6() {
        ec2.add_ipv6_range(&vpc, "2a05:d014:9:aa00::/56".parse().expect("a range")).expect("a range");
        ec2.give_ipv6(&primary, "2a05:d014:9:aa00::/64".parse().expect("a range")).expect("a range");
    }
    let mut subnets = vec![primary];
    if !dice.one_in(3) {
        let open = Tags::from([("kubernetes.io/role/cni".to_owned(), "1".to_owned())]);
        let range = "10.0.4.0/22".parse().expect("a range");
        subnets.push(ec2.add_subnet(&vpc, &zone, range, open).expect("a subnet"));
    }
    subnets
}

/// ENIs that are attached to nothing and are not this node's.
fn add_others(ec2: &mut Ec2, subnets: &[SubnetId], known: &InstanceType, cluster: Option<&str>) -> Others {
    let now = START + Duration::from_secs(60);
    let subnet = subnets.first().expect("at least one").clone();
    let neighbour = ec2.launch(now, &RunInstances::one(&known.name, subnet.clone())).expect("an instance");
    let tag = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let mut tags = Tags::from([
        tag("node.k8s.amazonaws.com/instance_id", neighbour.as_str()),
        tag("node.k8s.amazonaws.com/createdAt", &now.rfc3339()),
    ]);
    tags.extend(cluster.map(|cluster| tag("cluster.k8s.amazonaws.com/name", cluster)));
    let theirs = CreateNetworkInterface {
        tags,
        description: format!("aws-K8S-{neighbour}"),
        ..CreateNetworkInterface::within(subnet.clone())
    };
    let nobodys = CreateNetworkInterface::within(subnet);
    let mut create = |new| ec2.create_network_interface(now, new).expect("an ENI").id;
    Others { nobodys: create(&nobodys), theirs: create(&theirs), neighbour }
}

/// Three network cards of two ENIs of three pod addresses.
fn a_type_of_three_cards() -> InstanceType {
    let small = enid_core::instance_types::lookup("t3.small").expect("a known instance type");
    InstanceType {
        name: "three.cards".to_owned(),
        cards: (0..3).map(|index| NetworkCard { index, max_enis: 2 }).collect(),
        ..small
    }
}

/// Targets for a pool.
pub(super) fn knobs(dice: &mut Dice) -> Knobs {
    if dice.one_in(2) {
        Knobs { warm_eni: dice.roll_u32(3), warm_prefix: dice.roll_u32(3), ..Knobs::default() }
    } else {
        Knobs { warm_ip: dice.roll_u32(6), minimum_ip: dice.roll_u32(8), ..Knobs::default() }
    }
}
