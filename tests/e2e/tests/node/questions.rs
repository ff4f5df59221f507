//! What `enid status`, `enid explain` and `enid lab` tell people and programs.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use e2e::patience::wait_for;
use e2e::pod::address_of;
use e2e::program::{enid, run_enid};
use serde_json::{Value, json};

use crate::{GROWTH, PATIENCE, ready};

#[test]
fn status_and_explain_tell_people_and_programs_the_same() {
    let (lab, node, daemon) = ready("status");
    let pod = lab.pod();
    let address = address_of(&node.add(&pod));
    let status = daemon.wait_for_pool(&[("total", 18), ("free", 17), ("bound", 1)]);
    assert_eq!(status["instance"], json!(node.place.instance));
    assert_eq!((&status["instance_type"], &status["zone"]), (&json!("m5.large"), &json!("eu-lab-1a")));
    assert_eq!(
        (&status["ready"], &status["degraded"], &status["waiting_for"]),
        (&json!(true), &json!(null), &json!(null))
    );
    assert_eq!(status["enis"].as_array().unwrap().len(), 2);
    let kinds: BTreeSet<&str> =
        status["strategies"].as_array().unwrap().iter().map(|row| row["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["max-pods", "subnet-selection", "warm-pool"].into());
    assert!(status["strategies"].as_array().unwrap().iter().all(|row| row["rung"] == "live"), "{status}");

    let text = node.ask(&["status"]).ok();
    let eni = status["enis"][0]["id"].as_str().unwrap();
    for part in
        ["m5.large", "an ADD would be served at once", "18 addresses: 17 free, 1 bound", eni, "warm-pool"]
    {
        assert!(text.contains(part), "`{part}` is not in\n{text}");
    }

    let text_address = address.to_string();
    let shown = pod.shown();
    for (words, parts) in [
        (
            ["explain", "address", &text_address],
            vec!["is bound on", &shown, &pod.container, "AssignPrivateIpAddresses"],
        ),
        (["explain", "pod", &shown], vec![&text_address, "is bound on", "cooling when the pod is deleted"]),
        (["explain", "eni", eni], vec!["device 0", "primary ENI", "1 bound"]),
        (["explain", "address", "203.0.113.9"], vec!["203.0.113.9", "none of this node's 2 ENIs"]),
        (["explain", "pod", "e2e/nobody"], vec!["holds no address"]),
        (["explain", "eni", "eni-0123456789abcdef0"], vec!["not one of this node's"]),
    ] {
        let text = node.ask(&words).ok();
        for part in parts {
            assert!(text.contains(part), "`{part}` is not in {words:?}:\n{text}");
        }
        let mut with_json = words.to_vec();
        with_json.extend(["--output", "json"]);
        let document: Value = serde_json::from_str(&node.ask(&with_json).ok()).unwrap();
        let lines: Vec<&str> =
            document["lines"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
        assert_eq!(without_ages(&lines.join("\n")), without_ages(text.trim_end()));
    }
    let complaint = node.ask(&["explain", "eni", "not-an-eni"]).complaint(1);
    assert!(complaint.contains("not-an-eni"), "{complaint}");
}

/// Without `since 3 s`, which goes on while two questions are asked.
fn without_ages(text: &str) -> String {
    let lines = text.lines().map(|line| line.split(" since ").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// A lab that was started by hand.
struct ByHand {
    name: String,
    base: PathBuf,
}

impl ByHand {
    fn run(&self, words: &[&str]) -> e2e::program::Ended {
        let base = self.base.to_str().unwrap();
        let mut all = vec!["lab", words[0], "--name", &self.name, "--directory", base];
        all.extend(&words[1..]);
        run_enid(&all)
    }
}

impl Drop for ByHand {
    fn drop(&mut self) {
        let _told_by_the_test = self.run(&["down"]);
        let _not_there = fs::remove_dir_all(&self.base);
    }
}

#[test]
fn a_lab_by_hand_runs_the_daemon_as_its_hints_say_and_takes_it_away() {
    let name = format!("e2e-hand-{}", std::process::id());
    let base = std::env::temp_dir().join(&name);
    let lab = ByHand { name, base };
    let told = lab.run(&["up"]).ok();
    let hint = told.lines().find(|line| line.contains("node-m5 -- enid run --config")).unwrap();
    let settings = hint.rsplit_once("--config ").unwrap().1;
    let program = enid();
    let mut daemon = Command::new(&program)
        .args(["lab", "exec", "--name", &lab.name, "--directory"])
        .arg(&lab.base)
        .args(["node-m5", "--"])
        .arg(&program)
        .args(["run", "--config", settings])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let socket = lab.base.join(&lab.name).join("node-m5/enid.sock");
    wait_for("the daemon is ready", GROWTH, || {
        let ask =
            ["node-m5", "--", program.to_str().unwrap(), "status", "--socket", socket.to_str().unwrap()];
        let status = lab.run(&[&["exec"][..], &ask].concat());
        if status.stdout.contains("served at once") { Ok(()) } else { Err(format!("{status:?}")) }
    });
    let status = lab.run(&["status"]).ok();
    assert!(
        status.contains("node-m5 card 0 device 0") && status.contains("AssignPrivateIpAddresses"),
        "{status}"
    );
    let document: Value = serde_json::from_str(&lab.run(&["status", "--output", "json"]).ok()).unwrap();
    assert_eq!(document["name"], lab.name.as_str());

    let told = lab.run(&["down"]).ok();
    assert!(told.contains("is down") && told.contains("1 processes"), "{told}");
    wait_for("the daemon has ended with its lab", PATIENCE, || {
        daemon.try_wait().unwrap().map(drop).ok_or_else(|| "it runs".to_owned())
    });
    let left = enid_vpc_lab::namespace::all().unwrap();
    assert!(left.iter().all(|namespace| !namespace.name().starts_with(&lab.name)), "{left:?}");
    assert!(!lab.base.join(&lab.name).exists());
}
