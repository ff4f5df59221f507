//! `enid config`: the incumbent's variables as settings, and the daemon's system calls as a profile.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::Subcommand;

use crate::confinement::profile;
use crate::environment::{Idle, Variables, sheet};
use crate::failure::Failure;
use crate::metrics;
use crate::settings::{self, Document, Filling, Problems};

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// The Amazon VPC CNI's variables as TOML: those of this command's environment, and nothing else
    FromEnv {
        /// Read `KEY=VALUE` lines instead, as `kubectl set env --list` prints them
        #[arg(long)]
        file: Option<PathBuf>,
    },
    /// Every metric, and what the Amazon VPC CNI's correspond to
    Metrics,
    /// The system calls of `enid run` and its children, as container runtimes want them (seccomp)
    Seccomp,
    /// Every variable of the Amazon VPC CNI, with what it stands for here
    Variables,
}

/// Performs a command.
pub(crate) fn run(command: ConfigCommand) -> Result<(), Failure> {
    match command {
        ConfigCommand::FromEnv { file: None } => print!("{}", from_env(&Variables::of_process(), &[])?),
        ConfigCommand::FromEnv { file: Some(file) } => {
            let text = settings::text_of(&file).map_err(Failure::arguments)?;
            let (variables, unknown) = Variables::of_lines(&text).map_err(|line| {
                Failure::arguments(anyhow!(
                    "{}:{line}: must be KEY=VALUE, a comment or empty",
                    file.display()
                ))
            })?;
            print!("{}", from_env(&variables, &unknown)?);
        }
        ConfigCommand::Metrics => print!("{}", metrics::sheet()),
        ConfigCommand::Seccomp => print!("{}", profile()),
        ConfigCommand::Variables => print!("{}", sheet()),
    }
    Ok(())
}

/// The settings that `variables` stand for, as far as they are not the default.
fn from_env(variables: &Variables, unknown: &[&str]) -> Result<String, Failure> {
    let document = settings::parse("", Path::new("enid.toml"), variables).map_err(Failure::arguments)?;
    if !document.problems.is_empty() {
        return Err(Failure::arguments(Problems::in_order(document.problems)));
    }
    Ok(toml_of(&document, unknown))
}

fn toml_of(document: &Document, unknown: &[&str]) -> String {
    let mut text =
        String::from("# What the Amazon VPC CNI's variables stand for, where it is not the default.\n");
    let mut tables: Vec<(&[String], Vec<&Filling>)> = Vec::new();
    for filling in document.filled() {
        let Some((_, table)) = filling.path.split_last() else { continue };
        match tables.iter_mut().find(|(path, _)| *path == table) {
            Some((_, inside)) => inside.push(filling),
            None => tables.push((table, vec![filling])),
        }
    }
    for (path, fillings) in tables {
        let names: Vec<String> = path.iter().map(|name| key(name)).collect();
        text.push_str(&format!("\n[{}]\n", names.join(".")));
        for filling in fillings {
            let name = filling.path.last().map(|name| key(name)).unwrap_or_default();
            text.push_str(&format!("{name} = {} # {}\n", filling.value, filling.variable));
        }
    }
    let of_file = document.remarks.iter().map(|remark| format!("{}: {}", remark.key, remark.why));
    let idle = document.idle.iter().map(Idle::to_string);
    let unknown =
        unknown.iter().map(|name| format!("{name} is no variable of the Amazon VPC CNI that is known here"));
    let comments: Vec<String> = of_file.chain(idle).chain(unknown).collect();
    if !comments.is_empty() {
        text.push('\n');
    }
    for comment in comments {
        text.push_str(&format!("# {comment}\n"));
    }
    text
}

/// A key as TOML writes it.
fn key(name: &str) -> String {
    toml_edit::Key::new(name).to_string()
}

#[cfg(test)]
mod tests;
