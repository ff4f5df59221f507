//! The ports: what the engine needs from the world, in domain types.
//!
//! Adapters translate and never decide. Every future may be dropped; an adapter must not be left in a
//! state that a later call cannot mend.

use std::future::Future;
use std::os::fd::OwnedFd;

use std::net::IpAddr;
use std::time::Duration;

use enid_core::cloud::{
    Assigned, CloudEni, CloudError, CloudErrorKind, CloudSubnet, NewEni, NodeIdentity, Orphan, Supply,
    VpcRanges,
};
use enid_core::event::{Api, Drift, KernelView, KernelWanted, Record, WantedPod};
use enid_core::ids::{EniAttachmentId, EniId, IfName, Mac, SecurityGroupId, VpcId};
use enid_core::kind::Kind;
use enid_core::limits::InstanceType;
use enid_core::proposal::Band;
use enid_core::report::{Decision, Rung};
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
    /// `DescribeNetworkInterfaces` in the node's VPC of ENIs that are attached to nothing and that enid or the
    /// incumbent created for pods: of `cluster`, or, without a name, of this instance.
    fn orphans(
        &self,
        identity: &NodeIdentity,
        cluster: Option<&str>,
    ) -> impl Future<Output = Result<Vec<Orphan>, CloudError>> + Send;
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
    /// Puts back what the pod's wiring lacks and leaves what is right: routes, rules and links of the node, and,
    /// while its network namespace can be found at [`WantedPod::netns`], what belongs in there. Fails when the pod cannot
    /// be made whole.
    fn repair_pod(&self, pod: &WantedPod) -> impl Future<Output = Result<(), DatapathError>> + Send;
    /// Removes rules of a pod's priorities for `address`, unless a route leads to it.
    fn remove_stray(&self, address: IpAddr) -> impl Future<Output = Result<(), DatapathError>> + Send;
    /// Looks at everything of ours that the kernel has, and compares. Writes nothing.
    fn look(&self, wanted: &KernelWanted) -> impl Future<Output = Result<KernelView, DatapathError>> + Send;
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

/// What happened, for whoever counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measurement {
    /// A call to EC2 or metadata was answered, or not.
    Call {
        /// Which API.
        api: Api,
        /// How it failed, if it did.
        failed: Option<CloudErrorKind>,
        /// From asking to the answer.
        took: Duration,
    },
    /// An ADD was answered.
    Added {
        /// How it ended.
        end: End,
        /// Waiting for an address.
        waited: Duration,
        /// In the kernel; zero when it did not come so far.
        wired: Duration,
        /// All in all.
        took: Duration,
    },
    /// A DEL was answered.
    Deleted {
        /// How it ended.
        end: End,
        /// All in all.
        took: Duration,
    },
    /// A strategy, or what stands in for it, decided.
    Decided {
        /// About what.
        kind: Kind,
        /// Which step of the ladder answered.
        rung: Rung,
        /// How long it took.
        took: Duration,
    },
    /// A look at the kernel found this many differences.
    Looked {
        /// How many.
        drifts: usize,
        /// How long it took.
        took: Duration,
    },
    /// A pod's wiring was mended, or could not be.
    Repaired(End),
}

/// How something ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End {
    /// Well.
    Served,
    /// Not now: the runtime tries again.
    TryLater,
    /// Refused.
    Refused,
}

/// Whoever counts what happens. Called on the way of every ADD: counting must cost next to nothing.
pub trait Meter: std::fmt::Debug + Send + Sync + 'static {
    /// Takes one measurement in.
    fn measure(&self, measurement: Measurement);
}

/// Nobody counts.
impl Meter for () {
    fn measure(&self, _: Measurement) {}
}
