//! Watching a daemon and tampering with it: what it did, when it dies, and who stands between it and its world.

use enid_core::event::{Effect, Event};
use enid_core::time::Timestamp;

use crate::node::SimNode;

/// Something that a watched daemon did or heard.
#[derive(Clone, Debug)]
pub struct Deed {
    /// When, by the daemon's clock.
    pub at: Timestamp,
    /// Whether the journal lacked something then, so that nothing new was begun.
    pub journal_behind: bool,
    /// What.
    pub what: What,
}

/// See [`Deed`].
#[derive(Clone, Debug)]
pub enum What {
    /// It had this done; records only when they were written.
    Effect(Box<Effect>),
    /// This came in.
    Event(Box<Event>),
    /// It died and started again.
    Died,
    /// Its journal was written anew.
    Compacted,
}

/// When a daemon dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// Before an effect is performed.
    BeforeEffect,
    /// Right after one was.
    AfterEffect,
    /// Before an outcome is heard.
    BeforeOutcome,
}

/// A deliberate bug: stands between the daemon's decisions and its world. For tests that prove that such a bug
/// is found.
pub trait Saboteur<S>: Send {
    /// What is performed instead of `effects`; `outcomes` are heard soon.
    fn effects(&mut self, node: &SimNode<S>, effects: Vec<Effect>, outcomes: &mut Vec<Event>) -> Vec<Effect>;

    /// What is heard instead of `event`, if anything.
    fn event(&mut self, _: &SimNode<S>, event: Event) -> Option<Event> {
        Some(event)
    }
}
