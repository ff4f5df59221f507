//! Sandboxes that cannot be: what was done for them is undone, and kubelet is told why.

use e2e::containerd::{BROKEN, FAILING, Release};
use e2e::settings::Settings;
use serde_json::{Value, json};

use crate::Running;
use crate::kubelet::Wanted;

with_either_containerd!(
    a_sandbox_that_fails_after_its_add_is_rolled_back,
    an_add_is_taken_back_when_a_later_plugin_fails,
    kubelet_is_told_the_typed_reason_of_a_refusal,
);

fn a_sandbox_that_fails_after_its_add_is_rolled_back(release: &Release) {
    // The runtime cannot start what would live in the network that is there already.
    let running = Running::up(release, "broken");
    let failed = running.kubelet.run(&Wanted::pod("headless").by(BROKEN)).unwrap_err();
    assert!(!failed.message.contains("enid"), "{failed:?}");
    running.is_empty();
    // It had an address, and gave it back.
    running.daemon.wait_for_pool(&[("bound", 0), ("cooling", 1)]);
    running.ends();
}

fn an_add_is_taken_back_when_a_later_plugin_fails(release: &Release) {
    let running = Running::with(release, "chain", Clone::clone, &[json!({ "type": FAILING })]);
    let failed = running.kubelet.run(&Wanted::pod("unlucky")).unwrap_err();
    assert!(failed.message.contains("out of order"), "{failed:?}");
    running.is_empty();
    running.daemon.wait_for_pool(&[("bound", 0), ("cooling", 1)]);
    running.ends();
}

fn kubelet_is_told_the_typed_reason_of_a_refusal(release: &Release) {
    let few = |usual: &Settings| {
        let none_to_spare = "warm_ip_target = 1, minimum_ip_target = 0";
        usual.clone().max_pods(2).wait_secs(1).warm_pool("warm-targets", none_to_spare)
    };
    let running = Running::with(release, "refused", few, &[]);
    running.kubelet.bring_in_sync(&Wanted::pods("first", 2));
    let failed = running.kubelet.run(&Wanted::pod("third")).unwrap_err();
    let details = failed.message.find('{').map(|start| &failed.message[start..]);
    let reason =
        details.and_then(|text| serde_json::Deserializer::from_str(text).into_iter::<Value>().next());
    let reason = reason.unwrap_or_else(|| panic!("no details in {failed:?}")).unwrap();
    assert_eq!(reason, json!({ "reason": "max-pods", "max_pods": 2 }), "{failed:?}");
    assert_eq!(running.is_consistent().len(), 2);
    running.ends();
}
