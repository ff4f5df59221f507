//! One ENI's port: the link into the node, its neighbours, its MAC check and its address routes.

use std::net::Ipv6Addr;

use enid_core::ids::{EniId, IfName, Mac};
use ipnet::IpNet;

use super::router::has_ipv6;
use super::{FabricEni, Footprint, GATEWAY_V6, Primary};
use crate::iproute::{ToolError, ip_batch, nft};
use crate::namespace::NetNs;

/// The MTU inside a VPC.
const MTU: u32 = 9001;
/// The router's next hop behind every port: a permanent neighbour that is the ENI's MAC, so that the node is
/// never asked by ARP which addresses it has.
const NEXT_HOP: &str = "169.254.0.1";
/// The same for IPv6, for which the node is never asked by neighbour discovery.
const NEXT_HOP_V6: &str = "fe80::e:1";
/// What an instance reaches metadata through, on the link itself.
const METADATA: &str = "169.254.169.254";
/// Characters of the ENI id that fit into a link name after `eni-`.
const TAIL: usize = 11;

/// The router's name for an ENI's port: `eni-` and the end of the id.
pub(super) fn name(eni: &EniId) -> String {
    let tail = eni.as_str().trim_start_matches("eni-");
    format!("eni-{}", &tail[tail.len().saturating_sub(TAIL)..])
}

/// Whether only addresses differ that a link can gain and lose.
pub(super) fn same_link(have: &FabricEni, want: &FabricEni) -> bool {
    let FabricEni { id, node, seat, mac, primary, addresses: _ } = have;
    let by_dhcp =
        |primary: &Option<Primary>| primary.map(|Primary { address, gateway, ipv6: _ }| (address, gateway));
    *id == want.id
        && *node == want.node
        && *seat == want.seat
        && *mac == want.mac
        && by_dhcp(primary) == by_dhcp(&want.primary)
}

/// Makes the link appear in the node as `ifname`. Hot-plug is over when the link has its routes: a node that
/// sees the link can use the addresses.
pub(super) fn plug(
    footprint: &Footprint,
    node: &NetNs,
    eni: &FabricEni,
    ifname: &IfName,
) -> Result<(), ToolError> {
    let (port, mac) = (name(&eni.id), eni.mac);
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
    if has_ipv6() {
        lines.push(format!("addr add {GATEWAY_V6}/128 dev {port} nodad"));
        lines.push(format!("neigh replace {NEXT_HOP_V6} lladdr {mac} dev {port} nud permanent"));
    }
    lines.extend(eni.addresses.iter().map(|owned| route("replace", &port, owned)));
    ip_batch(Some(&footprint.vpc), &lines)?;
    match &eni.primary {
        Some(primary) => configure(node, ifname, mac, primary),
        None => Ok(()),
    }
}

/// Does what the node's image does with its primary link.
fn configure(node: &NetNs, ifname: &IfName, mac: Mac, primary: &Primary) -> Result<(), ToolError> {
    let Primary { address, gateway, ipv6 } = primary;
    let mut lines = vec![
        format!("addr replace {address} dev {ifname}"),
        format!("link set {ifname} up"),
        format!("route replace default via {gateway} dev {ifname}"),
        format!("route replace {METADATA} dev {ifname}"),
    ];
    if has_ipv6() {
        // The kernel's own link-local address, without a second of looking for duplicates in which no neighbour
        // could be asked for: a node that booted long ago has that behind it.
        lines.insert(0, format!("link set {ifname} addrgenmode none"));
        lines.push(format!("addr replace {}/64 dev {ifname} nodad", link_local(mac)));
    }
    lines.extend(ipv6.iter().flat_map(|address| take_ipv6(ifname, *address)));
    ip_batch(Some(node), &lines)
}

/// The link-local address that follows from a MAC (RFC 4291, appendix A).
fn link_local(mac: Mac) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.0;
    let pair = u16::from_be_bytes;
    let [first, second, third, last] = [pair([a ^ 2, b]), pair([c, 0xff]), pair([0xfe, d]), pair([e, f])];
    Ipv6Addr::new(0xfe80, 0, 0, 0, first, second, third, last)
}

/// EC2 gives no address twice, so nobody has to be asked.
fn take_ipv6(ifname: &IfName, address: Ipv6Addr) -> [String; 2] {
    [
        format!("addr replace {address}/128 dev {ifname} nodad"),
        format!("route replace ::/0 via {GATEWAY_V6} dev {ifname}"),
    ]
}

/// Makes the primary link's IPv6 address in the node follow the ENI's.
pub(super) fn reconfigure(
    node: &NetNs,
    ifname: &IfName,
    have: &FabricEni,
    want: &FabricEni,
) -> Result<(), ToolError> {
    let of = |eni: &FabricEni| eni.primary.and_then(|primary| primary.ipv6);
    let (before, after) = (of(have), of(want));
    if before == after {
        return Ok(());
    }
    let gone = before.map(|address| format!("addr del {address}/128 dev {ifname}"));
    let new = after.into_iter().flat_map(|address| take_ipv6(ifname, address));
    ip_batch(Some(node), &gone.into_iter().chain(new).collect::<Vec<_>>())
}

/// Takes away the routes to what a plugged ENI no longer owns; how many there were.
pub(super) fn withdraw(
    footprint: &Footprint,
    have: &FabricEni,
    want: &FabricEni,
) -> Result<usize, ToolError> {
    change_routes(
        footprint,
        "del",
        &have.id,
        have.addresses.iter().filter(|owned| !want.addresses.contains(owned)),
    )
}

/// Makes the routes to what a plugged ENI owns since; how many there are.
pub(super) fn grant(footprint: &Footprint, have: &FabricEni, want: &FabricEni) -> Result<usize, ToolError> {
    change_routes(
        footprint,
        "replace",
        &want.id,
        want.addresses.iter().filter(|owned| !have.addresses.contains(owned)),
    )
}

fn change_routes<'a>(
    footprint: &Footprint,
    verb: &str,
    eni: &EniId,
    addresses: impl Iterator<Item = &'a IpNet>,
) -> Result<usize, ToolError> {
    let port = name(eni);
    let lines: Vec<String> = addresses.map(|owned| route(verb, &port, owned)).collect();
    ip_batch(Some(&footprint.vpc), &lines)?;
    Ok(lines.len())
}

/// Takes the link away, and with it the routes and the neighbours.
pub(super) fn unplug(footprint: &Footprint, eni: &FabricEni) -> Result<(), ToolError> {
    let port = name(&eni.id);
    let link = ip_batch(Some(&footprint.vpc), &[format!("link del {port}")]);
    let element =
        nft(&footprint.vpc, &format!("delete element inet vpc macs {{ \"{port}\" . {} }}\n", eni.mac));
    link.and(element)
}

fn route(verb: &str, port: &str, owned: &IpNet) -> String {
    let next_hop = match owned {
        IpNet::V4(_) => NEXT_HOP,
        IpNet::V6(_) => NEXT_HOP_V6,
    };
    format!("route {verb} {owned} via {next_hop} dev {port} onlink")
}
