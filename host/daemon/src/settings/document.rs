//! Reading a TOML document key by key: what is read is known, what is left over is a problem.

use std::ops::{Range, RangeInclusive};
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::Problem;

/// Characters of a wrong value that a problem shows.
const SHOWN: usize = 60;

/// A document being read, and what was wrong with it so far.
pub(super) struct Document<'d> {
    file: &'d Path,
    text: &'d str,
    problems: Vec<Problem>,
    known: Vec<String>,
}

/// What reading a document came to.
pub(super) struct Reading {
    /// In the order of the file's lines.
    pub(super) problems: Vec<Problem>,
    /// Every key that was asked for, dotted; in the order of asking.
    #[cfg_attr(not(test), expect(dead_code, reason = "lets a test hold the annotated file against it"))]
    pub(super) known: Vec<String>,
}

/// One table of the document.
pub(super) struct Section<'s, 'd> {
    document: &'s mut Document<'d>,
    /// Dotted; empty for the root.
    path: String,
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
    let mut document = Document { file, text, problems: Vec::new(), known: Vec::new() };
    let mut root =
        Section { document: &mut document, path: String::new(), entries: entries(table), known: Vec::new() };
    let result = read(&mut root);
    root.refuse_the_rest();
    let Document { mut problems, known, .. } = document;
    problems.sort_by_key(Problem::line);
    (result, Reading { problems, known })
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
        let entries = self.table(key).unwrap_or_default();
        let path = self.dotted(key);
        let mut section = Section { document: &mut *self.document, path, entries, known: Vec::new() };
        let result = read(&mut section);
        section.refuse_the_rest();
        result
    }

    /// The entries of the table called `key`, whatever their names.
    pub(super) fn table(&mut self, key: &'static str) -> Option<Vec<Entry<'d>>> {
        let entry = self.take(key)?;
        match entry.value {
            DeValue::Table(table) => Some(entries(table)),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_) => {
                self.refuse(key, &entry, "a table");
                None
            }
        }
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
        let entry = self.take(key)?;
        let flag = entry.value.as_bool();
        if flag.is_none() {
            self.refuse(key, &entry, "true or false");
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
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<Vec<T>> {
        let entry = self.take(key)?;
        let Some(array) = entry.value.as_array().filter(|array| array.len() <= most) else {
            self.refuse(key, &entry, &format!("a list of at most {most} texts, each {allowed}"));
            return None;
        };
        let mut texts = Vec::with_capacity(array.len());
        for (index, value) in array.iter().enumerate() {
            match value.get_ref().as_str().and_then(&parse) {
                Some(text) => texts.push(text),
                None => self.refuse(&format!("{key}.{index}"), &entry_at(&entry, value), allowed),
            }
        }
        Some(texts)
    }

    /// Notes that the value of `entry`, called `key` in this section, is not allowed.
    pub(super) fn refuse(&mut self, key: &str, entry: &Entry<'_>, allowed: &str) {
        let document = &mut self.document;
        let written = document.text.get(entry.value_at.clone()).unwrap_or_default();
        let value = written.lines().next().unwrap_or_default();
        let mut shown: String = value.chars().take(SHOWN).collect();
        if shown.len() < written.len() {
            shown.push('…');
        }
        document.problems.push(Problem::NotAllowed {
            file: document.file.to_owned(),
            line: line_of(document.text, entry.value_at.start),
            key: if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) },
            value: shown,
            allowed: allowed.to_owned(),
        });
    }

    fn take(&mut self, key: &'static str) -> Option<Entry<'d>> {
        let dotted = self.dotted(key);
        self.document.known.push(dotted);
        self.known.push(key);
        let index = self.entries.iter().position(|entry| entry.key == key)?;
        Some(self.entries.swap_remove(index))
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
