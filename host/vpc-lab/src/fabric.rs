//! The VPC's network out of namespaces: a router, an outside world, nodes, and ENIs as links.
//!
//! The VPC is a router, not a switch. Every ENI is a veth whose far end is a port of the router; every
//! address an ENI owns is a route to that port. This one table gives delivery by ownership, answers to
//! ARP for owned addresses only, and the source/destination check: a packet is dropped when the route
//! back to its source does not lead to the port it came from.
//!
//! IPv6 works without router advertisements: [`GATEWAY_V6`] answers neighbour solicitations on every port, and
//! a node's primary link gets its address as a /128 and its default route outright, as DHCPv6 and an
//! advertisement without a prefix would leave them. No two ENIs are on one link, so nobody asks for another's
//! address: all of it goes through the gateway.

mod port;
mod router;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};

use enid_core::ids::{EniId, IfName, Mac};
use enid_core::wiring::Seat;
use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

use crate::iproute::{Tool, ToolError, ip_batch};
use crate::namespace::NetNs;

/// Bytes that a namespace prefix may have, so that names stay readable in listings.
const MAX_PREFIX: usize = 32;
/// An address of the outside world that never belongs to a VPC (RFC 5737, TEST-NET-2).
pub const OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
/// The outside world's IPv6 address (RFC 3849, documentation).
pub const OUTSIDE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 7);
/// Private, and no VPC's: what an organisation has behind a VPN or a transit gateway.
pub const CORPORATE_RANGE: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(172, 20, 0, 0), 16);
/// The outside world's address in [`CORPORATE_RANGE`].
pub const CORPORATE: Ipv4Addr = Ipv4Addr::new(172, 20, 0, 7);
/// The VPC's IPv6 router, on every ENI's link (VPC user guide, "Subnet CIDR blocks").
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0xec2, 0, 0, 0, 0, 0, 1);

/// What the VPC and its subnets decide about the network; the rest is ENIs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ground {
    /// The VPC's ranges of both families. Addresses in them that nobody owns are unreachable; everything else
    /// is outside.
    pub ranges: BTreeSet<IpNet>,
    /// Addresses of the router itself: one gateway per subnet, and the services that answer in the VPC.
    pub router_addresses: BTreeSet<Ipv4Addr>,
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
    /// The nodes', and those of neighbours that are not of the cluster, by name.
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
    /// Where it sits: of links that appear together, the lower one gets its name first.
    pub seat: Seat,
    /// The link's MAC; frames with another are dropped.
    pub mac: Mac,
    /// For the node's primary ENI what its image configures.
    pub primary: Option<Primary>,
    /// Everything the ENI owns: single addresses, its own included, and delegated prefixes, of both families.
    pub addresses: Vec<IpNet>,
}

/// How a node's image configures its primary link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Primary {
    /// By DHCP: the ENI's own address with its subnet's length.
    pub address: Ipv4Net,
    /// By DHCP: the subnet's gateway.
    pub gateway: Ipv4Addr,
    /// By DHCPv6, with the default route to [`GATEWAY_V6`].
    pub ipv6: Option<Ipv6Addr>,
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
    /// The VPC has IPv6, and the kernel has not.
    #[error(
        "the VPC has {range}, and this kernel has no IPv6: it was started with ipv6.disable=1, or built without"
    )]
    NoIpv6 {
        /// The range.
        range: IpNet,
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
    ground: Ground,
    /// What is plugged, as it was last made.
    plugged: BTreeMap<EniId, Plugged>,
}

#[derive(Debug)]
struct Plugged {
    eni: FabricEni,
    /// The link's name in the node.
    ifname: IfName,
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
    pub fn up(footprint: Footprint, ground: &Ground) -> Result<Self, FabricError> {
        for tool in Tool::ALL {
            tool.locate()?;
        }
        if let Some(taken) = footprint.namespaces().find(|namespace| namespace.exists()) {
            return Err(FabricError::Taken { namespace: taken.clone() });
        }
        let mut fabric = Self { footprint, ground: Ground::default(), plugged: BTreeMap::new() };
        let built = router::build(&fabric.footprint).and_then(|()| fabric.lie_on(ground));
        if let Err(error) = built {
            // The first failure is the one to tell; what is left is told by its name on disk.
            let _undone = down(&fabric.footprint);
            return Err(error);
        }
        Ok(fabric)
    }

    /// The names of its namespaces.
    pub fn footprint(&self) -> &Footprint {
        &self.footprint
    }

    /// The name that an ENI's link has in its node, while it is plugged.
    pub fn ifname(&self, eni: &EniId) -> Option<&IfName> {
        self.plugged.get(eni).map(|plugged| &plugged.ifname)
    }

    /// Makes the network lie on `ground`: only differences are touched. Whether it changed.
    pub fn lie_on(&mut self, ground: &Ground) -> Result<bool, FabricError> {
        if self.ground == *ground {
            return Ok(false);
        }
        let mut ranges = ground.ranges.iter();
        if let Some(range) = ranges.find(|range| matches!(range, IpNet::V6(_)) && !router::has_ipv6()) {
            return Err(FabricError::NoIpv6 { range: *range });
        }
        router::regrade(&self.footprint, &self.ground, ground)?;
        self.ground = ground.clone();
        Ok(true)
    }

    /// Makes the links and routes those of `enis`: only differences are touched, and twice is as once.
    ///
    /// A link is called `eth` and the lowest number that its node has free, as the kernel counts: the primary
    /// ENI's first, then in the order of attachment. One ENI's failure does not stop the others; what failed is
    /// tried again next time.
    pub fn converge(&mut self, enis: &[FabricEni]) -> Result<Changes, Vec<FabricError>> {
        let mut changes = Changes::default();
        let mut failures = Vec::new();
        let wanted: BTreeMap<&EniId, &FabricEni> = enis.iter().map(|eni| (&eni.id, eni)).collect();

        let leaving: Vec<EniId> = self
            .plugged
            .iter()
            .filter(|(id, have)| wanted.get(id).is_none_or(|want| !port::same_link(&have.eni, want)))
            .map(|(id, _)| id.clone())
            .collect();
        for id in leaving {
            match self.unplug(&id) {
                Ok(()) => changes.unplugged += 1,
                Err(source) => failures.push(FabricError::Eni { attempt: "unplug", eni: id, source }),
            }
        }
        let mut in_order: Vec<&FabricEni> = wanted.into_values().collect();
        in_order.sort_by_key(|eni| (Reverse(eni.primary.is_some()), eni.seat));
        // All that goes, goes before anything comes: an address may have moved from one ENI to another.
        for step in [Self::withdraw, Self::follow] {
            for want in &in_order {
                if let Err(failure) = step(self, want, &mut changes) {
                    failures.push(failure);
                    // Half-made is unmade: the next converge plugs afresh.
                    let _told_already = self.unplug(&want.id);
                }
            }
        }
        if failures.is_empty() { Ok(changes) } else { Err(failures) }
    }

    /// Takes away the routes to what an ENI no longer owns.
    fn withdraw(&mut self, want: &FabricEni, changes: &mut Changes) -> Result<(), FabricError> {
        let Some(Plugged { eni: have, .. }) = self.plugged.get_mut(&want.id) else { return Ok(()) };
        let failed = |source| FabricError::Eni { attempt: "withdraw from", eni: want.id.clone(), source };
        changes.routes += port::withdraw(&self.footprint, have, want).map_err(failed)?;
        have.addresses.retain(|owned| want.addresses.contains(owned));
        Ok(())
    }

    /// Makes an ENI's link, or the routes to what it owns since.
    fn follow(&mut self, want: &FabricEni, changes: &mut Changes) -> Result<(), FabricError> {
        let Some(have) = self.plugged.get_mut(&want.id) else {
            let ifname = self.plug(want)?;
            self.plugged.insert(want.id.clone(), Plugged { eni: want.clone(), ifname });
            changes.plugged += 1;
            return Ok(());
        };
        let failed = |source| FabricError::Eni { attempt: "readdress", eni: want.id.clone(), source };
        changes.routes += port::grant(&self.footprint, &have.eni, want).map_err(failed)?;
        if let Some(node) = self.footprint.nodes.get(&want.node) {
            port::reconfigure(node, &have.ifname, &have.eni, want).map_err(failed)?;
        }
        have.eni = want.clone();
        Ok(())
    }

    /// Takes an ENI's link away; one that is not there is fine.
    fn unplug(&mut self, eni: &EniId) -> Result<(), ToolError> {
        self.plugged.remove(eni).map_or(Ok(()), |left| port::unplug(&self.footprint, &left.eni))
    }

    fn plug(&self, eni: &FabricEni) -> Result<IfName, FabricError> {
        let Some(node) = self.footprint.nodes.get(&eni.node) else {
            return Err(FabricError::NoSuchNode { node: eni.node.clone(), eni: eni.id.clone() });
        };
        let name = port::name(&eni.id);
        if let Some(other) = self.plugged.keys().find(|other| port::name(other) == name) {
            return Err(FabricError::AlikeEnds { eni: eni.id.clone(), other: other.clone() });
        }
        let ifname = self.free_name(&eni.node);
        port::plug(&self.footprint, node, eni, &ifname).map_err(|source| {
            let _told_already = port::unplug(&self.footprint, eni);
            FabricError::Eni { attempt: "plug", eni: eni.id.clone(), source }
        })?;
        Ok(ifname)
    }

    /// What the kernel of `node` would call its next link.
    fn free_name(&self, node: &str) -> IfName {
        let on_node = || self.plugged.values().filter(|plugged| plugged.eni.node == node);
        (0..)
            .map(|number| format!("eth{number}"))
            .find(|name| on_node().all(|plugged| plugged.ifname.as_str() != name))
            .and_then(|name| name.parse().ok())
            .expect("invariant: fewer ENIs are plugged than there are numbers, and a number fits a name")
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
