//! The clock: wall time that never runs backwards within one process.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use enid_core::time::Timestamp;

/// Tells the time.
pub trait Clock: Send + Sync + 'static {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// Wall time at the start plus monotonic time since: a step of the system clock cannot shorten a cooling
/// period or lengthen a wait.
#[derive(Debug)]
pub struct SteadyClock {
    wall_at_start: Timestamp,
    start: Instant,
}

impl SteadyClock {
    /// A clock that starts now.
    pub fn start() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            wall_at_start: Timestamp(u64::try_from(wall.as_millis()).unwrap_or(u64::MAX)),
            start: Instant::now(),
        }
    }
}

impl Clock for SteadyClock {
    fn now(&self) -> Timestamp {
        self.wall_at_start + self.start.elapsed()
    }
}
