//! Node-wide state: settings, the mark rule, and our nftables table as `nft -j` has it.

use anyhow::{Context, Result};
use datapath::namespace::Namespace;
use datapath::vpc::{Vpc, has_priority};
use datapath::wiring::{mac, node};
use datapath::{block_on, start, start_with};
use enid_core::wiring::{NodeWiring, SnatPorts};
use enid_datapath_linux::DatapathOptions;
use enid_engine::ports::{Datapath, DatapathError};
use serde_json::{Value, json};

/// Base chains as `name hook priority`.
fn base_chains(table: &[Value]) -> Vec<String> {
    let chains = table.iter().map(|entry| &entry["chain"]).filter(|chain| !chain["hook"].is_null());
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    chains
        .map(|chain| {
            format!(
                "{} {} {} {}",
                text(&chain["name"]),
                text(&chain["type"]),
                text(&chain["hook"]),
                chain["prio"]
            )
        })
        .collect()
}

fn handle(node: &Namespace) -> Result<Value> {
    let table = node.nft_table("ip enid")?;
    Ok(table.iter().find_map(|entry| entry.get("table")).context("the table")?["handle"].clone())
}

fn has_mark_rule(node: &Namespace) -> Result<bool> {
    let rules = node.list("rule show")?;
    Ok(rules.iter().any(|rule| {
        has_priority(rule, 1024)
            && rule["fwmark"] == "0x80"
            && rule["fwmask"] == "0x80"
            && rule["table"] == "main"
    }))
}

#[test]
fn a_node_forwards_and_accepts_asymmetric_paths_on_its_primary_eni() -> Result<()> {
    let vpc = Vpc::new()?;
    vpc.node.set_sysctl("ipv4/conf/eth0/rp_filter", "1")?;
    block_on(start(&vpc.node)?.set_up_node(&node()))??;
    assert_eq!(vpc.node.sysctl("ipv4/ip_forward")?, "1");
    assert_eq!(vpc.node.sysctl("ipv4/conf/eth0/rp_filter")?, "2");
    assert!(has_mark_rule(&vpc.node)?);
    Ok(())
}

#[test]
fn the_table_holds_what_the_settings_ask_for() -> Result<()> {
    const NODE_PORT: &str = "node-port filter prerouting -150";
    const PODS: &str = "pods filter prerouting -90";
    const SNAT: &str = "translate nat postrouting 100";
    let vpc = Vpc::new()?;
    let datapath = start(&vpc.node)?;
    for (snat, node_port, chains) in [
        (Some(SnatPorts::Prng), true, vec![NODE_PORT, PODS, SNAT]),
        (None, true, vec![NODE_PORT, PODS]),
        (Some(SnatPorts::HashRandom), false, vec![PODS, SNAT]),
        (None, false, vec![]),
        (Some(SnatPorts::None), true, vec![NODE_PORT, PODS, SNAT]),
    ] {
        block_on(datapath.set_up_node(&NodeWiring { snat, node_port, ..node() }))??;
        let table = vpc.node.nft_table("ip enid").unwrap_or_default();
        assert_eq!(base_chains(&table), chains, "{snat:?} {node_port}");
        assert_eq!(has_mark_rule(&vpc.node)?, !chains.is_empty(), "{snat:?} {node_port}");
    }
    Ok(())
}

#[test]
fn ranges_and_translation_are_those_of_the_wiring() -> Result<()> {
    let vpc = Vpc::new()?;
    block_on(start(&vpc.node)?.set_up_node(&node()))??;
    let table = vpc.node.nft_table("ip enid")?;
    let set = |name: &str| {
        table.iter().map(|entry| &entry["set"]).find(|set| set["name"] == name).map(|set| set["elem"].clone())
    };
    assert_eq!(set("vpc"), Some(json!([{"prefix": {"addr": "10.7.0.0", "len": 16}}])));
    assert_eq!(set("exclude"), Some(json!([{"prefix": {"addr": "203.0.113.0", "len": 24}}])));
    let snat = table
        .iter()
        .filter_map(|entry| entry["rule"]["expr"].as_array())
        .find_map(|expressions| expressions.iter().find_map(|expression| expression.get("snat")))
        .context("a snat statement")?;
    assert_eq!((&snat["addr"], &snat["flags"]), (&json!("10.7.0.10"), &json!("fully-random")));
    Ok(())
}

#[test]
fn a_table_that_is_right_is_not_written_again() -> Result<()> {
    let vpc = Vpc::new()?;
    let datapath = start(&vpc.node)?;
    block_on(datapath.set_up_node(&node()))??;
    let first = handle(&vpc.node)?;
    block_on(datapath.set_up_node(&node()))??;
    assert_eq!(handle(&vpc.node)?, first);
    let wider = NodeWiring { vpc_cidrs: vec!["10.7.0.0/16".parse()?, "100.64.0.0/16".parse()?], ..node() };
    block_on(datapath.set_up_node(&wider))??;
    assert_ne!(handle(&vpc.node)?, first);
    Ok(())
}

#[test]
fn a_table_that_somebody_changed_is_written_again() -> Result<()> {
    for damage in
        ["delete table ip enid", "flush chain ip enid translate", "add element ip enid vpc { 1.0.0.0/8 }"]
    {
        let vpc = Vpc::new()?;
        let datapath = start(&vpc.node)?;
        block_on(datapath.set_up_node(&node()))??;
        let count = |node: &Namespace| -> Result<usize> { Ok(node.nft_table("ip enid")?.len()) };
        let whole = count(&vpc.node)?;
        let before = handle(&vpc.node)?;
        vpc.node.nft(damage)?;
        block_on(datapath.set_up_node(&node()))??;
        assert_eq!(count(&vpc.node)?, whole, "{damage}");
        assert_ne!(handle(&vpc.node)?, before, "{damage}");
    }
    Ok(())
}

#[test]
fn other_tables_are_left_alone() -> Result<()> {
    let vpc = Vpc::new()?;
    vpc.node.nft("table ip other { chain c { }; }")?;
    let datapath = start(&vpc.node)?;
    block_on(datapath.set_up_node(&node()))??;
    block_on(datapath.set_up_node(&NodeWiring { snat: None, node_port: false, ..node() }))??;
    assert!(!vpc.node.nft_table("ip other")?.is_empty());
    Ok(())
}

#[test]
fn a_missing_primary_link_is_named_before_anything_is_changed() -> Result<()> {
    let vpc = Vpc::new()?;
    let wiring = NodeWiring { primary_mac: mac("02:07:00:00:00:99"), ..node() };
    let refusal = block_on(start(&vpc.node)?.set_up_node(&wiring))?;
    assert_eq!(refusal, Err(DatapathError::NoSuchLink { mac: wiring.primary_mac }));
    assert!(!has_mark_rule(&vpc.node)? && vpc.node.nft_table("ip enid").is_err());
    Ok(())
}

#[test]
fn a_missing_program_is_named_with_its_package() -> Result<()> {
    let vpc = Vpc::new()?;
    let options = DatapathOptions { nft: "/nowhere/nft".into(), ..DatapathOptions::default() };
    let refusal = block_on(start_with(&vpc.node, options)?.set_up_node(&node()))?;
    let Err(DatapathError::Kernel { why, .. }) = refusal else { panic!("{refusal:?}") };
    assert!(why.contains("/nowhere/nft") && why.contains("package nftables"), "{why}");
    Ok(())
}
