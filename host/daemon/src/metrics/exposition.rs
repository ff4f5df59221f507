//! The text formats that readers of metrics take.

use std::collections::BTreeMap;

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::registry::Registry;

/// A text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// OpenMetrics 1.0.0.
    OpenMetrics,
    /// Prometheus' own, 0.0.4, which everything reads.
    Classic,
}

impl Format {
    /// What a reader with this `Accept` header gets.
    pub(crate) fn accepted(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Format::OpenMetrics } else { Format::Classic }
    }

    /// How it is called.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::Classic => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// What all `registries` hold.
pub(super) fn text(registries: &[&Registry], format: Format) -> String {
    let mut text = String::new();
    let mut written = registries.iter().try_for_each(|registry| encode_registry(&mut text, registry));
    written = written.and_then(|()| encode_eof(&mut text));
    written.expect("invariant: writing to memory does not fail");
    match format {
        Format::OpenMetrics => text,
        Format::Classic => classic(&text),
    }
}

/// The same in the older format: a counter is called there as its values are, units are no lines of their own, and
/// there is no end.
fn classic(text: &str) -> String {
    let kinds: BTreeMap<&str, &str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let mut classic = String::with_capacity(text.len());
    for line in text.lines() {
        let about = line.strip_prefix("# HELP ").or_else(|| line.strip_prefix("# TYPE "));
        match about.and_then(|about| about.split_once(' ')) {
            Some((name, rest)) => {
                let total = if kinds.get(name) == Some(&"counter") { "_total" } else { "" };
                classic.push_str(&format!("{}{name}{total} {rest}\n", &line[..7]));
            }
            None if line.starts_with("# ") => {}
            None => classic.extend([line, "\n"]),
        }
    }
    classic
}
