//! What there is to decide: one kind of strategy for each.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::admission::printable;

/// Bytes of a mistyped kind that an error repeats.
const MAX_SHOWN: usize = 64;

/// What a strategy decides about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// How many addresses to hold ready.
    WarmPool,
    /// How many pods the node can run.
    MaxPods,
    /// Where the next ENI is created.
    SubnetSelection,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 3] = [Kind::WarmPool, Kind::MaxPods, Kind::SubnetSelection];

    /// The kind as it stands in settings, in export names and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::WarmPool => "warm-pool",
            Kind::MaxPods => "max-pods",
            Kind::SubnetSelection => "subnet-selection",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        let named = Kind::ALL.into_iter().find(|kind| kind.as_str() == text);
        named.ok_or_else(|| UnknownKind { found: printable(text, MAX_SHOWN) })
    }
}

/// A kind that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("kind `{found}` is unknown: it is `warm-pool`, `max-pods` or `subnet-selection`")]
pub struct UnknownKind {
    /// What was found, cut to size.
    pub found: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_read_as_they_are_shown_and_others_are_told_what_is_right() {
        for kind in Kind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{kind}\""));
        }
        let refused = "WarmPool".parse::<Kind>().unwrap_err().to_string();
        assert!(refused.contains("`WarmPool`"), "{refused}");
        assert!(Kind::ALL.iter().all(|kind| refused.contains(kind.as_str())), "{refused}");
    }
}
