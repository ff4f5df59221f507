//! Metadata, EC2, the socket, the runtime directory and the journal are not as they should be.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use e2e::lab::Lab;
use e2e::patience::wait_for;
use e2e::plugin::Call;
use serde_json::Value;

use crate::{EC2, IMDS, IN_USE, SETTINGS, UNAVAILABLE, Untouched, says};

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
        assert_eq!(node.check(&old, &held).ok(&node), Value::Null);
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
    torn.extend(b"00000000 00000040 [{\"kind\":\"rele");
    fs::write(&journal, torn).unwrap();
    let daemon = node.start();
    daemon.wait_for_log(&["WARN", "unfinished last line"]);
    assert_eq!(node.check(&pod, &result).ok(&node), Value::Null);
    assert!(daemon.terminate().success());
}
