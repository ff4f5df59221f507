//! Identifiers: parsed once at the edge, never confused afterwards.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An identifier that does not have the form its kind requires.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not a valid {kind}: {rule}")]
pub struct InvalidId {
    /// What was being parsed, for example `ENI id`.
    pub kind: &'static str,
    /// The offending text, cut to 80 characters.
    pub value: String,
    /// What would be right.
    pub rule: &'static str,
}

fn invalid(kind: &'static str, value: &str, rule: &'static str) -> InvalidId {
    InvalidId { kind, value: value.chars().take(80).collect(), rule }
}

macro_rules! ec2_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $prefix:literal) => {
        string_id!($(#[$doc])* $name, $kind, concat!("starts with `", $prefix, "`, then letters, digits or dashes"),
            |s: &str| s.len() > $prefix.len() && s.len() <= 64 && s.starts_with($prefix)
                && s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
    };
}

macro_rules! string_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $rule:expr, $valid:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The identifier as text.
            pub fn as_str(&self) -> &str { &self.0 }
        }
        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(s: &str) -> Result<Self, InvalidId> {
                let valid: fn(&str) -> bool = $valid;
                if valid(s) { Ok(Self(s.to_owned())) } else { Err(invalid($kind, s, $rule)) }
            }
        }
        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(s: String) -> Result<Self, InvalidId> { s.parse() }
        }
        impl From<$name> for String {
            fn from(id: $name) -> String { id.0 }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) }
        }
    };
}

ec2_id!(
    /// An elastic network interface, `eni-…`.
    EniId, "ENI id", "eni-"
);
ec2_id!(
    /// The attachment of an ENI to an instance, `eni-attach-…` (not the CNI's [`Attachment`]).
    EniAttachmentId, "ENI attachment id", "eni-attach-"
);
ec2_id!(
    /// An EC2 instance, `i-…`.
    InstanceId, "instance id", "i-"
);
ec2_id!(
    /// A subnet, `subnet-…`.
    SubnetId, "subnet id", "subnet-"
);
ec2_id!(
    /// A security group, `sg-…`.
    SecurityGroupId, "security group id", "sg-"
);
ec2_id!(
    /// A VPC, `vpc-…`.
    VpcId, "VPC id", "vpc-"
);

fn is_cni_name(s: &str) -> bool {
    s.len() <= 256
        && s.starts_with(|c: char| c.is_ascii_alphanumeric())
        && s.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

string_id!(
    /// A container (sandbox) id as the runtime passes it: CNI spec 1.1.0, "Parameters".
    ContainerId, "container id", "starts with a letter or digit, then letters, digits, `_`, `.` or `-`", is_cni_name
);
string_id!(
    /// A CNI network name: CNI spec 1.1.0, "Configuration format".
    NetworkName, "network name", "starts with a letter or digit, then letters, digits, `_`, `.` or `-`", is_cni_name
);
string_id!(
    /// A kernel interface name: 1 to 15 bytes, no `/`, `:` or white space, not `.` or `..`.
    IfName, "interface name", "1 to 15 bytes without `/`, `:` or white space, and neither `.` nor `..`",
    |s| !s.is_empty() && s.len() <= 15 && s != "." && s != ".."
        && !s.contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control())
);

/// A CNI attachment: container × network × interface name (CNI spec 1.1.0, "Lifecycle and ordering").
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Attachment {
    /// The sandbox.
    pub container: ContainerId,
    /// The network configuration's name.
    pub network: NetworkName,
    /// The interface inside the pod.
    pub ifname: IfName,
}

impl fmt::Display for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.container, self.network, self.ifname)
    }
}

/// The Kubernetes pod behind an attachment, when the runtime names it (`CNI_ARGS`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PodName {
    /// `K8S_POD_NAMESPACE`.
    pub namespace: String,
    /// `K8S_POD_NAME`.
    pub name: String,
}

impl fmt::Display for PodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// The number of a decision: unique among the recorded decisions of one kind on one node, and growing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DecisionId(pub u64);

impl fmt::Display for DecisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for DecisionId {
    type Err = InvalidId;
    fn from_str(s: &str) -> Result<Self, InvalidId> {
        s.parse().map(Self).map_err(|_| invalid("decision", s, "the whole number that `enid explain` shows"))
    }
}

/// An Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

impl FromStr for Mac {
    type Err = InvalidId;
    fn from_str(s: &str) -> Result<Self, InvalidId> {
        let bad = || invalid("MAC address", s, "six hexadecimal bytes separated by `:`");
        let mut bytes = [0u8; 6];
        let mut parts = s.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|p| p.len() == 2).ok_or_else(bad)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| bad())?;
        }
        if parts.next().is_some() { Err(bad()) } else { Ok(Self(bytes)) }
    }
}

impl TryFrom<String> for Mac {
    type Error = InvalidId;
    fn try_from(s: String) -> Result<Self, InvalidId> {
        s.parse()
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> String {
        mac.to_string()
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_refuse_the_wrong_prefix_and_empty_rest() {
        assert!("eni-0a1".parse::<EniId>().is_ok());
        for bad in ["", "eni-", "subnet-1", "eni-a b", "eni-ü"] {
            assert!(bad.parse::<EniId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn interface_names_follow_the_kernel() {
        for (name, ok) in [
            ("eth0", true),
            ("a23456789012345", true),
            ("a234567890123456", false),
            ("..", false),
            ("a b", false),
            ("", false),
        ] {
            assert_eq!(name.parse::<IfName>().is_ok(), ok, "{name}");
        }
    }

    #[test]
    fn macs_round_trip() {
        let mac: Mac = "02:0a:00:00:00:1b".parse().unwrap();
        assert_eq!(mac.to_string(), "02:0a:00:00:00:1b");
        assert!("02:0a:00:00:00".parse::<Mac>().is_err());
        assert!("02:0a:00:00:00:1b:00".parse::<Mac>().is_err());
    }
}
