//! What enid says to container runtimes and to itself: CNI documents, and the frames between
//! `enid-cni`, the command line and the daemon.
//!
//! Decides how a CNI call is read, which code a failure carries and how a result looks in each spec
//! version. Never opens a socket, or reads an environment of its own. Only [`spool`] touches the file system
//! (and waits for a lock), because plugin and daemon must agree on it to the byte. Knows strings and numbers, not the daemon's types: an identifier is checked again where it is used.
//!
//! * [`cni`]: verbs, environment, network configuration, results and errors of CNI 0.3.1 to 1.1.0.
//! * [`frame`]: bytes on the socket; [`message`]: what they say.
//! * [`spool`]: DELs that found no daemon.
#![forbid(unsafe_code)]

pub mod cni;
pub mod frame;
pub mod message;
pub mod spool;
