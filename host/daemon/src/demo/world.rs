//! The demo's world: the lab, its nodes with their daemons, the pods; and its end.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use enid_vpc_lab::lab::status::{EniStatus, Status, SubnetStatus};
use enid_vpc_lab::lab::{Lab, LabError};

use super::node::Node;
use super::patience::wait_for_exit;
use super::pods::{Pod, Sandbox};
use crate::lab_command;

/// How long the lab's process may take to end after it let go of its lock.
const SERVER_END: Duration = Duration::from_secs(5);

/// Everything that the demo made and must take away.
#[derive(Debug)]
pub(super) struct World {
    lab: Lab,
    server: Child,
    /// The lab as it was when it came up.
    pub(super) status: Status,
    /// Its nodes: the m5.large, then the t3.small.
    pub(super) nodes: Vec<Node>,
    /// Sandboxes made so far, with and without an address.
    pub(super) sandboxes: Vec<(usize, Sandbox)>,
    /// Pods that have their address.
    pub(super) pods: Vec<Pod>,
}

impl World {
    /// Brings the lab up. What an earlier run left under this name is taken away first.
    pub(super) fn build(base: &Path, name: &str) -> Result<Self> {
        let lab = Lab::named(base, name)?;
        if matches!(lab.expect_absent(), Err(LabError::Leftovers { .. })) {
            lab.down().context("take away what an earlier run left")?;
        }
        let mut server = lab_command::server(base, name)?;
        server.arg("--with-parent");
        let (server, status) = lab.start(server)?;
        Ok(Self { lab, server, status, nodes: Vec::new(), sandboxes: Vec::new(), pods: Vec::new() })
    }

    /// Starts the daemon on every node.
    pub(super) fn start_daemons(&mut self) -> Result<()> {
        for place in self.status.nodes.clone() {
            self.nodes.push(Node::start(self.lab.directory(), &self.status, place)?);
        }
        ensure!(self.nodes.len() == 2, "the lab has {} nodes, not two", self.nodes.len());
        Ok(())
    }

    /// A node by index.
    pub(super) fn node(&self, index: usize) -> &Node {
        &self.nodes[index]
    }

    /// Makes the next pod's sandbox on a node.
    pub(super) fn make_sandbox(&mut self, node: usize) -> Result<Sandbox> {
        let number = self.sandboxes.len() + 1;
        let reserved = self.lab.footprint().pods.get(number - 1);
        let namespace = reserved.context("the lab reserved too few names for pods")?.clone();
        let sandbox = Sandbox::make(number, namespace)?;
        self.sandboxes.push((node, sandbox.clone()));
        Ok(sandbox)
    }

    /// Directory of the lab's files, where the demo keeps its own.
    pub(super) fn directory(&self) -> &Path {
        self.lab.directory()
    }

    /// The lab as it is now.
    pub(super) fn lab_status(&self) -> Result<Status> {
        Ok(self.lab.status()?)
    }

    /// The ENI that owns an address, as EC2 has it.
    pub(super) fn eni_of(&self, address: Ipv4Addr) -> Result<EniStatus> {
        let enis = self.lab_status()?.enis;
        let owner = enis.into_iter().find(|eni| eni.addresses.contains(&address));
        owner.with_context(|| format!("EC2 knows no ENI with {address}"))
    }

    /// The subnet of an ENI.
    pub(super) fn subnet_of(&self, eni: &EniStatus) -> Option<&SubnetStatus> {
        self.status.subnets.iter().find(|subnet| subnet.id == eni.subnet)
    }

    /// Whether an address is on an ENI other than its node's primary one.
    pub(super) fn is_on_secondary_eni(&self, address: Ipv4Addr) -> bool {
        self.eni_of(address).is_ok_and(|eni| eni.attached.is_some_and(|(_, device)| device > 0))
    }

    /// ENIs attached to a node, as EC2 has them.
    pub(super) fn attached_enis(&self, node: usize) -> Result<Vec<EniStatus>> {
        let name = self.node(node).name();
        let attached = |eni: &EniStatus| eni.attached.as_ref().is_some_and(|(on, _)| on == name);
        Ok(self.lab_status()?.enis.into_iter().filter(attached).collect())
    }

    /// Takes everything away, whatever state it is in; every failure is told.
    pub(super) fn end(mut self) -> Vec<String> {
        let mut failures = Vec::new();
        for node in &mut self.nodes {
            failures.extend(node.stop().err().map(|error| format!("{error:#}")));
        }
        for (_, sandbox) in &self.sandboxes {
            failures.extend(sandbox.remove().err().map(|error| format!("{error:#}")));
        }
        failures.extend(self.lab.down().err().map(|error| format!("{:#}", anyhow::Error::from(error))));
        match wait_for_exit(&mut self.server, SERVER_END) {
            Ok(Some(status)) if status.success() => {}
            Ok(Some(status)) => failures.push(format!("the lab's process ended with {status}")),
            Ok(None) => {
                failures.push(format!("the lab's process {} did not end", self.server.id()));
                let _ended_meanwhile = self.server.kill();
                let _ended_meanwhile = self.server.wait();
            }
            Err(error) => failures.push(format!("wait for the lab's process: {error:#}")),
        }
        if self.lab.directory().exists() {
            failures.push(format!("{} is still there", self.lab.directory().display()));
        }
        failures
    }
}
