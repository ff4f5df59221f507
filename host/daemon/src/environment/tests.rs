//! Every variable of the incumbent has its row: what it stands for, or why it means nothing here.

use std::collections::BTreeSet;
use std::path::Path;

use enid_core::limits::Mode;
use enid_core::node::{Cards, Provisioning};
use enid_core::snapshot::Value;
use enid_core::wiring::{Families, SnatPorts};

use super::*;
use crate::settings::{Document, Settings, parse};

/// Every variable that the incumbent's documentation and manifests have.
const DOCUMENTED: &str = "
    WARM_ENI_TARGET WARM_IP_TARGET MINIMUM_IP_TARGET WARM_PREFIX_TARGET MAX_ENI ENABLE_PREFIX_DELEGATION
    IP_COOLDOWN_PERIOD AWS_MANAGE_ENIS_NON_SCHEDULABLE DISABLE_NETWORK_RESOURCE_PROVISIONING ENABLE_IMDS_ONLY_MODE
    ENABLE_SUBNET_DISCOVERY AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG ENI_CONFIG_ANNOTATION_DEF ENI_CONFIG_LABEL_DEF
    ADDITIONAL_ENI_TAGS CLUSTER_NAME CLUSTER_ENDPOINT DISABLE_LEAKED_ENI_CLEANUP ENABLE_MULTI_NIC MANAGE_UNTAGGED_ENI
    AWS_VPC_ENI_MTU POD_MTU AWS_VPC_K8S_CNI_VETHPREFIX AWS_VPC_K8S_CNI_EXTERNALSNAT AWS_VPC_K8S_CNI_RANDOMIZESNAT
    AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS AWS_VPC_CNI_NODE_PORT_SUPPORT AWS_VPC_K8S_CNI_CONNMARK AWS_EXTERNAL_SERVICE_CIDRS
    AWS_VPC_K8S_CNI_CONFIGURE_RPFILTER ENABLE_NFTABLES DISABLE_TCP_EARLY_DEMUX ENABLE_IPv4 ENABLE_IPv6 ENABLE_V4_EGRESS
    ENABLE_V6_EGRESS DISABLE_POD_V6 ENABLE_BANDWIDTH_PLUGIN ENABLE_POD_ENI POD_SECURITY_GROUP_ENFORCING_MODE
    NETWORK_POLICY_ENFORCING_MODE ANNOTATE_POD_IP HOST_CNI_BIN_PATH HOST_CNI_CONFDIR_PATH AWS_VPC_K8S_CNI_LOGLEVEL
    AWS_VPC_K8S_CNI_LOG_FILE AWS_VPC_K8S_PLUGIN_LOG_FILE AWS_VPC_K8S_PLUGIN_LOG_LEVEL
    AWS_VPC_K8S_EGRESS_V4_PLUGIN_LOG_FILE AWS_VPC_K8S_EGRESS_V6_PLUGIN_LOG_FILE INTROSPECTION_BIND_ADDRESS
    DISABLE_INTROSPECTION DISABLE_METRICS AWS_EC2_ENDPOINT HTTP_TIMEOUT AWS_VPC_K8S_CNI_BACKING_STORE MY_NODE_NAME
    MY_POD_NAME VPC_CNI_VERSION USE_CLOUDWATCH USE_PROMETHEUS METRIC_UPDATE_INTERVAL AWS_CLUSTER_ID AWS_REGION";

fn variables(set: &[(&str, &str)]) -> Variables {
    let lines: Vec<String> = set.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let lines = lines.join("\n");
    let (variables, unknown) = Variables::of_lines(&lines).unwrap();
    assert_eq!(unknown, [""; 0]);
    variables
}

fn document(file: &str, set: &[(&str, &str)]) -> Document {
    parse(file, Path::new("/etc/enid/enid.toml"), &variables(set)).unwrap()
}

/// The settings that `set` comes to beside an empty file, without a complaint.
fn settings(set: &[(&str, &str)]) -> Settings {
    let document = document("", set);
    assert_eq!(document.problems, [], "{set:?}");
    document.settings
}

/// Their lines in the report of what is in force.
fn in_force(file: &str, set: &[(&str, &str)]) -> Vec<String> {
    document(file, set).effective().to_string().lines().map(str::to_owned).collect()
}

#[test]
fn every_variable_of_the_incumbent_is_in_the_table_once() {
    let documented: BTreeSet<&str> = DOCUMENTED.split_whitespace().collect();
    let known: BTreeSet<&str> = TABLE.iter().map(|variable| variable.name).collect();
    assert_eq!(known, documented);
    assert_eq!(known.len(), TABLE.len(), "no row twice");
}

/// A row for each variable that stands for settings: values, and what comes of them.
#[test]
fn variables_change_what_they_stand_for() {
    type Change = fn(&mut Settings);
    let rows: &[(&str, &str, Change)] = &[
        ("MAX_ENI", "3", |s| s.pool.max_enis = Some(3)),
        ("MAX_ENI", "0", |_| {}),
        ("MAX_ENI", "-1", |_| {}),
        ("MAX_ENI", "100000", |s| s.pool.max_enis = Some(128)),
        ("ENABLE_PREFIX_DELEGATION", "true", |s| s.pool.mode = Mode::Prefix),
        ("ENABLE_PREFIX_DELEGATION", "false", |_| {}),
        ("DISABLE_METRICS", "true", |s| s.observe.listen = None),
        ("DISABLE_METRICS", "f", |_| {}),
        ("IP_COOLDOWN_PERIOD", "0", |s| s.pool.cooldown = std::time::Duration::ZERO),
        ("IP_COOLDOWN_PERIOD", " 30 ", |_| {}),
        ("AWS_MANAGE_ENIS_NON_SCHEDULABLE", "True", |s| s.pool.manage_enis_when_unschedulable = true),
        ("DISABLE_NETWORK_RESOURCE_PROVISIONING", "1", |s| s.pool.provisioning = Provisioning::LookOnly),
        ("DISABLE_NETWORK_RESOURCE_PROVISIONING", "false", |_| {}),
        ("ENABLE_IMDS_ONLY_MODE", "true", |s| s.pool.provisioning = Provisioning::MetadataOnly),
        ("ENABLE_IMDS_ONLY_MODE", "f", |_| {}),
        ("ENABLE_SUBNET_DISCOVERY", "false", |s| s.pool.subnet_discovery = false),
        ("AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG", "true", |s| s.custom_networking.enabled = true),
        ("ENI_CONFIG_LABEL_DEF", "topology.kubernetes.io/zone", |s| {
            s.custom_networking.label = "topology.kubernetes.io/zone".to_owned();
        }),
        ("ADDITIONAL_ENI_TAGS", r#"{"cost/centre.1": "7", "team": ""}"#, |s| {
            s.tags =
                [("cost/centre.1".to_owned(), "7".to_owned()), ("team".to_owned(), String::new())].into();
        }),
        ("ADDITIONAL_ENI_TAGS", "{}", |_| {}),
        ("CLUSTER_NAME", "prod", |s| s.node.cluster_name = Some("prod".to_owned())),
        ("DISABLE_LEAKED_ENI_CLEANUP", "true", |s| s.pool.sweep = false),
        ("DISABLE_LEAKED_ENI_CLEANUP", "false", |_| {}),
        ("ENABLE_MULTI_NIC", "true", |s| s.pool.network_cards = Cards::Every),
        ("ENABLE_MULTI_NIC", "false", |_| {}),
        ("MANAGE_UNTAGGED_ENI", "false", |s| s.pool.manage_foreign_enis = false),
        ("AWS_VPC_ENI_MTU", "1500", |s| (s.network.mtu, s.network.pod_mtu) = (1500, 1500)),
        ("POD_MTU", "1400", |s| s.network.pod_mtu = 1400),
        ("AWS_VPC_K8S_CNI_VETHPREFIX", "pod", |s| {
            s.network.veth_prefix = "pod".to_owned().try_into().unwrap();
        }),
        ("AWS_VPC_K8S_CNI_EXTERNALSNAT", "true", |s| s.network.external_snat = true),
        ("AWS_VPC_K8S_CNI_RANDOMIZESNAT", "hashrandom", |s| s.network.snat_ports = SnatPorts::HashRandom),
        ("AWS_VPC_K8S_CNI_RANDOMIZESNAT", "none", |s| s.network.snat_ports = SnatPorts::None),
        ("AWS_VPC_K8S_CNI_RANDOMIZESNAT", "prng", |_| {}),
        ("AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS", "10.12.0.0/16, 10.13.0.0/16,", |s| {
            s.network.exclude_snat_cidrs =
                vec!["10.12.0.0/16".parse().unwrap(), "10.13.0.0/16".parse().unwrap()];
        }),
        ("AWS_VPC_CNI_NODE_PORT_SUPPORT", "false", |s| s.network.node_port = false),
        ("AWS_VPC_K8S_CNI_CONNMARK", "0x100", |s| s.network.connmark = 0x100),
        ("AWS_VPC_K8S_CNI_CONNMARK", "256", |s| s.network.connmark = 0x100),
        ("AWS_VPC_K8S_CNI_CONNMARK", "0400", |s| s.network.connmark = 0x100),
        ("AWS_VPC_K8S_CNI_CONNMARK", "0b1_0000_0000", |s| s.network.connmark = 0x100),
        ("AWS_EXTERNAL_SERVICE_CIDRS", "10.9.0.0/16", |s| {
            s.network.external_service_cidrs = vec!["10.9.0.0/16".parse().unwrap()];
        }),
        ("ENABLE_IPv4", "true", |_| {}),
        ("ENABLE_IPv6", "false", |_| {}),
        ("ENABLE_IPv6", "true", |s| s.network.families = Families::DualStack),
        ("ENABLE_V4_EGRESS", "true", |_| {}),
        ("ENABLE_V6_EGRESS", "true", |s| s.network.egress = true),
        ("ENABLE_V6_EGRESS", "false", |_| {}),
        ("AWS_EC2_ENDPOINT", "https://ec2.example.org", |s| {
            s.cloud.ec2_endpoint = document("[cloud]\nec2_endpoint = 'https://ec2.example.org'", &[])
                .settings
                .cloud
                .ec2_endpoint;
        }),
        ("HTTP_TIMEOUT", "20", |s| s.cloud.timeout = std::time::Duration::from_secs(20)),
        ("HTTP_TIMEOUT", "9", |_| {}),
        ("AWS_REGION", "eu-central-1", |s| s.cloud.region = Some("eu-central-1".to_owned())),
    ];
    for (name, value, change) in rows {
        let mut expected = Settings::default();
        change(&mut expected);
        assert_eq!(settings(&[(name, value)]), expected, "{name}={value}");
    }
    let shown: BTreeSet<&str> = rows.iter().map(|(name, ..)| *name).chain(TARGETS.map(|row| row.0)).collect();
    let standing = TABLE.iter().filter(|variable| matches!(variable.meaning, Meaning::Setting { .. }));
    for variable in standing {
        assert!(shown.contains(variable.name), "{} has no row here", variable.name);
    }
}

/// What the warm-pool strategy is told.
const TARGETS: [(&str, &str, Option<i64>); 12] = [
    ("WARM_ENI_TARGET", "2", Some(2)),
    ("WARM_ENI_TARGET", "0", Some(0)),
    ("WARM_ENI_TARGET", "1", None),
    ("WARM_ENI_TARGET", "-3", None),
    ("WARM_IP_TARGET", "5", Some(5)),
    ("WARM_IP_TARGET", "0", None),
    ("WARM_IP_TARGET", "-1", None),
    ("MINIMUM_IP_TARGET", "10", Some(10)),
    ("MINIMUM_IP_TARGET", "0", None),
    ("WARM_PREFIX_TARGET", "2", Some(2)),
    ("WARM_PREFIX_TARGET", "1", None),
    ("WARM_PREFIX_TARGET", "-1", Some(0)),
];

#[test]
fn targets_are_settings_of_the_shipped_strategy() {
    for (name, value, told) in TARGETS {
        let active = settings(&[(name, value)]).strategies.warm_pool.active;
        let found: Vec<(String, Value)> = active.settings.into_iter().map(|s| (s.key, s.value)).collect();
        let expected = told.map(|told| (name.to_ascii_lowercase(), Value::Int(told)));
        assert_eq!(found, expected.into_iter().collect::<Vec<_>>(), "{name}={value}");
    }
}

#[test]
fn targets_count_as_long_as_the_shipped_strategy_decides() {
    let set = [("WARM_IP_TARGET", "5"), ("MINIMUM_IP_TARGET", "10")];
    let file = "[strategy.warm-pool]\nuse = 'warm-targets'\nsettings = { warm_ip_target = 1 }\n";
    let found = document(file, &set).settings.strategies.warm_pool.active.settings;
    let mut found: Vec<(String, Value)> = found.into_iter().map(|s| (s.key, s.value)).collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    let expected = [("minimum_ip_target", 10), ("warm_ip_target", 1)];
    assert_eq!(found, expected.map(|(key, value)| (key.to_owned(), Value::Int(value))));
    let digest = format!("sha256:{}", "0".repeat(64));
    for other in ["use = 'batched'".to_owned(), format!("use = 'warm-targets'\ndigest = '{digest}'")] {
        let document = document(&format!("[strategy.warm-pool]\n{other}\n"), &set);
        assert!(document.problems.is_empty());
        assert!(document.settings.strategies.warm_pool.active.settings.is_empty(), "{other}");
        assert_eq!(document.idle.len(), 2);
    }
}

#[test]
fn families_come_from_both_variables_together() {
    for (set, families) in [
        (&[("ENABLE_IPv4", "true"), ("ENABLE_IPv6", "false")][..], Families::Ipv4),
        (&[("ENABLE_IPv4", "false"), ("ENABLE_IPv6", "true")], Families::Ipv6),
        (&[("ENABLE_IPv4", "true"), ("ENABLE_IPv6", "true")], Families::DualStack),
        (&[("ENABLE_IPv6", "true")], Families::DualStack),
    ] {
        assert_eq!(settings(set).network.families, families, "{set:?}");
    }
    for set in [&[("ENABLE_IPv4", "false")][..], &[("ENABLE_IPv4", "false"), ("ENABLE_IPv6", "false")]] {
        let document = document("", set);
        assert!(
            matches!(document.problems[..], [Problem::Variable { .. }]),
            "{set:?}: {:?}",
            document.problems
        );
    }
}

#[test]
fn egress_goes_with_the_family_that_the_file_or_the_variables_say() {
    let ipv6 = [("ENABLE_IPv4", "false"), ("ENABLE_IPv6", "true")];
    let with = |more: &[(&'static str, &'static str)]| [&ipv6[..], more].concat();
    assert!(settings(&with(&[])).network.egress);
    assert!(!settings(&with(&[("ENABLE_V4_EGRESS", "false")])).network.egress);
    assert!(settings(&with(&[("ENABLE_V6_EGRESS", "true")])).network.egress, "not its family");
    let file = "[network]\nip_family = 'ipv6'\n";
    assert!(!document(file, &[("ENABLE_V4_EGRESS", "false")]).settings.network.egress);
    let dual = document("[network]\nip_family = 'dual-stack'\n", &[("ENABLE_V6_EGRESS", "true")]);
    assert!(dual.problems.is_empty() && !dual.settings.network.egress);
    assert_eq!(dual.idle.len(), 1);
}

#[test]
fn metadata_only_says_more_than_no_provisioning() {
    let both = [("DISABLE_NETWORK_RESOURCE_PROVISIONING", "true"), ("ENABLE_IMDS_ONLY_MODE", "true")];
    assert_eq!(settings(&both).pool.provisioning, Provisioning::MetadataOnly);
    let one = [("DISABLE_NETWORK_RESOURCE_PROVISIONING", "true"), ("ENABLE_IMDS_ONLY_MODE", "false")];
    assert_eq!(settings(&one).pool.provisioning, Provisioning::LookOnly);
}

#[test]
fn the_file_wins_key_by_key() {
    let file = "[network]\nmtu = 1400\nip_family = 'ipv4'\n[tags]\nteam = 'file'\n[pool]\n";
    let set = [
        ("AWS_VPC_ENI_MTU", "1500"),
        ("POD_MTU", "1300"),
        ("ENABLE_IPv6", "true"),
        ("ADDITIONAL_ENI_TAGS", r#"{"team": "variable", "site": "b"}"#),
        ("MAX_ENI", "4"),
    ];
    let document = document(file, &set);
    let Settings { network, tags, pool, .. } = &document.settings;
    assert!(document.problems.is_empty());
    assert_eq!((network.mtu, network.pod_mtu, network.families), (1400, 1300, Families::Ipv4));
    assert_eq!((tags["team"].as_str(), tags["site"].as_str()), ("file", "b"));
    assert_eq!(pool.max_enis, Some(4));
    let idle: Vec<(&str, &str)> =
        document.idle.iter().map(|idle| (idle.variable, idle.why.as_str())).collect();
    let expected = [
        ("ADDITIONAL_ENI_TAGS", "the file sets tags.team"),
        ("AWS_VPC_ENI_MTU", "the file sets network.mtu"),
        ("ENABLE_IPv6", "the file sets network.ip_family"),
    ];
    assert_eq!(idle, expected);
}

#[test]
fn a_wrong_value_that_the_file_replaced_holds_nobody_up() {
    let document = document("[network]\nmtu = 1400\n", &[("AWS_VPC_ENI_MTU", "jumbo"), ("POD_MTU", "1400")]);
    assert_eq!(document.problems, []);
    assert_eq!(document.idle.len(), 1);
}

/// One wrong value for each variable that can have one, and what is said about it.
#[test]
fn wrong_values_are_refused_by_the_variables_name() {
    for (name, value, shown, allowed) in [
        ("WARM_ENI_TARGET", "many", "\"many\"", "a whole number"),
        ("WARM_ENI_TARGET", "129", "\"129\"", "at most 128"),
        ("WARM_IP_TARGET", "1.5", "\"1.5\"", "a whole number"),
        ("MINIMUM_IP_TARGET", "10001", "\"10001\"", "at most 10000"),
        ("WARM_PREFIX_TARGET", "626", "\"626\"", "at most 625"),
        ("MAX_ENI", "x", "\"x\"", "a whole number"),
        ("ENABLE_PREFIX_DELEGATION", "yes", "\"yes\"", "true or false"),
        ("IP_COOLDOWN_PERIOD", "3601", "3601", "from 0 to 3600 seconds"),
        ("IP_COOLDOWN_PERIOD", "-1", "-1", "from 0 to 3600 seconds"),
        ("AWS_MANAGE_ENIS_NON_SCHEDULABLE", "on", "\"on\"", "true or false"),
        ("DISABLE_NETWORK_RESOURCE_PROVISIONING", "no", "\"no\"", "true or false"),
        ("ENABLE_IMDS_ONLY_MODE", "no", "\"no\"", "true or false"),
        ("ENABLE_SUBNET_DISCOVERY", "no", "\"no\"", "true or false"),
        ("AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG", "no", "\"no\"", "true or false"),
        ("ENI_CONFIG_LABEL_DEF", "a b", "\"a b\"", "the key of a label"),
        ("ADDITIONAL_ENI_TAGS", "team=net", "\"team=net\"", "a JSON object"),
        ("ADDITIONAL_ENI_TAGS", r#"{"a": 1}"#, r#""{\"a\": 1}""#, "a JSON object"),
        ("ADDITIONAL_ENI_TAGS", r#"{"k8s.amazonaws.com/x": "y"}"#, "\"y\"", "left out"),
        ("CLUSTER_NAME", "a/b", "\"a/b\"", "letters, digits"),
        ("ENABLE_MULTI_NIC", "2", "\"2\"", "true or false"),
        ("MANAGE_UNTAGGED_ENI", "2", "\"2\"", "true or false"),
        ("AWS_VPC_ENI_MTU", "100", "100", "from 576 to 9001 bytes"),
        ("AWS_VPC_ENI_MTU", "jumbo", "\"jumbo\"", "a whole number"),
        ("POD_MTU", "9002", "9002", "from 576 to 9001 bytes"),
        ("AWS_VPC_K8S_CNI_VETHPREFIX", "eth", "\"eth\"", "1 to 4 letters"),
        ("AWS_VPC_K8S_CNI_EXTERNALSNAT", "2", "\"2\"", "true or false"),
        ("AWS_VPC_K8S_CNI_RANDOMIZESNAT", "random", "\"random\"", "\"prng\", \"hashrandom\" or \"none\""),
        ("AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS", "10.8.0.0/16,10.9.0.0/33", "\"10.9.0.0/33\"", "an IPv4 range"),
        ("AWS_VPC_CNI_NODE_PORT_SUPPORT", "2", "\"2\"", "true or false"),
        ("AWS_VPC_K8S_CNI_CONNMARK", "0x3", "3", "one bit"),
        ("AWS_VPC_K8S_CNI_CONNMARK", "0xz", "\"0xz\"", "one bit"),
        ("AWS_VPC_K8S_CNI_CONNMARK", "0x4000", "16384", "kube-proxy"),
        ("AWS_EXTERNAL_SERVICE_CIDRS", "fd00::/8", "\"fd00::/8\"", "an IPv4 range"),
        ("AWS_EXTERNAL_SERVICE_CIDRS", "0.0.0.0/0", "\"0.0.0.0/0\"", "not 0.0.0.0/0"),
        ("ENABLE_IPv4", "4", "\"4\"", "true or false"),
        ("ENABLE_IPv6", "6", "\"6\"", "true or false"),
        ("ENABLE_V4_EGRESS", "2", "\"2\"", "true or false"),
        ("ENABLE_V6_EGRESS", "2", "\"2\"", "true or false"),
        ("AWS_EC2_ENDPOINT", "ec2.example.org", "\"ec2.example.org\"", "a URL"),
        ("HTTP_TIMEOUT", "61", "61", "from 1 to 60 seconds"),
        ("AWS_REGION", "eu central", "\"eu central\"", "the name of a region"),
    ] {
        let document = document("", &[(name, value)]);
        let [Problem::Variable { name: named, value: found, allowed: said, .. }] = &document.problems[..]
        else {
            panic!("{name}={value}: {:?}", document.problems)
        };
        assert_eq!((*named, found.as_str()), (name, shown));
        assert!(said.contains(allowed), "{name}={value}: {said}");
    }
}

#[test]
fn problems_of_variables_and_of_the_file_are_told_together() {
    let document = document("[pool]\nwait_secs = 111\n", &[("POD_MTU", "1"), ("MAX_ENI", "x")]);
    let said: Vec<String> = document.problems.iter().map(ToString::to_string).collect();
    let expected = [
        "environment: MAX_ENI = \"x\": must be a whole number; it stands for pool.max_enis",
        "environment: POD_MTU = 1: must be a whole number from 576 to 9001 bytes (never above `mtu`); it stands for \
         network.pod_mtu",
        "/etc/enid/enid.toml:2: pool.wait_secs = 111: must be a whole number from 0 to 110 seconds",
    ];
    assert_eq!(said, expected);
}

#[test]
fn a_file_that_has_no_table_where_a_variable_needs_one_is_told_so_once() {
    let document = document("network = 3\n", &[("AWS_VPC_ENI_MTU", "1500")]);
    let [Problem::NotAllowed { key, line: 1, .. }] = &document.problems[..] else {
        panic!("{:?}", document.problems)
    };
    assert_eq!(key, "network");
}

#[test]
fn values_are_long_and_odd_without_harm() {
    for value in ["\u{1}\u{7f}\"\\'''\"\"\"", &"x".repeat(100_000), "é\u{2028}", "[{", "-"] {
        for variable in TABLE {
            let document = document("", &[(variable.name, value)]);
            let said: String = document.problems.iter().map(|problem| format!("{problem}\n")).collect();
            assert!(said.len() < 1000, "{}: {said}", variable.name);
        }
    }
}

#[test]
fn what_comes_from_variables_is_in_force_with_their_names() {
    let set =
        [("AWS_VPC_ENI_MTU", "1500"), ("ENABLE_POD_ENI", "true"), ("MAX_ENI", "2"), ("WARM_IP_TARGET", "5")];
    let expected = [
        "network.mtu = 1500 (from AWS_VPC_ENI_MTU)",
        "pool.max_enis = 3 (line 2)",
        "strategy.warm-pool.settings.warm_ip_target = 5 (from WARM_IP_TARGET)",
        "MAX_ENI has no effect: the file sets pool.max_enis",
        "ENABLE_POD_ENI has no effect: security groups for pods are not supported yet",
    ];
    assert_eq!(in_force("[pool]\nmax_enis = 3\n", &set), expected);
}

#[test]
fn variables_at_their_defaults_change_nothing() {
    let set = [
        ("WARM_ENI_TARGET", "1"),
        ("WARM_PREFIX_TARGET", "1"),
        ("ENABLE_IPv4", "true"),
        ("ENABLE_IPv6", "false"),
        ("AWS_VPC_ENI_MTU", "9001"),
        ("AWS_VPC_K8S_CNI_VETHPREFIX", "eni"),
        ("AWS_VPC_K8S_CNI_EXTERNALSNAT", "false"),
        ("ADDITIONAL_ENI_TAGS", "{}"),
        ("CLUSTER_NAME", ""),
        ("DISABLE_METRICS", "false"),
        ("ENABLE_SUBNET_DISCOVERY", "true"),
    ];
    assert_eq!(in_force("", &set), [""; 0]);
    assert_eq!(settings(&set), Settings::default());
}

#[test]
fn lines_are_read_as_kubectl_prints_them() {
    let text = "# daemonsets/aws-node, container aws-node\nMAX_ENI=3\n\nWARM_IP_TARGET=\nOTHER=1\n \
                ADDITIONAL_ENI_TAGS={\"a\":\"b=c\"}\n";
    let (found, unknown) = Variables::of_lines(text).unwrap();
    assert_eq!(found, variables(&[("MAX_ENI", "3"), ("ADDITIONAL_ENI_TAGS", r#"{"a":"b=c"}"#)]));
    assert_eq!(unknown, ["OTHER"]);
    assert_eq!(Variables::of_lines("MAX_ENI=3\nMAX_ENI\n").unwrap_err(), 2);
}

#[test]
fn the_page_about_variables_is_the_tables() {
    let page = include_str!("../../../../deploy/VARIABLES.md");
    assert_eq!(page, sheet(), "write what `enid config variables` prints to deploy/VARIABLES.md");
}

#[test]
fn every_key_in_the_table_is_a_setting() {
    let annotated = include_str!("../../../../deploy/enid.toml");
    let (table, _) = DeTable::parse_recoverable(annotated);
    for variable in TABLE {
        let Meaning::Setting { keys, .. } = &variable.meaning else { continue };
        for key in *keys {
            let name = key.rsplit('.').next().unwrap();
            let shown =
                annotated.contains(&format!("\n{name} = ")) || annotated.contains(&format!("\n# {name} = "));
            assert!(shown || sets(table.get_ref(), &path_of(key)), "{}: {key}", variable.name);
        }
    }
}
