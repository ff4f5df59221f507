//! Commands with wrong arguments, or by whoever may not run them.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use e2e::lab::Lab;
use e2e::plugin::NOBODY;
use e2e::program::{self, Ended, OpenCopy, run_enid, spawned};

use crate::{ARGUMENTS, IN_USE, NOT_PERMITTED, SETTINGS, UNAVAILABLE, says};

/// Runs `enid` as a user who owns nothing.
struct Unprivileged(OpenCopy);

impl Unprivileged {
    fn new() -> Self {
        Self(OpenCopy::of(&program::enid()))
    }

    fn run(&self, words: &[&str]) -> Ended {
        let mut command = Command::new(&self.0.program);
        command.args(words).uid(NOBODY).gid(NOBODY).current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        spawned(&mut command).wait_with_output().unwrap().into()
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

    let directory = nobody.0.directory.to_str().unwrap();
    let up = ["lab", "up", "--name", "e2e-nobodys", "--directory", directory];
    says(&nobody.run(&up).complaint(NOT_PERMITTED), &["need root", "sudo"]);
    let base = lab.base().to_str().unwrap();
    let exec = ["lab", "exec", "--name", lab.name(), "--directory", base, "node-m5", "--", "true"];
    says(&nobody.run(&exec).complaint(NOT_PERMITTED), &["node-m5", "as root"]);
    let down = ["lab", "down", "--name", lab.name(), "--directory", base];
    says(&nobody.run(&down).complaint(NOT_PERMITTED), &["need root", "sudo"]);
    assert_eq!(lab.status().nodes.len(), 2, "the lab is still up");

    // What needs no root works without.
    let strategy = program::strategy("eks-max-pods");
    let copy = nobody.0.directory.join("eks-max-pods.wasm");
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
        (
            "max-pods --instance-type m5.large --strategy nosuch",
            SETTINGS,
            vec!["nosuch", "batched", "--strategy"],
        ),
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
        ("strategy colour", ARGUMENTS, vec!["colour"]),
        ("strategy history --kind pool", ARGUMENTS, vec!["--kind", "warm-pool", "subnet-selection"]),
        ("strategy history --decision many", ARGUMENTS, vec!["--decision", "many"]),
        ("strategy clear-quarantine", ARGUMENTS, vec!["DIGEST|all"]),
        ("strategy clear-quarantine 12ab", ARGUMENTS, vec!["12ab", "`all`", "digits"]),
        ("colour", ARGUMENTS, vec!["colour"]),
    ] {
        let words: Vec<&str> = line.split_whitespace().collect();
        let said = run_enid(&words).complaint(code);
        says(&said, &parts);
    }
    let nowhere = std::env::temp_dir().join("e2e-no-daemon.sock");
    let nowhere = nowhere.to_str().unwrap();
    for words in [
        ["status"].as_slice(),
        &["explain", "pod", "a/b"],
        &["strategy", "list"],
        &["strategy", "shadow"],
        &["strategy", "clear-quarantine", "all"],
    ] {
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
