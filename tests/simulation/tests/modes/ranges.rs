//! What the kernel is told about the node follows the VPC and the node's ENIs.

use enid_core::node::KernelConfig;
use enid_core::wiring::Ingress;
use simulation::expect_converged;

use super::*;

fn told(node: &Node) -> Vec<String> {
    let wiring = node.kernel.node.as_ref().expect("the kernel has been told");
    wiring.vpc_cidrs.iter().map(ToString::to_string).collect()
}

#[test]
fn a_secondary_range_reaches_the_kernel_within_a_minute() {
    let mut node = Region::of("t3.small").settled(Config::default(), ready(1));
    assert_eq!(told(&node), ["10.0.0.0/16"]);
    let vpc = node.state().identity().vpc.clone();
    node.ec2.add_vpc_cidr(&vpc, "100.64.0.0/16".parse().expect("a range")).expect("room");
    node.pass(secs(60));
    assert_eq!(told(&node), ["10.0.0.0/16", "100.64.0.0/16"]);
    expect_converged(&mut node);
    node.crash_and_restart();
    node.pass(secs(5));
    assert_eq!(told(&node), ["10.0.0.0/16", "100.64.0.0/16"]);
}

#[test]
fn what_the_kernel_refuses_is_told_again() {
    let mut node = Region::of("t3.small").settled(Config::default(), ready(1));
    let vpc = node.state().identity().vpc.clone();
    node.kernel.refuse_node = 3;
    node.ec2.add_vpc_cidr(&vpc, "100.64.0.0/16".parse().expect("a range")).expect("room");
    node.pass(secs(60));
    assert_eq!(node.kernel.refuse_node, 0);
    assert_eq!(told(&node), ["10.0.0.0/16", "100.64.0.0/16"]);
    fill(&mut node, "pod", 2);
    expect_converged(&mut node);
}

#[test]
fn those_who_may_reach_pods_are_in_the_subnets_that_pods_may_be_in() {
    let listed = "192.168.7.0/24".parse().expect("a range");
    let kernel = KernelConfig { ingress: Some(vec![listed]), ..KernelConfig::default() };
    let mut region = Region::of("t3.small");
    let role = |value: &str| [("kubernetes.io/role/cni".to_owned(), value.to_owned())].into();
    region.subnet("10.0.64.0/20", &[("kubernetes.io/role/cni", "1")]);
    let late = region.subnet("10.0.80.0/20", &[]);
    let mut node = region.settled(Config { kernel, ..Config::default() }, ready(1));
    let written = |ingress: &Ingress| match ingress {
        Ingress::Open => panic!("it is open"),
        Ingress::Cluster { sources } => sources.iter().map(ToString::to_string).collect::<Vec<_>>(),
    };
    let sources = |node: &Node| written(&node.kernel.node.as_ref().expect("told").ingress);
    assert_eq!(sources(&node), ["10.0.0.0/20", "10.0.64.0/20", "192.168.7.0/24"]);
    let now = node.now();
    node.ec2.create_tags(now, &[late.to_string()], &role("1")).expect("a subnet");
    node.pass(secs(400));
    assert_eq!(sources(&node), ["10.0.0.0/20", "10.0.64.0/20", "10.0.80.0/20", "192.168.7.0/24"]);
    // A daemon that starts tells the kernel before EC2 has answered.
    node.crash_and_restart();
    let told_at_start = written(&node.state().node_wiring().ingress);
    assert_eq!(told_at_start, ["10.0.0.0/20", "10.0.64.0/20", "10.0.80.0/20", "192.168.7.0/24"]);
    let now = node.now();
    node.ec2.create_tags(now, &[late.to_string()], &role("0")).expect("a subnet");
    node.pass(secs(400));
    // It takes no new pods, and those of other nodes may still be there.
    assert_eq!(sources(&node), ["10.0.0.0/20", "10.0.64.0/20", "10.0.80.0/20", "192.168.7.0/24"]);
    expect_converged(&mut node);
}

#[test]
fn settings_of_the_kernel_take_effect_without_a_restart() {
    let mut node = Region::of("t3.small").settled(Config::default(), ready(1));
    fill(&mut node, "pod", 1);
    let kernel = KernelConfig { snat: None, node_port: false, ..KernelConfig::default() };
    node.reconfigure(Config { kernel, ..Config::default() });
    node.pass(secs(1));
    let wiring = node.kernel.node.clone().expect("told");
    assert_eq!((wiring.snat, wiring.node_port), (None, false));
    settle(&mut node);
    expect_converged(&mut node);
}
