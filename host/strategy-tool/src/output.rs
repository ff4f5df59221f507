//! What commands print: for people, or one JSON document for scripts.

use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;

use crate::failure::Failure;

/// How a command prints its result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people
    #[default]
    Text,
    /// One JSON document
    Json,
}

/// Prints one JSON document, indented.
pub(crate) fn print_json(document: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(document).map_err(Failure::failed)?;
    println!("{text}");
    Ok(())
}

/// Two columns; the first is as wide as its widest word.
#[derive(Debug, Default)]
pub(crate) struct Sheet {
    rows: Vec<(String, String)>,
}

impl Sheet {
    pub(crate) fn row(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.rows.push((name.into(), value.into()));
    }

    pub(crate) fn print(&self) {
        print!("{}", self.render());
    }

    fn render(&self) -> String {
        let width = self.rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        let line = |(name, value): &(String, String)| format!("{name:<width$}  {value}");
        self.rows.iter().map(|row| line(row).trim_end().to_owned() + "\n").collect()
    }
}

/// A number as `enid.toml` would have it: `50_000_000`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            out.push('_');
        }
        out.push(digit);
    }
    out
}

/// `n thing` or `n things`.
pub(crate) fn counted(count: usize, thing: &str) -> String {
    if count == 1 { format!("1 {thing}") } else { format!("{count} {thing}s") }
}

/// Bytes, exactly where that is short and in KiB or MiB where it is not.
pub(crate) fn bytes(count: u64) -> String {
    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;
    match count {
        0..10_240 => format!("{count} bytes"),
        10_240..MIB => format!("{} KiB", count.div_ceil(KIB)),
        MIB.. => {
            let tenths = (u128::from(count) * 10).div_ceil(u128::from(MIB));
            format!("{}.{} MiB", tenths / 10, tenths % 10)
        }
    }
}

/// Milliseconds with one decimal.
pub(crate) fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

/// Whole microseconds.
pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// A size as a number for JSON and limits.
pub(crate) fn wide(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_as_settings_files_write_them() {
        assert_eq!([0, 999, 1_000, 50_000_000].map(grouped), ["0", "999", "1_000", "50_000_000"]);
    }

    #[test]
    fn sizes_are_never_shown_smaller_than_they_are() {
        assert_eq!(bytes(10_239), "10239 bytes");
        assert_eq!(bytes(51_742), "51 KiB");
        assert_eq!(bytes((4 << 20) + 1), "4.1 MiB");
        assert_eq!(bytes(16 << 20), "16.0 MiB");
    }

    #[test]
    fn columns_align() {
        let mut sheet = Sheet::default();
        sheet.row("fuel", "1");
        sheet.row("next check", "");
        assert_eq!(sheet.render(), "fuel        1\nnext check\n");
    }
}
