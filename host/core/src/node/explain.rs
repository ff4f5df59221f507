//! Why an address, an ENI or a pod is as it is, in words.

use std::net::IpAddr;

use serde::Serialize;

use super::NodeState;
use super::view::address_status;
use crate::eni::Phase;
use crate::ids::EniId;
use crate::kind::Kind;
use crate::lease::LeaseState;
use crate::time::Timestamp;

/// The answer to `enid explain`: every line in words, outermost cause last.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// What was asked about.
    pub subject: String,
    /// The facts and reasons.
    pub lines: Vec<String>,
}

impl NodeState {
    /// Why an address is (not) here and what happens to it next.
    pub fn explain_address(&self, address: IpAddr, now: Timestamp) -> Explanation {
        let mut lines = Vec::new();
        if let Some(lease) = self.pool.get(address) {
            let status = address_status(lease, now);
            lines
                .push(format!("{address} is {} on {} since {} s", status.state, status.eni, status.for_secs));
            if let Some(holder) = lease.state.holder() {
                let pod = holder.pod.as_ref().map_or_else(|| "no pod name".to_owned(), ToString::to_string);
                lines.push(format!(
                    "held by {pod}, attachment {}, link {}",
                    holder.attachment, holder.wiring.first.host_veth
                ));
            }
            lines.push(format!("why it is here: {}", lease.why));
            if lease.state == LeaseState::Returning
                && let Some(going) = self.enis.get(&lease.eni).and_then(|eni| eni.going.as_ref())
            {
                lines.push(format!("why it goes: {going}"));
            }
            lines.push(format!("next: {}", status.next));
            lines.extend(self.eni_lines(&lease.eni));
        } else if let Some(eni) = self.enis.values().find(|eni| eni.primary_address == address) {
            lines.push(format!("{address} is the primary address of {}; pods never get it", eni.id));
            lines.extend(self.eni_lines(&eni.id.clone()));
        } else {
            lines.push(format!("{address} is on none of this node's {} ENIs", self.enis.len()));
        }
        Explanation { subject: format!("address {address}"), lines }
    }

    /// Why an ENI is (not) here and what happens to it next.
    pub fn explain_eni(&self, id: &EniId) -> Explanation {
        let mut lines = self.eni_lines(id);
        if lines.is_empty() {
            lines.push(format!("{id} is not one of this node's {} ENIs", self.enis.len()));
        }
        if let Some(band) = &self.band {
            let decided = band.reference(Kind::WarmPool);
            lines.push(format!(
                "the pool's target: {} ({decided}, {}: {})",
                band.target, band.rung, band.reason
            ));
        }
        Explanation { subject: format!("ENI {id}"), lines }
    }

    /// Every attachment of the pod, explained.
    pub fn explain_pod(&self, namespace: &str, name: &str, now: Timestamp) -> Explanation {
        let subject = format!("pod {namespace}/{name}");
        let held = self.pool.iter().filter(|lease| {
            lease
                .state
                .holder()
                .and_then(|holder| holder.pod.as_ref())
                .is_some_and(|pod| pod.namespace == namespace && pod.name == name)
        });
        let mut lines: Vec<String> =
            held.flat_map(|lease| self.explain_address(lease.address, now).lines).collect();
        let waits = self
            .queue
            .iter()
            .any(|w| w.pod.as_ref().is_some_and(|p| p.namespace == namespace && p.name == name));
        if waits {
            lines.push(format!("waits for an address: {}", self.wait_reason(now)));
        }
        if lines.is_empty() {
            lines.push(format!("{subject} holds no address on this node and waits for none"));
        }
        Explanation { subject, lines }
    }

    fn eni_lines(&self, id: &EniId) -> Vec<String> {
        let Some(eni) = self.enis.get(id) else { return Vec::new() };
        let status = self.eni_status(eni);
        let subnet_why = self.subnet_order.as_ref().map_or_else(String::new, |order| {
            format!(" (subnet order: {}: {})", order.reference(Kind::SubnetSelection), order.reason)
        });
        let mut lines = vec![
            format!(
                "{id} is {} at device {} in {}{subnet_why}: {} pod addresses, {} free, {} bound",
                status.phase, status.device, status.subnet, status.addresses, status.free, status.bound
            ),
            format!("why {id} is here: {}", eni.why),
        ];
        if let (Phase::Leaving(_), Some(going)) = (&eni.phase, &eni.going) {
            lines.push(format!("why {id} goes: {going}"));
        }
        lines
    }
}
