//! What changes under a running node: ranges, security groups, whole blocks, tags.

use std::time::Duration;

use enid_core::cloud::{CloudErrorKind, NewEni, Supply};
use enid_core::ids::{SecurityGroupId, VpcId};
use enid_core::snapshot::{ClusterTag, RoleTag};
use enid_core::time::Timestamp;
use enid_sim::ec2::describe::Query;
use enid_sim::ec2::filter::Filter;
use enid_sim::ec2::interface::{CreateNetworkInterface, InterfaceChange, Secondary};
use enid_sim::ec2::refusal::{CallError, Code};
use enid_sim::ec2::{Config, Delays, Tags};

use crate::world::{T0, World, ZONE_A, assert_refused, ip};

fn lagging(seconds: u64) -> World {
    let delays = Delays { metadata: Duration::from_secs(seconds), ..Delays::none() };
    World::with(Config { delays, ..Config::default() })
}

fn after(seconds: u64) -> Timestamp {
    T0 + Duration::from_secs(seconds)
}

#[test]
fn a_secondary_range_shows_in_metadata_one_lag_later_and_has_subnets() {
    let mut world = lagging(5);
    let (vpc, node) = (world.vpc.clone(), world.node.clone());
    let range = "100.64.0.0/16".parse().unwrap();
    let pods = "100.64.1.0/24".parse().unwrap();
    let early = world.ec2.add_subnet(&vpc, ZONE_A, pods, Tags::new());
    assert_refused(early, Code::InvalidSubnetRange);
    let associated = world.ec2.associate_vpc_cidr_block(T0, &vpc, range).unwrap();
    assert_eq!(associated.cidrs, ["10.0.0.0/16".parse().unwrap(), range]);
    world.ec2.add_subnet(&vpc, ZONE_A, pods, Tags::new()).unwrap();
    let shown = |world: &mut World, now| {
        let mut view = world.ec2.node_view(&node, now);
        let me = view.identity().unwrap();
        (me.vpc_cidrs.len(), view.vpc_ranges(&me).unwrap().ipv4.len())
    };
    assert_eq!(shown(&mut world, after(4)), (1, 1));
    assert_eq!(shown(&mut world, after(5)), (2, 2));
}

#[test]
fn ranges_that_overlap_or_are_too_large_or_too_many_are_refused() {
    let mut world = World::new();
    let vpc = world.vpc.clone();
    let nowhere: VpcId = "vpc-1".parse().unwrap();
    let refused = |world: &mut World, vpc: &VpcId, range: &str, code| {
        assert_refused(world.ec2.associate_vpc_cidr_block(T0, vpc, range.parse().unwrap()), code);
    };
    refused(&mut world, &vpc, "10.0.128.0/17", Code::InvalidVpcRange);
    refused(&mut world, &vpc, "100.64.0.0/10", Code::InvalidVpcRange);
    refused(&mut world, &vpc, "100.64.1.0/16", Code::InvalidVpcRange);
    refused(&mut world, &nowhere, "100.64.0.0/16", Code::InvalidVpcIdNotFound);
    for index in 64..68 {
        let range = format!("100.{index}.0.0/16").parse().unwrap();
        world.ec2.associate_vpc_cidr_block(T0, &vpc, range).unwrap();
    }
    refused(&mut world, &vpc, "100.68.0.0/16", Code::CidrLimitExceeded);
}

#[test]
fn security_groups_change_at_once_in_ec2_and_one_lag_later_in_metadata() {
    let mut world = lagging(5);
    let (vpc, node) = (world.vpc.clone(), world.node.clone());
    let pods = world.ec2.add_security_group(&vpc, "pods").unwrap();
    let mut view = world.ec2.node_view(&node, T0);
    let me = view.identity().unwrap();
    let before = me.security_groups.clone();
    view.set_security_groups(&me.primary_eni, std::slice::from_ref(&pods)).unwrap();
    assert_eq!(view.enis(&me).unwrap()[0].security_groups, std::slice::from_ref(&pods));
    let mut view = world.ec2.node_view(&node, after(4));
    assert_eq!(view.identity().unwrap().security_groups, before);
    let mut view = world.ec2.node_view(&node, after(5));
    assert_eq!(view.identity().unwrap().security_groups, std::slice::from_ref(&pods));
    let query = Query::matching([Filter::is("group-name", "pods")]);
    assert_eq!(world.ec2.describe_network_interfaces(T0, &query).unwrap().items[0].id, me.primary_eni);
}

#[test]
fn no_group_an_unknown_one_and_another_vpcs_are_refused() {
    let mut world = World::new();
    let eni = world.eni();
    let before = world.look(&eni).groups;
    let elsewhere = world.ec2.add_vpc("10.9.0.0/16".parse().unwrap()).unwrap();
    let foreign = world.ec2.add_security_group(&elsewhere, "foreign").unwrap();
    let vpc = world.vpc.clone();
    let many: Vec<SecurityGroupId> =
        (0..6).map(|index| world.ec2.add_security_group(&vpc, &format!("g{index}")).unwrap()).collect();
    let mut set = |groups: Vec<SecurityGroupId>| -> Result<(), CallError> {
        let change = InterfaceChange::Groups(groups);
        world.ec2.modify_network_interface_attribute(T0, &eni, &change)
    };
    assert_refused(set(Vec::new()), Code::MissingParameter);
    assert_refused(set(vec!["sg-1".parse().unwrap()]), Code::InvalidGroupNotFound);
    assert_refused(set(vec![foreign]), Code::InvalidGroupNotFound);
    assert_refused(set(many), Code::SecurityGroupsPerInterfaceLimitExceeded);
    assert_eq!(world.look(&eni).groups, before);
    let node = world.node.clone();
    let refused = world.ec2.node_view(&node, T0).set_security_groups(&eni, &[]).unwrap_err();
    assert_eq!(refused.kind, CloudErrorKind::Rejected);
}

#[test]
fn fragmentation_stops_prefixes_for_create_and_assign_until_a_block_is_whole_again() {
    let mut world = World::new();
    let (wide, node) = (world.wide.clone(), world.node.clone());
    let taken = world.ec2.fragment(&wide).unwrap();
    let new = |supply, token: &str| NewEni {
        subnet: wide.clone(),
        security_groups: Vec::new(),
        supply,
        description: String::new(),
        tags: Vec::new(),
        client_token: token.to_owned(),
    };
    let mut view = world.ec2.node_view(&node, T0);
    let refused = view.create_eni(&new(Supply::Prefixes(1), "a")).unwrap_err();
    assert_eq!(refused.kind, CloudErrorKind::NoFreeBlocks);
    let eni = view.create_eni(&new(Supply::Addresses(3), "b")).unwrap().id;
    assert_eq!(view.assign(&eni, Supply::Prefixes(1)).unwrap_err().kind, CloudErrorKind::NoFreeBlocks);
    assert_eq!(view.assign(&eni, Supply::Addresses(1)).unwrap().addresses.len(), 1);

    // One stranger leaves a block that nobody else has an address in.
    let lonely = |address: &&std::net::Ipv4Addr| {
        let block = |address: std::net::Ipv4Addr| u32::from(address) / 16;
        let mut held = world.ec2.interfaces().flat_map(|eni| eni.addresses().collect::<Vec<_>>());
        !held.any(|other| block(other) == block(**address))
    };
    let last = *taken.iter().find(lonely).unwrap();
    assert_refused(world.ec2.leave(&wide, &[last, ip("10.0.1.255")]), Code::InvalidParameterValue);
    world.ec2.leave(&wide, &[last]).unwrap();
    let mut view = world.ec2.node_view(&node, T0);
    let given = view.assign(&eni, Supply::Prefixes(1)).unwrap().prefixes;
    assert!(given[0].contains(&last));
    assert_eq!(view.assign(&eni, Supply::Prefixes(1)).unwrap_err().kind, CloudErrorKind::NoFreeBlocks);
    world.ec2.vacate(&wide).unwrap();
    world.ec2.node_view(&node, T0).assign(&eni, Supply::Prefixes(1)).unwrap();
}

#[test]
fn a_named_prefix_is_a_whole_aligned_28_of_the_subnet() {
    let mut world = World::new();
    let wide = world.wide.clone();
    world.ec2.occupy(&wide, &[ip("10.0.1.70")]).unwrap();
    let eni = world.eni_with(Secondary::ExactPrefixes(vec!["10.0.1.32/28".parse().unwrap()])).id;
    for (block, code) in [
        ("10.0.1.40/28", Code::InvalidParameterValue),
        ("10.0.1.48/29", Code::InvalidParameterValue),
        ("10.0.2.0/28", Code::InvalidParameterValue),
        ("10.0.1.0/28", Code::InsufficientCidrBlocks),
        ("10.0.1.32/28", Code::InsufficientCidrBlocks),
        ("10.0.1.64/28", Code::InsufficientCidrBlocks),
    ] {
        let prefixes = Secondary::ExactPrefixes(vec![block.parse().unwrap()]);
        assert_refused(world.assign(&eni, prefixes.clone()), code);
        let create =
            CreateNetworkInterface { secondary: prefixes, ..CreateNetworkInterface::within(wide.clone()) };
        assert_refused(world.ec2.create_network_interface(T0, &create), code);
    }
}

#[test]
fn a_subnets_tags_change_what_pods_may_use_it_for() {
    let mut world = World::new();
    let (wide, node, vpc) = (world.wide.to_string(), world.node.clone(), world.vpc.clone());
    let seen = |world: &mut World| {
        let subnets = world.ec2.node_view(&node, T0).subnets(&vpc, ZONE_A, Some("blue")).unwrap();
        let found = subnets.into_iter().find(|subnet| subnet.id.as_str() == wide).unwrap();
        (found.role, found.cluster)
    };
    let tag = |key: &str, value: &str| Tags::from([(key.to_owned(), value.to_owned())]);
    assert_eq!(seen(&mut world), (RoleTag::Absent, ClusterTag::Any));
    let on = std::slice::from_ref(&wide);
    world.ec2.create_tags(T0, on, &tag("kubernetes.io/role/cni", "0")).unwrap();
    world.ec2.create_tags(T0, on, &tag("cni.networking.k8s.aws/cluster/green", "shared")).unwrap();
    assert_eq!(seen(&mut world), (RoleTag::Excluded, ClusterTag::Foreign));
    world.ec2.create_tags(T0, on, &tag("kubernetes.io/role/cni", "1")).unwrap();
    let gone = [("cni.networking.k8s.aws/cluster/green".to_owned(), None)];
    world.ec2.delete_tags(T0, on, &gone).unwrap();
    assert_eq!(seen(&mut world), (RoleTag::Included, ClusterTag::Any));
}
