//! Which sources pods may send from: their own, on the interface that has them.

use anyhow::{Context, Result, ensure};
use datapath::cluster::{Cluster, FURTHER, PLAIN, RICH, RICH_V6};
use datapath::namespace::Namespace;
use datapath::vpc::{NEIGHBOUR, NEIGHBOUR_V6, OUTSIDE};
use datapath::wiring::{PRIMARY, PRIMARY_V6, dual_pod};

/// A pod of both families beside those of the cluster.
const OTHER: &str = "10.7.0.61";
const OTHER_V6: &str = "2001:db8:7:0:1::61";

/// Packets of both families that were dropped because of their source.
fn forged(cluster: &Cluster) -> Result<[u64; 2]> {
    let counted = |table| cluster.vpc.node.counted(table, "forged-source");
    Ok([counted("ip enid")?, counted("ip6 enid")?])
}

/// Whether one ping under this source is answered.
fn is_answered(from: &Namespace, source: &str, to: &str) -> Result<bool> {
    let ping = from.ping(&format!("-c1 -W1 -q -I {source} {to}"))?;
    Ok(ping.join().expect("the ping thread ends")?.contains("1 received"))
}

/// Sends one ping under this source; nobody is expected to answer it.
fn send(from: &Namespace, source: &str, to: &str) -> Result<()> {
    let ping = from.ping(&format!("-c1 -W0.1 -q -I {source} {to}"))?;
    let summary = ping.join().expect("the ping thread ends")?;
    ensure!(summary.contains("1 packets transmitted, 0 received"), "{source} to {to}: {summary}");
    Ok(())
}

fn cluster() -> Result<Cluster> {
    let mut cluster = Cluster::new()?;
    cluster.add(dual_pod("enid", OTHER, OTHER_V6))?;
    [OTHER, OTHER_V6].iter().try_for_each(|address| cluster.vpc.assign("eni-p", address))?;
    cluster.carries()?;
    Ok(cluster)
}

/// Counts what gets past the check, as the next one in line sees it.
fn watch_sources(node: &Namespace, sources: &[(&str, &str)]) -> Result<()> {
    let rules = |family: &str| -> String {
        let of_family = sources.iter().filter(|(one, _)| *one == family);
        of_family
            .map(|(_, source)| format!("iifname \"eni*\" {family} saddr {source} counter name seen\n"))
            .collect()
    };
    for family in ["ip", "ip6"] {
        node.nft(&format!(
            "table {family} watch {{ counter seen {{ }}
             chain c {{ type filter hook prerouting priority -250; policy accept;
             {}}}
             }}",
            rules(family)
        ))?;
    }
    Ok(())
}

#[test]
fn a_pod_cannot_send_with_an_address_that_is_not_its_own() -> Result<()> {
    let cluster = cluster()?;
    let (_, other) = cluster.pod(OTHER)?;
    let (v4, v6) = ("ip", "ip6");
    let stolen =
        [(v4, RICH), (v4, PLAIN), (v4, PRIMARY), (v4, "198.51.100.9"), (v6, RICH_V6), (v6, PRIMARY_V6)];
    watch_sources(&cluster.vpc.node, &stolen)?;
    let mut expected = [0, 0];
    for (family, source) in stolen {
        let targets =
            if family == v4 { [NEIGHBOUR, PRIMARY, FURTHER] } else { [NEIGHBOUR_V6, PRIMARY_V6, RICH_V6] };
        let length = if family == v4 { "32" } else { "128 nodad" };
        other.ip(&format!("addr add {source}/{length} dev lo"))?;
        for to in targets.into_iter().filter(|to| *to != source) {
            send(other, source, to)?;
            expected[usize::from(family == v6)] += 1;
            assert_eq!(forged(&cluster)?, expected, "{source} to {to}");
        }
        other.ip(&format!("addr del {source}/{} dev lo", length.trim_end_matches(" nodad")))?;
    }
    for family in ["ip", "ip6"] {
        assert_eq!(cluster.vpc.node.counted(&format!("{family} watch"), "seen")?, 0, "{family}");
    }
    assert!(is_answered(other, OTHER, NEIGHBOUR)? && is_answered(other, OTHER_V6, NEIGHBOUR_V6)?);
    assert_eq!((forged(&cluster)?, cluster.vpc.dropped()?), (expected, 0));
    Ok(())
}

#[test]
fn what_pods_send_of_their_own_is_let_through() -> Result<()> {
    let cluster = cluster()?;
    let (_, rich) = cluster.pod(RICH)?;
    for to in [PLAIN, OTHER, PRIMARY, NEIGHBOUR] {
        for own in [RICH, FURTHER] {
            assert!(is_answered(rich, own, to)?, "{own} to {to}");
        }
    }
    assert!(is_answered(rich, RICH, OUTSIDE)?);
    for to in [OTHER_V6, PRIMARY_V6, NEIGHBOUR_V6] {
        assert!(is_answered(rich, RICH_V6, to)?, "to {to}");
    }
    // To the other end of its link, by link-local addresses.
    let outside = cluster.vpc.node.only("-6 addr show dev enib scope link")?;
    let host_end = outside["addr_info"]
        .as_array()
        .and_then(|addresses| addresses.iter().find(|address| address["scope"] == "link")?["local"].as_str());
    let host_end = format!("{}%eth0", host_end.context("a link-local address")?);
    cluster.settle()?;
    assert!(is_answered(rich, "eth0", &host_end)?);
    assert_eq!(forged(&cluster)?, [0, 0]);
    Ok(())
}

#[test]
fn an_interface_does_not_send_for_the_other() -> Result<()> {
    let cluster = cluster()?;
    let (_, rich) = cluster.pod(RICH)?;
    // Without the rule, packets of the second interface leave by the first.
    rich.ip("rule del priority 1")?;
    send(rich, FURTHER, NEIGHBOUR)?;
    assert_eq!(forged(&cluster)?, [1, 0]);
    cluster.repair(RICH)??;
    assert!(is_answered(rich, FURTHER, NEIGHBOUR)?);
    Ok(())
}
