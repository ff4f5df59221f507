//! Where addresses come from: growth, cooling, limits, bursts, and EC2's bad days.

use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use e2e::daemon::Daemon;
use e2e::lab::Lab;
use e2e::node::Node;
use e2e::patience::{wait_for, wait_until_true};
use e2e::plugin::{Call, failure_of};
use e2e::pod::address_of;
use enid_vpc_lab::fabric::OUTSIDE;
use enid_vpc_lab::lab::status::EniStatus;
use enid_vpc_lab::probe::Mirror;
use serde_json::{Value, json};

use crate::{GROWTH, LINK_END, PATIENCE, distinct, listen, reaches};

#[test]
fn a_cooled_address_serves_again() {
    let lab = Lab::up("cooling");
    let node = lab.m5();
    // A single ENI and no growth: whoever comes next must wait for the cooled one.
    let text = node.settings().cooldown_secs(2).to_string().replace("[pool]", "[pool]\nmax_enis = 1");
    node.write_settings(&text);
    let daemon = node.start();
    daemon.wait_for_pool(&[("free", 9)]);
    let pods = lab.pods(9);
    let results: Vec<Value> = pods.iter().map(|pod| node.add(pod)).collect();
    let held = distinct(&results);
    let released = address_of(&results[4]);
    node.del(&pods[4]);
    let begun = Instant::now();
    let next = address_of(&node.add(&lab.pod()));
    assert_eq!(next, released, "the only address there is");
    assert!(begun.elapsed() >= Duration::from_millis(1500), "it did not cool: {:?}", begun.elapsed());
    assert!(held.contains(&next));
}

#[test]
fn an_add_that_finds_the_pool_short_waits_for_its_growth() {
    let lab = Lab::up("growth");
    let node = lab.t3();
    // Nothing is held ready: every ENI comes because a pod asks.
    node.configure(&node.settings().warm_pool("warm-targets", "warm_eni_target = 0"));
    let _daemon = node.start();
    let pods = lab.pods(4);
    let results: Vec<Value> = pods.iter().map(|pod| node.add(pod)).collect();
    distinct(&results);
    let status = lab.status();
    let on_node = |eni: &&EniStatus| eni.attached.as_ref().is_some_and(|(name, _)| name == node.name());
    assert!(status.enis.iter().filter(on_node).count() >= 2, "{status:?}");
    let last = address_of(&results[3]);
    let owner = status.enis.iter().find(|eni| eni.addresses.contains(&last)).unwrap();
    assert_eq!(owner.attached.as_ref().unwrap().1, 1, "the fourth pod is on the second ENI");
    let explained = node.ask(&["explain", "eni", owner.id.as_str()]).ok();
    assert!(explained.contains("pods waiting") || explained.contains("waiting"), "{explained}");
}

#[test]
fn a_full_node_says_so_with_its_reason() {
    let lab = Lab::up("full");
    let node = lab.t3();
    node.configure(&node.settings().wait_secs(1));
    let daemon = node.start();
    daemon.wait_until_ready();
    let pods = lab.pods(9);
    let mut results = Vec::new();
    for pod in &pods {
        // The second or third ENI may take longer than this node lets an ADD wait: then the runtime repeats.
        results.push(wait_for("an address", GROWTH, || {
            let ended = Call::new("ADD", &node, pod).run(&node);
            if ended.code == Some(0) {
                Ok(serde_json::from_str(&ended.stdout).unwrap())
            } else {
                Err(ended.stdout)
            }
        }));
    }
    distinct(&results);
    let failure = Call::new("ADD", &node, &lab.pod()).failure(&node);
    assert_eq!(failure.code, 11, "{failure:?}");
    assert!(failure.message.contains("the node is full"), "{failure:?}");
    let reason = json!({ "reason": "node-full", "bound": 9, "total": 9, "max_enis": 3 });
    assert_eq!(serde_json::from_str::<Value>(&failure.details).unwrap(), reason);
    let status = node.status();
    assert_eq!(status["ready"], false);
    assert!(status["waiting_for"].as_str().unwrap().contains("the node is full"), "{status}");

    // While one cools, that is the reason.
    node.del(&pods[0]);
    let failure = Call::new("ADD", &node, &lab.pod()).failure(&node);
    assert_eq!(failure.code, 11, "{failure:?}");
    let reason: Value = serde_json::from_str(&failure.details).unwrap();
    assert_eq!((&reason["reason"], &reason["cooling"]), (&json!("cooling"), &json!(1)), "{failure:?}");
}

#[test]
fn the_pool_never_grows_beyond_max_pods() {
    let lab = Lab::up("max-pods");
    let node = lab.m5();
    let settings = node.settings().warm_pool("warm-targets", "warm_ip_target = 1, minimum_ip_target = 0");
    node.configure(&settings.max_pods(2).wait_secs(1));
    let _daemon = node.start();
    for pod in lab.pods(2) {
        wait_for("an address", GROWTH, || match Call::new("ADD", &node, &pod).run(&node) {
            ended if ended.code == Some(0) => Ok(()),
            ended => Err(ended.stdout),
        });
    }
    let failure = Call::new("ADD", &node, &lab.pod()).failure(&node);
    assert_eq!(failure.code, 11, "{failure:?}");
    let reason: Value = serde_json::from_str(&failure.details).unwrap();
    assert_eq!(reason, json!({ "reason": "max-pods", "max_pods": 2 }), "{failure:?}");
    assert_eq!(node.pool("total"), 2);
}

#[test]
fn thirty_adds_at_once_get_what_the_node_has() {
    let lab = Lab::up("burst");
    let node = lab.m5();
    node.configure(&node.settings().wait_secs(15));
    let daemon = node.start();
    daemon.wait_until_ready();
    let pods = lab.pods(30);
    let ended = node.add_all(&pods);
    let (served, refused): (Vec<_>, Vec<_>) =
        pods.iter().zip(&ended).partition(|(_, ended)| ended.code == Some(0));
    assert_eq!((served.len(), refused.len()), (27, 3), "{ended:?}");
    let results: Vec<Value> =
        served.iter().map(|(_, ended)| serde_json::from_str(&ended.stdout).unwrap()).collect();
    distinct(&results);
    for (_, ended) in &refused {
        let failure = failure_of(ended);
        assert_eq!(failure.code, 11, "{failure:?}");
        let reason: Value = serde_json::from_str(&failure.details).unwrap();
        assert_eq!(reason["reason"], "node-full", "{failure:?}");
    }
    for ((pod, _), result) in served.iter().zip(&results) {
        assert_eq!(node.check(pod, result).ok(&node), Value::Null);
    }
    // Those on further ENIs are reached, too.
    let (first, last) = (served[0].0, served[26].0);
    let _mirror = listen(last, address_of(&results[26]));
    reaches(first, address_of(&results[26]), address_of(&results[0]));

    // And all go at once.
    std::thread::scope(|scope| {
        for (pod, _) in &served {
            scope.spawn(|| node.del(pod));
        }
    });
    daemon.wait_for_pool(&[("bound", 0)]);
    wait_until_true("the pods' links are gone", LINK_END, || {
        served.iter().all(|(pod, _)| node.kernel().link(&pod.host_veth()).is_none())
    });
    for result in &results {
        assert_eq!(node.kernel().mentions(address_of(result)), Vec::<String>::new());
    }
}

#[test]
fn two_nodes_serve_at_once_and_their_pods_reach_each_other() {
    let lab = Lab::up("two");
    let nodes = [lab.m5(), lab.t3()];
    let daemons: Vec<Daemon> = nodes.iter().map(Node::start).collect();
    let pods = [lab.pods(4), lab.pods(4)];
    let results: Vec<Vec<Value>> = std::thread::scope(|scope| {
        let adds: Vec<_> =
            nodes.iter().zip(&pods).map(|(node, pods)| scope.spawn(|| node.add_all(pods))).collect();
        let ended = adds.into_iter().map(|adds| adds.join().unwrap());
        ended
            .map(|all| all.iter().map(|one| serde_json::from_str(&one.clone().ok()).unwrap()).collect())
            .collect()
    });
    let all: Vec<Value> = results.concat();
    distinct(&all);
    let (m5, t3) = (&results[0], &results[1]);
    for (pod, result) in pods[1].iter().zip(t3) {
        let _mirror = listen(pod, address_of(result));
        reaches(&pods[0][0], address_of(result), address_of(&m5[0]));
        reaches(&pods[0][3], address_of(result), address_of(&m5[3]));
    }
    // Outside the VPC each is seen as its node.
    let inet = &lab.beginning().inet_namespace;
    let _outside = Mirror::listen(inet, SocketAddrV4::new(OUTSIDE, 7000)).unwrap();
    for (node, pods) in nodes.iter().zip(&pods) {
        reaches(&pods[0], OUTSIDE, node.place.address);
        reaches(&pods[3], OUTSIDE, node.place.address);
    }
    // One stops: the other does not notice.
    let mut daemons = daemons.into_iter();
    assert!(daemons.next().unwrap().terminate().success());
    nodes[1].del(&pods[1][0]);
    assert_eq!(nodes[1].pool("bound"), 3);
    assert_eq!(lab.status().diverged, Vec::<String>::new());
}

#[test]
fn an_outage_of_ec2_is_told_and_ends_by_itself() {
    let lab = Lab::up("ec2-away");
    let node = lab.t3();
    node.configure(&node.settings().wait_secs(1).warm_pool("warm-targets", "warm_eni_target = 0"));
    let daemon = node.start();
    let pods = lab.pods(4);
    for pod in &pods[..3] {
        node.add(pod);
    }
    node.kernel().cut_off(&["10.0.0.2"]);
    // The pool is used up, and what would come does not.
    let failure = Call::new("ADD", &node, &pods[3]).failure(&node);
    assert_eq!(failure.code, 11, "{failure:?}");
    let degraded = wait_for("the status says that EC2 is away", Duration::from_secs(20), || {
        // Somebody must ask for more, or nobody asks EC2.
        let failure = Call::new("ADD", &node, &pods[3]).failure(&node);
        let status = node.status();
        if status["degraded"].is_string() && failure.details.contains("\"kind\":\"unavailable\"") {
            Ok(status["degraded"].clone())
        } else {
            Err(format!("{failure:?} {status}"))
        }
    });
    assert!(degraded.as_str().unwrap().contains("unavailable"), "{degraded}");
    // DEL and CHECK need no EC2.
    node.del(&pods[0]);
    node.kernel().restore();
    wait_for("a pod gets its address again", Duration::from_secs(60), || {
        let ended = Call::new("ADD", &node, &pods[3]).run(&node);
        if ended.code == Some(0) { Ok(()) } else { Err(ended.stdout) }
    });
    wait_for("the status is well again", GROWTH, || {
        let status = node.status();
        if status["degraded"].is_null() { Ok(()) } else { Err(status.to_string()) }
    });
    assert!(daemon.terminate().success());
}

#[test]
fn an_add_tells_its_reason_before_the_runtime_gives_up() {
    let lab = Lab::up("deadline");
    let node = lab.m5();
    node.kernel().cut_off(&["10.0.0.2"]);
    let _daemon = node.start();
    let begun = Instant::now();
    let failure = Call::new("ADD", &node, &lab.pod()).with("timeout_secs", 2).failure(&node);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(failure.code, 11, "{failure:?}");
    let reason: Value = serde_json::from_str(&failure.details).unwrap();
    assert!(["starting", "cloud"].contains(&reason["reason"].as_str().unwrap()), "{failure:?}");
    assert_eq!(node.pool("waiting"), 0);
}

#[test]
fn a_del_ends_the_add_that_waits() {
    let lab = Lab::up("del-waits");
    let node = lab.m5();
    node.kernel().cut_off(&["10.0.0.2"]);
    let _daemon = node.start();
    let pod = lab.pod();
    let ended = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| Call::new("ADD", &node, &pod).run(&node));
        wait_until_true("the ADD waits", PATIENCE, || node.pool("waiting") == 1);
        let twin = Call::new("ADD", &node, &pod).failure(&node);
        assert_eq!(twin.code, 11, "{twin:?}");
        assert!(twin.message.contains("is being added already"), "{twin:?}");
        let explained = node.ask(&["explain", "pod", &pod.shown()]).ok();
        assert!(explained.contains("waits for an address"), "{explained}");
        node.del(&pod);
        waiting.join().unwrap()
    });
    let failure = failure_of(&ended);
    assert_eq!(failure.code, 11, "{failure:?}");
    assert_eq!(node.pool("waiting"), 0);
    node.kernel().restore();
    wait_for("an address", GROWTH, || match Call::new("ADD", &node, &pod).run(&node) {
        ended if ended.code == Some(0) => Ok(()),
        ended => Err(ended.stdout),
    });
}
