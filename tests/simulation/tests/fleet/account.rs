//! What a fleet asks of its account, measured against what it may.

use std::collections::BTreeMap;
use std::time::Duration;

use enid_core::budget::{BudgetConfig, Class};
use enid_sim::ec2::call::{Call, Made};

/// The class that a call counts for; none for calls that no daemon makes.
fn class(call: Call) -> Option<Class> {
    match call {
        Call::DescribeNetworkInterfaces | Call::DescribeSubnets => Some(Class::Describe),
        Call::AttachNetworkInterface | Call::DetachNetworkInterface => Some(Class::Mutation),
        Call::CreateNetworkInterface | Call::DeleteNetworkInterface => Some(Class::Interfaces),
        Call::AssignPrivateIpAddresses | Call::UnassignPrivateIpAddresses => Some(Class::Addresses),
        Call::AssignIpv6Addresses => Some(Class::Ipv6Addresses),
        Call::ModifyNetworkInterfaceAttribute => Some(Class::Attributes),
        Call::AssociateVpcCidrBlock
        | Call::CreateTags
        | Call::DeleteTags
        | Call::DescribeAvailabilityZones
        | Call::DescribeInstanceTypes
        | Call::DescribeInstances
        | Call::DescribeSecurityGroups
        | Call::DescribeTags
        | Call::DescribeVpcs
        | Call::RunInstances
        | Call::TerminateInstances
        | Call::UnassignIpv6Addresses => None,
    }
}

/// The calls of one class.
#[derive(Debug)]
pub(crate) struct Use {
    pub(crate) class: Class,
    pub(crate) calls: usize,
    /// The most calls in any second and any ten.
    pub(crate) peaks: [usize; 2],
    /// What the fleet may make at once, and the most that any window had beyond what the rate brings in its length: the
    /// share is exceeded when this is more than that. In thousandths of a call.
    pub(crate) burst: u64,
    pub(crate) burst_used: u64,
}

/// The use of every class that was called.
pub(crate) fn uses(calls: &[Made], budget: &BudgetConfig) -> Vec<Use> {
    let of = |wanted: Class| {
        let times: Vec<u64> =
            calls.iter().filter(|made| class(made.call) == Some(wanted)).map(|made| made.at.0).collect();
        let limit = budget.limit(wanted);
        let share = u64::from(budget.share_milli);
        Use {
            class: wanted,
            calls: times.len(),
            peaks: [1, 10].map(|secs| peak(&times, Duration::from_secs(secs))),
            burst: share * u64::from(limit.burst),
            burst_used: burst_used(&times, share * u64::from(limit.per_second)),
        }
    };
    Class::ALL.into_iter().map(of).filter(|used| used.calls > 0).collect()
}

/// The most calls in any window of this length.
fn peak(times: &[u64], window: Duration) -> usize {
    let window = u64::try_from(window.as_millis()).unwrap();
    let mut first = 0;
    let count = |(last, at): (usize, &u64)| {
        while times[first] + window < *at {
            first += 1;
        }
        last + 1 - first
    };
    times.iter().enumerate().map(count).max().unwrap_or(0)
}

/// The most thousandths of a call by which any window's calls exceed what `rate` (thousandths a second) brings in
/// its length. Calls of one moment, and what a queue that is served at that rate grows to, are the same number.
fn burst_used(times: &[u64], rate: u64) -> u64 {
    // In millionths: a thousandth a second is a millionth a millisecond.
    let (mut queue, mut most, mut last) = (0u64, 0, times.first().copied().unwrap_or(0));
    for at in times {
        queue = queue.saturating_sub(rate * (at - last)) + 1_000_000;
        most = most.max(queue);
        last = *at;
    }
    most / 1000
}

/// How often each API was called.
pub(crate) fn by_api(calls: &[Made]) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for made in calls {
        *counts.entry(made.call.name()).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_window_has_beyond_the_rate_is_counted_as_burst() {
        // Two and a half a second.
        for (times, used) in [
            (vec![], 0),
            (vec![5], 1000),
            (vec![5, 5, 5], 3000),
            (vec![0, 400, 800, 1200], 1000),
            (vec![0, 200], 1500),
            (vec![0, 200, 100_000, 100_000], 2000),
        ] {
            assert_eq!(burst_used(&times, 2_500), used, "{times:?}");
        }
    }

    #[test]
    fn the_busiest_window_is_found() {
        assert_eq!(peak(&[0, 900, 1000, 1001, 5000], Duration::from_secs(1)), 3);
        assert_eq!(peak(&[], Duration::from_secs(1)), 0);
    }
}
