//! A question or an answer of any kind, and the JSON document that holds one.
//!
//! Documents name their format and kind, so that a file says what it is: `wit/README.md` describes them,
//! `wit/snapshot.schema.json` and `wit/answer.schema.json` are their schemas. In binary formats the enums
//! are ordinary ones.

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::admission::printable;
use crate::kind::{Kind, UnknownKind};
use crate::proposal::{Band, Proposal, Ranked};
use crate::snapshot::{
    Context, MAX_BLOCKS, MAX_ENIS, MAX_HISTORY, MAX_STATE, MAX_SUBNETS, MaxPodsSnapshot, SubnetSnapshot,
    WarmPoolSnapshot,
};

/// The format of a question's document; another number is another format.
pub const SNAPSHOT_FORMAT: &str = "enid.snapshot/1";
/// The format of an answer's document.
pub const ANSWER_FORMAT: &str = "enid.answer/1";
/// Bytes of a document that is read; the largest that the host writes has a tenth of it.
pub const MAX_DOCUMENT: usize = 4 << 20;

/// Bytes of a wrong format's name that an error repeats.
const MAX_SHOWN: usize = 64;

/// A question of any kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Snapshot {
    /// To a warm-pool strategy.
    WarmPool(WarmPoolSnapshot),
    /// To a max-pods strategy.
    MaxPods(MaxPodsSnapshot),
    /// To a subnet-selection strategy.
    SubnetSelection(SubnetSnapshot),
}

/// An answer of any kind, not admitted yet: what is out of bounds is for [`crate::admission`] to judge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// Of a warm-pool strategy.
    WarmPool(Proposal<Band>),
    /// Of a max-pods strategy.
    MaxPods(Proposal<u32>),
    /// Of a subnet-selection strategy.
    SubnetSelection(Proposal<Vec<Ranked>>),
}

/// Why a document is not read.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// Larger than anything sensible.
    #[error("the document has {bytes} bytes; at most {MAX_DOCUMENT} are read")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// It does not say what it is.
    #[error("the document has no `{missing}`; it must begin {{\"format\":\"{format}\",\"kind\":…")]
    Unmarked {
        /// The field that it lacks.
        missing: &'static str,
        /// The format that was expected.
        format: &'static str,
    },
    /// A document of something else, or of another age.
    #[error("the document's format is `{found}`; it must be `{format}`")]
    Format {
        /// What it says it is.
        found: String,
        /// The format that was expected.
        format: &'static str,
    },
    /// A kind that does not exist.
    #[error(transparent)]
    Kind(#[from] UnknownKind),
    /// Not JSON, or not this document's fields and types.
    #[error("the document cannot be read")]
    Json(#[source] serde_json::Error),
    /// A list, or the state, is longer than any that a strategy may be shown.
    #[error("`{field}` has {found} {unit}; there may be at most {most}")]
    TooLong {
        /// The field.
        field: &'static str,
        /// Its length.
        found: usize,
        /// In what.
        unit: &'static str,
        /// The bound.
        most: usize,
    },
}

impl Snapshot {
    /// Which kind of strategy it is for.
    pub fn kind(&self) -> Kind {
        match self {
            Snapshot::WarmPool(_) => Kind::WarmPool,
            Snapshot::MaxPods(_) => Kind::MaxPods,
            Snapshot::SubnetSelection(_) => Kind::SubnetSelection,
        }
    }

    /// Time, chance, settings, memory.
    pub fn context(&self) -> &Context {
        match self {
            Snapshot::WarmPool(snapshot) => &snapshot.context,
            Snapshot::MaxPods(snapshot) => &snapshot.context,
            Snapshot::SubnetSelection(snapshot) => &snapshot.context,
        }
    }

    /// Its context, to fill in what a strategy's host decides: settings, sequence, chance, memory.
    pub fn context_mut(&mut self) -> &mut Context {
        match self {
            Snapshot::WarmPool(snapshot) => &mut snapshot.context,
            Snapshot::MaxPods(snapshot) => &mut snapshot.context,
            Snapshot::SubnetSelection(snapshot) => &mut snapshot.context,
        }
    }

    /// Its document, indented for people.
    pub fn to_json(&self) -> String {
        let format = SNAPSHOT_FORMAT;
        pretty(&SnapshotOut { format, kind: self.kind(), snapshot: Body(self) })
    }

    /// Reads a document. What it leaves out has the documented default; what it has too much of is refused.
    pub fn from_json(text: &str) -> Result<Self, DocumentError> {
        let snapshot = match marked(text, SNAPSHOT_FORMAT)? {
            Kind::WarmPool => Snapshot::WarmPool(body::<SnapshotIn<_>>(text)?.snapshot),
            Kind::MaxPods => Snapshot::MaxPods(body::<SnapshotIn<_>>(text)?.snapshot),
            Kind::SubnetSelection => Snapshot::SubnetSelection(body::<SnapshotIn<_>>(text)?.snapshot),
        };
        snapshot.check_lengths()?;
        Ok(snapshot)
    }

    /// Reads a snapshot alone. Unlike [`Snapshot::from_json`] it leaves lengths to
    /// [`Snapshot::check_lengths`].
    pub fn deserialize_body<'de, D: Deserializer<'de>>(
        kind: Kind,
        deserializer: D,
    ) -> Result<Self, D::Error> {
        match kind {
            Kind::WarmPool => Deserialize::deserialize(deserializer).map(Snapshot::WarmPool),
            Kind::MaxPods => Deserialize::deserialize(deserializer).map(Snapshot::MaxPods),
            Kind::SubnetSelection => Deserialize::deserialize(deserializer).map(Snapshot::SubnetSelection),
        }
    }

    /// Whether every list is within what the contract with strategies promises.
    pub fn check_lengths(&self) -> Result<(), DocumentError> {
        let list = |field, found, most| within(field, found, "elements", most);
        within("context.state", self.context().state.len(), "bytes", MAX_STATE)?;
        match self {
            Snapshot::WarmPool(snapshot) => {
                list("enis", snapshot.enis.len(), MAX_ENIS)?;
                list("blocks", snapshot.blocks.len(), MAX_BLOCKS)?;
                list("history", snapshot.history.len(), MAX_HISTORY)?;
                list("subnets", snapshot.subnets.len(), MAX_SUBNETS)
            }
            Snapshot::MaxPods(_) => Ok(()),
            Snapshot::SubnetSelection(snapshot) => list("candidates", snapshot.candidates.len(), MAX_SUBNETS),
        }
    }
}

impl Answer {
    /// Which kind of strategy it is of.
    pub fn kind(&self) -> Kind {
        match self {
            Answer::WarmPool(_) => Kind::WarmPool,
            Answer::MaxPods(_) => Kind::MaxPods,
            Answer::SubnetSelection(_) => Kind::SubnetSelection,
        }
    }

    /// Its document, indented for people. Of annotations with one key the first is kept.
    pub fn to_json(&self) -> String {
        let format = ANSWER_FORMAT;
        pretty(&AnswerOut { format, kind: self.kind(), answer: Body(self) })
    }

    /// Reads a document.
    pub fn from_json(text: &str) -> Result<Self, DocumentError> {
        Ok(match marked(text, ANSWER_FORMAT)? {
            Kind::WarmPool => Answer::WarmPool(body::<AnswerIn<_>>(text)?.answer),
            Kind::MaxPods => Answer::MaxPods(body::<AnswerIn<_>>(text)?.answer),
            Kind::SubnetSelection => Answer::SubnetSelection(body::<AnswerIn<_>>(text)?.answer),
        })
    }

    /// Reads an answer alone.
    pub fn deserialize_body<'de, D: Deserializer<'de>>(
        kind: Kind,
        deserializer: D,
    ) -> Result<Self, D::Error> {
        match kind {
            Kind::WarmPool => Proposal::deserialize(deserializer).map(Answer::WarmPool),
            Kind::MaxPods => Proposal::deserialize(deserializer).map(Answer::MaxPods),
            Kind::SubnetSelection => Proposal::deserialize(deserializer).map(Answer::SubnetSelection),
        }
    }
}

/// The contents of a document, to be written into one of another format that says the kind itself.
#[derive(Debug)]
pub struct Body<'a, T>(pub &'a T);

impl Serialize for Body<'_, Snapshot> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Snapshot::WarmPool(snapshot) => Serialize::serialize(snapshot, serializer),
            Snapshot::MaxPods(snapshot) => Serialize::serialize(snapshot, serializer),
            Snapshot::SubnetSelection(snapshot) => Serialize::serialize(snapshot, serializer),
        }
    }
}

impl Serialize for Body<'_, Answer> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Answer::WarmPool(answer) => answer.serialize(serializer),
            Answer::MaxPods(answer) => answer.serialize(serializer),
            Answer::SubnetSelection(answer) => answer.serialize(serializer),
        }
    }
}

#[derive(Serialize)]
struct SnapshotOut<'a> {
    format: &'static str,
    kind: Kind,
    snapshot: Body<'a, Snapshot>,
}

#[derive(Serialize)]
struct AnswerOut<'a> {
    format: &'static str,
    kind: Kind,
    answer: Body<'a, Answer>,
}

/// What a document says it is, wherever it says it; the rest is read when that is known.
#[derive(Deserialize)]
struct Mark {
    format: Option<String>,
    kind: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SnapshotIn<T> {
    /// Where editors look for the schema.
    #[serde(rename = "$schema", default)]
    _schema: IgnoredAny,
    #[serde(rename = "format")]
    _format: IgnoredAny,
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    snapshot: T,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AnswerIn<T> {
    /// Where editors look for the schema.
    #[serde(rename = "$schema", default)]
    _schema: IgnoredAny,
    #[serde(rename = "format")]
    _format: IgnoredAny,
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    answer: T,
}

fn marked(text: &str, format: &'static str) -> Result<Kind, DocumentError> {
    if text.len() > MAX_DOCUMENT {
        return Err(DocumentError::TooLarge { bytes: text.len() });
    }
    let mark: Mark = body(text)?;
    let found = mark.format.ok_or(DocumentError::Unmarked { missing: "format", format })?;
    if found != format {
        return Err(DocumentError::Format { found: printable(&found, MAX_SHOWN), format });
    }
    let kind = mark.kind.ok_or(DocumentError::Unmarked { missing: "kind", format })?;
    Ok(kind.parse()?)
}

fn body<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, DocumentError> {
    serde_json::from_str(text).map_err(DocumentError::Json)
}

fn pretty(document: &impl Serialize) -> String {
    let text = serde_json::to_string_pretty(document);
    let mut text = text.expect("invariant: keys are text, and writing to memory does not fail");
    text.push('\n');
    text
}

fn within(field: &'static str, found: usize, unit: &'static str, most: usize) -> Result<(), DocumentError> {
    if found > most { Err(DocumentError::TooLong { field, found, unit, most }) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
