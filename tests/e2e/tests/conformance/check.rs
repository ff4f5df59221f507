//! CHECK: C55 to C59, C85.

use e2e::kernel::Kernel;
use e2e::plugin::Call;
use e2e::pod::address_of;
use serde_json::{Value, json};

use crate::{ready, reason};

#[test]
fn c55_check_names_what_of_ours_is_missing_and_ignores_what_others_added() {
    let (lab, node, _daemon) = ready("c55");
    let pod = lab.pod();
    let result = node.add(&pod);
    let address = address_of(&result);
    // A chained plugin's interface, address, route and rule: in the result, in the kernel, in both.
    let mut chained = result.clone();
    chained["interfaces"].as_array_mut().unwrap().push(json!({ "name": "ifb7", "mac": "02:00:00:00:00:07" }));
    chained["ips"].as_array_mut().unwrap().push(json!({ "address": "192.0.2.9/32" }));
    chained["routes"].as_array_mut().unwrap().push(json!({ "dst": "198.51.100.0/24" }));
    assert_eq!(node.check(&pod, &chained).ok(&node), Value::Null);
    node.kernel().change(&[format!("rule add pref 20000 to {address} table main")]);
    pod.kernel().change(&[
        "link add more type veth peer name evenmore".to_owned(),
        "route add 198.51.100.0/24 via 169.254.1.1".to_owned(),
    ]);
    assert_eq!(node.check(&pod, &chained).ok(&node), Value::Null);
    node.kernel().change(&[format!("rule del pref 20000 to {address} table main")]);

    let check = node.check(&pod, &result);
    for (change, named) in [("route del default", "route"), ("neigh del 169.254.1.1 dev eth0", "169.254.1.1")]
    {
        is_noticed(&pod.kernel(), change, named, &check, &node);
    }
    pod.kernel().change(&[format!("addr del {address}/32 dev eth0")]);
    let ended = check.run(&node);
    if ended.code == Some(0) {
        assert_ne!(pod.kernel().mentions(address), Vec::<String>::new(), "CHECK is content without it");
    } else {
        assert_eq!(e2e::plugin::failure_of(&ended).code, 101);
    }
}

/// CHECK never calls well what is not: after `change` it names `named`, unless the daemon has mended it by then.
#[track_caller]
fn is_noticed(kernel: &Kernel, change: &str, named: &str, check: &Call, node: &e2e::node::Node) {
    let seen = || (kernel.picture(), lasting_neighbours(kernel));
    let before = seen();
    kernel.change(&[change.to_owned()]);
    let ended = check.run(node);
    if ended.code == Some(0) {
        assert_eq!(seen(), before, "CHECK is content after `{change}`");
        return;
    }
    let failure = e2e::plugin::failure_of(&ended);
    assert!(failure.code == 101 && failure.message.contains(named), "{change}: {failure:?}");
    // A repeated ADD mends it where the daemon has not yet.
    check.clone().variable("CNI_COMMAND", "ADD").without("prevResult").ok(node);
    assert_eq!(check.ok(node), Value::Null);
}

/// Those that were entered by hand.
fn lasting_neighbours(kernel: &Kernel) -> Vec<String> {
    let all = kernel.ip(&["-4", "neigh"]);
    let lasting = all.iter().filter(|one| one["state"].to_string().contains("PERMANENT"));
    lasting.map(|one| format!("{} {}", one["dst"], one["lladdr"])).collect()
}

#[test]
fn c56_rules_that_no_result_shows_are_checked_too() {
    let lab = e2e::lab::Lab::up("c56");
    let node = lab.t3();
    let daemon = node.start();
    daemon.wait_until_ready();
    // The fourth pod of a t3.small is on a further ENI, and so has all kinds of rules.
    let placed = node.place_all(lab.pods(4));
    let last = &placed[3];
    let (address, link) = (last.ipv4(), last.pod.host_veth());
    let check = node.check(&last.pod, &last.result);
    for (change, named) in [
        (format!("rule del pref 512 to {address}"), "rule"),
        (format!("rule del pref 1536 from {address}"), "rule"),
        (format!("route del {address} dev {link}"), "route"),
    ] {
        is_noticed(&node.kernel(), &change, named, &check, &node);
    }
    // The reservation, and the daemon itself.
    let nobody = lab.pod();
    assert_eq!(node.check(&nobody, &last.result).failure(&node).code, 108);
    drop(daemon);
    let failure = check.failure(&node);
    assert_eq!((failure.code, reason(&failure).as_str()), (11, "daemon-away"));
}

#[test]
fn c57_a_check_right_after_its_add_finds_everything() {
    let (lab, node, _daemon) = ready("c57");
    std::thread::scope(|scope| {
        for pod in lab.pods(12) {
            let node = &node;
            scope.spawn(move || {
                let placed = node.place(pod);
                node.is_intact(&placed);
            });
        }
    });
}

#[test]
fn c58_a_pod_that_cannot_be_reached_is_not_well() {
    let (lab, node, _daemon) = ready("c58");
    let placed = node.place(lab.pod());
    let check = node.check(&placed.pod, &placed.result);
    let link = placed.pod.host_veth();
    // The picture has links by name only, so what is said is compared with the link itself.
    node.kernel().change(&[format!("link set {link} down")]);
    let ended = check.run(&node);
    if ended.code == Some(0) {
        assert_eq!(node.kernel().link(&link).unwrap()["operstate"], "UP");
    } else {
        assert!(e2e::plugin::failure_of(&ended).message.contains(&link), "{ended:?}");
        node.add(&placed.pod);
    }
    node.is_intact(&placed);
    node.kernel().change(&[format!("link del {link}")]);
    let ended = check.run(&node);
    if ended.code == Some(0) {
        assert!(node.kernel().link(&link).is_some(), "CHECK is content without it");
    } else {
        assert_eq!(e2e::plugin::failure_of(&ended).code, 101, "{ended:?}");
    }
}

#[test]
fn c59_check_changes_nothing() {
    let (lab, node, _daemon) = ready("c59");
    let placed = node.place(lab.pod());
    let pictures = || (node.kernel().picture(), placed.pod.kernel().picture(), node.kernel().ruleset());
    // Whoever is content with EC2 is so with the kernel.
    let (calls, before) = (lab.calls_at_rest(), pictures());
    for _ in 0..20 {
        node.is_intact(&placed);
    }
    assert_eq!((lab.calls_at_rest(), pictures()), (calls, before));
}

#[test]
fn c85_a_result_of_any_version_that_enid_has_printed_serves_check_and_del() {
    let (lab, node, _daemon) = ready("c85");
    for then in ["0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        let pod = lab.pod();
        let result = Call::new("ADD", &node, &pod).with("cniVersion", then).ok(&node);
        for now in ["0.4.0", "1.0.0", "1.1.0"] {
            assert_eq!(
                node.check(&pod, &result).with("cniVersion", now).ok(&node),
                Value::Null,
                "{then} {now}"
            );
        }
        let del = Call::new("DEL", &node, &pod).with("cniVersion", "1.1.0").with("prevResult", result);
        assert_eq!(del.ok(&node), Value::Null);
    }
    assert_eq!(node.pool("bound"), 0);
}
