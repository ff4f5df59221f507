//! What the EC2 model answers, call by call: the cases that simpler emulators get wrong.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world should fail here")]

mod cards;
mod ipv6;
mod orphans;
mod ranges;
mod world;

use std::net::Ipv4Addr;
use std::time::Duration;

use enid_core::cloud::{CloudErrorKind, NewEni, Supply};
use enid_core::ids::{EniAttachmentId, EniId};
use enid_core::wiring::Seat;
use enid_sim::ec2::assignment::AssignPrivateIpAddresses;
use enid_sim::ec2::call::Call;
use enid_sim::ec2::describe::Query;
use enid_sim::ec2::fault::{Fault, FaultKind};
use enid_sim::ec2::filter::Filter;
use enid_sim::ec2::instance::{InstanceState, RunInstances};
use enid_sim::ec2::interface::{AttachmentState, CreateNetworkInterface, InterfaceChange, Secondary};
use enid_sim::ec2::refusal::{CallError, Code};
use enid_sim::ec2::throttle::Throttling;
use enid_sim::ec2::{Config, Delays, Tags};

use world::{T0, World, assert_refused, ip};

#[test]
fn an_instance_is_born_with_a_primary_eni_that_dies_with_it() {
    let mut world = World::new();
    let node = world.node.clone();
    let primary = world.ec2.interfaces_of(&node).next().unwrap().clone();
    let at = primary.attachment.unwrap();
    assert_eq!((at.seat, at.state), (Seat::PRIMARY, AttachmentState::Attached));
    assert!(at.delete_on_termination);
    let kept = world.eni();
    world.attach(&kept, 1).unwrap();
    world.ec2.terminate_instances(T0, &[node]).unwrap();
    assert!(world.ec2.interfaces().map(|eni| &eni.id).eq([&kept]));
    assert_eq!(world.look(&kept).attachment, None);
}

#[test]
fn attaching_takes_its_time_and_a_link_only_shows_when_done() {
    let delays = Delays { attach: Duration::from_secs(2), detach: Duration::from_secs(3), ..Delays::none() };
    let mut world = World::with(Config { delays, ..Config::default() });
    let eni = world.eni();
    let attachment = world.attach(&eni, 1).unwrap();
    assert_eq!(world.look(&eni).attachment.unwrap().state, AttachmentState::Attaching);
    assert!(!world.look(&eni).is_plugged());
    assert_refused(world.ec2.detach_network_interface(T0, &attachment), Code::IncorrectState);
    assert_eq!(world.ec2.next_change(), Some(T0 + Duration::from_secs(2)));
    world.ec2.advance(T0 + Duration::from_secs(2));
    assert!(world.look(&eni).is_plugged());
    let later = T0 + Duration::from_secs(10);
    world.ec2.detach_network_interface(later, &attachment).unwrap();
    assert_refused(world.ec2.delete_network_interface(later, &eni), Code::InvalidParameterValue);
    world.ec2.delete_network_interface(later + Duration::from_secs(3), &eni).unwrap();
}

#[test]
fn an_attached_eni_is_neither_attached_again_nor_deleted() {
    let mut world = World::new();
    let eni = world.eni();
    world.attach(&eni, 1).unwrap();
    assert_refused(world.attach(&eni, 2), Code::InvalidNetworkInterfaceInUse);
    assert_refused(world.ec2.delete_network_interface(T0, &eni), Code::InvalidParameterValue);
}

#[test]
fn a_taken_index_a_missing_card_and_one_eni_too_many_are_refused() {
    let mut world = World::new();
    let (first, second, third) = (world.eni(), world.eni(), world.eni());
    world.attach(&first, 1).unwrap();
    assert_refused(world.attach(&second, 1), Code::InvalidParameterValue);
    assert_refused(world.attach(&second, 0), Code::InvalidParameterValue);
    let node = world.node.clone();
    let other_card = world.ec2.attach_network_interface(T0, &second, &node, Seat { card: 1, device: 1 });
    assert_refused(other_card, Code::InvalidParameterValue);
    world.attach(&second, 2).unwrap();
    assert_refused(world.attach(&third, 3), Code::AttachmentLimitExceeded);
}

#[test]
fn an_eni_of_another_zone_is_not_attached() {
    let mut world = World::new();
    let request = CreateNetworkInterface::within(world.elsewhere.clone());
    let eni = world.ec2.create_network_interface(T0, &request).unwrap().id;
    assert_refused(world.attach(&eni, 1), Code::InvalidParameterCombination);
}

#[test]
fn the_primary_eni_is_never_detached() {
    let mut world = World::new();
    let attachment = world.ec2.interfaces().next().unwrap().attachment.clone().unwrap().id;
    assert_refused(world.ec2.detach_network_interface(T0, &attachment), Code::OperationNotPermitted);
}

#[test]
fn assigning_answers_only_what_is_new_and_stops_at_the_types_limit() {
    let mut world = World::new();
    let eni = world.eni();
    world.attach(&eni, 1).unwrap();
    let first = world.assign(&eni, Secondary::Addresses(4)).unwrap();
    let second = world.assign(&eni, Secondary::Addresses(5)).unwrap();
    assert_eq!((first.len(), second.len()), (4, 5));
    assert!(second.iter().all(|address| !first.contains(address)));
    assert_refused(world.assign(&eni, Secondary::Addresses(1)), Code::PrivateIpAddressLimitExceeded);
    assert_refused(world.assign(&eni, Secondary::Prefixes(1)), Code::PrivateIpAddressLimitExceeded);
    world.unassign(&eni, &first[..1]).unwrap();
    world.assign(&eni, Secondary::Prefixes(1)).unwrap();
    assert_eq!(world.look(&eni).slots_used(), 9);
}

#[test]
fn a_named_address_moves_only_with_permission_and_never_if_primary() {
    let mut world = World::new();
    let owner = world.eni_with(Secondary::ExactAddresses(vec![ip("10.0.1.50")]));
    let taker = world.eni();
    let wanted = Secondary::ExactAddresses(vec![ip("10.0.1.50")]);
    assert_refused(world.assign(&taker, wanted.clone()), Code::InvalidParameterValue);
    let steal = |what: Secondary| AssignPrivateIpAddresses {
        eni: taker.clone(),
        secondary: what,
        allow_reassignment: true,
    };
    world.ec2.assign_private_ip_addresses(T0, &steal(wanted)).unwrap();
    assert_eq!(world.look(&taker).secondary, [ip("10.0.1.50")]);
    assert_eq!(world.look(&owner.id).secondary, Vec::<Ipv4Addr>::new());
    let primary = steal(Secondary::ExactAddresses(owner.addresses().take(1).collect()));
    assert_refused(world.ec2.assign_private_ip_addresses(T0, &primary), Code::InvalidParameterValue);
}

#[test]
fn addresses_outside_reserved_or_in_use_are_refused() {
    let mut world = World::new();
    let eni = world.eni();
    for (address, code) in [
        ("10.0.9.9", Code::InvalidParameterValue),
        ("10.0.1.0", Code::InvalidParameterValue),
        ("10.0.1.3", Code::InvalidParameterValue),
        ("10.0.1.255", Code::InvalidParameterValue),
    ] {
        assert_refused(world.assign(&eni, Secondary::ExactAddresses(vec![ip(address)])), code);
    }
    let twice = Secondary::ExactAddresses(vec![ip("10.0.1.77"), ip("10.0.1.77")]);
    assert_refused(world.assign(&eni, twice), Code::InvalidParameterValue);
    let taken = CreateNetworkInterface {
        primary: world.look(&eni).primary,
        ..CreateNetworkInterface::within(world.wide.clone())
    };
    assert_refused(world.ec2.create_network_interface(T0, &taken), Code::InvalidIpAddressInUse);
}

#[test]
fn a_foreign_or_primary_address_is_not_unassigned() {
    let mut world = World::new();
    let (mine, other) = (world.eni_with(Secondary::Addresses(2)), world.eni_with(Secondary::Addresses(1)));
    let foreign = [mine.secondary[0], other.secondary[0]];
    assert_refused(world.unassign(&mine.id, &foreign), Code::InvalidParameterValue);
    assert_refused(world.unassign(&mine.id, &[mine.primary.unwrap()]), Code::InvalidParameterValue);
    assert_eq!(world.look(&mine.id).secondary, mine.secondary);
    assert_refused(world.unassign(&mine.id, &[]), Code::MissingParameter);
}

#[test]
fn a_subnet_runs_out_all_or_nothing_and_reports_it_by_kind() {
    let mut world = World::new();
    let eni = CreateNetworkInterface {
        secondary: Secondary::Addresses(11),
        ..CreateNetworkInterface::within(world.narrow.clone())
    };
    let narrow = world.narrow.clone();
    assert_refused(world.ec2.create_network_interface(T0, &eni), Code::InsufficientFreeAddressesInSubnet);
    assert_eq!(world.free(&narrow), 11);
    let blocks = CreateNetworkInterface { secondary: Secondary::Prefixes(1), ..eni.clone() };
    assert_refused(world.ec2.create_network_interface(T0, &blocks), Code::InsufficientCidrBlocks);
    assert_eq!(world.free(&narrow), 11);
    let fits = CreateNetworkInterface { secondary: Secondary::Addresses(10), ..eni };
    world.ec2.create_network_interface(T0, &fits).unwrap();
    assert_eq!(world.free(&narrow), 0);
}

#[test]
fn a_fragmented_subnet_has_addresses_but_no_block() {
    let mut world = World::new();
    let (eni, wide) = (world.eni(), world.wide.clone());
    let before = world.free(&wide);
    let taken = world.ec2.fragment(&wide).unwrap();
    let broken = u32::try_from(taken.len()).unwrap();
    assert_eq!((world.free(&wide), world.ec2.subnet(&wide).unwrap().free_blocks()), (before - broken, 0));
    assert_refused(world.assign(&eni, Secondary::Prefixes(1)), Code::InsufficientCidrBlocks);
    world.assign(&eni, Secondary::Addresses(3)).unwrap();
    world.ec2.vacate(&wide).unwrap();
    world.assign(&eni, Secondary::Prefixes(1)).unwrap();
}

#[test]
fn a_prefix_takes_sixteen_addresses_and_gives_them_back() {
    let mut world = World::new();
    let wide = world.wide.clone();
    let before = world.free(&wide);
    let eni = world.eni_with(Secondary::Prefixes(2));
    assert_eq!(world.free(&wide), before - 33);
    assert!(eni.prefixes.iter().all(|block| block.prefix_len() == 28 && block.trunc() == *block));
    assert!(eni.owns(eni.prefixes[0].hosts().next().unwrap()));
    world.ec2.delete_network_interface(T0, &eni.id).unwrap();
    assert_eq!(world.free(&wide), before);
}

#[test]
fn xen_instances_take_no_prefixes() {
    let mut world = World::new();
    let wide = world.wide.clone();
    let old = world.ec2.launch(T0, &RunInstances::one("t2.small", wide)).unwrap();
    let primary = world.ec2.interfaces_of(&old).next().unwrap().id.clone();
    assert_refused(world.assign(&primary, Secondary::Prefixes(1)), Code::UnsupportedOperation);
    let eni = world.eni_with(Secondary::Prefixes(1)).id;
    let attached = world.ec2.attach_network_interface(T0, &eni, &old, Seat { card: 0, device: 1 });
    assert_refused(attached, Code::UnsupportedOperation);
}

#[test]
fn a_client_token_creates_one_eni() {
    let mut world = World::new();
    let request = CreateNetworkInterface {
        client_token: Some("once".to_owned()),
        ..CreateNetworkInterface::within(world.wide.clone())
    };
    let first = world.ec2.create_network_interface(T0, &request).unwrap();
    let second = world.ec2.create_network_interface(T0, &request).unwrap();
    assert_eq!(first.id, second.id);
    let other = CreateNetworkInterface { description: "another".to_owned(), ..request };
    assert_refused(world.ec2.create_network_interface(T0, &other), Code::IdempotentParameterMismatch);
}

#[test]
fn unknown_things_are_not_found_by_their_own_code() {
    let mut world = World::new();
    let (node, eni) = (world.node.clone(), world.eni());
    let nowhere: EniId = "eni-1".parse().unwrap();
    assert_refused(world.attach(&nowhere, 1), Code::InvalidNetworkInterfaceIdNotFound);
    let no_instance =
        world.ec2.attach_network_interface(T0, &eni, &"i-1".parse().unwrap(), Seat { card: 0, device: 1 });
    assert_refused(no_instance, Code::InvalidInstanceIdNotFound);
    let gone = world.ec2.detach_network_interface(T0, &"eni-attach-1".parse().unwrap());
    assert_refused(gone, Code::InvalidAttachmentIdNotFound);
    let no_subnet = CreateNetworkInterface::within("subnet-1".parse().unwrap());
    assert_refused(world.ec2.create_network_interface(T0, &no_subnet), Code::InvalidSubnetIdNotFound);
    let no_group = CreateNetworkInterface {
        groups: vec!["sg-1".parse().unwrap()],
        ..CreateNetworkInterface::within(world.wide.clone())
    };
    assert_refused(world.ec2.create_network_interface(T0, &no_group), Code::InvalidGroupNotFound);
    let no_type = RunInstances::one("m0.mini", world.wide.clone());
    assert_refused(world.ec2.run_instances(T0, &no_type), Code::InvalidInstanceType);
    let query = Query { ids: vec![nowhere], ..Query::default() };
    let described = world.ec2.describe_network_interfaces(T0, &query);
    assert_refused(described, Code::InvalidNetworkInterfaceIdNotFound);
    assert!(world.ec2.instances().any(|instance| instance.id == node));
}

#[test]
fn delete_on_termination_needs_the_right_attachment_and_then_works() {
    let mut world = World::new();
    let (eni, node) = (world.eni(), world.node.clone());
    let attachment = world.attach(&eni, 1).unwrap();
    let set = |attachment: EniAttachmentId| InterfaceChange::DeleteOnTermination { attachment, delete: true };
    let wrong = set("eni-attach-1".parse().unwrap());
    let refused = world.ec2.modify_network_interface_attribute(T0, &eni, &wrong);
    assert_refused(refused, Code::InvalidAttachmentIdNotFound);
    world.ec2.modify_network_interface_attribute(T0, &eni, &set(attachment)).unwrap();
    world.ec2.terminate_instances(T0, &[node]).unwrap();
    assert_eq!(world.ec2.interfaces().count(), 0);
}

#[test]
fn metadata_shows_changes_one_lag_later() {
    let delays = Delays { metadata: Duration::from_secs(5), ..Delays::none() };
    let mut world = World::with(Config { delays, ..Config::default() });
    let node = world.node.clone();
    let shown = |world: &mut World, after: u64| {
        let metadata = world.ec2.metadata(T0 + Duration::from_secs(after), &node).unwrap();
        metadata.interfaces.iter().map(|eni| eni.secondary.len()).collect::<Vec<_>>()
    };
    let eni = world.eni();
    world.attach(&eni, 1).unwrap();
    assert_eq!(shown(&mut world, 4), [0]);
    assert_eq!(shown(&mut world, 5), [0, 0]);
    let later = T0 + Duration::from_secs(6);
    let request = AssignPrivateIpAddresses {
        eni: eni.clone(),
        secondary: Secondary::Addresses(3),
        allow_reassignment: false,
    };
    world.ec2.assign_private_ip_addresses(later, &request).unwrap();
    assert_eq!(shown(&mut world, 10), [0, 0]);
    assert_eq!(shown(&mut world, 11), [0, 3]);
}

#[test]
fn documented_buckets_throttle_attach_before_create() {
    let mut world = World::new();
    world.ec2.set_throttling(Throttling::Documented);
    let missing: EniId = "eni-1".parse().unwrap();
    for _ in 0..50 {
        assert_refused(world.attach(&missing, 1), Code::InvalidNetworkInterfaceIdNotFound);
    }
    assert_refused(world.attach(&missing, 1), Code::RequestLimitExceeded);
    world.eni();
    assert_eq!(Code::RequestLimitExceeded.status(), 503);
}

#[test]
fn a_lost_reply_leaves_the_work_done_and_a_fault_strikes_as_often_as_asked() {
    let mut world = World::new();
    let wide = world.wide.clone();
    let before = world.ec2.interfaces().count();
    let fault = |kind| Fault { call: Some(Call::CreateNetworkInterface), times: 1, kind };
    world.ec2.inject(fault(FaultKind::LostReply)).unwrap();
    world.ec2.inject(fault(FaultKind::Error(Code::InternalError))).unwrap();
    world.ec2.inject(fault(FaultKind::Throttle)).unwrap();
    world.ec2.inject(fault(FaultKind::Delay(Duration::from_secs(7)))).unwrap();
    let request = CreateNetworkInterface::within(wide);
    let lost = world.ec2.create_network_interface(T0, &request);
    assert_eq!(lost, Err(CallError::ReplyLost { call: Call::CreateNetworkInterface }));
    assert_eq!(world.ec2.interfaces().count(), before + 1);
    assert_refused(world.ec2.create_network_interface(T0, &request), Code::InternalError);
    assert_refused(world.ec2.create_network_interface(T0, &request), Code::RequestLimitExceeded);
    world.ec2.create_network_interface(T0, &request).unwrap();
    assert_eq!(world.ec2.latency(Call::CreateNetworkInterface), Duration::from_secs(7));
    assert_eq!(world.ec2.latency(Call::CreateNetworkInterface), Duration::ZERO);
    assert_eq!(world.ec2.calls()["CreateNetworkInterface"], 4);
}

#[test]
fn a_denied_call_changes_nothing_and_a_dry_run_says_so_first() {
    let mut world = World::new();
    world.ec2.deny(Call::CreateNetworkInterface);
    let request = CreateNetworkInterface::within(world.wide.clone());
    assert_refused(world.ec2.create_network_interface(T0, &request), Code::UnauthorizedOperation);
    let dry = world.ec2.dry_run(T0, Call::CreateNetworkInterface);
    assert_refused(Err::<(), _>(dry), Code::UnauthorizedOperation);
    world.ec2.permit(Call::CreateNetworkInterface);
    let dry = world.ec2.dry_run(T0, Call::CreateNetworkInterface);
    assert_refused(Err::<(), _>(dry), Code::DryRunOperation);
}

#[test]
fn filters_match_and_unknown_ones_are_refused() {
    let mut world = World::new();
    let eni = world.eni_with(Secondary::ExactAddresses(vec![ip("10.0.1.99")]));
    world.attach(&eni.id, 1).unwrap();
    world
        .ec2
        .create_tags(T0, &[eni.id.to_string()], &Tags::from([("k".to_owned(), "v1".to_owned())]))
        .unwrap();
    let (node, vpc) = (world.node.to_string(), world.vpc.to_string());
    let mut found = |filters: Vec<Filter>| {
        world.ec2.describe_network_interfaces(T0, &Query::matching(filters)).unwrap().items.len()
    };
    assert_eq!(found(vec![Filter::is("attachment.instance-id", &node)]), 2);
    assert_eq!(found(vec![Filter::is("addresses.private-ip-address", "10.0.1.99")]), 1);
    assert_eq!(found(vec![Filter::is("tag:k", "v?"), Filter::is("vpc-id", &vpc)]), 1);
    assert_eq!(found(vec![Filter::is("tag-key", "k")]), 1);
    assert_eq!(found(vec![Filter::is("status", "available")]), 0);
    let unknown = Query::matching([Filter::is("colour", "blue")]);
    assert_refused(world.ec2.describe_network_interfaces(T0, &unknown), Code::InvalidParameterValue);
}

#[test]
fn pages_cover_everything_once() {
    let mut world = World::new();
    (0..16).for_each(|_| drop(world.eni()));
    let mut seen = Vec::new();
    let mut query = Query { max_results: Some(5), ..Query::default() };
    loop {
        let page = world.ec2.describe_network_interfaces(T0, &query).unwrap();
        seen.extend(page.items.iter().map(|eni| eni.id.clone()));
        match page.next_token {
            Some(token) => query.next_token = Some(token),
            None => break,
        }
    }
    assert_eq!(seen.len(), 17);
    let small = Query { max_results: Some(4), ..Query::default() };
    assert_refused(world.ec2.describe_network_interfaces(T0, &small), Code::InvalidParameterValue);
    let nonsense = Query { next_token: Some("zz".to_owned()), ..Query::default() };
    assert_refused(world.ec2.describe_network_interfaces(T0, &nonsense), Code::InvalidNextToken);
}

#[test]
fn launched_instances_run_after_their_delay_and_are_forgotten_an_hour_after_their_end() {
    let delays =
        Delays { launch: Duration::from_secs(5), terminate: Duration::from_secs(9), ..Delays::none() };
    let mut world = World::with(Config { delays, ..Config::default() });
    let request = RunInstances { count: 3, ..RunInstances::one("t3.small", world.wide.clone()) };
    let launched = world.ec2.run_instances(T0, &request).unwrap();
    let state = |world: &World| {
        world.ec2.instances().find(|instance| instance.id == launched[0]).map(|instance| instance.state)
    };
    assert_eq!((launched.len(), state(&world)), (3, Some(InstanceState::Pending)));
    world.ec2.advance(T0 + Duration::from_secs(5));
    assert_eq!(state(&world), Some(InstanceState::Running));
    world.ec2.terminate_instances(T0 + Duration::from_secs(6), &launched).unwrap();
    assert_eq!(state(&world), Some(InstanceState::ShuttingDown));
    world.ec2.advance(T0 + Duration::from_secs(15));
    assert_eq!(state(&world), Some(InstanceState::Terminated));
    world.ec2.advance(T0 + Duration::from_secs(15 + 3600));
    assert_eq!(state(&world), None);
}

#[test]
fn the_nodes_view_speaks_the_engines_words() {
    let mut world = World::new();
    let (node, wide, vpc) = (world.node.clone(), world.wide.clone(), world.vpc.clone());
    world.ec2.set_tag(wide.as_str(), "kubernetes.io/role/cni", "1").unwrap();
    world.ec2.set_tag(wide.as_str(), "cni.networking.k8s.aws/cluster/blue", "").unwrap();
    let mut view = world.ec2.node_view(&node, T0);
    let me = view.identity().unwrap();
    assert_eq!((me.instance_type.as_str(), &me.vpc), ("m5.large", &vpc));
    let subnets = view.subnets(&vpc, &me.zone, Some("blue")).unwrap();
    assert_eq!(subnets.len(), 2);
    let new = NewEni {
        subnet: wide,
        security_groups: me.security_groups.clone(),
        supply: Supply::Addresses(3),
        description: "aws-K8S-test".to_owned(),
        tags: vec![("node.k8s.amazonaws.com/no_manage".to_owned(), "true".to_owned())],
        client_token: "token".to_owned(),
    };
    let eni = view.create_eni(&new).unwrap();
    assert_eq!((eni.addresses.len(), eni.managed), (3, false));
    let attachment = view.attach_eni(&me, &eni.id, Seat { card: 0, device: 1 }).unwrap();
    view.delete_with_instance(&eni.id, &attachment).unwrap();
    assert_eq!(view.delete_eni(&eni.id).unwrap_err().kind, CloudErrorKind::Conflict);
    let more = view.assign(&eni.id, Supply::Addresses(2)).unwrap();
    view.unassign(&eni.id, &more).unwrap();
    assert_eq!(view.unassign(&eni.id, &more).unwrap_err().kind, CloudErrorKind::Conflict);
    let seen = view.enis(&me).unwrap();
    assert_eq!(seen.len(), 2);
    let at = seen[1].attachment.clone().unwrap();
    assert!(at.settled && at.delete_on_termination);
    view.detach_eni(&attachment).unwrap();
    view.delete_eni(&eni.id).unwrap();
    assert_eq!(view.delete_eni(&eni.id).unwrap_err().kind, CloudErrorKind::Gone);
    assert_eq!(view.instance_type("m5.large").unwrap().max_enis(), 3);
}
