//! The socket: frames in, requests to the engine, replies out.
//!
//! Serves whom [`crate::peer`] admits; translates between the wire's strings and the domain's types, and decides
//! nothing.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use enid_core::event::{Answer, Nics};
use enid_core::ids::{Attachment, PodName};
use enid_core::node::Status;
use enid_engine::clock::Clock;
use enid_engine::run::{Query, Reply as Answered, Request as Asked, View};
use enid_policy_wasm::Policy;
use enid_protocol::cni::code::Code;
use enid_protocol::frame::{FrameDecoder, FrameError};
use enid_protocol::message::{Add, Check, Del, Failed, Gc, MAX_VALID, MessageError, Reply, Request, Subject};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, Shutdown, recvmsg};
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use crate::overview::Overview;
use crate::peer::{Admitted, Refused};
use crate::places::Places;

mod words;

use words::{attachment, differing, in_wire_words, invalid, readiness, report, stopping, unlisted, unseen};

/// Connections at once, of which those that say nothing make room; the rest wait in the kernel's backlog.
pub(crate) const CONNECTIONS: usize = 1024;
/// Peers that were turned away and stay connected.
const TURNED_AWAY: usize = 16;
/// How long a connection may take to send a whole frame.
const READ_WITHIN: Duration = Duration::from_secs(10);
/// How long a peer may take to read its reply.
const WRITE_WITHIN: Duration = Duration::from_secs(10);
/// The plugin gives up at its own deadline: we answer a little before.
const MARGIN: Duration = Duration::from_millis(250);

/// The fewest digits of a digest that say which component is meant.
const FEWEST_DIGITS: usize = 8;
/// How long connections may take to carry their last answers at shutdown.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Why the socket could not be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
    /// Another daemon answers on it.
    #[error("the socket {} is in use by another daemon; stop it first, or set another node.runtime_dir", .path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("{attempt} {}", .path.display())]
    Io {
        /// What was attempted.
        attempt: &'static str,
        /// The socket.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

/// Refuses when another daemon answers on the socket.
pub(crate) fn expect_unused(path: &Path) -> Result<(), ServerError> {
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(ServerError::InUse { path: path.to_owned() }),
        Err(_) => Ok(()),
    }
}

/// Binds the socket, mode 0600. A socket that nobody answers on is a leftover and is replaced.
pub(crate) fn bind(path: &Path) -> Result<UnixListener, ServerError> {
    let failed = |attempt| move |source| ServerError::Io { attempt, path: path.to_owned(), source };
    expect_unused(path)?;
    if path.exists() {
        std::fs::remove_file(path).map_err(failed("remove the old socket"))?;
    }
    let listener = UnixListener::bind(path).map_err(failed("bind the socket"))?;
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(path, private).map_err(failed("restrict the socket"))?;
    Ok(listener)
}

/// What a connection needs to serve requests.
#[derive(Clone)]
pub(crate) struct Desk {
    /// The engine.
    pub(crate) engine: mpsc::Sender<Asked>,
    /// The clock that deadlines are given in.
    pub(crate) clock: Arc<dyn Clock>,
    /// The strategies, for those who ask about them.
    pub(crate) policy: Arc<Policy>,
    /// Where what takes long is done: asking about strategies waits for decisions under way.
    pub(crate) errands: Handle,
}

/// Accepts until `stopped`; then connections may still carry the answers of the engine that ended before.
pub(crate) async fn serve(
    listener: UnixListener,
    admitted: Admitted,
    desk: Desk,
    mut stopped: watch::Receiver<bool>,
) {
    let places = Places::new(CONNECTIONS);
    let (mut connections, mut turned_away) = (JoinSet::new(), TurnedAway::default());
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stopped.changed() => break,
            accepted = listener.accept() => accepted,
        };
        let seated = match accepted {
            Ok((stream, _)) => match admitted.admit(&stream) {
                Ok(()) => tokio::select! {
                    biased;
                    _ = stopped.changed() => break,
                    place = places.take() => place.map(|place| Some((stream, place))),
                },
                Err(refused) => {
                    turned_away.turn_away(stream, &refused);
                    Ok(None)
                }
            },
            Err(why) => Err(why),
        };
        match seated {
            Ok(Some((stream, place))) => {
                let (desk, places) = (desk.clone(), places.clone());
                connections.spawn(async move {
                    if let Err(why) = connection(stream, &places, &desk).await {
                        debug!(reason = %why, "connection ended");
                    }
                    drop(place);
                });
            }
            Ok(None) => {}
            Err(why) => {
                warn!(reason = %why, "accept failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(LAST_WORDS, all).await.is_err() {
        debug!("connections that say nothing are closed");
    }
}

/// Peers that were told why they are not served. They take nobody's place.
#[derive(Default)]
struct TurnedAway {
    /// The last few stay connected: who is cut off in the middle of its request may never read the answer.
    last: VecDeque<UnixStream>,
    count: u64,
}

impl TurnedAway {
    /// Says it without waiting: an empty socket's buffer has room.
    fn turn_away(&mut self, stream: UnixStream, refused: &Refused) {
        self.count += 1;
        // Who comes again and again fills no log.
        if self.count.is_power_of_two() {
            warn!(reason = %refused, so_far = self.count, "a peer was turned away");
        }
        if let Ok(frame) = Reply::Failed(refused.to_failed()).to_frame() {
            let _gone = stream.try_write(&frame);
        }
        let _gone = rustix::net::shutdown(&stream, Shutdown::Write);
        self.last.truncate(TURNED_AWAY - 1);
        self.last.push_front(stream);
    }
}

/// Answers a peer's requests, one after the other.
async fn connection(stream: UnixStream, places: &Places, desk: &Desk) -> io::Result<()> {
    let mut peer_stream = Peer { stream, decoder: FrameDecoder::default(), fds: Vec::new() };
    while let Some(body) = places.listen(peer_stream.body()).await? {
        let netns = peer_stream.fds.pop();
        peer_stream.fds.clear();
        let reply = match Request::from_body(&body) {
            Ok(request) => desk.serve(request, netns).await,
            Err(
                error @ (MessageError::Newer { .. }
                | MessageError::Unknown { .. }
                | MessageError::Malformed { .. }),
            ) => error.to_reply(),
        };
        peer_stream.send(&reply).await?;
    }
    Ok(())
}

struct Peer {
    stream: UnixStream,
    decoder: FrameDecoder,
    fds: Vec<OwnedFd>,
}

impl Peer {
    /// The next frame's body; `None` when the peer hung up between frames.
    async fn body(&mut self) -> io::Result<Option<Vec<u8>>> {
        let deadline = tokio::time::Instant::now() + READ_WITHIN;
        loop {
            match self.decoder.next_body() {
                Ok(Some(body)) => return Ok(Some(body)),
                Ok(None) => {}
                Err(error) => return self.refuse(error).await,
            }
            let read = tokio::time::timeout_at(
                deadline,
                self.stream.async_io(Interest::READABLE, || receive(&self.stream, &mut self.fds)),
            );
            let bytes = read.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            if bytes.is_empty() {
                return if self.decoder.is_between_frames() {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
            if let Err(error) = self.decoder.push(&bytes) {
                return self.refuse(error).await;
            }
        }
    }

    async fn refuse(&mut self, error: FrameError) -> io::Result<Option<Vec<u8>>> {
        let failed = Failed::new(Code::Protocol, error.to_string(), "");
        self.send(&Reply::Failed(failed)).await?;
        Ok(None)
    }

    async fn send(&mut self, reply: &Reply) -> io::Result<()> {
        let frame = reply.to_frame().or_else(|error| {
            Reply::Failed(Failed::new(Code::Internal, format!("the reply is too large: {error}"), ""))
                .to_frame()
        });
        let frame = frame.map_err(|error| io::Error::other(error.to_string()))?;
        tokio::time::timeout(WRITE_WITHIN, self.stream.write_all(&frame))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }
}

/// Reads what is there, and any descriptor that came along. At most one is kept per read.
fn receive(stream: &UnixStream, fds: &mut Vec<OwnedFd>) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0u8; 16 * 1024];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(
        stream.as_fd(),
        &mut [io::IoSliceMut::new(&mut bytes)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT,
    )?;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    fds.truncate(1);
    bytes.truncate(received.bytes);
    Ok(bytes)
}

impl Desk {
    async fn serve(&self, request: Request, netns: Option<OwnedFd>) -> Reply {
        match request {
            Request::Add(add) => self.add(add, Nics::One, netns).await,
            Request::AddEveryCard(add) => self.add(add, Nics::EveryCard, netns).await,
            Request::Check(check) => self.check(check, netns).await,
            Request::Del(del) => self.del(del, None).await,
            Request::Diff => self.diff().await,
            Request::Explain { subject } => self.explain(subject).await,
            Request::Gc(gc) => self.gc(gc).await,
            Request::Hello { .. } => Reply::hello(),
            Request::ClearQuarantine { which } => self.clear_quarantine(which).await,
            Request::Ready => match self.query(Query::Readiness).await {
                Ok(View::Readiness(found)) => readiness(&found),
                Ok(View::Status(_) | View::Addresses(_) | View::Explanation(_)) => stopping(),
                Err(reply) => reply,
            },
            Request::Status => match self.status().await {
                Ok(status) => report(&*status),
                Err(reply) => reply,
            },
            Request::Strategies => match self.status().await {
                Ok(status) => {
                    let policy = Arc::clone(&self.policy);
                    self.aside(move || report(&Overview::of(&policy, &status))).await
                }
                Err(reply) => reply,
            },
        }
    }

    async fn status(&self) -> Result<Box<Status>, Reply> {
        match self.query(Query::Status).await? {
            View::Status(status) => Ok(status),
            View::Addresses(_) | View::Explanation(_) | View::Readiness(_) => Err(stopping()),
        }
    }

    async fn clear_quarantine(&self, which: String) -> Reply {
        // Every digest begins with nothing at all: a client's slip must not clear everything.
        let prefix = match which.as_str() {
            "all" => String::new(),
            digits if digits.len() >= FEWEST_DIGITS => which,
            short => {
                let message = format!("`{short}` names no component: give {FEWEST_DIGITS} digits, or `all`");
                return Reply::Failed(Failed::new(Code::InvalidEnvironment, message, ""));
            }
        };
        let policy = Arc::clone(&self.policy);
        self.aside(move || report(&serde_json::json!({ "cleared": policy.clear_quarantine(&prefix) }))).await
    }

    /// Does `work` on the runtime for errands.
    async fn aside(&self, work: impl FnOnce() -> Reply + Send + 'static) -> Reply {
        self.errands.spawn_blocking(work).await.unwrap_or_else(|why| {
            Reply::Failed(Failed::new(Code::Internal, format!("the question was not answered: {why}"), ""))
        })
    }

    async fn add(&self, add: Add, nics: Nics, netns: Option<OwnedFd>) -> Reply {
        let attachment = match attachment(&add.container, &add.network, &add.ifname) {
            Ok(attachment) => attachment,
            Err(reply) => return reply,
        };
        let Some(netns) = netns else {
            let message = format!("the network namespace of {} did not come with the request", add.container);
            return Reply::Failed(Failed::new(Code::InvalidNetns, message, ""));
        };
        let pod = add.pod.clone().map(|pod| PodName { namespace: pod.namespace, name: pod.name });
        let deadline = self.clock.now() + Duration::from_millis(add.timeout_ms).saturating_sub(MARGIN);
        let (reply, answer) = oneshot::channel();
        let netns_path = Some(add.netns.clone()).filter(|path| !path.is_empty());
        let request =
            Asked::Add { attachment: attachment.clone(), pod, nics, deadline, netns, netns_path, reply };
        let reply = self.ask(request, answer).await;
        readable(&self.engine, &add, attachment, reply).await
    }

    /// A DEL; `issued_ms` is when a spooled one was asked for.
    pub(crate) async fn del(&self, del: Del, issued_ms: Option<u64>) -> Reply {
        let attachment = match attachment(&del.container, &del.network, &del.ifname) {
            Ok(attachment) => attachment,
            Err(reply) => return reply,
        };
        let issued = issued_ms.map(enid_core::time::Timestamp);
        let (reply, answer) = oneshot::channel();
        self.ask(Asked::Del { attachment, issued, reply }, answer).await
    }

    async fn check(&self, check: Check, netns: Option<OwnedFd>) -> Reply {
        let attachment = match attachment(&check.container, &check.network, &check.ifname) {
            Ok(attachment) => attachment,
            Err(reply) => return reply,
        };
        let held = match self.query(Query::Attachment(attachment.clone())).await {
            Ok(View::Addresses(addresses)) => addresses,
            Ok(View::Status(_) | View::Explanation(_) | View::Readiness(_)) => Vec::new(),
            Err(reply) => return reply,
        };
        let unlisted = unlisted(held.iter().map(|lease| lease.address), &check.addresses);
        if !unlisted.is_empty() {
            let message = format!("attachment {attachment} holds {unlisted}, prevResult does not list it");
            let details = format!("prevResult lists {:?}", check.addresses);
            return Reply::Failed(Failed::new(Code::Drifted, message, details));
        }
        let (reply, answer) = oneshot::channel();
        self.ask(Asked::Check { attachment, netns, reply }, answer).await
    }

    async fn gc(&self, gc: Gc) -> Reply {
        if gc.valid.len() > MAX_VALID {
            let message = format!("GC lists {} attachments; at most {MAX_VALID} are read", gc.valid.len());
            return Reply::Failed(Failed::new(Code::InvalidConfig, message, ""));
        }
        let network = match gc.network.parse() {
            Ok(network) => network,
            Err(error) => return invalid(&error),
        };
        // What is no identifier was never added here, so that nothing of it could go.
        let ours = gc
            .valid
            .iter()
            .filter_map(|kept| Some((kept.container.parse().ok()?, kept.ifname.parse().ok()?)));
        let valid: BTreeSet<_> = ours.collect();
        let (reply, answer) = oneshot::channel();
        if self.engine.send(Asked::Gc { network, valid, reply }).await.is_err() {
            return stopping();
        }
        let Ok(answered) = answer.await else { return stopping() };
        if let Answered::Answer { answer: Answer::Collected { released, kept }, .. } = &answered {
            info!(network = %gc.network, listed = gc.valid.len(), released, kept = kept.len(), "GC");
            for (attachment, reason) in kept {
                warn!(%attachment, %reason, "GC does not list it, and it stays");
            }
        }
        in_wire_words(&answered)
    }

    async fn diff(&self) -> Reply {
        let (reply, answer) = oneshot::channel();
        if self.engine.send(Asked::Diff { reply }).await.is_err() {
            return stopping();
        }
        match answer.await {
            Ok(Ok(differences)) => differing(differences),
            Ok(Err(why)) => unseen(&why),
            Err(_) => stopping(),
        }
    }

    async fn explain(&self, subject: Subject) -> Reply {
        let query = match subject {
            Subject::Address(address) => Query::Address(address),
            Subject::Eni(id) => match id.parse() {
                Ok(eni) => Query::Eni(eni),
                Err(error) => return invalid(&error),
            },
            Subject::Pod { namespace, name } => Query::Pod(PodName { namespace, name }),
        };
        match self.query(query).await {
            Ok(View::Explanation(explanation)) => report(&explanation),
            Ok(View::Status(_) | View::Addresses(_) | View::Readiness(_)) => stopping(),
            Err(reply) => reply,
        }
    }

    async fn query(&self, query: Query) -> Result<View, Reply> {
        let (reply, answer) = oneshot::channel();
        self.engine.send(Asked::Query { query, reply }).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())
    }

    async fn ask(&self, request: Asked, answer: oneshot::Receiver<Answered>) -> Reply {
        ask(&self.engine, request, answer).await
    }
}

async fn ask(engine: &mpsc::Sender<Asked>, request: Asked, answer: oneshot::Receiver<Answered>) -> Reply {
    if engine.send(request).await.is_err() {
        return stopping();
    }
    answer.await.map_or_else(|_| stopping(), |answered| in_wire_words(&answered))
}

/// What an ADD is answered with: `outcome`, unless the plugin is too old to read it. Then what was done is undone,
/// for the plugin would report less than the pod has, or nothing.
async fn readable(engine: &mpsc::Sender<Asked>, add: &Add, attachment: Attachment, outcome: Reply) -> Reply {
    if add.reads(&outcome) {
        return outcome;
    }
    let (reply, answer) = oneshot::channel();
    let del = Asked::Del { attachment: attachment.clone(), issued: None, reply };
    let undone = ask(engine, del, answer).await;
    if undone != Reply::Done {
        warn!(%attachment, reply = ?undone, "an ADD for an outdated plugin waits for the runtime's DEL");
    }
    Reply::Failed(Failed::new(
        Code::PluginOutdated,
        "the pod would have other addresses than one IPv4 address, and this enid-cni is too old to report them",
        "install the enid-cni of the daemon's version",
    ))
}

#[cfg(test)]
mod tests {
    use enid_core::event::Answer;
    use enid_protocol::message::{Added, AddedIpv4, Address};

    use super::*;

    fn add(reads: &[&str]) -> Add {
        Add {
            container: "c1".to_owned(),
            network: "enid".to_owned(),
            ifname: "eth0".to_owned(),
            netns: String::new(),
            pod: None,
            timeout_ms: 1000,
            trace: None,
            reads: reads.iter().map(|kind| (*kind).to_owned()).collect(),
        }
    }

    fn single() -> Added {
        let mac = || "02:00:00:00:00:01".to_owned();
        let (address, gateway) = ([10, 0, 1, 7].into(), [169, 254, 1, 1].into());
        let host_veth = "eni0".to_owned();
        AddedIpv4 { address, gateway, host_veth, host_mac: mac(), pod_mac: mac(), mtu: 9001 }.into()
    }

    fn dual_stack() -> Added {
        let mut added = single();
        added.first.addresses.push(Address::alone("2001:db8::7".parse().unwrap()));
        added
    }

    /// What the plugin that sent `add` hears of `added`, and which attachments were deleted meanwhile.
    async fn heard(add: Add, added: Added) -> (Reply, Vec<String>) {
        let (engine, mut asked) = mpsc::channel(1);
        let deletes = async {
            let mut deleted = Vec::new();
            while let Some(request) = asked.recv().await {
                let Asked::Del { attachment, issued: None, reply } = request else { panic!("no DEL") };
                deleted.push(attachment.to_string());
                let _gone = reply.send(Answered::Answer { answer: Answer::Deleted, wired: None });
            }
            deleted
        };
        let attachment = attachment("c1", "enid", "eth0").unwrap();
        let answers = async move { readable(&engine, &add, attachment, added.into_reply()).await };
        tokio::join!(answers, deletes)
    }

    #[tokio::test]
    async fn a_pod_that_an_older_plugin_cannot_report_is_taken_back_and_the_plugin_told_why() {
        let (reply, deleted) = heard(add(&[]), dual_stack()).await;
        assert!(matches!(&reply, Reply::Failed(failed) if failed.code == Code::PluginOutdated.number()));
        assert_eq!(deleted, [attachment("c1", "enid", "eth0").unwrap().to_string()]);
    }

    #[tokio::test]
    async fn what_the_plugin_reads_stays() {
        for (reads, added) in [
            (&[][..], single()),
            (&[Reply::ADDED_INTERFACES][..], single()),
            (&[Reply::ADDED_INTERFACES, "made_next_year"][..], dual_stack()),
        ] {
            let (reply, deleted) = heard(add(reads), added.clone()).await;
            assert_eq!((reply, deleted), (added.into_reply(), Vec::new()));
        }
    }
}
