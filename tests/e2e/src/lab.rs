//! A VPC of the test's own, taken away with everything in it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use enid_core::ids::EniId;
use enid_vpc_lab::lab::deed::Deed;
use enid_vpc_lab::lab::landscape::Landscape;
use enid_vpc_lab::lab::status::{EniStatus, NodeStatus, Status, SubnetStatus};
use enid_vpc_lab::namespace::NetNs;
use enid_vpc_lab::waiting::wait_until;

use crate::daemon::Daemon;
use crate::node::Node;
use crate::patience::wait_for;
use crate::pod::Pod;
use crate::program;

/// How long the lab's process may take to end when it is told to.
const END: Duration = Duration::from_secs(10);
/// Without a call for so long, nobody is in the middle of anything.
const REST: Duration = Duration::from_secs(3);
/// How long it may take until then.
const REST_WITHIN: Duration = Duration::from_secs(60);

/// A running lab with a name of its own: tests may run side by side, and repeatedly.
#[derive(Debug)]
pub struct Lab {
    lab: enid_vpc_lab::lab::Lab,
    server: Child,
    base: PathBuf,
    status: Status,
    unused: RefCell<Vec<NetNs>>,
}

/// A lab for the test called `test` whose m5.large is ready to serve, by its usual settings.
#[track_caller]
pub fn ready(test: &str) -> (Lab, Node, Daemon) {
    let lab = Lab::up(test);
    let node = lab.m5();
    let daemon = node.start();
    daemon.wait_until_ready();
    (lab, node, daemon)
}

impl Lab {
    /// Brings a lab up for the test called `test`, a short word of its own.
    ///
    /// Its process ends with the calling thread, so not even a killed test leaves a network behind.
    pub fn up(test: &str) -> Self {
        Self::of(test, Landscape::standard())
    }

    /// The same with another world in it.
    pub fn of(test: &str, landscape: Landscape) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "these tests make network namespaces: run this tier as root"
        );
        let name = format!("e2e-{test}-{}", std::process::id());
        let base = std::env::temp_dir().join(&name);
        let lab = enid_vpc_lab::lab::Lab::with_landscape(&base, &name, landscape).unwrap();
        let mut server = Command::new(program::enid());
        server.args(["lab", "serve", "--with-parent", "--name", &name, "--directory"]).arg(&base);
        let (server, status) = lab.start(server).unwrap();
        let mut unused = lab.footprint().pods.clone();
        unused.reverse();
        Self { lab, server, base, status, unused: RefCell::new(unused) }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.lab.name()
    }

    /// A directory for files of the test; it goes with the lab.
    pub fn directory(&self) -> &Path {
        self.lab.directory()
    }

    /// The directory that `enid lab --directory` wants to find it.
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// The lab as it was when it came up.
    pub fn beginning(&self) -> &Status {
        &self.status
    }

    /// The lab as it is now.
    pub fn status(&self) -> Status {
        self.lab.status().unwrap()
    }

    /// The m5.large: 27 pod addresses on three ENIs.
    pub fn m5(&self) -> Node {
        self.node("node-m5")
    }

    /// The t3.small: 9 pod addresses on three ENIs.
    pub fn t3(&self) -> Node {
        self.node("node-t3")
    }

    /// The instance that is not of the cluster, in a landscape that has one.
    pub fn neighbour(&self) -> &NodeStatus {
        &self.status.neighbours[0]
    }

    /// The subnet that is called `name`, as it is now.
    #[track_caller]
    pub fn subnet(&self, name: &str) -> SubnetStatus {
        let subnet = self.status().subnets.into_iter().find(|subnet| subnet.name == name);
        subnet.unwrap_or_else(|| panic!("no subnet is called {name}"))
    }

    /// The ENIs that a node has or that come or go there, the primary first.
    pub fn enis_of(&self, node: &Node) -> Vec<EniStatus> {
        let there = |eni: &EniStatus| eni.attached.as_ref().is_some_and(|(name, _)| name == node.name());
        let mut enis: Vec<EniStatus> = self.status().enis.into_iter().filter(there).collect();
        enis.sort_by_key(|eni| (eni.card, eni.attached.as_ref().map(|(_, device)| *device)));
        enis
    }

    /// The security groups of an ENI, by their ids.
    #[track_caller]
    pub fn groups_of(&self, eni: &EniId) -> BTreeSet<String> {
        let document = self.call(&format!("Action=DescribeNetworkInterfaces&NetworkInterfaceId.1={eni}"));
        let ids = document.split("<groupId>").skip(1).filter_map(|rest| rest.split_once("</groupId>"));
        ids.map(|(id, _)| id.to_owned()).collect()
    }

    /// Lets others do something in the VPC.
    #[track_caller]
    pub fn perform(&self, deed: Deed) {
        self.lab.perform(deed).unwrap();
    }

    /// One call to EC2 that succeeds, made by somebody who is not the daemon; the document that came back.
    #[track_caller]
    pub fn call(&self, form: &str) -> String {
        self.lab.call(form).unwrap()
    }

    /// EC2's calls so far by API, once none has come for a while: whoever asks is content.
    #[track_caller]
    pub fn calls_at_rest(&self) -> BTreeMap<String, u64> {
        let mut last = (Instant::now(), self.status().calls);
        wait_for("nobody asks EC2 for anything", REST_WITHIN, || {
            let calls = self.status().calls;
            if calls != last.1 {
                last = (Instant::now(), calls);
            }
            if last.0.elapsed() >= REST { Ok(last.1.clone()) } else { Err(format!("{:?}", last.1)) }
        })
    }

    /// Lets others take every address of a subnet that nobody has, but `spared`.
    pub fn exhaust(&self, name: &str, spared: &[Ipv4Addr]) {
        let subnet = self.subnet(name);
        let enis = self.status().enis;
        let prefixes: Vec<_> = enis.iter().flat_map(|eni| &eni.prefixes).collect();
        let own = enis.iter().flat_map(|eni| eni.primary_address.iter().chain(&eni.addresses));
        let held: BTreeSet<&Ipv4Addr> = own.chain(spared).collect();
        // EC2 keeps the network, the three after it and the last.
        let last = subnet.cidr.broadcast();
        let free = subnet.cidr.hosts().skip(3).filter(|address| {
            *address != last && !held.contains(address) && !prefixes.iter().any(|it| it.contains(address))
        });
        self.perform(Deed::Occupy { subnet: subnet.id, addresses: free.collect() });
    }

    fn node(&self, name: &str) -> Node {
        let place = self.status.nodes.iter().find(|node| node.name == name).unwrap();
        Node::new(self.directory(), place)
    }

    /// A new pod's sandbox; its namespace goes with the lab.
    pub fn pod(&self) -> Pod {
        let namespace = self.unused.borrow_mut().pop().expect("the lab has names for more pods");
        Pod::make(namespace)
    }

    /// As many new sandboxes.
    pub fn pods(&self, count: usize) -> Vec<Pod> {
        (0..count).map(|_| self.pod()).collect()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let downed = self.lab.down();
        let ended = wait_until(Instant::now() + END, || self.server.try_wait().transpose());
        if ended.is_none() {
            let _ended_meanwhile = self.server.kill();
            let _ended_meanwhile = self.server.wait();
        }
        let _not_there = std::fs::remove_dir_all(&self.base);
        // A second panic would hide the first.
        if !std::thread::panicking() {
            downed.unwrap();
            assert!(ended.is_some(), "the lab's process did not end by itself");
            let left = enid_vpc_lab::namespace::all().unwrap();
            let ours = format!("{}-", self.lab.name());
            assert!(left.iter().all(|namespace| !namespace.name().starts_with(&ours)), "{left:?}");
        }
    }
}
