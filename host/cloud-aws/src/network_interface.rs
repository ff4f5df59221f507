//! EC2's network interfaces, read into domain types.

use std::fmt::Display;
use std::net::Ipv4Addr;
use std::str::FromStr;

use aws_sdk_ec2::types::{
    AttachmentStatus, GroupIdentifier, Ipv4PrefixSpecification, Ipv6PrefixSpecification, NetworkInterface,
    NetworkInterfaceAttachment, NetworkInterfaceType, Tag,
};
use enid_core::cloud::{CloudEni, CloudError, EniAttachment};
use enid_core::ids::{SecurityGroupId, SubnetId};
use enid_core::wiring::Seat;
use ipnet::Ipv4Net;

use crate::failure::unreadable;
use crate::prefix::Delegated;

/// The tag, with exactly the value `true`, that keeps the incumbent's and our hands off an interface.
pub(crate) const NO_MANAGE_TAG: &str = "node.k8s.amazonaws.com/no_manage";
/// The tag that names the instance an interface was created for.
pub(crate) const INSTANCE_TAG: &str = "node.k8s.amazonaws.com/instance_id";

/// Which subnet an interface is in: its range has to be found out elsewhere before [`read`].
pub(crate) fn subnet(call: &str, described: &NetworkInterface) -> Result<SubnetId, CloudError> {
    parsed(call, "subnet of the network interface", described.subnet_id())
}

/// One interface as the engine sees it; `range` is its subnet's, if that has IPv4.
///
/// An attached interface may have no IPv4 at all: EFA-only ones never do, nor those in IPv6-only subnets. It
/// is reported all the same, as not ours and with an unspecified address, because it takes a seat.
pub(crate) fn read(
    call: &str,
    described: &NetworkInterface,
    range: Option<Ipv4Net>,
) -> Result<CloudEni, CloudError> {
    let attachment = match described.attachment() {
        Some(entry) => attachment(call, entry)?,
        None => None,
    };
    let seat = attachment.as_ref().map(|attachment| attachment.seat);
    let (kind, tags) = (described.interface_type(), described.tag_set());
    let without_ipv4 = described.private_ip_address().is_none() || range.is_none();
    let elsewhere = seat.is_some_and(|seat| seat != Seat::PRIMARY);
    let managed = managed(kind, tags, seat) && !(without_ipv4 && elsewhere);
    let primary_address = match described.private_ip_address() {
        None if !managed => Ipv4Addr::UNSPECIFIED,
        address => parsed(call, "primary address", address)?,
    };
    let subnet_cidr = match range {
        Some(range) => range,
        None if !managed => Ipv4Net::from(Ipv4Addr::UNSPECIFIED),
        None => return Err(unreadable(call, "subnet of the network interface", "without IPv4")),
    };
    let addresses = described
        .private_ip_addresses()
        .iter()
        .filter(|entry| !entry.primary().unwrap_or(false))
        .map(|entry| parsed(call, "secondary address", entry.private_ip_address()))
        .filter(|address| address.as_ref().ok() != Some(&primary_address))
        .collect::<Result<_, _>>()?;
    Ok(CloudEni {
        id: parsed(call, "network interface id", described.network_interface_id())?,
        mac: parsed(call, "MAC", described.mac_address())?,
        subnet: subnet(call, described)?,
        subnet_cidr,
        primary_address,
        addresses,
        prefixes: prefixes(call, described.ipv4_prefixes().iter().map(Ipv4PrefixSpecification::ipv4_prefix))?,
        ipv6_prefixes: prefixes(
            call,
            described.ipv6_prefixes().iter().map(Ipv6PrefixSpecification::ipv6_prefix),
        )?,
        security_groups: described
            .groups()
            .iter()
            .map(|group| security_group(call, group))
            .collect::<Result<_, _>>()?,
        managed,
        created_for_pods: created_for_pods(described),
        attachment,
    })
}

/// Delegated prefixes, by their texts.
pub(crate) fn prefixes<'a, N>(
    call: &str,
    described: impl IntoIterator<Item = Option<&'a str>>,
) -> Result<Vec<N>, CloudError>
where
    Delegated<N>: FromStr<Err: Display>,
{
    let read = |text| parsed(call, "prefix", text).map(|Delegated(prefix)| prefix);
    described.into_iter().map(read).collect()
}

/// Reads a piece of text that must be there and well formed.
pub(crate) fn parsed<T: FromStr<Err: Display>>(
    call: &str,
    what: &str,
    text: Option<&str>,
) -> Result<T, CloudError> {
    let text = text.ok_or_else(|| unreadable(call, what, "missing"))?;
    text.parse().map_err(|why| unreadable(call, what, format!("`{text:.60}`: {why}")))
}

fn security_group(call: &str, group: &GroupIdentifier) -> Result<SecurityGroupId, CloudError> {
    parsed(call, "security group", group.group_id())
}

/// `None` when EC2 says that the interface is detached already.
fn attachment(call: &str, entry: &NetworkInterfaceAttachment) -> Result<Option<EniAttachment>, CloudError> {
    if entry.status() == Some(&AttachmentStatus::Detached) {
        return Ok(None);
    }
    let index = |what, value: Option<i32>| {
        value
            .and_then(|value| u32::try_from(value).ok())
            .ok_or_else(|| unreadable(call, what, format!("{value:?}")))
    };
    Ok(Some(EniAttachment {
        id: Some(parsed(call, "attachment id", entry.attachment_id())?),
        seat: Seat {
            card: index("network card index", Some(entry.network_card_index().unwrap_or(0)))?,
            device: index("device index", entry.device_index())?,
        },
        settled: entry.status() == Some(&AttachmentStatus::Attached),
        delete_on_termination: entry.delete_on_termination().unwrap_or(false),
    }))
}

/// Whether the interface is ours to change.
///
/// The primary always is. Of the others, those tagged away are not, nor those that carry no ordinary
/// traffic of the instance: EFA-only interfaces, trunks and anything that a service of AWS's made.
fn managed(kind: Option<&NetworkInterfaceType>, tags: &[Tag], seat: Option<Seat>) -> bool {
    let tagged_away = tags.iter().any(|tag| tag.key() == Some(NO_MANAGE_TAG) && tag.value() == Some("true"));
    let ordinary = matches!(kind, None | Some(NetworkInterfaceType::Interface | NetworkInterfaceType::Efa));
    seat == Some(Seat::PRIMARY) || (ordinary && !tagged_away)
}

/// Whether an ordinary interface was created for the pods of the instance it is attached to, by us or by the
/// incumbent. EFA interfaces never are: somebody's job needs them.
fn created_for_pods(described: &NetworkInterface) -> bool {
    let instance = described.attachment().and_then(NetworkInterfaceAttachment::instance_id);
    let Some(instance) = instance.filter(|instance| !instance.is_empty()) else { return false };
    let ordinary = matches!(described.interface_type(), None | Some(NetworkInterfaceType::Interface));
    let named = described.description() == Some(format!("aws-K8S-{instance}").as_str());
    let tagged = described
        .tag_set()
        .iter()
        .any(|tag| tag.key() == Some(INSTANCE_TAG) && tag.value() == Some(instance));
    ordinary && (named || tagged)
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::types::NetworkInterfacePrivateIpAddress;

    use super::*;

    const CALL: &str = "DescribeNetworkInterfaces";

    fn described(device: i32) -> NetworkInterface {
        let address = |text: &str, primary| {
            NetworkInterfacePrivateIpAddress::builder().private_ip_address(text).primary(primary).build()
        };
        NetworkInterface::builder()
            .network_interface_id("eni-1")
            .mac_address("02:00:00:00:00:01")
            .subnet_id("subnet-1")
            .private_ip_address("10.0.0.4")
            .private_ip_addresses(address("10.0.0.4", true))
            .private_ip_addresses(address("10.0.0.5", false))
            .ipv4_prefixes(Ipv4PrefixSpecification::builder().ipv4_prefix("10.0.0.16/28").build())
            .attachment(
                NetworkInterfaceAttachment::builder()
                    .attachment_id("eni-attach-1")
                    .device_index(device)
                    .status(AttachmentStatus::Attaching)
                    .build(),
            )
            .build()
    }

    fn range() -> Option<Ipv4Net> {
        "10.0.0.0/24".parse().ok()
    }

    #[test]
    fn primary_address_is_kept_apart_from_secondary_ones() {
        let eni = read(CALL, &described(1), range()).unwrap();
        assert_eq!(eni.primary_address, Ipv4Addr::new(10, 0, 0, 4));
        assert_eq!(eni.addresses, [Ipv4Addr::new(10, 0, 0, 5)]);
        assert_eq!(eni.prefixes, ["10.0.0.16/28".parse().unwrap()]);
        let attachment = eni.attachment.unwrap();
        assert_eq!((attachment.seat, attachment.settled), (Seat { card: 0, device: 1 }, false));
    }

    #[test]
    fn what_may_be_used_follows_tag_type_and_seat() {
        let tag = |value: &str| vec![Tag::builder().key(NO_MANAGE_TAG).value(value).build()];
        let second = Some(Seat { card: 0, device: 1 });
        for (kind, tags, seat, ours) in [
            (Some(NetworkInterfaceType::Interface), vec![], second, true),
            (None, vec![], None, true),
            (Some(NetworkInterfaceType::Interface), tag("true"), second, false),
            (Some(NetworkInterfaceType::Interface), tag("True"), second, true),
            (Some(NetworkInterfaceType::Interface), tag(""), second, true),
            (Some(NetworkInterfaceType::Interface), tag("true"), Some(Seat::PRIMARY), true),
            (Some(NetworkInterfaceType::Efa), vec![], second, true),
            (Some(NetworkInterfaceType::EfaOnly), vec![], second, false),
            (Some(NetworkInterfaceType::Trunk), vec![], second, false),
            (Some(NetworkInterfaceType::from("made-next-year")), vec![], second, false),
        ] {
            assert_eq!(managed(kind.as_ref(), &tags, seat), ours, "{kind:?} {tags:?} {seat:?}");
        }
    }

    #[test]
    fn an_efa_only_interface_without_ipv4_keeps_its_seat() {
        let efa = NetworkInterface::builder()
            .network_interface_id("eni-2")
            .mac_address("02:00:00:00:00:02")
            .subnet_id("subnet-1")
            .interface_type(NetworkInterfaceType::EfaOnly)
            .set_attachment(described(1).attachment);
        let eni = read(CALL, &efa.clone().build(), None).unwrap();
        assert_eq!((eni.managed, eni.primary_address), (false, Ipv4Addr::UNSPECIFIED));
        assert_eq!(eni.attachment.unwrap().seat, Seat { card: 0, device: 1 });
    }

    #[test]
    fn an_interface_in_an_ipv6_only_subnet_keeps_its_seat_and_is_not_ours() {
        let bare = NetworkInterface::builder()
            .network_interface_id("eni-2")
            .mac_address("02:00:00:00:00:02")
            .subnet_id("subnet-1")
            .interface_type(NetworkInterfaceType::Interface);
        let attached = bare.clone().set_attachment(described(1).attachment).build();
        for (described, range) in [(&attached, None), (&attached, range()), (&described(1), None)] {
            let eni = read(CALL, described, range).unwrap();
            assert_eq!((eni.managed, eni.attachment.unwrap().seat), (false, Seat { card: 0, device: 1 }));
        }
        let primary = bare.clone().set_attachment(described(0).attachment).build();
        assert!(read(CALL, &primary, range()).is_err() && read(CALL, &described(0), None).is_err());
        assert!(read(CALL, &bare.build(), range()).is_err(), "a new interface has an address");
    }

    #[test]
    fn what_was_created_for_pods_follows_description_and_tag_and_is_never_an_efa() {
        let tagged = || Some(vec![Tag::builder().key(INSTANCE_TAG).value("i-1").build()]);
        for (description, tags, kind, ours) in [
            ("aws-K8S-i-1", None, NetworkInterfaceType::Interface, true),
            ("", tagged(), NetworkInterfaceType::Interface, true),
            ("aws-K8S-i-1", tagged(), NetworkInterfaceType::Efa, false),
            ("aws-K8S-i-2", None, NetworkInterfaceType::Interface, false),
            ("database", None, NetworkInterfaceType::Interface, false),
        ] {
            let mut described = described(1);
            described.attachment.as_mut().unwrap().instance_id = Some("i-1".to_owned());
            described.description = Some(description.to_owned());
            described.tag_set = tags;
            described.interface_type = Some(kind);
            let eni = read(CALL, &described, range()).unwrap();
            assert_eq!((eni.managed, eni.created_for_pods), (true, ours), "{described:?}");
        }
    }

    #[test]
    fn malformed_answers_are_errors_that_name_the_piece() {
        let good =
            || NetworkInterface::builder().network_interface_id("eni-1").mac_address("02:00:00:00:00:01");
        let bad_prefix = Ipv4PrefixSpecification::builder().ipv4_prefix("10.0.0.0/27").build();
        for (bad, piece) in [
            (good().subnet_id("subnet-1").build(), "primary address"),
            (good().subnet_id("subnet-1").private_ip_address("10.0.0.256").build(), "primary address"),
            (good().subnet_id("nonsense").private_ip_address("10.0.0.4").build(), "subnet"),
            (good().subnet_id("subnet-1").private_ip_address("10.0.0.4").mac_address("x").build(), "MAC"),
            (
                good().subnet_id("subnet-1").private_ip_address("10.0.0.4").network_interface_id("").build(),
                "id",
            ),
            (
                good().subnet_id("subnet-1").private_ip_address("10.0.0.4").ipv4_prefixes(bad_prefix).build(),
                "prefix",
            ),
        ] {
            let error = read(CALL, &bad, range()).unwrap_err();
            assert!(error.message.contains(piece), "{error}");
        }
    }
}
