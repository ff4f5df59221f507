//! enid first in a list of plugins, with Debian's `tuning`, `bandwidth` and `portmap` after it: C36, C51.
//!
//! The list is driven here as a runtime does it: ADD in order, each with the result of the one before; CHECK in order; DEL in
//! reverse, which stops at the first error.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use e2e::lab::Lab;
use e2e::libcni::{NEWEST, OTHER_PLUGINS, Place, cnitool, only_iptables};
use e2e::node::Node;
use e2e::plugin::{Call, NETWORK};
use e2e::pod::{Pod, address_of};
use e2e::program::{Ended, spawned};
use e2e::traffic::{PORT, listen};
use enid_vpc_lab::probe;
use serde_json::{Value, json};

use crate::{nothing_is_left_of, ready};

/// The port of the node behind which the pod is.
const HOST_PORT: u16 = 8080;
/// What `tuning` sets in the pod: a number that nobody else would.
const SOMAXCONN: &str = "517";
/// A packet on one machine takes microseconds; the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(3);

/// The list, as it is in a conflist.
fn plugins(node: &Node, within: &Path) -> Value {
    json!([
        { "type": "enid-cni", "socket": node.socket() },
        { "type": "tuning", "sysctl": { "net.core.somaxconn": SOMAXCONN }, "dataDir": within.join("tuning") },
        { "type": "bandwidth", "capabilities": { "bandwidth": true } },
        { "type": "portmap", "capabilities": { "portMappings": true } },
    ])
}

/// What the runtime provides for the capabilities.
fn provided() -> Value {
    let rate = 800_000_000;
    json!({
        "bandwidth": { "ingressRate": rate, "ingressBurst": rate, "egressRate": rate, "egressBurst": rate },
        "portMappings": [{ "hostPort": HOST_PORT, "containerPort": PORT, "protocol": "tcp" }],
    })
}

/// A runtime with the list, for one pod.
struct Chain<'a> {
    node: &'a Node,
    pod: &'a Pod,
    plugins: Vec<Value>,
    path: PathBuf,
}

impl<'a> Chain<'a> {
    fn new(lab: &Lab, node: &'a Node, pod: &'a Pod) -> Self {
        let plugins = plugins(node, lab.directory()).as_array().unwrap().clone();
        Self { node, pod, plugins, path: only_iptables(lab.directory()) }
    }

    /// One plugin's configuration as the spec derives it from the list.
    fn config(&self, plugin: &Value, previous: Option<&Value>) -> Value {
        let mut config = plugin.clone();
        let declared = config.as_object_mut().unwrap().remove("capabilities").unwrap_or_default();
        for (capability, value) in provided().as_object().unwrap() {
            if declared[capability] == true {
                config["runtimeConfig"][capability] = value.clone();
            }
        }
        (config["cniVersion"], config["name"]) = (json!("1.0.0"), json!(NETWORK));
        if let Some(previous) = previous {
            config["prevResult"] = previous.clone();
        }
        config
    }

    fn run(&self, verb: &str, plugin: &Value, previous: Option<&Value>) -> Ended {
        if plugin["type"] == "enid-cni" {
            let config = self.config(plugin, previous).to_string();
            return Call::new(verb, self.node, self.pod).stdin(config.as_bytes()).run(self.node);
        }
        let program = Path::new(OTHER_PLUGINS).join(plugin["type"].as_str().unwrap());
        let exec = || {
            let mut command = Command::new(&program);
            command
                .env_clear()
                .env("PATH", &self.path)
                .env("CNI_PATH", OTHER_PLUGINS)
                .env("CNI_IFNAME", "eth0");
            command.env("CNI_COMMAND", verb).env("CNI_CONTAINERID", &self.pod.container);
            command.env("CNI_NETNS", self.pod.namespace.path());
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = spawned(&mut command);
            let _refused =
                child.stdin.take().unwrap().write_all(self.config(plugin, previous).to_string().as_bytes());
            child.wait_with_output().unwrap()
        };
        self.node.namespace().inside(exec).unwrap().into()
    }

    /// ADD of each in order; the result of the last.
    #[track_caller]
    fn add(&self) -> Value {
        let add = |previous: Option<Value>, plugin: &Value| {
            let printed = self.run("ADD", plugin, previous.as_ref()).ok();
            Some(serde_json::from_str(&printed).unwrap_or_else(|why| panic!("{plugin}: {why}: {printed}")))
        };
        self.plugins.iter().fold(None, add).unwrap()
    }

    /// CHECK of each in order.
    fn check(&self, result: &Value) -> Result<(), Ended> {
        self.each("CHECK", self.plugins.iter(), result)
    }

    /// DEL of each in reverse.
    fn del(&self, result: &Value) -> Result<(), Ended> {
        self.each("DEL", self.plugins.iter().rev(), result)
    }

    fn each<'p>(
        &self,
        verb: &str,
        plugins: impl Iterator<Item = &'p Value>,
        result: &Value,
    ) -> Result<(), Ended> {
        for plugin in plugins {
            let ended = self.run(verb, plugin, Some(result));
            if ended.code != Some(0) {
                return Err(ended);
            }
        }
        Ok(())
    }
}

/// All plugins have done their work for the pod.
#[track_caller]
fn all_have_worked(lab: &Lab, node: &Node, pod: &Pod, result: &Value) {
    let somaxconn =
        pod.namespace.inside(|| fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap()).unwrap();
    assert_eq!(somaxconn.trim(), SOMAXCONN);
    assert_eq!(node.kernel().link(&pod.host_veth()).unwrap()["qdisc"], "tbf");
    let interfaces = result["interfaces"].as_array().unwrap();
    let names: Vec<&str> = interfaces.iter().map(|interface| interface["name"].as_str().unwrap()).collect();
    assert_eq!(names[..2], [pod.host_veth().as_str(), "eth0"], "enid's come first, and stay");

    let address = address_of(result);
    let _mirror = listen(&pod.namespace, address);
    let other = node.place(lab.pod());
    let target = SocketAddr::new(node.place.address.into(), HOST_PORT);
    let seen = probe::connect(&other.pod.namespace, target, PATIENCE);
    seen.unwrap_or_else(|why| panic!("{} → {target} → {address}: {why}", other.pod.name));
    node.del(&other.pod);
}

/// The rules of `portmap` and the links of `bandwidth` that there are.
fn of_others(node: &Node, pod: &Pod) -> Vec<String> {
    let ruleset = node.kernel().ruleset();
    let rules = ruleset
        .lines()
        .filter(|line| line.contains(&HOST_PORT.to_string()))
        .map(|line| line.trim().to_owned());
    let shapers =
        node.kernel().ip(&["link"]).into_iter().filter_map(|link| link["ifname"].as_str().map(str::to_owned));
    let own = pod.host_veth();
    rules.chain(shapers.filter(|name| name.starts_with("bwp") && *name != own)).collect()
}

#[test]
fn c36_three_other_plugins_work_after_enid_and_check_finds_all_of_them_well() {
    let (lab, node, _daemon) = ready("c36");
    let pod = lab.pod();
    let chain = Chain::new(&lab, &node, &pod);
    let result = chain.add();
    chain.check(&result).unwrap();
    all_have_worked(&lab, &node, &pod, &result);
    assert!(!of_others(&node, &pod).is_empty());
    // enid's own CHECK takes no notice of what is not its own, and notices what is.
    let before = pod.kernel().picture();
    pod.kernel().change(&["route del default".to_owned()]);
    match chain.check(&result) {
        Err(ended) => assert!(ended.stdout.contains("\"code\":101"), "{ended:?}"),
        Ok(()) => assert_eq!(pod.kernel().picture(), before, "CHECK is content before it was mended"),
    }

    chain.del(&result).unwrap();
    assert_eq!(of_others(&node, &pod), Vec::<String>::new());
    nothing_is_left_of(&node, &pod, address_of(&result));
    chain.del(&result).unwrap();
}

#[test]
fn c51_enid_s_del_stops_no_chain_also_without_a_daemon() {
    let (lab, node, daemon) = ready("c51");
    let pod = lab.pod();
    // Last in the list, so that its DEL comes first and the others' cleanup depends on it.
    let mut chain = Chain::new(&lab, &node, &pod);
    let result = chain.add();
    chain.plugins.rotate_left(1);
    daemon.kill();
    chain.del(&result).unwrap();
    assert_eq!(of_others(&node, &pod), Vec::<String>::new());
    let daemon = node.start();
    daemon.wait_for_pool(&[("bound", 0)]);
    nothing_is_left_of(&node, &pod, address_of(&result));
}

#[test]
fn the_same_list_works_through_libcni() {
    let Some(tool) = cnitool(NEWEST) else { return };
    let (lab, node, _daemon) = ready("chain-cnitool");
    let pod = lab.pod();
    let conflist =
        json!({ "cniVersion": "1.0.0", "name": NETWORK, "plugins": plugins(&node, lab.directory()) });
    let place = Place::with(&node, lab.directory(), "chain", &conflist).path(only_iptables(lab.directory()));
    let call = |verb| place.cnitool_with(&tool, verb, NETWORK, &pod, &provided());
    let result: Value = serde_json::from_str(&call("add").ok()).unwrap();
    call("check").ok();
    assert_eq!(pod.kernel().link("eth0").unwrap()["address"], result["interfaces"][1]["mac"]);
    assert!(!of_others(&node, &pod).is_empty());
    call("del").ok();
    assert_eq!(of_others(&node, &pod), Vec::<String>::new());
    assert_eq!((node.pool("bound"), place.cached()), (0, Vec::new()));
}
