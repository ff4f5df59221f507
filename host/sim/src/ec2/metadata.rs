//! What instance metadata knows about an instance: EC2's truth, some time ago.

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;

use enid_core::cloud::VpcRanges;
use enid_core::ids::{InstanceId, SecurityGroupId};
use enid_core::time::Timestamp;
use ipnet::{Ipv4Net, Ipv6Net};

use super::Ec2;
use super::instance::{Instance, InstanceState};
use super::interface::NetworkInterface;

/// Changes remembered within the lag; when more happen, the newest absorbs them.
const MAX_PENDING: usize = 256;

/// Instance metadata of one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// The instance as launched; its seats are as EC2 sees them now.
    pub instance: Instance,
    /// Its ENIs with a link, in seat order, as they were one lag ago. The primary comes first.
    pub interfaces: Vec<NetworkInterface>,
    /// `placement/region`.
    pub region: String,
    /// `placement/availability-zone-id`.
    pub zone_id: String,
    /// `owner-id`.
    pub account: String,
    /// Names of the security groups of all ENIs.
    pub group_names: BTreeMap<SecurityGroupId, String>,
    /// Ranges of the instance's VPC as they were one lag ago, the primary one first.
    pub vpc: VpcRanges,
    /// Ranges of the ENIs' subnets by ENI, in the order of `interfaces`.
    pub subnet_cidrs: Vec<Ipv4Net>,
    /// The same for IPv6, for those subnets that have it.
    pub subnet_ipv6_cidrs: Vec<Option<Ipv6Net>>,
}

impl Metadata {
    /// `local-ipv4`.
    pub fn primary_address(&self) -> Option<Ipv4Addr> {
        self.interfaces.first().and_then(|eni| eni.primary)
    }
}

/// What changes in an instance's metadata while it runs.
#[derive(Clone, Debug, Default)]
struct View {
    interfaces: Vec<NetworkInterface>,
    vpc: VpcRanges,
    subnet_cidrs: Vec<Ipv4Net>,
    subnet_ipv6_cidrs: Vec<Option<Ipv6Net>>,
}

/// Views of one instance by the time they show.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    views: VecDeque<(Timestamp, View)>,
}

impl History {
    fn add(&mut self, shows: Timestamp, now: Timestamp, view: View) {
        while self.views.get(1).is_some_and(|(from, _)| *from <= now) {
            self.views.pop_front();
        }
        let full = self.views.len() >= MAX_PENDING;
        match self.views.back_mut() {
            Some(last) if full || last.0 >= shows => last.1 = view,
            Some(_) | None => self.views.push_back((shows, view)),
        }
    }

    fn at(&self, now: Timestamp) -> View {
        let shown = self.views.iter().rev().find(|(from, _)| *from <= now);
        shown.map_or_else(View::default, |(_, view)| view.clone())
    }
}

impl Ec2 {
    /// Instance metadata as `instance` sees it at `now`; `None` when there is no such running instance.
    pub fn metadata(&mut self, now: Timestamp, instance: &InstanceId) -> Option<Metadata> {
        self.advance(now);
        let found = self.instances.get(instance)?;
        match found.state {
            InstanceState::Pending | InstanceState::Running | InstanceState::ShuttingDown => {}
            InstanceState::Terminated => return None,
        }
        let View { interfaces, vpc, subnet_cidrs, subnet_ipv6_cidrs } =
            self.metadata.get(instance)?.at(self.now);
        let named = |id: &SecurityGroupId| Some((id.clone(), self.groups.get(id)?.name.clone()));
        Some(Metadata {
            instance: found.clone(),
            region: self.config.region.clone(),
            zone_id: self.zone_id(&found.zone),
            account: self.config.account.clone(),
            group_names: interfaces.iter().flat_map(|eni| &eni.groups).filter_map(named).collect(),
            vpc,
            subnet_cidrs,
            subnet_ipv6_cidrs,
            interfaces,
        })
    }

    /// The instance that `address` belongs to through an ENI with a link: how metadata knows its caller.
    pub fn instance_at(&self, address: Ipv4Addr) -> Option<&InstanceId> {
        let owner = self.subnets.values().find_map(|subnet| subnet.owner(address))?;
        let eni = self.interfaces.get(owner).filter(|eni| eni.is_plugged())?;
        eni.attachment.as_ref().map(|at| &at.instance)
    }

    /// Notes the present state of `instance`'s ENIs and VPC for when metadata will show it.
    pub(crate) fn record(&mut self, instance: &InstanceId) {
        let Some(found) = self.instances.get(instance) else { return };
        let plugged = |id| self.interfaces.get(id).filter(|eni: &&NetworkInterface| eni.is_plugged());
        let interfaces: Vec<NetworkInterface> = found.seats.values().filter_map(plugged).cloned().collect();
        let subnets = || interfaces.iter().filter_map(|eni| self.subnets.get(&eni.subnet));
        let vpc = self
            .vpcs
            .get(&found.vpc)
            .map(|vpc| VpcRanges { ipv4: vpc.cidrs.clone(), ipv6: vpc.ipv6_cidrs.clone() });
        let view = View {
            vpc: vpc.unwrap_or_default(),
            subnet_cidrs: subnets().map(|subnet| subnet.cidr).collect(),
            subnet_ipv6_cidrs: subnets().map(|subnet| subnet.ipv6_cidr).collect(),
            interfaces,
        };
        let history = self.metadata.entry(instance.clone()).or_default();
        // What an instance is launched with is there from its first moment.
        let lag =
            if history.views.is_empty() { std::time::Duration::ZERO } else { self.config.delays.metadata };
        history.add(self.now + lag, self.now, view);
    }
}
