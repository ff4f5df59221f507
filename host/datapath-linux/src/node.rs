//! What holds for the whole node: forwarding, the mark rule, our nftables table.

use enid_core::wiring::NodeWiring;
use enid_engine::ports::DatapathError;

use crate::eni;
use crate::netlink::Netlink;
use crate::nft::{Nft, Ruleset};
use crate::rule::{self, Rule};
use crate::sysctl;

/// Brings the node to its wiring. Marks are only set while the rule that they need is there.
pub(crate) fn set_up(netlink: &mut Netlink, nft: &mut Nft, node: &NodeWiring) -> Result<(), DatapathError> {
    let primary = eni::link_of(netlink, node.primary_mac)?;
    let ruleset = Ruleset::of(node, &primary.name)?;
    sysctl::forward()?;
    if marks(node) {
        sysctl::accept_asymmetric_paths(&primary.name)?;
        netlink.apply(vec![rule::add(&Rule::mark())])?;
        nft.apply(&ruleset)
    } else {
        nft.apply(&ruleset)?;
        netlink.apply(vec![rule::delete(&Rule::mark())])
    }
}

fn marks(node: &NodeWiring) -> bool {
    node.node_port || node.snat.is_some()
}
