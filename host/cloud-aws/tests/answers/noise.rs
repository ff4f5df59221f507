//! Answers that no EC2 and no metadata would give: the adapter ends every call with a value or an error, never otherwise.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use enid_core::cloud::{Assigned, NodeIdentity, Supply};
use enid_core::ids::{EniAttachmentId, SecurityGroupId};
use enid_core::wiring::Seat;
use enid_engine::ports::Cloud;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::TestRunner;

use crate::canned::{Answer, Canned, Request, metadata};
use crate::{PATIENT, described, eni, identity, new_eni};

/// Rounds of all calls, each with its own changes.
const ROUNDS: u32 = 300;
/// Longest answer that is sent: far beyond any honest one, little enough for a test.
const LONGEST: usize = 200_000;

/// What is done to an honest answer.
#[derive(Clone, Debug)]
enum Change {
    /// It ends early.
    Cut(Index),
    /// Something stands in it that does not belong there.
    Insert(Index, &'static str),
    /// A piece of it is there again and again.
    Repeat(Index, Index, usize),
    /// A character is another one.
    Replace(Index, char),
    /// All of a run of digits are others.
    Number(Index, &'static str),
    /// It is not EC2's answer but somebody else's.
    Status(u16),
}

fn change() -> impl Strategy<Value = Change> {
    let intruders = vec![
        "<item>",
        "</item>",
        "<item/>",
        "<tagSet>",
        "&amp;",
        "&#x0;",
        "&#xffffffff;",
        "&unknown;",
        "<![CDATA[",
        "]]>",
        "<!--",
        "<!DOCTYPE a [<!ENTITY b \"bbbbbbbb\">]>",
        "<?xml version=\"1.1\"?>",
        "\0",
        "\n\n",
        " ",
        "/33",
        "::",
        "é",
        "\u{feff}",
        "<nextToken>more</nextToken>",
        "fe80::1%eth0",
        "10.0.0.0/0",
        "eni-",
        "\"",
        "{",
        "02:00:00:00:00:0g",
    ];
    let numbers = vec!["", "-1", "4294967296", "99999999999999999999", "1e9", "0x10", "٣", "65536", "256"];
    prop_oneof![
        any::<Index>().prop_map(Change::Cut),
        (any::<Index>(), select(intruders)).prop_map(|(at, what)| Change::Insert(at, what)),
        (any::<Index>(), any::<Index>(), 1usize..400)
            .prop_map(|(from, to, times)| Change::Repeat(from, to, times)),
        (any::<Index>(), any::<char>()).prop_map(|(at, with)| Change::Replace(at, with)),
        (any::<Index>(), select(numbers)).prop_map(|(at, with)| Change::Number(at, with)),
        select(vec![204u16, 301, 400, 403, 404, 500, 503]).prop_map(Change::Status),
    ]
}

/// The answer after the changes.
fn changed(status: u16, text: String, changes: &[Change]) -> Answer {
    let (mut status, mut text): (u16, Vec<char>) = (status, text.chars().collect());
    for change in changes {
        let end = text.len();
        let place = |at: &Index| at.index(end + 1);
        match change {
            Change::Cut(at) => text.truncate(place(at)),
            Change::Insert(at, what) => drop(text.splice(place(at)..place(at), what.chars())),
            Change::Repeat(from, to, times) => {
                let (from, to) = (place(from).min(place(to)), place(from).max(place(to)));
                let again = text[from..to].repeat((*times).min(LONGEST / (to - from + 1)));
                text.splice(to..to, again);
            }
            Change::Replace(at, with) => text.iter_mut().skip(place(at)).take(1).for_each(|it| *it = *with),
            Change::Number(at, with) => {
                let digit = |place: &usize| text.get(*place).is_some_and(char::is_ascii_digit);
                let Some(from) = (place(at)..end).find(digit) else { continue };
                let to = (from..end).find(|place| !digit(place)).unwrap_or(end);
                text.splice(from..to, with.chars());
            }
            Change::Status(other) => status = *other,
        }
    }
    Answer::Reply(status, text.into_iter().take(LONGEST).collect())
}

/// EC2's honest answers.
fn honest(request: &Request) -> Answer {
    let action = request.action();
    let inner = match action {
        "DescribeNetworkInterfaces" => format!("<networkInterfaceSet>{}{}</networkInterfaceSet>", described(0), described(1)),
        "DescribeSubnets" => "<subnetSet><item><subnetId>subnet-1</subnetId><state>available</state>\
             <cidrBlock>10.0.0.0/24</cidrBlock><availabilityZone>eu-test-1a</availabilityZone>\
             <availableIpAddressCount>7</availableIpAddressCount><ipv6CidrBlockAssociationSet><item>\
             <ipv6CidrBlock>2001:db8:0:1::/64</ipv6CidrBlock><ipv6CidrBlockState><state>associated</state></ipv6CidrBlockState>\
             </item></ipv6CidrBlockAssociationSet><tagSet><item><key>kubernetes.io/role/cni</key><value>1</value></item></tagSet>\
             </item></subnetSet>"
            .to_owned(),
        "DescribeInstanceTypes" => "<instanceTypeSet><item><instanceType>z9.huge</instanceType><bareMetal>false</bareMetal>\
             <hypervisor>nitro</hypervisor><vCpuInfo><defaultVCpus>192</defaultVCpus></vCpuInfo>\
             <memoryInfo><sizeInMiB>1024</sizeInMiB></memoryInfo><networkInfo>\
             <maximumNetworkInterfaces>6</maximumNetworkInterfaces><defaultNetworkCardIndex>0</defaultNetworkCardIndex>\
             <ipv4AddressesPerInterface>50</ipv4AddressesPerInterface><ipv6AddressesPerInterface>50</ipv6AddressesPerInterface>\
             <networkCards><item><networkCardIndex>0</networkCardIndex><maximumNetworkInterfaces>2</maximumNetworkInterfaces>\
             </item></networkCards></networkInfo></item></instanceTypeSet>"
            .to_owned(),
        "CreateNetworkInterface" => described(2).replacen("<item>", "<networkInterface>", 1).replace(
            "</attachment></item>",
            "</attachment></networkInterface>",
        ),
        "AttachNetworkInterface" => "<attachmentId>eni-attach-9</attachmentId>".to_owned(),
        "AssignPrivateIpAddresses" => "<assignedPrivateIpAddressesSet><item><privateIpAddress>10.0.0.7</privateIpAddress></item>\
             </assignedPrivateIpAddressesSet><assignedIpv4PrefixSet><item><ipv4Prefix>10.0.0.48/28</ipv4Prefix></item>\
             </assignedIpv4PrefixSet>"
            .to_owned(),
        "AssignIpv6Addresses" => "<networkInterfaceId>eni-1</networkInterfaceId><assignedIpv6PrefixSet>\
             <item>2001:db8:0:1:7::/80</item></assignedIpv6PrefixSet>"
            .to_owned(),
        _ => "<return>true</return>".to_owned(),
    };
    Answer::ec2(action, &inner)
}

/// Every call, whatever comes of it; how many were granted.
async fn every_call(cloud: &impl Cloud, node: &NodeIdentity) -> usize {
    let attachment: EniAttachmentId = "eni-attach-1".parse().unwrap();
    let groups: Vec<SecurityGroupId> = vec!["sg-1".parse().unwrap()];
    let some = Assigned { addresses: vec!["10.0.0.9".parse().unwrap()], ..Assigned::default() };
    let (eni, seat) = (eni(), Seat { card: 0, device: 1 });
    [
        cloud.identity().await.is_ok(),
        cloud.instance_type("z9.huge").await.is_ok(),
        cloud.enis(node).await.is_ok(),
        cloud.metadata_enis(node).await.is_ok(),
        cloud.vpc_ranges(node).await.is_ok(),
        cloud.subnets(&node.vpc, &node.zone, Some("prod")).await.is_ok(),
        cloud.orphans(node, Some("prod")).await.is_ok(),
        cloud.create_eni(&new_eni(node, Supply::Addresses(1))).await.is_ok(),
        cloud.attach_eni(node, &eni, seat).await.is_ok(),
        cloud.delete_with_instance(&eni, &attachment).await.is_ok(),
        cloud.set_security_groups(&eni, &groups).await.is_ok(),
        cloud.detach_eni(&attachment).await.is_ok(),
        cloud.delete_eni(&eni).await.is_ok(),
        cloud.assign(&eni, Supply::Addresses(1)).await.is_ok(),
        cloud.assign(&eni, Supply::Prefixes(1)).await.is_ok(),
        cloud.assign(&eni, Supply::Ipv6Prefixes(1)).await.is_ok(),
        cloud.unassign(&eni, &some).await.is_ok(),
    ]
    .into_iter()
    .filter(|granted| *granted)
    .count()
}

#[test]
fn whatever_is_answered_a_call_ends_with_a_value_or_an_error() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // None: honest answers.
    let changes: Arc<Mutex<Vec<Change>>> = Arc::default();
    let sound: BTreeMap<String, String> = metadata();
    let server = {
        let changes = Arc::clone(&changes);
        Canned::start_with(move |request| {
            let now = changes.lock().unwrap().clone();
            let answer = match request.path.strip_prefix("/latest/") {
                Some("api/token") => return Answer::Reply(200, "session-token".to_owned()),
                Some(path) => match sound.get(path.trim_start_matches("meta-data/")) {
                    // The credentials are the SDK's business.
                    Some(value) if path.contains("iam/") => return Answer::Reply(200, value.clone()),
                    Some(value) => Answer::Reply(200, value.clone()),
                    None => Answer::Reply(404, "not here".to_owned()),
                },
                None => honest(request),
            };
            match answer {
                Answer::Reply(status, text) => changed(status, text, &now),
                Answer::Silence => Answer::Silence,
            }
        })
    };
    let cloud = server.cloud(PATIENT);
    let node = runtime.block_on(identity(&cloud));
    let all = runtime.block_on(every_call(&cloud, &node));
    assert_eq!(all, 17, "honest answers are understood");

    let mut runner = TestRunner::new(ProptestConfig {
        cases: ROUNDS,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let granted = Cell::new(0);
    let outcome = runner.run(&vec(change(), 1..4), |round| {
        round.clone_into(&mut changes.lock().unwrap());
        granted.set(granted.get() + runtime.block_on(every_call(&cloud, &node)));
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
    changes.lock().unwrap().clear();
    assert_eq!(runtime.block_on(every_call(&cloud, &node)), all, "and are again afterwards");
    assert!(granted.get() < all * ROUNDS as usize, "nothing was refused: the changes do nothing");
}
