//! The half of the demo that needs no kernel: real decisions by real components, on models of EC2 and of the
//! datapath, in virtual time.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use enid_core::event::Answer;
use enid_core::ids::InstanceId;
use enid_core::node::Config;
use enid_core::proposal::Band;
use enid_core::report::Decision;
use enid_core::snapshot::{MaxPodsSnapshot, Setting, SubnetSnapshot, Value, WarmPoolSnapshot};
use enid_core::time::Timestamp;
use enid_engine::ports::Strategist;
use enid_policy_wasm::{Kind, Lineup, Policy, PolicyConfig, StrategyConfig};
use enid_sim::node::SimNode;
use enid_vpc_lab::lab::landscape::Landscape;
use enid_vpc_lab::lab::region::Region;

use super::PODS;
use super::ledger::{Ledger, table};
use super::policy::{GENEROUS, LEAN, NODE, OTHER, SHIPPED, shown};
use crate::settings::{Settings, Strategy};
use crate::strategies::{self, Shelf};

/// Virtual time that the node may take for anything.
const WITHIN: Duration = Duration::from_secs(120);
/// When virtual time begins: any moment would do.
const BEGIN: Timestamp = Timestamp(1_700_000_000_000);
/// How long an address rests.
const COOLDOWN: Duration = Duration::from_secs(30);

/// Components that can be replaced while a node asks them.
#[derive(Clone)]
struct Components(Arc<Policy>);

impl Strategist for Components {
    fn warm_pool(&self, snapshot: &WarmPoolSnapshot) -> Decision<Band> {
        self.0.warm_pool(snapshot)
    }
    fn max_pods(&self, snapshot: &MaxPodsSnapshot) -> Decision<u32> {
        self.0.max_pods(snapshot)
    }
    fn subnets(&self, snapshot: &SubnetSnapshot) -> Decision<Vec<u16>> {
        self.0.subnets(snapshot)
    }
}

/// A node and its components.
struct Node {
    name: String,
    components: Components,
    sim: SimNode<Components>,
    pods: Vec<(String, IpAddr, Duration)>,
}

/// Runs it; success when every check passed.
pub(super) fn run() -> Result<ExitCode> {
    let mut ledger = Ledger::begin();
    ledger.act("simulated: two nodes in virtual time, asking the shipped components");
    let mut nodes = start()?;
    for node in &nodes {
        ledger.note(format!("{}: {}", node.name, node.pool()));
    }
    ledger.act("simulated: 14 pods");
    let mut number = 0;
    for (node, pods) in nodes.iter_mut().zip(PODS) {
        for _ in 0..pods {
            number += 1;
            node.add(&format!("web-{number}"))?;
        }
    }
    check_pods(&nodes, &mut ledger);
    ledger.act("simulated: another warm-pool setting, then another component");
    let node = &mut nodes[NODE];
    node.swap(shipped(SHIPPED)?, LEAN, &mut ledger)?;
    node.swap(StrategyConfig { name: "our-own-pool".to_owned(), ..shipped(OTHER)? }, GENEROUS, &mut ledger)?;
    ledger.act("simulated: why is it there?");
    let (_, address, _) = node.pods.first().context("no pod on the first node")?;
    let explanation = node.sim.state().explain_address(*address, node.sim.now());
    ledger.note(explanation.lines.join("\n"));
    ledger.act("simulated: the pods go");
    nodes.iter_mut().try_for_each(|node| node.delete_pods(&mut ledger))?;
    println!("\nNot shown without root: links, routes, packets, `enid run` and `enid-cni` themselves.");
    Ok(if ledger.close() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn start() -> Result<Vec<Node>> {
    let landscape = Landscape::standard();
    let region = Region::build(&landscape, BEGIN).context("build the region")?;
    let mut nodes = Vec::new();
    for (instance, name) in &region.nodes {
        // Each node sees its own copy of the region: they live in different zones and never meet.
        nodes.push(Node::start(region.ec2.clone(), instance.clone(), name.clone())?);
    }
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(nodes)
}

fn check_pods(nodes: &[Node], ledger: &mut Ledger) {
    let mut rows = Vec::new();
    let mut owned = 0;
    for node in nodes {
        for (pod, address, waited) in &node.pods {
            let eni = node.sim.ec2.interfaces().find(|eni| eni.owns(*address));
            owned += usize::from(eni.is_some());
            rows.push(vec![
                format!("default/{pod}"),
                node.name.clone(),
                address.to_string(),
                eni.map_or_else(String::new, |eni| eni.id.to_string()),
                format!("{:.1}", waited.as_secs_f64()),
            ]);
        }
    }
    ledger.note(table(&["pod", "node", "IP", "ENI", "waited s (virtual)"], &rows));
    let distinct: BTreeSet<_> =
        nodes.iter().flat_map(|node| &node.pods).map(|(_, address, _)| address).collect();
    ledger.check_equal("pods with an address of their own", &PODS.iter().sum(), &distinct.len());
    ledger.check_equal("addresses that EC2 has on an ENI", &rows.len(), &owned);
    let small: usize =
        nodes.iter().skip(1).map(|node| node.sim.state().status(node.sim.now()).enis.len()).sum();
    ledger.check_equal("ENIs of the t3.small", &3, &small);
}

impl Node {
    fn start(ec2: enid_sim::ec2::Ec2, instance: InstanceId, name: String) -> Result<Self> {
        let policy = Policy::new(&PolicyConfig {
            warm_pool: Lineup::only(with_settings(shipped(SHIPPED)?, &[("warm_eni_target", 1)])),
            max_pods: Lineup::only(shipped("eks-max-pods")?),
            subnet_selection: Lineup::only(shipped("most-free")?),
            house: strategies::house_aside(&Settings::default()),
            ..PolicyConfig::default()
        });
        let components = Components(Arc::new(policy.context("load the shipped strategies")?));
        let config = Config { cooldown: COOLDOWN, ..Config::default() };
        let mut sim = SimNode::start(ec2, instance, config, components.clone(), BEGIN)?;
        if !sim.settle(WITHIN) {
            bail!("{name} does not settle: {:?}", sim.state().pool_status(sim.now()));
        }
        Ok(Self { name, components, sim, pods: Vec::new() })
    }

    fn pool(&self) -> String {
        let pool = self.sim.state().pool_status(self.sim.now());
        format!(
            "{} addresses: {} bound, {} free, {} cooling",
            pool.total, pool.bound, pool.free, pool.cooling
        )
    }

    fn add(&mut self, pod: &str) -> Result<()> {
        let begun = self.sim.now();
        let ticket = self.sim.add(pod);
        // In small steps, because settling would also wait for supply that comes after the pod.
        while self.sim.answer(ticket).is_none() && self.sim.now().since(begun) < WITHIN {
            self.sim.pass(Duration::from_millis(10));
        }
        let waited = self.sim.now().since(begun);
        match self.sim.answer(ticket) {
            Some(Answer::Added(holder)) => self.pods.push((pod.to_owned(), holder.wiring.key(), waited)),
            other @ (Some(
                Answer::Deleted | Answer::Collected { .. } | Answer::TryLater(_) | Answer::Refused(_),
            )
            | None) => {
                bail!("ADD of {pod} on {}: {other:?}", self.name)
            }
        }
        Ok(())
    }

    fn swap(
        &mut self,
        component: StrategyConfig,
        (settings, total): (&[(&str, i64)], u64),
        ledger: &mut Ledger,
    ) -> Result<()> {
        let before = self.pool();
        let component = with_settings(component, settings);
        let name = component.name.clone();
        let config = PolicyConfig { warm_pool: Lineup::only(component), ..PolicyConfig::default() };
        self.components.0.replace(Kind::WarmPool, &config).context("replace the strategy")?;
        self.sim.reconfigure(self.sim.state().config().clone());
        // Surplus goes back in steps, seconds apart; a node at rest is settled before the last of them.
        self.sim.pass(WITHIN);
        ledger.note(format!(
            "{}: use = {name:?}, {}: {before} → {}",
            self.name,
            shown(settings),
            self.pool()
        ));
        let now = u64::from(self.sim.state().pool_status(self.sim.now()).total);
        ledger.check_equal("addresses on the node's ENIs", &total, &now);
        Ok(())
    }

    fn delete_pods(&mut self, ledger: &mut Ledger) -> Result<()> {
        for (pod, _, _) in &self.pods {
            let ticket = self.sim.del(pod);
            self.sim.pass(Duration::from_millis(1));
            match self.sim.answer(ticket) {
                Some(Answer::Deleted) => {}
                other @ (Some(
                    Answer::Added(_) | Answer::Collected { .. } | Answer::TryLater(_) | Answer::Refused(_),
                )
                | None) => {
                    bail!("DEL of {pod} on {}: {other:?}", self.name)
                }
            }
        }
        ledger.note(format!("{} right after: {}", self.name, self.pool()));
        let cooling = usize::try_from(self.sim.state().pool_status(self.sim.now()).cooling)?;
        ledger.check_equal(&format!("{}: addresses that cool down", self.name), &self.pods.len(), &cooling);
        self.sim.pass(COOLDOWN + Duration::from_secs(1));
        self.sim.settle(WITHIN);
        let pool = self.sim.state().pool_status(self.sim.now());
        ledger.note(format!("{} {} s later: {}", self.name, COOLDOWN.as_secs() + 1, self.pool()));
        ledger.check_equal(
            &format!("{}: still cooling or bound", self.name),
            &0,
            &(pool.cooling + pool.bound),
        );
        Ok(())
    }
}

/// A shipped strategy, as `enid run` finds it.
fn shipped(name: &str) -> Result<StrategyConfig> {
    let shelf = Shelf::of(&Settings::default());
    strategies::strategy(&Strategy::shipped(name), &shelf).context("build them with `cargo xtask strategies`")
}

fn with_settings(component: StrategyConfig, settings: &[(&str, i64)]) -> StrategyConfig {
    let settings =
        settings.iter().map(|(key, number)| Setting { key: (*key).to_owned(), value: Value::Int(*number) });
    StrategyConfig { settings: settings.collect(), ..component }
}
