//! The incumbent's environment variables, in the daemon's environment and as TOML.

use std::fs;

use e2e::daemon::Daemon;
use e2e::lab::Lab;
use e2e::node::Node;
use e2e::program::run_enid;

use crate::{Running, is_out_of_a_prefix, is_seen_outside};

/// As a DaemonSet that somebody brings along has them.
const VARIABLES: [(&str, &str); 5] = [
    ("ENABLE_PREFIX_DELEGATION", "true"),
    ("WARM_PREFIX_TARGET", "2"),
    ("AWS_VPC_K8S_CNI_EXTERNALSNAT", "true"),
    ("AWS_VPC_ENI_MTU", "1500"),
    // It has a meaning there and none here.
    ("AWS_VPC_K8S_PLUGIN_LOG_FILE", "stderr"),
];

/// A settings file that says where things are on this machine, and nothing else.
fn nothing_but_places(node: &Node) -> String {
    let text = node.settings().to_string();
    let part = |section: &str| {
        let (_, rest) = text.split_once(section).unwrap();
        format!("{section}{}", rest.split("\n[").next().unwrap())
    };
    [part("[node]"), part("[cloud]"), part("[engine]")].join("\n")
}

fn started(daemon: &Daemon) -> String {
    daemon.wait_until_ready();
    daemon.wait_for_log(&["settings in force"])
}

#[test]
fn a_node_is_set_up_by_variables_alone() {
    let lab = Lab::up("variables");
    let node = lab.m5();
    node.write_settings(&nothing_but_places(&node));
    let daemon = node.start_with(&VARIABLES);
    let said = started(&daemon);
    assert_eq!(node.log().matches("settings in force").count(), 1);
    for key in [
        "pool.mode",
        "strategy.warm-pool.settings.warm_prefix_target",
        "network.external_snat",
        "network.mtu",
    ] {
        assert!(said.contains(key), "`{key}` is not in {said}");
    }
    assert!(said.contains("AWS_VPC_K8S_PLUGIN_LOG_FILE has no effect"), "{said}");
    let m5 = Running { node, daemon };
    m5.daemon.wait_for_pool(&[("prefixes", 2), ("free", 32)]);
    let pods = m5.pods(&lab, 2);
    assert!(pods.iter().all(|placed| is_out_of_a_prefix(&lab, &m5.node, placed)));
    is_seen_outside(&lab, &pods[0], pods[0].ipv4());
    assert_eq!(pods[0].pod.kernel().link("eth0").unwrap()["mtu"], 1500);
    m5.ends(&lab, &pods);
}

#[test]
fn what_from_env_prints_does_what_the_variables_did() {
    let lab = Lab::up("from-env");
    let node = lab.m5();
    let lines = lab.directory().join("variables");
    let text: Vec<String> = VARIABLES.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
    fs::write(&lines, text.concat()).unwrap();
    let toml = run_enid(&["config", "from-env", "--file", lines.to_str().unwrap()]).ok();
    assert!(toml.contains("# AWS_VPC_K8S_PLUGIN_LOG_FILE has no effect"), "{toml}");
    node.write_settings(&format!("{}\n{toml}", nothing_but_places(&node)));
    let daemon = node.start();
    started(&daemon);
    let m5 = Running { node, daemon };
    m5.daemon.wait_for_pool(&[("prefixes", 2), ("free", 32)]);
    let pods = m5.pods(&lab, 1);
    is_seen_outside(&lab, &pods[0], pods[0].ipv4());
    m5.ends(&lab, &pods);
}

#[test]
fn the_file_wins_over_variables() {
    let lab = Lab::up("file-wins");
    let node = lab.m5();
    let places = nothing_but_places(&node);
    node.write_settings(&format!(
        "{places}\n[pool]\nmode = \"secondary-ip\"\n[network]\nexternal_snat = false\n"
    ));
    let daemon = node.start_with(&VARIABLES);
    let said = started(&daemon);
    assert!(said.contains("ENABLE_PREFIX_DELEGATION has no effect: the file sets pool.mode"), "{said}");
    let m5 = Running { node, daemon };
    let pods = m5.pods(&lab, 1);
    assert!(!is_out_of_a_prefix(&lab, &m5.node, &pods[0]));
    is_seen_outside(&lab, &pods[0], m5.node.place.address);
    assert_eq!(pods[0].pod.kernel().link("eth0").unwrap()["mtu"], 1500, "what the file leaves out");
    m5.ends(&lab, &pods);
}

#[test]
fn a_variable_that_cannot_be_meant_is_refused_like_a_setting() {
    let lab = Lab::up("bad-variable");
    let node = lab.m5();
    node.write_settings(&nothing_but_places(&node));
    let said = node.run_to_end_with(&[("AWS_VPC_ENI_MTU", "500")]).complaint(78);
    assert!(said.contains("AWS_VPC_ENI_MTU = 500") && said.contains("network.mtu"), "{said}");
    assert!(!node.socket().exists());
}
