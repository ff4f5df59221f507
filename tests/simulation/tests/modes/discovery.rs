//! Which subnets new ENIs may be in, what becomes of those whose subnet is kept out, and what happens when one is full.

use enid_core::proposal::Band;
use enid_core::report::Decision;
use enid_core::snapshot::{MaxPodsSnapshot, RoleTag, SubnetSnapshot, WarmPoolSnapshot};
use enid_engine::ports::Strategist;
use enid_sim::ec2::fault::{Fault, FaultKind};
use enid_sim::ec2::refusal::Code;
use simulation::{expect_converged, mutations};

use super::*;

const ROLE: &str = "kubernetes.io/role/cni";
const OURS: &str = "cni.networking.k8s.aws/cluster/ours";
const THEIRS: &str = "cni.networking.k8s.aws/cluster/theirs";

/// Others hold every address of a subnet but `left`.
fn crowd(node: &mut Node, subnet: &SubnetId, left: usize) {
    let free: Vec<_> = {
        let subnet = node.ec2.subnet(subnet).expect("a subnet");
        subnet.cidr.hosts().filter(|address| subnet.is_free(*address)).collect()
    };
    node.ec2.occupy(subnet, &free[..free.len() - left]).expect("free addresses");
}

/// A node that is part of the cluster `ours`, if of any.
fn of_cluster(cluster: Option<&str>) -> Config {
    Config { cluster: cluster.map(str::to_owned), ..Config::default() }
}

#[test]
fn tags_decide_which_subnets_new_enis_may_be_in() {
    type Tag = &'static [(&'static str, &'static str)];
    // Tags, our cluster, whether valid as another subnet, whether valid as the primary's.
    let table: [(Tag, Option<&str>, bool, bool); 11] = [
        (&[], Some("ours"), false, true),
        (&[(ROLE, "")], Some("ours"), false, true),
        (&[(ROLE, "0")], Some("ours"), false, false),
        (&[(ROLE, "1")], Some("ours"), true, true),
        (&[(ROLE, "yes")], None, true, true),
        (&[(ROLE, "1"), (OURS, "")], Some("ours"), true, true),
        (&[(ROLE, "1"), (THEIRS, "")], Some("ours"), false, false),
        (&[(ROLE, "1"), (THEIRS, ""), (OURS, "x")], Some("ours"), true, true),
        (&[(ROLE, "1"), (THEIRS, "")], None, true, true),
        (&[(ROLE, "0"), (OURS, "")], Some("ours"), false, false),
        (&[(THEIRS, "")], Some("ours"), false, true),
    ];
    for (tags, cluster, as_other, as_primary) in table {
        // As another subnet than the primary's, which has no room.
        let mut region = Region::of("t3.small");
        let other = region.subnet("10.0.64.0/20", tags);
        let first = region.primary.clone();
        let mut node = region.starting(of_cluster(cluster), ready(1));
        crowd(&mut node, &first, 0);
        let ticket = node.add("pod");
        node.pass(secs(59));
        let served = node.answer(ticket).is_some();
        assert_eq!(served, as_other, "{tags:?} of {cluster:?} as another subnet");
        assert_eq!(enis(&node).iter().any(|eni| eni.subnet == other), as_other);

        // As the primary's.
        let mut region = Region::of("t3.small");
        for (key, value) in tags {
            region.ec2.set_tag(region.primary.as_str(), key, value).expect("a subnet");
        }
        let mut node = region.starting(of_cluster(cluster), ready(1));
        node.pass(secs(60));
        let ticket = node.add("pod");
        node.pass(secs(59));
        let served = node.answer(ticket).is_some();
        assert_eq!(served, as_primary, "{tags:?} of {cluster:?} as the primary's subnet");
    }
}

#[test]
fn without_discovery_only_the_primarys_subnet_is_used() {
    let mut region = Region::of("t3.small");
    let (first, other) = (region.primary.clone(), region.subnet("10.0.64.0/20", &[(ROLE, "1")]));
    let config = Config { subnet_discovery: false, ..Config::default() };
    let mut node = region.settled(config, ready(1));
    fill(&mut node, "pod", 5);
    assert!(enis(&node).iter().all(|eni| eni.subnet == first));
    node.reconfigure(Config::default());
    node.pass(secs(60));
    crowd(&mut node, &first, 0);
    fill(&mut node, "late", 3);
    assert!(enis(&node).iter().any(|eni| eni.subnet == other));
    expect_converged(&mut node);
}

#[test]
fn an_eni_whose_subnet_is_kept_out_while_running_goes_with_its_last_pod() {
    let mut region = Region::of("t3.small");
    let (first, other) = (region.primary.clone(), region.subnet("10.0.64.0/20", &[(ROLE, "1")]));
    let mut node = region.settled(Config::default(), ready(1));
    let on_primary = fill(&mut node, "old", 3);
    tag(&mut node, first.as_str(), ROLE, "0");
    tag(&mut node, other.as_str(), ROLE, "1");
    let there = fill(&mut node, "more", 2);
    node.pass(secs(310));
    settle(&mut node);
    assert!(on_primary.iter().all(|pod| node.kernel.pods.contains_key(pod)), "pods stay");
    let drained = there.iter().find(|pod| eni(&node, &owner(&node, **pod)).subnet == first).is_some();
    let new = fill(&mut node, "new", 2);
    assert!(new.iter().all(|pod| eni(&node, &owner(&node, *pod)).subnet == other), "drained: {drained}");
    delete(&mut node, "old", 0..3);
    delete(&mut node, "more", 0..2);
    node.pass(secs(300));
    settle(&mut node);
    for eni in enis(&node).iter().filter(|eni| eni.subnet == first) {
        assert_eq!((&eni.id, eni.slots_used()), (&primary(&node), 0));
    }
    // Let in again, it is used again.
    tag(&mut node, first.as_str(), ROLE, "1");
    node.pass(secs(310));
    let again = fill(&mut node, "again", 5);
    assert!(again.iter().any(|pod| owner(&node, *pod) == primary(&node)));
    expect_converged(&mut node);
}

#[test]
fn a_restart_does_not_put_pods_where_they_are_kept_out() {
    let mut region = Region::of("t3.small");
    let first = region.primary.clone();
    region.subnet("10.0.64.0/20", &[(ROLE, "1")]);
    let mut node = region.settled(Config::default(), ready(2));
    fill(&mut node, "old", 1);
    tag(&mut node, first.as_str(), ROLE, "0");
    node.pass(secs(310));
    settle(&mut node);
    delete(&mut node, "old", [0]);
    node.pass(secs(10));
    node.crash_and_restart();
    let ticket = node.add("new");
    node.pass(secs(60));
    assert_ne!(owner(&node, added(&node, ticket)), primary(&node));
}

#[test]
fn a_subnet_that_turns_out_full_is_followed_by_the_next_at_once() {
    let mut region = Region::of("t3.small");
    region.subnet("10.0.64.0/20", &[(ROLE, "1")]);
    region.subnet("10.0.80.0/20", &[(ROLE, "1")]);
    let mut node = region.settled(Config::default(), ready(1));
    fill(&mut node, "pod", 2);
    // Of three subnets that look alike, the first two have nothing by the time they are asked.
    for call in [Call::AssignPrivateIpAddresses, Call::CreateNetworkInterface, Call::CreateNetworkInterface] {
        let kind = FaultKind::Error(Code::InsufficientFreeAddressesInSubnet);
        node.ec2.inject(Fault { call: Some(call), times: 1, kind }).expect("few faults");
    }
    let (before, asked) = (calls(&node, Call::CreateNetworkInterface), node.now());
    let tickets = [node.add("a"), node.add("b")];
    while calls(&node, Call::CreateNetworkInterface) < before + 3 {
        assert!(node.step(asked + secs(2)), "three subnets are asked without a pause in between");
    }
    node.pass(secs(20));
    tickets.iter().for_each(|ticket| {
        added(&node, *ticket);
    });
}

#[test]
fn a_full_subnet_is_left_alone_while_others_are_used() {
    let mut region = Region::of("m5.large");
    let first = region.primary.clone();
    let other = region.subnet("10.0.64.0/20", &[(ROLE, "1")]);
    let mut node = region.settled(Config::default(), ready(1));
    crowd(&mut node, &first, 0);
    let before = calls(&node, Call::AssignPrivateIpAddresses);
    let pods = fill(&mut node, "pod", 8);
    assert!(pods.iter().any(|pod| eni(&node, &owner(&node, *pod)).subnet == other));
    let asked = calls(&node, Call::AssignPrivateIpAddresses) - before;
    assert!(asked <= 9, "{asked} calls, one of which met the full subnet");
    node.ec2.vacate(&first).expect("a subnet");
    node.pass(secs(600));
    fill(&mut node, "late", 12);
    assert_eq!(eni(&node, &primary(&node)).slots_used(), 9, "the first fills up again");
    expect_converged(&mut node);
}

/// Ranks the subnets that are kept out first, and the others after them.
struct Unruly(Knobs);

impl Strategist for Unruly {
    fn warm_pool(&self, snapshot: &WarmPoolSnapshot) -> Decision<Band> {
        self.0.warm_pool(snapshot)
    }

    fn max_pods(&self, snapshot: &MaxPodsSnapshot) -> Decision<u32> {
        self.0.max_pods(snapshot)
    }

    fn subnets(&self, snapshot: &SubnetSnapshot) -> Decision<Vec<u16>> {
        let mut all: Vec<u16> = (0..).take(snapshot.candidates.len()).collect();
        all.sort_by_key(|index| snapshot.candidates[usize::from(*index)].role != RoleTag::Excluded);
        Decision { target: all, ..self.0.subnets(snapshot) }
    }
}

#[test]
fn a_strategy_cannot_rank_pods_into_a_subnet_that_is_kept_out() {
    let mut region = Region::of("t3.small");
    region.subnet("10.0.64.0/19", &[(ROLE, "0")]);
    let instance = region
        .ec2
        .launch(START, &RunInstances::one("t3.small", region.primary.clone()))
        .expect("an instance");
    region.ec2.advance(START + secs(60));
    let (config, unruly) = (Config::default(), Unruly(ready(2)));
    let mut node = SimNode::start(region.ec2, instance, config, unruly, START + secs(60)).expect("metadata");
    node.pass(secs(60));
    let tickets: Vec<_> = (0..4).map(|pod| node.add(&format!("pod{pod}"))).collect();
    node.pass(secs(59));
    assert!(tickets.iter().all(|ticket| matches!(node.answer(*ticket), Some(Answer::Added(_)))));
    assert!(node.ec2.interfaces().all(|eni| eni.subnet == region.primary));
    expect_converged(&mut node);
}

#[test]
fn the_look_for_room_is_not_put_off_by_pods_that_keep_coming() {
    let region = Region::of("t3.small");
    let first = region.primary.clone();
    let mut node = region.settled(Config::default(), ready(1));
    crowd(&mut node, &first, 0);
    fill(&mut node, "pod", 1);
    node.add("early");
    node.pass(secs(400));
    node.ec2.vacate(&first).expect("a subnet");
    let before = calls(&node, Call::DescribeSubnets);
    for pod in 0..25 {
        node.add(&format!("late{pod}"));
        node.pass(secs(4));
    }
    let looks = calls(&node, Call::DescribeSubnets) - before;
    let bound = node.state().pool_status(node.now()).bound;
    assert!((1..=4).contains(&looks) && bound > 1, "{looks} looks in 100 s, {bound} pods");
}

#[test]
fn nothing_is_put_on_a_primary_whose_tags_are_not_known_yet() {
    for slow in [None, Some(secs(3)), Some(secs(20))] {
        let mut region = Region::of("t3.small");
        tag_first(&mut region, "0");
        region.subnet("10.0.64.0/20", &[(ROLE, "1")]);
        if let Some(slow) = slow {
            let call = Some(Call::DescribeSubnets);
            let fault = Fault { call, times: 1, kind: FaultKind::Delay(slow) };
            region.ec2.inject(fault).expect("few faults");
        }
        let mut node = region.starting(Config::default(), ready(2));
        let early = node.add("early");
        let deadline = node.now() + secs(59);
        while node.step(deadline) {
            assert_eq!(eni(&node, &primary(&node)).slots_used(), 0, "with subnets after {slow:?}");
        }
        assert_ne!(owner(&node, added(&node, early)), primary(&node));
    }
}

fn tag_first(region: &mut Region, role: &str) {
    region.ec2.set_tag(region.primary.as_str(), ROLE, role).expect("a subnet");
}

#[test]
fn where_subnets_may_not_be_described_pods_are_served_all_the_same() {
    for role in [None, Some("0"), Some("1")] {
        let mut region = Region::of("t3.small");
        if let Some(role) = role {
            tag_first(&mut region, role);
        }
        region.ec2.deny(Call::DescribeSubnets);
        let mut node = region.starting(Config::default(), ready(2));
        let early = [node.add("a"), node.add("b")];
        node.pass(secs(59));
        assert_eq!(early.map(|ticket| owner(&node, added(&node, ticket)) == primary(&node)), [true; 2]);
        node.crash_and_restart();
        let late = node.add("late");
        node.pass(secs(59));
        added(&node, late);
    }
}

#[test]
fn a_subnet_with_room_for_less_than_was_asked_gives_what_it_has_at_once() {
    let region = Region::of("t3.small");
    let first = region.primary.clone();
    let config = Config { max_enis: Some(2), ..Config::default() };
    let mut node = region.settled(config, Knobs { warm_eni: 1, ..ready(0) });
    // A whole ENI's addresses fit, but not its own one besides.
    crowd(&mut node, &first, 3);
    node.add("pod");
    node.pass(secs(20));
    assert_eq!(enis(&node).len(), 2, "{:?}", mutations(&node));
    assert_eq!(held(&node).0, 5);
    fill(&mut node, "late", 3);
}
