//! The datapath against the real kernel, in throw-away network namespaces.
//!
//! What the kernel holds is read with `ip` and `nft`, never with the datapath's own eyes. Nothing here touches
//! the namespace the tests run in. A missing privilege or program fails the tier and says how to get it.
//!
//! | module | its noun |
//! |---|---|
//! | [`namespace`] | a network namespace of a test's own, and what can be done in it |
//! | [`node`] | a node without a VPC, to look at what the kernel holds |
//! | [`vpc`] | a node with two ENIs on a router that knows which ENI owns which address, and an outside |
//! | [`cluster`] | such a node with pods of every kind, and what its kernel should hold |
//! | [`wiring`] | builders for the wirings that tests use |

#![forbid(unsafe_code)]

pub mod cluster;
pub mod namespace;
pub mod node;
pub mod vpc;
pub mod wiring;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use enid_datapath_linux::{DatapathOptions, LinuxDatapath};
use rustix::event::{Timespec, poll};

use crate::namespace::Namespace;

/// Starts the datapath in `node`.
pub fn start(node: &Namespace) -> Result<LinuxDatapath> {
    start_with(node, DatapathOptions::default())
}

/// Starts the datapath in `node`, with other options than the usual.
pub fn start_with(node: &Namespace, options: DatapathOptions) -> Result<LinuxDatapath> {
    Ok(LinuxDatapath::start(DatapathOptions { node: Some(node.fd()?), ..options })?)
}

/// Runs a future to its end on a runtime of its own.
pub fn block_on<T>(future: impl Future<Output = T>) -> Result<T> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future))
}

/// Asks again and again until `reached` or the time is over.
pub fn eventually(what: &str, within: Duration, mut reached: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + within;
    let tick = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
    while !reached()? {
        if Instant::now() > deadline {
            bail!("not within {within:?}: {what}");
        }
        poll(&mut [], Some(&tick))?;
    }
    Ok(())
}
