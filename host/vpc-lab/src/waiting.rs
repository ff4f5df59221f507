//! Waiting for a condition with a deadline: no guesses about how long something takes.

use std::time::{Duration, Instant};

use rustix::event::{Timespec, poll};

/// How often a condition that cannot announce itself is looked at.
const INTERVAL: Duration = Duration::from_millis(20);

/// Looks at `condition` until it yields a value or `deadline` passes; `None` then.
///
/// The condition is looked at once more after the deadline, so a deadline in the past still asks once.
pub fn wait_until<T>(deadline: Instant, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    loop {
        let late = Instant::now() >= deadline;
        if let Some(value) = condition() {
            return Some(value);
        }
        if late {
            return None;
        }
        pause(INTERVAL.min(deadline.saturating_duration_since(Instant::now())));
    }
}

/// Gives the processor away for `span`, or less when a signal arrives.
fn pause(span: Duration) {
    let span = Timespec { tv_sec: 0, tv_nsec: i64::from(span.subsec_nanos()) };
    // An interrupted pause is a shorter pause: the loop above looks again.
    let _shorter = poll(&mut [], Some(&span));
}
