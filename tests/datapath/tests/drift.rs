//! Drift: whatever somebody changes in the kernel behind our back is found by one look and mended by one call, and
//! nothing is written where nothing is wrong.

use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use datapath::cluster::{Cluster, PLAIN, RICH};
use datapath::namespace::{Namespace, Watch};
use datapath::node::{Node, SOON, rules};
use datapath::wiring::{SECONDARY_TABLE, ip, pod, primary_pod};
use datapath::{block_on, eventually};
use enid_core::event::{KernelView, KernelWanted, Part, WantedPod};
use enid_engine::ports::{Datapath, DatapathError};

/// What somebody does.
#[derive(Clone, Copy, Debug)]
enum Damage {
    /// `ip …` on the node.
    Node(&'static str),
    /// `ip …` in the pod with this address.
    Pod(&'static str, &'static str),
    /// A setting of the node.
    Setting(&'static str, &'static str),
    /// A setting of that pod.
    PodSetting(&'static str, &'static str, &'static str),
    /// `nft -f` on the node.
    Nft(&'static str),
}
use Damage::{Nft, Pod, PodSetting, Setting};

impl Damage {
    fn strike(self, cluster: &Cluster) -> Result<()> {
        let node = &cluster.vpc.node;
        match self {
            Damage::Node(command) => node.ip(command).map(drop),
            Pod(key, command) => cluster.pod(key)?.1.ip(command).map(drop),
            Setting(name, value) => node.set_sysctl(name, value),
            PodSetting(key, name, value) => cluster.pod(key)?.1.set_sysctl(name, value),
            Nft(text) => node.nft(text),
        }
    }
}

/// Does the damage, and checks that it is found in `part` alone, in these words, and mended by one call.
fn is_found_and_mended(cluster: &Cluster, damage: Damage, part: &Part, what: &str) -> Result<()> {
    damage.strike(cluster)?;
    let view = cluster.look()?;
    let drifts = &view.drifts;
    ensure!(drifts.iter().any(|drift| drift.what.contains(what)), "`{what}` is not among {drifts:?}");
    ensure!(drifts.iter().all(|drift| drift.of == *part), "not only {part:?}: {drifts:?}");
    cluster.mend(drifts)?;
    cluster.is_whole()?;
    cluster.carries()
}

fn all_are_found_and_mended(part: &Part, damages: &[(Damage, &str)]) -> Result<()> {
    let cluster = Cluster::new()?;
    cluster.is_whole()?;
    cluster.carries()?;
    for (damage, what) in damages {
        is_found_and_mended(&cluster, *damage, part, what).with_context(|| format!("{damage:?}"))?;
    }
    Ok(())
}

#[test]
fn what_the_node_lacks_is_found_and_mended() -> Result<()> {
    all_are_found_and_mended(
        &Part::Node,
        &[
            (Setting("ipv4/ip_forward", "0"), "setting net/ipv4/ip_forward is 0, not 1"),
            (Setting("ipv4/conf/eth0/rp_filter", "1"), "setting net/ipv4/conf/eth0/rp_filter is 1, not 2"),
            (Setting("ipv6/conf/all/forwarding", "0"), "setting net/ipv6/conf/all/forwarding is 0, not 1"),
            (Damage::Node("rule del priority 1024"), "rule fwmark 0x80/0x80 lookup main (1024) is missing"),
            (Damage::Node("-6 rule del priority 1024"), "rule IPv6 fwmark 0x80/0x80 lookup main (1024)"),
            (Damage::Node("rule del priority 1535"), "rule to 172.20.0.0/16 lookup main (1535) is missing"),
            (
                Damage::Node("rule add fwmark 0x40/0x40 lookup main priority 1024"),
                "0x40/0x40 lookup main (1024) is from earlier settings",
            ),
            (Nft("delete table ip enid"), "nftables table `ip enid` is missing"),
            (Nft("flush ruleset"), "nftables table `ip6 enid` is missing"),
            (Nft("flush chain ip enid translate"), "the rule list of chain translate is missing"),
            (
                Nft("flush chain ip enid translate\ndelete chain ip enid translate"),
                "nftables table `ip enid`: chain translate is missing",
            ),
            (Nft("insert rule ip6 enid ingress drop"), "the rule list of chain ingress is not as it was"),
            (Nft("add element ip enid vpc { 1.0.0.0/8 }"), "set vpc is not as it was written"),
            (Nft("flush set ip6 enid sources"), "set sources is not as it was written"),
            (Nft("add chain ip enid other"), "chain other was added"),
            // The rules know the primary ENI by its link's name.
            (Damage::Node("link set eth0 name ens5"), "`ip enid` was not written with these settings"),
        ],
    )
}

#[test]
fn what_an_eni_lacks_is_found_and_mended() -> Result<()> {
    let eni = Part::Eni("eni-secondary".parse()?);
    let missing_route = "route default via 10.7.0.1 table 2 dev eth1 is missing";
    all_are_found_and_mended(
        &eni,
        &[
            (Damage::Node("link set eth1 down"), "eth1 is down"),
            (Damage::Node("link set eth1 mtu 1500"), "eth1 has MTU 1500, not 9001"),
            (Damage::Node("addr flush dev eth1 scope global"), "address 10.7.0.20/20 dev eth1 is missing"),
            (Damage::Node("addr add 10.7.0.77/20 dev eth1"), "address 10.7.0.77/20 on eth1 is not the ENI's"),
            (Damage::Node("route del default table 2"), missing_route),
            (Damage::Node("route replace default via 10.7.0.1 dev eth0 table 2"), missing_route),
            (Damage::Node("route flush table 2"), "route 10.7.0.1/32 table 2 dev eth1 is missing"),
            (Damage::Node("route add 10.7.0.0/20 dev eth1 metric 10"), "to the wrong ENI"),
            (Damage::Node("rule del priority 32765"), "rule from 10.7.0.20 lookup 2 (32765) is missing"),
            (
                Damage::Node("rule add from 10.7.0.20 lookup 9 priority 32765"),
                "rule from 10.7.0.20 lookup 9 (32765) leads to another table than 2",
            ),
        ],
    )
}

#[test]
fn an_eni_that_comes_back_as_another_link_is_set_up_there() -> Result<()> {
    let cluster = Cluster::new()?;
    cluster.vpc.attach_secondary_again("ens9")?;
    cluster.assign_secondary()?;
    let view = cluster.look()?;
    let words: Vec<&str> = view.drifts.iter().map(|drift| drift.what.as_str()).collect();
    assert!(words.contains(&"ens9 is down") && words.contains(&"address 10.7.0.20/20 dev ens9 is missing"));
    cluster.mend(&view.drifts)?;
    cluster.is_whole()?;
    cluster.carries()?;

    cluster.vpc.router.ip("link del eni-s")?;
    let view = cluster.look()?;
    let [drift] = view.drifts.as_slice() else { bail!("{view:?}") };
    assert_eq!(
        (&drift.of, drift.what.as_str()),
        (&Part::Eni("eni-secondary".parse()?), "no link with MAC 02:07:00:00:00:14")
    );
    assert!(view.alive.contains(&ip(PLAIN)), "its pods live on");
    Ok(())
}

#[test]
fn what_the_host_side_of_a_pod_lacks_is_found_and_mended() -> Result<()> {
    all_are_found_and_mended(
        &Part::Pod(ip(PLAIN)),
        &[
            (Damage::Node("route del 10.7.0.50/32"), "route 10.7.0.50/32 dev enia is missing"),
            (Damage::Node("route replace 10.7.0.50/32 dev lo"), "route 10.7.0.50/32 does not lead to enia"),
            (Damage::Node("rule del to 10.7.0.50"), "rule to 10.7.0.50 lookup main (512) is missing"),
            (Damage::Node("rule del from 10.7.0.50"), "rule from 10.7.0.50 lookup 2 (1536) is missing"),
            (
                Damage::Node("rule add from 10.7.0.50 lookup 9 priority 1536"),
                "rule from 10.7.0.50 lookup 9 (1536) leads to another ENI than table 2",
            ),
            (
                Damage::Node("rule add to 10.7.0.50 lookup 9 priority 512"),
                "rule to 10.7.0.50 lookup 9 (512) leads past the main table",
            ),
            (Damage::Node("link set enia down"), "enia is down"),
            (Damage::Node("link set enia mtu 1400"), "enia has MTU 1400, not 9001"),
            (Damage::Node("link set enia address 02:00:00:00:00:99"), "the host veth has 02:00:00:00:00:99"),
            (Setting("ipv6/conf/enia/accept_ra", "1"), "setting net/ipv6/conf/enia/accept_ra is 1, not 0"),
            (Damage::Node("link del enia"), "host veth enia is missing"),
        ],
    )
}

#[test]
fn what_the_host_side_of_a_pod_with_more_lacks_is_found_and_mended() -> Result<()> {
    all_are_found_and_mended(
        &Part::Pod(ip(RICH)),
        &[
            (
                Damage::Node("-6 route del 2001:db8:7:0:1::51"),
                "route 2001:db8:7:0:1::51/128 dev enib is missing",
            ),
            (
                Damage::Node("-6 route add 2001:db8:7:0:1::51 dev lo metric 1"),
                "route 2001:db8:7:0:1::51/128 does not lead to enib",
            ),
            (
                Damage::Node("-6 rule del to 2001:db8:7:0:1::51"),
                "rule to 2001:db8:7:0:1::51 lookup main (512) is missing",
            ),
            (
                Damage::Node("-6 neigh del 2001:db8:7:0:1::51 dev enib"),
                "permanent neighbour 2001:db8:7:0:1::51 dev enib is missing",
            ),
            (Damage::Node("link set enib down"), "enib is down"),
            (Setting("ipv6/conf/enib/disable_ipv6", "1"), "setting net/ipv6/conf/enib/disable_ipv6 is 1"),
            (Setting("ipv6/conf/enib/forwarding", "1"), "setting net/ipv6/conf/enib/forwarding is 1, not 0"),
            (Damage::Node("rule del from 10.7.0.52"), "rule from 10.7.0.52 lookup 2 (1536) is missing"),
            (Damage::Node("route del 10.7.0.52/32"), "route 10.7.0.52/32 dev enic is missing"),
            (Damage::Node("link del enic"), "host veth enic is missing"),
            (Damage::Node("link del enib"), "host veth enib is missing"),
        ],
    )
}

#[test]
fn what_a_pod_lacks_inside_is_found_and_mended() -> Result<()> {
    let default = "route default via 169.254.1.1 dev eth0 is missing in the pod";
    all_are_found_and_mended(
        &Part::Pod(ip(PLAIN)),
        &[
            (Pod(PLAIN, "link set eth0 down"), "eth0 is down"),
            (Pod(PLAIN, "link set lo down"), "lo is down in the pod"),
            (Pod(PLAIN, "addr del 10.7.0.50/32 dev eth0"), "address 10.7.0.50/32 is missing on eth0"),
            (Pod(PLAIN, "route del default"), default),
            (Pod(PLAIN, "route flush table main"), default),
            (
                Pod(PLAIN, "neigh del 169.254.1.1 dev eth0"),
                "permanent neighbour 169.254.1.1 dev eth0 is missing",
            ),
            (
                Pod(PLAIN, "neigh replace 169.254.1.1 lladdr 02:00:00:00:00:98 nud permanent dev eth0"),
                "neighbour 169.254.1.1 in the pod has MAC 02:00:00:00:00:98",
            ),
            (Pod(PLAIN, "link del eth0"), "host veth enia is missing"),
        ],
    )?;
    all_are_found_and_mended(
        &Part::Pod(ip(RICH)),
        &[
            (Pod(RICH, "link set eth0 down"), "eth0 is down"),
            (
                Pod(RICH, "-6 addr del 2001:db8:7:0:1::51/128 dev eth0"),
                "address 2001:db8:7:0:1::51/128 is missing on eth0",
            ),
            (Pod(RICH, "-6 route del default"), "route default via fe80::1 dev eth0 is missing"),
            (Pod(RICH, "-6 neigh del fe80::1 dev eth0"), "permanent neighbour fe80::1 dev eth0 is missing"),
            (
                PodSetting(RICH, "ipv6/conf/all/disable_ipv6", "1"),
                "address 2001:db8:7:0:1::51/128 is missing",
            ),
            (Pod(RICH, "rule del priority 1"), "rule from 10.7.0.52 lookup 1 (1) is missing in the pod"),
            (Pod(RICH, "route flush table 1"), "default via 169.254.1.2 table 1 dev mNicIf1 is missing"),
            (Pod(RICH, "neigh del 169.254.1.2 dev mNicIf1"), "neighbour 169.254.1.2 dev mNicIf1 is missing"),
            (Pod(RICH, "link del mNicIf1"), "mNicIf1 is missing in the pod"),
        ],
    )
}

/// Everything at once, mended in one pass.
#[test]
fn drift_everywhere_is_mended_in_one_pass() -> Result<()> {
    let cluster = Cluster::new()?;
    for damage in [
        Damage::Node("rule flush"),
        Damage::Node("rule add lookup main priority 32766"),
        Damage::Node("-6 rule flush"),
        Damage::Node("-6 rule add lookup main priority 32766"),
        Damage::Node("link set enib down"),
        Damage::Node("link set eth1 down"),
        Pod(PLAIN, "route flush table main"),
        Nft("flush ruleset"),
    ] {
        damage.strike(&cluster).with_context(|| format!("{damage:?}"))?;
    }
    cluster.mend(&cluster.look()?.drifts)?;
    cluster.is_whole()?;
    cluster.carries()
}

fn watch_all(cluster: &Cluster) -> Result<Vec<Watch>> {
    cluster.pods.iter().chain([&cluster.vpc.node]).map(Namespace::watch_everything).collect()
}

fn seen(watches: &[Watch]) -> Result<Vec<u16>> {
    let seen: Vec<Vec<u16>> = watches.iter().map(Watch::seen).collect::<Result<_>>()?;
    Ok(seen.concat())
}

#[test]
fn nothing_is_written_where_nothing_is_wrong() -> Result<()> {
    let cluster = Cluster::new()?;
    cluster.carries()?;
    cluster.settle()?;
    let watches = watch_all(&cluster)?;
    cluster.is_whole()?;
    assert_eq!(seen(&watches)?, Vec::<u16>::new(), "a look");
    for part in [Part::Node, Part::Eni("eni-secondary".parse()?), Part::Pod(ip(PLAIN)), Part::Pod(ip(RICH))] {
        cluster.mend_part(&part)?;
        assert_eq!(seen(&watches)?, Vec::<u16>::new(), "{part:?}");
    }
    block_on(cluster.datapath.remove_stray(ip(PLAIN)))??;
    assert_eq!(seen(&watches)?, Vec::<u16>::new(), "an address that is in use");
    // The watches are awake.
    let everybody: Vec<&Namespace> = cluster.pods.iter().chain([&cluster.vpc.node]).collect();
    for (namespace, watch) in everybody.into_iter().zip(&watches) {
        namespace.ip("neigh add 169.254.9.9 lladdr 02:00:00:00:00:01 nud permanent dev eth0")?;
        namespace.nft("add table ip awake")?;
        let seen = watch.seen()?;
        assert!(seen.contains(&28) && seen.iter().any(|kind| *kind >= 2560), "{seen:?}");
    }
    Ok(())
}

#[test]
fn repairing_one_thing_writes_nothing_else() -> Result<()> {
    const NEWROUTE: u16 = 24;
    let cluster = Cluster::new()?;
    cluster.carries()?;
    cluster.settle()?;
    for damage in [Damage::Node("route del 10.7.0.51/32"), Pod(RICH, "route del default")] {
        damage.strike(&cluster)?;
        let watches = watch_all(&cluster)?;
        cluster.repair(RICH)??;
        assert_eq!(seen(&watches)?, [NEWROUTE], "{damage:?}");
    }
    cluster.is_whole()
}

#[test]
fn a_table_that_is_whole_keeps_its_counters_while_the_other_is_mended() -> Result<()> {
    let cluster = Cluster::new()?;
    let node = &cluster.vpc.node;
    node.nft("add rule ip6 enid ingress counter name ingress-from-vpc")?;
    let handle = |table: &str| -> Result<u64> {
        let table = node.nft_table(table)?;
        table.iter().find_map(|entry| entry["table"]["handle"].as_u64()).context("a handle")
    };
    let before = (handle("ip enid")?, handle("ip6 enid")?);
    cluster.mend(&cluster.look()?.drifts)?;
    assert_eq!(handle("ip enid")?, before.0);
    assert_ne!(handle("ip6 enid")?, before.1);
    Ok(())
}

#[test]
fn what_a_pod_does_in_its_own_namespace_is_not_drift() -> Result<()> {
    let cluster = Cluster::new()?;
    let (_, netns) = cluster.pod(PLAIN)?;
    for doing in [
        "addr add 10.9.9.9/32 dev eth0",
        "link set eth0 mtu 1400",
        "link add tun9 type veth peer name tun8",
        "link set tun8 up",
        "link set tun9 up",
        "addr add 10.8.0.1/24 dev tun9",
        "route replace default dev tun9",
        "rule add from 10.8.0.0/24 lookup 77",
    ] {
        netns.ip(doing)?;
    }
    cluster.is_whole()?;
    cluster.repair(PLAIN)??;
    assert_eq!(netns.only("route show default")?["dev"], "tun9");
    Ok(())
}

#[test]
fn an_interface_that_a_pod_renamed_is_named_and_left_alone() -> Result<()> {
    let cluster = Cluster::new()?;
    let (_, netns) = cluster.pod(PLAIN)?;
    netns.ip("link set eth0 name net7")?;
    cluster.vpc.node.ip("rule del to 10.7.0.50")?;
    let Err(DatapathError::Kernel { why, .. }) = cluster.repair(PLAIN)? else { bail!("it was repaired") };
    assert_eq!(why, "eth0 is missing in the pod");
    let view = cluster.look()?;
    let words: Vec<&str> = view.drifts.iter().map(|drift| drift.what.as_str()).collect();
    assert_eq!((words, view.alive.contains(&ip(PLAIN))), (vec!["eth0 is missing in the pod"], true));
    assert!(netns.has_link("net7")?);
    Ok(())
}

#[test]
fn what_others_have_is_neither_reported_nor_touched() -> Result<()> {
    let cluster = Cluster::new()?;
    let node = &cluster.vpc.node;
    for command in [
        "link add cali1 type veth peer name cali2",
        "link set cali1 up",
        "link set cali2 up",
        "route add 10.7.0.90/32 dev cali1 scope link",
        "rule add to 10.7.0.90 lookup main priority 512",
        "rule add from 10.7.0.90 lookup 77 priority 1536",
        "rule add to 10.99.0.0/16 lookup main priority 512",
        "rule add from 10.99.0.0/16 lookup 77 priority 1536",
        "rule add to 10.99.0.7 iif cali1 lookup main priority 512",
        "rule add from 10.99.0.8 ipproto tcp lookup 77 priority 1536",
        "rule add from 10.99.0.9 prohibit priority 1536",
        "rule add from 10.99.0.9 lookup 77 priority 100",
        "rule add fwmark 0x80/0x180 lookup 77 priority 1024",
        "route add default dev cali1 table 77",
        "addr add 10.99.0.1/24 dev cali1",
    ] {
        node.ip(command)?;
    }
    node.nft("table ip cni { chain c { type filter hook forward priority 0; }; }")?;
    node.nft("table inet enid { chain c { type filter hook forward priority 0; }; }")?;
    let picture = || -> Result<Vec<String>> {
        let lists = ["rule show", "-6 rule show", "route show table all", "-br link show type veth"];
        let mut picture: Vec<String> = lists.iter().map(|list| node.ip(list)).collect::<Result<_>>()?;
        for table in ["ip cni", "inet enid"] {
            picture.push(format!("{:?}", node.nft_table(table)?));
        }
        Ok(picture)
    };
    let before = picture()?;
    cluster.is_whole()?;
    for part in [Part::Node, Part::Eni("eni-secondary".parse()?), Part::Pod(ip(PLAIN))] {
        cluster.mend_part(&part)?;
    }
    assert_eq!(picture()?, before);
    let view = cluster.look()?;
    assert!(!view.veths.contains("cali1") && !view.routed.contains_key(&ip("10.7.0.90")));
    Ok(())
}

#[test]
fn rules_that_no_route_needs_are_strays_and_others_stay() -> Result<()> {
    const STRAY: &str = "10.7.0.99";
    const STRAY_V6: &str = "2001:db8:7:0:1::99";
    let cluster = Cluster::new()?;
    let node = &cluster.vpc.node;
    let before = [rules(node, "-4", &[512, 1536])?, rules(node, "-6", &[512, 1536])?];
    for (family, address) in [("-4", STRAY), ("-6", STRAY_V6)] {
        for rule in [
            format!("to {address} lookup main priority 512"),
            format!("from {address} lookup 2 priority 1536"),
            format!("from {address} lookup 9 priority 1536"),
        ] {
            node.ip(&format!("{family} rule add {rule}"))?;
        }
    }
    // A pod's that has lost its route are not strays: the pod is drift.
    node.ip(&format!("route del {PLAIN}/32"))?;
    let view = cluster.look()?;
    assert_eq!(view.strays, [ip(STRAY), ip(STRAY_V6)].into());
    cluster.mend(&view.drifts)?;
    // A pod got the address meanwhile.
    node.ip(&format!("route add {STRAY}/32 dev enia"))?;
    block_on(cluster.datapath.remove_stray(ip(STRAY)))??;
    assert_eq!(rules(node, "-4", &[512, 1536])?.len(), before[0].len() + 3);
    node.ip(&format!("route del {STRAY}/32"))?;
    for address in view.strays {
        block_on(cluster.datapath.remove_stray(address))??;
    }
    let mut after = [rules(node, "-4", &[512, 1536])?, rules(node, "-6", &[512, 1536])?];
    let mut before = before;
    before.iter_mut().chain(&mut after).for_each(|rules| rules.sort());
    assert_eq!(after, before);
    cluster.is_whole()
}

#[test]
fn a_namespace_that_is_another_pods_by_now_says_nothing_about_this_one() -> Result<()> {
    let mut cluster = Cluster::new()?;
    let others = cluster.pod(RICH)?.0.netns.clone();
    let other = Namespace::new("p")?;
    other.ip("link add eth0 type veth peer name else")?;
    let plain_file = std::env::temp_dir().join(format!("enid-drift-{}", std::process::id()));
    std::fs::write(&plain_file, "")?;
    let paths = [
        ("another pod's", others),
        ("a stranger's", Some(other.path())),
        ("the node's own", Some(cluster.vpc.node.path())),
        ("another kind", Some("/proc/self/ns/uts".to_owned())),
        ("a plain file", plain_file.to_str().map(str::to_owned)),
        ("a folder", Some("/proc".to_owned())),
        ("nowhere", Some("/run/netns/nobody".to_owned())),
        ("unknown", None),
    ];
    for (what, path) in paths {
        cluster.wanted.pods[0].netns = path;
        let view = cluster.look()?;
        assert_eq!((view.drifts, view.alive), (vec![], [ip(RICH)].into()), "{what}");
        cluster.vpc.node.ip("route del 10.7.0.50/32")?;
        cluster.repair(PLAIN)?.with_context(|| what)?;
    }
    std::fs::remove_file(plain_file)?;
    cluster.vpc.node.ip("link del enia")?;
    cluster.wanted.pods[0].netns = Some(other.path());
    let Err(DatapathError::Kernel { why, .. }) = cluster.repair(PLAIN)? else { bail!("it was repaired") };
    assert_eq!(why, "neither its host veth enia nor its network namespace is there");
    assert!(other.has_link("else")? && !cluster.vpc.node.has_link("enia")?);
    Ok(())
}

#[test]
fn a_pod_that_has_lost_its_interface_is_alive_where_its_namespace_cannot_be_anothers() -> Result<()> {
    let mut cluster = Cluster::new()?;
    cluster.vpc.node.ip("link del enia")?;
    assert!(cluster.look()?.alive.contains(&ip(PLAIN)));
    // A process's id is used again: a thread of this test stands for whoever got it.
    let netns = cluster.pod(PLAIN)?.1;
    let (ready, tell) = mpsc::channel();
    let (stay, until) = mpsc::channel::<()>();
    let fd = netns.fd()?;
    let process = thread::spawn(move || {
        use std::os::fd::AsFd;
        rustix::thread::move_into_link_name_space(fd.as_fd(), None).expect("enter the pod");
        let _ = ready.send(format!("/proc/{}/task/{}/ns/net", std::process::id(), rustix::thread::gettid()));
        let _ = until.recv();
    });
    cluster.wanted.pods[0].netns = Some(tell.recv()?);
    assert!(!cluster.look()?.alive.contains(&ip(PLAIN)));
    assert!(cluster.repair(PLAIN)?.is_err());
    drop(stay);
    process.join().expect("the thread ends");
    Ok(())
}

#[test]
fn a_namespace_is_inhabited_for_as_long_as_a_process_lives_in_it() -> Result<()> {
    let cluster = Cluster::new()?;
    let netns = cluster.pod(PLAIN)?.1;
    assert_eq!(cluster.look()?.inhabited, [].into(), "a name keeps a namespace, and nobody lives there");
    // Ends when nobody can write to it any more.
    let lodger = || Command::new("cat").stdin(Stdio::piped()).spawn();
    let mut lodger = netns.inside(lodger)??;
    assert_eq!(cluster.look()?.inhabited, [ip(PLAIN)].into());
    drop(lodger.stdin.take());
    lodger.wait()?;
    let view = cluster.look()?;
    assert_eq!((view.inhabited, view.alive), ([].into(), [ip(PLAIN), ip(RICH)].into()));
    Ok(())
}

#[test]
fn a_pod_that_is_being_unwired_is_not_drift() -> Result<()> {
    let mut cluster = Cluster::new()?;
    // When a later link is gone, nobody is about to look for doomed links any more.
    cluster.add(primary_pod("enid", "10.7.0.60"))?;
    let later = cluster.wanted.pods.pop().context("the later pod")?;
    block_on(cluster.datapath.unwire_pod(&later.wiring))??;
    eventually("the later link is gone", SOON, || Ok(!cluster.vpc.node.has_link("enid")?))?;
    let node = &cluster.vpc.node;
    // As a DEL leaves it for a moment.
    for command in ["link set enia group 1701734756", "route del 10.7.0.50/32", "rule del to 10.7.0.50"] {
        node.ip(command)?;
    }
    assert_eq!(cluster.look()?.drifts, []);
    let Err(DatapathError::Kernel { why, .. }) = cluster.repair(PLAIN)? else { bail!("it was repaired") };
    assert!(why.contains("enia is about to be deleted"), "{why}");
    Ok(())
}

/// So many pods, wired.
fn crowd(node: &Node, pods: usize) -> Result<(KernelWanted, Vec<Namespace>)> {
    let mut wanted = KernelWanted::default();
    let mut namespaces = Vec::new();
    for n in 0..pods {
        let table = if n % 2 == 0 { SECONDARY_TABLE } else { 3 };
        let wiring = pod(&format!("eni{n:x}"), &format!("10.7.{}.{}", 1 + n / 250, n % 250), table);
        let netns = Namespace::new("p")?;
        node.wire(&wiring, &netns)??;
        wanted.pods.push(WantedPod { wiring, netns: Some(netns.path()) });
        namespaces.push(netns);
    }
    Ok((wanted, namespaces))
}

#[test]
fn a_look_at_tables_that_keep_changing_finds_nothing_about_those_that_stay() -> Result<()> {
    // Their rules do not fit into one answer of the kernel's. The next answer begins at the same position, where after
    // a deletion further ahead another rule stands.
    const PODS: usize = 350;
    let node = Node::new()?;
    let (wanted, _pods) = crowd(&node, PODS)?;
    let comings_and_goings: String = (0..1000)
        .map(|n| {
            let (rule, route) = (format!("to 10.50.0.{} priority 511", n % 250), "10.50.1.1/32 dev lo");
            format!("rule add {rule}\nrule del {rule}\nroute add {route}\nroute del {route}\n")
        })
        .collect();
    thread::scope(|scope| {
        let (stop, stopped) = mpsc::channel::<()>();
        let (node, lines) = (&node, comings_and_goings.as_str());
        let churn = scope.spawn(move || -> Result<()> {
            while !matches!(stopped.try_recv(), Err(mpsc::TryRecvError::Disconnected)) {
                node.namespace.ip_batch(lines)?;
            }
            Ok(())
        });
        let look = || -> Result<()> {
            for _ in 0..30 {
                let view = block_on(node.datapath.look(&wanted))??;
                ensure!(view.drifts.is_empty() && view.alive.len() == PODS, "{:?}", view.drifts);
            }
            Ok(())
        };
        let looked = look();
        drop(stop);
        churn.join().expect("the churning thread ends")?;
        looked
    })
}

#[test]
fn one_look_finds_three_broken_pods_among_seven_hundred() -> Result<()> {
    const PODS: usize = 700;
    let node = Node::new()?;
    let (wanted, namespaces) = crowd(&node, PODS)?;
    let look = || -> Result<KernelView> { Ok(block_on(node.datapath.look(&wanted))??) };
    let view = look()?;
    assert_eq!((view.drifts, view.alive.len(), view.routed.len()), (vec![], PODS, PODS));
    let key = |n: usize| -> IpAddr { wanted.pods[n].wiring.key() };
    node.namespace.ip(&format!("route del {}/32", key(17)))?;
    namespaces[311].ip("route del default")?;
    node.namespace.ip(&format!("rule del from {}", key(699)))?;
    let view = look()?;
    let found: Vec<&Part> = view.drifts.iter().map(|drift| &drift.of).collect();
    assert_eq!(found, [&Part::Pod(key(17)), &Part::Pod(key(311)), &Part::Pod(key(699))]);
    for n in [17, 311, 699] {
        block_on(node.datapath.repair_pod(&wanted.pods[n]))??;
    }
    assert_eq!(look()?.drifts, []);
    Ok(())
}
