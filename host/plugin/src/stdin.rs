//! The network configuration, read with a deadline: a runtime that never closes stdin gets an answer too.

use std::io::{Read, stdin};
use std::time::{Duration, Instant};

use enid_protocol::cni::code::Code;
use enid_protocol::cni::config::MAX_STDIN;
use enid_protocol::cni::error::CniError;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};

/// Reads stdin to its end, or until it exceeds what a configuration may be.
pub(crate) fn read(within: Duration) -> Result<Vec<u8>, CniError> {
    let deadline = Instant::now() + within;
    let stdin = stdin();
    let mut input = stdin.lock();
    let mut bytes = Vec::new();
    let mut chunk = [0; 16 * 1024];
    while bytes.len() <= MAX_STDIN {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).unwrap_or_default();
        let mut ready = [PollFd::new(&stdin, PollFlags::IN)];
        if retry_on_intr(|| poll(&mut ready, Some(&left))).map_err(|errno| unread(&errno.to_string()))? == 0 {
            return Err(unread("it stays open and sends nothing more"));
        }
        match input.read(&mut chunk) {
            Ok(0) => break,
            Ok(length) => bytes.extend(chunk.iter().take(length)),
            Err(error) if error.raw_os_error() == Some(Errno::INTR.raw_os_error()) => {}
            Err(error) => return Err(unread(&error.to_string())),
        }
    }
    Ok(bytes)
}

fn unread(why: &str) -> CniError {
    CniError::new(
        Code::Io,
        format!("read the network configuration from stdin: {why}"),
        "the container runtime writes it and closes the pipe",
    )
}
