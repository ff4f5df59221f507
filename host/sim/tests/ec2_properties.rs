//! Random call sequences against the EC2 model: whatever is asked, the world stays sound.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world should fail here")]

use std::time::Duration;

use enid_core::ids::{EniId, InstanceId, SubnetId};
use enid_core::time::Timestamp;
use enid_core::wiring::Seat;
use enid_sim::ec2::assignment::{AssignPrivateIpAddresses, UnassignPrivateIpAddresses};
use enid_sim::ec2::call::Call;
use enid_sim::ec2::fault::{Fault, FaultKind};
use enid_sim::ec2::instance::RunInstances;
use enid_sim::ec2::interface::{CreateNetworkInterface, InterfaceChange, Secondary};
use enid_sim::ec2::refusal::Code;
use enid_sim::ec2::{Config, Ec2, Tags};
use proptest::prelude::*;

/// One thing to ask; numbers pick among what there is, so that many requests make sense and some do not.
#[derive(Clone, Debug)]
enum Ask {
    Create { subnet: usize, supply: u8, count: u32, token: u8 },
    Attach { eni: usize, instance: usize, device: u32 },
    Detach { eni: usize },
    Delete { eni: usize },
    DeleteOnTermination { eni: usize },
    Assign { eni: usize, supply: u8, count: u32, last_byte: u8, reassign: bool },
    Unassign { eni: usize, from: usize, item: usize },
    Run { subnet: usize, kind: usize },
    Terminate { instance: usize },
    Fragment { subnet: usize },
    Fault { call: usize, kind: u8 },
    Wait { millis: u64 },
}

fn asks() -> impl Strategy<Value = Ask> {
    let n = 0..40usize;
    prop_oneof![
        6 => (0..3usize, 0..3u8, 0..12u32, 0..20u8)
            .prop_map(|(subnet, supply, count, token)| Ask::Create { subnet, supply, count, token }),
        6 => (n.clone(), n.clone(), 0..5u32)
            .prop_map(|(eni, instance, device)| Ask::Attach { eni, instance, device }),
        3 => n.clone().prop_map(|eni| Ask::Detach { eni }),
        3 => n.clone().prop_map(|eni| Ask::Delete { eni }),
        1 => n.clone().prop_map(|eni| Ask::DeleteOnTermination { eni }),
        8 => (n.clone(), 0..4u8, 0..12u32, any::<u8>(), any::<bool>()).prop_map(
            |(eni, supply, count, last_byte, reassign)| Ask::Assign { eni, supply, count, last_byte, reassign }
        ),
        4 => (n.clone(), n.clone(), 0..60usize)
            .prop_map(|(eni, from, item)| Ask::Unassign { eni, from, item }),
        2 => (0..3usize, 0..3usize).prop_map(|(subnet, kind)| Ask::Run { subnet, kind }),
        1 => n.clone().prop_map(|instance| Ask::Terminate { instance }),
        1 => (0..3usize).prop_map(|subnet| Ask::Fragment { subnet }),
        1 => (n, 0..3u8).prop_map(|(call, kind)| Ask::Fault { call, kind }),
        5 => (0..5000u64).prop_map(|millis| Ask::Wait { millis }),
    ]
}

struct Run {
    ec2: Ec2,
    now: Timestamp,
    subnets: Vec<SubnetId>,
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
        Run { ec2, now: Timestamp(5_000), subnets: subnets.to_vec() }
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
                let request = CreateNetworkInterface {
                    secondary: supply_of(*supply, *count, 0, 0),
                    client_token: Some(format!("token-{token}")).filter(|_| *token < 5),
                    ..CreateNetworkInterface::within(self.subnets[*subnet].clone())
                };
                self.ec2.create_network_interface(now, &request).ok()?;
            }
            Ask::Attach { eni, instance, device } => {
                let seat = Seat { card: 0, device: *device };
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
                let subnet = self.ec2.interfaces().find(|found| found.id == eni)?.primary.octets()[2];
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
            Ask::Run { subnet, kind } => {
                let kind = ["m5.large", "t3.small", "t2.micro"][*kind];
                let request = RunInstances::one(kind, self.subnets[*subnet].clone());
                self.ec2.run_instances(now, &request).ok()?;
            }
            Ask::Terminate { instance } => {
                let instance = self.instance(*instance)?;
                self.ec2.terminate_instances(now, &[instance]).ok()?;
            }
            Ask::Fragment { subnet } => {
                self.ec2.fragment(&self.subnets[*subnet].clone()).ok()?;
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
    let subnets: Vec<_> = ec2.subnets().map(|subnet| (subnet.free(), subnet.free_blocks())).collect();
    let (interfaces, instances): (Vec<_>, Vec<_>) = (ec2.interfaces().collect(), ec2.instances().collect());
    format!("{subnets:?} {interfaces:?} {instances:?}")
}
