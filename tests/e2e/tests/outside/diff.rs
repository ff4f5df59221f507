//! `enid diff`: silent while journal, kernel and EC2 agree, and precise when they do not.

use e2e::lab::Lab;
use e2e::node::Node;
use e2e::patience::wait_for;
use e2e::pod::address_of;
use e2e::program::Ended;
use serde_json::Value;

use crate::{NEXT_LOOK, ready};

fn diff(node: &Node) -> Ended {
    node.ask(&["diff"])
}

/// Waits until nothing differs.
#[track_caller]
fn wait_until_agreed(node: &Node) {
    wait_for("journal, kernel and EC2 agree", NEXT_LOOK, || {
        let ended = diff(node);
        if ended.code == Some(0) { Ok(()) } else { Err(format!("{ended:?}")) }
    });
}

/// The one difference, of `of`.
#[track_caller]
fn the_one(node: &Node, of: &str) -> Value {
    let ended = node.ask(&["diff", "--output", "json"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(1), ""), "{ended:?}");
    let all: Vec<Value> = serde_json::from_str(&ended.stdout).unwrap();
    let mut about = all.iter().filter(|one| one["of"].as_str().unwrap().contains(of));
    let one = about.next().unwrap_or_else(|| panic!("nothing about {of} in {all:?}"));
    assert!(about.next().is_none(), "{all:?}");
    one.clone()
}

#[test]
fn a_node_in_order_has_nothing_to_say_and_a_deleted_rule_is_named_and_mended() {
    let (lab, node, daemon) = ready("diff-rule");
    let pod = lab.pod();
    let address = address_of(&node.add(&pod));
    wait_until_agreed(&node);
    let silent = diff(&node);
    assert_eq!((silent.code, silent.stdout.as_str(), silent.stderr.as_str()), (Some(0), "", ""));
    assert_eq!(node.ask(&["diff", "--output", "json"]).ok().trim(), "[]");

    node.kernel().change(&[format!("rule del priority 512 to {address}/32")]);
    let told = diff(&node);
    assert_eq!(told.code, Some(1), "{told:?}");
    let lines: Vec<&str> = told.stdout.lines().collect();
    assert!(lines[0].starts_with("what") && lines[0].contains("journal"), "{told:?}");
    assert!(
        lines[1..].iter().any(|line| line.contains(&address.to_string()) && line.contains("rule")),
        "{told:?}"
    );
    wait_until_agreed(&node);
    assert!(!node.kernel().mentions(address).is_empty());
    let kernel = node.status()["kernel"].clone();
    assert!(kernel["found"].as_u64() >= Some(1) && kernel["repaired"].as_u64() >= Some(1), "{kernel}");
    let metrics = node.metrics();
    assert!(metrics.value("enid_kernel_drifts_found_total") >= 1.0);
    assert_eq!(metrics.value("enid_kernel_drifts"), 0.0);
    node.del(&pod);
    wait_until_agreed(&node);
    assert!(daemon.terminate().success());
}

#[test]
fn an_address_that_ec2_took_away_from_a_pod_is_named_and_goes_into_quarantine() {
    let (lab, node, daemon) = ready("diff-ec2");
    let pod = lab.pod();
    let address = address_of(&node.add(&pod));
    wait_until_agreed(&node);
    let enis = lab.enis_of(&node);
    let eni = enis.iter().find(|eni| eni.addresses.contains(&address)).unwrap();
    lab.call(&format!(
        "Action=UnassignPrivateIpAddresses&NetworkInterfaceId={}&PrivateIpAddress.1={address}",
        eni.id
    ));
    let difference = the_one(&node, &address.to_string());
    assert!(difference["others"].as_str().unwrap().contains("EC2"), "{difference}");
    let quarantined = wait_for("the address is in quarantine", NEXT_LOOK, || {
        let status = node.status();
        let any = status["quarantined"].as_array().is_some_and(|all| !all.is_empty());
        if any { Ok(status) } else { Err(status.to_string()) }
    });
    assert_eq!(quarantined["quarantined"][0]["address"], address.to_string(), "{quarantined}");
    assert_eq!(node.metrics().value("enid_addresses_quarantined{why=\"not-in-cloud\"}"), 1.0);
    let screen = node.ask(&["status"]).ok();
    assert!(screen.contains(&format!("quarantine {address} of {}", pod.shown())), "{screen}");
    // The pod ends, and with it the disagreement.
    node.del(&pod);
    wait_until_agreed(&node);
    assert!(daemon.terminate().success());
}

#[test]
fn what_cannot_be_looked_at_is_no_agreement() {
    let (_lab, node, daemon) = ready("diff-unseen");
    wait_until_agreed(&node);
    node.kernel().cut_off(&["10.0.0.2"]);
    let complaint = diff(&node).complaint(2);
    assert!(complaint.contains("EC2") || complaint.contains("DescribeNetworkInterfaces"), "{complaint}");
    node.kernel().restore();
    wait_until_agreed(&node);
    assert!(daemon.terminate().success());
    let complaint = diff(&node).complaint(69);
    assert!(complaint.contains("no daemon answers on"), "{complaint}");
}

#[test]
fn a_node_whose_pods_come_and_go_agrees_again_at_rest() {
    let lab = Lab::up("diff-rest");
    let node = lab.t3();
    node.configure(&node.settings().cooldown_secs(1));
    let daemon = node.start();
    daemon.wait_until_ready();
    let pods = lab.pods(4);
    for pod in &pods {
        node.add(pod);
    }
    for pod in &pods[..2] {
        node.del(pod);
    }
    wait_until_agreed(&node);
    assert!(daemon.terminate().success());
}
