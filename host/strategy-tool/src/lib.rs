//! `enid strategy …`: what authors of strategies type.
//!
//! Starts, builds, tests, measures, signs and distributes components. What it says about a component comes from
//! the daemon's own crates: the same sandbox, the same admission of components and of answers. It never talks
//! to a node, and decides nothing for one.
//!
//! Results go to standard output, for people or as JSON; messages go to standard error, one line for each.
//!
//! * `command`: one module for each command. `subject`: a component that runs. `verdict`: what a node makes of
//!   an answer. `interface`: what a component imports and exports. `snippet`: what goes into `enid.toml`.
//! * `case_file`, `expectation`: tests in TOML. `assignment`: settings. `allowance`: limits. `chance`: seeds.
//! * `output`: printing. `failure`: exit codes.
#![forbid(unsafe_code)]

mod allowance;
mod assignment;
mod case_file;
mod chance;
mod command;
mod expectation;
mod failure;
mod interface;
mod output;
mod snippet;
mod subject;
mod verdict;

use std::process::ExitCode;

use clap::Subcommand;

use failure::Failure;

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Author {
    /// Start a strategy: a folder that builds and passes its own tests
    New(command::new::New),
    /// Build a folder into a component
    Build(command::build::Build),
    /// Test a strategy: its native tests, and its cases in tests.toml against the component
    Test(command::test::Test),
    /// Ask a component for one decision
    Decide(command::decide::Decide),
    /// What a component is, and whether a node would let it in
    Inspect(command::inspect::Inspect),
    /// What decisions cost, against the limits and against another component
    Bench(command::bench::Bench),
    /// Ask made-up questions with made-up settings until something breaks
    Fuzz(command::fuzz::Fuzz),
    /// Ask recorded questions again
    Replay(command::replay::Replay),
    /// Free a component of the WASI imports that no node satisfies
    Adapt(command::adapt::Adapt),
    /// What files are called in settings
    Digest(command::digest::Digest),
    /// Make a key that signs components
    Keygen(command::signing::Keygen),
    /// Sign a component
    Sign(command::signing::Sign),
    /// Put a component, with its signature, into an OCI registry
    Push(command::push::Push),
    /// Get a component from an OCI registry
    Pull(command::pull::Pull),
}

/// Performs a command.
///
/// An error is the component's failure and means exit code 1; wrong input and missing tools have codes of their
/// own and are told on standard error here.
pub fn run(author: Author) -> anyhow::Result<ExitCode> {
    let done = match author {
        Author::New(command) => command.run(),
        Author::Build(command) => command.run(),
        Author::Test(command) => command.run(),
        Author::Decide(command) => command.run(),
        Author::Inspect(command) => command.run(),
        Author::Bench(command) => command.run(),
        Author::Fuzz(command) => command.run(),
        Author::Replay(command) => command.run(),
        Author::Adapt(command) => command.run(),
        Author::Digest(command) => command.run(),
        Author::Keygen(command) => command.run(),
        Author::Sign(command) => command.run(),
        Author::Push(command) => command.run(),
        Author::Pull(command) => command.run(),
    };
    done.or_else(|failure| match failure.code {
        Failure::FAILED => Err(failure.into_error()),
        code => {
            eprintln!("enid: {failure}");
            Ok(ExitCode::from(code))
        }
    })
}
