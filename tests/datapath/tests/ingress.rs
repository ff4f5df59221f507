//! Who may open connections to pods when only the cluster may.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

use anyhow::Result;
use datapath::block_on;
use datapath::namespace::Namespace;
use datapath::vpc::{CALLER, NEIGHBOUR, NEIGHBOUR_V6, OUTSIDE, OUTSIDE_V6, Vpc};
use datapath::wiring::{PRIMARY, SECONDARY_TABLE, dual_pod, ip, ipv4, node, pod, secondary_eni};
use enid_core::wiring::{Families, Ingress, NodeWiring};
use enid_datapath_linux::LinuxDatapath;
use enid_engine::ports::Datapath;
use ipnet::IpNet;

const POD: &str = "10.7.0.51";
const POD_V6: &str = "2001:db8:7:0:1::51";
const ON_SECONDARY: &str = "10.7.0.52";

struct Cluster {
    datapath: LinuxDatapath,
    vpc: Vpc,
    pod: Namespace,
    on_secondary: Namespace,
}

/// Both families, closed but for these ranges.
fn closed(sources: &[&str]) -> NodeWiring {
    let sources: Vec<IpNet> = sources.iter().map(|range| range.parse().expect("a range")).collect();
    NodeWiring { families: Families::DualStack, ingress: Ingress::Cluster { sources }, ..node() }
}

impl Cluster {
    fn new(wiring: &NodeWiring) -> Result<Self> {
        let vpc = Vpc::new()?;
        let datapath = datapath::start(&vpc.node)?;
        block_on(datapath.set_up_node(wiring))??;
        block_on(datapath.set_up_eni(&secondary_eni()))??;
        for (eni, address) in [("eni-p", POD), ("eni-p", POD_V6), ("eni-s", ON_SECONDARY)] {
            vpc.assign(eni, address)?;
        }
        let (first, second) = (Namespace::new("p")?, Namespace::new("s")?);
        block_on(datapath.wire_pod(&dual_pod("enip", POD, POD_V6), first.fd()?))??;
        block_on(datapath.wire_pod(&pod("enis", ON_SECONDARY, SECONDARY_TABLE), second.fd()?))??;
        Ok(Self { datapath, vpc, pod: first, on_secondary: second })
    }

    /// The packets dropped from the VPC and from outside.
    fn dropped(&self, table: &str) -> Result<[u64; 2]> {
        let counted = |name| self.vpc.node.counted(table, name);
        Ok([counted("ingress-from-vpc")?, counted("ingress-from-outside")?])
    }

    /// Whether one ping from this source reaches the pod.
    fn lets_in(&self, from: &Namespace, source: &str, to: &str) -> Result<bool> {
        let ping = from.ping(&format!("-c1 -W1 -q -I {source} {to}"))?;
        Ok(ping.join().expect("the ping thread ends")?.contains("1 received"))
    }
}

#[test]
fn strangers_are_dropped_and_counted_by_where_they_are() -> Result<()> {
    let cluster = Cluster::new(&closed(&["192.0.2.0/24"]))?;
    let Cluster { vpc, .. } = &cluster;
    for (source, from, to, table, counted) in [
        (NEIGHBOUR, &vpc.router, POD, "ip enid", [1, 0]),
        (OUTSIDE, &vpc.outside, POD, "ip enid", [1, 1]),
        (OUTSIDE, &vpc.outside, ON_SECONDARY, "ip enid", [1, 2]),
        (NEIGHBOUR_V6, &vpc.router, POD_V6, "ip6 enid", [1, 0]),
        (OUTSIDE_V6, &vpc.outside, POD_V6, "ip6 enid", [1, 1]),
    ] {
        assert!(!cluster.lets_in(from, source, to)?, "{source} to {to}");
        assert_eq!(cluster.dropped(table)?, counted, "{source} to {to}");
    }
    Ok(())
}

#[test]
fn the_node_its_pods_and_the_listed_are_let_in() -> Result<()> {
    let cluster = Cluster::new(&closed(&["198.51.100.0/24", "2001:db8:f::/64"]))?;
    let Cluster { vpc, pod, on_secondary, .. } = &cluster;
    for (what, from, to) in [
        ("node", &vpc.node, POD),
        ("node", &vpc.node, POD_V6),
        ("pod", on_secondary, POD),
        ("pod", pod, ON_SECONDARY),
    ] {
        assert!(from.reaches(to)?, "{what} to {to}");
    }
    for (source, to) in [(OUTSIDE, POD), (OUTSIDE, ON_SECONDARY), (OUTSIDE_V6, POD_V6)] {
        assert!(cluster.lets_in(&vpc.outside, source, to)?, "{source} to {to}");
    }
    // What pods themselves open is answered.
    for to in [OUTSIDE, NEIGHBOUR, OUTSIDE_V6, NEIGHBOUR_V6] {
        assert!(pod.reaches(to)?, "{to}");
    }
    assert_eq!((cluster.dropped("ip enid")?, cluster.dropped("ip6 enid")?), ([0, 0], [0, 0]));
    Ok(())
}

#[test]
fn what_the_node_translates_to_a_pod_is_let_in() -> Result<()> {
    let cluster = Cluster::new(&closed(&[]))?;
    let Cluster { vpc, on_secondary, .. } = &cluster;
    let listener = on_secondary.listen(Ipv4Addr::UNSPECIFIED.into())?;
    let behind = SocketAddrV4::new(ipv4(ON_SECONDARY), listener.port);
    vpc.node.nft(&format!(
        "table ip proxy {{ chain pre {{ type nat hook prerouting priority dstnat; policy accept;
           fib daddr type local tcp dport 30080 dnat to {behind}
         }}
         }}"
    ))?;
    let door = SocketAddrV4::new(ipv4(PRIMARY), 30080);
    let caller = listener.caller(|| vpc.outside.connects(door))?;
    assert_eq!(caller.ip(), ip(CALLER));
    assert_eq!(cluster.dropped("ip enid")?, [0, 0]);
    Ok(())
}

#[test]
fn sources_change_without_dropping_a_connection() -> Result<()> {
    let cluster = Cluster::new(&closed(&["192.0.2.0/24"]))?;
    let Cluster { datapath, vpc, pod, .. } = &cluster;
    let listener = pod.listen(Ipv4Addr::UNSPECIFIED.into())?;
    let to = SocketAddr::new(IpAddr::V4(ipv4(POD)), listener.port);
    let mut connection = listener.connection(|| vpc.outside.call(to))?;
    block_on(datapath.set_up_node(&closed(&["198.51.100.0/24"])))??;
    assert!(!cluster.lets_in(&vpc.outside, CALLER, POD)?);
    assert!(cluster.lets_in(&vpc.outside, OUTSIDE, POD)?);
    connection.carries_both_ways()
}

#[test]
fn everybody_is_let_in_unless_it_is_asked_for() -> Result<()> {
    let cluster = Cluster::new(&closed(&[]))?;
    let Cluster { datapath, vpc, .. } = &cluster;
    assert!(!cluster.lets_in(&vpc.outside, OUTSIDE, POD)?);
    block_on(datapath.set_up_node(&NodeWiring { ingress: Ingress::Open, ..closed(&[]) }))??;
    assert!(cluster.lets_in(&vpc.outside, OUTSIDE, POD)?);
    assert!(cluster.lets_in(&vpc.outside, OUTSIDE_V6, POD_V6)?);
    Ok(())
}
