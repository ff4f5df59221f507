//! `enid-cni`, called as a container runtime calls it.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use enid_vpc_lab::namespace::NetNs;
use serde_json::{Value, json};

use crate::node::Node;
use crate::pod::{POD_NAMESPACE, Placed, Pod, addresses_of};
use crate::program::{self, Ended, OpenCopy, spawned};

/// The interface inside every pod.
pub const IFNAME: &str = "eth0";
/// The network's name in the configuration.
pub const NETWORK: &str = "enid";
/// The user that owns nothing.
pub const NOBODY: u32 = 65534;

/// One call, complete unless a test takes something away.
#[derive(Clone, Debug)]
pub struct Call {
    environment: BTreeMap<&'static str, String>,
    config: Value,
    stdin: Option<Vec<u8>>,
    user: Option<u32>,
}

/// An error as the spec has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CniFailure {
    /// The code.
    pub code: u64,
    /// What happened.
    pub message: String,
    /// What may help.
    pub details: String,
}

impl Call {
    /// `verb` for `pod` on `node`, with spec version 1.0.0.
    pub fn new(verb: &str, node: &Node, pod: &Pod) -> Self {
        let arguments = format!(
            "IgnoreUnknown=1;K8S_POD_NAMESPACE={POD_NAMESPACE};K8S_POD_NAME={};K8S_POD_INFRA_CONTAINER_ID={}",
            pod.name, pod.container
        );
        let path = program::plugin().parent().unwrap().display().to_string();
        let environment = [
            ("CNI_COMMAND", verb.to_owned()),
            ("CNI_CONTAINERID", pod.container.clone()),
            ("CNI_NETNS", pod.namespace.path().display().to_string()),
            ("CNI_IFNAME", IFNAME.to_owned()),
            ("CNI_PATH", path),
            ("CNI_ARGS", arguments),
        ];
        let config =
            json!({ "cniVersion": "1.0.0", "name": NETWORK, "type": "enid-cni", "socket": node.socket() });
        Self { environment: environment.into(), config, stdin: None, user: None }
    }

    /// With a key of the network configuration set.
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.config[key] = value.into();
        self
    }

    /// Without a key of the network configuration.
    pub fn without(mut self, key: &str) -> Self {
        self.config.as_object_mut().unwrap().remove(key);
        self
    }

    /// With a variable set.
    pub fn variable(mut self, name: &'static str, value: &str) -> Self {
        self.environment.insert(name, value.to_owned());
        self
    }

    /// Without a variable.
    pub fn without_variable(mut self, name: &'static str) -> Self {
        self.environment.remove(name);
        self
    }

    /// With any bytes on standard input.
    pub fn stdin(mut self, bytes: &[u8]) -> Self {
        self.stdin = Some(bytes.to_owned());
        self
    }

    /// As another user than root.
    pub fn as_user(mut self, user: u32) -> Self {
        self.user = Some(user);
        self
    }

    /// Executes the plugin in the namespace of `node`, where its runtime is.
    pub fn run(&self, node: &Node) -> Ended {
        self.run_in(node.namespace())
    }

    /// Executes the plugin in any namespace.
    pub fn run_in(&self, namespace: &NetNs) -> Ended {
        let input = self.stdin.clone().unwrap_or_else(|| self.config.to_string().into_bytes());
        let copy = self.user.map(|_| OpenCopy::of(&program::plugin()));
        let program = copy.as_ref().map_or_else(program::plugin, |copy| copy.program.clone());
        let exec = || {
            let mut command = Command::new(&program);
            command.env_clear().envs(&self.environment);
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            if let Some(user) = self.user {
                command.uid(user).gid(user);
            }
            let mut child = spawned(&mut command);
            // A plugin that refuses before it reads closes the pipe.
            let _refused = child.stdin.take().unwrap().write_all(&input);
            child.wait_with_output().unwrap()
        };
        namespace.inside(exec).unwrap().into()
    }

    /// The document of a success.
    #[track_caller]
    pub fn ok(&self, node: &Node) -> Value {
        let ended = self.run(node);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
        if ended.stdout.is_empty() { Value::Null } else { serde_json::from_str(&ended.stdout).unwrap() }
    }

    /// The error of a failure, which is one document of the spec and nothing else.
    #[track_caller]
    pub fn failure(&self, node: &Node) -> CniFailure {
        failure_of(&self.run(node))
    }
}

/// The error in what a failed plugin printed.
#[track_caller]
pub fn failure_of(ended: &Ended) -> CniFailure {
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(1), ""), "{ended:?}");
    assert_eq!(ended.stdout.lines().count(), 1, "{ended:?}");
    let document: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert!(document["cniVersion"].is_string(), "{document}");
    CniFailure {
        code: document["code"].as_u64().unwrap_or_else(|| panic!("no code in {document}")),
        message: document["msg"].as_str().unwrap_or_else(|| panic!("no msg in {document}")).to_owned(),
        details: document["details"].as_str().unwrap_or_default().to_owned(),
    }
}

impl Node {
    /// CNI ADD that succeeds: its result.
    #[track_caller]
    pub fn add(&self, pod: &Pod) -> Value {
        let result = Call::new("ADD", self, pod).ok(self);
        addresses_of(&result);
        result
    }

    /// CNI ADD that succeeds, of a new pod.
    #[track_caller]
    pub fn place(&self, pod: Pod) -> Placed {
        let result = self.add(&pod);
        Placed { pod, result }
    }

    /// CNI ADDs that succeed, one after the other.
    #[track_caller]
    pub fn place_all(&self, pods: Vec<Pod>) -> Vec<Placed> {
        pods.into_iter().map(|pod| self.place(pod)).collect()
    }

    /// CNI CHECK finds everything as ADD left it.
    #[track_caller]
    pub fn is_intact(&self, placed: &Placed) {
        assert_eq!(self.check(&placed.pod, &placed.result).ok(self), Value::Null);
    }

    /// CNI DEL that succeeds.
    #[track_caller]
    pub fn del(&self, pod: &Pod) {
        assert_eq!(Call::new("DEL", self, pod).ok(self), Value::Null);
    }

    /// CNI CHECK against the result of ADD.
    pub fn check(&self, pod: &Pod, result: &Value) -> Call {
        Call::new("CHECK", self, pod).with("prevResult", result.clone())
    }

    /// ADDs in parallel, as a runtime starts pods; in the order of `pods`.
    pub fn add_all(&self, pods: &[Pod]) -> Vec<Ended> {
        std::thread::scope(|scope| {
            let calls = pods.iter().map(|pod| scope.spawn(|| Call::new("ADD", self, pod).run(self)));
            let calls: Vec<_> = calls.collect();
            calls.into_iter().map(|call| call.join().unwrap()).collect()
        })
    }
}
