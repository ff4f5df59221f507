//! Nothing is given back on one view's word.

use std::net::Ipv4Addr;

use enid_core::ids::EniId;
use enid_core::node::Config;
use enid_core::wiring::{PodLink, PodWiring};
use enid_sim::ec2::call::Call;
use simulation::{Knobs, a_node, add_settled};

use super::*;

/// Somebody else's pod on an address.
fn foreign(address: IpAddr) -> PodWiring {
    let first = PodLink {
        host_veth: "enistranger".parse().expect("a name"),
        ifname: "eth0".parse().expect("a name"),
        address,
        table: 254,
        mtu: 9001,
        second: None,
    };
    PodWiring { first, further: Vec::new() }
}

fn free_addresses(node: &SimNode<Knobs>) -> Vec<IpAddr> {
    let addresses = node.state().addresses(node.now());
    addresses.into_iter().filter(|lease| lease.state == "free").map(|lease| lease.address).collect()
}

#[test]
fn an_address_that_the_kernel_routes_to_a_stranger_serves_nobody_and_stays() {
    let generous = Knobs { warm_ip: 8, ..LEAN };
    let mut node = a_node("m5.large", generous, Config::default());
    let used = free_addresses(&node)[3];
    node.kernel.add_foreign(foreign(used));
    node.replace_strategist(LEAN);
    node.pass(minutes(10));
    assert_eq!(state_of(&node, used), "quarantined");
    assert_eq!(node.state().status(node.now()).quarantined[0].address, used);
    // Everything else that was too much has gone, but nothing of the ENI as a whole.
    assert_eq!(node.state().status(node.now()).pool.free, 1);

    node.kernel.pods.remove(&used);
    node.pass(minutes(10));
    let pool = node.state().status(node.now()).pool;
    assert_eq!((pool.quarantined, pool.free), (0, 1), "once nobody uses it, it counts again");
}

/// A node with two ENIs, the second, and an address of it.
fn two_enis() -> (SimNode<Knobs>, EniId, Ipv4Addr) {
    let node = a_node("m5.large", Knobs { warm_eni: 2, ..Knobs::default() }, Config::default());
    let second = node.state().status(node.now()).enis[1].id.clone();
    let here = node.ec2.interfaces().find(|eni| eni.id == second).expect("it is in EC2");
    let address = here.addresses().nth(1).expect("it has two");
    (node, second, address)
}

#[test]
fn an_eni_with_a_strangers_pod_is_not_detached() {
    let (mut node, second, used) = two_enis();
    node.kernel.add_foreign(foreign(used.into()));
    node.replace_strategist(LEAN);
    node.pass(minutes(20));
    assert!(node.state().eni(&second).is_some());
    assert!(node.ec2.interfaces().any(|eni| eni.id == second && eni.attachment.is_some()));
    assert_eq!(state_of(&node, used.into()), "quarantined");
}

#[test]
fn an_eni_is_not_detached_for_a_stranger_whose_address_ec2_does_not_list() {
    let (mut node, second, used) = two_enis();
    node.kernel.add_foreign(foreign(used.into()));
    let (now, instance) = (node.now(), node.instance().clone());
    let taken = simulation::safety::singly(used.into());
    node.ec2.node_view(&instance, now).unassign(&second, &taken).expect("EC2 takes it");
    node.pass(minutes(5));
    assert_eq!(state_of(&node, used.into()), "gone");
    node.replace_strategist(LEAN);
    node.pass(minutes(20));
    assert!(node.state().eni(&second).is_some());
    assert!(node.ec2.interfaces().any(|eni| eni.id == second && eni.attachment.is_some()));

    node.kernel.pods.remove(&used.into());
    node.pass(minutes(20));
    assert!(node.ec2.interfaces().all(|eni| eni.id != second), "once nobody uses it, it goes");
}

#[test]
fn nothing_is_given_back_while_the_kernel_cannot_be_looked_at() {
    let mut node = a_node("m5.large", Knobs { warm_ip: 8, ..LEAN }, Config::default());
    node.kernel.refuse_looks = u32::MAX;
    // What was seen before is believed for two minutes.
    node.pass(minutes(3));
    node.replace_strategist(LEAN);
    node.pass(minutes(10));
    assert_eq!(node.state().status(node.now()).pool.free, 8);
    node.kernel.refuse_looks = 0;
    node.pass(minutes(5));
    assert_eq!(node.state().status(node.now()).pool.free, 1);
}

#[test]
fn nothing_is_given_back_while_ec2_cannot_be_asked_what_there_is() {
    let mut node = a_node("m5.large", Knobs { warm_ip: 8, ..LEAN }, Config::default());
    node.ec2.deny(Call::DescribeNetworkInterfaces);
    node.pass(minutes(3));
    node.replace_strategist(LEAN);
    node.pass(minutes(10));
    assert_eq!(node.state().status(node.now()).pool.free, 8);
    node.ec2.permit(Call::DescribeNetworkInterfaces);
    node.pass(minutes(5));
    assert_eq!(node.state().status(node.now()).pool.free, 1);
}

#[test]
fn no_pod_is_served_before_the_kernel_has_been_seen() {
    let mut node = a_node("m5.large", Knobs { warm_ip: 3, ..LEAN }, Config::default());
    // A pod that the journal has lost, on the address that the next pod would get.
    for address in free_addresses(&node) {
        let mut wiring = foreign(address);
        wiring.first.host_veth = format!("eni{}", node.kernel.pods.len()).parse().unwrap();
        node.kernel.add_foreign(wiring);
    }
    node.crash_and_restart();
    let address = add_settled(&mut node, "a").expect("another address comes");
    assert_eq!(node.kernel.outrages, Vec::<String>::new());
    assert_eq!(state_of(&node, address), "bound");
    assert_eq!(node.state().status(node.now()).pool.quarantined, 3);
}
