//! `enid-strategy`: `enid strategy` without the daemon, for machines that only write strategies, and for tests.

use std::process::ExitCode;

use clap::Parser;
use enid_strategy_tool::Author;

/// Start, build, test and distribute allocation strategies for enid.
#[derive(Debug, Parser)]
#[command(name = "enid-strategy", version)]
struct Cli {
    #[command(subcommand)]
    author: Author,
}

fn main() -> ExitCode {
    enid_strategy_tool::run(Cli::parse().author).unwrap_or_else(|error| {
        eprintln!("enid: {error:#}");
        ExitCode::FAILURE
    })
}
