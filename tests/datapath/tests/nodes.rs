//! Node-wide state: settings, the mark rule, and our nftables table as `nft -j` has it.

use anyhow::{Context, Result};
use datapath::namespace::Namespace;
use datapath::node::{SOON, rules};
use datapath::vpc::{Vpc, has_priority};
use datapath::wiring::{mac, node};
use datapath::{block_on, eventually, start, start_with};
use enid_core::wiring::{Families, Ingress, NodeWiring, SnatPorts};
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

fn handle(node: &Namespace, name: &str) -> Result<Value> {
    let table = node.nft_table(name)?;
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
    const OWN: &str = "own-sources filter prerouting -300";
    const NODE_PORT: &str = "node-port filter prerouting -150";
    const PODS: &str = "pods filter prerouting -90";
    const SNAT: &str = "translate nat postrouting 100";
    let vpc = Vpc::new()?;
    let datapath = start(&vpc.node)?;
    for (snat, node_port, chains) in [
        (Some(SnatPorts::Prng), true, vec![OWN, NODE_PORT, PODS, SNAT]),
        (None, true, vec![OWN, NODE_PORT, PODS]),
        (Some(SnatPorts::HashRandom), false, vec![OWN, PODS, SNAT]),
        (None, false, vec![OWN]),
        (Some(SnatPorts::None), true, vec![OWN, NODE_PORT, PODS, SNAT]),
    ] {
        block_on(datapath.set_up_node(&NodeWiring { snat, node_port, ..node() }))??;
        let table = vpc.node.nft_table("ip enid").unwrap_or_default();
        assert_eq!(base_chains(&table), chains, "{snat:?} {node_port}");
        assert_eq!(has_mark_rule(&vpc.node)?, chains.len() > 1, "{snat:?} {node_port}");
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
fn a_node_of_ipv6_pods_forwards_and_still_listens_to_the_vpcs_router() -> Result<()> {
    for (families, egress, forwarding, accept_ra, off) in [
        (Families::Ipv4, None, "0", "1", "1"),
        (Families::Ipv4, Some(SnatPorts::Prng), "1", "2", "0"),
        (Families::Ipv6, None, "1", "2", "0"),
        (Families::DualStack, None, "1", "2", "0"),
    ] {
        let vpc = Vpc::new()?;
        // Some images have it off.
        vpc.node.set_sysctl("ipv6/conf/eth0/disable_ipv6", "1")?;
        block_on(start(&vpc.node)?.set_up_node(&NodeWiring { families, egress, ..node() }))??;
        assert_eq!(vpc.node.sysctl("ipv6/conf/all/forwarding")?, forwarding, "{families:?}");
        assert_eq!(vpc.node.sysctl("ipv6/conf/eth0/accept_ra")?, accept_ra, "{families:?}");
        assert_eq!(vpc.node.sysctl("ipv6/conf/eth0/disable_ipv6")?, off, "{families:?}");
    }
    Ok(())
}

#[test]
fn a_default_route_that_the_vpcs_router_announced_survives() -> Result<()> {
    let vpc = Vpc::new()?;
    let announced = || Ok(!vpc.node.list("-6 route show default proto ra")?.is_empty());
    vpc.announce_router()?;
    eventually("the route is there", SOON, announced)?;
    block_on(start(&vpc.node)?.set_up_node(&everything()))??;
    assert!(announced()?, "it was forgotten");
    vpc.node.ip("-6 route flush proto ra")?;
    vpc.announce_router()?;
    eventually("the next one is heard, too", SOON, announced)
}

/// The rules at priority 1024, as `mark/mask table`.
fn mark_rules(node: &Namespace, family: &str) -> Result<Vec<String>> {
    let rules = node.list(&format!("{family} rule show"))?;
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let marking = rules.iter().filter(|rule| has_priority(rule, 1024));
    Ok(marking
        .map(|rule| format!("{}/{} {}", text(&rule["fwmark"]), text(&rule["fwmask"]), text(&rule["table"])))
        .collect())
}

#[test]
fn another_mark_takes_the_place_of_the_first() -> Result<()> {
    let vpc = Vpc::new()?;
    let datapath = start(&vpc.node)?;
    // Somebody else's, with a mask of its own.
    vpc.node.ip("rule add fwmark 0x100/0x300 lookup main priority 1024")?;
    let dual = NodeWiring { families: Families::DualStack, ..node() };
    for (mark, rule) in [(0x80, "0x80/0x80 main"), (0x4000, "0x4000/0x4000 main")] {
        block_on(datapath.set_up_node(&NodeWiring { mark, ..dual.clone() }))??;
        assert_eq!(mark_rules(&vpc.node, "-4")?, ["0x100/0x300 main", rule]);
        assert_eq!(mark_rules(&vpc.node, "-6")?, [rule]);
    }
    block_on(datapath.set_up_node(&NodeWiring { families: Families::Ipv4, mark: 0x4000, ..dual }))??;
    assert_eq!(mark_rules(&vpc.node, "-6")?, Vec::<String>::new());
    Ok(())
}

#[test]
fn external_services_have_the_rules_of_the_wiring_and_no_others() -> Result<()> {
    let vpc = Vpc::new()?;
    let datapath = start(&vpc.node)?;
    // A rule of another kind at the same priority is not ours.
    vpc.node.ip("rule add from 10.99.0.0/16 lookup main priority 1535")?;
    let foreign = "1535 from 10.99.0.0/16 main";
    let many: Vec<String> = (0..40).map(|n| format!("172.16.{n}.0/24")).collect();
    for ranges in [vec!["172.20.0.0/16", "192.168.1.7/32"], vec!["192.168.1.7/32", "172.21.0.0/16"]]
        .into_iter()
        .map(|ranges| ranges.into_iter().map(str::to_owned).collect())
        .chain([many, vec![]])
    {
        let external_services = ranges.iter().map(|range| range.parse()).collect::<Result<_, _>>()?;
        block_on(datapath.set_up_node(&NodeWiring { external_services, ..node() }))??;
        let mut wanted: Vec<String> =
            ranges.iter().map(|range| format!("1535 to {} main", range.trim_end_matches("/32"))).collect();
        wanted.push(foreign.to_owned());
        wanted.sort();
        let mut standing = rules(&vpc.node, "-4", &[1535])?;
        standing.sort();
        assert_eq!(standing, wanted);
    }
    Ok(())
}

#[test]
fn a_rule_that_sent_everything_through_the_primary_eni_goes_with_its_setting() -> Result<()> {
    let vpc = Vpc::new()?;
    let datapath = start(&vpc.node)?;
    // What an earlier process made of `0.0.0.0/0`, and rules of others that look at more than addresses.
    for rule in ["from all lookup main", "from all iif lo lookup main", "from all ipproto tcp lookup main"] {
        vpc.node.ip(&format!("rule add {rule} priority 1535"))?;
    }
    vpc.node.ip("-6 rule add from all lookup main priority 1535")?;
    let external_services = vec!["172.20.0.0/16".parse()?];
    block_on(datapath.set_up_node(&NodeWiring { external_services, ..node() }))??;
    let standing = || -> Result<Vec<String>> {
        let rules = vpc.node.ip("-4 rule show priority 1535")?;
        Ok(rules.lines().map(|line| line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")).collect())
    };
    let others = ["from all iif lo lookup main", "from all ipproto tcp lookup main"];
    assert_eq!(standing()?, [others[0], others[1], "from all to 172.20.0.0/16 lookup main"]);
    block_on(datapath.set_up_node(&node()))??;
    assert_eq!(standing()?, others);
    assert_eq!(rules(&vpc.node, "-6", &[1535])?, ["1535 from all main"]);
    Ok(())
}

/// Everything at once, in both families.
fn everything() -> NodeWiring {
    let sources = ["10.7.0.0/16", "2001:db8:7::/64"].map(|range| range.parse().expect("a range")).to_vec();
    NodeWiring {
        families: Families::DualStack,
        external_services: vec!["172.20.0.0/16".parse().expect("a range")],
        ingress: Ingress::Cluster { sources },
        ..node()
    }
}

#[test]
fn a_second_application_writes_nothing() -> Result<()> {
    let vpc = Vpc::new()?;
    let datapath = start(&vpc.node)?;
    block_on(datapath.set_up_node(&everything()))??;
    let tables = || -> Result<Vec<Value>> {
        ["ip enid", "ip6 enid"].map(|name| handle(&vpc.node, name)).into_iter().collect()
    };
    let before = tables()?;
    let watch = vpc.node.watch()?;
    block_on(datapath.set_up_node(&everything()))??;
    assert_eq!(tables()?, before);
    assert_eq!(watch.seen()?, Vec::<u16>::new());
    // Nor does another process write links, addresses, routes or rules.
    datapath.shutdown();
    block_on(start(&vpc.node)?.set_up_node(&everything()))??;
    assert_eq!(watch.seen()?, Vec::<u16>::new());
    Ok(())
}

#[test]
fn a_table_with_nothing_to_do_is_removed() -> Result<()> {
    let vpc = Vpc::new()?;
    block_on(start(&vpc.node)?.set_up_node(&everything()))??;
    // An earlier process left it.
    let datapath = start(&vpc.node)?;
    block_on(datapath.set_up_node(&node()))??;
    assert!(vpc.node.nft_table("ip enid").is_ok() && vpc.node.nft_table("ip6 enid").is_err());
    Ok(())
}

#[test]
fn a_refused_wiring_changes_nothing() -> Result<()> {
    let vpc = Vpc::new()?;
    let datapath = start(&vpc.node)?;
    block_on(datapath.set_up_node(&node()))??;
    let before = handle(&vpc.node, "ip enid")?;
    for refused in [
        NodeWiring { vpc_cidrs: vec![], ..node() },
        NodeWiring { mark: 0, ..node() },
        NodeWiring { veth_prefix: "et".to_owned().try_into().expect("a prefix"), ..node() },
        NodeWiring { egress: Some(SnatPorts::Prng), primary_ipv6: None, ..node() },
    ] {
        assert!(block_on(datapath.set_up_node(&refused))?.is_err(), "{refused:?}");
    }
    assert_eq!(handle(&vpc.node, "ip enid")?, before);
    assert_eq!(mark_rules(&vpc.node, "-4")?, ["0x80/0x80 main"]);
    Ok(())
}

#[test]
fn a_table_that_is_right_is_not_written_again() -> Result<()> {
    let vpc = Vpc::new()?;
    let datapath = start(&vpc.node)?;
    block_on(datapath.set_up_node(&node()))??;
    let first = handle(&vpc.node, "ip enid")?;
    block_on(datapath.set_up_node(&node()))??;
    assert_eq!(handle(&vpc.node, "ip enid")?, first);
    let wider = NodeWiring { vpc_cidrs: vec!["10.7.0.0/16".parse()?, "100.64.0.0/16".parse()?], ..node() };
    block_on(datapath.set_up_node(&wider))??;
    assert_ne!(handle(&vpc.node, "ip enid")?, first);
    Ok(())
}

#[test]
fn a_restart_keeps_the_table_that_is_right_and_no_other() -> Result<()> {
    let vpc = Vpc::new()?;
    let restart = |wiring: &NodeWiring| -> Result<_> {
        let datapath = start(&vpc.node)?;
        block_on(datapath.set_up_node(wiring))??;
        datapath.shutdown();
        handle(&vpc.node, "ip enid")
    };
    let first = restart(&node())?;
    assert_eq!(restart(&node())?, first);
    // Meanwhile, by somebody else.
    vpc.node.nft("add element ip enid vpc { 1.0.0.0/8 }")?;
    let second = restart(&node())?;
    assert_ne!(second, first);
    assert_eq!(restart(&node())?, second);
    let wider = NodeWiring { vpc_cidrs: vec!["10.7.0.0/16".parse()?, "100.64.0.0/16".parse()?], ..node() };
    assert_ne!(restart(&wider)?, second);
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
        let before = handle(&vpc.node, "ip enid")?;
        vpc.node.nft(damage)?;
        block_on(datapath.set_up_node(&node()))??;
        assert_eq!(count(&vpc.node)?, whole, "{damage}");
        assert_ne!(handle(&vpc.node, "ip enid")?, before, "{damage}");
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
