//! Named network namespaces, as `ip netns` keeps them.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde::{Deserialize, Serialize};

/// Where `ip netns` keeps its names.
const DIRECTORY: &str = "/run/netns";

/// A network namespace by its name under `/run/netns`.
///
/// The value is only a name: creating and deleting are [`crate::fabric::Fabric`]'s, whose names are unique
/// per prefix, so that deleting by name never hurts a stranger.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NetNs(String);

/// Which namespace an open descriptor or a process is in: device and inode of the kernel object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity(u64, u64);

impl NetNs {
    /// The namespace called `name`, existing or not.
    pub fn named(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// Where it is mounted; what a runtime passes as `CNI_NETNS`.
    pub fn path(&self) -> PathBuf {
        Path::new(DIRECTORY).join(&self.0)
    }

    /// Whether the name is taken.
    pub fn exists(&self) -> bool {
        self.path().exists()
    }

    /// Which kernel object the name stands for.
    pub fn identity(&self) -> io::Result<Identity> {
        identity_of(&self.path())
    }

    /// Moves the calling thread into the namespace, for good.
    ///
    /// Threads started afterwards are born in it; threads that run already stay where they are. So a
    /// process calls this before it starts any.
    pub fn enter(&self) -> io::Result<()> {
        let file = File::open(self.path())
            .map_err(|error| io::Error::new(error.kind(), format!("open namespace {self}: {error}")))?;
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(|error| io::Error::new(error.kind(), format!("enter namespace {self}: {error}")))
    }

    /// Runs `work` on a thread of its own inside the namespace; the caller's thread stays outside.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| {
                self.enter()?;
                Ok(work())
            });
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// The processes that live in it, by process id.
    pub fn processes(&self) -> io::Result<Vec<i32>> {
        let wanted = self.identity()?;
        let mut inside = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let entry = entry?;
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
                continue;
            };
            // A process may end while we look, and a kernel thread has no namespace to show.
            if identity_of(&entry.path().join("ns/net")).is_ok_and(|found| found == wanted) {
                inside.push(pid);
            }
        }
        Ok(inside)
    }
}

impl fmt::Display for NetNs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// All names under `/run/netns`.
pub fn all() -> io::Result<Vec<NetNs>> {
    let entries = match fs::read_dir(DIRECTORY) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry?.file_name().to_str().map(NetNs::named));
    }
    names.sort();
    Ok(names)
}

/// The namespace that the calling thread is in.
pub fn current() -> io::Result<Identity> {
    identity_of(Path::new("/proc/thread-self/ns/net"))
}

fn identity_of(path: &Path) -> io::Result<Identity> {
    fs::metadata(path).map(|meta| Identity(meta.dev(), meta.ino()))
}
