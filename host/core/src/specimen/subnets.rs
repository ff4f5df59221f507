//! Subnets, and choices between them.

use super::dice::Dice;
use super::{context, last_context, random_context, strange_hints};
use crate::limits::{Mode, PREFIX_ADDRESSES};
use crate::snapshot::{ClusterTag, MAX_SUBNETS, RoleTag, SubnetSnapshot, SubnetUse};

/// Addresses that subnets from /28 to /16, the sizes that EC2 allows, can ever have free.
const TOTALS: [u32; 13] = [11, 27, 59, 123, 251, 507, 1019, 2043, 4091, 8187, 16_379, 32_763, LARGEST_SUBNET];
pub(super) const LARGEST_SUBNET: u32 = 65_531;

pub(super) fn corners() -> Vec<(&'static str, SubnetSnapshot)> {
    let primary = || SubnetUse { primary: true, enis: 1, ..subnet(100, 251) };
    let tagged = |free| SubnetUse { role: RoleTag::Included, ..subnet(free, 251) };
    let foreign = || SubnetUse { cluster: ClusterTag::Foreign, ..tagged(90) };
    let excluded = || SubnetUse { role: RoleTag::Excluded, ..primary() };
    let exhausted = |free| SubnetUse { recent_failures: 7, ..tagged(free) };
    let among =
        |candidates| SubnetSnapshot { context: context(), mode: Mode::SecondaryIp, wanted: 10, candidates };
    let prefix = |candidates| SubnetSnapshot { mode: Mode::Prefix, ..among(candidates) };
    vec![
        ("no-candidate", among(Vec::new())),
        ("only-the-primarys", among(vec![primary()])),
        ("only-the-primarys-excluded", among(vec![excluded()])),
        ("only-untagged-others", among(vec![subnet(200, 251), subnet(100, 251)])),
        ("only-foreign", among(vec![foreign(), foreign()])),
        (
            "one-of-each-tag",
            among(vec![
                SubnetUse { cluster: ClusterTag::Ours, ..tagged(250) },
                tagged(200),
                primary(),
                foreign(),
                SubnetUse { primary: false, ..excluded() },
                subnet(50, 251),
            ]),
        ),
        ("all-alike", among(vec![tagged(100); 8])),
        ("exhausted", among(vec![exhausted(0), exhausted(0), exhausted(0)])),
        ("free-but-failing", among(vec![exhausted(200), tagged(20)])),
        ("fewer-free-than-wanted", among(vec![tagged(9), tagged(8), SubnetUse { free: 3, ..primary() }])),
        ("everything-in-flight", among(vec![SubnetUse { in_flight: 251, enis: 15, ..tagged(0) }, primary()])),
        ("smallest-subnets", among(vec![SubnetUse { total: 11, ..tagged(11) }; 3])),
        ("prefix", prefix(vec![tagged(200), primary()])),
        ("prefix-without-a-whole-block", prefix(vec![tagged(15), SubnetUse { free_blocks: 0, ..primary() }])),
        ("none-wanted", SubnetSnapshot { wanted: 0, ..among(vec![tagged(100)]) }),
        (
            "unknown-hints",
            SubnetSnapshot {
                context: crate::snapshot::Context { hints: strange_hints(), ..context() },
                ..among(vec![SubnetUse { hints: strange_hints(), ..tagged(100) }])
            },
        ),
        ("longest-list", among(longest_list())),
        (
            "largest-numbers",
            SubnetSnapshot {
                context: last_context(),
                mode: Mode::Prefix,
                wanted: 64,
                candidates: vec![
                    SubnetUse {
                        role: RoleTag::Included,
                        recent_failures: u32::MAX,
                        enis: 128,
                        ..subnet(LARGEST_SUBNET, LARGEST_SUBNET)
                    };
                    MAX_SUBNETS
                ],
            },
        ),
    ]
    .into_iter()
    .map(|(name, snapshot)| (name, consistent(snapshot)))
    .collect()
}

/// An untagged subnet.
pub(super) fn subnet(free: u32, total: u32) -> SubnetUse {
    SubnetUse { free, total, free_blocks: free / PREFIX_ADDRESSES, ..SubnetUse::default() }
}

/// As many subnets as a question has at most, of all sizes and tags.
pub(super) fn longest_list() -> Vec<SubnetUse> {
    let roles = [RoleTag::Included, RoleTag::Absent, RoleTag::Included, RoleTag::Excluded];
    let clusters = [ClusterTag::Ours, ClusterTag::Any, ClusterTag::Foreign];
    (0u32..)
        .take(MAX_SUBNETS)
        .zip(roles.into_iter().cycle())
        .zip(clusters.into_iter().cycle())
        .map(|((index, role), cluster)| SubnetUse {
            primary: index == 5,
            role,
            cluster,
            ..subnet(4091 - index * 64, 4091)
        })
        .collect()
}

fn consistent(mut snapshot: SubnetSnapshot) -> SubnetSnapshot {
    for subnet in &mut snapshot.candidates {
        subnet.free_blocks = subnet.free / PREFIX_ADDRESSES;
    }
    snapshot
}

pub(super) fn random(dice: &mut Dice) -> SubnetSnapshot {
    let context = random_context(dice);
    let mode = dice.pick(&[Mode::SecondaryIp, Mode::Prefix]);
    let wanted = dice.skewed(64);
    let mut candidates = random_list(dice);
    for candidate in &mut candidates {
        candidate.enis = if dice.one_in(3) { dice.skewed(15) } else { 0 };
    }
    SubnetSnapshot { context, mode, wanted, candidates }
}

/// Subnets, most free first, without ENIs; at most one is the primary ENI's.
pub(super) fn random_list(dice: &mut Dice) -> Vec<SubnetUse> {
    let most = u32::try_from(MAX_SUBNETS).unwrap_or(u32::MAX);
    let length = match dice.below(8) {
        0 => 0,
        1 | 2 => 1,
        3 => most,
        _ => dice.between(1, 8),
    };
    // Of three tagging habits: nobody tags, everybody does, or anything goes.
    let roles: &[RoleTag] = dice.pick(&[
        &[RoleTag::Absent],
        &[RoleTag::Included],
        &[RoleTag::Absent, RoleTag::Included, RoleTag::Excluded],
    ]);
    let clusters: &[ClusterTag] =
        dice.pick(&[&[ClusterTag::Any], &[ClusterTag::Any, ClusterTag::Ours, ClusterTag::Foreign]]);
    let mut list: Vec<SubnetUse> = (0..length)
        .map(|_| {
            let total = dice.pick(&TOTALS);
            let free = dice.skewed(total);
            SubnetUse {
                role: dice.pick(roles),
                cluster: dice.pick(clusters),
                recent_failures: if dice.one_in(4) { dice.skewed(100) } else { 0 },
                in_flight: if dice.one_in(4) { dice.between(0, (total - free).min(51)) } else { 0 },
                hints: if dice.one_in(50) { strange_hints() } else { Vec::new() },
                ..subnet(free, total)
            }
        })
        .collect();
    list.sort_by_key(|subnet| std::cmp::Reverse(subnet.free));
    let primary = usize::try_from(dice.below(length + 1)).unwrap_or(usize::MAX);
    if let Some(subnet) = list.get_mut(primary) {
        subnet.primary = true;
    }
    list
}
