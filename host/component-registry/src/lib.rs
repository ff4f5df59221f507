//! Strategy components to and from OCI registries, in the CNCF layout for Wasm artifacts.
//!
//! Pushes a component with its signature; pulls one into a [`Store`](enid_component_store::Store) after checking
//! everything about it. For the command line only: the daemon has what is in the store and never pulls. Nothing
//! is run, nothing is unpacked, and no tag is believed.
//!
//! Two digests are at work, and both are shown to people. The one in a reference, after `@`, is the
//! **manifest's**: it pins what a registry says. The **component's** is that of the bytes: it names them in a
//! store and in the settings, wherever they came from.
//!
//! * [`mod@reference`]: what `oci://host/repository:tag@sha256:…` means.
//! * [`layout`]: manifest and configuration, written and read; the signature travels as an annotation.
//! * [`login`]: user and password for a registry, from where `docker login` and its kin put them.
//! * [`transfer`]: push and pull.
#![forbid(unsafe_code)]

mod error;
pub mod layout;
pub mod login;
pub mod reference;
pub mod transfer;

pub use error::RegistryError;
pub use login::Login;
pub use reference::Reference;
pub use transfer::{
    Access, Artifact, Intake, Pulled, Pushed, Signatures, Transport, pull, pull_blocking, push, push_blocking,
};
