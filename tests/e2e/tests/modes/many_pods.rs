//! Five hundred pods on one node, out of prefixes: each wired and reachable. Prints how long it took and what the
//! daemon has; `cargo xtask bench` is for judging that.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use e2e::lab::Lab;
use e2e::pod::{Placed, Pod};
use e2e::traffic::{listen, reaches};
use enid_vpc_lab::lab::landscape::{Dwelling, Landscape, Plot};

use crate::{Running, distinct, is_seen_outside};

const PODS: usize = 500;
/// As many as a kubelet starts at once.
const AT_ONCE: usize = 8;

/// ADDs, [`AT_ONCE`] at a time, in the order of `pods`.
fn place_at_once(m5: &Running, pods: &[Pod]) -> Vec<Placed> {
    let next = AtomicUsize::new(0);
    let mut placed: Vec<(usize, Placed)> = std::thread::scope(|scope| {
        let workers = (0..AT_ONCE).map(|_| {
            scope.spawn(|| {
                let mut placed = Vec::new();
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(pod) = pods.get(index) else { return placed };
                    placed.push((index, m5.node.place(pod.clone())));
                }
            })
        });
        let workers: Vec<_> = workers.collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    placed.sort_by_key(|(index, _)| *index);
    placed.into_iter().map(|(_, placed)| placed).collect()
}

#[test]
fn five_hundred_pods_are_wired_and_reachable() {
    let mut landscape = Landscape::large().with_instance_types(&["m5.16xlarge".to_owned()]);
    // In a subnet of its own: all nodes of a lab share the kernel's table of neighbours.
    let elsewhere = Plot::new("pods-1b", "eu-lab-1b", "10.0.2.0/24".parse().unwrap());
    landscape = landscape.with_subnet(elsewhere);
    landscape.nodes.push(Dwelling::new("node-t3", "t3.small", 1));
    let lab = Lab::of("many", landscape);
    let node = lab.m5();
    let settings = node.settings().pool("mode = \"prefix\"").max_pods(600).wait_secs(60);
    let minimum = format!("minimum_ip_target = {PODS}, warm_ip_target = 1");
    let m5 = Running::start(node, &settings.warm_pool("warm-targets", &minimum));
    m5.daemon.wait_for_status("a full pool", |status| status["pool"]["free"].as_u64() >= Some(PODS as u64));
    let idle = m5.daemon.resident_kib();
    let sandboxes = lab.pods(PODS);
    let begun = Instant::now();
    let pods = place_at_once(&m5, &sandboxes);
    let took = begun.elapsed();
    let full = m5.daemon.resident_kib();
    assert_eq!(distinct(&pods).len(), PODS);
    // No more than the last one is there for the address that is to be ready.
    let prefixes: usize = lab.enis_of(&m5.node).iter().map(|eni| eni.prefixes.len()).sum();
    assert!(prefixes * 16 >= PODS && prefixes <= PODS.div_ceil(16) + 1, "{prefixes} prefixes");

    // From the node itself, and from another one.
    let t3 = lab.t3();
    let begun = Instant::now();
    for placed in &pods {
        let _mirror = listen(&placed.pod.namespace, placed.ipv4());
        reaches(m5.node.namespace(), placed.ipv4(), m5.node.place.address);
        reaches(t3.namespace(), placed.ipv4(), t3.place.address);
    }
    let reached = begun.elapsed();
    is_seen_outside(&lab, &pods[PODS - 1], m5.node.place.address);
    let shown = |span: Duration| format!("{:.2} s", span.as_secs_f64());
    println!(
        "{PODS} pods, {AT_ONCE} at a time: wired in {}; all reached twice in {}; the daemon has {} MiB, {} MiB before",
        shown(took),
        shown(reached),
        full / 1024,
        idle / 1024
    );
    m5.ends(&lab, &pods);
}
