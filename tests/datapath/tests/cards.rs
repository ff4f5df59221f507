//! Pods with an interface on every network card: the exact kernel state, all or nothing, and which ENI
//! packets take.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result};
use datapath::block_on;
use datapath::namespace::Namespace;
use datapath::node::{Node, rules};
use datapath::vpc::{NEIGHBOUR, Vpc};
use datapath::wiring::{ip, ipv4, link, node, primary_pod, secondary_eni};
use enid_core::wiring::{EniWiring, PodWiring, Seat, SecondAddress};
use enid_engine::ports::{Datapath, DatapathError, Wired};

const FIRST: &str = "10.7.0.51";
const SECOND: &str = "10.7.0.52";
const SECOND_V6: &str = "2001:db8:7:0:2::52";
/// Of the first device on the second card.
const CARD_TABLE: u32 = 10_101;

/// `eth0` on the primary ENI, `mNicIf1` on the second card.
fn two_cards() -> PodWiring {
    let mut second = link("enib", "mNicIf1", SECOND, CARD_TABLE);
    second.second = Some(SecondAddress { address: ip(SECOND_V6), table: CARD_TABLE, node_local: false });
    PodWiring { further: vec![second], ..primary_pod("enia", FIRST) }
}

#[test]
fn a_further_interface_has_a_table_and_a_gateway_of_its_own() -> Result<()> {
    let (node, netns) = (Node::new()?, Namespace::new("p")?);
    let wiring = two_cards();
    let Wired(macs) = node.wire(&wiring, &netns)??;
    assert_eq!(macs.len(), 2);
    for (mac, veth) in macs.iter().zip(["enia", "enib"]) {
        assert_eq!(node.namespace.only(&format!("link show dev {veth}"))?["address"], mac.host.to_string());
    }
    assert_eq!(
        node.rules()?,
        [
            format!("512 to {FIRST} main"),
            format!("512 to {SECOND} main"),
            format!("1536 from {SECOND} 10101")
        ]
    );
    assert_eq!(
        node.rules_v6()?,
        [format!("512 to {SECOND_V6} main"), format!("1536 from {SECOND_V6} 10101")]
    );

    assert_eq!(rules(&netns, "-4", &[1])?, [format!("1 from {SECOND} 1")]);
    assert_eq!(rules(&netns, "-6", &[1])?, [format!("1 from {SECOND_V6} 1")]);
    let main = netns.only("-4 route show default")?;
    assert_eq!((&main["gateway"], &main["dev"]), (&"169.254.1.1".into(), &"eth0".into()));
    for (family, gateway) in [("-4", "169.254.1.2"), ("-6", "fe80::1")] {
        let default = netns.only(&format!("{family} route show table 1 default"))?;
        assert_eq!((&default["gateway"], &default["dev"]), (&gateway.into(), &"mNicIf1".into()));
        let neighbour = netns.only(&format!("{family} neigh show {gateway} dev mNicIf1"))?;
        assert_eq!(neighbour["lladdr"], macs[1].host.to_string());
    }
    assert_eq!(node.drift(&wiring, Some(&netns))?, Vec::<String>::new());
    let routed = node.view()?.routed;
    let expected = [(FIRST, "enia"), (SECOND, "enib"), (SECOND_V6, "enib")];
    assert_eq!(routed, expected.map(|(address, veth)| (ip(address), veth.to_owned())).into());

    node.unwire(&wiring)?;
    node.gone("enia")?;
    node.gone("enib")?;
    node.is_bare()
}

#[test]
fn what_a_further_interface_lacks_is_named() -> Result<()> {
    for (on_host, broken, named) in [
        (true, "rule del from 10.7.0.52", "rule from 10.7.0.52 lookup 10101 (1536) is missing"),
        (true, "link set enib down", "enib is down"),
        (false, "rule del priority 1", "rule from 10.7.0.52 lookup 1 (1) is missing in the pod"),
        (false, "-6 rule del priority 1", "rule from 2001:db8:7:0:2::52 lookup 1 (1) is missing in the pod"),
        (false, "route del default table 1", "default via 169.254.1.2 table 1 dev mNicIf1 is missing"),
        (false, "neigh del 169.254.1.2 dev mNicIf1", "neighbour 169.254.1.2 dev mNicIf1 is missing"),
        (false, "link del mNicIf1", "mNicIf1 is missing in the pod"),
    ] {
        let (node, netns) = (Node::new()?, Namespace::new("p")?);
        node.wire(&two_cards(), &netns)??;
        if on_host { &node.namespace } else { &netns }.ip(broken)?;
        let drift = node.drift(&two_cards(), Some(&netns))?;
        assert!(drift.iter().any(|what| what.contains(named)), "{broken}: {drift:?}");
    }
    Ok(())
}

#[test]
fn one_interface_that_fails_takes_all_with_it() -> Result<()> {
    for (conflict, wanted) in [
        ("link add mNicIf1 type veth peer name other", "mNicIf1"),
        ("route add default dev lo table 1", "default via 169.254.1.2 table 1"),
    ] {
        let (node, netns) = (Node::new()?, Namespace::new("p")?);
        netns.ip("link set lo up")?;
        netns.ip(conflict)?;
        let Err(error) = node.wire(&two_cards(), &netns)? else { panic!("{conflict}") };
        assert!(error.to_string().contains(wanted), "{conflict}: {error}");
        assert!(!netns.has_link("eth0")?, "{conflict}");
        for family in ["-4", "-6"] {
            assert_eq!(rules(&netns, family, &[1])?, Vec::<String>::new(), "{conflict}");
        }
        node.is_bare().context(conflict)?;
    }
    Ok(())
}

#[test]
fn an_attempt_cut_short_between_two_interfaces_is_made_good() -> Result<()> {
    let (node, netns) = (Node::new()?, Namespace::new("p")?);
    let Wired(first) = node.wire(&primary_pod("enia", FIRST), &netns)??;
    let Wired(both) = node.wire(&two_cards(), &netns)??;
    assert_eq!(both[0], first[0], "the first interface was left alone");
    assert_eq!(node.drift(&two_cards(), Some(&netns))?, Vec::<String>::new());
    assert_eq!(node.wire(&two_cards(), &netns)??, Wired(both));
    Ok(())
}

#[test]
fn an_add_that_is_repeated_and_fails_leaves_the_running_pod_what_it_has() -> Result<()> {
    let (node, netns) = (Node::new()?, Namespace::new("p")?);
    let first = primary_pod("enia", FIRST);
    node.wire(&two_cards(), &netns)??;
    netns.ip("link del mNicIf1")?;
    netns.ip("link add mNicIf1 type veth peer name other")?;
    let refusal = node.wire(&two_cards(), &netns)?;
    assert_eq!(refusal, Err(DatapathError::IfNameTaken { ifname: "mNicIf1".parse()? }));
    assert_eq!(node.drift(&first, Some(&netns))?, Vec::<String>::new());
    Ok(())
}

#[test]
fn unwiring_goes_on_after_an_interface_that_is_another_pods_by_now() -> Result<()> {
    let (node, old, new) = (Node::new()?, Namespace::new("p")?, Namespace::new("p")?);
    node.wire(&two_cards(), &old)??;
    let next = primary_pod("enia", "10.7.0.60");
    node.wire(&next, &new)??;
    node.unwire(&two_cards())?;
    node.gone("enib")?;
    assert_eq!(node.drift(&next, Some(&new))?, Vec::<String>::new());
    assert_eq!(node.rules()?, ["512 to 10.7.0.60 main"]);
    Ok(())
}

#[test]
fn every_interface_leaves_by_the_eni_of_its_card() -> Result<()> {
    let vpc = Vpc::new()?;
    let datapath = datapath::start(&vpc.node)?;
    block_on(datapath.set_up_node(&node()))??;
    let card = EniWiring { seat: Seat { card: 1, device: 1 }, ..secondary_eni() };
    assert_eq!(card.seat.table(), CARD_TABLE);
    block_on(datapath.set_up_eni(&card))??;
    vpc.assign("eni-p", FIRST)?;
    vpc.assign("eni-s", SECOND)?;
    let netns = Namespace::new("p")?;
    let mut wiring = two_cards();
    wiring.further[0].second = None;
    block_on(datapath.wire_pod(&wiring, netns.fd()?))??;
    // The router drops what leaves by an ENI that does not own its source.
    for own in [FIRST, SECOND] {
        let ping = netns.ping(&format!("-c1 -W1 -q -I {own} {NEIGHBOUR}"))?;
        let summary = ping.join().expect("the ping thread ends")?;
        assert!(summary.contains("1 received"), "{own}: {summary}");
        assert!(vpc.router.reaches(own)?, "{own} from the router");
        assert!(vpc.node.reaches(own)?, "{own} from the node");
    }
    // A caller of the second interface is answered by it.
    let listener = netns.listen(Ipv4Addr::UNSPECIFIED.into())?;
    let to = (IpAddr::from(ipv4(SECOND)), listener.port);
    listener.caller(|| vpc.router.connects(to))?;
    assert_eq!(vpc.dropped()?, 0);
    Ok(())
}

#[test]
fn two_interfaces_on_one_host_end_are_refused() -> Result<()> {
    let (node, netns) = (Node::new()?, Namespace::new("p")?);
    let mut wiring = two_cards();
    wiring.further[0].host_veth = wiring.first.host_veth.clone();
    let refusal = node.wire(&wiring, &netns)?;
    assert!(matches!(refusal, Err(DatapathError::Kernel { .. })), "{refusal:?}");
    node.is_bare()
}
