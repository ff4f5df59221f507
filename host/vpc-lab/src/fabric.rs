//! The VPC's network out of namespaces: a router, an outside world, nodes, and ENIs as links.
//!
//! The VPC is a router, not a switch. Every ENI is a veth whose far end is a port of the router; every
//! address an ENI owns is a route to that port. This one table gives delivery by ownership, answers to
//! ARP for owned addresses only, and the source/destination check: a packet is dropped when the route
//! back to its source does not lead to the port it came from.

mod port;
mod router;

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;

use enid_core::ids::{EniId, IfName, Mac};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::iproute::{Tool, ToolError, ip_batch};
use crate::namespace::NetNs;

/// Bytes that a namespace prefix may have, so that names stay readable in listings.
const MAX_PREFIX: usize = 32;
/// An address of the outside world that never belongs to a VPC (RFC 5737, TEST-NET-2).
pub const OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

/// What the network looks like before any ENI exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The VPC's range. Addresses in it that nobody owns are unreachable.
    pub vpc: Ipv4Net,
    /// Addresses of the router itself: one gateway per subnet, and the services that answer in the VPC.
    pub router_addresses: Vec<Ipv4Addr>,
    /// Node names, each a namespace of its own.
    pub nodes: Vec<String>,
}

/// The namespaces of one fabric, by exact name. Written to disk before the first is made, so that what a
/// crash leaves behind can be taken away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Footprint {
    /// The router's.
    pub vpc: NetNs,
    /// The outside world's.
    pub inet: NetNs,
    /// The nodes', by node name.
    pub nodes: BTreeMap<String, NetNs>,
    /// Names reserved for pods. The fabric does not make them; it takes away those that are there.
    pub pods: Vec<NetNs>,
}

/// An attached ENI as the fabric should have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FabricEni {
    /// Whose port.
    pub id: EniId,
    /// The node, by name.
    pub node: String,
    /// The link's name in the node: what the instance's kernel would call it.
    pub ifname: IfName,
    /// The link's MAC; frames with another are dropped.
    pub mac: Mac,
    /// For the node's primary ENI what DHCP would bring: address with the subnet's length, and the gateway.
    pub primary: Option<(Ipv4Net, Ipv4Addr)>,
    /// Everything the ENI owns: `/32` addresses, its primary one included, and delegated `/28` prefixes.
    pub addresses: Vec<Ipv4Net>,
}

/// Packets the router refused since it came up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropCounts {
    /// Frames that did not carry their ENI's MAC.
    pub foreign_mac: u64,
    /// Packets whose source address is not assigned to the ENI they left from.
    pub foreign_source: u64,
}

/// What one [`Fabric::converge`] changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Links that appeared in a node.
    pub plugged: usize,
    /// Links that left.
    pub unplugged: usize,
    /// Address routes added or removed on links that stayed.
    pub routes: usize,
}

/// Why the fabric could not be built, changed or read.
#[derive(Debug, thiserror::Error)]
pub enum FabricError {
    /// A name that would not do for a namespace.
    #[error(
        "`{prefix}` is not a name for a lab: 1 to {MAX_PREFIX} letters, digits or dashes, starting with a letter"
    )]
    BadPrefix {
        /// The name.
        prefix: String,
    },
    /// The namespace is there already.
    #[error(
        "the network namespace `{namespace}` exists already: another lab of this name, or what a crash left"
    )]
    Taken {
        /// Whose name.
        namespace: NetNs,
    },
    /// An ENI wants to be plugged into a node that is not there.
    #[error("no node `{node}` for {eni}")]
    NoSuchNode {
        /// The node.
        node: String,
        /// The ENI.
        eni: EniId,
    },
    /// Two ENIs would get one port.
    #[error("{eni} and {other} end alike, and a port's name is the end of an ENI id")]
    AlikeEnds {
        /// The later one.
        eni: EniId,
        /// The one that has the port.
        other: EniId,
    },
    /// Something about one ENI failed; the next converge tries again.
    #[error("{attempt} {eni}")]
    Eni {
        /// What was attempted.
        attempt: &'static str,
        /// On which ENI.
        eni: EniId,
        /// Why.
        #[source]
        source: ToolError,
    },
    /// Something about the router or a namespace failed.
    #[error("{attempt}")]
    Namespace {
        /// What was attempted.
        attempt: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A tool failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// The router's counters could not be understood.
    #[error("read the router's drop counters: {what}")]
    Counters {
        /// What was odd.
        what: String,
    },
}

/// A network that is up. Dropping the value leaves it up; [`down`] takes it away.
#[derive(Debug)]
pub struct Fabric {
    footprint: Footprint,
    /// What is plugged, as it was last made.
    plugged: BTreeMap<EniId, FabricEni>,
}

impl Footprint {
    /// The names that a fabric called `prefix` has: `<prefix>-vpc`, `<prefix>-inet`, `<prefix>-<node>`,
    /// `<prefix>-pod-<number>`.
    pub fn new(prefix: &str, nodes: &[String], pods: u32) -> Result<Self, FabricError> {
        for name in std::iter::once(prefix).chain(nodes.iter().map(String::as_str)) {
            let fits = (1..=MAX_PREFIX).contains(&name.len())
                && name.starts_with(|c: char| c.is_ascii_alphabetic())
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
            if !fits {
                return Err(FabricError::BadPrefix { prefix: name.to_owned() });
            }
        }
        let named = |role: &str| NetNs::named(format!("{prefix}-{role}"));
        Ok(Self {
            vpc: named("vpc"),
            inet: named("inet"),
            nodes: nodes.iter().map(|node| (node.clone(), named(node))).collect(),
            pods: (1..=pods).map(|pod| named(&format!("pod-{pod}"))).collect(),
        })
    }

    /// All of them, made or reserved.
    pub fn namespaces(&self) -> impl Iterator<Item = &NetNs> {
        self.made().chain(&self.pods)
    }

    /// Those that the fabric makes.
    fn made(&self) -> impl Iterator<Item = &NetNs> {
        [&self.vpc, &self.inet].into_iter().chain(self.nodes.values())
    }
}

impl Fabric {
    /// Builds the network under names that nobody has yet. On failure nothing of it is left.
    pub fn up(footprint: Footprint, layout: &Layout) -> Result<Self, FabricError> {
        for tool in Tool::ALL {
            tool.locate()?;
        }
        if let Some(taken) = footprint.namespaces().find(|namespace| namespace.exists()) {
            return Err(FabricError::Taken { namespace: taken.clone() });
        }
        let built = router::build(&footprint, layout);
        if built.is_err() {
            // The first failure is the one to tell; what is left is told by its name on disk.
            let _undone = down(&footprint);
        }
        built.map(|()| Self { footprint, plugged: BTreeMap::new() })
    }

    /// The names of its namespaces.
    pub fn footprint(&self) -> &Footprint {
        &self.footprint
    }

    /// Makes the links and routes those of `enis`: only differences are touched, and twice is as once.
    ///
    /// One ENI's failure does not stop the others; what failed is tried again next time.
    pub fn converge(&mut self, enis: &[FabricEni]) -> Result<Changes, Vec<FabricError>> {
        let mut changes = Changes::default();
        let mut failures = Vec::new();
        let wanted: BTreeMap<&EniId, &FabricEni> = enis.iter().map(|eni| (&eni.id, eni)).collect();

        let leaving: Vec<FabricEni> = self
            .plugged
            .values()
            .filter(|have| wanted.get(&have.id).is_none_or(|want| !port::same_link(have, want)))
            .cloned()
            .collect();
        for eni in leaving {
            match port::unplug(&self.footprint, &eni) {
                Ok(()) => changes.unplugged += 1,
                Err(source) => {
                    failures.push(FabricError::Eni { attempt: "unplug", eni: eni.id.clone(), source })
                }
            }
            self.plugged.remove(&eni.id);
        }
        for want in wanted.into_values() {
            let outcome = match self.plugged.get(&want.id) {
                None => self.plug(want).map(|()| changes.plugged += 1),
                Some(have) if have == want => Ok(()),
                Some(have) => port::readdress(&self.footprint, have, want)
                    .map(|routes| changes.routes += routes)
                    .map_err(|source| FabricError::Eni {
                        attempt: "readdress",
                        eni: want.id.clone(),
                        source,
                    }),
            };
            match outcome {
                Ok(()) => drop(self.plugged.insert(want.id.clone(), want.clone())),
                Err(failure) => {
                    failures.push(failure);
                    // Half-made is unmade: the next converge plugs afresh.
                    if self.plugged.remove(&want.id).is_some() {
                        let _told_already = port::unplug(&self.footprint, want);
                    }
                }
            }
        }
        if failures.is_empty() { Ok(changes) } else { Err(failures) }
    }

    fn plug(&self, eni: &FabricEni) -> Result<(), FabricError> {
        let Some(node) = self.footprint.nodes.get(&eni.node) else {
            return Err(FabricError::NoSuchNode { node: eni.node.clone(), eni: eni.id.clone() });
        };
        let name = port::name(&eni.id);
        if let Some(other) = self.plugged.keys().find(|other| port::name(other) == name) {
            return Err(FabricError::AlikeEnds { eni: eni.id.clone(), other: other.clone() });
        }
        port::plug(&self.footprint, node, eni).map_err(|source| {
            let _told_already = port::unplug(&self.footprint, eni);
            FabricError::Eni { attempt: "plug", eni: eni.id.clone(), source }
        })
    }

    /// What the router refused so far.
    pub fn drops(&self) -> Result<DropCounts, FabricError> {
        router::drops(&self.footprint.vpc)
    }
}

/// Takes a network away by the names of its namespaces; whatever is gone already is fine.
///
/// All are tried; the first failure is told. Links and routes go with their namespaces. A namespace that a
/// process still lives in loses its name and dies with that process.
pub fn down(footprint: &Footprint) -> Result<(), FabricError> {
    let mut outcome = Ok(());
    for namespace in footprint.namespaces().filter(|namespace| namespace.exists()) {
        if let Err(error) = ip_batch(None, &[format!("netns del {namespace}")])
            && namespace.exists()
            && outcome.is_ok()
        {
            outcome = Err(error.into());
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn footprints_refuse_names_that_could_leave_the_directory() {
        for (prefix, ok) in
            [("enid-lab", true), ("a", true), ("", false), ("..", false), ("a/b", false), ("1a", false)]
        {
            assert_eq!(Footprint::new(prefix, &[], 0).is_ok(), ok, "{prefix}");
        }
        assert!(Footprint::new("lab", &["../x".to_owned()], 0).is_err());
    }

    #[test]
    fn a_ports_name_fits_the_kernel_and_follows_the_end_of_the_id() {
        let id: EniId = "eni-0123456789abcdef0".parse().unwrap();
        assert_eq!(port::name(&id), "eni-6789abcdef0");
        let short: EniId = "eni-7".parse().unwrap();
        assert_eq!(port::name(&short), "eni-7");
    }
}
