//! Messages over the socket between the daemon and the child: length, then postcard; at most one descriptor.
//!
//! The two sides take turns, so a side never holds more than the message that it reads.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::confine::{readable, writable};

/// Bytes before the message that say how long it is.
const HEADER: usize = size_of::<u32>();
/// Bytes of buffer that are kept between messages; a decision's question has a few thousand.
const KEPT: usize = 64 << 10;

/// Why a message did not get across.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    /// The other side has closed the socket, mostly by ending.
    #[error("it is gone")]
    Gone,
    /// The other side took too long.
    #[error("it took too long")]
    Late,
    /// The other side sent what is no message.
    #[error("what it sent makes no sense: {0}")]
    Garbage(String),
    /// A message of ours is too large.
    #[error("the message has {bytes} bytes; at most {most} are sent")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The bound.
        most: usize,
    },
    /// The kernel refused.
    #[error("the socket failed: {0}")]
    Socket(#[from] io::Error),
}

/// How long to wait for the other side.
#[derive(Clone, Copy, Debug)]
pub(super) enum Patience {
    /// As long as it lives.
    Endless,
    /// Until then.
    Until(Instant),
}

impl Patience {
    fn deadline(self) -> Option<Instant> {
        match self {
            Patience::Endless => None,
            Patience::Until(deadline) => Some(deadline),
        }
    }
}

/// One end of the socket.
#[derive(Debug)]
pub(super) struct Wire {
    socket: OwnedFd,
    outgoing: Vec<u8>,
    incoming: Vec<u8>,
    filled: usize,
    passed: Option<OwnedFd>,
}

impl Wire {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self { socket, outgoing: Vec::new(), incoming: vec![0; KEPT], filled: 0, passed: None }
    }

    /// Sends one message of at most `most` bytes, with a descriptor if there is one.
    pub(super) fn send<T: Serialize>(
        &mut self,
        message: &T,
        descriptor: Option<BorrowedFd<'_>>,
        most: usize,
        patience: Patience,
    ) -> Result<(), WireError> {
        let mut bytes = std::mem::take(&mut self.outgoing);
        bytes.clear();
        bytes.extend_from_slice(&[0; HEADER]);
        let mut bytes = postcard::to_extend(message, bytes)
            .map_err(|error| WireError::Socket(io::Error::other(error)))?;
        let length = bytes.len() - HEADER;
        let header = u32::try_from(length).ok().filter(|_| length <= most);
        let result = match header {
            Some(header) => {
                bytes[..HEADER].copy_from_slice(&header.to_le_bytes());
                self.send_all(&bytes, descriptor, patience.deadline())
            }
            None => Err(WireError::TooLarge { bytes: length, most }),
        };
        bytes.truncate(KEPT);
        bytes.shrink_to(KEPT);
        self.outgoing = bytes;
        result
    }

    fn send_all(
        &self,
        mut bytes: &[u8],
        mut descriptor: Option<BorrowedFd<'_>>,
        deadline: Option<Instant>,
    ) -> Result<(), WireError> {
        let flags = match deadline {
            Some(_) => SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
            None => SendFlags::NOSIGNAL,
        };
        while !bytes.is_empty() {
            match self.send_some(bytes, descriptor, flags) {
                Ok(sent) => {
                    bytes = &bytes[sent..];
                    descriptor = None;
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    if !writable(self.socket.as_fd(), deadline)? {
                        return Err(WireError::Late);
                    }
                }
                Err(Errno::PIPE | Errno::CONNRESET) => return Err(WireError::Gone),
                Err(error) => return Err(WireError::Socket(error.into())),
            }
        }
        Ok(())
    }

    fn send_some(
        &self,
        bytes: &[u8],
        descriptor: Option<BorrowedFd<'_>>,
        flags: SendFlags,
    ) -> Result<usize, Errno> {
        let Some(descriptor) = descriptor else {
            return rustix::net::send(&self.socket, bytes, flags);
        };
        let descriptors = [descriptor];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fits = control.push(SendAncillaryMessage::ScmRights(&descriptors));
        assert!(fits, "the space is made for one descriptor");
        rustix::net::sendmsg(&self.socket, &[IoSlice::new(bytes)], &mut control, flags)
    }

    /// Receives one message of at most `most` bytes.
    pub(super) fn receive<T: DeserializeOwned>(
        &mut self,
        most: usize,
        patience: Patience,
    ) -> Result<T, WireError> {
        let deadline = patience.deadline();
        loop {
            if let Some(message) = self.take(most)? {
                return Ok(message);
            }
            // Sleeping at once is measured better than looking for the answer first: on two processors the
            // child is mostly woken where we are, as soon as we make room.
            if deadline.is_some() && !readable(self.socket.as_fd(), deadline)? {
                return Err(WireError::Late);
            }
            match self.receive_some() {
                Ok(0) => return Err(WireError::Gone),
                Ok(received) => self.filled += received,
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(Errno::CONNRESET) => return Err(WireError::Gone),
                Err(error) => return Err(WireError::Socket(error.into())),
            }
        }
    }

    /// The descriptor that came with the last message that had one.
    pub(super) fn take_descriptor(&mut self) -> Option<OwnedFd> {
        self.passed.take()
    }

    /// The message that is there completely; nothing may follow it out of turn.
    fn take<T: DeserializeOwned>(&mut self, most: usize) -> Result<Option<T>, WireError> {
        let Some(header) = self.incoming[..self.filled].first_chunk::<HEADER>() else { return Ok(None) };
        let length = u32::from_le_bytes(*header);
        let length = usize::try_from(length).ok().filter(|length| *length <= most).ok_or_else(|| {
            WireError::Garbage(format!("a message of {length} bytes where at most {most} are expected"))
        })?;
        let end = HEADER + length;
        if self.filled < end {
            if self.incoming.len() < end {
                self.incoming.resize(end, 0);
            }
            return Ok(None);
        }
        let (message, rest) = postcard::take_from_bytes(&self.incoming[HEADER..end])
            .map_err(|error| WireError::Garbage(error.to_string()))?;
        if !rest.is_empty() {
            return Err(WireError::Garbage(format!("{} bytes behind the message", rest.len())));
        }
        self.incoming.copy_within(end..self.filled, 0);
        self.filled -= end;
        if self.filled <= KEPT {
            self.incoming.truncate(KEPT);
            self.incoming.shrink_to(KEPT);
        }
        Ok(Some(message))
    }

    fn receive_some(&mut self) -> Result<usize, Errno> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let room = IoSliceMut::new(&mut self.incoming[self.filled..]);
        let received =
            rustix::net::recvmsg(&self.socket, &mut [room], &mut control, RecvFlags::CMSG_CLOEXEC)?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                // The last one counts; any other is closed here.
                self.passed = descriptors.last().or(self.passed.take());
            }
        }
        Ok(received.bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType};

    use super::*;

    fn pair() -> (Wire, Wire) {
        let (one, other) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
                .unwrap();
        (Wire::new(one), Wire::new(other))
    }

    fn soon() -> Patience {
        Patience::Until(Instant::now() + Duration::from_secs(10))
    }

    fn at_once() -> Patience {
        Patience::Until(Instant::now())
    }

    #[test]
    fn messages_and_descriptors_arrive_in_order() {
        let (mut here, mut there) = pair();
        let file = crate::artifact::sealed_file("test", b"passed").unwrap();
        here.send(&"first", None, 100, soon()).unwrap();
        here.send(&"second", Some(file.as_fd()), 100, soon()).unwrap();
        assert_eq!(there.receive::<String>(100, soon()).unwrap(), "first");
        assert_eq!(there.receive::<String>(100, soon()).unwrap(), "second");
        let passed = there.take_descriptor().unwrap();
        assert_eq!(crate::artifact::read_all(passed.as_fd(), 6).unwrap(), b"passed");
        assert!(there.take_descriptor().is_none());
    }

    #[test]
    fn a_large_message_arrives_and_its_buffer_is_given_back() {
        let (mut here, mut there) = pair();
        let large = vec![7u8; 8 << 20];
        std::thread::scope(|scope| {
            scope.spawn(|| here.send(&large, None, 16 << 20, soon()).unwrap());
            assert_eq!(there.receive::<Vec<u8>>(16 << 20, soon()).unwrap(), large);
        });
        assert!(here.outgoing.capacity() <= 2 * KEPT && there.incoming.capacity() <= 2 * KEPT);
    }

    #[test]
    fn nobody_waits_for_one_who_does_not_read_or_write() {
        let (mut here, mut there) = pair();
        assert!(matches!(there.receive::<String>(100, at_once()), Err(WireError::Late)));
        let large = vec![7u8; 8 << 20];
        assert!(matches!(here.send(&large, None, 16 << 20, at_once()), Err(WireError::Late)));
    }

    #[test]
    fn a_message_beyond_the_bound_is_not_sent_and_not_read() {
        let (mut here, mut there) = pair();
        let large = "x".repeat(200);
        assert!(matches!(here.send(&large, None, 100, soon()), Err(WireError::TooLarge { .. })));
        here.send(&large, None, 300, soon()).unwrap();
        assert!(matches!(there.receive::<String>(100, soon()), Err(WireError::Garbage(_))));
    }

    #[test]
    fn one_who_is_gone_is_noticed() {
        let (mut here, there) = pair();
        drop(there);
        assert!(matches!(here.receive::<String>(100, soon()), Err(WireError::Gone)));
        assert!(matches!(here.send(&"late", None, 100, soon()), Err(WireError::Gone)));
    }

    proptest! {
        #[test]
        fn whatever_the_other_side_sends_is_a_message_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let (here, mut there) = pair();
            rustix::net::send(&here.socket, &bytes, SendFlags::NOSIGNAL).unwrap();
            drop(here);
            loop {
                match there.receive::<super::super::message::AskReply>(1 << 20, soon()) {
                    Ok(_) => {}
                    Err(WireError::Gone | WireError::Garbage(_)) => break,
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }
}
