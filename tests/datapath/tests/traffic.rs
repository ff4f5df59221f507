//! Packets: who reaches whom, by which ENI, with which source address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};

use anyhow::Result;
use datapath::namespace::{Listener, Namespace};
use datapath::vpc::{CALLER, CALLER_V6, EXCLUDED, NEIGHBOUR, NEIGHBOUR_V6, OUTSIDE, OUTSIDE_V6, Vpc};
use datapath::wiring::{
    PRIMARY, PRIMARY_V6, SECONDARY_TABLE, dual_pod, ip, ipv4, node, pod, primary_pod, secondary_eni,
};
use datapath::{block_on, start};
use enid_core::wiring::{Families, NodeWiring, PodWiring, SnatPorts};
use enid_datapath_linux::LinuxDatapath;
use enid_engine::ports::Datapath;

/// An address of the primary ENI.
const ON_PRIMARY: &str = "10.7.0.51";
/// An address of the secondary ENI.
const ON_SECONDARY: &str = "10.7.0.52";

struct Cluster {
    datapath: LinuxDatapath,
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
        Ok(Self { datapath, vpc, on_primary, on_secondary })
    }

    /// The source that a listener at `address` in `namespace` sees when `from` calls it.
    fn source(&self, from: &Namespace, namespace: &Namespace, address: &str) -> Result<IpAddr> {
        source(from, namespace, address)
    }
}

fn source(from: &Namespace, namespace: &Namespace, address: &str) -> Result<IpAddr> {
    let address = ip(address);
    let unspecified = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let listener = namespace.listen(unspecified)?;
    let to = SocketAddr::new(address, listener.port);
    Ok(listener.caller(|| from.connects(to))?.ip())
}

fn listen(namespace: &Namespace) -> Result<Listener> {
    namespace.listen(Ipv4Addr::UNSPECIFIED.into())
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
        assert_eq!(cluster.source(&vpc.outside, to, address)?, ipv4(CALLER));
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
        assert_eq!(caller.ip(), ipv4(CALLER), "the client's address is kept");
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

/// Two pods of an IPv6 or dual-stack node, the first of both families.
struct Ipv6Cluster {
    _datapath: LinuxDatapath,
    vpc: Vpc,
    pods: [Namespace; 2],
}

/// The addresses of the two pods.
const V6: [&str; 2] = ["2001:db8:7:0:1::51", "2001:db8:7:0:1::52"];

impl Ipv6Cluster {
    fn new(families: Families, wirings: [PodWiring; 2]) -> Result<Self> {
        let vpc = Vpc::new()?;
        let datapath = start(&vpc.node)?;
        block_on(datapath.set_up_node(&NodeWiring { families, ..node() }))??;
        // As with a delegated prefix, which the VPC delivers as a whole.
        vpc.assign("eni-p", "2001:db8:7:0:1::/80")?;
        let pods = [Namespace::new("p")?, Namespace::new("s")?];
        for (wiring, netns) in wirings.iter().zip(&pods) {
            for address in wiring.leased().filter(IpAddr::is_ipv4) {
                vpc.assign("eni-p", &address.to_string())?;
            }
            block_on(datapath.wire_pod(wiring, netns.fd()?))??;
        }
        Ok(Self { _datapath: datapath, vpc, pods })
    }

    /// Everybody reaches everybody over IPv6, each from its own address.
    fn everybody_reaches_everybody(&self) -> Result<()> {
        let Self { vpc, pods: [first, second], .. } = self;
        for (from, namespace, to, seen) in [
            (first, second, V6[1], V6[0]),
            (second, first, V6[0], V6[1]),
            (first, &vpc.node, PRIMARY_V6, V6[0]),
            (first, &vpc.router, NEIGHBOUR_V6, V6[0]),
            (second, &vpc.outside, OUTSIDE_V6, V6[1]),
            (&vpc.node, first, V6[0], PRIMARY_V6),
            (&vpc.outside, second, V6[1], CALLER_V6),
        ] {
            assert_eq!(source(from, namespace, to)?, ip(seen), "to {to}");
        }
        assert!(vpc.router.reaches(V6[0])?);
        assert_eq!(vpc.dropped()?, 0);
        Ok(())
    }
}

#[test]
fn ipv6_pods_reach_everybody_from_their_own_addresses() -> Result<()> {
    let wirings = [primary_pod("enip", V6[0]), primary_pod("enis", V6[1])];
    Ipv6Cluster::new(Families::Ipv6, wirings)?.everybody_reaches_everybody()
}

#[test]
fn dual_stack_pods_use_both_families_at_once() -> Result<()> {
    let wirings = [dual_pod("enip", ON_PRIMARY, V6[0]), dual_pod("enis", "10.7.0.53", V6[1])];
    let cluster = Ipv6Cluster::new(Families::DualStack, wirings)?;
    cluster.everybody_reaches_everybody()?;
    let Ipv6Cluster { vpc, pods: [first, second], .. } = &cluster;
    for (from, namespace, to, seen) in [
        (first, second, "10.7.0.53", ON_PRIMARY),
        (first, &vpc.router, NEIGHBOUR, ON_PRIMARY),
        (second, &vpc.outside, OUTSIDE, PRIMARY),
        (&vpc.outside, first, ON_PRIMARY, CALLER),
    ] {
        assert_eq!(source(from, namespace, to)?, ip(seen), "to {to}");
    }
    assert_eq!(vpc.dropped()?, 0);
    Ok(())
}

/// The kernel begins to take packets for an IPv6 address some time after it has acknowledged it.
#[test]
fn a_pod_takes_the_first_packet_after_its_answer() -> Result<()> {
    let vpc = Vpc::new()?;
    let datapath = start(&vpc.node)?;
    block_on(datapath.set_up_node(&NodeWiring { families: Families::DualStack, ..node() }))??;
    for n in 0..20 {
        for address in [format!("10.7.1.{n}"), format!("2001:db8:7:0:1::{n:x}")] {
            let netns = Namespace::new("p")?;
            let wiring = primary_pod(&format!("eni{n}"), &address);
            let knocker = vpc.node.knocker(ip(&address))?;
            block_on(datapath.wire_pod(&wiring, netns.fd()?))??;
            assert!(knocker.is_refused()?, "{address} did not get the first packet");
            block_on(datapath.unwire_pod(&wiring))??;
        }
    }
    Ok(())
}

#[test]
fn external_services_are_reached_by_the_primary_eni() -> Result<()> {
    let service = "198.51.100.0/24".parse()?;
    for (external_services, by_primary) in [(vec![], false), (vec![service], true)] {
        let cluster = Cluster::new(&NodeWiring { snat: None, external_services, ..node() })?;
        // Without SNAT the primary ENI sends from an address that is not its own.
        cluster.vpc.watch_source("eni-p", ON_SECONDARY)?;
        assert_eq!(cluster.source(&cluster.on_secondary, &cluster.vpc.outside, OUTSIDE)?, ipv4(ON_SECONDARY));
        assert_eq!(cluster.vpc.watched()? > 0, by_primary);
    }
    Ok(())
}

#[test]
fn a_range_joins_the_vpc_without_dropping_a_connection() -> Result<()> {
    let cluster = Cluster::new(&node())?;
    let Cluster { datapath, vpc, on_secondary, .. } = &cluster;
    let listener = listen(&vpc.outside)?;
    let to = SocketAddr::new(ip(OUTSIDE), listener.port);
    let mut connection = listener.connection(|| on_secondary.call(to))?;
    assert_eq!(connection.peer.ip(), ipv4(PRIMARY));
    let wider = NodeWiring { vpc_cidrs: vec!["10.7.0.0/16".parse()?, "198.51.100.0/24".parse()?], ..node() };
    block_on(datapath.set_up_node(&wider))??;
    connection.carries_both_ways()?;
    assert_eq!(cluster.source(on_secondary, &vpc.outside, OUTSIDE)?, ipv4(ON_SECONDARY));
    connection.carries_both_ways()?;
    assert_eq!(vpc.dropped()?, 0);
    Ok(())
}

#[test]
fn another_bit_marks_as_well() -> Result<()> {
    let cluster = Cluster::new(&NodeWiring { mark: 0x4000, ..node() })?;
    let Cluster { vpc, on_secondary, .. } = &cluster;
    assert_eq!(cluster.source(on_secondary, &vpc.outside, OUTSIDE)?, ipv4(PRIMARY));
    assert_eq!(vpc.dropped()?, 0);
    Ok(())
}
