//! EC2 as far as a CNI sees it: one deterministic model without clock, chance or IO of its own.
//!
//! Decides what EC2 answers to each call: real /28-aligned blocks and their fragmentation, limits per
//! instance type, asynchronous attach and detach, metadata that lags, token buckets, EC2's own error
//! codes, and faults on demand. Time is an argument of every call; what EC2 has accepted happens when
//! time has come ([`Ec2::advance`]). The same seed and calls give the same answers.
//!
//! Not modelled: security group rules, stopping instances, quotas other than ENIs and ranges, which types have an
//! Elastic Fabric Adapter, IPv6-only subnets, anything about volumes and images. Permissions are all or nothing
//! per API ([`Ec2::deny`]).
//!
//! * [`vpc`], [`addresses`], [`instance`], [`interface`]: the world and what makes it.
//! * [`assignment`], [`ipv6`], [`attachment`], [`tagging`], [`describe`], [`filter`]: the calls.
//! * [`call`], [`throttle`], [`fault`], [`refusal`], `token`: how calls are counted, limited, broken, refused, repeated.
//! * [`metadata`], [`view`]: the world as instance metadata and as the engine's `Cloud` port sees it.
//! * [`check`]: what must always hold; `transition`: what is yet to happen; `chance`: the seed.

pub mod addresses;
pub mod assignment;
pub mod attachment;
pub mod call;
mod chance;
pub mod check;
pub mod describe;
pub mod fault;
pub mod filter;
pub mod instance;
pub mod interface;
pub mod ipv6;
pub mod metadata;
pub mod refusal;
pub mod tagging;
pub mod throttle;
mod token;
mod transition;
pub mod view;
pub mod vpc;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use enid_core::ids::{EniAttachmentId, EniId, InstanceId, Mac, SecurityGroupId, SubnetId, VpcId};
use enid_core::limits::InstanceType;
use enid_core::time::Timestamp;

use addresses::Placement;
use call::{Call, Made};
use chance::Chance;
use fault::{Fault, FaultKind, Faults, TooManyFaults};
use instance::Instance;
use interface::NetworkInterface;
use metadata::History;
use refusal::{CallError, Code};
use throttle::{Bucket, Budget, Throttling};
use token::Tokens;
use transition::{Agenda, Transition};
use vpc::{SecurityGroup, Subnet, Vpc};

/// A resource's tags.
pub type Tags = BTreeMap<String, String>;

/// What kind of EC2 this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The region's name.
    pub region: String,
    /// The account's id.
    pub account: String,
    /// Names of the availability zones.
    pub zones: Vec<String>,
    /// Instance types that the table lacks or that this world wants different.
    pub instance_types: BTreeMap<String, InstanceType>,
    /// How long things take.
    pub delays: Delays,
    /// Which token buckets are in force.
    pub throttling: Throttling,
    /// Which free address is next.
    pub placement: Placement,
    /// ENIs per account and region: the default quota is 5000.
    pub max_network_interfaces: usize,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            region: "eu-central-1".to_owned(),
            account: "123456789012".to_owned(),
            zones: vec!["eu-central-1a".to_owned(), "eu-central-1b".to_owned(), "eu-central-1c".to_owned()],
            instance_types: BTreeMap::new(),
            delays: Delays::default(),
            throttling: Throttling::Off,
            placement: Placement::Scattered,
            max_network_interfaces: 5000,
        }
    }
}

/// How long things take after EC2 has accepted them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delays {
    /// From `pending` to `running`.
    pub launch: Duration,
    /// From `shutting-down` to `terminated`.
    pub terminate: Duration,
    /// From `attaching` to `attached`.
    pub attach: Duration,
    /// From `detaching` to `available`.
    pub detach: Duration,
    /// From a change of an attached ENI to its appearance in instance metadata.
    pub metadata: Duration,
    /// From a call to its answer, unless `latencies` says otherwise.
    pub latency: Duration,
    /// From a call to its answer, by API.
    pub latencies: BTreeMap<Call, Duration>,
}

impl Delays {
    /// Everything at once: for tests that are about something else.
    pub fn none() -> Delays {
        Delays {
            launch: Duration::ZERO,
            terminate: Duration::ZERO,
            attach: Duration::ZERO,
            detach: Duration::ZERO,
            metadata: Duration::ZERO,
            latency: Duration::ZERO,
            latencies: BTreeMap::new(),
        }
    }
}

impl Default for Delays {
    /// The order of magnitude that EC2 shows: seconds to attach and detach, a tenth of a second per call.
    fn default() -> Delays {
        Delays {
            launch: Duration::from_secs(5),
            terminate: Duration::from_secs(5),
            attach: Duration::from_secs(2),
            detach: Duration::from_secs(3),
            metadata: Duration::from_secs(1),
            latency: Duration::from_millis(100),
            latencies: BTreeMap::new(),
        }
    }
}

/// One region of one account.
#[derive(Clone, Debug)]
pub struct Ec2 {
    pub(crate) config: Config,
    pub(crate) chance: Chance,
    pub(crate) now: Timestamp,
    generation: u64,
    pub(crate) vpcs: BTreeMap<VpcId, Vpc>,
    pub(crate) subnets: BTreeMap<SubnetId, Subnet>,
    pub(crate) groups: BTreeMap<SecurityGroupId, SecurityGroup>,
    pub(crate) instances: BTreeMap<InstanceId, Instance>,
    pub(crate) interfaces: BTreeMap<EniId, NetworkInterface>,
    pub(crate) attachments: BTreeMap<EniAttachmentId, EniId>,
    pub(crate) metadata: BTreeMap<InstanceId, History>,
    pub(crate) tokens: Tokens,
    agenda: Agenda,
    faults: Faults,
    denied: BTreeSet<Call>,
    budget: Budget,
    calls: BTreeMap<&'static str, u64>,
    log: Option<Vec<Made>>,
}

impl Ec2 {
    /// An empty region.
    pub fn new(seed: u64, config: Config) -> Ec2 {
        Ec2 {
            config,
            chance: Chance::new(seed),
            now: Timestamp::default(),
            generation: 0,
            vpcs: BTreeMap::new(),
            subnets: BTreeMap::new(),
            groups: BTreeMap::new(),
            instances: BTreeMap::new(),
            interfaces: BTreeMap::new(),
            attachments: BTreeMap::new(),
            metadata: BTreeMap::new(),
            tokens: Tokens::default(),
            agenda: Agenda::default(),
            faults: Faults::default(),
            denied: BTreeSet::new(),
            budget: Budget::default(),
            calls: BTreeMap::new(),
            log: None,
        }
    }

    /// Lets everything happen that is due by `now`. Every call does this first; time never runs backwards.
    pub fn advance(&mut self, now: Timestamp) {
        while let Some((at, step)) = self.agenda.due(now) {
            self.now = self.now.max(at);
            match step {
                Transition::Running(instance) => self.finish_launch(&instance),
                Transition::Attached(eni, attachment) => self.finish_attaching(&eni, &attachment),
                Transition::Detached(eni, attachment) => self.finish_detaching(&eni, &attachment),
                Transition::Terminated(instance) => self.finish_termination(&instance),
                Transition::Forgotten(instance) => self.forget(&instance),
            }
        }
        self.now = self.now.max(now);
    }

    /// When something next happens by itself.
    pub fn next_change(&self) -> Option<Timestamp> {
        self.agenda.next()
    }

    /// Counts changes of the world: equal numbers mean that nothing changed in between.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// What kind of EC2 this is.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Makes things take other times from now on; what is under way keeps its time.
    pub fn set_delays(&mut self, delays: Delays) {
        self.config.delays = delays;
    }

    /// Puts other token buckets in force.
    pub fn set_throttling(&mut self, throttling: Throttling) {
        self.config.throttling = throttling;
        self.budget = Budget::default();
    }

    /// Makes coming calls go wrong.
    pub fn inject(&mut self, fault: Fault) -> Result<(), TooManyFaults> {
        self.faults.queue(fault)
    }

    /// Drops the faults that have not struck yet.
    pub fn clear_faults(&mut self) {
        self.faults.clear();
    }

    /// Answers `UnauthorizedOperation` to an API from now on.
    pub fn deny(&mut self, call: Call) {
        self.denied.insert(call);
    }

    /// Permits an API again.
    pub fn permit(&mut self, call: Call) {
        self.denied.remove(&call);
    }

    /// Calls so far by API, refused ones included. World set-up is not counted.
    pub fn calls(&self) -> BTreeMap<&'static str, u64> {
        self.calls.clone()
    }

    /// From now on every call is kept, until [`Ec2::log`] takes them.
    pub fn keep_log(&mut self) {
        self.log = Some(Vec::new());
    }

    /// The calls since the log was last taken, in order.
    pub fn log(&mut self) -> Vec<Made> {
        self.log.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// How long the answer to `call` takes, using up one injected delay. The caller does the waiting.
    pub fn latency(&mut self, call: Call) -> Duration {
        let usual = self.config.delays.latencies.get(&call).copied().unwrap_or(self.config.delays.latency);
        usual.saturating_add(self.faults.delay(call))
    }

    /// `DryRun`: what would be refused before the request itself is looked at, or `DryRunOperation`.
    pub fn dry_run(&mut self, now: Timestamp, call: Call) -> CallError {
        let checked: Result<(), CallError> = self.perform(now, call, |_| {
            Err(CallError::refuse(
                Code::DryRunOperation,
                "Request would have succeeded, but DryRun flag is set.",
            ))
        });
        checked.expect_err("invariant: a dry run never succeeds")
    }

    /// VPCs in id order.
    pub fn vpcs(&self) -> impl Iterator<Item = &Vpc> {
        self.vpcs.values()
    }

    /// Subnets in id order.
    pub fn subnets(&self) -> impl Iterator<Item = &Subnet> {
        self.subnets.values()
    }

    /// One subnet.
    pub fn subnet(&self, id: &SubnetId) -> Option<&Subnet> {
        self.subnets.get(id)
    }

    /// Security groups in id order.
    pub fn security_groups(&self) -> impl Iterator<Item = &SecurityGroup> {
        self.groups.values()
    }

    /// One security group.
    pub fn security_group(&self, id: &SecurityGroupId) -> Option<&SecurityGroup> {
        self.groups.get(id)
    }

    /// Instances in id order.
    pub fn instances(&self) -> impl Iterator<Item = &Instance> {
        self.instances.values()
    }

    /// ENIs in id order.
    pub fn interfaces(&self) -> impl Iterator<Item = &NetworkInterface> {
        self.interfaces.values()
    }

    /// ENIs of one instance in seat order, whatever the state of their attachment.
    pub fn interfaces_of(&self, instance: &InstanceId) -> impl Iterator<Item = &NetworkInterface> {
        let seats = self.instances.get(instance).into_iter().flat_map(|found| found.seats.values());
        seats.filter_map(|eni| self.interfaces.get(eni))
    }

    /// The VPC's internal name of an address.
    pub fn private_dns_name(&self, address: Ipv4Addr) -> String {
        let [a, b, c, d] = address.octets();
        let domain = match self.config.region.as_str() {
            "us-east-1" => "ec2.internal".to_owned(),
            region => format!("{region}.compute.internal"),
        };
        format!("ip-{a}-{b}-{c}-{d}.{domain}")
    }

    /// `ZoneId` of a zone, such as `euc1-az1`; numbered in the order of the configuration.
    pub fn zone_id(&self, zone: &str) -> String {
        let number = self.config.zones.iter().position(|name| name == zone).map_or(0, |at| at + 1);
        let mut parts = self.config.region.split('-');
        let area = parts.next().unwrap_or_default();
        let rest: String = parts.map(abbreviation).collect();
        format!("{area}{rest}-az{number}")
    }

    pub(crate) fn perform<T>(
        &mut self,
        now: Timestamp,
        call: Call,
        run: impl FnOnce(&mut Ec2) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        self.perform_from(now, call, call.bucket(), run)
    }

    /// Counts the call, lets faults, permissions and budget stop it, and runs it.
    pub(crate) fn perform_from<T>(
        &mut self,
        now: Timestamp,
        call: Call,
        bucket: Bucket,
        run: impl FnOnce(&mut Ec2) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        self.advance(now);
        *self.calls.entry(call.name()).or_default() += 1;
        let at = self.now;
        if let Some(log) = &mut self.log {
            log.push(Made { at, call, throttled: false });
        }
        let fault = self.faults.failure(call);
        match fault {
            Some(FaultKind::Error(code)) => {
                return Err(CallError::refuse(code, format!("Injected into {call}.")));
            }
            Some(FaultKind::Throttle) => return Err(throttled()),
            Some(FaultKind::LostReply | FaultKind::Delay(_)) | None => {}
        }
        if self.denied.contains(&call) {
            return Err(CallError::refuse(
                Code::UnauthorizedOperation,
                format!("You are not authorized to perform this operation: ec2:{call}."),
            ));
        }
        if !self.draw(bucket, 1) {
            if let Some(made) = self.log.as_mut().and_then(|log| log.last_mut()) {
                made.throttled = true;
            }
            return Err(throttled());
        }
        let answer = run(self);
        self.advance(now);
        match (fault, answer) {
            (Some(FaultKind::LostReply), _) => Err(CallError::ReplyLost { call }),
            (_, answer) => answer,
        }
    }

    pub(crate) fn draw(&mut self, bucket: Bucket, tokens: u32) -> bool {
        self.budget.draw(&self.config.throttling, bucket, tokens, self.now)
    }

    pub(crate) fn schedule(&mut self, after: Duration, step: Transition) {
        self.agenda.add(self.now + after, step);
    }

    pub(crate) fn changed(&mut self) {
        self.generation += 1;
    }

    /// An ENI changed: metadata will show it.
    pub(crate) fn touch(&mut self, eni: &EniId) {
        self.changed();
        let attached = self.interfaces.get(eni).and_then(|eni| eni.attachment.as_ref());
        if let Some(instance) = attached.map(|at| at.instance.clone()) {
            self.record(&instance);
        }
    }

    pub(crate) fn fresh_text(&mut self, prefix: &str) -> String {
        format!("{prefix}0{:016x}", self.chance.draw())
    }

    /// A new id; 64 random bits do not repeat within any run we can afford.
    pub(crate) fn fresh_id<Id: std::str::FromStr>(&mut self, prefix: &str) -> Id {
        let text = self.fresh_text(prefix);
        text.parse().ok().expect("invariant: the prefix is the id's own, the rest hexadecimal")
    }

    /// A new MAC: locally administered unicast, as EC2's are.
    pub(crate) fn fresh_mac(&mut self) -> Mac {
        loop {
            let [_, _, b, c, d, e, f, g] = self.chance.draw().to_be_bytes();
            let mac = Mac([0x02 | (b & 0xfc), c, d, e, f, g]);
            if self.interfaces.values().all(|eni| eni.mac != mac) {
                return mac;
            }
        }
    }

    pub(crate) fn subnet_mut(&mut self, id: &SubnetId) -> &mut Subnet {
        self.subnets
            .get_mut(id)
            .expect("invariant: subnets are never removed, and the caller has found this one")
    }
}

fn abbreviation(part: &str) -> &str {
    match part {
        "northeast" => "ne",
        "northwest" => "nw",
        "southeast" => "se",
        "southwest" => "sw",
        other if other.bytes().all(|byte| byte.is_ascii_digit()) => other,
        other => other.get(..1).unwrap_or(other),
    }
}

pub(crate) fn throttled() -> CallError {
    CallError::refuse(Code::RequestLimitExceeded, "Request limit exceeded.")
}
