//! ENIs that nobody owns any more.

use std::collections::BTreeMap;

use enid_core::cloud::{NewEni, Supply};
use enid_core::node::Config;
use enid_core::time::Timestamp;
use simulation::{Knobs, a_node};

use super::*;

/// An ENI as a node of `cluster` makes it before it attaches it, and then dies.
fn leave_behind(
    node: &mut SimNode<Knobs>,
    cluster: &str,
    instance: &str,
    created: Option<Timestamp>,
) -> String {
    let mut tags = vec![
        ("node.k8s.amazonaws.com/instance_id".to_owned(), instance.to_owned()),
        ("cluster.k8s.amazonaws.com/name".to_owned(), cluster.to_owned()),
    ];
    tags.extend(created.map(|at| ("node.k8s.amazonaws.com/createdAt".to_owned(), at.rfc3339())));
    let new = NewEni {
        subnet: node.state().identity().subnet.clone(),
        security_groups: node.state().identity().security_groups.clone(),
        supply: Supply::Addresses(1),
        description: format!("aws-K8S-{instance}"),
        tags,
        client_token: format!("{cluster}-{instance}-{created:?}"),
    };
    let (instance, now) = (node.instance().clone(), node.now());
    node.ec2.node_view(&instance, now).create_eni(&new).expect("an ENI").id.to_string()
}

fn exists(node: &SimNode<Knobs>, id: &str) -> bool {
    node.ec2.interfaces().any(|eni| eni.id.as_str() == id)
}

fn of_cluster(name: &str) -> Config {
    Config { cluster: Some(name.to_owned()), ..Config::default() }
}

#[test]
fn orphans_of_the_cluster_are_deleted_when_they_are_old_enough_and_nobody_elses() {
    let mut node = a_node("m5.large", LEAN, of_cluster("ours"));
    let now = node.now();
    let old = leave_behind(&mut node, "ours", "i-0dead", Some(now - minutes(60)));
    let undated = leave_behind(&mut node, "ours", "i-0undated", None);
    let young = leave_behind(&mut node, "ours", "i-0young", Some(now + minutes(40)));
    let theirs = leave_behind(&mut node, "theirs", "i-0dead", Some(now - minutes(60)));
    node.pass(minutes(14));
    assert!(exists(&node, &old), "its tag says that it is old, and tags are another clock's word");
    node.pass(minutes(22));
    assert_eq!(
        [&old, &young, &theirs].map(|id| exists(&node, id)),
        [false, true, true],
        "{:?}",
        node.state().status(node.now()).swept
    );
    node.pass(minutes(60));
    assert!(!exists(&node, &undated), "seen unattached for long enough");
    assert!(!exists(&node, &young), "it is old enough now");
    assert!(exists(&node, &theirs));
    assert_eq!(node.state().status(node.now()).swept, 3);
}

#[test]
fn without_a_clusters_name_only_what_this_instance_left_behind_is_deleted() {
    let mut node = a_node("m5.large", LEAN, Config::default());
    let now = node.now();
    let own = node.instance().to_string();
    let mine = leave_behind(&mut node, "none", &own, Some(now - minutes(60)));
    let other = leave_behind(&mut node, "none", "i-0other", Some(now - minutes(60)));
    node.pass(minutes(40));
    assert_eq!((exists(&node, &mine), exists(&node, &other)), (false, true));
}

#[test]
fn one_nodes_share_of_the_sweeps_shrinks_with_the_cluster() {
    let sweeps = |nodes: u32| {
        let mut config = of_cluster("ours");
        config.budget.nodes = nodes;
        let mut node = a_node("m5.large", LEAN, config);
        node.ec2.keep_log();
        node.pass(minutes(60 * 20));
        let mut by_filter: BTreeMap<String, u64> = BTreeMap::new();
        for made in node.ec2.log() {
            *by_filter.entry(made.call.to_string()).or_default() += 1;
        }
        by_filter["DescribeNetworkInterfaces"]
    };
    // The node looks at its own every minute; what comes on top are the sweeps.
    let (alone, of_thirty) = (sweeps(1), sweeps(30));
    assert!((100..=125).contains(&(alone - of_thirty)), "{alone} and {of_thirty} looks in 20 hours");
}
