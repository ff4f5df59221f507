//! Which values a setting takes, and how they become fields.

use std::fmt;

use super::Choice;
use crate::Value;

/// Which values a setting takes: what the schema says and the parser checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// True or false.
    Flag,
    /// A whole number.
    Integer {
        /// The least one.
        least: i64,
        /// The most, itself allowed.
        most: i64,
    },
    /// Text.
    Text {
        /// The most bytes that it has in UTF-8.
        max_bytes: usize,
    },
    /// One of some words.
    Words(&'static [&'static str]),
}

impl Allowed {
    /// Whether a value is one of these.
    pub(super) fn admits(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Flag, Value::Flag(_)) => true,
            (Self::Integer { least, most }, Value::Int(number)) => (least..=most).contains(&number),
            (Self::Text { max_bytes }, Value::Text(text)) => text.len() <= *max_bytes,
            (Self::Words(words), Value::Text(text)) => words.contains(&text.as_str()),
            (
                Self::Flag | Self::Integer { .. } | Self::Text { .. } | Self::Words(_),
                Value::Flag(_) | Value::Int(_) | Value::Text(_),
            ) => false,
        }
    }
}

/// As in "expected …".
impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("true or false"),
            Self::Integer { least, most } => write!(f, "an integer from {least} to {most}"),
            Self::Text { max_bytes } => write!(f, "text of at most {max_bytes} bytes"),
            Self::Words(words) => {
                for (index, word) in words.iter().enumerate() {
                    let between = match words.len() - index {
                        _ if index == 0 => "",
                        1 => " or ",
                        _ => ", ",
                    };
                    write!(f, "{between}`{word}`")?;
                }
                Ok(())
            }
        }
    }
}

/// A type that a setting can have.
pub trait SettingType: Sized {
    /// The value as this type; `None` when it cannot be.
    fn from_value(value: &Value) -> Option<Self>;
    /// The value that it is, for the schema's default; `None` when it is unset.
    fn to_value(&self) -> Option<Value>;
}

macro_rules! integer {
    ($($ty:ty),*) => {$(
        impl SettingType for $ty {
            fn from_value(value: &Value) -> Option<Self> {
                match value {
                    Value::Int(number) => <$ty>::try_from(*number).ok(),
                    Value::Flag(_) | Value::Text(_) => None,
                }
            }

            fn to_value(&self) -> Option<Value> {
                i64::try_from(*self).ok().map(Value::Int)
            }
        }
    )*};
}
integer!(u32, u64, i64);

impl SettingType for bool {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Flag(flag) => Some(*flag),
            Value::Int(_) | Value::Text(_) => None,
        }
    }

    fn to_value(&self) -> Option<Value> {
        Some(Value::Flag(*self))
    }
}

impl SettingType for String {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Text(text) => Some(text.clone()),
            Value::Flag(_) | Value::Int(_) => None,
        }
    }

    fn to_value(&self) -> Option<Value> {
        Some(Value::Text(self.clone()))
    }
}

impl<C: Choice> SettingType for C {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Text(text) => C::from_word(text),
            Value::Flag(_) | Value::Int(_) => None,
        }
    }

    fn to_value(&self) -> Option<Value> {
        Some(Value::Text(self.word().to_owned()))
    }
}

/// A setting that may be left out and then means something of its own.
impl<T: SettingType> SettingType for Option<T> {
    fn from_value(value: &Value) -> Option<Self> {
        T::from_value(value).map(Some)
    }

    fn to_value(&self) -> Option<Value> {
        self.as_ref().and_then(T::to_value)
    }
}

/// The place of a setting's value, of whatever type.
pub trait Slot {
    /// Takes the value, and says whether it could.
    fn put(&mut self, value: &Value) -> bool;
    /// The value that is there; `None` when it is unset.
    fn value(&self) -> Option<Value>;
}

impl<T: SettingType> Slot for T {
    fn put(&mut self, value: &Value) -> bool {
        T::from_value(value).map(|value| *self = value).is_some()
    }

    fn value(&self) -> Option<Value> {
        self.to_value()
    }
}
