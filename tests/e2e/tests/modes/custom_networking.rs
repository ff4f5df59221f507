//! ENIConfigs: pods in other subnets than the node, and what is told when there is none to be had.

use e2e::heartbeat::Heartbeat;
use e2e::lab::Lab;
use e2e::pod::Placed;
use e2e::settings::Settings;
use e2e::traffic::all_reach_each_other;
use enid_vpc_lab::lab::landscape::Landscape;
use serde_json::json;

use crate::{GROWTH, Running, distinct, is_seen_outside, owner, place_patiently, refused};

/// The range that pods are in.
const RANGE: &str = "100.64.0.0/16";

fn lab(test: &str) -> Lab {
    let landscape = Landscape::standard().with_range_in_every_zone(RANGE.parse().unwrap());
    Lab::of(test, landscape.with_security_group("pods"))
}

/// Custom networking with one ENIConfig: `name`, in the subnet called so.
fn eni_config(lab: &Lab, settings: &Settings, name: &str, subnet: &str) -> Settings {
    let subnet = lab.subnet(subnet).id;
    let group = &lab.beginning().security_groups["pods"];
    settings.clone().and(&format!(
        "[custom_networking]\nenabled = true\n[eni_config.{name}]\nsubnets = [\"{subnet}\"]\nsecurity_groups = [\"{group}\"]"
    ))
}

fn in_range(placed: &Placed) -> bool {
    placed.ipv4().octets().starts_with(&[100, 64])
}

#[test]
fn pods_are_where_the_eni_config_of_their_zone_says() {
    let lab = lab("custom");
    let group = lab.beginning().security_groups["pods"].to_string();
    let [m5, t3] = [(lab.m5(), "eu-lab-1a", "further-1a"), (lab.t3(), "eu-lab-1b", "further-1b")].map(
        |(node, zone, subnet)| {
            let settings = eni_config(&lab, &node.settings(), zone, subnet);
            Running::start(node, &settings)
        },
    );
    // Enough for a second ENI.
    let (near, far) = (m5.pods(&lab, 11), t3.pods(&lab, 4));
    distinct(&[near.clone(), far.clone()].concat());
    assert!(near.iter().chain(&far).all(in_range), "{near:?} {far:?}");
    for (running, subnet) in [(&m5, "further-1a"), (&t3, "further-1b")] {
        let subnet = lab.subnet(subnet).id;
        let enis = lab.enis_of(&running.node);
        assert_eq!((enis[0].addresses.len(), enis[0].prefixes.len()), (0, 0), "the primary carries no pods");
        for eni in &enis[1..] {
            assert_eq!((&eni.subnet, lab.groups_of(&eni.id)), (&subnet, [group.clone()].into()));
        }
        assert_ne!(lab.groups_of(&enis[0].id), [group.clone()].into(), "the node's own ENI stays as it is");
    }
    // Two ENIs of nine, and the two pods that need no address.
    assert_eq!((m5.node.pool("max_pods"), m5.node.pool("max_enis")), (20, 2));

    all_reach_each_other(&[&near[0], &near[8], &near[10], &far[0], &far[3]]);
    is_seen_outside(&lab, &near[10], m5.node.place.address);
    is_seen_outside(&lab, &far[0], t3.node.place.address);
    m5.ends(&lab, &near);
    t3.ends(&lab, &far);
}

#[test]
fn pods_are_out_of_prefixes_of_the_eni_configs_subnet() {
    let lab = lab("custom-prefix");
    let node = lab.m5();
    let settings = eni_config(&lab, &node.settings().pool("mode = \"prefix\""), "eu-lab-1a", "further-1a");
    let m5 = Running::start(node, &settings);
    let pods = m5.pods(&lab, 18);
    assert!(pods.iter().all(in_range));
    assert_eq!(lab.enis_of(&m5.node)[0].prefixes, []);
    all_reach_each_other(&[&pods[0], &pods[17]]);
    is_seen_outside(&lab, &pods[17], m5.node.place.address);
    m5.ends(&lab, &pods);
}

#[test]
fn an_eni_config_that_is_missing_or_foreign_is_told_until_the_file_is_mended() {
    let lab = lab("no-config");
    let node = lab.m5();
    let usual = node.settings().wait_secs(1);
    node.configure(&eni_config(&lab, &usual, "somewhere", "further-1a"));
    let daemon = node.start();
    let m5 = Running { node, daemon };
    m5.daemon.wait_for_status("the ENIs are known", |status| {
        status["enis"].as_array().is_some_and(|enis| !enis.is_empty())
    });
    let pod = lab.pod();
    let (failure, reason) = refused(&m5.node, &pod);
    assert_eq!((failure.code, &reason), (11, &json!({ "reason": "no-eni-config", "name": "eu-lab-1a" })));
    assert!(failure.message.contains("ENIConfig `eu-lab-1a`"), "{failure:?}");
    assert_eq!(lab.enis_of(&m5.node).len(), 1, "no ENI was created anywhere else");

    // In another zone.
    m5.node.configure(&eni_config(&lab, &usual, "eu-lab-1a", "further-1b"));
    m5.daemon.wait_for_status("the file is taken over", |status| {
        status["waiting_for"].as_str().is_some_and(|why| why.contains("in its zone eu-lab-1a"))
    });
    let (failure, reason) = refused(&m5.node, &pod);
    let expected = json!({ "reason": "foreign-subnets", "eni_config": "eu-lab-1a", "zone": "eu-lab-1a" });
    assert_eq!((failure.code, reason), (11, expected));

    m5.node.configure(&eni_config(&lab, &usual, "eu-lab-1a", "further-1a"));
    let placed = place_patiently(&m5.node, pod, GROWTH);
    assert!(in_range(&placed));
    is_seen_outside(&lab, &placed, m5.node.place.address);
    m5.ends(&lab, &[placed]);
}

#[test]
fn pods_that_run_are_untouched_when_their_eni_config_goes_wrong() {
    let lab = lab("goes-wrong");
    let node = lab.m5();
    let usual = node.settings().wait_secs(1).cooldown_secs(1);
    let good = eni_config(&lab, &usual, "eu-lab-1a", "further-1a");
    let m5 = Running::start(node, &good.clone().wait_secs(30));
    // The last is on another ENI than the first.
    let pods = m5.pods(&lab, 10);
    let owners: [_; 2] = [&pods[0], &pods[9]].map(|placed| owner(&lab, &m5.node, placed.ipv4()).id);
    assert_ne!(owners[0], owners[1]);
    let heartbeat = Heartbeat::begin(&pods[0].pod, &pods[9].pod, pods[9].ipv4());

    m5.node.configure(&eni_config(&lab, &usual, "eu-lab-1a", "further-1b"));
    m5.daemon.wait_for_status("the file is taken over", |status| {
        status["waiting_for"].as_str().is_some_and(|why| why.contains("in its zone"))
    });
    let pod = lab.pod();
    let (_, reason) = refused(&m5.node, &pod);
    assert_eq!(reason["reason"], "foreign-subnets", "{reason}");
    // What nobody uses there goes back meanwhile; what pods use stays.
    m5.daemon.wait_for_pool(&[("total", 10), ("bound", 10)]);
    pods.iter().for_each(|placed| m5.node.is_intact(placed));

    // Without any description the ENIs that are there go on serving; only new ones wait for one.
    m5.node.configure(&eni_config(&lab, &usual, "nowhere", "further-1a"));
    let enis = lab.enis_of(&m5.node).len();
    let meanwhile = place_patiently(&m5.node, pod, GROWTH);
    assert_eq!(lab.enis_of(&m5.node).len(), enis);

    m5.node.configure(&good);
    let late = place_patiently(&m5.node, lab.pod(), GROWTH);
    let all = [pods, vec![meanwhile, late]].concat();
    all_reach_each_other(&[&all[0], &all[9], &all[11]]);
    all.iter().for_each(|placed| m5.node.is_intact(placed));
    let beats = heartbeat.end();
    assert_eq!(beats.lost, 0, "{beats:?}");
    assert!(all.iter().all(in_range), "{all:?}");
    m5.ends(&lab, &all);
}
