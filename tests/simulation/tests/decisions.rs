//! From a decision's record to the EC2 call and back: whatever was asked for says which decision asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use enid_core::ids::{DecisionId, EniId};
use enid_core::node::Config;
use enid_core::proposal::Band;
use enid_core::report::Decision;
use enid_core::snapshot::{MaxPodsSnapshot, SubnetSnapshot, WarmPoolSnapshot};
use enid_engine::ports::Strategist;
use enid_sim::node::{SimNode, lone_instance};
use simulation::{Knobs, START};

/// A strategist that records its decisions: the first of each kind has number 1.
#[derive(Clone)]
struct Recording {
    knobs: Knobs,
    warm_pool: Arc<AtomicU64>,
    subnets: Arc<AtomicU64>,
}

impl Recording {
    fn new(knobs: Knobs) -> Self {
        Self { knobs, warm_pool: Arc::default(), subnets: Arc::default() }
    }
}

fn numbered<T>(decision: Decision<T>, counter: &AtomicU64) -> Decision<T> {
    Decision { record: Some(DecisionId(1 + counter.fetch_add(1, Ordering::Relaxed))), ..decision }
}

impl Strategist for Recording {
    fn warm_pool(&self, snapshot: &WarmPoolSnapshot) -> Decision<Band> {
        numbered(self.knobs.warm_pool(snapshot), &self.warm_pool)
    }
    fn max_pods(&self, snapshot: &MaxPodsSnapshot) -> Decision<u32> {
        self.knobs.max_pods(snapshot)
    }
    fn subnets(&self, snapshot: &SubnetSnapshot) -> Decision<Vec<u16>> {
        numbered(self.knobs.subnets(snapshot), &self.subnets)
    }
}

fn by_address(warm_ip: u32) -> Knobs {
    Knobs { warm_ip, ..Knobs::default() }
}

fn a_node(knobs: Knobs) -> SimNode<Recording> {
    let known = enid_core::instance_types::lookup("m5.large").expect("a known instance type");
    let (ec2, instance, _) = lone_instance(7, &known, START).expect("the world is well formed");
    let begin = START + Duration::from_secs(60);
    let mut node = SimNode::start(ec2, instance, Config::default(), Recording::new(knobs), begin)
        .expect("metadata answers");
    assert!(node.settle(Duration::from_secs(600)));
    node
}

/// Why the address that became known last is there.
fn why_newest(node: &SimNode<Recording>) -> String {
    let all = node.state().addresses(node.now());
    all.iter().min_by_key(|address| address.for_secs).expect("an address").why.clone()
}

fn second_eni(node: &SimNode<Recording>) -> Option<EniId> {
    node.state().status(node.now()).enis.into_iter().find(|eni| eni.device > 0).map(|eni| eni.id)
}

#[test]
fn an_address_names_the_call_and_the_decision_that_brought_it() {
    let mut node = a_node(by_address(2));
    let strategies = node.state().status(node.now()).strategies;
    assert!(strategies[0].record.is_some_and(|record| record >= DecisionId(1)), "{strategies:?}");
    let why = why_newest(&node);
    assert!(why.starts_with("assigned by AssignPrivateIpAddresses because 0 ready"), "{why}");
    assert!(why.ends_with("; warm-pool decision 1 by knobs"), "{why}");

    node.replace_strategist(Recording::new(by_address(4)));
    node.pass(Duration::from_secs(120));
    assert!(why_newest(&node).contains("; warm-pool decision "), "{}", why_newest(&node));
    let address = node.state().addresses(node.now())[0].address;
    let explained = node.state().explain_address(address, node.now()).lines;

    node.crash_and_restart();
    assert!(node.settle(Duration::from_secs(600)));
    let again = node.state().explain_address(address, node.now()).lines;
    let why = |lines: &[String]| lines.iter().find(|line| line.starts_with("why it is here")).cloned();
    assert_eq!(why(&again), why(&explained), "the chain outlives the daemon");

    node.compact();
    node.crash_and_restart();
    let again = node.state().explain_address(address, node.now()).lines;
    assert_eq!(why(&again), why(&explained), "and the journal's compaction");
}

#[test]
fn an_eni_names_the_decisions_behind_its_creation_even_when_the_daemon_dies_before_the_answer() {
    for crash in [false, true] {
        let mut node = a_node(by_address(2));
        node.replace_strategist(Recording::new(by_address(12)));
        let deadline = node.now() + Duration::from_secs(600);
        while !node.calls_under_way().any(|call| call.name() == "CreateNetworkInterface") {
            assert!(node.step(deadline), "an ENI is asked for in time");
        }
        if crash {
            node.crash_and_restart();
        }
        assert!(node.settle(Duration::from_secs(600)));
        let eni = second_eni(&node).expect("a second ENI");
        let lines = node.state().explain_eni(&eni).lines.join("\n");
        assert!(lines.contains("assigned by CreateNetworkInterface because"), "{lines}");
        assert!(lines.contains("; warm-pool decision "), "{lines}");
        assert!(lines.contains("; subnet-selection decision "), "{lines}");
        assert_eq!(lines.contains("before the daemon restarted"), crash, "{lines}");
    }
}

#[test]
fn what_is_given_back_names_the_decision_that_has_no_use_for_it() {
    let mut node = a_node(by_address(12));
    let eni = second_eni(&node).expect("a second ENI");
    node.replace_strategist(Recording::new(by_address(1)));
    let deadline = node.now() + Duration::from_secs(3600);
    let (mut of_addresses, mut of_eni) = (None, None);
    while of_eni.is_none() {
        assert!(node.step(deadline), "addresses and the second ENI are given back in time");
        let all = node.state().addresses(node.now());
        for gone in all.iter().filter(|address| address.state == "returning") {
            let lines = node.state().explain_address(gone.address, node.now()).lines;
            let why = lines.into_iter().find(|line| line.starts_with("why it goes: "));
            of_addresses = of_addresses.or(why);
        }
        let lines = node.state().explain_eni(&eni).lines;
        of_eni = lines.into_iter().find(|line| line.starts_with(&format!("why {eni} goes: ")));
    }
    for (why, call, ready) in [
        (of_addresses.expect("it was explained"), "UnassignPrivateIpAddresses", "12 ready of 12 held"),
        (of_eni.expect("it was explained"), "DeleteNetworkInterface", "1 ready of 1 held"),
    ] {
        assert!(why.contains(&format!("given back by {call} because {ready}")), "{why}");
        assert!(why.contains("; warm-pool decision "), "{why}");
    }
}
