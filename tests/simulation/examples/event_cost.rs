//! What one ADD and one DEL cost the node's state, without kernel, EC2 and journal.
//!
//! `cargo run --release -p simulation --example event_cost`: microseconds per event on a node of 15 ENIs and 735
//! pod addresses, with 0, 200 and 700 pods on it. An ADD is two events (the request, the kernel's outcome), a
//! DEL too; questions to the strategy that they cause are counted in.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use enid_core::event::{Effect, Event, KernelView, Nics, Ticket};
use enid_core::node::{Config, NodeState};
use enid_core::time::Timestamp;
use enid_engine::ports::Strategist;
use enid_sim::node::attachment;
use simulation::{Knobs, a_node, add_settled};

const CYCLES: u64 = 5_000;

/// A node's state, answered by a kernel that takes no time.
struct Bench {
    state: NodeState,
    knobs: Knobs,
    now: Timestamp,
    tickets: u64,
}

impl Bench {
    fn with_pods(pods: u32) -> Self {
        let knobs = Knobs { warm_ip: 20, minimum_ip: 735, ..Knobs::default() };
        let config = Config { cooldown: Duration::ZERO, ..Config::default() };
        let mut node = a_node("m5.24xlarge", knobs, config.clone());
        for pod in 0..pods {
            add_settled(&mut node, &format!("pod{pod}")).expect("an address for each");
        }
        let kind = enid_core::instance_types::lookup("m5.24xlarge").expect("a known type");
        let identity = node.state().identity().clone();
        let records = node.state().records();
        let now = node.now();
        let (state, effects) = NodeState::restore(config, identity, kind, &records, now);
        let mut bench = Self { state, knobs, now, tickets: 0 };
        bench.perform(effects);
        bench.happen(Event::Tick);
        bench
    }

    fn happen(&mut self, event: Event) {
        let effects = self.state.handle(self.now, event);
        self.perform(effects);
    }

    /// EC2 never answers: growth is not what is measured.
    fn perform(&mut self, effects: Vec<Effect>) {
        let mut outcomes = VecDeque::new();
        for effect in effects {
            match effect {
                Effect::Wire { op, .. } => outcomes.push_back(Event::Wired { op, result: Ok(()) }),
                Effect::Unwire { op, .. } => outcomes.push_back(Event::Unwired { op, result: Ok(()) }),
                Effect::SetUpEni { op, .. } => outcomes.push_back(Event::EniSetUp { op, result: Ok(()) }),
                Effect::SetUpNode { op, .. } => outcomes.push_back(Event::NodeSetUp { op, result: Ok(()) }),
                Effect::LookAtKernel { op, wanted } => {
                    // As it should be: an answer with anything else would be about something else.
                    let links = wanted.pods.iter().flat_map(|pod| pod.wiring.links());
                    let routed = links.map(|link| (link.address, link.host_veth.to_string())).collect();
                    let result = Ok(KernelView { routed, ..KernelView::default() });
                    outcomes.push_back(Event::KernelSeen { op, result });
                }
                Effect::AskWarmPool(snapshot) => {
                    outcomes.push_back(Event::WarmPoolDecided(self.knobs.warm_pool(&snapshot)));
                }
                Effect::Journal(_)
                | Effect::Check { .. }
                | Effect::Answer { .. }
                | Effect::Cloud { .. }
                | Effect::TearDownEni { .. }
                | Effect::RepairPod { .. }
                | Effect::RemoveStray { .. }
                | Effect::AskMaxPods(_)
                | Effect::AskSubnets { .. } => {}
            }
        }
        for outcome in outcomes {
            self.happen(outcome);
        }
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        self.now = self.now + Duration::from_millis(1);
        Ticket(self.tickets)
    }

    /// Microseconds per event of ADDs and of DELs, and per question when to wake.
    fn measure(&mut self) -> (f64, f64, f64) {
        let (mut adding, mut deleting, mut waking) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
        for cycle in 0..CYCLES {
            let attachment = attachment(&format!("c{cycle}"));
            let (ticket, deadline) = (self.ticket(), self.now + Duration::from_secs(100));
            let begun = Instant::now();
            self.happen(Event::Add {
                ticket,
                attachment: attachment.clone(),
                pod: None,
                nics: Nics::One,
                netns: None,
                deadline,
            });
            adding += begun.elapsed();
            let begun = Instant::now();
            std::hint::black_box(self.state.next_wake(self.now));
            waking += begun.elapsed();
            let ticket = self.ticket();
            let begun = Instant::now();
            self.happen(Event::Del { ticket, attachment, issued: None });
            deleting += begun.elapsed();
        }
        let micros = |time: Duration, events: u64| time.as_secs_f64() * 1e6 / events as f64;
        (micros(adding, 2 * CYCLES), micros(deleting, 2 * CYCLES), micros(waking, CYCLES))
    }
}

fn main() {
    println!("pods   ADD µs/event   DEL µs/event   next_wake µs");
    for pods in [0, 200, 700] {
        let mut bench = Bench::with_pods(pods);
        let (add, del, wake) = bench.measure();
        let bound = bench.state.pool_status(bench.now).bound;
        assert_eq!(bound, pods, "every cycle leaves the node as it was");
        println!("{pods:4}   {add:12.2}   {del:12.2}   {wake:12.2}");
    }
}
