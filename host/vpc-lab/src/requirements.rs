//! What this machine must offer before a lab can be built.

use rustix::thread::{CapabilitySet, capabilities};

use crate::iproute::{Tool, ToolError};

/// Something that is missing, and how to get it.
#[derive(Debug, thiserror::Error)]
pub enum Unmet {
    /// The kernel will not let this process make namespaces.
    #[error(
        "network namespaces need root (missing: {missing}): run it with sudo, or in a container with --privileged"
    )]
    Privilege {
        /// The missing capabilities.
        missing: String,
    },
    /// A tool is not installed.
    #[error(transparent)]
    Tool(#[from] ToolError),
}

/// Everything that is missing; empty when a lab can be built.
pub fn unmet() -> Vec<Unmet> {
    let mut unmet: Vec<Unmet> = missing_privilege().into_iter().collect();
    unmet.extend(Tool::ALL.into_iter().filter_map(|tool| tool.locate().err()).map(Unmet::Tool));
    unmet
}

/// User id 0 alone says little: in a container it often lacks what counts.
fn missing_privilege() -> Option<Unmet> {
    let needed = [("CAP_NET_ADMIN", CapabilitySet::NET_ADMIN), ("CAP_SYS_ADMIN", CapabilitySet::SYS_ADMIN)];
    let have = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    let missing: Vec<&str> =
        needed.into_iter().filter(|(_, flag)| !have.contains(*flag)).map(|(name, _)| name).collect();
    (!missing.is_empty()).then(|| Unmet::Privilege { missing: missing.join(", ") })
}
