//! The AWS adapter against EC2s that speak the real wire: moto's, which others wrote, and our own.
#![expect(clippy::unwrap_used, reason = "a test that cannot arrange its world fails")]

mod address_modes;
mod lab;
mod moto;

use std::time::Duration;

use enid_cloud_aws::{AwsCloud, Options};
use enid_core::cloud::{Assigned, CloudEni, CloudError, CloudErrorKind, NewEni, NodeIdentity, Supply};
use enid_core::ids::{EniId, SubnetId};
use enid_core::instance_types;
use enid_core::snapshot::{ClusterTag, RoleTag};
use enid_core::wiring::Seat;
use enid_engine::ports::Cloud;
use enid_sim::ec2::call::Call;
use enid_sim::ec2::fault::FaultKind;
use lab::LabNode;
use moto::MotoNode;
use tokio::time::{Instant, sleep};

/// How long EC2 may take to attach or detach.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a change is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(50);

fn cloud(ec2: &str, imds: &str) -> AwsCloud {
    let options = Options {
        ec2_endpoint: Some(ec2.to_owned()),
        imds_endpoint: Some(imds.to_owned()),
        ..Options::default()
    };
    AwsCloud::connect(options).unwrap()
}

fn new_eni(node: &NodeIdentity, subnet: &SubnetId, supply: Supply) -> NewEni {
    NewEni {
        subnet: subnet.clone(),
        security_groups: node.security_groups.clone(),
        supply,
        description: format!("aws-K8S-{}", node.instance),
        tags: vec![("node.k8s.amazonaws.com/instance_id".to_owned(), node.instance.to_string())],
        client_token: format!("test-{subnet}-{supply:?}"),
    }
}

/// The node's ENI `id` as soon as `fits` says so; `None` stands for not being there.
async fn eni_when(
    cloud: &AwsCloud,
    node: &NodeIdentity,
    id: &EniId,
    fits: impl Fn(Option<&CloudEni>) -> bool,
) -> Option<CloudEni> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let enis = cloud.enis(node).await.unwrap();
        let found = enis.into_iter().find(|eni| eni.id == *id);
        if fits(found.as_ref()) {
            return found;
        }
        assert!(Instant::now() < deadline, "{id} stays {found:?}");
        sleep(LOOK_EVERY).await;
    }
}

fn settled(eni: Option<&CloudEni>) -> bool {
    eni.and_then(|eni| eni.attachment.as_ref()).is_some_and(|at| at.settled)
}

/// What must hold on any EC2: an ENI comes with addresses, gets more, gives some back, and goes.
async fn an_eni_lives_and_goes(cloud: &AwsCloud, node: &NodeIdentity, subnet: &SubnetId) {
    let created = cloud.create_eni(&new_eni(node, subnet, Supply::Addresses(3))).await.unwrap();
    assert_eq!((created.addresses.len(), &created.subnet, created.managed), (3, subnet, true));
    assert!(created.addresses.iter().all(|address| created.subnet_cidr.contains(address)));
    assert!(!created.addresses.contains(&created.primary_address));
    assert_eq!(created.security_groups, node.security_groups);

    let seat = Seat { card: 0, device: 1 };
    let attachment = cloud.attach_eni(node, &created.id, seat).await.unwrap();
    let attached = eni_when(cloud, node, &created.id, settled).await.unwrap();
    assert_eq!(
        attached.attachment.as_ref().map(|at| (at.id.as_ref(), at.seat)),
        Some((Some(&attachment), seat))
    );
    assert_eq!((attached.mac, attached.subnet_cidr), (created.mac, created.subnet_cidr));
    cloud.delete_with_instance(&created.id, &attachment).await.unwrap();
    cloud.set_security_groups(&created.id, &node.security_groups).await.unwrap();

    let more = cloud.assign(&created.id, Supply::Addresses(2)).await.unwrap();
    let holding =
        eni_when(cloud, node, &created.id, |eni| eni.is_some_and(|eni| eni.addresses.len() == 5)).await;
    let held = holding.unwrap().addresses;
    assert!(created.addresses.iter().all(|address| held.contains(address)));
    assert!(
        more.addresses.iter().all(|address| held.contains(address) || *address == created.primary_address)
    );

    let back = Assigned { addresses: created.addresses.clone(), ..Assigned::default() };
    cloud.unassign(&created.id, &back).await.unwrap();
    let holding =
        eni_when(cloud, node, &created.id, |eni| eni.is_some_and(|eni| eni.addresses.len() == 2)).await;
    assert!(holding.unwrap().addresses.iter().all(|address| !created.addresses.contains(address)));

    cloud.detach_eni(&attachment).await.unwrap();
    eni_when(cloud, node, &created.id, |eni| eni.is_none()).await;
    cloud.delete_eni(&created.id).await.unwrap();
    let again = cloud.delete_eni(&created.id).await.unwrap_err();
    assert_eq!(again.kind, CloudErrorKind::Gone, "{again}");
    let detached_twice = cloud.detach_eni(&attachment).await.unwrap_err();
    assert_eq!(detached_twice.kind, CloudErrorKind::Gone, "{detached_twice}");
}

#[tokio::test(flavor = "multi_thread")]
async fn moto_and_the_adapter_agree_where_moto_is_right() {
    let moto = MotoNode::start().unwrap();
    let cloud = cloud(&moto.ec2, &moto.imds);
    let node = cloud.identity().await.unwrap();

    let enis = cloud.enis(&node).await.unwrap();
    assert_eq!(enis.len(), 1);
    assert_eq!(
        (&enis[0].id, enis[0].mac, enis[0].primary_address),
        (&node.primary_eni, node.primary_mac, node.primary_address)
    );
    assert_eq!(enis[0].attachment.as_ref().map(|at| at.seat), Some(Seat::PRIMARY));

    let subnets = cloud.subnets(&node.vpc, &node.zone, Some("green")).await.unwrap();
    let second: SubnetId = moto.second_subnet.parse().unwrap();
    let tags = |id: &SubnetId| {
        subnets.iter().find(|subnet| subnet.id == *id).map(|found| (found.role, found.cluster))
    };
    assert_eq!(tags(&node.subnet), Some((RoleTag::Absent, ClusterTag::Any)));
    assert_eq!(tags(&second), Some((RoleTag::Included, ClusterTag::Foreign)));

    an_eni_lives_and_goes(&cloud, &node, &second).await;

    for name in ["t3.small", "m5.large", "c5.4xlarge", "m5.metal", "t2.micro", "p5.48xlarge", "i7ie.48xlarge"]
    {
        assert_eq!(Some(cloud.instance_type(name).await.unwrap()), instance_types::lookup(name), "{name}");
    }
    let unknown = cloud.instance_type("z9.huge").await.unwrap_err();
    assert_eq!(unknown.kind, CloudErrorKind::Rejected, "{unknown}");
}

async fn lab() -> (LabNode, AwsCloud, NodeIdentity) {
    let lab = LabNode::start().await;
    let cloud = cloud(&lab.api, &lab.imds);
    let node = cloud.identity().await.unwrap();
    (lab, cloud, node)
}

#[tokio::test(flavor = "multi_thread")]
async fn our_ec2_and_the_adapter_agree() {
    let (lab, cloud, node) = lab().await;
    assert_eq!((node.instance_type.as_str(), &node.subnet), ("m5.large", &lab.wide));
    assert_eq!(lab.all_calls(), 0, "the identity comes from metadata alone");

    let enis = cloud.enis(&node).await.unwrap();
    assert_eq!((enis.len(), &enis[0].id, enis[0].mac), (1, &node.primary_eni, node.primary_mac));
    assert_eq!(enis[0].subnet_cidr, "10.0.1.0/24".parse().unwrap());
    assert!(enis[0].managed && enis[0].attachment.as_ref().is_some_and(|at| at.delete_on_termination));
    assert_eq!(lab.all_calls(), 1, "the subnet's range comes from metadata");

    let subnets = cloud.subnets(&node.vpc, &node.zone, Some("blue")).await.unwrap();
    let seen = |id: &SubnetId| {
        let found = subnets.iter().find(|subnet| subnet.id == *id).unwrap();
        (found.free, found.role, found.cluster)
    };
    assert_eq!(seen(&lab.wide), (250, RoleTag::Absent, ClusterTag::Any));
    assert_eq!(seen(&lab.narrow), (11, RoleTag::Included, ClusterTag::Ours));
    assert_eq!(cloud.instance_type("m5.large").await.ok(), instance_types::lookup("m5.large"));

    an_eni_lives_and_goes(&cloud, &node, &lab.narrow).await;
    for call in [
        Call::CreateNetworkInterface,
        Call::AttachNetworkInterface,
        Call::AssignPrivateIpAddresses,
        Call::UnassignPrivateIpAddresses,
    ] {
        assert_eq!(lab.calls(call), 1, "{call}");
    }
    assert_eq!(lab.calls(Call::ModifyNetworkInterfaceAttribute), 2, "for its end and for its groups");
    assert_eq!(lab.calls(Call::DescribeSubnets), 1, "ranges are remembered");
}

#[tokio::test(flavor = "multi_thread")]
async fn assigning_reports_only_what_is_new() {
    let (_lab, cloud, node) = lab().await;
    let eni = &node.primary_eni;
    let first = cloud.assign(eni, Supply::Addresses(2)).await.unwrap();
    let second = cloud.assign(eni, Supply::Addresses(1)).await.unwrap();
    assert_eq!((first.addresses.len(), second.addresses.len()), (2, 1));
    assert!(!first.addresses.contains(&second.addresses[0]));
    let prefixes = cloud.assign(eni, Supply::Prefixes(2)).await.unwrap();
    assert_eq!((prefixes.addresses.len(), prefixes.prefixes.len()), (0, 2));

    let seen = &cloud.enis(&node).await.unwrap()[0];
    assert_eq!((seen.addresses.len(), seen.prefixes.len()), (3, 2));
    let all = Assigned {
        addresses: seen.addresses.clone(),
        prefixes: seen.prefixes.clone(),
        ..Assigned::default()
    };
    cloud.unassign(eni, &all).await.unwrap();
    let seen = &cloud.enis(&node).await.unwrap()[0];
    assert_eq!((seen.addresses.len(), seen.prefixes.len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_has_the_kind_that_says_what_to_do() {
    let (lab, cloud, node) = lab().await;
    let eni = &node.primary_eni;
    let kind = |result: Result<Assigned, CloudError>| result.map_err(|error| error.kind).unwrap_err();

    assert_eq!(kind(cloud.assign(eni, Supply::Addresses(10)).await), CloudErrorKind::LimitExceeded);
    let gone: EniId = "eni-0123456789abcdef0".parse().unwrap();
    assert_eq!(kind(cloud.assign(&gone, Supply::Addresses(1)).await), CloudErrorKind::Gone);
    lab.fail_next(Call::AssignPrivateIpAddresses, FaultKind::Throttle);
    assert_eq!(kind(cloud.assign(eni, Supply::Addresses(1)).await), CloudErrorKind::Throttled);
    lab.fail_next(Call::AssignPrivateIpAddresses, FaultKind::LostReply);
    assert_eq!(kind(cloud.assign(eni, Supply::Addresses(1)).await), CloudErrorKind::Unavailable);
    assert_eq!(cloud.enis(&node).await.unwrap()[0].addresses.len(), 1, "the lost reply had its effect");

    let kind = |result: Result<CloudEni, CloudError>| result.map_err(|error| error.kind).unwrap_err();
    let prefixes = cloud.create_eni(&new_eni(&node, &lab.narrow, Supply::Prefixes(1))).await;
    assert_eq!(kind(prefixes), CloudErrorKind::NoFreeBlocks);
    let addresses = cloud.create_eni(&new_eni(&node, &lab.narrow, Supply::Addresses(49))).await;
    assert_eq!(kind(addresses), CloudErrorKind::NoFreeAddresses);

    let spare = cloud.create_eni(&new_eni(&node, &lab.wide, Supply::Addresses(1))).await.unwrap();
    let taken = cloud.attach_eni(&node, &spare.id, Seat::PRIMARY).await.unwrap_err();
    assert_eq!(taken.kind, CloudErrorKind::Conflict, "{taken}");
    let attached = cloud.delete_eni(eni).await.unwrap_err();
    assert_eq!(attached.kind, CloudErrorKind::Conflict, "{attached}");
    lab.deny(Call::DeleteNetworkInterface);
    let denied = cloud.delete_eni(&spare.id).await.unwrap_err();
    assert_eq!(denied.kind, CloudErrorKind::Denied, "{denied}");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_enis_than_the_type_allows_is_limit_exceeded() {
    let (lab, cloud, node) = lab().await;
    for device in 1..3 {
        let mut new = new_eni(&node, &lab.wide, Supply::Addresses(1));
        new.client_token = format!("eni-{device}");
        let eni = cloud.create_eni(&new).await.unwrap();
        cloud.attach_eni(&node, &eni.id, Seat { card: 0, device }).await.unwrap();
    }
    let fourth = cloud.create_eni(&new_eni(&node, &lab.wide, Supply::Addresses(1))).await.unwrap();
    let refused = cloud.attach_eni(&node, &fourth.id, Seat { card: 0, device: 3 }).await.unwrap_err();
    assert_eq!(refused.kind, CloudErrorKind::LimitExceeded, "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn creating_again_after_a_lost_reply_finds_the_same_eni() {
    let (lab, cloud, node) = lab().await;
    let new = new_eni(&node, &lab.wide, Supply::Addresses(4));
    lab.fail_next(Call::CreateNetworkInterface, FaultKind::LostReply);
    let lost = cloud.create_eni(&new).await.unwrap_err();
    assert_eq!(lost.kind, CloudErrorKind::Unavailable, "{lost}");
    let first = cloud.create_eni(&new).await.unwrap();
    let second = cloud.create_eni(&new).await.unwrap();
    assert_eq!(first, second);
    let free = cloud.subnets(&node.vpc, &node.zone, None).await.unwrap();
    assert_eq!(free.iter().find(|subnet| subnet.id == lab.wide).map(|subnet| subnet.free), Some(245));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_eni_tagged_away_is_left_alone() {
    let (lab, cloud, node) = lab().await;
    let mut new = new_eni(&node, &lab.wide, Supply::Addresses(1));
    new.tags.push(("node.k8s.amazonaws.com/no_manage".to_owned(), "true".to_owned()));
    let theirs = cloud.create_eni(&new).await.unwrap();
    assert!(!theirs.managed);
    cloud.attach_eni(&node, &theirs.id, Seat { card: 0, device: 1 }).await.unwrap();
    let seen = eni_when(&cloud, &node, &theirs.id, |eni| eni.is_some()).await.unwrap();
    assert!(!seen.managed);
}
