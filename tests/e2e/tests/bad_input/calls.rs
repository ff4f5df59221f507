//! What container runtimes and strangers send: malformed calls, wrong namespaces, raw bytes.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use e2e::lab::Lab;
use e2e::node::Node;
use e2e::plugin::Call;
use serde_json::json;

use crate::says;

#[test]
fn malformed_calls_get_the_code_of_their_fault_and_change_nothing() {
    let lab = Lab::up("calls");
    let node = lab.m5();
    let daemon = node.start();
    daemon.wait_until_ready();
    let pod = lab.pod();
    let before = node.kernel().picture();
    let add = || Call::new("ADD", &node, &pod);
    let check = || Call::new("CHECK", &node, &pod);
    let del = || Call::new("DEL", &node, &pod);
    let long = "x".repeat(300);
    let huge = vec![b' '; 5 << 20];
    let pod_path = pod.namespace.path();
    let lists = format!("{:?}", vec![1; 100]);
    for (call, code, part) in [
        // The environment.
        (add().variable("CNI_COMMAND", "ATTACH"), 4, "ATTACH"),
        (add().variable("CNI_COMMAND", "add"), 4, "add"),
        (add().without_variable("CNI_CONTAINERID"), 4, "CNI_CONTAINERID"),
        (add().variable("CNI_CONTAINERID", "../../etc"), 4, "CNI_CONTAINERID"),
        (add().variable("CNI_CONTAINERID", &long), 4, "CNI_CONTAINERID"),
        (add().without_variable("CNI_NETNS"), 4, "CNI_NETNS"),
        (add().without_variable("CNI_IFNAME"), 4, "CNI_IFNAME"),
        (add().variable("CNI_IFNAME", "sixteen-letters-"), 4, "CNI_IFNAME"),
        (add().variable("CNI_IFNAME", "a/b"), 4, "CNI_IFNAME"),
        (add().variable("CNI_IFNAME", ".."), 4, "CNI_IFNAME"),
        (add().variable("CNI_ARGS", "K8S_POD_NAME"), 4, "CNI_ARGS"),
        (check().without_variable("CNI_NETNS").with("prevResult", "x"), 4, "CNI_NETNS"),
        (del().without_variable("CNI_CONTAINERID"), 4, "CNI_CONTAINERID"),
        // Standard input.
        (add().stdin(b""), 6, "empty"),
        (add().stdin(b"nonsense"), 6, "not JSON"),
        (add().stdin(b"{\"cniVersion\":"), 6, "not JSON"),
        (add().stdin(lists.as_bytes()), 6, "not a JSON object"),
        (add().stdin(b"\xff\xfe"), 6, "not JSON"),
        (add().stdin(&b"[".repeat(100_000)), 6, "not JSON"),
        (add().stdin(&huge), 7, "exceeds"),
        (del().stdin(b"nonsense"), 6, "not JSON"),
        // The network configuration.
        (add().with("cniVersion", "0.2.0"), 1, "0.2.0"),
        (add().with("cniVersion", "9.0.0"), 1, "9.0.0"),
        (add().without("cniVersion"), 1, "0.1.0"),
        (add().with("cniVersion", 1), 7, "cniVersion"),
        (add().without("name"), 7, "`name` is missing"),
        (add().with("name", "a b"), 7, "`name`"),
        (add().with("mtu", 9001), 2, "`mtu`"),
        (add().with("ipam", json!({ "type": "host-local" })), 2, "`ipam`"),
        (add().with("timeout_secs", 0), 7, "`timeout_secs`"),
        (add().with("socket", "enid.sock"), 7, "`socket`"),
        (add().with("prevResult", 3), 7, "prevResult"),
        (check(), 7, "`prevResult` is missing"),
        (check().with("cniVersion", "0.3.1"), 1, "CHECK"),
        (Call::new("STATUS", &node, &pod), 1, "STATUS"),
        (Call::new("GC", &node, &pod), 1, "GC"),
        (Call::new("GC", &node, &pod).with("cniVersion", "1.1.0"), 7, "valid-attachments"),
        // The namespace.
        (add().variable("CNI_NETNS", "/nowhere/netns"), 8, "/nowhere/netns"),
        (add().variable("CNI_NETNS", node.settings_file().to_str().unwrap()), 8, "not a namespace"),
        (add().variable("CNI_NETNS", lab.base().to_str().unwrap()), 8, "not a namespace"),
        (add().variable("CNI_NETNS", "/proc/self/ns/net"), 8, "host's own"),
        (add().variable("CNI_NETNS", node.namespace().path().to_str().unwrap()), 8, "host's own"),
        (add().variable("CNI_NETNS", "/proc/self/ns/mnt"), 8, "network namespace"),
    ] {
        let failure = call.failure(&node);
        assert_eq!(failure.code, code, "{failure:?} of {call:?}");
        says(&failure.message, &[part]);
        assert!(!failure.details.is_empty(), "no advice in {failure:?}");
    }
    assert!(pod_path.exists());
    assert_eq!(node.kernel().picture(), before);
    let status = node.status();
    assert_eq!((&status["pool"]["bound"], &status["pool"]["waiting"]), (&0.into(), &0.into()), "{status}");
    node.add(&pod);
}

#[test]
fn the_hosts_namespace_is_refused_by_the_daemon_too() {
    let lab = Lab::up("host-netns");
    let node = lab.m5();
    let daemon = node.start();
    daemon.wait_until_ready();
    let before = node.kernel().picture();
    let call = Call::new("ADD", &node, &lab.pod())
        .variable("CNI_NETNS", node.namespace().path().to_str().unwrap())
        .variable("CNI_NETNS_OVERRIDE", "1");
    // The plugin lets it through because the caller insists; a pod in the host's namespace has no veth.
    let failure = call.failure(&node);
    assert_eq!(failure.code, 8, "{failure:?}");
    assert_eq!(node.kernel().picture(), before);
    assert_eq!(node.pool("bound"), 0);
}

#[test]
fn an_interface_that_is_there_already_is_not_taken_over() {
    let lab = Lab::up("ifname");
    let node = lab.m5();
    let daemon = node.start();
    daemon.wait_until_ready();
    let pod = lab.pod();
    pod.kernel().change(&["link add eth0 type veth peer name other".to_owned()]);
    let before = (node.kernel().picture(), pod.kernel().picture());
    let failure = Call::new("ADD", &node, &pod).failure(&node);
    assert_eq!(failure.code, 104, "{failure:?}");
    says(&failure.message, &["eth0"]);
    assert_eq!((node.kernel().picture(), pod.kernel().picture()), before);
    assert_eq!(node.pool("bound"), 0);
    pod.kernel().change(&["link del eth0".to_owned()]);
    node.add(&pod);
}

/// What the daemon answers to raw bytes until it hangs up or falls silent.
fn answer_to(node: &Node, bytes: &[u8]) -> io::Result<String> {
    let mut stream = node.connect()?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    // A daemon that refuses early closes its end.
    let _refused = stream.write_all(bytes);
    stream.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
        Err(error) => return Err(error),
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[test]
fn garbage_on_the_socket_ends_its_connection_and_nothing_else() {
    let lab = Lab::up("garbage");
    let node = lab.m5();
    let mut daemon = node.start();
    daemon.wait_until_ready();
    let frame = |body: &[u8]| [&u32::try_from(body.len()).unwrap().to_le_bytes(), body].concat();
    for (bytes, part) in [
        (vec![0xff; 64], "\"code\":103"),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "\"code\":103"),
        (frame(b"nonsense"), "\"code\":103"),
        (frame(b"{}"), "\"code\":103"),
        (frame(b""), "\"code\":103"),
        (frame(br#"{"v":1,"request":"dance"}"#), "\"code\":"),
        (frame(br#"{"v":999,"request":"status"}"#), "\"code\":"),
        (frame(br#"{"v":1,"request":"status"}"#)[..7].to_vec(), ""),
        (Vec::new(), ""),
    ] {
        let answer = answer_to(&node, &bytes).unwrap();
        says(&answer, &[part]);
    }
    // Half a request holds up nobody else.
    let mut halves = Vec::new();
    for _ in 0..50 {
        let mut half = node.connect().unwrap();
        half.write_all(&[40, 0, 0]).unwrap();
        halves.push(half);
    }
    node.add(&lab.pod());
    assert!(daemon.is_alive());
    assert_eq!(node.pool("bound"), 1);
    assert!(!node.log().contains("panicked"), "{}", node.log());
}
