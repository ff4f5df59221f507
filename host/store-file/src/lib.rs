//! The journal on disk: an append-only file that a crash cannot spoil.
//!
//! Keeps records of any serde type in order, gives them back at start, and says so when it cannot. Decides
//! nothing about what they mean, never drops a record silently, and never lets two daemons write.
//!
//! Guarantees. An append is one write of one checksummed line, so after a crash either all of its records
//! are there or none. Compaction writes a new file and renames it over the old. What a crash can leave, an
//! unfinished last line, is cut off at the next start and reported; anything else that does not check out is
//! an error, because guessing here gives one address to two pods. The directory is locked while it is open.
//!
//! * [`journal`]: opening, appending, compacting; [`Durability`] says which crash an append survives.
//! * [`line`]: the file's format, and how old and new read each other's.
//! * [`lock`]: one daemon per directory.
//! * [`port`]: the engine's [`Store`](enid_engine::ports::Store).
#![forbid(unsafe_code)]

mod error;
pub mod journal;
pub mod line;
pub mod lock;
pub mod port;

pub use error::JournalError;
pub use journal::{Durability, Journal, Replay, TornTail};
