//! Sandboxes that come and go as a busy runtime makes and removes them.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use e2e::node::Node;
use e2e::plugin::{Call, failure_of};
use e2e::pod::{Pod, address_of};
use enid_vpc_lab::iproute::ip_batch;
use serde_json::Value;

/// Workers at once: as many as a kubelet's.
const WORKERS: usize = 6;
/// CNI's "try again later".
const TRY_LATER: u64 = 11;

/// A place for one pod after the other.
pub(crate) struct Sandbox {
    place: Pod,
    generation: u64,
    running: Option<(Pod, Value)>,
}

impl Sandbox {
    pub(crate) fn of(place: Pod) -> Self {
        Self { place, generation: 0, running: None }
    }

    /// The next pod that lives here, in a namespace of its own.
    fn next(&mut self) -> Pod {
        self.generation += 1;
        let (name, container) = (&self.place.name, &self.place.container);
        Pod {
            name: format!("{name}-{}", self.generation),
            container: format!("{}{:016x}", &container[16..], self.generation),
            namespace: self.place.namespace.clone(),
        }
    }

    /// The runtime makes the namespace anew.
    fn renew(&self) {
        self.place.remove_namespace();
        ip_batch(None, &[format!("netns add {}", self.place.namespace)]).expect("a namespace");
    }
}

/// What goes on.
pub(crate) struct Churn<'a> {
    node: &'a Node,
    sandboxes: Vec<Mutex<Sandbox>>,
    over: AtomicBool,
    added: AtomicU64,
    refused: AtomicU64,
    wrongs: Mutex<Vec<String>>,
}

impl<'a> Churn<'a> {
    pub(crate) fn of(node: &'a Node, sandboxes: Vec<Sandbox>) -> Self {
        Self {
            node,
            sandboxes: sandboxes.into_iter().map(Mutex::new).collect(),
            over: AtomicBool::new(false),
            added: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            wrongs: Mutex::default(),
        }
    }

    /// Pods come and go for as long as `meanwhile` takes.
    pub(crate) fn during<T>(&self, meanwhile: impl FnOnce() -> T) -> T {
        self.over.store(false, Ordering::Relaxed);
        std::thread::scope(|scope| {
            for worker in 0..WORKERS {
                scope.spawn(move || self.work(worker));
            }
            // A panic in there must end the workers, too.
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(meanwhile));
            self.over.store(true, Ordering::Relaxed);
            outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Pods that were added.
    pub(crate) fn added(&self) -> u64 {
        self.added.load(Ordering::Relaxed)
    }

    /// ADDs that were told to come later.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// What must never happen and did.
    pub(crate) fn wrongs(&self) -> Vec<String> {
        self.wrongs.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Panics when something went wrong already, or when it has gone on for longer than `most`.
    #[track_caller]
    pub(crate) fn goes_on(&self, begun: Instant, most: Duration) {
        assert_eq!(self.wrongs(), Vec::<String>::new());
        let (added, refused) = (self.added(), self.refused());
        assert!(begun.elapsed() < most, "{added} pods were added and {refused} refused within {most:?}");
    }

    /// All pods go.
    pub(crate) fn empty(&self) {
        for sandbox in &self.sandboxes {
            let mut sandbox = sandbox.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((pod, _)) = sandbox.running.take() {
                self.del(&pod);
            }
        }
    }

    fn work(&self, worker: usize) {
        let mut turn = worker;
        while !self.over.load(Ordering::Relaxed) {
            // Steps that have no divisor in common with the number of sandboxes: every worker comes to all.
            turn = (turn + 7 + 6 * worker) % self.sandboxes.len();
            let Ok(mut sandbox) = self.sandboxes[turn].try_lock() else { continue };
            match sandbox.running.take() {
                None => self.add(&mut sandbox),
                Some((pod, result)) if turn.is_multiple_of(5) => {
                    self.examine(&pod, &result);
                    self.remove(&sandbox, &pod, turn);
                }
                Some((pod, _)) => self.remove(&sandbox, &pod, turn),
            }
        }
    }

    fn add(&self, sandbox: &mut Sandbox) {
        let pod = sandbox.next();
        sandbox.renew();
        let ended = Call::new("ADD", self.node, &pod).with("timeout_secs", 8).run(self.node);
        if ended.code == Some(0) {
            let Ok(result) = serde_json::from_str::<Value>(&ended.stdout) else {
                return self.note(format!("ADD of {}: {ended:?}", pod.name));
            };
            let _address: Ipv4Addr = address_of(&result);
            self.added.fetch_add(1, Ordering::Relaxed);
            sandbox.running = Some((pod, result));
            return;
        }
        let failure = failure_of(&ended);
        if failure.code == TRY_LATER {
            self.refused.fetch_add(1, Ordering::Relaxed);
        } else {
            self.note(format!("ADD of {}: {failure:?}", pod.name));
        }
        // As a runtime does after any failure.
        self.del(&pod);
    }

    /// A pod goes: in most sandboxes in order, in some the namespace is gone before anybody says so.
    fn remove(&self, sandbox: &Sandbox, pod: &Pod, turn: usize) {
        if turn.is_multiple_of(3) {
            sandbox.renew();
        }
        self.del(pod);
        if turn.is_multiple_of(4) {
            self.del(pod);
        }
    }

    /// A DEL succeeds whatever becomes of the daemon.
    fn del(&self, pod: &Pod) {
        let ended = Call::new("DEL", self.node, pod).with("timeout_secs", 8).run(self.node);
        if ended.code != Some(0) {
            self.note(format!("DEL of {}: {ended:?}", pod.name));
        }
    }

    /// A pod's network is as ADD left it, unless nobody is there to say so.
    fn examine(&self, pod: &Pod, result: &Value) {
        let ended = self.node.check(pod, result).run(self.node);
        if ended.code == Some(0) {
            return;
        }
        let failure = failure_of(&ended);
        if failure.code != TRY_LATER {
            self.note(format!("CHECK of {}: {failure:?}", pod.name));
        }
    }

    fn note(&self, wrong: String) {
        self.wrongs.lock().unwrap_or_else(PoisonError::into_inner).push(wrong);
    }
}
