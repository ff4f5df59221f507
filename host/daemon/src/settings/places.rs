//! Where settings come from, for problems that are found only after they were read, and for who asks.

use std::collections::BTreeMap;
use std::fmt;

/// What makes a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// This line of the file, counted from 1.
    Line(usize),
    /// This environment variable.
    Variable(&'static str),
}

/// Where a setting stands, and what its value looks like there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Where.
    pub(crate) origin: Origin,
    /// The value as written, cut to 60 characters.
    pub(crate) value: String,
}

impl Place {
    /// The line of the file, if it stands there.
    pub(crate) fn line(&self) -> Option<usize> {
        match self.origin {
            Origin::Line(line) => Some(line),
            Origin::Variable(_) => None,
        }
    }
}

/// The value, and where it comes from unless that is the file.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.origin {
            Origin::Line(_) => f.write_str(&self.value),
            Origin::Variable(name) => write!(f, "{} (from {name})", self.value),
        }
    }
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

    /// Settings that have no others inside, with their dotted keys.
    pub(super) fn leaves(&self) -> impl Iterator<Item = (&str, &Place)> {
        let has_inner = |key: &str| {
            let inside = format!("{key}.");
            self.0.range(inside.clone()..).next().is_some_and(|(next, _)| next.starts_with(&inside))
        };
        self.0.iter().filter(move |(key, _)| !has_inner(key)).map(|(key, place)| (key.as_str(), place))
    }

    pub(super) fn add(&mut self, key: String, place: Place) {
        self.0.insert(key, place);
    }
}
