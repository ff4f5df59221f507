//! The real plugin between a runtime and a daemon, both played by the test.
#![allow(dead_code, reason = "each test file uses the part of the stage that it needs")]
#![allow(clippy::unwrap_used, reason = "this is test code outside of test functions")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{Read, Write};
use std::mem::MaybeUninit;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use enid_protocol::frame::FrameDecoder;
use enid_protocol::message::{Added, AddedIpv4, Address, Further, Interface, Reply, Request};
use rustix::io::IoSliceMut;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::{Value, json};

/// Longer than any plugin deadline in these tests: reaching it is a failure.
const PATIENCE: Duration = Duration::from_secs(30);

/// A directory with a socket path and a spool path in it.
pub(crate) struct Stage {
    dir: tempfile::TempDir,
}

impl Stage {
    pub(crate) fn new() -> Stage {
        Stage { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("enid.sock")
    }

    pub(crate) fn spool(&self) -> PathBuf {
        self.dir.path().join("spool")
    }

    /// A configuration that points here, with further keys.
    pub(crate) fn config(&self, version: &str, extra: Value) -> Value {
        let mut config = json!({
            "cniVersion": version,
            "name": "enid",
            "type": "enid-cni",
            "socket": self.socket(),
        });
        for (key, value) in extra.as_object().unwrap() {
            config[key] = value.clone();
        }
        config
    }

    /// Plays a daemon that answers each request by `act`.
    pub(crate) fn daemon(&self, act: impl Fn(Heard) -> Act + Send + 'static) -> Daemon {
        Daemon::start(&self.socket(), act)
    }

    /// Runs one verb with the usual environment against this stage.
    pub(crate) fn run(&self, verb: &str, extra: Value) -> Outcome {
        self.runtime(verb, extra).run()
    }

    /// The same call, to be varied. GC and STATUS came with 1.1.0, and GC has a list.
    pub(crate) fn runtime(&self, verb: &str, extra: Value) -> Runtime {
        let version = if matches!(verb, "GC" | "STATUS") { "1.1.0" } else { "1.0.0" };
        let mut config = self.config(version, extra);
        if verb == "GC" && config.get("cni.dev/valid-attachments").is_none() {
            config["cni.dev/valid-attachments"] = json!([]);
        }
        Runtime::new(verb).config(&config)
    }
}

/// What the daemon received.
pub(crate) struct Heard {
    pub(crate) request: Request,
    pub(crate) netns: Option<OwnedFd>,
}

/// What the daemon does next.
pub(crate) enum Act {
    Reply(Reply),
    /// Sends these bytes and closes.
    Raw(Vec<u8>),
    /// Says nothing and keeps the connection.
    Hang,
}

pub(crate) struct Daemon {
    socket: PathBuf,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Daemon {
    fn start(socket: &Path, act: impl Fn(Heard) -> Act + Send + 'static) -> Daemon {
        let listener = UnixListener::bind(socket).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                let mut held = Vec::new();
                for stream in listener.incoming() {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let mut stream = stream.unwrap();
                    let Some(heard) = hear(&mut stream) else { continue };
                    // The plugin may be gone already: that is what some tests are about.
                    match act(heard) {
                        Act::Reply(reply) => drop(stream.write_all(&reply.to_frame().unwrap())),
                        Act::Raw(bytes) => drop(stream.write_all(&bytes)),
                        Act::Hang => held.push(stream),
                    }
                }
            }
        });
        Daemon { socket: socket.to_owned(), stop, thread: Some(thread) }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the accept.
        drop(UnixStream::connect(&self.socket));
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !thread::panicking()
        {
            panic!("the daemon's thread panicked");
        }
        let _ = std::fs::remove_file(&self.socket);
    }
}

fn hear(stream: &mut UnixStream) -> Option<Heard> {
    let mut decoder = FrameDecoder::default();
    let mut chunk = [0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let first =
        recvmsg(&*stream, &mut [IoSliceMut::new(&mut chunk)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)
            .ok()?;
    let mut descriptors: Vec<OwnedFd> = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    assert!(descriptors.len() <= 1, "at most one descriptor travels");
    let mut length = first.bytes;
    loop {
        if length == 0 {
            return None;
        }
        decoder.push(&chunk[..length]).unwrap();
        if let Some(body) = decoder.next_body().unwrap() {
            return Some(Heard { request: Request::from_body(&body).unwrap(), netns: descriptors.pop() });
        }
        length = stream.read(&mut chunk).ok()?;
    }
}

/// A container runtime's call.
#[derive(Clone)]
pub(crate) struct Runtime {
    program: PathBuf,
    variables: BTreeMap<&'static str, OsString>,
    stdin: Vec<u8>,
    keep_stdin_open: bool,
}

impl Runtime {
    /// A call as containerd makes it. The pod's namespace is the test's own, and said to be meant.
    pub(crate) fn new(verb: &str) -> Runtime {
        let mut runtime = Runtime {
            program: env!("CARGO_BIN_EXE_enid-cni").into(),
            variables: BTreeMap::new(),
            stdin: Vec::new(),
            keep_stdin_open: false,
        };
        for (name, value) in [
            ("CNI_COMMAND", verb),
            ("CNI_CONTAINERID", "c1"),
            ("CNI_NETNS", "/proc/self/ns/net"),
            ("CNI_NETNS_OVERRIDE", "1"),
            ("CNI_IFNAME", "eth0"),
            ("CNI_PATH", "/opt/cni/bin"),
            ("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_UID=u-1"),
        ] {
            runtime.variables.insert(name, value.into());
        }
        runtime
    }

    pub(crate) fn set(mut self, name: &'static str, value: impl Into<OsString>) -> Runtime {
        self.variables.insert(name, value.into());
        self
    }

    pub(crate) fn unset(mut self, name: &str) -> Runtime {
        self.variables.remove(name);
        self
    }

    pub(crate) fn config(self, config: &Value) -> Runtime {
        self.stdin(config.to_string())
    }

    pub(crate) fn stdin(mut self, stdin: impl Into<Vec<u8>>) -> Runtime {
        self.stdin = stdin.into();
        self
    }

    pub(crate) fn keep_stdin_open(mut self) -> Runtime {
        self.keep_stdin_open = true;
        self
    }

    /// Another copy of the plugin.
    pub(crate) fn program(mut self, program: &Path) -> Runtime {
        self.program = program.to_owned();
        self
    }

    /// Starts the call; what it still waits for on stdin comes back too.
    pub(crate) fn start(&self) -> (Child, Option<ChildStdin>) {
        let mut child = Command::new(&self.program)
            .env_clear()
            .envs(&self.variables)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A plugin that answers without reading closes the pipe.
        let _ = stdin.write_all(&self.stdin);
        (child, self.keep_stdin_open.then_some(stdin))
    }

    pub(crate) fn run(self) -> Outcome {
        let started = Instant::now();
        let (child, kept) = self.start();
        let (sender, receiver) = mpsc::channel();
        let id = child.id();
        thread::spawn(move || sender.send(child.wait_with_output()));
        let output = match receiver.recv_timeout(PATIENCE) {
            Ok(output) => output.unwrap(),
            Err(_) => {
                let pid = rustix::process::Pid::from_raw(id as i32).unwrap();
                rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
                panic!("the plugin did not end within {PATIENCE:?}");
            }
        };
        drop(kept);
        Outcome {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
            took: started.elapsed(),
        }
    }
}

/// How a call ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// `None` when a signal ended it, as a panic would.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) took: Duration,
}

impl Outcome {
    /// Success; what was printed on stdout, without its newline.
    pub(crate) fn succeeded(&self) -> &str {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""), "{self:?}");
        self.stdout.trim_end_matches('\n')
    }

    /// Failure as one CNI error document on one line and nothing else; its code and message.
    pub(crate) fn failed(&self) -> (u64, String) {
        assert_eq!((self.code, self.stderr.as_str()), (Some(1), ""), "{self:?}");
        assert_eq!(self.stdout.lines().count(), 1, "{self:?}");
        let document: Value = serde_json::from_str(&self.stdout).unwrap();
        assert!(document["cniVersion"].is_string(), "{document}");
        let message = document["msg"].as_str().unwrap();
        assert!(!message.is_empty() && !message.contains('\n'), "{document}");
        assert!(document["details"].as_str().is_some_and(|details| !details.is_empty()), "{document}");
        (document["code"].as_u64().unwrap(), message.to_owned())
    }

    /// The `reason` in the details of a failure.
    pub(crate) fn reason(&self) -> String {
        self.failed();
        let document: Value = serde_json::from_str(&self.stdout).unwrap();
        let details: Value = serde_json::from_str(document["details"].as_str().unwrap()).unwrap();
        details["reason"].as_str().unwrap().to_owned()
    }
}

/// Collects what a daemon hears.
pub(crate) fn recorder<T: Send + 'static>() -> (Arc<Mutex<Vec<T>>>, impl Fn(T) + Send + 'static) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&heard);
    (heard, move |value| record.lock().unwrap().push(value))
}

/// What the played daemon gives an ordinary pod.
pub(crate) fn added() -> AddedIpv4 {
    AddedIpv4 {
        address: Ipv4Addr::new(10, 0, 1, 7),
        gateway: Ipv4Addr::new(169, 254, 1, 1),
        host_veth: "enicc21c2d7785".to_owned(),
        host_mac: "02:00:00:00:00:01".to_owned(),
        pod_mac: "02:00:00:00:00:02".to_owned(),
        mtu: 9001,
    }
}

/// What it gives a dual-stack pod that asked for every card.
pub(crate) fn added_two_cards() -> Added {
    let mut added = Added::from(added());
    added.first.addresses.push(Address::alone("2001:db8::7".parse().unwrap()));
    added.first.gateways.push("fe80::1".parse().unwrap());
    let interface = Interface {
        addresses: vec![Address::alone("10.0.2.9".parse().unwrap())],
        gateways: vec!["169.254.1.2".parse().unwrap()],
        host_veth: "eni0123456789a".to_owned(),
        host_mac: "02:00:00:00:00:03".to_owned(),
        pod_mac: "02:00:00:00:00:04".to_owned(),
        mtu: 1500,
    };
    added.further.push(Further { ifname: "mNicIf1".to_owned(), table: 1, interface });
    added
}

/// What a runtime adds to the configuration of a pod with this `nicConfig`.
pub(crate) fn annotated(nic_config: &str) -> Value {
    let annotations = json!({ "k8s.amazonaws.com/nicConfig": nic_config, "example.com/other": "1" });
    json!({ "runtimeConfig": { "io.kubernetes.cri.pod-annotations": annotations } })
}
