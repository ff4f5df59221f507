//! Journal, kernel and EC2 must agree before anything goes, and are brought to agree where they differ.

mod doubt;
mod drift;
mod garbage;
mod readiness;
mod restraint;
mod sweep;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use enid_core::event::Answer;
use enid_core::ids::{ContainerId, IfName, NetworkName};
use enid_sim::node::{SimNode, attachment};
use simulation::Knobs;

/// One ready address more than needed, whatever else.
const LEAN: Knobs = Knobs {
    warm_eni: 0,
    warm_ip: 1,
    minimum_ip: 0,
    warm_prefix: 0,
    placement: enid_core::proposal::Placement::Pack,
};

fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

/// Where the journal has an address.
fn state_of(node: &SimNode<Knobs>, address: IpAddr) -> &'static str {
    let addresses = node.state().addresses(node.now());
    addresses.iter().find(|lease| lease.address == address).map_or("gone", |lease| lease.state)
}

fn network() -> NetworkName {
    "enid".parse().expect("a name")
}

/// What a runtime lists that knows these pods.
fn listed(names: &[&str]) -> BTreeSet<(ContainerId, IfName)> {
    let of = |name: &&str| {
        let attachment = attachment(name);
        (attachment.container, attachment.ifname)
    };
    names.iter().map(of).collect()
}

/// What a GC came to: how many were released, and who was kept.
fn collect(node: &mut SimNode<Knobs>, names: &[&str]) -> (u32, Vec<String>) {
    let ticket = node.gc(network(), listed(names));
    node.pass(Duration::from_secs(20));
    match node.answer(ticket) {
        Some(Answer::Collected { released, kept }) => {
            (*released, kept.iter().map(|(pod, why)| format!("{}: {why}", pod.container)).collect())
        }
        other => panic!("{other:?}"),
    }
}
