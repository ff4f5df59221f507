//! IPv6 and dual-stack pods: the exact kernel state, who owns it, and addresses that somebody else has.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use datapath::namespace::Namespace;
use datapath::node::{Node, SOON};
use datapath::wiring::{SECONDARY_TABLE, dual_pod, ip, pod, primary_pod};
use datapath::{block_on, eventually};
use enid_core::wiring::{PodWiring, SecondAddress};
use enid_datapath_linux::{Dad, DatapathOptions};
use enid_engine::ports::{Datapath, DatapathError, Wired};

const ADDRESS: &str = "10.7.0.50";
const ADDRESS_V6: &str = "2001:db8:7:0:1::50";
const OTHER_V6: &str = "2001:db8:7:0:1::51";

/// By then the kernel has asked three times and waited for answers.
const SETTLED: Duration = Duration::from_secs(6);

/// An address of each family, behind a secondary ENI.
fn secondary_dual_pod(veth: &str) -> PodWiring {
    let mut wiring = pod(veth, ADDRESS, SECONDARY_TABLE);
    let address = ip(ADDRESS_V6);
    wiring.first.second = Some(SecondAddress { address, table: SECONDARY_TABLE, node_local: false });
    wiring
}

/// The global IPv6 addresses of the pod's link, as `address/length flags`.
fn addresses(netns: &Namespace) -> Result<Vec<String>> {
    let link = netns.only("-6 addr show dev eth0 scope global")?;
    let listed = link["addr_info"].as_array().cloned().unwrap_or_default();
    Ok(listed
        .iter()
        .filter(|address| address["scope"] == "global")
        .map(|address| {
            let flags = ["tentative", "dadfailed"].iter().filter(|flag| address[**flag] == true);
            let flags: String = flags.map(|flag| format!(" {flag}")).collect();
            format!("{}/{}{flags}", address["local"].as_str().unwrap_or("-"), address["prefixlen"])
        })
        .collect())
}

fn performing() -> DatapathOptions {
    DatapathOptions { duplicate_address_detection: Dad::Perform, ..DatapathOptions::default() }
}

/// A pod's namespace in which detection asks so often, once a second.
fn asking(times: &'static str) -> Result<Namespace> {
    let netns = Namespace::new("p")?;
    netns.set_sysctl("ipv6/conf/default/dad_transmits", times)?;
    Ok(netns)
}

#[test]
fn an_ipv6_pod_looks_as_the_incumbents_do() -> Result<()> {
    let (node, netns) = (Node::new()?, Namespace::new("p")?);
    let wiring = pod("enia", ADDRESS_V6, SECONDARY_TABLE);
    let Wired(macs) = node.wire(&wiring, &netns)??;

    for (setting, value) in [("accept_ra", "0"), ("accept_redirects", "0"), ("forwarding", "0")] {
        assert_eq!(node.namespace.sysctl(&format!("ipv6/conf/enia/{setting}"))?, value, "{setting}");
    }
    assert_eq!(node.route(ADDRESS_V6)?, Some("enia".to_owned()));
    let (to, from) = (format!("512 to {ADDRESS_V6} main"), format!("1536 from {ADDRESS_V6} 2"));
    assert_eq!(node.rules_v6()?, [to, from]);
    assert_eq!(node.rules()?, Vec::<String>::new());

    assert_eq!(addresses(&netns)?, [format!("{ADDRESS_V6}/128")]);
    let default = netns.only("-6 route show default")?;
    assert_eq!((&default["gateway"], &default["dev"]), (&"fe80::1".into(), &"eth0".into()));
    assert_eq!(netns.only("-6 route show fe80::1")?["dev"], "eth0");
    let neighbour = netns.only("-6 neigh show fe80::1 dev eth0")?;
    assert_eq!(neighbour["lladdr"], macs[0].host.to_string());
    assert_eq!(neighbour["state"], serde_json::json!(["PERMANENT"]));
    assert_eq!(netns.list("-4 route show")?.len(), 0);
    assert_eq!(node.drift(&wiring, Some(&netns))?, Vec::<String>::new());

    node.unwire(&wiring)?;
    node.gone("enia")?;
    node.is_bare()
}

#[test]
fn a_dual_stack_pod_has_both_families() -> Result<()> {
    let (node, netns) = (Node::new()?, Namespace::new("p")?);
    let wiring = secondary_dual_pod("enia");
    node.wire(&wiring, &netns)??;
    assert_eq!(node.rules()?, [format!("512 to {ADDRESS} main"), format!("1536 from {ADDRESS} 2")]);
    assert_eq!(node.rules_v6()?, [format!("512 to {ADDRESS_V6} main"), format!("1536 from {ADDRESS_V6} 2")]);
    assert_eq!(netns.only("-4 route show default")?["gateway"], "169.254.1.1");
    assert_eq!(netns.only("-6 route show default")?["gateway"], "fe80::1");
    assert_eq!(node.drift(&wiring, Some(&netns))?, Vec::<String>::new());
    let view = node.view()?;
    let routed = [ip(ADDRESS), ip(ADDRESS_V6)].map(|address| (address, "enia".to_owned()));
    assert_eq!((view.routed, view.veths), (routed.into(), ["enia".to_owned()].into()));

    node.unwire(&wiring)?;
    node.gone("enia")?;
    node.is_bare()
}

#[test]
fn ipv6_is_switched_on_where_the_sandbox_has_it_off() -> Result<()> {
    let (node, netns) = (Node::new()?, Namespace::new("p")?);
    netns.set_sysctl("ipv6/conf/all/disable_ipv6", "1")?;
    let wiring = dual_pod("enia", ADDRESS, ADDRESS_V6);
    node.wire(&wiring, &netns)??;
    assert_eq!(addresses(&netns)?, [format!("{ADDRESS_V6}/128")]);
    for link in ["eth0", "lo"] {
        assert_eq!(netns.sysctl(&format!("ipv6/conf/{link}/disable_ipv6"))?, "0", "{link}");
    }
    // An IPv4 pod's stays as it is.
    let other = Namespace::new("p")?;
    other.set_sysctl("ipv6/conf/all/disable_ipv6", "1")?;
    node.wire(&primary_pod("enib", "10.7.0.51"), &other)??;
    assert_eq!(other.sysctl("ipv6/conf/eth0/disable_ipv6")?, "1");
    Ok(())
}

#[test]
fn ipv6_is_switched_on_for_host_ends_where_the_node_has_it_off_for_new_links() -> Result<()> {
    let (node, netns, other) = (Node::new()?, Namespace::new("p")?, Namespace::new("p")?);
    node.namespace.set_sysctl("ipv6/conf/default/disable_ipv6", "1")?;
    let wiring = dual_pod("enia", ADDRESS, ADDRESS_V6);
    node.wire(&wiring, &netns)??;
    assert_eq!(node.route(ADDRESS_V6)?, Some("enia".to_owned()));
    assert_eq!(node.drift(&wiring, Some(&netns))?, Vec::<String>::new());
    // An IPv4 pod's stays as it is.
    node.wire(&primary_pod("enib", "10.7.0.51"), &other)??;
    for (link, off) in [("enia", "0"), ("enib", "1")] {
        assert_eq!(node.namespace.sysctl(&format!("ipv6/conf/{link}/disable_ipv6"))?, off, "{link}");
    }
    Ok(())
}

#[test]
fn wiring_both_families_again_changes_nothing_and_answers_the_same() -> Result<()> {
    let (node, netns) = (Node::new()?, Namespace::new("p")?);
    let wiring = secondary_dual_pod("enia");
    let first = node.wire(&wiring, &netns)??;
    for (namespace, link) in [(&node.namespace, "enia"), (&netns, "eth0")] {
        // The links' own addresses are still being looked for.
        let settled = || {
            let tentative = namespace.list(&format!("-6 addr show dev {link} tentative"))?;
            Ok(tentative.is_empty() && namespace.only(&format!("link show dev {link}"))?["operstate"] == "UP")
        };
        eventually(&format!("{link} has settled"), SETTLED, settled)?;
    }
    let (outside, inside) = (node.namespace.watch()?, netns.watch()?);
    assert_eq!(node.wire(&wiring, &netns)??, first);
    assert_eq!((outside.seen()?, inside.seen()?), (vec![], vec![]));
    Ok(())
}

#[test]
fn an_address_of_the_other_family_is_no_leftover() -> Result<()> {
    let (node, netns) = (Node::new()?, Namespace::new("p")?);
    let wiring = primary_pod("enia", ADDRESS_V6);
    node.wire(&wiring, &netns)??;
    let refusal = node.wire(&primary_pod("enia", ADDRESS), &netns)?;
    assert_eq!(refusal, Err(DatapathError::IfNameTaken { ifname: "eth0".parse()? }));
    assert_eq!(node.drift(&wiring, Some(&netns))?, Vec::<String>::new());
    Ok(())
}

#[test]
fn a_failure_in_either_family_leaves_nothing_of_both() -> Result<()> {
    for (step, conflict) in [
        ("add route fe80::1/128", "-6 route add fe80::1 dev lo"),
        ("default via fe80::1", "-6 route add default dev lo"),
        ("default via 169.254.1.1", "-4 route add default dev lo"),
    ] {
        let (node, netns) = (Node::new()?, Namespace::new("p")?);
        netns.ip("link set lo up")?;
        netns.ip(conflict)?;
        let refusal = node.wire(&secondary_dual_pod("enia"), &netns)?;
        let Err(DatapathError::Kernel { attempt, why }) = refusal else { panic!("{step}: {refusal:?}") };
        assert!(attempt.contains(step) && !why.contains("undone"), "{step}: {attempt}: {why}");
        assert!(!netns.has_link("eth0")?, "{step}");
        node.is_bare().context(step)?;
    }
    Ok(())
}

#[test]
fn checking_names_every_difference_of_ipv6() -> Result<()> {
    for (on_host, broken, named) in [
        (true, "-6 route del 2001:db8:7:0:1::50", "route 2001:db8:7:0:1::50/128 dev enia is missing"),
        (true, "-6 rule del priority 512", "rule to 2001:db8:7:0:1::50 lookup main (512) is missing"),
        (true, "-6 rule del priority 1536", "rule from 2001:db8:7:0:1::50 lookup 2 (1536) is missing"),
        (true, "-6 rule add from 2001:db8:7:0:1::50 lookup 9 priority 1536", "leads to another ENI"),
        (
            true,
            "-6 neigh del 2001:db8:7:0:1::50 dev enia",
            "neighbour 2001:db8:7:0:1::50 dev enia is missing",
        ),
        (true, "-4 route del 10.7.0.50", "route 10.7.0.50/32 dev enia is missing"),
        (false, "-6 addr del 2001:db8:7:0:1::50/128 dev eth0", "address 2001:db8:7:0:1::50/128 is missing"),
        (false, "-6 addr add 2001:db8::9/128 dev eth0", "address 2001:db8::9/128 on eth0 in the pod is not"),
        (false, "-6 route del default", "route default via fe80::1 dev eth0 is missing"),
        (false, "-6 neigh del fe80::1 dev eth0", "permanent neighbour fe80::1 dev eth0 is missing"),
        (false, "-4 route del default", "route default via 169.254.1.1 dev eth0 is missing"),
    ] {
        let (node, netns) = (Node::new()?, Namespace::new("p")?);
        let wiring = secondary_dual_pod("enia");
        node.wire(&wiring, &netns)??;
        if on_host { &node.namespace } else { &netns }.ip(broken)?;
        let drift = node.drift(&wiring, Some(&netns))?;
        assert!(drift.iter().any(|what| what.contains(named)), "{broken}: {drift:?}");
    }
    Ok(())
}

#[test]
fn a_late_delete_of_one_family_does_not_hurt_the_next_pod_of_the_other() -> Result<()> {
    let (node, old, new) = (Node::new()?, Namespace::new("p")?, Namespace::new("p")?);
    let before = primary_pod("enia", ADDRESS);
    let after = primary_pod("enia", ADDRESS_V6);
    node.wire(&before, &old)??;
    node.wire(&after, &new)??;
    node.unwire(&before)?;
    // Another veth is doomed and deleted meanwhile; this one stays.
    let other = Namespace::new("p")?;
    node.wire(&primary_pod("enio", "10.7.0.60"), &other)??;
    node.unwire(&primary_pod("enio", "10.7.0.60"))?;
    node.gone("enio")?;
    assert_eq!(node.drift(&after, Some(&new))?, Vec::<String>::new());
    Ok(())
}

#[test]
fn a_late_delete_leaves_the_family_whose_address_has_moved_on() -> Result<()> {
    let (node, old, new) = (Node::new()?, Namespace::new("p")?, Namespace::new("p")?);
    let before = dual_pod("enia", ADDRESS, ADDRESS_V6);
    let after = primary_pod("enib", ADDRESS_V6);
    node.wire(&before, &old)??;
    node.wire(&after, &new)??;
    for _ in 0..2 {
        node.unwire(&before)?;
        assert_eq!(node.drift(&after, Some(&new))?, Vec::<String>::new());
        assert_eq!(node.rules()?, Vec::<String>::new());
        node.gone("enia")?;
    }
    Ok(())
}

#[test]
fn a_pod_waits_for_duplicate_address_detection_and_others_do_not() -> Result<()> {
    let node = Node::with(performing())?;
    let (slow, quick) = (asking("3")?, Namespace::new("p")?);
    let wiring = dual_pod("enia", ADDRESS, ADDRESS_V6);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| node.wire(&wiring, &slow));
        let tentative = [format!("{ADDRESS_V6}/128 tentative")];
        let begun = || Ok(slow.has_link("eth0")? && addresses(&slow).is_ok_and(|held| held == tentative));
        eventually("the address is tentative", SOON, begun)?;
        node.wire(&primary_pod("enib", "10.7.0.51"), &quick)??;
        assert_eq!(addresses(&slow)?, tentative, "the other pod was answered meanwhile");
        assert!(!waiting.is_finished());
        // Long before the datapath would give up: by the kernel's word.
        eventually("the pod is answered", SETTLED, || Ok(waiting.is_finished()))?;
        waiting.join().expect("the waiting thread ends")??;
        assert_eq!(addresses(&slow)?, [format!("{ADDRESS_V6}/128")]);
        assert_eq!(node.drift(&wiring, Some(&slow))?, Vec::<String>::new());
        Ok(())
    })
}

#[test]
fn an_address_that_somebody_else_has_is_refused_and_undone() -> Result<()> {
    let node = Node::with(performing())?;
    let netns = asking("5")?;
    let wiring = secondary_dual_pod("enia");
    thread::scope(|scope| {
        let waiting = scope.spawn(|| node.wire(&wiring, &netns));
        eventually("the pod is being wired", SOON, || Ok(!node.rules_v6()?.is_empty()))?;
        // The host end claims the address while the pod still asks for it.
        node.namespace.ip(&format!("addr add {ADDRESS_V6}/128 dev enia nodad"))?;
        eventually("the pod is answered", SETTLED, || Ok(waiting.is_finished()))?;
        let refusal = waiting.join().expect("the waiting thread ends")?;
        let Err(DatapathError::Kernel { attempt, why }) = refusal else { panic!("{refusal:?}") };
        assert_eq!(attempt, format!("add address {ADDRESS_V6}/128 to eth0"));
        assert!(why.contains("duplicate address detection") && !why.contains("undone"), "{why}");
        assert!(!netns.has_link("eth0")?);
        node.is_bare()
    })
}

#[test]
fn a_pod_whose_address_stays_tentative_is_refused_and_undone() -> Result<()> {
    let node = Node::with(performing())?;
    // Longer than the datapath waits.
    let netns = asking("60")?;
    let refusal = node.wire(&secondary_dual_pod("enia"), &netns)?;
    let Err(DatapathError::Kernel { attempt, why }) = refusal else { panic!("{refusal:?}") };
    assert!(
        attempt.contains("enia") && why.contains("10 seconds") && !why.contains("undone"),
        "{attempt}: {why}"
    );
    assert!(!netns.has_link("eth0")?);
    node.is_bare()
}

#[test]
fn a_pod_deleted_while_it_waits_is_refused_and_leaves_nothing() -> Result<()> {
    let node = Node::with(performing())?;
    let netns = asking("5")?;
    let wiring = secondary_dual_pod("enia");
    thread::scope(|scope| {
        let waiting = scope.spawn(|| node.wire(&wiring, &netns));
        eventually("the pod is being wired", SOON, || Ok(!node.rules_v6()?.is_empty()))?;
        node.unwire(&wiring)?;
        let refusal = waiting.join().expect("the waiting thread ends")?;
        assert!(matches!(refusal, Err(DatapathError::Kernel { .. })), "{refusal:?}");
        node.gone("enia")?;
        node.is_bare()
    })
}

#[test]
fn giving_up_a_pod_does_not_hurt_the_next_one_of_the_same_name() -> Result<()> {
    let node = Node::with(performing())?;
    let (old, new) = (asking("5")?, asking("0")?);
    let (before, after) = (primary_pod("enia", ADDRESS_V6), dual_pod("enia", ADDRESS, ADDRESS_V6));
    thread::scope(|scope| {
        let waiting = scope.spawn(|| node.wire(&before, &old));
        eventually("the pod is being wired", SOON, || Ok(!node.rules_v6()?.is_empty()))?;
        node.unwire(&before)?;
        node.wire(&after, &new)??;
        assert!(waiting.join().expect("the waiting thread ends")?.is_err());
        assert_eq!(node.drift(&after, Some(&new))?, Vec::<String>::new());
        Ok(())
    })
}

#[test]
fn stopping_answers_the_pods_that_wait_first() -> Result<()> {
    let Node { datapath, namespace } = Node::with(performing())?;
    let netns = asking("1")?;
    let wiring = primary_pod("enia", OTHER_V6);
    let answer = datapath.wire_pod(&wiring, netns.fd()?);
    let mut answer = Box::pin(answer);
    // The request is on its way when the future has been asked once.
    block_on(async {
        tokio::select! { biased; _ = &mut answer => {}, () = tokio::task::yield_now() => {} }
    })?;
    drop(answer);
    datapath.shutdown();
    assert_eq!(addresses(&netns)?, [format!("{OTHER_V6}/128")]);
    assert!(namespace.has_link("enia")?);
    Ok(())
}
