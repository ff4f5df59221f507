//! What differs between the journal, the kernel and EC2: the answer to `enid diff`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::Serialize;

use super::enis::leases_of;
use super::{NodeState, RETURNED_MEMORY};
use crate::cloud::CloudEni;
use crate::eni::Phase;
use crate::event::{KernelView, Part};
use crate::ids::EniId;
use crate::lease::{Holder, Lease, LeaseState};
use crate::report::Why;
use crate::time::Timestamp;

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Difference {
    /// Of what: `address 10.0.1.7`, `eni-1`, `node`, `pod default/web`.
    pub of: String,
    /// What the journal says.
    pub journal: String,
    /// What the others say, for people: `EC2 does not list it`.
    pub others: String,
}

impl NodeState {
    /// What differs between the state, which is the journal's, and what EC2 and the kernel have just shown. What
    /// is being worked on, or has changed since `asked`, is left out.
    pub fn diff(&self, cloud: &[CloudEni], kernel: &KernelView, asked: Timestamp) -> Vec<Difference> {
        let mut differences = Vec::new();
        self.diff_cloud(cloud, asked, &mut differences);
        self.diff_kernel(kernel, asked, &mut differences);
        differences.sort();
        differences
    }

    fn diff_cloud(&self, cloud: &[CloudEni], asked: Timestamp, differences: &mut Vec<Difference>) {
        let mut differ = |of: String, journal: String, others: String| {
            differences.push(Difference { of, journal, others });
        };
        for eni in self.enis.values().filter(|eni| eni.changed_at <= asked && !eni.busy) {
            let attached = matches!(eni.phase, Phase::Ready);
            if attached && !cloud.iter().any(|listed| listed.id == eni.id) {
                let journal = format!("{}, device {}", eni.phase.name(), eni.seat.device);
                differ(eni.id.to_string(), journal, "EC2 does not list it on this instance".to_owned());
            }
        }
        let why = Why::Journal;
        for listed in cloud.iter().filter(|listed| listed.attachment.is_some()) {
            let Some(eni) = self.enis.get(&listed.id) else {
                if self.may_be_ours(listed) {
                    let others = "EC2 lists it on this instance".to_owned();
                    differ(listed.id.to_string(), "not known".to_owned(), others);
                }
                continue;
            };
            if eni.phase != Phase::Ready || eni.busy || eni.changed_at > asked || eni.hands_off {
                continue;
            }
            let there: BTreeSet<IpAddr> = leases_of(listed, &why, asked).map(|lease| lease.address).collect();
            let held: BTreeMap<IpAddr, &Lease> = self
                .pool
                .on(&listed.id)
                .filter(|lease| lease.address.is_ipv4())
                .map(|lease| (lease.address, lease))
                .collect();
            for (address, lease) in held.iter().filter(|(address, _)| !there.contains(address)) {
                let others = format!("EC2 does not list it on {}", listed.id);
                differ(format!("address {address}"), said(lease), others);
            }
            // What was given back a moment ago may still be listed.
            let lagging = |address: &IpAddr| {
                self.returned.contains_key(address) || self.resumed && asked < self.started + RETURNED_MEMORY
            };
            let unknown = there.iter().filter(|address| !held.contains_key(address) && !lagging(address));
            for address in unknown {
                let others = format!("EC2 lists it on {}", listed.id);
                differ(format!("address {address}"), "not known".to_owned(), others);
            }
        }
    }

    /// Whether the node would use an ENI that EC2 lists on its instance.
    fn may_be_ours(&self, listed: &CloudEni) -> bool {
        self.may_manage(listed) && !self.has_left(&listed.id) && self.creations().next().is_none()
    }

    fn diff_kernel(&self, kernel: &KernelView, asked: Timestamp, differences: &mut Vec<Difference>) {
        for drift in &kernel.drifts {
            let (of, journal) = match &drift.of {
                Part::Node => ("node".to_owned(), "set up".to_owned()),
                Part::Eni(eni) if self.is_quiet(eni) => (eni.to_string(), "set up".to_owned()),
                Part::Pod(key) => match self.pool.get(*key).filter(|lease| self.is_at_rest(lease, asked)) {
                    Some(lease) => (format!("address {key}"), said(lease)),
                    None => continue,
                },
                Part::Eni(_) => continue,
            };
            differences.push(Difference { of, journal, others: drift.what.clone() });
        }
        for (address, host_veth) in &kernel.routed {
            let lease = self.pool.get(*address);
            let unheld =
                lease.is_none_or(|lease| lease.state.holder().is_none() && self.is_at_rest(lease, asked));
            if unheld && !self.pool.uses_node_local(*address) {
                let journal = lease.map_or_else(|| "not known".to_owned(), said);
                let others = format!("the kernel routes it to {host_veth}");
                differences.push(Difference { of: format!("address {address}"), journal, others });
            }
        }
        for address in &kernel.strays {
            if let Some(lease) = self.pool.get(*address).filter(|lease| self.is_at_rest(lease, asked)) {
                let others = "the kernel has rules for it, and no route".to_owned();
                differences.push(Difference {
                    of: format!("address {address}"),
                    journal: said(lease),
                    others,
                });
            }
        }
    }

    fn is_quiet(&self, eni: &EniId) -> bool {
        self.enis.get(eni).is_some_and(|eni| eni.set_up && !eni.busy)
    }

    fn is_at_rest(&self, lease: &Lease, asked: Timestamp) -> bool {
        lease.since <= asked && !self.working.contains(&lease.address)
    }
}

/// What the journal says of an address.
fn said(lease: &Lease) -> String {
    let state = lease.state.name();
    let said = match lease.state.holder() {
        Some(Holder { pod: Some(pod), .. }) => format!("{state} to {pod}"),
        Some(Holder { pod: None, attachment, .. }) => format!("{state} to {attachment}"),
        None => state.to_owned(),
    };
    match &lease.state {
        LeaseState::Quarantined { why, .. } => format!("{said}: {why}"),
        LeaseState::Free
        | LeaseState::Reserved(_)
        | LeaseState::Bound(_)
        | LeaseState::Unbinding(_)
        | LeaseState::Cooling { .. }
        | LeaseState::Returning => said,
    }
}
