//! One ENI's port: the link into the node, its neighbour, its MAC check and its address routes.

use std::collections::BTreeSet;

use enid_core::ids::EniId;
use ipnet::Ipv4Net;

use super::{FabricEni, Footprint};
use crate::iproute::{ToolError, ip_batch, nft};
use crate::namespace::NetNs;

/// The MTU inside a VPC.
const MTU: u32 = 9001;
/// The router's next hop behind every port: a permanent neighbour that is the ENI's MAC, so that the node is
/// never asked by ARP which addresses it has.
const NEXT_HOP: &str = "169.254.0.1";
/// What an instance reaches metadata through, on the link itself.
const METADATA: &str = "169.254.169.254";
/// Characters of the ENI id that fit into a link name after `eni-`.
const TAIL: usize = 11;

/// The router's name for an ENI's port: `eni-` and the end of the id.
pub(super) fn name(eni: &EniId) -> String {
    let tail = eni.as_str().trim_start_matches("eni-");
    format!("eni-{}", &tail[tail.len().saturating_sub(TAIL)..])
}

/// Whether only addresses differ.
pub(super) fn same_link(have: &FabricEni, want: &FabricEni) -> bool {
    let FabricEni { id, node, ifname, mac, primary, addresses: _ } = have;
    *id == want.id
        && *node == want.node
        && *ifname == want.ifname
        && *mac == want.mac
        && *primary == want.primary
}

/// Makes the link appear in the node. Hot-plug is over when the link has its routes: a node that sees the
/// link can use the addresses.
pub(super) fn plug(footprint: &Footprint, node: &NetNs, eni: &FabricEni) -> Result<(), ToolError> {
    let (port, mac, ifname) = (name(&eni.id), eni.mac, &eni.ifname);
    nft(&footprint.vpc, &format!("add element inet vpc macs {{ \"{port}\" . {mac} }}\n"))?;
    let mut lines = vec![
        format!(
            "link add {port} mtu {MTU} type veth peer name {ifname} mtu {MTU} address {mac} netns {node}"
        ),
        // Otherwise the router answers ARP after a random delay of up to 0.8 s.
        format!("ntable change name arp_cache dev {port} proxy_delay 0"),
        format!("link set {port} up"),
        format!("neigh replace {NEXT_HOP} lladdr {mac} dev {port} nud permanent"),
    ];
    lines.extend(eni.addresses.iter().map(|owned| route("replace", &port, owned)));
    ip_batch(Some(&footprint.vpc), &lines)?;
    if let Some((address, gateway)) = eni.primary {
        ip_batch(
            Some(node),
            &[
                format!("addr replace {address} dev {ifname}"),
                format!("link set {ifname} up"),
                format!("route replace default via {gateway} dev {ifname}"),
                format!("route replace {METADATA} dev {ifname}"),
            ],
        )?;
    }
    Ok(())
}

/// Makes the routes of a plugged ENI follow its addresses; how many changed.
pub(super) fn readdress(
    footprint: &Footprint,
    have: &FabricEni,
    want: &FabricEni,
) -> Result<usize, ToolError> {
    let port = name(&want.id);
    let before: BTreeSet<&Ipv4Net> = have.addresses.iter().collect();
    let after: BTreeSet<&Ipv4Net> = want.addresses.iter().collect();
    let gone = before.difference(&after).map(|owned| route("del", &port, owned));
    let new = after.difference(&before).map(|owned| route("replace", &port, owned));
    let lines: Vec<String> = gone.chain(new).collect();
    ip_batch(Some(&footprint.vpc), &lines)?;
    Ok(lines.len())
}

/// Takes the link away, and with it the routes and the neighbour.
pub(super) fn unplug(footprint: &Footprint, eni: &FabricEni) -> Result<(), ToolError> {
    let port = name(&eni.id);
    let link = ip_batch(Some(&footprint.vpc), &[format!("link del {port}")]);
    let element =
        nft(&footprint.vpc, &format!("delete element inet vpc macs {{ \"{port}\" . {} }}\n", eni.mac));
    link.and(element)
}

fn route(verb: &str, port: &str, owned: &Ipv4Net) -> String {
    format!("route {verb} {owned} via {NEXT_HOP} dev {port} onlink")
}
