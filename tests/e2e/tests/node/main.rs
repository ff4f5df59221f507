//! A node at work: the real plugin, the real daemon, real kernels, and a VPC behind the real wire.
//!
//! Map: `cni` calls and their results · `supply` where addresses come from · `restart` crashes and orderly ends ·
//! `reload` settings and components that change · `strategies` who decides · `questions` what people are told.
#![expect(clippy::unwrap_used, reason = "a test that cannot arrange its world fails")]

mod cni;
mod questions;
mod reload;
mod restart;
mod strategies;
mod supply;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use e2e::lab::ready;
use e2e::node::Node;
use e2e::patience::wait_until_true;
use e2e::pod::{Pod, address_of};
use e2e::traffic;
use enid_vpc_lab::probe::Mirror;
use serde_json::Value;

/// A packet on one machine takes microseconds; the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long the kernel may take to make a link disappear after DEL was answered.
const LINK_END: Duration = Duration::from_secs(5);
/// An ENI takes some seconds to come in the lab.
const GROWTH: Duration = Duration::from_secs(25);

/// A pod reaches something and is seen there as `seen_as`.
#[track_caller]
fn reaches(pod: &Pod, target: Ipv4Addr, seen_as: Ipv4Addr) {
    traffic::reaches(&pod.namespace, target, seen_as);
}

/// A listener that says whom it sees.
#[track_caller]
fn listen(pod: &Pod, address: Ipv4Addr) -> Mirror {
    traffic::listen(&pod.namespace, address)
}

#[track_caller]
fn nothing_is_left_of(node: &Node, pod: &Pod, address: Ipv4Addr) {
    assert_eq!(node.kernel().mentions(address), Vec::<String>::new());
    wait_until_true("the host veth is gone", LINK_END, || node.kernel().link(&pod.host_veth()).is_none());
}

#[track_caller]
fn distinct(results: &[Value]) -> BTreeSet<Ipv4Addr> {
    let addresses: BTreeSet<Ipv4Addr> = results.iter().map(address_of).collect();
    assert_eq!(addresses.len(), results.len(), "two pods share an address: {results:?}");
    addresses
}
