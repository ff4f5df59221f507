//! `enid max-pods` and `enid plan`: the real core and the real components, without a node.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::{Args, ValueEnum};
use enid_core::budget::{BudgetConfig, Class, Limit};
use enid_core::event::Answer;
use enid_core::limits::{InstanceType, Mode};
use enid_core::node::{Config, CustomNetworking, EniConfig};
use enid_core::snapshot::{MaxPodsSnapshot, Setting, Value};
use enid_core::time::Timestamp;
use enid_policy_wasm::{Kind, Lineup, Policy, PolicyConfig};
use enid_sim::node::{SimNode, lone_instance};
use serde::Serialize;

use crate::failure::Failure;
use crate::settings::{Document, Settings, Source, Strategy};
use crate::strategies::{self, Shelf};

/// The most pods that a plan is made for: more than any instance type addresses.
const MOST_PODS: u32 = 20_000;
/// Virtual time in which a node must come to rest after a pod: attaching every ENI takes less.
const SETTLE: Duration = Duration::from_secs(3600);
/// When virtual time begins: any moment would do.
const BEGIN: Timestamp = Timestamp(1_700_000_000_000);

/// Which strategy, with which settings.
#[derive(Debug, Args)]
pub(crate) struct Choice {
    /// The strategy: a shipped name, or a component file (a path with `/` or ending in `.wasm`)
    #[arg(long, value_name = "NAME|FILE")]
    strategy: Option<String>,
    /// A setting of the strategy, for example warm_ip_target=5; repeatable
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting)]
    settings: Vec<Setting>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Supply {
    /// Secondary addresses
    #[default]
    SecondaryIp,
    /// Delegated /28 prefixes
    Prefix,
}

impl From<Supply> for Mode {
    fn from(supply: Supply) -> Mode {
        match supply {
            Supply::SecondaryIp => Mode::SecondaryIp,
            Supply::Prefix => Mode::Prefix,
        }
    }
}

/// `enid max-pods`.
#[derive(Debug, Args)]
pub(crate) struct MaxPods {
    /// For example m5.large
    #[arg(long, value_name = "TYPE")]
    instance_type: String,
    /// How addresses are supplied
    #[arg(long, value_enum, default_value_t)]
    mode: Supply,
    /// Pods get their addresses in other subnets than the node: its primary ENI carries none
    #[arg(long)]
    custom_networking: bool,
    /// Use at most this many ENIs
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=128))]
    max_enis: Option<u32>,
    /// Without the recommended cap of 110 pods (250 above 30 vCPUs)
    #[arg(long)]
    no_cap: bool,
    #[command(flatten)]
    choice: Choice,
}

/// `enid plan`.
#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// For example t3.small
    #[arg(long, value_name = "TYPE")]
    instance_type: String,
    /// Pods to add, one at a time
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=i64::from(MOST_PODS)))]
    pods: u32,
    /// How addresses are supplied
    #[arg(long, value_enum, default_value_t)]
    mode: Supply,
    /// Pods get their addresses in other subnets than the node: its primary ENI carries none
    #[arg(long)]
    custom_networking: bool,
    /// Use at most this many ENIs
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=128))]
    max_enis: Option<u32>,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    choice: Choice,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// One JSON document
    #[default]
    Json,
    /// For people
    Text,
}

/// The steady state that `enid plan` prints. A contract: the names do not change.
#[derive(Debug, Serialize)]
struct Steady {
    enis: usize,
    addresses: u32,
    prefixes: u32,
    unused: u32,
    per_eni: Vec<u32>,
    pods: u32,
    settled: bool,
    calls: BTreeMap<&'static str, u64>,
}

/// `KEY=VALUE`, the value an integer, `true`, `false`, or text.
fn setting(text: &str) -> Result<Setting, String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("`{text}` is not KEY=VALUE"))?;
    if key.is_empty() {
        return Err(format!("`{text}` has no key before `=`"));
    }
    let value = match (value.parse::<i64>(), value) {
        (Ok(number), _) => Value::Int(number),
        (Err(_), "true") => Value::Flag(true),
        (Err(_), "false") => Value::Flag(false),
        (Err(_), text) => Value::Text(text.to_owned()),
    };
    Ok(Setting { key: key.to_owned(), value })
}

fn known(name: &str) -> Result<InstanceType, Failure> {
    enid_core::instance_types::lookup(name).ok_or_else(|| {
        let close = enid_core::instance_types::closest(name);
        let hint =
            if close.is_empty() { String::new() } else { format!("; did you mean {}?", close.join(", ")) };
        Failure::arguments(anyhow!("--instance-type: `{name}` is not known{hint}"))
    })
}

/// A policy with the chosen strategy in its place: exactly that one, and no fallback that would answer in its place
/// unseen. `others` decide about the rest.
fn load(kind: Kind, choice: &Choice, others: PolicyConfig) -> Result<Policy, Failure> {
    let settings = Settings::default();
    let default = settings.strategies.of(kind).active.source.to_string();
    let text = choice.strategy.as_deref().unwrap_or(&default);
    let source = Source::parse(text, Path::new(""))
        .ok_or_else(|| Failure::arguments(anyhow!("--strategy `{text}` is not {}", Source::ALLOWED)))?;
    let digest = match &source {
        Source::File(path) => {
            // What it is now: asking about a component pins nothing.
            let digest = strategies::digest_of(path);
            Some(digest.map_err(|why| Failure::settings(anyhow!("--strategy {text}: {why}")))?)
        }
        Source::Named(_) => None,
    };
    let strategy = Strategy { source, digest, settings: choice.settings.clone(), ..Strategy::shipped("") };
    let refused = |why: anyhow::Error| Failure::settings(anyhow!("{why:#}; change --strategy or --set"));
    let strategy = strategies::strategy(&strategy, &Shelf::of(&settings))
        .map_err(|why| refused(anyhow!("--strategy {text}: {:#}", anyhow::Error::from(why))))?;
    let house = strategies::house_aside(&settings);
    let config = strategies::with_lineup(PolicyConfig { house, ..others }, kind, Lineup::only(strategy));
    Policy::new(&config).map_err(|why| refused(why.into()))
}

/// Prints one bare integer, ready for `--max-pods=$(…)`.
pub(crate) fn max_pods(query: &MaxPods) -> Result<(), Failure> {
    let kind = known(&query.instance_type)?;
    let policy = load(Kind::MaxPods, &query.choice, PolicyConfig::default())?;
    let max_enis = query.max_enis.map_or(kind.max_enis(), |max| max.min(kind.max_enis()));
    let snapshot = MaxPodsSnapshot {
        custom_networking: query.custom_networking,
        uncapped: query.no_cap,
        ..MaxPodsSnapshot::of(&kind, query.mode.into(), max_enis)
    };
    let decision = policy.decide_max_pods(&snapshot);
    refuse_faults(&decision.faults)?;
    println!("{}", decision.target);
    Ok(())
}

/// A strategy that was asked for by name must answer itself: a stand-in's answer would mislead.
fn refuse_faults(faults: &[String]) -> Result<(), Failure> {
    match faults.first() {
        Some(fault) => Err(Failure::settings(anyhow!("the strategy failed: {fault}"))),
        None => Ok(()),
    }
}

/// More calls than any node makes: where it comes to rest is asked, not when.
fn ample() -> BudgetConfig {
    let limit = Limit { burst: 1_000_000, per_second: 1_000_000 };
    BudgetConfig { limits: Class::ALL.map(|class| (class, limit)).into(), ..BudgetConfig::default() }
}

/// Adds pods one at a time to a fresh simulated node and prints where it comes to rest.
pub(crate) fn plan(query: &Plan) -> Result<(), Failure> {
    let kind = known(&query.instance_type)?;
    let mode: Mode = query.mode.into();
    if mode == Mode::Prefix && !kind.supports_prefixes() {
        let why = anyhow!(
            "--mode prefix: EC2 delegates prefixes to Nitro and bare-metal types only, and {} is neither",
            kind.name
        );
        return Err(Failure::arguments(why));
    }
    let policy = load(Kind::WarmPool, &query.choice, strategies::choose(&Document::defaults())?)?;
    // What the addresses allow, as in the incumbent's own table: the kubelet cap is not the pool's business.
    let ceiling = kind.max_enis() * kind.addresses_per_eni(mode) + 2;
    let (ec2, instance, subnet) = lone_instance(1, &kind, BEGIN).map_err(|why| anyhow!("{why}"))?;
    let elsewhere = EniConfig { name: "plan".to_owned(), subnets: vec![subnet], security_groups: Vec::new() };
    let custom_networking =
        if query.custom_networking { CustomNetworking::Use(elsewhere) } else { CustomNetworking::Off };
    let (max_pods, max_enis) = (Some(ceiling), query.max_enis);
    let config = Config { mode, max_pods, max_enis, custom_networking, budget: ample(), ..Config::default() };
    let mut node = SimNode::start(ec2, instance, config, policy, BEGIN + Duration::from_secs(120))
        .map_err(|why| anyhow!("{why}"))
        .context("start the simulated node")?;
    let mut settled = node.settle(SETTLE);
    let mut placed = 0;
    for pod in 0..query.pods {
        let ticket = node.add(&format!("pod-{pod}"));
        settled &= node.settle(SETTLE);
        match node.answer(ticket) {
            Some(Answer::Added(_)) => placed += 1,
            Some(Answer::TryLater(reason)) => {
                eprintln!("enid: {placed} of {} pods have an address; the next waits: {reason}", query.pods);
                break;
            }
            Some(Answer::Refused(refusal)) => return Err(anyhow!("{refusal}").into()),
            Some(Answer::Deleted | Answer::Collected { .. }) | None => {
                return Err(anyhow!("pod {pod} got no answer; this is a bug of enid").into());
            }
        }
    }
    for strategy in node.state().status(node.now()).strategies {
        refuse_faults(&strategy.faults)?;
    }
    let pool = node.state().pool_status(node.now());
    let per_eni = node.state().addresses_per_eni();
    let steady = Steady {
        enis: per_eni.len(),
        addresses: pool.total,
        prefixes: pool.prefixes,
        unused: pool.free,
        per_eni,
        pods: placed,
        settled,
        calls: node.ec2.calls(),
    };
    match query.output {
        Output::Json => println!("{}", serde_json::to_string(&steady).context("print the plan")?),
        Output::Text => {
            println!(
                "{} ENIs, {} addresses ({:?} per ENI) in {} prefixes, {} unused, {} pods",
                steady.enis, steady.addresses, steady.per_eni, steady.prefixes, steady.unused, steady.pods
            );
            for (call, count) in &steady.calls {
                println!("{count:>5} {call}");
            }
        }
    }
    Ok(())
}
