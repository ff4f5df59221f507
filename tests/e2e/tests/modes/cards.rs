//! Several network cards: pods with an interface on each, and ENIs that are none of ours.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use e2e::lab::Lab;
use e2e::node::Node;
use e2e::patience::wait_for;
use e2e::plugin::Call;
use e2e::pod::{Placed, Pod};
use e2e::traffic::{PORT, listen, reaches};
use enid_core::ids::EniId;
use enid_vpc_lab::lab::landscape::Landscape;
use enid_vpc_lab::lab::status::EniStatus;
use serde_json::{Value, json};

use crate::{GROWTH, Running, distinct, known, owner};

/// A type with four network cards.
const FOUR_CARDS: &str = "p4d.24xlarge";
/// Every card's ENIs come one after the other.
const ALL_CARDS: Duration = Duration::from_secs(90);

fn lab(test: &str) -> Lab {
    Lab::of(test, Landscape::standard().with_instance_types(&[FOUR_CARDS.to_owned(), "t3.small".to_owned()]))
}

/// An ADD of an interface on every card.
fn on_every_card(node: &Node, pod: &Pod) -> Call {
    let annotations = json!({ "k8s.amazonaws.com/nicConfig": "multi-nic-attachment" });
    Call::new("ADD", node, pod)
        .with("runtimeConfig", json!({ "io.kubernetes.cri.pod-annotations": annotations }))
}

/// Somebody else's ENI on the node; `what` is more of its creation.
fn attach(lab: &Lab, node: &Node, what: &str, card: u32, device: u32) -> EniId {
    let subnet = lab.subnet("pods-1a").id;
    let created = lab.call(&format!("Action=CreateNetworkInterface&SubnetId={subnet}{what}"));
    let eni = created.split("<networkInterfaceId>").nth(1).unwrap().split('<').next().unwrap().to_owned();
    lab.call(&format!(
        "Action=AttachNetworkInterface&NetworkInterfaceId={eni}&InstanceId={}&NetworkCardIndex={card}&DeviceIndex={device}",
        node.place.instance
    ));
    let eni: EniId = eni.parse().unwrap();
    wait_for("it is attached", GROWTH, || {
        let status = described(lab, node, &eni);
        if status.as_ref().is_some_and(|eni| eni.status == "attached") {
            Ok(())
        } else {
            Err(format!("{status:?}"))
        }
    });
    eni
}

fn described(lab: &Lab, node: &Node, id: &EniId) -> Option<EniStatus> {
    lab.enis_of(node).into_iter().find(|eni| eni.id == *id)
}

/// From which of its addresses a pod reaches somebody, and that it is seen so.
#[track_caller]
fn reaches_from(pod: &Pod, own: Ipv4Addr, target: Ipv4Addr) {
    let stream = pod.namespace.inside(|| {
        // Bound to its address: the routes of that interface hold.
        use rustix::net::{AddressFamily, SocketType, bind, connect, socket, sockopt};
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(Duration::from_secs(3))).unwrap();
        bind(&socket, &SocketAddr::from((own, 0))).unwrap();
        connect(&socket, &SocketAddr::from((target, PORT))).map(|()| std::net::TcpStream::from(socket))
    });
    let stream = stream.unwrap().unwrap_or_else(|why| panic!("{own} → {target}: {why}"));
    stream.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    let mut seen = String::new();
    std::io::Read::read_to_string(&mut &stream, &mut seen).unwrap();
    assert_eq!(seen.parse::<SocketAddr>().unwrap().ip(), own);
}

/// Calls that change something.
fn changes(calls: &BTreeMap<String, u64>) -> u64 {
    calls.iter().filter(|(call, _)| !call.starts_with("Describe")).map(|(_, count)| count).sum()
}

#[test]
fn a_pod_has_an_interface_on_every_card_and_leaves_by_each_of_them() {
    let lab = lab("cards");
    let node = lab.m5();
    let settings = node.settings().pool("network_cards = \"every\"").wait_secs(60);
    let m5 = Running::start(node, &settings);
    let t3 = lab.t3();
    let settings_there = t3.settings();
    let t3 = Running::start(t3, &settings_there);
    let pod = lab.pod();
    let result: Value = wait_for("an interface on every card", ALL_CARDS, || {
        let ended = on_every_card(&m5.node, &pod).run(&m5.node);
        match ended.code {
            Some(0) => Ok(serde_json::from_str(&ended.stdout).unwrap()),
            _ => Err(ended.stdout),
        }
    });
    let every = Placed { pod, result };
    let one = m5.node.place(lab.pod());
    let addresses = every.addresses();
    assert_eq!((addresses.len(), one.addresses().len()), (4, 1), "{every:?}");
    distinct(&[every.clone(), one.clone()]);
    let own: Vec<Ipv4Addr> = addresses.iter().map(|address| address.to_string().parse().unwrap()).collect();
    let cards: Vec<u32> = own.iter().map(|address| owner(&lab, &m5.node, *address).card).collect();
    assert_eq!(cards, [0, 1, 2, 3]);
    let names = every.result["interfaces"].as_array().unwrap().iter();
    let inside: Vec<&str> =
        names.filter(|link| link["sandbox"].is_string()).map(|link| link["name"].as_str().unwrap()).collect();
    assert_eq!(inside, ["eth0", "mNicIf1", "mNicIf2", "mNicIf3"]);

    // Both ways over every card; the router drops what leaves by an ENI that does not own its source.
    let far = t3.node.place(lab.pod());
    let _far = listen(&far.pod.namespace, far.ipv4());
    for address in &own {
        reaches_from(&every.pod, *address, far.ipv4());
        let _mirror = listen(&every.pod.namespace, *address);
        reaches(&far.pod.namespace, *address, far.ipv4());
        reaches(&one.pod.namespace, *address, one.ipv4());
        reaches(m5.node.namespace(), *address, m5.node.place.address);
    }
    assert_eq!(lab.status().drops.foreign_source, 0);
    m5.node.is_intact(&every);

    t3.ends(&lab, &[far]);

    // Idle cards neither grow nor shrink, nor does a restart change anything.
    let before = lab.calls_at_rest();
    let held = known(&m5.node);
    let Running { node, daemon } = m5;
    daemon.kill();
    let m5 = Running::start(node, &settings);
    m5.daemon.wait_for_pool(&[("quarantined", 0)]);
    m5.node.is_intact(&every);
    assert_eq!(known(&m5.node), held);
    assert_eq!(changes(&lab.calls_at_rest()), changes(&before));
    m5.ends(&lab, &[every, one]);
}

#[test]
fn efa_only_and_unmanaged_enis_stay_as_they_are() {
    let lab = lab("not-ours");
    let node = lab.m5();
    let efa_only = attach(&lab, &node, "&InterfaceType=efa-only", 1, 1);
    let unmanaged = attach(
        &lab,
        &node,
        "&TagSpecification.1.ResourceType=network-interface&TagSpecification.1.Tag.1.Key=node.k8s.amazonaws.com%2Fno_manage\
         &TagSpecification.1.Tag.1.Value=true&SecondaryPrivateIpAddressCount=2",
        0,
        1,
    );
    let before = [&efa_only, &unmanaged].map(|eni| described(&lab, &node, eni).unwrap());
    let link = before[1].link.clone().unwrap().to_string();
    let untouched = node.kernel().link(&link).unwrap();
    let settings = node.settings().pool("network_cards = \"every\"").wait_secs(60);
    // More pods than the primary has addresses: others' are not taken for them.
    let primary =
        usize::try_from(enid_core::instance_types::lookup(FOUR_CARDS).unwrap().slots_per_eni()).unwrap();
    let m5 = Running::start(node, &settings.warm_pool("warm-targets", "warm_ip_target = 1"));
    let pods = m5.pods(&lab, primary.min(49) + 2);
    for placed in &pods {
        let owner = owner(&lab, &m5.node, placed.ipv4()).id;
        assert!(owner != efa_only && owner != unmanaged, "{placed:?}");
    }
    assert_eq!([&efa_only, &unmanaged].map(|eni| described(&lab, &m5.node, eni).unwrap()), before);
    assert_eq!(m5.node.kernel().link(&link).unwrap()["flags"], untouched["flags"]);
    assert!(!known(&m5.node).contains_key(&unmanaged) && !known(&m5.node).contains_key(&efa_only));
    pods.iter().for_each(|placed| m5.node.del(&placed.pod));
    m5.daemon.wait_for_pool(&[("bound", 0)]);
    assert!(m5.daemon.terminate().success());
    assert_eq!([&efa_only, &unmanaged].map(|eni| described(&lab, &lab.m5(), eni).unwrap()), before);
}
