//! What goes into [`crate::node::NodeState`] and what comes out: everything is data.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::cloud::{Assigned, CloudEni, CloudError, CloudSubnet, NewEni, Supply};
use crate::eni::Eni;
use crate::ids::{Attachment, EniAttachmentId, EniId, PodName, SubnetId};
use crate::lease::Holder;
use crate::proposal::Band;
use crate::report::{Decision, WaitReason};
use crate::snapshot::{SubnetSnapshot, WarmPoolSnapshot};
use crate::time::Timestamp;
use crate::wiring::{EniWiring, Seat};

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
    /// The warm-pool strategy (or what stands in for it) decided.
    WarmPoolDecided(Decision<Band>),
    /// The subnet-selection strategy (or what stands in for it) decided; best first.
    SubnetsDecided(Decision<Vec<SubnetId>>),
    /// The max-pods strategy (or what stands in for it) decided.
    MaxPodsDecided(Decision<u32>),
    /// The operator changed the settings.
    Reconfigured(Box<crate::node::Config>),
    /// A strategy was replaced: ask again.
    StrategyReplaced,
    /// Pods that the kernel routes to: observed at start and every minute or so. A look that comes in says
    /// nothing about what was wired while it was under way.
    PodsObserved(BTreeMap<Ipv4Addr, String>),
    /// Time passed.
    Tick,
    /// No further ADD is served; those that wait are told why.
    Stop,
}

/// A call to EC2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloudCall {
    /// `DescribeNetworkInterfaces` of this instance.
    Enis,
    /// `DescribeSubnets` of the VPC and zone.
    Subnets,
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
    /// `AssignPrivateIpAddresses`.
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
    /// The EC2 API name.
    pub fn name(&self) -> &'static str {
        match self {
            CloudCall::Enis => "DescribeNetworkInterfaces",
            CloudCall::Subnets => "DescribeSubnets",
            CloudCall::Create(_) => "CreateNetworkInterface",
            CloudCall::Attach { .. } => "AttachNetworkInterface",
            CloudCall::DeleteWithInstance { .. } => "ModifyNetworkInterfaceAttribute",
            CloudCall::Detach { .. } => "DetachNetworkInterface",
            CloudCall::Delete { .. } => "DeleteNetworkInterface",
            CloudCall::Assign { .. } => "AssignPrivateIpAddresses",
            CloudCall::Unassign { .. } => "UnassignPrivateIpAddresses",
        }
    }
}

/// What EC2 answered to a [`CloudCall`] that it granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloudReply {
    /// To [`CloudCall::Enis`].
    Enis(Vec<CloudEni>),
    /// To [`CloudCall::Subnets`].
    Subnets(Vec<CloudSubnet>),
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
    /// Ask the warm-pool strategy. Outcome: [`Event::WarmPoolDecided`].
    AskWarmPool(Box<WarmPoolSnapshot>),
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
        address: Ipv4Addr,
        /// The kernel's answer.
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

/// One line of the journal. Applied in order they give back the node's leases and ENIs.
///
/// Old with new: unknown kinds and fields make an old reader refuse the journal as a whole; a field added
/// later needs a default so that a new reader accepts old lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Record {
    /// Who the node is, for starts at which metadata does not answer.
    Identity {
        /// The node.
        identity: crate::cloud::NodeIdentity,
    },
    /// What the instance type allows, for starts at which EC2 does not answer.
    Limits {
        /// The type.
        instance_type: crate::limits::InstanceType,
    },
    /// An ENI is about to be created: if no outcome follows, the same call is made again, and its
    /// `ClientToken` keeps EC2 from making a second one.
    Creating {
        /// The whole request.
        new: NewEni,
        /// Where it will be attached.
        seat: Seat,
    },
    /// That creation came to nothing.
    NotCreated {
        /// Its `ClientToken`.
        token: String,
    },
    /// An ENI as the node knows it; replaces what was known.
    Eni {
        /// The ENI.
        eni: Eni,
        /// All its pod addresses.
        addresses: Vec<Ipv4Addr>,
    },
    /// EC2 is about to be asked to take these back: until the ENI's next record they serve nobody, because
    /// the outcome may never be told.
    Returning {
        /// Which.
        addresses: Vec<Ipv4Addr>,
    },
    /// An ENI is gone, with its addresses.
    EniGone {
        /// Which.
        eni: EniId,
    },
    /// An address is about to be wired to a pod.
    Reserved {
        /// The address.
        address: Ipv4Addr,
        /// To whom.
        holder: Holder,
    },
    /// The pod is wired.
    Bound {
        /// The address.
        address: Ipv4Addr,
        /// Since when: a DEL asked for earlier is not about this pod.
        at: Timestamp,
    },
    /// The pod is unwired, or was never wired.
    Released {
        /// The address.
        address: Ipv4Addr,
        /// When it is free again.
        cool_until: Timestamp,
    },
}
