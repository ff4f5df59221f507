//! The engine's view of the strategies.

use enid_core::proposal::Band;
use enid_core::report::Decision;
use enid_core::snapshot::{MaxPodsSnapshot, SubnetSnapshot, WarmPoolSnapshot};
use enid_engine::ports::Strategist;

use crate::policy::Policy;

impl Strategist for Policy {
    fn warm_pool(&self, snapshot: &WarmPoolSnapshot) -> Decision<Band> {
        self.decide_warm_pool(snapshot)
    }

    fn max_pods(&self, snapshot: &MaxPodsSnapshot) -> Decision<u32> {
        self.decide_max_pods(snapshot)
    }

    fn subnets(&self, snapshot: &SubnetSnapshot) -> Decision<Vec<u16>> {
        self.decide_subnets(snapshot)
    }
}
