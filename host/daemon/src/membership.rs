//! The cluster's size, kept up to date: a node's part of the account's calls to EC2 follows from it.

use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU32;
use std::time::Duration;

use anyhow::Context;
use enid_cluster_kubernetes::{Cluster, ClusterError};
use enid_core::budget::decorrelated;
use enid_engine::run::Request;
use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::failure::Failure;
use crate::settings::{Asker, Kubernetes};

/// All nodes together ask about so often: a large cluster's nodes ask more seldom.
const ASKED_EVERY: Duration = Duration::from_millis(50);
/// How often a node asks, at the most and at the least; jitter adds or takes up to a half.
const PERIOD: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(600));
/// When a failed attempt is made again, at the soonest and at the latest.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(120));

/// As whom the cluster is asked, where it is.
pub(crate) fn asker(settings: &Kubernetes) -> Option<Asker> {
    let is_there = |asker: &Asker| match asker {
        Asker::Pod => std::env::var_os("KUBERNETES_SERVICE_HOST").is_some(),
        Asker::Kubeconfig(_) => true,
    };
    settings.asker.clone().filter(is_there)
}

async fn cluster(asker: &Asker) -> Result<Cluster, ClusterError> {
    match asker {
        Asker::Pod => Cluster::of_pod(),
        Asker::Kubeconfig(file) => Cluster::by_kubeconfig(file).await,
    }
}

/// Whether a cluster could be asked with these settings. Nobody is asked; a daemon starts without, too.
pub(crate) fn check(settings: &Kubernetes) -> Result<(), Failure> {
    let Some(asker) = asker(settings) else { return Ok(()) };
    let runtime = Builder::new_current_thread().enable_all().build().context("start a runtime")?;
    let cluster = runtime.block_on(cluster(&asker));
    cluster.map(drop).context("kubernetes.kubeconfig").map_err(Failure::settings)
}

/// Tells the engine how many nodes there are, until aborted. What was counted last holds while the API does not answer; no
/// failure keeps anybody from anything, and what is missing may come.
pub(crate) async fn keep_counted(asker: Asker, engine: mpsc::Sender<Request>) {
    let mut client = None::<Cluster>;
    let (mut counted, mut failed) = (None::<NonZeroU32>, None::<String>);
    let mut waits = AGAIN.0;
    // Nodes that started together do not go on together.
    let chances = RandomState::new();
    for round in 0_u64.. {
        let chance = chances.hash_one(round);
        let wait = match count(&asker, &mut client).await {
            Ok(nodes) => {
                let recovered = failed.take().is_some();
                if counted.replace(nodes) != Some(nodes) || recovered {
                    info!(nodes, "the cluster's nodes are counted");
                }
                if engine.send(Request::NodesCounted { nodes }).await.is_err() {
                    return;
                }
                waits = AGAIN.0;
                let period = (ASKED_EVERY * nodes.get()).clamp(PERIOD.0, PERIOD.1);
                decorrelated(period / 2, period / 2, period * 3 / 2, chance)
            }
            Err(why) => {
                let why = why.to_string();
                if failed.as_ref() != Some(&why) {
                    warn!(
                        reason = %why, last = counted,
                        "the cluster's nodes are not counted; until they are, the last count holds, or budget.nodes"
                    );
                    failed = Some(why);
                }
                // The file may have another token or certificate by now.
                client = None;
                waits = decorrelated(waits, AGAIN.0, AGAIN.1, chance);
                waits
            }
        };
        tokio::time::sleep(wait).await;
    }
}

/// Counts once, with a client that is made when it can be.
async fn count(asker: &Asker, client: &mut Option<Cluster>) -> Result<NonZeroU32, ClusterError> {
    let client = match client {
        Some(client) => client,
        None => client.insert(cluster(asker).await?),
    };
    client.count_nodes().await
}
