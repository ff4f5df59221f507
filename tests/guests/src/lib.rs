//! Guests for the sandbox: components that attack the host, small ones that a test writes in text, and the places
//! where they run.
//!
//! This crate only reads, assembles and measures; the tests judge the host. The hostile guests are WebAssembly
//! text, so running them needs no toolchain.
//!
//! * [`corpus`]: the hostile guests. [`assembly`]: components out of text. [`question`]: something to ask them.
//! * [`place`]: where they run: in this process, and in children of `enid`. [`policy`]: ladders for a test.
//! * [`residue`]: what is left behind. [`build`]: components that others built. [`chance`]: for fuzz targets.
#![forbid(unsafe_code)]

pub mod assembly;
pub mod build;
pub mod chance;
pub mod corpus;
pub mod place;
pub mod policy;
pub mod question;
pub mod residue;

pub use assembly::{Assembly, guest};
pub use build::shipped;
pub use corpus::Hostile;
pub use place::Site;
pub use question::snapshot;
