//! DEL: C44 to C50, C52, C53.

use std::fs;
use std::net::Ipv4Addr;

use e2e::lab::Lab;
use e2e::patience::wait_until_true;
use e2e::plugin::Call;
use e2e::pod::address_of;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{EC2, GROWTH, nothing_is_left_of, ready};

#[test]
fn c44_c45_a_del_may_come_as_often_as_it_likes_and_of_what_never_was() {
    let (lab, node, _daemon) = ready("c44");
    let pod = lab.pod();
    let address = address_of(&node.add(&pod));
    for _ in 0..4 {
        node.del(&pod);
    }
    nothing_is_left_of(&node, &pod, address);
    let picture = node.kernel().picture();
    for stranger in lab.pods(2) {
        node.del(&stranger);
    }
    assert_eq!(node.kernel().picture(), picture);
    assert_eq!((node.pool("bound"), node.pool("cooling")), (0, 1), "one address was released, once");
}

#[test]
fn c46_a_namespace_that_is_gone_empty_or_no_namespace_keeps_nothing() {
    let (lab, node, _daemon) = ready("c46");
    for netns in [None, Some(""), Some("/gone"), Some("/proc/self/status")] {
        let pod = lab.pod();
        let address = address_of(&node.add(&pod));
        pod.remove_namespace();
        let call = Call::new("DEL", &node, &pod);
        let call = match netns {
            None => call.without_variable("CNI_NETNS"),
            Some(path) => call.variable("CNI_NETNS", path),
        };
        assert_eq!(call.ok(&node), Value::Null);
        nothing_is_left_of(&node, &pod, address);
    }
    assert_eq!(node.pool("bound"), 0);
}

#[test]
fn c47_releasing_does_not_depend_on_the_previous_result() {
    let (lab, node, _daemon) = ready("c47");
    let other = node.place(lab.pod());
    for previous in [json!(null), json!("garbage"), json!({ "ips": 3 }), other.result.clone()] {
        let pod = lab.pod();
        let address = address_of(&node.add(&pod));
        assert_eq!(Call::new("DEL", &node, &pod).with("prevResult", previous).ok(&node), Value::Null);
        nothing_is_left_of(&node, &pod, address);
    }
    // Not even another pod's result moves it to touch that pod.
    node.is_intact(&other);
}

#[test]
fn c48_what_is_half_gone_is_taken_away_the_rest_of_the_way() {
    let (lab, node, _daemon) = ready("c48");
    let breakages: [fn(Ipv4Addr, &str) -> String; 3] = [
        |address, _| format!("rule del pref 512 to {address} table main"),
        |address, link| format!("route del {address} dev {link}"),
        |_, link| format!("link del {link}"),
    ];
    for breakage in breakages {
        let pod = lab.pod();
        let address = address_of(&node.add(&pod));
        node.kernel().change(&[breakage(address, &pod.host_veth())]);
        node.del(&pod);
        nothing_is_left_of(&node, &pod, address);
    }
    assert_eq!(node.pool("bound"), 0);
}

#[test]
fn c49_a_del_takes_back_what_a_failed_add_had_and_may_come_before_the_add() {
    let lab = Lab::up("c49");
    let node = lab.m5();
    node.kernel().cut_off(&[EC2]);
    let daemon = node.start();
    // The ADD waits, and its DEL comes meanwhile.
    let waiting = lab.pod();
    let failure = std::thread::scope(|scope| {
        let add = scope.spawn(|| Call::new("ADD", &node, &waiting).failure(&node));
        wait_until_true("the ADD waits", GROWTH, || node.pool("waiting") == 1);
        node.del(&waiting);
        add.join().unwrap()
    });
    assert_eq!(failure.code, 11, "{failure:?}");
    assert_eq!(node.pool("waiting"), 0);
    // The ADD timed out, and its DEL comes afterwards.
    let late = lab.pod();
    assert_eq!(Call::new("ADD", &node, &late).with("timeout_secs", 1).failure(&node).code, 11);
    node.del(&late);
    // The DEL comes before the ADD has reached the daemon.
    let early = lab.pod();
    node.del(&early);

    node.kernel().restore();
    daemon.wait_until_ready();
    assert_eq!(node.pool("bound"), 0);
    let placed = node.place(early);
    node.is_intact(&placed);
}

#[test]
fn c50_c53_a_del_hurts_no_other_container_s_interface_of_the_same_pod() {
    let (lab, node, _daemon) = ready("c50");
    let old = lab.pod();
    let first = address_of(&node.add(&old));
    let new = node.place(old.again_in(lab.pod()));
    // Both are called eth0, of pods of the same name; the old one's DEL comes with the new one's namespace, too.
    let path = new.pod.namespace.path().display().to_string();
    assert_eq!(Call::new("DEL", &node, &old).variable("CNI_NETNS", &path).ok(&node), Value::Null);
    node.is_intact(&new);
    assert_eq!(node.kernel().mentions(first), Vec::<String>::new());
    // Late and repeated, when its address may have its next owner.
    for _ in 0..3 {
        node.del(&old);
    }
    node.is_intact(&new);
    assert_eq!(node.pool("bound"), 1);
}

#[test]
fn c52_dels_without_a_daemon_are_applied_before_the_next_one_s_first_answer() {
    let (lab, node, daemon) = ready("c52");
    let mut placed = node.place_all(lab.pods(6));
    let stays = placed.split_off(4);
    daemon.kill();
    for gone in placed.iter().chain(&placed) {
        node.del(&gone.pod);
    }
    let daemon = node.start();
    // `start` waits for the first answer of its socket, and nothing else.
    assert_eq!(node.pool("bound"), 2);
    for gone in &placed {
        nothing_is_left_of(&node, &gone.pod, gone.ipv4());
    }
    daemon.wait_until_ready();
    stays.iter().for_each(|placed| node.is_intact(placed));
}

#[test]
fn c53_a_del_from_the_spool_never_frees_the_address_s_next_owner() {
    let (lab, node, daemon) = ready("c53");
    let pod = lab.pod();
    node.add(&pod);
    // The daemon hangs, so the DEL is kept, and reaches the daemon as well when it goes on.
    daemon.signal(Signal::STOP);
    assert_eq!(Call::new("DEL", &node, &pod).with("timeout_secs", 1).ok(&node), Value::Null);
    // As if a minute had passed since: clocks are not compared to the second.
    for file in fs::read_dir(node.runtime_dir().join("spool")).unwrap() {
        let file = file.unwrap().path();
        if file.extension().is_some_and(|end| end == "json") {
            let mut entry: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
            entry["at_ms"] = json!(entry["at_ms"].as_u64().unwrap() - 60_000);
            fs::write(&file, entry.to_string()).unwrap();
        }
    }
    daemon.signal(Signal::CONT);
    daemon.wait_for_pool(&[("bound", 0)]);
    // The same attachment again, which the entry in the spool is older than.
    let again = node.place(pod);
    let others = node.place_all(lab.pods(4));
    daemon.kill();
    let daemon = node.start();
    daemon.wait_for_pool(&[("bound", 5)]);
    node.is_intact(&again);
    others.iter().for_each(|placed| node.is_intact(placed));
}
