//! What holds for the whole node: forwarding, the rules that no pod and no ENI owns, our nftables tables.

use enid_core::wiring::NodeWiring;
use enid_engine::ports::DatapathError;

use crate::eni;
use crate::family::Family;
use crate::fault::Faults;
use crate::link;
use crate::netlink::Netlink;
use crate::nft::Nft;
use crate::rule::{self, Rule};
use crate::ruleset::Ruleset;
use crate::sysctl::{self, Setting};
use crate::tables::Tables;

/// A node's wiring in the kernel's words.
struct Target {
    settings: Vec<Setting>,
    rules: Vec<Rule>,
    ruleset: Ruleset,
}

impl Target {
    /// `primary` is the link of the primary ENI.
    fn of(node: &NodeWiring, primary: &str) -> Result<Self, DatapathError> {
        let ruleset = Ruleset::of(node, primary)?;
        let mut settings = vec![sysctl::forward_ipv4()];
        // The packets of node-local IPv6 addresses are forwarded, too.
        if node.families.ipv6() || node.egress.is_some() {
            settings.extend(sysctl::forward_ipv6(primary));
        }
        if ruleset.marks(Family::Ipv4) {
            settings.push(sysctl::accept_asymmetric_paths(primary));
        }
        let marked = [Family::Ipv4, Family::Ipv6].into_iter().filter(|family| ruleset.marks(*family));
        let services = node.external_services.iter().map(|range| Rule::to_service(*range));
        let rules = marked.map(|family| Rule::mark(family, node.mark)).chain(services).collect();
        Ok(Self { settings, rules, ruleset })
    }

    fn missing<'a>(&'a self, tables: &'a Tables) -> impl Iterator<Item = &'a Rule> {
        self.rules.iter().filter(|rule| !tables.has_rule(rule))
    }

    fn stale<'a>(&'a self, tables: &'a Tables) -> impl Iterator<Item = &'a Rule> {
        tables.all_rules().filter(|rule| rule.is_node_wide() && !self.rules.contains(rule))
    }
}

/// Brings the node to its wiring, making before breaking: the rules that marks need are there before anything
/// is marked, and those of earlier settings go when no packet gets an earlier mark any more.
///
/// Connections may still carry one. Nothing brings it back to their packets, so the replies of those that came in
/// through the primary ENI leave by their pod's own: a change of the mark cuts them.
pub(crate) fn set_up(netlink: &mut Netlink, nft: &mut Nft, node: &NodeWiring) -> Result<(), DatapathError> {
    let primary = eni::link_of(netlink, node.primary_mac)?;
    let target = Target::of(node, &primary.name)?;
    for setting in &target.settings {
        let is_wrong = setting.other_value()?.is_some();
        if is_wrong {
            setting.write()?;
        }
        if is_wrong && *setting == sysctl::forward_all_ipv6() {
            keep_pods_hosts(netlink, node)?;
        }
    }
    let mut standing = Tables::default();
    for family in Family::spoken() {
        standing.read_rules(netlink, *family)?;
    }
    netlink.apply_in_batches(target.missing(&standing).map(rule::add).collect())?;
    nft.apply(&target.ruleset)?;
    netlink.apply_in_batches(target.stale(&standing).map(rule::delete).collect())
}

/// Switching forwarding on makes a router of every link, the host ends of pods included.
fn keep_pods_hosts(netlink: &mut Netlink, node: &NodeWiring) -> Result<(), DatapathError> {
    for link in link::all(netlink)?.iter().filter(|link| link.name.starts_with(node.veth_prefix.as_str())) {
        for setting in sysctl::be_a_host_to_the_pod(&link.name) {
            setting.apply()?;
        }
    }
    Ok(())
}

/// Whether a rule of the node is not in tables that have all of them.
pub(crate) fn lacks_rules(tables: &Tables, node: &NodeWiring) -> bool {
    let primary = eni::link_among(tables, node.primary_mac);
    let target = primary.and_then(|primary| Target::of(node, &primary.name));
    target.is_ok_and(|target| target.missing(tables).next().is_some())
}

/// In words, what setting the node up would change. The tables have all links, and all rules.
pub(crate) fn drift(tables: &Tables, nft: &Nft, node: &NodeWiring) -> Result<Vec<String>, DatapathError> {
    let target =
        match eni::link_among(tables, node.primary_mac).and_then(|primary| Target::of(node, &primary.name)) {
            Ok(target) => target,
            // Then it cannot be set up either, which says so again.
            Err(error) => return Ok(vec![error.to_string()]),
        };
    let mut faults = Faults::default();
    for setting in &target.settings {
        faults.setting(setting.clone())?;
    }
    let settings = faults.0.into_iter().map(|fault| fault.what);
    let missing = target.missing(tables).map(|rule| format!("rule {rule} is missing"));
    let stale = target.stale(tables).map(|rule| format!("rule {rule} is from earlier settings"));
    Ok(settings.chain(missing).chain(nft.drift(&target.ruleset)?).chain(stale).collect())
}
