//! A whole lab against a real kernel: endpoints inside the VPC, links that follow EC2, and its end.
//!
//! Needs root, iproute2 and nftables; without them these tests fail and say so.
#![expect(clippy::unwrap_used, reason = "a test that cannot arrange its world fails")]

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use enid_core::ids::SubnetId;
use enid_vpc_lab::fabric::{CORPORATE, OUTSIDE, OUTSIDE_V6};
use enid_vpc_lab::iproute::{ip_batch, ip_query};
use enid_vpc_lab::lab::deed::{Breakage, Deed};
use enid_vpc_lab::lab::landscape::{IMDS_ADDRESS, Landscape, Plot};
use enid_vpc_lab::lab::status::{EniStatus, Status, SubnetStatus};
use enid_vpc_lab::lab::{Lab, LabError, Removed};
use enid_vpc_lab::namespace::NetNs;
use enid_vpc_lab::probe::{self, Mirror};
use enid_vpc_lab::waiting::wait_until;

const SOON: Duration = Duration::from_secs(10);

/// A lab whose process is a thread of this one. It takes itself away, also when a test fails.
struct Running {
    lab: Lab,
    base: PathBuf,
    server: Option<JoinHandle<Result<(), LabError>>>,
}

impl Running {
    fn up(test: &str) -> Self {
        Self::up_with(test, Landscape::standard())
    }

    fn up_with(test: &str, landscape: Landscape) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "a lab makes network namespaces: run these tests as root"
        );
        let name = format!("lab-{}-{test}", std::process::id());
        let base = std::env::temp_dir().join(&name);
        let lab = Lab::with_landscape(&base, &name, landscape).unwrap();
        lab.down().unwrap();
        let serving = lab.clone();
        let server = std::thread::spawn(move || serving.serve());
        let running = Self { lab, base, server: Some(server) };
        wait_until(Instant::now() + SOON, || running.lab.status().ok()).expect("the lab answers");
        running
    }

    fn status(&self) -> Status {
        self.lab.status().unwrap()
    }

    fn node(&self) -> NetNs {
        self.status().nodes[0].namespace.clone()
    }

    /// One call to EC2; the document that came back.
    #[track_caller]
    fn call(&self, form: &str) -> String {
        self.lab.call(form).unwrap()
    }

    /// Makes an ENI and attaches it to the first node; `what` is more of its creation. Its id.
    fn attach(&self, what: &str, card: u32, device: u32) -> String {
        let status = self.status();
        let subnet = &status.subnets[0].id;
        let created = self.call(&format!("Action=CreateNetworkInterface&SubnetId={subnet}{what}"));
        let eni = element(&created, "networkInterfaceId").to_owned();
        self.call(&format!(
            "Action=AttachNetworkInterface&NetworkInterfaceId={eni}&InstanceId={}&NetworkCardIndex={card}&DeviceIndex={device}",
            status.nodes[0].instance
        ));
        wait_until(Instant::now() + SOON, || (self.eni(&eni).status == "attached").then_some(()))
            .expect("the ENI is attached");
        eni
    }

    fn eni(&self, id: &str) -> EniStatus {
        self.status().enis.into_iter().find(|eni| eni.id.as_str() == id).unwrap()
    }

    /// The first node's primary ENI.
    fn primary(&self) -> EniStatus {
        let status = self.status();
        let own = status.nodes[0].address;
        status.enis.into_iter().find(|eni| eni.primary_address == Some(own)).unwrap()
    }

    fn ask(&self, to: SocketAddr, request: &str) -> String {
        let mut stream = self.node().inside(|| TcpStream::connect_timeout(&to, SOON)).unwrap().unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn subnet(&self, name: &str) -> SubnetStatus {
        self.status().subnets.into_iter().find(|subnet| subnet.name == name).unwrap()
    }

    fn link(&self, name: &str) -> bool {
        ip_query(Some(&self.node()), &["link", "show", name]).is_ok()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.lab.down().unwrap();
        if let Some(server) = self.server.take() {
            server.join().unwrap().unwrap();
        }
        std::fs::remove_dir_all(&self.base).unwrap();
    }
}

/// The text between the first `<tag>` and its end.
fn element<'d>(document: &'d str, tag: &str) -> &'d str {
    let (_, rest) =
        document.split_once(&format!("<{tag}>")).unwrap_or_else(|| panic!("no <{tag}> in {document}"));
    rest.split_once(&format!("</{tag}>")).unwrap().0
}

#[test]
fn ec2_and_metadata_answer_inside_the_vpc() {
    let lab = Running::up("answer");
    assert!(lab.call("Action=DescribeSubnets").contains("10.0.3.0/26"));

    let imds = SocketAddr::from((IMDS_ADDRESS, 80));
    let put = "PUT /latest/api/token HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
               x-aws-ec2-metadata-token-ttl-seconds: 60\r\ncontent-length: 0\r\n\r\n";
    let answer = lab.ask(imds, put);
    let (_, token) = answer.split_once("\r\n\r\n").unwrap();
    let get = format!(
        "GET /latest/meta-data/local-ipv4 HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-aws-ec2-metadata-token: {token}\r\n\r\n"
    );
    let node = &lab.status().nodes[0];
    assert!(lab.ask(imds, &get).ends_with(&node.address.to_string()));
}

#[test]
fn links_and_routes_follow_ec2() {
    let lab = Running::up("follow");
    let status = lab.status();
    let (node, subnet) = (&status.nodes[0], &status.subnets[0].id);
    let created = lab.call(&format!("Action=CreateNetworkInterface&SubnetId={subnet}"));
    let eni = element(&created, "networkInterfaceId").to_owned();
    let attached = lab.call(&format!(
        "Action=AttachNetworkInterface&NetworkInterfaceId={eni}&InstanceId={}&DeviceIndex=1",
        node.instance
    ));
    let attachment = element(&attached, "attachmentId").to_owned();
    assert!(!lab.link("eth1"), "attaching takes time");
    wait_until(Instant::now() + SOON, || lab.link("eth1").then_some(())).expect("the link appears");

    lab.call(&format!(
        "Action=AssignPrivateIpAddresses&NetworkInterfaceId={eni}&SecondaryPrivateIpAddressCount=1"
    ));
    let status = lab.status();
    let address = status.enis.iter().find(|known| known.id.as_str() == eni).unwrap().addresses[0];
    let route = ip_query(Some(&status.vpc_namespace), &["route", "show", &format!("{address}/32")]).unwrap();
    assert!(
        route.contains("dev eni-"),
        "the answer to an assignment comes when its route is there: {route:?}"
    );

    lab.call(&format!("Action=DetachNetworkInterface&AttachmentId={attachment}"));
    assert!(lab.link("eth1"), "detaching takes time");
    wait_until(Instant::now() + SOON, || (!lab.link("eth1")).then_some(())).expect("the link leaves");
    assert_eq!(lab.status().diverged, Vec::<String>::new());
    assert_eq!(lab.status().calls["DetachNetworkInterface"], 1);
}

/// Expects that `from` reaches `address` in `to`, and is seen there as itself.
#[track_caller]
fn reaches(from: (&NetNs, IpAddr), to: &NetNs, address: IpAddr) {
    let mirror = Mirror::listen(to, SocketAddr::new(address, 7000)).unwrap();
    let seen = probe::connect(from.0, mirror.address(), SOON)
        .unwrap_or_else(|error| panic!("{} to {address}: {error}", from.1));
    assert_eq!(seen.ip(), from.1);
}

#[test]
fn nodes_and_neighbours_have_both_families_in_a_vpc_with_ipv6() {
    let lab = Running::up_with("families", Landscape::standard().with_neighbour().with_ipv6());
    let status = lab.status();
    assert_eq!((status.nodes.len(), status.neighbours.len()), (2, 1));
    assert!(status.ranges.contains(&"2001:db8:ec2:100::/56".parse().unwrap()));
    let everybody: Vec<_> = status.nodes.iter().chain(&status.neighbours).collect();
    for from in &everybody {
        for to in everybody.iter().filter(|to| to.name != from.name) {
            reaches((&from.namespace, from.address.into()), &to.namespace, to.address.into());
            reaches((&from.namespace, from.ipv6.unwrap().into()), &to.namespace, to.ipv6.unwrap().into());
        }
        for outside in [OUTSIDE, CORPORATE] {
            reaches((&from.namespace, from.address.into()), &status.inet_namespace, outside.into());
        }
        reaches((&from.namespace, from.ipv6.unwrap().into()), &status.inet_namespace, OUTSIDE_V6.into());
    }
    let neighbours = status.subnets.iter().find(|subnet| subnet.name == "others-1a").unwrap();
    assert!(neighbours.cidr.contains(&status.neighbours[0].address), "a subnet of its own");
    assert_eq!(lab.status().drops, Default::default());
}

#[test]
fn delegated_prefixes_of_both_families_lead_to_their_eni() {
    let lab = Running::up_with("prefixes", Landscape::standard().with_ipv6());
    let eni = lab.primary().id;
    lab.call(&format!("Action=AssignPrivateIpAddresses&NetworkInterfaceId={eni}&Ipv4PrefixCount=1"));
    lab.call(&format!("Action=AssignIpv6Addresses&NetworkInterfaceId={eni}&Ipv6PrefixCount=1"));
    let (status, primary) = (lab.status(), lab.primary());
    let (node, other) = (&status.nodes[0], &status.nodes[1]);
    let (block, wide) = (primary.prefixes[0], primary.ipv6_prefixes[0]);
    assert_eq!((block.prefix_len(), wide.prefix_len()), (28, 80));

    let pods: [IpAddr; 2] = [block.broadcast().into(), wide.broadcast().into()];
    let add = |pod: &IpAddr| format!("addr add {pod}/{} dev lo", if pod.is_ipv4() { 32 } else { 128 });
    ip_batch(Some(&node.namespace), &pods.iter().map(add).collect::<Vec<_>>()).unwrap();
    reaches((&other.namespace, other.address.into()), &node.namespace, pods[0]);
    reaches((&other.namespace, other.ipv6.unwrap().into()), &node.namespace, pods[1]);

    lab.call(&format!("Action=UnassignPrivateIpAddresses&NetworkInterfaceId={eni}&Ipv4Prefix.1={block}"));
    lab.call(&format!("Action=UnassignIpv6Addresses&NetworkInterfaceId={eni}&Ipv6Prefix.1={wide}"));
    for pod in pods {
        let mirror = Mirror::listen(&node.namespace, SocketAddr::new(pod, 7000)).unwrap();
        probe::connect(&other.namespace, mirror.address(), Duration::from_millis(300))
            .expect_err("nobody's any more");
    }
}

#[test]
fn enis_on_several_cards_are_links_and_an_efa_only_one_is_none() {
    let types = ["p4d.24xlarge".to_owned(), "m4.large".to_owned()];
    let lab = Running::up_with("cards", Landscape::standard().with_instance_types(&types));
    let nodes = lab.status().nodes;
    assert_eq!(
        nodes.iter().map(|node| &node.instance_type).collect::<Vec<_>>(),
        types.iter().collect::<Vec<_>>()
    );
    let efa_only = lab.attach("&InterfaceType=efa-only", 1, 1);
    let third = lab.attach("", 3, 1);
    let second = lab.attach("&InterfaceType=efa", 2, 1);
    let cards: Vec<(u32, Option<String>)> = [&lab.primary().id.to_string(), &efa_only, &third, &second]
        .map(|id| lab.eni(id))
        .map(|eni| (eni.card, eni.link.map(|link| link.to_string())))
        .into();
    let link = |name: &str| Some(name.to_owned());
    assert_eq!(cards, [(0, link("eth0")), (1, None), (3, link("eth1")), (2, link("eth2"))]);
    assert!(lab.link("eth2") && !lab.link("eth3"));
    assert_eq!(lab.eni(&efa_only).primary_address, None);
    assert_eq!(lab.status().diverged, Vec::<String>::new());
}

#[test]
fn a_range_that_the_vpc_gets_while_it_runs_is_routed() {
    let lab = Running::up_with("range", Landscape::standard().with_range("100.65.0.0/16".parse().unwrap()));
    let status = lab.status();
    let plot = |name: &str, cidr: &str| Deed::AddSubnet(Plot::new(name, "eu-lab-1a", cidr.parse().unwrap()));
    lab.lab.perform(plot("early", "100.65.1.0/26")).unwrap();
    let refused = lab.lab.perform(plot("late", "100.64.1.0/24")).unwrap_err();
    assert!(matches!(refused, LabError::Refused { .. }), "no range of the VPC yet: {refused}");
    lab.call(&format!("Action=AssociateVpcCidrBlock&VpcId={}&CidrBlock=100.64.0.0/16", status.vpc));
    lab.lab.perform(plot("late", "100.64.1.0/24")).unwrap();

    for name in ["early", "late"] {
        let subnet = lab.subnet(name);
        let created = lab.call(&format!("Action=CreateNetworkInterface&SubnetId={}", subnet.id));
        let eni = element(&created, "networkInterfaceId").to_owned();
        let device = if name == "early" { 1 } else { 2 };
        lab.call(&format!(
            "Action=AttachNetworkInterface&NetworkInterfaceId={eni}&InstanceId={}&DeviceIndex={device}",
            status.nodes[0].instance
        ));
        let link = wait_until(Instant::now() + SOON, || lab.eni(&eni).link).expect("the link appears");
        let own = lab.eni(&eni).primary_address.unwrap();
        let (node, other) = (lab.node(), &status.nodes[1]);
        // As the daemon would: answers leave by the link that has the address.
        let table = 100 + device;
        let lines = [
            format!("addr add {own}/32 dev {link}"),
            format!("link set {link} up"),
            format!("route add default dev {link} table {table}"),
            format!("rule add from {own} lookup {table}"),
        ];
        ip_batch(Some(&node), &lines).unwrap();
        reaches((&other.namespace, other.address.into()), &node, own.into());
        reaches((&status.inet_namespace, "192.0.2.2".parse().unwrap()), &node, own.into());
    }
    assert_eq!(lab.status().ranges.len(), 3);
    assert_eq!(lab.status().diverged, Vec::<String>::new());
}

#[test]
fn calls_go_wrong_on_the_wire_as_often_as_asked_for() {
    let lab = Running::up("broken");
    let call = || lab.lab.call("Action=DescribeSubnets");
    let breaks = |api: Option<&str>, times, breakage| {
        lab.lab.perform(Deed::Break { api: api.map(str::to_owned), times, breakage })
    };
    breaks(Some("DescribeSubnets"), 1, Breakage::Throttled).unwrap();
    let refused = call().unwrap_err();
    assert!(refused.to_string().contains("RequestLimitExceeded"), "{refused}");
    call().unwrap();
    breaks(None, 5, Breakage::Failed).unwrap();
    assert!(call().unwrap_err().to_string().contains("InternalError"));
    lab.lab.perform(Deed::Mend).unwrap();
    call().unwrap();
    let refused = breaks(Some("DescribeMoon"), 1, Breakage::Lost).unwrap_err();
    assert!(refused.to_string().contains("`DescribeMoon` is not an EC2 API"), "{refused}");
}

#[test]
fn strangers_break_a_subnet_up_and_leave_it() {
    let lab = Running::up("strangers");
    let id: SubnetId = lab.subnet("pods-1a").id;
    let whole = lab.subnet("pods-1a").free_blocks;
    assert!(whole > 0);
    lab.lab.perform(Deed::Fragment(id.clone())).unwrap();
    assert_eq!(lab.subnet("pods-1a").free_blocks, 0);
    assert!(lab.subnet("pods-1a").free_addresses > 100);
    lab.lab.perform(Deed::Vacate(id.clone())).unwrap();
    assert_eq!(lab.subnet("pods-1a").free_blocks, whole);
    let taken = vec!["10.0.1.200".parse().unwrap()];
    lab.lab.perform(Deed::Occupy { subnet: id.clone(), addresses: taken.clone() }).unwrap();
    assert_eq!(lab.subnet("pods-1a").free_blocks, whole - 1);
    let refused = lab.lab.perform(Deed::Occupy { subnet: id, addresses: taken }).unwrap_err();
    assert!(matches!(refused, LabError::Refused { .. }), "{refused}");
}

#[test]
fn a_landscape_that_ec2_would_not_have_is_refused_and_leaves_nothing() {
    let name = format!("lab-{}-none", std::process::id());
    let base = std::env::temp_dir().join(&name);
    let mut nowhere = Landscape::standard();
    nowhere.nodes[1].subnet = 9;
    for landscape in [Landscape::standard().with_instance_types(&["m5.largo".to_owned()]), nowhere] {
        let lab = Lab::with_landscape(&base, &name, landscape).unwrap();
        assert!(matches!(lab.serve(), Err(LabError::Serve(_))));
        assert!(lab.footprint().namespaces().all(|namespace| !namespace.exists()));
    }
    std::fs::remove_dir_all(&base).unwrap();
}

#[test]
fn a_second_lab_of_the_same_name_is_refused() {
    let running = Running::up("twice");
    let again = Lab::named(&running.base, running.lab.name()).unwrap();
    assert!(matches!(again.expect_absent(), Err(LabError::AlreadyUp { .. })));
    assert!(matches!(again.serve(), Err(LabError::AlreadyUp { .. })));
    running.lab.status().expect("the first one is unharmed");
}

#[test]
fn somebody_elses_directory_is_left_alone() {
    let name = format!("lab-{}-alien", std::process::id());
    let base = std::env::temp_dir().join(&name);
    let file = base.join(&name).join("precious");
    std::fs::create_dir_all(base.join(&name)).unwrap();
    std::fs::write(&file, "x").unwrap();
    let lab = Lab::named(&base, &name).unwrap();
    assert!(matches!(lab.down(), Err(LabError::Io { .. })));
    assert!(matches!(lab.serve(), Err(LabError::Io { .. })));
    assert!(file.exists());
    std::fs::remove_dir_all(&base).unwrap();
}

#[test]
fn down_may_be_repeated_and_leaves_nothing() {
    let running = Running::up("down");
    let footprint = running.lab.footprint().clone();
    let removed = running.lab.down().unwrap();
    assert_eq!(removed, Removed { was_running: true, residents: 0, namespaces: 4 });
    assert!(footprint.namespaces().all(|namespace| !namespace.exists()));
    assert!(!running.lab.directory().exists());
    assert_eq!(running.lab.down().unwrap(), Removed::default());
    assert!(matches!(running.lab.status(), Err(LabError::NotUp { .. })));
}
