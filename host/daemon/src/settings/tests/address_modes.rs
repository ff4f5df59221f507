//! How pods get their addresses, and what may reach them.

use enid_core::budget::BudgetConfig;
use enid_core::limits::Mode;
use enid_core::node::{Cards, Config, CustomNetworking, KernelConfig, Provisioning};
use enid_core::wiring::{Families, SnatPorts};

use super::*;

#[test]
fn ipv4_addresses_are_single_or_out_of_prefixes() {
    assert_eq!(valid("[pool]\nmode = 'secondary-ip'").pool.mode, Mode::SecondaryIp);
    assert_eq!(valid("[pool]\nmode = 'prefix'").pool.mode, Mode::Prefix);
    assert_eq!(
        valid("[pool]\nmode = 'secondary-ip'\n[network]\nip_family = 'ipv6'").pool.mode,
        Mode::SecondaryIp
    );
    not_allowed("[pool]\nmode = 'secondary_ip'");
}

#[test]
fn provisioning_can_be_left_to_somebody_else() {
    for (text, provisioning) in [
        ("full", Provisioning::Full),
        ("look-only", Provisioning::LookOnly),
        ("metadata-only", Provisioning::MetadataOnly),
    ] {
        assert_eq!(valid(&format!("[pool]\nprovisioning = '{text}'")).pool.provisioning, provisioning);
    }
    not_allowed("[pool]\nprovisioning = false");
}

#[test]
fn security_groups_are_ids_and_each_is_listed_once() {
    let pool = valid("[pool]\nsecurity_groups = ['sg-0a1', 'sg-0a2']").pool;
    assert_eq!(pool.security_groups, ["sg-0a1".parse().unwrap(), "sg-0a2".parse().unwrap()]);
    for wrong in ["['sg-1', 'sg-1']", "['sg-1', 'subnet-1']"] {
        assert_eq!(not_allowed(&format!("[pool]\nsecurity_groups = {wrong}")).0, "pool.security_groups.1");
    }
    let many: String = (0..17).map(|n| format!("'sg-{n}',")).collect();
    assert!(not_allowed(&format!("[pool]\nsecurity_groups = [{many}]")).1.contains("at most 16"));
}

#[test]
fn network_cards_are_the_default_one_or_every() {
    assert_eq!(valid("[pool]\nnetwork_cards = 'every'").pool.network_cards, Cards::Every);
    not_allowed("[pool]\nnetwork_cards = 'all'");
    not_allowed("[pool]\nnetwork_cards = 2");
}

#[test]
fn flags_of_the_pool_are_flags() {
    let keys = ["subnet_discovery", "manage_foreign_enis", "sweep", "manage_enis_when_unschedulable"];
    for key in keys {
        assert_eq!(not_allowed(&format!("[pool]\n{key} = 'yes'")).0, format!("pool.{key}"));
    }
    let all: String = keys.map(|key| format!("{key} = false\n")).concat();
    let pool = valid(&format!("[pool]\n{all}")).pool;
    assert!(!pool.subnet_discovery && !pool.manage_foreign_enis && !pool.sweep);
    assert!(!pool.manage_enis_when_unschedulable);
}

#[test]
fn only_the_other_family_may_be_translated_on_its_way_out() {
    for (text, families, egress) in [
        ("", Families::Ipv4, false),
        ("egress = true", Families::Ipv4, true),
        ("ip_family = 'ipv6'", Families::Ipv6, true),
        ("ip_family = 'ipv6'\negress = false", Families::Ipv6, false),
        ("ip_family = 'dual-stack'", Families::DualStack, false),
        ("ip_family = 'dual-stack'\negress = false", Families::DualStack, false),
    ] {
        let network = valid(&format!("[network]\n{text}")).network;
        assert_eq!((network.families, network.egress), (families, egress), "{text}");
    }
    let (key, allowed) = not_allowed("[network]\nip_family = 'dual-stack'\negress = true");
    assert_eq!(key, "network.egress");
    assert!(allowed.contains("both families"), "{allowed}");
    not_allowed("[network]\nip_family = 'ipv5'");
}

#[test]
fn ipv6_in_any_form_needs_its_least_mtu() {
    for family in [
        "egress = true",
        "ip_family = 'ipv6'",
        "ip_family = 'ipv6'\negress = false",
        "ip_family = 'dual-stack'",
    ] {
        assert_eq!(valid(&format!("[network]\n{family}\nmtu = 1280")).network.pod_mtu, 1280);
        let (key, allowed) = not_allowed(&format!("[network]\n{family}\npod_mtu = 1279"));
        assert_eq!(key, "network.pod_mtu");
        assert!(allowed.contains("from 1280 to 9001") && allowed.contains("IPv6"), "{allowed}");
        assert_eq!(not_allowed(&format!("[network]\n{family}\nmtu = 1279")).0, "network.mtu");
    }
    assert_eq!(valid("[network]\nmtu = 576").network.pod_mtu, 576);
}

#[test]
fn the_mark_is_a_single_bit() {
    for (text, mark) in [("0x80", 0x80), ("1", 1), ("2147483648", 1 << 31)] {
        assert_eq!(valid(&format!("[network]\nconnmark = {text}")).network.connmark, mark);
    }
    for wrong in ["0", "3", "-128", "0x100000000", "'0x80'"] {
        assert_eq!(not_allowed(&format!("[network]\nconnmark = {wrong}")).0, "network.connmark");
    }
    for taken in ["0x4000", "0x8000"] {
        let (key, allowed) = not_allowed(&format!("[network]\nconnmark = {taken}"));
        assert_eq!(key, "network.connmark");
        assert!(allowed.contains("kube-proxy"), "{allowed}");
    }
}

#[test]
fn ranges_of_outside_services_are_ipv4_and_few() {
    let network = valid("[network]\nexternal_service_cidrs = ['10.9.1.1/16']").network;
    assert_eq!(network.external_service_cidrs, ["10.9.0.0/16".parse().unwrap()]);
    assert_eq!(
        not_allowed("[network]\nexternal_service_cidrs = ['fd00::/8']").0,
        "network.external_service_cidrs.0"
    );
    for everything in ["0.0.0.0/0", "10.0.0.0/0"] {
        let (key, allowed) = not_allowed(&format!("[network]\nexternal_service_cidrs = ['{everything}']"));
        assert_eq!(key, "network.external_service_cidrs.0");
        assert!(allowed.contains("not 0.0.0.0/0"), "{allowed}");
    }
    let many: String = (0..65).map(|n| format!("'10.{n}.0.0/16',")).collect();
    not_allowed(&format!("[network]\nexternal_service_cidrs = [{many}]"));
}

#[test]
fn ranges_that_may_reach_pods_count_only_when_not_everything_may() {
    assert_eq!(valid("[network]\ningress = 'open'\ncluster_cidrs = []").network.ingress, None);
    assert_eq!(valid("[network]\ningress = 'cluster'").network.ingress, Some(Vec::new()));
    let network =
        valid("[network]\ningress = 'cluster'\ncluster_cidrs = ['10.8.0.0/16', 'fd00::1/64']").network;
    assert_eq!(network.ingress, Some(vec!["10.8.0.0/16".parse().unwrap(), "fd00::/64".parse().unwrap()]));
    let (key, allowed) = not_allowed("[network]\ncluster_cidrs = ['10.8.0.0/16']");
    assert_eq!(key, "network.cluster_cidrs.0");
    assert!(allowed.contains("ingress = \"cluster\""), "{allowed}");
    not_allowed("[network]\ningress = 'cluster'\ncluster_cidrs = ['10.8.0.0']");
    not_allowed("[network]\ningress = 'closed'");
}

#[test]
fn addresses_are_looked_for_on_the_link_only_when_asked_for() {
    assert!(!valid("[network]\nip_family = 'ipv6'").network.duplicate_address_detection);
    assert!(valid("[network]\nduplicate_address_detection = true").network.duplicate_address_detection);
    assert_eq!(
        not_allowed("[network]\nduplicate_address_detection = 1").0,
        "network.duplicate_address_detection"
    );
}

#[test]
fn labels_have_kubernetes_form() {
    let node =
        valid("[node]\nunschedulable = true\nlabels = { 'topology.kubernetes.io/zone' = 'z', team = '' }")
            .node;
    assert!(node.unschedulable && node.labels.len() == 2);
    for wrong in ["'a b' = 'x'", "'/a' = 'x'", "'A.b/c' = 'x'", "a = 'x y'", "a = '-x'", "a = 1"] {
        assert!(not_allowed(&format!("[node.labels]\n{wrong}")).0.starts_with("node.labels."), "{wrong}");
    }
    not_allowed(&format!("[node.labels]\na = '{}'", "x".repeat(64)));
    let many: String = (0..65).map(|n| format!("l{n} = ''\n")).collect();
    assert!(not_allowed(&format!("[node.labels]\n{many}")).1.contains("at most 64"));
    not_allowed("[node]\nlabels = 'a=b'");
}

#[test]
fn decisions_depend_on_every_setting_that_is_about_them() {
    // How many nodes there are is more than a node by itself can know.
    let of_a_cluster = BudgetConfig { nodes: 10, ..BudgetConfig::default() };
    assert_eq!(
        node_config(&Settings::default(), "z"),
        Config { budget: of_a_cluster.clone(), ..Config::default() }
    );
    let settings = valid(
        "[node]\ncluster_name = 'prod'\nmax_pods = 20\nunschedulable = true\n\
         [pool]\nmode = 'prefix'\nprovisioning = 'look-only'\nmax_enis = 3\ncooldown_secs = 1\ngc_grace_secs = 3\nwait_secs = 2\n\
         subnet_discovery = false\nsecurity_groups = ['sg-1']\nnetwork_cards = 'every'\nmanage_foreign_enis = false\nsweep = false\n\
         [network]\nip_family = 'ipv6'\nmtu = 1500\npod_mtu = 1400\nveth_prefix = 'pod'\nexternal_snat = true\n\
         snat_ports = 'none'\nexclude_snat_cidrs = ['10.8.0.0/16']\nexternal_service_cidrs = ['10.9.0.0/16']\n\
         node_port = false\nconnmark = 1\ningress = 'cluster'\ncluster_cidrs = ['10.7.0.0/16']\n\
         [tags]\nteam = 'net'\n[budget]\nshare = 0.1\n",
    );
    let expected = Config {
        mode: Mode::Prefix,
        families: Families::Ipv6,
        egress: true,
        cooldown: Duration::from_secs(1),
        gc_grace: Duration::from_secs(3),
        wait: Duration::from_secs(2),
        max_enis: Some(3),
        max_pods: Some(20),
        eni_mtu: 1500,
        pod_mtu: 1400,
        veth_prefix: "pod".to_owned().try_into().unwrap(),
        cluster: Some("prod".to_owned()),
        tags: [("team".to_owned(), "net".to_owned())].into(),
        custom_networking: CustomNetworking::Off,
        subnet_discovery: false,
        security_groups: vec!["sg-1".parse().unwrap()],
        provisioning: Provisioning::LookOnly,
        cards: Cards::Every,
        manage_foreign: false,
        cordoned: true,
        kernel: KernelConfig {
            snat_exclude: vec!["10.8.0.0/16".parse().unwrap()],
            snat: None,
            egress_ports: SnatPorts::None,
            node_port: false,
            mark: 1,
            external_services: vec!["10.9.0.0/16".parse().unwrap()],
            ingress: Some(vec!["10.7.0.0/16".parse().unwrap()]),
        },
        budget: BudgetConfig { share_milli: 100, ..of_a_cluster },
        expects_count: false,
        sweep: false,
    };
    assert_eq!(node_config(&settings, "z"), expected);
}

#[test]
fn an_unschedulable_node_keeps_its_enis_unless_told_otherwise() {
    for (text, cordoned) in [
        ("", false),
        ("[node]\nunschedulable = true", true),
        ("[node]\nunschedulable = true\n[pool]\nmanage_enis_when_unschedulable = true", false),
    ] {
        assert_eq!(node_config(&valid(text), "z").cordoned, cordoned, "{text}");
    }
}
