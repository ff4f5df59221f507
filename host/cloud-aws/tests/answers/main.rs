//! What the adapter makes of good, bad and missing answers: the real SDK over a real socket.
#![expect(clippy::unwrap_used, reason = "a test that cannot arrange its world fails")]

mod canned;
mod interfaces;
mod noise;

use std::collections::BTreeSet;
use std::net::TcpListener;

use canned::{Answer, Canned, Request, metadata};
use enid_cloud_aws::{AwsCloud, Options};
use enid_core::cloud::{Assigned, CloudErrorKind, NewEni, NodeIdentity, Supply, VpcRanges};
use enid_core::event::Api;
use enid_core::ids::EniId;
use enid_core::time::Timestamp;
use enid_core::wiring::Seat;
use enid_engine::ports::Cloud;

/// Long enough never to matter.
const PATIENT: u64 = 20_000;
/// Short enough to wait for.
const HASTY: u64 = 500;

fn eni() -> EniId {
    "eni-1".parse().unwrap()
}

fn described(device: u32) -> String {
    format!(
        "<item><networkInterfaceId>eni-{device}</networkInterfaceId><subnetId>subnet-1</subnetId>\
         <macAddress>02:00:00:00:00:0{device}</macAddress><privateIpAddress>10.0.0.4</privateIpAddress>\
         <privateIpAddressesSet><item><privateIpAddress>10.0.0.4</privateIpAddress><primary>true</primary></item>\
         <item><privateIpAddress>10.0.0.9</privateIpAddress><primary>false</primary></item></privateIpAddressesSet>\
         <ipv4PrefixSet><item><ipv4Prefix>10.0.0.32/28</ipv4Prefix></item></ipv4PrefixSet>\
         <ipv6PrefixSet><item><ipv6Prefix>2001:db8:0:1:{device}::/80</ipv6Prefix></item></ipv6PrefixSet>\
         <groupSet><item><groupId>sg-1</groupId></item><item><groupId>sg-2</groupId></item></groupSet>\
         <attachment><attachmentId>eni-attach-{device}</attachmentId><deviceIndex>{device}</deviceIndex>\
         <networkCardIndex>0</networkCardIndex><status>attached</status>\
         <deleteOnTermination>true</deleteOnTermination></attachment></item>"
    )
}

fn page(interfaces: &str, next: &str) -> Answer {
    let inner = format!("<networkInterfaceSet>{interfaces}</networkInterfaceSet>{next}");
    Answer::ec2("DescribeNetworkInterfaces", &inner)
}

fn unexpected(request: &Request) -> Answer {
    panic!("unexpected request {request:?}")
}

fn new_eni(node: &NodeIdentity, supply: Supply) -> NewEni {
    NewEni {
        subnet: node.subnet.clone(),
        security_groups: node.security_groups.clone(),
        supply,
        description: "aws-K8S-i-1".to_owned(),
        tags: vec![("node.k8s.amazonaws.com/instance_id".to_owned(), "i-1".to_owned())],
        client_token: "token-1".to_owned(),
    }
}

async fn identity(cloud: &AwsCloud) -> NodeIdentity {
    cloud.identity().await.unwrap()
}

#[tokio::test]
async fn identity_is_read_from_metadata_alone() {
    let server = Canned::start(metadata(), unexpected);
    let node = identity(&server.cloud(PATIENT)).await;
    assert_eq!((node.instance.as_str(), node.instance_type.as_str()), ("i-1", "m5.large"));
    assert_eq!((node.region.as_str(), node.zone.as_str()), ("eu-test-1", "eu-test-1a"));
    assert_eq!(
        (node.vpc.as_str(), node.subnet.as_str(), node.primary_eni.as_str()),
        ("vpc-1", "subnet-1", "eni-1")
    );
    assert_eq!(node.security_groups.len(), 2);
    assert_eq!(node.vpc_cidrs, ["10.0.0.0/16".parse().unwrap(), "100.64.0.0/16".parse().unwrap()]);
    assert_eq!((node.primary_ipv6, node.vpc_ipv6_cidrs.len()), (None, 0));
    assert!(server.ec2_requests().is_empty());
}

#[tokio::test]
async fn the_nodes_own_ipv6_address_is_not_one_of_its_pods() {
    let own = "2001:db8:0:1::5";
    for (addresses, prefixes, found) in [
        (Some("2001:db8:0:1::5"), None, Some(own)),
        (Some("2001:db8:0:1:7::1\n2001:db8:0:1::5\n2001:db8:0:1::6"), Some("2001:db8:0:1:7::/80"), Some(own)),
        (Some("2001:db8:0:1:7::1"), Some("2001:db8:0:1:6::/80\n2001:db8:0:1:7::/80"), None),
        (Some(""), None, None),
        (None, Some("2001:db8:0:1:7::/80"), None),
    ] {
        let mut metadata = metadata();
        for (leaf, text) in
            [("ipv6s", addresses), ("ipv6-prefix", prefixes), ("vpc-ipv6-cidr-blocks", Some("2001:db8::/56"))]
        {
            let path = format!("network/interfaces/macs/02:00:00:00:00:01/{leaf}");
            metadata.extend(text.map(|text| (path, text.to_owned())));
        }
        let server = Canned::start(metadata, unexpected);
        let node = identity(&server.cloud(PATIENT)).await;
        assert_eq!(node.primary_ipv6, found.map(|address| address.parse().unwrap()), "{addresses:?}");
        assert_eq!(node.vpc_ipv6_cidrs, ["2001:db8::/56".parse().unwrap()]);
    }
}

#[tokio::test]
async fn the_vpcs_ranges_are_read_again_when_asked() {
    let server = Canned::start(metadata(), unexpected);
    let cloud = server.cloud(PATIENT);
    let node = identity(&cloud).await;
    let both = vec!["10.0.0.0/16".parse().unwrap(), "100.64.0.0/16".parse().unwrap()];
    let ranges = cloud.vpc_ranges(&node).await.unwrap();
    assert_eq!(ranges, VpcRanges { ipv4: both, ipv6: Vec::new() });

    let interface = "network/interfaces/macs/02:00:00:00:00:01";
    for (leaf, text, kind) in [
        ("vpc-ipv4-cidr-blocks", None, CloudErrorKind::Gone),
        ("vpc-ipv4-cidr-blocks", Some(""), CloudErrorKind::Unavailable),
        ("vpc-ipv4-cidr-blocks", Some("10.0.0.0/16\n10.1.0.0/160"), CloudErrorKind::Unavailable),
        ("vpc-ipv6-cidr-blocks", Some("10.0.0.0/16"), CloudErrorKind::Unavailable),
    ] {
        let mut metadata = metadata();
        metadata.remove(&format!("{interface}/{leaf}"));
        metadata.extend(text.map(|text| (format!("{interface}/{leaf}"), text.to_owned())));
        let server = Canned::start(metadata, unexpected);
        let error = server.cloud(PATIENT).vpc_ranges(&node).await.unwrap_err();
        assert_eq!((error.call.as_str(), error.kind), ("IMDS", kind), "{error}");
        assert!(error.message.contains(leaf), "{error}");
    }
}

#[tokio::test]
async fn missing_or_malformed_metadata_is_named_by_its_path() {
    let interface = "network/interfaces/macs/02:00:00:00:00:01/vpc-id";
    let ipv6s = "network/interfaces/macs/02:00:00:00:00:01/ipv6s";
    for (path, value, kind) in [
        ("placement/availability-zone", None, CloudErrorKind::Gone),
        (interface, None, CloudErrorKind::Gone),
        ("mac", Some("not a mac"), CloudErrorKind::Unavailable),
        ("instance-id", Some(""), CloudErrorKind::Unavailable),
        ("instance-type", Some("two words"), CloudErrorKind::Unavailable),
        (interface, Some("subnet-1"), CloudErrorKind::Unavailable),
        (ipv6s, Some("2001:db8::1\n10.0.0.4"), CloudErrorKind::Unavailable),
    ] {
        let mut metadata = metadata();
        match value {
            Some(value) => drop(metadata.insert(path.to_owned(), value.to_owned())),
            None => drop(metadata.remove(path)),
        }
        let server = Canned::start(metadata, unexpected);
        let error = server.cloud(PATIENT).identity().await.unwrap_err();
        assert_eq!((error.call.as_str(), error.kind), ("IMDS", kind), "{error}");
        assert!(error.message.contains(path), "{error}");
    }
}

#[tokio::test]
async fn nobody_listening_is_unavailable() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let nowhere = format!("http://127.0.0.1:{port}");
    let options = Options { imds_endpoint: Some(nowhere.clone()), ..Options::default() };
    let error = AwsCloud::connect(options).unwrap().identity().await.unwrap_err();
    assert_eq!((error.call.as_str(), error.kind), ("IMDS", CloudErrorKind::Unavailable), "{error}");

    let server = Canned::start(metadata(), unexpected);
    let options =
        Options { ec2_endpoint: Some(nowhere), imds_endpoint: Some(server.url()), ..Options::default() };
    let error = AwsCloud::connect(options).unwrap().delete_eni(&eni()).await.unwrap_err();
    assert_eq!(
        (error.call.as_str(), error.kind),
        ("DeleteNetworkInterface", CloudErrorKind::Unavailable),
        "{error}"
    );
    assert!(error.message.contains("no connection"), "{error}");
}

#[tokio::test]
async fn silence_ends_at_the_time_out_as_unavailable() {
    let server = Canned::start(metadata(), |_| Answer::Silence);
    let error = server.cloud(HASTY).assign(&eni(), Supply::Addresses(1)).await.unwrap_err();
    assert_eq!(error.kind, CloudErrorKind::Unavailable, "{error}");
    assert!(error.message.contains("in time"), "{error}");
}

#[tokio::test]
async fn ec2_refusals_keep_code_message_and_request_and_are_not_retried() {
    for (status, code, kind) in [
        (503, "RequestLimitExceeded", CloudErrorKind::Throttled),
        (400, "InsufficientFreeAddressesInSubnet", CloudErrorKind::NoFreeAddresses),
        (400, "InsufficientCidrBlocks", CloudErrorKind::NoFreeBlocks),
        (400, "PrivateIpAddressLimitExceeded", CloudErrorKind::LimitExceeded),
        (400, "InvalidNetworkInterfaceID.NotFound", CloudErrorKind::Gone),
        (403, "UnauthorizedOperation", CloudErrorKind::Denied),
        (400, "InvalidParameterValue", CloudErrorKind::Rejected),
        (500, "InternalError", CloudErrorKind::Unavailable),
    ] {
        let server = Canned::start(metadata(), move |_| Answer::ec2_error(status, code, "because"));
        let error = server.cloud(PATIENT).assign(&eni(), Supply::Prefixes(2)).await.unwrap_err();
        assert_eq!((error.call.as_str(), error.kind), ("AssignPrivateIpAddresses", kind), "{error}");
        for part in [code, "because", "req-1"] {
            assert!(error.message.contains(part), "{error}");
        }
        assert_eq!(server.ec2_requests().len(), 1, "{code}");
    }
}

#[tokio::test]
async fn answers_that_are_not_ec2s_are_unavailable() {
    for (status, body) in [
        (500, "<!doctype html><title>oops</title>"),
        (502, ""),
        (200, "not XML at all"),
        (200, "<AssignPrivateIpAddressesResponse"),
        (200, "<Other/>"),
    ] {
        let server = Canned::start(metadata(), move |_| Answer::Reply(status, body.to_owned()));
        let error = server.cloud(PATIENT).assign(&eni(), Supply::Addresses(1)).await.unwrap_err();
        assert_eq!(error.kind, CloudErrorKind::Unavailable, "{status} {body}: {error}");
    }
}

#[tokio::test]
async fn missing_credentials_are_denied_with_advice() {
    let mut metadata = metadata();
    metadata.retain(|path, _| !path.starts_with("iam/"));
    let server = Canned::start(metadata, unexpected);
    let error = server.cloud(PATIENT).detach_eni(&"eni-attach-1".parse().unwrap()).await.unwrap_err();
    assert_eq!(error.kind, CloudErrorKind::Denied, "{error}");
    assert!(error.message.contains("give the instance a role"), "{error}");
}

#[tokio::test]
async fn enis_are_read_from_every_page_and_their_ranges_from_metadata() {
    let server = Canned::start(metadata(), |request| match request.parameter("NextToken") {
        "" => page(&described(1), "<nextToken>more</nextToken>"),
        "more" => page(&described(2), "<nextToken></nextToken>"),
        _ => unexpected(request),
    });
    let cloud = server.cloud(PATIENT);
    let enis = cloud.enis(&identity(&cloud).await).await.unwrap();
    assert_eq!(enis.iter().map(|eni| eni.id.as_str()).collect::<Vec<_>>(), ["eni-1", "eni-2"]);
    for eni in &enis {
        assert_eq!(eni.subnet_cidr, "10.0.0.0/24".parse().unwrap());
        assert_eq!((eni.addresses.len(), eni.prefixes.len(), eni.managed), (1, 1, true));
        assert_eq!((eni.ipv6_prefixes.len(), eni.security_groups.len()), (1, 2));
        let attachment = eni.attachment.as_ref().unwrap();
        assert!(attachment.id.is_some() && attachment.settled && attachment.delete_on_termination);
    }
    let requests = server.ec2_requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0].parameter("Filter.1.Name"), "attachment.instance-id");
    assert_eq!(requests[0].parameter("Filter.1.Value.1"), "i-1");
}

#[tokio::test]
async fn orphans_are_asked_for_by_cluster_or_else_by_instance() {
    let orphan = |id: u32, description: &str, created: &str| {
        format!(
            "<item><networkInterfaceId>eni-{id}</networkInterfaceId><description>{description}</description>\
             <status>available</status><interfaceType>interface</interfaceType><tagSet>\
             <item><key>node.k8s.amazonaws.com/instance_id</key><value>i-0abc</value></item>\
             <item><key>node.k8s.amazonaws.com/createdAt</key><value>{created}</value></item></tagSet></item>"
        )
    };
    let first = orphan(1, "aws-K8S-i-0abc", "2000-02-29T12:34:56Z") + &orphan(2, "database", "");
    let second = orphan(3, "aws-K8S-i-0abc", "");
    let server = Canned::start(metadata(), move |request| match request.parameter("NextToken") {
        "" => page(&first, "<nextToken>more</nextToken>"),
        "more" => page(&second, ""),
        _ => unexpected(request),
    });
    let cloud = server.cloud(PATIENT);
    let node = identity(&cloud).await;
    let orphans = cloud.orphans(&node, Some("prod")).await.unwrap();
    let found: Vec<_> = orphans.iter().map(|it| (it.id.as_str(), it.instance.as_str(), it.created)).collect();
    assert_eq!(found, [("eni-1", "i-0abc", Some(Timestamp(951_827_696_000))), ("eni-3", "i-0abc", None)]);
    cloud.orphans(&node, None).await.unwrap();

    let requests = server.ec2_requests();
    assert_eq!(requests.len(), 4);
    let filters = |request: &Request| {
        let filter = |number: u32| {
            let part = |what: &str| request.parameter(&format!("Filter.{number}.{what}")).to_owned();
            part("Name") + "=" + &part("Value.1")
        };
        [1, 2, 3, 4].map(filter)
    };
    let common =
        ["vpc-id=vpc-1", "status=available", "tag-key=node.k8s.amazonaws.com/instance_id"].map(str::to_owned);
    for (request, last) in [
        (&requests[0], "tag:cluster.k8s.amazonaws.com/name=prod"),
        (&requests[2], "tag:node.k8s.amazonaws.com/instance_id=i-1"),
    ] {
        let [vpc, status, tag, ours] = filters(request);
        assert_eq!(([vpc, status, tag], ours.as_str()), (common.clone(), last));
    }
}

#[tokio::test]
async fn orphans_on_endless_pages_are_found_a_sweep_at_a_time() {
    let server = Canned::start(metadata(), |_| page("", "<nextToken>again</nextToken>"));
    let cloud = server.cloud(PATIENT);
    assert!(cloud.orphans(&identity(&cloud).await, Some("prod")).await.unwrap().is_empty());
    assert_eq!(server.ec2_requests().len(), 10);
}

#[tokio::test]
async fn an_endless_answer_is_given_up() {
    let server = Canned::start(metadata(), |_| page(&described(1), "<nextToken>again</nextToken>"));
    let cloud = server.cloud(PATIENT);
    let error = cloud.enis(&identity(&cloud).await).await.unwrap_err();
    assert_eq!(error.kind, CloudErrorKind::Unavailable, "{error}");
    assert_eq!(server.ec2_requests().len(), 10);
}

#[tokio::test]
async fn malformed_interfaces_are_errors_that_name_the_piece() {
    for (good, bad, piece) in [
        ("2001:db8:0:1:1::/80", "2001:db8:0:1::/64", "prefix"),
        ("2001:db8:0:1:1::/80", "10.0.0.48/28", "prefix"),
        ("10.0.0.32/28", "10.0.0.32/24", "prefix"),
        ("<ipv6Prefix>2001:db8:0:1:1::/80</ipv6Prefix>", "", "prefix"),
        ("<groupId>sg-2</groupId>", "<groupId>web</groupId>", "security group"),
        ("<groupId>sg-2</groupId>", "<groupName>web</groupName>", "security group"),
        ("<networkCardIndex>0", "<networkCardIndex>-1", "network card"),
    ] {
        let interface = described(1).replace(good, bad);
        assert_ne!(interface, described(1), "{good}");
        let server = Canned::start(metadata(), move |_| page(&interface, ""));
        let cloud = server.cloud(PATIENT);
        let error = cloud.enis(&identity(&cloud).await).await.unwrap_err();
        assert_eq!(error.kind, CloudErrorKind::Unavailable, "{error}");
        assert!(error.message.contains(piece), "{error}");
    }
}

#[tokio::test]
async fn an_efa_only_interface_on_another_card_is_seen_and_not_ours() {
    let efa = "<item><networkInterfaceId>eni-1</networkInterfaceId><subnetId>subnet-1</subnetId>\
               <interfaceType>efa-only</interfaceType><macAddress>02:00:00:00:00:01</macAddress><attachment>\
               <attachmentId>eni-attach-1</attachmentId><deviceIndex>1</deviceIndex>\
               <networkCardIndex>5</networkCardIndex><status>attached</status></attachment></item>";
    let server = Canned::start(metadata(), move |_| page(efa, ""));
    let cloud = server.cloud(PATIENT);
    let enis = cloud.enis(&identity(&cloud).await).await.unwrap();
    assert_eq!((enis.len(), enis[0].managed), (1, false));
    assert_eq!(enis[0].attachment.as_ref().unwrap().seat, Seat { card: 5, device: 1 });
}

#[tokio::test]
async fn create_sends_everything_in_one_call_and_finds_the_range_once() {
    let server = Canned::start(metadata(), |request| match request.action() {
        "CreateNetworkInterface" => {
            let created = described(3).replace("item>", "networkInterface>").replace("eni-attach-3", "");
            let (before, rest) = created.split_once("<privateIpAddressesSet>").unwrap();
            let (_, after) = rest.split_once("</ipv4PrefixSet>").unwrap();
            let (_, end) = after.split_once("</attachment>").unwrap();
            Answer::ec2("CreateNetworkInterface", &format!("{before}{end}"))
        }
        "DescribeSubnets" => Answer::ec2(
            "DescribeSubnets",
            "<subnetSet><item><subnetId>subnet-1</subnetId><cidrBlock>10.0.0.0/24</cidrBlock></item></subnetSet>",
        ),
        _ => unexpected(request),
    });
    let cloud = server.cloud(PATIENT);
    let new = new_eni(&identity(&cloud).await, Supply::Addresses(3));
    let created = cloud.create_eni(&new).await.unwrap();
    assert_eq!((created.id.as_str(), created.attachment), ("eni-3", None));
    cloud.create_eni(&NewEni { supply: Supply::Prefixes(2), ..new }).await.unwrap();

    let requests = server.ec2_requests();
    let actions: Vec<&str> = requests.iter().map(Request::action).collect();
    assert_eq!(actions, ["CreateNetworkInterface", "DescribeSubnets", "CreateNetworkInterface"]);
    for (parameter, value) in [
        ("SubnetId", "subnet-1"),
        ("SecurityGroupId.2", "sg-2"),
        ("SecondaryPrivateIpAddressCount", "3"),
        ("Description", "aws-K8S-i-1"),
        ("ClientToken", "token-1"),
        ("TagSpecification.1.ResourceType", "network-interface"),
        ("TagSpecification.1.Tag.1.Key", "node.k8s.amazonaws.com/instance_id"),
        ("TagSpecification.1.Tag.1.Value", "i-1"),
    ] {
        assert_eq!(requests[0].parameter(parameter), value, "{parameter}");
    }
    assert_eq!(requests[2].parameter("Ipv4PrefixCount"), "2");
    assert_eq!(requests[2].parameter("SecondaryPrivateIpAddressCount"), "");
}

#[tokio::test]
async fn attach_names_a_card_only_beyond_the_first() {
    let answer = "<attachmentId>eni-attach-9</attachmentId>";
    let server = Canned::start(metadata(), move |_| Answer::ec2("AttachNetworkInterface", answer));
    let cloud = server.cloud(PATIENT);
    let node = identity(&cloud).await;
    for seat in [Seat { card: 0, device: 2 }, Seat { card: 3, device: 1 }] {
        let attachment = cloud.attach_eni(&node, &eni(), seat).await.unwrap();
        assert_eq!(attachment.as_str(), "eni-attach-9");
    }
    let requests = server.ec2_requests();
    assert_eq!((requests[0].parameter("DeviceIndex"), requests[0].parameter("NetworkCardIndex")), ("2", ""));
    assert_eq!((requests[1].parameter("DeviceIndex"), requests[1].parameter("NetworkCardIndex")), ("1", "3"));
}

#[tokio::test]
async fn nothing_asked_is_no_call_and_both_kinds_given_back_are_two() {
    let server = Canned::start(metadata(), |request| Answer::ec2(request.action(), "<return>true</return>"));
    let cloud = server.cloud(PATIENT);
    for nothing in [Supply::Addresses(0), Supply::Prefixes(0), Supply::Ipv6Prefixes(0)] {
        assert_eq!(cloud.assign(&eni(), nothing).await.unwrap(), Assigned::default());
    }
    cloud.unassign(&eni(), &Assigned::default()).await.unwrap();
    assert!(server.ec2_requests().is_empty());

    let both = Assigned {
        addresses: vec!["10.0.0.9".parse().unwrap()],
        prefixes: vec!["10.0.0.32/28".parse().unwrap()],
        ipv6_prefixes: Vec::new(),
    };
    cloud.unassign(&eni(), &both).await.unwrap();
    let requests = server.ec2_requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0].parameter("PrivateIpAddress.1"), "10.0.0.9");
    assert_eq!(requests[1].parameter("Ipv4Prefix.1"), "10.0.0.32/28");
}

#[tokio::test]
async fn only_what_is_new_is_reported_as_assigned() {
    let answer = "<assignedPrivateIpAddressesSet><item><privateIpAddress>10.0.0.7</privateIpAddress></item>\
                  </assignedPrivateIpAddressesSet><assignedIpv4PrefixSet><item><ipv4Prefix>10.0.0.48/28</ipv4Prefix>\
                  </item></assignedIpv4PrefixSet>";
    let server = Canned::start(metadata(), move |_| Answer::ec2("AssignPrivateIpAddresses", answer));
    let assigned = server.cloud(PATIENT).assign(&eni(), Supply::Addresses(1)).await.unwrap();
    assert_eq!(assigned.addresses, ["10.0.0.7".parse::<std::net::Ipv4Addr>().unwrap()]);
    assert_eq!(assigned.prefixes, ["10.0.0.48/28".parse().unwrap()]);
}

#[tokio::test]
async fn ipv6_prefixes_are_assigned_by_an_api_of_their_own() {
    let answer = "<networkInterfaceId>eni-1</networkInterfaceId><assignedIpv6PrefixSet>\
                  <item>2001:db8:0:1:7::/80</item></assignedIpv6PrefixSet>";
    let server = Canned::start(metadata(), move |_| Answer::ec2("AssignIpv6Addresses", answer));
    let assigned = server.cloud(PATIENT).assign(&eni(), Supply::Ipv6Prefixes(1)).await.unwrap();
    let prefix = "2001:db8:0:1:7::/80".parse().unwrap();
    assert_eq!(assigned, Assigned { ipv6_prefixes: vec![prefix], ..Assigned::default() });
    let request = &server.ec2_requests()[0];
    assert_eq!((request.action(), request.parameter("NetworkInterfaceId")), ("AssignIpv6Addresses", "eni-1"));
    assert_eq!((request.parameter("Ipv6PrefixCount"), request.parameter("Ipv6AddressCount")), ("1", ""));

    for lie in ["2001:db8:0:1::/64", "10.0.0.32/28", "", "2001:db8:0:1:7::"] {
        let answer = answer.replace("2001:db8:0:1:7::/80", lie);
        let server = Canned::start(metadata(), move |_| Answer::ec2("AssignIpv6Addresses", &answer));
        let error = server.cloud(PATIENT).assign(&eni(), Supply::Ipv6Prefixes(1)).await.unwrap_err();
        assert_eq!(error.kind, CloudErrorKind::Unavailable, "`{lie}`: {error}");
        assert!(error.message.contains("prefix"), "{error}");
    }
    for (code, kind) in [
        ("PrivateIpAddressLimitExceeded", CloudErrorKind::LimitExceeded),
        ("InsufficientCidrBlocks", CloudErrorKind::NoFreeBlocks),
        ("InvalidParameterValue", CloudErrorKind::Rejected),
        ("UnsupportedOperation", CloudErrorKind::Rejected),
    ] {
        let server = Canned::start(metadata(), move |_| Answer::ec2_error(400, code, "because"));
        let error = server.cloud(PATIENT).assign(&eni(), Supply::Ipv6Prefixes(1)).await.unwrap_err();
        assert_eq!((error.call.as_str(), error.kind), ("AssignIpv6Addresses", kind), "{error}");
    }
}

#[tokio::test]
async fn what_the_port_never_does_with_ipv6_prefixes_is_refused_without_a_call() {
    let server = Canned::start(metadata(), unexpected);
    let cloud = server.cloud(PATIENT);
    let node = identity(&cloud).await;
    let born = cloud.create_eni(&new_eni(&node, Supply::Ipv6Prefixes(1))).await.unwrap_err();
    assert_eq!(born.kind, CloudErrorKind::Rejected, "{born}");
    let back = Assigned {
        addresses: vec!["10.0.0.9".parse().unwrap()],
        ipv6_prefixes: vec!["2001:db8:0:1:7::/80".parse().unwrap()],
        ..Assigned::default()
    };
    let kept = cloud.unassign(&eni(), &back).await.unwrap_err();
    assert_eq!(kept.kind, CloudErrorKind::Rejected, "{kept}");
    assert!(server.ec2_requests().is_empty());
}

#[tokio::test]
async fn security_groups_are_set_all_together() {
    let server = Canned::start(metadata(), |request| Answer::ec2(request.action(), "<return>true</return>"));
    let cloud = server.cloud(PATIENT);
    let groups = ["sg-2".parse().unwrap(), "sg-7".parse().unwrap()];
    cloud.set_security_groups(&eni(), &groups).await.unwrap();
    let requests = server.ec2_requests();
    assert_eq!(requests.len(), 1);
    for (parameter, value) in [
        ("Action", "ModifyNetworkInterfaceAttribute"),
        ("NetworkInterfaceId", "eni-1"),
        ("SecurityGroupId.1", "sg-2"),
        ("SecurityGroupId.2", "sg-7"),
    ] {
        assert_eq!(requests[0].parameter(parameter), value, "{parameter}");
    }
    assert!(!requests[0].parameters.keys().any(|name| name.starts_with("Attachment")));

    let none = cloud.set_security_groups(&eni(), &[]).await.unwrap_err();
    assert_eq!(none.kind, CloudErrorKind::Rejected, "{none}");
    assert_eq!(server.ec2_requests().len(), 1, "no groups would look like no change");

    for (code, kind) in [
        ("InvalidGroup.NotFound", CloudErrorKind::Gone),
        ("InvalidGroupId.Malformed", CloudErrorKind::Rejected),
        ("SecurityGroupsPerInterfaceLimitExceeded", CloudErrorKind::Rejected),
        ("UnauthorizedOperation", CloudErrorKind::Denied),
    ] {
        let server = Canned::start(metadata(), move |_| Answer::ec2_error(400, code, "because"));
        let error = server.cloud(PATIENT).set_security_groups(&eni(), &groups).await.unwrap_err();
        assert_eq!((error.call.as_str(), error.kind), ("ModifyNetworkInterfaceAttribute", kind), "{error}");
    }
}

#[tokio::test]
async fn instance_types_are_read_by_the_default_card() {
    let answer = "<instanceTypeSet><item><instanceType>z9.huge</instanceType><bareMetal>false</bareMetal>\
                  <hypervisor>nitro</hypervisor><vCpuInfo><defaultVCpus>192</defaultVCpus></vCpuInfo>\
                  <memoryInfo><sizeInMiB>1024</sizeInMiB></memoryInfo><networkInfo>\
                  <maximumNetworkInterfaces>6</maximumNetworkInterfaces><defaultNetworkCardIndex>0</defaultNetworkCardIndex>\
                  <ipv4AddressesPerInterface>50</ipv4AddressesPerInterface>\
                  <ipv6AddressesPerInterface>50</ipv6AddressesPerInterface><networkCards>\
                  <item><networkCardIndex>1</networkCardIndex><maximumNetworkInterfaces>4</maximumNetworkInterfaces></item>\
                  <item><networkCardIndex>0</networkCardIndex><maximumNetworkInterfaces>2</maximumNetworkInterfaces></item>\
                  </networkCards></networkInfo></item></instanceTypeSet>";
    let server = Canned::start(metadata(), move |_| Answer::ec2("DescribeInstanceTypes", answer));
    let found = server.cloud(PATIENT).instance_type("z9.huge").await.unwrap();
    assert_eq!(
        (found.name.as_str(), found.max_enis(), found.cards.len(), found.ipv4_per_eni),
        ("z9.huge", 2, 2, 50)
    );

    let lacking = answer.replace("<ipv4AddressesPerInterface>50</ipv4AddressesPerInterface>", "");
    let server = Canned::start(metadata(), move |_| Answer::ec2("DescribeInstanceTypes", &lacking));
    let error = server.cloud(PATIENT).instance_type("z9.huge").await.unwrap_err();
    assert!(error.message.contains("IPv4 addresses per ENI"), "{error}");
}

#[tokio::test]
async fn subnets_are_asked_for_by_vpc_and_zone_and_carry_their_tags() {
    let answer = "<subnetSet><item><subnetId>subnet-1</subnetId><state>available</state><cidrBlock>10.0.0.0/24</cidrBlock>\
                  <availabilityZone>eu-test-1a</availabilityZone><availableIpAddressCount>7</availableIpAddressCount>\
                  <ipv6CidrBlockAssociationSet><item><ipv6CidrBlock>2001:db8:0:9::/64</ipv6CidrBlock><ipv6CidrBlockState>\
                  <state>disassociating</state></ipv6CidrBlockState></item><item><ipv6CidrBlock>2001:db8:0:1::/64</ipv6CidrBlock>\
                  <ipv6CidrBlockState><state>associated</state></ipv6CidrBlockState></item></ipv6CidrBlockAssociationSet>\
                  <tagSet><item><key>kubernetes.io/role/cni</key><value>1</value></item>\
                  <item><key>cni.networking.k8s.aws/cluster/blue</key><value>shared</value></item></tagSet></item></subnetSet>";
    let server = Canned::start(metadata(), move |_| Answer::ec2("DescribeSubnets", answer));
    let found =
        server.cloud(PATIENT).subnets(&"vpc-1".parse().unwrap(), "eu-test-1a", Some("green")).await.unwrap();
    assert_eq!((found.len(), found[0].free, found[0].zone.as_str()), (1, 7, "eu-test-1a"));
    assert_eq!(found[0].ipv6_cidr, Some("2001:db8:0:1::/64".parse().unwrap()));
    assert_eq!(found[0].role, enid_core::snapshot::RoleTag::Included);
    assert_eq!(found[0].cluster, enid_core::snapshot::ClusterTag::Foreign);
    let request = &server.ec2_requests()[0];
    assert_eq!(
        (request.parameter("Filter.1.Value.1"), request.parameter("Filter.2.Value.1")),
        ("vpc-1", "eu-test-1a")
    );
}

#[tokio::test]
async fn the_policy_we_ship_allows_exactly_the_calls_we_make() {
    let server = Canned::start(metadata(), |request| {
        Answer::ec2_error(400, "OperationNotPermitted", request.action())
    });
    let cloud = server.cloud(PATIENT);
    let node = identity(&cloud).await;
    let attachment = "eni-attach-1".parse().unwrap();
    let address = Assigned { addresses: vec!["10.0.0.9".parse().unwrap()], ..Assigned::default() };
    assert!(cloud.instance_type("z9.huge").await.is_err());
    assert!(cloud.enis(&node).await.is_err());
    assert!(cloud.subnets(&node.vpc, &node.zone, None).await.is_err());
    assert!(cloud.create_eni(&new_eni(&node, Supply::Addresses(1))).await.is_err());
    assert!(cloud.attach_eni(&node, &eni(), Seat { card: 0, device: 1 }).await.is_err());
    assert!(cloud.delete_with_instance(&eni(), &attachment).await.is_err());
    assert!(cloud.set_security_groups(&eni(), &node.security_groups).await.is_err());
    assert!(cloud.detach_eni(&attachment).await.is_err());
    assert!(cloud.delete_eni(&eni()).await.is_err());
    assert!(cloud.assign(&eni(), Supply::Addresses(1)).await.is_err());
    assert!(cloud.assign(&eni(), Supply::Ipv6Prefixes(1)).await.is_err());
    assert!(cloud.unassign(&eni(), &address).await.is_err());

    let policy = include_str!("../../../../deploy/iam-policy.json");
    let mut allowed: BTreeSet<&str> =
        policy.split('"').filter_map(|text| text.strip_prefix("ec2:")).collect();
    // The first is not called by itself but needed to create with tags, the second is a condition's name.
    allowed.retain(|name| !["CreateTags", "CreateAction"].contains(name));
    let requests = server.ec2_requests();
    let called: BTreeSet<&str> = requests.iter().map(Request::action).collect();
    assert_eq!(called, allowed);
    let mut budgeted: BTreeSet<&str> = APIS.iter().map(|api| api.name()).collect();
    budgeted.insert("DescribeInstanceTypes");
    assert_eq!(budgeted, allowed);
}

/// The APIs of a running node that EC2 answers.
const APIS: [Api; 10] = [
    Api::AssignIpv6Addresses,
    Api::AssignPrivateIpAddresses,
    Api::AttachNetworkInterface,
    Api::CreateNetworkInterface,
    Api::DeleteNetworkInterface,
    Api::DescribeNetworkInterfaces,
    Api::DescribeSubnets,
    Api::DetachNetworkInterface,
    Api::ModifyNetworkInterfaceAttribute,
    Api::UnassignPrivateIpAddresses,
];

#[test]
fn every_api_of_ec2_is_in_the_list() {
    // A new one is missing here first.
    let place = |api| match api {
        Api::AssignIpv6Addresses => Some(0),
        Api::AssignPrivateIpAddresses => Some(1),
        Api::AttachNetworkInterface => Some(2),
        Api::CreateNetworkInterface => Some(3),
        Api::DeleteNetworkInterface => Some(4),
        Api::DescribeNetworkInterfaces => Some(5),
        Api::DescribeSubnets => Some(6),
        Api::DetachNetworkInterface => Some(7),
        Api::Metadata => None,
        Api::ModifyNetworkInterfaceAttribute => Some(8),
        Api::UnassignPrivateIpAddresses => Some(9),
    };
    assert!(APIS.into_iter().enumerate().all(|(at, api)| place(api) == Some(at)));
}

/// What the policy allows, a statement each: actions, the kinds of resource, what is asked of them.
fn statements() -> Vec<(BTreeSet<String>, BTreeSet<String>, Vec<String>)> {
    let policy = include_str!("../../../../deploy/iam-policy.json");
    let (_, list) = policy.split_once("\"Statement\": [").unwrap();
    let texts =
        |part: &str| -> Vec<String> { part.split('"').skip(1).step_by(2).map(str::to_owned).collect() };
    let read = |statement: &str| {
        let (rest, condition) = statement.split_once("\"Condition\"").unwrap_or((statement, ""));
        let (actions, resources) = rest.split_once("\"Resource\"").unwrap();
        let actions =
            texts(actions).into_iter().filter_map(|text| Some(text.strip_prefix("ec2:")?.to_owned()));
        let kinds = texts(resources).into_iter();
        let kinds = kinds.map(|arn| arn.rsplit(':').next().unwrap().trim_end_matches("/*").to_owned());
        (actions.collect(), kinds.collect(), texts(condition))
    };
    list.split("\"Sid\"").skip(1).map(read).collect()
}

#[test]
fn the_policy_touches_only_interfaces_that_say_whose_they_are_where_ec2_can_tell() {
    const ON_REQUEST: &str = "aws:RequestTag/node.k8s.amazonaws.com/instance_id";
    const ON_RESOURCE: &str = "aws:ResourceTag/node.k8s.amazonaws.com/instance_id";
    let statements = statements();
    for (action, tag) in [
        ("AttachNetworkInterface", ON_RESOURCE),
        ("CreateNetworkInterface", ON_REQUEST),
        ("DeleteNetworkInterface", ON_RESOURCE),
        ("DetachNetworkInterface", ON_RESOURCE),
        ("ModifyNetworkInterfaceAttribute", ON_RESOURCE),
    ] {
        let of_interfaces = statements.iter().filter(|(actions, kinds, _)| {
            actions.contains(action) && (kinds.contains("network-interface") || kinds.contains("*"))
        });
        let conditions: Vec<&Vec<String>> = of_interfaces.map(|(_, _, condition)| condition).collect();
        assert_eq!(conditions, [&["Null", tag, "false"].map(str::to_owned).to_vec()], "{action}");
    }
    let tagging = statements.iter().filter(|(actions, _, _)| actions.contains("CreateTags"));
    let tagging: Vec<&Vec<String>> = tagging.map(|(_, _, condition)| condition).collect();
    let only_on_create =
        ["StringEquals", "ec2:CreateAction", "CreateNetworkInterface"].map(str::to_owned).to_vec();
    assert_eq!(tagging, [&only_on_create]);
    let everything = statements.iter().filter(|(_, kinds, _)| kinds.contains("*"));
    assert!(everything.flat_map(|(actions, _, _)| actions).all(|action| action.starts_with("Describe")));
}
