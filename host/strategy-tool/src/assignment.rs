//! Settings from the command line and from test files, and what they change in a question.

use enid_core::snapshot::{Setting, Value};

/// Tables within tables in a test's settings, as in the daemon's settings file.
const MAX_DEPTH: usize = 8;

/// Reads `KEY=VALUE`: `true` and `false` are booleans, whole numbers are numbers, everything else is text.
pub(crate) fn parse(text: &str) -> Result<Setting, String> {
    let Some((key, value)) = text.split_once('=').filter(|(key, _)| !key.is_empty()) else {
        return Err(format!("`{text}` is not KEY=VALUE, for example headroom=3"));
    };
    let value = match value {
        "true" => Value::Flag(true),
        "false" => Value::Flag(false),
        other => other.parse().map_or_else(|_| Value::Text(other.to_owned()), Value::Int),
    };
    Ok(Setting { key: key.to_owned(), value })
}

/// Reads a table of a test file; nested tables become dotted keys, as in the daemon's settings file.
pub(crate) fn from_table(table: &toml::Table) -> Result<Vec<Setting>, String> {
    let mut settings = Vec::new();
    for (key, value) in table {
        flatten(key.clone(), value, MAX_DEPTH, &mut settings)?;
    }
    Ok(settings)
}

fn flatten(key: String, value: &toml::Value, depth: usize, into: &mut Vec<Setting>) -> Result<(), String> {
    let value = match value {
        toml::Value::String(text) => Value::Text(text.clone()),
        toml::Value::Integer(number) => Value::Int(*number),
        toml::Value::Boolean(flag) => Value::Flag(*flag),
        toml::Value::Float(_) => {
            return Err(format!(
                "setting `{key}` = {value} is no whole number; use a smaller unit (250 thousandths, not 0.25)"
            ));
        }
        toml::Value::Datetime(_) => {
            return Err(format!("setting `{key}` = {value} is a date; write it as text in quotes"));
        }
        toml::Value::Array(_) | toml::Value::Table(_) if depth == 0 => {
            return Err(format!("setting `{key}` is nested deeper than {MAX_DEPTH} tables"));
        }
        toml::Value::Array(list) => {
            let mut inner = list.iter().enumerate();
            return inner.try_for_each(|(at, value)| flatten(format!("{key}.{at}"), value, depth - 1, into));
        }
        toml::Value::Table(table) => {
            let mut inner = table.iter();
            return inner
                .try_for_each(|(name, value)| flatten(format!("{key}.{name}"), value, depth - 1, into));
        }
    };
    into.push(Setting { key, value });
    Ok(())
}

/// Sets each of `changes` in `settings`: a key that is there gets the new value, another is added.
pub(crate) fn apply(changes: &[Setting], settings: &mut Vec<Setting>) {
    for change in changes {
        match settings.iter_mut().find(|setting| setting.key == change.key) {
            Some(setting) => setting.value = change.value.clone(),
            None => settings.push(change.clone()),
        }
    }
}

/// `key = value` as a settings file would have it.
pub(crate) fn shown(setting: &Setting) -> String {
    format!("{} = {}", setting.key, shown_value(&setting.value))
}

/// A value as a settings file would have it.
pub(crate) fn shown_value(value: &Value) -> String {
    match value {
        Value::Flag(flag) => flag.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Text(text) => toml::Value::String(text.clone()).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(key: &str, value: Value) -> Setting {
        Setting { key: key.to_owned(), value }
    }

    #[test]
    fn assignments_are_typed_by_what_they_look_like() {
        assert_eq!(parse("headroom=3"), Ok(setting("headroom", Value::Int(3))));
        assert_eq!(parse("delta=-3"), Ok(setting("delta", Value::Int(-3))));
        assert_eq!(parse("fast=true"), Ok(setting("fast", Value::Flag(true))));
        assert_eq!(parse("team=a=b"), Ok(setting("team", Value::Text("a=b".into()))));
        assert_eq!(parse("team="), Ok(setting("team", Value::Text(String::new()))));
        assert_eq!(
            parse("big=9223372036854775808"),
            Ok(setting("big", Value::Text("9223372036854775808".into())))
        );
    }

    #[test]
    fn assignments_without_a_key_or_a_sign_are_refused_by_name() {
        for wrong in ["headroom", "=3", ""] {
            let refused = parse(wrong).unwrap_err();
            assert!(refused.contains(&format!("`{wrong}`")) && refused.contains("KEY=VALUE"), "{refused}");
        }
    }

    #[test]
    fn tables_flatten_to_dotted_keys() {
        let table = toml::from_str("a = 1\nb = { c = true, d = [\"x\"] }").unwrap();
        let expected = [
            setting("a", Value::Int(1)),
            setting("b.c", Value::Flag(true)),
            setting("b.d.0", Value::Text("x".into())),
        ];
        assert_eq!(from_table(&table).unwrap(), expected);
    }

    #[test]
    fn floats_are_refused_with_what_would_be_right() {
        let table = toml::from_str("share = 0.25").unwrap();
        assert!(from_table(&table).unwrap_err().contains("smaller unit"));
    }

    #[test]
    fn later_settings_win() {
        let mut settings = vec![setting("a", Value::Int(1)), setting("b", Value::Int(2))];
        apply(&[setting("b", Value::Int(3)), setting("c", Value::Int(4))], &mut settings);
        assert_eq!(settings.iter().map(shown).collect::<Vec<_>>(), ["a = 1", "b = 3", "c = 4"]);
    }
}
