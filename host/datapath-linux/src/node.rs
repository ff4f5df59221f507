//! What holds for the whole node: forwarding, the rules that no pod and no ENI owns, our nftables tables.

use enid_core::wiring::NodeWiring;
use enid_engine::ports::DatapathError;

use crate::eni;
use crate::family::Family;
use crate::netlink::Netlink;
use crate::nft::Nft;
use crate::rule::{self, Rule};
use crate::ruleset::Ruleset;
use crate::sysctl;

/// Brings the node to its wiring, making before breaking: the rules that marks need are there before anything
/// is marked, and those of earlier settings go when no packet gets an earlier mark any more.
///
/// Connections may still carry one. Nothing brings it back to their packets, so the replies of those that came in
/// through the primary ENI leave by their pod's own: a change of the mark cuts them.
pub(crate) fn set_up(netlink: &mut Netlink, nft: &mut Nft, node: &NodeWiring) -> Result<(), DatapathError> {
    let primary = eni::link_of(netlink, node.primary_mac)?;
    let ruleset = Ruleset::of(node, &primary.name)?;
    sysctl::forward_ipv4()?;
    // The packets of node-local IPv6 addresses are forwarded, too.
    if node.families.ipv6() || node.egress.is_some() {
        sysctl::forward_ipv6(&primary.name)?;
    }
    if ruleset.marks(Family::Ipv4) {
        sysctl::accept_asymmetric_paths(&primary.name)?;
    }
    let mut standing = Vec::new();
    for family in Family::spoken() {
        standing.extend(rule::all(netlink, *family)?);
    }
    let wanted = rules(node, &ruleset);
    let missing = wanted.iter().filter(|rule| !standing.contains(rule));
    netlink.apply_in_batches(missing.map(rule::add).collect())?;
    nft.apply(&ruleset)?;
    let stale = standing.iter().filter(|rule| rule.is_node_wide() && !wanted.contains(rule));
    netlink.apply_in_batches(stale.map(rule::delete).collect())
}

fn rules(node: &NodeWiring, ruleset: &Ruleset) -> Vec<Rule> {
    let marked = [Family::Ipv4, Family::Ipv6].into_iter().filter(|family| ruleset.marks(*family));
    let services = node.external_services.iter().map(|range| Rule::to_service(*range));
    marked.map(|family| Rule::mark(family, node.mark)).chain(services).collect()
}
