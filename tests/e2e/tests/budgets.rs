//! What enid may cost: bytes on disk, memory, calls to EC2. Generous bounds, and never a duration: those are
//! `cargo xtask bench`'s, which shows them next to a baseline of the same run.

use std::collections::BTreeMap;
use std::fs;

use e2e::lab::Lab;
use e2e::program;
use serde_json::Value;

/// `enid-cni` is read from disk for every pod.
const PLUGIN_BYTES: u64 = 1 << 20;
/// The AWS SDK is two thirds of it.
const DAEMON_BYTES: u64 = 100 << 20;
/// A shipped strategy.
const COMPONENT_BYTES: u64 = 256 << 10;
/// Measured are 38 MiB; what is allocated to fill the pool and compile components is in it.
const IDLE_KIB: u64 = 60 << 10;
/// What a hundred pods that came and went may leave behind.
const CHURN_KIB: u64 = 4 << 10;

#[test]
fn programs_and_strategies_are_small() {
    let strategies = ["warm-targets", "eks-max-pods", "most-free"];
    let components = strategies.map(|name| (program::strategy(name), COMPONENT_BYTES));
    for (file, most) in
        [(program::plugin(), PLUGIN_BYTES), (program::enid(), DAEMON_BYTES)].iter().chain(&components)
    {
        let bytes = fs::metadata(file).unwrap().len();
        assert!(bytes <= *most, "{} has {bytes} bytes, more than {most}", file.display());
    }
}

#[test]
fn an_idle_daemon_with_three_strategies_is_small_and_a_hundred_pods_leave_nothing_in_it() {
    let lab = Lab::up("budget");
    let node = lab.m5();
    // Everything the node can hold, so that nothing has to grow.
    let settings = "minimum_ip_target = 27, warm_ip_target = 1";
    node.configure(&node.settings().cooldown_secs(0).warm_pool("warm-targets", settings));
    let daemon = node.start();
    daemon.wait_for_pool(&[("free", 27)]);
    let idle = daemon.resident_kib();
    assert!(idle <= IDLE_KIB, "{idle} KiB resident, more than {IDLE_KIB}");

    // The pool serves all of them: EC2 is looked at now and then, and asked for nothing.
    let before = lab.status().calls;
    let pods = lab.pods(10);
    for _ in 0..10 {
        for pod in &pods {
            let _result = node.add(pod);
        }
        pods.iter().for_each(|pod| node.del(pod));
    }
    let churned = daemon.resident_kib();
    assert!(churned <= idle + CHURN_KIB, "{churned} KiB resident after churn, {idle} before");
    let asked = changes(&lab.status().calls) - changes(&before);
    assert!(
        asked <= 12,
        "a hundred pods in a warm pool made {asked} changes in EC2: {:?}",
        lab.status().calls
    );
}

#[test]
fn a_hundred_pods_on_a_growing_node_cost_few_calls() {
    for (instance_type, settings, most) in [
        // ENI by ENI: creation, attachment, its mark, and the primary's addresses at once.
        ("m5.24xlarge", "warm_eni_target=1", 20),
        ("m5.4xlarge", "warm_eni_target=1", 24),
        // Address by address, as asked for: never more than a call per pod and the ENIs'.
        ("m5.24xlarge", "warm_ip_target=5", 120),
    ] {
        let words = ["plan", "--instance-type", instance_type, "--pods", "100", "--set", settings];
        let plan: Value = serde_json::from_str(&program::run_enid(&words).ok()).unwrap();
        assert_eq!((&plan["pods"], &plan["settled"]), (&100.into(), &true.into()), "{plan}");
        let calls: BTreeMap<String, u64> = serde_json::from_value(plan["calls"].clone()).unwrap();
        let all: u64 = calls.values().sum();
        assert!(all <= most, "{instance_type} with {settings}: {all} calls, more than {most}: {calls:?}");
    }
}

/// Calls that change something, which EC2's narrowest buckets are for.
fn changes(calls: &BTreeMap<String, u64>) -> u64 {
    calls.iter().filter(|(call, _)| !call.starts_with("Describe")).map(|(_, count)| count).sum()
}
