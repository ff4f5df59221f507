//! What CNI STATUS and the readiness probe are told.

use enid_core::node::{Config, Readiness};
use enid_core::report::WaitReason;
use enid_sim::ec2::assignment::UnassignPrivateIpAddresses;
use enid_sim::ec2::call::Call;
use simulation::{Knobs, a_node, add_settled};

use super::*;

fn readiness(node: &SimNode<Knobs>) -> Readiness {
    node.state().readiness(node.now())
}

#[test]
fn a_node_with_addresses_is_ready() {
    let node = a_node("m5.large", LEAN, Config::default());
    assert_eq!(readiness(&node), Readiness::Ready);
}

#[test]
fn an_empty_pool_counts_only_when_it_stays_empty_and_recovery_at_once() {
    let mut node = a_node("m5.large", LEAN, Config::default());
    node.ec2.deny(Call::AssignPrivateIpAddresses);
    node.ec2.deny(Call::CreateNetworkInterface);
    while node.state().status(node.now()).pool.free > 0 {
        let name = format!("p{}", node.state().status(node.now()).pool.bound);
        node.add(&name);
        node.pass(Duration::from_millis(500));
    }
    assert_eq!(readiness(&node), Readiness::Ready, "it may yet grow");
    node.pass(Duration::from_secs(30));
    let Readiness::NotReady { reason } = readiness(&node) else { panic!("{:?}", readiness(&node)) };
    assert!(matches!(reason, WaitReason::Cloud { .. }), "{reason}");
    node.ec2.permit(Call::AssignPrivateIpAddresses);
    node.ec2.permit(Call::CreateNetworkInterface);
    node.pass(minutes(3));
    assert_eq!(readiness(&node), Readiness::Ready);
}

#[test]
fn a_node_that_carries_as_many_pods_as_it_may_is_full_and_nothing_is_wrong() {
    let config = Config { max_enis: Some(1), ..Config::default() };
    let mut node = a_node("t3.small", LEAN, config);
    for pod in 0..3 {
        add_settled(&mut node, &format!("p{pod}")).unwrap();
    }
    node.pass(minutes(1));
    assert!(matches!(readiness(&node), Readiness::Full { reason: WaitReason::NodeFull { .. } }));
    // A pod that goes makes nothing worse while its address cools down.
    node.del("p0");
    node.pass(Duration::from_secs(1));
    assert!(matches!(readiness(&node), Readiness::Full { reason: WaitReason::Cooling { .. } }));
    node.pass(minutes(1));
    assert_eq!(readiness(&node), Readiness::Ready);
}

#[test]
fn a_cordoned_node_whose_addresses_are_all_in_use_is_full() {
    let mut node = a_node("m5.large", Knobs { warm_ip: 2, ..LEAN }, Config::default());
    let config = node.state().config().clone();
    node.reconfigure(Config { cordoned: true, ..config });
    add_settled(&mut node, "a").unwrap();
    add_settled(&mut node, "b").unwrap();
    node.pass(minutes(1));
    let full = Readiness::Full { reason: WaitReason::Cordoned };
    assert_eq!(readiness(&node), full);
}

#[test]
fn a_node_that_cannot_look_at_its_kernel_serves_nobody_and_says_why() {
    let mut node = a_node("m5.large", LEAN, Config::default());
    node.kernel.refuse_looks = u32::MAX;
    node.crash_and_restart();
    let ticket = node.add("a");
    node.pass(Duration::from_secs(20));
    assert_eq!(node.answer(ticket), None);
    assert!(matches!(why(&node), WaitReason::Kernel { .. }));
    node.kernel.refuse_looks = 0;
    node.pass(Duration::from_secs(20));
    assert!(matches!(node.answer(ticket), Some(Answer::Added(_))), "{:?}", node.answer(ticket));
}

/// Why a node is not ready.
fn why(node: &SimNode<Knobs>) -> WaitReason {
    match readiness(node) {
        Readiness::NotReady { reason } => reason,
        other @ (Readiness::Ready | Readiness::Full { .. } | Readiness::Impaired { .. }) => {
            panic!("{other:?}")
        }
    }
}

#[test]
fn pods_whose_addresses_ec2_took_away_make_it_worse_than_not_ready() {
    let mut node = a_node("t3.small", LEAN, Config { max_enis: Some(1), ..Config::default() });
    let a = add_settled(&mut node, "a").unwrap();
    node.ec2.deny(Call::AssignPrivateIpAddresses);
    let now = node.now();
    let primary = node.state().identity().primary_eni.clone();
    let all: Vec<_> = node.state().addresses(now).into_iter().map(|lease| lease.address).collect();
    let all: Vec<_> = all
        .into_iter()
        .filter_map(|address| match address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        })
        .collect();
    let taken = UnassignPrivateIpAddresses { eni: primary, addresses: all, prefixes: Vec::new() };
    node.ec2.unassign_private_ip_addresses(now, &taken).unwrap();
    node.pass(minutes(5));
    let Readiness::Impaired { what, .. } = readiness(&node) else { panic!("{:?}", readiness(&node)) };
    assert!(what.starts_with("1 pods have addresses"), "{what}");
    assert_eq!(state_of(&node, a), "quarantined");
}

#[test]
fn a_kernel_that_refuses_what_every_pod_needs_is_told_of() {
    let mut node = a_node("m5.large", LEAN, Config::default());
    node.kernel.refuse_node = 20;
    node.kernel.lacks_nft = true;
    node.pass(minutes(3));
    let Readiness::Impaired { reason, .. } = readiness(&node) else { panic!("{:?}", readiness(&node)) };
    assert!(matches!(reason, WaitReason::Kernel { .. }), "{reason}");
    node.kernel.refuse_node = 0;
    node.pass(minutes(3));
    assert_eq!(readiness(&node), Readiness::Ready);
}
