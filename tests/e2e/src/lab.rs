//! A VPC of the test's own, taken away with everything in it.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use enid_vpc_lab::lab::status::Status;
use enid_vpc_lab::namespace::NetNs;
use enid_vpc_lab::waiting::wait_until;

use crate::node::Node;
use crate::pod::Pod;
use crate::program;

/// How long the lab's process may take to end when it is told to.
const END: Duration = Duration::from_secs(10);

/// A running lab with a name of its own: tests may run side by side, and repeatedly.
#[derive(Debug)]
pub struct Lab {
    lab: enid_vpc_lab::lab::Lab,
    server: Child,
    base: PathBuf,
    status: Status,
    unused: RefCell<Vec<NetNs>>,
}

impl Lab {
    /// Brings a lab up for the test called `test`, a short word of its own.
    ///
    /// Its process ends with the calling thread, so not even a killed test leaves a network behind.
    pub fn up(test: &str) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "these tests make network namespaces: run this tier as root"
        );
        let name = format!("e2e-{test}-{}", std::process::id());
        let base = std::env::temp_dir().join(&name);
        let lab = enid_vpc_lab::lab::Lab::named(&base, &name).unwrap();
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
