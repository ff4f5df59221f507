//! The world that the calls are made in.

use std::net::Ipv4Addr;

use enid_core::ids::{EniAttachmentId, EniId, InstanceId, SubnetId, VpcId};
use enid_core::time::Timestamp;
use enid_core::wiring::Seat;
use enid_sim::ec2::assignment::{AssignPrivateIpAddresses, UnassignPrivateIpAddresses};
use enid_sim::ec2::instance::RunInstances;
use enid_sim::ec2::interface::{CreateNetworkInterface, NetworkInterface, Secondary};
use enid_sim::ec2::refusal::{CallError, Code};
use enid_sim::ec2::{Config, Delays, Ec2, Tags};

pub(crate) const T0: Timestamp = Timestamp(1_000_000);
pub(crate) const ZONE_A: &str = "eu-central-1a";
pub(crate) const ZONE_B: &str = "eu-central-1b";

/// One VPC, a /24 in zone a, a /28 in zone a, a /24 in zone b, and an m5.large in the first.
pub(crate) struct World {
    pub(crate) ec2: Ec2,
    pub(crate) vpc: VpcId,
    pub(crate) wide: SubnetId,
    pub(crate) narrow: SubnetId,
    pub(crate) elsewhere: SubnetId,
    pub(crate) node: InstanceId,
}

impl World {
    pub(crate) fn new() -> World {
        World::with(Config { delays: Delays::none(), ..Config::default() })
    }

    pub(crate) fn with(config: Config) -> World {
        let mut ec2 = Ec2::new(1, config);
        let vpc = ec2.add_vpc("10.0.0.0/16".parse().unwrap()).unwrap();
        let mut subnet =
            |zone: &str, cidr: &str| ec2.add_subnet(&vpc, zone, cidr.parse().unwrap(), Tags::new()).unwrap();
        let wide = subnet(ZONE_A, "10.0.1.0/24");
        let narrow = subnet(ZONE_A, "10.0.2.0/28");
        let elsewhere = subnet(ZONE_B, "10.0.3.0/24");
        let node = ec2.launch(T0, &RunInstances::one("m5.large", wide.clone())).unwrap();
        World { ec2, vpc, wide, narrow, elsewhere, node }
    }

    pub(crate) fn eni(&mut self) -> EniId {
        self.eni_with(Secondary::None).id
    }

    pub(crate) fn eni_with(&mut self, secondary: Secondary) -> NetworkInterface {
        let request =
            CreateNetworkInterface { secondary, ..CreateNetworkInterface::within(self.wide.clone()) };
        self.ec2.create_network_interface(T0, &request).unwrap()
    }

    pub(crate) fn attach(&mut self, eni: &EniId, device: u32) -> Result<EniAttachmentId, CallError> {
        self.ec2.attach_network_interface(T0, eni, &self.node, Seat { card: 0, device })
    }

    pub(crate) fn assign(&mut self, eni: &EniId, secondary: Secondary) -> Result<Vec<Ipv4Addr>, CallError> {
        let request = AssignPrivateIpAddresses { eni: eni.clone(), secondary, allow_reassignment: false };
        self.ec2.assign_private_ip_addresses(T0, &request).map(|given| given.addresses)
    }

    pub(crate) fn unassign(&mut self, eni: &EniId, addresses: &[Ipv4Addr]) -> Result<(), CallError> {
        let request = UnassignPrivateIpAddresses {
            eni: eni.clone(),
            addresses: addresses.to_vec(),
            prefixes: Vec::new(),
        };
        self.ec2.unassign_private_ip_addresses(T0, &request)
    }

    pub(crate) fn look(&self, eni: &EniId) -> NetworkInterface {
        self.ec2.interfaces().find(|found| found.id == *eni).cloned().unwrap()
    }

    pub(crate) fn free(&self, subnet: &SubnetId) -> u32 {
        self.ec2.subnet(subnet).unwrap().free()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.ec2.check(), Vec::<String>::new());
        }
    }
}

#[track_caller]
pub(crate) fn assert_refused<T: std::fmt::Debug>(answer: Result<T, CallError>, expected: Code) {
    match answer {
        Err(CallError::Refused { code, .. }) => assert_eq!(code, expected),
        Err(CallError::ReplyLost { call }) => panic!("expected {expected}, the reply to {call} was lost"),
        Ok(answer) => panic!("expected {expected}, got {answer:?}"),
    }
}

pub(crate) fn ip(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}
