//! Why a pod waits: one reason each.

use enid_core::cloud::CloudErrorKind;
use enid_sim::ec2::Delays;
use enid_sim::ec2::call::Call;
use enid_sim::ec2::fault::{Fault, FaultKind};

use super::*;

#[test]
fn a_full_node_says_that_it_is_full() {
    let mut node = a_small_node(Knobs { minimum_ip: 9, ..Knobs::default() });
    fill(&mut node, 9);
    let ticket = node.add("late");
    settle(&mut node);
    assert_eq!(told_to_wait(&node, ticket), WaitReason::NodeFull { bound: 9, total: 9, max_enis: 3 });
    expect_converged(&mut node);
}

#[test]
fn a_node_with_cooling_addresses_says_for_how_long() {
    let config = Config { cooldown: secs(300), ..Config::default() };
    let mut node = a_node("t3.small", Knobs { minimum_ip: 9, ..Knobs::default() }, config);
    fill(&mut node, 9);
    node.del("pod0");
    node.pass(secs(1));
    let ticket = node.add("late");
    node.pass(secs(61));
    assert!(matches!(told_to_wait(&node, ticket), WaitReason::Cooling { cooling: 1, secs: 230..=240 }));
    node.pass(secs(300));
    settle(&mut node);
    expect_converged(&mut node);
}

#[test]
fn a_node_at_its_pod_maximum_says_so() {
    let config = Config { max_pods: Some(4), ..Config::default() };
    let mut node = a_node("t3.small", ready(1), config);
    fill(&mut node, 4);
    let ticket = node.add("late");
    settle(&mut node);
    assert_eq!(told_to_wait(&node, ticket), WaitReason::MaxPods { max_pods: 4 });
    expect_converged(&mut node);
}

#[test]
fn a_crowded_subnet_is_named() {
    let mut node = a_small_node(ready(1));
    crowd(&mut node, 0);
    fill(&mut node, 1);
    let ticket = node.add("late");
    node.pass(secs(61));
    let subnet = node.ec2.subnets().next().map(|subnet| subnet.id.clone()).expect("a subnet");
    assert_eq!(told_to_wait(&node, ticket), WaitReason::SubnetsExhausted { subnet: subnet.clone() });
    node.ec2.vacate(&subnet).expect("a known subnet");
    node.pass(secs(300));
    settle(&mut node);
    expect_converged(&mut node);
}

#[test]
fn a_denied_call_is_named_with_its_kind() {
    let mut node = a_small_node(ready(1));
    node.ec2.deny(Call::AssignPrivateIpAddresses);
    node.ec2.deny(Call::CreateNetworkInterface);
    fill(&mut node, 1);
    let ticket = node.add("late");
    node.pass(secs(61));
    let reason = told_to_wait(&node, ticket);
    let WaitReason::Cloud { call, kind, .. } = &reason else { panic!("{reason:?}") };
    assert!(["AssignPrivateIpAddresses", "CreateNetworkInterface"].contains(&call.as_str()));
    assert_eq!(*kind, CloudErrorKind::Denied);
    node.ec2.permit(Call::AssignPrivateIpAddresses);
    node.ec2.permit(Call::CreateNetworkInterface);
    node.pass(secs(120));
    settle(&mut node);
    expect_converged(&mut node);
}

#[test]
fn an_eni_on_its_way_is_said_to_be() {
    let mut node = a_small_node(Knobs { minimum_ip: 3, ..Knobs::default() });
    node.ec2.set_delays(Delays { attach: secs(90), ..Delays::default() });
    fill(&mut node, 3);
    let ticket = node.add("late");
    node.pass(secs(61));
    assert_eq!(told_to_wait(&node, ticket), WaitReason::EniComing { doing: "set up".to_owned() });
    node.pass(secs(300));
    settle(&mut node);
    expect_converged(&mut node);
}

#[test]
fn addresses_on_their_way_are_counted() {
    let mut node = a_small_node(ready(1));
    let slow = FaultKind::Delay(secs(100));
    let call = Some(Call::AssignPrivateIpAddresses);
    node.ec2.inject(Fault { call, times: 1, kind: slow }).expect("one fault");
    add_settled_soon(&mut node, "a");
    let ticket = node.add("late");
    node.pass(secs(61));
    assert!(matches!(told_to_wait(&node, ticket), WaitReason::Growing { in_flight: 1.. }));
    settle(&mut node);
    expect_converged(&mut node);
}

fn add_settled_soon(node: &mut Node, pod: &str) {
    let ticket = node.add(pod);
    node.pass(secs(1));
    added(node, ticket);
}

#[test]
fn a_node_that_has_not_seen_its_enis_says_that_it_is_starting() {
    let known = enid_core::instance_types::lookup("t3.small").expect("a known type");
    let (mut ec2, instance, _) = enid_sim::node::lone_instance(7, &known, START).expect("a world");
    let slow = FaultKind::Delay(secs(100));
    let call = Some(Call::DescribeNetworkInterfaces);
    ec2.inject(Fault { call, times: 1, kind: slow }).expect("one fault");
    let mut node =
        SimNode::start(ec2, instance, Config::default(), ready(1), START + secs(60)).expect("metadata");
    let ticket = node.add("early");
    node.pass(secs(61));
    assert_eq!(told_to_wait(&node, ticket), WaitReason::Starting);
    settle(&mut node);
    expect_converged(&mut node);
}

#[test]
fn a_zone_without_an_eligible_subnet_is_said_to_have_none() {
    let known = enid_core::instance_types::lookup("t3.small").expect("a known type");
    let (mut ec2, instance, subnet) = enid_sim::node::lone_instance(7, &known, START).expect("a world");
    let keep_out = [("kubernetes.io/role/cni".to_owned(), "0".to_owned())].into();
    ec2.create_tags(START + secs(60), &[subnet.to_string()], &keep_out).expect("a tag");
    let mut node =
        SimNode::start(ec2, instance, Config::default(), ready(1), START + secs(60)).expect("metadata");
    // Right after its start the daemon does not know the subnet's tags yet.
    node.pass(secs(10));
    let ticket = node.add("pod");
    node.pass(secs(61));
    assert_eq!(told_to_wait(&node, ticket), WaitReason::NoSubnet);
    assert_eq!(node.state().addresses_per_eni(), [0], "what came before goes back");
    settle(&mut node);
    expect_converged(&mut node);
}

#[test]
fn a_stopping_daemon_tells_those_that_wait_and_those_that_come() {
    let mut node = a_small_node(Knobs { minimum_ip: 9, ..Knobs::default() });
    fill(&mut node, 9);
    let waiting = node.add("waiting");
    node.stop();
    let late = node.add("late");
    assert_eq!(told_to_wait(&node, waiting), WaitReason::Stopping);
    assert_eq!(told_to_wait(&node, late), WaitReason::Stopping);
    let del = node.del("pod3");
    node.pass(secs(1));
    assert_eq!(node.answer(del), Some(&Answer::Deleted));
    expect_converged(&mut node);
}

#[test]
fn who_may_not_wait_at_all_is_provided_for_all_the_same() {
    let config = Config { wait: Duration::ZERO, ..Config::default() };
    // One address, and none to spare beside it.
    let mut node = a_node("t3.small", Knobs { minimum_ip: 1, ..Knobs::default() }, config);
    fill(&mut node, 1);
    let first = node.add("pod");
    settle(&mut node);
    assert!(matches!(node.answer(first), Some(Answer::TryLater(_))), "{:?}", node.answer(first));
    let again = node.add("pod");
    settle(&mut node);
    assert!(matches!(node.answer(again), Some(Answer::Added(_))), "{:?}", node.answer(again));
}
