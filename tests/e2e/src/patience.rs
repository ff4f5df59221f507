//! Waiting for a condition with a deadline.

use std::time::{Duration, Instant};

use enid_vpc_lab::waiting::wait_until;

/// Looks at `condition` until it yields a value; a panic with what was last seen when that takes longer
/// than `span`.
#[track_caller]
pub fn wait_for<T>(what: &str, span: Duration, mut condition: impl FnMut() -> Result<T, String>) -> T {
    let mut seen = String::new();
    let outcome = wait_until(Instant::now() + span, || condition().map_err(|other| seen = other).ok());
    outcome.unwrap_or_else(|| panic!("{what}: not within {} s; last seen: {seen}", span.as_secs_f32()))
}

/// Looks at `condition` until it holds; a panic when that takes longer than `span`.
#[track_caller]
pub fn wait_until_true(what: &str, span: Duration, mut condition: impl FnMut() -> bool) {
    wait_for(what, span, || if condition() { Ok(()) } else { Err("not so".to_owned()) });
}
