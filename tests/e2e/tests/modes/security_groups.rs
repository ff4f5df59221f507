//! Security groups of the ENIs that the daemon creates: the primary's, or configured ones, also when they change.

use std::collections::BTreeSet;
use std::time::Duration;

use e2e::lab::Lab;
use e2e::patience::wait_for;
use enid_vpc_lab::lab::landscape::Landscape;

use crate::{GROWTH, NEXT_LOOK, Running};

/// Waits until every ENI of the node but the primary is behind exactly this group.
#[track_caller]
fn all_are_behind(lab: &Lab, running: &Running, group: &str, span: Duration) {
    let wanted: BTreeSet<String> = [group.to_owned()].into();
    wait_for("the ENIs follow", span, || {
        let enis = lab.enis_of(&running.node);
        let behind: Vec<BTreeSet<String>> = enis[1..].iter().map(|eni| lab.groups_of(&eni.id)).collect();
        if !behind.is_empty() && behind.iter().all(|groups| *groups == wanted) {
            Ok(())
        } else {
            Err(format!("{behind:?} instead of {wanted:?}"))
        }
    });
}

#[test]
fn enis_follow_the_primarys_groups_and_then_the_operators() {
    let landscape = Landscape::standard().with_security_group("apps").with_security_group("mail");
    let lab = Lab::of("groups", landscape);
    let group = |name: &str| lab.beginning().security_groups[name].to_string();
    let node = lab.m5();
    let settings = node.settings();
    let m5 = Running::start(node, &settings);
    let pods = m5.pods(&lab, 10);
    m5.daemon.wait_for_pool(&[("bound", 10)]);
    let primary = lab.enis_of(&m5.node)[0].id.clone();
    let [before] = Vec::from_iter(lab.groups_of(&primary)).try_into().unwrap();
    all_are_behind(&lab, &m5, &before, GROWTH);

    let apps = group("apps");
    lab.call(&format!(
        "Action=ModifyNetworkInterfaceAttribute&NetworkInterfaceId={primary}&SecurityGroupId.1={apps}"
    ));
    all_are_behind(&lab, &m5, &apps, NEXT_LOOK);
    // Configured ones come first, at once; without them the primary's hold again.
    let mail = group("mail");
    m5.node.configure(&settings.clone().pool(&format!("security_groups = [\"{mail}\"]")));
    all_are_behind(&lab, &m5, &mail, GROWTH);
    assert_eq!(lab.groups_of(&primary), [apps.clone()].into(), "the node's own ENI stays as it is");
    m5.node.configure(&settings);
    all_are_behind(&lab, &m5, &apps, GROWTH);
    m5.ends(&lab, &pods);
}
