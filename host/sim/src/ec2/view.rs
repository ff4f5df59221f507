//! One node's view of EC2 in the engine's words: the `Cloud` port, method by method, without async.

use std::net::{Ipv4Addr, Ipv6Addr};

use enid_core::cloud::{
    Assigned, CloudEni, CloudError, CloudErrorKind, CloudSubnet, EniAttachment, NewEni, NodeIdentity, Orphan,
    Supply, VpcRanges,
};
use enid_core::ids::{EniAttachmentId, EniId, InstanceId, SecurityGroupId, VpcId};
use enid_core::limits::InstanceType;
use enid_core::snapshot::{ClusterTag, RoleTag};
use enid_core::time::Timestamp;
use enid_core::wiring::Seat;
use ipnet::Ipv4Net;

use super::assignment::{AssignPrivateIpAddresses, Given, UnassignPrivateIpAddresses};
use super::call::Call;
use super::describe::Query;
use super::filter::Filter;
use super::interface::{
    AttachmentState, CreateNetworkInterface, InterfaceChange, InterfaceType, NetworkInterface, Secondary,
};
use super::ipv6::{AssignIpv6Addresses, Ipv6Supply};
use super::metadata::Metadata;
use super::refusal::CallError;
use super::{Ec2, Tags};

/// ENIs with this tag set to `true` are not ours to change.
const NO_MANAGE: &str = "node.k8s.amazonaws.com/no_manage";
/// Whom an ENI was created for.
const INSTANCE: &str = "node.k8s.amazonaws.com/instance_id";
/// When it was created.
const CREATED: &str = "node.k8s.amazonaws.com/createdAt";
/// In which cluster.
const CLUSTER_NAME: &str = "cluster.k8s.amazonaws.com/name";
/// How the description begins of an ENI that was created for pods.
const FOR_PODS: &str = "aws-K8S-";
/// Whether pods may use a subnet.
const ROLE: &str = "kubernetes.io/role/cni";
/// Which cluster a subnet belongs to; the name follows.
const CLUSTER: &str = "cni.networking.k8s.aws/cluster/";

/// The `Cloud` port of one instance at one moment.
#[derive(Debug)]
pub struct NodeView<'a> {
    ec2: &'a mut Ec2,
    instance: InstanceId,
    now: Timestamp,
}

impl Ec2 {
    /// What the daemon on `instance` can ask and do at `now`.
    pub fn node_view(&mut self, instance: &InstanceId, now: Timestamp) -> NodeView<'_> {
        NodeView { ec2: self, instance: instance.clone(), now }
    }
}

impl NodeView<'_> {
    /// Who this node is: metadata only.
    pub fn identity(&mut self) -> Result<NodeIdentity, CloudError> {
        let metadata = self.metadata()?;
        let primary = metadata.interfaces.first().ok_or_else(gone)?;
        let delegated = |address: &Ipv6Addr| primary.ipv6_prefixes.iter().any(|net| net.contains(address));
        Ok(NodeIdentity {
            instance: self.instance.clone(),
            instance_type: metadata.instance.instance_type.name.clone(),
            region: metadata.region.clone(),
            zone: metadata.instance.zone.clone(),
            vpc: primary.vpc.clone(),
            primary_eni: primary.id.clone(),
            primary_mac: primary.mac,
            primary_address: primary.primary.ok_or_else(gone)?,
            subnet: primary.subnet.clone(),
            security_groups: primary.groups.clone(),
            vpc_cidrs: metadata.vpc.ipv4.clone(),
            primary_ipv6: primary.ipv6_addresses.iter().copied().find(|address| !delegated(address)),
            vpc_ipv6_cidrs: metadata.vpc.ipv6.clone(),
            pod_ranges: Vec::new(),
        })
    }

    /// The ENIs as metadata knows them, in seat order.
    pub fn metadata_enis(&mut self, _: &NodeIdentity) -> Result<Vec<CloudEni>, CloudError> {
        let metadata = self.metadata()?;
        let known = metadata.interfaces.iter().zip(&metadata.subnet_cidrs);
        let known = known.map(|(eni, cidr)| {
            let attachment = eni.attachment.as_ref().map(|at| EniAttachment {
                id: None,
                seat: at.seat,
                // Metadata shows an ENI once it is attached, and does not tell the rest.
                settled: true,
                delete_on_termination: false,
            });
            CloudEni {
                attachment,
                managed: eni.primary.is_some(),
                created_for_pods: false,
                ..self.cloud_eni(eni, *cidr)
            }
        });
        Ok(known.collect())
    }

    /// The VPC's ranges: metadata only.
    pub fn vpc_ranges(&mut self, _: &NodeIdentity) -> Result<VpcRanges, CloudError> {
        Ok(self.metadata()?.vpc)
    }

    /// `DescribeInstanceTypes` for one type.
    pub fn instance_type(&mut self, name: &str) -> Result<InstanceType, CloudError> {
        let query = Query { ids: vec![name.to_owned()], ..Query::default() };
        let page =
            self.ec2.describe_instance_types(self.now, &query).map_err(of(Call::DescribeInstanceTypes))?;
        page.items.into_iter().next().ok_or_else(|| CloudError {
            call: Call::DescribeInstanceTypes.name().to_owned(),
            kind: CloudErrorKind::Gone,
            message: format!("no instance type {name}"),
        })
    }

    /// `DescribeNetworkInterfaces` of this instance, in seat order.
    pub fn enis(&mut self, identity: &NodeIdentity) -> Result<Vec<CloudEni>, CloudError> {
        let query = Query::matching([Filter::is("attachment.instance-id", identity.instance.as_str())]);
        let page = self.ec2.describe_network_interfaces(self.now, &query);
        let mut found = page.map_err(of(Call::DescribeNetworkInterfaces))?.items;
        found.sort_by_key(|eni| eni.attachment.as_ref().map(|at| at.seat));
        Ok(found.iter().map(|eni| self.described(eni)).collect())
    }

    /// `DescribeSubnets` in a VPC and zone.
    pub fn subnets(
        &mut self,
        vpc: &VpcId,
        zone: &str,
        cluster: Option<&str>,
    ) -> Result<Vec<CloudSubnet>, CloudError> {
        let query =
            Query::matching([Filter::is("vpc-id", vpc.as_str()), Filter::is("availability-zone", zone)]);
        let page = self.ec2.describe_subnets(self.now, &query).map_err(of(Call::DescribeSubnets))?;
        let subnets = page.items.into_iter().map(|subnet| CloudSubnet {
            free: subnet.free(),
            role: role(&subnet.tags),
            cluster: cluster_tag(&subnet.tags, cluster),
            id: subnet.id,
            zone: subnet.zone,
            cidr: subnet.cidr,
            ipv6_cidr: subnet.ipv6_cidr,
        });
        Ok(subnets.collect())
    }

    /// `DescribeNetworkInterfaces` of ENIs that are attached to nothing and were created for pods: of the cluster, or
    /// of this instance when it has no name.
    pub fn orphans(
        &mut self,
        identity: &NodeIdentity,
        cluster: Option<&str>,
    ) -> Result<Vec<Orphan>, CloudError> {
        let ours = match cluster {
            Some(cluster) => Filter::is(&format!("tag:{CLUSTER_NAME}"), cluster),
            None => Filter::is(&format!("tag:{INSTANCE}"), identity.instance.as_str()),
        };
        let query = Query::matching([
            Filter::is("vpc-id", identity.vpc.as_str()),
            Filter::is("status", "available"),
            Filter::is("tag-key", INSTANCE),
            ours,
        ]);
        let page = self.ec2.describe_network_interfaces(self.now, &query);
        let found = page.map_err(of(Call::DescribeNetworkInterfaces))?.items;
        Ok(found.iter().filter_map(orphan).collect())
    }

    /// `CreateNetworkInterface`.
    pub fn create_eni(&mut self, new: &NewEni) -> Result<CloudEni, CloudError> {
        let secondary = match new.supply {
            Supply::Addresses(count) => Secondary::Addresses(count),
            Supply::Prefixes(count) => Secondary::Prefixes(count),
            Supply::Ipv6Prefixes(0) => Secondary::None,
            Supply::Ipv6Prefixes(_) => {
                let why = "IPv6 prefixes are assigned to an ENI that exists";
                return Err(nonsense(Call::CreateNetworkInterface, why));
            }
        };
        let request = CreateNetworkInterface {
            secondary,
            groups: new.security_groups.clone(),
            description: new.description.clone(),
            tags: new.tags.iter().cloned().collect(),
            client_token: Some(new.client_token.clone()).filter(|token| !token.is_empty()),
            ..CreateNetworkInterface::within(new.subnet.clone())
        };
        let eni = self.ec2.create_network_interface(self.now, &request);
        Ok(self.described(&eni.map_err(of(Call::CreateNetworkInterface))?))
    }

    /// `AttachNetworkInterface`.
    pub fn attach_eni(
        &mut self,
        identity: &NodeIdentity,
        eni: &EniId,
        seat: Seat,
    ) -> Result<EniAttachmentId, CloudError> {
        let attached = self.ec2.attach_network_interface(self.now, eni, &identity.instance, seat);
        attached.map_err(of(Call::AttachNetworkInterface))
    }

    /// `ModifyNetworkInterfaceAttribute`: delete with the instance.
    pub fn delete_with_instance(
        &mut self,
        eni: &EniId,
        attachment: &EniAttachmentId,
    ) -> Result<(), CloudError> {
        let change = InterfaceChange::DeleteOnTermination { attachment: attachment.clone(), delete: true };
        let changed = self.ec2.modify_network_interface_attribute(self.now, eni, &change);
        changed.map_err(of(Call::ModifyNetworkInterfaceAttribute))
    }

    /// `ModifyNetworkInterfaceAttribute`: security groups.
    pub fn set_security_groups(&mut self, eni: &EniId, groups: &[SecurityGroupId]) -> Result<(), CloudError> {
        let change = InterfaceChange::Groups(groups.to_vec());
        let changed = self.ec2.modify_network_interface_attribute(self.now, eni, &change);
        changed.map_err(of(Call::ModifyNetworkInterfaceAttribute))
    }

    /// `DetachNetworkInterface`.
    pub fn detach_eni(&mut self, attachment: &EniAttachmentId) -> Result<(), CloudError> {
        let detached = self.ec2.detach_network_interface(self.now, attachment);
        detached.map_err(of(Call::DetachNetworkInterface))
    }

    /// `DeleteNetworkInterface`.
    pub fn delete_eni(&mut self, eni: &EniId) -> Result<(), CloudError> {
        self.ec2.delete_network_interface(self.now, eni).map_err(of(Call::DeleteNetworkInterface))
    }

    /// `AssignPrivateIpAddresses` or `AssignIpv6Addresses`; nothing at all needs no call.
    pub fn assign(&mut self, eni: &EniId, supply: Supply) -> Result<Assigned, CloudError> {
        let secondary = match supply {
            Supply::Addresses(0) | Supply::Prefixes(0) | Supply::Ipv6Prefixes(0) => {
                return Ok(Assigned::default());
            }
            Supply::Addresses(count) => Secondary::Addresses(count),
            Supply::Prefixes(count) => Secondary::Prefixes(count),
            Supply::Ipv6Prefixes(count) => return self.assign_ipv6_prefixes(eni, count),
        };
        let request = AssignPrivateIpAddresses { eni: eni.clone(), secondary, allow_reassignment: false };
        let given = self.ec2.assign_private_ip_addresses(self.now, &request);
        let Given { addresses, prefixes } = given.map_err(of(Call::AssignPrivateIpAddresses))?;
        Ok(Assigned { addresses, prefixes, ipv6_prefixes: Vec::new() })
    }

    fn assign_ipv6_prefixes(&mut self, eni: &EniId, count: u32) -> Result<Assigned, CloudError> {
        let request = AssignIpv6Addresses { eni: eni.clone(), supply: Ipv6Supply::Prefixes(count) };
        let given = self.ec2.assign_ipv6_addresses(self.now, &request);
        let ipv6_prefixes = given.map_err(of(Call::AssignIpv6Addresses))?.prefixes;
        Ok(Assigned { ipv6_prefixes, ..Assigned::default() })
    }

    /// `UnassignPrivateIpAddresses`.
    pub fn unassign(&mut self, eni: &EniId, give_back: &Assigned) -> Result<(), CloudError> {
        if !give_back.ipv6_prefixes.is_empty() {
            let why = "IPv6 prefixes stay with their ENI";
            return Err(nonsense(Call::UnassignPrivateIpAddresses, why));
        }
        let request = UnassignPrivateIpAddresses {
            eni: eni.clone(),
            addresses: give_back.addresses.clone(),
            prefixes: give_back.prefixes.clone(),
        };
        let unassigned = self.ec2.unassign_private_ip_addresses(self.now, &request);
        unassigned.map_err(of(Call::UnassignPrivateIpAddresses))
    }

    /// How long the answer to `call` takes; see [`Ec2::latency`].
    pub fn latency(&mut self, call: Call) -> std::time::Duration {
        self.ec2.latency(call)
    }

    fn metadata(&mut self) -> Result<Metadata, CloudError> {
        self.ec2.metadata(self.now, &self.instance).ok_or_else(gone)
    }

    /// An ENI as EC2 describes it now.
    fn described(&self, eni: &NetworkInterface) -> CloudEni {
        let subnet = self.ec2.subnets.get(&eni.subnet);
        self.cloud_eni(eni, subnet.expect("invariant: subnets are never removed").cidr)
    }

    fn cloud_eni(&self, eni: &NetworkInterface, subnet_cidr: Ipv4Net) -> CloudEni {
        CloudEni {
            id: eni.id.clone(),
            mac: eni.mac,
            subnet: eni.subnet.clone(),
            subnet_cidr,
            primary_address: eni.primary.unwrap_or(Ipv4Addr::UNSPECIFIED),
            addresses: eni.secondary.clone(),
            prefixes: eni.prefixes.clone(),
            ipv6_prefixes: eni.ipv6_prefixes.clone(),
            security_groups: eni.groups.clone(),
            attachment: eni.attachment.as_ref().map(|at| EniAttachment {
                id: Some(at.id.clone()),
                seat: at.seat,
                settled: at.state == AttachmentState::Attached,
                delete_on_termination: at.delete_on_termination,
            }),
            managed: self.is_managed(eni),
            created_for_pods: self.is_created_for_pods(eni),
        }
    }

    /// The primary ENI always is; of the others those with addresses that are not tagged away.
    fn is_managed(&self, eni: &NetworkInterface) -> bool {
        let tagged_away = eni.tags.get(NO_MANAGE).is_some_and(|value| value == "true");
        eni.attachment.as_ref().is_some_and(|at| at.seat == Seat::PRIMARY)
            || eni.primary.is_some() && !tagged_away
    }

    /// An EFA never is: somebody's job needs it.
    fn is_created_for_pods(&self, eni: &NetworkInterface) -> bool {
        let for_us = eni.description == format!("aws-K8S-{}", self.instance)
            || eni.tags.get(INSTANCE).is_some_and(|value| value == self.instance.as_str());
        match eni.interface_type {
            InterfaceType::Interface => for_us,
            InterfaceType::Efa | InterfaceType::EfaOnly => false,
        }
    }
}

fn of(call: Call) -> impl FnOnce(CallError) -> CloudError {
    move |error| error.into_cloud_error(call)
}

fn gone() -> CloudError {
    CloudError::unanswered("IMDS", "the instance is gone")
}

/// What no client can put on the wire.
fn nonsense(call: Call, why: &str) -> CloudError {
    CloudError { call: call.name().to_owned(), kind: CloudErrorKind::Rejected, message: why.to_owned() }
}

/// An ENI that was created for pods and may be swept; others are somebody's.
fn orphan(eni: &NetworkInterface) -> Option<Orphan> {
    let for_pods = match eni.interface_type {
        InterfaceType::Interface => eni.description.starts_with(FOR_PODS),
        InterfaceType::Efa | InterfaceType::EfaOnly => false,
    };
    let tagged_away = eni.tags.get(NO_MANAGE).is_some_and(|value| value == "true");
    let instance = eni.tags.get(INSTANCE)?.parse().ok()?;
    let created = eni.tags.get(CREATED).and_then(|text| Timestamp::from_rfc3339(text));
    let sweepable = for_pods && !tagged_away && eni.attachment.is_none();
    sweepable.then(|| Orphan { id: eni.id.clone(), instance, created })
}

fn role(tags: &Tags) -> RoleTag {
    match tags.get(ROLE).map(String::as_str) {
        None | Some("") => RoleTag::Absent,
        Some("0") => RoleTag::Excluded,
        Some(_) => RoleTag::Included,
    }
}

fn cluster_tag(tags: &Tags, ours: Option<&str>) -> ClusterTag {
    let named: Vec<&str> = tags.keys().filter_map(|key| key.strip_prefix(CLUSTER)).collect();
    match ours.filter(|name| !name.is_empty()) {
        None => ClusterTag::Any,
        Some(_) if named.is_empty() => ClusterTag::Any,
        Some(ours) if named.contains(&ours) => ClusterTag::Ours,
        Some(_) => ClusterTag::Foreign,
    }
}
