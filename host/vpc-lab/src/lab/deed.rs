//! What others do in the VPC, behind EC2's back as far as a daemon can see.

use std::net::Ipv4Addr;

use enid_core::ids::SubnetId;
use serde::{Deserialize, Serialize};

use super::landscape::Plot;

/// Something that others do, or that goes wrong. What a person does through EC2 itself (tags, ranges, ENIs) is a call like any other:
/// [`Lab::call`](super::Lab::call).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Deed {
    /// A subnet is made.
    AddSubnet(Plot),
    /// Strangers take one address in every whole /28 of a subnet.
    Fragment(SubnetId),
    /// Strangers take these addresses.
    Occupy {
        /// The subnet.
        subnet: SubnetId,
        /// Addresses that are free.
        addresses: Vec<Ipv4Addr>,
    },
    /// All strangers leave a subnet.
    Vacate(SubnetId),
    /// The next calls to EC2 go wrong.
    Break {
        /// The API; `None` is any.
        api: Option<String>,
        /// How many calls.
        times: u32,
        /// How.
        breakage: Breakage,
    },
    /// No call goes wrong any more that has not yet.
    Mend,
}

/// How a call to EC2 goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Breakage {
    /// It is answered so many milliseconds later.
    Slow(u64),
    /// EC2 acts, and the answer never arrives.
    Lost,
    /// `RequestLimitExceeded`.
    Throttled,
    /// `InternalError`, and EC2 does nothing.
    Failed,
}
