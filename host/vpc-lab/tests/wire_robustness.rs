//! Whatever arrives on the wire, EC2 answers with a document and its world stays sound.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world should fail here")]

use enid_core::time::Timestamp;
use enid_sim::ec2::call::Call;
use enid_sim::ec2::instance::RunInstances;
use enid_sim::ec2::{Config, Ec2, Tags};
use enid_vpc_lab::wire::{Reply, handle};
use proptest::prelude::*;

const NAMES: &[&str] = &[
    "SubnetId",
    "NetworkInterfaceId",
    "NetworkInterfaceId.1",
    "InstanceId",
    "InstanceId.1",
    "AttachmentId",
    "Attachment.AttachmentId",
    "Attachment.DeleteOnTermination",
    "DeviceIndex",
    "NetworkCardIndex",
    "SecondaryPrivateIpAddressCount",
    "Ipv4PrefixCount",
    "Ipv4Prefix.1",
    "Ipv4Prefix.1.Ipv4Prefix",
    "Ipv6AddressCount",
    "Ipv6Addresses.1",
    "Ipv6Addresses.1.Ipv6Address",
    "Ipv6PrefixCount",
    "Ipv6Prefix.1",
    "Ipv6Prefix.1.Ipv6Prefix",
    "InterfaceType",
    "NetworkInterface.1.SubnetId",
    "NetworkInterface.1.DeviceIndex",
    "NetworkInterface.2.SubnetId",
    "NetworkInterface.2.DeviceIndex",
    "NetworkInterface.2.NetworkCardIndex",
    "NetworkInterface.2.InterfaceType",
    "VpcId",
    "CidrBlock",
    "PrivateIpAddress",
    "PrivateIpAddress.1",
    "PrivateIpAddresses.1.PrivateIpAddress",
    "PrivateIpAddresses.1.Primary",
    "SecurityGroupId.1",
    "Description",
    "Description.Value",
    "ImageId",
    "InstanceType",
    "InstanceType.1",
    "MinCount",
    "MaxCount",
    "ResourceId.1",
    "Tag.1.Key",
    "Tag.1.Value",
    "TagSpecification.1.ResourceType",
    "TagSpecification.1.Tag.1.Key",
    "Filter.1.Name",
    "Filter.1.Value.1",
    "MaxResults",
    "NextToken",
    "ClientToken",
    "DryRun",
    "Filter.4294967296.Name",
    "Filter.x.Name",
];

fn world() -> (Ec2, Vec<String>) {
    let mut ec2 = Ec2::new(3, Config::default());
    let vpc = ec2.add_vpc("10.0.0.0/16".parse().unwrap()).unwrap();
    let subnet = ec2.add_subnet(&vpc, "eu-central-1a", "10.0.1.0/26".parse().unwrap(), Tags::new()).unwrap();
    ec2.add_ipv6_range(&vpc, "2001:db8:0:100::/56".parse().unwrap()).unwrap();
    ec2.give_ipv6(&subnet, "2001:db8:0:101::/64".parse().unwrap()).unwrap();
    let instance = ec2.launch(Timestamp(1), &RunInstances::one("t3.small", subnet.clone())).unwrap();
    let primary = ec2.interfaces().next().unwrap();
    let mut values = vec![
        primary.id.to_string(),
        primary.attachment.as_ref().unwrap().id.to_string(),
        primary.primary.unwrap().to_string(),
        primary.ipv6_addresses[0].to_string(),
        primary.groups[0].to_string(),
        vpc.to_string(),
        subnet.to_string(),
        instance.to_string(),
    ];
    let others = [
        "0",
        "1",
        "5",
        "4294967295",
        "4294967296",
        "-1",
        "true",
        "false",
        "10.0.1.16/28",
        "10.0.1.16/27",
        "10.0.1.40",
        "255.255.255.255",
        "100.64.0.0/16",
        "2001:db8:0:101:7::/80",
        "2001:db8:0:101:7::9",
        "2001:db8::/129",
        "efa",
        "efa-only",
        "p4d.24xlarge",
        "t3.small",
        "network-interface",
        "instance",
        "vpc-id",
        "tag:x",
        "***",
        "%",
        "%zz",
        "%F0%9F%A6%80",
        "%00",
        "%0d%0a",
        "%3C%26%3E",
        "",
        "eni-1",
        "i-1",
    ];
    values.extend(others.map(str::to_owned));
    (ec2, values)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn any_form_gets_a_document_and_leaves_a_sound_world(
        requests in prop::collection::vec(
            (0..Call::ALL.len(), prop::collection::vec((0..NAMES.len(), any::<prop::sample::Index>()), 0..8)),
            1..20,
        ),
    ) {
        let (mut ec2, values) = world();
        for (at, (call, parameters)) in (10u64..).zip(&requests) {
            let mut form = format!("Action={}&Version=2016-11-15", Call::ALL[*call]);
            for (name, value) in parameters {
                form += &format!("&{}={}", NAMES[*name], value.get(&values));
            }
            match handle(&mut ec2, Timestamp(at * 10_000), &form) {
                Reply::Answer { status, xml } => {
                    prop_assert!([200, 400, 412].contains(&status), "{}: {}", form, xml);
                    prop_assert_eq!(xml.matches('<').count(), xml.matches('>').count());
                }
                Reply::Lost => prop_assert!(false, "{} was lost", form),
            }
            prop_assert_eq!(ec2.check(), Vec::<String>::new(), "after {}", form);
        }
    }

    #[test]
    fn any_bytes_get_a_document(text in ".{0,200}") {
        let (mut ec2, _) = world();
        let answered = matches!(handle(&mut ec2, Timestamp(5), &text), Reply::Answer { .. });
        prop_assert!(answered);
    }
}
