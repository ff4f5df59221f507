//! Instances: launching and terminating them.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use enid_core::ids::{EniId, InstanceId, SecurityGroupId, SubnetId, VpcId};
use enid_core::limits::InstanceType;
use enid_core::time::Timestamp;
use enid_core::wiring::Seat;

use super::attachment::check_seat;
use super::call::Call;
use super::interface::{AttachmentState, CreateNetworkInterface, InterfaceType, Secondary};
use super::ipv6::Ipv6Supply;
use super::refusal::{CallError, Code};
use super::tagging::check_tags;
use super::throttle::Bucket;
use super::transition::Transition;
use super::vpc::no_such_subnet;
use super::{Ec2, Tags};

/// Instances per call: EC2 itself takes what the quota allows; a lab needs a bound.
const MAX_PER_CALL: u32 = 1000;
/// How long EC2 lists a terminated instance: about an hour.
const REMEMBER_TERMINATED: std::time::Duration = std::time::Duration::from_secs(3600);

/// An EC2 instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Its id.
    pub id: InstanceId,
    /// The launch that made it, `r-…`.
    pub reservation: String,
    /// Its type and limits.
    pub instance_type: InstanceType,
    /// Where it is in its life.
    pub state: InstanceState,
    /// Its zone.
    pub zone: String,
    /// Its VPC.
    pub vpc: VpcId,
    /// Its primary ENI's subnet.
    pub subnet: SubnetId,
    /// `ImageId`.
    pub image: String,
    /// When it was launched.
    pub launched: Timestamp,
    /// Its tags.
    pub tags: Tags,
    /// Its ENIs by place.
    pub seats: BTreeMap<Seat, EniId>,
}

impl Instance {
    /// Where its primary ENI sits, for good.
    pub fn primary_seat(&self) -> Seat {
        Seat { card: self.instance_type.default_card, device: 0 }
    }
}

/// Where an instance is in its life; stopping is not modelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstanceState {
    /// Launched, not up yet.
    Pending,
    /// Up.
    Running,
    /// Being terminated; its ENIs are still attached.
    ShuttingDown,
    /// Gone; EC2 lists it for an hour more.
    Terminated,
}

impl InstanceState {
    /// EC2's code and word.
    pub fn code_and_name(self) -> (u32, &'static str) {
        match self {
            InstanceState::Pending => (0, "pending"),
            InstanceState::Running => (16, "running"),
            InstanceState::ShuttingDown => (32, "shutting-down"),
            InstanceState::Terminated => (48, "terminated"),
        }
    }
}

/// `RunInstances`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunInstances {
    /// `InstanceType`.
    pub instance_type: String,
    /// `SubnetId`.
    pub subnet: SubnetId,
    /// `MinCount` and `MaxCount`: this model launches all of `MaxCount` or none.
    pub count: u32,
    /// `ImageId`.
    pub image: String,
    /// `PrivateIpAddress` of the primary ENI; only for a single instance.
    pub primary: Option<Ipv4Addr>,
    /// What else the primary ENI is born with.
    pub secondary: Secondary,
    /// And of IPv6.
    pub ipv6: Ipv6Supply,
    /// `NetworkInterface.1.InterfaceType`.
    pub interface_type: InterfaceType,
    /// `SecurityGroupId.N`.
    pub groups: Vec<SecurityGroupId>,
    /// Tags of the instances.
    pub tags: Tags,
    /// Tags of their ENIs.
    pub eni_tags: Tags,
    /// `NetworkInterface.1.DeleteOnTermination`, true unless said otherwise.
    pub delete_on_termination: bool,
    /// ENIs besides the primary one.
    pub further: Vec<FurtherInterface>,
    /// `ClientToken`.
    pub client_token: Option<String>,
}

/// An ENI besides the primary one that an instance is launched with (`NetworkInterface.N`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FurtherInterface {
    /// Where it sits.
    pub seat: Seat,
    /// What it is; the launch's own tags and token hold for it.
    pub interface: CreateNetworkInterface,
    /// `DeleteOnTermination`.
    pub delete_on_termination: bool,
}

impl RunInstances {
    /// One plain instance of a type in a subnet.
    pub fn one(instance_type: &str, subnet: SubnetId) -> RunInstances {
        RunInstances {
            instance_type: instance_type.to_owned(),
            subnet,
            count: 1,
            image: "ami-0000000000000enid".to_owned(),
            primary: None,
            secondary: Secondary::None,
            ipv6: Ipv6Supply::Usual,
            interface_type: InterfaceType::Interface,
            groups: Vec::new(),
            tags: Tags::new(),
            eni_tags: Tags::new(),
            delete_on_termination: true,
            further: Vec::new(),
            client_token: None,
        }
    }
}

impl Ec2 {
    /// `RunInstances`: answers pending instances, which run after the configured delay.
    pub fn run_instances(
        &mut self,
        now: Timestamp,
        request: &RunInstances,
    ) -> Result<Vec<InstanceId>, CallError> {
        self.perform(now, Call::RunInstances, |ec2| {
            if let Some(token) = &request.client_token
                && let Some(earlier) = ec2.tokens.instances(token, request)?
            {
                return Ok(earlier);
            }
            if !ec2.draw(Bucket::RunInstancesResources, request.count) {
                return Err(super::throttled());
            }
            let launched = ec2.start(request)?;
            for id in &launched {
                ec2.schedule(ec2.config.delays.launch, Transition::Running(id.clone()));
            }
            if let Some(token) = &request.client_token {
                ec2.tokens.remember_instances(token, request, &launched, ec2.now);
            }
            Ok(launched)
        })
    }

    /// Sets one running instance up: no call, no delay, no fault.
    pub fn launch(&mut self, now: Timestamp, request: &RunInstances) -> Result<InstanceId, CallError> {
        self.advance(now);
        let mut started = self.start(&RunInstances { count: 1, ..request.clone() })?;
        let id = started.pop().expect("invariant: one asked, one started");
        self.instance_mut(&id)?.state = InstanceState::Running;
        Ok(id)
    }

    /// `TerminateInstances`: shutting down now, gone with its ENIs after the configured delay. Idempotent.
    pub fn terminate_instances(
        &mut self,
        now: Timestamp,
        instances: &[InstanceId],
    ) -> Result<Vec<(InstanceId, InstanceState, InstanceState)>, CallError> {
        self.perform(now, Call::TerminateInstances, |ec2| {
            for id in instances {
                ec2.instance(id)?;
            }
            let mut changes = Vec::with_capacity(instances.len());
            for id in instances {
                let instance = ec2.instance_mut(id)?;
                let before = instance.state;
                let after = match before {
                    InstanceState::Pending | InstanceState::Running => InstanceState::ShuttingDown,
                    InstanceState::ShuttingDown | InstanceState::Terminated => before,
                };
                instance.state = after;
                if before != after {
                    ec2.schedule(ec2.config.delays.terminate, Transition::Terminated(id.clone()));
                }
                changes.push((id.clone(), before, after));
            }
            ec2.changed();
            Ok(changes)
        })
    }

    fn start(&mut self, request: &RunInstances) -> Result<Vec<InstanceId>, CallError> {
        if request.count == 0 || request.count > MAX_PER_CALL {
            return Err(CallError::refuse(
                Code::InvalidParameterValue,
                format!("Value ({}) for parameter maxCount is invalid: 1 to {MAX_PER_CALL}.", request.count),
            ));
        }
        let named = |further: &FurtherInterface| further.interface.primary.is_some();
        if request.count > 1 && (request.primary.is_some() || request.further.iter().any(named)) {
            return Err(CallError::refuse(
                Code::InvalidParameterCombination,
                "A private IP address can be given to a single instance only.",
            ));
        }
        check_tags(&request.tags)?;
        let instance_type = self.instance_type(&request.instance_type)?;
        if request.interface_type == InterfaceType::EfaOnly {
            return Err(CallError::refuse(
                Code::InvalidParameterCombination,
                "A network interface of type 'efa-only' cannot be the primary network interface.",
            ));
        }
        let reservation = self.fresh_text("r-");
        let mut started = Vec::new();
        for _ in 0..request.count {
            match self.start_one(request, &instance_type, &reservation) {
                Ok(id) => started.push(id),
                Err(error) => {
                    for id in started {
                        self.undo_start(&id);
                    }
                    return Err(error);
                }
            }
        }
        Ok(started)
    }

    fn start_one(
        &mut self,
        request: &RunInstances,
        instance_type: &InstanceType,
        reservation: &str,
    ) -> Result<InstanceId, CallError> {
        let subnet = self.subnets.get(&request.subnet).ok_or_else(|| no_such_subnet(&request.subnet))?;
        let (zone, vpc) = (subnet.zone.clone(), subnet.vpc.clone());
        let primary = CreateNetworkInterface {
            primary: request.primary,
            secondary: request.secondary.clone(),
            ipv6: request.ipv6.clone(),
            interface_type: request.interface_type,
            groups: request.groups.clone(),
            ..CreateNetworkInterface::within(request.subnet.clone())
        };
        let first = FurtherInterface {
            seat: Seat { card: instance_type.default_card, device: 0 },
            interface: primary,
            delete_on_termination: request.delete_on_termination,
        };
        let id: InstanceId = self.fresh_id("i-");
        let instance = Instance {
            id: id.clone(),
            reservation: reservation.to_owned(),
            instance_type: instance_type.clone(),
            state: InstanceState::Pending,
            zone,
            vpc,
            subnet: request.subnet.clone(),
            image: request.image.clone(),
            launched: self.now,
            tags: request.tags.clone(),
            seats: BTreeMap::new(),
        };
        self.instances.insert(id.clone(), instance);
        for interface in std::iter::once(&first).chain(&request.further) {
            if let Err(error) = self.furnish(&id, instance_type, interface, &request.eni_tags) {
                self.undo_start(&id);
                return Err(error);
            }
        }
        // What an instance is launched with is in its metadata from its first moment.
        self.metadata.remove(&id);
        self.record(&id);
        self.changed();
        Ok(id)
    }

    /// Makes an ENI for an instance that is being launched, and seats it.
    fn furnish(
        &mut self,
        id: &InstanceId,
        instance_type: &InstanceType,
        wanted: &FurtherInterface,
        tags: &Tags,
    ) -> Result<(), CallError> {
        let instance = self.instance(id)?;
        check_seat(instance, wanted.seat)?;
        let subnet = &wanted.interface.subnet;
        let found = self.subnets.get(subnet).ok_or_else(|| no_such_subnet(subnet))?;
        if found.zone != instance.zone || found.vpc != instance.vpc {
            return Err(CallError::refuse(
                Code::InvalidParameterCombination,
                "All network interfaces of an instance are in one availability zone and VPC.",
            ));
        }
        let request = CreateNetworkInterface { tags: tags.clone(), ..wanted.interface.clone() };
        let eni = self.make_interface(&request, Some(instance_type))?;
        self.seat_interface(&eni.id, id, wanted.seat, AttachmentState::Attached)?;
        if let Some(at) = self.interface_mut(&eni.id)?.attachment.as_mut() {
            at.delete_on_termination = wanted.delete_on_termination;
        }
        Ok(())
    }

    fn undo_start(&mut self, id: &InstanceId) {
        let Some(instance) = self.instances.remove(id) else { return };
        self.metadata.remove(id);
        for eni in instance.seats.values() {
            self.drop_attachment_of(eni);
            self.remove_interface(eni);
        }
    }

    fn drop_attachment_of(&mut self, eni: &EniId) -> Option<bool> {
        let at = self.interfaces.get_mut(eni)?.attachment.take()?;
        self.attachments.remove(&at.id);
        Some(at.delete_on_termination)
    }

    pub(crate) fn finish_launch(&mut self, id: &InstanceId) {
        if let Some(instance) = self.instances.get_mut(id)
            && instance.state == InstanceState::Pending
        {
            instance.state = InstanceState::Running;
            self.changed();
        }
    }

    pub(crate) fn finish_termination(&mut self, id: &InstanceId) {
        let Some(instance) = self.instances.get_mut(id) else { return };
        instance.state = InstanceState::Terminated;
        for eni in std::mem::take(&mut instance.seats).into_values() {
            if self.drop_attachment_of(&eni) == Some(true) {
                self.remove_interface(&eni);
            }
        }
        self.record(id);
        self.changed();
        self.schedule(REMEMBER_TERMINATED, Transition::Forgotten(id.clone()));
    }

    pub(crate) fn forget(&mut self, id: &InstanceId) {
        self.instances.remove(id);
        self.metadata.remove(id);
        self.changed();
    }

    pub(crate) fn instance(&self, id: &InstanceId) -> Result<&Instance, CallError> {
        self.instances.get(id).ok_or_else(|| no_such_instance(id))
    }

    pub(crate) fn instance_mut(&mut self, id: &InstanceId) -> Result<&mut Instance, CallError> {
        self.instances.get_mut(id).ok_or_else(|| no_such_instance(id))
    }

    /// The limits of a type: this world's own entry, or the table's.
    pub(crate) fn instance_type(&self, name: &str) -> Result<InstanceType, CallError> {
        let own = self.config.instance_types.get(name).cloned();
        own.or_else(|| enid_core::instance_types::lookup(name)).ok_or_else(|| {
            CallError::refuse(
                Code::InvalidInstanceType,
                format!(
                    "The following supplied instance types do not exist: [{}]",
                    name.chars().take(80).collect::<String>()
                ),
            )
        })
    }
}

fn no_such_instance(id: &InstanceId) -> CallError {
    CallError::refuse(Code::InvalidInstanceIdNotFound, format!("The instance ID '{id}' does not exist"))
}
