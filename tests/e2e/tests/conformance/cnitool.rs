//! libcni itself, the code that runtimes call plugins with, against a real node: C27, C43, C61, C62, C69, C70, C74, C76.

use e2e::libcni::{NEWEST, Place, cnitool, gc_program};
use e2e::node::Node;
use e2e::plugin::NETWORK;
use e2e::pod::address_of;
use serde_json::{Value, json};

use crate::ready;

/// Releases of libcni, and the spec versions that each knows.
const RELEASES: [(&str, &[&str]); 4] = [
    ("v0.8.1", &["0.3.1", "0.4.0"]),
    ("v1.0.1", &["0.3.1", "0.4.0", "1.0.0"]),
    ("v1.2.3", &["0.3.1", "0.4.0", "1.0.0", "1.1.0"]),
    (NEWEST, &["0.3.1", "0.4.0", "1.0.0", "1.1.0"]),
];

fn conflist(node: &Node, version: &str) -> Value {
    json!({
        "cniVersion": version,
        "name": NETWORK,
        "plugins": [{
            "type": "enid-cni",
            "capabilities": { "io.kubernetes.cri.pod-annotations": true },
            "socket": node.socket(),
        }],
    })
}

#[test]
fn c43_every_release_of_libcni_reads_the_results_of_every_version_it_knows() {
    let (lab, node, _daemon) = ready("c43");
    for (release, versions) in RELEASES {
        let Some(tool) = cnitool(release) else { return };
        for version in versions {
            let place = Place::with(
                &node,
                lab.directory(),
                &format!("{release}-{version}"),
                &conflist(&node, version),
            );
            let pod = lab.pod();
            let call = |verb| place.cnitool(&tool, verb, NETWORK, &pod);
            // What it prints is what it has read: parsed, and written again by libcni.
            let result: Value = serde_json::from_str(&call("add").ok()).unwrap();
            assert_eq!(result["cniVersion"], *version, "{release}");
            let ends: Vec<&Value> = result["interfaces"].as_array().unwrap().iter().collect();
            let held = pod.kernel().link("eth0").unwrap();
            assert_eq!(
                (&ends[1]["mac"], &ends[1]["sandbox"]),
                (&held["address"], &json!(pod.namespace.path()))
            );
            assert_eq!(
                ends[1].get("mtu"),
                (*version == "1.1.0" && release >= "v1.2").then_some(&json!(9001))
            );
            assert_eq!(result["ips"][0]["interface"], 1);
            assert_eq!(result["routes"].as_array().map(Vec::len), Some(2));
            assert!(!node.kernel().mentions(address_of(&result)).is_empty());
            if *version != "0.3.1" {
                // With what it kept of the result.
                call("check").ok();
            }
            call("del").ok();
            call("del").ok();
            assert_eq!(node.kernel().mentions(address_of(&result)), Vec::<String>::new());
        }
    }
    assert_eq!(node.pool("bound"), 0);
}

#[test]
fn c27_libcni_takes_the_highest_version_of_a_list_and_every_verb_works_there() {
    let Some(tool) = cnitool(NEWEST) else { return };
    let (lab, node, _daemon) = ready("c27");
    let mut list = conflist(&node, "1.0.0");
    list["cniVersions"] = json!(["0.3.1", "0.4.0", "1.0.0", "1.1.0"]);
    let place = Place::with(&node, lab.directory(), "list", &list);
    let pod = lab.pod();
    let call = |verb| place.cnitool(&tool, verb, NETWORK, &pod);
    call("status").ok();
    let result: Value = serde_json::from_str(&call("add").ok()).unwrap();
    assert_eq!(result["cniVersion"], "1.1.0");
    for verb in ["check", "status", "del", "status"] {
        call(verb).ok();
    }
}

#[test]
fn c61_c62_libcni_hears_that_no_add_can_be_served() {
    let Some(tool) = cnitool(NEWEST) else { return };
    let (lab, node, daemon) = ready("c61-libcni");
    let place = Place::with(&node, lab.directory(), "status", &conflist(&node, "1.1.0"));
    let pod = lab.pod();
    place.cnitool(&tool, "status", NETWORK, &pod).ok();
    drop(daemon);
    let ended = place.cnitool(&tool, "status", NETWORK, &pod);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.stderr.contains("the daemon is not running") && ended.stderr.contains("daemon-away"),
        "{ended:?}"
    );
}

#[test]
fn c69_c70_c76_gc_by_libcni_deletes_what_is_not_valid_and_enid_agrees() {
    let (Some(tool), Some(gc)) = (cnitool(NEWEST), gc_program()) else { return };
    let (lab, node, _daemon) = ready("c69");
    let place = Place::with(&node, lab.directory(), "gc", &conflist(&node, "1.1.0"));
    let pods = lab.pods(2);
    let results: Vec<Value> = pods
        .iter()
        .map(|pod| serde_json::from_str(&place.cnitool(&tool, "add", NETWORK, pod).ok()).unwrap())
        .collect();
    let cached = place.cached();
    let kept = cached.iter().find(|entry| entry["netns"] == json!(pods[0].namespace.path())).unwrap();
    let kept = format!("{}/{}", kept["containerId"].as_str().unwrap(), kept["ifName"].as_str().unwrap());

    // First its DELs of what it has kept and is not valid, then GC with both keys.
    place.gc(&gc, NETWORK, std::slice::from_ref(&kept)).ok();
    assert_eq!((node.pool("bound"), place.cached().len()), (1, 1));
    place.cnitool(&tool, "check", NETWORK, &pods[0]).ok();
    assert_eq!(node.kernel().mentions(address_of(&results[1])), Vec::<String>::new());
    place.gc(&gc, NETWORK, &[]).ok();
    assert_eq!((node.pool("bound"), place.cached().len()), (0, 0));
}

#[test]
fn c74_cnitool_s_gc_has_no_list_so_it_deletes_what_it_knows_and_nothing_else_goes() {
    let Some(tool) = cnitool(NEWEST) else { return };
    let (lab, node, _daemon) = ready("c74-libcni");
    let stranger = node.place(lab.pod());
    let place = Place::with(&node, lab.directory(), "gc", &conflist(&node, "1.1.0"));
    let pod = lab.pod();
    place.cnitool(&tool, "add", NETWORK, &pod).ok();
    assert_eq!(node.pool("bound"), 2);
    let ended = place.cnitool(&tool, "gc", NETWORK, &pod);
    // Its DELs were served; GC without a list is refused, since nothing was said about the others.
    assert_eq!((ended.code, place.cached()), (Some(1), Vec::new()), "{ended:?}");
    assert!(ended.stderr.contains("`cni.dev/valid-attachments` is missing"), "{ended:?}");
    assert_eq!(node.pool("bound"), 1);
    node.is_intact(&stranger);
}
