//! A strategy's answer in the words of the state, and what takes its place.

use std::time::Duration;

use enid_core::ids::SubnetId;
use enid_core::report::{Decision, Rung};

/// The built-in rule's answer, when asking the strategy itself went wrong in the host.
pub(super) fn stand_in<T>(target: T) -> Decision<T> {
    Decision {
        target,
        rung: Rung::Builtin,
        strategy: "builtin".to_owned(),
        reason: "the built-in rule".to_owned(),
        next_check: None,
        faults: vec!["asking the strategy ended without an outcome".to_owned()],
        fuel: None,
        took: Duration::ZERO,
        record: None,
    }
}

/// Resolves the strategy's indices to the subnets they stand for.
pub fn in_order(decision: Decision<Vec<u16>>, subnets: &[SubnetId]) -> Decision<Vec<SubnetId>> {
    let target =
        decision.target.iter().filter_map(|index| subnets.get(usize::from(*index)).cloned()).collect();
    Decision {
        target,
        rung: decision.rung,
        strategy: decision.strategy,
        reason: decision.reason,
        next_check: decision.next_check,
        faults: decision.faults,
        fuel: decision.fuel,
        took: decision.took,
        record: decision.record,
    }
}
