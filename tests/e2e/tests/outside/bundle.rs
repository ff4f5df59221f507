//! `enid support-bundle`: complete with a daemon, and as complete as can be without.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::node::Node;
use e2e::pod::address_of;
use serde_json::Value;

use crate::ready;

/// Unpacks a bundle; the directory with its files.
fn unpacked(bundle: &Path) -> PathBuf {
    let mode = fs::metadata(bundle).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let directory = bundle.with_extension("unpacked");
    fs::create_dir(&directory).unwrap();
    let output = Command::new("tar").arg("-xf").arg(bundle).arg("-C").arg(&directory).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    directory.join("enid-support")
}

fn bundle(node: &Node, file: &Path) -> PathBuf {
    let (file, config) = (file.to_str().unwrap(), node.settings_file().to_str().unwrap());
    let told = node.enid(&["support-bundle", "--output", file, "--config", config]).ok();
    assert!(told.starts_with(file), "{told}");
    unpacked(Path::new(file))
}

fn json(directory: &Path, name: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(directory.join(name)).unwrap()).unwrap()
}

fn text(directory: &Path, name: &str) -> String {
    fs::read_to_string(directory.join(name)).unwrap()
}

/// The lines of the manifest that say that something is missing.
fn missing(directory: &Path) -> Vec<String> {
    let manifest = text(directory, "MANIFEST.txt");
    manifest.lines().filter(|line| line.contains("MISSING")).map(str::to_owned).collect()
}

/// What is there whether a daemon runs or not.
fn has_what_needs_no_daemon(directory: &Path, address: &str, pod: &str) {
    let addresses = json(directory, "addresses.json");
    let held = addresses.as_array().unwrap().iter().find(|one| one["address"] == address);
    let held = held.unwrap_or_else(|| panic!("no {address} in {addresses}"));
    assert_eq!((&held["state"], &held["pod"]), (&"bound".into(), &pod.into()), "{held}");
    let records = text(directory, "journal.jsonl");
    assert!(records.lines().count() >= 3 && records.contains(address), "{records}");
    assert!(records.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{records}");
    assert!(text(directory, "enid.toml").contains("runtime_dir"));
    assert!(text(directory, "settings-in-force.txt").contains("cloud.ec2_endpoint"));
    let rules = text(directory, "rules-ipv4.json");
    assert!(rules.contains(address) && rules.contains("512"), "{rules}");
    assert!(text(directory, "routes-ipv4.json").contains(address));
    assert!(json(directory, "links.json").as_array().unwrap().len() >= 2);
    assert!(text(directory, "nftables.txt").contains("table ip enid"));
    let versions = text(directory, "versions.txt");
    assert!(versions.contains("enid ") && versions.contains("Linux version"), "{versions}");
    assert!(text(directory, "logs.txt").contains("journalctl"));
}

#[test]
fn a_bundle_is_complete_with_a_daemon_and_says_what_is_missing_without() {
    let (lab, node, daemon) = ready("bundle");
    let pod = lab.pod();
    let address = address_of(&node.add(&pod)).to_string();
    let whole = bundle(&node, &lab.directory().join("up.tar"));
    assert_eq!(missing(&whole), [""; 0], "{}", text(&whole, "MANIFEST.txt"));
    has_what_needs_no_daemon(&whole, &address, &pod.shown());
    assert_eq!(json(&whole, "status.json")["pool"]["bound"], 1);
    assert!(text(&whole, "status.txt").contains("1 bound"));
    assert!(json(&whole, "strategies.json")["strategies"].is_array());
    assert!(json(&whole, "diff.json").is_array());
    assert!(text(&whole, "metrics.txt").contains("enid_pods 1"));
    assert_eq!(text(&whole, "readyz.txt"), "ready\n");
    let listed = fs::read_dir(&whole).unwrap().count();
    assert_eq!(text(&whole, "MANIFEST.txt").lines().count() - 2, listed - 1, "every file is in the manifest");

    daemon.kill();
    let rest = bundle(&node, &lab.directory().join("down.tar"));
    has_what_needs_no_daemon(&rest, &address, &pod.shown());
    let missing = missing(&rest);
    for name in ["status.txt", "status.json", "strategies.json", "diff.json", "metrics.txt", "readyz.txt"] {
        let why = missing.iter().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{missing:?}"));
        assert!(why.contains("no daemon answers") || why.contains("refused"), "{why}");
        assert!(!rest.join(name).exists());
    }
    assert_eq!(missing.len(), 6, "{missing:?}");
}
