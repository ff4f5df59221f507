//! A whole node under test, from outside: the lab, unmodified `enid run` and `enid-cni`, pods as namespaces.
//!
//! Everything here only uses what an operator or a container runtime has: command lines, settings files, CNI
//! calls, and the kernel's own tools. It never looks into the daemon, never decides what is right, and
//! takes away what it made, also when a test fails or is killed.
//!
//! Map: [`program`] what is under test · [`lab`] a VPC of the test's own · [`node`] one node of it and its
//! questions · [`settings`] its `enid.toml` · [`daemon`] its process · [`pod`] a sandbox · [`plugin`] CNI calls ·
//! [`containerd`] a runtime that makes both itself · [`libcni`] the library of runtimes · [`kubernetes`] the cluster's API ·
//! [`python`] programs of others in Python · [`kernel`] what the kernel has · [`metrics`] what is seen over HTTP · [`traffic`] who reaches whom, and is seen as whom · [`heartbeat`] traffic that notices every gap · [`patience`] waiting with deadlines.
//!
//! Needs root, iproute2, nftables, and what `cargo xtask demo` builds: `enid`, `enid-cni` and the shipped
//! strategies, in the directory above the test programs'.
#![expect(clippy::unwrap_used, reason = "a test that cannot arrange its world fails")]

pub mod containerd;
pub mod daemon;
mod golang;
pub mod heartbeat;
pub mod kernel;
pub mod kubernetes;
pub mod lab;
pub mod libcni;
pub mod metrics;
pub mod node;
pub mod patience;
pub mod plugin;
pub mod pod;
pub mod program;
pub mod python;
pub mod settings;
pub mod traffic;
