//! Request throttling: token buckets per API class (EC2 developer guide, "Request throttling").

use std::collections::BTreeMap;

use enid_core::time::Timestamp;

/// A class of APIs that share one token bucket.
///
/// The guide does not say whether the unlisted mutating APIs share a bucket or have one each; this model
/// takes the pessimistic reading and lets them share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bucket {
    /// `AssignIpv6Addresses`, prefixes included.
    AssignIpv6Addresses,
    /// `AssignPrivateIpAddresses`, prefixes included.
    AssignPrivateIpAddresses,
    /// `CreateNetworkInterface`.
    CreateNetworkInterface,
    /// `CreateTags`.
    CreateTags,
    /// `DeleteNetworkInterface`.
    DeleteNetworkInterface,
    /// `DeleteTags`.
    DeleteTags,
    /// Describe calls with a filter, ids or pages.
    Describing,
    /// Describe calls of instances, ENIs and security groups without any of those.
    DescribingAll,
    /// `ModifyNetworkInterfaceAttribute`.
    ModifyNetworkInterfaceAttribute,
    /// Every other mutating call, attach and detach among them.
    Mutating,
    /// `RunInstances`, requests.
    RunInstances,
    /// Instances launched by `RunInstances`.
    RunInstancesResources,
    /// `TerminateInstances`.
    TerminateInstances,
    /// `UnassignIpv6Addresses`.
    UnassignIpv6Addresses,
    /// `UnassignPrivateIpAddresses`.
    UnassignPrivateIpAddresses,
}

impl Bucket {
    /// The guide's numbers.
    pub fn documented_rate(self) -> Rate {
        let (burst, per_second) = match self {
            Bucket::AssignIpv6Addresses
            | Bucket::AssignPrivateIpAddresses
            | Bucket::CreateNetworkInterface
            | Bucket::DeleteNetworkInterface
            | Bucket::ModifyNetworkInterfaceAttribute
            | Bucket::TerminateInstances
            | Bucket::UnassignIpv6Addresses
            | Bucket::UnassignPrivateIpAddresses => (100, 5),
            Bucket::CreateTags | Bucket::DeleteTags => (100, 10),
            Bucket::Describing => (100, 20),
            Bucket::DescribingAll => (50, 10),
            Bucket::Mutating => (50, 5),
            Bucket::RunInstances => (5, 2),
            Bucket::RunInstancesResources => (1000, 2),
        };
        Rate { burst, per_second }
    }
}

/// How much a bucket holds and how fast it fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Tokens in a full bucket.
    pub burst: u32,
    /// Tokens added per second.
    pub per_second: u32,
}

/// Which token buckets are in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Throttling {
    /// None: nothing is throttled.
    #[default]
    Off,
    /// The documented ones.
    Documented,
    /// The documented ones, with other rates for some.
    Custom(BTreeMap<Bucket, Rate>),
}

impl Throttling {
    fn rate(&self, bucket: Bucket) -> Option<Rate> {
        match self {
            Throttling::Off => None,
            Throttling::Documented => Some(bucket.documented_rate()),
            Throttling::Custom(rates) => {
                Some(rates.get(&bucket).copied().unwrap_or_else(|| bucket.documented_rate()))
            }
        }
    }
}

/// The account's buckets; counts in thousandths of a token so that slow refills lose nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Budget {
    levels: BTreeMap<Bucket, Level>,
}

#[derive(Clone, Copy, Debug)]
struct Level {
    millitokens: u64,
    at: Timestamp,
}

impl Budget {
    /// Takes `tokens` from `bucket`, all or none; false when throttled.
    pub(crate) fn draw(
        &mut self,
        throttling: &Throttling,
        bucket: Bucket,
        tokens: u32,
        now: Timestamp,
    ) -> bool {
        let Some(rate) = throttling.rate(bucket) else { return true };
        let full = u64::from(rate.burst) * 1000;
        let level = self.levels.entry(bucket).or_insert(Level { millitokens: full, at: now });
        // One token per second is one thousandth per millisecond.
        let refill = now.0.saturating_sub(level.at.0).saturating_mul(u64::from(rate.per_second));
        level.millitokens = level.millitokens.saturating_add(refill).min(full);
        level.at = level.at.max(now);
        let cost = u64::from(tokens) * 1000;
        if level.millitokens < cost {
            return false;
        }
        level.millitokens -= cost;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_then_its_rate() {
        let mut budget = Budget::default();
        let mut drawn = |at: u64| budget.draw(&Throttling::Documented, Bucket::Mutating, 1, Timestamp(at));
        assert_eq!((0..100).filter(|_| drawn(0)).count(), 50);
        assert!(!drawn(199));
        assert!(drawn(200));
        assert_eq!((0..100).filter(|_| drawn(2_200)).count(), 10);
        assert_eq!((0..100).filter(|_| drawn(1_000_000)).count(), 50);
    }

    #[test]
    fn without_throttling_nothing_is_refused() {
        let mut budget = Budget::default();
        assert!((0..10_000).all(|_| budget.draw(&Throttling::Off, Bucket::RunInstances, 1, Timestamp(0))));
    }
}
