//! IPv6 prefixes, security groups, VPC ranges, and what metadata tells of them.

use enid_cloud_aws::AwsCloud;
use enid_core::cloud::{CloudEni, CloudErrorKind, NodeIdentity, Supply};
use enid_core::ids::{EniId, SecurityGroupId, SubnetId};
use enid_core::wiring::Seat;
use enid_engine::ports::Cloud;
use enid_sim::ec2::call::Call;
use enid_sim::ec2::fault::FaultKind;
use tokio::time::{Instant, sleep};

use crate::lab::{VPC_IPV6, WIDE_IPV6};
use crate::{LOOK_EVERY, PATIENCE, eni_when, lab, new_eni, settled};

/// The node's ENIs as EC2 describes them, less what metadata does not know of them.
async fn described(cloud: &AwsCloud, node: &NodeIdentity) -> Vec<CloudEni> {
    let mut enis = cloud.enis(node).await.unwrap();
    for eni in &mut enis {
        eni.created_for_pods = false;
        let attachment = eni.attachment.as_mut().unwrap();
        attachment.id = None;
        attachment.delete_on_termination = false;
    }
    enis.sort_by(|one, other| one.id.cmp(&other.id));
    enis
}

/// Metadata comes to tell what EC2 tells; it lags behind.
async fn metadata_agrees(cloud: &AwsCloud, node: &NodeIdentity) {
    let truth = described(cloud, node).await;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut told = cloud.metadata_enis(node).await.unwrap();
        told.sort_by(|one, other| one.id.cmp(&other.id));
        if told == truth {
            return;
        }
        assert!(Instant::now() < deadline, "metadata keeps telling {told:#?}\nEC2: {truth:#?}");
        sleep(LOOK_EVERY).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_comes_to_tell_what_ec2_tells() {
    let (lab, cloud, node) = lab().await;
    assert_eq!(cloud.metadata_enis(&node).await.unwrap().len(), 1);
    assert_eq!(lab.all_calls(), 0, "metadata costs no EC2 call");

    let new = cloud.create_eni(&new_eni(&node, &lab.wide, Supply::Addresses(2))).await.unwrap();
    cloud.attach_eni(&node, &new.id, Seat { card: 0, device: 1 }).await.unwrap();
    eni_when(&cloud, &node, &new.id, settled).await;
    cloud.assign(&new.id, Supply::Prefixes(2)).await.unwrap();
    cloud.assign(&node.primary_eni, Supply::Ipv6Prefixes(1)).await.unwrap();
    cloud.assign(&node.primary_eni, Supply::Addresses(3)).await.unwrap();
    cloud.set_security_groups(&new.id, std::slice::from_ref(&lab.other_group)).await.unwrap();
    metadata_agrees(&cloud, &node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sources_show_an_efa_only_eni_and_neither_as_ours() {
    let (lab, cloud, node) = lab().await;
    let (efa, seat) = (lab.create_efa_only(), Seat { card: 0, device: 1 });
    cloud.attach_eni(&node, &efa, seat).await.unwrap();
    let seen = eni_when(&cloud, &node, &efa, settled).await.unwrap();
    assert_eq!((seen.managed, seen.attachment.map(|at| at.seat)), (false, Some(seat)));
    metadata_agrees(&cloud, &node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ipv6_prefixes_come_from_the_subnets_range_and_leave_the_nodes_own_address_alone() {
    let (lab, cloud, node) = lab().await;
    assert_eq!(node.vpc_ipv6_cidrs, [VPC_IPV6.parse().unwrap()]);
    let subnets = cloud.subnets(&node.vpc, &node.zone, None).await.unwrap();
    let range = |id: &SubnetId| subnets.iter().find(|subnet| subnet.id == *id).unwrap().ipv6_cidr;
    assert_eq!((range(&lab.wide), range(&lab.narrow)), (WIDE_IPV6.parse().ok(), None));
    let (own, subnet) = (node.primary_ipv6.unwrap(), range(&lab.wide).unwrap());
    assert!(subnet.contains(&own));

    let given = cloud.assign(&node.primary_eni, Supply::Ipv6Prefixes(1)).await.unwrap();
    assert_eq!((given.addresses.len(), given.prefixes.len(), given.ipv6_prefixes.len()), (0, 0, 1));
    let prefix = given.ipv6_prefixes[0];
    assert!(prefix.prefix_len() == 80 && subnet.contains(&prefix) && !prefix.contains(&own));
    assert_eq!(lab.calls(Call::AssignIpv6Addresses), 1);
    assert_eq!(cloud.enis(&node).await.unwrap()[0].ipv6_prefixes, [prefix]);
    metadata_agrees(&cloud, &node).await;
    assert_eq!(cloud.identity().await.unwrap(), node, "a pod's address is never the node's");
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_ipv6_prefixes_say_what_to_do() {
    let (lab, cloud, node) = lab().await;
    let refused = async |eni: &EniId, count| {
        cloud.assign(eni, Supply::Ipv6Prefixes(count)).await.map_err(|error| error.kind).unwrap_err()
    };
    let narrow = cloud.create_eni(&new_eni(&node, &lab.narrow, Supply::Addresses(1))).await.unwrap();
    assert_eq!(refused(&narrow.id, 1).await, CloudErrorKind::Rejected, "the subnet has no IPv6");
    assert_eq!(refused(&node.primary_eni, 100).await, CloudErrorKind::LimitExceeded);
    assert_eq!(refused(&"eni-0123456789abcdef0".parse().unwrap(), 1).await, CloudErrorKind::Gone);
    lab.fail_next(Call::AssignIpv6Addresses, FaultKind::Throttle);
    assert_eq!(refused(&node.primary_eni, 1).await, CloudErrorKind::Throttled);
    lab.fail_next(Call::AssignIpv6Addresses, FaultKind::LostReply);
    assert_eq!(refused(&node.primary_eni, 1).await, CloudErrorKind::Unavailable);
    assert_eq!(cloud.enis(&node).await.unwrap()[0].ipv6_prefixes.len(), 1, "the lost reply had its effect");
    lab.deny(Call::AssignIpv6Addresses);
    assert_eq!(refused(&node.primary_eni, 1).await, CloudErrorKind::Denied);
}

#[tokio::test(flavor = "multi_thread")]
async fn security_groups_are_replaced_and_refusals_change_nothing() {
    let (lab, cloud, node) = lab().await;
    let eni = &node.primary_eni;
    let groups = async || cloud.enis(&node).await.unwrap()[0].security_groups.clone();
    assert_eq!(groups().await, node.security_groups);

    let mut both = node.security_groups.clone();
    both.push(lab.other_group.clone());
    for wanted in [&both[..], &both[1..]] {
        cloud.set_security_groups(eni, wanted).await.unwrap();
        assert_eq!(groups().await, wanted);
    }
    let stranger: SecurityGroupId = "sg-0123456789abcdef0".parse().unwrap();
    let unknown = cloud.set_security_groups(eni, &[stranger]).await.unwrap_err();
    assert_eq!(unknown.kind, CloudErrorKind::Gone, "{unknown}");
    lab.deny(Call::ModifyNetworkInterfaceAttribute);
    let denied = cloud.set_security_groups(eni, &node.security_groups).await.unwrap_err();
    assert_eq!(denied.kind, CloudErrorKind::Denied, "{denied}");
    assert_eq!(groups().await, both[1..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secondary_range_of_the_vpc_shows_without_an_ec2_call() {
    let (lab, cloud, node) = lab().await;
    let ranges = cloud.vpc_ranges(&node).await.unwrap();
    assert_eq!((&ranges.ipv4, &ranges.ipv6), (&node.vpc_cidrs, &node.vpc_ipv6_cidrs));

    lab.add_range("100.64.0.0/16");
    let both = [ranges.ipv4[0], "100.64.0.0/16".parse().unwrap()];
    let deadline = Instant::now() + PATIENCE;
    while cloud.vpc_ranges(&node).await.unwrap().ipv4 != both {
        assert!(Instant::now() < deadline, "the new range stays hidden");
        sleep(LOOK_EVERY).await;
    }
    assert_eq!(lab.all_calls(), 0);
}
