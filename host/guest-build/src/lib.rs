//! Turns strategy sources into components, in whatever language they are written, and starts new ones.
//!
//! It calls compilers and package managers; it never runs a component and knows nothing of the host. What
//! it hands out imports nothing but the contract: WASI, where a toolchain insists on it, is answered here.
//!
//! - [`project`]: a folder with a strategy in Rust, C, JavaScript or Python, and how it becomes a component
//! - [`rust`]: strategy crates of a cargo workspace, several at once
//! - [`component`]: core modules into components, and what a component imports
//! - [`adapt`]: components without their WASI imports
//! - [`template`]: new projects; [`sdk`]: the Rust SDK as files, for projects outside this repository
//! - [`contract`]: the strategy kinds and their WIT; [`toolchain`]: programs and pinned versions
//! - [`output`]: files that change only when their content does, and the list of their digests
#![forbid(unsafe_code)]

pub mod adapt;
pub mod component;
pub mod contract;
mod error;
pub mod output;
pub mod project;
pub mod rust;
pub mod sdk;
pub mod template;
pub mod toolchain;

pub use adapt::adapt;
pub use component::{componentize, imports};
pub use enid_core::kind::Kind;
pub use error::Error;
pub use project::{Built, Language, Project, build_project};
pub use template::new_project;
