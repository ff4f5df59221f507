//! The model's resources as EC2 writes them.

use enid_core::ids::SecurityGroupId;
use enid_core::limits::{Hypervisor, InstanceType};
use enid_sim::ec2::describe::Zone;
use enid_sim::ec2::instance::{Instance, InstanceState};
use enid_sim::ec2::interface::{InterfaceAttachment, NetworkInterface};
use enid_sim::ec2::tagging::TaggedResource;
use enid_sim::ec2::vpc::{SecurityGroup, Subnet, Vpc};
use enid_sim::ec2::{Ec2, Tags};
use ipnet::Ipv4Net;

use super::xml::Xml;

/// `NetworkInterface`.
pub(super) fn interface(xml: &mut Xml, ec2: &Ec2, eni: &NetworkInterface) {
    interface_core(xml, ec2, eni);
    xml.leaf("availabilityZone", &eni.zone);
    xml.leaf("availabilityZoneId", ec2.zone_id(&eni.zone));
    xml.leaf("requesterManaged", false);
    if let Some(at) = &eni.attachment {
        xml.element("attachment", |xml| {
            attachment(xml, at);
            xml.leaf("instanceId", &at.instance);
            xml.leaf("instanceOwnerId", &ec2.config().account);
        });
    }
    tags(xml, &eni.tags);
}

/// What an ENI looks like on its own and inside its instance.
fn interface_core(xml: &mut Xml, ec2: &Ec2, eni: &NetworkInterface) {
    xml.leaf("networkInterfaceId", &eni.id);
    xml.leaf("subnetId", &eni.subnet);
    xml.leaf("vpcId", &eni.vpc);
    xml.leaf("description", &eni.description);
    xml.leaf("ownerId", &ec2.config().account);
    xml.leaf("status", if eni.attachment.is_some() { "in-use" } else { "available" });
    xml.leaf("macAddress", eni.mac);
    if let Some(primary) = eni.primary {
        xml.leaf("privateIpAddress", primary);
        xml.leaf("privateDnsName", ec2.private_dns_name(primary));
    }
    xml.leaf("sourceDestCheck", eni.source_dest_check);
    xml.leaf("interfaceType", eni.interface_type.as_str());
    groups(xml, ec2, &eni.groups);
    xml.set("privateIpAddressesSet", eni.addresses(), |xml, address| {
        xml.leaf("privateIpAddress", address);
        xml.leaf("privateDnsName", ec2.private_dns_name(address));
        xml.leaf("primary", eni.primary == Some(address));
    });
    xml.set("ipv4PrefixSet", &eni.prefixes, |xml, prefix| xml.leaf("ipv4Prefix", prefix));
    xml.set("ipv6AddressesSet", &eni.ipv6_addresses, |xml, address| {
        xml.leaf("ipv6Address", address);
        xml.leaf("isPrimaryIpv6", false);
    });
    xml.set("ipv6PrefixSet", &eni.ipv6_prefixes, |xml, prefix| xml.leaf("ipv6Prefix", prefix));
}

fn attachment(xml: &mut Xml, at: &InterfaceAttachment) {
    xml.leaf("attachmentId", &at.id);
    xml.leaf("deviceIndex", at.seat.device);
    xml.leaf("networkCardIndex", at.seat.card);
    xml.leaf("status", at.state.as_str());
    xml.leaf("attachTime", at.since.rfc3339());
    xml.leaf("deleteOnTermination", at.delete_on_termination);
}

/// `Instance`; `index` counts within its launch.
pub(super) fn instance(xml: &mut Xml, ec2: &Ec2, instance: &Instance, index: usize) {
    let interfaces: Vec<&NetworkInterface> = ec2.interfaces_of(&instance.id).collect();
    let primary = interfaces.first();
    xml.leaf("instanceId", &instance.id);
    xml.leaf("imageId", &instance.image);
    state(xml, "instanceState", instance.state);
    xml.leaf("instanceType", &instance.instance_type.name);
    xml.leaf("amiLaunchIndex", index);
    xml.leaf("launchTime", instance.launched.rfc3339());
    let address = primary.and_then(|eni| eni.primary);
    xml.leaf("privateDnsName", address.map_or(String::new(), |address| ec2.private_dns_name(address)));
    xml.leaf("dnsName", "");
    xml.leaf("reason", "");
    xml.element("placement", |xml| {
        xml.leaf("availabilityZone", &instance.zone);
        xml.leaf("availabilityZoneId", ec2.zone_id(&instance.zone));
        xml.leaf("groupName", "");
        xml.leaf("tenancy", "default");
    });
    xml.element("monitoring", |xml| xml.leaf("state", "disabled"));
    if let Some(eni) = primary {
        xml.leaf("subnetId", &instance.subnet);
        xml.leaf("vpcId", &instance.vpc);
        if let Some(address) = address {
            xml.leaf("privateIpAddress", address);
        }
        if let Some(address) = eni.ipv6_addresses.first() {
            xml.leaf("ipv6Address", address);
        }
        xml.leaf("sourceDestCheck", eni.source_dest_check);
        groups(xml, ec2, &eni.groups);
    }
    xml.leaf("architecture", "x86_64");
    xml.leaf("rootDeviceType", "ebs");
    xml.leaf("rootDeviceName", "/dev/xvda");
    xml.leaf("virtualizationType", "hvm");
    xml.leaf("hypervisor", "xen");
    xml.leaf("enaSupport", true);
    xml.element("metadataOptions", |xml| {
        xml.leaf("state", "applied");
        xml.leaf("httpTokens", "required");
        xml.leaf("httpEndpoint", "enabled");
    });
    xml.set("networkInterfaceSet", interfaces, |xml, eni| {
        interface_core(xml, ec2, eni);
        if let Some(at) = &eni.attachment {
            xml.element("attachment", |xml| attachment(xml, at));
        }
    });
    tags(xml, &instance.tags);
}

/// `InstanceState` under the name it has where it stands.
pub(super) fn state(xml: &mut Xml, name: &str, state: InstanceState) {
    let (code, word) = state.code_and_name();
    xml.element(name, |xml| {
        xml.leaf("code", code);
        xml.leaf("name", word);
    });
}

/// `InstanceTypeInfo`, as far as limits go.
pub(super) fn instance_type(xml: &mut Xml, kind: &InstanceType) {
    xml.leaf("instanceType", &kind.name);
    xml.leaf("bareMetal", kind.bare_metal);
    match kind.hypervisor {
        Hypervisor::Nitro => xml.leaf("hypervisor", "nitro"),
        Hypervisor::Xen => xml.leaf("hypervisor", "xen"),
        Hypervisor::None => {}
    }
    xml.element("vCpuInfo", |xml| xml.leaf("defaultVCpus", kind.vcpus));
    xml.element("memoryInfo", |xml| xml.leaf("sizeInMiB", kind.memory_mib));
    xml.element("networkInfo", |xml| {
        xml.leaf("maximumNetworkInterfaces", kind.cards.iter().map(|card| card.max_enis).sum::<u32>());
        xml.leaf("maximumNetworkCards", kind.cards.len());
        xml.leaf("defaultNetworkCardIndex", kind.default_card);
        xml.set("networkCards", &kind.cards, |xml, card| {
            xml.leaf("networkCardIndex", card.index);
            xml.leaf("maximumNetworkInterfaces", card.max_enis);
        });
        xml.leaf("ipv4AddressesPerInterface", kind.ipv4_per_eni);
        xml.leaf("ipv6AddressesPerInterface", kind.ipv6_per_eni);
        xml.leaf("ipv6Supported", kind.ipv6_per_eni > 0);
    });
}

/// `Subnet`.
pub(super) fn subnet(xml: &mut Xml, ec2: &Ec2, subnet: &Subnet) {
    let config = ec2.config();
    xml.leaf("subnetId", &subnet.id);
    xml.leaf("subnetArn", arn(ec2, "subnet", subnet.id.as_str()));
    xml.leaf("state", "available");
    xml.leaf("ownerId", &config.account);
    xml.leaf("vpcId", &subnet.vpc);
    xml.leaf("cidrBlock", subnet.cidr);
    xml.leaf("availableIpAddressCount", subnet.free());
    xml.leaf("availabilityZone", &subnet.zone);
    xml.leaf("availabilityZoneId", ec2.zone_id(&subnet.zone));
    xml.leaf("defaultForAz", false);
    xml.leaf("mapPublicIpOnLaunch", false);
    xml.leaf("assignIpv6AddressOnCreation", subnet.ipv6_cidr.is_some());
    xml.leaf("ipv6Native", false);
    xml.set("ipv6CidrBlockAssociationSet", &subnet.ipv6_cidr, |xml, cidr| {
        let own = subnet.id.as_str().trim_start_matches("subnet-");
        xml.leaf("associationId", format!("subnet-cidr-assoc-{own}"));
        xml.leaf("ipv6CidrBlock", cidr);
        xml.element("ipv6CidrBlockState", |xml| xml.leaf("state", "associated"));
    });
    tags(xml, &subnet.tags);
}

/// `Vpc`.
pub(super) fn vpc(xml: &mut Xml, ec2: &Ec2, vpc: &Vpc) {
    xml.leaf("vpcId", &vpc.id);
    xml.leaf("ownerId", &ec2.config().account);
    xml.leaf("state", "available");
    if let Some(cidr) = vpc.cidrs.first() {
        xml.leaf("cidrBlock", cidr);
    }
    xml.set("cidrBlockAssociationSet", vpc.cidrs.iter().enumerate(), |xml, (index, cidr)| {
        vpc_range(xml, vpc, index, cidr);
    });
    xml.set("ipv6CidrBlockAssociationSet", vpc.ipv6_cidrs.iter().enumerate(), |xml, (index, cidr)| {
        xml.leaf("associationId", association(vpc, &format!("6{index}")));
        xml.leaf("ipv6CidrBlock", cidr);
        xml.element("ipv6CidrBlockState", |xml| xml.leaf("state", "associated"));
        xml.leaf("networkBorderGroup", &ec2.config().region);
        xml.leaf("ipv6Pool", "Amazon");
    });
    xml.leaf("dhcpOptionsId", "default");
    xml.leaf("instanceTenancy", "default");
    xml.leaf("isDefault", false);
    tags(xml, &vpc.tags);
}

/// `VpcCidrBlockAssociation` of the VPC's range at `index`.
pub(super) fn vpc_range(xml: &mut Xml, vpc: &Vpc, index: usize, cidr: &Ipv4Net) {
    xml.leaf("associationId", association(vpc, &index.to_string()));
    xml.leaf("cidrBlock", cidr);
    xml.element("cidrBlockState", |xml| xml.leaf("state", "associated"));
}

fn association(vpc: &Vpc, which: &str) -> String {
    format!("vpc-cidr-assoc-{}{which}", vpc.id.as_str().trim_start_matches("vpc-"))
}

/// `SecurityGroup`; its rules are the ones of a default group, since none are modelled.
pub(super) fn security_group(xml: &mut Xml, ec2: &Ec2, group: &SecurityGroup) {
    xml.leaf("groupId", &group.id);
    xml.leaf("groupName", &group.name);
    xml.leaf("groupDescription", &group.description);
    xml.leaf("ownerId", &ec2.config().account);
    xml.leaf("vpcId", &group.vpc);
    xml.leaf("securityGroupArn", arn(ec2, "security-group", group.id.as_str()));
    xml.set("ipPermissions", None::<()>, |_, ()| {});
    xml.set("ipPermissionsEgress", ["0.0.0.0/0"], |xml, everywhere| {
        xml.leaf("ipProtocol", "-1");
        xml.set("ipRanges", [everywhere], |xml, range| xml.leaf("cidrIp", range));
    });
    tags(xml, &group.tags);
}

/// `AvailabilityZone`.
pub(super) fn zone(xml: &mut Xml, ec2: &Ec2, zone: &Zone) {
    let region = &ec2.config().region;
    xml.leaf("zoneName", &zone.name);
    xml.leaf("zoneId", &zone.id);
    xml.leaf("zoneState", "available");
    xml.leaf("regionName", region);
    xml.leaf("zoneType", "availability-zone");
    xml.leaf("optInStatus", "opt-in-not-required");
    xml.leaf("groupName", format!("{region}-zg-1"));
    xml.leaf("networkBorderGroup", region);
    xml.set("messageSet", None::<()>, |_, ()| {});
}

/// `TagDescription`.
pub(super) fn tagged_resource(xml: &mut Xml, tag: &TaggedResource) {
    xml.leaf("resourceId", &tag.resource);
    xml.leaf("resourceType", tag.resource_type);
    xml.leaf("key", &tag.key);
    xml.leaf("value", &tag.value);
}

fn groups(xml: &mut Xml, ec2: &Ec2, groups: &[SecurityGroupId]) {
    xml.set("groupSet", groups, |xml, group| {
        xml.leaf("groupId", group);
        xml.leaf("groupName", ec2.security_group(group).map_or("", |found| &found.name));
    });
}

fn tags(xml: &mut Xml, tags: &Tags) {
    xml.set("tagSet", tags, |xml, (key, value)| {
        xml.leaf("key", key);
        xml.leaf("value", value);
    });
}

fn arn(ec2: &Ec2, kind: &str, id: &str) -> String {
    let config = ec2.config();
    format!("arn:aws:ec2:{}:{}:{kind}/{id}", config.region, config.account)
}
