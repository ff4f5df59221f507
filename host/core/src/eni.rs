//! An ENI's life: `Created → Attaching → Ready → Leaving`, and the facts that wiring and planning need.

use std::net::Ipv4Addr;
use std::time::Duration;

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::cloud::{CloudEni, Supply};
use crate::ids::{EniAttachmentId, EniId, Mac, SecurityGroupId, SubnetId};
use crate::report::Why;
use crate::time::Timestamp;
use crate::wiring::{EniWiring, Seat};

/// How long the link of an attached ENI may take to appear.
const LINK_DEADLINE: Duration = Duration::from_secs(180);
/// Looks in a row without an address or ENI before it is believed gone.
pub const MISSES: u8 = 2;

/// Where an ENI is in its life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "phase")]
pub enum Phase {
    /// EC2 created it; attaching has been asked for.
    Created,
    /// EC2 accepted the attachment; its link has yet to appear and be set up.
    Attaching {
        /// When EC2 accepted.
        since: Timestamp,
    },
    /// Its link is set up; its addresses serve pods.
    Ready,
    /// It is being given back: kernel first, then detached, then deleted.
    Leaving(Leaving),
}

/// The steps of giving an ENI back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "step")]
pub enum Leaving {
    /// Its rule and table are being removed.
    TearingDown,
    /// EC2 is detaching it.
    Detaching,
    /// EC2 is deleting it.
    Deleting,
}

impl Phase {
    /// The phase's name, for people.
    pub fn name(&self) -> &'static str {
        match self {
            Phase::Created => "created",
            Phase::Attaching { .. } => "attaching",
            Phase::Ready => "ready",
            Phase::Leaving(Leaving::TearingDown) => "tearing down",
            Phase::Leaving(Leaving::Detaching) => "detaching",
            Phase::Leaving(Leaving::Deleting) => "deleting",
        }
    }

    /// Whether its addresses are on their way into service.
    pub fn is_coming(&self) -> bool {
        matches!(self, Phase::Created | Phase::Attaching { .. })
    }
}

/// One ENI of the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Eni {
    /// Its id.
    pub id: EniId,
    /// Its MAC.
    pub mac: Mac,
    /// Its subnet.
    pub subnet: SubnetId,
    /// Its subnet's range.
    pub subnet_cidr: Ipv4Net,
    /// Its own address.
    pub primary_address: Ipv4Addr,
    /// Its place on the instance.
    pub seat: Seat,
    /// The attachment's id, once EC2 gave one.
    pub attachment: Option<EniAttachmentId>,
    /// Where it is in its life.
    #[serde(flatten)]
    pub phase: Phase,
    /// When the node first knew it.
    pub known_since: Timestamp,
    /// When one of its addresses was last bound or released.
    pub last_use: Timestamp,
    /// Why the node has it.
    pub why: Why,
    /// Why it, or some of its addresses, was last given back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub going: Option<Why>,
    /// Whether EC2 will delete it with the instance.
    pub marked: bool,
    /// Whether EC2 says that it was created for this node's pods.
    #[serde(default)]
    pub created_for_pods: bool,
    /// Its security groups, where they are known.
    #[serde(default)]
    pub security_groups: Vec<SecurityGroupId>,
    /// Whether its subnet's tags keep pods out, as far as EC2 has told.
    #[serde(default)]
    pub excluded: Option<bool>,
    /// Whether EC2 has delegated prefixes to it since it is known: then its records come in pairs.
    #[serde(default)]
    pub delegates: bool,
    /// Its delegated IPv6 prefixes; journaled by [`Record::Delegated`](crate::event::Record::Delegated).
    #[serde(skip)]
    pub ipv6_prefixes: Vec<Ipv6Net>,
    /// Whether somebody tagged it as not ours to touch after we had begun to use it: its pods stay, nothing else
    /// is done with it.
    #[serde(default)]
    pub hands_off: bool,
    /// Whether this daemon has set its link up since it started; the primary's is not ours to set up.
    #[serde(skip)]
    pub set_up: bool,
    /// When it did.
    #[serde(skip)]
    pub set_up_at: Timestamp,
    /// When EC2 last answered a call that changed it: an older view of it says nothing.
    #[serde(skip)]
    pub changed_at: Timestamp,
    /// When EC2 was last asked a question whose answer lists all its addresses as the node knows them.
    #[serde(skip)]
    pub confirmed_at: Timestamp,
    /// Whether a call or kernel work on it is in flight: one at a time.
    #[serde(skip)]
    pub busy: bool,
    /// Whether it is leaving and EC2 has surely not been asked to detach it: then it can be called back.
    #[serde(skip)]
    pub recallable: bool,
    /// Whether EC2 may have taken back what is returning without our hearing of it.
    #[serde(skip)]
    pub in_doubt: bool,
    /// What was asked for and is not yet given.
    #[serde(skip)]
    pub in_flight: Option<Supply>,
    /// Nothing is tried on it before this.
    #[serde(skip)]
    pub blocked_until: Timestamp,
    /// Tries in a row that failed.
    #[serde(skip)]
    pub failures: u32,
    /// Looks in a row in which EC2 did not list it.
    #[serde(skip)]
    pub missed: u8,
    /// The same for one of its IPv6 prefixes.
    #[serde(skip)]
    pub ipv6_missed: u8,
}

impl Eni {
    /// The ENI as EC2 describes it, in `seat` and `phase`.
    pub fn from_cloud(cloud: &CloudEni, seat: Seat, phase: Phase, why: Why, now: Timestamp) -> Self {
        Self {
            id: cloud.id.clone(),
            mac: cloud.mac,
            subnet: cloud.subnet.clone(),
            subnet_cidr: cloud.subnet_cidr,
            primary_address: cloud.primary_address,
            seat,
            attachment: cloud.attachment.as_ref().and_then(|attachment| attachment.id.clone()),
            phase,
            known_since: now,
            last_use: now,
            why,
            going: None,
            marked: cloud.attachment.as_ref().is_some_and(|attachment| attachment.delete_on_termination),
            created_for_pods: cloud.created_for_pods,
            security_groups: cloud.security_groups.clone(),
            excluded: None,
            delegates: !cloud.prefixes.is_empty() || !cloud.ipv6_prefixes.is_empty(),
            ipv6_prefixes: cloud.ipv6_prefixes.clone(),
            hands_off: false,
            set_up: false,
            set_up_at: Timestamp(0),
            changed_at: now,
            confirmed_at: Timestamp(0),
            busy: false,
            recallable: false,
            in_doubt: false,
            in_flight: None,
            failures: 0,
            blocked_until: Timestamp(0),
            missed: 0,
            ipv6_missed: 0,
        }
    }

    /// What outlives the daemon: nothing of it is under way, and everything is looked at anew.
    pub fn as_journaled(&self) -> Self {
        Self {
            set_up: false,
            set_up_at: Timestamp(0),
            changed_at: Timestamp(0),
            confirmed_at: Timestamp(0),
            busy: false,
            recallable: false,
            in_doubt: false,
            in_flight: None,
            blocked_until: Timestamp(0),
            failures: 0,
            missed: 0,
            ipv6_missed: 0,
            ipv6_prefixes: Vec::new(),
            ..self.clone()
        }
    }

    /// The same with no time after `now`, for a wall clock that stepped back since it was journaled.
    pub fn no_later_than(mut self, now: Timestamp) -> Self {
        self.known_since = self.known_since.min(now);
        self.last_use = self.last_use.min(now);
        if let Phase::Attaching { since } = &mut self.phase {
            *since = (*since).min(now);
        }
        self
    }

    /// Whether it is the instance's primary ENI.
    pub fn is_primary(&self) -> bool {
        self.seat == Seat::PRIMARY
    }

    /// Whether it may be given back: it was created for this node's pods. Whoever attached any other one wants
    /// it to stay, whatever we think of it.
    pub fn is_ours(&self) -> bool {
        self.created_for_pods || matches!(self.why, Why::Grown { .. })
    }

    /// Whether its link has not appeared although it was attached long enough ago.
    pub fn is_overdue(&self, now: Timestamp) -> bool {
        match self.phase {
            Phase::Attaching { since } => now.since(since) > LINK_DEADLINE,
            Phase::Created | Phase::Ready | Phase::Leaving(_) => false,
        }
    }

    /// Whether its addresses are on their way into service. Somebody else's ENI without a link is not waited
    /// for: it cannot be given up, and may never come.
    pub fn is_coming(&self, now: Timestamp) -> bool {
        self.phase.is_coming() && (self.is_ours() || !self.is_overdue(now))
    }

    /// Whether its addresses may serve pods.
    pub fn serves(&self) -> bool {
        self.phase == Phase::Ready && self.is_listed()
    }

    /// Whether EC2 lists it, as far as we know.
    pub fn is_listed(&self) -> bool {
        self.missed < MISSES
    }

    /// How the kernel is to be set up for it.
    pub fn wiring(&self, mtu: u32) -> EniWiring {
        EniWiring {
            eni: self.id.clone(),
            mac: self.mac,
            seat: self.seat,
            address: self.primary_address,
            subnet: self.subnet_cidr,
            mtu,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Cause;

    fn eni(device: u32, phase: Phase) -> Eni {
        let cloud = CloudEni {
            id: "eni-1".parse().unwrap(),
            mac: "02:00:00:00:00:01".parse().unwrap(),
            subnet: "subnet-1".parse().unwrap(),
            subnet_cidr: "10.0.0.0/24".parse().unwrap(),
            primary_address: Ipv4Addr::new(10, 0, 0, 5),
            addresses: Vec::new(),
            prefixes: Vec::new(),
            ipv6_prefixes: Vec::new(),
            security_groups: Vec::new(),
            attachment: None,
            managed: true,
            created_for_pods: false,
        };
        Eni::from_cloud(&cloud, Seat { card: 0, device }, phase, Why::Primary, Timestamp(5))
    }

    #[test]
    fn only_a_ready_eni_that_ec2_lists_serves_pods() {
        let rows = [
            (Phase::Created, "created", true, false),
            (Phase::Attaching { since: Timestamp(1) }, "attaching", true, false),
            (Phase::Ready, "ready", false, true),
            (Phase::Leaving(Leaving::TearingDown), "tearing down", false, false),
            (Phase::Leaving(Leaving::Detaching), "detaching", false, false),
            (Phase::Leaving(Leaving::Deleting), "deleting", false, false),
        ];
        for (phase, name, coming, serves) in rows {
            let mut eni = eni(1, phase);
            assert_eq!((eni.phase.name(), eni.phase.is_coming(), eni.serves()), (name, coming, serves));
            eni.missed = MISSES;
            assert!(!eni.serves(), "{name}, but EC2 does not list it");
        }
    }

    #[test]
    fn only_device_0_of_card_0_is_the_primary() {
        assert!(eni(0, Phase::Ready).is_primary());
        assert!(!eni(1, Phase::Ready).is_primary());
    }

    #[test]
    fn only_what_was_created_for_pods_is_ours() {
        let cause = Cause { because: String::new(), decisions: Vec::new() };
        let grown = Why::Grown { call: "CreateNetworkInterface".to_owned(), cause };
        let found = Why::Found { eni: "eni-1".parse().unwrap() };
        for (why, created_for_pods, ours) in
            [(grown, false, true), (found.clone(), true, true), (found, false, false)]
        {
            let eni = Eni { why, created_for_pods, ..eni(1, Phase::Attaching { since: Timestamp(0) }) };
            assert_eq!(eni.is_ours(), ours);
            let soon = Timestamp(0) + LINK_DEADLINE;
            let late = soon + Duration::from_millis(1);
            assert_eq!((eni.is_overdue(soon), eni.is_coming(soon)), (false, true));
            assert_eq!((eni.is_overdue(late), eni.is_coming(late)), (true, ours));
        }
    }

    #[test]
    fn nothing_that_was_under_way_outlives_the_daemon() {
        let mut busy = eni(1, Phase::Ready);
        let quiet = busy.as_journaled();
        (busy.busy, busy.in_flight, busy.failures, busy.set_up) = (true, Some(Supply::Addresses(3)), 2, true);
        (busy.in_doubt, busy.missed, busy.blocked_until) = (true, 1, Timestamp(9));
        assert_eq!(busy.as_journaled(), quiet);
        let written = serde_json::to_string(&quiet).unwrap();
        assert_eq!(serde_json::from_str::<Eni>(&written).unwrap(), quiet);
    }
}
