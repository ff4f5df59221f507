//! libcni, the library that runtimes call plugins with, by programs that are not ours: its own `cnitool`, and a few lines of
//! Go for what that cannot do. Built from source with Go, where there is Go.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::golang::built;
use crate::node::Node;
use crate::pod::Pod;
use crate::program::{self, Ended};

/// The newest release, which has GC and STATUS.
pub const NEWEST: &str = "v1.3.0";
/// The plugins of Debian's containernetworking-plugins.
pub const OTHER_PLUGINS: &str = "/usr/lib/cni";
/// Where our own program in Go is.
const SOURCE: &str = "libcni";

/// `cnitool` of a release of libcni, where it can be built.
pub fn cnitool(release: &str) -> Option<PathBuf> {
    built(&format!("cnitool-{release}"), |go, directory| {
        let module = format!("github.com/containernetworking/cni/cnitool@{release}");
        go.args(["install", &module]).env("GOBIN", directory);
        "cnitool"
    })
}

/// A program that calls GC with a list, by the newest libcni.
pub fn gc_program() -> Option<PathBuf> {
    let source = Path::new(&std::env::var_os("CARGO_MANIFEST_DIR").unwrap()).join(SOURCE);
    built(&format!("libcni-gc-{NEWEST}"), |go, directory| {
        go.current_dir(source).args(["build", "-o"]).arg(directory.join("libcni-gc")).arg(".");
        "libcni-gc"
    })
}

/// A runtime's place on a node: a conflist, and libcni's cache of results.
#[derive(Debug)]
pub struct Place {
    node: Node,
    directory: PathBuf,
    path: Option<PathBuf>,
}

/// A `PATH` with `iptables` and nothing else. Debian's `portmap` looks in CHECK for rules of IPv6 that it has not made, for pods
/// that have none, unless there is no `ip6tables`.
pub fn only_iptables(within: &Path) -> PathBuf {
    let path = within.join("only-iptables");
    fs::create_dir_all(&path).unwrap();
    if !path.join("iptables").exists() {
        symlink("/usr/sbin/iptables", path.join("iptables")).unwrap();
    }
    path
}

impl Place {
    /// With this conflist, in a new directory called `name` in `within`.
    pub fn with(node: &Node, within: &Path, name: &str, conflist: &Value) -> Self {
        let place = Self { node: node.clone(), directory: within.join(name), path: None };
        fs::create_dir_all(place.conflists()).unwrap();
        fs::create_dir_all(place.directory.join("lib")).unwrap();
        fs::write(place.conflists().join("10.conflist"), conflist.to_string()).unwrap();
        place
    }

    /// The same with another `PATH` for plugins.
    pub fn path(self, path: PathBuf) -> Self {
        Self { path: Some(path), ..self }
    }

    fn conflists(&self) -> PathBuf {
        self.directory.join("net.d")
    }

    /// `cnitool VERB NETWORK NETNS` for a pod.
    pub fn cnitool(&self, tool: &Path, verb: &str, network: &str, pod: &Pod) -> Ended {
        let netns = pod.namespace.path();
        self.run(tool, &[verb, network, netns.to_str().unwrap()], &[])
    }

    /// The same with what a runtime provides for capabilities.
    pub fn cnitool_with(
        &self,
        tool: &Path,
        verb: &str,
        network: &str,
        pod: &Pod,
        capabilities: &Value,
    ) -> Ended {
        let netns = pod.namespace.path();
        self.run(tool, &[verb, network, netns.to_str().unwrap()], &[("CAP_ARGS", &capabilities.to_string())])
    }

    /// GC of a network, in which attachments like `container/ifname` are valid.
    pub fn gc(&self, program: &Path, network: &str, valid: &[String]) -> Ended {
        let conflists = self.conflists();
        let mut words = vec![conflists.to_str().unwrap(), network];
        words.extend(valid.iter().map(String::as_str));
        self.run(program, &words, &[])
    }

    /// What libcni has kept of ADDs.
    pub fn cached(&self) -> Vec<Value> {
        let Ok(files) = fs::read_dir(self.directory.join("lib/cni/results")) else { return Vec::new() };
        files.map(|file| serde_json::from_slice(&fs::read(file.unwrap().path()).unwrap()).unwrap()).collect()
    }

    /// Runs a program in the node's network, with a `/var/lib` of its own: libcni keeps its cache there and nowhere else.
    fn run(&self, program: &Path, words: &[&str], variables: &[(&str, &str)]) -> Ended {
        let script = "mount --make-rprivate / && mount --bind \"$0\" /var/lib && exec \"$@\"";
        let plugin = program::plugin();
        let plugins = std::env::join_paths([plugin.parent().unwrap(), Path::new(OTHER_PLUGINS)]).unwrap();
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script]).arg(self.directory.join("lib"));
        if let Some(path) = &self.path {
            command.arg("/usr/bin/env").arg(format!("PATH={}", path.display()));
        }
        command.arg(program).args(words);
        command.env("NETCONFPATH", self.conflists()).env("CNI_PATH", plugins).envs(variables.iter().copied());
        command.stdin(Stdio::null());
        self.node.namespace().inside(|| command.output().unwrap()).unwrap().into()
    }
}
