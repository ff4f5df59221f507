//! Pods' ENIs are where an ENIConfig says, and the primary ENI has none.

use enid_core::node::{CustomNetworking, EniConfig};
use simulation::expect_converged;

use super::*;

fn there(name: &str, subnets: &[&SubnetId], groups: &[&SecurityGroupId]) -> Config {
    let config = EniConfig {
        name: name.to_owned(),
        subnets: subnets.iter().map(|id| (*id).clone()).collect(),
        security_groups: groups.iter().map(|id| (*id).clone()).collect(),
    };
    Config { custom_networking: CustomNetworking::Use(config), ..Config::default() }
}

#[test]
fn pods_are_in_the_eni_configs_subnet_behind_its_groups_and_not_on_the_primary() {
    let mut region = Region::of("t3.small");
    let (subnet, group) = (region.subnet("10.0.64.0/20", &[]), region.group("pods"));
    for mode in [Mode::SecondaryIp, Mode::Prefix] {
        let region = Region {
            ec2: region.ec2.clone(),
            vpc: region.vpc.clone(),
            zone: region.zone.clone(),
            primary: region.primary.clone(),
            kind: region.kind.clone(),
        };
        let config = Config { mode, ..there("pods", &[&subnet], &[&group]) };
        let mut node = region.settled(config, ready(1));
        fill(&mut node, "pod", 6);
        for eni in enis(&node) {
            if eni.id == primary(&node) {
                assert_eq!(eni.slots_used(), 0, "{mode:?}");
            } else {
                assert_eq!((&eni.subnet, &eni.groups), (&subnet, &vec![group.clone()]));
            }
        }
        let snapshot = node.state().max_pods_snapshot(node.now());
        assert!(snapshot.custom_networking);
        expect_converged(&mut node);
    }
}

#[test]
fn turned_on_while_running_the_primarys_pods_stay_and_its_free_addresses_go() {
    let mut region = Region::of("m5.large");
    let subnet = region.subnet("10.0.64.0/20", &[]);
    let mut node = region.settled(Config::default(), ready(4));
    let old = fill(&mut node, "old", 3);
    node.reconfigure(there("pods", &[&subnet], &[]));
    node.pass(secs(60));
    settle(&mut node);
    assert_eq!(eni(&node, &primary(&node)).secondary.len(), 3, "only what pods have");
    assert!(old.iter().all(|pod| node.kernel.pods.contains_key(pod)));
    let new = fill(&mut node, "new", 3);
    assert!(new.iter().all(|pod| owner(&node, *pod) != primary(&node)));
    // What a pod gives up there goes back when it has cooled.
    delete(&mut node, "old", 0..3);
    node.pass(secs(60));
    settle(&mut node);
    assert_eq!(eni(&node, &primary(&node)).secondary.len(), 0);
    // And back again: the ENI elsewhere is as good as any.
    node.reconfigure(Config::default());
    fill(&mut node, "last", 8);
    expect_converged(&mut node);
}

#[test]
fn another_eni_config_drains_the_enis_of_the_first() {
    let mut region = Region::of("m5.large");
    let (first, second) = (region.subnet("10.0.64.0/20", &[]), region.subnet("10.0.80.0/20", &[]));
    let mut node = region.settled(there("first", &[&first], &[]), ready(2));
    fill(&mut node, "old", 2);
    node.reconfigure(there("second", &[&second], &[]));
    node.pass(secs(60));
    let new = fill(&mut node, "new", 2);
    assert!(new.iter().all(|pod| eni(&node, &owner(&node, *pod)).subnet == second));
    delete(&mut node, "old", 0..2);
    node.pass(secs(120));
    settle(&mut node);
    assert!(enis(&node).iter().all(|eni| eni.subnet != first), "the last pod took its ENI along");
    expect_converged(&mut node);
}

#[test]
fn an_eni_config_that_nobody_described_is_named_until_somebody_does() {
    let mut region = Region::of("t3.small");
    let subnet = region.subnet("10.0.64.0/20", &[]);
    let missing = CustomNetworking::Missing { name: "zone-a".to_owned() };
    let mut node = region.starting(Config { custom_networking: missing, ..Config::default() }, ready(1));
    node.pass(secs(60));
    assert_eq!(reason_to_wait(&mut node, "early"), WaitReason::NoEniConfig { name: "zone-a".to_owned() });
    assert_eq!(calls(&node, Call::CreateNetworkInterface), 0);
    let waiting = node.add("waiting");
    node.reconfigure(there("zone-a", &[&subnet], &[]));
    node.pass(secs(20));
    assert_ne!(owner(&node, added(&node, waiting)), primary(&node));
    settle(&mut node);
    expect_converged(&mut node);
}

#[test]
fn subnets_that_are_not_here_are_named_until_one_is() {
    let mut region = Region::of("t3.small");
    let here = region.subnet("10.0.64.0/20", &[]);
    region.zone = region.ec2.config().zones[1].clone();
    let elsewhere = region.subnet("10.0.80.0/20", &[]);
    let zone = region.ec2.config().zones[0].clone();
    let unknown: SubnetId = "subnet-0123456789abcdef0".parse().expect("an id");
    let mut node = region.starting(there("far", &[&elsewhere, &unknown], &[]), ready(1));
    node.pass(secs(60));
    let reason = WaitReason::ForeignSubnets { eni_config: "far".to_owned(), zone };
    assert_eq!(reason_to_wait(&mut node, "early"), reason);
    assert_eq!(calls(&node, Call::CreateNetworkInterface), 0);
    let waiting = node.add("waiting");
    node.reconfigure(there("near", &[&here], &[]));
    node.pass(secs(20));
    added(&node, waiting);
    settle(&mut node);
    expect_converged(&mut node);
}

#[test]
fn the_eni_configs_subnets_are_tried_one_after_the_other() {
    let mut region = Region::of("t3.small");
    let (small, large) = (region.subnet("10.0.64.0/28", &[]), region.subnet("10.0.80.0/20", &[]));
    let mut node = region.settled(there("both", &[&small, &large], &[]), ready(1));
    let free: Vec<_> = {
        let subnet = node.ec2.subnet(&large).expect("a subnet");
        subnet.cidr.hosts().filter(|address| subnet.is_free(*address)).collect()
    };
    node.ec2.occupy(&large, &free).expect("free addresses");
    let pods = fill(&mut node, "pod", 5);
    assert!(pods.iter().any(|pod| eni(&node, &owner(&node, *pod)).subnet == small));
    assert!(pods.iter().all(|pod| owner(&node, *pod) != primary(&node)));
}

#[test]
fn an_eni_config_that_goes_away_leaves_running_pods_behind_its_groups() {
    let mut region = Region::of("t3.small");
    let (subnet, group) = (region.subnet("10.0.64.0/20", &[]), region.group("pods"));
    let mut node = region.settled(there("a", &[&subnet], &[&group]), ready(1));
    let pod = fill(&mut node, "pod", 1)[0];
    node.pass(secs(70));
    let missing = CustomNetworking::Missing { name: "a".to_owned() };
    node.reconfigure(Config { custom_networking: missing, ..Config::default() });
    node.pass(secs(200));
    assert_eq!(eni(&node, &owner(&node, pod)).groups, [group]);
}

#[test]
fn another_eni_config_leaves_the_groups_of_what_drains() {
    let mut region = Region::of("m5.large");
    let (first, second) = (region.subnet("10.0.64.0/20", &[]), region.subnet("10.0.80.0/20", &[]));
    let (one, two) = (region.group("one"), region.group("two"));
    let mut node = region.settled(there("first", &[&first], &[&one]), ready(2));
    let old = fill(&mut node, "old", 2);
    node.pass(secs(70));
    node.reconfigure(there("second", &[&second], &[&two]));
    node.pass(secs(200));
    let new = fill(&mut node, "new", 1)[0];
    assert_eq!(eni(&node, &owner(&node, old[0])).groups, [one]);
    assert_eq!(eni(&node, &owner(&node, new)).groups, [two]);
}
