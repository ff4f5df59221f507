//! The parts of [`Status`](super::Status) that say how the node stands towards EC2, the kernel and those who wait.

use super::NodeState;
use super::view::{
    BlockStatus, BudgetStatus, KernelStatus, MAX_LISTED, QuarantineStatus, WaiterStatus, WithheldStatus,
};
use crate::budget::Class;
use crate::lease::LeaseState;
use crate::time::Timestamp;

impl NodeState {
    pub(super) fn withheld_status(&self, now: Timestamp) -> WithheldStatus {
        let health = self.restraint.health();
        WithheldStatus {
            mode: self.restraint.mode(now),
            for_secs: now.since(health.since().max(self.started)).as_secs(),
            failing_milli: health.error_rate_milli(now),
        }
    }

    pub(super) fn budget_status(&self, now: Timestamp) -> Vec<BudgetStatus> {
        let small = |milli: u64| u32::try_from(milli).unwrap_or(u32::MAX);
        let of = |class: Class| {
            let level = self.restraint.budget().level(class, now);
            BudgetStatus {
                class: class.name(),
                left_milli: u32::try_from(level.tokens_milli.max(0)).unwrap_or(u32::MAX),
                burst_milli: small(level.capacity_milli),
                per_second_milli: small(level.per_second_milli),
                factor_milli: level.rate_milli,
            }
        };
        Class::ALL.map(of).to_vec()
    }

    pub(super) fn waiters(&self, now: Timestamp) -> Vec<WaiterStatus> {
        if self.queue.is_empty() {
            return Vec::new();
        }
        let reason = self.wait_reason(now);
        let of = |waiter: &super::Waiter| WaiterStatus {
            pod: waiter.pod.as_ref().map(ToString::to_string),
            attachment: waiter.attachment.to_string(),
            for_secs: now.since(waiter.asked).as_secs(),
            reason: reason.clone(),
        };
        self.queue.iter().take(MAX_LISTED).map(of).collect()
    }

    pub(super) fn quarantined(&self, now: Timestamp) -> Vec<QuarantineStatus> {
        let leases = self.pool.iter().filter_map(|lease| match &lease.state {
            LeaseState::Quarantined { holder, why } => Some(QuarantineStatus {
                address: lease.address,
                pod: holder.as_ref().and_then(|holder| holder.pod.as_ref()).map(ToString::to_string),
                why: why.clone(),
                for_secs: now.since(lease.since).as_secs(),
            }),
            LeaseState::Free
            | LeaseState::Reserved(_)
            | LeaseState::Bound(_)
            | LeaseState::Unbinding(_)
            | LeaseState::Cooling { .. }
            | LeaseState::Returning => None,
        });
        leases.take(MAX_LISTED).collect()
    }

    pub(super) fn block_status(&self) -> Vec<BlockStatus> {
        let on = self.enis.keys().flat_map(|eni| self.pool.blocks_on(eni).map(move |block| (eni, block)));
        let blocks = on.map(|(eni, block)| BlockStatus {
            range: block.range,
            eni: eni.clone(),
            bound: block.counts.held,
            cooling: block.counts.cooling,
        });
        blocks.collect()
    }

    pub(super) fn kernel_status(&self, now: Timestamp) -> KernelStatus {
        KernelStatus {
            looked_secs_ago: self.reconcile.seen().map(|seen| now.since(seen).as_secs()),
            drifts: self.reconcile.drifts().iter().take(MAX_LISTED).cloned().collect(),
            found: self.reconcile.found(),
            repaired: self.reconcile.repaired(),
        }
    }
}
