//! Waiting for IPv6 addresses: pods whose addresses the kernel does not use yet are watched here, and
//! answered when it does, while other pods are wired.
//!
//! The kernel adds an IPv6 address in two steps. The request is acknowledged after the first; the second, on
//! a thread of the kernel's own, does duplicate address detection (RFC 4862, section 5.4) or skips it, and
//! then begins to take packets for the address. Without detection that is over in less than a millisecond,
//! but a pod that is answered before loses the first packet that is sent to it, and a second.

use std::io::{self, Read, Write};
use std::net::Ipv6Addr;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Receiver, SyncSender, TryRecvError};
use std::time::{Duration, Instant};

use enid_core::ids::IfName;
use enid_engine::ports::{DatapathError, Wired};
use netlink_sys::{Socket, protocols::NETLINK_ROUTE};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::address::{self, Standing};
use crate::netlink::{Netlink, failed};
use crate::pod::{Made, SharedWirer};
use crate::route;
use crate::thread::{QUEUE, Reply};

/// The kernel asks once and waits a second for an answer, after up to a second of doing nothing. Whoever told
/// it to ask more often gets this much, and an error.
const PATIENCE: Duration = Duration::from_secs(10);
/// `RTNLGRP_IPV6_IFADDR` and `RTNLGRP_IPV6_ROUTE`: an address can be used when the kernel routes it to
/// itself.
const CHANGES: [u32; 2] = [9, 11];
/// Notifications that are forgotten before the next look, so that whoever makes many of them does not keep us.
const MOST_AT_ONCE: u32 = 1024;
/// A notification that is longer is cut: only that it came counts.
const NOTIFICATION_BYTES: usize = 1024;

/// The kernel's notifications about the IPv6 addresses and routes of one namespace, from when it was opened
/// on.
///
/// They say when to look again, not what there is to see, so it does no harm if some are lost.
pub(crate) struct Watch(Socket);

impl Watch {
    /// Watches the calling thread's network namespace.
    pub(crate) fn open() -> Result<Self, DatapathError> {
        let open = || {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            // Without an address of its own it would pass for the kernel, which does not notify itself.
            socket.bind_auto()?;
            for group in CHANGES {
                socket.add_membership(group)?;
            }
            socket.set_non_blocking(true)?;
            io::Result::Ok(socket)
        };
        open().map(Self).map_err(|error| failed("watch the pod's addresses", error))
    }

    /// Forgets what has come so far.
    fn clear(&self) {
        let mut notification = [0; NOTIFICATION_BYTES];
        for _ in 0..MOST_AT_ONCE {
            match self.0.recv(&mut &mut notification[..], 0) {
                Ok(_) => {}
                // Some were lost, which has been reported with this.
                Err(error) if error.raw_os_error() == Some(Errno::NOBUFS.raw_os_error()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }
}

/// A pod all of whose links are there, some of its IPv6 addresses perhaps not usable yet.
pub(crate) struct Candidate {
    /// In the order of the wiring.
    pub(crate) made: Vec<Made>,
    pub(crate) addresses: Vec<Claimed>,
    pub(crate) inside: Netlink,
    /// Opened before the addresses were added, so that nothing is missed.
    pub(crate) watch: Watch,
}

/// An IPv6 address of a pod's link.
pub(crate) struct Claimed {
    pub(crate) address: Ipv6Addr,
    pub(crate) link: u32,
    pub(crate) dev: IfName,
}

impl Candidate {
    /// Whether all addresses can be used; `false` while one cannot be used yet.
    pub(crate) fn is_settled(&mut self) -> Result<bool, DatapathError> {
        let mut settled = true;
        for Claimed { address, link, dev } in &self.addresses {
            let attempt = || format!("add address {address}/128 to {dev}");
            match address::standing(&mut self.inside, *address, *link, dev.as_str())? {
                Some(Standing::Settled) => settled &= route::is_delivered(&mut self.inside, *address)?,
                Some(Standing::Tentative) => settled = false,
                Some(Standing::Duplicate) => {
                    return Err(failed(
                        attempt(),
                        "somebody else on the link has it (IPv6 duplicate address detection)",
                    ));
                }
                None => return Err(failed(attempt(), "it was taken away before it could be used")),
            }
        }
        Ok(settled)
    }
}

/// Hands such pods over to the thread that waits for them; the thread ends when this is dropped and the last
/// of them has been answered.
pub(crate) struct WaitingRoom {
    // Dropped in this order: when the bell falls silent, it is clear that nobody comes any more.
    door: SyncSender<Waiting>,
    bell: UnixStream,
}

struct Waiting {
    candidate: Box<Candidate>,
    reply: Reply<Wired>,
    until: Instant,
}

/// The other side of a [`WaitingRoom`].
pub(crate) struct Attendant {
    door: Receiver<Waiting>,
    bell: UnixStream,
    wirer: SharedWirer,
    /// Pods that it looks after at a time; others stand at the door meanwhile.
    seats: usize,
}

/// What the attendant knows about the door.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Door {
    /// Nobody stood there when it was looked at last. Whoever has come since has rung.
    Open,
    /// Somebody may stand there whose ring is over.
    Crowded,
    /// Nobody comes any more.
    Closed,
}

/// A waiting room, and who looks after those in it.
pub(crate) fn waiting_room(wirer: SharedWirer) -> Result<(WaitingRoom, Attendant), DatapathError> {
    let bell = || {
        let (button, bell) = UnixStream::pair()?;
        button.set_nonblocking(true)?;
        bell.set_nonblocking(true)?;
        io::Result::Ok((button, bell))
    };
    let (button, bell) = bell().map_err(|error| failed("make a socket pair", error))?;
    // No more than pods that wait to be wired.
    let (sender, door) = mpsc::sync_channel(QUEUE);
    Ok((WaitingRoom { door: sender, bell: button }, Attendant { door, bell, wirer, seats: QUEUE }))
}

impl WaitingRoom {
    /// Lets a pod wait, bounded. A full room turns it away: the wiring comes back to be undone.
    pub(crate) fn seat(
        &self,
        candidate: Box<Candidate>,
        reply: Reply<Wired>,
    ) -> Result<(), (Box<Candidate>, Reply<Wired>)> {
        let until = Instant::now() + PATIENCE;
        match self.door.try_send(Waiting { candidate, reply, until }) {
            Ok(()) => {
                // A full buffer rings already.
                let _ = (&self.bell).write(&[1]);
                Ok(())
            }
            Err(mpsc::TrySendError::Full(back) | mpsc::TrySendError::Disconnected(back)) => {
                Err((back.candidate, back.reply))
            }
        }
    }
}

impl Attendant {
    /// Answers every pod when its addresses are settled, or undoes it when they will not be. Runs until the
    /// room is closed and empty.
    pub(crate) fn run(mut self) {
        let mut room: Vec<Waiting> = Vec::new();
        let mut door = Door::Open;
        while door != Door::Closed || !room.is_empty() {
            // Seats have become free, and nobody rings twice.
            let stirred = match door == Door::Crowded && room.len() < self.seats {
                true => vec![false; room.len()],
                false => self.wait(&room, door),
            };
            if door != Door::Closed {
                self.clear_bell();
                door = self.admit(&mut room);
            }
            let now = Instant::now();
            let mut stirred = stirred.into_iter();
            for waiting in std::mem::take(&mut room) {
                // Those who have just come have no place in the list yet: they are looked at once.
                if stirred.next().unwrap_or(true) || waiting.until <= now {
                    room.extend(self.attend(waiting, now));
                } else {
                    room.push(waiting);
                }
            }
        }
    }

    /// Sleeps until something happens, and says in whose namespaces it did.
    fn wait(&self, room: &[Waiting], door: Door) -> Vec<bool> {
        let mut sources: Vec<PollFd<'_>> =
            room.iter().map(|waiting| PollFd::new(&waiting.candidate.watch.0, PollFlags::IN)).collect();
        if door != Door::Closed {
            sources.push(PollFd::new(&self.bell, PollFlags::IN));
        }
        let first = room.iter().map(|waiting| waiting.until).min();
        let timeout = first.map(|until| {
            let left = until.saturating_duration_since(Instant::now());
            Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() }
        });
        match poll(&mut sources, timeout.as_ref()) {
            Ok(_) => sources.iter().take(room.len()).map(|source| !source.revents().is_empty()).collect(),
            Err(Errno::INTR) => vec![false; room.len()],
            // Then everybody is looked at, which ends by their deadlines.
            Err(error) => {
                tracing::warn!(%error, "cannot wait for notifications about addresses");
                vec![true; room.len()]
            }
        }
    }

    fn clear_bell(&mut self) {
        let mut rings = [0; 64];
        while matches!(self.bell.read(&mut rings), Ok(length) if length > 0) {}
    }

    /// Lets in who is at the door, as long as there are seats.
    fn admit(&self, room: &mut Vec<Waiting>) -> Door {
        while room.len() < self.seats {
            match self.door.try_recv() {
                Ok(waiting) => room.push(waiting),
                Err(TryRecvError::Empty) => return Door::Open,
                Err(TryRecvError::Disconnected) => return Door::Closed,
            }
        }
        Door::Crowded
    }

    /// Looks at one pod; gives it back while it has to wait.
    fn attend(&self, mut waiting: Waiting, now: Instant) -> Option<Waiting> {
        waiting.candidate.watch.clear();
        let settled = match waiting.candidate.is_settled() {
            Ok(false) if now < waiting.until => return Some(waiting),
            Ok(false) => Err(failed(
                format!("wait for the IPv6 addresses of the pod behind {}", waiting.candidate.veth()),
                format_args!("the kernel does not use them after {} seconds", PATIENCE.as_secs()),
            )),
            Ok(true) => Ok(waiting.candidate.wired()),
            Err(error) => Err(error),
        };
        let Waiting { candidate, reply, until: _ } = waiting;
        // Whoever stopped waiting for the answer does not get it.
        drop(reply.send(settled.map_err(|error| self.wirer.lock().abandon(*candidate, error))));
        None
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::thread;

    use tokio::sync::oneshot;

    use super::*;
    use crate::Dad;
    use crate::namespace::NodeNamespace;
    use crate::pod::PodWirer;
    use crate::reaper::Doom;

    /// A pod that has nothing to wait for.
    fn settled() -> Box<Candidate> {
        let (inside, watch) = (Netlink::open().unwrap(), Watch::open().unwrap());
        Box::new(Candidate { made: Vec::new(), addresses: Vec::new(), inside, watch })
    }

    #[test]
    fn nobody_is_forgotten_at_the_door_when_all_seats_were_taken() {
        const PODS: usize = 5;
        let (answers, answered) = mpsc::channel();
        let (keep_open, until_all_are_answered) = mpsc::channel::<()>();
        let room = thread::spawn(move || {
            let namespace = NodeNamespace::settle(NodeNamespace::current().unwrap().as_fd()).unwrap();
            let wirer = PodWirer::new(namespace, Doom::default(), Dad::Skip).unwrap();
            let (room, attendant) = waiting_room(SharedWirer::new(wirer)).unwrap();
            let attendant = Attendant { seats: 2, ..attendant };
            let mut replies = Vec::new();
            for _ in 0..PODS {
                let (reply, answer) = oneshot::channel();
                assert!(room.seat(settled(), reply).is_ok());
                replies.push(answer);
            }
            // They all stand there before anybody looks.
            let attendant = thread::spawn(move || attendant.run());
            thread::spawn(move || {
                for answer in replies {
                    let _ = answers.send(answer.blocking_recv().unwrap().is_ok());
                }
            });
            let _ = until_all_are_answered.recv();
            drop(room);
            attendant.join().unwrap();
        });
        for pod in 0..PODS {
            assert_eq!(answered.recv_timeout(PATIENCE), Ok(true), "pod {pod}");
        }
        drop(keep_open);
        room.join().unwrap();
    }
}
