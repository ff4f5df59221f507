//! Reading the parameters of a Query request.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use enid_sim::ec2::refusal::{CallError, Code};

/// More than any real request has; each costs memory.
const MAX_PARAMETERS: usize = 10_000;

/// The parameters of a request, or of one member of a list (`NetworkInterface.1.…`), by name.
///
/// Remembers which were read: see [`Form::finish`].
#[derive(Debug)]
pub(super) struct Form {
    values: BTreeMap<String, String>,
    /// `NetworkInterface.1.` for a list member, so that messages name the whole parameter.
    within: String,
    read: RefCell<BTreeSet<String>>,
}

impl Form {
    /// Parses `application/x-www-form-urlencoded` text.
    pub(super) fn parse(text: &str) -> Result<Form, CallError> {
        let mut values = BTreeMap::new();
        for pair in text.trim().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (Some(name), Some(value)) = (decode(name), decode(value)) else {
                return Err(malformed("a parameter is not percent-encoded UTF-8"));
            };
            // XML 1.0 cannot carry them back.
            if value.chars().any(|c| c.is_control() && !matches!(c, '\t' | '\n' | '\r')) {
                return Err(malformed("a value has control characters"));
            }
            if values.insert(name, value).is_some() {
                return Err(malformed("a parameter is given twice"));
            }
            if values.len() > MAX_PARAMETERS {
                return Err(malformed("too many parameters"));
            }
        }
        Ok(Form { values, within: String::new(), read: RefCell::default() })
    }

    /// A parameter as text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.note(name);
        self.values.get(name).map(String::as_str)
    }

    /// A parameter that must be there.
    pub(super) fn required(&self, name: &str) -> Result<&str, CallError> {
        self.text(name).filter(|value| !value.is_empty()).ok_or_else(|| missing(&self.full(name)))
    }

    /// A number, an address, an id, …
    pub(super) fn parsed<T: FromStr>(&self, name: &str) -> Result<Option<T>, CallError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| invalid(text, &self.full(name)))
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, CallError> {
        self.parsed(name)
    }

    /// `Name.1`, `Name.2`, … in order of their numbers.
    pub(super) fn list(&self, name: &str) -> Vec<&str> {
        let mut members: Vec<(u32, &str)> = Vec::new();
        for (full, value) in self.starting_with(name) {
            let number = full.get(name.len() + 1..).and_then(|rest| rest.parse().ok());
            if let Some(number) = number {
                self.note(full);
                members.push((number, value));
            }
        }
        members.sort_by_key(|(number, _)| *number);
        members.into_iter().map(|(_, value)| value).collect()
    }

    /// The members of a list, each parsed.
    pub(super) fn parsed_list<T: FromStr>(&self, name: &str) -> Result<Vec<T>, CallError> {
        let parse = |text: &str| text.parse().map_err(|_| invalid(text, &self.full(name)));
        self.list(name).into_iter().map(parse).collect()
    }

    /// `Name.1.…`, `Name.2.…` as forms of their own, in order of their numbers.
    pub(super) fn members(&self, name: &str) -> Vec<Form> {
        let mut members: BTreeMap<u32, Form> = BTreeMap::new();
        for (full, value) in self.starting_with(name) {
            let Some((number, rest)) = full.get(name.len() + 1..).and_then(|rest| rest.split_once('.'))
            else {
                continue;
            };
            let Ok(number) = number.parse() else { continue };
            self.note(full);
            let member = members.entry(number).or_insert_with(|| Form {
                values: BTreeMap::new(),
                within: format!("{}{name}.{number}.", self.within),
                read: RefCell::default(),
            });
            member.values.insert(rest.to_owned(), value.to_owned());
        }
        members.into_values().collect()
    }

    /// Reads and drops parameters that cannot matter here.
    pub(super) fn ignore(&self, names: &[&str]) {
        for name in names {
            self.note(name);
            let members: Vec<String> = self.starting_with(name).map(|(full, _)| full.to_owned()).collect();
            members.iter().for_each(|full| self.note(full));
        }
    }

    /// Refuses what nobody has read: parameters that the API does not have or the model does not do.
    pub(super) fn finish(&self) -> Result<(), CallError> {
        let read = self.read.borrow();
        match self.values.keys().find(|name| !read.contains(*name)) {
            None => Ok(()),
            Some(name) => Err(CallError::Refused {
                code: Code::UnknownParameter,
                message: format!("The parameter {} is not recognized", cut(&self.full(name))),
            }),
        }
    }

    fn starting_with<'a>(&'a self, name: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
        let start = format!("{name}.");
        let from = self.values.range(start.clone()..);
        from.take_while(move |(full, _)| full.starts_with(&start))
            .map(|(full, value)| (full.as_str(), value.as_str()))
    }

    fn note(&self, name: &str) {
        if self.values.contains_key(name) {
            self.read.borrow_mut().insert(name.to_owned());
        }
    }

    fn full(&self, name: &str) -> String {
        format!("{}{name}", self.within)
    }
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let high = char::from(rest.next()?).to_digit(16)?;
                let low = char::from(rest.next()?).to_digit(16)?;
                u8::try_from(high * 16 + low).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

fn malformed(why: &str) -> CallError {
    let message = format!("The query string cannot be read: {why}.");
    CallError::Refused { code: Code::MalformedQueryString, message }
}

pub(super) fn missing(name: &str) -> CallError {
    let message = format!("The request must contain the parameter {name}");
    CallError::Refused { code: Code::MissingParameter, message }
}

pub(super) fn invalid(value: &str, name: &str) -> CallError {
    let message = format!("Value ({}) for parameter {name} is invalid.", cut(value));
    CallError::Refused { code: Code::InvalidParameterValue, message }
}

fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_come_in_the_order_of_their_numbers() {
        let form = Form::parse("A.10=ten&A.2=two&A.1=one&AB.1=other").unwrap();
        assert_eq!(form.list("A"), ["one", "two", "ten"]);
        assert!(form.finish().is_err());
        form.ignore(&["AB"]);
        form.finish().unwrap();
    }

    #[test]
    fn members_are_forms_that_name_themselves_fully() {
        let form = Form::parse("T.1.K=a&T.1.V=b&T.2.K=c&T.2.X=y").unwrap();
        let members = form.members("T");
        assert_eq!(members[0].text("V"), Some("b"));
        assert_eq!(members[1].text("K"), Some("c"));
        form.finish().unwrap();
        let Err(CallError::Refused { message, .. }) = members[1].finish() else { panic!("X is unread") };
        assert!(message.contains("T.2.X"), "{message}");
    }

    #[test]
    fn text_that_cannot_be_decoded_is_refused() {
        for bad in ["a=%zz", "a=%f", "a=%ff", "a=1&a=2", "a=%00", "a=%1b"] {
            assert!(Form::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(Form::parse("a=%C3%BC+x").unwrap().text("a"), Some("ü x"));
    }
}
