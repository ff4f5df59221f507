//! Starting a child that will confine itself, and ending it.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal};

/// A child process that is ended and reaped at the latest when this is dropped.
#[derive(Debug)]
pub(crate) struct Child {
    process: std::process::Child,
    handle: Arc<OwnedFd>,
    reaped: bool,
}

/// The right to end a child that somebody else waits for, and to see whether it has ended.
#[derive(Clone, Debug)]
pub(crate) struct Killer(Arc<OwnedFd>);

impl Killer {
    /// Ends it at once; does nothing once it has ended. Fails only where the kernel forbids signalling another user's process.
    pub(crate) fn kill(&self) -> io::Result<()> {
        match rustix::process::pidfd_send_signal(&*self.0, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&self) -> bool {
        readable(self.0.as_fd(), Some(Instant::now())).unwrap_or(true)
    }
}

impl Child {
    /// Starts `program role` with these standard descriptors, without an environment.
    ///
    /// The child ends with the *thread* that called this.
    pub(crate) fn start(
        program: &Path,
        role: &OsStr,
        [input, output, error]: [Stdio; 3],
    ) -> io::Result<Self> {
        let mut command = Command::new(program);
        command.arg(role).env_clear().current_dir("/").stdin(input).stdout(output).stderr(error);
        let mut process = command.spawn()?;
        match Self::handle(&process) {
            Ok(handle) => Ok(Self { process, handle: Arc::new(handle), reaped: false }),
            Err(error) => {
                process.kill()?;
                process.wait()?;
                Err(error)
            }
        }
    }

    /// A handle instead of a number, which might be somebody else's by the time it is used.
    fn handle(process: &std::process::Child) -> io::Result<OwnedFd> {
        let id = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
        let id = id.expect("invariant: a child's id is a positive number");
        Ok(rustix::process::pidfd_open(id, PidfdFlags::empty())?)
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Lets somebody else end it.
    pub(crate) fn killer(&self) -> Killer {
        Killer(Arc::clone(&self.handle))
    }

    /// Waits until it has ended.
    pub(crate) fn wait(mut self) -> io::Result<ExitStatus> {
        let status = self.process.wait()?;
        self.reaped = true;
        Ok(status)
    }

    /// Waits until it has ended, or ends it at the deadline, which returns `None`.
    pub(crate) fn wait_until(self, deadline: Instant) -> io::Result<Option<ExitStatus>> {
        if readable(self.handle.as_fd(), Some(deadline))? {
            return self.wait().map(Some);
        }
        self.killer().kill()?;
        self.wait().map(|_| None)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // One that cannot be ended must not be waited for: it ends when its socket does.
        if !self.reaped && self.killer().kill().is_ok() {
            let _ = self.process.wait();
        }
    }
}

/// Waits until there is something to read or the other side is gone; false at the deadline.
pub(crate) fn readable(descriptor: BorrowedFd<'_>, deadline: Option<Instant>) -> io::Result<bool> {
    ready(descriptor, PollFlags::IN, deadline)
}

/// Waits until there is room to write or the other side is gone; false at the deadline.
pub(crate) fn writable(descriptor: BorrowedFd<'_>, deadline: Option<Instant>) -> io::Result<bool> {
    ready(descriptor, PollFlags::OUT, deadline)
}

fn ready(descriptor: BorrowedFd<'_>, what: PollFlags, deadline: Option<Instant>) -> io::Result<bool> {
    let mut polled = [PollFd::from_borrowed_fd(descriptor, what)];
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let timeout = left.map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        match rustix::event::poll(&mut polled, timeout.as_ref()) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
