//! What cannot be meant ends in one line that says what would be right.

use e2e::lab::Lab;
use e2e::program::run_enid;

use crate::ready;

#[track_caller]
fn refused(words: &[&str], code: i32, parts: &[&str]) {
    let complaint = run_enid(words).complaint(code);
    for part in parts {
        assert!(complaint.contains(part), "`{part}` is not in {complaint:?} of {words:?}");
    }
}

#[test]
fn questions_that_cannot_be_meant_are_refused_in_one_line() {
    let nowhere = "/nonexistent/enid.sock";
    for command in ["status", "diff"] {
        refused(&[command, "--output", "yaml"], 2, &["yaml", "text, json"]);
        refused(&[command, "--wach"], 2, &["--wach"]);
        refused(&[command, "--socket", nowhere], 69, &[nowhere, "--socket"]);
    }
    refused(&["status", "--watch=2"], 2, &["--watch"]);
    refused(&["diff", "eni-1"], 2, &["eni-1"]);
    refused(&["explain", "pod", "nameless"], 2, &["nameless", "NAMESPACE/NAME"]);
    refused(&["explain", "address", "10.0.1"], 2, &["10.0.1"]);
    refused(&["explain", "node", "x"], 2, &["node"]);
}

#[test]
fn a_bundle_that_cannot_be_written_is_refused_before_anything_is_gathered() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("there.tar");
    std::fs::write(&file, "mine").unwrap();
    let file = file.to_str().unwrap();
    refused(&["support-bundle", "--output", file], 73, &[file, "exists", "--output"]);
    assert_eq!(std::fs::read_to_string(file).unwrap(), "mine");
    refused(&["support-bundle", "--output", "/nonexistent/a.tar"], 73, &["/nonexistent/a.tar", "--output"]);
    refused(&["support-bundle", "--output"], 2, &["--output"]);
    refused(&["support-bundle", "--since", "2h"], 2, &["--since"]);
}

#[test]
fn settings_of_budget_and_metrics_are_refused_together_with_what_is_right() {
    let lab = Lab::up("outside-settings");
    let node = lab.t3();
    node.write_settings(
        "[budget]\nshare = 50\nnodes = 0\nlimits.mutations = { burst = 1 }\n[observe]\nlisten = \"61678\"\nport = 1\n",
    );
    let complaints = node.enid(&["check-settings", node.settings_file().to_str().unwrap()]).complaints(78);
    for part in [
        "budget.share = 50: must be a number above 0 and at most 1",
        "budget.nodes = 0: must be a whole number from 1",
        "did you mean `mutation`?",
        "observe.listen = \"61678\": must be an IP address and a port",
        "observe.port: there is no such setting",
    ] {
        assert!(complaints.iter().any(|line| line.contains(part)), "`{part}` is not in {complaints:#?}");
    }
    assert_eq!(complaints.len(), 5, "{complaints:#?}");
}

#[test]
fn a_bad_change_of_the_budget_changes_nothing_and_a_good_one_counts_at_once() {
    let (_lab, node, daemon) = ready("outside-reload");
    let burst = || node.metrics().value("enid_ec2_budget_burst{class=\"mutation\"}");
    assert_eq!(burst(), 25.0, "half of 50 calls for one node");
    let settings = node.settings().cooldown_secs(1).warm_pool("warm-targets", "warm_ip_target = 2");
    node.configure(&settings.clone().and("[budget.limits]\nmutation = { burst = 0 }"));
    daemon.wait_for_log(&["not taken over", "budget.limits.mutation.burst"]);
    node.configure(&settings.and("[budget.limits]\nmutation = { burst = 200 }"));
    daemon.wait_for_log(&["settings taken over"]);
    e2e::patience::wait_for("the raised limit counts", crate::GROWTH, || {
        if burst() == 100.0 { Ok(()) } else { Err(burst().to_string()) }
    });
}
