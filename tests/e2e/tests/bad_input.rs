//! Bad input: one line that says what and how to mend it, a documented code, and nothing half-done.
//!
//! Codes of commands are those under `enid --help`; codes of CNI calls are `enid_protocol::cni::code::Code`'s.
#![expect(clippy::unwrap_used, reason = "a test that cannot arrange its world fails")]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::{fs, io};

use e2e::daemon::Daemon;
use e2e::lab::Lab;
use e2e::node::Node;
use e2e::patience::wait_for;
use e2e::plugin::{Call, NOBODY};
use e2e::program::{self, Ended, run_enid};
use e2e::settings::Settings;

/// Exit codes, as `enid --help` lists them.
const ARGUMENTS: i32 = 2;
const UNAVAILABLE: i32 = 69;
const IN_USE: i32 = 73;
const NOT_PERMITTED: i32 = 77;
const SETTINGS: i32 = 78;

/// Where the lab's EC2 and metadata answer.
const EC2: &str = "10.0.0.2";
const IMDS: &str = "169.254.169.254";

/// A node on which nothing was started yet, and what its kernel looks like.
struct Untouched {
    node: Node,
    before: BTreeSet<String>,
}

impl Untouched {
    fn new(node: Node) -> Self {
        let before = node.kernel().picture();
        Self { node, before }
    }

    /// A start that ends with one line of `code`, and leaves neither a socket nor anything in the kernel.
    #[track_caller]
    fn refuses(&self, code: i32) -> String {
        let said = self.node.run_to_end().complaint(code);
        self.is_untouched();
        said
    }

    #[track_caller]
    fn is_untouched(&self) {
        assert!(!self.node.socket().exists(), "a socket was left");
        assert_eq!(self.node.kernel().picture(), self.before);
    }

    /// What was refused does not stand in the way of the next start.
    fn starts_with(&self, settings: &Settings) -> Daemon {
        self.node.configure(settings);
        let daemon = self.node.start();
        daemon.wait_until_ready();
        daemon
    }
}

#[track_caller]
fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in `{text}`");
    }
}

#[test]
fn problems_of_the_settings_are_told_together_with_their_lines() {
    let lab = Lab::up("settings");
    let untouched = Untouched::new(lab.m5());
    let node = &untouched.node;
    node.write_settings(
        "colour = \"red\"\n\
         [node]\n\
         runtime_dir = 5\n\
         max_pods = 0\n\
         [pool]\n\
         cooldown_secs = -1\n\
         wait_secs = \"long\"\n\
         [network]\n\
         node_port = 1\n\
         [strategy.warm-pool]\n\
         use = \"Nope!\"\n\
         deadline = 3\n\
         [strategy.warm-pool.limits]\n\
         memory_mib = 4096\n",
    );
    let wanted = [
        (1, "colour", "there is no such setting"),
        (3, "node.runtime_dir = 5", "must be an absolute path"),
        (4, "node.max_pods = 0", "from 1 to 10000 pods"),
        (6, "pool.cooldown_secs = -1", "from 0 to 3600 seconds"),
        (7, "pool.wait_secs = \"long\"", "from 0 to 110 seconds"),
        (9, "network.node_port = 1", "must be true or false"),
        (11, "strategy.warm-pool.use = \"Nope!\"", "must be the name of a strategy"),
        (12, "strategy.warm-pool.deadline", "here may be use, fallback"),
        (14, "strategy.warm-pool.limits.memory_mib = 4096", "from 1 to 128 MiB"),
    ];
    let file = node.settings_file().to_str().unwrap();
    let told = node.run_to_end().complaints(SETTINGS);
    assert_eq!(told.len(), wanted.len(), "{told:#?}");
    for (line, (number, key, remedy)) in told.iter().zip(wanted) {
        says(line, &[&format!("{file}:{number}: {key}"), remedy]);
    }
    assert_eq!(run_enid(&["check-settings", file]).complaints(SETTINGS), told);
    untouched.is_untouched();
    assert!(!node.runtime_dir().exists(), "not even the runtime directory was made");
    assert!(untouched.starts_with(&node.settings()).terminate().success());
}

#[test]
fn a_settings_file_that_cannot_be_read_is_named() {
    let lab = Lab::up("unreadable");
    let directory = lab.directory();
    let file = |name: &str, bytes: &[u8]| {
        let path = directory.join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let huge = vec![b'#'; 2 << 20];
    for (path, why) in [
        (directory.join("nowhere.toml"), "No such file"),
        (directory.to_owned(), "Is a directory"),
        (file("latin.toml", b"colour = \"gr\xfcn\"\n"), "not UTF-8 text"),
        (file("half.toml", b"[node\n"), ":1: not valid TOML"),
        (file("twice.toml", b"[node]\nmax_pods = 3\nmax_pods = 4\n"), ":3: not valid TOML"),
        (file("huge.toml", &huge), "larger than"),
    ] {
        let path = path.to_str().unwrap();
        for words in [["run", "--config", path].as_slice(), &["check-settings", path]] {
            let said = run_enid(words).complaint(SETTINGS);
            says(&said, &[path, why]);
        }
    }
}

#[test]
fn a_component_that_cannot_be_used_is_refused_by_name() {
    let lab = Lab::up("component");
    let untouched = Untouched::new(lab.m5());
    let node = &untouched.node;
    let shipped = fs::read(program::strategy("warm-targets")).unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = lab.directory().join(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let mut flipped = shipped.clone();
    let middle = flipped.len() / 2;
    flipped[middle..middle + 64].fill(0xff);
    let max_pods = program::strategy("eks-max-pods").to_str().unwrap().to_owned();
    for (strategy, why) in [
        ("no-such-thing", "the file cannot be read: No such file"),
        ("/nowhere/at-all.wasm", "the file cannot be read: No such file"),
        (lab.directory().to_str().unwrap(), "the file cannot be read"),
        (&file("empty.wasm", b""), "it is not"),
        (&file("text.wasm", b"hello"), "it is not"),
        (&file("module.wasm", b"\0asm\x01\0\0\0"), "it is not"),
        (&file("cut.wasm", &shipped[..3000]), "it is not valid"),
        (&file("flipped.wasm", &flipped), "it is not"),
        (&max_pods, "it is a max-pods strategy, but a warm-pool strategy is configured here"),
    ] {
        node.configure(&node.settings().warm_pool(strategy, ""));
        let said = untouched.refuses(SETTINGS);
        says(&said, &["load warm-pool strategy", strategy, why, "[strategy.warm-pool]"]);
        let file = node.settings_file().to_str().unwrap();
        assert_eq!(run_enid(&["check-settings", file]).complaint(SETTINGS), said);
    }
    let other_bytes = format!("{}digest = \"sha256:{}\"\n", node.settings(), "0".repeat(64));
    node.write_settings(&other_bytes);
    says(&untouched.refuses(SETTINGS), &["warm-targets", "digest", "[strategy.warm-pool]"]);
    assert!(untouched.starts_with(&node.settings()).terminate().success());
}

#[test]
fn settings_that_a_strategy_does_not_take_are_refused_in_its_words() {
    let lab = Lab::up("strategy");
    let untouched = Untouched::new(lab.m5());
    let node = &untouched.node;
    for (settings, wanted) in [
        ("warm_eni_taget = 1", vec!["warm_eni_taget: unknown setting", "warm_eni_target"]),
        ("warm_eni_target = -7", vec!["warm_eni_target", "from 0 to 128", "-7"]),
        ("warm_eni_target = 100000", vec!["warm_eni_target", "from 0 to 128", "100000"]),
        ("warm_eni_target = \"one\"", vec!["warm_eni_target", "integer", "one"]),
        ("placement = \"sideways\"", vec!["placement", "pack", "spread", "sideways"]),
        ("warm_ip_target = -1, colour = 2", vec!["warm_ip_target", "colour"]),
    ] {
        node.configure(&node.settings().warm_pool("warm-targets", settings));
        let said = untouched.refuses(SETTINGS);
        says(&said, &["warm-pool", "[strategy.warm-pool]"]);
        says(&said, &wanted);
    }
    assert!(untouched.starts_with(&node.settings()).terminate().success());
}

#[test]
fn without_metadata_a_first_start_says_what_it_needs() {
    let lab = Lab::up("imds");
    let untouched = Untouched::new(lab.m5());
    let node = &untouched.node;
    node.configure(&node.settings().without_imds());
    let said = untouched.refuses(UNAVAILABLE);
    says(&said, &["metadata", "http://10.0.0.2:9", "cloud.imds_endpoint"]);
    assert!(untouched.starts_with(&node.settings()).terminate().success());
}

#[test]
fn without_ec2_a_first_start_waits_degraded_until_ec2_answers() {
    let lab = Lab::up("no-ec2");
    let node = lab.m5();
    node.configure(&node.settings().wait_secs(1));
    node.kernel().cut_off(&[EC2]);
    let mut daemon = node.start();
    let status = wait_for("the daemon says that it is degraded", Duration::from_secs(20), || {
        let status = node.status();
        if status["degraded"].is_string() { Ok(status) } else { Err(status.to_string()) }
    });
    assert_eq!(status["ready"], false, "{status}");
    says(status["degraded"].as_str().unwrap(), &["unavailable"]);
    let text = node.ask(&["status"]).ok();
    says(&text, &["degraded", "unavailable", "an ADD would wait"]);
    let pod = lab.pod();
    let failure = Call::new("ADD", &node, &pod).failure(&node);
    assert_eq!(failure.code, 11, "{failure:?}");
    says(&failure.details, &["\"reason\":\"cloud\"", "\"kind\":\"unavailable\""]);
    assert!(daemon.is_alive());

    node.kernel().restore();
    let status = daemon.wait_until_ready();
    assert!(status["degraded"].is_null(), "{status}");
    node.add(&pod);
}

#[test]
fn without_ec2_and_metadata_a_restart_serves_from_journal_and_pool() {
    let lab = Lab::up("outage");
    let node = lab.m5();
    let daemon = node.start();
    daemon.wait_until_ready();
    let (old, new) = (lab.pod(), lab.pod());
    let held = node.add(&old);
    assert!(daemon.terminate().success());

    for settings in [node.settings(), node.settings().without_ec2().without_imds()] {
        // Once as packets that vanish, once as connections that are refused.
        let vanish = settings.to_string() == node.settings().to_string();
        if vanish {
            node.kernel().cut_off(&[EC2, IMDS]);
        }
        node.configure(&settings);
        let daemon = node.start();
        daemon.wait_for_log(&["metadata does not answer; degraded"]);
        let result = node.add(&new);
        assert_ne!(result["ips"], held["ips"]);
        assert_eq!(node.check(&old, &held).ok(&node), serde_json::Value::Null);
        assert_eq!(node.pool("bound"), 2);
        wait_for("the daemon says that it is degraded", Duration::from_secs(20), || {
            let status = node.status();
            if status["degraded"].is_string() { Ok(()) } else { Err(status.to_string()) }
        });
        node.del(&new);
        assert!(daemon.terminate().success());
        if vanish {
            node.kernel().restore();
        }
    }
}

#[test]
fn a_socket_in_use_stops_the_second_daemon_and_not_the_first() {
    let lab = Lab::up("in-use");
    let node = lab.m5();
    let mut first = node.start();
    first.wait_until_ready();
    let before = node.kernel().picture();
    let said = node.run_to_end().complaint(IN_USE);
    says(&said, &[node.runtime_dir().to_str().unwrap(), "in use", "node.runtime_dir"]);
    assert_eq!(node.kernel().picture(), before);
    assert!(first.is_alive());
    node.add(&lab.pod());
    assert!(first.terminate().success());
}

#[test]
fn a_socket_of_somebody_else_is_left_alone() {
    let lab = Lab::up("squatter");
    let node = lab.m5();
    let before = node.kernel().picture();
    fs::create_dir_all(node.runtime_dir()).unwrap();
    let squatter = UnixListener::bind(node.socket()).unwrap();
    let said = node.run_to_end().complaint(IN_USE);
    says(&said, &[node.socket().to_str().unwrap(), "in use", "node.runtime_dir"]);
    assert_eq!(node.kernel().picture(), before);
    assert_eq!(lab.status().calls.values().sum::<u64>(), 0, "EC2 was not even asked");
    UnixStream::connect(node.socket()).unwrap();

    // What it leaves behind when it is gone stands in nobody's way.
    drop(squatter);
    let daemon = node.start();
    daemon.wait_until_ready();
    assert!(daemon.terminate().success());
    assert!(!node.socket().exists());
}

#[test]
fn a_runtime_directory_that_cannot_be_made_is_named() {
    let lab = Lab::up("runtime");
    let untouched = Untouched::new(lab.m5());
    let node = &untouched.node;
    let file = lab.directory().join("file");
    fs::write(&file, "").unwrap();
    let dangling = lab.directory().join("dangling");
    symlink(lab.directory().join("nothing"), &dangling).unwrap();
    for path in [file.as_path(), &file.join("below"), &dangling, Path::new("/proc/enid")] {
        node.configure(&node.settings().runtime_dir(path));
        says(&untouched.refuses(IN_USE), &[path.to_str().unwrap(), "node.runtime_dir"]);
    }
    assert!(untouched.starts_with(&node.settings()).terminate().success());
}

#[test]
fn a_damaged_journal_is_refused_and_an_unfinished_line_is_not() {
    let lab = Lab::up("journal");
    let node = lab.m5();
    let daemon = node.start();
    daemon.wait_until_ready();
    let pod = lab.pod();
    let result = node.add(&pod);
    daemon.kill();
    let journal = node.runtime_dir().join("journal/journal");
    let good = fs::read(&journal).unwrap();

    for (what, damage) in [
        ("flipped bytes", {
            let mut bytes = good.clone();
            bytes[40..44].fill(b'#');
            bytes
        }),
        ("another file", b"hello, world, this is a shopping list\n".to_vec()),
    ] {
        fs::write(&journal, &damage).unwrap();
        let said = node.run_to_end().complaint(SETTINGS);
        says(&said, &[journal.to_str().unwrap()]);
        assert_eq!(fs::read(&journal).unwrap(), damage, "{what}: it stays for whoever looks into it");
    }

    // A crash in the middle of a write.
    let mut torn = good;
    torn.extend(b"00000000 [{\"kind\":\"rele");
    fs::write(&journal, torn).unwrap();
    let daemon = node.start();
    daemon.wait_for_log(&["WARN", "unfinished last line"]);
    assert_eq!(node.check(&pod, &result).ok(&node), serde_json::Value::Null);
    assert!(daemon.terminate().success());
}

/// Runs a copy of `enid` as a user who owns nothing: the original may be in a directory of root's.
struct Unprivileged {
    program: std::path::PathBuf,
    directory: std::path::PathBuf,
}

impl Unprivileged {
    fn new() -> Self {
        let directory = std::env::temp_dir().join(format!("e2e-unprivileged-{}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
        let program = directory.join("enid");
        fs::copy(program::enid(), &program).unwrap();
        Self { program, directory }
    }

    fn run(&self, words: &[&str]) -> Ended {
        let mut command = Command::new(&self.program);
        command.args(words).uid(NOBODY).gid(NOBODY).current_dir("/");
        command.output().unwrap().into()
    }
}

impl Drop for Unprivileged {
    fn drop(&mut self) {
        let _not_there = fs::remove_dir_all(&self.directory);
    }
}

#[test]
fn whoever_is_not_root_is_told_so() {
    let lab = Lab::up("nobody");
    let node = lab.m5();
    let nobody = Unprivileged::new();
    let settings = node.settings_file().to_str().unwrap();
    says(&nobody.run(&["run", "--config", settings]).complaint(NOT_PERMITTED), &["as root"]);
    assert!(!node.runtime_dir().exists());

    let directory = nobody.directory.to_str().unwrap();
    let up = ["lab", "up", "--name", "e2e-nobodys", "--directory", directory];
    says(&nobody.run(&up).complaint(NOT_PERMITTED), &["need root", "sudo"]);
    let base = lab.base().to_str().unwrap();
    let exec = ["lab", "exec", "--name", lab.name(), "--directory", base, "node-m5", "--", "true"];
    says(&nobody.run(&exec).complaint(NOT_PERMITTED), &["node-m5", "as root"]);
    let down = ["lab", "down", "--name", lab.name(), "--directory", base];
    nobody.run(&down).complaint(NOT_PERMITTED);
    assert_eq!(lab.status().nodes.len(), 2, "the lab is still up");

    // What needs no root works without.
    let strategy = program::strategy("eks-max-pods");
    let copy = nobody.directory.join("eks-max-pods.wasm");
    fs::copy(strategy, &copy).unwrap();
    let words = ["max-pods", "--instance-type", "m5.large", "--strategy", copy.to_str().unwrap()];
    assert_eq!(nobody.run(&words).ok(), "29\n");
}

#[test]
fn lab_commands_name_what_is_not_there() {
    let lab = Lab::up("lab");
    let base = lab.base().to_str().unwrap();
    let on = |words: &[&str], name: &str| {
        let mut all = vec!["lab", words[0], "--name", name, "--directory", base];
        all.extend(&words[1..]);
        run_enid(&all)
    };
    says(&on(&["up"], lab.name()).complaint(IN_USE), &["is up already", "enid lab down"]);
    says(&on(&["up"], "two words").complaint(ARGUMENTS), &["`two words`", "letters, digits or dashes"]);
    says(&on(&["status"], "e2e-nowhere").complaint(UNAVAILABLE), &["is not up", "enid lab up"]);
    says(&on(&["exec", "node-m5", "--", "true"], "e2e-nowhere").complaint(UNAVAILABLE), &["is not up"]);
    says(&on(&["exec", "node-x", "--", "true"], lab.name()).complaint(ARGUMENTS), &["node-m5, node-t3"]);
    says(&on(&["exec", "node-m5", "--", "/nowhere"], lab.name()).complaint(1), &["/nowhere", "node-m5"]);
    says(&on(&["down"], "e2e-nowhere").ok(), &["was not there"]);
}

#[test]
fn questions_with_wrong_arguments_are_refused_in_one_line() {
    let strategies = |name: &str| program::strategy(name).to_str().unwrap().to_owned();
    let warm_targets = strategies("warm-targets");
    for (line, code, parts) in [
        ("max-pods", ARGUMENTS, vec!["--instance-type"]),
        ("max-pods --instance-type m5.largo", ARGUMENTS, vec!["m5.largo", "did you mean", "m5.large"]),
        ("max-pods --instance-type m5.large --mode x", ARGUMENTS, vec!["--mode", "secondary-ip, prefix"]),
        ("max-pods --instance-type m5.large --max-enis 0", ARGUMENTS, vec!["--max-enis", "1..=128"]),
        ("max-pods --instance-type m5.large --set a", ARGUMENTS, vec!["`a` is not KEY=VALUE"]),
        ("max-pods --instance-type m5.large --set =1", ARGUMENTS, vec!["no key before"]),
        ("max-pods --instance-type m5.large --set a=1", SETTINGS, vec!["a: unknown setting", "--set"]),
        ("max-pods --instance-type m5.large --set cap=x", SETTINGS, vec!["cap", "x", "--set"]),
        ("max-pods --instance-type m5.large --strategy No!", ARGUMENTS, vec!["--strategy `No!`"]),
        ("max-pods --instance-type m5.large --strategy nosuch", SETTINGS, vec!["nosuch.wasm", "--strategy"]),
        (
            &format!("max-pods --instance-type m5.large --strategy {warm_targets}"),
            SETTINGS,
            vec!["it is a warm-pool strategy", "--strategy"],
        ),
        ("plan --pods 3", ARGUMENTS, vec!["--instance-type"]),
        ("plan --instance-type m5.large", ARGUMENTS, vec!["--pods"]),
        ("plan --instance-type m5.large --pods x", ARGUMENTS, vec!["--pods", "'x'"]),
        ("plan --instance-type m5.large --pods -1", ARGUMENTS, vec!["-1"]),
        ("plan --instance-type m5.large --pods 3 --mode both", ARGUMENTS, vec!["--mode", "secondary-ip"]),
        ("plan --instance-type m5.large --pods 3 --set warm_ip_target=x", SETTINGS, vec!["warm_ip_target"]),
        ("plan --instance-type m5.large --pods 3 --set warm_ip_target=-3", SETTINGS, vec!["-3", "--set"]),
        ("plan --instance-type m5.large --pods 3 --colour red", ARGUMENTS, vec!["--colour"]),
        ("explain address 10.0.0", ARGUMENTS, vec!["10.0.0"]),
        ("explain pod web", ARGUMENTS, vec!["NAMESPACE/NAME"]),
        ("colour", ARGUMENTS, vec!["colour"]),
    ] {
        let words: Vec<&str> = line.split_whitespace().collect();
        let said = run_enid(&words).complaint(code);
        says(&said, &parts);
    }
    let nowhere = std::env::temp_dir().join("e2e-no-daemon.sock");
    let nowhere = nowhere.to_str().unwrap();
    for words in [["status"].as_slice(), &["explain", "pod", "a/b"]] {
        let all: Vec<&str> = words.iter().copied().chain(["--socket", nowhere]).collect();
        says(&run_enid(&all).complaint(UNAVAILABLE), &[nowhere, "enid run", "--socket"]);
    }
}

#[test]
fn help_lists_every_exit_code() {
    let help = run_enid(&["--help"]).ok();
    for code in [0, 1, ARGUMENTS, UNAVAILABLE, IN_USE, NOT_PERMITTED, SETTINGS] {
        let listed = help.lines().any(|line| line.split_whitespace().next() == Some(&code.to_string()));
        assert!(listed, "{code} is not in\n{help}");
    }
}

#[test]
fn malformed_calls_get_the_code_of_their_fault_and_change_nothing() {
    let lab = Lab::up("calls");
    let node = lab.m5();
    let daemon = node.start();
    daemon.wait_until_ready();
    let pod = lab.pod();
    let before = node.kernel().picture();
    let add = || Call::new("ADD", &node, &pod);
    let check = || Call::new("CHECK", &node, &pod);
    let del = || Call::new("DEL", &node, &pod);
    let long = "x".repeat(300);
    let huge = vec![b' '; 2 << 20];
    let pod_path = pod.namespace.path();
    let lists = format!("{:?}", vec![1; 100]);
    for (call, code, part) in [
        // The environment.
        (add().variable("CNI_COMMAND", "ATTACH"), 4, "ATTACH"),
        (add().variable("CNI_COMMAND", "add"), 4, "add"),
        (add().without_variable("CNI_CONTAINERID"), 4, "CNI_CONTAINERID"),
        (add().variable("CNI_CONTAINERID", "../../etc"), 4, "CNI_CONTAINERID"),
        (add().variable("CNI_CONTAINERID", &long), 4, "CNI_CONTAINERID"),
        (add().without_variable("CNI_NETNS"), 4, "CNI_NETNS"),
        (add().without_variable("CNI_IFNAME"), 4, "CNI_IFNAME"),
        (add().variable("CNI_IFNAME", "sixteen-letters-"), 4, "CNI_IFNAME"),
        (add().variable("CNI_IFNAME", "a/b"), 4, "CNI_IFNAME"),
        (add().variable("CNI_IFNAME", ".."), 4, "CNI_IFNAME"),
        (add().variable("CNI_ARGS", "K8S_POD_NAME"), 4, "CNI_ARGS"),
        (check().without_variable("CNI_NETNS").with("prevResult", "x"), 4, "CNI_NETNS"),
        (del().without_variable("CNI_CONTAINERID"), 4, "CNI_CONTAINERID"),
        // Standard input.
        (add().stdin(b""), 6, "empty"),
        (add().stdin(b"nonsense"), 6, "not JSON"),
        (add().stdin(b"{\"cniVersion\":"), 6, "not JSON"),
        (add().stdin(lists.as_bytes()), 6, "not a JSON object"),
        (add().stdin(b"\xff\xfe"), 6, "not JSON"),
        (add().stdin(&b"[".repeat(100_000)), 6, "not JSON"),
        (add().stdin(&huge), 7, "exceeds"),
        (del().stdin(b"nonsense"), 6, "not JSON"),
        // The network configuration.
        (add().with("cniVersion", "0.2.0"), 1, "0.2.0"),
        (add().with("cniVersion", "9.0.0"), 1, "9.0.0"),
        (add().without("cniVersion"), 1, "0.1.0"),
        (add().with("cniVersion", 1), 7, "cniVersion"),
        (add().without("name"), 7, "`name` is missing"),
        (add().with("name", "a b"), 7, "`name`"),
        (add().with("mtu", 9001), 2, "`mtu`"),
        (add().with("ipam", serde_json::json!({ "type": "host-local" })), 2, "`ipam`"),
        (add().with("timeout_secs", 0), 7, "`timeout_secs`"),
        (add().with("socket", "enid.sock"), 7, "`socket`"),
        (add().with("prevResult", 3), 7, "prevResult"),
        (check(), 7, "`prevResult` is missing"),
        (check().with("cniVersion", "0.3.1"), 1, "CHECK"),
        (Call::new("STATUS", &node, &pod), 1, "STATUS"),
        (Call::new("STATUS", &node, &pod).with("cniVersion", "1.1.0"), 100, "STATUS"),
        (Call::new("GC", &node, &pod).with("cniVersion", "1.1.0"), 100, "GC"),
        // The namespace.
        (add().variable("CNI_NETNS", "/nowhere/netns"), 8, "/nowhere/netns"),
        (add().variable("CNI_NETNS", node.settings_file().to_str().unwrap()), 8, "not a namespace"),
        (add().variable("CNI_NETNS", lab.base().to_str().unwrap()), 8, "not a namespace"),
        (add().variable("CNI_NETNS", "/proc/self/ns/net"), 8, "host's own"),
        (add().variable("CNI_NETNS", node.namespace().path().to_str().unwrap()), 8, "host's own"),
        (add().variable("CNI_NETNS", "/proc/self/ns/mnt"), 8, "network namespace"),
    ] {
        let failure = call.failure(&node);
        assert_eq!(failure.code, code, "{failure:?} of {call:?}");
        says(&failure.message, &[part]);
        assert!(!failure.details.is_empty(), "no advice in {failure:?}");
    }
    assert!(pod_path.exists());
    assert_eq!(node.kernel().picture(), before);
    let status = node.status();
    assert_eq!((&status["pool"]["bound"], &status["pool"]["waiting"]), (&0.into(), &0.into()), "{status}");
    node.add(&pod);
}

#[test]
fn the_hosts_namespace_is_refused_by_the_daemon_too() {
    let lab = Lab::up("host-netns");
    let node = lab.m5();
    let daemon = node.start();
    daemon.wait_until_ready();
    let before = node.kernel().picture();
    let call = Call::new("ADD", &node, &lab.pod())
        .variable("CNI_NETNS", node.namespace().path().to_str().unwrap())
        .variable("CNI_NETNS_OVERRIDE", "1");
    // The plugin lets it through because the caller insists; a pod in the host's namespace has no veth.
    let failure = call.failure(&node);
    assert_eq!(failure.code, 8, "{failure:?}");
    assert_eq!(node.kernel().picture(), before);
    assert_eq!(node.pool("bound"), 0);
}

#[test]
fn an_interface_that_is_there_already_is_not_taken_over() {
    let lab = Lab::up("ifname");
    let node = lab.m5();
    let daemon = node.start();
    daemon.wait_until_ready();
    let pod = lab.pod();
    pod.kernel().change(&["link add eth0 type veth peer name other".to_owned()]);
    let before = (node.kernel().picture(), pod.kernel().picture());
    let failure = Call::new("ADD", &node, &pod).failure(&node);
    assert_eq!(failure.code, 104, "{failure:?}");
    says(&failure.message, &["eth0"]);
    assert_eq!((node.kernel().picture(), pod.kernel().picture()), before);
    assert_eq!(node.pool("bound"), 0);
    pod.kernel().change(&["link del eth0".to_owned()]);
    node.add(&pod);
}

/// What the daemon answers to raw bytes until it hangs up or falls silent.
fn answer_to(node: &Node, bytes: &[u8]) -> io::Result<String> {
    let mut stream = UnixStream::connect(node.socket())?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    // A daemon that refuses early closes its end.
    let _refused = stream.write_all(bytes);
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
        Err(error) => return Err(error),
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[test]
fn garbage_on_the_socket_ends_its_connection_and_nothing_else() {
    let lab = Lab::up("garbage");
    let node = lab.m5();
    let mut daemon = node.start();
    daemon.wait_until_ready();
    let frame = |body: &[u8]| [&u32::try_from(body.len()).unwrap().to_le_bytes(), body].concat();
    for (bytes, part) in [
        (vec![0xff; 64], "\"code\":103"),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "\"code\":103"),
        (frame(b"nonsense"), "\"code\":103"),
        (frame(b"{}"), "\"code\":103"),
        (frame(b""), "\"code\":103"),
        (frame(br#"{"v":1,"request":"dance"}"#), "\"code\":"),
        (frame(br#"{"v":999,"request":"status"}"#), "\"code\":"),
        (frame(br#"{"v":1,"request":"status"}"#)[..7].to_vec(), ""),
        (Vec::new(), ""),
    ] {
        let answer = answer_to(&node, &bytes).unwrap();
        says(&answer, &[part]);
    }
    // Half a request holds up nobody else.
    let mut halves = Vec::new();
    for _ in 0..50 {
        let mut half = UnixStream::connect(node.socket()).unwrap();
        half.write_all(&[40, 0, 0]).unwrap();
        halves.push(half);
    }
    node.add(&lab.pod());
    assert!(daemon.is_alive());
    assert_eq!(node.pool("bound"), 1);
    assert!(!node.log().contains("panicked"), "{}", node.log());
}
