//! Whole-node simulations: the real node state over modelled EC2 and kernel, in virtual time.
//!
//! This library holds what the scenarios share: strategies as plain functions, and the invariants that
//! hold after every scenario. The scenarios are in `tests/`.
//!
//! * [`ordeal`]: one node's life under a seed: random work, random faults, recovery.
//! * [`runtime`]: a container runtime; [`strategies`]: strategies of any kind; [`dice`]: chance from a seed.
//! * [`safety`]: what holds after every event, of which `deeds` are what the daemon did; [`ledger`]: the journal as a
//!   naive reader has it; [`spending`]: the node's share of calls; [`seeds`]: many seeds on all cores.
#![forbid(unsafe_code)]

mod deeds;
pub mod dice;
pub mod ledger;
pub mod ordeal;
pub mod runtime;
pub mod safety;
pub mod seeds;
pub mod spending;
pub mod strategies;

use std::collections::BTreeMap;
use std::io::Write;
use std::net::IpAddr;
use std::time::Duration;

use enid_core::event::Answer;
use enid_core::limits::{InstanceType, Mode, PREFIX_ADDRESSES};
use enid_core::node::Config;
use enid_core::proposal::{Band, Grain, Placement, Proposal};
use enid_core::report::{Decision, Rung};
use enid_core::snapshot::{MaxPodsSnapshot, SubnetSnapshot, WarmPoolSnapshot};
use enid_core::time::Timestamp;
use enid_core::{admission, builtin};
use enid_engine::ports::Strategist;
use enid_sim::node::{SimNode, lone_instance};

use crate::safety::has;

/// When simulations begin.
pub const START: Timestamp = Timestamp(1_800_000_000_000);

/// The incumbent's knobs, as a strategy written down here a second time, apart from the shipped component.
#[derive(Clone, Copy, Debug, Default)]
pub struct Knobs {
    /// WARM_ENI_TARGET.
    pub warm_eni: u32,
    /// WARM_IP_TARGET.
    pub warm_ip: u32,
    /// MINIMUM_IP_TARGET.
    pub minimum_ip: u32,
    /// WARM_PREFIX_TARGET.
    pub warm_prefix: u32,
    /// Where the next pod's address comes from; the incumbent has no such knob.
    pub placement: Placement,
}

impl Strategist for Knobs {
    fn warm_pool(&self, snapshot: &WarmPoolSnapshot) -> Decision<Band> {
        let per_eni = snapshot.limits.slots_per_eni;
        let ceiling = per_eni * snapshot.limits.max_enis * snapshot.limits.addresses_per_slot;
        let band = if self.warm_ip > 0 || self.minimum_ip > 0 {
            Band {
                ready_low: self.warm_ip.min(ceiling),
                ready_high: Some(self.warm_ip.min(ceiling)),
                total_floor: self.minimum_ip.min(ceiling),
                grain: match snapshot.mode {
                    Mode::SecondaryIp => Grain::Address,
                    Mode::Prefix => Grain::Prefix,
                },
                release_after_ms: 30_000,
                ..Band::default()
            }
        } else if snapshot.mode == Mode::Prefix {
            let ready = (self.warm_prefix * PREFIX_ADDRESSES).max(1).min(ceiling);
            Band {
                ready_low: ready,
                ready_high: Some(ready),
                keep_free: self.warm_prefix,
                grain: Grain::Prefix,
                release_after_ms: 60_000,
                ..Band::default()
            }
        } else {
            Band {
                ready_low: (self.warm_eni * per_eni).max(1).min(ceiling),
                ready_high: Some((self.warm_eni * per_eni).min(ceiling)),
                grain: Grain::Eni,
                release_after_ms: 60_000,
                ..Band::default()
            }
        };
        let band = Band { placement: self.placement, ..band };
        let proposal = Proposal { target: band, outcome: enid_core::proposal::Outcome::default() };
        decided(admission::admit_warm_pool(snapshot, proposal).expect("the knobs are within bounds").target)
    }

    fn max_pods(&self, snapshot: &MaxPodsSnapshot) -> Decision<u32> {
        decided(builtin::max_pods(&MaxPodsSnapshot { uncapped: true, ..snapshot.clone() }).target)
    }

    fn subnets(&self, snapshot: &SubnetSnapshot) -> Decision<Vec<u16>> {
        decided(builtin::subnets(snapshot).target.iter().map(|ranked| ranked.candidate).collect())
    }
}

fn decided<T>(target: T) -> Decision<T> {
    Decision {
        target,
        rung: Rung::Live,
        strategy: "knobs".to_owned(),
        reason: "the knobs say so".to_owned(),
        next_check: None,
        faults: Vec::new(),
        fuel: None,
        took: Duration::ZERO,
        record: None,
    }
}

/// Says it where it is seen: what a test that passes prints is not.
pub fn say(line: impl std::fmt::Display) {
    // Without anybody to read it there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// A fresh node of a known type, settled.
pub fn a_node(instance_type: &str, knobs: Knobs, config: Config) -> SimNode<Knobs> {
    let known = enid_core::instance_types::lookup(instance_type).expect("a known instance type");
    a_node_of(&known, knobs, config)
}

/// A fresh node of a given type, settled.
pub fn a_node_of(instance_type: &InstanceType, knobs: Knobs, config: Config) -> SimNode<Knobs> {
    let (ec2, instance, _) = lone_instance(7, instance_type, START).expect("the world is well formed");
    let mut node = SimNode::start(ec2, instance, config, knobs, START + Duration::from_secs(60))
        .expect("metadata answers");
    assert!(
        node.settle(Duration::from_secs(600)),
        "a fresh node settles: {:?}",
        node.state().status(node.now())
    );
    node
}

/// Adds a pod, lets the node settle, and gives the pod's address.
pub fn add_settled<S: Strategist>(node: &mut SimNode<S>, name: &str) -> Option<IpAddr> {
    let ticket = node.add(name);
    assert!(node.settle(Duration::from_secs(600)), "the node settles: {:?}", node.state().status(node.now()));
    match node.answer(ticket) {
        Some(Answer::Added(holder)) => Some(holder.wiring.key()),
        Some(Answer::Deleted | Answer::TryLater(_) | Answer::Refused(_) | Answer::Collected { .. })
        | None => None,
    }
}

/// What must hold whenever nothing is under way.
pub fn check<S: Strategist>(node: &SimNode<S>) {
    assert_eq!(out_of_place(node), Vec::<String>::new());
}

/// Whatever is not as it must be whenever nothing is under way: EC2's own invariants, and that journal, kernel and EC2
/// say the same of every address.
pub fn out_of_place<S: Strategist>(node: &SimNode<S>) -> Vec<String> {
    let mut wrongs = node.ec2.check();
    let mut singles = BTreeMap::new();
    for eni in node.ec2.interfaces().filter(|eni| eni.attachment.is_some()) {
        for address in &eni.secondary {
            if singles.insert(*address, eni.id.clone()).is_some() {
                wrongs.push(format!("{address} is on two ENIs"));
            }
        }
    }
    let leases = node.state().addresses(node.now());
    for lease in &leases {
        let owner = node.ec2.interfaces().find(|eni| eni.attachment.is_some() && has(eni, lease.address));
        let owner = owner.map(|eni| &eni.id);
        if owner != Some(&lease.eni) {
            wrongs.push(format!("{} is on {owner:?}, not on {}", lease.address, lease.eni));
        }
    }
    let states: BTreeMap<IpAddr, &str> = leases.iter().map(|lease| (lease.address, lease.state)).collect();
    for pod in node.kernel.pods.values().filter(|pod| !pod.foreign) {
        for address in pod.leased() {
            let (state, link) = (states.get(&address), &pod.first.host_veth);
            if state != Some(&"bound") {
                wrongs.push(format!("the kernel's {link} holds {address}, which is {state:?}"));
            }
        }
    }
    wrongs
}

/// The calls so far that ask EC2 to change something, refused ones too, by API.
pub fn mutations<S: Strategist>(node: &SimNode<S>) -> BTreeMap<&'static str, u64> {
    node.ec2.calls().into_iter().filter(|(call, _)| !call.starts_with("Describe")).collect()
}

/// A settled node that is asked again does nothing.
pub fn expect_converged<S: Strategist>(node: &mut SimNode<S>) {
    let before = mutations(node);
    node.pass(Duration::from_secs(300));
    assert_eq!(
        mutations(node),
        before,
        "a converged node makes no change: {:?}",
        node.state().status(node.now())
    );
    check(node);
}
