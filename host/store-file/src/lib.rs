//! The journal on disk: an append-only file that a crash cannot spoil.
//!
//! Keeps records of any serde type in order, gives them back at start, and says so when it cannot. Decides
//! nothing about what they mean, never drops a record silently, and never lets two daemons write.
//!
//! Guarantees. An append is one checksummed line, so after a crash either all of its records are there or none; the
//! same after a full disk, for what was written of it is cut off again, and where even that fails nothing more is
//! written until the next start. The directory is locked while it is open.
//!
//! Torn tail. A crash can leave the beginning of the last line. It was not reported written, and is cut off at the next
//! start and reported. Whatever else does not check out is damage, wherever it is: a line that is whole and wrong, or as
//! long as it says without its end. Damage is an error with its place, and the file stays as it is, because guessing
//! here gives one address to two pods. Of a journal cut at any byte exactly the lines that are whole come back.
//!
//! Compaction. A new file is written beside the old one, synced, renamed over it, and the directory synced: a crash
//! between any two of these leaves the old records or the new ones. What it leaves of the new file is removed at the next
//! start.
//!
//! Syncing. With [`Durability::Process`] appends are not synced: the kernel keeps what was written whatever becomes of
//! the process, and where the journal belongs, on a file system that a reboot empties, nothing more can be kept. With
//! [`Durability::Machine`] every append is synced before it is reported written. New files and renames are synced always.
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
