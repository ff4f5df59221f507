//! Who may open connections to pods when only the cluster may.

use e2e::lab::Lab;
use e2e::patience::wait_for;
use e2e::traffic::{all_reach_each_other, is_shut_out, listen, reaches};
use enid_vpc_lab::fabric::{OUTSIDE, OUTSIDE_V6};
use enid_vpc_lab::lab::landscape::Landscape;

use crate::{GROWTH, Running};

#[test]
fn only_the_cluster_opens_connections_to_pods_until_it_is_switched_off() {
    let lab = Lab::of("ingress", Landscape::standard().with_ipv6().with_neighbour());
    // A subnet that was never meant for pods: one that is taken from them may still have another node's.
    let others = lab.subnet("others-1a").id;
    lab.call(&format!("Action=DeleteTags&ResourceId.1={others}&Tag.1.Key=kubernetes.io%2Frole%2Fcni"));
    // Where the other node and its pods are.
    let there = lab.subnet("pods-1b");
    let [cidr, ipv6_cidr] = [there.cidr.to_string(), there.ipv6_cidr.unwrap().to_string()];
    let open = "ip_family = \"dual-stack\"";
    let closed = format!("{open}\ningress = \"cluster\"\ncluster_cidrs = [\"{cidr}\", \"{ipv6_cidr}\"]");
    let node = lab.m5();
    let settings = node.settings();
    let m5 = Running::start(node, &settings.clone().network(&closed));
    let t3 = lab.t3();
    let settings_there = t3.settings().network(open);
    let t3 = Running::start(t3, &settings_there);
    let (near, far) = (m5.pods(&lab, 10), t3.pods(&lab, 1));
    let (on_primary, on_further) = (&near[0], &near[9]);

    // The node, its pods, and those that are listed.
    all_reach_each_other(&[on_primary, on_further, &far[0]]);
    let kernel = m5.node.kernel();
    let counted =
        |table: &str| ["ingress-from-vpc", "ingress-from-outside"].map(|name| kernel.counted(table, name));
    assert_eq!((counted("ip enid"), counted("ip6 enid")), ([0, 0], [0, 0]));

    // The neighbour and the outside world.
    let (neighbour, inet) = (&lab.neighbour().namespace, &lab.beginning().inet_namespace);
    for placed in [on_primary, on_further] {
        let _mirrors =
            [listen(&placed.pod.namespace, placed.ipv4()), listen(&placed.pod.namespace, placed.ipv6())];
        for address in placed.addresses() {
            let table = if address.is_ipv4() { "ip enid" } else { "ip6 enid" };
            let before = counted(table);
            is_shut_out(neighbour, address);
            let [from_vpc, from_outside] = counted(table);
            assert!(from_vpc > before[0] && from_outside == before[1], "{address}");
            is_shut_out(inet, address);
            let now = counted(table);
            assert!(now[0] == from_vpc && now[1] > from_outside, "{address}");
        }
    }
    // What pods open is answered.
    let place = lab.neighbour();
    let _mirrors = [listen(neighbour, place.address), listen(neighbour, place.ipv6.unwrap())];
    let _outside = [listen(inet, OUTSIDE), listen(inet, OUTSIDE_V6)];
    for placed in [on_primary, on_further] {
        reaches(&placed.pod.namespace, place.address, placed.ipv4());
        reaches(&placed.pod.namespace, place.ipv6.unwrap(), placed.ipv6());
        reaches(&placed.pod.namespace, OUTSIDE, m5.node.place.address);
        reaches(&placed.pod.namespace, OUTSIDE_V6, placed.ipv6());
    }

    m5.node.configure(&settings.network(open));
    wait_for("it is open", GROWTH, || {
        let rules = kernel.ruleset();
        if rules.contains("ingress") { Err(rules) } else { Ok(()) }
    });
    for placed in [on_primary, on_further] {
        let _mirrors =
            [listen(&placed.pod.namespace, placed.ipv4()), listen(&placed.pod.namespace, placed.ipv6())];
        reaches(neighbour, placed.ipv4(), place.address);
        reaches(neighbour, placed.ipv6(), place.ipv6.unwrap());
    }
    m5.ends(&lab, &near);
    t3.ends(&lab, &far);
}
