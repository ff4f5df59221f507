//! A node without a VPC around it: for tests that look at what the kernel holds and send nothing.

use std::time::Duration;

use anyhow::{Result, ensure};
use enid_core::event::{KernelView, KernelWanted};
use enid_core::wiring::PodWiring;
use enid_datapath_linux::{DatapathOptions, LinuxDatapath};
use enid_engine::ports::{Datapath, DatapathError, Wired};
use serde_json::Value;

use crate::namespace::Namespace;
use crate::{block_on, eventually, start_with};

/// A dead veth may stay this long.
pub const SOON: Duration = Duration::from_secs(1);

/// A namespace with loopback, and the datapath at work there.
#[derive(Debug)]
pub struct Node {
    /// At work in the namespace.
    pub datapath: LinuxDatapath,
    /// Its namespace.
    pub namespace: Namespace,
}

impl Node {
    /// Makes one.
    pub fn new() -> Result<Self> {
        Self::with(DatapathOptions::default())
    }

    /// Makes one whose datapath has other options than the usual.
    pub fn with(options: DatapathOptions) -> Result<Self> {
        let namespace = Namespace::new("n")?;
        namespace.ip("link set lo up")?;
        Ok(Self { datapath: start_with(&namespace, options)?, namespace })
    }

    /// Wires a pod.
    pub fn wire(&self, wiring: &PodWiring, netns: &Namespace) -> Result<Result<Wired, DatapathError>> {
        block_on(self.datapath.wire_pod(wiring, netns.fd()?))
    }

    /// Unwires a pod.
    pub fn unwire(&self, wiring: &PodWiring) -> Result<()> {
        Ok(block_on(self.datapath.unwire_pod(wiring))??)
    }

    /// What is there, compared with nothing.
    pub fn view(&self) -> Result<KernelView> {
        Ok(block_on(self.datapath.look(&KernelWanted::default()))??)
    }

    /// What a check finds, in words.
    pub fn drift(&self, wiring: &PodWiring, netns: Option<&Namespace>) -> Result<Vec<String>> {
        let netns = netns.map(Namespace::fd).transpose()?;
        let drift = block_on(self.datapath.check_pod(wiring, netns))??;
        Ok(drift.into_iter().map(|drift| drift.what).collect())
    }

    /// The IPv4 rules at priorities 512 and 1536, as `priority to/from address table`.
    pub fn rules(&self) -> Result<Vec<String>> {
        rules(&self.namespace, "-4", &[512, 1536])
    }

    /// The same of IPv6.
    pub fn rules_v6(&self) -> Result<Vec<String>> {
        rules(&self.namespace, "-6", &[512, 1536])
    }

    /// The link that the address's route leads to.
    pub fn route(&self, address: &str) -> Result<Option<String>> {
        let family = if address.contains(':') { "-6" } else { "-4" };
        let routes = self.namespace.list(&format!("{family} route show table main {address}"))?;
        Ok(routes.first().and_then(|route| Some(route["dev"].as_str()?.to_owned())))
    }

    /// Waits until the link is gone.
    pub fn gone(&self, veth: &str) -> Result<()> {
        eventually(&format!("{veth} is gone"), SOON, || Ok(!self.namespace.has_link(veth)?))
    }

    /// Checks that nothing is left of any pod: no rule, no route, no link.
    pub fn is_bare(&self) -> Result<()> {
        for family in ["-4", "-6"] {
            let rules = rules(&self.namespace, family, &[512, 1536])?;
            let routes = self.namespace.list(&format!("{family} route show table main"))?;
            ensure!(rules.is_empty() && routes.is_empty(), "{family}: {rules:?} {routes:?}");
        }
        let links = self.namespace.list("link show")?;
        ensure!(links.len() == 1, "{links:?}");
        Ok(())
    }
}

/// The rules of a family at some priorities, as `priority to/from address table`.
pub fn rules(namespace: &Namespace, family: &str, priorities: &[u64]) -> Result<Vec<String>> {
    let rules = namespace.list(&format!("{family} rule show"))?;
    let wanted = rules
        .iter()
        .filter(|rule| rule["priority"].as_u64().is_some_and(|number| priorities.contains(&number)));
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let range = |address: &Value, length: &Value| match length.as_u64() {
        Some(length) => format!("{}/{length}", text(address)),
        None => text(address),
    };
    Ok(wanted
        .map(|rule| {
            let (way, address) = if rule["dst"].is_null() {
                ("from", range(&rule["src"], &rule["srclen"]))
            } else {
                ("to", range(&rule["dst"], &rule["dstlen"]))
            };
            format!("{} {way} {address} {}", rule["priority"], text(&rule["table"]))
        })
        .collect())
}
