//! Allocation behaviour, swapped while the daemon runs: first a setting, then the component itself.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use enid_component_store::Digest;

use super::ledger::Ledger;
use super::node::{Decision, Node};
use super::patience::wait_for;
use super::world::World;
use crate::settings::Settings;
use crate::strategies;

/// How long a changed file may take to be in force.
const IN_FORCE: Duration = Duration::from_secs(5);
/// How long the pool may take to reach the new target: ENIs take seconds to come and go.
const FOLLOWED: Duration = Duration::from_secs(20);
/// The node whose strategy changes: the m5.large, which has room to breathe.
pub(super) const NODE: usize = 0;
/// The shipped warm-pool strategy.
pub(super) const SHIPPED: &str = "warm-targets";
/// The component that is dropped in: another strategy, under the operator's own name for the file.
pub(super) const OTHER: &str = "batched";
/// What the operator calls the file that is dropped in.
const DROPPED_IN: &str = "our-own-pool.wasm";
/// Settings of the second act, and the pool that they mean for six pods: six and two to spare. What is too
/// much goes at once instead of after the usual minute, so that the demo can show it.
pub(super) const LEAN: (&[(&str, i64)], u64) = (&[("warm_ip_target", 2), ("release_after_secs", 1)], 8);
/// Settings of the third act, and the pool that they mean for six pods: two batches of eight.
pub(super) const GENEROUS: (&[(&str, i64)], u64) = (&[("batch", 8)], 16);

/// A component as the settings file names it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chosen<'a> {
    /// A shipped name or a file.
    pub(super) component: &'a str,
    /// What it must hash to; a shipped one needs none.
    pub(super) digest: Option<Digest>,
}

impl fmt::Display for Chosen<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "use = {:?}", self.component)?;
        self.digest.map_or(Ok(()), |digest| write!(f, ", digest = \"{digest}\""))
    }
}

/// Asks one daemon why an ENI and an address are there.
pub(super) fn explain(world: &World, ledger: &mut Ledger) -> Result<()> {
    let pod = world.pods.iter().find(|pod| world.is_on_secondary_eni(pod.address));
    let pod = pod.context("no pod on a secondary ENI")?;
    let eni = world.eni_of(pod.address)?;
    let node = world.node(pod.node);
    for (kind, subject) in [("eni", eni.id.to_string()), ("address", pod.address.to_string())] {
        let answer = node.explain(kind, &subject);
        let what = format!("enid explain {kind} {subject}");
        let outcome = match answer {
            Ok(text) if text.contains(&subject) && text.contains("why") => {
                ledger.note(&text);
                Ok("says why".to_owned())
            }
            Ok(text) => Err(format!("{text:?}")),
            Err(error) => Err(format!("{error:#}")),
        };
        ledger.check(&what, "names it and says why it is there", outcome);
    }
    Ok(())
}

/// Edits the settings of the shipped component.
pub(super) fn change_setting(world: &World, ledger: &mut Ledger) -> Result<()> {
    let node = world.node(NODE);
    swap(world, node, Chosen { component: SHIPPED, digest: None }, LEAN, ledger)
}

/// Puts a component file next to the settings and chooses it.
pub(super) fn drop_in(world: &World, ledger: &mut Ledger) -> Result<()> {
    let from = component(OTHER)?;
    let path = world.directory().join(DROPPED_IN);
    fs::copy(&from, &path).with_context(|| format!("copy {} to {}", from.display(), path.display()))?;
    let digest = strategies::digest_of(&path).with_context(|| format!("read {}", path.display()))?;
    let path = path.to_str().context("the directory's name is not text")?;
    let node = world.node(NODE);
    swap(world, node, Chosen { component: path, digest: Some(digest) }, GENEROUS, ledger)?;
    let answering =
        node.report()?.decision("warm-pool").map(|decision| decision.strategy).unwrap_or_default();
    let outcome = if answering.contains("our-own-pool") { Ok } else { Err };
    ledger.check("who decides now", "the component in our-own-pool.wasm", outcome(answering));
    Ok(())
}

/// Edits the settings file and waits until the new target is in force and EC2 has what it says.
fn swap(
    world: &World,
    node: &Node,
    chosen: Chosen<'_>,
    (settings, total): (&[(&str, i64)], u64),
    ledger: &mut Ledger,
) -> Result<()> {
    let (pid, before) = (node.pid(), decision(node)?);
    let pool_before = owned(world)?;
    node.choose_warm_pool(chosen, settings)?;
    ledger.note(format!("{}: {chosen}, {}", node.settings().display(), shown(settings)));

    let taken_over = wait_for("the new target", IN_FORCE, || {
        let now = decision(node).map_err(|error| format!("{error:#}"))?;
        if now.target != before.target || now.strategy != before.strategy { Ok(now) } else { Err(now.target) }
    });
    let outcome = taken_over.map(|now| {
        format!("{} → {} ({}, {}: {})", before.target, now.target, now.strategy, now.rung, now.reason)
    });
    let outcome = outcome.map_err(|error| format!("{error:#}"));
    ledger.check("the daemon takes the change over", "another target within 5 s", outcome);

    let followed = wait_for("the pool", FOLLOWED, || match owned(world) {
        Ok(now) if now == total => Ok(format!("{pool_before} → {now} addresses on the node's ENIs in EC2")),
        Ok(now) => Err(format!("{now} addresses")),
        Err(error) => Err(format!("{error:#}")),
    });
    let expected = format!("{total} addresses in EC2 within {} s", FOLLOWED.as_secs());
    ledger.check("the pool follows", &expected, followed.map_err(|error| format!("{error:#}")));

    let outcome = match node.report() {
        Ok(_) if node.pid() == pid => Ok(format!("process {pid} still serves")),
        Ok(_) => Err(format!("process {} serves", node.pid())),
        Err(error) => Err(format!("{error:#}")),
    };
    ledger.check("without a restart", &format!("process {pid} still serves"), outcome);
    Ok(())
}

/// Settings as the file has them.
pub(super) fn shown(settings: &[(&str, i64)]) -> String {
    settings.iter().map(|(key, number)| format!("{key} = {number}")).collect::<Vec<_>>().join(", ")
}

fn decision(node: &Node) -> Result<Decision> {
    node.report()?.decision("warm-pool").context("`enid status` shows no warm-pool decision")
}

/// Pod addresses on the node's ENIs, as EC2 counts them.
fn owned(world: &World) -> Result<u64> {
    Ok(world.attached_enis(NODE)?.iter().map(|eni| eni.addresses.len() as u64).sum())
}

/// The file of a shipped component: where `enid run` finds it.
fn component(name: &str) -> Result<PathBuf> {
    let file = strategies::directory(&Settings::default()).join(format!("{name}.wasm"));
    ensure!(file.is_file(), "no component at {}: build it with `cargo xtask strategies`", file.display());
    Ok(file)
}
