//! What the runtime tells kubelet of the network, who starts pods where it is ready.

use e2e::containerd::{Containerd, Release};
use e2e::patience::wait_for;

use crate::kubelet::{Kubelet, Wanted};
use crate::{PATIENCE, Running, lab};

with_either_containerd!(the_network_is_ready_once_the_conflist_is_there);

fn the_network_is_ready_once_the_conflist_is_there(release: &Release) {
    let lab = lab(release, "ready");
    let node = lab.m5();
    let daemon = node.start();
    let containerd = Containerd::start(release, &lab, &node);
    let kubelet = Kubelet::of(&containerd);
    let conditions = wait_for("the runtime is ready", PATIENCE, || match kubelet.conditions() {
        Ok(conditions) if conditions["RuntimeReady"].0 => Ok(conditions),
        other => Err(format!("{other:?}")),
    });
    assert!(!conditions["NetworkReady"].0, "{conditions:?}");
    containerd.connect(&node, &[]);
    kubelet.wait_until_ready();
    daemon.wait_until_ready();
    let running = Running { kubelet, containerd, daemon, node, lab };
    running.kubelet.start(&Wanted::pod("first"));
    assert_eq!(running.is_consistent().len(), 1);
    running.ends();
}

/// The one that asks STATUS.
#[test]
fn kubelet_hears_why_the_network_is_not_ready() {
    let Some(release) = Release::newer() else { return };
    let running = Running::up(&release, "status");
    running.kubelet.start(&Wanted::pod("before"));
    let Running { kubelet, containerd, daemon, node, lab } = running;
    assert!(daemon.terminate().success());
    let (is_ready, why) = kubelet.conditions().unwrap()["NetworkReady"].clone();
    assert!(!is_ready && why.contains("enid.sock"), "{why}");
    let daemon = node.start();
    kubelet.wait_until_ready();
    daemon.wait_until_ready();
    let running = Running { kubelet, containerd, daemon, node, lab };
    running.kubelet.start(&Wanted::pod("after"));
    assert_eq!(running.is_consistent().len(), 2);
    running.ends();
}
