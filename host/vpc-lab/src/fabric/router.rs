//! The router, the outside world and the empty nodes.

use std::fs;
use std::net::Ipv4Addr;

use super::{DropCounts, FabricError, Footprint, Layout, OUTSIDE};
use crate::iproute::{ip_batch, nft, nft_query};
use crate::namespace::NetNs;

/// The transfer net between router and outside world (RFC 5737, TEST-NET-1).
const INTERNET_GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The outside world's end of it.
const UPLINK: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

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

/// Sysctls that a node's image sets before any CNI runs.
const NODE_SYSCTLS: &[(&str, &str)] = &[("net/ipv4/ip_forward", "1")];

/// Builds all namespaces; stops at the first failure and leaves undoing to the caller.
pub(super) fn build(footprint: &Footprint, layout: &Layout) -> Result<(), FabricError> {
    let add: Vec<String> = footprint.made().map(|namespace| format!("netns add {namespace}")).collect();
    ip_batch(None, &add)?;

    set_sysctls(&footprint.vpc, ROUTER_SYSCTLS)?;
    let (vpc, inet) = (&footprint.vpc, &footprint.inet);
    let mut lines = vec![
        "link set lo up".to_owned(),
        // Between the addresses that are owned: no ARP answer, ICMP unreachable.
        format!("route add unreachable {} metric 4096", layout.vpc),
        format!("link add igw0 type veth peer name up0 netns {inet}"),
        "link set igw0 up".to_owned(),
        format!("addr add {INTERNET_GATEWAY}/24 dev igw0"),
    ];
    lines.extend(layout.router_addresses.iter().map(|address| format!("addr add {address}/32 dev lo")));
    ip_batch(Some(vpc), &lines)?;
    nft(vpc, CHECKS)?;

    ip_batch(
        Some(inet),
        &[
            "link set lo up".to_owned(),
            format!("addr add {OUTSIDE}/32 dev lo"),
            format!("addr add {UPLINK}/24 dev up0"),
            "link set up0 up".to_owned(),
            format!("route add {} via {INTERNET_GATEWAY}", layout.vpc),
        ],
    )?;
    ip_batch(Some(vpc), &[format!("route add default via {UPLINK}")])?;

    for node in footprint.nodes.values() {
        set_sysctls(node, NODE_SYSCTLS)?;
        ip_batch(Some(node), &["link set lo up".to_owned()])?;
    }
    Ok(())
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
