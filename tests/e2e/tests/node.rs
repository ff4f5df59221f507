//! A node at work: the real plugin, the real daemon, real kernels, and a VPC behind the real wire.
#![expect(clippy::unwrap_used, reason = "a test that cannot arrange its world fails")]

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use e2e::daemon::Daemon;
use e2e::heartbeat::Heartbeat;
use e2e::lab::Lab;
use e2e::node::Node;
use e2e::patience::{wait_for, wait_until_true};
use e2e::plugin::{Call, NOBODY, failure_of};
use e2e::pod::{Pod, address_of};
use e2e::program;
use enid_vpc_lab::fabric::OUTSIDE;
use enid_vpc_lab::probe::{self, Mirror};
use rustix::process::Signal;
use serde_json::{Value, json};

/// A packet on one machine takes microseconds; the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long the kernel may take to make a link disappear after DEL was answered.
const LINK_END: Duration = Duration::from_secs(5);
/// An ENI takes some seconds to come in the lab.
const GROWTH: Duration = Duration::from_secs(25);

/// A lab whose m5.large is ready to serve.
fn ready(test: &str) -> (Lab, Node, Daemon) {
    let lab = Lab::up(test);
    let node = lab.m5();
    let daemon = node.start();
    daemon.wait_until_ready();
    (lab, node, daemon)
}

/// Whether a pod reaches something and is seen there as `seen_as`.
#[track_caller]
fn reaches(pod: &Pod, target: Ipv4Addr, seen_as: Ipv4Addr) {
    let seen = probe::connect(&pod.namespace, SocketAddr::from((target, 7000)), PATIENCE);
    let seen = seen.unwrap_or_else(|error| panic!("{} → {target}: {error}", pod.name));
    assert_eq!(seen.ip(), seen_as, "{} → {target}", pod.name);
}

/// A listener that says whom it sees.
fn listen(pod: &Pod, address: Ipv4Addr) -> Mirror {
    Mirror::listen(&pod.namespace, SocketAddrV4::new(address, 7000)).unwrap()
}

#[track_caller]
fn nothing_is_left_of(node: &Node, pod: &Pod, address: Ipv4Addr) {
    assert_eq!(node.kernel().mentions(address), Vec::<String>::new());
    wait_until_true("the host veth is gone", LINK_END, || node.kernel().link(&pod.host_veth()).is_none());
}

#[track_caller]
fn distinct(results: &[Value]) -> BTreeSet<Ipv4Addr> {
    let addresses: BTreeSet<Ipv4Addr> = results.iter().map(address_of).collect();
    assert_eq!(addresses.len(), results.len(), "two pods share an address: {results:?}");
    addresses
}

#[test]
fn every_cni_version_gets_its_own_result() {
    let (lab, node, _daemon) = ready("versions");
    for version in ["0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        let pod = lab.pod();
        let dns = json!({ "nameservers": ["10.0.0.2"] });
        let call = Call::new("ADD", &node, &pod).with("cniVersion", version).with("dns", dns.clone());
        let result = call.ok(&node);
        let address = address_of(&result);

        let host_end = node.kernel().link(&pod.host_veth()).unwrap();
        let pod_end = pod.kernel().link("eth0").unwrap();
        let mut wanted = json!({
            "cniVersion": version,
            "dns": dns,
            "interfaces": [
                { "name": pod.host_veth(), "mac": host_end["address"] },
                { "name": "eth0", "mac": pod_end["address"], "sandbox": pod.namespace.path() },
            ],
            "ips": [{ "address": format!("{address}/32"), "gateway": "169.254.1.1", "interface": 1 }],
            "routes": [{ "dst": "169.254.1.1/32" }, { "dst": "0.0.0.0/0", "gw": "169.254.1.1" }],
        });
        if version.starts_with("0.") {
            wanted["ips"][0]["version"] = json!("4");
        }
        if version == "1.1.0" {
            wanted["interfaces"][0]["mtu"] = json!(9001);
            wanted["interfaces"][1]["mtu"] = json!(9001);
            wanted["routes"][0]["scope"] = json!(253);
        }
        assert_eq!(result, wanted);
        assert_eq!((&host_end["mtu"], &pod_end["mtu"]), (&json!(9001), &json!(9001)));

        let check = node.check(&pod, &result).with("cniVersion", version);
        if version == "0.3.1" {
            assert_eq!(check.failure(&node).code, 1, "CHECK came with 0.4.0");
        } else {
            assert_eq!(check.ok(&node), Value::Null);
        }
        let del = Call::new("DEL", &node, &pod).with("cniVersion", version).with("prevResult", result);
        assert_eq!(del.ok(&node), Value::Null);
        nothing_is_left_of(&node, &pod, address);

        let asked =
            Call::new("VERSION", &node, &pod).stdin(json!({ "cniVersion": version }).to_string().as_bytes());
        let answer = asked.ok(&node);
        assert_eq!(answer["cniVersion"], version);
        assert_eq!(answer["supportedVersions"], json!(["0.3.1", "0.4.0", "1.0.0", "1.1.0"]));
    }
}

#[test]
fn a_repeated_add_gets_the_same_answer() {
    let (lab, node, _daemon) = ready("again");
    let pod = lab.pod();
    let result = node.add(&pod);
    let picture = node.kernel().picture();
    assert_eq!(node.add(&pod), result);
    assert_eq!(node.kernel().picture(), picture);
    assert_eq!(node.pool("bound"), 1);

    // Also when half of it is gone meanwhile: then it is mended.
    let address = address_of(&result);
    let kernel = node.kernel();
    kernel.change(&[
        format!("rule del pref 512 to {address} table main"),
        format!("route del {address} dev {}", pod.host_veth()),
    ]);
    pod.kernel().change(&["route del default".to_owned()]);
    assert_eq!(node.add(&pod), result);
    assert_eq!(node.kernel().picture(), picture);
    assert_eq!(node.check(&pod, &result).ok(&node), Value::Null);
}

#[test]
fn del_may_come_as_often_as_it_likes() {
    let (lab, node, _daemon) = ready("del");
    let pod = lab.pod();
    let address = address_of(&node.add(&pod));
    for _ in 0..3 {
        node.del(&pod);
    }
    nothing_is_left_of(&node, &pod, address);
    let status = node.status();
    assert_eq!((&status["pool"]["bound"], &status["pool"]["cooling"]), (&json!(0), &json!(1)));
    let explained = node.ask(&["explain", "address", &address.to_string()]).ok();
    assert!(explained.contains("is cooling") && explained.contains("free in"), "{explained}");

    // Of what never was; of what has no namespace any more; without CNI_NETNS at all.
    node.del(&lab.pod());
    for forget in [false, true] {
        let pod = lab.pod();
        let address = address_of(&node.add(&pod));
        pod.remove_namespace();
        let call = Call::new("DEL", &node, &pod);
        let call = if forget { call.without_variable("CNI_NETNS") } else { call };
        assert_eq!(call.ok(&node), Value::Null);
        nothing_is_left_of(&node, &pod, address);
    }
    assert_eq!(node.pool("bound"), 0);
}

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
fn a_del_without_a_daemon_is_applied_at_the_next_start() {
    let (lab, node, daemon) = ready("spool");
    let (gone, stays) = (lab.pod(), lab.pod());
    let address = address_of(&node.add(&gone));
    let kept = node.add(&stays);
    daemon.kill();
    for _ in 0..2 {
        node.del(&gone);
    }
    let spooled = || {
        let files = fs::read_dir(node.runtime_dir().join("spool")).unwrap();
        files
            .filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|end| end == "json"))
            .count()
    };
    assert_eq!(spooled(), 1, "a repeated DEL replaces the first");
    assert_eq!(node.kernel().mentions(address).len(), 2, "nobody has touched the kernel yet");

    let daemon = node.start();
    daemon.wait_for_log(&["spooled DEL applied", &gone.container]);
    assert_eq!(spooled(), 0);
    nothing_is_left_of(&node, &gone, address);
    daemon.wait_for_pool(&[("bound", 1), ("cooling", 1)]);
    assert_eq!(node.check(&stays, &kept).ok(&node), Value::Null);
    assert_eq!(node.check(&gone, &kept).failure(&node).code, 108);
}

#[test]
fn a_spooled_del_does_not_hurt_a_later_add() {
    let (lab, node, daemon) = ready("late-del");
    let pod = lab.pod();
    node.add(&pod);
    // The daemon hangs: the DEL ends in the spool, and, once it runs again, at the daemon as well.
    daemon.signal(Signal::STOP);
    assert_eq!(Call::new("DEL", &node, &pod).with("timeout_secs", 1).ok(&node), Value::Null);
    daemon.signal(Signal::CONT);
    daemon.wait_for_pool(&[("bound", 0)]);
    let result = node.add(&pod);
    // The spool is emptied at the latest now.
    assert!(daemon.terminate().success());
    let daemon = node.start();
    wait_until_true("the spool is empty", Duration::from_secs(15), || {
        let files = fs::read_dir(node.runtime_dir().join("spool")).unwrap();
        files.flatten().all(|file| file.path().extension().is_none_or(|end| end != "json"))
    });
    daemon.wait_for_pool(&[("bound", 1)]);
    assert_eq!(node.check(&pod, &result).ok(&node), Value::Null);
}

#[test]
fn a_late_del_of_the_old_sandbox_leaves_the_new_one_alone() {
    let (lab, node, _daemon) = ready("sandboxes");
    let old = lab.pod();
    let first = node.add(&old);
    // The runtime makes a second sandbox of the same pod before it takes the first away.
    let new = old.again_in(lab.pod());
    let second = node.add(&new);
    distinct(&[first, second.clone()]);
    node.del(&old);
    assert_eq!(node.check(&new, &second).ok(&node), Value::Null);
    let address = address_of(&second);
    let other = lab.pod();
    let from = address_of(&node.add(&other));
    let _mirror = listen(&new, address);
    reaches(&other, address, from);
    let explained = node.ask(&["explain", "pod", &new.shown()]).ok();
    assert!(explained.contains(&address.to_string()) && explained.contains("is bound"), "{explained}");
}

#[test]
fn check_names_what_is_missing_and_add_mends_it() {
    let lab = Lab::up("check");
    let node = lab.t3();
    let daemon = node.start();
    daemon.wait_until_ready();
    // The fourth pod of a t3.small is on a further ENI, and so has all kinds of rules.
    let pods = lab.pods(4);
    let result = pods.iter().map(|pod| node.add(pod)).next_back().unwrap();
    let pod = &pods[3];
    let address = address_of(&result);
    let (host, inside, veth) = (node.kernel(), pod.kernel(), pod.host_veth());
    assert_eq!(node.check(pod, &result).ok(&node), Value::Null);
    for (kernel, change, named) in [
        (&host, format!("rule del pref 512 to {address}"), "rule"),
        (&host, format!("rule del pref 1536 from {address}"), "rule"),
        (&host, format!("route del {address} dev {veth}"), "route"),
        (&host, format!("link set {veth} down"), veth.as_str()),
        (&host, format!("link set {veth} mtu 1400"), "MTU"),
        (&inside, "neigh del 169.254.1.1 dev eth0".to_owned(), "169.254.1.1"),
        (
            &inside,
            "neigh replace 169.254.1.1 lladdr 02:00:00:00:00:99 dev eth0 nud permanent".to_owned(),
            "MAC",
        ),
        (&inside, "route del default".to_owned(), "0.0.0.0/0"),
        (&inside, format!("address del {address}/32 dev eth0"), "address"),
        (&inside, "address add 192.0.2.1/32 dev eth0".to_owned(), "192.0.2.1"),
        (&inside, "link set eth0 down".to_owned(), "eth0"),
        (&inside, "link del eth0".to_owned(), "missing"),
    ] {
        kernel.change(std::slice::from_ref(&change));
        let failure = node.check(pod, &result).failure(&node);
        assert_eq!(failure.code, 101, "`{change}`: {failure:?}");
        assert!(failure.message.contains(named), "`{change}`: {failure:?}");
        let mended = node.add(pod);
        assert_eq!(mended["ips"], result["ips"], "`{change}`");
        assert_eq!(node.check(pod, &mended).ok(&node), Value::Null, "after `{change}` and ADD");
    }

    // The attachment is another's, or nobody's.
    let foreign = node.add(&lab.pod());
    let failure = node.check(pod, &foreign).failure(&node);
    assert_eq!(failure.code, 101, "{failure:?}");
    assert_eq!(node.check(&lab.pod(), &result).failure(&node).code, 108);
}

#[test]
fn pods_keep_their_network_when_the_daemon_crashes() {
    let (lab, node, daemon) = ready("crash");
    let pods = lab.pods(12);
    let results: Vec<Value> = pods.iter().map(|pod| node.add(pod)).collect();
    let held = distinct(&results);
    let cooling = lab.pod();
    let cooling_address = address_of(&node.add(&cooling));
    node.del(&cooling);
    // On the primary ENI, on a further one.
    let (near, far) = (&pods[0], &pods[11]);
    let far_address = address_of(&results[11]);
    let heartbeat = Heartbeat::begin(near, far, far_address);

    daemon.kill();
    let daemon = node.start();
    daemon.wait_until_ready();
    daemon.wait_for_pool(&[("bound", 12), ("cooling", 1), ("quarantined", 0)]);
    for (pod, result) in pods.iter().zip(&results) {
        assert_eq!(node.check(pod, result).ok(&node), Value::Null);
        let explained = node.ask(&["explain", "pod", &pod.shown()]).ok();
        assert!(explained.contains(&format!("{} is bound", address_of(result))), "{explained}");
    }
    let explained = node.ask(&["explain", "address", &cooling_address.to_string()]).ok();
    assert!(explained.contains("is cooling"), "{explained}");
    // A pod that comes now gets none of theirs.
    let next = address_of(&node.add(&lab.pod()));
    assert!(!held.contains(&next) && next != cooling_address, "{next}");

    // And once more in order.
    assert!(daemon.terminate().success());
    let daemon = node.start();
    daemon.wait_for_pool(&[("bound", 13), ("quarantined", 0)]);
    let beats = heartbeat.end();
    assert_eq!(beats.lost, 0, "{beats:?}");
    assert!(beats.answered > 100 && beats.over_tcp > 100, "{beats:?}");
}

#[test]
fn a_crash_in_the_middle_of_a_burst_leaves_no_half_pod() {
    let (lab, node, daemon) = ready("half");
    let pods = lab.pods(20);
    let ended = std::thread::scope(|scope| {
        let adds = scope.spawn(|| node.add_all(&pods));
        wait_until_true("some pods are bound", GROWTH, || node.pool("bound") >= 3);
        daemon.kill();
        adds.join().unwrap()
    });
    let daemon = node.start();
    daemon.wait_until_ready();
    // The runtime deletes what failed, and repeats it.
    for (pod, ended) in pods.iter().zip(&ended) {
        match ended.code {
            Some(0) => {
                let result: Value = serde_json::from_str(&ended.stdout).unwrap();
                assert_eq!(node.check(pod, &result).ok(&node), Value::Null);
            }
            _ => {
                assert_eq!(failure_of(ended).code, 11, "{ended:?}");
                node.del(pod);
            }
        }
    }
    let again: Vec<Value> = pods.iter().map(|pod| node.add(pod)).collect();
    let addresses = distinct(&again);
    let wired = node.kernel().ip(&["-4", "route"]).into_iter();
    let wired = wired.filter(|route| route["dev"].as_str().is_some_and(|dev| dev.starts_with("eni")));
    let wired: BTreeSet<Ipv4Addr> =
        wired.map(|route| route["dst"].as_str().unwrap().parse().unwrap()).collect();
    assert_eq!(wired, addresses);
}

#[test]
fn sigterm_tells_those_that_wait_and_keeps_the_rest() {
    let lab = Lab::up("sigterm");
    let node = lab.m5();
    node.kernel().cut_off(&["10.0.0.2"]);
    let daemon = node.start();
    let pod = lab.pod();
    let (ended, took) = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| Call::new("ADD", &node, &pod).run(&node));
        wait_until_true("the ADD waits", PATIENCE, || node.pool("waiting") == 1);
        let begun = Instant::now();
        assert!(daemon.terminate().success());
        (waiting.join().unwrap(), begun.elapsed())
    });
    let failure = failure_of(&ended);
    assert_eq!(failure.code, 11, "{failure:?}");
    assert_eq!(serde_json::from_str::<Value>(&failure.details).unwrap(), json!({ "reason": "stopping" }));
    assert!(took < Duration::from_secs(8), "{took:?}");
    assert!(!node.socket().exists());
    assert!(node.log().contains("stopped; pods keep their network"));

    node.kernel().restore();
    let daemon = node.start();
    daemon.wait_until_ready();
    node.add(&pod);
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
    let on_node = |eni: &&enid_vpc_lab::lab::status::EniStatus| {
        eni.attached.as_ref().is_some_and(|(name, _)| name == node.name())
    };
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
fn max_pods_of_the_settings_holds() {
    let lab = Lab::up("max-pods");
    let node = lab.m5();
    node.configure(&node.settings().max_pods(2).wait_secs(1));
    let daemon = node.start();
    daemon.wait_until_ready();
    lab.pods(2).iter().for_each(|pod| drop(node.add(pod)));
    let failure = Call::new("ADD", &node, &lab.pod()).failure(&node);
    assert_eq!(failure.code, 11, "{failure:?}");
    let reason: Value = serde_json::from_str(&failure.details).unwrap();
    assert_eq!(reason, json!({ "reason": "max-pods", "max_pods": 2 }), "{failure:?}");
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
fn only_root_may_use_the_socket() {
    let (lab, node, _daemon) = ready("peers");
    let pod = lab.pod();
    let add = Call::new("ADD", &node, &pod).as_user(NOBODY);
    let failure = add.failure(&node);
    assert_eq!(failure.code, 109, "{failure:?}");

    // The doors stand open by mistake: the daemon asks who is there.
    for (path, mode) in [(lab.directory(), 0o755), (node.runtime_dir(), 0o755), (&node.socket(), 0o666)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let failure = add.failure(&node);
    assert_eq!(failure.code, 109, "{failure:?}");
    assert!(failure.message.contains("root only"), "{failure:?}");
    let log = node.log();
    assert!(log.contains("turned away") && log.contains(&format!("uid={NOBODY}")), "{log}");
    assert_eq!(node.pool("bound"), 0);
    node.add(&pod);
}

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

/// The warm-pool strategy in force, by name and digest.
fn strategy_in_force(node: &Node) -> String {
    let status = node.status();
    let rows = status["strategies"].as_array().unwrap();
    let row = rows.iter().find(|row| row["kind"] == "warm-pool").unwrap();
    row["strategy"].as_str().unwrap().to_owned()
}

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
        (good.replace("warm_eni_target = 1", "warm_eni_taget = 1"), "warm_eni_taget: unknown setting"),
        (good.replace("\"warm-targets\"", "\"/nowhere/strategy.wasm\""), "/nowhere/strategy.wasm"),
    ] {
        node.write_settings(&bad);
        let line = daemon.wait_for_log(&["ERROR", "not taken over", why]);
        assert!(line.contains("stay"), "{line}");
        assert_eq!(strategy_in_force(&node), before);
        assert!(daemon.is_alive());
    }
    fs::remove_file(node.settings_file()).unwrap();
    daemon.signal(Signal::HUP);
    daemon.wait_for_log(&["ERROR", "not taken over", "No such file"]);
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
fn a_component_is_swapped_by_dropping_a_file_in_and_a_broken_one_is_not() {
    let lab = Lab::up("swap");
    let node = lab.m5();
    let dropped = lab.directory().join("pool.wasm");
    let shipped = fs::read(program::strategy("warm-targets")).unwrap();
    fs::write(&dropped, &shipped).unwrap();
    node.configure(&node.settings().warm_pool(dropped.to_str().unwrap(), "warm_eni_target = 1"));
    let mut daemon = node.start();
    daemon.wait_until_ready();
    let before = strategy_in_force(&node);
    assert!(before.starts_with("pool@"), "{before}");
    let replace = |bytes: &[u8]| {
        let half = dropped.with_extension("new");
        fs::write(&half, bytes).unwrap();
        fs::rename(&half, &dropped).unwrap();
    };

    // The same code with one more custom section is another component: its digest differs.
    let mut rebuilt = shipped.clone();
    rebuilt.extend([0, 6, 4, b'n', b'o', b't', b'e', b'!']);
    replace(&rebuilt);
    daemon.wait_for_log(&["strategy taken over", "warm-pool"]);
    let after = wait_for("the new component answers", PATIENCE, || {
        let now = strategy_in_force(&node);
        if now != before { Ok(now) } else { Err(now) }
    });
    assert!(after.starts_with("pool@"), "{after}");

    for broken in [&shipped[..5000], b"hello", b""] {
        let errors =
            || node.log().lines().filter(|line| line.contains("the strategy is not taken over")).count();
        let seen = errors();
        replace(broken);
        wait_until_true("the log says why it is refused", PATIENCE, || errors() > seen);
        assert_eq!(strategy_in_force(&node), after);
    }
    node.add(&lab.pod());
    assert!(daemon.is_alive());
    assert_eq!(strategy_in_force(&node), after);

    // A good one after a broken one is taken.
    replace(&shipped);
    wait_for("the first component answers again", PATIENCE, || {
        let now = strategy_in_force(&node);
        if now == before { Ok(()) } else { Err(now) }
    });
}
