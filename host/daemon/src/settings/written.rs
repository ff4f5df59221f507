//! The text that settings stand in: the file's, and behind it what environment variables fill in.
//!
//! Values of both kinds are read in one go, by the one reader: what a variable stands for is put into the file's table
//! where the file leaves it out, with a span behind the file's text, by which its origin is found again.

use std::borrow::Cow;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::places::{Origin, Place};

/// Characters of a value that a problem shows.
const SHOWN: usize = 60;

/// A value that a variable stands for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Filling {
    /// The setting, from the outermost table to the key.
    pub(crate) path: Vec<String>,
    /// Its value.
    pub(crate) value: toml::Value,
    /// The variable.
    pub(crate) variable: &'static str,
}

/// See the module's documentation.
#[derive(Clone, Debug, Default)]
pub(super) struct Written {
    text: String,
    /// Bytes of it that are the file's.
    file: usize,
    /// What comes behind, with the place of its text.
    fillings: Vec<(Range<usize>, Filling)>,
}

impl Written {
    /// The text `file` and values for settings that it does not make.
    pub(super) fn new(file: &str, values: Vec<Filling>) -> Self {
        let mut text = file.to_owned();
        let mut fillings = Vec::with_capacity(values.len());
        for filling in values {
            text.push('\n');
            let start = text.len();
            text.push_str(&filling.value.to_string());
            fillings.push((start..text.len(), filling));
        }
        Self { text, file: file.len(), fillings }
    }

    /// Puts what variables stand for into the table of the file.
    pub(super) fn fill<'t>(&'t self, table: &mut DeTable<'t>) {
        for (at, filling) in &self.fillings {
            let value = DeValue::parse(&self.text[at.clone()])
                .expect("invariant: a TOML value that was written is one that can be read");
            put(table, &filling.path, behind(value, at.start));
        }
    }

    /// What variables fill in.
    pub(super) fn fillings(&self) -> impl Iterator<Item = &Filling> {
        self.fillings.iter().map(|(_, filling)| filling)
    }

    /// The table of the file, filled. It was read before.
    pub(super) fn table(&self) -> DeTable<'_> {
        let (table, _) = DeTable::parse_recoverable(&self.text[..self.file]);
        let mut table = table.into_inner();
        self.fill(&mut table);
        table
    }

    /// Where the key at the byte `key_at` stands, with its value.
    pub(super) fn place(&self, key_at: usize, value_at: &Range<usize>) -> Place {
        let filled = self.fillings.iter().find(|(at, _)| at.contains(&key_at));
        let origin = match filled {
            Some((_, filling)) => Origin::Variable(filling.variable),
            None => Origin::Line(line_of(&self.text, key_at)),
        };
        Place { origin, value: shown(&self.text, value_at) }
    }
}

/// The line of a byte offset, counted from 1.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
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

/// Whether `table` makes the setting, or has no room for it because something else stands where its table would.
pub(crate) fn sets(table: &DeTable<'_>, path: &[String]) -> bool {
    let Some((first, rest)) = path.split_first() else { return true };
    match table.get(first.as_str()).map(Spanned::get_ref) {
        None => false,
        Some(DeValue::Table(inner)) => sets(inner, rest),
        Some(_) => true,
    }
}

fn put<'t>(table: &mut DeTable<'t>, path: &[String], value: Spanned<DeValue<'t>>) {
    let Some((first, rest)) = path.split_first() else { return };
    let at = value.span();
    let name = || Spanned::new(at.clone(), Cow::Owned(first.clone()));
    if rest.is_empty() {
        table.insert(name(), value);
        return;
    }
    if !table.contains_key(first.as_str()) {
        table.insert(name(), Spanned::new(at.clone(), DeValue::Table(DeTable::new())));
    }
    // What is no table is the file's own fault, and told as such.
    if let Some(DeValue::Table(inner)) = table.get_mut(first.as_str()).map(Spanned::get_mut) {
        put(inner, rest, value);
    }
}

/// The same value with its spans moved behind `start`.
fn behind(value: Spanned<DeValue<'_>>, start: usize) -> Spanned<DeValue<'_>> {
    let at = value.span();
    let mut value = value.into_inner();
    if let DeValue::Array(array) = &mut value {
        for element in array.iter_mut() {
            *element = behind(element.clone(), start);
        }
    }
    Spanned::new(start + at.start..start + at.end, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_from_one() {
        assert_eq!(line_of("a\nb\nc", 0), 1);
        assert_eq!(line_of("a\nb\nc", 4), 3);
    }

    #[test]
    fn what_is_filled_in_is_found_again_by_its_span() {
        let value = toml::Value::Array(vec!["a".into(), "b".into()]);
        let path = vec!["x".to_owned(), "list".to_owned()];
        let written = Written::new("[x]\nk = 1\n", vec![Filling { path, value, variable: "LIST" }]);
        let table = written.table();
        let x = table.get("x").unwrap().get_ref().as_table().unwrap();
        let second = &x.get("list").unwrap().get_ref().as_array().unwrap()[1];
        let place = written.place(second.span().start, &second.span());
        assert_eq!(place, Place { origin: Origin::Variable("LIST"), value: "\"b\"".to_owned() });
        let (key, value) = x.get_key_value("k").unwrap();
        let place = written.place(key.span().start, &value.span());
        assert_eq!(place, Place { origin: Origin::Line(2), value: "1".to_owned() });
    }
}
