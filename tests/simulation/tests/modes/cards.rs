//! Several network cards, and pods with an interface on each.

use enid_core::event::Nics;
use enid_core::ids::PodName;
use enid_core::limits::NetworkCard;
use enid_core::node::Cards;
use enid_core::wiring::{Families, Seat};
use enid_sim::ec2::instance::FurtherInterface;
use enid_sim::ec2::interface::{CreateNetworkInterface, InterfaceType};
use enid_sim::node::attachment;
use simulation::{check, expect_converged, mutations};

use super::*;

fn on_every_card() -> Config {
    Config { cards: Cards::Every, ..Config::default() }
}

/// A type of `cards` network cards of `enis` ENIs of three pod addresses each.
fn small(cards: u32, enis: u32) -> Region {
    let t3 = enid_core::instance_types::lookup("t3.small").expect("a known type");
    let cards = (0..cards).map(|index| NetworkCard { index, max_enis: enis }).collect();
    Region::of_type(InstanceType { name: "many.cards".to_owned(), cards, ..t3 }, "10.0.0.0/20")
}

fn add_everywhere(node: &mut Node, name: &str) -> Ticket {
    let pod = PodName { namespace: "default".to_owned(), name: name.to_owned() };
    node.add_with(attachment(name), Some(pod), Nics::EveryCard)
}

/// Addresses on each card that are in `state`.
fn per_card(node: &Node, state: &str) -> BTreeMap<u32, u32> {
    let mut per_card = BTreeMap::new();
    for lease in node.state().addresses(node.now()) {
        let card = node.state().eni(&lease.eni).expect("an ENI").seat.card;
        *per_card.entry(card).or_default() += u32::from(lease.state == state);
    }
    per_card
}

/// The cards that a pod has an address on, in order.
fn cards_of(node: &Node, pod: IpAddr) -> Vec<u32> {
    let wiring = &node.kernel.pods[&pod];
    let seats = wiring.leased().map(|address| eni(node, &owner(node, address)).attachment.expect("attached"));
    seats.map(|at| at.seat.card).collect()
}

#[test]
fn every_card_keeps_one_address_ready_and_stays_at_that() {
    for kind in ["p4d.24xlarge", "p5.48xlarge"] {
        for mode in [Mode::SecondaryIp, Mode::Prefix] {
            let mut node = Region::of(kind).settled(Config { mode, ..on_every_card() }, ready(1));
            let cards = node.state().identity().instance_type.clone();
            let cards = enid_core::instance_types::lookup(&cards).expect("a known type").cards.len();
            let free = per_card(&node, "free");
            assert_eq!(free.len(), cards, "{kind}");
            assert!(free.iter().all(|(card, free)| *free == 1 || *card == 0), "{kind} {free:?}");
            let before = mutations(&node);
            node.pass(secs(3600));
            assert_eq!(mutations(&node), before, "{kind} in {mode:?}: idle cards do not flap");
            expect_converged(&mut node);
        }
    }
}

#[test]
fn a_pod_gets_one_address_of_each_card_and_gives_all_of_them_back() {
    let mut node = small(4, 2).settled(on_every_card(), ready(1));
    let ticket = add_everywhere(&mut node, "wide");
    node.pass(secs(1));
    let pod = added(&node, ticket);
    assert_eq!(cards_of(&node, pod), [0, 1, 2, 3]);
    let wiring = node.kernel.pods[&pod].clone();
    let names: Vec<_> = wiring.links().map(|link| link.ifname.to_string()).collect();
    assert_eq!(names, ["eth0", "mNicIf1", "mNicIf2", "mNicIf3"]);
    for (link, card) in wiring.links().zip(0..) {
        let seat = eni(&node, &owner(&node, link.address)).attachment.expect("attached").seat;
        assert_eq!((link.table, seat.card), (seat.table(), card));
    }
    settle(&mut node);
    assert_eq!(per_card(&node, "free").into_values().collect::<Vec<_>>(), [1, 1, 1, 1]);
    node.crash_and_restart();
    assert_eq!(per_card(&node, "bound").into_values().collect::<Vec<_>>(), [1, 1, 1, 1]);
    node.del("wide");
    node.pass(secs(1));
    assert_eq!(per_card(&node, "cooling").into_values().collect::<Vec<_>>(), [1, 1, 1, 1]);
    node.pass(secs(300));
    settle(&mut node);
    assert_eq!(node.state().pool_status(node.now()).total, 4);
    expect_converged(&mut node);
}

#[test]
fn a_death_at_any_effect_leaks_no_address_of_any_card() {
    for effects in 0..16 {
        for deleted in [false, true] {
            let mut node = small(3, 2).settled(on_every_card(), ready(1));
            let mut watch = Watch::default();
            if deleted {
                let ticket = add_everywhere(&mut node, "wide");
                node.pass(secs(5));
                added(&node, ticket);
                live(&mut node, &mut watch, secs(1));
                node.crash_after(effects);
                node.del("wide");
            } else {
                node.crash_after(effects);
                add_everywhere(&mut node, "wide");
            }
            // The runtime repeats a DEL whose answer it lost.
            for _ in 0..2 {
                live(&mut node, &mut watch, secs(5));
                node.del("wide");
            }
            live(&mut node, &mut watch, secs(300));
            settle(&mut node);
            let pool = node.state().pool_status(node.now());
            assert_eq!((pool.total, pool.free, node.kernel.pods.len()), (3, 3, 0), "after {effects} effects");
            check(&node);
            expect_converged(&mut node);
        }
    }
}

#[test]
fn those_that_want_one_interface_are_not_held_up_by_one_that_waits_for_more() {
    let mut region = small(2, 2);
    // The further card has nothing.
    region.ec2.deny(Call::CreateNetworkInterface);
    let mut node = region.starting(on_every_card(), ready(2));
    node.pass(secs(30));
    let wide = add_everywhere(&mut node, "wide");
    let narrow = node.add("narrow");
    node.pass(secs(1));
    assert_eq!(node.answer(wide), None);
    added(&node, narrow);
    node.ec2.permit(Call::CreateNetworkInterface);
    node.pass(secs(50));
    assert_eq!(cards_of(&node, added(&node, wide)), [0, 1]);
    settle(&mut node);
    expect_converged(&mut node);
}

#[test]
fn a_pod_that_wants_more_is_served_on_the_default_card_alone_while_only_that_is_in_use() {
    let mut node = small(2, 2).settled(Config::default(), ready(1));
    let ticket = add_everywhere(&mut node, "wide");
    node.pass(secs(1));
    assert_eq!(cards_of(&node, added(&node, ticket)), [0]);
    settle(&mut node);
    expect_converged(&mut node);
}

#[test]
fn a_full_default_card_overflows_to_the_others() {
    let mut node = small(2, 1).settled(on_every_card(), ready(1));
    let pods = fill(&mut node, "pod", 6);
    let cards: Vec<u32> = pods.iter().flat_map(|pod| cards_of(&node, *pod)).collect();
    assert_eq!(cards, [0, 0, 0, 1, 1, 1]);
    let wide = add_everywhere(&mut node, "wide");
    node.pass(secs(61));
    assert!(matches!(node.answer(wide), Some(Answer::TryLater(_))), "{:?}", node.answer(wide));
    settle(&mut node);
    expect_converged(&mut node);
}

#[test]
fn a_pod_that_wants_every_card_never_gets_two_addresses_of_one() {
    let mut node = small(2, 1).settled(on_every_card(), ready(1));
    fill(&mut node, "pod", 3);
    // The default card is full; the other one has addresses.
    let wide = add_everywhere(&mut node, "wide");
    node.pass(secs(10));
    assert_eq!(node.answer(wide), None);
    delete(&mut node, "pod", [0]);
    node.pass(secs(40));
    assert_eq!(cards_of(&node, added(&node, wide)), [0, 1]);
    settle(&mut node);
    expect_converged(&mut node);
}

#[test]
fn efa_only_interfaces_are_left_alone() {
    let region = small(3, 2);
    let efa = |card| FurtherInterface {
        seat: Seat { card, device: 1 },
        interface: CreateNetworkInterface {
            interface_type: InterfaceType::EfaOnly,
            ..CreateNetworkInterface::within(region.primary.clone())
        },
        delete_on_termination: true,
    };
    let request = RunInstances {
        further: vec![efa(1), efa(2)],
        ..RunInstances::one("many.cards", region.primary.clone())
    };
    let mut ec2 = region.ec2;
    let instance = ec2.launch(START, &request).expect("an instance");
    ec2.advance(START + secs(60));
    let mut node =
        SimNode::start(ec2, instance, on_every_card(), ready(1), START + secs(60)).expect("metadata");
    settle(&mut node);
    let before = enis(&node);
    assert_eq!(before.len(), 3);
    let ticket = add_everywhere(&mut node, "wide");
    node.pass(secs(5));
    assert_eq!(cards_of(&node, added(&node, ticket)), [0]);
    fill(&mut node, "pod", 3);
    for known in before.iter().filter(|eni| eni.interface_type == InterfaceType::EfaOnly) {
        assert_eq!(eni(&node, &known.id), *known);
    }
    expect_converged(&mut node);
}

#[test]
fn cards_that_are_not_used_any_more_are_cleared_when_their_pods_go() {
    let mut node = small(3, 2).settled(on_every_card(), ready(1));
    let ticket = add_everywhere(&mut node, "wide");
    node.pass(secs(2));
    let pod = added(&node, ticket);
    node.reconfigure(Config::default());
    node.pass(secs(300));
    settle(&mut node);
    assert!(node.kernel.pods.contains_key(&pod));
    assert_eq!(cards_of(&node, pod), [0, 1, 2]);
    node.del("wide");
    node.pass(secs(300));
    settle(&mut node);
    assert_eq!(enis(&node).len(), 1);
    expect_converged(&mut node);
}

#[test]
fn a_further_card_gives_back_what_many_pods_left_whatever_the_strategy_keeps() {
    let mut node = small(2, 3).settled(on_every_card(), ready(1));
    for pod in 0..5 {
        let ticket = add_everywhere(&mut node, &format!("wide{pod}"));
        node.pass(secs(20));
        added(&node, ticket);
    }
    delete(&mut node, "wide", 0..5);
    node.pass(secs(600));
    settle(&mut node);
    assert_eq!(per_card(&node, "free"), [(0, 1), (1, 1)].into());
    expect_converged(&mut node);
}

#[test]
fn a_pod_that_waits_for_a_further_card_is_not_told_about_the_default_one() {
    let mut node = small(2, 1).settled(on_every_card(), ready(1));
    for pod in 0..3 {
        let ticket = add_everywhere(&mut node, &format!("wide{pod}"));
        node.pass(secs(10));
        added(&node, ticket);
    }
    node.reconfigure(Config { max_enis: Some(1), ..on_every_card() });
    delete(&mut node, "wide", [0]);
    node.pass(secs(40));
    // One that wants a single interface is served from the default card; the further one is full.
    fill(&mut node, "narrow", 1);
    add_settled(&mut node, "overflow");
    let reason = {
        let ticket = add_everywhere(&mut node, "late");
        node.pass(secs(61));
        told_to_wait(&node, ticket)
    };
    assert!(matches!(reason, WaitReason::NodeFull { .. } | WaitReason::Cooling { .. }), "{reason:?}");
    settle(&mut node);
    expect_converged(&mut node);
}

#[test]
fn without_ipv4_the_further_cards_get_nothing() {
    let config = Config { families: Families::Ipv6, mode: Mode::Prefix, ..on_every_card() };
    let mut node = small(4, 2).with_ipv6().settled(config, ready(1));
    fill(&mut node, "pod", 1);
    node.pass(secs(300));
    assert_eq!((enis(&node).len(), held(&node)), (1, (0, 0)));
    expect_converged(&mut node);
}

#[test]
fn a_pod_with_an_address_of_each_card_counts_as_one() {
    let mut node = small(2, 1).settled(on_every_card(), ready(3));
    for pod in 0..3 {
        let ticket = add_everywhere(&mut node, &format!("wide{pod}"));
        node.pass(secs(10));
        assert_eq!(cards_of(&node, added(&node, ticket)), [0, 1]);
    }
    assert_eq!(node.state().pool_status(node.now()).bound, 3);
    let full = WaitReason::NodeFull { bound: 3, total: 3, max_enis: 1 };
    let late = add_everywhere(&mut node, "late");
    node.pass(secs(61));
    assert_eq!(told_to_wait(&node, late), full);
}
