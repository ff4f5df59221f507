//! What a frame says: one request from the plugin or the command line, one reply from the daemon.
//!
//! A body is `{"v":1,"request":{"add":{…}}}` or `{"v":1,"reply":{"added":{…}}}`.
//!
//! Old with new, in both directions:
//! * A field that the reader does not know is ignored; a field that the writer did not know reads as its
//!   default. So a new field is always optional, and its absence means what it meant before.
//! * A new verb is a new variant. A daemon that lacks it answers [`Reply::Failed`] with
//!   [`Code::DaemonOutdated`] and the verb's name; a reader that lacks a reply says so by name. So what must not
//!   be overlooked is a verb or a reply, and never a field: a pod that asks for several interfaces
//!   ([`Request::AddEveryCard`]), and a pod that has more than one IPv4 address ([`Reply::AddedInterfaces`]).
//! * A plugin says in [`Add::reads`] which replies it reads beyond the first ones. Where the others would not say
//!   all, the daemon takes back what it did and answers [`Code::PluginOutdated`].
//! * A field never changes its meaning, and neither fields nor verbs are removed; what needs that
//!   needs a higher [`PROTOCOL`], and a reader refuses what is higher than its own. A field may take more
//!   values if older readers refuse those as malformed: where there was an IPv4 address, there may be IPv6.
//! * [`Request::Hello`] is answered the same way by every version: a client may ask before it relies on more.
//! * Codes are plain numbers in a reply, so a plugin passes on a code that is newer than itself.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::cni::code::Code;
use crate::frame::{self, FrameError};

mod added;
mod gc;

pub use added::{Added, AddedIpv4, Address, FURTHER_INTERFACE, Further, Interface};
pub use gc::{Gc, MAX_VALID, ValidAttachment};

/// The protocol's version: higher only when an older reader would misunderstand.
pub const PROTOCOL: u32 = 1;

/// The Kubernetes pod behind a call, as the runtime names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// `K8S_POD_NAMESPACE`.
    pub namespace: String,
    /// `K8S_POD_NAME`.
    pub name: String,
    /// `K8S_POD_UID`; older runtimes do not send it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
}

/// CNI ADD. The pod's namespace descriptor travels with the frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Add {
    /// `CNI_CONTAINERID`.
    pub container: String,
    /// The network's name.
    pub network: String,
    /// `CNI_IFNAME`.
    pub ifname: String,
    /// `CNI_NETNS`, for logs: the descriptor is what counts.
    #[serde(default)]
    pub netns: String,
    /// The pod, when the runtime is Kubernetes'.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Pod>,
    /// How long the plugin waits from now.
    pub timeout_ms: u64,
    /// `TRACEPARENT`, passed on for the logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// Kinds of reply that the plugin reads besides [`Reply::Added`] and [`Reply::Failed`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reads: Vec<String>,
}

impl Add {
    /// Whether the plugin that asks can read `reply`.
    pub fn reads(&self, reply: &Reply) -> bool {
        match reply {
            Reply::AddedInterfaces(_) => self.reads.iter().any(|kind| kind == Reply::ADDED_INTERFACES),
            Reply::Added(_)
            | Reply::Checked
            | Reply::Done
            | Reply::Failed(_)
            | Reply::Hello { .. }
            | Reply::Report(_) => true,
        }
    }
}

/// CNI DEL. Carries no descriptor: the namespace may be gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Del {
    /// `CNI_CONTAINERID`.
    pub container: String,
    /// The network's name.
    pub network: String,
    /// `CNI_IFNAME`.
    pub ifname: String,
    /// `CNI_NETNS`, for logs; often empty.
    #[serde(default)]
    pub netns: String,
    /// The pod, for logs: DEL is keyed by the attachment alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Pod>,
    /// How long the plugin waits from now.
    pub timeout_ms: u64,
    /// `TRACEPARENT`, passed on for the logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
}

impl Del {
    /// The same without what is only for logs, and can be of any length: what is left always fits.
    pub fn bare(&self) -> Del {
        Del { netns: String::new(), pod: None, ..self.clone() }
    }
}

/// CNI CHECK. The pod's namespace descriptor travels with the frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// `CNI_CONTAINERID`.
    pub container: String,
    /// The network's name.
    pub network: String,
    /// `CNI_IFNAME`.
    pub ifname: String,
    /// `CNI_NETNS`, for logs: the descriptor is what counts.
    #[serde(default)]
    pub netns: String,
    /// The pod, when the runtime is Kubernetes'.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Pod>,
    /// The addresses that `prevResult` puts on the pod's interfaces. Those that the daemon reported must be among
    /// them.
    pub addresses: Vec<IpAddr>,
    /// How long the plugin waits from now.
    pub timeout_ms: u64,
    /// `TRACEPARENT`, passed on for the logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
}

/// What an operator wants explained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// One pod address.
    Address(IpAddr),
    /// One ENI, by its id.
    Eni(String),
    /// One pod.
    Pod {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
}

/// What a client asks of the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// CNI ADD of one interface.
    Add(Add),
    /// CNI ADD of an interface on every network card.
    AddEveryCard(Add),
    /// CNI CHECK.
    Check(Check),
    /// Give strategy components that failed another chance.
    ClearQuarantine {
        /// `all`, or the beginning of a component's digest: hexadecimal digits, at least eight of them.
        which: String,
    },
    /// CNI DEL.
    Del(Del),
    /// Where the daemon's journal, the kernel and EC2 disagree.
    Diff,
    /// Why something is as it is.
    Explain {
        /// What to explain.
        subject: Subject,
    },
    /// CNI GC.
    Gc(Gc),
    /// Who is there?
    Hello {
        /// The asking program and its version, for logs: `enid-cni 0.1.0`.
        program: String,
    },
    /// CNI STATUS: could an ADD be served now? Answered from memory.
    Ready,
    /// What the node has and does.
    Status,
    /// Which strategies are in force, how they fare, and which are in quarantine.
    Strategies,
}

impl Request {
    /// Every verb of this version, as spelled on the wire.
    pub const VERBS: [&str; 12] = [
        "add",
        "add_every_card",
        "check",
        "clear_quarantine",
        "del",
        "diff",
        "explain",
        "gc",
        "hello",
        "ready",
        "status",
        "strategies",
    ];

    /// The verb as spelled on the wire.
    pub fn verb(&self) -> &'static str {
        match self {
            Request::Add(_) => "add",
            Request::AddEveryCard(_) => "add_every_card",
            Request::Check(_) => "check",
            Request::ClearQuarantine { .. } => "clear_quarantine",
            Request::Del(_) => "del",
            Request::Diff => "diff",
            Request::Explain { .. } => "explain",
            Request::Gc(_) => "gc",
            Request::Hello { .. } => "hello",
            Request::Ready => "ready",
            Request::Status => "status",
            Request::Strategies => "strategies",
        }
    }

    /// The whole frame, length included.
    pub fn to_frame(&self) -> Result<Vec<u8>, FrameError> {
        to_frame(&RequestBody { v: PROTOCOL, request: self })
    }

    /// Reads a frame's body. The daemon answers an error with [`MessageError::to_reply`].
    pub fn from_body(body: &[u8]) -> Result<Request, MessageError> {
        match serde_json::from_slice::<RequestBody<Request>>(body) {
            Ok(RequestBody { v: PROTOCOL, request }) => Ok(request),
            Ok(RequestBody { v, .. }) => Err(MessageError::Newer { version: v }),
            Err(error) => Err(diagnose(body, "request", &Request::VERBS, &error)),
        }
    }
}

/// A request that was not fulfilled. Becomes the CNI error as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// One of [`Code`]'s numbers, or one that is newer than this program.
    pub code: u32,
    /// One line for people: what failed, on what.
    pub message: String,
    /// The reason in full, and what to do. With codes 11, 50 and 51 a JSON object on one line with a `reason`, for
    /// programs; the plugin passes it on as it is.
    #[serde(default)]
    pub details: String,
}

impl Failed {
    /// A failure with a code of this version.
    pub fn new(code: Code, message: impl Into<String>, details: impl Into<String>) -> Failed {
        Failed { code: code.number(), message: message.into(), details: details.into() }
    }
}

/// What the daemon answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// To ADD, when one interface with one IPv4 address is all that the pod has.
    Added(AddedIpv4),
    /// To ADD, when the pod has more, or other addresses.
    AddedInterfaces(Box<Added>),
    /// To CHECK: all is as it should be.
    Checked,
    /// To DEL: nothing of the attachment is left, or will be soon without further calls. To GC: the same of every
    /// attachment that may go. To Ready: an ADD can be served.
    Done,
    /// To any request.
    Failed(Failed),
    /// To Hello.
    Hello {
        /// The daemon's version.
        version: String,
        /// The highest protocol version it reads.
        protocol: u32,
        /// The verbs it knows.
        verbs: Vec<String>,
    },
    /// To Status, Diff, Explain, Strategies and ClearQuarantine: a document whose shape belongs to the daemon.
    Report(serde_json::Value),
}

impl Reply {
    /// The kind of [`Reply::AddedInterfaces`], for [`Add::reads`].
    pub const ADDED_INTERFACES: &str = "added_interfaces";
    const KINDS: [&str; 7] =
        ["added", Reply::ADDED_INTERFACES, "checked", "done", "failed", "hello", "report"];

    /// The answer of this version to [`Request::Hello`].
    pub fn hello() -> Reply {
        Reply::Hello {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            protocol: PROTOCOL,
            verbs: Request::VERBS.map(str::to_owned).to_vec(),
        }
    }

    /// The whole frame, length included. Only a report can be too large.
    pub fn to_frame(&self) -> Result<Vec<u8>, FrameError> {
        to_frame(&ReplyBody { v: PROTOCOL, reply: self })
    }

    /// Reads a frame's body.
    pub fn from_body(body: &[u8]) -> Result<Reply, MessageError> {
        match serde_json::from_slice::<ReplyBody<Reply>>(body) {
            Ok(ReplyBody { v: PROTOCOL, reply }) => Ok(reply),
            Ok(ReplyBody { v, .. }) => Err(MessageError::Newer { version: v }),
            Err(error) => Err(diagnose(body, "reply", &Reply::KINDS, &error)),
        }
    }
}

/// A body that this version cannot read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageError {
    /// The peer speaks a protocol that this version does not.
    Newer {
        /// The peer's.
        version: u32,
    },
    /// The verb (or kind of reply) is not one of this version's.
    Unknown {
        /// `request` or `reply`.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// Not JSON, or not of the shape that the verb has.
    Malformed {
        /// `request` or `reply`.
        what: &'static str,
        /// Where and why.
        why: String,
    },
}

impl MessageError {
    /// What the daemon answers when it could not read a request.
    pub fn to_reply(&self) -> Reply {
        let (code, details) = match self {
            MessageError::Newer { .. } | MessageError::Unknown { .. } => {
                (Code::DaemonOutdated, "upgrade the daemon to the version of the program that asks")
            }
            MessageError::Malformed { .. } => (Code::Protocol, "the peer is not enid, or is broken"),
        };
        Reply::Failed(Failed::new(code, self.to_string(), details))
    }
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MessageError::Newer { version } => {
                write!(f, "the peer speaks protocol {version}, and this is {PROTOCOL}")
            }
            MessageError::Unknown { what, name } => write!(f, "unknown {what} `{name}`"),
            MessageError::Malformed { what, why } => write!(f, "malformed {what}: {why}"),
        }
    }
}

impl std::error::Error for MessageError {}

#[derive(Serialize, Deserialize)]
struct RequestBody<T> {
    v: u32,
    request: T,
}

#[derive(Serialize, Deserialize)]
struct ReplyBody<T> {
    v: u32,
    reply: T,
}

/// The outside of any body, of this version or a later one.
#[derive(Deserialize)]
struct Outside {
    v: u32,
    #[serde(alias = "reply")]
    request: Inside,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Inside {
    Bare(String),
    Tagged(BTreeMap<String, IgnoredAny>),
}

fn to_frame<T: Serialize>(body: &T) -> Result<Vec<u8>, FrameError> {
    // Our messages have string keys and finite numbers only, so serialising cannot fail.
    let body = serde_json::to_vec(body).unwrap_or_default();
    frame::encode(&body)
}

/// Finds out why a body could not be read: too new, an unknown verb, or simply wrong.
fn diagnose(body: &[u8], what: &'static str, known: &[&str], error: &serde_json::Error) -> MessageError {
    let malformed = || MessageError::Malformed { what, why: error.to_string() };
    let Ok(outside) = serde_json::from_slice::<Outside>(body) else { return malformed() };
    if outside.v != PROTOCOL {
        return MessageError::Newer { version: outside.v };
    }
    let name = match outside.request {
        Inside::Bare(name) => Some(name),
        Inside::Tagged(tags) => tags.into_keys().next(),
    };
    match name {
        Some(name) if !known.contains(&name.as_str()) => {
            MessageError::Unknown { what, name: name.chars().take(40).collect() }
        }
        Some(_) | None => malformed(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn add() -> Add {
        Add {
            container: "c1".to_owned(),
            network: "enid".to_owned(),
            ifname: "eth0".to_owned(),
            netns: "/var/run/netns/x".to_owned(),
            pod: Some(Pod { namespace: "default".to_owned(), name: "web".to_owned(), uid: None }),
            timeout_ms: 90_000,
            trace: None,
            reads: Vec::new(),
        }
    }

    fn gc(valid: &[(&str, &str)]) -> Gc {
        let valid = valid.iter().map(|(container, ifname)| ValidAttachment {
            container: (*container).to_owned(),
            ifname: (*ifname).to_owned(),
        });
        Gc { network: "enid".to_owned(), valid: valid.collect(), timeout_ms: 29_000, trace: None }
    }

    fn body_of(frame: &[u8]) -> &[u8] {
        &frame[frame::HEADER..]
    }

    #[test]
    fn the_wire_form_of_add_is_stable() {
        let frame = Request::Add(add()).to_frame().unwrap();
        assert_eq!(
            std::str::from_utf8(body_of(&frame)).unwrap(),
            r#"{"v":1,"request":{"add":{"container":"c1","network":"enid","ifname":"eth0","netns":"/var/run/netns/x","pod":{"namespace":"default","name":"web"},"timeout_ms":90000}}}"#
        );
    }

    #[test]
    fn every_request_round_trips_under_its_own_verb() {
        let a = add();
        let requests = [
            Request::Add(a.clone()),
            Request::AddEveryCard(Add { reads: vec![Reply::ADDED_INTERFACES.to_owned()], ..a.clone() }),
            Request::Check(Check {
                container: a.container.clone(),
                network: a.network.clone(),
                ifname: a.ifname.clone(),
                netns: a.netns.clone(),
                pod: a.pod.clone(),
                addresses: vec![IpAddr::from([10, 0, 1, 7]), "2001:db8::7".parse().unwrap()],
                timeout_ms: 1,
                trace: Some("00-aa-bb-01".to_owned()),
            }),
            Request::ClearQuarantine { which: "all".to_owned() },
            Request::Del(Del {
                container: a.container,
                network: a.network,
                ifname: a.ifname,
                netns: String::new(),
                pod: a.pod,
                timeout_ms: 1,
                trace: None,
            }),
            Request::Diff,
            Request::Explain { subject: Subject::Address("2001:db8::7".parse().unwrap()) },
            Request::Gc(gc(&[("c1", "eth0"), ("c2", "net1")])),
            Request::Hello { program: "test".to_owned() },
            Request::Ready,
            Request::Status,
            Request::Strategies,
        ];
        let verbs: Vec<_> = requests.iter().map(Request::verb).collect();
        assert_eq!(verbs, Request::VERBS);
        for request in requests {
            let frame = request.to_frame().unwrap();
            assert!(String::from_utf8_lossy(&frame).contains(&format!("\"{}\"", request.verb())));
            assert_eq!(Request::from_body(body_of(&frame)).unwrap(), request);
        }
    }

    #[test]
    fn an_older_reader_ignores_new_fields_and_a_newer_one_defaults_missing_ones() {
        let body = br#"{"v":1,"new":1,"request":{"add":{"container":"c","network":"n","ifname":"eth0","timeout_ms":5,"colour":"red"}}}"#;
        let Ok(Request::Add(add)) = Request::from_body(body) else { panic!("not an ADD") };
        assert_eq!((add.container.as_str(), add.netns.as_str(), add.pod), ("c", "", None));
    }

    #[test]
    fn an_unknown_verb_is_answered_by_name() {
        for body in [r#"{"v":1,"request":{"mend":{"all":[]}}}"#, r#"{"v":1,"request":"mend"}"#] {
            let error = Request::from_body(body.as_bytes()).unwrap_err();
            assert_eq!(error, MessageError::Unknown { what: "request", name: "mend".to_owned() });
            let Reply::Failed(failed) = error.to_reply() else { panic!("not a failure") };
            assert_eq!(failed.code, Code::DaemonOutdated.number());
        }
        let error = Reply::from_body(br#"{"v":1,"reply":{"collected":3}}"#).unwrap_err();
        assert_eq!(error, MessageError::Unknown { what: "reply", name: "collected".to_owned() });
    }

    #[test]
    fn the_wire_form_of_the_other_verbs_is_stable() {
        for (request, wire) in [
            (Request::Diff, r#"{"v":1,"request":"diff"}"#),
            (
                Request::Gc(gc(&[("c1", "eth0")])),
                r#"{"v":1,"request":{"gc":{"network":"enid","valid":[{"container":"c1","ifname":"eth0"}],"timeout_ms":29000}}}"#,
            ),
            (
                Request::Gc(gc(&[])),
                r#"{"v":1,"request":{"gc":{"network":"enid","valid":[],"timeout_ms":29000}}}"#,
            ),
            (Request::Ready, r#"{"v":1,"request":"ready"}"#),
            (Request::Strategies, r#"{"v":1,"request":"strategies"}"#),
            (
                Request::ClearQuarantine { which: "ab12cd34".to_owned() },
                r#"{"v":1,"request":{"clear_quarantine":{"which":"ab12cd34"}}}"#,
            ),
        ] {
            assert_eq!(std::str::from_utf8(body_of(&request.to_frame().unwrap())).unwrap(), wire);
        }
        let later = br#"{"v":1,"request":{"clear_quarantine":{"which":"all","dry_run":true}}}"#;
        assert_eq!(Request::from_body(later), Ok(Request::ClearQuarantine { which: "all".to_owned() }));
    }

    #[test]
    fn a_newer_protocol_is_refused_whatever_it_carries() {
        for body in [r#"{"v":2,"request":"status"}"#, r#"{"v":2,"request":{"add":{"sandbox":1}}}"#] {
            assert_eq!(Request::from_body(body.as_bytes()), Err(MessageError::Newer { version: 2 }));
        }
    }

    #[test]
    fn malformed_bodies_say_where() {
        for body in [
            "",
            "[]",
            "{",
            r#"{"v":1}"#,
            r#"{"v":1,"request":{"add":{}}}"#,
            r#"{"v":1,"request":{}}"#,
            "\u{0}",
        ] {
            let error = Request::from_body(body.as_bytes()).unwrap_err();
            assert!(matches!(error, MessageError::Malformed { .. }), "{body}: {error:?}");
        }
    }

    proptest! {
        #[test]
        fn garbage_bodies_never_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Request::from_body(&body);
            let _ = Reply::from_body(&body);
        }

        #[test]
        fn any_added_round_trips(
            addresses in prop::collection::vec((any::<IpAddr>(), any::<u8>()), 0..3),
            gateways in prop::collection::vec(any::<IpAddr>(), 0..3),
            mtu: u32,
            further in 0u32..3,
            host_veth in ".{0,20}",
            code: u32,
            message in ".{0,80}",
        ) {
            let addresses = addresses.into_iter().map(|(address, prefix)| Address { address, prefix }).collect();
            let mac = |end: u8| format!("02:00:00:00:00:{end:02x}");
            let first = Interface { addresses, gateways, host_veth, host_mac: mac(1), pod_mac: mac(2), mtu };
            let further = (1..=further).map(|table| Further {
                ifname: format!("{FURTHER_INTERFACE}{table}"),
                table,
                interface: first.clone(),
            });
            let added = Added { further: further.collect(), first: first.clone() };
            for reply in [added.into_reply(), Reply::Failed(Failed { code, message, details: String::new() })] {
                let frame = reply.to_frame().unwrap();
                prop_assert_eq!(Reply::from_body(body_of(&frame)).unwrap(), reply);
            }
        }
    }
}
