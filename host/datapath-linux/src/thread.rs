//! The datapath's own threads: the only ones that ever enter another network namespace.

use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc as std_mpsc;
use std::thread::{Builder, JoinHandle};

use enid_core::event::{Drift, KernelView, KernelWanted, Part, WantedPod};
use enid_core::wiring::{EniWiring, NodeWiring, PodWiring, VethPrefix};
use enid_engine::ports::{DatapathError, Wired};
use tokio::sync::{mpsc, oneshot};

use crate::Dad;
use crate::agenda::Agenda;
use crate::dad::{self, WaitingRoom};
use crate::fault::Fault;
use crate::inspection::{self, Inside, Nth};
use crate::look::{self, Eyes};
use crate::namespace::NodeNamespace;
use crate::netlink::{Netlink, failed};
use crate::nft::Nft;
use crate::pod::{PodWirer, Progress, SharedWirer};
use crate::reaper::{Doom, Reaper};
use crate::tables::Tables;
use crate::{eni, link, node};

/// Requests waiting for a thread; a caller beyond that waits for room. A node has at most some hundred pods.
pub(crate) const QUEUE: usize = 512;

/// Where an answer goes. Whoever stopped waiting for it does not get it; the work is done all the same.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, DatapathError>>;

/// Work on a pod; for the first two an ADD or a DEL waits ([`Agenda`]).
pub(crate) enum PodJob {
    Wire(PodWiring, OwnedFd, Reply<Wired>),
    Unwire(PodWiring, Reply<()>),
    /// By the same thread, so that nothing is repaired that is being wired or unwired.
    Repair(WantedPod, Reply<()>),
    RemoveStray(IpAddr, Reply<()>),
}

/// Work that may take long or read whole tables.
pub(crate) enum NodeJob {
    SetUpNode(NodeWiring, Reply<()>),
    SetUpEni(EniWiring, Reply<()>),
    TearDownEni(EniWiring, Reply<()>),
    CheckPod(PodWiring, Option<OwnedFd>, Reply<Vec<Drift>>),
    Look(Box<KernelWanted>, Reply<KernelView>),
}

/// Starts the thread that wires pods, and with it the one for pods that wait for their addresses; both end
/// when `jobs` is closed and every pod is answered.
pub(crate) fn spawn_pods(
    node: &OwnedFd,
    jobs: mpsc::Receiver<PodJob>,
    doom: Doom,
    dad: Dad,
) -> Result<JoinHandle<()>, DatapathError> {
    let open = move |namespace| {
        let wirer = SharedWirer::new(PodWirer::new(namespace, doom, dad)?);
        let (waiting_room, attendant) = dad::waiting_room(wirer.clone())?;
        let waiting = Builder::new()
            .name("datapath-dad".to_owned())
            .spawn(move || attendant.run())
            .map_err(|error| failed("start the thread datapath-dad", error))?;
        Ok((wirer, waiting_room, waiting))
    };
    spawn("datapath-pods", node, open, move |(wirer, waiting_room, waiting)| {
        let mut agenda = Agenda::new(jobs);
        while let Some(job) = agenda.next() {
            match job {
                PodJob::Wire(pod, netns, reply) => wire(&wirer, &waiting_room, &pod, netns, reply),
                PodJob::Unwire(pod, reply) => drop(reply.send(wirer.lock().unwire(&pod))),
                PodJob::Repair(pod, reply) => drop(reply.send(wirer.lock().repair(&pod))),
                PodJob::RemoveStray(address, reply) => drop(reply.send(wirer.lock().remove_stray(address))),
            }
        }
        drop(waiting_room);
        // If it panicked, it has said so.
        let _ = waiting.join();
    })
}

/// Answers an ADD, unless its pod has to wait for its addresses.
fn wire(
    wirer: &SharedWirer,
    waiting_room: &WaitingRoom,
    pod: &PodWiring,
    netns: OwnedFd,
    reply: Reply<Wired>,
) {
    let progress = wirer.lock().wire(pod, netns.as_fd());
    let candidate = match progress {
        Ok(Progress::Wired(wired)) => return drop(reply.send(Ok(wired))),
        Err(error) => return drop(reply.send(Err(error))),
        Ok(Progress::Tentative(candidate)) => candidate,
    };
    if let Err((candidate, reply)) = waiting_room.seat(candidate, reply) {
        let attempt = format!("wait for the IPv6 addresses of the pod behind {}", candidate.veth());
        let error = failed(attempt, format_args!("{QUEUE} pods wait for that already"));
        drop(reply.send(Err(wirer.lock().abandon(*candidate, error))));
    }
}

/// Starts the thread for everything that no pod waits for; it ends when `jobs` is closed.
pub(crate) fn spawn_node(
    node: &OwnedFd,
    mut jobs: mpsc::Receiver<NodeJob>,
    prefix: VethPrefix,
    nft: Nft,
) -> Result<JoinHandle<()>, DatapathError> {
    let open = move |namespace| {
        let netlink = Netlink::open()?;
        Ok(NodeWorker { namespace, netlink, nft, prefix })
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
                NodeJob::Look(wanted, reply) => drop(reply.send(worker.look(&wanted))),
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
    prefix: VethPrefix,
}

impl NodeWorker {
    fn check(&mut self, pod: &PodWiring, netns: Option<&OwnedFd>) -> Result<Vec<Drift>, DatapathError> {
        let links: Vec<Nth<'_>> = pod.links().enumerate().map(|(index, link)| Nth { index, link }).collect();
        let mut inside = None;
        if let Some(netns) = netns {
            let mut netlink = self.namespace.inside(netns.as_fd(), Netlink::open_in_pod)?;
            let mut tables = Tables::default();
            tables.read_links(&mut netlink)?;
            inspection::read_pod(&mut netlink, &mut tables, &links)?;
            inside = Some(tables);
        }
        let mut faults: Vec<Fault> = inside.as_ref().and_then(inspection::loopback).into_iter().collect();
        for nth in links {
            let outside = link::by_name(&mut self.netlink, &nth.link.host_veth)?;
            if outside.is_some() {
                faults.extend(inspection::settings_of_host_end(nth.link)?);
            }
            let tables = inspection::read_host(&mut self.netlink, nth.link, outside.clone())?;
            let within = inside.as_ref();
            let mac = within.and_then(|tables| tables.link_named(nth.link.ifname.as_str())?.mac);
            faults.extend(inspection::on_host(&tables, nth.link, mac));
            if let Some(tables) = within {
                let inside = Inside { tables, outside: outside.as_ref(), dad: Dad::default() };
                faults.extend(inspection::in_pod(nth, &inside));
            }
        }
        Ok(faults.into_iter().map(|fault| fault.of(Part::Pod(pod.key()))).collect())
    }

    fn look(&mut self, wanted: &KernelWanted) -> Result<KernelView, DatapathError> {
        let Self { namespace, netlink, nft, prefix } = self;
        look::look(Eyes { namespace, netlink, nft, prefix }, wanted)
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
