//! EC2's view of a node in domain words: what the `Cloud` port speaks.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::ids::{EniAttachmentId, EniId, InstanceId, Mac, SecurityGroupId, SubnetId, VpcId};
use crate::snapshot::{ClusterTag, RoleTag};
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
    /// Delegated prefixes.
    pub prefixes: Vec<Ipv4Net>,
    /// Where it is attached, if it is.
    pub attachment: Option<EniAttachment>,
    /// Whether it is ours to use: not tagged `node.k8s.amazonaws.com/no_manage=true`, not EFA-only, with IPv4.
    pub managed: bool,
    /// Whether its description or tags say that it was created for this instance's pods, by us or by the
    /// incumbent before us: only such an ENI may be given back.
    #[serde(default)]
    pub created_for_pods: bool,
}

/// An ENI's attachment to this instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EniAttachment {
    /// Its id, needed to detach.
    pub id: EniAttachmentId,
    /// Where.
    pub seat: Seat,
    /// Whether EC2 says `attached` (not `attaching` or `detaching`).
    pub settled: bool,
    /// Whether EC2 deletes the ENI with the instance.
    pub delete_on_termination: bool,
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
}

/// What an assign call gave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assigned {
    /// New secondary addresses.
    pub addresses: Vec<Ipv4Addr>,
    /// New prefixes.
    pub prefixes: Vec<Ipv4Net>,
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
    pub fn refused(call: &str, code: &str, message: &str) -> CloudError {
        let kind = match (call, code) {
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
}
