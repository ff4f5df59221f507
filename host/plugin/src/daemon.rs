//! One request to the daemon and its one reply, under one deadline.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use enid_protocol::cni::error::CniError;
use enid_protocol::cni::reason::Reason;
use enid_protocol::frame::FrameDecoder;
use enid_protocol::message::{Reply, Request};
use rustix::io::{Errno, IoSlice, retry_on_intr};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, connect, recv, sendmsg, socket_with,
};

/// Why there is no reply.
#[derive(Debug)]
pub(crate) enum NoReply {
    /// Nobody listens.
    Away(Errno),
    /// The connection ended before the reply did.
    Closed,
    /// The deadline passed.
    Late,
    /// This user may not talk to the daemon.
    Forbidden(Errno),
    /// The bytes are not a reply.
    Garbled(String),
    /// The request does not fit a frame.
    TooLarge(String),
    /// The socket failed in another way.
    Broken(Errno),
}

impl NoReply {
    /// The error for the runtime.
    pub(crate) fn to_error(&self, socket: &Path) -> CniError {
        CniError::because(self.reason(), format!("ask enid at {}: {self}", socket.display()))
    }

    fn reason(&self) -> Reason {
        match self {
            NoReply::Away(_) => Reason::DaemonAway,
            NoReply::Closed => Reason::DaemonBrokeOff,
            NoReply::Late => Reason::DaemonLate,
            NoReply::Forbidden(_) => Reason::Forbidden,
            NoReply::Garbled(_) => Reason::DaemonGarbled,
            NoReply::TooLarge(_) => Reason::RequestTooLarge,
            NoReply::Broken(_) => Reason::SocketBroken,
        }
    }
}

impl fmt::Display for NoReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoReply::Away(errno) => write!(f, "the daemon is not running: {errno}"),
            NoReply::Closed => f.write_str("the daemon closed the connection before its reply"),
            NoReply::Late => f.write_str("the daemon did not answer in time"),
            NoReply::Forbidden(errno) | NoReply::Broken(errno) => write!(f, "{errno}"),
            NoReply::Garbled(why) => write!(f, "the reply cannot be read: {why}"),
            NoReply::TooLarge(why) => write!(f, "the request cannot be sent: {why}"),
        }
    }
}

/// Asks, and waits for the reply until `deadline`. `netns` travels with the request.
pub(crate) fn ask(
    socket: &Path,
    request: &Request,
    netns: Option<BorrowedFd<'_>>,
    deadline: Instant,
) -> Result<Reply, NoReply> {
    let frame = request.to_frame().map_err(|error| NoReply::TooLarge(error.to_string()))?;
    let daemon = Daemon { socket: dial(socket, deadline)?, deadline };
    match daemon.send(&frame, netns) {
        // A daemon that refuses us answers without reading, so its reply may be there already.
        Ok(()) | Err(NoReply::Closed) => daemon.receive(),
        Err(other) => Err(other),
    }
}

struct Daemon {
    socket: OwnedFd,
    deadline: Instant,
}

fn dial(path: &Path, deadline: Instant) -> Result<OwnedFd, NoReply> {
    let address = SocketAddrUnix::new(path).map_err(NoReply::Broken)?;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
    let socket = socket.map_err(NoReply::Broken)?;
    // A full backlog makes connect wait; it obeys the send timeout.
    limit(&socket, Timeout::Send, deadline)?;
    match retry_on_intr(|| connect(&socket, &address)) {
        Ok(()) => Ok(socket),
        Err(errno @ (Errno::NOENT | Errno::CONNREFUSED | Errno::NOTDIR)) => Err(NoReply::Away(errno)),
        Err(errno) => Err(failure(errno)),
    }
}

impl Daemon {
    fn send(&self, frame: &[u8], netns: Option<BorrowedFd<'_>>) -> Result<(), NoReply> {
        let descriptors: Vec<BorrowedFd<'_>> = netns.into_iter().collect();
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut rest = frame;
        while !rest.is_empty() {
            limit(&self.socket, Timeout::Send, self.deadline)?;
            // The descriptor travels with the first byte and never again.
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            if rest.len() == frame.len() && !descriptors.is_empty() {
                ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
            }
            match sendmsg(&self.socket, &[IoSlice::new(rest)], &mut ancillary, SendFlags::NOSIGNAL) {
                Ok(sent) => rest = rest.get(sent..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(failure(errno)),
            }
        }
        Ok(())
    }

    fn receive(&self) -> Result<Reply, NoReply> {
        let mut decoder = FrameDecoder::default();
        let mut chunk = [0; 4096];
        loop {
            limit(&self.socket, Timeout::Recv, self.deadline)?;
            let length = match recv(&self.socket, &mut chunk[..], RecvFlags::empty()) {
                Ok((0, _)) => return Err(NoReply::Closed),
                Ok((length, _)) => length,
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(failure(errno)),
            };
            let garbled = |error: &dyn fmt::Display| NoReply::Garbled(error.to_string());
            decoder.push(chunk.get(..length).unwrap_or_default()).map_err(|error| garbled(&error))?;
            if let Some(body) = decoder.next_body().map_err(|error| garbled(&error))? {
                return Reply::from_body(&body).map_err(|error| garbled(&error));
            }
        }
    }
}

/// Lets the next call on the socket wait for what is left of the deadline.
fn limit(socket: impl AsFd, which: Timeout, deadline: Instant) -> Result<(), NoReply> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(NoReply::Late);
    }
    // The kernel rounds to its ticks, and takes zero for ever.
    set_socket_timeout(socket, which, Some(left.max(Duration::from_millis(1)))).map_err(NoReply::Broken)
}

fn failure(errno: Errno) -> NoReply {
    match errno {
        Errno::AGAIN => NoReply::Late,
        Errno::PIPE | Errno::CONNRESET => NoReply::Closed,
        Errno::ACCESS | Errno::PERM => NoReply::Forbidden(errno),
        errno => NoReply::Broken(errno),
    }
}
