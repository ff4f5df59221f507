//! What a failed call prints (spec 1.1.0, "Error").

use std::fmt;

use serde_json::{Value, json};

use super::code::Code;
use super::version::CniVersion;
use crate::message::Failed;

/// Longest `msg` and `details`: runtimes copy them into events and logs.
const MAX_TEXT: usize = 2000;

/// A failed CNI call: one code, one line, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CniError {
    /// A number of [`Code`], or one that a newer daemon sent.
    pub code: u32,
    /// One line: what failed, on what.
    pub message: String,
    /// The reason in full, and how to mend it.
    pub details: String,
}

impl CniError {
    /// A failure with a code of this version.
    pub fn new(code: Code, message: impl Into<String>, details: impl Into<String>) -> CniError {
        CniError { code: code.number(), message: message.into(), details: details.into() }
    }

    /// The document for stdout.
    pub fn document(&self, version: CniVersion) -> Value {
        let mut document =
            json!({ "cniVersion": version.as_str(), "code": self.code, "msg": one_line(&self.message) });
        if !self.details.is_empty() {
            document["details"] = Value::String(one_line(&self.details));
        }
        document
    }
}

impl From<Failed> for CniError {
    fn from(failed: Failed) -> CniError {
        CniError { code: failed.code, message: failed.message, details: failed.details }
    }
}

impl fmt::Display for CniError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (code {})", self.message, self.code)
    }
}

impl std::error::Error for CniError {}

fn one_line(text: &str) -> String {
    text.chars().take(MAX_TEXT).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_one_line_and_bounded() {
        let error = CniError::new(Code::Kernel, "add route\n10.0.0.7/32", "x".repeat(10_000));
        let document = error.document(CniVersion::V1_0_0);
        assert_eq!(document["msg"], "add route 10.0.0.7/32");
        assert_eq!(document["code"], 105);
        assert_eq!(document["cniVersion"], "1.0.0");
        assert_eq!(document["details"].as_str().map(str::len), Some(MAX_TEXT));
        let bare = CniError::new(Code::Io, "m", "").document(CniVersion::CURRENT);
        assert!(bare.get("details").is_none());
    }
}
