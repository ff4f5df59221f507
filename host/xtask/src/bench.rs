//! `cargo xtask bench`: each figure next to a baseline taken in the same run.
//!
//! The floor is an empty static program plus raw netlink for the same work ([`floor`]); the comparison is the
//! reference plugins ([`reference`]); the measured thing is the real plugin and daemon on a large node of a
//! lab ([`site`]), called as a container runtime calls them ([`calls`]).

mod calls;
mod decision;
mod figure;
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

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};

use crate::artifacts;
use crate::setup::{self, Scope};
use crate::workspace::Workspace;

use calls::Calls;
use decision::Decision;
use figure::Figure;
use samples::{Samples, millis};
use site::{Mode, Site};

/// Pods of a full large node, and how many a runtime starts at once.
const FULL: usize = 700;
const AT_ONCE: usize = 8;
/// Pods of a node that has its addresses out of prefixes.
const IN_PREFIXES: usize = 500;
/// Leases in the journal at the restart.
const LEASES: usize = 200;

/// What to measure and how.
#[derive(Args, Default)]
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

/// Measures everything; a table or JSON at the end.
pub(crate) fn measure(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    if let [state, pods @ ..] = &options.reference_in_this_namespace[..] {
        reference::measure_here(state, pods)?;
        return Ok(ExitCode::SUCCESS);
    }
    ensure!(setup::is_root(), "measuring needs network namespaces, and those need root");
    setup::run_setup(workspace, Scope::Tests)?;
    if !options.as_built {
        artifacts::build(workspace)?;
        decision::build(workspace)?;
    }
    artifacts::place_plugin(workspace)?;
    let busy_before = load_average()?;
    let figures = taken(workspace)?.figures();
    let busy_after = load_average()?;
    match options.output {
        Output::Text => {
            figure::print_table(&figures);
            println!("\nload average: {busy_before} before, {busy_after} after");
        }
        Output::Json => {
            println!(
                "{}",
                serde_json::to_string_pretty(&figure::document(&figures, &busy_before, &busy_after))?
            );
        }
    }
    let missed = figures.iter().any(|figure| figure.is_met() == Some(false));
    Ok(if missed && options.check { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What other programs asked of the machine in the last minute: durations mean little without it.
fn load_average() -> Result<String> {
    let text = fs::read_to_string("/proc/loadavg")?;
    Ok(text.split(' ').next().unwrap_or_default().to_owned())
}

/// Everything that was measured.
struct Taken {
    floor: floor::Measured,
    reference: reference::Measured,
    add: Samples,
    del: Samples,
    /// From the answer of the last DEL until no pod's link is on the node.
    links_gone: Samples,
    burst: Samples,
    full: Duration,
    full_add: Samples,
    /// All pods of a node whose addresses come out of prefixes.
    in_prefixes: Duration,
    in_prefixes_mib: f64,
    restart: Samples,
    decision: Decision,
    plugin_mib: f64,
    idle_mib: f64,
    full_mib: f64,
}

fn taken(workspace: &Workspace) -> Result<Taken> {
    let progress = |what: &str| eprintln!("==> {what}");
    progress("floor");
    let floor = floor::Floor::build(workspace)?;
    let before = floor.measure()?;
    progress("ptp and host-local");
    let reference = reference::measure(workspace)?;
    progress("one decision");
    let decision = decision::measure(workspace)?;
    progress("a lab with a large node, its daemon, a full pool");
    let mut site = Site::build(workspace, Mode::SecondaryIp, FULL)?;
    let idle_mib = site.resident_mib()?;
    let mut calls = Calls::make(workspace, &site, FULL)?;
    let home = site.home();
    progress("one pod after the other");
    let (add, del, links_gone) = home.inside(|| calls.singles(&site))?;
    progress("many at once");
    let burst = home.inside(|| calls.bursts(&site))?;
    progress("a full node");
    let (full_add, full) = home.inside(|| calls.fill(&site, AT_ONCE))?;
    let full_mib = site.resident_mib()?;
    progress("restarts");
    let restart = home.inside(|| calls.restarts(&mut site, LEASES))?;
    drop(calls);
    drop(site);
    progress("a node whose addresses come out of prefixes");
    let site = Site::build(workspace, Mode::Prefix, IN_PREFIXES)?;
    let mut calls = Calls::make(workspace, &site, IN_PREFIXES)?;
    let (_, in_prefixes) = site.home().inside(|| calls.fill(&site, AT_ONCE))?;
    let in_prefixes_mib = site.resident_mib()?;
    drop(calls);
    drop(site);
    progress("floor again");
    let floor = before.with(floor.measure()?);
    let plugin_bytes = fs::metadata(workspace.plugin())?.len();
    Ok(Taken {
        floor,
        reference,
        add,
        del,
        links_gone,
        burst,
        full,
        full_add,
        in_prefixes,
        in_prefixes_mib,
        restart,
        decision,
        plugin_mib: plugin_bytes as f64 / (1024.0 * 1024.0),
        idle_mib,
        full_mib,
    })
}

impl Taken {
    fn figures(&self) -> Vec<Figure> {
        let floor = millis(self.floor.per_pod());
        let against_floor = |figure: Figure| figure.against("floor: empty program + raw netlink", floor);
        let add = millis(self.add.p50());
        let reference = (millis(self.reference.add.p50()), millis(self.reference.del.p50()));
        let mut figures = vec![
            Figure::millis("floor: empty static program, p50", self.floor.spawn.p50()),
            Figure::millis("floor: raw netlink for one pod, p50", self.floor.netlink.p50()),
            Figure::millis("ptp + host-local ADD p50", self.reference.add.p50()),
            Figure::millis("ptp + host-local DEL p50", self.reference.del.p50()),
            against_floor(Figure::millis(&format!("ADD p50 of {}", self.add.count()), self.add.p50()))
                .at_most(2.0 * floor),
            Figure::millis("ADD p50 against the reference", self.add.p50())
                .against("ptp + host-local ADD p50", reference.0)
                .at_most(reference.0 / 3.0),
            Figure::millis("ADD p99", self.add.p99()).against("ADD p50", add),
            Figure::millis(&format!("{} ADDs at once, p99", calls::BURST), self.burst.p99())
                .against("ADD p50", add)
                .at_most(10.0 * add),
            // The kernel wires one pod at a time, whoever asks: this is how near the burst comes to that.
            Figure::millis("the same against the floor", self.burst.p99())
                .against("as many floors, one after the other", floor * calls::BURST as f64),
            Figure::millis("DEL p50", self.del.p50())
                .against("ptp + host-local DEL p50", reference.1)
                .at_most(1.5),
            Figure::millis("links gone after the last DEL, worst", self.links_gone.worst()).at_most(1000.0),
            Figure::millis(&format!("{FULL} pods on one node, {AT_ONCE} at a time"), self.full)
                .against("as many floors, one after the other", millis(self.floor.in_all()))
                .at_most(2000.0),
            Figure::millis("ADD p50 while the node fills", self.full_add.p50()).against("ADD p50", add),
            Figure::millis(
                &format!("{IN_PREFIXES} pods out of prefixes, {AT_ONCE} at a time"),
                self.in_prefixes,
            )
            .against("as many floors, one after the other", floor * IN_PREFIXES as f64)
            .at_most(2000.0),
            Figure::millis(&format!("restart to first ADD with {LEASES} leases, p50"), self.restart.p50())
                .against("ADD p50", add)
                .at_most(300.0),
            Figure::mebibytes("enid-cni", self.plugin_mib).at_most(1.0),
            Figure::mebibytes("daemon's resident memory, idle", self.idle_mib).at_most(60.0),
            Figure::mebibytes(&format!("daemon's resident memory, {FULL} pods"), self.full_mib)
                .against("idle", self.idle_mib),
            Figure::mebibytes(
                &format!("daemon's resident memory, {IN_PREFIXES} pods out of prefixes"),
                self.in_prefixes_mib,
            )
            .against("idle", self.idle_mib),
        ];
        figures.extend(self.of_strategies());
        figures
    }

    fn of_strategies(&self) -> [Figure; 8] {
        let Decision { native_p50_micros, .. } = self.decision;
        let natively = |figure: Figure| figure.against("the same code compiled natively", native_p50_micros);
        [
            natively(Figure::micros("warm-pool decision p50, in process", self.decision.p50_micros))
                .at_most(50.0),
            natively(Figure::micros("warm-pool decision p50, in a child", self.decision.child_p50_micros))
                .at_most(80.0),
            Figure::of_millis("a strategy let in, compiled", self.decision.admission_cold_ms).at_most(1000.0),
            Figure::of_millis("a strategy loaded from the cache", self.decision.load_cached_ms).at_most(2.0),
            Figure::of_millis("an endless loop stopped, in process", self.decision.kill_ms).at_most(10.0),
            Figure::of_millis("an endless loop stopped, in a child", self.decision.kill_child_ms)
                .at_most(10.0),
            Figure::mebibytes("engine and strategies, in process", self.decision.memory_mib).at_most(20.0),
            Figure::mebibytes("engine and strategies, the child", self.decision.memory_child_mib)
                .at_most(20.0),
        ]
    }
}
