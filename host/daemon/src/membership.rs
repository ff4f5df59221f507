//! The cluster's size, kept up to date: a node's part of the account's calls to EC2 follows from it.

use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU32;
use std::time::Duration;

use anyhow::Context;
use enid_cluster_kubernetes::Cluster;
use enid_core::budget::decorrelated;
use enid_engine::run::Request;
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::failure::Failure;
use crate::settings::{Asker, Kubernetes};

/// All nodes together ask this often: a large cluster's nodes ask more seldom.
const ASKED_EVERY: Duration = Duration::from_millis(50);
/// No node asks more often or more seldom.
const PERIOD: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(600));
/// When a failed attempt is made again, at the soonest and at the latest.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(120));

/// The cluster to ask, where there is one. A service account that is not whole is told and left; a file that the operator
/// names must be right.
pub(crate) async fn cluster(settings: &Kubernetes) -> Result<Option<Cluster>, Failure> {
    match &settings.asker {
        Asker::Nobody => Ok(None),
        Asker::Pod if std::env::var_os("KUBERNETES_SERVICE_HOST").is_none() => Ok(None),
        Asker::Pod => Ok(Cluster::of_pod()
            .inspect_err(
                |why| warn!(reason = %why, "the cluster is not asked: budget.nodes says how large it is"),
            )
            .ok()),
        Asker::Kubeconfig(file) => {
            let cluster = Cluster::by_kubeconfig(file).await;
            cluster.map(Some).context("kubernetes.kubeconfig").map_err(Failure::settings)
        }
    }
}

/// Tells the engine how many nodes there are, until aborted. What was counted last holds while the API does not answer.
pub(crate) async fn keep_counted(cluster: Cluster, engine: mpsc::Sender<Request>) {
    let (mut counted, mut failed) = (None::<NonZeroU32>, None::<String>);
    let mut waits = AGAIN.0;
    // Nodes that started together do not ask together.
    let chances = RandomState::new();
    for round in 0_u64.. {
        let chance = chances.hash_one(round);
        let wait = match cluster.count_nodes().await {
            Ok(nodes) => {
                if counted.replace(nodes) != Some(nodes) || failed.take().is_some() {
                    info!(nodes, server = cluster.server(), "the cluster's nodes are counted");
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
                waits = decorrelated(waits, AGAIN.0, AGAIN.1, chance);
                waits
            }
        };
        tokio::time::sleep(wait).await;
    }
}
