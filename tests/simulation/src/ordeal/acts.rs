//! What goes on around a node, and what goes wrong.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use enid_core::event::{Nics, Record};
use enid_core::ids::{EniId, SubnetId};
use enid_core::limits::Mode;
use enid_core::node::CustomNetworking;
use enid_core::wiring::{Families, MAIN_TABLE, PodLink, PodWiring};
use enid_sim::ec2::Delays;
use enid_sim::ec2::call::Call;
use enid_sim::ec2::fault::{Fault, FaultKind};
use enid_sim::ec2::interface::InterfaceChange;
use enid_sim::ec2::refusal::Code;
use enid_sim::ec2::throttle::{Rate, Throttling};
use enid_sim::node::Lie;
use enid_sim::witness::Moment;

use super::world::knobs;
use super::{Failure, MOST_PODS, Ordeal};
use crate::START;
use crate::runtime::Loss;
use crate::strategies::{Hostile, Mind};

pub(super) const ROLE: &str = "kubernetes.io/role/cni";
pub(super) const NO_MANAGE: &str = "node.k8s.amazonaws.com/no_manage";

pub(super) const CALLS: [Call; 10] = [
    Call::AssignIpv6Addresses,
    Call::AssignPrivateIpAddresses,
    Call::AttachNetworkInterface,
    Call::CreateNetworkInterface,
    Call::DeleteNetworkInterface,
    Call::DescribeNetworkInterfaces,
    Call::DescribeSubnets,
    Call::DetachNetworkInterface,
    Call::ModifyNetworkInterfaceAttribute,
    Call::UnassignPrivateIpAddresses,
];

impl Ordeal {
    /// One thing goes on, or wrong.
    pub(super) fn act(&mut self) -> Result<(), Failure> {
        match self.dice.roll(50) {
            0..=9 => self.start(),
            10..=15 => self.end(),
            16 => {
                let which = self.dice.roll(1000);
                self.runtime.add_again(&mut self.node, which);
            }
            17 => self.delete_oddly(),
            18 => self.lose(),
            19 => self.collect(),
            20..=22 => self.break_calls(),
            23 => self.deny(),
            24 => CALLS.iter().for_each(|call| self.node.ec2.permit(*call)),
            25 => self.throttle(),
            26 => self.lie(),
            27 | 28 => self.crash(),
            29 => self.compact()?,
            30 | 31 => self.slow_kernel(),
            32..=34 => self.break_kernel(),
            35 => self.add_stranger(),
            36 => self.count_echoes(),
            37 => self.replace_strategy(),
            38 => self.switch_mode(),
            39 => self.crowd(),
            40 => self.break_up(),
            41 => self.change_groups(),
            42 => self.widen_vpc(),
            43 => self.tag(),
            44 => self.move_elsewhere(),
            45 => self.cordon(),
            46 => self.change_cooldown(),
            47 => self.fill_journal(),
            48 => self.share(),
            _ => self.hide_links(),
        }
        self.examine()?;
        let pause = Duration::from_millis(*self.dice.pick(&[0, 1, 150, 2_000, 10_000, 45_000]));
        self.live(pause)
    }

    fn start(&mut self) {
        if self.runtime.count() < MOST_PODS {
            let pod = self.dice.roll(12);
            let nics = if self.dice.one_in(4) { Nics::EveryCard } else { Nics::One };
            self.runtime.start_with(&mut self.node, pod, nics);
        }
    }

    fn end(&mut self) {
        let which = self.dice.roll(1000);
        self.runtime.end(&mut self.node, which);
        if self.dice.one_in(3) {
            self.runtime.end(&mut self.node, which);
        }
    }

    /// DELs that come late, twice, or out of order.
    fn delete_oddly(&mut self) {
        self.count("odd DELs");
        match self.dice.roll(3) {
            // After the clock stepped back nobody knows what is older than what.
            0 if self.acts.contains_key("clock steps") => self.runtime.repeat_dels(&mut self.node),
            0 => self.runtime.late_del(&mut self.node, START),
            1 => self.runtime.repeat_dels(&mut self.node),
            _ => {
                let which = self.dice.roll(1000);
                self.runtime.spool_del(&mut self.node, which);
                self.say("a DEL is spooled, and a crash".to_owned());
                self.node.crash_and_restart();
            }
        }
    }

    fn lose(&mut self) {
        let loss = *self.dice.pick(&[Loss::Killed, Loss::Killed, Loss::Forgotten]);
        let which = self.dice.roll(1000);
        if self.runtime.lose(&mut self.node, which, loss) {
            self.say(format!("a sandbox is {loss:?}"));
            self.count("sandboxes lost without DEL");
        }
    }

    fn collect(&mut self) {
        let forgotten = self.dice.roll(3);
        self.say(format!("GC without {forgotten}"));
        self.count("GCs");
        self.runtime.collect(&mut self.node, forgotten);
    }

    fn break_calls(&mut self) {
        let call = *self.dice.pick(&CALLS);
        let code = match call {
            Call::AssignPrivateIpAddresses => *self.dice.pick(&[
                Code::InsufficientCidrBlocks,
                Code::InsufficientFreeAddressesInSubnet,
                Code::PrivateIpAddressLimitExceeded,
                Code::InternalError,
            ]),
            // No made-up refusals: after a lost reply, EC2 answers the same token with the same ENI.
            Call::CreateNetworkInterface => Code::Unavailable,
            Call::AttachNetworkInterface => *self.dice.pick(&[
                Code::AttachmentLimitExceeded,
                Code::InvalidParameterValue,
                Code::InvalidNetworkInterfaceIdNotFound,
            ]),
            Call::DetachNetworkInterface | Call::ModifyNetworkInterfaceAttribute => Code::IncorrectState,
            Call::DeleteNetworkInterface | Call::UnassignPrivateIpAddresses => Code::InvalidParameterValue,
            Call::DescribeNetworkInterfaces
            | Call::DescribeSubnets
            | Call::AssignIpv6Addresses
            | Call::AssociateVpcCidrBlock
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
            | Call::UnassignIpv6Addresses => Code::InternalError,
        };
        let delay = Duration::from_millis(self.dice.roll(30_000));
        let kind = *self.dice.pick(&[
            FaultKind::Throttle,
            FaultKind::LostReply,
            FaultKind::Delay(delay),
            FaultKind::Error(code),
        ]);
        let times = 1 + self.dice.roll_u32(4);
        self.say(format!("{call} {kind:?} × {times}"));
        self.node.ec2.inject(Fault { call: Some(call), times, kind }).expect("few faults");
        if self.dice.one_in(4) {
            let attach = Duration::from_secs(*self.dice.pick(&[0, 2, 40, 250]));
            let metadata = Duration::from_secs(*self.dice.pick(&[0, 1, 20]));
            self.node.ec2.set_delays(Delays { attach, metadata, ..Delays::default() });
        }
    }

    fn deny(&mut self) {
        let call = *self.dice.pick(&CALLS);
        self.say(format!("deny {call}"));
        self.node.ec2.deny(call);
    }

    /// A storm of throttling, or its end.
    fn throttle(&mut self) {
        let rate = match self.dice.roll(3) {
            0 => return self.node.ec2.set_throttling(Throttling::Off),
            1 => Rate { burst: 0, per_second: 0 },
            _ => Rate { burst: 2, per_second: 1 },
        };
        self.say(format!("throttled to {rate:?}"));
        self.count("throttling storms");
        let buckets: BTreeMap<_, _> = CALLS.iter().map(|call| (call.bucket(), rate)).collect();
        self.node.ec2.set_throttling(Throttling::Custom(buckets));
    }

    /// EC2, or metadata, does not tell the truth for some looks.
    fn lie(&mut self) {
        let which = usize::try_from(self.dice.roll(4)).expect("small");
        let lie = *self.dice.pick(&[Lie::Half, Lie::Without(which), Lie::Old, Lie::Nothing]);
        let looks = 1 + self.dice.roll(3);
        self.say(format!("{lie:?} × {looks}"));
        (0..looks).for_each(|_| self.node.faults.lies.push_back(lie));
        self.count("lying looks");
    }

    fn crash(&mut self) {
        if self.dice.one_in(3) {
            let ahead = *self.dice.pick(&[-3_600_000, -30_000, 0, 5_000, 3_600_000]);
            self.say(format!("the clock will be ahead by {ahead} ms"));
            self.count("clock steps");
            self.node.faults.clock_ahead = Some(ahead);
        }
        if self.dice.one_in(3) {
            self.say("crash".to_owned());
            self.node.crash_and_restart();
        } else {
            let moment = *self.dice.pick(&[Moment::BeforeEffect, Moment::AfterEffect, Moment::BeforeOutcome]);
            let times = self.dice.roll(6);
            self.say(format!("crash {moment:?} {times}"));
            self.node.crash_at(moment, times);
        }
    }

    fn compact(&mut self) -> Result<(), Failure> {
        if self.node.faults.journal_full {
            return Ok(());
        }
        self.node.compact();
        self.count("compactions");
        let written = serde_json::to_string(&self.node.journal).expect("records are JSON");
        let read: Vec<Record> = serde_json::from_str(&written).expect("what was written can be read");
        if read != self.node.journal {
            return self.fail("a record is not read as it was written");
        }
        self.expect_faithful_records()
    }

    fn slow_kernel(&mut self) {
        let kernel = &mut self.node.kernel;
        kernel.refuse_wirings = self.dice.roll_u32(3);
        kernel.refuse_unwirings = self.dice.roll_u32(3);
        kernel.refuse_repairs = self.dice.roll_u32(3);
        kernel.refuse_looks = self.dice.roll_u32(3);
        kernel.refuse_node = self.dice.roll_u32(2);
        kernel.takes = Duration::from_millis(*self.dice.pick(&[0, 1, 50, 3000]));
        kernel.look_takes = Duration::from_millis(*self.dice.pick(&[0, 5, 500, 20_000]));
        kernel.looks_are_stale = self.dice.one_in(2);
    }

    /// Somebody's hand in the kernel.
    fn break_kernel(&mut self) {
        let pods: Vec<(IpAddr, Vec<IpAddr>)> = self
            .node
            .kernel
            .pods
            .values()
            .filter(|pod| !pod.foreign)
            .map(|pod| (pod.key(), pod.links().flat_map(|link| link.addresses()).map(|(at, _)| at).collect()))
            .collect();
        let enis: Vec<EniId> = self.node.kernel.enis.keys().cloned().collect();
        self.count("kernel drifts");
        let roll = self.dice.roll(8);
        match roll {
            0..=3 if !pods.is_empty() => {
                let (key, addresses) = self.dice.pick(&pods).clone();
                let address = *self.dice.pick(&addresses);
                match roll {
                    0 => self.node.kernel.lose_link(key),
                    1 => self.node.kernel.lose_route(address),
                    2 => self.node.kernel.lose_rule(address),
                    _ => {
                        self.node.kernel.lose_rule(address);
                        self.node.kernel.lose_route(address);
                    }
                }
                self.say(format!("{key} loses {roll}"));
            }
            4 | 5 if !enis.is_empty() => {
                let eni = self.dice.pick(&enis).clone();
                if let Some(eni) = self.node.kernel.enis.get_mut(&eni) {
                    eni.lacks_rule = roll == 4;
                    eni.lacks_table = roll == 5;
                }
                self.say(format!("{eni} loses {roll}"));
            }
            6 => {
                self.say("nft is flushed".to_owned());
                self.node.kernel.lacks_nft = self.node.kernel.node.is_some();
            }
            _ => {
                if let Some(address) = self.unused_address() {
                    self.say(format!("stray rules of {address}"));
                    self.node.kernel.rules.insert(address);
                }
            }
        }
    }

    fn unused_address(&mut self) -> Option<IpAddr> {
        let leases = self.node.state().addresses(self.node.now());
        let unused = leases.iter().filter(|lease| matches!(lease.state, "free" | "cooling"));
        let unused: Vec<IpAddr> = unused.map(|lease| lease.address).collect();
        let free = |address: &IpAddr| {
            !self.node.kernel.pods.values().any(|pod| pod.leased().any(|own| own == *address))
        };
        (!unused.is_empty()).then(|| *self.dice.pick(&unused)).filter(free)
    }

    /// Somebody else gives one of the node's addresses to a pod, or takes such pods away.
    fn add_stranger(&mut self) {
        if self.dice.one_in(3) {
            self.node.kernel.pods.retain(|_, pod| !pod.foreign);
            return;
        }
        let Some(address) = self.unused_address() else { return };
        self.say(format!("a stranger has {address}"));
        self.count("strangers' pods");
        let name = format!("eni{:x}", self.dice.roll(1 << 40));
        let link = PodLink {
            host_veth: name.parse().expect("a link's name"),
            ifname: "eth0".parse().expect("a link's name"),
            address,
            table: MAIN_TABLE,
            mtu: 9001,
            second: None,
        };
        self.node.kernel.add_foreign(PodWiring { first: link, further: Vec::new() });
    }

    fn count_echoes(&mut self) {
        self.count("repeated outcomes");
        self.node.faults.echoes += 1 + self.dice.roll_u32(4);
    }

    fn replace_strategy(&mut self) {
        let mind = if self.dice.one_in(3) {
            self.count("hostile strategies");
            Mind::Hostile(Hostile::seeded(self.dice.roll(u64::MAX)))
        } else {
            Mind::Knobs(knobs(&mut self.dice))
        };
        self.say(format!("{mind:?}"));
        self.node.replace_strategist(mind);
    }

    fn any_subnet(&mut self) -> SubnetId {
        let subnets: Vec<_> = self.node.ec2.subnets().map(|subnet| subnet.id.clone()).collect();
        self.dice.pick(&subnets).clone()
    }

    /// The operator changes to the other kind of supply.
    pub(super) fn switch_mode(&mut self) {
        let mut config = self.node.state().config().clone();
        config.mode = match config.mode {
            Mode::SecondaryIp => Mode::Prefix,
            Mode::Prefix => Mode::SecondaryIp,
        };
        self.say(format!("{:?}", config.mode));
        self.node.reconfigure(config);
    }

    /// The operator wants pods' ENIs elsewhere, or where they were at first.
    fn move_elsewhere(&mut self) {
        let mut config = self.node.state().config().clone();
        if config.families != Families::Ipv4 {
            return;
        }
        config.custom_networking = match self.dice.roll(3) {
            0 => CustomNetworking::Missing { name: "nobody".to_owned() },
            1 => CustomNetworking::Off,
            _ => self.custom_networking.clone(),
        };
        self.say(format!("{:?}", config.custom_networking));
        self.node.reconfigure(config);
    }

    /// Somebody puts the primary ENI behind other security groups.
    fn change_groups(&mut self) {
        let (vpc, now) = (self.node.state().identity().vpc.clone(), self.node.world_time());
        let primary = self.node.state().identity().primary_eni.clone();
        let group = self.node.ec2.add_security_group(&vpc, &format!("group {now}")).expect("a group");
        self.say(format!("primary behind {group}"));
        // May meet a fault that was meant for the node, which is as good.
        let change = InterfaceChange::Groups(vec![group]);
        let _ = self.node.ec2.modify_network_interface_attribute(now, &primary, &change);
    }

    /// The VPC gets a further range, while it may have one.
    fn widen_vpc(&mut self) {
        let vpc = self.node.state().identity().vpc.clone();
        let range = format!("100.{}.0.0/16", 64 + self.dice.roll(8)).parse().expect("a range");
        self.say(format!("the VPC has {range}"));
        let _ = self.node.ec2.add_vpc_cidr(&vpc, range);
    }

    /// Others take, or give back, addresses of our subnets.
    fn crowd(&mut self) {
        let subnet = self.any_subnet();
        if self.dice.one_in(2) {
            self.node.ec2.vacate(&subnet).expect("a known subnet");
            return;
        }
        let free: Vec<_> = {
            let found = self.node.ec2.subnet(&subnet).expect("a known subnet");
            found.cidr.hosts().filter(|address| found.is_free(*address)).collect()
        };
        let left = usize::try_from(self.dice.roll(4)).expect("small");
        let taken = &free[..free.len().saturating_sub(left)];
        self.say(format!("{subnet} crowded, {left} left"));
        self.count("subnets crowded or broken up");
        self.node.ec2.occupy(&subnet, taken).expect("free addresses");
    }

    fn break_up(&mut self) {
        let subnet = self.any_subnet();
        if self.dice.one_in(2) {
            self.say(format!("{subnet} broken up"));
            self.count("subnets crowded or broken up");
            self.node.ec2.fragment(&subnet).expect("a known subnet");
        } else {
            self.say(format!("{subnet} mended"));
            self.node.ec2.vacate(&subnet).expect("a known subnet");
        }
    }

    /// A subnet's role, or whether an ENI is ours to touch.
    fn tag(&mut self) {
        let enis: Vec<_> =
            self.node.ec2.interfaces_of(self.node.instance()).map(|eni| eni.id.clone()).collect();
        if enis.len() > 1 && self.dice.one_in(2) {
            let eni = self.dice.pick(&enis[1..]).clone();
            let value = *self.dice.pick(&["true", "false"]);
            self.say(format!("{eni} no_manage={value}"));
            self.count("ENIs tagged away");
            self.node.ec2.set_tag(eni.as_str(), NO_MANAGE, value).expect("a known ENI");
            return;
        }
        let subnet = self.any_subnet();
        let role = *self.dice.pick(&["0", "1"]);
        self.say(format!("{subnet} has role {role}"));
        self.node.ec2.set_tag(subnet.as_str(), ROLE, role).expect("a known subnet");
    }

    fn cordon(&mut self) {
        let mut config = self.node.state().config().clone();
        config.cordoned = self.dice.one_in(3);
        self.say(format!("cordoned: {}", config.cordoned));
        self.node.reconfigure(config);
    }

    fn change_cooldown(&mut self) {
        let mut config = self.node.state().config().clone();
        config.cooldown = Duration::from_secs(*self.dice.pick(&[0, 5, 30]));
        self.say(format!("{:?} of cooling", config.cooldown));
        self.watch.cooldown_changed(self.node.now(), config.cooldown);
        self.node.reconfigure(config);
    }

    /// The journal takes nothing more, or does again.
    fn fill_journal(&mut self) {
        self.node.faults.journal_full = self.dice.one_in(2);
        self.say(format!("journal full: {}", self.node.faults.journal_full));
        if self.node.faults.journal_full {
            self.count("full journals");
        }
    }

    /// The cluster grows or shrinks, and the operator or the Kubernetes API says so.
    fn share(&mut self) {
        let nodes = *self.dice.pick(&[1, 5, 20, 60]);
        if self.dice.one_in(2) {
            self.say(format!("{nodes} nodes counted"));
            self.node.count_nodes(NonZeroU32::new(nodes).expect("some"));
        } else {
            let mut config = self.node.state().config().clone();
            config.budget.nodes = nodes;
            self.say(format!("{nodes} nodes"));
            self.node.reconfigure(config);
        }
    }

    fn hide_links(&mut self) {
        self.node.kernel.hide_links = self.dice.one_in(2);
        self.say(format!("links hidden: {}", self.node.kernel.hide_links));
        if self.node.kernel.hide_links {
            self.count("ENIs that never appear");
        } else {
            self.node.kernel.without_link.clear();
        }
    }
}
