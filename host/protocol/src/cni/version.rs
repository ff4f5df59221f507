//! The CNI spec versions that enid speaks.

use std::fmt;

use serde_json::{Value, json};

use super::call::Verb;

/// A version of the CNI specification, in order of release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CniVersion {
    /// 0.3.1: results with `ips[].version`.
    V0_3_1,
    /// 0.4.0: CHECK.
    V0_4_0,
    /// 1.0.0: no `ips[].version`.
    V1_0_0,
    /// 1.1.0: STATUS, GC, MTUs and scopes in results.
    V1_1_0,
}

impl CniVersion {
    /// All, oldest first.
    pub const ALL: [CniVersion; 4] =
        [CniVersion::V0_3_1, CniVersion::V0_4_0, CniVersion::V1_0_0, CniVersion::V1_1_0];
    /// The newest: used where a call names none, as in errors about unreadable input.
    pub const CURRENT: CniVersion = CniVersion::V1_1_0;
    /// What a configuration without `cniVersion` means (a convention of the CNI libraries).
    pub const WHEN_ABSENT: &str = "0.1.0";

    /// The version of that spelling, if it is spoken.
    pub fn parse(text: &str) -> Option<CniVersion> {
        CniVersion::ALL.into_iter().find(|version| version.as_str() == text)
    }

    /// As spelled in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            CniVersion::V0_3_1 => "0.3.1",
            CniVersion::V0_4_0 => "0.4.0",
            CniVersion::V1_0_0 => "1.0.0",
            CniVersion::V1_1_0 => "1.1.0",
        }
    }

    /// Whether this version has the verb at all.
    pub fn has(self, verb: Verb) -> bool {
        match verb {
            Verb::Add | Verb::Del | Verb::Version => true,
            Verb::Check => self >= CniVersion::V0_4_0,
            Verb::Gc | Verb::Status => self >= CniVersion::V1_1_0,
        }
    }
}

impl fmt::Display for CniVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The answer to VERSION. `stdin` may be anything: its `cniVersion` is echoed when it has one.
pub fn version_document(stdin: &[u8]) -> Value {
    let asked = serde_json::from_slice::<Value>(stdin).ok();
    let asked = asked.as_ref().and_then(|config| config.get("cniVersion")).and_then(Value::as_str);
    let plausible = |text: &&str| {
        !text.is_empty() && text.len() <= 20 && text.bytes().all(|b| b.is_ascii_digit() || b == b'.')
    };
    json!({
        "cniVersion": asked.filter(plausible).unwrap_or(CniVersion::CURRENT.as_str()),
        "supportedVersions": CniVersion::ALL.map(CniVersion::as_str),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_answers_whatever_stdin_holds() {
        for (stdin, echoed) in [
            (&b""[..], "1.1.0"),
            (b"\xff\x00", "1.1.0"),
            (b"[1]", "1.1.0"),
            (br#"{"cniVersion":7}"#, "1.1.0"),
            (br#"{"cniVersion":"0.4.0"}"#, "0.4.0"),
            (br#"{"cniVersion":"9.9.9"}"#, "9.9.9"),
            (br#"{"cniVersion":"x\ny"}"#, "1.1.0"),
        ] {
            let answer = version_document(stdin);
            assert_eq!(answer["cniVersion"], echoed, "{stdin:?}");
            assert_eq!(answer["supportedVersions"], json!(["0.3.1", "0.4.0", "1.0.0", "1.1.0"]));
        }
    }

    #[test]
    fn verbs_belong_to_the_versions_that_introduced_them() {
        let having = |verb| CniVersion::ALL.into_iter().filter(|v| v.has(verb)).count();
        assert_eq!(
            (having(Verb::Add), having(Verb::Check), having(Verb::Status), having(Verb::Gc)),
            (4, 3, 1, 1)
        );
    }
}
