//! Interfaces as metadata tells them, truthfully or not.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use enid_core::cloud::{CloudEni, CloudError, CloudErrorKind, EniAttachment};
use enid_core::wiring::Seat;
use enid_engine::ports::Cloud;

use crate::canned::{Canned, metadata};
use crate::{PATIENT, identity, unexpected};

const MACS: &str = "network/interfaces/macs/";
const PRIMARY: &str = "02:00:00:00:00:01";
const SECOND: &str = "02:00:00:00:00:02";

/// A node whose second interface has everything that metadata can tell.
fn two_interfaces() -> BTreeMap<String, String> {
    let mut tree = metadata();
    tree.insert(MACS.to_owned(), format!("{SECOND}/\n{PRIMARY}/"));
    for (leaf, text) in [
        ("interface-id", "eni-2"),
        ("device-number", "1"),
        ("network-card", "3"),
        ("subnet-id", "subnet-2"),
        ("subnet-ipv4-cidr-block", "10.0.2.0/24"),
        ("security-group-ids", "sg-3"),
        ("local-ipv4s", "10.0.2.4\n10.0.2.9\n10.0.2.7"),
        ("ipv4-prefix", "10.0.2.32/28\n10.0.2.64/28"),
        ("ipv6-prefix", "2001:db8:0:2:7::/80"),
    ] {
        tree.insert(format!("{MACS}{SECOND}/{leaf}"), text.to_owned());
    }
    tree
}

fn without(leaves: &[&str]) -> BTreeMap<String, String> {
    let mut tree = two_interfaces();
    for leaf in leaves {
        assert!(tree.remove(&format!("{MACS}{SECOND}/{leaf}")).is_some(), "{leaf}");
    }
    tree
}

async fn enis(tree: BTreeMap<String, String>) -> Result<Vec<CloudEni>, CloudError> {
    let server = Canned::start(tree, unexpected);
    let cloud = server.cloud(PATIENT);
    let node = identity(&cloud).await;
    cloud.metadata_enis(&node).await
}

#[tokio::test]
async fn an_interface_is_read_from_metadata_without_an_ec2_call() {
    let enis = enis(two_interfaces()).await.unwrap();
    assert_eq!(enis.iter().map(|eni| eni.id.as_str()).collect::<Vec<_>>(), ["eni-1", "eni-2"]);
    let expected = CloudEni {
        id: "eni-2".parse().unwrap(),
        mac: SECOND.parse().unwrap(),
        subnet: "subnet-2".parse().unwrap(),
        subnet_cidr: "10.0.2.0/24".parse().unwrap(),
        primary_address: Ipv4Addr::new(10, 0, 2, 4),
        addresses: vec![Ipv4Addr::new(10, 0, 2, 9), Ipv4Addr::new(10, 0, 2, 7)],
        prefixes: vec!["10.0.2.32/28".parse().unwrap(), "10.0.2.64/28".parse().unwrap()],
        ipv6_prefixes: vec!["2001:db8:0:2:7::/80".parse().unwrap()],
        security_groups: vec!["sg-3".parse().unwrap()],
        attachment: Some(EniAttachment {
            id: None,
            seat: Seat { card: 3, device: 1 },
            settled: true,
            delete_on_termination: false,
        }),
        managed: true,
        created_for_pods: false,
    };
    assert_eq!(enis[1], expected);
}

#[tokio::test]
async fn what_an_interface_need_not_have_is_empty() {
    let optional = ["network-card", "security-group-ids", "ipv4-prefix", "ipv6-prefix"];
    let enis = enis(without(&optional)).await.unwrap();
    let eni = &enis[1];
    assert_eq!(eni.attachment.as_ref().unwrap().seat, Seat { card: 0, device: 1 });
    assert!(eni.managed && eni.security_groups.is_empty());
    assert!(eni.prefixes.is_empty() && eni.ipv6_prefixes.is_empty());
}

#[tokio::test]
async fn an_interface_without_ipv4_keeps_its_seat_and_is_not_ours() {
    for leaves in [&["local-ipv4s"][..], &["local-ipv4s", "subnet-ipv4-cidr-block"]] {
        let enis = enis(without(leaves)).await.unwrap();
        let eni = &enis[1];
        assert_eq!((eni.managed, eni.primary_address), (false, Ipv4Addr::UNSPECIFIED));
        assert_eq!(eni.attachment.as_ref().unwrap().seat, Seat { card: 3, device: 1 });
    }
}

#[tokio::test]
async fn an_interface_that_leaves_while_it_is_read_is_left_out() {
    let all = [
        "device-number",
        "network-card",
        "subnet-id",
        "subnet-ipv4-cidr-block",
        "security-group-ids",
        "local-ipv4s",
        "ipv4-prefix",
        "ipv6-prefix",
        "interface-id",
    ];
    for gone in [&all[..], &["interface-id"], &["ipv4-prefix", "interface-id"]] {
        let enis = enis(without(gone)).await.unwrap();
        assert_eq!(enis.iter().map(|eni| eni.id.as_str()).collect::<Vec<_>>(), ["eni-1"], "{gone:?}");
    }
}

#[tokio::test]
async fn a_piece_that_must_be_there_is_named_by_its_path() {
    for (leaf, kind) in [
        ("device-number", CloudErrorKind::Gone),
        ("subnet-id", CloudErrorKind::Gone),
        ("subnet-ipv4-cidr-block", CloudErrorKind::Unavailable),
    ] {
        let error = enis(without(&[leaf])).await.unwrap_err();
        assert_eq!((error.call.as_str(), error.kind), ("IMDS", kind), "{error}");
        assert!(error.message.contains(&format!("{SECOND}/{leaf}")), "{error}");
    }
}

#[tokio::test]
async fn malformed_pieces_are_errors_that_name_their_path() {
    for (leaf, text) in [
        ("interface-id", "i-1"),
        ("device-number", "-1"),
        ("device-number", ""),
        ("network-card", "first"),
        ("subnet-id", "vpc-1"),
        ("subnet-ipv4-cidr-block", "10.0.2.0/33"),
        ("security-group-ids", "sg-3\nnonsense"),
        ("local-ipv4s", "10.0.2.4\n10.0.2.400"),
        ("local-ipv4s", "2001:db8::1"),
        ("ipv4-prefix", "10.0.2.32/27"),
        ("ipv6-prefix", "2001:db8:0:2::/64"),
        ("ipv6-prefix", "10.0.2.32/28"),
    ] {
        let mut tree = two_interfaces();
        tree.insert(format!("{MACS}{SECOND}/{leaf}"), text.to_owned());
        let error = enis(tree).await.unwrap_err();
        assert_eq!(error.kind, CloudErrorKind::Unavailable, "{leaf} {text}: {error}");
        assert!(error.message.contains(&format!("{SECOND}/{leaf}")), "{error}");
    }
    let endless = (0..2000).map(|n| format!("10.0.{}.{}", n / 250, n % 250)).collect::<Vec<_>>().join("\n");
    let mut tree = two_interfaces();
    tree.insert(format!("{MACS}{SECOND}/local-ipv4s"), endless);
    assert!(enis(tree).await.unwrap_err().message.contains("more than"));
}

#[tokio::test]
async fn a_list_that_cannot_be_right_is_refused_whole() {
    let crowd: Vec<String> = (0..200).map(|n| format!("02:00:00:00:01:{n:02x}/")).collect();
    for (list, piece) in [
        (None, MACS),
        (Some(""), "empty"),
        (Some("not-a-mac/"), "not-a-mac"),
        (Some(&*format!("{SECOND}/")), "without the primary interface"),
        (Some(&crowd.join("\n")), "200 interfaces"),
    ] {
        let mut tree = two_interfaces();
        match list {
            Some(list) => drop(tree.insert(MACS.to_owned(), list.to_owned())),
            None => drop(tree.remove(MACS)),
        }
        let error = enis(tree).await.unwrap_err();
        assert_eq!(error.call, "IMDS");
        assert!(error.message.contains(piece), "{error}");
    }
    // The primary has IPv4, or there would be no node to serve.
    let mut tree = two_interfaces();
    tree.remove(&format!("{MACS}{PRIMARY}/local-ipv4s"));
    assert!(enis(tree).await.unwrap_err().message.contains("local-ipv4s"));
}

#[tokio::test]
async fn an_interface_listed_twice_is_one() {
    let mut tree = two_interfaces();
    tree.insert(MACS.to_owned(), format!("{PRIMARY}/\n{SECOND}\n{SECOND}/"));
    assert_eq!(enis(tree).await.unwrap().len(), 2);
}
