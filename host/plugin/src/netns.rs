//! The pod's network namespace as a descriptor: the daemon never opens a path that a runtime sent.

use std::os::fd::OwnedFd;

use enid_protocol::cni::code::Code;
use enid_protocol::cni::error::CniError;
use rustix::fs::{Mode, OFlags, Stat, fstat, fstatfs, open, stat};

/// `statfs` type of namespace files (linux/magic.h).
const NSFS_MAGIC: u64 = 0x6e73_6673;

/// Whether the plugin's own namespace is a pod's: only a caller that says so may mean the host's.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum OwnNamespace {
    Allowed,
    Refused,
}

/// Opens `CNI_NETNS` and makes sure that it is a namespace, and not the host's.
pub(crate) fn open_pod(path: &str, own: OwnNamespace) -> Result<OwnedFd, CniError> {
    let invalid = |why: String| {
        let details = "the container runtime creates the namespace before it calls ADD or CHECK";
        CniError::new(Code::InvalidNetns, format!("CNI_NETNS `{path}`: {why}"), details)
    };
    // Non-blocking, so that a FIFO in its place cannot hold us.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let netns = open(path, flags, Mode::empty()).map_err(|errno| invalid(errno.to_string()))?;
    let kind = fstatfs(&netns).map_err(|errno| invalid(errno.to_string()))?.f_type;
    if u64::try_from(kind) != Ok(NSFS_MAGIC) {
        return Err(invalid("is not a namespace".to_owned()));
    }
    if own == OwnNamespace::Refused
        && let (Ok(theirs), Ok(ours)) = (fstat(&netns), stat("/proc/self/ns/net"))
        && identity(&theirs) == identity(&ours)
    {
        return Err(invalid("is the host's own namespace".to_owned()));
    }
    Ok(netns)
}

fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}
