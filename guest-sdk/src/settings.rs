//! Typed settings: declared once, they give the parser, the defaults, the errors and the JSON Schema.
//!
//! ```
//! use enid_guest::{Choice, Settings};
//!
//! /// In which order subnets are tried.
//! #[derive(Clone, Copy, Debug, PartialEq, Eq, Choice)]
//! pub enum Order {
//!     MostFree,
//!     RoundRobin,
//! }
//!
//! #[derive(Clone, Debug, PartialEq, Eq, Settings)]
//! pub struct Weights {
//!     /// What a failure in the last ten minutes costs, in addresses.
//!     #[setting(default = 16, range = 0..=4096)]
//!     pub failure: u32,
//! }
//!
//! #[derive(Clone, Debug, PartialEq, Eq, Settings)]
//! pub struct Knobs {
//!     /// The order.
//!     #[setting(default = Order::MostFree)]
//!     pub order: Order,
//!     /// Addresses to leave in every subnet; when unset, a tenth of it.
//!     #[setting(range = 0..=65_536)]
//!     pub reserve: Option<u32>,
//!     /// Subnets to leave out, by the start of their hint `name`.
//!     #[setting(default = "", max_bytes = 64)]
//!     pub except: String,
//!     #[setting(nested)]
//!     pub weight: Weights,
//! }
//!
//! use enid_guest::testing::{int, text};
//! let knobs = Knobs::parse(&[text("order", "round-robin"), int("weight.failure", 0)]).unwrap();
//! assert_eq!(knobs, Knobs { order: Order::RoundRobin, weight: Weights { failure: 0 }, ..Knobs::default() });
//!
//! let issues = Knobs::parse(&[text("order", "alphabet"), int("weight.failures", 1)]).unwrap_err();
//! assert_eq!(issues[0].message, "expected `most-free` or `round-robin`, got `alphabet`");
//! assert_eq!(issues[1].message, "unknown setting, known are order, reserve, except, weight.failure");
//! ```
//!
//! What the compiler can find out, it does: a default outside its range does not build.
//!
//! ```compile_fail
//! #[derive(enid_guest::Settings)]
//! struct Knobs {
//!     /// A number.
//!     #[setting(default = 10, range = 0..=9)]
//!     number: u32,
//! }
//! ```

mod allowed;
mod schema;

use std::borrow::Cow;

pub use allowed::{Allowed, SettingType, Slot};
pub use enid_guest_derive::{Choice, Settings};

use crate::warm_pool::Placement;
use crate::{Setting, Value};

/// Bytes of a wrong text that an issue shows.
const SHOWN_BYTES: usize = 64;

/// One thing wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// The key it is about.
    pub key: String,
    /// What is wrong and what would be right.
    pub message: String,
}

/// A strategy's settings: derived for a struct, rarely written by hand. The default is what nothing set means.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a struct of settings",
    note = "write `#[derive(Settings)]` on `{Self}`, or use `NoSettings`"
)]
pub trait Settings: Default {
    /// Every setting, with the place that its value has in `self`.
    fn fields(&mut self) -> Vec<Field<'_>>;

    /// Reads settings; all problems are reported together.
    fn parse(settings: &[Setting]) -> Result<Self, Vec<Issue>> {
        let mut parsed = Self::default();
        let issues = read(&mut parsed.fields(), settings);
        if issues.is_empty() { Ok(parsed) } else { Err(issues) }
    }

    /// The JSON Schema that the host shows and checks before the strategy runs.
    fn schema() -> String {
        schema::of(&Self::default().fields())
    }
}

/// An enum whose variants are words that an operator can write: derived.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no type that a setting can have",
    note = "an enum of words derives `Choice`; a struct of settings is marked `#[setting(nested)]`",
    note = "other settings are u32, u64, i64, bool or String, by these names"
)]
pub trait Choice: Sized {
    /// All words, in the order of the variants.
    const WORDS: &'static [&'static str];
    /// How this variant is written.
    fn word(&self) -> &'static str;
    /// The variant that is written so.
    fn from_word(word: &str) -> Option<Self>;
}

impl Choice for Placement {
    const WORDS: &'static [&'static str] = &["pack", "spread"];

    fn word(&self) -> &'static str {
        match self {
            Placement::Pack => "pack",
            Placement::Spread => "spread",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        match word {
            "pack" => Some(Placement::Pack),
            "spread" => Some(Placement::Spread),
            _ => None,
        }
    }
}

/// One setting of a struct, with the place of its value.
pub struct Field<'a> {
    key: Cow<'static, str>,
    about: &'static str,
    allowed: Allowed,
    slot: &'a mut dyn Slot,
}

impl<'a> Field<'a> {
    /// A setting of the struct itself.
    pub fn new(key: &'static str, about: &'static str, allowed: Allowed, slot: &'a mut dyn Slot) -> Self {
        Self { key: Cow::Borrowed(key), about, allowed, slot }
    }

    /// The settings of a struct within the struct, their keys behind its name and a dot.
    pub fn of_table(name: &str, table: &'a mut impl Settings) -> Vec<Self> {
        let mut fields = table.fields();
        for field in &mut fields {
            field.key = Cow::Owned(format!("{name}.{}", field.key));
        }
        fields
    }
}

/// For a strategy that has nothing to set: every key is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoSettings;

impl Settings for NoSettings {
    fn fields(&mut self) -> Vec<Field<'_>> {
        Vec::new()
    }
}

/// Puts every setting into its place, and says what is wrong with those that have none or do not fit.
fn read(fields: &mut [Field<'_>], settings: &[Setting]) -> Vec<Issue> {
    let mut issues = Vec::new();
    for (index, setting) in settings.iter().enumerate() {
        if settings.iter().take(index).any(|earlier| earlier.key == setting.key) {
            issues.push(issue(setting, "set twice".to_owned()));
        }
    }
    for setting in settings {
        let Some(field) = fields.iter_mut().find(|field| field.key == setting.key) else {
            issues.push(issue(setting, unknown(fields)));
            continue;
        };
        if !(field.allowed.admits(&setting.value) && field.slot.put(&setting.value)) {
            let message = format!("expected {}, got {}", field.allowed, show(&setting.value));
            issues.push(issue(setting, message));
        }
    }
    issues
}

fn issue(setting: &Setting, message: String) -> Issue {
    Issue { key: setting.key.clone(), message }
}

fn unknown(fields: &[Field<'_>]) -> String {
    if fields.is_empty() {
        return "unknown setting: this strategy has none".to_owned();
    }
    let known: Vec<&str> = fields.iter().map(|field| field.key.as_ref()).collect();
    format!("unknown setting, known are {}", known.join(", "))
}

fn show(value: &Value) -> String {
    match value {
        Value::Flag(flag) => flag.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Text(text) => match text.get(..text.floor_char_boundary(SHOWN_BYTES)) {
            Some(start) if start.len() < text.len() => format!("`{start}…`, {} bytes", text.len()),
            Some(_) | None => format!("`{text}`"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{flag, int, text};
    use proptest::prelude::*;

    /// More than a test needs.
    const MOST: u32 = 9;

    #[derive(Clone, Copy, Debug, PartialEq, Eq, Choice)]
    enum Order {
        MostFree,
        RoundRobin,
        Random,
    }

    #[derive(Clone, Debug, PartialEq, Eq, Settings)]
    struct Weights {
        /// What a zone counts.
        #[setting(default = -1, range = i64::MIN..=i64::MAX)]
        weight: i64,
        #[setting(nested)]
        deep: Deep,
    }

    #[derive(Clone, Debug, PartialEq, Eq, Settings)]
    struct Deep {
        /// Far down.
        #[setting(default = true)]
        r#in: bool,
    }

    /// Everything a setting can be.
    #[derive(Clone, Debug, PartialEq, Eq, Settings)]
    struct Knobs {
        /// A number with "quotes"
        /// on two lines.
        #[setting(default = 7, range = 1..=MOST)]
        number: u32,
        /// May be left out.
        #[setting(range = 0..=i64::MAX as u64)]
        maybe: Option<u64>,
        /// A switch.
        #[setting(default = false)]
        switch: bool,
        /// Where pods go.
        #[setting(default = Placement::Pack)]
        placement: Placement,
        /// Which comes first.
        order: Option<Order>,
        /// A name.
        #[setting(default = "a\\b", max_bytes = 4)]
        name: String,
        #[setting(nested)]
        az: Weights,
    }

    #[test]
    fn settings_left_out_take_their_defaults() {
        let knobs = Knobs::parse(&[]).unwrap();
        let expected = Knobs {
            number: 7,
            maybe: None,
            switch: false,
            placement: Placement::Pack,
            order: None,
            name: "a\\b".to_owned(),
            az: Weights { weight: -1, deep: Deep { r#in: true } },
        };
        assert_eq!(knobs, expected);
        assert_eq!(Knobs::default(), expected);
    }

    #[test]
    fn settings_are_read_by_name() {
        let given = [
            int("number", 9),
            int("maybe", 0),
            flag("switch", true),
            text("placement", "spread"),
            text("order", "round-robin"),
            text("name", "zwei"),
            int("az.weight", i64::MIN),
            flag("az.deep.in", false),
        ];
        let expected = Knobs {
            number: 9,
            maybe: Some(0),
            switch: true,
            placement: Placement::Spread,
            order: Some(Order::RoundRobin),
            name: "zwei".to_owned(),
            az: Weights { weight: i64::MIN, deep: Deep { r#in: false } },
        };
        assert_eq!(Knobs::parse(&given).unwrap(), expected);
    }

    #[test]
    fn all_problems_are_reported_together() {
        let given = [
            int("number", 10),
            int("maybe", -1),
            int("switch", 1),
            text("placement", "tetris"),
            text("order", "alphabet"),
            text("name", "fünf"),
            text("az.weight", "heavy"),
            int("numbr", 3),
            int("az", 3),
            int("number", 5),
        ];
        let issues = Knobs::parse(&given).unwrap_err();
        let issues: Vec<(&str, &str)> =
            issues.iter().map(|issue| (issue.key.as_str(), issue.message.as_str())).collect();
        let unknown =
            "unknown setting, known are number, maybe, switch, placement, order, name, az.weight, az.deep.in";
        assert_eq!(
            issues,
            [
                ("number", "set twice"),
                ("number", "expected an integer from 1 to 9, got 10"),
                ("maybe", "expected an integer from 0 to 9223372036854775807, got -1"),
                ("switch", "expected true or false, got 1"),
                ("placement", "expected `pack` or `spread`, got `tetris`"),
                ("order", "expected `most-free`, `round-robin` or `random`, got `alphabet`"),
                ("name", "expected text of at most 4 bytes, got `fünf`"),
                (
                    "az.weight",
                    "expected an integer from -9223372036854775808 to 9223372036854775807, got `heavy`"
                ),
                ("numbr", unknown),
                ("az", unknown),
            ]
        );
    }

    #[test]
    fn a_long_text_is_shown_by_its_start() {
        let issues = Knobs::parse(&[text("name", &"ü".repeat(100))]).unwrap_err();
        let shown = "ü".repeat(32);
        assert_eq!(issues[0].message, format!("expected text of at most 4 bytes, got `{shown}…`, 200 bytes"));
    }

    #[test]
    fn the_schema_has_ranges_words_defaults_and_descriptions() {
        assert_eq!(
            Knobs::schema(),
            concat!(
                r#"{"type":"object","additionalProperties":false,"properties":{"#,
                r#""number":{"type":"integer","minimum":1,"maximum":9,"default":7,"#,
                r#""description":"A number with \"quotes\" on two lines."},"#,
                r#""maybe":{"type":"integer","minimum":0,"maximum":9223372036854775807,"#,
                r#""description":"May be left out."},"#,
                r#""switch":{"type":"boolean","default":false,"description":"A switch."},"#,
                r#""placement":{"type":"string","enum":["pack","spread"],"default":"pack","#,
                r#""description":"Where pods go."},"#,
                r#""order":{"type":"string","enum":["most-free","round-robin","random"],"#,
                r#""description":"Which comes first."},"#,
                r#""name":{"type":"string","maxLength":4,"default":"a\\b","description":"A name."},"#,
                r#""az.weight":{"type":"integer","minimum":-9223372036854775808,"#,
                r#""maximum":9223372036854775807,"default":-1,"description":"What a zone counts."},"#,
                r#""az.deep.in":{"type":"boolean","default":true,"description":"Far down."}}}"#
            )
        );
    }

    /// What the host does with a schema, for the words that `wit/README.md` lists.
    fn satisfies(property: &serde_json::Value, value: &Value) -> bool {
        let words = |list: &serde_json::Value, text: &str| {
            list.as_array().is_none_or(|words| words.iter().any(|word| word == text))
        };
        match (property["type"].as_str(), value) {
            (Some("boolean"), Value::Flag(_)) => true,
            (Some("integer"), Value::Int(number)) => (property["minimum"].as_i64().unwrap()
                ..=property["maximum"].as_i64().unwrap())
                .contains(number),
            (Some("string"), Value::Text(text)) => {
                let most = property["maxLength"].as_u64().unwrap_or(u64::MAX);
                text.chars().count() as u64 <= most && words(&property["enum"], text)
            }
            (_, Value::Flag(_) | Value::Int(_) | Value::Text(_)) => false,
        }
    }

    fn any_value() -> impl Strategy<Value = Value> {
        prop_oneof![
            any::<bool>().prop_map(Value::Flag),
            (-2..12i64).prop_map(Value::Int),
            any::<i64>().prop_map(Value::Int),
            "[a-z\u{1F600}]{0,5}".prop_map(Value::Text),
            prop_oneof![Just("pack"), Just("random")].prop_map(|word| Value::Text(word.to_owned())),
        ]
    }

    proptest! {
        #[test]
        fn what_the_settings_take_satisfies_the_schema_and_the_other_way_round_but_for_bytes(
            key in 0..8usize, value in any_value(),
        ) {
            let schema: serde_json::Value = serde_json::from_str(&Knobs::schema()).unwrap();
            let mut knobs = Knobs::default();
            let key = knobs.fields()[key].key.to_string();
            let by_schema = satisfies(&schema["properties"][key.as_str()], &value);
            let taken = Knobs::parse(&[Setting { key: key.clone(), value }]).is_ok();
            prop_assert!(by_schema || !taken, "{key} is taken against its schema");
            prop_assert!(taken || !by_schema || key == "name", "{key} is refused although its schema admits it");
        }
    }

    #[test]
    fn a_strategy_without_settings_refuses_any() {
        assert!(NoSettings::parse(&[]).is_ok());
        let issues = NoSettings::parse(&[flag("x", true)]).unwrap_err();
        assert_eq!(issues[0].message, "unknown setting: this strategy has none");
        assert_eq!(NoSettings::schema(), r#"{"type":"object","additionalProperties":false,"properties":{}}"#);
    }
}
