//! Root and the daemon's own user are served, in the daemon's own network namespace.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use e2e::node::Node;
use e2e::plugin::{Call, NOBODY, failure_of};
use enid_protocol::message::Request;
use rustix::process::{Gid, Uid};
use serde_json::Value;

use crate::wire::{asked, requests};
use crate::{OWN_AFFAIRS, descriptors, ready};

/// CNI's number for whoever may not ask.
const FORBIDDEN: u64 = 109;

/// Connects as somebody else.
fn connect_as(user: u32, node: &Node) -> io::Result<UnixStream> {
    let connect = || {
        let (user, group) = (Uid::from_raw(user), Gid::from_raw(user));
        rustix::thread::set_thread_groups(&[]).unwrap();
        rustix::thread::set_thread_res_gid(group, group, group).unwrap();
        rustix::thread::set_thread_res_uid(user, user, user).unwrap();
        UnixStream::connect(node.socket())
    };
    // On a thread of its own, which takes the other identity with it.
    node.namespace().inside(connect).unwrap()
}

#[track_caller]
fn is_refused(stream: &UnixStream, request: &Value, part: &str) {
    let reply = asked(stream, request);
    assert_eq!(reply["failed"]["code"], FORBIDDEN, "{request}: {reply}");
    assert!(reply["failed"]["message"].as_str().unwrap().contains(part), "{reply}");
}

#[test]
fn every_verb_is_tried() {
    let requests = requests();
    let tried = |verb: &str| requests.iter().any(|request| request == verb || !request[verb].is_null());
    assert!(Request::VERBS.iter().all(|verb| tried(verb)), "{:?}", Request::VERBS);
}

#[test]
fn root_in_a_pods_network_namespace_is_refused_whatever_it_asks() {
    let (lab, node, daemon) = ready("pod-peer");
    let placed = node.place(lab.pod());
    let before = (node.kernel().picture(), node.status()["pool"].clone(), descriptors(&daemon));
    let inside = &placed.pod.namespace;
    for request in requests() {
        let stream = inside.inside(|| UnixStream::connect(node.socket())).unwrap().unwrap();
        is_refused(&stream, &request, "network namespace");
        // The machine's own namespace is none of this daemon's business either.
        is_refused(&UnixStream::connect(node.socket()).unwrap(), &request, "network namespace");
    }
    // The real plugin, started in the pod, for itself and for another.
    let other = lab.pod();
    for call in [Call::new("DEL", &node, &placed.pod), Call::new("ADD", &node, &other)] {
        let failure = failure_of(&call.run_in(inside));
        assert_eq!(failure.code, FORBIDDEN, "{failure:?}");
    }
    assert!(node.log().contains("turned away"), "{}", node.log());
    let after = (node.kernel().picture(), node.status()["pool"].clone());
    assert_eq!((&after.0, &after.1), (&before.0, &before.1));
    // Those who were turned away last stay connected for their answer's sake.
    assert!(descriptors(&daemon) <= before.2 + 16 + OWN_AFFAIRS);
    node.is_intact(&placed);
    node.add(&other);
}

#[test]
fn the_world_cannot_connect_and_is_refused_where_the_door_stands_open() {
    let (lab, node, _daemon) = ready("world");
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&node.socket()), mode(node.runtime_dir())), (0o600, 0o700));
    assert_eq!(connect_as(NOBODY, &node).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    for (path, mode) in [(lab.directory(), 0o755), (node.runtime_dir(), 0o755)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    assert_eq!(connect_as(NOBODY, &node).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    fs::set_permissions(node.socket(), fs::Permissions::from_mode(0o666)).unwrap();
    let before = node.kernel().picture();
    for request in requests() {
        is_refused(&connect_as(NOBODY, &node).unwrap(), &request, "root only");
    }
    assert_eq!(node.kernel().picture(), before);
    assert_eq!(node.pool("bound"), 0);
}
