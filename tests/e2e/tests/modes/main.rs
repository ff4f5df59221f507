//! Every way of addressing pods, end to end: the real plugin, the real daemon, EC2 and metadata on the real wire, and
//! packets on the same node, across nodes and off the VPC; and then nothing is left behind.
//!
//! Map: `prefixes` delegated /28 blocks · `custom_networking` ENIConfigs · `subnets` discovery and draining ·
//! `security_groups` · `families` IPv6, dual stack and egress · `translation` who is seen as whom outside ·
//! `ingress` who may open connections · `cards` several network cards, and ENIs that are none of ours ·
//! `provisioning` nodes that ask EC2 for less · `environment` the incumbent's variables · `bad_input` what cannot be ·
//! `many_pods` five hundred on one node.
#![expect(clippy::unwrap_used, reason = "a test that cannot arrange its world fails")]

mod bad_input;
mod cards;
mod custom_networking;
mod environment;
mod families;
mod ingress;
mod many_pods;
mod prefixes;
mod provisioning;
mod security_groups;
mod subnets;
mod translation;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use e2e::daemon::Daemon;
use e2e::kernel::Kernel;
use e2e::lab::Lab;
use e2e::node::Node;
use e2e::patience::{wait_for, wait_until_true};
use e2e::plugin::{Call, CniFailure};
use e2e::pod::{Placed, Pod};
use e2e::settings::Settings;
use e2e::traffic::{listen, reaches};
use enid_core::ids::EniId;
use enid_vpc_lab::fabric::OUTSIDE;
use enid_vpc_lab::lab::status::EniStatus;
use serde_json::Value;

/// How long the kernel may take to make a link disappear after DEL was answered.
const LINK_END: Duration = Duration::from_secs(5);
/// An ENI takes some seconds to come in the lab, and longer on a busy machine.
const GROWTH: Duration = Duration::from_secs(40);
/// The daemon looks at EC2 once a minute when nothing asks for it sooner.
const NEXT_LOOK: Duration = Duration::from_secs(100);

/// A node at work.
struct Running {
    node: Node,
    daemon: Daemon,
}

impl Running {
    /// Starts a node with these settings and waits until it could serve.
    fn start(node: Node, settings: &Settings) -> Self {
        node.configure(settings);
        let daemon = node.start();
        daemon.wait_until_ready();
        Self { node, daemon }
    }

    /// New pods on it.
    #[track_caller]
    fn pods(&self, lab: &Lab, count: usize) -> Vec<Placed> {
        self.node.place_all(lab.pods(count))
    }

    /// DELs all pods and ends the daemon: nothing of them is left in the kernel, and the node and EC2 agree about
    /// what the node has.
    #[track_caller]
    fn ends(self, lab: &Lab, pods: &[Placed]) {
        let Self { node, daemon } = self;
        let kernel = node.kernel();
        for placed in pods {
            node.del(&placed.pod);
        }
        wait_until_true("the pods' links are gone", LINK_END, || pod_links(&kernel).is_empty());
        assert_eq!(kernel.about_pods("eni"), Vec::<String>::new());
        let ruleset = kernel.ruleset();
        for address in pods.iter().flat_map(Placed::addresses) {
            assert_eq!(kernel.mentions(address), Vec::<String>::new());
            assert!(!ruleset.contains(&address.to_string()), "{address} is in {ruleset}");
        }
        wait_for("EC2 has for this node what the node knows", GROWTH, || {
            let (there, known) = (in_ec2(lab, &node), known(&node));
            if there == known { Ok(()) } else { Err(format!("EC2 has {there:?}, the node knows {known:?}")) }
        });
        assert!(daemon.terminate().success());
        assert_eq!(lab.status().diverged, Vec::<String>::new());
        let log = node.log();
        // Settings that are refused are a test's own doing.
        let odd = |line: &&str| line.contains(" ERROR ") && !line.contains("is not taken over");
        let odd: Vec<&str> = log.lines().filter(odd).collect();
        assert_eq!(odd, Vec::<&str>::new(), "a human must act");
    }
}

/// Host ends of pods.
fn pod_links(kernel: &Kernel) -> Vec<String> {
    let links = kernel.ip(&["link"]).into_iter();
    links
        .filter_map(|link| link["ifname"].as_str().filter(|name| name.starts_with("eni")).map(str::to_owned))
        .collect()
}

/// IPv4 addresses for pods on each ENI of a node, as EC2 has it.
fn in_ec2(lab: &Lab, node: &Node) -> BTreeMap<EniId, usize> {
    let size = |eni: &EniStatus| eni.addresses.len() + 16 * eni.prefixes.len();
    lab.enis_of(node).iter().map(|eni| (eni.id.clone(), size(eni))).collect()
}

/// The same as the node knows it.
#[track_caller]
fn known(node: &Node) -> BTreeMap<EniId, usize> {
    let status = node.status();
    let size = |eni: &Value| usize::try_from(eni["addresses"].as_u64().unwrap()).unwrap();
    let enis = status["enis"].as_array().unwrap().iter();
    enis.map(|eni| (eni["id"].as_str().unwrap().parse().unwrap(), size(eni))).collect()
}

/// A pod is seen by the outside world as `seen_as`.
#[track_caller]
fn is_seen_outside(lab: &Lab, pod: &Placed, seen_as: impl Into<IpAddr>) {
    let inet = &lab.beginning().inet_namespace;
    let _mirror = listen(inet, OUTSIDE);
    reaches(&pod.pod.namespace, OUTSIDE, seen_as);
}

/// The ENI that has a pod's address, singly or in a prefix.
#[track_caller]
fn owner(lab: &Lab, node: &Node, address: Ipv4Addr) -> EniStatus {
    let enis = lab.enis_of(node);
    let owns = |eni: &&EniStatus| {
        eni.addresses.contains(&address) || eni.prefixes.iter().any(|block| block.contains(&address))
    };
    enis.iter().find(owns).unwrap_or_else(|| panic!("no ENI has {address}: {enis:?}")).clone()
}

/// Whether a pod's address comes out of a prefix.
#[track_caller]
fn is_out_of_a_prefix(lab: &Lab, node: &Node, placed: &Placed) -> bool {
    !owner(lab, node, placed.ipv4()).addresses.contains(&placed.ipv4())
}

/// The failure of an ADD that is not served in time, with its typed reason.
#[track_caller]
fn refused(node: &Node, pod: &Pod) -> (CniFailure, Value) {
    let failure = Call::new("ADD", node, pod).failure(node);
    let reason = serde_json::from_str(&failure.details).unwrap_or_else(|_| panic!("{failure:?}"));
    (failure, reason)
}

/// An ADD that a runtime repeats until it is served.
#[track_caller]
fn place_patiently(node: &Node, pod: Pod, span: Duration) -> Placed {
    let result = wait_for("an address", span, || {
        let ended = Call::new("ADD", node, &pod).run(node);
        match ended.code {
            Some(0) => Ok(serde_json::from_str(&ended.stdout).unwrap()),
            _ => Err(ended.stdout),
        }
    });
    Placed { pod, result }
}

#[track_caller]
fn distinct(pods: &[Placed]) -> BTreeSet<IpAddr> {
    let addresses: BTreeSet<IpAddr> = pods.iter().flat_map(Placed::addresses).collect();
    let count: usize = pods.iter().map(|placed| placed.addresses().len()).sum();
    assert_eq!(addresses.len(), count, "two pods share an address: {pods:?}");
    addresses
}
