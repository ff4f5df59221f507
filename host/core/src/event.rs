//! What goes into [`crate::node::NodeState`] and what comes out: everything is data.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::cloud::{Assigned, CloudEni, CloudError, CloudSubnet, NewEni, Supply, VpcRanges};
use crate::eni::Eni;
use crate::ids::{Attachment, EniAttachmentId, EniId, PodName, SecurityGroupId, SubnetId};
use crate::lease::Holder;
use crate::proposal::Band;
use crate::report::{Decided, Decision, WaitReason, Why};
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
        /// How many interfaces it wants.
        nics: Nics,
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
    /// The operator changed the settings.
    Reconfigured(Box<crate::node::Config>),
    /// A strategy was replaced: ask again.
    StrategyReplaced,
    /// What the kernel has of pods: observed at start and every minute or so. A look that comes in says
    /// nothing about what was wired while it was under way.
    PodsObserved(KernelView),
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

/// What the kernel has of pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelView {
    /// Pod addresses and the host veths that they are routed to.
    pub routed: BTreeMap<IpAddr, String>,
    /// All host veths, routed to or not.
    pub veths: BTreeSet<String>,
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
            CloudCall::Enis => Api::DescribeNetworkInterfaces,
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
    /// Tell the kernel what holds for the whole node. Outcome: [`Event::NodeSetUp`].
    SetUpNode {
        /// Names the outcome.
        op: OpId,
        /// What.
        wiring: Box<crate::wiring::NodeWiring>,
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
        address: IpAddr,
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
/// Old with new: a kind that a reader does not know makes it refuse the journal as a whole, because what
/// follows may build on it. A field that it does not know is ignored, so nothing that must be understood may
/// come as a field; a field added later needs a default, so that a new reader accepts old lines.
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
        /// The decisions behind it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        decisions: Vec<Decided>,
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
        /// Why the node has those among them that it asked for.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        origins: Vec<Origin>,
    },
    /// EC2 is about to be asked to take these back: until the ENI's next record they serve nobody, because
    /// the outcome may never be told.
    Returning {
        /// Which.
        addresses: Vec<Ipv4Addr>,
    },
    /// The delegated prefixes of the ENI whose record this follows: all of them. A kind of its own, because a
    /// daemon that knows no prefixes must not go on without them.
    Delegated {
        /// Of which.
        eni: EniId,
        /// IPv4 prefixes.
        prefixes: Vec<Ipv4Net>,
        /// IPv6 prefixes.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        ipv6_prefixes: Vec<Ipv6Net>,
        /// Why the node has those among them that it asked for.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        origins: Vec<BlockOrigin>,
    },
    /// An ENI is gone, with its addresses.
    EniGone {
        /// Which.
        eni: EniId,
    },
    /// An address is about to be wired to a pod.
    Reserved {
        /// The address.
        address: IpAddr,
        /// To whom.
        holder: Holder,
    },
    /// All addresses of a pod that has more than one, or has IPv6, are about to be wired. A kind of its own, because
    /// a daemon that knows single IPv4 addresses only must not go on without the others.
    ReservedTogether {
        /// To whom; its wiring names the addresses.
        holder: Holder,
    },
    /// The pod is wired.
    Bound {
        /// The address that stands for it.
        address: IpAddr,
        /// Since when: a DEL asked for earlier is not about this pod.
        at: Timestamp,
    },
    /// The pod is unwired, or was never wired.
    Released {
        /// The address; while a pod has it, it stands for all of the pod's.
        address: IpAddr,
        /// When it is free again.
        cool_until: Timestamp,
    },
}

/// Why the node has some prefixes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockOrigin {
    /// Why.
    pub why: Why,
    /// Which.
    pub prefixes: Vec<Ipv4Net>,
}

/// Why the node has some addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Why.
    pub why: Why,
    /// Which.
    pub addresses: Vec<Ipv4Addr>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENI: &str = r#"{"kind":"eni","eni":{"id":"eni-1","mac":"02:00:00:00:00:01","subnet":"subnet-1","subnet_cidr":"10.0.0.0/24","primary_address":"10.0.0.5","seat":{"card":0,"device":1},"attachment":"eni-attach-1","phase":"ready","known_since":5,"last_use":6,"why":{"reason":"journal"},"marked":true},"addresses":["10.0.0.6"]}"#;
    const GROWN: &str = r#"{"kind":"eni","eni":{"id":"eni-2","mac":"02:00:00:00:00:02","subnet":"subnet-1","subnet_cidr":"10.0.0.0/24","primary_address":"10.0.0.9","seat":{"card":0,"device":2},"attachment":null,"phase":"leaving","step":"detaching","known_since":5,"last_use":6,"why":{"reason":"grown","call":"CreateNetworkInterface","because":"1 pods waiting","decisions":[{"kind":"warm-pool","strategy":"warm-targets@ab12","record":17},{"kind":"subnet-selection","strategy":"builtin"}]},"going":{"reason":"given-back","call":"DeleteNetworkInterface","because":"9 ready"},"marked":true,"created_for_pods":true},"addresses":["10.0.0.10","10.0.0.11"],"origins":[{"why":{"reason":"grown","call":"AssignPrivateIpAddresses","because":"2 pods waiting"},"addresses":["10.0.0.11"]}]}"#;
    const CREATING: &str = r#"{"kind":"creating","new":{"subnet":"subnet-1","security_groups":[],"supply":{"addresses":3},"description":"","tags":[],"client_token":"t"},"seat":{"card":0,"device":1}}"#;
    const RESERVED: &str = r#"{"kind":"reserved","address":"10.0.0.6","holder":{"attachment":{"container":"c1","network":"enid","ifname":"eth0"},"pod":null,"wiring":{"host_veth":"eni0","ifname":"eth0","address":"10.0.0.6","table":2,"mtu":9001}}}"#;

    const DELEGATED: &str = r#"{"kind":"delegated","eni":"eni-1","prefixes":["10.0.0.16/28"],"ipv6_prefixes":["2a05:d014:9:aa00::/80"],"origins":[{"why":{"reason":"grown","call":"AssignPrivateIpAddresses","because":"2 pods waiting"},"prefixes":["10.0.0.16/28"]}]}"#;
    const TOGETHER: &str = r#"{"kind":"reserved-together","holder":{"attachment":{"container":"c1","network":"enid","ifname":"eth0"},"pod":null,"wiring":{"host_veth":"eni0","ifname":"eth0","address":"10.0.0.6","table":2,"mtu":9001,"second":{"address":"2a05:d014:9:aa00::7","table":254,"node_local":false},"further":[{"host_veth":"eni1","ifname":"mNicIf1","address":"10.0.0.7","table":10101,"mtu":9001}]},"asked":5}}"#;

    fn read(line: &str) -> Result<Record, serde_json::Error> {
        serde_json::from_str(line)
    }

    #[test]
    fn a_line_from_before_a_field_was_added_is_read_with_its_default() {
        let Record::Eni { eni, addresses, origins } = read(ENI).unwrap() else { panic!("an ENI's record") };
        assert!(!eni.created_for_pods && eni.marked);
        assert_eq!((eni.phase, addresses.len()), (crate::eni::Phase::Ready, 1));
        assert_eq!((eni.going, origins), (None, Vec::new()));
        let Record::Creating { decisions, .. } = read(CREATING).unwrap() else { panic!("a creation") };
        assert_eq!(decisions, Vec::new());
        let Record::Reserved { holder, .. } = read(RESERVED).unwrap() else { panic!("a reservation") };
        assert_eq!(holder.asked, Timestamp(0), "every DEL of its attachment is about it");
    }

    #[test]
    fn a_field_of_a_later_version_is_ignored() {
        for (line, place) in [
            (ENI, "\"marked\""),
            (ENI, "\"addresses\""),
            (RESERVED, "\"pod\""),
            (CREATING, "\"seat\""),
            (GROWN, "\"because\":\"1"),
            (GROWN, "\"strategy\":\"builtin\""),
            (GROWN, "\"origins\""),
            (DELEGATED, "\"prefixes\""),
            (TOGETHER, "\"second\""),
            (TOGETHER, "\"asked\""),
        ] {
            let later = line.replacen(place, &format!("\"made_next_year\":{{\"a\":[1]}},{place}"), 1);
            assert_ne!(later, line);
            assert_eq!(read(&later).unwrap(), read(line).unwrap(), "{later}");
        }
    }

    #[test]
    fn a_kind_of_a_later_version_is_an_error() {
        for line in [r#"{"kind":"made-next-year","address":"10.0.0.6"}"#, r#"{"address":"10.0.0.6"}"#] {
            assert!(read(line).is_err(), "{line}");
        }
    }

    #[test]
    fn the_decisions_behind_an_eni_are_kept_with_it() {
        let Record::Eni { eni, origins, .. } = read(GROWN).unwrap() else { panic!("an ENI's record") };
        assert_eq!(
            eni.why.to_string(),
            "assigned by CreateNetworkInterface because 1 pods waiting; warm-pool decision 17 by \
             warm-targets@ab12; a subnet-selection decision by builtin"
        );
        assert_eq!(eni.going.unwrap().to_string(), "given back by DeleteNetworkInterface because 9 ready");
        assert_eq!(origins[0].addresses, [Ipv4Addr::new(10, 0, 0, 11)]);
    }

    #[test]
    fn what_an_older_daemon_would_lose_is_in_kinds_that_it_refuses() {
        let Record::ReservedTogether { holder } = read(TOGETHER).unwrap() else { panic!("a reservation") };
        assert_eq!(holder.reservation(), Record::ReservedTogether { holder: holder.clone() });
        assert_eq!(holder.wiring.leased().count(), 3);
        // One address of IPv4 is what it knows, in the kind that it knows.
        let Record::Reserved { address, holder } = read(RESERVED).unwrap() else { panic!("a reservation") };
        assert_eq!(holder.reservation(), Record::Reserved { address, holder: holder.clone() });
        let mut ipv6 = holder.clone();
        ipv6.wiring.first.address = std::net::Ipv6Addr::LOCALHOST.into();
        assert!(matches!(ipv6.reservation(), Record::ReservedTogether { .. }));
        let mut node_local = holder;
        let address = crate::wiring::EGRESS_V6.network().into();
        node_local.wiring.first.second =
            Some(crate::wiring::SecondAddress { address, table: 254, node_local: true });
        assert!(matches!(node_local.reservation(), Record::ReservedTogether { .. }));
    }

    #[test]
    fn what_is_written_is_read() {
        for line in [ENI, RESERVED, GROWN, CREATING, DELEGATED, TOGETHER] {
            let record = read(line).unwrap();
            assert_eq!(read(&serde_json::to_string(&record).unwrap()).unwrap(), record);
        }
    }
}
