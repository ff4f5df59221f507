//! What EC2 accepted and has yet to do.

use std::collections::BTreeMap;

use enid_core::ids::{EniAttachmentId, EniId, InstanceId};
use enid_core::time::Timestamp;

/// A step that happens by itself when its time has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Transition {
    /// An instance starts running.
    Running(InstanceId),
    /// An ENI's link appears.
    Attached(EniId, EniAttachmentId),
    /// An ENI's link disappears.
    Detached(EniId, EniAttachmentId),
    /// An instance is gone, and its ENIs with it or from it.
    Terminated(InstanceId),
    /// EC2 stops listing a terminated instance.
    Forgotten(InstanceId),
}

/// Steps by time, then by the order they were asked for. At most two per ENI and instance wait.
#[derive(Clone, Debug, Default)]
pub(crate) struct Agenda {
    steps: BTreeMap<(Timestamp, u64), Transition>,
    asked: u64,
}

impl Agenda {
    pub(crate) fn add(&mut self, at: Timestamp, step: Transition) {
        self.asked += 1;
        self.steps.insert((at, self.asked), step);
    }

    /// The next step due at `now`, with its own time.
    pub(crate) fn due(&mut self, now: Timestamp) -> Option<(Timestamp, Transition)> {
        let entry = self.steps.first_entry().filter(|entry| entry.key().0 <= now)?;
        let ((at, _), step) = entry.remove_entry();
        Some((at, step))
    }

    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.steps.first_key_value().map(|((at, _), _)| *at)
    }
}
