//! Why there was no answer of the daemon's: the plugin's own causes, by names that programs may rely on.

use serde_json::json;

use super::code::Code;

/// What kept a call from the daemon, or its answer from the plugin. Its name is the `reason` in the error's details;
/// the daemon's own reasons, which have other names, pass through as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Nobody listens on the socket.
    DaemonAway,
    /// The connection ended before the reply did.
    DaemonBrokeOff,
    /// The reply is none, or answers something else.
    DaemonGarbled,
    /// No reply came in time.
    DaemonLate,
    /// This user may not use the socket.
    Forbidden,
    /// The request does not fit a frame.
    RequestTooLarge,
    /// The socket failed in another way.
    SocketBroken,
    /// As many DELs wait as may.
    SpoolFull,
    /// Another process kept the spool for too long.
    SpoolLocked,
    /// The file system refuses to keep a DEL.
    SpoolUnusable,
}

impl Reason {
    /// All of them, by name.
    pub const ALL: [Reason; 10] = [
        Reason::DaemonAway,
        Reason::DaemonBrokeOff,
        Reason::DaemonGarbled,
        Reason::DaemonLate,
        Reason::Forbidden,
        Reason::RequestTooLarge,
        Reason::SocketBroken,
        Reason::SpoolFull,
        Reason::SpoolLocked,
        Reason::SpoolUnusable,
    ];

    /// Its name, which never changes.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::DaemonAway => "daemon-away",
            Reason::DaemonBrokeOff => "daemon-broke-off",
            Reason::DaemonGarbled => "daemon-garbled",
            Reason::DaemonLate => "daemon-late",
            Reason::Forbidden => "forbidden",
            Reason::RequestTooLarge => "request-too-large",
            Reason::SocketBroken => "socket-broken",
            Reason::SpoolFull => "spool-full",
            Reason::SpoolLocked => "spool-locked",
            Reason::SpoolUnusable => "spool-unusable",
        }
    }

    /// The one code that it has in every verb but STATUS, where all of them mean [`Code::Unavailable`].
    pub fn code(self) -> Code {
        match self {
            Reason::DaemonAway | Reason::DaemonBrokeOff | Reason::DaemonLate | Reason::SpoolLocked => {
                Code::TryAgainLater
            }
            Reason::DaemonGarbled => Code::Protocol,
            Reason::Forbidden => Code::Forbidden,
            Reason::RequestTooLarge => Code::InvalidConfig,
            Reason::SocketBroken | Reason::SpoolUnusable => Code::Io,
            Reason::SpoolFull => Code::SpoolFull,
        }
    }

    /// What a person may do about it.
    pub fn hint(self) -> &'static str {
        match self {
            Reason::DaemonAway | Reason::DaemonBrokeOff => {
                "is enid running on this node? See its pod's log, and `enid status`"
            }
            Reason::DaemonGarbled => "is `socket` in the conflist really enid's?",
            Reason::DaemonLate => "enid is slow or hangs: see its pod's log, and `enid status`",
            Reason::Forbidden => {
                "the plugin must run as root or as the daemon's own user, in the daemon's network namespace"
            }
            Reason::RequestTooLarge => "shorten what the runtime passes",
            Reason::SocketBroken => "see `socket` in the conflist",
            Reason::SpoolFull | Reason::SpoolLocked => "start enid on this node: it empties the spool",
            Reason::SpoolUnusable => "make room on its file system, or name another `spool` in the conflist",
        }
    }

    /// The `details` of an error: a JSON object on one line.
    pub fn details(self) -> String {
        json!({ "reason": self.as_str(), "hint": self.hint() }).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words_in_order_and_details_are_objects() {
        for pair in Reason::ALL.windows(2) {
            assert!(pair[0].as_str() < pair[1].as_str(), "{pair:?}");
        }
        for reason in Reason::ALL {
            let name = reason.as_str();
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{name}");
            let details: serde_json::Value = serde_json::from_str(&reason.details()).unwrap();
            assert_eq!((&details["reason"], &details["hint"]), (&json!(name), &json!(reason.hint())));
        }
    }
}
