//! The strategy kinds and the WIT package that defines them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::{Error, output};

/// The contract, `enid:strategy@0.1.0`.
pub const WIT: &str = include_str!("../../../wit/strategy.wit");

/// The only imports that the host satisfies.
pub const HOST_IMPORTS: [&str; 2] = ["enid:strategy/log@0.1.0", "enid:strategy/types@0.1.0"];

/// What a strategy decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// How many pods kubelet is told that the node can run.
    MaxPods,
    /// In which subnet the next ENI is created.
    SubnetSelection,
    /// How many addresses are held ready.
    WarmPool,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::MaxPods, Self::SubnetSelection, Self::WarmPool];

    /// The kind as settings and interface names write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MaxPods => "max-pods",
            Self::SubnetSelection => "subnet-selection",
            Self::WarmPool => "warm-pool",
        }
    }

    /// The WIT world that a strategy of this kind implements.
    pub fn world(self) -> String {
        format!("{}-strategy", self.as_str())
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
        let known = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        known.ok_or_else(|| UnknownKind(text.to_owned()))
    }
}

/// A word that is no strategy kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown strategy kind `{0}`: expected warm-pool, max-pods or subnet-selection")]
pub struct UnknownKind(pub String);

/// Puts the contract into a folder of its own under `scratch`, for generators that read files.
pub(crate) fn write_wit(scratch: &Path) -> Result<PathBuf, Error> {
    let dir = scratch.join("wit");
    output::write_if_changed(&dir.join("strategy.wit"), WIT.as_bytes())?;
    Ok(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_world_in_the_contract_and_reads_back() {
        for kind in Kind::ALL {
            assert!(WIT.contains(&format!("world {} {{", kind.world())), "{kind}");
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
        assert!("warmpool".parse::<Kind>().is_err());
    }
}
