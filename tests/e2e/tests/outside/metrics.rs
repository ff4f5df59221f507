//! What is counted moves with what happens; it is served where the settings say, and to no harm of pods.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};

use e2e::lab::Lab;
use e2e::metrics::{PORT, fetch};
use e2e::patience::wait_for;
use e2e::program::enid;
use enid_vpc_lab::lab::deed::{Breakage, Deed};
use serde_json::Value;

use crate::{GROWTH, ready};

fn served(verb: &str) -> String {
    match verb {
        "ADD" => "enid_add_duration_seconds_count{phase=\"total\",end=\"served\"}".to_owned(),
        _ => "enid_del_duration_seconds_count{end=\"served\"}".to_owned(),
    }
}

#[test]
fn adds_and_dels_and_throttles_are_counted() {
    let (lab, node, daemon) = ready("metrics-move");
    let before = node.metrics();
    assert_eq!((before.value(&served("ADD")), before.value(&served("DEL"))), (0.0, 0.0));
    assert_eq!(before.value("enid_pods"), 0.0);
    let throttled = "enid_ec2_call_failures_total{api=\"AssignPrivateIpAddresses\",kind=\"throttled\"}";
    assert_eq!(before.value(throttled), 0.0);
    let calls = "enid_ec2_call_duration_seconds_count{api=\"AssignPrivateIpAddresses\"}";
    assert!(before.value(calls) >= 1.0);

    let api = Some("AssignPrivateIpAddresses".to_owned());
    lab.perform(Deed::Break { api, times: 1, breakage: Breakage::Throttled });
    let pods = lab.pods(2);
    for pod in &pods {
        node.add(pod);
    }
    node.del(&pods[0]);
    let after = wait_for("the throttled call is counted", GROWTH, || {
        let metrics = node.metrics();
        let fits = metrics.value(throttled) == 1.0 && metrics.value("enid_pods") == 1.0;
        if fits { Ok(metrics) } else { Err(format!("{metrics:?}")) }
    });
    assert_eq!((after.value(&served("ADD")), after.value(&served("DEL"))), (2.0, 1.0));
    for phase in ["wait", "wire", "total"] {
        let name =
            |part: &str| format!("enid_add_duration_seconds_{part}{{phase=\"{phase}\",end=\"served\"}}");
        assert_eq!(after.value(&name("count")), 2.0, "{phase}");
    }
    let took = |phase: &str| {
        after.value(&format!("enid_add_duration_seconds_sum{{phase=\"{phase}\",end=\"served\"}}"))
    };
    assert!(took("total") >= took("wire") && took("wire") > 0.0, "{after:?}");
    assert!(after.value("enid_decisions_total{kind=\"warm-pool\",rung=\"live\"}") >= 1.0);
    let slowed = after.named("enid_ec2_budget_slowed_ratio").filter(|(_, left)| *left < 1.0).count();
    assert!(slowed >= 1, "{after:?}");
    assert_eq!(after.value("enid_degraded{mode=\"none\"}"), 1.0);
    // No metric says which pod it was.
    let page = node.page("/metrics").body;
    assert!(!page.contains(&pods[1].name) && !page.contains(&pods[1].container), "{page}");
    assert_eq!(node.page("/nothing-here").status, 404);
    // The throttling is over, and the pool is what it should be again.
    daemon.wait_for_status("the pool has what it should have", |status| status["pool"]["gap"] == 0);
    assert!(daemon.terminate().success());
}

#[test]
fn status_is_told_again_and_again_until_nobody_listens() {
    let (lab, node, daemon) = ready("status-watch");
    let socket = node.socket();
    let mut command = Command::new(enid());
    command.args(["status", "--watch", "--output", "json", "--socket"]).arg(&socket).stdout(Stdio::piped());
    let mut watching = node.namespace().inside(|| command.spawn().unwrap()).unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let mut bound = || -> u64 {
        let status: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        status["pool"]["bound"].as_u64().unwrap()
    };
    assert_eq!(bound(), 0);
    node.add(&lab.pod());
    wait_for("the pod is seen", GROWTH, || if bound() == 1 { Ok(()) } else { Err("not yet".to_owned()) });
    drop(lines);
    // Its next line has no reader: that is an end, and no fault.
    let ended =
        wait_for("it ends", GROWTH, || watching.try_wait().unwrap().ok_or_else(|| "it runs".to_owned()));
    assert!(ended.success(), "{ended}");
    assert!(daemon.terminate().success());
}

#[test]
fn a_port_that_is_taken_holds_no_pod_up_and_is_served_once_it_is_free() {
    let lab = Lab::up("metrics-port");
    let node = lab.t3();
    let taken =
        node.namespace().inside(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT))).unwrap().unwrap();
    let daemon = node.start();
    daemon.wait_until_ready();
    daemon.wait_for_log(&["metrics cannot be served here", "in use"]);
    node.add(&lab.pod());
    drop(taken);
    let metrics = wait_for("metrics are served", GROWTH, || node.try_page("/metrics"));
    assert_eq!(metrics.status, 200);
    assert!(daemon.terminate().success());
}

#[test]
fn metrics_move_to_where_the_settings_say_while_the_daemon_runs() {
    let (lab, node, daemon) = ready("metrics-reload");
    let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let at = |port| fetch(node.namespace(), loopback(port), "/metrics", "application/openmetrics-text");
    let page = at(PORT).unwrap();
    assert!(page.content_type.starts_with("application/openmetrics-text"), "{page:?}");
    assert!(page.body.ends_with("# EOF\n"));
    let settings = node.settings().cooldown_secs(1).warm_pool("warm-targets", "warm_ip_target = 2");
    let listening = |listen: &str| settings.clone().and(&format!("[observe]\nlisten = {listen:?}"));
    node.configure(&listening("127.0.0.1:9191"));
    wait_for("they are at the new port", GROWTH, || at(9191).map(drop));
    assert!(at(PORT).is_err());
    // From the node's own address they are not to be had any more.
    assert!(fetch(node.namespace(), (node.place.address, 9191).into(), "/metrics", "*/*").is_err());
    node.configure(&listening("off"));
    daemon.wait_for_log(&["metrics are not served"]);
    wait_for("nobody serves them", GROWTH, || at(9191).err().ok_or_else(|| "somebody does".to_owned()));
    node.configure(&listening("nowhere"));
    daemon.wait_for_log(&["not taken over", "observe.listen"]);
    node.add(&lab.pod());
    drop(daemon);
    // The incumbent's variable says it for who has no such line.
    node.configure(&settings);
    let daemon = node.start_with(&[("DISABLE_METRICS", "true")]);
    daemon.wait_for_log(&["observe.listen", "DISABLE_METRICS"]);
    assert!(node.try_page("/metrics").is_err());
}

#[test]
fn who_sits_on_all_connections_keeps_nobody_from_the_node_or_its_probe() {
    let (lab, node, daemon) = ready("metrics-crowd");
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
    let sit = |_| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\n").unwrap();
        stream
    };
    let crowd: Vec<TcpStream> = node.namespace().inside(|| (0..500).map(sit).collect()).unwrap();
    // The probe is behind all of them, and they are as fresh as it is.
    assert_eq!(node.page("/healthz").status, 200);
    node.add(&lab.pod());
    assert_eq!(node.status()["pool"]["bound"], 1);
    drop(crowd);
    assert!(daemon.terminate().success());
}
