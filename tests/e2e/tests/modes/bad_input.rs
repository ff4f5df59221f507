//! What cannot be: told at the start with its reason and its remedy, and while running refused without touching a pod.

use e2e::lab::Lab;
use e2e::node::Node;
use e2e::pod::Placed;
use e2e::program::run_enid;
use e2e::settings::Settings;
use e2e::traffic::all_reach_each_other;
use enid_vpc_lab::lab::landscape::Landscape;

use crate::{Running, is_seen_outside};

/// The exit code for settings, as `enid --help` lists it.
const SETTINGS: i32 = 78;
/// A type on Xen, which has no prefixes.
const XEN: &str = "m4.large";

#[track_caller]
fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in `{text}`");
    }
}

/// A start that ends in one complaint, and leaves the node as it was.
#[track_caller]
fn refuses(node: &Node, settings: &Settings) -> String {
    let before = node.kernel().picture();
    node.configure(settings);
    let said = node.run_to_end().complaint(SETTINGS);
    assert!(!node.socket().exists(), "a socket was left");
    assert_eq!(node.kernel().picture(), before);
    said
}

#[test]
fn a_node_that_cannot_be_what_its_settings_ask_for_says_why() {
    let types = [XEN.to_owned()];
    let lab = Lab::of("cannot", Landscape::standard().with_instance_types(&types).with_ipv6());
    let node = lab.m5();
    let usual = node.settings();
    for (settings, parts) in [
        (
            usual.clone().pool("mode = \"prefix\""),
            ["pool.mode = \"prefix\" on m4.large", "set pool.mode = \"secondary-ip\""],
        ),
        (
            usual.clone().network("ip_family = \"ipv6\""),
            ["network.ip_family with IPv6 on m4.large", "set network.ip_family = \"ipv4\""],
        ),
        (
            usual.clone().network("ip_family = \"dual-stack\""),
            ["IPv6 on m4.large", "delegates those to Nitro"],
        ),
    ] {
        says(&refuses(&node, &settings), &parts);
    }
    // The same node is fine as it is.
    let node = Running::start(node, &usual);
    let pods = node.pods(&lab, 2);
    all_reach_each_other(&[&pods[0], &pods[1]]);
    node.ends(&lab, &pods);
}

#[test]
fn ipv6_in_a_vpc_without_says_what_is_missing() {
    let lab = Lab::up("no-v6");
    let node = lab.m5();
    let (vpc, subnet) = (lab.beginning().vpc.to_string(), lab.subnet("pods-1a").id.to_string());
    for family in ["ipv6", "dual-stack"] {
        let said = refuses(&node, &node.settings().network(&format!("ip_family = \"{family}\"")));
        says(&said, &[&vpc, &subnet, "has no IPv6 range"]);
    }
    let said = refuses(&node, &node.settings().network("egress = true"));
    says(&said, &["network.egress", "has no IPv6 address"]);
}

/// Settings that no node can have, and what is said of each.
fn impossible(usual: &Settings) -> Vec<(Settings, Vec<&'static str>)> {
    let network = |lines: &str| usual.clone().network(lines);
    vec![
        (network("mtu = 500"), vec!["network.mtu = 500", "from 576 to 9001 bytes"]),
        (network("mtu = 9100"), vec!["network.mtu = 9100", "from 576 to 9001 bytes"]),
        (network("mtu = 1500\npod_mtu = 9001"), vec!["network.pod_mtu = 9001", "never above `mtu`"]),
        (network("egress = true\nmtu = 1000"), vec!["network.mtu = 1000", "from 1280"]),
        (
            network("exclude_snat_cidrs = [\"10.8.0.0/33\"]"),
            vec!["exclude_snat_cidrs", "10.8.0.0/33", "an IPv4 range"],
        ),
        (network("cluster_cidrs = [\"10.8.0.0/16\"]"), vec!["cluster_cidrs", "ingress = \"cluster\" only"]),
        (network("connmark = 0x81"), vec!["network.connmark", "one bit"]),
        (
            usual.clone().and("[tags]\n\"node.k8s.amazonaws.com/instance_id\" = \"i-1\""),
            vec!["tags.node.k8s.amazonaws.com/instance_id", "are not the operator's"],
        ),
        (
            usual.clone().and("[custom_networking]\nenabled = true\n[eni_config.eu-lab-1a]\nsubnets = []"),
            vec!["eni_config.eu-lab-1a.subnets"],
        ),
        (
            usual.clone().pool("mode = \"prefixes\""),
            vec!["pool.mode = \"prefixes\"", "\"secondary-ip\" or \"prefix\""],
        ),
    ]
}

#[test]
fn settings_that_cannot_be_meant_are_refused_at_the_start() {
    let lab = Lab::up("impossible");
    let node = lab.m5();
    for (settings, parts) in impossible(&node.settings()) {
        let said = refuses(&node, &settings);
        says(&said, &parts);
        assert_eq!(
            run_enid(&["check-settings", node.settings_file().to_str().unwrap()]).complaint(SETTINGS),
            said
        );
    }
}

#[test]
fn settings_that_cannot_be_are_refused_while_pods_run_and_touch_none() {
    let lab = Lab::of("refused", Landscape::standard().with_instance_types(&[XEN.to_owned()]));
    let node = lab.m5();
    let usual = node.settings();
    let m5 = Running::start(node, &usual);
    let pods: Vec<Placed> = m5.pods(&lab, 3);
    // An ENI that the warm pool asked for may be on its way.
    lab.calls_at_rest();
    let (rules, picture) = (m5.node.kernel().ruleset(), m5.node.kernel().picture());
    let mut wrong = impossible(&usual);
    wrong.push((usual.clone().pool("mode = \"prefix\""), vec!["pool.mode = \"prefix\" on m4.large"]));
    for (settings, parts) in wrong {
        m5.node.configure(&settings);
        // The log may quote quotes.
        let words = parts.iter().flat_map(|part| part.split('"'));
        let told: Vec<&str> = words.chain(["ERROR", "is not taken over"]).collect();
        m5.daemon.wait_for_log(&told);
    }
    assert_eq!((m5.node.kernel().ruleset(), m5.node.kernel().picture()), (rules, picture));
    pods.iter().for_each(|placed| m5.node.is_intact(placed));
    all_reach_each_other(&[&pods[0], &pods[2]]);
    is_seen_outside(&lab, &pods[0], m5.node.place.address);
    // And the next good file is taken.
    m5.node.configure(&usual.max_pods(5));
    m5.daemon.wait_for_pool(&[("max_pods", 5)]);
    m5.ends(&lab, &pods);
}

#[test]
fn a_role_tag_with_a_value_that_nobody_knows_offers_the_subnet() {
    let lab = Lab::up("odd-tag");
    let subnet = lab.subnet("small-1a").id;
    lab.call(&format!(
        "Action=CreateTags&ResourceId.1={subnet}&Tag.1.Key=kubernetes.io%2Frole%2Fcni&Tag.1.Value=perhaps"
    ));
    let node = lab.m5();
    let settings = node.settings().warm_pool("warm-targets", "warm_ip_target = 1");
    let m5 = Running::start(node, &settings);
    lab.exhaust("pods-1a", &[]);
    let pods = m5.pods(&lab, 4);
    let small = lab.subnet("small-1a").cidr;
    assert!(pods.iter().any(|placed| small.contains(&placed.ipv4())), "{pods:?}");
    m5.ends(&lab, &pods);
}
