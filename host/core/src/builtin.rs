//! The strategies compiled into the host: the rung that always answers when components cannot.
//!
//! Deliberately plain: one ENI's worth of ready addresses, the instance formula, most free first. They
//! read no settings, so that a wrong setting cannot break them too.

use crate::limits::PREFIX_ADDRESSES;
use crate::proposal::{Band, Grain, Outcome, Placement, Proposal, Ranked};
use crate::snapshot::{ClusterTag, MaxPodsSnapshot, RoleTag, SubnetSnapshot, SubnetUse, WarmPoolSnapshot};

/// How long an ENI stays unused before it is given back.
const RELEASE_AFTER_MS: u64 = 60_000;
/// Host-network pods that need no address: the incumbent's formula counts two.
const HOST_NETWORK_PODS: u32 = 2;

/// One ENI's worth of ready addresses (one prefix in prefix mode), whole units given back above twice that.
pub fn warm_pool(snapshot: &WarmPoolSnapshot) -> Proposal<Band> {
    let limits = snapshot.limits;
    let band = match snapshot.mode {
        crate::limits::Mode::SecondaryIp => {
            let per_eni = limits.slots_per_eni.saturating_mul(limits.addresses_per_slot);
            Band {
                ready_low: per_eni,
                ready_high: Some(per_eni),
                grain: Grain::Eni,
                release_after_ms: RELEASE_AFTER_MS,
                placement: Placement::Pack,
                ..Band::default()
            }
        }
        crate::limits::Mode::Prefix => Band {
            ready_low: PREFIX_ADDRESSES,
            ready_high: Some(0),
            keep_free: 1,
            grain: Grain::Prefix,
            release_after_ms: RELEASE_AFTER_MS,
            placement: Placement::Pack,
            ..Band::default()
        },
    };
    answer(band, "built-in: one free unit of supply is kept ready")
}

/// ENIs × addresses, plus the host-network pods, under the recommended caps.
pub fn max_pods(snapshot: &MaxPodsSnapshot) -> Proposal<u32> {
    let enis = snapshot
        .max_enis
        .saturating_sub(snapshot.reserved_enis)
        .saturating_sub(snapshot.custom_networking.into());
    let per_slot = match snapshot.mode {
        crate::limits::Mode::Prefix if snapshot.prefixes => PREFIX_ADDRESSES,
        crate::limits::Mode::Prefix | crate::limits::Mode::SecondaryIp => 1,
    };
    let addresses = enis.saturating_mul(snapshot.ipv4_per_eni.saturating_sub(1)).saturating_mul(per_slot);
    let formula = addresses.saturating_add(HOST_NETWORK_PODS);
    let cap = if snapshot.uncapped {
        u32::MAX
    } else if snapshot.vcpus <= 30 {
        110
    } else {
        250
    };
    answer(formula.min(cap), "built-in: what the instance's addresses allow")
}

/// Every eligible subnet, most free first.
pub fn subnets(snapshot: &SubnetSnapshot) -> Proposal<Vec<Ranked>> {
    let mut order: Vec<(usize, &SubnetUse)> =
        snapshot.candidates.iter().enumerate().filter(|(_, subnet)| eligible(subnet)).collect();
    order.sort_by_key(|(index, subnet)| (std::cmp::Reverse(subnet.free), *index));
    let ranked = order
        .iter()
        .map(|(index, subnet)| Ranked {
            candidate: u16::try_from(*index).unwrap_or(u16::MAX),
            weight: subnet.free,
        })
        .collect();
    answer(ranked, "built-in: most free addresses first")
}

/// The incumbent's rule: an untagged subnet only if it is the primary's; a tagged one unless it says 0 or
/// names other clusters.
fn eligible(subnet: &SubnetUse) -> bool {
    match subnet.role {
        RoleTag::Absent => subnet.primary,
        RoleTag::Excluded => false,
        RoleTag::Included => subnet.cluster != ClusterTag::Foreign,
    }
}

fn answer<T>(target: T, reason: &str) -> Proposal<T> {
    Proposal { target, outcome: Outcome { reason: reason.to_owned(), ..Outcome::default() } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_beyond_any_node_are_answered_like_others() {
        let most = MaxPodsSnapshot {
            max_enis: u32::MAX,
            ipv4_per_eni: u32::MAX,
            reserved_enis: u32::MAX,
            custom_networking: true,
            uncapped: true,
            ..at_rest()
        };
        assert_eq!(max_pods(&most).target, HOST_NETWORK_PODS);
        assert_eq!(max_pods(&MaxPodsSnapshot { reserved_enis: 0, ..most }).target, u32::MAX);
    }

    fn at_rest() -> MaxPodsSnapshot {
        MaxPodsSnapshot {
            context: crate::snapshot::Context::default(),
            mode: crate::limits::Mode::SecondaryIp,
            instance_type: "m5.large".into(),
            max_enis: 3,
            ipv4_per_eni: 10,
            prefixes: true,
            vcpus: 2,
            memory_mib: 8192,
            custom_networking: false,
            reserved_enis: 0,
            uncapped: false,
        }
    }
}
