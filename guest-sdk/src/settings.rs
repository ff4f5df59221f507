//! Typed settings: declared once, they give the parser, the defaults, the errors and the JSON Schema.

use std::fmt::Write as _;
use std::ops::RangeInclusive;

use crate::warm_pool::Placement;
use crate::{Setting, Value};

/// One thing wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// The key it is about.
    pub key: String,
    /// What is wrong and what would be right.
    pub message: String,
}

/// A strategy's settings; written with [`settings!`](crate::settings!), rarely by hand.
pub trait Settings: Sized {
    /// Reads settings; all problems are reported together.
    fn parse(settings: &[Setting]) -> Result<Self, Vec<Issue>>;
    /// The JSON Schema that the host shows and checks before the strategy runs.
    fn schema() -> String;
}

/// For a strategy that has nothing to set: every key is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoSettings;

impl Settings for NoSettings {
    fn parse(settings: &[Setting]) -> Result<Self, Vec<Issue>> {
        let issues: Vec<Issue> = settings.iter().map(|setting| unknown(&setting.key, &[])).collect();
        if issues.is_empty() { Ok(Self) } else { Err(issues) }
    }

    fn schema() -> String {
        Schema::new().finish()
    }
}

/// A type that a setting can have.
pub trait SettingType: Sized {
    /// What narrows it: a range for integers, nothing for others.
    type Rule;
    /// Reads a value; the error says what would be right.
    fn read(value: &Value, rule: &Self::Rule) -> Result<Self, String>;
    /// The inside of its JSON Schema object, without default and description.
    fn schema(rule: &Self::Rule) -> String;
    /// Its value in JSON, for the default; `None` when it is unset.
    fn json(&self) -> Option<String>;
}

macro_rules! integer {
    ($($ty:ty),*) => {$(
        impl SettingType for $ty {
            type Rule = RangeInclusive<$ty>;

            fn read(value: &Value, rule: &Self::Rule) -> Result<Self, String> {
                let in_range = match value {
                    Value::Int(number) => <$ty>::try_from(*number).ok().filter(|number| rule.contains(number)),
                    Value::Flag(_) | Value::Text(_) => None,
                };
                in_range.ok_or_else(|| {
                    format!("expected an integer from {} to {}, got {}", rule.start(), rule.end(), show(value))
                })
            }

            fn schema(rule: &Self::Rule) -> String {
                format!(r#""type":"integer","minimum":{},"maximum":{}"#, rule.start(), rule.end())
            }

            fn json(&self) -> Option<String> {
                Some(self.to_string())
            }
        }
    )*};
}
integer!(u32, u64);

impl SettingType for bool {
    type Rule = ();

    fn read(value: &Value, (): &()) -> Result<Self, String> {
        match value {
            Value::Flag(flag) => Ok(*flag),
            Value::Int(_) | Value::Text(_) => Err(format!("expected true or false, got {}", show(value))),
        }
    }

    fn schema((): &()) -> String {
        r#""type":"boolean""#.to_owned()
    }

    fn json(&self) -> Option<String> {
        Some(self.to_string())
    }
}

/// A setting that may be left out and then means something of its own.
impl<T: SettingType> SettingType for Option<T> {
    type Rule = T::Rule;

    fn read(value: &Value, rule: &Self::Rule) -> Result<Self, String> {
        T::read(value, rule).map(Some)
    }

    fn schema(rule: &Self::Rule) -> String {
        T::schema(rule)
    }

    fn json(&self) -> Option<String> {
        self.as_ref().and_then(T::json)
    }
}

impl SettingType for Placement {
    type Rule = ();

    fn read(value: &Value, (): &()) -> Result<Self, String> {
        match value {
            Value::Text(text) if text == "pack" => Ok(Placement::Pack),
            Value::Text(text) if text == "spread" => Ok(Placement::Spread),
            Value::Text(_) | Value::Flag(_) | Value::Int(_) => {
                Err(format!("expected `pack` or `spread`, got {}", show(value)))
            }
        }
    }

    fn schema((): &()) -> String {
        r#""type":"string","enum":["pack","spread"]"#.to_owned()
    }

    fn json(&self) -> Option<String> {
        Some(match self {
            Placement::Pack => r#""pack""#.to_owned(),
            Placement::Spread => r#""spread""#.to_owned(),
        })
    }
}

/// Declares a strategy's settings.
///
/// ```
/// enid_guest::settings! {
///     /// What the operator can set.
///     pub struct Knobs {
///         /// Addresses to hold ready.
///         pub headroom: u32 = 3, 0..=1000;
///         /// Whether to look at history.
///         pub learn: bool = true, ();
///     }
/// }
/// # use enid_guest::Settings;
/// assert_eq!(Knobs::parse(&[]).unwrap().headroom, 3);
/// ```
#[macro_export]
macro_rules! settings {
    (
        $(#[doc = $about:literal])*
        $vis:vis struct $name:ident {
            $( $(#[doc = $doc:literal])+ $field_vis:vis $field:ident: $ty:ty = $default:expr, $rule:expr; )*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        $vis struct $name {
            $( $(#[doc = $doc])+ $field_vis $field: $ty, )*
        }

        impl ::core::default::Default for $name {
            fn default() -> Self {
                Self { $( $field: $default, )* }
            }
        }

        impl $crate::settings::Settings for $name {
            fn parse(settings: &[$crate::Setting]) -> ::core::result::Result<Self, Vec<$crate::settings::Issue>> {
                const KEYS: &[&str] = &[$( stringify!($field) ),*];
                let mut parsed = Self::default();
                let mut issues = Vec::new();
                $crate::settings::refuse_twice(settings, &mut issues);
                for setting in settings {
                    match setting.key.as_str() {
                        $( stringify!($field) => {
                            match <$ty as $crate::settings::SettingType>::read(&setting.value, &$rule) {
                                Ok(value) => parsed.$field = value,
                                Err(message) => issues.push($crate::settings::Issue {
                                    key: setting.key.clone(),
                                    message,
                                }),
                            }
                        } )*
                        unknown => issues.push($crate::settings::unknown(unknown, KEYS)),
                    }
                }
                if issues.is_empty() { Ok(parsed) } else { Err(issues) }
            }

            fn schema() -> String {
                let defaults = Self::default();
                $crate::settings::Schema::new()
                    $( .property(stringify!($field), &defaults.$field, &$rule, concat!($($doc),+)) )*
                    .finish()
            }
        }
    };
}

/// Builds the JSON Schema of a settings object.
#[derive(Debug)]
pub struct Schema(String);

impl Schema {
    /// An object without properties.
    #[expect(clippy::new_without_default, reason = "a builder that only the settings! macro starts")]
    pub fn new() -> Self {
        Self(r#"{"type":"object","additionalProperties":false,"properties":{"#.to_owned())
    }

    /// Adds one property.
    #[must_use]
    pub fn property<T: SettingType>(mut self, key: &str, default: &T, rule: &T::Rule, about: &str) -> Self {
        if !self.0.ends_with('{') {
            self.0.push(',');
        }
        self.0.push_str(&quote(key));
        self.0.push_str(":{");
        self.0.push_str(&T::schema(rule));
        if let Some(json) = default.json() {
            self.0.push_str(",\"default\":");
            self.0.push_str(&json);
        }
        self.0.push_str(",\"description\":");
        self.0.push_str(&quote(about.trim()));
        self.0.push('}');
        self
    }

    /// The finished text.
    pub fn finish(self) -> String {
        self.0 + "}}"
    }
}

/// An issue about a key that the strategy does not have.
pub fn unknown(key: &str, known: &[&str]) -> Issue {
    let message = if known.is_empty() {
        "unknown setting: this strategy has none".to_owned()
    } else {
        format!("unknown setting, known are {}", known.join(", "))
    };
    Issue { key: key.to_owned(), message }
}

/// Issues about keys that occur more than once.
pub fn refuse_twice(settings: &[Setting], issues: &mut Vec<Issue>) {
    for (index, setting) in settings.iter().enumerate() {
        if settings.iter().take(index).any(|earlier| earlier.key == setting.key) {
            issues.push(Issue { key: setting.key.clone(), message: "set twice".to_owned() });
        }
    }
}

fn show(value: &Value) -> String {
    match value {
        Value::Flag(flag) => flag.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Text(text) => format!("`{text}`"),
    }
}

fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{flag, int, text};

    settings! {
        /// Everything a setting can be.
        struct Knobs {
            /// A number with "quotes".
            number: u32 = 7, 1..=9;
            /// May be left out.
            maybe: Option<u64> = None, 0..=u64::MAX;
            /// A switch.
            switch: bool = false, ();
            /// Where pods go.
            placement: Placement = Placement::Pack, ();
        }
    }

    #[test]
    fn settings_left_out_take_their_defaults() {
        let knobs = Knobs::parse(&[]).unwrap();
        assert_eq!(knobs, Knobs { number: 7, maybe: None, switch: false, placement: Placement::Pack });
    }

    #[test]
    fn settings_are_read_by_name() {
        let given = [int("number", 9), int("maybe", 0), flag("switch", true), text("placement", "spread")];
        let knobs = Knobs::parse(&given).unwrap();
        assert_eq!(knobs, Knobs { number: 9, maybe: Some(0), switch: true, placement: Placement::Spread });
    }

    #[test]
    fn all_problems_are_reported_together() {
        let given = [
            int("number", 10),
            int("maybe", -1),
            int("switch", 1),
            text("placement", "tetris"),
            int("numbr", 3),
            int("number", 5),
        ];
        let issues = Knobs::parse(&given).unwrap_err();
        let keys: Vec<&str> = issues.iter().map(|issue| issue.key.as_str()).collect();
        assert_eq!(keys, ["number", "number", "maybe", "switch", "placement", "numbr"]);
        assert_eq!(issues[1].message, "expected an integer from 1 to 9, got 10");
        assert!(issues[5].message.contains("number, maybe, switch, placement"));
    }

    #[test]
    fn the_schema_is_json_with_ranges_defaults_and_descriptions() {
        assert_eq!(
            Knobs::schema(),
            concat!(
                r#"{"type":"object","additionalProperties":false,"properties":{"#,
                r#""number":{"type":"integer","minimum":1,"maximum":9,"default":7,"#,
                r#""description":"A number with \"quotes\"."},"#,
                r#""maybe":{"type":"integer","minimum":0,"maximum":18446744073709551615,"#,
                r#""description":"May be left out."},"#,
                r#""switch":{"type":"boolean","default":false,"description":"A switch."},"#,
                r#""placement":{"type":"string","enum":["pack","spread"],"default":"pack","#,
                r#""description":"Where pods go."}}}"#
            )
        );
    }

    #[test]
    fn a_strategy_without_settings_refuses_any() {
        assert!(NoSettings::parse(&[]).is_ok());
        assert_eq!(NoSettings::parse(&[flag("x", true)]).unwrap_err()[0].key, "x");
    }
}
