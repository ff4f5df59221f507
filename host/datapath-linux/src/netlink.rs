//! Conversations with rtnetlink: several requests in one datagram, answers matched by sequence number.
//!
//! The kernel handles a datagram completely before `send` returns, so every answer to a batch is already
//! queued and nothing here ever waits.

use std::fmt::Display;
use std::io;

use enid_engine::ports::DatapathError;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR,
    NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload, NlasIterator,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use rustix::io::Errno;
use rustix::net::RecvFlags;

/// The kernel fills at most 32 KiB per datagram of a dump, however large the reader's buffer is.
const RECEIVE_BYTES: usize = 32 * 1024;
/// A dump that keeps changing under us is read again at most this often.
const DUMP_ATTEMPTS: u32 = 16;
/// A table of the node's is not read beyond this: a node has some thousand routes and rules, a million is not a node.
const MOST_ON_NODE: usize = 1 << 20;
/// The same for a pod's, which fills them as it likes while other pods wait for whoever reads.
const MOST_IN_POD: usize = 8192;
/// A batch is the work on one link of a pod at most.
const BATCH_REQUESTS: usize = 16;
/// `NLMSGERR_ATTR_MSG`: the kernel's own words about a refusal.
const EXTACK_TEXT: u16 = 1;

/// One request to the kernel, with the words that an error about it uses.
pub(crate) struct Request {
    attempt: String,
    message: RouteNetlinkMessage,
    flags: u16,
    tolerated: &'static [Errno],
}

impl Request {
    /// `attempt` says what is tried on what: `add route 10.0.1.7/32 dev eni…`.
    pub(crate) fn new(attempt: impl Into<String>, message: RouteNetlinkMessage, flags: u16) -> Self {
        Self { attempt: attempt.into(), message, flags, tolerated: &[] }
    }

    /// The same request, for which these answers mean that there is nothing left to do.
    pub(crate) fn tolerating(self, tolerated: &'static [Errno]) -> Self {
        Self { tolerated, ..self }
    }
}

/// What the kernel said to one request.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Done; requests that read something carry the payload read.
    Done(Option<Vec<u8>>),
    /// Refused with an error that the request tolerates.
    Tolerated,
    /// Refused.
    Refused(Errno, DatapathError),
}

impl Answer {
    /// Whether the kernel changed (or read) something because of this request.
    pub(crate) fn done(&self) -> bool {
        match self {
            Answer::Done(_) => true,
            Answer::Tolerated | Answer::Refused(..) => false,
        }
    }

    /// The refusal, unless it is tolerated.
    pub(crate) fn refusal(&self) -> Option<&DatapathError> {
        match self {
            Answer::Done(_) | Answer::Tolerated => None,
            Answer::Refused(_, error) => Some(error),
        }
    }
}

/// What one reading of a table gave.
enum Reading<T> {
    Whole(Vec<T>),
    /// The table changed meanwhile: all of this was there at some moment, and something may be missing.
    Disturbed(Vec<T>),
}

/// Where the kernel answers.
fn kernel() -> SocketAddr {
    SocketAddr::new(0, 0)
}

/// A kernel failure in the port's words.
pub(crate) fn failed(attempt: impl Into<String>, why: impl Display) -> DatapathError {
    DatapathError::Kernel { attempt: attempt.into(), why: why.to_string() }
}

/// A socket to one network namespace's rtnetlink: the namespace of the thread that opened it, for good.
pub(crate) struct Netlink {
    socket: Socket,
    /// Entries of a table that are read.
    most: usize,
    sequence: u32,
    sent: Vec<u8>,
    received: Vec<u8>,
}

impl Netlink {
    /// Opens the socket in the calling thread's network namespace, the node's.
    pub(crate) fn open() -> Result<Self, DatapathError> {
        Self::to_the_kernel(MOST_ON_NODE).map_err(|error| failed("open a netlink socket", error))
    }

    /// Opens the socket in the calling thread's network namespace, a pod's.
    pub(crate) fn open_in_pod() -> Result<Self, DatapathError> {
        Self::to_the_kernel(MOST_IN_POD).map_err(|error| failed("open a netlink socket in the pod", error))
    }

    fn to_the_kernel(most: usize) -> io::Result<Self> {
        let socket = Socket::new(NETLINK_ROUTE)?;
        // From then on the kernel lets nobody else send to it: a process in the namespace could answer in its place.
        socket.connect(&kernel())?;
        // Refusals come with the kernel's words and without a copy of the request. Strict checking
        // makes dumps honour their filters. Kernels before 4.20 lack some of this and do without.
        let _ = socket.set_cap_ack(true);
        let _ = socket.set_ext_ack(true);
        let _ = socket.set_netlink_get_strict_chk(true);
        Ok(Self { socket, most, sequence: 0, sent: Vec::new(), received: vec![0; RECEIVE_BYTES] })
    }

    /// Sends all requests at once and says what became of each. The kernel goes on after a refusal.
    pub(crate) fn batch(&mut self, requests: Vec<Request>) -> Result<Vec<Answer>, DatapathError> {
        assert!(!requests.is_empty() && requests.len() <= BATCH_REQUESTS, "a batch is one link's work");
        let count = requests.len() as u32;
        let first = self.sequence.wrapping_add(1);
        self.sequence = self.sequence.wrapping_add(count);
        let mut pending = Vec::with_capacity(requests.len());
        let mut answers = Vec::with_capacity(requests.len());
        self.sent.clear();
        for (position, Request { attempt, message, flags, tolerated }) in requests.into_iter().enumerate() {
            // Refusals are always reported; the last acknowledgement tells that all were handled.
            let ack = if position as u32 + 1 == count { NLM_F_ACK } else { 0 };
            self.push(message, flags | NLM_F_REQUEST | ack, first.wrapping_add(position as u32));
            pending.push((attempt, tolerated));
            answers.push(Answer::Done(None));
        }
        self.transmit().map_err(|error| failed(&pending[0].0, error))?;
        loop {
            let length = self.receive().map_err(|error| failed(&pending[0].0, error))?;
            let mut handled = false;
            for_each_message(&self.received[..length], |header, payload| {
                let position = header.sequence_number.wrapping_sub(first);
                let Some((attempt, tolerated)) = pending.get(position as usize) else { return };
                if header.message_type != NLMSG_ERROR {
                    answers[position as usize] = Answer::Done(Some(payload.to_vec()));
                    return;
                }
                handled |= position + 1 == count;
                if let Some((errno, text)) = refusal(header.flags, payload) {
                    answers[position as usize] = if tolerated.contains(&errno) {
                        Answer::Tolerated
                    } else {
                        Answer::Refused(errno, failed(attempt, text))
                    };
                }
            })
            .map_err(|why| failed(&pending[0].0, why))?;
            if handled {
                return Ok(answers);
            }
        }
    }

    /// A batch in which the first refusal is the error; the others have been carried out all the same.
    pub(crate) fn apply(&mut self, requests: Vec<Request>) -> Result<(), DatapathError> {
        let answers = self.batch(requests)?;
        answers.iter().find_map(Answer::refusal).map_or(Ok(()), |error| Err(error.clone()))
    }

    /// Any number of requests, in order, a batch at a time until one is refused.
    pub(crate) fn apply_in_batches(&mut self, mut requests: Vec<Request>) -> Result<(), DatapathError> {
        while !requests.is_empty() {
            let rest = requests.split_off(requests.len().min(BATCH_REQUESTS));
            self.apply(std::mem::replace(&mut requests, rest))?;
        }
        Ok(())
    }

    /// One request that reads one thing; `None` when the kernel says it is not there.
    pub(crate) fn read(&mut self, request: Request) -> Result<Option<Vec<u8>>, DatapathError> {
        match self.batch(vec![request])?.pop() {
            Some(Answer::Done(payload)) => Ok(payload),
            Some(Answer::Tolerated) | None => Ok(None),
            Some(Answer::Refused(_, error)) => Err(error),
        }
    }

    /// Reads a whole table, again when it changed meanwhile. `parse` returns `None` for what it does not want.
    pub(crate) fn dump<T>(
        &mut self,
        request: &Request,
        parse: impl Fn(&[u8]) -> Result<Option<T>, String>,
    ) -> Result<Vec<T>, DatapathError> {
        self.dump_until(request, parse, |_| false)
    }

    /// Reads a whole table, again when it changed meanwhile unless what was read is `enough`: what is found in a
    /// table that changes is there, only what is missing might have been overlooked.
    pub(crate) fn dump_until<T>(
        &mut self,
        request: &Request,
        parse: impl Fn(&[u8]) -> Result<Option<T>, String>,
        enough: impl Fn(&[T]) -> bool,
    ) -> Result<Vec<T>, DatapathError> {
        for _ in 0..DUMP_ATTEMPTS {
            match self.read_table(request, &parse).map_err(|why| failed(&request.attempt, why))? {
                Reading::Whole(entries) => return Ok(entries),
                Reading::Disturbed(entries) if enough(&entries) => return Ok(entries),
                Reading::Disturbed(_) => {}
            }
        }
        Err(failed(&request.attempt, format_args!("the table changed during {DUMP_ATTEMPTS} readings")))
    }

    /// Reads a whole table that pods may change all the time: when it does not come to rest, all readings together.
    /// What came or went meanwhile may be in there or not. Of rules and IPv6 routes the kernel does not say that they
    /// changed: one that stands where it began its next answer may be skipped.
    pub(crate) fn survey<T>(
        &mut self,
        request: &Request,
        parse: impl Fn(&[u8]) -> Result<Option<T>, String>,
    ) -> Result<Vec<T>, DatapathError> {
        let mut seen = Vec::new();
        for _ in 0..DUMP_ATTEMPTS {
            match self.read_table(request, &parse).map_err(|why| failed(&request.attempt, why))? {
                Reading::Whole(entries) => return Ok(entries),
                Reading::Disturbed(entries) => seen.extend(entries),
            }
            if seen.len() > self.most {
                return Err(failed(&request.attempt, format_args!("more than {} entries", self.most)));
            }
        }
        Ok(seen)
    }

    fn read_table<T>(
        &mut self,
        request: &Request,
        parse: impl Fn(&[u8]) -> Result<Option<T>, String>,
    ) -> Result<Reading<T>, String> {
        self.sequence = self.sequence.wrapping_add(1);
        let (sequence, most) = (self.sequence, self.most);
        self.sent.clear();
        self.push(request.message.clone(), request.flags | NLM_F_REQUEST | NLM_F_DUMP, sequence);
        self.transmit().map_err(|error| error.to_string())?;
        let mut entries = Vec::new();
        let mut disturbed = false;
        let mut end: Option<Result<(), String>> = None;
        loop {
            let length = match self.receive() {
                Ok(length) => length,
                // The kernel dropped a part of the answer; what follows is stale by its sequence number.
                Err(error) if error.raw_os_error() == Some(Errno::NOBUFS.raw_os_error()) => {
                    return Ok(Reading::Disturbed(entries));
                }
                Err(error) => return Err(error.to_string()),
            };
            for_each_message(&self.received[..length], |header, payload| {
                if header.sequence_number != sequence || end.is_some() {
                    return;
                }
                disturbed |= header.flags & NLM_F_DUMP_INTR != 0;
                if !matches!(header.message_type, NLMSG_DONE | NLMSG_ERROR) {
                    match parse(payload) {
                        Ok(Some(entry)) if entries.len() < most => entries.push(entry),
                        Ok(Some(_)) => end = Some(Err(format!("more than {most} entries"))),
                        Ok(None) => {}
                        Err(why) => end = Some(Err(why)),
                    }
                    return;
                }
                end = Some(match refusal(header.flags, payload) {
                    None => Ok(()),
                    Some((Errno::INTR, _)) => {
                        disturbed = true;
                        Ok(())
                    }
                    Some((errno, _)) if request.tolerated.contains(&errno) => Ok(()),
                    Some((_, text)) => Err(text),
                });
            })?;
            match end.take() {
                Some(Ok(())) if disturbed => return Ok(Reading::Disturbed(entries)),
                Some(Ok(())) => return Ok(Reading::Whole(entries)),
                Some(Err(why)) => return Err(why),
                None => {}
            }
        }
    }

    fn push(&mut self, message: RouteNetlinkMessage, flags: u16, sequence: u32) {
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
        message.finalize();
        let start = self.sent.len();
        self.sent.resize(start + message.buffer_len().next_multiple_of(4), 0);
        message.serialize(&mut self.sent[start..]);
    }

    fn transmit(&self) -> io::Result<()> {
        loop {
            match self.socket.send_to(&self.sent, &kernel(), 0) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The next datagram's length in `self.received`. Never waits: an answer is there or it never comes.
    fn receive(&mut self) -> io::Result<usize> {
        let flags = (RecvFlags::DONTWAIT | RecvFlags::TRUNC).bits() as i32;
        loop {
            match self.socket.recv(&mut &mut self.received[..], flags) {
                Ok(length) if length > self.received.len() => {
                    return Err(io::Error::other(format!("an answer of {length} bytes is too long")));
                }
                Ok(length) => return Ok(length),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::Error::other("the kernel gave no answer"));
                }
                Err(error) => return Err(error),
            }
        }
    }
}

fn for_each_message(mut datagram: &[u8], mut each: impl FnMut(NetlinkHeader, &[u8])) -> Result<(), String> {
    while !datagram.is_empty() {
        let buffer = NetlinkBuffer::new_checked(datagram).map_err(|error| error.to_string())?;
        let mut header = NetlinkHeader::default();
        header.message_type = buffer.message_type();
        header.flags = buffer.flags();
        header.sequence_number = buffer.sequence_number();
        each(header, buffer.payload());
        let length = (buffer.length() as usize).next_multiple_of(4);
        datagram = datagram.get(length..).unwrap_or_default();
    }
    Ok(())
}

/// The error in an acknowledgement or at the end of a dump; `None` means success.
fn refusal(flags: u16, payload: &[u8]) -> Option<(Errno, String)> {
    let code = payload.first_chunk::<4>().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
    if code >= 0 {
        return None;
    }
    let errno = Errno::from_raw_os_error(code.wrapping_neg());
    // Capped acknowledgements hold the code, the request's header, then attributes.
    let attributes = payload.get(20..).filter(|_| flags & NLM_F_ACK_TLVS != 0).unwrap_or_default();
    let words = NlasIterator::new(attributes)
        .flatten()
        .find(|attribute| attribute.kind() == EXTACK_TEXT)
        .map(|attribute| String::from_utf8_lossy(attribute.value()).trim_end_matches('\0').to_owned());
    Some((
        errno,
        match words {
            Some(words) => format!("{errno}: {words}"),
            None => errno.to_string(),
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_but_the_kernel_can_answer() {
        let netlink = Netlink::open_in_pod().unwrap();
        let mut ours = SocketAddr::new(0, 0);
        netlink.socket.get_address(&mut ours).unwrap();
        assert_ne!(ours.port_number(), 0);
        let other = Socket::new(NETLINK_ROUTE).unwrap();
        let refused = other.send_to(&[0; 16], &ours, 0).unwrap_err();
        // Without rights over the namespace it is not even tried.
        let refusals = [Errno::CONNREFUSED, Errno::PERM].map(|errno| Some(errno.raw_os_error()));
        assert!(refusals.contains(&refused.raw_os_error()), "{refused}");
    }

    #[test]
    fn an_acknowledgement_is_no_refusal() {
        assert_eq!(refusal(0, &[0; 20]), None);
        assert_eq!(refusal(0, &[]), None);
    }

    #[test]
    fn a_refusal_carries_the_kernels_words() {
        let mut payload = (-17i32).to_ne_bytes().to_vec();
        payload.extend([0; 16]);
        payload.extend(10u16.to_ne_bytes());
        payload.extend(EXTACK_TEXT.to_ne_bytes());
        payload.extend(b"taken\0");
        payload.extend([0; 2]);
        let (errno, text) = refusal(NLM_F_ACK_TLVS, &payload).unwrap();
        assert_eq!(errno, Errno::EXIST);
        assert!(text.ends_with("taken"), "{text}");
    }

    #[test]
    fn a_broken_datagram_is_an_error_and_not_a_panic() {
        for length in 1..40 {
            let datagram = vec![0xff; length];
            assert!(for_each_message(&datagram, |_, _| {}).is_err(), "{length}");
        }
    }
}
