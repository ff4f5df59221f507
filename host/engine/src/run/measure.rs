//! What the loop tells whoever counts.

use enid_core::event::{Answer, Event};
use enid_core::kind::Kind;

use super::{Engine, Pending, Reply, Verb};
use crate::clock::Clock;
use crate::ports::{Cloud, Datapath, End, Measurement, Store, Strategist};

impl<C: Cloud, D: Datapath, S: Store, P: Strategist, K: Clock> Engine<C, D, S, P, K> {
    pub(super) fn measure_answer(&self, pending: &Pending, reply: &Reply) {
        let end = match reply {
            Reply::Answer {
                answer: Answer::Added(_) | Answer::Deleted | Answer::Collected { .. }, ..
            }
            | Reply::Checked(_) => End::Served,
            Reply::Answer { answer: Answer::TryLater(_), .. } => End::TryLater,
            Reply::Answer { answer: Answer::Refused(_), .. } | Reply::Unreadable(_) => End::Refused,
        };
        let took = pending.since.elapsed();
        let measurement = match pending.verb {
            Verb::Add => {
                let waited = pending.wiring.map_or(took, |wiring| wiring.duration_since(pending.since));
                Measurement::Added { end, waited, wired: took.saturating_sub(waited), took }
            }
            Verb::Del => Measurement::Deleted { end, took },
            Verb::Other => return,
        };
        self.ports.meter.measure(measurement);
    }

    pub(super) fn measure_decision(&self, event: &Event) {
        let (kind, rung, took) = match event {
            Event::WarmPoolDecided(decision) => (Kind::WarmPool, decision.rung, decision.took),
            Event::SubnetsDecided(decision) => (Kind::SubnetSelection, decision.rung, decision.took),
            Event::MaxPodsDecided(decision) => (Kind::MaxPods, decision.rung, decision.took),
            Event::Repaired { result, .. } => {
                let end = if result.is_ok() { End::Served } else { End::Refused };
                return self.ports.meter.measure(Measurement::Repaired(end));
            }
            Event::Add { .. }
            | Event::Del { .. }
            | Event::Check { .. }
            | Event::Gc { .. }
            | Event::Wired { .. }
            | Event::Unwired { .. }
            | Event::Cloud { .. }
            | Event::EniSetUp { .. }
            | Event::EniTornDown { .. }
            | Event::NodeSetUp { .. }
            | Event::Reconfigured(_)
            | Event::NodesCounted { .. }
            | Event::StrategyReplaced
            | Event::KernelSeen { .. }
            | Event::Tick
            | Event::Stop => return,
        };
        self.ports.meter.measure(Measurement::Decided { kind, rung, took });
    }
}
