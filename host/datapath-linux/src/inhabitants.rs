//! Which network namespaces processes live in: a namespace whose last process has ended may be kept by a name alone.

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::{fs, io};

use rustix::fs::{fstat, stat};
use rustix::process::{Pid, getpid};

/// A namespace, as the kernel tells one from another.
type Identity = (u64, u64);

/// The namespaces that have processes inside.
pub(crate) enum Inhabitants {
    /// All processes were seen, and they live in these.
    Counted(BTreeSet<Identity>),
    /// There may be processes that were not seen, and one of them in any namespace.
    Anywhere,
}

impl Inhabitants {
    /// Looks at every process.
    ///
    /// A container without the host's PID namespace shows its own only, which is known by the daemon being the first of
    /// them; where the container has an init of its own, this cannot tell.
    pub(crate) fn count() -> Self {
        let seen = if getpid() == Pid::INIT { None } else { seen().ok().flatten() };
        seen.map_or(Self::Anywhere, Self::Counted)
    }

    /// Whether a process lives, or may live, in a namespace.
    pub(crate) fn are_in(&self, netns: impl AsFd) -> bool {
        match self {
            Self::Counted(namespaces) => {
                fstat(netns).is_ok_and(|found| namespaces.contains(&identity(found)))
            }
            Self::Anywhere => true,
        }
    }
}

/// The namespaces of all processes; `None` where the first, and with it who knows which, is hidden.
fn seen() -> io::Result<Option<BTreeSet<Identity>>> {
    let (mut namespaces, mut shows_the_first) = (BTreeSet::new(), false);
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        if !name.as_bytes().iter().all(u8::is_ascii_digit) {
            continue;
        }
        shows_the_first |= name == "1";
        // One that has ended meanwhile lives nowhere. One that nobody may look at is the node's own: a pod's are not
        // out of the reach of a daemon that enters their namespace.
        if let Ok(found) = stat(Path::new("/proc").join(name).join("ns/net")) {
            namespaces.insert(identity(found));
        }
    }
    Ok(shows_the_first.then_some(namespaces))
}

fn identity(found: rustix::fs::Stat) -> Identity {
    (found.st_dev, found.st_ino)
}
