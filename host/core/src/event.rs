//! What goes into [`crate::node::NodeState`] and what comes out: everything is data.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use crate::budget::Class;
use crate::cloud::{Assigned, CloudEni, CloudError, CloudSubnet, NewEni, Orphan, Supply, VpcRanges};
use crate::ids::{
    Attachment, ContainerId, EniAttachmentId, EniId, IfName, NetworkName, PodName, SecurityGroupId, SubnetId,
};
use crate::lease::Holder;
use crate::proposal::Band;
use crate::report::{Decision, Quarantine, WaitReason};
use crate::snapshot::{MaxPodsSnapshot, SubnetSnapshot, WarmPoolSnapshot};
use crate::time::Timestamp;
use crate::wiring::{EniWiring, Seat};

mod kernel;
mod record;

pub use kernel::{Drift, KernelView, KernelWanted, Part, WantedPod};
pub use record::{BlockOrigin, Origin, Record};

/// Names a request of the container runtime until it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Names an effect whose outcome comes back as an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub u64);

/// Something happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// CNI ADD. Its answer comes no later than `deadline`, save for kernel work under way.
    Add {
        /// Whom to answer.
        ticket: Ticket,
        /// Which attachment.
        attachment: Attachment,
        /// Whose.
        pod: Option<PodName>,
        /// How many interfaces it wants.
        nics: Nics,
        /// Where its network namespace is found again (`CNI_NETNS`).
        netns: Option<String>,
        /// When the runtime gives up.
        deadline: Timestamp,
    },
    /// CNI DEL.
    Del {
        /// Whom to answer.
        ticket: Ticket,
        /// Which attachment.
        attachment: Attachment,
        /// When it was asked for, when that is not now: it is older than any ADD since.
        issued: Option<Timestamp>,
    },
    /// CNI CHECK.
    Check {
        /// Whom to answer.
        ticket: Ticket,
        /// Which attachment.
        attachment: Attachment,
    },
    /// CNI GC: of this network, the runtime knows these attachments and no others.
    Gc {
        /// Whom to answer.
        ticket: Ticket,
        /// The network.
        network: NetworkName,
        /// What is kept.
        valid: BTreeSet<(ContainerId, IfName)>,
    },
    /// The kernel wired the pod, or did not and left nothing behind.
    Wired {
        /// Which effect.
        op: OpId,
        /// How it went.
        result: Result<(), String>,
    },
    /// The kernel unwired the pod, or could not.
    Unwired {
        /// Which effect.
        op: OpId,
        /// How it went.
        result: Result<(), String>,
    },
    /// EC2 answered.
    Cloud {
        /// Which effect.
        op: OpId,
        /// What it said.
        result: Result<CloudReply, CloudError>,
    },
    /// The kernel set an ENI up, or could not; `Err(None)` when its link has not appeared yet.
    EniSetUp {
        /// Which effect.
        op: OpId,
        /// How it went.
        result: Result<(), Option<String>>,
    },
    /// The kernel tore an ENI's wiring down, or could not.
    EniTornDown {
        /// Which effect.
        op: OpId,
        /// How it went.
        result: Result<(), String>,
    },
    /// The kernel took over what holds for the whole node, or could not.
    NodeSetUp {
        /// Which effect.
        op: OpId,
        /// How it went.
        result: Result<(), String>,
    },
    /// The warm-pool strategy (or what stands in for it) decided.
    WarmPoolDecided(Decision<Band>),
    /// The subnet-selection strategy (or what stands in for it) decided; best first.
    SubnetsDecided(Decision<Vec<SubnetId>>),
    /// The max-pods strategy (or what stands in for it) decided.
    MaxPodsDecided(Decision<u32>),
    /// The operator changed the settings; `veth_prefix` stays as long as the daemon lives.
    Reconfigured(Box<crate::node::Config>),
    /// The cluster's nodes were counted.
    NodesCounted {
        /// How many there are, this one included.
        nodes: NonZeroU32,
    },
    /// A strategy was replaced: ask again.
    StrategyReplaced,
    /// A look at the kernel came in, or could not be had. It says nothing about what changed while it was under way.
    KernelSeen {
        /// Which effect.
        op: OpId,
        /// What was found.
        result: Result<KernelView, String>,
    },
    /// The kernel mended a pod's wiring, or could not.
    Repaired {
        /// Which effect.
        op: OpId,
        /// How it went.
        result: Result<(), String>,
    },
    /// Time passed.
    Tick,
    /// No further ADD is served; those that wait are told why.
    Stop,
}

/// How many interfaces a pod wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Nics {
    /// The one that the runtime asks for.
    #[default]
    One,
    /// One on every network card in use: the annotation `k8s.amazonaws.com/nicConfig: multi-nic-attachment`.
    EveryCard,
}

/// A call to EC2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloudCall {
    /// `DescribeNetworkInterfaces` of this instance.
    Enis,
    /// The same from instance metadata.
    MetadataEnis,
    /// The VPC's ranges, from instance metadata.
    VpcRanges,
    /// `DescribeSubnets` of the VPC and zone.
    Subnets,
    /// `DescribeNetworkInterfaces` of all that are attached to nothing and were created for pods of this cluster, or,
    /// without a cluster's name, of this instance.
    Orphans,
    /// `CreateNetworkInterface`.
    Create(NewEni),
    /// `AttachNetworkInterface`.
    Attach {
        /// What.
        eni: EniId,
        /// Where.
        seat: Seat,
    },
    /// `ModifyNetworkInterfaceAttribute`: delete the ENI with the instance.
    DeleteWithInstance {
        /// What.
        eni: EniId,
        /// Its attachment.
        attachment: EniAttachmentId,
    },
    /// `ModifyNetworkInterfaceAttribute`: its security groups.
    SetSecurityGroups {
        /// Of which.
        eni: EniId,
        /// All of them; EC2 refuses an empty list.
        groups: Vec<SecurityGroupId>,
    },
    /// `DetachNetworkInterface`.
    Detach {
        /// Its attachment.
        attachment: EniAttachmentId,
    },
    /// `DeleteNetworkInterface`.
    Delete {
        /// What.
        eni: EniId,
    },
    /// `AssignPrivateIpAddresses`, or `AssignIpv6Addresses` for IPv6 prefixes.
    Assign {
        /// To what.
        eni: EniId,
        /// How much.
        supply: Supply,
    },
    /// `UnassignPrivateIpAddresses`.
    Unassign {
        /// From what.
        eni: EniId,
        /// Which.
        give_back: Assigned,
    },
}

impl CloudCall {
    /// Which API it calls.
    pub fn api(&self) -> Api {
        match self {
            CloudCall::Enis | CloudCall::Orphans => Api::DescribeNetworkInterfaces,
            CloudCall::MetadataEnis | CloudCall::VpcRanges => Api::Metadata,
            CloudCall::Subnets => Api::DescribeSubnets,
            CloudCall::Create(_) => Api::CreateNetworkInterface,
            CloudCall::Attach { .. } => Api::AttachNetworkInterface,
            CloudCall::DeleteWithInstance { .. } | CloudCall::SetSecurityGroups { .. } => {
                Api::ModifyNetworkInterfaceAttribute
            }
            CloudCall::Detach { .. } => Api::DetachNetworkInterface,
            CloudCall::Delete { .. } => Api::DeleteNetworkInterface,
            CloudCall::Assign { supply: Supply::Ipv6Prefixes(_), .. } => Api::AssignIpv6Addresses,
            CloudCall::Assign { supply: Supply::Addresses(_) | Supply::Prefixes(_), .. } => {
                Api::AssignPrivateIpAddresses
            }
            CloudCall::Unassign { .. } => Api::UnassignPrivateIpAddresses,
        }
    }

    /// The EC2 API name.
    pub fn name(&self) -> &'static str {
        self.api().name()
    }
}

/// An API that a running node calls: each has its own budget at EC2 and is backed off by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Api {
    /// `AssignIpv6Addresses`.
    AssignIpv6Addresses,
    /// `AssignPrivateIpAddresses`.
    AssignPrivateIpAddresses,
    /// `AttachNetworkInterface`.
    AttachNetworkInterface,
    /// `CreateNetworkInterface`.
    CreateNetworkInterface,
    /// `DeleteNetworkInterface`.
    DeleteNetworkInterface,
    /// `DescribeNetworkInterfaces`.
    DescribeNetworkInterfaces,
    /// `DescribeSubnets`.
    DescribeSubnets,
    /// `DetachNetworkInterface`.
    DetachNetworkInterface,
    /// Instance metadata (IMDSv2), which has no budget at EC2.
    Metadata,
    /// `ModifyNetworkInterfaceAttribute`.
    ModifyNetworkInterfaceAttribute,
    /// `UnassignPrivateIpAddresses`.
    UnassignPrivateIpAddresses,
}

impl Api {
    /// Whether its calls change anything.
    pub fn changes(self) -> bool {
        Class::of(self).is_some_and(Class::is_mutating)
    }

    /// Its name at EC2.
    pub fn name(self) -> &'static str {
        match self {
            Api::AssignIpv6Addresses => "AssignIpv6Addresses",
            Api::AssignPrivateIpAddresses => "AssignPrivateIpAddresses",
            Api::AttachNetworkInterface => "AttachNetworkInterface",
            Api::CreateNetworkInterface => "CreateNetworkInterface",
            Api::DeleteNetworkInterface => "DeleteNetworkInterface",
            Api::DescribeNetworkInterfaces => "DescribeNetworkInterfaces",
            Api::DescribeSubnets => "DescribeSubnets",
            Api::DetachNetworkInterface => "DetachNetworkInterface",
            Api::Metadata => "IMDS",
            Api::ModifyNetworkInterfaceAttribute => "ModifyNetworkInterfaceAttribute",
            Api::UnassignPrivateIpAddresses => "UnassignPrivateIpAddresses",
        }
    }
}

/// What EC2 answered to a [`CloudCall`] that it granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloudReply {
    /// To [`CloudCall::Enis`] and [`CloudCall::MetadataEnis`].
    Enis(Vec<CloudEni>),
    /// To [`CloudCall::VpcRanges`].
    VpcRanges(VpcRanges),
    /// To [`CloudCall::Subnets`].
    Subnets(Vec<CloudSubnet>),
    /// To [`CloudCall::Orphans`].
    Orphans(Vec<Orphan>),
    /// To [`CloudCall::Create`].
    Created(Box<CloudEni>),
    /// To [`CloudCall::Attach`].
    Attached(EniAttachmentId),
    /// To [`CloudCall::Assign`].
    Assigned(Assigned),
    /// To all others.
    Done,
}

/// What the shell is to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Make the records durable before any later effect.
    Journal(Vec<Record>),
    /// Wire a pod; its namespace came with `ticket`. Outcome: [`Event::Wired`].
    Wire {
        /// Names the outcome.
        op: OpId,
        /// Whose namespace.
        ticket: Ticket,
        /// How.
        wiring: crate::wiring::PodWiring,
    },
    /// Unwire a pod. Outcome: [`Event::Unwired`].
    Unwire {
        /// Names the outcome.
        op: OpId,
        /// How it is wired.
        wiring: crate::wiring::PodWiring,
    },
    /// Compare a pod with its wiring and answer `ticket` with the differences.
    Check {
        /// Whom to answer.
        ticket: Ticket,
        /// How it should be wired.
        wiring: crate::wiring::PodWiring,
    },
    /// Look at the kernel and compare; nothing is written. Outcome: [`Event::KernelSeen`].
    LookAtKernel {
        /// Names the outcome.
        op: OpId,
        /// What it is compared with.
        wanted: Box<KernelWanted>,
    },
    /// Put back what a pod's wiring lacks; what is right stays. Outcome: [`Event::Repaired`].
    RepairPod {
        /// Names the outcome.
        op: OpId,
        /// The pod.
        pod: WantedPod,
    },
    /// Remove the rules of an address that no route leads to; with a route, nothing is removed.
    RemoveStray {
        /// The address.
        address: IpAddr,
    },
    /// Answer a request.
    Answer {
        /// Which.
        ticket: Ticket,
        /// What.
        answer: Answer,
    },
    /// Call EC2. Outcome: [`Event::Cloud`].
    Cloud {
        /// Names the outcome.
        op: OpId,
        /// What.
        call: CloudCall,
    },
    /// Set an ENI's link, table and rule up. Outcome: [`Event::EniSetUp`].
    SetUpEni {
        /// Names the outcome.
        op: OpId,
        /// How.
        wiring: EniWiring,
    },
    /// Remove an ENI's table and rule. Outcome: [`Event::EniTornDown`].
    TearDownEni {
        /// Names the outcome.
        op: OpId,
        /// How it is set up.
        wiring: EniWiring,
    },
    /// Tell the kernel what holds for the whole node. Outcome: [`Event::NodeSetUp`].
    SetUpNode {
        /// Names the outcome.
        op: OpId,
        /// What.
        wiring: Box<crate::wiring::NodeWiring>,
    },
    /// Ask the warm-pool strategy. Outcome: [`Event::WarmPoolDecided`].
    AskWarmPool(Box<WarmPoolSnapshot>),
    /// Ask the max-pods strategy. Outcome: [`Event::MaxPodsDecided`].
    AskMaxPods(Box<MaxPodsSnapshot>),
    /// Ask the subnet-selection strategy about `subnets`, which are the candidates in order. Outcome:
    /// [`Event::SubnetsDecided`].
    AskSubnets {
        /// What it is shown.
        snapshot: Box<SubnetSnapshot>,
        /// Which subnets the candidates are.
        subnets: Vec<SubnetId>,
    },
}

/// The answer to a request of the runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// ADD: the pod is wired.
    Added(Box<Holder>),
    /// DEL: nothing of it is left.
    Deleted,
    /// GC: what the runtime does not know is released.
    Collected {
        /// How many attachments were.
        released: u32,
        /// Attachments that it does not know and that are kept, with the reason.
        kept: Vec<(Attachment, Quarantine)>,
    },
    /// Not now, with the reason; the runtime tries again.
    TryLater(WaitReason),
    /// The request cannot be met as it stands.
    Refused(Refusal),
}

/// Why a request cannot be met as it stands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// CHECK of an attachment that was never added, or was deleted.
    #[error("attachment {0} is not known")]
    UnknownAttachment(Attachment),
    /// An ADD for the attachment is under way already.
    #[error("attachment {0} is being added already")]
    AlreadyUnderWay(Attachment),
    /// A DEL came while the ADD was waiting or being wired.
    #[error("attachment {0} was deleted while it was being added")]
    DeletedMeanwhile(Attachment),
    /// The kernel refused; nothing was left behind.
    #[error("wire {address}: {why}")]
    Kernel {
        /// The address.
        address: IpAddr,
        /// The kernel's answer.
        why: String,
    },
    /// GC needs to know what the kernel has, and the kernel could not be looked at.
    #[error("the kernel could not be looked at: {why}")]
    Unseen {
        /// Why.
        why: String,
    },
    /// GC could not release everything; what it could is released.
    #[error("{failed} attachments could not be released, the last because {why}")]
    NotCollected {
        /// How many.
        failed: u32,
        /// What the kernel said of the last.
        why: String,
    },
    /// The journal cannot be written, so what follows would not outlive the daemon.
    #[error("the journal cannot be written: {why}")]
    Journal {
        /// Why.
        why: String,
    },
    /// Too many ADDs wait already.
    #[error("{waiting} ADDs wait already")]
    QueueFull {
        /// How many.
        waiting: usize,
    },
}
