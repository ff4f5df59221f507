//! `enid diff`: what differs between the journal, the kernel and EC2.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use enid_protocol::message::{Reply, Request};
use serde_json::Value;

use crate::ask::{How, Output, exchange, text};
use crate::failure::Failure;

/// How long the daemon may take: it asks EC2, which may take its time or be asked no more than every so often.
const PATIENCE: Duration = Duration::from_secs(60);
/// The exit code when they differ.
const DIFFERENT: u8 = 1;
/// The exit code when nobody knows, as with diff(1).
const UNSEEN: u8 = 2;

/// `enid diff`.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 when all agree, 1 when something differs, 2 when something could not be looked at; others as for every command.
What is under way differs for a moment: what stays is a difference.")]
pub(crate) struct Diff {
    #[command(flatten)]
    how: How,
}

impl Diff {
    /// Prints the differences.
    pub(crate) fn run(&self) -> Result<ExitCode, Failure> {
        let differences = match exchange(self.how.socket(), &Request::Diff, PATIENCE)? {
            Reply::Report(Value::Array(differences)) => differences,
            Reply::Failed(failed) => {
                return Err(Failure::coded(UNSEEN, anyhow!("{} (code {})", failed.message, failed.code)));
            }
            Reply::Report(_)
            | Reply::Added(_)
            | Reply::AddedInterfaces(_)
            | Reply::Checked
            | Reply::Done
            | Reply::Hello { .. } => {
                return Err(Failure::coded(
                    UNSEEN,
                    anyhow!("the daemon answered something else than a list"),
                ));
            }
        };
        let text = match self.how.output() {
            Output::Json => format!("{:#}\n", Value::from(differences.clone())),
            Output::Text => table(&differences),
        };
        // Whoever reads no more than the first lines is told the same by the exit code.
        match std::io::stdout().write_all(text.as_bytes()) {
            Err(why) if why.kind() != io::ErrorKind::BrokenPipe => {
                return Err(Failure::coded(UNSEEN, anyhow!("write the differences: {why}")));
            }
            Ok(()) | Err(_) => {}
        }
        Ok(if differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(DIFFERENT) })
    }
}

/// A line for each, under what the columns are; nothing for none.
fn table(differences: &[Value]) -> String {
    if differences.is_empty() {
        return String::new();
    }
    let heads = [["what", "journal", "kernel or EC2"].map(str::to_owned)];
    let rows = differences.iter().map(|one| ["of", "journal", "others"].map(|key| text(one, key).to_owned()));
    let rows: Vec<[String; 3]> = heads.into_iter().chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let (first, second) = (width(0), width(1));
    rows.iter().map(|[of, journal, others]| format!("{of:<first$}  {journal:<second$}  {others}\n")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_is_in_them_and_agreement_is_silent() {
        let found = [
            json!({ "of": "address 10.0.1.7", "journal": "bound", "others": "EC2 does not list it" }),
            json!({ "of": "node", "journal": "set up", "others": "no mark rule" }),
        ];
        assert_eq!(
            table(&found),
            "what              journal  kernel or EC2\n\
             address 10.0.1.7  bound    EC2 does not list it\n\
             node              set up   no mark rule\n"
        );
        assert_eq!(table(&[]), "");
    }
}
