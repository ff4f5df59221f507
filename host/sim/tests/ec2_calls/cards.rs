//! Several network cards, and interfaces for the Elastic Fabric Adapter.

use std::net::Ipv4Addr;
use std::time::Duration;

use enid_core::ids::{EniId, InstanceId};
use enid_core::wiring::Seat;
use enid_sim::ec2::assignment::AssignPrivateIpAddresses;
use enid_sim::ec2::describe::Query;
use enid_sim::ec2::filter::Filter;
use enid_sim::ec2::instance::{FurtherInterface, RunInstances};
use enid_sim::ec2::interface::{CreateNetworkInterface, InterfaceType, Secondary};
use enid_sim::ec2::ipv6::{AssignIpv6Addresses, Ipv6Supply};
use enid_sim::ec2::refusal::{CallError, Code};
use enid_sim::ec2::{Config, Delays};

use crate::world::{T0, World, assert_refused, ip};

/// Four cards of fifteen ENIs.
const FOUR_CARDS: &str = "p4d.24xlarge";
/// Thirty-two cards of two ENIs.
const MANY_CARDS: &str = "p5.48xlarge";

fn seat(card: u32, device: u32) -> Seat {
    Seat { card, device }
}

impl World {
    fn launched(&mut self, kind: &str, further: Vec<FurtherInterface>) -> Result<InstanceId, CallError> {
        let request = RunInstances { further, ..RunInstances::one(kind, self.wide.clone()) };
        self.ec2.launch(T0, &request)
    }

    fn further(&self, seat: Seat, interface_type: InterfaceType) -> FurtherInterface {
        FurtherInterface {
            seat,
            interface: CreateNetworkInterface {
                interface_type,
                ..CreateNetworkInterface::within(self.wide.clone())
            },
            delete_on_termination: true,
        }
    }

    fn attach_to(&mut self, node: &InstanceId, seat: Seat) -> Result<EniId, CallError> {
        let eni = self.eni();
        self.ec2.attach_network_interface(T0, &eni, node, seat).map(|_| eni)
    }
}

#[test]
fn a_device_index_is_taken_per_card() {
    let mut world = World::new();
    let node = world.launched(FOUR_CARDS, Vec::new()).unwrap();
    world.attach_to(&node, seat(0, 1)).unwrap();
    world.attach_to(&node, seat(1, 1)).unwrap();
    world.attach_to(&node, seat(3, 0)).unwrap();
    assert_refused(world.attach_to(&node, seat(1, 1)), Code::InvalidParameterValue);
    assert_refused(world.attach_to(&node, seat(4, 1)), Code::InvalidParameterValue);
    assert_refused(world.attach_to(&node, seat(2, 256)), Code::InvalidParameterValue);
    let seats: Vec<Seat> =
        world.ec2.interfaces_of(&node).map(|eni| eni.attachment.as_ref().unwrap().seat).collect();
    assert_eq!(seats, [seat(0, 0), seat(0, 1), seat(1, 1), seat(3, 0)]);
}

#[test]
fn each_card_has_a_limit_of_its_own() {
    let mut world = World::new();
    let node = world.launched(MANY_CARDS, Vec::new()).unwrap();
    world.attach_to(&node, seat(0, 1)).unwrap();
    assert_refused(world.attach_to(&node, seat(0, 2)), Code::AttachmentLimitExceeded);
    world.attach_to(&node, seat(31, 0)).unwrap();
    world.attach_to(&node, seat(31, 1)).unwrap();
    assert_refused(world.attach_to(&node, seat(31, 2)), Code::AttachmentLimitExceeded);
}

#[test]
fn enis_are_found_by_their_card() {
    let mut world = World::new();
    let node = world.launched(FOUR_CARDS, Vec::new()).unwrap();
    let eni = world.attach_to(&node, seat(2, 1)).unwrap();
    let query = Query::matching([Filter::is("attachment.network-card-index", "2")]);
    let found = world.ec2.describe_network_interfaces(T0, &query).unwrap().items;
    assert_eq!(found.iter().map(|it| &it.id).collect::<Vec<_>>(), [&eni]);
}

#[test]
fn what_an_instance_is_launched_with_is_in_its_metadata_at_once_and_dies_with_it() {
    let delays = Delays { metadata: Duration::from_secs(9), ..Delays::none() };
    let mut world = World::with(Config { delays, ..Config::default() });
    let further = vec![
        world.further(seat(0, 1), InterfaceType::EfaOnly),
        world.further(seat(1, 1), InterfaceType::Interface),
        world.further(seat(2, 1), InterfaceType::Efa),
    ];
    let node = world.launched(FOUR_CARDS, further).unwrap();
    let metadata = world.ec2.metadata(T0, &node).unwrap();
    let shown =
        metadata.interfaces.iter().map(|eni| (eni.attachment.as_ref().unwrap().seat, eni.interface_type));
    assert_eq!(
        shown.collect::<Vec<_>>(),
        [
            (seat(0, 0), InterfaceType::Interface),
            (seat(0, 1), InterfaceType::EfaOnly),
            (seat(1, 1), InterfaceType::Interface),
            (seat(2, 1), InterfaceType::Efa),
        ]
    );
    world.ec2.terminate_instances(T0, std::slice::from_ref(&node)).unwrap();
    assert_eq!(world.ec2.interfaces_of(&node).count(), 0);
}

#[test]
fn an_efa_only_interface_has_no_addresses_and_takes_none() {
    let mut world = World::new();
    let free = world.free(&world.wide);
    let efa_only = |world: &World| CreateNetworkInterface {
        interface_type: InterfaceType::EfaOnly,
        ..CreateNetworkInterface::within(world.wide.clone())
    };
    let request = efa_only(&world);
    let eni = world.ec2.create_network_interface(T0, &request).unwrap();
    assert_eq!((eni.primary, eni.addresses().count(), world.free(&world.wide)), (None, 0, free));
    assert_refused(world.assign(&eni.id, Secondary::Addresses(1)), Code::UnsupportedOperation);
    let prefixes = AssignPrivateIpAddresses {
        eni: eni.id.clone(),
        secondary: Secondary::Prefixes(1),
        allow_reassignment: false,
    };
    assert_refused(world.ec2.assign_private_ip_addresses(T0, &prefixes), Code::UnsupportedOperation);
    let ipv6 = AssignIpv6Addresses { eni: eni.id.clone(), supply: Ipv6Supply::Prefixes(1) };
    assert_refused(world.ec2.assign_ipv6_addresses(T0, &ipv6), Code::UnsupportedOperation);
    for asked in [
        CreateNetworkInterface { primary: Some(ip("10.0.1.9")), ..efa_only(&world) },
        CreateNetworkInterface { secondary: Secondary::Addresses(1), ..efa_only(&world) },
        CreateNetworkInterface { secondary: Secondary::Prefixes(1), ..efa_only(&world) },
        CreateNetworkInterface { ipv6: Ipv6Supply::Addresses(1), ..efa_only(&world) },
    ] {
        let refused = world.ec2.create_network_interface(T0, &asked);
        assert_refused(refused, Code::InvalidParameterCombination);
    }
}

#[test]
fn the_nodes_view_shows_fabric_interfaces_and_manages_only_those_with_addresses() {
    let mut world = World::new();
    let further = vec![
        world.further(seat(0, 1), InterfaceType::EfaOnly),
        world.further(seat(1, 1), InterfaceType::Efa),
    ];
    let node = world.launched(FOUR_CARDS, further).unwrap();
    for eni in world.ec2.interfaces_of(&node).map(|eni| eni.id.to_string()).collect::<Vec<_>>() {
        let ours = ("node.k8s.amazonaws.com/instance_id".to_owned(), node.to_string());
        world.ec2.create_tags(T0, &[eni], &[ours].into()).unwrap();
    }
    let mut view = world.ec2.node_view(&node, T0);
    let me = view.identity().unwrap();
    let described = view.enis(&me).unwrap();
    let flags: Vec<_> = described.iter().map(|eni| (eni.managed, eni.created_for_pods)).collect();
    assert_eq!(flags, [(true, true), (false, false), (true, false)]);
    assert_eq!(described[1].primary_address, Ipv4Addr::UNSPECIFIED);
    let of_metadata = view.metadata_enis(&me).unwrap();
    let flags: Vec<_> = of_metadata.iter().map(|eni| (eni.managed, eni.created_for_pods)).collect();
    assert_eq!(flags, [(true, false), (false, false), (true, false)]);
    let at = of_metadata[2].attachment.clone().unwrap();
    assert_eq!((at.id, at.seat, at.settled), (None, seat(1, 1), true));
    assert_eq!(of_metadata[2].security_groups, me.security_groups);
}

#[test]
fn a_launch_that_cannot_seat_all_its_interfaces_launches_nothing() {
    let mut world = World::new();
    let (wide, elsewhere) = (world.wide.clone(), world.elsewhere.clone());
    let before = (world.ec2.interfaces().count(), world.ec2.instances().count(), world.free(&wide));
    let plain = |seat| world.further(seat, InterfaceType::Interface);
    let mut abroad = plain(seat(2, 1));
    abroad.interface.subnet = elsewhere;
    let mut addressed = world.further(seat(1, 1), InterfaceType::EfaOnly);
    addressed.interface.secondary = Secondary::Addresses(1);
    let cases = [
        (vec![plain(seat(1, 1)), plain(seat(1, 1))], Code::InvalidParameterValue),
        (vec![plain(seat(0, 0))], Code::InvalidParameterValue),
        (vec![plain(seat(1, 1)), plain(seat(4, 1))], Code::InvalidParameterValue),
        (vec![plain(seat(1, 1)), abroad], Code::InvalidParameterCombination),
        (vec![addressed], Code::InvalidParameterCombination),
    ];
    for (further, code) in cases {
        assert_refused(world.launched(FOUR_CARDS, further), code);
    }
    let primary = RunInstances {
        interface_type: InterfaceType::EfaOnly,
        ..RunInstances::one(FOUR_CARDS, wide.clone())
    };
    assert_refused(world.ec2.run_instances(T0, &primary), Code::InvalidParameterCombination);
    let after = (world.ec2.interfaces().count(), world.ec2.instances().count(), world.free(&wide));
    assert_eq!(before, after);
}
