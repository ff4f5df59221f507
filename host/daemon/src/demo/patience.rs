//! Waiting with a deadline, cut short when the user has had enough.

use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use enid_vpc_lab::waiting::wait_until;

/// Set by the first Ctrl-C or SIGTERM.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// The user pressed Ctrl-C, or somebody sent SIGTERM.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("interrupted")]
pub(super) struct Interrupted;

/// From now on Ctrl-C and SIGTERM end the demo in order instead of at once.
///
/// A thread of its own listens, because the demo itself waits in many places.
pub(super) fn heed_signals() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("listen for Ctrl-C")?;
    let mut terminate = {
        let _inside = runtime.enter();
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
            .context("listen for SIGTERM")?
    };
    let listen = move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    biased;
                    pressed = tokio::signal::ctrl_c() => if pressed.is_err() { return },
                    _ = terminate.recv() => {}
                }
                if !INTERRUPTED.swap(true, Ordering::SeqCst) {
                    eprintln!("\ninterrupted: cleaning up");
                }
            }
        });
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(listen).context("listen for Ctrl-C")?;
    Ok(())
}

/// Whether the demo should come to its end.
pub(super) fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// Looks at `condition` until it yields a value; an error when that takes longer than `span`, or when
/// interrupted. `last_seen` says for the error what was there instead.
pub(super) fn wait_for<T>(
    what: &str,
    span: Duration,
    mut condition: impl FnMut() -> Result<T, String>,
) -> Result<T> {
    let mut last_seen = String::new();
    let outcome = wait_until(Instant::now() + span, || {
        if interrupted() {
            return Some(Err(Interrupted));
        }
        match condition() {
            Ok(value) => Some(Ok(value)),
            Err(seen) => {
                last_seen = seen;
                None
            }
        }
    });
    match outcome {
        Some(Ok(value)) => Ok(value),
        Some(Err(interrupted)) => Err(interrupted.into()),
        None => bail!("{what}: not within {} s; last seen: {last_seen}", span.as_secs()),
    }
}

/// Waits for a process to end, however the user feels; `None` when it takes longer than `span`.
pub(super) fn wait_for_exit(child: &mut Child, span: Duration) -> Result<Option<ExitStatus>> {
    let ended = wait_until(Instant::now() + span, || child.try_wait().transpose());
    Ok(ended.transpose()?)
}
