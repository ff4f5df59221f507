//! Packets: who reaches whom, by which ENI, with which source address.

use std::net::{IpAddr, SocketAddrV4};

use anyhow::Result;
use datapath::namespace::{Listener, Namespace};
use datapath::vpc::{EXCLUDED, NEIGHBOUR, OUTSIDE, Vpc};
use datapath::wiring::{PRIMARY, SECONDARY_TABLE, ipv4, node, pod, primary_pod, secondary_eni};
use datapath::{block_on, start};
use enid_core::wiring::{NodeWiring, SnatPorts};
use enid_datapath_linux::LinuxDatapath;
use enid_engine::ports::Datapath;

/// An address of the primary ENI.
const ON_PRIMARY: &str = "10.7.0.51";
/// An address of the secondary ENI.
const ON_SECONDARY: &str = "10.7.0.52";

struct Cluster {
    _datapath: LinuxDatapath,
    vpc: Vpc,
    on_primary: Namespace,
    on_secondary: Namespace,
}

impl Cluster {
    fn new(wiring: &NodeWiring) -> Result<Self> {
        let vpc = Vpc::new()?;
        let datapath = start(&vpc.node)?;
        block_on(datapath.set_up_node(wiring))??;
        block_on(datapath.set_up_eni(&secondary_eni()))??;
        vpc.assign("eni-p", ON_PRIMARY)?;
        vpc.assign("eni-s", ON_SECONDARY)?;
        let (on_primary, on_secondary) = (Namespace::new("p")?, Namespace::new("s")?);
        block_on(datapath.wire_pod(&primary_pod("enip", ON_PRIMARY), on_primary.fd()?))??;
        block_on(datapath.wire_pod(&pod("enis", ON_SECONDARY, SECONDARY_TABLE), on_secondary.fd()?))??;
        Ok(Self { _datapath: datapath, vpc, on_primary, on_secondary })
    }

    /// The source that a listener at `address` in `namespace` sees when `from` calls it.
    fn source(&self, from: &Namespace, namespace: &Namespace, address: &str) -> Result<IpAddr> {
        let listener = listen(namespace)?;
        let to = SocketAddrV4::new(ipv4(address), listener.port);
        Ok(listener.caller(|| from.connects(to))?.ip())
    }
}

fn listen(namespace: &Namespace) -> Result<Listener> {
    namespace.listen(SocketAddrV4::new(ipv4("0.0.0.0"), 0))
}

#[test]
fn everybody_reaches_everybody_by_the_right_eni() -> Result<()> {
    let cluster = Cluster::new(&node())?;
    let Cluster { vpc, on_primary, on_secondary, .. } = &cluster;
    for (name, from) in [
        ("pod on primary", on_primary),
        ("pod on secondary", on_secondary),
        ("node", &vpc.node),
        ("router", &vpc.router),
    ] {
        for to in [ON_PRIMARY, ON_SECONDARY, PRIMARY, NEIGHBOUR, OUTSIDE] {
            assert!(from.reaches(to)?, "{name} reaches {to}");
        }
    }
    assert_eq!(vpc.dropped()?, 0, "packets left by an ENI that does not own their source");
    Ok(())
}

#[test]
fn traffic_leaving_the_vpc_is_translated_and_other_traffic_is_not() -> Result<()> {
    for ports in [SnatPorts::Prng, SnatPorts::HashRandom, SnatPorts::None] {
        let cluster = Cluster::new(&NodeWiring { snat: Some(ports), ..node() })?;
        let Cluster { vpc, on_primary, on_secondary, .. } = &cluster;
        for (from, own) in [(on_primary, ON_PRIMARY), (on_secondary, ON_SECONDARY)] {
            assert_eq!(cluster.source(from, &vpc.outside, OUTSIDE)?, ipv4(PRIMARY), "{own} to outside");
            assert_eq!(
                cluster.source(from, &vpc.outside, EXCLUDED)?,
                ipv4(own),
                "{own} to an excluded range"
            );
            assert_eq!(cluster.source(from, &vpc.router, NEIGHBOUR)?, ipv4(own), "{own} to the VPC");
            assert_eq!(cluster.source(from, &vpc.node, PRIMARY)?, ipv4(own), "{own} to its node");
        }
        assert_eq!(cluster.source(on_primary, on_secondary, ON_SECONDARY)?, ipv4(ON_PRIMARY));
        assert_eq!(vpc.dropped()?, 0);
    }
    Ok(())
}

#[test]
fn without_snat_pods_keep_their_addresses_and_leave_by_their_own_eni() -> Result<()> {
    let cluster = Cluster::new(&NodeWiring { snat: None, ..node() })?;
    for (from, own) in [(&cluster.on_primary, ON_PRIMARY), (&cluster.on_secondary, ON_SECONDARY)] {
        assert_eq!(cluster.source(from, &cluster.vpc.outside, OUTSIDE)?, ipv4(own));
    }
    assert_eq!(cluster.vpc.dropped()?, 0);
    Ok(())
}

#[test]
fn a_caller_from_outside_gets_its_answer_by_the_eni_it_called() -> Result<()> {
    let cluster = Cluster::new(&node())?;
    let Cluster { vpc, on_primary, on_secondary, .. } = &cluster;
    for (to, address) in [(on_primary, ON_PRIMARY), (on_secondary, ON_SECONDARY)] {
        assert_eq!(cluster.source(&vpc.outside, to, address)?, ipv4("192.0.2.2"));
    }
    assert_eq!(vpc.dropped()?, 0);
    Ok(())
}

/// What kube-proxy does, in a table of the test's own: a NodePort, and a Service address outside the VPC's
/// ranges that leads to a neighbour in it.
fn proxy(node: &Namespace, node_port_to: SocketAddrV4, service_to: SocketAddrV4) -> Result<()> {
    node.nft(&format!(
        "table ip proxy {{ chain pre {{ type nat hook prerouting priority dstnat; policy accept;
           fib daddr type local tcp dport 30080 dnat to {node_port_to}
           ip daddr 172.20.0.1 tcp dport 80 dnat to {service_to}
         }}
         }}"
    ))
}

#[test]
fn a_node_port_leads_to_a_pod_on_a_secondary_eni_and_back() -> Result<()> {
    for snat in [Some(SnatPorts::Prng), None] {
        let cluster = Cluster::new(&NodeWiring { snat, ..node() })?;
        let listener = listen(&cluster.on_secondary)?;
        let behind = SocketAddrV4::new(ipv4(ON_SECONDARY), listener.port);
        proxy(&cluster.vpc.node, behind, behind)?;
        let door = SocketAddrV4::new(ipv4(PRIMARY), 30080);
        let caller = listener.caller(|| cluster.vpc.outside.connects(door))?;
        assert_eq!(caller.ip(), ipv4("192.0.2.2"), "the client's address is kept");
        assert_eq!(cluster.vpc.dropped()?, 0);
    }
    Ok(())
}

#[test]
fn a_service_address_is_judged_by_where_it_leads() -> Result<()> {
    let cluster = Cluster::new(&node())?;
    let listener = listen(&cluster.vpc.router)?;
    let behind = SocketAddrV4::new(ipv4(NEIGHBOUR), listener.port);
    proxy(&cluster.vpc.node, behind, behind)?;
    let service = SocketAddrV4::new(ipv4("172.20.0.1"), 80);
    let caller = listener.caller(|| cluster.on_secondary.connects(service))?;
    assert_eq!(caller.ip(), ipv4(ON_SECONDARY));
    assert_eq!(cluster.vpc.dropped()?, 0);
    Ok(())
}

#[test]
fn the_mtu_holds_to_the_byte() -> Result<()> {
    let cluster = Cluster::new(&node())?;
    for (bytes, passes) in [(8973, true), (8974, false)] {
        let ping = cluster.on_primary.ping(&format!("-M do -c1 -W1 -q -s {bytes} {ON_SECONDARY}"))?;
        let summary = ping.join().expect("the ping thread ends")?;
        assert_eq!(summary.contains("1 received"), passes, "{bytes}: {summary}");
    }
    Ok(())
}
