//! A node as kubelet has it: containerd, unmodified, makes the sandboxes and drives enid through the calls of CRI.
//!
//! With the containerd of Debian, and with a newer one where there is Go to build it. No containerd sends CHECK or GC, which have
//! their tests with other drivers.
//!
//! Map: `kubelet` the client · `sandboxes` their life and their end · `refusals` sandboxes that cannot be ·
//! `bursts` crashes in the middle of many · `readiness` what the runtime tells of the network.
#![expect(clippy::unwrap_used, reason = "a test that cannot arrange its world fails")]

/// Makes tests of functions that take a [`Release`]: each once with either.
macro_rules! with_either_containerd {
    ($($test:ident),+ $(,)?) => {
        mod debians {
            $(#[test] fn $test() { super::$test(&e2e::containerd::Release::Debian); })+
        }
        mod newer {
            $(#[test] fn $test() { e2e::containerd::Release::newer().iter().for_each(super::$test); })+
        }
    };
}

mod bursts;
mod kubelet;
mod readiness;
mod refusals;
mod sandboxes;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use e2e::containerd::{Containerd, Release};
use e2e::daemon::Daemon;
use e2e::kernel::Kernel;
use e2e::lab::Lab;
use e2e::node::Node;
use e2e::patience::wait_for;
use e2e::pod::{Placed, Pod};
use e2e::settings::Settings;
use e2e::traffic::{listen, reaches};
use enid_vpc_lab::lab::landscape::Landscape;
use enid_vpc_lab::namespace::NetNs;
use serde_json::Value;

use crate::kubelet::Kubelet;

/// How long the kernel may take to make a link disappear after its namespace went.
const LINK_END: Duration = Duration::from_secs(10);

/// A packet on one machine takes microseconds, and a runtime's start less than a second; the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(10);

/// A node with everything that a pod needs. What is started last ends first.
struct Running {
    kubelet: Kubelet,
    containerd: Containerd,
    daemon: Daemon,
    node: Node,
    lab: Lab,
}

/// A lab with a node of 29 pods on each ENI, and a small one.
fn lab(release: &Release, test: &str) -> Lab {
    let types = ["m5.4xlarge", "t3.small"].map(str::to_owned);
    Lab::of(&format!("cri-{}-{test}", release.name()), Landscape::standard().with_instance_types(&types))
}

impl Running {
    /// enid and containerd on the large node, both ready.
    fn up(release: &Release, test: &str) -> Self {
        Self::with(release, test, Settings::clone, &[])
    }

    /// The same with other settings, and with `further` plugins after enid's.
    fn with(
        release: &Release,
        test: &str,
        settings: impl FnOnce(&Settings) -> Settings,
        further: &[Value],
    ) -> Self {
        let lab = lab(release, test);
        let node = lab.m5();
        node.configure(&settings(&node.settings()));
        let daemon = node.start();
        let containerd = Containerd::start(release, &lab, &node);
        let kubelet = Kubelet::of(&containerd);
        containerd.connect(&node, further);
        daemon.wait_until_ready();
        kubelet.wait_until_ready();
        Self { kubelet, containerd, daemon, node, lab }
    }

    /// A sandbox that is ready, with what the runtime knows of its network.
    #[track_caller]
    fn placed(&self, sandbox: &str) -> Placed {
        let status = self.kubelet.status(sandbox).unwrap();
        assert!(status.is_ready, "{status:?}");
        let namespace = status.namespace.clone().unwrap_or_else(|| panic!("no namespace in {status:?}"));
        let pod = Pod { name: status.pod, container: sandbox.to_owned(), namespace };
        let placed = Placed { pod, result: self.containerd.result_for(sandbox) };
        assert_eq!(
            status.addresses,
            placed.addresses(),
            "the runtime tells kubelet what enid told the runtime"
        );
        placed
    }

    /// What the runtime lists, what enid has leased and what the kernel routes are the same pods, each once, each
    /// as its ADD left it and each reachable.
    #[track_caller]
    fn is_consistent(&self) -> Vec<Placed> {
        let listed = self.kubelet.list().unwrap();
        let pods: Vec<Placed> = listed.iter().map(|sandbox| self.placed(&sandbox.id)).collect();
        let names: BTreeSet<&str> = pods.iter().map(|placed| placed.pod.name.as_str()).collect();
        assert_eq!(names.len(), pods.len(), "a pod has two sandboxes: {listed:?}");
        let addresses: BTreeSet<IpAddr> = pods.iter().flat_map(Placed::addresses).collect();
        assert_eq!(addresses.len(), pods.len(), "two pods share an address: {pods:?}");
        let count = u64::try_from(pods.len()).unwrap();
        self.daemon.wait_for_pool(&[("bound", count), ("waiting", 0), ("quarantined", 0)]);
        assert_eq!(self.routed(), addresses);
        self.has_links(pods.len());
        let forgotten = self.forgotten(&pods);
        assert!(forgotten.is_empty() || self.containerd.has_crashed(), "{forgotten:?}");
        for namespace in forgotten {
            if namespace.inside(|| ()).is_err() {
                // A name alone: containerd died before there was a namespace.
                continue;
            }
            let links = Kernel::of(&namespace).ip(&["link"]);
            assert!(links.iter().all(|link| link["ifname"] == "lo"), "{namespace}: {links:?}");
        }
        for placed in &pods {
            self.node.is_intact(placed);
        }
        // In a ring: everyone is reached, and everyone's answers come back.
        for (to, from) in
            pods.iter().zip(pods.iter().cycle().skip(1)).filter(|(to, from)| to.pod.name != from.pod.name)
        {
            let _mirror = listen(&to.pod.namespace, to.ipv4());
            reaches(&from.pod.namespace, to.ipv4(), from.ipv4());
        }
        pods
    }

    /// Namespaces that containerd made for sandboxes that it does not list.
    fn forgotten(&self, pods: &[Placed]) -> Vec<NetNs> {
        let known: BTreeSet<&NetNs> = pods.iter().map(|placed| &placed.pod.namespace).collect();
        self.containerd.namespaces().into_iter().filter(|namespace| !known.contains(namespace)).collect()
    }

    /// Pod addresses that the node's kernel has a link for.
    fn routed(&self) -> BTreeSet<IpAddr> {
        let routes = self.node.kernel().ip(&["-4", "route"]).into_iter();
        let to_pods = routes.filter(|route| route["dev"].as_str().is_some_and(|dev| dev.starts_with("eni")));
        to_pods.map(|route| route["dst"].as_str().unwrap().parse().unwrap()).collect()
    }

    /// The node has so many host ends of pods, at the latest when those that went are gone.
    #[track_caller]
    fn has_links(&self, count: usize) {
        wait_for(&format!("{count} host veths"), LINK_END, || {
            let links = self.node.kernel().ip(&["link"]);
            let names: Vec<&str> = links.iter().filter_map(|link| link["ifname"].as_str()).collect();
            let of_pods: Vec<_> = names.into_iter().filter(|name| name.starts_with("eni")).collect();
            if of_pods.len() == count { Ok(()) } else { Err(format!("{of_pods:?}")) }
        });
    }

    /// Nothing is left of any pod: no sandbox, namespace, link, rule, route or lease.
    #[track_caller]
    fn is_empty(&self) {
        assert_eq!(self.is_consistent().len(), 0);
        assert_eq!(self.node.kernel().about_pods("eni"), Vec::<String>::new());
    }

    /// Ends every sandbox, and everything in order: nothing is left, and nobody had reason to complain.
    #[track_caller]
    fn ends(self) {
        let listed = self.kubelet.list().unwrap();
        self.kubelet.end_all(listed.iter().map(|sandbox| sandbox.id.as_str()));
        self.is_empty();
        let Self { lab, node, daemon, containerd, kubelet } = self;
        drop((kubelet, containerd));
        assert!(daemon.terminate().success());
        assert_eq!(lab.status().diverged, Vec::<String>::new());
        let log = node.log();
        let odd: Vec<&str> = log.lines().filter(|line| line.contains(" ERROR ")).collect();
        assert_eq!(odd, Vec::<&str>::new(), "a human must act");
    }
}
