//! Deferred deletion of host veths whose pods are gone.
//!
//! Deleting one veth costs the kernel tens of milliseconds, deleting a group of two hundred hardly more. So a
//! DEL only moves its veth into the doomed group; this thread deletes the group a moment later. Most of the
//! time there is nothing left by then, because the runtime dropped the pod's namespace and the pair with it.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use enid_engine::ports::DatapathError;

use crate::link;
use crate::netlink::Netlink;

/// Long enough to gather a wave of DELs, short enough that nobody sees a dead link for a second.
const GATHER: Duration = Duration::from_millis(150);
/// A kernel that refuses is asked again so often; the next DEL asks again, too.
const ATTEMPTS: u32 = 5;

#[derive(Debug, Default)]
struct Calendar {
    /// When the oldest veth not yet deleted was doomed.
    since: Option<Instant>,
    closing: bool,
}

type Shared = Arc<(Mutex<Calendar>, Condvar)>;

/// Tells the reaper that there is work.
#[derive(Clone, Debug, Default)]
pub(crate) struct Doom(Shared);

impl Doom {
    /// At least one more veth is in the doomed group.
    pub(crate) fn announce(&self) {
        let (calendar, changed) = &*self.0;
        lock(calendar).since.get_or_insert_with(Instant::now);
        changed.notify_one();
    }

    /// Lets the reaper delete what is left and end.
    pub(crate) fn close(&self) {
        let (calendar, changed) = &*self.0;
        lock(calendar).closing = true;
        changed.notify_one();
    }

    /// Waits until the doomed group is due; `None` when there is nothing left to do, ever.
    fn next(&self) -> Option<()> {
        let (calendar, changed) = &*self.0;
        let mut calendar = lock(calendar);
        loop {
            let wait = match (calendar.since, calendar.closing) {
                (None, true) => return None,
                (None, false) => None,
                (Some(_), true) => Some(Duration::ZERO),
                (Some(since), false) => Some(GATHER.saturating_sub(since.elapsed())),
            };
            calendar = match wait {
                Some(Duration::ZERO) => {
                    calendar.since = None;
                    return Some(());
                }
                Some(wait) => changed.wait_timeout(calendar, wait).unwrap_or_else(PoisonError::into_inner).0,
                None => changed.wait(calendar).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

fn lock(calendar: &Mutex<Calendar>) -> MutexGuard<'_, Calendar> {
    calendar.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread's work: deletes what an earlier process left, then each group when it is due, until closed.
pub(crate) struct Reaper {
    netlink: Netlink,
    doom: Doom,
}

impl Reaper {
    /// Works in the calling thread's namespace.
    pub(crate) fn new(doom: Doom) -> Result<Self, DatapathError> {
        let netlink = Netlink::open()?;
        doom.announce();
        Ok(Self { netlink, doom })
    }

    /// Runs until the doom is closed and everything doomed is deleted.
    pub(crate) fn run(mut self) {
        let mut refusals = 0;
        while self.doom.next().is_some() {
            match self.netlink.apply(vec![link::delete_doomed()]) {
                Ok(()) => refusals = 0,
                Err(error) => {
                    refusals += 1;
                    if refusals < ATTEMPTS {
                        tracing::warn!(%error, "doomed links are still there, trying again");
                        self.doom.announce();
                    } else {
                        tracing::error!(%error, "doomed links stay until the next pod is deleted");
                        refusals = 0;
                    }
                }
            }
        }
    }
}
