//! What the daemon gives nobody: rights that it does not need itself, answers to those who may not ask, its time and
//! memory to those who only take them.
//!
//! Map: `confinement` the process's rights · `peers` who is served · `crowd` many who say little · `noise` whatever bytes
//! and descriptors can come over the socket · `wire` frames by hand.
#![expect(clippy::unwrap_used, reason = "a test that cannot arrange its world fails")]

mod confinement;
mod crowd;
mod noise;
mod peers;
mod wire;

use std::fs;
use std::time::Duration;

use e2e::daemon::Daemon;
use e2e::lab::ready;

/// How long the daemon may take to notice that somebody has gone.
const PATIENCE: Duration = Duration::from_secs(15);

/// Descriptors that come and go by themselves: connections to EC2 and metadata. What a test sends is hundreds.
const OWN_AFFAIRS: usize = 8;

/// The descriptors that the daemon has open.
fn descriptors(daemon: &Daemon) -> usize {
    fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().count()
}
