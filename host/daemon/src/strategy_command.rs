//! `enid strategy`: what strategies decide on this node and decided, and the tools of their authors.

mod history;

use std::process::ExitCode;

use anyhow::anyhow;
use clap::Subcommand;
use enid_protocol::message::Request;
use serde_json::Value;

use crate::ask::{How, Output, ask, text};
use crate::failure::Failure;

/// The fewest digits that name a component in quarantine.
const FEWEST_DIGITS: usize = 8;

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum StrategyCommand {
    /// The strategies in force: who decides, who stands in, who is on probation or in quarantine
    List {
        #[command(flatten)]
        how: How,
    },
    /// How strategies in shadow compare with those in force
    Shadow {
        #[command(flatten)]
        how: How,
    },
    /// What was decided: the records of this node, also while no daemon runs
    History(history::History),
    /// Ask components again that are not asked because they failed
    ClearQuarantine {
        /// `all`, or at least the first eight digits of a component's digest
        #[arg(value_name = "DIGEST|all", value_parser = quarantined)]
        which: String,
        #[command(flatten)]
        how: How,
    },
    #[command(flatten)]
    Author(enid_strategy_tool::Author),
}

/// `all`, or the beginning of a digest.
fn quarantined(text: &str) -> Result<String, String> {
    let digits = text.strip_prefix("sha256:").unwrap_or(text).to_ascii_lowercase();
    let is_digest =
        (FEWEST_DIGITS..=64).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_digest || digits == "all" {
        return Ok(digits);
    }
    Err(format!(
        "write `all`, or {FEWEST_DIGITS} to 64 hexadecimal digits of the digest that `enid strategy list` shows"
    ))
}

/// Performs a command.
pub(crate) fn run(command: StrategyCommand) -> Result<ExitCode, Failure> {
    match command {
        StrategyCommand::List { how } => list(&how)?,
        StrategyCommand::Shadow { how } => shadow(&how)?,
        StrategyCommand::History(history) => history.run()?,
        StrategyCommand::ClearQuarantine { which, how } => clear_quarantine(which, &how)?,
        StrategyCommand::Author(author) => return Ok(enid_strategy_tool::run(author)?),
    }
    Ok(ExitCode::SUCCESS)
}

fn list(how: &How) -> Result<(), Failure> {
    let report = ask(how.socket(), &Request::Strategies)?;
    match how.output() {
        Output::Json => println!("{report:#}"),
        Output::Text => {
            for of_kind in rows(&report, "strategies") {
                print_strategy(of_kind);
            }
            for quarantined in rows(&report, "quarantined") {
                println!(
                    "quarantined  {}: {}; the next probe is in {} s, {} of 3 were clean",
                    text(quarantined, "digest"),
                    text(quarantined, "why"),
                    quarantined["probe_in_ms"].as_u64().unwrap_or_default().div_ceil(1000),
                    quarantined["clean_probes"]
                );
            }
        }
    }
    Ok(())
}

fn rows<'a>(report: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    report[key].as_array().into_iter().flatten()
}

fn print_strategy(of_kind: &Value) {
    let active = &of_kind["active"];
    println!("{}", text(of_kind, "kind"));
    let line = |label: &str, what: String| println!("  {label:<11}{what}");
    let descriptor = &active["descriptor"];
    match active["digest"].as_str() {
        Some(digest) => {
            let (name, version) = (text(descriptor, "name"), text(descriptor, "version"));
            line(
                "in force",
                format!("{} ({name} {version}, {})", text(active, "label"), text(active, "place")),
            );
            line("digest", format!("sha256:{digest}"));
        }
        None => line("in force", format!("{} (part of enid)", text(active, "label"))),
    }
    let last = &of_kind["last"];
    if last.is_object() {
        let number =
            last["decision"].as_u64().map_or_else(String::new, |number| format!(", decision {number}"));
        let (who, rung, target) = (text(last, "strategy"), text(last, "rung"), text(last, "target"));
        line("last", format!("{who} ({rung}{number}) → {target}; {}", text(last, "reason")));
        for fault in rows(last, "faults").filter_map(Value::as_str) {
            line("fault", fault.to_owned());
        }
    }
    let fallbacks: Vec<&str> = rows(active, "fallbacks").filter_map(Value::as_str).collect();
    if !fallbacks.is_empty() {
        line("fallback", fallbacks.join(", then "));
    }
    if let Some(replaced) = active["replaced"].as_str() {
        let differs = of_kind["divergence"].as_str().map_or_else(String::new, |words| format!(": {words}"));
        line("replaced", format!("{replaced}{differs}"));
    }
    if let Some(left) = active["probation_left"].as_u64() {
        line("probation", format!("for {left} more decisions; a failure brings its predecessor back"));
    }
    if let Some(rolled_back) = active["rolled_back"].as_str() {
        line("taken back", rolled_back.to_owned());
    }
    if of_kind["in_quarantine"] == true {
        line("quarantine", "it is not asked until three probes in a row were clean".to_owned());
    }
    let shadow = &of_kind["shadow"];
    if shadow.is_object() {
        line("shadow", format!("{}: {}", text(shadow, "strategy"), text(shadow, "summary")));
    }
}

fn shadow(how: &How) -> Result<(), Failure> {
    let report = ask(how.socket(), &Request::Strategies)?;
    let shadows: Vec<(&str, &Value)> = rows(&report, "strategies")
        .filter(|of_kind| of_kind["shadow"].is_object())
        .map(|of_kind| (text(of_kind, "kind"), &of_kind["shadow"]))
        .collect();
    match how.output() {
        Output::Json => {
            let by_kind: serde_json::Map<String, Value> =
                shadows.into_iter().map(|(kind, shadow)| (kind.to_owned(), shadow.clone())).collect();
            println!("{:#}", Value::Object(by_kind));
        }
        Output::Text if shadows.is_empty() => {
            println!("no strategy is in shadow; name one under [strategy.KIND.shadow] in the settings");
        }
        Output::Text => {
            for (kind, shadow) in shadows {
                print_shadow(kind, shadow);
            }
        }
    }
    Ok(())
}

fn print_shadow(kind: &str, shadow: &Value) {
    println!("{kind}: {}: {}", text(shadow, "strategy"), text(shadow, "summary"));
    let skipped = shadow["skipped"].as_u64().unwrap_or_default();
    if skipped > 0 {
        println!("  {skipped} snapshots were skipped because the node was busy");
    }
    if let Some(decision) = shadow["worst"]["decision"].as_u64() {
        println!("  its worst case: enid strategy history --kind {kind} --decision {decision}");
    }
}

fn clear_quarantine(which: String, how: &How) -> Result<(), Failure> {
    let report = ask(how.socket(), &Request::ClearQuarantine { which: which.clone() })?;
    let cleared = report["cleared"].as_u64().unwrap_or_default();
    match how.output() {
        Output::Json => println!("{report:#}"),
        Output::Text => println!("{cleared} components are asked again"),
    }
    if cleared == 0 && which != "all" {
        return Err(anyhow!("no component in quarantine has a digest that begins with {which}").into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_in_quarantine_is_named_by_its_digest() {
        for (given, meant) in
            [("all", "all"), ("sha256:0123ABCD", "0123abcd"), ("0123abcd4567", "0123abcd4567")]
        {
            assert_eq!(quarantined(given).as_deref(), Ok(meant));
        }
        for wrong in ["", "0123abc", "everything", "0123abcg", &"0".repeat(65)] {
            assert!(quarantined(wrong).is_err(), "{wrong}");
        }
    }
}
