//! Where ENIs may be: subnets in order, those that ran out, and ENIs that take no new pods.

use std::time::Duration;

use super::{Cards, CustomNetworking, Exhausted, NodeState, Provisioning, SUBNET_BLOCK};
use crate::cloud::{CloudSubnet, Supply as Amount};
use crate::eni::Eni;
use crate::event::{Api, Effect};
use crate::ids::{SecurityGroupId, SubnetId};
use crate::report::WaitReason;
use crate::snapshot::{ClusterTag, RoleTag};
use crate::time::Timestamp;

/// The longest that a subnet without a whole block is asked for single addresses instead.
const LONGEST_MAKESHIFT: Duration = Duration::from_secs(16 * 60);
/// How long after that its failures are remembered.
const REMEMBER_FAILURES: Duration = Duration::from_secs(30 * 60);
/// Blocks that are asked for at once without a second thought.
const MANY_BLOCKS: u32 = 16;

/// A subnet that had fewer whole /28 blocks than were asked for. EC2 does not tell how many it has, so that asking is
/// the only way to know.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fragmented {
    /// Blocks to ask for at once; none until `until`.
    pub(super) most: u32,
    /// When one block is asked for again.
    pub(super) until: Timestamp,
    failures: u32,
}

impl NodeState {
    /// Whether new pods may go on an ENI. One that takes none drains: its pods stay as long as they live.
    pub(super) fn takes_pods(&self, eni: &Eni) -> bool {
        let unused_card =
            self.config.cards == Cards::Default && !self.is_on(eni.seat, self.instance_type.default_card);
        if eni.hands_off || unused_card {
            return false;
        }
        match &self.config.custom_networking {
            CustomNetworking::Use(config) => !eni.is_primary() && config.subnets.contains(&eni.subnet),
            CustomNetworking::Missing { .. } => !eni.is_primary(),
            CustomNetworking::Off if !self.subnets.is_empty() => !self.is_excluded(&eni.subnet),
            CustomNetworking::Off => match eni.excluded {
                Some(excluded) => !excluded,
                // Its subnet's tags are asked for first, if EC2 tells.
                None => {
                    self.restraint.pushback.is_failing(Api::DescribeSubnets)
                        || self.restraint.has_stopped_calling()
                        || self.config.provisioning == Provisioning::MetadataOnly
                }
            },
        }
    }

    /// Whether an ENI drains because of where it is, and not because nobody has told yet.
    pub(super) fn drains(&self, eni: &Eni) -> bool {
        let known = self.config.custom_networking != CustomNetworking::Off || !self.subnets.is_empty();
        known && !self.takes_pods(eni)
    }

    /// EC2 described the subnets: what their tags say about each ENI is remembered for the next start.
    pub(super) fn judge_enis(&mut self, effects: &mut Vec<Effect>) {
        let judged = self.enis.values().map(|eni| (eni.id.clone(), self.is_excluded(&eni.subnet)));
        for (id, excluded) in judged.collect::<Vec<_>>() {
            if let Some(eni) = self.enis.get_mut(&id).filter(|eni| eni.excluded != Some(excluded)) {
                eni.excluded = Some(excluded);
                self.journal_eni(&id, effects);
            }
        }
    }

    /// Whether a subnet's tags keep pods out. Of a subnet that is not listed (another account's) nothing is known.
    pub(super) fn is_excluded(&self, id: &SubnetId) -> bool {
        let subnet = self.subnets.iter().find(|subnet| subnet.id == *id);
        subnet.is_some_and(|subnet| match subnet.role {
            RoleTag::Absent => false,
            RoleTag::Excluded => true,
            RoleTag::Included => subnet.cluster == ClusterTag::Foreign,
        })
    }

    /// The subnets that a strategy may be asked about.
    pub(super) fn offered(&self) -> impl Iterator<Item = &CloudSubnet> {
        self.subnets.iter().filter(|subnet| match &self.config.custom_networking {
            CustomNetworking::Use(config) => config.subnets.contains(&subnet.id),
            CustomNetworking::Missing { .. } => false,
            CustomNetworking::Off => self.config.subnet_discovery || subnet.id == self.identity.subnet,
        })
    }

    /// The subnets that pods of this cluster may be in, or may yet be in: the primary's and those that were ever tagged
    /// for it, or what the operator names.
    pub(super) fn for_pods(&self) -> impl Iterator<Item = &CloudSubnet> {
        let named = matches!(self.config.custom_networking, CustomNetworking::Use(_));
        self.offered().filter(move |subnet| {
            let tagged = subnet.role != RoleTag::Absent && subnet.cluster != ClusterTag::Foreign;
            named || tagged || subnet.id == self.identity.subnet
        })
    }

    /// Whether the strategy's order says where the next ENI goes.
    pub(super) fn follows_order(&self) -> bool {
        match &self.config.custom_networking {
            CustomNetworking::Use(config) => config.subnets.len() > 1,
            CustomNetworking::Missing { .. } => false,
            CustomNetworking::Off => self.config.subnet_discovery,
        }
    }

    /// The subnets for new ENIs, best first: in the strategy's order where it has a say and has answered, or else the
    /// operator's subnets, or the primary's.
    pub(super) fn subnets_in_order(&self) -> impl Iterator<Item = &CloudSubnet> {
        let order = self.subnet_order.as_ref().filter(|_| self.follows_order());
        let primary = std::slice::from_ref(&self.identity.subnet);
        let ids = match (order, &self.config.custom_networking) {
            (Some(order), CustomNetworking::Use(_) | CustomNetworking::Off) => order.target.as_slice(),
            (None, CustomNetworking::Use(config)) => config.subnets.as_slice(),
            (None, CustomNetworking::Off) if self.is_excluded(&self.identity.subnet) => &[],
            (None, CustomNetworking::Off) => primary,
            (Some(_) | None, CustomNetworking::Missing { .. }) => &[],
        };
        let named = matches!(self.config.custom_networking, CustomNetworking::Use(_));
        ids.iter()
            .filter_map(|id| self.offered().find(|subnet| subnet.id == *id))
            .filter(move |subnet| named || !self.is_excluded(&subnet.id))
    }

    /// The security groups of ENIs that we create.
    pub(super) fn security_groups(&self) -> &[SecurityGroupId] {
        let own = match &self.config.custom_networking {
            CustomNetworking::Use(config) if !config.security_groups.is_empty() => &config.security_groups,
            CustomNetworking::Use(_) | CustomNetworking::Missing { .. } | CustomNetworking::Off => {
                &self.config.security_groups
            }
        };
        if own.is_empty() { &self.identity.security_groups } else { own }
    }

    /// A subnet had less than we asked for. EC2 calls a lack of whole blocks a lack of addresses, too, at times.
    ///
    /// `beside` are addresses that were asked for in the same breath: an ENI's own.
    pub(super) fn subnet_short(&mut self, subnet: &SubnetId, asked: Amount, beside: u32, now: Timestamp) {
        match asked {
            Amount::Addresses(addresses) => self.subnet_exhausted(subnet, addresses + beside, now),
            Amount::Prefixes(blocks) => self.subnet_fragmented(subnet, blocks, now),
            Amount::Ipv6Prefixes(_) => {}
        }
    }

    /// Other subnets are tried, and this one again when EC2 reports room.
    fn subnet_exhausted(&mut self, subnet: &SubnetId, asked: u32, now: Timestamp) {
        let failures = self.exhausted.get(subnet).map_or(0, |exhausted| exhausted.failures) + 1;
        self.exhausted
            .insert(subnet.clone(), Exhausted { until: now + SUBNET_BLOCK, asked, failures, reported: None });
        self.subnets_at = now;
    }

    /// Half of the blocks are asked for, down to one, and then single addresses for a while that grows with every
    /// failure.
    fn subnet_fragmented(&mut self, subnet: &SubnetId, asked: u32, now: Timestamp) {
        let failures = self.fragmented.get(subnet).map_or(0, |fragmented| fragmented.failures);
        let most = asked / 2;
        let (until, failures) = if most > 0 {
            (now, failures)
        } else {
            let makeshift = SUBNET_BLOCK.saturating_mul(1 << failures.min(8)).min(LONGEST_MAKESHIFT);
            (now + makeshift, failures + 1)
        };
        self.fragmented.insert(subnet.clone(), Fragmented { most, until, failures });
    }

    /// A subnet had the blocks that we asked for: next time twice as many.
    pub(super) fn blocks_found(&mut self, subnet: &SubnetId) {
        if let Some(fragmented) = self.fragmented.get_mut(subnet) {
            fragmented.most = fragmented.most.saturating_mul(2);
            if fragmented.most >= MANY_BLOCKS {
                self.fragmented.remove(subnet);
            }
        }
    }

    /// Subnets that ran out are tried again when their time has come.
    pub(super) fn reopen_subnets(&mut self, now: Timestamp) {
        self.exhausted.retain(|_, exhausted| exhausted.until > now);
        self.fragmented.retain(|_, fragmented| fragmented.until + REMEMBER_FAILURES > now);
        for fragmented in self.fragmented.values_mut().filter(|fragmented| fragmented.until <= now) {
            fragmented.most = fragmented.most.max(1);
        }
    }

    /// When [`NodeState::reopen_subnets`] next changes something.
    pub(super) fn subnets_reopen(&self) -> impl Iterator<Item = Timestamp> {
        let makeshift = self.fragmented.values().filter(|fragmented| fragmented.most == 0);
        let exhausted = self.exhausted.values().map(|exhausted| exhausted.until);
        exhausted.chain(makeshift.map(|fragmented| fragmented.until))
    }

    /// Whether a subnet is taken to have no whole block.
    pub(super) fn is_fragmented(&self, subnet: &SubnetId) -> bool {
        self.fragmented.get(subnet).is_some_and(|fragmented| fragmented.most == 0)
    }

    /// Blocks of a subnet to ask for at once.
    pub(super) fn most_blocks(&self, subnet: &SubnetId) -> u32 {
        self.fragmented.get(subnet).map_or(u32::MAX, |fragmented| fragmented.most.max(1))
    }

    /// What is wrong with where new ENIs should go, if something is.
    pub(super) fn misplaced(&self) -> Option<WaitReason> {
        match &self.config.custom_networking {
            CustomNetworking::Off => None,
            CustomNetworking::Missing { name } => Some(WaitReason::NoEniConfig { name: name.clone() }),
            CustomNetworking::Use(_) if self.subnets.is_empty() || self.offered().next().is_some() => None,
            CustomNetworking::Use(config) => Some(WaitReason::ForeignSubnets {
                eni_config: config.name.clone(),
                zone: self.identity.zone.clone(),
            }),
        }
    }
}
