//! `enid status`: one screen about the node, once or again and again.

mod screen;

use std::io::{IsTerminal, Write};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use enid_protocol::message::Request;
use serde_json::Value;

use crate::ask::{How, Output, ask};
use crate::failure::Failure;

pub(crate) use screen::screen;

/// How often `--watch` looks.
const EVERY: Duration = Duration::from_secs(1);
/// To the upper left corner.
const HOME: &str = "\x1b[H";
/// Everything from here on is gone, on this line or on all that follow.
const REST_OF_LINE: &str = "\x1b[K";
const REST_OF_SCREEN: &str = "\x1b[J";

/// `enid status`.
#[derive(Debug, Args)]
pub(crate) struct StatusQuery {
    #[command(flatten)]
    how: How,
    /// Show it again every second, until Ctrl-C, or where it does not go to a terminal until the daemon does not answer;
    /// with --output json, one document a line
    #[arg(long)]
    watch: bool,
}

impl StatusQuery {
    /// Prints it.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let report = ask(self.how.socket(), &Request::Status)?;
        match (self.how.output(), self.watch) {
            (Output::Json, false) => println!("{report:#}"),
            (Output::Text, false) => print!("{}", text(&screen(&report))),
            (Output::Json, true) => self.repeat(report, |report| println!("{report}"))?,
            (Output::Text, true) if std::io::stdout().is_terminal() => self.repaint(&report)?,
            (Output::Text, true) => self.repeat(report, |report| println!("{}", text(&screen(&report))))?,
        }
        Ok(())
    }

    /// One report after the other, as long as the daemon answers.
    fn repeat(&self, first: Value, print: impl Fn(Value)) -> Result<(), Failure> {
        print(first);
        loop {
            std::thread::park_timeout(EVERY);
            print(ask(self.how.socket(), &Request::Status)?);
        }
    }

    /// One report in the place of the other. A daemon that is away may come back: that is said, and looked for.
    fn repaint(&self, first: &Value) -> Result<(), Failure> {
        let mut shown = screen(first);
        print!("{HOME}{REST_OF_SCREEN}");
        loop {
            // In one go and over what is there, so that nothing flickers.
            let lines = shown.iter().map(|line| format!("{line}{REST_OF_LINE}\n"));
            print!("{HOME}{}{REST_OF_SCREEN}", lines.collect::<String>());
            std::io::stdout().flush().context("write to the terminal")?;
            std::thread::park_timeout(EVERY);
            shown = match ask(self.how.socket(), &Request::Status) {
                Ok(report) => screen(&report),
                Err(away) => vec![away.to_string()],
            };
        }
    }
}

fn text(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}
