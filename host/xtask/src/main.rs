//! The repo's own commands, `cargo xtask …`: set-up, builds, demo, tests, CI, measurements, generated files.
//!
//! It calls cargo, rustup and apt; it never decides anything about the product, and it stays light so that
//! the first command in a fresh clone answers within seconds.
//!
//! - [`workspace`]: where things are, how cargo is called
//! - [`setup`]: what the machine needs
//! - [`artifacts`]: strategies, plugin and daemon in release; [`strategies`]: components;
//!   [`guests`]: components in other languages
//! - [`tiers`]: tests; [`ci`]: all checks; [`bench`]: figures against baselines of the same run
//! - [`gen_instance_types`]: the table of instance limits

mod artifacts;
mod bench;
mod ci;
pub mod gen_instance_types;
mod guests;
mod setup;
pub mod strategies;
mod tiers;
mod workspace;

use std::env;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};

use setup::Scope;
use tiers::Required;
use workspace::Workspace;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "enid's own commands", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what building and testing need; quick when nothing is missing
    Setup,
    /// Build the shipped strategies into target/release/strategies
    Strategies,
    /// Build the test strategies in C, JavaScript and Python into target/release/guests
    Guests,
    /// Set up, build in release and run `enid demo`
    Demo {
        /// Passed on to `enid demo`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Set up, build and run all tiers of tests, or those named
    Test {
        /// Tiers: tidy, unit, documentation, simulation, guests, datapath, e2e, demo, bench
        tiers: Vec<String>,
        /// A tier that cannot run here is a failure (also with CI=true)
        #[arg(long)]
        require_all: bool,
    },
    /// Formatting, lints, licences, and every tier of tests
    Ci,
    /// Measure against baselines taken in the same run
    Bench(bench::Options),
    /// Renew the table of instance limits from a package that ships EC2's own answers
    GenInstanceTypes,
}

fn main() -> ExitCode {
    match run(Arguments::parse().task) {
        Ok(code) => code,
        Err(why) => {
            eprintln!("error: {why:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    match task {
        Task::Setup => {
            setup::run_setup(&workspace, Scope::Tests)?;
            if let Some(to_type) = guests::install_toolchains()? {
                bail!("something is missing that xtask may not install itself; type:\n  {to_type}");
            }
            println!("nothing is missing");
        }
        Task::Strategies => {
            setup::run_setup(&workspace, Scope::Build)?;
            artifacts::build_strategies(&workspace)?;
        }
        Task::Guests => {
            if let Some(to_type) = guests::install_toolchains()? {
                bail!("a toolchain is missing that xtask may not install itself; type:\n  {to_type}");
            }
            guests::build(&workspace, Required::All)?;
        }
        Task::Demo { arguments } => return demo(&workspace, &arguments),
        Task::Test { tiers, require_all } => {
            let in_ci = env::var_os("CI").is_some_and(|ci| ci == "true");
            let required = if require_all || in_ci { Required::All } else { Required::Possible };
            return tiers::test(&workspace, &tiers, required);
        }
        Task::Ci => return ci::check(&workspace),
        Task::Bench(options) => return bench::measure(&workspace, &options),
        Task::GenInstanceTypes => gen_instance_types::run(&workspace.root)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Becomes `enid demo`, so that signals and the exit code are its own.
fn demo(workspace: &Workspace, arguments: &[String]) -> Result<ExitCode> {
    setup::run_setup(workspace, Scope::of_this_user())?;
    artifacts::build(workspace)?;
    let daemon = workspace.daemon();
    let failed = Command::new(&daemon).arg("demo").args(arguments).exec();
    Err(failed).with_context(|| format!("start {}", daemon.display()))
}
