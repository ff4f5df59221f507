//! CNI calls, as runtimes make them: in every version, repeatedly, late, for pods that are gone.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use e2e::lab::Lab;
use e2e::plugin::{Call, NOBODY};
use e2e::pod::address_of;
use serde_json::{Value, json};

use crate::{distinct, listen, nothing_is_left_of, reaches, ready};

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

    // Also when half of it is gone meanwhile: then the pod is wired again, under the address it has.
    let address = address_of(&result);
    let kernel = node.kernel();
    kernel.change(&[
        format!("rule del pref 512 to {address} table main"),
        format!("route del {address} dev {}", pod.host_veth()),
    ]);
    pod.kernel().change(&["route del default".to_owned()]);
    let again = node.add(&pod);
    assert_eq!(again["ips"], result["ips"]);
    assert_eq!(node.kernel().picture(), picture);
    assert_eq!(node.check(&pod, &again).ok(&node), Value::Null);
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
    let mut results: Vec<_> = pods.iter().map(|pod| node.add(pod)).collect();
    let result = results.pop().unwrap();
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
        (&inside, "route del default".to_owned(), "default"),
        (&inside, format!("address del {address}/32 dev eth0"), "address"),
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

    // An address that somebody else put there is told, and not taken away.
    inside.change(&["address add 192.0.2.1/32 dev eth0".to_owned()]);
    let failure = node.check(pod, &result).failure(&node);
    assert!(failure.code == 101 && failure.message.contains("192.0.2.1"), "{failure:?}");
    assert_eq!(Call::new("ADD", &node, pod).failure(&node).code, 104);
    inside.change(&["address del 192.0.2.1/32 dev eth0".to_owned()]);
    assert_eq!(node.check(pod, &result).ok(&node), Value::Null);

    // The attachment is another's, or nobody's.
    let foreign = node.add(&lab.pod());
    let failure = node.check(pod, &foreign).failure(&node);
    assert_eq!(failure.code, 101, "{failure:?}");
    assert_eq!(node.check(&lab.pod(), &result).failure(&node).code, 108);
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
    assert!(log.contains("turned away") && log.contains(&format!("user {NOBODY}")), "{log}");
    assert_eq!(node.pool("bound"), 0);
    node.add(&pod);
}

#[test]
fn a_second_interface_in_one_pod_is_refused_and_the_first_stays_whole() {
    let (lab, node, _daemon) = ready("two-ifs");
    let pod = lab.pod();
    let first = node.add(&pod);
    let before = (node.kernel().picture(), pod.kernel().picture());
    // Two default routes cannot both be the pod's; other plugins make further interfaces.
    let failure = Call::new("ADD", &node, &pod).variable("CNI_IFNAME", "net1").failure(&node);
    assert_eq!(failure.code, 105, "{failure:?}");
    assert_eq!((node.kernel().picture(), pod.kernel().picture()), before);
    assert_eq!(node.pool("bound"), 1);
    assert_eq!(node.check(&pod, &first).ok(&node), Value::Null);
    let del = Call::new("DEL", &node, &pod).variable("CNI_IFNAME", "net1");
    assert_eq!(del.ok(&node), Value::Null);
    assert_eq!(node.check(&pod, &first).ok(&node), Value::Null);
}
