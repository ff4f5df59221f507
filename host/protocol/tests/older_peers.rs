//! The first version's reader on the other side of the socket, in both directions: what it reads says what it
//! always said, and what would say too little to it is something that it refuses.

use std::net::{IpAddr, Ipv4Addr};

use enid_protocol::frame::HEADER;
use enid_protocol::message::{
    Add, Added, AddedIpv4, Address, Check, Further, Gc, Interface, Reply, Request, Subject,
};
use serde::Deserialize;

/// The parts of the first version's messages that have changed since, as it read them.
mod first {
    use super::*;

    #[derive(Debug, Deserialize)]
    pub(super) struct Body<T> {
        #[serde(alias = "reply")]
        pub(super) request: T,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    #[expect(dead_code, reason = "what matters is whether it can be read")]
    pub(super) enum Request {
        Add { container: String, network: String, ifname: String, timeout_ms: u64 },
        Check { container: String, addresses: Vec<Ipv4Addr>, timeout_ms: u64 },
        Explain { subject: Subject },
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    #[expect(dead_code, reason = "what matters is whether it can be read")]
    pub(super) enum Subject {
        Address(Ipv4Addr),
        Eni(String),
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    #[expect(dead_code, reason = "what matters is whether it can be read")]
    pub(super) enum Reply {
        Added {
            address: Ipv4Addr,
            gateway: Ipv4Addr,
            host_veth: String,
            host_mac: String,
            pod_mac: String,
            mtu: u32,
        },
        Checked,
    }

    pub(super) fn request(frame: &[u8]) -> Result<Request, String> {
        let body: Result<Body<_>, _> = serde_json::from_slice(&frame[HEADER..]);
        body.map(|body| body.request).map_err(|error| error.to_string())
    }

    pub(super) fn reply(frame: &[u8]) -> Result<Reply, String> {
        let body: Result<Body<_>, _> = serde_json::from_slice(&frame[HEADER..]);
        body.map(|body| body.request).map_err(|error| error.to_string())
    }
}

const OLD_ADD: &str = r#"{"v":1,"request":{"add":{"container":"c1","network":"enid","ifname":"eth0","netns":"/n","pod":{"namespace":"default","name":"web"},"timeout_ms":90000}}}"#;
const OLD_CHECK: &str = r#"{"v":1,"request":{"check":{"container":"c1","network":"enid","ifname":"eth0","netns":"/n","addresses":["10.0.1.7"],"timeout_ms":10000}}}"#;
const OLD_EXPLAIN: &str = r#"{"v":1,"request":{"explain":{"subject":{"address":"10.0.1.7"}}}}"#;
const OLD_ADDED: &str = r#"{"v":1,"reply":{"added":{"address":"10.0.1.7","gateway":"169.254.1.1","host_veth":"eni1","host_mac":"02:00:00:00:00:01","pod_mac":"02:00:00:00:00:02","mtu":9001}}}"#;
const DUAL_STACK: &str = r#"{"v":1,"reply":{"added_interfaces":{"first":{"addresses":[{"address":"10.0.1.7","prefix":32},{"address":"2001:db8::7","prefix":128}],"gateways":["169.254.1.1","fe80::1"],"host_veth":"eni1","host_mac":"02:00:00:00:00:01","pod_mac":"02:00:00:00:00:02","mtu":9001}}}}"#;
const TWO_CARDS: &str = r#"{"v":1,"reply":{"added_interfaces":{"first":{"addresses":[{"address":"10.0.1.7","prefix":32}],"gateways":["169.254.1.1"],"host_veth":"eni1","host_mac":"02:00:00:00:00:01","pod_mac":"02:00:00:00:00:02","mtu":9001},"further":[{"ifname":"mNicIf1","table":1,"addresses":[{"address":"10.0.2.9","prefix":32}],"gateways":["169.254.1.1"],"host_veth":"eni1","host_mac":"02:00:00:00:00:01","pod_mac":"02:00:00:00:00:02","mtu":9001}]}}}"#;

#[expect(clippy::unwrap_used, reason = "this is test code outside of test functions")]
fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn single() -> Added {
    let (host_mac, pod_mac) = ("02:00:00:00:00:01".to_owned(), "02:00:00:00:00:02".to_owned());
    let (address, gateway) = (Ipv4Addr::new(10, 0, 1, 7), Ipv4Addr::new(169, 254, 1, 1));
    AddedIpv4 { address, gateway, host_veth: "eni1".to_owned(), host_mac, pod_mac, mtu: 9001 }.into()
}

fn dual_stack() -> Added {
    let mut added = single();
    added.first.addresses.push(Address::alone(ip("2001:db8::7")));
    added.first.gateways.push(ip("fe80::1"));
    added
}

fn two_cards() -> Added {
    let mut added = single();
    let interface = Interface { addresses: vec![Address::alone(ip("10.0.2.9"))], ..added.first.clone() };
    added.further.push(Further { ifname: "mNicIf1".to_owned(), table: 1, interface });
    added
}

fn add() -> Add {
    Add {
        container: "c1".to_owned(),
        network: "enid".to_owned(),
        ifname: "eth0".to_owned(),
        netns: String::new(),
        pod: None,
        timeout_ms: 5,
        trace: None,
        reads: vec![Reply::ADDED_INTERFACES.to_owned()],
    }
}

fn check(addresses: &[&str]) -> Request {
    Request::Check(Check {
        container: "c1".to_owned(),
        network: "enid".to_owned(),
        ifname: "eth0".to_owned(),
        netns: String::new(),
        pod: None,
        addresses: addresses.iter().map(|text| ip(text)).collect(),
        timeout_ms: 5,
        trace: None,
    })
}

#[test]
fn an_older_plugin_s_requests_mean_what_they_meant() {
    let Ok(Request::Add(add)) = Request::from_body(OLD_ADD.as_bytes()) else { panic!("not an ADD") };
    assert_eq!((add.container.as_str(), add.timeout_ms), ("c1", 90_000));
    assert!(add.reads(&single().into_reply()));
    assert!(!add.reads(&dual_stack().into_reply()) && !add.reads(&two_cards().into_reply()));
    let Ok(Request::Check(check)) = Request::from_body(OLD_CHECK.as_bytes()) else { panic!("not a CHECK") };
    assert_eq!(check.addresses, [ip("10.0.1.7")]);
    let explain = Request::Explain { subject: Subject::Address(ip("10.0.1.7")) };
    assert_eq!(Request::from_body(OLD_EXPLAIN.as_bytes()), Ok(explain));
}

#[test]
fn an_older_plugin_is_told_of_a_single_ipv4_pod_as_ever_and_refuses_all_else() {
    let frame = single().into_reply().to_frame().unwrap();
    assert_eq!(std::str::from_utf8(&frame[HEADER..]).unwrap(), OLD_ADDED);
    assert!(matches!(first::reply(&frame), Ok(first::Reply::Added { mtu: 9001, .. })));
    let mut ipv6 = dual_stack();
    ipv6.first.addresses.remove(0);
    let mut egress = dual_stack();
    egress.first.addresses.pop();
    for richer in [dual_stack(), two_cards(), ipv6, egress] {
        let refused = first::reply(&richer.into_reply().to_frame().unwrap()).unwrap_err();
        assert!(refused.contains("added_interfaces"), "{refused}");
    }
}

#[test]
fn an_older_daemon_serves_a_newer_plugin_s_ordinary_pods() {
    assert!(add().reads(&dual_stack().into_reply()));
    let request = first::request(&Request::Add(add()).to_frame().unwrap());
    assert!(matches!(request, Ok(first::Request::Add { timeout_ms: 5, .. })), "{request:?}");
    let request = first::request(&check(&["10.0.1.7"]).to_frame().unwrap());
    assert!(matches!(request, Ok(first::Request::Check { .. })), "{request:?}");
    let reply = Reply::from_body(OLD_ADDED.as_bytes()).unwrap();
    assert_eq!(reply, single().into_reply());
}

#[test]
fn an_older_daemon_refuses_what_it_would_do_by_halves() {
    for (request, part) in [
        (Request::AddEveryCard(add()), "add_every_card"),
        (check(&["10.0.1.7", "2001:db8::7"]), "IPv4"),
        (Request::Explain { subject: Subject::Address(ip("2001:db8::7")) }, "IPv4"),
        (Request::Diff, "diff"),
        (Request::Gc(Gc { network: "enid".to_owned(), valid: Vec::new(), timeout_ms: 5, trace: None }), "gc"),
        (Request::Ready, "ready"),
    ] {
        let refused = first::request(&request.to_frame().unwrap()).unwrap_err();
        assert!(refused.contains(part), "{refused}");
    }
}

#[test]
fn the_wire_form_of_richer_answers_is_stable() {
    for (added, wire) in [(dual_stack(), DUAL_STACK), (two_cards(), TWO_CARDS)] {
        let reply = added.into_reply();
        assert_eq!(std::str::from_utf8(&reply.to_frame().unwrap()[HEADER..]).unwrap(), wire);
        assert_eq!(Reply::from_body(wire.as_bytes()).as_ref(), Ok(&reply));
        let later = wire.replace("\"gateways\"", "\"made_next_year\":[1],\"gateways\"");
        assert_eq!(Reply::from_body(later.as_bytes()), Ok(reply));
    }
}
