//! A component's published settings schema: the subset of JSON Schema that the host reads and checks itself.
//!
//! One flat object, dotted keys, integers, booleans and text. A subset, because a stranger's schema is input
//! like any other: full JSON Schema has regular expressions and references, and a checker for it would be
//! more code than all that is checked with it.

use std::collections::BTreeMap;

use enid_core::admission::printable;
use enid_core::snapshot::{Setting, Value};
use serde::Deserialize;

use crate::runtime::Issue;

/// Properties that a schema may have.
const MAX_PROPERTIES: usize = 128;
/// Bytes of a key, a description, or of what is wrong that are kept.
const MAX_WORDS: usize = 256;

/// What a component's settings may be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Schema {
    properties: Option<BTreeMap<String, Property>>,
}

/// One setting.
#[derive(Clone, Debug, PartialEq)]
pub struct Property {
    /// What it may be.
    pub shape: Shape,
    /// What holds when it is left out.
    pub default: Option<Value>,
    /// What it means; the component's own words.
    pub description: String,
}

/// What a setting may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// True or false.
    Flag,
    /// A whole number within bounds, both included.
    Int {
        /// The least.
        least: i128,
        /// The most.
        most: i128,
    },
    /// Text.
    Text {
        /// The words that it may be; `None`: any.
        choices: Option<Vec<String>>,
        /// Characters at most.
        longest: usize,
    },
}

/// The schema as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(rename = "$schema", default)]
    _dialect: Option<String>,
    #[serde(rename = "title", default)]
    _title: Option<String>,
    #[serde(rename = "description", default)]
    _description: Option<String>,
    #[serde(rename = "type")]
    of: String,
    #[serde(rename = "additionalProperties")]
    additional: bool,
    properties: BTreeMap<String, WrittenProperty>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenProperty {
    #[serde(rename = "type")]
    of: String,
    minimum: Option<serde_json::Number>,
    maximum: Option<serde_json::Number>,
    #[serde(rename = "enum")]
    choices: Option<Vec<String>>,
    #[serde(rename = "maxLength")]
    longest: Option<usize>,
    default: Option<Value>,
    #[serde(default)]
    description: String,
}

impl Schema {
    /// Reads a schema; empty text means that the component publishes none.
    ///
    /// The error says what of it is outside the subset.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        // What is wrong is told in the schema's own words, which are a stranger's.
        Self::read(text).map_err(|why| printable(&why, MAX_WORDS))
    }

    fn read(text: &str) -> Result<Self, String> {
        let written: Written = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if written.of != "object" || written.additional {
            return Err("it must be an object with `additionalProperties` false".into());
        }
        if written.properties.len() > MAX_PROPERTIES {
            return Err(format!("more than {MAX_PROPERTIES} properties"));
        }
        let property = |(key, written): (String, WrittenProperty)| {
            let key = printable(&key, MAX_WORDS);
            let property = written.read().map_err(|why| format!("property `{key}`: {why}"))?;
            Ok((key, property))
        };
        let properties = written.properties.into_iter().map(property).collect::<Result<_, String>>()?;
        Ok(Self { properties: Some(properties) })
    }

    /// The schema of a strategy that has nothing to set.
    pub fn empty() -> Self {
        Self { properties: Some(BTreeMap::new()) }
    }

    /// The settings by key; empty when the component publishes no schema.
    pub fn properties(&self) -> impl Iterator<Item = (&str, &Property)> {
        self.properties.iter().flatten().map(|(key, property)| (key.as_str(), property))
    }

    /// Everything that is wrong with `settings`; without a schema, nothing is.
    pub fn check(&self, settings: &[Setting]) -> Vec<Issue> {
        let Some(properties) = &self.properties else { return Vec::new() };
        let mut issues = Vec::new();
        for setting in settings {
            let message = match properties.get(&setting.key) {
                None if properties.is_empty() => "unknown setting: this strategy has none".to_owned(),
                None => {
                    let known: Vec<&str> = properties.keys().map(String::as_str).collect();
                    format!("unknown setting, known are {}", known.join(", "))
                }
                Some(property) if property.shape.allows(&setting.value) => continue,
                Some(property) => format!("must be {}, not {}", property.shape, shown(&setting.value)),
            };
            issues.push(Issue { key: setting.key.clone(), message: printable(&message, MAX_WORDS) });
        }
        issues
    }
}

impl WrittenProperty {
    fn read(self) -> Result<Property, String> {
        let bounded = self.minimum.is_some() || self.maximum.is_some();
        let shape = match self.of.as_str() {
            "boolean" if !bounded && self.choices.is_none() && self.longest.is_none() => Shape::Flag,
            "integer" if self.choices.is_none() && self.longest.is_none() => {
                let least = whole(self.minimum.as_ref(), i64::MIN)?;
                let most = whole(self.maximum.as_ref(), i64::MAX)?;
                if least > most {
                    return Err(format!("minimum {least} is above maximum {most}"));
                }
                Shape::Int { least, most }
            }
            "string" if !bounded => {
                Shape::Text { choices: self.choices, longest: self.longest.unwrap_or(usize::MAX) }
            }
            "boolean" | "integer" | "string" => {
                return Err(format!("a keyword in it does not go with type `{}`", self.of));
            }
            other => {
                return Err(format!("type `{}` is not integer, boolean or string", printable(other, 64)));
            }
        };
        if let Some(default) = self.default.as_ref().filter(|default| !shape.allows(default)) {
            return Err(format!("its default {} is not {shape}", shown(default)));
        }
        Ok(Property { shape, default: self.default, description: printable(&self.description, MAX_WORDS) })
    }
}

impl Shape {
    /// Whether a value is of this shape.
    pub fn allows(&self, value: &Value) -> bool {
        match (self, value) {
            (Shape::Flag, Value::Flag(_)) => true,
            (Shape::Int { least, most }, Value::Int(number)) => {
                (*least..=*most).contains(&i128::from(*number))
            }
            (Shape::Text { choices, longest }, Value::Text(text)) => {
                text.chars().count() <= *longest
                    && choices.as_ref().is_none_or(|choices| choices.contains(text))
            }
            (Shape::Flag | Shape::Int { .. } | Shape::Text { .. }, _) => false,
        }
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Shape::Flag => f.write_str("true or false"),
            Shape::Int { least, most } => write!(f, "an integer from {least} to {most}"),
            Shape::Text { choices: Some(choices), .. } => write!(f, "one of {}", choices.join(", ")),
            Shape::Text { choices: None, longest: usize::MAX } => f.write_str("text"),
            Shape::Text { choices: None, longest } => write!(f, "text of at most {longest} characters"),
        }
    }
}

fn whole(number: Option<&serde_json::Number>, otherwise: i64) -> Result<i128, String> {
    let Some(number) = number else { return Ok(otherwise.into()) };
    let whole = number.as_i64().map(i128::from).or(number.as_u64().map(i128::from));
    whole.ok_or_else(|| format!("the bound {number} is not a whole number of 64 bits"))
}

fn shown(value: &Value) -> String {
    match value {
        Value::Flag(flag) => flag.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Text(text) => format!("`{}`", printable(text, MAX_WORDS)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOBS: &str = r#"{"type":"object","additionalProperties":false,"properties":{
        "count":{"type":"integer","minimum":1,"maximum":9,"default":7,"description":"How many."},
        "large":{"type":"integer","minimum":0,"maximum":18446744073709551615},
        "learn":{"type":"boolean","default":false},
        "placement":{"type":"string","enum":["pack","spread"],"default":"pack"},
        "name":{"type":"string","maxLength":3}}}"#;

    fn setting(key: &str, value: Value) -> Setting {
        Setting { key: key.into(), value }
    }

    #[test]
    fn settings_within_the_schema_pass() {
        let schema = Schema::parse(KNOBS).unwrap();
        let settings = [
            setting("count", Value::Int(9)),
            setting("large", Value::Int(i64::MAX)),
            setting("learn", Value::Flag(true)),
            setting("placement", Value::Text("spread".into())),
            setting("name", Value::Text("abc".into())),
        ];
        assert_eq!(schema.check(&settings), []);
    }

    #[test]
    fn every_setting_outside_is_named_with_what_is_allowed() {
        let schema = Schema::parse(KNOBS).unwrap();
        let settings = [
            setting("count", Value::Int(10)),
            setting("learn", Value::Int(1)),
            setting("placement", Value::Text("tetris".into())),
            setting("name", Value::Text("abcd".into())),
            setting("cuont", Value::Int(1)),
        ];
        let said: Vec<String> = schema
            .check(&settings)
            .into_iter()
            .map(|issue| format!("{}: {}", issue.key, issue.message))
            .collect();
        assert_eq!(
            said,
            [
                "count: must be an integer from 1 to 9, not 10",
                "learn: must be true or false, not 1",
                "placement: must be one of pack, spread, not `tetris`",
                "name: must be text of at most 3 characters, not `abcd`",
                "cuont: unknown setting, known are count, large, learn, name, placement",
            ]
        );
    }

    #[test]
    fn without_a_schema_nothing_is_checked() {
        assert_eq!(Schema::parse("").unwrap().check(&[setting("any", Value::Int(1))]), []);
    }

    #[test]
    fn what_is_outside_the_subset_is_refused() {
        for text in [
            "{}",
            "[]",
            r#"{"type":"object","additionalProperties":true,"properties":{}}"#,
            r#"{"type":"object","additionalProperties":false,"properties":{"a":{"type":"number"}}}"#,
            r#"{"type":"object","additionalProperties":false,"properties":{"a":{"type":"string","pattern":"(a+)+$"}}}"#,
            r#"{"type":"object","additionalProperties":false,"properties":{"a":{"type":"boolean","minimum":1}}}"#,
            r#"{"type":"object","additionalProperties":false,"properties":{"a":{"type":"integer","minimum":1.5}}}"#,
            r#"{"type":"object","additionalProperties":false,"properties":{"a":{"type":"integer","minimum":2,"maximum":1}}}"#,
            r#"{"type":"object","additionalProperties":false,"properties":{"a":{"type":"boolean","default":3}}}"#,
        ] {
            assert!(Schema::parse(text).is_err(), "{text}");
        }
    }
}
