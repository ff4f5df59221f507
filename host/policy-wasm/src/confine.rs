//! Taking every right away from a process that runs a stranger's code, and starting such a process.
//!
//! The order matters: what needs rights comes before they are dropped, namespaces come before the first
//! thread, and the filter of system calls comes after the last one, so that it need not allow new ones.
//!
//! Nothing here depends on the rest of the crate.

mod child;
mod filter;

use std::fmt;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::process::{DumpableBehavior, Gid, Resource, Rlimit, Signal, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets, UnshareFlags};
use serde::{Deserialize, Serialize};

pub(crate) use child::{Child, Killer, readable, writable};
pub(crate) use filter::Calls;

/// The user and group that own nothing.
const NOBODY: u32 = 65_534;
/// The numbers of all capabilities that a kernel can have.
const CAPABILITIES: u32 = 64;
/// First to go when memory is short.
const OOM_SCORE: &[u8] = b"1000";

/// A layer around a child without which the others still hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Layer {
    /// A capability bounding set that is empty.
    BoundingSet,
    /// A root directory in which there is nothing.
    EmptyRoot,
    /// Supplementary groups that are none.
    Groups,
    /// Being first to go when memory is short.
    OomScore,
    /// A network, mounts, IPC and a host name of its own.
    Namespaces,
    /// A user who owns nothing.
    User,
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Layer::BoundingSet => "empty bounding set",
            Layer::EmptyRoot => "empty root directory",
            Layer::Groups => "no groups",
            Layer::OomScore => "oom score",
            Layer::Namespaces => "own namespaces",
            Layer::User => "unprivileged user",
        })
    }
}

/// A layer that this machine did not grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Which.
    pub layer: Layer,
    /// What the kernel said.
    pub why: String,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.layer, self.why)
    }
}

/// A layer without which nothing may run.
#[derive(Debug, thiserror::Error)]
#[error("confine the process: {step}")]
pub(crate) struct ConfineError {
    step: &'static str,
    #[source]
    why: io::Error,
}

impl ConfineError {
    fn at(step: &'static str) -> impl Fn(Errno) -> Self {
        move |errno| Self { step, why: errno.into() }
    }
}

/// What a child may use at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Address space, bytes: mostly reservations that cost nothing.
    pub address_space: u64,
    /// Private memory, bytes.
    pub data: u64,
    /// Processor time, seconds; `None`: as long as it lives.
    pub cpu_secs: Option<u64>,
    /// Bytes of a file that it writes.
    pub file_size: u64,
    /// Open descriptors.
    pub files: u64,
    /// The nice value.
    pub nice: i32,
}

/// A process without rights that can still start threads.
#[derive(Debug)]
#[must_use = "system calls are not filtered yet"]
pub(crate) struct Confined {
    gaps: Vec<Gap>,
}

impl Confined {
    /// Gives up all rights of this process for good, keeping descriptors 0, 1 and 2.
    ///
    /// To be called first thing: with a second thread running, the kernel refuses half of it.
    pub(crate) fn enter(name: &std::ffi::CStr, bounds: &Bounds) -> Result<Self, ConfineError> {
        let mut gaps = Vec::new();
        close_others().map_err(|why| ConfineError { step: "close descriptors", why })?;
        die_with_parent()?;
        rustix::thread::set_name(name).map_err(ConfineError::at("name it"))?;
        // Its own session: what is typed at the daemon's terminal is not for it. Fails where it leads one.
        let _ = rustix::process::setsid();
        if let Err(why) = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE) {
            gaps.push(Gap { layer: Layer::OomScore, why: why.to_string() });
        }
        be_modest(bounds.nice).map_err(ConfineError::at("give up priority"))?;
        leave_namespaces(&mut gaps);
        drop_identity(&mut gaps);
        drop_capabilities()?;
        rustix::thread::set_no_new_privs(true).map_err(ConfineError::at("renounce privileges"))?;
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
            .map_err(ConfineError::at("hide its memory"))?;
        // Changing the user revoked it.
        die_with_parent()?;
        limit(bounds)?;
        Ok(Self { gaps })
    }

    /// Lets all threads, of which there can be no more, make only these system calls.
    pub(crate) fn seal(self, calls: Calls) -> Result<Vec<Gap>, ConfineError> {
        bound(Resource::Nproc, 0).map_err(ConfineError::at("limit threads"))?;
        filter::install(calls).map_err(|why| ConfineError { step: "filter system calls", why })?;
        Ok(self.gaps)
    }
}

/// Closes everything but standard input, output and error: a descriptor is a right.
fn close_others() -> io::Result<()> {
    let mut open = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let number = entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
        open.extend(number.filter(|number| *number > 2));
    }
    for number in open {
        // The listing's own descriptor is among them and closed by now.
        if rustix::fs::fcntl_getfl(borrowed(number)).is_ok() {
            // SAFETY: this runs before anything else in the process, so nobody holds a descriptor beyond the
            // standard three; the check above says that this one is open.
            #[expect(unsafe_code, reason = "whatever was inherited must go")]
            drop(unsafe { OwnedFd::from_raw_fd(number) });
        }
    }
    Ok(())
}

fn borrowed(number: i32) -> std::os::fd::BorrowedFd<'static> {
    // SAFETY: used for one system call, which says itself whether the number is open.
    #[expect(unsafe_code, reason = "a number from a listing is to be asked about")]
    unsafe {
        std::os::fd::BorrowedFd::borrow_raw(number)
    }
}

/// Has the kernel end this process with the thread that started it.
fn die_with_parent() -> Result<(), ConfineError> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(ConfineError::at("tie its life to its parent's"))
}

/// Raises the nice value to this one; a higher one stays.
fn be_modest(nice: i32) -> Result<(), Errno> {
    if rustix::process::getpriority_process(None)? < nice {
        rustix::process::setpriority_process(None, nice)?;
    }
    Ok(())
}

/// Goes where there is no network, nobody to talk to and no file.
fn leave_namespaces(gaps: &mut Vec<Gap>) {
    let spaces = UnshareFlags::NEWNET | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS | UnshareFlags::NEWNS;
    let (user, group) = (rustix::process::getuid(), rustix::process::getgid());
    let entered = match unshare(spaces) {
        Ok(()) => Ok(()),
        // A user namespace grants the right to the others, where the machine lets everyone have one.
        Err(Errno::PERM) => unshare(spaces | UnshareFlags::NEWUSER).map(|()| {
            be_nobody_inside(user, group);
            if user.is_root() {
                let why = "nobody inside, but root outside: CAP_SYS_ADMIN is missing".into();
                gaps.push(Gap { layer: Layer::User, why });
            }
        }),
        Err(error) => Err(error),
    };
    if let Err(error) = entered {
        gaps.push(Gap { layer: Layer::Namespaces, why: error.to_string() });
        gaps.push(Gap { layer: Layer::EmptyRoot, why: "needs a mount namespace".into() });
    } else if let Err(error) = empty_root() {
        gaps.push(Gap { layer: Layer::EmptyRoot, why: error.to_string() });
    }
}

fn unshare(spaces: UnshareFlags) -> Result<(), Errno> {
    // SAFETY: the flags never contain FILES, so no thread loses sight of a descriptor.
    #[expect(unsafe_code, reason = "no other way to leave the machine's namespaces")]
    unsafe {
        rustix::thread::unshare_unsafe(spaces)
    }
}

/// Inside a user namespace that maps nobody, we are nobody already; the map only makes it official, for
/// system calls that want a mapped user. It may be refused without harm.
fn be_nobody_inside(user: Uid, group: Gid) {
    let _ = std::fs::write("/proc/self/uid_map", format!("{NOBODY} {} 1", user.as_raw()));
    let _ = std::fs::write("/proc/self/setgroups", "deny");
    let _ = std::fs::write("/proc/self/gid_map", format!("{NOBODY} {} 1", group.as_raw()));
}

/// Makes an empty, read-only file system the root; the old one is gone from this process's view.
///
/// The directory it is mounted on first does not matter; this one exists wherever we got this far.
fn empty_root() -> Result<(), Errno> {
    const STEP: &str = "/proc";
    rustix::mount::mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)?;
    let flags = MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::NOSUID | MountFlags::RDONLY;
    rustix::mount::mount("none", STEP, "tmpfs", flags, c"size=4k,nr_inodes=1,mode=555")?;
    rustix::process::chdir(STEP)?;
    // The first file system of all, from which small machines run, cannot be put away, only left.
    match rustix::process::pivot_root(".", ".") {
        Ok(()) => rustix::mount::unmount(".", UnmountFlags::DETACH)?,
        Err(_) => rustix::process::chroot(".")?,
    }
    rustix::process::chdir("/")
}

/// Becomes the user who owns nothing, in no group.
fn drop_identity(gaps: &mut Vec<Gap>) {
    let mut missing = |layer, result: Result<(), Errno>| {
        if let Err(error) = result {
            gaps.push(Gap { layer, why: error.to_string() });
        }
    };
    missing(Layer::BoundingSet, empty_bounding_set());
    if rustix::process::getgroups().is_ok_and(|groups| !groups.is_empty()) {
        missing(Layer::Groups, rustix::thread::set_thread_groups(&[]));
    }
    let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    if rustix::process::getuid().is_root() || rustix::process::geteuid().is_root() {
        let dropped = rustix::thread::set_thread_res_gid(group, group, group)
            .and_then(|()| rustix::thread::set_thread_res_uid(user, user, user));
        missing(Layer::User, dropped);
    }
}

fn empty_bounding_set() -> Result<(), Errno> {
    for number in 0..CAPABILITIES {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        match rustix::thread::capability_is_in_bounding_set(capability) {
            Ok(true) => rustix::thread::remove_capability_from_bounding_set(capability)?,
            Ok(false) => {}
            // Beyond the last one that this kernel knows.
            Err(_) => break,
        }
    }
    Ok(())
}

fn drop_capabilities() -> Result<(), ConfineError> {
    rustix::thread::clear_ambient_capability_set().map_err(ConfineError::at("clear ambient capabilities"))?;
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, none).map_err(ConfineError::at("drop capabilities"))
}

fn limit(bounds: &Bounds) -> Result<(), ConfineError> {
    let cpu = bounds.cpu_secs.map(|most| (Resource::Cpu, most));
    let others = [
        (Resource::As, bounds.address_space),
        (Resource::Core, 0),
        (Resource::Data, bounds.data),
        (Resource::Fsize, bounds.file_size),
        (Resource::Memlock, 0),
        (Resource::Nofile, bounds.files),
    ];
    for (resource, most) in others.into_iter().chain(cpu) {
        bound(resource, most).map_err(ConfineError::at("limit resources"))?;
    }
    Ok(())
}

/// Sets both limits, never above what was inherited.
fn bound(resource: Resource, most: u64) -> Result<(), Errno> {
    let inherited = rustix::process::getrlimit(resource).maximum.unwrap_or(u64::MAX);
    let most = Some(most.min(inherited));
    rustix::process::setrlimit(resource, Rlimit { current: most, maximum: most })
}
