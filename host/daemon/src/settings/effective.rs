//! Which settings are not the default, and where each comes from.

use std::fmt;

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use tracing::{info, warn};

use super::places::Place;
use super::written::Filling;
use super::{Document, read};
use crate::environment::Idle;

/// What is in force, as far as it is not the default, and what is not although somebody may think so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Effective {
    /// Settings that are not the default, by dotted key.
    pub(crate) settings: Vec<(String, Place)>,
    /// Variables that are set and change nothing.
    pub(crate) idle: Vec<Idle>,
}

impl Document {
    /// Which settings are not the default: those that make a difference.
    pub(crate) fn effective(&self) -> Effective {
        let table = self.written.table();
        let settings = self.places.leaves().filter(|(key, _)| self.differs_without(&table, key));
        let settings = settings.map(|(key, place)| (key.to_owned(), place.clone())).collect();
        Effective { settings, idle: self.idle.clone() }
    }

    /// What variables fill in that is not the default.
    pub(crate) fn filled(&self) -> Vec<&Filling> {
        let table = self.written.table();
        let fillings = self.written.fillings();
        fillings.filter(|filling| self.differs_without(&table, &filling.path.join("."))).collect()
    }

    /// Whether the settings would be others without `key`. What stands in lists, or has a name with a dot, is never
    /// there by default.
    fn differs_without(&self, table: &DeTable<'_>, key: &str) -> bool {
        let mut rest = table.clone();
        if !remove(&mut rest, key) {
            return true;
        }
        let (without, _) = read(&self.file, &self.written, &rest);
        without != self.settings
    }
}

fn remove(table: &mut DeTable<'_>, key: &str) -> bool {
    match key.split_once('.') {
        None => table.remove(key).is_some(),
        Some((first, rest)) => match table.get_mut(first).map(Spanned::get_mut) {
            Some(DeValue::Table(inner)) => remove(inner, rest),
            Some(_) | None => false,
        },
    }
}

impl Effective {
    /// Says it once, in the daemon's log.
    pub(crate) fn log(&self, document: &Document) {
        let lines: Vec<String> = self.lines().collect();
        let idle: Vec<String> = self.idle.iter().map(ToString::to_string).collect();
        info!(
            file = %document.file.display(), not_default = ?lines, variables_without_effect = ?idle,
            "settings in force"
        );
        for remark in &document.remarks {
            warn!(reason = %remark, "a setting is probably not meant as it is");
        }
    }

    fn lines(&self) -> impl Iterator<Item = String> {
        self.settings.iter().map(|(key, place)| match place.line() {
            Some(line) => format!("{key} = {place} (line {line})"),
            None => format!("{key} = {place}"),
        })
    }
}

/// A line for each setting that is not the default, and for each variable that changes nothing.
impl fmt::Display for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.lines() {
            writeln!(f, "{line}")?;
        }
        for idle in &self.idle {
            writeln!(f, "{idle}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} has no effect: {}", self.variable, self.why)
    }
}
