//! An address's life: `Free → Reserved → Bound → Cooling → Free`, `Returning` when it goes back to EC2, and
//! `Quarantined` when two views disagree.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::eni::MISSES;
use crate::event::Record;
use crate::ids::{Attachment, EniId, PodName};
use crate::report::{Quarantine, Why};
use crate::time::Timestamp;
use crate::wiring::PodWiring;

/// Who holds an address and how it is wired: enough to undo everything without asking anybody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The CNI attachment.
    pub attachment: Attachment,
    /// The pod, when the runtime named it.
    pub pod: Option<PodName>,
    /// Its kernel wiring.
    pub wiring: PodWiring,
    /// When its ADD arrived: a DEL issued earlier is about an earlier life of the attachment.
    #[serde(default)]
    pub asked: Timestamp,
    /// Where its network namespace is found again (`CNI_NETNS`), when the runtime named a place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<String>,
}

impl Holder {
    /// The intent to wire the pod, as it is journaled.
    pub fn reservation(&self) -> Record {
        let PodWiring { first, further } = &self.wiring;
        match first.address {
            address @ IpAddr::V4(_) if first.second.is_none() && further.is_empty() => {
                Record::Reserved { address, holder: self.clone() }
            }
            IpAddr::V4(_) | IpAddr::V6(_) => Record::ReservedTogether { holder: self.clone() },
        }
    }
}

/// Where an address is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseState {
    /// Ready to be bound.
    Free,
    /// Promised to a pod whose wiring is under way.
    Reserved(Holder),
    /// In use by a wired pod.
    Bound(Holder),
    /// Its pod is being unwired.
    Unbinding(Holder),
    /// Given up by a pod; not reused before `until`, so that late packets and connections die out.
    Cooling {
        /// When it is free again.
        until: Timestamp,
    },
    /// On its way back to EC2.
    Returning,
    /// Two views disagree; out of service until they agree.
    Quarantined {
        /// The pod that the journal knows, if it knows one.
        holder: Option<Holder>,
        /// Which views disagree.
        why: Quarantine,
    },
}

impl LeaseState {
    /// The state's name, for people.
    pub fn name(&self) -> &'static str {
        match self {
            LeaseState::Free => "free",
            LeaseState::Reserved(_) => "reserved",
            LeaseState::Bound(_) => "bound",
            LeaseState::Unbinding(_) => "unbinding",
            LeaseState::Cooling { .. } => "cooling",
            LeaseState::Returning => "returning",
            LeaseState::Quarantined { .. } => "quarantined",
        }
    }

    /// Who holds the address, if anybody.
    pub fn holder(&self) -> Option<&Holder> {
        match self {
            LeaseState::Reserved(holder) | LeaseState::Bound(holder) | LeaseState::Unbinding(holder) => {
                Some(holder)
            }
            LeaseState::Quarantined { holder, .. } => holder.as_ref(),
            LeaseState::Free | LeaseState::Cooling { .. } | LeaseState::Returning => None,
        }
    }
}

/// One pod address that the node holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The address.
    pub address: IpAddr,
    /// The ENI it is on.
    pub eni: EniId,
    /// The delegated prefix that it is out of; `None` for a secondary address, and for IPv6.
    pub block: Option<Ipv4Net>,
    /// Where it is in its life.
    pub state: LeaseState,
    /// When it got there.
    pub since: Timestamp,
    /// Why the node holds it.
    pub why: Why,
    /// Looks in a row in which EC2 did not list it.
    pub missed: u8,
}

/// A step that the address's state does not allow: a bug of ours, or a reply that came twice.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{address} cannot {step} while {state}")]
pub struct Impossible {
    /// The address.
    pub address: IpAddr,
    /// What was attempted.
    pub step: &'static str,
    /// The state that forbids it.
    pub state: &'static str,
}

impl Lease {
    /// A free address.
    pub fn free(address: IpAddr, eni: EniId, why: Why, now: Timestamp) -> Self {
        Self { address, eni, block: None, state: LeaseState::Free, since: now, why, missed: 0 }
    }

    /// The free addresses of a delegated prefix: all of them serve pods, the first and the last too.
    pub fn free_block(block: Ipv4Net, eni: &EniId, why: &Why, now: Timestamp) -> impl Iterator<Item = Self> {
        addresses_of(block).map(move |address| Self {
            block: Some(block),
            ..Self::free(IpAddr::V4(address), eni.clone(), why.clone(), now)
        })
    }

    /// The address, if it is an IPv4 one.
    pub fn ipv4(&self) -> Option<Ipv4Addr> {
        match self.address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        }
    }

    /// Promises a free address to a pod.
    pub fn reserve(&mut self, holder: Holder, now: Timestamp) -> Result<(), Impossible> {
        match self.state {
            LeaseState::Free => self.enter(LeaseState::Reserved(holder), now),
            LeaseState::Reserved(_)
            | LeaseState::Bound(_)
            | LeaseState::Unbinding(_)
            | LeaseState::Cooling { .. }
            | LeaseState::Returning
            | LeaseState::Quarantined { .. } => Err(self.impossible("be reserved")),
        }
    }

    /// The pod is wired.
    pub fn bind(&mut self, now: Timestamp) -> Result<(), Impossible> {
        match &self.state {
            LeaseState::Reserved(holder) => self.enter(LeaseState::Bound(holder.clone()), now),
            LeaseState::Bound(_) => Ok(()),
            LeaseState::Free
            | LeaseState::Unbinding(_)
            | LeaseState::Cooling { .. }
            | LeaseState::Returning
            | LeaseState::Quarantined { .. } => Err(self.impossible("be bound")),
        }
    }

    /// The pod goes; its wiring, which is answered, is to be removed.
    pub fn unbind(&mut self, now: Timestamp) -> Result<PodWiring, Impossible> {
        match &self.state {
            LeaseState::Reserved(holder)
            | LeaseState::Bound(holder)
            | LeaseState::Unbinding(holder)
            | LeaseState::Quarantined { holder: Some(holder), .. } => {
                let wiring = holder.wiring.clone();
                self.enter(LeaseState::Unbinding(holder.clone()), now).map(|()| wiring)
            }
            LeaseState::Free
            | LeaseState::Cooling { .. }
            | LeaseState::Returning
            | LeaseState::Quarantined { holder: None, .. } => Err(self.impossible("be unbound")),
        }
    }

    /// The pod's wiring is gone (or never was).
    pub fn cool(&mut self, until: Timestamp, now: Timestamp) -> Result<(), Impossible> {
        match self.state {
            LeaseState::Reserved(_) | LeaseState::Unbinding(_) => {
                let next = if until > now { LeaseState::Cooling { until } } else { LeaseState::Free };
                self.enter(next, now)
            }
            LeaseState::Free
            | LeaseState::Bound(_)
            | LeaseState::Cooling { .. }
            | LeaseState::Returning
            | LeaseState::Quarantined { .. } => Err(self.impossible("cool")),
        }
    }

    /// Unwiring failed: the pod still has it.
    pub fn keep(&mut self, now: Timestamp) -> Result<(), Impossible> {
        match &self.state {
            LeaseState::Unbinding(holder) => self.enter(LeaseState::Bound(holder.clone()), now),
            LeaseState::Free
            | LeaseState::Reserved(_)
            | LeaseState::Bound(_)
            | LeaseState::Cooling { .. }
            | LeaseState::Returning
            | LeaseState::Quarantined { .. } => Err(self.impossible("stay bound")),
        }
    }

    /// EC2 is asked to take it back. A cooling address leaves only with its whole ENI, which nobody else
    /// gets before it is deleted.
    pub fn give_back(&mut self, now: Timestamp) -> Result<(), Impossible> {
        match self.state {
            LeaseState::Free | LeaseState::Returning => self.enter(LeaseState::Returning, now),
            LeaseState::Reserved(_)
            | LeaseState::Bound(_)
            | LeaseState::Unbinding(_)
            | LeaseState::Cooling { .. }
            | LeaseState::Quarantined { .. } => Err(self.impossible("be given back")),
        }
    }

    /// EC2 did not take it back and still lists it.
    pub fn stay(&mut self, now: Timestamp) -> Result<(), Impossible> {
        match self.state {
            LeaseState::Returning => self.enter(LeaseState::Free, now),
            LeaseState::Free
            | LeaseState::Reserved(_)
            | LeaseState::Bound(_)
            | LeaseState::Unbinding(_)
            | LeaseState::Cooling { .. }
            | LeaseState::Quarantined { .. } => Err(self.impossible("stay")),
        }
    }

    /// Two views disagree about it: out of service until they agree. The pod that has it keeps it.
    pub fn quarantine(&mut self, why: Quarantine, now: Timestamp) -> Result<(), Impossible> {
        match &self.state {
            LeaseState::Free | LeaseState::Cooling { .. } => {
                self.enter(LeaseState::Quarantined { holder: None, why }, now)
            }
            LeaseState::Bound(holder) => {
                let holder = Some(holder.clone());
                self.enter(LeaseState::Quarantined { holder, why }, now)
            }
            LeaseState::Reserved(_)
            | LeaseState::Unbinding(_)
            | LeaseState::Returning
            | LeaseState::Quarantined { .. } => Err(self.impossible("be quarantined")),
        }
    }

    /// The views agree again: a pod's address is the pod's, one that only the kernel used cools until `until`.
    pub fn trust(&mut self, until: Timestamp, now: Timestamp) -> Result<(), Impossible> {
        match &self.state {
            LeaseState::Quarantined { holder: Some(holder), .. } => {
                self.enter(LeaseState::Bound(holder.clone()), now)
            }
            LeaseState::Quarantined { holder: None, .. } => self.enter(LeaseState::Cooling { until }, now),
            LeaseState::Free
            | LeaseState::Reserved(_)
            | LeaseState::Bound(_)
            | LeaseState::Unbinding(_)
            | LeaseState::Cooling { .. }
            | LeaseState::Returning => Err(self.impossible("be trusted")),
        }
    }

    /// Ends cooling when its time has come; says whether it did.
    pub fn thaw(&mut self, now: Timestamp) -> bool {
        match self.state {
            LeaseState::Cooling { until } if until <= now => {
                self.state = LeaseState::Free;
                self.since = now;
                true
            }
            LeaseState::Cooling { .. }
            | LeaseState::Free
            | LeaseState::Reserved(_)
            | LeaseState::Bound(_)
            | LeaseState::Unbinding(_)
            | LeaseState::Returning
            | LeaseState::Quarantined { .. } => false,
        }
    }

    /// Whether it ends with its pod: an IPv6 address does, and one that EC2 has not listed for long enough.
    pub fn ends_with_pod(&self) -> bool {
        self.address.is_ipv6() || self.missed >= MISSES
    }

    /// Whether a pod may get it now.
    pub fn is_free(&self) -> bool {
        matches!(self.state, LeaseState::Free)
    }

    fn enter(&mut self, next: LeaseState, now: Timestamp) -> Result<(), Impossible> {
        self.state = next;
        self.since = now;
        Ok(())
    }

    fn impossible(&self, step: &'static str) -> Impossible {
        Impossible { address: self.address, step, state: self.state.name() }
    }
}

/// All addresses of a delegated prefix. EC2 delegates /28 blocks; of anything larger only as many are taken.
pub fn addresses_of(block: Ipv4Net) -> impl Iterator<Item = Ipv4Addr> {
    let most = usize::try_from(crate::limits::PREFIX_ADDRESSES).unwrap_or(usize::MAX);
    let first = u32::from(block.network());
    (first..=u32::from(block.broadcast())).take(most).map(Ipv4Addr::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wiring::PodLink;

    const NOW: Timestamp = Timestamp(1_000);
    const LATER: Timestamp = Timestamp(2_000);

    fn address() -> IpAddr {
        Ipv4Addr::new(10, 0, 0, 7).into()
    }

    fn holder() -> Holder {
        Holder {
            attachment: Attachment {
                container: "c1".parse().unwrap(),
                network: "enid".parse().unwrap(),
                ifname: "eth0".parse().unwrap(),
            },
            pod: None,
            wiring: PodWiring {
                first: PodLink {
                    host_veth: "eni0".parse().unwrap(),
                    ifname: "eth0".parse().unwrap(),
                    address: address(),
                    table: 254,
                    mtu: 9001,
                    second: None,
                },
                further: Vec::new(),
            },
            asked: NOW,
            netns: None,
        }
    }

    fn doubt() -> Quarantine {
        Quarantine::UnknownPod { host_veth: "eni0".to_owned() }
    }

    fn every_state() -> [LeaseState; 8] {
        [
            LeaseState::Free,
            LeaseState::Reserved(holder()),
            LeaseState::Bound(holder()),
            LeaseState::Unbinding(holder()),
            LeaseState::Cooling { until: LATER },
            LeaseState::Returning,
            LeaseState::Quarantined { holder: None, why: doubt() },
            LeaseState::Quarantined { holder: Some(holder()), why: doubt() },
        ]
    }

    type Step = fn(&mut Lease) -> Result<(), Impossible>;

    /// One row per step, one column per state: where it leads, `-` for nowhere.
    #[test]
    fn every_step_leads_where_the_table_says_or_nowhere() {
        let table: [(&str, Step, [&str; 8]); 10] = [
            ("reserve", |l| l.reserve(holder(), LATER), ["reserved", "-", "-", "-", "-", "-", "-", "-"]),
            ("bind", |l| l.bind(LATER), ["-", "bound", "bound", "-", "-", "-", "-", "-"]),
            (
                "unbind",
                |l| l.unbind(LATER).map(drop),
                ["-", "unbinding", "unbinding", "unbinding", "-", "-", "-", "unbinding"],
            ),
            (
                "cool",
                |l| l.cool(Timestamp(9_000), LATER),
                ["-", "cooling", "-", "cooling", "-", "-", "-", "-"],
            ),
            ("cool for no time", |l| l.cool(LATER, LATER), ["-", "free", "-", "free", "-", "-", "-", "-"]),
            ("keep", |l| l.keep(LATER), ["-", "-", "-", "bound", "-", "-", "-", "-"]),
            ("give back", |l| l.give_back(LATER), ["returning", "-", "-", "-", "-", "returning", "-", "-"]),
            ("stay", |l| l.stay(LATER), ["-", "-", "-", "-", "-", "free", "-", "-"]),
            (
                "quarantine",
                |l| l.quarantine(doubt(), LATER),
                ["quarantined", "-", "quarantined", "-", "quarantined", "-", "-", "-"],
            ),
            (
                "trust",
                |l| l.trust(Timestamp(9_000), LATER),
                ["-", "-", "-", "-", "-", "-", "cooling", "bound"],
            ),
        ];
        for (name, step, expected) in table {
            for (state, expected) in every_state().into_iter().zip(expected) {
                let mut lease = Lease::free(address(), "eni-1".parse().unwrap(), Why::Journal, NOW);
                lease.state = state.clone();
                match step(&mut lease) {
                    Ok(()) => assert_eq!(lease.state.name(), expected, "{name} from {state:?}"),
                    Err(impossible) => {
                        assert_eq!(expected, "-", "{name} from {state:?}: {impossible}");
                        assert_eq!((&lease.state, lease.since), (&state, NOW), "{name} changed nothing");
                        assert_eq!(impossible.state, state.name());
                    }
                }
            }
        }
    }

    #[test]
    fn only_cooling_thaws_and_only_when_its_time_has_come() {
        for state in every_state() {
            let mut lease = Lease::free(address(), "eni-1".parse().unwrap(), Why::Journal, NOW);
            lease.state = state.clone();
            assert!(!lease.thaw(NOW), "{state:?}");
            assert_eq!(lease.thaw(LATER), matches!(state, LeaseState::Cooling { .. }), "{state:?}");
        }
    }

    #[test]
    fn a_pod_keeps_its_name_through_reservation_binding_and_doubt() {
        let mut lease = Lease::free(address(), "eni-1".parse().unwrap(), Why::Journal, NOW);
        lease.reserve(holder(), NOW).unwrap();
        lease.bind(NOW).unwrap();
        lease.quarantine(doubt(), NOW).unwrap();
        assert_eq!(lease.state.holder(), Some(&holder()));
        lease.trust(LATER, NOW).unwrap();
        assert_eq!(lease.unbind(NOW).unwrap(), holder().wiring);
        lease.cool(LATER, NOW).unwrap();
        assert_eq!(lease.state.holder(), None);
    }
}
