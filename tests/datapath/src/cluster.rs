//! A node of a [`Vpc`] with pods of every kind, and what its kernel should hold.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use enid_core::event::{Drift, KernelView, KernelWanted, Part, WantedPod};
use enid_core::wiring::{Families, Ingress, NodeWiring, PodWiring, SecondAddress};
use enid_datapath_linux::LinuxDatapath;
use enid_engine::ports::{Datapath, DatapathError};

use crate::namespace::Namespace;
use crate::vpc::{NEIGHBOUR, NEIGHBOUR_V6, Vpc};
use crate::wiring::{SECONDARY_TABLE, ip, link, node, pod, primary_pod, secondary_eni};
use crate::{block_on, eventually, start};

/// The pod with one address of the secondary ENI; its host end is `enia`.
pub const PLAIN: &str = "10.7.0.50";
/// The pod with both families and two interfaces; its host ends are `enib` and `enic`.
pub const RICH: &str = "10.7.0.51";
/// The other family's address of [`RICH`].
pub const RICH_V6: &str = "2001:db8:7:0:1::51";
/// The address of its second interface, on the secondary ENI.
pub const FURTHER: &str = "10.7.0.52";

/// Links take this long to come to rest: an address of the kernel's own is looked for, a carrier noticed.
const SETTLED: Duration = Duration::from_secs(8);
/// A link that came up carries packets by then.
const CARRIED: Duration = Duration::from_secs(5);

/// Node, ENI and pods, all set up.
#[derive(Debug)]
pub struct Cluster {
    /// At work on the node.
    pub datapath: LinuxDatapath,
    /// Around it.
    pub vpc: Vpc,
    /// Everything that was set up.
    pub wanted: KernelWanted,
    /// The pods' namespaces, in the order of `wanted`.
    pub pods: Vec<Namespace>,
}

impl Cluster {
    /// Sets everything up.
    pub fn new() -> Result<Self> {
        let vpc = Vpc::new()?;
        let datapath = start(&vpc.node)?;
        let (eni, node) = (secondary_eni(), everything());
        block_on(datapath.set_up_node(&node))??;
        block_on(datapath.set_up_eni(&eni))??;
        let wanted = KernelWanted { node: Some(Box::new(node)), enis: vec![eni], pods: Vec::new() };
        let mut cluster = Self { datapath, vpc, wanted, pods: Vec::new() };
        for wiring in [pod("enia", PLAIN, SECONDARY_TABLE), rich()] {
            cluster.add(wiring)?;
        }
        cluster.assign_secondary()?;
        for (eni, address) in [("eni-p", RICH), ("eni-p", RICH_V6)] {
            cluster.vpc.assign(eni, address)?;
        }
        Ok(cluster)
    }

    /// Wires one more pod.
    pub fn add(&mut self, wiring: PodWiring) -> Result<()> {
        let netns = Namespace::new("p")?;
        block_on(self.datapath.wire_pod(&wiring, netns.fd()?))??;
        self.wanted.pods.push(WantedPod { wiring, netns: Some(netns.path()) });
        self.pods.push(netns);
        Ok(())
    }

    /// Gives the secondary ENI the addresses of its pods.
    pub fn assign_secondary(&self) -> Result<()> {
        [PLAIN, FURTHER].iter().try_for_each(|address| self.vpc.assign("eni-s", address))
    }

    /// The pod that this address stands for, and its namespace.
    pub fn pod(&self, key: &str) -> Result<(&WantedPod, &Namespace)> {
        let mut pods = self.wanted.pods.iter().zip(&self.pods);
        pods.find(|(pod, _)| pod.wiring.key() == ip(key)).with_context(|| format!("no pod {key}"))
    }

    /// A look.
    pub fn look(&self) -> Result<KernelView> {
        Ok(block_on(self.datapath.look(&self.wanted))??)
    }

    /// Does what the engine does about drift, once for every part that has some.
    pub fn mend(&self, drifts: &[Drift]) -> Result<()> {
        let parts: BTreeSet<&Part> = drifts.iter().map(|drift| &drift.of).collect();
        parts.into_iter().try_for_each(|part| self.mend_part(part).with_context(|| format!("mend {part:?}")))
    }

    /// Does what the engine does about drift in one part.
    pub fn mend_part(&self, part: &Part) -> Result<()> {
        match part {
            Part::Node => {
                let node = self.wanted.node.as_deref().context("a node")?;
                block_on(self.datapath.set_up_node(node))??;
            }
            Part::Eni(id) => {
                let eni = self.wanted.enis.iter().find(|eni| eni.eni == *id).context("an ENI")?;
                block_on(self.datapath.set_up_eni(eni))??;
            }
            Part::Pod(key) => self.repair(&key.to_string())??,
        }
        Ok(())
    }

    /// Repairs the pod that this address stands for.
    pub fn repair(&self, key: &str) -> Result<Result<(), DatapathError>> {
        block_on(self.datapath.repair_pod(self.pod(key)?.0))
    }

    /// Checks that a look finds nothing, and all pods alive.
    pub fn is_whole(&self) -> Result<()> {
        let view = self.look()?;
        let keys: BTreeSet<IpAddr> = self.wanted.pods.iter().map(|pod| pod.wiring.key()).collect();
        ensure!(view.drifts.is_empty() && view.strays.is_empty() && view.alive == keys, "{view:?}");
        Ok(())
    }

    /// Checks that every address of every pod reaches the VPC.
    pub fn carries(&self) -> Result<()> {
        let (plain, rich) = (self.pod(PLAIN)?.1, self.pod(RICH)?.1);
        for (from, own, to) in [
            (plain, PLAIN, NEIGHBOUR),
            (rich, RICH, NEIGHBOUR),
            (rich, FURTHER, NEIGHBOUR),
            (rich, RICH_V6, NEIGHBOUR_V6),
        ] {
            let arrives = || {
                let ping = from.ping(&format!("-c1 -W1 -q -I {own} {to}"))?;
                Ok(ping.join().expect("the ping thread ends")?.contains("1 received"))
            };
            eventually(&format!("{own} reaches {to}"), CARRIED, arrives)?;
        }
        let router = &self.vpc.router;
        for address in [PLAIN, RICH, FURTHER, RICH_V6] {
            eventually(&format!("the VPC reaches {address}"), CARRIED, || router.reaches(address))?;
        }
        Ok(())
    }

    /// Waits until the kernel has nothing left to do by itself.
    pub fn settle(&self) -> Result<()> {
        let calm = |namespace: &Namespace| -> Result<bool> {
            let tentative = namespace.list("-6 addr show tentative")?;
            let links = namespace.list("link show up")?;
            let known = links.iter().all(|link| link["operstate"] == "UP" || link["ifname"] == "lo");
            Ok(known && tentative.is_empty())
        };
        let namespaces = || self.pods.iter().chain([&self.vpc.node]);
        let all_calm = || namespaces().try_fold(true, |so_far, namespace| Ok(so_far && calm(namespace)?));
        eventually("the links come to rest", SETTLED, all_calm)
    }
}

/// Both families, SNAT, NodePort, external services, pods reached from the cluster only.
pub fn everything() -> NodeWiring {
    let sources = ["10.7.0.0/16", "2001:db8:7::/56"].map(|range| range.parse().expect("a range")).to_vec();
    NodeWiring {
        families: Families::DualStack,
        external_services: vec!["172.20.0.0/16".parse().expect("a range")],
        ingress: Ingress::Cluster { sources },
        ..node()
    }
}

fn rich() -> PodWiring {
    let mut pod = primary_pod("enib", RICH);
    let address = ip(RICH_V6);
    pod.first.second =
        Some(SecondAddress { address, table: enid_core::wiring::MAIN_TABLE, node_local: false });
    pod.further = vec![link("enic", "mNicIf1", FURTHER, SECONDARY_TABLE)];
    pod
}
