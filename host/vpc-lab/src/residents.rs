//! Processes that still live in namespaces which are about to go.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::namespace::NetNs;

/// How long a process may take to end on its own.
const GRACE: Duration = Duration::from_secs(5);
/// How long the kernel may take to end one that was killed.
const AFTER_KILL: Duration = Duration::from_secs(5);

/// Ends every process in `namespaces`, politely first; how many there were.
///
/// Only namespaces that the caller made may be given: whoever lives there came to use the lab.
pub(crate) fn end<'a>(namespaces: impl Iterator<Item = &'a NetNs>) -> usize {
    // Ourselves we leave to finish the work.
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let residents: Vec<OwnedFd> = namespaces
        .filter_map(|namespace| namespace.processes().ok())
        .flatten()
        .filter(|pid| *pid != own)
        .filter_map(Pid::from_raw)
        // One that ended meanwhile is what we want.
        .filter_map(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
        .collect();
    for (signal, patience) in [(Signal::TERM, GRACE), (Signal::KILL, AFTER_KILL)] {
        for resident in &residents {
            let _ended_already = pidfd_send_signal(resident, signal);
        }
        let deadline = Instant::now() + patience;
        if residents.iter().all(|resident| ended_by(resident, deadline)) {
            break;
        }
    }
    residents.len()
}

/// A pidfd becomes readable when its process has ended.
fn ended_by(resident: &OwnedFd, deadline: Instant) -> bool {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        let mut watched = [PollFd::new(resident, PollFlags::IN)];
        match poll(&mut watched, Some(&timeout)) {
            Ok(ready) => return ready > 0,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}
