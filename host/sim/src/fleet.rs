//! Many nodes in one region: their daemons share EC2 and nothing else, in one virtual time.

use std::collections::{BTreeMap, BTreeSet};

use enid_core::cloud::CloudError;
use enid_core::ids::InstanceId;
use enid_core::node::Config;
use enid_core::time::Timestamp;
use enid_engine::ports::Strategist;

use crate::ec2::Ec2;
use crate::node::SimNode;

/// Nodes of one region. What happens first is done first, whichever node it happens to.
pub struct Fleet<S> {
    /// The region. Each node has it while something happens there; in between its own is an empty one.
    pub ec2: Ec2,
    nodes: BTreeMap<InstanceId, SimNode<S>>,
    due: BTreeSet<(Timestamp, InstanceId)>,
    now: Timestamp,
}

impl<S: Strategist> Fleet<S> {
    /// Nobody in a region yet.
    pub fn new(ec2: Ec2, now: Timestamp) -> Self {
        Self { ec2, nodes: BTreeMap::new(), due: BTreeSet::new(), now }
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The nodes, in id order.
    pub fn nodes(&self) -> impl Iterator<Item = &SimNode<S>> {
        self.nodes.values()
    }

    /// One node without its region: to watch it, or to put faults into it.
    pub fn node_mut(&mut self, instance: &InstanceId) -> Option<&mut SimNode<S>> {
        self.nodes.get_mut(instance)
    }

    /// A daemon starts on an instance, now.
    ///
    /// # Panics
    ///
    /// When the instance is of a type that the table lacks.
    pub fn start(&mut self, instance: &InstanceId, config: Config, strategist: S) -> Result<(), CloudError> {
        let identity = self.ec2.node_view(instance, self.now).identity()?;
        assert!(enid_core::instance_types::lookup(&identity.instance_type).is_some(), "a known type");
        let region = std::mem::replace(&mut self.ec2, nowhere());
        let mut node = SimNode::start(region, instance.clone(), config, strategist, self.now)
            .expect("invariant: metadata has just answered, and the type is known");
        std::mem::swap(&mut self.ec2, &mut node.ec2);
        self.due.insert((node.next_at(), instance.clone()));
        self.nodes.insert(instance.clone(), node);
        Ok(())
    }

    /// A machine is gone, with its daemon and whatever that was about to do or hear.
    pub fn lose(&mut self, instance: &InstanceId) -> Option<SimNode<S>> {
        let node = self.nodes.remove(instance)?;
        self.due.remove(&(node.next_at(), instance.clone()));
        Some(node)
    }

    /// Somebody asks a node for something, now; `None` when there is no such node.
    pub fn ask<T>(&mut self, instance: &InstanceId, ask: impl FnOnce(&mut SimNode<S>) -> T) -> Option<T> {
        let now = self.now;
        self.at(instance, |node| {
            node.pass(now.since(node.world_time()));
            ask(node)
        })
    }

    /// The next thing happens, unless that is later than `deadline`; says to which node. Otherwise time passes until then.
    pub fn step(&mut self, deadline: Timestamp) -> Option<InstanceId> {
        let Some((at, instance)) = self.due.first().filter(|(at, _)| *at <= deadline).cloned() else {
            self.now = self.now.max(deadline);
            self.ec2.advance(self.now);
            return None;
        };
        self.now = self.now.max(at);
        self.at(&instance, |node| node.step_until(at));
        Some(instance)
    }

    /// Lends the region to a node.
    fn at<T>(&mut self, instance: &InstanceId, act: impl FnOnce(&mut SimNode<S>) -> T) -> Option<T> {
        let node = self.nodes.get_mut(instance)?;
        self.due.remove(&(node.next_at(), instance.clone()));
        std::mem::swap(&mut self.ec2, &mut node.ec2);
        let done = act(node);
        std::mem::swap(&mut self.ec2, &mut node.ec2);
        self.due.insert((node.next_at(), instance.clone()));
        Some(done)
    }
}

/// What a node has for a region while nothing happens to it.
fn nowhere() -> Ec2 {
    Ec2::new(0, crate::ec2::Config::default())
}
