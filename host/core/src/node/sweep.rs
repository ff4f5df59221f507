//! ENIs that nobody owns any more: created for pods, attached to nothing. A node that dies while it attaches or detaches
//! leaves one behind, and no other node will ever ask about it.
//!
//! One look per period and cluster, not per node: in every period each node sweeps with a chance of one in as many
//! nodes as there are, drawn from its id and the period, so that nobody has to be asked whose turn it is. A period
//! that nobody draws is made up for by the next.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::restraint::hash;
use super::{Config, NodeState, Provisioning, Purpose};
use crate::budget::{Class, Priority, mixed};
use crate::cloud::{CloudError, CloudErrorKind, Orphan};
use crate::event::{Api, CloudCall, CloudReply, Effect};
use crate::ids::{EniId, InstanceId};
use crate::time::Timestamp;

/// How often a cluster is swept.
const PERIOD: Duration = Duration::from_secs(600);
/// A node that knows no cluster looks once, this long after its start, for what it left behind itself.
const FIRST: Duration = Duration::from_secs(120);
/// How long this daemon must have seen an ENI attached to nothing: its node may yet be about to attach it. What its tags say
/// of its age is another clock's word.
const OWNERLESS_AFTER: Duration = Duration::from_secs(900);
/// ENIs that one sweep deletes at most; the next goes on.
const MAX_SWEPT: usize = 32;
/// How old a list of orphans may be on which they are deleted, where each may be deleted as soon.
const STALE: Duration = Duration::from_secs(300);
/// When an attempt is made again that EC2 did not answer.
const AGAIN: Duration = Duration::from_secs(60);

/// A node's part in the sweeps of its cluster.
#[derive(Debug)]
pub(super) struct Sweep {
    seed: u64,
    /// When the node looks next, if it is its turn then.
    due: Timestamp,
    looking: bool,
    /// Whether the answer that is awaited is about a cluster of another name.
    outdated: bool,
    deleting: bool,
    found: VecDeque<EniId>,
    /// When EC2 was asked for those.
    found_at: Timestamp,
    /// Since when ENIs have been seen attached to nothing.
    since: BTreeMap<EniId, Timestamp>,
    swept: u64,
}

impl Sweep {
    pub(super) fn new(instance: &InstanceId, config: &Config, now: Timestamp) -> Self {
        let mut sweep = Self {
            seed: hash(instance.as_str()),
            due: now,
            looking: false,
            outdated: false,
            deleting: false,
            found: VecDeque::new(),
            found_at: now,
            since: BTreeMap::new(),
            swept: 0,
        };
        sweep.rename(config.cluster.is_some(), config.budget.nodes, now);
        sweep
    }

    /// The cluster has another name, or none.
    pub(super) fn rename(&mut self, named: bool, nodes: u32, now: Timestamp) {
        self.found.clear();
        self.outdated = self.looking;
        self.due = if named { self.next_turn(nodes, now) } else { now + FIRST };
    }

    /// The cluster has another size: a turn that was drawn already stays.
    pub(super) fn resize(&mut self, nodes: u32, now: Timestamp) {
        self.due = self.due.min(self.next_turn(nodes, now));
    }

    /// ENIs that this node deleted since it started.
    pub(super) fn swept(&self) -> u64 {
        self.swept
    }

    /// The next period after `now` in which it is this node's turn, at a moment of its own.
    fn next_turn(&self, nodes: u32, now: Timestamp) -> Timestamp {
        let period = u64::try_from(PERIOD.as_millis()).unwrap_or(u64::MAX);
        let nodes = u64::from(nodes.max(1));
        // Nearly certain to end long before: the chance of nobody's turn in ten times as many periods as nodes is e^-10.
        let turns = (now.0 / period + 1)..=(now.0 / period + 10 * nodes + 1);
        let draw = |turn: u64| mixed(self.seed ^ mixed(turn));
        let last = *turns.end();
        let mine = turns.into_iter().find(|turn| draw(*turn).is_multiple_of(nodes)).unwrap_or(last);
        Timestamp(mine * period + mixed(draw(mine)) % period)
    }
}

impl NodeState {
    /// When the node next looks for ENIs without an owner, or may go on to delete them.
    pub(super) fn next_sweep(&self, now: Timestamp) -> Option<Timestamp> {
        let may = self.may_sweep() && self.seen && !self.sweep.looking;
        may.then(|| {
            self.sweep.due.max(self.restraint.until(Api::DescribeNetworkInterfaces, Priority::Spare, now))
        })
    }

    fn may_sweep(&self) -> bool {
        self.config.sweep && self.config.provisioning == Provisioning::Full
    }

    /// Looks for ENIs without an owner.
    pub(super) fn look_for_orphans(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        self.sweep.looking = true;
        self.sweep.found_at = now;
        self.call(Purpose::Orphans, CloudCall::Orphans, now, effects);
    }

    /// When the look for them has been due since.
    pub(super) fn sweep_due(&self) -> Timestamp {
        self.sweep.due
    }

    /// Deletes the next of those that were found.
    pub(super) fn sweep(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        // What was so a while ago need not be so now.
        let stale = STALE.max(self.restraint.period(Class::Interfaces, now) * 4);
        if !self.may_sweep() || now.since(self.sweep.found_at) >= stale {
            self.sweep.found.clear();
        }
        if self.sweep.deleting || !self.may_ask(Api::DeleteNetworkInterface, Priority::Spare, now) {
            return;
        }
        let nobodys = |eni: &EniId| !self.enis.contains_key(eni);
        if let Some(eni) = std::iter::from_fn(|| self.sweep.found.pop_front()).find(nobodys) {
            self.sweep.deleting = true;
            self.call(Purpose::Sweep { eni: eni.clone() }, CloudCall::Delete { eni }, now, effects);
        }
    }

    pub(super) fn orphans_answered(&mut self, result: Result<CloudReply, CloudError>, now: Timestamp) {
        self.sweep.looking = false;
        if std::mem::take(&mut self.sweep.outdated) {
            return;
        }
        // Without a cluster's name only this instance's own are looked for, which it leaves behind when it ends.
        let alone = self.config.cluster.is_none();
        self.sweep.due = if alone { Timestamp(u64::MAX) } else { self.sweep.next_turn(self.nodes(), now) };
        match result {
            Ok(CloudReply::Orphans(orphans)) => {
                let listed = |eni: &EniId| orphans.iter().any(|orphan| orphan.id == *eni);
                self.sweep.since.retain(|eni, _| listed(eni));
                let mut again = false;
                let mut found = Vec::new();
                for orphan in &orphans {
                    if self.is_owned(orphan) {
                        continue;
                    }
                    let first = match self.sweep.since.get(&orphan.id) {
                        Some(first) => *first,
                        None if self.sweep.since.len() < MAX_SWEPT => {
                            self.sweep.since.insert(orphan.id.clone(), now);
                            now
                        }
                        None => now,
                    };
                    let young = orphan.created.is_some_and(|created| now.since(created) < OWNERLESS_AFTER);
                    if now.since(first) >= OWNERLESS_AFTER && !young {
                        found.push(orphan.id.clone());
                    } else {
                        // Nobody else remembers since when it has been there.
                        again = true;
                    }
                }
                self.sweep.found = found.into_iter().collect();
                if again || alone && !self.sweep.found.is_empty() {
                    self.sweep.due = self.sweep.due.min(now + OWNERLESS_AFTER);
                }
            }
            Ok(
                CloudReply::Enis(_)
                | CloudReply::VpcRanges(_)
                | CloudReply::Subnets(_)
                | CloudReply::Created(_)
                | CloudReply::Attached(_)
                | CloudReply::Assigned(_)
                | CloudReply::Done,
            ) => {}
            Err(error) => {
                self.sweep.due = now + AGAIN;
                self.restraint.pushback.failed(Api::DescribeNetworkInterfaces, error, now, self.next_op);
            }
        }
    }

    /// Whether an unattached ENI is this node's, on its way in or out, or may be.
    fn is_owned(&self, orphan: &Orphan) -> bool {
        let own = orphan.instance == self.identity.instance;
        self.enis.contains_key(&orphan.id) || own && self.creations().next().is_some()
    }

    pub(super) fn swept(&mut self, eni: EniId, result: Result<CloudReply, CloudError>, now: Timestamp) {
        self.sweep.deleting = false;
        match result {
            Ok(_) => self.sweep.swept += 1,
            Err(error) => match error.kind {
                CloudErrorKind::Throttled
                | CloudErrorKind::Unavailable
                | CloudErrorKind::NotAsked
                | CloudErrorKind::Denied => {
                    self.sweep.found.push_front(eni);
                    self.restraint.pushback.failed(Api::DeleteNetworkInterface, error, now, self.next_op);
                }
                // EC2 deletes nothing that is attached; what it refuses is looked at again by a later sweep.
                CloudErrorKind::NoFreeAddresses
                | CloudErrorKind::NoFreeBlocks
                | CloudErrorKind::LimitExceeded
                | CloudErrorKind::Conflict
                | CloudErrorKind::Gone
                | CloudErrorKind::Rejected => {}
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sweeps of a cluster of `nodes` in `hours`.
    fn sweeps(nodes: u32, hours: u64) -> usize {
        let start = Timestamp(1_800_000_000_000);
        let end = start + Duration::from_secs(3600 * hours);
        let of_one = |node: u32| {
            let instance = format!("i-0{node:016x}").parse().unwrap();
            let sweep = Sweep::new(&instance, &Config::default(), start);
            let mut at = sweep.next_turn(nodes, start);
            let mut count = 0;
            while at < end {
                count += 1;
                let next = sweep.next_turn(nodes, at);
                assert!(next > at);
                at = next;
            }
            count
        };
        (0..nodes).map(of_one).sum()
    }

    #[test]
    fn a_cluster_is_swept_as_often_whatever_its_size() {
        // Six periods an hour, each drawn by one node on average.
        for nodes in [1, 10, 100, 1000] {
            let sweeps = sweeps(nodes, 50);
            assert!((200..400).contains(&sweeps), "{sweeps} sweeps of {nodes} nodes in 300 periods");
        }
        assert_eq!(sweeps(1, 50), 299);
    }
}
