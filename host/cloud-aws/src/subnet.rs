//! EC2's subnets, read into domain types.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::{Subnet, SubnetCidrBlockStateCode, SubnetState, Tag};
use enid_core::cloud::{CloudError, CloudSubnet};
use enid_core::ids::SubnetId;
use enid_core::snapshot::{ClusterTag, RoleTag};
use ipnet::{Ipv4Net, Ipv6Net};

use crate::failure::unreadable;
use crate::network_interface::parsed;

const ROLE_TAG: &str = "kubernetes.io/role/cni";
const CLUSTER_TAG: &str = "cni.networking.k8s.aws/cluster/";

/// Subnets whose range is remembered; far more than a node ever meets.
const REMEMBERED: usize = 256;

/// One subnet as the engine sees it; `None` for what cannot hold our ENIs: without IPv4, or not there yet.
pub(crate) fn read(
    call: &str,
    subnet: &Subnet,
    cluster: Option<&str>,
) -> Result<Option<CloudSubnet>, CloudError> {
    let id: SubnetId = parsed(call, "subnet id", subnet.subnet_id())?;
    let Some(range) = range(call, subnet)? else { return Ok(None) };
    if subnet.state().is_some_and(|state| *state != SubnetState::Available) {
        return Ok(None);
    }
    let tags = subnet.tags();
    Ok(Some(CloudSubnet {
        id,
        zone: subnet.availability_zone().unwrap_or_default().to_owned(),
        cidr: range,
        ipv6_cidr: ipv6_range(call, subnet)?,
        free: u32::try_from(subnet.available_ip_address_count().unwrap_or(0)).unwrap_or(0),
        role: role(tags),
        cluster: cluster_tag(tags, cluster),
    }))
}

/// The subnet's IPv4 range, if it has one.
pub(crate) fn range(call: &str, subnet: &Subnet) -> Result<Option<Ipv4Net>, CloudError> {
    let text = subnet.cidr_block().filter(|text| !text.is_empty());
    text.map(|text| text.parse().map_err(|why| unreadable(call, "subnet range", format!("`{text}`: {why}"))))
        .transpose()
}

/// The IPv6 range in force: one on its way in or out has no addresses to give.
fn ipv6_range(call: &str, subnet: &Subnet) -> Result<Option<Ipv6Net>, CloudError> {
    let in_force = subnet.ipv6_cidr_block_association_set().iter().find(|association| {
        let state = association.ipv6_cidr_block_state().and_then(|state| state.state());
        state == Some(&SubnetCidrBlockStateCode::Associated)
    });
    in_force
        .map(|association| parsed(call, "IPv6 range of the subnet", association.ipv6_cidr_block()))
        .transpose()
}

fn role(tags: &[Tag]) -> RoleTag {
    match tags.iter().find(|tag| tag.key() == Some(ROLE_TAG)).and_then(Tag::value) {
        None | Some("") => RoleTag::Absent,
        Some("0") => RoleTag::Excluded,
        Some(_) => RoleTag::Included,
    }
}

/// Only the key counts: the incumbent ignores the value of a cluster tag.
fn cluster_tag(tags: &[Tag], ours: Option<&str>) -> ClusterTag {
    let Some(ours) = ours.filter(|name| !name.is_empty()) else { return ClusterTag::Any };
    let mut named = tags.iter().filter_map(|tag| tag.key()?.strip_prefix(CLUSTER_TAG)).peekable();
    if named.peek().is_none() {
        ClusterTag::Any
    } else if named.any(|name| name == ours) {
        ClusterTag::Ours
    } else {
        ClusterTag::Foreign
    }
}

/// Ranges of subnets met so far: a subnet's range never changes.
#[derive(Debug, Default)]
pub(crate) struct Ranges(BTreeMap<SubnetId, Ipv4Net>);

impl Ranges {
    pub(crate) fn of(&self, subnet: &SubnetId) -> Option<Ipv4Net> {
        self.0.get(subnet).copied()
    }

    pub(crate) fn remember(&mut self, subnet: SubnetId, range: Ipv4Net) {
        if self.0.len() >= REMEMBERED && !self.0.contains_key(&subnet) {
            self.0.pop_first();
        }
        self.0.insert(subnet, range);
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::types::{SubnetCidrBlockState, SubnetIpv6CidrBlockAssociation};

    use super::*;

    fn tagged(tags: &[(&str, &str)]) -> Vec<Tag> {
        tags.iter().map(|(key, value)| Tag::builder().key(*key).value(*value).build()).collect()
    }

    #[test]
    fn role_tags_read_as_the_incumbent_reads_them() {
        for (tags, role_read) in [
            (tagged(&[]), RoleTag::Absent),
            (tagged(&[(ROLE_TAG, "")]), RoleTag::Absent),
            (vec![Tag::builder().key(ROLE_TAG).build()], RoleTag::Absent),
            (tagged(&[(ROLE_TAG, "0")]), RoleTag::Excluded),
            (tagged(&[(ROLE_TAG, "1")]), RoleTag::Included),
            (tagged(&[(ROLE_TAG, "00")]), RoleTag::Included),
            (tagged(&[("kubernetes.io/role/CNI", "0")]), RoleTag::Absent),
        ] {
            assert_eq!(role(&tags), role_read, "{tags:?}");
        }
    }

    #[test]
    fn cluster_tags_match_by_key_and_only_when_our_name_is_known() {
        let both = [("cni.networking.k8s.aws/cluster/a", ""), ("cni.networking.k8s.aws/cluster/b", "no")];
        for (tags, ours, read) in [
            (tagged(&[]), Some("a"), ClusterTag::Any),
            (tagged(&both), None, ClusterTag::Any),
            (tagged(&both), Some(""), ClusterTag::Any),
            (tagged(&both), Some("b"), ClusterTag::Ours),
            (tagged(&both), Some("c"), ClusterTag::Foreign),
            (tagged(&[("kubernetes.io/cluster/c", "owned")]), Some("a"), ClusterTag::Any),
        ] {
            assert_eq!(cluster_tag(&tags, ours), read, "{tags:?} {ours:?}");
        }
    }

    #[test]
    fn subnets_without_ipv4_or_still_pending_are_left_out() {
        let subnet = Subnet::builder().subnet_id("subnet-1").availability_zone("z");
        let usable = subnet.clone().cidr_block("10.0.0.0/24").available_ip_address_count(251);
        let read_usable = read("DescribeSubnets", &usable.clone().build(), None).unwrap().unwrap();
        assert_eq!((read_usable.free, read_usable.cidr.to_string().as_str()), (251, "10.0.0.0/24"));
        assert_eq!(read("DescribeSubnets", &subnet.build(), None).unwrap(), None);
        let pending = usable.clone().state(SubnetState::Pending).build();
        assert_eq!(read("DescribeSubnets", &pending, None).unwrap(), None);
        assert!(read("DescribeSubnets", &usable.clone().cidr_block("10.0.0.0/99").build(), None).is_err());
        assert!(read("DescribeSubnets", &usable.subnet_id("vpc-1").build(), None).is_err());
    }

    #[test]
    fn only_an_associated_ipv6_range_counts() {
        use SubnetCidrBlockStateCode::{Associated, Associating, Disassociated, Failed};
        let association = |state, range: Option<&str>| {
            let state = SubnetCidrBlockState::builder().state(state).build();
            SubnetIpv6CidrBlockAssociation::builder()
                .ipv6_cidr_block_state(state)
                .set_ipv6_cidr_block(range.map(str::to_owned))
                .build()
        };
        let subnet = Subnet::builder().subnet_id("subnet-1").cidr_block("10.0.0.0/24");
        let (old, new) = ("2001:db8:0:1::/64", "2001:db8:0:2::/64");
        for (associations, range) in [
            (vec![], Some(None)),
            (vec![association(Associated, Some(new))], Some(Some(new))),
            (vec![association(Associating, Some(new))], Some(None)),
            (
                vec![association(Disassociated, Some(old)), association(Associated, Some(new))],
                Some(Some(new)),
            ),
            (vec![association(Failed, None)], Some(None)),
            (vec![association(Associated, None)], None),
            (vec![association(Associated, Some("10.0.0.0/24"))], None),
        ] {
            let subnet = subnet.clone().set_ipv6_cidr_block_association_set(Some(associations)).build();
            let read = read("DescribeSubnets", &subnet, None).ok().map(|read| read.unwrap().ipv6_cidr);
            assert_eq!(read, range.map(|range| range.map(|text| text.parse().unwrap())), "{subnet:?}");
        }
    }

    #[test]
    fn remembered_ranges_are_bounded() {
        let mut ranges = Ranges::default();
        for index in 0..1000 {
            ranges.remember(format!("subnet-{index}").parse().unwrap(), "10.0.0.0/24".parse().unwrap());
        }
        assert!(ranges.0.len() <= REMEMBERED);
        assert!(ranges.of(&"subnet-999".parse().unwrap()).is_some());
    }
}
