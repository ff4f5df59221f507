//! What a failed call prints (spec 1.1.0, "Error").

use std::fmt;

use serde_json::{Value, json};

use super::code::Code;
use super::reason::Reason;
use super::version::CniVersion;
use crate::message::Failed;

/// Longest `msg`: runtimes copy it into events and logs.
const MAX_MESSAGE: usize = 2000;
/// Longest `details`, several times what any reason of the daemon's takes: programs read them, and half a JSON object
/// says nothing.
const MAX_DETAILS: usize = 8000;

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

    /// A failure for one of the plugin's own reasons.
    pub fn because(reason: Reason, message: impl Into<String>) -> CniError {
        CniError::new(reason.code(), message, reason.details())
    }

    /// The document for stdout.
    pub fn document(&self, version: CniVersion) -> Value {
        let message = one_line(&self.message, MAX_MESSAGE);
        let mut document = json!({ "cniVersion": version.as_str(), "code": self.code, "msg": message });
        if !self.details.is_empty() {
            document["details"] = Value::String(one_line(&self.details, MAX_DETAILS));
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

fn one_line(text: &str, longest: usize) -> String {
    text.chars().take(longest).map(|c| if c.is_control() { ' ' } else { c }).collect()
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
        assert_eq!(document["details"].as_str().map(str::len), Some(MAX_DETAILS));
        let bare = CniError::new(Code::Io, "m", "").document(CniVersion::CURRENT);
        assert!(bare.get("details").is_none());
    }
}
