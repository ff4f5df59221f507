//! Secondary ENIs: the exact kernel state, and that setting them up again takes nothing away meanwhile.

use std::time::Duration;

use anyhow::{Context, Result};
use datapath::namespace::Namespace;
use datapath::vpc::{NEIGHBOUR, OUTSIDE, Vpc, has_priority};
use datapath::wiring::{MTU, SECONDARY, SECONDARY_MAC, SECONDARY_TABLE, mac, node, pod, secondary_eni};
use datapath::{block_on, eventually, start};
use enid_core::wiring::{EniWiring, Seat};
use enid_engine::ports::{Datapath, DatapathError};
use serde_json::Value;

fn addresses(node: &Namespace) -> Result<Vec<String>> {
    let link = node.only("-4 addr show dev eth1")?;
    let listed = link["addr_info"].as_array().context("addresses")?;
    Ok(listed
        .iter()
        .map(|address| format!("{}/{}", address["local"], address["prefixlen"]).replace('"', ""))
        .collect())
}

fn routes(node: &Namespace, table: &str) -> Result<Vec<String>> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    Ok(node
        .list(&format!("route show table {table} dev eth1"))?
        .iter()
        .map(|route| {
            format!("{} via {} scope {}", text(&route["dst"]), text(&route["gateway"]), text(&route["scope"]))
        })
        .collect())
}

#[test]
fn a_secondary_eni_looks_as_the_incumbents_do() -> Result<()> {
    let vpc = Vpc::new()?;
    let datapath = start(&vpc.node)?;
    block_on(datapath.set_up_eni(&secondary_eni()))??;

    let link = vpc.node.only("link show dev eth1")?;
    assert_eq!((link["mtu"].as_u64(), &link["operstate"]), (Some(MTU.into()), &"UP".into()));
    assert_eq!(addresses(&vpc.node)?, [format!("{SECONDARY}/20")]);
    assert_eq!(routes(&vpc.node, "2")?, ["default via 10.7.0.1 scope global", "10.7.0.1 via - scope link"]);
    assert_eq!(routes(&vpc.node, "main")?, Vec::<String>::new());
    let rules = vpc.node.list("rule show")?;
    let rule = rules.iter().find(|rule| has_priority(rule, 32765)).context("rule 32765")?;
    assert_eq!((&rule["src"], &rule["table"]), (&SECONDARY.into(), &"2".into()));
    Ok(())
}

#[test]
fn what_an_image_configured_on_the_link_is_put_right() -> Result<()> {
    let vpc = Vpc::new()?;
    // A DHCP client and an address helper were here: a subnet route in main, a pod's address on the node.
    vpc.node.ip("link set eth1 up mtu 1500")?;
    vpc.node.ip("addr add 10.7.0.77/20 dev eth1")?;
    vpc.node.ip(&format!("addr add {SECONDARY}/20 dev eth1"))?;
    let datapath = start(&vpc.node)?;
    block_on(datapath.set_up_eni(&secondary_eni()))??;
    assert_eq!(addresses(&vpc.node)?, [format!("{SECONDARY}/20")]);
    assert_eq!(routes(&vpc.node, "main")?, Vec::<String>::new());
    assert_eq!(vpc.node.only("link show dev eth1")?["mtu"], MTU);
    Ok(())
}

#[test]
fn a_link_that_has_not_appeared_is_named() -> Result<()> {
    let vpc = Vpc::new()?;
    let datapath = start(&vpc.node)?;
    let eni = EniWiring { mac: mac("02:07:00:00:00:99"), ..secondary_eni() };
    assert_eq!(block_on(datapath.set_up_eni(&eni))?, Err(DatapathError::NoSuchLink { mac: eni.mac }));
    Ok(())
}

#[test]
fn the_primary_eni_is_not_touched() -> Result<()> {
    let vpc = Vpc::new()?;
    let datapath = start(&vpc.node)?;
    let before = vpc.node.ip("addr show dev eth0")?;
    let eni = EniWiring { seat: Seat::PRIMARY, ..secondary_eni() };
    assert!(block_on(datapath.set_up_eni(&eni))?.is_err());
    assert!(block_on(datapath.tear_down_eni(&eni))?.is_err());
    assert_eq!(vpc.node.ip("addr show dev eth0")?, before);
    Ok(())
}

#[test]
fn a_restart_changes_nothing_in_the_kernel() -> Result<()> {
    let vpc = Vpc::new()?;
    let first = start(&vpc.node)?;
    block_on(first.set_up_node(&node()))??;
    block_on(first.set_up_eni(&secondary_eni()))??;
    first.shutdown();
    let settled = || Ok(vpc.node.only("link show dev eth1")?["operstate"] == "UP");
    eventually("eth1 is operational", Duration::from_secs(2), settled)?;

    let watch = vpc.node.watch()?;
    let second = start(&vpc.node)?;
    block_on(second.set_up_node(&node()))??;
    block_on(second.set_up_eni(&secondary_eni()))??;
    assert_eq!(watch.seen()?, Vec::<u16>::new());
    Ok(())
}

#[test]
fn a_restart_loses_no_packet() -> Result<()> {
    let vpc = Vpc::new()?;
    let netns = Namespace::new("p")?;
    vpc.assign("eni-s", "10.7.0.50")?;
    let first = start(&vpc.node)?;
    block_on(first.set_up_node(&node()))??;
    block_on(first.set_up_eni(&secondary_eni()))??;
    block_on(first.wire_pod(&pod("enia", "10.7.0.50", SECONDARY_TABLE), netns.fd()?))??;
    first.shutdown();
    // One stream leaves by the secondary ENI, the other is translated and leaves by the primary.
    for address in [NEIGHBOUR, OUTSIDE] {
        // The router's end of the link notices its carrier a moment after the ENI is up.
        eventually(&format!("{address} is reached"), Duration::from_secs(3), || netns.reaches(address))?;
    }
    let streams = [
        netns.ping(&format!("-i 0.005 -c 300 -q {NEIGHBOUR}"))?,
        netns.ping(&format!("-i 0.005 -c 300 -q {OUTSIDE}"))?,
    ];
    while !streams.iter().all(|stream| stream.is_finished()) {
        let next = start(&vpc.node)?;
        block_on(next.set_up_node(&node()))??;
        block_on(next.set_up_eni(&secondary_eni()))??;
    }
    for stream in streams {
        let summary = stream.join().expect("the ping thread ends")?;
        assert!(summary.contains("300 received"), "{summary}");
    }
    assert_eq!(vpc.dropped()?, 0);
    Ok(())
}

#[test]
fn tearing_down_removes_the_rule_and_the_table() -> Result<()> {
    let vpc = Vpc::new()?;
    let datapath = start(&vpc.node)?;
    block_on(datapath.set_up_eni(&secondary_eni()))??;
    for _ in 0..2 {
        block_on(datapath.tear_down_eni(&secondary_eni()))??;
        assert_eq!(routes(&vpc.node, "2")?, Vec::<String>::new());
        assert!(!vpc.node.list("rule show")?.iter().any(|rule| has_priority(rule, 32765)));
    }
    vpc.node.ip("link del eth1")?;
    Ok(block_on(datapath.tear_down_eni(&secondary_eni()))??)
}

#[test]
fn a_late_tear_down_does_not_hurt_the_next_eni_on_the_seat() -> Result<()> {
    let vpc = Vpc::new()?;
    let datapath = start(&vpc.node)?;
    block_on(datapath.set_up_eni(&secondary_eni()))??;
    let before = EniWiring {
        eni: "eni-before".parse()?,
        mac: mac("02:07:00:00:00:13"),
        address: "10.7.0.19".parse()?,
        ..secondary_eni()
    };
    assert_ne!(before.mac, mac(SECONDARY_MAC));
    block_on(datapath.tear_down_eni(&before))??;
    assert_eq!(routes(&vpc.node, "2")?.len(), 2);
    assert!(vpc.node.list("rule show")?.iter().any(|rule| has_priority(rule, 32765)));
    Ok(())
}
