//! The world is well again: what must come of it.

use std::collections::BTreeSet;
use std::time::Duration;

use enid_core::degraded::Degraded;
use enid_core::limits::Mode;
use enid_core::node::{Cards, Config, CustomNetworking};
use enid_core::wiring::{Families, Seat};
use enid_sim::ec2::Delays;
use enid_sim::ec2::interface::NetworkInterface;
use enid_sim::ec2::throttle::Throttling;
use enid_sim::node::attachment;

use super::acts::{CALLS, NO_MANAGE, ROLE};
use super::world::{Others, knobs};
use super::{Failure, MOST_PODS, Ordeal};
use crate::deeds::was_taken_over;
use crate::strategies::Mind;
use crate::{mutations, out_of_place};

/// Times that kubelet tries again, a minute and a half each.
const TRIES: u32 = 12;
/// How long nothing may happen in the end.
const QUIET: Duration = Duration::from_secs(600);

impl Ordeal {
    /// The world is well again.
    pub(super) fn heal(&mut self) -> Result<(), Failure> {
        self.say("healed".to_owned());
        self.node.ec2.clear_faults();
        self.node.ec2.set_throttling(Throttling::Off);
        CALLS.iter().for_each(|call| self.node.ec2.permit(*call));
        let subnets: Vec<_> = self.node.ec2.subnets().map(|subnet| subnet.id.clone()).collect();
        for subnet in &subnets {
            self.node.ec2.vacate(subnet).expect("a known subnet");
            self.node.ec2.set_tag(subnet.as_str(), ROLE, "1").expect("a known subnet");
        }
        let enis: Vec<_> =
            self.node.ec2.interfaces_of(self.node.instance()).map(|eni| eni.id.clone()).collect();
        for eni in enis {
            self.node.ec2.set_tag(eni.as_str(), NO_MANAGE, "false").expect("a known ENI");
        }
        // The neighbour attaches its ENI at last, unless that was swept as nobody's meanwhile.
        let (Others { neighbour, theirs, .. }, now) = (&self.others, self.node.world_time());
        let seat = Seat { card: 0, device: 1 };
        let _swept = self.node.ec2.attach_network_interface(now, theirs, neighbour, seat);
        self.node.ec2.set_delays(Delays::default());
        self.node.kernel.heal();
        self.node.kernel.pods.retain(|_, pod| !pod.foreign);
        self.node.faults = enid_sim::node::Faults::default();
        let mind = Mind::Knobs(knobs(&mut self.dice));
        self.node.replace_strategist(mind);
        let config = self.node.state().config().clone();
        let custom_networking = self.custom_networking.clone();
        self.node.reconfigure(Config { cordoned: false, custom_networking, ..config });
        // A subnet of few blocks is soon broken up by the node's own addresses, and never mended.
        let small = self.node.ec2.subnets().any(|subnet| subnet.total() < 300);
        if small && self.node.state().config().mode == Mode::Prefix {
            self.switch_mode();
        }
        // Pods on ENIs that are not where the operator wants them now keep others from being there.
        if self.custom_networking != CustomNetworking::Off {
            for which in 0..u64::try_from(self.runtime.count()).expect("few") {
                self.runtime.end(&mut self.node, which);
            }
        }
        // Every step costs a call, and a node of many makes one of each kind in so many seconds.
        let nodes = u64::from(self.node.state().nodes());
        self.live(Duration::from_secs(600 + 20 * nodes))?;
        self.runtime.collect_exactly(&mut self.node);
        self.live(Duration::from_secs(120))
    }

    /// Everything that fits is served, and nothing is left over.
    pub(super) fn expect_recovered(&mut self) -> Result<(), Failure> {
        let wanted = self.capacity.min(MOST_PODS);
        // Kubelet tries again when a pod was told to wait longer than it does.
        for _ in 0..TRIES {
            for _ in self.runtime.count()..wanted {
                self.runtime.start(&mut self.node, 1000);
                self.live(Duration::from_secs(1))?;
            }
            self.live(Duration::from_secs(90))?;
            if self.runtime.running().count() >= wanted {
                break;
            }
        }
        let running = self.runtime.running().count();
        if running != self.runtime.count() || running < wanted {
            return self.fail(format!("{running} of {wanted} pods run"));
        }
        self.expect_settled()?;
        // Until no subnet is thought to be broken up any more, and what made do meanwhile has gone back.
        self.live(Duration::from_secs(3600))?;
        self.expect_nothing_left_over()?;
        self.expect_followed()?;
        self.expect_kernel_whole()?;
        if let Some(what) = out_of_place(&self.node).first() {
            return self.fail(what.clone());
        }
        self.expect_quiet()
    }

    fn expect_settled(&mut self) -> Result<(), Failure> {
        for _ in 0..600 {
            if self.node.state().is_settled() {
                return Ok(());
            }
            self.live(Duration::from_secs(1))?;
        }
        self.fail("the node does not settle")
    }

    fn expect_nothing_left_over(&self) -> Result<(), Failure> {
        let (state, node) = (self.node.state(), &self.node);
        let ours = format!("aws-K8S-{}", node.instance());
        let made_by_us = |eni: &&NetworkInterface| eni.description == ours && !was_taken_over(eni);
        for eni in node.ec2.interfaces().filter(made_by_us) {
            if state.eni(&eni.id).is_none() {
                return self.fail(format!("{} leaked", eni.id));
            }
        }
        let nobodys = &self.others.nobodys;
        if !node.ec2.interfaces().any(|eni| eni.id == *nobodys) {
            return self.fail(format!("{nobodys}, which is nobody's, is gone"));
        }
        let status = state.status(node.now());
        if let Some(one) = status.quarantined.first() {
            return self.fail(format!("{} is still quarantined: {}", one.address, one.why));
        }
        if status.withheld.mode != Degraded::No {
            return self.fail(format!("still {}", status.withheld.mode));
        }
        let running: BTreeSet<String> =
            self.runtime.running().map(|(name, _)| attachment(name).to_string()).collect();
        let leases = state.addresses(node.now());
        let mut held = leases.iter().filter_map(|lease| Some((lease.address, lease.attachment.clone()?)));
        if let Some((address, who)) = held.find(|(_, who)| !running.contains(who)) {
            return self.fail(format!("{who}, which does not run, has {address}"));
        }
        Ok(())
    }

    /// What changed around the node has reached its ENIs and its kernel.
    fn expect_followed(&self) -> Result<(), Failure> {
        let state = self.node.state();
        let primary = self.node.ec2.interfaces().find(|eni| eni.id == state.identity().primary_eni);
        let groups = &primary.expect("an instance has one").groups;
        for eni in self.node.ec2.interfaces_of(self.node.instance()) {
            if eni.groups != *groups {
                let what = format!("{} is behind {:?}, the primary behind {groups:?}", eni.id, eni.groups);
                return self.fail(what);
            }
        }
        let told = self.node.kernel.node.as_ref().map(|node| &node.vpc_cidrs);
        let vpc = self.node.ec2.vpcs().next().map(|vpc| &vpc.cidrs);
        if told != vpc {
            return self.fail(format!("the kernel knows {told:?}, the VPC has {vpc:?}"));
        }
        let config = state.config();
        let families = config.families;
        for pod in self.node.kernel.pods.values() {
            let second = pod.first.second.map(|second| second.node_local);
            let expected = match families {
                Families::DualStack => Some(false),
                Families::Ipv4 | Families::Ipv6 => config.egress.then_some(true),
            };
            if second != expected {
                return self.fail(format!("{:?} in a node of {families:?}", pod.first));
            }
            if pod.key().is_ipv4() == (families == Families::Ipv6) {
                return self.fail(format!("{} in a node of {families:?}", pod.key()));
            }
            let further = pod.further.len();
            // A card whose ENI was tagged away had none for pods.
            let least = if self.acts.contains_key("ENIs tagged away") { 1 } else { 2 };
            if further > 0 && (config.cards == Cards::Default || !(least..=2).contains(&further)) {
                return self.fail(format!("{further} further interfaces"));
            }
        }
        Ok(())
    }

    /// Kernel and journal say the same, piece by piece.
    fn expect_kernel_whole(&self) -> Result<(), Failure> {
        let kernel = &self.node.kernel;
        let running: BTreeSet<_> = self.runtime.running().map(|(_, address)| address).collect();
        for pod in kernel.pods.values() {
            if !pod.lacks.is_empty() {
                return self.fail(format!("{} lacks {:?}", pod.key(), pod.lacks));
            }
            if !running.contains(&pod.key()) {
                return self.fail(format!("{} is in the kernel and does not run", pod.key()));
            }
        }
        // What was never the node's, or left it before anybody looked twice, is not the node's to remove.
        let leases = self.node.state().addresses(self.node.now());
        if let Some(stray) = leases.iter().find(|lease| kernel.rules.contains(&lease.address)) {
            return self.fail(format!("rules of {} are left", stray.address));
        }
        if kernel.lacks_nft || kernel.node.is_none() {
            return self.fail("the node's own rules are gone");
        }
        let ready = |id| self.node.state().eni(id).is_some_and(|eni| eni.serves() && !eni.is_primary());
        for (id, eni) in &kernel.enis {
            if eni.lacks_rule || eni.lacks_table || !ready(id) {
                return self.fail(format!("{eni:?} in the kernel"));
            }
        }
        let enis = self.node.ec2.interfaces_of(self.node.instance()).map(|eni| &eni.id);
        let mut missing = enis.filter(|id| ready(id) && !kernel.enis.contains_key(*id));
        missing.next().map_or(Ok(()), |eni| self.fail(format!("{eni} is not set up")))
    }

    /// For a long while nothing is changed, at EC2 or in the kernel.
    fn expect_quiet(&mut self) -> Result<(), Failure> {
        let before = (mutations(&self.node), self.node.kernel.writes);
        self.live(QUIET)?;
        let after = (mutations(&self.node), self.node.kernel.writes);
        if before != after {
            return self.fail(format!("a converged node makes changes: {before:?} became {after:?}"));
        }
        if let Some(what) = out_of_place(&self.node).first() {
            return self.fail(what.clone());
        }
        self.expect_settled()
    }
}
