//! What the demo shows and what it found: progress as it happens, every check with its outcome.

use std::fmt;
use std::time::{Duration, Instant};

/// What was expected and what was seen instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    what: String,
    expected: String,
    seen: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n       expected: {}\n       seen:     {}", self.what, self.expected, self.seen)
    }
}

/// The demo's record of itself, printed as it grows.
#[derive(Debug)]
pub(super) struct Ledger {
    begun: Instant,
    passed: usize,
    failures: Vec<Failure>,
}

impl Ledger {
    /// An empty record; the clock starts.
    pub(super) fn begin() -> Self {
        Self { begun: Instant::now(), passed: 0, failures: Vec::new() }
    }

    /// Announces what comes next.
    pub(super) fn act(&self, title: &str) {
        println!("\n[{:>5.1} s] {title}", self.elapsed().as_secs_f64());
    }

    /// Says something about the present act.
    pub(super) fn note(&self, text: impl fmt::Display) {
        for line in text.to_string().lines() {
            println!("          {line}");
        }
    }

    /// Records a check: `Ok` says what was seen and passes, `Err` says what was seen instead.
    pub(super) fn check(&mut self, what: &str, expected: &str, outcome: Result<String, String>) -> bool {
        match outcome {
            Ok(seen) => {
                self.passed += 1;
                println!("     ok   {what}: {seen}");
                true
            }
            Err(seen) => {
                let failure = Failure {
                    what: what.to_owned(),
                    expected: expected.to_owned(),
                    seen: seen.replace('\n', "; "),
                };
                println!("   FAIL   {failure}");
                self.failures.push(failure);
                false
            }
        }
    }

    /// Records a check of equality.
    pub(super) fn check_equal<T: PartialEq + fmt::Display>(
        &mut self,
        what: &str,
        expected: &T,
        seen: &T,
    ) -> bool {
        let outcome = if expected == seen { Ok(seen.to_string()) } else { Err(seen.to_string()) };
        self.check(what, &expected.to_string(), outcome)
    }

    /// How long it has been running.
    pub(super) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Says how it went; whether every check passed.
    pub(super) fn close(self) -> bool {
        let secs = self.elapsed().as_secs_f64();
        println!("\n{} checks passed, {} failed, {secs:.1} s", self.passed, self.failures.len());
        for failure in &self.failures {
            println!("FAILED {failure}");
        }
        self.failures.is_empty() && self.passed > 0
    }
}

/// A table with columns as wide as they need to be.
pub(super) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = header
        .iter()
        .enumerate()
        .map(|(column, title)| {
            let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            cells.chain([title.chars().count()]).max().unwrap_or(0)
        })
        .collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> =
            cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}", width = *width)).collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(&mut header.iter().copied())];
    lines.extend(rows.iter().map(|row| line(&mut row.iter().map(String::as_str))));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_without_checks_did_not_pass() {
        assert!(!Ledger::begin().close());
    }

    #[test]
    fn one_failure_fails_the_record() {
        let mut ledger = Ledger::begin();
        ledger.check("a", "1", Ok("1".to_owned()));
        ledger.check_equal("b", &1, &2);
        assert!(!ledger.close());
    }

    #[test]
    fn columns_line_up() {
        let rows = vec![vec!["a".to_owned(), "10.0.0.1".to_owned()], vec!["long".to_owned(), "x".to_owned()]];
        assert_eq!(table(&["pod", "IP"], &rows), "pod   IP\na     10.0.0.1\nlong  x");
    }
}
