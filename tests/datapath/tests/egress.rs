//! Node-local addresses: what pods of one family reach the other with, and that nobody reaches them by it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Result;
use datapath::block_on;
use datapath::namespace::Namespace;
use datapath::vpc::{NEIGHBOUR, NEIGHBOUR_V6, OUTSIDE, OUTSIDE_V6, Vpc};
use datapath::wiring::{PRIMARY, PRIMARY_V6, egress_pod, ip, node};
use enid_core::wiring::{Families, NodeWiring, SnatPorts};
use enid_datapath_linux::LinuxDatapath;
use enid_engine::ports::Datapath;

/// The two kinds of cluster.
struct Kind {
    families: Families,
    /// The pod's address of the VPC.
    address: &'static str,
    /// Its address that only the node knows.
    node_local: &'static str,
    /// What outside sees of it.
    seen: &'static str,
    /// Outside and in the VPC, in the pod's other family.
    others: [&'static str; 2],
    unspecified: IpAddr,
    table: &'static str,
}

const KINDS: [Kind; 2] = [
    Kind {
        families: Families::Ipv6,
        address: "2001:db8:7:0:1::50",
        node_local: "169.254.172.5",
        seen: PRIMARY,
        others: [OUTSIDE, NEIGHBOUR],
        unspecified: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        table: "ip enid",
    },
    Kind {
        families: Families::Ipv4,
        address: "10.7.0.50",
        node_local: "fd00::ac:5",
        seen: PRIMARY_V6,
        others: [OUTSIDE_V6, NEIGHBOUR_V6],
        unspecified: IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        table: "ip6 enid",
    },
];

fn cluster(kind: &Kind, ports: SnatPorts) -> Result<(Vpc, LinuxDatapath, Namespace)> {
    let (vpc, netns) = (Vpc::new()?, Namespace::new("p")?);
    let datapath = datapath::start(&vpc.node)?;
    let wiring = NodeWiring { families: kind.families, egress: Some(ports), ..node() };
    block_on(datapath.set_up_node(&wiring))??;
    vpc.assign("eni-p", kind.address)?;
    let pod = egress_pod("enia", kind.address, kind.node_local);
    block_on(datapath.wire_pod(&pod, netns.fd()?))??;
    Ok((vpc, datapath, netns))
}

#[test]
fn pods_reach_the_other_family_from_the_nodes_own_address() -> Result<()> {
    for kind in &KINDS {
        for ports in [SnatPorts::Prng, SnatPorts::HashRandom, SnatPorts::None] {
            let (vpc, _datapath, netns) = cluster(kind, ports)?;
            for (to, namespace) in kind.others.into_iter().zip([&vpc.outside, &vpc.router]) {
                let listener = namespace.listen(kind.unspecified)?;
                let to = SocketAddr::new(ip(to), listener.port);
                let caller = listener.caller(|| netns.connects(to))?;
                assert_eq!(caller.ip(), ip(kind.seen), "{ports:?} to {to}");
            }
            assert_eq!(vpc.dropped()?, 0);
        }
    }
    Ok(())
}

#[test]
fn the_nodes_own_family_keeps_its_addresses() -> Result<()> {
    let (vpc, _datapath, netns) = cluster(&KINDS[0], SnatPorts::Prng)?;
    for (to, namespace) in [(OUTSIDE_V6, &vpc.outside), (NEIGHBOUR_V6, &vpc.router), (PRIMARY_V6, &vpc.node)]
    {
        let listener = namespace.listen(Ipv6Addr::UNSPECIFIED.into())?;
        let to = SocketAddr::new(ip(to), listener.port);
        let caller = listener.caller(|| netns.connects(to))?;
        assert_eq!(caller.ip(), ip(KINDS[0].address), "{to}");
    }
    assert_eq!(vpc.dropped()?, 0);
    Ok(())
}

/// What conntrack calls invalid, here for want of the connection's beginning.
#[test]
fn nothing_that_belongs_to_no_connection_reaches_a_node_local_address() -> Result<()> {
    let kind = &KINDS[0];
    let vpc = Vpc::new()?;
    let datapath = datapath::start(&vpc.node)?;
    for setting in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        vpc.node.set_sysctl(setting, "1")?;
    }
    vpc.node.set_sysctl("netfilter/nf_conntrack_tcp_loose", "0")?;
    for address in [kind.address, kind.node_local] {
        vpc.assign("eni-p", address)?;
    }
    let netns = Namespace::new("p")?;
    let pod = egress_pod("enia", kind.address, kind.node_local);
    block_on(datapath.wire_pod(&pod, netns.fd()?))??;
    let listener = netns.listen(kind.unspecified)?;
    let to = SocketAddr::new(ip(kind.node_local), listener.port);
    // Nothing refuses it, nor tracks it, before the node is set up.
    let mut connection = listener.connection(|| vpc.router.call(to))?;
    connection.carries_both_ways()?;
    let wiring = NodeWiring { families: kind.families, egress: Some(SnatPorts::Prng), ..node() };
    block_on(datapath.set_up_node(&wiring))??;
    assert!(connection.carries_both_ways().is_err());
    assert!(vpc.node.counted(kind.table, "node-local-refused")? > 0);
    Ok(())
}

#[test]
fn nobody_opens_a_connection_to_a_node_local_address() -> Result<()> {
    for kind in &KINDS {
        let (vpc, datapath, netns) = cluster(kind, SnatPorts::Prng)?;
        // Somebody routes it to the node all the same.
        vpc.assign("eni-p", kind.node_local)?;
        let listener = netns.listen(kind.unspecified)?;
        let to = SocketAddr::new(ip(kind.node_local), listener.port);
        let refusal = vpc.router.connects(to);
        assert!(refusal.is_err(), "{to}");
        assert!(vpc.node.counted(kind.table, "node-local-refused")? > 0);
        // Not even another pod of the node; the node itself may.
        let other = Namespace::new("p")?;
        let (address, node_local) = match kind.families {
            Families::Ipv6 | Families::DualStack => ("2001:db8:7:0:1::51", "169.254.172.6"),
            Families::Ipv4 => ("10.7.0.51", "fd00::ac:6"),
        };
        block_on(datapath.wire_pod(&egress_pod("enib", address, node_local), other.fd()?))??;
        assert!(other.connects(to).is_err(), "{to} from a pod");
        listener.caller(|| vpc.node.connects(to))?;
    }
    Ok(())
}
