//! ADDs that wait for an address: served in the order of their arrival, each until its own deadline.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::{Nics, Ticket};
use crate::ids::{Attachment, PodName};
use crate::time::Timestamp;

/// An ADD that waits for an address.
#[derive(Clone, Debug)]
pub(super) struct Waiter {
    pub(super) ticket: Ticket,
    pub(super) attachment: Attachment,
    pub(super) pod: Option<PodName>,
    pub(super) nics: Nics,
    pub(super) netns: Option<String>,
    pub(super) asked: Timestamp,
    pub(super) deadline: Timestamp,
}

/// The waiters, in order. One per attachment; whoever pushes keeps to [`super::MAX_WAITERS`].
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiters: BTreeMap<u64, Waiter>,
    places: BTreeMap<Attachment, u64>,
    deadlines: BTreeSet<(Timestamp, u64)>,
    next: u64,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.waiters.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    pub(super) fn get(&self, attachment: &Attachment) -> Option<&Waiter> {
        self.waiters.get(self.places.get(attachment)?)
    }

    pub(super) fn contains(&self, attachment: &Attachment) -> bool {
        self.places.contains_key(attachment)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Waiter> {
        self.waiters.values()
    }

    /// When the first of them gives up.
    pub(super) fn first_deadline(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    pub(super) fn push(&mut self, waiter: Waiter) {
        self.next += 1;
        self.places.insert(waiter.attachment.clone(), self.next);
        self.deadlines.insert((waiter.deadline, self.next));
        self.waiters.insert(self.next, waiter);
    }

    pub(super) fn pop(&mut self) -> Option<Waiter> {
        let place = *self.waiters.first_key_value()?.0;
        self.leave(place)
    }

    pub(super) fn remove(&mut self, attachment: &Attachment) -> Option<Waiter> {
        let place = *self.places.get(attachment)?;
        self.leave(place)
    }

    /// Takes out those whose time is up, the soonest deadline first.
    pub(super) fn expire(&mut self, now: Timestamp) -> Vec<Waiter> {
        let mut expired = Vec::new();
        while let Some((_, place)) = self.deadlines.first().filter(|(deadline, _)| *deadline <= now).copied()
        {
            expired.extend(self.leave(place));
        }
        expired
    }

    fn leave(&mut self, place: u64) -> Option<Waiter> {
        let waiter = self.waiters.remove(&place)?;
        self.places.remove(&waiter.attachment);
        self.deadlines.remove(&(waiter.deadline, place));
        Some(waiter)
    }
}
