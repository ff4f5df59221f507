//! Settings and components change while pods run: good ones are taken over, bad ones change nothing.

use std::fs;
use std::path::Path;

use e2e::lab::Lab;
use e2e::node::Node;
use e2e::patience::{wait_for, wait_until_true};
use e2e::program;
use enid_component_store::Digest;
use rustix::process::Signal;
use serde_json::Value;

use crate::{PATIENCE, ready};

#[test]
fn changed_settings_are_taken_over_while_pods_run() {
    let (lab, node, daemon) = ready("reload");
    let pid = daemon.pid();
    let pod = lab.pod();
    let result = node.add(&pod);
    daemon.wait_for_pool(&[("total", 18)]);
    let exactly =
        |free: u64| format!("warm_ip_target = {free}, minimum_ip_target = 0, release_after_secs = 0");
    node.configure(&node.settings().warm_pool("warm-targets", &exactly(4)));
    daemon.wait_for_log(&["strategy taken over", "warm-pool"]);
    daemon.wait_for_pool(&[("total", 5), ("free", 4), ("bound", 1)]);
    node.configure(&node.settings().warm_pool("warm-targets", &exactly(8)).max_pods(3));
    daemon.wait_for_pool(&[("bound", 1), ("max_pods", 3)]);
    assert_eq!(daemon.pid(), pid);
    assert_eq!(node.check(&pod, &result).ok(&node), Value::Null);
}

#[test]
fn bad_settings_change_nothing_and_are_explained_in_the_log() {
    let (lab, node, mut daemon) = ready("bad-reload");
    daemon.wait_for_pool(&[("total", 9)]);
    let before = strategy_in_force(&node);
    let good = node.settings().to_string();
    for (bad, why) in [
        (good.replace("cooldown_secs = 30", "cooldown_secs = -3"), "pool.cooldown_secs = -3"),
        (good.replace("[pool]", "[poool]"), "poool"),
        ("[node".to_owned(), "not valid TOML"),
        (good.replace("warm_eni_target = 1", "warm_eni_taget = 1"), "warm_eni_taget = 1: unknown setting"),
        (
            good.replace("\"warm-targets\"", "\"/nowhere/strategy.wasm\""),
            "strategy.warm-pool.digest is missing",
        ),
    ] {
        node.write_settings(&bad);
        let line = daemon.wait_for_log(&["ERROR", "taken over", why]);
        assert!(line.contains("stay"), "{line}");
        assert_eq!(strategy_in_force(&node), before);
        assert!(daemon.is_alive());
    }
    fs::remove_file(node.settings_file()).unwrap();
    daemon.signal(Signal::HUP);
    daemon.wait_for_log(&["ERROR", "taken over", "No such file"]);
    node.add(&lab.pod());

    node.configure(&node.settings().max_pods(5));
    daemon.wait_for_pool(&[("max_pods", 5), ("bound", 1)]);
}

#[test]
fn sighup_reads_the_settings_again() {
    let (_lab, node, mut daemon) = ready("sighup");
    // Written in place, in a way that a watch on the directory may see early or not at all.
    let text = node.settings().max_pods(7).to_string();
    fs::write(node.settings_file(), text).unwrap();
    daemon.signal(Signal::HUP);
    daemon.wait_for_log(&["SIGHUP"]);
    daemon.wait_for_pool(&[("max_pods", 7)]);
    assert!(daemon.is_alive());
}

#[test]
fn a_component_is_swapped_with_its_digest_and_refused_without() {
    let lab = Lab::up("swap");
    let node = lab.m5();
    let dropped = lab.directory().join("pool.wasm");
    let shipped = fs::read(program::strategy("warm-targets")).unwrap();
    fs::write(&dropped, &shipped).unwrap();
    let pinned_to = |bytes: &[u8]| {
        let settings = node.settings().warm_pool(dropped.to_str().unwrap(), "warm_eni_target = 1");
        settings.pinned(&Digest::of(bytes).to_string())
    };
    node.configure(&pinned_to(&shipped));
    let mut daemon = node.start();
    daemon.wait_until_ready();
    let before = strategy_in_force(&node);
    assert!(before.starts_with("pool@"), "{before}");
    let replace = |bytes: &[u8]| replaced(&dropped, bytes);
    let in_force = |what: &str, wanted: &dyn Fn(&str) -> bool| {
        wait_for(what, PATIENCE, || {
            let now = strategy_in_force(&node);
            if wanted(&now) { Ok(now) } else { Err(now) }
        })
    };

    // The same code with one more custom section is another component: its digest differs.
    let mut rebuilt = shipped.clone();
    rebuilt.extend([0, 6, 4, b'n', b'o', b't', b'e', b'!']);
    replace(&rebuilt);
    let line = daemon.wait_for_log(&["ERROR", "its digest in the settings did not", "pool.wasm"]);
    assert!(line.contains(&Digest::of(&rebuilt).to_string()), "{line}");
    assert_eq!(strategy_in_force(&node), before);
    // Another look at the same file is not worth another line.
    daemon.signal(Signal::HUP);
    node.configure(&pinned_to(&shipped).max_pods(9));
    daemon.wait_for_pool(&[("max_pods", 9)]);
    assert_eq!(node.log().matches("its digest in the settings did not").count(), 1);

    // The digest follows the file, or comes before it: when both fit, the component is taken over.
    node.configure(&pinned_to(&rebuilt));
    let after = in_force("the new component answers", &|now| now != before);
    assert!(after.starts_with("pool@"), "{after}");
    node.configure(&pinned_to(&shipped));
    daemon.wait_for_log(&["ERROR", "stay", "strategy.warm-pool.digest", "step `digest`"]);
    assert_eq!(strategy_in_force(&node), after);
    replace(&shipped);
    in_force("the first component answers again", &|now| now == before);

    // What is pinned and broken is refused all the same.
    for broken in [&shipped[..5000], b"hello", b""] {
        let errors =
            || node.log().lines().filter(|line| line.contains(" ERROR ") && line.contains("stay")).count();
        let seen = errors();
        replace(broken);
        node.configure(&pinned_to(broken));
        wait_until_true("the log says why it is refused", PATIENCE, || errors() > seen);
        assert_eq!(strategy_in_force(&node), before);
    }
    node.add(&lab.pod());
    assert!(daemon.is_alive());
    replace(&rebuilt);
    node.configure(&pinned_to(&rebuilt));
    in_force("a good one after a broken one is taken", &|now| now == after);
}

#[test]
fn a_package_that_ships_another_build_replaces_the_running_one() {
    let lab = Lab::up("package");
    let node = lab.m5();
    let directory = lab.directory().join("shipped");
    fs::create_dir(&directory).unwrap();
    for entry in fs::read_dir(program::strategy("warm-targets").parent().unwrap()).unwrap() {
        let file = entry.unwrap().path();
        fs::copy(&file, directory.join(file.file_name().unwrap())).unwrap();
    }
    let text = node.settings().to_string();
    node.write_settings(&text.replace("[node]", &format!("[node]\nstrategy_dir = {directory:?}")));
    let daemon = node.start();
    daemon.wait_until_ready();
    let before = strategy_in_force(&node);
    let (file, sums) = (directory.join("warm-targets.wasm"), directory.join("SHA256SUMS"));
    let mut rebuilt = fs::read(&file).unwrap();
    let old = Digest::of(&rebuilt).hex();
    rebuilt.extend([0, 6, 4, b'n', b'o', b't', b'e', b'!']);
    replaced(&file, &rebuilt);
    daemon.wait_for_log(&["ERROR", "its digest in the settings did not", "warm-targets.wasm"]);
    assert_eq!(strategy_in_force(&node), before);
    let listed = fs::read_to_string(&sums).unwrap().replace(&old, &Digest::of(&rebuilt).hex());
    replaced(&sums, listed.as_bytes());
    wait_for("the new build answers", PATIENCE, || {
        let now = strategy_in_force(&node);
        if now != before { Ok(()) } else { Err(now) }
    });
}

/// Puts a file in the place of another, as packages do.
fn replaced(path: &Path, bytes: &[u8]) {
    let half = path.with_extension("new");
    fs::write(&half, bytes).unwrap();
    fs::rename(&half, path).unwrap();
}

/// The warm-pool strategy in force, by name and digest.
fn strategy_in_force(node: &Node) -> String {
    let status = node.status();
    let rows = status["strategies"].as_array().unwrap();
    let row = rows.iter().find(|row| row["kind"] == "warm-pool").unwrap();
    row["strategy"].as_str().unwrap().to_owned()
}

#[test]
fn what_needs_a_restart_is_said() {
    let (_lab, node, daemon) = ready("restart");
    let text = node.settings().to_string();
    node.write_settings(&text.replace("timeout_secs = 3", "timeout_secs = 4"));
    daemon.wait_for_log(&["WARN", "[cloud]", "takes effect at the next start"]);
    node.write_settings(&text.replace("[pool]", "[network]\nveth_prefix = \"pod\"\n[pool]"));
    daemon.wait_for_log(&["WARN", "veth_prefix", "takes effect at the next start"]);
    node.write_settings(&text.replace("[engine]", "[engine]\nisolation = \"in-process\""));
    daemon.wait_for_log(&["WARN", "isolation", "takes effect at the next start"]);
}
