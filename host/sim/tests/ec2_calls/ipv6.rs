//! IPv6: ranges, addresses and /80 prefixes.

use std::net::Ipv6Addr;

use enid_core::cloud::{CloudErrorKind, Supply};
use enid_core::ids::EniId;
use enid_core::wiring::Seat;
use enid_sim::ec2::call::Call;
use enid_sim::ec2::describe::Query;
use enid_sim::ec2::fault::{Fault, FaultKind};
use enid_sim::ec2::filter::Filter;
use enid_sim::ec2::instance::RunInstances;
use enid_sim::ec2::interface::{CreateNetworkInterface, NetworkInterface};
use enid_sim::ec2::ipv6::{AssignIpv6Addresses, Ipv6Given, Ipv6Supply, UnassignIpv6Addresses};
use enid_sim::ec2::refusal::{CallError, Code};
use enid_sim::ec2::throttle::Throttling;
use ipnet::Ipv6Net;

use crate::world::{T0, World, assert_refused};

const RANGE: &str = "2001:db8:0:100::/56";
const WIDE: &str = "2001:db8:0:101::/64";

/// The world with IPv6 in its wide subnet, and a node that was launched there afterwards.
fn dual_stack() -> World {
    let mut world = World::new();
    world.ec2.add_ipv6_range(&world.vpc, net(RANGE)).unwrap();
    world.ec2.give_ipv6(&world.wide, net(WIDE)).unwrap();
    world.node = world.ec2.launch(T0, &RunInstances::one("m5.large", world.wide.clone())).unwrap();
    world
}

impl World {
    fn primary(&self) -> NetworkInterface {
        self.ec2.interfaces_of(&self.node).next().cloned().unwrap()
    }

    fn create_v6(&mut self, ipv6: Ipv6Supply) -> Result<NetworkInterface, CallError> {
        let request = CreateNetworkInterface { ipv6, ..CreateNetworkInterface::within(self.wide.clone()) };
        self.ec2.create_network_interface(T0, &request)
    }

    fn assign_v6(&mut self, eni: &EniId, supply: Ipv6Supply) -> Result<Ipv6Given, CallError> {
        self.ec2.assign_ipv6_addresses(T0, &AssignIpv6Addresses { eni: eni.clone(), supply })
    }

    fn unassign_v6(&mut self, eni: &EniId, held: Ipv6Given) -> Result<(), CallError> {
        let Ipv6Given { addresses, prefixes } = held;
        self.ec2.unassign_ipv6_addresses(T0, &UnassignIpv6Addresses { eni: eni.clone(), addresses, prefixes })
    }
}

fn net(text: &str) -> Ipv6Net {
    text.parse().unwrap()
}

fn address(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

#[test]
fn what_is_born_in_a_subnet_with_ipv6_has_one_address_unless_it_asks_otherwise() {
    let mut world = dual_stack();
    let primary = world.primary();
    assert!(net(WIDE).contains(&primary.ipv6_addresses[0]));
    for (asked, addresses, prefixes) in [
        (Ipv6Supply::Usual, 1, 0),
        (Ipv6Supply::Addresses(0), 0, 0),
        (Ipv6Supply::Addresses(3), 3, 0),
        (Ipv6Supply::Prefixes(2), 0, 2),
    ] {
        let eni = world.create_v6(asked.clone()).unwrap();
        assert_eq!((eni.ipv6_addresses.len(), eni.ipv6_prefixes.len()), (addresses, prefixes), "{asked:?}");
    }
    let elsewhere = CreateNetworkInterface::within(world.elsewhere.clone());
    let eni = world.ec2.create_network_interface(T0, &elsewhere).unwrap();
    assert_eq!(eni.ipv6_slots_used(), 0);
}

#[test]
fn the_node_learns_its_ipv6_from_metadata_and_the_subnets_from_ec2() {
    let mut world = dual_stack();
    let (primary, vpc) = (world.primary(), world.vpc.clone());
    let node = world.node.clone();
    let mut view = world.ec2.node_view(&node, T0);
    let me = view.identity().unwrap();
    assert_eq!(
        (me.primary_ipv6, me.vpc_ipv6_cidrs.as_slice()),
        (Some(primary.ipv6_addresses[0]), &[net(RANGE)][..])
    );
    assert_eq!(view.vpc_ranges(&me).unwrap().ipv6, [net(RANGE)]);
    let ranges: Vec<_> = view.subnets(&vpc, &me.zone, None).unwrap().iter().map(|it| it.ipv6_cidr).collect();
    assert_eq!(ranges.iter().flatten().collect::<Vec<_>>(), [&net(WIDE)]);
    let given = view.assign(&primary.id, Supply::Ipv6Prefixes(1)).unwrap();
    assert_eq!(view.enis(&me).unwrap()[0].ipv6_prefixes, given.ipv6_prefixes);
    assert_eq!(view.metadata_enis(&me).unwrap()[0].ipv6_prefixes, given.ipv6_prefixes);
    assert_eq!(view.unassign(&primary.id, &given).unwrap_err().kind, CloudErrorKind::Rejected);
    let metadata = world.ec2.metadata(T0, &node).unwrap();
    assert_eq!(metadata.subnet_ipv6_cidrs, [Some(net(WIDE))]);
}

#[test]
fn a_prefix_is_an_aligned_80_whose_addresses_are_the_enis() {
    let mut world = dual_stack();
    let eni = world.primary().id;
    let given = world.assign_v6(&eni, Ipv6Supply::Prefixes(2)).unwrap();
    assert_eq!((given.prefixes.len(), given.addresses.len()), (2, 0));
    assert!(
        given.prefixes.iter().all(|it| it.prefix_len() == 80 && it.trunc() == *it && net(WIDE).contains(it))
    );
    assert!(world.look(&eni).owns(given.prefixes[0].hosts().nth(9).unwrap()));
    let more = world.assign_v6(&eni, Ipv6Supply::Addresses(2)).unwrap();
    assert!(more.addresses.iter().all(|it| world.look(&eni).owns(*it)));
    world.unassign_v6(&eni, Ipv6Given { prefixes: given.prefixes.clone(), ..more.clone() }).unwrap();
    assert!(!world.look(&eni).owns(given.prefixes[0].network()) && !world.look(&eni).owns(more.addresses[0]));
}

#[test]
fn addresses_and_prefixes_share_the_types_ipv6_slots_and_leave_the_ipv4_ones_alone() {
    let mut world = dual_stack();
    let eni = world.primary().id;
    world.assign_v6(&eni, Ipv6Supply::Prefixes(8)).unwrap();
    let refused = world.assign_v6(&eni, Ipv6Supply::Addresses(2));
    assert_refused(refused, Code::PrivateIpAddressLimitExceeded);
    world.assign_v6(&eni, Ipv6Supply::Addresses(1)).unwrap();
    assert_refused(world.assign_v6(&eni, Ipv6Supply::Prefixes(1)), Code::PrivateIpAddressLimitExceeded);
    assert_eq!((world.look(&eni).ipv6_slots_used(), world.look(&eni).slots_used()), (10, 0));
    assert_refused(world.create_v6(Ipv6Supply::Addresses(65)), Code::PrivateIpAddressLimitExceeded);
    let full = world.create_v6(Ipv6Supply::Prefixes(11)).unwrap().id;
    assert_refused(world.attach(&full, 1), Code::PrivateIpAddressLimitExceeded);
}

#[test]
fn named_addresses_and_prefixes_must_lie_in_the_subnet_and_be_free() {
    let mut world = dual_stack();
    let eni = world.primary().id;
    let (one, block) = (address("2001:db8:0:101:7::1"), net("2001:db8:0:101:9::/80"));
    world.assign_v6(&eni, Ipv6Supply::ExactAddresses(vec![one])).unwrap();
    world.assign_v6(&eni, Ipv6Supply::ExactPrefixes(vec![block])).unwrap();
    for (what, code) in [
        ("2001:db8:0:102::9", Code::InvalidParameterValue),
        ("2001:db8:0:101::3", Code::InvalidParameterValue),
        ("2001:db8:0:101:ffff:ffff:ffff:ffff", Code::InvalidParameterValue),
        ("2001:db8:0:101:7::1", Code::InvalidParameterValue),
        ("2001:db8:0:101:9::1", Code::InvalidParameterValue),
    ] {
        assert_refused(world.assign_v6(&eni, Ipv6Supply::ExactAddresses(vec![address(what)])), code);
    }
    for (what, code) in [
        ("2001:db8:0:101:5::/81", Code::InvalidParameterValue),
        ("2001:db8:0:101:5:8000::/80", Code::InvalidParameterValue),
        ("2001:db8:0:102:5::/80", Code::InvalidParameterValue),
        ("2001:db8:0:101::/80", Code::InsufficientCidrBlocks),
        ("2001:db8:0:101:7::/80", Code::InsufficientCidrBlocks),
        ("2001:db8:0:101:9::/80", Code::InsufficientCidrBlocks),
    ] {
        assert_refused(world.assign_v6(&eni, Ipv6Supply::ExactPrefixes(vec![net(what)])), code);
    }
    let twice = Ipv6Supply::ExactAddresses(vec![address("2001:db8:0:101::9"), address("2001:db8:0:101::9")]);
    assert_refused(world.assign_v6(&eni, twice), Code::InvalidParameterValue);
}

#[test]
fn nothing_is_not_assigned_and_nothing_foreign_is_unassigned() {
    let mut world = dual_stack();
    let (eni, other) = (world.primary(), world.create_v6(Ipv6Supply::Prefixes(1)).unwrap());
    for nothing in [Ipv6Supply::Usual, Ipv6Supply::Addresses(0), Ipv6Supply::ExactPrefixes(Vec::new())] {
        assert_refused(world.assign_v6(&eni.id, nothing), Code::MissingParameter);
    }
    assert_refused(world.unassign_v6(&eni.id, Ipv6Given::default()), Code::MissingParameter);
    let foreign = Ipv6Given { addresses: eni.ipv6_addresses.clone(), prefixes: other.ipv6_prefixes };
    assert_refused(world.unassign_v6(&eni.id, foreign), Code::InvalidParameterValue);
    assert_eq!(world.look(&eni.id).ipv6_addresses, eni.ipv6_addresses);
}

#[test]
fn a_subnet_without_ipv6_gives_none() {
    let mut world = World::new();
    let eni = world.eni();
    assert_refused(world.assign_v6(&eni, Ipv6Supply::Prefixes(1)), Code::InvalidParameterValue);
    assert_refused(world.create_v6(Ipv6Supply::Addresses(1)), Code::InvalidParameterValue);
}

#[test]
fn xen_takes_no_prefixes_and_old_types_no_ipv6_at_all() {
    let mut world = dual_stack();
    let wide = world.wide.clone();
    let xen = world.ec2.launch(T0, &RunInstances::one("t2.small", wide.clone())).unwrap();
    let primary = world.ec2.interfaces_of(&xen).next().unwrap().id.clone();
    world.assign_v6(&primary, Ipv6Supply::Addresses(1)).unwrap();
    assert_refused(world.assign_v6(&primary, Ipv6Supply::Prefixes(1)), Code::UnsupportedOperation);
    let delegated = world.create_v6(Ipv6Supply::Prefixes(1)).unwrap().id;
    let seat = Seat { card: 0, device: 1 };
    assert_refused(
        world.ec2.attach_network_interface(T0, &delegated, &xen, seat),
        Code::UnsupportedOperation,
    );
    let old = RunInstances::one("m3.medium", wide);
    assert_refused(world.ec2.run_instances(T0, &old), Code::UnsupportedOperation);
    let old = RunInstances { ipv6: Ipv6Supply::Addresses(0), ..old };
    let old = world.ec2.launch(T0, &old).unwrap();
    let plain = world.create_v6(Ipv6Supply::Usual).unwrap().id;
    assert_refused(world.ec2.attach_network_interface(T0, &plain, &old, seat), Code::UnsupportedOperation);
}

#[test]
fn deleting_an_eni_gives_its_ipv6_back() {
    let mut world = dual_stack();
    let block = net("2001:db8:0:101:9::/80");
    let first = world.create_v6(Ipv6Supply::ExactPrefixes(vec![block])).unwrap().id;
    assert_refused(world.create_v6(Ipv6Supply::ExactPrefixes(vec![block])), Code::InsufficientCidrBlocks);
    world.ec2.delete_network_interface(T0, &first).unwrap();
    world.create_v6(Ipv6Supply::ExactPrefixes(vec![block])).unwrap();
}

#[test]
fn a_create_that_fails_for_want_of_ipv4_keeps_no_ipv6() {
    let mut world = dual_stack();
    let narrow = world.narrow.clone();
    world.ec2.give_ipv6(&narrow, net("2001:db8:0:102::/64")).unwrap();
    let wanted = address("2001:db8:0:102::9");
    let request = |secondary| CreateNetworkInterface {
        secondary,
        ipv6: Ipv6Supply::ExactAddresses(vec![wanted]),
        ..CreateNetworkInterface::within(narrow.clone())
    };
    let too_many = request(enid_sim::ec2::interface::Secondary::Addresses(11));
    let refused = world.ec2.create_network_interface(T0, &too_many);
    assert_refused(refused, Code::InsufficientFreeAddressesInSubnet);
    let fits = request(enid_sim::ec2::interface::Secondary::None);
    assert_eq!(world.ec2.create_network_interface(T0, &fits).unwrap().ipv6_addresses, [wanted]);
}

#[test]
fn the_calls_have_a_budget_and_faults_of_their_own() {
    let mut world = dual_stack();
    let eni = world.primary().id;
    world.ec2.set_throttling(Throttling::Documented);
    let nowhere: EniId = "eni-1".parse().unwrap();
    for _ in 0..100 {
        let refused = world.assign_v6(&nowhere, Ipv6Supply::Prefixes(1));
        assert_refused(refused, Code::InvalidNetworkInterfaceIdNotFound);
    }
    assert_refused(world.assign_v6(&eni, Ipv6Supply::Prefixes(1)), Code::RequestLimitExceeded);
    world.ec2.set_throttling(Throttling::Off);
    let fault = Fault { call: Some(Call::AssignIpv6Addresses), times: 1, kind: FaultKind::LostReply };
    world.ec2.inject(fault).unwrap();
    let lost = world.assign_v6(&eni, Ipv6Supply::Prefixes(1));
    assert_eq!(lost, Err(CallError::ReplyLost { call: Call::AssignIpv6Addresses }));
    assert_eq!(world.look(&eni).ipv6_prefixes.len(), 1);
}

#[test]
fn ranges_have_ec2s_sizes_and_do_not_overlap() {
    let mut world = dual_stack();
    let (vpc, wide, narrow) = (world.vpc.clone(), world.wide.clone(), world.narrow.clone());
    for range in ["2001:db8:0:200::/64", "2001:db8:0:201::/56", RANGE] {
        assert_refused(world.ec2.add_ipv6_range(&vpc, net(range)), Code::InvalidVpcRange);
    }
    for index in 2..6 {
        world.ec2.add_ipv6_range(&vpc, net(&format!("2001:db8:0:{index}00::/56"))).unwrap();
    }
    assert_refused(world.ec2.add_ipv6_range(&vpc, net("2001:db8:0:600::/56")), Code::CidrLimitExceeded);
    for (subnet, range, code) in [
        (&narrow, "2001:db8:0:1000::/64", Code::InvalidSubnetRange),
        (&narrow, "2001:db8:0:101::/80", Code::InvalidSubnetRange),
        (&narrow, WIDE, Code::InvalidSubnetConflict),
        (&wide, "2001:db8:0:102::/64", Code::InvalidSubnetConflict),
    ] {
        assert_refused(world.ec2.give_ipv6(subnet, net(range)), code);
    }
}

#[test]
fn enis_and_subnets_are_found_by_their_ipv6() {
    let mut world = dual_stack();
    let eni = world.primary();
    let own = eni.ipv6_addresses[0].to_string();
    let query = Query::matching([Filter::is("ipv6-addresses.ipv6-address", &own)]);
    let found = world.ec2.describe_network_interfaces(T0, &query).unwrap().items;
    assert_eq!(found.iter().map(|it| &it.id).collect::<Vec<_>>(), [&eni.id]);
    let query = Query::matching([Filter::is("ipv6-cidr-block-association.ipv6-cidr-block", WIDE)]);
    assert_eq!(world.ec2.describe_subnets(T0, &query).unwrap().items[0].id, world.wide);
    let query = Query::matching([Filter::is("ipv6-cidr-block-association.ipv6-cidr-block", RANGE)]);
    assert_eq!(world.ec2.describe_vpcs(T0, &query).unwrap().items[0].id, world.vpc);
}
