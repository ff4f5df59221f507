//! Wiring and unwiring pods: the exact kernel state, who owns it, and what is left when something fails.

use std::fs::File;

use anyhow::{Context, Result};
use datapath::namespace::Namespace;
use datapath::node::{Node, SOON};
use datapath::wiring::{MTU, SECONDARY_TABLE, pod, primary_pod};
use datapath::{block_on, eventually, start};
use enid_core::wiring::PodWiring;
use enid_engine::ports::{Datapath, DatapathError, Wired};
use serde_json::Value;

fn up(link: &Value) -> bool {
    link["flags"].as_array().is_some_and(|flags| flags.contains(&Value::from("UP")))
}

#[test]
fn a_wired_pod_looks_as_the_incumbents_do() -> Result<()> {
    let (node, netns) = (Node::new()?, Namespace::new("p")?);
    let wiring = pod("enia", "10.7.0.50", SECONDARY_TABLE);
    let Wired(macs) = node.wire(&wiring, &netns)??;

    let host = node.namespace.only("link show dev enia")?;
    assert_eq!(host["address"], macs[0].host.to_string());
    assert_eq!((host["mtu"].as_u64(), up(&host)), (Some(MTU.into()), true));
    assert_eq!((&host["linkinfo"]["info_kind"], &host["group"]), (&"veth".into(), &"default".into()));
    assert_eq!(macs[0].host.0[0] & 0x03, 0x02, "locally administered and unicast");
    assert_eq!(node.namespace.sysctl("ipv6/conf/enia/accept_ra")?, "0");
    let route = node.namespace.only("route show table main 10.7.0.50")?;
    assert_eq!(
        (&route["dst"], &route["dev"], &route["scope"]),
        (&"10.7.0.50".into(), &"enia".into(), &"link".into())
    );
    assert_eq!(node.rules()?, ["512 to 10.7.0.50 main", "1536 from 10.7.0.50 2"]);

    let inside = netns.only("link show dev eth0")?;
    assert_eq!(inside["address"], macs[0].pod.to_string());
    assert_eq!((inside["mtu"].as_u64(), up(&inside)), (Some(MTU.into()), true));
    assert!(up(&netns.only("link show dev lo")?));
    let addresses = netns.only("-4 addr show dev eth0")?;
    let address = &addresses["addr_info"][0];
    assert_eq!((&address["local"], &address["prefixlen"]), (&"10.7.0.50".into(), &32.into()));
    let routes = netns.list("route show")?;
    assert_eq!(routes.len(), 2, "{routes:?}");
    assert_eq!((&routes[0]["dst"], &routes[0]["gateway"]), (&"default".into(), &"169.254.1.1".into()));
    assert_eq!((&routes[1]["dst"], &routes[1]["scope"]), (&"169.254.1.1".into(), &"link".into()));
    let neighbour = netns.only("neigh show 169.254.1.1 dev eth0")?;
    assert_eq!(neighbour["lladdr"], macs[0].host.to_string());
    assert_eq!(neighbour["state"], serde_json::json!(["PERMANENT"]));
    assert_eq!(node.drift(&wiring, Some(&netns))?, Vec::<String>::new());
    Ok(())
}

#[test]
fn a_pod_of_the_primary_eni_has_no_rule_of_its_own_for_leaving() -> Result<()> {
    let (node, netns) = (Node::new()?, Namespace::new("p")?);
    node.wire(&primary_pod("enia", "10.7.0.51"), &netns)??;
    assert_eq!(node.rules()?, ["512 to 10.7.0.51 main"]);
    Ok(())
}

#[test]
fn a_table_beyond_one_byte_is_used_whole() -> Result<()> {
    let (node, netns) = (Node::new()?, Namespace::new("p")?);
    let wiring = pod("enia", "10.7.0.52", 10_203);
    node.wire(&wiring, &netns)??;
    assert_eq!(node.rules()?, ["512 to 10.7.0.52 main", "1536 from 10.7.0.52 10203"]);
    assert_eq!(node.drift(&wiring, Some(&netns))?, Vec::<String>::new());
    node.unwire(&wiring)?;
    assert_eq!(node.rules()?, Vec::<String>::new());
    Ok(())
}

#[test]
fn wiring_again_changes_nothing_and_answers_the_same() -> Result<()> {
    let (node, netns) = (Node::new()?, Namespace::new("p")?);
    let wiring = pod("enia", "10.7.0.50", SECONDARY_TABLE);
    let first = node.wire(&wiring, &netns)??;
    // The kernel reports a link's operational state a moment after it came up.
    for (namespace, link) in [(&node.namespace, "enia"), (&netns, "eth0")] {
        let settled = || Ok(namespace.only(&format!("link show dev {link}"))?["operstate"] == "UP");
        eventually(&format!("{link} is operational"), SOON, settled)?;
    }
    let (outside, inside) = (node.namespace.watch()?, netns.watch()?);
    assert_eq!(node.wire(&wiring, &netns)??, first);
    assert_eq!((outside.seen()?, inside.seen()?), (vec![], vec![]));
    Ok(())
}

#[test]
fn an_attempt_cut_short_by_a_crash_is_made_good() -> Result<()> {
    let (node, netns) = (Node::new()?, Namespace::new("p")?);
    node.namespace.ip(&format!("link add enia type veth peer name eth0 netns {}", netns.name()))?;
    let wiring = pod("enia", "10.7.0.50", SECONDARY_TABLE);
    node.wire(&wiring, &netns)??;
    assert_eq!(node.drift(&wiring, Some(&netns))?, Vec::<String>::new());
    Ok(())
}

#[test]
fn an_interface_of_the_same_name_is_refused_and_left_alone() -> Result<()> {
    let (node, netns) = (Node::new()?, Namespace::new("p")?);
    netns.ip("link add eth0 type veth peer name other")?;
    let wiring = primary_pod("enia", "10.7.0.50");
    let refusal = node.wire(&wiring, &netns)?;
    assert_eq!(refusal, Err(DatapathError::IfNameTaken { ifname: "eth0".parse()? }));
    assert!(netns.has_link("eth0")? && !node.namespace.has_link("enia")?);
    assert_eq!((node.rules()?, node.route("10.7.0.50")?), (vec![], None));
    Ok(())
}

#[test]
fn another_address_for_a_wired_interface_is_refused() -> Result<()> {
    let (node, netns) = (Node::new()?, Namespace::new("p")?);
    let wiring = primary_pod("enia", "10.7.0.50");
    node.wire(&wiring, &netns)??;
    let refusal = node.wire(&primary_pod("enia", "10.7.0.51"), &netns)?;
    assert_eq!(refusal, Err(DatapathError::IfNameTaken { ifname: "eth0".parse()? }));
    assert_eq!(node.drift(&wiring, Some(&netns))?, Vec::<String>::new());
    Ok(())
}

#[test]
fn a_second_interface_cannot_take_the_first_ones_host_end() -> Result<()> {
    let (node, netns) = (Node::new()?, Namespace::new("p")?);
    let wiring = primary_pod("enia", "10.7.0.50");
    node.wire(&wiring, &netns)??;
    let mut second = primary_pod("enia", "10.7.0.51");
    second.first.ifname = "net1".parse()?;
    let refusal = node.wire(&second, &netns)?;
    assert!(
        matches!(&refusal, Err(DatapathError::Kernel { why, .. }) if why.contains("eth0")),
        "{refusal:?}"
    );
    assert_eq!(node.drift(&wiring, Some(&netns))?, Vec::<String>::new());
    Ok(())
}

#[test]
fn only_a_pods_network_namespace_is_entered() -> Result<()> {
    let node = Node::new()?;
    let wiring = primary_pod("enia", "10.7.0.50");
    let node_itself = node.namespace.fd()?;
    let plain_file = File::open("/proc/self/status")?.into();
    let other_kind = File::open("/proc/self/ns/uts")?.into();
    for (what, fd) in
        [("the node's own", node_itself), ("a plain file", plain_file), ("another kind", other_kind)]
    {
        let refusal = block_on(node.datapath.wire_pod(&wiring, fd))?;
        assert!(matches!(refusal, Err(DatapathError::BadNamespace { .. })), "{what}: {refusal:?}");
    }
    assert!(!node.namespace.has_link("enia")?);
    Ok(())
}

#[test]
fn unwiring_leaves_nothing_and_the_link_is_gone_within_a_second() -> Result<()> {
    let (node, netns) = (Node::new()?, Namespace::new("p")?);
    let wiring = pod("enia", "10.7.0.50", SECONDARY_TABLE);
    node.wire(&wiring, &netns)??;
    node.unwire(&wiring)?;
    assert_eq!((node.rules()?, node.route("10.7.0.50")?), (vec![], None));
    node.gone("enia")?;
    assert!(!netns.has_link("eth0")?);
    node.unwire(&wiring)
}

#[test]
fn rules_are_removed_when_the_namespace_went_first() -> Result<()> {
    let (node, netns) = (Node::new()?, Namespace::new("p")?);
    let wiring = pod("enia", "10.7.0.50", SECONDARY_TABLE);
    node.wire(&wiring, &netns)??;
    drop(netns);
    node.gone("enia")?;
    assert_eq!(node.rules()?.len(), 2);
    node.unwire(&wiring)?;
    assert_eq!(node.rules()?, Vec::<String>::new());
    Ok(())
}

#[test]
fn a_late_delete_does_not_hurt_the_addresss_next_owner() -> Result<()> {
    let (node, old, new) = (Node::new()?, Namespace::new("p")?, Namespace::new("p")?);
    let before = pod("enia", "10.7.0.50", SECONDARY_TABLE);
    let after = pod("enib", "10.7.0.50", SECONDARY_TABLE);
    node.wire(&before, &old)??;
    node.wire(&after, &new)??;
    node.unwire(&before)?;
    assert_eq!(node.drift(&after, Some(&new))?, Vec::<String>::new());
    node.gone("enia")?;
    // And once more, when the veth is gone.
    node.unwire(&before)?;
    assert_eq!(node.drift(&after, Some(&new))?, Vec::<String>::new());
    assert_eq!(node.rules()?.len(), 2);
    Ok(())
}

#[test]
fn a_late_delete_does_not_hurt_the_next_pod_of_the_same_name() -> Result<()> {
    let (node, old, new) = (Node::new()?, Namespace::new("p")?, Namespace::new("p")?);
    let before = pod("enia", "10.7.0.50", SECONDARY_TABLE);
    let after = pod("enia", "10.7.0.51", SECONDARY_TABLE);
    node.wire(&before, &old)??;
    node.wire(&after, &new)??;
    node.unwire(&before)?;
    assert_eq!(node.rules()?, ["512 to 10.7.0.51 main", "1536 from 10.7.0.51 2"]);
    // Another veth is doomed and deleted meanwhile; this one stays.
    let other = Namespace::new("p")?;
    node.wire(&primary_pod("enio", "10.7.0.60"), &other)??;
    node.unwire(&primary_pod("enio", "10.7.0.60"))?;
    node.gone("enio")?;
    assert_eq!(node.drift(&after, Some(&new))?, Vec::<String>::new());
    Ok(())
}

#[test]
fn a_rule_that_outlived_an_earlier_owner_does_not_send_traffic_astray() -> Result<()> {
    let (node, old, new) = (Node::new()?, Namespace::new("p")?, Namespace::new("p")?);
    node.wire(&pod("enia", "10.7.0.50", 3), &old)??;
    drop(old);
    node.gone("enia")?;
    let after = pod("enib", "10.7.0.50", SECONDARY_TABLE);
    node.wire(&after, &new)??;
    assert_eq!(node.rules()?, ["512 to 10.7.0.50 main", "1536 from 10.7.0.50 2"]);
    Ok(())
}

#[test]
fn a_pod_of_the_same_name_can_come_back_at_once() -> Result<()> {
    let (node, old, new) = (Node::new()?, Namespace::new("p")?, Namespace::new("p")?);
    let wiring = primary_pod("enia", "10.7.0.50");
    node.wire(&wiring, &old)??;
    node.unwire(&wiring)?;
    node.wire(&wiring, &new)??;
    let other = Namespace::new("p")?;
    node.wire(&primary_pod("enio", "10.7.0.60"), &other)??;
    node.unwire(&primary_pod("enio", "10.7.0.60"))?;
    node.gone("enio")?;
    assert_eq!(node.drift(&wiring, Some(&new))?, Vec::<String>::new());
    Ok(())
}

#[test]
fn a_sandbox_can_be_added_again_right_after_its_delete() -> Result<()> {
    let (node, netns) = (Node::new()?, Namespace::new("p")?);
    let wiring =
        |round: usize| pod(["enia", "enia", "enib"][round], &format!("10.7.0.5{round}"), SECONDARY_TABLE);
    for round in 0..3 {
        node.wire(&wiring(round), &netns)??;
        assert_eq!(node.drift(&wiring(round), Some(&netns))?, Vec::<String>::new());
        node.unwire(&wiring(round))?;
    }
    Ok(())
}

/// Prepares a namespace so that wiring it fails at one step, and says which.
#[test]
fn a_failure_at_any_step_in_the_pod_leaves_nothing() -> Result<()> {
    for (step, conflict, mtu) in [
        ("create veth", "link set lo up", 70_000),
        ("169.254.1.1/32", "route add 169.254.1.1/32 dev lo scope link", MTU),
        ("default", "route add default dev lo", MTU),
    ] {
        let (node, netns) = (Node::new()?, Namespace::new("p")?);
        netns.ip("link set lo up")?;
        netns.ip(conflict)?;
        let mut wiring = pod("enia", "10.7.0.50", SECONDARY_TABLE);
        wiring.first.mtu = mtu;
        let refusal = node.wire(&wiring, &netns)?;
        let Err(DatapathError::Kernel { attempt, why }) = refusal else { panic!("{step}: {refusal:?}") };
        assert!(attempt.contains(step) && !why.contains("undone"), "{step}: {attempt}: {why}");
        assert!(!node.namespace.has_link("enia")? && !netns.has_link("eth0")?, "{step}");
        assert_eq!((node.rules()?, node.route("10.7.0.50")?), (vec![], None), "{step}");
    }
    Ok(())
}

#[test]
fn checking_names_every_difference() -> Result<()> {
    for (on_host, broken, named) in [
        (true, "route del 10.7.0.50/32", "route 10.7.0.50/32 dev enia is missing"),
        (true, "route replace 10.7.0.50/32 dev lo", "route 10.7.0.50/32 does not lead to enia"),
        (true, "rule del priority 512", "rule to 10.7.0.50 lookup main (512) is missing"),
        (true, "rule del priority 1536", "rule from 10.7.0.50 lookup 2 (1536) is missing"),
        (true, "rule add from 10.7.0.50 lookup 9 priority 1536", "leads to another ENI"),
        (true, "link set enia down", "enia is down"),
        (true, "link set enia mtu 1400", "enia has MTU 1400, not 9001"),
        (true, "link set enia group 1701734756", "enia is about to be deleted"),
        (true, "link set enia address 02:00:00:00:00:99", "the host veth has 02:00:00:00:00:99"),
        (false, "link set eth0 mtu 1400", "eth0 has MTU 1400, not 9001"),
        (false, "addr add 10.9.9.9/32 dev eth0", "address 10.9.9.9/32 on eth0 in the pod is not the pod's"),
        (false, "route del default", "route default via 169.254.1.1 dev eth0 is missing"),
        (false, "neigh del 169.254.1.1 dev eth0", "permanent neighbour 169.254.1.1 dev eth0 is missing"),
        (false, "link del eth0", "host veth enia is missing"),
        (false, "link del eth0", "eth0 is missing in the pod"),
    ] {
        let (node, netns) = (Node::new()?, Namespace::new("p")?);
        let wiring = pod("enia", "10.7.0.50", SECONDARY_TABLE);
        node.wire(&wiring, &netns)??;
        assert_eq!(node.drift(&wiring, Some(&netns))?, Vec::<String>::new());
        if on_host { &node.namespace } else { &netns }.ip(broken)?;
        let drift = node.drift(&wiring, Some(&netns))?;
        assert!(drift.iter().any(|what| what.contains(named)), "{broken}: {drift:?}");
    }
    Ok(())
}

#[test]
fn observed_pods_are_the_routes_through_our_links() -> Result<()> {
    let (node, netns) = (Node::new()?, Namespace::new("p")?);
    node.namespace.ip("link add foreign type veth peer name other")?;
    node.namespace.ip("link set foreign up")?;
    node.namespace.ip("link set other up")?;
    node.namespace.ip("route add 10.7.0.90/32 dev foreign scope link")?;
    node.wire(&primary_pod("enia", "10.7.0.50"), &netns)??;
    let pods = node.view()?;
    let address = "10.7.0.50".parse()?;
    assert_eq!(pods.routed, [(address, "enia".to_owned())].into(), "{pods:?}");
    assert_eq!(pods.veths, ["enia".to_owned()].into());
    node.namespace.ip("route del 10.7.0.50/32")?;
    let pods = node.view()?;
    assert!(pods.routed.is_empty() && pods.veths.contains("enia"), "{pods:?}");
    Ok(())
}

#[test]
fn stopping_deletes_doomed_links_first() -> Result<()> {
    let (node, netns) = (Node::new()?, Namespace::new("p")?);
    let wiring = primary_pod("enia", "10.7.0.50");
    node.wire(&wiring, &netns)??;
    node.unwire(&wiring)?;
    let Node { datapath, namespace } = node;
    datapath.shutdown();
    assert!(!namespace.has_link("enia")?);
    Ok(())
}

#[test]
fn links_that_an_earlier_process_left_doomed_are_deleted() -> Result<()> {
    let (node, netns) = (Namespace::new("n")?, Namespace::new("p")?);
    node.ip(&format!("link add enia type veth peer name eth0 netns {}", netns.name()))?;
    node.ip("link set enia group 1701734756")?;
    let _datapath = start(&node)?;
    eventually("enia is gone", SOON, || Ok(!node.has_link("enia")?))
}

#[test]
fn two_hundred_pods_come_and_go() -> Result<()> {
    let node = Node::new()?;
    let pods: Vec<(PodWiring, Namespace)> = (0..200)
        .map(|n| {
            let table = if n % 2 == 0 { SECONDARY_TABLE } else { 3 };
            Ok((pod(&format!("eni{n:x}"), &format!("10.7.1.{n}"), table), Namespace::new("p")?))
        })
        .collect::<Result<_>>()?;
    for (wiring, netns) in &pods {
        node.wire(wiring, netns)??;
    }
    assert_eq!((node.rules()?.len(), node.view()?.routed.len()), (400, 200));
    let (wiring, netns) = pods.last().context("two hundred")?;
    assert_eq!(node.drift(wiring, Some(netns))?, Vec::<String>::new());
    for (wiring, _) in &pods {
        node.unwire(wiring)?;
    }
    assert_eq!(node.rules()?, Vec::<String>::new());
    eventually("all links are gone", SOON, || Ok(node.namespace.list("link show")?.len() == 1))
}
