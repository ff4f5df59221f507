//! Attaching and detaching ENIs: accepted at once, done later.

use enid_core::ids::{EniAttachmentId, EniId, InstanceId};
use enid_core::time::Timestamp;
use enid_core::wiring::Seat;

use super::Ec2;
use super::assignment::{check_prefix_support, check_slots};
use super::call::Call;
use super::instance::{Instance, InstanceState};
use super::interface::{AttachmentState, InterfaceAttachment, NetworkInterface};
use super::ipv6::check_ipv6_of;
use super::refusal::{CallError, Code};
use super::transition::Transition;

/// Device indexes that EC2 accepts at all.
const MAX_DEVICE_INDEX: u32 = 255;

impl Ec2 {
    /// `AttachNetworkInterface`: accepted now, `attached` after the configured delay.
    pub fn attach_network_interface(
        &mut self,
        now: Timestamp,
        eni: &EniId,
        instance: &InstanceId,
        seat: Seat,
    ) -> Result<EniAttachmentId, CallError> {
        self.perform(now, Call::AttachNetworkInterface, |ec2| {
            let interface = ec2.interface(eni)?.clone();
            let host = ec2.instance(instance)?.clone();
            check_attachable(&interface, &host, seat)?;
            let id = ec2.seat_interface(eni, instance, seat, AttachmentState::Attaching)?;
            ec2.schedule(ec2.config.delays.attach, Transition::Attached(eni.clone(), id.clone()));
            Ok(id)
        })
    }

    /// `DetachNetworkInterface`: accepted now, `available` after the configured delay.
    pub fn detach_network_interface(
        &mut self,
        now: Timestamp,
        attachment: &EniAttachmentId,
    ) -> Result<(), CallError> {
        self.perform(now, Call::DetachNetworkInterface, |ec2| {
            let eni =
                ec2.attachments.get(attachment).cloned().ok_or_else(|| no_such_attachment(attachment))?;
            let found = ec2.interfaces.get_mut(&eni).and_then(|eni| eni.attachment.as_mut());
            let at = found.ok_or_else(|| no_such_attachment(attachment))?;
            let host = ec2.instances.get(&at.instance);
            if host.is_some_and(|host| host.primary_seat() == at.seat) {
                return Err(CallError::refuse(
                    Code::OperationNotPermitted,
                    "The network interface at device index 0 and networkCard index 0 cannot be detached.",
                ));
            }
            match at.state {
                AttachmentState::Attached => at.state = AttachmentState::Detaching,
                AttachmentState::Attaching | AttachmentState::Detaching => {
                    return Err(CallError::refuse(
                        Code::IncorrectState,
                        format!("Interface attachment '{attachment}' is '{}'.", at.state.as_str()),
                    ));
                }
            }
            ec2.schedule(ec2.config.delays.detach, Transition::Detached(eni.clone(), attachment.clone()));
            ec2.touch(&eni);
            Ok(())
        })
    }

    /// Puts an ENI into a seat that the caller has checked.
    pub(crate) fn seat_interface(
        &mut self,
        eni: &EniId,
        instance: &InstanceId,
        seat: Seat,
        state: AttachmentState,
    ) -> Result<EniAttachmentId, CallError> {
        let id: EniAttachmentId = self.fresh_id("eni-attach-");
        let since = self.now;
        self.interface_mut(eni)?.attachment = Some(InterfaceAttachment {
            id: id.clone(),
            instance: instance.clone(),
            seat,
            state,
            delete_on_termination: false,
            since,
        });
        self.attachments.insert(id.clone(), eni.clone());
        self.instance_mut(instance)?.seats.insert(seat, eni.clone());
        self.touch(eni);
        Ok(id)
    }

    /// The link is there, unless the attachment has gone in the meantime.
    pub(crate) fn finish_attaching(&mut self, eni: &EniId, attachment: &EniAttachmentId) {
        let found = self.interfaces.get_mut(eni).and_then(|eni| eni.attachment.as_mut());
        if let Some(at) = found.filter(|at| at.id == *attachment && at.state == AttachmentState::Attaching) {
            at.state = AttachmentState::Attached;
            self.touch(eni);
        }
    }

    /// The link is gone and the ENI is free, unless it has been taken elsewhere in the meantime.
    pub(crate) fn finish_detaching(&mut self, eni: &EniId, attachment: &EniAttachmentId) {
        let Some(found) = self.interfaces.get_mut(eni) else { return };
        let Some(at) = found.attachment.take_if(|at| at.id == *attachment) else { return };
        self.attachments.remove(attachment);
        if let Some(instance) = self.instances.get_mut(&at.instance) {
            instance.seats.remove(&at.seat);
        }
        self.record(&at.instance);
        self.changed();
    }
}

fn check_attachable(eni: &NetworkInterface, instance: &Instance, seat: Seat) -> Result<(), CallError> {
    if eni.attachment.is_some() {
        return Err(CallError::refuse(
            Code::InvalidNetworkInterfaceInUse,
            format!("Interface: [{}] in use.", eni.id),
        ));
    }
    match instance.state {
        InstanceState::Running => {}
        InstanceState::Pending | InstanceState::ShuttingDown | InstanceState::Terminated => {
            return Err(CallError::refuse(
                Code::IncorrectState,
                format!("Instance '{}' is not 'running' or 'stopped'.", instance.id),
            ));
        }
    }
    if eni.zone != instance.zone || eni.vpc != instance.vpc {
        return Err(CallError::refuse(
            Code::InvalidParameterCombination,
            "You may not attach a network interface to an instance if they are not in the same availability zone and VPC",
        ));
    }
    check_seat(instance, seat)?;
    if !eni.prefixes.is_empty() {
        check_prefix_support(&instance.instance_type)?;
    }
    check_ipv6_of(eni, &instance.instance_type)?;
    check_slots(eni.slots_used(), instance.instance_type.slots_per_eni())
}

/// Refuses a card that the type lacks, an index that is taken or none, and one ENI too many on a card.
pub(crate) fn check_seat(instance: &Instance, seat: Seat) -> Result<(), CallError> {
    let Some(card) = instance.instance_type.cards.iter().find(|card| card.index == seat.card) else {
        return Err(CallError::refuse(
            Code::InvalidParameterValue,
            format!("Network card {} does not exist on '{}'.", seat.card, instance.instance_type.name),
        ));
    };
    if seat.device > MAX_DEVICE_INDEX {
        return Err(CallError::refuse(
            Code::InvalidParameterValue,
            format!("Device index {} is invalid.", seat.device),
        ));
    }
    if instance.seats.contains_key(&seat) {
        return Err(CallError::refuse(
            Code::InvalidParameterValue,
            format!(
                "Instance '{}' already has an interface attached at device index '{}' and networkCard index '{}'.",
                instance.id, seat.device, seat.card
            ),
        ));
    }
    let on_card = instance.seats.keys().filter(|taken| taken.card == seat.card).count();
    if u32::try_from(on_card).is_ok_and(|count| count >= card.max_enis) {
        return Err(CallError::refuse(
            Code::AttachmentLimitExceeded,
            format!(
                "Interface count {} exceeds the limit of network card {} of {}",
                on_card + 1,
                seat.card,
                instance.instance_type.name
            ),
        ));
    }
    Ok(())
}

pub(crate) fn no_such_attachment(attachment: &EniAttachmentId) -> CallError {
    CallError::refuse(
        Code::InvalidAttachmentIdNotFound,
        format!("The attachment ID '{attachment}' does not exist"),
    )
}
