//! The node of one seed: its instance type, its subnets, and which of the modes it is in.

use std::time::Duration;

use enid_core::ids::{InstanceId, SubnetId};
use enid_core::limits::{InstanceType, Mode, NetworkCard};
use enid_core::node::{Cards, Config, CustomNetworking, EniConfig, KernelConfig};
use enid_core::wiring::Families;
use enid_sim::ec2::instance::RunInstances;
use enid_sim::ec2::{self, Ec2, Tags};
use simulation::dice::Dice;
use simulation::{Knobs, START};

/// A region with a node that is about to start.
pub(crate) struct World {
    pub(crate) ec2: Ec2,
    pub(crate) instance: InstanceId,
    pub(crate) known: InstanceType,
    pub(crate) config: Config,
}

impl World {
    /// The world of a seed.
    pub(crate) fn drawn(seed: u64, dice: &mut Dice) -> Self {
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
        let config = Config {
            mode,
            families,
            egress: dice.one_in(3),
            cards,
            custom_networking,
            cooldown: Duration::from_secs(*dice.pick(&[0, 5, 30])),
            max_enis: dice.one_in(4).then_some(2),
            kernel: KernelConfig { ingress: dice.one_in(3).then(Vec::new), ..KernelConfig::default() },
            ..Config::default()
        };
        Self { ec2, instance, known, config }
    }

    /// Pods that fit whatever happens: a slot each.
    pub(crate) fn capacity(&self) -> usize {
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
pub(crate) fn knobs(dice: &mut Dice) -> Knobs {
    if dice.one_in(2) {
        Knobs { warm_eni: dice.roll_u32(3), warm_prefix: dice.roll_u32(3), ..Knobs::default() }
    } else {
        Knobs { warm_ip: dice.roll_u32(6), minimum_ip: dice.roll_u32(8), ..Knobs::default() }
    }
}
