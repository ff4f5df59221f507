//! What a look at the kernel asks, and what it shows.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::Serialize;

use crate::ids::EniId;
use crate::wiring::{EniWiring, NodeWiring, PodWiring};

/// What a look at the kernel compares it with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelWanted {
    /// What holds for the whole node, once the kernel was told.
    pub node: Option<Box<NodeWiring>>,
    /// ENIs that are set up.
    pub enis: Vec<EniWiring>,
    /// Pods that are wired, without those that are being worked on.
    pub pods: Vec<WantedPod>,
}

/// A pod that is wired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedPod {
    /// How.
    pub wiring: PodWiring,
    /// Where its network namespace was when it was wired.
    pub netns: Option<String>,
}

/// What the kernel has, and how it differs from what was wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelView {
    /// Pod addresses and the host veths that they are routed to.
    pub routed: BTreeMap<IpAddr, String>,
    /// All host veths, routed to or not.
    pub veths: BTreeSet<String>,
    /// Addresses that have rules of a pod's priorities and no route to a pod: nobody uses those rules.
    pub strays: BTreeSet<IpAddr>,
    /// The wanted pods whose network namespace is there, by the address that stands for each. A namespace
    /// that cannot be looked for is not in it.
    pub alive: BTreeSet<IpAddr>,
    /// Those among them with a process inside, as `/proc/*/ns/net` shows: somebody lives there.
    pub inhabited: BTreeSet<IpAddr>,
    /// What differs.
    pub drifts: Vec<Drift>,
}

/// A difference between what should be in the kernel and what is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Drift {
    /// Of what.
    pub of: Part,
    /// What is missing or wrong, for people: `rule to 10.0.1.7 lookup main (512)`.
    pub what: String,
}

/// A part of the kernel's wiring.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// What holds for the whole node: sysctls, nftables, the mark rule.
    Node,
    /// One ENI.
    Eni(EniId),
    /// One pod, by the address that stands for it.
    Pod(IpAddr),
}
