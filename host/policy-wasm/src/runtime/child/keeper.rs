//! Starts children and waits for them, on a thread that lives as long as they may.
//!
//! A child ends with the thread that started it, so that must not be a caller's; and somebody must be there
//! to reap a child that ends while nobody asks it anything.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::confine::{Child, Killer};

/// How long the keeper may take to start a child, which includes reaping the one before it.
const PATIENCE: Duration = Duration::from_secs(5);

/// The thread and the way to it; ends when dropped, once its child has.
#[derive(Debug)]
pub(super) struct Keeper {
    orders: Option<SyncSender<Order>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Order {
    socket: OwnedFd,
    started: SyncSender<io::Result<Kept>>,
}

/// A child that the keeper waits for.
#[derive(Debug)]
pub(super) struct Kept {
    /// Its process id.
    pub id: u32,
    killer: Killer,
    /// How it ended, once it has.
    ended: Receiver<ExitStatus>,
}

impl Keeper {
    /// Starts the thread; it starts `program role` on demand.
    pub(super) fn start(program: PathBuf, role: &'static str) -> io::Result<Self> {
        let (orders, received) = sync_channel::<Order>(1);
        let thread = std::thread::Builder::new().name("strategy-keeper".into()).spawn(move || {
            for order in received {
                let socket = Stdio::from(order.socket);
                let streams = [socket, Stdio::null(), Stdio::null()];
                let child = match Child::start(&program, OsStr::new(role), streams) {
                    Ok(child) => child,
                    Err(error) => {
                        // Whoever ordered it has given up waiting if this fails.
                        let _ = order.started.send(Err(error));
                        continue;
                    }
                };
                let (tell, ended) = sync_channel(1);
                let kept = Kept { id: child.id(), killer: child.killer(), ended };
                if order.started.send(Ok(kept)).is_err() {
                    continue;
                }
                if let Ok(status) = child.wait() {
                    let _ = tell.send(status);
                }
            }
        })?;
        Ok(Self { orders: Some(orders), thread: Some(thread) })
    }

    /// Starts a child with this standard input; the one before it must have been ended.
    pub(super) fn child(&self, socket: OwnedFd) -> io::Result<Kept> {
        let busy = || io::Error::other("the child before it does not end");
        let (started, kept) = sync_channel(1);
        let orders = self.orders.as_ref().expect("invariant: taken only when dropped");
        orders.try_send(Order { socket, started }).map_err(|_| busy())?;
        // Whoever gives up drops the other end of the socket as well, which ends the child that comes late.
        kept.recv_timeout(PATIENCE).map_err(|_| busy())?
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // It does nothing that could panic.
            let _ = thread.join();
        }
    }
}

impl Kept {
    /// Whether it has ended; how, is told once by [`Kept::ending`].
    pub(super) fn has_ended(&self) -> bool {
        self.killer.has_ended()
    }

    /// How it ended, waiting for that if it is about to.
    pub(super) fn ending(&self) -> Option<ExitStatus> {
        self.ended.recv_timeout(PATIENCE).ok()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // Where the kernel forbids it, the closed socket has the same effect a little later.
        let _ = self.killer.kill();
    }
}
