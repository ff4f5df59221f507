//! The CNI specification as data: what a runtime sends and what it gets back.
//!
//! * [`call`]: verb and environment, read through one table; [`args`]: `CNI_ARGS`.
//! * [`config`]: the network configuration on stdin; [`annotations`]: what the pod says in it.
//! * [`version`]: the spec versions spoken.
//! * [`result`]: what ADD prints, per version; [`error`]: what a failure prints; [`code`]: its number;
//!   [`reason`]: the plugin's own causes.

pub mod annotations;
pub mod args;
pub mod call;
pub mod code;
pub mod config;
pub mod error;
pub mod reason;
pub mod result;
pub mod version;
