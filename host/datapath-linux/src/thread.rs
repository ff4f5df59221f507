//! The datapath's own threads: the only ones that ever enter another network namespace.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc as std_mpsc;
use std::thread::{Builder, JoinHandle};

use enid_core::event::KernelView;
use enid_core::wiring::{EniWiring, NodeWiring, PodWiring, VethPrefix};
use enid_engine::ports::{DatapathError, Drift, Wired};
use tokio::sync::{mpsc, oneshot};

use crate::inspection::{self, Inside};
use crate::namespace::NodeNamespace;
use crate::netlink::{Netlink, failed};
use crate::nft::Nft;
use crate::pod::PodWirer;
use crate::reaper::{Doom, Reaper};
use crate::{eni, link, node};

/// Requests waiting for a thread; a caller beyond that waits for room. A node has at most some hundred pods.
pub(crate) const QUEUE: usize = 512;

/// Where an answer goes. Whoever stopped waiting for it does not get it; the work is done all the same.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, DatapathError>>;

/// Work that an ADD or a DEL waits for.
pub(crate) enum PodJob {
    Wire(PodWiring, OwnedFd, Reply<Wired>),
    Unwire(PodWiring, Reply<()>),
}

/// Work that may take long or read whole tables.
pub(crate) enum NodeJob {
    SetUpNode(NodeWiring, Reply<()>),
    SetUpEni(EniWiring, Reply<()>),
    TearDownEni(EniWiring, Reply<()>),
    CheckPod(PodWiring, Option<OwnedFd>, Reply<Vec<Drift>>),
    Pods(Reply<KernelView>),
}

/// Starts the thread that wires pods; it ends when `jobs` is closed.
pub(crate) fn spawn_pods(
    node: &OwnedFd,
    mut jobs: mpsc::Receiver<PodJob>,
    doom: Doom,
) -> Result<JoinHandle<()>, DatapathError> {
    spawn(
        "datapath-pods",
        node,
        |namespace| PodWirer::new(namespace, doom),
        move |mut wirer| {
            while let Some(job) = jobs.blocking_recv() {
                match job {
                    PodJob::Wire(pod, netns, reply) => drop(reply.send(wirer.wire(&pod, netns.as_fd()))),
                    PodJob::Unwire(pod, reply) => drop(reply.send(wirer.unwire(&pod))),
                }
            }
        },
    )
}

/// Starts the thread for everything that no pod waits for; it ends when `jobs` is closed.
pub(crate) fn spawn_node(
    node: &OwnedFd,
    mut jobs: mpsc::Receiver<NodeJob>,
    prefix: VethPrefix,
    nft: Nft,
) -> Result<JoinHandle<()>, DatapathError> {
    let open = move |namespace| {
        let netlink = Netlink::open().map_err(|error| failed("open a netlink socket", error))?;
        Ok(NodeWorker { namespace, netlink, nft })
    };
    spawn("datapath-node", node, open, move |mut worker| {
        while let Some(job) = jobs.blocking_recv() {
            match job {
                NodeJob::SetUpNode(node, reply) => {
                    drop(reply.send(node::set_up(&mut worker.netlink, &mut worker.nft, &node)));
                }
                NodeJob::SetUpEni(eni, reply) => drop(reply.send(eni::set_up(&mut worker.netlink, &eni))),
                NodeJob::TearDownEni(eni, reply) => {
                    drop(reply.send(eni::tear_down(&mut worker.netlink, &eni)))
                }
                NodeJob::CheckPod(pod, netns, reply) => drop(reply.send(worker.check(&pod, netns.as_ref()))),
                NodeJob::Pods(reply) => drop(reply.send(inspection::pods(&mut worker.netlink, &prefix))),
            }
        }
    })
}

/// Starts the thread that deletes doomed veths; it ends when the doom is closed.
pub(crate) fn spawn_reaper(node: &OwnedFd, doom: Doom) -> Result<JoinHandle<()>, DatapathError> {
    spawn("datapath-reaper", node, |_| Reaper::new(doom), Reaper::run)
}

struct NodeWorker {
    namespace: NodeNamespace,
    netlink: Netlink,
    nft: Nft,
}

impl NodeWorker {
    fn check(&mut self, pod: &PodWiring, netns: Option<&OwnedFd>) -> Result<Vec<Drift>, DatapathError> {
        let outside = link::by_name(&mut self.netlink, &pod.host_veth)?;
        let mut drift = inspection::host_drift(&mut self.netlink, pod, outside.as_ref())?;
        if let Some(netns) = netns {
            let mut inside = self.namespace.open_inside(netns.as_fd())?;
            let inside = Inside { netlink: &mut inside, outside: outside.as_ref() };
            drift.extend(inspection::pod_drift(pod, inside)?);
        }
        Ok(drift)
    }
}

/// Starts a thread in the node's namespace and returns once it is ready for work.
fn spawn<W>(
    name: &str,
    node: &OwnedFd,
    open: impl FnOnce(NodeNamespace) -> Result<W, DatapathError> + Send + 'static,
    work: impl FnOnce(W) + Send + 'static,
) -> Result<JoinHandle<()>, DatapathError> {
    let attempt = || format!("start the thread {name}");
    let node = node.try_clone().map_err(|error| failed(attempt(), error))?;
    let (ready, started) = std_mpsc::sync_channel(1);
    let thread = Builder::new()
        .name(name.to_owned())
        .spawn(move || match NodeNamespace::settle(node.as_fd()).and_then(open) {
            Ok(worker) => {
                drop(ready.send(Ok(())));
                work(worker);
            }
            Err(error) => drop(ready.send(Err(error))),
        })
        .map_err(|error| failed(attempt(), error))?;
    started.recv().unwrap_or_else(|_| Err(failed(attempt(), "it ended at once")))?;
    Ok(thread)
}
