//! What the machine needs, and how it gets there: idempotent, and quick when nothing is missing.

use std::env;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::workspace::{Workspace, run, static_target};

/// How much of the machine a command uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Compiling only.
    Build,
    /// Compiling, and running nodes as network namespaces: needs root.
    Nodes,
    /// All that, and what tests and benchmarks hold enid against.
    Tests,
}

impl Scope {
    /// The widest scope that this user can make use of.
    pub(crate) fn of_this_user() -> Self {
        if is_root() { Scope::Nodes } else { Scope::Build }
    }

    /// What tests need, as far as this user can make use of it.
    pub(crate) fn of_tests() -> Self {
        if is_root() { Scope::Tests } else { Scope::Build }
    }
}

/// A system package that something here calls.
struct Package {
    name: &'static str,
    scope: Scope,
    present: fn() -> bool,
}

const PACKAGES: [Package; 13] = [
    // The linker of every Rust program, and the compiler of the TLS library's C code.
    Package { name: "gcc", scope: Scope::Build, present: || finds("cc") },
    Package { name: "libc6-dev", scope: Scope::Build, present: || has_c_headers() },
    // A registry on loopback and the other implementation of signatures, for the tests of distribution.
    Package { name: "docker-registry", scope: Scope::Tests, present: || finds("docker-registry") },
    Package { name: "minisign", scope: Scope::Tests, present: || finds("minisign") },
    // A container runtime as nodes have it, and the plugins of the CNI project: to be chained with, and compared with.
    Package { name: "containerd", scope: Scope::Tests, present: || finds("containerd") },
    Package { name: "runc", scope: Scope::Tests, present: || finds("runc") },
    Package {
        name: "containernetworking-plugins",
        scope: Scope::Tests,
        present: || Path::new("/usr/lib/cni/ptp").exists(),
    },
    // Reads the metrics of a node, and checks them, the alerts and the dashboard.
    Package { name: "prometheus", scope: Scope::Tests, present: || finds("prometheus") && finds("promtool") },
    // What a Kubernetes API keeps its objects in.
    Package { name: "etcd-server", scope: Scope::Tests, present: || finds("etcd") },
    Package { name: "iproute2", scope: Scope::Nodes, present: || finds("ip") },
    Package { name: "nftables", scope: Scope::Nodes, present: || finds("nft") },
    Package { name: "iputils-ping", scope: Scope::Nodes, present: || finds("ping") },
    // For an independent client and an independent model of EC2 in the end-to-end tests.
    Package {
        name: "python3-venv",
        scope: Scope::Nodes,
        present: || succeeds("python3", &["-c", "import ensurepip, venv"]),
    },
];

/// Packages that bring a service; the tests start their own, and a service would listen to the network or look after
/// pods that nobody wants.
const SERVICES: [(&str, &str); 4] = [
    ("containerd", "containerd.service"),
    ("docker-registry", "docker-registry.service"),
    ("etcd-server", "etcd.service"),
    ("prometheus", "prometheus.service"),
];

/// Installs what `scope` needs and the machine lacks; fails with the command to type where it may not.
pub(crate) fn run_setup(workspace: &Workspace, scope: Scope) -> Result<()> {
    let mut to_type = Vec::new();
    to_type.extend(install_toolchain(workspace)?);
    to_type.extend(install_packages(scope)?);
    if to_type.is_empty() {
        return Ok(());
    }
    bail!("something is missing that xtask may not install itself; type:\n  {}", to_type.join("\n  "));
}

/// Whether this process is root, and so may create network namespaces.
pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// Where `program` is, by `PATH` and the directories that a user's `PATH` often leaves out.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let further = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(further).map(|dir| dir.join(program)).find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

fn finds(program: &str) -> bool {
    find(program).is_some()
}

fn has_c_headers() -> bool {
    let multiarch = format!("/usr/include/{}-linux-gnu", env::consts::ARCH);
    [Path::new("/usr/include"), Path::new("/usr/local/include"), Path::new(&multiarch)]
        .iter()
        .any(|dir| dir.join("stdlib.h").exists())
}

fn succeeds(program: &str, args: &[&str]) -> bool {
    let run = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    run.is_ok_and(|status| status.success())
}

/// Adds targets and components to the pinned toolchain; answers with the command when rustup is not there.
fn install_toolchain(workspace: &Workspace) -> Result<Option<String>> {
    let sysroot = sysroot()?;
    let targets = ["wasm32-unknown-unknown".to_owned(), static_target()];
    let targets: Vec<&str> = targets
        .iter()
        .map(String::as_str)
        .filter(|target| !sysroot.join("lib/rustlib").join(target).join("lib").is_dir())
        .collect();
    let components: Vec<&str> = [("clippy", "cargo-clippy"), ("rustfmt", "cargo-fmt")]
        .into_iter()
        .filter(|(_, program)| !is_executable(&sysroot.join("bin").join(program)) && !finds(program))
        .map(|(component, _)| component)
        .collect();
    if targets.is_empty() && components.is_empty() {
        return Ok(None);
    }
    let channel = channel(workspace)?;
    let mut args = vec!["toolchain", "install", channel.as_str(), "--profile", "minimal", "--no-self-update"];
    for target in &targets {
        args.extend(["--target", target]);
    }
    for component in &components {
        args.extend(["--component", component]);
    }
    // `toolchain install` with targets also adds them to a toolchain that is there already.
    if !finds("rustup") {
        return Ok(Some(format!("rustup {}", args.join(" "))));
    }
    println!("==> rustup {}", args.join(" "));
    run(Command::new("rustup").args(&args).stdin(Stdio::null()))?;
    Ok(None)
}

fn sysroot() -> Result<PathBuf> {
    let out =
        Command::new("rustc").args(["--print", "sysroot"]).output().context("run rustc --print sysroot")?;
    Ok(PathBuf::from(String::from_utf8_lossy(&out.stdout).trim()))
}

/// The channel that `rust-toolchain.toml` pins.
fn channel(workspace: &Workspace) -> Result<String> {
    let file = workspace.root.join("rust-toolchain.toml");
    let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    let value = text.lines().find_map(|line| line.strip_prefix("channel = "));
    Ok(value.with_context(|| format!("{} pins no channel", file.display()))?.trim_matches('"').to_owned())
}

/// Installs those packages of `scope` that are missing.
fn install_packages(scope: Scope) -> Result<Option<String>> {
    let wanted = PACKAGES.iter().filter(|package| is_in(package.scope, scope));
    let missing: Vec<&str> =
        wanted.filter(|package| !(package.present)()).map(|package| package.name).collect();
    install(&missing)
}

/// Installs packages as root on Debian and kin; answers with the command otherwise.
pub(crate) fn install(missing: &[&str]) -> Result<Option<String>> {
    if missing.is_empty() {
        return Ok(None);
    }
    let install = format!("apt-get install -y --no-install-recommends {}", missing.join(" "));
    if !finds("apt-get") {
        return Ok(Some(format!(
            "# not a Debian or Ubuntu: install the equivalents of {}",
            missing.join(", ")
        )));
    }
    if !is_root() {
        return Ok(Some(format!("sudo apt-get update && sudo {install}")));
    }
    println!("==> {install}");
    if Path::new("/run/systemd/system").is_dir() {
        for (_, service) in SERVICES.iter().filter(|(package, _)| missing.contains(package)) {
            run(Command::new("systemctl").args(["mask", service]).stdin(Stdio::null()))?;
        }
    }
    run(apt().args(["update", "-qq"]))?;
    run(apt().args(["install", "-y", "-qq", "--no-install-recommends"]).args(missing))?;
    Ok(None)
}

fn is_in(needed_by: Scope, scope: Scope) -> bool {
    match needed_by {
        Scope::Build => true,
        Scope::Nodes => scope != Scope::Build,
        Scope::Tests => scope == Scope::Tests,
    }
}

fn apt() -> Command {
    let mut apt = Command::new("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    apt
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_without_a_shell() {
        assert!(find("sh").is_some());
        assert!(find("no-such-program-here").is_none());
    }

    #[test]
    fn building_needs_no_packages_for_nodes() {
        assert!(is_in(Scope::Build, Scope::Build));
        assert!(!is_in(Scope::Nodes, Scope::Build));
        assert!(is_in(Scope::Nodes, Scope::Tests));
        assert!(!is_in(Scope::Tests, Scope::Nodes));
    }
}
