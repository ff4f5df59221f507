//! `cargo xtask bench`: each figure next to a baseline taken in the same run.
//!
//! The floor is an empty static program plus raw netlink for the same work ([`floor`]); the comparison is the
//! reference plugins ([`reference`]); the measured thing is the real plugin and daemon on a lab ([`site`]).

mod floor;
mod plugin;
mod pods;
mod reference;
mod samples;
mod site;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use serde_json::json;

use crate::artifacts;
use crate::setup::{self, Scope};
use crate::workspace::Workspace;

use plugin::Plugin;
use pods::{Sandbox, Sandboxes};
use samples::{Samples, millis};
use site::Site;

/// Rounds of adding and deleting the same pods.
const ROUNDS: usize = 8;
/// Pods added one after the other in a round.
const SINGLE: usize = 20;
/// ADDs at once, as after a node has come back.
const BURST: usize = 30;
/// Pods of a full large node, and how many a runtime starts at once.
const FULL: usize = 700;
const AT_ONCE: usize = 8;
/// Leases in the journal at the restart.
const LEASES: usize = 200;

/// What to measure and how.
#[derive(Args)]
pub(crate) struct Options {
    /// How to print the figures
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    /// Fail when a bar is missed
    #[arg(long)]
    check: bool,
    /// Measure what is built already
    #[arg(long)]
    as_built: bool,
    #[arg(long, hide = true, num_args = 1.., value_names = ["STATE", "NETNS"])]
    reference_in_this_namespace: Vec<PathBuf>,
}

/// How figures are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

/// One line of the result.
#[derive(Clone, Debug)]
struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    /// What it is compared with: in words, and how much.
    baseline: Option<(String, f64)>,
    /// What it must not exceed.
    bar: Option<f64>,
}

/// Measures everything; a table or JSON at the end.
pub(crate) fn measure(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    if let [state, pods @ ..] = &options.reference_in_this_namespace[..] {
        reference::measure_here(state, pods)?;
        return Ok(ExitCode::SUCCESS);
    }
    ensure!(setup::is_root(), "measuring needs network namespaces, and those need root");
    setup::run_setup(workspace, Scope::Bench)?;
    if !options.as_built {
        artifacts::build(workspace)?;
    }
    let figures = figures(workspace)?;
    match options.output {
        Output::Text => print_table(&figures),
        Output::Json => {
            let figures: Vec<_> = figures.iter().map(Figure::json).collect();
            println!("{}", serde_json::to_string_pretty(&figures)?);
        }
    }
    let missed = figures.iter().any(|figure| figure.is_met() == Some(false));
    Ok(if missed && options.check { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn figures(workspace: &Workspace) -> Result<Vec<Figure>> {
    let progress = |what: &str| eprintln!("==> {what}");
    progress("floor");
    let floor = floor::Floor::build(workspace)?;
    let before = floor.measure()?;
    progress("ptp and host-local");
    let reference = reference::measure(workspace)?;
    progress("lab, daemon, full pool");
    let mut site = Site::build(workspace)?;
    let capacity = usize::try_from(site.pool()?.free)?;
    let rss = site.resident_mib()?;
    progress("one pod after the other");
    let configuration = site.configuration();
    let plugin_program = workspace.plugin();
    let plugin = Plugin { program: &plugin_program, configuration: &configuration };
    let sandboxes = Sandboxes::make("pod", capacity.min(FULL))?;
    let pods = sandboxes.list();
    let single = singles(&site, &plugin, &pods[..pods.len().min(SINGLE)])?;
    progress("many at once");
    let burst = bursts(&site, &plugin, &pods[..pods.len().min(BURST)])?;
    site.wait_for_free(pods.len() as u64)?;
    let (_, full) = site::add_many(&plugin, &pods, AT_ONCE)?;
    progress("restart");
    let leases = LEASES.min(pods.len() - 1);
    for pod in &pods[leases..] {
        plugin.del(pod)?;
    }
    let restart = site.restart(|| plugin.add(&pods[leases]))?;
    for pod in &pods[..=leases] {
        plugin.del(pod)?;
    }
    let gone = site.time_until_links_are_gone(Duration::from_secs(10))?;
    drop(site);
    drop(sandboxes);
    progress("floor again");
    let floor = before.with(floor.measure()?);

    let mib = |bytes: u64| bytes as f64 / (1024.0 * 1024.0);
    let per_pod = floor.per_pod();
    let over_floor = |name: &str, value: Duration| {
        Figure::millis(name, value).against("floor: empty program + raw netlink", millis(per_pod))
    };
    let single_p50 = millis(single.add.p50());
    let reference_p50 = millis(reference.add.p50());
    Ok(vec![
        Figure::millis("floor: empty static program, p50", floor.spawn.p50()),
        Figure::millis("floor: raw netlink for one pod, p50", floor.netlink.p50()),
        Figure::millis("ptp + host-local ADD p50", reference.add.p50()),
        Figure::millis("ptp + host-local DEL p50", reference.del.p50()),
        over_floor(&format!("ADD p50 ({} calls)", single.add.count()), single.add.p50())
            .at_most(2.0 * millis(per_pod)),
        over_floor("ADD p99", single.add.p99()),
        Figure::millis("ADD p50 against ptp", single.add.p50())
            .against("ptp + host-local ADD p50", reference_p50)
            .at_most(reference_p50 / 3.0),
        Figure::millis(&format!("{} ADDs at once, p99", pods.len().min(BURST)), burst.p99())
            .against("single ADD p50", single_p50)
            .at_most(10.0 * single_p50),
        Figure::millis("DEL p50", single.del.p50())
            .against("ptp + host-local DEL p50", millis(reference.del.p50()))
            .at_most(1.5),
        Figure::millis("last pod's link gone after its DEL", gone.unwrap_or(Duration::from_secs(10)))
            .at_most(1000.0),
        Figure::millis(&format!("{} pods on one node, {AT_ONCE} at a time", pods.len()), full)
            .against("as many floors, one after the other", millis(per_pod) * pods.len() as f64)
            .at_most_if(pods.len() >= FULL, 2000.0),
        Figure::millis(&format!("restart to first ADD, {leases} leases"), restart)
            .at_most_if(leases >= LEASES, 300.0),
        Figure {
            name: "enid-cni".into(),
            value: mib(fs::metadata(&plugin_program)?.len()),
            unit: "MiB",
            baseline: None,
            bar: Some(1.0),
        },
        Figure {
            name: "daemon's resident memory, idle, full pool".into(),
            value: rss,
            unit: "MiB",
            baseline: None,
            bar: Some(60.0),
        },
    ])
}

/// Durations of single calls.
struct Single {
    add: Samples,
    del: Samples,
}

fn singles(site: &Site, plugin: &Plugin<'_>, pods: &[Sandbox]) -> Result<Single> {
    let (mut add, mut del) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        site.wait_for_free(pods.len() as u64)?;
        for pod in pods {
            add.push(plugin.add(pod)?);
        }
        for pod in pods {
            del.push(plugin.del(pod)?);
        }
    }
    let taken = |durations| Samples::of(durations).context("no pod was added");
    Ok(Single { add: taken(add)?, del: taken(del)? })
}

fn bursts(site: &Site, plugin: &Plugin<'_>, pods: &[Sandbox]) -> Result<Samples> {
    let mut taken = Vec::new();
    for _ in 0..ROUNDS {
        site.wait_for_free(pods.len() as u64)?;
        taken.extend(site::add_many(plugin, pods, pods.len())?.0);
        for pod in pods {
            plugin.del(pod)?;
        }
    }
    Samples::of(taken).context("no pod was added")
}

impl Figure {
    fn millis(name: &str, value: Duration) -> Self {
        Self { name: name.to_owned(), value: millis(value), unit: "ms", baseline: None, bar: None }
    }

    fn against(mut self, what: &str, baseline: f64) -> Self {
        self.baseline = Some((what.to_owned(), baseline));
        self
    }

    fn at_most(mut self, bar: f64) -> Self {
        self.bar = Some(bar);
        self
    }

    /// A bar that means something only at full size; a smaller lab shows the figure without one.
    fn at_most_if(self, applies: bool, bar: f64) -> Self {
        if applies { self.at_most(bar) } else { self }
    }

    fn ratio(&self) -> Option<f64> {
        self.baseline.as_ref().map(|(_, baseline)| self.value / baseline)
    }

    fn is_met(&self) -> Option<bool> {
        self.bar.map(|bar| self.value <= bar)
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "baseline": self.baseline.as_ref().map(|(what, value)| json!({"name": what, "value": value})),
            "ratio": self.ratio(),
            "bar": self.bar,
            "met": self.is_met(),
        })
    }
}

fn print_table(figures: &[Figure]) {
    println!("{:<46} {:>11} {:>7}  {:<38} {:>11}", "", "measured", "ratio", "to", "bar");
    for figure in figures {
        let ratio = figure.ratio().map_or(String::new(), |ratio| format!("{ratio:.2}×"));
        let baseline = figure.baseline.as_ref().map_or("", |(what, _)| what);
        let verdict = match figure.is_met() {
            Some(true) => format!("≤ {:.2} met", figure.bar.unwrap_or_default()),
            Some(false) => format!("≤ {:.2} MISSED", figure.bar.unwrap_or_default()),
            None => String::new(),
        };
        let value = format!("{:.2} {:<3}", figure.value, figure.unit);
        println!("{:<46} {value:>11} {ratio:>7}  {baseline:<38} {verdict:>11}", figure.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_that_does_not_apply_judges_nothing() {
        let slow = Figure::millis("x", Duration::from_secs(3));
        assert_eq!(slow.clone().at_most_if(false, 2000.0).is_met(), None);
        assert_eq!(slow.clone().at_most_if(true, 2000.0).is_met(), Some(false));
        assert_eq!(slow.against("y", 1500.0).ratio(), Some(2.0));
    }
}
