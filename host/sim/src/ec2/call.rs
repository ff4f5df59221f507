//! The EC2 APIs of this model, by name, and the token bucket each one draws from.

use enid_core::time::Timestamp;

use super::throttle::Bucket;

macro_rules! calls {
    ($($name:ident => $bucket:ident;)*) => {
        /// One EC2 API.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Call { $(
            #[doc = concat!("`", stringify!($name), "`.")]
            $name,
        )* }

        impl Call {
            /// Every API of this model.
            pub const ALL: &[Call] = &[$(Call::$name,)*];

            /// The API's name on the wire.
            pub fn name(self) -> &'static str {
                match self { $(Call::$name => stringify!($name),)* }
            }

            /// The token bucket that a filtered or paginated call draws from.
            pub fn bucket(self) -> Bucket {
                match self { $(Call::$name => Bucket::$bucket,)* }
            }
        }
    };
}

calls! {
    AssignIpv6Addresses => AssignIpv6Addresses;
    AssignPrivateIpAddresses => AssignPrivateIpAddresses;
    AssociateVpcCidrBlock => Mutating;
    AttachNetworkInterface => Mutating;
    CreateNetworkInterface => CreateNetworkInterface;
    CreateTags => CreateTags;
    DeleteNetworkInterface => DeleteNetworkInterface;
    DeleteTags => DeleteTags;
    DescribeAvailabilityZones => Describing;
    DescribeInstanceTypes => Describing;
    DescribeInstances => Describing;
    DescribeNetworkInterfaces => Describing;
    DescribeSecurityGroups => Describing;
    DescribeSubnets => Describing;
    DescribeTags => Describing;
    DescribeVpcs => Describing;
    DetachNetworkInterface => Mutating;
    ModifyNetworkInterfaceAttribute => ModifyNetworkInterfaceAttribute;
    RunInstances => RunInstances;
    TerminateInstances => TerminateInstances;
    UnassignIpv6Addresses => UnassignIpv6Addresses;
    UnassignPrivateIpAddresses => UnassignPrivateIpAddresses;
}

impl std::fmt::Display for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A call that reached EC2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    /// When.
    pub at: Timestamp,
    /// Which API.
    pub call: Call,
    /// Whether the account's token bucket had nothing left for it.
    pub throttled: bool,
}

/// Text that names no API of this model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an EC2 API of this model")]
pub struct UnknownCall(String);

impl std::str::FromStr for Call {
    type Err = UnknownCall;
    fn from_str(text: &str) -> Result<Call, UnknownCall> {
        let known = Call::ALL.iter().copied().find(|call| call.name() == text);
        known.ok_or_else(|| UnknownCall(text.chars().take(80).collect()))
    }
}
