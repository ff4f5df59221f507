//! EC2's view of a node in domain words: what the `Cloud` port speaks.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::ids::{EniAttachmentId, EniId, InstanceId, Mac, SecurityGroupId, SubnetId, VpcId};
use crate::limits::PREFIX_ADDRESSES;
use crate::snapshot::{ClusterTag, RoleTag};
use crate::time::Timestamp;
use crate::wiring::Seat;

/// Who this node is, as instance metadata says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeIdentity {
    /// `instance-id`.
    pub instance: InstanceId,
    /// `instance-type`.
    pub instance_type: String,
    /// `placement/region`.
    pub region: String,
    /// `placement/availability-zone`.
    pub zone: String,
    /// The primary ENI's VPC.
    pub vpc: VpcId,
    /// The primary ENI.
    pub primary_eni: EniId,
    /// Its MAC.
    pub primary_mac: Mac,
    /// `local-ipv4`.
    pub primary_address: Ipv4Addr,
    /// Its subnet.
    pub subnet: SubnetId,
    /// Its security groups, given to ENIs that we create.
    pub security_groups: Vec<SecurityGroupId>,
    /// `vpc-ipv4-cidr-blocks`.
    pub vpc_cidrs: Vec<Ipv4Net>,
    /// The primary ENI's first IPv6 address that is not out of a delegated prefix, if it has one.
    #[serde(default)]
    pub primary_ipv6: Option<Ipv6Addr>,
    /// `vpc-ipv6-cidr-blocks`; empty in a VPC without IPv6.
    #[serde(default)]
    pub vpc_ipv6_cidrs: Vec<Ipv6Net>,
    /// Not from metadata: ranges of the zone's subnets that pods may be in, as EC2 last described them.
    #[serde(default)]
    pub pod_ranges: Vec<IpNet>,
}

/// The VPC's address ranges, as instance metadata says: they change when the VPC gets a secondary range.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VpcRanges {
    /// `vpc-ipv4-cidr-blocks`; never empty.
    pub ipv4: Vec<Ipv4Net>,
    /// `vpc-ipv6-cidr-blocks`.
    pub ipv6: Vec<Ipv6Net>,
}

/// One ENI as EC2 (or metadata) describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloudEni {
    /// Its id.
    pub id: EniId,
    /// Its MAC.
    pub mac: Mac,
    /// Its subnet.
    pub subnet: SubnetId,
    /// Its subnet's range.
    pub subnet_cidr: Ipv4Net,
    /// Its own address, never a pod's.
    pub primary_address: Ipv4Addr,
    /// Secondary addresses.
    pub addresses: Vec<Ipv4Addr>,
    /// Delegated IPv4 prefixes, each a /28.
    pub prefixes: Vec<Ipv4Net>,
    /// Delegated IPv6 prefixes, each a /80.
    #[serde(default)]
    pub ipv6_prefixes: Vec<Ipv6Net>,
    /// Its security groups; empty when the source does not tell.
    #[serde(default)]
    pub security_groups: Vec<SecurityGroupId>,
    /// Where it is attached, if it is.
    pub attachment: Option<EniAttachment>,
    /// Whether it may be used for pods: not tagged `node.k8s.amazonaws.com/no_manage=true`, not EFA-only, with
    /// IPv4.
    pub managed: bool,
    /// Whether its description or tags say that it was created for this instance's pods, by us or by the
    /// incumbent before us: only such an ENI may be given back.
    #[serde(default)]
    pub created_for_pods: bool,
}

/// An ENI's attachment to this instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EniAttachment {
    /// Its id, needed to detach; metadata does not tell it.
    pub id: Option<EniAttachmentId>,
    /// Where.
    pub seat: Seat,
    /// Whether EC2 says `attached` (not `attaching` or `detaching`).
    pub settled: bool,
    /// Whether EC2 deletes the ENI with the instance.
    pub delete_on_termination: bool,
}

/// An ENI that was created for pods and is attached to nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orphan {
    /// Its id.
    pub id: EniId,
    /// For which instance's pods, by its tag `node.k8s.amazonaws.com/instance_id`.
    pub instance: InstanceId,
    /// When it was created, by its tag `node.k8s.amazonaws.com/createdAt`; `None` where that says nothing.
    pub created: Option<Timestamp>,
}

/// One subnet as EC2 describes it, its tags already read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloudSubnet {
    /// Its id.
    pub id: SubnetId,
    /// Its zone.
    pub zone: String,
    /// Its range.
    pub cidr: Ipv4Net,
    /// Its IPv6 range, if it has one.
    #[serde(default)]
    pub ipv6_cidr: Option<Ipv6Net>,
    /// `AvailableIpAddressCount`.
    pub free: u32,
    /// What `kubernetes.io/role/cni` says.
    pub role: RoleTag,
    /// What `cni.networking.k8s.aws/cluster/…` say.
    pub cluster: ClusterTag,
}

/// What to create an ENI with (`CreateNetworkInterface`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewEni {
    /// Where.
    pub subnet: SubnetId,
    /// `SecurityGroupIds`.
    pub security_groups: Vec<SecurityGroupId>,
    /// Secondary addresses or prefixes it is born with.
    pub supply: Supply,
    /// `Description`; sweeps recognise ours by the incumbent's `aws-K8S-<instance>`.
    pub description: String,
    /// Tags, applied in the same call.
    pub tags: Vec<(String, String)>,
    /// `ClientToken`: asking twice with one token creates one ENI.
    pub client_token: String,
}

/// An amount of supply to assign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Supply {
    /// This many secondary addresses.
    Addresses(u32),
    /// This many /28 prefixes.
    Prefixes(u32),
    /// This many /80 prefixes (`AssignIpv6Addresses`); an ENI is never born with them.
    #[serde(rename = "ipv6-prefixes")]
    Ipv6Prefixes(u32),
}

impl Supply {
    /// Pod addresses that it yields; an IPv6 prefix yields more than are counted.
    pub fn addresses(self) -> u32 {
        match self {
            Supply::Addresses(count) => count,
            Supply::Prefixes(count) => count.saturating_mul(PREFIX_ADDRESSES),
            Supply::Ipv6Prefixes(_) => 0,
        }
    }

    /// IPv4 slots of the ENI that it takes.
    pub fn slots(self) -> u32 {
        match self {
            Supply::Addresses(count) | Supply::Prefixes(count) => count,
            Supply::Ipv6Prefixes(_) => 0,
        }
    }
}

/// What an assign call gave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assigned {
    /// New secondary addresses.
    pub addresses: Vec<Ipv4Addr>,
    /// New prefixes.
    pub prefixes: Vec<Ipv4Net>,
    /// New IPv6 prefixes.
    #[serde(default)]
    pub ipv6_prefixes: Vec<Ipv6Net>,
}

/// Why a call to EC2 or metadata failed; retry looks at the kind, never at text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{call}: {kind}: {message}")]
pub struct CloudError {
    /// The EC2 API name, or `IMDS`.
    pub call: String,
    /// What kind of failure.
    pub kind: CloudErrorKind,
    /// EC2's own code and message.
    pub message: String,
}

/// Kinds of failure, by what can be done about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CloudErrorKind {
    /// `RequestLimitExceeded` and kin: the account's budget is spent; later.
    Throttled,
    /// `InsufficientFreeAddressesInSubnet`: another subnet, or later.
    NoFreeAddresses,
    /// `InsufficientCidrBlocks`: no contiguous /28; single addresses may still work.
    NoFreeBlocks,
    /// `PrivateIpAddressLimitExceeded`, `AttachmentLimitExceeded`: our picture is stale; look again.
    LimitExceeded,
    /// In use, wrong state, index taken: look again.
    Conflict,
    /// `…NotFound`: it is not there (any more).
    Gone,
    /// `UnauthorizedOperation`, missing credentials: a human must act.
    Denied,
    /// `InvalidParameter…` and the like: our own request is wrong.
    Rejected,
    /// No answer: time-out, connection refused, 5xx. The outcome is unknown.
    Unavailable,
    /// The daemon did not ask, because the journal cannot be written: nothing has happened.
    NotAsked,
}

impl std::fmt::Display for CloudErrorKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            CloudErrorKind::Throttled => "throttled",
            CloudErrorKind::NoFreeAddresses => "subnet has no free addresses",
            CloudErrorKind::NoFreeBlocks => "subnet has no free /28 block",
            CloudErrorKind::LimitExceeded => "limit exceeded",
            CloudErrorKind::Conflict => "conflict",
            CloudErrorKind::Gone => "not found",
            CloudErrorKind::Denied => "denied",
            CloudErrorKind::Rejected => "rejected",
            CloudErrorKind::Unavailable => "unavailable",
            CloudErrorKind::NotAsked => "not asked",
        })
    }
}

/// What can be done about an EC2 error code; a code that we do not know counts as an unknown outcome.
///
/// Codes: EC2 API reference, "Error codes". One code means different things to different calls:
/// prefer [`CloudError::refused`], which knows the call too.
pub fn error_kind(code: &str) -> CloudErrorKind {
    match code {
        "RequestLimitExceeded"
        | "EC2ThrottledException"
        | "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "TooManyRequestsException"
        | "BandwidthLimitExceeded"
        | "SlowDown" => CloudErrorKind::Throttled,
        "InsufficientFreeAddressesInSubnet" => CloudErrorKind::NoFreeAddresses,
        "InsufficientCidrBlocks" => CloudErrorKind::NoFreeBlocks,
        "IncorrectState" | "IncorrectInstanceState" | "DependencyViolation" => CloudErrorKind::Conflict,
        "UnauthorizedOperation"
        | "AuthFailure"
        | "Blocked"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "IncompleteSignature"
        | "InvalidClientTokenId"
        | "InvalidSecurity.RequestHasExpired"
        | "MissingAuthenticationToken"
        | "OptInRequired"
        | "PendingVerification"
        | "RequestExpired"
        | "SignatureDoesNotMatch"
        | "UnrecognizedClientException"
        | "CredentialsNotLoaded"
        | "NotAuthorized" => CloudErrorKind::Denied,
        "DryRunOperation"
        | "IdempotentParameterMismatch"
        | "OperationNotPermitted"
        // Quotas on what one request asks for: looking again changes nothing.
        | "SecurityGroupsPerInterfaceLimitExceeded"
        | "TagLimitExceeded"
        | "UnknownParameter"
        | "UnsupportedOperation"
        | "ValidationError" => CloudErrorKind::Rejected,
        _ if code.starts_with("AccessDenied") => CloudErrorKind::Denied,
        _ if code.ends_with("LimitExceeded") => CloudErrorKind::LimitExceeded,
        _ if code.ends_with(".NotFound") => CloudErrorKind::Gone,
        _ if code.ends_with(".InUse") => CloudErrorKind::Conflict,
        _ if ["Invalid", "Missing", "Malformed"].iter().any(|start| code.starts_with(start)) => {
            CloudErrorKind::Rejected
        }
        _ => CloudErrorKind::Unavailable,
    }
}

impl CloudError {
    /// EC2 answered `call` with an error code and message.
    ///
    /// `InvalidParameterValue` is how EC2 says "still attached" to a delete, "index taken" to an attach and
    /// "not assigned here" to an unassign: those mean that our picture is stale, not that we asked nonsense.
    /// And it is how EC2 says that a subnet has fewer addresses than asked for; what else it means to these
    /// two calls only its words tell (aws/amazon-vpc-cni-k8s#3105).
    pub fn refused(call: &str, code: &str, message: &str) -> CloudError {
        let kind = match (call, code) {
            ("AssignPrivateIpAddresses" | "CreateNetworkInterface", "InvalidParameterValue")
                if message.contains("sufficient free") =>
            {
                CloudErrorKind::NoFreeAddresses
            }
            (
                "AttachNetworkInterface" | "DeleteNetworkInterface" | "UnassignPrivateIpAddresses",
                "InvalidParameterValue",
            ) => CloudErrorKind::Conflict,
            (_, code) => error_kind(code),
        };
        CloudError { call: call.to_owned(), kind, message: format!("{code}: {message}") }
    }

    /// `call` got no answer: whether EC2 acted on it is not known.
    pub fn unanswered(call: &str, why: &str) -> CloudError {
        CloudError { call: call.to_owned(), kind: CloudErrorKind::Unavailable, message: why.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_codes_sort_by_what_can_be_done() {
        for (code, kind) in [
            ("RequestLimitExceeded", CloudErrorKind::Throttled),
            ("InsufficientFreeAddressesInSubnet", CloudErrorKind::NoFreeAddresses),
            ("InsufficientCidrBlocks", CloudErrorKind::NoFreeBlocks),
            ("PrivateIpAddressLimitExceeded", CloudErrorKind::LimitExceeded),
            ("AttachmentLimitExceeded", CloudErrorKind::LimitExceeded),
            ("InvalidNetworkInterface.InUse", CloudErrorKind::Conflict),
            ("IncorrectState", CloudErrorKind::Conflict),
            ("InvalidNetworkInterfaceID.NotFound", CloudErrorKind::Gone),
            ("InvalidGroup.NotFound", CloudErrorKind::Gone),
            ("UnauthorizedOperation", CloudErrorKind::Denied),
            ("InvalidSecurity.RequestHasExpired", CloudErrorKind::Denied),
            ("SecurityGroupsPerInterfaceLimitExceeded", CloudErrorKind::Rejected),
            ("TagLimitExceeded", CloudErrorKind::Rejected),
            ("InvalidParameterValue", CloudErrorKind::Rejected),
            ("MissingParameter", CloudErrorKind::Rejected),
            ("InternalError", CloudErrorKind::Unavailable),
            ("SomethingNew", CloudErrorKind::Unavailable),
        ] {
            assert_eq!(error_kind(code), kind, "{code}");
        }
    }

    #[test]
    fn deleting_an_attached_eni_is_a_conflict_although_ec2_calls_it_an_invalid_value() {
        let error =
            CloudError::refused("DeleteNetworkInterface", "InvalidParameterValue", "currently in use");
        assert_eq!(error.kind, CloudErrorKind::Conflict);
        let error = CloudError::refused("CreateNetworkInterface", "InvalidParameterValue", "description");
        assert_eq!(error.kind, CloudErrorKind::Rejected);
    }

    #[test]
    fn a_subnet_with_too_few_addresses_is_told_from_nonsense_by_ec2s_words() {
        let too_few = "There aren't sufficient free Ipv4 addresses or prefixes";
        for (call, message, kind) in [
            ("CreateNetworkInterface", too_few, CloudErrorKind::NoFreeAddresses),
            ("AssignPrivateIpAddresses", too_few, CloudErrorKind::NoFreeAddresses),
            ("AssignPrivateIpAddresses", "count", CloudErrorKind::Rejected),
            ("AttachNetworkInterface", too_few, CloudErrorKind::Conflict),
        ] {
            let error = CloudError::refused(call, "InvalidParameterValue", message);
            assert_eq!(error.kind, kind, "{call} {message}");
        }
    }
}
