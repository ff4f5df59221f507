//! Who reaches whom, and as whom: the checks that send packets.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use anyhow::{Context, Result};
use enid_vpc_lab::fabric::OUTSIDE;
use enid_vpc_lab::namespace::NetNs;
use enid_vpc_lab::probe::{self, Mailbox, Mirror};

use super::ledger::Ledger;
use super::patience::wait_for;
use super::world::World;

/// Where every listener of the demo listens.
const PORT: u16 = 7000;
/// Where the target of made-up packets listens.
const MAILBOX_PORT: u16 = 7001;
/// How long a packet may take on one machine before it counts as lost.
const PATIENCE: Duration = Duration::from_millis(1000);
/// How long a packet that must not arrive gets to arrive.
const SILENCE: Duration = Duration::from_millis(100);
/// Failed paths after which a kind of path is given up: each costs the whole patience.
const ENOUGH: usize = 3;

/// One path: from inside a namespace to an address, to be seen there as `seen_as`.
struct Path<'w> {
    label: String,
    from: &'w NetNs,
    to: Ipv4Addr,
    seen_as: Ipv4Addr,
}

/// All kinds of paths.
pub(super) fn check(world: &World, ledger: &mut Ledger) -> Result<()> {
    let listeners = listen(world)?;
    let same_node = pod_paths(world, |a, b| a == b);
    walk(ledger, "pod to pod on one node", "the pod's own address", &same_node);
    let across = pod_paths(world, |a, b| a != b);
    walk(ledger, "pod to pod across nodes", "the pod's own address", &across);
    walk(ledger, "pod to node", "the pod's own address", &to_nodes(world));
    walk(ledger, "node to pod", "the node's own address", &from_nodes(world));
    let outside = to_outside(world, |_| true);
    walk(ledger, "pod to outside the VPC", "its node's primary address (SNAT)", &outside);
    let secondary = |address| world.is_on_secondary_eni(address);
    let outside = to_outside(world, secondary);
    walk(ledger, "the same from pods on secondary ENIs", "its node's primary address (SNAT)", &outside);
    drop(listeners);
    Ok(())
}

/// The router lets only packets through whose source is assigned to the ENI they left from.
pub(super) fn check_spoofing(world: &World, ledger: &mut Ledger) -> Result<()> {
    let (near, far) = (world.node(1), world.node(0));
    let target = SocketAddrV4::new(far.place.address, MAILBOX_PORT);
    let mailbox = Mailbox::open(far.namespace(), target).context("open the mailbox on the other node")?;
    let stolen = world.pods.iter().find(|pod| pod.node == 0).context("no pod on the other node")?.address;
    let other_eni = world.pods.iter().find(|pod| pod.node == 1 && world.is_on_secondary_eni(pod.address));
    let other_eni = other_eni.context("no pod on a secondary ENI")?.address;

    let honest = send(near.namespace(), near.place.address, target, &mailbox);
    ledger.check(
        &format!("a packet from {} under its own address", near.name()),
        "arrives",
        honest
            .map(|arrived| if arrived { "arrived" } else { "lost" }.to_owned())
            .map_err(|e| format!("{e:#}")),
    );
    for (whose, source) in [
        ("a pod's address of the other node", stolen),
        ("an address of its own secondary ENI, sent through the primary one", other_eni),
    ] {
        let what = format!("a packet from {} under {source}, {whose}", near.name());
        let outcome = dropped(world, || send(near.namespace(), source, target, &mailbox));
        ledger.check(
            &what,
            "dropped by the router, and counted",
            outcome.map_err(|error| format!("{error:#}")),
        );
    }
    Ok(())
}

fn dropped(world: &World, send: impl FnOnce() -> Result<bool>) -> Result<String> {
    let before = world.lab_status()?.drops.foreign_source;
    let arrived = send()?;
    anyhow::ensure!(!arrived, "it arrived");
    let after = wait_for("the router's drop counter", PATIENCE, || {
        let drops = world.lab_status().map_err(|error| error.to_string())?.drops.foreign_source;
        if drops > before { Ok(drops) } else { Err(format!("still {drops}: lost elsewhere")) }
    })?;
    Ok(format!("dropped; the counter went from {before} to {after}"))
}

/// Sends a datagram under `source`; whether it arrived.
fn send(from: &NetNs, source: Ipv4Addr, target: SocketAddrV4, mailbox: &Mailbox) -> Result<bool> {
    let payload = format!("as {source}");
    probe::send_as(from, source, target, payload.as_bytes()).context("send")?;
    let arrived = mailbox.receive(SILENCE).context("look into the mailbox")?;
    Ok(arrived.is_some_and(|(said, _)| said == payload.as_bytes()))
}

/// A mirror in every pod, on every node and outside.
fn listen(world: &World) -> Result<Vec<Mirror>> {
    let pods = world.pods.iter().map(|pod| (&pod.sandbox.namespace, pod.address));
    let nodes = world.nodes.iter().map(|node| (node.namespace(), node.place.address));
    let outside = (&world.status.inet_namespace, OUTSIDE);
    pods.chain(nodes)
        .chain([outside])
        .map(|(namespace, address)| {
            let listening = Mirror::listen(namespace, SocketAddrV4::new(address, PORT));
            listening.with_context(|| format!("listen on {address}:{PORT} in {namespace}"))
        })
        .collect()
}

fn pod_paths(world: &World, nodes: impl Fn(usize, usize) -> bool) -> Vec<Path<'_>> {
    let pairs = world.pods.iter().flat_map(|from| world.pods.iter().map(move |to| (from, to)));
    pairs
        .filter(|(from, to)| from.address != to.address && nodes(from.node, to.node))
        .map(|(from, to)| Path {
            label: format!("{} → {}", from.sandbox.name, to.sandbox.name),
            from: &from.sandbox.namespace,
            to: to.address,
            seen_as: from.address,
        })
        .collect()
}

fn to_nodes(world: &World) -> Vec<Path<'_>> {
    let pairs = world.pods.iter().flat_map(|pod| world.nodes.iter().map(move |node| (pod, node)));
    pairs
        .map(|(pod, node)| Path {
            label: format!("{} → {}", pod.sandbox.name, node.name()),
            from: &pod.sandbox.namespace,
            to: node.place.address,
            seen_as: pod.address,
        })
        .collect()
}

fn from_nodes(world: &World) -> Vec<Path<'_>> {
    let pairs = world.pods.iter().flat_map(|pod| world.nodes.iter().map(move |node| (node, pod)));
    pairs
        .map(|(node, pod)| Path {
            label: format!("{} → {}", node.name(), pod.sandbox.name),
            from: node.namespace(),
            to: pod.address,
            seen_as: node.place.address,
        })
        .collect()
}

fn to_outside(world: &World, which: impl Fn(Ipv4Addr) -> bool) -> Vec<Path<'_>> {
    let pods = world.pods.iter().filter(|pod| which(pod.address));
    pods.map(|pod| Path {
        label: format!("{} → {OUTSIDE}", pod.sandbox.name),
        from: &pod.sandbox.namespace,
        to: OUTSIDE,
        seen_as: world.node(pod.node).place.address,
    })
    .collect()
}

/// Tries every path and records one check for all of them.
fn walk(ledger: &mut Ledger, kind: &str, source: &str, paths: &[Path<'_>]) {
    let expected = format!("{} paths, each seen as {source}", paths.len());
    let mut wrong = Vec::new();
    for path in paths {
        let target = SocketAddr::from((path.to, PORT));
        match probe::connect(path.from, target, PATIENCE) {
            Ok(seen) if seen.ip() == path.seen_as => {}
            Ok(seen) => wrong.push(format!("{}: seen as {}, not {}", path.label, seen.ip(), path.seen_as)),
            Err(error) => wrong.push(format!("{}: {error}", path.label)),
        }
        if wrong.len() >= ENOUGH {
            wrong.push("further paths not tried".to_owned());
            break;
        }
    }
    let outcome = match (paths.is_empty(), wrong.is_empty()) {
        (true, _) => Err("no such path to try".to_owned()),
        (false, true) => Ok(expected.clone()),
        (false, false) => Err(wrong.join("\n")),
    };
    ledger.check(kind, &expected, outcome);
}
