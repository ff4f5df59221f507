//! The JSON Schema of settings, in the words that `wit/README.md` promises and no others.

use std::fmt::Write as _;

use super::{Allowed, Field};
use crate::Value;

/// The schema of these settings, whose values are the defaults.
pub(super) fn of(fields: &[Field<'_>]) -> String {
    let mut out = String::from(r#"{"type":"object","additionalProperties":false,"properties":{"#);
    for (index, field) in fields.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        quote(&mut out, &field.key);
        out.push_str(":{");
        allowed(&mut out, field.allowed);
        if let Some(default) = field.slot.value() {
            out.push_str(r#","default":"#);
            json(&mut out, &default);
        }
        out.push_str(r#","description":"#);
        quote(&mut out, field.about);
        out.push('}');
    }
    out.push_str("}}");
    out
}

fn allowed(out: &mut String, allowed: Allowed) {
    match allowed {
        Allowed::Flag => out.push_str(r#""type":"boolean""#),
        Allowed::Integer { least, most } => {
            put(out, format_args!(r#""type":"integer","minimum":{least},"maximum":{most}"#));
        }
        // The schema counts characters: a text of so many bytes has at most as many.
        Allowed::Text { max_bytes } => put(out, format_args!(r#""type":"string","maxLength":{max_bytes}"#)),
        Allowed::Words(words) => {
            out.push_str(r#""type":"string","enum":["#);
            for (index, word) in words.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                quote(out, word);
            }
            out.push(']');
        }
    }
}

fn json(out: &mut String, value: &Value) {
    match value {
        Value::Flag(flag) => put(out, format_args!("{flag}")),
        Value::Int(number) => put(out, format_args!("{number}")),
        Value::Text(text) => quote(out, text),
    }
}

fn quote(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => put(out, format_args!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = out.write_fmt(text);
}
