//! A node's share of the account's EC2 call budget, kept without a central allocator.
//!
//! EC2 meters calls per account and region with token buckets. The cluster may use a share of each, and every
//! node takes an equal part of that share for itself, so nobody has to be asked. Write for one class `b` =
//! share × burst and `r` = share × rate, for `n` nodes:
//!
//! * **`b` ≥ `n`: a bucket.** The node holds at most `b/n` tokens and gets `r/n` a second. In any window of
//!   length `T` it makes at most `b/n + T·r/n` calls, and all nodes together at most `b + T·r`. The arithmetic
//!   is exact, so nothing is added for rounding.
//! * **`b` < `n`: slots.** A whole token for everybody would be more than `b` at once. A node holds one token,
//!   and may spend it only within [`SLOT_LENGTH`] of one of its slots: the times that leave `phase` when divided
//!   by the period `p` ≥ `n/r`. A spent token is back at the next slot and no earlier, so a call uses up a slot:
//!   the nodes make at most one call each per period, thus never more than `r` in the long run, and in a window of
//!   length `T` no more than there are slots in `T + SLOT_LENGTH`. Idle nodes keep their slots apart when all
//!   of them wake at once, and a daemon that restarts finds its slot where it was. Where phases are spread
//!   evenly that is at most `1 + (T + SLOT_LENGTH)·r`. They come from a hash instead, so by chance some lie
//!   closer together; `b` pays for that. The number of slots in a part `x` of a period has mean `n·x` and
//!   variance `n·x·(1−x)`; with `p = (1+g)·n/r` and `g = 25/(4b) − b/n`, or 0 if that is less, five standard
//!   deviations of it fit under `b + T·r` for every `x` at once. `g` is at most 1, which is enough for `b` ≥ 6.25.
//!
//! A daemon that restarts does not know what it has spent, so it begins with nothing ([`Budget::resumed`]).

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::event::Api;
use crate::time::Timestamp;

/// How long a slot is open, in milliseconds: long enough for an event loop that is busy with pods, short
/// enough that the whole cluster makes only a call or so in it.
pub const SLOT_LENGTH: u64 = 250;
/// How long EC2 must not throttle until a slowed class speeds up by [`RECOVERY`], in milliseconds.
const RECOVERY_STEP: u64 = 30_000;
/// A tenth of the full rate.
const RECOVERY: u64 = FULL / 10;
/// The full rate, per mille.
const FULL: u64 = 1000;
/// What throttling slows a class down to at most: a thirty-second of the full rate.
const SLOWEST: u64 = FULL / 32;
/// What a limit can be at most; no account has as much, and the arithmetic below stays far from its bounds.
const LARGEST_LIMIT: u32 = 1_000_000;

/// Calls that EC2 meters together, read pessimistically: whatever may share a bucket does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Everything that only looks.
    Describe,
    /// `AttachNetworkInterface`, `DetachNetworkInterface`: the bucket of all mutating calls without their own.
    Mutation,
    /// `CreateNetworkInterface`, `DeleteNetworkInterface`.
    Interfaces,
    /// `AssignPrivateIpAddresses`, `UnassignPrivateIpAddresses`.
    Addresses,
    /// `AssignIpv6Addresses`.
    Ipv6Addresses,
    /// `ModifyNetworkInterfaceAttribute`.
    Attributes,
}

impl Class {
    /// All of them.
    pub const ALL: [Class; 6] = [
        Class::Describe,
        Class::Mutation,
        Class::Interfaces,
        Class::Addresses,
        Class::Ipv6Addresses,
        Class::Attributes,
    ];

    /// The class of an API; none for instance metadata, which EC2 does not meter.
    pub fn of(api: Api) -> Option<Class> {
        match api {
            Api::DescribeNetworkInterfaces | Api::DescribeSubnets => Some(Class::Describe),
            Api::AttachNetworkInterface | Api::DetachNetworkInterface => Some(Class::Mutation),
            Api::CreateNetworkInterface | Api::DeleteNetworkInterface => Some(Class::Interfaces),
            Api::AssignPrivateIpAddresses | Api::UnassignPrivateIpAddresses => Some(Class::Addresses),
            Api::AssignIpv6Addresses => Some(Class::Ipv6Addresses),
            Api::ModifyNetworkInterfaceAttribute => Some(Class::Attributes),
            Api::Metadata => None,
        }
    }

    /// Its name in settings, status and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Class::Describe => "describe",
            Class::Mutation => "mutation",
            Class::Interfaces => "interfaces",
            Class::Addresses => "addresses",
            Class::Ipv6Addresses => "ipv6-addresses",
            Class::Attributes => "attributes",
        }
    }

    /// Whether its calls change anything at EC2.
    pub fn is_mutating(self) -> bool {
        match self {
            Class::Describe => false,
            Class::Mutation
            | Class::Interfaces
            | Class::Addresses
            | Class::Ipv6Addresses
            | Class::Attributes => true,
        }
    }

    /// An account's limit unless it was raised (EC2 developer guide, "Request throttling").
    pub fn documented(self) -> Limit {
        match self {
            Class::Describe => Limit { burst: 100, per_second: 20 },
            Class::Mutation => Limit { burst: 50, per_second: 5 },
            Class::Interfaces | Class::Addresses | Class::Ipv6Addresses | Class::Attributes => {
                Limit { burst: 100, per_second: 5 }
            }
        }
    }

    /// How far a node's slots of this class are behind its phase, in milliseconds: the calls that bring an ENI
    /// follow each other within one period instead of waiting one for each.
    fn lag(self) -> u64 {
        match self {
            Class::Describe | Class::Addresses | Class::Ipv6Addresses => 0,
            // Whether more addresses could be had without another ENI is known by then.
            Class::Interfaces => 1_500,
            // Creation has been answered by then.
            Class::Mutation => 3_500,
            // Attaching takes EC2 some seconds.
            Class::Attributes => 12_000,
        }
    }
}

/// An account's limit for a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Calls at once.
    pub burst: u32,
    /// Calls per second in the long run.
    pub per_second: u32,
}

/// How much of the account's budget this cluster may use, and how many nodes share it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetConfig {
    /// The cluster's share of every limit, per mille: 1 to 1000. Others in the account call EC2 too.
    pub share_milli: u32,
    /// How many nodes share it, at least 1.
    pub nodes: u32,
    /// The account's limits where they are not the documented ones.
    pub limits: BTreeMap<Class, Limit>,
}

impl BudgetConfig {
    /// The account's limit that holds for a class.
    pub fn limit(&self, class: Class) -> Limit {
        self.limits.get(&class).copied().unwrap_or_else(|| class.documented())
    }
}

impl Default for BudgetConfig {
    /// Half of the documented limits, for one node.
    fn default() -> BudgetConfig {
        BudgetConfig { share_milli: 500, nodes: 1, limits: BTreeMap::new() }
    }
}

/// What a call is for; the less urgent leave tokens for the more urgent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// A pod waits, or the node has no address ready at all: takes the last token.
    Pod,
    /// Warm pool, marks, looks: leave a quarter of what is beyond one token.
    Stock,
    /// Giving back, sweeps: leave half.
    Spare,
}

/// How a class stands, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Level {
    /// Thousandths of a token left; less than none when calls were made without asking.
    pub tokens_milli: i64,
    /// Thousandths of a token that the node can hold.
    pub capacity_milli: u64,
    /// Thousandths of a token that come per second now.
    pub per_second_milli: u64,
    /// What EC2's throttling has left of the full rate, per mille.
    pub rate_milli: u32,
}

/// A node's tokens for each class.
#[derive(Clone, Debug)]
pub struct Budget {
    seed: u64,
    buckets: [Bucket; Class::ALL.len()],
}

impl Budget {
    /// A budget that nothing was spent of. `seed` tells the node from all others: a hash of its instance id.
    pub fn new(config: BudgetConfig, seed: u64, now: Timestamp) -> Budget {
        Budget {
            seed,
            buckets: Class::ALL.map(|class| {
                let part = Part::of(&config, class, seed);
                Bucket { part, level: part.capacity, at: now, slowed: None }
            }),
        }
    }

    /// The budget of a daemon that ran before: what it left is not known, so nothing is left. However often a
    /// daemon dies, it makes no more calls than one that lives.
    pub fn resumed(config: BudgetConfig, seed: u64, now: Timestamp) -> Budget {
        let mut budget = Budget::new(config, seed, now);
        for bucket in &mut budget.buckets {
            match bucket.part.slots.map(|slots| slots.open_at(now)) {
                // The slot may be used up; earlier ones do not count.
                Some(Some(slot)) => (bucket.level, bucket.at) = (0, slot),
                Some(None) => {}
                None => bucket.level = 0,
            }
        }
        budget
    }

    /// Goes on under another config; what is left stays, up to what may be held now.
    pub fn reconfigure(&mut self, config: BudgetConfig, now: Timestamp) {
        for (bucket, class) in self.buckets.iter_mut().zip(Class::ALL) {
            bucket.advance(now);
            let part = Part::of(&config, class, self.seed);
            bucket.level = (bucket.level.saturating_mul(part.token) / bucket.part.token)
                .clamp(-part.capacity, part.capacity);
            bucket.part = part;
        }
    }

    /// When a call of a class may be made: now, if that is not after `now`. A class that has slots must be
    /// called no later than [`SLOT_LENGTH`] after the slot begins, or waits for the next.
    pub fn ready_at(&self, class: Class, priority: Priority, now: Timestamp) -> Timestamp {
        self.bucket(class).ready_at(priority, now)
    }

    /// A call of a class is made. One that was not allowed is owed: the next waits longer.
    pub fn spend(&mut self, class: Class, now: Timestamp) {
        self.bucket_mut(class).spend(now);
    }

    /// EC2 throttled a call of a class: what was left is void and half as much comes from now on. Every
    /// 30 seconds without throttling bring a tenth of the full rate back.
    pub fn throttled(&mut self, class: Class, now: Timestamp) {
        self.bucket_mut(class).throttled(now);
    }

    /// How a class stands.
    pub fn level(&self, class: Class, now: Timestamp) -> Level {
        let bucket = self.bucket(class);
        let part = bucket.part;
        let rate = bucket.rate_at(now);
        let milli = |grains: i128| grains * 1000 / part.token;
        let full_rate =
            part.slots.map_or(milli(part.refill * 1_000_000), |slots| 1_000_000 / i128::from(slots.period));
        Level {
            tokens_milli: i64::try_from(milli(bucket.level_at(now))).unwrap_or(i64::MAX),
            capacity_milli: u64::try_from(milli(part.capacity)).unwrap_or(u64::MAX),
            per_second_milli: u64::try_from(full_rate * i128::from(rate) / i128::from(FULL))
                .unwrap_or(u64::MAX),
            rate_milli: u32::try_from(rate).unwrap_or(u32::MAX),
        }
    }

    /// The time between two calls of a class in the long run.
    pub fn period(&self, class: Class, now: Timestamp) -> Duration {
        let bucket = self.bucket(class);
        let (part, rate) = (bucket.part, i128::from(bucket.rate_at(now).max(1)));
        let millis = match part.slots {
            Some(slots) => quotient_up(i128::from(slots.period) * i128::from(FULL), rate),
            None => quotient_up(part.token, part.refill * rate),
        };
        Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
    }

    /// What is left of the scarcest mutating class, per mille of what the node can hold.
    pub fn left_milli(&self, now: Timestamp) -> u32 {
        let left = |class: Class| {
            let bucket = self.bucket(class);
            bucket.level_at(now).max(0) * 1000 / bucket.part.capacity
        };
        let scarcest = Class::ALL.into_iter().filter(|class| class.is_mutating()).map(left).min();
        u32::try_from(scarcest.unwrap_or(0)).unwrap_or(u32::MAX)
    }

    fn bucket(&self, class: Class) -> &Bucket {
        &self.buckets[index(class)]
    }

    fn bucket_mut(&mut self, class: Class) -> &mut Bucket {
        &mut self.buckets[index(class)]
    }
}

/// Where a class is in [`Class::ALL`].
fn index(class: Class) -> usize {
    match class {
        Class::Describe => 0,
        Class::Mutation => 1,
        Class::Interfaces => 2,
        Class::Addresses => 3,
        Class::Ipv6Addresses => 4,
        Class::Attributes => 5,
    }
}

/// A node's part of the cluster's share, in grains: a unit so small that a whole number of them comes per
/// millisecond however many nodes share and however much a class is slowed.
#[derive(Clone, Copy, Debug)]
struct Part {
    /// Grains of a token.
    token: i128,
    /// Grains that the node can hold, at least a token.
    capacity: i128,
    /// Grains that come per millisecond and per mille of the full rate.
    refill: i128,
    slots: Option<Slots>,
}

impl Part {
    fn of(config: &BudgetConfig, class: Class, seed: u64) -> Part {
        let limit = config.limit(class);
        let share = i128::from(config.share_milli.clamp(1, 1000));
        let nodes = i128::from(config.nodes.max(1));
        let burst = i128::from(limit.burst.clamp(1, LARGEST_LIMIT));
        let per_second = i128::from(limit.per_second.clamp(1, LARGEST_LIMIT));
        // A token a second, for all nodes and at the full share and rate, is one grain a millisecond for each.
        let token = nodes * 1_000_000_000;
        let capacity = share * burst * 1_000_000;
        let refill = share * per_second;
        if capacity >= token {
            return Part { token, capacity, refill, slots: None };
        }
        // What the scarcest class needs does for all, so that their slots keep their distances.
        let scarcest = Class::ALL.into_iter().map(|class| config.limit(class).burst).min().unwrap_or(1);
        let scarcest = share * i128::from(scarcest.max(1));
        let stretch =
            if nodes == 1 { 0 } else { (6_250_000 / scarcest - scarcest / nodes).clamp(0, i128::from(FULL)) };
        let full = i128::from(FULL);
        let period = quotient_up(token * (full + stretch), refill * full * full);
        let period = u64::try_from(period).unwrap_or(u64::MAX).max(1);
        let phase = below(mixed(seed), period).wrapping_add(class.lag() % period) % period;
        Part { token, capacity: token, refill, slots: Some(Slots { period, phase }) }
    }
}

/// The times at which a node may spend its one token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slots {
    period: u64,
    phase: u64,
}

impl Slots {
    /// The slot that is open at a time.
    fn open_at(self, now: Timestamp) -> Option<Timestamp> {
        let into = self.into(now);
        // Never more than a quarter of a period, so that slots of the shortest periods stay apart.
        (into <= SLOT_LENGTH.min(self.period / 4) && into <= now.0).then(|| Timestamp(now.0 - into))
    }

    /// How long ago the last slot began.
    fn into(self, now: Timestamp) -> u64 {
        (now.0 % self.period + (self.period - self.phase)) % self.period
    }

    /// `from` if a slot is open then, else when the next one begins.
    fn next(self, from: Timestamp) -> Timestamp {
        match self.open_at(from) {
            Some(_) => from,
            None => Timestamp(from.0.saturating_add(self.period - self.into(from))),
        }
    }
}

/// One class's tokens.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    part: Part,
    /// Grains left at `at`; below zero, calls made without asking are owed.
    level: i128,
    /// When `level` was so. Time before it brings nothing: a clock that steps back mints no tokens.
    at: Timestamp,
    slowed: Option<Slowed>,
}

/// EC2 throttled.
#[derive(Clone, Copy, Debug)]
struct Slowed {
    /// When last.
    since: Timestamp,
    /// What was left of the full rate then, per mille.
    rate: u64,
}

impl Bucket {
    /// The rate at a time, per mille of the full one.
    fn rate_at(&self, now: Timestamp) -> u64 {
        self.slowed.map_or(FULL, |slowed| {
            let steps = now.0.saturating_sub(slowed.since.0) / RECOVERY_STEP;
            slowed.rate.saturating_add(steps.saturating_mul(RECOVERY)).min(FULL)
        })
    }

    /// When the rate changes next by itself.
    fn rate_changes(&self, now: Timestamp) -> Option<Timestamp> {
        let slowed = self.slowed.filter(|_| self.rate_at(now) < FULL)?;
        let steps = now.0.saturating_sub(slowed.since.0) / RECOVERY_STEP;
        Some(Timestamp(slowed.since.0.saturating_add((steps + 1).saturating_mul(RECOVERY_STEP))))
    }

    /// What is left at a time.
    fn level_at(&self, now: Timestamp) -> i128 {
        let (mut level, mut at) = (self.level, self.at);
        // At most a step for each tenth that is missing.
        while at < now {
            let until = self.rate_changes(at).map_or(now, |change| change.min(now));
            let elapsed = i128::from(until.0 - at.0);
            level = level
                .saturating_add((self.part.refill * i128::from(self.rate_at(at))).saturating_mul(elapsed))
                .min(self.part.capacity);
            at = until;
        }
        level
    }

    /// When at least `wanted` is left, not before `now`.
    fn holds_at(&self, wanted: i128, now: Timestamp) -> Timestamp {
        let (mut level, mut at) = (self.level_at(now), now.max(self.at));
        if level >= wanted {
            return now;
        }
        loop {
            let refill = self.part.refill * i128::from(self.rate_at(at));
            let full = quotient_up(wanted - level, refill);
            let full = Timestamp(at.0.saturating_add(u64::try_from(full).unwrap_or(u64::MAX)));
            match self.rate_changes(at).filter(|change| *change < full) {
                None => return full,
                Some(change) => {
                    level += refill * i128::from(change.0 - at.0);
                    at = change;
                }
            }
        }
    }

    fn ready_at(&self, priority: Priority, now: Timestamp) -> Timestamp {
        let Part { token, capacity, refill: _, slots } = self.part;
        let beyond = capacity - token;
        let wanted = match priority {
            Priority::Pod => token,
            Priority::Stock => token + beyond / 4,
            Priority::Spare => token + beyond / 2,
        };
        let held = self.holds_at(wanted, now);
        slots.map_or(held, |slots| slots.next(held))
    }

    fn advance(&mut self, now: Timestamp) {
        self.level = self.level_at(now);
        self.at = self.at.max(now);
    }

    fn spend(&mut self, now: Timestamp) {
        self.advance(now);
        let had_one = self.level >= self.part.token;
        self.level = (self.level - self.part.token).max(-self.part.capacity);
        // The next token counts from the slot's beginning, or a late call would make the next one later still.
        if had_one && let Some(slot) = self.part.slots.and_then(|slots| slots.open_at(self.at)) {
            self.at = slot;
        }
    }

    fn throttled(&mut self, now: Timestamp) {
        self.advance(now);
        self.level = self.level.min(0);
        self.slowed = Some(Slowed { since: self.at, rate: (self.rate_at(self.at) / 2).max(SLOWEST) });
    }
}

/// Decorrelated jitter: how long to wait after waiting `previous` was not enough. `base` at least, three times
/// the previous wait or `cap` at most, and anything in between alike, so that nodes which failed together do
/// not come back together. `chance` may be any number that differs from node to node and from try to try.
pub fn decorrelated(previous: Duration, base: Duration, cap: Duration, chance: u64) -> Duration {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let (base, cap) = (millis(base), millis(cap));
    let most = millis(previous).saturating_mul(3).max(base);
    let span = (most - base).saturating_add(1);
    Duration::from_millis((base.saturating_add(below(mixed(chance), span))).min(cap))
}

/// Division of positive numbers that rounds up.
fn quotient_up(of: i128, by: i128) -> i128 {
    (of + by - 1) / by
}

/// A number below `bound`, from 64 random bits; zero when the bound is zero.
fn below(random: u64, bound: u64) -> u64 {
    let high = (u128::from(random) * u128::from(bound)) >> 64;
    u64::try_from(high).unwrap_or(u64::MAX)
}

/// Spreads a number over all 64 bits: the finaliser of splitmix64 (Steele, Lea, Flood 2014).
pub(crate) fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests;
