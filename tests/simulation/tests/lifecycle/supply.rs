//! Giving back, and what the operator changes.

use enid_core::proposal::Placement;
use enid_sim::ec2::Tags;
use enid_sim::ec2::call::Call;
use enid_sim::ec2::fault::{Fault, FaultKind};
use enid_sim::ec2::refusal::Code;

use super::*;

#[test]
fn packing_fills_one_eni_before_it_touches_the_next() {
    let knobs = Knobs { minimum_ip: 9, placement: Placement::Pack, ..Knobs::default() };
    let mut node = a_small_node(knobs);
    fill(&mut node, 4);
    assert_eq!(bound_per_eni(&node), [3, 1, 0]);
    expect_converged(&mut node);
}

#[test]
fn spreading_takes_from_the_emptiest_eni() {
    let knobs = Knobs { minimum_ip: 9, placement: Placement::Spread, ..Knobs::default() };
    let mut node = a_small_node(knobs);
    fill(&mut node, 4);
    assert_eq!(bound_per_eni(&node), [2, 1, 1]);
    expect_converged(&mut node);
}

fn bound_per_eni(node: &Node) -> Vec<u32> {
    node.state().status(node.now()).enis.iter().map(|eni| eni.bound).collect()
}

#[test]
fn addresses_beyond_the_target_are_given_back_once_idle() {
    let mut node = a_node("m5.large", ready(2), Config::default());
    fill(&mut node, 6);
    assert_eq!(node.state().pool_status(node.now()).total, 8);
    for pod in 0..5 {
        node.del(&format!("pod{pod}"));
    }
    node.pass(secs(29));
    assert_eq!(node.state().pool_status(node.now()).cooling, 5);
    assert_eq!(node.state().pool_status(node.now()).total, 8, "nothing that cools is given back");
    node.pass(secs(200));
    settle(&mut node);
    let pool = node.state().pool_status(node.now());
    assert_eq!((pool.total, pool.free, pool.bound), (3, 2, 1));
    expect_converged(&mut node);
}

#[test]
fn the_floor_is_never_undercut() {
    let mut node =
        a_node("m5.large", Knobs { warm_ip: 1, minimum_ip: 6, ..Knobs::default() }, Config::default());
    fill(&mut node, 8);
    for pod in 0..8 {
        node.del(&format!("pod{pod}"));
    }
    node.pass(secs(300));
    settle(&mut node);
    assert_eq!(node.state().pool_status(node.now()).total, 6);
    expect_converged(&mut node);
}

#[test]
fn an_idle_eni_is_given_back_and_one_stays_warm() {
    let mut node = a_small_node(Knobs { warm_eni: 1, ..Knobs::default() });
    fill(&mut node, 5);
    assert_eq!(node.state().addresses_per_eni(), [3, 3, 3]);
    for pod in 0..5 {
        node.del(&format!("pod{pod}"));
    }
    node.pass(secs(300));
    settle(&mut node);
    assert_eq!(node.state().addresses_per_eni(), [3]);
    assert_eq!(node.ec2.interfaces().count(), 1, "none is left behind in EC2");
    expect_converged(&mut node);
}

#[test]
fn an_eni_with_a_pod_stays() {
    let mut node = a_small_node(Knobs { warm_eni: 0, ..Knobs::default() });
    fill(&mut node, 7);
    for pod in 0..6 {
        node.del(&format!("pod{pod}"));
    }
    node.pass(secs(400));
    settle(&mut node);
    assert_eq!(node.state().pool_status(node.now()).bound, 1);
    assert_eq!(node.state().addresses_per_eni().len(), 2);
    expect_converged(&mut node);
}

#[test]
fn a_shorter_cooldown_holds_for_what_is_released_from_now_on() {
    let mut node = a_small_node(Knobs { minimum_ip: 3, ..Knobs::default() });
    let first = add_settled(&mut node, "a").expect("an address");
    node.reconfigure(Config { cooldown: secs(5), ..Config::default() });
    node.del("a");
    node.pass(secs(4));
    assert_eq!(state_of(&node, first), "cooling");
    node.pass(secs(2));
    assert_eq!(state_of(&node, first), "free");
    settle(&mut node);
    expect_converged(&mut node);
}

#[test]
fn a_raised_target_is_reached_and_a_lowered_one_too() {
    let mut node = a_node("m5.large", ready(2), Config::default());
    assert_eq!(node.state().pool_status(node.now()).free, 2);
    node.replace_strategist(ready(12));
    settle(&mut node);
    assert_eq!(node.state().addresses_per_eni(), [9, 3]);
    node.replace_strategist(ready(1));
    node.pass(secs(300));
    settle(&mut node);
    assert_eq!(node.state().addresses_per_eni(), [1]);
    expect_converged(&mut node);
}

#[test]
fn a_lowered_eni_limit_takes_unused_enis_and_leaves_used_ones() {
    let mut node = a_small_node(Knobs { minimum_ip: 9, ..Knobs::default() });
    fill(&mut node, 4);
    node.reconfigure(Config { max_enis: Some(1), ..Config::default() });
    node.pass(secs(120));
    settle(&mut node);
    assert_eq!(node.state().addresses_per_eni(), [3, 1], "the second has a pod, and what it alone needs");
    node.del("pod3");
    node.pass(secs(120));
    settle(&mut node);
    assert_eq!(node.state().addresses_per_eni(), [3]);
    expect_converged(&mut node);
}

#[test]
fn a_raised_eni_limit_is_used() {
    let config = Config { max_enis: Some(1), ..Config::default() };
    let mut node = a_node("t3.small", Knobs { minimum_ip: 9, ..Knobs::default() }, config);
    assert_eq!(node.state().addresses_per_eni(), [3]);
    node.reconfigure(Config::default());
    settle(&mut node);
    assert_eq!(node.state().addresses_per_eni(), [3, 3, 3]);
    expect_converged(&mut node);
}

#[test]
fn when_one_subnet_is_crowded_the_next_one_is_used_and_later_the_first_again() {
    let mut node = a_small_node(ready(1));
    let first = node.ec2.subnets().next().cloned().expect("a subnet");
    crowd(&mut node, 0);
    let range = "10.0.200.0/24".parse().expect("a range");
    let open = Tags::from([("kubernetes.io/role/cni".to_owned(), "1".to_owned())]);
    let second = node.ec2.add_subnet(&first.vpc, &first.zone, range, open).expect("a subnet");
    let tickets: Vec<_> = (0..3).map(|pod| node.add(&format!("pod{pod}"))).collect();
    node.pass(secs(60));
    for ticket in tickets {
        added(&node, ticket);
    }
    assert!(node.ec2.interfaces_of(node.instance()).any(|eni| eni.subnet == second));
    node.ec2.vacate(&first.id).expect("a known subnet");
    node.pass(secs(200));
    fill(&mut node, 8);
    assert_eq!(node.state().addresses_per_eni().first(), Some(&3), "the primary ENI fills up");
    expect_converged(&mut node);
}

#[test]
fn addresses_that_ec2_may_not_take_back_serve_pods_again() {
    let config = Config { max_enis: Some(2), ..Config::default() };
    let mut node = a_node("t3.small", Knobs { minimum_ip: 6, ..ready(1) }, config);
    fill(&mut node, 1);
    // What became of the first request is unknown; the permission is gone when it is asked again.
    let call = Some(Call::UnassignPrivateIpAddresses);
    let kind = FaultKind::Error(Code::InternalError);
    node.ec2.inject(Fault { call, times: 1, kind }).expect("one fault");
    node.replace_strategist(ready(1));
    let deadline = node.now() + secs(100);
    while !node.ec2.calls().contains_key(Call::UnassignPrivateIpAddresses.name()) {
        assert!(node.step(deadline), "something is given back");
    }
    node.ec2.deny(Call::UnassignPrivateIpAddresses);
    node.pass(secs(300));
    for pod in 0..4 {
        let ticket = node.add(&format!("late{pod}"));
        node.pass(secs(59));
        added(&node, ticket);
    }
}
