//! The demo as a container runtime: a namespace per pod, and the plugin exec'd as containerd does.

use std::io::Write;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use enid_vpc_lab::iproute::ip_batch;
use enid_vpc_lab::namespace::NetNs;
use serde_json::{Value, json};

use super::node::Node;

/// The interface inside every pod.
const IFNAME: &str = "eth0";
/// The Kubernetes namespace that the demo's pods say they are in.
const POD_NAMESPACE: &str = "demo";
/// The spec version of the demo's network configuration.
const CNI_VERSION: &str = "1.0.0";

/// A pod's sandbox: a namespace and a container id.
#[derive(Clone, Debug)]
pub(super) struct Sandbox {
    /// The pod's name.
    pub(super) name: String,
    /// Its namespace.
    pub(super) namespace: NetNs,
    container: String,
}

/// A pod that got its address.
#[derive(Clone, Debug)]
pub(super) struct Pod {
    /// Its sandbox.
    pub(super) sandbox: Sandbox,
    /// Index of its node.
    pub(super) node: usize,
    /// Its address.
    pub(super) address: Ipv4Addr,
    /// How long ADD took, from exec to exit.
    pub(super) took: Duration,
}

impl Sandbox {
    /// Makes the namespace of pod `number`, one of the names that the lab reserved for pods.
    pub(super) fn make(number: usize, namespace: NetNs) -> Result<Self> {
        ip_batch(None, &[format!("netns add {namespace}")])?;
        // As containerd leaves it to the plugin: not even the loopback is up.
        Ok(Self { name: format!("web-{number}"), container: container_id(number), namespace })
    }

    /// Takes the namespace away.
    pub(super) fn remove(&self) -> Result<()> {
        if self.namespace.exists() {
            ip_batch(None, &[format!("netns del {}", self.namespace)])?;
        }
        Ok(())
    }
}

/// The plugin's executable and how it is called.
#[derive(Clone, Debug)]
pub(super) struct Plugin(PathBuf);

impl Plugin {
    /// `enid-cni` at `path`, or next to this program.
    pub(super) fn find(path: Option<&Path>) -> Result<Self> {
        let path = match path {
            Some(path) => path.to_owned(),
            None => std::env::current_exe().context("find this program")?.with_file_name("enid-cni"),
        };
        ensure!(
            path.is_file(),
            "the plugin is not at {}: build it with `cargo xtask demo`, or name it with --plugin",
            path.display()
        );
        Ok(Self(path))
    }

    /// CNI ADD: the pod's address.
    pub(super) fn add(&self, index: usize, node: &Node, sandbox: &Sandbox) -> Result<Pod> {
        let begun = Instant::now();
        let output = self.run("ADD", node, sandbox)?;
        let took = begun.elapsed();
        let result =
            understood(&output).with_context(|| format!("ADD of {} on {}", sandbox.name, node.name()))?;
        let address =
            address_of(&result).with_context(|| format!("ADD of {} answered {result}", sandbox.name))?;
        Ok(Pod { sandbox: sandbox.clone(), node: index, address, took })
    }

    /// CNI DEL: the address goes back.
    pub(super) fn del(&self, node: &Node, sandbox: &Sandbox) -> Result<Duration> {
        let begun = Instant::now();
        let output = self.run("DEL", node, sandbox)?;
        let took = begun.elapsed();
        if !output.status.success() {
            understood(&output).with_context(|| format!("DEL of {} on {}", sandbox.name, node.name()))?;
        }
        Ok(took)
    }

    /// Environment and standard input as the CNI spec 1.0.0 has them, in the namespace that a runtime on the
    /// node would be in.
    fn run(&self, verb: &str, node: &Node, sandbox: &Sandbox) -> Result<Output> {
        let configuration = json!({
            "cniVersion": CNI_VERSION,
            "name": "enid",
            "type": "enid-cni",
            "socket": node.socket(),
        });
        let arguments = format!(
            "IgnoreUnknown=1;K8S_POD_NAMESPACE={POD_NAMESPACE};K8S_POD_NAME={};K8S_POD_INFRA_CONTAINER_ID={};K8S_POD_UID={}",
            sandbox.name,
            sandbox.container,
            &sandbox.container[..32]
        );
        let exec = || -> std::io::Result<Output> {
            let mut child = Command::new(&self.0)
                .env_clear()
                .env("CNI_COMMAND", verb)
                .env("CNI_CONTAINERID", &sandbox.container)
                .env("CNI_NETNS", sandbox.namespace.path())
                .env("CNI_IFNAME", IFNAME)
                .env("CNI_PATH", self.0.parent().unwrap_or(Path::new("/opt/cni/bin")))
                .env("CNI_ARGS", &arguments)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()?;
            if let Some(mut stdin) = child.stdin.take() {
                stdin.write_all(configuration.to_string().as_bytes())?;
            }
            child.wait_with_output()
        };
        let output = node.namespace().inside(exec).and_then(|output| output);
        output.with_context(|| format!("exec {} for {verb} of {}", self.0.display(), sandbox.name))
    }
}

/// The document that the plugin printed; its error, when it says that it failed.
fn understood(output: &Output) -> Result<Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    let document: Value = match serde_json::from_str(text.trim()) {
        Ok(document) => document,
        Err(error) => bail!("{}: printed {text:?} ({error}); {}", ended(output.status), stderr(output)),
    };
    if !output.status.success() {
        let (code, message, details) = (&document["code"], &document["msg"], &document["details"]);
        bail!("{}: code {code}: {message} {details}", ended(output.status));
    }
    Ok(document)
}

fn ended(status: ExitStatus) -> String {
    format!("the plugin ended with {status}")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().to_owned()
}

/// The one address of an ADD result.
fn address_of(result: &Value) -> Result<Ipv4Addr> {
    let text = result["ips"][0]["address"].as_str().context("no `ips[0].address`")?;
    let (address, length) = text.split_once('/').context("an address without a length")?;
    ensure!(length == "32", "a /{length}, not a /32");
    Ok(address.parse()?)
}

/// 64 hexadecimal digits, as containerd's are; the same in every run, so that output can be compared.
fn container_id(number: usize) -> String {
    format!("{:064x}", 0x00e1_d000_u64 + number as u64)
}

/// The pod's name as Kubernetes would show it.
pub(super) fn shown(sandbox: &Sandbox) -> String {
    format!("{POD_NAMESPACE}/{}", sandbox.name)
}
