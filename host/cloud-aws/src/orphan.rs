//! ENIs without an instance, read into domain types.

use aws_sdk_ec2::types::{NetworkInterface, NetworkInterfaceStatus, NetworkInterfaceType, Tag};
use enid_core::cloud::{CloudError, Orphan};
use enid_core::time::Timestamp;

use crate::network_interface::{INSTANCE_TAG, NO_MANAGE_TAG, parsed};

/// The tag that tells when an interface was created, in RFC 3339.
const CREATED_TAG: &str = "node.k8s.amazonaws.com/createdAt";
/// How the description of an interface begins that was created for pods, by us or by the incumbent.
const DESCRIPTION: &str = "aws-K8S-";

/// The interface as an orphan; `None` when it is anything else, whatever was filtered for.
///
/// What cannot be read beyond doubt is nobody's orphan: it stays, rather than keep the others from being found.
pub(crate) fn read(call: &str, described: &NetworkInterface) -> Result<Option<Orphan>, CloudError> {
    let tag = |key: &str| described.tag_set().iter().find(|tag| tag.key() == Some(key)).and_then(Tag::value);
    let for_pods = described.description().is_some_and(|text| text.starts_with(DESCRIPTION))
        && matches!(described.interface_type(), None | Some(NetworkInterfaceType::Interface));
    let unattached =
        described.status() == Some(&NetworkInterfaceStatus::Available) && described.attachment().is_none();
    let tagged_away = tag(NO_MANAGE_TAG) == Some("true");
    let instance = tag(INSTANCE_TAG).and_then(|instance| instance.parse().ok());
    let Some(instance) = instance.filter(|_| for_pods && unattached && !tagged_away) else {
        return Ok(None);
    };
    Ok(Some(Orphan {
        id: parsed(call, "network interface id", described.network_interface_id())?,
        instance,
        created: tag(CREATED_TAG).and_then(Timestamp::from_rfc3339),
    }))
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::types::NetworkInterfaceAttachment;

    use super::*;

    const CALL: &str = "DescribeNetworkInterfaces";

    fn described(tags: &[(&str, &str)]) -> NetworkInterface {
        let tags = tags.iter().map(|(key, value)| Tag::builder().key(*key).value(*value).build());
        NetworkInterface::builder()
            .network_interface_id("eni-7")
            .description("aws-K8S-i-1")
            .status(NetworkInterfaceStatus::Available)
            .interface_type(NetworkInterfaceType::Interface)
            .set_tag_set(Some(tags.collect()))
            .build()
    }

    #[test]
    fn an_orphan_says_whose_it_was_and_since_when() {
        for (created, read_as) in [
            ("2000-02-29T12:34:56Z", Some(Timestamp(951_827_696_000))),
            ("2000-02-29T12:34:56.001Z", Some(Timestamp(951_827_696_001))),
            ("yesterday", None),
        ] {
            let orphan = read(CALL, &described(&[(INSTANCE_TAG, "i-1"), (CREATED_TAG, created)])).unwrap();
            let (id, instance) = ("eni-7".parse().unwrap(), "i-1".parse().unwrap());
            assert_eq!(orphan, Some(Orphan { id, instance, created: read_as }));
        }
    }

    #[test]
    fn whatever_may_be_somebodys_is_no_orphan() {
        let good = || described(&[(INSTANCE_TAG, "i-1")]);
        assert!(read(CALL, &good()).unwrap().is_some());
        let mut attached = good();
        attached.attachment = Some(NetworkInterfaceAttachment::builder().build());
        let mut in_use = good();
        in_use.status = Some(NetworkInterfaceStatus::InUse);
        let mut unknown = good();
        unknown.status = None;
        let mut efa = good();
        efa.interface_type = Some(NetworkInterfaceType::Efa);
        let mut database = good();
        database.description = Some("database".to_owned());
        let untagged = described(&[]);
        let garbled = described(&[(INSTANCE_TAG, "node seven")]);
        let tagged_away = described(&[(INSTANCE_TAG, "i-1"), (NO_MANAGE_TAG, "true")]);
        for other in [attached, in_use, unknown, efa, database, untagged, garbled, tagged_away] {
            assert_eq!(read(CALL, &other).unwrap(), None, "{other:?}");
        }
    }

    #[test]
    fn an_orphan_without_an_id_is_an_error() {
        let mut nameless = described(&[(INSTANCE_TAG, "i-1")]);
        nameless.network_interface_id = None;
        assert!(read(CALL, &nameless).unwrap_err().message.contains("network interface id"));
    }
}
