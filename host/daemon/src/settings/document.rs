//! Reading a TOML document key by key: what is read is known, what is left over is a problem.

use std::ops::{Range, RangeInclusive};
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::places::{Place, Places};
use super::problem::Problem;

/// Characters of a wrong value that a problem shows.
const SHOWN: usize = 60;

/// A document being read, and what was wrong with it so far.
pub(super) struct Document<'d> {
    file: &'d Path,
    text: &'d str,
    problems: Vec<Problem>,
    known: Vec<String>,
    places: Places,
}

/// What reading a document came to.
pub(super) struct Reading {
    /// In the order of the file's lines.
    pub(super) problems: Vec<Problem>,
    /// Where everything that was asked for stands.
    pub(super) places: Places,
    /// Every key that was asked for, dotted; in the order of asking.
    #[cfg_attr(not(test), expect(dead_code, reason = "lets a test hold the annotated file against it"))]
    pub(super) known: Vec<String>,
}

/// One table of the document.
pub(super) struct Section<'s, 'd> {
    document: &'s mut Document<'d>,
    /// Dotted; empty for the root.
    path: String,
    /// Where it begins.
    at: usize,
    entries: Vec<Entry<'d>>,
    known: Vec<&'static str>,
}

/// A key and its value.
pub(super) struct Entry<'d> {
    pub(super) key: &'d str,
    key_at: Range<usize>,
    pub(super) value: &'d DeValue<'d>,
    value_at: Range<usize>,
}

/// Reads a whole document with `read`.
pub(super) fn read<'d, T>(
    file: &'d Path,
    text: &'d str,
    table: &'d DeTable<'d>,
    read: impl FnOnce(&mut Section<'_, 'd>) -> T,
) -> (T, Reading) {
    let mut document =
        Document { file, text, problems: Vec::new(), known: Vec::new(), places: Places::default() };
    let path = String::new();
    let mut root =
        Section { document: &mut document, path, at: 0, entries: entries(table), known: Vec::new() };
    let result = read(&mut root);
    root.refuse_the_rest();
    let Document { mut problems, known, places, .. } = document;
    problems.sort_by_key(Problem::line);
    (result, Reading { problems, places, known })
}

/// The line of a byte offset, counted from 1.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

fn entries<'d>(table: &'d DeTable<'d>) -> Vec<Entry<'d>> {
    table.iter().map(|(key, value)| entry(key.get_ref(), key.span(), value)).collect()
}

fn entry<'d>(key: &'d str, key_at: Range<usize>, value: &'d Spanned<DeValue<'d>>) -> Entry<'d> {
    Entry { key, key_at, value: value.get_ref(), value_at: value.span() }
}

impl<'d> Section<'_, 'd> {
    /// Reads the table called `key`; an absent one reads like an empty one.
    pub(super) fn section<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Section<'_, 'd>) -> T,
    ) -> T {
        let at = self.entries.iter().find(|entry| entry.key == key).map_or(0, |entry| entry.key_at.start);
        let entries = self.table(key).unwrap_or_default();
        self.inner(self.dotted(key), at, entries, read)
    }

    /// Reads the table called `key`, if there is one.
    pub(super) fn section_if_present<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Section<'_, 'd>) -> T,
    ) -> Option<T> {
        let at = self.entries.iter().find(|entry| entry.key == key).map_or(0, |entry| entry.key_at.start);
        let entries = self.table(key)?;
        Some(self.inner(self.dotted(key), at, entries, read))
    }

    /// Reads the list of at most `most` tables called `key`; `allowed` is what to say about anything else.
    pub(super) fn sections<T>(
        &mut self,
        key: &'static str,
        most: usize,
        allowed: &str,
        mut read: impl FnMut(&mut Section<'_, 'd>) -> T,
    ) -> Vec<T> {
        let Some(entry) = self.take(key) else { return Vec::new() };
        let tables = entry.value.as_array().filter(|array| array.len() <= most).and_then(|array| {
            let table =
                |value: &'d Spanned<DeValue<'d>>| Some((value.span().start, value.get_ref().as_table()?));
            array.iter().map(table).collect::<Option<Vec<_>>>()
        });
        let Some(tables) = tables else {
            self.refuse(key, &entry, allowed);
            return Vec::new();
        };
        let numbered = tables.into_iter().enumerate();
        numbered
            .map(|(index, (at, table))| {
                let path = format!("{}.{index}", self.dotted(key));
                let place = Place { line: line_of(self.document.text, at), value: String::new() };
                self.document.places.add(path.clone(), place);
                self.inner(path, at, entries(table), &mut read)
            })
            .collect()
    }

    fn inner<T>(
        &mut self,
        path: String,
        at: usize,
        entries: Vec<Entry<'d>>,
        read: impl FnOnce(&mut Section<'_, 'd>) -> T,
    ) -> T {
        let mut section = Section { document: &mut *self.document, path, at, entries, known: Vec::new() };
        let result = read(&mut section);
        section.refuse_the_rest();
        result
    }

    /// The entries of the table called `key`, whatever their names.
    pub(super) fn table(&mut self, key: &'static str) -> Option<Vec<Entry<'d>>> {
        let entry = self.take(key)?;
        let table = entry.value.as_table();
        if table.is_none() {
            self.refuse(key, &entry, "a table");
        }
        table.map(entries)
    }

    /// Its dotted key.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Whether `key` is set and was not asked for yet.
    pub(super) fn sets(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key)
    }

    /// Notes that `key` should have been set here, next to `neighbour` if that is set.
    pub(super) fn missing(&mut self, key: &str, neighbour: &str, why: &str) {
        let line = match self.document.places.exactly(&self.dotted(neighbour)) {
            Some(place) => place.line,
            None => line_of(self.document.text, self.at),
        };
        let problem = Problem::Missing {
            file: self.document.file.to_owned(),
            line,
            key: self.dotted(key),
            why: why.to_owned(),
        };
        self.document.problems.push(problem);
    }

    /// Remembers where `entry`, called `key` in this section, stands.
    pub(super) fn remember(&mut self, key: &str, entry: &Entry<'_>) {
        let place = Place {
            line: line_of(self.document.text, entry.key_at.start),
            value: shown(self.document.text, &entry.value_at),
        };
        let key = self.dotted(key);
        self.document.places.add(key, place);
    }

    /// A whole number in `range`; `unit` completes what is said about a wrong one.
    pub(super) fn integer(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
        unit: &str,
    ) -> Option<u64> {
        let entry = self.take(key)?;
        let number = integer_of(entry.value).and_then(|number| u64::try_from(number).ok());
        let fits = number.filter(|number| range.contains(number));
        if fits.is_none() {
            let allowed = format!("a whole number from {} to {} {unit}", range.start(), range.end());
            self.refuse(key, &entry, allowed.trim_end());
        }
        fits
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, key: &'static str) -> Option<bool> {
        self.flag_if(key, "true or false", |_| true)
    }

    /// `true` or `false`, where `fits` lets it pass; `allowed` says which.
    pub(super) fn flag_if(
        &mut self,
        key: &'static str,
        allowed: &str,
        fits: impl FnOnce(bool) -> bool,
    ) -> Option<bool> {
        let entry = self.take(key)?;
        let flag = entry.value.as_bool().filter(|flag| fits(*flag));
        if flag.is_none() {
            self.refuse(key, &entry, allowed);
        }
        flag
    }

    /// Text that `parse` accepts; `allowed` says which.
    pub(super) fn text<T>(
        &mut self,
        key: &'static str,
        allowed: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let entry = self.take(key)?;
        let parsed = entry.value.as_str().and_then(parse);
        if parsed.is_none() {
            self.refuse(key, &entry, allowed);
        }
        parsed
    }

    /// At most `most` texts that `parse` accepts; `allowed` says which. A wrong one is refused by itself.
    pub(super) fn texts<T>(
        &mut self,
        key: &'static str,
        most: usize,
        allowed: &str,
        mut parse: impl FnMut(&str) -> Option<T>,
    ) -> Option<Vec<T>> {
        let entry = self.take(key)?;
        let Some(array) = entry.value.as_array().filter(|array| array.len() <= most) else {
            self.refuse(key, &entry, &format!("a list of at most {most} texts, each {allowed}"));
            return None;
        };
        let mut texts = Vec::with_capacity(array.len());
        for (index, value) in array.iter().enumerate() {
            match value.get_ref().as_str().and_then(&mut parse) {
                Some(text) => texts.push(text),
                None => self.refuse(&format!("{key}.{index}"), &entry_at(&entry, value), allowed),
            }
        }
        Some(texts)
    }

    /// Notes that the value of `entry`, called `key` in this section, is not allowed.
    pub(super) fn refuse(&mut self, key: &str, entry: &Entry<'_>, allowed: &str) {
        let problem = Problem::NotAllowed {
            file: self.document.file.to_owned(),
            line: line_of(self.document.text, entry.value_at.start),
            key: self.dotted(key),
            value: shown(self.document.text, &entry.value_at),
            allowed: allowed.to_owned(),
        };
        self.document.problems.push(problem);
    }

    fn take(&mut self, key: &'static str) -> Option<Entry<'d>> {
        let dotted = self.dotted(key);
        self.document.known.push(dotted);
        self.known.push(key);
        let index = self.entries.iter().position(|entry| entry.key == key)?;
        let entry = self.entries.swap_remove(index);
        self.remember(key, &entry);
        Some(entry)
    }

    fn dotted(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn refuse_the_rest(self) {
        for entry in &self.entries {
            let advice = match nearest(entry.key, &self.known) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("here may be {}", self.known.join(", ")),
            };
            self.document.problems.push(Problem::Unknown {
                file: self.document.file.to_owned(),
                line: line_of(self.document.text, entry.key_at.start),
                key: self.dotted(entry.key),
                advice,
            });
        }
    }
}

/// A value as it is written, on one line and cut to size.
fn shown(text: &str, at: &Range<usize>) -> String {
    let written = text.get(at.clone()).unwrap_or_default();
    let value = written.lines().next().unwrap_or_default();
    let mut shown: String = value.chars().take(SHOWN).collect();
    if shown.len() < written.len() {
        shown.push('…');
    }
    shown
}

/// A whole number; none when it is not one, or not one of 64 bits.
pub(super) fn integer_of(value: &DeValue<'_>) -> Option<i64> {
    let integer = value.as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// The entries inside a value: a table's by name, an array's by number.
pub(super) fn inside<'d>(entry: &Entry<'d>) -> Option<Vec<(String, Entry<'d>)>> {
    match entry.value {
        DeValue::Table(table) => {
            Some(entries(table).into_iter().map(|inner| (inner.key.to_owned(), inner)).collect())
        }
        DeValue::Array(array) => Some(
            array
                .iter()
                .enumerate()
                .map(|(index, value)| (index.to_string(), entry_at(entry, value)))
                .collect(),
        ),
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_) => None,
    }
}

fn entry_at<'d>(outer: &Entry<'d>, value: &'d Spanned<DeValue<'d>>) -> Entry<'d> {
    entry(outer.key, outer.key_at.clone(), value)
}

/// The known name that `written` is most likely a slip of: at most a third of its letters differ.
fn nearest(written: &str, known: &[&'static str]) -> Option<&'static str> {
    let allowed = (written.chars().count() / 3).max(1);
    let by_distance = known.iter().map(|name| (distance(written, name), *name));
    by_distance.filter(|(distance, _)| *distance <= allowed).min().map(|(_, name)| name)
}

/// Levenshtein's distance, with `-` and `_` taken for the same letter.
fn distance(a: &str, b: &str) -> usize {
    let letters =
        |s: &str| s.chars().map(|c| if c == '-' { '_' } else { c.to_ascii_lowercase() }).collect::<Vec<_>>();
    let (a, b) = (letters(a), letters(b));
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_other_words_are_not() {
        let known = ["cooldown_secs", "max_enis", "mode", "wait_secs"];
        assert_eq!(nearest("cooldwon_secs", &known), Some("cooldown_secs"));
        assert_eq!(nearest("max-enis", &known), Some("max_enis"));
        assert_eq!(nearest("Mode", &known), Some("mode"));
        assert_eq!(nearest("mtu", &known), None);
        assert_eq!(nearest("", &known), None);
    }

    #[test]
    fn lines_are_counted_from_one() {
        assert_eq!(line_of("a\nb\nc", 0), 1);
        assert_eq!(line_of("a\nb\nc", 4), 3);
    }
}
