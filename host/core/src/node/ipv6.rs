//! Addresses that never run short: IPv6 ones out of the primary ENI's /80, and node-local ones for translated traffic
//! of the other family.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::Ipv6Net;

use super::{NodeState, Provisioning, Purpose};
use crate::cloud::{Assigned, CloudError, CloudErrorKind, Supply as Amount};
use crate::event::{Api, CloudCall, CloudReply, Effect};
use crate::ids::EniId;
use crate::lease::Lease;
use crate::report::{WaitReason, Why};
use crate::time::Timestamp;
use crate::wiring::{EGRESS_V4, EGRESS_V6, Families};

const ASSIGN: Api = Api::AssignIpv6Addresses;
/// Bits of an address that a delegated /80 leaves to the node.
const HOST_BITS: u32 = 48;
/// Addresses in a row that may be in use before the node gives up: more than it ever runs pods.
const MAX_IN_A_ROW: u64 = 65_536;

impl NodeState {
    /// Asks for the primary ENI's /80, once and for good, when pods need one.
    pub(super) fn supply_ipv6(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let under_way = self.calls.values().any(|call| matches!(call.purpose, Purpose::AssignIpv6 { .. }));
        if !self.config.families.ipv6()
            || under_way
            || self.ipv6_unsure.is_some()
            || !self.may_ask(ASSIGN, self.urgency(), now)
        {
            return;
        }
        // Whether the subnet has IPv6 at all is asked first, if EC2 tells.
        let tells = !self.restraint.pushback.is_failing(Api::DescribeSubnets)
            && !self.restraint.has_stopped_calling();
        if self.subnets.is_empty() && tells {
            return;
        }
        let primary = self.enis.get(&self.identity.primary_eni);
        if primary.is_none_or(|eni| !eni.ipv6_prefixes.is_empty()) || self.primary_subnet_lacks_ipv6() {
            return;
        }
        let eni = self.identity.primary_eni.clone();
        let call = CloudCall::Assign { eni: eni.clone(), supply: Amount::Ipv6Prefixes(1) };
        self.call(Purpose::AssignIpv6 { eni }, call, now, effects);
    }

    pub(super) fn ipv6_assigned(
        &mut self,
        id: &EniId,
        result: Result<CloudReply, CloudError>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let Some(eni) = self.enis.get_mut(id) else { return };
        match result {
            Ok(CloudReply::Assigned(Assigned { ipv6_prefixes, .. })) if !ipv6_prefixes.is_empty() => {
                eni.delegates = true;
                eni.changed_at = now;
                eni.ipv6_prefixes.extend(ipv6_prefixes);
                self.journal_eni(id, effects);
                self.serve_waiters(now, effects);
            }
            Ok(
                CloudReply::Assigned(_)
                | CloudReply::Enis(_)
                | CloudReply::VpcRanges(_)
                | CloudReply::Subnets(_)
                | CloudReply::Orphans(_)
                | CloudReply::Created(_)
                | CloudReply::Attached(_)
                | CloudReply::Done,
            ) => self.unsure_of_ipv6(now),
            Err(error) => {
                if error.kind == CloudErrorKind::Unavailable {
                    self.unsure_of_ipv6(now);
                }
                self.restraint.pushback.failed(ASSIGN, error, now, self.next_op);
            }
        }
    }

    /// The prefix may have been assigned, and a second one would be of no use: the next look will tell.
    fn unsure_of_ipv6(&mut self, now: Timestamp) {
        self.ipv6_unsure = Some(now);
        self.look_again(now);
    }

    fn primary_subnet_lacks_ipv6(&self) -> bool {
        let subnet = self.subnets.iter().find(|subnet| subnet.id == self.identity.subnet);
        subnet.is_some_and(|subnet| subnet.ipv6_cidr.is_none())
    }

    fn ipv6_prefix(&self) -> Option<Ipv6Net> {
        self.enis.get(&self.identity.primary_eni)?.ipv6_prefixes.first().copied()
    }

    /// The next pod's IPv6 address. They are counted upwards from the moment at which the daemon started, in
    /// milliseconds, so that hardly any is used twice in the life of a node.
    pub(super) fn pick_ipv6(&self) -> Option<Ipv6Addr> {
        let network = u128::from(self.ipv6_prefix()?.network());
        let free = |address: &Ipv6Addr| {
            let address = IpAddr::V6(*address);
            self.pool.get(address).is_none() && !self.strangers.contains_key(&address)
        };
        (0..MAX_IN_A_ROW)
            .map(|step| Ipv6Addr::from(network | u128::from(host_part(self.ipv6_cursor.wrapping_add(step)))))
            .find(free)
    }

    /// Takes the lease of an IPv6 address, which begins now.
    pub(super) fn draw_ipv6(&mut self, address: Ipv6Addr, now: Timestamp) {
        let bits = u64::try_from(u128::from(address) & u128::from(host_part(u64::MAX))).unwrap_or_default();
        self.ipv6_cursor = bits.wrapping_add(1);
        let eni = self.identity.primary_eni.clone();
        self.pool.learn(Lease::free(IpAddr::V6(address), eni, Why::Drawn, now));
    }

    /// A node-local address of the family that the VPC does not give pods: the one after the last, so that a
    /// released one rests while the others take their turn.
    pub(super) fn pick_node_local(&self) -> Option<IpAddr> {
        let free =
            |address: &IpAddr| !self.pool.uses_node_local(*address) && !self.strangers.contains_key(address);
        // Neither the network's own address nor the last.
        let turn =
            |size: u32| (0..size - 2).map(move |step| 1 + (self.node_local_cursor + step) % (size - 2));
        match self.config.families {
            Families::Ipv6 => {
                let first = u32::from(EGRESS_V4.network());
                let size = 1 << (32 - EGRESS_V4.prefix_len());
                turn(size).map(|host| IpAddr::V4(Ipv4Addr::from(first + host))).find(free)
            }
            Families::Ipv4 => {
                let first = u128::from(EGRESS_V6.network());
                let size = 1 << (128 - EGRESS_V6.prefix_len());
                turn(size).map(|host| IpAddr::V6(Ipv6Addr::from(first + u128::from(host)))).find(free)
            }
            Families::DualStack => None,
        }
    }

    /// Notes that a node-local address was given out.
    pub(super) fn drew_node_local(&mut self, address: IpAddr) {
        self.node_local_cursor = match address {
            IpAddr::V4(address) => u32::from(address) - u32::from(EGRESS_V4.network()),
            IpAddr::V6(address) => {
                u32::try_from(u128::from(address) - u128::from(EGRESS_V6.network())).unwrap_or_default()
            }
        };
    }

    /// Why a pod gets no IPv6 address now, if it does not.
    pub(super) fn reason_without_ipv6(&self) -> Option<WaitReason> {
        if !self.config.families.ipv6() || self.ipv6_prefix().is_some() {
            return None;
        }
        if self.config.provisioning != Provisioning::Full {
            return Some(WaitReason::NotProvisioned);
        }
        if self.primary_subnet_lacks_ipv6() {
            return Some(WaitReason::NoIpv6 { subnet: self.identity.subnet.clone() });
        }
        Some(WaitReason::Ipv6Coming { eni: self.identity.primary_eni.clone() })
    }
}

/// The low bits of `counter`.
fn host_part(counter: u64) -> u64 {
    counter & ((1 << HOST_BITS) - 1)
}
