//! A real Kubernetes API on a node: etcd and kube-apiserver, unmodified, on the loopback of the node's network namespace.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use enid_vpc_lab::namespace::NetNs;
use serde_json::{Value, json};

use crate::golang::built;
use crate::node::Node;
use crate::patience::wait_for;
use crate::program::enid;

/// The release that `tests/e2e/kubernetes/apiserver` pins.
const RELEASE: &str = "v1.34.4";
const SERVER: &str = "https://127.0.0.1:6443";
const ETCD: &str = "http://127.0.0.1:2379";
const PEERS: &str = "http://127.0.0.1:2380";
/// The administrator's token, and that of the service account of `deploy/rbac.yaml`.
const TOKENS: &str = "admin,admin,1,system:masters\nenid,system:serviceaccount:kube-system:enid,2\n";
/// How long it may take until it answers.
const SERVING: Duration = Duration::from_secs(60);

/// kube-apiserver, where it can be built.
pub fn program() -> Option<PathBuf> {
    let sources = sources().join("apiserver");
    built(&format!("kube-apiserver-{RELEASE}"), |go, directory| {
        go.current_dir(sources).args(["build", "-mod=readonly", "-trimpath", "-ldflags", "-s -w", "-o"]);
        go.arg(directory.join("kube-apiserver")).arg("k8s.io/kubernetes/cmd/kube-apiserver");
        "kube-apiserver"
    })
}

fn sources() -> PathBuf {
    Path::new(&std::env::var_os("CARGO_MANIFEST_DIR").unwrap()).join("kubernetes")
}

/// A cluster's API that runs.
#[derive(Debug)]
pub struct Kubernetes {
    namespace: NetNs,
    directory: PathBuf,
    program: PathBuf,
    etcd: Child,
    server: Child,
}

impl Kubernetes {
    /// Starts it on `node`, its files under `directory`, and waits until it answers.
    #[track_caller]
    pub fn on(node: &Node, directory: &Path, program: PathBuf) -> Self {
        let directory = directory.join("kubernetes");
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("tokens.csv"), TOKENS).unwrap();
        let namespace = node.namespace().clone();
        let mut etcd = within(&namespace, "etcd", &directory.join("etcd.log"));
        etcd.arg("--data-dir").arg(directory.join("etcd"));
        etcd.args(["--listen-client-urls", ETCD, "--advertise-client-urls", ETCD]);
        etcd.args(["--listen-peer-urls", PEERS, "--initial-advertise-peer-urls", PEERS]);
        etcd.args(["--initial-cluster", &format!("default={PEERS}")]);
        let etcd = etcd.spawn().unwrap();
        let server = serve(&namespace, &directory, &program);
        let kubernetes = Self { namespace, directory, program, etcd, server };
        kubernetes.wait_until_ready();
        kubernetes
    }

    fn wait_until_ready(&self) {
        wait_for("the Kubernetes API answers", SERVING, || {
            self.request("GET", "/readyz", "")?;
            self.request("GET", "/api/v1/namespaces/kube-system", "")
        });
    }

    /// One request as the administrator; its answer, or what it was refused with.
    pub fn request(&self, method: &str, path: &str, body: &str) -> Result<String, String> {
        self.request_as("admin", method, path, body)
    }

    /// Waits until the service account of `deploy/rbac.yaml` may list nodes, or may not: rights take a moment.
    #[track_caller]
    pub fn wait_until_it_may_list_nodes(&self, may: bool) {
        wait_for(&format!("nodes may be listed: {may}"), SERVING, || {
            let listed = self.request_as("enid", "GET", "/api/v1/nodes?limit=1", "");
            if listed.is_ok() == may { Ok(()) } else { Err(format!("{listed:?}")) }
        });
    }

    fn request_as(&self, token: &str, method: &str, path: &str, body: &str) -> Result<String, String> {
        let mut command = Command::new(enid());
        command.args(["lab", "enter", self.namespace.name(), "--", "python3"]);
        command.arg(sources().join("request.py")).arg(SERVER).arg(self.authority());
        command.args([token, method, path]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(body.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// Creates what a file of ours in YAML says.
    #[track_caller]
    pub fn create_all(&self, yaml: &str) {
        for document in yaml.split("\n---\n") {
            let kind = document.lines().find_map(|line| line.strip_prefix("kind: ")).unwrap();
            let path = match kind {
                "ServiceAccount" => "/api/v1/namespaces/kube-system/serviceaccounts",
                "ClusterRole" => "/apis/rbac.authorization.k8s.io/v1/clusterroles",
                "ClusterRoleBinding" => "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
                other => panic!("nobody said where a {other} goes"),
            };
            self.request("POST", path, document).unwrap();
        }
    }

    /// Registers nodes, as their kubelets would.
    #[track_caller]
    pub fn register_nodes(&self, names: &[&str]) {
        for name in names {
            let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name } });
            self.request("POST", "/api/v1/nodes", &node.to_string()).unwrap();
        }
    }

    /// A kubeconfig for the service account of `deploy/rbac.yaml`.
    pub fn kubeconfig(&self) -> PathBuf {
        let file = self.directory.join("enid.conf");
        let text: Value = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "here",
            "clusters": [{ "name": "it",
                           "cluster": { "server": SERVER, "certificate-authority": self.authority() } }],
            "users": [{ "name": "enid", "user": { "token": "enid" } }],
            "contexts": [{ "name": "here", "context": { "cluster": "it", "user": "enid" } }],
        });
        fs::write(&file, text.to_string()).unwrap();
        file
    }

    fn authority(&self) -> PathBuf {
        self.directory.join("certificates/apiserver.crt")
    }

    /// The API server ends; what it knew stays in etcd.
    pub fn stop_serving(&mut self) {
        end(&mut self.server);
    }

    /// It serves again.
    #[track_caller]
    pub fn serve_again(&mut self) {
        self.server = serve(&self.namespace, &self.directory, &self.program);
        self.wait_until_ready();
    }
}

/// A program in the node's network namespace that writes what it says to `log`.
fn within(namespace: &NetNs, program: impl AsRef<std::ffi::OsStr>, log: &Path) -> Command {
    let mut command = Command::new(enid());
    command.args(["lab", "enter", namespace.name(), "--"]).arg(program);
    let log = File::options().create(true).append(true).open(log).unwrap();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    command
}

fn serve(namespace: &NetNs, directory: &Path, program: &Path) -> Child {
    let mut server = within(namespace, program, &directory.join("apiserver.log"));
    let certificates = directory.join("certificates");
    let key = certificates.join("apiserver.key");
    server.arg("--etcd-servers").arg(ETCD);
    server.args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--secure-port=6443"]);
    server.arg("--cert-dir").arg(&certificates);
    server.arg("--token-auth-file").arg(directory.join("tokens.csv"));
    // It makes this key itself, and nobody asks for a token.
    server.args(["--service-account-issuer", SERVER, "--service-account-signing-key-file"]).arg(&key);
    server.arg("--service-account-key-file").arg(&key);
    server.args(["--authorization-mode=RBAC", "--disable-admission-plugins=ServiceAccount"]);
    server.arg("--service-cluster-ip-range=10.96.0.0/16");
    server.spawn().unwrap()
}

fn end(child: &mut Child) {
    let _ended_meanwhile = child.kill();
    let _ended_meanwhile = child.wait();
}

impl Drop for Kubernetes {
    fn drop(&mut self) {
        end(&mut self.server);
        end(&mut self.etcd);
    }
}
