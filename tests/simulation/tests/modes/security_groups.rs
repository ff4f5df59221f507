//! The security groups of our ENIs follow the primary's, or the settings.

use enid_core::node::{CustomNetworking, EniConfig};
use enid_core::wiring::Seat;
use enid_sim::ec2::interface::{CreateNetworkInterface, Secondary};
use simulation::expect_converged;

use super::*;

/// A t3.small with an ENI of ours and one of somebody else's.
fn with_a_foreign_eni(region: Region) -> (Node, EniId) {
    let mut node = region.settled(Config::default(), ready(1));
    fill(&mut node, "pod", 4);
    let (now, instance) = (node.now(), node.instance().clone());
    let subnet = node.state().identity().subnet.clone();
    let request = CreateNetworkInterface {
        secondary: Secondary::Addresses(1),
        description: "the database's".to_owned(),
        ..CreateNetworkInterface::within(subnet)
    };
    let foreign = node.ec2.create_network_interface(now, &request).expect("an ENI").id;
    let seat = Seat { card: 0, device: 2 };
    node.ec2.attach_network_interface(now, &foreign, &instance, seat).expect("a free seat");
    node.pass(secs(70));
    settle(&mut node);
    (node, foreign)
}

/// The groups of the primary, of ours and of the foreign ENI.
fn groups(node: &Node, foreign: &EniId) -> [Vec<SecurityGroupId>; 3] {
    let enis = enis(node);
    let ours = enis.iter().find(|eni| eni.id != primary(node) && eni.id != *foreign).expect("an ENI of ours");
    [eni(node, &primary(node)).groups, ours.groups.clone(), eni(node, foreign).groups]
}

#[test]
fn a_change_of_the_primarys_reaches_our_enis_and_no_others() {
    let mut region = Region::of("t3.small");
    let changed = [region.group("web"), region.group("db")].to_vec();
    let (mut node, foreign) = with_a_foreign_eni(region);
    let [_, _, foreigns] = groups(&node, &foreign);
    set_primary_groups(&mut node, &changed);
    node.pass(secs(65));
    assert_eq!(groups(&node, &foreign), [changed.clone(), changed.clone(), foreigns]);
    expect_converged(&mut node);
}

#[test]
fn configured_groups_win_and_the_primarys_come_back() {
    let mut region = Region::of("t3.small");
    let (own, other) = (region.group("pods"), region.group("nodes"));
    let (mut node, foreign) = with_a_foreign_eni(region);
    let [primarys, _, foreigns] = groups(&node, &foreign);
    node.reconfigure(Config { security_groups: vec![own.clone()], ..Config::default() });
    node.pass(secs(5));
    assert_eq!(groups(&node, &foreign), [primarys, vec![own.clone()], foreigns.clone()]);
    set_primary_groups(&mut node, std::slice::from_ref(&other));
    node.pass(secs(65));
    assert_eq!(groups(&node, &foreign), [vec![other.clone()], vec![own], foreigns.clone()]);
    node.reconfigure(Config::default());
    node.pass(secs(5));
    assert_eq!(groups(&node, &foreign), [vec![other.clone()], vec![other], foreigns]);
    expect_converged(&mut node);
}

#[test]
fn an_eni_configs_groups_come_before_the_configured_ones() {
    let mut region = Region::of("t3.small");
    let subnet = region.subnet("10.0.64.0/20", &[]);
    let (configured, named) = (region.group("configured"), region.group("named"));
    let there = |groups: Vec<SecurityGroupId>| Config {
        security_groups: vec![configured.clone()],
        custom_networking: CustomNetworking::Use(EniConfig {
            name: "pods".to_owned(),
            subnets: vec![subnet.clone()],
            security_groups: groups,
        }),
        ..Config::default()
    };
    let mut node = region.settled(there(vec![named.clone()]), ready(1));
    let pod = fill(&mut node, "pod", 1)[0];
    assert_eq!(eni(&node, &owner(&node, pod)).groups, [named]);
    node.reconfigure(there(Vec::new()));
    node.pass(secs(5));
    assert_eq!(eni(&node, &owner(&node, pod)).groups, [configured]);
    expect_converged(&mut node);
}

#[test]
fn a_restart_after_a_change_never_puts_the_old_groups_back() {
    let mut region = Region::of("t3.small");
    let changed = vec![region.group("web")];
    let mut node = region.settled(Config::default(), ready(1));
    fill(&mut node, "pod", 4);
    set_primary_groups(&mut node, &changed);
    node.pass(secs(65));
    node.crash_and_restart();
    for _ in 0..50 {
        node.pass(Duration::from_millis(100));
        assert!(enis(&node).iter().all(|eni| eni.groups == changed));
    }
}

#[test]
fn groups_that_ec2_refuses_do_not_keep_pods_from_addresses() {
    let two = Config { max_enis: Some(2), ..Config::default() };
    let mut node = Region::of("t3.small").settled(two.clone(), ready(1));
    fill(&mut node, "pod", 4);
    let unknown = "sg-0123456789abcdef0".parse().expect("an id");
    node.reconfigure(Config { security_groups: vec![unknown], ..two });
    node.pass(secs(30));
    // The second ENI has one free address and an empty slot.
    let tickets = [node.add("late0"), node.add("late1")];
    node.pass(secs(10));
    tickets.iter().for_each(|ticket| {
        added(&node, *ticket);
    });
    let before = calls(&node, Call::ModifyNetworkInterfaceAttribute);
    node.pass(secs(600));
    let tries = calls(&node, Call::ModifyNetworkInterfaceAttribute) - before;
    assert!(tries <= 25, "{tries} tries in ten minutes");
}
