//! EC2 pushes back: what failed is tried again later, and later each time, without holding up the rest.
//!
//! Every API waits for itself: a denied give-back must not keep a pod from its address. What throttling means for
//! the APIs that EC2 meters together is [`Budget`](crate::budget::Budget)'s.

use std::collections::BTreeMap;
use std::time::Duration;

use super::BACKOFF;
use crate::budget::decorrelated;
use crate::cloud::{CloudError, CloudErrorKind};
use crate::event::Api;
use crate::time::Timestamp;

/// How long after its last try a failure still counts: what is not tried any more is no trouble.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(300);
/// The APIs without which no address comes.
const GROWTH: [Api; 6] = [
    Api::DescribeNetworkInterfaces,
    Api::CreateNetworkInterface,
    Api::AttachNetworkInterface,
    Api::AssignPrivateIpAddresses,
    Api::DescribeSubnets,
    Api::AssignIpv6Addresses,
];

/// One API that failed last time.
#[derive(Clone, Debug)]
struct Failing {
    waits: Duration,
    until: Timestamp,
    error: CloudError,
}

/// The APIs that failed last time.
#[derive(Clone, Debug, Default)]
pub(super) struct Pushback {
    failing: BTreeMap<Api, Failing>,
    throttled_at: Option<Timestamp>,
}

impl Pushback {
    /// A call of `api` failed for a reason that is not its arguments'.
    pub(super) fn failed(&mut self, api: Api, error: CloudError, now: Timestamp, chance: u64) {
        let before = self.failing.get(&api).map_or(BACKOFF.0, |failing| failing.waits);
        let waits = decorrelated(before, BACKOFF.0, BACKOFF.1, chance);
        if error.kind == CloudErrorKind::Throttled {
            self.throttled_at = Some(now);
        }
        self.failing.insert(api, Failing { waits, until: now + waits, error });
    }

    /// A call of `api` went well.
    pub(super) fn went_well(&mut self, api: Api) {
        self.failing.remove(&api);
    }

    /// Drops what was not tried again for long.
    pub(super) fn age(&mut self, now: Timestamp) {
        if !self.failing.is_empty() {
            self.failing.retain(|_, failing| now.since(failing.until) < FORGOTTEN_AFTER);
        }
    }

    /// When `api` may be called; a time in the past when it may be called now.
    pub(super) fn until(&self, api: Api) -> Timestamp {
        self.failing.get(&api).map_or(Timestamp(0), |failing| failing.until)
    }

    /// Whether `api` failed when it was last called.
    pub(super) fn is_failing(&self, api: Api) -> bool {
        self.failing.contains_key(&api)
    }

    /// Whether `api` fails for want of permission, which waiting does not mend.
    pub(super) fn denied(&self, api: Api) -> bool {
        self.failing.get(&api).is_some_and(|failing| failing.error.kind == CloudErrorKind::Denied)
    }

    /// The next time at which something may be tried again.
    pub(super) fn next(&self, now: Timestamp) -> Option<Timestamp> {
        self.failing.values().map(|failing| failing.until).filter(|until| *until > now).min()
    }

    /// When EC2 last throttled.
    pub(super) fn throttled_at(&self) -> Option<Timestamp> {
        self.throttled_at
    }

    /// What keeps addresses from coming: the failure and when it is tried again.
    pub(super) fn against_growth(&self) -> Option<(&CloudError, Timestamp)> {
        GROWTH
            .into_iter()
            .find_map(|api| self.failing.get(&api).map(|failing| (&failing.error, self.until(api))))
    }

    /// Any failure, those that keep addresses from coming first.
    pub(super) fn any(&self) -> Option<&CloudError> {
        let growth = self.against_growth().map(|(error, _)| error);
        growth.or_else(|| self.failing.values().next().map(|failing| &failing.error))
    }
}
