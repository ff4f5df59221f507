//! Where settings stand in their file, for problems that are found only after the file was read.

use std::collections::BTreeMap;

/// Where a setting stands, and what its value looks like there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The line, counted from 1.
    pub(crate) line: usize,
    /// The value as written, cut to 60 characters.
    pub(crate) value: String,
}

/// The settings of one file, by dotted key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Places(BTreeMap<String, Place>);

impl Places {
    /// Where `key` stands, if the file sets it.
    pub(crate) fn exactly(&self, key: &str) -> Option<&Place> {
        self.0.get(key)
    }

    /// The innermost setting around `key` that the file sets, with its own key: the list around an element that
    /// has no line of its own, the table around a key that is missing.
    pub(crate) fn around(&self, key: &str) -> Option<(String, &Place)> {
        let mut key = key;
        loop {
            if let Some(place) = self.0.get(key) {
                return Some((key.to_owned(), place));
            }
            key = key.rsplit_once('.')?.0;
        }
    }

    pub(super) fn add(&mut self, key: String, place: Place) {
        self.0.insert(key, place);
    }
}
