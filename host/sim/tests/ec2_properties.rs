//! Random call sequences against the EC2 model: whatever is asked, the world stays sound.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world should fail here")]

use std::time::Duration;

use enid_core::ids::{EniId, InstanceId, SecurityGroupId, SubnetId, VpcId};
use enid_core::time::Timestamp;
use enid_core::wiring::Seat;
use enid_sim::ec2::assignment::{AssignPrivateIpAddresses, UnassignPrivateIpAddresses};
use enid_sim::ec2::call::Call;
use enid_sim::ec2::fault::{Fault, FaultKind};
use enid_sim::ec2::instance::{FurtherInterface, RunInstances};
use enid_sim::ec2::interface::{CreateNetworkInterface, InterfaceChange, InterfaceType, Secondary};
use enid_sim::ec2::ipv6::{AssignIpv6Addresses, Ipv6Supply, UnassignIpv6Addresses};
use enid_sim::ec2::refusal::Code;
use enid_sim::ec2::{Config, Ec2, Tags};
use proptest::prelude::*;

/// One thing to ask; numbers pick among what there is, so that many requests make sense and some do not.
#[derive(Clone, Debug)]
enum Ask {
    Create { subnet: usize, supply: u8, count: u32, token: u8 },
    Attach { eni: usize, instance: usize, card: u32, device: u32 },
    Detach { eni: usize },
    Delete { eni: usize },
    DeleteOnTermination { eni: usize },
    Assign { eni: usize, supply: u8, count: u32, last_byte: u8, reassign: bool },
    Unassign { eni: usize, from: usize, item: usize },
    AssignIpv6 { eni: usize, supply: u8, count: u32, last_byte: u8 },
    UnassignIpv6 { eni: usize, from: usize, item: usize },
    Groups { eni: usize, groups: usize },
    Run { subnet: usize, kind: usize, further: u8 },
    Terminate { instance: usize },
    Fragment { subnet: usize },
    Vacate { subnet: usize },
    GiveIpv6 { subnet: usize, index: u8 },
    Associate { index: u8 },
    Fault { call: usize, kind: u8 },
    Wait { millis: u64 },
}

fn asks() -> impl Strategy<Value = Ask> {
    let n = 0..40usize;
    prop_oneof![
        6 => (0..3usize, 0..7u8, 0..12u32, 0..20u8)
            .prop_map(|(subnet, supply, count, token)| Ask::Create { subnet, supply, count, token }),
        6 => (n.clone(), n.clone(), 0..3u32, 0..5u32)
            .prop_map(|(eni, instance, card, device)| Ask::Attach { eni, instance, card, device }),
        3 => n.clone().prop_map(|eni| Ask::Detach { eni }),
        3 => n.clone().prop_map(|eni| Ask::Delete { eni }),
        1 => n.clone().prop_map(|eni| Ask::DeleteOnTermination { eni }),
        8 => (n.clone(), 0..4u8, 0..12u32, any::<u8>(), any::<bool>()).prop_map(
            |(eni, supply, count, last_byte, reassign)| Ask::Assign { eni, supply, count, last_byte, reassign }
        ),
        4 => (n.clone(), n.clone(), 0..60usize)
            .prop_map(|(eni, from, item)| Ask::Unassign { eni, from, item }),
        6 => (n.clone(), 0..4u8, 0..12u32, any::<u8>())
            .prop_map(|(eni, supply, count, last_byte)| Ask::AssignIpv6 { eni, supply, count, last_byte }),
        3 => (n.clone(), n.clone(), 0..12usize)
            .prop_map(|(eni, from, item)| Ask::UnassignIpv6 { eni, from, item }),
        1 => (n.clone(), 0..4usize).prop_map(|(eni, groups)| Ask::Groups { eni, groups }),
        2 => (0..3usize, 0..5usize, 0..4u8)
            .prop_map(|(subnet, kind, further)| Ask::Run { subnet, kind, further }),
        1 => n.clone().prop_map(|instance| Ask::Terminate { instance }),
        1 => (0..3usize).prop_map(|subnet| Ask::Fragment { subnet }),
        1 => (0..3usize).prop_map(|subnet| Ask::Vacate { subnet }),
        1 => (0..3usize, 0..4u8).prop_map(|(subnet, index)| Ask::GiveIpv6 { subnet, index }),
        1 => (0..8u8).prop_map(|index| Ask::Associate { index }),
        1 => (n, 0..3u8).prop_map(|(call, kind)| Ask::Fault { call, kind }),
        5 => (0..5000u64).prop_map(|millis| Ask::Wait { millis }),
    ]
}

struct Run {
    ec2: Ec2,
    now: Timestamp,
    vpc: VpcId,
    subnets: Vec<SubnetId>,
    groups: Vec<SecurityGroupId>,
}

impl Run {
    fn new(seed: u64) -> Run {
        let mut ec2 = Ec2::new(seed, Config::default());
        let vpc = ec2.add_vpc("10.0.0.0/16".parse().unwrap()).unwrap();
        let subnets =
            [("a", "10.0.0.0/24"), ("a", "10.0.1.0/27"), ("b", "10.0.2.0/25")].map(|(zone, cidr)| {
                let zone = format!("eu-central-1{zone}");
                ec2.add_subnet(&vpc, &zone, cidr.parse().unwrap(), Tags::new()).unwrap()
            });
        ec2.add_ipv6_range(&vpc, "2001:db8:0:100::/56".parse().unwrap()).unwrap();
        let groups = ["one", "two"].map(|name| ec2.add_security_group(&vpc, name).unwrap());
        Run { ec2, now: Timestamp(5_000), vpc, subnets: subnets.to_vec(), groups: groups.to_vec() }
    }

    fn eni(&self, pick: usize) -> Option<EniId> {
        let count = self.ec2.interfaces().count().max(1);
        self.ec2.interfaces().nth(pick % count).map(|eni| eni.id.clone())
    }

    fn instance(&self, pick: usize) -> Option<InstanceId> {
        let count = self.ec2.instances().count().max(1);
        self.ec2.instances().nth(pick % count).map(|instance| instance.id.clone())
    }

    /// Asks; refusals are answers like any other.
    fn ask(&mut self, ask: &Ask) -> Option<()> {
        let now = self.now;
        match ask {
            Ask::Create { subnet, supply, count, token } => {
                let ipv6 = match supply {
                    0 => Ipv6Supply::Usual,
                    other => ipv6_of(other % 3, *count, 0),
                };
                let interface_type = match supply {
                    5 => InterfaceType::Efa,
                    6 => InterfaceType::EfaOnly,
                    _ => InterfaceType::Interface,
                };
                let request = CreateNetworkInterface {
                    secondary: supply_of(supply % 3, *count, 0, 0),
                    ipv6,
                    interface_type,
                    client_token: Some(format!("token-{token}")).filter(|_| *token < 5),
                    ..CreateNetworkInterface::within(self.subnets[*subnet].clone())
                };
                self.ec2.create_network_interface(now, &request).ok()?;
            }
            Ask::Attach { eni, instance, card, device } => {
                let seat = Seat { card: *card, device: *device };
                let (eni, instance) = (self.eni(*eni)?, self.instance(*instance)?);
                self.ec2.attach_network_interface(now, &eni, &instance, seat).ok()?;
            }
            Ask::Detach { eni } => {
                let eni = self.eni(*eni)?;
                let found = self.ec2.interfaces().find(|found| found.id == eni)?;
                let attachment = found.attachment.as_ref()?.id.clone();
                self.ec2.detach_network_interface(now, &attachment).ok()?;
            }
            Ask::Delete { eni } => {
                let eni = self.eni(*eni)?;
                self.ec2.delete_network_interface(now, &eni).ok()?;
            }
            Ask::DeleteOnTermination { eni } => {
                let eni = self.eni(*eni)?;
                let found = self.ec2.interfaces().find(|found| found.id == eni)?;
                let attachment = found.attachment.as_ref()?.id.clone();
                let change = InterfaceChange::DeleteOnTermination { attachment, delete: true };
                self.ec2.modify_network_interface_attribute(now, &eni, &change).ok()?;
            }
            Ask::Assign { eni, supply, count, last_byte, reassign } => {
                let eni = self.eni(*eni)?;
                let subnet = self.ec2.interfaces().find(|found| found.id == eni)?.primary?.octets()[2];
                let request = AssignPrivateIpAddresses {
                    eni,
                    secondary: supply_of(*supply, *count, subnet, *last_byte),
                    allow_reassignment: *reassign,
                };
                self.ec2.assign_private_ip_addresses(now, &request).ok()?;
            }
            Ask::Unassign { eni, from, item } => {
                let (eni, from) = (self.eni(*eni)?, self.eni(*from)?);
                let owner = self.ec2.interfaces().find(|found| found.id == from)?;
                let mut request =
                    UnassignPrivateIpAddresses { eni, addresses: Vec::new(), prefixes: Vec::new() };
                request.addresses.extend(owner.addresses().nth(*item));
                request.prefixes.extend(owner.prefixes.get(*item));
                self.ec2.unassign_private_ip_addresses(now, &request).ok()?;
            }
            Ask::AssignIpv6 { eni, supply, count, last_byte } => {
                let request = AssignIpv6Addresses {
                    eni: self.eni(*eni)?,
                    supply: ipv6_of(*supply, *count, *last_byte),
                };
                self.ec2.assign_ipv6_addresses(now, &request).ok()?;
            }
            Ask::UnassignIpv6 { eni, from, item } => {
                let (eni, from) = (self.eni(*eni)?, self.eni(*from)?);
                let owner = self.ec2.interfaces().find(|found| found.id == from)?;
                let mut request = UnassignIpv6Addresses { eni, addresses: Vec::new(), prefixes: Vec::new() };
                request.addresses.extend(owner.ipv6_addresses.get(*item));
                request.prefixes.extend(owner.ipv6_prefixes.get(*item));
                self.ec2.unassign_ipv6_addresses(now, &request).ok()?;
            }
            Ask::Groups { eni, groups } => {
                let eni = self.eni(*eni)?;
                let groups = self.groups.iter().cycle().take(*groups).cloned().collect();
                let change = InterfaceChange::Groups(groups);
                self.ec2.modify_network_interface_attribute(now, &eni, &change).ok()?;
            }
            Ask::Run { subnet, kind, further } => {
                let kind = ["m5.large", "t3.small", "t2.micro", "c6in.32xlarge", "m3.medium"][*kind];
                let subnet = &self.subnets[*subnet];
                let further = (1..=u32::from(*further)).map(|index| FurtherInterface {
                    seat: Seat { card: index / 2, device: 1 },
                    interface: CreateNetworkInterface {
                        interface_type: [InterfaceType::EfaOnly, InterfaceType::Interface]
                            [usize::from(index % 2 == 0)],
                        ..CreateNetworkInterface::within(subnet.clone())
                    },
                    delete_on_termination: index == 2,
                });
                let request =
                    RunInstances { further: further.collect(), ..RunInstances::one(kind, subnet.clone()) };
                self.ec2.run_instances(now, &request).ok()?;
            }
            Ask::Terminate { instance } => {
                let instance = self.instance(*instance)?;
                self.ec2.terminate_instances(now, &[instance]).ok()?;
            }
            Ask::Fragment { subnet } => {
                self.ec2.fragment(&self.subnets[*subnet].clone()).ok()?;
            }
            Ask::Vacate { subnet } => self.ec2.vacate(&self.subnets[*subnet].clone()).ok()?,
            Ask::GiveIpv6 { subnet, index } => {
                let range = format!("2001:db8:0:10{index}::/64").parse().ok()?;
                self.ec2.give_ipv6(&self.subnets[*subnet].clone(), range).ok()?;
            }
            Ask::Associate { index } => {
                let range = format!("100.{}.0.0/16", 64 + index).parse().ok()?;
                self.ec2.associate_vpc_cidr_block(now, &self.vpc, range).ok()?;
            }
            Ask::Fault { call, kind } => {
                let call = Call::ALL.get(call % Call::ALL.len()).copied();
                let kind = match kind {
                    0 => FaultKind::LostReply,
                    1 => FaultKind::Throttle,
                    _ => FaultKind::Error(Code::InternalError),
                };
                self.ec2.inject(Fault { call, times: 1, kind }).ok()?;
            }
            Ask::Wait { millis } => self.now = now + Duration::from_millis(*millis),
        }
        Some(())
    }
}

fn supply_of(kind: u8, count: u32, subnet: u8, last_byte: u8) -> Secondary {
    match kind {
        0 => Secondary::None,
        1 => Secondary::Addresses(count),
        2 => Secondary::Prefixes(count % 3),
        _ => Secondary::ExactAddresses(vec![std::net::Ipv4Addr::new(10, 0, subnet, last_byte)]),
    }
}

/// Named ones lie in the range that [`Ask::GiveIpv6`] gives first.
fn ipv6_of(kind: u8, count: u32, last_byte: u8) -> Ipv6Supply {
    match kind {
        0 => Ipv6Supply::Addresses(count % 4),
        1 => Ipv6Supply::Prefixes(count % 4),
        2 => Ipv6Supply::ExactAddresses(vec![
            format!("2001:db8:0:100:{last_byte:x}::{count:x}").parse().unwrap(),
        ]),
        _ => Ipv6Supply::ExactPrefixes(vec![format!("2001:db8:0:100:{last_byte:x}::/80").parse().unwrap()]),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_calls_leaves_the_world_sound(
        seed in any::<u64>(),
        asks in prop::collection::vec(asks(), 1..150),
    ) {
        let mut run = Run::new(seed);
        for ask in &asks {
            let _ = run.ask(ask);
            let broken = run.ec2.check();
            prop_assert!(broken.is_empty(), "after {:?}: {:?}", ask, broken);
        }
    }

    #[test]
    fn what_is_refused_changes_nothing(seed in any::<u64>(), asks in prop::collection::vec(asks(), 1..80)) {
        let mut run = Run::new(seed);
        for ask in &asks {
            run.ec2.advance(run.now);
            run.ec2.clear_faults();
            let before = picture(&run.ec2);
            if run.ask(ask).is_none() {
                prop_assert_eq!(before, picture(&run.ec2), "after {:?}", ask);
            }
        }
    }

    #[test]
    fn the_same_seed_and_calls_give_the_same_world(
        seed in any::<u64>(),
        asks in prop::collection::vec(asks(), 1..80),
    ) {
        let (mut one, mut two) = (Run::new(seed), Run::new(seed));
        for ask in &asks {
            prop_assert_eq!(one.ask(ask), two.ask(ask));
        }
        prop_assert_eq!(picture(&one.ec2), picture(&two.ec2));
    }
}

/// Everything that a caller can see.
fn picture(ec2: &Ec2) -> String {
    let subnets: Vec<_> =
        ec2.subnets().map(|subnet| (subnet.free(), subnet.free_blocks(), subnet.ipv6_cidr)).collect();
    let ranges: Vec<_> = ec2.vpcs().map(|vpc| (&vpc.cidrs, &vpc.ipv6_cidrs)).collect();
    let (interfaces, instances): (Vec<_>, Vec<_>) = (ec2.interfaces().collect(), ec2.instances().collect());
    format!("{ranges:?} {subnets:?} {interfaces:?} {instances:?}")
}
