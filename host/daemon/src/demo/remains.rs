//! What is left behind: on a node when its pods are gone, on the machine when the demo is over.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result};
use enid_core::wiring::{RULE_FROM_POD, RULE_TO_POD};
use enid_vpc_lab::iproute::{ip_query, nft_query};
use enid_vpc_lab::namespace;
use serde_json::Value;

use super::ledger::Ledger;
use super::node::Node;
use super::patience::wait_for;
use super::world::World;

/// How long the kernel may take to make a link disappear after the pod is gone.
const LINK_END: Duration = Duration::from_secs(3);

/// The machine's own network, outside all namespaces of the demo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Machine(BTreeSet<String>);

impl Machine {
    /// Looks at links, rules, routes, nftables tables, and namespaces whose name starts with `prefix`.
    pub(super) fn look(prefix: &str) -> Result<Self> {
        let mut things = BTreeSet::new();
        let links = parsed(&ip_query(None, &["-j", "link"])?)?;
        let names = links.iter().filter_map(|link| link["ifname"].as_str());
        things.extend(names.map(|name| format!("link {name}")));
        for (kind, arguments) in
            [("rule", ["rule", "show"].as_slice()), ("route", &["route", "show", "table", "all"])]
        {
            let text = ip_query(None, arguments)?;
            things.extend(text.lines().map(|line| format!("{kind} {}", line.trim())));
        }
        let tables = nft_query(None, &["list", "tables"])?;
        things.extend(tables.lines().map(|line| format!("nft {}", line.trim())));
        let namespaces = namespace::all().context("list network namespaces")?;
        let ours = namespaces.iter().filter(|namespace| namespace.name().starts_with(&format!("{prefix}-")));
        things.extend(ours.map(|namespace| format!("namespace {namespace}")));
        Ok(Self(things))
    }
}

/// On every node: no rule, route or link of a pod is left.
pub(super) fn check_nodes(world: &World, ledger: &mut Ledger) {
    for node in &world.nodes {
        let what = format!("no pod's rule, route or link left on {}", node.name());
        let gone = wait_for("leftovers to go", LINK_END, || match leftovers(world, node) {
            Ok(left) if left.is_empty() => Ok(()),
            Ok(left) => Err(left.join("; ")),
            Err(error) => Err(format!("{error:#}")),
        });
        let outcome = gone.map(|()| "none".to_owned()).map_err(|error| format!("{error:#}"));
        ledger.check(&what, "none within 3 s of DEL", outcome);
    }
}

/// On the machine: everything is as it was before.
pub(super) fn check_machine(before: &Machine, after: &Machine, ledger: &mut Ledger) {
    let new: Vec<&str> = after.0.difference(&before.0).map(String::as_str).collect();
    let lost: Vec<&str> = before.0.difference(&after.0).map(String::as_str).collect();
    let expected = format!("the {} things that were there before", before.0.len());
    let outcome = match (new.is_empty(), lost.is_empty()) {
        (true, true) => {
            Ok("no link, rule, route, nft table or namespace more or less than before".to_owned())
        }
        (_, _) => Err(format!("new: {}; lost: {}", list(&new), list(&lost))),
    };
    ledger.check("the machine is as it was", &expected, outcome);
}

fn leftovers(world: &World, node: &Node) -> Result<Vec<String>> {
    let inside = Some(node.namespace());
    let mut left = Vec::new();
    for rule in parsed(&ip_query(inside, &["-j", "rule"])?)? {
        let priority = rule["priority"].as_u64();
        if [RULE_TO_POD, RULE_FROM_POD].iter().any(|pods| priority == Some(u64::from(*pods))) {
            left.push(format!("rule {rule}"));
        }
    }
    let pods: Vec<String> = world.pods.iter().map(|pod| pod.address.to_string()).collect();
    for route in parsed(&ip_query(inside, &["-j", "-4", "route", "show", "table", "main"])?)? {
        if route["dst"].as_str().is_some_and(|to| pods.iter().any(|pod| pod == to)) {
            left.push(format!("route {route}"));
        }
    }
    for link in parsed(&ip_query(inside, &["-j", "link", "show", "type", "veth"])?)? {
        // ENIs are veths as well here, with the names that an instance's kernel gives: eth0, eth1.
        let name = link["ifname"].as_str().unwrap_or_default();
        if !name.is_empty() && !name.starts_with("eth") {
            left.push(format!("link {name}"));
        }
    }
    Ok(left)
}

/// What `ip -j` printed; nothing at all when there is nothing.
fn parsed(text: &str) -> Result<Vec<Value>> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    serde_json::from_str(text).context("read what `ip -j` printed")
}

fn list(things: &[&str]) -> String {
    if things.is_empty() { "nothing".to_owned() } else { things.join(", ") }
}
