//! containerd as a node's container runtime: unmodified, every folder its own, and nothing of it outlives its owner.
//!
//! It runs in the node's network namespace, on a [`Machine`] around it: when that ends, containerd, its shims and
//! every sandbox end, and what they mounted goes. Only the namespaces of sandboxes are in the one `/run/netns` that
//! the node's agents know; containerd runs as a group of its own, so that their files show who made them. A guard
//! outside takes all of it away, also when the test is killed.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use enid_vpc_lab::namespace::NetNs;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::golang::built;
use crate::lab::Lab;
use crate::node::Node;
use crate::patience::wait_for;
use crate::plugin::{IFNAME, NETWORK};
use crate::program;

/// Where Debian has the plugins of the CNI project.
const DEBIANS_PLUGINS: &str = "/usr/lib/cni";
/// The releases that `tests/e2e/cri/containerd` pins: of containerd, and of those plugins.
const NEWER: &str = "v2.2.9";
const NEWER_PLUGINS: &str = "v1.9.1";
/// What is built of them.
const NEWER_PROGRAMS: [&str; 5] = [
    "github.com/containerd/containerd/v2/cmd/containerd",
    "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
    "github.com/containerd/containerd/v2/cmd/ctr",
    "github.com/containernetworking/plugins/plugins/main/loopback",
    "github.com/containernetworking/plugins/plugins/meta/portmap",
];
/// What operators install.
const CONFLIST: &str = include_str!("../../../deploy/10-enid.conflist");
/// Where libcni keeps what plugins said.
const RESULTS: &str = "/var/lib/cni/results";
const GUARD: &str = include_str!("../cri/guard.sh");
const MACHINE: &str = include_str!("../cri/machine.sh");
const PAUSE: &str = include_str!("../cri/pause.c");
const FAILS: &str = include_str!("../cri/fails.sh");
const IMAGE: &str = include_str!("../cri/image.py");
const IMAGE_NAME: &str = "localhost/pause:e2e";
/// The file for everything that it says.
const LOG: &str = "log";
/// The runtime handler of sandboxes that fail once they have their network.
pub const BROKEN: &str = "broken";
/// The plugin whose ADD fails.
pub const FAILING: &str = "fails";
/// Beyond the groups that anybody has.
const FIRST_GROUP: u32 = 0x4000_0000;
/// How long containerd may take until it listens.
const SERVING: Duration = Duration::from_secs(30);
/// Lines of the log that a failing test shows.
const SHOWN: usize = 40;

/// A release of containerd, with the CNI project's plugins of its time.
#[derive(Clone, Debug)]
pub enum Release {
    /// Debian's: it speaks CNI up to 1.0.0, and sends ADD and DEL only.
    Debian,
    /// A newer one, in this directory with its plugins: it speaks CNI 1.1.0, and asks STATUS whenever kubelet asks it.
    Newer(PathBuf),
}

impl Release {
    /// The newer one, where it can be built.
    pub fn newer() -> Option<Self> {
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR").unwrap();
        let program = built(&format!("containerd-{NEWER}-{NEWER_PLUGINS}"), |go, directory| {
            go.current_dir(Path::new(&manifest).join("cri/containerd"));
            go.args(["build", "-mod=readonly", "-trimpath", "-ldflags", "-s -w", "-tags", "no_btrfs", "-o"]);
            go.arg(directory).args(NEWER_PROGRAMS);
            "containerd"
        })?;
        Some(Self::Newer(program.parent().unwrap().to_owned()))
    }

    /// A word for names.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Debian => "debian",
            Self::Newer(_) => "newer",
        }
    }

    fn plugins(&self) -> &Path {
        match self {
            Self::Debian => Path::new(DEBIANS_PLUGINS),
            Self::Newer(programs) => programs,
        }
    }

    /// Where its programs are found, and then everybody's.
    fn path(&self) -> OsString {
        let everybodys = std::env::var_os("PATH").unwrap();
        match self {
            Self::Debian => everybodys,
            Self::Newer(programs) => {
                let everybodys = std::env::split_paths(&everybodys);
                std::env::join_paths([programs.clone()].into_iter().chain(everybodys)).unwrap()
            }
        }
    }
}

/// A containerd that runs, or crashed and can be started again.
#[derive(Debug)]
pub struct Containerd {
    release: Release,
    directory: PathBuf,
    group: u32,
    cgroup: String,
    machine: Machine,
    process: Option<Process>,
    has_crashed: bool,
}

impl Containerd {
    /// Starts it on `node`, without a network.
    pub fn start(release: &Release, lab: &Lab, node: &Node) -> Self {
        let directory = lab.directory().join("containerd");
        for part in ["names", "shared", "plugins", "networks"] {
            fs::create_dir_all(directory.join(part)).unwrap();
        }
        write_image(&directory);
        fs::write(directory.join("config.toml"), settings(&directory)).unwrap();
        let (group, cgroup) = (own_group(), lab.name().to_owned());
        let machine = Machine::boot(node.namespace(), &directory, group, &cgroup);
        let release = release.clone();
        let mut containerd =
            Self { release, directory, group, cgroup, machine, process: None, has_crashed: false };
        for name in ["loopback", "portmap"] {
            containerd.install_plugin(name, &containerd.release.plugins().join(name));
        }
        let fails = containerd.directory.join("fails.sh");
        fs::write(&fails, FAILS).unwrap();
        fs::set_permissions(&fails, Permissions::from_mode(0o755)).unwrap();
        containerd.install_plugin(FAILING, &fails);
        containerd.install_plugin("enid-cni", &program::plugin());
        containerd.start_again();
        let mut import = containerd.command();
        import.arg("ctr").arg("--address").arg(containerd.socket());
        import.args(["--namespace", "k8s.io", "images", "import"]);
        done(import.arg(containerd.directory.join("image.tar")));
        containerd
    }

    /// Starts it again after it crashed.
    pub fn start_again(&mut self) {
        assert!(self.process.is_none(), "containerd runs");
        // What crashed left its socket behind; only a new one says that somebody listens.
        let _not_there = fs::remove_file(self.socket());
        self.remove_torn_results();
        let log = log(&self.directory);
        let mut command = self.command();
        command.args(["--setgid", &self.group.to_string(), "containerd", "--config"]);
        command.arg(self.directory.join("config.toml"));
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let entering = command.spawn().unwrap();
        // `nsenter` waits for containerd, its only child.
        let children = format!("/proc/{0}/task/{0}/children", entering.id());
        let pid = wait_for("containerd is started", SERVING, || {
            let children = fs::read_to_string(&children).map_err(|error| error.to_string())?;
            children.trim().parse().map_err(|_| format!("{children:?}"))
        });
        self.process = Some(Process { entering, pid });
        wait_for("containerd listens", SERVING, || {
            UnixStream::connect(self.socket()).map(drop).map_err(|error| error.to_string())
        });
    }

    /// A command on its machine, to be completed with one of its programs.
    fn command(&self) -> Command {
        let mut command = self.machine.command();
        command.env("PATH", self.release.path());
        command
    }

    /// Removes what operators remove by hand: libcni keeps results in files that a crash may leave empty, and then
    /// refuses every DEL of that sandbox before any plugin hears of it.
    fn remove_torn_results(&self) {
        // Before the first sandbox there is none.
        let kept = fs::read_dir(self.machine.sees(Path::new(RESULTS))).into_iter().flatten();
        for file in kept.map(|file| file.unwrap().path()) {
            if serde_json::from_slice::<Value>(&fs::read(&file).unwrap()).is_err() {
                fs::remove_file(file).unwrap();
            }
        }
    }

    /// SIGKILL, and waits for its end. Shims and sandboxes live on.
    pub fn crash(&mut self) {
        let Process { mut entering, pid } = self.process.take().expect("containerd runs");
        kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
        entering.wait().unwrap();
        self.has_crashed = true;
    }

    /// Whether it ever crashed: then it may have forgotten sandboxes that it began.
    pub fn has_crashed(&self) -> bool {
        self.has_crashed
    }

    /// Where it answers CRI calls.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("containerd.sock")
    }

    /// A directory for the logs of pods.
    pub fn pod_logs(&self) -> PathBuf {
        self.directory.join("logs")
    }

    /// The cgroup that all pods are in.
    pub fn cgroup(&self) -> String {
        format!("/{}", self.cgroup)
    }

    /// Gives it the network that operators install, with the node's socket, and `further` plugins after enid's. It takes
    /// a changed file over by itself.
    pub fn connect(&self, node: &Node, further: &[Value]) {
        let mut network: Value = serde_json::from_str(CONFLIST).unwrap();
        let plugins = network["plugins"].as_array_mut().unwrap();
        plugins[0]["socket"] = node.socket().to_str().unwrap().into();
        plugins.extend_from_slice(further);
        // containerd overlooks a file that comes from another directory.
        let half = self.directory.join("networks/10-enid.conflist.new");
        fs::write(&half, network.to_string()).unwrap();
        fs::rename(&half, half.with_extension("")).unwrap();
    }

    /// Puts a program in the place of a plugin, without a moment in which there is none.
    pub fn install_plugin(&self, name: &str, program: &Path) {
        assert!(program.exists(), "{} is missing: `cargo xtask setup` installs it", program.display());
        let half = self.directory.join("half");
        symlink(program, &half).unwrap();
        fs::rename(half, self.directory.join("plugins").join(name)).unwrap();
    }

    /// The namespaces that it made and that are there.
    pub fn namespaces(&self) -> BTreeSet<NetNs> {
        let names = fs::read_dir(self.machine.sees(&self.directory.join("names"))).unwrap();
        let own = names.map(|file| file.unwrap()).filter(|file| {
            // It may go while we look.
            file.metadata().is_ok_and(|meta| meta.gid() == self.group)
        });
        own.filter_map(|file| file.file_name().to_str().map(NetNs::named)).collect()
    }

    /// What ADD said for a sandbox, as the runtime keeps it.
    pub fn result_for(&self, sandbox: &str) -> Value {
        let file = format!("{RESULTS}/{NETWORK}-{sandbox}-{IFNAME}");
        let text = fs::read_to_string(self.machine.sees(Path::new(&file)));
        let text = text.unwrap_or_else(|error| panic!("containerd keeps no {file}: {error}"));
        let kept: Value = serde_json::from_str(&text).unwrap();
        kept["result"].clone()
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let ended = self.machine.end();
        if let Some(mut process) = self.process.take() {
            let _ended_already = process.entering.wait();
        }
        let log = fs::read_to_string(self.directory.join(LOG)).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(SHOWN)..].join("\n");
        if std::thread::panicking() {
            eprintln!("the end of containerd's log:\n{tail}");
        } else {
            assert!(ended.unwrap().success(), "something of containerd is left:\n{tail}");
        }
    }
}

/// A containerd, and what put it on its machine.
#[derive(Debug)]
struct Process {
    entering: Child,
    pid: i32,
}

/// Process and mount namespaces in which nothing outlives the first process, which ends with its owner.
#[derive(Debug)]
struct Machine {
    guard: Child,
    /// As long as it is open, the machine is kept.
    keep: Option<ChildStdin>,
    /// Its first process, as seen from outside.
    first: i32,
}

impl Machine {
    fn boot(network: &NetNs, directory: &Path, group: u32, cgroup: &str) -> Self {
        for (name, script) in [("guard.sh", GUARD), ("machine.sh", MACHINE)] {
            fs::write(directory.join(name), script).unwrap();
        }
        let mut boot = Command::new("unshare");
        boot.args(["--mount", "--propagation", "unchanged", "sh"]).arg(directory.join("guard.sh"));
        boot.arg(directory).arg(network.path()).args([&group.to_string(), cgroup]);
        // Whoever interrupts the test does not interrupt what cleans up after it.
        boot.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log(directory));
        let mut guard = boot.spawn().unwrap();
        let keep = guard.stdin.take();
        let mut told = String::new();
        BufReader::new(guard.stdout.take().unwrap()).read_line(&mut told).unwrap();
        let first = told.trim().parse().unwrap_or_else(|_| {
            let log = fs::read_to_string(directory.join(LOG)).unwrap();
            panic!("the machine around containerd does not come up: {log}")
        });
        Self { guard, keep, first }
    }

    /// A path on it, as seen from outside.
    fn sees(&self, path: &Path) -> PathBuf {
        Path::new(&format!("/proc/{}/root", self.first)).join(path.strip_prefix("/").unwrap())
    }

    /// A command on it, to be completed.
    fn command(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.first.to_string(), "--pid", "--mount", "--net"]);
        command
    }

    /// Ends everything on it, and waits until it has ended and what it left is gone.
    fn end(&mut self) -> io::Result<ExitStatus> {
        drop(self.keep.take());
        self.guard.wait()
    }
}

/// The end of the log.
fn log(directory: &Path) -> File {
    OpenOptions::new().create(true).append(true).open(directory.join(LOG)).unwrap()
}

/// A group that no other containerd of a test has.
fn own_group() -> u32 {
    static STARTED: AtomicU32 = AtomicU32::new(0);
    let number = STARTED.fetch_add(1, Ordering::Relaxed);
    // Process ids have 22 bits at most.
    FIRST_GROUP + (std::process::id() << 6) + number % 64
}

/// The image of every sandbox.
fn write_image(directory: &Path) {
    let (source, program) = (directory.join("pause.c"), directory.join("pause"));
    fs::write(&source, PAUSE).unwrap();
    done(Command::new("cc").args(["-O2", "-static", "-s", "-o"]).args([&program, &source]));
    let image = directory.join("image.tar");
    done(Command::new("python3").args(["-c", IMAGE]).arg(program).arg(IMAGE_NAME).arg(image));
}

/// containerd's settings. Snapshots are copies, which any file system can do; a test need not be allowed to protect
/// its processes from being killed for memory.
fn settings(directory: &Path) -> String {
    let at = |part: &str| format!("{:?}", directory.join(part));
    let [root, state, socket, opt, plugins, networks] =
        ["root", "state", "containerd.sock", "opt", "plugins", "networks"].map(at);
    format!(
        r#"version = 2
root = {root}
state = {state}
[grpc]
address = {socket}
[plugins."io.containerd.internal.v1.opt"]
path = {opt}
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{IMAGE_NAME}"
disable_apparmor = true
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = {plugins}
conf_dir = {networks}
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.{BROKEN}]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.{BROKEN}.options]
BinaryName = "/bin/false"
"#
    )
}

/// Runs a command that succeeds.
#[track_caller]
fn done(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output();
    let output =
        output.unwrap_or_else(|error| panic!("{command:?}: {error}; `cargo xtask setup` installs it"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
