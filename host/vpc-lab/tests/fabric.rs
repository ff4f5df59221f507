//! The fabric against a real kernel: delivery by ownership, the source check, and leaving nothing behind.
//!
//! Needs root, iproute2 and nftables; without them these tests fail and say so.
#![expect(clippy::unwrap_used, reason = "a test that cannot arrange its world fails")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use enid_core::wiring::Seat;
use enid_vpc_lab::fabric::{
    self, CORPORATE, Changes, Fabric, FabricEni, FabricError, Footprint, GATEWAY_V6, Ground, OUTSIDE,
    OUTSIDE_V6, Primary,
};
use enid_vpc_lab::iproute::{ip_batch, ip_query};
use enid_vpc_lab::namespace::{self, NetNs};
use enid_vpc_lab::probe::{self, Mailbox, Mirror};
use enid_vpc_lab::waiting::wait_until;
use ipnet::IpNet;

const TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection that must not come about gets to come about.
const SILENCE: Duration = Duration::from_millis(300);
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
        Self { fabric: Fabric::up(footprint, &ground()).unwrap() }
    }

    fn node(&self, name: &str) -> NetNs {
        self.fabric.footprint().nodes[name].clone()
    }

    /// The name of an ENI's link in its node.
    fn name(&self, eni: &FabricEni) -> String {
        self.fabric.ifname(&eni.id).map(ToString::to_string).unwrap_or_default()
    }

    fn foreign_source(&self) -> u64 {
        self.fabric.drops().unwrap().foreign_source
    }

    /// Expects a datagram under `source` to arrive. A link that was just made may drop its first packets until
    /// the kernel has noticed its carrier.
    #[track_caller]
    fn arrives(&self, from: &NetNs, source: IpAddr, mailbox: &Mailbox) {
        let target = mailbox.address().unwrap();
        let heard = wait_until(Instant::now() + TIMEOUT, || {
            probe::send_as(from, source, target, source.to_string().as_bytes()).unwrap();
            heard_from(mailbox, source).then_some(())
        });
        heard.unwrap_or_else(|| panic!("nothing from {source} arrives at {target}"));
    }

    /// Expects a datagram under `source` to be dropped by the router, and counted.
    #[track_caller]
    fn is_dropped(&self, from: &NetNs, source: IpAddr, mailbox: &Mailbox) {
        let before = self.foreign_source();
        probe::send_as(from, source, mailbox.address().unwrap(), b"spoofed").unwrap();
        wait_until(Instant::now() + TIMEOUT, || (self.foreign_source() > before).then_some(()))
            .unwrap_or_else(|| panic!("the router does not count what comes from {source}"));
        assert!(!heard_from(mailbox, source), "{source} arrived");
    }
}

/// Whether the mailbox has, or soon gets, a datagram that came from `source`.
fn heard_from(mailbox: &Mailbox, source: IpAddr) -> bool {
    std::iter::from_fn(|| mailbox.receive(Duration::from_millis(100)).unwrap())
        .any(|(_, from)| from.ip() == source)
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

fn ground() -> Ground {
    Ground {
        ranges: [net("10.0.0.0/16"), net("2001:db8:ec2:100::/56")].into(),
        router_addresses: [GATEWAY, Ipv4Addr::new(10, 0, 0, 2), Ipv4Addr::new(169, 254, 169, 254)].into(),
    }
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn primary(node: &str, last: u8) -> FabricEni {
    let own = Ipv4Addr::new(10, 0, 1, last);
    FabricEni {
        id: format!("eni-00000000000000{last:03}").parse().unwrap(),
        node: node.to_owned(),
        seat: Seat { card: 0, device: 0 },
        mac: format!("02:0a:00:00:00:{last:02x}").parse().unwrap(),
        primary: Some(Primary {
            address: format!("{own}/24").parse().unwrap(),
            gateway: GATEWAY,
            ipv6: None,
        }),
        addresses: vec![IpAddr::from(own).into()],
    }
}

fn secondary(node: &str, last: u8) -> FabricEni {
    at(node, last, 0, 1)
}

fn at(node: &str, last: u8, card: u32, device: u32) -> FabricEni {
    FabricEni { seat: Seat { card, device }, primary: None, ..primary(node, last) }
}

/// The same with an IPv6 address that ends as the IPv4 one.
fn with_ipv6(mut eni: FabricEni, last: u8) -> FabricEni {
    let own = ipv6(last);
    eni.primary = eni.primary.map(|primary| Primary { ipv6: Some(own), ..primary });
    eni.addresses.push(IpAddr::from(own).into());
    eni
}

fn ipv6(last: u8) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0xec2, 0x101, 0, 0, 0, last.into())
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
        (&inet, CORPORATE),
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
    let mailbox = Mailbox::open(&b, on(Ipv4Addr::new(10, 0, 1, 11), 7000)).unwrap();

    network.arrives(&a, ip("10.0.1.10"), &mailbox);
    network.is_dropped(&a, ip("10.0.1.99"), &mailbox);
    assert_eq!(network.foreign_source(), 1);
}

#[test]
fn a_delegated_prefix_leads_to_its_eni_and_may_be_a_source() {
    let mut network = Network::up("prefix");
    let (a, b) = (network.node("a"), network.node("b"));
    let mut owner = primary("b", 11);
    owner.addresses.push(net("10.0.1.128/28"));
    network.fabric.converge(&[primary("a", 10), owner]).unwrap();
    let pod = Ipv4Addr::new(10, 0, 1, 143);
    ip_batch(Some(&b), &[format!("addr add {pod}/32 dev lo")]).unwrap();
    let mirror = Mirror::listen(&b, on(pod, 7000)).unwrap();
    probe::connect(&a, mirror.address(), TIMEOUT).unwrap();

    let mailbox = Mailbox::open(&a, on(Ipv4Addr::new(10, 0, 1, 10), 7000)).unwrap();
    network.arrives(&b, ip("10.0.1.128"), &mailbox);
    network.arrives(&b, ip("10.0.1.143"), &mailbox);
    network.is_dropped(&b, ip("10.0.1.144"), &mailbox);
}

#[test]
fn ipv6_reaches_nodes_and_the_outside_through_the_vpcs_gateway() {
    let mut network = Network::up("six");
    let enis = [with_ipv6(primary("a", 10), 10), with_ipv6(primary("b", 11), 11)];
    network.fabric.converge(&enis).unwrap();
    let (a, b) = (network.node("a"), network.node("b"));
    let inet = network.fabric.footprint().inet.clone();
    for (there, address) in [(&b, ipv6(11)), (&inet, OUTSIDE_V6)] {
        let mirror = Mirror::listen(there, SocketAddr::from((address, 7000))).unwrap();
        let seen = probe::connect(&a, mirror.address(), TIMEOUT)
            .unwrap_or_else(|error| panic!("{address}: {error}"));
        assert_eq!(seen.ip(), ipv6(10));
    }
    let neighbours = ip_query(Some(&a), &["-6", "neigh", "show", "dev", "eth0"]).unwrap();
    let gateway = GATEWAY_V6.to_string();
    assert!(
        neighbours
            .lines()
            .any(|line| line.starts_with(&gateway) && line.contains("lladdr") && line.contains("router")),
        "the gateway answers for itself: {neighbours:?}"
    );
    assert_eq!(neighbours.lines().count(), 1, "nobody else is on the link: {neighbours:?}");

    let mirror = Mirror::listen(&a, SocketAddr::from((ipv6(10), 7000))).unwrap();
    let seen = probe::connect(&inet, mirror.address(), TIMEOUT).unwrap();
    assert_eq!(seen.ip().to_string(), "2001:db8:fffe::2", "the outside reaches in");
    assert_eq!(network.fabric.drops().unwrap(), Default::default());
}

#[test]
fn a_delegated_ipv6_prefix_leads_to_its_eni_and_is_no_other_enis_source() {
    let mut network = Network::up("eighty");
    let (a, b) = (network.node("a"), network.node("b"));
    let mut owner = with_ipv6(primary("b", 11), 11);
    owner.addresses.push(net("2001:db8:ec2:101:aaaa::/80"));
    let mut second = secondary("b", 21);
    second.addresses.push(net("2001:db8:ec2:101:bbbb::/80"));
    network.fabric.converge(&[with_ipv6(primary("a", 10), 10), owner.clone(), second.clone()]).unwrap();

    let pod = ip("2001:db8:ec2:101:aaaa::7");
    ip_batch(Some(&b), &[format!("addr add {pod}/128 dev lo nodad")]).unwrap();
    let mirror = Mirror::listen(&b, SocketAddr::new(pod, 7000)).unwrap();
    assert_eq!(probe::connect(&a, mirror.address(), TIMEOUT).unwrap().ip(), ipv6(10));

    let mailbox = Mailbox::open(&a, SocketAddr::from((ipv6(10), 7000))).unwrap();
    network.arrives(&b, pod, &mailbox);
    for foreign in ["2001:db8:ec2:101:bbbb::7", "2001:db8:ec2:101:cccc::7", "2001:db8:ffff::7"] {
        network.is_dropped(&b, ip(foreign), &mailbox);
    }
    // The other ENI's prefix is good on the other ENI's link, once the node uses it.
    ip_batch(
        Some(&b),
        &[
            format!("link set {} up", network.name(&second)),
            format!("route replace {}/128 via {GATEWAY_V6} dev {}", ipv6(10), network.name(&second)),
        ],
    )
    .unwrap();
    network.arrives(&b, ip("2001:db8:ec2:101:bbbb::7"), &mailbox);
    network.is_dropped(&b, pod, &mailbox);
}

#[test]
fn a_primary_link_follows_its_enis_ipv6_address() {
    let mut network = Network::up("late");
    let a = network.node("a");
    let inet = network.fabric.footprint().inet.clone();
    let mirror = Mirror::listen(&inet, SocketAddr::from((OUTSIDE_V6, 7000))).unwrap();
    network.fabric.converge(&[primary("a", 10)]).unwrap();
    probe::connect(&a, mirror.address(), SILENCE).expect_err("the node has no IPv6 yet");

    let changes = network.fabric.converge(&[with_ipv6(primary("a", 10), 10)]).unwrap();
    assert_eq!(changes, Changes { plugged: 0, unplugged: 0, routes: 1 });
    assert_eq!(probe::connect(&a, mirror.address(), TIMEOUT).unwrap().ip(), ipv6(10));

    network.fabric.converge(&[with_ipv6(primary("a", 10), 12)]).unwrap();
    assert_eq!(probe::connect(&a, mirror.address(), TIMEOUT).unwrap().ip(), ipv6(12));

    network.fabric.converge(&[primary("a", 10)]).unwrap();
    let left = ip_query(Some(&a), &["-6", "addr", "show", "dev", "eth0", "scope", "global"]).unwrap();
    assert_eq!(left.trim(), "");
}

#[test]
fn links_are_named_in_the_order_in_which_they_are_attached() {
    let mut network = Network::up("names");
    let (first, second) = (at("a", 21, 0, 1), at("a", 20, 1, 1));
    network.fabric.converge(&[second.clone(), first.clone(), primary("a", 10)]).unwrap();
    assert_eq!(network.name(&primary("a", 10)), "eth0");
    assert_eq!((network.name(&first), network.name(&second)), ("eth1".to_owned(), "eth2".to_owned()));

    let (third, elsewhere) = (at("a", 22, 2, 0), at("b", 30, 3, 1));
    network.fabric.converge(&[second.clone(), third.clone(), primary("a", 10), elsewhere.clone()]).unwrap();
    assert_eq!(network.name(&second), "eth2", "a link keeps its name");
    assert_eq!(network.name(&third), "eth1", "a name that is free again is the next one");
    assert_eq!(network.name(&first), "");
    assert_eq!(network.name(&elsewhere), "eth0", "each node counts for itself");
    for name in ["eth0", "eth1", "eth2"] {
        ip_query(Some(&network.node("a")), &["link", "show", name]).unwrap();
    }
}

#[test]
fn an_address_moves_from_one_eni_to_another() {
    let mut network = Network::up("move");
    let pod = Ipv4Addr::new(10, 0, 1, 77);
    let with_pod = |mut eni: FabricEni| {
        eni.addresses.push(IpAddr::from(pod).into());
        eni
    };
    for name in ["a", "b"] {
        ip_batch(Some(&network.node(name)), &[format!("addr add {pod}/32 dev lo")]).unwrap();
    }
    let inet = network.fabric.footprint().inet.clone();
    // There and back: whichever ENI is looked at first.
    for (enis, owner) in [
        ([with_pod(primary("a", 10)), primary("b", 11)], "a"),
        ([primary("a", 10), with_pod(primary("b", 11))], "b"),
        ([with_pod(primary("a", 10)), primary("b", 11)], "a"),
    ] {
        network.fabric.converge(&enis).unwrap();
        let mirror = Mirror::listen(&network.node(owner), on(pod, 7000)).unwrap();
        probe::connect(&inet, mirror.address(), TIMEOUT).unwrap_or_else(|error| panic!("{owner}: {error}"));
    }
}

#[test]
fn a_further_range_becomes_part_of_the_vpc() {
    let mut network = Network::up("range");
    let (a, b) = (network.node("a"), network.node("b"));
    let inet = network.fabric.footprint().inet.clone();
    network.fabric.converge(&[primary("a", 10), primary("b", 11)]).unwrap();
    let pod = Ipv4Addr::new(100, 64, 1, 77);
    ip_batch(Some(&b), &[format!("addr add {pod}/32 dev lo")]).unwrap();
    let mirror = Mirror::listen(&b, on(pod, 7000)).unwrap();

    let mut wider = ground();
    wider.ranges.insert(net("100.64.0.0/16"));
    wider.router_addresses.insert(Ipv4Addr::new(100, 64, 1, 1));
    assert!(network.fabric.lie_on(&wider).unwrap());
    assert!(!network.fabric.lie_on(&wider).unwrap(), "twice is as once");
    let unowned = probe::connect(&a, mirror.address(), TIMEOUT).unwrap_err();
    assert_eq!(unowned.kind(), std::io::ErrorKind::HostUnreachable, "in the VPC, and nobody's");

    let mut owner = primary("b", 11);
    owner.addresses.push(net("100.64.1.64/28"));
    network.fabric.converge(&[primary("a", 10), owner]).unwrap();
    probe::connect(&a, mirror.address(), TIMEOUT).unwrap();
    probe::connect(&inet, mirror.address(), TIMEOUT).expect("the outside has a route to it");

    network.fabric.converge(&[primary("a", 10), primary("b", 11)]).unwrap();
    assert!(network.fabric.lie_on(&ground()).unwrap());
    let routes = ip_query(Some(&network.fabric.footprint().vpc), &["route", "show", "table", "all"]).unwrap();
    assert!(!routes.contains("100.64."), "{routes}");
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
    probe::connect(&a, mirror.address(), SILENCE).expect_err("nobody owns the address yet");

    let mut owner = primary("b", 11);
    owner.addresses.push(IpAddr::from(pod).into());
    owner.addresses.push(net("10.0.1.128/28"));
    let assigned = [primary("a", 10), owner, secondary("a", 20)];
    let changes = network.fabric.converge(&assigned).unwrap();
    assert_eq!(changes, Changes { plugged: 1, unplugged: 0, routes: 2 });
    probe::connect(&a, mirror.address(), TIMEOUT).unwrap();
    assert!(ip_query(Some(&a), &["link", "show", "eth1"]).unwrap().contains("mtu 9001"));
    assert_eq!(network.fabric.converge(&assigned).unwrap(), Changes::default());

    let changes = network.fabric.converge(&[primary("a", 10), primary("b", 11)]).unwrap();
    assert_eq!(changes, Changes { plugged: 0, unplugged: 1, routes: 2 });
    ip_query(Some(&a), &["link", "show", "eth1"]).expect_err("the link left with its ENI");
    probe::connect(&a, mirror.address(), SILENCE).expect_err("the address was taken away");
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
        let taken = Fabric::up(footprint("down"), &ground()).unwrap_err();
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
