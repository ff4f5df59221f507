//! Network namespaces: the node's own, and a pod's for as long as it takes to open a socket or set a switch
//! there.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use enid_engine::ports::DatapathError;
use rustix::fs::{Mode, OFlags, fstat, fstatfs};
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::netlink::failed;

/// The file system that namespace descriptors live on (`NSFS_MAGIC`).
const NSFS: u64 = 0x6e73_6673;

/// The network namespace that the calling thread works in, and always comes back to.
pub(crate) struct NodeNamespace {
    fd: OwnedFd,
    identity: (u64, u64),
}

impl NodeNamespace {
    /// The namespace that the calling thread is in.
    pub(crate) fn current() -> Result<OwnedFd, DatapathError> {
        let file = File::open("/proc/thread-self/ns/net");
        file.map(OwnedFd::from).map_err(|error| failed("open /proc/thread-self/ns/net", error))
    }

    /// Makes the calling thread live in `node`.
    pub(crate) fn settle(node: BorrowedFd<'_>) -> Result<Self, DatapathError> {
        let attempt = "enter the node's network namespace";
        enter(node).map_err(|error| failed(attempt, error))?;
        let fd = node.try_clone_to_owned().map_err(|error| failed(attempt, error))?;
        let identity = identity(node).map_err(|error| failed(attempt, error))?;
        Ok(Self { fd, identity })
    }

    /// Opens the namespace at this path, if a network namespace other than our own is there. What a pod's
    /// namespace was called may be a plain file by now, or another process's.
    pub(crate) fn find(&self, path: &str) -> Result<Option<OwnedFd>, DatapathError> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(namespace) => Ok(self.admit(namespace.as_fd()).is_ok().then_some(namespace)),
            // That says something about us, and nothing about what is there.
            Err(errno @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM)) => {
                Err(failed(format!("open the namespace {path}"), errno))
            }
            Err(_) => Ok(None),
        }
    }

    /// Does `work` inside a pod. The thread is back in its own namespace when this returns.
    pub(crate) fn inside<T>(
        &self,
        pod: BorrowedFd<'_>,
        work: impl FnOnce() -> Result<T, DatapathError>,
    ) -> Result<T, DatapathError> {
        self.admit(pod)?;
        enter(pod).map_err(|error| match error {
            Errno::INVAL => bad("the descriptor is a namespace of another kind"),
            other => failed("enter the pod's network namespace", other),
        })?;
        let done = work();
        // A thread that cannot come home would wire the next pod into this one: it must not go on.
        enter(self.fd.as_fd()).expect("invariant: our own namespace can be entered again");
        done
    }

    /// Refuses everything that is not a namespace descriptor, and the node's own namespace.
    fn admit(&self, pod: BorrowedFd<'_>) -> Result<(), DatapathError> {
        let file_system =
            fstatfs(pod).map_err(|error| bad(&format!("the descriptor cannot be examined: {error}")))?;
        if file_system.f_type as u64 != NSFS {
            return Err(bad("the descriptor does not refer to a namespace"));
        }
        let pod =
            identity(pod).map_err(|error| bad(&format!("the descriptor cannot be examined: {error}")))?;
        if pod == self.identity {
            return Err(bad("it is the node's own network namespace"));
        }
        Ok(())
    }
}

fn bad(why: &str) -> DatapathError {
    DatapathError::BadNamespace { why: why.to_owned() }
}

fn enter(namespace: BorrowedFd<'_>) -> Result<(), Errno> {
    move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))
}

fn identity(namespace: BorrowedFd<'_>) -> Result<(u64, u64), Errno> {
    fstat(namespace).map(|stat| (stat.st_dev, stat.st_ino))
}
