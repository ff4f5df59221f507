//! Whether an ADD could be served: what CNI STATUS, `/readyz` and `enid status` say.

use std::time::Duration;

use serde::Serialize;

use super::NodeState;
use crate::lease::LeaseState;
use crate::report::{Quarantine, WaitReason};
use crate::time::Timestamp;

/// How long the pool may be empty before the node says that it is not ready: a node that is growing should not flap.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether an ADD could be served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum Readiness {
    /// It could.
    Ready,
    /// It could not, because the node carries as many pods as it may: nothing is wrong.
    Full {
        /// Which limit it is.
        reason: WaitReason,
    },
    /// It could not.
    NotReady {
        /// Why.
        reason: WaitReason,
    },
    /// It could not, and pods that are there may be cut off as well.
    Impaired {
        /// What is wrong with them.
        what: String,
        /// Why no ADD is served.
        reason: WaitReason,
    },
}

/// Times in a row that the kernel may refuse what holds for the whole node before new pods are turned away: they would
/// not reach what is outside the VPC.
const REFUSALS: u32 = 3;

impl NodeState {
    /// Whether an ADD could be served now. From memory alone.
    pub fn readiness(&self, now: Timestamp) -> Readiness {
        if self.stopping {
            return Readiness::NotReady { reason: WaitReason::Stopping };
        }
        if let Some(why) = self.kernel.refusal(REFUSALS) {
            let reason = WaitReason::Kernel { why: why.to_owned() };
            return Readiness::Impaired {
                what: "pods may not reach what is outside the VPC".to_owned(),
                reason,
            };
        }
        let Some(since) = self.empty_since else { return Readiness::Ready };
        let reason = self.wait_reason(now);
        match reason {
            // Cooling is waited for only where there is no room for more.
            WaitReason::NodeFull { .. } | WaitReason::MaxPods { .. } | WaitReason::Cooling { .. } => {
                return Readiness::Full { reason };
            }
            WaitReason::Cordoned | WaitReason::NotProvisioned if self.is_used_up() => {
                return Readiness::Full { reason };
            }
            WaitReason::Starting => return Readiness::NotReady { reason },
            WaitReason::Growing { .. }
            | WaitReason::EniComing { .. }
            | WaitReason::Ipv6Coming { .. }
            | WaitReason::Scheduled
            | WaitReason::Budget { .. }
            | WaitReason::CloudAway { .. }
            | WaitReason::Cloud { .. }
            | WaitReason::SubnetsExhausted { .. }
            | WaitReason::NoSubnet
            | WaitReason::NoEniConfig { .. }
            | WaitReason::ForeignSubnets { .. }
            | WaitReason::NoIpv6 { .. }
            | WaitReason::NoNodeLocal
            | WaitReason::Cordoned
            | WaitReason::NotProvisioned
            | WaitReason::Kernel { .. }
            | WaitReason::Journal { .. }
            | WaitReason::Stopping => {}
        }
        // A node that has served nobody yet has nothing to flap from.
        if self.has_served && now.since(since) < PATIENCE {
            return Readiness::Ready;
        }
        match self.unlisted_pods() {
            0 => Readiness::NotReady { reason },
            pods => {
                let what = format!("{pods} pods have addresses that EC2 does not list on this node any more");
                Readiness::Impaired { what, reason }
            }
        }
    }

    /// Whether pods have, or had just now, every address that there is.
    fn is_used_up(&self) -> bool {
        let counts = self.pool.counts();
        counts.held > 0 && counts.held + counts.cooling == counts.total()
    }

    fn unlisted_pods(&self) -> usize {
        let unlisted = |lease: &&crate::lease::Lease| {
            matches!(
                lease.state,
                LeaseState::Quarantined { holder: Some(_), why: Quarantine::NotInCloud { .. } }
            )
        };
        self.pool.iter().filter(unlisted).count()
    }
}
