//! The cluster as its Kubernetes API shows it.
//!
//! Only read, and only what costs the API server little: nodes are counted from one page of one object's metadata, as
//! the server says how many more there are.

use std::error::Error;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Response;
use http_body_util::Limited;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ListParams};
use kube::client::{ClientBuilder, DynBody};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tower::util::MapResponseLayer;

/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(10);
/// Objects per page, where the server does not say how many more there are.
const PAGE: u32 = 500;
/// Bytes of an answer, after which it is dropped: 32 KiB for each object of a page, of metadata alone.
const MOST_BYTES: usize = 16 << 20;
/// Ten times what Kubernetes is made for.
const MOST_NODES: u32 = 50_000;
/// Pages after which nobody counts on: far more than any cluster has.
const MOST_PAGES: u32 = 100;

/// Why the cluster could not be asked, or what it answered.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// There is no service account here, or it is not whole.
    #[error("no service account to ask the Kubernetes API with: {0}")]
    ServiceAccount(#[from] kube::config::InClusterError),
    /// The kubeconfig file cannot be used.
    #[error("the kubeconfig {file} cannot be used: {why}", file = .file.display())]
    Kubeconfig {
        /// Which file.
        file: PathBuf,
        /// What is wrong with it.
        why: kube::config::KubeconfigError,
    },
    /// The kubeconfig file has its user's token fetched by another program.
    #[error(
        "the kubeconfig {file} has another program fetch a token, and none is run here: put a token or a client \
         certificate in it", file = .0.display()
    )]
    Plugin(PathBuf),
    /// What these say does not make a client.
    #[error("the Kubernetes API at {server} cannot be asked: {}", words(.why))]
    Client {
        /// Where it is.
        server: String,
        /// What is wrong.
        why: kube::Error,
    },
    /// The API refused, or did not answer as it should.
    #[error("the Kubernetes API at {server} does not list nodes: {}", words(.why))]
    Refused {
        /// Where it is.
        server: String,
        /// What it said.
        why: kube::Error,
    },
    /// No answer in time.
    #[error("the Kubernetes API at {server} did not list nodes within {REQUEST:?}")]
    Late {
        /// Where it is.
        server: String,
    },
    /// It says that there are more nodes than any cluster has.
    #[error(
        "the Kubernetes API at {server} says that there are {nodes} nodes: at most {MOST_NODES} are believed"
    )]
    Absurd {
        /// Where it is.
        server: String,
        /// How many.
        nodes: u32,
    },
    /// It lists no node, although one asks.
    #[error("the Kubernetes API at {server} knows no nodes, not even this one")]
    Empty {
        /// Where it is.
        server: String,
    },
}

/// What an operator needs of it: the API's own words, or each cause in turn.
fn words(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        return format!("{} ({})", status.message, status.code);
    }
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let inner = error.to_string();
        if !words.contains(&inner) {
            words = format!("{words}: {inner}");
        }
        cause = error.source();
    }
    words
}

/// A cluster that can be asked.
pub struct Cluster {
    client: Client,
    server: String,
}

impl Cluster {
    /// The cluster of the pod that this process runs in, as the pod's service account: `KUBERNETES_SERVICE_HOST` and the
    /// files that kubelet mounts.
    ///
    /// # Errors
    ///
    /// [`ClusterError::ServiceAccount`] outside a pod, and where the files are missing.
    pub fn of_pod() -> Result<Self, ClusterError> {
        Self::by(Config::incluster()?)
    }

    /// The cluster that a kubeconfig file's current context names, as the user whose token or certificate it has.
    ///
    /// # Errors
    ///
    /// [`ClusterError::Kubeconfig`] when the file is missing, is none, or names what is missing, and
    /// [`ClusterError::Plugin`] where another program would have to be run.
    pub async fn by_kubeconfig(file: &Path) -> Result<Self, ClusterError> {
        let unusable = |why| ClusterError::Kubeconfig { file: file.to_owned(), why };
        let kubeconfig = Kubeconfig::read_from(file).map_err(unusable)?;
        let current = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(kubeconfig, &current).await.map_err(unusable)?;
        // Making a client of it would run the program.
        if config.auth_info.exec.is_some() || config.auth_info.auth_provider.is_some() {
            return Err(ClusterError::Plugin(file.to_owned()));
        }
        Self::by(config)
    }

    fn by(mut config: Config) -> Result<Self, ClusterError> {
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        config.read_timeout = Some(REQUEST);
        let bounded = |answer: Response<Box<DynBody>>| answer.map(|body| Limited::new(body, MOST_BYTES));
        match ClientBuilder::try_from(config) {
            Ok(client) => {
                Ok(Self { client: client.with_layer(&MapResponseLayer::new(bounded)).build(), server })
            }
            Err(why) => Err(ClusterError::Client { server, why }),
        }
    }

    /// Where its API is.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// How many nodes the cluster has. Takes the right to `list` `nodes`.
    ///
    /// # Errors
    ///
    /// Everything of [`ClusterError`] that an asked API may come to.
    pub async fn count_nodes(&self) -> Result<NonZeroU32, ClusterError> {
        let server = || self.server.clone();
        let counted = tokio::time::timeout(REQUEST, self.count()).await;
        let counted = counted.map_err(|_| ClusterError::Late { server: server() })?;
        let nodes = counted.map_err(|why| ClusterError::Refused { server: server(), why })?;
        if nodes > MOST_NODES {
            return Err(ClusterError::Absurd { server: server(), nodes });
        }
        NonZeroU32::new(nodes).ok_or_else(|| ClusterError::Empty { server: server() })
    }

    async fn count(&self) -> kube::Result<u32> {
        let nodes = Api::<Node>::all(self.client.clone());
        let mut page = ListParams::default().limit(1);
        let mut counted = 0_u32;
        for _ in 0..MOST_PAGES {
            let list = nodes.list_metadata(&page).await?;
            let more = list.metadata.remaining_item_count.and_then(|more| u32::try_from(more).ok());
            let here = u32::try_from(list.items.len()).unwrap_or(u32::MAX);
            counted = counted.saturating_add(here).saturating_add(more.unwrap_or(0));
            let next = list.metadata.continue_.filter(|next| !next.is_empty());
            match next {
                // The API need not say how many more there are.
                Some(next) if more.is_none() => {
                    page = ListParams::default().limit(PAGE).continue_token(&next);
                }
                Some(_) | None => break,
            }
        }
        Ok(counted)
    }
}
