//! The WIT package that defines the kinds of strategies.

use std::path::{Path, PathBuf};

use enid_core::kind::Kind;

use crate::{Error, output};

/// The contract, `enid:strategy@0.1.0`.
pub const WIT: &str = include_str!("../../../wit/strategy.wit");

/// The only imports that the host satisfies.
pub const HOST_IMPORTS: [&str; 2] = ["enid:strategy/log@0.1.0", "enid:strategy/types@0.1.0"];

/// The WIT world that a strategy of this kind implements.
pub(crate) fn world(kind: Kind) -> String {
    format!("{kind}-strategy")
}

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
    fn every_kind_has_a_world_in_the_contract() {
        for kind in Kind::ALL {
            assert!(WIT.contains(&format!("world {} {{", world(kind))), "{kind}");
        }
    }
}
