//! The fabric against a real kernel: delivery by ownership, the source check, and leaving nothing behind.
//!
//! Needs root, iproute2 and nftables; without them these tests fail and say so.
#![expect(clippy::unwrap_used, reason = "a test that cannot arrange its world fails")]

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use enid_vpc_lab::fabric::{self, Changes, Fabric, FabricEni, FabricError, Footprint, Layout, OUTSIDE};
use enid_vpc_lab::iproute::{ip_batch, ip_query};
use enid_vpc_lab::namespace::{self, NetNs};
use enid_vpc_lab::probe::{self, Mailbox, Mirror};
use enid_vpc_lab::waiting::wait_until;

const TIMEOUT: Duration = Duration::from_secs(2);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 1);

/// A network of two nodes that takes itself away, also when a test fails.
struct Network {
    fabric: Fabric,
}

impl Network {
    fn up(test: &str) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "the fabric tests make network namespaces: run them as root"
        );
        let footprint = footprint(test);
        fabric::down(&footprint).unwrap();
        Self { fabric: Fabric::up(footprint, &layout()).unwrap() }
    }

    fn node(&self, name: &str) -> NetNs {
        self.fabric.footprint().nodes[name].clone()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        fabric::down(self.fabric.footprint()).unwrap();
    }
}

fn nodes() -> Vec<String> {
    vec!["a".to_owned(), "b".to_owned()]
}

fn footprint(test: &str) -> Footprint {
    Footprint::new(&format!("fab-{}-{test}", std::process::id()), &nodes(), 0).unwrap()
}

fn layout() -> Layout {
    Layout {
        vpc: "10.0.0.0/16".parse().unwrap(),
        router_addresses: vec![GATEWAY, Ipv4Addr::new(10, 0, 0, 2), Ipv4Addr::new(169, 254, 169, 254)],
        nodes: nodes(),
    }
}

fn primary(node: &str, last: u8) -> FabricEni {
    let own = Ipv4Addr::new(10, 0, 1, last);
    FabricEni {
        id: format!("eni-00000000000000{last:03}").parse().unwrap(),
        node: node.to_owned(),
        ifname: "eth0".parse().unwrap(),
        mac: format!("02:0a:00:00:00:{last:02x}").parse().unwrap(),
        primary: Some((format!("{own}/24").parse().unwrap(), GATEWAY)),
        addresses: vec![own.into()],
    }
}

fn secondary(node: &str, last: u8) -> FabricEni {
    FabricEni { ifname: "eth1".parse().unwrap(), primary: None, ..primary(node, last) }
}

fn on(address: Ipv4Addr, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(address, port)
}

#[test]
fn nodes_reach_each_other_the_router_and_the_outside() {
    let mut network = Network::up("reach");
    let changes = network.fabric.converge(&[primary("a", 10), primary("b", 11)]).unwrap();
    assert_eq!(changes, Changes { plugged: 2, unplugged: 0, routes: 0 });

    let (a, b) = (network.node("a"), network.node("b"));
    let inet = network.fabric.footprint().inet.clone();
    let vpc = network.fabric.footprint().vpc.clone();
    for (there, address) in [
        (&b, Ipv4Addr::new(10, 0, 1, 11)),
        (&inet, OUTSIDE),
        (&vpc, Ipv4Addr::new(10, 0, 0, 2)),
        (&vpc, Ipv4Addr::new(169, 254, 169, 254)),
    ] {
        let mirror = Mirror::listen(there, on(address, 7000)).unwrap();
        let seen = probe::connect(&a, mirror.address(), TIMEOUT)
            .unwrap_or_else(|error| panic!("{address}: {error}"));
        assert_eq!(seen.ip(), Ipv4Addr::new(10, 0, 1, 10));
    }
    assert_eq!(network.fabric.drops().unwrap(), Default::default());
}

#[test]
fn a_source_that_the_eni_does_not_own_is_dropped_and_counted() {
    let mut network = Network::up("spoof");
    network.fabric.converge(&[primary("a", 10), primary("b", 11)]).unwrap();
    let (a, b) = (network.node("a"), network.node("b"));
    let target = on(Ipv4Addr::new(10, 0, 1, 11), 7000);
    let mailbox = Mailbox::open(&b, target).unwrap();

    // A link that was just made may drop its first packets until the kernel has noticed its carrier.
    let (said, from) = wait_until(Instant::now() + TIMEOUT, || {
        probe::send_as(&a, Ipv4Addr::new(10, 0, 1, 10), target, b"honest").unwrap();
        mailbox.receive(Duration::from_millis(100)).unwrap()
    })
    .expect("an honest datagram arrives");
    assert_eq!((said.as_slice(), from.ip().to_string().as_str()), (b"honest".as_slice(), "10.0.1.10"));

    probe::send_as(&a, Ipv4Addr::new(10, 0, 1, 99), target, b"spoofed").unwrap();
    wait_until(Instant::now() + TIMEOUT, || {
        (network.fabric.drops().unwrap().foreign_source == 1).then_some(())
    })
    .expect("the router counts the spoofed datagram");
    while let Some((said, _)) = mailbox.receive(Duration::from_millis(50)).unwrap() {
        assert_eq!(said, b"honest", "only repetitions of the honest one may still come");
    }
}

#[test]
fn addresses_follow_assignment_and_links_follow_attachment() {
    let mut network = Network::up("follow");
    let a = network.node("a");
    let b = network.node("b");
    network.fabric.converge(&[primary("a", 10), primary("b", 11)]).unwrap();
    let pod = Ipv4Addr::new(10, 0, 1, 77);
    ip_batch(Some(&b), &[format!("addr add {pod}/32 dev lo")]).unwrap();
    let mirror = Mirror::listen(&b, on(pod, 7000)).unwrap();
    probe::connect(&a, mirror.address(), Duration::from_millis(300))
        .expect_err("nobody owns the address yet");

    let mut owner = primary("b", 11);
    owner.addresses.push(pod.into());
    owner.addresses.push("10.0.1.128/28".parse().unwrap());
    let assigned = [primary("a", 10), owner, secondary("a", 20)];
    let changes = network.fabric.converge(&assigned).unwrap();
    assert_eq!(changes, Changes { plugged: 1, unplugged: 0, routes: 2 });
    probe::connect(&a, mirror.address(), TIMEOUT).unwrap();
    assert!(ip_query(Some(&a), &["link", "show", "eth1"]).unwrap().contains("mtu 9001"));
    assert_eq!(network.fabric.converge(&assigned).unwrap(), Changes::default());

    let changes = network.fabric.converge(&[primary("a", 10), primary("b", 11)]).unwrap();
    assert_eq!(changes, Changes { plugged: 0, unplugged: 1, routes: 2 });
    ip_query(Some(&a), &["link", "show", "eth1"]).expect_err("the link left with its ENI");
    probe::connect(&a, mirror.address(), Duration::from_millis(300)).expect_err("the address was taken away");
}

#[test]
fn one_bad_eni_does_not_stop_the_others() {
    let mut network = Network::up("bad");
    let failures = network.fabric.converge(&[primary("nowhere", 9), primary("a", 10)]).unwrap_err();
    assert!(matches!(failures.as_slice(), [FabricError::NoSuchNode { node, .. }] if node == "nowhere"));
    ip_query(Some(&network.node("a")), &["link", "show", "eth0"]).unwrap();
}

#[test]
fn down_leaves_nothing_and_may_be_repeated() {
    let host_before = ip_query(None, &["-j", "link"]).unwrap();
    let names: Vec<NetNs> = {
        let mut network = Network::up("down");
        network.fabric.converge(&[primary("a", 10), primary("b", 11), secondary("b", 21)]).unwrap();
        let taken = Fabric::up(footprint("down"), &layout()).unwrap_err();
        assert!(matches!(taken, FabricError::Taken { .. }));
        network.fabric.footprint().namespaces().cloned().collect()
    };
    let left: Vec<NetNs> =
        namespace::all().unwrap().into_iter().filter(|name| names.contains(name)).collect();
    assert_eq!(left, []);
    assert_eq!(ip_query(None, &["-j", "link"]).unwrap(), host_before);
    fabric::down(&footprint("down")).unwrap();
}

#[test]
fn a_mirror_ends_when_dropped() {
    let network = Network::up("mirror");
    let vpc = network.fabric.footprint().vpc.clone();
    let address: SocketAddr = Mirror::listen(&vpc, on(Ipv4Addr::LOCALHOST, 0)).unwrap().address();
    let refused = probe::connect(&vpc, address, TIMEOUT).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
}
