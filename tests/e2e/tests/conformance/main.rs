//! What CNI obliges a plugin to, as far as it takes a real daemon and a kernel.
//!
//! A test's name begins with the numbers of its obligations; `tests/tidy/tests/obligations.rs` has them all. Those that the
//! plugin meets by itself are in `host/plugin/tests/conformance`.
//!
//! Map: `add`, `del`, `check`, `status` and `gc` verb by verb · `chain` with other plugins in one list · `cnitool` through
//! libcni.
#![expect(clippy::unwrap_used, reason = "a test that cannot arrange its world fails")]

mod add;
mod chain;
mod check;
mod cnitool;
mod del;
mod gc;
mod status;

use std::net::Ipv4Addr;
use std::time::Duration;

use e2e::lab::ready;
use e2e::node::Node;
use e2e::patience::wait_until_true;
use e2e::plugin::{Call, CniFailure};
use e2e::pod::Pod;
use serde_json::{Value, json};

/// How long the kernel may take to make a link disappear after DEL was answered.
const LINK_END: Duration = Duration::from_secs(5);
/// An ENI takes some seconds to come in the lab, and a call to EC2 that is not answered some more to be given up.
const GROWTH: Duration = Duration::from_secs(40);
/// Where EC2 is in the lab.
const EC2: &str = "10.0.0.2";

/// STATUS as kubelet's runtime asks it.
fn status(node: &Node, pod: &Pod) -> Call {
    Call::new("STATUS", node, pod).with("cniVersion", "1.1.0")
}

/// GC that leaves alone what is listed.
fn gc(node: &Node, pod: &Pod, valid: &[&Pod]) -> Call {
    let valid: Vec<Value> =
        valid.iter().map(|pod| json!({ "containerID": pod.container, "ifname": "eth0" })).collect();
    Call::new("GC", node, pod).with("cniVersion", "1.1.0").with("cni.dev/valid-attachments", valid)
}

/// The `reason` in an error's details.
#[track_caller]
fn reason(failure: &CniFailure) -> String {
    let details: Value =
        serde_json::from_str(&failure.details).unwrap_or_else(|why| panic!("{failure:?}: {why}"));
    details["reason"].as_str().unwrap_or_else(|| panic!("no reason in {failure:?}")).to_owned()
}

#[track_caller]
fn nothing_is_left_of(node: &Node, pod: &Pod, address: Ipv4Addr) {
    assert_eq!(node.kernel().mentions(address), Vec::<String>::new());
    wait_until_true("the host veth is gone", LINK_END, || node.kernel().link(&pod.host_veth()).is_none());
}
