//! EC2 and instance metadata as the engine's `Cloud` port sees them.
//!
//! Translates between the AWS SDK's words and `enid_core::cloud`. Never decides, never retries (the
//! engine does, by the kind of failure), never logs credentials, and never panics over what EC2 or
//! metadata answer. Metadata is IMDSv2 only.
//!
//! * [`Options`], [`Timeouts`], [`ConnectError`]: where EC2 and metadata are reached, and how patiently.
//! * [`AwsCloud`]: the port.
//! * `metadata`: who this node is, and which interfaces it has.
//! * `network_interface`, `orphan`, `prefix`, `subnet`, `instance_type`: what EC2 describes, read into domain types.
//! * `failure`: every way a call can fail, as a `CloudError`.
#![forbid(unsafe_code)]

mod aws_cloud;
mod failure;
mod instance_type;
mod metadata;
mod network_interface;
mod options;
mod orphan;
mod prefix;
mod subnet;

pub use aws_cloud::AwsCloud;
pub use options::{ConnectError, Options, Timeouts};
