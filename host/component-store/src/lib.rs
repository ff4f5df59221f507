//! Strategy components on disk, by what they are: files named after their SHA-256, with the signatures that go
//! along.
//!
//! Keeps components, gives them back only when their bytes still are what their name says, and says who signed
//! them. Never opens a connection, never runs or interprets a component, and never decides whether a signature
//! is needed: the one who asks brings the keys.
//!
//! * [`base64`]: how keys and signatures are written.
//! * [`digest`]: what a component is called by machines.
//! * [`store`]: the directory; `index.json` in it holds what people want to know.
//! * [`signature`]: detached Ed25519 signatures in minisign's format, made and verified.
#![forbid(unsafe_code)]

pub mod base64;
pub mod digest;
pub mod signature;
pub mod store;

pub use digest::{Digest, NotADigest};
pub use signature::{KeyName, KeyPair, PublicKey, SecretKey, SignatureError, TrustedKeys, Verified};
pub use store::{Component, Deposit, Entry, Store, StoreError};
