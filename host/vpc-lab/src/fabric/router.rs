//! The router, the outside world and the empty nodes.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use ipnet::IpNet;

use super::{CORPORATE, DropCounts, FabricError, Footprint, Ground, OUTSIDE, OUTSIDE_V6};
use crate::iproute::{ip_batch, nft, nft_query};
use crate::namespace::NetNs;

/// The transfer net between router and outside world (RFC 5737, TEST-NET-1).
const INTERNET_GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The outside world's end of it.
const UPLINK: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// The IPv6 transfer net (RFC 3849, documentation).
const INTERNET_GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xfffe, 0, 0, 0, 0, 1);
/// The outside world's end of it.
const UPLINK_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xfffe, 0, 0, 0, 0, 2);

/// The source/destination check of every ENI. IPv6 neighbour discovery speaks from `::` and link-local
/// addresses, which no route leads back to.
const CHECKS: &str = r#"
table inet vpc {
  counter foreign_mac { }
  counter foreign_source { }
  set macs { type ifname . ether_addr; }
  chain ingress {
    type filter hook prerouting priority raw; policy accept;
    iifname "eni-*" iifname . ether saddr != @macs counter name foreign_mac drop
    iifname "eni-*" ip6 saddr { ::, fe80::/10 } accept
    iifname "eni-*" fib saddr . iif oif missing counter name foreign_source drop
  }
}
"#;

/// Sysctls of the router: forward everything, answer ARP for what is routed, leave checks to the table.
/// New links inherit `default`.
const ROUTER_SYSCTLS: &[(&str, &str)] = &[
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
    ("net/ipv4/conf/all/send_redirects", "0"),
    ("net/ipv4/conf/default/send_redirects", "0"),
    ("net/ipv4/conf/default/proxy_arp", "1"),
];

/// The same for IPv6. EC2 gives no address twice, so none is looked for before it is used.
const ROUTER_SYSCTLS_V6: &[(&str, &str)] = &[
    ("net/ipv6/conf/all/disable_ipv6", "0"),
    ("net/ipv6/conf/default/disable_ipv6", "0"),
    ("net/ipv6/conf/all/forwarding", "1"),
    ("net/ipv6/conf/default/accept_dad", "0"),
];

/// Sysctls of the outside world.
const OUTSIDE_SYSCTLS_V6: &[(&str, &str)] = &[
    ("net/ipv6/conf/all/disable_ipv6", "0"),
    ("net/ipv6/conf/default/disable_ipv6", "0"),
    ("net/ipv6/conf/default/accept_dad", "0"),
];

/// Sysctls that a node's image sets before any CNI runs. Forwarding IPv6 is the CNI's own business.
const NODE_SYSCTLS: &[(&str, &str)] = &[("net/ipv4/ip_forward", "1")];

/// Whether this kernel speaks IPv6 at all. Where it does not, a VPC without IPv6 works all the same.
pub(super) fn has_ipv6() -> bool {
    Path::new("/proc/sys/net/ipv6").exists()
}

/// Builds all namespaces, on no ground yet; stops at the first failure and leaves undoing to the caller.
pub(super) fn build(footprint: &Footprint) -> Result<(), FabricError> {
    let add: Vec<String> = footprint.made().map(|namespace| format!("netns add {namespace}")).collect();
    ip_batch(None, &add)?;

    let (vpc, inet) = (&footprint.vpc, &footprint.inet);
    set_sysctls(vpc, ROUTER_SYSCTLS)?;
    if has_ipv6() {
        set_sysctls(vpc, ROUTER_SYSCTLS_V6)?;
        set_sysctls(inet, OUTSIDE_SYSCTLS_V6)?;
    }
    ip_batch(
        Some(vpc),
        &[
            "link set lo up".to_owned(),
            format!("link add igw0 type veth peer name up0 netns {inet}"),
            "link set igw0 up".to_owned(),
            format!("addr add {INTERNET_GATEWAY}/24 dev igw0"),
        ],
    )?;
    nft(vpc, CHECKS)?;
    ip_batch(
        Some(inet),
        &[
            "link set lo up".to_owned(),
            format!("addr add {OUTSIDE}/32 dev lo"),
            format!("addr add {CORPORATE}/32 dev lo"),
            format!("addr add {UPLINK}/24 dev up0"),
            "link set up0 up".to_owned(),
        ],
    )?;
    ip_batch(Some(vpc), &[format!("route add default via {UPLINK}")])?;
    if has_ipv6() {
        let ours = format!("addr add {INTERNET_GATEWAY_V6}/64 dev igw0 nodad");
        ip_batch(Some(vpc), &[ours, format!("route add ::/0 via {UPLINK_V6}")])?;
        let theirs = format!("addr add {UPLINK_V6}/64 dev up0 nodad");
        ip_batch(Some(inet), &[theirs, format!("addr add {OUTSIDE_V6}/128 dev lo nodad")])?;
    }

    for node in footprint.nodes.values() {
        set_sysctls(node, NODE_SYSCTLS)?;
        ip_batch(Some(node), &["link set lo up".to_owned()])?;
    }
    Ok(())
}

/// Makes ranges and the router's addresses those of `want`, from those of `have`.
pub(super) fn regrade(footprint: &Footprint, have: &Ground, want: &Ground) -> Result<(), FabricError> {
    let mut router = Vec::new();
    let mut outside = Vec::new();
    for (verb, ranges) in
        [("del", less(&have.ranges, &want.ranges)), ("replace", less(&want.ranges, &have.ranges))]
    {
        for range in ranges {
            // Between the addresses that are owned: no ARP answer, ICMP unreachable.
            router.push(format!("route {verb} unreachable {range} metric 4096"));
            let gateway: IpAddr = match range {
                IpNet::V4(_) => INTERNET_GATEWAY.into(),
                IpNet::V6(_) => INTERNET_GATEWAY_V6.into(),
            };
            outside.push(format!("route {verb} {range} via {gateway}"));
        }
    }
    let (gone, new) = (
        less(&have.router_addresses, &want.router_addresses),
        less(&want.router_addresses, &have.router_addresses),
    );
    router.extend(gone.map(|address| format!("addr del {address}/32 dev lo")));
    router.extend(new.map(|address| format!("addr replace {address}/32 dev lo")));
    ip_batch(Some(&footprint.vpc), &router)?;
    Ok(ip_batch(Some(&footprint.inet), &outside)?)
}

fn less<'a, T: Ord>(these: &'a BTreeSet<T>, those: &'a BTreeSet<T>) -> impl Iterator<Item = &'a T> {
    these.difference(those)
}

/// Reads the named counters.
pub(super) fn drops(vpc: &NetNs) -> Result<DropCounts, FabricError> {
    let text = nft_query(Some(vpc), &["-j", "list", "counters", "table", "inet", "vpc"])?;
    let odd = |what: String| FabricError::Counters { what };
    let json: serde_json::Value = serde_json::from_str(&text).map_err(|error| odd(error.to_string()))?;
    let packets = |name: &str| {
        json["nftables"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|object| &object["counter"])
            .find(|counter| counter["name"] == name)
            .and_then(|counter| counter["packets"].as_u64())
            .ok_or_else(|| odd(format!("no counter `{name}`")))
    };
    Ok(DropCounts { foreign_mac: packets("foreign_mac")?, foreign_source: packets("foreign_source")? })
}

/// `/proc/sys/net` shows the namespace of the thread that looks.
fn set_sysctls(namespace: &NetNs, sysctls: &[(&str, &str)]) -> Result<(), FabricError> {
    let failed = |attempt: String| move |source: std::io::Error| FabricError::Namespace { attempt, source };
    namespace
        .inside(|| {
            for (key, value) in sysctls {
                fs::write(format!("/proc/sys/{key}"), value)
                    .map_err(failed(format!("set {key} = {value} in {namespace}")))?;
            }
            Ok(())
        })
        .map_err(failed(format!("enter {namespace}")))?
}
