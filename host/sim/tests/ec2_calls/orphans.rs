//! ENIs that were created for pods and have no instance, as a node sees them; and the log of what was asked.

use enid_core::cloud::{NewEni, Supply};
use enid_core::ids::EniId;
use enid_core::time::Timestamp;
use enid_core::wiring::Seat;
use enid_sim::ec2::call::{Call, Made};
use enid_sim::ec2::throttle::{Bucket, Rate, Throttling};

use crate::world::{T0, World};

const INSTANCE: &str = "node.k8s.amazonaws.com/instance_id";
const CLUSTER: &str = "cluster.k8s.amazonaws.com/name";
const CREATED: &str = "node.k8s.amazonaws.com/createdAt";

fn created(world: &mut World, description: &str, tags: &[(&str, &str)]) -> EniId {
    let new = NewEni {
        subnet: world.wide.clone(),
        security_groups: Vec::new(),
        supply: Supply::Addresses(1),
        description: description.to_owned(),
        tags: tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        client_token: String::new(),
    };
    let node = world.node.clone();
    world.ec2.node_view(&node, T0).create_eni(&new).unwrap().id
}

#[test]
fn orphans_are_the_clusters_or_else_the_instances() {
    let mut world = World::new();
    let node = world.node.clone();
    let own = node.to_string();
    let ours = created(
        &mut world,
        "aws-K8S-x",
        &[(INSTANCE, &own), (CLUSTER, "blue"), (CREATED, "1970-01-02T00:00:00Z")],
    );
    let dead = created(&mut world, "aws-K8S-y", &[(INSTANCE, "i-0dead"), (CLUSTER, "blue")]);
    for (description, tags) in [
        ("aws-K8S-z", vec![(INSTANCE, "i-0dead"), (CLUSTER, "green")]),
        ("database", vec![(INSTANCE, "i-0dead"), (CLUSTER, "blue")]),
        ("aws-K8S-z", vec![(CLUSTER, "blue")]),
        ("aws-K8S-z", vec![(INSTANCE, "node seven"), (CLUSTER, "blue")]),
        (
            "aws-K8S-z",
            vec![(INSTANCE, "i-0dead"), (CLUSTER, "blue"), ("node.k8s.amazonaws.com/no_manage", "true")],
        ),
    ] {
        created(&mut world, description, &tags);
    }
    let attached = created(&mut world, "aws-K8S-x", &[(INSTANCE, &own), (CLUSTER, "blue")]);
    let mut view = world.ec2.node_view(&node, T0);
    let me = view.identity().unwrap();
    view.attach_eni(&me, &attached, Seat { card: 0, device: 1 }).unwrap();

    let mut found = view.orphans(&me, Some("blue")).unwrap();
    found.sort_by_key(|orphan| orphan.instance == node);
    let found: Vec<_> = found.into_iter().map(|orphan| (orphan.id, orphan.created)).collect();
    assert_eq!(found, [(dead, None), (ours.clone(), Some(Timestamp(86_400_000)))]);
    let found: Vec<_> = view.orphans(&me, None).unwrap().into_iter().map(|orphan| orphan.id).collect();
    assert_eq!(found, [ours]);
}

#[test]
fn the_log_tells_which_calls_were_made_and_which_were_throttled() {
    let mut world = World::new();
    let eni = world.eni();
    assert_eq!(world.ec2.log(), [], "nothing is kept that nobody asked for");
    let scarce = Rate { burst: 1, per_second: 1 };
    world.ec2.set_throttling(Throttling::Custom([(Bucket::DeleteNetworkInterface, scarce)].into()));
    world.ec2.keep_log();
    world.ec2.delete_network_interface(T0, &eni).unwrap();
    world.ec2.delete_network_interface(T0, &eni).unwrap_err();
    let made = |throttled| Made { at: T0, call: Call::DeleteNetworkInterface, throttled };
    assert_eq!(world.ec2.log(), [made(false), made(true)]);
    assert_eq!(world.ec2.log(), [], "each is told once");
}
