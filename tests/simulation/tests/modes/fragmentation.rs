//! A subnet without a whole block left keeps serving pods, one address at a time, and is asked for blocks again.

use std::net::Ipv4Addr;

use simulation::expect_converged;

use super::*;

/// Others take an address out of every whole block of the primary's subnet.
fn break_up(node: &mut Node) -> Vec<Ipv4Addr> {
    let subnet = node.state().identity().subnet.clone();
    node.ec2.fragment(&subnet).expect("a subnet")
}

fn mend(node: &mut Node) {
    let subnet = node.state().identity().subnet.clone();
    node.ec2.vacate(&subnet).expect("a subnet");
}

#[test]
fn pods_get_single_addresses_on_the_same_eni_while_no_block_is_left() {
    let mut node = Region::of("m5.large").settled(in_prefixes(), ready(2));
    break_up(&mut node);
    let mut pods = Vec::new();
    for pod in 0..22 {
        // Each is served at once out of what is ready.
        let ticket = node.add(&format!("pod{pod}"));
        node.pass(secs(2));
        pods.push(added(&node, ticket));
    }
    settle(&mut node);
    assert_eq!(held(&node), (8, 1), "six in use, and two ready");
    assert!(pods.iter().all(|pod| owner(&node, *pod) == primary(&node)));
    assert_eq!(node.state().pool_status(node.now()).free, 2);
}

#[test]
fn blocks_are_asked_for_again_ever_more_seldom() {
    let mut node = Region::of("m5.large").settled(in_prefixes(), ready(2));
    break_up(&mut node);
    fill(&mut node, "pod", 20);
    settle(&mut node);
    let mut per_hour = Vec::new();
    for _ in 0..4 {
        let before = calls(&node, Call::AssignPrivateIpAddresses);
        node.pass(secs(3600));
        per_hour.push(calls(&node, Call::AssignPrivateIpAddresses) - before);
    }
    assert!(per_hour.iter().all(|asked| (3..=8).contains(asked)), "{per_hour:?}");
    assert!(per_hour[3] <= per_hour[0], "{per_hour:?}");
    assert_eq!(held(&node), (6, 1), "four in use, and two ready");
}

#[test]
fn a_mended_subnet_gives_prefixes_again_and_the_makeshift_goes() {
    let mut node = Region::of("m5.large").settled(in_prefixes(), ready(2));
    break_up(&mut node);
    let pods = fill(&mut node, "pod", 20);
    node.pass(secs(3600));
    assert_eq!(held(&node), (6, 1));
    mend(&mut node);
    node.pass(secs(20 * 60));
    settle(&mut node);
    assert_eq!(held(&node), (4, 2), "only the used ones of the makeshift stay");
    assert!(pods.iter().all(|pod| node.kernel.pods.contains_key(pod)));
    // They go with their pods, which new pods do not replace there.
    delete(&mut node, "pod", 16..20);
    node.pass(secs(120));
    settle(&mut node);
    assert_eq!(held(&node).0, 0);
    expect_converged(&mut node);
}

#[test]
fn a_full_eni_makes_room_for_prefixes_once_the_subnet_is_mended() {
    let mut node = Region::of("t3.small").settled(Config { max_enis: Some(1), ..in_prefixes() }, ready(1));
    break_up(&mut node);
    fill(&mut node, "pod", 17);
    assert_eq!(held(&node), (2, 1), "no slot is empty");
    mend(&mut node);
    node.pass(secs(20 * 60));
    settle(&mut node);
    assert_eq!(held(&node), (1, 2));
    expect_converged(&mut node);
}

#[test]
fn a_request_for_many_blocks_that_fails_is_halved_until_it_fits() {
    let kind = enid_core::instance_types::lookup("m5.large").expect("a known type");
    let mut region = Region::of_type(kind, "10.0.0.0/22");
    let subnet = region.primary.clone();
    let broken = region.ec2.fragment(&subnet).expect("a subnet");
    region.ec2.leave(&subnet, &broken[..3]).expect("strangers");
    let whole = usize::try_from(region.ec2.subnet(&subnet).expect("a subnet").free_blocks()).expect("few");
    let node = region.starting(in_prefixes(), ready(100));
    let mut node = node;
    node.pass(secs(60));
    // The primary ENI's own address may have broken one of them.
    let (singles, prefixes) = held(&node);
    assert!((whole - 1..=whole).contains(&prefixes), "{prefixes} of {whole}");
    assert!(singles > 0, "what blocks cannot give, single addresses do");
    let asked = calls(&node, Call::AssignPrivateIpAddresses) + calls(&node, Call::CreateNetworkInterface);
    assert!(asked <= 16, "{asked} calls");
}

#[test]
fn a_new_eni_goes_to_another_subnet_that_has_blocks() {
    let mut region = Region::of("t3.small");
    let other = region.subnet("10.0.200.0/24", &[("kubernetes.io/role/cni", "1")]);
    let first = region.primary.clone();
    region.ec2.fragment(&first).expect("a subnet");
    let mut node = region.settled(in_prefixes(), ready(1));
    fill(&mut node, "pod", 12);
    let born = enis(&node).into_iter().find(|eni| eni.subnet == other).expect("an ENI in the other subnet");
    assert!(!born.prefixes.is_empty() && born.secondary.is_empty());
    assert_eq!(eni(&node, &primary(&node)).prefixes, Vec::new());
}

#[test]
fn a_restart_in_a_broken_up_subnet_serves_pods_all_the_same() {
    let mut node = Region::of("m5.large").settled(in_prefixes(), ready(2));
    break_up(&mut node);
    let pods = fill(&mut node, "pod", 19);
    node.crash_and_restart();
    let late: Vec<_> = (0..4).map(|pod| node.add(&format!("late{pod}"))).collect();
    node.pass(secs(5));
    late.iter().for_each(|ticket| {
        added(&node, *ticket);
    });
    assert!(pods.iter().all(|pod| state_of(&node, *pod) == "bound"));
}
