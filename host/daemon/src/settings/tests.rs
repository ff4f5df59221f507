use std::path::Path;
use std::time::Duration;

use enid_component_store::Digest;
use enid_core::kind::Kind;
use enid_core::snapshot::{Setting, Value};
use enid_core::wiring::SnatPorts;
use enid_policy_wasm::runtime::Place as Isolation;

use super::*;

mod address_modes;
mod budget;
mod custom_networks;
mod in_force;
mod kubernetes;
mod noise;
mod observe;

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const KEY: &str = "RWRFWEFNUExFIZWIS82QezMSW0lp5N1RYAN2S4ki+xu/+M2XfZhoNb7t";

fn document(text: &str) -> Result<Document, Problems> {
    parse(text, Path::new("/etc/enid/enid.toml"), &Variables::default())
}

fn parsed(text: &str) -> Result<Settings, Problems> {
    let Document { settings, problems, .. } = document(text)?;
    if problems.is_empty() { Ok(settings) } else { Err(Problems(problems)) }
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
    assert!(!settings.node.labels.is_empty() && settings.network.egress);
    assert_eq!(settings.eni_configs["default"].subnets.len(), 1);
    assert!(!settings.engine.trusted_keys.is_empty());
    let Lineup { active, fallbacks, shadow } = settings.strategies.warm_pool;
    assert!(active.digest.is_some() && !active.settings.is_empty());
    assert!(!fallbacks.is_empty() && shadow.is_some());
}

#[test]
fn the_annotated_file_shows_every_setting() {
    let examples = with_examples();
    let (shown, errors) = DeTable::parse_recoverable(&examples);
    assert!(errors.is_empty());
    let nothing = DeTable::new();
    let (_, reading) = read(Path::new("enid.toml"), &Written::default(), &nothing);
    for key in reading.known {
        let mut parts = key.split('.');
        let first = shown.get_ref().get(parts.next().unwrap()).map(toml::Spanned::get_ref);
        let found = parts.fold(first, |table, part| table?.get(part).map(toml::Spanned::get_ref));
        assert!(found.is_some(), "deploy/enid.toml does not show {key}");
    }
}

#[test]
fn all_problems_are_reported_together_in_the_order_of_lines() {
    let text = "[pool]\ncooldown_secs = 4000\nmode = \"pods\"\nwarm = 1\n\n[nodes]\nx = 1\n\n[network]\nmtu = \"big\"\n";
    let problems = parsed(text).unwrap_err();
    assert_eq!(problems.iter().map(|p| p.line().unwrap()).collect::<Vec<_>>(), [2, 3, 4, 6, 10]);
    let printed = problems.to_string();
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(
        lines[0],
        "/etc/enid/enid.toml:2: pool.cooldown_secs = 4000: must be a whole number from 0 to 3600 seconds"
    );
    assert!(lines[1].ends_with("must be \"secondary-ip\" or \"prefix\""), "{}", lines[1]);
    assert_eq!(
        lines[2],
        "/etc/enid/enid.toml:4: pool.warm: there is no such setting; here may be mode, provisioning, max_enis, \
         cooldown_secs, gc_grace_secs, wait_secs, subnet_discovery, security_groups, network_cards, manage_foreign_enis, \
         sweep, manage_enis_when_unschedulable"
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
    assert_eq!(load(&file).unwrap().settings.node.max_pods, Some(5));
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
    let settings = valid(&format!(
        "[node]\nstrategy_dir = 'mine'\n[engine]\ncache_dir = 'compiled'\nstore_dir = '/srv/store'\n\
         [strategy.warm-pool]\nuse = './ewma.wasm'\ndigest = '{DIGEST}'\n\
         [strategy.max-pods]\nuse = '/opt/x'\ndigest = '{DIGEST}'"
    ));
    assert_eq!(settings.node.strategy_dir.as_deref(), Some(Path::new("/etc/enid/mine")));
    assert_eq!(settings.engine.cache_dir, Path::new("/etc/enid/compiled"));
    assert_eq!(settings.engine.store_dir, Path::new("/srv/store"));
    assert_eq!(settings.strategies.warm_pool.active.source, Source::File("/etc/enid/./ewma.wasm".into()));
    assert_eq!(settings.strategies.max_pods.active.source, Source::File("/opt/x".into()));
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
fn metrics_are_served_where_the_daemon_may_listen() {
    let at = |text: &str| valid(&format!("[observe]\nlisten = '{text}'")).observe.listen;
    assert_eq!(at("127.0.0.1:1024").map(|at| at.port()), Some(1024));
    assert_eq!(at("off"), None);
    for wrong in ["127.0.0.1:900", "127.0.0.1:0", "localhost:61678", "61678"] {
        not_allowed(&format!("[observe]\nlisten = '{wrong}'"));
    }
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
fn a_strategy_has_fallbacks_in_order_and_a_shadow_each_with_its_own_settings() {
    let text = format!(
        "[strategy.warm-pool]\nuse = 'warm-targets'\n\
         [[strategy.warm-pool.fallback]]\nuse = 'batched'\nsettings = {{ batch = 8 }}\n\
         [[strategy.warm-pool.fallback]]\nuse = './own.wasm'\ndigest = '{DIGEST}'\nlimits = {{ fuel = 1_000_000 }}\n\
         [strategy.warm-pool.shadow]\nuse = 'mine'\ndigest = '{DIGEST}'\n[strategy.warm-pool.shadow.settings]\nx = 1\n"
    );
    let lineup = valid(&text).strategies.warm_pool;
    let shown: Vec<(Role, String, usize)> = lineup
        .roles()
        .map(|(role, strategy)| (role, strategy.source.to_string(), strategy.settings.len()))
        .collect();
    let expected = [
        (Role::Active, "warm-targets", 0),
        (Role::Fallback(0), "batched", 1),
        (Role::Fallback(1), "/etc/enid/./own.wasm", 0),
        (Role::Shadow, "mine", 1),
    ];
    assert_eq!(shown, expected.map(|(role, source, settings)| (role, source.to_owned(), settings)));
    assert_eq!(lineup.fallbacks[1].limits.fuel, 1_000_000);
    assert_eq!(valid("").strategies.warm_pool, Lineup::only(Strategy::shipped("warm-targets")));
}

#[test]
fn a_fallback_by_name_alone_is_told_its_new_form() {
    for text in ["fallback = 'warm-targets'", "fallback = ['warm-targets']", "fallback = {use = 'x'}"] {
        let (key, allowed) = not_allowed(&format!("[strategy.warm-pool]\n{text}"));
        assert_eq!(key, "strategy.warm-pool.fallback");
        assert!(
            allowed.contains("[[strategy.warm-pool.fallback]]") && allowed.contains("use = "),
            "{allowed}"
        );
    }
    let many = "[[strategy.warm-pool.fallback]]\nuse = 'builtin'\n".repeat(5);
    assert!(not_allowed(&many).1.contains("at most 4"));
    assert_eq!(valid(&many[..many.len() / 5 * 4]).strategies.warm_pool.fallbacks.len(), 4);
}

/// The only problem's line, key and reason, of a setting that is missing.
fn missing(text: &str) -> (usize, String, String) {
    let problems = parsed(text).unwrap_err();
    let [Problem::Missing { line, key, why, .. }] = &problems.0[..] else { panic!("{problems}") };
    (*line, key.clone(), why.clone())
}

#[test]
fn a_file_without_a_digest_is_refused_next_to_its_name() {
    for (text, place) in [
        ("\n[strategy.warm-pool]\nuse = './x.wasm'", (3, "strategy.warm-pool.digest")),
        (
            "[[strategy.max-pods.fallback]]\nuse = 'builtin'\n[[strategy.max-pods.fallback]]\nuse = '/x'",
            (4, "strategy.max-pods.fallback.1.digest"),
        ),
        ("[strategy.max-pods.shadow]\nuse = 'x.wasm'\n", (2, "strategy.max-pods.shadow.digest")),
    ] {
        let (line, key, why) = missing(text);
        assert_eq!((line, key.as_str()), place);
        assert!(why.contains("enid strategy digest FILE"), "{why}");
    }
}

#[test]
fn fallbacks_and_shadows_say_which_component_they_are() {
    let text =
        "[[strategy.max-pods.fallback]]\nuse = 'builtin'\n\n[[strategy.max-pods.fallback]]\nsettings = {}";
    let (line, key, _) = missing(text);
    assert_eq!((line, key.as_str()), (4, "strategy.max-pods.fallback.1.use"));
    assert_eq!(missing("\n[strategy.max-pods.shadow]\n").0, 2);
}

#[test]
fn the_builtin_has_no_digest() {
    let text = format!("[strategy.max-pods]\nuse = 'builtin'\ndigest = '{DIGEST}'");
    assert_eq!(not_allowed(&text).0, "strategy.max-pods.digest");
}

#[test]
fn settings_of_strategies_are_found_again_by_their_keys() {
    let text = "[strategy.warm-pool]\nuse = 'x'\n\n[strategy.warm-pool.settings]\nplain = 5\n\
                az.use1-az1.weight = 2\nlist = [\n  1,\n  true,\n]\n\
                [[strategy.warm-pool.fallback]]\nuse = 'builtin'\nsettings.deep = 'a'\n";
    let places = document(text).unwrap().places;
    for (key, line, value) in [
        ("use", 2, "'x'"),
        ("settings.plain", 5, "5"),
        ("settings.az.use1-az1.weight", 6, "2"),
        ("settings.list.1", 7, "true"),
        ("fallback.0.settings.deep", 13, "'a'"),
    ] {
        let place = places.exactly(&format!("strategy.warm-pool.{key}")).unwrap_or_else(|| panic!("{key}"));
        assert_eq!((place.line(), place.value.as_str()), (Some(line), value), "{key}");
    }
    for (key, around, line) in [
        ("settings.list.7", "settings.list", 7),
        ("settings.absent", "settings", 4),
        ("fallback.0.settings.other", "fallback.0.settings", 13),
    ] {
        let (found, place) = places.around(&format!("strategy.warm-pool.{key}")).unwrap();
        assert_eq!((found, place.line()), (format!("strategy.warm-pool.{around}"), Some(line)), "{key}");
    }
    assert_eq!(
        places.around("strategy.max-pods.settings.x").map(|(key, _)| key),
        Some("strategy".to_owned())
    );
    assert_eq!(places.exactly("strategy.max-pods.use"), None);
}

#[test]
fn roles_know_where_they_stand() {
    assert_eq!(Role::Active.path(Kind::MaxPods), "strategy.max-pods");
    assert_eq!(Role::Fallback(1).path(Kind::WarmPool), "strategy.warm-pool.fallback.1");
    assert_eq!(Role::Shadow.path(Kind::SubnetSelection), "strategy.subnet-selection.shadow");
}

#[test]
fn components_run_in_a_process_of_their_own_unless_said_otherwise() {
    assert_eq!(valid("").engine.isolation, Isolation::Process);
    assert_eq!(valid("[engine]\nisolation = 'in-process'").engine.isolation, Isolation::InProcess);
    assert_eq!(not_allowed("[engine]\nisolation = 'none'").0, "engine.isolation");
    not_allowed("[engine]\ncache_dir = ''");
}

#[test]
fn trusted_keys_are_refused_one_by_one() {
    let keys = |keys: &str| format!("[engine]\ntrusted_keys = {keys}");
    for right in [format!("['{KEY}']"), format!("['us={KEY}']")] {
        assert_eq!(valid(&keys(&right)).engine.trusted_keys.names().count(), 1);
    }
    for wrong in [format!("['{KEY}', 'nonsense']"), format!("['{KEY}', 'again={KEY}']")] {
        assert_eq!(not_allowed(&keys(&wrong)).0, "engine.trusted_keys.1");
    }
    assert_eq!(not_allowed(&keys(&format!("'{KEY}'"))).0, "engine.trusted_keys");
}

#[test]
fn signatures_are_required_only_where_some_could_count() {
    let text = format!("[engine]\nrequire_signatures = true\ntrusted_keys = ['{KEY}']");
    assert!(valid(&text).engine.require_signatures);
    assert!(!valid("[engine]\nrequire_signatures = false").engine.require_signatures);
    let (key, allowed) = not_allowed("[engine]\nrequire_signatures = true");
    assert_eq!(key, "engine.require_signatures");
    assert!(allowed.contains("trusted_keys"), "{allowed}");
}

#[test]
fn a_digest_is_sha256_in_full() {
    let text = format!("[strategy.max-pods]\ndigest = '{DIGEST}'");
    assert_eq!(valid(&text).strategies.max_pods.active.digest, Some(Digest::of(b"")));
    for wrong in [
        "sha256:0f",
        "0f",
        "md5:0f",
        &DIGEST.to_uppercase(),
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
    let mut flat = settings.strategies.warm_pool.active.settings;
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
        valid("[strategy.subnet-selection.limits]\nfuel = 1_000_000\ndeadline_ms = 5\nmemory_mib = 1\ncomponent_mib = 32")
            .strategies
            .subnet_selection
            .active
            .limits;
    let expected = StrategyLimits {
        fuel: 1_000_000,
        deadline: Duration::from_millis(5),
        memory_mib: 1,
        component_mib: 32,
    };
    assert_eq!(limits, expected);
    for wrong in [
        "fuel = 0",
        "fuel = 2_000_000_001",
        "deadline_ms = 0",
        "deadline_ms = 2001",
        "memory_mib = 0",
        "memory_mib = 129",
        "component_mib = 0",
        "component_mib = 33",
    ] {
        not_allowed(&format!("[strategy.subnet-selection.limits]\n{wrong}"));
    }
}
