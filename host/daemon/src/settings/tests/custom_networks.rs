//! ENIConfigs, and which one is a node's.

use enid_core::node::{self, EniConfig};

use super::*;
use crate::settings::custom_networking::custom_networking;

const THREE: &str = "[custom_networking]\nenabled = true\n\
    [eni_config.z1]\nsubnets = ['subnet-1', 'subnet-2']\nsecurity_groups = ['sg-1']\n\
    [eni_config.default]\nsubnet = 'subnet-d'\n[eni_config.special]\nsubnet = 'subnet-s'\n";

fn chosen(text: &str, zone: &str) -> String {
    match custom_networking(&valid(text), zone) {
        node::CustomNetworking::Off => "off".to_owned(),
        node::CustomNetworking::Use(config) => config.name,
        node::CustomNetworking::Missing { name } => format!("no {name}"),
    }
}

#[test]
fn an_eni_config_has_subnets_and_perhaps_security_groups() {
    let settings = valid(THREE);
    let expected = EniConfig {
        name: "z1".to_owned(),
        subnets: vec!["subnet-1".parse().unwrap(), "subnet-2".parse().unwrap()],
        security_groups: vec!["sg-1".parse().unwrap()],
    };
    assert_eq!(settings.eni_configs["z1"], expected);
    assert_eq!(settings.eni_configs["default"].subnets, ["subnet-d".parse().unwrap()]);
    assert!(settings.eni_configs["default"].security_groups.is_empty());
}

#[test]
fn the_nodes_eni_config_is_labelled_or_called_as_its_zone_or_default() {
    let labelled = |labels: &str| format!("{THREE}[node]\nlabels = {{ {labels} }}\n");
    let zone_label = THREE.replace("enabled = true", "enabled = true\nlabel = 'topology.kubernetes.io/zone'");
    for (text, zone, expected) in [
        (THREE.to_owned(), "z1", "z1"),
        (THREE.to_owned(), "z2", "default"),
        (labelled("'k8s.amazonaws.com/eniConfig' = 'special'"), "z1", "special"),
        (labelled("'k8s.amazonaws.com/eniConfig' = 'gone'"), "z1", "no gone"),
        (
            labelled(
                "'k8s.amazonaws.com/eniConfig' = 'gone', 'vpc.amazonaws.com/externalEniConfig' = 'special'",
            ),
            "z1",
            "special",
        ),
        (labelled("other = 'special'"), "z1", "z1"),
        (zone_label.clone(), "z1", "z1"),
        (zone_label.clone(), "z2", "no z2"),
        (
            format!("{zone_label}[node]\nlabels = {{ 'topology.kubernetes.io/zone' = 'special' }}\n"),
            "z1",
            "special",
        ),
        (THREE.replace("eni_config.default", "eni_config.other"), "z2", "no z2"),
        (THREE.replace("enabled = true", "enabled = false"), "z1", "off"),
        ("[custom_networking]\nenabled = true".to_owned(), "z1", "no z1"),
    ] {
        assert_eq!(chosen(&text, zone), expected, "{zone}\n{text}");
    }
    assert_eq!(node_config(&valid(THREE), "z1").custom_networking, custom_networking(&valid(THREE), "z1"));
}

#[test]
fn an_eni_config_without_subnets_is_refused_where_it_stands() {
    let (line, key, why) = missing("\n[eni_config.a]\nsecurity_groups = []\n");
    assert_eq!((line, key.as_str()), (2, "eni_config.a.subnets"));
    assert!(why.contains("subnet-0a1b2c3d"), "{why}");
    let (key, allowed) = not_allowed("[eni_config.a]\nsubnets = []");
    assert_eq!(key, "eni_config.a.subnets");
    assert!(allowed.contains("at least one"), "{allowed}");
}

#[test]
fn what_is_wrong_with_an_eni_config_is_told_by_its_name() {
    for (text, expected) in [
        ("[eni_config.a]\nsubnets = ['subnet-1', 'subnet-1']", "eni_config.a.subnets.1"),
        ("[eni_config.a]\nsubnets = ['sg-1']", "eni_config.a.subnets.0"),
        ("[eni_config.a]\nsubnet = 'subnet-1'\nsubnets = ['subnet-2']", "eni_config.a.subnet"),
        ("[eni_config.a]\nsubnet = ['subnet-1']", "eni_config.a.subnet"),
        ("[eni_config.a]\nsubnet = 'subnet-1'\nsecurity_groups = ['x']", "eni_config.a.security_groups.0"),
        ("[eni_config.A]\nsubnet = 'subnet-1'", "eni_config.A"),
        ("[eni_config]\na = 'subnet-1'", "eni_config.a"),
        ("eni_config = 3", "eni_config"),
    ] {
        assert_eq!(not_allowed(text).0, expected, "{text}");
    }
    let many: String = (0..257).map(|n| format!("[eni_config.n{n}]\nsubnet = 'subnet-1'\n")).collect();
    assert!(not_allowed(&many).1.contains("at most 256"));
    let problems = parsed("[eni_config.a]\nsubnett = 'subnet-1'").unwrap_err();
    assert_eq!(problems.0.len(), 2, "the unknown key, and that there is no subnet: {problems}");
}

#[test]
fn ipv6_nodes_have_no_custom_networking() {
    let (key, allowed) = not_allowed(&format!("{THREE}[network]\nip_family = 'ipv6'\n"));
    assert_eq!(key, "custom_networking.enabled");
    assert!(allowed.contains("primary ENI"), "{allowed}");
    assert_eq!(valid(&format!("{THREE}[network]\nip_family = 'dual-stack'\n")).eni_configs.len(), 3);
    not_allowed("[custom_networking]\nlabel = 'a b'");
}

#[test]
fn half_of_custom_networking_is_remarked_upon_and_allowed() {
    let remarks = |text: &str| {
        let document = document(text).unwrap();
        assert!(document.problems.is_empty());
        document.remarks.into_iter().map(|remark| (remark.line, remark.key)).collect::<Vec<_>>()
    };
    assert_eq!(
        remarks("\n[custom_networking]\nenabled = true"),
        [(Some(3), "custom_networking.enabled".to_owned())]
    );
    assert_eq!(remarks("\n\n[eni_config.a]\nsubnet = 'subnet-1'"), [(Some(3), "eni_config".to_owned())]);
    assert_eq!(remarks(THREE), []);
    assert_eq!(remarks(""), []);
}
