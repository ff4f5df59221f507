//! Who is seen as whom outside the VPC, and by which ENI packets leave.

use std::net::Ipv4Addr;
use std::time::Duration;

use e2e::heartbeat::Heartbeat;
use e2e::lab::Lab;
use e2e::patience::wait_for;
use e2e::pod::Placed;
use e2e::traffic::{PORT, listen, reaches};
use enid_vpc_lab::fabric::{CORPORATE, OUTSIDE};
use enid_vpc_lab::lab::deed::Deed;
use enid_vpc_lab::lab::landscape::Plot;
use enid_vpc_lab::probe;

use crate::{GROWTH, Running, is_seen_outside, owner};

/// Metadata is asked for the VPC's ranges twice a minute.
const NOTICED: Duration = Duration::from_secs(60);
/// One attempt of a probe whose outcome changes over time.
const ATTEMPT: Duration = Duration::from_secs(2);

/// A node with ten pods, the last on a further ENI: the first and the last.
fn started(lab: &Lab, network: &str) -> (Running, Vec<Placed>) {
    let node = lab.m5();
    let settings = node.settings().network(network);
    let m5 = Running::start(node, &settings);
    let pods = m5.pods(lab, 10);
    assert_ne!(owner(lab, &m5.node, pods[0].ipv4()).id, owner(lab, &m5.node, pods[9].ipv4()).id);
    (m5, pods)
}

/// Changes the node's `[network]` and waits until the rules are others.
#[track_caller]
fn change(running: &Running, network: &str) {
    // A table is sealed when all of it is there; the seal says what was written.
    let seals = || -> Vec<String> {
        let rules = running.node.kernel().ruleset();
        rules.lines().filter(|line| line.contains("written-as-")).map(str::to_owned).collect()
    };
    let before = wait_for("all rules", GROWTH, || {
        let seals = seals();
        if seals.is_empty() { Err("no seal".to_owned()) } else { Ok(seals) }
    });
    running.node.configure(&running.node.settings().network(network));
    wait_for("other rules", GROWTH, || {
        let now = seals();
        if now.len() == before.len() && now != before { Ok(()) } else { Err(format!("{now:?}")) }
    });
}

#[test]
fn translation_is_switched_while_pods_talk() {
    let lab = Lab::up("snat");
    let (m5, pods) = started(&lab, "external_snat = true");
    let inet = &lab.beginning().inet_namespace;
    let (near, far) = (&pods[0], &pods[9]);
    let nodes_own = m5.node.place.address;
    for placed in [near, far] {
        is_seen_outside(&lab, placed, placed.ipv4());
    }
    // What was begun goes on as it began, whatever is decided meanwhile.
    let places = [(near, OUTSIDE), (far, CORPORATE)];
    let heartbeats = places.map(|(placed, outside)| Heartbeat::between(&placed.pod.namespace, inet, outside));
    for ports in ["prng", "hashrandom", "none"] {
        change(&m5, &format!("snat_ports = \"{ports}\""));
        for placed in [near, far] {
            is_seen_outside(&lab, placed, nodes_own);
        }
    }
    let rules = m5.node.kernel().ruleset();
    assert!(!rules.contains("random"), "\"none\" leaves ports to the kernel: {rules}");
    change(&m5, "snat_ports = \"hashrandom\"");
    assert!(m5.node.kernel().ruleset().contains(" random"));
    change(&m5, "");
    assert!(m5.node.kernel().ruleset().contains("fully-random"));
    for beats in heartbeats.map(Heartbeat::end) {
        assert_eq!(beats.lost, 0, "{beats:?}");
    }
    m5.ends(&lab, &pods);
}

#[test]
fn excluded_ranges_see_pods_as_who_they_are() {
    let lab = Lab::up("exclude");
    // They overlap, as lists that several people write do.
    let excluded = "exclude_snat_cidrs = [\"172.20.0.0/16\", \"172.20.0.0/24\", \"172.20.128.0/17\"]";
    let (m5, pods) = started(&lab, excluded);
    let inet = &lab.beginning().inet_namespace;
    let _mirror = listen(inet, CORPORATE);
    for placed in [&pods[0], &pods[9]] {
        reaches(&placed.pod.namespace, CORPORATE, placed.ipv4());
        is_seen_outside(&lab, placed, m5.node.place.address);
    }
    change(&m5, "");
    for placed in [&pods[0], &pods[9]] {
        reaches(&placed.pod.namespace, CORPORATE, m5.node.place.address);
    }
    m5.ends(&lab, &pods);
}

#[test]
fn a_range_that_joins_the_vpc_is_no_longer_translated_within_a_minute() {
    let lab = Lab::up("joins");
    let (m5, pods) = started(&lab, "");
    let inet = &lab.beginning().inet_namespace;
    let heartbeat = Heartbeat::between(&pods[9].pod.namespace, inet, OUTSIDE);
    let rules = m5.node.kernel().ruleset();
    lab.call(&format!("Action=AssociateVpcCidrBlock&VpcId={}&CidrBlock=100.64.0.0/16", lab.beginning().vpc));
    wait_for("the range is known", NOTICED, || {
        let rules = m5.node.kernel().ruleset();
        if rules.contains("100.64.0.0/16") { Ok(()) } else { Err(rules) }
    });
    assert!(!rules.contains("100.64.0.0/16"));

    // Somebody there sees pods as who they are.
    lab.perform(Deed::AddSubnet(Plot::new("late-1b", "eu-lab-1b", "100.64.1.0/24".parse().unwrap())));
    let t3 = lab.t3();
    let created = lab.call(&format!("Action=CreateNetworkInterface&SubnetId={}", lab.subnet("late-1b").id));
    let eni = created.split("<networkInterfaceId>").nth(1).unwrap().split('<').next().unwrap();
    lab.call(&format!(
        "Action=AttachNetworkInterface&NetworkInterfaceId={eni}&InstanceId={}&DeviceIndex=1",
        t3.place.instance
    ));
    let (link, own) = wait_for("the link appears", GROWTH, || {
        let enis = lab.enis_of(&t3);
        let found = enis.iter().find(|known| known.id.as_str() == eni).ok_or("it is not attached")?;
        found.link.clone().zip(found.primary_address).ok_or_else(|| format!("{found:?}"))
    });
    t3.kernel().change(&[
        format!("addr add {own}/32 dev {link}"),
        format!("link set {link} up"),
        format!("route add default dev {link} table 102"),
        format!("rule add from {own} lookup 102"),
    ]);
    let _mirror = listen(t3.namespace(), own);
    for placed in [&pods[0], &pods[9]] {
        reaches(&placed.pod.namespace, own, placed.ipv4());
        is_seen_outside_elsewhere(&lab, placed, m5.node.place.address);
    }
    let beats = heartbeat.end();
    assert_eq!(beats.lost, 0, "{beats:?}");
    m5.ends(&lab, &pods);
}

/// Seen in the range that is not the VPC's, as ever.
#[track_caller]
fn is_seen_outside_elsewhere(lab: &Lab, placed: &Placed, seen_as: Ipv4Addr) {
    let _mirror = listen(&lab.beginning().inet_namespace, CORPORATE);
    reaches(&placed.pod.namespace, CORPORATE, seen_as);
}

#[test]
fn external_services_are_reached_by_the_primary_eni() {
    let lab = Lab::up("services");
    let (m5, pods) = started(&lab, "external_snat = true");
    let kernel = m5.node.kernel();
    let (far, inet) = (&pods[9], &lab.beginning().inet_namespace);
    let primary = lab.enis_of(&m5.node)[0].link.clone().unwrap();
    kernel.change_nft(&format!(
        "table ip watch {{\n counter by-primary {{ }}\n chain out {{\n type filter hook postrouting priority 300;\n \
         oifname \"{primary}\" ip saddr {} counter name by-primary\n }}\n}}",
        far.ipv4()
    ));
    is_seen_outside(&lab, far, far.ipv4());
    assert_eq!(kernel.counted("ip watch", "by-primary"), 0, "by its own ENI");
    m5.node.configure(
        &m5.node
            .settings()
            .network(&format!("external_snat = true\nexternal_service_cidrs = [\"{OUTSIDE}/32\"]")),
    );
    wait_for("the rule", GROWTH, || {
        let rules = kernel.mentions(OUTSIDE);
        if rules.iter().any(|rule| rule.starts_with("1535:")) { Ok(()) } else { Err(format!("{rules:?}")) }
    });
    // The VPC drops it there, because the address is not the primary ENI's: what matters is where it went.
    let _mirror = listen(inet, OUTSIDE);
    let to = (OUTSIDE, PORT).into();
    assert!(probe::connect(&far.pod.namespace, to, ATTEMPT).is_err());
    assert!(kernel.counted("ip watch", "by-primary") > 0, "by the primary ENI");
    let _elsewhere = listen(inet, CORPORATE);
    let before = kernel.counted("ip watch", "by-primary");
    reaches(&far.pod.namespace, CORPORATE, far.ipv4());
    assert_eq!(kernel.counted("ip watch", "by-primary"), before, "other ranges as ever");

    // With translation, services see the node.
    change(&m5, &format!("external_service_cidrs = [\"{OUTSIDE}/32\"]"));
    reaches(&far.pod.namespace, OUTSIDE, m5.node.place.address);
    m5.node.configure(&m5.node.settings());
    wait_for("the rule goes", GROWTH, || {
        let rules = kernel.mentions(OUTSIDE);
        if rules.is_empty() { Ok(()) } else { Err(format!("{rules:?}")) }
    });
    kernel.change_nft("delete table ip watch");
    m5.ends(&lab, &pods);
}

#[test]
fn a_node_port_leads_to_a_pod_on_a_further_eni_and_back() {
    let lab = Lab::up("node-port");
    let (m5, pods) = started(&lab, "");
    let (far, nodes_own) = (&pods[9], m5.node.place.address);
    m5.node.kernel().change_nft(&format!(
        "table ip proxy {{\n chain services {{\n type nat hook prerouting priority dstnat\n \
         ip daddr {nodes_own} tcp dport 30080 dnat to {}:{PORT}\n }}\n}}",
        far.ipv4()
    ));
    let _mirror = listen(&far.pod.namespace, far.ipv4());
    let inet = &lab.beginning().inet_namespace;
    let seen = probe::connect(inet, (nodes_own, 30080).into(), ATTEMPT).unwrap();
    assert_ne!(seen.ip(), nodes_own, "the pod sees who called");
    assert_eq!(lab.status().drops.foreign_source, 0, "answers left by the primary ENI");
    // The same with another bit, which is a new start's.
    m5.node.configure(&m5.node.settings().network("connmark = 0x100"));
    m5.daemon.wait_for_log(&["takes effect at the next start", "connmark"]);
    let Running { node, daemon } = m5;
    assert!(daemon.terminate().success());
    let daemon = node.start();
    let m5 = Running { node, daemon };
    assert!(m5.node.kernel().ruleset().contains("0x00000100"));
    probe::connect(inet, (nodes_own, 30080).into(), ATTEMPT).unwrap();
    assert_eq!(lab.status().drops.foreign_source, 0);
    // Without it answers leave by the pod's ENI, whose address the node's is not.
    change(&m5, "connmark = 0x100\nnode_port = false\nexternal_snat = true");
    probe::connect(inet, (nodes_own, 30080).into(), ATTEMPT).unwrap_err();
    m5.node.kernel().change_nft("delete table ip proxy");
    m5.ends(&lab, &pods);
}
