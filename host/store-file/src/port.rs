//! The engine's view of the journal.

use std::error::Error;

use enid_core::event::Record;
use enid_engine::ports::{Store, StoreError};

use crate::error::JournalError;
use crate::journal::Journal;

impl Store for Journal<Record> {
    fn append(&mut self, records: &[Record]) -> Result<(), StoreError> {
        Journal::append(self, records).map_err(translated)
    }

    fn len(&self) -> usize {
        self.appended()
    }

    fn compact(&mut self, records: &[Record]) -> Result<(), StoreError> {
        Journal::compact(self, records).map_err(translated)
    }
}

/// The port's error is text, so the whole chain goes into it.
fn translated(error: JournalError) -> StoreError {
    match error.source() {
        Some(source) => StoreError(format!("{error}: {source}")),
        None => StoreError(error.to_string()),
    }
}
