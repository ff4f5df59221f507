//! The ports: what the engine needs from the world, in domain types.
//!
//! Adapters translate and never decide. Every future may be dropped; an adapter must not be left in a
//! state that a later call cannot mend.

use std::future::Future;
use std::os::fd::OwnedFd;

use enid_core::cloud::{
    Assigned, CloudEni, CloudError, CloudSubnet, NewEni, NodeIdentity, Supply, VpcRanges,
};
use enid_core::event::{KernelView, Record};
use enid_core::ids::{EniAttachmentId, EniId, IfName, Mac, SecurityGroupId, VpcId};
use enid_core::limits::InstanceType;
use enid_core::proposal::Band;
use enid_core::report::Decision;
use enid_core::snapshot::{MaxPodsSnapshot, SubnetSnapshot, WarmPoolSnapshot};
use enid_core::wiring::{EniWiring, NodeWiring, PodWiring, Seat};

/// EC2 and instance metadata.
///
/// Every method makes at most the calls its name says and does not retry: the engine does, by
/// [`enid_core::cloud::CloudErrorKind`]. `Unavailable` means that the outcome is unknown.
pub trait Cloud: Send + Sync + 'static {
    /// Who this node is: IMDSv2 only, no EC2 call.
    fn identity(&self) -> impl Future<Output = Result<NodeIdentity, CloudError>> + Send;
    /// `DescribeInstanceTypes` for one type.
    fn instance_type(&self, name: &str) -> impl Future<Output = Result<InstanceType, CloudError>> + Send;
    /// `DescribeNetworkInterfaces` filtered by this instance: all ENIs attached to it.
    fn enis(&self, identity: &NodeIdentity)
    -> impl Future<Output = Result<Vec<CloudEni>, CloudError>> + Send;
    /// The same from instance metadata, without an EC2 call. Metadata knows no tags, no attachment ids and no
    /// security groups of an ENI that is being attached: all ENIs with an IPv4 address count as managed, none as
    /// created for pods.
    fn metadata_enis(
        &self,
        identity: &NodeIdentity,
    ) -> impl Future<Output = Result<Vec<CloudEni>, CloudError>> + Send;
    /// The VPC's ranges now: IMDSv2 only.
    fn vpc_ranges(
        &self,
        identity: &NodeIdentity,
    ) -> impl Future<Output = Result<VpcRanges, CloudError>> + Send;
    /// `DescribeSubnets` in the VPC and zone, tags read. `cluster` is the configured cluster name.
    fn subnets(
        &self,
        vpc: &VpcId,
        zone: &str,
        cluster: Option<&str>,
    ) -> impl Future<Output = Result<Vec<CloudSubnet>, CloudError>> + Send;
    /// `CreateNetworkInterface`.
    fn create_eni(&self, new: &NewEni) -> impl Future<Output = Result<CloudEni, CloudError>> + Send;
    /// `AttachNetworkInterface`; returns as soon as EC2 accepts.
    fn attach_eni(
        &self,
        identity: &NodeIdentity,
        eni: &EniId,
        seat: Seat,
    ) -> impl Future<Output = Result<EniAttachmentId, CloudError>> + Send;
    /// `ModifyNetworkInterfaceAttribute`: `Attachment.DeleteOnTermination = true`.
    fn delete_with_instance(
        &self,
        eni: &EniId,
        attachment: &EniAttachmentId,
    ) -> impl Future<Output = Result<(), CloudError>> + Send;
    /// `ModifyNetworkInterfaceAttribute`: `Groups`.
    fn set_security_groups(
        &self,
        eni: &EniId,
        groups: &[SecurityGroupId],
    ) -> impl Future<Output = Result<(), CloudError>> + Send;
    /// `DetachNetworkInterface`; returns as soon as EC2 accepts.
    fn detach_eni(&self, attachment: &EniAttachmentId)
    -> impl Future<Output = Result<(), CloudError>> + Send;
    /// `DeleteNetworkInterface`.
    fn delete_eni(&self, eni: &EniId) -> impl Future<Output = Result<(), CloudError>> + Send;
    /// `AssignPrivateIpAddresses`, or `AssignIpv6Addresses` for IPv6 prefixes: only what is new.
    fn assign(
        &self,
        eni: &EniId,
        supply: Supply,
    ) -> impl Future<Output = Result<Assigned, CloudError>> + Send;
    /// `UnassignPrivateIpAddresses`.
    fn unassign(
        &self,
        eni: &EniId,
        give_back: &Assigned,
    ) -> impl Future<Output = Result<(), CloudError>> + Send;
}

/// What the kernel said after wiring a pod: its interfaces in the order of
/// [`PodWiring::links`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wired(pub Vec<Macs>);

/// The MACs of one pod interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Macs {
    /// Of the host end.
    pub host: Mac,
    /// Of the pod end.
    pub pod: Mac,
}

/// Why the kernel could not be changed or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DatapathError {
    /// The ENI's link has not appeared (yet): hot-plug takes seconds.
    #[error("no link with MAC {mac}")]
    NoSuchLink {
        /// The MAC looked for.
        mac: Mac,
    },
    /// The pod already has an interface of that name which is not ours.
    #[error("the pod already has an interface `{ifname}`")]
    IfNameTaken {
        /// The name.
        ifname: IfName,
    },
    /// The namespace descriptor is not a network namespace, or it is the host's own.
    #[error("not a pod network namespace: {why}")]
    BadNamespace {
        /// What is wrong with it.
        why: String,
    },
    /// A kernel request failed.
    #[error("{attempt}: {why}")]
    Kernel {
        /// What was attempted, on what: `add route 10.0.1.7/32 dev eni…`.
        attempt: String,
        /// The kernel's answer.
        why: String,
    },
}

/// A difference between what should be in the kernel and what is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    /// What is missing or wrong, for people: `rule to 10.0.1.7 lookup main (512)`.
    pub what: String,
}

/// The kernel. Everything is idempotent: asking for what is there already succeeds and changes nothing.
pub trait Datapath: Send + Sync + 'static {
    /// Sysctls, the nftables table and the mark rule; applied atomically where the kernel allows.
    fn set_up_node(&self, node: &NodeWiring) -> impl Future<Output = Result<(), DatapathError>> + Send;
    /// Makes before it breaks: never removes what is right already.
    fn set_up_eni(&self, eni: &EniWiring) -> impl Future<Output = Result<(), DatapathError>> + Send;
    /// Removes the ENI's rule and table; the link leaves with the ENI.
    fn tear_down_eni(&self, eni: &EniWiring) -> impl Future<Output = Result<(), DatapathError>> + Send;
    /// Wires a pod. On failure nothing of it is left.
    fn wire_pod(
        &self,
        pod: &PodWiring,
        netns: OwnedFd,
    ) -> impl Future<Output = Result<Wired, DatapathError>> + Send;
    /// Removes the pod's rules and route at once, and its veth soon after. Only what `host_veth` still
    /// owns is touched, so a late call never hurts the address's next owner.
    fn unwire_pod(&self, pod: &PodWiring) -> impl Future<Output = Result<(), DatapathError>> + Send;
    /// Compares the pod with its wiring; empty when all is well. Without `netns` only the host side.
    fn check_pod(
        &self,
        pod: &PodWiring,
        netns: Option<OwnedFd>,
    ) -> impl Future<Output = Result<Vec<Drift>, DatapathError>> + Send;
    /// All pod routes and links of ours that the kernel has.
    fn pods(&self) -> impl Future<Output = Result<KernelView, DatapathError>> + Send;
}

/// The journal could not be written.
#[derive(Debug, thiserror::Error)]
#[error("append to the journal: {0}")]
pub struct StoreError(pub String);

/// The journal. Synchronous: it lives on tmpfs, and an append costs less than a thread hop.
pub trait Store: Send + 'static {
    /// Makes `records` durable before it returns: all of them, or none.
    fn append(&mut self, records: &[Record]) -> Result<(), StoreError>;
    /// How many records were appended since the last compaction.
    fn len(&self) -> usize;
    /// Whether nothing was appended since the last compaction.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Replaces everything appended so far by `records`, which say the same.
    fn compact(&mut self, records: &[Record]) -> Result<(), StoreError>;
}

/// The strategies, with their ladder: every question gets an admitted answer.
///
/// Synchronous and bounded by the strategies' deadlines; the engine calls it on a thread of its own.
pub trait Strategist: Send + Sync + 'static {
    /// Asks the warm-pool strategy.
    fn warm_pool(&self, snapshot: &WarmPoolSnapshot) -> Decision<Band>;
    /// Asks the max-pods strategy.
    fn max_pods(&self, snapshot: &MaxPodsSnapshot) -> Decision<u32>;
    /// Asks the subnet-selection strategy; indices of candidates, best first.
    fn subnets(&self, snapshot: &SubnetSnapshot) -> Decision<Vec<u16>>;
}
