//! How much EC2 is asked.

use std::num::NonZeroU32;

use enid_core::budget::BudgetConfig;
use enid_core::degraded::Degraded;
use enid_core::node::{ClusterStatus, Config};
use enid_sim::ec2::call::Call;
use enid_sim::ec2::fault::{Fault, FaultKind};
use simulation::{Knobs, a_node, add_settled};

use super::*;

fn mode(node: &SimNode<Knobs>) -> Degraded {
    node.state().status(node.now()).withheld.mode
}

fn break_ec2(node: &mut SimNode<Knobs>, times: u32) {
    let kind = FaultKind::LostReply;
    node.ec2.inject(Fault { call: None, times, kind }).expect("few faults");
}

#[test]
fn when_ec2_stops_answering_calls_are_withheld_and_pods_are_served_all_the_same() {
    let mut node = a_node("m5.large", Knobs { warm_ip: 4, ..LEAN }, Config::default());
    assert!(node.state().status(node.now()).withheld.for_secs < 3600, "as long as it has run");
    break_ec2(&mut node, 1000);
    add_settled_soon(&mut node, "a");
    for _ in 0..40 {
        node.pass(Duration::from_secs(15));
    }
    assert_eq!(mode(&node), Degraded::NoCalls);
    let before: u64 = node.ec2.calls().values().sum();
    node.pass(minutes(10));
    let probes: u64 = node.ec2.calls().values().sum::<u64>() - before;
    assert!((3..=25).contains(&probes), "{probes} calls in ten minutes");
    add_settled_soon(&mut node, "b");

    node.ec2.clear_faults();
    node.pass(minutes(10));
    assert_eq!(mode(&node), Degraded::No);
    assert!(add_settled(&mut node, "c").is_some());
}

fn add_settled_soon(node: &mut SimNode<Knobs>, name: &str) {
    let ticket = node.add(name);
    node.pass(Duration::from_secs(1));
    assert!(matches!(node.answer(ticket), Some(Answer::Added(_))), "{:?}", node.answer(ticket));
}

#[test]
fn when_some_calls_fail_nothing_is_given_back_and_growth_goes_on() {
    let mut node = a_node("m5.large", Knobs { warm_ip: 8, ..LEAN }, Config::default());
    let fault = |times| Fault { call: Some(Call::DescribeSubnets), times, kind: FaultKind::LostReply };
    node.ec2.inject(fault(200)).unwrap();
    let status = node.state().config().clone();
    node.reconfigure(Config { subnet_discovery: false, ..status });
    for _ in 0..8 {
        node.pass(Duration::from_secs(10));
    }
    assert_eq!(mode(&node), Degraded::NoRelease, "{:?}", node.state().status(node.now()).withheld);
    node.replace_strategist(LEAN);
    node.pass(Duration::from_secs(50));
    assert_eq!(node.state().status(node.now()).pool.free, 8, "nothing is given back");
    for pod in 0..8 {
        node.add(&format!("p{pod}"));
    }
    node.pass(Duration::from_secs(20));
    assert_eq!(node.state().status(node.now()).pool.bound, 8);
    assert!(node.state().status(node.now()).pool.free >= 1, "growth goes on");
}

#[test]
fn a_node_of_many_keeps_to_its_share() {
    let budget = BudgetConfig { nodes: 50, ..BudgetConfig::default() };
    let mut node = a_node("m5.large", LEAN, Config { budget, ..Config::default() });
    let before = node.ec2.calls();
    for pod in 0..25 {
        node.add(&format!("p{pod}"));
        node.pass(Duration::from_secs(1));
    }
    node.pass(minutes(4));
    assert_eq!(node.state().status(node.now()).pool.bound, 25, "{:?}", node.state().status(node.now()).pool);
    let made = |name: &str| {
        node.ec2.calls().get(name).copied().unwrap_or(0) - before.get(name).copied().unwrap_or(0)
    };
    // A fiftieth of half of five calls a second is one in twenty seconds, on top of what is saved up.
    let most = 1 + (4 * 60 + 25) / 20 + 1;
    assert!(made("AssignPrivateIpAddresses") + made("UnassignPrivateIpAddresses") <= most);
    assert!(made("AttachNetworkInterface") + made("DetachNetworkInterface") <= most);
}

#[test]
fn many_adds_at_once_cost_one_call() {
    let mut node = a_node("m5.large", Knobs { warm_ip: 1, ..LEAN }, Config::default());
    node.ec2
        .inject(Fault {
            call: Some(Call::AssignPrivateIpAddresses),
            times: 1,
            kind: FaultKind::Delay(Duration::from_secs(2)),
        })
        .unwrap();
    let before = node.ec2.calls().get("AssignPrivateIpAddresses").copied().unwrap_or(0);
    for pod in 0..8 {
        node.add(&format!("p{pod}"));
    }
    node.pass(Duration::from_secs(10));
    assert_eq!(node.state().status(node.now()).pool.bound, 8);
    let made = node.ec2.calls()["AssignPrivateIpAddresses"] - before;
    assert!(made <= 3, "{made} calls for eight pods");
}

#[test]
fn a_node_of_a_thousand_comes_up_and_all_its_looks_have_their_turn() {
    let mut config = Config { cluster: Some("ours".to_owned()), ..Config::default() };
    config.budget.nodes = 1000;
    let known = enid_core::instance_types::lookup("m5.large").unwrap();
    let (ec2, instance, _) = enid_sim::node::lone_instance(7, &known, simulation::START).unwrap();
    let mut node = SimNode::start(ec2, instance, config, LEAN, simulation::START + minutes(1)).unwrap();
    node.pass(minutes(30));
    let ticket = node.add("a");
    node.pass(Duration::from_secs(1));
    assert!(
        matches!(node.answer(ticket), Some(Answer::Added(_))),
        "{:?}",
        node.state().wait_reason(node.now())
    );
    let calls = node.ec2.calls();
    // One look in two minutes, shared by three kinds.
    assert!(calls["DescribeSubnets"] >= 2 && calls["DescribeNetworkInterfaces"] >= 5, "{calls:?}");
}

#[test]
fn what_somebody_breaks_again_and_again_is_mended_once_a_minute() {
    let mut node = a_node("m5.large", LEAN, Config::default());
    let a = add_settled(&mut node, "a").unwrap();
    node.pass(minutes(2));
    let before = node.kernel.writes;
    for _ in 0..600 {
        node.kernel.lose_rule(a);
        node.pass(Duration::from_secs(1));
    }
    let repairs = node.kernel.writes - before;
    assert!((9..=25).contains(&repairs), "{repairs} repairs in ten minutes");
}

#[test]
fn no_eni_is_taken_out_of_service_while_nothing_is_given_back() {
    let mut node = a_node("m5.large", Knobs { warm_eni: 2, ..Knobs::default() }, Config::default());
    let enis = node.state().status(node.now()).enis.len();
    let kind = FaultKind::LostReply;
    node.ec2.inject(Fault { call: Some(Call::DescribeSubnets), times: 200, kind }).unwrap();
    let config = node.state().config().clone();
    node.reconfigure(Config { subnet_discovery: false, ..config });
    for _ in 0..8 {
        node.pass(Duration::from_secs(10));
    }
    assert_eq!(mode(&node), Degraded::NoRelease);
    node.replace_strategist(LEAN);
    for _ in 0..6 {
        node.pass(Duration::from_secs(10));
        let phases: Vec<_> = node.state().status(node.now()).enis.iter().map(|eni| eni.phase).collect();
        assert_eq!(phases, vec!["ready"; enis]);
    }
    node.ec2.clear_faults();
    node.pass(minutes(10));
    assert!(node.state().status(node.now()).enis.len() < enis);
}

#[test]
fn pods_that_wait_call_an_eni_back_that_has_not_been_detached() {
    let mut node = a_node("t3.small", Knobs { warm_eni: 2, ..Knobs::default() }, Config::default());
    node.ec2.deny(Call::DetachNetworkInterface);
    node.replace_strategist(LEAN);
    node.pass(minutes(4));
    let leaving = |node: &SimNode<Knobs>| {
        node.state().status(node.now()).enis.iter().filter(|eni| eni.phase != "ready").count()
    };
    assert!(leaving(&node) > 0);
    node.ec2.deny(Call::CreateNetworkInterface);
    for pod in 0..6 {
        node.add(&format!("p{pod}"));
    }
    node.pass(minutes(2));
    let status = node.state().status(node.now());
    assert_eq!((status.pool.bound, leaving(&node)), (6, 0), "{:?} {:?}", status.enis, status.waiting_for);
}

#[test]
fn a_pod_whose_address_ec2_lost_makes_nobody_look_all_the_time() {
    let mut node = a_node("m5.large", Knobs { warm_ip: 6, ..LEAN }, Config::default());
    let a = add_settled(&mut node, "a").unwrap();
    let IpAddr::V4(lost) = a else { panic!("{a}") };
    let (now, eni) = (node.now(), node.state().identity().primary_eni.clone());
    let taken = enid_sim::ec2::assignment::UnassignPrivateIpAddresses {
        eni,
        addresses: vec![lost],
        prefixes: Vec::new(),
    };
    node.ec2.unassign_private_ip_addresses(now, &taken).unwrap();
    node.pass(minutes(5));
    assert_eq!(state_of(&node, a), "quarantined");
    node.replace_strategist(LEAN);
    node.pass(minutes(5));
    assert_eq!(node.state().status(node.now()).pool.free, 1, "the rest is given back all the same");
    let before = node.ec2.calls()["DescribeNetworkInterfaces"];
    node.pass(minutes(30));
    let looks = node.ec2.calls()["DescribeNetworkInterfaces"] - before;
    assert!((28..=35).contains(&looks), "{looks} looks in half an hour");
}

#[test]
fn a_node_whose_cluster_nobody_counts_goes_by_its_settings() {
    let config = Config { expects_count: true, ..Config::default() };
    let mut node = a_node("m5.large", LEAN, config);
    assert!(add_settled(&mut node, "a").is_some());
    let cluster = |node: &SimNode<Knobs>| node.state().status(node.now()).cluster;
    assert_eq!(cluster(&node), ClusterStatus { parts: 1, nodes: None, counted_secs_ago: None });
    let rate = |node: &SimNode<Knobs>| node.state().status(node.now()).budget[0].per_second_milli;
    let alone = rate(&node);

    // What was counted holds, whatever the operator says meanwhile, and until it is counted again.
    node.count_nodes(NonZeroU32::new(20).expect("some"));
    node.reconfigure(Config { cluster: Some("ours".to_owned()), ..node.state().config().clone() });
    node.pass(minutes(10));
    assert_eq!(cluster(&node), ClusterStatus { parts: 20, nodes: Some(20), counted_secs_ago: Some(600) });
    assert_eq!(rate(&node), alone / 20);
    node.count_nodes(NonZeroU32::new(2).expect("some"));
    assert_eq!(rate(&node), alone / 2);
    // Who states more knows of more to come.
    let mut config = node.state().config().clone();
    config.budget.nodes = 50;
    node.reconfigure(config);
    assert_eq!((cluster(&node).parts, rate(&node)), (50, alone / 50));
}

#[test]
fn a_count_that_comes_late_mints_no_burst() {
    let mut node = a_node("m5.large", LEAN, Config { expects_count: true, ..Config::default() });
    node.pass(minutes(10));
    let left = |node: &SimNode<Knobs>| node.state().status(node.now()).budget[1].left_milli;
    node.ec2.inject(Fault { call: None, times: 3, kind: FaultKind::Throttle }).unwrap();
    for pod in 0..9 {
        node.add(&format!("p{pod}"));
    }
    node.pass(Duration::from_secs(2));
    let factors = |node: &SimNode<Knobs>| -> Vec<u32> {
        node.state().status(node.now()).budget.iter().map(|class| class.factor_milli).collect()
    };
    let before = (left(&node), factors(&node));
    assert!(before.1.iter().any(|factor| *factor < 1000), "EC2 has throttled: {before:?}");
    node.count_nodes(NonZeroU32::MIN);
    assert_eq!((left(&node), factors(&node)), before);
}
