//! What kubelet asks of a container runtime, over CRI by a gRPC client that we did not write.
//!
//! The client is Python with the packages of `cri/requirements.txt`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use e2e::containerd::Containerd;
use e2e::patience::wait_for;
use e2e::pod::POD_NAMESPACE;
use e2e::python;
use enid_vpc_lab::namespace::NetNs;
use serde_json::{Value, json};

const REQUIREMENTS: &str = include_str!("../../cri/requirements.txt");
/// Kubelet's own patience with a runtime, seconds.
const TIMEOUT_SECS: u64 = 120;
/// How long a runtime may take until it answers calls and has taken a network over.
const SERVING: Duration = Duration::from_secs(30);
/// How long it may take until each pod has its sandbox.
const IN_SYNC: Duration = Duration::from_secs(90);

/// Kubelet's side of CRI on one node.
pub(crate) struct Kubelet {
    client: Child,
    calls: Option<ChildStdin>,
    reader: Option<JoinHandle<()>>,
    under_way: Arc<Mutex<UnderWay>>,
    cgroup: String,
    logs: PathBuf,
}

/// Calls that have not ended.
#[derive(Default)]
struct UnderWay {
    last: u64,
    callers: BTreeMap<u64, Sender<Value>>,
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CallFailed {
    /// gRPC's name for the kind.
    pub(crate) code: String,
    /// What the runtime said.
    pub(crate) message: String,
}

/// A pod that should run.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    name: String,
    /// Ports of the node and of the pod that they lead to.
    ports: Vec<(u16, u16)>,
    runtime: &'static str,
}

/// A sandbox as the runtime lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) id: String,
    pub(crate) pod: String,
    pub(crate) attempt: u64,
    pub(crate) is_ready: bool,
}

/// What the runtime tells about a sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SandboxStatus {
    pub(crate) pod: String,
    pub(crate) is_ready: bool,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) namespace: Option<NetNs>,
}

impl Wanted {
    pub(crate) fn pod(name: &str) -> Self {
        Self { name: name.to_owned(), ports: Vec::new(), runtime: "" }
    }

    /// As many pods, called `name` and a number.
    pub(crate) fn pods(name: &str, count: usize) -> Vec<Self> {
        (0..count).map(|number| Self::pod(&format!("{name}-{number}"))).collect()
    }

    /// With a port of the node that leads to one of the pod.
    pub(crate) fn reached_at(mut self, host: u16, container: u16) -> Self {
        self.ports.push((host, container));
        self
    }

    /// By another of the runtime's handlers.
    pub(crate) fn by(self, runtime: &'static str) -> Self {
        Self { runtime, ..self }
    }
}

impl Kubelet {
    /// Talks to `containerd`, and goes on when that was started again.
    pub(crate) fn of(containerd: &Containerd) -> Self {
        let mut command = Command::new(python::environment("cri-client", REQUIREMENTS));
        command.arg(scripts().join("client.py")).arg(containerd.socket());
        command.env("PYTHONDONTWRITEBYTECODE", "1").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut client = command.spawn().unwrap();
        let under_way = Arc::new(Mutex::new(UnderWay::default()));
        let ends = BufReader::new(client.stdout.take().unwrap());
        let callers = Arc::clone(&under_way);
        let reader = std::thread::spawn(move || {
            for line in ends.lines() {
                let end: Value = serde_json::from_str(&line.unwrap()).unwrap();
                let caller = callers.lock().unwrap().callers.remove(&end["id"].as_u64().unwrap());
                caller.unwrap().send(end).unwrap();
            }
            // Whoever waits still waits in vain.
            callers.lock().unwrap().callers.clear();
        });
        Self {
            calls: client.stdin.take(),
            client,
            reader: Some(reader),
            under_way,
            cgroup: containerd.cgroup(),
            logs: containerd.pod_logs(),
        }
    }

    fn call(&self, method: &str, request: Value) -> Result<Value, CallFailed> {
        let (to_us, ended) = channel();
        {
            let mut under_way = self.under_way.lock().unwrap();
            under_way.last += 1;
            let id = under_way.last;
            under_way.callers.insert(id, to_us);
            let call = json!({ "id": id, "method": method, "request": request, "timeout": TIMEOUT_SECS });
            // One write, under the lock: calls of several threads do not mix.
            self.calls.as_ref().unwrap().write_all(format!("{call}\n").as_bytes()).unwrap();
        }
        let mut ended = ended.recv().expect("the CRI client answers");
        if let Some(error) = ended.get("error") {
            let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
            let failed = CallFailed { code: text("code"), message: text("message") };
            assert_ne!(failed.code, "CLIENT", "the client itself fails: {failed:?}");
            return Err(failed);
        }
        Ok(ended["reply"].take())
    }

    /// The runtime's conditions, as kubelet polls them: whether they hold, and what it says about them.
    pub(crate) fn conditions(&self) -> Result<BTreeMap<String, (bool, String)>, CallFailed> {
        let reply = self.call("Status", json!({}))?;
        let conditions = reply["status"]["conditions"].as_array().unwrap().iter();
        let condition = |it: &Value| {
            let text = |key: &str| it[key].as_str().unwrap().to_owned();
            (text("type"), (it["status"] == true, text("message")))
        };
        Ok(conditions.map(condition).collect())
    }

    /// Waits until runtime and network are ready, which is when kubelet starts pods. Other conditions it passes on.
    #[track_caller]
    pub(crate) fn wait_until_ready(&self) {
        let needed = ["RuntimeReady", "NetworkReady"];
        wait_for("runtime and network are ready", SERVING, || match self.conditions() {
            Ok(conditions) if needed.iter().all(|name| conditions[*name].0) => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }

    /// `RunPodSandbox`: the sandbox's id.
    pub(crate) fn run(&self, pod: &Wanted) -> Result<String, CallFailed> {
        self.run_attempt(pod, 0)
    }

    fn run_attempt(&self, pod: &Wanted, attempt: u64) -> Result<String, CallFailed> {
        let port = |(host, container): &(u16, u16)| json!({ "host_port": host, "container_port": container });
        let config = json!({
            "metadata": { "name": pod.name, "uid": format!("uid-{}", pod.name), "namespace": POD_NAMESPACE, "attempt": attempt },
            "hostname": pod.name,
            "log_directory": self.logs.join(&pod.name),
            "dns_config": { "servers": ["10.0.0.2"] },
            "port_mappings": pod.ports.iter().map(port).collect::<Vec<_>>(),
            "annotations": { "example.com/owner": "e2e" },
            "linux": {
                "cgroup_parent": self.cgroup,
                "security_context": { "namespace_options": { "network": "POD", "pid": "CONTAINER", "ipc": "POD" } },
            },
        });
        let reply =
            self.call("RunPodSandbox", json!({ "config": config, "runtime_handler": pod.runtime }))?;
        Ok(reply["pod_sandbox_id"].as_str().unwrap().to_owned())
    }

    /// `RunPodSandbox` that succeeds.
    #[track_caller]
    pub(crate) fn start(&self, pod: &Wanted) -> String {
        self.run(pod).unwrap_or_else(|why| panic!("{pod:?}: {why:?}"))
    }

    /// `RunPodSandbox` for all at once, in their order.
    pub(crate) fn run_all(&self, pods: &[Wanted]) -> Vec<Result<String, CallFailed>> {
        std::thread::scope(|scope| {
            let runs: Vec<_> = pods.iter().map(|pod| scope.spawn(|| self.run(pod))).collect();
            runs.into_iter().map(|run| run.join().unwrap()).collect()
        })
    }

    /// `StopPodSandbox`, which takes the network away.
    pub(crate) fn stop(&self, sandbox: &str) -> Result<(), CallFailed> {
        self.call("StopPodSandbox", json!({ "pod_sandbox_id": sandbox })).map(drop)
    }

    /// `RemovePodSandbox`.
    pub(crate) fn remove(&self, sandbox: &str) -> Result<(), CallFailed> {
        self.call("RemovePodSandbox", json!({ "pod_sandbox_id": sandbox })).map(drop)
    }

    /// Stop and Remove, as kubelet ends a pod.
    pub(crate) fn end(&self, sandbox: &str) -> Result<(), CallFailed> {
        self.stop(sandbox).and_then(|()| self.remove(sandbox))
    }

    /// Ends all of them at once.
    #[track_caller]
    pub(crate) fn end_all<'a>(&self, sandboxes: impl IntoIterator<Item = &'a str>) {
        std::thread::scope(|scope| {
            let ends: Vec<_> =
                sandboxes.into_iter().map(|sandbox| scope.spawn(|| self.end(sandbox))).collect();
            ends.into_iter().for_each(|end| end.join().unwrap().unwrap());
        });
    }

    /// `ListPodSandbox`.
    pub(crate) fn list(&self) -> Result<Vec<Listed>, CallFailed> {
        let reply = self.call("ListPodSandbox", json!({}))?;
        let listed = |item: &Value| Listed {
            id: item["id"].as_str().unwrap().to_owned(),
            pod: item["metadata"]["name"].as_str().unwrap().to_owned(),
            attempt: item["metadata"]["attempt"].as_u64().unwrap(),
            is_ready: item["state"] == "SANDBOX_READY",
        };
        Ok(reply["items"].as_array().unwrap().iter().map(listed).collect())
    }

    /// `PodSandboxStatus`.
    pub(crate) fn status(&self, sandbox: &str) -> Result<SandboxStatus, CallFailed> {
        let reply = self.call("PodSandboxStatus", json!({ "pod_sandbox_id": sandbox, "verbose": true }))?;
        let status = &reply["status"];
        let further = status["network"]["additional_ips"].as_array().into_iter().flatten();
        let addresses = [&status["network"]["ip"]].into_iter().chain(further.map(|further| &further["ip"]));
        let info: Value = serde_json::from_str(reply["info"]["info"].as_str().unwrap()).unwrap();
        let namespaces = info["runtimeSpec"]["linux"]["namespaces"].as_array().into_iter().flatten();
        let network = namespaces.filter(|namespace| namespace["type"] == "network");
        let name = |namespace: &Value| {
            Some(NetNs::named(Path::new(namespace["path"].as_str()?).file_name()?.to_str()?))
        };
        Ok(SandboxStatus {
            pod: status["metadata"]["name"].as_str().unwrap().to_owned(),
            is_ready: status["state"] == "SANDBOX_READY",
            addresses: addresses.filter_map(|address| address.as_str()?.parse().ok()).collect(),
            namespace: network.filter_map(name).next(),
        })
    }

    /// Does what kubelet does until each of `pods` has one sandbox that is ready and nothing else is there: what is
    /// not ready is stopped and removed, what is missing is tried once more.
    #[track_caller]
    pub(crate) fn bring_in_sync(&self, pods: &[Wanted]) {
        wait_for("each pod has one sandbox", IN_SYNC, || {
            let told = |failed: CallFailed| format!("{failed:?}");
            let listed = self.list().map_err(told)?;
            let (ready, dead): (Vec<_>, Vec<_>) = listed.iter().partition(|sandbox| sandbox.is_ready);
            let has_one = |pod: &&Wanted| ready.iter().any(|sandbox| sandbox.pod == pod.name);
            let missing: Vec<&Wanted> = pods.iter().filter(|pod| !has_one(pod)).collect();
            if dead.is_empty() && missing.is_empty() {
                return Ok(());
            }
            let attempt = listed.iter().map(|sandbox| sandbox.attempt).max().unwrap_or_default() + 1;
            std::thread::scope(|scope| {
                let ends: Vec<_> = dead.iter().map(|dead| scope.spawn(|| self.end(&dead.id))).collect();
                let runs: Vec<_> =
                    missing.iter().map(|pod| scope.spawn(move || self.run_attempt(pod, attempt))).collect();
                let ends = ends.into_iter().map(|end| end.join().unwrap());
                let runs = runs.into_iter().map(|run| run.join().unwrap().map(drop));
                ends.chain(runs).collect::<Vec<_>>().into_iter().collect::<Result<(), _>>().map_err(told)
            })?;
            Err("not all were there".to_owned())
        });
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        // It ends with its input, once nothing is under way; nobody waits for a call any more.
        drop(self.calls.take());
        if std::thread::panicking() {
            let _ended_meanwhile = self.client.kill();
        }
        let _ended_meanwhile = self.client.wait();
        if let Some(reader) = self.reader.take() {
            let _panicked = reader.join();
        }
    }
}

fn scripts() -> PathBuf {
    Path::new(&std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo and xtask tell it")).join("cri")
}
