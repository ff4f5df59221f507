//! What the three kinds of question have in common, so that the ladder is written once.

use std::fmt;

use enid_core::admission::{Admitted, Violation, admit_max_pods, admit_subnets, admit_warm_pool};
use enid_core::builtin;
use enid_core::proposal::{Band, Proposal, Ranked};
use enid_core::snapshot::{Context, MaxPodsSnapshot, SubnetSnapshot, WarmPoolSnapshot};

use crate::component::{Component, Kind, Metered};
use crate::fault::Fault;

/// One kind of question.
pub(crate) trait Question {
    /// What a strategy proposes.
    type Proposed: Clone + fmt::Debug;
    /// What the host aims for.
    type Target: Clone + fmt::Debug;
    /// Which kind it is.
    const KIND: Kind;

    /// The context as the node filled it in: time and hints.
    fn context(&self) -> &Context;
    /// Asks a component; `None` when it is of another kind.
    fn ask(
        &self,
        component: &Component,
        context: &Context,
    ) -> Option<Result<Metered<Proposal<Self::Proposed>>, Fault>>;
    /// Asks the strategy compiled into the host.
    fn builtin(&self) -> Proposal<Self::Proposed>;
    /// Bends or refuses a proposal.
    fn admit(&self, proposal: Proposal<Self::Proposed>) -> Result<Admitted<Self::Target>, Violation>;
    /// The target that changes nothing, when there is no earlier one to keep.
    fn still() -> Self::Target;
}

impl Question for WarmPoolSnapshot {
    type Proposed = Band;
    type Target = Band;
    const KIND: Kind = Kind::WarmPool;

    fn context(&self) -> &Context {
        &self.context
    }

    fn ask(
        &self,
        component: &Component,
        context: &Context,
    ) -> Option<Result<Metered<Proposal<Band>>, Fault>> {
        component.warm_pool(context, self)
    }

    fn builtin(&self) -> Proposal<Band> {
        builtin::warm_pool(self)
    }

    fn admit(&self, proposal: Proposal<Band>) -> Result<Admitted<Band>, Violation> {
        admit_warm_pool(self, proposal)
    }

    /// Never grow, never give back.
    fn still() -> Band {
        Band::default()
    }
}

impl Question for MaxPodsSnapshot {
    type Proposed = u32;
    type Target = u32;
    const KIND: Kind = Kind::MaxPods;

    fn context(&self) -> &Context {
        &self.context
    }

    fn ask(&self, component: &Component, context: &Context) -> Option<Result<Metered<Proposal<u32>>, Fault>> {
        component.max_pods(context, self)
    }

    fn builtin(&self) -> Proposal<u32> {
        builtin::max_pods(self)
    }

    fn admit(&self, proposal: Proposal<u32>) -> Result<Admitted<u32>, Violation> {
        admit_max_pods(self, proposal)
    }

    /// No pod beyond those that are there.
    fn still() -> u32 {
        0
    }
}

impl Question for SubnetSnapshot {
    type Proposed = Vec<Ranked>;
    type Target = Vec<u16>;
    const KIND: Kind = Kind::SubnetSelection;

    fn context(&self) -> &Context {
        &self.context
    }

    fn ask(
        &self,
        component: &Component,
        context: &Context,
    ) -> Option<Result<Metered<Proposal<Vec<Ranked>>>, Fault>> {
        component.subnets(context, self)
    }

    fn builtin(&self) -> Proposal<Vec<Ranked>> {
        builtin::subnets(self)
    }

    fn admit(&self, proposal: Proposal<Vec<Ranked>>) -> Result<Admitted<Vec<u16>>, Violation> {
        admit_subnets(self, proposal)
    }

    /// No new ENI anywhere.
    fn still() -> Vec<u16> {
        Vec::new()
    }
}
