//! `enid`: the daemon and its command line. The composition root: only here do adapters meet.
//!
//! Never decides about addresses: that is [`enid_core`]. Map: `run` (the daemon), `server` (its socket), `peer` (whom it
//! serves), `confinement` (what it may do), `observe` and `metrics` (what is seen over HTTP), `overview` (the strategies
//! in force), `reload` (settings and components that change), `settings`, `environment` (the incumbent's variables),
//! `strategies`; `ask` (explain), `status_command`, `diff_command`, `support_bundle`, `strategy_command` (strategy),
//! `capacity` (max-pods, plan), `config_command` (config), `lab_command` and `demo` (a VPC on this machine), `failure`
//! (exit codes).

mod ask;
mod capacity;
mod config_command;
mod confinement;
mod demo;
mod diff_command;
mod environment;
mod failure;
mod lab_command;
mod membership;
mod metrics;
mod observe;
mod overview;
mod peer;
mod places;
mod reload;
mod run;
mod server;
pub mod settings;
mod status_command;
mod strategies;
mod strategy_command;
mod support_bundle;

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use enid_policy_wasm::{Kind, PolicyConfig};
use tracing_subscriber::EnvFilter;

use failure::{EXIT_CODES, Failure};

/// Real VPC addresses for Kubernetes pods; every allocation decision is a WebAssembly component.
#[derive(Debug, Parser)]
#[command(name = "enid", version, after_help = EXIT_CODES)]
struct Enid {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon of this node
    Run {
        /// The settings file
        #[arg(long, default_value = "/etc/enid/enid.toml")]
        config: PathBuf,
    },
    /// Check a settings file and the components it names; prints every problem
    CheckSettings {
        /// The settings file
        #[arg(default_value = "/etc/enid/enid.toml")]
        file: PathBuf,
    },
    /// Settings out of the Amazon VPC CNI's environment variables; a profile for container runtimes; the metrics
    Config {
        #[command(subcommand)]
        command: config_command::ConfigCommand,
    },
    /// One screen about the node
    Status(status_command::StatusQuery),
    /// Why an address, an ENI or a pod is as it is
    Explain {
        #[command(subcommand)]
        what: ask::What,
    },
    /// What differs between the journal, the kernel and EC2
    Diff(diff_command::Diff),
    /// Everything that somebody far away needs to understand this node, in one file
    SupportBundle(support_bundle::SupportBundle),
    /// What strategies decide and decided on this node; writing, testing and distributing them
    Strategy {
        #[command(subcommand)]
        command: strategy_command::StrategyCommand,
    },
    /// Pods that an instance type can run, as one integer
    MaxPods(capacity::MaxPods),
    /// ENIs and addresses that a node comes to rest with
    Plan(capacity::Plan),
    /// Show the main job on an embedded VPC
    Demo(demo::DemoOptions),
    /// A VPC on this machine, kept running by hand
    Lab {
        #[command(subcommand)]
        command: lab_command::LabCommand,
    },
}

fn main() -> ExitCode {
    if let Some(child) = as_child() {
        return child();
    }
    end_in_order_when_output_fails();
    let enid = match Enid::try_parse() {
        Ok(enid) => enid,
        Err(error) => return misunderstood(&error),
    };
    let filter =
        EnvFilter::try_from_env("ENID_LOG").unwrap_or_else(|_| EnvFilter::new(default_log(&enid.command)));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    match perform(enid.command) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("enid: {failure}");
            ExitCode::from(failure.code)
        }
    }
}

/// What is logged unless ENID_LOG says otherwise. Only a daemon tells what it does; everything else, and a start that
/// is refused, ends in its answer or in its complaints alone.
fn default_log(command: &Command) -> &'static str {
    match command {
        // That library logs whole answers that it cannot read.
        Command::Run { .. } => "info,kube_client=off",
        Command::CheckSettings { .. }
        | Command::Config { .. }
        | Command::Status(_)
        | Command::Diff(_)
        | Command::SupportBundle(_)
        | Command::Explain { .. }
        | Command::Strategy { .. }
        | Command::MaxPods(_)
        | Command::Plan(_)
        | Command::Demo(_)
        | Command::Lab { .. } => "warn",
    }
}

/// What this process is when a daemon started it as its child. Such a child gives up its rights first and reads
/// nothing else: no arguments, no environment.
fn as_child() -> Option<fn() -> ExitCode> {
    match std::env::args_os().nth(1).as_deref().and_then(OsStr::to_str) {
        Some("strategy-host") => Some(enid_policy_wasm::runtime::host_strategies),
        Some("strategy-compile") => Some(enid_policy_wasm::compile::compile_component),
        Some(_) | None => None,
    }
}

/// Prints the help that was asked for, or what is wrong with the arguments: in one line, as every other error.
fn misunderstood(error: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind;
    let asked_for_help = !error.use_stderr();
    if asked_for_help || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // Nothing can be done for a person whose terminal is gone.
        let _gone = error.print();
        return if asked_for_help { ExitCode::SUCCESS } else { ExitCode::from(Failure::ARGUMENTS) };
    }
    let text = error.render().to_string();
    let lines = text.lines().take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"));
    let said: Vec<&str> = lines.map(str::trim).filter(|line| !line.is_empty()).collect();
    let said = said.join(" ").replace(" tip: ", "; ");
    eprintln!("enid: {}; see --help", said.trim_start_matches("error: "));
    ExitCode::from(Failure::ARGUMENTS)
}

fn perform(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Run { config } => run::run(&config)?,
        Command::CheckSettings { file } => check_settings(&file)?,
        Command::Config { command } => config_command::run(command)?,
        Command::Status(query) => query.run()?,
        Command::Diff(diff) => return diff.run(),
        Command::SupportBundle(bundle) => bundle.run()?,
        Command::Explain { what } => ask::explain(what)?,
        Command::Strategy { command } => return strategy_command::run(command),
        Command::MaxPods(query) => capacity::max_pods(&query)?,
        Command::Plan(query) => capacity::plan(&query)?,
        Command::Demo(options) => return Ok(demo::run(&options)?),
        Command::Lab { command } => lab_command::run(command).map_err(Failure::lab)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// `enid status | head` is no fault: when nobody reads the rest, the program ends without a word. When the
/// output cannot be written for another reason, that is one line like any other failure.
fn end_in_order_when_output_fails() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| match panic.payload_as_str() {
        Some(why) if why.starts_with("failed printing to stdout") && why.contains("Broken pipe") => {
            std::process::exit(0)
        }
        Some(why) if why.starts_with("failed printing to stdout") => {
            eprintln!("enid: {why}");
            std::process::exit(1)
        }
        Some(_) | None => usual(panic),
    }));
}

/// The same checks as at the start of the daemon.
fn check_settings(config: &std::path::Path) -> Result<(), Failure> {
    let document = settings::load(config)?;
    let chosen = strategies::choose(&document)?;
    let house = strategies::house_aside(&document.settings);
    let policy = strategies::load(&document, &PolicyConfig { house, ..chosen })?;
    membership::check(&document.settings.kubernetes)?;
    for remark in &document.remarks {
        eprintln!("enid: {remark}");
    }
    print!("{}", document.effective());
    for kind in Kind::ALL {
        let report = policy.report(kind);
        println!("{kind}: {} {}", report.label, report.digest.unwrap_or_default());
    }
    Ok(())
}
