//! `[kubernetes]`: how the cluster is asked.

use std::path::{Path, PathBuf};

use super::document::Section;
use super::is_path;

/// `[kubernetes]`: how the cluster is asked. Takes effect at the next start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kubernetes {
    /// Who asks; `None`: nobody. Default [`Asker::Pod`].
    pub asker: Option<Asker>,
}

/// As whom the Kubernetes API is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asker {
    /// As the pod that the daemon runs in, where it does: with its service account.
    Pod,
    /// As the user of a kubeconfig file's current context.
    Kubeconfig(PathBuf),
}

impl Default for Kubernetes {
    fn default() -> Self {
        Self { asker: Some(Asker::Pod) }
    }
}

impl Kubernetes {
    pub(super) fn read(section: &mut Section<'_, '_>, directory: &Path) -> Self {
        let allowed = "the path of a kubeconfig file, \"in-cluster\" or \"off\"";
        let asker = section.text("kubeconfig", allowed, |text| match text {
            "in-cluster" => Some(Some(Asker::Pod)),
            "" | "off" => Some(None),
            path => is_path(path).then(|| Some(Asker::Kubeconfig(directory.join(path)))),
        });
        Self { asker: asker.unwrap_or(Self::default().asker) }
    }
}
