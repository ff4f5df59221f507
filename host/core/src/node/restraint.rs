//! What EC2 may be asked now: the node's share of the account's calls, what is withheld while EC2 does not answer, and
//! what waits because EC2 said no.

use std::time::Duration;

use super::pushback::Pushback;
use super::{CallUnderWay, NodeState};
use crate::budget::{Budget, BudgetConfig, Class, Priority};
use crate::cloud::{CloudError, CloudErrorKind};
use crate::degraded::{Degraded, Health, Outcome};
use crate::event::Api;
use crate::ids::InstanceId;
use crate::report::WaitReason;
use crate::time::Timestamp;

/// Calls that may be under way at once and change something at EC2: more would not come sooner, and each may be lost.
const MAX_CHANGES: usize = 8;

/// Three reasons not to call, each with its own memory.
#[derive(Debug)]
pub(super) struct Restraint {
    pub(super) pushback: Pushback,
    budget: Budget,
    health: Health,
}

impl Restraint {
    pub(super) fn new(config: &BudgetConfig, instance: &InstanceId, now: Timestamp) -> Self {
        Self {
            pushback: Pushback::default(),
            budget: Budget::new(config.clone(), hash(instance.as_str()), now),
            health: Health::new(),
        }
    }

    /// Nothing was spent yet.
    pub(super) fn begin(&mut self, config: &BudgetConfig, instance: &InstanceId, now: Timestamp) {
        self.budget = Budget::new(config.clone(), hash(instance.as_str()), now);
    }

    /// It is not known what was spent: a daemon before this one may have called until just now.
    pub(super) fn resume(&mut self, config: &BudgetConfig, instance: &InstanceId, now: Timestamp) {
        self.budget = Budget::resumed(config.clone(), hash(instance.as_str()), now);
    }

    pub(super) fn reconfigure(&mut self, config: &BudgetConfig, now: Timestamp) {
        self.budget.reconfigure(config.clone(), now);
    }

    pub(super) fn asked(&mut self, api: Api, now: Timestamp) {
        if let Some(class) = Class::of(api) {
            self.budget.spend(class, now);
        }
    }

    pub(super) fn answered<T>(&mut self, api: Api, result: &Result<T, CloudError>, now: Timestamp) {
        if result.is_ok() {
            self.pushback.went_well(api);
        }
        let Some(class) = Class::of(api) else { return };
        let outcome = match result {
            Ok(_) => Some(Outcome::Served),
            Err(error) => {
                if error.kind == CloudErrorKind::Throttled {
                    self.budget.throttled(class, now);
                }
                Outcome::of(error.kind)
            }
        };
        if let Some(outcome) = outcome {
            self.health.record(outcome, now);
        }
    }

    pub(super) fn age(&mut self, now: Timestamp) {
        self.pushback.age(now);
        self.health.age(now);
    }

    /// When `api` may be called: now, if that is not after `now`.
    pub(super) fn until(&self, api: Api, priority: Priority, now: Timestamp) -> Timestamp {
        let pushed = self.pushback.until(api);
        let Some(class) = Class::of(api) else { return pushed };
        let withheld = match (self.health.mode(now), class) {
            (Degraded::No, _) => Timestamp(0),
            (Degraded::NoRelease, _) if priority != Priority::Spare => Timestamp(0),
            // Looking is how it is known that EC2 answers again.
            (Degraded::NoCalls, Class::Describe) if api == Api::DescribeNetworkInterfaces => {
                self.health.probe_at(now)
            }
            (
                Degraded::NoRelease | Degraded::NoCalls,
                Class::Describe
                | Class::Mutation
                | Class::Interfaces
                | Class::Addresses
                | Class::Ipv6Addresses
                | Class::Attributes,
            ) => Timestamp(u64::MAX),
        };
        pushed.max(withheld).max(self.budget.ready_at(class, priority, now))
    }

    /// The next time at which something may be called that may not be now.
    pub(super) fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let ready = Class::ALL.into_iter().flat_map(|class| {
            [Priority::Pod, Priority::Stock, Priority::Spare]
                .map(|priority| self.budget.ready_at(class, priority, now))
        });
        let probe = (self.health.mode(now) == Degraded::NoCalls).then(|| self.health.probe_at(now));
        let own = [self.pushback.next(now), self.health.next_change(now), probe];
        own.into_iter().flatten().chain(ready).filter(|at| *at > now).min()
    }

    /// Somebody else is asked from now on: what EC2 did before says nothing.
    pub(super) fn forget_failures(&mut self) {
        self.health = Health::new();
    }

    /// The time between two calls of a class in the long run.
    pub(super) fn period(&self, class: Class, now: Timestamp) -> Duration {
        self.budget.period(class, now)
    }

    /// Whether EC2 is not called at all but for probes. Time alone does not end that.
    pub(super) fn has_stopped_calling(&self) -> bool {
        self.health.mode(Timestamp(0)) == Degraded::NoCalls
    }

    pub(super) fn mode(&self, now: Timestamp) -> Degraded {
        self.health.mode(now)
    }

    pub(super) fn health(&self) -> &Health {
        &self.health
    }

    pub(super) fn budget(&self) -> &Budget {
        &self.budget
    }
}

impl NodeState {
    /// How urgent it is that addresses come.
    pub(super) fn urgency(&self) -> Priority {
        if self.queue.is_empty() && self.has_addresses() { Priority::Stock } else { Priority::Pod }
    }

    /// Whether EC2 may be asked now.
    pub(super) fn may_ask(&self, api: Api, priority: Priority, now: Timestamp) -> bool {
        self.restraint.until(api, priority, now) <= now && !self.is_crowded(api)
    }

    /// Whether as many changes are under way as may be; an answer will change that.
    fn is_crowded(&self, api: Api) -> bool {
        let changes = |api: Api| Class::of(api).is_some_and(Class::is_mutating);
        let changing = |call: &&CallUnderWay| changes(call.api);
        changes(api) && self.calls.values().filter(changing).count() >= MAX_CHANGES
    }

    /// Somebody compares the views by hand: that is a call, too, and owed if it was not allowed.
    pub fn asked_by_hand(&mut self, now: Timestamp) {
        self.restraint.asked(Api::DescribeNetworkInterfaces, now);
        *self.call_counts.entry(Api::DescribeNetworkInterfaces).or_default() += 1;
    }

    /// What keeps addresses from coming although EC2 did not refuse them.
    pub(super) fn reason_withheld(&self, now: Timestamp) -> Option<WaitReason> {
        let secs = |at: Timestamp| at.since(now).as_secs();
        if self.restraint.mode(now) == Degraded::NoCalls {
            let for_secs = now.since(self.restraint.health().since()).as_secs();
            return Some(WaitReason::CloudAway {
                for_secs,
                retry_secs: secs(self.restraint.health().probe_at(now)),
            });
        }
        let growth = [Class::Addresses, Class::Interfaces, Class::Mutation];
        let ready = growth.map(|class| (self.restraint.budget().ready_at(class, self.urgency(), now), class));
        let (at, class) = ready.into_iter().filter(|(at, _)| *at > now).max()?;
        Some(WaitReason::Budget { class: class.name().to_owned(), retry_secs: secs(at) })
    }
}

/// FNV-1a: the same on every machine and in every version.
pub(super) fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
