use std::path::Path;
use std::time::Duration;

use enid_core::snapshot::{Setting, Value};

use super::*;

fn parsed(text: &str) -> Result<Settings, Problems> {
    parse(text, Path::new("/etc/enid/enid.toml"))
}

fn valid(text: &str) -> Settings {
    parsed(text).unwrap()
}

/// The only problem's key and what is allowed instead.
fn not_allowed(text: &str) -> (String, String) {
    let problems = parsed(text).unwrap_err();
    let [Problem::NotAllowed { key, allowed, .. }] = &problems.0[..] else { panic!("{problems}") };
    (key.clone(), allowed.clone())
}

const ANNOTATED: &str = include_str!("../../../../deploy/enid.toml");

/// The annotated file with its commented examples in force.
fn with_examples() -> String {
    let is_example = |line: &str| {
        line.strip_prefix("# ").is_some_and(|rest| {
            let key: String = rest
                .chars()
                .take_while(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '_')
                .collect();
            !key.is_empty() && rest[key.len()..].starts_with(" = ")
        })
    };
    let lines = ANNOTATED.lines().map(|line| if is_example(line) { &line[2..] } else { line });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn an_empty_file_is_all_defaults() {
    assert_eq!(valid(""), Settings::default());
    assert_eq!(valid("[node]\n[strategy.warm-pool.limits]\n"), Settings::default());
}

#[test]
fn the_annotated_file_holds_exactly_the_defaults() {
    assert_eq!(valid(ANNOTATED), Settings::default());
}

#[test]
fn the_annotated_files_examples_are_valid() {
    let settings = valid(&with_examples());
    assert!(settings.node.max_pods.is_some());
    assert!(settings.cloud.ec2_endpoint.is_some());
    assert!(settings.strategies.warm_pool.digest.is_some());
    assert!(!settings.strategies.warm_pool.settings.is_empty());
}

#[test]
fn the_annotated_file_shows_every_setting() {
    let examples = with_examples();
    let (shown, errors) = DeTable::parse_recoverable(&examples);
    assert!(errors.is_empty());
    let nothing = DeTable::new();
    let (_, reading) = read("", Path::new("enid.toml"), &nothing);
    for key in reading.known {
        let mut parts = key.split('.');
        let first = shown.get_ref().get(parts.next().unwrap()).map(toml::Spanned::get_ref);
        let found = parts.fold(first, |table, part| table?.get(part).map(toml::Spanned::get_ref));
        assert!(found.is_some(), "deploy/enid.toml does not show {key}");
    }
}

#[test]
fn all_problems_are_reported_together_in_the_order_of_lines() {
    let text = "[pool]\ncooldown_secs = 4000\nmode = \"prefix\"\nwarm = 1\n\n[nodes]\nx = 1\n\n[network]\nmtu = \"big\"\n";
    let problems = parsed(text).unwrap_err();
    assert_eq!(problems.iter().map(|p| p.line().unwrap()).collect::<Vec<_>>(), [2, 3, 4, 6, 10]);
    let printed = problems.to_string();
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(
        lines[0],
        "/etc/enid/enid.toml:2: pool.cooldown_secs = 4000: must be a whole number from 0 to 3600 seconds"
    );
    assert!(lines[1].contains("address modes"), "{}", lines[1]);
    assert_eq!(
        lines[2],
        "/etc/enid/enid.toml:4: pool.warm: there is no such setting; here may be mode, max_enis, cooldown_secs, wait_secs"
    );
    assert!(lines[3].ends_with("nodes: there is no such setting; did you mean `node`?"), "{}", lines[3]);
}

#[test]
fn unknown_keys_are_refused_at_every_level() {
    for (text, key, meant) in [
        ("nod = 1", "nod", "node"),
        ("[node]\nruntime-dir = '/x'", "node.runtime-dir", "runtime_dir"),
        ("[strategy.warm_pool]", "strategy.warm_pool", "warm-pool"),
        ("[strategy.warm-pool]\nsetings = {}", "strategy.warm-pool.setings", "settings"),
        ("[strategy.max-pods.limits]\nfuell = 1", "strategy.max-pods.limits.fuell", "fuel"),
    ] {
        let problems = parsed(text).unwrap_err();
        let [Problem::Unknown { key: found, advice, .. }] = &problems.0[..] else { panic!("{problems}") };
        assert_eq!(found, key);
        assert_eq!(*advice, format!("did you mean `{meant}`?"));
    }
}

#[test]
fn syntax_errors_name_their_line() {
    let problems = parsed("[node]\nmax_pods = \n").unwrap_err();
    assert!(matches!(problems.0[..], [Problem::Syntax { line: 2, .. }]), "{problems}");
    assert!(parsed("[node]\n[node]\n").is_err());
    assert!(parsed("a = \u{0}").is_err());
}

#[test]
fn files_that_cannot_be_read_say_so() {
    let problems = load(Path::new("/nonexistent/enid.toml")).unwrap_err();
    assert!(matches!(&problems.0[..], [Problem::Unreadable { .. }]));
    let folder = tempfile::tempdir().unwrap();
    assert!(load(folder.path()).is_err(), "a directory");
    let file = folder.path().join("enid.toml");
    std::fs::write(&file, [0xff, 0xfe]).unwrap();
    assert!(load(&file).unwrap_err().to_string().contains("UTF-8"));
    std::fs::write(&file, "#".repeat(2 * 1024 * 1024)).unwrap();
    assert!(load(&file).unwrap_err().to_string().contains("larger"));
    std::fs::write(&file, "[node]\nmax_pods = 5").unwrap();
    assert_eq!(load(&file).unwrap().node.max_pods, Some(5));
}

#[test]
fn the_runtime_directory_leaves_room_for_socket_names() {
    assert_eq!(valid("[node]\nruntime_dir = '/var/run/x'").node.runtime_dir, Path::new("/var/run/x"));
    assert_eq!(not_allowed("[node]\nruntime_dir = 'run/x'").0, "node.runtime_dir");
    not_allowed(&format!("[node]\nruntime_dir = '/{}'", "x".repeat(80)));
    not_allowed("[node]\nruntime_dir = \"/a\\u0000b\"");
}

#[test]
fn the_cluster_name_fits_into_a_tag_key() {
    assert_eq!(valid("[node]\ncluster_name = 'prod.eu_1'").node.cluster_name.as_deref(), Some("prod.eu_1"));
    not_allowed("[node]\ncluster_name = ''");
    not_allowed("[node]\ncluster_name = 'a/b'");
}

#[test]
fn max_pods_is_a_sane_number() {
    assert_eq!(valid("[node]\nmax_pods = 10000").node.max_pods, Some(10_000));
    for wrong in ["0", "10001", "-1", "1.5", "'110'", "99999999999999999999"] {
        assert_eq!(not_allowed(&format!("[node]\nmax_pods = {wrong}")).0, "node.max_pods");
    }
}

#[test]
fn paths_are_relative_to_the_settings_file() {
    let settings = valid(
        "[node]\nstrategy_dir = 'mine'\n[strategy.warm-pool]\nuse = './ewma.wasm'\nfallback = 'warm-targets'",
    );
    assert_eq!(settings.node.strategy_dir.as_deref(), Some(Path::new("/etc/enid/mine")));
    assert_eq!(settings.strategies.warm_pool.source, Source::File("/etc/enid/./ewma.wasm".into()));
    assert_eq!(settings.strategies.warm_pool.fallback, Some(Source::Named("warm-targets".to_owned())));
    assert_eq!(
        valid("[strategy.max-pods]\nuse = '/opt/x'").strategies.max_pods.source,
        Source::File("/opt/x".into())
    );
}

#[test]
fn endpoints_are_http_urls_with_a_host() {
    for right in [
        "http://10.0.0.2",
        "https://ec2.eu-central-1.amazonaws.com/",
        "http://[fd00::1]:8080",
        "http://h:1/p",
    ] {
        let settings = valid(&format!("[cloud]\nec2_endpoint = '{right}'\nimds_endpoint = '{right}'"));
        assert_eq!(settings.cloud.ec2_endpoint.unwrap().as_str(), right.trim_end_matches('/'));
        assert!(settings.cloud.imds_endpoint.is_some());
    }
    for wrong in [
        "",
        "10.0.0.2",
        "ftp://h",
        "http://",
        "http://:80",
        "http://h:0",
        "http://h:99999",
        "http://a b",
        "http://h?x",
    ] {
        not_allowed(&format!("[cloud]\nec2_endpoint = '{wrong}'"));
    }
}

#[test]
fn the_region_is_a_name() {
    assert_eq!(valid("[cloud]\nregion = 'eu-central-1'").cloud.region.as_deref(), Some("eu-central-1"));
    not_allowed("[cloud]\nregion = 'eu central'");
    not_allowed("[cloud]\nregion = 1");
}

#[test]
fn durations_are_within_what_makes_sense() {
    let settings = valid("[cloud]\ntimeout_secs = 60\n[pool]\ncooldown_secs = 0\nwait_secs = 110");
    assert_eq!(settings.cloud.timeout, Duration::from_secs(60));
    assert_eq!(settings.pool.cooldown, Duration::ZERO);
    assert_eq!(settings.pool.wait, Duration::from_secs(110));
    for wrong in ["[cloud]\ntimeout_secs = 0", "[pool]\ncooldown_secs = 3601", "[pool]\nwait_secs = 111"] {
        not_allowed(wrong);
    }
}

#[test]
fn prefix_mode_is_refused_with_the_reason() {
    assert_eq!(valid("[pool]\nmode = 'secondary-ip'").pool.mode, Mode::SecondaryIp);
    let (key, allowed) = not_allowed("[pool]\nmode = 'prefix'");
    assert_eq!(key, "pool.mode");
    assert!(allowed.contains("address modes"));
}

#[test]
fn max_enis_is_within_what_any_instance_has() {
    assert_eq!(valid("[pool]\nmax_enis = 2").pool.max_enis, Some(2));
    not_allowed("[pool]\nmax_enis = 0");
    not_allowed("[pool]\nmax_enis = 129");
}

#[test]
fn the_pods_mtu_follows_the_enis() {
    let network = valid("[network]\nmtu = 1500").network;
    assert_eq!((network.mtu, network.pod_mtu), (1500, 1500));
    assert_eq!(valid("[network]\npod_mtu = 1400").network.pod_mtu, 1400);
    assert_eq!(not_allowed("[network]\nmtu = 1500\npod_mtu = 1501").0, "network.pod_mtu");
    not_allowed("[network]\nmtu = 575");
    not_allowed("[network]\nmtu = 9002");
}

#[test]
fn host_veths_keep_away_from_the_systems_names() {
    assert_eq!(valid("[network]\nveth_prefix = 'pod'").network.veth_prefix.as_str(), "pod");
    not_allowed("[network]\nveth_prefix = 'eth'");
    not_allowed("[network]\nveth_prefix = 'toolong'");
}

#[test]
fn translation_is_the_nodes_unless_a_gateway_does_it() {
    assert_eq!(valid("").network.snat(), Some(SnatPorts::Prng));
    assert_eq!(valid("[network]\nexternal_snat = true").network.snat(), None);
    assert_eq!(valid("[network]\nsnat_ports = 'hashrandom'").network.snat(), Some(SnatPorts::HashRandom));
    assert_eq!(valid("[network]\nsnat_ports = 'none'").network.snat(), Some(SnatPorts::None));
    not_allowed("[network]\nsnat_ports = 'random'");
    not_allowed("[network]\nexternal_snat = 'yes'");
}

#[test]
fn excluded_ranges_are_refused_one_by_one() {
    let network = valid("[network]\nexclude_snat_cidrs = ['10.8.0.0/16', '192.168.1.7/24']").network;
    assert_eq!(
        network.exclude_snat_cidrs,
        ["10.8.0.0/16".parse().unwrap(), "192.168.1.0/24".parse().unwrap()]
    );
    let (key, _) = not_allowed("[network]\nexclude_snat_cidrs = ['10.8.0.0/16', '10.8.0.0/33']");
    assert_eq!(key, "network.exclude_snat_cidrs.1");
    not_allowed("[network]\nexclude_snat_cidrs = '10.8.0.0/16'");
}

#[test]
fn replies_of_node_ports_can_be_left_alone() {
    assert!(!valid("[network]\nnode_port = false").network.node_port);
    not_allowed("[network]\nnode_port = 0");
}

#[test]
fn tags_of_owners_are_not_the_operators() {
    assert_eq!(valid("[tags]\nteam = 'net'\n'cost/centre' = ''").tags.len(), 2);
    assert_eq!(
        not_allowed("[tags]\n'node.k8s.amazonaws.com/no_manage' = 'true'").0,
        "tags.node.k8s.amazonaws.com/no_manage"
    );
    not_allowed("[tags]\n'aws:x' = 'y'");
    not_allowed("[tags]\na = 1");
    not_allowed(&format!("[tags]\na = '{}'", "x".repeat(257)));
    not_allowed("tags = 3");
    let many: String = (0..41).map(|n| format!("t{n} = ''\n")).collect();
    not_allowed(&format!("[tags]\n{many}"));
}

#[test]
fn a_strategy_is_named_or_a_file() {
    for wrong in ["''", "'Ewma'", "'a b'", "'-a'", "1", "\"a\\u0000/b\""] {
        assert_eq!(not_allowed(&format!("[strategy.warm-pool]\nuse = {wrong}")).0, "strategy.warm-pool.use");
    }
}

#[test]
fn a_fallback_is_another_component() {
    not_allowed("[strategy.warm-pool]\nfallback = 'warm-targets'");
    assert!(
        valid("[strategy.warm-pool]\nuse = 'x.wasm'\nfallback = 'warm-targets'")
            .strategies
            .warm_pool
            .fallback
            .is_some()
    );
}

#[test]
fn a_digest_is_sha256_in_full() {
    let text = format!("sha256:{}", "0f".repeat(32));
    let digest =
        valid(&format!("[strategy.max-pods]\ndigest = '{text}'")).strategies.max_pods.digest.unwrap();
    assert_eq!(digest.to_string(), text);
    for wrong in [
        "sha256:0f",
        "0f",
        "md5:0f",
        &format!("sha256:{}", "0g".repeat(32)),
        &format!("sha256:{}", "é".repeat(32)),
    ] {
        not_allowed(&format!("[strategy.max-pods]\ndigest = '{wrong}'"));
    }
}

#[test]
fn nested_settings_are_flattened() {
    let settings = valid(
        "[strategy.warm-pool.settings]\nwarm_ip_target = 2\naz = { use1-az1 = { weight = -1 } }\nlist = ['a', true]",
    );
    let mut flat = settings.strategies.warm_pool.settings;
    flat.sort_by(|a, b| a.key.cmp(&b.key));
    let expected = [
        ("az.use1-az1.weight", Value::Int(-1)),
        ("list.0", Value::Text("a".to_owned())),
        ("list.1", Value::Flag(true)),
        ("warm_ip_target", Value::Int(2)),
    ];
    assert_eq!(flat, expected.map(|(key, value)| Setting { key: key.to_owned(), value }));
}

#[test]
fn floats_and_dates_are_refused_with_advice() {
    let (key, allowed) = not_allowed("[strategy.warm-pool.settings]\na = { b = 0.25 }");
    assert_eq!(key, "strategy.warm-pool.settings.a.b");
    assert!(allowed.contains("smaller unit"));
    assert!(not_allowed("[strategy.warm-pool.settings]\na = 2026-01-01").1.contains("dates"));
    not_allowed("[strategy.warm-pool]\nsettings = 'x'");
}

#[test]
fn settings_of_a_strategy_are_bounded() {
    let many: String = (0..129).map(|n| format!("s{n} = {n}\n")).collect();
    not_allowed(&format!("[strategy.warm-pool.settings]\n{many}"));
    not_allowed(&format!("[strategy.warm-pool.settings]\na = '{}'", "x".repeat(1025)));
    let deep = format!("a = {}1{}", "[".repeat(20), "]".repeat(20));
    not_allowed(&format!("[strategy.warm-pool.settings]\n{deep}"));
}

#[test]
fn limits_are_within_what_the_host_can_hold() {
    let limits =
        valid("[strategy.subnet-selection]\nlimits = { fuel = 1_000_000, deadline_ms = 5, memory_mib = 1 }")
            .strategies
            .subnet_selection
            .limits;
    assert_eq!(limits, StrategyLimits { fuel: 1_000_000, deadline: Duration::from_millis(5), memory_mib: 1 });
    for wrong in [
        "fuel = 0",
        "fuel = 2_000_000_001",
        "deadline_ms = 0",
        "deadline_ms = 2001",
        "memory_mib = 0",
        "memory_mib = 129",
    ] {
        not_allowed(&format!("[strategy.subnet-selection.limits]\n{wrong}"));
    }
}
