//! Dependencies point inward: plugin → protocol; adapters → engine → core; only the daemon sees adapters.
//!
//! Direct dependencies come from `cargo metadata --no-deps`, what they drag in from `Cargo.lock`: both are in
//! the tree, so the check needs no network and no compiled crate. `Cargo.lock` knows no dependency kinds, but
//! of foreign crates it lists only what is built.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// The workspace's crates and everything below them.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// Crates of the workspace, by name.
    pub members: BTreeMap<String, Member>,
    /// Foreign crates, by name: what any version of theirs depends on.
    pub foreign: BTreeMap<String, BTreeSet<String>>,
}

/// A crate of the workspace.
#[derive(Clone, Debug, Default)]
pub struct Member {
    /// Its directory, relative to the root.
    pub directory: String,
    /// What it is built with.
    pub dependencies: BTreeSet<String>,
    /// What only its tests use.
    pub dev_dependencies: BTreeSet<String>,
    /// Whether a bare `cargo test` includes it.
    pub is_default: bool,
}

/// What a crate of the workspace may depend on, within the workspace.
struct Place {
    krate: &'static str,
    sees: &'static [&'static str],
}

const PLACES: [Place; 21] = [
    Place { krate: "enid-guest", sees: &["enid-guest-derive"] },
    Place { krate: "enid-guest-derive", sees: &[] },
    Place { krate: "batched", sees: &["enid-guest"] },
    Place { krate: "eks-max-pods", sees: &["enid-guest"] },
    Place { krate: "most-free", sees: &["enid-guest"] },
    Place { krate: "warm-targets", sees: &["enid-guest"] },
    Place { krate: "enid-core", sees: &[] },
    Place { krate: "enid-protocol", sees: &[] },
    Place { krate: "enid-cni", sees: &["enid-protocol"] },
    Place { krate: "enid-engine", sees: &["enid-core"] },
    Place { krate: "enid-cloud-aws", sees: &["enid-core", "enid-engine"] },
    Place { krate: "enid-cluster-kubernetes", sees: &[] },
    Place { krate: "enid-component-registry", sees: &["enid-component-store"] },
    Place { krate: "enid-component-store", sees: &[] },
    Place { krate: "enid-datapath-linux", sees: &["enid-core", "enid-engine"] },
    Place { krate: "enid-guest-build", sees: &["enid-core"] },
    Place { krate: "enid-policy-wasm", sees: &["enid-component-store", "enid-core", "enid-engine"] },
    Place { krate: "enid-store-file", sees: &["enid-core", "enid-engine"] },
    Place { krate: "enid-sim", sees: &["enid-core", "enid-engine"] },
    Place {
        krate: "enid-strategy-tool",
        sees: &[
            "enid-component-registry",
            "enid-component-store",
            "enid-core",
            "enid-guest-build",
            "enid-policy-wasm",
        ],
    },
    Place { krate: "enid-vpc-lab", sees: &["enid-core", "enid-sim"] },
];

/// The composition root and the repo's commands: the one sees everything, the other only how guests are built.
const DAEMON: &str = "enid";
const XTASK: &str = "xtask";
/// What `cargo xtask` shares with `enid strategy build`.
const XTASK_SEES: &[&str] = &["enid-guest-build"];

/// What tests of any crate may use besides: the models, never a concrete adapter.
const MODELS: [&str; 2] = ["enid-sim", "enid-vpc-lab"];

/// Crates that decide or speak, and must stay small: none of [`HEAVY`] may reach them.
const LIGHT: [&str; 8] = [
    "batched",
    "enid-core",
    "enid-protocol",
    "enid-cni",
    "enid-guest",
    "eks-max-pods",
    "most-free",
    "warm-targets",
];

/// Starts of names that mean a runtime, a network or a compiler.
const HEAVY: [&str; 9] =
    ["async-", "aws-", "axum", "cranelift", "futures", "hyper", "netlink-", "tokio", "wasmtime"];

/// Who alone may call a family of crates.
const OWNED: [(&str, &[&str]); 8] = [
    ("aws-", &["enid-cloud-aws"]),
    ("axum", &["enid", "enid-cluster-kubernetes", "enid-vpc-lab"]),
    ("kube", &["enid-cluster-kubernetes"]),
    ("minisign", &["enid-component-store"]),
    ("netlink-", &["enid-datapath-linux"]),
    ("oci-client", &["enid-component-registry"]),
    ("prometheus-client", &["enid"]),
    ("wasmtime", &["enid-policy-wasm"]),
];

/// Foreign crates that these may name; whatever else they want is a decision for this table.
const NAMED: [(&str, &[&str]); 7] = [
    ("enid-guest", &["wit-bindgen"]),
    ("enid-guest-derive", &["proc-macro2", "quote", "syn"]),
    ("batched", &[]),
    ("eks-max-pods", &[]),
    ("most-free", &[]),
    ("warm-targets", &[]),
    ("enid-cni", &["rustix", "serde", "serde_json"]),
];

impl Graph {
    /// Reads the workspace at `root`.
    pub fn read(root: &Path) -> Result<Self> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let out = Command::new(cargo)
            .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
            .current_dir(root)
            .output()
            .context("run cargo metadata")?;
        ensure!(out.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&out.stderr).trim());
        let metadata = serde_json::from_slice(&out.stdout).context("read cargo metadata")?;
        let lock = fs::read_to_string(root.join("Cargo.lock")).context("read Cargo.lock")?;
        Self::from_parts(&metadata, &lock)
    }

    fn from_parts(metadata: &Value, lock: &str) -> Result<Self> {
        let root = metadata["workspace_root"].as_str().context("cargo metadata names no root")?;
        let defaults: BTreeSet<&str> = metadata["workspace_default_members"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let mut members = BTreeMap::new();
        for package in metadata["packages"].as_array().context("cargo metadata lists no packages")? {
            let name = package["name"].as_str().context("a package without a name")?.to_owned();
            let manifest = package["manifest_path"].as_str().context("a package without a manifest")?;
            let directory = manifest.strip_prefix(root).unwrap_or(manifest).trim_start_matches('/');
            let directory = directory.strip_suffix("/Cargo.toml").unwrap_or(directory).to_owned();
            let is_default = package["id"].as_str().is_some_and(|id| defaults.contains(id));
            let mut member = Member { directory, is_default, ..Member::default() };
            for dependency in package["dependencies"].as_array().into_iter().flatten() {
                let Some(dependency_name) = dependency["name"].as_str() else { continue };
                let of_tests = dependency["kind"].as_str() == Some("dev");
                let into = if of_tests { &mut member.dev_dependencies } else { &mut member.dependencies };
                into.insert(dependency_name.to_owned());
            }
            members.insert(name, member);
        }
        let mut foreign = dependencies_in(lock);
        foreign.retain(|name, _| !members.contains_key(name));
        Ok(Self { members, foreign })
    }

    /// Every edge that must not be.
    pub fn violations(&self) -> Vec<String> {
        let mut violations = Vec::new();
        for (name, member) in &self.members {
            self.check_place(name, member, &mut violations);
            self.check_owned(name, member, &mut violations);
            self.check_named(name, member, &mut violations);
        }
        self.check_light(&mut violations);
        violations
    }

    fn check_place(&self, name: &str, member: &Member, violations: &mut Vec<String>) {
        let inside = |names: &BTreeSet<String>| -> Vec<String> {
            names.iter().filter(|name| self.members.contains_key(*name)).cloned().collect()
        };
        if member.directory.starts_with("tests/") || name == DAEMON {
            return;
        }
        let sees: &[&str] = match PLACES.iter().find(|place| place.krate == name) {
            Some(place) => place.sees,
            None if name == XTASK => XTASK_SEES,
            None => {
                violations
                    .push(format!("{name} has no place among the crates: say in tidy's table what it sees"));
                return;
            }
        };
        for other in inside(&member.dependencies) {
            if !sees.contains(&other.as_str()) {
                violations.push(format!("{name} depends on {other}: dependencies point inward"));
            }
        }
        for other in inside(&member.dev_dependencies) {
            if !sees.contains(&other.as_str()) && !MODELS.contains(&other.as_str()) {
                violations.push(format!(
                    "tests of {name} depend on {other}: only models may stand in for the world"
                ));
            }
        }
    }

    /// Whole-system tests may watch the kernel or play a server with a library of their own choice.
    fn check_owned(&self, name: &str, member: &Member, violations: &mut Vec<String>) {
        if member.directory.starts_with("tests/") {
            return;
        }
        for (family, owners) in OWNED {
            let named =
                member.dependencies.union(&member.dev_dependencies).find(|other| other.starts_with(family));
            if let Some(other) = named.filter(|_| !owners.contains(&name)) {
                violations.push(format!("{name} depends on {other}: only {} may", owners.join(" and ")));
            }
        }
    }

    fn check_named(&self, name: &str, member: &Member, violations: &mut Vec<String>) {
        let Some((_, allowed)) = NAMED.iter().find(|(krate, _)| *krate == name) else { return };
        for other in member.dependencies.iter().filter(|other| !self.members.contains_key(*other)) {
            if !allowed.contains(&other.as_str()) {
                violations
                    .push(format!("{name} depends on {other}: it stays within what tidy's table names"));
            }
        }
    }

    fn check_light(&self, violations: &mut Vec<String>) {
        for name in LIGHT {
            for reached in self.reached_from(name, Kinds::Built) {
                if HEAVY.iter().any(|heavy| reached.starts_with(heavy)) {
                    violations.push(format!("{name} reaches {reached}: it must stay light"));
                }
            }
        }
        for name in self.members.iter().filter(|(_, member)| member.is_default).map(|(name, _)| name) {
            for reached in self.reached_from(name, Kinds::BuiltAndTested) {
                if reached == "aws-sdk-ec2" || reached == "wasmtime" {
                    violations.push(format!("{name} reaches {reached}, and a bare `cargo test` includes it"));
                }
            }
        }
    }

    /// All crates below `name`.
    fn reached_from(&self, name: &str, kinds: Kinds) -> BTreeSet<String> {
        let mut reached = BTreeSet::new();
        let mut ahead: Vec<String> =
            self.members.get(name).map(|member| member.direct(kinds)).unwrap_or_default();
        while let Some(next) = ahead.pop() {
            match self.members.get(&next) {
                // What only tests of a dependency use is not below us.
                Some(member) => {
                    ahead.extend(member.direct(Kinds::Built).into_iter().filter(|n| !reached.contains(n)))
                }
                None => {
                    let below = self.foreign.get(&next).into_iter().flatten();
                    ahead.extend(below.filter(|name| !reached.contains(*name)).cloned());
                }
            }
            reached.insert(next);
        }
        reached
    }
}

/// Which dependencies count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kinds {
    Built,
    BuiltAndTested,
}

impl Member {
    fn direct(&self, kinds: Kinds) -> Vec<String> {
        match kinds {
            Kinds::Built => self.dependencies.iter().cloned().collect(),
            Kinds::BuiltAndTested => self.dependencies.union(&self.dev_dependencies).cloned().collect(),
        }
    }
}

/// Names and dependencies in a `Cargo.lock`, versions merged.
fn dependencies_in(lock: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut packages: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut current = None;
    let mut in_list = false;
    for line in lock.lines() {
        if let Some(name) = line.strip_prefix("name = ") {
            let name = name.trim_matches('"').to_owned();
            packages.entry(name.clone()).or_default();
            current = Some(name);
        } else if line == "dependencies = [" {
            in_list = true;
        } else if line == "]" {
            in_list = false;
        } else if let Some(package) = current.as_ref().filter(|_| in_list) {
            // ` "name",` or ` "name version",`
            let entry = line.trim().trim_end_matches(',').trim_matches('"');
            let name = entry.split(' ').next().unwrap_or(entry).to_owned();
            packages.entry(package.clone()).or_default().insert(name);
        }
    }
    packages
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// A workspace of these crates with these dependencies.
    fn graph(members: &[(&str, &[&str])], foreign: &[(&str, &[&str])]) -> Graph {
        let member = |dependencies: &[&str]| Member {
            directory: "host/x".to_owned(),
            dependencies: names(dependencies),
            ..Member::default()
        };
        Graph {
            members: members.iter().map(|(name, below)| ((*name).to_owned(), member(below))).collect(),
            foreign: foreign.iter().map(|(name, below)| ((*name).to_owned(), names(below))).collect(),
        }
    }

    #[test]
    fn inward_edges_are_fine() {
        let tree = graph(
            &[
                ("enid-core", &["serde"]),
                ("enid-engine", &["enid-core", "tokio"]),
                ("enid-cloud-aws", &["enid-engine", "aws-sdk-ec2"]),
                ("enid", &["enid-cloud-aws"]),
            ],
            &[],
        );
        assert_eq!(tree.violations(), Vec::<String>::new());
    }

    #[test]
    fn adapters_do_not_know_each_other() {
        let tree = graph(&[("enid-cloud-aws", &["enid-store-file"]), ("enid-store-file", &[])], &[]);
        assert_eq!(tree.violations().len(), 1);
    }

    #[test]
    fn a_runtime_that_comes_through_a_foreign_crate_is_seen() {
        let tree = graph(
            &[("enid-core", &["innocent"])],
            &[("innocent", &["deeper"]), ("deeper", &["tokio"]), ("tokio", &[])],
        );
        assert_eq!(tree.violations(), ["enid-core reaches tokio: it must stay light"]);
    }

    #[test]
    fn the_sdk_has_one_owner() {
        let tree = graph(&[("enid", &["aws-sdk-ec2"])], &[]);
        assert_eq!(tree.violations(), ["enid depends on aws-sdk-ec2: only enid-cloud-aws may"]);
    }

    #[test]
    fn a_crate_without_a_place_is_noticed() {
        assert_eq!(graph(&[("enid-new", &[])], &[]).violations().len(), 1);
    }

    #[test]
    fn tests_of_a_crate_use_models_and_not_adapters() {
        let mut tree = graph(&[("enid-engine", &[]), ("enid-sim", &[]), ("enid-store-file", &[])], &[]);
        tree.members.get_mut("enid-engine").unwrap().dev_dependencies =
            names(&["enid-sim", "enid-store-file"]);
        assert_eq!(tree.violations().len(), 1);
    }

    #[test]
    fn lock_files_are_read_with_versions_merged() {
        let lock = "[[package]]\nname = \"a\"\nversion = \"1\"\ndependencies = [\n \"b 2.0.0\",\n \"c\",\n]\n\n[[package]]\nname = \"c\"\n";
        let read = dependencies_in(lock);
        assert_eq!(read["a"], names(&["b", "c"]));
        assert!(read["c"].is_empty());
    }
}
