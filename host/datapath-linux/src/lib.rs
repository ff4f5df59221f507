//! The Linux datapath: makes the kernel's links, addresses, routes, rules and nftables what the wiring says.
//!
//! It translates and never decides: which address a pod gets, which table an ENI has, what counts as the VPC
//! all come in as [`enid_core::wiring`]. It never talks to EC2, keeps no state on disk, and never enters a
//! namespace on a thread that is not its own.
//!
//! Four threads do the work. *pods* serves ADD and DEL and reads no table on that path, and repairs pods in order with
//! these; *dad* answers the
//! pods whose IPv6 addresses the kernel does not use at once; *node* does what may take long (ENIs, nftables,
//! checks, looks at everything); *reaper* deletes the veths of dead pods in groups. A pod's namespace is entered only to open
//! sockets there, which stay bound to it after the thread has come home, and to switch IPv6 on for an IPv6
//! pod.
//!
//! rtnetlink is spoken with `netlink-packet-route` messages over a plain `netlink-sys` socket, not through
//! the `rtnetlink` crate: that one sends a message at a time and awaits its answer on an executor, while a
//! pod's whole set-up here is four datagrams on a thread that may change its namespace.
//!
//! A pod's links are wired one after the other, each with all its addresses, and undone together. Both
//! families take the same path; an IPv4 pod does nothing on it for the other family's sake.
//!
//! Ownership hangs on the host veth. A route is removed only while it leads to the veth of the pod being
//! unwired, and rules only together with such a route or when no route is left, so that a late DEL cannot
//! hurt the next owner of the address.
//!
//! | module | its noun |
//! |---|---|
//! | [`LinuxDatapath`] (here) | the port's implementation: a queue to each thread |
//! | `thread`, `agenda` | the threads and the jobs they take, and which of a pod's is next |
//! | `pod` | one pod's wiring, unwiring, undoing and repair |
//! | `dad` | pods whose IPv6 addresses the kernel does not use yet |
//! | `tables` | what one namespace has, each table read once |
//! | `fault` | a difference from the wiring, with what mends it |
//! | `inhabitants` | namespaces that processes live in |
//! | `inspection` | what the kernel has for a pod against what it should have |
//! | `visit` | a pod's namespace, found again where it was |
//! | `look` | everything of ours in the kernel, compared |
//! | `eni`, `node`, `sysctl` | secondary ENIs; node-wide rules and settings |
//! | `ruleset`, `nft`, `listing` | the text of our nftables tables, who applies it, and what came of it |
//! | `reaper` | deferred deletion of host veths |
//! | `namespace` | the node's network namespace, and visits to a pod's |
//! | `netlink` | batches, dumps and refusals |
//! | `link`, `address`, `route`, `rule` | the messages, and the views on the kernel's answers |
//! | `family` | IPv4, IPv6, and what differs between them |

#![forbid(unsafe_code)]

mod address;
mod agenda;
mod dad;
mod eni;
mod family;
mod fault;
mod inhabitants;
mod inspection;
mod link;
mod listing;
mod look;
mod namespace;
mod netlink;
mod nft;
mod node;
mod pod;
mod reaper;
mod route;
mod rule;
mod ruleset;
mod sysctl;
mod tables;
mod thread;
mod visit;

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::thread::JoinHandle;

use enid_core::event::{Drift, KernelView, KernelWanted, WantedPod};
use enid_core::wiring::{EniWiring, NodeWiring, PodWiring, VethPrefix};
use enid_engine::ports::{Datapath, DatapathError, Wired};
use tokio::sync::{mpsc, oneshot};

use crate::namespace::NodeNamespace;
use crate::nft::Nft;
use crate::reaper::Doom;
use crate::thread::{NodeJob, PodJob, QUEUE, Reply};

/// Where the datapath works, which links it takes for pods' host ends, and with which `nft`.
#[derive(Debug)]
pub struct DatapathOptions {
    /// The node's network namespace; `None` is the one of the thread that calls [`LinuxDatapath::start`].
    pub node: Option<OwnedFd>,
    /// Start of host veth names, by which a look knows them.
    pub veth_prefix: VethPrefix,
    /// The nftables program, looked for in `PATH` unless it has a directory.
    pub nft: PathBuf,
    /// Whether pods' IPv6 addresses are looked for on the link before they are used.
    pub duplicate_address_detection: Dad,
}

/// What happens to a pod's IPv6 address before it is used (RFC 4862, section 5.4).
///
/// Either way a pod is answered only when the kernel says of all its addresses that they can be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dad {
    /// It can be used at once. A pod's link has two ends and both are ours, and the VPC gives an address to
    /// one ENI only: there is nobody to find, and looking takes one to two seconds of every ADD.
    #[default]
    Skip,
    /// The kernel asks the link first. The pod waits for that, other pods do not; a duplicate fails the ADD.
    Perform,
}

impl Default for DatapathOptions {
    fn default() -> Self {
        Self {
            node: None,
            veth_prefix: VethPrefix::default(),
            nft: PathBuf::from("nft"),
            duplicate_address_detection: Dad::default(),
        }
    }
}

/// The kernel of this machine as the engine's [`Datapath`].
///
/// Dropping it ends its threads, after they have finished what is queued and deleted every doomed veth; this
/// blocks for some tens of milliseconds, or as long as pods still wait for IPv6 addresses.
#[derive(Debug)]
pub struct LinuxDatapath {
    queues: Option<Queues>,
    doom: Doom,
    workers: Vec<JoinHandle<()>>,
    reaper: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Queues {
    pods: mpsc::Sender<PodJob>,
    node: mpsc::Sender<NodeJob>,
}

impl LinuxDatapath {
    /// Starts the datapath's threads and deletes host veths that an earlier process left doomed.
    pub fn start(options: DatapathOptions) -> Result<Self, DatapathError> {
        let node = options.node.map_or_else(NodeNamespace::current, Ok)?;
        let (pods, pod_jobs) = mpsc::channel(QUEUE);
        let (node_sender, node_jobs) = mpsc::channel(QUEUE);
        // Filled step by step: a thread that does not start ends those before it.
        let mut datapath = Self {
            queues: Some(Queues { pods, node: node_sender }),
            doom: Doom::default(),
            workers: Vec::new(),
            reaper: None,
        };
        datapath.reaper = Some(thread::spawn_reaper(&node, datapath.doom.clone())?);
        let dad = options.duplicate_address_detection;
        datapath.workers.push(thread::spawn_pods(&node, pod_jobs, datapath.doom.clone(), dad)?);
        datapath.workers.push(thread::spawn_node(
            &node,
            node_jobs,
            options.veth_prefix,
            Nft::new(options.nft),
        )?);
        Ok(datapath)
    }

    /// Whether all its threads work. One that panicked does not come back, and whatever it served fails from then on.
    pub fn is_alive(&self) -> bool {
        self.workers.iter().chain(&self.reaper).all(|thread| !thread.is_finished())
    }

    /// Ends the threads as dropping does; blocks until what is queued is done and doomed veths are gone.
    pub fn shutdown(self) {
        drop(self);
    }

    fn queues(&self) -> &Queues {
        self.queues.as_ref().expect("invariant: the queues are taken in drop only")
    }

    async fn ask_pods<T>(&self, job: impl FnOnce(Reply<T>) -> PodJob) -> Result<T, DatapathError> {
        ask(&self.queues().pods, job).await
    }

    async fn ask_node<T>(&self, job: impl FnOnce(Reply<T>) -> NodeJob) -> Result<T, DatapathError> {
        ask(&self.queues().node, job).await
    }
}

impl Drop for LinuxDatapath {
    fn drop(&mut self) {
        self.queues = None;
        // A thread that panicked has said so already; the others still have to end.
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
        self.doom.close();
        if let Some(reaper) = self.reaper.take() {
            let _ = reaper.join();
        }
    }
}

impl Datapath for LinuxDatapath {
    async fn set_up_node(&self, node: &NodeWiring) -> Result<(), DatapathError> {
        self.ask_node(|reply| NodeJob::SetUpNode(node.clone(), reply)).await
    }

    async fn set_up_eni(&self, eni: &EniWiring) -> Result<(), DatapathError> {
        self.ask_node(|reply| NodeJob::SetUpEni(eni.clone(), reply)).await
    }

    async fn tear_down_eni(&self, eni: &EniWiring) -> Result<(), DatapathError> {
        self.ask_node(|reply| NodeJob::TearDownEni(eni.clone(), reply)).await
    }

    async fn wire_pod(&self, pod: &PodWiring, netns: OwnedFd) -> Result<Wired, DatapathError> {
        self.ask_pods(|reply| PodJob::Wire(pod.clone(), netns, reply)).await
    }

    async fn unwire_pod(&self, pod: &PodWiring) -> Result<(), DatapathError> {
        self.ask_pods(|reply| PodJob::Unwire(pod.clone(), reply)).await
    }

    async fn check_pod(&self, pod: &PodWiring, netns: Option<OwnedFd>) -> Result<Vec<Drift>, DatapathError> {
        self.ask_node(|reply| NodeJob::CheckPod(pod.clone(), netns, reply)).await
    }

    async fn repair_pod(&self, pod: &WantedPod) -> Result<(), DatapathError> {
        self.ask_pods(|reply| PodJob::Repair(pod.clone(), reply)).await
    }

    async fn remove_stray(&self, address: IpAddr) -> Result<(), DatapathError> {
        self.ask_pods(|reply| PodJob::RemoveStray(address, reply)).await
    }

    async fn look(&self, wanted: &KernelWanted) -> Result<KernelView, DatapathError> {
        self.ask_node(|reply| NodeJob::Look(Box::new(wanted.clone()), reply)).await
    }
}

async fn ask<J, T>(queue: &mpsc::Sender<J>, job: impl FnOnce(Reply<T>) -> J) -> Result<T, DatapathError> {
    let ended = || netlink::failed("ask the datapath's thread", "it has ended");
    let (reply, answer) = oneshot::channel();
    queue.send(job(reply)).await.map_err(|_| ended())?;
    answer.await.map_err(|_| ended())?
}
