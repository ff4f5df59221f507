//! What the daemon asks of the child and what the child answers, which is not trusted.

use enid_core::admission::printable;
use enid_core::document::{Answer, Snapshot};
use enid_core::kind::Kind;
use enid_core::proposal::Outcome;
use enid_core::snapshot::{Setting, Value};
use serde::{Deserialize, Serialize};

use crate::confine::Gap;
use crate::fault::{Fault, Unloadable, words};
use crate::limits::Limits;
use crate::runtime::{Called, Cost, Descriptor, Issue};

/// Bytes of a request; a question about the largest node has a tenth of it.
pub(super) const MAX_REQUEST: usize = 1 << 20;
/// Bytes of the first message, which lists what the machine did not grant.
pub(super) const MAX_READY: usize = 4 << 10;
/// Bytes of a description: its schema and little more.
pub(super) const MAX_LOADED: usize = 128 << 10;

/// Bytes of an answer beyond what its component returned and logged.
const SLACK: usize = 16 << 10;
/// Bytes of a log line that is kept, with what stands around it.
const LINE: usize = 640;
/// Bytes of a short text of a component's that is kept.
const MAX_TEXT: usize = 512;
/// Bytes of a settings schema.
const MAX_SCHEMA: usize = 64 << 10;
/// Problems with settings that are kept.
const MAX_ISSUES: usize = 32;

/// A component in the child, named by the daemon; never used twice.
pub(super) type GuestId = u64;

/// What the daemon asks; the child answers each but `Unload`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request<'a> {
    /// Load the artifact that comes along.
    Load(GuestId, Limits),
    /// Forget a component.
    Unload(GuestId),
    /// Ask a component what to do.
    Ask(GuestId, Borrowed<'a, Snapshot>),
    /// Ask a component what it thinks of settings.
    CheckSettings(GuestId, Borrowed<'a, [Setting]>),
}

/// Borrowed where it is sent, owned where it is received.
pub(super) type Borrowed<'a, T> = std::borrow::Cow<'a, T>;

/// What the child says after it has confined itself.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Ready {
    /// What the machine did not grant, or why it cannot run anything.
    pub result: Result<Vec<Gap>, String>,
}

/// A component as loaded.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Loaded {
    pub kind: Kind,
    pub descriptor: Descriptor,
}

/// The answer to `Load`.
pub(super) type LoadReply = Result<Loaded, Unloadable>;
/// The answer to `Ask`.
pub(super) type AskReply = Called<Answer>;
/// The answer to `CheckSettings`.
pub(super) type CheckReply = Called<Vec<Issue>>;

/// Bytes of an answer under these limits.
pub(super) fn max_answer(limits: &Limits) -> usize {
    let lines = usize::try_from(limits.log_lines).unwrap_or(usize::MAX).saturating_mul(LINE);
    limits.hostcall_bytes.saturating_mul(2).saturating_add(lines).saturating_add(SLACK)
}

/// Puts what a child claims into the bounds that an honest one keeps: it may have been taken over.
pub(super) trait Tame {
    /// Cuts and cleans all that is text; whoever is honest sees no difference.
    fn tame(self) -> Self;
}

impl Tame for Gap {
    fn tame(self) -> Self {
        Self { layer: self.layer, why: words(&self.why) }
    }
}

impl Tame for Loaded {
    fn tame(self) -> Self {
        let Descriptor { name, version, summary, settings_schema, state_format } = self.descriptor;
        let descriptor = Descriptor {
            name: printable(&name, MAX_TEXT),
            version: printable(&version, MAX_TEXT),
            summary: printable(&summary, MAX_TEXT),
            settings_schema: if settings_schema.len() > MAX_SCHEMA { String::new() } else { settings_schema },
            state_format,
        };
        Self { kind: self.kind, descriptor }
    }
}

impl Tame for Answer {
    fn tame(self) -> Self {
        match self {
            Answer::WarmPool(mut proposal) => {
                proposal.outcome = proposal.outcome.tame();
                Answer::WarmPool(proposal)
            }
            Answer::MaxPods(mut proposal) => {
                proposal.outcome = proposal.outcome.tame();
                Answer::MaxPods(proposal)
            }
            Answer::SubnetSelection(mut proposal) => {
                proposal.outcome = proposal.outcome.tame();
                Answer::SubnetSelection(proposal)
            }
        }
    }
}

impl Tame for Outcome {
    /// The reason, the state and the number of annotations are for admission to judge, as always.
    fn tame(mut self) -> Self {
        for annotation in &mut self.annotations {
            annotation.key = printable(&annotation.key, MAX_TEXT);
            if let Value::Text(text) = &mut annotation.value {
                *text = printable(text, MAX_TEXT);
            }
        }
        self
    }
}

impl Tame for Vec<Issue> {
    fn tame(mut self) -> Self {
        self.truncate(MAX_ISSUES);
        for issue in &mut self {
            issue.key = printable(&issue.key, MAX_TEXT);
            issue.message = words(&issue.message);
        }
        self
    }
}

impl Tame for Fault {
    fn tame(self) -> Self {
        match self {
            Fault::Fuel
            | Fault::Deadline
            | Fault::Memory { limit: _ }
            | Fault::Tables { limit: _ }
            | Fault::Stack
            | Fault::HostcallBytes { limit: _ } => self,
            Fault::Instances { why } => Fault::Instances { why: words(&why) },
            Fault::Trap { why } => Fault::Trap { why: words(&why) },
            Fault::Lift { why } => Fault::Lift { why: words(&why) },
            Fault::Failure { why } => Fault::Failure { why: words(&why) },
            Fault::Settings { why } => Fault::Settings { why: words(&why) },
            Fault::Unsupported { why } => Fault::Unsupported { why: words(&why) },
            Fault::Crashed { why } => Fault::Crashed { why: words(&why) },
            // Whether it was asked is not for the child to say.
            Fault::Unasked { why } => Fault::Crashed { why: words(&why) },
        }
    }
}

impl Tame for Unloadable {
    fn tame(self) -> Self {
        match self {
            Unloadable::NoKind | Unloadable::TwoKinds(_, _) => self,
            Unloadable::Artifact { why } => Unloadable::Artifact { why: words(&why) },
            Unloadable::ForeignImport { import } => Unloadable::ForeignImport { import: words(&import) },
            Unloadable::ForeignVersion { export } => Unloadable::ForeignVersion { export: words(&export) },
            Unloadable::Mismatch { why } => Unloadable::Mismatch { why: words(&why) },
            Unloadable::Start(fault) => Unloadable::Start(fault.tame()),
            Unloadable::Describe(fault) => Unloadable::Describe(fault.tame()),
            Unloadable::BadDescription { why } => Unloadable::BadDescription { why: words(&why) },
            Unloadable::NoPlace { why } => Unloadable::NoPlace { why: words(&why) },
        }
    }
}

/// Puts what a child claims of a call into bounds; it cannot have used more than it had.
pub(super) fn tamed<T: Tame>(called: Called<T>, limits: &Limits) -> Called<T> {
    let Cost { fuel, memory, mut lines, dropped } = called.cost;
    lines.truncate(usize::try_from(limits.log_lines).unwrap_or(usize::MAX));
    for line in &mut lines {
        line.text = printable(&line.text, MAX_TEXT);
    }
    let most = u64::try_from(limits.memory).unwrap_or(u64::MAX);
    let cost = Cost { fuel: fuel.min(limits.fuel), memory: memory.min(most), lines, dropped };
    Called { result: called.result.map(Tame::tame).map_err(Tame::tame), cost }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::confine::Layer;
    use crate::runtime::{Level, LogLine};

    const WILD: &str = "fine\n\u{1b}[2Jcleared";

    fn clean(text: &str) -> bool {
        !text.contains(char::is_control) && text.len() <= MAX_TEXT
    }

    #[test]
    fn no_text_of_a_child_can_steer_a_terminal_or_flood_a_log() {
        let huge = || WILD.repeat(1_000);
        let line = || LogLine { level: Level::Info, text: huge() };
        let limits = Limits { log_lines: 2, ..Limits::default() };
        let cost = Cost { fuel: u64::MAX, memory: u64::MAX, lines: vec![line(); 9], dropped: 0 };
        let issues = vec![Issue { key: huge(), message: huge() }; 1_000];
        let called = tamed(Called { result: Ok(issues), cost }, &limits);
        let issues = called.result.unwrap();
        assert_eq!(issues.len(), MAX_ISSUES);
        assert!(issues.iter().all(|issue| clean(&issue.key) && clean(&issue.message)));
        assert_eq!(called.cost.lines.len(), 2);
        assert!(called.cost.lines.iter().all(|line| clean(&line.text)));
        assert_eq!(called.cost.fuel, limits.fuel);
        assert_eq!(called.cost.memory, u64::try_from(limits.memory).unwrap());

        let text = Setting { key: huge(), value: Value::Text(huge()) };
        let outcome = Outcome { annotations: vec![text], ..Outcome::default() }.tame();
        let Value::Text(text) = &outcome.annotations[0].value else { panic!("it was text") };
        assert!(clean(&outcome.annotations[0].key) && clean(text));

        let descriptor = Descriptor {
            name: huge(),
            version: huge(),
            summary: huge(),
            settings_schema: "x".repeat(MAX_SCHEMA + 1),
            state_format: 1,
        };
        let loaded = Loaded { kind: Kind::MaxPods, descriptor }.tame();
        assert!(clean(&loaded.descriptor.name) && clean(&loaded.descriptor.summary));
        assert_eq!(loaded.descriptor.settings_schema, "");
        assert!(clean(&Fault::Trap { why: huge() }.tame().to_string()));
        assert!(clean(&Unloadable::Start(Fault::Lift { why: huge() }).tame().to_string()));
        assert!(clean(&Gap { layer: Layer::User, why: huge() }.tame().to_string()));
    }

    #[test]
    fn a_child_cannot_say_that_it_was_not_asked() {
        let fault = Fault::Unasked { why: "innocent".into() }.tame();
        assert!(fault.is_its_own());
    }

    #[test]
    fn a_message_is_read_as_it_was_written() {
        let fault = Fault::Memory { limit: 7 };
        let cost = Cost { fuel: 1, memory: 2, lines: Vec::new(), dropped: 3 };
        let called: CheckReply = Called { result: Err(fault), cost };
        let bytes = postcard::to_stdvec(&called).unwrap();
        assert_eq!(postcard::from_bytes::<CheckReply>(&bytes).unwrap(), called);
        let settings = [Setting { key: "a".into(), value: Value::Int(-1) }];
        let request = Request::CheckSettings(7, Borrowed::Borrowed(&settings));
        let bytes = postcard::to_stdvec(&request).unwrap();
        let Request::CheckSettings(7, read) = postcard::from_bytes(&bytes).unwrap() else {
            panic!("it is one")
        };
        assert_eq!(*read, settings);
    }
}
