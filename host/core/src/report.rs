//! Why: every reason shown to a person comes from here, so that logs, CNI errors, `enid explain`, metrics
//! and events say the same.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cloud::CloudErrorKind;
use crate::ids::{DecisionId, EniId, SubnetId};
use crate::kind::Kind;

/// Which step of the ladder answered a question to a strategy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rung {
    /// The configured component, just now.
    Live,
    /// Its last good answer, at most a minute old.
    LastGood,
    /// The configured fallback component.
    Fallback,
    /// The strategy compiled into the host.
    Builtin,
    /// Nobody: the previous target stays.
    Hold,
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rung::Live => "live",
            Rung::LastGood => "last-good",
            Rung::Fallback => "fallback",
            Rung::Builtin => "builtin",
            Rung::Hold => "hold",
        })
    }
}

/// An admitted answer and where it came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision<T> {
    /// What to aim for.
    pub target: T,
    /// Which step of the ladder answered.
    pub rung: Rung,
    /// The strategy that answered: its name and, for components, the first digits of its digest.
    pub strategy: String,
    /// Its reason.
    pub reason: String,
    /// When it wants to be asked again.
    pub next_check: Option<Duration>,
    /// What went wrong on the steps above, if anything.
    pub faults: Vec<String>,
    /// Fuel that the answer cost, when a component gave it.
    pub fuel: Option<u64>,
    /// How long it took.
    pub took: Duration,
    /// Where it is written down; `None` for a decision that nobody recorded.
    #[serde(default)]
    pub record: Option<DecisionId>,
}

impl<T> Decision<T> {
    /// How what follows from it refers to it.
    pub fn reference(&self, kind: Kind) -> Decided {
        Decided { kind, strategy: self.strategy.clone(), record: self.record }
    }
}

/// A reference to a decision: enough to find its record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// What was decided about.
    pub kind: Kind,
    /// Who answered: its name and, for components, the first digits of its digest.
    pub strategy: String,
    /// Its record, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<DecisionId>,
}

impl fmt::Display for Decided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, strategy, record } = self;
        match record {
            Some(record) => write!(f, "{kind} decision {record} by {strategy}"),
            None => write!(f, "a {kind} decision by {strategy}"),
        }
    }
}

/// What made the node ask EC2 for something: the pool as it was, and the decisions behind its target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// The pool against its target, in words.
    pub because: String,
    /// The decisions, the most important first; empty when none had a say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub decisions: Vec<Decided>,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.because)?;
        self.decisions.iter().try_for_each(|decided| write!(f, "; {decided}"))
    }
}

/// Why a pod waits for its address, or was refused one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case", tag = "reason")]
pub enum WaitReason {
    /// The node has just started and has not seen its ENIs yet.
    #[error("the node is starting and does not know its ENIs yet")]
    Starting,
    /// Addresses are on their way.
    #[error("{in_flight} addresses are being assigned")]
    Growing {
        /// How many.
        in_flight: u32,
    },
    /// An ENI is on its way.
    #[error("an ENI is being {doing}")]
    EniComing {
        /// `created`, `attached` or `set up`.
        doing: String,
    },
    /// Every ENI is full and there is no slot for another.
    #[error("the node is full: {bound} pods hold all {total} addresses that {max_enis} ENIs may carry")]
    NodeFull {
        /// Bound addresses.
        bound: u32,
        /// All addresses.
        total: u32,
        /// ENIs that may carry pods.
        max_enis: u32,
    },
    /// Released addresses are still cooling and nothing else is left.
    #[error("{cooling} addresses are cooling down, the first for another {secs} s")]
    Cooling {
        /// How many.
        cooling: u32,
        /// Seconds until the first is free.
        secs: u64,
    },
    /// The maximum number of pods is reached.
    #[error("the node holds its maximum of {max_pods} pod addresses")]
    MaxPods {
        /// The maximum.
        max_pods: u32,
    },
    /// No subnet has room.
    #[error("no eligible subnet has free addresses (last tried {subnet})")]
    SubnetsExhausted {
        /// The last one tried.
        subnet: SubnetId,
    },
    /// No subnet may be used at all.
    #[error("no subnet of this zone is eligible for pods")]
    NoSubnet,
    /// Custom networking names an ENIConfig that nobody has described.
    #[error("custom networking asks for the ENIConfig `{name}`, and there is none of that name")]
    NoEniConfig {
        /// The name.
        name: String,
    },
    /// None of the ENIConfig's subnets can be used here.
    #[error("no subnet of the ENIConfig `{eni_config}` is in this node's VPC and in its zone {zone}")]
    ForeignSubnets {
        /// The ENIConfig.
        eni_config: String,
        /// The node's zone.
        zone: String,
    },
    /// The primary ENI's IPv6 prefix is on its way.
    #[error("{eni} is being delegated its IPv6 prefix")]
    Ipv6Coming {
        /// The primary ENI.
        eni: EniId,
    },
    /// There can be no IPv6 prefix.
    #[error("pods need IPv6, and the primary ENI's subnet {subnet} has no IPv6 range")]
    NoIpv6 {
        /// The subnet.
        subnet: SubnetId,
    },
    /// All node-local addresses are taken.
    #[error("all node-local addresses are in use")]
    NoNodeLocal,
    /// The node takes no new pods, so that its ENIs stay as they are.
    #[error("the node is unschedulable, so that no addresses are added")]
    Cordoned,
    /// Somebody else provides addresses.
    #[error("provisioning is left to others, and they have provided no further address")]
    NotProvisioned,
    /// EC2 refused or failed; we try again.
    #[error("{call} {kind}; next try in {retry_secs} s")]
    Cloud {
        /// The EC2 API name.
        call: String,
        /// The kind of failure.
        kind: CloudErrorKind,
        /// Seconds until the next try.
        retry_secs: u64,
    },
    /// The node's share of EC2's calls is used up for now.
    #[error("the node's share of {class} calls to EC2 is used up; next in {retry_secs} s")]
    Budget {
        /// The class of calls.
        class: String,
        /// Seconds until the next.
        retry_secs: u64,
    },
    /// EC2 has not answered for a while: it is only asked whether it does again.
    #[error("EC2 has not answered for {for_secs} s; it is asked again in {retry_secs} s")]
    CloudAway {
        /// Seconds since calls were withheld.
        for_secs: u64,
        /// Seconds until it is asked.
        retry_secs: u64,
    },
    /// The kernel does not take what every pod depends on.
    #[error("the kernel refuses what every pod depends on: {why}")]
    Kernel {
        /// What it said.
        why: String,
    },
    /// The journal cannot be written.
    #[error("the journal cannot be written: {why}")]
    Journal {
        /// Why.
        why: String,
    },
    /// Growth has been asked for and has not begun.
    #[error("growth has been scheduled")]
    Scheduled,
    /// The daemon is stopping.
    #[error("the daemon is stopping")]
    Stopping,
}

/// Why an address or an ENI is where it is, or goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case", tag = "reason")]
pub enum Why {
    /// It was on the ENI when the daemon first looked.
    #[error("it was on {eni} when the daemon first looked")]
    Found {
        /// The ENI.
        eni: EniId,
    },
    /// It was assigned to reach the warm-pool target.
    #[error("assigned by {call} because {cause}")]
    Grown {
        /// The EC2 API name.
        call: String,
        /// The shortage that asked for it.
        #[serde(flatten)]
        cause: Cause,
    },
    /// More is idle than the target keeps, or than the node may have.
    #[error("given back by {call} because {cause}")]
    GivenBack {
        /// The EC2 API name.
        call: String,
        /// The surplus that asked for it.
        #[serde(flatten)]
        cause: Cause,
    },
    /// It was drawn from the primary ENI's IPv6 prefix for its pod.
    #[error("drawn from the primary ENI's IPv6 prefix for its pod")]
    Drawn,
    /// It is the node's primary ENI.
    #[error("it is the instance's primary ENI")]
    Primary,
    /// It was known from the journal of an earlier run.
    #[error("it is known from the journal of an earlier run")]
    Journal,
}

/// Why an address is out of service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case", tag = "reason")]
pub enum Quarantine {
    /// The journal says that a pod has it, EC2 does not list it on our ENI.
    #[error("a pod holds it but EC2 no longer lists it on {eni}")]
    NotInCloud {
        /// The ENI it was on.
        eni: EniId,
    },
    /// The kernel routes it to a pod that the journal does not know.
    #[error("the kernel routes it to {host_veth}, which the journal does not know")]
    UnknownPod {
        /// The link.
        host_veth: String,
    },
    /// The runtime does not list its pod in a GC, and the kernel shows that somebody lives there.
    #[error("the runtime does not know its pod any more, and a process lives in the pod's network namespace")]
    Inhabited,
    /// The runtime does not list its pod in a GC, and the pod is so young that the list may be older.
    #[error("the runtime does not know its pod, which was added only just before")]
    Young,
}

impl Quarantine {
    /// What ends it.
    pub fn way_out(&self) -> &'static str {
        match self {
            Quarantine::NotInCloud { .. } => "ends when EC2 lists it again, or with its pod's DEL",
            Quarantine::UnknownPod { .. } => {
                "ends when the kernel no longer routes it: delete that link if nobody needs it"
            }
            Quarantine::Inhabited | Quarantine::Young => {
                "ends with its pod's DEL, with the pod's network namespace, or when a GC lists it again"
            }
        }
    }
}
