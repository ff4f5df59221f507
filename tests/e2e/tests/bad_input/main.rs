//! Bad input: one line that says what and how to mend it, a documented code, and nothing half-done.
//!
//! Codes of commands are those under `enid --help`; codes of CNI calls are `enid_protocol::cni::code::Code`'s.
//!
//! Map: `settings` the file and what it names · `surroundings` metadata, EC2, socket, directory, journal ·
//! `commands` arguments and privileges · `calls` what runtimes and strangers send.
#![expect(clippy::unwrap_used, reason = "a test that cannot arrange its world fails")]

mod calls;
mod commands;
mod settings;
mod surroundings;

use std::collections::BTreeSet;

use e2e::daemon::Daemon;
use e2e::node::Node;
use e2e::settings::Settings;

/// Exit codes, as `enid --help` lists them.
const ARGUMENTS: i32 = 2;
const UNAVAILABLE: i32 = 69;
const IN_USE: i32 = 73;
const NOT_PERMITTED: i32 = 77;
const SETTINGS: i32 = 78;

/// Where the lab's EC2 and metadata answer.
const EC2: &str = "10.0.0.2";
const IMDS: &str = "169.254.169.254";

/// A node on which nothing was started yet, and what its kernel looks like.
struct Untouched {
    node: Node,
    before: BTreeSet<String>,
}

impl Untouched {
    fn new(node: Node) -> Self {
        let before = node.kernel().picture();
        Self { node, before }
    }

    /// A start that ends with one line of `code`, and leaves neither a socket nor anything in the kernel.
    #[track_caller]
    fn refuses(&self, code: i32) -> String {
        let said = self.node.run_to_end().complaint(code);
        self.is_untouched();
        said
    }

    #[track_caller]
    fn is_untouched(&self) {
        assert!(!self.node.socket().exists(), "a socket was left");
        assert_eq!(self.node.kernel().picture(), self.before);
    }

    /// What was refused does not stand in the way of the next start.
    fn starts_with(&self, settings: &Settings) -> Daemon {
        self.node.configure(settings);
        let daemon = self.node.start();
        daemon.wait_until_ready();
        daemon
    }
}

#[track_caller]
fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in `{text}`");
    }
}
