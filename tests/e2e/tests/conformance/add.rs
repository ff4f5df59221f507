//! ADD: C15, C17, C31, C33 to C35, C38, C41, C82, C83.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use e2e::lab::Lab;
use e2e::patience::wait_until_true;
use e2e::plugin::{Call, failure_of};
use e2e::pod::{Pod, address_of};
use e2e::program::Ended;
use serde_json::{Value, json};

use crate::{EC2, GROWTH, nothing_is_left_of, ready, reason};

#[test]
fn c15_parallel_calls_for_different_containers_get_different_addresses() {
    let (lab, node, _daemon) = ready("c15");
    let pods = lab.pods(16);
    let results: Vec<Value> =
        node.add_all(&pods).into_iter().map(|ended| serde_json::from_str(&ended.ok()).unwrap()).collect();
    let addresses: BTreeSet<Ipv4Addr> = results.iter().map(address_of).collect();
    assert_eq!(addresses.len(), pods.len());
    std::thread::scope(|scope| {
        for (n, (pod, result)) in pods.iter().zip(&results).enumerate() {
            let node = &node;
            scope.spawn(move || {
                // Half of them go while the other half is looked at.
                if n % 2 == 0 { node.del(pod) } else { drop(node.check(pod, result).ok(node)) }
            });
        }
    });
    assert_eq!(node.pool("bound"), 8);
}

#[test]
fn c17_an_add_that_cannot_be_served_ends_with_its_reason_and_leaves_nothing() {
    let lab = Lab::up("c17");
    let node = lab.m5();
    node.kernel().cut_off(&[EC2]);
    let _daemon = node.start();
    let pod = lab.pod();
    let before = (node.kernel().picture(), pod.kernel().picture());
    let failure = Call::new("ADD", &node, &pod).with("timeout_secs", 3).failure(&node);
    assert_eq!(failure.code, 11, "{failure:?}");
    assert!(!reason(&failure).is_empty());
    assert_eq!((node.kernel().picture(), pod.kernel().picture()), before);
    wait_until_true("nobody waits any more", GROWTH, || node.pool("waiting") == 0);
    assert_eq!(node.pool("bound"), 0);
}

#[test]
fn c31_an_interface_of_that_name_is_an_error_and_stays_as_it_is() {
    let (lab, node, _daemon) = ready("c31");
    let pod = lab.pod();
    pod.kernel().change(&["link add eth0 type veth peer name other".to_owned()]);
    let before = (node.kernel().picture(), pod.kernel().ip(&["link"]));
    let failure = Call::new("ADD", &node, &pod).failure(&node);
    assert_eq!(failure.code, 104, "{failure:?}");
    assert_eq!((node.kernel().picture(), pod.kernel().ip(&["link"])), before);
    assert_eq!(node.pool("bound"), 0);
    node.del(&pod);
    assert_eq!(pod.kernel().ip(&["link"]), before.1);
}

#[test]
fn c33_c34_c35_the_result_is_what_the_kernel_has() {
    let (lab, node, _daemon) = ready("c33");
    let pod = lab.pod();
    let result = Call::new("ADD", &node, &pod).with("cniVersion", "1.1.0").ok(&node);
    let link = |link: Option<Value>, sandbox: Option<Value>| {
        let link = link.unwrap();
        let mut interface = json!({ "name": link["ifname"], "mac": link["address"], "mtu": link["mtu"] });
        if let Some(sandbox) = sandbox {
            interface["sandbox"] = sandbox;
        }
        interface
    };
    let host_end = link(node.kernel().link(&pod.host_veth()), None);
    let pod_end = link(pod.kernel().link("eth0"), Some(json!(pod.namespace.path())));
    assert_eq!(result["interfaces"], json!([host_end, pod_end]));

    let held = pod.kernel().ip(&["-4", "addr", "show", "dev", "eth0"]);
    let held = &held[0]["addr_info"][0];
    assert_eq!(result["ips"].as_array().map(Vec::len), Some(1));
    let ip = &result["ips"][0];
    assert_eq!(ip["address"], format!("{}/{}", held["local"].as_str().unwrap(), held["prefixlen"]));
    assert_eq!((&ip["interface"], &ip["gateway"]), (&json!(1), &json!("169.254.1.1")));

    let shown = |dst: &str, gw: Option<&str>| format!("{dst} via {}", gw.unwrap_or("nobody"));
    let in_pod: BTreeSet<String> = pod
        .kernel()
        .ip(&["-4", "route"])
        .iter()
        .map(|route| {
            let dst = match route["dst"].as_str().unwrap() {
                "default" => "0.0.0.0/0".to_owned(),
                alone if !alone.contains('/') => format!("{alone}/32"),
                range => range.to_owned(),
            };
            shown(&dst, route["gateway"].as_str())
        })
        .collect();
    let told: BTreeSet<String> = result["routes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|route| shown(route["dst"].as_str().unwrap(), route["gw"].as_str()))
        .collect();
    assert_eq!(told, in_pod);
    assert_eq!(
        result["routes"][0]["scope"], 253,
        "`ip route` shows the route to the gateway as `scope link`"
    );
}

#[test]
fn c38_a_failed_add_leaves_nothing_behind() {
    let (lab, node, _daemon) = ready("c38");
    // A second default route is refused late, when the rest is there already.
    let pod = lab.pod();
    pod.kernel().change(&[
        // Whose state is the loopback plugin's, which runs before in every runtime.
        "link set lo up".to_owned(),
        "link add occupant type veth peer name other".to_owned(),
        "addr add 192.0.2.1/24 dev occupant".to_owned(),
        "link set occupant up".to_owned(),
        "link set other up".to_owned(),
        "route add default via 192.0.2.2".to_owned(),
    ]);
    let (free, before) = (node.pool("free"), (node.kernel().picture(), pod.kernel().picture()));
    let failure = Call::new("ADD", &node, &pod).failure(&node);
    assert_eq!(failure.code, 105, "{failure:?}");
    assert_eq!((node.kernel().picture(), pod.kernel().picture()), before);
    assert_eq!(node.pool("bound"), 0);
    // What was reserved may cool, and is counted among the rest again.
    assert_eq!(node.pool("free") + node.pool("cooling"), free);
    assert_eq!(Call::new("CHECK", &node, &pod).with("prevResult", previous()).failure(&node).code, 108);
}

fn previous() -> Value {
    json!({
        "interfaces": [{ "name": "eth0", "sandbox": "/n" }],
        "ips": [{ "interface": 0, "address": "10.0.1.7/32" }],
    })
}

#[test]
fn c41_a_repeated_add_gets_the_same_result_and_no_second_address() {
    let (lab, node, _daemon) = ready("c41");
    let pod = lab.pod();
    let result = node.add(&pod);
    let picture = node.kernel().picture();
    for _ in 0..3 {
        assert_eq!(node.add(&pod), result);
    }
    // And all at once.
    let again: Vec<Ended> = node.add_all(&vec![pod.clone(); 6]);
    for ended in again {
        match ended.code {
            Some(0) => assert_eq!(serde_json::from_str::<Value>(&ended.stdout).unwrap(), result),
            _ => assert_eq!(failure_of(&ended).code, 11, "one of them is under way"),
        }
    }
    assert_eq!((node.kernel().picture(), node.pool("bound")), (picture, 1));
}

#[test]
fn c82_every_retry_of_a_sandbox_is_a_new_container_and_the_old_one_s_del() {
    let lab = Lab::up("c82");
    let node = lab.m5();
    node.kernel().cut_off(&[EC2]);
    let daemon = node.start();
    let first = lab.pod();
    let mut tried = vec![first.clone()];
    for _ in 0..2 {
        let last = tried.last().unwrap();
        let failure = Call::new("ADD", &node, last).with("timeout_secs", 1).failure(&node);
        assert_eq!(failure.code, 11, "{failure:?}");
        node.del(last);
        tried.push(first.again_in(lab.pod()));
    }
    node.kernel().restore();
    daemon.wait_until_ready();
    let placed = node.place(tried.pop().unwrap());
    // The runtime's late DELs of what failed are as good as done.
    for old in &tried {
        node.del(old);
    }
    node.is_intact(&placed);
    assert_eq!((node.pool("bound"), node.pool("waiting")), (1, 0));
}

#[test]
fn c83_what_identifies_an_attachment_is_with_the_daemon_and_not_in_the_runtime_s_cache() {
    let (lab, node, daemon) = ready("c83");
    let pods: Vec<Pod> = lab.pods(2);
    let results: Vec<Value> = pods.iter().map(|pod| node.add(pod)).collect();
    drop(daemon);
    let daemon = node.start();
    daemon.wait_until_ready();
    // The runtime lost what it had; only ids and names come.
    let del = Call::new("DEL", &node, &pods[0]).without_variable("CNI_ARGS").without_variable("CNI_NETNS");
    assert_eq!(del.ok(&node), Value::Null);
    nothing_is_left_of(&node, &pods[0], address_of(&results[0]));
    // An ADD that comes again is answered as it was.
    assert_eq!(node.add(&pods[1]), results[1]);
    assert_eq!(node.pool("bound"), 1);
}
