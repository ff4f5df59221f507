//! `[node]`: this node.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::document::Section;
use super::{is_name, is_path, narrow};

/// Bytes of the runtime directory's path: sockets in it must fit the 107 that the kernel allows.
const MAX_RUNTIME_DIR: usize = 80;
/// Labels of the node: far more than choose anything, few enough to be shown with every question to a strategy.
const MAX_LABELS: usize = 64;

/// `[node]`: this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Where sockets, journal and spool are. Default `/run/enid`: on a file system that a reboot empties,
    /// because sandboxes do not survive one either.
    pub runtime_dir: PathBuf,
    /// The cluster whose subnet tags are honoured (`cni.networking.k8s.aws/cluster/NAME`). Default: none, and
    /// subnets tagged for any cluster are left alone.
    pub cluster_name: Option<String>,
    /// Pods that the node may carry. Default: none, and the max-pods strategy answers.
    pub max_pods: Option<u32>,
    /// Where strategies are found by name. Default: `strategies` next to the daemon's executable.
    pub strategy_dir: Option<PathBuf>,
    /// Whether the node takes no new pods, as a script says that drains it. Default false. Taken over while
    /// running, as the labels are.
    pub unschedulable: bool,
    /// Labels of the node, in Kubernetes' form, at most 64: they choose its ENIConfig. Default: none.
    pub labels: BTreeMap<String, String>,
    /// How the daemon is kept from what it does not need. Default [`Confinement::Enforced`].
    pub confinement: Confinement,
}

/// How the daemon is kept from what it does not need: capabilities, and system calls that are not on its list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Confinement {
    /// Capabilities are given up; other system calls fail.
    #[default]
    Enforced,
    /// Capabilities are given up; other system calls are written to the kernel's log: to find what is missing where a
    /// kernel or a library makes others.
    Logged,
    /// Neither: whoever starts the daemon sees to it.
    Off,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            runtime_dir: "/run/enid".into(),
            cluster_name: None,
            max_pods: None,
            strategy_dir: None,
            unschedulable: false,
            labels: BTreeMap::new(),
            confinement: Confinement::default(),
        }
    }
}

impl Node {
    pub(super) fn read(section: &mut Section<'_, '_>, directory: &Path) -> Self {
        let default = Self::default();
        let runtime_dir = section.text(
            "runtime_dir",
            &format!("an absolute path of at most {MAX_RUNTIME_DIR} bytes, so that sockets fit in it"),
            |path| {
                (path.starts_with('/') && path.len() <= MAX_RUNTIME_DIR && is_path(path)).then(|| path.into())
            },
        );
        Self {
            runtime_dir: runtime_dir.unwrap_or(default.runtime_dir),
            cluster_name: section.text("cluster_name", "1 to 100 letters, digits, `.`, `_` or `-`", |name| {
                is_name(name, 100, b"._-").then(|| name.to_owned())
            }),
            max_pods: section.integer("max_pods", 1..=10_000, "pods").map(narrow),
            strategy_dir: section.text("strategy_dir", "the path of a directory", |path| {
                is_path(path).then(|| directory.join(path))
            }),
            unschedulable: section.flag("unschedulable").unwrap_or(default.unschedulable),
            labels: read_labels(section),
            confinement: section
                .text("confinement", "\"enforced\", \"logged\" or \"off\"", |word| match word {
                    "enforced" => Some(Confinement::Enforced),
                    "logged" => Some(Confinement::Logged),
                    "off" => Some(Confinement::Off),
                    _ => None,
                })
                .unwrap_or_default(),
        }
    }
}

fn read_labels(section: &mut Section<'_, '_>) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    for entry in section.table("labels").unwrap_or_default() {
        let key = format!("labels.{}", entry.key);
        section.remember(&key, &entry);
        let value = entry.value.as_str().filter(|value| is_label_value(value));
        if labels.len() == MAX_LABELS {
            section.refuse(&key, &entry, &format!("left out: a node has at most {MAX_LABELS} labels here"));
        } else if !is_label(entry.key) {
            section.refuse(&key, &entry, &format!("under the key of a label: {LABEL}"));
        } else if let Some(value) = value {
            labels.insert(entry.key.to_owned(), value.to_owned());
        } else {
            section.refuse(
                &key,
                &entry,
                "a label's value: at most 63 letters, digits, `-`, `_` or `.`, a letter or digit first and last",
            );
        }
    }
    labels
}

/// What [`is_label`] accepts.
pub(super) const LABEL: &str = "at most 63 letters, digits, `-`, `_` or `.`, a letter or digit first and last, \
    perhaps after a domain and `/`";

/// Whether `key` could be that of a Kubernetes label.
pub(super) fn is_label(key: &str) -> bool {
    match key.split_once('/') {
        Some((domain, name)) => is_domain(domain) && !name.is_empty() && is_label_value(name),
        None => !key.is_empty() && is_label_value(key),
    }
}

fn is_label_value(value: &str) -> bool {
    let ends_well = value.ends_with(|c: char| c.is_ascii_alphanumeric());
    value.is_empty() || (is_name(value, 63, b"-_.") && ends_well)
}

/// Whether `name` could be a Kubernetes object's: labels of lower-case letters, digits and `-`, joined by dots.
pub(super) fn is_domain(name: &str) -> bool {
    let fits = |label: &str| {
        let plain = label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        plain && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(fits)
}
