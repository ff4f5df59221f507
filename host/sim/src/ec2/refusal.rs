//! How EC2 says no: error codes with their HTTP status, and replies that never arrive.

use enid_core::cloud::CloudError;

use super::call::Call;

/// A call that did not end well for its caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// EC2 refused and changed nothing.
    #[error("{code}: {message}")]
    Refused {
        /// The error code.
        code: Code,
        /// EC2's sentence for people.
        message: String,
    },
    /// The call was carried out, but its reply is lost: the caller must not be told the outcome.
    #[error("the reply to {call} was lost")]
    ReplyLost {
        /// Which call.
        call: Call,
    },
}

impl CallError {
    pub(crate) fn refuse(code: Code, message: impl Into<String>) -> CallError {
        CallError::Refused { code, message: message.into() }
    }

    /// The same failure as the `Cloud` port reports it.
    pub fn into_cloud_error(self, call: Call) -> CloudError {
        match self {
            CallError::Refused { code, message } => CloudError::refused(call.name(), code.as_str(), &message),
            CallError::ReplyLost { call } => CloudError::unanswered(call.name(), "no reply"),
        }
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:literal;)*) => {
        /// An EC2 error code (EC2 API reference, "Error codes").
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// Every code this model knows.
            pub const ALL: &[Code] = &[$(Code::$name,)*];

            /// The code as EC2 spells it.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$name => $text,)* }
            }

            /// The HTTP status that EC2 sends it with.
            pub fn status(self) -> u16 {
                match self { $(Code::$name => $status,)* }
            }
        }
    };
}

codes! {
    /// More ENIs than the instance type's network card takes.
    AttachmentLimitExceeded = "AttachmentLimitExceeded", 400;
    /// Credentials missing or unknown.
    AuthFailure = "AuthFailure", 401;
    /// More ranges than a VPC takes.
    CidrLimitExceeded = "CidrLimitExceeded", 400;
    /// The dry run would have succeeded.
    DryRunOperation = "DryRunOperation", 412;
    /// The client token was used with other parameters.
    IdempotentParameterMismatch = "IdempotentParameterMismatch", 400;
    /// The resource is in a state that does not allow the call.
    IncorrectState = "IncorrectState", 400;
    /// No whole /28 block left.
    InsufficientCidrBlocks = "InsufficientCidrBlocks", 400;
    /// Fewer free addresses than asked for.
    InsufficientFreeAddressesInSubnet = "InsufficientFreeAddressesInSubnet", 400;
    /// Something broke inside EC2; outcome unknown.
    InternalError = "InternalError", 500;
    /// No such API.
    InvalidAction = "InvalidAction", 400;
    /// No such attachment.
    InvalidAttachmentIdNotFound = "InvalidAttachmentID.NotFound", 400;
    /// Not a security group id.
    InvalidGroupIdMalformed = "InvalidGroupId.Malformed", 400;
    /// No such security group.
    InvalidGroupNotFound = "InvalidGroup.NotFound", 400;
    /// Not a taggable resource's id.
    InvalidId = "InvalidID", 400;
    /// Not an instance id.
    InvalidInstanceIdMalformed = "InvalidInstanceID.Malformed", 400;
    /// No such instance.
    InvalidInstanceIdNotFound = "InvalidInstanceID.NotFound", 400;
    /// No such instance type.
    InvalidInstanceType = "InvalidInstanceType", 400;
    /// The address belongs to another interface.
    InvalidIpAddressInUse = "InvalidIPAddress.InUse", 400;
    /// Not an ENI id.
    InvalidNetworkInterfaceIdMalformed = "InvalidNetworkInterfaceId.Malformed", 400;
    /// No such ENI.
    InvalidNetworkInterfaceIdNotFound = "InvalidNetworkInterfaceID.NotFound", 400;
    /// The ENI is attached.
    InvalidNetworkInterfaceInUse = "InvalidNetworkInterface.InUse", 400;
    /// A page token that we did not give.
    InvalidNextToken = "InvalidNextToken", 400;
    /// Parameters that exclude each other.
    InvalidParameterCombination = "InvalidParameterCombination", 400;
    /// A value that does not fit.
    InvalidParameterValue = "InvalidParameterValue", 400;
    /// A subnet range that overlaps another.
    InvalidSubnetConflict = "InvalidSubnet.Conflict", 400;
    /// No such subnet.
    InvalidSubnetIdNotFound = "InvalidSubnetID.NotFound", 400;
    /// A subnet range outside its VPC.
    InvalidSubnetRange = "InvalidSubnet.Range", 400;
    /// No such VPC.
    InvalidVpcIdNotFound = "InvalidVpcID.NotFound", 400;
    /// A VPC range of a wrong size.
    InvalidVpcRange = "InvalidVpc.Range", 400;
    /// The request cannot be read.
    MalformedQueryString = "MalformedQueryString", 400;
    /// No `Action`.
    MissingAction = "MissingAction", 400;
    /// A required parameter is absent.
    MissingParameter = "MissingParameter", 400;
    /// The account's quota of ENIs.
    NetworkInterfaceLimitExceeded = "NetworkInterfaceLimitExceeded", 400;
    /// An API version that this model does not speak.
    NoSuchVersion = "NoSuchVersion", 400;
    /// What was asked may never be done.
    OperationNotPermitted = "OperationNotPermitted", 400;
    /// More addresses and prefixes than the instance type's ENIs hold.
    PrivateIpAddressLimitExceeded = "PrivateIpAddressLimitExceeded", 400;
    /// The token bucket is empty.
    RequestLimitExceeded = "RequestLimitExceeded", 503;
    /// More security groups than one ENI takes.
    SecurityGroupsPerInterfaceLimitExceeded = "SecurityGroupsPerInterfaceLimitExceeded", 400;
    /// More than 50 tags.
    TagLimitExceeded = "TagLimitExceeded", 400;
    /// No permission.
    UnauthorizedOperation = "UnauthorizedOperation", 403;
    /// EC2 is not available; outcome unknown.
    Unavailable = "Unavailable", 503;
    /// A parameter that this API does not have.
    UnknownParameter = "UnknownParameter", 400;
    /// Something EC2 or this model does not do.
    UnsupportedOperation = "UnsupportedOperation", 400;
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Text that is not an error code of this model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an EC2 error code known here")]
pub struct UnknownCode(String);

impl std::str::FromStr for Code {
    type Err = UnknownCode;
    fn from_str(text: &str) -> Result<Code, UnknownCode> {
        let known = Code::ALL.iter().copied().find(|code| code.as_str() == text);
        known.ok_or_else(|| UnknownCode(text.chars().take(80).collect()))
    }
}
