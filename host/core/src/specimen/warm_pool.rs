//! Nodes that ask how many addresses to hold ready.

use super::dice::Dice;
use super::max_pods::TYPES;
use super::subnets::{self, LARGEST_SUBNET, subnet};
use super::{context, last_context, random_context, strange_hints};
use crate::admission::MOST_ADDRESSABLE_PODS;
use crate::demand::BUCKET;
use crate::instance_types;
use crate::limits::{Mode, PREFIX_ADDRESSES};
use crate::snapshot::{
    BlockUse, Context, Demand, EniPhase, EniUse, Limits, MAX_BLOCKS, MAX_ENIS, MAX_HISTORY, Pods, Pressure,
    RoleTag, SubnetUse, WarmPoolSnapshot,
};

const SETTLED_MS: u64 = 600_000;
/// As many as the node lets wait: [`crate::node::MAX_WAITERS`].
const MOST_WAITING: u32 = 768;
/// A block has sixteen addresses.
const PER_BLOCK: u16 = 16;

pub(super) fn corners() -> Vec<(&'static str, WarmPoolSnapshot)> {
    let fresh = || node(Mode::SecondaryIp, &[held(0, 0, 0)]);
    let full = || node(Mode::SecondaryIp, &[held(0, 9, 0); 3]);
    let with = |mut snapshot: WarmPoolSnapshot, change: fn(&mut WarmPoolSnapshot)| {
        change(&mut snapshot);
        snapshot
    };
    let in_prefixes = |slots: usize, per_block: u16| in_prefixes(&[slots; 3], per_block);
    vec![
        ("no-eni", node(Mode::SecondaryIp, &[])),
        ("no-eni-allowed", with(node(Mode::SecondaryIp, &[]), |s| s.limits.max_enis = 0)),
        ("no-slot-for-pods", no_slots()),
        ("fresh", fresh()),
        ("half-used", node(Mode::SecondaryIp, &[held(0, 9, 0), held(5, 4, 0)])),
        ("all-free", node(Mode::SecondaryIp, &[held(9, 0, 0); 3])),
        ("full", full()),
        (
            "full-and-waiting",
            with(full(), |s| {
                s.pods.waiting = 50;
                s.history.extend([Demand { added: 50, waited: 50, peak: 27, ..Demand::default() }]);
            }),
        ),
        (
            "everything-waiting",
            with(fresh(), |s| {
                s.pods.waiting = 29;
                s.pods.expected = 29;
                s.history = vec![Demand { added: 29, waited: 29, failed: 0, removed: 0, peak: 0 }];
            }),
        ),
        ("more-waiting-than-the-node-runs", with(fresh(), |s| s.pods.waiting = MOST_WAITING)),
        ("all-cooling", node(Mode::SecondaryIp, &[held(0, 0, 9); 3])),
        (
            "all-quarantined",
            with(node(Mode::SecondaryIp, &[held(0, 0, 0); 2]), |s| {
                s.enis.iter_mut().for_each(|eni| eni.assigned = eni.capacity);
            }),
        ),
        (
            "enis-coming",
            with(node(Mode::SecondaryIp, &[held(0, 9, 0), held(0, 0, 0), held(0, 0, 0)]), |s| {
                s.enis[1].phase = EniPhase::Coming;
                s.enis[2].phase = EniPhase::Coming;
                s.enis[2].age_ms = 0;
                s.enis[2].idle_ms = 0;
                s.pressure.in_flight_enis = 2;
                s.pressure.in_flight_addresses = 18;
                s.pods.waiting = 3;
            }),
        ),
        (
            "enis-leaving",
            with(node(Mode::SecondaryIp, &[held(9, 0, 0), held(9, 0, 0), held(0, 0, 0)]), |s| {
                s.enis[1].phase = EniPhase::Leaving;
                s.enis[2].phase = EniPhase::Leaving;
            }),
        ),
        ("more-enis-than-allowed", with(full(), |s| s.limits.max_enis = 1)),
        ("enis-in-no-listed-subnet", enis_elsewhere()),
        ("one-subnet", with(fresh(), |s| s.subnets.truncate(1))),
        (
            "no-subnet",
            with(fresh(), |s| {
                s.subnets.clear();
                s.enis[0].subnet = u16::MAX;
            }),
        ),
        (
            "subnets-exhausted",
            with(full(), |s| {
                s.pods.waiting = 4;
                for subnet in &mut s.subnets {
                    (subnet.free, subnet.free_blocks, subnet.recent_failures) = (0, 0, 12);
                }
            }),
        ),
        (
            "throttled",
            with(fresh(), |s| {
                s.pressure = Pressure { throttled: true, ..Pressure::default() };
            }),
        ),
        ("pod-limit-reached", with(full(), |s| s.pods.max = 27)),
        ("pod-limit-unknown", with(full(), |s| s.pods.max = u32::MAX)),
        ("no-pod-allowed", with(fresh(), |s| s.pods.max = 0)),
        ("quiet-for-long", with(full(), |s| s.history = vec![Demand::default(); MAX_HISTORY])),
        ("rush", with(full(), |s| s.history = rush())),
        ("prefix-fresh", node(Mode::Prefix, &[held(0, 0, 0)])),
        ("prefix-one-block", in_prefixes_on_one_eni()),
        ("prefix-full", in_prefixes(9, PER_BLOCK)),
        ("prefix-all-free", in_prefixes(9, 0)),
        ("prefix-one-pod-in-each-block", in_prefixes(9, 1)),
        (
            "prefix-subnets-without-a-whole-block",
            with(node(Mode::Prefix, &[held(0, 0, 0)]), |s| {
                for subnet in &mut s.subnets {
                    (subnet.free, subnet.free_blocks, subnet.recent_failures) = (15, 0, 3);
                }
            }),
        ),
        ("unknown-hints", with(fresh(), |s| s.context.hints = strange_hints())),
        ("longest-lists", longest()),
        ("largest-numbers", largest()),
    ]
}

/// What one ENI of a corner holds: free, bound, cooling.
type Held = (u32, u32, u32);

fn held(free: u32, bound: u32, cooling: u32) -> Held {
    (free, bound, cooling)
}

/// An m5.large with these ENIs, all in its first subnet.
fn node(mode: Mode, enis: &[Held]) -> WarmPoolSnapshot {
    let limits = limits(3, 9, mode);
    let enis: Vec<EniUse> = (0u16..).zip(enis).map(|(slot, held)| eni(slot, limits, *held)).collect();
    let primary = SubnetUse { primary: true, enis: count(&enis), ..subnet(200, 251) };
    let other = SubnetUse { role: RoleTag::Included, ..subnet(100, 251) };
    let bound = enis.iter().map(|eni| eni.bound).sum();
    WarmPoolSnapshot {
        context: context(),
        mode,
        limits,
        enis,
        blocks: Vec::new(),
        bucket_ms: bucket_ms(),
        history: vec![Demand { peak: bound, ..Demand::default() }],
        subnets: vec![primary, other],
        pressure: Pressure { budget_milli: 1000, ..Pressure::default() },
        pods: Pods { bound, waiting: 0, expected: 0, max: 29 },
    }
}

fn limits(max_enis: u32, slots_per_eni: u32, mode: Mode) -> Limits {
    let addresses_per_slot = match mode {
        Mode::SecondaryIp => 1,
        Mode::Prefix => PREFIX_ADDRESSES,
    };
    Limits { max_enis, slots_per_eni, addresses_per_slot, prefixes: true, trunk_reserve: 0 }
}

/// In service; the one in slot 0 is the primary.
fn eni(slot: u16, limits: Limits, (free, bound, cooling): Held) -> EniUse {
    EniUse {
        slot,
        card: 0,
        subnet: 0,
        phase: EniPhase::Ready,
        primary: slot == 0,
        age_ms: SETTLED_MS,
        capacity: limits.slots_per_eni * limits.addresses_per_slot,
        assigned: free + bound + cooling,
        free,
        bound,
        cooling,
        prefixes: 0,
        idle_ms: if bound > 0 { 0 } else { SETTLED_MS },
    }
}

fn no_slots() -> WarmPoolSnapshot {
    let mut snapshot = node(Mode::SecondaryIp, &[held(0, 0, 0)]);
    snapshot.limits.slots_per_eni = 0;
    snapshot.enis[0].capacity = 0;
    snapshot
}

fn enis_elsewhere() -> WarmPoolSnapshot {
    let mut snapshot = node(Mode::SecondaryIp, &[held(4, 5, 0); 2]);
    snapshot.enis.iter_mut().for_each(|eni| eni.subnet = u16::MAX);
    snapshot.subnets.iter_mut().for_each(|subnet| {
        subnet.enis = 0;
        subnet.primary = false;
    });
    snapshot
}

fn in_prefixes_on_one_eni() -> WarmPoolSnapshot {
    in_prefixes(&[1], 4)
}

/// ENIs with so many prefixes each, so many pods in each of them.
fn in_prefixes(enis: &[usize], bound_each: u16) -> WarmPoolSnapshot {
    let mut snapshot = node(Mode::Prefix, &vec![held(0, 0, 0); enis.len()]);
    snapshot.pods.max = 110;
    for (eni, blocks) in snapshot.enis.iter_mut().zip(enis) {
        let block = BlockUse { slot: eni.slot, bound: bound_each, cooling: 0 };
        fill(eni, &vec![block; *blocks], 0);
        snapshot.blocks.extend(vec![block; *blocks]);
    }
    snapshot.pods.bound = snapshot.enis.iter().map(|eni| eni.bound).sum();
    snapshot.pods.max = snapshot.pods.max.max(snapshot.pods.bound);
    snapshot
}

/// Sets what an ENI holds in `blocks`, `quarantined` of it out of service.
fn fill(eni: &mut EniUse, blocks: &[BlockUse], quarantined: u32) {
    eni.prefixes = count(blocks);
    eni.assigned = eni.prefixes * PREFIX_ADDRESSES;
    eni.bound = blocks.iter().map(|block| u32::from(block.bound)).sum();
    eni.cooling = blocks.iter().map(|block| u32::from(block.cooling)).sum();
    eni.free = (eni.assigned - eni.bound - eni.cooling).saturating_sub(quarantined);
}

/// A quiet half hour, and then more pods than the node can take.
fn rush() -> Vec<Demand> {
    let mut history = vec![Demand::default(); MAX_HISTORY - 2];
    history.push(Demand { added: 500, removed: 20, waited: 480, failed: 0, peak: 27 });
    history.push(Demand { added: 10_000, removed: 5000, waited: 10_000, failed: 9000, peak: 27 });
    history
}

/// Every list as long as the contract allows.
fn longest() -> WarmPoolSnapshot {
    let limits = limits(count(&[(); MAX_ENIS]), 64, Mode::Prefix);
    let subnets = subnets::longest_list();
    let mut snapshot =
        WarmPoolSnapshot { limits, mode: Mode::Prefix, history: rush(), subnets, ..node(Mode::Prefix, &[]) };
    let blocks_each = MAX_BLOCKS / MAX_ENIS;
    for slot in (0u16..).take(MAX_ENIS) {
        let mut eni = eni(slot, limits, held(0, 0, 0));
        eni.subnet = if slot == 0 { 5 } else { slot % 64 };
        let blocks: Vec<BlockUse> = (0u16..)
            .take(blocks_each)
            .map(|index| BlockUse { slot, bound: (slot + index) % 13, cooling: index % 4 })
            .collect();
        fill(&mut eni, &blocks, 0);
        eni.idle_ms = 0;
        snapshot.subnets[usize::from(eni.subnet)].enis += 1;
        snapshot.blocks.extend(blocks);
        snapshot.enis.push(eni);
    }
    snapshot.pods.bound = snapshot.enis.iter().map(|eni| eni.bound).sum();
    snapshot.pods.max = 32_768;
    snapshot
}

/// Every number as large as a host could ever have it.
fn largest() -> WarmPoolSnapshot {
    let mut snapshot = longest();
    snapshot.context = last_context();
    let now_ms = snapshot.context.now_ms;
    for subnet in &mut snapshot.subnets {
        (subnet.free, subnet.total) = (LARGEST_SUBNET, LARGEST_SUBNET);
        subnet.free_blocks = LARGEST_SUBNET / PREFIX_ADDRESSES;
        subnet.recent_failures = u32::MAX;
    }
    for (eni, blocks) in snapshot.enis.iter_mut().zip(snapshot.blocks.chunks_mut(MAX_BLOCKS / MAX_ENIS)) {
        blocks.iter_mut().for_each(|block| (block.bound, block.cooling) = (PER_BLOCK, 0));
        // More prefixes than the list of blocks has room for.
        eni.prefixes = snapshot.limits.slots_per_eni;
        (eni.assigned, eni.bound) = (eni.capacity, eni.capacity);
        (eni.free, eni.cooling) = (0, 0);
        eni.age_ms = now_ms;
        eni.idle_ms = now_ms;
    }
    snapshot.bucket_ms = bucket_ms();
    let most = u32::MAX;
    snapshot.history =
        vec![Demand { added: most, removed: most, waited: most, failed: most, peak: most }; MAX_HISTORY];
    snapshot.pressure = Pressure {
        throttled: true,
        budget_milli: 1_000_000,
        in_flight_enis: 128,
        in_flight_addresses: 128 * 64 * PREFIX_ADDRESSES,
    };
    snapshot.pods = Pods {
        bound: snapshot.enis.iter().map(|eni| eni.bound).sum(),
        waiting: MOST_WAITING,
        expected: MOST_ADDRESSABLE_PODS,
        max: MOST_ADDRESSABLE_PODS,
    };
    snapshot
}

pub(super) fn random(dice: &mut Dice) -> WarmPoolSnapshot {
    let context = random_context(dice);
    let (limits, mode, hardware_enis) = random_limits(dice);
    let mut subnets = subnets::random_list(dice);
    let use_of = Habit::random(dice);
    let mut enis = Vec::new();
    let mut blocks = Vec::new();
    let number = match dice.below(16) {
        0 => 0,
        1 | 2 => hardware_enis,
        _ => dice.between(1, hardware_enis.clamp(1, 8)),
    };
    for slot in (0u16..).take(usize::try_from(number).unwrap_or(MAX_ENIS).min(MAX_ENIS)) {
        let (eni, its_blocks) = random_eni(dice, slot, mode, limits, &context, &subnets, use_of);
        if let Some(subnet) = subnets.get_mut(usize::from(eni.subnet)) {
            subnet.enis += 1;
        }
        enis.push(eni);
        blocks.extend(its_blocks);
    }
    blocks.truncate(MAX_BLOCKS);
    let coming = enis.iter().filter(|eni| eni.phase == EniPhase::Coming).count();
    let bound: u32 = enis.iter().map(|eni| eni.bound).sum();
    let throttled = dice.one_in(6);
    WarmPoolSnapshot {
        context,
        mode,
        limits,
        bucket_ms: bucket_ms(),
        history: random_history(dice, bound),
        subnets,
        pressure: Pressure {
            throttled,
            budget_milli: if throttled { dice.pick(&[0, 1000]) } else { dice.pick(&[0, 1000, 1000, 10_000]) },
            in_flight_enis: u32::try_from(coming).unwrap_or(u32::MAX) + dice.below(2),
            in_flight_addresses: if dice.one_in(3) { dice.skewed(1024) } else { 0 },
        },
        pods: Pods {
            bound,
            waiting: if dice.one_in(3) { dice.skewed(1000) } else { 0 },
            expected: if dice.one_in(3) { dice.skewed(250) } else { 0 },
            max: dice.pick(&[8, 29, 58, 110, 234, 250, 737, u32::MAX]),
        },
        enis,
        blocks,
    }
}

/// What the instance type and the operator allow, and how many ENIs the type has.
fn random_limits(dice: &mut Dice) -> (Limits, Mode, u32) {
    let (hardware_enis, slots_per_eni, prefixes) = match dice.below(16) {
        0 => (128, 63, true),
        1 | 2 => (dice.between(1, 128), dice.skewed(63), !dice.one_in(3)),
        _ => instance_types::lookup(dice.pick(&TYPES))
            .map_or((3, 9, true), |kind| (kind.max_enis(), kind.slots_per_eni(), kind.supports_prefixes())),
    };
    let mode = if prefixes { dice.pick(&[Mode::SecondaryIp, Mode::Prefix]) } else { Mode::SecondaryIp };
    let max_enis = if dice.one_in(5) { dice.between(0, hardware_enis) } else { hardware_enis };
    (Limits { prefixes, ..limits(max_enis, slots_per_eni, mode) }, mode, hardware_enis)
}

/// What most addresses of a node are.
#[derive(Clone, Copy)]
enum Habit {
    Bound,
    Cooling,
    Free,
    Mixed,
}

impl Habit {
    fn random(dice: &mut Dice) -> Self {
        dice.pick(&[Habit::Bound, Habit::Cooling, Habit::Free, Habit::Mixed, Habit::Mixed])
    }

    /// How many of `held` addresses are bound, and how many cooling.
    fn split(self, dice: &mut Dice, held: u32) -> (u32, u32) {
        match self {
            Habit::Bound => (held, 0),
            Habit::Cooling => (0, held),
            Habit::Free => (0, 0),
            Habit::Mixed => {
                let bound = dice.skewed(held);
                (bound, if dice.one_in(3) { dice.skewed(held - bound) } else { 0 })
            }
        }
    }
}

fn random_eni(
    dice: &mut Dice,
    slot: u16,
    mode: Mode,
    limits: Limits,
    context: &Context,
    subnets: &[SubnetUse],
    habit: Habit,
) -> (EniUse, Vec<BlockUse>) {
    let mut eni = eni(slot, limits, held(0, 0, 0));
    let of_primary = subnets.iter().position(|subnet| subnet.primary);
    let listed = u32::try_from(subnets.len()).unwrap_or(u32::MAX);
    let any = usize::try_from(dice.below(listed + 1)).unwrap_or(usize::MAX);
    let index = if eni.primary { of_primary } else { Some(any).filter(|index| *index < subnets.len()) };
    eni.subnet = index.and_then(|index| u16::try_from(index).ok()).unwrap_or(u16::MAX);
    if !eni.primary && dice.one_in(5) {
        eni.phase = dice.pick(&[EniPhase::Coming, EniPhase::Leaving]);
    }
    eni.age_ms = dice.millis(context.now_ms);
    eni.idle_ms = dice.millis(eni.age_ms);
    let slots = match eni.phase {
        EniPhase::Coming => 0,
        EniPhase::Ready | EniPhase::Leaving => dice.skewed(limits.slots_per_eni),
    };
    let habit = match eni.phase {
        EniPhase::Coming | EniPhase::Leaving => Habit::Free,
        EniPhase::Ready => habit,
    };
    let quarantined = if dice.one_in(12) { 1 } else { 0 };
    match mode {
        Mode::SecondaryIp => {
            let (bound, cooling) = habit.split(dice, slots);
            (eni.assigned, eni.bound, eni.cooling) = (slots, bound, cooling);
            eni.free = (slots - bound - cooling).saturating_sub(quarantined);
            (eni, Vec::new())
        }
        Mode::Prefix => {
            let blocks: Vec<BlockUse> = (0..slots)
                .map(|_| {
                    let (bound, cooling) = habit.split(dice, PREFIX_ADDRESSES);
                    let small = |number| u16::try_from(number).unwrap_or(PER_BLOCK);
                    BlockUse { slot, bound: small(bound), cooling: small(cooling) }
                })
                .collect();
            fill(&mut eni, &blocks, quarantined);
            (eni, blocks)
        }
    }
}

fn random_history(dice: &mut Dice, bound: u32) -> Vec<Demand> {
    let length = dice.skewed(count(&[(); MAX_HISTORY]));
    let busiest = dice.skewed(1000);
    (0..length)
        .map(|_| {
            let added = dice.skewed(busiest);
            let waited = if dice.one_in(3) { dice.skewed(added) } else { 0 };
            Demand {
                added,
                removed: dice.skewed(busiest),
                waited,
                failed: if dice.one_in(3) { dice.skewed(waited) } else { 0 },
                peak: bound + dice.skewed(busiest),
            }
        })
        .collect()
}

fn bucket_ms() -> u64 {
    u64::try_from(BUCKET.as_millis()).unwrap_or(u64::MAX)
}

fn count<T>(list: &[T]) -> u32 {
    u32::try_from(list.len()).unwrap_or(u32::MAX)
}
