//! Lines for the author and the operator. The host keeps 32 lines of 512 bytes per decision and drops the rest.

use crate::bindings::shared::enid::strategy::log::Level;

/// A line for the author.
pub fn debug(message: &str) {
    emit(Level::Debug, message);
}

/// A line for the curious operator.
pub fn info(message: &str) {
    emit(Level::Info, message);
}

/// A line that says something is off.
pub fn warn(message: &str) {
    emit(Level::Warn, message);
}

#[cfg(target_arch = "wasm32")]
fn emit(level: Level, message: &str) {
    crate::bindings::shared::enid::strategy::log::emit(level, message);
}

/// Natively there is no host: lines go to standard error, which `cargo test` shows for failed tests.
#[cfg(not(target_arch = "wasm32"))]
fn emit(level: Level, message: &str) {
    eprintln!("{level:?}: {message}");
}
