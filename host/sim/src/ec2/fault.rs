//! Faults that a test or an operator of the lab asks for.

use std::collections::VecDeque;
use std::time::Duration;

use super::call::Call;
use super::refusal::Code;

/// Waiting faults beyond this are refused: a runaway test should fail, not fill memory.
const MAX_QUEUED: usize = 1024;

/// What goes wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// EC2 takes this much longer to answer.
    Delay(Duration),
    /// EC2 refuses with this code and does nothing.
    Error(Code),
    /// EC2 acts, and its reply never arrives.
    LostReply,
    /// `RequestLimitExceeded`.
    Throttle,
}

/// The next `times` calls of one API go wrong in one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which API; `None` is any.
    pub call: Option<Call>,
    /// How often; a fault with zero does nothing.
    pub times: u32,
    /// How.
    pub kind: FaultKind,
}

/// The queue of faults is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("queue a fault: {MAX_QUEUED} are waiting already")]
pub struct TooManyFaults;

/// Faults not yet used up, oldest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    waiting: VecDeque<Fault>,
}

impl Faults {
    pub(crate) fn queue(&mut self, fault: Fault) -> Result<(), TooManyFaults> {
        if self.waiting.len() >= MAX_QUEUED {
            return Err(TooManyFaults);
        }
        self.waiting.push_back(fault);
        Ok(())
    }

    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
    }

    /// Uses up one delay meant for `call`.
    pub(crate) fn delay(&mut self, call: Call) -> Duration {
        let kind = self.use_first(call, |kind| match kind {
            FaultKind::Delay(_) => true,
            FaultKind::Error(_) | FaultKind::LostReply | FaultKind::Throttle => false,
        });
        match kind {
            Some(FaultKind::Delay(delay)) => delay,
            Some(FaultKind::Error(_) | FaultKind::LostReply | FaultKind::Throttle) | None => Duration::ZERO,
        }
    }

    /// Uses up one failure meant for `call`.
    pub(crate) fn failure(&mut self, call: Call) -> Option<FaultKind> {
        self.use_first(call, |kind| match kind {
            FaultKind::Delay(_) => false,
            FaultKind::Error(_) | FaultKind::LostReply | FaultKind::Throttle => true,
        })
    }

    fn use_first(&mut self, call: Call, of_kind: impl Fn(FaultKind) -> bool) -> Option<FaultKind> {
        self.waiting.retain(|fault| fault.times > 0);
        let meant = |fault: &&mut Fault| fault.call.is_none_or(|meant| meant == call) && of_kind(fault.kind);
        let fault = self.waiting.iter_mut().find(meant)?;
        fault.times -= 1;
        Some(fault.kind)
    }
}
