//! What the kernel is told about the node as a whole, whenever it changes: the VPC's ranges, the operator's settings,
//! the subnets that the node's ENIs are in.

use std::collections::BTreeSet;

use ipnet::{IpNet, Ipv6Net};

use super::{NodeState, delay};
use crate::cloud::{CloudError, CloudSubnet, VpcRanges};
use crate::event::{Api, CloudReply, Effect, OpId, Part, Record};
use crate::time::Timestamp;
use crate::wiring::{Families, Ingress, NodeWiring};

/// What the kernel knows about the node as a whole.
#[derive(Debug, Default)]
pub(super) struct Kernel {
    told: Option<NodeWiring>,
    /// Whether something that it depends on may have changed since.
    stale: bool,
    told_at: Timestamp,
    telling: Option<(OpId, NodeWiring)>,
    failures: u32,
    refusal: String,
    blocked_until: Timestamp,
}

impl Kernel {
    /// Something that the kernel should know may have changed.
    pub(super) fn changed(&mut self) {
        self.stale = true;
    }

    /// What the kernel has been told and took.
    pub(super) fn told(&self) -> Option<NodeWiring> {
        self.told.clone().filter(|_| self.telling.is_none())
    }

    /// The kernel differs from what it was told before `asked`: it is told again. Says whether it is.
    pub(super) fn drifted(&mut self, asked: Timestamp) -> bool {
        if self.telling.is_some() || self.told_at >= asked {
            return false;
        }
        self.told = None;
        self.stale = true;
        true
    }

    /// What the kernel said, when it has refused as many times in a row.
    pub(super) fn refusal(&self, times: u32) -> Option<&str> {
        (self.failures >= times).then_some(self.refusal.as_str())
    }

    pub(super) fn is_busy(&self) -> bool {
        self.telling.is_some()
    }

    /// When it is told again what it did not take.
    pub(super) fn next_try(&self) -> Option<Timestamp> {
        (self.stale && self.telling.is_none()).then_some(self.blocked_until)
    }
}

impl NodeState {
    /// What holds for the whole node now.
    pub fn node_wiring(&self) -> NodeWiring {
        let (identity, config) = (&self.identity, &self.config.kernel);
        let ingress = config.ingress.as_ref().map_or(Ingress::Open, |listed| Ingress::Cluster {
            sources: self.neighbourhood().chain(listed.iter().copied()).collect(),
        });
        let egress = self.config.egress && self.config.families != Families::DualStack;
        NodeWiring {
            primary_mac: identity.primary_mac,
            primary_address: identity.primary_address,
            primary_ipv6: identity.primary_ipv6,
            families: self.config.families,
            veth_prefix: self.config.veth_prefix.clone(),
            vpc_cidrs: identity.vpc_cidrs.clone(),
            vpc_ipv6_cidrs: identity.vpc_ipv6_cidrs.clone(),
            snat_exclude: config.snat_exclude.clone(),
            snat: config.snat,
            node_port: config.node_port,
            mark: config.mark,
            external_services: config.external_services.clone(),
            egress: egress.then_some(config.egress_ports),
            ingress,
        }
    }

    /// The ranges that this node knows its cluster to be in: the subnets of its own ENIs and those that its pods may
    /// be in. What other nodes use that has nothing to do with these, the operator lists.
    fn neighbourhood(&self) -> impl Iterator<Item = IpNet> {
        let own = self.enis.values().map(|eni| IpNet::V4(eni.subnet_cidr));
        let prefixes = self.enis.values().flat_map(|eni| &eni.ipv6_prefixes).map(|prefix| prefix.network());
        // A VPC's IPv6 subnet is a /64 at least.
        let whole = |address| Ipv6Net::new(address, 64).ok().map(|subnet| IpNet::V6(subnet.trunc()));
        let ipv6 = prefixes.chain(self.identity.primary_ipv6).filter_map(whole);
        let all: BTreeSet<IpNet> = own.chain(ipv6).chain(self.identity.pod_ranges.iter().copied()).collect();
        all.into_iter()
    }

    /// EC2 described the subnets: those that pods may be in are remembered, so that a restart opens no gap.
    pub(super) fn see_pod_ranges(&mut self, effects: &mut Vec<Effect>) {
        let ranges = |subnet: &CloudSubnet| {
            let ipv6 = subnet.ipv6_cidr.map(IpNet::V6);
            std::iter::once(IpNet::V4(subnet.cidr)).chain(ipv6).collect::<Vec<_>>()
        };
        let mut pod_ranges: Vec<IpNet> = self.for_pods().flat_map(ranges).collect();
        pod_ranges.sort();
        if pod_ranges != self.identity.pod_ranges {
            self.identity.pod_ranges = pod_ranges;
            self.identity_changed(effects);
        }
    }

    /// The kernel has been told `wiring` by somebody else.
    pub fn kernel_knows(&mut self, wiring: NodeWiring) {
        self.kernel = Kernel { told: Some(wiring), stale: true, ..Kernel::default() };
    }

    /// Tells the kernel what has changed.
    pub(super) fn tell_kernel(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let kernel = &self.kernel;
        if !kernel.stale || kernel.telling.is_some() || kernel.blocked_until > now {
            return;
        }
        let wiring = self.node_wiring();
        self.kernel.stale = false;
        if self.kernel.told.as_ref() == Some(&wiring) {
            return;
        }
        let op = self.op();
        self.kernel.telling = Some((op, wiring.clone()));
        effects.push(Effect::SetUpNode { op, wiring: Box::new(wiring) });
    }

    pub(super) fn node_set_up(&mut self, op: OpId, result: Result<(), String>, now: Timestamp) {
        let Some((_, wiring)) = self.kernel.telling.take_if(|(told, _)| *told == op) else { return };
        match result {
            Ok(()) => {
                self.kernel.told = Some(wiring);
                self.kernel.told_at = now;
                self.kernel.failures = 0;
                self.mended(&Part::Node);
            }
            Err(why) => {
                self.kernel.refusal = why;
                self.kernel.told = None;
                self.kernel.stale = true;
                self.kernel.failures = self.kernel.failures.saturating_add(1);
                self.kernel.blocked_until = now + delay(self.kernel.failures, op.0);
            }
        }
    }

    pub(super) fn ranges_answered(
        &mut self,
        result: Result<CloudReply, CloudError>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        match result {
            Ok(CloudReply::VpcRanges(VpcRanges { ipv4, ipv6 })) if !ipv4.is_empty() => {
                if ipv4 != self.identity.vpc_cidrs || ipv6 != self.identity.vpc_ipv6_cidrs {
                    self.identity.vpc_cidrs = ipv4;
                    self.identity.vpc_ipv6_cidrs = ipv6;
                    self.identity_changed(effects);
                }
            }
            Ok(
                CloudReply::VpcRanges(_)
                | CloudReply::Enis(_)
                | CloudReply::Subnets(_)
                | CloudReply::Orphans(_)
                | CloudReply::Created(_)
                | CloudReply::Attached(_)
                | CloudReply::Assigned(_)
                | CloudReply::Done,
            ) => {}
            Err(error) => self.restraint.pushback.failed(Api::Metadata, error, now, self.next_op),
        }
    }

    /// What metadata said about the node at its start is not so any more.
    pub(super) fn identity_changed(&mut self, effects: &mut Vec<Effect>) {
        self.kernel.changed();
        effects.push(Effect::Journal(vec![Record::Identity { identity: self.identity.clone() }]));
    }
}
