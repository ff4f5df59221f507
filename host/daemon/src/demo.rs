//! `enid demo`: everything that enid does, on this machine, within a minute, with every claim checked.
//!
//! It is a user of the product and nothing more: the lab, `enid run`, `enid-cni`, `enid status` and `enid
//! explain` run as processes of their own, as they would on nodes. Nothing leaves the machine and nothing
//! stays on it.
//!
//! * `world`, `node`, `pods`: what there is, and its end
//! * `traffic`, `policy`, `remains`: what is checked
//! * `ledger`: what is shown and recorded; `patience`: waiting with deadlines
//! * `simulated`: the part that works without root

mod ledger;
mod node;
mod patience;
mod pods;
mod policy;
mod remains;
mod simulated;
mod traffic;
mod world;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use enid_vpc_lab::requirements;

use self::ledger::{Ledger, table};
use self::patience::{Interrupted, heed_signals, interrupted, wait_for};
use self::pods::{Plugin, Pod, shown};
use self::remains::Machine;
use self::world::World;

/// Pods on the m5.large and on the t3.small. The t3.small carries three on its primary ENI, so it must attach
/// both further ENIs that its type allows.
const PODS: [usize; 2] = [6, 8];
/// What the demo promises to need at most.
const PROMISE: Duration = Duration::from_secs(60);
/// How long an address may take from cooling to free or gone: the demo's cooling period and some.
const COOLED: Duration = Duration::from_secs(12);
/// Exit code after Ctrl-C, as shells have it.
const INTERRUPTED: u8 = 130;

/// Options of `enid demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoOptions {
    /// The plugin [default: `enid-cni` next to this program]
    #[arg(long)]
    plugin: Option<PathBuf>,
    /// Name of the demo's lab; its namespaces start with it
    #[arg(long, default_value = "enid-demo")]
    name: String,
    /// Where the demo keeps its files while it runs
    #[arg(long, default_value = enid_vpc_lab::lab::DEFAULT_DIRECTORY)]
    directory: PathBuf,
}

/// Runs the demo. Must be called before the process starts threads; success when every check passed.
pub(crate) fn run(options: &DemoOptions) -> Result<ExitCode> {
    let unmet = requirements::unmet();
    if !unmet.is_empty() {
        println!(
            "The demo makes network namespaces, real links and real packets. That is not possible here:"
        );
        for missing in &unmet {
            println!("  - {missing}");
        }
        println!("What follows is the half that needs no kernel, on a simulated datapath.");
        return simulated::run();
    }
    let plugin = Plugin::find(options.plugin.as_deref())?;
    heed_signals()?;
    let mut ledger = Ledger::begin();
    let before = Machine::look(&options.name)?;
    ledger.act("a VPC on this machine: 10.0.0.0/16, two zones, three subnets");
    let mut world = World::build(&options.directory, &options.name)?;
    let played = play(&mut world, &plugin, &mut ledger);
    ledger.act("the end: daemons, pods, lab");
    let complaints = complaints(&world);
    let ending = world.end();
    let stopped_by_user = interrupted() || played.as_ref().is_err_and(|error| error.is::<Interrupted>());
    if !stopped_by_user {
        if let Err(error) = &played {
            ledger.check("the demo runs to its end", "no error", Err(format!("{error:#}")));
            complaints.iter().for_each(|line| ledger.note(line));
        }
        let outcome =
            if ending.is_empty() { Ok("all ended by themselves".to_owned()) } else { Err(ending.join("\n")) };
        ledger.check("everything stops when asked", "every process ends with success", outcome);
    } else {
        ending.iter().for_each(|failure| ledger.note(failure));
    }
    let after = Machine::look(&options.name)?;
    remains::check_machine(&before, &after, &mut ledger);
    if stopped_by_user {
        println!("\ninterrupted; nothing else was checked");
        return Ok(ExitCode::from(INTERRUPTED));
    }
    let took = ledger.elapsed();
    let outcome = if took <= PROMISE { Ok } else { Err };
    ledger.check("the time it took", "at most 60 s", outcome(format!("{:.1} s", took.as_secs_f64())));
    Ok(if ledger.close() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn play(world: &mut World, plugin: &Plugin, ledger: &mut Ledger) -> Result<()> {
    show_lab(world, ledger);
    ledger.act("two nodes, each with the unmodified `enid run`");
    world.start_daemons()?;
    for index in 0..world.nodes.len() {
        let report = world.nodes[index].wait_until_ready()?;
        let node = world.node(index);
        ledger.note(format!(
            "{} ({}, {}) is ready: {}",
            node.name(),
            node.place.instance_type,
            node.place.address,
            report.pool_line()
        ));
    }
    ledger.act("14 pods: `enid-cni` exec'd as a container runtime does");
    let small_before = world.attached_enis(1)?.len();
    add_pods(world, plugin)?;
    show_pods(world, ledger)?;
    check_pods(world, small_before, ledger)?;
    ledger.act("packets: who reaches whom, and as whom");
    traffic::check(world, ledger)?;
    ledger.act("packets that a VPC must drop");
    traffic::check_spoofing(world, ledger)?;
    ledger.act("why is it there? `enid explain`");
    policy::explain(world, ledger)?;
    ledger.act("another warm-pool setting, while the daemon runs");
    policy::change_setting(world, ledger)?;
    ledger.act("another component: a file that the operator just dropped in");
    policy::drop_in(world, ledger)?;
    ledger.act("the pods go");
    delete_pods(world, plugin, ledger)?;
    check_health(world, ledger)
}

fn show_lab(world: &World, ledger: &Ledger) {
    for subnet in &world.status.subnets {
        let blocks = match subnet.free_blocks {
            0 => "fragmented: no whole /28".to_owned(),
            blocks => format!("{blocks} whole /28"),
        };
        ledger.note(format!("{:<14} {}  {} free, {blocks}", subnet.cidr, subnet.zone, subnet.free_addresses));
    }
    ledger.note(format!(
        "EC2 at {}, metadata at {}, inside namespace {}",
        world.status.ec2_endpoint, world.status.imds_endpoint, world.status.vpc_namespace
    ));
}

fn add_pods(world: &mut World, plugin: &Plugin) -> Result<()> {
    // Taking turns, as a scheduler would spread them.
    let mut left = PODS;
    while let Some(node) = (0..left.len()).max_by_key(|node| left[*node]).filter(|node| left[*node] > 0) {
        left[node] -= 1;
        if interrupted() {
            return Err(Interrupted.into());
        }
        let sandbox = world.make_sandbox(node)?;
        let pod = plugin.add(node, world.node(node), &sandbox)?;
        world.pods.push(pod);
    }
    Ok(())
}

fn show_pods(world: &World, ledger: &Ledger) -> Result<()> {
    let mut rows = Vec::new();
    for pod in &world.pods {
        let eni = world.eni_of(pod.address)?;
        let place =
            eni.attached.as_ref().map_or_else(String::new, |(_, device)| format!(" (device {device})"));
        let subnet = world
            .subnet_of(&eni)
            .map_or_else(String::new, |subnet| format!("{} {}", subnet.cidr, subnet.zone));
        rows.push(vec![
            shown(&pod.sandbox),
            world.node(pod.node).name().to_owned(),
            pod.address.to_string(),
            format!("{}{place}", eni.id),
            subnet,
            format!("{:.1}", pod.took.as_secs_f64() * 1000.0),
        ]);
    }
    ledger.note(table(&["pod", "node", "IP", "ENI", "subnet", "ADD ms"], &rows));
    Ok(())
}

fn check_pods(world: &World, small_before: usize, ledger: &mut Ledger) -> Result<()> {
    let distinct: BTreeSet<_> = world.pods.iter().map(|pod| pod.address).collect();
    ledger.check_equal("pods with an address of their own", &PODS.iter().sum::<usize>(), &distinct.len());
    let on_own_node = |pod: &&Pod| {
        let attached = world.eni_of(pod.address).ok().and_then(|eni| eni.attached);
        attached.is_some_and(|(node, _)| node == world.node(pod.node).name())
    };
    let right = world.pods.iter().filter(on_own_node).count();
    ledger.check_equal("addresses that EC2 has on an ENI of the pod's node", &world.pods.len(), &right);
    let small = world.attached_enis(1)?.len();
    let seen = format!("{small_before} ENI before the pods, {small} now");
    let outcome = if small == 3 { Ok(seen) } else { Err(seen) };
    ledger.check("the t3.small attached further ENIs", "3 ENIs, all that its type allows", outcome);
    Ok(())
}

fn delete_pods(world: &mut World, plugin: &Plugin, ledger: &mut Ledger) -> Result<()> {
    let mut took = Vec::new();
    for pod in world.pods.clone() {
        took.push(plugin.del(world.node(pod.node), &pod.sandbox)?);
    }
    took.sort();
    let median = took.get(took.len() / 2).copied().unwrap_or_default();
    let reports = || world.nodes.iter().map(node::Node::report).collect::<Result<Vec<_>>>();
    let just_after = reports()?;
    let cooling: u64 = just_after.iter().map(|report| report.pool("cooling")).sum();
    let bound: u64 = just_after.iter().map(|report| report.pool("bound")).sum();
    ledger.note(format!("14 times DEL, {:.1} ms each (median)", median.as_secs_f64() * 1000.0));
    let seen = format!("{bound} bound, {cooling} cooling");
    let outcome = if bound == 0 && cooling > 0 { Ok(seen) } else { Err(seen) };
    ledger.check("addresses cool down first", "none bound, the pods' ones cooling", outcome);

    remains::check_nodes(world, ledger);
    for (_, sandbox) in &world.sandboxes {
        sandbox.remove()?;
    }
    let cooled = wait_for("addresses to be free again", COOLED, || {
        let reports = reports().map_err(|error| format!("{error:#}"))?;
        let of = |what| reports.iter().map(|report| report.pool(what)).sum::<u64>();
        let seen = format!("{} cooling, {} free", of("cooling"), of("free"));
        if of("cooling") == 0 && of("free") > 0 { Ok(seen) } else { Err(seen) }
    });
    let cooled = cooled.map_err(|error| format!("{error:#}"));
    ledger.check("and are free afterwards", "none cooling, some free", cooled);
    for node in &world.nodes {
        ledger.note(format!(
            "{}: {}",
            node.name(),
            node.report().context("ask for the last time")?.pool_line()
        ));
    }
    Ok(())
}

/// Nothing went wrong behind the checks' back.
fn check_health(world: &World, ledger: &mut Ledger) -> Result<()> {
    let diverged = world.lab_status()?.diverged;
    let outcome = if diverged.is_empty() { Ok("always".to_owned()) } else { Err(diverged.join("\n")) };
    ledger.check("the lab's network followed EC2", "always", outcome);
    let serious = |line: &String| !line.contains(" WARN ");
    let errors: Vec<String> = complaints(world).into_iter().filter(serious).collect();
    let outcome = if errors.is_empty() { Ok("no error".to_owned()) } else { Err(errors.join("\n")) };
    ledger.check("the daemons' logs", "no error", outcome);
    Ok(())
}

/// What the daemons complained about, for whoever has to find out why a check failed.
fn complaints(world: &World) -> Vec<String> {
    let of = |node: &node::Node| {
        let lines = node.complaints();
        lines.into_iter().map(|line| format!("{}: {line}", node.name())).collect::<Vec<_>>()
    };
    world.nodes.iter().flat_map(of).collect()
}
