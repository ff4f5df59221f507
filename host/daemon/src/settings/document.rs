//! Reading a TOML document key by key: what is read is known, what is left over is a problem.

use std::ops::{Range, RangeInclusive};
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::places::{Origin, Place, Places};
use super::problem::{Problem, Remark};
use super::written::Written;

/// A document being read, and what was wrong with it so far.
pub(super) struct Document<'d> {
    file: &'d Path,
    written: &'d Written,
    problems: Vec<Problem>,
    remarks: Vec<Remark>,
    known: Vec<String>,
    places: Places,
}

/// What reading a document came to.
pub(super) struct Reading {
    /// In the order of the file's lines.
    pub(super) problems: Vec<Problem>,
    /// What is allowed and probably not meant.
    pub(super) remarks: Vec<Remark>,
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
    written: &'d Written,
    table: &'d DeTable<'d>,
    read: impl FnOnce(&mut Section<'_, 'd>) -> T,
) -> (T, Reading) {
    let mut document = Document {
        file,
        written,
        problems: Vec::new(),
        remarks: Vec::new(),
        known: Vec::new(),
        places: Places::default(),
    };
    let path = String::new();
    let mut root =
        Section { document: &mut document, path, at: 0, entries: entries(table), known: Vec::new() };
    let result = read(&mut root);
    root.refuse_the_rest();
    let Document { mut problems, remarks, known, places, .. } = document;
    problems.sort_by_key(Problem::line);
    (result, Reading { problems, remarks, places, known })
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
                self.document.places.add(path.clone(), self.document.written.place(at, &(at..at)));
                self.inner(path, at, entries(table), &mut read)
            })
            .collect()
    }

    /// Reads the tables inside the table called `key`: at most `most`, whose names `fits` accepts. `allowed` is what
    /// to say about anything else.
    pub(super) fn named_sections<T>(
        &mut self,
        key: &'static str,
        most: usize,
        allowed: &str,
        fits: impl Fn(&str) -> bool,
        mut read: impl FnMut(&str, &mut Section<'_, 'd>) -> T,
    ) -> Vec<T> {
        let mut found = Vec::new();
        for entry in self.table(key).unwrap_or_default() {
            let name = format!("{key}.{}", entry.key);
            self.remember(&name, &entry);
            match entry.value.as_table().filter(|_| fits(entry.key) && found.len() < most) {
                Some(table) => {
                    let (path, at) = (self.dotted(&name), entry.key_at.start);
                    found.push(self.inner(path, at, entries(table), |section| read(entry.key, section)));
                }
                None => self.refuse(&name, &entry, allowed),
            }
        }
        found
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
        let written = self.document.written;
        let line = self.document.places.exactly(&self.dotted(neighbour)).and_then(Place::line);
        let line = line.or_else(|| written.place(self.at, &(0..0)).line()).unwrap_or(1);
        let problem = Problem::Missing {
            file: self.document.file.to_owned(),
            line,
            key: self.dotted(key),
            why: why.to_owned(),
        };
        self.document.problems.push(problem);
    }

    /// Notes that `key`, as it is set, is probably not meant.
    pub(super) fn remark(&mut self, key: &str, why: &str) {
        let key = self.dotted(key);
        let line = self.document.places.exactly(&key).and_then(Place::line);
        let (file, why) = (self.document.file.to_owned(), why.to_owned());
        self.document.remarks.push(Remark { file, line, key, why });
    }

    /// Remembers where `entry`, called `key` in this section, stands.
    pub(super) fn remember(&mut self, key: &str, entry: &Entry<'_>) {
        let place = self.document.written.place(entry.key_at.start, &entry.value_at);
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
        let allowed = format!("a whole number from {} to {} {unit}", range.start(), range.end());
        self.number(key, allowed.trim_end(), |number| range.contains(&number).then_some(number))
    }

    /// A whole number that `parse` accepts; `allowed` says which.
    pub(super) fn number<T>(
        &mut self,
        key: &'static str,
        allowed: &str,
        parse: impl FnOnce(u64) -> Option<T>,
    ) -> Option<T> {
        let entry = self.take(key)?;
        let number = integer_of(entry.value).and_then(|number| u64::try_from(number).ok());
        let parsed = number.and_then(parse);
        if parsed.is_none() {
            self.refuse(key, &entry, allowed);
        }
        parsed
    }

    /// A number with or without a fraction that `parse` accepts; `allowed` says which.
    pub(super) fn fraction<T>(
        &mut self,
        key: &'static str,
        allowed: &str,
        parse: impl FnOnce(f64) -> Option<T>,
    ) -> Option<T> {
        let entry = self.take(key)?;
        let number = entry.value.as_float().and_then(|float| float.as_str().parse().ok());
        let whole = || i32::try_from(integer_of(entry.value)?).ok().map(f64::from);
        let parsed = number.or_else(whole).and_then(parse);
        if parsed.is_none() {
            self.refuse(key, &entry, allowed);
        }
        parsed
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

    /// So many texts that `parse` accepts; `allowed` says which. A wrong one is refused by itself.
    pub(super) fn texts<T>(
        &mut self,
        key: &'static str,
        lengths: RangeInclusive<usize>,
        allowed: &str,
        mut parse: impl FnMut(&str) -> Option<T>,
    ) -> Option<Vec<T>> {
        let entry = self.take(key)?;
        let Some(array) = entry.value.as_array().filter(|array| lengths.contains(&array.len())) else {
            let least = if *lengths.start() > 0 { "at least one and " } else { "" };
            let most = lengths.end();
            self.refuse(key, &entry, &format!("a list of {least}at most {most} texts, each {allowed}"));
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
        let (key, allowed) = (self.dotted(key), allowed.to_owned());
        let Place { origin, value } = self.document.written.place(entry.value_at.start, &entry.value_at);
        self.document.problems.push(match origin {
            Origin::Line(line) => {
                Problem::NotAllowed { file: self.document.file.to_owned(), line, key, value, allowed }
            }
            Origin::Variable(name) => Problem::Variable { name, value, key, allowed },
        });
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
            // Variables fill in nothing that is not known, so that it stands in the file.
            let line = self.document.written.place(entry.key_at.start, &(0..0)).line().unwrap_or(1);
            let (file, key) = (self.document.file.to_owned(), self.dotted(entry.key));
            self.document.problems.push(Problem::Unknown { file, line, key, advice });
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
}
